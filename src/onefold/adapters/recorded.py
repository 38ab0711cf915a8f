"""Old or made bars as a live feed, so that a paper session runs over what has been recorded.

The engine cannot tell it from a real feed: history first, then bars one by one, at the pace of the
day, faster, or as fast as they are taken. Whatever yields bars can be played: a file, a made
market, ticks built into bars. A recording is played once; whoever stops reading and calls `stream`
again goes on behind what he has read, and finds what has been added since. A session that was
stopped and goes on is not made to wait once more for the bars that it knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

from onefold.adapters.closed import check_symbol
from onefold.adapters.pace import AT_ONCE, Pace, delays
from onefold.adapters.ticks import Tick, TickBars
from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument
from onefold.domain.records import Action, Bar, Quarantined
from onefold.domain.sanitise import BEFORE_ALL_NS

Event = Bar | Quarantined | Action


class RecordedFeed:
    """A live feed of recorded events in order of time.

    Bars that close at or before `start_ts` (nanoseconds UTC) are history, the others are streamed;
    those up to `known_ts` come at once, whatever the pace.
    """

    def __init__(
        self,
        events: Iterable[Event],
        instruments: Mapping[str, Instrument],
        *,
        start_ts: int = BEFORE_ALL_NS,
        pace: Pace = AT_ONCE,
    ) -> None:
        """Take the events as they come; raises `ConfigError` for a pace that makes no sense."""
        self._events: Iterator[Event] = iter(events)
        self._instruments = instruments
        self._start_ts = start_ts
        self.known_ts = BEFORE_ALL_NS
        self._delay_s = delays(pace.check())
        self._history: dict[str, list[Bar]] = {symbol: [] for symbol in instruments}
        self._next: Bar | Quarantined | None = None
        self._opened = False

    async def open(self) -> None:
        """Read up to the start. Raises `ConfigError` for events that no live feed has."""
        if self._opened:
            return
        self._opened = True
        # What was refused before the start belongs to history, which has only bars.
        while (event := self._peek()) is not None and not self._starts(event):
            if isinstance(event, Bar):
                self._history[event.instrument].append(event)
            self._next = None

    async def close(self) -> None:
        """Let go of nothing: what was not read stays for the next time."""

    async def history(self, instrument: str, bars: int) -> list[Bar]:
        """Return the last bars before the start, the oldest first."""
        check_symbol(instrument, self._instruments)
        return self._history[instrument][-bars:] if bars > 0 else []

    async def stream(self) -> AsyncIterator[Bar | Quarantined]:
        """Yield what comes after the start, and end with the recording."""
        while (event := self._peek()) is not None:
            # The event stays the next one while it is waited for, in case the reader gives up.
            delay_s = 0.0 if self._delay_s is None else self._delay_s(event)
            await asyncio.sleep(0.0 if event.ts <= self.known_ts else delay_s)
            self._next = None
            yield event

    def _starts(self, event: Bar | Quarantined) -> bool:
        return self._start_ts == BEFORE_ALL_NS or (
            isinstance(event, Bar) and event.ts > self._start_ts
        )

    def _peek(self) -> Bar | Quarantined | None:
        if self._next is None:
            self._next = self._read()
        return self._next

    def _read(self) -> Bar | Quarantined | None:
        event = next(self._events, None)
        if isinstance(event, Action):
            raise ConfigError(
                f"the recording has a {event.action} of {event.instrument or event.currency} at "
                f"{event.ts}, which no live feed has: play it with actions: false, or run it with "
                "--mode simulate"
            )
        if event is not None:
            check_symbol(event.instrument, self._instruments)
        return event


def bars_of_ticks(ticks: Iterable[Tick], builder: TickBars) -> Iterator[Bar | Quarantined]:
    """Yield the closed bars of recorded ticks, and the ticks and bars that were refused.

    The bar in progress at the end of the recording has not closed and is left out.
    """
    for tick in ticks:
        yield from builder.update(tick)
