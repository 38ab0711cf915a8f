"""Run a plan over columns of bars: features and signals in batch, then the compiled loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Bars, Floats, Integers, Signals
from onefold.domain.errors import ConfigError
from onefold.domain.records import Action, Command, Mandate
from onefold.domain.words import Mode, Side
from onefold.fold.codec import Inbox
from onefold.fold.memory import Rows
from onefold.fold.state import Out, State
from onefold.sim.loop import Tape, input_nb, loop_nb
from onefold.sim.outcome import Collector, Outcome, check_books, fingerprint
from onefold.sim.plan import Plan
from onefold.sim.venue import event_buffer

Input = Action | Command | Mandate

CHUNK_ROWS = 1_024
"""Rows of the output buffers: small enough to stay in cache, since fresh memory costs more."""
EVENTS_PER_STEP = 1_000_000
"""Events between two reports of progress."""

_COLUMNS = ("ts", "ts_open", "open", "high", "low", "close", "volume", "bid", "ask", "to_close_s")
_MAY_BE_ONE = ("volume", "bid", "ask", "to_close_s")
_OPINIONS = (
    "confidence", "score", "edge", "volatility", "trend", "barrier", "price", "unready",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished backtest: what the fold wrote, the equity after each event, the end state.

    `ts` and `equity` have one value per bar, in the order of the events.
    """

    collected: Collector
    ts: Integers
    equity: Floats
    state: State

    @cached_property
    def outcome(self) -> Outcome:
        """Return everything the fold wrote, joined from the pieces it came in when first asked."""
        return self.collected.outcome()

    @cached_property
    def fingerprint(self) -> str:
        """Return the hash by which runs are compared; see `outcome.fingerprint`."""
        return fingerprint(self.outcome, self.state)


