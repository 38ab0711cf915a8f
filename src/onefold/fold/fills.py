"""What a venue says of an order, folded: fills into books and positions, notices into slots.

*Inputs*: fills and notices. *Output*: the books, folded fills in `Out.fills`, exits that protect
what was opened. *Invariant*: every fill counts exactly once, even one that nobody asked for; then
the books take it, and trading stops until a person has looked.
"""

from __future__ import annotations

import math

from onefold._compile import kernel_part
from onefold.domain.words import (
    Notice,
    OrderKind,
    OrderState,
    Purpose,
)
from onefold.fold.books import (
    average_nb,
    closed_nb,
    trade_nb,
)
from onefold.fold.exits import (
    count_position_nb,
    exit_nb,
    open_levels_nb,
    protect_nb,
    sign_nb,
)
from onefold.fold.memory import Rows
from onefold.fold.orders import (
    cancel_beside_nb,
    cancel_working_nb,
    find_nb,
    leaving_nb,
    reduce_nb,
    release_nb,
)
from onefold.fold.state import (
    account_of,
    currency_of,
    fill_row_of,
    instrument_of,
    sleeve_of,
    slot_of,
    strategy_of,
)

_ENTRY = int(Purpose.ENTRY)
_SIGNAL, _TIME = int(Purpose.SIGNAL), int(Purpose.TIME)
_COMMAND, _ADOPT = int(Purpose.COMMAND), int(Purpose.ADOPT)
_MARKET, _STOP = int(OrderKind.MARKET), int(OrderKind.STOP)
_WORKING = int(OrderState.WORKING)
_UNKNOWN = int(OrderState.UNKNOWN)


@kernel_part
def fill_nb(
    state: Rows,
    out: Rows,
    fill: int,
    order: int,
    s: int,
    i: int,
    ts: int,
    side: int,
    qty: int,
    price: float,
    fee: float,
) -> None:
    """Fold a fill: books, the sleeve's position, its order, its exits."""
    account = account_of(state)
    account.fills += 1
    account.ts = max(account.ts, ts)
    at = find_nb(state, i, order)
    sleeve = sleeve_of(state, s, i)
    purpose, score = _COMMAND, math.nan
    left = 0
    if at >= 0:
        left = slot_of(state, at).qty - slot_of(state, at).filled
        purpose, score = slot_of(state, at).purpose, slot_of(state, at).score
        slot = slot_of(state, at)
        if slot.kind == _STOP and qty < left:
            slot.kind = _MARKET  # touched: its rest fills at the next chance
            if purpose != _ENTRY:
                sleeve.exiting = 1
                cancel_beside_nb(state, out, at, ts)  # or the target fills as well
        reduce_nb(state, at, min(qty, left))
    if qty > left:
        account.reconciled = 0  # more than anybody asked for: the books take it, trading stops
    before = sleeve.qty
    _trade_sleeve_nb(state, s, i, side * qty, price, fee)
    trade_nb(state, i, side * qty, price, fee)
    write_fill_nb(state, out, fill, order, s, i, ts, side, qty, price, fee, purpose, score)
    _repeat_nb(state, s, ts)
    if sleeve.qty == 0:
        flat_nb(state, out, s, i, ts, purpose)
    elif purpose == _ENTRY:
        _opened_nb(state, out, s, i, ts)
    elif sign_nb(sleeve.qty) != sign_nb(before) or abs(sleeve.qty) > abs(before):
        _overshot_nb(state, out, s, i, ts)
    else:
        _reduced_nb(state, out, s, i, ts)
    count_position_nb(state, sleeve)


@kernel_part
def _overshot_nb(state: Rows, out: Rows, s: int, i: int, ts: int) -> None:
    """Leave at once what an exit has opened: two of them filled before one could be cancelled."""
    sleeve = sleeve_of(state, s, i)
    sleeve.target, sleeve.exiting, sleeve.bars_held = 0, 0, 0
    sleeve.stop_price = sleeve.take_price = sleeve.trail_price = sleeve.best_price = math.nan
    cancel_working_nb(state, out, s, i, ts, True)
    cancel_working_nb(state, out, s, i, ts, False)
    exit_nb(state, out, s, i, ts, _SIGNAL)


@kernel_part
def _reduced_nb(state: Rows, out: Rows, s: int, i: int, ts: int) -> None:
    """See to what an exit has left of a position: its order works on, or it is protected again."""
    sleeve = sleeve_of(state, s, i)
    if sleeve.exiting and not leaving_nb(state, s, i):
        sleeve.exiting = 0  # the position had grown meanwhile (a split): leave the rest as well
    if strategy_of(state, s).resting and not sleeve.exiting:
        protect_nb(state, out, s, i, ts)


@kernel_part
def _trade_sleeve_nb(state: Rows, s: int, i: int, lots: int, price: float, fee: float) -> None:
    """Enter signed lots in the sleeve's own books, which explain the account's."""
    instrument, strategy = instrument_of(state, i), strategy_of(state, s)
    sleeve = sleeve_of(state, s, i)
    rate = currency_of(state, instrument.currency).rate
    closed = closed_nb(sleeve.qty, lots)
    gain = (closed * instrument.point * (price - sleeve.average) - fee) * rate
    sleeve.realised += gain
    sleeve.trade_pnl += gain
    strategy.realised += gain
    before = sleeve.qty
    used = abs(lots + closed) * abs(price) * instrument.point * rate
    if closed != 0:
        used -= sleeve.used * closed / before
    sleeve.used += used
    strategy.used += used
    sleeve.average = average_nb(before, sleeve.average, lots, price)
    sleeve.qty += lots
    instrument.open_sleeves += (sleeve.qty != 0) - (before != 0)
    instrument.held_lots += abs(sleeve.qty) - abs(before)


