"""G2, G3: parameters and reviews through the real commands, with and without a session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from onefold.app.journals import newest_journal
from onefold.app.main import run
from onefold.engine.heartbeat import read_heartbeat

NOBODY = 65_534
ACCOUNT: dict[str, Any] = {
    "account": {"name": "main", "cash": 100_000, "limits": {"daily_loss": 0.05}},
    "instruments": {"AAA": {"kind": "equity"}, "BBB": {"kind": "equity"}},
    "data": {
        "AAA": {"synthetic": {"seed": 1, "bars": 2_000}},
        "BBB": {"synthetic": {"seed": 2, "bars": 2_000}},
    },
    "strategies": {
        "trend": {"kind": "crossover", "gates": {"conf_min": 0.5}},
        "dips": {"kind": "ibs_a", "instruments": ["AAA"]},
    },
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "onefold.yaml").write_text(yaml.safe_dump(ACCOUNT, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = run([*arguments, "--json"])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else None


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(list(arguments)) == 2
    return capsys.readouterr().err


def test_values_are_set_listed_and_rolled_back(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, made = command(
        capsys, "parameters", "set", "conf_min", "0.6", "--strategy", "trend", "--reason", "weak"
    )
    assert code == 0
    assert [(c["strategy"], c["instrument"], c["before"]) for c in made["changes"]] == [
        ("trend", "AAA", 0.5),
        ("trend", "BBB", 0.5),
    ]
    assert "no session runs" in made["became"]
    command(capsys, "parameters", "set", "daily_loss", "0.02", "--reason", "calmer")
    _, listed = command(capsys, "parameters", "list")
    assert listed["values"] == {
        "conf_min trend/AAA": 0.6,
        "conf_min trend/BBB": 0.6,
        "daily_loss everything": 0.02,
    }
    code, made = command(capsys, "parameters", "rollback", "0", "--reason", "no better")
    assert {c["value"] for c in made["changes"]} == {0.5, 0.05}
    assert run(["parameters", "list"]) == 0
    shown = capsys.readouterr().out
    assert "2 values of conf_min" in shown
    assert "no better" in shown
    assert run(["parameters", "show", "3"]) == 0
    assert "trend/BBB" in capsys.readouterr().out
    assert command(capsys, "parameters", "verify")[1]["versions"] == 3


def test_another_person_approves_where_an_account_wants_one(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    venue = {"ccxt": {"exchange": "kraken", "api_key": "k", "api_secret": "s"}}
    live = {"approved": "me", "second_person": True, "venue": venue}
    config = {**ACCOUNT, "accounts": {"main": {**ACCOUNT["account"], **live}}}
    (folder / "onefold.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    lower = ("parameters", "set", "conf_min", "0.4", "--strategy", "trend", "--reason", "more")
    _, made = command(capsys, *lower)
    assert made["status"] == "proposed"
    approve = ("parameters", "approve", "1", "--reason", "looked at it")
    monkeypatch.setenv("LOGNAME", "somebody")
    assert "the approval of another person" in refused(capsys, *approve)
    monkeypatch.setattr("onefold.app.operator.os.getuid", lambda: NOBODY)
    code, made = command(capsys, *approve)
    assert (code, made["by"], made["approves"]) == (0, "nobody", 1)


def test_mistakes_are_one_line_and_change_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("parameters", "set")
    for arguments, said in (
        ((*base, "conf_min", "0.6"), "give a --reason"),
        ((*base, "conf_min", "1.6", "--reason", "x"), "less than or equal to 1"),
        ((*base, "confmin", "0.6", "--reason", "x"), "did you mean 'conf_min'"),
        ((*base, "conf_min", "0.6", "--strategy", "trent", "--reason", "x"), "'trend'"),
        ((*base, "conf_min", "0.6", "--instrument", "AAB", "--reason", "x"), "'AAA'"),
        ((*base, "daily_loss", "0.1", "--strategy", "trend", "--reason", "x"), "whole account"),
        ((*base, "risk_budget", "0.1", "--instrument", "AAA", "--reason", "x"), "one instrument"),
        ((*base, "suppress", "1", "--reason", "x"), "onefold review suppress"),
        (("parameters", "rollback", "7", "--reason", "x"), "there is no version 7"),
        (("parameters", "approve", "1", "--reason", "x"), "those that wait: none"),
        (("parameters", "show", "1"), "there is no version 1"),
        (("parameters", "list", "--account", "mian"), "did you mean 'main'"),
        (("review", "suppress", "--reason", "x"), "say what to suppress"),
        (
            ("review", "suppress", "--strategy", "dips", "--instrument", "BBB", "--reason", "x"),
            "does not trade",
        ),
        (("review", "release", "--strategy", "dips", "--reason", "x"), "no review holds dips"),
        (
            ("review", "watch", "--strategy", "dips", "--reason", "x", "--until", "soon"),
            "is no day",
        ),
        (
            ("review", "watch", "--strategy", "dips", "--reason", "x", "--until", "2020-01-01"),
            "over already",
        ),
    ):
        assert said in refused(capsys, *arguments), arguments
    assert not (folder / "governance" / "main.jsonl").exists()


def test_reviews_are_listed_with_who_and_why(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(
        capsys, "review", "suppress", "--strategy", "dips", "--reason", "odd", "--until",
        "2099-12-31",
    )  # fmt: skip
    assert run(["review", "list"]) == 0
    shown = capsys.readouterr().out
    assert "dips" in shown
    assert "2100-01-01" in shown
    command(capsys, "review", "watch", "--strategy", "dips", "--reason", "fine so far")
    _, listed = command(capsys, "review", "list")
    assert [one["hold"]["action"] for one in listed] == ["watch"]
    command(capsys, "review", "release", "--strategy", "dips", "--reason", "fine")
    assert command(capsys, "review", "list")[1] == []


def test_an_altered_file_is_told_with_its_place(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(capsys, "parameters", "set", "daily_loss", "0.02", "--reason", "calmer")
    file = folder / "governance" / "main.jsonl"
    file.write_bytes(file.read_bytes().replace(b"0.02", b"0.2"))
    before = file.read_bytes()
    for arguments in (
        ("parameters", "verify"),
        ("parameters", "set", "daily_loss", "0.01", "--reason", "x"),
    ):
        assert "main.jsonl, line 1: version 1 has been altered" in refused(capsys, *arguments)
    assert file.read_bytes() == before


@pytest.fixture
def session(folder: Path) -> Iterator[Path]:
    """Run a paper session over recorded bars, slowly, as a process of its own."""
    paced = {**ACCOUNT, "session": {"pace": {"seconds_per_bar": 0.02}, "heartbeat_s": 0.1}}
    (folder / "onefold.yaml").write_text(yaml.safe_dump(paced, sort_keys=False))
    process = subprocess.Popen(
        [sys.executable, "-m", "onefold", "run", "--mode", "paper"],
        cwd=folder,
        env={**os.environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    place = folder / "journal" / "main"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        beat = read_heartbeat(place) if place.exists() else None
        if beat is not None and beat["inputs"] > 5:
            break
        time.sleep(0.05)
    try:
        yield place
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_a_session_that_runs_takes_a_change_and_replays_it(
    session: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, made = command(
        capsys, "parameters", "set", "conf_min", "0.6", "--strategy", "trend", "--reason", "weak"
    )
    assert (code, made["became"]) == (0, "the session has taken it")
    code, made = command(capsys, "review", "suppress", "--strategy", "dips", "--reason", "odd")
    assert made["became"] == "the session has taken it"
    assert run(["stop"]) == 0
    [journal] = session.glob("paper-*")
    mandates = [line for p in journal.glob("*.jsonl") for line in p.read_text().splitlines()
                if '"kind":"mandate"' in line]  # fmt: skip
    assert len(mandates) == 3
    assert command(capsys, "replay", str(journal))[1]["mismatches"] == 0


def test_the_newest_journal_may_be_an_accounts(tmp_path: Path) -> None:
    for name, age in (("old", 9), ("main/shadow-1", 1), ("main/control/inbox/no", 0)):
        (tmp_path / name).mkdir(parents=True)
        file = tmp_path / name / "1.jsonl"
        file.touch()
        os.utime(file, (1e9 - age, 1e9 - age))
    assert newest_journal(tmp_path) == tmp_path / "main" / "shadow-1"
