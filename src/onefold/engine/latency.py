"""How long a session takes, in buckets: from a bar to the order that answers it, and on the way.

Counts in buckets add up over time and over sessions, so whoever watches gets quantiles from the
heartbeat without asking the session. Durations are measured by a clock that nobody sets.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from onefold.domain.records import Bar, Order

BUCKETS_MS = (
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0,
    10_000.0,
)  # fmt: skip
"""Upper bounds of the buckets, where nothing else is configured."""
TICK_TO_ORDER = "tick_to_order_seconds"
"""From the arrival of a bar to the moment at which an order that answers it leaves."""
TICK_ENQUEUE_DELAY = "tick_enqueue_delay_seconds"
"""From the close of a bar, by our clock, to its arrival in the session's queue."""
EMIT_LATENCY = "emit_latency_seconds"
"""From the arrival of a bar until it is folded, and all that followed is durable."""
INFERENCE = "inference_seconds"
"""From a question to a model to its answer, or to the end of our patience."""
NAMES = (TICK_TO_ORDER, TICK_ENQUEUE_DELAY, EMIT_LATENCY, INFERENCE)


class Histogram:
    """Counts of durations in buckets: `counts` has one more than `bounds`, for what is longer."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration; one that a clock which was set back makes negative counts as none."""
        seconds = max(0.0, seconds)
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def as_plain(self) -> dict[str, Any]:
        """Return bounds in seconds, counts of each bucket alone, and the sum in seconds."""
        return {"bounds": list(self.bounds), "counts": list(self.counts), "sum": self.sum}


class Latencies:
    """The histograms of a session; `bounds_ms` are the buckets' upper bounds in milliseconds."""

    def __init__(
        self,
        bounds_ms: Sequence[float] = BUCKETS_MS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        bounds = [ms / 1e3 for ms in bounds_ms]
        self.of = {name: Histogram(bounds) for name in NAMES}
        self._clock = clock
        self._arrived: dict[str, tuple[int, float]] = {}
        self._told = {name: [0] * (len(bounds) + 1) for name in NAMES}

    def arrived(self, bar: Bar, now_ts: int | None) -> None:
        """Take note of a bar; `now_ts` is the wall clock, None where bars are recorded ones."""
        self._arrived[bar.instrument] = (bar.ts, self._clock())
        if now_ts is not None:
            self.of[TICK_ENQUEUE_DELAY].observe((now_ts - bar.ts) / 1e9)

    def folded(self, bar: Bar) -> None:
        """Take note that a bar has been folded, and all that followed from it is durable."""
        self._since(EMIT_LATENCY, bar.instrument, bar.ts)

    def ordered(self, order: Order) -> None:
        """Take note that an order leaves; only one that answers a bar of its instrument counts."""
        self._since(TICK_TO_ORDER, order.instrument, order.ts)

    def inferred(self, seconds: float) -> None:
        """Take note of an answer of a model."""
        self.of[INFERENCE].observe(seconds)

    def _since(self, name: str, instrument: str, ts: int) -> None:
        bar_ts, arrived = self._arrived.get(instrument, (-1, 0.0))
        if bar_ts == ts:
            self.of[name].observe(self._clock() - arrived)

    def as_plain(self) -> dict[str, Any]:
        """Return all histograms by their names."""
        return {name: one.as_plain() for name, one in self.of.items()}

    def news(self) -> dict[str, dict[str, float]]:
        """Return what came since the last call: how many, and upper bounds of two quantiles in ms.

        A quantile beyond the last bound is that bound.
        """
        found = {}
        for name, one in self.of.items():
            new = [now - before for now, before in zip(one.counts, self._told[name], strict=True)]
            self._told[name] = list(one.counts)
            if total := sum(new):
                found[name] = {
                    "count": total,
                    "p50_ms": _quantile_ms(new, one.bounds, 0.5),
                    "p99_ms": _quantile_ms(new, one.bounds, 0.99),
                }
        return found


def _quantile_ms(counts: Sequence[int], bounds: Sequence[float], share: float) -> float:
    """Return the upper bound of the bucket in which a quantile lies."""
    wanted, seen = share * sum(counts), 0
    for bound, count in zip(bounds, counts, strict=False):
        seen += count
        if seen >= wanted:
            return round(bound * 1e3, 6)
    return round(bounds[-1] * 1e3, 6)
