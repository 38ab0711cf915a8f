"""I7: the kill switch at random instants of a busy session, from outside, measured at the venue.

`ONEFOLD_TEST_STOPS` is at how many instants. The person is another process: the session learns of
the switch from the disk alone. The clock is the machine's monotonic one, which both read.

An order whose last look was under way when the switch came on may leave in that very moment, since
between a look and a message there is always some time. Those are counted apart, with how late they
were; no order may leave whose last look began afterwards.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from onefold.domain.records import Bar, Command
from onefold.domain.venue import OrderReport, Ticket
from onefold.engine.control import Request
from onefold.engine.live import LiveRules
from onefold.rehearsal.exchange import Exchange
from onefold.sim.plan import Placement, Plan
from support import LONG, MINUTE_NS, SHORT, Scripted, account_of, rules_of, share
from venues.twin import Twin

from .live_rig import QUICK, START, Rig

STOPS = int(os.environ.get("ONEFOLD_TEST_STOPS", "30"))
PER_SESSION = 25
SYMBOLS = [f"S{n}" for n in range(10)]
BIDDERS = 10
OPEN = len(SYMBOLS) * BIDDERS
NS_PER_MS = 1_000_000


PERSON = """
import sys, time
from pathlib import Path
from onefold.engine.control import EVERYTHING, Control, Request
control = Control(Path(sys.argv[1]))
for number, line in enumerate(sys.stdin):
    asked = time.monotonic_ns()
    control.kill(EVERYTHING, "enough")
    durable = time.monotonic_ns()
    if line.strip() == "request":
        control.ask(Request(f"k{number}", "kill", number, reason="enough"))
    print(asked, durable, flush=True)
"""


class Stamped(Twin):
    """A twin that knows when everything left for it: when its last look began, and it was sent."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange, lag_s=0.001)
        self.sends: list[tuple[int, int]] = []
        self.cancels: list[int] = []

    async def submit(self, ticket: Ticket, look: Callable[[], None]) -> OrderReport:
        def looked() -> None:
            began = time.monotonic_ns()
            look()
            self.sends.append((began, time.monotonic_ns()))

        return await super().submit(ticket, looked)

    async def cancel(self, client_id: str, symbol: str) -> None:
        self.cancels.append(time.monotonic_ns())
        await super().cancel(client_id, symbol)


@dataclass
class Stop:
    """What was measured at one instant, in nanoseconds of the monotonic clock."""

    asked: int
    folded: int
    cancels: int
    last_cancel: int
    after: int
    """Sends whose last look began when the switch was durable."""
    overlapping: list[int]
    """How late those were whose last look was under way then."""


