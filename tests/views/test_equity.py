"""Days, drawdowns and months: where a midnight, a weekend or a tie could be counted wrongly."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from onefold.views.equity import (
    daily,
    date_of,
    drawdowns,
    equity_frame,
    last_per_time,
    monthly_returns,
)

from .worlds import DAY_NS, MONDAY_NS

HOUR_NS = DAY_NS // 24


def curve(*points: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return times and equity from pairs of days after the first Monday of 2020 and equity."""
    ts = np.array([MONDAY_NS + int(day * DAY_NS) for day, _ in points], dtype=np.int64)
    return ts, np.array([equity for _, equity in points], dtype=np.float64)


def dates(days: np.ndarray) -> list[str]:
    return [date_of(int(day)).isoformat() for day in days]


def test_last_of_equal_times_counts() -> None:
    ts, equity = last_per_time(*curve((0, 1.0), (0, 2.0), (1, 3.0), (1, 4.0), (1, 5.0)))
    assert equity.tolist() == [2.0, 5.0]
    assert len(ts) == 2


def test_day_ends_with_its_last_equity_and_first_return_is_from_the_cash() -> None:
    days = daily(*curve((0.2, 90.0), (0.9, 110.0), (1.5, 121.0)), 100.0)
    assert dates(days.days) == ["2020-01-06", "2020-01-07"]
    assert days.equity.tolist() == [110.0, 121.0]
    assert days.returns.tolist() == pytest.approx([0.1, 0.1])
    assert days.per_year == 252


def test_midnight_belongs_to_the_day_that_ends() -> None:
    days = daily(*curve((1.0, 101.0), (1.5, 102.0), (2.0, 103.0)), 100.0)
    assert dates(days.days) == ["2020-01-06", "2020-01-07"]
    assert days.equity.tolist() == [101.0, 103.0]


def test_market_of_every_day_has_365_days_and_keeps_its_weekends() -> None:
    days = daily(*curve(*((day + 0.5, 100.0 + day) for day in range(14))), 100.0)
    assert days.per_year == 365
    assert len(days.days) == 14


def test_sunday_evening_is_counted_to_monday_where_weekends_do_not_trade() -> None:
    points = [(day + 0.5, 100.0) for day in range(5)] + [(6.95, 101.0), (7.5, 103.0)]
    days = daily(*curve(*points), 100.0)
    assert days.per_year == 252
    assert dates(days.days)[-2:] == ["2020-01-10", "2020-01-13"]
    assert days.equity[-1] == 103.0
    only_sunday = daily(*curve(*points[:-1]), 100.0)
    assert dates(only_sunday.days)[-1] == "2020-01-13"


def test_one_special_saturday_does_not_make_a_market_of_every_day() -> None:
    points = [(7 * week + day + 0.5, 100.0) for week in range(8) for day in range(5)]
    saturday = (5.5, 101.0)
    days = daily(*curve(*sorted([*points, saturday])), 100.0)
    assert days.per_year == 252
    assert len(days.days) == 40


def test_days_before_1970_are_days_too() -> None:
    ts = np.array([-1, -DAY_NS - HOUR_NS], dtype=np.int64)[::-1].copy()
    assert dates(daily(ts, np.array([1.0, 2.0]), 1.0).days) == ["1969-12-30", "1969-12-31"]


def test_returns_after_ruin_are_undefined() -> None:
    days = daily(*curve((0.5, 50.0), (1.5, 0.0), (2.5, 10.0)), 100.0)
    assert days.returns[:2].tolist() == [-0.5, -1.0]
    assert np.isnan(days.returns[2])
    below = daily(*curve((0.5, -50.0), (1.5, -100.0)), 100.0)
    assert below.returns[0] == -1.5
    assert np.isnan(below.returns[1])


def test_drawdown_is_measured_from_the_highest_which_starts_at_the_cash() -> None:
    falls = drawdowns(np.array([90.0, 120.0, 60.0, 120.0, -12.0]), 100.0)
    assert falls.tolist() == pytest.approx([-0.1, 0.0, -0.5, 0.0, -1.1])
    assert len(drawdowns(np.array([]), 100.0)) == 0


def test_months_compound_to_the_total_return() -> None:
    points = [(day + 0.5, 100.0 * 1.001**day) for day in range(100)]
    days = daily(*curve(*points), 90.0)
    months = monthly_returns(days, 90.0)
    assert months.select("year", "month").rows() == [(2020, 1), (2020, 2), (2020, 3), (2020, 4)]
    product = float((months["return"] + 1.0).product())
    assert product == pytest.approx(days.equity[-1] / 90.0, rel=1e-12)


def test_month_after_ruin_has_no_return() -> None:
    months = monthly_returns(daily(*curve((0.5, -1.0), (40.5, 5.0)), 100.0), 100.0)
    assert months["return"].to_list() == [pytest.approx(-1.01), None]


def test_frame_has_one_row_per_time() -> None:
    frame = equity_frame(*curve((0, 99.0), (0, 110.0), (1, 88.0)), 100.0)
    assert frame["time"].dt.date().to_list() == [date(2020, 1, 6), date(2020, 1, 7)]
    assert frame["equity"].to_list() == [110.0, 88.0]
    assert frame["drawdown"].to_list() == pytest.approx([0.0, -0.2])
