"""W6: from a bar on a socket to the order that leaves, with every record on the disk before.

A bar comes over loopback, is journaled and folded, the order's record is synced, the kill switch is
looked at, and the order is written to a socket: the clock stops right before. Most of it is the
sync, so each bar is measured beside a bare `fdatasync` of as many bytes on the same disk.

Prints one line of JSON: `python -m benchmarks.w6_live [folder]`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from benchmarks.ours import EveryBar, single_plan
from benchmarks.works import MINUTE_NS, START_NS
from onefold.domain.records import Bar, SessionStart
from onefold.domain.venue import (
    Abilities,
    OrderReport,
    PaymentReport,
    PositionReport,
    Report,
    Ticket,
    TradeReport,
)
from onefold.engine.blotter import Blotter
from onefold.engine.control import Control
from onefold.engine.desk import Desk
from onefold.engine.heartbeat import NAME, Heartbeat
from onefold.engine.live import Live
from onefold.engine.patience import DeskRules, LiveRules
from onefold.engine.recorder import Recorder
from onefold.engine.session import Outgoing, Session
from onefold.journal import Journal
from onefold.rehearsal.exchange import Exchange, VenueTrade

BARS = 1_500
WARM = 100
SYMBOL = "W1"
START = SessionStart(ts=START_NS, mode="live", version="", build="", config_hash="", config={})


class Wire:
    """Both ends of a connection over loopback."""

    async def open(self) -> Self:
        """Connect to a server that keeps what it gets."""
        served: asyncio.Queue[asyncio.StreamReader] = asyncio.Queue()
        self.server = await asyncio.start_server(
            lambda reader, _: served.put_nowait(reader), "127.0.0.1", 0
        )
        _, self.writer = await asyncio.open_connection(*self.server.sockets[0].getsockname())
        self.reader = await served.get()
        return self

    def close(self) -> None:
        """Close the server."""
        self.writer.close()
        self.server.close()


class SocketFeed:
    """Bars as lines of JSON."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def open(self) -> None:
        """Do nothing: the wire is there."""

    async def close(self) -> None:
        """Do nothing: whoever made the wire closes it."""

    async def history(self, _instrument: str, _bars: int) -> list[Bar]:
        """Return nothing."""
        return []

    async def stream(self) -> AsyncIterator[Bar]:
        """Yield each line as a bar."""
        while line := await self._wire.reader.readline():
            yield msgspec.json.decode(line, type=Bar)


class SocketVenue:
    """The rehearsal exchange; an order also leaves through a socket, and `left` notes when."""

    abilities = Abilities()

    def __init__(self, exchange: Exchange, wire: Wire) -> None:
        self.exchange, self._wire = exchange, wire
        self.left: list[int] = []
        self._reports: asyncio.Queue[Report] = asyncio.Queue()
        exchange.listen(self._heard)

    def _heard(self, event: object) -> None:
        if isinstance(event, VenueTrade):
            t = event
            self._reports.put_nowait(
                TradeReport(
                    str(t.trade_id), t.client_id, str(t.venue_id), t.symbol, t.side, t.qty,
                    t.price, t.ts, t.fee, t.fee_currency,
                )
            )  # fmt: skip

    async def submit(self, ticket: Ticket, look: Callable[[], None]) -> OrderReport:
        """Write the order to the socket, and give it to the exchange."""
        look()
        self.left.append(time.perf_counter_ns())
        self._wire.writer.write(ticket.client_id.encode() + b"\n")
        made = self.exchange.submit(ticket.client_id, ticket.symbol, ticket.side, ticket.qty)
        return OrderReport(ticket.client_id, str(made.venue_id), ticket.symbol, "working")

    async def cancel(self, client_id: str, _symbol: str) -> None:
        """Cancel an order."""
        self.exchange.cancel(client_id)

    async def find(self, _client_id: str, _symbol: str) -> None:
        """Return nothing: no answer is ever lost here."""

    async def working(self) -> list[OrderReport]:
        """Return the orders that rest."""
        return [
            OrderReport(o.client_id, str(o.venue_id), o.symbol, "working")
            for o in self.exchange.working()
        ]

    async def payments(self, _since_ts: int) -> list[PaymentReport]:
        """Return nothing: nothing is paid here."""
        return []

    async def trades(self, _since_ts: int) -> list[TradeReport]:
        """Return nothing: all comes as reports."""
        return []

    async def positions(self) -> list[PositionReport]:
        """Return what is held."""
        return [PositionReport(s, q) for s, q in self.exchange.positions().items()]

    async def time_ns(self) -> int:
        """Return the exchange's time."""
        return self.exchange.now_ns

    async def reports(self) -> AsyncIterator[Report]:
        """Yield trades."""
        while True:
            yield await self._reports.get()

    async def open(self) -> None:
        """Do nothing: the wire is there."""

    async def close(self) -> None:
        """Do nothing: whoever made the wire closes it."""

    async def arm(self, _timeout_s: float) -> None:
        """Do nothing: there is no dead man's switch."""


