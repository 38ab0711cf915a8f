"""Rigs on a real socket: the rehearsal exchange behind a face, and an adapter that talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

from onefold.domain.instruments import Instrument
from onefold.domain.ports import LiveVenue
from onefold.domain.records import Bar
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faults import Faults
from onefold.rehearsal.server import Face, Server

from .rig import MINUTE_NS, Rig

START_NS = 1_577_923_200_000_000_000


@asynccontextmanager
async def served(
    face: Face,
    one: Instrument,
    venue: Callable[[str], LiveVenue],
    stranger: Callable[[str], LiveVenue],
    *,
    unit: Decimal = Decimal(1),
    scale: Decimal = Decimal(1),
    names_once: bool = True,
) -> AsyncIterator[Rig]:
    """Give a rig whose venue is made of the server's URL; `stranger` has wrong keys.

    The account has enough for any case: 100,000 times a price of 100 and a unit.
    """
    cash = 10_000_000 * scale * unit
    exchange = Exchange([one], cash, one.currency, names_once=names_once)
    price = float(100 * scale)
    first = Bar(one.symbol, START_NS + MINUTE_NS, START_NS, price, price, price, price, 1e6)
    exchange.on_bar(first)
    server = Server(exchange, [face], Faults())
    url = await server.start()
    made = venue(url)
    try:
        await made.open()
        yield Rig(
            venue=made,
            exchange=exchange,
            faults=server.faults,
            symbol=one.symbol,
            play=server.play,
            disconnect=server.disconnect,
            stranger=lambda: stranger(url),
            unit=unit,
            scale=scale,
        )
    finally:
        await made.close()
        await server.stop()
