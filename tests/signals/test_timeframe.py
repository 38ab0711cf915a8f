"""Longer bars from shorter ones, and that no feature of them can peek."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.columns import Bars
from onefold.domain.errors import ConfigError
from onefold.signals import BarAggregator, aggregate, col, higher, rows_of, ta
from onefold.signals.timeframe import interval_end, interval_ns

from .markets import MARKETS, MINUTE_NS, START_NS, market, same_bits

HOUR_NS = 60 * MINUTE_NS


def _streamed(bars: Bars, interval: str) -> Bars:
    aggregator = BarAggregator(interval)
    rows = [longer for row in rows_of(bars) for longer in aggregator.update(row)]
    return Bars._make(np.array(column) for column in zip(*rows, strict=True))


@pytest.mark.parametrize("kind", MARKETS)
@pytest.mark.parametrize("interval", ["5m", "1h", "1d"])
def test_stream_and_batch_give_the_same_bars(kind: str, interval: str) -> None:
    bars = market(kind, rows=6_000)
    batch = aggregate(bars, interval)
    assert batch.rows > 2
    for got, expected in zip(_streamed(bars, interval), batch, strict=True):
        assert same_bits(got, expected)


@settings(deadline=None)  # the first example compiles
@given(st.lists(st.sampled_from([1, 2, 29, 30, 59, 60, 61, 3_600]), min_size=1, max_size=80))
def test_stream_and_batch_agree_at_every_boundary(waits_s: list[int]) -> None:
    bars = market("random", rows=len(waits_s))
    ts = START_NS + np.cumsum(np.array(waits_s)) * 1_000_000_000 - np.arange(len(waits_s)) % 2
    bars = bars._replace(ts=ts)
    aggregator = BarAggregator("1m")
    rows = [longer for row in rows_of(bars) for longer in aggregator.update(row)]
    assert [repr(row) for row in rows] == [repr(row) for row in rows_of(aggregate(bars, "1m"))]
    stream = higher(col.close, "1m").stream()
    streamed = [stream.update(row) for row in rows_of(bars)]
    assert same_bits(streamed, higher(col.close, "1m").batch(bars))
    ends = [row.ts for row in rows]
    assert ends == sorted(set(ends))
    assert all(end <= bars.ts[-1] for end in ends)


def test_a_longer_bar_is_made_of_all_its_bars() -> None:
    bars = market("random", rows=150)
    hours = aggregate(bars, "1h")
    assert hours.rows == 2
    assert hours.ts.tolist() == [START_NS + HOUR_NS, START_NS + 2 * HOUR_NS]
    assert hours.ts_open.tolist() == [START_NS, START_NS + HOUR_NS]
    first = bars.slice(0, 60)
    assert hours.open[0] == first.open[0]
    assert hours.high[0] == first.high.max()
    assert hours.low[0] == first.low.min()
    assert hours.close[0] == first.close[-1]
    assert hours.volume[0] == pytest.approx(first.volume.sum())


def test_an_unknown_price_or_volume_makes_the_longer_one_unknown() -> None:
    bars = market("random", rows=120)
    for column in (bars.high, bars.low, bars.volume):
        column[70] = np.nan
    hours = aggregate(bars, "1h")
    assert np.isnan([hours.high[1], hours.low[1], hours.volume[1]]).all()
    assert not np.isnan([hours.high[0], hours.low[0], hours.volume[0], hours.close[1]]).any()


def test_a_value_appears_with_the_bar_that_closes_the_interval() -> None:
    bars = market("random", rows=150)
    column = higher(col.close, "1h").batch(bars)
    assert np.isnan(column[:59]).all()
    assert (column[59:119] == bars.close[59]).all()
    assert (column[119:] == bars.close[119]).all()


def test_after_a_gap_it_appears_with_the_first_bar_behind_it() -> None:
    bars = market("random", rows=150)
    kept = np.array([i for i in range(150) if not 55 <= i < 62])
    gappy = Bars._make(column[kept] for column in bars)
    column = higher(col.close, "1h").batch(gappy)
    assert np.isnan(column[:55]).all()
    assert column[55] == bars.close[54]


def test_time_is_part_of_the_warm_up() -> None:
    feature = higher(ta.sma(10), "1h")
    assert feature.warm_up_ns == 10 * HOUR_NS
    assert (ta.sma(3, of=feature) - 1.0).warm_up_ns == 10 * HOUR_NS
    assert not feature.finite
    assert feature.name == "higher(sma(close,10),1h)"


def test_no_longer_bar_no_value() -> None:
    assert np.isnan(higher(col.close, "1d").batch(market("random", rows=100))).all()
    assert len(higher(col.close, "1d").batch(market("random", rows=0))) == 0


@given(st.integers(0, 2**62), st.sampled_from(["30s", "1m", "4h", "1d", "1w"]))
def test_a_bar_belongs_to_the_interval_that_ends_with_or_after_it(ts: int, interval: str) -> None:
    length = interval_ns(interval)
    end = interval_end(ts, length)
    assert ts <= end < ts + length
    assert interval_end(end, length) == end
    assert interval_end(end + 1, length) == end + length


def test_weeks_begin_on_monday() -> None:
    # START_NS is a Monday at midnight, so a week ends there.
    assert interval_end(START_NS, interval_ns("1w")) == START_NS


@pytest.mark.parametrize("interval", ["", "h", "0m", "5x", "7h", "2d", "1.5h", "100000d", "-1h"])
def test_other_intervals_are_refused(interval: str) -> None:
    with pytest.raises(ConfigError, match=r"interval|evenly"):
        interval_ns(interval)
