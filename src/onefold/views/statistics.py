"""How far a number that was measured may be from the truth: one definition for all who judge.

Training judges models by these, and governance strategies that trade. A ratio without its error is
an invitation to act on luck, so the two come together here.
"""

from __future__ import annotations

from math import copysign, log1p, sqrt
from statistics import NormalDist

import numpy as np

from onefold.domain.columns import Floats

NORMAL = NormalDist()
LEVEL = 0.95
"""How often an interval contains the truth, unless it says otherwise."""
RETURNS_MIN = 3
"""Returns without which skewness and kurtosis say nothing."""
VARIATION_MIN = 1e-12
"""Spread, as a share of the largest return, below which there is none but rounding."""


def sharpe(returns: Floats) -> float:
    """Return the Sharpe ratio of returns for each of them, not annualised; 0 without spread."""
    spread = returns.std(ddof=1) if len(returns) > 1 else 0.0
    return float(returns.mean() / spread) if spread > 0 else 0.0


def sharpe_error(returns: Floats) -> float | None:
    """Return the standard error of that ratio; None for too few returns, or without spread.

    Lo, The statistics of Sharpe ratios, Financial Analysts Journal 58 (2002), has it for normal
    returns; Mertens, Comments on variance of the IID estimator in Lo (2002), with the skewness and
    kurtosis of others. As Bailey and Lopez de Prado (2012) have it, over n - 1.
    """
    n = len(returns)
    if n < RETURNS_MIN or returns.std() == 0.0:
        return None
    ratio = sharpe(returns)
    z = (returns - returns.mean()) / returns.std()
    skew, kurtosis = float((z**3).mean()), float((z**4).mean())
    variance = max(1e-12, 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio**2)
    return sqrt(variance / (n - 1.0))


def probabilistic_sharpe(returns: Floats, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio is above a benchmark; both for each return.

    It is 0 where there is no error to compare with. Bailey and Lopez de Prado, The Sharpe ratio
    efficient frontier, Journal of Risk 15 (2012).
    """
    error = sharpe_error(returns)
    return 0.0 if error is None else NORMAL.cdf((sharpe(returns) - benchmark) / error)


def p_value(returns: Floats, benchmark: float = 0.0) -> float | None:
    """Return how likely such a mean is where the true one is not above zero; None if undefined.

    The larger of two one-sided tests, since neither alone holds its level everywhere: Student's t,
    and the probabilistic Sharpe ratio, which knows of skewness and fat tails. A loss as large as
    the largest gain or loss is added before, for the one that has not been seen yet: many small
    gains say little about a rare large loss, and one large gain says nothing. With a `benchmark`
    the null is a true Sharpe ratio, for each return, that is not above it.
    """
    if len(returns) < RETURNS_MIN or not np.isfinite(returns).all():
        return None
    sample = np.append(returns, -np.abs(returns).max())
    scale = float(np.abs(sample).max())
    if scale == 0.0 or float(sample.std(ddof=1)) <= VARIATION_MIN * scale:
        return None
    return max(_p_student(sample, benchmark), 1.0 - probabilistic_sharpe(sample, benchmark))


def _p_student(sample: Floats, benchmark: float) -> float:
    """Return the p-value by Student's t, turned into a normal one (Wallace, 1959)."""
    n = len(sample)
    t = (sharpe(sample) - benchmark) * sqrt(n)
    df = n - 1
    z = (8 * df + 1) / (8 * df + 3) * sqrt(df * log1p(t * t / df))
    return 1.0 - NORMAL.cdf(copysign(z, t))


def level_of(alpha: float, look: int) -> float:
    """Return the level of the k-th look: alpha / (k (k + 1)), which adds up to alpha in all."""
    return alpha / (look * (look + 1))


def wilson(won: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of the true share of `won` in `trials`, of which there is at least one.

    Wilson, Probable inference, Journal of the American Statistical Association 22 (1927).
    """
    z = NORMAL.inv_cdf(0.5 + level / 2.0)
    share, weight = won / trials, z * z / trials
    middle = (share + weight / 2.0) / (1.0 + weight)
    half = sqrt(share * (1.0 - share) * weight + weight * weight / 4.0) / (1.0 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)