def run(
    plan: Plan,
    bars: Mapping[str, Bars],
    inputs: Sequence[Input] = (),
    *,
    trace: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Run a backtest over bars by symbol.

    `inputs` are splits, dividends, rolls, rates, commands and mandates; each comes after the bars
    that close at or before its time. `trace` keeps every gate's value of every decision.
    `progress` is told the events done and their number. Raises `InvariantBroken`, `ConfigError`.
    """
    tape = make_tape(plan, bars)
    rows, at = _inputs(plan, inputs, tape)
    state, book = plan.state(Mode.BACKTEST), plan.book()
    spare = 32 * len(state.sleeves) + len(state.orders) + 64
    out = Out(CHUNK_ROWS + spare, trace=trace)
    roots = (state.root, book.root, out.root)
    events = event_buffer(book)
    total = len(tape.row)
    equity = np.empty(total)
    collector = Collector(trace=trace)

    def collect() -> None:
        collector.drain(out)
        check_books(state, plan.names, int(state.account["ts"][0]))

    done = taken = 0
    while done < total or taken < len(at):
        stop = min(total, done + EVENTS_PER_STEP, *at[taken : taken + 1])
        while done < stop:
            done = loop_nb(*roots, tape, events, equity, done, stop, spare)
            collect()
        while taken < len(at) and at[taken] == done:
            input_nb(*roots, rows, taken, events)
            collect()
            taken += 1
        if progress is not None:
            progress(done, total)
    return Run(collector, tape.ts[tape.row], equity, state)


def make_tape(plan: Plan, bars: Mapping[str, Bars]) -> Tape:
    """Return the whole window as columns: bars and signals in order of time."""
    parts = [_bars_of(bars, symbol) for symbol in plan.names.symbols]
    instrument, row = _order([p.ts for p in parts])
    columns = {name: _joined(name, [getattr(p, name) for p in parts]) for name in _COLUMNS}
    arrays = {"instrument": instrument, "row": row, **columns, **_signals(plan, parts)}
    return Tape(**{name: _read_only(array) for name, array in arrays.items()})


def _bars_of(bars: Mapping[str, Bars], symbol: str) -> Bars:
    part = bars.get(symbol)
    if part is None or part.rows == 0:
        raise ConfigError(f"there are no bars of {symbol!r}")
    return part


def _order(times: list[Integers]) -> tuple[Integers, Integers]:
    """Return the instrument and the row of every event, by time, then by instrument."""
    if len(times) == 1:
        return np.zeros(len(times[0]), np.int64), np.arange(len(times[0]))
    rows = len(times[0])
    number = np.arange(len(times))
    if all(len(t) == rows and np.array_equal(t, times[0]) for t in times[1:]):
        grid = np.arange(rows)[:, None] + (number * rows)[None, :]
        return np.tile(number, rows), grid.ravel()
    # A stable sort of runs that are sorted already only merges them.
    order = np.argsort(np.concatenate(times), kind="stable")
    return np.repeat(number, [len(t) for t in times])[order], order


def _joined(name: str, columns: list[NDArray[np.float64]]) -> Rows:
    """Return the instruments' columns one after another; a constant column has one value."""
    repeats = name in _MAY_BE_ONE and all(c.strides == (0,) for c in columns)
    if repeats and len({_key(c[0]) for c in columns}) == 1:
        return columns[0][:1].copy()
    return np.ascontiguousarray(columns[0]) if len(columns) == 1 else np.concatenate(columns)


def _key(value: float) -> float | str:
    return "nan" if math.isnan(value) else value


def _signals(plan: Plan, parts: list[Bars]) -> dict[str, Rows]:
    """Return every strategy's signals over all rows, HOLD where it does not trade."""
    by_sleeve: dict[tuple[int, int], Signals] = {}
    for i, (symbol, part) in enumerate(zip(plan.names.symbols, parts, strict=True)):
        numbers, strategies = plan.on(symbol)
        for s, signals in zip(numbers, strategies.batch(part), strict=True):
            by_sleeve[s, i] = signals
    strategies_count, total = len(plan.placements), sum(p.rows for p in parts)
    if len(by_sleeve) == 1 and strategies_count == len(parts) == 1:
        (only,) = by_sleeve.values()
        return {name: getattr(only, name)[None, :] for name in ("side", *_OPINIONS)}
    side = np.full((strategies_count, total), int(Side.HOLD), np.int8)
    starts = np.concatenate([[0], np.cumsum([p.rows for p in parts])])
    for (s, i), signals in by_sleeve.items():
        side[s, starts[i] : starts[i + 1]] = signals.side
    opinions = {name: _opinions(name, by_sleeve, strategies_count, starts) for name in _OPINIONS}
    return {"side": side, **opinions}


def _opinions(
    name: str, by_sleeve: Mapping[tuple[int, int], Signals], strategies: int, starts: Integers
) -> Rows:
    """Return one field of all signals: a value per row, or per strategy where that is enough."""
    columns = {key: getattr(signals, name) for key, signals in by_sleeve.items()}
    constants: dict[int, set[float | str]] = {}
    for (s, _), column in columns.items():
        constants.setdefault(s, set()).update(_key(v) for v in column[:2].tolist())
    alike = all(len(c) == 1 for c in columns.values())
    integer = name == "unready"
    if alike and all(len(values) == 1 for values in constants.values()):
        table = np.zeros((strategies, 1), np.int64 if integer else np.float64)
        for (s, _), column in columns.items():
            table[s, 0] = column[0]
        return table
    table = np.zeros((strategies, int(starts[-1])), np.int64 if integer else np.float64)
    for (s, i), column in columns.items():
        table[s, starts[i] : starts[i + 1]] = column
    return table


def _inputs(plan: Plan, inputs: Sequence[Input], tape: Tape) -> tuple[Rows, list[int]]:
    """Return other inputs as rows, and the number of the event that each comes before."""
    inbox = Inbox(plan.names)
    ordered = sorted(inputs, key=lambda x: x.ts)
    for event in ordered:
        if isinstance(event, Action):
            inbox.action(event)
        elif isinstance(event, Command):
            inbox.command(event)
        else:
            inbox.mandate(event)
    if not ordered:
        return inbox.take(), []
    after = np.searchsorted(tape.ts[tape.row], [e.ts for e in ordered], side="right")
    return inbox.take(), after.tolist()


def _read_only(array: Rows) -> Rows:
    """Return a view that compiled code cannot write to; numba compiles for one kind only."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
