"""Run a plan over columns of bars: features and signals in batch, then the compiled loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onefold.domain.columns import Bars, Floats, Integers
from onefold.domain.errors import ConfigError
from onefold.domain.intake import admitted
from onefold.domain.records import Action, Command, Mandate
from onefold.domain.words import Mode
from onefold.fold.codec import Inbox
from onefold.fold.memory import Rows
from onefold.fold.state import Out, State
from onefold.sim.loop import input_nb, loop_nb
from onefold.sim.market import Market
from onefold.sim.outcome import Collector, Outcome, check_books, fingerprint
from onefold.sim.plan import Plan
from onefold.sim.venue import event_buffer

Input = Action | Command | Mandate

CHUNK_ROWS = 1_024
"""Rows of the output buffers: small enough to stay in cache, since fresh memory costs more."""
EVENTS_PER_STEP = 1_000_000
"""Events between two reports of progress."""


@dataclass(frozen=True)
class Run:
    """A finished backtest: what the fold wrote, the equity after each event, the end state.

    `ts` and `equity` have one value per bar, in the order of the events.
    """

    collected: Collector
    times: Callable[[], Integers]
    equity: Floats
    state: State

    @cached_property
    def ts(self) -> Integers:
        """Return the time of every event."""
        return self.times()

    @cached_property
    def fills(self) -> Rows:
        """Return the fills alone, rows of `layouts.FILL`."""
        return self.collected.joined("fills")

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
    bars: Mapping[str, Bars] | Market,
    inputs: Sequence[Input] = (),
    *,
    trace: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Run a backtest over bars by symbol, or over a market that was made of them.

    `inputs` are splits, dividends, rolls, rates, commands and mandates; each comes after the bars
    that close at or before its time. `trace` keeps every gate's value of every decision.
    `progress` is told the events done and their number. A plan with a strategy that needs its own
    position is none for columns: `engine.backtest` takes every plan. Raises `InvariantBroken`,
    `ConfigError`.
    """
    if plan.needs_position:
        raise ConfigError(
            f"strategy {plan.needs_position[0]!r} needs its own position, so its signals cannot be "
            "made before the run: use onefold.engine.backtest.backtest, which goes event by event"
        )
    market = bars if isinstance(bars, Market) else Market(plan.names.symbols, bars)
    tape = market.tape(plan)
    rows, at = _inputs(plan, inputs, market)
    state, book = plan.state(Mode.BACKTEST), plan.book()
    spare = 32 * len(state.sleeves) + len(state.orders) + 64
    out = Out(CHUNK_ROWS + spare, trace=trace)
    roots = (state.root, book.root, out.root)
    events = event_buffer(book)
    total = tape.events
    equity = np.empty(total)
    collector = Collector(trace=trace)

    def collect() -> None:
        collector.drain(out)
        check_books(state, plan.names, int(state.account["ts"][0]))

    done = taken = 0
    while done < total or taken < len(at):
        stop = min(total, done + EVENTS_PER_STEP, *at[taken : taken + 1])
        while done < stop:
            done = loop_nb(*roots, tape.root, events, equity, done, stop, spare)
            collect()
        while taken < len(at) and at[taken] == done:
            input_nb(*roots, rows, taken, events)
            collect()
            taken += 1
        if progress is not None:
            progress(done, total)
    return Run(collector, market.ts, equity, state)


def _inputs(plan: Plan, inputs: Sequence[Input], market: Market) -> tuple[Rows, list[int]]:
    """Return other inputs as rows, and the number of the event that each comes before."""
    inbox = Inbox(plan.names)
    ordered = sorted((admitted(one) for one in inputs), key=lambda x: x.ts)
    for event in ordered:
        if isinstance(event, Action):
            inbox.action(event)
        elif isinstance(event, Command):
            inbox.command(event)
        else:
            inbox.mandate(event)
    if not ordered:
        return inbox.take(), []
    after = np.searchsorted(market.ts(), [e.ts for e in ordered], side="right")
    return inbox.take(), after.tolist()
