"""X9: one process trades an account, and one that was overtaken sends nothing more."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from onefold.domain.errors import ConfigError, InstanceRunning, VenueRefused
from onefold.engine.instance import Instance, is_held

PAIRS = int(os.environ.get("ONEFOLD_TEST_INSTANCES", "3"))

CONTENDER = """
import sys, time
from pathlib import Path
from onefold.domain.errors import InstanceRunning
from onefold.engine.instance import Instance
print("ready", flush=True)
sys.stdin.readline()
try:
    with Instance(Path(sys.argv[1]), "main") as mine:
        mine.look()
        print("trades", flush=True)
        sys.stdin.readline()
except InstanceRunning as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""


def contender(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CONTENDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_of_several_that_start_at_once_exactly_one_trades(tmp_path: Path) -> None:
    processes = [contender(tmp_path) for _ in range(6)]
    try:
        assert [said(p) for p in processes] == ["ready"] * 6
        for process in processes:
            tell(process)
        answers = [said(p) for p in processes]
        assert answers.count("trades") == 1
        winner = processes[answers.index("trades")]
        others = [p for p in processes if p is not winner]
        assert [p.wait(20) for p in others] == [InstanceRunning.exit_code] * 5
        assert all("is traded by process" in a for a in answers if a != "trades")
        tell(winner)
        assert winner.wait(20) == 0
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_of_two_that_start_at_once_one_trades_every_time(tmp_path: Path) -> None:
    """`ONEFOLD_TEST_INSTANCES` is how often; epochs count the winners."""
    for number in range(PAIRS):
        pair = [contender(tmp_path) for _ in range(2)]
        try:
            assert [said(p) for p in pair] == ["ready"] * 2
            for process in pair:
                tell(process)
            answers = [said(p) for p in pair]
            assert answers.count("trades") == 1, f"pair {number}: {answers}"
            winner = pair[answers.index("trades")]
            (loser,) = (p for p in pair if p is not winner)
            assert loser.wait(20) == InstanceRunning.exit_code
            tell(winner)
            assert winner.wait(20) == 0
        finally:
            for process in pair:
                process.kill()
                process.communicate()
    with Instance(tmp_path, "main") as last:
        assert last.epoch == PAIRS + 1


def test_a_process_that_was_overtaken_sends_nothing_more(tmp_path: Path) -> None:
    """The lock was broken while it slept; its epoch is not the last one any more."""
    sleeper = Instance(tmp_path, "main")
    with sleeper:
        sleeper.look()
        (tmp_path / "main.instance").unlink()  # what an impatient operator does
        with Instance(tmp_path, "main") as later:
            assert later.epoch == sleeper.epoch + 1
            with pytest.raises(VenueRefused, match="another process has taken over"):
                sleeper.look()
            later.look()
        with pytest.raises(VenueRefused):
            sleeper.look()


def test_epochs_grow_over_restarts_and_accounts_do_not_meet(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        with Instance(tmp_path, "main") as mine, Instance(tmp_path, "other") as other:
            assert (mine.epoch, other.epoch) == (expected, expected)


def test_an_epoch_that_cannot_be_read_trades_nothing(tmp_path: Path) -> None:
    with Instance(tmp_path, "main") as mine:
        (tmp_path / "main.epoch").write_text("?")
        with pytest.raises(VenueRefused):
            mine.look()
    with pytest.raises(ConfigError, match="cannot be read"), Instance(tmp_path, "main"):
        pass
    (tmp_path / "main.epoch").write_text("7")
    with Instance(tmp_path, "main") as mine:
        assert mine.epoch == 8


def test_whoever_looks_sees_the_lock_and_keeps_nobody_out(tmp_path: Path) -> None:
    assert is_held(tmp_path, "main") is None, "nobody has ever traded it"
    with Instance(tmp_path, "main"):
        assert is_held(tmp_path, "main")
        assert is_held(tmp_path, "main"), "and it is held still"
    assert is_held(tmp_path, "main") is False
    looking = threading.Event()

    def look() -> None:
        while not looking.is_set():
            is_held(tmp_path, "main")

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(50):
            with Instance(tmp_path, "main"):
                pass
    finally:
        looking.set()
        looker.join()


def test_the_pid_file_names_the_owner(tmp_path: Path) -> None:
    process = contender(tmp_path)
    try:
        assert said(process) == "ready"
        tell(process)
        assert said(process) == "trades"
        with pytest.raises(InstanceRunning, match=rf"by process {process.pid} already"):
            Instance(tmp_path, "main").__enter__()
        process.kill()
        process.wait(20)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:  # the lock of a dead process is free
            try:
                with Instance(tmp_path, "main"):
                    return
            except InstanceRunning:
                time.sleep(0.05)
        pytest.fail("the lock of a killed process stayed")
    finally:
        process.kill()
        process.communicate()
