"""Everything a run has produced, in one object that answers the questions people ask of it.

It holds the raw arrays and derives the rest when it is first asked for, so a sweep that only wants
one number pays for one number. It reads and writes no files: whoever wants Parquet or HTML takes
the frames or the text from here and writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from onefold.domain.columns import Bars, Floats, Integers
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.domain.instruments import Instrument
from onefold.views.buy_and_hold import BuyAndHold, Market, buy_and_hold
from onefold.views.equity import Daily, daily, equity_frame, last_per_time, monthly_returns
from onefold.views.frames import decisions_frame, fills_frame
from onefold.views.gates import Funnel, funnel
from onefold.views.learned import Learned
from onefold.views.metrics import Metrics, metrics, stats_by
from onefold.views.trades import Rows, Trades, round_trips

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]


@dataclass(frozen=True, eq=False, repr=False)
class ResultView:
    """What a run did: fills, decisions and equity, and everything that follows from them.

    `bars` has the bars of each instrument by symbol (those without bars have no price plot);
    `fill_rows` and `decision_rows` are arrays of `layouts.FILL` and `layouts.DECISION` in the order
    of the fold, their indices referring to `instruments` and `strategies`; `gates` are the names of
    the gates in the order of the bits. `equity_ts` (nanoseconds UTC, in order) and `equity_values`
    (in the base `currency`) have one value per bar event; `cash` is the equity before the first.
    `facts` is shown as it is: versions, hashes, counts of refused data. `market` is what buying and
    holding needs besides. `learned` are the models that strategies asked.
    """

    instruments: tuple[Instrument, ...]
    strategies: tuple[str, ...]
    gates: tuple[str, ...]
    currency: str
    cash: float
    bars: Mapping[str, Bars]
    fill_rows: Rows
    decision_rows: Rows
    equity_ts: Integers
    equity_values: Floats
    facts: Mapping[str, object] = field(default_factory=dict)
    market: Market = field(default_factory=Market)
    title: str = "Backtest"
    learned: tuple[Learned, ...] = ()

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the symbols of the instruments."""
        return tuple(i.symbol for i in self.instruments)

    @cached_property
    def round_trips(self) -> Trades:
        """Return the closed and the open trades."""
        return round_trips(self.fill_rows, self.instruments, self.strategies)

    @property
    def trades(self) -> pl.DataFrame:
        """Return the closed trades, sorted by their exit."""
        return self.round_trips.closed

    @property
    def open_trades(self) -> pl.DataFrame:
        """Return the trades that still ran at the end."""
        return self.round_trips.open

    @cached_property
    def fills(self) -> pl.DataFrame:
        """Return the fills with names in place of indices."""
        return fills_frame(self.fill_rows, self.symbols, self.strategies)

    @cached_property
    def decisions(self) -> pl.DataFrame:
        """Return the decisions with names in place of indices, and the gates that said no."""
        return decisions_frame(self.decision_rows, self.symbols, self.strategies, self.gates)

    @cached_property
    def equity(self) -> pl.DataFrame:
        """Return `time`, `equity` and `drawdown`, one row per time."""
        return equity_frame(self.equity_ts, self.equity_values, self.cash)

    @cached_property
    def daily(self) -> Daily:
        """Return the equity and the returns by day."""
        ts, equity = last_per_time(self.equity_ts, self.equity_values)
        return daily(ts, equity, self.cash)

    @cached_property
    def monthly(self) -> pl.DataFrame:
        """Return `year`, `month` and `return` of every month."""
        return monthly_returns(self.daily, self.cash)

    @cached_property
    def metrics(self) -> Metrics:
        """Return the numbers of the whole run."""
        return metrics(
            self.equity_ts,
            self.equity_values,
            cash=self.cash,
            currency=self.currency,
            trades=self.round_trips,
            fills=self.fill_rows,
            instruments=self.instruments,
        )

    @cached_property
    def buy_and_hold(self) -> BuyAndHold | None:
        """Return what buying and holding would have made of the cash; None if nothing can be held.

        See `views.buy_and_hold`.
        """
        return buy_and_hold(
            self.equity_ts,
            cash=self.cash,
            currency=self.currency,
            instruments=self.instruments,
            bars=self.bars,
            market=self.market,
        )

    def numbers(self) -> dict[str, Any]:
        """Return the metrics as plain values, those of holding, and what is in sample."""
        held = self.buy_and_hold
        return {
            **self.metrics.as_dict(),
            "models": [one.as_dict(self.equity_ts) for one in self.learned],
            "buy_and_hold": None if held is None else held.metrics.as_dict(),
        }

    @cached_property
    def by_strategy(self) -> pl.DataFrame:
        """Return the trade statistics of every strategy."""
        return stats_by(self.round_trips, "strategy", self.strategies)

    @cached_property
    def by_symbol(self) -> pl.DataFrame:
        """Return the trade statistics of every instrument."""
        return stats_by(self.round_trips, "symbol", self.symbols)

    @cached_property
    def funnel(self) -> Funnel:
        """Return what became of all wanted entries."""
        return self.funnel_of_last(None)

    def funnel_of_last(self, count: int | None) -> Funnel:
        """Return what became of the last `count` wanted entries, or of all for None."""
        return funnel(
            self.decision_rows,
            self.fill_rows,
            self.gates,
            self.instruments,
            self.strategies,
            last=count,
        )

    def plot(self, symbol: str | None = None) -> Figure:
        """Return a figure of equity, drawdown and one instrument's price with its trades.

        Without a symbol it shows the instrument with the most trades. Raises ConfigError for a
        symbol that the run has no bars of.
        """
        # Plotly takes longer to import than all the rest of a run; only who plots pays for it.
        from onefold.views.figures import most_traded, overview_figure  # noqa: PLC0415

        if symbol is not None and symbol not in self.bars:
            raise ConfigError(f"no bars of {symbol!r} to plot{did_you_mean(symbol, self.bars)}")
        return overview_figure(self, symbol if symbol is not None else most_traded(self))

    def report(self) -> str:
        """Return the whole report as one HTML page that needs nothing else."""
        from onefold.views.report import report_html  # noqa: PLC0415 - see `plot`

        return report_html(self)

    def __repr__(self) -> str:
        m = self.metrics
        return (
            f"<{self.title}: {m.total_return:+.2%}, {m.trades.trades} trades, "
            f"{len(self.strategies)} strategies, {len(self.instruments)} instruments>"
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the key numbers and a line per strategy."""
        from onefold.views.report import summary_html  # noqa: PLC0415 - see `plot`

        return summary_html(self)
