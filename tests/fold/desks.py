"""Desks in the situations that the tests of gates and limits begin with."""

from __future__ import annotations

from typing import Any

from onefold.domain.records import Decision
from onefold.fold.gates import GATE_NAMES
from support import FLAT, LONG, Desk, bar, rules_of, share

CASH = 100_000.0
TWO = (share(), share("XYZ"))


def fixed(lots: int, **parts: Any) -> Any:
    return rules_of(sizing={"kind": "fixed", "lots": lots}, **parts)


def entry(desk: Desk, side: int = LONG, number: float = 0, **more: Any) -> Decision:
    """Return the decision about an entry of s0 at the close of a bar."""
    (decision,) = desk.signal(number, side, **more)
    assert decision.purpose == "entry"
    return decision


def quiet(*rules: Any, **more: Any) -> Desk:
    """Return a desk that has seen one bar of each instrument at 100."""
    desk = Desk(*(rules or (fixed(10),)), **more)
    for symbol in desk.names.symbols:
        desk.tell(bar(0, symbol=symbol))
    return desk


def round_trip(desk: Desk, price: float = 100.0, number: float = 1) -> Desk:
    """Hold, and leave at a price because the signal turned."""
    desk.hold(10)
    desk.tell(bar(number))
    (left,) = desk.signal(number, FLAT)
    assert left.purpose == "signal"
    desk.fill(0, price)
    return desk


def measured(decision: Decision, gate: str) -> tuple[float | None, float | None]:
    bit = GATE_NAMES.index(gate)
    return decision.values[bit], decision.thresholds[bit]
