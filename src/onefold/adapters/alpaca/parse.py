"""Between Alpaca's JSON and our words: pure functions, tested on recorded payloads.

A trade has two names at Alpaca, an execution in the stream and an activity when asked for, and no
document says that they are related. What both tell is the order and how much of it was filled with
this trade; as that only grows, the two together name a trade wherever it is heard of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from onefold.adapters.closed import source_symbols
from onefold.domain.calendars import DAY_NS, NEVER_CLOSES, SECOND_NS, seconds_to_close_at
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument, Kind
from onefold.domain.records import Bar
from onefold.domain.venue import (
    Abilities,
    OrderReport,
    PaymentReport,
    PositionReport,
    Report,
    Status,
    Ticket,
    TradeReport,
)

MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS

SHARES = Abilities(
    times_in_force=frozenset({"day", "gtc", "ioc"}), reduce_only=False, payments=True
)
COINS = Abilities(
    kinds=frozenset({"market", "limit"}),
    times_in_force=frozenset({"gtc", "ioc"}),
    reduce_only=False,
    payments=True,
)
"""What Alpaca can do; an account with both kinds can do what both can."""

_STATUS: dict[str, Status] = {
    "accepted": "working",
    "accepted_for_bidding": "working",
    "calculated": "working",
    "canceled": "cancelled",
    # It goes on the next day, or ends by another word.
    "done_for_day": "working",
    "expired": "expired",
    "filled": "filled",
    "held": "working",
    "new": "working",
    "partially_filled": "working",
    "pending_cancel": "working",
    "pending_new": "working",
    "pending_replace": "working",
    "pending_review": "working",
    "rejected": "rejected",
    # What replaces it is another order.
    "replaced": "cancelled",
    "stopped": "working",
    "suspended": "working",
}
_TRADES = ("fill", "partial_fill")

_DIVIDENDS = "DIV"
"""How the types of dividends begin, and of what is withheld from them."""
_PAYMENTS = {
    "CFEE": "fee of a coin",
    "FEE": "fee",
    "INT": "interest",
    "INTNRA": "interest",
    "INTTW": "interest",
    "PTC": "fee passed on",
    "PTR": "rebate passed on",
}
"""The other activities that are payments, and what for: all that Alpaca has are documented at
https://docs.alpaca.markets/docs/account-activities. Left out are the user's own money (CSD, CSW,
JNLC, ACATC), and what changes positions as well (CIL, MA, REORG, SPIN, SPLIT, options).
"""
_DONE = ("executed", "correct", "")
"""The states of an activity that has happened; by hand (`correct`) is as good as by itself."""


class Asset(NamedTuple):
    """What Alpaca says of a symbol; quantities and prices are multiples of the steps."""

    name: str
    coin: bool
    qty_step: Decimal = Decimal(1)
    price_step: Decimal | None = None


def abilities(instruments: Iterable[Instrument]) -> Abilities:
    """Return what an account with these instruments can do."""
    kinds = {one.kind for one in instruments}
    return COINS if Kind.CRYPTO in kinds else SHARES


def names(instruments: Mapping[str, Instrument], named: Mapping[str, str]) -> dict[str, str]:
    """Return Alpaca's name of each instrument. Raises `ConfigError` for what it does not trade."""
    found = source_symbols(instruments, named)
    for symbol, one in instruments.items():
        if one.kind not in (Kind.EQUITY, Kind.CRYPTO):
            raise ConfigError(f"Alpaca has shares and coins only: {symbol} is of kind {one.kind}")
        name = found[symbol]
        if one.kind is Kind.CRYPTO and "/" not in name and name.endswith(one.currency):
            found[symbol] = f"{name.removesuffix(one.currency)}/{one.currency}"
    return source_symbols(instruments, found)


def asset(payload: Mapping[str, Any], one: Instrument) -> Asset:
    """Return the facts of an asset. Raises `ConfigError` where ours contradict them."""
    name, coin = str(payload.get("symbol")), payload.get("class") == "crypto"
    if payload.get("class") != ("crypto" if one.kind is Kind.CRYPTO else "us_equity"):
        raise ConfigError(
            f"{one.symbol} is of kind {one.kind}: at Alpaca {name} is {payload.get('class')}"
        )
    if payload.get("status") != "active" or not payload.get("tradable"):
        raise ConfigError(f"{one.symbol}: Alpaca does not trade {name} any more")
    lot = Decimal(str(one.lot))
    step = _decimal(payload.get("min_trade_increment") or 1) if coin else Decimal(1)
    if lot % step:
        raise ConfigError(f"{one.symbol}: a lot of {lot} is no multiple of Alpaca's {step}")
    price = payload.get("price_increment") if coin else None
    return Asset(name, coin, step, None if price is None else _decimal(price))


# --- orders out ----------------------------------------------------------------------------------


