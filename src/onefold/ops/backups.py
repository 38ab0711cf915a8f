"""Copies of what cannot be made again: journals, parameters, evidence, models, configuration.

A backup is a manifest that names blobs by the hash of their content. A blob that is there already
is not sent again, so a backup of a long journal is its last segment and a page of names; and a
manifest is written last, so what was cut short is no backup. Of a journal that is being written the
sealed part is taken, which is a journal itself. Secrets are left out.

A backup is believed when it has been restored: `verify` restores it into a folder that is thrown
away, and verifies every journal that is found there to its last byte, whatever the manifest says.
What a vault holds is believed as little as anything else that comes from elsewhere: names, sizes
and what unfolds from a blob are bounded before anything is written.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from onefold.domain.errors import BackupError, ConfigError, did_you_mean
from onefold.journal import Head, write_atomic
from onefold.journal import verify as verify_journal
from onefold.journal.disk import OS_DISK
from onefold.journal.segments import JournalScan, list_segments
from onefold.ops.backup_config import BackupSettings

SCHEMES = ("file", "s3", "gs")
_KNOWN = "a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
MANIFESTS, BLOBS = "manifests", "blobs"
SECRET = re.compile(r"^\.env(\..*)?$|^(keys|dashboard)\.json$|\.key$", re.IGNORECASE)
"""Names of files that are in no backup, and that no backup may bring."""
PASSED_OVER = re.compile(rf"^\.|\.(tmp|lock|torn)$|^heartbeat\.json$|\.instance$|{SECRET.pattern}")
"""Names of files that mean nothing beside the process that wrote them, and of secret ones."""
LEFT_OUT = ("inbox",)
"""Folders whose content must not come back: a request that was carried out would be again."""
YOUNG = timedelta(days=1)
"""Blobs of this age are not pruned: they may belong to a backup that is under way."""
GZIP = 31
"""What zlib calls a stream in gzip's format."""
_Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_NAME = re.compile(r"^(\d{8}T\d{6}Z)-[0-9a-f]{12}$")


class Stored(msgspec.Struct, frozen=True):
    """A file of a backup: where it was, and its content's hash and size."""

    path: str
    sha256: _Hash
    size: _Count


class Recorded(msgspec.Struct, frozen=True):
    """A journal of a backup, and its head when it was taken."""

    path: str
    seq: _Count
    hash: _Hash


class Manifest(msgspec.Struct, frozen=True):
    """What one backup holds; `name` begins with the time at which it was taken, UTC."""

    name: str
    made: str
    version: str
    files: list[Stored]
    journals: list[Recorded]

    @property
    def size(self) -> int:
        """Return the size of all files in bytes."""
        return sum(one.size for one in self.files)


class Taken(NamedTuple):
    """A backup that was taken: its manifest, and how much of it had to be sent."""

    manifest: Manifest
    sent: int
    sent_bytes: int


