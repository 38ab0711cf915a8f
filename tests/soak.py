"""A month of a live session in a storm: real minutes, real processes, real sockets.

    .venv/bin/python tests/soak.py [days] [speed] [folder to keep]

`onefold run --mode live` trades five symbols of the shared data by real strategies, through the
real client library, at the rehearsal exchange, which has faults on. The exchange stands here; the
session is a process of its own, whose wall clock runs as fast as the exchange's
(`tests/fast_clock.py`): a month takes 43 minutes at 1,000 times real time. Now and then the session
is killed, stopped by a kill switch and resumed, as by a person who looks every few minutes.

The judge looks at the exchange from the inside, and in the end at the journal: every order once
(I1), every trade once (I2), cash and positions to the last unit (I3), the worst case within the
limits (I4), a journal that verifies (I5) and replays (I6), nothing new under a kill switch (I7),
which shows within a second (I8). Memory is that of the session, once a day.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from fast_clock import fast_clock
from onefold.domain.instruments import Instrument, Kind
from onefold.domain.records import Action, AnyRecord, Bar, Fill
from onefold.engine.control import Control, Request, Scope
from onefold.engine.heartbeat import read_heartbeat
from onefold.journal import decode, read, verify
from onefold.rehearsal.exchange import Exchange, VenueOrder
from onefold.rehearsal.faces.binance import Binance
from onefold.rehearsal.faults import FaultRule, Faults
from onefold.rehearsal.server import Server

DATA = Path(os.environ.get("ONEFOLD_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
CLOCK = Path(__file__).with_name("fast_clock.py")
COMMAND = [sys.executable, "-c", "from onefold.app.main import main; main()"]
RUN = ["run", "--mode", "live"]
MINUTE_NS = 60_000_000_000
MINUTES_A_DAY = 1440
FUNDING_MINUTES, FUNDING_RATE = 480, Decimal("0.0001")
PAST = 200
"""Minutes before the first one that a session may load for its warm-up."""

CASH = Decimal(1_000_000)
SYMBOLS = {
    "BTCUSD": ("bitfinex_1m/BTCUSD_1m_2016.parquet", "2016-06-01", 0.01, 0.001, 2000),
    "ETHUSD": ("bitfinex_1m/ETHUSD_1m_2016.parquet", "2016-06-01", 0.001, 0.01, 6000),
    "LTCUSD": ("bitfinex_1m/LTCUSD_1m_2016.parquet", "2016-06-01", 0.0001, 0.1, 2000),
    "EURUSD": ("lean/fx_oanda_minute_eurusd_quote.parquet", "2014-05-01", 0.00001, 100.0, 10),
    "NZDUSD": ("lean/fx_oanda_minute_nzdusd_quote.parquet", "2014-05-01", 0.00001, 100.0, 10),
}
"""File, first day, tick, lot and lots per entry; the days of the last two are played twice."""

STRATEGIES = {
    "crossover": "params: { fast: 20, slow: 90, short: true }",
    "mean_reversion": "params: { bars: 45, short: true }, exits: &rests "
    "{ stop: 0.003, take: 0.003, resting: true }",
    "breakout": "params: { bars: 90 }, exits: *rests",
}
FAULTS = [
    *({"on": "submit", "do": do, "chance": chance, **more} for do, chance, more in (
        ("accept_then_timeout", 0.003, {}),
        ("error_after_accept", 0.003, {}),
        ("reject", 0.003, {}),
        ("fill_before_ack", 0.01, {}),
        ("partial", 0.03, {}),
        ("slow", 0.01, {"s": 0.3}),
    )),
    *({"on": "cancel", "do": do, "chance": chance} for do, chance in (
        ("accept_then_timeout", 0.005),
        ("error_after_accept", 0.005),
        ("reject", 0.005),
        ("fill_after_cancel", 0.02),
    )),
    {"on": "query", "do": "unknown_order", "chance": 0.002},
    {"on": "query", "do": "slow", "chance": 0.005, "s": 0.3},
    {"on": "query", "do": "hang", "chance": 0.0003},
    {"on": "stream", "do": "duplicate_fill", "chance": 0.02},
    {"on": "stream", "do": "disconnect", "chance": 0.00005},
    {"on": "any", "do": "too_many", "chance": 0.0003, "s": 1},
    {"on": "any", "do": "expired_session", "chance": 0.00002},
    {"on": "any", "do": "disconnect", "chance": 0.0001},
]  # fmt: skip
"""What goes wrong, as shares of calls and of messages."""

CHANCES = {"kill": 1 / 1440, "crash": 1 / (6 * 1440), "drop": 1 / 720}
"""What happens in a minute, by its chance: a kill switch, `kill -9`, all streams broken."""

IN_FLIGHT_S = 2.0
"""How long an order may have been on its way when a switch came on."""


def minutes_of(symbol: str, days: int) -> dict[int, tuple[float, ...]]:
    """Return a symbol's prices and volumes by the number of their minute."""
    name, first, _, _, _ = SYMBOLS[symbol]
    table = pl.read_parquet(DATA / name)
    if "bid_open" in table.columns:
        mids = [((pl.col(f"bid_{c}") + pl.col(f"ask_{c}")) / 2).alias(c) for c in _PRICES]
        table = table.with_columns(*mids, volume=pl.lit(1e6))
    start = datetime.fromisoformat(first)
    table = table.filter(pl.col("ts") >= start).unique("ts").sort("ts")
    span = 13 * MINUTES_A_DAY if symbol in ("EURUSD", "NZDUSD") else days * MINUTES_A_DAY
    found: dict[int, tuple[float, ...]] = {}
    for ts, *row in table.select("ts", *_PRICES, "volume").iter_rows():
        n = int((ts - start).total_seconds() // 60)
        for again in range(n, days * MINUTES_A_DAY if n < span else 0, span):
            found[again] = tuple(row)
    return found


_PRICES = ("open", "high", "low", "close")


def bar_of(symbol: str, start: int, row: tuple[float, ...]) -> Bar:
    """Return a bar on the tick grid."""
    tick = SYMBOLS[symbol][2]
    *prices, volume = row
    open_, high, low, close = (float(round(p / tick) * Decimal(str(tick))) for p in prices)
    high, low = max(open_, high, low, close), min(open_, high, low, close)
    return Bar(symbol, start + MINUTE_NS, start, open_, high, low, close, float(volume))


def instruments() -> list[Instrument]:
    """Return what is traded: contracts with both sides, as perpetual futures are."""
    return [
        Instrument(symbol=s, kind=Kind.CFD, currency="USD", tick=tick, lot=lot, commission_bps=1.0)
        for s, (_, _, tick, lot, _) in SYMBOLS.items()
    ]


def config(url: str) -> str:
    """Return the session's configuration."""
    listed = "".join(
        f"  {s}: {{ kind: cfd, currency: USD, tick: {tick:f}, lot: {lot}, commission_bps: 1 }}\n"
        for s, (_, _, tick, lot, _) in SYMBOLS.items()
    )
    feeds = "".join(
        f"  {s}: {{ interval: 1m, ccxt: {{ exchange: binance, market: futures, url: {url!r}, "
        "poll_s: 2, settle_s: 0, deadline_s: 2, calls_per_second: 200 } }\n"
        for s in SYMBOLS
    )
    strategies = (
        "".join(
            f"  {s.lower()}_{kind}: {{ kind: {kind}, instruments: [{s}], "
            f"sizing: {{ kind: fixed, lots: {SYMBOLS[s][4]} }}, {more} }}\n"
            for s in SYMBOLS
            for kind, more in STRATEGIES.items()
        )
        .replace("&rests ", "")
        .replace("*rests", "{ stop: 0.003, take: 0.003, resting: true }")
    )
    return f"""
account:
  name: main
  cash: {CASH}
  currency: USD
  limits: {{ freshness_bars: 60, max_order_lots: 20000, max_open_orders: 64 }}
instruments:
{listed}feeds:
{feeds}strategies:
{strategies}accounts:
  main:
    approved: "a soak"
    on_stop: keep
    reconcile_s: 5
    unknown_s: 3600
    venue:
      ccxt: {{ exchange: binance, market: futures, url: {url!r}, api_key: rehearsal,
              api_secret: rehearsal, deadline_s: 1, calls_per_second: 200 }}
"""


class Market(Exchange):
    """The exchange on a fast clock; it tells a judge what arrives."""

    def __init__(self, clock: Any, arrived: Any) -> None:
        self._clock, self._arrived = clock, arrived
        super().__init__(instruments(), CASH, "USD")

    @property
    def now_ns(self) -> int:
        return max(self._stood_at, self._clock())

    @now_ns.setter
    def now_ns(self, ts: int) -> None:
        self._stood_at = ts

    def submit(self, client_id: str, *args: Any, **facts: Any) -> VenueOrder:
        order = super().submit(client_id, *args, **facts)
        self._arrived(order)
        return order


class Soak:
    """One month: the exchange, the session's process, a person, and the judge."""

    def __init__(self, folder: Path, days: int, speed: int, seed: int = 1) -> None:
        self.folder, self.days, self.speed = folder, days, speed
        self.chance = random.Random(seed)
        self.happened: Counter[str] = Counter()
        self.breaches: list[str] = []
        self.origin = time.time_ns() // MINUTE_NS * MINUTE_NS
        self.now = fast_clock(self.origin, speed)
        self.played = {symbol: minutes_of(symbol, days + 1) for symbol in SYMBOLS}
        self.exchange = Market(self.now, self._arrived)
        faults = Faults([FaultRule.model_validate(rule) for rule in FAULTS], seed)
        self.server = Server(self.exchange, [Binance()], faults)
        self.control = Control(folder / "journal" / "main")
        self.names: set[str] = set()
        self.purposes: dict[int, str] = {}
        self.read_to: dict[Path, int] = {}
        self.killed_at: dict[Scope, float] = {}
        self.shown: set[Scope] = set()
        self.asked = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.calm = False
        """Nothing is done to the session any more, so that it can come to rest."""

    # -- the month --------------------------------------------------------------------------------

    async def live(self) -> None:
        """Live through all days, let it heal, end it, and judge."""
        for symbol, rows in self.played.items():
            for n in [m for m in sorted(rows) if m < PAST]:
                start = self.origin + (n - PAST) * MINUTE_NS
                self.exchange.on_bar(bar_of(symbol, start, rows[n]))
        url = await self.server.start()
        (self.folder / "onefold.yaml").write_text(config(url))
        self._start()
        person = asyncio.ensure_future(self._look_after())
        first = (self.now() - self.origin) // MINUTE_NS
        for n in range(first, self.days * MINUTES_A_DAY - PAST):
            await self._minute(n)
        self.server.faults.clear()
        self.calm = True
        print("no more faults", flush=True)
        await self._heal()
        person.cancel()
        await self._end()
        await self.server.stop()

    async def _minute(self, n: int) -> None:
        """Let a minute pass, and its bars close at its end."""
        end = self.origin + (n + 1) * MINUTE_NS
        await asyncio.sleep(max(0.0, (end - self.now()) / self.speed / 1e9))
        for symbol, rows in self.played.items():
            row = rows.get(n + PAST)
            if row is not None:
                self.exchange.on_bar(bar_of(symbol, end - MINUTE_NS, row))
        await self.server.flushed()
        for what, chance in CHANCES.items():
            if self.chance.random() < chance and not self.calm:
                self._let(what)
        if n % 60 == 0:
            self._check_worst_case()
        if n % FUNDING_MINUTES == 0:
            self._fund()
        if n % MINUTES_A_DAY == 0:
            self._tell(n // MINUTES_A_DAY)

    def _fund(self) -> None:
        """Let positions pay for being held, as perpetual futures do every eight hours."""
        for symbol, held in self.exchange.positions().items():
            if held:
                price = Decimal(repr(self.exchange.bars[symbol][-1].close))
                paid = -(held * price * FUNDING_RATE).quantize(Decimal("1e-8"))
                self.exchange.pay(paid, "funding", symbol)

    def _start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(CLOCK), str(self.origin), str(self.speed), *RUN],
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def _let(self, what: str) -> None:
        self.happened[what] += 1
        if what == "drop":
            self.server.disconnect()
        elif what == "crash" and self.process is not None:
            self.process.kill()
            self.process.wait()
            self._start()
        elif what == "kill":
            symbol = self.chance.choice([*SYMBOLS])
            scope = self.chance.choice(
                [Scope("", ""), Scope("", symbol), Scope(f"{symbol.lower()}_crossover", "")]
            )
            self.control.kill(scope, "a soak")
            self.killed_at[scope] = time.monotonic()

    async def _heal(self) -> None:
        """Wait until all is well and known, with bars still coming."""
        n = (self.now() - self.origin) // MINUTE_NS
        for later in range(n, n + 20 * self.speed):
            await self._minute(later)
            if later % 500 == 0 and self._is_well():
                return
        self.breach(f"it does not recover: {read_heartbeat(self.folder / 'journal' / 'main')}")

    def _is_well(self) -> bool:
        beat = self._beat()
        return bool(
            beat.get("reconciled")
            and not (beat["killed"] or beat["reduce_only"] or beat["killed_scopes"])
            and not beat["trouble"]
        )

    async def _end(self) -> None:
        """Let the session end in good order, with everything booked."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(self.process.wait, 60)
        if code:
            self.breach(f"the session ended with {code}")

    # -- the person -------------------------------------------------------------------------------

    async def _look_after(self) -> None:
        """Start the session again where it died, and resume what is stopped, every few seconds."""
        while True:
            await asyncio.sleep(0.1)
            assert self.process is not None
            if self.process.poll() is not None:
                self.happened["died"] += 1
                self._start()
            self._see_switches()
            if self.chance.random() < 0.05:
                self._resume()

    def _see_switches(self) -> None:
        """Look whether switches show within a second (I8), while a session runs."""
        beat = self._beat()
        scopes = {*beat.get("killed_scopes", ()), *([""] if beat.get("killed") else ())}
        for scope, since in self.killed_at.items():
            name = "/".join(filter(None, scope))
            if name in scopes:
                self.shown.add(scope)
            elif scope not in self.shown and time.monotonic() - since > 10:
                self.breach(f"I8: {scope.file_name} is on and does not show")

    def _resume(self) -> None:
        beat = self._beat()
        scopes = [Scope("", "")] if beat.get("killed") or beat.get("reduce_only") else []
        for one in beat.get("killed_scopes", ()):
            strategy, _, symbol = one.partition("/") if "/" in one else (one, "", "")
            is_symbol = strategy in SYMBOLS
            scopes.append(Scope("", strategy) if is_symbol else Scope(strategy, symbol))
        for scope in {*scopes, *self.control.switches()}:
            self.asked += 1
            self.killed_at.pop(scope, None)
            self.shown.discard(scope)
            self.control.ask(
                Request(f"r{self.asked}", "resume", self.now(), *scope, "looked", "a person")
            )

    def _beat(self) -> dict[str, Any]:
        """Return the running session's heartbeat, nothing when it is that of an earlier one."""
        beat = read_heartbeat(self.folder / "journal" / "main") or {}
        assert self.process is not None
        return beat if beat.get("pid") == self.process.pid else {}

    # -- the judge --------------------------------------------------------------------------------

    def breach(self, what: str) -> None:
        """Note what must never happen."""
        self.breaches.append(what)
        print(f"BREACH {what}", flush=True)

    def _arrived(self, order: VenueOrder) -> None:
        if order.client_id in self.names:
            self.breach(f"I1: {order.client_id} was sent twice")
        self.names.add(order.client_id)
        if not self._is_entry(order):
            return
        now = time.monotonic()
        for scope, since in self.killed_at.items():
            if scope.covers("", order.symbol) and now - since > IN_FLIGHT_S:
                self.breach(f"I7: {order.client_id} arrives while {scope.file_name} is on")

    def _is_entry(self, order: VenueOrder) -> bool:
        """Return whether an order opens something, by its record, which was durable before it."""
        number = int(order.client_id.rpartition("-")[2], 36)
        if number not in self.purposes:
            self._read_orders()
        if number not in self.purposes:
            self.breach(f"I5: {order.client_id} arrives before its record is written")
        return self.purposes.get(number) == "entry"

    def _read_orders(self) -> None:
        for path in sorted((self.folder / "journal" / "main").glob("live-*/*.jsonl")):
            with path.open("rb") as file:
                file.seek(self.read_to.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self.read_to[path] = self.read_to.get(path, 0) + len(line)
                    if b'"kind":"order"' in line:
                        found = msgspec.json.decode(line)
                        self.purposes[found["id"]] = found["purpose"]

    def _check_worst_case(self) -> None:
        """Judge the limits from what the exchange holds and has working (I4)."""
        for one in self.exchange.instruments.values():
            held = self.exchange.positions()[one.symbol]
            most = len(STRATEGIES) * SYMBOLS[one.symbol][4] * Decimal(str(one.lot))
            for side in (1, -1):
                entering = sum(
                    o.left
                    for o in self.exchange.working(one.symbol)
                    if o.side == side and self._is_entry(o)
                )
                if held * side + entering > most:
                    self.breach(f"I4: {one.symbol}: {held * side} held, {entering} entering")

    def _tell(self, day: int) -> None:
        assert self.process is not None
        beat = self._beat()
        print(
            f"day {day:2d}: session {_resident_mb(self.process.pid):5.0f} MB (pid "
            f"{self.process.pid}), exchange {_resident_mb(os.getpid()):5.0f} MB, "
            f"{beat.get('inputs', 0):,} inputs, {len(self.exchange.orders()):,} orders, "
            f"{len(self.exchange.trades()):,} trades, {len(self.breaches)} breaches, "
            f"{beat.get('trouble', '-') or 'no trouble'}",
            flush=True,
        )

    def judge(self) -> None:
        """Judge what is left: trades, books, journal, replay (I2, I3, I5, I6)."""
        [journal] = (self.folder / "journal" / "main").glob("live-*")
        records = [decode(entry, AnyRecord) for entry in read(journal)]  # type: ignore[arg-type]
        fills = [record for record in records if isinstance(record, Fill)]
        paid = [record for record in records if isinstance(record, Action)]
        if len({p.id for p in paid}) != len(self.exchange.payments()):
            self.breach(f"I2: {len(paid)} payments, {len(self.exchange.payments())} there")
        trades = {str(t.trade_id): t for t in self.exchange.trades()}
        told = [f.trade for f in fills]
        if len(set(told)) != len(told):
            self.breach("I2: a trade is in the journal twice")
        if set(told) != trades.keys():
            self.breach(f"I2: {len(trades.keys() ^ set(told))} trades differ")
        lots = {one.symbol: Decimal(str(one.lot)) for one in instruments()}
        flows = sum((Decimal(repr(p.value)) for p in paid), Decimal(0))
        held = dict.fromkeys(SYMBOLS, Decimal(0))
        for f in fills:
            units = f.side * f.qty * lots[f.instrument]
            held[f.instrument] += units
            flows -= units * Decimal(repr(f.price)) + Decimal(repr(f.fee))
        theirs = self.exchange.positions()
        for symbol, ours in held.items():
            print(f"{symbol}: ours {ours}, theirs {theirs[symbol]}")
            if ours != theirs[symbol]:
                self.breach(f"I3: {symbol}: ours {ours}, theirs {theirs[symbol]}")
        print(f"paid and received: ours {flows}, theirs {self.exchange.books._flows}")
        if flows != self.exchange.books._flows:
            self.breach("I3: the money differs")
        equity = Decimal(repr((read_heartbeat(journal.parent) or {})["equity"]))
        print(f"equity: ours {equity:.6f}, theirs {self.exchange.equity():.6f}")
        verify(journal)
        done = subprocess.run(
            [*COMMAND, "replay", str(journal), "--json"], check=True, capture_output=True, text=True
        )
        found = msgspec.json.decode(done.stdout)
        print(f"replay: {found}")
        if found["mismatches"]:
            self.breach("I6: the replay differs")


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * 4096 / 1e6
    except OSError:
        return 0.0


def main() -> int:
    """Live through the month, and say how it was."""
    days = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    speed = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000
    with tempfile.TemporaryDirectory(prefix="soak") as name:
        folder = Path(sys.argv[3] if len(sys.argv) > 3 else name)
        folder.mkdir(exist_ok=True)
        soak = Soak(folder, days, speed)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and leave no session behind
        try:
            asyncio.run(soak.live())
            soak.judge()
        finally:
            if soak.process is not None and soak.process.poll() is None:
                soak.process.kill()
            print((folder / "log").read_text()[-3_000:])
    print(f"happened: {dict(soak.happened)}")
    print(f"{len(soak.breaches)} breaches", *soak.breaches[:20], sep="\n")
    return 1 if soak.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
