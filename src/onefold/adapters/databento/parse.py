"""Turn Databento's records into bars and ticks. Pure: a record says all that is needed.

Prices are whole numbers of 10⁻⁹. Divided as whole numbers they become the nearest float, the one
that the same price written in decimals would become. Times are nanoseconds UTC; a bar is stamped
with its begin.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from onefold.adapters.ticks import Quote, Tick, Trade
from onefold.domain.calendars import DAY_NS, SECOND_NS, seconds_to_close_at
from onefold.domain.errors import ConfigError, DataError
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar

SCALE = 10**9
UNKNOWN = 2**63 - 1
"""What stands for a price that there is not."""

SCHEMAS: dict[int, str] = {
    SECOND_NS: "ohlcv-1s",
    60 * SECOND_NS: "ohlcv-1m",
    3_600 * SECOND_NS: "ohlcv-1h",
    DAY_NS: "ohlcv-1d",
}
"""Databento's name of bars by their interval."""

TRADE_SCHEMAS = ("trades", "tbbo")

_TRADED = "T"


def schema_of(interval_ns: int, bars_from: str, symbol: str) -> str:
    """Return the schema to ask for; raises `ConfigError` where Databento has no such bars."""
    if bars_from == "trades":
        return "trades"
    if interval_ns not in SCHEMAS:
        raise ConfigError(
            f"{symbol}: Databento has bars of 1s, 1m, 1h and 1d, none of "
            f"{interval_ns / SECOND_NS:g} seconds; set bars_from: trades"
        )
    return SCHEMAS[interval_ns]


def price(number: int) -> float:
    """Return a price as a float; NaN where there is none."""
    return float("nan") if number == UNKNOWN else number / SCALE


def bar(record: Any, instrument: Instrument, interval_ns: int) -> Bar:
    """Return the bar of an OHLCV record."""
    ts = record.ts_event + interval_ns
    left = seconds_to_close_at(instrument.calendar, ts, interval_ns)
    return Bar(
        instrument.symbol,
        ts,
        record.ts_event,
        price(record.open),
        price(record.high),
        price(record.low),
        price(record.close),
        volume=float(record.volume),
        to_close_s=left if left >= 0 else None,
    )


class OneVenue:
    """Sees to it that the bars of an instrument are all of one venue."""

    def __init__(self) -> None:
        self._of: dict[str, int] = {}

    def check(self, symbol: str, record: Any) -> None:
        """Raise `DataError` for a bar of another venue: each would be a part of the market only."""
        if self._of.setdefault(symbol, record.publisher_id) != record.publisher_id:
            raise DataError(
                f"{symbol}: in this dataset Databento makes a bar for each of several venues; make "
                "bars of its trades instead (bars_from: trades, or a file of trades)"
            )


def ticks(record: Any) -> list[Tick]:
    """Return the trade of a record, after the quote that stood before it where there is one.

    Records of the other kinds that trades travel with (cancels, clears) give none. The time is when
    Databento received it, as in its own bars, so that both are the same. It numbers messages, of
    which one may hold several trades, so trades have no ids here.
    """
    if str(record.action) != _TRADED:
        return []
    found: list[Tick] = [
        Quote(record.ts_recv, price(level.bid_px), price(level.ask_px))
        for level in getattr(record, "levels", ())[:1]
        if UNKNOWN not in (level.bid_px, level.ask_px)
    ]
    found.append(Trade(record.ts_recv, price(record.price), float(record.size)))
    return found


def ids_of(metadata: Any) -> dict[int, str]:
    """Return the symbol of each instrument id of a file."""
    return {
        int(interval["symbol"]): symbol
        for symbol, intervals in metadata.mappings.items()
        for interval in intervals
        if interval["symbol"]
    }


def unresolved(answer: dict[str, Any]) -> list[str]:
    """Return the symbols that Databento does not know, of an answer to `symbology.resolve`."""
    return sorted({*answer.get("not_found", ()), *answer.get("partial", ())})


def day_of(ts: int) -> date:
    """Return the UTC day of a time."""
    return date.fromordinal(date(1970, 1, 1).toordinal() + ts // DAY_NS)
