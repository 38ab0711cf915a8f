"""A journal's inputs, to be gone through again at the simulated venue.

Inputs are bars, corporate actions, commands, mandates and what a person has adopted; what a venue
answered is none, since to other orders it would have answered something else. What models said
stands in the journal and is not asked again; a model that is not in it is asked.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from onefold.domain.errors import JournalError
from onefold.domain.ports import Venue
from onefold.domain.records import (
    Action,
    Adoption,
    AnyRecord,
    Bar,
    Command,
    Handover,
    Mandate,
    Record,
    Score,
    SessionStart,
)
from onefold.engine.recorder import ANSWER_KINDS, INPUT_KINDS, Recorder
from onefold.engine.replay import started
from onefold.engine.session import Input, Mirror, Outgoing, Session
from onefold.engine.told import Notes
from onefold.fold.build import Roster
from onefold.journal import decode, read
from onefold.sim.exchange import SimulatedVenue
from onefold.sim.plan import Plan


@dataclass
class Recorded:
    """What stands in a journal, sorted."""

    start: SessionStart
    handover: Handover | None = None
    inputs: list[Input] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)

    def fitting(self, names: Roster) -> list[Input]:
        """Return the inputs that speak only of what a plan has."""
        return [one for one in self.inputs if _fits(one, names)]

    def session(self, plan: Plan, hear: Callable[[Record], None]) -> Session:
        """Return a session that begins as this one did, at the simulated venue, and writes nothing.

        `hear` is told every record. It remembers what models have said.
        """
        recorder = _Remembering(self.scores, hear)
        return Session(plan, self.venue(plan), recorder, self.start, handover=self.handover)

    def venue(self, plan: Plan) -> Venue:
        """Return the simulated venue, with the orders that worked when the journal began."""
        venue = SimulatedVenue(plan.book(), plan.names)
        if self.start.modelled:
            return Mirror(venue, Outgoing())
        for one in self.handover.orders if self.handover else ():
            left = int(one.slot["qty"] or 0) - int(one.slot["filled"] or 0)
            if left > 0:
                venue.send([msgspec.structs.replace(one.order, qty=left)])
        return venue


def recorded(path: str | Path) -> Recorded:
    """Read a journal. Raises `JournalError` for one without a bar."""
    found = Recorded(started(path))
    for entry in read(path):
        record: AnyRecord = decode(entry, AnyRecord)  # type: ignore[arg-type]
        found.notes.hear(record)
        if isinstance(record, Score):
            found.scores.append(record)
        elif isinstance(record, Handover):
            found.handover = record
        elif entry.kind in INPUT_KINDS - ANSWER_KINDS and not isinstance(record, SessionStart):
            found.inputs.append(record)  # type: ignore[arg-type]
    if not any(isinstance(one, Bar) for one in found.inputs):
        raise JournalError(f"the journal in {path} has no bar yet, so there is nothing to compare")
    return found


class _Remembering(Recorder):
    """Writes nothing, and knows what models have said."""

    def __init__(self, scores: Iterable[Score], seen: Callable[[Record], None]) -> None:
        super().__init__(iter(()), None, seen=seen)
        self._said: dict[tuple[str, int, str], deque[Score]] = defaultdict(deque)
        for score in scores:
            self._said[score.instrument, score.ts, score.model].append(score)

    def score(self, instrument: str, ts: int, model: str) -> Score | None:
        """Return what a model has said of a bar, None where it was not asked."""
        said = self._said.get((instrument, ts, model))
        return said.popleft() if said else None


def _fits(one: Input, names: Roster) -> bool:
    if one.instrument not in ("", *names.symbols):
        return False
    if isinstance(one, Command | Mandate | Adoption):
        return one.strategy in ("", *names.strategies)
    return not isinstance(one, Action) or one.currency in ("", *names.currencies)
