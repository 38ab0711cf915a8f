"""Round trips: the trades that people talk about, folded from the fills that really happened.

A trade belongs to one sleeve (one strategy in one instrument) and runs from flat to flat. Adding
to a position and leaving it in parts stay within one trade; a fill that turns a position round
closes one trade and opens the next. Nothing here is stored: trades can be rebuilt from the fills
at any time, so they cannot disagree with them.

Money: prices are averages over the fills of a trade. Profit is made in the instrument's currency
against the average cost of what is held, and turned into the base currency at the rate of the fill
that realised it; each fee is turned at the rate of its own fill. A roll to the next contract moves
the cost by the gap between the two, so that the gap is neither won nor lost; prices stay those at
which was traded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from onefold._compile import njit
from onefold.domain.errors import FoldError
from onefold.domain.instruments import Instrument
from onefold.domain.words import Purpose

Rows = Any  # a structured array: numba gives its rows attributes that numpy's types do not have

TIME = pl.Datetime("ns", "UTC")
PERCENT = 100.0

_SPLIT, _ROLL = int(Purpose.SPLIT), int(Purpose.ROLL)

TRADE = np.dtype(
    [
        ("entry_ts", "i8"),
        ("exit_ts", "i8"),
        ("entry_qty", "i8"),
        ("exit_qty", "i8"),
        ("position", "i8"),
        ("entry_value", "f8"),
        ("exit_value", "f8"),
        ("cost", "f8"),
        ("gross", "f8"),
        ("pnl", "f8"),
        ("fees", "f8"),
        ("entry_base", "f8"),
        ("score", "f8"),
        ("strategy", "i4"),
        ("instrument", "i4"),
        ("side", "i1"),
        ("purpose", "i1"),
        ("pad", "u1", (6,)),
    ]
)
"""A trade in the making. Values are lots times price; `cost` is the value of what is still held."""

SCHEMA: dict[str, Any] = {
    "id": pl.Int64,
    "strategy": pl.String,
    "symbol": pl.String,
    "side": pl.String,
    "entry_time": TIME,
    "entry_price": pl.Float64,
    "entry_size": pl.Int64,
    "exit_time": TIME,
    "exit_price": pl.Float64,
    "exit_size": pl.Int64,
    "pnl": pl.Float64,
    "pnl_percent": pl.Float64,
    "exit_reason": pl.String,
    "ml_score": pl.Float64,
    "fees": pl.Float64,
    "gross": pl.Float64,
    "open_size": pl.Int64,
    "open_price": pl.Float64,
}
"""The columns of both frames of `Trades`."""


class Trades(NamedTuple):
    """Finished and running round trips, numbered together in the order in which they opened.

    Sizes are lots; `pnl` and `fees` are in the base currency, `pnl` net of fees; `gross` is the
    profit before fees in the instrument's currency; `pnl_percent` is `pnl` as a percentage of the
    value entered. A running trade has no `exit_time` and `exit_reason`; its `pnl` is what its
    partial exits have realised so far less its fees; `open_size` lots are still held at the average
    price `open_price`.
    """

    closed: pl.DataFrame
    open: pl.DataFrame


@njit
def _exit_nb(trade: Rows, fill: Rows, qty: int, point_value: float) -> None:
    """Take `qty` lots out of a trade at its average cost."""
    cost = trade.cost * (qty / trade.position)
    gross = trade.side * (qty * fill.price - cost) * point_value
    fee = fill.fee * fill.rate * (qty / fill.qty)
    trade.cost -= cost
    trade.position -= qty
    trade.exit_qty += qty
    trade.exit_value += qty * fill.price
    trade.gross += gross
    trade.pnl += gross * fill.rate - fee
    trade.fees += fee
    trade.exit_ts = fill.ts
    trade.purpose = fill.purpose


@njit
def _enter_nb(trade: Rows, fill: Rows, qty: int, point_value: float) -> None:
    """Add `qty` lots to a trade."""
    value = qty * fill.price
    fee = fill.fee * fill.rate * (qty / fill.qty)
    trade.cost += value
    trade.position += qty
    trade.entry_qty += qty
    trade.entry_value += value
    trade.entry_base += abs(value) * point_value * fill.rate
    trade.pnl -= fee
    trade.fees += fee


@njit
def _split_nb(trade: Rows, fill: Rows) -> None:
    """Multiply a running trade's lots by a split's ratio; parts of a lot were paid as income."""
    trade.cost *= fill.qty / (trade.position * fill.price)
    trade.position = fill.qty
    trade.entry_qty = round(trade.entry_qty * fill.price)
    trade.exit_qty = round(trade.exit_qty * fill.price)
    if trade.position == 0:
        trade.exit_ts = fill.ts
        trade.purpose = fill.purpose


@njit
def _roll_nb(trade: Rows, fill: Rows) -> None:
    """Move a running trade to the next contract: its cost moves with the price, and it pays."""
    trade.cost += trade.position * fill.price
    trade.pnl -= fill.fee * fill.rate
    trade.fees += fill.fee * fill.rate


@njit
def round_trips_nb(fills: Rows, point_value: Rows, current: Rows, trades: Rows) -> int:
    """Fold fills into `trades` and return how many there are.

    `current` holds the row of the running trade of every sleeve, or -1; a sleeve's number is
    `strategy * instruments + instrument`. A fill opens at most one trade, so `trades` needs as many
    rows as there are fills, all zero.
    """
    count = 0
    instruments = len(point_value)
    for fill in fills:
        sleeve = fill.strategy * instruments + fill.instrument
        point = point_value[fill.instrument]
        row = current[sleeve]
        if fill.purpose == _SPLIT:
            if row >= 0:
                _split_nb(trades[row], fill)
                current[sleeve] = row if trades[row].position else -1
            continue
        if fill.purpose == _ROLL:
            if row >= 0:
                _roll_nb(trades[row], fill)
            continue
        qty = fill.qty
        if row >= 0 and trades[row].side != fill.side:
            out = min(qty, trades[row].position)
            _exit_nb(trades[row], fill, out, point)
            qty -= out
            if trades[row].position == 0:
                row = -1
        if qty > 0:
            if row < 0:
                row = count
                count += 1
                trade = trades[row]
                trade.strategy = fill.strategy
                trade.instrument = fill.instrument
                trade.side = fill.side
                trade.score = fill.score
                trade.entry_ts = fill.ts
            _enter_nb(trades[row], fill, qty, point)
        current[sleeve] = row
    return count


def trade_rows(fills: Rows, instruments: Sequence[Instrument], strategies: Sequence[str]) -> Rows:
    """Return the trades that the fills make, as rows of `TRADE` in the order in which they opened.

    `fills` is an array of `layouts.FILL` in the order in which they were folded; its indices refer
    to `instruments` and `strategies`. A trade whose `position` is not zero still runs. Raises
    FoldError when a fill names an unknown index or has no lots.
    """
    _check(fills, len(instruments), len(strategies))
    point_value = np.array([i.point_value for i in instruments], dtype=np.float64)
    current = np.full(len(instruments) * len(strategies), -1, dtype=np.int64)
    rows = np.zeros(len(fills), TRADE)
    return rows[: round_trips_nb(fills, point_value, current, rows)]


def round_trips(
    fills: Rows, instruments: Sequence[Instrument], strategies: Sequence[str]
) -> Trades:
    """Return the closed and the open trades that the fills make, as frames.

    The arguments and errors are those of `trade_rows`. Closed trades are sorted by their exit, open
    ones by their entry.
    """
    rows = trade_rows(fills, instruments, strategies)
    runs = rows["position"] > 0
    ended = np.flatnonzero(~runs)
    ended = ended[np.argsort(rows["exit_ts"][ended], kind="stable")]
    symbols = [i.symbol for i in instruments]
    closed = _frame(rows, ended, symbols, strategies)
    running = _frame(rows, np.flatnonzero(runs), symbols, strategies)
    never = pl.lit(None)
    running = running.with_columns(
        exit_time=never.cast(TIME), exit_reason=never.cast(pl.String)
    ).select(list(SCHEMA))
    return Trades(closed, running)


def reconcile(trades: Trades, fills: Rows, instruments: Sequence[Instrument]) -> pl.DataFrame:
    """Compare the trades with the money that the fills moved, per instrument, in its currency.

    `cash` is what the fills and rolls paid out and took in, without fees; `realised` the trades'
    profit before fees; `held` the cost of what is still open. `difference` is
    `cash - realised + held` and zero but for rounding; `fees_difference` is the same for the fees,
    in the base currency.
    """
    both = pl.concat(trades).with_columns(
        held=pl.when(pl.col("side") == "long").then(1).otherwise(-1)
        * pl.col("open_size")
        * pl.col("open_price").fill_null(0.0)
    )
    lines = []
    for index, instrument in enumerate(instruments):
        mine = fills[(fills["instrument"] == index) & (fills["purpose"] != _SPLIT)]
        theirs = both.filter(pl.col("symbol") == instrument.symbol)
        point = instrument.point_value
        cash = -float(np.sum(mine["side"] * mine["qty"] * mine["price"])) * point
        realised, held = float(theirs["gross"].sum()), float(theirs["held"].sum()) * point
        fees = float(np.sum(mine["fee"] * mine["rate"]))
        lines.append(
            {
                "symbol": instrument.symbol,
                "cash": cash,
                "realised": realised,
                "held": held,
                "difference": cash - realised + held,
                "fees_difference": fees - float(theirs["fees"].sum()),
            }
        )
    return pl.DataFrame(lines)


def names_of(names: Sequence[str], index: Rows) -> pl.Series:
    """Return the name of every index as a column of text."""
    column: pl.Series = pl.Series(list(names), dtype=pl.String)[index.astype(np.int64)]
    return column


def times_of(ts: Rows) -> pl.Series:
    """Return nanoseconds UTC as a column of times."""
    return pl.Series(np.ascontiguousarray(ts), dtype=pl.Int64).cast(TIME)


def known(values: Rows) -> pl.Series:
    """Return numbers as a column in which NaN has become null."""
    return pl.Series(np.ascontiguousarray(values), dtype=pl.Float64).fill_nan(None)


def _check(fills: Rows, instruments: int, strategies: int) -> None:
    """Refuse what the compiled loop, which checks no bounds, cannot digest."""
    for field, limit in (("instrument", instruments), ("strategy", strategies)):
        column = fills[field]
        wrong = np.flatnonzero((column < 0) | (column >= limit))
        if len(wrong):
            fill = fills[wrong[0]]
            raise FoldError(
                f"fill {fill['id']} names {field} {fill[field]}, but there are only {limit}"
            )
    wrong = np.flatnonzero((fills["qty"] <= 0) & (fills["purpose"] != _SPLIT))
    if len(wrong):
        fill = fills[wrong[0]]
        raise FoldError(f"fill {fill['id']} has {fill['qty']} lots; a fill has at least one")


def _frame(
    rows: Rows, order: Rows, symbols: Sequence[str], strategies: Sequence[str]
) -> pl.DataFrame:
    """Return the rows that `order` lists, as a frame of `SCHEMA`."""
    # `take` copies whole rows; indexing with an array copies them field by field, 30 times slower.
    ids, rows = order + 1, rows.take(order)
    data = {
        "id": ids,
        "strategy": names_of(strategies, rows["strategy"]),
        "symbol": names_of(symbols, rows["instrument"]),
        "side": names_of(("long", "short"), rows["side"] < 0),
        "entry_time": times_of(rows["entry_ts"]),
        "entry_price": _divide(rows["entry_value"], rows["entry_qty"]),
        "entry_size": rows["entry_qty"],
        "exit_time": times_of(rows["exit_ts"]),
        "exit_price": _divide(rows["exit_value"], rows["exit_qty"]),
        "exit_size": rows["exit_qty"],
        "pnl": rows["pnl"],
        "pnl_percent": _divide(rows["pnl"] * PERCENT, rows["entry_base"]),
        "exit_reason": names_of(_REASONS, rows["purpose"]),
        "ml_score": known(rows["score"]),
        "fees": rows["fees"],
        "gross": rows["gross"],
        "open_size": rows["position"],
        "open_price": _divide(rows["cost"], rows["position"]),
    }
    return pl.DataFrame(data, schema=SCHEMA)


def _divide(total: Rows, by: Rows) -> pl.Series:
    """Return `total / by`, null where there is nothing to divide by."""
    if np.all(by):
        return pl.Series(total / by)
    return known(np.divide(total, by, out=np.full(len(total), np.nan), where=by != 0))


def _reason(purpose: Purpose) -> str:
    # An entry the other way ends a trade because the strategy's signal turned.
    return (Purpose.SIGNAL if purpose is Purpose.ENTRY else purpose).name.lower()


_REASONS = tuple(_reason(purpose) for purpose in Purpose)
