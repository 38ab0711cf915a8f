"""The gate funnel: of the entries that strategies wanted, how many were stopped, where, and why.

Every decision carries all its verdicts, so two questions can be told apart: which gate was *the*
reason (the first that said no), and how many entries a gate would also have stopped had the ones
before it let them pass. Only entries are counted; exits are not there to be stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from onefold._compile import njit
from onefold.domain.errors import FoldError
from onefold.domain.instruments import Instrument
from onefold.domain.words import Purpose
from onefold.views.trades import Rows, names_of

WANTED, PASSED, ORDERED, FILLED = range(4)
STEPS = ("wanted", "passed", "ordered", "filled")
ENTRY = int(Purpose.ENTRY)


class Funnel(NamedTuple):
    """What became of the entries that were wanted.

    `wanted` entries, of which `passed` met no gate that said no, `ordered` became orders and
    `filled` had at least one fill. `gates` has one row per gate in the fixed order: `gate`, `first`
    (was the reason), `also` (said no behind another gate) and `share` (`first` over `wanted`).
    `by_strategy` and `by_symbol` have a row per name with the same steps, `blocked`, and the gate
    that was most often the reason (`top_gate`, `top_gate_blocked`). `reasons` has `strategy`,
    `symbol`, `gate`, `first` and `also` for every combination that occurred.
    """

    wanted: int
    passed: int
    ordered: int
    filled: int
    gates: pl.DataFrame
    by_strategy: pl.DataFrame
    by_symbol: pl.DataFrame
    reasons: pl.DataFrame

    @property
    def blocked(self) -> int:
        """Return how many wanted entries were stopped by a gate."""
        return self.wanted - self.passed


@njit
def count_gates_nb(
    decisions: Rows, filled: Rows, instruments: int, steps: Rows, first: Rows, also: Rows
) -> None:
    """Count what happened to each wanted entry, by sleeve.

    `filled` tells for each decision whether its order was filled. `steps` is [sleeves, 4], `first`
    and `also` are [sleeves, gates]; a sleeve's number is `strategy * instruments + instrument`.
    """
    gates = first.shape[1]
    for i in range(len(decisions)):
        row = decisions[i]
        if row.purpose != ENTRY:
            continue
        sleeve = row.strategy * instruments + row.instrument
        steps[sleeve, WANTED] += 1
        steps[sleeve, ORDERED] += row.order != 0
        steps[sleeve, FILLED] += filled[i]
        if row.blocked == 0:
            steps[sleeve, PASSED] += 1
            continue
        first[sleeve, row.reason] += 1
        for gate in range(gates):
            if gate != row.reason and (row.blocked >> gate) & 1:
                also[sleeve, gate] += 1


def funnel(
    decisions: Rows,
    fills: Rows,
    gates: Sequence[str],
    instruments: Sequence[Instrument],
    strategies: Sequence[str],
    *,
    last: int | None = None,
) -> Funnel:
    """Return the funnel of all wanted entries, or of the `last` so many.

    `decisions` is an array of `layouts.DECISION`, `fills` of `layouts.FILL`; `gates` are the names
    in the order of the bits. Raises FoldError when a decision names an unknown index or gate.
    """
    recent = decisions if last is None else decisions[_start_of_last(decisions, last) :]
    _check(recent, len(gates), len(instruments), len(strategies))
    sleeves = len(instruments) * len(strategies)
    steps = np.zeros((sleeves, len(STEPS)), np.int64)
    first, also = np.zeros((2, sleeves, len(gates)), np.int64)
    count_gates_nb(recent, _filled(recent, fills), len(instruments), steps, first, also)
    symbols = [i.symbol for i in instruments]
    shape = (len(strategies), len(symbols))
    totals = steps.sum(axis=0)
    return Funnel(
        wanted=int(totals[WANTED]),
        passed=int(totals[PASSED]),
        ordered=int(totals[ORDERED]),
        filled=int(totals[FILLED]),
        gates=_gates_frame(gates, first.sum(axis=0), also.sum(axis=0), int(totals[WANTED])),
        by_strategy=_by("strategy", strategies, gates, *_sum((steps, first), shape, 1)),
        by_symbol=_by("symbol", symbols, gates, *_sum((steps, first), shape, 0)),
        reasons=_reasons(first, also, strategies, symbols, gates),
    )


def _start_of_last(decisions: Rows, count: int) -> int:
    """Return where the last `count` entries begin."""
    entries = np.flatnonzero(decisions["purpose"] == ENTRY)
    if count <= 0 or len(entries) == 0:
        return len(decisions)
    return int(entries[max(0, len(entries) - count)])


def _filled(decisions: Rows, fills: Rows) -> Rows:
    """Return for every decision whether it made an order that was filled."""
    filled = np.zeros(len(decisions), np.int8)
    ordered = np.flatnonzero(decisions["order"])
    filled[ordered] = np.isin(decisions["order"][ordered], fills["order"])
    return filled


def _check(decisions: Rows, gates: int, instruments: int, strategies: int) -> None:
    """Refuse what the compiled loop, which checks no bounds, cannot digest."""
    for field, least, limit in (
        ("instrument", 0, instruments),
        ("strategy", 0, strategies),
        ("reason", -1, gates),
    ):
        column = decisions[field]
        wrong = np.flatnonzero((column < least) | (column >= limit))
        if len(wrong):
            row = decisions[wrong[0]]
            raise FoldError(
                f"decision {row['id']} names {field} {row[field]}, but there are only {limit}"
            )
    wrong = np.flatnonzero((decisions["blocked"] != 0) != (decisions["reason"] >= 0))
    if len(wrong):
        raise FoldError(
            f"decision {decisions[wrong[0]]['id']}: its mask of gates and its reason do not agree"
        )


def _sum(tables: tuple[Rows, Rows], shape: tuple[int, int], axis: int) -> list[Rows]:
    """Return counts by sleeve summed over strategies (axis 0) or instruments (axis 1)."""
    return [t.reshape(*shape, t.shape[1]).sum(axis=axis) for t in tables]


def _gates_frame(gates: Sequence[str], first: Rows, also: Rows, wanted: int) -> pl.DataFrame:
    share = pl.col("first") / wanted if wanted else pl.lit(None, dtype=pl.Float64)
    data = {"gate": list(gates), "first": first, "also": also}
    schema = {"gate": pl.String, "first": pl.Int64, "also": pl.Int64}
    return pl.DataFrame(data, schema=schema).with_columns(share=share)


def _by(
    column: str, names: Sequence[str], gates: Sequence[str], steps: Rows, first: Rows
) -> pl.DataFrame:
    """Return one row per name; `steps` and `first` have a row per name as well."""
    counts = {name: steps[:, at] for at, name in enumerate(STEPS)}
    blocked = steps[:, WANTED] - steps[:, PASSED]
    top = np.argmax(first, axis=1) if gates else np.zeros(len(names), np.int64)
    stopped = pl.col("blocked") > 0
    frame = pl.DataFrame(
        {
            column: pl.Series(list(names), dtype=pl.String),
            **counts,
            "blocked": blocked,
            "top_gate": names_of(gates or [""], top),
            "top_gate_blocked": first.max(axis=1, initial=0),
        }
    )
    return frame.with_columns(pl.when(stopped).then("top_gate"))


def _reasons(
    first: Rows, also: Rows, strategies: Sequence[str], symbols: Sequence[str], gates: Sequence[str]
) -> pl.DataFrame:
    sleeve, gate = np.nonzero(first + also)
    return pl.DataFrame(
        {
            "strategy": names_of(strategies, sleeve // max(1, len(symbols))),
            "symbol": names_of(symbols, sleeve % max(1, len(symbols))),
            "gate": names_of(gates, gate),
            "first": first[sleeve, gate],
            "also": also[sleeve, gate],
        }
    )
