"""J3, J5, J6: after any crash nothing acknowledged is lost, and nothing damaged is accepted."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.errors import JournalDamaged, JournalHalted
from onefold.journal import Journal, decode, read, verify
from onefold.journal.disk import write_all
from onefold.journal.segments import SECTOR_BYTES

from .records import Tick, open_journal, write_blocks
from .simulated_disk import PowerCut, SimulatedDisk

FOLDER = Path("/journal")
FIRST = FOLDER / "000001-2026-11-20.jsonl"
SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=8)
NOTES = st.sampled_from(["", "n" * 400, "n" * 2000])


def numbers(disk: SimulatedDisk) -> list[int]:
    """Read all records, and check that each is the one that was numbered so."""
    entries = list(read(FOLDER, disk=disk))
    assert [decode(entry, Tick).number for entry in entries] == [entry.seq for entry in entries]
    return [entry.seq for entry in entries]


def run(disk: SimulatedDisk, sizes: list[int], note: str) -> tuple[int, int]:
    """Open and commit until done or interrupted; return what was acknowledged and appended."""
    acknowledged = appended = 0
    try:
        journal = open_journal(FOLDER, disk, segment_bytes=2000)
        acknowledged = appended = journal.head.seq
        for size in sizes:
            appended += size
            write_blocks(journal, [size], note)
            acknowledged = journal.head.seq
    except (PowerCut, JournalHalted):
        pass
    return acknowledged, appended


@settings(max_examples=400, deadline=None)
@given(SIZES, NOTES, st.integers(0, 60), st.integers(0, 30), st.integers(0, 2**32))
def test_power_cut_at_any_operation(
    sizes: list[int], note: str, cut: int, second_cut: int, seed: int
) -> None:
    disk = SimulatedDisk(seed)
    disk.cut_at = cut
    acknowledged, appended = run(disk, sizes, note)
    disk.cut_power()
    disk.cut_at = len(disk.operations) + second_cut  # in recovery, or in the commits after it
    again, appended_again = run(disk, sizes, note)
    assert again == 0 or again >= acknowledged
    disk.cut_power()
    with open_journal(FOLDER, disk) as journal:
        kept = journal.head.seq
        write_blocks(journal, [2])
    assert max(acknowledged, again) <= kept <= max(appended, appended_again)
    assert numbers(disk) == list(range(1, kept + 3))
    assert verify(FOLDER, disk=disk).tail is None


@settings(max_examples=200, deadline=None)
@given(
    SIZES,
    st.integers(0, 40),
    st.sampled_from([errno.EIO, errno.ENOSPC, errno.EMFILE]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_failing_operation_halts_for_good(
    sizes: list[int], failing: int, code: int, power_cut: bool, seed: int
) -> None:
    disk = SimulatedDisk(seed)
    journal = open_journal(FOLDER, disk, segment_bytes=2000)
    disk.failures[failing + len(disk.operations)] = code
    acknowledged, halt = 0, None
    for size in sizes:
        try:
            write_blocks(journal, [size])
            acknowledged = journal.head.seq
        except JournalHalted as error:
            halt = error
            break
    if halt is not None:
        assert os.strerror(code) in str(halt)
        asked = list(disk.operations)
        for refused in (journal.commit, lambda: journal.append(Tick(1)), journal.commit):
            with pytest.raises(JournalHalted):
                refused()
        journal.close()
        assert disk.operations == asked, "a failed sync or write was tried again"
    disk.cut_power() if power_cut else disk.restart_process()
    disk.failures.clear()
    with open_journal(FOLDER, disk) as reopened:
        assert acknowledged <= reopened.head.seq <= sum(sizes)
        kept = reopened.head.seq
        write_blocks(reopened, [1])
    disk.cut_power()
    assert numbers(disk) == list(range(1, kept + 2))


def test_pages_lost_by_a_failed_sync_are_not_believed_after_a_restart() -> None:
    disk = SimulatedDisk()
    journal = open_journal(FOLDER, disk)
    write_blocks(journal, [1])
    disk.failures[len(disk.operations) + 1] = errno.EIO  # the write works, its sync does not
    with pytest.raises(JournalHalted, match="Input/output error"):
        write_blocks(journal, [1])
    disk.restart_process()
    assert numbers(disk) == [1, 2]  # the page cache still shows it: that is the trap
    with open_journal(FOLDER, disk) as reopened:
        assert reopened.head.seq == 1


def test_commits_of_a_killed_process_are_durable_before_anyone_acts_on_them() -> None:
    disk = SimulatedDisk()
    journal = open_journal(FOLDER, disk)
    write_blocks(journal, [1])
    disk.cut_at = len(disk.operations) + 1
    with pytest.raises(PowerCut):
        write_blocks(journal, [1])  # killed between write and sync
    disk.restart_process()
    assert open_journal(FOLDER, disk).head.seq == 2
    disk.cut_power()
    assert numbers(disk) == [1, 2]


def test_torn_tail_is_quarantined_and_reported(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        write_blocks(journal, [2, 1])
        head = journal.head
    segment = tmp_path / FIRST.name
    sound = segment.read_bytes()
    torn = b'{"seq":4,"kind":"tick","number":4'
    segment.write_bytes(sound + torn)
    with open_journal(tmp_path) as journal:
        recovered = journal.recovered
        assert recovered is not None
        assert recovered.path == segment
        assert (recovered.line, recovered.offset) == (7, len(sound))
        assert (recovered.size_bytes, recovered.lines) == (len(torn), 1)
        assert recovered.quarantine.read_bytes() == torn
        assert recovered.quarantine == tmp_path / f"quarantine/{segment.stem}-{len(sound)}.bad"
        assert journal.head == head
    assert segment.read_bytes() == sound
    repairs = (tmp_path / "quarantine/repairs.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in repairs] == [
        {
            "segment": segment.name,
            "line": 7,
            "offset": len(sound),
            "size_bytes": len(torn),
            "lines": 1,
            "quarantine": recovered.quarantine.name,
            "timestamp": "2026-11-20T12:00:00+00:00",
        }
    ]
    with open_journal(tmp_path) as journal:
        assert journal.recovered is None


def test_quarantined_bytes_are_never_overwritten(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        write_blocks(journal, [1])
    segment = tmp_path / FIRST.name
    for torn in (b'{"seq":2', b'{"seq":2,"k', b'{"seq":2'):
        with segment.open("ab") as file:
            file.write(torn)
        open_journal(tmp_path).close()
    kept = sorted(path.read_bytes() for path in (tmp_path / "quarantine").glob("*.bad"))
    assert kept == [b'{"seq":2', b'{"seq":2,"k']
    assert len((tmp_path / "quarantine/repairs.jsonl").read_text().splitlines()) == 3


def test_a_segment_that_was_begun_but_never_sealed_is_begun_again() -> None:
    for start in (b"", b'{"segment":2,"for', b"\0" * 700):
        disk = SimulatedDisk()
        journal = open_journal(FOLDER, disk)
        write_blocks(journal, [2])
        second = FOLDER / "000002-2026-11-20.jsonl"
        disk.append_to(second, create=True).write(start)
        disk.restart_process()
        with open_journal(FOLDER, disk, segment_bytes=1) as reopened:
            assert (reopened.recovered is None) == (start == b"")
            assert second.name not in disk.names(FOLDER)
            write_blocks(reopened, [1])
        assert numbers(disk) == [1, 2, 3]
        assert disk.names(FOLDER) == [FIRST.name, second.name]


@pytest.mark.parametrize("seed", range(30))
def test_a_segment_begun_again_does_not_come_back(seed: int) -> None:
    disk = SimulatedDisk(seed)
    journal = open_journal(FOLDER, disk, segment_bytes=1)
    write_blocks(journal, [2])
    disk.cut_at = len(disk.operations) + 1  # the second segment is there, and empty
    with pytest.raises(PowerCut):
        write_blocks(journal, [1])
    disk.restart_process()
    disk.sync_folder(FOLDER)
    journal = open_journal(FOLDER, disk)  # goes on in the first segment
    disk.cut_at = len(disk.operations)
    with pytest.raises(PowerCut):
        write_blocks(journal, [3])
    disk.cut_power()
    assert open_journal(FOLDER, disk).head.seq in {2, 5}


def sealed_block_with(change: bytes) -> SimulatedDisk:
    """Overwrite a sector in the middle of the last block."""
    disk = SimulatedDisk()
    write_blocks(open_journal(FOLDER, disk), [1, 5], note="n" * 400)
    disk.restart_process()
    start = 2 * SECTOR_BYTES
    disk.seen[FIRST].cached[start : start + len(change)] = change
    return disk


def test_a_lost_sector_in_the_last_block_is_a_torn_commit_but_a_few_zeros_are_damage() -> None:
    disk = sealed_block_with(b"\0" * SECTOR_BYTES)
    with open_journal(FOLDER, disk) as journal:
        assert journal.head.seq == 1
        assert journal.recovered is not None
    for change in (b"\0" * (SECTOR_BYTES - 1), b"\0", b"X" * SECTOR_BYTES):
        with pytest.raises(JournalDamaged):
            open_journal(FOLDER, sealed_block_with(change))


def test_a_lost_sector_does_not_excuse_other_damage() -> None:
    disk = sealed_block_with(b"\0" * SECTOR_BYTES)
    disk.seen[FIRST].cached[-300] ^= 1
    with pytest.raises(JournalDamaged):
        open_journal(FOLDER, disk)
    disk = sealed_block_with(b"\0" * SECTOR_BYTES)
    disk.seen[FIRST].cached[SECTOR_BYTES - 400] ^= 1  # in the first block, which was acknowledged
    with pytest.raises(JournalDamaged):
        open_journal(FOLDER, disk)


def test_a_lost_sector_in_an_earlier_block_is_damage() -> None:
    disk = SimulatedDisk()
    write_blocks(open_journal(FOLDER, disk), [5, 1], note="n" * 400)
    disk.restart_process()
    disk.seen[FIRST].cached[SECTOR_BYTES : 2 * SECTOR_BYTES] = b"\0" * SECTOR_BYTES
    with pytest.raises(JournalDamaged):
        open_journal(FOLDER, disk)


def test_write_all_finishes_short_writes_and_stops_without_progress() -> None:
    written = bytearray()

    def three_at_a_time(rest: memoryview) -> int:
        written.extend(rest[:3])
        return min(3, len(rest))

    write_all(three_at_a_time, b"0123456789")
    assert written == b"0123456789"
    with pytest.raises(OSError, match="wrote 0 of 2 bytes"):
        write_all(lambda _: 0, b"ab")


CHILD = """
import datetime as dt, sys
sys.path.insert(0, sys.argv[2])
from journal.records import open_journal, write_blocks
journal = open_journal(sys.argv[1], segment_bytes=20_000)
while True:
    write_blocks(journal, [3], note="n" * 300)
    print(journal.head.seq, flush=True)
