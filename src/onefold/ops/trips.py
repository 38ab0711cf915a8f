"""Round trips as they happen: what each fill of a live session has made, exactly as the books say.

`views.trades` folds all fills of a run at once; somebody who is to be told of an exit must know it
when it fills. So this is the same arithmetic one record at a time, without waiting for the fold:
rates are those that the fold is about to use. A position that was there before (a restart, a
handover) goes on from the books' own sums. *Inputs*: records in their order, before they are
folded. *Output*: parts of orders that have filled, and trips that have come to their end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from onefold.domain.records import Action, Adoption, Fill, Order, OrderNotice
from onefold.domain.words import OrderState, Purpose
from onefold.engine.session import Session

NS_PER_S = 1_000_000_000

Sleeve = tuple[str, str]
"""A strategy and a symbol."""


class Part(NamedTuple):
    """What has filled of an order, or of several before the next bar, in sum.

    `side` is that of the position, 1 or -1; `held` its signed lots afterwards. `pnl` is what
    leaving has made less its fees, in the account's currency, and 0 where the part `enters`.
    """

    sleeve: Sleeve
    enters: bool
    side: int
    lots: int
    price: float
    pnl: float
    held: int
    purpose: str
    ts: int


class Trip(NamedTuple):
    """A whole round trip, with the columns of `views.trades`; money in the account's currency."""

    sleeve: Sleeve
    side: int
    lots: int
    entry_price: float
    exit_price: float
    pnl: float
    pnl_percent: float
    fees: float
    seconds: float
    reason: str
    ts: int


Moves = list[Part | Trip]


@dataclass(slots=True)
class _Trade:
    """A round trip of one sleeve in the making: the fields of `views.trades.TRADE`."""

    side: int
    entry_ts: int
    position: int = 0
    entry_qty: int = 0
    exit_qty: int = 0
    entry_value: float = 0.0
    exit_value: float = 0.0
    cost: float = 0.0
    pnl: float = 0.0
    fees: float = 0.0
    entry_base: float = 0.0

    def enter(self, qty: int, price: float, fee: float, rate: float, point: float) -> None:
        """Add lots; the fee is in the account's currency, as P&L is."""
        self.cost += qty * price
        self.position += qty
        self.entry_qty += qty
        self.entry_value += qty * price
        self.entry_base += abs(qty * price) * point * rate
        self.pnl -= fee
        self.fees += fee

    def leave(self, qty: int, price: float, fee: float, rate: float, point: float) -> float:
        """Take lots out at the average cost; return what that has made."""
        cost = self.cost * (qty / self.position)
        made = self.side * (qty * price - cost) * point * rate - fee
        self.cost -= cost
        self.position -= qty
        self.exit_qty += qty
        self.exit_value += qty * price
        self.pnl += made
        self.fees += fee
        return made

    def split(self, ratio: float) -> None:
        """Multiply the lots; parts of a lot are paid out as income, not as a trade."""
        whole = math.floor(self.position * ratio + 1e-9)  # as the fold counts them
        self.cost *= whole / (self.position * ratio)
        self.position = whole
        self.entry_qty = round(self.entry_qty * ratio)
        self.exit_qty = round(self.exit_qty * ratio)

    def roll(self, gap: float, made: float) -> None:
        """Move to the next contract, whose price is `gap` higher; `made` is what it costs, < 0."""
        self.cost += self.position * gap
        self.pnl += made
        self.fees -= made

    def ended(self, sleeve: Sleeve, purpose: str, ts: int) -> Trip:
        """Return the trip, now that nothing is held any more."""
        return Trip(
            sleeve,
            self.side,
            self.exit_qty,
            self.entry_value / self.entry_qty if self.entry_qty else math.nan,
            self.exit_value / self.exit_qty if self.exit_qty else math.nan,
            self.pnl,
            100.0 * self.pnl / self.entry_base if self.entry_base else math.nan,
            self.fees,
            (ts - self.entry_ts) / NS_PER_S,
            # An entry the other way ends a trade because the strategy's signal turned.
            "signal" if purpose == "entry" else purpose,
            ts,
        )


