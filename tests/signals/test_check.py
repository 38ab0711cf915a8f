"""The check finds what is planted: each cheat is named with its row, and honest code passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onefold.domain.columns import Bars, Signals
from onefold.domain.errors import DataError, NotCausal, NotElementwise, SignalError
from onefold.signals import (
    FLAT,
    LONG,
    Columns,
    Feature,
    Finding,
    Strategy,
    check_feature,
    check_strategy,
    raise_for,
    ta,
)

from .markets import market

BARS = market("random", rows=300)


def _feature(compute: Any, warm_up: int = 0, *, finite: bool = True) -> Feature:
    class Mine(Feature):
        def __init__(self) -> None:
            self.warm_up = warm_up
            self.finite = finite

        def compute(self, bars: Bars) -> np.ndarray:
            made: np.ndarray = compute(bars)
            return made

    return Mine()


def _smoothed(bars: Bars) -> np.ndarray:
    out = np.empty(bars.rows)
    level = bars.close[0]
    for i, price in enumerate(bars.close):
        level += 0.1 * (price - level)
        out[i] = level
    return out


HONEST = [
    (lambda b: b.close - b.open, 0),
    (lambda b: b.close - np.concatenate([[0.0, 0.0], b.close[:-2]]), 2),
    (lambda b: (b.ts // 10**9) % 60, 0),
    (lambda b: b.close > b.open, 0),
]
SEES_THE_FUTURE = [
    (lambda b: b.close - np.roll(b.close, -1), 0),
    (lambda b: b.close / b.close.mean(), 0),
    (lambda b: (b.close - b.close.min()) / np.ptp(b.close), 3),
    (lambda b: np.full(b.rows, b.volume[-1]), 0),
    (lambda b: np.argsort(np.argsort(b.close)), 0),
    (lambda b: np.full(b.rows, b.rows), 0),
    (lambda b: np.fft.irfft(np.fft.rfft(b.close)[:10], b.rows), 0),
    (lambda b: b.close * np.append(np.diff(b.ts), 0), 0),
]


@pytest.mark.parametrize(("compute", "warm_up"), HONEST)
def test_honest_features_pass(compute: Any, warm_up: int) -> None:
    for seed in range(5):
        assert check_feature(_feature(compute, warm_up), BARS, seed=seed) == []


@pytest.mark.parametrize(("compute", "warm_up"), SEES_THE_FUTURE)
def test_a_feature_that_sees_the_future_is_named(compute: Any, warm_up: int) -> None:
    feature = _feature(compute, warm_up)
    findings = check_feature(feature, BARS)
    assert "future" in [finding.rule for finding in findings]
    with pytest.raises(NotCausal, match=r"Mine\(.*\), row \d+ \(2024-01-01T\d\d:\d\d:00Z\): sees"):
        raise_for(findings)


def test_both_changed_and_missing_bars_give_it_away() -> None:
    next_close = _feature(lambda b: np.append(b.close[1:], 0.0))
    assert "from row 50 on are changed" in check_feature(next_close, BARS)[0].message
    how_many = _feature(lambda b: np.full(b.rows, b.rows))
    assert "from row 50 on are missing" in check_feature(how_many, BARS)[0].message


def test_the_first_row_that_shows_it_is_named() -> None:
    peeks_once = _feature(lambda b: np.where(np.arange(b.rows) == 49, b.close[-1], b.close))
    finding = check_feature(peeks_once, BARS)[0]
    assert (finding.rule, finding.row, finding.ts) == ("future", 49, BARS.ts[49])


@pytest.mark.parametrize(
    ("compute", "warm_up"),
    [
        (lambda b: b.close - np.concatenate([[0.0] * 9, b.close[:-9]]), 8),
        (lambda b: np.maximum.accumulate(b.high), 5),
        (_smoothed, 20),
        (lambda b: np.cumsum(b.volume), 0),
    ],
)
def test_too_short_a_warm_up_is_found_by_the_stream(compute: Any, warm_up: int) -> None:
    findings = check_feature(_feature(compute, warm_up), BARS)
    assert [finding.rule for finding in findings] == ["stream"]
    with pytest.raises(SignalError, match="warm_up"):
        raise_for(findings)


def test_a_memory_longer_than_stated_is_found() -> None:
    feature = ta.sma(10)
    feature.finite = True
    findings = check_feature(feature, market("random", rows=800))
    assert [finding.rule for finding in findings] == ["memory"]


def test_chance_is_found() -> None:
    generator = np.random.default_rng(1)
    findings = check_feature(_feature(lambda b: generator.random(b.rows)), BARS)
    assert "future" in [finding.rule for finding in findings]


def test_an_error_in_a_feature_is_a_finding_with_its_line() -> None:
    def broken(bars: Bars) -> np.ndarray:
        return bars.close / bars.nothing  # type: ignore[attr-defined, no-any-return]

    (finding,) = check_feature(_feature(broken), BARS)
    assert (finding.rule, finding.row) == ("error", -1)
    assert "has no attribute 'nothing'" in str(finding)
    assert f"{__file__}, line" in str(finding)


def test_too_few_bars_prove_nothing() -> None:
    with pytest.raises(DataError, match="a check needs 41 bars or more, got 40"):
        check_feature(ta.sma(10), BARS.slice(0, 40))


class Rule(Strategy):
    """A strategy whose side is made by the given function."""

    def extract_features(self) -> dict[str, Feature]:
        """Return an average."""
        return {"average": ta.sma(5)}

    def predict_signal(self, x: Columns) -> Signals:
        """Return the honest rule."""
        return self.signal(np.where(x.close > x.average, LONG, FLAT))


def test_an_honest_strategy_passes() -> None:
    assert check_strategy(Rule(), BARS) == []
    raise_for([])


def _cheats() -> list[Any]:
    return [
        lambda s, x: s.signal(x.close > x.close.mean()),
        lambda s, x: s.signal(np.append(np.diff(x.close) > 0, False)),
        lambda s, x: s.signal(
            x.close > x.average, confidence=np.clip(x.close / x.close.max(), 0, 1)
        ),
        lambda s, x: s.signal(x.close > x.average, score=x.close - x.close[0]),
        lambda s, x: s.signal(np.arange(len(x.close)) % 2),
        lambda s, x: s.signal(x.close > x.average, price=np.sort(x.close)),
        lambda s, x: s.signal(x.ts == np.maximum.accumulate(x.ts)),
    ]


@pytest.mark.parametrize("number", range(7))
def test_a_strategy_that_looks_at_other_rows_is_named(number: int) -> None:
    class Cheat(Rule):
        def predict_signal(self, x: Columns) -> Signals:
            made: Signals = _cheats()[number](self, x)
            return made

    findings = check_strategy(Cheat(), BARS)
    assert "elementwise" in [finding.rule for finding in findings]
    with pytest.raises(NotElementwise, match=r"cheat, row \d+ .* depends on which other rows"):
        raise_for(findings)


def test_a_strategy_with_a_memory_of_its_own_is_found() -> None:
    seen: list[float] = []

    class Remembers(Rule):
        def predict_signal(self, x: Columns) -> Signals:
            seen.append(float(x.close[-1]))
            return self.signal(x.close > x.average, score=float(len(seen)))

    assert check_strategy(Remembers(), BARS)


def test_features_of_a_strategy_are_checked_too() -> None:
    peeking = _feature(SEES_THE_FUTURE[0][0])

    class Peeks(Rule):
        def extract_features(self) -> dict[str, Feature]:
            return {"average": ta.sma(5), "peek": peeking, "again": peeking}

    findings = check_strategy(Peeks(), BARS)
    assert [f.rule for f in findings if f.name == peeking.name] == ["future", "stream"]


def test_an_error_in_a_strategy_is_a_finding() -> None:
    class Broken(Rule):
        def predict_signal(self, x: Columns) -> Signals:
            return self.signal(x.close > x.avrage)

    (finding,) = check_strategy(Broken(), BARS)
    assert finding.rule == "error"
    assert "did you mean 'average'" in str(finding)
    with pytest.raises(SignalError, match="avrage"):
        raise_for([finding])


def test_the_same_seed_gives_the_same_findings() -> None:
    feature = _feature(SEES_THE_FUTURE[1][0])
    assert check_feature(feature, BARS, seed=7) == check_feature(feature, BARS, seed=7)
    assert isinstance(check_feature(feature, BARS)[0], Finding)
