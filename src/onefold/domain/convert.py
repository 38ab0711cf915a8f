"""Bars as columns and bars as records are the same bars; here is the only way between the two.

Research reads columns and a session reads records. Were each feed to convert in its own way, one of
them would some day write NaN where another writes None, and replay would differ from the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Bars, Integers
from onefold.domain.records import Bar


def to_records(bars: Bars, symbol: str) -> Iterator[Bar]:
    """Yield the bars of columns as records; what is unknown (NaN, or -1 seconds) is None."""
    for ts, ts_open, open_, high, low, close, volume, bid, ask, left in zip(
        *(column.tolist() for column in bars), strict=True
    ):
        yield Bar(
            symbol,
            ts,
            ts_open,
            open_,
            high,
            low,
            close,
            None if isnan(volume) else volume,
            None if isnan(bid) else bid,
            None if isnan(ask) else ask,
            left if left >= 0 else None,
        )


def to_columns(records: Iterable[Bar]) -> Bars:
    """Return records of one instrument as columns; the inverse of `to_records`."""
    rows = list(records)
    return Bars(
        ts=np.array([bar.ts for bar in rows], np.int64),
        ts_open=np.array([bar.ts_open for bar in rows], np.int64),
        open=np.array([bar.open for bar in rows], np.float64),
        high=np.array([bar.high for bar in rows], np.float64),
        low=np.array([bar.low for bar in rows], np.float64),
        close=np.array([bar.close for bar in rows], np.float64),
        volume=np.array([_number(bar.volume) for bar in rows], np.float64),
        bid=np.array([_number(bar.bid) for bar in rows], np.float64),
        ask=np.array([_number(bar.ask) for bar in rows], np.float64),
        to_close_s=np.array([_seconds(bar.to_close_s) for bar in rows], np.int64),
    )


def take(bars: Bars, rows: Integers | NDArray[np.bool_]) -> Bars:
    """Return some bars of columns: those at the positions given, or where a mask is true."""
    return Bars(
        bars.ts[rows],
        bars.ts_open[rows],
        bars.open[rows],
        bars.high[rows],
        bars.low[rows],
        bars.close[rows],
        bars.volume[rows],
        bars.bid[rows],
        bars.ask[rows],
        bars.to_close_s[rows],
    )


def _number(value: float | None) -> float:
    return nan if value is None else value


def _seconds(value: int | None) -> int:
    return -1 if value is None else value
