"""The compiled backtest: the tape of a whole window through the simulated venue and the fold.

It does exactly what a session does, in the same order and through the same handlers, over columns
instead of one event at a time. *Inputs*: a tape, a state, a venue. *Output*: decisions, orders and
fills in buffers that the caller empties when the loop pauses. *Invariant*: nothing here decides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from onefold._compile import kernel, kernel_part
from onefold.fold.books import spendable_nb
from onefold.fold.fills import fill_nb, notice_nb
from onefold.fold.memory import Rows
from onefold.fold.state import account_of, order_row_of, sleeve_of
from onefold.fold.step import advance_nb, bar_nb, change_nb, step_nb, wants_change_nb
from onefold.sim.venue import (
    listed_of,
    open_nb,
    position_of,
    range_nb,
    submit_nb,
)


class Tape(NamedTuple):
    """What happened in a window, as read-only columns.

    `instrument` and `row` have one value per event in order of time: which instrument's bar, and
    where its values stand in the columns. `volume`, `bid`, `ask` and `to_close_s` may have one
    value for all. The signals' arrays have one row per strategy; all but `side` may have one
    column.
    """

    instrument: Rows
    row: Rows
    ts: Rows
    ts_open: Rows
    open: Rows
    high: Rows
    low: Rows
    close: Rows
    volume: Rows
    bid: Rows
    ask: Rows
    to_close_s: Rows
    side: Rows
    confidence: Rows
    score: Rows
    edge: Rows
    volatility: Rows
    trend: Rows
    barrier: Rows
    price: Rows
    unready: Rows


@kernel_part
def value_at_nb(column: Rows, r: Rows) -> Rows:
    """Return a column's value in a row; a column of one value has it in every row."""
    return column[r] if len(column) > 1 else column[0]


@kernel_part
def opinion_at_nb(table: Rows, s: int, r: Rows) -> Rows:
    """Return a strategy's value in a row; a table of one column has it in every row."""
    return table[s, r] if table.shape[1] > 1 else table[s, 0]


@kernel_part
def hear_nb(state: Rows, out: Rows, events: Rows, n: int) -> None:
    """Fold what the venue said."""
    for k in range(n):
        e = events[k]
        if e.notice < 0:
            fill_nb(
                state, out, e.id, e.order, e.strategy, e.instrument, e.ts, e.side, e.qty, e.price,
                e.fee,
            )  # fmt: skip
        else:
            notice_nb(state, e.order, e.instrument, e.notice)


@kernel_part
def send_nb(state: Rows, venue: Rows, out: Rows, events: Rows, sent: int) -> int:
    """Give the venue every instruction since `sent`, and fold its answers."""
    while sent < out.orders_used:
        n = submit_nb(venue, order_row_of(out, sent), events, 0)
        sent += 1
        if n > 0:
            hear_nb(state, out, events, n)
    return sent


@kernel_part
def restate_nb(venue: Rows, state: Rows) -> None:
    """Give the venue the books after a corporate action, as a statement of account."""
    for s in range(state.strategies_rows):
        for i in range(state.instruments_rows):
            position_of(venue, s, i).qty = sleeve_of(state, s, i).qty


@kernel_part
def meet_nb(
    state: Rows,
    venue: Rows,
    out: Rows,
    events: Rows,
    sent: int,
    i: int,
    ts: int,
    ts_open: int,
    start: float,
    high: float,
    low: float,
    close: float,
    volume: float,
    bid: float,
    ask: float,
) -> int:
    """Let an instrument's resting orders meet a bar: its open, then its range."""
    n = open_nb(venue, i, ts_open, start, volume, bid, ask, spendable_nb(state, i), events)
    hear_nb(state, out, events, n)
    sent = send_nb(state, venue, out, events, sent)
    if listed_of(venue, i).first_order >= 0:
        n = range_nb(venue, i, ts, ts_open, start, high, low, close, spendable_nb(state, i), events)
        hear_nb(state, out, events, n)
        sent = send_nb(state, venue, out, events, sent)
    return sent


@kernel
def loop_nb(
    states: Rows,
    venues: Rows,
    outs: Rows,
    tape: Tape,
    events: Rows,
    equity: Rows,
    start: int,
    stop: int,
    spare: int,
) -> int:
    """Run the tape from event `start` up to `stop`; return the first event that was not run.

    It pauses when fewer than `spare` rows are left in a buffer, or on a fault of the books.
    `equity` gets the account's equity after every event.
    """
    state, venue, out = states[0], venues[0], outs[0]
    account = account_of(state)
    room = out.decisions_rows - spare
    sent = out.orders_used
    for k in range(start, stop):
        if max(out.decisions_used, out.orders_used, out.fills_used) > room:
            return k
        # Unsigned, so that numba does not look for negative indices at every use.
        i, r = tape.instrument[k], np.uint64(tape.row[k])
        if tape.ts_open[r] >= account.day_end_ts:
            advance_nb(state, tape.ts_open[r] + 1)  # what fills in this bar counts for its day
        if listed_of(venue, i).first_order >= 0:
            sent = meet_nb(
                state, venue, out, events, sent, i, tape.ts[r], tape.ts_open[r], tape.open[r],
                tape.high[r], tape.low[r], tape.close[r],
                value_at_nb(tape.volume, r),
                value_at_nb(tape.bid, r),
                value_at_nb(tape.ask, r),
            )  # fmt: skip
        bar_nb(
            state, out, i, tape.ts[r], tape.high[r], tape.low[r], tape.close[r],
            value_at_nb(tape.to_close_s, r),
        )  # fmt: skip
        for s in range(tape.side.shape[0]):
            side = int(tape.side[s, r])
            if not wants_change_nb(state, s, i, side):
                continue
            change_nb(
                state, out, s, i, tape.ts[r], side,
                opinion_at_nb(tape.confidence, s, r),
                opinion_at_nb(tape.score, s, r),
                opinion_at_nb(tape.edge, s, r),
                opinion_at_nb(tape.volatility, s, r),
                opinion_at_nb(tape.trend, s, r),
                opinion_at_nb(tape.barrier, s, r),
                opinion_at_nb(tape.price, s, r),
                opinion_at_nb(tape.unready, s, r),
            )  # fmt: skip
        if out.orders_used > sent:
            sent = send_nb(state, venue, out, events, sent)
        equity[k] = account.equity
        if account.fault != 0:
            return k
    return stop


@kernel
def input_nb(states: Rows, venues: Rows, outs: Rows, inputs: Rows, k: int, events: Rows) -> None:
    """Fold input `k`, a row of `layouts.EVENT` that is no bar, and what follows from it."""
    state, venue, out = states[0], venues[0], outs[0]
    sent = out.orders_used
    step_nb(state, out, inputs[k])
    restate_nb(venue, state)
    send_nb(state, venue, out, events, sent)
