"""The file of an account's parameters: read by sessions, extended by whoever governs.

It lies beside the configuration and belongs under version control like it: one line a version. A
session takes from it what it does not know yet. What cannot be read, or is older than what the
session knows, closes the account for new risk: nobody falls back to defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from onefold.domain.errors import ConfigError, JournalError
from onefold.domain.records import Mandate
from onefold.engine.worries import Worries
from onefold.governance.parameters import LINE_MAX, Parameters, read_parameters
from onefold.governance.versions import Runs, Version
from onefold.journal.disk import OS_DISK
from onefold.journal.files import LOCK_TIMEOUT_S, atomic_jsonl_append

Stamp = tuple[int, int, int, int] | None
"""By which a change of the file is noticed without reading it: inode, size, times."""
FILE_MAX = 64_000_000
"""Bytes of a file: more than a hundred thousand versions."""


class ParameterFile:
    """The chain of versions of one account, in a file that need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Parameters:
        """Return all versions, none where there is no file. Raises `ConfigError`."""
        try:
            size = self.path.stat().st_size
            if size > FILE_MAX:
                raise ConfigError(f"{self.path}: it has {size:,} bytes, which no history has")
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return Parameters()
        except OSError as error:
            raise ConfigError(f"{self.path}: it cannot be read: {error.strerror}") from None
        if b"\n" not in raw:
            raise ConfigError(
                f"{self.path}: it has no whole line: what it had is lost, or was never finished; "
                "take it from version control, or remove it if governance has changed nothing yet"
            )
        return read_parameters(raw, str(self.path))

    def extend(self, make: Callable[[Parameters], Version]) -> Version:
        """Add the version that `make` builds on those that are there; two writers take turns.

        Raises `ConfigError` for a file that is not what was written, and what `make` raises;
        `JournalError` when the disk or a lock is not to be had. Then nothing is added.
        """
        try:
            OS_DISK.make_folder(self.path.parent)
            lock = OS_DISK.lock(self.path.with_name(f"{self.path.name}.turn"), LOCK_TIMEOUT_S)
        except OSError as error:
            raise JournalError(f"{self.path}: nothing was added: {error.strerror}") from error
        if lock is None:
            raise JournalError(f"{self.path}: somebody else has been changing it for too long")
        try:
            version = make(self.read())
            if len(msgspec.json.encode(version)) > LINE_MAX:
                raise ConfigError(f"{self.path}: one version cannot change so much: make several")
            atomic_jsonl_append(self.path, msgspec.to_builtins(version))
        finally:
            lock.release()
        return version

    def stamp(self) -> Stamp:
        """Return what changes when the file does."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class Governance:
    """What a session still has to be told of its account's parameters.

    `runs` says which promotions concern it; without, all do. `prove` raises `ConfigError` for
    parameters under which it must not trade: it is asked of the first that can be read, until it
    agrees once. `doubt` says why they cannot be trusted, and is empty while they can. `number` is
    that of the last mandate that was read.
    """

    def __init__(
        self,
        file: ParameterFile,
        runs: Runs | None = None,
        prove: Callable[[Parameters], None] | None = None,
    ) -> None:
        self._file, self._runs = file, runs
        self._prove = prove
        self._seen: Stamp | bool = False
        self._unread: tuple[Stamp, str] | None = None
        self._worries = Worries("onefold.audit.parameters", "parameters")
        self.doubt = ""
        self.number = 0

    def news(self, known: int, version: str, ts: int) -> list[Mandate]:
        """Return the mandates after number `known`, if the file has changed since the last call.

        `version` is the hash of the parameters that it came from, which must be among those of the
        file: another history with the same numbers is none. There are none from a file that cannot
        be trusted: then `doubt` says why.
        """
        try:
            found = self._changed(known, version, ts)
        except Exception as error:  # noqa: BLE001 - a file must not end a session with positions
            foreseen = isinstance(error, ConfigError)
            said = str(error) if foreseen else f"{type(error).__name__}: {error}"
            self.doubt = said if foreseen else f"{self._file.path}: it cannot be read: {said}"
            self._worries.about("parameters", "they cannot be trusted", error)
            return []
        self._worries.over("parameters")
        self.doubt = ""
        return found

    def _read(self, stamp: Stamp) -> Parameters:
        """Return the parameters; a file that could not be read is not gone through at each poll."""
        if self._unread is not None and self._unread[0] == stamp:
            raise ConfigError(self._unread[1])
        self._unread = None
        try:
            return self._file.read()
        except ConfigError as error:
            self._unread = stamp, str(error)
            raise

    def _changed(self, known: int, version: str, ts: int) -> list[Mandate]:
        stamp = self._file.stamp()
        if stamp == self._seen:
            return []
        found = self._read(stamp)
        if found.number < known:
            raise ConfigError(
                f"{self._file.path}: it ends with mandate {found.number}, and {known} is in force "
                "already: this is an older file, or none"
            )
        if version and found.hash_of(known) != version:
            raise ConfigError(
                f"{self._file.path}: its mandate {known} is another one than that in force: this "
                "is another history of the same account"
            )
        if self._prove is not None:
            # What could not be read at the start has proved nothing yet: no resume before that.
            self._prove(found)
            self._prove = None
        self._seen, self.number = stamp, found.number
        return found.mandates(known, ts, self._runs)
