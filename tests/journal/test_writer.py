"""J2, J3, J6: numbering, sealing, rotation, locking and refusing."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from onefold.domain.errors import (
    ConfigError,
    JournalDamaged,
    JournalError,
    JournalHalted,
    JournalLocked,
    NotJsonSafe,
)
from onefold.journal import GENESIS, Head, read, verify
from onefold.journal.segments import list_segments
from onefold.journal.writer import RELAXED_RECORDS

from .records import Note, Tick, open_journal, write_blocks
from .simulated_disk import SimulatedDisk

FOLDER = Path("/journal")


def test_numbers_are_gapless_across_commits_segments_and_restarts(tmp_path: Path) -> None:
    for _ in range(3):
        with open_journal(tmp_path, segment_bytes=1000) as journal:
            write_blocks(journal, [1, 4, 2])
    assert [entry.seq for entry in read(tmp_path)] == list(range(1, 22))
    assert verify(tmp_path).segments > 2


def test_lines_look_as_documented(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.append(Tick(7, price=101.25))
        journal.commit()
    segment, record, seal = (tmp_path / "000001-2026-11-20.jsonl").read_text().splitlines()
    assert list(json.loads(segment)) == ["segment", "format", "after", "previous", "crc"]
    assert record.startswith('{"seq":1,"kind":"tick","number":7,"price":101.25,')
    assert list(json.loads(seal)) == ["seal", "count", "previous", "hash", "crc"]


def test_equal_runs_have_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with open_journal(tmp_path / name, segment_bytes=1000) as journal:
            write_blocks(journal, [3, 1, 5])
    files = [sorted((tmp_path / name).glob("*.jsonl")) for name in ("a", "b")]
    assert len(files[0]) > 1
    assert [f.name for f in files[0]] == [f.name for f in files[1]]
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]


def test_nothing_is_readable_before_its_commit_and_an_empty_commit_writes_nothing() -> None:
    disk = SimulatedDisk()
    journal = open_journal(FOLDER, disk)
    assert journal.commit() == 0
    assert disk.names(FOLDER) == []
    journal.append(Tick(1))
    assert disk.names(FOLDER) == []
    assert journal.head == GENESIS
    assert journal.commit() == 1
    before = list(disk.operations)
    assert journal.commit() == 1
    assert disk.operations == before


def test_a_commit_is_one_write_and_one_sync() -> None:
    disk = SimulatedDisk()
    journal = open_journal(FOLDER, disk)
    write_blocks(journal, [1])
    before = len(disk.operations)
    write_blocks(journal, [100])
    assert disk.operations[before:] == ["write", "sync"]


def test_a_new_segment_is_synced_before_its_folder_entry() -> None:
    disk = SimulatedDisk()
    journal = open_journal(FOLDER, disk)
    before = len(disk.operations)
    write_blocks(journal, [1])
    assert disk.operations[before:] == ["create", "write", "sync", "sync_folder"]


def test_relaxed_writes_when_enough_has_come_together() -> None:
    disk = SimulatedDisk()
    journal = open_journal(FOLDER, disk, mode="relaxed", segment_bytes=20 * RELAXED_RECORDS)
    disk.operations.clear()
    for number in range(1, RELAXED_RECORDS):
        journal.append(Tick(number))
        assert journal.commit() == 0
    assert disk.operations == []
    journal.append(Tick(RELAXED_RECORDS))
    assert journal.commit() == RELAXED_RECORDS
    journal.append(Tick(RELAXED_RECORDS + 1))
    assert journal.commit() == RELAXED_RECORDS
    assert journal.flush() == RELAXED_RECORDS + 1  # in a new segment: the first one is synced
    assert disk.operations.count("sync") == 1
    journal.append(Tick(RELAXED_RECORDS + 2))
    journal.close()
    assert disk.operations.count("sync") == 2
    disk.cut_power()
    assert verify(FOLDER, journal.head, disk=disk).records == RELAXED_RECORDS + 2


def test_segments_rotate_by_date_and_the_clock_may_step_back(tmp_path: Path) -> None:
    days = [20, 20, 21, 19, 21, 23]
    dates = iter([dt.date(2026, 11, day) for day in days])
    with open_journal(tmp_path, today=lambda: next(dates)) as journal:
        write_blocks(journal, [1] * len(days))
    names = [segment.path.name for segment in list_segments(journal._disk, tmp_path)]
    assert names == [
        "000001-2026-11-20.jsonl",
        "000002-2026-11-21.jsonl",
        "000003-2026-11-23.jsonl",
    ]
    assert verify(tmp_path).records == len(days)


def test_dates_in_names_never_step_back(tmp_path: Path) -> None:
    dates = iter([dt.date(2026, 11, day) for day in (20, 18, 19)])
    with open_journal(tmp_path, today=lambda: next(dates), segment_bytes=1) as journal:
        write_blocks(journal, [1, 1, 1])
    assert [path.name[7:17] for path in sorted(tmp_path.glob("*.jsonl"))] == ["2026-11-20"] * 3


def test_segments_rotate_by_size_at_commits_and_are_never_rewritten(tmp_path: Path) -> None:
    seen: dict[str, bytes] = {}
    with open_journal(tmp_path, segment_bytes=3000) as journal:
        for _ in range(40):
            write_blocks(journal, [3])
            for path in tmp_path.glob("*.jsonl"):
                data = path.read_bytes()
                assert data.startswith(seen.get(path.name, b""))
                assert len(data) <= 3000 + 300  # a seal may go over the limit
                seen[path.name] = data
    assert len(seen) > 4
    big = tmp_path / "big"
    with open_journal(big, segment_bytes=100) as journal:
        write_blocks(journal, [50, 50])
    assert verify(big).segments == 2


def test_a_second_writer_is_refused_here_and_in_another_process(tmp_path: Path) -> None:
    script = """
