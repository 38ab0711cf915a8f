"""The numbers by which a backtest is judged, with one definition each.

`docs/metrics.md` has every formula. A number that is not defined (a ratio without variation, a
profit factor without a loss, anything of an empty run) is None: never NaN, never infinity, never a
zero that looks like a result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import polars as pl

from onefold.domain.columns import Floats, Integers
from onefold.domain.instruments import Instrument
from onefold.domain.words import Purpose
from onefold.views.equity import Daily, daily, date_of, drawdowns, last_per_time
from onefold.views.trades import Rows, Trades

NS_PER_S = 1_000_000_000
VARIATION_MIN = 1e-12
"""Returns that vary by less than this share of themselves vary by rounding only."""


class TradeStats(msgspec.Struct, frozen=True):
    """Numbers of a set of closed trades; money is in the base currency, net of fees."""

    trades: int
    pnl: float
    fees: float
    win_rate: float | None
    profit_factor: float | None
    expectancy: float | None
    average_win: float | None
    average_loss: float | None
    best: float | None
    worst: float | None
    average_duration_s: float | None


class Metrics(msgspec.Struct, frozen=True):
    """Numbers of a run; shares are fractions (0.1 is 10 %), money is in the base currency."""

    currency: str
    start: datetime | None
    end: datetime | None
    days: int
    periods_per_year: int
    cash_start: float
    equity_end: float
    total_return: float
    cagr: float | None
    volatility: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    max_drawdown: float
    max_drawdown_bars: float
    max_drawdown_start: date | None
    max_drawdown_low: date | None
    max_drawdown_end: date | None
    max_drawdown_days: int
    best_day: float | None
    best_day_date: date | None
    worst_day: float | None
    worst_day_date: date | None
    exposure: float | None
    turnover: float | None
    fees: float
    fills: int
    open_trades: int
    trades: TradeStats
    long: TradeStats
    short: TradeStats

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values that JSON can carry; dates become ISO text."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


class Drawdown(msgspec.Struct, frozen=True):
    """The deepest fall of a daily curve: its depth, the days it spans, and how long it lasted."""

    depth: float
    start: date | None
    low: date | None
    end: date | None
    days: int


def metrics(
    ts: Integers,
    equity: Floats,
    *,
    cash: float,
    currency: str,
    trades: Trades,
    fills: Rows,
    instruments: Sequence[Instrument],
) -> Metrics:
    """Return all numbers of a run.

    `ts` (nanoseconds UTC, in order) and `equity` (base currency) have one value per bar event;
    `cash` is the equity before the first; `fills` is an array of `layouts.FILL`.
    """
    fees = float(np.sum(fills["fee"] * fills["rate"]))
    fills = fills[fills["purpose"] < Purpose.SPLIT]  # splits and rolls are no trades
    ts, equity = last_per_time(ts, equity)
    curve = daily(ts, equity, cash)
    fall = deepest_drawdown(curve, cash)
    growth = cagr(curve, cash)
    best, worst = _extreme_days(curve)
    sides = trades.closed["side"]
    return Metrics(
        currency=currency,
        start=_time(ts, 0),
        end=_time(ts, -1),
        days=len(curve.days),
        periods_per_year=curve.per_year,
        cash_start=cash,
        equity_end=_end(equity, cash),
        total_return=_end(equity, cash) / cash - 1.0,
        cagr=growth,
        volatility=volatility(curve),
        sharpe=sharpe(curve),
        sortino=sortino(curve),
        calmar=None if growth is None or fall.depth >= 0 else _finite(growth / -fall.depth),
        max_drawdown=fall.depth,
        max_drawdown_bars=float(drawdowns(equity, cash).min(initial=0.0)),
        max_drawdown_start=fall.start,
        max_drawdown_low=fall.low,
        max_drawdown_end=fall.end,
        max_drawdown_days=fall.days,
        best_day=best[0],
        best_day_date=best[1],
        worst_day=worst[0],
        worst_day_date=worst[1],
        exposure=exposure(ts, trades),
        turnover=turnover(curve, fills, instruments),
        fees=fees,
        fills=len(fills),
        open_trades=trades.open.height,
        trades=trade_stats(trades.closed),
        long=trade_stats(trades.closed.filter(sides == "long")),
        short=trade_stats(trades.closed.filter(sides == "short")),
    )


def cagr(curve: Daily, cash: float) -> float | None:
    """Return the yearly growth rate, a year being `per_year` of the curve's days."""
    if len(curve.days) == 0:
        return None
    growth = float(curve.equity[-1]) / cash
    if growth < 0:
        return None
    try:
        return _finite(growth ** (curve.per_year / len(curve.days)) - 1.0)
    except OverflowError:
        return None


