"""What suppressions cost or saved: the entries that they have stopped, each traded by itself."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from onefold.app.wiring import recorded_recipe
from onefold.engine.counterfactual import Recalled, counterfactual, recall
from onefold.engine.replay import started
from onefold.engine.succession import mandates_in
from onefold.fold.memory import Rows
from onefold.governance.parameters import Parameters
from onefold.governance.versions import Hold, Version
from onefold.sim.plan import Plan
from onefold.views.gate_value import GateValue

GATE = "suppression"
FOR_EVER = np.iinfo(np.int64).max


class Impact(NamedTuple):
    """One suppression in a journal: from when to when it was in force there, and what it was worth.

    `value` is None when it stopped nothing; `end_ts` is None while it lasts.
    """

    version: Version
    start_ts: int
    end_ts: int | None
    value: GateValue | None


def impacts(parameters: Parameters, folder: Path) -> list[Impact]:
    """Return the impact of every suppression that has reached a journal, the oldest first.

    The journal is replayed. Times are those of its own clock. Raises as `engine.replay.replay`.
    """
    told = {number: mandate.ts for number, mandate in mandates_in(folder).items()}
    plan = recorded_recipe(started(folder)).plan()
    recalled = recall(folder, plan)
    found = []
    for version in parameters.applied:
        hold = version.hold
        if hold is None or hold.action != "suppress" or not version.changes:
            continue
        start = told.get(version.changes[0].number)
        if start is None:
            continue
        end = _end_of(version, told, parameters)
        found.append(Impact(version, start, end, _value(plan, recalled, hold, start, end)))
    return found


def _end_of(version: Version, told: dict[int, int], parameters: Parameters) -> int | None:
    """Return when a suppression ended in the journal, None where it did not.

    Each scope is held and let go by itself: what else is released over or in it does not end it,
    and to suppress it anew does.
    """
    for later in parameters.applied:
        is_later = later.version > version.version
        if is_later and later.hold is not None and _same_scope(later.hold, version.hold):
            known = [told[c.number] for c in later.changes if c.number in told]
            if known:
                return known[0]
    return None


def _same_scope(one: Hold, other: Hold | None) -> bool:
    return other is not None and (one.holder, one.scope) == (other.holder, other.scope)


def _value(
    plan: Plan, recalled: Recalled, hold: Hold, start: int, end: int | None
) -> GateValue | None:
    entries = _within(plan, recalled.run.outcome.decisions, hold, start, end or FOR_EVER)
    if not len(entries):
        return None
    worth = counterfactual(
        plan, recalled.bars, entries, said=recalled.said, actions=recalled.actions
    )
    return next((one for one in worth.values if one.gate == GATE), None)


def _within(plan: Plan, decisions: Rows, hold: Hold, start: int, end: int) -> Rows:
    """Return the decisions of a scope in a time."""
    chosen = (decisions["ts"] >= start) & (decisions["ts"] < end)
    for column, name, names in (
        ("strategy", hold.strategy, plan.names.strategies),
        ("instrument", hold.instrument, plan.names.symbols),
    ):
        if name:
            chosen &= decisions[column] == (names.index(name) if name in names else -1)
    return decisions[chosen]
