"""What Binance's WebSockets tell, every message once and no loss of them in silence.

ccxt logs in, subscribes, answers pings and reads the messages; that is what it is used for here.
But what it passes on is not enough for an account: a message that comes between two of its
`watch` calls wakes nobody, several states of an order become the last one, a connection that is
lost at such a moment is made again without a word, and it does not know that a bar is final, that a
login has expired, or that the exchange has ended the stream. So its messages are heard where they
arrive, and those of bars and orders go no further; a lost connection ends the stream, so that
whoever reads it knows that it has to ask.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from onefold.adapters.calls import words
from onefold.adapters.ccxt.http import Client
from onefold.domain.errors import OnefoldError, VenueUncertain

Event = Mapping[str, Any]

HEARD = frozenset({"kline", "executionReport", "ORDER_TRADE_UPDATE", "ALGO_UPDATE"})
"""The messages that say something of bars or of orders."""

ENDED = frozenset({"listenKeyExpired", "eventStreamTerminated"})
"""Messages after which nothing more comes, on a connection that stays open."""


class Ear:
    """The messages of a client's WebSockets, and whether one of them was lost."""

    def __init__(self, client: Client) -> None:
        """Listen from now on; a client has one ear."""
        self._client = client
        self._events: deque[Event] = deque()
        self._news = asyncio.Event()
        self._lost = ""
        exchange = client.exchange
        self._theirs = exchange.handle_message, exchange.on_close, exchange.on_error
        exchange.handle_message = self._message
        exchange.on_close = self._closed
        exchange.on_error = self._failed

    async def hear(
        self, subscribe: Callable[[], Awaitable[Any]], tick_s: float
    ) -> AsyncGenerator[list[Event]]:
        """Yield what was heard, in its order, and nothing at least every `tick_s`.

        Ends with `VenueUncertain` when the connection is lost.
        """
        self._events.clear()
        self._lost = ""
        subscribing = asyncio.ensure_future(subscribe())
        try:
            while True:
                await self._wait(subscribing, tick_s)
                yield self._take()
                self._check(subscribing)
        finally:
            subscribing.cancel()
            await asyncio.gather(subscribing, return_exceptions=True)
            await self._client.hang_up()

    def _check(self, subscribing: asyncio.Future[Any]) -> None:
        name = self._client.config.exchange
        if self._lost or subscribing.cancelled():
            raise VenueUncertain(f"{name}: {self._lost or 'the stream was given up'}")
        if subscribing.done():
            with reading(name):
                subscribing.result()

    async def _wait(self, subscribing: asyncio.Future[Any], tick_s: float) -> None:
        news = asyncio.ensure_future(self._news.wait())
        waiting = {news} if subscribing.done() else {news, subscribing}
        try:
            await asyncio.wait(waiting, timeout=tick_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()

    def _take(self) -> list[Event]:
        events = list(self._events)
        self._events.clear()
        if not self._lost:
            self._news.clear()
        return events

    def _message(self, connection: Any, message: Any) -> None:
        event = _event(message)
        if event.get("e") in ENDED:
            self._end(connection, f"the exchange says {event['e']}")
            return
        if event.get("e") in HEARD:
            # Not passed on: ccxt would read it a second time, and keep something of each for ever.
            self._events.append(event)
            self._news.set()
            return
        self._theirs[0](connection, message)

    def _closed(self, connection: Any, code: Any) -> None:
        self._end(connection, f"the exchange closed the connection ({code})")
        self._theirs[1](connection, code)

    def _failed(self, connection: Any, error: Any) -> None:
        self._end(connection, f"connection lost: {words(error)}")
        self._theirs[2](connection, error)

    def _end(self, connection: Any, reason: str) -> None:
        # The last words of a connection that we have hung up do not concern the next one.
        if connection in self._client.exchange.clients.values():
            self._lost = self._lost or reason
            self._news.set()


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever is wrong with a message into `VenueUncertain`: nobody knows what it said."""
    try:
        yield
    except OnefoldError:
        raise
    except Exception as error:
        raise VenueUncertain(f"{name}: stream: {words(error)}") from error


def _event(message: Any) -> Event:
    """Return what a message says, without what it is wrapped in."""
    for wrapper in ("data", "event"):
        inner = message.get(wrapper) if isinstance(message, dict) else None
        if isinstance(inner, dict):
            message = inner
    return message if isinstance(message, dict) else {}
