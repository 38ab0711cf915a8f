"""Between Kite's answers and our words: pure functions, tested on recorded payloads.

Kite's numbers are JSON numbers and its times are those of India without saying so. It has no client
order ids, but a tag of twenty letters and digits: our ids are packed into it, as numbers to another
base, and read back from it, so that a restart needs no memory of who named what.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

from onefold.adapters.ticks import Quote, Tick, Trade
from onefold.domain.calendars import NEVER_CLOSES, seconds_to_close_at
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar
from onefold.domain.venue import (
    Abilities,
    OrderReport,
    PositionReport,
    Status,
    Ticket,
    TradeReport,
)

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
DAY_NS = 86_400 * SECOND_NS
IST = timezone(timedelta(hours=5, minutes=30))
IST_NS = 19_800 * SECOND_NS

ABILITIES = Abilities(times_in_force=frozenset({"gtc", "day", "ioc"}), reduce_only=False)
"""Kite ends every order with its day. It takes gtc all the same, because exits have no other: what
is left at the close is cancelled by the exchange, and comes as a report."""

EXCHANGES = ("NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX")
_FINAL: dict[str, Status] = {
    "COMPLETE": "filled",
    "CANCELLED": "cancelled",
    "REJECTED": "rejected",
}


class Listing(NamedTuple):
    """An instrument as Kite lists it."""

    exchange: str
    name: str
    token: int
    tick: Decimal


def source_name(symbol: str, named: Mapping[str, str], exchange: str) -> tuple[str, str]:
    """Return exchange and name of one of our symbols. Raises `ConfigError`."""
    where, _, name = named.get(symbol, symbol).rpartition(":")
    where = where or exchange
    if where not in EXCHANGES or not name:
        raise ConfigError(f"symbols: {symbol} is {named.get(symbol)!r}, write it as NSE:INFY")
    return where, name


def listing(row: Mapping[str, Any]) -> Listing:
    """Return a row of the list of instruments."""
    tick = Decimal(str(row["tick_size"]))
    return Listing(row["exchange"], row["tradingsymbol"], int(row["instrument_token"]), tick)


# -- names -----------------------------------------------------------------------------------------

TAG_LENGTH = 20
NAME_MAX = 22
"""Characters of a client order id that a tag holds: 37^22 names are fewer than 62^20 tags."""

_OURS = "-0123456789abcdefghijklmnopqrstuvwxyz"
_TAGS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def tag_of(client_id: str) -> str:
    """Return the tag of an order. Raises `VenueRefused` for a name that no tag can hold."""
    if not 0 < len(client_id) <= NAME_MAX or not set(client_id) <= set(_OURS):
        raise VenueRefused(
            f"the order's name {client_id!r} does not fit into Kite's tag, which holds {NAME_MAX} "
            "small letters, digits and '-': not sent; give the account a shorter name"
        )
    number = 0
    for letter in client_id:
        # From 1 on, so that names of different lengths are different numbers.
        number = number * len(_OURS) + _OURS.index(letter) + 1
    tag = ""
    for _ in range(TAG_LENGTH):
        number, digit = divmod(number, len(_TAGS))
        tag = _TAGS[digit] + tag
    return tag


def name_of(tag: str | None) -> str:
    """Return the client order id in a tag, empty for a tag that is not ours."""
    if tag is None or len(tag) != TAG_LENGTH or not set(tag) <= set(_TAGS):
        return ""
    number = 0
    for letter in tag:
        number = number * len(_TAGS) + _TAGS.index(letter)
    name = ""
    while number:
        number, digit = divmod(number - 1, len(_OURS))
        name = _OURS[digit] + name
    return name if len(name) <= NAME_MAX else ""


# -- orders ----------------------------------------------------------------------------------------


def order_request(
    ticket: Ticket, one: Listing, product: str, market_protection: float
) -> dict[str, Any]:
    """Return a ticket as the arguments of `place_order`.

    Raises `VenueRefused` for what Kite cannot do, which is thereby never tried.
    """
    _check(ticket, one)
    request: dict[str, Any] = {
        "variety": "regular",
        "exchange": one.exchange,
        "tradingsymbol": one.name,
        "transaction_type": "BUY" if ticket.side > 0 else "SELL",
        "quantity": f"{int(ticket.qty)}",
        "product": product,
        "order_type": {"market": "MARKET", "limit": "LIMIT", "stop": "SL-M"}[ticket.kind],
        "validity": "IOC" if ticket.time_in_force == "ioc" else "DAY",
        "tag": tag_of(ticket.client_id),
    }
    if ticket.kind == "limit":
        request["price"] = f"{ticket.price:f}"
    else:
        request["market_protection"] = f"{market_protection:g}"
    if ticket.kind == "stop":
        request["trigger_price"] = f"{ticket.price:f}"
    return request


def _check(ticket: Ticket, one: Listing) -> None:
    problem = ""
    if ticket.kind not in ABILITIES.kinds:
        problem = f"no {ticket.kind} orders"
    elif ticket.time_in_force not in ABILITIES.times_in_force:
        problem = f"no orders that are {ticket.time_in_force}"
    elif ticket.kind == "stop" and ticket.time_in_force == "ioc":
        problem = "no stop orders that are ioc"
    elif ticket.reduce_only:
        problem = "no orders that only reduce"
    elif ticket.qty != ticket.qty.to_integral_value() or ticket.qty <= 0:
        problem = f"no quantity of {ticket.qty}, only whole ones: check lot of the instrument"
    elif ticket.kind != "market" and ticket.price is None:
        problem = f"no {ticket.kind} orders without a price"
    elif ticket.price is not None and ticket.price % one.tick:
        problem = f"no price of {ticket.price}, only steps of {one.tick}: check tick"
    if problem:
        raise VenueRefused(f"{ticket.symbol}: Kite takes {problem}: not sent")


def order_report(order: Mapping[str, Any], symbol: str) -> OrderReport:
    """Return an order of the day's list, or of a postback.

    A state that is not final is one of many on the way, in all of which the order may still fill.
    Raises `VenueUncertain` where something is missing.
    """
    state = _text(order, "status")
    return OrderReport(
        client_id=client_id_of(order),
        venue_id=_text(order, "order_id"),
        symbol=symbol,
        status=_FINAL.get(state, "working"),
        filled=_decimal(order.get("filled_quantity")),
        reason=str(order.get("status_message") or ""),
        ts=_ts(order, "order_timestamp"),
    )


def client_id_of(order: Mapping[str, Any]) -> str:
    """Return our name for an order, empty where we did not name it."""
    tags = [order.get("tag"), *(order.get("tags") or [])]
    return next(filter(None, map(name_of, tags)), "")


def trade_report(
    trade: Mapping[str, Any], symbol: str, client_id: str, fee: Decimal
) -> TradeReport:
    """Return a trade; raises `VenueUncertain` where it lacks something.

    Exchanges number trades anew each day, so the order's number is part of the trade's.
    """
    order_id = _text(trade, "order_id")
    return TradeReport(
        trade_id=f"{order_id}-{_text(trade, 'trade_id')}",
        client_id=client_id,
        venue_id=order_id,
        symbol=symbol,
        side=1 if _text(trade, "transaction_type") == "BUY" else -1,
        qty=_decimal(_text(trade, "quantity")),
        price=_decimal(_text(trade, "average_price")),
        ts=_ts(trade, "fill_timestamp"),
        fee=fee,
        fee_currency="INR" if fee else "",
    )


def by_time(trades: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return trades in the order in which they happened."""
    return sorted(
        map(dict, trades),
        key=lambda t: (_ts(t, "fill_timestamp"), len(str(t["trade_id"])), str(t["trade_id"])),
    )


