"""Metrics against empyrical, and the corners where a ratio has no value."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import empyrical  # type: ignore[import-untyped]
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.words import Purpose
from onefold.views.metrics import Metrics, TradeStats, exposure, metrics, stats_by, trade_stats
from onefold.views.trades import round_trips

from .worlds import DAY_NS, MONDAY_NS, STRATEGIES, fills_of, share

CASH = 100_000.0
INSTRUMENTS = (share("ABC", multiplier=10.0), share("XYZ"))
REPOSITORY = Path(__file__).parents[2]
SHARED = Path(os.environ.get("ONEFOLD_SHARED_DATA", REPOSITORY / ".." / "shared" / "data"))


def weekdays(count: int) -> np.ndarray:
    """Return the closes, at 21:00 UTC, of so many days from Monday to Friday."""
    days = np.arange(count)
    return MONDAY_NS + (days // 5 * 7 + days % 5) * DAY_NS + 21 * DAY_NS // 24


def of_curve(ts: np.ndarray, equity: np.ndarray, fills: np.ndarray | None = None) -> Metrics:
    fills = fills_of() if fills is None else fills
    return metrics(
        ts,
        np.asarray(equity, np.float64),
        cash=CASH,
        currency="USD",
        trades=round_trips(fills, INSTRUMENTS, STRATEGIES),
        fills=fills,
        instruments=INSTRUMENTS,
    )


def assert_equals_empyrical(m: Metrics, returns: np.ndarray) -> None:
    year = {"annualization": m.periods_per_year}
    expected = {
        "total_return": empyrical.cum_returns_final(returns),
        "cagr": empyrical.annual_return(returns, **year),
        "volatility": empyrical.annual_volatility(returns, **year),
        "sharpe": empyrical.sharpe_ratio(returns, **year),
        "sortino": empyrical.sortino_ratio(returns, **year),
        "calmar": empyrical.calmar_ratio(returns, **year),
        "max_drawdown": empyrical.max_drawdown(returns),
        "best_day": returns.max(),
        "worst_day": returns.min(),
    }
    for name, value in expected.items():
        # The curve is 1 plus the return: its rounding is relative to 1, not to the return.
        assert getattr(m, name) == pytest.approx(value, rel=1e-12, abs=1e-13), name


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("saturdays", [False, True])
def test_ratios_equal_empyrical_on_random_returns(seed: int, saturdays: bool) -> None:
    rng = np.random.default_rng(seed)
    returns = rng.standard_t(4, 1_000) * 0.01
    every_day = MONDAY_NS + (np.arange(1_000) + 1) * DAY_NS
    ts = every_day if saturdays else weekdays(1_000)
    m = of_curve(ts, CASH * np.cumprod(1.0 + returns))
    assert m.periods_per_year == (365 if saturdays else 252)
    assert_equals_empyrical(m, returns)


def test_ratios_equal_empyrical_on_the_s_and_p_500() -> None:
    path = SHARED / "pypi_arch" / "sp500_daily.parquet"
    if not path.is_file():
        pytest.skip(f"no shared market data at {SHARED} (set ONEFOLD_SHARED_DATA)")
    frame = pl.read_parquet(path)
    ts = frame["ts"].cast(pl.Datetime("ns")).to_physical().to_numpy() + 21 * DAY_NS // 24
    close = frame["Close"].to_numpy()
    m = of_curve(ts, CASH * close / close[0])
    assert m.periods_per_year == 252
    assert_equals_empyrical(m, np.diff(close, prepend=close[0]) / np.append(close[0], close[:-1]))
    assert str(m.max_drawdown_start) == "2007-10-09"
    assert str(m.max_drawdown_low) == "2009-03-09"
    assert str(m.max_drawdown_end) == "2013-03-28"
    assert m.max_drawdown_days == 1_997


def test_no_bars_give_none_and_not_nan() -> None:
    m = of_curve(np.array([], np.int64), np.array([]))
    assert (m.start, m.end, m.days) == (None, None, 0)
    assert (m.equity_end, m.total_return, m.max_drawdown) == (CASH, 0.0, 0.0)
    for name in ("cagr", "volatility", "sharpe", "sortino", "calmar", "exposure", "turnover"):
        assert getattr(m, name) is None, name
    assert m.best_day is None
    assert m.trades == TradeStats(0, 0.0, 0.0, None, None, None, None, None, None, None, None)


def test_one_bar_has_a_return_but_no_spread_and_no_time() -> None:
    m = of_curve(weekdays(1), np.array([CASH * 1.01]))
    assert m.total_return == pytest.approx(0.01)
    assert m.cagr == pytest.approx(1.01**252 - 1)
    assert (m.volatility, m.sharpe, m.sortino, m.exposure) == (None, None, None, None)


def test_flat_equity_has_zero_volatility_and_no_ratios() -> None:
    m = of_curve(weekdays(30), np.full(30, CASH))
    assert (m.volatility, m.cagr, m.total_return) == (0.0, 0.0, 0.0)
    assert (m.sharpe, m.sortino, m.calmar) == (None, None, None)
    assert (m.max_drawdown_start, m.max_drawdown_days) == (None, 0)


def test_equal_daily_gains_have_no_sharpe_though_rounding_varies_them() -> None:
    m = of_curve(weekdays(30), CASH * 1.01 ** np.arange(1, 31))
    assert m.volatility == pytest.approx(0.0, abs=1e-12)
    assert (m.sharpe, m.sortino, m.calmar) == (None, None, None)


def test_equity_that_ends_at_zero_lost_everything() -> None:
    m = of_curve(weekdays(3), np.array([CASH, CASH / 2, 0.0]))
    assert (m.total_return, m.cagr, m.max_drawdown) == (-1.0, -1.0, -1.0)
    assert m.worst_day == -1.0
    assert m.sharpe is not None
    assert m.turnover == 0.0


def test_equity_below_zero_has_no_growth_rate_and_no_ratios_after_it() -> None:
    m = of_curve(weekdays(4), np.array([CASH, -CASH, CASH, -CASH]))
    assert m.total_return == -2.0
    assert m.max_drawdown == -2.0
    for name in ("cagr", "volatility", "sharpe", "sortino", "calmar", "best_day", "turnover"):
        assert getattr(m, name) is None, name


def test_growth_too_large_for_a_number_is_none() -> None:
    assert of_curve(weekdays(1), np.array([CASH * 1e9])).cagr is None


def test_drawdown_names_its_days_and_sees_inside_the_day() -> None:
    ts = np.sort(np.concatenate((weekdays(6), weekdays(6)[2:3] - DAY_NS // 2)))
    equity = np.array([100.0, 120.0, 60.0, 90.0, 110.0, 125.0, 100.0]) * 1_000
    m = of_curve(ts, equity)
    assert m.max_drawdown == pytest.approx(-0.25)
    assert m.max_drawdown_bars == pytest.approx(-0.5)
    assert str(m.max_drawdown_start) == "2020-01-07"
    assert str(m.max_drawdown_low) == "2020-01-08"
    assert str(m.max_drawdown_end) == "2020-01-10"
    assert m.max_drawdown_days == 3


def test_drawdown_begins_at_the_last_of_equal_highs_and_ends_exactly_at_it() -> None:
    m = of_curve(weekdays(6), CASH * np.array([1.2, 1.1, 1.2, 0.6, 1.2, 1.3]))
    assert str(m.max_drawdown_start) == "2020-01-08"
    assert str(m.max_drawdown_low) == "2020-01-09"
    assert str(m.max_drawdown_end) == "2020-01-10"


def test_turnover_is_in_the_base_currency() -> None:
    fills = fills_of({"price": -20.0, "qty": 3, "rate": 1.5})
    value = 20 * 3 * 10 * 1.5
    assert of_curve(weekdays(2), np.full(2, CASH), fills).turnover == value / CASH * 126


def test_drawdown_that_does_not_recover_lasts_to_the_end() -> None:
    m = of_curve(weekdays(4), CASH * np.array([0.9, 0.8, 0.85, 0.9]))
    assert m.max_drawdown == pytest.approx(-0.2)
    assert str(m.max_drawdown_start) == "2020-01-06"
    assert m.max_drawdown_end is None
    assert m.max_drawdown_days == 3


def two_days_of_trades() -> np.ndarray:
    hour = DAY_NS // 24
    return fills_of(
        {"ts": MONDAY_NS + 6 * hour, "price": 100.0, "qty": 2, "fee": 3.0},
        {"ts": MONDAY_NS + 8 * hour, "price": 50.0, "instrument": 1, "side": -1},
        {"ts": MONDAY_NS + 9 * hour, "price": 110.0, "qty": 2, "side": -1, "purpose": 3},
        {"ts": MONDAY_NS + 12 * hour, "price": 60.0, "instrument": 1, "purpose": 2, "fee": 1.0},
        {"ts": MONDAY_NS + 18 * hour, "price": 10.0, "instrument": 1, "strategy": 1},
    )


def test_trades_fees_exposure_and_turnover() -> None:
    fills = two_days_of_trades()
    ts = np.array([MONDAY_NS, MONDAY_NS + DAY_NS])
    m = of_curve(ts, np.array([CASH, CASH]), fills)
    assert m.fees == 4.0
    assert (m.fills, m.open_trades) == (5, 1)
    assert m.trades.trades == 2
    assert m.trades.pnl == pytest.approx(200 - 3 - 10 - 1)
    assert m.trades.win_rate == 0.5
    assert m.trades.profit_factor == pytest.approx(197 / 11)
    assert (m.trades.average_win, m.trades.average_loss) == (197.0, -11.0)
    assert m.trades.expectancy == 93.0
    assert m.trades.average_duration_s == 3.5 * 3600
    assert (m.long.trades, m.short.trades) == (1, 1)
    assert (m.long.pnl, m.short.pnl) == (197.0, -11.0)
    assert m.long.profit_factor is None
    # 6 to 12 o'clock held by two trades that overlap, then 18 to 24 o'clock by the open one.
    assert m.exposure == pytest.approx(0.5)
    # Midnight of Monday is Sunday's, which is counted to Monday: one day of 252.
    assert m.days == 1
    value = 2 * 100 * 10 + 50 + 2 * 110 * 10 + 60 + 10
    assert m.turnover == pytest.approx(value / CASH * 252)


def test_exposure_counts_a_trade_inside_another_once() -> None:
    hour = DAY_NS // 24
    fills = fills_of(
        {"ts": MONDAY_NS + 2 * hour},
        {"ts": MONDAY_NS + 4 * hour, "instrument": 1},
        {"ts": MONDAY_NS + 5 * hour, "instrument": 1, "side": -1},
        {"ts": MONDAY_NS + 8 * hour, "side": -1},
    )
    trades = round_trips(fills, INSTRUMENTS, STRATEGIES)
    assert exposure(np.array([MONDAY_NS, MONDAY_NS + 12 * hour]), trades) == pytest.approx(0.5)


def test_statistics_by_name_list_every_name_in_order() -> None:
    trades = round_trips(two_days_of_trades(), INSTRUMENTS, STRATEGIES)
    by_symbol = stats_by(trades, "symbol", ["ABC", "XYZ", "IDLE"])
    assert by_symbol["symbol"].to_list() == ["ABC", "XYZ", "IDLE"]
    assert by_symbol["trades"].to_list() == [1, 1, 0]
    assert by_symbol["pnl"].to_list() == [197.0, -11.0, 0.0]
    assert by_symbol["open_trades"].to_list() == [0, 1, 0]
    assert by_symbol["win_rate"].to_list() == [1.0, 0.0, None]
    assert stats_by(trades, "strategy", []).is_empty()


@settings(deadline=None)  # the first call may compile
@given(st.lists(st.integers(-500, 500), max_size=30))
def test_trade_statistics_fit_together(points: list[int]) -> None:
    rows: list[dict[str, Any]] = []
    for gain in points:
        rows.append({"price": 100.0})
        rows.append({"price": 100.0 + gain / 4, "side": -1, "purpose": Purpose.SIGNAL})
    s = trade_stats(round_trips(fills_of(*rows), INSTRUMENTS[1:], STRATEGIES).closed)
    assert s.trades == len(points)
    assert s.pnl == sum(points) / 4
    if points:
        assert s.expectancy == pytest.approx(s.pnl / s.trades)
        assert s.best == max(points) / 4
        assert s.win_rate == sum(p > 0 for p in points) / len(points)
    if any(p < 0 for p in points):
        gains = sum(p for p in points if p > 0)
        assert s.profit_factor == pytest.approx(gains / -sum(p for p in points if p < 0))
    else:
        assert s.profit_factor is None


def test_dictionary_is_plain_json_without_nan() -> None:
    m = of_curve(weekdays(2), np.array([CASH, CASH]))
    text = json.dumps(m.as_dict(), allow_nan=False)
    assert json.loads(text)["start"] == "2020-01-06T21:00:00Z"
    assert json.loads(text)["sharpe"] is None
    assert not any(isinstance(v, float) and math.isnan(v) for v in m.as_dict().values())


def test_every_metric_is_documented() -> None:
    text = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    for field in {*Metrics.__struct_fields__, *TradeStats.__struct_fields__}:
        assert f"`{field}`" in text, f"docs/metrics.md does not explain {field}"
