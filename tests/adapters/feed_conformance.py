"""What every live feed promises, as cases that run on any of them.

A rig is a feed with its source in the test's hand: the source is a real one, a server or a
recording, and the feed reaches it by its real client. `CASES` are for all feeds; `CONNECTED` are
for those that can be cut off from their source. A feed's test is made by `conforms`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import pytest

from onefold.domain.errors import ConfigError, VenueUncertain
from onefold.domain.ports import LiveFeed
from onefold.domain.records import Bar, Quarantined

Test = TypeVar("Test", bound=Callable[..., None])

SYMBOL = "A"
UNKNOWN = "NONESUCH"
MINUTE_NS = 60 * 10**9
PATIENCE_S = 10.0
QUIET_S = 0.3
DEADLINE_S = 0.5
"""What rigs set their feed's deadline to; with its repeats a call must end within `PATIENCE_S`."""


class Rig(Protocol):
    """A feed of one-minute bars of `SYMBOL`, and its source."""

    start_ns: int
    """The begin of the first bar; the source's time moves with what is played."""

    async def start(self) -> None:
        """Start the source, with nothing played."""

    async def stop(self) -> None:
        """Stop the source."""

    def feed(self, symbol: str = SYMBOL) -> LiveFeed:
        """Return a new feed, not open yet. `UNKNOWN` is a symbol that the source has not."""

    def play(self, *bars: Bar) -> None:
        """Let the source have bars, of which the last has just closed."""

    def begin(self, bar: Bar) -> None:
        """Let a bar be in progress: the source knows its prices, and it has not closed."""

    def spoil(self, bar: Bar) -> None:
        """Let the source have a bar, or a tick in it, at a price of 0."""


class ConnectedRig(Rig, Protocol):
    """A feed that is reached over a network."""

    def lose(self) -> None:
        """Break all connections, and let none be made."""

    def restore(self) -> None:
        """Let connections be made again."""

    def hang(self) -> None:
        """Take whatever is asked, and answer nothing."""


def bar(rig: Rig, number: int) -> Bar:
    """Return the bar of one minute; no two are alike."""
    ts_open = rig.start_ns + number * MINUTE_NS
    price = 100.0 + number
    return Bar(
        SYMBOL,
        ts_open + MINUTE_NS,
        ts_open,
        price,
        price + 0.75,
        price - 0.5,
        price + 0.25,
        volume=4.0 * (number + 1),
    )


def bars(rig: Rig, first: int, count: int) -> list[Bar]:
    """Return consecutive bars."""
    return [bar(rig, number) for number in range(first, first + count)]


async def take(stream: AsyncIterator[Bar | Quarantined], count: int) -> list[Bar | Quarantined]:
    """Return the next events of a stream, which must come in time."""
    async with asyncio.timeout(PATIENCE_S):
        return [await anext(stream) for _ in range(count)]


async def quiet(stream: AsyncIterator[Bar | Quarantined]) -> None:
    """Check that nothing more comes; the stream cannot be used afterwards."""
    try:
        async with asyncio.timeout(QUIET_S):
            event = await anext(stream)
    except (TimeoutError, StopAsyncIteration):
        return
    pytest.fail(f"nothing more was played, but {event} came")


async def opened(rig: Rig, played: int = 3) -> LiveFeed:
    """Return an open feed whose source has some bars already."""
    rig.play(*bars(rig, 0, played))
    feed = rig.feed()
    await feed.open()
    return feed


async def closed_bars_in_order(rig: Rig) -> None:
    feed = await opened(rig)
    await feed.history(SYMBOL, 3)
    async with aclosing(feed.stream()) as stream:
        rig.play(*bars(rig, 3, 4))
        rig.begin(bar(rig, 7))
        assert await take(stream, 4) == bars(rig, 3, 4)
        await quiet(stream)
    await feed.close()


async def a_bar_comes_when_it_closes(rig: Rig) -> None:
    feed = await opened(rig)
    await feed.history(SYMBOL, 3)
    rig.begin(bar(rig, 3))
    async with aclosing(feed.stream()) as stream:
        waiting = asyncio.ensure_future(take(stream, 1))
        await asyncio.sleep(QUIET_S)
        assert not waiting.done(), "it has not closed yet"
        rig.play(bar(rig, 3))
        assert await waiting == [bar(rig, 3)]
    await feed.close()


async def history_is_oldest_first_and_the_stream_goes_on_behind_it(rig: Rig) -> None:
    feed = await opened(rig, played=8)
    rig.begin(bar(rig, 8))
    assert await feed.history(SYMBOL, 5) == bars(rig, 3, 5)
    assert await feed.history(SYMBOL, 0) == []
    assert await feed.history(SYMBOL, 100) == bars(rig, 0, 8)
    async with aclosing(feed.stream()) as stream:
        rig.play(*bars(rig, 8, 2))
        assert await take(stream, 2) == bars(rig, 8, 2)
    await feed.close()


async def what_closes_around_history_comes_once(rig: Rig) -> None:
    feed = await opened(rig)
    rig.play(bar(rig, 3))
    past = await feed.history(SYMBOL, 100)
    rig.play(bar(rig, 4))
    async with aclosing(feed.stream()) as stream:
        rig.play(bar(rig, 5))
        assert past + await take(stream, 6 - len(past)) == bars(rig, 0, 6)
    await feed.close()


