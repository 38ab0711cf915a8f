"""Ticks from files: what they are, where they are wrong, and the bars that come of them."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from onefold.adapters.files import BarsConfig, load_frame, read_ticks
from onefold.adapters.recorded import RecordedFeed, bars_of_ticks
from onefold.adapters.ticks import Quote, TickBars, Trade
from onefold.domain.convert import to_records
from onefold.domain.errors import ConfigError, DataError
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar, Quarantined
from onefold.signals import bars_from_ticks

from .made import csv_file, ns
from .shared import shared

MINUTE_NS = 60 * 10**9


def test_trades_and_quotes_are_told_apart(tmp_path: Path) -> None:
    trades = csv_file(tmp_path, "timestamp,ID,price,amount", "1704700800000,7,1.5,2")
    assert list(read_ticks(trades)) == [Trade(ns("2024-01-08T08:00:00"), 1.5, 2.0, "7")]
    quotes = csv_file(tmp_path, "time,bid,ask", "2024-01-08 08:00:00,1,2", name="quotes.csv")
    assert list(read_ticks(quotes)) == [Quote(ns("2024-01-08T08:00:00"), 1.0, 2.0)]


def test_times_are_those_of_the_zone(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    moments = [datetime(2024, 1, 8, 9, 30, 0, 250_000)]  # noqa: DTZ001 - local to the exchange
    pl.DataFrame({"ts": moments, "price": [1.0], "size": [1.0]}).write_parquet(path)
    (tick,) = read_ticks(path, timezone="America/New_York")
    assert tick.ts == ns("2024-01-08T14:30:00") + 250_000_000


def test_a_missing_number_is_refused_where_bars_are_made(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "ts,price,size", "2024-01-08 08:00:00,,2")
    (event,) = bars_of_ticks(read_ticks(path), TickBars(Instrument(symbol="A")))
    assert isinstance(event, Quarantined)
    assert event.reason == "nan"


@pytest.mark.parametrize(
    ("lines", "columns", "message"),
    [
        (("ts,price", "2024-01-08,1"), {}, r"no column for 'size' \(columns: 'ts', 'price'\)"),
        (("ts,price,size", "2024-01-08,x,1"), {}, r"line 2, column 'price': 'x' is not a number"),
        (("ts,price,size,qty", "2024-01-08,1,1,1"), {}, "could both be size; choose with columns"),
        (("ts,price,size", "2024-01-08,1,1"), {"prise": "x"}, "did you mean 'price'"),
        (("ts,price,size", "2024-01-08,1,1"), {"price": "prise"}, "no column 'prise'"),
    ],
)
def test_what_cannot_be_read(
    tmp_path: Path, lines: tuple[str, ...], columns: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_ticks(csv_file(tmp_path, *lines), columns=columns)


def test_times_in_doubt(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "ts,price,size", "2024-11-03 01:30:00,1,1")
    with pytest.raises(DataError, match=r"line 2, column 'ts': in America/New_York this time is t"):
        read_ticks(path, timezone="America/New_York")
    with pytest.raises(ConfigError, match="timezone 'New York' is not known"):
        read_ticks(path, timezone="New York")


# --- real ticks ----------------------------------------------------------------------------------


def played(events: list[Bar | Quarantined], instrument: Instrument) -> list[Bar | Quarantined]:
    async def whole() -> list[Bar | Quarantined]:
        feed = RecordedFeed(events, {instrument.symbol: instrument})
        await feed.open()
        return [event async for event in feed.stream()]

    return asyncio.run(whole())


@pytest.mark.parametrize(
    ("name", "zone", "symbol"),
    [
        ("lean/equity_usa_tick_spy_trade.parquet", "America/New_York", "SPY"),
        ("lean/future_comex_tick_gc_trade.parquet", "America/New_York", "GC"),
    ],
)
def test_a_recorded_day_of_trades_live_is_the_batch(name: str, zone: str, symbol: str) -> None:
    one = Instrument(symbol=symbol)
    ticks = [t for t in read_ticks(shared(name), timezone=zone) if isinstance(t, Trade)]
    events = played(list(bars_of_ticks(ticks, TickBars(one))), one)
    kept = np.maximum.accumulate([t.ts for t in ticks]) == [t.ts for t in ticks]
    columns = [np.array(column)[kept] for column in zip(*[t[:3] for t in ticks], strict=True)]
    batch = bars_from_ticks(columns[0].astype(np.int64), columns[1], columns[2], "time", "1m")
    assert [e for e in events if isinstance(e, Bar)] == list(to_records(batch, symbol))
    assert len(batch.ts) > 300
    refused = [event.reason for event in events if isinstance(event, Quarantined)]
    assert refused == ["out_of_order"] * int((~kept).sum())


def test_minutes_of_recorded_trades_are_those_that_the_vendor_made() -> None:
    one = Instrument(symbol="SPY")
    zone = "America/New_York"
    ticks = read_ticks(shared("lean/equity_usa_tick_spy_trade.parquet"), timezone=zone)
    mine = {b.ts: b for b in bars_of_ticks(ticks, TickBars(one)) if isinstance(b, Bar)}
    table = pl.read_parquet(shared("lean/equity_usa_minute_spy.parquet"))
    theirs = load_frame(table, BarsConfig(instrument=one, timezone=zone, interval="1m"))
    both = [(mine[b.ts], b) for b in to_records(theirs.bars, "SPY") if b.ts in mine]
    assert len(both) > 300
    # The vendor counts every trade, and leaves the prices of some kinds of trades out.
    assert sum(m.volume != t.volume for m, t in both) <= 3
    assert all(m.low <= t.low and m.high >= t.high for m, t in both)


def test_a_recorded_day_of_quotes() -> None:
    one = Instrument(symbol="EURUSD")
    quotes = read_ticks(shared("lean/fx_oanda_tick_eurusd_quote.parquet"))
    events = list(bars_of_ticks(quotes, TickBars(one, "time", "1h", prices="quotes")))
    bars = [event for event in events if isinstance(event, Bar)]
    assert len(bars) > 15
    for bar in bars:
        assert bar.volume is None
        assert bar.bid is not None
        assert bar.ask is not None
        assert bar.open == (bar.bid + bar.ask) / 2
