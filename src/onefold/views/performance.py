"""What each strategy has made of each instrument, with how sure one can be of it.

A backtest's numbers describe a run; these are evidence, by which thresholds are moved and sleeves
are kept out of trading. So each comes with its error, is computed from the trades and the days that
count alone, and is None where it is not defined. `docs/metrics.md` has every formula.

*Inputs*: the runs of one account, one after the other, with the books of their sleeves. *Output*: a
`Performance` for each sleeve (a strategy in an instrument), each strategy, each instrument, and all
together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from onefold.domain.columns import Floats
from onefold.domain.errors import ConfigError
from onefold.domain.words import Purpose
from onefold.views.equity import Daily, daily, days_of, drawdowns
from onefold.views.metrics import sharpe as yearly_sharpe
from onefold.views.metrics import trade_stats
from onefold.views.result import ResultView
from onefold.views.sleeves import Sleeve, SleeveCurve, daily_profit
from onefold.views.statistics import LEVEL, probabilistic_sharpe, sharpe_error, wilson
from onefold.views.trades import PERCENT, SCHEMA, TIME, names_of, times_of

SCHEMA_VERSION = 1
BINS = 10
"""Parts of equal width into which confidences from 0 to 1 are sorted."""


class Stretch(NamedTuple):
    """One run of an account, and its sleeves by day."""

    view: ResultView
    curve: SleeveCurve


class Bin(msgspec.Struct, frozen=True):
    """Trades of similar confidence: its mean, the share of them that won, and how many there are.

    A calibrated confidence is the share that wins.
    """

    confidence: float
    won: float
    trades: int


class Performance(msgspec.Struct, frozen=True):
    """What trades and days of one scope say; an empty strategy or symbol means all.

    Shares are fractions, money is in the base currency and net of fees, `sharpe` and its error are
    yearly, times are nanoseconds UTC. `days` are those of the account, traded or not.
    """

    strategy: str = ""
    symbol: str = ""
    days: int = 0
    trades: int = 0
    wins: int = 0
    win_rate: float | None = None
    win_rate_low: float | None = None
    win_rate_high: float | None = None
    break_even: float | None = None
    mean_return: float | None = None
    pnl: float = 0.0
    profit_factor: float | None = None
    sharpe: float | None = None
    sharpe_error: float | None = None
    probabilistic_sharpe: float | None = None
    max_drawdown: float | None = None
    turnover: float | None = None
    fees: float = 0.0
    brier: float | None = None
    calibration: list[Bin] = []
    first_exit_ts: int | None = None
    last_exit_ts: int | None = None


class Source(msgspec.Struct, frozen=True):
    """A journal that was measured: its folder, what decided in it, and where it ends."""

    journal: str
    config_hash: str
    head_seq: int
    head_hash: str


class Provenance(msgspec.Struct, frozen=True):
    """Where numbers come from: how the runs were connected to the world, and their journals.

    `config_hash` is that of the last.
    """

    data_mode: str
    config_hash: str
    journals: list[Source] = []


class PerformanceMetrics(msgspec.Struct, frozen=True):
    """The whole of `performance_metrics.json`; `since_ts` is None where everything counts."""

    schema_version: int
    data_mode: str
    config_hash: str
    journals: list[Source]
    currency: str
    level: float
    periods_per_year: int
    since_ts: int | None
    end_ts: int | None
    all: Performance
    strategies: list[Performance]
    symbols: list[Performance]
    sleeves: list[Performance]

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values that JSON can carry."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


class Ledger(NamedTuple):
    """The runs of an account put together: by trade, by fill, and by day.

    `closed` has the columns of `Trades.closed` and `confidence`; `traded` has `strategy`, `symbol`,
    `time` and `value` of every fill; `before` is the equity that each day began with; `profit` is
    by day, for each sleeve.
    """

    currency: str
    sleeves: tuple[Sleeve, ...]
    closed: pl.DataFrame
    traded: pl.DataFrame
    curve: Daily
    before: Floats
    profit: dict[Sleeve, Floats]
    end_ts: int | None


def ledger(stretches: Sequence[Stretch]) -> Ledger:
    """Return the runs of an account put together; they are in order of time and do not overlap.

    Raises ConfigError for none, for other currencies, and for runs that overlap: their trades would
    count twice.
    """
    _check(stretches)
    views = [one.view for one in stretches]
    ts = np.concatenate([view.equity_ts for view in views])
    equity = np.concatenate([view.equity_values for view in views])
    curve = daily(ts, equity, views[0].cash)
    profit: dict[Sleeve, Floats] = {}
    for one in stretches:
        for sleeve, by_day in daily_profit(one.view, one.curve, curve).items():
            profit[sleeve] = profit.get(sleeve, 0.0) + by_day
    named = [(s, i) for view in views for s in view.strategies for i in view.symbols]
    placed = {key for view in views for key in _placed(view)}
    return Ledger(
        currency=views[0].currency,
        sleeves=tuple(dict.fromkeys(key for key in named if key in placed)),
        closed=pl.concat([_closed(view) for view in views]),
        traded=pl.concat([_traded(view) for view in views]),
        curve=curve,
        before=np.concatenate(([views[0].cash], curve.equity))[:-1],
        profit=profit,
        end_ts=int(ts[-1]) if len(ts) else None,
    )


def performance(
    book: Ledger, provenance: Provenance, *, since_ts: int | None = None
) -> PerformanceMetrics:
    """Return the numbers of every scope, of what closed after `since_ts` and the days after it."""
    closed, traded = book.closed, book.traded
    strategies = list(dict.fromkeys(s for s, _ in book.sleeves))
    symbols = list(dict.fromkeys(i for _, i in book.sleeves))
    by_strategy = _Parts(closed, traded, ("strategy",))
    by_symbol = _Parts(closed, traded, ("symbol",))

    def of(parts: _Parts, strategy: str, symbol: str) -> Performance:
        names = tuple(name for name in (strategy, symbol) if name)
        return _measure(book, (strategy, symbol), *parts.of(names), since_ts)

    return PerformanceMetrics(
        schema_version=SCHEMA_VERSION,
        data_mode=provenance.data_mode,
        config_hash=provenance.config_hash,
        journals=provenance.journals,
        currency=book.currency,
        level=LEVEL,
        periods_per_year=book.curve.per_year,
        since_ts=since_ts,
        end_ts=book.end_ts,
        all=_measure(book, ("", ""), closed, traded, since_ts),
        strategies=[of(by_strategy, name, "") for name in strategies],
        symbols=[of(by_symbol, "", name) for name in symbols],
        sleeves=sleeve_performance(book, dict.fromkeys(book.sleeves, since_ts)),
    )


def sleeve_performance(book: Ledger, since: Mapping[Sleeve, int | None]) -> list[Performance]:
    """Return the numbers of every sleeve, each since a time of its own, None or absent for all.

    Only trades that closed after that time count, and only the days that began after it.
    """
    parts = _Parts(book.closed, book.traded, ("strategy", "symbol"))
    return [_measure(book, key, *parts.of(key), since.get(key)) for key in book.sleeves]


class _Parts:
    """Trades and fills by the values of some columns."""

    def __init__(self, closed: pl.DataFrame, traded: pl.DataFrame, by: tuple[str, ...]) -> None:
        self._none = closed.clear(), traded.clear()
        self._closed = closed.partition_by(*by, as_dict=True)
        self._traded = traded.partition_by(*by, as_dict=True)

    def of(self, names: tuple[str, ...]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return what belongs to some names, empty where nothing does."""
        none_closed, none_traded = self._none
        return self._closed.get(names, none_closed), self._traded.get(names, none_traded)


