"""The rehearsal exchange on a real socket: HTTP and WebSocket on loopback, with faults.

A face speaks the language of one venue; this is what all faces share. Above all it is the one place
that turns a fault into what a client sees: an answer that never comes, an error after the order was
taken, a connection that breaks, a message that comes twice. So every venue misbehaves alike, and
one suite of cases can hold every adapter to the same account of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec
from aiohttp import WSMsgType, web

from onefold.domain.records import Bar
from onefold.rehearsal.exchange import Event, Exchange, Refusal, VenueOrder, warm
from onefold.rehearsal.faults import Fault, Faults, On

SECOND_NS = 1_000_000_000
RACE_S = 0.05
"""How much later than an answer comes what it was overtaken by, or the other way round."""

Handler = Callable[[web.Request], Awaitable[web.Response]]

_REFUSED: dict[str, Refusal] = {
    "reject": Refusal("refused by the script of faults", "rejected"),
    "too_many": Refusal("too many requests", "too_many"),
    "expired_session": Refusal("the session has expired", "session_expired"),
    "unknown_order": Refusal("there is no such order", "unknown_order"),
}
UNAVAILABLE = Refusal("the server failed; whether the request was executed is unknown", "failed")


class Conversation(Protocol):
    """What a face does with one WebSocket."""

    def hear(self, event: Event) -> None:
        """Tell the client of something that happened, if it wants to know."""
        ...

    def read(self, text: str) -> None:
        """Take a message of the client."""
        ...

    def session_over(self) -> None:
        """Tell the client that its session has expired, as the venue would."""
        ...


class Face(Protocol):
    """One venue's language."""

    def routes(self, server: Server) -> list[web.RouteDef]:
        """Return the venue's HTTP and WebSocket routes."""
        ...

    def failed(
        self, refusal: Refusal, request: web.Request, retry_after_s: float = 0.0
    ) -> web.Response:
        """Return how the venue says no."""
        ...


class Channel:
    """One WebSocket, and what waits to be sent through it."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, faults: Faults) -> None:
        self._socket, self._request, self._faults = socket, request, faults
        self._waiting: asyncio.Queue[tuple[str, float]] = asyncio.Queue()
        self._silent = False
        self.conversation: Conversation | None = None

    def push(self, message: object) -> None:
        """Send an answer."""
        self._put(message)

    def tell(self, message: object, *, trade: bool = False) -> None:
        """Send a message of the stream, to which the script of faults applies."""
        fault = self._faults.plan("stream", trade=trade)
        do = fault.do if fault else ""
        if do == "disconnect":
            self.cut()
        elif do == "hang":
            self._silent = True
        elif do == "expired_session" and self.conversation is not None:
            self.conversation.session_over()
            self._put(None)
        else:
            self._put(message, fault.seconds if fault and do == "slow" else 0.0)
            if do == "duplicate_fill":
                self._put(message)

    def cut(self) -> None:
        """Break the connection, without a word."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def pump(self) -> None:
        """Send what waits, until the connection ends."""
        while True:
            text, delay_s = await self._waiting.get()
            await asyncio.sleep(delay_s)
            if not text:
                await self._socket.close()
            elif not self._socket.closed:
                await self._socket.send_str(text)
            self._waiting.task_done()

    async def flushed(self, patience_s: float = RACE_S) -> None:
        """Wait until everything is sent, unless it is held up on purpose."""
        try:
            async with asyncio.timeout(patience_s):
                await self._waiting.join()
        except TimeoutError:
            return

    def _put(self, message: object, delay_s: float = 0.0) -> None:
        if not self._silent:
            text = "" if message is None else msgspec.json.encode(message).decode()
            self._waiting.put_nowait((text, delay_s))


