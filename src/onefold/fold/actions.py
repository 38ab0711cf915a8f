"""What happens to an instrument or a currency besides trading: splits, payments, rolls, rates.

*Inputs*: actions. *Output*: cash, positions, and every remembered price. *Invariant*: an action by
itself makes no profit or loss but what it pays.
"""

from __future__ import annotations

import math

from onefold._compile import kernel_part
from onefold.domain.words import (
    ActionKind,
    Purpose,
)
from onefold.fold.books import (
    add_up_nb,
    hold_nb,
    revalue_nb,
)
from onefold.fold.exits import (
    count_position_nb,
    protect_nb,
    sign_nb,
)
from onefold.fold.fills import flat_nb, write_fill_nb
from onefold.fold.memory import Rows
from onefold.fold.orders import (
    cancel_working_nb,
)
from onefold.fold.state import (
    account_of,
    currency_of,
    held_of,
    instrument_of,
    sleeve_of,
    strategy_of,
)

_COMMAND = int(Purpose.COMMAND)
_SPLIT, _ROLL = int(Purpose.SPLIT), int(Purpose.ROLL)


@kernel_part
def rate_nb(state: Rows, c: int, rate: float) -> None:
    """Take a new exchange rate of a currency to the base, and value everything anew."""
    account, currency = account_of(state), currency_of(state, c)
    if rate == currency.rate:
        return
    if math.isnan(currency.rate):
        currency.rate = rate  # nothing is held in a currency of which the worth is not known
        return
    change = currency.cash * (rate - currency.rate)
    for h in range(account.held):
        instrument = instrument_of(state, held_of(state, h).instrument)
        if instrument.currency == c:
            value = instrument.qty * instrument.point * instrument.mark
            if instrument.margined:
                value -= instrument.qty * instrument.point * instrument.average
            change += value * (rate - currency.rate)
    currency.rate = rate
    account.equity += change
    add_up_nb(state)


@kernel_part
def pay_nb(state: Rows, c: int, amount: float) -> None:
    """Enter money of a currency that came in, or went out, other than by a trade."""
    account, currency = account_of(state), currency_of(state, c)
    currency.cash += amount
    account.income += amount * currency.rate
    account.equity += amount * currency.rate
    add_up_nb(state)


@kernel_part
def action_nb(state: Rows, out: Rows, kind: int, i: int, c: int, value: float, ts: int) -> None:
    """Fold a split, dividend, funding, roll, exchange rate or payment."""
    if kind == ActionKind.RATE:
        rate_nb(state, c, value)
        return
    if kind == ActionKind.PAYMENT:
        pay_nb(state, c, value)
        return
    account, instrument = account_of(state), instrument_of(state, i)
    currency = currency_of(state, instrument.currency)
    paid = 0.0
    if kind == ActionKind.DIVIDEND:
        paid = instrument.qty * instrument.lot * value
    elif kind == ActionKind.FUNDING and instrument.qty != 0:
        paid = -instrument.qty * instrument.point * instrument.mark * value
    elif kind == ActionKind.ROLL:
        _roll_nb(state, out, i, value, ts)
        if not instrument.margined:
            paid = -instrument.qty * instrument.point * value
    elif kind == ActionKind.SPLIT:
        paid = _split_nb(state, out, i, value, ts)
    earned = kind == ActionKind.DIVIDEND or kind == ActionKind.FUNDING
    if paid != 0.0:  # else the currency's rate may not even be known
        currency.cash += paid
        account.income += paid * currency.rate
        account.equity += paid * currency.rate if earned else 0.0
    if earned:
        add_up_nb(state)
    else:
        revalue_nb(state)


