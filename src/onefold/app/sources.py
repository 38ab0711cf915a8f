"""Where the bars of an account come from: real feeds, or recorded data that is played as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from onefold.adapters.files import FileFeed, LoadedBars
from onefold.adapters.pace import Pace
from onefold.adapters.recorded import RecordedFeed
from onefold.app.live_settings import FeedSettings
from onefold.app.settings import Loaded, Settings
from onefold.domain.ports import LiveFeed

_FEEDS = {
    "alpaca": "AlpacaFeed",
    "ccxt": "CcxtFeed",
    "databento": "DatabentoFeed",
    "kite": "KiteFeed",
    "oanda": "OandaFeed",
    "yfinance": "YFinanceFeed",
}


@dataclass
class Source:
    """Where an account's bars come from: feeds with their symbols, and what time it is there.

    `go_on` is told up to when a session knows the bars, from a run before.
    """

    feeds: list[tuple[LiveFeed, tuple[str, ...]]]
    intervals_ns: dict[str, int]
    now: Callable[[], int]
    is_recorded: bool
    go_on: Callable[[int], None] = lambda _: None

    @property
    def data_mode(self) -> str:
        """Return whether bars are `live` or `recorded`."""
        return "recorded" if self.is_recorded else "live"


class OpenedOnce:
    """A feed that is opened once, however often it is asked to."""

    def __init__(self, feed: LiveFeed) -> None:
        self._feed, self._is_open = feed, False
        self.close, self.history, self.stream = feed.close, feed.history, feed.stream

    async def open(self) -> None:
        """Open the feed, if it is not open."""
        if not self._is_open:
            await self._feed.open()
            self._is_open = True


def live_source(settings: Settings, symbols: Collection[str]) -> Source:
    """Return the real sources of symbols; those with the same settings share a connection."""
    groups: list[tuple[str, Any, dict[str, FeedSettings]]] = []
    wanted = {symbol: one for symbol, one in settings.feeds.items() if symbol in symbols}
    for symbol, one in wanted.items():
        for kind, config, members in groups:
            if (kind, config) == (one.source, one.config):
                members[symbol] = one
                break
        else:
            groups.append((one.source, one.config, {symbol: one}))
    feeds: list[tuple[LiveFeed, tuple[str, ...]]] = []
    for kind, config, members in groups:
        instruments = {s: settings.instruments[s] for s in members}
        intervals = {s: one.interval_ns for s, one in members.items()}
        made = getattr(import_module(f"onefold.adapters.{kind}"), _FEEDS[kind])
        feeds.append((OpenedOnce(made(config, instruments, intervals)), tuple(members)))
    intervals_ns = {s: one.interval_ns for s, one in wanted.items()}
    return Source(feeds, intervals_ns, time.time_ns, is_recorded=False)


def recorded_source(loaded: Loaded, bars_of: Mapping[str, LoadedBars]) -> Source:
    """Return the data of the configuration as a feed, whose time is that of its bars."""
    pace = loaded.settings.session.pace
    clock = {"now": 0}

    def timed(events: Iterator[Any]) -> Iterator[Any]:
        for event in events:
            clock["now"] = max(clock["now"], event.ts)
            yield event

    feed = RecordedFeed(
        timed(FileFeed(list(bars_of.values())).events()),
        {s: loaded.settings.instruments[s] for s in bars_of},
        pace=Pace(pace.speed, pace.seconds_per_bar),
    )

    def go_on(ts: int) -> None:
        clock["now"] = max(clock["now"], ts)
        feed.known_ts = ts

    intervals = {symbol: one.interval_ns for symbol, one in bars_of.items()}
    return Source(
        [(feed, tuple(bars_of))], intervals, lambda: clock["now"], is_recorded=True, go_on=go_on
    )
