"""The books of every sleeve by day, as a journal is gone through.

A closed trade books all its profit on one day and an open one none, so ratios need what each
strategy in each instrument was worth when a day ended, marked to market. The fold keeps these books
anyway, exactly, through splits, rolls, adoptions and what one session takes over from another;
nobody has to work them out again from fills.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from onefold.domain.columns import Floats
from onefold.domain.records import Bar, Handover, Record, Signal
from onefold.domain.words import Mode
from onefold.engine.replay import replaying
from onefold.engine.session import Input, Session
from onefold.engine.succession import begun
from onefold.fold.handover import take_over
from onefold.fold.state import Out, State
from onefold.sim.backtest import Run
from onefold.sim.plan import Plan
from onefold.views.equity import DAY_NS
from onefold.views.sleeves import SleeveCurve


class MeasuredRun(NamedTuple):
    """A run as its journal tells it: what it did, its sleeves by day, and what it began with.

    So many `records` were compared.
    """

    run: Run
    curve: SleeveCurve
    cash: float
    records: int


def measure_run(
    path: str | Path,
    plan: Plan,
    *,
    seen: Callable[[int], None] | None = None,
    records: Callable[[Record], None] | None = None,
) -> MeasuredRun:
    """Replay a journal with the plan that it was written with, and keep the sleeves' books.

    `seen` is told the inputs so far, `records` every record. Raises as `engine.replay.replay`.
    """
    first = begun(Path(path))
    handover = None if first is None else first.handover
    books = SleeveBooks(plan, handover)

    session, recorder = replaying(path, plan, records=records)

    def look(record: Input, signals: list[Signal]) -> None:
        books.look(session, record, signals)
        if seen is not None:
            seen(session.inputs)

    session.watch(look)
    session.resume()
    cash = plan.account.cash
    if handover is not None:
        cash = float(handover.account["equity"] or 0.0)
    return MeasuredRun(session.result(), books.curve(), cash, recorder.checked)


class SleeveBooks:
    """What every sleeve is worth after the last bar of each day; give `look` to `Session.watch`."""

    def __init__(self, plan: Plan, handover: Handover | None) -> None:
        sleeves = len(plan.names.strategies) * len(plan.instruments)
        self._start = np.zeros(sleeves) if handover is None else _taken_over(handover, plan)
        self._day = -1
        self._ts: list[int] = []
        self._worth: list[Floats] = []

    def look(self, session: Session, record: Input, _signals: list[Signal]) -> None:
        """Take what there is after a bar; a day counts as it was last seen."""
        if not isinstance(record, Bar):
            return
        day = (record.ts - 1) // DAY_NS
        if day > self._day:
            self._day = day
            self._ts.append(record.ts)
            self._worth.append(_worth(session.state))
        else:
            self._ts[-1] = max(record.ts, self._ts[-1])
            self._worth[-1] = _worth(session.state)

    def curve(self) -> SleeveCurve:
        """Return the curve so far."""
        worth = np.array(self._worth).reshape(-1, len(self._start))
        return SleeveCurve(np.array(self._ts, np.int64), worth, self._start)


def _worth(state: State) -> Floats:
    """Return what each sleeve has made so far, in the base currency."""
    instruments, sleeves = state.instruments, state.sleeves
    rate = state.currencies["rate"][instruments["currency"]]
    wide = (-1, len(instruments))
    qty = sleeves["qty"].reshape(wide)
    gain = qty * (instruments["mark"] - sleeves["average"].reshape(wide))
    # What was never held has no price yet, and its currency may have no rate.
    held = np.where(qty != 0, gain * instruments["point"] * rate, 0.0)
    worth: Floats = sleeves["realised"] + held.ravel()
    return worth


def _taken_over(handover: Handover, plan: Plan) -> Floats:
    """Return what the sleeves of a plan had made in the sessions before."""
    state = plan.state(Mode.SIMULATE)
    out = Out(len(state.sleeves) + len(state.orders) + 1, trace=False)
    take_over(state, out, plan.names, handover)
    return _worth(state)
