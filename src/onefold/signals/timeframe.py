"""Bars of a longer interval made from shorter ones, and features of them that cannot peek.

The classic lookahead of multi-timeframe strategies is to read the hour's bar before the hour is
over. Here a longer bar exists only once it has closed: with the first bar that ends exactly at the
interval's end, or with the first bar of a later interval where the data has a gap. Intervals are
aligned to UTC midnight, weeks to Monday.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np

from onefold._compile import njit
from onefold.domain.columns import Bars, Floats, Integers
from onefold.domain.errors import ConfigError
from onefold.signals.feature import COLUMNS, NAN, BarRow, Column, Feature, FeatureSet, Kernel, Node

_UNIT_NS = {
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
# The first Monday of the epoch; only weeks are affected, all others divide it.
_ORIGIN_NS = 4 * _UNIT_NS["d"]


def interval_ns(interval: str) -> int:
    """Return the nanoseconds of an interval such as `30s`, `5m`, `1h`, `1d` or `1w`.

    Raises ConfigError where it is not one, or does not divide a day or a week evenly.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,4})([smhdw])", interval)
    if match is None:
        raise ConfigError(
            f"{interval!r} is no interval: write a number and s, m, h, d or w, such as 5m or 1h"
        )
    length = int(match[1]) * _UNIT_NS[match[2]]
    if _UNIT_NS["d"] % length and length not in (_UNIT_NS["d"], _UNIT_NS["w"]):
        raise ConfigError(f"{interval!r} does not divide a day evenly, nor is it 1d or 1w")
    return length


def interval_end(ts: int, length_ns: int) -> int:
    """Return the end of the interval that a bar closing at `ts` belongs to."""
    return (ts - 1 - _ORIGIN_NS) // length_ns * length_ns + length_ns + _ORIGIN_NS


class _Aggregated(NamedTuple):
    """Closed longer bars, and the row of the short bar with which each became known."""

    bars: Bars
    known_at: Integers
    rows: int


@njit
def _aggregate_nb(
    ends: Integers, ts: Integers, prices: tuple[Floats, ...], first: Integers, last: Integers,
    known: Integers, out: tuple[Floats, ...],
) -> int:  # fmt: skip
    high, low, close, volume = prices
    out_high, out_low, out_close, out_volume = out
    count = 0
    begin = 0
    rows = len(ts)
    for row in range(rows):
        if row > begin and (ends[row] != ends[begin]):
            known[count] = row
            count += 1
            begin = row
        if row == begin:
            first[count] = row
            out_high[count], out_low[count] = high[row], low[row]
            out_volume[count] = volume[row]
        else:
            # Written so that an unknown price makes the longer bar's unknown too.
            if not (high[row] <= out_high[count]):
                out_high[count] = high[row] if out_high[count] == out_high[count] else NAN
            if not (low[row] >= out_low[count]):
                out_low[count] = low[row] if out_low[count] == out_low[count] else NAN
            out_volume[count] += volume[row]
        last[count] = row
        out_close[count] = close[row]
        if ts[row] == ends[row]:
            known[count] = row
            count += 1
            begin = row + 1
    return count


def _aggregated(bars: Bars, length_ns: int) -> _Aggregated:
    rows = bars.rows
    ends = (bars.ts - 1 - _ORIGIN_NS) // length_ns * length_ns + length_ns + _ORIGIN_NS
    first, last, known = (np.empty(rows, np.int64) for _ in range(3))
    prices = (bars.high, bars.low, bars.close, bars.volume)
    columns = tuple(np.ascontiguousarray(c) for c in prices)
    out = (np.empty(rows), np.empty(rows), np.empty(rows), np.empty(rows))
    n = _aggregate_nb(ends, np.ascontiguousarray(bars.ts), columns, first, last, known, out)
    high, low, close, volume = out
    first, last = first[:n], last[:n]
    longer = Bars(
        ts=ends[first],
        ts_open=bars.ts_open[first],
        open=bars.open[first],
        high=high[:n],
        low=low[:n],
        close=close[:n],
        volume=volume[:n],
        bid=bars.bid[first],
        ask=bars.ask[first],
        to_close_s=bars.to_close_s[last],
    )
    return _Aggregated(longer, known[:n], rows)


