"""J4: every way to change a sealed journal is found, and its place is named."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.errors import JournalDamaged, JournalError
from onefold.journal import GENESIS, Head, head, read, verify
from onefold.journal.lines import CRC_LENGTH, block_hash, seal, with_crc
from onefold.journal.segments import READ_CHUNK_BYTES, JournalScan, list_segments

from .records import Tick, open_journal, write_blocks
from .simulated_disk import SimulatedDisk

FOLDER = Path("/journal")
FIRST = FOLDER / "000001-2026-11-20.jsonl"
SECOND = FOLDER / "000002-2026-11-20.jsonl"


def journal_on_disk(note: str = "") -> SimulatedDisk:
    """Two segments: blocks of 3 and 2 records in the first, of 1, 2 and 1 in the second."""
    disk = SimulatedDisk()
    with open_journal(FOLDER, disk, segment_bytes=1050) as journal:
        write_blocks(journal, [3, 2, 1, 2, 1], note)
    assert disk.names(FOLDER) == [FIRST.name, SECOND.name]
    return disk


def content(disk: SimulatedDisk, path: Path) -> list[bytes]:
    return bytes(disk.seen[path].cached).splitlines(keepends=True)


def put(disk: SimulatedDisk, path: Path, data: bytes) -> None:
    disk.seen[path].cached[:] = data


def assert_damaged(disk: SimulatedDisk, against: Head | None = None) -> JournalDamaged:
    """Check that nobody accepts it, and that opening it changes nothing."""
    before = {path: bytes(file.cached) for path, file in disk.seen.items()}
    with pytest.raises(JournalDamaged) as caught:
        verify(FOLDER, against, disk=disk)
    with pytest.raises(JournalDamaged):
        open_journal(FOLDER, disk, head=against)
    assert {path: bytes(file.cached) for path, file in disk.seen.items()} == before
    return caught.value


def test_a_sound_journal_verifies() -> None:
    disk = journal_on_disk()
    result = verify(FOLDER, disk=disk)
    assert (result.records, result.segments, result.tail) == (9, 2, None)
    assert verify(FOLDER, result.head, disk=disk) == result
    assert verify(FOLDER, GENESIS, disk=disk) == result


@pytest.mark.parametrize("path", [FIRST, SECOND])
def test_every_flipped_bit_is_found_and_its_line_named(path: Path) -> None:
    disk = journal_on_disk()
    data = bytes(disk.seen[path].cached)
    line, line_offset = 1, 0
    for offset, byte in enumerate(data):
        for bit in range(8):
            disk.seen[path].cached[offset] = byte ^ (1 << bit)
            with pytest.raises(JournalDamaged) as caught:
                verify(FOLDER, disk=disk)
            place = (caught.value.path, caught.value.line, caught.value.offset)
            assert place == (path, line, line_offset), f"byte {offset}, bit {bit}"
        disk.seen[path].cached[offset] = byte
        if byte == ord("\n"):
            line, line_offset = line + 1, offset + 1


@settings(max_examples=200, deadline=None)
@given(st.integers(min_value=0), st.integers(1, 255), st.sampled_from([FIRST, SECOND]))
def test_any_other_byte_is_found(place: int, difference: int, path: Path) -> None:
    disk = journal_on_disk()
    data = disk.seen[path].cached
    data[place % len(data)] ^= difference
    assert_damaged(disk)


@pytest.mark.parametrize("path", [FIRST, SECOND])
def test_a_line_deleted_repeated_or_moved_is_found(path: Path) -> None:
    disk = journal_on_disk()
    lines = content(disk, path)
    for i in range(len(lines)):
        deleted = lines[:i] + lines[i + 1 :]
        repeated = [*lines[: i + 1], *lines[i:]]
        moved = [*lines[:i], *lines[i + 1 : i + 2], lines[i], *lines[i + 2 :]]
        for changed in (deleted, repeated, moved):
            if changed == lines or (path == SECOND and changed == lines[:-1]):
                continue  # the last seal cut off is an interrupted commit: see the tail tests
            put(disk, path, b"".join(changed))
            assert assert_damaged(disk).path in {path, SECOND}


def test_a_removed_block_is_found() -> None:
    disk = journal_on_disk()
    lines = content(disk, SECOND)  # segment, tick, seal, 2 ticks, seal, tick, seal
    put(disk, SECOND, b"".join(lines[:3] + lines[6:]))
    error = assert_damaged(disk)
    assert (error.path, error.line) == (SECOND, 4)
    assert "expected record 7, found 9" in error.reason


def test_a_block_spliced_in_from_another_journal_is_found() -> None:
    disk, other = journal_on_disk(), journal_on_disk(note="x")
    lines, foreign = content(disk, SECOND), content(other, SECOND)
    put(disk, SECOND, b"".join(lines[:3] + foreign[3:6] + lines[6:]))
    error = assert_damaged(disk)
    assert (error.path, error.line) == (SECOND, 6)
    assert "spliced" in error.reason


def test_a_segment_spliced_in_from_another_journal_is_found() -> None:
    disk, other = journal_on_disk(), journal_on_disk(note="x")
    put(disk, SECOND, bytes(other.seen[SECOND].cached))
    error = assert_damaged(disk)
    assert (error.path, error.line, error.offset) == (SECOND, 1, 0)


def test_missing_and_double_segments_are_found() -> None:
    disk = journal_on_disk()
    first = disk.seen.pop(FIRST)
    assert "segment 1 is missing" in assert_damaged(disk).reason
    disk.seen[FIRST] = first
    disk.seen[FOLDER / "000004-2026-11-21.jsonl"] = disk.seen[SECOND]
    assert "segment 3 is missing" in assert_damaged(disk).reason
    disk.seen.pop(FOLDER / "000004-2026-11-21.jsonl")
    disk.seen[FOLDER / "000002-2026-11-21.jsonl"] = disk.seen[SECOND]
    assert "two segments 2" in assert_damaged(disk).reason


def test_a_renumbered_segment_is_found() -> None:
    disk = journal_on_disk()
    disk.seen[FOLDER / "000003-2026-11-21.jsonl"] = disk.seen[SECOND]
    assert "its name says 3" in assert_damaged(disk).reason


def test_an_emptied_segment_in_the_middle_is_found() -> None:
    disk = journal_on_disk()
    put(disk, FIRST, b"")
    assert assert_damaged(disk).path == FIRST


def test_a_name_that_is_no_date_is_refused() -> None:
    disk = journal_on_disk()
    disk.seen[FOLDER / "000003-2026-13-45.jsonl"] = disk.seen.pop(SECOND)
    with pytest.raises(JournalDamaged, match="no date"):
        list_segments(disk, FOLDER)


def rewritten(lines: list[bytes], at: int, previous: str) -> list[bytes]:
    """Alter the record at `at`, and recompute its checksum and its block's seal."""
    line = lines[at].replace(b'"price":1.5', b'"price":9.5')[: -CRC_LENGTH - 1]
    changed = [*lines[:at], with_crc(line), *lines[at + 1 : -1]]
    record_count = sum(text.startswith(b'{"seq"') for text in changed)
    number = int(lines[-1].partition(b":")[2].partition(b",")[0])
    return [*changed, seal(b"".join(changed), number, record_count, previous)[0]]


