"""Every feature, TA-Lib's and ours, obeys the same contract on every kind of market.

`check_feature` proves: stream equals batch, the future does not matter, and where a feature says
that its memory is finite, the far past does not matter; all bit for bit.
"""

from __future__ import annotations

import numpy as np
import pytest
import talib

from onefold.signals import (
    Feature,
    FeatureSet,
    check_feature,
    col,
    fracdiff,
    higher,
    highest,
    hour,
    ibs,
    lag,
    log_return,
    lowest,
    mean,
    minute,
    parkinson,
    raise_for,
    rows_of,
    std,
    ta,
    volatility,
    weekday,
    zscore,
)
from onefold.signals.indicators import EXCLUDED

from .markets import MARKETS, market, same_bits

NEEDS_INPUTS = {"mavp": ("close", ta.ceil(of=ta.rsi(5) / 5.0) + 1.0)}


def _outputs(name: str) -> list[Feature]:
    made = ta(name, of=NEEDS_INPUTS.get(name))
    return [made] if isinstance(made, Feature) else list(made)


OURS = [
    ibs(),
    mean(10),
    std(10),
    zscore(20),
    zscore(5, of="volume"),
    log_return(1),
    log_return(5),
    volatility(20),
    parkinson(10),
    fracdiff(0.4, 1e-2),
    fracdiff(0.4, 1e-2, of=ta.ln(of="close")),
    lag(3),
    highest(20),
    lowest(1),
    hour(),
    minute(),
    weekday(),
]
COMPOSED = [
    ta.sma(5, of=ta.rsi(14)),
    ta.bbands(10, of=ta.rsi(7)).upper,
    ta.ema(9) - ta.ema(21),
    (col.close / ta.sma(20) - 1.0) * 100.0,
    1.0 / (col.close - col.open),
    ta.obv(of=("close", ta.sma(3, of="volume"))),
    ta.atr(5, of=(highest(3), lowest(3), lag(1))),
    zscore(10, of=ta.atr(14) / col.close),
    -lag(2, of=ta.macd(12, 26, 9).histogram),
    ta.sma(3, of=ta.sqrt(of=col.close - ta.sma(10))),
    higher(ta.sma(3), "5m"),
    higher(ta.obv(), "15m"),
    higher(ta.macd(3, 6, 3).signal, "1h"),
    higher(higher(ta.rsi(2), "15m"), "5m"),
    col.close / higher(highest(4), "30m"),
    ta.ema(5, of=higher(ibs(), "5m")),
]


@pytest.mark.parametrize("kind", MARKETS)
@pytest.mark.parametrize("name", ta.functions)
def test_every_ta_function_conforms(name: str, kind: str) -> None:
    for feature in _outputs(name):
        raise_for(check_feature(feature, market(kind), seed=3))


@pytest.mark.parametrize("kind", MARKETS)
@pytest.mark.parametrize("feature", [*OURS, *COMPOSED], ids=lambda f: f.name)
def test_every_feature_of_ours_conforms(feature: Feature, kind: str) -> None:
    raise_for(check_feature(feature, market(kind, rows=900), seed=4))


@pytest.mark.parametrize("kind", MARKETS)
def test_all_features_at_once_are_what_each_is_alone(kind: str) -> None:
    bars = market(kind, rows=300)
    features = [f for name in ta.functions for f in _outputs(name)] + OURS + COMPOSED
    together = FeatureSet(features)
    batch, stream = together.batch(bars), together.stream()
    streamed = np.array([stream.update(row) for row in rows_of(bars)]).T
    assert len(batch) == len(set(features)) == len(streamed)
    for feature, row in zip(together.features, streamed, strict=True):
        assert same_bits(feature.batch(bars), batch[feature.name]), feature
        assert same_bits(row, batch[feature.name]), feature


@pytest.mark.parametrize("kind", MARKETS)
def test_no_feature_is_ever_infinite_and_all_wait_for_their_warm_up(kind: str) -> None:
    bars = market(kind, rows=400)
    features = [f for name in ta.functions for f in _outputs(name)] + OURS + COMPOSED
    for feature in features:
        column = feature.batch(bars)
        assert column.dtype == np.float64
        assert not np.isinf(column).any(), feature
        assert np.isnan(column[: feature.warm_up]).all(), feature


def test_warm_up_is_exact_on_good_data() -> None:
    bars = market("random", rows=400)
    # These two divide by a spread or a count that the first bars do not have.
    for feature in [f for name in ta.functions for f in _outputs(name)] + OURS:
        column = feature.batch(bars)
        if "acos" not in feature.name and "asin" not in feature.name:
            assert not np.isnan(column[feature.warm_up :]).any(), feature


def test_all_of_ta_lib_is_there_but_what_is_excluded_with_a_reason() -> None:
    everything = set(talib.get_functions())  # type: ignore[no-untyped-call]
    assert {name.upper() for name in ta.functions} == everything - set(EXCLUDED)
    assert all(len(reason) > 20 for reason in EXCLUDED.values())


def test_functions_with_a_state_say_that_they_depend_on_the_origin() -> None:
    for name in ("ema", "rsi", "atr", "adx", "obv", "sma", "kama", "sar"):
        assert not _outputs(name)[0].finite, name
    for name in ("max", "mom", "willr", "percentile"):
        assert _outputs(name)[0].finite, name
