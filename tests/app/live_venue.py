"""A rehearsal venue in a thread, in real time, for processes that trade against it."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from decimal import Decimal
from typing import Any, Self

from onefold.domain.instruments import Instrument, Kind
from onefold.domain.records import Bar
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faces.binance import Binance
from onefold.rehearsal.faults import FaultRule, Faults
from onefold.rehearsal.server import Server

SECOND_NS = 1_000_000_000
COIN = Instrument(
    symbol="BTCUSDT",
    kind=Kind.CRYPTO,
    currency="USDT",
    lot=0.001,
    tick=0.01,
    commission_bps=2.0,
)
CASH = Decimal(100_000)

CONFIG = """
account:
  {{ name: main, cash: 100000, currency: USDT, limits: {{ freshness_bars: 20 }} }}
instruments:
  BTCUSDT: {{ kind: crypto, currency: USDT, lot: 0.001, tick: 0.01, commission_bps: 2 }}
feeds:
  BTCUSDT: {{ interval: 1s, history: 5, ccxt: {{ exchange: binance, url: "{url}", poll_s: 0.2 }} }}
strategies:
  flips: {{ file: flips.py, sizing: {{ kind: fixed, lots: 5 }} }}
  rests:
    file: rests.py
    sizing: {{ kind: fixed, lots: 7 }}
    entry: {{ order: limit }}
    exits: {{ stop: 0.002, take: 0.002, resting: true }}
accounts:
  main:
    approved: "a test"
    reconcile_s: 1
    unknown_s: 5
    on_stop: keep
    venue:
      ccxt:
        {{ exchange: binance, url: "{url}", api_key: rehearsal, api_secret: rehearsal,
           deadline_s: 2, calls_per_second: 100 }}
"""

FLIPS = '''
import onefold as of


class Flips(of.Strategy):
    """Long for three seconds, flat for two."""

    def extract_features(self):
        return {}

    def predict_signal(self, x):
        return self.signal((x.ts // 1_000_000_000) % 5 < 3)
'''

RESTS = '''
import onefold as of


class Rests(of.Strategy):
    """Bid a little below the last price for six seconds of ten."""

    def extract_features(self):
        return {}

    def predict_signal(self, x):
        return self.signal((x.ts // 1_000_000_000) % 10 < 6, price=x.close * 0.9995)
'''


class VenueThread:
    """An exchange with a face, whose bars close with every second of the wall clock."""

    def __init__(self, rules: list[dict[str, Any]] | None = None, seed: int = 1) -> None:
        self.exchange = Exchange([COIN], CASH, "USDT", names_once=True)
        self.repeated: list[str] = []
        self._names: set[str] = set()
        submit = self.exchange.submit

        def counted(client_id: str, *args: Any, **facts: Any) -> Any:
            if client_id in self._names:
                self.repeated.append(client_id)
            self._names.add(client_id)
            return submit(client_id, *args, **facts)

        self.exchange.submit = counted  # type: ignore[method-assign]
        faults = Faults([FaultRule.model_validate(rule) for rule in rules or []], seed)
        self.server = Server(self.exchange, [Binance()], faults)
        self.url = ""
        self._random = random.Random(seed)
        self.paused = threading.Event()
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def __enter__(self) -> Self:
        """Serve, with a few bars of the past."""
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self._stop.set()
        self._thread.join(20)

    async def _main(self) -> None:
        second = time.time_ns() // SECOND_NS
        price = 1000.0
        for past in range(20, 0, -1):
            self.exchange.on_bar(self._bar(second - past, price))
        self.exchange.advance(time.time_ns())
        self.url = await self.server.start()
        self._ready.set()
        while not self._stop.is_set():
            now = time.time_ns()
            self.exchange.advance(now)
            if now // SECOND_NS > second and not self.paused.is_set():
                price = round(price * (1 + self._random.gauss(0, 0.0008)), 2)
                await self.server.play(self._bar(second, price))
                second += 1
            await asyncio.sleep(0.02)
        await self.server.stop()

    def _bar(self, second: int, price: float) -> Bar:
        width = round(price * 0.0004, 2)
        start = second * SECOND_NS
        return Bar(
            "BTCUSDT",
            start + SECOND_NS,
            start,
            price,
            round(price + width, 2),
            round(price - width, 2),
            price,
            1e6,
        )
