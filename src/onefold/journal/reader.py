"""Read a journal that someone else may be writing: streaming, with bounded memory.

Readers take no lock and change nothing. They see what is sealed and nothing else, so that a view,
a replay and a recovery after a crash agree on what happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, cast

import msgspec

from onefold.domain.errors import JournalError
from onefold.journal import lines
from onefold.journal.disk import OS_DISK, Disk
from onefold.journal.files import write_atomic
from onefold.journal.segments import (
    GENESIS,
    Block,
    Head,
    JournalScan,
    SegmentScan,
    Tail,
    list_segments,
    verify_history,
)

T = TypeVar("T")

HEAD_FILE_BYTES_MAX = 4096


class Entry(NamedTuple):
    """A sealed record.

    `raw` is the record's own JSON, byte for byte as it was encoded, without the sequence number
    and the checksum that the journal puts around it. `line` (from 1) and `offset` (bytes) name
    its place in the segment `path`.
    """

    seq: int
    raw: bytes
    kind: str
    path: Path
    line: int
    offset: int


class Verification(NamedTuple):
    """What a journal holds: counts, its head, and bytes after the last seal if there are any."""

    records: int
    segments: int
    head: Head
    tail: Tail | None


class _HeadFile(msgspec.Struct, forbid_unknown_fields=True):
    seq: Annotated[int, msgspec.Meta(ge=0)]
    hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


def read(path: str | Path, *, after: int = 0, disk: Disk = OS_DISK) -> Iterator[Entry]:
    """Yield the sealed records with a sequence number above `after`, verifying as it goes.

    Whole segments before `after` are skipped unread. Memory is bounded by the largest commit.
    Raises JournalError when there is no journal, JournalDamaged at the first thing wrong.
    """
    for block in JournalScan(disk, Path(path), after=after).blocks():
        if block.head.seq > after:
            yield from _entries(block, after)


class Follower:
    """Reads on in a journal that someone writes, each sealed record once, never a byte twice.

    Begins after record `after`; `head` is the last seal that it has seen. The journal need not be
    there yet.
    """

    def __init__(self, path: str | Path, *, after: int = 0, disk: Disk = OS_DISK) -> None:
        self.path, self.head = Path(path), GENESIS
        self._after, self._disk = after, disk
        self._segment, self._offset, self._line = 0, 0, 1
        if after > 0:
            scan = JournalScan(disk, self.path, after=after)
            self._segment, self.head = scan.first, scan.head

    def poll(self, most: int = 10_000) -> list[Entry]:
        """Return what has been sealed since the last call, of `most` records or a block more.

        Raises JournalDamaged at the first thing wrong.
        """
        found: list[Entry] = []
        for block in self._blocks():
            found += _entries(block, self._after)
            if len(found) >= most:
                break
        return found

    def _blocks(self) -> Iterator[Block]:
        if not self._disk.is_folder(self.path):
            return
        segments = list_segments(self._disk, self.path)
        for number in range(self._segment, len(segments)):
            if number > self._segment:
                self._segment, self._offset, self._line = number, 0, 1
            scan = SegmentScan(
                self._disk,
                segments[number],
                self.head,
                is_last=number == len(segments) - 1,
                offset=self._offset,
                line=self._line,
            )
            for block in scan.blocks():
                self.head, self._offset, self._line = scan.head, scan.offset, scan.line
                yield block


def _entries(block: Block, after: int) -> Iterator[Entry]:
    path, offset, line = block.path, block.offset, block.line
    for seq, record in enumerate(block.records, start=block.first_seq):
        if seq > after:
            begin = record.index(b",") + 1
            kind_begin = begin + len(b'"kind":"')
            kind = record[kind_begin : record.index(b'"', kind_begin)].decode()
            raw = b"{%b}" % record[begin : -lines.CRC_LENGTH]
            yield Entry(seq, raw, kind, path, line, offset)
        line += 1
        offset += len(record) + 1


@lru_cache(maxsize=64)
def _decoder(record_type: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cast("type[Any]", record_type))


def decode(entry: Entry, record_type: type[T]) -> T:
    """Decode a record as a struct type, or as a union of struct types by their tags.

    Raises JournalError, naming the place, when the record is not of that type.
    """
    try:
        return cast("T", _decoder(cast("Hashable", record_type)).decode(entry.raw))
    except msgspec.DecodeError as error:
        message = (
            f"{entry.path}, line {entry.line}: record {entry.seq} ({entry.kind!r}) does not fit:"
            f" {error}; was it written by another version?"
        )
        raise JournalError(message) from None


def verify(path: str | Path, head: Head | None = None, *, disk: Disk = OS_DISK) -> Verification:
    """Check every byte of a journal against its seals, and its history against a head.

    Without a head the removal of whole blocks from the end cannot be seen. Raises JournalDamaged
    with the exact place of the first edit, deletion, reordering, splice or truncation.
    """
    scan = verify_history(disk, Path(path), GENESIS if head is None else head)
    return Verification(scan.head.seq, len(scan.segments), scan.head, scan.tail)


def head(path: str | Path, *, disk: Disk = OS_DISK) -> Head:
    """Return the journal's head, verifying only its last segment. Raises as `verify` does."""
    scan = JournalScan(disk, Path(path), after=lines.SEQ_MAX)
    for _ in scan.blocks():
        pass
    return scan.head


def tail(path: str | Path, count: int, *, disk: Disk = OS_DISK) -> list[Entry]:
    """Return the last `count` sealed records, in order, verifying only the segments they are in."""
    after = max(0, head(path, disk=disk).seq - max(0, count))
    # A writer may have sealed more in between; the last `count` are still the last.
    return list(deque(read(path, after=after, disk=disk), maxlen=max(0, count)))


def export_head(path: str | Path, file: str | Path, *, disk: Disk = OS_DISK) -> Head:
    """Write the journal's head to a file outside of it, for `verify` to compare later."""
    current = head(path, disk=disk)
    content = msgspec.json.encode(_HeadFile(*current)) + b"\n"
    write_atomic(file, content, disk=disk)
    return current


def load_head(file: str | Path, *, disk: Disk = OS_DISK) -> Head:
    """Read a head that `export_head` wrote. Raises JournalError when it is not one."""
    try:
        content = disk.read(Path(file), 0, HEAD_FILE_BYTES_MAX)
        exported = msgspec.json.decode(content, type=_HeadFile)
    except (OSError, msgspec.DecodeError) as error:
        message = f"{file} is no exported head: {error}"
        raise JournalError(message) from None
    return Head(exported.seq, exported.hash)
