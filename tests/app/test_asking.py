"""Stopping reaches every account, whatever one of them does."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import msgspec
import pytest

from onefold.app import asking
from onefold.app.asking import ask_sessions, heartbeat_of, request
from onefold.engine.instance import Instance

from .world import onefold, write_config

Capture = pytest.CaptureFixture[str]

TWO = """
data:
  BTCUSD: { synthetic: { seed: 7, bars: 100 } }
  ES: { synthetic: { seed: 8, bars: 100 } }
strategies:
  trend: { kind: crossover, instruments: [BTCUSD] }
  dips: { kind: mean_reversion }
accounts:
  alpha: { strategies: [trend] }
  beta: { strategies: [dips] }
"""
NOBODY = 2**22 + 1
"""No process has this number: above what Linux gives."""


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with two accounts; return where theirs are."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, TWO)
    return tmp_path / "journal"


def broken(folder: Path) -> None:
    """Leave a file where the inbox of an account belongs."""
    (folder / "control").mkdir(parents=True)
    (folder / "control" / "inbox").touch()


def beats(folder: Path, **facts: object) -> None:
    """Let a session beat that never answers."""
    folder.mkdir(parents=True, exist_ok=True)
    beat = {"pid": os.getpid(), **facts}
    (folder / "heartbeat.json").write_bytes(msgspec.json.encode(beat))


def test_a_broken_account_keeps_no_other_from_being_stopped(journal: Path, capsys: Capture) -> None:
    broken(journal / "alpha")
    said = onefold(capsys, "emergency-stop", "--reason", "fire")
    assert said.code == 2
    assert "account alpha: kill: its control folder cannot be used" in said.err
    assert "KILL is on all the same" in said.err
    assert "account beta: kill: does not run" in said.err
    assert "alpha could not be asked" in said.err
    assert (journal / "alpha" / "control" / "KILL").exists(), "what works of it does its part"
    assert (journal / "beta" / "control" / "KILL").read_text() == "fire\n"
    state = onefold(capsys, "status", "--json").json["accounts"]
    assert [one["kill_switches"] for one in state.values()] == [{"KILL": "fire"}] * 2


def test_a_folder_that_is_none_is_told(journal: Path, capsys: Capture) -> None:
    (journal / "alpha").mkdir(parents=True)
    (journal / "alpha" / "control").touch()
    said = onefold(capsys, "emergency-stop")
    assert said.code == 2
    assert "account alpha: kill: its control folder cannot be used: File exists" in said.err
    assert (journal / "beta" / "control" / "KILL").exists()


def test_who_looks_makes_no_folders(journal: Path, capsys: Capture) -> None:
    (journal / "alpha").mkdir(parents=True)
    assert onefold(capsys, "status").code == 1
    assert list((journal / "alpha").iterdir()) == []


def test_accounts_are_awaited_together(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "WAIT_S", 0.5)
    names = ("alpha", "beta", "gamma")
    for name in names:
        beats(journal / name)
    wanted = {n: (journal / n, [request("kill", "", "", "x")]) for n in names}
    begun = time.monotonic()
    told = ask_sessions(wanted, lambda beat: beat is not None)
    assert time.monotonic() - begun < 1.0, "one after the other they take three times as long"
    assert {one.outcome for one in told.values()} == {"late"}
    assert all((journal / name / "control" / "KILL").exists() for name in names)


def test_accounts_without_a_strategy_are_left_alone(journal: Path, capsys: Capture) -> None:
    said = onefold(capsys, "emergency-stop", "--strategy", "trend", "--reason", "odd")
    assert said.code == 0
    assert "account beta: kill: left alone: it has no strategy 'trend'" in said.err
    assert (journal / "alpha" / "control" / "KILL@trend").exists()
    assert not (journal / "beta").exists()
    said = onefold(capsys, "resume", "--strategy", "trend", "--reason", "looked")
    assert said.code == 0
    assert "account beta: resume: left alone" in said.err
    assert not (journal / "alpha" / "control" / "KILL@trend").exists()
    assert not (journal / "beta").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--strategy", "tend"], "no account has strategy 'tend'; did you mean 'trend'?"),
        (["--instrument", "BTCUSDT"], "did you mean 'BTCUSD'?"),
        (["--strategy", "trend", "--account", "beta"], "account 'beta' has no strategy 'trend'"),
        (["--strategy", "trend", "--instrument", "ES"], "both strategy 'trend' and"),
    ],
)
@pytest.mark.parametrize("command", ["emergency-stop", "resume"])
def test_names_that_no_account_has_stop_nothing(
    journal: Path, capsys: Capture, command: str, options: list[str], said: str
) -> None:
    found = onefold(capsys, command, *options, "--reason", "odd")
    assert found.code == 2
    assert said in found.err
    assert not journal.exists()


def test_a_session_that_runs_knows_its_strategies_best(journal: Path, capsys: Capture) -> None:
    beats(journal / "alpha", strategies={"older": "1"})
    beats(journal / "beta", strategies={"dips": "2"})
    said = onefold(capsys, "emergency-stop", "--strategy", "trend")
    assert said.code == 2
    assert "no account has strategy 'trend'" in said.err
    (journal / "alpha" / "control").mkdir()
    (journal / "alpha" / "control" / "KILL@tend").touch()
    (journal / "alpha" / "heartbeat.json").unlink()
    assert onefold(capsys, "resume", "--strategy", "tend", "--reason", "a slip").code == 0
    assert not (journal / "alpha" / "control" / "KILL@tend").exists(), "what is on can be undone"


def test_a_file_that_says_nothing_of_strategies_refuses_no_name(
    journal: Path, capsys: Capture
) -> None:
    write_config(journal.parent, "accounts: { alpha: {}, beta: 3 }\nstrategies: [broken]\n")
    assert onefold(capsys, "emergency-stop", "--strategy", "trend").code == 0
    assert (journal / "alpha" / "control" / "KILL@trend").exists()
    assert (journal / "beta" / "control" / "KILL@trend").exists()


def test_a_session_of_another_container_runs_and_is_asked(
    journal: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "WAIT_S", 0.2)
    alpha = journal / "alpha"
    beats(alpha, pid=NOBODY)
    with Instance(alpha, "alpha"):
        state = onefold(capsys, "status", "--json").json["accounts"]["alpha"]
        assert state["state"] == "running"
        said = onefold(capsys, "stop", "--account", "alpha")
        assert said.code == 2
        assert "there was no answer within" in said.err
        assert len(list((alpha / "control" / "inbox").glob("*.json"))) == 1
        os.utime(alpha / "heartbeat.json", (0, 0))
        state = onefold(capsys, "status", "--json").json["accounts"]["alpha"]
        assert state["state"].startswith("stuck")
    beats(alpha, pid=os.getpid())
    assert heartbeat_of(alpha) is None, "its lock is free, whoever has its number"


@pytest.mark.parametrize(("age_s", "runs"), [(0, True), (1_000, False)])
def test_without_a_lock_a_new_heartbeat_counts(journal: Path, age_s: int, runs: bool) -> None:
    beats(journal / "alpha", pid=NOBODY)
    then = time.time() - age_s
    os.utime(journal / "alpha" / "heartbeat.json", (then, then))
    assert (heartbeat_of(journal / "alpha") is not None) == runs


def test_a_stop_is_for_the_session_that_has_the_account(journal: Path) -> None:
    alpha = journal / "alpha"
    beats(alpha, stopped=True)
    wanted = {"alpha": (alpha, [request("stop", "", "", "x")])}
    with (alpha / "alpha.instance").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ending = threading.Timer(0.2, fcntl.flock, (file, fcntl.LOCK_UN))
        ending.start()
        [said] = ask_sessions(wanted, lambda beat: beat is None).values()
        ending.join()
    assert (said.said, said.outcome) == ("does not run", "waits")
    assert list((alpha / "control" / "inbox").glob("*.json")) == [], "the next one may go on"
