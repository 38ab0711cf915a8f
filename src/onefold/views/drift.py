"""Whether a model still sees what it was trained on: drift of its features and its scores.

Two measures, both against the quantiles that the sidecar keeps. The population stability index
sums (a - e) ln(a / e) over bins of equal share e in training; by custom below 0.1 nothing has
changed, and above 0.25 much has (Siddiqi, Credit Risk Scorecards, 2006). The statistic of
Kolmogorov and Smirnov is the largest distance between both distributions. Neither is given a
p-value: bars that follow each other say much the same, so that nobody knows how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from onefold.domain.columns import Floats

BINS = 10
PSI_STABLE, PSI_CHANGED = 0.1, 0.25
KS_STABLE, KS_CHANGED = 0.1, 0.2
LEAST = 200
"""Values without which nothing can be said: of fewer, chance alone lets the index reach 0.1."""


class Drift(NamedTuple):
    """How far one column has moved, by both measures."""

    name: str
    values: int
    psi: float
    ks: float

    @property
    def verdict(self) -> str:
        """Return in a word what the worse of both says: stable, moved, changed, or too few."""
        if self.values < LEAST:
            return "too few"
        if self.psi < PSI_STABLE and self.ks < KS_STABLE:
            return "stable"
        return "moved" if self.psi < PSI_CHANGED and self.ks < KS_CHANGED else "changed"


def drift(name: str, quantiles: Sequence[float], values: Floats) -> Drift:
    """Return the drift of values against quantiles in even steps from 0 to 1."""
    known = values[np.isfinite(values)]
    edges = np.asarray(quantiles, np.float64)
    if not len(known) or len(edges) < 2:
        return Drift(name, len(known), 0.0, 0.0)
    return Drift(name, len(known), _psi(edges, known), _ks(edges, known))


def _psi(edges: Floats, values: Floats) -> float:
    shares, ordered = np.linspace(0.0, 1.0, len(edges)), np.sort(values)
    cuts = np.unique(np.interp(np.linspace(0, 1, BINS + 1)[1:-1], shares, edges))
    # Where values repeat, bins are not of equal share: what training put into each is looked up.
    known = np.interp(cuts, *_ascending(edges, shares))
    up_to = np.searchsorted(ordered, cuts, side="right") / len(values)
    repeats = up_to * len(values) - np.searchsorted(ordered, cuts, side="left") > 1
    # Of a value that repeats, training's share up to it lies anywhere before the next quantile:
    # what cannot be told apart from no change is none.
    unsure = np.clip(up_to, known, np.minimum(1.0, known + 1.0 / (len(edges) - 1)))
    expected = np.diff(np.r_[0.0, np.where(repeats, unsure, known), 1.0])
    actual = np.diff(np.r_[0.0, up_to, 1.0])
    share = np.maximum(actual, 0.5 / len(values))
    floor = np.maximum(expected, 0.5 / len(values))
    return float(((share - floor) * np.log(share / floor)).sum())


def _ascending(edges: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """Return quantiles without repetitions, each with the largest share at or below it."""
    last = np.r_[np.diff(edges) > 0, True]
    return edges[last], shares[last]


def _ks(edges: Floats, values: Floats) -> float:
    """Return the largest distance at the quantiles, where training's distribution is known.

    A value that repeats is a jump of both distributions: below it the share that training had below
    counts, the first of the equal quantiles, and up to it the last.
    """
    ordered, shares = np.sort(values), np.linspace(0.0, 1.0, len(edges))
    below = np.searchsorted(ordered, edges, side="left") / len(ordered)
    up_to = np.searchsorted(ordered, edges, side="right") / len(ordered)
    first = shares[np.searchsorted(edges, edges, side="left")]
    last = shares[np.searchsorted(edges, edges, side="right") - 1]
    return float(max((below - first).max(), (last - up_to).max(), 0.0))
