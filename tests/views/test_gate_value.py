"""The value of gates: Student's interval by hand, overlap, and what alone means."""

from __future__ import annotations

from math import sqrt
from typing import Any

import msgspec
import numpy as np
import pytest

from onefold.views.gate_value import (
    GateValue,
    Stopped,
    estimate,
    gate_values,
    reading,
    t_quantile,
)

TABLE = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 10: 2.228, 30: 2.042, 120: 1.980}
"""The 97.5 % quantiles of Student's t as textbooks print them."""


def spans(count: int, bars: int = 1) -> tuple[Any, Any, int]:
    """Return spans one after another, and the length of their line."""
    start = np.arange(count) * bars
    return start, start + bars, count * bars + 1


def stopped(*episodes: tuple[int, float, float]) -> Stopped:
    """Return episodes of a bar each, made of mask, gain and value; the lowest bit is the reason."""
    masks, gain, value = (np.array(column) for column in zip(*episodes, strict=True))
    start, end, _ = spans(len(masks))
    blocked = (masks[:, None] >> np.arange(3)) & 1 == 1
    return Stopped(start, end, gain, value, blocked, np.argmax(blocked, axis=1))


def values_of(*episodes: tuple[int, float, float]) -> dict[str, GateValue]:
    found = gate_values(stopped(*episodes), ("trend", "own.a.calm", "cash"), len(episodes) + 1)
    assert "NaN" not in msgspec.json.encode(found).decode()
    return {one.gate: one for one in found}


@pytest.mark.parametrize("freedom", TABLE)
def test_quantiles_are_those_of_the_table(freedom: int) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(TABLE[freedom], rel=1e-2, abs=0)
    if freedom >= 5:
        assert t_quantile(0.975, freedom) == pytest.approx(TABLE[freedom], abs=1e-3)


def test_without_overlap_the_interval_is_students() -> None:
    gain = np.array([0.01, -0.02, 0.03, -0.04, 0.05])
    found = estimate(gain, *spans(5))
    half = 2.776 * gain.std(ddof=1) / sqrt(5)
    assert found.independent == pytest.approx(5.0)
    assert (found.mean_return, found.value) == (pytest.approx(0.006), pytest.approx(-0.006))
    assert found.low == pytest.approx(-0.006 - half, rel=1e-3)
    assert found.high == pytest.approx(-0.006 + half, rel=1e-3)


def test_trades_at_the_same_time_are_no_new_evidence() -> None:
    """Every trade ten times over says no more than once."""
    gain = np.array([0.01, -0.02, 0.03, -0.04, 0.05])
    start, end, bars = spans(5)
    once = estimate(gain, start, end, bars)
    often = estimate(*(np.repeat(x, 10) for x in (gain, start, end)), bars)
    assert often.known == 50
    assert often.independent == pytest.approx(5.0)
    assert (often.low, often.high) == (pytest.approx(once.low), pytest.approx(once.high))


@pytest.mark.parametrize(("length", "step"), [(1, 1), (12, 1), (12, 5), (30, 3)])
def test_intervals_hold_where_trades_overlap(length: int, step: int) -> None:
    """Returns of trades that share bars: the interval contains the mean in 95 of 100 cases."""
    chance, rows, mean = np.random.default_rng(length), 1_500, 0.001
    start = np.arange(0, rows - length, step)
    inside, naive, seeds = 0, 0, 400
    for _ in range(seeds):
        total = np.r_[0.0, np.cumsum(chance.normal(mean, 0.01, rows))]
        gain = total[start + length] - total[start]
        found = estimate(gain, start, start + length, rows + 1)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= -length * mean <= found.high
        half = 1.96 * gain.std() / sqrt(len(gain))
        naive += abs(gain.mean() - length * mean) <= half
    # Four standard errors of a share of 400 at 95 % are 4.4 %.
    assert 0.906 <= inside / seeds <= 0.993
    assert naive / seeds < 0.85 or length == step == 1, "the test must need what it tests"


def test_too_little_gives_no_interval() -> None:
    two = estimate(np.array([0.01, 0.02]), *spans(2))
    assert (two.value, two.low, two.high, two.verdict) == (
        pytest.approx(-0.015), None, None, "not known",
    )  # fmt: skip
    none = estimate(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64), 9, episodes=4)
    assert (none.episodes, none.known, none.mean_return, none.value) == (4, 0, None, None)


def test_first_counts_reasons_and_alone_what_the_gate_alone_stopped() -> None:
    found = values_of(
        (0b001, -0.01, 100.0),
        (0b011, -0.03, 100.0),
        (0b111, -0.05, 100.0),
        (0b010, 0.02, 50.0),
        (0b110, 0.04, 50.0),
    )
    assert set(found) == {"trend", "own.a.calm"}, "cash was never the reason"
    trend, calm = found["trend"], found["own.a.calm"]
    assert (trend.first.episodes, trend.first.value) == (3, pytest.approx(0.03))
    assert (trend.alone.episodes, trend.alone.value) == (1, pytest.approx(0.01))
    assert (calm.first.episodes, calm.first.value) == (2, pytest.approx(-0.03))
    assert (calm.alone.episodes, calm.alone.value) == (1, pytest.approx(-0.02))
    assert (trend.money, calm.money) == (pytest.approx(1.0), pytest.approx(-1.0))


def test_what_has_no_outcome_is_counted_and_no_more() -> None:
    found = values_of((1, -0.01, 100.0), (1, np.nan, 100.0), (1, -0.03, np.nan))["trend"]
    assert (found.alone.episodes, found.alone.known) == (3, 2)
    assert found.alone.value == pytest.approx(0.02)
    assert found.money is None, "one size is not known"


def test_the_verdict_needs_the_whole_interval_on_one_side() -> None:
    found = values_of(
        *((0b001, gain, 1.0) for gain in (-0.02, -0.03, -0.025, -0.02)),
        *((0b010, gain, 1.0) for gain in (0.02, 0.03, 0.025, 0.02)),
        *((0b100, gain, 1.0) for gain in (0.02, -0.03, 0.025, -0.02)),
    )
    assert [one.verdict for one in found.values()] == ["saves", "costs", "not known"]
    assert reading(list(found.values())) == (
        "saves money beyond doubt: trend; costs money beyond doubt: own.a.calm; not known: cash"
    )
    assert reading([]).count("none") == 3
