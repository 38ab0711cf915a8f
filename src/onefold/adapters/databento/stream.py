"""Databento's live gateway, by the protocol of its real client on our own event loop.

The client's `Live` class wraps the same protocol in a thread that holds a lock while it connects,
so a gateway that accepts and then says nothing could not be given up within our deadline. Here the
connection is a task among others: every wait has an end, and whoever reads too slowly makes the
gateway wait, not the memory grow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from onefold.adapters.calls import library, words
from onefold.adapters.databento.config import DatabentoConfig
from onefold.domain.errors import ConfigError, VenueUncertain

PORT = 13_000
WAITING_MAX = 50_000
"""Records that may wait before the gateway has to."""


class Subscription:
    """What to ask for: the symbols of a schema, from `start_ns` on, which may be in the past."""

    def __init__(self, schema: str, symbols: list[str], start_ns: int) -> None:
        self.schema = schema
        self.symbols = symbols
        self.start_ns = start_ns


class Connection:
    """One session with the gateway, from greeting to the end."""

    def __init__(self, config: DatabentoConfig) -> None:
        self._config = config
        self._records: deque[Any] = deque()
        self._arrived = asyncio.Event()
        self._protocol: Any = None

    async def open(self, subscriptions: list[Subscription]) -> None:
        """Connect, log in, subscribe and start.

        Raises `ConfigError` for a key that is refused, `VenueUncertain`.
        """
        try:
            async with asyncio.timeout(self._config.deadline_s):
                await self._connect()
        except TimeoutError as error:
            self.close()
            raise VenueUncertain(
                f"Databento's gateway gave no answer within {self._config.deadline_s:g} s"
            ) from error
        except OSError as error:
            raise VenueUncertain(f"Databento's gateway: {words(error)}") from error
        for number, one in enumerate(subscriptions):
            self._protocol.subscribe(
                schema=one.schema,
                symbols=one.symbols,
                stype_in=self._config.symbol_type,
                start=one.start_ns,
                subscription_id=number,
            )
        self._protocol.start()

    def close(self) -> None:
        """Hang up."""
        if self._protocol is not None:
            self._protocol.transport.abort()

    async def records(self) -> AsyncIterator[Any]:
        """Yield records as they arrive. Ends with `VenueUncertain`, of silence as well."""
        while True:
            while self._records:
                yield self._records.popleft()
            self._protocol.transport.resume_reading()
            self._arrived.clear()
            if self._protocol.disconnected.done():
                raise self._loss()
            try:
                async with asyncio.timeout(self._config.silence_s):
                    await self._arrived.wait()
            except TimeoutError as error:
                raise VenueUncertain(
                    f"Databento's gateway was silent for {self._config.silence_s:g} s"
                ) from error

    async def _connect(self) -> None:
        host, port = _address(self._config)
        loop = asyncio.get_running_loop()
        _, self._protocol = await loop.create_connection(self._new_protocol, host, port)
        done, _ = await asyncio.wait(
            [self._protocol.authenticated, self._protocol.disconnected],
            return_when=asyncio.FIRST_COMPLETED,
        )
        refused = self._protocol.authenticated
        if refused.done() and refused.exception() is not None:
            raise ConfigError(f"Databento refused the key: {refused.exception()}")
        if self._protocol.disconnected in done:
            raise self._loss()

    def _new_protocol(self) -> Any:
        base: Any = library("databento.live.protocol").DatabentoLiveProtocol
        arrived = self._received

        class Protocol(base):  # type: ignore[misc]  # the base is known only while running
            def received_record(self, record: Any) -> None:
                arrived(record)

        protocol = Protocol(
            self._config.key.get_secret_value(),
            self._config.dataset,
            heartbeat_interval_s=self._config.heartbeat_s,
        )
        protocol.disconnected.add_done_callback(lambda _: self._arrived.set())
        return protocol

    def _received(self, record: Any) -> None:
        self._records.append(record)
        self._arrived.set()
        if len(self._records) >= WAITING_MAX:
            self._protocol.transport.pause_reading()

    def _loss(self) -> VenueUncertain:
        error = self._protocol.disconnected.exception()
        said = "closed by the gateway" if error is None else words(error)
        return VenueUncertain(f"Databento: the connection is lost: {said}")


def _address(config: DatabentoConfig) -> tuple[str, int]:
    if config.live_url is not None:
        host, _, port = config.live_url.rpartition(":")
        return host, int(port)
    return f"{config.dataset.lower().replace('.', '-')}.lsg.databento.com", PORT
