"""What suppressions cost or saved: the entries that they have stopped, each traded by itself."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from onefold.app.ruling import mandate_times
from onefold.app.wiring import recorded_recipe
from onefold.engine.counterfactual import Recalled, counterfactual, recall
from onefold.engine.replay import started
from onefold.fold.memory import Rows
from onefold.governance.parameters import SUPPRESS, Hold, Parameters, Version
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
    told = mandate_times(folder)
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
        end = _end_of(hold, version.changes[0].number, told, parameters)
        found.append(Impact(version, start, end, _value(plan, recalled, hold, start, end)))
    return found


def _end_of(hold: Hold, number: int, told: dict[int, int], parameters: Parameters) -> int | None:
    """Return when a suppression was let go in the journal, None where it was not."""
    for change in (c for v in parameters.applied for c in v.changes if c.number > number):
        lets_go = change.mandate == SUPPRESS and not change.value
        scope = Hold("release", hold.holder, change.strategy, change.instrument)
        if lets_go and scope.covers(hold) and change.number in told:
            return told[change.number]
    return None


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
