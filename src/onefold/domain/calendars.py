"""How long a session still lasts, so that a rule may leave before the close or wait for the open.

The answer is a property of a time and of an exchange's published hours, hence a word and not a
clock: nothing here knows what time it is. Hours and holidays are those of the `exchange-calendars`
package, loaded only when a bar of an exchange with hours appears, for the years of the data.

A lunch break belongs to its session: a position that may be held until the close may be held over
lunch. Bars of a day or longer have no place inside a session, so they never close.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple
from warnings import catch_warnings, simplefilter
from zoneinfo import ZoneInfo

import numpy as np

from onefold.domain.columns import Integers
from onefold.domain.errors import ConfigError, did_you_mean

ALWAYS_OPEN = "24/7"
"""The calendar of markets that never close."""

FX_WEEK = "24/5"
"""Currencies: from Sunday to Friday 17:00 in New York, one session a week."""

NEVER_CLOSES = -1
"""What `seconds_to_close` gives where there is no close."""

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS

_NEW_YORK = "America/New_York"
_MARGIN = timedelta(days=10)


class Sessions(NamedTuple):
    """Opens and closes of consecutive sessions, in nanoseconds UTC."""

    opens: Integers
    closes: Integers


def seconds_to_close(calendar: str, ts: Integers, interval_ns: int = 0) -> Integers:
    """Return for each time how many seconds its session lasts, 0 when closed, -1 for never closes.

    `ts` in nanoseconds UTC. A part of a second counts as a whole one, because 0 means closed. At
    the moment of the close the session is closed. Raises `ConfigError` for an unknown calendar and
    for times that it does not cover.
    """
    if calendar == ALWAYS_OPEN or interval_ns >= DAY_NS or not len(ts):
        return np.full(len(ts), NEVER_CLOSES, np.int64)
    sessions = _sessions(calendar, _year(int(ts.min())), _year(int(ts.max())))
    at = np.searchsorted(sessions.opens, ts, side="right") - 1
    left = np.where(at >= 0, sessions.closes[at] - ts, 0)
    return np.asarray(np.maximum(-(-left // SECOND_NS), 0))


def seconds_to_close_at(calendar: str, ts: int, interval_ns: int = 0) -> int:
    """Return `seconds_to_close` of one time."""
    if calendar == ALWAYS_OPEN or interval_ns >= DAY_NS:
        return NEVER_CLOSES
    year = _year(ts)
    opens, closes = _session_lists(calendar, year)
    at = bisect_right(opens, ts) - 1
    return max(-(-(closes[at] - ts) // SECOND_NS), 0) if at >= 0 else 0


def check_calendar(calendar: str) -> None:
    """Raise `ConfigError` with the nearest name when there is no such calendar."""
    if calendar in (ALWAYS_OPEN, FX_WEEK):
        return
    names = import_module("exchange_calendars").get_calendar_names(include_aliases=True)
    if calendar not in names:
        hint = did_you_mean(calendar, [*names, ALWAYS_OPEN, FX_WEEK])
        raise ConfigError(f"calendar {calendar!r} is not known{hint}")


def _year(ts: int) -> int:
    return datetime.fromtimestamp(ts // SECOND_NS, UTC).year


@lru_cache(maxsize=256)
def _session_lists(calendar: str, year: int) -> tuple[list[int], list[int]]:
    sessions = _sessions(calendar, year, year)
    return sessions.opens.tolist(), sessions.closes.tolist()


@lru_cache(maxsize=256)
def _sessions(calendar: str, first_year: int, last_year: int) -> Sessions:
    """Return the sessions of whole years, with those that reach in from the years around."""
    first, last = date(first_year, 1, 1), date(last_year, 12, 31)
    if calendar == FX_WEEK:
        return _fx_weeks(first, last)
    check_calendar(calendar)
    return _exchange_sessions(calendar, first, last)


def _fx_weeks(first: date, last: date) -> Sessions:
    # Monday is weekday 0: the days since the Sunday before are weekday + 1.
    sunday = first - timedelta(days=(first.weekday() + 1) % 7)
    weeks = range((last - sunday).days // 7 + 1)
    sundays = [sunday + timedelta(weeks=week) for week in weeks]
    opens = [_five_pm(day) for day in sundays]
    closes = [_five_pm(day + timedelta(days=5)) for day in sundays]
    return Sessions(np.array(opens, np.int64), np.array(closes, np.int64))


def _five_pm(day: date) -> int:
    moment = datetime(day.year, day.month, day.day, 17, tzinfo=ZoneInfo(_NEW_YORK))
    return int(moment.timestamp()) * SECOND_NS


def _exchange_sessions(calendar: str, first: date, last: date) -> Sessions:
    package: Any = import_module("exchange_calendars")
    with catch_warnings():
        # The package still calls what pandas will rename; that is no news to our user.
        simplefilter("ignore", DeprecationWarning)
        try:
            hours = package.get_calendar(calendar, start=first - _MARGIN, end=last + _MARGIN)
        except (ValueError, NotImplementedError):
            # Some exchanges publish their holidays up to the end of a year: no session of those
            # reaches over the turn of the year, so the margin can be left out.
            hours = _without_margin(package, calendar, first, last)
    return Sessions(_nanoseconds(hours.opens), _nanoseconds(hours.closes))


def _without_margin(package: Any, calendar: str, first: date, last: date) -> Any:
    try:
        return package.get_calendar(calendar, start=first, end=last)
    except (ValueError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"calendar {calendar!r} does not cover {first.year} to {last.year}: {reason}"
        ) from error


def _nanoseconds(column: Any) -> Integers:
    moments = column.to_numpy(dtype="datetime64[ns]")
    return np.asarray(moments.astype(np.int64))
