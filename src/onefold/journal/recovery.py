"""Make a journal writable again after whatever ended the last process.

There is one way to start, and it begins here: verify everything, and set aside what an
interrupted commit left after the last seal. Those bytes were never acknowledged, so nothing was
done upon them, but they are evidence: they are copied to `quarantine/` and listed in
`quarantine/repairs.jsonl` before the segment is cut back to its last seal. That cut is the only
change that is ever made to bytes once written. The repair is not a record of the journal itself,
so that an interrupted run and one that was not end with the same records.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from onefold.domain.errors import JournalError
from onefold.journal.disk import Disk
from onefold.journal.files import atomic_jsonl_append, write_atomic
from onefold.journal.segments import GENESIS, Head, Segment, Tail, list_segments, verify_history

QUARANTINE = "quarantine"
REPAIRS = "repairs.jsonl"


class Recovered(NamedTuple):
    """What recovery set aside: the place and size of the tail, and the file that has it now."""

    path: Path
    line: int
    offset: int
    size_bytes: int
    lines: int
    quarantine: Path


class WritableEnd(NamedTuple):
    """Where writing goes on: the last seal, the segment to append to, its size in bytes."""

    head: Head
    segment: Segment | None
    size_bytes: int
    segments: int
    recovered: Recovered | None


def recover(
    disk: Disk, folder: Path, head: Head | None, now: Callable[[], dt.datetime]
) -> WritableEnd:
    """Verify the journal, set an interrupted commit aside, and return where to go on.

    `head` is an exported head that the journal must contain. Raises JournalDamaged, and changes
    nothing, when anything sealed is not as it was written.
    """
    disk.sync_folder(folder)
    segments = _settled_segments(disk, folder)
    scan = verify_history(disk, folder, GENESIS if head is None else head)
    recovered = None if scan.tail is None else _set_aside(disk, folder, scan.tail, now)
    if segments and scan.offset == 0:
        # Begun but never sealed: it holds nothing, and its number is free again. It must be gone
        # for good before the segment before it is appended to: if it came back after a power cut,
        # that one would not be the last, and its interrupted commit would be called damage.
        disk.remove(segments.pop().path)
        disk.sync_folder(folder)
    last = segments[-1] if segments else None
    size_bytes = 0 if last is None else disk.size(last.path)
    return WritableEnd(scan.head, last, size_bytes, len(segments), recovered)


def _settled_segments(disk: Disk, folder: Path) -> list[Segment]:
    segments = list_segments(disk, folder)
    if segments:
        # Earlier ones were made durable before this one was begun.
        disk.settle(segments[-1].path)
    return segments


def _set_aside(disk: Disk, folder: Path, tail: Tail, now: Callable[[], dt.datetime]) -> Recovered:
    data = disk.read(tail.path, tail.offset, tail.size_bytes)
    if len(data) != tail.size_bytes:
        message = f"{tail.path} changed while it was being recovered: is another process writing?"
        raise JournalError(message)
    copy = _quarantine_copy(disk, folder / QUARANTINE, tail, data)
    repair = {
        "segment": tail.path.name,
        "line": tail.line,
        "offset": tail.offset,
        "size_bytes": tail.size_bytes,
        "lines": tail.lines,
        "quarantine": copy.name,
    }
    atomic_jsonl_append(folder / QUARANTINE / REPAIRS, repair, now=now, disk=disk)
    disk.truncate(tail.path, tail.offset)
    return Recovered(*tail, quarantine=copy)


def _quarantine_copy(disk: Disk, folder: Path, tail: Tail, data: bytes) -> Path:
    """Write the tail to a file of its own; one that is there already is never overwritten."""
    disk.make_folder(folder)
    names = set(disk.names(folder))
    stem = f"{tail.path.stem}-{tail.offset}"
    name, copies = f"{stem}.bad", 1
    while name in names:
        if disk.read(folder / name, 0, len(data) + 1) == data:
            break  # recovery itself was interrupted, after it had made the copy
        copies += 1
        name = f"{stem}-{copies}.bad"
    write_atomic(folder / name, data, disk=disk)
    return folder / name
