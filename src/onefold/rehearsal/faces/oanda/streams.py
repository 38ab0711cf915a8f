"""OANDA's streams: a line of JSON for everything that happens, and heartbeats, over plain HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, cast

from aiohttp import web

from onefold.domain.records import Bar
from onefold.rehearsal.exchange import Event, Opening
from onefold.rehearsal.faces.oanda.access import stamp
from onefold.rehearsal.faces.oanda.log import Log, Transaction
from onefold.rehearsal.faces.oanda.markets import Market, price_row
from onefold.rehearsal.server import Channel, Server

LOOK_S = 0.1
"""How often it is looked whether the client is still there."""


class Lines:
    """An answer that goes on, as a `Channel` wants its socket."""

    def __init__(self, response: web.StreamResponse, request: web.Request) -> None:
        self._response, self._request, self._over = response, request, False

    @property
    def closed(self) -> bool:
        """Return whether nothing more can be sent."""
        transport = self._request.transport
        return self._over or transport is None or transport.is_closing()

    async def send_str(self, text: str) -> None:
        """Send a line."""
        await self._response.write(f"{text}\n".encode())

    async def close(self) -> None:
        """End the answer."""
        if not self.closed:
            await self._response.write_eof()
        self._over = True


class Transactions:
    """A client that listens to the account."""

    def __init__(self, channel: Channel, log: Log, server: Server) -> None:
        self._channel, self._log, self._server = channel, log, server

    def begin(self) -> Callable[[], None]:
        """Tell of all transactions from now on; return what ends it."""
        return self._log.listen(self._tell)

    def beat(self) -> dict[str, Any]:
        """Return a heartbeat."""
        now = stamp(self._server.now_ns())
        return {"type": "HEARTBEAT", "lastTransactionID": self._log.last_id, "time": now}

    def hear(self, event: Event) -> None:
        """Tell nothing: the log does."""

    def read(self, text: str) -> None:
        """Hear nothing: the client has said all when it asked."""

    def session_over(self) -> None:
        """Tell nothing: the answer just ends."""

    def _tell(self, transaction: Transaction) -> None:
        self._channel.tell(transaction, trade=transaction["type"] == "ORDER_FILL")


class Prices:
    """A client that listens to the prices of some markets."""

    def __init__(self, channel: Channel, wanted: Collection[Market], server: Server) -> None:
        self._channel, self._server = channel, server
        self._wanted = {market.symbol: market for market in wanted}

    def begin(self) -> Callable[[], None]:
        """Tell the prices that there are, and all from now on; return what ends it."""
        exchange = self._server.exchange
        for symbol, price in exchange.marks().items():
            if symbol in self._wanted:
                self._channel.push(price_row(self._wanted[symbol], price, exchange.now_ns))
        return exchange.listen(self.hear)

    def beat(self) -> dict[str, Any]:
        """Return a heartbeat."""
        return {"type": "HEARTBEAT", "time": stamp(self._server.now_ns())}

    def hear(self, event: Event) -> None:
        """Tell the price with which a bar begins or ends."""
        if isinstance(event, Bar):
            symbol, ts, price = event.instrument, event.ts, event.close
        elif isinstance(event, Opening):
            symbol, ts, price = event.symbol, event.ts, event.price
        else:
            return
        if symbol in self._wanted:
            self._channel.tell(price_row(self._wanted[symbol], price, ts))

    def read(self, text: str) -> None:
        """Hear nothing: the client has said all when it asked."""

    def session_over(self) -> None:
        """Tell nothing: the answer just ends."""


async def stream(
    request: web.Request,
    server: Server,
    beat_s: float,
    make: Callable[[Channel], Transactions | Prices],
) -> web.StreamResponse:
    """Hold one stream until either side ends it."""
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    lines = Lines(response, request)
    channel = Channel(cast("web.WebSocketResponse", lines), request, server.faults)
    talk = channel.conversation = make(channel)
    # The server's own way to hold a stream is for WebSockets only.
    channels = server._channels  # noqa: SLF001
    channels.add(channel)
    pump = asyncio.ensure_future(channel.pump())
    channel.push(talk.beat())
    unlisten = talk.begin()
    try:
        await _hold(lines, channel, talk, beat_s)
    finally:
        unlisten()
        channels.discard(channel)
        pump.cancel()
    return response


async def _hold(lines: Lines, channel: Channel, talk: Transactions | Prices, beat_s: float) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time() + beat_s
    while not lines.closed:
        await asyncio.sleep(min(LOOK_S, beat_s))
        if loop.time() >= due:
            due = loop.time() + beat_s
            channel.push(talk.beat())