class Busy:
    """A session with a hundred bids that rest and ten positions that turn with every bar."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.rig = Rig(
            folder,
            self._plan(),
            rules=replace(QUICK, reconcile_s=3600.0),
            live=LiveRules(late_bars=1e12),
        )
        self.venue = Stamped(self.rig.exchange)
        self.rig.twin = self.venue
        self.bars = self.asked = 0
        self.folded: list[int] = []
        self.stops: list[Stop] = []

    def _plan(self) -> Plan:
        start = START.ts + MINUTE_NS
        bids = Scripted(side=(LONG,), price=(50.0,), start=start)
        turns = Scripted(side=(LONG, SHORT) * 2000, start=start)
        limit = rules_of(entry={"order": "limit"}, gates={"rearm": False})
        placements = [Placement(f"b{n}", bids, limit, tuple(SYMBOLS)) for n in range(BIDDERS)]
        placements.append(Placement("turns", turns, rules_of(gates={"rearm": False}), (*SYMBOLS,)))
        return Plan(
            account_of(cash=1e7),
            tuple(share(s) for s in SYMBOLS),
            tuple(placements),
            (MINUTE_NS,) * len(SYMBOLS),
        )

    async def stop_at_random_instants(self, count: int) -> list[Stop]:
        person = _person(self.rig.folder)
        try:
            async with self.rig.running() as live:
                live.session.watch(self._seen)
                await self.rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
                playing = asyncio.ensure_future(self._play())
                try:
                    for number in range(count):
                        await self._stop(person, "file" if number % 2 else "request")
                finally:
                    playing.cancel()
        finally:
            person.communicate()
        return self.stops

    def _seen(self, record: object, _signals: object) -> None:
        if isinstance(record, Command) and record.command == "kill":
            self.folded.append(time.monotonic_ns())

    async def _play(self) -> None:
        """Let minutes pass as fast as the session takes them."""
        while True:
            ts = START.ts + (self.bars + 1) * MINUTE_NS
            for symbol in SYMBOLS:
                price = round(100 + self.chance.gauss(0, 1), 2)
                bar = Bar(symbol, ts, ts - MINUTE_NS, price, price + 1, price - 1, price, 1e6)
                self.rig.exchange.advance(ts)
                self.rig.exchange.on_bar(bar)
                self.rig.feed.queue.put_nowait(bar)
                await asyncio.sleep(0.001)
            self.bars += 1
            await self.rig.live.drained()

    async def _stop(self, person: subprocess.Popen[str], how: str) -> None:
        """Wait until it is busy, have it stopped, and see what still leaves."""
        bids = self._bids
        await self.rig.until(lambda: bids() == OPEN, 30.0)
        await asyncio.sleep(self.chance.uniform(0.0, 0.05))
        self.folded.clear()
        asked, durable = await asyncio.to_thread(_told, person, how)
        await self.rig.until(lambda: bool(self.folded) and bids() == 0, 30.0)
        await asyncio.sleep(0.01)
        late = [(began, sent) for began, sent in self.venue.sends if sent > durable]
        self.stops.append(
            Stop(
                asked,
                self.folded[0],
                cancels=sum(at > asked for at in self.venue.cancels),
                last_cancel=max(self.venue.cancels),
                after=sum(began > durable for began, _ in late),
                overlapping=[sent - durable for began, sent in late if began <= durable],
            )
        )
        await self._resume()

    def _bids(self) -> int:
        return sum(order.kind == "limit" for order in self.rig.exchange.working())

    async def _resume(self) -> None:
        self.asked += 1
        self.rig.control.ask(Request(f"r{self.asked}", "resume", self.asked, reason="on"))
        killed = self.rig.live.session.state.account["killed"]
        await self.rig.until(lambda: not killed[0])


def _person(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PERSON, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _told(person: subprocess.Popen[str], how: str) -> tuple[int, int]:
    """Have the switch turned on; return when that was asked for, and when it was durable."""
    assert person.stdin is not None
    assert person.stdout is not None
    person.stdin.write(how + "\n")
    person.stdin.flush()
    asked, durable = person.stdout.readline().split()
    return int(asked), int(durable)


def _spread(values_ns: list[int]) -> str:
    ms = np.array(values_ns) / NS_PER_MS
    return f"{np.percentile(ms, 50):.1f} ms (p99 {np.percentile(ms, 99):.1f}, most {ms.max():.1f})"


def test_nothing_leaves_after_the_switch_is_durable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stops: list[Stop] = []
    for number, first in enumerate(range(0, STOPS, PER_SESSION)):
        folder = tmp_path / str(number)
        folder.mkdir()
        busy = Busy(folder, number)
        stops += asyncio.run(busy.stop_at_random_instants(min(PER_SESSION, STOPS - first)))
    cancelled = [stop.last_cancel - stop.asked for stop in stops]
    overlapping = [late_ns for stop in stops for late_ns in stop.overlapping]
    with capsys.disabled():
        print(
            f"\n{len(stops)} stops: "
            f"{sum(s.after for s in stops)} sends after, {len(overlapping)} in that moment "
            f"(at most {max(overlapping, default=0) / NS_PER_MS:.2f} ms late); "
            f"closed within {_spread([s.folded - s.asked for s in stops])}; "
            f"the last of {OPEN} cancels left after {_spread(cancelled)}"
        )
    assert sum(stop.after for stop in stops) == 0
    assert max(overlapping, default=0) < 50 * NS_PER_MS
    assert all(stop.cancels >= OPEN for stop in stops)
    assert max(cancelled) < 1000 * NS_PER_MS
