"""The strategies that come along: each rule against its formula, and the contract of all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import talib

from onefold.domain.columns import Bars
from onefold.signals import STRATEGIES, check_strategy, raise_for, strategy

from .markets import market

EVERY: list[tuple[str, dict[str, Any]]] = [
    ("crossover", {}),
    ("crossover", {"average": "ema", "short": True, "atr": 14, "volatility_bars": 20}),
    ("momentum", {"bars": 10}),
    ("momentum", {"bars": 10, "short": True, "threshold": 0.01}),
    ("mean_reversion", {}),
    ("mean_reversion", {"short": True, "enter": 1.5}),
    ("breakout", {}),
    ("breakout", {"short": True, "bars": 5, "atr": None}),
    ("breakout", {"leave": 3}),
    ("ibs_a", {"atr": 5}),
    ("ibs_b", {"average": 50}),
    ("ibs_b", {"average": 50, "short": True, "volatility_max": 1.5}),
    ("scalping", {}),
    ("scalping", {"short": True, "offset": 0.001}),
    ("ensemble", {"members": [{"kind": "crossover"}, {"kind": "ibs_a"}, {"kind": "momentum"}]}),
    (
        "ensemble",
        {
            "members": [{"kind": "crossover", "short": True}, {"kind": "scalping"}],
            "weights": [2, 1],
            "method": "mean",
            "threshold": 0.1,
        },
    ),
]


@pytest.mark.parametrize("kind", ["random", "flat", "holes", "ticks"])
@pytest.mark.parametrize(("name", "parameters"), EVERY)
def test_every_strategy_conforms(name: str, parameters: dict[str, Any], kind: str) -> None:
    raise_for(check_strategy(strategy(name, **parameters), market(kind, rows=500), seed=5))


def test_every_strategy_is_among_them_and_explains_itself() -> None:
    learned = {name for name in STRATEGIES if name.startswith("ml_")}  # see test_learned
    assert {name for name, _ in EVERY} == set(STRATEGIES) - learned
    for cls in STRATEGIES.values():
        assert cls.__doc__
        assert all(field.description for field in cls.model_fields.values())


def _ready(name: str, bars: Bars, /, **parameters: Any) -> tuple[np.ndarray, int]:
    signals = strategy(name, **parameters).batch(bars)
    start = int((signals.unready == 0).argmax())
    return signals.side[start:], start


BARS = market("random", rows=500)


@pytest.mark.parametrize("average", ["sma", "ema"])
def test_crossover(average: str) -> None:
    side, start = _ready("crossover", BARS, average=average)
    function = {"sma": talib.SMA, "ema": talib.EMA}[average]
    fast, slow = function(BARS.close, 10)[start:], function(BARS.close, 30)[start:]
    assert start == 29
    assert side.tolist() == np.where(fast > slow, 1, 0).tolist()
    short, _ = _ready("crossover", BARS, average=average, short=True)
    assert short.tolist() == np.sign(fast - slow).tolist()


def test_crossover_of_equal_averages_is_flat() -> None:
    still = BARS._replace(close=np.full(BARS.rows, 8.0))
    assert not _ready("crossover", still, short=True)[0].any()


def test_momentum() -> None:
    side, start = _ready("momentum", BARS, bars=10, threshold=0.02, short=True)
    change = BARS.close[start:] / BARS.close[start - 10 : -10] - 1.0
    assert side.tolist() == np.select([change > 0.02, change < -0.02], [1, -1], 0).tolist()
    signals = strategy("momentum", bars=10).batch(BARS)
    returns = np.diff(np.log(BARS.close))
    z = (BARS.close[-1] / BARS.close[-11] - 1) / (returns[-10:].std(ddof=1) * np.sqrt(10))
    assert signals.score[-1] == pytest.approx(z)
    assert signals.confidence[-1] == pytest.approx(abs(z) / (1 + abs(z)))


def test_mean_reversion() -> None:
    window = np.lib.stride_tricks.sliding_window_view(BARS.close, 20)
    z = (window[:, -1] - window.mean(axis=1)) / window.std(axis=1)
    side, start = _ready("mean_reversion", BARS)
    z = z[start - 19 :]
    assert side.tolist() == np.select([z <= -2, z >= -0.5], [1, 0], 2).tolist()
    side, _ = _ready("mean_reversion", BARS, short=True)
    expected = np.select([z <= -2, z >= 2, np.abs(z) <= 0.5], [1, -1, 0], 2)
    assert set(expected) == {-1, 0, 1, 2}
    assert side.tolist() == expected.tolist()
    edge = strategy("mean_reversion").batch(BARS).edge[-1]
    assert edge == pytest.approx(abs(window[-1].mean() / BARS.close[-1] - 1))


def test_breakout() -> None:
    highs = np.lib.stride_tricks.sliding_window_view(BARS.high, 20).max(axis=1)[:-1]
    lows = np.lib.stride_tricks.sliding_window_view(BARS.low, 10).min(axis=1)[10:-1]
    side, start = _ready("breakout", BARS)
    assert start == 20
    close = BARS.close[20:]
    expected = np.select([close > highs, close < lows], [1, 0], 2)
    assert side.tolist() == expected.tolist()
    barrier = strategy("breakout").batch(BARS).barrier
    assert barrier[-1] == talib.ATR(BARS.high, BARS.low, BARS.close, 20)[-1]


def test_ibs() -> None:
    strength = (BARS.close - BARS.low) / (BARS.high - BARS.low)
    side, _ = _ready("ibs_a", BARS)
    assert side.tolist() == np.select([strength < 0.2, strength > 0.8], [1, 0], 2).tolist()
    side, start = _ready("ibs_b", BARS, average=50)
    strength, above = strength[start:], (BARS.close > talib.SMA(BARS.close, 50))[start:]
    expected = np.select([(strength < 0.15) & above, strength > 0.7], [1, 0], 2)
    assert side.tolist() == expected.tolist()
    assert set(expected) == {0, 1, 2}
    calm, _ = _ready("ibs_b", BARS, average=50, volatility_max=1e-9)
    assert not (calm == 1).any()


def test_ibs_b_short_is_the_mirror_image() -> None:
    top = 400.0
    mirrored = BARS._replace(
        open=top - BARS.open, high=top - BARS.low, low=top - BARS.high, close=top - BARS.close
    )
    side, start = _ready("ibs_b", BARS, average=50, short=True)
    other, _ = _ready("ibs_b", mirrored, average=50, short=True)
    assert {-1, 0, 1, 2} == set(side)
    flipped = np.where(other == 2, 2, -other)
    # Rounding may move a bar strength across a threshold, but hardly ever does.
    assert (side == flipped).mean() > 0.99
    assert start == 49


def test_scalping() -> None:
    distance = BARS.close / talib.EMA(BARS.close, 9) - 1
    rsi = talib.RSI(BARS.close, 7)
    side, start = _ready("scalping", BARS, short=True, deviation=0.01, leave=0.001)
    conditions = [
        (distance <= -0.01) & (rsi <= 30),
        (distance >= 0.01) & (rsi >= 70),
        np.abs(distance) <= 0.001,
    ]
    expected = np.select(conditions, [1, -1, 0], 2)[start:]
    assert set(expected) == {-1, 0, 1, 2}
    assert side.tolist() == expected.tolist()
    signals = strategy("scalping", short=True, offset=0.01).batch(BARS)
    better = np.where(signals.side == -1, 1.01, 0.99)
    np.testing.assert_allclose(signals.price, BARS.close * better)
    assert signals.trend[-1] == talib.ADX(BARS.high, BARS.low, BARS.close, 14)[-1]


def test_risk_fields_are_given_where_wanted() -> None:
    plain = strategy("crossover").batch(BARS)
    assert (len(plain.barrier), len(plain.volatility)) == (1, 1)
    asked = strategy("crossover", atr=5, volatility_bars=30, bars_per_year=365).batch(BARS)
    assert asked.barrier[-1] == talib.ATR(BARS.high, BARS.low, BARS.close, 5)[-1]
    expected = np.diff(np.log(BARS.close[-31:])).std(ddof=1) * np.sqrt(365)
    assert asked.volatility[-1] == pytest.approx(expected)
