"""The equity curve by event and by day: what returns, drawdowns and every ratio are made of.

A day is a UTC day, and its equity is the last one known in it. An equity stamped exactly at
midnight belongs to the day that ends, because bars carry the time of their close. Where weekends do
not trade, what happens on a Saturday or Sunday (the Sunday evening opening of futures and
currencies, a daily bar that closes late) is counted to the Monday after it, so that a year has the
252 days by which ratios are made yearly.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import numpy as np
import polars as pl

from onefold.domain.columns import Floats, Integers
from onefold.views.trades import times_of

DAY_NS = 86_400_000_000_000
SATURDAY, SUNDAY = 5, 6
ALL_DAYS, WEEKDAYS = 365, 252
SATURDAY_SHARE_MIN = 0.05
"""Markets that trade every day have a Saturday in seven days; a rare special session is no week."""

EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


class Daily(NamedTuple):
    """Equity at the end of every day that had any, in order.

    `days` counts from 1970-01-01; `returns` are shares of the equity of the day before, the first
    of the starting cash, NaN where that was not above zero; `per_year` is 365 where weekends trade
    and 252 elsewhere.
    """

    days: Integers
    equity: Floats
    returns: Floats
    per_year: int

    @property
    def weekends(self) -> bool:
        """Return whether weekends trade."""
        return self.per_year == ALL_DAYS


def last_per_time(ts: Integers, equity: Floats) -> tuple[Integers, Floats]:
    """Return the curve with one point per time: the last, after every instrument's bar."""
    if len(ts) == 0:
        return ts, equity
    last = np.append(ts[1:] != ts[:-1], True)
    return ts[last], equity[last]


def daily(ts: Integers, equity: Floats, cash: float) -> Daily:
    """Return the equity by day; `ts` is nanoseconds UTC in order, `cash` what it began with."""
    weekends = trades_on_saturdays((ts - 1) // DAY_NS)
    days, equity = last_per_time(days_of(ts, weekends=weekends), equity)
    before = np.concatenate(([cash], equity))[:-1]
    returns = np.full(len(equity), np.nan)
    np.divide(equity, before, out=returns, where=before > 0)
    return Daily(days, equity, returns - 1.0, ALL_DAYS if weekends else WEEKDAYS)


def days_of(ts: Integers, *, weekends: bool) -> Integers:
    """Return the day that each time counts to; without `weekends` those count to the Monday."""
    days: Integers = (ts - 1) // DAY_NS
    if weekends:
        return days
    weekday = (days + 3) % 7  # 1970-01-01 was a Thursday
    return days + np.where(weekday == SATURDAY, 2, 0) + np.where(weekday == SUNDAY, 1, 0)


def trades_on_saturdays(days: Integers) -> bool:
    """Return whether Saturdays are an ordinary part of these days."""
    distinct = np.unique(days)
    saturdays = np.count_nonzero((distinct + 3) % 7 == SATURDAY)
    return bool(saturdays > SATURDAY_SHARE_MIN * len(distinct))


def drawdowns(equity: Floats, cash: float) -> Floats:
    """Return how far equity is below its highest so far, as shares at or below zero.

    The highest starts at `cash`.
    """
    peak = np.maximum(np.maximum.accumulate(equity), cash) if len(equity) else equity
    return equity / peak - 1.0


def equity_frame(ts: Integers, equity: Floats, cash: float) -> pl.DataFrame:
    """Return the curve as a frame with `time`, `equity` and `drawdown`, one row per time."""
    ts, equity = last_per_time(ts, equity)
    return pl.DataFrame(
        {
            "time": times_of(ts),
            "equity": pl.Series(equity, dtype=pl.Float64),
            "drawdown": pl.Series(drawdowns(equity, cash), dtype=pl.Float64),
        }
    )


def monthly_returns(curve: Daily, cash: float) -> pl.DataFrame:
    """Return `year`, `month` and `return` of every month that has a day, in order.

    A month's return is its last equity over the last of the month before (the starting cash for the
    first), minus one; null where that was not above zero.
    """
    dates = pl.Series("date", curve.days, dtype=pl.Int32).cast(pl.Date)
    months = (
        pl.DataFrame({"date": dates, "equity": curve.equity})
        .group_by(pl.col("date").dt.year().alias("year"), pl.col("date").dt.month().alias("month"))
        .agg(pl.col("equity").last())
        .sort("year", "month")
    )
    before = pl.col("equity").shift(1, fill_value=cash)
    share = pl.when(before > 0).then(pl.col("equity") / before - 1.0)
    return months.select(
        pl.col("year").cast(pl.Int64), pl.col("month").cast(pl.Int64), share.alias("return")
    )


def date_of(day: int) -> date:
    """Return the date that is `day` days after 1970-01-01."""
    return date.fromordinal(EPOCH_ORDINAL + day)
