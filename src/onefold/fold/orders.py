"""The orders that work, as the fold knows them: slots in an array, linked by instrument.

*Inputs*: decisions that passed, and what the venue says. *Output*: instructions in `Out.orders`.
*Invariant*: the sums on account, instrument and sleeve count every order that may still fill, an
unknown one included, until the venue has said that it is gone.
"""

from __future__ import annotations

import math

from onefold._compile import kernel_part
from onefold.domain.words import OrderKind, OrderState, Purpose
from onefold.fold.memory import Rows
from onefold.fold.state import (
    account_of,
    decision_row_of,
    instrument_of,
    intent_of,
    order_row_of,
    sleeve_of,
    slot_of,
    strategy_of,
)

_ENTRY = int(Purpose.ENTRY)
_MARKET, _LIMIT = int(OrderKind.MARKET), int(OrderKind.LIMIT)
_FREE, _SENT = int(OrderState.FREE), int(OrderState.SENT)


@kernel_part
def to_tick_nb(price: float, tick: float) -> float:
    """Return the price on the tick grid that is nearest."""
    if tick > 0.0 and math.isfinite(price):  # compiled, round(nan) is a number
        return round(price / tick) * tick
    return price


@kernel_part
def find_nb(state: Rows, i: int, order: int) -> int:
    """Return the slot of a working order of an instrument, or -1."""
    at = instrument_of(state, i).first_order
    while at >= 0 and slot_of(state, at).id != order:
        at = slot_of(state, at).next
    return at


@kernel_part
def leaving_nb(state: Rows, s: int, i: int) -> bool:
    """Return whether a market order works that leaves a sleeve's position."""
    qty = sleeve_of(state, s, i).qty
    at = instrument_of(state, i).first_order
    while at >= 0:
        slot = slot_of(state, at)
        leaves = slot.strategy == s and slot.purpose != _ENTRY and slot.kind == _MARKET
        if leaves and (slot.side > 0) != (qty > 0):
            return True
        at = slot.next
    return False


@kernel_part
def _count_entry_nb(state: Rows, slot: Rows, value: float) -> None:
    """Add the value of an entry that may fill (or take it away) to every worst-case sum."""
    account, instrument = account_of(state), instrument_of(state, slot.instrument)
    strategy_of(state, slot.strategy).entering += value
    if slot.side > 0:
        account.entering_buys += value
        if not instrument.margined and instrument.margin_initial >= 1.0:
            account.entering_cash += value
    else:
        account.entering_sells += value
    account.entering_margin += value * instrument.margin_initial


@kernel_part
def _count_exit_nb(state: Rows, slot: Rows, value: float) -> None:
    """Add the value of an exit (or take it away); of a stop and its target only one can fill."""
    if slot.kind == _LIMIT:
        return
    if slot.side > 0:
        account_of(state).leaving_buys += value
    else:
        account_of(state).leaving_sells += value


@kernel_part
def _count_lots_nb(state: Rows, slot: Rows, sleeve: Rows, lots: int) -> None:
    """Add working lots (or take them away) on instrument and sleeve."""
    instrument = instrument_of(state, slot.instrument)
    if slot.side > 0:
        instrument.working_buys += lots
        sleeve.working_buys += lots
    else:
        instrument.working_sells += lots
        sleeve.working_sells += lots


@kernel_part
def place_nb(state: Rows, out: Rows, kind: int, price: float, tif: int, expire_ts: int) -> None:
    """Turn the intent just decided on into a working order and an instruction."""
    account, intent = account_of(state), intent_of(state)
    at = account.free_slot
    if at < 0:
        account.fault = 2
        return
    account.orders += 1
    account.open_orders += 1
    slot = slot_of(state, at)
    account.free_slot = slot.next
    slot.id, slot.qty, slot.filled = account.orders, intent.qty, 0
    slot.value, slot.price, slot.score = intent.value, price, intent.score
    slot.instrument, slot.strategy = intent.instrument, intent.strategy
    slot.side, slot.purpose, slot.kind = intent.side, intent.purpose, kind
    slot.state, slot.cancelling = _SENT, 0
    _append_nb(state, intent.instrument, at)
    sleeve = sleeve_of(state, intent.strategy, intent.instrument)
    _count_lots_nb(state, slot, sleeve, intent.qty)
    if intent.purpose == _ENTRY:
        account.open_entries += 1
        sleeve.entering += 1
        _count_entry_nb(state, slot, intent.value)
    else:
        _count_exit_nb(state, slot, intent.value)
    decision_row_of(out, out.decisions_used - 1).order = slot.id
    _instruct_nb(state, out, slot, intent.ts, tif, expire_ts)


