"""OANDA's names for what is listed, its candles and its prices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument, Kind
from onefold.rehearsal.books import exact
from onefold.rehearsal.exchange import Exchange, Refusal
from onefold.rehearsal.faces.binance.markets import Candle, candles
from onefold.rehearsal.faces.oanda.access import moment, stamp, text, whole
from onefold.rehearsal.server import SECOND_NS

UNITS_MAX = 100_000_000
"""The most units of one order, as OANDA has it for currencies."""

CANDLES, CANDLES_MAX = 500, 5_000
LENGTHS_S = {
    "S5": 5, "S10": 10, "S15": 15, "S30": 30,
    "M1": 60, "M2": 120, "M4": 240, "M5": 300, "M10": 600, "M15": 900, "M30": 1_800,
    "H1": 3_600, "H2": 7_200, "H3": 10_800, "H4": 14_400, "H6": 21_600, "H8": 28_800,
    "H12": 43_200, "D": 86_400,
}  # fmt: skip
"""Weeks and months begin where no multiple of their length does; they are not rehearsed."""

_KINDS = {Kind.FX: "CURRENCY"}


class Market(NamedTuple):
    """An instrument as OANDA lists it: `symbol` is ours, `name` theirs."""

    symbol: str
    name: str
    price_places: int
    units_places: int
    least: str
    margin: str
    kind: str

    def price(self, number: Decimal | float) -> str:
        """Return a price with the places that the instrument has."""
        plain = exact(number) if isinstance(number, float) else number
        return f"{plain:.{self.price_places}f}"

    def listed(self) -> dict[str, Any]:
        """Return it as an account's list of instruments has it."""
        return {
            "name": self.name,
            "type": self.kind,
            "displayName": self.name.replace("_", "/"),
            "pipLocation": -max(self.price_places - 1, 0),
            "displayPrecision": self.price_places,
            "tradeUnitsPrecision": self.units_places,
            "minimumTradeSize": self.least,
            "maximumTrailingStopDistance": "1.00000",
            "minimumTrailingStopDistance": "0.00050",
            "maximumPositionSize": "0",
            "maximumOrderUnits": str(UNITS_MAX),
            "marginRate": self.margin,
            "guaranteedStopLossOrderMode": "DISABLED",
            "tags": [],
        }


def markets(instruments: Iterable[Instrument]) -> dict[str, Market]:
    """Return the markets by our symbols. Raises `ConfigError` for one that cannot be listed."""
    return {one.symbol: _market(one) for one in instruments}


def _market(one: Instrument) -> Market:
    if one.multiplier != 1:
        raise ConfigError(
            f"{one.symbol} has a multiplier of {one.multiplier:g}: at OANDA a unit is a unit"
        )
    name = "".join(c for c in one.symbol.upper() if c.isalnum())
    base = name.removesuffix(one.currency) or name
    lot = exact(one.lot)
    return Market(
        symbol=one.symbol,
        name=f"{base}_{one.currency}",
        price_places=_places(exact(one.tick)) if one.tick > 0 else 5,
        units_places=_places(lot),
        least=f"{lot:f}",
        margin=f"{exact(one.margin_initial):f}",
        kind=_KINDS.get(one.kind, "CFD"),
    )


def _places(step: Decimal) -> int:
    return len(f"{step:f}".partition(".")[2])


def candle_rows(exchange: Exchange, market: Market, params: Mapping[str, str]) -> dict[str, Any]:
    """Return the candles that are asked for; the last may not be complete. Raises `Refusal`."""
    granularity = params.get("granularity", "S5")
    if granularity not in LENGTHS_S or not set(params.get("price", "M")) <= set("MBA"):
        raise Refusal("granularity", "invalid")
    most = whole(params, "count", CANDLES, CANDLES_MAX)
    first, last = moment(params, "from", 0), moment(params, "to", 2**62)
    found = [
        candle
        for candle in candles(exchange, market.symbol, LENGTHS_S[granularity] * SECOND_NS)
        if first <= candle.ts_open < last and _has_prices(exchange, market, candle)
    ]
    found = found[:most] if "from" in params else found[-most:]
    return {
        "instrument": market.name,
        "granularity": granularity,
        "candles": [_row(exchange, market, candle, params) for candle in found],
    }


def _has_prices(exchange: Exchange, market: Market, candle: Candle) -> bool:
    begun = exchange.begun.get(market.symbol)
    return candle.bars > 0 or (begun is not None and begun.ts >= candle.ts_open)


def _row(
    exchange: Exchange, market: Market, candle: Candle, params: Mapping[str, str]
) -> dict[str, Any]:
    sides = {"M": "mid", "B": "bid", "A": "ask"}
    prices = {
        "o": market.price(candle.open),
        "h": market.price(candle.high),
        "l": market.price(candle.low),
        "c": market.price(candle.close),
    }
    return {
        "complete": candle.bars > 0 and candle.ts <= exchange.now_ns,
        "volume": max(int(candle.volume), 1),
        "time": stamp(candle.ts_open),
        **{sides[side]: prices for side in params.get("price", "M")},
    }


def price_row(market: Market, price: Decimal | float, ts: int) -> dict[str, Any]:
    """Return a price; the rehearsal knows no spread, so both sides are the same."""
    level = [{"price": market.price(price), "liquidity": 10_000_000}]
    return {
        "type": "PRICE",
        "time": stamp(ts),
        "bids": level,
        "asks": level,
        "closeoutBid": market.price(price),
        "closeoutAsk": market.price(price),
        "status": "tradeable",
        "tradeable": True,
        "instrument": market.name,
    }


def asked_for(known: Mapping[str, Market], params: Mapping[str, str]) -> list[Market]:
    """Return the markets that are asked for by their names. Raises `Refusal`."""
    names = text(params, "instruments").split(",")
    if not set(names) <= set(known):
        raise Refusal("instruments", "invalid")
    return [known[name] for name in names]