def _measure(
    book: Ledger, key: Sleeve, closed: pl.DataFrame, traded: pl.DataFrame, since_ts: int | None
) -> Performance:
    """Return the numbers of one scope."""
    counted = np.ones(len(book.curve.days), np.bool_)
    if since_ts is not None:
        moment = times_of(np.array([since_ts]))[0]
        closed = closed.filter(pl.col("exit_time") > moment)
        traded = traded.filter(pl.col("time") > moment)
        since = days_of(np.array([since_ts]), weekends=book.curve.weekends)
        counted = book.curve.days > since[0]
    stats = trade_stats(closed)
    exits = closed["exit_time"].to_physical()
    wins = int((closed["pnl"] > 0).sum())
    low, high = wilson(wins, stats.trades) if stats.trades else (None, None)
    return Performance(
        strategy=key[0],
        symbol=key[1],
        days=int(counted.sum()),
        trades=stats.trades,
        wins=wins,
        win_rate=stats.win_rate,
        win_rate_low=low,
        win_rate_high=high,
        break_even=_break_even(stats.average_win, stats.average_loss),
        mean_return=_mean(closed["pnl_percent"].drop_nulls().to_numpy() / PERCENT),
        pnl=stats.pnl,
        profit_factor=stats.profit_factor,
        **_of_days(book, key, counted),
        turnover=_turnover(book, traded, counted),
        fees=stats.fees,
        **_calibration(closed),
        first_exit_ts=exits.min() if stats.trades else None,  # type: ignore[arg-type]
        last_exit_ts=exits.max() if stats.trades else None,  # type: ignore[arg-type]
    )


def _of_days(book: Ledger, key: Sleeve, counted: Any) -> dict[str, Any]:
    """Return what follows from daily returns on the account's equity."""
    unknown = dict.fromkeys(("sharpe", "sharpe_error", "probabilistic_sharpe", "max_drawdown"))
    made = np.zeros(len(book.curve.days))
    for (strategy, symbol), by_day in book.profit.items():
        if key[0] in ("", strategy) and key[1] in ("", symbol):
            made += by_day
    made, before = made[counted], book.before[counted]
    if not len(made) or not (before > 0).all() or not np.isfinite(made).all():
        return unknown
    returns = made / before
    fall = float(drawdowns(np.cumprod(1.0 + returns), 1.0).min())
    ratio = yearly_sharpe(book.curve._replace(returns=returns))
    error = sharpe_error(returns)
    if ratio is None or error is None:
        return {**unknown, "max_drawdown": fall}
    return {
        "sharpe": ratio,
        "sharpe_error": error * math.sqrt(book.curve.per_year),
        "probabilistic_sharpe": probabilistic_sharpe(returns),
        "max_drawdown": fall,
    }


