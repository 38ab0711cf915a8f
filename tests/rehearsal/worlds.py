"""A rehearsal exchange on a socket, and the real ccxt pointed at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import ccxt.pro

from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar
from onefold.domain.rules import Costs
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faces.binance import Binance
from onefold.rehearsal.faults import FaultRule, Faults
from onefold.rehearsal.server import Server

MINUTE_NS = 60_000_000_000
START_NS = 1_577_923_200_000_000_000


def coin(**facts: Any) -> Instrument:
    """Return a coin that is paid for in full."""
    plain = {
        "symbol": "BTCUSDT",
        "kind": "crypto",
        "currency": "USDT",
        "tick": 0.01,
        "lot": 0.001,
        "commission_bps": 10.0,
        "short": False,
    }
    return Instrument.model_validate({**plain, **facts})


def perpetual(**facts: Any) -> Instrument:
    """Return a perpetual future."""
    plain = {
        "symbol": "BTCUSDT",
        "kind": "future",
        "currency": "USDT",
        "tick": 0.1,
        "lot": 0.001,
        "commission_bps": 4.0,
        "margin_initial": 0.1,
        "margin_maintenance": 0.05,
    }
    return Instrument.model_validate({**plain, **facts})


def bar(
    number: int,
    open_: float = 100.0,
    high: float | None = None,
    low: float | None = None,
    close: float | None = None,
    *,
    symbol: str = "BTCUSDT",
    volume: float | None = 1_000.0,
) -> Bar:
    """Return the minute bar of that number; what is not given makes it a flat one."""
    close = open_ if close is None else close
    ts = START_NS + (number + 1) * MINUTE_NS
    top, bottom = max(open_, close), min(open_, close)
    return Bar(
        symbol,
        ts,
        ts - MINUTE_NS,
        open_,
        top if high is None else high,
        bottom if low is None else low,
        close,
        volume,
    )


def exchange_of(
    *instruments: Instrument, cash: str = "100000", costs: Costs | None = None, **more: Any
) -> Exchange:
    """Return an exchange that has seen one bar at 100."""
    made = Exchange(instruments or (coin(),), Decimal(cash), "USDT", costs, **more)
    for one in made.instruments:
        made.on_bar(bar(0, symbol=one))
    return made


@asynccontextmanager
async def serving(
    exchange: Exchange, *rules: dict[str, Any], seed: int = 0
) -> AsyncIterator[Server]:
    """Serve an exchange with Binance's face while the block runs."""
    faults = Faults([FaultRule.model_validate(rule) for rule in rules], seed)
    server = Server(exchange, [Binance()], faults)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def client(server: Server, kind: str, **options: Any) -> AsyncIterator[Any]:
    """Give ccxt's own client for `spot` or `futures`, pointed at the server."""
    name = ccxt.pro.binance if kind == "spot" else ccxt.pro.binanceusdm
    made = name(
        {
            "apiKey": "rehearsal",
            "secret": "rehearsal",
            "enableRateLimit": False,
            "timeout": 2_000,
            **options,
        }
    )
    point(made, server.url)
    try:
        yield made
    finally:
        await made.close()
        await asyncio.sleep(0)


def point(made: Any, base: str) -> None:
    """Rewrite the client's URLs to the server's: the paths stay."""
    stream = base.replace("http", "ws", 1)
    api = made.urls["api"]
    for key, url in api.items():
        if isinstance(url, str):
            api[key] = base + "/" + url.split("/", 3)[3]
    api["ws"]["spot"] = f"{stream}/stream/ws"
    api["ws"]["linear"] = f"{stream}/fstream/ws"
    api["ws"]["ws-api"]["spot"] = f"{stream}/ws-api/v3"
