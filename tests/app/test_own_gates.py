"""Gates and position strategies from a user's file: settings, proof, runs, explanation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import onefold as of
from onefold.app.settings import load_settings
from onefold.app.wiring import Wired, recorded_recipe
from onefold.data import sample_path
from onefold.domain.errors import ConfigError, NotElementwise

from .world import CONFIG, onefold, write_config

Capture = pytest.CaptureFixture[str]

OWN = '''
import numpy as np
from onefold.signals import FLAT, Gate, HOLD, Strategy, ta, volatility

class Calm(Gate):
    """The yearly volatility."""
    bars: int = 20
    def extract_features(self):
        return {"moves": volatility(self.bars)}
    def measure(self, x):
        return x.moves

class Early(Gate):
    """The hour of the day."""
    at_most: float | None = 12.0
    def extract_features(self):
        return {}
    def measure(self, x):
        return x.ts // 3_600_000_000_000 % 24

class Patient(Strategy):
    """Hold a rising market, and leave after some bars at a loss."""
    needs_position = True
    patience: int = 10
    def extract_features(self):
        return {"mean": ta.sma(20)}
    def predict_signal(self, x):
        loses = (x.close - x.entry_price) * x.position < 0
        leave = loses & (x.bars_held >= self.patience)
        return self.signal(np.where(leave, FLAT, np.where(x.position != 0, HOLD, x.close > x.mean)))
'''
MORE = """  patient:
    file: own.py
    own_gates:
      calm: { class: Calm, params: { at_most: 0.08 } }
  held_back:
    kind: crossover
    own_gates:
      calm: { file: own.py, class: Calm, params: { bars: 10, at_least: 0.05 } }
      early: { file: own.py, class: Early }
