"""Splits that do not leak, and how likely it is that what they show is luck.

A label is made over a span of bars. A training event whose span overlaps a test event's has seen
part of the answer, so it is purged; what begins right after a test fold is left out as well (the
embargo), since features remember. The splitters keep scikit-learn's contract.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import comb, exp, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Floats, Integers
from onefold.domain.errors import ConfigError
from onefold.views.statistics import NORMAL, probabilistic_sharpe, sharpe

Split = tuple[Integers, Integers]
"""Numbers of the training events, and of the test events."""
EULER_GAMMA = 0.5772156649015329


class Spans(NamedTuple):
    """When each event was known and when its label was, in nanoseconds or bars."""

    start: Integers
    end: Integers


class PurgedKFold:
    """K folds in order of time, each tested once; Lopez de Prado (2018), 7.4.

    `embargo` is a share of the whole time. Events need not be in order.
    """

    def __init__(self, spans: Spans, folds: int, embargo: float = 0.01) -> None:
        if len(spans.start) < folds:
            raise ConfigError(f"{len(spans.start)} events are too few for {folds} folds")
        self._spans, self._folds = spans, folds
        first, last = int(spans.start.min()), int(spans.end.max())
        self.embargo = round((last - first) * embargo)

    def get_n_splits(self, *_: Any) -> int:
        """Return the number of folds."""
        return self._folds

    def split(self, *_: Any) -> Iterator[Split]:
        """Yield training and test events of each fold."""
        for tested in self.folds():
            yield purged(self._spans, tested, self.embargo), tested

    def folds(self) -> list[Integers]:
        """Return the events of each fold."""
        order = np.argsort(self._spans.start, kind="stable")
        return [np.sort(fold) for fold in np.array_split(order, self._folds)]


class CombinatorialPurged:
    """All ways to test `tested` of `groups` folds; Lopez de Prado (2018), 12.4.

    Together they make `paths` walks through the whole time, each tested out of sample.
    """

    def __init__(self, spans: Spans, groups: int, tested: int, embargo: float = 0.01) -> None:
        if not 0 < tested < groups:
            raise ConfigError(f"of {groups} groups between 1 and {groups - 1} can be tested")
        self._kfold = PurgedKFold(spans, groups, embargo)
        self._spans, self._groups, self._tested = spans, groups, tested

    @property
    def paths(self) -> int:
        """Return how many walks the splits make."""
        return comb(self._groups, self._tested) * self._tested // self._groups

    def get_n_splits(self, *_: Any) -> int:
        """Return the number of splits."""
        return comb(self._groups, self._tested)

    def split(self, *_: Any) -> Iterator[Split]:
        """Yield training and test events of each split."""
        for training, tests in self.grouped():
            yield training, np.sort(np.concatenate(tests))

    def grouped(self) -> Iterator[tuple[Integers, list[Integers]]]:
        """Yield the same with the test events of each fold apart."""
        folds = self._kfold.folds()
        for chosen in combinations(range(self._groups), self._tested):
            tests = [folds[g] for g in chosen]
            training = np.arange(len(self._spans.start))
            for test in tests:
                left = purged(self._spans, test, self._kfold.embargo)
                training = np.intersect1d(training, left, assume_unique=True)
            yield training, tests


class WalkForward:
    """Train on all before, test on what follows, `folds` times; what overlaps is purged."""

    def __init__(self, spans: Spans, folds: int) -> None:
        self._kfold = PurgedKFold(spans, folds + 1, 0.0)
        self._spans = spans

    def get_n_splits(self, *_: Any) -> int:
        """Return the number of tests."""
        return self._kfold.get_n_splits() - 1

    def split(self, *_: Any) -> Iterator[Split]:
        """Yield training and test events of each test."""
        folds = self._kfold.folds()
        for tested in folds[1:]:
            begins = self._spans.start[tested].min()
            yield np.flatnonzero(self._spans.end < begins), tested


def purged(spans: Spans, tested: Integers, embargo: int) -> Integers:
    """Return the events that may be trained on when a fold in one piece of time is tested.

    Those that overlap the fold, in part or in whole, are left out, and those that begin within
    `embargo` after it.
    """
    begins, ends = spans.start[tested].min(), spans.end[tested].max()
    allowed = (spans.end < begins) | (spans.start > ends + embargo)
    allowed[tested] = False
    return np.flatnonzero(allowed)


def auc(scores: Floats, won: NDArray[Any], weights: Floats | None = None) -> float:
    """Return the probability that a winner scores higher than a loser; ties count a half."""
    weights = np.ones(len(scores)) if weights is None else weights
    values, at = np.unique(scores, return_inverse=True)
    good = np.bincount(at, weights * (won > 0), len(values))
    bad = np.bincount(at, weights * (won <= 0), len(values))
    total = good.sum() * bad.sum()
    if not total:
        return float("nan")
    below = np.cumsum(bad) - bad
    return float((good * (below + 0.5 * bad)).sum() / total)


def auc_variance(won: float, lost: float) -> float:
    """Return the variance of the area without any skill, where its mean is 1/2.

    `won` and `lost` are numbers of independent events; for labels that overlap, their summed
    uniqueness. Mann and Whitney, Annals of Mathematical Statistics 18 (1947).
    """
    return (won + lost + 1.0) / (12.0 * won * lost)


def pooled_auc(parts: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Return the mean area of several folds, and its standard error without any skill.

    `parts` has each fold's area and its independent winners and losers; both are NaN where no fold
    has some of each. Scores of different models are compared only inside a fold: where a fold won
    more, the model of the others has learnt that less is won, so that the area over all folds at
    once is below 1/2 without any skill. Each area weighs the inverse of its variance: van Elteren,
    Bulletin of the International Statistical Institute 37 (1960).
    """
    known = [(area, auc_variance(won, lost)) for area, won, lost in parts if won > 0 and lost > 0]
    if not known:
        return float("nan"), float("nan")
    areas, variances = np.array(known).T
    total = float((1.0 / variances).sum())
    return float((areas / variances).sum() / total), 1.0 / sqrt(total)


