"""How far a number that was measured may be from the truth: one definition for all who judge.

Training judges models by these, and governance strategies that trade. A ratio without its error is
an invitation to act on luck, so the two come together here.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

from onefold.domain.columns import Floats

NORMAL = NormalDist()
LEVEL = 0.95
"""How often an interval contains the truth, unless it says otherwise."""
RETURNS_MIN = 3
"""Returns without which skewness and kurtosis say nothing."""


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


def wilson(won: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of the true share of `won` in `trials`, of which there is at least one.

    Wilson, Probable inference, Journal of the American Statistical Association 22 (1927).
    """
    z = NORMAL.inv_cdf(0.5 + level / 2.0)
    share, weight = won / trials, z * z / trials
    middle = (share + weight / 2.0) / (1.0 + weight)
    half = sqrt(share * (1.0 - share) * weight + weight * weight / 4.0) / (1.0 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)
