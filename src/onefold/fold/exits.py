"""Leaving a position: barriers, time, session close, and the orders that wait at the venue.

*Inputs*: a position, the levels set at its entry, a closed bar. *Output*: exit decisions.
*Invariant*: a position that its strategy no longer wants always has an exit working, or tries again
at each bar.
"""

from __future__ import annotations

import math

from onefold._compile import kernel_part
from onefold.domain.words import OrderKind, Purpose, TimeInForce
from onefold.fold.decide import decide_nb, intend_nb
from onefold.fold.memory import Rows
from onefold.fold.orders import cancel_working_nb, place_nb, to_tick_nb
from onefold.fold.state import account_of, instrument_of, sleeve_of, strategy_of

_SIGNAL, _STOP, _TAKE = int(Purpose.SIGNAL), int(Purpose.STOP), int(Purpose.TAKE)
_TRAIL, _TIME, _SESSION = int(Purpose.TRAIL), int(Purpose.TIME), int(Purpose.SESSION)
_MARKET, _LIMIT, _STOP_ORDER = int(OrderKind.MARKET), int(OrderKind.LIMIT), int(OrderKind.STOP)
_GTC = int(TimeInForce.GTC)
_NONE = -1


@kernel_part
def sign_nb(qty: int) -> int:
    """Return 1, 0 or -1."""
    return (qty > 0) - (qty < 0)


@kernel_part
def exit_nb(state: Rows, out: Rows, s: int, i: int, ts: int, purpose: int) -> bool:
    """Decide to close a sleeve's whole position at the market; return whether it passed."""
    sleeve = sleeve_of(state, s, i)
    side = -sign_nb(sleeve.qty)
    price = instrument_of(state, i).mark
    intend_nb(state, s, i, ts, side, abs(sleeve.qty), price, purpose, _MARKET)
    if not decide_nb(state, out):
        return False
    cancel_working_nb(state, out, s, i, ts, True)
    cancel_working_nb(state, out, s, i, ts, False)
    place_nb(state, out, _MARKET, math.nan, _GTC, 0)
    sleeve.exiting = 1
    sleeve.exit_purpose = purpose
    _leave_nb(state, sleeve, s, purpose)
    count_position_nb(state, sleeve)
    return True


@kernel_part
def _leave_nb(state: Rows, sleeve: Rows, s: int, purpose: int) -> None:
    """Note that the position is not wanted any more, and what must change before the next."""
    sleeve.target = 0
    if strategy_of(state, s).rearm and purpose != _SIGNAL and purpose != _SESSION:
        sleeve.rearm_side = sign_nb(sleeve.qty)


@kernel_part
def count_position_nb(state: Rows, sleeve: Rows) -> None:
    """Keep the number of open positions true: held or entering, less those being left."""
    account = account_of(state)
    held = sleeve.qty != 0 and not (account.free_on_sent and sleeve.exiting)
    counts = 1 if held or sleeve.entering > 0 else 0
    account.open_positions += counts - sleeve.counted
    sleeve.counted = counts


@kernel_part
def open_levels_nb(strategy: Rows, sleeve: Rows) -> None:
    """Set a new position's barriers from its average price and its unit of risk."""
    if strategy.barrier_unit == 0:
        sleeve.unit = abs(sleeve.average)
    side = sign_nb(sleeve.qty)
    sleeve.stop_price = sleeve.average - side * strategy.stop * sleeve.unit
    sleeve.take_price = sleeve.average + side * strategy.take * sleeve.unit
    if not (sleeve.best_price - sleeve.average) * side > 0.0:  # more of an entry may fill later
        sleeve.best_price = sleeve.average
    sleeve.trail_price = sleeve.best_price - side * strategy.trail * sleeve.unit


@kernel_part
def _touched_nb(sleeve: Rows, high: float, low: float) -> int:
    """Return the barrier that a bar touched, the worst first, or -1."""
    if sleeve.qty > 0:
        if low <= sleeve.stop_price:
            return _STOP
        if low <= sleeve.trail_price:
            return _TRAIL
        return _TAKE if high >= sleeve.take_price else _NONE
    if high >= sleeve.stop_price:
        return _STOP
    if high >= sleeve.trail_price:
        return _TRAIL
    return _TAKE if low <= sleeve.take_price else _NONE


@kernel_part
def protected_nb(state: Rows, s: int, i: int) -> bool:
    """Return whether a resting exit of a position already worked before this bar was over."""
    sleeve = sleeve_of(state, s, i)
    working = sleeve.working_sells if sleeve.qty > 0 else sleeve.working_buys
    return working > 0 and sleeve.entry_ts != instrument_of(state, i).ts


