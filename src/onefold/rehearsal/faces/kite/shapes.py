"""What Kite answers, as dictionaries of its own names; pure functions of what the exchange knows.

Times are those of India without saying so, numbers are JSON numbers, ids are text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar
from onefold.rehearsal.books import exact
from onefold.rehearsal.exchange import VenueOrder, VenueTrade

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
DAY_NS = 86_400 * SECOND_NS
IST = timezone(timedelta(hours=5, minutes=30))
IST_NS = 19_800 * SECOND_NS
SESSION_NS = 33_300 * SECOND_NS
"""A quarter past nine: when the day's first candle begins."""

INTERVALS_NS = {
    "minute": MINUTE_NS,
    "3minute": 3 * MINUTE_NS,
    "5minute": 5 * MINUTE_NS,
    "10minute": 10 * MINUTE_NS,
    "15minute": 15 * MINUTE_NS,
    "30minute": 30 * MINUTE_NS,
    "60minute": 60 * MINUTE_NS,
    "day": DAY_NS,
}
_SEGMENTS = {"NSE": 1, "NFO": 2}
_STATUS = {
    "filled": "COMPLETE",
    "cancelled": "CANCELLED",
    "expired": "CANCELLED",
    "rejected": "REJECTED",
}
_KINDS = {"market": "MARKET", "limit": "LIMIT", "stop": "SL-M"}


class Listing(NamedTuple):
    """An instrument as Kite lists it: `symbol` is ours, `name` theirs."""

    symbol: str
    exchange: str
    name: str
    token: int
    tick: float
    lot: int
    multiplier: float


def listings(instruments: Iterable[Instrument]) -> dict[str, Listing]:
    """Return the listings by our symbols. Raises `ConfigError` for one that cannot be listed."""
    made = {}
    for number, one in enumerate(instruments, start=1):
        if one.lot != int(one.lot):
            raise ConfigError(f"{one.symbol} has a lot of {one.lot:g}: Kite has whole ones only")
        exchange = "NFO" if one.margined else "NSE"
        token = number << 8 | _SEGMENTS[exchange]
        name = one.symbol.upper()
        tick = one.tick or 0.01
        made[one.symbol] = Listing(
            one.symbol, exchange, name, token, tick, int(one.lot), one.multiplier
        )
    return made


def instruments_csv(listed: Iterable[Listing]) -> str:
    """Return the list of instruments as the table that Kite has."""
    header = (
        "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,"
        "lot_size,instrument_type,segment,exchange"
    )
    rows = [
        f"{one.token},{one.token >> 8},{one.name},{one.name},0.0,,0.0,{one.tick:g},{one.lot},"
        f"{'EQ' if one.exchange == 'NSE' else 'FUT'},{one.exchange},{one.exchange}"
        for one in listed
    ]
    return "\n".join([header, *rows, ""])


def number(value: Decimal | float | None) -> float | int:
    """Return a number as JSON has it: whole ones without a point."""
    plain = float(value or 0)
    return int(plain) if plain.is_integer() else plain


