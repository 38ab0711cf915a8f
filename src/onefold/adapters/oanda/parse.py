"""Between OANDA's messages and our words: pure functions, and the account as its transactions say.

At OANDA all that happens to an account is a numbered transaction, and only those tell the whole
story: an order that is done is not to be found by our name for it any more, and an order never says
how much of it is filled. So what we know of orders is a `Ledger` of transactions, whichever way
they came. Numbers are text and stay so; times have nine decimals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from onefold.domain.calendars import NEVER_CLOSES, SECOND_NS, seconds_to_close_at
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument
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

Transaction = Mapping[str, Any]

ABILITIES = Abilities(payments=True)

CREATES = frozenset(
    {"MARKET_ORDER", "LIMIT_ORDER", "STOP_ORDER", "MARKET_IF_TOUCHED_ORDER", "FIXED_PRICE_ORDER"}
)
FILL, CANCEL = "ORDER_FILL", "ORDER_CANCEL"
PAYMENTS = {
    "DAILY_FINANCING": ("financing", "financing"),
    "DIVIDEND_ADJUSTMENT": ("dividendAdjustment", "dividend"),
    # Where financing runs by the second, the rest of it is paid when a trade is closed.
    FILL: ("financing", "financing"),
}
"""The transactions that move money besides a trade: the field with the amount, and what it is for.

The amounts are of the account's money, and in its balance. Funds that are transferred are left out:
they are the user's own.
"""

_CANCELLED = frozenset(
    {"CLIENT_REQUEST", "CLIENT_REQUEST_REPLACED", "LINKED_TRADE_CLOSED", "MIGRATION"}
)
_TIMES_IN_FORCE = {"gtc": "GTC", "day": "GFD", "gtd": "GTD", "ioc": "IOC"}

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
GRANULARITIES = {
    **{f"S{n}": n for n in (5, 10, 15, 30)},
    **{f"M{n}": n * _MINUTE_S for n in (1, 2, 4, 5, 10, 15, 30)},
    **{f"H{n}": n * _HOUR_S for n in (1, 2, 3, 4, 6, 8, 12)},
    "D": _DAY_S,
    "W": 7 * _DAY_S,
}
"""The lengths of OANDA's bars in seconds; months are left out, for they have no length."""


# --- orders --------------------------------------------------------------------------------------


def order_request(ticket: Ticket, name: str) -> dict[str, Any]:
    """Return a ticket as OANDA takes it; `name` is OANDA's symbol.

    Raises `VenueRefused` for what OANDA cannot do, which is thereby never tried.
    """
    _check(ticket)
    market = ticket.kind == "market"
    order: dict[str, Any] = {
        "type": ticket.kind.upper(),
        "instrument": name,
        "units": f"{ticket.side * ticket.qty:f}",
        # Without it an account that may hold both sides would open the other one.
        "positionFill": "REDUCE_ONLY" if ticket.reduce_only else "REDUCE_FIRST",
        "timeInForce": _TIMES_IN_FORCE[ticket.time_in_force],
        "clientExtensions": {"id": ticket.client_id},
    }
    if market and ticket.time_in_force != "ioc":
        # A market order never rests at OANDA: all of it at once, or nothing.
        order["timeInForce"] = "FOK"
    if ticket.price is not None and not market:
        order["price"] = f"{ticket.price:f}"
    if ticket.expire_ts is not None and not market:
        order["gtdTime"] = stamp(ticket.expire_ts)
    return {"order": order}


def _check(ticket: Ticket) -> None:
    problem = ""
    if ticket.kind not in ABILITIES.kinds:
        problem = f"no {ticket.kind} orders"
    elif ticket.time_in_force not in ABILITIES.times_in_force:
        problem = f"no orders that are {ticket.time_in_force}"
    elif ticket.kind == "stop" and ticket.time_in_force == "ioc":
        problem = "no stop orders that are ioc"
    elif ticket.kind != "market" and ticket.price is None:
        problem = f"no {ticket.kind} orders without a price"
    elif ticket.time_in_force == "gtd" and ticket.expire_ts is None:
        problem = "no gtd orders without a time"
    if problem:
        raise VenueRefused(f"{ticket.symbol}: OANDA takes {problem}: not sent")


def made(answer: Mapping[str, Any]) -> list[Transaction]:
    """Return the transactions that an answer to an order carries, the oldest first.

    Raises `VenueUncertain` when the one that created the order is not among them.
    """
    first = part(answer, "orderCreateTransaction")
    later = [answer.get(name) for name in ("orderFillTransaction", "orderCancelTransaction")]
    return [first, *filter(None, later)]


