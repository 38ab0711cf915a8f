"""The main job from the command line: backtest, session, replay, explanation, demonstration."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from onefold.app.commands.explain import parse_time
from onefold.app.commands.run import counted
from onefold.app.session_settings import PaceSettings
from onefold.app.wiring import Wired
from onefold.domain.records import Bar
from onefold.sim.backtest import Run

from .world import CONFIG, Said, onefold, onefold_process, write_config

Capture = pytest.CaptureFixture[str]
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the journal of one finished session; do not change it."""
    folder = tmp_path_factory.mktemp("session")
    write_config(folder)
    said = onefold_process(folder, "run", "--mode", "simulate", "--json")
    assert said.code == 0, said.err
    return folder / said.json["journal"]


def damaged(journal: Path, folder: Path) -> tuple[Path, int]:
    """Copy a journal with one digit of a close changed; return it and the line of the place."""
    copy = folder / "damaged"
    shutil.copytree(journal, copy)
    segment = min(copy.glob("*.jsonl"))
    data = segment.read_bytes()
    at = data.index(b'"close":', len(data) // 2) + len(b'"close":')
    digit = b"2" if data[at : at + 1] != b"2" else b"3"
    segment.write_bytes(data[:at] + digit + data[at + 1 :])
    return copy, data.count(b"\n", 0, at) + 1


def test_backtest_writes_a_folder(capsys: Capture) -> None:
    said = onefold(capsys, "backtest", "--json")
    assert said.code == 0
    assert said.err == ""
    folder = Path(said.json["folder"])
    assert sorted(x.name for x in folder.iterdir()) == [
        "config.yaml", "decisions.parquet", "fills.parquet", "metrics.json", "report.html",
        "trades.parquet",
    ]  # fmt: skip
    assert folder.parent == Path("runs")
    assert folder.name.startswith("onefold-")
    assert folder.name.endswith("-20240101")
    assert pl.read_parquet(folder / "trades.parquet").height == said.json["trades"] > 10
    assert pl.read_parquet(folder / "decisions.parquet").height == said.json["decisions"]
    assert pl.read_parquet(folder / "fills.parquet").height == said.json["fills"]
    assert json.loads((folder / "metrics.json").read_text()) == said.json["metrics"]
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_resolved_configuration_gives_the_same_run(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEFOLD_STRATEGIES__TREND__PARAMS__FAST", "7")
    first = onefold(capsys, "backtest", "--json").json
    monkeypatch.delenv("ONEFOLD_STRATEGIES__TREND__PARAMS__FAST")
    again = onefold(capsys, "backtest", f"{first['folder']}/config.yaml", "--json").json
    assert again["fingerprint"] == first["fingerprint"]
    assert onefold(capsys, "backtest", "--json").json["fingerprint"] != first["fingerprint"]


def test_the_resolved_configuration_finds_its_files(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    rows = [f"2024-01-{n:02d},{n},{n + 2},{n - 0.5},{n + 1},9" for n in range(1, 31)]
    text = "\n".join(["ts,open,high,low,close,volume", *rows])
    (tmp_path / "sub" / "b.csv").write_text(text)
    shutil.copy(EXAMPLES / "own_strategy.py", tmp_path / "sub")
    config = (EXAMPLES / "own_strategy.yaml").read_text()
    config = config.replace("sample: sp500, start: 2005-01-01", "path: b.csv")
    first = onefold(capsys, "backtest", write_config(tmp_path / "sub", config), "--json").json
    again = onefold(capsys, "backtest", f"{first['folder']}/config.yaml", "--json").json
    assert again["fingerprint"] == first["fingerprint"]
    names = [Path(run["folder"]).name.split("-") for run in (first, again)]
    assert names[0][1:] == [*names[1][1:3]]  # the same hash and day
    assert Path(again["folder"]).parent == tmp_path / "sub" / "runs"


def test_backtest_tells_a_person(capsys: Capture) -> None:
    said = onefold(capsys, "backtest")
    assert said.code == 0
    for text in ("strategy", "trend", "dips", "Sharpe ratio", "report.html", "fingerprint"):
        assert text in said.out
    assert all(line == line.rstrip() for line in said.out.splitlines())


def test_a_failed_backtest_leaves_nothing(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "report.html")

    monkeypatch.setattr("onefold.app.commands.backtest.write_results", fail)
    said = onefold(capsys, "backtest")
    assert said.code == 2
    assert said.err == "error: report.html cannot be written: No space left on device\n"
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("command", ["backtest", "run"])
def test_a_failing_strategy_is_the_users(capsys: Capture, tmp_path: Path, command: str) -> None:
    (tmp_path / "own.py").write_text(
        "from onefold.signals import Strategy, ta\n\n\nclass Own(Strategy):\n"
        "    def extract_features(self):\n        return {'a': ta.sma(3)}\n\n"
        "    def predict_signal(self, x):\n        return self.signal(x.a > {}['level'])\n"
    )
    write_config(tmp_path, CONFIG + "  own: { file: own.py }\n")
    said = onefold(capsys, command)
    assert said.code == 4
    assert said.err == "error: own: KeyError: 'level' (own.py, line 9)\n"


def test_warts_in_the_data_are_the_same_either_way(capsys: Capture, tmp_path: Path) -> None:
    days = [f"2024-{month:02d}-{day:02d}" for month in range(1, 13) for day in range(1, 29)]
    rows = ["date,open,high,low,close,volume,split,dividend"]
    for number, day in enumerate(days):
        price = (50 + 10 * math.sin(number / 9)) / (2 if number >= 150 else 1)
        split, dividend = (2 if number == 150 else 0), (0.5 if number % 60 == 50 else 0)
        low = price + 5 if number % 70 == 9 else price - 1
        rows.append(f"{day},{price},{price + 1},{low},{price},100,{split},{dividend}")
    (tmp_path / "s.csv").write_text("\n".join([*rows, rows[100]]) + "\n")
    text = CONFIG.replace(
        "{ synthetic: { seed: 7, bars: 400, interval_s: 3600, volatility: 0.5 } }",
        "{ path: s.csv, actions: true }",
    )
    write_config(tmp_path, text)
    batch = onefold(capsys, "backtest", "--json")
    assert batch.code == 0, batch.err
    session = onefold(capsys, "run", "--json")
    assert session.code == 0, session.err
    assert batch.json["fingerprint"] == session.json["fingerprint"]
    kinds = {
        record["kind"]
        for record in onefold(
            capsys, "journal", "tail", session.json["journal"], "-n", 99999, "--json"
        ).json
    }
    assert {"quarantined", "action", "bar", "fill"} <= kinds
    assert onefold(capsys, "replay", session.json["journal"]).code == 0


def test_session_equals_backtest_equals_replay(capsys: Capture, journal: Path) -> None:
    batch = onefold(capsys, "backtest", "--json").json
    replayed = onefold(capsys, "replay", journal, "--json").json
    assert replayed["fingerprint"] == batch["fingerprint"]
    assert replayed["mismatches"] == 0
    assert replayed["decisions"] == batch["decisions"] > 50
    verified = onefold(capsys, "journal", "verify", journal, "--json").json
    assert replayed["records"] == verified["records"]


def test_a_finished_session_is_only_checked(capsys: Capture) -> None:
    first = onefold(capsys, "run", "--json")
    again = onefold(capsys, "run", "--json")
    assert again.json == {**first.json, "continued_after": first.json["records"]}
    assert "continuing after record" in again.err


def test_another_configuration_gets_another_journal(capsys: Capture, tmp_path: Path) -> None:
    first = onefold(capsys, "run", "--json").json
    write_config(tmp_path, CONFIG.replace("fast: 5", "fast: 6"))
    second = onefold(capsys, "run", "--json").json
    assert first["journal"] != second["journal"]
    forced = onefold(capsys, "run", "--journal", first["journal"])
    assert forced.code == 2
    assert "was written with another configuration" in forced.err


def test_a_killed_session_comes_to_the_same_end(tmp_path: Path, journal: Path) -> None:
    write_config(tmp_path, CONFIG + "session: { pace: { seconds_per_bar: 0.002 } }\n")
    command = [sys.executable, "-c", "from onefold.app.main import main; main()", "run", "--json"]
    for _ in range(2):
        child = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        before = _size(tmp_path)
        deadline = time.monotonic() + 60
        while _size(tmp_path) < before + 50_000 and time.monotonic() < deadline:
            assert child.poll() is None
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    write_config(tmp_path)
    end = onefold_process(tmp_path, "run", "--json")
    assert end.code == 0, end.err
    assert 0 < end.json["continued_after"] < end.json["records"]
    reference = onefold_process(tmp_path, "replay", journal, "--json").json
    assert end.json["fingerprint"] == reference["fingerprint"]
    assert end.json["records"] == reference["records"]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("journal/*/*.jsonl"))


def test_a_flipped_byte_is_named(capsys: Capture, journal: Path, tmp_path: Path) -> None:
    copy, line = damaged(journal, tmp_path)
    for command in (("journal", "verify"), ("replay",)):
        said = onefold(capsys, *command, copy, "--json")
        assert said.code == 6
        assert said.json["line"] == line
        assert f"line {line}, byte {said.json['offset']}" in said.err


def test_a_changed_strategy_is_a_mismatch(
    capsys: Capture, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onefold.signals.strategies import Crossover

    real = Crossover.predict_signal
    monkeypatch.setattr(
        Crossover,
        "predict_signal",
        lambda self, x: real(self, x)._replace(side=-real(self, x).side),
    )
    said = onefold(capsys, "replay", journal, "--json")
    assert said.code == 7
    assert said.json["kind"] == "ReplayMismatch"
    assert said.json["recorded"] != said.json["recomputed"]
    assert "differs: recorded" in said.err


def test_explain_a_decision(capsys: Capture, journal: Path) -> None:
    (one,) = onefold(capsys, "explain", 3, "--journal", journal, "--json").json
    assert one["decision"]["id"] == 3
    assert {gate["gate"] for gate in one["gates"]} >= {"kill_switch", "cash", "maintenance_margin"}
    text = onefold(capsys, "explain", 3, "--journal", journal)
    assert text.code == 0
    for word in ("features", "conclusion", "kill_switch", "threshold"):
        assert word in text.out


def test_explain_nothing(capsys: Capture, journal: Path) -> None:
    said = onefold(
        capsys, "explain", "--why-not", "MADE", "--at", "2024-01-01", "--journal", journal, "--json"
    )
    assert [one["strategy"] for one in said.json] == ["trend", "dips"]
    assert {one["time"][:19] for one in said.json} == {"2024-01-02T00:00:00"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("999999",), "the journal has no decision 999999"),
        (("--why-not", "MDE", "--at", "2024-01-05"), "no instrument 'MDE'; did you mean 'MADE'?"),
        (("--why-not", "MADE", "--at", "soon"), "--at 'soon' is no time"),
        (("--why-not", "MADE", "--at", "2020-01-01"), "has no bar of MADE up to"),
        (("--why-not", "MADE"), "give a decision's number, or --why-not SYMBOL with --at TIME"),
        (("3", "--why-not", "MADE", "--at", "2024-01-05"), "give a decision's number, or"),
        ((), "give a decision's number, or"),
    ],
)
def test_explain_mistakes(
    capsys: Capture, journal: Path, arguments: tuple[str, ...], said: str
) -> None:
    found = onefold(capsys, "explain", *arguments, "--journal", journal)
    assert found.code == 2
    assert said in found.err


def test_explain_looks_for_the_newest_journal(capsys: Capture) -> None:
    assert "there is no journal in" in onefold(capsys, "explain", 1).err
    onefold(capsys, "run")
    assert onefold(capsys, "explain", 1).code == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-01-01", 1704153600),
        ("2024-01-01T00:00", 1704067200),
        ("2024-01-01T01:00+01:00", 1704067200),
    ],
)
def test_times(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds * 10**9


def test_replay_of_what_is_no_session(capsys: Capture, tmp_path: Path) -> None:
    said = onefold(capsys, "replay", tmp_path / "nowhere")
    assert said.code == 6
    assert "there is no journal at" in said.err


def test_inputs_are_counted_and_pace_is_one_of_two() -> None:
    told: list[int] = []
    bars = [Bar("A", 10**10 * k, 0, 1.0, 1.0, 1.0, 1.0) for k in (1, 2, 3)]
    assert list(counted(bars, told.append)) == bars
    assert told == [1, 2, 3]
    with pytest.raises(ValueError, match="not both"):
        PaceSettings(speed=1.0, seconds_per_bar=1.0)


def demo(capsys: Capture, *arguments: str) -> Said:
    return onefold(capsys, "demo", *arguments)


def test_demo_proves_the_three_identical(capsys: Capture) -> None:
    said = demo(capsys)
    assert said.code == 0
    assert "backtest = session = replay  identical" in said.out
    for text in ("bars", "decisions", "trades", "P&L", "top blocking gates", "report.html"):
        assert text in said.out
    folder = Path("runs/demo")
    assert {"report.html", "journal", "demo.yaml", "metrics.json"} <= {
        x.name for x in folder.iterdir()
    }
    assert onefold(capsys, "journal", "verify", folder / "journal").code == 0


def test_demo_tells_when_they_differ(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from onefold.app.commands import demo as module

    real = module.run_wired

    def other(wired: Wired) -> Run:
        run = real(wired)
        run.__dict__["fingerprint"] = "0" * 32  # where the cached property keeps it
        return run

    monkeypatch.setattr(module, "run_wired", other)
    said = demo(capsys, "--json")
    assert said.code == 7
    assert said.json["identical"] is False
    assert "backtest, session and replay differ" in said.err