def stamp(ts: int) -> str:
    """Return a time as Kite writes it."""
    return datetime.fromtimestamp(ts // SECOND_NS, IST).strftime("%Y-%m-%d %H:%M:%S")


def day_of(ts: int) -> int:
    """Return the number of a time's day in India."""
    return (ts + IST_NS) // DAY_NS


def order_shape(order: VenueOrder, one: Listing, tag: str, product: str) -> dict[str, Any]:
    """Return an order as the day's list and the postbacks have it."""
    waiting = order.kind == "stop" and not order.filled
    status = _STATUS.get(order.status, "TRIGGER PENDING" if waiting else "OPEN")
    ended = order.status != "working"
    return {
        "placed_by": "RH0001",
        "order_id": str(order.venue_id),
        "exchange_order_id": str(10**15 + order.venue_id),
        "parent_order_id": None,
        "status": status,
        "status_message": order.reason or None,
        "status_message_raw": order.reason or None,
        "order_timestamp": stamp(order.updated_ts),
        "exchange_update_timestamp": stamp(order.updated_ts),
        "exchange_timestamp": stamp(order.updated_ts),
        "variety": "regular",
        "modified": False,
        "exchange": one.exchange,
        "tradingsymbol": one.name,
        "instrument_token": one.token,
        "order_type": _KINDS[order.kind],
        "transaction_type": "BUY" if order.side > 0 else "SELL",
        "validity": "IOC" if order.time_in_force == "ioc" else "DAY",
        "validity_ttl": 0,
        "product": product,
        "quantity": int(order.qty),
        "disclosed_quantity": 0,
        "price": number(order.price if order.kind == "limit" else 0),
        "trigger_price": number(order.price if order.kind == "stop" else 0),
        "average_price": number(order.average),
        "filled_quantity": int(order.filled),
        "pending_quantity": 0 if ended else int(order.left),
        "cancelled_quantity": int(order.left) if status == "CANCELLED" else 0,
        "market_protection": 0,
        "meta": {},
        "tag": tag or None,
        **({"tags": [tag]} if tag else {}),
        "guid": "rehearsal",
    }


def postback_shape(order: dict[str, Any]) -> dict[str, Any]:
    """Return an order as the ticker tells of it."""
    more = {"user_id": "RH0001", "app_id": 1, "checksum": "", "unfilled_quantity": 0}
    return {"type": "order", "data": {**more, **order}}


def trade_shape(trade: VenueTrade, one: Listing, product: str) -> dict[str, Any]:
    """Return a trade."""
    return {
        "trade_id": str(10_000_000 + trade.trade_id),
        "order_id": str(trade.venue_id),
        "exchange": one.exchange,
        "tradingsymbol": one.name,
        "instrument_token": one.token,
        "product": product,
        "average_price": number(trade.price),
        "quantity": int(trade.qty),
        "exchange_order_id": str(10**15 + trade.venue_id),
        "transaction_type": "BUY" if trade.side > 0 else "SELL",
        "fill_timestamp": stamp(trade.ts),
        "order_timestamp": stamp(trade.ts)[11:],
        "exchange_timestamp": stamp(trade.ts),
    }


def position_shape(
    one: Listing, product: str, held: Decimal, overnight: Decimal, average: Decimal | None
) -> dict[str, Any]:
    """Return a position; the parts that a rehearsal does not tell apart are 0."""
    zero = (
        "close_price", "last_price", "value", "pnl", "m2m", "unrealised", "realised",
        "buy_quantity", "buy_price", "buy_value", "buy_m2m", "sell_quantity", "sell_price",
        "sell_value", "sell_m2m", "day_buy_quantity", "day_buy_price", "day_buy_value",
        "day_sell_quantity", "day_sell_price", "day_sell_value",
    )  # fmt: skip
    return {
        "tradingsymbol": one.name,
        "exchange": one.exchange,
        "instrument_token": one.token,
        "product": product,
        "quantity": int(held),
        "overnight_quantity": int(overnight),
        "multiplier": number(one.multiplier),
        "average_price": number(average if held else 0),
        **dict.fromkeys(zero, 0),
    }


def holding_shape(one: Listing, opening: Decimal, sold: Decimal) -> dict[str, Any]:
    """Return a holding: what was there when the day began, and what was sold of it since."""
    return {
        "tradingsymbol": one.name,
        "exchange": one.exchange,
        "instrument_token": one.token,
        "isin": f"INE{one.token:09d}",
        "product": "CNC",
        "price": 0,
        "quantity": int(opening - sold),
        "used_quantity": int(sold),
        "t1_quantity": 0,
        "realised_quantity": int(opening),
        "authorised_quantity": 0,
        "authorised_date": "1970-01-01 00:00:00",
        "authorisation": {},
        "opening_quantity": int(opening),
        "short_quantity": 0,
        "collateral_quantity": 0,
        "collateral_type": "",
        "discrepancy": False,
        "average_price": 0,
        "last_price": 0,
        "close_price": 0,
        "pnl": 0,
        "day_change": 0,
        "day_change_percentage": 0,
    }


def charges_shape(asked: dict[str, Any], total: Decimal) -> dict[str, Any]:
    """Return an order's virtual contract note, with everything in the brokerage."""
    names = ("transaction_type", "tradingsymbol", "exchange", "variety", "product", "order_type")
    return {
        **{name: asked.get(name) for name in names},
        "quantity": asked["quantity"],
        "price": asked["average_price"],
        "charges": {
            "transaction_tax": 0,
            "transaction_tax_type": "stt",
            "exchange_turnover_charge": 0,
            "sebi_turnover_charge": 0,
            "brokerage": number(total),
            "stamp_duty": 0,
            "gst": {"igst": 0, "cgst": 0, "sgst": 0, "total": 0},
            "total": number(total),
        },
    }


def candle_start(ts: int, interval_ns: int) -> int:
    """Return when the candle begins that a time lies in: days at midnight, the rest with trading.

    A minute is a minute, but an hour begins at a quarter past.
    """
    first = -IST_NS + (0 if interval_ns == DAY_NS else SESSION_NS)
    return (ts - first) // interval_ns * interval_ns + first


def candles(
    bars: Sequence[Bar], begun: tuple[int, float] | None, interval_ns: int
) -> list[list[Any]]:
    """Return candles, the oldest first: begin in nanoseconds, open, high, low, close, volume.

    `begun` is when and at what price a bar has begun that is not over.
    """
    made: list[list[Any]] = []
    parts = [(b.ts_open, b.open, b.high, b.low, b.close, b.volume or 0.0) for b in bars]
    if begun is not None:
        ts, price = begun
        parts.append((ts, price, price, price, price, 0.0))
    for ts, open_, high, low, close, volume in parts:
        start = candle_start(ts, interval_ns)
        if not made or made[-1][0] != start:
            made.append([start, open_, high, low, close, volume])
            continue
        last = made[-1]
        made[-1] = [start, last[1], max(last[2], high), min(last[3], low), close, last[5] + volume]
    return made


def candle_shape(candle: Sequence[Any]) -> list[Any]:
    """Return a candle as `historical` has it."""
    begin = datetime.fromtimestamp(candle[0] // SECOND_NS, IST).strftime("%Y-%m-%dT%H:%M:%S%z")
    return [begin, *(number(exact(x)) for x in candle[1:])]
