"""Binance's names for what is listed, and its candles.

Spot and futures are two venues with the same symbols. Here an instrument that settles by profit and
loss is a perpetual future, and any other is traded spot; both live on the one account.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar
from onefold.rehearsal.books import exact
from onefold.rehearsal.exchange import Exchange, Opening

MS_NS = 1_000_000
_UNITS_NS = {"s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9, "d": 86_400 * 10**9}
INTERVALS_NS = {
    name: int(name[:-1]) * _UNITS_NS[name[-1]]
    for name in (
        "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d",
    )
}  # fmt: skip
SMALLEST = "0.00000001"


class Market(NamedTuple):
    """A symbol as Binance lists it: `symbol` is ours, `id` theirs."""

    symbol: str
    id: str
    base: str
    quote: str
    is_future: bool
    tick: str
    lot: str


def markets(instruments: Iterable[Instrument]) -> dict[str, Market]:
    """Return the markets by our symbols. Raises `ConfigError` for one that cannot be listed."""
    return {one.symbol: _market(one) for one in instruments}


def _market(one: Instrument) -> Market:
    name = "".join(c for c in one.symbol.upper() if c.isalnum()).removesuffix("PERP")
    base = name.removesuffix(one.currency) or name
    if one.multiplier != 1:
        raise ConfigError(
            f"{one.symbol} has a multiplier of {one.multiplier:g}: a market at Binance has 1"
        )
    tick = text(exact(one.tick)) if one.tick > 0 else SMALLEST
    lot = text(exact(one.lot))
    return Market(one.symbol, base + one.currency, base, one.currency, one.margined, tick, lot)


def text(number: Any) -> str:
    """Return a decimal as plain digits."""
    return format(number, "f")


def spot_symbol(market: Market) -> dict[str, Any]:
    """Return a market as `exchangeInfo` of spot has it."""
    return {
        "symbol": market.id,
        "status": "TRADING",
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET", "STOP_LOSS"],
        "icebergAllowed": False,
        "ocoAllowed": False,
        "quoteOrderQtyMarketAllowed": False,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [*_filters(market), {"filterType": "NOTIONAL", "minNotional": "0.00000000"}],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE"],
    }


def futures_symbol(market: Market) -> dict[str, Any]:
    """Return a market as `exchangeInfo` of USD-M futures has it."""
    return {
        "symbol": market.id,
        "pair": market.id,
        "contractType": "PERPETUAL",
        "deliveryDate": 4_133_404_800_000,
        "onboardDate": 1_569_398_400_000,
        "status": "TRADING",
        "baseAsset": market.base,
        "quoteAsset": market.quote,
        "marginAsset": market.quote,
        "pricePrecision": len(market.tick.partition(".")[2]),
        "quantityPrecision": len(market.lot.partition(".")[2]),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.010000",
        "marketTakeBound": "0.05",
        "filters": [*_filters(market), {"filterType": "MIN_NOTIONAL", "notional": "0"}],
        "orderTypes": ["LIMIT", "MARKET", "STOP_MARKET"],
        "timeInForce": ["GTC", "IOC", "GTD"],
    }


def _filters(market: Market) -> list[dict[str, Any]]:
    most = "1000000000000"
    lots = {"minQty": market.lot, "maxQty": most, "stepSize": market.lot}
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": market.tick,
            "maxPrice": most,
            "tickSize": market.tick,
        },
        {"filterType": "LOT_SIZE", **lots},
        {"filterType": "MARKET_LOT_SIZE", **lots},
    ]


class Candle(NamedTuple):
    """What one interval has seen so far."""

    ts_open: int
    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    bars: int

    def with_bar(self, bar: Bar) -> Candle:
        """Return the candle after one more bar."""
        return self._replace(
            high=max(self.high, bar.high),
            low=min(self.low, bar.low),
            close=bar.close,
            volume=self.volume + (bar.volume or 0.0),
            bars=self.bars + 1,
        )

    def row(self) -> list[Any]:
        """Return the candle as a line of `klines`."""
        quote = self.volume * self.close
        return [
            self.ts_open // MS_NS,
            *(text(exact(x)) for x in (self.open, self.high, self.low, self.close, self.volume)),
            self.ts // MS_NS - 1,
            f"{quote:.8f}",
            self.bars,
            f"{self.volume / 2:.8f}",
            f"{quote / 2:.8f}",
            "0",
        ]


def candles(exchange: Exchange, symbol: str, interval_ns: int) -> list[Candle]:
    """Return the candles of an interval, the oldest first; the last one is still open.

    Bars that are longer than the interval have none.
    """
    made: list[Candle] = []
    for bar in exchange.bars[symbol]:
        if bar.ts - bar.ts_open > interval_ns:
            return []
        start = bar.ts_open // interval_ns * interval_ns
        if made and made[-1].ts_open == start:
            made[-1] = made[-1].with_bar(bar)
        else:
            made.append(_begun(start, interval_ns, bar.open).with_bar(bar))
    opening = exchange.begun.get(symbol)
    if opening is not None:
        price, ts = opening.price, opening.ts
    elif made:
        price, ts = made[-1].close, exchange.now_ns
    else:
        return made
    start = ts // interval_ns * interval_ns
    if not made or made[-1].ts_open < start:
        made.append(_begun(start, interval_ns, price))
    return made


def _begun(start: int, interval_ns: int, price: float) -> Candle:
    return Candle(start, start + interval_ns, price, price, price, price, 0.0, 0)


def under_way(exchange: Exchange, event: Bar | Opening, interval_ns: int) -> Candle | None:
    """Return the candle that a bar, or the beginning of one, belongs to; None when it is longer."""
    if isinstance(event, Opening):
        start = event.ts // interval_ns * interval_ns
        begun = _begun(start, interval_ns, event.price)
        return begun if not list(_tail(exchange, event.symbol, start)) else None
    if event.ts - event.ts_open > interval_ns:
        return None
    start = event.ts_open // interval_ns * interval_ns
    bars = [*_tail(exchange, event.instrument, start)][::-1]
    candle = _begun(start, interval_ns, bars[0].open)
    for bar in bars:
        candle = candle.with_bar(bar)
    return candle


def _tail(exchange: Exchange, symbol: str, start: int) -> Iterator[Bar]:
    """Yield the bars since a time, the newest first."""
    for bar in reversed(exchange.bars[symbol]):
        if bar.ts_open < start:
            return
        yield bar


def ticks(bar: Bar) -> list[tuple[int, float, float]]:
    """Return time, price and size of four trades that make up a bar."""
    size = (bar.volume or 0.0) / 4
    first, second = (bar.low, bar.high) if bar.close >= bar.open else (bar.high, bar.low)
    step = (bar.ts - bar.ts_open) // 4
    prices = (bar.open, first, second, bar.close)
    return [(bar.ts_open + n * step, price, size) for n, price in enumerate(prices)]
