"""An account outlives its configuration: what one journal leaves, the next one begins with.

A journal belongs to exactly one configuration, since a replay needs the rules that were in force.
But an account that is given other rules still has its positions, its orders on their way, and
today's loss. So the journal before is gone through to its end, with the configuration that it has
recorded, and what is there then becomes the first input of the next journal. Each names the one
before, with the place and the hash where it ended.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import NamedTuple

from onefold.domain.errors import ConfigError
from onefold.domain.records import Command, Handover, Mandate, Record, SessionStart
from onefold.engine.blotter import Blotter
from onefold.engine.replay import replaying
from onefold.fold.handover import carried, check, parts_of
from onefold.journal import decode, head, read
from onefold.sim.plan import Plan

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
    return max(last, key=lambda one: one.start.ts, default=None)


def new_folder(folder: Path, name: str) -> Path:
    """Return a folder for a journal that has none yet."""
    path, number = folder / name, 2
    while begun(path) is not None:
        path, number = folder / f"{name}-{number}", number + 1
    return path


def blotter_of(account: str, start: SessionStart, handover: Handover | None, plan: Plan) -> Blotter:
    """Return an account's blotter; its orders are named by when the first journal began."""
    return Blotter(
        account,
        start.ts if handover is None else handover.born_ts,
        plan.instruments,
        plan.shared,
        plan.names.currencies,
    )


def hand_over(before: Begun, account: str, plan: Plan, heir: Plan, now_ts: int) -> Handover:
    """Return what a journal leaves to the next one, whose plan is `heir`.

    `plan` is the one that it was written with. Raises `ReplayMismatch`, and `ConfigError` for what
    the heir has no place for.
    """
    blotter = blotter_of(account, before.start, before.handover, plan)
    requests: list[str] = []
    mandates: list[Mandate] = []

    def seen(record: Record) -> None:
        blotter.remember(record)
        if isinstance(record, Command) and record.id:
            requests.append(record.id)
        elif isinstance(record, Mandate):
            mandates.append(record)
        elif isinstance(record, Handover):
            requests.extend(record.requests)
            mandates.extend(record.mandates)

    session, _ = replaying(before.path, plan, keep=False, records=seen)
    session.resume()
    orders = [(p.order, p.state, p.venue_id) for p in blotter.open()]
    if orders and before.start.modelled:
        raise ConfigError(
            "orders are on their way at a venue that confirms nothing: start the account once more "
            "with the configuration before, and stop it when they are done"
        )
    end = head(before.path)
    left = Handover(
        ts=now_ts,
        journal=before.path.name,
        end_seq=end.seq,
        end_hash=end.hash,
        orders=carried(session.state, orders),
        mandates=mandates,
        rates={c: rate for c, rate in heir.rates.items() if plan.rates.get(c) != rate},
        requests=requests[-REQUESTS_KEPT:],
        **parts_of(session.state, plan.names),
        **blotter.left_over(),
    )
    check(left, plan.names, heir.names)
    return left
