"""Take down what a run decides, in the form in which two runs are compared.

A recorder tells of every record in its order, be it checked, written or neither; here they are
sorted by what they are. Nothing is asked of the fold, so what is compared is what was recorded.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from onefold.domain.records import (
    Action,
    Adoption,
    Bar,
    Command,
    Decision,
    Fill,
    Handover,
    Order,
    Record,
    Signal,
)
from onefold.sim.plan import Plan
from onefold.views.differences import Told


class Heard(NamedTuple):
    """A record that moves money or positions, with its place among all records.

    `bars` is how many bars of its instrument came before it.
    """

    place: int
    record: Fill | Action | Adoption
    bars: int


class Notes:
    """What is heard of one run, record by record."""

    def __init__(self) -> None:
        self.bars: dict[str, list[Bar]] = defaultdict(list)
        self.heard: list[Heard] = []
        self.handover: Handover | None = None
        self._decisions: list[Decision] = []
        self._signals: dict[tuple[int, str, str], Signal] = {}
        self._orders: dict[int, Order] = {}
        self._fills: dict[int, list[Fill]] = defaultdict(list)
        self._commands: set[tuple[int, str, str, str]] = set()
        self._place = 0

    def hear(self, record: Record) -> None:
        """Take down one record."""
        self._place += 1
        match record:
            case Bar():
                self.bars[record.instrument].append(record)
            case Signal():
                self._signals[record.ts, record.strategy, record.instrument] = record
            case Decision():
                self._decisions.append(record)
            case Order():
                self._orders[record.id] = record
            case Fill():
                self._fills[record.order].append(record)
                self._move(record)
            case Action() | Adoption():
                self._move(record)
            case Command():
                at = (record.ts, record.command, record.strategy, record.instrument)
                self._commands.add(at)
            case Handover():
                self.handover = record
                self._orders |= {one.order.id: one.order for one in record.orders}

    def _move(self, record: Fill | Action | Adoption) -> None:
        self.heard.append(Heard(self._place, record, len(self.bars.get(record.instrument, ()))))

    def told(self, plan: Plan) -> Told:
        """Return what was heard of the run of a plan."""
        return Told(
            account=plan.account,
            sleeves=frozenset((p.name, s) for p in plan.placements for s in p.symbols),
            rules={p.name: p.rules for p in plan.placements},
            own_position=frozenset(plan.needs_position),
            decisions=self._decisions,
            signals=self._signals,
            bars={symbol: {b.ts: b for b in bars} for symbol, bars in self.bars.items()},
            orders=self._orders,
            fills=self._fills,
            commands=frozenset(self._commands),
        )
