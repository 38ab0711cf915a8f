"""The rehearsal exchange: one account at a venue that is made of bars.

Orders rest in the simulated venue that a backtest uses and meet bars exactly as they do there, so a
rehearsal cannot fill what a backtest would not. Around it stand what a venue has and a simulation
does not need: numbers and names of orders, refusals with a reason, decimal books, and listeners.

Everything happens when it is called and in this order: a bar's trades, then its orders, then the
bar itself is told. The clock is an input: it moves with the bars, and by `advance`. It never goes
back, and neither do the times of trades, since a client that asks "what since then" relies on it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar, Cancel, Fill, Order, OrderNotice
from onefold.domain.rules import AccountRules, Costs, Limits, StrategyRules
from onefold.domain.venue import Status
from onefold.fold.build import new_state, roster
from onefold.rehearsal.books import ZERO, Books, exact, on_grid
from onefold.sim.exchange import SimulatedVenue
from onefold.sim.venue import new_book

ACCOUNT = "account"
KINDS = ("market", "limit", "stop")
TIMES_IN_FORCE = ("gtc", "day", "gtd", "ioc")
BARS_KEPT = 10_000
"""Bars of each symbol that can be asked for; there may be twice as many."""
_ENDS: dict[str, Status] = {
    "cancelled": "cancelled",
    "rejected": "rejected",
    "expired": "expired",
}


class Refusal(Exception):  # noqa: N818 - it is an answer, not a failure
    """The exchange says no: `code` for programs, `reason` for people."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.reason, self.code = reason, code


@dataclass
class VenueOrder:
    """An order as the exchange knows it; quantities are in units."""

    venue_id: int
    client_id: str
    symbol: str
    side: int
    qty: Decimal
    kind: str
    price: Decimal | None
    time_in_force: str
    expire_ts: int | None
    reduce_only: bool
    created_ts: int
    updated_ts: int
    status: Status = "working"
    filled: Decimal = ZERO
    average: Decimal | None = None
    reason: str = ""

    @property
    def left(self) -> Decimal:
        """Return the units that have not been traded."""
        return self.qty - self.filled


class VenueTrade(NamedTuple):
    """One trade of an order; `fee` is in `fee_currency`."""

    trade_id: int
    venue_id: int
    client_id: str
    symbol: str
    side: int
    qty: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    ts: int


class VenuePayment(NamedTuple):
    """Money that the account received (negative: paid) other than by a trade."""

    payment_id: int
    ts: int
    amount: Decimal
    currency: str
    reason: str
    symbol: str


class Opening(NamedTuple):
    """A bar that has begun, and the price at which it did."""

    symbol: str
    ts: int
    price: float


Event = VenueOrder | VenueTrade | Opening | Bar
Listener = Callable[[Event], None]


