"""Simulate: a session against the simulated venue, with a durable journal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from onefold.domain.records import SessionStart
from onefold.engine.recorder import Recorder
from onefold.engine.session import Input, Session
from onefold.journal import Journal, read
from onefold.journal.writer import SEGMENT_BYTES
from onefold.sim.exchange import SimulatedVenue
from onefold.sim.plan import Plan


def simulate(
    plan: Plan,
    feed: Iterable[Input],
    folder: str | Path,
    start: SessionStart,
    *,
    today: Callable[[], dt.date],
    durability: Literal["durable", "relaxed"] = "durable",
    segment_bytes: int = SEGMENT_BYTES,
    wait: Callable[[Input], None] | None = None,
) -> Session:
    """Run a plan over a feed with a journal in `folder`, from where that journal ends.

    Return the finished session; the journal is closed. `wait` is called before each new input, to
    pace it. Raises `JournalDamaged`, `JournalLocked`, `ReplayMismatch`, `ConfigError`, `DataError`.
    """
    with Journal.open(folder, mode=durability, today=today, segment_bytes=segment_bytes) as journal:
        entries = read(folder) if journal.head.seq else iter(())
        session = Session(
            plan,
            SimulatedVenue(plan.book(), plan.names),
            Recorder(entries, journal),
            start,
        )
        session.resume()
        session.run(feed, wait)
    return session