def aggregate(bars: Bars, interval: str) -> Bars:
    """Return the closed bars of a longer interval; one that has not ended is left out.

    Each closes at the interval's end. Volumes add up, and are NaN where any is; bid and ask are
    those at the open. Intervals without bars give none.
    """
    return _aggregated(bars, interval_ns(interval)).bars


class BarAggregator:
    """`aggregate` one bar at a time, bit for bit the same."""

    def __init__(self, interval: str) -> None:
        self._length_ns = interval_ns(interval)
        self._open: BarRow | None = None

    def update(self, row: Sequence[float]) -> list[BarRow]:
        """Take one closed bar and return the longer bars that are closed by it: 0, 1 or 2."""
        bar = BarRow(*row)  # type: ignore[arg-type]  # the integer fields are integers
        end = interval_end(bar.ts, self._length_ns)
        closed = []
        current = self._open
        if current is not None and current.ts != end:
            closed.append(current)
            current = None
        self._open = bar._replace(ts=end) if current is None else _joined(current, bar)
        if bar.ts == end:
            closed.append(self._open)
            self._open = None
        return closed


def _joined(longer: BarRow, bar: BarRow) -> BarRow:
    high, low = longer.high, longer.low
    if not bar.high <= high:
        high = bar.high if high == high else NAN  # noqa: PLR0124 - a test for NaN
    if not bar.low >= low:
        low = bar.low if low == low else NAN  # noqa: PLR0124 - a test for NaN
    return longer._replace(
        high=high,
        low=low,
        close=bar.close,
        volume=longer.volume + bar.volume,
        to_close_s=bar.to_close_s,
    )


class _LongerBars(Node):
    """The longer bars themselves, shared by all features of one interval."""

    def __init__(self, interval: str) -> None:
        self.interval = interval
        self.length_ns = interval_ns(interval)

    @cached_property
    def name(self) -> str:
        """Return the interval."""
        return f"bars({self.interval})"

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Return all columns."""
        return tuple(starmap(Column, ((name,) for name in COLUMNS)))

    def evaluate(self, *columns: Any) -> _Aggregated:
        """Return the longer bars and when each became known."""
        return _aggregated(Bars(*columns), self.length_ns)

    def open(self) -> Kernel:
        """Return a stream of the longer bars that each bar closes."""
        return BarAggregator(self.interval).update


class Higher(Feature):
    """A feature of longer bars: its value at the last one that has closed."""

    def __init__(self, feature: Feature, interval: str) -> None:
        self._feature = feature
        self._bars = _LongerBars(interval)
        # How many bars an interval has depends on the data: at least one each.
        self.warm_up = feature.warm_up
        self.warm_up_ns = (feature.warm_up + 1) * self._bars.length_ns + feature.warm_up_ns
        self.finite = False

    @cached_property
    def name(self) -> str:
        """Return feature and interval."""
        return f"higher({self._feature.name},{self._bars.interval})"

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Return the longer bars."""
        return (self._bars,)

    def evaluate(self, *columns: Any) -> Any:
        """Return the column: each longer bar's value from the row on which it became known."""
        longer: _Aggregated = columns[0]
        out = np.full(longer.rows, NAN)
        if len(longer.known_at):
            values = FeatureSet([self._feature]).batch(longer.bars)[self._feature.name]
            lengths = np.diff(longer.known_at, append=longer.rows)
            out[longer.known_at[0] :] = np.repeat(values, lengths)
        return out

    def open(self) -> Kernel:
        """Return the stream."""
        stream = FeatureSet([self._feature]).stream()
        value = NAN

        def update(closed: list[BarRow]) -> float:
            nonlocal value
            for bar in closed:
                value = stream.update(bar)[0]
            return value

        return update


def higher(feature: Feature, interval: str) -> Feature:
    """Return a feature of the bars of a longer interval, such as `higher(ta.rsi(14), "1h")`.

    Its value is that of the last longer bar that has closed; NaN before the first.
    """
    return Higher(feature, interval)
