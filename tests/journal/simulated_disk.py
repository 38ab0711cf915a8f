"""A disk in memory whose power can be cut.

It keeps two states: what programs see (the page cache), and what is on the medium. Writes reach
the medium when they are synced; a power cut lets an arbitrary subset of the unsynced sectors,
sizes and directory entries through, so what was written later may survive what was written
before. Operations are numbered, and each can be told to fail or to be the moment of the cut.
"""

from __future__ import annotations

import errno
import os
import random
from dataclasses import dataclass, field
from pathlib import Path

SECTOR_BYTES = 512


class PowerCut(BaseException):
    """The machine is off: not an Exception, for no program catches it."""


@dataclass
class _File:
    cached: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    lost: bool = False  # a failed sync has marked pages clean that the medium never got


@dataclass
class _Lock:
    disk: SimulatedDisk
    path: Path

    def is_held(self) -> bool:
        return self.path in self.disk.locks

    def release(self) -> None:
        self.disk.locks.discard(self.path)


@dataclass
class _AppendFile:
    disk: SimulatedDisk
    file: _File

    def write(self, data: bytes) -> None:
        failed = self.disk.step("write")
        if failed is not None:
            self.file.cached += data[: self.disk.rng.randrange(len(data) + 1)]
            raise failed
        self.file.cached += data

    def sync(self) -> None:
        failed = self.disk.step("sync")
        if failed is not None:
            if isinstance(failed, OSError):
                self.file.lost = True
            raise failed
        if not self.file.lost:
            self.file.durable[:] = self.file.cached

    def close(self) -> None:
        pass


class SimulatedDisk:
    """Implements `onefold.journal.Disk`.

    `cut_at` is the number of the operation at which the power goes; `failures` maps the number of
    an operation to the errno it fails with. `operations` lists what was asked so far.
    """

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.seen: dict[Path, _File] = {}
        self.entries: dict[Path, _File] = {}
        self.folders: set[Path] = set()
        self.locks: set[Path] = set()
        self.operations: list[str] = []
        self.cut_at: int | None = None
        self.failures: dict[int, int] = {}

    def step(self, name: str) -> BaseException | None:
        """Count an operation; return what it must raise half done."""
        number = len(self.operations)
        self.operations.append(name)
        if number == self.cut_at:
            return PowerCut(f"at operation {number}, {name}")
        if number in self.failures:
            code = self.failures[number]
            return OSError(code, os.strerror(code))
        return None

    def _whole_step(self, name: str) -> None:
        failed = self.step(name)
        if failed is not None:
            raise failed

    def cut_power(self) -> None:
        """Forget the cache; let some of what was not synced through."""
        changed = [p for p in {**self.seen, **self.entries} if self._entry_differs(p)]
        for path in changed:
            if self.rng.random() < 0.5:
                self._sync_entry(path)
        for file in self.entries.values():
            file.durable = self._torn(file)
            file.cached = bytearray(file.durable)
            file.lost = False
        self.seen = dict(self.entries)
        self.locks.clear()
        self.cut_at = None

    def restart_process(self) -> None:
        """End the process, as `kill -9` does: the cache stays, locks go."""
        self.locks.clear()
        self.cut_at = None

    def _torn(self, file: _File) -> bytearray:
        if file.cached == file.durable or file.lost:
            return bytearray(file.durable)
        old, new = bytes(file.durable), bytes(file.cached)
        size = self.rng.choice(
            [len(old), len(new), self.rng.randint(*sorted((len(old), len(new))))]
        )
        result = bytearray(old[:size].ljust(size, b"\0"))
        keep = self.rng.choice([0.0, 0.5, 0.9, 1.0])
        for start in range(0, size, SECTOR_BYTES):
            end = min(start + SECTOR_BYTES, size)
            if self.rng.random() < keep:
                result[start:end] = new[start:end].ljust(end - start, b"\0")
        return result

    def _entry_differs(self, path: Path) -> bool:
        return self.seen.get(path) is not self.entries.get(path)

    def _sync_entry(self, path: Path) -> None:
        if path in self.seen:
            self.entries[path] = self.seen[path]
        else:
            self.entries.pop(path, None)

    def make_folder(self, folder: Path) -> None:
        self.folders.update([folder, *folder.parents])

    def is_folder(self, folder: Path) -> bool:
        return folder in self.folders

    def names(self, folder: Path) -> list[str]:
        return sorted(path.name for path in self.seen if path.parent == folder)

    def size(self, path: Path) -> int:
        return len(self._file(path).cached)

    def read(self, path: Path, offset: int, size: int) -> bytes:
        return bytes(self._file(path).cached[offset : offset + size])

    def append_to(self, path: Path, *, create: bool) -> _AppendFile:
        if create:
            self._whole_step("create")
            if path in self.seen:
                raise FileExistsError(errno.EEXIST, "exists", str(path))
            self.seen[path] = _File()
        return _AppendFile(self, self._file(path))

    def truncate(self, path: Path, size: int) -> None:
        file = self._file(path)
        failed = self.step("truncate")
        del file.cached[size:]
        if failed is not None:
            raise failed
        file.durable[:] = file.cached

    def replace(self, source: Path, target: Path) -> None:
        self._whole_step("replace")
        self.seen[target] = self.seen.pop(source)

    def remove(self, path: Path) -> None:
        self._whole_step("remove")
        self._file(path)
        del self.seen[path]

    def sync_folder(self, folder: Path) -> None:
        self._whole_step("sync_folder")
        for path in {**self.seen, **self.entries}:
            if path.parent == folder:
                self._sync_entry(path)

    def settle(self, path: Path) -> None:
        self._whole_step("settle")
        file = self._file(path)
        if file.lost:
            # Rewriting is what would bring lost pages to the medium; syncing does not.
            file.cached[:] = file.durable
            file.lost = False
        file.durable[:] = file.cached

    def lock(self, path: Path, timeout_s: float) -> _Lock | None:
        if path in self.locks:
            return None
        self.locks.add(path)
        return _Lock(self, path)

    def _file(self, path: Path) -> _File:
        if path not in self.seen:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return self.seen[path]
