"""What a session did on each day, counted from its records: the matter of every report on it.

Whether a system may be trusted shows in dull numbers, day after day: bars that came late, orders of
which nobody knew, halts, days that ended with books and venue apart. They are folded from the
journal's records as those are replayed, so they cannot say anything else than the journal.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime

import msgspec

from onefold.domain.records import (
    Action,
    Adoption,
    Bar,
    Command,
    Decision,
    Fill,
    Handover,
    Mandate,
    Order,
    OrderNotice,
    Quarantined,
    Record,
    Score,
    SessionStart,
    Signal,
)
from onefold.domain.words import BY_FILE

NS_PER_S = 1_000_000_000
ENGINE = "engine"
"""Who orders what the engine itself finds: halts, and whether books and venue agree."""
ENDS = ("stopping", "starting")
"""Reasons for which an account is not reconciled that are no finding."""


class Day(msgspec.Struct):
    """One day of a session, UTC.

    `entries` were wanted, `passed` all gates; `blocked` counts the gates that were the reason.
    `halts` are the engine's own, `stops` those of people, each with its reason; `closed` says why
    nothing could be entered at its end. `apart` counts how often books and venue were found to
    differ, or could not be compared; `reconciled` is how the day ended, None where nothing is
    compared. `unknown` orders got no answer at first, `lost` ones never. `missing_scores` were
    late, failed or no probability. Bars that warm features up before an instrument's first one in
    time are not counted.
    """

    day: date
    bars: int = 0
    late: int = 0
    refused: int = 0
    signals: int = 0
    scores: int = 0
    missing_scores: int = 0
    entries: int = 0
    passed: int = 0
    orders: int = 0
    fills: int = 0
    rejected: int = 0
    unknown: int = 0
    lost: int = 0
    apart: int = 0
    mandates: int = 0
    adopted: int = 0
    paid: float = 0.0
    reconciled: bool | None = None
    blocked: dict[str, int] = {}
    closed: str = ""
    halts: list[str] = []
    stops: list[str] = []


_COUNTED: dict[type, str] = {
    Adoption: "adopted",
    Mandate: "mandates",
    Order: "orders",
    Quarantined: "refused",
    Signal: "signals",
}


class Activity:
    """Counts the records of a journal by day; show them all to `see`, in order."""

    def __init__(self) -> None:
        self.days: list[Day] = []
        self.start: SessionStart | None = None
        self._early: list[Record] = []
        self._unknown: set[int] = set()
        self._reconciled: bool | None = None
        self._closed = ""
        self._began: set[str] = set()

    def see(self, record: Record) -> None:
        """Take a record into account."""
        if isinstance(record, SessionStart):
            self.start = self.start or record
        elif not isinstance(record, Handover):
            self._count(record, getattr(record, "ts", 0))

    def _count(self, record: Record, ts: int) -> None:
        is_bar = isinstance(record, Bar)
        if not self.days and not is_bar:
            self._early.append(record)  # before the first bar, its clock need not be that of bars
            return
        # Only bars move the day: a refused one may be of any time, and clocks of people differ.
        day = self._day(ts) if is_bar else self.days[-1]
        if type(record) in _COUNTED:
            name = _COUNTED[type(record)]
            setattr(day, name, getattr(day, name) + 1)
        match record:
            case Bar():
                self._bar(day, record)
            case Score():
                day.scores += 1
                day.missing_scores += record.value is None
            case Decision():
                self._decision(day, record)
            case Fill():
                day.fills += 1
                self._unknown.discard(record.order)
            case OrderNotice():
                self._notice(day, record)
            case Command():
                self._command(day, record)
            case Action() if record.action == "payment":
                day.paid += record.value

    def _day(self, ts: int) -> Day:
        """Return the day of a bar: midnight ends one; an older bar belongs to the one under way."""
        found = datetime.fromtimestamp((ts - 1) // NS_PER_S, UTC).date()
        if not self.days or found > self.days[-1].day:
            self.days.append(Day(found, reconciled=self._reconciled, closed=self._closed))
            early, self._early = self._early, []
            for record in early:
                self._count(record, ts)
        return self.days[-1]

    def _bar(self, day: Day, bar: Bar) -> None:
        """Count a bar; those before an instrument's first in time only warm its features up."""
        if not bar.late:
            self._began.add(bar.instrument)
        elif bar.instrument not in self._began:
            return
        day.bars += 1
        day.late += bar.late

    def _decision(self, day: Day, one: Decision) -> None:
        if one.purpose != "entry":
            return
        day.entries += 1
        if one.blocked:
            counts = Counter(day.blocked)
            counts[one.blocked[0]] += 1
            day.blocked = dict(counts)
        else:
            day.passed += 1

    def _notice(self, day: Day, one: OrderNotice) -> None:
        if one.notice == "unknown":
            day.unknown += 1
            self._unknown.add(one.order)
        elif one.notice == "rejected":
            day.rejected += 1
            day.lost += one.order in self._unknown
            self._unknown.discard(one.order)
        else:
            self._unknown.discard(one.order)

    def _command(self, day: Day, one: Command) -> None:
        if one.command == "reconciled":
            self._reconciled = day.reconciled = True
        elif one.command == "unreconciled":
            self._reconciled = day.reconciled = False
            day.apart += not one.reason.startswith(ENDS)
        elif one.command in ("kill", "reduce_only", "flatten"):
            # A switch that is a file is a person's, though the engine is who folds it.
            is_halt = one.operator == ENGINE and not one.reason.startswith(BY_FILE)
            told = day.halts if is_halt else day.stops
            told.append(f"{one.command}: {one.reason}".rstrip(": "))
            if one.command != "flatten" and not one.strategy and not one.instrument:
                self._closed = day.closed = told[-1]
        elif one.command == "resume" and not one.strategy and not one.instrument:
            self._closed = day.closed = ""