"""


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a configuration with gates and a strategy of its own, in the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN, encoding="utf-8")
    return write_config(tmp_path, CONFIG + MORE)


def test_backtest_run_replay_and_resolved_configuration_agree(
    capsys: Capture, config: Path, tmp_path: Path
) -> None:
    batch = onefold(capsys, "backtest", config, "--json").json
    session = onefold(capsys, "run", config, "--json").json
    folder = Path(batch["folder"])
    elsewhere = shutil.copy(folder / "config.yaml", tmp_path / "runs" / "again.yaml")
    again = onefold(capsys, "backtest", elsewhere, "--json").json
    (tmp_path / "own.py").unlink()  # the journal has the code of gates as well
    replayed = onefold(capsys, "replay", session["journal"], "--json").json
    found = {one["fingerprint"] for one in (batch, session, again, replayed)}
    assert len(found) == 1
    decisions = pl.read_parquet(folder / "decisions.parquet")
    held_back = decisions.filter(pl.col("blocked").list.contains("own"))
    assert set(held_back["strategy"]) == {"patient", "held_back"}
    assert set(held_back["purpose"]) == {"entry"}


def test_explain_shows_what_they_measured(capsys: Capture, config: Path) -> None:
    journal = onefold(capsys, "run", config, "--json").json["journal"]
    found = onefold(
        capsys, "explain", "--why-not", "MADE", "--at", "2024-01-05", "--journal", journal, "--json"
    ).json
    own = {one["strategy"]: [g["gate"] for g in one.get("own_gates", [])] for one in found}
    assert own == {"trend": [], "dips": [], "patient": ["calm"], "held_back": ["calm", "early"]}
    text = onefold(
        capsys, "explain", "--why-not", "MADE", "--at", "2024-01-05", "--journal", journal
    ).out
    assert "at least 0.05" in text
    assert "at most 12" in text


def test_the_funnel_counts_them(config: Path) -> None:
    trend = of.strategy("crossover", fast=5, slow=15)
    (gate,) = _placed(config, "patient").own_gates.values()
    rules = of.StrategyRules()
    open_, gated = (
        of.backtest({"trend": (trend, rules, gates)}, sample_path("sp500"))
        for gates in ({}, {"calm": gate})
    )
    first = dict(gated.funnel.gates.select("gate", "first").iter_rows())
    assert first["own"] > 20
    assert gated.funnel.passed < open_.funnel.passed
    assert dict(open_.funnel.gates.select("gate", "first").iter_rows())["own"] == 0


def _placed(config: Path, name: str) -> Any:
    return next(p for p in Wired(load_settings(config)).plan.placements if p.name == name)


def test_the_code_of_a_gate_decides_and_so_does_its_threshold(config: Path) -> None:
    hashes = {Wired(load_settings(config)).recipe.hash}
    text = config.read_text()
    for change in ("bars: 10", "bars: 11"), ("at_least: 0.05", "at_least: 0.06"):
        config.write_text(text.replace(*change))
        hashes.add(Wired(load_settings(config)).recipe.hash)
    config.write_text(text)
    Path("own.py").write_text(OWN.replace("return x.moves", "return 2.0 * x.moves"))
    hashes.add(Wired(load_settings(config)).recipe.hash)
    assert len(hashes) == 4
    start = Wired(load_settings(config)).start("simulate")
    assert len(recorded_recipe(start).plan().placements[-1].own_gates) == 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("class: Calm, params: { at_most: 0.08 }", "class: Calmer", r"has no gate 'Calmer'"),
        ("class: Calm, params: { at_most: 0.08 }", "params: { at_most: 1 }", "has several gates"),
        ("params: { at_most: 0.08 }", "params: {}", "needs a threshold"),
        ("params: { at_most: 0.08 }", "params: { at_mots: 1 }", "did you mean 'at_most'"),
        ("early: { file: own.py, class", "early: { class", "own_gates.early needs the file"),
        ("file: own.py, class: Early", "file: not.py, class: Early", "held_back.own_gates.early.f"),
        ("file: own.py, class: Early", "flie: own.py, class: Early", "did you mean 'file'"),
        ("calm: { file", "Calm: { file", "a name is lower-case"),
    ],
)
def test_mistakes_are_explained(config: Path, old: str, new: str, said: str) -> None:
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        Wired(load_settings(config))


def test_check_proves_gates_as_it_does_strategies(capsys: Capture, config: Path) -> None:
    said = onefold(capsys, "check", "own.py", "--json").json
    assert said["ok"] is True
    checks = [(c.get("strategy"), c.get("gate"), c["data"]) for c in said["checks"]]
    assert (None, "calm", "sp500") in checks
    assert (None, "early", "synthetic") in checks
    assert ("patient", None, "sp500") in checks
    configured = onefold(capsys, "check", config, "--json").json
    assert {c.get("gate") for c in configured["checks"]} == {
        None, "patient.calm", "held_back.calm", "held_back.early",
    }  # fmt: skip
    Path("own.py").write_text(OWN.replace("return x.moves", "return x.moves / x.moves.max()"))
    cheat = onefold(capsys, "check", "own.py")
    assert cheat.code == 4
    assert "measure of a row depends on which other rows" in cheat.err
    assert "gate" in cheat.out
    assert onefold(capsys, "backtest", config, "--json").json["kind"] == "NotElementwise"


class Rolls(of.Gate):
    """Looks at the next row."""

    def extract_features(self) -> Any:
        """Return nothing."""
        return {}

    def measure(self, x: Any) -> Any:
        """Return the next close."""
        return x.close.take(range(1, len(x.close) + 1), mode="clip")


def test_a_library_call_refuses_what_it_cannot_prove() -> None:
    with pytest.raises(NotElementwise):
        of.backtest(
            {"t": (of.strategy("crossover"), of.StrategyRules(), {"rolls": Rolls(at_most=1.0)})},
            sample_path("sp500"),
        )
    with pytest.raises(ConfigError, match="gate 'x' of 't' is no Gate"):
        of.backtest(
            {"t": (of.strategy("crossover"), of.StrategyRules(), {"x": Rolls})},  # type: ignore[dict-item]
            sample_path("sp500"),
        )