def test_an_edit_with_its_checksum_recomputed_is_found_by_the_seal() -> None:
    disk = journal_on_disk()
    lines = content(disk, SECOND)
    changed = lines[3].replace(b'"price":1.5', b'"price":9.5')[: -CRC_LENGTH - 1]
    put(disk, SECOND, b"".join([*lines[:3], with_crc(changed), *lines[4:]]))
    error = assert_damaged(disk)
    assert (error.line, error.offset) == (6, len(b"".join(lines[:5])))
    assert "recomputed" in error.reason


def test_an_edit_with_its_seal_recomputed_is_found_by_the_next_seal_or_the_head() -> None:
    disk = journal_on_disk()
    exported = head(FOLDER, disk=disk)
    lines = content(disk, SECOND)
    seals = [seal_hash(text) for text in lines]
    middle = lines[:3] + rewritten(lines[3:6], 0, seals[2]) + lines[6:]
    put(disk, SECOND, b"".join(middle))
    assert assert_damaged(disk).line == 8
    last = lines[:6] + rewritten(lines[6:], 0, seals[5])
    put(disk, SECOND, b"".join(last))
    assert verify(FOLDER, disk=disk).records == 9  # a chain alone cannot see this
    error = assert_damaged(disk, exported)
    assert (error.path, error.line) == (SECOND, 8)
    assert "history was rewritten" in error.reason


def seal_hash(line: bytes) -> str:
    return line.partition(b'"hash":"')[2][:64].decode()


def test_the_hash_is_what_the_documentation_says() -> None:
    first = b"".join(content(journal_on_disk(), FIRST)[:5])
    assert block_hash(first[:-1]) == seal_hash(first.splitlines()[-1])


def test_a_cut_off_end_is_found_against_the_head() -> None:
    disk = journal_on_disk()
    exported = head(FOLDER, disk=disk)
    data = bytes(disk.seen[SECOND].cached)
    ends = {0, *(data.find(b"\n", at) + 1 for at in find_all(data, b'{"seal"'))}
    for size in range(len(data)):
        put(disk, SECOND, data[:size])
        result = verify(FOLDER, disk=disk)
        assert (result.tail is None) == (size in ends)
        assert [entry.seq for entry in read(FOLDER, disk=disk)] == [*range(1, result.records + 1)]
        assert result.records < exported.seq
        with pytest.raises(JournalDamaged, match="its end was cut off"):
            verify(FOLDER, exported, disk=disk)
    put(disk, SECOND, data[: max(ends - {len(data)})])
    assert_damaged(disk, exported)
    del disk.seen[FIRST], disk.seen[SECOND]
    assert_damaged(disk, exported)


