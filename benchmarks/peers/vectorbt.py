"""Run the works with vectorbt: whole columns at once, compiled by numba.

Signals are moved one bar on and filled at the open of the bar they land on, which is a fill at
the next open. W2 goes through a compiled order function, because `from_signals` has no limit on
the number of positions.
"""
# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import vectorbt as vbt
from numba import njit
from vectorbt.portfolio import nb as order_nb

from benchmarks import search, worker, works

WARM_RUNS = 3
# The work lets cash go below zero for a while; vectorbt shrinks orders to the cash there is. Sizes
# do not depend on equity, so a larger deposit gives the same fills and the same profit.
W2_DEPOSIT = 2 * works.CASH
PAIRS_AT_ONCE = 10  # tried 4 to 50: the fastest, and within a common machine's memory


def moved_on(wanted: works.BoolArray) -> works.BoolArray:
    """Return the targets one bar later: the bar at whose open they are filled."""
    later = np.zeros_like(wanted)
    later[1:] = wanted[:-1]
    return later


def crossover(close: Any, fast: Any, slow: Any) -> works.BoolArray:
    """Return, bar by bar, whether the fast average of vectorbt is above the slow one."""
    quick = vbt.MA.run(close, fast).ma.to_numpy()
    calm = vbt.MA.run(close, slow).ma.to_numpy()
    return np.asarray(quick > calm)


def single(close: Any, open_: Any, entries: works.BoolArray) -> Any:
    """Return the portfolio that holds one unit wherever `entries` is true."""
    return vbt.Portfolio.from_signals(
        close,
        entries,
        ~entries,
        price=open_,
        size=1,
        fees=works.COMMISSION,
        init_cash=works.CASH,
        freq="1min",
    )


def minute_series(bars: int) -> tuple[Any, Any]:
    """Return the closes and opens of W1 as pandas series."""
    columns = works.minute_bars(bars)
    index = pd.to_datetime(works.minute_times(bars), unit="ns")
    return pd.Series(columns["close"], index=index), pd.Series(columns["open"], index=index)


def outcome(portfolio: Any, profit: float) -> works.Outcome:
    """Read fills and final position of a portfolio of one symbol."""
    fills, position = int(portfolio.orders.count()), float(portfolio.assets().iloc[-1])
    return works.Outcome(profit=profit, fills=fills, position=position)


def w1(size: int) -> worker.Measurement:
    """Run the crossover on one symbol."""
    close, open_ = minute_series(size)

    def run() -> tuple[Any, float]:
        entries = moved_on(crossover(close, works.FAST, works.SLOW))
        portfolio = single(close, open_, entries)
        return portfolio, float(portfolio.total_profit())

    (portfolio, profit), timing = worker.measure(run, WARM_RUNS)
    return worker.Measurement(timing, {"": outcome(portfolio, profit)})


def w4(size: int) -> worker.Measurement:
    """Trade on every bar; the signals are given, there is nothing to compute them from."""
    close, open_ = minute_series(size)
    entries = moved_on(works.every_bar_targets(size))

    def run() -> tuple[Any, float]:
        portfolio = single(close, open_, entries)
        return portfolio, float(portfolio.total_profit())

    (portfolio, profit), timing = worker.measure(run, WARM_RUNS)
    return worker.Measurement(timing, {"": outcome(portfolio, profit)}, note="arrays, no events")


@njit
def capped_order_nb(context: Any, wanted: Any, open_: Any, decided_at: Any, held: Any) -> Any:
    """Buy a ticket's worth while a slot is free; sell everything when the rule says flat."""
    bar, symbol = context.i, context.col
    size = 0.0
    if wanted[bar, symbol]:
        if context.position_now == 0.0 and held[0] < works.W2_MAX_POSITIONS:
            held[0] += 1
            size = np.floor(works.W2_TICKET / decided_at[bar, symbol])
    elif context.position_now > 0.0:
        held[0] -= 1
        size = -context.position_now
    if size == 0.0:
        return order_nb.order_nothing_nb()
    return order_nb.order_nb(size=size, price=open_[bar, symbol], fees=works.COMMISSION)


def w2(size: int) -> worker.Measurement:
    """Run the portfolio on shared cash with the cap on positions in the order function."""
    columns = works.daily_bars(size)
    index = pd.bdate_range(works.W2_FIRST_DAY, periods=works.W2_DAYS)
    close = pd.DataFrame(columns["close"], index=index)
    decided_at = np.roll(columns["close"], 1, axis=0)

    def run() -> tuple[Any, float]:
        wanted = moved_on(crossover(close, works.FAST, works.SLOW))
        held = np.zeros(1, dtype=np.int64)
        portfolio = vbt.Portfolio.from_order_func(
            close,
            capped_order_nb,
            wanted,
            columns["open"],
            decided_at,
            held,
            init_cash=W2_DEPOSIT,
            cash_sharing=True,
            group_by=True,
            freq="1D",
        )
        return portfolio, float(portfolio.final_value())

    (portfolio, value), timing = worker.measure(run, WARM_RUNS)
    positions = float((portfolio.assets().iloc[-1] > 0).sum())
    fills = int(portfolio.orders.count())
    result = works.Outcome(profit=value - W2_DEPOSIT, fills=fills, position=positions)
    return worker.Measurement(timing, {"": result}, note="from_order_func")


def w3(size: int) -> worker.Measurement:
    """Evaluate pairs of averages, as many columns at once as memory allows."""
    close, open_ = minute_series(works.W3_BARS)
    pairs = works.W3_PAIRS[:size]

    def chunk(bars: int, some: tuple[tuple[int, int], ...]) -> list[float]:
        fast, slow = [pair[0] for pair in some], [pair[1] for pair in some]
        entries = moved_on(crossover(close[:bars], fast, slow))
        portfolio = single(close[:bars], open_[:bars], entries)
        return [float(profit) for profit in portfolio.total_profit().to_numpy()]

    def run() -> list[float]:
        starts = range(0, len(pairs), PAIRS_AT_ONCE)
        return [p for at in starts for p in chunk(works.W3_BARS, pairs[at : at + PAIRS_AT_ONCE])]

    _, compiling = worker.timed(lambda: chunk(1_000, pairs[:PAIRS_AT_ONCE]))
    profits, running = worker.timed(run)
    outcomes = {
        f"{fast}/{slow}": works.Outcome(profit=profit)
        for (fast, slow), profit in zip(pairs, profits, strict=True)
    }
    return worker.Measurement(worker.Timing(compiling, running), outcomes)


def w3o(size: int) -> worker.Measurement:
    """Let Optuna search among the pairs, which then come one by one."""
    close, open_ = minute_series(works.W3_BARS)

    def evaluate(fast: int, slow: int) -> float:
        entries = moved_on(crossover(close, fast, slow))
        return float(single(close, open_, entries).total_profit())

    return search.searched(evaluate, size)


WORKS = {"w1": w1, "w2": w2, "w3": w3, "w3o": w3o, "w4": w4}

if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    worker.main("vectorbt", vbt.__version__, WORKS)