import datetime as dt, sys
from onefold.domain.errors import JournalLocked
from onefold.journal import Journal
try:
    Journal.open(sys.argv[1], today=lambda: dt.date(2026, 11, 20)).close()
except JournalLocked as error:
    sys.exit(str(error))
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with open_journal(tmp_path) as journal:
        write_blocks(journal, [1])
        with pytest.raises(JournalLocked, match="open for writing elsewhere"):
            open_journal(tmp_path)
        other = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "open for writing elsewhere" in other.stderr
        assert verify(tmp_path).records == 1  # reading needs no lock
    assert subprocess.run(command, check=False).returncode == 0


def test_a_refused_open_gives_the_lock_back() -> None:
    disk = SimulatedDisk()
    with open_journal(FOLDER, disk) as journal:
        write_blocks(journal, [1])
    for _ in range(2):
        with pytest.raises(JournalDamaged, match="cut off"):
            open_journal(FOLDER, disk, head=Head(2, "0" * 64))
    open_journal(FOLDER, disk, head=journal.head).close()


def test_leaving_the_block_commits_unless_there_was_an_error() -> None:
    disk = SimulatedDisk()
    with open_journal(FOLDER, disk) as journal:
        journal.append(Tick(1))
    assert journal.head.seq == 1

    def fail() -> None:
        with open_journal(FOLDER, disk) as journal:
            journal.append(Tick(2))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert verify(FOLDER, disk=disk).records == 1
    for refused in (journal.commit, lambda: journal.append(Tick(1))):
        with pytest.raises(JournalError, match="closed"):
            refused()


def test_an_interruption_between_write_and_sync_halts() -> None:
    class Interrupted(SimulatedDisk):
        armed = False

        def step(self, name: str) -> BaseException | None:
            if self.armed and name == "sync":
                return KeyboardInterrupt()
            return super().step(name)

    disk = Interrupted()
    journal = open_journal(FOLDER, disk)
    write_blocks(journal, [1])
    disk.armed = True
    with pytest.raises(KeyboardInterrupt):
        write_blocks(journal, [1])
    with pytest.raises(JournalHalted, match="interrupted by KeyboardInterrupt"):
        journal.commit()