@dataclass(slots=True)
class _Tally:
    """What has filled and was not told yet."""

    lots: int = 0
    value: float = 0.0
    pnl: float = 0.0
    side: int = 0
    ts: int = 0
    purpose: str = ""


@dataclass(slots=True)
class Working:
    """An order that may still fill."""

    sleeve: Sleeve
    purpose: str
    left: int


class Trips:
    """The round trips of a session, from the moment at which it has recovered.

    A fill is told in sum with others when its order is done, or at the next bar of its symbol.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        names = session.names
        self._strategies = {name: n for n, name in enumerate(names.strategies)}
        self._symbols = {name: n for n, name in enumerate(names.symbols)}
        self._points = [i.point_value for i in names.instruments]
        self._trades: dict[Sleeve, _Trade] = {}
        self._orders: dict[int, Working] = {}
        self._entering: dict[Sleeve, _Tally] = {}
        self._leaving: dict[Sleeve, _Tally] = {}
        self._after_fold: Callable[[], None] | None = None
        self._take_books()

    def settle(self) -> None:
        """Finish what waits for the fold of the last record; call it before the next is heard."""
        if self._after_fold is not None:
            finish, self._after_fold = self._after_fold, None
            finish()

    def handed_over(self) -> None:
        """Take the books over once a handover is folded."""
        self._after_fold = self._take_books

    def _take_books(self) -> None:
        """Go on from what the books hold, and from the orders that may fill."""
        state, names = self._session.state, self._session.names
        for n, row in enumerate(state.sleeves):
            if row["qty"]:
                s, i = divmod(n, len(names.symbols))
                self._trades[names.strategies[s], names.symbols[i]] = _taken(row)
        for slot in state.orders[state.orders["state"] != OrderState.FREE]:
            sleeve = names.strategies[slot["strategy"]], names.symbols[slot["instrument"]]
            purpose = Purpose(slot["purpose"]).name.lower()
            left = int(slot["qty"] - slot["filled"])
            self._orders[int(slot["id"])] = Working(sleeve, purpose, left)

    # -- records ----------------------------------------------------------------------------------

    def order(self, order: Order) -> None:
        """Take note of an order."""
        sleeve = order.strategy, order.instrument
        self._orders[order.id] = Working(sleeve, order.purpose, order.qty)

    def fill(self, fill: Fill) -> Moves:
        """Enter a fill."""
        sleeve = fill.strategy, fill.instrument
        order = self._orders.get(fill.order)
        # What nobody asked for counts as ordered by hand, as in the books.
        purpose = "command" if order is None else order.purpose
        moves = self._traded(sleeve, purpose, fill)
        if order is not None:
            order.left -= fill.qty
            if order.left > 0:
                return moves
            del self._orders[fill.order]
        return [*moves, *self._summed(sleeve)]

    def gone(self, notice: OrderNotice) -> tuple[Working | None, Moves]:
        """Forget an order that works no more; return it, and what had filled of it."""
        order = self._orders.pop(notice.order, None)
        return order, [] if order is None else self._summed(order.sleeve)

    def adoption(self, adoption: Adoption) -> Moves:
        """Enter lots that were put into the books at a price, and cost nothing else."""
        sleeve = adoption.strategy, adoption.instrument
        side = 1 if adoption.qty > 0 else -1
        lots = abs(adoption.qty)
        fill = Fill(0, 0, adoption.ts, sleeve[1], sleeve[0], side, lots, adoption.price)
        return [*self._traded(sleeve, "adopt", fill), *self._summed(sleeve)]

    def action(self, action: Action) -> Moves:
        """Follow a split or a roll; nothing else moves a trade."""
        held = [(s, t) for s, t in self._trades.items() if s[1] == action.instrument]
        moves: Moves = []
        if action.action == "split":
            for sleeve, trade in held:
                trade.split(action.value)
                if trade.position == 0:
                    moves += self._ended(sleeve, "split", action.ts)
        elif action.action == "roll" and held:
            before = [self._trade_pnl(sleeve) for sleeve, _ in held]

            def finish() -> None:
                for (sleeve, trade), was in zip(held, before, strict=True):
                    trade.roll(action.value, self._trade_pnl(sleeve) - was)

            self._after_fold = finish
        return moves

    def bar(self, symbol: str) -> Moves:
        """Return what has filled in a symbol of orders that are not done."""
        waiting = {s for s in (*self._entering, *self._leaving) if s[1] == symbol}
        return [move for sleeve in sorted(waiting) for move in self._summed(sleeve)]

    # -- arithmetic -------------------------------------------------------------------------------

    def _rate(self, symbol: str) -> float:
        """Return the rate of an instrument's currency, as it is before the next fold."""
        state = self._session.state
        currency = state.instruments["currency"][self._symbols[symbol]]
        return float(state.currencies["rate"][currency])

    def _trade_pnl(self, sleeve: Sleeve) -> float:
        row = self._strategies[sleeve[0]] * len(self._symbols) + self._symbols[sleeve[1]]
        return float(self._session.state.sleeves["trade_pnl"][row])

    def _traded(self, sleeve: Sleeve, purpose: str, fill: Fill) -> Moves:
        """Enter a fill in the sleeve's trade; one that turns it round ends it and begins another.

        This is `views.trades.round_trips_nb`, one fill at a time.
        """
        moves: Moves = []
        rate, point = self._rate(sleeve[1]), self._points[self._symbols[sleeve[1]]]
        fee = fill.fee * rate
        trade, qty = self._trades.get(sleeve), fill.qty
        if trade is not None and trade.side != fill.side:
            out = min(qty, trade.position)
            made = trade.leave(out, fill.price, fee * (out / fill.qty), rate, point)
            _add(self._leaving, sleeve, fill, out, purpose, made)
            qty -= out
            if trade.position == 0:
                moves += self._ended(sleeve, purpose, fill.ts)
                trade = None
        if qty > 0:
            if trade is None:
                trade = self._trades[sleeve] = _Trade(fill.side, fill.ts)
            trade.enter(qty, fill.price, fee * (qty / fill.qty), rate, point)
            _add(self._entering, sleeve, fill, qty, purpose, 0.0)
        return moves

    def _ended(self, sleeve: Sleeve, purpose: str, ts: int) -> Moves:
        """Return what was not told of the trip's beginning, and the trip, which says the rest."""
        trade = self._trades.pop(sleeve)
        self._leaving.pop(sleeve, None)
        return [*self._summed(sleeve), trade.ended(sleeve, purpose, ts)]

    def _summed(self, sleeve: Sleeve) -> Moves:
        """Return what has filled and was not told yet, in sum."""
        moves: Moves = []
        trade = self._trades.get(sleeve)
        held = 0 if trade is None else trade.side * trade.position
        for tallies, enters in ((self._entering, True), (self._leaving, False)):
            tally = tallies.pop(sleeve, None)
            if tally is not None:
                side = tally.side if enters else -tally.side
                price = tally.value / tally.lots
                moves.append(
                    Part(
                        sleeve,
                        enters,
                        side,
                        tally.lots,
                        price,
                        tally.pnl,
                        held,
                        tally.purpose,
                        tally.ts,
                    )
                )
        return moves


def _taken(row: Any) -> _Trade:
    """Return a sleeve's trade as the books have it, what it has made so far included.

    What it was entered with is known of the lots that are still held, not of those that have left.
    """
    lots, average = abs(int(row["qty"])), float(row["average"])
    return _Trade(
        side=1 if row["qty"] > 0 else -1,
        entry_ts=int(row["entry_ts"]),
        position=lots,
        entry_qty=lots,
        entry_value=lots * average,
        cost=lots * average,
        pnl=float(row["trade_pnl"]),
        entry_base=float(row["used"]),
    )


def _add(
    tallies: dict[Sleeve, _Tally], sleeve: Sleeve, fill: Fill, lots: int, purpose: str, pnl: float
) -> None:
    tally = tallies.setdefault(sleeve, _Tally())
    tally.lots += lots
    tally.value += lots * fill.price
    tally.pnl += pnl
    tally.side, tally.ts, tally.purpose = fill.side, fill.ts, purpose