def order_request(ticket: Ticket, facts: Asset, able: Abilities) -> dict[str, str]:
    """Return a ticket as Alpaca takes it, all numbers as text.

    Raises `VenueRefused` for what Alpaca would refuse, which is thereby never tried.
    """
    problem = _problem(ticket, able) or _off_grid(ticket, facts)
    if problem:
        raise VenueRefused(f"{ticket.symbol}: {problem}: not sent")
    request = {
        "symbol": facts.name,
        "qty": f"{ticket.qty:f}",
        "side": "buy" if ticket.side > 0 else "sell",
        "type": ticket.kind,
        "time_in_force": ticket.time_in_force,
        "client_order_id": ticket.client_id,
    }
    if ticket.price is not None:
        request[f"{ticket.kind}_price"] = f"{ticket.price:f}"
    return request


def _problem(ticket: Ticket, able: Abilities) -> str:
    if ticket.kind not in able.kinds:
        return f"Alpaca takes no {ticket.kind} orders here"
    if ticket.time_in_force not in able.times_in_force:
        return f"Alpaca takes no orders that are {ticket.time_in_force} here"
    if ticket.kind == "stop" and ticket.time_in_force == "ioc":
        return "Alpaca takes no stop orders that are ioc"
    if ticket.reduce_only:
        return "Alpaca takes no orders that only reduce"
    if (ticket.price is None) != (ticket.kind == "market"):
        return f"a {ticket.kind} order and the price {ticket.price} do not go together"
    return ""


def _off_grid(ticket: Ticket, facts: Asset) -> str:
    if ticket.qty % facts.qty_step:
        return f"{ticket.qty} is no multiple of {facts.qty_step}"
    if ticket.price is None:
        return ""
    # https://docs.alpaca.markets/docs/orders-at-alpaca, sub-penny increments
    penny = Decimal("0.01") if ticket.price >= 1 else Decimal("0.0001")
    step = facts.price_step if facts.coin else penny
    if step and ticket.price % step:
        return f"the price {ticket.price} is no multiple of {step}"
    return ""


# --- reports in ----------------------------------------------------------------------------------


def order_report(order: Any, symbol: str) -> OrderReport:
    """Return an order as a report. Raises `VenueUncertain` for what cannot be read."""
    state = _text(order, "status")
    status, filled, qty = _STATUS.get(state), _decimal(order.get("filled_qty")), order.get("qty")
    if status is None:
        raise VenueUncertain(f"order {order.get('id')}: state {state!r} is not known")
    if status == "working" and qty is not None and filled >= _decimal(qty):
        # Done with, whatever is still calculated.
        status = "filled"
    after = order.get("replaced_by")
    return OrderReport(
        client_id=_text(order, "client_order_id"),
        venue_id=_text(order, "id"),
        symbol=symbol,
        status=status,
        filled=filled,
        reason=f"replaced by {after}" if state == "replaced" else "",
        ts=ts_ns(order.get("updated_at") or _text(order, "created_at")),
    )


def activity_report(
    activity: Mapping[str, Any], symbol: str, currency: str, client_id: str
) -> TradeReport:
    """Return a trade of the account's activities. Raises `VenueUncertain`."""
    venue_id = _text(activity, "order_id")
    names = (_trade_id(venue_id, activity.get("cum_qty")), client_id, venue_id)
    return _trade(activity, "transaction_time", names, symbol, currency)


def update_reports(update: Mapping[str, Any], symbol: str, currency: str) -> list[Report]:
    """Return what a message of `trade_updates` reports: a trade where it is one, and the order."""
    order = update.get("order") or {}
    report = order_report(order, symbol)
    if update.get("event") not in _TRADES:
        return [report]
    venue_id = report.venue_id
    names = (_trade_id(venue_id, order.get("filled_qty")), report.client_id, venue_id)
    trade = {**update, "side": order.get("side")}
    return [_trade(trade, "timestamp", names, symbol, currency), report]


def _trade_id(venue_id: str, filled: Any) -> str:
    qty = _decimal(filled)
    if not qty:
        raise VenueUncertain(f"a trade that fills nothing of order {venue_id}")
    return f"{venue_id}:{qty.normalize():f}"


def _trade(
    trade: Mapping[str, Any], time: str, names: tuple[str, str, str], symbol: str, currency: str
) -> TradeReport:
    side = {"buy": 1, "sell": -1, "sell_short": -1}.get(_text(trade, "side"))
    if side is None:
        raise VenueUncertain(f"a trade on the side {trade['side']!r}")
    trade_id, client_id, venue_id = names
    return TradeReport(
        trade_id=trade_id,
        client_id=client_id,
        venue_id=venue_id,
        symbol=symbol,
        side=side,
        qty=_decimal(_text(trade, "qty")),
        price=_decimal(_text(trade, "price")),
        ts=ts_ns(_text(trade, time)),
        # Alpaca tells no fee with a trade.
        fee_currency=currency,
    )


