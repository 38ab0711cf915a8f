"""OANDA's bars as they close: its own candles, asked for when its stream of prices says it is time.

The stream of prices leaves most prices out (it has four a second at most), so bars made of it would
not be the bars that history has, and a strategy would trade live what it never saw in research.
Candles are the same on both sides and say when they are complete. The stream is the clock: the
first price or heartbeat after the end of a bar is when it is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from onefold.adapters.closed import Closed, check_symbol
from onefold.adapters.oanda.config import OandaConfig
from onefold.adapters.oanda.http import Client
from onefold.adapters.oanda.parse import bar, granularity, nanoseconds, rows, stamp
from onefold.adapters.oanda.stream import messages
from onefold.domain.calendars import DAY_NS, SECOND_NS
from onefold.domain.errors import VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar, Quarantined

PAGE = 5_000
"""The most candles that one answer has."""

MONDAY_NS = 4 * DAY_NS
"""The first Monday of the epoch, with which weeks begin; all shorter bars divide it."""


class OandaFeed:
    """A live feed of OANDA's candles of mid prices; bars are aligned to UTC."""

    def __init__(
        self,
        config: OandaConfig,
        instruments: Mapping[str, Instrument],
        intervals_ns: Mapping[str, int],
    ) -> None:
        """Take instruments and the length of their bars by symbol.

        Raises `ConfigError` without an account and a token, and for a length that OANDA has not.
        """
        self._config = config
        self._instruments = dict(instruments)
        self._intervals_ns = {symbol: intervals_ns[symbol] for symbol in instruments}
        self._names = {s: granularity(ns, s) for s, ns in self._intervals_ns.items()}
        self._client = Client(config, instruments)
        self._due: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self._now_ns = 0

    async def open(self) -> None:
        """Log in and find the symbols. Raises `ConfigError`, `VenueUncertain`."""
        await self._client.open()
        try:
            now_ns = await self._client.time_ns()
        except VenueRefused as error:
            raise VenueUncertain(str(error)) from error
        self._closed = Closed(self._instruments, now_ns)
        for symbol in self._instruments:
            self._closed.start(symbol, self._begin(symbol, now_ns))

    async def close(self) -> None:
        """Let go of all connections."""
        await self._client.close()

    async def history(self, instrument: str, bars: int) -> list[Bar]:
        """Return the last complete bars, the oldest first; fewer where there are no more.

        Raises `ConfigError` for an unknown instrument, `VenueUncertain`.
        """
        check_symbol(instrument, self._instruments)
        found: list[Bar] = []
        more: dict[str, Any] = {}
        while len(found) < bars:
            # One more than are wanted, because the last is not complete.
            count = min(bars - len(found) + 1, PAGE)
            page, _ = await self._candles(instrument, count=count, **more)
            page = [one for one in page if not found or one.ts_open < found[0].ts_open]
            if not page:
                break
            found = page + found
            more = {"to": stamp(page[0].ts_open)}
        end_ts = found[-1].ts if found else self._closed.after(instrument)
        return self._closed.history(instrument, found, bars, end_ts)

    async def stream(self) -> AsyncIterator[Bar | Quarantined]:
        """Yield each bar once it is complete, and what was refused; first what was missed.

        Ends with `VenueUncertain` when OANDA cannot be reached; call it again to go on.
        """
        for symbol, interval_ns in self._intervals_ns.items():
            self._due[symbol] = self._after(symbol) + interval_ns
            self._asked[symbol] = 0
        for event in await self._ask(list(self._instruments)):
            yield event
        async with aclosing(self._moments()) as moments:
            async for is_poll in moments:
                for event in await self._ask(self._wanted(is_poll=is_poll)):
                    yield event

    async def _moments(self) -> AsyncGenerator[bool]:
        """Yield whenever there may be something to ask for: true when it is time to ask again."""
        poll_s = self._config.poll_s
        if not self._config.stream:
            while True:
                await asyncio.sleep(poll_s)
                yield True
        names = ",".join(sorted(self._client.names.values()))
        prices = messages(self._config, "pricing", "PricingStream", poll_s, instruments=names)
        async with aclosing(prices) as lines:
            async for line in lines:
                if line is not None:
                    self._now_ns = max(self._now_ns, nanoseconds(line, "time"))
                yield line is None

    def _wanted(self, *, is_poll: bool) -> list[str]:
        """Return the symbols whose bars are due: each once, and again when it is time."""
        if not self._config.stream:
            return list(self._instruments)
        due = [symbol for symbol, ts in self._due.items() if ts <= self._now_ns]
        return [symbol for symbol in due if is_poll or self._asked[symbol] < self._due[symbol]]

    async def _ask(self, symbols: list[str]) -> list[Bar | Quarantined]:
        """Return what is new of some symbols, in the order of time."""
        events: list[Bar | Quarantined] = []
        for symbol in symbols:
            found, begun_ts = await self._since(symbol)
            if found:
                events += self._closed.stream(symbol, found, found[-1].ts)
            self._note(symbol, found[-1].ts if found else None, begun_ts)
        # Stable: at the same time in the order of the instruments, as everywhere.
        return sorted(events, key=lambda event: event.ts)

    def _note(self, symbol: str, last_ts: int | None, begun_ts: int | None) -> None:
        """Remember when the next bar is due, by the last complete one and the one under way."""
        due, interval_ns = self._due[symbol], self._intervals_ns[symbol]
        if last_ts is not None and last_ts >= due:
            self._due[symbol] = last_ts + interval_ns
        elif begun_ts is not None and begun_ts >= due:
            # A time without any price has no candle.
            self._due[symbol] = begun_ts + interval_ns
        elif begun_ts is None and self._now_ns >= due + int(self._config.settle_s * SECOND_NS):
            self._due[symbol] = self._begin(symbol, self._now_ns) + interval_ns
        elif self._now_ns >= due:
            self._asked[symbol] = due

    async def _since(self, symbol: str) -> tuple[list[Bar], int | None]:
        """Return the complete bars behind the last one, and when the one under way began."""
        found: list[Bar] = []
        since = self._after(symbol)
        while True:
            page, begun_ts = await self._candles(symbol, count=PAGE, **{"from": stamp(since)})
            new = [one for one in page if one.ts > since]
            found += new
            if not new or len(page) < PAGE or begun_ts is not None:
                return found, begun_ts
            since = new[-1].ts

    async def _candles(self, symbol: str, **params: Any) -> tuple[list[Bar], int | None]:
        """Return the complete bars of an answer, and when the first began that is not."""
        try:
            answer = await self._client.ask(
                "instruments",
                "InstrumentsCandles",
                self._client.names[symbol],
                granularity=self._names[symbol],
                price="MBA" if self._config.touch else "M",
                # By default days begin in New York, and all bars of hours with them.
                alignmentTimezone="UTC",
                dailyAlignment=0,
                weeklyAlignment="Monday",
                **params,
            )
        except VenueRefused as error:
            raise VenueUncertain(str(error)) from error
        complete: list[Mapping[str, Any]] = []
        begun: list[Mapping[str, Any]] = []
        for row in rows(answer, "candles"):
            (complete if row.get("complete") is True else begun).append(row)
        one, interval_ns = self._instruments[symbol], self._intervals_ns[symbol]
        begun_ts = nanoseconds(begun[0], "time") if begun else None
        return [bar(row, one, interval_ns) for row in complete], begun_ts

    def _after(self, symbol: str) -> int:
        """Return when the first bar begins that was not given yet."""
        return self._begin(symbol, self._closed.after(symbol))

    def _begin(self, symbol: str, ts: int) -> int:
        """Return when the bar begins that a time lies in."""
        return ts - (ts - MONDAY_NS) % self._intervals_ns[symbol]