def auc_p_value(area: float, error: float) -> float:
    """Return how likely such an area is without any skill, one-sided; 1 where there is none."""
    if not (error > 0.0 and area == area):  # noqa: PLR0124 - NaN
        return 1.0
    return 1.0 - NORMAL.cdf((area - 0.5) / error)


def expected_best(trials: int, spread: float) -> float:
    """Return the Sharpe ratio that the best of so many trials without skill is expected to have.

    `spread` is the standard deviation of the trials' ratios. Bailey and Lopez de Prado, The
    deflated Sharpe ratio, Journal of Portfolio Management 40 (2014).
    """
    if trials < 2:
        return 0.0
    first, second = NORMAL.inv_cdf(1.0 - 1.0 / trials), NORMAL.inv_cdf(1.0 - exp(-1.0) / trials)
    return spread * ((1.0 - EULER_GAMMA) * first + EULER_GAMMA * second)


def deflated_sharpe(returns: Floats, trials: int, spread: float) -> float:
    """Return the probability that the winner of so many trials is better than luck; see above."""
    return probabilistic_sharpe(returns, expected_best(trials, spread))


def overfitting(returns: NDArray[np.float64], parts: int = 10) -> float:
    """Return the probability of backtest overfitting: how often the best in sample is below median.

    `returns` has a row for each time and a column for each trial. The rows are cut into `parts`,
    every half of which is once the sample. Bailey, Borwein, Lopez de Prado and Zhu, The probability
    of backtest overfitting, Journal of Computational Finance 20 (2017).
    """
    if parts % 2 or parts < 2 or len(returns) < parts or returns.shape[1] < 2:
        raise ConfigError("overfitting needs two trials, and an even number of parts with rows")
    pieces = np.array_split(np.arange(len(returns)), parts)
    below = [_best_is_below_median(returns, pieces, half) for half in _halves(parts)]
    return float(np.mean(below))


def _halves(parts: int) -> Iterator[Sequence[int]]:
    return combinations(range(parts), parts // 2)


def _best_is_below_median(
    returns: NDArray[np.float64], pieces: Sequence[Integers], half: Sequence[int]
) -> bool:
    inside = np.concatenate([pieces[i] for i in half])
    outside = np.concatenate([p for i, p in enumerate(pieces) if i not in half])
    best = int(np.argmax([sharpe(column) for column in returns[inside].T]))
    ratios = np.array([sharpe(column) for column in returns[outside].T])
    rank = (ratios < ratios[best]).sum() + 0.5 * ((ratios == ratios[best]).sum() - 1)
    return bool(rank / (len(ratios) - 1) < 0.5)
