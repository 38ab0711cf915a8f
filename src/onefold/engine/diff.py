"""Replay a journal's inputs under a change, and see what would have been decided otherwise.

What a venue answered is no input (`engine.recorded`), so both versions trade at the simulated one.
Where the journal's own venue was that one, the version without the change must give the recorded
decisions bit for bit, which is checked; where it was a real one, that version is the run's
simulated twin, and differs from what really happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from onefold.domain.errors import ConfigError, ReplayMismatch, did_you_mean
from onefold.domain.records import Bar, Handover, Mandate, Record, SessionStart
from onefold.engine.recorded import Recorded, recorded
from onefold.engine.recorder import Recorder
from onefold.engine.session import Input, Session
from onefold.engine.told import Notes
from onefold.fold.build import Roster
from onefold.fold.codec import Inbox
from onefold.fold.handover import check
from onefold.fold.state import State
from onefold.journal import read
from onefold.sim.plan import Plan
from onefold.views.differences import Comparison, Told, compare

Seen = Callable[[int], None]


class Change(NamedTuple):
    """What the variant has that the journal has not.

    `plan` is None where it stays; a mandate holds from its time on, and one of time 0 from the
    first input.
    """

    plan: Plan | None = None
    mandates: tuple[Mandate, ...] = ()

    @property
    def is_none(self) -> bool:
        """Return whether there is no change: then only this build of Onefold may differ."""
        return self.plan is None and not self.mandates


class Made(msgspec.Struct, frozen=True):
    """What was made, in the account's currency: by closed lots after fees, and by open ones."""

    closed: float
    open: float

    @property
    def total(self) -> float:
        """Return both."""
        return self.closed + self.open


class Version(NamedTuple):
    """One version of a run: what it told, what its strategies made, and the account in all.

    `made` and `total` are None where only the records are known. `total` also counts dividends,
    funding, payments and the worth of other currencies. `left_out` counts inputs that speak of what
    this version does not have.
    """

    told: Told
    made: dict[str, Made] | None
    total: float | None
    left_out: int = 0


class Diff(NamedTuple):
    """A comparison of two versions, and what the first is.

    `baseline` is `reproduced` (recomputed, and equal to the journal in every bit), `recomputed`
    (this build decides otherwise than the journal; `why` has the first mismatch), `recorded` (the
    same, and without a change, so the records themselves), or `twin` (of a live journal, at the
    simulated venue).
    """

    baseline: str
    why: str
    inputs: int
    one: Version
    other: Version
    comparison: Comparison


def diff(path: str | Path, plan: Plan, change: Change, *, seen: Seen | None = None) -> Diff:
    """Compare a journal's inputs under the plan that it was written with, and under a change.

    Without a change, the recorded decisions are compared with those of this build. `seen` is told
    the inputs so far. Raises `ConfigError` for a change that does not fit the inputs, and
    `JournalError` for a journal without any.
    """
    found = recorded(path)
    if found.start.confirmed and change.is_none:
        raise ConfigError(
            "a live journal was filled by a real venue, so without a change there is nothing to "
            "compare it with here: give a change, or use `onefold diverge`"
        )
    _check(change, plan, found)
    runner, twin = _Runner(found, plan, seen), found.start.confirmed
    kind, why, one = ("twin", "", runner.run(plan, ())) if twin else runner.checked(path)
    if not change.is_none:
        other = runner.run(change.plan or plan, change.mandates)
    else:
        other = one
        if kind == "recomputed":
            kind, one = "recorded", Version(found.notes.told(plan), None, None)
    return Diff(kind, why, len(found.inputs), one, other, compare(one.told, other.told))


def _check(change: Change, plan: Plan, found: Recorded) -> None:
    """Raise `ConfigError` for a change that these inputs cannot be replayed under."""
    names = (change.plan or plan).names
    seen = {bar.instrument for bar in found.inputs if isinstance(bar, Bar)}
    wanted = (change.plan or plan).traded | set((change.plan or plan).rate_pairs)
    for symbol in names.symbols:
        if symbol in wanted and symbol not in seen and symbol not in plan.names.symbols:
            raise ConfigError(
                f"the journal has no bars of {symbol!r}, which the change needs"
                f"{did_you_mean(symbol, seen)}"
            )
    if not set(names.symbols) & seen:
        raise ConfigError("the change has none of the instruments of this journal")
    if found.handover is not None and change.plan is not None:
        check(found.handover, plan.names, names)
    inbox, last = Inbox(names), max(one.ts for one in found.inputs)
    for mandate in change.mandates:
        inbox.mandate(mandate)
        if mandate.ts >= last:
            raise ConfigError(
                f"the mandate {mandate.mandate} would begin at {np.datetime64(mandate.ts, 'ns')}Z, "
                f"and the journal's inputs end at {np.datetime64(last, 'ns')}Z"
            )