def test_a_failing_clock_does_not_halt() -> None:
    dates = iter([dt.date(2026, 11, 20)])
    journal = open_journal(FOLDER, SimulatedDisk(), today=lambda: next(dates))
    write_blocks(journal, [1])
    journal.append(Tick(2))
    with pytest.raises(StopIteration):
        journal.commit()
    assert journal.append(Tick(3)) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_cannot_commit(tmp_path: Path) -> None:
    script = """
import os, sys
sys.path.insert(0, sys.argv[2])
from journal.records import open_journal, write_blocks
from onefold.domain.errors import JournalError
journal = open_journal(sys.argv[1])
write_blocks(journal, [1])
child = os.fork()
if child == 0:
    try:
        write_blocks(journal, [1])
    except JournalError as error:
        os._exit(7 if "after a fork" in str(error) else 8)
    os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
write_blocks(journal, [1])
"""
    command = [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parents[1])]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "7"
    assert verify(tmp_path).records == 2


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (Tick(1, price=float("nan")), "tick.price is NaN"),
        (Tick(1, price=float("inf")), "tick.price is infinite"),
        (Tick(1, price=-np.inf), "tick.price is infinite"),
        (Tick(1, price=np.float64("nan")), "tick.price is NaN"),
        (Tick(1, limit=float("nan")), "tick.limit is NaN"),
        (Tick(float("nan")), "tick.number is NaN"),  # type: ignore[arg-type]
        (Tick(1, levels=[1.0, None, float("nan")]), r"tick.levels\[2\] is NaN"),
        (Tick(1, note="\ud800"), "tick.note is .* surrogate"),
        (Note({"a": [{"b": float("nan")}]}), r"note.content.a\[0\].b is NaN"),
        (Note(np.array([1.0, np.inf])), r"note.content\[1\] is infinite"),
        (Note({1, 2}), "note.content is a set"),
        (Note(object()), "note.content is a object"),
    ],
)
def test_what_json_cannot_carry_is_refused_by_field(record: msgspec.Struct, field: str) -> None:
    journal = open_journal(FOLDER, SimulatedDisk())
    assert journal.append(Tick(1)) == 1
    with pytest.raises(NotJsonSafe, match=field):
        journal.append(record)
    assert journal.append(Tick(2)) == 2  # the refused one took no number
    assert journal.commit() == 2


def test_large_finite_numbers_pass_though_their_sum_overflows() -> None:
    journal = open_journal(FOLDER, SimulatedDisk())
    journal.append(Tick(10**400, price=1.7e308, limit=1.7e308, levels=[None, 1.7e308]))
    journal.append(Tick(1, price=1.7e308, levels=[None, 1.7e308]))
    assert journal.commit() == 2


def test_numpy_values_are_converted(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.append(Tick(np.int64(3), price=np.float64(1.5)))  # type: ignore[arg-type]
        journal.append(Note(np.arange(3)))
    tick, note = (json.loads(entry.raw) for entry in read(tmp_path))
    assert (tick["number"], tick["price"]) == (3, 1.5)
    assert note["content"] == [0, 1, 2]


class Untagged(msgspec.Struct):
    """No kind."""

    number: int


class Reserved(msgspec.Struct, tag_field="kind", tag="reserved"):
    """Has the journal's own name."""

    seq: int


class Strange(msgspec.Struct, tag_field="kind", tag='a"b'):
    """A tag that would need escaping."""

    number: int


@pytest.mark.parametrize(
    ("record", "reason"),
    [(Untagged(1), "tag_field='kind'"), (Reserved(1), "field 'seq'"), (Strange(1), "the tag")],
)
def test_what_is_no_record_is_refused(record: msgspec.Struct, reason: str) -> None:
    with pytest.raises(NotJsonSafe, match=reason):
        open_journal(FOLDER, SimulatedDisk()).append(record)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'durable'"):
        open_journal(FOLDER, SimulatedDisk(), mode="durabel")
    with pytest.raises(ConfigError, match="positive"):
        open_journal(FOLDER, SimulatedDisk(), segment_bytes=0)


def test_a_file_in_place_of_the_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot open the journal"):
        open_journal(tmp_path / "file")


@pytest.mark.parametrize("replaced", [False, True])
def test_a_lock_file_that_was_removed_is_noticed_before_the_next_commit(
    tmp_path: Path, *, replaced: bool
) -> None:
    journal = open_journal(tmp_path)
    write_blocks(journal, [1])
    size = sum(file.stat().st_size for file in tmp_path.glob("*.jsonl"))
    (tmp_path / ".lock").unlink()
    if replaced:
        with open_journal(tmp_path) as other:
            write_blocks(other, [2])
            size = sum(file.stat().st_size for file in tmp_path.glob("*.jsonl"))
            with pytest.raises(JournalHalted, match=r"lock file .* removed or replaced"):
                write_blocks(journal, [1])
    else:
        with pytest.raises(JournalHalted, match=r"lock file .* removed or replaced"):
            write_blocks(journal, [1])
    journal.close()
    assert sum(file.stat().st_size for file in tmp_path.glob("*.jsonl")) == size
    with open_journal(tmp_path) as again:
        write_blocks(again, [1])
