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


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "stable"), (0.4, "moved"), (1.0, "changed")])
def test_what_has_moved_is_told(shift: float, verdict: str) -> None:
    values = np.random.default_rng(3).normal(shift, 1.0, 2_000)
    found = drift("x", QUANTILES, values)
    assert found.verdict == verdict
    full = ks_2samp(values, TRAINED)
    assert found.ks == pytest.approx(full.statistic, abs=0.03)


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
    assert drift("x", QUANTILES, np.full(5, np.nan)).verdict == "too few"


def test_the_distance_of_steps_is_that_of_the_full_sample() -> None:
    """Calibrated scores take a few values only; what is the same must not be far from itself."""
    steps = np.random.default_rng(6).choice([0.4, 0.5, 0.55, 0.7], 5_000, p=[0.5, 0.3, 0.15, 0.05])
    quantiles = np.quantile(steps, np.linspace(0, 1, 21)).tolist()
    same = drift("score", quantiles, steps)
    assert (same.verdict, same.ks < 0.01, same.psi < 0.02) == ("stable", True, True)
    other = np.random.default_rng(7).choice([0.4, 0.5, 0.55, 0.7], 5_000, p=[0.2, 0.4, 0.3, 0.1])
    full = ks_2samp(other, steps).statistic
    # What lies between two quantiles of training is not known: the distance is at least this.
    assert full - 0.05 <= drift("score", quantiles, other).ks <= full


def test_values_that_often_repeat_at_an_end_are_stable_against_themselves() -> None:
    """As the internal bar strength, which is 0 at every close at the low."""
    chance = np.random.default_rng(8)
    for share in (0.03, 0.08, 0.14, 0.19, 0.23):
        ends = np.where(chance.random(5_000) < share, 0.0, chance.random(5_000))
        quantiles = np.quantile(ends, np.linspace(0, 1, 21)).tolist()
        same = drift("ibs()", quantiles, ends)
        assert (same.psi < 0.02, same.ks < 0.01) == (True, True)
        more = np.where(chance.random(5_000) < share + 0.2, 0.0, chance.random(5_000))
        assert drift("ibs()", quantiles, more).verdict != "stable"


def test_the_distance_alone_can_tell() -> None:
    """A tail beyond all of training weighs little in the bins and is seen by the distance."""
    values = np.sort(TRAINED)[:2_000] - 10.0
    beyond = np.concatenate([TRAINED, values, values])
    found = drift("x", QUANTILES, beyond)
    assert found.ks == pytest.approx(4_000 / len(beyond), abs=0.01)
    assert (found.psi < 0.25, found.verdict) == (True, "moved")


def test_what_lies_below_a_value_that_repeats_is_seen() -> None:
    """Half of training is 0, and nothing lies below it."""
    chance = np.random.default_rng(9)
    training = np.where(chance.random(4_000) < 0.5, 0.0, chance.random(4_000))
    quantiles = np.quantile(training, np.linspace(0, 1, 21)).tolist()
    values = np.where(chance.random(4_000) < 0.3, -0.1, training)
    found = drift("x", quantiles, values)
    assert found.ks == pytest.approx(ks_2samp(values, training).statistic, abs=0.01)
    assert found.ks == pytest.approx(0.3, abs=0.02)
