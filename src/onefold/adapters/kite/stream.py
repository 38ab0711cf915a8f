"""Kite's ticker by its own client, which lives on a thread of its own.

The client is built on Twisted, whose reactor runs once in a process and cannot be started again: it
gets a thread that lasts as long as the process, and connections come and go on it. The client would
connect again by itself and say nothing of what was missed; here a lost connection ends the stream.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from onefold.adapters.calls import library, words
from onefold.adapters.kite.config import KiteConfig
from onefold.adapters.kite.http import LOG_IN
from onefold.domain.errors import VenueUncertain

ROOT = "wss://ws.kite.trade"
REFUSED = "(403"
"""How a token that is refused shows in the client's reason for a lost connection."""

Message = bytes | str


class Ticker:
    """One connection; `open`, then `take` or `messages`, then `close`."""

    def __init__(self, config: KiteConfig, tokens: Sequence[int] = ()) -> None:
        """Take what to hear of: instruments by their tokens, and the account's orders anyway."""
        self._config = config
        self._tokens = list(tokens)
        self._messages: deque[Message] = deque()
        self._news = asyncio.Event()
        self._loss: VenueUncertain | None = None
        self._connected = self._closed = False
        self._ticker: Any = None

    async def open(self) -> None:
        """Connect and subscribe. Raises `VenueUncertain`."""
        self._loop = asyncio.get_running_loop()
        _reactor().callFromThread(self._connect)
        deadline = self._loop.time() + self._config.deadline_s
        while not self._connected:
            if self._loss is not None:
                raise self._loss
            if not await self._wait(deadline - self._loop.time()):
                raise VenueUncertain(
                    f"Kite's ticker gave no answer within {self._config.deadline_s:g} s"
                )

    def close(self) -> None:
        """Hang up."""
        self._closed = True
        _reactor().callFromThread(self._hang_up)

    async def take(self, timeout_s: float) -> list[Message]:
        """Return what has come, waiting for it at most so long. Raises `VenueUncertain`."""
        if not self._messages and self._loss is None:
            await self._wait(timeout_s)
        taken = list(self._messages)
        self._messages.clear()
        if not taken and self._loss is not None:
            raise self._loss
        return taken

    async def messages(self) -> AsyncIterator[Message]:
        """Yield what comes. Ends with `VenueUncertain`, of silence as well."""
        while True:
            taken = await self.take(self._config.silence_s)
            if not taken and self._loss is None:
                raise self.silent()
            for message in taken:
                yield message

    def silent(self) -> VenueUncertain:
        """Return what to raise when nothing has come for too long."""
        return VenueUncertain(f"Kite's ticker was silent for {self._config.silence_s:g} s")

    async def _wait(self, timeout_s: float) -> bool:
        """Return whether there was news in time."""
        self._news.clear()
        try:
            async with asyncio.timeout(max(timeout_s, 0.0)):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    # -- on the reactor's thread ------------------------------------------------------------------

    def _connect(self) -> None:
        config = self._config
        url = config.ws_url or (ROOT if config.url is None else config.url.replace("http", "ws", 1))
        try:
            ticker = self._ticker = library("kiteconnect").KiteTicker(
                config.api_key.get_secret_value(),
                config.access_token.get_secret_value(),
                root=url.rstrip("/"),
                # It ignores `reconnect`, but not this.
                reconnect_max_tries=0,
                connect_timeout=config.deadline_s,
            )
            ticker.on_connect = self._on_connect
            ticker.on_message = lambda _ticker, payload, is_binary: self._tell(
                self._heard, bytes(payload) if is_binary else payload.decode()
            )
            ticker.on_close = lambda _ticker, _code, reason: self._tell(self._lost, str(reason))
            ticker.connect()
            # Of a connection that never came about it says nothing.
            ticker.factory.clientConnectionFailed = lambda _connector, failure: self._tell(
                self._lost, failure.getErrorMessage()
            )
        except Exception as error:  # noqa: BLE001 - it would be lost on this thread
            self._tell(self._lost, words(error))

    def _on_connect(self, ticker: Any, _response: Any) -> None:
        if self._closed:
            self._hang_up()
            return
        if self._tokens:
            ticker.subscribe(self._tokens)
            ticker.set_mode(ticker.MODE_FULL, self._tokens)
        self._tell(self._came, None)

    def _hang_up(self) -> None:
        if self._ticker is not None:
            self._ticker.stop_retry()
            if self._ticker.ws is not None:
                self._ticker.ws.dropConnection(abort=True)

    def _tell(self, hear: Callable[[Any], None], what: object) -> None:
        """Call back on the loop's thread, if the loop still runs."""
        if not self._closed and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(hear, what)

    # -- on the loop's thread ---------------------------------------------------------------------

    def _came(self, _: None) -> None:
        self._connected = True
        self._news.set()

    def _heard(self, message: Message) -> None:
        self._messages.append(message)
        self._news.set()

    def _lost(self, reason: str) -> None:
        if self._loss is None:
            lost = f"Kite's ticker: the connection is lost: {reason}"
            self._loss = VenueUncertain(LOG_IN if REFUSED in reason else lost)
        self._news.set()


@functools.cache
def _reactor() -> Any:
    """Return Twisted's reactor, which runs on a thread of its own from now on."""
    # Without any handler, Python would print what the client logs on top of what we raise.
    logging.getLogger("kiteconnect").addHandler(logging.NullHandler())
    reactor = library("twisted.internet.reactor")
    if not reactor.running:
        threading.Thread(
            target=reactor.run,
            kwargs={"installSignalHandlers": False},
            name="kite-ticker",
            daemon=True,
        ).start()
    return reactor
