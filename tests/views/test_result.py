"""One object per run: what it derives fits together, and costs nothing until it is asked for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from onefold.domain.errors import ConfigError

from .worlds import fills_of, random_view


def test_parts_agree_with_each_other() -> None:
    view = random_view(bars=500)
    m = view.metrics
    assert m.trades.trades == view.trades.height == view.by_strategy["trades"].sum()
    assert m.open_trades == view.open_trades.height
    assert view.by_symbol["pnl"].sum() == pytest.approx(m.trades.pnl)
    assert view.funnel.filled == view.fills.filter(view.fills["purpose"] == "entry").height
    assert float(np.prod(view.daily.returns + 1)) - 1 == pytest.approx(m.total_return)
    assert float((view.monthly["return"] + 1).product()) - 1 == pytest.approx(m.total_return)
    assert view.equity["equity"][-1] == m.equity_end


def test_profit_of_all_trades_and_what_is_held_is_the_change_of_equity() -> None:
    view = random_view(bars=500)
    last = {symbol: bars.close[-1] for symbol, bars in view.bars.items()}
    unrealised = sum(
        (1 if t["side"] == "long" else -1)
        * t["open_size"]
        * (last[t["symbol"]] - t["open_price"])
        * 10.0
        for t in view.open_trades.to_dicts()
    )
    change = view.metrics.equity_end - view.cash
    pnl = float(view.trades["pnl"].sum()) + float(view.open_trades["pnl"].sum())
    assert pnl + unrealised == pytest.approx(change, rel=1e-9)


def test_decisions_and_fills_carry_names_and_nulls() -> None:
    view = random_view(bars=200)
    decisions, fills = view.decisions, view.fills
    stopped = decisions.filter(decisions["reason"].is_not_null())
    assert stopped.height == view.funnel.blocked > 0
    assert (stopped["blocked"].list.first() == stopped["reason"]).all()
    assert (stopped["blocked"].list.len() >= 1).all()
    free = decisions.filter(decisions["reason"].is_null())
    assert (free["blocked"].list.len() == 0).all()
    assert stopped["order"].null_count() == stopped.height
    assert free["order"].null_count() == 0
    assert set(fills["side"].unique()) == {"buy", "sell"}
    assert set(fills["symbol"].unique()) <= {"ES", "GC"}
    assert fills["ml_score"].null_count() == fills.height


def test_funnel_of_the_last_decisions() -> None:
    view = random_view(bars=300)
    assert view.funnel_of_last(50).wanted == 50
    assert view.funnel_of_last(None).wanted == view.funnel.wanted


def test_plot_of_an_unknown_symbol_names_the_nearest() -> None:
    view = random_view(bars=20, symbols=("EURUSD",))
    with pytest.raises(ConfigError, match="did you mean 'EURUSD'"):
        view.plot("EURUDS")
    assert len(view.plot("EURUSD").data) == 8
    assert len(view.plot().data) == 8


def test_run_without_bars_or_trades_has_every_view() -> None:
    view = replace(
        random_view(bars=2),
        bars={},
        fill_rows=fills_of(),
        decision_rows=random_view(bars=2).decision_rows[:0],
        equity_ts=np.array([], np.int64),
        equity_values=np.array([], np.float64),
    )
    assert view.trades.is_empty()
    assert view.decisions.is_empty()
    assert view.monthly.is_empty()
    assert view.metrics.total_return == 0.0
    assert view.by_strategy["trades"].to_list() == [0, 0]
    assert "no bars" in view._repr_html_()
    assert "There was no bar" in view.report()


def test_repr_is_one_line() -> None:
    text = repr(random_view(bars=300))
    assert text.startswith("<Backtest: ")
    assert "2 strategies" in text
    assert "\n" not in text


def test_result_does_not_import_plotly_or_jinja() -> None:
    code = (
        "import sys, onefold.views.result; "
        "print([m for m in ('plotly', 'jinja2', 'pandas') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
