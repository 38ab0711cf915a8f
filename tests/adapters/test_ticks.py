"""Ticks to bars: the same bars as research makes at once, and a reason for every tick refused."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.adapters.ticks import AHEAD_NS_MAX, IDS_KEPT, SECOND_NS, Quote, Tick, TickBars, Trade
from onefold.domain.convert import to_records
from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument, instrument
from onefold.domain.records import Bar, Quarantined
from onefold.domain.sanitise import sanitise
from onefold.signals import BarKind, bars_from_ticks

from .made import ns

COIN = Instrument(symbol="C")
OIL = instrument("CL")
MINUTE_NS = 60 * SECOND_NS
START = 1_700_000_040 * SECOND_NS
"""The begin of a minute."""

SIZES: list[tuple[BarKind, float | str]] = [
    ("time", "1s"), ("time", "1m"), ("tick", 1), ("tick", 7), ("volume", 12.5), ("dollar", 900.0),
]  # fmt: skip

sound = st.lists(
    st.tuples(
        st.integers(0, 40 * SECOND_NS),
        st.floats(0.01, 150, allow_nan=False),
        st.floats(0, 20, allow_nan=False),
    ),
    max_size=120,
)
faults = st.sampled_from([
    lambda tick: tick._replace(price=nan),
    lambda tick: tick._replace(price=-tick.price),
    lambda tick: tick._replace(size=-1.0),
    lambda tick: tick._replace(ts=tick.ts - 3_600 * SECOND_NS),
    lambda tick: tick,  # once more, with the same id
])  # fmt: skip


def trades(rows: list[tuple[int, float, float]]) -> list[Trade]:
    ts, made = START, []
    for number, (wait, price, size) in enumerate(rows):
        ts += wait
        made.append(Trade(ts, price, size, str(number)))
    return made


def fed(builder: TickBars, ticks: list[Tick]) -> list[Bar | Quarantined]:
    return [event for tick in ticks for event in builder.update(tick)]


def reasons(events: list[Bar | Quarantined]) -> list[str]:
    return [event.reason for event in events if isinstance(event, Quarantined)]


def whole(events: list[Bar | Quarantined]) -> list[Bar]:
    return [event for event in events if isinstance(event, Bar)]


@pytest.mark.parametrize(("kind", "size"), SIZES)
@settings(deadline=None)  # the first example compiles
@given(rows=sound, planted=st.lists(st.tuples(st.integers(0, 119), faults), max_size=8))
def test_bars_are_those_of_the_batch_whatever_is_refused_between(
    kind: BarKind, size: float | str, rows: list[tuple[int, float, float]], planted: list
) -> None:
    ticks = trades(rows)
    stream: list[Tick] = []
    refused = 0
    for number, tick in enumerate(ticks):
        stream.append(tick)
        bad = [fault(tick) for at, fault in planted if at == number]
        refused += len(bad)
        stream += bad
    columns = np.array([t.ts for t in ticks], np.int64), [t.price for t in ticks]
    batch = bars_from_ticks(*columns, [t.size for t in ticks], kind, size)
    # Bars by activity may close twice at one time; the second is refused, as it is of a file.
    clean = sanitise(batch, COIN)
    events = fed(TickBars(COIN, kind, size), stream)
    assert [repr(bar) for bar in whole(events)] == [repr(b) for b in to_records(clean.bars, "C")]
    assert len(reasons(events)) == refused + len(clean.verdicts) - clean.bars.rows
    if kind == "time":
        assert clean.counts() == {}


@pytest.mark.parametrize(
    ("tick", "reason"),
    [
        (Trade(START, nan, 1.0), "nan"),
        (Trade(START, 1.0, nan), "nan"),
        (Trade(START, inf, 1.0), "infinite"),
        (Trade(START, 1.0, 1e15), "too_large"),
        (Trade(START, 0.0, 1.0), "not_positive"),
        (Trade(START, -1.0, 1.0), "not_positive"),
        (Trade(START, 1.0, -1.0), "negative_volume"),
        (Trade(START - 1, 1.0, 1.0), "out_of_order"),
        (Trade(START, 1.0, 1.0, "a"), "duplicate"),
        (Trade(START + AHEAD_NS_MAX + 1, 1.0, 1.0), "future"),
        (Quote(START, 2.0, 1.0), "crossed"),
        (Quote(START, 0.0, 1.0), "not_positive"),
        (Quote(START, 1.0, nan), "nan"),
        (Quote(START - 1, 1.0, 2.0), "out_of_order"),
    ],
)
def test_each_implausible_tick_is_refused_with_its_reason(tick: Tick, reason: str) -> None:
    builder = TickBars(COIN)
    assert builder.update(Quote(START, 1.0, 2.0), START) == []
    assert builder.update(Trade(START, 1.0, 1.0, "a"), START) == []
    (refused,) = builder.update(tick, START)
    assert isinstance(refused, Quarantined)
    assert (refused.instrument, refused.ts, refused.reason) == ("C", tick.ts, reason)
    assert refused.detail
    # It left no trace in the bar.
    (bar,) = builder.close(START + MINUTE_NS)
    assert (bar.high, bar.low, bar.volume) == (1.0, 1.0, 1.0)


def test_prices_below_zero_where_the_instrument_has_them() -> None:
    builder = TickBars(OIL)
    events = fed(builder, [Trade(START, -37.63, 1.0), Trade(START + MINUTE_NS, -36.0, 1.0)])
    assert [bar.close for bar in whole(events)] == [-37.63]


def test_a_tick_from_the_future_does_not_silence_those_after_it() -> None:
    builder = TickBars(COIN)
    builder.update(Trade(START + 3_600 * SECOND_NS, 1.0, 1.0), START)
    assert builder.update(Trade(START, 1.0, 1.0), START) == []


def test_the_clock_closes_a_bar_after_its_end_and_grace_and_only_then() -> None:
    builder = TickBars(COIN, grace_ns=2 * SECOND_NS)
    end = START + MINUTE_NS
    builder.update(Trade(START, 5.0, 1.0))
    assert builder.close(end) == []
    assert builder.close(end + 2 * SECOND_NS - 1) == []
    # A trade that was on its way still counts.
    assert builder.update(Trade(end - 1, 7.0, 1.0), end + SECOND_NS) == []
    (bar,) = builder.close(end + 2 * SECOND_NS)
    assert (bar.ts, bar.ts_open, bar.close, bar.volume) == (end, START, 7.0, 2.0)
    assert builder.close(end + 3_600 * SECOND_NS) == [], "an empty interval has no bar"


def test_a_tick_for_a_bar_that_is_out_is_late() -> None:
    builder = TickBars(COIN)
    end = START + MINUTE_NS
    builder.update(Trade(START, 5.0, 1.0))
    builder.close(end)
    assert reasons(builder.update(Trade(end - 1, 9.0, 1.0))) == ["late"]
    builder.update(Trade(end, 6.0, 1.0))
    (bar,) = builder.close(end + MINUTE_NS)
    assert (bar.open, bar.high) == (6.0, 6.0)


def test_after_a_lost_connection_nothing_counts_twice_and_nothing_is_missing() -> None:
    ticks: list[Tick] = [Trade(START + i * 20 * SECOND_NS, 10.0 + i, 1.0, str(i)) for i in range(9)]
    undisturbed = fed(TickBars(COIN), ticks)
    builder = TickBars(COIN)
    before = whole(fed(builder, ticks[:5]))
    builder.begin(before[-1].ts)
    # The source repeats all of it: what is known is passed over, the rest is no duplicate.
    again = fed(builder, ticks)
    assert before + again == undisturbed
    assert len(undisturbed) == 2


def test_the_touch_is_the_quote_that_stood_when_the_bar_opened() -> None:
    builder = TickBars(COIN)
    stream: list[Tick] = [
        Trade(START, 10.0, 1.0),
        Quote(START + 1, 9.0, 11.0),
        Trade(START + 2, 10.0, 1.0),
        Quote(START + MINUTE_NS, 9.5, 10.5),
        Trade(START + MINUTE_NS + 1, 10.0, 1.0),
        Quote(START + MINUTE_NS + 2, 1.0, 2.0),
        Trade(START + 2 * MINUTE_NS, 10.0, 1.0),
    ]
    first, second = whole(fed(builder, stream))
    assert (first.bid, first.ask) == (None, None), "none was known at its open"
    assert (second.bid, second.ask) == (9.5, 10.5)


def test_bars_of_quotes_are_mids_without_volume() -> None:
    builder = TickBars(COIN, prices="quotes")
    stream: list[Tick] = [
        Quote(START, 9.0, 11.0),
        Trade(START, 500.0, 1.0),
        Quote(START + 1, 11.0, 13.0),
        Quote(START + MINUTE_NS, 1.0, 3.0),
    ]
    (bar,) = whole(fed(builder, stream))
    assert (bar.open, bar.high, bar.low, bar.close) == (10.0, 12.0, 10.0, 12.0)
    assert (bar.volume, bar.bid, bar.ask) == (None, 9.0, 11.0)
    with pytest.raises(ConfigError, match="quotes have no volume"):
        TickBars(COIN, "volume", 5, prices="quotes")


def test_the_time_to_the_close_is_that_of_the_calendar() -> None:
    builder = TickBars(Instrument(symbol="S", calendar="XNYS"))
    (bar,) = whole(fed(builder, [Trade(ns(f"2024-01-08T20:{m}:30"), 1.0, 1.0) for m in (57, 58)]))
    assert bar.to_close_s == 120


def test_memory_of_ids_is_bounded() -> None:
    builder = TickBars(COIN)
    for number in range(IDS_KEPT + 10):
        builder.update(Trade(START + number, 1.0, 1.0, str(number)))
    assert len(builder._ids) == IDS_KEPT
    again = [Trade(START + IDS_KEPT + 9, 1.0, 1.0, str(IDS_KEPT + 9)), Trade(START, 1.0, 1.0, "0")]
    assert reasons(fed(builder, again)) == ["duplicate", "out_of_order"]