@kernel_part
def _shift_nb(state: Rows, i: int, factor: float, gap: float) -> None:
    """Move every price that is remembered of an instrument: price x factor + gap."""
    instrument = instrument_of(state, i)
    instrument.mark = instrument.mark * factor + gap
    instrument.average = instrument.average * factor + gap
    for s in range(state.strategies_rows):
        sleeve = sleeve_of(state, s, i)
        sleeve.average = sleeve.average * factor + gap
        sleeve.stop_price = sleeve.stop_price * factor + gap
        sleeve.take_price = sleeve.take_price * factor + gap
        sleeve.trail_price = sleeve.trail_price * factor + gap
        sleeve.best_price = sleeve.best_price * factor + gap
        sleeve.unit = sleeve.unit * factor


@kernel_part
def _roll_nb(state: Rows, out: Rows, i: int, gap: float, ts: int) -> None:
    """Move to the next contract, whose price is `gap` higher, by two trades."""
    account, instrument = account_of(state), instrument_of(state, i)
    currency = currency_of(state, instrument.currency)
    old = abs(instrument.mark) * instrument.point
    _shift_nb(state, i, 1.0, gap)
    cost = 0.0
    if instrument.qty != 0:
        new = abs(instrument.mark) * instrument.point
        rate = instrument.commission_rate + instrument.slippage_rate
        flat = instrument.commission + instrument.slippage_points * instrument.point
        cost = abs(instrument.qty) * (2.0 * flat + (old + new) * rate)
        currency.cash -= cost
        account.fees += cost * currency.rate
    for s in range(state.strategies_rows):
        sleeve = sleeve_of(state, s, i)
        cancel_working_nb(state, out, s, i, ts, True)  # they are priced in the old contract
        if sleeve.qty == 0:
            continue
        _pay_roll_nb(state, out, s, i, ts, gap, cost * abs(sleeve.qty) / instrument.held_lots)
        if strategy_of(state, s).resting and not sleeve.exiting:
            protect_nb(state, out, s, i, ts)


@kernel_part
def _pay_roll_nb(state: Rows, out: Rows, s: int, i: int, ts: int, gap: float, cost: float) -> None:
    """Enter a strategy's share of what a roll costs in its books, and the roll among the fills."""
    sleeve, strategy = sleeve_of(state, s, i), strategy_of(state, s)
    rate = currency_of(state, instrument_of(state, i).currency).rate
    sleeve.realised -= cost * rate
    sleeve.trade_pnl -= cost * rate
    strategy.realised -= cost * rate
    side, lots = sign_nb(sleeve.qty), abs(sleeve.qty)
    write_fill_nb(state, out, 0, 0, s, i, ts, side, lots, gap, cost, _ROLL, math.nan)


@kernel_part
def _split_nb(state: Rows, out: Rows, i: int, ratio: float, ts: int) -> float:
    """Multiply a position by a ratio; return the cash paid for the parts of a lot."""
    instrument = instrument_of(state, i)
    _shift_nb(state, i, 1.0 / ratio, 0.0)
    total, parts = 0, 0.0
    for s in range(state.strategies_rows):
        sleeve = sleeve_of(state, s, i)
        cancel_working_nb(state, out, s, i, ts, True)
        exact = sleeve.qty * ratio
        whole = math.floor(abs(exact) + 1e-9) * sign_nb(sleeve.qty)
        parts += exact - whole
        instrument.open_sleeves -= sleeve.qty != 0 and whole == 0
        instrument.held_lots += abs(whole) - abs(sleeve.qty)
        sleeve.qty = whole
        total += whole
        if exact != 0.0:
            side = 1 if exact > 0.0 else -1
            write_fill_nb(
                state, out, 0, 0, s, i, ts, side, abs(whole), ratio, 0.0, _SPLIT, math.nan
            )
        if strategy_of(state, s).resting and whole != 0 and not sleeve.exiting:
            protect_nb(state, out, s, i, ts)
        if whole == 0 and exact != 0.0:
            flat_nb(state, out, s, i, ts, _COMMAND)
        count_position_nb(state, sleeve)
    instrument.qty = total
    hold_nb(state, i)
    if parts == 0.0:
        return 0.0
    paid_for = instrument.mark - instrument.average if instrument.margined else instrument.mark
    return parts * instrument.point * paid_for
