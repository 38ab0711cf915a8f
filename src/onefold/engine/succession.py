"""An account outlives its configuration: what one journal leaves, the next one begins with.

A journal belongs to exactly one configuration and one build, since a replay needs the rules that
were in force. But an account that is given other rules, or another version of Onefold, still has
its positions, its orders on their way, and today's loss. So the journal before is gone through to
its end, with the configuration that it has recorded, and what is there then becomes the first input
of the next journal. Each names the one before, with the place and the hash where it ended.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from onefold.domain.errors import ConfigError, ReplayMismatch
from onefold.domain.records import Command, Handover, Mandate, Record, SessionStart
from onefold.engine.blotter import Blotter
from onefold.engine.control import Flattening
from onefold.engine.replay import replaying
from onefold.engine.session import Session
from onefold.fold.handover import carried, check, parts_of
from onefold.journal import decode, head, read, write_atomic
from onefold.sim.plan import Plan

LEFT = "handover.json"
REQUESTS_KEPT = 100
"""Requests of people that are remembered, so that none is carried out once more."""


class Begun(NamedTuple):
    """A journal with records: where it is, what ran, and what it was handed over."""

    path: Path
    start: SessionStart
    handover: Handover | None


def begun(path: Path) -> Begun | None:
    """Return how a journal begins, None where there is none or it is empty."""
    if not path.is_dir():
        return None
    first = list(islice(read(path), 2))
    if not first or first[0].kind != "session":
        return None
    is_heir = len(first) > 1 and first[1].kind == "handover"
    handover = decode(first[1], Handover) if is_heir else None
    return Begun(path, decode(first[0], SessionStart), handover)


def current(folder: Path, mode: str) -> Begun | None:
    """Return the journal of a mode that none came after, None when the account has not run yet."""
    found = [one for path in folder.glob(f"{mode}-*") if (one := begun(path)) is not None]
    succeeded = {one.handover.journal for one in found if one.handover is not None}
    last = [one for one in found if one.path.name not in succeeded]
    # Over recorded bars sessions may begin at one time of their clock: then the last written is it.
    return max(last, key=lambda one: (one.start.ts, _written(one.path)), default=None)


def _written(path: Path) -> int:
    return max((file.stat().st_mtime_ns for file in path.glob("*.jsonl")), default=0)


def new_folder(folder: Path, name: str) -> Path:
    """Return a folder for a journal that has none yet."""
    path, number = folder / name, 2
    while begun(path) is not None:
        path, number = folder / f"{name}-{number}", number + 1
    return path


def mandates_in(path: Path) -> dict[int, Mandate]:
    """Return the mandates of a journal by their numbers; an heir knows those before it."""
    first = begun(path)
    handed = first.handover.mandates if first is not None and first.handover is not None else []
    own = (decode(e, Mandate) for e in read(path) if e.kind == "mandate")
    return {mandate.version: mandate for mandate in (*handed, *own)}


def blotter_of(account: str, start: SessionStart, handover: Handover | None, plan: Plan) -> Blotter:
    """Return an account's blotter; its orders are named by when the first journal began."""
    return Blotter(
        account,
        start.ts if handover is None else handover.born_ts,
        plan.instruments,
        plan.shared,
        plan.names.currencies,
    )


class Estate:
    """What an account would leave if its journal ended now; it is shown every record."""

    def __init__(self, blotter: Blotter) -> None:
        self._blotter = blotter
        self._requests: deque[str] = deque(maxlen=REQUESTS_KEPT)
        self._mandates: list[Mandate] = []
        self._flattening = Flattening()

    def remember(self, record: Record) -> None:
        """Take over what a record says."""
        self._blotter.remember(record)
        self._flattening.remember(record)
        if isinstance(record, Command) and record.id:
            self._requests.append(record.id)
        elif isinstance(record, Mandate):
            self._mandates.append(record)
        elif isinstance(record, Handover):
            self._requests.extend(record.requests)
            self._mandates.extend(record.mandates)

    def handover(self, session: Session, journal: Path, now_ts: int) -> Handover:
        """Return it, with the end of the journal that it stands for."""
        end = head(journal)
        orders = [(p.order, p.state, p.venue_id) for p in self._blotter.open()]
        return Handover(
            ts=now_ts,
            journal=journal.name,
            end_seq=end.seq,
            end_hash=end.hash,
            orders=carried(session.state, orders),
            mandates=self._mandates,
            requests=list(self._requests),
            flattening=sorted(self._flattening.scopes),
            **parts_of(session.state, session.names),
            **self._blotter.left_over(),
        )


def hand_over(
    before: Begun, account: str, plan: Plan, heir: Plan, now_ts: int, *, other_build: bool = False
) -> Handover:
    """Return what a journal leaves to the next one, whose plan is `heir`.

    `plan` is the one that it was written with. `other_build` says that another version of Onefold
    wrote it, which may have decided otherwise; then what that one left at a good end is taken, if
    nothing came after it. Raises `ReplayMismatch`, and `ConfigError` for what the heir has no place
    for.
    """
    estate = Estate(blotter_of(account, before.start, before.handover, plan))
    session, _ = replaying(before.path, plan, keep=False, records=estate.remember)
    try:
        session.resume()
        left = estate.handover(session, before.path, now_ts)
    except ReplayMismatch:
        found = _left_at_a_good_end(before.path)
        if found is None or not other_build:
            raise
        left = found
    if left.orders and before.start.modelled:
        raise ConfigError(
            "orders are on their way at a venue that confirms nothing: start the account once more "
            "with the configuration before, and stop it when they are done"
        )
    rates = {c: rate for c, rate in heir.rates.items() if plan.rates.get(c) != rate}
    left = msgspec.structs.replace(left, ts=now_ts, rates=rates)
    check(left, plan.names, heir.names)
    return left


def leave(estate: Estate, session: Session, journal: Path, now_ts: int) -> None:
    """Write down what an account leaves at a good end, beside its journal, for the next version."""
    left = estate.handover(session, journal, now_ts)
    write_atomic(journal.parent / LEFT, msgspec.json.encode(left))


def _left_at_a_good_end(journal: Path) -> Handover | None:
    """Return what was left, None when it is not of this journal's very end."""
    try:
        left = msgspec.json.decode((journal.parent / LEFT).read_bytes(), type=Handover)
    except (OSError, msgspec.DecodeError):
        return None
    ends = (left.journal, left.end_seq, left.end_hash)
    return left if ends == (journal.name, *head(journal)) else None