@kernel_part
def _reason_nb(state: Rows, s: int, i: int, high: float, low: float) -> int:
    """Return why a position must be left at the close of this bar, or -1."""
    strategy, instrument = strategy_of(state, s), instrument_of(state, i)
    sleeve = sleeve_of(state, s, i)
    if not strategy.resting or not protected_nb(state, s, i):
        touched = _touched_nb(sleeve, high, low)
        if touched != _NONE:
            return touched
    if sleeve.bars_held >= strategy.max_bars:
        return _TIME
    if 0 <= instrument.to_close_s <= strategy.session_close_s:
        return _SESSION
    if sleeve.target != sign_nb(sleeve.qty):
        return _SIGNAL
    return _NONE


@kernel_part
def _trail_nb(state: Rows, out: Rows, s: int, i: int, ts: int, best: float) -> None:
    """Move the trailing stop after a better price; a resting one is replaced at the venue."""
    strategy = strategy_of(state, s)
    sleeve = sleeve_of(state, s, i)
    side = sign_nb(sleeve.qty)
    if (best - sleeve.best_price) * side <= 0.0:
        return
    sleeve.best_price = best
    before = sleeve.trail_price
    sleeve.trail_price = best - side * strategy.trail * sleeve.unit
    if strategy.resting and math.isfinite(sleeve.trail_price) and sleeve.trail_price != before:
        protect_nb(state, out, s, i, ts)


@kernel_part
def bar_exits_nb(state: Rows, out: Rows, i: int, ts: int, high: float, low: float) -> None:
    """Check every position in an instrument against a closed bar."""
    account = account_of(state)
    for s in range(state.strategies_rows):
        sleeve = sleeve_of(state, s, i)
        if sleeve.qty == 0:
            continue
        sleeve.bars_held += 1
        if sleeve.exiting:
            continue
        if not strategy_of(state, s).exits and sleeve.target == sign_nb(sleeve.qty):
            continue
        top, bottom = high, low
        if sleeve.entry_ts == ts:
            # Entered inside this bar or at its close. Nobody knows what came first: only what
            # speaks against the position counts, and at the close nothing does.
            close = instrument_of(state, i).mark
            top = close if sleeve.qty > 0 or account.next_close else high
            bottom = close if sleeve.qty < 0 or account.next_close else low
        reason = _reason_nb(state, s, i, top, bottom)
        if reason == _NONE or not exit_nb(state, out, s, i, ts, reason):
            _trail_nb(state, out, s, i, ts, top if sleeve.qty > 0 else bottom)
            _mend_nb(state, out, s, i, ts)


@kernel_part
def _mend_nb(state: Rows, out: Rows, s: int, i: int, ts: int) -> None:
    """Protect a position again whose resting exits the venue refused or took away."""
    sleeve = sleeve_of(state, s, i)
    working = sleeve.working_sells if sleeve.qty > 0 else sleeve.working_buys
    if strategy_of(state, s).resting and working == 0 and not sleeve.exiting:
        protect_nb(state, out, s, i, ts)


@kernel_part
def protect_nb(state: Rows, out: Rows, s: int, i: int, ts: int) -> None:
    """Replace a sleeve's resting stop and target by ones for its present size and levels."""
    tick = instrument_of(state, i).tick
    sleeve = sleeve_of(state, s, i)
    side = sign_nb(sleeve.qty)
    stop, purpose = sleeve.stop_price, _STOP
    if (sleeve.trail_price - stop) * side > 0.0:
        stop, purpose = sleeve.trail_price, _TRAIL
    if math.isfinite(stop):
        stop = to_tick_nb(stop, tick)
        if not _rest_nb(state, out, s, i, ts, purpose, _STOP_ORDER, stop, True):
            return
    if math.isfinite(sleeve.take_price):
        alone = not math.isfinite(stop)
        take = to_tick_nb(sleeve.take_price, tick)
        _rest_nb(state, out, s, i, ts, _TAKE, _LIMIT, take, alone)


@kernel_part
def _rest_nb(
    state: Rows,
    out: Rows,
    s: int,
    i: int,
    ts: int,
    purpose: int,
    kind: int,
    price: float,
    replaces: bool,
) -> bool:
    """Decide on one protective order and place it; return whether it passed.

    Those that work now are cancelled only when it did, so that a gate never takes protection away.
    """
    sleeve = sleeve_of(state, s, i)
    intend_nb(state, s, i, ts, -sign_nb(sleeve.qty), abs(sleeve.qty), price, purpose, kind)
    if not decide_nb(state, out):
        return False
    if replaces:
        cancel_working_nb(state, out, s, i, ts, False)
    place_nb(state, out, kind, price, _GTC, 0)
    return True
