"""Run the works with backtrader: Python objects called once per bar.

Market orders fill at the next bar's open. Loading the feed is part of `Cerebro.run`, so it is in
the time.
"""
# mypy: disable-error-code="import-not-found,import-untyped,misc"

from __future__ import annotations

from typing import Any

import backtrader as bt
import pandas as pd

from benchmarks import worker, works


class CountingFills(bt.Strategy):
    """Count the orders that were filled."""

    def __init__(self) -> None:
        """Start flat, with nothing filled."""
        self.fills = 0
        self.is_long = False

    def notify_order(self, order: Any) -> None:
        """Count a completed order."""
        if order.status == order.Completed:
            self.fills += 1


class Crossover(CountingFills):
    """Hold one unit while the fast average is above the slow one."""

    params = (("fast", works.FAST), ("slow", works.SLOW))

    def __init__(self) -> None:
        """Build both averages."""
        super().__init__()
        self.quick = bt.ind.SMA(period=self.p.fast)
        self.calm = bt.ind.SMA(period=self.p.slow)

    def next(self) -> None:
        """Send an order when the side changes."""
        wanted = self.quick[0] > self.calm[0]
        if wanted != self.is_long:
            self.is_long = wanted
            (self.buy if wanted else self.sell)(size=1)


class EveryBar(CountingFills):
    """Trade on every bar."""

    def next(self) -> None:
        """Change sides."""
        self.is_long = not self.is_long
        (self.buy if self.is_long else self.sell)(size=1)


class Portfolio(CountingFills):
    """Follow the rule on many symbols with a cap on the number of positions."""

    def __init__(self) -> None:
        """Build both averages of every symbol."""
        super().__init__()
        self.averages = [
            (data, bt.ind.SMA(data, period=works.FAST), bt.ind.SMA(data, period=works.SLOW))
            for data in self.datas
        ]
        self.units: dict[Any, int] = {}

    def next(self) -> None:
        """Serve the symbols in order: leave, or enter while a slot is free."""
        for data, quick, calm in self.averages:
            wanted, held = quick[0] > calm[0], self.units.get(data)
            if wanted and held is None and len(self.units) < works.W2_MAX_POSITIONS:
                self.units[data] = int(works.W2_TICKET / data.close[0])
                self.buy(data, size=self.units[data])
            elif held is not None and not wanted:
                del self.units[data]
                self.sell(data, size=held)


def cerebro(cash: float = works.CASH) -> Any:
    """Return an engine with cash and commission and without the default observers."""
    engine = bt.Cerebro(stdstats=False)
    engine.broker.setcash(cash)
    engine.broker.setcommission(commission=works.COMMISSION)
    return engine


def minute_frame(bars: int) -> Any:
    """Return the bars of W1 as a frame."""
    index = pd.to_datetime(works.minute_times(bars), unit="ns")
    return pd.DataFrame(works.minute_bars(bars), index=index)


def evaluate(frame: Any, strategy: type[CountingFills], **params: int) -> works.Outcome:
    """Return the outcome of one strategy over a frame of bars."""
    engine = cerebro()
    engine.adddata(bt.feeds.PandasData(dataname=frame))
    engine.addstrategy(strategy, **params)
    ran = engine.run()[0]
    profit = engine.broker.getvalue() - works.CASH
    return works.Outcome(profit=profit, fills=ran.fills, position=float(ran.position.size))


def w1(size: int) -> worker.Measurement:
    """Run the crossover on one symbol."""
    frame = minute_frame(size)
    result, timing = worker.measure(lambda: evaluate(frame, Crossover), warm_runs=0)
    return worker.Measurement(timing, {"": result})


def w4(size: int) -> worker.Measurement:
    """Trade on every bar."""
    frame = minute_frame(size)
    result, timing = worker.measure(lambda: evaluate(frame, EveryBar), warm_runs=0)
    return worker.Measurement(timing, {"": result})


def w3(size: int) -> worker.Measurement:
    """Evaluate pairs of averages, each by a run of its own."""
    frame = minute_frame(works.W3_BARS)
    pairs = works.W3_PAIRS[:size]

    def run() -> dict[str, works.Outcome]:
        return {
            f"{fast}/{slow}": evaluate(frame, Crossover, fast=fast, slow=slow)
            for fast, slow in pairs
        }

    outcomes, timing = worker.measure(run, warm_runs=0)
    return worker.Measurement(timing, outcomes)


def w2(size: int) -> worker.Measurement:
    """Run the portfolio; the deposit is doubled, because cash may not go below zero here."""
    deposit = 2 * works.CASH
    columns = works.daily_bars(size)
    index = pd.bdate_range(works.W2_FIRST_DAY, periods=works.W2_DAYS)
    engine = cerebro(deposit)
    for symbol in range(size):
        frame = pd.DataFrame({name: columns[name][:, symbol] for name in columns}, index=index)
        engine.adddata(bt.feeds.PandasData(dataname=frame))
    engine.addstrategy(Portfolio)
    ran, timing = worker.measure(lambda: engine.run()[0], warm_runs=0)
    profit = engine.broker.getvalue() - deposit
    result = works.Outcome(profit=profit, fills=ran.fills, position=float(len(ran.units)))
    return worker.Measurement(timing, {"": result})


WORKS = {"w1": w1, "w2": w2, "w3": w3, "w4": w4}

if __name__ == "__main__":
    worker.main("backtrader", bt.__version__, WORKS)
