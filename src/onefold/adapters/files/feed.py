"""Bars from files and frames: all at once for research, one at a time for a session.

A session over a file sees what a backtest over it sees, in the same order: bars by close time, at
the same time in the order of the instruments, and each quarantined row before the bar it stood
before. It may run as fast as it can, or paced, to watch it as if it were live.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from onefold.adapters.files.config import BarsConfig, FileConfig
from onefold.adapters.files.parse import LoadedBars, parse
from onefold.adapters.files.read import read_file, read_frame
from onefold.adapters.pace import AT_ONCE, Pace, paced
from onefold.domain.convert import to_records
from onefold.domain.errors import ConfigError, DataError
from onefold.domain.records import Action, Bar, Quarantined

Event = Bar | Quarantined | Action


def load(config: FileConfig, *, now: int | None = None) -> LoadedBars:
    """Read a file of bars.

    `now` (nanoseconds UTC) refuses bars of the future. Raises `DataError` with file, line and
    column for what cannot be read, and when not one row is plausible.
    """
    return _some(parse(read_file(config.path), config, now))


def load_frame(
    frame: object, config: BarsConfig, *, now: int | None = None, name: str = "frame"
) -> LoadedBars:
    """Read bars from a polars or pandas frame, or a mapping of names to columns.

    `name` stands for the frame in messages. Otherwise as `load`.
    """
    return _some(parse(read_frame(frame, name), config, now))


def _some(loaded: LoadedBars) -> LoadedBars:
    if loaded.bars.rows:
        return loaded
    if not loaded.rows:
        raise DataError(f"{loaded.source} has no bar in the period asked for")
    reasons = ", ".join(f"{reason} {count}" for reason, count in loaded.counts.items())
    raise DataError(f"{loaded.source}: all {loaded.rows} rows were refused ({reasons})")


class FileFeed:
    """A feed of the bars of one or more instruments, merged by time."""

    def __init__(self, loaded: Sequence[LoadedBars], pace: Pace = AT_ONCE) -> None:
        """Merge what was loaded, in the order of the instruments given.

        Raises `ConfigError` when an instrument is there twice or the pace is not positive.
        """
        symbols = [x.instrument.symbol for x in loaded]
        twice = {s for s in symbols if symbols.count(s) > 1}
        if twice:
            raise ConfigError(f"instrument {min(twice)!r} is loaded twice; join its files first")
        self.loaded = list(loaded)
        self._pace = pace.check()

    def __iter__(self) -> Iterator[Bar | Quarantined]:
        """Yield bars, and what was refused with the reason."""
        for event in self.events():
            if not isinstance(event, Action):
                yield event

    def events(self) -> Iterator[Event]:
        """Yield bars, what was refused, and splits, dividends and rolls where they happen."""
        return paced(merge_events(self.loaded), self._pace)


def merge_events(loaded: Sequence[LoadedBars]) -> Iterator[Event]:
    """Yield all events of several instruments in the one order that every run uses.

    By time; at the same time by the order of `loaded`. A quarantined row comes right before the
    bar that it stood before. An action comes after the bars that close at or before its time.
    """
    streams = [_keyed(one, order) for order, one in enumerate(loaded)]
    streams.append(_keyed_actions(loaded))
    for *_, event in heapq.merge(*streams, key=_key):
        yield event


Keyed = tuple[int, int, int, Event]


def _key(item: Keyed) -> tuple[int, int, int]:
    return item[0], item[1], item[2]


def _keyed(loaded: LoadedBars, order: int) -> Iterator[Keyed]:
    refused = iter(zip(loaded.before.tolist(), loaded.quarantined, strict=True))
    waiting = next(refused, None)
    ts = 0
    for row, bar in enumerate(to_records(loaded.bars, loaded.instrument.symbol)):
        ts = bar.ts
        while waiting is not None and waiting[0] <= row:
            yield ts, order, 0, waiting[1]
            waiting = next(refused, None)
        yield ts, order, 1, bar
    while waiting is not None:
        yield ts, order, 2, waiting[1]
        waiting = next(refused, None)


def _keyed_actions(loaded: Sequence[LoadedBars]) -> Iterator[Keyed]:
    # Behind every instrument's bars of the same time, and before those of any later one.
    actions = [
        (a.ts, order, i, a) for order, x in enumerate(loaded) for i, a in enumerate(x.actions)
    ]
    actions.sort(key=_key_of_action)
    for number, (ts, _, _, action) in enumerate(actions):
        yield ts, len(loaded), number, action


def _key_of_action(item: tuple[int, int, int, Action]) -> tuple[int, int, int]:
    return item[:3]
