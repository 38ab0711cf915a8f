"""The orders of one account at a real venue: between our records and the venue's words.

The fold knows orders by number and lots; a venue knows them by text and units, tells things twice,
late and out of order. The blotter gives every order its name for the venue, and turns what the
venue reports into records that are each true once: a trade that was counted is not counted again,
an order that is over stays over. It reads no clock and sends nothing; it is rebuilt by showing it
the records of the journal, so a restart knows every order and trade of before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument, Kind
from onefold.domain.records import (
    Action,
    Adoption,
    Cancel,
    Command,
    Fill,
    Handover,
    Order,
    OrderNotice,
    Quarantined,
    Record,
)
from onefold.domain.venue import (
    Abilities,
    OrderReport,
    PaymentReport,
    Report,
    Ticket,
    TradeReport,
)

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
NAME_MAX = 32
"""Characters of a client order id; what every venue takes, or can be mapped to."""
FOREIGN_FEE = "foreign_fee"
FOREIGN_PAYMENT = "foreign_payment"
KEPT_NS = 86_400 * 1_000_000_000
"""How long what is over is remembered, from the last agreement with the venue back."""
PAYMENTS_KEPT_NS = 14 * KEPT_NS
"""The same for payments, which venues enter days later."""
OVER = {"cancelled": "cancelled", "rejected": "rejected", "expired": "expired"}
"""Final states of a report that are notices; `filled` is not one, since its trades say it."""

_NS_PER_S = 1_000_000_000
Made = Fill | OrderNotice | Quarantined | Adoption
PAID = "payment"


def base36(number: int) -> str:
    """Return a whole number in digits and small letters."""
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = ALPHABET[digit] + text
        if number == 0:
            return text


@dataclass
class Placed:
    """One order and how far the venue's reports of it have come."""

    order: Order
    client_id: str
    left: int
    state: str = "sent"
    venue_id: str = ""
    owed: Decimal = Decimal(0)
    """Units that the venue says are filled beyond the trades that we have been told of."""
    cancelling: bool = False
    """A cancel is recorded: it is asked for until the order is over."""
    ending: str = ""
    """The final notice that waits until those trades have come."""
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Return whether it may still fill."""
        return self.state in {"sent", "working", "unknown"}


class Blotter:
    """The orders of an account that may still fill, and those that were over not long ago.

    `account` and `born_ts` (the time of the journal's first record) name its orders for ever: the
    order's number in the journal is the rest of the name, so a restart cannot mint a second one.
    `shared` are the symbols in which several strategies hold positions of their own, `currencies`
    those of the books besides the instruments'. What has been over for a day when books and venue
    agree is forgotten: if the venue tells something new of it, it speaks of an order that has long
    been settled, and that halts the account.
    """

    def __init__(
        self,
        account: str,
        born_ts: int,
        instruments: Sequence[Instrument],
        shared: Collection[str] = (),
        currencies: Collection[str] = (),
    ) -> None:
        self._shared, self._born_ts = frozenset(shared), born_ts
        self._prefix = f"{account}-{base36(born_ts // _NS_PER_S)}-".replace("_", "")
        self._lots: Mapping[str, Decimal] = {i.symbol: Decimal(str(i.lot)) for i in instruments}
        self._ticks = {i.symbol: Decimal(str(i.tick)).normalize() for i in instruments}
        self._currencies = {i.symbol: i.currency for i in instruments}
        self._coins = {i.symbol for i in instruments if i.kind is Kind.CRYPTO and not i.margined}
        self._known_currencies = {*currencies, *self._currencies.values()}
        self._placed: dict[int, Placed] = {}
        self._open: dict[int, Placed] = {}
        self._by_client: dict[str, Placed] = {}
        self._trades: set[tuple[str, str]] = set()
        self._broken: set[tuple[str, str]] = set()
        self._over: deque[tuple[int, Placed]] = deque()
        self._counted: deque[tuple[int, tuple[str, str]]] = deque()
        self._fills = 0
        self._paid: dict[str, int] = {}
        self._parts = dict.fromkeys(self._lots, Decimal(0))
        self.agreed_ts = born_ts
        """When books and venue last agreed; trades from before are known."""

    def client_id(self, order: int) -> str:
        """Return our name for an order at the venue."""
        name = self._prefix + base36(order)
        if len(name) > NAME_MAX:
            raise ConfigError(f"the account's name is too long for order ids: {name!r}")
        return name

    def placed(self, order: int) -> Placed:
        """Return what is known of an order by its number."""
        return self._placed[order]

    def known(self, client_id: str) -> Placed | None:
        """Return what is known of an order by our name for it."""
        return self._by_client.get(client_id)

    def open(self) -> list[Placed]:
        """Return the orders that may still fill, the oldest first."""
        return list(self._open.values())

    def remember(self, record: Record) -> None:
        """Take over what a record says: once, however often it is shown."""
        if isinstance(record, Order):
            placed = Placed(record, self.client_id(record.id), record.qty)
            self._placed[record.id] = self._by_client[placed.client_id] = placed
            self._open[record.id] = placed
        elif isinstance(record, Cancel) and record.order in self._open:
            self._open[record.order].cancelling = True
        elif isinstance(record, Fill):
            self._remember_fill(record)
        elif isinstance(record, OrderNotice) and record.order in self._placed:
            placed = self._placed[record.order]
            if placed.is_open:
                self._turn(
                    placed, "working" if record.notice == "accepted" else record.notice, record.ts
                )
        elif isinstance(record, Action) and record.id:
            self._paid[record.id] = record.ts
        elif isinstance(record, Adoption):
            key = (record.instrument, record.trade)
            if record.trade and key not in self._broken:
                self._broken.add(key)
                self._parts[record.instrument] -= self.units(record.instrument, record.qty)
        elif isinstance(record, Handover):
            self._take_over(record)
        elif isinstance(record, Command) and record.command == "reconciled":
            self.agreed(record.ts)

    def _take_over(self, handover: Handover) -> None:
        """Go on with the orders, trades and payments that the journal before knew."""
        for one in handover.orders:
            self.remember(one.order)
            placed = self._placed[one.order.id]
            placed.left = one.order.qty - int(one.slot["filled"] or 0)
            placed.state, placed.venue_id = one.state, one.venue_id
            placed.cancelling = bool(one.slot["cancelling"])
        for symbol, trade, ts in handover.trades:
            self._trades.add((symbol, trade))
            self._counted.append((ts, (symbol, trade)))
        self._paid.update(handover.payments)
        self._parts.update({s: Decimal(units) for s, units in handover.parts.items()})
        self._fills = int(handover.account["fills"] or 0)
        self.agreed_ts = handover.agreed_ts

    def left_over(self) -> dict[str, Any]:
        """Return what a `Handover` has of the blotter's memory, besides its open orders."""
        return {
            "born_ts": self._born_ts,
            "agreed_ts": self.agreed_ts,
            "trades": [(symbol, trade, ts) for ts, (symbol, trade) in self._counted],
            "payments": dict(self._paid),
            "parts": {symbol: str(units) for symbol, units in self._parts.items() if units},
        }

    def agreed(self, ts: int) -> None:
        """Take note that books and venue agreed at a time, and forget what was over long before."""
        self.agreed_ts = ts
        while self._over and self._over[0][0] < ts - KEPT_NS:
            _, placed = self._over.popleft()
            del self._placed[placed.order.id], self._by_client[placed.client_id]
        while self._counted and self._counted[0][0] < ts - KEPT_NS:
            _, trade = self._counted.popleft()
            self._trades.discard(trade)
            self._broken.discard(trade)
        old = [name for name, paid in self._paid.items() if paid < ts - PAYMENTS_KEPT_NS]
        for name in old:
            del self._paid[name]

    def _turn(self, placed: Placed, state: str, ts: int) -> None:
        placed.state = state
        if not placed.is_open:
            del self._open[placed.order.id]
            self._over.append((ts, placed))

    def _remember_fill(self, fill: Fill) -> None:
        if (fill.instrument, fill.trade) in self._trades:
            return
        self._fills = max(self._fills, fill.id)
        self._trades.add((fill.instrument, fill.trade))
        self._counted.append((fill.ts, (fill.instrument, fill.trade)))
        if fill.in_kind:
            self._parts[fill.instrument] -= Decimal(fill.in_kind)
        placed = self._placed.get(fill.order)
        if placed is None:
            return
        placed.left -= fill.qty
        placed.owed = max(Decimal(0), placed.owed - self.units(fill.instrument, fill.qty))
        if placed.left <= 0 and placed.is_open:
            self._turn(placed, "filled", fill.ts)

    def ticket(self, order: Order, abilities: Abilities) -> Ticket:
        """Return an order in the venue's words. Raises `ConfigError` for what it cannot do."""
        if order.order_kind not in abilities.kinds:
            raise ConfigError(f"this venue takes no {order.order_kind} orders")
        if order.time_in_force not in abilities.times_in_force:
            raise ConfigError(f"this venue takes no orders {order.time_in_force!r}")
        return Ticket(
            client_id=self.client_id(order.id),
            symbol=order.instrument,
            side=order.side,
            qty=order.qty * self._lots[order.instrument],
            kind=order.order_kind,
            price=None if order.price is None else self._on_grid(order),
            time_in_force=order.time_in_force,
            expire_ts=order.expire_ts,
            reduce_only=self._may_say_reduce_only(order, abilities),
        )

    def _may_say_reduce_only(self, order: Order, abilities: Abilities) -> bool:
        """Return whether the venue is told that an order only reduces.

        A venue knows the account's net position alone: where several strategies hold an instrument,
        it would refuse an exit of one against what another holds.
        """
        return order.reduce_only and abilities.reduce_only and order.instrument not in self._shared

    def _on_grid(self, order: Order) -> Decimal:
        """Return the price without what floats add to it: a whole number of ticks."""
        price, tick = Decimal(repr(order.price)), self._ticks[order.instrument]
        return round(price / tick) * tick if tick else price

    def lots(self, symbol: str, units: Decimal) -> tuple[int, Decimal]:
        """Return units as whole lots, and what is left over."""
        lots = units / self._lots[symbol]
        whole = int(lots)
        return whole, lots - whole

    def units(self, symbol: str, lots: int) -> Decimal:
        """Return lots in units."""
        return lots * self._lots[symbol]

    def heard(self, report: Report, now_ts: int) -> list[Made]:
        """Return the records that a report makes: none when all of it was known already.

        They are remembered at once, since the same report may come again before they have reached
        the journal. What cannot be ours or right comes back as `Quarantined`, which says why.
        """
        records = self._made_of(report, now_ts)
        for record in records:
            self.remember(record)
        return records

    def _made_of(self, report: Report, now_ts: int) -> list[Made]:
        placed = self._by_client.get(report.client_id)
        if placed is None:
            return self._stranger(report, now_ts)
        if placed.order.instrument != report.symbol:
            return [_refused(report, now_ts, "wrong_symbol", f"order of {placed.order.instrument}")]
        if report.venue_id:
            placed.venue_id = report.venue_id
        if isinstance(report, TradeReport):
            return self._traded(placed, report, now_ts)
        return self._stated(placed, report, now_ts)

    def _stranger(self, report: Report, now_ts: int) -> list[Made]:
        """Return what a report makes of an order not remembered: ours of long ago, or foreign."""
        if isinstance(report, TradeReport) and self._is_counted(report):
            return []  # of an order that was over before a handover
        is_ours = report.client_id.startswith(self._prefix)
        if is_ours and isinstance(report, OrderReport) and report.status != "working":
            return []
        reason = "settled_long_ago" if is_ours else "foreign_order"
        return [_refused(report, now_ts, reason, f"{report.client_id!r}")]

    def _traded(self, placed: Placed, report: TradeReport, now_ts: int) -> list[Made]:
        order = placed.order
        if self._is_counted(report):
            return []
        lots, rest = divmod(report.qty, self._lots[report.symbol])
        if rest or lots <= 0 or report.side != order.side or not report.price.is_finite():
            detail = f"{report.side:+d} x {report.qty} at {report.price}"
            return [_refused(report, now_ts, "impossible_trade", detail)]
        in_cash = not report.fee or report.fee_currency in ("", self._currencies[report.symbol])
        in_kind = not in_cash and self._is_of(report.symbol, report.fee_currency)
        fill = Fill(
            id=self._fills + 1,
            order=order.id,
            ts=max(report.ts, order.ts),
            instrument=order.instrument,
            strategy=order.strategy,
            side=order.side,
            qty=int(lots),
            price=float(report.price),
            fee=float(report.fee) if in_cash else 0.0,
            trade=report.trade_id,
            in_kind=str(report.fee) if in_kind else "",
        )
        if in_kind:
            return [fill, *self._kept(fill, report.fee)]
        if not in_cash:  # from another pocket: the books of this one are exact without it
            detail = f"a fee of {report.fee} {report.fee_currency}"
            return [fill, _refused(report, now_ts, FOREIGN_FEE, detail)]
        return [fill]

    def _is_counted(self, report: TradeReport) -> bool:
        return (report.symbol, report.trade_id) in self._trades

    def paid(self, report: PaymentReport, now_ts: int) -> list[Action | Quarantined]:
        """Return the record that a payment makes: none when it is known, or from before us.

        One in a currency that the books do not have comes back as `Quarantined`.
        """
        if report.payment_id in self._paid or report.ts < self._born_ts:
            return []
        name, amount = report.payment_id, float(report.amount)
        if report.currency in self._known_currencies:
            made = Action(report.ts, PAID, amount, "", report.currency, name, report.reason)
            self.remember(made)
            return [made]
        self._paid[name] = report.ts
        detail = f"{report.reason} of {report.amount} {report.currency}"
        return [Quarantined(report.symbol, now_ts, FOREIGN_PAYMENT, detail)]

    def _is_of(self, symbol: str, currency: str) -> bool:
        """Return whether a currency is the coin itself: paid in full, and named after it."""
        return symbol in self._coins and symbol.upper().startswith(currency.upper())

    def _kept(self, fill: Fill, fee: Decimal) -> list[Adoption]:
        """Return what takes the lots that a fee in kind has broken out of the books, for nothing.

        What is left of the last of them stays as parts of a lot, until later fees use it up.
        """
        missing = fee - self._parts[fill.instrument]
        lots = int((missing / self._lots[fill.instrument]).to_integral_value(ROUND_CEILING))
        if lots <= 0:
            return []
        return [
            Adoption(
                ts=fill.ts,
                instrument=fill.instrument,
                strategy=fill.strategy,
                qty=-lots,
                price=0.0,
                reason="fee in kind",
                operator="engine",
                trade=fill.trade,
            )
        ]

    def parts(self, symbol: str) -> Decimal:
        """Return the units that the venue holds beyond whole lots, since fees broke some."""
        return self._parts[symbol]

    def _stated(self, placed: Placed, report: OrderReport, now_ts: int) -> list[Made]:
        """Return a notice when a report brings an order on; its end waits for its trades."""
        filled = self.units(report.symbol, placed.order.qty - placed.left)
        placed.owed = max(Decimal(0), report.filled - filled)
        if not placed.is_open:
            return []
        if report.status == "working":
            if placed.state == "working":
                return []
            return [_notice(placed.order, "accepted", now_ts, "")]
        placed.ending, placed.reason = OVER.get(report.status, ""), report.reason
        return [] if placed.owed else self.settled(now_ts, placed)

    def settled(self, now_ts: int, placed: Placed) -> list[Made]:
        """Return the end of an order that was put off until all of its trades were known."""
        if not (placed.ending and placed.is_open) or placed.owed:
            return []
        ended = _notice(placed.order, placed.ending, now_ts, placed.reason)
        self.remember(ended)
        return [ended]

    def owed(self) -> list[Placed]:
        """Return the orders of which the venue knows trades that we do not."""
        return [p for p in self._placed.values() if p.owed]


def _notice(order: Order, notice: str, ts: int, reason: str) -> OrderNotice:
    return OrderNotice(
        order=order.id, ts=ts, instrument=order.instrument, notice=notice, reason=reason
    )


def refused(order: Order, ts: int, reason: str) -> OrderNotice:
    """Return the notice of an order that was not sent, or that the venue did not take."""
    return _notice(order, "rejected", ts, reason)


def unknown(order: Order, ts: int, reason: str) -> OrderNotice:
    """Return the notice of an order of which nobody knows what became."""
    return _notice(order, "unknown", ts, reason)


def _refused(report: Report, ts: int, reason: str, detail: str) -> Quarantined:
    what = f"trade {report.trade_id}" if isinstance(report, TradeReport) else report.status
    text = f"{what} of order {report.venue_id}: {detail}"
    return Quarantined(instrument=report.symbol, ts=ts, reason=reason, detail=text)
