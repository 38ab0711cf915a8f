"""Counterfactuals: what the entries would have made that gates have stopped.

Each is run by itself through the fold and the simulated venue (`sim.single`), from what its
strategy said at the time: of a journal that is what was recorded, so no model is asked again. What
they would have done to each other, and the cash that all of them together would have needed, is
left out; that is another run, not another analysis.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Bars, Floats, Integers, Signals
from onefold.domain.convert import to_columns
from onefold.domain.errors import FoldError
from onefold.domain.records import Action, Bar, Signal
from onefold.domain.words import Purpose, Side
from onefold.engine.replay import replay
from onefold.engine.session import Input, Session
from onefold.fold.gates import GATE_NAMES, Gate
from onefold.fold.memory import Rows
from onefold.sim.backtest import Run
from onefold.sim.plan import Placement, Plan
from onefold.sim.single import Single
from onefold.views.gate_value import GateValue, Stopped, gate_values

Said = Mapping[tuple[str, str], Signals]
"""What strategies said of every bar of an instrument, by the names of both."""

_MOVES_PRICES = ("split", "roll")
"""Actions after which prices mean something else: a trade over one has no counterfactual."""


class Recalled(NamedTuple):
    """A run as its journal tells it, with its bars, its signals and its corporate actions."""

    run: Run
    bars: dict[str, Bars]
    said: dict[tuple[str, str], Signals]
    actions: list[Action]


class Outcomes(NamedTuple):
    """What decisions would have come to, one value each; nothing known has a gain of NaN.

    `row` is the bar of the decision's own instrument, `end_ts` when the outcome was known, `gain`
    the return on the entry's value after costs.
    """

    row: Integers
    end_ts: Integers
    gain: Floats


class Counterfactual(NamedTuple):
    """The episodes that gates have stopped, and the gates by their columns.

    Gates of the user's own stand under `own.STRATEGY.NAME`. `bars` is the length of the time line.
    `left_out` says of strategies why they have no counterfactual.
    """

    gates: tuple[str, ...]
    stopped: Stopped
    bars: int
    left_out: dict[str, str]

    @property
    def values(self) -> list[GateValue]:
        """Return the value of every gate that was a reason."""
        return gate_values(self.stopped, self.gates, self.bars)


def recall(path: str | Path, plan: Plan, *, seen: Callable[[int], None] | None = None) -> Recalled:
    """Replay a journal with the plan that it was written with, and keep what was said.

    `seen` is told the inputs so far. Raises as `engine.replay.replay`.
    """
    bars: dict[str, list[Bar]] = defaultdict(list)
    said: dict[tuple[str, str], _Heard] = {
        (one.name, symbol): _Heard() for one in plan.placements for symbol in one.symbols
    }
    actions: list[Action] = []

    def look(session: Session, record: Input, signals: list[Signal]) -> None:
        if isinstance(record, Bar):
            for signal in signals:
                said[signal.strategy, signal.instrument].hear(len(bars[record.instrument]), signal)
            bars[record.instrument].append(record)
        elif isinstance(record, Action):
            actions.append(record)
        if seen is not None:
            seen(session.inputs)

    run = replay(path, plan, seen=look).run
    columns = {symbol: to_columns(records) for symbol, records in bars.items()}
    return Recalled(
        run,
        columns,
        {key: heard.columns(columns[key[1]].rows) for key, heard in said.items() if key[1] in bars},
        actions,
    )


class _Heard:
    """What one strategy said of an instrument's bars, as it comes in."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._said: list[tuple[float | None, ...]] = []

    def hear(self, row: int, signal: Signal) -> None:
        """Take what was said of the bar of that number."""
        self._rows.append(row)
        self._said.append(tuple(getattr(signal, name) for name in Signals._fields))

    def columns(self, rows: int) -> Signals:
        """Return signals of so many bars: HOLD where nothing was said, as of a late one."""
        table = np.full((rows, len(Signals._fields)), nan)
        if self._rows:
            table[self._rows] = np.array(self._said, np.float64)  # None becomes NaN
        said = dict(zip(Signals._fields, np.ascontiguousarray(table.T), strict=True))
        side = np.where(np.isnan(said["side"]), int(Side.HOLD), said["side"])
        unready = np.nan_to_num(said["unready"])
        return Signals(
            **{**said, "side": side.astype(np.int8), "unready": unready.astype(np.int64)}
        )


