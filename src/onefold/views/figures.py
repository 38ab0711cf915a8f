"""The plots of a run: equity, drawdown, trades on price, and the gate funnel.

The figures are the same in a notebook and in the report, so they carry a neutral look that reads on
light and on dark paper; the report swaps the colours of `PALETTE` for its own. The colours of gain
and loss are blue and vermilion of Okabe and Ito's palette, which people with any form of colour
blindness can tell apart, and shape or sign always says the same once more.

Every text that comes from a user is escaped, because plotly reads a little HTML in its texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as escape_html
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from plotly.graph_objects import (  # type: ignore[import-untyped]
    Bar,
    Figure,
    Scatter,
)
from plotly.subplots import make_subplots  # type: ignore[import-untyped]

from onefold._compile import njit
from onefold.domain.columns import Bars, Floats, Integers, Sides
from onefold.views.trades import times_of

if TYPE_CHECKING:
    from onefold.views.gates import Funnel
    from onefold.views.result import ResultView

NS_PER_MS = 1_000_000
POINTS_MAX = 2_000
TRADES_MAX = 1_000
FEW = 60
"""Up to so many markers of one kind are drawn large; on so many trades a chart of prices opens."""

PALETTE = {
    "gain": "#0072b2",
    "loss": "#d55e00",
    "ink": "#6e7781",
    "faint": "#9aa4af",
    "grid": "#80808033",
    "fall": "#d55e0033",
}
"""Colours by role; the report's script knows them by these values."""


_ABOVE = {"x": 1, "xanchor": "right", "y": 1.05, "yanchor": "bottom"}
"""A legend above the title of the axis, where it covers neither that nor dates nor strip."""


def escape(text: str) -> str:
    """Return a user's text such that plotly shows it as it is; it does not know `&quot;`."""
    return escape_html(text, quote=False)


@njit
def min_max_nb(values: Floats, buckets: int, keep: Sides) -> None:
    """Mark in `keep` the lowest and highest value of each bucket, and both ends.

    That is at most `2 * buckets + 2` values: the fewest that lose no spike.
    """
    n = len(values)
    keep[0] = 1
    keep[n - 1] = 1
    for bucket in range(buckets):
        start, stop = bucket * n // buckets, (bucket + 1) * n // buckets
        low = high = start
        for i in range(start + 1, stop):
            if values[i] < values[low]:
                low = i
            if values[i] > values[high]:
                high = i
        keep[low] = 1
        keep[high] = 1


