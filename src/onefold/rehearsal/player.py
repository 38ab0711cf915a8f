"""Play bars into the rehearsal exchange as time goes by, or as fast as they are taken.

Between two bars the clock moves on, so that a client which compares it with its own sees what it
would see at a venue. When a bar begins, the streams show its open; its end comes when it is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import msgspec

from onefold.domain.records import Bar
from onefold.rehearsal.server import SECOND_NS, Server

TICK_S = 0.1
"""How often the clock moves on while a bar is under way."""

_CLOSES, _BEGINS = 0, 1


class Player:
    """Bars of any number of instruments, `speed` times as fast as they were; None: at once.

    `now` gives the time at which to begin, in nanoseconds UTC: what is over by then is played at
    once. Without it, time begins with the first bar.
    """

    def __init__(
        self,
        server: Server,
        bars: Iterable[Bar],
        speed: float | None = 1.0,
        now: Callable[[], int] | None = None,
    ) -> None:
        self._server, self._speed, self._now = server, speed, now
        steps = [
            step
            for n, bar in enumerate(bars)
            for step in ((bar.ts, _CLOSES, n, bar), (bar.ts_open, _BEGINS, n, bar))
        ]
        self._steps = sorted(steps, key=lambda step: step[:3])

    async def run(self) -> None:
        """Play to the end."""
        loop, exchange = asyncio.get_running_loop(), self._server.exchange
        first = self._steps[0][0] if self._steps else 0
        if self._now is not None:
            first = max(first, self._now())
        began = loop.time()
        for ts, kind, _, bar in self._steps:
            while self._speed is not None:
                here = first + round((loop.time() - began) * self._speed * SECOND_NS)
                exchange.advance(min(here, ts))
                if here >= ts:
                    break
                await asyncio.sleep(min(TICK_S, (ts - here) / SECOND_NS / self._speed))
            if kind == _BEGINS:
                exchange.announce(bar)
            else:
                exchange.on_bar(bar)
            await self._server.flushed()
            await asyncio.sleep(0)


def redated(bars: Sequence[Bar], now_ns: int, past: int) -> list[Bar]:
    """Return bars in order of time, moved so that `past` of them are over at `now_ns`.

    They move by whole bars, so that they still begin when their intervals do.
    """
    ordered = sorted(bars, key=lambda bar: bar.ts)
    if not ordered:
        return ordered
    step = max(bar.ts - bar.ts_open for bar in ordered)
    here = ordered[min(past, len(ordered) - 1)].ts_open
    shift = (now_ns - here) // step * step
    return [
        msgspec.structs.replace(bar, ts=bar.ts + shift, ts_open=bar.ts_open + shift)
        for bar in ordered
    ]