class Vault:
    """Backups in a folder, S3 or GCS.

    `base` is where a folder that is not absolute begins. Raises `ConfigError` for a place that
    cannot be meant; every method raises `BackupError` for what the store refuses.
    """

    def __init__(self, settings: BackupSettings, base: Path) -> None:
        self.where = settings.to
        if not self.where:
            raise ConfigError(f"backups.to: say where backups go: {_KNOWN}")
        scheme = urlsplit(self.where).scheme
        self._store: Any
        if scheme in ("", "file"):
            folder = base / Path(self.where.removeprefix("file://")).expanduser()
            with _told(f"backups.to: {folder} cannot be used"), _private():
                self._store = LocalStore(folder, mkdir=True)
            return
        if scheme not in SCHEMES:
            raise ConfigError(f"backups.to: no backups can go to {scheme}://; use {_KNOWN}")
        endpoint = urlsplit(settings.endpoint)
        near = endpoint.hostname in ("127.0.0.1", "::1", "localhost")
        if settings.endpoint and endpoint.scheme != "https" and not near:
            raise ConfigError("backups.endpoint: what leaves this machine needs https")
        store: Any = from_url  # its overloads know the options of each kind by name
        try:
            self._store = store(
                self.where,
                client_options={"allow_http": near, "timeout": "60s"},
                retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=60)},
                **settings.options(scheme),
            )
        except (BaseError, ValueError) as error:
            raise ConfigError(f"backups: {_first_line(error)}") from None

    def names(self) -> list[str]:
        """Return the names of all backups, the oldest first."""
        with _told(f"{self.where} cannot be listed"):
            found = [PurePosixPath(one["path"]).stem for one in self._listed(MANIFESTS)]
        return sorted(name for name in found if _NAME.match(name))

    def take(self, sources: Mapping[str, Path], *, version: str, now: datetime) -> Taken:
        """Take a backup of folders and files, by the path that each has in it.

        Of the journals there the sealed part is taken. Raises as `journal.verify` for one that is
        damaged: no good backup is ever replaced by a bad one.
        """
        journals = {path for root in sources.values() for path in _journals_in(root)}
        ends = {path.resolve(): _scanned(path) for path in sorted(journals)}
        with _told(f"{self.where} cannot be read"):
            there = {PurePosixPath(one["path"]).stem for one in self._listed(BLOBS)}
        files: list[Stored] = []
        sent = sent_bytes = 0
        for name, path in _files_of(sources):
            content = _content(path, ends.get(path.parent.resolve()))
            if content is None:
                continue
            stored = Stored(name, hashlib.sha256(content).hexdigest(), len(content))
            files.append(stored)
            if stored.sha256 not in there:
                packed = gzip.compress(content, mtime=0)
                self._put(f"{BLOBS}/{stored.sha256}.gz", packed)
                there.add(stored.sha256)
                sent, sent_bytes = sent + 1, sent_bytes + len(packed)
        recorded = [
            Recorded(name, scan.head.seq, scan.head.hash)
            for name, path in _folders_of(sources)
            if (scan := ends.get(path.resolve())) is not None and scan.head.seq
        ]
        manifest = _named(Manifest("", now.astimezone(UTC).isoformat(), version, files, recorded))
        self._put(_place(manifest.name), msgspec.json.encode(manifest))
        return Taken(manifest, sent, sent_bytes)

    def manifest(self, name: str = "") -> Manifest:
        """Return a backup's manifest, the last one's without a name. Raises `ConfigError`."""
        names = self.names()
        if not names:
            raise ConfigError(f"there is no backup in {self.where}")
        wanted = name or names[-1]
        if wanted not in names:
            raise ConfigError(f"there is no backup {wanted!r}{did_you_mean(wanted, names)}")
        with _told(f"backup {wanted} cannot be read"):
            raw = bytes(obstore.get(self._store, _place(wanted)).bytes())
        try:
            found = msgspec.json.decode(raw, type=Manifest)
            right = _named(found).name
        except ValueError as error:
            raise BackupError(f"backup {wanted} is altered: {error}") from None
        if not found.name == right == wanted:
            raise BackupError(f"backup {wanted} is altered: its content has another hash")
        return found

    def restore(self, manifest: Manifest, folder: Path) -> None:
        """Write a backup's files into an empty folder, and verify the journals that are there.

        Raises `ConfigError` for a folder with something in it, `BackupError` for a name that no
        backup has, a blob that is not what it was or a journal that the manifest does not list as
        it is, and as `journal.verify`.
        """
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty: a backup is restored into a new folder")
        targets = [_inside(folder, one.path) for one in manifest.files]
        if len(set(targets)) != len(targets):
            raise BackupError("the backup has a file twice")
        for one, target in zip(manifest.files, targets, strict=True):
            content = self._blob(one)
            with _told(f"{one.path!r} cannot be written"):
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(target, content)
        _check_journals(manifest, folder)

    def verify(self, manifest: Manifest) -> None:
        """Restore a backup into a folder that is thrown away; raises as `restore`."""
        with tempfile.TemporaryDirectory(prefix="onefold-backup-") as scratch:
            self.restore(manifest, Path(scratch) / "restored")

    def prune(self, keep: int, *, now: datetime) -> list[str]:
        """Remove all backups but the last `keep`, and blobs that none of these has; return names.

        Where a manifest that is kept cannot be read, nothing is removed.
        """
        names = self.names()
        gone, kept = names[:-keep], names[-keep:]
        if not gone:
            return []
        wanted = {one.sha256 for name in kept for one in self.manifest(name).files}
        with _told(f"{self.where} cannot be pruned"):
            for name in gone:
                obstore.delete(self._store, _place(name))
            old = [
                one["path"]
                for one in self._listed(BLOBS)
                if PurePosixPath(one["path"]).stem not in wanted
                and one["last_modified"] < now - YOUNG
            ]
            if old:
                obstore.delete(self._store, old)
        return gone

    def _put(self, place: str, content: bytes) -> None:
        """Send a file; in a folder of this machine it is for its owner alone."""
        with _told(f"{self.where} takes no backup"), _private():
            obstore.put(self._store, place, content)

    def _listed(self, prefix: str) -> Iterator[Any]:
        for chunk in obstore.list(self._store, prefix=prefix):
            yield from chunk

    def _blob(self, one: Stored) -> bytes:
        with _told(f"{one.path}: its blob {one.sha256[:12]} cannot be read"):
            packed = bytes(obstore.get(self._store, f"{BLOBS}/{one.sha256}.gz").bytes())
        unpacking = zlib.decompressobj(GZIP)
        try:
            content = unpacking.decompress(packed, one.size + 1)  # no more, whatever is in it
        except (zlib.error, OverflowError, MemoryError) as error:
            raise BackupError(f"{one.path}: its blob is damaged: {error}") from None
        if len(content) > one.size:
            raise BackupError(f"{one.path}: its blob {one.sha256[:12]} is larger than {one.size}")
        if not unpacking.eof or unpacking.unused_data:
            raise BackupError(f"{one.path}: its blob {one.sha256[:12]} is damaged: no whole file")
        if hashlib.sha256(content).hexdigest() != one.sha256:
            raise BackupError(f"{one.path}: its blob {one.sha256[:12]} has another content")
        return content


