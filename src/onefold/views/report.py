"""The report of a run: one HTML page that opens anywhere, without a network, years later.

Plotly's script lies in the page once; everything else is small, because curves are thinned to what
a screen can show and only the last trades are listed. The page forbids itself any connection
(content security policy), and every name that a user chose is shown as text wherever it appears.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2
import polars as pl
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from onefold.views.figures import (
    FEW,
    PALETTE,
    POINTS_MAX,
    TRADES_MAX,
    equity_figure,
    gates_figure,
    price_figure,
)
from onefold.views.wording import (
    duration,
    moment,
    money,
    number,
    percent,
    percent_short,
    price,
    whole,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

    from onefold.views.result import ResultView

LAST_TRADES = 50
ROWS_MAX = 100
NAMES_MAX = 10
PRICE_POINTS = 40_000
"""Points of price in the whole report; many instruments share them."""

PRICE_TRADES = 8_000
POINTS_MIN, TRADES_MIN = 200, 50
FULL_COLOUR_RETURN = 0.10
"""The monthly return from which a cell of the table has its strongest colour."""


class Card(NamedTuple):
    """One key number: its name, its value as text, a remark, and the role of its colour."""

    name: str
    value: str
    note: str = ""
    role: str = ""


def report_html(view: ResultView) -> str:
    """Return the report of a run as one self-contained HTML page."""
    return _ENVIRONMENT.get_template("report.html.j2").render(
        view=view,
        m=view.metrics,
        subtitle=_subtitle(view),
        marks=[one.text(view.equity_ts) for one in view.learned],
        in_sample=any(one.in_sample(view.equity_ts) for one in view.learned),
        cards=key_cards(view),
        months=_months(view),
        held=None if view.buy_and_hold is None else view.buy_and_hold.metrics,
        beside=_beside(view),
        figures=_figures(view),
        prices=_price_figures(view),
        trades_max=_trades_max(view),
        few=FEW,
        by_strategy=_stat_rows(view.by_strategy),
        by_symbol=_stat_rows(view.by_symbol),
        funnel=view.funnel,
        funnel_by_strategy=_funnel_rows(view.funnel.by_strategy),
        funnel_by_symbol=_funnel_rows(view.funnel.by_symbol),
        funnel_steps=_funnel_steps(view),
        last=view.trades.tail(LAST_TRADES).reverse().to_dicts(),
        running=view.open_trades.tail(ROWS_MAX).to_dicts(),
        facts=_facts(view),
        palette=PALETTE,
        plotly=get_plotlyjs(),
    )


def summary_html(view: ResultView) -> str:
    """Return key numbers and a line per strategy, for a notebook."""
    return _ENVIRONMENT.get_template("summary.html.j2").render(
        view=view,
        m=view.metrics,
        subtitle=_subtitle(view),
        cards=key_cards(view),
        by_strategy=_stat_rows(view.by_strategy),
    )


def key_cards(view: ResultView) -> list[Card]:
    """Return the numbers that people look at first."""
    m = view.metrics
    gain = m.equity_end - m.cash_start
    recovered = "recovered" if m.max_drawdown_end else "not yet recovered"
    fall = f"{m.max_drawdown_days} days, {recovered}" if m.max_drawdown < 0 else ""
    wins = f"{percent(m.trades.win_rate, 1)} won" if m.trades.trades else ""
    per_trade = "" if not m.trades.trades else f"{money(m.trades.expectancy, sign=True)} a trade"
    return [
        Card(
            "Total return", percent(m.total_return, sign=True), money(gain, sign=True), _role(gain)
        ),
        Card("CAGR", percent(m.cagr, sign=True), f"{m.periods_per_year} days a year"),
        Card("Sharpe", number(m.sharpe), f"Sortino {number(m.sortino)}"),
        Card("Max drawdown", percent(m.max_drawdown), fall),
        Card("Volatility", percent(m.volatility, 1), f"Calmar {number(m.calmar)}"),
        Card("Trades", whole(m.trades.trades), wins),
        Card("Profit factor", number(m.trades.profit_factor), per_trade),
        Card("In the market", percent(m.exposure, 1), "of the time"),
        Card("Turnover", number(m.turnover, 1), "times equity a year"),
        Card("Fees", money(m.fees), view.currency),
    ]


def _role(value: float | None) -> str:
    if not value:
        return ""
    return "gain" if value > 0 else "loss"


def _subtitle(view: ResultView) -> str:
    m = view.metrics
    period = f"{m.start:%Y-%m-%d} to {m.end:%Y-%m-%d}" if m.start and m.end else "no bars"
    parts = (
        _plural(len(view.strategies), "strategy", "strategies"),
        _plural(len(view.instruments), "instrument", "instruments"),
        period,
    )
    return " · ".join(parts)


def _plural(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def _beside(view: ResultView) -> str:
    """Return what buying and holding means here, and what it leaves out and why."""
    held = view.buy_and_hold
    if held is None:
        return "There is no comparison: no instrument of this run can be bought and held."
    names, left_out = held.metrics.instruments, held.metrics.left_out
    what = _listed(names) if len(names) == 1 else f"equal shares of {_listed(names)}"
    text = (
        f"Buy and hold puts the starting cash into {what}, each at its first close, and keeps it: "
        f"in {view.currency}, with multipliers and exchange rates, in fractions of a lot, without "
        "leverage and without costs."
    )
    if not left_out:
        return text
    reasons = [f"{symbol} ({reason})" for symbol, reason in left_out.items()]
    return f"{text} Left out: {_listed(reasons)}."


def _listed(names: list[str]) -> str:
    """Return names as text; of very many the first."""
    more = len(names) - NAMES_MAX
    return ", ".join(names[:NAMES_MAX]) + (f" and {more:,} more" if more > 0 else "")


def _months(view: ResultView) -> list[dict[str, Any]]:
    """Return a row per year, newest first: 12 returns (None where nothing was) and the year's."""
    years: dict[int, list[float | None]] = {}
    for year, month, gain in view.monthly.iter_rows():
        years.setdefault(year, [None] * 12)[month - 1] = gain
    return [
        {"year": year, "months": gains, "total": _compound(gains)}
        for year, gains in sorted(years.items(), reverse=True)
    ]


