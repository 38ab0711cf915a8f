"""What a user wrote is proved before it runs, not only when somebody asks (F9, law 6)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onefold as of
from onefold.data import sample_path
from onefold.domain.errors import ConfigError, NotCausal, NotElementwise, SignalError

from .test_runs import Capture, onefold


class Peek(of.Feature):
    """The next bar's close."""

    warm_up = 0
    name = "peek"

    def compute(self, bars: Any) -> Any:
        return np.append(bars.close[1:], np.nan)


class Cheat(of.Strategy):
    def extract_features(self) -> Any:
        return {"next": Peek()}

    def predict_signal(self, x: Any) -> Any:
        return self.signal(x.next > x.close)


class Rolls(of.Strategy):
    def extract_features(self) -> Any:
        return {}

    def predict_signal(self, x: Any) -> Any:
        return self.signal(np.roll(x.close, -1) > x.close)


class Honest(of.Strategy):
    length: int = 300

    def extract_features(self) -> Any:
        return {"mean": of.ta.sma(self.length)}

    def predict_signal(self, x: Any) -> Any:
        return self.signal(x.close > x.mean)


class Listed(Honest):
    def extract_features(self) -> Any:
        return [of.ta.sma(3)]


class Sure(Honest):
    def predict_signal(self, x: Any) -> Any:
        return self.signal(x.close > x.mean, confidence=80.0)


@pytest.mark.parametrize(("cheat", "error"), [(Cheat(), NotCausal), (Rolls(), NotElementwise)])
def test_a_strategy_that_sees_the_future_does_not_run(cheat: Any, error: type) -> None:
    with pytest.raises(error):
        of.backtest(cheat, sample_path("sp500"))


def test_bars_too_few_to_prove_anything_change_nothing() -> None:
    short = of.backtest(Honest(), sample_path("sp500"), end="1999-03-01")
    assert len(short.equity_ts) < 300
    with pytest.raises(NotCausal):
        of.backtest(Cheat(), sample_path("sp500"), end="1999-03-01")


@pytest.mark.parametrize(
    ("strategies", "error", "said"),
    [
        (Honest, ConfigError, "Honest is a class: give Honest()"),
        ("crossover", ConfigError, "'crossover' is a name: give strategy('crossover')"),
        (Listed(), SignalError, "extract_features must return a dict"),
        (Sure(), SignalError, "a confidence is a probability"),
    ],
)
def test_mistakes_in_a_call_are_explained(strategies: Any, error: type, said: str) -> None:
    with pytest.raises(error, match=said.replace("(", r"\(").replace(")", r"\)")):
        of.backtest(strategies, sample_path("sp500"))


def test_rules_may_be_plain_values_and_are_checked() -> None:
    result = of.backtest(
        of.strategy("crossover"), sample_path("sp500"), rules={"exits": {"stop": 0.1}}
    )
    assert result.trades.height > 0
    with pytest.raises(ConfigError, match="did you mean 'sizing'"):
        of.backtest(of.strategy("crossover"), sample_path("sp500"), rules={"sizng": {}})


def test_exits_in_barriers_need_a_strategy_that_gives_them() -> None:
    rules = of.StrategyRules(exits=of.Exits(stop=3, unit="barrier"))
    with pytest.raises(ConfigError, match=r"never gives one: .* \(such as atr: 14\)"):
        of.backtest(of.strategy("crossover"), sample_path("sp500"), rules=rules)
    with_atr = of.backtest(of.strategy("crossover", atr=14), sample_path("sp500"), rules=rules)
    assert with_atr.trades.height > 0


@pytest.mark.parametrize("command", ["backtest", "run"])
def test_the_commands_refuse_it_too(capsys: Capture, tmp_path: Path, command: str) -> None:
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "from onefold.signals import Strategy\n"
        "class Rolls(Strategy):\n"
        "    def extract_features(self): return {}\n"
        "    def predict_signal(self, x): return self.signal(np.roll(x.close, -1) > x.close)\n"
    )
    config = tmp_path / "onefold.yaml"
    config.write_text(
        "instruments: { SPX: { kind: index } }\n"
        "data: { SPX: { sample: sp500 } }\n"
        "strategies: { x: { file: own.py, class: Rolls } }\n"
    )
    said = onefold(capsys, "--json", command, config)
    assert said.code == 4
    assert json.loads(said.out)["kind"] == "NotElementwise"
    assert not list(tmp_path.rglob("*.jsonl"))


def test_a_folder_without_a_journal_agrees_with_nothing(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    said = onefold(capsys, "journal", "verify", tmp_path)
    assert said.code == 6
    assert f"did you mean {tmp_path / 'journal'}?" in said.err
