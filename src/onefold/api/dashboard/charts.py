"""The charts, as options of ECharts: figures of one accent, with the colours of the theme.

Colours are variables of the style, so that one chart serves both themes; gains and losses differ in
shape and fill as well. Times are milliseconds, and shown in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onefold.api.schemas import Bar, EquityPoint, ParameterVersion, Trade

NS_PER_MS = 1_000_000
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
INK, QUIET, LINE = "var(--ink)", "var(--quiet)", "var(--line)"
ACCENT, UP, DOWN = "var(--accent)", "var(--up)", "var(--down)"
LINES = ("var(--accent)", "var(--second)", "var(--third)", "var(--fourth)")
CONF_MIN = "conf_min"


def _base() -> dict[str, Any]:
    return {
        "animation": False,
        "useUTC": True,
        "textStyle": {"fontFamily": FONT, "fontSize": 11, "color": QUIET},
        "tooltip": {
            "trigger": "axis",
            "className": "tip",
            "backgroundColor": "transparent",
            "borderWidth": 0,
            "padding": 0,
            "textStyle": {"color": INK, "fontSize": 12},
            "axisPointer": {"type": "line", "lineStyle": {"color": QUIET, "width": 1}},
            "confine": True,
        },
    }


def _time_axis(**more: Any) -> dict[str, Any]:
    return {
        "type": "time",
        "axisLine": {"lineStyle": {"color": LINE}},
        "axisTick": {"show": False},
        "axisLabel": {"color": QUIET, "hideOverlap": True},
        "splitLine": {"show": False},
        **more,
    }


def _value_axis(**more: Any) -> dict[str, Any]:
    return {
        "type": "value",
        "scale": True,
        "position": "right",
        "axisLabel": {"color": QUIET},
        "splitLine": {"lineStyle": {"color": LINE}},
        "splitNumber": 4,
        **more,
    }


def _line(name: str, data: list[list[float]], color: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "line",
        "data": data,
        "showSymbol": False,
        "lineStyle": {"color": color, "width": 1.5},
        "itemStyle": {"color": color},
        "emphasis": {"disabled": True},
        **more,
    }


def equity_options(points: Sequence[EquityPoint]) -> dict[str, Any]:
    """Return the equity with the drawdown below it."""
    equity = [[one.time // NS_PER_MS, round(one.equity, 2)] for one in points]
    under = [[one.time // NS_PER_MS, round(-abs(one.drawdown) * 100, 3)] for one in points]
    percent = {"axisLabel": {"color": QUIET, "formatter": "{value} %"}, "splitNumber": 2}
    return {
        **_base(),
        "axisPointer": {"link": [{"xAxisIndex": "all"}]},
        "grid": [
            {"left": 4, "right": 64, "top": 10, "height": "60%"},
            {"left": 4, "right": 64, "bottom": 22, "height": "20%"},
        ],
        "xAxis": [
            _time_axis(axisLabel={"show": False}),
            _time_axis(gridIndex=1),
        ],
        "yAxis": [_value_axis(), _value_axis(gridIndex=1, max=0, **percent)],
        "series": [
            _line("Equity", equity, ACCENT, areaStyle={"color": ACCENT, "opacity": 0.08}),
            _line(
                "Drawdown, %",
                under,
                DOWN,
                xAxisIndex=1,
                yAxisIndex=1,
                lineStyle={"color": DOWN, "width": 1},
                areaStyle={"color": DOWN, "opacity": 0.15},
            ),
        ],
    }


def trade_options(bars: Sequence[Bar], trade: Trade) -> dict[str, Any]:
    """Return the bars around a trade, with marks at its entry and its exit."""
    times = [one.time // NS_PER_MS for one in bars]
    marks = [_mark("Entry", trade.entry_time, trade.entry_price, is_up=trade.side == "long")]
    if trade.exit_time is not None:
        marks.append(_mark("Exit", trade.exit_time, trade.exit_price, is_up=trade.side == "short"))
    return {
        **_base(),
        "grid": {"left": 4, "right": 72, "top": 14, "bottom": 24},
        "dataZoom": [{"type": "inside", "zoomOnMouseWheel": "ctrl"}],
        "xAxis": _time_axis(),
        "yAxis": _value_axis(),
        "series": [
            {
                "name": trade.symbol,
                "type": "candlestick",
                "dimensions": ["time", "open", "close", "low", "high"],
                "encode": {"x": 0, "y": [1, 2, 3, 4]},
                "data": [
                    [time, one.open, one.close, one.low, one.high]
                    for time, one in zip(times, bars, strict=True)
                ],
                "itemStyle": {
                    # Rising bars are hollow, falling ones filled: they differ without colours.
                    "color": "var(--ground)",
                    "color0": DOWN,
                    "borderColor": UP,
                    "borderColor0": DOWN,
                },
                "emphasis": {"disabled": True},
            },
            *[mark for mark in marks if mark is not None],
        ],
    }


def _mark(name: str, ts: int, at: float | None, *, is_up: bool) -> dict[str, Any] | None:
    if at is None:
        return None
    return {
        "name": name,
        "type": "scatter",
        "data": [[ts // NS_PER_MS, at]],
        "symbol": "triangle",
        "symbolRotate": 0 if is_up else 180,
        "symbolSize": 14,
        "z": 5,
        "itemStyle": {"color": ACCENT, "borderColor": "var(--ground)", "borderWidth": 1.5},
        "label": {
            "show": True,
            "formatter": name,
            "position": "bottom" if is_up else "top",
            "color": INK,
            "fontWeight": 600,
            "backgroundColor": "var(--raised)",
            "padding": [2, 4],
        },
        "emphasis": {"disabled": True},
    }


def conf_min_options(
    versions: Sequence[ParameterVersion], now_ns: int
) -> tuple[dict[str, Any], int]:
    """Return how the least confidence has changed, a line for each scope, and how many there are.

    Versions come with the newest first; those that wait are not in force, and not drawn.
    """
    lines: dict[str, list[list[float]]] = {}
    for version in sorted(versions, key=lambda one: one.version):
        if version.status != "applied":
            continue
        for change in version.changes:
            if change.mandate != CONF_MIN:
                continue
            scope = "/".join(filter(None, (change.strategy, change.symbol))) or "everything"
            line = lines.setdefault(scope, [])
            at = version.time / NS_PER_MS
            if not line and change.before is not None:
                line.append([at - 1, change.before])
            line.append([at, change.value])
    for line in lines.values():
        line.append([now_ns / NS_PER_MS, line[-1][1]])
    return _steps(lines), len(lines)


def _steps(lines: Mapping[str, list[list[float]]]) -> dict[str, Any]:
    return {
        **_base(),
        "legend": {
            "type": "scroll",
            "top": 0,
            "left": 0,
            "icon": "roundRect",
            "itemHeight": 3,
            "textStyle": {"color": INK, "fontSize": 12},
        },
        "grid": {"left": 4, "right": 44, "top": 32, "bottom": 24},
        "xAxis": _time_axis(),
        "yAxis": _value_axis(min=0, max=1, interval=0.25),
        "series": [
            _line(
                name,
                line,
                LINES[number % len(LINES)],
                step="end",
                showSymbol=True,
                symbolSize=5,
                symbol=("circle", "rect", "triangle", "diamond")[number % 4],
            )
            for number, (name, line) in enumerate(lines.items())
        ],
    }
