"""The books: cash, positions, marks and equity.

*Inputs*: prices, fills, corporate actions. *Output*: the account's sums. *Invariant*
(conservation): cash + value of positions = equity. Marks move the sums by differences, which is
fast; every fill, action and new day adds them up again from nothing and compares. Futures and
contracts for difference settle by profit and loss; everything else is paid for and is worth its
mark.
"""

from __future__ import annotations

import math

from onefold._compile import kernel_part
from onefold.fold.gates import cash_nb
from onefold.fold.memory import Rows
from onefold.fold.state import account_of, currency_of, held_of, instrument_of

DRIFT_MAX = 1e-6
"""Largest share by which equity kept by differences may stray from equity added up."""


@kernel_part
def value_nb(instrument: Rows) -> float:
    """Return what the position adds to equity, in the instrument's currency."""
    if instrument.margined:
        return instrument.qty * instrument.point * (instrument.mark - instrument.average)
    return instrument.qty * instrument.point * instrument.mark


@kernel_part
def mark_nb(state: Rows, i: int, price: float) -> None:
    """Mark an instrument's position to a price."""
    account, instrument = account_of(state), instrument_of(state, i)
    rate = currency_of(state, instrument.currency).rate
    lots = instrument.qty * instrument.point * rate
    before, after = lots * instrument.mark, lots * price
    farther = abs(price) - abs(instrument.mark)  # from zero: long is long, also below it
    gross = instrument.held_lots * instrument.point * rate * farther
    instrument.mark = price
    account.equity += after - before
    account.net += lots * farther
    account.gross += gross
    account.initial_margin += gross * instrument.margin_initial
    account.maintenance_margin += gross * instrument.margin_maintenance


@kernel_part
def add_up_nb(state: Rows) -> None:
    """Compute equity, exposure and margin from nothing; a fault when equity had strayed."""
    account = account_of(state)
    equity = cash_nb(state)
    gross, net, initial, maintenance = 0.0, 0.0, 0.0, 0.0
    for h in range(account.held):
        instrument = instrument_of(state, held_of(state, h).instrument)
        rate = currency_of(state, instrument.currency).rate
        equity += value_nb(instrument) * rate
        signed = instrument.qty * instrument.point * instrument.mark * rate
        net += abs(signed) if instrument.qty > 0 else -abs(signed)
        # What one strategy holds against another may be gone tomorrow: each counts in full.
        value = instrument.held_lots * instrument.point * abs(instrument.mark) * rate
        gross += value
        initial += value * instrument.margin_initial
        maintenance += value * instrument.margin_maintenance
    drift = abs(account.equity - equity) / max(1.0, abs(equity))
    account.drift_max = max(account.drift_max, drift)
    if not drift <= DRIFT_MAX:
        account.fault = 1
    account.equity, account.gross, account.net = equity, gross, net
    account.initial_margin, account.maintenance_margin = initial, maintenance


@kernel_part
def revalue_nb(state: Rows) -> None:
    """Add the books up after an event that changes values by other than marks and trades."""
    account = account_of(state)
    account.equity = cash_nb(state)
    for h in range(account.held):
        instrument = instrument_of(state, held_of(state, h).instrument)
        account.equity += value_nb(instrument) * currency_of(state, instrument.currency).rate
    add_up_nb(state)


@kernel_part
def spendable_nb(state: Rows, i: int) -> float:
    """Return all cash in an instrument's currency: what its purchases can be paid with."""
    return cash_nb(state) / currency_of(state, instrument_of(state, i).currency).rate


@kernel_part
def hold_nb(state: Rows, i: int) -> None:
    """Keep the list of held instruments true after a position changed."""
    account, instrument = account_of(state), instrument_of(state, i)
    if instrument.held_lots != 0 and instrument.held_at < 0:
        held_of(state, account.held).instrument = i
        instrument.held_at = account.held
        account.held += 1
    elif instrument.held_lots == 0 and instrument.held_at >= 0:
        account.held -= 1
        moved = held_of(state, account.held).instrument
        held_of(state, instrument.held_at).instrument = moved
        instrument_of(state, moved).held_at = instrument.held_at
        instrument.held_at = -1


@kernel_part
def average_nb(qty: int, average: float, lots: int, price: float) -> float:
    """Return the average price of a position after signed lots were traded at a price."""
    after = qty + lots
    if after == 0:
        return 0.0
    if qty == 0 or (qty > 0) == (lots > 0):
        return (qty * average + lots * price) / after
    return price if (qty > 0) != (after > 0) else average


@kernel_part
def closed_nb(qty: int, lots: int) -> int:
    """Return how many of a position's lots the signed lots close, with the position's sign."""
    if qty > 0 > lots:
        return min(qty, -lots)
    if qty < 0 < lots:
        return max(qty, -lots)
    return 0


@kernel_part
def trade_nb(state: Rows, i: int, lots: int, price: float, fee: float) -> None:
    """Enter a trade of signed lots in the instrument's books."""
    account, instrument = account_of(state), instrument_of(state, i)
    currency = currency_of(state, instrument.currency)
    if math.isnan(instrument.mark):
        instrument.mark = price
    gain = closed_nb(instrument.qty, lots) * instrument.point * (price - instrument.average)
    if instrument.margined:
        currency.cash += gain - fee
    else:
        currency.cash -= lots * instrument.point * price + fee
    account.equity += (lots * instrument.point * (instrument.mark - price) - fee) * currency.rate
    account.realised += gain * currency.rate
    account.fees += fee * currency.rate
    instrument.average = average_nb(instrument.qty, instrument.average, lots, price)
    instrument.qty += lots
    hold_nb(state, i)
    add_up_nb(state)
