"""A backtest of any plan: over columns where that is possible, and else event by event.

A strategy that needs its own position has no signals before the fold has said what it holds. Then
the bars go through a session with the simulated venue and no journal: the same fold, the same
result, at the price of some tens of microseconds a bar.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence

from onefold.domain.columns import Bars
from onefold.domain.records import Bar, SessionStart
from onefold.engine.recorder import Recorder
from onefold.engine.session import Input as Event
from onefold.engine.session import Session
from onefold.sim.backtest import Input, Run, run
from onefold.sim.exchange import SimulatedVenue
from onefold.sim.market import Market
from onefold.sim.plan import Plan

Progress = Callable[[int, int], None]

BARS_PER_STEP = 1_000
"""Bars between two reports of progress."""
_START = SessionStart(ts=0, mode="backtest", version="", build="", config_hash="", config={})


def backtest(
    plan: Plan,
    bars: Mapping[str, Bars] | Market,
    inputs: Sequence[Input] = (),
    *,
    progress: Progress | None = None,
) -> Run:
    """Run a backtest of any plan over bars by symbol, or over a market that was made of them.

    `inputs` and `progress` are as in `sim.backtest.run`. Raises `InvariantBroken`, `ConfigError`,
    `DataError`, `SignalError`.
    """
    if not plan.needs_position:
        return run(plan, bars, inputs, progress=progress)
    market = bars if isinstance(bars, Market) else Market(plan.names.symbols, bars)
    session = Session(
        plan, SimulatedVenue(plan.book(), plan.names), Recorder(iter(()), None), _START
    )
    # Of the same time bars come first, as heapq takes what is equal from the first of its inputs.
    ordered = sorted(inputs, key=_ts)
    session.run(heapq.merge(_counted(market, progress), ordered, key=_ts))
    return session.result()


def _counted(market: Market, progress: Progress | None) -> Iterator[Bar]:
    """Yield the bars, and say now and then how many there were."""
    for done, bar in enumerate(market.records(), 1):
        yield bar
        if progress is not None and (done % BARS_PER_STEP == 0 or done == market.rows):
            progress(done, market.rows)


def _ts(event: Event) -> int:
    return event.ts
