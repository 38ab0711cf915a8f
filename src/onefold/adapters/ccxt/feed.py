"""Bars of an exchange as they close, by WebSocket or by asking.

The last bar that an exchange returns is still open, and a decision on it would be a look into a bar
that has not happened. So a bar counts as closed only where the exchange says so: Binance's stream
marks the final one, and an answer to a question is held against the exchange's own clock, asked
before the bars are. The stream makes bars fast, asking makes them complete: whatever the stream did
not tell, while it was down or otherwise, is asked for and comes in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from onefold.adapters.ccxt.config import CcxtConfig
from onefold.adapters.ccxt.http import Client
from onefold.adapters.ccxt.parse import MS_NS, bar, final_candle
from onefold.adapters.ccxt.stream import Ear, reading
from onefold.adapters.closed import Closed, check_symbol
from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar, Quarantined

PAGE = 1_000
"""The most bars that one question may ask for."""

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
WEEK_NS = 7 * DAY_NS
MONDAY_NS = 4 * DAY_NS
"""The first Monday of the epoch, with which weeks begin; all shorter intervals divide it."""


class CcxtFeed:
    """A live feed of an exchange's bars; `open` before use, one `stream` at a time."""

    def __init__(
        self,
        config: CcxtConfig,
        instruments: Mapping[str, Instrument],
        intervals_ns: Mapping[str, int],
    ) -> None:
        """Take instruments and the length of their bars by symbol.

        Raises `ConfigError` for an unknown exchange or an interval that it does not have.
        """
        self._config = config
        self._instruments = dict(instruments)
        self._intervals_ns = {symbol: intervals_ns[symbol] for symbol in instruments}
        self._client = Client(config, instruments)
        self._frames = {s: self._frame(ns) for s, ns in self._intervals_ns.items()}
        self._ear = Ear(self._client) if self._client.streams else None
        self._told_as: dict[tuple[str, str], str] = {}
        self._clock_ns, self._clock_at = 0, 0.0

    async def open(self) -> None:
        """Find the symbols; raises `ConfigError`, `VenueUncertain`."""
        await self._client.open()
        for symbol, frame in self._frames.items():
            interval = self._client.exchange.timeframes[frame]
            self._told_as[self._client.markets[symbol]["id"], interval] = symbol
        self._closed = Closed(self._instruments, await self._now_ns())

    async def close(self) -> None:
        """Let go of all connections."""
        await self._client.close()

    async def history(self, instrument: str, bars: int) -> list[Bar]:
        """Return the last closed bars, the oldest first; fewer where there are no more."""
        check_symbol(instrument, self._instruments)
        settled = await self._settled_ns()
        since = self._begin(instrument, settled) - bars * self._intervals_ns[instrument]
        found = await self._ask(instrument, since, settled)
        return self._closed.history(instrument, found, bars, settled)

    async def stream(self) -> AsyncIterator[Bar | Quarantined]:
        """Yield each bar once it has closed, and what was refused; first what was missed.

        Ends with `VenueUncertain` when the exchange cannot be reached; call it again to go on.
        """
        for event in await self._catch_up():
            yield event
        loop = asyncio.get_running_loop()
        if self._ear is None:
            while True:
                await asyncio.sleep(self._config.poll_s)
                for event in await self._catch_up():
                    yield event
        asked_at = loop.time()
        async with aclosing(self._ear.hear(self._subscribe, self._config.poll_s)) as stream:
            async for messages in stream:
                with reading(self._config.exchange):
                    events = await self._told(messages)
                if loop.time() >= asked_at + self._config.poll_s:
                    asked_at = loop.time()
                    events += await self._catch_up()
                for event in events:
                    yield event

    async def _subscribe(self) -> None:
        pairs = [[self._client.theirs(s), frame] for s, frame in self._frames.items()]
        await self._client.exchange.watch_ohlcv_for_symbols(pairs)

    async def _told(self, messages: Iterable[Mapping[str, Any]]) -> list[Bar | Quarantined]:
        """Return the bars that the stream says are final, after those that it left out."""
        events: list[Bar | Quarantined] = []
        for kline in (message["k"] for message in messages):
            symbol = self._told_as.get((kline["s"], kline["i"]))
            candle = final_candle(kline)
            if symbol is None or candle is None:
                continue
            told = [bar(candle, self._instruments[symbol], self._intervals_ns[symbol])]
            now = await self._now_ns(at_least=told[0].ts)
            if told[0].ts_open > self._closed.after(symbol):
                told = [*await self._ask(symbol, self._due(symbol), told[0].ts_open), *told]
            events += self._closed.stream(symbol, told, now)
        return events

    async def _catch_up(self) -> list[Bar | Quarantined]:
        """Return all bars that have closed and were not given yet, in the order of time."""
        settled = await self._settled_ns()
        events: list[Bar | Quarantined] = []
        for symbol in self._instruments:
            found = await self._ask(symbol, self._due(symbol), settled)
            events += self._closed.stream(symbol, found, settled)
        # Stable: at the same time in the order of the instruments, as everywhere.
        return sorted(events, key=lambda event: event.ts)

    async def _ask(self, symbol: str, since: int, closed_by: int) -> list[Bar]:
        """Return the bars that open at `since` or later and have ended at `closed_by`."""
        found: list[Bar] = []
        while since + self._intervals_ns[symbol] <= closed_by:
            page = await self._client.read(partial(self._page, symbol, since))
            found += [one for one in page if one.ts_open >= since and one.ts <= closed_by]
            if not page or page[-1].ts > closed_by or page[-1].ts_open < since:
                break
            since = page[-1].ts
        return found

    async def _page(self, symbol: str, since: int) -> list[Bar]:
        instrument, interval_ns = self._instruments[symbol], self._intervals_ns[symbol]
        candles = await self._client.exchange.fetch_ohlcv(
            self._client.theirs(symbol), self._frames[symbol], since // MS_NS, PAGE
        )
        return [bar(candle, instrument, interval_ns) for candle in candles]

    def _due(self, symbol: str) -> int:
        """Return when the first bar begins that was not given yet."""
        return self._begin(symbol, self._closed.after(symbol))

    def _begin(self, symbol: str, ts: int) -> int:
        """Return when the bar begins that a time lies in."""
        return ts - (ts - MONDAY_NS) % self._intervals_ns[symbol]

    async def _settled_ns(self) -> int:
        """Return by when a bar must have ended to be believed final."""
        return await self._now_ns() - int(self._config.settle_s * SECOND_NS)

    async def _now_ns(self, at_least: int | None = None) -> int:
        """Return the exchange's clock, asked anew unless it must have passed `at_least`."""
        loop = asyncio.get_running_loop()
        passed_ns = int((loop.time() - self._clock_at) * SECOND_NS)
        if at_least is None or self._clock_ns + passed_ns < at_least:
            self._clock_ns = await self._client.time_ns()
            self._clock_at, passed_ns = loop.time(), 0
        return self._clock_ns + passed_ns

    def _frame(self, interval_ns: int) -> str:
        exchange = self._client.exchange
        lengths = {f: exchange.parse_timeframe(f) * SECOND_NS for f in exchange.timeframes or {}}
        # When months and odd numbers of days begin, every exchange decides for itself.
        regular = {f: ns for f, ns in lengths.items() if DAY_NS % ns == 0 or ns == WEEK_NS}
        for frame, length_ns in regular.items():
            if length_ns == interval_ns:
                return str(frame)
        raise ConfigError(
            f"{self._config.exchange} has no bars of {interval_ns / SECOND_NS:g} s; it has "
            f"{', '.join(regular)}"
        )