def bar(number: int) -> Bar:
    """Return a made bar."""
    ts, price = START_NS + number * MINUTE_NS, 100.0 + number % 7
    return Bar(SYMBOL, ts, ts - MINUTE_NS, price, price + 1, price - 1, price, 1e6)


async def ticks_to_sends(folder: Path) -> list[float]:
    """Return milliseconds from each bar's bytes on the wire to the order that it made."""
    plan = single_plan(EveryBar())
    instruments = plan.instruments
    exchange = Exchange(instruments, Decimal(1_000_000), "USD")
    exchange.advance(START_NS)
    to_feed, to_venue = await Wire().open(), await Wire().open()
    venue = SocketVenue(exchange, to_venue)
    taken: list[float] = []
    with Journal.open(folder / "journal", today=lambda: dt.date(2026, 11, 20)) as journal:
        blotter = Blotter("bench", START_NS, instruments)
        outgoing = Outgoing()
        recorder = Recorder(iter(()), journal, answers_are_inputs=True, seen=blotter.remember)
        session = Session(plan, outgoing, recorder, START)
        control = Control(folder)
        live = Live(
            session,
            [(SocketFeed(to_feed), (SYMBOL,))],
            control,
            Heartbeat(folder / NAME),
            now=lambda: exchange.now_ns,
            rules=LiveRules(late_bars=1e18),
            facts={},
            warm_up_bars={},
        )
        desk = Desk(
            venue,
            blotter,
            hand_in=live.hand_in,
            drained=live.drained,
            held=live.held,
            look=live.look,
            is_closed=live.is_closed,
            now=lambda: exchange.now_ns,
            rules=DeskRules(),
        )
        live.attach(desk, outgoing)
        running = asyncio.ensure_future(live.run())
        while not session.state.account["reconciled"][0] or desk.trouble:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for number in range(1, BARS + 1):
            exchange.on_bar(bar(number))
            await asyncio.sleep(0.002)
            before = len(venue.left)
            start = time.perf_counter_ns()
            to_feed.writer.write(msgspec.json.encode(bar(number)) + b"\n")
            while len(venue.left) == before:  # noqa: ASYNC110
                await asyncio.sleep(0)
            taken.append((venue.left[-1] - start) / 1e6)
        live.stop()
        await running
    to_feed.close()
    to_venue.close()
    return taken[WARM:]


def bare_ms(folder: Path, size: int) -> list[float]:
    """Return milliseconds of bare writes and syncs of as many bytes."""
    sync = getattr(os, "fdatasync", os.fsync)
    bare = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    taken = []
    for _ in range(BARS):
        start = time.perf_counter()
        os.write(bare, b"x" * size)
        sync(bare)
        taken.append((time.perf_counter() - start) * 1e3)
    os.close(bare)
    return taken


def measure(folder: Path) -> dict[str, float]:
    """Run the whole work in a folder and return its figures."""
    taken = asyncio.run(ticks_to_sends(folder))
    size = sum(f.stat().st_size for f in (folder / "journal").glob("*.jsonl")) // BARS
    bare = bare_ms(folder, size)
    p50, p99 = np.percentile(taken, [50, 99]).tolist()
    bare50, bare99 = np.percentile(bare, [50, 99]).tolist()
    return {
        "send_p50_ms": round(p50, 3),
        "send_p99_ms": round(p99, 3),
        "fdatasync_p50_ms": round(bare50, 3),
        "fdatasync_p99_ms": round(bare99, 3),
        "send_p99_over_fdatasync_ms": round(p99 - bare99, 3),
    }


def main() -> None:
    """Measure in the folder named, or in the working directory, and print one line of JSON."""
    parent = sys.argv[1] if len(sys.argv) > 1 else "."
    folder = Path(tempfile.mkdtemp(prefix=".w6-", dir=parent))
    try:
        sys.stdout.write(json.dumps({"work": "W6", **measure(folder)}) + "\n")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
