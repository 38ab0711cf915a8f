"""The account as OANDA keeps it: one log of transactions, from which all else follows.

At OANDA an order has the number of the transaction that created it. Here orders have the numbers
of the exchange, and all other transactions are counted from a billion; so what comes after what is
told by the place in the log, never by comparing numbers, and clients must not compare them either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from onefold.rehearsal.books import ZERO
from onefold.rehearsal.exchange import (
    Event,
    Exchange,
    Refusal,
    VenueOrder,
    VenuePayment,
    VenueTrade,
)
from onefold.rehearsal.faces.oanda.access import stamp
from onefold.rehearsal.faces.oanda.markets import Market

OWN = 1_000_000_000
"""The number of the first transaction that is no order."""

Transaction = dict[str, Any]
Listener = Callable[[Transaction], None]

KINDS = {"market": "MARKET", "limit": "LIMIT", "stop": "STOP"}
TIMES_IN_FORCE = {"gtc": "GTC", "day": "GFD", "gtd": "GTD", "ioc": "IOC"}
CREATES = frozenset(f"{kind}_ORDER" for kind in KINDS.values())
_ENDS = {
    "cancelled": "CLIENT_REQUEST",
    "expired": "TIME_IN_FORCE_EXPIRED",
    "rejected": "INSUFFICIENT_MARGIN",
}


class Entry(NamedTuple):
    """A transaction, and when it was."""

    ts: int
    transaction: Transaction


class Log:
    """All transactions of the account, made of what the exchange tells.

    It tells of no payments, so they are entered before anything else is, and before one looks.
    """

    def __init__(self, exchange: Exchange, markets: Mapping[str, Market], account: str) -> None:
        self._exchange, self._markets, self._account = exchange, markets, account
        self._entries: list[Entry] = []
        self._places: dict[str, int] = {}
        self._listeners: list[Listener] = []
        self._stillborn: dict[int, VenueOrder] = {}
        self._ended: set[int] = set()
        self._held: dict[str, tuple[str, Decimal]] = {}
        self._count = OWN
        self._paid = 0
        self._add({"id": str(OWN), "type": "CREATE", "homeCurrency": exchange.currency})
        exchange.listen(self._hear)

    @property
    def last_id(self) -> str:
        """Return the number of the last transaction."""
        self._enter_payments()
        return str(self._entries[-1].transaction["id"])

    @property
    def place(self) -> int:
        """Return how many transactions there are."""
        self._enter_payments()
        return len(self._entries)

    def listen(self, callback: Listener) -> Callable[[], None]:
        """Call back with every transaction; return what ends it."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def entries(self, first: int = 0, last: int | None = None) -> list[Entry]:
        """Return the transactions of these places in the log."""
        self._enter_payments()
        return self._entries[first:last]

    def place_of(self, number: str) -> int:
        """Return where a transaction is in the log. Raises `Refusal` when there is none."""
        if number not in self._places:
            raise Refusal("id", "invalid")
        return self._places[number]

    def order(self, number: int) -> VenueOrder | None:
        """Return an order, whether it ever came to the exchange or not."""
        return self._stillborn.get(number) or self._exchange.order(venue_id=number)

    def stillborn(self, order: VenueOrder) -> None:
        """Create an order and cancel it at once: OANDA looks for margin when it fills."""
        order.venue_id = self._next()
        order.status = "rejected"
        self._stillborn[order.venue_id] = order
        self._hear(order)

    # -- inside -----------------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        self._enter_payments()
        if isinstance(event, VenueTrade):
            order = self._exchange.order(venue_id=event.venue_id)
            if order is not None:
                self._create(order)
                self._add(self._fill(order, event))
        elif isinstance(event, VenueOrder):
            self._create(event)
            if event.status in _ENDS and event.venue_id not in self._ended:
                self._ended.add(event.venue_id)
                self._add(self._cancel(event))

    def _enter_payments(self) -> None:
        new = self._exchange.payments()[self._paid :]
        self._paid += len(new)
        for payment in new:
            self._add(self._payment(payment), payment.ts)

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _add(self, transaction: Transaction, ts: int | None = None) -> None:
        ts = self._exchange.now_ns if ts is None else ts
        common = {
            "time": stamp(ts),
            "userID": 1,
            "accountID": self._account,
            "batchID": transaction["id"],
            "requestID": f"rehearsal-{transaction['id']}",
        }
        self._places[transaction["id"]] = len(self._entries)
        self._entries.append(Entry(ts, {**common, **transaction}))
        for listener in [*self._listeners]:
            listener(self._entries[-1].transaction)

    def _create(self, order: VenueOrder) -> None:
        if str(order.venue_id) not in self._places:
            kind = f"{KINDS[order.kind]}_ORDER"
            facts = order_facts(order, self._markets[order.symbol])
            self._add({**facts, "type": kind, "reason": "CLIENT_ORDER"})

    def _cancel(self, order: VenueOrder) -> Transaction:
        return {
            "id": str(self._next()),
            "type": "ORDER_CANCEL",
            **_about(order),
            "reason": _ENDS[order.status],
        }

    def _payment(self, payment: VenuePayment) -> Transaction:
        """Return a payment as financing, or as what an index pays instead of a dividend."""
        about = {}
        if payment.symbol:
            about = {"instrument": self._markets[payment.symbol].name}
        facts = {
            "id": str(self._next()),
            "accountBalance": f"{self._exchange.books.equity({}):f}",
        }
        amount = f"{payment.amount:f}"
        if payment.reason == "dividend":
            adjusted = {"dividendAdjustment": amount, "openTradeDividendAdjustments": []}
            return {**facts, "type": "DIVIDEND_ADJUSTMENT", **about, **adjusted}
        parts = [{**about, "financing": amount, "openTradeFinancings": []}] if about else []
        return {
            **facts,
            "type": "DAILY_FINANCING",
            "financing": amount,
            "accountFinancingMode": "DAILY",
            "positionFinancings": parts,
        }

    def _fill(self, order: VenueOrder, trade: VenueTrade) -> Transaction:
        market = self._markets[trade.symbol]
        number, price = str(self._next()), market.price(trade.price)
        parts, profit = self._parts(trade, number, price)
        places = market.units_places
        return {
            "id": number,
            "type": "ORDER_FILL",
            **_about(order),
            "instrument": market.name,
            "units": f"{trade.qty * trade.side:.{places}f}",
            "requestedUnits": f"{order.qty * order.side:.{places}f}",
            "price": price,
            "fullVWAP": price,
            "reason": f"{KINDS[order.kind]}_ORDER",
            "pl": f"{profit:f}",
            "financing": "0.0000",
            "commission": f"{trade.fee:f}",
            "guaranteedExecutionFee": "0.0000",
            "accountBalance": f"{self._exchange.books.equity({}):f}",
            "halfSpreadCost": "0.0000",
            **parts,
        }

    def _parts(self, trade: VenueTrade, number: str, price: str) -> tuple[Transaction, Decimal]:
        """Return which of OANDA's trades a fill closes, reduces and opens, and the profit."""
        signed = trade.qty * trade.side
        after = self._exchange.positions()[trade.symbol]
        before = after - signed
        opener, average = self._held.get(trade.symbol, (number, trade.price))
        closing = min(abs(before), trade.qty) if before * signed < 0 else ZERO
        profit = (trade.price - average) * -closing * trade.side
        parts: Transaction = {}
        if closing:
            closed = {"tradeID": opener, "units": f"{closing * trade.side:f}", "price": price}
            closed |= {"realizedPL": f"{profit:f}", "financing": "0.0000"}
            parts = {"tradesClosed": [closed]} if closing == abs(before) else {}
            parts = parts or {"tradeReduced": closed}
        opening = trade.qty - closing
        if opening:
            units = f"{opening * trade.side:f}"
            parts["tradeOpened"] = {"tradeID": number, "units": units, "price": price}
        began = number if before * after <= 0 else opener
        self._held[trade.symbol] = (began, self._exchange.average(trade.symbol) or ZERO)
        return parts, profit


def order_facts(order: VenueOrder, market: Market) -> Transaction:
    """Return what an order and the transaction that created it have in common."""
    facts: Transaction = {
        "id": str(order.venue_id),
        "instrument": market.name,
        "units": f"{order.qty * order.side:.{market.units_places}f}",
        "timeInForce": TIMES_IN_FORCE[order.time_in_force],
        "positionFill": "REDUCE_ONLY" if order.reduce_only else "DEFAULT",
    }
    if order.price is not None:
        facts |= {"price": market.price(order.price), "triggerCondition": "DEFAULT"}
    if order.expire_ts is not None:
        facts["gtdTime"] = stamp(order.expire_ts)
    if order.client_id:
        facts["clientExtensions"] = {"id": order.client_id}
    return facts


def _about(order: VenueOrder) -> Transaction:
    named = {"clientOrderID": order.client_id} if order.client_id else {}
    return {"orderID": str(order.venue_id), **named}
