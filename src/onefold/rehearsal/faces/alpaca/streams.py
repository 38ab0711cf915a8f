"""Alpaca's WebSockets: `/stream` for the account, and minute bars of the market.

The account's stream is JSON. Market data is MessagePack in binary frames both ways, with times as
MessagePack's own, because that is what Alpaca's client asks for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from onefold.domain.records import Bar
from onefold.rehearsal.exchange import Event, VenueOrder, VenueTrade
from onefold.rehearsal.faces.alpaca.data import minute_of
from onefold.rehearsal.faces.alpaca.desk import Desk
from onefold.rehearsal.faces.alpaca.shapes import update_shape
from onefold.rehearsal.server import Channel, Conversation, Server

_CHANNELS = (
    "trades",
    "quotes",
    "bars",
    "updatedBars",
    "dailyBars",
    "statuses",
    "lulds",
    "corrections",
    "cancelErrors",
)


class Streams:
    """The WebSocket routes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Return the WebSocket routes."""
        return [
            web.get("/stream", self._account),
            web.get("/v2/{feed:iex|sip}", self._market),
            web.get("/v1beta3/crypto/us", self._market),
        ]

    async def _account(self, request: web.Request) -> web.StreamResponse:
        return await self._desk.server.stream(request, lambda c: AccountTalk(c, self._desk))

    async def _market(self, request: web.Request) -> web.StreamResponse:
        coins = "crypto" in request.path
        return await _packed_stream(
            self._desk.server, request, lambda c: MarketTalk(c, self._desk, coins=coins)
        )


class AccountTalk:
    """A client that logs in and listens to `trade_updates`."""

    def __init__(self, channel: Channel, desk: Desk) -> None:
        self._channel, self._desk = channel, desk
        self._known = self._listens = False

    def read(self, text: str) -> None:
        """Take a login or a subscription."""
        asked = msgspec.json.decode(text)
        action, data = asked.get("action"), asked.get("data") or {}
        if action in ("authenticate", "auth"):
            given = data or asked
            key = given.get("key_id") or given.get("key")
            secret = given.get("secret_key") or given.get("secret")
            self._known = self._desk.access.fits(key, secret)
        elif action == "listen" and self._known:
            self._listens = "trade_updates" in data.get("streams", [])
            streams = ["trade_updates"] if self._listens else []
            self._channel.push({"stream": "listening", "data": {"streams": streams}})
            return
        self._authorization(str(action))

    def _authorization(self, action: str) -> None:
        status = "authorized" if self._known else "unauthorized"
        data = {"action": action, "status": status}
        self._channel.push({"stream": "authorization", "data": data})

    def session_over(self) -> None:
        """Tell that the login holds no more."""
        self._known = self._listens = False
        self._authorization("listen")

    def hear(self, event: Event) -> None:
        """Tell of orders and trades; what a trade made of its order is told with the trade."""
        trade = event if isinstance(event, VenueTrade) else None
        if not self._listens or not isinstance(event, VenueOrder | VenueTrade):
            return
        order = self._desk.exchange.order(venue_id=event.venue_id)
        if order is None or (trade is None and not _is_news(order)):
            return
        held = self._desk.exchange.positions()[order.symbol]
        update = update_shape(order, self._desk.market_of(order.symbol), trade, held)
        self._channel.tell(update, trade=trade is not None)


def _is_news(order: VenueOrder) -> bool:
    return order.status != "filled" and (order.status != "working" or not order.filled)


class MarketTalk:
    """A client that listens to minute bars."""

    def __init__(self, channel: Channel, desk: Desk, *, coins: bool) -> None:
        self._channel, self._desk, self._coins = channel, desk, coins
        self._known = False
        self._wanted: set[str] = set()
        channel.push([{"T": "success", "msg": "connected"}])

    def read(self, text: str) -> None:
        """Take a login or a subscription."""
        asked = msgspec.json.decode(text)
        action = asked.get("action")
        if action == "auth":
            self._known = self._desk.access.fits(asked.get("key"), asked.get("secret"))
            if self._known:
                self._channel.push([{"T": "success", "msg": "authenticated"}])
            else:
                self._failed(402, "auth failed")
        elif not self._known:
            self._failed(401, "not authenticated")
        elif action in ("subscribe", "unsubscribe"):
            names = set(asked.get("bars", []))
            self._wanted = self._wanted | names if action == "subscribe" else self._wanted - names
            empty: dict[str, Any] = {name: [] for name in _CHANNELS}
            state = {**empty, "bars": sorted(self._wanted)}
            self._channel.push([{"T": "subscription", **state}])
        else:
            self._failed(400, "invalid syntax")

    def _failed(self, code: int, words: str) -> None:
        self._channel.push([{"T": "error", "code": code, "msg": words}])

    def session_over(self) -> None:
        """Tell that the login holds no more."""
        self._known, self._wanted = False, set()
        self._failed(401, "not authenticated")

    def hear(self, event: Event) -> None:
        """Tell of a minute that is over."""
        if not isinstance(event, Bar):
            return
        market = self._desk.market_of(event.instrument)
        minute = minute_of(self._desk.exchange, event)
        wanted = {market.name, "*"} & self._wanted
        if minute is not None and wanted and market.coin == self._coins:
            self._channel.tell([{"T": "b", "S": market.name, **minute.shape()}])


class _PackedSocket(web.WebSocketResponse):
    """A WebSocket that says in MessagePack what it is given as JSON."""

    async def send_str(self, data: str, compress: int | None = None) -> None:
        """Send a message, with its times as MessagePack writes them."""
        messages = msgspec.json.decode(data)
        for message in messages:
            if "t" in message:
                message["t"] = datetime.fromisoformat(message["t"])
        await self.send_bytes(msgspec.msgpack.encode(messages), compress)


async def _packed_stream(
    server: Server, request: web.Request, begin: Callable[[Channel], Conversation]
) -> web.WebSocketResponse:
    """Hold one WebSocket as `Server.stream` does, in binary frames both ways."""
    socket = _PackedSocket()
    await socket.prepare(request)
    channel = Channel(socket, request, server.faults)
    conversation = channel.conversation = begin(channel)
    unlisten = server.exchange.listen(conversation.hear)
    open_channels = server._channels  # noqa: SLF001 - `Server.stream` speaks text only
    open_channels.add(channel)
    pump = asyncio.ensure_future(channel.pump())
    try:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                conversation.read(
                    msgspec.json.encode(msgspec.msgpack.decode(message.data)).decode()
                )
    finally:
        unlisten()
        open_channels.discard(channel)
        pump.cancel()
    return socket
