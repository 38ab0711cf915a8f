"""Walk a journal block by block, and believe nothing that a seal does not cover.

Reading, verification and recovery are the same walk, so that none of them can accept what
another refuses. The hard question is at the end of the last segment. Bytes that no seal covers
may be the rest of a commit that a crash cut short: nobody was told that it succeeded, so it may
be set aside. Or they may be acknowledged records that rotted or were edited: setting those aside
would lose them silently. The two are told apart by what a cut commit can look like, and
everything else is damage:

- a beginning of a block: whole lines, perhaps a piece of one more, and no seal;
- a block with at least one disk sector that was never written and so reads as NUL bytes.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from onefold.domain.errors import JournalDamaged, JournalError
from onefold.journal import lines
from onefold.journal.disk import Disk

READ_CHUNK_BYTES = 1 << 20
SECTOR_BYTES = 512
SEAL_LINE_BYTES_MAX = 512

_SEGMENT_NAME = re.compile(r"(\d{6,})-(\d{4}-\d{2}-\d{2})\.jsonl")
_RECORD_LINE = re.compile(rb'\{"seq":(\d{1,18}),"kind":"')
_CRC = re.compile(rb',"crc":"[0-9a-f]{8}"\}')


class Head(NamedTuple):
    """The last sealed sequence number (0: none) and the seal's hash: the journal's fingerprint."""

    seq: int
    hash: str


GENESIS = Head(0, lines.GENESIS_HASH)


class Tail(NamedTuple):
    """Bytes after the last seal: `line` from 1, `offset` and `size_bytes` in the segment."""

    path: Path
    line: int
    offset: int
    size_bytes: int
    lines: int


class Segment(NamedTuple):
    """One file of a journal; `date` is the UTC day on which it was begun."""

    number: int
    date: dt.date
    path: Path


class Block(NamedTuple):
    """One verified commit: its record lines, and where the first of them is."""

    path: Path
    line: int
    offset: int
    first_seq: int
    records: list[bytes]
    head: Head


class Problem(NamedTuple):
    """The first thing wrong in a stretch of a segment."""

    line: int
    offset: int
    reason: str


def segment_path(folder: Path, number: int, date: dt.date) -> Path:
    """Return the path of a segment."""
    return folder / f"{number:06d}-{date.isoformat()}.jsonl"


def list_segments(disk: Disk, folder: Path) -> list[Segment]:
    """List a journal's segments in order. Raises JournalDamaged when one is missing or double."""
    found: list[Segment] = []
    for name in disk.names(folder):
        match = _SEGMENT_NAME.fullmatch(name)
        if match is None:
            continue
        try:
            date = dt.date.fromisoformat(match[2])
        except ValueError:
            raise JournalDamaged(folder / name, 1, 0, f"{match[2]} is no date") from None
        found.append(Segment(int(match[1]), date, folder / name))
    found.sort()
    for expected, segment in enumerate(found, start=1):
        if segment.number > expected:
            reason = f"segment {expected} is missing before this one"
            raise JournalDamaged(segment.path, 1, 0, reason)
        if segment.number < expected:
            reason = f"there are two segments {segment.number}: {found[expected - 2].path.name} too"
            raise JournalDamaged(segment.path, 1, 0, reason)
    return found