@kernel_part
def _append_nb(state: Rows, i: int, at: int) -> None:
    """Put a slot at the end of its instrument's list, so that older orders meet bars first."""
    slot_of(state, at).next = -1
    last = instrument_of(state, i).first_order
    if last < 0:
        instrument_of(state, i).first_order = at
        return
    while slot_of(state, last).next >= 0:
        last = slot_of(state, last).next
    slot_of(state, last).next = at


@kernel_part
def _instruct_nb(state: Rows, out: Rows, slot: Rows, ts: int, tif: int, expire_ts: int) -> None:
    """Write the instruction to send a new order."""
    count_message_nb(state, ts)
    row = order_row_of(out, out.orders_used)
    out.orders_used += 1
    row.id, row.ts, row.qty, row.price, row.expire_ts = slot.id, ts, slot.qty, slot.price, expire_ts
    row.instrument, row.strategy = slot.instrument, slot.strategy
    row.purpose, row.side, row.kind = slot.purpose, slot.side, slot.kind
    row.time_in_force, row.cancel = tif, 0
    row.reduce_only = 0 if slot.purpose == _ENTRY else 1


@kernel_part
def count_message_nb(state: Rows, ts: int) -> None:
    """Count one message in the present window."""
    account = account_of(state)
    if ts - account.window_start >= account.messages_window_ns:
        account.window_start = ts
        account.window_messages = 0
    account.window_messages += 1


@kernel_part
def cancel_nb(state: Rows, out: Rows, at: int, ts: int) -> None:
    """Write the instruction to cancel the order in a slot, once."""
    slot = slot_of(state, at)
    if slot.cancelling:
        return
    slot.cancelling = 1
    count_message_nb(state, ts)
    row = order_row_of(out, out.orders_used)
    out.orders_used += 1
    row.id, row.ts, row.qty, row.price, row.expire_ts = slot.id, ts, 0, math.nan, 0
    row.instrument, row.strategy = slot.instrument, slot.strategy
    row.purpose, row.side, row.kind = slot.purpose, slot.side, slot.kind
    row.time_in_force, row.reduce_only, row.cancel = 0, 0, 1


@kernel_part
def cancel_working_nb(state: Rows, out: Rows, s: int, i: int, ts: int, entries: bool) -> None:
    """Cancel a sleeve's entries, or the orders that protect its position."""
    at = instrument_of(state, i).first_order
    while at >= 0:
        slot = slot_of(state, at)
        if slot.strategy == s and (slot.purpose == _ENTRY) == entries:
            cancel_nb(state, out, at, ts)
        at = slot.next


@kernel_part
def cancel_beside_nb(state: Rows, out: Rows, protects: int, ts: int) -> None:
    """Cancel the other orders that protect the position of the order in a slot."""
    i, s = slot_of(state, protects).instrument, slot_of(state, protects).strategy
    at = instrument_of(state, i).first_order
    while at >= 0:
        slot = slot_of(state, at)
        if slot.strategy == s and slot.purpose != _ENTRY and at != protects:
            cancel_nb(state, out, at, ts)
        at = slot.next


@kernel_part
def reduce_nb(state: Rows, at: int, lots: int) -> None:
    """Take filled lots off a working order, and free its slot when nothing is left."""
    slot = slot_of(state, at)
    sleeve = sleeve_of(state, slot.strategy, slot.instrument)
    left = slot.qty - slot.filled
    _count_lots_nb(state, slot, sleeve, -lots)
    if slot.purpose == _ENTRY:
        _count_entry_nb(state, slot, -slot.value * lots / left)
    else:
        _count_exit_nb(state, slot, -slot.value * lots / left)
    slot.value -= slot.value * lots / left
    slot.filled += lots
    if slot.filled == slot.qty:
        release_nb(state, at)


@kernel_part
def release_nb(state: Rows, at: int) -> None:
    """Take an order that cannot fill any more out of every sum and free its slot."""
    account, slot = account_of(state), slot_of(state, at)
    instrument = instrument_of(state, slot.instrument)
    sleeve = sleeve_of(state, slot.strategy, slot.instrument)
    _count_lots_nb(state, slot, sleeve, slot.filled - slot.qty)
    account.open_orders -= 1
    if slot.purpose == _ENTRY:
        _count_entry_nb(state, slot, -slot.value)
        sleeve.entering -= 1
        account.open_entries -= 1
        if account.open_entries == 0:
            account.entering_buys, account.entering_sells = 0.0, 0.0
            account.entering_cash, account.entering_margin = 0.0, 0.0
    else:
        _count_exit_nb(state, slot, -slot.value)
    if account.open_orders == 0:
        account.leaving_buys, account.leaving_sells = 0.0, 0.0
    if instrument.first_order == at:
        instrument.first_order = slot.next
    else:
        before = instrument.first_order
        while slot_of(state, before).next != at:
            before = slot_of(state, before).next
        slot_of(state, before).next = slot.next
    slot.state = _FREE
    slot.next = account.free_slot
    account.free_slot = at
