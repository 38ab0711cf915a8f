"""The map of a sweep: the objective over two parameters, so that a peak shows as what it is.

A good region is wide; a single bright cell among dark ones is luck. Colours part at zero: what lost
is never painted as the worse half of what won.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from plotly.graph_objects import Figure, Heatmap, Scatter  # type: ignore[import-untyped]

from onefold.learn.config import Range, SweepConfig
from onefold.learn.pages import page
from onefold.views.figures import PALETTE, escape, finish

HEIGHT = 460
PAIRS_MAX = 6
CELLS_MAX = 40
"""Values of a parameter up to which a pair is a map of cells; with more, every trial is a point."""
TEXTS_MAX = 150
"""Cells up to which each has its number written into it."""
COLORS = [[0, PALETTE["loss"]], [0.5, "#f2f2f2"], [1, PALETTE["gain"]]]


def heatmap_html(
    frame: pl.DataFrame,
    config: SweepConfig,
    winner: int,
    *,
    title: str,
    verdict: tuple[str, bool],
    rows: Sequence[tuple[str, str]],
) -> str:
    """Return a page with a map for each pair of parameters; of one parameter, a curve.

    `frame` has a row for each trial, `winner` is the number of the best, `verdict` what it is worth
    in words and whether that is more than luck.
    """
    objective = config.objective
    shown = frame.filter(pl.col("refused") == "").drop_nulls(objective)
    varied = [n for n in config.params if shown[n].n_unique() > 1]
    pairs = [(a, b) for i, a in enumerate(varied) for b in varied[i + 1 :]]
    figures = [
        (f"{objective} by {a} and {b}", _pair(shown, a, b, config, winner)) for a, b in pairs
    ]
    if len(varied) == 1:
        figures = [(f"{objective} by {varied[0]}", _curve(shown, varied[0], config, winner))]
    said, has_skill = verdict
    return page(
        "heatmap.html.j2",
        title,
        figures[:PAIRS_MAX],
        rows=rows,
        verdict=said,
        has_skill=has_skill,
        left=len(figures) - PAIRS_MAX,
    )


def _pair(frame: pl.DataFrame, first: str, second: str, config: SweepConfig, winner: int) -> Figure:
    """Return a pair of parameters as cells, or as points where there are many values."""
    many = max(frame[first].n_unique(), frame[second].n_unique()) > CELLS_MAX
    # Points of a search lie where it looked: in cells most of the map would be empty.
    is_cells = config.method == "grid" and not many
    trace = _cells if is_cells else _points
    figure = Figure(trace(frame, first, second, config.objective))
    figure.add_trace(_star(frame, first, second, winner))
    for name, update in ((first, figure.update_xaxes), (second, figure.update_yaxes)):
        update(title=escape(name), **_axis(frame[name], config, name))
    return finish(figure, HEIGHT, time_axis=False).update_layout(showlegend=False)


def _axis(column: pl.Series, config: SweepConfig, name: str) -> dict[str, Any]:
    """Return what kind of axis a parameter has: of numbers where it is one, else of words."""
    space = config.params[name]
    if not column.dtype.is_numeric():
        return {"type": "category"}
    if isinstance(space, Range) and space.log:
        return {"type": "log"}
    values = column.unique().sort().to_list()
    return {"tickvals": values} if len(values) <= 12 else {}


def _shades(values: pl.Series) -> dict[str, Any]:
    """Return colours that part at zero."""
    most = max(abs(float(values.min())), abs(float(values.max())), 1e-9)  # type: ignore[arg-type]
    return {"colorscale": COLORS, "cmin": -most, "cmid": 0.0, "cmax": most}


def _cells(frame: pl.DataFrame, first: str, second: str, objective: str) -> Heatmap:
    """Return the best objective of every cell."""
    cells = frame.group_by(first, second).agg(pl.col(objective).max()).sort(first, second)
    x, y = (_plain(cells[name].unique().sort()) for name in (first, second))
    best = {(a, b): z for a, b, z in zip(_plain(cells[first]), _plain(cells[second]),
                                         cells[objective], strict=True)}  # fmt: skip
    shades = _shades(cells[objective])
    return Heatmap(
        x=x,
        y=y,
        z=[[best.get((a, b)) for a in x] for b in y],
        colorscale=shades["colorscale"],
        zmin=shades["cmin"],
        zmid=0.0,
        zmax=shades["cmax"],
        texttemplate="%{z:.2f}" if cells.height <= TEXTS_MAX else None,
        hovertemplate="%{x}, %{y}<br>%{z:.3f}<extra></extra>",
        colorbar={"title": escape(objective)},
    )


def _points(frame: pl.DataFrame, first: str, second: str, objective: str) -> Scatter:
    """Return every trial as a point, the best above the others."""
    ordered = frame.sort(objective)
    return Scatter(
        x=_plain(ordered[first]),
        y=_plain(ordered[second]),
        mode="markers",
        marker={
            "color": ordered[objective].to_list(),
            "size": 11,
            "line": {"width": 1, "color": PALETTE["ink"]},
            "colorbar": {"title": escape(objective)},
            **_shades(ordered[objective]),
        },
        text=[f"trial {n}: {v:.3f}" for n, v in ordered.select("trial", objective).iter_rows()],
        hovertemplate="%{x:.4g}, %{y:.4g}<br>%{text}<extra></extra>",
    )


def _star(frame: pl.DataFrame, first: str, second: str, winner: int) -> Scatter:
    """Return the mark of the winner."""
    one = frame.filter(pl.col("trial") == winner)
    return Scatter(
        x=_plain(one[first]),
        y=_plain(one[second]),
        mode="markers",
        name="winner",
        marker={
            "symbol": "circle-open",
            "size": 26,
            "color": "#000000",
            "line": {"width": 3},
        },
        hovertemplate="the winner<extra></extra>",
    )


def _curve(frame: pl.DataFrame, name: str, config: SweepConfig, winner: int) -> Figure:
    objective = config.objective
    best = frame.group_by(name).agg(pl.col(objective).max()).sort(name)
    line = {"color": PALETTE["gain"]}
    figure = Figure(
        Scatter(x=_plain(best[name]), y=best[objective], mode="lines+markers", line=line)
    )
    figure.add_trace(_star(frame, name, objective, winner))
    figure.add_hline(y=0.0, line={"dash": "dot", "color": PALETTE["ink"]})
    figure.update_xaxes(title=escape(name), **_axis(frame[name], config, name))
    figure.update_yaxes(title=escape(objective))
    return finish(figure, HEIGHT, time_axis=False).update_layout(showlegend=False)


def _plain(column: pl.Series) -> list[Any]:
    """Return numbers as they are, and anything else as words for an axis of categories."""
    return column.to_list() if column.dtype.is_numeric() else [str(value) for value in column]
