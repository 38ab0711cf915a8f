"""The features that TA-Lib lacks: internal bar strength, z-scores, realised volatility and more.

Where a feature can be composed of others it is: then its two forms agree because theirs do. The
few rolling sums are compiled, and the stream calls the very same function on its window. They sum
every window anew, so that nothing drifts and flat prices give exactly zero.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from onefold._compile import njit
from onefold.domain.columns import Floats
from onefold.domain.errors import ConfigError
from onefold.signals.feature import (
    NAN,
    Column,
    Feature,
    Kernel,
    Node,
    as_feature,
    col,
    finite_or_nan,
    inherit,
)
from onefold.signals.indicators import ta

_HOUR_NS = 3_600_000_000_000
_MINUTE_NS = 60_000_000_000
_DAY_NS = 24 * _HOUR_NS


@njit
def _mean_nb(x: Floats, n: int, first: int, out: Floats) -> None:
    for row in range(len(out)):
        total = 0.0
        for k in range(n):
            total += x[first + row + k]
        out[row] = total / n


@njit
def _std_nb(x: Floats, n: int, first: int, out: Floats) -> None:
    for row in range(len(out)):
        start = first + row
        base = x[start]
        total = 0.0
        for k in range(n):
            total += x[start + k] - base
        mean = total / n
        squares = 0.0
        for k in range(n):
            deviation = x[start + k] - base - mean
            squares += deviation * deviation
        out[row] = math.sqrt(squares / (n - 1))


@njit
def _zscore_nb(x: Floats, n: int, first: int, out: Floats) -> None:
    for row in range(len(out)):
        start = first + row
        # Measured from the last value: a flat window then has deviations of exactly zero.
        base = x[start + n - 1]
        total = 0.0
        for k in range(n):
            total += x[start + k] - base
        mean = total / n
        squares = 0.0
        for k in range(n):
            deviation = x[start + k] - base - mean
            squares += deviation * deviation
        spread = math.sqrt(squares / n)
        out[row] = 0.0 if spread == 0.0 else -mean / spread


@njit
def _weighted_nb(x: Floats, weights: Floats, first: int, out: Floats) -> None:
    n = len(weights)
    for row in range(len(out)):
        total = 0.0
        for k in range(n):
            total += weights[k] * x[first + row + k]
        out[row] = total


class _Windowed(Feature):
    """A function of the last n values of one feature; NaN while any of them is unknown."""

    def __init__(self, label: str, of: Feature, n: int) -> None:
        self._label = label
        self._of = of
        self._n = n
        inherit(self, (of,), n - 1)

    @cached_property
    def name(self) -> str:
        """Return function, input and parameters."""
        return f"{self._label.format(of=self._of.name)}"

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Return the feature that the window slides over."""
        return (self._of,)

    def fill(self, x: Floats, first: int, out: Floats) -> None:
        """Write one value per window into `out`, the first window beginning at x[first]."""
        raise NotImplementedError

    def evaluate(self, *columns: Any) -> Any:
        """Return the column."""
        x = np.ascontiguousarray(columns[0])
        out = np.full(len(x), NAN)
        if len(x) >= self._n:
            self.fill(x, 0, out[self._n - 1 :])
        return finite_or_nan(out)

    def open(self) -> Kernel:
        """Return the stream, which keeps the window in a buffer twice its length."""
        n, fill = self._n, self.fill
        buffer, out, end = np.full(max(2 * n, 64), NAN), np.empty(1), n - 1

        def update(value: float) -> float:
            nonlocal end
            if end == len(buffer):
                buffer[: n - 1] = buffer[end - n + 1 : end].copy()
                end = n - 1
            buffer[end] = value
            end += 1
            fill(buffer, end - n, out)
            result = out.item()
            return result if result - result == 0.0 else NAN

        return update


_Rolling = Callable[[Floats, int, int, Floats], None]


class _Rolled(_Windowed):
    def __init__(self, kind: str, function: _Rolling, of: Feature, n: int) -> None:
        super().__init__(f"{kind}({{of}},{n})", of, n)
        self._function = function

    def fill(self, x: Floats, first: int, out: Floats) -> None:
        """Write one value per window into `out`."""
        self._function(x, self._n, first, out)


