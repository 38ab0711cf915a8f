"""M8, S5: weights of strategies against what can be said without a solver."""

from __future__ import annotations

import numpy as np
import pytest

from onefold.domain.errors import DataError
from onefold.domain.rules import (
    BetSize,
    FixedSize,
    FractionSize,
    NotionalSize,
    RiskSize,
    Sizing,
    VolatilitySize,
)
from onefold.learn.allocation import METHODS, mandates, scaled, weights

CHANCE = np.random.default_rng(2)
CALM, WILD = CHANCE.normal(0, 0.01, 1_000), CHANCE.normal(0, 0.02, 1_000)


@pytest.mark.parametrize("method", METHODS)
def test_shares_are_whole_and_the_calm_gets_more(method: str) -> None:
    found = weights({"calm": CALM, "wild": WILD}, method)  # type: ignore[arg-type]
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["calm"] > found["wild"] > 0
    assert weights({"calm": CALM}, method) == {"calm": 1.0}  # type: ignore[arg-type]


def test_inverse_variance_and_equal_risk_agree_with_their_definitions() -> None:
    found = weights({"calm": CALM, "wild": WILD}, "inverse_variance")
    assert found["calm"] / found["wild"] == pytest.approx(WILD.var() / CALM.var())
    table = {"a": CALM, "b": WILD, "c": CALM + WILD + CHANCE.normal(0, 0.005, 1_000)}
    shares = np.array(list(weights(table, "equal_risk").values()))
    covariance = np.cov(np.column_stack(list(table.values())), rowvar=False)
    parts = shares * (covariance @ shares)
    assert parts / parts.sum() == pytest.approx(np.full(3, 1 / 3), abs=0.01)


def test_risk_parity_by_clusters_halves_what_is_the_same_twice() -> None:
    twin = CALM + CHANCE.normal(0, 1e-4, 1_000)
    found = weights({"calm": CALM, "twin": twin, "other": CHANCE.normal(0, 0.01, 1_000)}, "hrp")
    assert found["calm"] + found["twin"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_the_unit_of_returns_does_not_matter(method: str) -> None:
    found = weights({"calm": CALM, "wild": WILD}, method)  # type: ignore[arg-type]
    tiny = weights({"calm": CALM * 1e-6, "wild": WILD * 1e-6}, method)  # type: ignore[arg-type]
    assert tiny == pytest.approx(found, rel=1e-3)


def test_what_says_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="59 days are too few"):
        weights({"a": CALM[:59], "b": WILD[:59]}, "hrp")
    with pytest.raises(DataError, match="'still' made nothing on any day"):
        weights({"a": CALM, "still": np.zeros(1_000)}, "hrp")


def test_shares_become_mandates_of_the_risk_budget() -> None:
    made = mandates({"a": 0.25, "b": 0.75}, 2.0, 5, 1, "a test")
    assert [(m.strategy, m.value, m.version) for m in made] == [("a", 0.5, 5), ("b", 1.5, 6)]
    assert {m.mandate for m in made} == {"risk_budget"}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (FixedSize(lots=10), FixedSize(lots=3)),
        (FixedSize(lots=2), None),
        (NotionalSize(kind="notional", value=1_000), NotionalSize(kind="notional", value=333.3)),
        (
            FractionSize(kind="fraction", fraction=0.5),
            FractionSize(kind="fraction", fraction=0.1666),
        ),
        (
            VolatilitySize(kind="volatility", target=0.3, fraction_max=1.5),
            VolatilitySize(kind="volatility", target=0.09999, fraction_max=0.5),
        ),
        (
            RiskSize(kind="risk", fraction=0.01),
            RiskSize(kind="risk", fraction=0.003333, fraction_max=0.3333),
        ),
        (
            BetSize(kind="bet", fraction=0.4, step=0.1),
            BetSize(kind="bet", fraction=0.1333, step=0.1),
        ),
    ],
    ids=lambda x: str(x)[:12],
)
def test_a_sizing_is_scaled_and_never_to_more(size: Sizing, expected: Sizing | None) -> None:
    found = scaled(size, 1 / 3)
    if expected is None or found is None:
        assert found is expected
        return
    wanted = {k: v if isinstance(v, str) else pytest.approx(v, rel=2e-3) for k, v in expected}
    assert dict(found) == wanted
    for name, value in found:
        if name not in ("kind", "step"):
            assert value <= getattr(size, name) / 3