@contextmanager
def _private() -> Iterator[None]:
    """Let files and folders that are made be their owner's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what a store says into one line for people, without what it adds of its own."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise BackupError(f"{what}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:300]


def _place(name: str) -> str:
    return f"{MANIFESTS}/{name}.json"


def _named(manifest: Manifest) -> Manifest:
    """Return a manifest under its name: its time, and the start of the hash of all it says."""
    bare = msgspec.structs.replace(manifest, name="")
    digest = hashlib.sha256(msgspec.json.encode(bare)).hexdigest()
    made = datetime.fromisoformat(manifest.made)
    return msgspec.structs.replace(manifest, name=f"{made:%Y%m%dT%H%M%SZ}-{digest[:12]}")


def _scanned(journal: Path) -> JournalScan:
    """Return a finished walk over a journal, whose end is that of its last sealed record."""
    scan = JournalScan(OS_DISK, journal)
    for _ in scan.blocks():
        pass
    return scan


def _journals_in(root: Path) -> Iterator[Path]:
    """Yield the folders in a folder that hold segments of a journal."""
    for path in (p for p in (root, *sorted(root.rglob("*"))) if p.is_dir()):
        if list_segments(OS_DISK, path):
            yield path


def _check_journals(manifest: Manifest, folder: Path) -> None:
    """Verify all journals in a restored folder, and that the manifest lists them as they are."""
    listed = {_inside(folder, one.path): Head(one.seq, one.hash) for one in manifest.journals}
    for path in sorted({*listed, *_journals_in(folder)}):
        head = listed.get(path)
        found = verify_journal(path, head)
        name = path.relative_to(folder).as_posix()
        if found.tail is not None:
            raise BackupError(f"journal {name} has {found.tail.size_bytes} bytes that none seals")
        if head is None and found.head.seq:
            raise BackupError(f"journal {name} is not listed by the backup: it is altered")
        if head is not None and found.head != head:
            raise BackupError(f"journal {name} goes on after what the backup lists: it is altered")


def _folders_of(sources: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    for name, root in sources.items():
        for path in (p for p in (root, *sorted(root.rglob("*"))) if p.is_dir()):
            inside = path.relative_to(root).as_posix()
            yield (name if inside == "." else f"{name}/{inside}"), path


def _files_of(sources: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Yield the files to back up, by their names in the backup."""
    for name, root in sources.items():
        if root.is_file():
            yield name, root
            continue
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            left_out = any(part in LEFT_OUT for part in inside.parts[:-1])
            passed_over = left_out or PASSED_OVER.search(path.name)
            if path.is_file() and not path.is_symlink() and not passed_over:
                yield f"{name}/{inside.as_posix()}", path


def _content(path: Path, journal: JournalScan | None) -> bytes | None:
    """Return what is taken of a file, None for one that has gone meanwhile."""
    size = -1
    if journal is not None and path.suffix == ".jsonl":
        segments = [segment.path.name for segment in journal.segments]
        if path.name not in segments:
            return None  # begun after the walk
        if path.name == segments[-1]:
            size = journal.offset
    try:
        with path.open("rb") as file:
            return file.read(size)
    except FileNotFoundError:
        return None


def _inside(folder: Path, path: str) -> Path:
    """Return a path of a backup inside a folder. Raises `BackupError` for one that leaves it."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or not pure.parts:
        raise BackupError(f"the backup has a file outside of its folder: {path!r}")
    if not path.isprintable():
        raise BackupError(f"the backup has a file whose name cannot be: {path!r}")
    if any(SECRET.search(part) for part in pure.parts):
        raise BackupError(f"the backup has {path!r}, which no backup contains: it is altered")
    return folder / pure
