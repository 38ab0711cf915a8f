"""Bars made from ticks: by time, by number of ticks, by volume and by value.

Lopez de Prado, Advances in Financial Machine Learning (2018), section 2.3. Bars by activity sample
more often when more happens, and their returns are closer to normal. The live builder and the batch
function give the same bars bit for bit.

A tick belongs to one bar whole: the tick that reaches the threshold closes the bar, and what it
exceeds the threshold by is not carried over. A time bar spans [k interval, (k + 1) interval) in UTC
and is closed by the first tick after it, or by `flush` with the time; empty intervals give none.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from onefold._compile import njit
from onefold.domain.columns import Bars, Floats, Integers
from onefold.domain.errors import ConfigError, DataError, did_you_mean
from onefold.signals.feature import NAN, BarRow
from onefold.signals.timeframe import interval_ns

BarKind = Literal["time", "tick", "volume", "dollar"]
_KINDS: tuple[str, ...] = get_args(BarKind)


def _threshold(kind: str, size: float | str) -> float:
    """Return nanoseconds, ticks, units or money per bar."""
    if kind not in _KINDS:
        raise ConfigError(f"bars cannot be made by {kind!r}{did_you_mean(kind, _KINDS)}")
    if kind == "time":
        if not isinstance(size, str):
            raise ConfigError(f"time bars need an interval such as '1m', got {size!r}")
        return interval_ns(size)
    if isinstance(size, (str, bool)) or not (math.isfinite(size) and size > 0):
        raise ConfigError(f"{kind} bars need a positive number per bar, got {size!r}")
    if kind == "tick" and size != int(size):
        raise ConfigError(f"tick bars need a whole number of ticks per bar, got {size!r}")
    return size


class BarBuilder:
    """Makes bars of one instrument from its ticks.

    `size` is an interval such as `5m` for time bars, and else the ticks, units or money per bar.
    """

    def __init__(self, kind: BarKind, size: float | str) -> None:
        self._threshold = _threshold(kind, size)
        self._kind = kind
        self._bar: BarRow | None = None
        self._done = 0.0
        self._last_ts = -(2**63)

    def update(self, ts: int, price: float, size: float) -> list[BarRow]:
        """Take one tick and return the bars that it closes, at most one.

        Raises DataError for a tick before the last one, or with a price or size that is no number.
        """
        if ts < self._last_ts:
            raise DataError(f"tick at {ts} comes after one at {self._last_ts}: sort them by time")
        if not math.isfinite(price) or not (math.isfinite(size) and size >= 0.0):
            raise DataError(f"tick at {ts}: price {price} and size {size} cannot be used")
        self._last_ts = ts
        if self._kind == "time":
            return self._update_time(ts, price, size)
        return self._update_activity(ts, price, size)

    def flush(self, ts: int | None = None) -> list[BarRow]:
        """Return the bar in progress and begin anew.

        With `ts` only a time bar is returned whose interval has ended by then; without it whatever
        there is, for the end of the data.
        """
        bar = self._bar
        if bar is None or (ts is not None and (self._kind != "time" or bar.ts > ts)):
            return []
        self._bar = None
        return [bar]

    def _update_time(self, ts: int, price: float, size: float) -> list[BarRow]:
        length = int(self._threshold)
        start = ts // length * length
        closed = []
        if self._bar is not None and self._bar.ts_open != start:
            closed, self._bar = [self._bar], None
        self._add(start, start + length, price, size)
        return closed

    def _update_activity(self, ts: int, price: float, size: float) -> list[BarRow]:
        if self._bar is None:
            self._done = 0.0
        self._add(ts, ts, price, size)
        if self._kind == "tick":
            self._done += 1.0
        else:
            self._done += size if self._kind == "volume" else price * size
        return self.flush() if self._done >= self._threshold else []

    def _add(self, ts_open: int, ts: int, price: float, size: float) -> None:
        bar = self._bar
        if bar is None:
            self._bar = BarRow(ts, ts_open, price, price, price, price, size)
            return
        self._bar = bar._replace(
            ts=ts,
            high=max(bar.high, price),
            low=min(bar.low, price),
            close=price,
            volume=bar.volume + size,
        )


@njit
def _bars_nb(
    kind: int, threshold: float, ts: Integers, price: Floats, size: Floats,
    times: Integers, out: Floats,
) -> tuple[int, bool]:  # fmt: skip
    """Write the bars; return how many are closed, and whether another is in progress."""
    count = 0
    empty = True
    done = 0.0
    length = np.int64(threshold)
    for i in range(len(ts)):
        if kind == 0 and not empty and times[count, 1] != ts[i] // length * length:
            count += 1
            empty = True
        if empty:
            empty = False
            done = 0.0
            times[count, 1] = ts[i] // length * length if kind == 0 else ts[i]
            out[count, 0] = out[count, 1] = out[count, 2] = price[i]
            out[count, 4] = 0.0
        times[count, 0] = times[count, 1] + length if kind == 0 else ts[i]
        out[count, 1] = max(out[count, 1], price[i])
        out[count, 2] = min(out[count, 2], price[i])
        out[count, 3] = price[i]
        out[count, 4] += size[i]
        if kind == 1:
            done += 1.0
        elif kind == 2:
            done += size[i]
        elif kind == 3:
            done += price[i] * size[i]
        if kind != 0 and done >= threshold:
            count += 1
            empty = True
    return count, not empty


def bars_from_ticks(
    ts: Integers,
    price: Floats,
    size: Floats,
    kind: BarKind,
    per_bar: float | str,
    *,
    partial: bool = False,
) -> Bars:
    """Return the closed bars of ticks in columns, and with `partial` also the last one in progress.

    `per_bar` is an interval such as `5m` for time bars, and else the ticks, units or money per bar.
    Raises DataError, naming the row, for ticks out of order or with unusable numbers.
    """
    threshold = _threshold(kind, per_bar)
    ts = np.ascontiguousarray(ts, np.int64)
    price = np.ascontiguousarray(price, np.float64)
    size = np.ascontiguousarray(size, np.float64)
    _reject(ts, price, size)
    times, out = np.empty((len(ts), 2), np.int64), np.empty((len(ts), 5))
    n, in_progress = _bars_nb(_KINDS.index(kind), float(threshold), ts, price, size, times, out)
    n += partial and in_progress
    unknown = np.full(n, NAN)
    columns = [np.ascontiguousarray(column) for column in (*times[:n].T, *out[:n].T)]
    return Bars._make((*columns, unknown, unknown, np.full(n, -1)))


def _reject(ts: Integers, price: Floats, size: Floats) -> None:
    """Raise DataError for the first row that no bar can be made of."""
    if not len(ts) == len(price) == len(size):
        raise DataError(f"ticks need columns of one length: {len(ts)}, {len(price)}, {len(size)}")
    back = np.flatnonzero(np.diff(ts) < 0)
    if len(back):
        raise DataError(f"tick row {back[0] + 1} is earlier than the row before: sort by time")
    bad = np.flatnonzero(~(np.isfinite(price) & np.isfinite(size) & (size >= 0)))
    if len(bad):
        row = bad[0]
        raise DataError(f"tick row {row}: price {price[row]} and size {size[row]} cannot be used")
