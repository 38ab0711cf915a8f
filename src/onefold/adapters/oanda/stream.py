"""OANDA's streams: one line of JSON after the other over HTTP, read by the real client.

The client blocks until a line comes, so each stream has a thread. A stream that says nothing, not
even a heartbeat, for longer than it may is lost: on a quiet market only the heartbeat tells a
living connection from a dead one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from onefold.adapters.calls import words
from onefold.adapters.oanda.config import OandaConfig
from onefold.adapters.oanda.http import api, endpoints
from onefold.domain.errors import VenueRefused, VenueUncertain

JOIN_S = 1.0
"""How long the end of a stream's thread is waited for, once it was told to end."""

Message = dict[str, Any]


async def messages(
    config: OandaConfig, module: str, request: str, tick_s: float, **params: Any
) -> AsyncGenerator[Message | None]:
    """Yield the messages of a stream, and None every `tick_s`.

    Ends with `VenueUncertain` when the stream is lost, silent or over.
    """
    reader = _Reader(config, module, request, params)
    loop = asyncio.get_running_loop()
    tick_at = loop.time() + tick_s
    reader.thread.start()
    try:
        while True:
            message: Message | VenueUncertain | None = None
            with suppress(TimeoutError):
                async with asyncio.timeout_at(tick_at):
                    message = await reader.queue.get()
            if isinstance(message, VenueUncertain):
                raise message
            if message is not None:
                yield message
            if loop.time() >= tick_at:
                tick_at = loop.time() + tick_s
                yield None
    finally:
        reader.hang_up()
        await asyncio.to_thread(reader.thread.join, JOIN_S)


class _Reader:
    """A thread that reads one stream into a queue of the event loop."""

    def __init__(
        self, config: OandaConfig, module: str, request: str, params: dict[str, Any]
    ) -> None:
        self.queue: asyncio.Queue[Message | VenueUncertain] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._request = getattr(endpoints(module), request)(config.account, params=params)
        self._api = api(config, config.silence_s)
        self._responses: list[Any] = []
        self._api.client.hooks["response"].append(self._keep)
        self._over = threading.Event()
        self.thread = threading.Thread(target=self._read, name=f"oanda {request}", daemon=True)

    def hang_up(self) -> None:
        """End the stream from outside: closing would wait for the thread that reads."""
        self._over.set()
        for response in self._responses:
            with suppress(ValueError, RuntimeError, OSError):
                response.raw.shutdown()

    def _keep(self, response: Any, *_: Any, **__: Any) -> None:
        self._responses.append(response)

    def _read(self) -> None:
        end = "OANDA has ended the stream"
        try:
            for message in self._api.request(self._request):
                self._tell(dict(message))
        except VenueRefused as error:
            end = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it was, the stream is lost
            end = f"OANDA: stream lost: {words(error)}"
        finally:
            for response in self._responses:
                response.close()
            self._api.close()
            self._tell(VenueUncertain(end))

    def _tell(self, message: Message | VenueUncertain) -> None:
        # The loop may be gone before the thread is.
        if not self._over.is_set():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.queue.put_nowait, message)
