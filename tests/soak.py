"""A month of a live session on real minutes, in a storm: run it by hand, it takes some minutes.

    .venv/bin/python tests/soak.py [days] [share of calls that fail]

Five symbols of the shared data trade by real strategies on the rehearsal exchange, on virtual time:
as fast as the machine folds them. The session is the one that trades live, with its journal on the
disk; only network and clock are not real, since signed requests expire within seconds of the wall
clock. The judge is that of the simulation. Printed are breaches (there must be none), each day's
memory, and in the end our books beside the exchange's.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from engine import live_world
from engine.live_rig import START
from engine.live_world import CASH, MINUTE_S, Trader, World
from engine.virtual_time import run
from onefold.domain.instruments import Instrument, Kind
from onefold.domain.records import Bar
from onefold.engine.live import LiveRules
from onefold.rehearsal.exchange import Exchange, VenueOrder
from onefold.signals.strategies import Breakout, Crossover, MeanReversion
from onefold.sim.plan import Placement, Plan
from support import MINUTE_NS, account_of, rules_of
from venues.storm import Storm

DATA = Path(os.environ.get("ONEFOLD_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
MINUTES_A_DAY = 1440
SYMBOLS = {
    "BTCUSD": ("bitfinex_1m/BTCUSD_1m_2016.parquet", "2016-06-01", 0.01, 0.001, 2000),
    "ETHUSD": ("bitfinex_1m/ETHUSD_1m_2016.parquet", "2016-06-01", 0.001, 0.01, 6000),
    "LTCUSD": ("bitfinex_1m/LTCUSD_1m_2016.parquet", "2016-06-01", 0.0001, 0.1, 2000),
    "EURUSD": ("lean/fx_oanda_minute_eurusd_quote.parquet", "2014-05-01", 0.00001, 100.0, 10),
    "NZDUSD": ("lean/fx_oanda_minute_nzdusd_quote.parquet", "2014-05-01", 0.00001, 100.0, 10),
}
"""File, first day, tick, lot and lots per entry; the days of the last two are played twice."""


def minutes_of(symbol: str, days: int) -> dict[int, Bar]:
    """Return a symbol's bars by the number of their minute in the month."""
    name, first, tick, _, _ = SYMBOLS[symbol]
    table = pl.read_parquet(DATA / name)
    if "bid_open" in table.columns:
        mids = [((pl.col(f"bid_{c}") + pl.col(f"ask_{c}")) / 2).alias(c) for c in _PRICES]
        table = table.with_columns(*mids, volume=pl.lit(1e6))
    start = datetime.fromisoformat(first)
    table = table.filter(pl.col("ts") >= start).unique("ts").sort("ts")
    span = 13 * MINUTES_A_DAY if symbol in ("EURUSD", "NZDUSD") else days * MINUTES_A_DAY
    found: dict[int, Bar] = {}
    for ts, *prices, volume in table.select("ts", *_PRICES, "volume").iter_rows():
        n = int((ts - start).total_seconds() // 60)
        for again in range(n, days * MINUTES_A_DAY if n < span else 0, span):
            found[again] = _bar(symbol, again, tick, prices, volume)
    return found


_PRICES = ("open", "high", "low", "close")


def _bar(symbol: str, n: int, tick: float, prices: list[float], volume: float) -> Bar:
    open_, high, low, close = (float(Decimal(round(p / tick)) * Decimal(str(tick))) for p in prices)
    start = START.ts + n * MINUTE_NS
    high, low = max(open_, high, low, close), min(open_, high, low, close)
    return Bar(symbol, start + MINUTE_NS, start, open_, high, low, close, float(volume))


class Quick(Exchange):
    """The exchange, which need not look through a month of orders for those that work."""

    def __init__(self, *args: Any, **facts: Any) -> None:
        super().__init__(*args, **facts)
        self._working: list[VenueOrder] = []
        self._looked_at = 0

    def working(self, symbol: str | None = None) -> list[VenueOrder]:
        seen = [*self._working, *self._orders[self._looked_at :]]
        self._working = [order for order in seen if order.status == "working"]
        self._looked_at = len(self._orders)
        return [order for order in self._working if symbol in (None, order.symbol)]


class Month(World):
    """A life of many days, in which real prices happen."""

    def __init__(self, folder: Path, days: int, share: float, seed: int = 1) -> None:
        self.seed, self.folder, self.minutes = seed, folder, days * MINUTES_A_DAY
        self.chance = random.Random(seed)
        self.breaches: list[str] = []
        self.crashes = self.kills = self.asked = 0
        self.happened: Counter[str] = Counter()
        self.played = {symbol: minutes_of(symbol, days + 1) for symbol in SYMBOLS}
        self.plan = self._plan()
        self.exchange = Quick(self.plan.instruments, CASH, "USD")
        self.share = share
        self.venue = Storm(
            self.exchange, seed, now=self.now, leaving=self.leaving, share=share, latency_s=0.2
        )
        self.trader: Trader | None = None
        self.began = time.monotonic()

    def _plan(self) -> Plan:
        instruments = tuple(
            Instrument(symbol=s, kind=Kind.CRYPTO, currency="USD", tick=t, lot=lot,
                       commission_bps=1.0, short=True)
            for s, (_, _, t, lot, _) in SYMBOLS.items()
        )  # fmt: skip
        placements = []
        for symbol, (_, _, _, _, lots) in SYMBOLS.items():
            size: dict[str, Any] = {"sizing": {"kind": "fixed", "lots": lots}}
            rests = {"exits": {"stop": 0.003, "take": 0.003, "resting": True}}
            name = symbol.lower()
            for strategy, rules in (
                (Crossover(fast=20, slow=90, short=True), rules_of(**size)),
                (MeanReversion(bars=45, short=True), rules_of(**size, **rests)),
                (Breakout(bars=90), rules_of(**size, **rests)),
            ):
                placed = f"{name}_{strategy.kind}"
                placements.append(Placement(placed, strategy, rules, (symbol,)))
        limits = {"max_order_lots": 20_000, "max_open_orders": 64}
        return Plan(
            account_of(cash=float(CASH), limits=limits),
            instruments,
            tuple(placements),
            (MINUTE_NS,) * len(instruments),
        )

    async def live(self) -> None:
        """Live through all days, heal, and let the judge look."""
        await self._begin()
        for n in range(self.minutes):
            await self._minute(n, self._happening)
            if (n + 1) % 60 == 0:
                self.check()
            if (n + 1) % MINUTES_A_DAY == 0:
                self._tell((n + 1) // MINUTES_A_DAY)
        await self._heal()
        assert self.trader is not None
        await self.trader.end()
        print("judging: journal, trades, books, replay", flush=True)
        self.judge_the_end()

    async def _begin(self) -> None:
        self.trader = Trader(self.folder, self.plan, self.venue, self.now, RULES)
        await self.trader.begin()

    async def _minute(self, n: int, happening: Any) -> None:
        end = (n + 1) * MINUTE_S
        await happening()
        await asyncio.sleep(max(0.0, end - asyncio.get_running_loop().time()))
        assert self.trader is not None
        for symbol, bars in self.played.items():
            if n in bars:
                self.exchange.on_bar(bars[n])
                del self.exchange.bars[symbol][:-50]  # the venue's memory is not under test
                self.trader.feed.past = [*self.trader.feed.past[-500:], bars[n]]
                self.trader.feed.queue.put_nowait(bars[n])
        await asyncio.sleep(2.0)

    async def _happening(self) -> None:
        """Let something happen now and then; a person looks every quarter of an hour."""
        await asyncio.sleep(self.chance.uniform(0.0, 40.0))
        assert self.trader is not None
        if self.trader.failed is not None:
            raise self.trader.failed
        chance = self.chance.random()
        for share, what in _A_MINUTE:
            if chance < share:
                self.happened[what] += 1
                await self._let(what)
                return
            chance -= share

    async def _let(self, what: str) -> None:
        assert self.trader is not None
        if what == "crash":
            await self._restart(what)
        elif what == "down":
            self.venue.go_down(self.chance.choice([10.0, 90.0, 600.0]))
        elif what == "drop":
            self.venue.disconnect()
        elif what == "feed":
            self.trader.feed.queue.put_nowait(None)
        elif what == "kill":
            self._kill()
        elif what == "resume":
            self._resume()

    def _check_worst_case(self, rig: Trader) -> None:
        for order in self.exchange.working():
            placed = rig.blotter.known(order.client_id)
            if placed is None or not placed.is_open:
                self.breach(f"I4: {order.client_id} works at the venue and counts for nothing")

    def _tell(self, day: int) -> None:
        assert self.trader is not None
        resident = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096 / 1e6
        real = time.monotonic() - self.began
        trades, orders = len(self.exchange.trades()), len(self.exchange.orders())
        inputs = self.trader.live.session.inputs
        print(
            f"day {day:2d}: {resident:6.0f} MB, {inputs} inputs, {orders} orders, {trades} trades, "
            f"{len(self.breaches)} breaches, {day * 86_400 / real:,.0f} times real time",
            flush=True,
        )

    def tell_books(self) -> None:
        """Print our books beside the exchange's."""
        assert self.trader is not None
        quantities = self.trader.live.session.state.instruments["qty"].tolist()
        for one, lots in zip(self.plan.instruments, quantities, strict=True):
            ours = lots * Decimal(str(one.lot))
            print(f"{one.symbol}: ours {ours}, theirs {self.exchange.positions()[one.symbol]}")
        ours = float(self.trader.live.session.state.currencies["cash"][0])
        print(f"cash: ours {ours:.8f}, theirs {self.exchange.cash()}")


RULES = LiveRules(poll_s=5.0, late_bars=2.0, on_stop="keep")
_A_MINUTE = (
    (1 / 7200, "crash"),
    (1 / 720, "down"),
    (1 / 360, "drop"),
    (1 / 720, "feed"),
    (1 / 1440, "kill"),
    (1 / 15, "resume"),
)
"""The chance in every minute that something happens."""


def main() -> int:
    """Live through the month, and say how it was."""
    days = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    share = float(sys.argv[2]) if len(sys.argv) > 2 else 0.01
    live_world.LOTS_MAX = 20_000
    with tempfile.TemporaryDirectory(prefix="soak") as folder:
        month = Month(Path(folder), days, share)
        bars = sum(n < month.minutes for bars in month.played.values() for n in bars)
        print(f"{bars} bars of {len(SYMBOLS)} symbols, {datetime.now(UTC):%H:%M} UTC", flush=True)
        run(month.live())
        month.tell_books()
    print(f"happened: {dict(month.happened)}")
    print(f"{len(month.breaches)} breaches", *month.breaches[:20], sep="\n")
    return 1 if month.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
