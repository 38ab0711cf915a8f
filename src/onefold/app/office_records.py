"""From rows of the database, and records of a journal, to what the server sends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from onefold.api.schemas import Page, Position, Signal, Wire
from onefold.domain.records import Signal as SignalRecord
from onefold.domain.words import Side
from onefold.journal import decode, tail

W = TypeVar("W", bound=Wire)

TAIL_MAX = 5_000
"""Records at a journal's end in which signals are looked for."""
PER_SIGNAL = 8
"""Records that a signal has around it, roughly: bars, other strategies' signals, decisions."""

SIDES: dict[int, Literal["long", "short", "flat"]] = {
    int(Side.LONG): "long",
    int(Side.SHORT): "short",
    int(Side.FLAT): "flat",
}


class Keyed(Protocol):
    """A row with its place among the others."""

    @property
    def key(self) -> str:
        """Return the `before` of the page that begins after it."""


def wire(kind: type[W], row: object) -> W:
    """Return what is sent of a row: the fields that both have."""
    return kind(**{name: getattr(row, name) for name in kind.model_fields})


def page(kind: type[W], rows: Sequence[Keyed], limit: int) -> Page[W]:
    """Return at most `limit` of the rows as a page; one more says that there is another page."""
    chosen = rows[:limit]
    more = chosen[-1].key if len(rows) > limit and chosen else ""
    return Page[kind](items=[wire(kind, row) for row in chosen], next=more)  # type: ignore[valid-type]


def last_signals(
    account: str, journal: Path, strategy: str, symbol: str, limit: int
) -> list[Signal]:
    """Return the last signals of a journal's end, the newest first; those that hold are none."""
    found: list[Signal] = []
    for entry in reversed(tail(journal, min(TAIL_MAX, PER_SIGNAL * limit))):
        if entry.kind != "signal":
            continue
        one = decode(entry, SignalRecord)
        if one.side not in SIDES or strategy not in ("", one.strategy):
            continue
        if symbol in ("", one.instrument):
            found.append(_signal(account, one))
        if len(found) >= limit:
            break
    return found


def _signal(account: str, one: SignalRecord) -> Signal:
    return Signal(
        account=account,
        time=one.ts,
        strategy=one.strategy,
        symbol=one.instrument,
        side=SIDES[one.side],
        confidence=one.confidence,
        score=one.score,
        models=one.models,
    )


def positions_of(
    account: str, beat: Mapping[str, Any], known: Iterable[Position]
) -> list[Position]:
    """Return what an account holds: by strategy as in the database, the rest by the heartbeat.

    What the heartbeat has beyond the database, which follows it, stands under no strategy.
    """
    found = list(known)
    left: dict[str, int] = dict(beat.get("positions") or {})
    for one in found:
        left[one.symbol] = left.get(one.symbol, 0) - one.lots
    rest = {symbol: lots for symbol, lots in left.items() if lots} if beat else {}
    return found + [
        Position(
            account=account,
            strategy="",
            symbol=symbol,
            lots=lots,
            entry_time=0,
            entry_price=None,
            mark=None,
            value=None,
            pnl=None,
        )
        for symbol, lots in sorted(rest.items())
    ]


def exposure(positions: Iterable[Position]) -> float | None:
    """Return the sum of what is held, long and short; None where something cannot be valued."""
    values = [one.value for one in positions]
    if any(value is None for value in values):
        return None
    return sum(abs(value) for value in values if value is not None)
