"""A feed gives what `load` gives, in the one order of all runs, and keeps its pace."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from onefold.adapters.files import BarsConfig, FileFeed, LoadedBars, load_frame, merge_events
from onefold.adapters.pace import Pace
from onefold.domain.convert import to_columns, to_records
from onefold.domain.errors import ConfigError, DataError
from onefold.domain.instruments import Instrument
from onefold.domain.records import Action, Bar, Quarantined

from .made import MINUTE_NS, change, frame, ns


def loaded(symbol: str, table: pl.DataFrame, **changes: object) -> LoadedBars:
    return load_frame(table, BarsConfig(instrument=Instrument(symbol=symbol), **changes))


def test_a_feed_is_the_columns_one_by_one() -> None:
    table = change(frame(20), "volume", 3, None)
    one = loaded("A", table)
    found = [event for event in FileFeed([one]) if isinstance(event, Bar)]
    assert found == list(to_records(one.bars, "A"))
    for mine, theirs in zip(to_columns(found), one.bars, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_merged_by_close_then_by_the_order_given() -> None:
    slow = loaded("SLOW", frame(2, "2024-01-02T00:00:00", "5m"))
    fast = loaded("FAST", frame(10))
    order = [(e.instrument, e.ts) for e in FileFeed([slow, fast])]
    assert [ts for _, ts in order] == sorted(ts for _, ts in order)
    at_five = [name for name, ts in order if ts == ns("2024-01-02T00:05:00")]
    assert at_five == ["SLOW", "FAST"]
    swapped = [e.instrument for e in FileFeed([fast, slow]) if e.ts == ns("2024-01-02T00:05:00")]
    assert swapped == ["FAST", "SLOW"]


def test_quarantined_rows_come_where_they_stood() -> None:
    table = change(change(frame(5), "close", 0, None), "close", 2, float("inf"))
    table = pl.concat([table, table.tail(1)])
    kinds = [
        event.reason if isinstance(event, Quarantined) else "bar"
        for event in FileFeed([loaded("A", table)])
    ]
    assert kinds == ["nan", "bar", "infinite", "bar", "bar", "duplicate"]


def test_actions_come_between_the_bars_that_they_part() -> None:
    daily = frame(4, "2024-01-01T00:00:00", "1d").with_columns(
        pl.Series("dividend", [0.0, 0.0, 1.5, 0.0])
    )
    paying = loaded("PAY", daily, actions=True)
    other = loaded("OTHER", frame(4, "2024-01-01T00:00:00", "1d"))
    for order in ([paying, other], [other, paying]):
        events = list(FileFeed(order).events())
        at = next(i for i, event in enumerate(events) if isinstance(event, Action))
        assert all(e.ts <= events[at].ts for e in events[:at])
        assert all(e.ts > events[at].ts for e in events[at + 1 :])
        assert at == 4, "two instruments, two days"
    assert not any(isinstance(event, Action) for event in FileFeed([paying, other]))


def test_pace_by_speed_and_by_bar() -> None:
    slept: list[float] = []
    one = loaded("A", frame(4).filter(pl.int_range(4) != 2), interval="1m")
    assert len(list(FileFeed([one], Pace(speed=60, sleep=slept.append)))) == 3
    assert slept == [1.0, 2.0], "a minute each, two over the gap, sixty times faster"
    slept.clear()
    assert len(list(FileFeed([one], Pace(seconds_per_bar=0.5, sleep=slept.append)))) == 3
    assert slept == [0.5] * 3
    slept.clear()
    assert len(list(FileFeed([one], Pace(sleep=slept.append)))) == 3
    assert slept == []


def test_instruments_at_the_same_time_share_one_pause() -> None:
    slept: list[float] = []
    both = [loaded("A", frame(3)), loaded("B", frame(3))]
    list(FileFeed(both, Pace(speed=60, sleep=slept.append)))
    assert slept == [1.0, 1.0]


@pytest.mark.parametrize(
    "pace",
    [Pace(speed=0), Pace(seconds_per_bar=-1), Pace(speed=float("nan")), Pace(1.0, 1.0)],
)
def test_a_pace_that_makes_no_sense(pace: Pace) -> None:
    with pytest.raises(ConfigError, match=r"speed|seconds_per_bar"):
        FileFeed([loaded("A", frame(3))], pace)


def test_an_instrument_twice() -> None:
    with pytest.raises(ConfigError, match="'A' is loaded twice"):
        FileFeed([loaded("A", frame(3)), loaded("A", frame(3))])


def test_a_feed_can_be_read_again() -> None:
    feed = FileFeed([loaded("A", frame(3)), loaded("B", frame(3))])
    assert list(feed) == list(feed)
    assert list(merge_events([])) == []


def test_not_one_plausible_row() -> None:
    with pytest.raises(DataError, match=r"frame: all 3 rows were refused \(nan 3\)"):
        loaded("A", frame(3).with_columns(close=pl.lit(None, pl.Float64)))


def test_future_rows() -> None:
    now = ns("2024-01-02T00:02:00")
    settings = BarsConfig(instrument=Instrument(symbol="A"))
    found = load_frame(frame(5), settings, now=now)
    assert found.counts == {"future": 3}
    assert found.bars.ts[-1] == now
    assert found.bars.ts[0] == now - MINUTE_NS