def outcomes(
    plan: Plan,
    bars: Mapping[str, Bars],
    entries: Rows,
    *,
    said: Said | None = None,
    actions: Sequence[Action] = (),
) -> Outcomes:
    """Return what each entry would have come to, had it been traded by itself.

    `entries` are rows of `layouts.DECISION` with the purpose of an entry, `bars` those of the run.
    Without `said` the strategies are asked. No outcome have entries that nothing fills, trades that
    are open at the end or meet a split or a roll, and strategies that need their own position.
    Raises `FoldError` when the bars are not those of the decisions.
    """
    count = len(entries)
    found = Outcomes(np.zeros(count, np.int64), entries["ts"].astype(np.int64), np.full(count, nan))
    for s, i, chosen in _by_sleeve(entries):
        placement, symbol = plan.placements[s], plan.names.symbols[i]
        found.row[chosen] = _rows_of(bars, symbol, entries[chosen])
        if placement.strategy.needs_position:
            continue
        signals = None if said is None else said[placement.name, symbol]
        single = Single(_alone(plan, s, i), bars[symbol], signals)
        moved = [a.ts for a in actions if a.instrument == symbol and a.action in _MOVES_PRICES]
        for n in chosen.tolist():
            ended = single.outcome(int(found.row[n]))
            if ended is None or ended.side != entries["side"][n]:
                continue
            end_ts = int(bars[symbol].ts[ended.end])
            if not any(entries["ts"][n] < ts <= end_ts for ts in moved):
                found.end_ts[n], found.gain[n] = end_ts, ended.gain
    return found


def counterfactual(
    plan: Plan,
    bars: Mapping[str, Bars],
    decisions: Rows,
    *,
    said: Said | None = None,
    actions: Sequence[Action] = (),
) -> Counterfactual:
    """Return what gates have stopped in a run, and what that would have made.

    `decisions` is an array of `layouts.DECISION`; of an episode, the consecutive bars on which a
    sleeve was stopped on the same side, the first decides. The others are as in `outcomes`.
    """
    unable = plan.needs_position
    able = np.array([p.name not in unable for p in plan.placements])
    entries = decisions[
        (decisions["purpose"] == Purpose.ENTRY)
        & (decisions["blocked"] != 0)
        & able[decisions["strategy"]]
    ]
    entries = entries[_begins(plan, bars, entries)]
    found = outcomes(plan, bars, entries, said=said, actions=actions)
    line = np.unique(np.concatenate([entries["ts"], *(part.ts for part in bars.values())]))
    gates, blocked, first = _reasons(plan, bars, entries, found.row)
    stopped = Stopped(
        start=np.searchsorted(line, entries["ts"]),
        end=np.searchsorted(line, found.end_ts),
        gain=found.gain,
        value=_values(plan, entries),
        blocked=blocked,
        first=first,
    )
    why = "it needs its own position, which nobody knows of a trade that was not made"
    return Counterfactual(gates, stopped, len(line), dict.fromkeys(unable, why))


def _by_sleeve(entries: Rows) -> list[tuple[int, int, Integers]]:
    """Return strategy, instrument and the positions of the entries of every sleeve."""
    pairs = np.unique(np.stack([entries["strategy"], entries["instrument"]], axis=1), axis=0)
    return [
        (s, i, np.flatnonzero((entries["strategy"] == s) & (entries["instrument"] == i)))
        for s, i in pairs.tolist()
    ]


