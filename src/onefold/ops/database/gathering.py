"""What a journal's records mean for the tables: rows to write, and what the next ones build on.

Of one run there is one `Gathering` at a time. It is shown every record in order, also those whose
rows have been written before: what a trade or an order has become follows from all of them. Only
what is new is kept to be written.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from onefold.domain.records import (
    Bar,
    Decision,
    Fill,
    Handover,
    Order,
    OrderNotice,
    Record,
)
from onefold.engine.session import Session
from onefold.fold.memory import Rows
from onefold.ops.database.trips import Trip, Trips, row_of
from onefold.sim.plan import Plan

MINUTE_NS = 60_000_000_000
NO_RANGE = 0.5
"""The internal bar strength of a bar whose high is its low, as `signals.ours.ibs` has it."""
OVER_MAX = 4_096
"""Orders that are over and still remembered, since a venue may tell of a trade too late."""
_OVER = frozenset({"filled", "cancelled", "rejected", "expired"})

_encode = msgspec.json.Encoder().encode


class Placed(msgspec.Struct):
    """An order and what became of it; `value` is that of its fills, `ibs` its decision's bar's."""

    order: Order
    state: str = "working"
    filled: int = 0
    value: float = 0.0
    fees: float = 0.0
    reason: str = ""
    updated: int = 0
    ibs: float | None = None

    def row(self) -> tuple[Any, ...]:
        """Return it as the columns of the table from `id` on."""
        o = self.order
        average = self.value / self.filled if self.filled else None
        return (
            o.id, o.ts, o.strategy, o.instrument, o.purpose, o.side, o.qty, o.order_kind, o.price,
            self.state, self.filled, average, self.fees, self.reason, self.updated,
        )  # fmt: skip


class Curve(msgspec.Struct):
    """The equity curve so far: its last point, the highest before it, the minute under way."""

    peak: float
    equity: float
    ts: int = 0
    minute: int = -1
    deepest: float = 0.0


class Carry(msgspec.Struct):
    """What a journal leaves to the one after, besides what that says itself."""

    trades: int
    trips: list[Trip]
    orders: list[Placed]
    curve: Curve


class Batch(NamedTuple):
    """Rows to write, by table, each without the run and account that they belong to."""

    decisions: list[tuple[Any, ...]]
    bars: list[tuple[Any, ...]]
    orders: list[tuple[Any, ...]]
    trades: list[tuple[Any, ...]]
    equity: list[tuple[Any, ...]]
    positions: list[tuple[Any, ...]]
    carry: bytes

    @property
    def size(self) -> int:
        """Return how many rows there are."""
        return sum(map(len, self[:-1]))


class Gathering:
    """The rows of a run, as its records come.

    `before` is what the journal before has left, None where there was none or it is not known:
    then positions that were taken over begin trades of their own. Rows of records up to number
    `written` are there already; `seq` is set to the number of the record that is shown.
    """

    def __init__(self, plan: Plan, before: Carry | None, written: int) -> None:
        self._plan, self._written = plan, written
        self._points = [i.point_value for i in plan.instruments]
        self._goes_on = before is not None
        before = before or Carry(0, [], [], Curve(plan.account.cash, plan.account.cash))
        self._trips = Trips(before.trips, before.trades)
        self._placed = {one.order.id: one for one in before.orders}
        self._over: dict[int, Placed] = {}
        self._curve = before.curve
        self._ibs: dict[str, float | None] = {}
        self._skip = 0
        self._under_way: Bar | None = None
        self._decided: dict[int, float | None] = {}
        self._decisions: list[tuple[Any, ...]] = []
        self._bars: list[tuple[Any, ...]] = []
        self._orders: dict[int, Placed] = {}
        self._equity: dict[int, tuple[Any, ...]] = {}

    def see(self, seq: int, record: Record) -> None:
        """Take a record that was computed anew and agreed."""
        kind = type(record)
        if kind is Bar:
            self._bar(record, is_new=seq > self._written)  # type: ignore[arg-type]
        elif kind is Decision:
            self._decision(record, is_new=seq > self._written)  # type: ignore[arg-type]
        elif isinstance(record, Order):
            self._turn(Placed(record, updated=record.ts, ibs=self._decided.pop(record.id, None)))
        elif isinstance(record, Fill):
            self._fill(record)
        elif isinstance(record, OrderNotice):
            self._notice(record)
        elif isinstance(record, Handover):
            self._take_over(record)

    def filled(self, rows: Rows) -> None:
        """Take fills that were folded, rows of `layouts.FILL`."""
        names = self._plan.names
        for row in rows:
            if self._skip:
                self._skip -= 1  # what is held is known: its trades run since the journal before
                continue
            placed = self._known(int(row["order"]))
            i = int(row["instrument"])
            self._trips.fill(
                row,
                names.strategies[int(row["strategy"])],
                names.symbols[i],
                self._points[i],
                None if placed is None else placed.ibs,
            )

    def look(self, session: Session, record: Any) -> None:
        """Take the equity after an input that was folded."""
        self._under_way = None
        self._take_equity(session, record)

    def _take_equity(self, session: Session, record: Any) -> None:
        if not isinstance(record, Bar) or record.ts < self._curve.ts:
            return
        curve, equity = self._curve, session.state.account["equity"].item(0)
        minute = (record.ts - 1) // MINUTE_NS
        if record.ts > curve.ts:
            # What was below at the end of a time counts, not what was between two of its bars.
            below, curve.peak = _below(curve.peak, curve.equity), max(curve.peak, curve.equity)
            curve.deepest = max(curve.deepest, below) if minute == curve.minute else 0.0
            curve.ts, curve.minute = record.ts, minute
        curve.equity = equity
        deepest = max(curve.deepest, _below(curve.peak, equity))
        self._equity[minute] = (minute, curve.ts, equity, deepest)

    def batch(self, session: Session) -> Batch:
        """Return the rows that have come together, and begin anew.

        Of a bar that is not done with (the venue may still answer an order) the equity so far
        counts, until it is.
        """
        self._take_equity(session, self._under_way)
        carry = Carry(
            self._trips.count,
            self._trips.running,
            list(self._placed.values()),
            self._curve,
        )
        batch = Batch(
            self._decisions,
            self._bars,
            [one.row() for one in self._orders.values()],
            [row_of(one) for one in self._trips.changed.values()],
            list(self._equity.values()),
            self._positions(session),
            _encode(carry),
        )
        self.forget()
        return batch

    def forget(self) -> None:
        """Leave out what has come together: it was written before."""
        self._decisions, self._bars, self._orders, self._equity = [], [], {}, {}
        self._trips.changed = {}

    def _bar(self, bar: Bar, *, is_new: bool) -> None:
        self._under_way = bar
        spread = bar.high - bar.low
        self._ibs[bar.instrument] = (bar.close - bar.low) / spread if spread else NO_RANGE
        if is_new:
            self._bars.append(
                (bar.instrument, bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume)
            )

    def _decision(self, one: Decision, *, is_new: bool) -> None:
        if one.order:
            self._decided[one.order] = self._ibs.get(one.instrument)
        if not is_new:
            return
        blocked = one.blocked
        self._decisions.append(
            (
                one.id,
                one.ts,
                one.strategy,
                one.instrument,
                one.purpose,
                one.side,
                one.qty,
                one.price,
                one.confidence,
                one.score,
                one.equity,
                one.position,
                one.order,
                blocked[0] if blocked else "",
                f",{','.join(blocked)}," if blocked else "",
                _encode((one.values, one.thresholds)),
            )
        )

    def _known(self, order: int) -> Placed | None:
        return self._placed.get(order) or self._over.get(order)

    def _turn(self, placed: Placed) -> None:
        """Take note of what an order has become."""
        number = placed.order.id
        self._orders[number] = placed
        if placed.state not in _OVER:
            self._placed[number] = placed
        elif number in self._placed:
            self._over[number] = self._placed.pop(number)
            if len(self._over) > OVER_MAX:
                del self._over[next(iter(self._over))]

    def _fill(self, fill: Fill) -> None:
        placed = self._known(fill.order)
        if placed is None:
            return
        placed.filled += fill.qty
        placed.value += fill.qty * fill.price
        placed.fees += fill.fee
        placed.updated = fill.ts
        if placed.filled >= placed.order.qty:
            placed.state = "filled"
        self._turn(placed)

    def _notice(self, said: OrderNotice) -> None:
        placed = self._placed.get(said.order)
        if placed is None:
            return
        placed.state = "working" if said.notice == "accepted" else said.notice
        placed.reason, placed.updated = said.reason, said.ts
        self._turn(placed)

    def _take_over(self, handover: Handover) -> None:
        if self._goes_on:
            self._skip = sum(bool(one["qty"]) for one in handover.sleeves.values())
            return
        self._curve.peak = self._curve.equity = float(handover.account["equity"] or 0.0)
        for carried in handover.orders:
            state = "unknown" if carried.state == "unknown" else "working"
            filled = int(carried.slot["filled"] or 0)
            placed = Placed(carried.order, state, filled, updated=handover.ts)
            placed.value = filled * (carried.order.price or 0.0)
            self._turn(placed)

    def _positions(self, session: Session) -> list[tuple[Any, ...]]:
        """Return what is held now, with its worth in the account's currency."""
        state, names = session.state, self._plan.names
        held, width = [], len(names.symbols)
        for n in state.sleeves["qty"].nonzero()[0].tolist():
            s, i = divmod(n, width)
            sleeve, instrument = state.sleeves[n], state.instruments[i]
            qty, average = int(sleeve["qty"]), float(sleeve["average"])
            mark = float(instrument["mark"])
            worth = qty * float(instrument["point"])
            worth *= float(state.currencies["rate"][int(instrument["currency"])])
            entered = int(sleeve["entry_ts"])
            row = (entered, average, mark, worth * mark, worth * (mark - average))
            known = (x if x == x else None for x in row)  # noqa: PLR0124 - NaN is not itself
            held.append((names.strategies[s], names.symbols[i], qty, *known))
        return held


def _below(peak: float, equity: float) -> float:
    """Return how far equity is below the highest so far, itself included, as a share."""
    highest = max(peak, equity)
    return 1.0 - equity / highest if highest > 0.0 else 0.0
