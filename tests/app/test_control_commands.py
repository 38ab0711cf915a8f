"""X7: people command a process that trades, from the command line and by files made by hand."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from onefold.app.settings import load_settings
from onefold.domain.records import Command

from .paper_session import PaperSession
from .world import onefold, onefold_process, write_config

Capture = pytest.CaptureFixture[str]
LIVE_DOC = (Path(__file__).parents[2] / "docs" / "live.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperSession]:
    """Give one session to all tests that leave it trading as they found it."""
    session = PaperSession(tmp_path_factory.mktemp("running"))
    session.start()
    yield session
    session.close()


@pytest.fixture
def session(running: PaperSession, monkeypatch: pytest.MonkeyPatch) -> PaperSession:
    """Stand in the folder of the session that runs."""
    monkeypatch.chdir(running.folder)
    return running


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PaperSession]:
    """Give a session that the test may start and end."""
    monkeypatch.chdir(tmp_path)
    session = PaperSession(tmp_path)
    yield session
    session.close()


def test_status_tells_what_the_heartbeat_says(session: PaperSession, capsys: Capture) -> None:
    said = onefold(capsys, "status", "--json")
    assert said.code == 0
    state = said.json["accounts"]["paper"]
    assert session.process is not None
    assert state["pid"] == session.process.pid == session.beat()["pid"]
    assert (state["state"], state["mode"], state["data_mode"]) == ("running", "paper", "recorded")
    assert (state["killed"], state["reduce_only"], state["reconciled"]) == (False, False, True)
    assert state["kill_switches"] == {}
    assert state["heartbeat_age_s"] < 10
    session.bars_pass(1)
    again = onefold(capsys, "status", "--json").json["accounts"]["paper"]
    assert again["inputs"] > state["inputs"]
    assert again["last_bars"]["BTCUSD"] > state["last_bars"]["BTCUSD"]
    assert "account paper: running" in onefold(capsys, "status").out


def test_the_heartbeat_comes_as_often_as_it_is_set_and_has_a_copy(session: PaperSession) -> None:
    copy = session.folder / "beats" / "paper.json"
    first = copy.stat().st_ino
    session.wait(lambda _: copy.stat().st_ino != first, timeout_s=5.0)
    copied, totals = msgspec.json.decode(copy.read_bytes()), session.beat()["totals"]
    assert copied["pid"] == session.beat()["pid"]
    assert sorted(totals) == ["fees", "income", "pnl", "pnl_today", "realised"]


def test_every_field_of_the_heartbeat_is_documented(session: PaperSession) -> None:
    rows = LIVE_DOC.partition("## Watching")[2].partition("\n## ")[0]
    documented = re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", rows, re.MULTILINE)))
    assert sorted(documented) == sorted([*session.beat(), "stopped", "failure"])


def test_the_example_in_the_document_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINANCE_KEY", "key")
    monkeypatch.setenv("BINANCE_SECRET", "a secret")
    [example] = re.findall(r"```yaml\n(.*?)```", LIVE_DOC, re.DOTALL)
    accounts = load_settings(write_config(tmp_path, example)).settings.accounts
    assert (accounts["main"].cash, accounts["main"].limits.daily_loss) == (100_000, 0.02)
    assert not accounts["spare"].enabled


def test_a_second_process_is_refused(session: PaperSession) -> None:
    said = onefold_process(session.folder, "run", "--mode", "paper")
    assert said.code == 9
    assert session.process is not None
    assert f"traded by process {session.process.pid} already" in said.err
    session.bars_pass(1)
    assert session.beat()["epoch"] == 1


def test_a_strategy_is_stopped_and_resumed(session: PaperSession, capsys: Capture) -> None:
    said = onefold(capsys, "emergency-stop", "--strategy", "trend", "--reason", "odd")
    assert (said.code, said.err) == (0, "account paper: kill: done\n")
    assert (session.control / "KILL@trend").read_text() == "odd\n"
    assert session.commands()[-1] == ("kill", "trend", "")
    state = onefold(capsys, "status", "--json").json["accounts"]["paper"]
    assert state["kill_switches"] == {"KILL@trend": "odd"}
    assert not state["killed"]
    session.bars_pass(60)
    assert "trend" not in session.ordered()
    assert onefold(capsys, "resume", "--strategy", "trend", "--reason", "looked").code == 0
    assert session.commands()[-1] == ("resume", "trend", "")
    assert not (session.control / "KILL@trend").exists()
    for _ in range(10):  # when it wants to trade again is the made market's affair
        session.bars_pass(60)
        if "trend" in session.ordered():
            return
    pytest.fail("it was resumed and never traded again")


@pytest.mark.parametrize(
    ("name", "scope", "options"),
    [
        ("KILL", ("", ""), []),
        ("KILL@dips", ("dips", ""), ["--strategy", "dips"]),
        ("KILL@@BTCUSD", ("", "BTCUSD"), ["--instrument", "BTCUSD"]),
        ("KILL@dips@BTCUSD", ("dips", "BTCUSD"), ["--strategy", "dips", "--instrument", "BTCUSD"]),
    ],
)
def test_a_file_made_by_hand_is_a_kill_switch(
    session: PaperSession,
    capsys: Capture,
    name: str,
    scope: tuple[str, str],
    options: list[str],
) -> None:
    before = session.commands()
    (session.control / name).touch()
    session.bars_pass(5)
    assert session.commands() == [*before, ("kill", *scope)]
    assert session.beat()["killed"] == (name == "KILL")
    (session.control / name).unlink()
    session.bars_pass(5)
    assert session.commands() == [*before, ("kill", *scope)], "only a person resumes"
    assert onefold(capsys, "resume", *options, "--reason", "a drill").code == 0
    assert session.commands() == [*before, ("kill", *scope), ("resume", *scope)]


def test_a_misspelt_file_stops_everything(session: PaperSession, capsys: Capture) -> None:
    (session.control / "KILL@tend").touch()
    session.wait(lambda beat: beat["killed"])
    (session.control / "KILL@tend").unlink()
    assert onefold(capsys, "resume", "--reason", "it was trend").code == 0
    session.wait(lambda beat: not beat["killed"])


@pytest.mark.parametrize("reason", [[], ["--reason", " "]])
def test_nobody_resumes_without_a_reason(
    session: PaperSession, capsys: Capture, reason: list[str]
) -> None:
    assert onefold(capsys, "emergency-stop").code == 0
    said = onefold(capsys, "resume", *reason)
    assert said.code == 2
    assert "--reason" in said.err
    assert (session.control / "KILL").exists()
    session.bars_pass(20)
    assert session.beat()["killed"]
    assert session.ordered() == set()
    assert onefold(capsys, "resume", "--reason", "a drill").code == 0
    command = [record for record in session.records() if isinstance(record, Command)][-1]
    assert (command.command, command.reason) == ("resume", "a drill")
    assert command.operator
    assert command.id


def test_flattening_closes_positions(session: PaperSession, capsys: Capture) -> None:
    session.wait(lambda beat: beat["positions"])
    assert onefold(capsys, "emergency-stop", "--flatten", "--reason", "out").code == 0
    session.wait(lambda beat: beat["killed"] and not beat["positions"])
    assert onefold(capsys, "resume", "--reason", "a drill").code == 0
    session.wait(lambda beat: beat["positions"])


def test_reduce_only_until_somebody_resumes(session: PaperSession, capsys: Capture) -> None:
    assert onefold(capsys, "reduce-only", "--reason", "news").code == 0
    assert session.beat()["reduce_only"]
    session.wait(lambda beat: not beat["positions"])
    session.bars_pass(40)
    assert session.beat()["positions"] == {}
    assert onefold(capsys, "resume", "--reason", "over").code == 0
    session.wait(lambda beat: not beat["reduce_only"] and beat["positions"])


def test_accounts_and_commands_that_are_not_there(session: PaperSession, capsys: Capture) -> None:
    said = onefold(capsys, "emergency-stop", "--account", "papr")
    assert said.code == 2
    assert "there is no account 'papr'; did you mean 'paper'?" in said.err
    assert not list(session.control.glob("KILL*"))


def test_a_kill_outlives_the_process(own: PaperSession, capsys: Capture) -> None:
    own.start()
    own.bars_pass()
    assert onefold(capsys, "emergency-stop", "--reason", "fire").code == 0
    assert own.signal(signal.SIGKILL) == -signal.SIGKILL
    said = onefold(capsys, "status", "--json")
    assert said.code == 1
    assert said.json["accounts"]["paper"]["state"] == "not running"
    assert said.json["accounts"]["paper"]["kill_switches"] == {"KILL": "fire"}

    pid = own.start()
    state = own.beat()
    assert (state["pid"], state["epoch"], state["killed"]) == (pid, 2, True)
    assert own.commands() == [("kill", "", "")] * 3, "by the file, by request, by the file again"
    assert own.ordered() == set()
    assert onefold(capsys, "resume", "--reason", "it is out").code == 0
    own.wait(lambda beat: not beat["killed"])

    assert onefold(capsys, "stop").err == "account paper: stop: done\n"
    assert own.ended() == 0
    assert own.beat()["stopped"]
    assert onefold(capsys, "status").code == 1
    assert onefold(capsys, "stop").err == "account paper: stop: does not run\n"
    replayed = onefold(capsys, "replay", own.journal(), "--json")
    assert (replayed.code, replayed.json["mismatches"]) == (0, 0)


def test_a_stop_that_was_asked_for_before_the_start_is_found(
    own: PaperSession, capsys: Capture
) -> None:
    said = onefold(capsys, "emergency-stop", "--reason", "not today")
    assert "does not run; it will find this when it starts" in said.err
    own.start(POLICY_KILLSWITCH="no")
    assert own.beat()["killed"]
    assert own.ordered() == set()
    assert own.signal(signal.SIGINT) == 0


def test_the_environment_begins_with_everything_stopped(own: PaperSession, capsys: Capture) -> None:
    own.start(POLICY_KILLSWITCH="true")
    assert own.beat()["killed"]
    own.bars_pass(30)
    assert own.ordered() == set()
    kill = next(record for record in own.records() if isinstance(record, Command))
    assert kill.reason == "POLICY_KILLSWITCH=true"
    assert own.signal(signal.SIGTERM) == 0
    assert own.beat()["stopped"]
    assert own.beat()["pid"] != os.getpid()


def test_a_session_that_nobody_commands_decides_as_the_backtest_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    session = PaperSession(tmp_path, bars=300, seconds_per_bar=0.001)
    said = onefold(capsys, "run", "--mode", "paper", "--json")
    assert said.code == 0, said.err
    assert said.json["failed"] == {}
    assert said.json["accounts"]["paper"]["counts"]["bars"] == 300
    replayed = onefold(capsys, "replay", session.journal(), "--json").json
    batch = onefold(capsys, "backtest", "--json").json
    assert replayed["mismatches"] == 0
    assert replayed["decisions"] == batch["decisions"] > 30
    assert replayed["fingerprint"] == batch["fingerprint"]
