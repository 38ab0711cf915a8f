"""Strategies by name and from a user's file; every mistake is one line that says where."""

from __future__ import annotations

import pickle

import pytest

from onefold.domain.errors import ConfigError
from onefold.signals import (
    STRATEGIES,
    Strategy,
    build_strategy,
    strategies_from_source,
    strategy,
)
from onefold.signals.registry import instance_of, written_in

from .markets import market

FILE = '''
import numpy as np
from onefold.signals import FLAT, LONG, Strategy, ta


class RsiDip(Strategy):
    """Buy when the relative strength index is low."""

    level: float = 30.0

    def extract_features(self):
        return {"rsi": ta.rsi(14)}

    def predict_signal(self, x):
        return self.signal(np.where(x.rsi < self.level, LONG, FLAT))
'''


def test_a_strategy_by_name() -> None:
    made = strategy("crossover", fast=5, slow=9)
    assert made.kind == "crossover"
    assert made == STRATEGIES["crossover"].model_validate({"fast": 5, "slow": 9})


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (
            "crosover",
            {},
            "strategies[0].kind: there is no strategy 'crosover'; did you mean 'crossover'?",
        ),
        (
            "crossover",
            {"fst": 3},
            "strategies[0].fst: crossover has no such parameter; did you mean 'fast'?",
        ),
        (
            "crossover",
            {"fast": 1},
            "strategies[0].fast: Input should be greater than or equal to 2 (got 1)",
        ),
        ("crossover", {"fast": 50}, "strategies[0]: fast (50) must be shorter than slow (30)"),
        (
            "crossover",
            {"fast": 0, "slow": None},
            (
                "strategies[0].fast: Input should be greater than or equal to 2 (got 0); "
                "strategies[0].slow: Input should be a valid integer (got None)"
            ),
        ),
        (
            "ibs_b",
            {"volatility_max": 0.3, "volatility_bars": None},
            "strategies[0]: volatility_max needs volatility_bars",
        ),
        (
            "breakout",
            {"short": True, "leave": 5},
            "strategies[0]: leave has no meaning with short, which reverses: remove one of them",
        ),
        (
            "mean_reversion",
            {"short": True, "leave": 0},
            "strategies[0]: leave must be above 0 with short, or no position is ever left",
        ),
        (
            "scalping",
            {"leave": 0.1},
            "strategies[0]: leave (0.1) must be less than 0.002 (deviation)",
        ),
        ("ibs_a", {"low": 0.9}, "strategies[0]: low (0.9) must be less than high (0.8)"),
    ],
)
def test_mistakes_name_path_and_nearest_word(
    kind: str, parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        build_strategy(kind, parameters, path="strategies[0]")
    assert str(raised.value) == message


def test_without_a_path_the_kind_is_the_place() -> None:
    with pytest.raises(ConfigError, match=r"^crossover: fast \(50\) must be shorter"):
        strategy("crossover", fast=50)


def test_a_users_file_gives_its_strategies() -> None:
    kinds = strategies_from_source(FILE, "dip.py")
    assert list(kinds) == ["rsi_dip"]
    made = build_strategy("rsi_dip", {"level": 40}, kinds={**STRATEGIES, **kinds})
    assert set(made.batch(market("random")).side.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (1,\n\nclass", "mine.py, line 1: '(' was never closed"),
        ("a = 1\nb = a +\n", "mine.py, line 2: invalid syntax"),
        ("a = 1\n\nimport nowhere_to_be_found\n", "mine.py, line 3: ModuleNotFoundError"),
        ("def f():\n    return 1 / 0\n\nf()\n", "mine.py, line 2: ZeroDivisionError"),
        ("from onefold.signals import ta\nta.smaa(3)\n", "mine.py, line 2: TA-Lib has no function"),
        ("a = 1\n", "mine.py: defines no strategy"),
        ("from onefold.signals import Strategy\n", "mine.py: defines no strategy"),
        (FILE.replace("RsiDip", "Crossover"), "Crossover has the kind 'crossover' of one that"),
        (FILE + FILE[FILE.index("class") :].replace("RsiDip", "RSI_dip"), "two strategies have"),
        ("\0", "mine.py, line 1:"),
    ],
)
def test_a_file_that_cannot_be_used_is_explained(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        strategies_from_source(text, "mine.py")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_wrong_feature_is_found_when_the_strategy_is_built() -> None:
    kinds = strategies_from_source(FILE.replace("ta.rsi(14)", "ta.rsi(-1)"), "dip.py")
    with pytest.raises(ConfigError, match=r"dips\[2\].*ta.rsi: a parameter is out of range"):
        build_strategy("rsi_dip", {}, path="dips[2]", kinds=kinds)


MODERN = """
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from onefold.signals import Columns, Feature, Strategy


@dataclass(frozen=True)
class Scaled(Feature):
    factor: float = 2.0

    def compute(self, bars):
        return bars.close * self.factor


class Modern(Strategy):
    kind: ClassVar[str] = "with_a_name"
    mode: Literal["up", "down"] = Field(default="up")

    def extract_features(self) -> dict[str, Feature]:
        return {"twice": Scaled(), "thrice": Scaled(3.0)}

    def predict_signal(self, x: Columns):
        return self.signal(x.twice < x.thrice)
"""


def test_a_file_may_use_dataclasses_literals_and_deferred_annotations() -> None:
    kinds = strategies_from_source(MODERN, "modern.py")
    made = build_strategy("with_a_name", {"mode": "down"}, kinds=kinds)
    assert made.features["thrice"].name == "Scaled(factor=3.0)"
    assert set(made.batch(market("random")).side.tolist()) == {1}
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own bytes
    with pytest.raises(ConfigError, match=r"mode: Input should be 'up' or 'down' \(got 'left'\)"):
        build_strategy("with_a_name", {"mode": "left"}, kinds=kinds)


def test_abstract_helpers_in_a_file_are_no_strategies() -> None:
    helper = "class Base(Strategy):\n    pass\n\n\nclass RsiDip(Base)"
    kinds = strategies_from_source(FILE.replace("class RsiDip(Strategy)", helper), "dip.py")
    assert list(kinds) == ["rsi_dip"]
    assert issubclass(kinds["rsi_dip"], Strategy)


GATES = """
from onefold.signals import Gate

class Open(Gate):
    def extract_features(self): return {}
    def measure(self, x): return x.close

class Half(Gate):
    def extract_features(self): return {}
"""


def test_gates_of_a_file_are_found_and_built() -> None:
    written = written_in(GATES, "gates.py")
    assert (list(written.strategies), list(written.gates)) == ([], ["open"])
    made = instance_of(written.gates["open"], {"at_most": 5}, path="own_gates.x.params")
    assert (made.kind, made.threshold, made.compares) == ("open", 5.0, "at most")
    with pytest.raises(ConfigError, match=r"^own_gates\.x\.params: a gate needs a threshold"):
        instance_of(written.gates["open"], {}, path="own_gates.x.params")
    with pytest.raises(ConfigError, match="two gates have the kind 'open'"):
        written_in(
            GATES.replace("class Half(Gate):", "class Half(Open):\n    kind = 'open'"), "g.py"
        )