"""

TESTS = Path(__file__).parents[1]


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a POSIX signal")
def test_kill_9_in_a_loop(tmp_path: Path) -> None:
    rng = random.Random(9)
    acknowledged = 0
    for _ in range(10):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, tmp_path, TESTS], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for _ in range(rng.randint(1, 60)):
            acknowledged = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split("\n")[:-1]  # a last line may itself be cut
        child.stdout.close()
        child.wait()
        acknowledged = int(rest[-1]) if rest else acknowledged
        with open_journal(tmp_path) as journal:
            assert journal.head.seq >= acknowledged
        entries = list(read(tmp_path))
        assert [decode(entry, Tick).number for entry in entries] == list(range(1, len(entries) + 1))
        assert verify(tmp_path, journal.head).tail is None
    assert acknowledged > 100


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_real_short_write_halts_and_is_recovered(tmp_path: Path) -> None:
    script = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from journal.records import open_journal, write_blocks
from onefold.domain.errors import JournalHalted
journal = open_journal(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
try:
    while True:
        write_blocks(journal, [2])
except JournalHalted as error:
    print(journal.head.seq, error)
"""
    result = subprocess.run(
        [sys.executable, "-c", script, tmp_path, TESTS], capture_output=True, text=True, check=True
    )
    acknowledged, _, message = result.stdout.partition(" ")
    assert "File too large" in message
    assert (tmp_path / FIRST.name).stat().st_size == 3000
    with open_journal(tmp_path) as journal:
        assert journal.head.seq == int(acknowledged)
        assert journal.recovered is not None
        assert isinstance(journal, Journal)
