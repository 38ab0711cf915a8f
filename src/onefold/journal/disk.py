"""The few file operations that the journal needs, as a port.

Durability cannot be tested on a real disk: `kill -9` leaves the page cache intact, and nobody
pulls the plug in a test. So all that the journal does to files goes through `Disk`; the tests
have a simulated one that loses unsynced sectors. `OsDisk` is the real one, and the only place
that knows how operating systems differ in what makes a write durable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import filelock

if sys.platform != "win32":
    import fcntl

LOCK_POLL_S = 0.001


class Lock(Protocol):
    """A held lock."""

    def is_held(self) -> bool:
        """Tell whether the lock file is still the one that was locked.

        Someone may have removed it: then another process can lock a new one of the same name.
        """

    def release(self) -> None:
        """Give the lock back."""


class AppendFile(Protocol):
    """A file open for appending."""

    def write(self, data: bytes) -> None:
        """Append all of `data`, or raise OSError."""

    def sync(self) -> None:
        """Return when the content is durable, or raise OSError."""

    def close(self) -> None:
        """Close the file."""


class Disk(Protocol):
    """What the journal asks of a file system."""

    def make_folder(self, folder: Path) -> None:
        """Create the folder and its parents durably; an existing one is fine."""

    def is_folder(self, folder: Path) -> bool:
        """Tell whether the folder exists."""

    def names(self, folder: Path) -> list[str]:
        """List the names in a folder, sorted; none if it does not exist."""

    def size(self, path: Path) -> int:
        """Return the file's size in bytes; FileNotFoundError if there is none."""

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end of the file."""

    def append_to(self, path: Path, *, create: bool) -> AppendFile:
        """Open for appending; with `create` the file must not exist yet, without it must."""

    def truncate(self, path: Path, size: int) -> None:
        """Cut the file to `size` bytes, durably."""

    def replace(self, source: Path, target: Path) -> None:
        """Rename, replacing the target; durable after `sync_folder`."""

    def remove(self, path: Path) -> None:
        """Delete the file; durable after `sync_folder`."""

    def sync_folder(self, folder: Path) -> None:
        """Make creations, renames and deletions in the folder durable."""

    def settle(self, path: Path) -> None:
        """Sync the file and forget its cached pages, so that reads show what the disk holds.

        After a failed fsync Linux keeps the unwritten pages in its cache and calls them clean: a
        restarted process would read, and trust, what a power cut then takes away.
        """

    def lock(self, path: Path, timeout_s: float) -> Lock | None:
        """Take an exclusive lock on a lock file; None when it is still held after `timeout_s`."""


def write_all(write: Callable[[memoryview], int], data: bytes) -> None:
    """Call `write` until all of `data` is written; OSError when it makes no progress."""
    rest = memoryview(data)
    while rest:
        written = write(rest)
        if written <= 0:
            message = f"wrote {len(data) - len(rest)} of {len(data)} bytes, then no more"
            raise OSError(message)
        rest = rest[written:]


def sync_data(descriptor: int) -> None:
    """Make a file's content and size durable, by the cheapest call that really does so."""
    if sys.platform == "darwin":
        # On macOS fsync stops at the drive's cache; only this reaches the medium.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


class OsAppendFile:
    """A real file, unbuffered."""

    def __init__(self, path: Path, *, create: bool) -> None:
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
        if create:
            flags |= os.O_CREAT | os.O_EXCL
        self._descriptor = os.open(path, flags, 0o644)

    def write(self, data: bytes) -> None:
        """Append all of `data`, or raise OSError."""
        written = os.write(self._descriptor, data)
        if written != len(data):
            write_all(partial(os.write, self._descriptor), data[written:])

    def sync(self) -> None:
        """Return when the content is durable, or raise OSError."""
        sync_data(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class OsLock:
    """A held lock on a real file, which it knows again by device and inode."""

    def __init__(self, path: Path, lock: filelock.BaseFileLock) -> None:
        self._path = os.fspath(path)
        self._lock = lock
        self._file = _identity(self._path)

    def is_held(self) -> bool:
        """Tell whether the lock file is still the one that was locked."""
        return self._file is not None and _identity(self._path) == self._file

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - asked at every commit, and half the price
    except OSError:
        return None
    return found.st_dev, found.st_ino


class OsDisk:
    """The operating system's file system."""

    def make_folder(self, folder: Path) -> None:
        """Create the folder and its parents durably; an existing one is fine."""
        if folder.is_dir():
            return
        if folder.parent != folder:
            self.make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        self.sync_folder(folder.parent)

    def is_folder(self, folder: Path) -> bool:
        """Tell whether the folder exists."""
        return folder.is_dir()

    def names(self, folder: Path) -> list[str]:
        """List the names in a folder, sorted; none if it does not exist."""
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def size(self, path: Path) -> int:
        """Return the file's size in bytes; FileNotFoundError if there is none."""
        return path.stat().st_size

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end of the file."""
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def append_to(self, path: Path, *, create: bool) -> AppendFile:
        """Open for appending; with `create` the file must not exist yet, without it must."""
        return OsAppendFile(path, create=create)

    def truncate(self, path: Path, size: int) -> None:
        """Cut the file to `size` bytes, durably."""
        with path.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def replace(self, source: Path, target: Path) -> None:
        """Rename, replacing the target; durable after `sync_folder`."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Delete the file; durable after `sync_folder`."""
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        """Make creations, renames and deletions in the folder durable."""
        if sys.platform == "win32":
            return  # Windows cannot open a folder; NTFS journals its metadata by itself
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def settle(self, path: Path) -> None:
        """Sync the file and forget its cached pages, so that reads show what the disk holds."""
        with path.open("r+b") as file:
            sync_data(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def lock(self, path: Path, timeout_s: float) -> Lock | None:
        """Take an exclusive lock on a lock file; None when it is still held after `timeout_s`."""
        # Not thread-local: the thread that closes a journal need not be the one that opened it.
        lock = filelock.FileLock(path, thread_local=False, poll_interval=LOCK_POLL_S)
        try:
            lock.acquire(timeout=timeout_s)
        except filelock.Timeout:
            return None
        return OsLock(path, lock)


OS_DISK: Disk = OsDisk()
