"""Our own features against their formulas, written plainly."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from onefold.domain.columns import Bars
from onefold.domain.errors import ConfigError
from onefold.signals import (
    Feature,
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
    std,
    volatility,
    weekday,
    zscore,
)

from .markets import market, same_bits

BARS = market("random", rows=120)


def _windows(column: np.ndarray, n: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(column, n)


def _close_to(feature: Feature, expected: np.ndarray) -> None:
    column = feature.batch(BARS)
    start = len(column) - len(expected)
    assert start == feature.warm_up
    assert np.isnan(column[:start]).all()
    np.testing.assert_allclose(column[start:], expected, rtol=1e-9, atol=1e-12)


def test_rolling_statistics() -> None:
    windows = _windows(BARS.close, 10)
    _close_to(mean(10), windows.mean(axis=1))
    _close_to(std(10), windows.std(axis=1, ddof=1))
    _close_to(zscore(10), (windows[:, -1] - windows.mean(axis=1)) / windows.std(axis=1))


def test_a_flat_window_gives_exactly_zero() -> None:
    still = BARS._replace(close=np.full(BARS.rows, 0.1))
    assert (zscore(10).batch(still)[9:] == 0.0).all()
    assert (std(10).batch(still)[9:] == 0.0).all()
    assert (volatility(10).batch(still)[10:] == 0.0).all()


def test_rolling_sums_do_not_drift_and_recover_from_an_unknown_value() -> None:
    close = BARS.close.copy()
    close[20], close[30] = 1e15, np.nan
    column = zscore(5).batch(BARS._replace(close=close))
    assert np.isnan(column[30:35]).all()
    assert same_bits(column[35:], zscore(5).batch(BARS)[35:])


def test_columns_may_be_read_only_or_strided() -> None:
    spread = Bars._make(np.repeat(column, 2)[::2] for column in BARS)
    frozen = Bars._make(column.copy() for column in BARS)
    for column in frozen:
        column.flags.writeable = False
    for feature in (zscore(5), fracdiff(0.5, 0.03), ibs(), higher(mean(3), "5m"), lag(2)):
        expected = feature.batch(BARS)
        assert same_bits(feature.batch(spread), expected), feature
        assert same_bits(feature.batch(frozen), expected), feature


def test_returns_and_volatilities() -> None:
    returns = np.diff(np.log(BARS.close))
    _close_to(log_return(1), returns)
    _close_to(log_return(4), np.log(BARS.close[4:] / BARS.close[:-4]))
    _close_to(volatility(20, 365), _windows(returns, 20).std(axis=1, ddof=1) * math.sqrt(365))
    squares = np.log(BARS.high / BARS.low) ** 2
    expected = np.sqrt(_windows(squares, 10).mean(axis=1) / (4 * math.log(2)) * 252)
    _close_to(parkinson(10), expected)


def test_a_return_from_or_to_a_negative_price_is_unknown() -> None:
    close = np.array([1.0, -1.0, -2.0, 2.0, 0.0, 3.0])
    bars = market("random", rows=6)._replace(close=close)
    expected = [math.nan, math.nan, math.log(2.0), math.nan, math.nan, math.nan]
    np.testing.assert_allclose(log_return(1).batch(bars), expected)


def test_fractional_difference_is_between_the_price_and_its_change() -> None:
    # AFML 5.4: the weights of d = 0.5 begin 1, -1/2, -1/8, -1/16, -5/128.
    feature = fracdiff(0.5, 0.03)
    weights = np.array([-5 / 128, -1 / 16, -1 / 8, -1 / 2, 1.0])
    assert feature.warm_up == 4
    _close_to(feature, _windows(BARS.close, 5) @ weights)
    _close_to(fracdiff(1.0), np.diff(BARS.close))


def test_channels_leave_the_current_bar_out() -> None:
    _close_to(highest(5), _windows(BARS.high, 5).max(axis=1)[:-1])
    _close_to(lowest(5), _windows(BARS.low, 5).min(axis=1)[:-1])
    _close_to(highest(1), BARS.high[:-1])
    _close_to(lag(3), BARS.close[:-3])


def test_internal_bar_strength() -> None:
    bars = market("random", rows=4)._replace(
        high=np.array([4.0, 2.0, 2.0, 2.0]),
        low=np.array([0.0, 2.0, 2.0, 1.0]),
        close=np.array([1.0, 2.0, np.nan, np.nan]),
    )
    np.testing.assert_array_equal(ibs().batch(bars), [0.25, 0.5, np.nan, np.nan])


def test_calendar_is_utc_of_the_close() -> None:
    bars = market("gaps", rows=400, step_ns=3_700_000_000_000)
    times = [datetime.fromtimestamp(ts / 1e9, UTC) for ts in bars.ts]
    assert hour().batch(bars).tolist() == [t.hour for t in times]
    assert weekday().batch(bars).tolist() == [t.weekday() for t in times]
    assert minute().batch(bars).tolist() == [t.hour * 60 + t.minute for t in times]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean(0), "mean: the number of bars must be at least 1, got 0"),
        (lambda: zscore(1), "at least 2"),
        (lambda: lag(2.0), "got 2.0"),  # type: ignore[arg-type]
        (lambda: volatility(20, 0.0), "bars_per_year must be positive"),
        (lambda: fracdiff(-0.1), "order must be between 0 and 2"),
        (lambda: fracdiff(0.5, 0.0), "threshold must be between"),
    ],
)
def test_mistakes_are_explained(call: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()  # type: ignore[operator]