class Server:
    """An exchange with faces on one port of loopback."""

    def __init__(
        self,
        exchange: Exchange,
        faces: Sequence[Face],
        faults: Faults | None = None,
        port: int = 0,
    ) -> None:
        self.exchange, self.faces = exchange, faces
        self.faults = faults or Faults()
        self.skew_ns = 0
        self._port = port
        self._channels: set[Channel] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._late: set[asyncio.TimerHandle] = set()
        self._cancelled: VenueOrder | None = None

    async def start(self) -> str:
        """Listen; return the base URL. Raises `OSError` when the port is taken."""
        warm()
        self._stopping = asyncio.Event()
        self._unlisten = self.exchange.listen(self._heed)
        app = web.Application()
        for face in self.faces:
            app.add_routes(face.routes(self))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self.url

    async def stop(self) -> None:
        """Stop listening and let go of all connections."""
        self._stopping.set()
        self._unlisten()
        for timer in [*self._timers.values(), *self._late]:
            timer.cancel()
        self.disconnect()
        await self._runner.cleanup()

    def now_ns(self) -> int:
        """Return what the venue says the time is."""
        return self.exchange.now_ns + self.skew_ns

    async def play(self, bar: Bar, then: Bar | None = None) -> None:
        """Let a bar happen, and the next one begin; return when the streams have told of it."""
        self.exchange.on_bar(bar)
        if then is not None:
            self.exchange.announce(then)
        await self.flushed()

    async def flushed(self) -> None:
        """Wait until the streams have told of everything."""
        for channel in [*self._channels]:
            await channel.flushed()

    def disconnect(self) -> None:
        """Break all WebSockets."""
        for channel in [*self._channels]:
            channel.cut()

    @property
    def streams(self) -> int:
        """Return how many WebSockets are open."""
        return len(self._channels)

    def arm(self, symbol: str, seconds: float) -> None:
        """Cancel a symbol's orders unless this is called again in time; 0 disarms."""
        timer = self._timers.pop(symbol, None)
        if timer is not None:
            timer.cancel()
        if seconds > 0:
            loop = asyncio.get_running_loop()
            self._timers[symbol] = loop.call_later(seconds, self.exchange.cancel_all, symbol)

    # -- for faces --------------------------------------------------------------------------------

    def route(self, face: Face, on: On, method: str, path: str, handler: Handler) -> web.RouteDef:
        """Return a route to which the script of faults applies."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return await self._answer(face, self.faults.plan(on), handler, request)

        return web.route(method, path, answer)

    async def stream(
        self, request: web.Request, begin: Callable[[Channel], Conversation]
    ) -> web.WebSocketResponse:
        """Hold one WebSocket: what happens goes out, what comes in is read."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        channel = Channel(socket, request, self.faults)
        conversation = channel.conversation = begin(channel)
        unlisten = self.exchange.listen(conversation.hear)
        self._channels.add(channel)
        pump = asyncio.ensure_future(channel.pump())
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    conversation.read(message.data)
        finally:
            unlisten()
            self._channels.discard(channel)
            pump.cancel()
        return socket

    # -- faults -----------------------------------------------------------------------------------

    async def _answer(
        self, face: Face, fault: Fault | None, handler: Handler, request: web.Request
    ) -> web.StreamResponse:
        """Answer a request, or do what the fault says instead, before or afterwards."""
        do, seconds = fault or ("", 0.0)
        if do == "disconnect":
            return _cut(request)
        if do == "hang":
            return await self._silence(request)
        if do in _REFUSED:
            return face.failed(_REFUSED[do], request, seconds)
        self._prepare(do, seconds)
        if do == "slow":
            await asyncio.sleep(seconds)
        try:
            response = await handler(request)
        except Refusal as refusal:
            return face.failed(refusal, request)
        if do == "accept_then_timeout":
            return await self._silence(request)
        if do == "error_after_accept":
            return face.failed(UNAVAILABLE, request)
        await self._race(do)
        return response

    def _prepare(self, do: str, seconds: float) -> None:
        if do == "clock_skew":
            self.skew_ns = round(seconds * SECOND_NS)
        if do == "partial":
            self.exchange.halve_next()

    async def _race(self, do: str) -> None:
        """Let the stream overtake the answer, or a trade the cancellation."""
        if do == "fill_before_ack":
            self.exchange.touch(self.exchange.orders()[-1].symbol)
            await self.flushed()
            await asyncio.sleep(RACE_S)
        if do == "fill_after_cancel" and self._cancelled is not None:
            loop = asyncio.get_running_loop()
            late = loop.call_later(RACE_S, self.exchange.trade_late, self._cancelled)
            self._late.add(late)

    async def _silence(self, request: web.Request) -> web.StreamResponse:
        """Never answer."""
        await self._stopping.wait()
        return _cut(request)

    def _heed(self, event: Event) -> None:
        if isinstance(event, VenueOrder) and event.status == "cancelled":
            self._cancelled = event


def _cut(request: web.Request) -> web.Response:
    """Break the connection instead of an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def json_response(payload: Any, status: int = 200, **headers: str) -> web.Response:
    """Return a payload as JSON."""
    return web.Response(
        body=msgspec.json.encode(payload),
        status=status,
        content_type="application/json",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
