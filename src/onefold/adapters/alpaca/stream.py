"""Alpaca's WebSockets by its real client, which is kept from hiding what goes wrong.

The client connects again by itself for ever and says nothing of what was missed. Here a connection
is made once, and its loss ends the stream, so that whoever reads it knows that it has to ask.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from onefold.adapters.alpaca.config import AlpacaConfig
from onefold.adapters.alpaca.http import module
from onefold.adapters.calls import words
from onefold.domain.errors import VenueUncertain

log = logging.getLogger("onefold.api.alpaca")
PING_S = 10.0
"""How often a connection is tried that says nothing; its answer has the deadline of all calls."""


class Streams:
    """Connections whose messages are heard together, in the order in which they come."""

    def __init__(self, config: AlpacaConfig) -> None:
        """Begin without a connection."""
        self._config = config
        self._heard: asyncio.Queue[Any] = asyncio.Queue()
        self._streams: list[Any] = []

    def account(self) -> None:
        """Add what happens to the orders of the account."""
        base = module("alpaca.trading.stream").TradingStream
        paper = self._config.environment == "paper"
        self._add(base, "/stream", paper=paper).subscribe_trade_updates(_unused)

    def bars(self, names: Sequence[str], *, coins: bool) -> None:
        """Add minute bars of symbols, all shares or all coins, by Alpaca's names."""
        live, feeds = module("alpaca.data.live"), module("alpaca.data.enums")
        if coins:
            stream = self._add(live.CryptoDataStream, "/v1beta3/crypto/us")
        else:
            feed = feeds.DataFeed(self._config.data_feed)
            stream = self._add(live.StockDataStream, f"/v2/{feed.value}", feed=feed)
        stream.subscribe_bars(_unused, *names)

    async def messages(self, tick_s: float | None = None) -> AsyncGenerator[Any]:
        """Yield messages as they come, and None every `tick_s`.

        Ends with `VenueUncertain` when a connection is lost, refused, or told of an error.
        """
        loop, tasks = asyncio.get_running_loop(), list[asyncio.Task[None]]()
        try:
            async with asyncio.timeout(self._config.deadline_s):
                for stream in self._streams:
                    await stream.connect()
            for stream in self._streams:
                tasks.append(asyncio.ensure_future(stream.listen()))
                tasks[-1].add_done_callback(self._heard.put_nowait)
            next_tick = None if tick_s is None else loop.time() + tick_s
            while True:
                try:
                    async with asyncio.timeout_at(next_tick):
                        message = await self._heard.get()
                except TimeoutError:
                    next_tick = loop.time() + (tick_s or 0.0)
                    message = None
                _check(message)
                yield message
        except VenueUncertain:
            raise
        except Exception as error:
            raise VenueUncertain(f"Alpaca: stream lost: {words(error)}") from error
        finally:
            await self._hang_up(tasks)

    async def _hang_up(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in self._streams:
            try:
                await stream.close()
            except Exception:
                log.debug("a stream that is given up does not close", exc_info=True)

    def _add(self, base: Any, path: str, **options: Any) -> Any:
        config, key, secret = self._config, self._config.api_key, self._config.api_secret
        stream = _heard(base, self._heard.put_nowait)(
            key.get_secret_value(),
            secret.get_secret_value(),
            raw_data=True,
            url_override=_moved(config, path),
            websocket_params={
                "open_timeout": config.deadline_s,
                "close_timeout": min(1.0, config.deadline_s),
                "ping_interval": PING_S,
                "ping_timeout": config.deadline_s,
            },
            **options,
        )
        self._streams.append(stream)
        return stream


def _check(message: Any) -> None:
    """Raise what has ended a stream. Raises `VenueUncertain` for an error that Alpaca tells."""
    if isinstance(message, asyncio.Future):
        message.result()
        raise VenueUncertain("Alpaca: the client has stopped listening")
    if isinstance(message, dict) and message.get("T") == "error":
        raise VenueUncertain(f"Alpaca: {message.get('msg')} ({message.get('code')})")


def _moved(config: AlpacaConfig, path: str) -> str | None:
    """Return where a stream is at another server, None for Alpaca itself."""
    base = config.ws_url or (config.url and config.url.replace("http", "ws", 1))
    return f"{base.rstrip('/')}{path}" if base else None


async def _unused(_: Any) -> None:
    """Be the handler without which the client would not subscribe."""


def _heard(base: Any, hear: Callable[[Any], None]) -> Any:
    """Return a stream's class that connects once and hands on every message."""

    class Heard(base):  # type: ignore[misc]  # the base is known only while running
        async def connect(self) -> None:
            await self._start_ws()
            if hasattr(self, "_send_subscribe_msg"):
                await self._send_subscribe_msg()

        async def listen(self) -> None:
            await self._consume()

        async def _dispatch(self, message: Any) -> None:
            hear(message)

    return Heard
