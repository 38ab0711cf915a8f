"""The compiled backtest: the tape of a whole window through the simulated venue and the fold.

It does exactly what a session does, in the same order and through the same handlers, over columns
instead of one event at a time. *Inputs*: a tape, a state, a venue. *Output*: decisions, orders and
fills in buffers that the caller empties when the loop pauses. *Invariant*: nothing here decides.
"""

from __future__ import annotations

import math

import numpy as np

from onefold._compile import kernel, kernel_part
from onefold.fold.books import spendable_nb
from onefold.fold.fills import fill_nb, notice_nb
from onefold.fold.memory import Rows, entry_of, new_root, root_dtype
from onefold.fold.state import account_of, order_row_of, sleeve_of
from onefold.fold.step import advance_nb, bar_nb, change_nb, step_nb, wants_change_nb
from onefold.sim.venue import (
    head_of,
    listed_of,
    open_nb,
    position_of,
    range_nb,
    submit_nb,
)

_EVENTS = (("instrument", np.int16), ("row", np.int32))
_BARS: tuple[tuple[str, type], ...] = (
    ("ts", np.int64), ("ts_open", np.int64), ("open", np.float64), ("high", np.float64),
    ("low", np.float64), ("close", np.float64), ("volume", np.float64), ("bid", np.float64),
    ("ask", np.float64), ("to_close_s", np.int64),
)  # fmt: skip
_SIGNALS: tuple[tuple[str, type], ...] = (
    ("side", np.int8), ("confidence", np.float64), ("score", np.float64), ("edge", np.float64),
    ("volatility", np.float64), ("trend", np.float64), ("barrier", np.float64),
    ("price", np.float64), ("refusals", np.int16),
)  # fmt: skip
_TABLES = (*_EVENTS, *_BARS, *_SIGNALS)
TAPE = root_dtype(
    tuple(name for name, _ in _TABLES),
    (*((f"{name}_columns", "i8") for name, _ in _TABLES), ("strategies", "i8")),
)

(
    instrument_at, row_at, ts_at, ts_open_at, open_at, high_at, low_at, close_at, volume_at, bid_at,
    ask_at, to_close_at, side_at, confidence_at, score_at, edge_at, volatility_at, trend_at,
    barrier_at, price_at, refusals_at,
) = (entry_of(TAPE, name, kind) for name, kind in _TABLES)  # fmt: skip


class Tape:
    """What happened in a window, as read-only tables; compiled code gets `root`.

    `instrument` and `row` have one value per event in order of time: which instrument's bar, and
    where its values stand in the bars' columns. The signals have one row per strategy. What is the
    same in all columns has one.
    """

    def __init__(self, **tables: Rows) -> None:
        self._tables: dict[str, Rows] = {
            name: np.ascontiguousarray(np.atleast_2d(tables[name]), kind) for name, kind in _TABLES
        }  # kept, since the root holds addresses only
        self.events = self._tables["row"].shape[1]
        self.root = new_root(TAPE, self._tables)
        for name, table in self._tables.items():
            self.root[f"{name}_columns"] = table.shape[1]
        self.root["strategies"] = len(self._tables["side"])


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
    state: Rows, venue: Rows, out: Rows, tape: Rows, events: Rows, sent: int, i: int, r: int
) -> int:
    """Let an instrument's resting orders meet a bar: its open, then its range."""
    ts_open, start = ts_open_at(tape, 0, r), open_at(tape, 0, r)
    limited, touched = head_of(venue).volume_share < math.inf, head_of(venue).at_touch != 0
    # What does not matter is not read: it would have to come from far memory.
    volume = volume_at(tape, 0, r) if limited else math.inf
    bid = bid_at(tape, 0, r) if touched else math.nan
    ask = ask_at(tape, 0, r) if touched else math.nan
    n = open_nb(venue, i, ts_open, start, volume, bid, ask, spendable_nb(state, i), events)
    hear_nb(state, out, events, n)
    sent = send_nb(state, venue, out, events, sent)
    if listed_of(venue, i).first_order >= 0:
        n = range_nb(
            venue, i, ts_at(tape, 0, r), ts_open, start, high_at(tape, 0, r), low_at(tape, 0, r),
            close_at(tape, 0, r), spendable_nb(state, i), events,
        )  # fmt: skip
        hear_nb(state, out, events, n)
        sent = send_nb(state, venue, out, events, sent)
    return sent


@kernel_part
def turn_nb(state: Rows, out: Rows, tape: Rows, s: int, i: int, r: int, side: int) -> None:
    """Fold a signal that asks for a change."""
    change_nb(
        state, out, s, i, ts_at(tape, 0, r), side,
        confidence_at(tape, s, r),
        score_at(tape, s, r),
        edge_at(tape, s, r),
        volatility_at(tape, s, r),
        trend_at(tape, s, r),
        barrier_at(tape, s, r),
        price_at(tape, s, r),
        0,  # with a feature unknown the side is HOLD, which asks for no change
        refusals_at(tape, s, r),
    )  # fmt: skip


@kernel
def loop_nb(
    states: Rows,
    venues: Rows,
    outs: Rows,
    tapes: Rows,
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
    state, venue, out, tape = states[0], venues[0], outs[0], tapes[0]
    account = account_of(state)
    room = out.decisions_rows - spare
    sent = out.orders_used
    for k in range(start, stop):
        if max(out.decisions_used, out.orders_used, out.fills_used) > room:
            return k
        i, r = instrument_at(tape, 0, k), row_at(tape, 0, k)
        ts_open = ts_open_at(tape, 0, r)
        if ts_open >= account.day_end_ts:
            advance_nb(state, ts_open + 1)  # what fills in this bar counts for its day
        if listed_of(venue, i).first_order >= 0:
            sent = meet_nb(state, venue, out, tape, events, sent, i, r)
        bar_nb(
            state, out, i, ts_at(tape, 0, r), high_at(tape, 0, r), low_at(tape, 0, r),
            close_at(tape, 0, r), to_close_at(tape, 0, r),
        )  # fmt: skip
        for s in range(tape.strategies):
            side = side_at(tape, s, r)
            if wants_change_nb(state, s, i, side):
                turn_nb(state, out, tape, s, i, r, side)
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
