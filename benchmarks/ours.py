"""Run the works with Onefold: through the whole system, as a user's backtest goes.

Timed is everything between bars in memory and the list of trades: features, signals, all gates,
orders, the simulated venue, the books, the trades. Every gate is measured for every decision; the
measured values are not kept (`trace=False`), since no peer has such a thing.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import search, worker, works
from onefold.domain.columns import Bars
from onefold.domain.convert import to_records
from onefold.domain.instruments import Instrument, Kind
from onefold.domain.records import SessionStart
from onefold.domain.rules import AccountRules, FreeSlot, Limits, NotionalSize, StrategyRules
from onefold.engine.simulate import simulate
from onefold.fold.memory import Rows
from onefold.signals import Feature, Strategy, strategy
from onefold.sim.backtest import Run, run
from onefold.sim.market import Market
from onefold.sim.plan import Placement, Plan
from onefold.views.trades import trade_rows

VERSION = version("onefold")
WARM_RUNS = 5
DAY_NS = 86_400_000_000_000
LIVE_BARS = 100_000


class EveryBar(Strategy):
    """Wants to be long after every second bar, flat after the others."""

    def extract_features(self) -> dict[str, Feature]:
        """Return no feature: the time of the bar says all."""
        return {}

    def predict_signal(self, x: Any) -> Any:
        """Return LONG (true) after the first bar, FLAT after the second, and so on."""
        return self.signal((x.ts_open // works.MINUTE_NS) & 1 == 0)


def coin(symbol: str) -> Instrument:
    """Return an instrument that is traded in whole units for 1 bp."""
    return Instrument(
        symbol=symbol,
        kind=Kind.CRYPTO,
        commission_bps=works.COMMISSION * 1e4,
        margin_initial=0.01,
        margin_maintenance=0.01,
    )


def columns(source: works.Bars, ts_open: works.IntArray, interval_ns: int) -> Bars:
    """Return bars as Onefold has them: nothing is known of bid, ask and sessions."""
    rows = len(ts_open)
    unknown = np.broadcast_to(np.float64(np.nan), rows)
    return Bars(
        ts_open + interval_ns,
        ts_open,
        **{name: np.ascontiguousarray(source[name]) for name in works.COLUMNS},
        bid=unknown,
        ask=unknown,
        to_close_s=np.broadcast_to(np.int64(-1), rows),
    )


def minute_bars(size: int) -> Bars:
    """Return the bars of W1."""
    return columns(works.minute_bars(size), works.minute_times(size), works.MINUTE_NS)


def single_plan(rule: Strategy) -> Plan:
    """Return a plan of one strategy on one symbol, one unit at a time."""
    placement = Placement("rule", rule, StrategyRules(), ("W1",))
    account = AccountRules(cash=works.CASH)
    return Plan(account, (coin("W1"),), (placement,), (works.MINUTE_NS,))


def with_trades(plan: Plan, bars: dict[str, Bars]) -> tuple[Run, Rows]:
    """Run a plan and list its trades."""
    result = run(plan, bars, trace=False)
    names = plan.names
    return result, trade_rows(result.fills, names.instruments, names.strategies)


def single(rule: Strategy, size: int) -> worker.Measurement:
    """Measure one strategy on one symbol."""
    bars, plan = {"W1": minute_bars(size)}, single_plan(rule)
    (result, _), timing = worker.measure(lambda: with_trades(plan, bars), WARM_RUNS)
    outcome = works.Outcome(
        profit=float(result.equity[-1]) - works.CASH,
        fills=len(result.fills),
        position=float(result.state.sleeves["qty"][0]),
    )
    return worker.Measurement(timing, {"": outcome})


def w1(size: int) -> worker.Measurement:
    """Run the crossover on one symbol."""
    return single(strategy("crossover", fast=works.FAST, slow=works.SLOW), size)


def w4(size: int) -> worker.Measurement:
    """Trade on every bar."""
    return single(EveryBar(), size)


def w2(size: int) -> worker.Measurement:
    """Run the crossover on many symbols with shared cash and a cap on positions."""
    source = works.daily_bars(size)
    first = int(np.datetime64(works.W2_FIRST_DAY, "ns").astype(np.int64))
    ts_open = first + np.arange(works.W2_DAYS, dtype=np.int64) * DAY_NS
    symbols = tuple(f"S{n:03d}" for n in range(size))
    bars = {
        symbol: columns({name: source[name][:, n] for name in works.COLUMNS}, ts_open, DAY_NS)
        for n, symbol in enumerate(symbols)
    }
    limits = Limits(max_open_positions=works.W2_MAX_POSITIONS, free_slot=FreeSlot.SENT)
    rules = StrategyRules(sizing=NotionalSize(kind="notional", value=works.W2_TICKET))
    rule = strategy("crossover", fast=works.FAST, slow=works.SLOW)
    plan = Plan(
        AccountRules(cash=works.CASH, limits=limits),
        tuple(coin(symbol) for symbol in symbols),
        (Placement("rule", rule, rules, symbols),),
        (DAY_NS,) * size,
    )
    (result, _), timing = worker.measure(lambda: with_trades(plan, bars), WARM_RUNS)
    outcome = works.Outcome(
        profit=float(result.equity[-1]) - works.CASH,
        fills=len(result.fills),
        position=float(np.count_nonzero(result.state.sleeves["qty"])),
    )
    return worker.Measurement(timing, {"": outcome})


def of_pairs() -> Callable[[int, int], float]:
    """Return the profit of a pair of averages, over one market that is prepared once."""
    market = Market(("W1",), {"W1": minute_bars(works.W3_BARS)}, memo=32)

    def evaluate(fast: int, slow: int) -> float:
        plan = single_plan(strategy("crossover", fast=fast, slow=slow))
        return float(run(plan, market, trace=False).equity[-1]) - works.CASH

    return evaluate


def w3o(size: int) -> worker.Measurement:
    """Let Optuna search among the pairs."""
    return search.searched(of_pairs(), size)


def w3(size: int) -> worker.Measurement:
    """Evaluate pairs of averages, one after another on one core."""
    evaluate, pairs = of_pairs(), works.W3_PAIRS[:size]
    _, first = worker.timed(lambda: evaluate(*pairs[0]))
    profits, running = worker.timed(lambda: [evaluate(*pair) for pair in pairs])
    outcomes = {
        f"{fast}/{slow}": works.Outcome(profit=profit)
        for (fast, slow), profit in zip(pairs, profits, strict=True)
    }
    return worker.Measurement(worker.Timing(first, running), outcomes)


def w4e(size: int) -> worker.Measurement:
    """Trade on every bar event by event: engine, streams and journal, without fsync."""
    bars, plan = minute_bars(min(size, LIVE_BARS)), single_plan(EveryBar())
    records = list(to_records(bars, "W1"))
    start = SessionStart(
        ts=0, mode="simulate", version=VERSION, build="", config_hash="", config={}
    )

    def live() -> Run:
        with tempfile.TemporaryDirectory(dir=works.DATA) as folder:
            session = simulate(
                plan,
                records,
                Path(folder) / "journal",
                start,
                today=lambda: dt.date(2020, 1, 1),
                durability="relaxed",
            )
        return session.result()

    result, timing = worker.measure(live, 3)
    outcome = works.Outcome(
        profit=float(result.equity[-1]) - works.CASH,
        fills=len(result.fills),
        position=float(result.state.sleeves["qty"][0]),
    )
    return worker.Measurement(timing, {"": outcome})


WORKS = {"w1": w1, "w2": w2, "w3": w3, "w3o": w3o, "w4": w4, "w4e": w4e}

if __name__ == "__main__":
    worker.main("onefold", VERSION, WORKS)
