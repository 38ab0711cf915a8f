"""Recorded bars and ticks as a live feed: the whole conformance, pace, and real recordings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import pytest

from onefold.adapters.files import BarsConfig, FileFeed, load_frame
from onefold.adapters.pace import Pace
from onefold.adapters.recorded import RecordedFeed, bars_of_ticks
from onefold.adapters.synthetic import SyntheticConfig, SyntheticFeed
from onefold.adapters.ticks import TickBars, Trade
from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument
from onefold.domain.records import Action, Bar, Quarantined
from onefold.domain.sanitise import Sanitiser, detail

from . import feed_conformance as conformance
from .feed_conformance import MINUTE_NS, SYMBOL, bar, bars
from .made import frame, ns

ONE = {SYMBOL: Instrument(symbol=SYMBOL)}


class Tape:
    """A recording that is still being written."""

    def __init__(self) -> None:
        self.start_ns = ns("2024-01-08T12:00:00")
        self.events: list[Bar | Quarantined] = []
        self._sanitiser = Sanitiser(ONE[SYMBOL])
        self._at = 0

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def feed(self, symbol: str = SYMBOL) -> Following:
        return Following(self, ONE, start_ts=self.events[-1].ts)

    def play(self, *bars: Bar) -> None:
        self.events += [self._judged(bar) for bar in bars]

    def begin(self, bar: Bar) -> None:
        """Leave the tape as it is: only what has closed is recorded."""

    def spoil(self, bar: Bar) -> None:
        self.play(Bar(SYMBOL, bar.ts, bar.ts_open, bar.open, bar.high, 0.0, bar.close))

    def __iter__(self) -> Tape:
        return self

    def __next__(self) -> Bar | Quarantined:
        if self._at == len(self.events):
            raise StopIteration
        self._at += 1
        return self.events[self._at - 1]

    def _judged(self, bar: Bar) -> Bar | Quarantined:
        reason = self._sanitiser.check(bar)
        return bar if reason is None else Quarantined(SYMBOL, bar.ts, reason, detail(reason, bar))


class Following(RecordedFeed):
    """Asks again at the end of the tape, as one follows a file that grows."""

    async def stream(self) -> AsyncIterator[Bar | Quarantined]:
        while True:
            async for event in super().stream():
                yield event
            await asyncio.sleep(0.01)


@conformance.conforms("recordings", connected=False)
def test_conformance(case: Callable[[Any], Awaitable[None]]) -> None:
    conformance.run(case, Tape())


async def played(feed: RecordedFeed) -> list[Bar | Quarantined]:
    await feed.open()
    return [event async for event in feed.stream()]


def test_a_file_as_a_live_feed_is_the_file() -> None:
    files = [
        load_frame(frame(9), BarsConfig(instrument=Instrument(symbol=symbol)))
        for symbol in ("A", "B")
    ]
    instruments = {one.instrument.symbol: one.instrument for one in files}
    events = list(FileFeed(files).events())
    assert asyncio.run(played(RecordedFeed(events, instruments))) == events
    start_ts = ns("2024-01-02T00:04:00")
    feed = RecordedFeed(FileFeed(files).events(), instruments, start_ts=start_ts)
    streamed = asyncio.run(played(feed))
    for symbol in instruments:
        past = asyncio.run(feed.history(symbol, 100))
        mine = [event for event in streamed if event.instrument == symbol]
        assert [*past, *mine] == [event for event in events if event.instrument == symbol]
        assert past[-1].ts == start_ts


def test_a_made_market_as_a_live_feed() -> None:
    config = SyntheticConfig(instrument="ES", seed=3, bars=500, gap_rate=0.1, halt_rate=0.01)
    feed = RecordedFeed(SyntheticFeed(config), {"ES": config.instrument})
    assert asyncio.run(played(feed)) == list(SyntheticFeed(config))


def test_others_work_while_it_plays_at_full_speed() -> None:
    async def race() -> int:
        config = SyntheticConfig(instrument="BTCUSD", seed=3, bars=500)
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        await played(RecordedFeed(SyntheticFeed(config), {"BTCUSD": config.instrument}))
        task.cancel()
        return turns

    assert asyncio.run(race()) > 100


def test_paced_by_speed_and_by_bar() -> None:
    tape = Tape()
    tape.play(*bars(tape, 0, 4))
    for pace, seconds in ((Pace(speed=60 / 0.05), 0.15), (Pace(seconds_per_bar=0.05), 0.2)):
        began = time.monotonic()
        assert len(asyncio.run(played(RecordedFeed(tape.events, ONE, pace=pace)))) == 4
        assert seconds - 0.02 < time.monotonic() - began < seconds + 1.0


def test_who_goes_on_does_not_wait_again_for_what_is_known() -> None:
    """A session that was stopped would stand still for as long as it had run."""

    async def work() -> None:
        tape = Tape()
        tape.play(*bars(tape, 0, 8))
        events = tape.events
        feed = RecordedFeed(events, ONE, pace=Pace(seconds_per_bar=1_000.0))
        await feed.open()
        feed.known_ts = events[4].ts
        stream = feed.stream()
        async with asyncio.timeout(5.0):
            assert [(await anext(stream)).ts for _ in range(5)] == [e.ts for e in events[:5]]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(stream)

    asyncio.run(work())


def test_giving_up_while_waiting_loses_nothing() -> None:
    async def impatient() -> list[Bar | Quarantined]:
        feed = RecordedFeed(tape.events, ONE, pace=Pace(seconds_per_bar=0.1))
        await feed.open()
        got: list[Bar | Quarantined] = []
        for _ in range(10):
            async with aclosing(feed.stream()) as stream:
                for patience_s in (0.15, 0.02):
                    with suppress(TimeoutError, StopAsyncIteration):
                        async with asyncio.timeout(patience_s):
                            got.append(await anext(stream))
        return got

    tape = Tape()
    tape.play(*bars(tape, 0, 4))
    assert asyncio.run(impatient()) == tape.events


def test_corporate_actions_are_no_part_of_a_live_feed() -> None:
    split = Action(ns("2024-01-08T12:01:00"), "split", 2.0, SYMBOL)
    with pytest.raises(ConfigError, match=r"the recording has a split of A at .* actions: false"):
        asyncio.run(played(RecordedFeed([bar(Tape(), 0), split], ONE)))


def test_an_instrument_that_was_not_asked_for() -> None:
    with pytest.raises(ConfigError, match="no instrument 'A'"):
        asyncio.run(played(RecordedFeed([bar(Tape(), 0)], {"B": Instrument(symbol="B")})))


# --- recorded ticks ------------------------------------------------------------------------------


def test_ticks_of_a_file_as_a_live_feed() -> None:
    start = ns("2024-01-08T12:00:00")
    ticks = [Trade(start + i * 25 * 10**9, 10.0 + i, 1.0, str(i)) for i in range(8)]
    made = bars_of_ticks([*ticks, ticks[-1]], TickBars(ONE[SYMBOL]))
    found = asyncio.run(played(RecordedFeed(made, ONE)))
    assert [event.reason for event in found if isinstance(event, Quarantined)] == ["duplicate"]
    closed = [event for event in found if isinstance(event, Bar)]
    assert [(b.ts - start) // MINUTE_NS for b in closed] == [1, 2], "the last has not closed"
    assert [b.volume for b in closed] == [3.0, 2.0]
