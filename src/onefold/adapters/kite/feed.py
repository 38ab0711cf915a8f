"""Kite's bars as they close: from its ticker, and from its candles where the ticker was not there.

The ticker tells where trading has got to about once a second. Bars are made of that, so a price
between two of its messages is not in them; volume is exact, since it is counted by Kite. A bar that
was under way when the ticker connected has a hole: it is asked for when it is over, as is all that
closed while nobody listened.

The last candle that Kite returns is still open. Whether a bar has closed is told by our clock, and
by Kite's where ours is ahead of it: a clock that is wrong must not show the future.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

from onefold.adapters.closed import Closed, check_symbol, source_symbols
from onefold.adapters.kite.config import KiteConfig
from onefold.adapters.kite.http import Client
from onefold.adapters.kite.parse import (
    DAY_NS,
    INTERVALS,
    SECOND_NS,
    Meter,
    bar,
    interval_name,
    snapshots,
    stamp,
)
from onefold.adapters.kite.stream import Message, Ticker
from onefold.adapters.ticks import TickBars
from onefold.domain.errors import VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar, Quarantined

CLOSED_DAYS = 7
"""Longer than any exchange is closed."""

SESSIONS = 6
"""How many times longer than its bars a history is at most: a session is a quarter of a day."""

Event = Bar | Quarantined


class KiteFeed:
    """A live feed of Kite's bars; `open` before use, one `stream` at a time."""

    def __init__(
        self,
        config: KiteConfig,
        instruments: Mapping[str, Instrument],
        intervals_ns: Mapping[str, int],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Check what can be checked alone. Raises `ConfigError` for symbols and intervals."""
        source_symbols(instruments, config.symbols)
        self._config = config
        self._instruments = dict(instruments)
        self._intervals_ns = {symbol: intervals_ns[symbol] for symbol in instruments}
        self._clock = clock
        self._names = {
            s: interval_name(ns, s, stream=config.stream) for s, ns in self._intervals_ns.items()
        }
        self._closed = Closed(self._instruments, clock())
        self._client = Client(config, instruments)

    async def open(self) -> None:
        """Log in and find the symbols; raises `ConfigError`, `VenueUncertain`."""
        await self._client.open()
        self._closed = Closed(self._instruments, await self._now_ns())

    async def close(self) -> None:
        """Let go of all connections; a stream hangs up by itself when its reader stops."""
        self._client.close()

    async def history(self, instrument: str, bars: int) -> list[Bar]:
        """Return the last closed bars, the oldest first; fewer where there are no more."""
        check_symbol(instrument, self._instruments)
        settled = self.settled_ns(await self._now_ns())
        reach_ns = SESSIONS * bars * self._intervals_ns[instrument] + CLOSED_DAYS * DAY_NS
        found = await self._ask(instrument, settled - reach_ns, settled)
        return self._closed.history(instrument, found, bars, settled)

    async def stream(self) -> AsyncIterator[Event]:
        """Yield each bar once it has closed, and what was refused; first what was missed.

        Ends with `VenueUncertain` when Kite cannot be reached; call it again to go on.
        """
        for event in await self._catch_up():
            yield event
        if self._config.stream:
            async for event in self._ticked():
                yield event
        while True:
            await asyncio.sleep(self._config.poll_s)
            for event in await self._catch_up():
                yield event

    async def _ticked(self) -> AsyncIterator[Event]:
        """Yield the bars of one connection of the ticker; ends with `VenueUncertain`."""
        ticker = Ticker(self._config, [one.token for one in self._client.listings.values()])
        try:
            await ticker.open()
            session = _Session(self, await self._now_ns())
            heard_at = asyncio.get_running_loop().time()
            while True:
                # The time from before what is heard, so that no bar is closed over ticks that wait.
                now_ns = await self._now_ns()
                messages = await ticker.take(self._config.poll_s)
                loop_s = asyncio.get_running_loop().time()
                heard_at = loop_s if messages else heard_at
                if loop_s - heard_at > self._config.silence_s:
                    raise ticker.silent()
                for event in await session.events(messages, now_ns):
                    yield event
        finally:
            ticker.close()

    async def told(self, symbol: str, made: Bar) -> list[Event]:
        """Return a bar of the ticker, after those that closed since the last one given out."""
        after = self._closed.after(symbol)
        before = await self._ask(symbol, after, made.ts_open) if made.ts_open > after else []
        return self._closed.stream(symbol, [*before, made], made.ts)

    async def begun(self, first_ns: Mapping[str, int]) -> list[Event]:
        """Return what closed before the ticker's first bars."""
        events: list[Event] = []
        for symbol, until in first_ns.items():
            found = await self._ask(symbol, self._closed.after(symbol), until)
            events += self._closed.stream(symbol, found, until)
        return sorted(events, key=_ts)

    def builders(self, now_ns: int) -> dict[int, tuple[str, TickBars, int]]:
        """Return by token: symbol, a builder that begins with the next bar, and when that is."""
        made = {}
        for symbol, one in self._client.listings.items():
            interval_ns = self._intervals_ns[symbol]
            first_ns = -(-now_ns // interval_ns) * interval_ns
            grace_ns = int(self._config.grace_s * SECOND_NS)
            size = f"{interval_ns // SECOND_NS}s"
            builder = TickBars(self._instruments[symbol], "time", size, grace_ns=grace_ns)
            builder.begin(first_ns)
            made[one.token] = symbol, builder, first_ns
        return made

    def settled_ns(self, now_ns: int) -> int:
        """Return by when a candle must have ended to be believed final."""
        return now_ns - int(self._config.settle_s * SECOND_NS)

    async def _catch_up(self) -> list[Event]:
        """Return all bars that have closed and were not given yet, in the order of time."""
        settled = self.settled_ns(await self._now_ns())
        events: list[Event] = []
        for symbol in self._instruments:
            found = await self._ask(symbol, self._closed.after(symbol), settled)
            events += self._closed.stream(symbol, found, settled)
        # Stable: at the same time in the order of the instruments, as everywhere.
        return sorted(events, key=_ts)

    async def _ask(self, symbol: str, since: int, closed_by: int) -> list[Bar]:
        """Return the bars that open at `since` or later and have ended at `closed_by`."""
        interval_ns = self._intervals_ns[symbol]
        if symbol not in self._client.listings:
            raise VenueUncertain("the feed of Kite is not open")
        page_ns = INTERVALS[interval_ns][1] * DAY_NS
        found: list[Bar] = []
        while since + interval_ns <= closed_by:
            until = min(since + page_ns, closed_by)
            candles = await self._client.ask(partial(self._page, symbol, since, until))
            page = [bar(one, self._instruments[symbol], interval_ns) for one in candles]
            # Where two questions meet, both answers have the candle.
            after = found[-1].ts_open if found else since - 1
            found += [one for one in page if after < one.ts_open and one.ts <= closed_by]
            since = until
        return found

    def _page(self, symbol: str, since: int, until: int) -> Any:
        return self._client.kite.historical_data(
            self._client.listings[symbol].token, stamp(since), stamp(until), self._names[symbol]
        )

    async def _now_ns(self) -> int:
        """Return our clock, or Kite's where ours is ahead of it."""
        if self._clock() > self._client.latest_ns:
            await self._client.time_ns()
        return min(self._clock(), self._client.latest_ns)


class _Session:
    """What one connection of the ticker makes of what it hears."""

    def __init__(self, feed: KiteFeed, now_ns: int) -> None:
        self._feed = feed
        self._builders = feed.builders(now_ns)
        self._meters = {token: Meter() for token in self._builders}
        self._waiting = {symbol: first for symbol, _, first in self._builders.values()}

    async def events(self, messages: list[Message], now_ns: int) -> list[Event]:
        """Return what messages and the time close, and what was refused."""
        made: list[tuple[str, Event]] = []
        for message in messages:
            if isinstance(message, bytes):
                made += self._ticked(message)
        for symbol, builder, _ in self._builders.values():
            made += [(symbol, event) for event in builder.close(now_ns)]
        events = await self._begun(now_ns)
        for symbol, event in made:
            events += [event] if isinstance(event, Quarantined) else await self._told(symbol, event)
        return events

    async def _begun(self, now_ns: int) -> list[Event]:
        settled_ns = self._feed.settled_ns(now_ns)
        due = {symbol: first for symbol, first in self._waiting.items() if first <= settled_ns}
        self._waiting = {s: first for s, first in self._waiting.items() if s not in due}
        return await self._feed.begun(due) if due else []

    async def _told(self, symbol: str, made: Bar) -> list[Event]:
        return await self._feed.told(symbol, made)

    def _ticked(self, message: bytes) -> list[tuple[str, Event]]:
        made: list[tuple[str, Event]] = []
        for now in snapshots(message):
            if now.token in self._builders:
                symbol, builder, _ = self._builders[now.token]
                for tick in self._meters[now.token].ticks(now):
                    made += [(symbol, event) for event in builder.update(tick)]
        return made


def _ts(event: Event) -> int:
    return event.ts