class _Weighted(_Windowed):
    def __init__(self, label: str, of: Feature, weights: Floats) -> None:
        super().__init__(label, of, len(weights))
        self._weights = weights

    def fill(self, x: Floats, first: int, out: Floats) -> None:
        """Write one value per window into `out`."""
        _weighted_nb(x, self._weights, first, out)


def _bars(function: str, n: object, least: int = 1) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < least:
        raise ConfigError(f"{function}: the number of bars must be at least {least}, got {n!r}")
    return n


def mean(n: int, of: Feature | str = "close") -> Feature:
    """Return the mean of the last n values, each window summed anew."""
    return _Rolled("mean", _mean_nb, as_feature(of), _bars("mean", n))


def std(n: int, of: Feature | str = "close") -> Feature:
    """Return the sample standard deviation (divisor n - 1) of the last n values."""
    return _Rolled("std", _std_nb, as_feature(of), _bars("std", n, 2))


def zscore(n: int, of: Feature | str = "close") -> Feature:
    """Return how many standard deviations (divisor n) the value is from the mean of the last n.

    Zero where the window is flat.
    """
    return _Rolled("zscore", _zscore_nb, as_feature(of), _bars("zscore", n, 2))


def log_return(n: int = 1, of: Feature | str = "close") -> Feature:
    """Return ln(x / x n bars before); NaN where the quotient is not positive."""
    feature = as_feature(of)
    logarithm: Feature = ta.ln(of=feature / lag(n, feature))
    return logarithm


def volatility(n: int, bars_per_year: float = 252.0, of: Feature | str = "close") -> Feature:
    """Return the yearly close-to-close volatility as a share: std of n log returns, annualised.

    `bars_per_year` is how many bars a year of trading has: 252 for daily bars.
    """
    return std(n, log_return(1, of)) * math.sqrt(_positive("volatility", bars_per_year))


def parkinson(n: int, bars_per_year: float = 252.0) -> Feature:
    """Return the yearly volatility from the ranges of n bars: sqrt(mean(ln(high/low)^2) / 4 ln 2).

    Parkinson, The extreme value method for estimating the variance of the rate of return,
    Journal of Business 53 (1980). It uses five times less data than closes for the same precision,
    but does not see gaps between bars.
    """
    years = _positive("parkinson", bars_per_year)
    log_range: Feature = ta.ln(of=col.high / col.low)
    variance = mean(n, log_range * log_range) * (years / (4.0 * math.log(2.0)))
    root: Feature = ta.sqrt(of=variance)
    return root


def _positive(function: str, bars_per_year: float) -> float:
    if not (math.isfinite(bars_per_year) and bars_per_year > 0):
        raise ConfigError(f"{function}: bars_per_year must be positive, got {bars_per_year!r}")
    return bars_per_year


def fracdiff(d: float, threshold: float = 1e-4, of: Feature | str = "close") -> Feature:
    """Return the fractional difference of order d, with a window of fixed width.

    The weights are w_0 = 1, w_k = -w_(k-1) (d - k + 1) / k, dropped from the first one that is
    smaller than `threshold`. Lopez de Prado, Advances in Financial Machine Learning (2018), 5.5.
    """
    if not 0.0 < d < 2.0:
        raise ConfigError(f"fracdiff: the order must be between 0 and 2, got {d!r}")
    if not 1e-6 <= threshold < 1.0:
        raise ConfigError(f"fracdiff: the threshold must be between 1e-6 and 1, got {threshold!r}")
    weights = [1.0]
    while abs(following := -weights[-1] * (d - len(weights) + 1) / len(weights)) >= threshold:
        weights.append(following)
    oldest_first = np.array(weights[::-1])
    return _Weighted(f"fracdiff({{of}},{d},{threshold})", as_feature(of), oldest_first)


