"""`onefold gates`: the funnel of a journal, filters, and what gates are worth."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from .world import CONFIG, onefold, write_config

Capture = pytest.CaptureFixture[str]

OWN = '''
from onefold.signals import Gate, HOLD, Strategy, ta
import numpy as np

class Early(Gate):
    """The hour of the day."""
    def extract_features(self):
        return {}
    def measure(self, x):
        return x.ts // 3_600_000_000_000 % 24

class Patient(Strategy):
    """Hold a rising market."""
    needs_position = True
    def extract_features(self):
        return {"mean": ta.sma(20)}
    def predict_signal(self, x):
        return self.signal(np.where(x.position != 0, HOLD, x.close > x.mean))
'''
MORE = """  early:
    kind: crossover
    params: { fast: 3, slow: 8 }
    gates: { orders_per_day: 2 }
    own_gates:
      early: { file: own.py, class: Early, params: { at_most: 12 } }
"""
PATIENT = """  patient:
    file: own.py
    class: Patient
    gates: { conf_min: 1, orders_per_day: 1, cool_down_s: 86400 }
    exits: { max_bars: 5 }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with a file of gates."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN, encoding="utf-8")
    return tmp_path


def run(capsys: Capture, folder: Path, more: str = MORE) -> tuple[str, pl.DataFrame]:
    """Run a session and a backtest; return the journal and the entries."""
    text = CONFIG.replace("bars: 400", "bars: 1500").replace("bars: 600", "bars: 1500")
    config = write_config(folder, text.replace("max_open_positions: 3", "drawdown: 0.9") + more)
    journal = onefold(capsys, "run", config, "--json").json["journal"]
    results = onefold(capsys, "backtest", config, "--json").json["folder"]
    decisions = pl.read_parquet(Path(results) / "decisions.parquet")
    return journal, decisions.filter(pl.col("purpose") == "entry")


def firsts(found: Any) -> dict[str, int]:
    return {row["gate"]: row["first"] for row in found["gates"] if row["first"]}


def reasons(entries: pl.DataFrame) -> dict[str, int]:
    counts = entries.drop_nulls("reason").group_by("reason").len()
    return dict(counts.sort("reason").iter_rows())


def test_it_counts_the_last_entries_of_the_newest_journal(capsys: Capture, folder: Path) -> None:
    _, entries = run(capsys, folder)
    (folder / "own.py").unlink()  # the journal has the code
    assert len(entries) > 500
    found = onefold(capsys, "gates", "--json").json
    assert (found["last"], found["wanted"]) == (500, 500)
    assert firsts(found) == reasons(entries.tail(500))
    assert "value" not in found
    few = onefold(capsys, "gates", "--last", 40, "--json").json
    assert firsts(few) == reasons(entries.tail(40))
    assert few["blocked"] == entries.tail(40)["reason"].count()
    assert sum(row["wanted"] for row in few["by_strategy"]) == 40
    assert sum(row["wanted"] for row in few["by_symbol"]) == 40
    counts = [row["first"] for row in few["reasons"]]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == few["blocked"]


def test_it_counts_one_strategy_in_one_instrument(capsys: Capture, folder: Path) -> None:
    journal, entries = run(capsys, folder)
    wanted = ("--strategy", "early", "--symbol", "ES", "--last", 30, "--journal", journal)
    found = onefold(capsys, "gates", *wanted, "--json").json
    mine = entries.filter((pl.col("strategy") == "early") & (pl.col("symbol") == "ES")).tail(30)
    assert found["wanted"] == len(mine) == 30
    assert firsts(found) == reasons(mine)
    assert [row["strategy"] for row in found["by_strategy"]] == ["early"]
    assert [row["symbol"] for row in found["by_symbol"]] == ["ES"]


def test_the_value_of_gates_is_of_all_entries_or_of_the_last(capsys: Capture, folder: Path) -> None:
    _, entries = run(capsys, folder)
    value = onefold(capsys, "gates", "--value", "--json").json["value"]
    by_gate = {one["gate"]: one for one in value["gates"]}
    assert "own" not in by_gate
    assert {"own.early.early", "orders_per_day"} <= set(by_gate)
    assert set(by_gate) - {"own.early.early"} == set(reasons(entries)) - {"own"}
    own = by_gate["own.early.early"]
    assert 10 < own["alone"]["episodes"] < own["first"]["episodes"] < reasons(entries)["own"]
    assert own["alone"]["low"] < own["alone"]["value"] < own["alone"]["high"]
    assert own["alone"]["value"] == -own["alone"]["mean_return"]
    assert own["verdict"] in {"saves", "costs", "not known"}
    assert value["level"] == 0.95
    assert value["episodes"] == sum(one["first"]["episodes"] for one in value["gates"])
    few, more = (
        onefold(capsys, "gates", "--value", "--last", n, "--json").json["value"]["episodes"]
        for n in (100, 500)
    )
    assert 0 < few < more < value["episodes"]


def test_people_read_tables_and_a_line(capsys: Capture, folder: Path) -> None:
    run(capsys, folder)
    plain = onefold(capsys, "gates").out
    assert "beyond doubt" not in plain
    assert plain.count("orders_per_day") >= 2
    said = onefold(capsys, "gates", "--value")
    assert said.code == 0
    assert "own.early.early" in said.out
    (line,) = [x for x in said.out.splitlines() if "beyond doubt" in x]
    assert line.startswith("saves money beyond doubt: ")
    assert "; costs money beyond doubt: " in line
    assert "; not known: " in line


def test_a_strategy_that_needs_its_position_is_named(capsys: Capture, folder: Path) -> None:
    run(capsys, folder, PATIENT)
    found = onefold(capsys, "gates", "--strategy", "patient", "--value", "--json").json
    assert found["blocked"] > 0
    assert found["value"]["gates"] == []
    assert "needs its own position" in found["value"]["left_out"]["patient"]
    said = onefold(capsys, "gates", "--strategy", "patient", "--value")
    assert "there is nothing to value" in said.out
    assert "strategy patient is left out: it needs its own position" in said.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--strategy", "trned"), 2, "no strategy 'trned'; did you mean 'trend'?"),
        (("--symbol", "MDE"), 2, "no instrument 'MDE'; did you mean 'MADE'?"),
        (("--last", "0"), 2, "'--last': Input should be greater than or equal to 1"),
        (("--journal", "nowhere"), 6, "there is no journal"),
    ],
)
def test_mistakes_are_explained(
    capsys: Capture, folder: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    onefold(capsys, "run", write_config(folder))
    found = onefold(capsys, "gates", *arguments)
    assert found.code == code
    assert said in found.err
    shutil.rmtree("journal")
    assert "name one with --journal" in onefold(capsys, "gates").err