def volatility(curve: Daily) -> float | None:
    """Return the yearly standard deviation of daily returns."""
    if len(curve.returns) < 2 or not _returns_defined(curve):
        return None
    return float(np.std(curve.returns, ddof=1)) * math.sqrt(curve.per_year)


def sharpe(curve: Daily) -> float | None:
    """Return the yearly mean over the standard deviation of daily returns; the risk-free rate is 0.

    Sharpe, The Sharpe Ratio, Journal of Portfolio Management (1994).
    """
    if len(curve.returns) < 2 or not _returns_defined(curve):
        return None
    spread = float(np.std(curve.returns, ddof=1))
    if spread <= VARIATION_MIN * float(np.max(np.abs(curve.returns))):
        return None
    return float(np.mean(curve.returns)) / spread * math.sqrt(curve.per_year)


def sortino(curve: Daily) -> float | None:
    """Return the yearly mean over the downside deviation of daily returns; the target is 0.

    The downside deviation is the root of the mean over all days of the squared negative returns.
    Sortino and Price, Performance Measurement in a Downside Risk Framework (1994).
    """
    if len(curve.returns) < 2 or not _returns_defined(curve):
        return None
    downside = math.sqrt(float(np.mean(np.square(np.minimum(curve.returns, 0.0)))))
    if downside <= VARIATION_MIN * float(np.max(np.abs(curve.returns))):
        return None
    return float(np.mean(curve.returns)) / downside * math.sqrt(curve.per_year)


def deepest_drawdown(curve: Daily, cash: float) -> Drawdown:
    """Return the deepest fall from a high, the high being at least `cash`.

    `start` is the day of the high (the first day, when it is the starting cash), `low` the deepest
    day, `end` the first day after it at or above the high, None when that is not reached; `days`
    are calendar days from `start` to `end` or to the last day.
    """
    falls = drawdowns(curve.equity, cash)
    if len(falls) == 0 or falls.min() >= 0:
        return Drawdown(0.0, None, None, None, 0)
    low = int(np.argmin(falls))
    before = curve.equity[: low + 1]
    high = max(float(before.max()), cash)
    peaks = np.flatnonzero(before == high)
    start = int(peaks[-1]) if len(peaks) else 0
    healed = np.flatnonzero(curve.equity[low:] >= high)
    end = low + int(healed[0]) if len(healed) else None
    last = len(curve.days) - 1 if end is None else end
    return Drawdown(
        depth=float(falls[low]),
        start=date_of(int(curve.days[start])),
        low=date_of(int(curve.days[low])),
        end=None if end is None else date_of(int(curve.days[end])),
        days=int(curve.days[last] - curve.days[start]),
    )


def exposure(ts: Integers, trades: Trades) -> float | None:
    """Return the share of the time from the first to the last bar with any position."""
    if len(ts) == 0 or ts[-1] <= ts[0]:
        return None
    first, last = int(ts[0]), int(ts[-1])
    spans = pl.concat(trades).select(
        pl.col("entry_time").to_physical(), pl.col("exit_time").to_physical().fill_null(last)
    )
    spans = spans.sort("entry_time")
    starts = np.clip(spans["entry_time"].to_numpy(), first, last)
    ends = np.clip(spans["exit_time"].to_numpy(), first, last)
    # What earlier trades have covered already counts once.
    covered = np.maximum.accumulate(np.concatenate(([first], ends)))
    held = np.sum(np.maximum(ends - np.maximum(starts, covered[:-1]), 0))
    return float(held) / (last - first)


