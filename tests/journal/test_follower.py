"""A follower reads each sealed record once, whatever the writer and a crash do meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.errors import JournalDamaged
from onefold.journal import GENESIS, Follower, read

from .records import open_journal, write_blocks
from .simulated_disk import SimulatedDisk

FOLDER = Path("/journal")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.booleans()), max_size=20),
    st.integers(1, 2_000),
    st.integers(1, 20),
    st.integers(0, 60),
)
def test_every_record_comes_once_in_order(
    steps: list[tuple[int, bool, bool]], segment_bytes: int, most: int, after: int
) -> None:
    disk = SimulatedDisk()
    journal = open_journal(FOLDER, disk, segment_bytes=segment_bytes)
    follower, seen = Follower(FOLDER, disk=disk), []
    for size, polls, reopens in steps:
        write_blocks(journal, [size])
        if reopens:
            journal.close()
            journal = open_journal(FOLDER, disk, segment_bytes=segment_bytes)
        if polls:
            seen += follower.poll(most)
    while found := follower.poll(most):
        seen += found
    assert seen == list(read(FOLDER, disk=disk))
    assert follower.head == journal.head
    later = Follower(FOLDER, after=min(after, journal.head.seq), disk=disk)
    assert later.poll() == list(read(FOLDER, after=after, disk=disk))


def test_what_is_not_sealed_is_waited_for_and_not_read_twice() -> None:
    disk = SimulatedDisk()
    follower = Follower(FOLDER, disk=disk)
    assert (follower.poll(), follower.head) == ([], GENESIS)
    journal = open_journal(FOLDER, disk)
    write_blocks(journal, [3])
    path = FOLDER / disk.names(FOLDER)[0]
    whole = bytes(disk.seen[path].cached)
    for size in range(len(whole)):
        disk.seen[path].cached[:] = whole[:size]
        assert follower.poll() == []
    disk.seen[path].cached[:] = whole
    assert [entry.seq for entry in follower.poll()] == [1, 2, 3]
    reads: list[int] = []
    original = disk.read

    def counted(path: Path, offset: int, size: int) -> bytes:
        found = original(path, offset, size)
        reads.append(len(found))
        return found

    disk.read = counted  # type: ignore[method-assign]
    assert follower.poll() == []
    assert sum(reads) == 0


def test_damage_after_what_was_read_is_found() -> None:
    disk = SimulatedDisk()
    journal = open_journal(FOLDER, disk)
    write_blocks(journal, [3])
    follower = Follower(FOLDER, disk=disk)
    follower.poll()
    size = len(disk.seen[FOLDER / disk.names(FOLDER)[0]].cached)
    write_blocks(journal, [3, 2])
    disk.seen[FOLDER / disk.names(FOLDER)[0]].cached[size + 40] ^= 1
    with pytest.raises(JournalDamaged):
        follower.poll()