class SegmentScan:
    """The walk over one segment.

    `head` is first the seal that the segment must continue from, and after the walk the last one;
    `offset` and `line` are the place after it, where another walk may go on; `tail` is what an
    interrupted commit left. Only the last segment of a journal may have a tail.
    """

    def __init__(
        self,
        disk: Disk,
        segment: Segment,
        head: Head,
        *,
        is_last: bool,
        offset: int = 0,
        line: int = 1,
    ) -> None:
        self._disk = disk
        self._segment = segment
        self._is_last = is_last
        self.head = head
        self.offset = offset
        self.line = line
        self.tail: Tail | None = None

    def blocks(self) -> Iterator[Block]:
        """Yield the sealed blocks. Raises JournalDamaged at the first thing that is wrong."""
        path = self._segment.path
        buffer = bytearray()
        position, searched = self.offset, 0
        while chunk := self._disk.read(path, position, READ_CHUNK_BYTES):
            position += len(chunk)
            buffer += chunk
            while end := _block_end(buffer, searched):
                searched = 0
                block = self._verified(bytes(buffer[:end]))
                if block is None:
                    rest = self._disk.read(path, position, self._disk.size(path))
                    self._finish(bytes(buffer) + rest)
                    return
                del buffer[:end]
                yield block
            # A seal whose line is not yet complete is looked for again with the next chunk.
            searched = max(0, len(buffer) - SEAL_LINE_BYTES_MAX)
        self._finish(bytes(buffer))

    def _verified(self, raw: bytes) -> Block | None:
        """Return the block if everything in it is as sealed, and advance; else None."""
        records = raw.split(b"\n")
        records.pop()  # what follows the last newline: nothing
        seal = lines.parse_seal(records.pop())
        head, line, offset = self.head, self.line, self.offset
        if offset == 0:
            if not records or self._segment_problem(records[0]) is not None:
                return None
            line, offset = 2, len(records.pop(0)) + 1
        if seal is None or seal.previous != head.hash or lines.block_hash(raw[:-1]) != seal.hash:
            return None
        if not len(records) == seal.records == seal.seal - head.seq > 0:
            return None
        for seq, record in enumerate(records, start=head.seq + 1):
            if not record.startswith(b'{"seq":%d,"kind":"' % seq):
                return None
        self.head = Head(seal.seal, seal.hash)
        self.line = line + len(records) + 1
        self.offset += len(raw)
        return Block(self._segment.path, line, offset, head.seq + 1, records, self.head)

    def _finish(self, rest: bytes) -> None:
        """Judge what follows the last good seal: nothing, an interrupted commit, or damage."""
        if not rest and (self.offset > 0 or self._is_last):
            return
        problem = self._find_problem(rest)
        fragment = rest[rest.rfind(b"\n") + 1 :]
        is_beginning = problem is None and not _runs_on(fragment)
        if self._is_last and (is_beginning or _has_lost_sector(rest, self.offset)):
            count = rest.count(b"\n") + bool(fragment)
            self.tail = Tail(self._segment.path, self.line, self.offset, len(rest), count)
            return
        if problem is None:
            line = self.line + rest.count(b"\n")
            offset = self.offset + len(rest) - len(fragment)
            reason = "the line is altered or cut short" if fragment else "no seal ends the segment"
            problem = Problem(line, offset, reason)
        raise JournalDamaged(self._segment.path, *problem)

    def _find_problem(self, rest: bytes) -> Problem | None:
        """Find the first whole line that is wrong in bytes that follow the last good seal."""
        seq, offset = self.head.seq, self.offset
        for line, text in enumerate(rest.split(b"\n")[:-1], start=self.line):
            if line == 1:
                reason = self._segment_problem(text)
            elif text.startswith(lines.SEAL_START):
                reason = _seal_problem(text, self.head, seq - self.head.seq)
            else:
                seq += 1
                reason = _record_problem(text, seq)
            if reason is not None:
                return Problem(line, offset, reason)
            offset += len(text) + 1
        return None

    def _segment_problem(self, text: bytes) -> str | None:
        header = lines.parse_segment(text)
        if header is None:
            return "the segment's first line is altered or cut short"
        if header.version != lines.FORMAT:
            return f"format {header.version} is not known to this version of Onefold: upgrade it"
        if header.segment != self._segment.number:
            return f"this is segment {header.segment}, but its name says {self._segment.number}"
        if self.head != (header.after, header.previous):
            return (
                f"it continues from record {header.after}, but the segment before ends with"
                f" record {self.head.seq} or another seal: blocks were removed or spliced in"
            )
        return None


def _block_end(buffer: bytearray, start: int) -> int:
    """Return the end of the first block's seal line; 0 if there is no whole one from `start`."""
    at_once = buffer.startswith(lines.SEAL_START)
    begin = 0 if at_once else buffer.find(b"\n" + lines.SEAL_START, start)
    return 0 if begin < 0 else buffer.find(b"\n", begin + 1) + 1


def _record_problem(text: bytes, seq: int) -> str | None:
    if not lines.has_valid_crc(text):
        return "the checksum does not match: the line is altered or cut short"
    match = _RECORD_LINE.match(text)
    if match is None:
        return "neither a record nor a seal"
    if int(match[1]) != seq:
        return f"expected record {seq}, found {int(match[1])}: lines are missing, double or moved"
    return None


