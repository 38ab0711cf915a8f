"""How much each event says: labels that overlap in time say less than as many that do not.

Lopez de Prado, Advances in Financial Machine Learning (2018), chapter 4.
"""

from __future__ import annotations

import numpy as np

from onefold.domain.columns import Floats, Integers
from onefold.learn.labels import Labels, log_returns
from onefold.views import overlap


def concurrency(labels: Labels, rows: int) -> Integers:
    """Return of every bar how many labels are being made in it (4.3).

    A label is made in the bars after its event, up to the one that ends it.
    """
    return overlap.concurrency(labels.row, labels.end, rows)


def uniqueness(labels: Labels, rows: int) -> Floats:
    """Return each label's mean of 1 / concurrency over its bars, 1 where it is alone (4.4)."""
    return overlap.uniqueness(labels.row, labels.end, rows)


def attribution(labels: Labels, close: Floats) -> Floats:
    """Return each label's share of the returns in its bars, in size, of mean 1 (4.10).

    Every bar's log return is divided by the number of labels that it helps to make. Raises
    `DataError` for prices without a logarithm.
    """
    count = concurrency(labels, len(close))
    returns = log_returns(close, "weights: attribution")
    shares = np.divide(returns, count, out=np.zeros(len(close)), where=count > 0)
    total = np.r_[0.0, np.cumsum(shares)]
    weights = np.abs(total[labels.end + 1] - total[labels.row + 1])
    mean = weights.mean() if len(weights) else 0.0
    scaled: Floats = weights / mean if mean else np.ones(len(weights))
    return scaled


def decayed(unique: Floats, oldest: float) -> Floats:
    """Return weights that fall in a line from 1 for the newest event to `oldest` (4.11).

    Age is measured in uniqueness, so that many labels at once do not age faster.
    """
    age = np.cumsum(unique)
    if not len(age) or not age[-1]:
        return np.ones(len(unique))
    weights: Floats = oldest + (1.0 - oldest) * age / age[-1]
    return weights