def charge_requests(
    trades: Sequence[Mapping[str, Any]], order: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return what to ask to learn what each of an order's trades costs.

    Brokerage is by order and has an upper limit, so a trade costs what the order costs with it
    less what it costs without: the order is asked for as it was after each of its trades.
    """
    quantity = value = Decimal(0)
    requests = []
    for trade in trades:
        quantity += _decimal(trade["quantity"])
        value += _decimal(trade["quantity"]) * _decimal(trade["average_price"])
        requests.append(
            {
                "order_id": str(trade["order_id"]),
                "exchange": trade["exchange"],
                "tradingsymbol": trade["tradingsymbol"],
                "transaction_type": trade["transaction_type"],
                "variety": order.get("variety", "regular"),
                "product": trade["product"],
                "order_type": order.get("order_type", "MARKET"),
                "quantity": float(quantity),
                "average_price": float(value / quantity),
            }
        )
    return requests


def fees(notes: Sequence[Mapping[str, Any]]) -> list[Decimal]:
    """Return what each trade costs, of the answers to `charge_requests`."""
    totals = [_decimal((note.get("charges") or {}).get("total")) for note in notes]
    return [after - before for before, after in zip([Decimal(0), *totals], totals, strict=False)]


def position_reports(
    positions: Iterable[Mapping[str, Any]],
    holdings: Iterable[Mapping[str, Any]],
    listings: Mapping[str, Listing],
    product: str,
) -> list[PositionReport]:
    """Return what is held of our symbols under the product that is traded.

    Delivered shares are holdings: those that the day began with, and what the day's positions have
    added or sold. They lie in one depository, whichever exchange they came from.
    """
    kept = {str(h["tradingsymbol"]): _decimal(h.get("opening_quantity")) for h in holdings}
    rows = [row for row in positions if row.get("product") == product]
    reports = []
    for symbol, one in listings.items():
        place = (one.exchange, one.name)
        mine = [row for row in rows if (row["exchange"], row["tradingsymbol"]) == place]
        held = kept.get(one.name, Decimal(0)) if product == "CNC" else Decimal(0)
        qty = held + sum((_decimal(row.get("quantity")) for row in mine), Decimal(0))
        if qty:
            # Of what was held before, the day's positions do not know the price.
            known = len(mine) == 1 and not held
            average = _decimal(mine[0].get("average_price")) if known else None
            reports.append(PositionReport(symbol, qty, average or None))
    return reports


def day_of(ts: int) -> int:
    """Return the number of a time's day in India."""
    return (ts + IST_NS) // DAY_NS


# -- bars ------------------------------------------------------------------------------------------

INTERVALS: dict[int, tuple[str, int]] = {
    MINUTE_NS: ("minute", 60),
    3 * MINUTE_NS: ("3minute", 100),
    5 * MINUTE_NS: ("5minute", 100),
    10 * MINUTE_NS: ("10minute", 100),
    15 * MINUTE_NS: ("15minute", 200),
    30 * MINUTE_NS: ("30minute", 200),
    60 * MINUTE_NS: ("60minute", 400),
    DAY_NS: ("day", 2_000),
}
"""Kite's name of each interval, and how many days of it one question may ask for."""

STREAMED = frozenset(n * MINUTE_NS for n in (1, 3, 5, 15))
"""Intervals that begin with the clock. Longer candles begin with the session, a quarter past."""


def interval_name(interval_ns: int, symbol: str, *, stream: bool) -> str:
    """Return Kite's name of an interval. Raises `ConfigError` where it has none."""
    minutes = interval_ns / MINUTE_NS
    if interval_ns not in INTERVALS:
        known = ", ".join(name for name, _ in INTERVALS.values())
        raise ConfigError(f"{symbol}: Kite has no bars of {minutes:g} minutes, only {known}")
    if stream and interval_ns not in STREAMED:
        raise ConfigError(
            f"{symbol}: bars of {minutes:g} minutes begin with the session at Kite and cannot be "
            "made from its ticker: set stream: false"
        )
    return INTERVALS[interval_ns][0]


def bar(candle: Mapping[str, Any], instrument: Instrument, interval_ns: int) -> Bar:
    """Return a candle of the client as a bar; a day lasts until midnight in India."""
    ts_open = round(candle["date"].timestamp()) * SECOND_NS
    ts = ts_open + interval_ns
    left = seconds_to_close_at(instrument.calendar, ts, interval_ns)
    return Bar(
        instrument=instrument.symbol,
        ts=ts,
        ts_open=ts_open,
        open=float(candle["open"]),
        high=float(candle["high"]),
        low=float(candle["low"]),
        close=float(candle["close"]),
        volume=float(candle["volume"]),
        to_close_s=None if left == NEVER_CLOSES else left,
    )


def stamp(ts: int) -> str:
    """Return a time as Kite wants it in questions."""
    return datetime.fromtimestamp(ts // SECOND_NS, IST).strftime("%Y-%m-%d %H:%M:%S")


# -- ticks -----------------------------------------------------------------------------------------

_WORD = struct.Struct(">I")
_SIZE = struct.Struct(">H")
_LEVEL = struct.Struct(">2I")
_DIVISORS = {3: 10_000_000.0, 6: 10_000.0, 12: 10_000.0}
_INDEX_FULL, _FULL = 32, 184


class Snapshot(NamedTuple):
    """What the ticker says of an instrument at a moment: no trade, but where trading has got to.

    `volume` is what was traded so far today, None for an index; `traded_ts` when that changed last.
    """

    token: int
    price: float
    traded_ts: int
    ts: int
    volume: int | None = None
    bid: float = 0.0
    ask: float = 0.0


def snapshots(message: bytes) -> list[Snapshot]:
    """Return the snapshots of a binary message; a heartbeat has none.

    https://kite.trade/docs/connect/v3/websocket/. Raises `VenueUncertain` for a message that ends
    early. Packets in other than the full mode, which have no time, are passed over.
    """
    if len(message) < _SIZE.size:
        return []
    found, at = [], _SIZE.size
    for _ in range(_SIZE.unpack_from(message)[0]):
        if len(message) < at + _SIZE.size:
            raise VenueUncertain("the ticker's message ends early")
        size = _SIZE.unpack_from(message, at)[0]
        packet = message[at + _SIZE.size : at + _SIZE.size + size]
        at += _SIZE.size + size
        if len(packet) < size:
            raise VenueUncertain("the ticker's message ends early")
        if size in (_INDEX_FULL, _FULL):
            found.append(_snapshot(packet))
    return found


def _snapshot(packet: bytes) -> Snapshot:
    def word(at: int) -> int:
        return int(_WORD.unpack_from(packet, at)[0])

    token = word(0)
    divisor = _DIVISORS.get(token & 0xFF, 100.0)
    price = word(4) / divisor
    if len(packet) == _INDEX_FULL:
        ts = word(28) * SECOND_NS
        return Snapshot(token, price, ts, ts)
    best = [_LEVEL.unpack_from(packet, at) for at in (64, 124)]
    bid, ask = (cents / divisor if quantity else 0.0 for quantity, cents in best)
    return Snapshot(token, price, word(44) * SECOND_NS, word(60) * SECOND_NS, word(16), bid, ask)


class Meter:
    """Turn the snapshots of one instrument into ticks: what was traded between two of them."""

    def __init__(self) -> None:
        self._volume: int | None = None

    def ticks(self, now: Snapshot) -> Iterator[Tick]:
        """Yield the quote of a snapshot, and its trade where there was one since the last.

        Of the first snapshot nobody knows what was traded when, so it only begins the count.
        """
        if 0.0 < now.bid <= now.ask:  # crossed before the opening: those are no offers yet
            yield Quote(now.ts, now.bid, now.ask)
        if now.volume is None:
            yield Trade(now.traded_ts, now.price, 0.0)
            return
        before, self._volume = self._volume, now.volume
        if before is None or now.volume == before:
            return
        # A new day begins at 0.
        size = now.volume - before if now.volume > before else now.volume
        yield Trade(now.traded_ts, now.price, float(size))


# -- parts -----------------------------------------------------------------------------------------


def _text(thing: Mapping[str, Any], name: str) -> str:
    value = thing.get(name)
    if value is None or value == "":
        raise VenueUncertain(f"an answer without {name!r}")
    return str(value)


def _decimal(value: Any) -> Decimal:
    try:
        return Decimal(0) if value is None or value == "" else Decimal(str(value))
    except ArithmeticError as error:
        raise VenueUncertain(f"an answer with {value!r} for a number") from error


def _ts(thing: Mapping[str, Any], name: str) -> int:
    """Return a time of India, which the client may have read already, in nanoseconds UTC."""
    value = thing.get(name)
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as error:
        raise VenueUncertain(f"an answer with {value!r} for a time") from error
    return int(moment.replace(tzinfo=IST).timestamp()) * SECOND_NS
