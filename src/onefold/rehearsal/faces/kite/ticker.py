"""Kite's ticker: market data in binary packets, orders and errors as text, on one WebSocket.

A packet is what the market is at a moment, and no trade: the last price, and how much was traded so
far today. https://kite.trade/docs/connect/v3/websocket/
"""

from __future__ import annotations

import asyncio
import base64
import struct
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from onefold.domain.records import Bar
from onefold.rehearsal.exchange import Event, VenueOrder, VenueTrade
from onefold.rehearsal.faces.kite.access import Access
from onefold.rehearsal.faces.kite.desk import Desk
from onefold.rehearsal.faces.kite.shapes import SECOND_NS, Listing, day_of, postback_shape
from onefold.rehearsal.server import Channel

HEARTBEAT = b"\0"
HEARTBEAT_S = 1.0
_QUOTE = struct.Struct(">11I")
_REST = struct.Struct(">5I")
_DEPTH = bytes(120)
_PACKET = "packet"
"""What a packet is called while it waits with the text messages."""


class Ticker:
    """The WebSocket route."""

    def __init__(self, desk: Desk, access: Access) -> None:
        self._desk, self._access = desk, access

    def routes(self) -> list[web.RouteDef]:
        """Return the WebSocket route."""
        return [web.get("/", self._serve)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = request.query
        if not self._access.fits(asked.get("api_key", ""), asked.get("access_token", "")):
            return web.Response(status=403, text="Forbidden")
        socket = _Socket()
        await socket.prepare(request)
        server = self._desk.server
        channel = Channel(socket, request, server.faults)
        talk = channel.conversation = Talk(channel, self._desk)
        unlisten = server.exchange.listen(talk.hear)
        open_channels = server._channels  # noqa: SLF001 - `Server.stream` speaks text only
        open_channels.add(channel)
        tasks = [asyncio.ensure_future(work) for work in (channel.pump(), talk.beat())]
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT or message.type is WSMsgType.BINARY:
                    talk.read(message.data)
        finally:
            unlisten()
            open_channels.discard(channel)
            for task in tasks:
                task.cancel()
        return socket


class _Socket(web.WebSocketResponse):
    """A WebSocket that sends packets as the bytes that they are."""

    async def send_str(self, data: str, compress: int | None = None) -> None:
        """Send a message, or the packet in it."""
        message = msgspec.json.decode(data)
        with suppress(ConnectionError):  # the client is gone: whoever reads will see it
            if _PACKET in message:
                await self.send_bytes(base64.b64decode(message[_PACKET]), compress)
            else:
                await super().send_str(data, compress)


class Talk:
    """A client that hears of its orders, and of the instruments that it asks for."""

    def __init__(self, channel: Channel, desk: Desk) -> None:
        self._channel, self._desk = channel, desk
        self._modes: dict[int, str] = {}

    async def beat(self) -> None:
        """Say again and again that the connection is there."""
        while True:
            self._channel.push({_PACKET: HEARTBEAT})
            await asyncio.sleep(HEARTBEAT_S)

    def read(self, text: str | bytes) -> None:
        """Take a subscription; what the market is now is told at once."""
        asked = msgspec.json.decode(text)
        action, value = asked.get("a"), asked.get("v")
        if action == "unsubscribe":
            for token in value:
                self._modes.pop(token, None)
            return
        mode, tokens = ("quote", value) if action == "subscribe" else value
        for token in tokens:
            one = self._desk.listing_of(token)
            if one is not None:
                self._modes[token] = mode
                self._channel.push(_message(self._packet(one, mode)))

    def session_over(self) -> None:
        """Tell that the token holds no more."""
        self._channel.push({"type": "error", "data": "Incorrect `api_key` or `access_token`."})

    def hear(self, event: Event) -> None:
        """Tell of orders, and of what a bar has traded.

        What a trade made of its order is told with the trade.
        """
        if isinstance(event, Bar):
            self._hear_bar(event)
        elif isinstance(event, VenueOrder | VenueTrade):
            trade = isinstance(event, VenueTrade)
            order = self._desk.exchange.order(venue_id=event.venue_id)
            if order is not None and (trade or _is_news(order)):
                self._channel.tell(postback_shape(self._desk.shape(order)), trade=trade)

    def _hear_bar(self, bar: Bar) -> None:
        one = self._desk.listed[bar.instrument]
        mode = self._modes.get(one.token)
        if mode is not None:
            for part in (1, 2, 3, 4):
                self._channel.tell(_message(self._packet(one, mode, part)))

    def _packet(self, one: Listing, mode: str, part: int = 4) -> bytes:
        """Return the market after so many quarters of the last bar."""
        bars = self._desk.exchange.bars[one.symbol]
        if not bars:
            return packet(one.token, mode, 0.0, 0, 0.0, (0.0,) * 4, 0)
        bar = bars[-1]
        today = [bar]
        for before in reversed(bars[:-1]):
            if day_of(before.ts_open) != day_of(bar.ts_open):
                break
            today.append(before)
        earlier = sum(b.volume or 0.0 for b in today[1:])
        size = (bar.volume or 0.0) / 4
        first, second = (bar.low, bar.high) if bar.close >= bar.open else (bar.high, bar.low)
        price = (bar.open, first, second, bar.close)[part - 1]
        day = (
            today[-1].open,
            max(b.high for b in today),
            min(b.low for b in today),
            bars[0].open,
        )
        ts = bar.ts_open + (part - 1) * ((bar.ts - bar.ts_open) // 4)
        return packet(one.token, mode, price, round(earlier + part * size), size, day, ts)


def packet(
    token: int,
    mode: str,
    price: float,
    volume: int,
    size: float,
    day: tuple[float, ...],
    ts: int,
) -> bytes:
    """Return one packet: `volume` of the day so far, `day` its open, high, low and last close.

    Nobody stands in the book: what the exchange is made of says nothing of it.
    """
    last = _paise(price)
    if mode == "ltp":
        return struct.pack(">2I", token, last)
    traded = (round(size), last, volume, 0, 0)
    quote = _QUOTE.pack(token, last, *traded, *(_paise(x) for x in day))
    seconds = ts // SECOND_NS
    return quote if mode == "quote" else quote + _REST.pack(seconds, 0, 0, 0, seconds) + _DEPTH


def _message(one: bytes) -> dict[str, Any]:
    return {_PACKET: struct.pack(">HH", 1, len(one)) + one}


def _paise(price: float) -> int:
    return round(price * 100)


def _is_news(order: VenueOrder) -> bool:
    return order.status != "filled" and (order.status != "working" or not order.filled)
