"""Slow a feed down, to watch a session over old or made bars as if it were live.

Pacing belongs to no source: every feed that is not live can use it, and nothing below can tell a
paced feed from a fast one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from onefold.domain.errors import ConfigError
from onefold.domain.records import Bar

SECOND_NS = 1_000_000_000

E = TypeVar("E")


class Pace(NamedTuple):
    """How fast bars come: `speed` times real time, or one in `seconds_per_bar`, or at once."""

    speed: float | None = None
    seconds_per_bar: float | None = None
    sleep: Callable[[float], None] = time.sleep

    def check(self) -> Pace:
        """Return itself; raises `ConfigError` when it is contradictory or not positive."""
        if self.speed is not None and self.seconds_per_bar is not None:
            raise ConfigError("pace by speed or by seconds_per_bar, not by both")
        for name in ("speed", "seconds_per_bar"):
            value = getattr(self, name)
            # Written so that NaN is refused as well.
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}, it must be above 0")
        return self


AT_ONCE = Pace()
"""As fast as the bars are taken."""


def waiter(pace: Pace) -> Callable[[object], None] | None:
    """Return what waits before each event as `pace` says, or None when nothing has to wait.

    Only bars are waited for; other events pass at once.
    """
    delay_s = delays(pace)
    if delay_s is None:
        return None

    def wait(event: object) -> None:
        seconds = delay_s(event)
        if seconds > 0:
            pace.sleep(seconds)

    return wait


def delays(pace: Pace) -> Callable[[object], float] | None:
    """Return what tells the seconds to wait before each event, or None when they are always 0."""
    if pace.speed is None and pace.seconds_per_bar is None:
        return None
    last_ts: int | None = None

    def delay_s(event: object) -> float:
        nonlocal last_ts
        if not isinstance(event, Bar):
            return 0.0
        before, last_ts = last_ts, event.ts
        if pace.seconds_per_bar is not None:
            return pace.seconds_per_bar
        if pace.speed is None or before is None:
            return 0.0
        return max(event.ts - before, 0) / SECOND_NS / pace.speed

    return delay_s


def paced(events: Iterable[E], pace: Pace) -> Iterator[E]:
    """Yield events, waiting before each bar as `pace` says."""
    wait = waiter(pace)
    if wait is None:
        yield from events
        return
    for event in events:
        wait(event)
        yield event
