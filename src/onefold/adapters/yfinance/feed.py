"""Bars of Yahoo Finance as they close, by asking again and again.

Yahoo has no stream of bars, so a bar that is due is asked for until it is there. Each question
reaches back to the last bar that was given out, so whatever was missed meanwhile comes with the
next answer, once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping

from onefold.adapters.closed import Closed, check_symbol, source_symbols
from onefold.adapters.yfinance.config import YFinanceConfig
from onefold.adapters.yfinance.http import Client
from onefold.adapters.yfinance.parse import bars, interval_name
from onefold.domain.calendars import DAY_NS, SECOND_NS
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar, Quarantined

FIRST_LOOK_DAYS = 7
"""How far back a symbol must have bars to be a symbol: further than any exchange is closed."""

REACH_DAYS_MAX = {"1m": 7, "2m": 59, "5m": 59, "15m": 59, "30m": 59, "90m": 59, "1h": 729}
"""How far back Yahoo has bars of each interval; of days it has all."""


class YFinanceFeed:
    """A live feed of Yahoo's bars. Prices are adjusted for splits, not for dividends."""

    def __init__(
        self,
        config: YFinanceConfig,
        instruments: Mapping[str, Instrument],
        intervals_ns: Mapping[str, int],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Check what can be checked alone. Raises `ConfigError` for symbols and intervals."""
        self._config = config
        self._instruments = instruments
        self._intervals_ns = intervals_ns
        self._clock = clock
        self._symbols = source_symbols(instruments, config.symbols)
        self._names = {s: interval_name(intervals_ns[s], s) for s in instruments}
        self._closed = Closed(instruments, clock())
        self._client: Client | None = None

    async def open(self) -> None:
        """Look at every symbol once. Raises `ConfigError` for one that Yahoo does not know."""
        self._client = Client(self._config)
        for symbol in self._instruments:
            found = await self._first(symbol)
            if not found:
                raise ConfigError(
                    f"{symbol}: Yahoo has no bar of {self._symbols[symbol]!r} in the last "
                    f"{FIRST_LOOK_DAYS} days; name it as Yahoo does in symbols"
                )
            known = [bar.ts for bar in found if bar.ts <= self._settled_ns()]
            # What Yahoo is late with is still to come, so the stream begins behind what it has.
            self._closed.start(symbol, max(known, default=found[0].ts_open))

    async def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def history(self, instrument: str, bars: int) -> list[Bar]:
        """Return the last closed bars, as far back as Yahoo has them.

        Raises `ConfigError` for an unknown instrument, `VenueUncertain`.
        """
        check_symbol(instrument, self._instruments)
        found = await self._ask(instrument, self._settled_ns() - self._reach_ns(instrument, bars))
        return self._closed.history(instrument, found, bars, self._settled_ns())

    async def stream(self) -> AsyncIterator[Bar | Quarantined]:
        """Yield each bar once it has closed and settled, and what was refused.

        Ends with `VenueUncertain` when Yahoo gives no answer; calling it again goes on behind the
        last bar.
        """
        while True:
            events: list[Bar | Quarantined] = []
            for symbol, interval_ns in self._intervals_ns.items():
                after = self._closed.after(symbol)
                if symbol in self._instruments and self._settled_ns() >= after + interval_ns:
                    found = await self._ask(symbol, after - interval_ns)
                    events += self._closed.stream(symbol, found, self._settled_ns())
            for event in sorted(events, key=_ts):
                yield event
            await asyncio.sleep(self._config.poll_s)

    async def _first(self, symbol: str) -> list[Bar]:
        try:
            return await self._bars(symbol, self._clock() - FIRST_LOOK_DAYS * DAY_NS)
        except VenueRefused as error:
            if error.retry_after_s is not None:
                raise VenueUncertain(str(error)) from error
            raise ConfigError(f"{symbol}: {error}; name it as Yahoo does in symbols") from error

    async def _ask(self, symbol: str, start_ns: int) -> list[Bar]:
        try:
            return await self._bars(symbol, start_ns)
        except VenueRefused as error:
            # Of a symbol that it knew, a no is no answer.
            raise VenueUncertain(str(error)) from error

    async def _bars(self, symbol: str, start_ns: int) -> list[Bar]:
        if self._client is None:
            raise VenueUncertain("the feed of Yahoo is not open")
        name = self._names[symbol]
        oldest_ns = self._clock() - REACH_DAYS_MAX.get(name, FIRST_LOOK_DAYS) * DAY_NS
        start_ns = start_ns if name == "1d" else max(start_ns, oldest_ns)
        frame = await self._client.rows(self._symbols[symbol], name, start_ns // SECOND_NS)
        return bars(frame, self._instruments[symbol], self._intervals_ns[symbol])

    def _settled_ns(self) -> int:
        return self._clock() - int(self._config.settle_s * SECOND_NS)

    def _reach_ns(self, symbol: str, count: int) -> int:
        """Return how far back so many bars reach at most: a session may be a quarter of a day."""
        return 6 * count * self._intervals_ns[symbol] + FIRST_LOOK_DAYS * DAY_NS


def _ts(event: Bar | Quarantined) -> int:
    return event.ts
