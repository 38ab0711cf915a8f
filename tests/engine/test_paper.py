"""F1, X1: a paper session over ticks, in real time's form, is the backtest over their bars."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from onefold.adapters.files import read_ticks
from onefold.adapters.recorded import RecordedFeed, bars_of_ticks
from onefold.adapters.ticks import Tick, TickBars, Trade
from onefold.domain.columns import Bars
from onefold.domain.instruments import Instrument
from onefold.domain.records import SessionStart
from onefold.engine.backtest import backtest
from onefold.engine.control import Control
from onefold.engine.heartbeat import NAME, Heartbeat
from onefold.engine.live import Live, LiveRules
from onefold.engine.recorder import Recorder
from onefold.engine.replay import replay
from onefold.engine.session import Session
from onefold.journal import Journal
from onefold.signals import bars_from_ticks, strategy
from onefold.sim.backtest import Run
from onefold.sim.exchange import SimulatedVenue
from onefold.sim.plan import Placement, Plan
from support import MINUTE_NS, account_of, at, rules_of, share

from .live_rig import TODAY

SHARED = Path(os.environ.get("ONEFOLD_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


def plan_of(one: Instrument, **costs: object) -> Plan:
    rule = strategy("crossover", fast=3, slow=8, short=True)
    exits = {"stop": 0.002, "take": 0.003, "resting": True}
    other = Placement("rests", strategy("momentum"), rules_of(exits=exits), (one.symbol,))
    return Plan(
        account_of(costs=costs),
        (one,),
        (Placement("trend", rule, rules_of(), (one.symbol,)), other),
        (MINUTE_NS,),
    )


def paper(plan: Plan, ticks: list[Tick], one: Instrument, folder: Path) -> Run:
    """Run a paper session over recorded ticks, as they become bars."""
    start = SessionStart(ts=0, mode="paper", version="1", build="1", config_hash="1", config={})

    async def work() -> Run:
        with Journal.open(folder / "journal", mode="relaxed", today=lambda: TODAY) as journal:
            venue = SimulatedVenue(plan.book(), plan.names)
            session = Session(plan, venue, Recorder(iter(()), journal), start)
            feed = RecordedFeed(bars_of_ticks(ticks, TickBars(one)), {one.symbol: one})
            await feed.open()
            live = Live(
                session,
                [(feed, (one.symbol,))],
                Control(folder),
                Heartbeat(folder / NAME),
                now=lambda: ticks[-1].ts,
                rules=LiveRules(late_bars=1e18),
                facts={},
                warm_up_bars={},
            )
            await live.run()
            return session.result()

    return asyncio.run(work())


def compare(plan: Plan, one: Instrument, bars: Bars, ticks: list[Tick], folder: Path) -> None:
    expected = backtest(plan, {one.symbol: bars})
    assert len(expected.fills) > 4
    found = paper(plan, ticks, one, folder)
    assert found.fingerprint == expected.fingerprint
    assert replay(folder / "journal", plan).run.fingerprint == expected.fingerprint


@pytest.mark.parametrize("latency_ms", [0.0, 250.0])
def test_paper_over_made_ticks_is_the_backtest_over_their_bars(
    tmp_path: Path, latency_ms: float
) -> None:
    random = np.random.default_rng(3)
    ts = at(0) + np.cumsum(random.integers(1, 20_000_000_000, 4_000))
    price = np.round(100 * np.exp(np.cumsum(random.normal(0, 0.0006, len(ts)))), 2)
    size = random.integers(1, 100, len(ts)).astype(np.float64)
    one = share("ABC")
    ticks: list[Tick] = [
        Trade(t, p, s, str(n))
        for n, (t, p, s) in enumerate(zip(ts.tolist(), price.tolist(), size.tolist(), strict=True))
    ]
    bars = bars_from_ticks(ts, price, size, "time", "1m")
    plan = plan_of(one, latency_ms=latency_ms, slippage_ticks=1)
    compare(plan, one, bars, ticks, tmp_path)


def test_latency_makes_an_order_miss_what_began_before_it_arrived() -> None:
    one = share("ABC")
    random = np.random.default_rng(3)
    ts = at(0) + np.arange(2_000) * 3_000_000_000
    price = np.round(100 * np.exp(np.cumsum(random.normal(0, 0.0006, len(ts)))), 2)
    bars = {"ABC": bars_from_ticks(ts, price, np.ones(len(ts)), "time", "1m")}
    quick = backtest(plan_of(one), bars).fills
    slow = backtest(plan_of(one, latency_ms=1), bars).fills
    entries = [rows[(rows["strategy"] == 0)]["ts"][0] for rows in (quick, slow)]
    assert entries[1] == entries[0] + MINUTE_NS


def test_paper_over_real_ticks_is_the_backtest_over_their_bars(tmp_path: Path) -> None:
    file = SHARED / "lean" / "equity_usa_tick_spy_trade.parquet"
    if not file.exists():
        pytest.skip(f"there are no recorded ticks at {file}")
    one = Instrument(symbol="SPY", kind="equity", tick=0.0, short=True)  # type: ignore[arg-type]
    found = [t for t in read_ticks(file, timezone="America/New_York") if isinstance(t, Trade)]
    ticks = [t for t in found[:60_000] if t.size > 0]
    ts, price, size = (np.array(column) for column in list(zip(*ticks, strict=True))[:3])
    bars = bars_from_ticks(ts, price, size, "time", "1m")
    compare(plan_of(one), one, bars, list(ticks), tmp_path)
