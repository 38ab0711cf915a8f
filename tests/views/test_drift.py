"""M7: drift is measured against quantiles, and agrees with the full sample."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from onefold.views.drift import drift

TRAINED = np.random.default_rng(1).normal(size=20_000)
QUANTILES = np.quantile(TRAINED, np.linspace(0, 1, 21)).tolist()


def test_what_has_not_moved_is_stable() -> None:
    found = [drift("x", QUANTILES, np.random.default_rng(n).normal(size=400)) for n in range(200)]
    assert {one.verdict for one in found} == {"stable"}
    assert np.mean([one.p_value < 0.05 for one in found]) == pytest.approx(0.05, abs=0.05)


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "stable"), (0.4, "moved"), (1.0, "changed")])
def test_what_has_moved_is_told(shift: float, verdict: str) -> None:
    values = np.random.default_rng(3).normal(shift, 1.0, 2_000)
    found = drift("x", QUANTILES, values)
    assert found.verdict == verdict
    full = ks_2samp(values, TRAINED)
    assert found.ks == pytest.approx(full.statistic, abs=0.03)
    assert (found.p_value < 0.001) == (full.pvalue < 0.001)


def test_the_index_agrees_with_its_definition() -> None:
    values = np.random.default_rng(4).normal(0.3, 1.2, 5_000)
    cuts = np.quantile(TRAINED, np.linspace(0.1, 0.9, 9))
    actual = np.bincount(np.searchsorted(cuts, values), minlength=10) / len(values)
    expected = ((actual - 0.1) * np.log(actual / 0.1)).sum()
    assert drift("x", QUANTILES, values).psi == pytest.approx(expected, rel=0.05)


def test_repeated_values_and_few_of_them() -> None:
    hours = np.random.default_rng(5).integers(0, 3, 6_000).astype(float)
    quantiles = np.quantile(hours, np.linspace(0, 1, 21)).tolist()
    assert drift("hour", quantiles, hours[:2_000]).verdict == "stable"
    assert drift("hour", quantiles, np.full(200, 2.0)).verdict == "changed"
    assert drift("x", QUANTILES, TRAINED[:10]).verdict == "too few"
    assert drift("x", QUANTILES, np.full(5, np.nan)).p_value == 1.0