def _seal_problem(text: bytes, head: Head, count: int) -> str:
    """Say why a seal does not verify; every seal that is asked about is known not to."""
    seal = lines.parse_seal(text)
    if seal is None:
        return "the checksum of the seal does not match: the line is altered or cut short"
    if seal.previous != head.hash:
        return "the seal continues from another seal: blocks were removed, moved or spliced in"
    if seal.records != count or seal.seal != head.seq + count or count == 0:
        return (
            f"the seal covers {seal.records} records up to {seal.seal}, here are {count} up to"
            f" {head.seq + count}: lines were removed or added"
        )
    return (
        "the seal's hash does not match its block: a line above was altered and its checksum"
        " recomputed"
    )


def _runs_on(fragment: bytes) -> bool:
    """Tell whether an unfinished last line is a whole one with its newline altered."""
    ends = (match.end() for match in _CRC.finditer(fragment))
    return any(end < len(fragment) and lines.has_valid_crc(fragment[:end]) for end in ends)


def _has_lost_sector(rest: bytes, offset: int) -> bool:
    """Tell whether this is one commit of which the disk has not written every sector.

    A sector never written reads as NUL bytes, which no line contains. Lines outside it must be
    right, and the seal, if it is there, the last: or else it is damage that looks a little alike.
    """
    first = SECTOR_BYTES - offset % SECTOR_BYTES
    edges = [0, *range(first, len(rest), SECTOR_BYTES), len(rest)]
    lost = any(not rest[a:b].strip(b"\0") for a, b in pairwise(edges))
    whole = [text for text in rest.split(b"\n")[:-1] if b"\0" not in text]
    seals = [i for i, text in enumerate(whole) if text.startswith(lines.SEAL_START)]
    return lost and all(map(lines.has_valid_crc, whole)) and seals in ([], [len(whole) - 1])


class JournalScan:
    """The walk over a journal, segment after segment.

    Starts at the first segment, or at the last one that begins at or before record `after`, which
    is then believed in its first line; `first` is its place among `segments`. `head` and `tail` are
    as in `SegmentScan`, of the end.
    """

    def __init__(self, disk: Disk, folder: Path, *, after: int = 0) -> None:
        if not disk.is_folder(folder):
            message = f"there is no journal at {folder}: no such folder"
            raise JournalError(message)
        self._disk = disk
        self.segments = list_segments(disk, folder)
        self.head = GENESIS
        self.offset = 0
        self.line = 1
        self.tail: Tail | None = None
        self.first = 0
        if after > 0:
            self._skip_to(after)

    def _skip_to(self, after: int) -> None:
        for index in range(len(self.segments) - 1, 0, -1):
            header = read_header(self._disk, self.segments[index])
            if header is not None and header.after <= after:
                self.first, self.head = index, Head(header.after, header.previous)
                return

    def blocks(self) -> Iterator[Block]:
        """Yield the sealed blocks. Raises JournalDamaged at the first thing that is wrong."""
        for index in range(self.first, len(self.segments)):
            is_last = index == len(self.segments) - 1
            scan = SegmentScan(self._disk, self.segments[index], self.head, is_last=is_last)
            yield from scan.blocks()
            self.head, self.offset, self.line = scan.head, scan.offset, scan.line
            self.tail = scan.tail


def read_header(disk: Disk, segment: Segment) -> lines.SegmentLine | None:
    """Read a segment's first line; None when it is not whole."""
    start = disk.read(segment.path, 0, SEAL_LINE_BYTES_MAX)
    return lines.parse_segment(start.partition(b"\n")[0])


def verify_history(disk: Disk, folder: Path, head: Head) -> JournalScan:
    """Walk the whole journal, and check that `head` is the seal of one of its blocks.

    Returns the finished walk. Raises JournalDamaged with the place of the first thing wrong.
    """
    scan = JournalScan(disk, folder)
    seen = GENESIS
    for block in scan.blocks():
        if block.head.seq == head.seq and block.head != head:
            offset = block.offset + sum(len(record) + 1 for record in block.records)
            reason = f"the seal of record {head.seq} is not the exported one: history was rewritten"
            raise JournalDamaged(block.path, block.line + len(block.records), offset, reason)
        if block.head.seq <= head.seq:
            seen = block.head
    if seen != head:
        end = scan.head.seq
        reason = f"the exported head is at record {head.seq}, "
        if head.seq > end:
            reason += f"the journal ends at record {end}: its end was cut off"
        else:
            reason += "where no block ends: history was rewritten"
        last = scan.segments[-1].path if scan.segments else folder
        raise JournalDamaged(last, scan.line, scan.offset, reason)
    return scan
