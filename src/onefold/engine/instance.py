"""Only one process trades an account: a lock of the operating system, and an epoch that fences.

The lock keeps a second process out. But a process can be paused for minutes (a laptop lid, a
stalled machine) while an operator breaks its lock and starts another; when it wakes it would still
send what it had in hand. So each start takes the next epoch, written beside the lock, and every
send looks first whether the epoch is still its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import filelock

from onefold.domain.errors import ConfigError, InstanceRunning, VenueRefused
from onefold.engine.heartbeat import STALE_S, heartbeat_age_s, is_running
from onefold.journal.files import write_atomic

if sys.platform != "win32":
    import fcntl

PATIENCE_S = 0.5
"""How long the lock is tried for: whoever looks whether it is held has it for a moment."""
_HELD = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK}


def is_held(folder: Path, account: str) -> bool | None:
    """Return whether a process holds the right to trade an account, None where nobody can tell.

    A lock of the file system is seen from other containers too, where the numbers of processes are
    others. It is free at once when its process is gone.
    """
    if sys.platform == "win32":
        return None
    try:
        file = os.open(_lock_file(folder, account), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in _HELD else None
    else:
        return False
    finally:
        os.close(file)


def runs(folder: Path, beat: Mapping[str, Any]) -> bool:
    """Return whether the session of a heartbeat runs: it holds the account, if that can be seen.

    Without a lock there is a new heartbeat to go by, or a process of its number, which alone says
    nothing where session and asker are in containers of their own.
    """
    held = is_held(folder, folder.name)
    if held is not None:
        return held
    age_s, pid = heartbeat_age_s(folder), beat.get("pid")
    is_new = age_s is not None and age_s <= STALE_S
    return is_new or (isinstance(pid, int) and is_running(pid))


def _lock_file(folder: Path, account: str) -> Path:
    return folder / f"{account}.instance"


class Instance:
    """The right to trade an account, held by one process; use it as a context manager."""

    def __init__(self, folder: Path, account: str) -> None:
        self._folder = folder
        self._account = account
        self._lock = filelock.FileLock(_lock_file(folder, account), timeout=PATIENCE_S)
        self._epoch_file = os.fspath(folder / f"{account}.epoch")
        self._pid_file = folder / f"{account}.pid"
        self.epoch = 0

    def __enter__(self) -> Self:
        """Take the right, or raise `InstanceRunning` that names the process which has it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise InstanceRunning(
                f"account {self._account!r} is traded by process {self._owner()} already: "
                "stop that one first (onefold stop), or choose another account"
            ) from None
        if self._recorded() < 0:
            self._lock.release()
            raise ConfigError(
                f"{self._epoch_file} cannot be read: see that no process trades account "
                f"{self._account!r}, then write a number into it that is larger than any before"
            )
        self.epoch = self._recorded() + 1
        write_atomic(self._epoch_file, str(self.epoch).encode())
        write_atomic(self._pid_file, str(os.getpid()).encode())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the right back."""
        with contextlib.suppress(OSError):
            if self._recorded() == self.epoch:
                self._pid_file.unlink(missing_ok=True)
        self._lock.release()

    def look(self) -> None:
        """Raise `VenueRefused` when a later process has taken over."""
        if self._recorded() != self.epoch:
            raise VenueRefused(
                f"another process has taken over account {self._account!r} (epoch "
                f"{self._recorded()}, ours is {self.epoch})"
            )

    def _recorded(self) -> int:
        try:
            with open(self._epoch_file, "rb") as file:  # noqa: PTH123 - read before every send
                return int(file.read(20))
        except FileNotFoundError:
            return 0
        except (OSError, ValueError):
            return -1  # unreadable: not ours, so nothing leaves

    def _owner(self) -> str:
        try:
            return self._pid_file.read_text(encoding="ascii").strip() or "unknown"
        except OSError:
            return "unknown"
