"""Databento's bars as they close: the stream live, what was missed from history.

The gateway replays the last day, so after a lost connection the stream simply begins where it
ended, and nothing is missing or doubled. A gap that is longer is filled from history first. Time
is the stream's own: a bar of trades is closed by what the gateway says next, a heartbeat included,
so that a replay of the past closes the same bars as the past did.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from onefold.adapters.closed import Closed, check_symbol, source_symbols
from onefold.adapters.databento.config import DatabentoConfig
from onefold.adapters.databento.http import Client
from onefold.adapters.databento.parse import OneVenue, bar, schema_of, ticks
from onefold.adapters.databento.stream import Connection, Subscription
from onefold.adapters.ticks import TickBars
from onefold.domain.calendars import DAY_NS, SECOND_NS
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar, Quarantined

REPLAY_NS = DAY_NS - 600 * SECOND_NS
"""How far back the gateway replays: a day, less what it takes to ask."""

TRANSIT_NS = 5 * SECOND_NS
"""How much earlier a replay begins than its bars: it goes by the time of the exchange, and bars by
the time of receipt."""

LOOKS_MAX = 6
"""History is looked for in ever longer spans, because exchanges close: so many times."""


class DatabentoFeed:
    """A live feed of one dataset."""

    def __init__(
        self,
        config: DatabentoConfig,
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
        self._ours = {theirs: ours for ours, theirs in self._symbols.items()}
        self._schemas = {s: schema_of(intervals_ns[s], config.bars_from, s) for s in instruments}
        self._closed = Closed(instruments, clock())
        self._venue = OneVenue()
        self._streamed = False
        self._client: Client | None = None

    async def open(self) -> None:
        """Log in and look every symbol up. Raises `ConfigError` for what is refused."""
        self._client = Client(self._config)
        now_ns = self._clock()
        try:
            unknown = await self._client.unknown(sorted(self._ours), now_ns)
        except VenueRefused as error:
            raise ConfigError(f"{self._config.dataset}: {error}") from error
        if unknown:
            raise ConfigError(
                f"Databento does not know {', '.join(unknown)} in {self._config.dataset} as "
                f"{self._config.symbol_type}; name it as Databento does in symbols"
            )
        for symbol, interval_ns in self._intervals_ns.items():
            if symbol in self._instruments:
                self._closed.start(symbol, now_ns // interval_ns * interval_ns)

    async def close(self) -> None:
        """Let go of the client; a stream hangs up by itself when its reader stops."""
        self._client = None

    async def history(self, instrument: str, bars: int) -> list[Bar]:
        """Return the last closed bars that there is history of; each call is charged for.

        Raises `ConfigError` for an unknown instrument, `VenueUncertain`.
        """
        check_symbol(instrument, self._instruments)
        interval_ns = self._intervals_ns[instrument]
        end_ns = await self._end_ns()
        span_ns, found = 2 * bars * interval_ns, list[Bar]()
        for _ in range(LOOKS_MAX):
            found = await self._past(instrument, end_ns - span_ns, end_ns)
            if len(found) >= bars:
                break
            span_ns = max(3 * span_ns, DAY_NS)
        return self._closed.history(instrument, found, bars, end_ns)

    async def stream(self) -> AsyncIterator[Bar | Quarantined]:
        """Yield each bar once it has closed, and what was refused.

        Ends with `VenueUncertain` when the connection is lost; calling it again goes on behind
        the last bar.
        """
        async for event in self._long_gap():
            yield event
        connection = Connection(self._config)
        try:
            await connection.open(self._subscriptions())
            session = _Session(self._ours, self._builders(), self._bar)
            async for record in connection.records():
                for symbol, event in session.take(record):
                    if isinstance(event, Quarantined):
                        yield event
                        continue
                    for judged in self._closed.stream(symbol, [event], event.ts):
                        yield judged
        finally:
            connection.close()

    async def _long_gap(self) -> AsyncIterator[Bar | Quarantined]:
        """Yield from history what is too long ago for the gateway to replay.

        Raises `VenueUncertain` when history does not reach so far that a stream could go on.
        """
        for symbol in self._instruments:
            after, oldest_ns = self._closed.after(symbol), self._clock() - REPLAY_NS
            if after >= oldest_ns:
                continue
            end_ns = await self._end_ns()
            if end_ns < oldest_ns and self._streamed:
                raise VenueUncertain(
                    f"{symbol}: history of {self._config.dataset} ends before what the gateway "
                    "still has: start the session anew"
                )
            found = await self._past(symbol, after, end_ns) if end_ns > after else []
            for event in self._closed.stream(symbol, found, end_ns):
                yield event
        self._streamed = True

    async def _past(self, symbol: str, start_ns: int, end_ns: int) -> list[Bar]:
        schema = self._schemas[symbol]
        try:
            records = await self._asked().records(self._symbols[symbol], schema, start_ns, end_ns)
        except VenueRefused as error:
            raise VenueUncertain(str(error)) from error
        if schema != "trades":
            return [self._bar(symbol, record) for record in records]
        builder = self._builder(symbol, start_ns)
        events = [event for one in records for tick in ticks(one) for event in builder.update(tick)]
        events += builder.close(end_ns + self._grace_ns)
        return [event for event in events if isinstance(event, Bar)]

    def _bar(self, symbol: str, record: Any) -> Bar:
        self._venue.check(symbol, record)
        return bar(record, self._instruments[symbol], self._intervals_ns[symbol])

    async def _end_ns(self) -> int:
        """Return up to when there is history; the bar in progress then is not closed by it."""
        try:
            return min(await self._asked().end_ns(), self._clock())
        except VenueRefused as error:
            raise VenueUncertain(str(error)) from error

    def _asked(self) -> Client:
        if self._client is None:
            raise VenueUncertain("the feed of Databento is not open")
        return self._client

    def _subscriptions(self) -> list[Subscription]:
        oldest_ns = self._clock() - REPLAY_NS
        asked: dict[str, Subscription] = {}
        for symbol, schema in self._schemas.items():
            start_ns = max(self._closed.after(symbol) - TRANSIT_NS, oldest_ns)
            one = asked.setdefault(schema, Subscription(schema, [], start_ns))
            one.symbols.append(self._symbols[symbol])
            # What comes again of the others is passed over.
            one.start_ns = min(one.start_ns, start_ns)
        return list(asked.values())

    @property
    def _grace_ns(self) -> int:
        return int(self._config.grace_s * SECOND_NS)

    def _builders(self) -> dict[str, TickBars]:
        if self._config.bars_from == "ohlcv":
            return {}
        return {s: self._builder(s, self._closed.after(s)) for s in self._instruments}

    def _builder(self, symbol: str, start_ns: int) -> TickBars:
        interval = f"{self._intervals_ns[symbol] // SECOND_NS}s"
        builder = TickBars(self._instruments[symbol], "time", interval, grace_ns=self._grace_ns)
        builder.begin(start_ns)
        return builder


class _Session:
    """What one connection says: which number is which symbol, what time it is, and the bars."""

    def __init__(
        self,
        ours: Mapping[str, str],
        builders: Mapping[str, TickBars],
        bar_of: Callable[[str, Any], Bar],
    ) -> None:
        self._ours = ours
        self._builders = builders
        self._bar_of = bar_of
        self._symbols: dict[int, str] = {}

    def take(self, record: Any) -> Iterator[tuple[str, Bar | Quarantined]]:
        """Yield what a record closes or is refused for. Raises `VenueUncertain` for an error."""
        kind = type(record).__name__
        if kind == "ErrorMsg":
            raise VenueUncertain(f"Databento: {record.err}")
        if kind == "SymbolMappingMsg":
            symbol = self._ours.get(record.stype_in_symbol)
            if symbol is not None:
                self._symbols[record.instrument_id] = symbol
            return
        symbol = self._symbols.get(record.instrument_id)
        if symbol is not None and hasattr(record, "open"):
            yield symbol, self._bar_of(symbol, record)
        elif symbol is not None and hasattr(record, "action"):
            for tick in ticks(record):
                for event in self._builders[symbol].update(tick):
                    yield symbol, event
        now_ns = _heard_at(record)
        for name, builder in self._builders.items():
            for event in builder.close(now_ns):
                yield name, event


def _heard_at(record: Any) -> int:
    """Return what time it is by a record: of a market, or a heartbeat when all are quiet."""
    if hasattr(record, "ts_recv"):
        return int(record.ts_recv)
    is_heartbeat = type(record).__name__ == "SystemMsg" and record.is_heartbeat()
    return int(record.ts_event) if is_heartbeat else 0