def turnover(curve: Daily, fills: Rows, instruments: Sequence[Instrument]) -> float | None:
    """Return the value traded in a year (buys and sells) as a multiple of the average equity."""
    if len(curve.days) == 0 or (average := float(np.mean(curve.equity))) <= 0:
        return None
    points = np.array([i.point_value for i in instruments], dtype=np.float64)
    worth = np.abs(fills["price"]) * fills["qty"] * fills["rate"]
    value = float(np.sum(worth * points[fills["instrument"]]))
    return _finite(value / average * (curve.per_year / len(curve.days)))


def trade_stats(closed: pl.DataFrame) -> TradeStats:
    """Return the numbers of closed trades, a frame as in `Trades.closed`."""
    pnl = closed["pnl"].to_numpy()
    wins, losses = pnl[pnl > 0], pnl[pnl < 0]
    seconds = (closed["exit_time"] - closed["entry_time"]).to_physical().to_numpy() / NS_PER_S
    return TradeStats(
        trades=len(pnl),
        pnl=float(np.sum(pnl)),
        fees=float(closed["fees"].sum()),
        win_rate=len(wins) / len(pnl) if len(pnl) else None,
        profit_factor=_finite(float(np.sum(wins) / -np.sum(losses))) if len(losses) else None,
        expectancy=_mean(pnl),
        average_win=_mean(wins),
        average_loss=_mean(losses),
        best=float(pnl.max()) if len(pnl) else None,
        worst=float(pnl.min()) if len(pnl) else None,
        average_duration_s=_mean(seconds),
    )


def stats_by(trades: Trades, column: str, names: Sequence[str]) -> pl.DataFrame:
    """Return one row of trade statistics per name, with the name in `column` first.

    `column` is `strategy` or `symbol`; every one of `names` has a row, in the given order, with its
    number of `open_trades` at the end.
    """
    groups = trades.closed.partition_by(column, as_dict=True)
    running = dict(trades.open[column].value_counts().iter_rows())
    none = trades.closed.clear()
    lines = [
        {
            column: name,
            **msgspec.to_builtins(trade_stats(groups.get((name,), none))),
            "open_trades": running.get(name, 0),
        }
        for name in names
    ]
    return pl.DataFrame(lines, schema=_stats_schema(column))


def _stats_schema(column: str) -> dict[str, Any]:
    counts = {"trades", "open_trades"}
    fields = [f.name for f in msgspec.structs.fields(TradeStats)]
    types = {f: pl.Int64 if f in counts else pl.Float64 for f in [*fields, "open_trades"]}
    return {column: pl.String, **types}


def _returns_defined(curve: Daily) -> bool:
    """Return whether every day began with something to lose."""
    return bool(np.isfinite(curve.returns).all())


def _extreme_days(
    curve: Daily,
) -> tuple[tuple[float | None, date | None], tuple[float | None, date | None]]:
    if len(curve.returns) == 0 or not _returns_defined(curve):
        return (None, None), (None, None)
    best, worst = int(np.argmax(curve.returns)), int(np.argmin(curve.returns))
    return (
        (float(curve.returns[best]), date_of(int(curve.days[best]))),
        (float(curve.returns[worst]), date_of(int(curve.days[worst]))),
    )


def _time(ts: Integers, at: int) -> datetime | None:
    if len(ts) == 0:
        return None
    # From the epoch by addition: `fromtimestamp` goes through a float and loses microseconds.
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(ts[at]) // 1000)


def _end(equity: Floats, cash: float) -> float:
    return float(equity[-1]) if len(equity) else cash


def _mean(values: Floats) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
