"""Features as values: names, identity, arithmetic, sharing, and features that users write."""

from __future__ import annotations

import numpy as np
import pytest

from onefold.domain.columns import Bars
from onefold.domain.errors import ConfigError, SignalError
from onefold.signals import BarRow, Feature, FeatureSet, col, ibs, lag, rows_of, ta, zscore

from .markets import market, same_bits


class Gap(Feature):
    """The open against the close before."""

    warm_up = 1

    def compute(self, bars: Bars) -> np.ndarray:
        """Return the gap as a share."""
        before = np.concatenate([[np.nan], bars.close[:-1]])
        gap: np.ndarray = bars.open / before - 1.0
        return gap


class Rank(Feature):
    """How many of the last n closes are below this one."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.warm_up = n - 1

    def compute(self, bars: Bars) -> np.ndarray:
        """Return the count."""
        windows = np.lib.stride_tricks.sliding_window_view(bars.close, self.n)
        counts = (windows < windows[:, -1:]).sum(axis=1)
        return np.concatenate([np.zeros(self.n - 1), counts])


def test_a_feature_is_known_by_its_name() -> None:
    assert ta.sma(10).name == "sma(close,10)"
    assert ta.sma(10) == ta("SMA", timeperiod=10)
    assert hash(ta.sma(10)) == hash(ta.sma(10))
    assert ta.sma(10) != ta.sma(11)
    assert (ta.sma(5) - ta.sma(7)).name == "(sma(close,5)-sma(close,7))"
    assert lag(2, of=ibs()).name == "lag(ibs,2)"
    assert Rank(4) == Rank(4)
    assert Rank(4) != Rank(5)
    assert Gap() != "Gap()"
    assert repr(Gap()) == "<Gap()>"


def test_arithmetic_is_that_of_numbers_and_never_infinite() -> None:
    bars = market("ticks")
    with np.errstate(all="ignore"):
        expected = 2.0 / (bars.close - bars.open)
    expected[np.isinf(expected)] = np.nan
    assert np.isnan(expected).any()
    assert same_bits((2 / (col.close - col.open)).batch(bars), expected)
    assert same_bits((3 - col.close * 2 + 1).batch(bars), 3 - bars.close * 2 + 1)
    assert same_bits((-col.low).batch(bars), -bars.low)
    assert same_bits((1 + 2.0 * col.high).batch(bars), 1 + 2.0 * bars.high)
    assert same_bits((col.high / 4).batch(bars), bars.high / 4)
    huge = bars._replace(close=np.full(bars.rows, 1e308))
    assert np.isnan((col.close * 10.0).batch(huge)).all()


def test_only_features_and_numbers_combine() -> None:
    with pytest.raises(ConfigError, match="a feature or a number"):
        col.close + "high"  # type: ignore[operator]
    with pytest.raises(ConfigError, match="no column 'clsoe'; did you mean 'close'"):
        ta.sma(10, of="clsoe")
    with pytest.raises(ConfigError, match="a feature or the name of a column, got 5"):
        ta.sma(10, of=5)


def test_what_features_share_is_computed_once() -> None:
    calls = []

    class Counted(Gap):
        def compute(self, bars: Bars) -> np.ndarray:
            calls.append(bars.rows)
            return super().compute(bars)

    bars = market("random", rows=50)
    both = FeatureSet([Counted() * 2.0, Counted() + 1.0, Counted()])
    both.batch(bars)
    assert calls == [50]
    stream = both.stream()
    for row in rows_of(bars):
        stream.update(row)
    assert calls == [50] + [2] * 49
    assert len(FeatureSet([Gap(), Gap()]).names) == 1


def test_two_features_of_one_name_are_refused() -> None:
    class Other(Gap):
        name = "Gap()"

    with pytest.raises(SignalError, match="same name"):
        FeatureSet([Gap(), Other()])


def test_a_users_feature_has_a_stream_over_its_window() -> None:
    bars = market("random", rows=200)
    for feature in (Gap(), Rank(9)):
        stream = feature.stream()
        streamed = [stream.update(row) for row in rows_of(bars)]
        assert same_bits(streamed, feature.batch(bars)), feature
        assert np.isnan(streamed[: feature.warm_up]).all()
        assert not np.isnan(streamed[feature.warm_up :]).any()


def test_a_users_feature_is_unknown_on_too_short_a_history() -> None:
    assert np.isnan(Rank(9).batch(market("random", rows=8))).all()
    assert len(Rank(9).batch(market("random", rows=0))) == 0


def test_a_users_feature_must_give_one_number_per_bar() -> None:
    class Short(Feature):
        def compute(self, bars: Bars) -> np.ndarray:
            return bars.close[1:]

    class Words(Feature):
        def compute(self, bars: Bars) -> np.ndarray:
            return np.array(["a"] * bars.rows)

    bars = market("random", rows=20)
    with pytest.raises(SignalError, match=r"Short\(\): compute must return one number per bar"):
        Short().batch(bars)
    with pytest.raises(SignalError, match="one number per bar"):
        Words().stream().update(rows_of(bars)[0])
    with pytest.raises(SignalError, match="does not define compute"):
        Feature().batch(bars)


def test_a_row_has_the_fields_of_bars() -> None:
    assert BarRow._fields == Bars._fields
    bars = market("gaps", rows=3)
    rows = rows_of(bars)
    assert [row.close for row in rows] == bars.close.tolist()
    assert type(rows[0].ts) is int
    with pytest.raises(SignalError, match="a bar has 10 fields"):
        ibs().stream().update(rows[0][:9])


def test_warm_up_adds_up() -> None:
    assert ta.sma(10).warm_up == 9
    assert ta.sma(5, of=ta.rsi(14)).warm_up == 14 + 4
    assert (ta.sma(5) - ta.sma(30)).warm_up == 29
    assert lag(3, of=zscore(20)).warm_up == 22
    assert not (ta.ema(5) - 1.0).finite
    assert (zscore(5) - 1.0).finite
