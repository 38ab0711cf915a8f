"""J4: reading sealed records, streaming, from anywhere, while another writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.errors import JournalDamaged, JournalError
from onefold.journal import (
    GENESIS,
    decode,
    export_head,
    head,
    load_head,
    read,
    tail,
    verify,
)

from .records import Note, Tick, open_journal, write_blocks
from .simulated_disk import SimulatedDisk

FOLDER = Path("/journal")

FINITE = st.floats(allow_nan=False, allow_infinity=False)
TICKS = st.builds(
    Tick,
    st.integers(-(2**63), 2**63 - 1),
    price=FINITE,
    note=st.text(),
    limit=st.none() | FINITE,
    levels=st.lists(st.none() | FINITE),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FINITE | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
RECORDS = st.lists(TICKS | st.builds(Note, JSON), max_size=12)


@settings(max_examples=200, deadline=None)
@given(RECORDS, st.integers(1, 5), st.integers(200, 2000))
def test_what_was_appended_is_read_back(
    records: list[Tick | Note], per_commit: int, segment_bytes: int
) -> None:
    disk = SimulatedDisk()
    with open_journal(FOLDER, disk, segment_bytes=segment_bytes) as journal:
        for i, record in enumerate(records, start=1):
            assert journal.append(record) == i
            if i % per_commit == 0:
                journal.commit()
    entries = list(read(FOLDER, disk=disk))
    assert [entry.seq for entry in entries] == list(range(1, len(records) + 1))
    assert [entry.kind for entry in entries] == [type(r).__name__.lower() for r in records]
    assert [entry.raw for entry in entries] == [msgspec.json.encode(r) for r in records]
    for entry, record in zip(entries, records, strict=True):
        decoded = decode(entry, Tick | Note)  # type: ignore[arg-type]
        assert decoded == record
        line = disk.read(entry.path, entry.offset, disk.size(entry.path)).split(b"\n")[0]
        assert json.loads(line)["seq"] == entry.seq
        before = disk.read(entry.path, 0, entry.offset)
        assert before.count(b"\n") + 1 == entry.line


def test_reading_after_a_record_skips_whole_segments_unread() -> None:
    disk = SimulatedDisk()
    with open_journal(FOLDER, disk, segment_bytes=1500) as journal:
        write_blocks(journal, [3] * 20)
    for after in range(62):
        assert [e.seq for e in read(FOLDER, after=after, disk=disk)] == [*range(after + 1, 61)]
    first = disk.seen[FOLDER / disk.names(FOLDER)[0]]
    first.cached[200] ^= 1
    assert len(list(read(FOLDER, after=40, disk=disk))) == 20
    with pytest.raises(JournalDamaged):
        list(read(FOLDER, disk=disk))


def test_tail_and_head_agree_with_the_whole_journal() -> None:
    disk = SimulatedDisk()
    with open_journal(FOLDER, disk, segment_bytes=1500) as journal:
        for size in (3, 1, 7, 2, 4):
            write_blocks(journal, [size])
            assert head(FOLDER, disk=disk) == journal.head == verify(FOLDER, disk=disk).head
            everything = list(read(FOLDER, disk=disk))
            for count in range(len(everything) + 2):
                expected = everything[max(0, len(everything) - count) :]
                assert tail(FOLDER, count, disk=disk) == expected


def test_an_empty_journal_and_none_at_all(tmp_path: Path) -> None:
    open_journal(tmp_path / "empty").close()
    result = verify(tmp_path / "empty")
    assert (result.records, result.segments, result.head) == (0, 0, GENESIS)
    assert list(read(tmp_path / "empty")) == tail(tmp_path / "empty", 3) == []
    for ask in (verify, head, lambda path: list(read(path)), lambda path: tail(path, 1)):
        with pytest.raises(JournalError, match="no journal at"):
            ask(tmp_path / "none")


def test_the_unsealed_tail_is_told_but_not_read() -> None:
    disk = SimulatedDisk()
    journal = open_journal(FOLDER, disk)
    write_blocks(journal, [2])
    path = FOLDER / disk.names(FOLDER)[0]
    size = disk.size(path)
    disk.seen[path].cached += b'{"seq":3,"kind":"ti'
    result = verify(FOLDER, disk=disk)
    assert result.tail == (path, 5, size, 19, 1)
    assert len(list(read(FOLDER, disk=disk))) == 2
    assert head(FOLDER, disk=disk) == journal.head
    assert disk.size(path) == size + 19


def test_a_segment_with_nothing_but_a_tail_does_not_hide_the_head() -> None:
    disk = SimulatedDisk()
    journal = open_journal(FOLDER, disk, segment_bytes=1)
    write_blocks(journal, [2, 1])
    second = disk.seen[FOLDER / disk.names(FOLDER)[1]]
    for size in range(len(second.cached) - 1, -1, -1):
        del second.cached[size:]
        assert head(FOLDER, disk=disk).seq == 2
        assert [entry.seq for entry in tail(FOLDER, 1, disk=disk)] == [2]


def test_the_head_can_be_exported_and_loaded(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal") as journal:
        write_blocks(journal, [2, 3])
        exported = export_head(tmp_path / "journal", tmp_path / "head.json")
        assert exported == journal.head == load_head(tmp_path / "head.json")
        write_blocks(journal, [1])
    assert verify(tmp_path / "journal", load_head(tmp_path / "head.json")).records == 6


@pytest.mark.parametrize(
    "content",
    ["", "{}", '{"seq":1}', '{"seq":-1,"hash":"' + "0" * 64 + '"}', '{"seq":1,"hash":"xyz"}'],
)
def test_a_wrong_head_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "head.json").write_text(content)
    with pytest.raises(JournalError, match="is no exported head"):
        load_head(tmp_path / "head.json")


def test_a_missing_head_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="is no exported head"):
        load_head(tmp_path / "none.json")


def test_a_record_of_another_type_names_its_place(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.append(Note(1))
    (entry,) = read(tmp_path)
    with pytest.raises(JournalError, match=r"line 2: record 1 \('note'\) does not fit"):
        decode(entry, Tick)


def test_reading_while_another_process_writes(tmp_path: Path) -> None:
    script = """
import sys
sys.path.insert(0, sys.argv[2])
from journal.records import open_journal, write_blocks
with open_journal(sys.argv[1], segment_bytes=20_000) as journal:
    print("open", flush=True)
    write_blocks(journal, [7, 1] * 150, note="n" * 300)
"""
    command = [sys.executable, "-c", script, tmp_path, Path(__file__).parents[1]]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        seen = 0
        while writer.poll() is None:
            entries = list(read(tmp_path, after=seen))
            assert [entry.seq for entry in entries] == list(
                range(seen + 1, seen + 1 + len(entries))
            )
            seen += len(entries)
            assert verify(tmp_path).records >= seen
    assert writer.returncode == 0
    assert verify(tmp_path).records == 1200