def _rows_of(bars: Mapping[str, Bars], symbol: str, entries: Rows) -> Integers:
    """Return the bar at whose close each entry was decided."""
    ts = bars[symbol].ts if symbol in bars else np.zeros(0, np.int64)
    rows: Integers = np.searchsorted(ts, entries["ts"])
    wrong = (rows >= len(ts)) | (np.append(ts, 0)[np.minimum(rows, len(ts))] != entries["ts"])
    if wrong.any():
        one = entries[wrong][0]
        raise FoldError(
            f"decision {one['id']}: there is no bar of {symbol} that closes at "
            f"{np.datetime64(int(one['ts']), 'ns')}Z; give the bars of the run"
        )
    return rows


def _begins(plan: Plan, bars: Mapping[str, Bars], entries: Rows) -> Integers:
    """Return which entries begin an episode, in the order in which they are given."""
    begins = np.zeros(len(entries), np.bool_)
    for _, i, chosen in _by_sleeve(entries):
        rows = _rows_of(bars, plan.names.symbols[i], entries[chosen])
        side = entries["side"][chosen]
        begins[chosen] = np.r_[True, (np.diff(rows) > 1) | (side[1:] != side[:-1])]
    return np.flatnonzero(begins)


def _alone(plan: Plan, s: int, i: int) -> Plan:
    """Return the plan of one sleeve, in its own currency, with short selling allowed.

    A return is the same in every currency, and that a short sale was forbidden is what is asked.
    """
    instrument = plan.instruments[i].model_copy(update={"short": True})
    return replace(
        plan,
        account=plan.account.model_copy(update={"currency": instrument.currency}),
        instruments=(instrument,),
        placements=(replace(plan.placements[s], symbols=(instrument.symbol,)),),
        intervals_ns=(plan.intervals_ns[i],),
        rates={},
        rate_pairs={},
    )


def _values(plan: Plan, entries: Rows) -> Floats:
    """Return the value of every entry at its usual size, NaN where that is not known.

    Not known is the size that another gate wants above zero, and the value in a currency whose
    rate changes: decisions do not carry it.
    """
    base = plan.account.currency
    moving = {currency.removeprefix("-") for currency in plan.rate_pairs.values()}
    fixed = {c: rate for c, rate in plan.rates.items() if c not in moving}
    points = np.array(
        [
            one.point_value * (1.0 if one.currency == base else fixed.get(one.currency, nan))
            for one in plan.instruments
        ]
    )
    values = entries["qty"] * np.abs(entries["price"]) * points[entries["instrument"]]
    return np.where(entries["qty"] > 0, values, nan)


def _reasons(
    plan: Plan, bars: Mapping[str, Bars], entries: Rows, rows: Integers
) -> tuple[tuple[str, ...], NDArray[np.bool_], Integers]:
    """Return the names of all gates, which of them said no to each entry, and which first.

    A decision says that gates of the user's own refused, and not which: they are measured anew.
    """
    own = [(s, name) for s, one in enumerate(plan.placements) for name in one.own_gates]
    names = [f"own.{plan.placements[s].name}.{name}" for s, name in own]
    at = int(Gate.OWN)
    gates = (*GATE_NAMES[:at], *names, *GATE_NAMES[at + 1 :])
    said = (entries["blocked"][:, None] >> np.arange(len(GATE_NAMES))) & 1 == 1
    refused = np.zeros((len(entries), len(own)), np.bool_)
    for s, i, chosen in _by_sleeve(entries):
        refusals = _refusals(plan.placements[s], bars[plan.names.symbols[i]])
        for name, no in refusals.items():
            refused[chosen, own.index((s, name))] = no[rows[chosen]] & said[chosen, at]
    unexplained = np.flatnonzero(said[:, at] & ~refused.any(axis=1))
    if len(unexplained):
        raise FoldError(
            f"decision {entries['id'][unexplained[0]]} was stopped by a gate of your own that "
            "passes it on these bars; give the bars of the run"
        )
    blocked = np.hstack([said[:, :at], refused, said[:, at + 1 :]])
    return gates, blocked, np.argmax(blocked, axis=1)


def _refusals(placement: Placement, bars: Bars) -> dict[str, NDArray[np.bool_]]:
    """Return of every gate of the user's own to which bars it says no."""
    return {name: ~gate.passes(gate.batch(bars)) for name, gate in placement.own_gates.items()}
