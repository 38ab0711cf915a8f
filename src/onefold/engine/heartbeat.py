"""The heartbeat: a small file that says what a session is doing, for whoever cannot ask it.

It is replaced whole, after what happened but at most once a second (each replacement makes the
journal's next sync slower), at least every half minute, and not synced: a power cut may lose the
last one, which is as well, since then nothing beats.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from onefold.engine.worries import Worries

NAME = "heartbeat.json"
STALE_S = 90.0
"""From this age on a heartbeat says that its session hangs: three beats did not come."""
HEARTBEAT_S_MAX = 30.0
"""Longest time between two beats of a session that lives."""


class Heartbeat:
    """Writes `heartbeat.json`; `least_s` and `most_s` bound the time between two beats.

    `copy` is another file that is written as well.
    """

    def __init__(
        self,
        path: Path,
        *,
        copy: Path | None = None,
        least_s: float = 1.0,
        most_s: float = HEARTBEAT_S_MAX,
    ) -> None:
        self._paths = [path] if copy is None else [path, copy]
        self.least_s, self.most_s = least_s, most_s
        self._worries = Worries("onefold.monitoring.heartbeat", "heartbeat")

    def beat(self, content: dict[str, Any]) -> None:
        """Replace the file. A disk that is full must not stop trading, so failure is let pass."""
        encoded = msgspec.json.encode(content)
        for path in self._paths:
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.write_bytes(encoded)
                temporary.replace(path)
            except OSError as error:
                self._worries.about(str(path), "it cannot be written", error)
            else:
                self._worries.over(str(path))


def read_heartbeat(folder: Path) -> dict[str, Any] | None:
    """Return what the last heartbeat in a folder said, None where there is none to read."""
    try:
        found = msgspec.json.decode((folder / NAME).read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return found if isinstance(found, dict) else None


def heartbeat_age_s(folder: Path) -> float | None:
    """Return how long ago an account's heartbeat was written, None where there is none."""
    try:
        return max(0.0, time.time() - (folder / NAME).stat().st_mtime)
    except OSError:
        return None


def is_running(pid: int) -> bool:
    """Return whether a process with this number runs."""
    if pid <= 0:
        return False
    if sys.platform == "win32":  # there, `kill` with 0 would interrupt it
        return _is_running_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _is_running_on_windows(pid: int) -> bool:
    limited_information, still_active = 0x1000, 259
    kernel: Any = vars(ctypes)["windll"].kernel32
    process = kernel.OpenProcess(limited_information, False, pid)  # noqa: FBT003 - its signature
    if not process:
        return False
    code = ctypes.c_ulong()
    known = kernel.GetExitCodeProcess(process, ctypes.byref(code))
    kernel.CloseHandle(process)
    return bool(known) and code.value == still_active