async def each_refusal_is_told_once_and_stops_nothing(rig: Rig) -> None:
    feed = await opened(rig)
    await feed.history(SYMBOL, 3)
    async with aclosing(feed.stream()) as stream:
        rig.play(bar(rig, 3))
        rig.spoil(bar(rig, 4))
        rig.play(*bars(rig, 5, 2))
        events: list[Bar | Quarantined] = []
        while bar(rig, 6) not in events:
            events += await take(stream, 1)
        await quiet(stream)
    refused = [event for event in events if isinstance(event, Quarantined)]
    assert [(event.instrument, event.reason) for event in refused] == [(SYMBOL, "not_positive")]
    assert [e for e in events if e in bars(rig, 3, 4)] == [bar(rig, 3), *bars(rig, 5, 2)]
    assert not [e for e in events if isinstance(e, Bar) and e.low <= 0]
    await feed.close()


async def a_reader_that_stops_and_comes_back_misses_nothing(rig: Rig) -> None:
    feed = await opened(rig)
    await feed.history(SYMBOL, 3)
    async with aclosing(feed.stream()) as stream:
        rig.play(*bars(rig, 3, 2))
        first = await take(stream, 2)
    rig.play(*bars(rig, 5, 2))
    async with aclosing(feed.stream()) as stream:
        rig.play(bar(rig, 7))
        assert first + await take(stream, 3) == bars(rig, 3, 5)
    await feed.close()


async def an_instrument_that_the_feed_has_not(rig: Rig) -> None:
    feed = await opened(rig)
    with pytest.raises(ConfigError, match="B"):
        await feed.history("B", 3)
    await feed.close()


async def a_symbol_that_the_source_does_not_know(rig: ConnectedRig) -> None:
    rig.play(*bars(rig, 0, 3))
    feed = rig.feed(UNKNOWN)
    with pytest.raises(ConfigError, match=UNKNOWN):
        await feed.open()
    await feed.close()


async def a_lost_connection_leaves_no_hole_and_nothing_twice(rig: ConnectedRig) -> None:
    feed = await opened(rig)
    await feed.history(SYMBOL, 3)
    async with aclosing(feed.stream()) as stream:
        rig.play(*bars(rig, 3, 2))
        got = await take(stream, 2)
        rig.begin(bar(rig, 5))
        rig.lose()
        rig.play(bar(rig, 5))
        with pytest.raises(VenueUncertain):
            await take(stream, 1)
    with pytest.raises(VenueUncertain):
        await take(feed.stream(), 1)
    rig.play(bar(rig, 6))
    rig.begin(bar(rig, 7))
    rig.restore()
    async with aclosing(feed.stream()) as stream:
        got += await take(stream, 2)
        rig.play(*bars(rig, 7, 2))
        got += await take(stream, 2)
        assert got == bars(rig, 3, 6)
        await quiet(stream)
    await feed.close()


async def nothing_hangs_for_ever(rig: ConnectedRig) -> None:
    feed = await opened(rig)
    rig.hang()

    async def streamed() -> None:
        await take(feed.stream(), 1)

    calls: list[Callable[[], Awaitable[Any]]] = [lambda: feed.history(SYMBOL, 3), streamed]
    for call in calls:
        began = time.monotonic()
        rig.play(*bars(rig, 3, 2))
        with pytest.raises(VenueUncertain):
            await call()
        assert time.monotonic() - began < PATIENCE_S
    await feed.close()


CASES: list[Callable[[Any], Awaitable[None]]] = [
    closed_bars_in_order,
    a_bar_comes_when_it_closes,
    history_is_oldest_first_and_the_stream_goes_on_behind_it,
    what_closes_around_history_comes_once,
    each_refusal_is_told_once_and_stops_nothing,
    a_reader_that_stops_and_comes_back_misses_nothing,
    an_instrument_that_the_feed_has_not,
]

CONNECTED: list[Callable[[Any], Awaitable[None]]] = [
    a_symbol_that_the_source_does_not_know,
    a_lost_connection_leaves_no_hole_and_nothing_twice,
    nothing_hangs_for_ever,
]


def conforms(adapter: str, *, connected: bool = True) -> Callable[[Test], Test]:
    """Give a test each `case` of a feed, and the feed a column in the printed table.

    `adapter` is one of the columns of `conformance_table`.
    """
    due = [*CASES, *(CONNECTED if connected else [])]
    parametrised = pytest.mark.parametrize("case", due, ids=lambda case: case.__name__)
    column = pytest.mark.conformance("feeds", adapter, {})
    return lambda test: column(parametrised(test))


def run(case: Callable[[Any], Awaitable[None]], rig: Rig) -> None:
    """Run one case on a rig, whose source is stopped whatever happens."""

    async def whole() -> None:
        await rig.start()
        try:
            async with asyncio.timeout(6 * PATIENCE_S):
                await case(rig)
        finally:
            await rig.stop()

    asyncio.run(whole())
