"""Sessions whose records are heard, as an observer of a live one hears them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from onefold.domain.records import (
    Command,
    Fill,
    Record,
    SessionStart,
)
from onefold.engine.recorder import Recorder
from onefold.engine.session import Outgoing, Session
from onefold.engine.succession import Estate, blotter_of
from onefold.journal import Journal, read
from onefold.ops.notices import Notice, Notices
from onefold.sim.exchange import SimulatedVenue
from onefold.views.trades import round_trips
from support import (
    START_NS,
    Scripted,
    World,
    at,
    bars_of,
    rules_of,
    start_of,
    world,
)

NEVER: Callable[[Record], None] = lambda _: None  # noqa: E731


class Heard:
    """A session whose new records are heard, as an observer hears them."""

    def __init__(
        self,
        one: World,
        *,
        journal: Journal | None = None,
        start: SessionStart | None = None,
        live: bool = False,
        handover: Any = None,
    ) -> None:
        self.world = one
        self.all: list[Notice] = []
        hear = NEVER
        self.estate = Estate(blotter_of("paper", start or start_of(), handover, one.plan))
        entries = read(journal.path) if journal is not None and journal.head.seq else iter(())

        def seen(record: Record) -> None:
            self.estate.remember(record)
            hear(record)

        venue = Outgoing() if live else SimulatedVenue(one.plan.book(), one.plan.names)
        self.session = Session(
            one.plan,
            venue,
            Recorder(
                entries,
                journal,
                answers_are_inputs=live,
                seen=seen,
            ),
            start or start_of(),
            handover=handover,
        )
        self.session.resume()
        self.notices = Notices("paper", self.session)
        hear = self._hear

    def _hear(self, record: Record) -> None:
        self.all += self.notices.hear(record)

    def on(self, *records: Any) -> list[Notice]:
        """Let the session take inputs; return what was told of them."""
        before = len(self.all)
        for record in records:
            self.session.on(record)
        self.all += self.notices.look()
        return self.all[before:]

    def of(self, kind: str) -> list[Notice]:
        """Return what was told of one kind."""
        return [n for n in self.all if n.kind == kind]


def closed_of(session: Session) -> list[dict[str, Any]]:
    """Return the closed trades as the views fold them from all fills."""
    fills = session.result().outcome.fills
    names = session.names
    return round_trips(fills, names.instruments, names.strategies).closed.to_dicts()


def agree(told: Iterable[Notice], trades: list[dict[str, Any]]) -> None:
    """Hold the exits that were told against the trades."""
    key = lambda t: (t["symbol"], t["strategy"])  # noqa: E731
    found = sorted((n.facts for n in told), key=key)
    wanted = sorted(trades, key=key)
    assert len(found) == len(wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine["pnl"] == pytest.approx(theirs["pnl"], rel=1e-9, abs=1e-6)
        for name, column in (
            ("pnl_percent", "pnl_percent"),
            ("fees", "fees"),
            ("lots", "exit_size"),
            ("entry_price", "entry_price"),
            ("exit_price", "exit_price"),
        ):
            value = math.nan if theirs[column] is None else theirs[column]
            assert mine[name] == pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True), name
        assert (mine["side"], mine["reason"]) == (theirs["side"], theirs["exit_reason"])
        seconds = (theirs["exit_time"] - theirs["entry_time"]).total_seconds()
        assert mine["seconds"] == pytest.approx(seconds, abs=1e-3)


def two_bars_long(*sides: int, **more: Any) -> World:
    """Return a world with one strategy on one share that rises by one each bar."""
    return world(Scripted(side=sides), bars_of([100.0 + n for n in range(len(sides) + 2)]), **more)


def heard_feed(heard: Heard) -> list[Any]:
    return heard.world.feed()


def live_world(*sides: int, lots: int = 10) -> Heard:
    """Return a session whose venue answers in its own time, which a test does by hand."""
    one = two_bars_long(*sides, rules=rules_of(sizing={"kind": "fixed", "lots": lots}))
    start = SessionStart(START_NS, "live", "0", "test", "0", {})
    heard = Heard(one, live=True, start=start)
    heard.on(Command(START_NS, "reconciled", operator="engine"))
    return heard


def fill(number: int, order: int, side: int, qty: int, price: float, bars: float) -> Fill:
    return Fill(number, order, at(bars), "ABC", "s", side, qty, price, 0.5, f"t{number}")
