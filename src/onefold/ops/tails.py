"""What journals say while sessions write them, counted from when somebody began to look.

A journal is read on, each sealed record once, so that a scrape costs what has happened since the
last one. Metrics and the validator look at the same counts.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from onefold.domain.errors import JournalError
from onefold.domain.records import (
    Bar,
    Command,
    Decision,
    Fill,
    Order,
    OrderNotice,
    Quarantined,
    Record,
    Score,
    Signal,
)
from onefold.domain.words import CommandKind, Notice
from onefold.engine.inference import NOT_ASKED
from onefold.journal import Entry, Follower, decode
from onefold.ops.facts import Sighting, last_seq

STAGES = ("market_data", "signals", "risk", "orders", "portfolio")
"""The way from a bar to a position; each is what the records of one kind show."""
NOTICES = tuple(notice.name.lower() for notice in Notice)
COMMANDS = tuple(command.name.lower() for command in CommandKind)
RECORDS_MAX = 50_000
"""Records that are read at one look, so that no scrape waits for a session that writes faster."""


def _zeros(*keys: str) -> Callable[[], Counter[str]]:
    """Return what makes a count that begins at 0: a rate sees only what grows from there."""
    return lambda: Counter(dict.fromkeys(keys, 0))


class Counts(msgspec.Struct):
    """What was counted of one account; what is known beforehand is there with 0.

    `decisions` go by strategy and the gate that was the reason (`passed` for none), `orders` by
    what became of them, `late` and `bars` by symbol, `quarantined` by symbol and reason, `scores`
    by model and whether they came. `loaded` has strategies whose models were asked, by the start
    of their session.
    """

    bars: Counter[str] = msgspec.field(default_factory=Counter)
    late: Counter[str] = msgspec.field(default_factory=Counter)
    quarantined: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    signals: Counter[str] = msgspec.field(default_factory=Counter)
    decisions: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    orders: Counter[str] = msgspec.field(default_factory=_zeros("sent", *NOTICES))
    fills: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    commands: Counter[str] = msgspec.field(default_factory=_zeros(*COMMANDS))
    scores: Counter[tuple[str, bool]] = msgspec.field(default_factory=Counter)
    loaded: set[tuple[str, int]] = msgspec.field(default_factory=set)
    disabled: set[tuple[str, int]] = msgspec.field(default_factory=set)


class Tail:
    """The end of one account's journals; `back` records before the end are counted too.

    `seen` has for each stage when a record of it was last found, in seconds since 1970, at first
    the moment at which the look began. `silent` counts by symbol the bars on time since the last
    signal, `asked` the entries that were asked for since the last decision. `unanswered` are
    orders of which the venue has said nothing, with their times in nanoseconds; `unknown` those of
    which it knows nothing. `damage` says why the journal cannot be read on.
    """

    def __init__(self, *, back: int = 0) -> None:
        self.counts = Counts()
        self.seen = dict.fromkeys(STAGES, time.time())
        self.silent: Counter[str] = Counter()
        self.asked = 0
        self.unanswered: dict[int, int] = {}
        self.unknown: set[int] = set()
        self.damage = ""
        self._back: int | None = back
        self._follower: Follower | None = None
        self._started = 0
        self._readers: dict[str, tuple[type[Record], Callable[..., None]]] = {
            "bar": (Bar, self._bar),
            "quarantined": (Quarantined, self._quarantined),
            "signal": (Signal, self._signal),
            "score": (Score, self._score),
            "decision": (Decision, self._decision),
            "order": (Order, self._order),
            "notice": (OrderNotice, self._notice),
            "fill": (Fill, self._fill),
            "command": (Command, self._command),
        }

    def poll(self, sighting: Sighting) -> None:
        """Count what has been sealed since the last look."""
        self._note_start(sighting)
        if sighting.journal is None:
            self._back = None  # the first one to come is new from its beginning
            return
        try:
            if self._follower is None or self._follower.path != sighting.journal:
                self._follower = self._begun(sighting.journal)
            for entry in self._follower.poll(RECORDS_MAX):
                self._count(entry)
        except (JournalError, OSError) as error:
            self.damage = str(error)
        else:
            self.damage = ""

    def _begun(self, journal: Path) -> Follower:
        """Return who reads a journal on: the first from its end, one that came later in whole."""
        if self._follower is not None or self._back is None:
            self.unanswered.clear()
            self.unknown.clear()
            return Follower(journal)
        return Follower(journal, after=max(0, (last_seq(journal) or 0) - self._back))

    def _note_start(self, sighting: Sighting) -> None:
        started = sighting.beat.get("started_ts")
        if sighting.runs and isinstance(started, int):
            self._started = started
            self.counts.disabled |= {(name, started) for name in sighting.disabled}

    def _count(self, entry: Entry) -> None:
        found = self._readers.get(entry.kind)
        if found is not None:
            kind, count = found
            count(decode(entry, kind))

    def _saw(self, stage: str) -> None:
        self.seen[stage] = time.time()

    def _bar(self, bar: Bar) -> None:
        self._saw("market_data")
        self.counts.bars[bar.instrument] += 1
        if bar.late:
            self.counts.late[bar.instrument] += 1
        else:
            self.silent[bar.instrument] += 1

    def _quarantined(self, one: Quarantined) -> None:
        self.counts.quarantined[one.instrument, one.reason] += 1

    def _signal(self, signal: Signal) -> None:
        self._saw("signals")
        self.counts.signals[signal.strategy] += 1
        self.silent[signal.instrument] = 0
        self.asked += signal.side in (1, -1)
        if signal.models:
            self.counts.loaded.add((signal.strategy, self._started))

    def _score(self, score: Score) -> None:
        if score.why not in NOT_ASKED:
            self.counts.scores[score.model, score.value is not None] += 1

    def _decision(self, decision: Decision) -> None:
        self._saw("risk")
        self.asked = 0
        gate = decision.blocked[0] if decision.blocked else "passed"
        self.counts.decisions[decision.strategy, gate] += 1

    def _order(self, order: Order) -> None:
        self._saw("orders")
        self.counts.orders["sent"] += 1
        self.unanswered[order.id] = order.ts

    def _notice(self, notice: OrderNotice) -> None:
        self.counts.orders[notice.notice] += 1
        self.unanswered.pop(notice.order, None)
        if notice.notice == "unknown":
            self.unknown.add(notice.order)
        else:
            self.unknown.discard(notice.order)

    def _fill(self, fill: Fill) -> None:
        self._saw("portfolio")
        self.counts.fills[fill.strategy, fill.instrument] += 1
        self.unanswered.pop(fill.order, None)
        self.unknown.discard(fill.order)

    def _command(self, command: Command) -> None:
        self.counts.commands[command.command] += 1


class Tails:
    """The tails of several accounts, by their names."""

    def __init__(self, names: Iterable[str], *, back: int = 0) -> None:
        self._tails = {name: Tail(back=back) for name in names}

    def poll(self, sightings: Iterable[Sighting]) -> None:
        """Count what has been sealed since the last look."""
        for one in sightings:
            self._tails[one.place.name].poll(one)

    def __getitem__(self, name: str) -> Tail:
        return self._tails[name]
