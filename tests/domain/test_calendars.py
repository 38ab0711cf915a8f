"""Session hours as the exchanges published them, in both forms (D7)."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.calendars import (
    DAY_NS,
    SECOND_NS,
    check_calendar,
    seconds_to_close,
    seconds_to_close_at,
)
from onefold.domain.errors import ConfigError

HOUR_S = 3_600


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_NS


def left(calendar: str, *times: str) -> list[int]:
    return [int(x) for x in seconds_to_close(calendar, np.array([ns(t) for t in times]))]


def test_a_market_that_never_closes() -> None:
    assert left("24/7", "2024-01-01T00:00", "2024-06-01T12:00") == [-1, -1]
    assert seconds_to_close_at("24/7", 0) == -1


def test_new_york_in_winter_and_summer_and_on_a_half_day() -> None:
    # Winter: 14:30 to 21:00 UTC. Summer: 13:30 to 20:00. The day after Thanksgiving ends at 18:00.
    assert left("XNYS", "2024-01-02T14:29", "2024-01-02T14:30", "2024-01-02T20:59:30") == [
        0,
        6 * HOUR_S + 1_800,
        30,
    ]
    assert left("XNYS", "2024-01-02T21:00", "2024-07-01T19:00", "2024-11-29T17:00") == [
        0,
        HOUR_S,
        HOUR_S,
    ]
    assert left("XNYS", "2024-07-04T15:00", "2024-07-06T15:00") == [0, 0], "holiday and Saturday"


def test_futures_trade_over_night_and_over_the_turn_of_the_year() -> None:
    # CME Globex: 17:00 to 17:00 in Chicago, so Sunday 23:00 UTC opens Monday's session.
    assert left("CMES", "2024-01-07T22:59", "2024-01-07T23:00") == [0, 24 * HOUR_S]
    assert left("CMES", "2023-12-29T22:30", "2024-01-01T12:00") == [HOUR_S // 2, 0]
    assert left("CMES", "2024-01-01T23:30") == [23 * HOUR_S + 1_800]


def test_lunch_belongs_to_the_session() -> None:
    # Hong Kong: 09:30 to 16:00 with a break from 12:00 to 13:00, which is 04:00 to 05:00 UTC.
    assert left("XHKG", "2024-03-05T04:30") == [3 * HOUR_S + 1_800]


def test_currency_week_follows_new_york() -> None:
    # 17:00 in New York is 22:00 UTC in winter and 21:00 in summer.
    assert left("24/5", "2024-01-07T21:59", "2024-01-07T22:00") == [0, 120 * HOUR_S]
    assert left("24/5", "2024-01-12T21:00", "2024-01-12T22:00", "2024-01-13T12:00") == [
        HOUR_S,
        0,
        0,
    ]
    assert left("24/5", "2024-07-07T21:00", "2024-07-12T20:00", "2024-07-12T21:00") == [
        120 * HOUR_S,
        HOUR_S,
        0,
    ]
    # The week in which the clocks go forward is an hour shorter.
    assert left("24/5", "2024-03-10T21:00", "2024-03-08T21:59:59") == [120 * HOUR_S, 1]


def test_a_part_of_a_second_is_not_closed() -> None:
    almost = ns("2024-01-02T21:00") - 1
    assert seconds_to_close("XNYS", np.array([almost])).tolist() == [1]
    assert seconds_to_close_at("XNYS", almost) == 1


def test_daily_bars_have_no_place_in_a_session() -> None:
    assert seconds_to_close("XNYS", np.array([ns("2024-01-02T15:00")]), DAY_NS).tolist() == [-1]
    assert seconds_to_close_at("XNYS", ns("2024-01-02T15:00"), DAY_NS) == -1
    assert seconds_to_close_at("XNYS", ns("2024-01-02T15:00"), DAY_NS - 1) == 6 * HOUR_S


def test_old_data_has_hours_too() -> None:
    assert left("XNYS", "1998-01-02T20:00") == [HOUR_S]


def test_years_whose_holidays_end_with_the_year() -> None:
    # Holidays of Bombay begin in 1997 in the package: the year itself works, the one before not.
    assert left("XBOM", "1997-06-02T09:30") == [HOUR_S // 2]
    with pytest.raises(ConfigError, match="'XBOM' does not cover 1990 to 1990"):
        left("XBOM", "1990-06-04T06:00")


def test_unknown_calendar_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="calendar 'XNYSE' is not known; did you mean 'XNYS'"):
        left("XNYSE", "2024-01-02T15:00")
    with pytest.raises(ConfigError, match="'CMEX'"):
        check_calendar("CMEX")
    for name in ("24/7", "24/5", "CMES", "XNYS", "XEUR", "XHKG"):
        check_calendar(name)


def test_no_times() -> None:
    assert seconds_to_close("XNYS", np.empty(0, np.int64)).tolist() == []


# The first use of a calendar loads it, which takes longer than an example may.
@settings(deadline=None)
@given(
    st.sampled_from(["24/7", "24/5", "XNYS", "CMES", "XHKG"]),
    st.lists(st.integers(ns("2012-01-01T00:00"), ns("2015-12-31T00:00")), min_size=1, max_size=20),
)
def test_one_time_and_many_agree(calendar: str, times: list[int]) -> None:
    many = seconds_to_close(calendar, np.array(times)).tolist()
    assert many == [seconds_to_close_at(calendar, ts) for ts in times]
