"""Bars from ticks: live builder and batch agree bit for bit, and keep every tick."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.columns import Bars
from onefold.domain.errors import ConfigError, DataError
from onefold.signals import BarBuilder, BarKind, BarRow, bars_from_ticks

SECOND_NS = 1_000_000_000
SIZES: list[tuple[BarKind, float | str]] = [
    ("time", "1s"), ("time", "1m"), ("tick", 1), ("tick", 7), ("volume", 12.5), ("dollar", 900.0),
]  # fmt: skip

ticks = st.lists(
    st.tuples(
        st.integers(0, 40 * SECOND_NS),
        st.floats(-50, 150, allow_nan=False),
        st.floats(0, 20, allow_nan=False),
    ),
    max_size=120,
)


def _columns(rows: list[tuple[int, float, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    waits, prices, sizes = zip(*rows, strict=True) if rows else ((), (), ())
    ts = np.cumsum(np.array(waits, np.int64)) + 1_700_000_000 * SECOND_NS
    return ts, np.array(prices, np.float64), np.array(sizes, np.float64)


def _rows(bars: Bars) -> list[BarRow]:
    return [BarRow(*row) for row in zip(*(c.tolist() for c in bars), strict=True)]


def _text(rows: list[BarRow]) -> list[str]:
    """Return rows so that NaN equals NaN and every bit of a float shows."""
    return [repr(tuple(row)) for row in rows]


@pytest.mark.parametrize(("kind", "size"), SIZES)
@settings(deadline=None)  # the first example compiles
@given(rows=ticks)
def test_builder_and_batch_agree(
    kind: BarKind, size: float | str, rows: list[tuple[int, float, float]]
) -> None:
    ts, price, volume = _columns(rows)
    builder = BarBuilder(kind, size)
    closed = []
    for tick in zip(ts.tolist(), price.tolist(), volume.tolist(), strict=True):
        closed += builder.update(*tick)
    assert _text(closed) == _text(_rows(bars_from_ticks(ts, price, volume, kind, size)))
    closed += builder.flush()
    whole = bars_from_ticks(ts, price, volume, kind, size, partial=True)
    assert _text(closed) == _text(_rows(whole))
    # No tick is lost: volume adds up, and the extremes are those of all ticks.
    assert whole.volume.sum() == pytest.approx(volume.sum())
    if rows:
        assert (whole.high.max(), whole.low.min()) == (price.max(), price.min())
        assert (whole.open[0], whole.close[-1]) == (price[0], price[-1])


def test_time_bars_end_with_their_interval_and_skip_empty_ones() -> None:
    ts = np.array([0, 59, 60, 119, 300]) * SECOND_NS
    price = np.array([1.0, 3.0, 2.0, 5.0, 4.0])
    bars = bars_from_ticks(ts, price, np.ones(5), "time", "1m")
    assert (bars.ts // SECOND_NS).tolist() == [60, 120]
    assert (bars.ts_open // SECOND_NS).tolist() == [0, 60]
    assert bars.close.tolist() == [3.0, 5.0]
    assert bars.volume.tolist() == [2.0, 2.0]
    assert bars.to_close_s.tolist() == [-1, -1]


def test_activity_bars_close_with_the_tick_that_reaches_the_threshold() -> None:
    ts, price = np.arange(6), np.array([10.0, 11.0, 12.0, 9.0, 10.0, 10.0])
    size = np.array([1.0, 4.0, 1.0, 1.0, 9.0, 1.0])
    volume = bars_from_ticks(ts, price, size, "volume", 5)
    assert volume.ts.tolist() == [1, 4]
    assert volume.ts_open.tolist() == [0, 2]
    assert volume.volume.tolist() == [5.0, 11.0]
    assert (volume.high[1], volume.low[1]) == (12.0, 9.0)
    assert bars_from_ticks(ts, price, size, "tick", 4).ts.tolist() == [3]
    assert bars_from_ticks(ts, price, size, "dollar", 54.0).ts.tolist() == [1, 4]


def test_flush_with_a_time_closes_only_what_is_over() -> None:
    builder = BarBuilder("time", "1m")
    builder.update(30 * SECOND_NS, 5.0, 1.0)
    assert builder.flush(59 * SECOND_NS) == []
    (bar,) = builder.flush(60 * SECOND_NS)
    assert (bar.ts, bar.close) == (60 * SECOND_NS, 5.0)
    assert builder.flush() == []
    by_count = BarBuilder("tick", 5)
    by_count.update(0, 1.0, 1.0)
    assert by_count.flush(10**18) == []
    assert len(by_count.flush()) == 1


def test_unusable_ticks_are_refused() -> None:
    builder = BarBuilder("tick", 5)
    builder.update(10, 1.0, 1.0)
    with pytest.raises(DataError, match="tick at 9 comes after one at 10"):
        builder.update(9, 1.0, 1.0)
    for price, size in ((np.nan, 1.0), (1.0, -1.0), (np.inf, 1.0), (1.0, np.nan)):
        with pytest.raises(DataError, match="cannot be used"):
            builder.update(10, price, size)
        with pytest.raises(DataError, match="tick row 1: price"):
            bars_from_ticks(np.arange(2), np.array([1, price]), np.array([1, size]), "tick", 5)
    with pytest.raises(DataError, match="tick row 2 is earlier"):
        bars_from_ticks(np.array([0, 2, 1]), np.ones(3), np.ones(3), "tick", 5)
    with pytest.raises(DataError, match="one length"):
        bars_from_ticks(np.arange(3), np.ones(2), np.ones(3), "tick", 5)


@pytest.mark.parametrize(
    ("kind", "size", "message"),
    [
        ("tme", "1m", "did you mean 'time'"),
        ("time", 60, "interval such as '1m'"),
        ("volume", "1m", "a positive number per bar"),
        ("volume", 0, "a positive number per bar"),
        ("dollar", float("inf"), "a positive number per bar"),
        ("tick", 2.5, "a whole number of ticks"),
    ],
)
def test_mistakes_are_explained(kind: BarKind, size: float | str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BarBuilder(kind, size)
