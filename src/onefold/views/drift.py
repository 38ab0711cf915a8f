"""Whether a model still sees what it was trained on: drift of its features and its scores.

Two measures, both against the quantiles that the sidecar keeps. The population stability index
sums (a - e) ln(a / e) over bins of equal share e in training; by custom below 0.1 nothing has
changed, and above 0.25 much has (Siddiqi, Credit Risk Scorecards, 2006). The statistic of
Kolmogorov and Smirnov is the largest distance between both distributions.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, sqrt
from typing import NamedTuple

import numpy as np

from onefold.domain.columns import Floats

BINS = 10
STABLE, CHANGED = 0.1, 0.25
LEAST = 50
"""Values without which nothing can be said."""


class Drift(NamedTuple):
    """How far one column has moved: both measures, and how likely such a distance is by chance."""

    name: str
    values: int
    psi: float
    ks: float
    p_value: float

    @property
    def verdict(self) -> str:
        """Return in a word what the index says."""
        if self.values < LEAST:
            return "too few"
        return "stable" if self.psi < STABLE else "moved" if self.psi < CHANGED else "changed"


def drift(name: str, quantiles: Sequence[float], values: Floats) -> Drift:
    """Return the drift of values against quantiles in even steps from 0 to 1."""
    known = values[np.isfinite(values)]
    edges = np.asarray(quantiles, np.float64)
    if not len(known) or len(edges) < 2:
        return Drift(name, len(known), 0.0, 0.0, 1.0)
    distance = _ks(edges, known)
    return Drift(name, len(known), _psi(edges, known), distance, _p_value(distance, len(known)))


def _psi(edges: Floats, values: Floats) -> float:
    shares = np.linspace(0.0, 1.0, len(edges))
    cuts = np.unique(np.interp(np.linspace(0, 1, BINS + 1)[1:-1], shares, edges))
    # Where values repeat, bins are not of equal share: what training put into each is looked up.
    below = np.interp(cuts, *_ascending(edges, shares))
    expected = np.diff(np.r_[0.0, below, 1.0])
    actual = np.bincount(np.searchsorted(cuts, values, side="left"), minlength=len(cuts) + 1)
    share = np.maximum(actual / len(values), 0.5 / len(values))
    floor = np.maximum(expected, 0.5 / len(values))
    return float(((share - floor) * np.log(share / floor)).sum())


def _ascending(edges: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """Return quantiles without repetitions, each with the largest share at or below it."""
    last = np.r_[np.diff(edges) > 0, True]
    return edges[last], shares[last]


def _ks(edges: Floats, values: Floats) -> float:
    ordered = np.sort(values)
    steps = np.linspace(0.0, 1.0, len(edges))
    below = np.interp(ordered, *_ascending(edges, steps), left=0.0, right=1.0)
    n = len(ordered)
    above = np.arange(1, n + 1) / n - below
    under = below - np.arange(n) / n
    return float(max(above.max(), under.max(), 0.0))


def _p_value(distance: float, n: int) -> float:
    """Return the probability of such a distance by chance: Kolmogorov's limit, for large n."""
    x = distance * (sqrt(n) + 0.12 + 0.11 / sqrt(n))
    if x < 0.2:
        return 1.0
    terms = [(-1) ** (k - 1) * exp(-2.0 * k * k * x * x) for k in range(1, 101)]
    return float(np.clip(2.0 * sum(terms), 0.0, 1.0))