def payment_report(activity: Mapping[str, Any], symbol: str, currency: str) -> PaymentReport | None:
    """Return an activity as a payment, or None where it moves no money or is none.

    A fee that was taken in coins has the amount 0: it changes the position. `currency` is the
    account's. Raises `VenueUncertain`.
    """
    kind = _text(activity, "activity_type")
    reason = "dividend" if kind.startswith(_DIVIDENDS) else _PAYMENTS.get(kind, "")
    if not reason or str(activity.get("status") or "") not in _DONE:
        return None
    amount = _decimal(_text(activity, "net_amount"))
    if not amount:
        return None
    return PaymentReport(
        payment_id=f"activity-{_text(activity, 'id')}",
        ts=_paid_ts(activity),
        amount=amount,
        currency=str(activity.get("currency") or currency),
        reason=reason,
        symbol=symbol,
    )


def _paid_ts(activity: Mapping[str, Any]) -> int:
    """Return when money moved: when the activity was entered, else the end of its day (UTC).

    Alpaca does not say of all activities when they were entered. The day's end is no sooner than
    any trade that a fee of the day is for, so an account that began on that day counts it; it may
    be in the future, and is not told until it is over.
    """
    if activity.get("created_at"):
        return ts_ns(activity["created_at"])
    day = ts_ns(_text(activity, "date"))
    return day - day % DAY_NS + DAY_NS - 1


def position_report(position: Mapping[str, Any], symbol: str) -> PositionReport:
    """Return a position in units, negative where it is short. Raises `VenueUncertain`."""
    qty, average = abs(_decimal(_text(position, "qty"))), position.get("avg_entry_price")
    side = {"long": 1, "short": -1}.get(_text(position, "side"))
    if side is None:
        raise VenueUncertain(f"a position in {symbol} on the side {position['side']!r}")
    return PositionReport(symbol, side * qty, None if average is None else _decimal(average))


# --- bars ----------------------------------------------------------------------------------------


def timeframe(interval_ns: int, *, coin: bool) -> tuple[int, str]:
    """Return an interval as Alpaca's count and unit.

    Raises `ConfigError` for one that it has not, or of which nobody has said when it begins: hours
    in twos and more, and days of coins.
    """
    minutes = interval_ns // MINUTE_NS
    if 0 < interval_ns < HOUR_NS and HOUR_NS % interval_ns == 0 and interval_ns % MINUTE_NS == 0:
        return minutes, "Min"
    if interval_ns == HOUR_NS:
        return 1, "Hour"
    if interval_ns == DAY_NS and not coin:
        return 1, "Day"
    has = "minutes that divide an hour, and 1h" + ("" if coin else " and 1d")
    raise ConfigError(f"Alpaca has no bars of {interval_ns / SECOND_NS:g} s here; it has {has}")


def bar(payload: Mapping[str, Any], instrument: Instrument, interval_ns: int) -> Bar:
    """Return a bar of an answer or of the stream. Raises `VenueUncertain`."""
    ts_open = ts_ns(payload.get("t"))
    ts = ts_open + interval_ns
    left = seconds_to_close_at(instrument.calendar, ts, interval_ns)
    try:
        open_, high, low, close = (float(payload[name]) for name in ("o", "h", "l", "c"))
        volume = None if payload.get("v") is None else float(payload["v"])
    except (KeyError, TypeError, ValueError) as error:
        raise VenueUncertain(f"a bar of {instrument.symbol} that cannot be read") from error
    return Bar(
        instrument=instrument.symbol,
        ts=ts,
        ts_open=ts_open,
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        to_close_s=None if left == NEVER_CLOSES else left,
    )


# --- words ---------------------------------------------------------------------------------------


def ts_ns(moment: Any) -> int:
    """Return a time (RFC 3339 text, or MessagePack's) in nanoseconds UTC. Raises `VenueUncertain`.

    Alpaca writes up to nine digits after the point, of which `datetime` would keep six.
    """
    if hasattr(moment, "to_unix_nano"):
        return int(moment.to_unix_nano())
    whole, _, rest = str(moment).partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    try:
        seconds = datetime.fromisoformat(whole + rest[digits:])
    except ValueError as error:
        raise VenueUncertain(f"an answer with {moment!r} for a time") from error
    if seconds.tzinfo is None:
        seconds = seconds.replace(tzinfo=UTC)
    return int(seconds.timestamp()) * SECOND_NS + int(rest[:digits].ljust(9, "0")[:9])


def text_of(ns: int) -> str:
    """Return a time in nanoseconds UTC as Alpaca is asked with it, to the second before."""
    return f"{datetime.fromtimestamp(ns // SECOND_NS, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _text(thing: Any, name: str) -> str:
    value = thing.get(name) if isinstance(thing, Mapping) else None
    if value is None or value == "":
        raise VenueUncertain(f"an answer of Alpaca without {name!r}")
    return str(value)


def _decimal(value: Any) -> Decimal:
    try:
        number = Decimal(0) if value is None or value == "" else Decimal(str(value))
    except ArithmeticError as error:
        raise VenueUncertain(f"an answer with {value!r} for a number") from error
    if not number.is_finite():
        raise VenueUncertain(f"an answer with {value!r} for a number")
    return number