def thin(values: Floats, points_max: int = POINTS_MAX) -> Integers:
    """Return at most `points_max` positions of `values` that keep its shape, spikes included."""
    if len(values) <= points_max:
        return np.arange(len(values))
    keep = np.zeros(len(values), np.int8)
    min_max_nb(np.ascontiguousarray(values, np.float64), (points_max - 2) // 2, keep)
    return np.flatnonzero(keep)


def most_traded(view: ResultView) -> str | None:
    """Return the symbol with the most closed trades among those with bars, or None."""
    counts = dict(view.trades["symbol"].value_counts().iter_rows())
    return max(view.bars, key=lambda symbol: counts.get(symbol, 0), default=None)


def overview_figure(view: ResultView, symbol: str | None) -> Figure:
    """Return equity and drawdown, and below them the price of `symbol` with its trades."""
    rows = 2 if symbol is None else 3
    figure = make_subplots(
        rows=rows,
        shared_xaxes=True,
        vertical_spacing=0.07,
        row_heights=[0.4, 0.2, 0.4][:rows],
    )
    _add(figure, equity_traces(view), row=1)
    _add(figure, [drawdown_trace(view)], row=2)
    _label(figure, 1, f"Equity, {view.currency}")
    _label(figure, 2, "Drawdown", percent=True)
    if symbol is not None:
        _add(figure, price_traces(view, symbol), row=3)
        _label(figure, 3, symbol)
    return finish(figure, height=320 + 160 * (rows - 1))


def equity_figure(view: ResultView) -> Figure:
    """Return equity, beside that of buying and holding, above drawdown."""
    figure = overview_figure(view, None)
    _mark_samples(figure, view)
    return figure.update_layout(legend={**_ABOVE, "traceorder": "reversed"})


def _mark_samples(figure: Figure, view: ResultView) -> None:
    """Draw a line where the sample of a model ends, if the run goes on after it."""
    for one in view.learned:
        share = one.in_sample(view.equity_ts)
        if not share or one.trained_to >= view.equity_ts[-1]:
            continue
        at = one.trained_to // NS_PER_MS
        line = {"color": PALETTE["ink"], "dash": "dot", "width": 1}
        figure.add_shape(type="line", x0=at, x1=at, y0=0, y1=1, yref="paper", line=line)
        figure.add_annotation(
            text=f"in sample of {escape(one.identity)} until here",
            x=at,
            y=1,
            yref="paper",
            xanchor="right",
            yanchor="top",
            showarrow=False,
            font={"size": 11},
        )


def price_figure(
    view: ResultView, symbol: str, points_max: int = POINTS_MAX, trades_max: int = TRADES_MAX
) -> Figure:
    """Return the price of an instrument with the entries and exits of its last trades.

    With more than `FEW` of them it opens on the last, with a strip below to move through the rest.
    """
    start = _opening(view, symbol)
    figure = Figure(price_traces(view, symbol, points_max, trades_max, start))
    _label(figure, 1, symbol)
    finish(figure, height=470)
    figure.update_layout(legend=_ABOVE)
    if start is not None:
        _open_at(figure, start, int(view.bars[symbol].ts[0]), int(view.bars[symbol].ts[-1]))
    return figure


def _open_at(figure: Figure, start: int, first: int, last: int) -> None:
    """Show a figure from a time on, and below it all of the line in a strip to move through."""
    margin = (last - start) // 50
    figure.layout.xaxis.range = [(start - margin) // NS_PER_MS, (last + margin) // NS_PER_MS]
    figure.layout.xaxis.rangeslider = {
        "range": [first // NS_PER_MS, (last + margin) // NS_PER_MS],
        "yaxis": {"rangemode": "auto"},
        "thickness": 0.1,
        "bordercolor": PALETTE["grid"],
        "borderwidth": 1,
    }


def _opening(view: ResultView, symbol: str) -> int | None:
    """Return the time of the first of the last `FEW` entries, or None when there are no more."""
    entries = [
        trades.filter(pl.col("symbol") == symbol)["entry_time"].to_physical()
        for trades in (view.trades, view.open_trades)
    ]
    times = pl.concat(entries).sort()
    return int(times[-FEW]) if len(times) > FEW else None


def gates_figure(funnel: Funnel) -> Figure:
    """Return for each gate that said no how often it was the reason, and how often one of more."""
    gates = funnel.gates.filter(pl.col("first") + pl.col("also") > 0)
    gates = gates.sort("first", "also")
    names = [escape(gate) for gate in gates["gate"]]
    bars = [
        _gate_bar(names, gates["first"], "the reason", PALETTE["loss"], ""),
        _gate_bar(names, gates["also"], "would also have blocked", PALETTE["faint"], "/"),
    ]
    figure = Figure(bars)
    figure.update_layout(barmode="stack", bargap=0.35, hovermode="y unified")
    clear = "rgba(0,0,0,0)"  # unseen ticks keep the names off the bars
    figure.update_yaxes(type="category", showgrid=False, ticks="outside", tickcolor=clear)
    finish(figure, height=90 + 30 * max(1, len(names)), time_axis=False)
    figure.update_layout(legend={"y": 1.0, "yanchor": "bottom", "traceorder": "normal"})
    return figure


def equity_traces(view: ResultView) -> list[Scatter]:
    """Return the equity line, over that of buying and holding where there is one."""
    values = view.equity["equity"].to_numpy()
    own = _curve(view.equity["time"], values, thin(values), "Equity", "gain")
    held = view.buy_and_hold
    if held is None:
        return [own]
    at = thin(held.equity, POINTS_MAX // 2)  # a line to compare with needs half the detail
    return [_curve(times_of(held.ts), held.equity, at, "Buy and hold", "faint"), own]


def _curve(time: pl.Series, values: Floats, at: Integers, name: str, role: str) -> Scatter:
    return Scatter(
        x=_ms(time)[at],
        y=values[at],
        mode="lines",
        name=name,
        line={"color": PALETTE[role], "width": 1.4},
        hovertemplate="%{y:,.2f}<extra>" + name.lower() + "</extra>",
    )


def drawdown_trace(view: ResultView) -> Scatter:
    """Return the drawdown as a filled line."""
    values = view.equity["drawdown"].to_numpy()
    at = thin(values)
    return Scatter(
        x=_ms(view.equity["time"])[at],
        y=values[at],
        mode="lines",
        name="Drawdown",
        showlegend=False,
        line={"color": PALETTE["loss"], "width": 1},
        fill="tozeroy",
        fillcolor=PALETTE["fall"],
        hovertemplate="%{y:.2%}<extra>drawdown</extra>",
    )


def price_traces(
    view: ResultView,
    symbol: str,
    points_max: int = POINTS_MAX,
    trades_max: int = TRADES_MAX,
    start: int | None = None,
) -> list[Scatter]:
    """Return the closes of an instrument and the markers of its last `trades_max` trades.

    Entries are triangles in the trade's direction; exits are circles where the trade gained and
    crosses where it lost. Half of the points are kept for what comes from `start` on.
    """
    bars = view.bars[symbol]
    at = _thin_around(bars, points_max, start)
    price = Scatter(
        x=(bars.ts[at] // NS_PER_MS).astype(np.float64),
        y=bars.close[at],
        mode="lines",
        name="Close",
        line={"color": PALETTE["faint"], "width": 1.1},
        hovertemplate="%{y}<extra>close</extra>",
    )
    closed = view.trades.filter(pl.col("symbol") == symbol).tail(trades_max)
    running = view.open_trades.filter(pl.col("symbol") == symbol)
    entries = pl.concat([closed, running])
    money = view.currency
    return [
        price,
        _entries(entries.filter(pl.col("side") == "long"), "Long entry", "triangle-up"),
        _entries(entries.filter(pl.col("side") == "short"), "Short entry", "triangle-down"),
        _exits(closed.filter(pl.col("pnl") > 0), "Exit with gain", "circle", "gain", money),
        _exits(closed.filter(pl.col("pnl") <= 0), "Exit with loss", "x", "loss", money),
    ]


def _thin_around(bars: Bars, points_max: int, start: int | None) -> Integers:
    """Return positions of closes that keep their shape, half of them from the time `start` on."""
    row = 0 if start is None else max(0, int(np.searchsorted(bars.ts, start)) - 1)
    if row == 0:
        return thin(bars.close, points_max)
    late = row + thin(bars.close[row:], points_max // 2)
    return np.concatenate([thin(bars.close[:row], points_max - len(late)), late])


def _entries(trades: pl.DataFrame, name: str, shape: str) -> Scatter:
    texts = [
        f"{escape(strategy)}: {size}"
        for strategy, size in trades.select("strategy", "entry_size").iter_rows()
    ]
    what = "%{text} lots"
    return _markers(trades["entry_time"], trades["entry_price"], texts, name, shape, "ink", what)


def _exits(trades: pl.DataFrame, name: str, shape: str, role: str, money: str) -> Scatter:
    columns = trades.select("strategy", "side", "exit_reason", "pnl")
    texts = [
        f"{escape(strategy)}: {side}, {reason}, {pnl:+,.2f} {escape(money)}"
        for strategy, side, reason, pnl in columns.iter_rows()
    ]
    what = "%{text}"
    return _markers(trades["exit_time"], trades["exit_price"], texts, name, shape, role, what)


def _markers(
    time: pl.Series,
    price: pl.Series,
    texts: Sequence[str],
    name: str,
    shape: str,
    role: str,
    what: str,
) -> Scatter:
    return Scatter(
        x=_ms(time),
        y=price.to_numpy(),
        mode="markers",
        name=name,
        text=texts,
        marker={"symbol": shape, "size": 8 if len(time) <= FEW else 5, "color": PALETTE[role]},
        hovertemplate=f"%{{y}}<br>{what}<extra>{name.lower()}</extra>",
    )


def _gate_bar(names: Sequence[str], counts: pl.Series, name: str, color: str, pattern: str) -> Bar:
    return Bar(
        x=counts.to_list(),
        y=names,
        name=name,
        orientation="h",
        marker={"color": color, "pattern": {"shape": pattern, "size": 6, "solidity": 0.25}},
        hovertemplate="%{x:,}<extra>" + name + "</extra>",
    )


def _add(figure: Figure, traces: Sequence[Any], row: int) -> None:
    for trace in traces:
        figure.add_trace(trace, row=row, col=1)


def _label(figure: Figure, row: int, text: str, *, percent: bool = False) -> None:
    """Write a title above the left end of a row's axis, where it costs no width."""
    figure.add_annotation(
        text=escape(text),
        xref="x domain" if row == 1 else f"x{row} domain",
        yref="y domain" if row == 1 else f"y{row} domain",
        x=0,
        y=1,
        xanchor="left",
        yanchor="bottom",
        showarrow=False,
        font={"size": 12},
    )
    if percent:
        axis = "yaxis" if row == 1 else f"yaxis{row}"
        figure.layout[axis].tickformat = ".0%"


def finish(figure: Figure, height: int, *, time_axis: bool = True) -> Figure:
    """Give a figure the look that all share."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 8, "t": 30, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": PALETTE["ink"], "size": 12},
        legend={"orientation": "h", "x": 0, "y": -0.12, "yanchor": "top"},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": PALETTE["faint"]},
        hoverlabel={"align": "left"},
    )
    figure.layout.template = None
    figure.update_xaxes(gridcolor=PALETTE["grid"], zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=PALETTE["grid"], zeroline=False, automargin=True)
    if time_axis:
        figure.update_xaxes(type="date")
        figure.update_layout(hovermode="x")
    return figure


def _ms(time: pl.Series) -> Floats:
    """Return times as milliseconds since 1970, which plotly reads as UTC and stores briefly."""
    values: Floats = (time.to_physical() // NS_PER_MS).cast(pl.Float64).to_numpy()
    return values
