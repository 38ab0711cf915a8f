"""Slow and plain ways to what research computes fast, written from the definitions alone."""

from __future__ import annotations

from itertools import pairwise
from math import log
from typing import Any

import numpy as np


def barrier_trade(
    bars: list[tuple[float, float, float, float]],
    row: int,
    side: int,
    *,
    stop: float,
    take: float,
    max_bars: int,
) -> tuple[int, float] | None:
    """Return the bar and the gain of a trade that is entered at the open after a row's close.

    Its stop and target lie by shares from the entry and are watched at each close: a bar that
    touched one is left at the next open, the stop first. After `max_bars` it is left as well.
    """
    if row + 1 >= len(bars):
        return None
    entry = bars[row + 1][0]
    low_barrier, high_barrier = entry * (1 - side * stop), entry * (1 + side * take)
    for held, n in enumerate(range(row + 1, len(bars)), 1):
        _, high, low, _ = bars[n]
        worst, best = (low, high) if side > 0 else (high, low)
        stopped = worst * side <= low_barrier * side
        taken = best * side >= high_barrier * side
        if stopped or taken or held >= max_bars:
            if n + 1 >= len(bars):
                return None
            left = bars[n + 1][0]
            return n + 1, side * (left - entry) / entry
    return None


def cusum(closes: list[float], threshold: float) -> list[int]:
    """Return the rows at which the filter fires."""
    up = down = 0.0
    found = []
    for row, (before, after) in enumerate(pairwise(closes), 1):
        change = log(after / before)
        up, down = max(0.0, up + change), min(0.0, down + change)
        if up >= threshold or down <= -threshold:
            found.append(row)
            up = down = 0.0
    return found


def uniqueness(spans: list[tuple[int, int]]) -> list[float]:
    """Return each label's mean share of the bars in which it is made, after its event."""
    found = []
    for row, end in spans:
        shares = [
            1.0 / sum(other < bar <= last for other, last in spans)
            for bar in range(row + 1, end + 1)
        ]
        found.append(sum(shares) / len(shares) if shares else 1.0)
    return found


def area(scores: list[float], won: list[int], weights: list[float]) -> float:
    """Return the share of pairs of a winner and a loser that are in the right order."""
    right = total = 0.0
    for s, w, a in zip(scores, won, weights, strict=True):
        for t, v, b in zip(scores, won, weights, strict=True):
            if w > v:
                total += a * b
                right += a * b * (1.0 if s > t else 0.5 if s == t else 0.0)
    return right / total


def fracdiff(values: list[float], d: float, threshold: float) -> list[float | None]:
    """Return the fractional difference by its definition, with a window of fixed width."""
    weights = [1.0]
    k = 1
    while True:
        weight = -weights[-1] * (d - k + 1) / k
        if abs(weight) < threshold:
            break
        weights.append(weight)
        k += 1
    width = len(weights)
    rows = range(width - 1, len(values))
    known = [sum(w * values[row - i] for i, w in enumerate(weights)) for row in rows]
    return [*[None] * (width - 1), *known]


def trend_t(closes: list[float], row: int, horizon: int) -> tuple[int, float]:
    """Return the end and the t-value of the most significant trend from a row on."""
    best: tuple[int, float] = (row, 0.0)
    for bars in range(3, horizon + 1):
        y = np.array(closes[row : row + bars + 1])
        x = np.arange(len(y), dtype=float)
        design = np.column_stack([np.ones(len(y)), x])
        coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
        rest: Any = y - design @ coefficients
        error = (rest @ rest / (len(y) - 2) / ((x - x.mean()) ** 2).sum()) ** 0.5
        t = float(coefficients[1] / error)
        if abs(t) > abs(best[1]):
            best = (row + bars, t)
    return best
