"""How much each of several spans of time says, where they overlap.

Trades that run through the same bars share those bars' luck, so ten of them are not ten
observations. Training weighs its labels by this, and the value of a gate gets its interval from it.
The sum of the uniqueness is the number of spans that are as good as independent: for returns that
are sums over overlapping bars it is the number that makes the variance of their mean right.

Lopez de Prado, Advances in Financial Machine Learning (2018), chapter 4.
"""

from __future__ import annotations

import numpy as np

from onefold.domain.columns import Floats, Integers


def concurrency(row: Integers, end: Integers, rows: int) -> Integers:
    """Return of each of so many bars how many spans run through it (4.3).

    A span has the bars after `row`, up to `end` and with it.
    """
    change = np.zeros(rows + 1, np.int64)
    np.add.at(change, row + 1, 1)
    np.add.at(change, end + 1, -1)
    return np.cumsum(change)[:rows]


def uniqueness(row: Integers, end: Integers, rows: int) -> Floats:
    """Return each span's mean of 1 / concurrency over its bars, 1 where it is alone (4.4)."""
    count = concurrency(row, end, rows)
    shares = np.divide(1.0, count, out=np.zeros(rows), where=count > 0)
    total = np.r_[0.0, np.cumsum(shares)]
    bars = end - row
    summed = total[end + 1] - total[row + 1]
    unique: Floats = np.divide(summed, bars, out=np.ones(len(bars)), where=bars > 0)
    return unique
