"""Fills and decisions as frames: the same rows that the fold wrote, with names and times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from onefold.domain.words import Purpose
from onefold.views.trades import Rows, known, names_of, times_of

PURPOSES = tuple(purpose.name.lower() for purpose in Purpose)
SIDES = ("sell", "none", "buy")


def fills_frame(fills: Rows, symbols: Sequence[str], strategies: Sequence[str]) -> pl.DataFrame:
    """Return an array of `layouts.FILL` as a frame; `qty` is lots, `fee` the instrument's money."""
    return pl.DataFrame(
        {
            "id": fills["id"],
            "order": fills["order"],
            "time": times_of(fills["ts"]),
            "strategy": names_of(strategies, fills["strategy"]),
            "symbol": names_of(symbols, fills["instrument"]),
            "side": names_of(SIDES, fills["side"].astype(np.int64) + 1),
            "purpose": names_of(PURPOSES, fills["purpose"]),
            "qty": fills["qty"],
            "price": fills["price"],
            "fee": fills["fee"],
            "rate": fills["rate"],
            "ml_score": known(fills["score"]),
            "equity": known(fills["equity"]),
        }
    )


def decisions_frame(
    decisions: Rows, symbols: Sequence[str], strategies: Sequence[str], gates: Sequence[str]
) -> pl.DataFrame:
    """Return an array of `layouts.DECISION` as a frame.

    `reason` is the first gate that said no, null where none did; `blocked` lists all of them;
    `order` is null where the decision made no order.
    """
    free = pl.Series(decisions["reason"] < 0)
    reason = names_of([*gates, ""], np.where(decisions["reason"] < 0, -1, decisions["reason"]))
    return pl.DataFrame(
        {
            "id": decisions["id"],
            "time": times_of(decisions["ts"]),
            "strategy": names_of(strategies, decisions["strategy"]),
            "symbol": names_of(symbols, decisions["instrument"]),
            "purpose": names_of(PURPOSES, decisions["purpose"]),
            "side": names_of(SIDES, decisions["side"].astype(np.int64) + 1),
            "qty": decisions["qty"],
            "price": known(decisions["price"]),
            "confidence": known(decisions["confidence"]),
            "ml_score": known(decisions["score"]),
            "equity": known(decisions["equity"]),
            "position": decisions["position"],
            "reason": reason,
            "blocked": _gate_lists(decisions["blocked"], gates),
            "order": decisions["order"],
        }
    ).with_columns(
        pl.when(~free).then("reason"),
        pl.when(pl.col("order") != 0).then("order"),
    )


def _gate_lists(masks: Rows, gates: Sequence[str]) -> pl.Series:
    """Return for every bit mask the list of its gates' names."""
    # A run has few distinct masks: spell out each once.
    distinct, which = np.unique(masks, return_inverse=True)
    spelt = [[g for bit, g in enumerate(gates) if (int(m) >> bit) & 1] for m in distinct]
    column: pl.Series = pl.Series(spelt, dtype=pl.List(pl.String))[which]
    return column