def _compound(gains: list[float | None]) -> float:
    return math.prod(1.0 + gain for gain in gains if gain is not None) - 1.0


def _heat(value: float) -> str:
    """Return the strength of a cell's colour in percent; small returns are not invisible."""
    return f"{8 + 47 * min(1.0, abs(value) / FULL_COLOUR_RETURN):.0f}%"


def _figures(view: ResultView) -> dict[str, str]:
    figures = {"equity": equity_figure(view)}
    if view.funnel.blocked:
        figures["gates"] = gates_figure(view.funnel)
    return {name: _embed(figure) for name, figure in figures.items()}


def _price_figures(view: ResultView) -> list[tuple[str, str]]:
    """Return a figure for every instrument with bars, those with the most trades first."""
    trades = dict(view.trades["symbol"].value_counts().iter_rows())
    symbols = sorted(view.bars, key=lambda symbol: -trades.get(symbol, 0))
    points = min(POINTS_MAX, max(POINTS_MIN, PRICE_POINTS // max(1, len(symbols))))
    return [(s, _embed(price_figure(view, s, points, _trades_max(view)))) for s in symbols]


def _trades_max(view: ResultView) -> int:
    return min(TRADES_MAX, max(TRADES_MIN, PRICE_TRADES // max(1, len(view.bars))))


def _embed(figure: Figure) -> str:
    """Return a figure as JSON that may stand inside a script element."""
    text = str(figure.to_json())
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _stat_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows with the largest profit or loss first, at most `ROWS_MAX` of them."""
    return frame.sort(pl.col("pnl").abs(), descending=True).head(ROWS_MAX).to_dicts()


def _funnel_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows with the most wanted entries first, at most `ROWS_MAX` of them."""
    return frame.sort("wanted", descending=True, maintain_order=True).head(ROWS_MAX).to_dicts()


def _funnel_steps(view: ResultView) -> list[tuple[str, int, str]]:
    """Return name, number and share of the wanted entries for every step of the funnel."""
    funnel = view.funnel
    steps = {
        "wanted": funnel.wanted,
        "blocked": funnel.blocked,
        "passed": funnel.passed,
        "ordered": funnel.ordered,
        "filled": funnel.filled,
    }
    wanted = max(1, funnel.wanted)
    return [(name, n, f"{100 * n / wanted:.1f}%") for name, n in steps.items()]


def _facts(view: ResultView) -> list[tuple[str, str]]:
    m = view.metrics
    bars = {symbol: columns.rows for symbol, columns in view.bars.items()}
    own: dict[str, object] = {
        "Period": f"{moment(m.start)} to {moment(m.end)} UTC",
        "Bars": f"{sum(bars.values()):,} in {_plural(len(bars), 'instrument', 'instruments')}",
        "Decisions": f"{len(view.decision_rows):,}",
        "Fills": f"{len(view.fill_rows):,}",
        "Starting cash": f"{money(view.cash)} {view.currency}",
    }
    if view.learned:
        own["Models"] = "; ".join(one.text(view.equity_ts) for one in view.learned)
    return [(name, _fact(value)) for name, value in {**own, **view.facts}.items()]


def _fact(value: object) -> str:
    if isinstance(value, Mapping):
        return " · ".join(f"{name}: {_fact(v)}" for name, v in value.items()) or "none"
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return whole(value)
    return value.isoformat() if isinstance(value, date) else str(value)


def _environment() -> jinja2.Environment:
    # The one place where views touch files: the package's own templates, found by its importer.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("onefold.views"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: tuple[Callable[..., str], ...] = (
        percent, percent_short, number, money, whole, price, moment, duration,
    )  # fmt: skip
    environment.filters.update({f.__name__: f for f in filters}, role=_role, heat=_heat)
    return environment


_ENVIRONMENT = _environment()
