"""The bytes of a journal: three kinds of line, and the seal that chains them.

A segment is a text file of lines. Each is a JSON object that ends in its own checksum, so that
damage can be named to the line::

    {"segment":2,"format":1,"after":33218,"previous":"<seal hash>","crc":"…"}   first in a file
    {"seq":33219,"kind":"bar", … ,"crc":"…"}                                     a record
    {"seal":33219,"count":1,"previous":"<hash>","hash":"<hash>","crc":"…"}       ends a block

A block is what one commit wrote: all lines since the last seal, and its own seal. Checksums find
accidents; whoever edits a line can recompute them. The seal's hash covers the block and the seal
before it, so that an edit changes every later seal, and at last the head that was exported.

The hash is SHA-256 of the block's bytes followed by the seal line's bytes up to and excluding
`,"hash"`. The checksum is CRC-32 of the line's bytes up to and excluding `,"crc"`.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple
from zlib import crc32

FORMAT = 1
SEQ_MAX = 10**18 - 1
GENESIS_HASH = "0" * 64

RECORD_START = b'{"seq":'
SEAL_START = b'{"seal":'
CRC_LENGTH = len(b',"crc":"00000000"}')
HASH_LENGTH = len(b',"hash":""') + 64

_SEGMENT_LINE = re.compile(
    rb'\{"segment":(\d{1,18}),"format":(\d{1,9}),"after":(\d{1,18}),"previous":"([0-9a-f]{64})"'
    rb',"crc":"[0-9a-f]{8}"\}'
)
_SEAL_LINE = re.compile(
    rb'\{"seal":(\d{1,18}),"count":(\d{1,18}),"previous":"([0-9a-f]{64})"'
    rb',"hash":"([0-9a-f]{64})","crc":"[0-9a-f]{8}"\}'
)
_WHOLE_LINE = re.compile(rb'\{.*,"crc":"([0-9a-f]{8})"\}', re.DOTALL)


class SegmentLine(NamedTuple):
    """The first line of a segment: its number, and the seal that it continues from."""

    segment: int
    version: int
    after: int
    previous: str


class SealLine(NamedTuple):
    """The last line of a block: its last sequence number, how many records, and the chain."""

    seal: int
    records: int
    previous: str
    hash: str


def with_crc(line: bytes) -> bytes:
    """Close an unfinished JSON object with its checksum and end the line."""
    return b'%b,"crc":"%08x"}\n' % (line, crc32(line))


def format_records(first_seq: int, records: list[bytes]) -> bytes:
    """Return the lines of records that were encoded as JSON objects, numbered from `first_seq`."""
    numbered = [b'{"seq":%d,%b' % (n, text[1:-1]) for n, text in enumerate(records, first_seq)]
    # As `with_crc` does; calling it for every line would cost a tenth of the whole commit.
    return b"".join([b'%b,"crc":"%08x"}\n' % (line, crc32(line)) for line in numbered])


def has_valid_crc(line: bytes) -> bool:
    """Tell whether a line (without its newline) is whole and agrees with its checksum."""
    match = _WHOLE_LINE.fullmatch(line)
    return match is not None and int(match[1], 16) == crc32(line[:-CRC_LENGTH])


def format_segment(number: int, after: int, previous: str) -> bytes:
    """Return the first line of a segment."""
    line = f'{{"segment":{number},"format":{FORMAT},"after":{after},"previous":"{previous}"'
    return with_crc(line.encode())


def parse_segment(line: bytes) -> SegmentLine | None:
    """Read a segment line (without its newline); None if it is not one or is damaged."""
    match = _SEGMENT_LINE.fullmatch(line)
    if match is None or not has_valid_crc(line):
        return None
    return SegmentLine(int(match[1]), int(match[2]), int(match[3]), match[4].decode())


def seal(block: bytes, seq: int, count: int, previous: str) -> tuple[bytes, str]:
    """Return the seal line of a block and its hash."""
    start = b'{"seal":%d,"count":%d,"previous":"%b"' % (seq, count, previous.encode())
    digest = sha256(block)
    digest.update(start)
    hash_ = digest.hexdigest()
    return with_crc(b'%b,"hash":"%b"' % (start, hash_.encode())), hash_


def parse_seal(line: bytes) -> SealLine | None:
    """Read a seal line (without its newline); None if it is not one or is damaged."""
    match = _SEAL_LINE.fullmatch(line)
    if match is None or not has_valid_crc(line):
        return None
    return SealLine(int(match[1]), int(match[2]), match[3].decode(), match[4].decode())


def block_hash(block_and_seal: bytes) -> str:
    """Recompute the hash of a block that ends in its seal line (without the last newline)."""
    return sha256(block_and_seal[: -(HASH_LENGTH + CRC_LENGTH)]).hexdigest()
