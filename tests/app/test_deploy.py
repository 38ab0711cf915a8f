"""What is handed to a service manager: the script that looks after sessions, and the units."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from onefold.app.commands.run import RunMode
from onefold.app.settings import overrides
from onefold.domain import errors

from .paper_session import PaperSession
from .test_runs import damaged

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("*/onefold@.service"))
ONEFOLD = Path(sys.executable).with_name("onefold")


def verify(session: PaperSession, *options: object) -> tuple[int, list[str], list[str]]:
    """Run verify.sh from elsewhere; return its code, what is well and what is not."""
    config = session.folder / "onefold.yaml"
    done = subprocess.run(
        ["/bin/sh", DEPLOY / "verify.sh", "-c", config, "-o", ONEFOLD, *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
    )
    fails = done.stderr.splitlines()
    assert all(line.startswith("FAIL: ") for line in fails), done.stderr
    wells = done.stdout.splitlines()
    assert all(line.startswith("ok:   ") for line in wells), done.stdout
    return done.returncode, [x[6:] for x in wells], [x[6:] for x in fails]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperSession]:
    """Give one session that runs; the last test ends it."""
    session = PaperSession(tmp_path_factory.mktemp("running"))
    session.start()
    yield session
    session.close()


def test_a_session_that_runs_is_well(running: PaperSession) -> None:
    (running.folder / ".env").write_text("A=1\n")
    (running.folder / ".env").chmod(0o600)
    code, wells, fails = verify(running)
    assert (code, fails) == (0, [])
    assert wells[0] == "onefold.yaml can be read"
    assert wells[1] == ".env is nobody else's"
    assert running.process is not None
    assert wells[2] == f"paper: runs as process {running.process.pid}"
    assert re.fullmatch(r"paper: its heartbeat is [0-9.]+ s old", wells[3])
    assert wells[4] == f"paper: {running.journal().relative_to(running.folder)} is whole"


@pytest.mark.parametrize(
    ("switch", "finding"),
    [
        ("KILL", 'paper: kill switches are on: "KILL": "drill"'),
        ("KILL@trend", 'paper: kill switches are on: "KILL@trend": "drill"'),
    ],
)
def test_a_kill_switch_is_told_of(running: PaperSession, switch: str, finding: str) -> None:
    file = running.control / switch
    file.write_text("drill\n")
    try:
        code, _, fails = verify(running)
    finally:
        file.unlink()
    assert (code, fails) == (1, [finding])


def test_what_was_wrong_once_is_all_told(running: PaperSession) -> None:
    env = running.folder / ".env"
    env.write_text("A=1\n")
    env.chmod(0o640)
    (running.control / "KILL").touch()
    running.wait(lambda beat: beat["killed"])
    (running.control / "KILL").unlink()
    code, _, fails = verify(running, "-m", 0)
    env.chmod(0o600)
    assert code == 1
    assert fails[0] == f".env can be read or written by others: chmod 600 {env}"
    assert re.fullmatch(r"paper: its heartbeat is [0-9.]+ s old, 0 are allowed", fails[1])
    assert fails[2] == "paper: it is halted; onefold journal tail says why"


def test_a_configuration_that_is_wrong_is_told_of(running: PaperSession) -> None:
    config = running.folder / "onefold.yaml"
    text = config.read_text()
    config.write_text(text.replace("kind: crossover", "knd: crossover"))
    try:
        code, _, fails = verify(running)
    finally:
        config.write_text(text)
    assert code == 1
    assert fails[0].startswith("configuration: onefold.yaml: strategies.trend.knd")


def test_an_account_that_is_not_there(running: PaperSession) -> None:
    code, _, fails = verify(running, "-a", "papr")
    assert code == 1
    assert fails == ["papr: status: there is no account 'papr'; did you mean 'paper'?"]


@pytest.mark.parametrize("options", [["-x"], ["-m", "ten"], ["more"]])
def test_it_says_how_to_call_it(options: list[str]) -> None:
    done = subprocess.run(
        ["/bin/sh", DEPLOY / "verify.sh", *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "verify.sh [-c CONFIG]" in done.stderr


def test_a_session_that_is_stopped_or_damaged_is_not_well(
    running: PaperSession, tmp_path: Path
) -> None:
    assert running.signal(signal.SIGTERM) == 0
    code, wells, fails = verify(running)
    journal = running.journal()
    assert (code, fails) == (1, ["paper: stopped"])
    assert wells[-1] == f"paper: {journal.relative_to(running.folder)} is whole"
    copy, line = damaged(journal, tmp_path)
    journal.rename(tmp_path / "whole")
    copy.rename(journal)
    code, _, fails = verify(running)
    assert code == 1
    assert fails[0] == "paper: stopped"
    assert re.match(rf"paper: journal: .*\.jsonl, line {line}, byte \d+: ", fails[1])


def settings_of(unit: Path) -> dict[str, list[str]]:
    """Return what a unit sets, by name."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.parent.name)
def test_units_start_what_there_is_and_stay_down_when_a_person_must_look(unit: Path) -> None:
    settings = settings_of(unit)
    [start] = settings["ExecStart"]
    assert shlex.split(start)[1:] == ["run", "onefold.yaml", "--mode", "${MODE}"]
    assert "MODE=paper" in settings["Environment"]
    assert settings["Type"] == ["notify"]
    assert settings["Restart"] == ["on-failure"]
    final = {
        errors.ConfigError, errors.DataError, errors.SignalError, errors.InvariantBroken,
        errors.ReplayMismatch, errors.InstanceRunning,
    }  # fmt: skip
    [codes] = settings["RestartPreventExitStatus"]
    assert {int(code) for code in codes.split()} == {error.exit_code for error in final}
    assert "MemoryDenyWriteExecute" not in settings, "compiled code would not start"


def test_the_example_of_the_environment_is_valid() -> None:
    lines = (DEPLOY / "service.env.example").read_text().splitlines()
    pairs = [re.fullmatch(r"(?:# )?([A-Z_]+)=(\S+)", line) for line in lines]
    variables = {match[1]: match[2] for match in pairs if match}
    assert RunMode(variables["MODE"]) is RunMode.PAPER
    assert variables["POLICY_KILLSWITCH"] == "true"
    assert overrides({}, variables) == {"session": {"segment_mb": 50}}


def test_there_is_a_unit_for_the_machine_and_one_for_a_person() -> None:
    assert [unit.parent.name for unit in UNITS] == ["system", "user"]
