"""Turn the client's frames into bars. Pure: what a frame says and nothing else decides.

An intraday bar lasts its interval. A daily one is stamped with midnight where the exchange is and
lasts until the next, so a day on which the clocks change has 23 or 25 hours. The last row of a
frame is nearly always a bar in progress: whether it has closed is told by its end alone.
"""

from __future__ import annotations

from importlib import import_module
from math import isnan
from typing import Any

import numpy as np

from onefold.domain.calendars import DAY_NS, SECOND_NS, seconds_to_close
from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar

MINUTE_NS = 60 * SECOND_NS
INTERVALS: dict[int, str] = {
    MINUTE_NS: "1m",
    2 * MINUTE_NS: "2m",
    5 * MINUTE_NS: "5m",
    15 * MINUTE_NS: "15m",
    30 * MINUTE_NS: "30m",
    60 * MINUTE_NS: "1h",
    90 * MINUTE_NS: "90m",
    DAY_NS: "1d",
}
"""Yahoo's name of each interval that it has."""

_SIDES = ("Open", "High", "Low", "Close")


def interval_name(interval_ns: int, symbol: str) -> str:
    """Return Yahoo's name of an interval; raises `ConfigError` where it has none."""
    if interval_ns not in INTERVALS:
        known = ", ".join(INTERVALS.values())
        raise ConfigError(
            f"{symbol}: Yahoo has no bars of {interval_ns / SECOND_NS:g} seconds, only {known}"
        )
    return INTERVALS[interval_ns]


def bars(frame: Any, instrument: Instrument, interval_ns: int) -> list[Bar]:
    """Return all bars of a frame, the one in progress included; none for no frame."""
    if frame is None or not len(frame):
        return []
    opens = _nanoseconds(frame.index)
    if interval_ns == DAY_NS:
        day = import_module("pandas").DateOffset(days=1)
        ends = _nanoseconds(frame.index.normalize() + day)
    else:
        ends = opens + interval_ns
    left = seconds_to_close(instrument.calendar, ends, interval_ns).tolist()
    columns = [frame[name].to_numpy(dtype=np.float64).tolist() for name in (*_SIDES, "Volume")]
    rows = zip(ends.tolist(), opens.tolist(), left, *columns, strict=True)
    return [
        Bar(
            instrument.symbol,
            ts,
            ts_open,
            open_,
            high,
            low,
            close,
            None if isnan(volume) else volume,
            to_close_s=seconds if seconds >= 0 else None,
        )
        for ts, ts_open, seconds, open_, high, low, close, volume in rows
    ]


def _nanoseconds(index: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(index.as_unit("ns").asi8, dtype=np.int64)