class Exchange:
    """An account, its orders and the bars that they meet.

    `rates` as in `Books`. With `names_once` a client id can be used once for ever; without, it is
    free again when its order is done, as some venues have it. Raises `ConfigError` for a currency
    without a rate.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        cash: Decimal,
        currency: str,
        costs: Costs | None = None,
        *,
        rates: Mapping[str, Decimal] | None = None,
        names_once: bool = True,
        orders_max: int = 1_000,
    ) -> None:
        self.instruments = {one.symbol: one for one in instruments}
        self.currency = currency
        self.now_ns = 0
        self.bars: dict[str, list[Bar]] = {symbol: [] for symbol in self.instruments}
        self.begun: dict[str, Opening] = {}
        self.books = Books(instruments, cash, currency, rates or {})
        self._names_once, self._orders_max = names_once, orders_max
        self._orders: list[VenueOrder] = []
        self._working: dict[int, VenueOrder] = {}
        self._names: dict[str, VenueOrder] = {}
        self._trades: list[VenueTrade] = []
        self._payments: list[VenuePayment] = []
        self._listeners: list[Listener] = []
        self._parts: dict[int, VenueOrder] = {}
        self._held_lots: dict[int, int] = {}
        self._sent = 0
        self._halve_next = False
        limits = Limits(max_open_orders=orders_max)
        account = AccountRules(
            currency=currency, cash=float(cash), costs=costs or Costs(), limits=limits
        )
        names = roster(account, [ACCOUNT], instruments, [1] * len(instruments))
        plain = {name: float(rate) for name, rate in (rates or {}).items()}
        self._state = new_state(account, names, [StrategyRules()], rates=plain)
        self._venue = SimulatedVenue(new_book(account, names), names)
        self._restate()

    # -- what an account can ask for --------------------------------------------------------------

    def submit(
        self,
        client_id: str,
        symbol: str,
        side: int,
        qty: Decimal,
        kind: str = "market",
        price: Decimal | None = None,
        time_in_force: str = "gtc",
        expire_ts: int | None = None,
        reduce_only: bool = False,  # noqa: FBT001, FBT002 - it is the ticket's last field
    ) -> VenueOrder:
        """Take an order, which then waits for the next bar. Raises `Refusal`."""
        order = VenueOrder(
            venue_id=len(self._orders) + 1,
            client_id=client_id,
            symbol=symbol,
            side=side,
            qty=qty,
            kind=kind,
            price=price,
            time_in_force=time_in_force,
            expire_ts=expire_ts,
            reduce_only=reduce_only,
            created_ts=self.now_ns,
            updated_ts=self.now_ns,
        )
        halve, self._halve_next = self._halve_next, False
        lots = self._checked(order)
        self._orders.append(order)
        self._working[order.venue_id] = order
        if client_id:
            self._names[client_id] = order
        if halve and lots > 1:
            self._held_lots[order.venue_id] = lots - lots // 2
            lots //= 2
        self._send(order, lots)
        self._tell(order)
        return order

    def cancel(self, client_id: str | None = None, venue_id: int | None = None) -> VenueOrder:
        """Cancel a working order. Raises `Refusal` for one that is not there or is done."""
        order = self.order(client_id, venue_id)
        if order is None or order.status != "working":
            what = "there is no such order" if order is None else f"the order is {order.status}"
            raise Refusal(what, "unknown_order")
        self._held_lots.pop(order.venue_id, None)
        parts = [number for number, part in self._parts.items() if part is order]
        for number in parts:
            self._take(self._venue.send([Cancel(number, self.now_ns, order.symbol)]), asked=True)
        if not parts:
            self._end(order, "cancelled")
        return order

    def cancel_all(self, symbol: str | None = None) -> list[VenueOrder]:
        """Cancel all working orders, or those of one symbol."""
        return [self.cancel(venue_id=order.venue_id) for order in self.working(symbol)]

    def order(self, client_id: str | None = None, venue_id: int | None = None) -> VenueOrder | None:
        """Return an order by the client's name for it (the last of that name) or its number."""
        if venue_id is not None:
            return self._orders[venue_id - 1] if 0 < venue_id <= len(self._orders) else None
        return self._names.get(client_id or "")

    def orders(self, symbol: str | None = None) -> list[VenueOrder]:
        """Return all orders there ever were, the oldest first."""
        return [order for order in self._orders if symbol in (None, order.symbol)]

    def working(self, symbol: str | None = None) -> list[VenueOrder]:
        """Return the orders that may still fill, the oldest first."""
        return [order for order in self._working.values() if symbol in (None, order.symbol)]

    def trades(
        self, since_ts: int = 0, symbol: str | None = None, venue_id: int | None = None
    ) -> list[VenueTrade]:
        """Return trades from a time on, the oldest first."""
        first = bisect_left(self._trades, since_ts, key=lambda trade: trade.ts)
        return [
            trade
            for trade in self._trades[first:]
            if symbol in (None, trade.symbol) and venue_id in (None, trade.venue_id)
        ]

    def payments(self, since_ts: int = 0) -> list[VenuePayment]:
        """Return what was paid and received besides trades from a time on, the oldest first."""
        return [payment for payment in self._payments if payment.ts >= since_ts]

    def positions(self) -> dict[str, Decimal]:
        """Return the units held of every symbol; negative is short."""
        return {symbol: held.qty for symbol, held in self.books.positions.items()}

    def average(self, symbol: str) -> Decimal | None:
        """Return the average price of a position, None when there is none."""
        held = self.books.positions[symbol]
        return held.average if held.qty else None

    def cash(self) -> Decimal:
        """Return the cash in the account's currency."""
        return self.books.cash()

    def equity(self) -> Decimal:
        """Return cash plus positions at the last closes."""
        return self.books.equity(self.marks())

    def marks(self) -> dict[str, Decimal]:
        """Return the last price of every symbol that has one."""
        return {symbol: self._price(symbol) for symbol, bars in self.bars.items() if bars}

    def reserved(self) -> Decimal:
        """Return the cash that working purchases have to be paid with."""
        return sum((self._cost(order) for order in self.working()), ZERO)

    # -- what happens to it -----------------------------------------------------------------------

    def on_bar(self, bar: Bar) -> None:
        """Let a closed bar meet the orders, then tell of trades, orders and the bar.

        Raises `Refusal` for a symbol that is not listed.
        """
        self._listed(bar.instrument)
        self._meet(bar)
        self.begun.pop(bar.instrument, None)
        self._keep(bar)
        self._release(bar.instrument)
        self._tell(bar)

    def announce(self, bar: Bar) -> None:
        """Tell that a bar has begun, at its open; nothing fills before it has closed."""
        opening = Opening(bar.instrument, bar.ts_open, bar.open)
        self.begun[bar.instrument] = opening
        self._tell(opening)

    def advance(self, ts: int) -> None:
        """Move the clock forward."""
        self.now_ns = max(self.now_ns, ts)

    def pay(self, amount: Decimal, reason: str = "funding", symbol: str = "") -> VenuePayment:
        """Let the account receive (negative: pay) money of its currency, such as funding."""
        number = len(self._payments) + 1
        made = VenuePayment(number, self.now_ns, amount, self.currency, reason, symbol)
        self._payments.append(made)
        self.books.pay(amount)
        return made

    def listen(self, callback: Listener) -> Callable[[], None]:
        """Call back with everything that happens; return what ends it."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    # -- what a fault makes of it -----------------------------------------------------------------

    def halve_next(self) -> None:
        """Let the next order fill in two parts: half at its chance, the rest one bar later."""
        self._halve_next = True

    def touch(self, symbol: str) -> None:
        """Let the orders meet one more moment at the last price, between two bars."""
        if self.bars[symbol]:
            last = self.bars[symbol][-1]
            price, now = last.close, self.now_ns
            self._meet(Bar(symbol, now, now, price, price, price, price, last.volume))

    def trade_late(self, order: VenueOrder) -> None:
        """Report a trade of a cancelled order that the cancellation had overtaken."""
        price = order.price or (self._price(order.symbol) if self.bars[order.symbol] else None)
        if order.left and price is not None:
            self._trade(order, order.left, price)
            self._restate()

    # -- inside -----------------------------------------------------------------------------------

    def _checked(self, order: VenueOrder) -> int:
        """Return an order's lots. Raises `Refusal` for what no venue takes."""
        one = self._listed(order.symbol)
        if order.client_id and self._is_taken(order.client_id):
            raise Refusal(f"client id {order.client_id!r} was used before", "duplicate_client_id")
        if order.kind not in KINDS or order.time_in_force not in TIMES_IN_FORCE:
            raise Refusal(f"no {order.kind} order with {order.time_in_force}", "bad_order")
        if (order.price is None) != (order.kind == "market"):
            raise Refusal(f"a {order.kind} order needs its price, a market order none", "bad_order")
        if (order.expire_ts is None) == (order.time_in_force == "gtd"):
            raise Refusal("gtd needs a time at which it expires, the others none", "bad_order")
        if order.price is not None and one.tick > 0 and order.price % exact(one.tick):
            raise Refusal(f"price {order.price} is not a multiple of {one.tick:g}", "tick_size")
        lots = order.qty / exact(one.lot)
        if lots < 1:
            raise Refusal(f"quantity {order.qty} is below the least, {one.lot:g}", "min_qty")
        if lots != lots.to_integral_value():
            raise Refusal(f"quantity {order.qty} is not a multiple of {one.lot:g}", "lot_size")
        if len(self.working()) >= self._orders_max:
            raise Refusal(f"{self._orders_max} orders are working already", "too_many_orders")
        self._check_means(order, one)
        return int(lots)

    def _check_means(self, order: VenueOrder, one: Instrument) -> None:
        """Raise `Refusal` for an order that the account cannot pay for, or may not have."""
        held = self.books.positions[order.symbol].qty
        against = max(ZERO, -held * order.side)
        if order.reduce_only and not against:
            raise Refusal("there is no position to reduce", "reduce_only")
        if not one.short and order.side < 0:
            selling = sum(o.left for o in self.working(order.symbol) if o.side < 0)
            if order.qty + selling > max(ZERO, held):
                raise Refusal(f"only {held} of {order.symbol} are there to sell", "no_balance")
        if order.reduce_only or (order.price is None and not self.bars[order.symbol]):
            return
        if _paid_in_full(one):
            free = self.cash() - self.reserved()
            if self._cost(order) > free:
                raise Refusal(f"it costs {self._cost(order)}, {free} are free", "no_balance")
            return
        opening = max(ZERO, order.qty - against)
        free = self.equity() - self.books.margin(self.marks())
        needed = self.books.needed(order.symbol, opening, self._reference(order))
        if needed > free:
            raise Refusal(f"the margin is {needed}, {free} are free", "no_margin")

    def _cost(self, order: VenueOrder) -> Decimal:
        """Return what the rest of an order would cost in cash, 0 where it costs none."""
        one = self.instruments[order.symbol]
        known = order.price is not None or self.bars[order.symbol]
        if order.side < 0 or not _paid_in_full(one) or order.reduce_only or not known:
            return ZERO
        price = self._reference(order)
        value = self.books.value(order.symbol, order.left, price)
        return self.books.based(
            order.symbol, value + self.books.fee(order.symbol, order.left, price)
        )

    def _reference(self, order: VenueOrder) -> Decimal:
        return self._price(order.symbol) if order.price is None else order.price

    def _is_taken(self, client_id: str) -> bool:
        known = self._names.get(client_id)
        return known is not None and (self._names_once or known.status == "working")

    def _keep(self, bar: Bar) -> None:
        """Keep a bar, and let go of the oldest now and then: a rehearsal may last for months."""
        bars = self.bars[bar.instrument]
        bars.append(bar)
        if len(bars) >= 2 * BARS_KEPT:
            del bars[:-BARS_KEPT]

    def _listed(self, symbol: str) -> Instrument:
        if symbol not in self.instruments:
            raise Refusal(f"{symbol!r} is not listed here", "unknown_symbol")
        return self.instruments[symbol]

    def _price(self, symbol: str) -> Decimal:
        return on_grid(self.bars[symbol][-1].close, self.instruments[symbol].tick)

    def _send(self, order: VenueOrder, lots: int, *, touched: bool = False) -> None:
        """Hand lots of an order to the simulated venue; of a touched stop at the market."""
        self._sent += 1
        self._parts[self._sent] = order
        part = Order(
            id=self._sent,
            ts=self.now_ns,
            instrument=order.symbol,
            strategy=ACCOUNT,
            purpose="entry",
            side=order.side,
            qty=lots,
            order_kind="market" if touched else order.kind,
            price=None if order.price is None or touched else float(order.price),
            time_in_force=order.time_in_force,
            expire_ts=order.expire_ts,
            reduce_only=order.reduce_only,
        )
        self._take(self._venue.send([part]))

    def _release(self, symbol: str) -> None:
        """Send the part of halved orders that had to wait for the first part's trade."""
        going = {order.venue_id for order in self._parts.values()}
        for number in [n for n in self._held_lots if n not in going]:
            order = self._orders[number - 1]
            if order.symbol == symbol:
                self._send(order, self._held_lots.pop(number), touched=order.kind == "stop")

    def _meet(self, bar: Bar) -> None:
        """Let the orders meet a bar's open, then the rest of it."""
        self.advance(bar.ts_open)
        self._fund()
        self._take(self._venue.open(bar))
        self.advance(bar.ts)
        self._fund()
        self._take(self._venue.range(bar))

    def _fund(self) -> None:
        """Say how much there is to spend; the simulated venue looks it up at every bar."""
        self._state.currencies["cash"] = 0.0
        self._state.currencies["cash"][0] = max(0.0, float(self.cash()))

    def _restate(self) -> None:
        """Tell the simulated venue what is held."""
        for row, (symbol, one) in zip(self._state.sleeves, self.instruments.items(), strict=True):
            row["qty"] = int(self.books.positions[symbol].qty / exact(one.lot))
        self._venue.restate(self._state)

    def _take(self, answers: Iterable[Fill | OrderNotice], *, asked: bool = False) -> None:
        """Turn the simulated venue's answers into trades and ends of orders.

        `asked` says that the account wanted a cancellation; what is not filled of an ioc order
        expires by itself.
        """
        for answer in answers:
            order = self._parts[answer.order]
            if isinstance(answer, OrderNotice):
                self._parts.pop(answer.order)
                self._held_lots.pop(order.venue_id, None)
                dropped = answer.notice == "cancelled" and order.time_in_force == "ioc"
                self._end(order, _ENDS["expired" if dropped and not asked else answer.notice])
                continue
            one = self.instruments[order.symbol]
            self._trade(order, answer.qty * exact(one.lot), on_grid(answer.price, one.tick))
            waiting = self._held_lots.get(order.venue_id, 0) * exact(one.lot)
            if order.left == waiting:
                self._parts.pop(answer.order)

    def _end(self, order: VenueOrder, status: Status) -> None:
        order.status, order.updated_ts = status, self.now_ns
        self._working.pop(order.venue_id, None)
        if status == "rejected":
            order.reason = "the cash does not cover the rest"
        self._tell(order)

    def _trade(self, order: VenueOrder, qty: Decimal, price: Decimal) -> None:
        """Book a trade of an order and tell of it."""
        fee = self.books.trade(order.symbol, order.side, qty, price)
        paid = (order.average or ZERO) * order.filled + qty * price
        order.filled += qty
        order.average, order.updated_ts = paid / order.filled, self.now_ns
        if not order.left:
            order.status = "filled"
            self._working.pop(order.venue_id, None)
        trade = VenueTrade(
            trade_id=len(self._trades) + 1,
            venue_id=order.venue_id,
            client_id=order.client_id,
            symbol=order.symbol,
            side=order.side,
            qty=qty,
            price=price,
            fee=fee,
            fee_currency=self.instruments[order.symbol].currency,
            ts=self.now_ns,
        )
        self._trades.append(trade)
        self._tell(trade)
        self._tell(order)

    def _tell(self, event: Event) -> None:
        for listener in [*self._listeners]:
            listener(event)


def warm() -> None:
    """Run every compiled part once, so that no client waits for a compiler."""
    scratch = Exchange([Instrument(symbol="X")], Decimal(1), "USD")
    flat = Bar("X", 2, 1, 1.0, 1.0, 1.0, 1.0)
    scratch.submit("", "X", 1, Decimal(1))
    scratch.on_bar(flat)


def _paid_in_full(one: Instrument) -> bool:
    return one.margin_initial >= 1.0 and not one.margined
