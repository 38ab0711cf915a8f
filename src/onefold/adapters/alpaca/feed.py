"""Bars of Alpaca as they close: minutes by WebSocket, the others and what was missed by asking.

An answer ends with the bar that is under way, and a decision on it would be a look into a bar that
has not happened. So a bar of an answer counts as closed when Alpaca's own clock says so, asked
before the bars are, and one of the stream because the stream has nothing but what is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from onefold.adapters.alpaca.config import AlpacaConfig
from onefold.adapters.alpaca.http import Client
from onefold.adapters.alpaca.parse import MINUTE_NS, bar, timeframe
from onefold.adapters.alpaca.stream import Streams
from onefold.adapters.closed import Closed, check_symbol
from onefold.domain.calendars import DAY_NS, SECOND_NS
from onefold.domain.instruments import Instrument, Kind
from onefold.domain.records import Bar, Quarantined

LATE_NS = 10 * MINUTE_NS
"""How long after it was first asked for a bar may still turn up."""

SPARSE = 30
"""History is looked for in a span so many times its length, because markets close."""


class AlpacaFeed:
    """A live feed of Alpaca's bars; `open` before use, one `stream` at a time."""

    def __init__(
        self,
        config: AlpacaConfig,
        instruments: Mapping[str, Instrument],
        intervals_ns: Mapping[str, int],
    ) -> None:
        """Take instruments and the length of their bars by symbol.

        Raises `ConfigError` without keys, and for symbols and intervals that Alpaca has not.
        """
        self._config, self._instruments = config, dict(instruments)
        self._intervals_ns = {symbol: intervals_ns[symbol] for symbol in instruments}
        self._client = Client(config, self._instruments)
        for symbol, one in self._instruments.items():
            timeframe(self._intervals_ns[symbol], coin=one.kind is Kind.CRYPTO)

    async def open(self) -> None:
        """Try the keys and look our symbols up; raises `ConfigError`, `VenueUncertain`."""
        await self._client.open()
        now = await self._client.time_ns()
        for symbols in self._groups():
            # Whether the account may have this market data is seen only when it asks for some.
            await self._client.allowed(
                partial(self._page, symbols, now - MINUTE_NS, now),
                f"Alpaca's market data for {', '.join(symbols)}",
            )
        self._closed = Closed(self._instruments, now)
        self._asked = dict.fromkeys(self._instruments, now)

    async def close(self) -> None:
        """Let go of all connections."""
        self._client.close()

    async def history(self, instrument: str, bars: int) -> list[Bar]:
        """Return the last closed bars, the oldest first; fewer where there are no more."""
        check_symbol(instrument, self._instruments)
        settled, interval_ns = await self._settled_ns(), self._intervals_ns[instrument]
        end_ns = settled - interval_ns
        start_ns = end_ns - SPARSE * (bars * interval_ns + DAY_NS)
        found: list[Bar] = []
        if bars > 0:
            page = partial(self._page, [instrument], start_ns, end_ns, last=bars)
            found = sorted((await self._client.ask(page))[instrument], key=lambda one: one.ts)
        return self._closed.history(instrument, found, bars, settled)

    async def stream(self) -> AsyncIterator[Bar | Quarantined]:
        """Yield each bar once it has closed, and what was refused; first what was missed.

        Ends with `VenueUncertain` when Alpaca cannot be reached; call it again to go on.
        """
        streams = self._streams()
        for event in await self._catch_up():
            yield event
        if streams is None:
            while True:
                await asyncio.sleep(self._config.poll_s)
                for event in await self._catch_up():
                    yield event
        async with aclosing(streams.messages(self._config.poll_s)) as messages:
            async for message in messages:
                for event in await (self._told(message) if message else self._catch_up()):
                    yield event

    def _streams(self) -> Streams | None:
        streams = None
        for symbols in self._groups() if self._config.stream else ():
            if self._intervals_ns[symbols[0]] == MINUTE_NS:
                streams = streams or Streams(self._config)
                names = [self._client.names[symbol] for symbol in symbols]
                streams.bars(names, coins=self._client.assets[symbols[0]].coin)
        return streams

    def _groups(self) -> list[list[str]]:
        """Return the symbols that one question asks for: of one kind and one interval."""
        groups: dict[tuple[bool, int], list[str]] = {}
        for symbol, interval_ns in self._intervals_ns.items():
            key = self._client.assets[symbol].coin, interval_ns
            groups.setdefault(key, []).append(symbol)
        return list(groups.values())

    async def _told(self, message: Mapping[str, Any]) -> list[Bar | Quarantined]:
        """Return the bar that the stream tells, after those that it left out."""
        symbol = self._client.ours(str(message.get("S")))
        if message.get("T") != "b" or symbol not in self._instruments:
            return []
        told = bar(message, self._instruments[symbol], MINUTE_NS)
        missed: list[Bar] = []
        if told.ts_open > max(self._asked[symbol], self._closed.after(symbol)):
            answer = await self._ask([symbol], told.ts_open)
            missed = [one for one in answer[symbol] if one.ts <= told.ts_open]
        return self._closed.stream(symbol, [*missed, told], told.ts)

    async def _catch_up(self) -> list[Bar | Quarantined]:
        """Return all bars that have closed and were not given yet, in the order of time."""
        settled = await self._settled_ns()
        events: list[Bar | Quarantined] = []
        for symbols in self._groups():
            answer = await self._ask(symbols, settled)
            for symbol in symbols:
                events += self._closed.stream(symbol, answer[symbol], settled)
        # Stable: at the same time in the order of the instruments, as everywhere.
        return sorted(events, key=lambda event: event.ts)

    async def _ask(self, symbols: Sequence[str], closed_by: int) -> dict[str, list[Bar]]:
        """Return the bars that may not have been given yet and begin before a time."""
        interval_ns = self._intervals_ns[symbols[0]]
        since = min(max(self._closed.after(s), self._asked[s] - LATE_NS) for s in symbols)
        found = await self._client.ask(partial(self._page, symbols, since - interval_ns, closed_by))
        self._asked |= {s: max(self._asked[s], closed_by) for s in symbols}
        return found

    def _page(
        self, symbols: Sequence[str], start_ns: int, end_ns: int, last: int | None = None
    ) -> dict[str, list[Bar]]:
        interval_ns = self._intervals_ns[symbols[0]]
        answer = self._client.bars(symbols, interval_ns, start_ns, end_ns, last=last)
        return {
            symbol: [bar(one, self._instruments[symbol], interval_ns) for one in rows]
            for symbol, rows in answer.items()
        }

    async def _settled_ns(self) -> int:
        """Return by when a bar must have ended to be asked for."""
        return await self._client.time_ns() - int(self._config.settle_s * SECOND_NS)
