"""The map of a sweep: the objective over two parameters, so that a peak shows as what it is.

A good region is wide; a single bright cell among dark ones is luck.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from plotly.graph_objects import Figure, Heatmap, Scatter  # type: ignore[import-untyped]

from onefold.learn.pages import page
from onefold.views.figures import PALETTE, escape, finish

HEIGHT = 460
PAIRS_MAX = 6
CELLS_MAX = 40
"""Values of a parameter that get a row of their own; more are put into bins."""


def heatmap_html(
    frame: pl.DataFrame, names: Sequence[str], objective: str, rows: Sequence[tuple[str, str]]
) -> str:
    """Return a page with a map for each pair of parameters; of one parameter, a curve."""
    shown = frame.filter(pl.col("refused") == "").drop_nulls(objective)
    varied = [n for n in names if shown[n].n_unique() > 1]
    figures = [
        (f"{objective} by {first} and {second}", _map(shown, first, second, objective))
        for i, first in enumerate(varied)
        for second in varied[i + 1 :]
    ]
    if len(varied) == 1:
        figures = [(f"{objective} by {varied[0]}", _curve(shown, varied[0], objective))]
    title = f"Sweep of {', '.join(names)}"
    return page("heatmap.html.j2", title, figures[:PAIRS_MAX], rows=rows)


def _binned(column: pl.Series) -> pl.Series:
    """Return values, or where there are many numbers the middle of the bin of each."""
    if column.n_unique() <= CELLS_MAX or not column.dtype.is_numeric():
        return column
    low, high = float(column.min()), float(column.max())  # type: ignore[arg-type]
    width = (high - low) / CELLS_MAX
    bins = ((column - low) / width).floor().clip(0, CELLS_MAX - 1)
    return low + (bins + 0.5) * width


def _map(frame: pl.DataFrame, first: str, second: str, objective: str) -> Figure:
    """Return the best objective of every cell."""
    cells = (
        frame.with_columns(_binned(frame[first]).alias("x"), _binned(frame[second]).alias("y"))
        .group_by("x", "y")
        .agg(pl.col(objective).max())
        .sort("x", "y")
    )
    table = cells.pivot("x", index="y", values=objective, sort_columns=False).sort("y")
    x = cells["x"].unique(maintain_order=True).to_list()
    figure = Figure(Heatmap(
        x=[str(_short(v)) for v in x],
        y=[str(_short(v)) for v in table["y"].to_list()],
        z=table.drop("y").to_numpy(),
        colorscale=[[0, PALETTE["loss"]], [0.5, "#f2f2f2"], [1, PALETTE["gain"]]],
        hovertemplate="%{x}, %{y}<br>%{z:.3f}<extra></extra>",
    ))  # fmt: skip
    figure.update_xaxes(title=escape(first), type="category")
    figure.update_yaxes(title=escape(second), type="category")
    return finish(figure, HEIGHT, time_axis=False)


def _curve(frame: pl.DataFrame, name: str, objective: str) -> Figure:
    best = frame.group_by(name).agg(pl.col(objective).max()).sort(name)
    line = {"color": PALETTE["gain"]}
    figure = Figure(Scatter(x=best[name], y=best[objective], mode="lines+markers", line=line))
    figure.update_xaxes(title=escape(name))
    figure.update_yaxes(title=escape(objective))
    return finish(figure, HEIGHT, time_axis=False)


def _short(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value
