"""J1, P2: side files are whole or not at all, whoever writes them at once."""

from __future__ import annotations

import datetime as dt
import errno
import json
import multiprocessing
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.errors import JournalError, NotJsonSafe
from onefold.journal import atomic_jsonl_append, safe_jsonl_append, write_atomic

from .records import NOON
from .simulated_disk import PowerCut, SimulatedDisk

FOLDER = Path("/side")
PATH = FOLDER / "log.jsonl"


def lines(path: Path) -> list[dict[str, object]]:
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def append_many(path: Path, worker: int, count: int) -> None:
    for i in range(count):
        atomic_jsonl_append(path, {"worker": worker, "i": i, "pad": "x" * (i % 50)})


def assert_complete(path: Path, workers: int, count: int) -> None:
    written = lines(path)
    assert len(written) == workers * count
    for worker in range(workers):
        mine = [line["i"] for line in written if line["worker"] == worker]
        assert mine == list(range(count))


def test_ten_threads_of_a_hundred_appends(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    threads = [threading.Thread(target=append_many, args=(path, n, 100)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_complete(path, 10, 100)


def test_four_processes_of_a_thousand_appends(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=append_many, args=(path, n, 1000)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert_complete(path, 4, 1000)


def test_the_timestamp_is_injected_only_when_absent(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/log.jsonl"
    payload = {"a": 1}
    zone = dt.timezone(dt.timedelta(hours=2))
    atomic_jsonl_append(path, payload, now=lambda: NOON.astimezone(zone))
    atomic_jsonl_append(path, {"a": 2, "timestamp": "mine"})
    assert lines(path) == [
        {"a": 1, "timestamp": "2026-11-20T12:00:00+00:00"},
        {"a": 2, "timestamp": "mine"},
    ]
    assert payload == {"a": 1}


def test_the_default_timestamp_is_utc_now(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    before = dt.datetime.now(dt.UTC)
    atomic_jsonl_append(path, {})
    stamp = dt.datetime.fromisoformat(str(lines(path)[0]["timestamp"]))
    assert before <= stamp <= dt.datetime.now(dt.UTC)
    assert stamp.utcoffset() == dt.timedelta(0)


def test_a_refused_payload_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with pytest.raises(NotJsonSafe, match=r"payload for log.jsonl.price is NaN"):
        atomic_jsonl_append(path, {"price": float("nan")})
    assert not path.exists()


def test_safe_append_reports_instead_of_raising(tmp_path: Path) -> None:
    failures: list[tuple[Path, Exception]] = []

    def record(path: Path, error: Exception) -> None:
        failures.append((path, error))

    path = tmp_path / "log.jsonl"
    assert safe_jsonl_append(path, {"a": 1}, on_failure=record)
    assert not safe_jsonl_append(path, {"a": float("inf")}, on_failure=record)
    (tmp_path / "folder").mkdir()
    assert not safe_jsonl_append(tmp_path / "folder", {"a": 1}, on_failure=record)
    assert [failed for failed, _ in failures] == [path, tmp_path / "folder"]
    assert isinstance(failures[0][1], NotJsonSafe)
    assert isinstance(failures[1][1], JournalError)
    assert len(lines(path)) == 1


def append(disk: SimulatedDisk, number: int, pad: int = 0) -> None:
    atomic_jsonl_append(PATH, {"n": number, "pad": "x" * pad}, now=lambda: NOON, disk=disk)


def numbers(disk: SimulatedDisk) -> list[int]:
    if PATH.name not in disk.names(FOLDER):
        return []
    data = disk.read(PATH, 0, disk.size(PATH))
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line)["n"] for line in data.splitlines()]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("operation", range(8))
def test_a_failed_append_leaves_nothing(operation: int, code: int) -> None:
    disk = SimulatedDisk(operation)
    append(disk, 1)
    disk.failures[len(disk.operations) + operation] = code
    acknowledged, errors = [1], []
    for number in range(2, 6):
        try:
            append(disk, number)
            acknowledged.append(number)
        except JournalError as error:
            errors.append(str(error))
        assert numbers(disk) == acknowledged
    assert len(acknowledged) == 4
    (error,) = errors
    assert "nothing was appended" in error


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 25), st.integers(0, 2000), st.integers(0, 2**32))
def test_power_cut_leaves_whole_lines(cut: int, pad: int, seed: int) -> None:
    disk = SimulatedDisk(seed)
    disk.cut_at = cut
    acknowledged = 0
    try:
        for number in range(1, 9):
            append(disk, number, pad)
            acknowledged = number
    except PowerCut:
        pass
    disk.cut_power()
    append(disk, 100)
    kept = numbers(disk)
    assert kept[-1] == 100
    assert kept[:-1] == list(range(1, len(kept)))
    assert len(kept) - 1 >= acknowledged


def test_a_torn_last_line_is_moved_and_a_whole_one_completed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\n{"a": 2, "b')
    atomic_jsonl_append(path, {"a": 3})
    assert [line["a"] for line in lines(path)] == [1, 3]
    assert (tmp_path / "log.jsonl.torn").read_text() == '{"a": 2, "b\n'
    path.write_bytes(b'{"a": 1}\n{"a": 2, "b": "' + b"\0" * 600 + b'"}\n')
    atomic_jsonl_append(path, {"a": 3})
    assert [line["a"] for line in lines(path)] == [1, 3]
    path.write_text('{"a": 1}\n{"a": 2}')
    atomic_jsonl_append(path, {"a": 3})
    assert [line["a"] for line in lines(path)] == [1, 2, 3]
    long = "x" * 200_000
    path.write_text(json.dumps({"a": 1, "b": long}))
    atomic_jsonl_append(path, {"a": 3})
    assert [line["a"] for line in lines(path)] == [1, 3]


def test_a_moved_piece_is_durable_before_it_is_cut_off() -> None:
    disk = SimulatedDisk()
    append(disk, 1)
    disk.append_to(PATH, create=False).write(b'{"n": 2, "p')
    append(disk, 3)
    disk.cut_power()
    assert numbers(disk) == [1, 3]
    assert disk.read(PATH.with_name("log.jsonl.torn"), 0, 100) == b'{"n": 2, "p\n'


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 12), st.booleans(), st.integers(0, 2**32))
def test_write_atomic_leaves_the_old_content_or_the_new(cut: int, kill: bool, seed: int) -> None:
    disk = SimulatedDisk(seed)
    disk.make_folder(FOLDER)
    old, new = b"old" * 400, b"new" * 900
    write_atomic(PATH, old, disk=disk)
    disk.cut_at = len(disk.operations) + cut
    finished = False
    try:
        write_atomic(PATH, new, disk=disk)
        finished = True
    except PowerCut:
        pass
    disk.restart_process() if kill else disk.cut_power()
    content = disk.read(PATH, 0, 10_000)
    assert content in ((new,) if finished else (old, new))
    write_atomic(PATH, b"next", disk=disk)
    disk.cut_power()
    assert disk.read(PATH, 0, 10_000) == b"next"


@pytest.mark.parametrize("operation", range(4))
def test_write_atomic_that_fails_keeps_the_old_content_and_no_rubbish(operation: int) -> None:
    disk = SimulatedDisk()
    disk.make_folder(FOLDER)
    write_atomic(PATH, b"old", disk=disk)
    disk.failures[len(disk.operations) + operation] = errno.ENOSPC
    with pytest.raises(OSError, match="No space left"):
        write_atomic(PATH, b"new", disk=disk)
    assert disk.read(PATH, 0, 10) == b"old"
    assert disk.names(FOLDER) == [PATH.name]


def test_write_atomic_on_the_real_disk(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.bin"
    for data in (b"\x00\x01" * 5000, b"short"):
        write_atomic(path, data)
        assert path.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["snapshot.bin"]