class _Runner:
    """Runs versions over one journal's inputs."""

    def __init__(self, found: Recorded, plan: Plan, seen: Seen | None) -> None:
        self._found, self._plan, self._seen = found, plan, seen
        self._done = 0

    def checked(self, path: str | Path) -> tuple[str, str, Version]:
        """Return the version without a change, and whether it gives the recorded decisions."""
        plan, found = self._plan, self._found

        def made(hear: Callable[[Record], None]) -> Session:
            recorder = Recorder(read(path), None, seen=hear)
            return Session(plan, found.venue(plan), recorder, found.start)

        heard = _Heard(plan, made)
        self._watch(heard.session)
        try:
            heard.session.resume()
        except ReplayMismatch as error:
            return "recomputed", str(error), self.run(self._plan, ())
        return "reproduced", "", heard.version()

    def run(self, plan: Plan, mandates: Sequence[Mandate]) -> Version:
        """Return the version of a plan, with mandates beside the recorded ones."""
        found = self._found
        heard = _Heard(plan, lambda hear: found.session(plan, hear))
        self._watch(heard.session)
        inputs = found.fitting(plan.names)
        for record in _mandated(inputs, mandates, found.handover):
            heard.session.take(record)
        return heard.version(len(found.inputs) - len(inputs))

    def _watch(self, session: Session) -> None:
        def look(_record: Input, _signals: object) -> None:
            self._done += 1
            if self._seen is not None:
                self._seen(self._done)

        session.watch(look)


class _Heard:
    """What is heard of one version, and what its strategies had made when it began."""

    def __init__(self, plan: Plan, session: Callable[[Callable[[Record], None]], Session]) -> None:
        """Make the session, whose records are to be told to `hear`."""
        self._plan, self._notes = plan, Notes()
        self._before: dict[str, Made] | None = None
        self.session = session(self.hear)

    def hear(self, record: Record) -> None:
        """Take down a record; the first input finds the books as a handover has left them."""
        if self._before is None and not isinstance(record, SessionStart | Handover):
            self._before = self._made()
        self._notes.hear(record)

    def version(self, left_out: int = 0) -> Version:
        """Return what the session, which has ended, has told and made."""
        account, made = self.session.state.account, self._made()
        for name, before in (self._before or {}).items():
            made[name] = Made(made[name].closed - before.closed, made[name].open - before.open)
        total = float(account["equity"][0] - account["start_equity"][0])
        return Version(self._notes.told(self._plan), made, total, left_out)

    def _made(self) -> dict[str, Made]:
        return _made(self.session.state, self._plan.names)


def _mandated(
    inputs: Sequence[Input], given: Sequence[Mandate], handover: Handover | None
) -> Iterator[Input]:
    """Yield the inputs with more mandates among them, each at its time.

    A given one holds to the end: a recorded one of its kind and scope, or a narrower, is left out,
    and after one of a wider scope it is given again. Versions are counted anew, so that each is
    newer than the one before.
    """
    waiting = deque(sorted(given, key=lambda m: m.ts))
    active: list[Mandate] = []
    version = max((m.version for m in handover.mandates), default=0) if handover else 0
    newest = version

    def issued(mandate: Mandate, ts: int) -> Mandate:
        nonlocal version
        version += 1
        return msgspec.structs.replace(mandate, ts=ts, version=version)

    for one in inputs:
        while waiting and waiting[0].ts < one.ts:
            active.append(waiting.popleft())
            yield issued(active[-1], active[-1].ts or one.ts)
        if not isinstance(one, Mandate) or not given:
            yield one
            continue
        if one.version <= newest or any(_within(one, m) for m in active):
            continue  # the fold would not have taken it either, or the given one stands for it
        newest = one.version
        yield issued(one, one.ts)
        for again in [m for m in active if m.mandate == one.mandate]:
            yield issued(again, one.ts)


def _within(one: Mandate, other: Mandate) -> bool:
    """Return whether a mandate changes nothing but what another of its kind does."""
    scopes = ((other.strategy, one.strategy), (other.instrument, one.instrument))
    return one.mandate == other.mandate and all(wide in ("", narrow) for wide, narrow in scopes)


def _made(state: State, names: Roster) -> dict[str, Made]:
    """Return what the books say that each strategy has made so far."""
    made = {}
    width = len(names.symbols)
    points = np.array([one.point_value for one in names.instruments])
    rates = state.currencies["rate"][state.instruments["currency"]]
    for s, name in enumerate(names.strategies):
        rows = state.sleeves[s * width : (s + 1) * width]
        worth = rows["qty"] * points * rates * (state.instruments["mark"] - rows["average"])
        held = float(worth[rows["qty"] != 0].sum())  # what is not held need not have a mark
        made[name] = Made(float(state.strategies["realised"][s]), held)
    return made
