"""The simulated venue behind the port that every venue has: records in, records out.

It is the same compiled venue that a backtest loops over, one bar at a time.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from onefold.domain.layouts import ORDER
from onefold.domain.records import Bar, Cancel, Fill, Order, OrderNotice
from onefold.domain.words import OrderKind, Purpose, TimeInForce
from onefold.fold.build import Roster
from onefold.fold.codec import NOTICE_NAMES
from onefold.fold.state import State
from onefold.sim.venue import Book, event_buffer, met_open_nb, met_range_nb, submitted_nb

Answer = Fill | OrderNotice

_NAN = float("nan")
_PURPOSES = {p.name.lower(): int(p) for p in Purpose}
_ORDER_KINDS = {k.name.lower(): int(k) for k in OrderKind}
_TIMES_IN_FORCE = {t.name.lower(): int(t) for t in TimeInForce}


class SimulatedVenue:
    """A venue that fills from bars; see `ports.Venue` for the methods."""

    def __init__(self, book: Book, names: Roster) -> None:
        self._book = book
        self._names = names
        self._symbols = names.symbols
        self._instruments = {symbol: n for n, symbol in enumerate(names.symbols)}
        self._strategies = {name: n for n, name in enumerate(names.strategies)}
        self._events = event_buffer(book)
        self._orders = np.zeros(64, ORDER)
        self._first = book.listed["first_order"]

    def open(self, bar: Bar) -> list[Answer]:
        """Meet the bar's open and return what happened."""
        i = self._instruments[bar.instrument]
        if self._first[i] < 0:
            return []
        n = met_open_nb(
            self._book.root,
            self._state.root,
            i,
            bar.ts_open,
            bar.open,
            _NAN if bar.volume is None else bar.volume,
            _NAN if bar.bid is None else bar.bid,
            _NAN if bar.ask is None else bar.ask,
            self._events,
        )
        return self._answers(n)

    def range(self, bar: Bar) -> list[Answer]:
        """Meet the rest of the bar and return what happened."""
        i = self._instruments[bar.instrument]
        if self._first[i] < 0:
            return []
        n = met_range_nb(
            self._book.root,
            self._state.root,
            i,
            bar.ts,
            bar.ts_open,
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            self._events,
        )
        return self._answers(n)

    def send(self, orders: Iterable[Order | Cancel]) -> list[Answer]:
        """Take orders and cancels; cancels are answered at once."""
        count = 0
        for order in orders:
            if count == len(self._orders):
                self._orders = np.concatenate([self._orders, np.zeros_like(self._orders)])
            self._orders[count] = self._row(order)
            count += 1
        return self._answers(submitted_nb(self._book.root, self._orders, count, self._events))

    def restate(self, state: State) -> None:
        """Take the books over, at the start and after a corporate action.

        What there is to spend is looked up in them at every bar, as a broker knows the account.
        """
        self._state = state
        self._book.positions["qty"] = state.sleeves["qty"]

    def _row(self, order: Order | Cancel) -> tuple[float, ...]:
        """Return an instruction as a row of `layouts.ORDER`."""
        i = self._instruments[order.instrument]
        if isinstance(order, Cancel):
            return (order.order, order.ts, 0, _NAN, 0, i, 0, 0, 0, 0, 0, 0, 1)
        return (
            order.id,
            order.ts,
            order.qty,
            _NAN if order.price is None else order.price,
            order.expire_ts or 0,
            i,
            self._strategies[order.strategy],
            _PURPOSES[order.purpose],
            order.side,
            _ORDER_KINDS[order.order_kind],
            _TIMES_IN_FORCE[order.time_in_force],
            int(order.reduce_only),
            0,
        )

    def _answers(self, n: int) -> list[Answer]:
        return [self._answer(row) for row in self._events[:n].tolist()] if n else []

    def _answer(self, row: tuple[int, int, int, int, float, float, int, int, int, int]) -> Answer:
        order, id_, ts, qty, price, fee, i, s, side, notice = row
        symbol = self._symbols[i]
        if notice >= 0:
            return OrderNotice(order=order, ts=ts, instrument=symbol, notice=NOTICE_NAMES[notice])
        return Fill(
            id=id_,
            order=order,
            ts=ts,
            instrument=symbol,
            strategy=self._names.strategies[s],
            side=side,
            qty=qty,
            price=price,
            fee=fee,
        )
