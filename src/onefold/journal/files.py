"""Side files: whole or not at all.

Not all that is written belongs into the journal: heartbeats, failure logs, snapshots, exported
heads. They deserve the same care, for a half-written one is read by the next start.
"""

from __future__ import annotations

import datetime as dt
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from onefold.domain.errors import JournalError, OnefoldError
from onefold.journal.disk import OS_DISK, Disk
from onefold.journal.jsonsafe import json_safe

LOCK_TIMEOUT_S = 30.0
READ_BACK_BYTES = 4096


def utc_now() -> dt.datetime:
    """Return the wall time, UTC."""
    return dt.datetime.now(dt.UTC)


def write_atomic(path: str | Path, data: bytes, *, disk: Disk = OS_DISK) -> None:
    """Replace a file's content so that a crash leaves the old one or the new one, whole.

    Writes a temporary file beside it, syncs, renames, and syncs the folder. Raises OSError.
    """
    path = Path(path)
    # Two writers of one target must not share a temporary file, be they threads or processes.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    if temporary.name in disk.names(path.parent):
        disk.remove(temporary)
    file = disk.append_to(temporary, create=True)
    try:
        try:
            file.write(data)
            file.sync()
        finally:
            file.close()
        disk.replace(temporary, path)
    except OSError:
        disk.remove(temporary)
        raise
    disk.sync_folder(path.parent)


def atomic_jsonl_append(
    path: str | Path,
    payload: Mapping[str, object],
    *,
    now: Callable[[], dt.datetime] = utc_now,
    disk: Disk = OS_DISK,
) -> None:
    """Append one JSON line to a side file: the whole line, durably, or nothing.

    Threads and processes may append to one file at once; a lock file `<name>.lock` beside it
    keeps them apart. A payload without `timestamp` gets the UTC time of `now`. A line that an
    earlier crash left unfinished is moved to `<name>.torn`. Raises NotJsonSafe for what JSON cannot
    carry, JournalError when the lock is not to be had or the write fails.
    """
    path = Path(path)
    line = _jsonl_line(payload, path, now)
    lock = None
    try:
        disk.make_folder(path.parent)
        lock = disk.lock(path.with_name(f"{path.name}.lock"), LOCK_TIMEOUT_S)
        if lock is None:
            message = f"{path}: its lock file has been held for {LOCK_TIMEOUT_S:.0f} s"
            raise JournalError(message)
        _append_line(path, line, disk)
    except OSError as error:
        message = f"{path}: nothing was appended: {error.strerror or error}"
        raise JournalError(message) from error
    finally:
        if lock is not None:
            lock.release()


def safe_jsonl_append(
    path: str | Path,
    payload: Mapping[str, object],
    *,
    on_failure: Callable[[Path, Exception], None],
    now: Callable[[], dt.datetime] = utc_now,
    disk: Disk = OS_DISK,
) -> bool:
    """Append like `atomic_jsonl_append`, but hand a failure to `on_failure` and return False."""
    try:
        atomic_jsonl_append(path, payload, now=now, disk=disk)
    except (OnefoldError, OSError) as error:
        on_failure(Path(path), error)
        return False
    return True


def _jsonl_line(payload: Mapping[str, object], path: Path, now: Callable[[], dt.datetime]) -> bytes:
    content = json_safe(payload, name=f"the payload for {path.name}")
    if not isinstance(content, dict):
        message = f"the payload for {path.name} is a {type(payload).__name__}, not a mapping"
        raise JournalError(message)
    content.setdefault("timestamp", now().astimezone(dt.UTC).isoformat())
    return msgspec.json.encode(content) + b"\n"


def _append_line(path: Path, line: bytes, disk: Disk) -> None:
    is_new = path.name not in disk.names(path.parent)
    start = 0 if is_new else _end_of_lines(path, disk)
    file = disk.append_to(path, create=is_new)
    try:
        file.write(line)
        file.sync()
    except OSError:
        # Whole or nothing; if even this fails, the next append finds the piece.
        disk.truncate(path, start)
        raise
    finally:
        file.close()
    if is_new:
        disk.sync_folder(path.parent)


def _end_of_lines(path: Path, disk: Disk) -> int:
    """Return the file's size, after mending a last line that a crash left unfinished.

    It has no newline, or it has NUL bytes where the disk lost a sector of it.
    """
    size = disk.size(path)
    line = _last_line(path, size, disk)
    if b"\0" not in line:
        if line.endswith(b"\n") or not line:
            return size
        if _is_json(line):
            _append_raw(path, b"\n", disk)  # whole, but for its newline: by another hand
            return size + 1
    _append_raw(path.with_name(f"{path.name}.torn"), line.removesuffix(b"\n") + b"\n", disk)
    disk.truncate(path, size - len(line))
    return size - len(line)


def _last_line(path: Path, size: int, disk: Disk) -> bytes:
    length = READ_BACK_BYTES
    while True:
        start = max(0, size - length)
        data = disk.read(path, start, size - start)
        newline = data[:-1].rfind(b"\n")
        if newline >= 0 or start == 0:
            return data[newline + 1 :]
        length *= 4


def _is_json(piece: bytes) -> bool:
    try:
        msgspec.json.decode(piece)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _append_raw(path: Path, data: bytes, disk: Disk) -> None:
    is_new = path.name not in disk.names(path.parent)
    file = disk.append_to(path, create=is_new)
    try:
        file.write(data)
        file.sync()
    finally:
        file.close()
    if is_new:
        disk.sync_folder(path.parent)
