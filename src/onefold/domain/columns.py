"""Bars and signals of one instrument as columns, the form in which research reads them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Sides = NDArray[np.int8]


class Bars(NamedTuple):
    """Closed bars of one instrument in order of time; every column has one value a bar.

    `ts` and `ts_open` are nanoseconds UTC of the close and the open. `volume`, `bid` and `ask` may
    hold NaN where unknown. `to_close_s` is as in `records.Bar`, with -1 for never closes.
    """

    ts: Integers
    ts_open: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    bid: Floats
    ask: Floats
    to_close_s: Integers

    @property
    def rows(self) -> int:
        """Return the number of bars."""
        return len(self.ts)

    def slice(self, start: int, stop: int) -> Bars:
        """Return the bars from `start` up to `stop` as views."""
        return Bars(**{name: c[start:stop] for name, c in self._asdict().items()})


class Signals(NamedTuple):
    """What one strategy says of every bar of one instrument.

    `side` has one value a bar. The others are either as long as `side` or of length one, which
    means the same for every bar. Units are those of `records.Signal`; unknown is NaN.
    """

    side: Sides
    confidence: Floats
    score: Floats
    edge: Floats
    volatility: Floats
    trend: Floats
    barrier: Floats
    price: Floats
    unready: Integers