@kernel_part
def write_fill_nb(
    state: Rows,
    out: Rows,
    fill: int,
    order: int,
    s: int,
    i: int,
    ts: int,
    side: int,
    qty: int,
    price: float,
    fee: float,
    purpose: int,
    score: float,
) -> None:
    """Write the folded fill with the equity after it."""
    row = fill_row_of(out, out.fills_used)
    out.fills_used += 1
    row.id, row.order, row.ts, row.qty, row.price, row.fee = fill, order, ts, qty, price, fee
    row.rate = currency_of(state, instrument_of(state, i).currency).rate
    row.score, row.equity = score, account_of(state).equity
    row.instrument, row.strategy, row.side, row.purpose = i, s, side, purpose


@kernel_part
def _repeat_nb(state: Rows, s: int, ts: int) -> None:
    """Disable a strategy that fills too often: a runaway is stopped until a person resets it."""
    strategy = strategy_of(state, s)
    if ts - strategy.repeat_start >= strategy.repeat_window_ns:
        strategy.repeat_start, strategy.repeat_count = ts, 0
    strategy.repeat_count += 1
    if strategy.repeat_count > strategy.repeat_max:
        strategy.disabled = 1


@kernel_part
def _opened_nb(state: Rows, out: Rows, s: int, i: int, ts: int) -> None:
    """Set the exits of a position that an entry has just opened or enlarged."""
    strategy = strategy_of(state, s)
    sleeve = sleeve_of(state, s, i)
    if sleeve.bars_held == 0:
        sleeve.entry_ts = ts
    open_levels_nb(strategy, sleeve)
    if strategy.resting and not sleeve.exiting:
        protect_nb(state, out, s, i, ts)


@kernel_part
def flat_nb(state: Rows, out: Rows, s: int, i: int, ts: int, purpose: int) -> None:
    """Close the account of a round trip: streaks, cool-down, what still works."""
    strategy = strategy_of(state, s)
    sleeve = sleeve_of(state, s, i)
    strategy.loss_streak = strategy.loss_streak + 1 if sleeve.trade_pnl < 0.0 else 0
    strategy.used -= sleeve.used
    sleeve.used = 0.0
    sleeve.trade_pnl = 0.0
    sleeve.last_exit_ts = ts
    if not sleeve.exiting and purpose != _ENTRY:
        if strategy.rearm and sleeve.target != 0 and purpose <= _TIME:
            sleeve.rearm_side = sleeve.target
        sleeve.target = 0
        cancel_working_nb(state, out, s, i, ts, True)  # what is left of the entry is not wanted
    if sleeve.entering == 0:
        sleeve.target = 0
    sleeve.exiting = 0
    sleeve.bars_held = 0
    sleeve.stop_price = sleeve.take_price = sleeve.trail_price = sleeve.best_price = math.nan
    cancel_working_nb(state, out, s, i, ts, False)
    account = account_of(state)
    if instrument_of(state, i).open_sleeves == 0:  # its bars will not watch the equity
        account.peak_equity = max(account.peak_equity, account.equity)


@kernel_part
def adopt_nb(
    state: Rows, out: Rows, s: int, i: int, ts: int, side: int, qty: int, price: float
) -> None:
    """Take lots into the books that the venue holds already; the strategy manages them from now."""
    sleeve = sleeve_of(state, s, i)
    before = sleeve.qty
    _trade_sleeve_nb(state, s, i, side * qty, price, 0.0)
    trade_nb(state, i, side * qty, price, 0.0)
    write_fill_nb(state, out, 0, 0, s, i, ts, side, qty, price, 0.0, _ADOPT, math.nan)
    if sleeve.qty == 0:
        flat_nb(state, out, s, i, ts, _COMMAND)
    else:
        sleeve.target = sign_nb(sleeve.qty)
        if sign_nb(before) != sleeve.target:
            sleeve.bars_held = 0
        _opened_nb(state, out, s, i, ts)
    count_position_nb(state, sleeve)


@kernel_part
def notice_nb(state: Rows, order: int, i: int, notice: int) -> None:
    """Fold what a venue says of an order: accepted, gone, or nothing certain."""
    at = find_nb(state, i, order)
    if at < 0:
        return
    slot = slot_of(state, at)
    if notice == Notice.ACCEPTED:
        slot.state = _WORKING
        return
    if notice == Notice.UNKNOWN:
        slot.state = _UNKNOWN
        return
    sleeve = sleeve_of(state, slot.strategy, i)
    if slot.purpose != _ENTRY and slot.kind == _MARKET:
        sleeve.exiting = 0
    release_nb(state, at)
    if sleeve.entering == 0 and sign_nb(sleeve.qty) != sleeve.target:
        sleeve.target = 0
    count_position_nb(state, sleeve)
