"""The plots: thinning that keeps spikes, markers that say what happened, texts that stay texts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.views.buy_and_hold import Market
from onefold.views.figures import (
    FEW,
    equity_figure,
    gates_figure,
    most_traded,
    overview_figure,
    price_figure,
    thin,
)

from .worlds import fills_of, random_view


@settings(deadline=None)  # the first call may compile
@given(st.integers(1, 5_000), st.integers(4, 300), st.integers(0, 2**32 - 1))
def test_thinning_keeps_ends_extremes_and_order(n: int, points_max: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=n)
    at = thin(values, points_max)
    assert len(at) <= max(points_max, 0)
    assert (np.diff(at) > 0).all()
    assert (at[0], at[-1]) == (0, n - 1)
    assert values[at].max() == values.max()
    assert values[at].min() == values.min()


def test_short_series_are_not_thinned() -> None:
    assert thin(np.arange(10.0), 10).tolist() == list(range(10))


def test_every_spike_of_a_long_series_stays() -> None:
    values = np.zeros(1_000_000)
    spikes = np.arange(5_000, 1_000_000, 10_000)
    values[spikes] = np.where(np.arange(len(spikes)) % 2, 1.0, -1.0)
    at = thin(values)
    assert len(at) <= 2_000
    assert set(spikes) <= set(at.tolist())


def test_equity_and_drawdown_share_their_times() -> None:
    view = random_view(bars=100)
    held, equity, drawdown = equity_figure(view).data
    assert equity.y[-1] == view.equity_values[-1]
    assert min(drawdown.y) == pytest.approx(view.metrics.max_drawdown_bars)
    assert equity.x[-1] == held.x[-1] == view.equity_ts[-1] // 1_000_000
    assert view.buy_and_hold is not None
    assert held.y[-1] == view.buy_and_hold.equity[-1]


def test_without_anything_to_hold_there_is_one_line() -> None:
    view = replace(random_view(bars=100), market=Market())
    assert [trace.name for trace in equity_figure(view).data] == ["Equity", "Drawdown"]


def test_a_chart_of_many_trades_opens_on_the_last_and_has_them_all() -> None:
    view = random_view(bars=3_000)
    figure = price_figure(view, "ES", points_max=400)
    shown = view.trades["symbol"] == "ES", view.open_trades["symbol"] == "ES"
    entries = pl.concat([view.trades.filter(shown[0]), view.open_trades.filter(shown[1])])
    assert entries.height > 2 * FEW
    start, end = figure.layout.xaxis.range
    times = entries["entry_time"].sort().dt.epoch("ms")
    assert start <= times[-FEW]
    assert (times >= start).sum() - FEW <= 3  # what the margin brings
    assert end >= view.equity_ts[-1] // 1_000_000
    price, long, short, gains, losses = figure.data
    assert len(long.x) + len(short.x) == entries.height
    assert len(gains.x) + len(losses.x) == shown[0].sum()
    strip = figure.layout.xaxis.rangeslider.range
    assert strip[0] == price.x[0] == view.bars["ES"].ts[0] // 1_000_000
    assert len(price.x) <= 400
    late = view.bars["ES"].ts // 1_000_000 >= times[-FEW]
    assert (price.x >= times[-FEW]).sum() >= min(200, late.sum()) - 3


def test_a_chart_of_few_trades_shows_all_of_the_time() -> None:
    figure = price_figure(random_view(bars=300), "ES")
    assert figure.layout.xaxis.range is None
    assert figure.layout.xaxis.rangeslider.range is None


def test_markers_are_the_trades() -> None:
    view = random_view(bars=400)
    _, long, short, gains, losses = price_figure(view, "ES").data
    mine = view.trades.filter(view.trades["symbol"] == "ES")
    running = view.open_trades.filter(view.open_trades["symbol"] == "ES")
    assert len(long.x) + len(short.x) == mine.height + running.height
    assert len(gains.x) == (mine["pnl"] > 0).sum()
    assert len(losses.x) == (mine["pnl"] <= 0).sum()
    assert {long.marker.symbol, short.marker.symbol} == {"triangle-up", "triangle-down"}
    assert gains.marker.symbol != losses.marker.symbol


def test_only_the_last_trades_are_marked() -> None:
    view = random_view(bars=800)
    full, few = price_figure(view, "ES"), price_figure(view, "ES", trades_max=3)
    assert len(few.data[3].x) + len(few.data[4].x) == 3
    assert len(full.data[3].x) + len(full.data[4].x) > 3
    last = view.trades.filter(view.trades["symbol"] == "ES")["exit_price"][-1]
    assert last in [*few.data[3].y, *few.data[4].y]


def test_most_traded_prefers_instruments_with_bars() -> None:
    view = random_view(bars=300, symbols=("A", "B"))
    only_b = view.fill_rows[view.fill_rows["instrument"] == 1]
    assert most_traded(replace(view, fill_rows=only_b)) == "B"
    without_b = {"A": view.bars["A"]}
    assert most_traded(replace(view, fill_rows=only_b, bars=without_b)) == "A"
    assert most_traded(replace(view, bars={})) is None


def test_overview_has_a_price_only_where_there_are_bars() -> None:
    view = random_view(bars=60)
    assert len(overview_figure(view, "GC").data) == 8
    assert len(overview_figure(view, None).data) == 3


def test_gates_without_a_verdict_are_left_out() -> None:
    view = random_view(bars=300)
    rows = view.decision_rows.copy()
    rows["blocked"] &= 0b101
    rows["reason"] = [(int(m) & -int(m)).bit_length() - 1 for m in rows["blocked"]]
    first, also = gates_figure(replace(view, decision_rows=rows).funnel).data
    assert set(first.y) == {"kill_switch", "confidence"}
    assert sum(first.x) == int((rows["blocked"] != 0).sum())
    assert sum(also.x) == int((rows["blocked"] == 0b101).sum())


def test_names_cannot_be_markup_in_a_figure() -> None:
    evil = "<b onclick=alert(1)>&"
    view = random_view(bars=300, symbols=(evil,), strategies=(evil,), gates=(evil,))
    text = overview_figure(view, evil).to_json() + gates_figure(view.funnel).to_json()
    assert "\\u003cb onclick" not in text
    assert "<b onclick" not in text
    assert "&lt;b onclick" in text.replace("\\u0026", "&")


def test_a_run_without_anything_still_draws() -> None:
    view = replace(
        random_view(bars=2),
        bars={},
        fill_rows=fills_of(),
        equity_ts=np.array([], np.int64),
        equity_values=np.array([], np.float64),
    )
    assert len(view.plot().data[0].x) == 0