def _turnover(book: Ledger, traded: pl.DataFrame, counted: Any) -> float | None:
    """Return the value traded in a year as a multiple of the account's mean equity."""
    equity = book.curve.equity[counted]
    if not len(equity) or (average := float(equity.mean())) <= 0:
        return None
    return float(traded["value"].sum()) / average * (book.curve.per_year / len(equity))


def _break_even(win: float | None, loss: float | None) -> float | None:
    """Return the share of trades that must win to lose nothing, None unless some were lost.

    It is 1 where none was won: no share of trades like these earns anything.
    """
    if loss is None:
        return None
    return 1.0 if win is None else -loss / (win - loss)


def _calibration(closed: pl.DataFrame) -> dict[str, Any]:
    """Return Brier score (Monthly Weather Review 78, 1950) and bins of the entries' confidence."""
    known = closed.filter(pl.col("confidence").is_between(0.0, 1.0))
    confidence = known["confidence"].to_numpy()
    won = (known["pnl"] > 0).to_numpy().astype(np.float64)
    if not len(won):
        return {"brier": None, "calibration": []}
    at = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    bins = [
        Bin(float(confidence[at == n].mean()), float(won[at == n].mean()), int((at == n).sum()))
        for n in np.unique(at)
    ]
    return {"brier": float(np.mean((confidence - won) ** 2)), "calibration": bins}


def _placed(view: ResultView) -> set[Sleeve]:
    """Return the sleeves that have decided or filled anything."""
    rows = [(view.fill_rows["strategy"], view.fill_rows["instrument"])]
    rows += [(view.decision_rows["strategy"], view.decision_rows["instrument"])]
    numbers = {pair for s, i in rows for pair in zip(s.tolist(), i.tolist(), strict=True)}
    return {(view.strategies[s], view.symbols[i]) for s, i in numbers}


def _closed(view: ResultView) -> pl.DataFrame:
    """Return the closed trades with the confidence with which they were entered."""
    decisions, fills = view.decision_rows, view.fill_rows
    entries = decisions[(decisions["purpose"] == Purpose.ENTRY) & (decisions["order"] > 0)]
    confidence = pl.DataFrame(
        {
            "order": np.ascontiguousarray(entries["order"]),
            "confidence": np.ascontiguousarray(entries["confidence"]),
        },
        schema={"order": pl.Int64, "confidence": pl.Float64},
    ).unique("order", keep="last", maintain_order=True)
    begun = (
        pl.DataFrame(
            {
                "order": np.ascontiguousarray(fills["order"]),
                "strategy": names_of(view.strategies, fills["strategy"]),
                "symbol": names_of(view.symbols, fills["instrument"]),
                "side": names_of(("long", "short"), fills["side"] < 0),
                "entry_time": times_of(fills["ts"]),
            },
            schema_overrides={"order": pl.Int64, "entry_time": TIME},
        )
        .join(confidence, on="order", how="inner")
        .drop("order")
    )
    keys = ["strategy", "symbol", "side", "entry_time"]
    begun = begun.unique(keys, keep="first", maintain_order=True)
    return (
        view.round_trips.closed.join(begun, on=keys, how="left", maintain_order="left")
        .select(*SCHEMA, "confidence")
        .with_columns(pl.col("confidence").fill_nan(None))
    )


def _traded(view: ResultView) -> pl.DataFrame:
    """Return when and for how much was traded, in the base currency."""
    fills = view.fill_rows[view.fill_rows["purpose"] < Purpose.SPLIT]
    points = np.array([one.point_value for one in view.instruments], dtype=np.float64)
    value = np.abs(fills["price"]) * fills["qty"] * fills["rate"] * points[fills["instrument"]]
    return pl.DataFrame(
        {
            "strategy": names_of(view.strategies, fills["strategy"]),
            "symbol": names_of(view.symbols, fills["instrument"]),
            "time": times_of(fills["ts"]),
            "value": pl.Series(value, dtype=pl.Float64),
        }
    )


def _check(stretches: Sequence[Stretch]) -> None:
    """Refuse runs that do not follow one another."""
    if not stretches:
        raise ConfigError("there is no run to measure")
    views = [one.view for one in stretches]
    currencies = sorted({view.currency for view in views})
    if len(currencies) > 1:
        raise ConfigError(f"these runs are in different currencies: {', '.join(currencies)}")
    spans = [view.equity_ts for view in views if len(view.equity_ts)]
    for before, after in pairwise(spans):
        if after[0] <= before[-1]:
            raise ConfigError(
                "two of these runs overlap in time, and their trades would count twice: "
                "measure them apart"
            )


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