class Lag(Feature):
    """The value of a feature n bars ago."""

    def __init__(self, n: int, of: Feature) -> None:
        self._n = n
        self._of = of
        inherit(self, (of,), n)

    @cached_property
    def name(self) -> str:
        """Return the feature and how long ago."""
        return f"lag({self._of.name},{self._n})"

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Return the feature."""
        return (self._of,)

    def evaluate(self, *columns: Any) -> Any:
        """Return the column, moved n bars down."""
        out = np.full(len(columns[0]), NAN)
        out[self._n :] = columns[0][: -self._n]
        return out

    def open(self) -> Kernel:
        """Return the stream."""
        past = deque([NAN] * self._n, maxlen=self._n)

        def update(value: float) -> float:
            before = past[0]
            past.append(value)
            return before

        return update


def lag(n: int, of: Feature | str = "close") -> Feature:
    """Return the value of a feature n bars ago."""
    return Lag(_bars("lag", n), as_feature(of))


def highest(n: int, of: Feature | str = "high") -> Feature:
    """Return the highest value of the n bars before this one."""
    feature = as_feature(of)
    return lag(1, ta.max(n, of=feature) if _bars("highest", n) > 1 else feature)


def lowest(n: int, of: Feature | str = "low") -> Feature:
    """Return the lowest value of the n bars before this one."""
    feature = as_feature(of)
    return lag(1, ta.min(n, of=feature) if _bars("lowest", n) > 1 else feature)


class Ibs(Feature):
    """Internal bar strength: where in its range a bar closed."""

    @cached_property
    def name(self) -> str:
        """Return `ibs`."""
        return "ibs"

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Return high, low and close."""
        return col.high, col.low, col.close

    def evaluate(self, *columns: Any) -> Any:
        """Return the column."""
        high, low, close = columns
        above, spread = close - low, high - low
        with np.errstate(all="ignore"):
            # Adding to `above`, which is zero there, keeps an unknown close unknown.
            out = np.divide(above, spread, out=above + 0.5, where=spread != 0.0)
            return finite_or_nan(out)

    def open(self) -> Kernel:
        """Return the stateless stream."""

        def update(bar: tuple[float, float, float]) -> float:
            high, low, close = bar
            above, spread = close - low, high - low
            value = above / spread if spread != 0.0 else above + 0.5
            return value if value - value == 0.0 else NAN

        return update


def ibs() -> Feature:
    """Return the internal bar strength (close - low) / (high - low); 0.5 where high is low.

    Pagonidis, The IBS effect: mean reversion in equity ETFs (2013).
    """
    return Ibs()


class Calendar(Feature):
    """A field of the time at which the bar closed, in UTC."""

    def __init__(self, label: str, step_ns: int, offset: int, modulus: int) -> None:
        self._label = label
        self._step_ns = step_ns
        self._offset = offset
        self._modulus = modulus

    @cached_property
    def name(self) -> str:
        """Return the field."""
        return self._label

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Return the time of the close."""
        return (Column("ts"),)

    def evaluate(self, *columns: Any) -> Any:
        """Return the column."""
        return ((columns[0] // self._step_ns + self._offset) % self._modulus).astype(np.float64)

    def open(self) -> Kernel:
        """Return the stateless stream."""
        step_ns, offset, modulus = self._step_ns, self._offset, self._modulus
        return lambda ts: float((ts // step_ns + offset) % modulus)


def hour() -> Feature:
    """Return the hour of the close in UTC, 0 to 23."""
    return Calendar("hour", _HOUR_NS, 0, 24)


def minute() -> Feature:
    """Return the minutes since midnight UTC at the close, 0 to 1439."""
    return Calendar("minute", _MINUTE_NS, 0, 1440)


def weekday() -> Feature:
    """Return the day of the week of the close in UTC, Monday 0 to Sunday 6."""
    # 1 January 1970 was a Thursday.
    return Calendar("weekday", _DAY_NS, 3, 7)


__all__ = [
    "fracdiff",
    "highest",
    "hour",
    "ibs",
    "lag",
    "log_return",
    "lowest",
    "mean",
    "minute",
    "parkinson",
    "std",
    "volatility",
    "weekday",
    "zscore",
]