def pending_report(order: Mapping[str, Any], symbol: str, filled: Decimal) -> OrderReport:
    """Return an order that may still fill as a report."""
    return OrderReport(
        client_id=_name(order),
        venue_id=text(order, "id"),
        symbol=symbol,
        status="working",
        filled=filled,
        ts=nanoseconds(order, "createTime"),
    )


def position_report(position: Mapping[str, Any], symbol: str) -> PositionReport | None:
    """Return what is held of an instrument over both sides, or None when it is nothing."""
    sides = [part(position, "long"), part(position, "short")]
    held = [side for side in sides if decimal(side, "units")]
    qty = sum((decimal(side, "units") for side in held), Decimal(0))
    if not qty:
        return None
    # An average over two sides would be a price that nobody paid.
    average = decimal(held[0], "averagePrice") if len(held) == 1 else None
    return PositionReport(symbol, qty, average)


def pages(answer: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the questions that a list of transactions is divided into."""
    return [dict(parse_qsl(urlsplit(str(page)).query)) for page in answer.get("pages", [])]


# --- the account ---------------------------------------------------------------------------------


@dataclass
class _Order:
    """What the transactions have said of an order so far."""

    venue_id: str
    client_id: str = ""
    symbol: str = ""
    units: Decimal | None = None
    ts: int = 0
    fills: dict[str, Decimal] = field(default_factory=dict)
    end: tuple[Status, str] | None = None

    @property
    def filled(self) -> Decimal:
        return sum(self.fills.values(), Decimal(0))


class Ledger:
    """The orders, trades and payments of an account, from its transactions.

    They may come in any order and any number of times.

    `ours` gives our symbol for OANDA's name; others keep theirs. `currency` is the account's.
    """

    def __init__(self, ours: Mapping[str, str], currency: str) -> None:
        self._ours, self._currency = ours, currency
        self._orders: dict[str, _Order] = {}
        self._names: dict[str, dict[str, _Order]] = {}
        self._trades: dict[str, TradeReport] = {}
        self._payments: dict[str, Transaction] = {}

    def symbol(self, order: Mapping[str, Any]) -> str:
        """Return our symbol for what an order or a transaction is about."""
        if "instrument" not in order and "tradeID" in order:
            return f"trade {order['tradeID']}"
        name = text(order, "instrument")
        return self._ours.get(name, name)

    def place(self, order: Mapping[str, Any]) -> None:
        """Take an order, as a list of orders or the transaction that created it has it."""
        if "units" not in order:
            return  # it closes one of OANDA's trades, and has the quantity of that
        known = self._order(text(order, "id"), _name(order))
        known.symbol = self.symbol(order)
        known.units = abs(decimal(order, "units"))
        created = "time" if "time" in order else "createTime"
        known.ts = max(known.ts, nanoseconds(order, created))

    def take(self, transaction: Transaction) -> None:
        """Take a transaction. Raises `VenueUncertain` for one that cannot be read.

        One that pays is not read before it is asked for: orders do not hang on it.
        """
        kind = transaction.get("type")
        if pays(transaction):
            self._payments[text(transaction, "id")] = transaction
        if kind in CREATES:
            self.place(transaction)
        elif kind == FILL:
            known = self._of(transaction)
            known.symbol = self.symbol(transaction)
            known.fills[text(transaction, "id")] = abs(decimal(transaction, "units"))
            for trade in trade_reports(transaction, known.symbol, self._currency):
                self._trades[trade.trade_id] = trade
        elif kind == CANCEL:
            self._of(transaction).end = _end(transaction)

    def told(self, transaction: Transaction) -> list[Report]:
        """Take a transaction and return what it says, whether it was known or not."""
        self.take(transaction)
        kind, reports = transaction.get("type"), list[Report]()
        if kind == FILL:
            symbol = self.symbol(transaction)
            reports += trade_reports(transaction, symbol, self._currency)
        if kind in CREATES or kind in (FILL, CANCEL):
            number = transaction.get("orderID") or transaction["id"]
            report = self._report(self._orders[str(number)])
            reports += [] if report is None else [report]
        return reports

    def found(self, client_id: str) -> OrderReport | None:
        """Return the order of that name, None when there is none.

        OANDA takes a name again once its order is done; then it is the last of them.
        """
        orders = self._names.get(client_id, {}).values()
        return self._report(max(orders, key=lambda order: order.ts)) if orders else None

    def known(self, venue_id: str) -> OrderReport | None:
        """Return the order of that number, None when there is none."""
        return self._report(self._orders[venue_id]) if venue_id in self._orders else None

    def filled(self, venue_id: str) -> Decimal:
        """Return how many units of an order are filled."""
        order = self._orders.get(venue_id)
        return Decimal(0) if order is None else order.filled

    def trades(self, since_ts: int) -> list[TradeReport]:
        """Return the trades from a time on, the oldest first."""
        found = [trade for trade in self._trades.values() if trade.ts >= since_ts]
        return sorted(found, key=lambda trade: trade.ts)

    def payments(self, since_ts: int) -> list[PaymentReport]:
        """Return what was paid and received from a time on, the oldest first.

        Raises `VenueUncertain` where one cannot be read.
        """
        reports = [
            payment_report(one, self.symbol(one) if "instrument" in one else "", self._currency)
            for one in self._payments.values()
        ]
        found = [report for report in reports if report.ts >= since_ts]
        return sorted(found, key=lambda report: report.ts)

    def _of(self, transaction: Transaction) -> _Order:
        name = str(transaction.get("clientOrderID") or "")
        order = self._order(text(transaction, "orderID"), name)
        order.ts = max(order.ts, nanoseconds(transaction, "time"))
        return order

    def _order(self, venue_id: str, client_id: str) -> _Order:
        order = self._orders.setdefault(venue_id, _Order(venue_id))
        if client_id:
            order.client_id = client_id
            self._names.setdefault(client_id, {})[venue_id] = order
        return order

    def _report(self, order: _Order) -> OrderReport | None:
        """Return an order as a report; None while nothing but its end is known."""
        if order.units is None:
            return None
        status, reason = order.end or ("working", "")
        if order.filled >= order.units:
            status, reason = "filled", ""
        elif status == "rejected" and order.fills:
            status = "cancelled"
        return OrderReport(
            client_id=order.client_id,
            venue_id=order.venue_id,
            symbol=order.symbol,
            status=status,
            filled=order.filled,
            reason=reason,
            ts=order.ts,
        )


def _end(cancel: Transaction) -> tuple[Status, str]:
    """Return how an order ended: by us, by its time, or because OANDA would not fill it."""
    reason = str(cancel.get("reason") or "")
    if reason == "TIME_IN_FORCE_EXPIRED":
        return "expired", reason
    return ("cancelled" if reason in _CANCELLED else "rejected"), reason


def trade_reports(fill: Transaction, symbol: str, currency: str) -> list[TradeReport]:
    """Return a fill as trades, one for each price; OANDA's own price is an average of them.

    Raises `VenueUncertain` where its parts do not make up its units.
    """
    units, number = decimal(fill, "units"), text(fill, "id")
    at: dict[Decimal, Decimal] = {}
    for one in _parts(fill):
        price = decimal(one if "price" in one else fill, "price")
        at[price] = at.get(price, Decimal(0)) + abs(decimal(one, "units"))
    if sum(at.values()) != abs(units) or not units:
        raise VenueUncertain(f"fill {number}: {units} units, but its parts are {at}")
    # Of the account's money; the half spread is in the price, and financing is a payment.
    fee = sum(
        (decimal(fill, name) for name in ("commission", "guaranteedExecutionFee") if name in fill),
        Decimal(0),
    )
    return [
        TradeReport(
            trade_id=number if len(at) == 1 else f"{number}.{place}",
            client_id=str(fill.get("clientOrderID") or ""),
            venue_id=text(fill, "orderID"),
            symbol=symbol,
            side=1 if units > 0 else -1,
            qty=qty,
            price=price,
            ts=nanoseconds(fill, "time"),
            fee=fee if place == 0 else Decimal(0),
            fee_currency=currency,
        )
        for place, (price, qty) in enumerate(at.items())
    ]


def pays(transaction: Transaction) -> bool:
    """Return whether a transaction moves money besides a trade, or should and does not say."""
    kind = str(transaction.get("type"))
    field_name, _ = PAYMENTS.get(kind, ("", ""))
    if not field_name or (kind == FILL and field_name not in transaction):
        return False
    return str(transaction.get(field_name)).strip("+-0.") != ""


def payment_report(transaction: Transaction, symbol: str, currency: str) -> PaymentReport:
    """Return a transaction that pays as a report. Raises `VenueUncertain`.

    Daily financing is taken as the total over all positions, and so is of no symbol.
    """
    field_name, reason = PAYMENTS[text(transaction, "type")]
    return PaymentReport(
        # The number alone is the name of a fill's trade already.
        payment_id=f"transaction-{text(transaction, 'id')}",
        ts=nanoseconds(transaction, "time"),
        amount=decimal(transaction, field_name),
        currency=currency,
        reason=reason,
        symbol=symbol,
    )


def _parts(fill: Transaction) -> list[Mapping[str, Any]]:
    """Return the trades of OANDA's that a fill closed, reduced and opened, or the fill itself."""
    several = [*(fill.get("tradesClosed") or []), fill.get("tradeReduced"), fill.get("tradeOpened")]
    return [one for one in several if one] or [fill]


# --- bars ----------------------------------------------------------------------------------------


def granularity(interval_ns: int, symbol: str) -> str:
    """Return OANDA's name of a length of bars. Raises `ConfigError` for one that it has not."""
    for name, length_s in GRANULARITIES.items():
        if length_s * SECOND_NS == interval_ns:
            return name
    raise ConfigError(
        f"{symbol}: OANDA has no bars of {interval_ns / SECOND_NS:g} s; it has "
        f"{', '.join(GRANULARITIES)}"
    )


def bar(candle: Mapping[str, Any], instrument: Instrument, interval_ns: int) -> Bar:
    """Return a candle as a bar of mid prices; its volume is the number of prices.

    Raises `VenueUncertain` where something is missing.
    """
    ts_open = nanoseconds(candle, "time")
    ts = ts_open + interval_ns
    left = seconds_to_close_at(instrument.calendar, ts, interval_ns)
    mid = part(candle, "mid")
    sides = ("bid", "ask")
    bid, ask = (_price(part(candle, one), "o") if one in candle else None for one in sides)
    return Bar(
        instrument=instrument.symbol,
        ts=ts,
        ts_open=ts_open,
        open=_price(mid, "o"),
        high=_price(mid, "h"),
        low=_price(mid, "l"),
        close=_price(mid, "c"),
        volume=_price(candle, "volume"),
        bid=bid,
        ask=ask,
        to_close_s=None if left == NEVER_CLOSES else left,
    )


# --- fields --------------------------------------------------------------------------------------


def nanoseconds(thing: Mapping[str, Any], name: str) -> int:
    """Return a time (RFC 3339, up to nine decimals) in nanoseconds UTC.

    Raises `VenueUncertain` when it is missing or none.
    """
    value = text(thing, name)
    seconds, _, fraction = value.removesuffix("Z").partition(".")
    try:
        whole_s = int(datetime.fromisoformat(seconds).replace(tzinfo=UTC).timestamp())
        return whole_s * SECOND_NS + int(fraction[:9].ljust(9, "0"))
    except ValueError as error:
        raise VenueUncertain(f"an answer with {value!r} for {name}") from error


def stamp(ts: int) -> str:
    """Return a time (nanoseconds UTC) as OANDA takes it."""
    seconds, rest = divmod(ts, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def decimal(thing: Mapping[str, Any], name: str) -> Decimal:
    """Return a number exactly. Raises `VenueUncertain` when it is missing or none."""
    value = text(thing, name)
    try:
        number = Decimal(value)
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite():
        raise VenueUncertain(f"an answer with {value!r} for {name}")
    return number


def part(thing: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return what a message has under a name. Raises `VenueUncertain` when it has not."""
    value = thing.get(name)
    if not isinstance(value, Mapping):
        raise VenueUncertain(f"an answer without {name!r}")
    return value


def rows(thing: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return a list that a message has under a name. Raises `VenueUncertain` when it has not."""
    value = thing.get(name)
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise VenueUncertain(f"an answer without {name!r}")
    return value


def text(thing: Mapping[str, Any], name: str) -> str:
    """Return what a message has under a name as text. Raises `VenueUncertain` for nothing."""
    value = thing.get(name)
    if value is None or value == "":
        raise VenueUncertain(f"an answer without {name!r}")
    return str(value)


def _price(thing: Mapping[str, Any], name: str) -> float:
    """Return a number of a bar, whose plausibility others judge."""
    value = text(thing, name)
    try:
        return float(value)
    except ValueError as error:
        raise VenueUncertain(f"an answer with {value!r} for {name}") from error


def _name(order: Mapping[str, Any]) -> str:
    return str((order.get("clientExtensions") or {}).get("id") or "")
