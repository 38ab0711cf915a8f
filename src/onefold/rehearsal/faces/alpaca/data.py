"""Alpaca's market data: bars of shares (`/v2/stocks`) and coins (`/v1beta3/crypto/us`).

As at the venue, the last bar that is returned is the one under way, days begin at midnight in New
York, and one answer holds so many bars of all symbols together, after which a token goes on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from aiohttp import web

from onefold.domain.records import Bar
from onefold.rehearsal.exchange import Exchange, Refusal
from onefold.rehearsal.faces.alpaca.desk import Desk
from onefold.rehearsal.faces.alpaca.shapes import NEW_YORK, SECOND_NS, stamp

MINUTE_NS = 60 * SECOND_NS
_UNITS_NS = {"Min": MINUTE_NS, "T": MINUTE_NS, "Hour": 60 * MINUTE_NS, "H": 60 * MINUTE_NS}
BARS_MAX = 10_000
_DAY_NS = 0
"""The length of a day, which changes twice a year."""


class Candle(NamedTuple):
    """What one interval has seen so far."""

    ts_open: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    bars: int

    def shape(self) -> dict[str, Any]:
        """Return it as Alpaca does."""
        return {
            "t": stamp(self.ts_open),
            "o": self.open,
            "h": self.high,
            "l": self.low,
            "c": self.close,
            "v": self.volume,
            "n": self.bars,
            "vw": round((self.high + self.low + self.close) / 3, 6),
        }


class Data:
    """The REST part of market data."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        paths = ("/v2/stocks/bars", "/v1beta3/crypto/us/bars")
        return [self._desk.route("query", "GET", path, self._bars) for path in paths]

    def _bars(self, request: web.Request, asked: Mapping[str, Any]) -> tuple[int, Any]:
        coins = "crypto" in request.path
        length_ns, rows = _length_ns(asked.get("timeframe", "")), list[tuple[str, dict[str, Any]]]()
        first, last = str(asked.get("start", "")), str(asked.get("end", "9999"))
        for name in sorted(str(asked.get("symbols", "")).split(",")):
            # Names that are not listed have no bars; nothing is said.
            known = [m for m in self._desk.markets if m.name == name and m.coin == coins]
            for market in known:
                found = candles(self._desk.exchange, market.symbol, length_ns)
                if asked.get("sort") == "desc":
                    found.reverse()
                rows += [(name, one.shape()) for one in found if _lies(one, first, last)]
        start = int(asked.get("page_token") or 0)
        end = start + min(int(asked.get("limit") or 1_000), BARS_MAX)
        answer: dict[str, list[dict[str, Any]]] = {}
        for name, row in rows[start:end]:
            answer.setdefault(name, []).append(row)
        return 200, {"bars": answer, "next_page_token": str(end) if end < len(rows) else None}


def _lies(candle: Candle, first: str, last: str) -> bool:
    begin = stamp(candle.ts_open)[:19]
    return first[:19] <= begin <= last[:19]


def _length_ns(timeframe: str) -> int:
    """Return the length of a timeframe, that of a day as 0. Raises `Refusal`."""
    if timeframe in ("1Day", "1D"):
        return _DAY_NS
    parts = re.fullmatch(r"(\d+)(\w+)", timeframe)
    if parts is None or parts[2] not in _UNITS_NS:
        raise Refusal(f"invalid timeframe {timeframe}", "bad_order")
    return int(parts[1]) * _UNITS_NS[parts[2]]


def begin(ts: int, length_ns: int) -> int:
    """Return when the interval begins that a time lies in."""
    if length_ns != _DAY_NS:
        return ts - ts % length_ns
    local = datetime.fromtimestamp(ts // SECOND_NS, NEW_YORK)
    return _at(local.replace(hour=0, minute=0, second=0, fold=0))


def _end(ts_open: int, length_ns: int) -> int:
    if length_ns != _DAY_NS:
        return ts_open + length_ns
    local = datetime.fromtimestamp(ts_open // SECOND_NS, NEW_YORK)
    return _at(local + timedelta(days=1))


def _at(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND_NS


def candles(exchange: Exchange, symbol: str, length_ns: int) -> list[Candle]:
    """Return the candles of an interval, the oldest first; the last one may be under way.

    Bars that are longer than the interval have none.
    """
    made: list[Candle] = []
    for bar in exchange.bars[symbol]:
        start = begin(bar.ts_open, length_ns)
        if bar.ts > _end(start, length_ns):
            return []
        if made and made[-1].ts_open == start:
            made[-1] = _joined(made[-1], bar)
        else:
            made.append(_candle(start, bar))
    opening = exchange.begun.get(symbol)
    if opening is not None:
        start, price = begin(opening.ts, length_ns), opening.price
        if not made or made[-1].ts_open < start:
            made.append(Candle(start, price, price, price, price, 0.0, 0))
    return made


def minute_of(exchange: Exchange, bar: Bar) -> Candle | None:
    """Return the minute that a bar completes, None when it completes none."""
    start = begin(bar.ts_open, MINUTE_NS)
    if bar.ts != start + MINUTE_NS:
        return None
    parts = [one for one in exchange.bars[bar.instrument][-60:] if one.ts_open >= start]
    candle = _candle(start, parts[0])
    for part in parts[1:]:
        candle = _joined(candle, part)
    return candle


def _candle(start: int, bar: Bar) -> Candle:
    return Candle(start, bar.open, bar.high, bar.low, bar.close, bar.volume or 0.0, 1)


def _joined(candle: Candle, bar: Bar) -> Candle:
    return candle._replace(
        high=max(candle.high, bar.high),
        low=min(candle.low, bar.low),
        close=bar.close,
        volume=candle.volume + (bar.volume or 0.0),
        bars=candle.bars + 1,
    )