def find_all(data: bytes, part: bytes) -> list[int]:
    return [i for i in range(len(data)) if data.startswith(part, i)]


def test_a_head_between_two_seals_is_another_history() -> None:
    disk = journal_on_disk()
    with pytest.raises(JournalDamaged, match="no block ends"):
        verify(FOLDER, Head(7, "0" * 64), disk=disk)


def test_a_cut_off_end_of_a_segment_in_the_middle_is_damage() -> None:
    disk = journal_on_disk()
    data = bytes(disk.seen[FIRST].cached)
    for size in range(len(data)):
        put(disk, FIRST, data[:size])
        assert_damaged(disk)


def test_an_unknown_format_asks_for_an_upgrade() -> None:
    header, one = content(journal_on_disk(), FIRST)[:2]
    newer = header.replace(b'"format":1', b'"format":2')[: -CRC_LENGTH - 1]
    with pytest.raises(JournalError, match=r"format 2 is not known.*upgrade"):
        verify(FOLDER, disk=forged([with_crc(newer), one], 1, 1))


def test_blocks_larger_than_the_read_buffer_are_whole() -> None:
    disk = SimulatedDisk()
    with open_journal(FOLDER, disk) as journal:
        for number in range(1, 1501):
            journal.append(Tick(number, note="n" * 2000))
        journal.commit()
        write_blocks(journal, [1, 2])
    assert disk.size(FIRST) > 3 * (1 << 20)
    assert verify(FOLDER, disk=disk).records == 1503
    disk.seen[FIRST].cached[2_500_000] ^= 1
    assert assert_damaged(disk).line == 1 + 2_500_000 // len(content(disk, FIRST)[500]) + 1


@pytest.mark.parametrize("before", range(-1, 10))
def test_a_seal_between_two_reads_is_seen(before: int) -> None:
    """Begin the first seal at `before` bytes before the end of the first chunk that is read."""
    disk = SimulatedDisk()
    with open_journal(FOLDER, disk) as journal:
        journal.append(Tick(1))
        journal.commit()
    frame = content(disk, FIRST)
    missing = READ_CHUNK_BYTES - before - len(frame[0] + frame[1])
    disk = SimulatedDisk()
    with open_journal(FOLDER, disk) as journal:
        journal.append(Tick(1, note="n" * missing))
        journal.commit()
        write_blocks(journal, [2])
    assert disk.seen[FIRST].cached.find(b'{"seal"') == READ_CHUNK_BYTES - before
    scan = JournalScan(disk, FOLDER)
    assert [len(block.records) for block in scan.blocks()] == [1, 2]


def forged(lines: list[bytes], seq: int, count: int) -> SimulatedDisk:
    """Make a journal of one block whose seal is right in everything but what it says."""
    disk = SimulatedDisk()
    disk.make_folder(FOLDER)
    block = b"".join(lines)
    disk.append_to(FIRST, create=True).write(block + seal(block, seq, count, GENESIS.hash)[0])
    return disk


def test_forged_counts_and_numbers_are_found() -> None:
    header, one, two, three = content(journal_on_disk(), FIRST)[:4]
    renumbered = header.replace(b'"segment":1', b'"segment":2')[: -CRC_LENGTH - 1]
    assert verify(FOLDER, disk=forged([header, one, two], 2, 2)).records == 2
    for lines, seq, count, reason in (
        ([header, one, two], 2, 3, "lines were removed or added"),
        ([header, one, two], 3, 2, "lines were removed or added"),
        ([header], 0, 0, "lines were removed or added"),
        ([header, one, three], 2, 2, "expected record 2, found 3"),
        ([header, two, one], 2, 2, "expected record 1, found 2"),
        ([header, one, header], 2, 2, "neither a record nor a seal"),
        ([one, two], 2, 2, "first line"),
        ([with_crc(renumbered), one], 1, 1, "name says 1"),
    ):
        assert reason in assert_damaged(forged(lines, seq, count)).reason


def test_segments_sort_by_number_and_other_files_are_ignored() -> None:
    disk = journal_on_disk()
    disk.seen[FOLDER / "notes.txt"] = disk.seen[FIRST]
    assert [(s.number, s.date) for s in list_segments(disk, FOLDER)] == [
        (1, dt.date(2026, 11, 20)),
        (2, dt.date(2026, 11, 20)),
    ]
