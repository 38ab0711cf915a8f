"""The tables that the command line prints of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onefold.app.output import table
from onefold.views.result import ResultView
from onefold.views.wording import money, number, percent, whole

if TYPE_CHECKING:
    from rich.table import Table

TOP_GATES = 3
"""How many of the gates that stopped the most entries are shown."""


def key_numbers(view: ResultView) -> dict[str, Any]:
    """Return the numbers of a run that the command line shows, as plain values."""
    m = view.metrics
    return {
        "bars": len(view.equity_ts),
        "decisions": len(view.decision_rows),
        "fills": m.fills,
        "trades": m.trades.trades,
        "open_trades": m.open_trades,
        "pnl": m.equity_end - m.cash_start,
        "currency": m.currency,
        "total_return": m.total_return,
        "cagr": m.cagr,
        "sharpe": m.sharpe,
        "max_drawdown": m.max_drawdown,
        "win_rate": m.trades.win_rate,
        "fees": m.fees,
        "top_gates": top_gates(view),
    }


def top_gates(view: ResultView) -> dict[str, int]:
    """Return the gates that stopped the most entries, and how many each."""
    rows = view.funnel.gates.sort("first", descending=True).head(TOP_GATES)
    return {gate: count for gate, count in rows.select("gate", "first").iter_rows() if count}


def number_rows(view: ResultView) -> list[tuple[str, str]]:
    """Return name and text of the key numbers."""
    m = view.metrics
    gates = ", ".join(f"{gate} {count:,}" for gate, count in top_gates(view).items())
    return [
        ("bars", whole(len(view.equity_ts))),
        ("decisions", whole(len(view.decision_rows))),
        ("trades", f"{whole(m.trades.trades)} closed, {whole(m.open_trades)} open"),
        ("P&L", f"{money(m.equity_end - m.cash_start, sign=True)} {m.currency}"),
        ("return", f"{percent(m.total_return, sign=True)}, {percent(m.cagr, sign=True)} a year"),
        ("Sharpe ratio", number(m.sharpe)),
        ("largest drawdown", percent(m.max_drawdown)),
        ("top blocking gates", gates or "none"),
    ]


def strategy_table(view: ResultView) -> Table:
    """Return a line per strategy."""
    rows = [
        (
            row["strategy"],
            whole(row["trades"]),
            whole(row["open_trades"]),
            percent(row["win_rate"], 1),
            number(row["profit_factor"]),
            money(row["fees"]),
            money(row["pnl"], sign=True),
        )
        for row in view.by_strategy.to_dicts()
    ]
    return table(("strategy", "trades", "open", "won", "profit factor", "fees", "P&L"), rows)


def facts_table(rows: list[tuple[str, str]]) -> Table:
    """Return names and values as two columns of text."""
    return table(("", ""), rows, text=2)
