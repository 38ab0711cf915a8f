"""Run the works with backtesting.py: a strategy class called once per bar, one symbol.

Orders fill at the next open; a strategy is first called one bar after its averages are known. Its
`run` always works out the statistics too; they cannot be split off, so they are in its time. It has
no portfolio of several symbols, hence no W2.
"""
# mypy: disable-error-code="import-not-found,import-untyped,misc"

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import backtesting
import pandas as pd
from backtesting import Backtest, Strategy

from benchmarks import search, worker, works

RULE = works.Rule(late_bars=1)


def rolling_mean(values: Any, length: int) -> Any:
    """Return the simple moving average as a plain array."""
    return pd.Series(values).rolling(length).mean().to_numpy()


class Crossover(Strategy):
    """Hold one unit while the fast average is above the slow one."""

    fast = works.FAST
    slow = works.SLOW

    def init(self) -> None:
        """Compute both averages over the whole column."""
        self.quick = self.I(rolling_mean, self.data.Close, self.fast)
        self.calm = self.I(rolling_mean, self.data.Close, self.slow)
        self.is_long = False

    def next(self) -> None:
        """Send an order when the side changes."""
        wanted = bool(self.quick[-1] > self.calm[-1])
        if wanted != self.is_long:
            self.is_long = wanted
            (self.buy if wanted else self.sell)(size=1)


class EveryBar(Strategy):
    """Trade on every bar."""

    def init(self) -> None:
        """Start flat."""
        self.is_long = False

    def next(self) -> None:
        """Change sides."""
        self.is_long = not self.is_long
        (self.buy if self.is_long else self.sell)(size=1)


def backtest(bars: int, strategy: type[Strategy]) -> Any:
    """Return a backtest of the strategy over the first bars of W1."""
    columns = works.minute_bars(bars)
    frame = pd.DataFrame(
        {name.capitalize(): column for name, column in columns.items()},
        index=pd.to_datetime(works.minute_times(bars), unit="ns"),
    )
    return Backtest(
        frame,
        strategy,
        cash=works.CASH,
        commission=works.COMMISSION,
        finalize_trades=False,
    )


def outcome(statistics: Any) -> works.Outcome:
    """Read profit, fills and position from the statistics of a run."""
    position = float(statistics["_strategy"].position.size)
    fills = 2 * len(statistics["_trades"]) + int(position != 0)
    profit = float(statistics["Equity Final [$]"]) - works.CASH
    return works.Outcome(profit=profit, fills=fills, position=position)


def measurement(timing: worker.Timing, outcomes: Mapping[str, works.Outcome]) -> worker.Measurement:
    """Return what was measured, with what this engine does in its own way."""
    return worker.Measurement(timing, outcomes, note="with statistics", rule=RULE)


def w1(size: int) -> worker.Measurement:
    """Run the crossover on one symbol."""
    test = backtest(size, Crossover)
    statistics, timing = worker.measure(test.run, warm_runs=0)
    return measurement(timing, {"": outcome(statistics)})


def w4(size: int) -> worker.Measurement:
    """Trade on every bar."""
    test = backtest(size, EveryBar)
    statistics, timing = worker.measure(test.run, warm_runs=0)
    return measurement(timing, {"": outcome(statistics)})


def w3(size: int) -> worker.Measurement:
    """Evaluate pairs of averages one after the other."""
    test = backtest(works.W3_BARS, Crossover)
    pairs = works.W3_PAIRS[:size]

    def run() -> dict[str, works.Outcome]:
        return {f"{fast}/{slow}": outcome(test.run(fast=fast, slow=slow)) for fast, slow in pairs}

    outcomes, timing = worker.measure(run, warm_runs=0)
    return measurement(timing, outcomes)


def w3o(size: int) -> worker.Measurement:
    """Let Optuna search among the pairs."""
    test = backtest(works.W3_BARS, Crossover)

    def evaluate(fast: int, slow: int) -> float:
        return outcome(test.run(fast=fast, slow=slow)).profit

    return replace(search.searched(evaluate, size), rule=RULE)


WORKS = {"w1": w1, "w3": w3, "w3o": w3o, "w4": w4}

if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    # Its progress bar would be part of the time.
    backtesting.backtesting._tqdm = lambda steps, **_: steps  # noqa: SLF001
    worker.main("backtesting", backtesting.__version__, WORKS)
