"""How much of the account each strategy may use: weights from what each has made by itself.

The weights become mandates of the risk budget, so that they are journaled and can be taken back
like any other decision of governance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Floats
from onefold.domain.errors import DataError, MissingExtra
from onefold.domain.records import Mandate
from onefold.domain.rules import FixedSize, Sizing

Method = Literal["hrp", "inverse_variance", "equal_risk"]
METHODS: tuple[Method, ...] = ("hrp", "inverse_variance", "equal_risk")
DAYS_MIN = 60
"""Days without which a covariance says nothing."""


def weights(returns: Mapping[str, Floats], method: Method) -> dict[str, float]:
    """Return each strategy's share, together 1, from its returns by day.

    `hrp` is hierarchical risk parity (Lopez de Prado, Building diversified portfolios that
    outperform out of sample, Journal of Portfolio Management 42, 2016), `inverse_variance` weighs
    by 1 / variance, `equal_risk` gives all the same share of the variance (Maillard, Roncalli and
    Teiletche, Journal of Portfolio Management 36, 2010). Raises `DataError` for returns that say
    nothing.
    """
    names = list(returns)
    table = np.column_stack([returns[name] for name in names])
    if len(table) < DAYS_MIN:
        raise DataError(
            f"{len(table)} days are too few to weigh strategies by: {DAYS_MIN} at least"
        )
    still = [n for n, column in zip(names, table.T, strict=True) if column.std() == 0.0]
    if still:
        raise DataError(f"strategy {still[0]!r} made nothing on any day: it cannot be weighed")
    if len(names) == 1:
        return {names[0]: 1.0}
    found = _inverse_variance(table) if method == "inverse_variance" else _fitted(table, method)
    return dict(zip(names, (found / found.sum()).tolist(), strict=True))


def _inverse_variance(table: NDArray[np.float64]) -> Floats:
    shares: Floats = 1.0 / table.var(axis=0, ddof=1)
    return shares


def _fitted(table: NDArray[np.float64], method: Method) -> Floats:
    try:
        from skfolio.optimization import (  # type: ignore[import-untyped]  # noqa: PLC0415
            HierarchicalRiskParity,
            RiskBudgeting,
        )
    except ImportError:
        raise MissingExtra(f"method {method}", "learn") from None
    model: Any = HierarchicalRiskParity() if method == "hrp" else RiskBudgeting()
    # Shares do not depend on the unit, and the library takes very small returns for none.
    return np.asarray(model.fit(table * (0.01 / table.std())).weights_, np.float64)


SCALED = ("value", "fraction", "target", "fraction_max")
"""Fields of a sizing that are scaled together: what they give is in proportion to them."""
DIGITS = 4


def scaled(sizing: Sizing, factor: float) -> Sizing | None:
    """Return a sizing that trades `factor` times as much, rounded down; None where it cannot.

    Lots are whole, so that a fixed size can only be scaled down to one.
    """
    if isinstance(sizing, FixedSize):
        lots = int(sizing.lots * factor)
        return sizing.model_copy(update={"lots": lots}) if lots else None
    fields = [name for name in SCALED if name in type(sizing).model_fields]
    changed = {name: _down(getattr(sizing, name) * factor) for name in fields}
    return sizing.model_copy(update=changed)


def _down(value: float) -> float:
    """Return a number with few digits that is not larger."""
    rounded = float(f"{value:.{DIGITS}g}")
    step = 10.0 ** (np.floor(np.log10(value)) - DIGITS + 1)
    return rounded if rounded <= value else float(f"{rounded - step:.{DIGITS}g}")


def mandates(
    shares: Mapping[str, float], gross: float, version: int, ts: int, cause: str
) -> list[Mandate]:
    """Return the mandates that give each strategy its share of a gross exposure of the account."""
    return [
        Mandate(ts, version + n, "risk_budget", share * gross, strategy=name, cause=cause)
        for n, (name, share) in enumerate(shares.items())
    ]
