"""How many lots an entry should have: one pure function per rule of `domain.rules`.

*Inputs*: the state, and the signal's confidence, volatility, barrier. *Output*: whole lots, never
negative. *Invariant*: an unknown input gives zero lots, which the size gate then blocks and shows.
"""

from __future__ import annotations

import math

from onefold._compile import kernel_part
from onefold.fold.memory import Rows
from onefold.fold.state import account_of, currency_of, instrument_of, strategy_of

FIXED, NOTIONAL, FRACTION, VOLATILITY, RISK, BET = range(6)
SIZE_KINDS: dict[str, int] = {
    "fixed": FIXED,
    "notional": NOTIONAL,
    "fraction": FRACTION,
    "volatility": VOLATILITY,
    "risk": RISK,
    "bet": BET,
}


@kernel_part
def bet_nb(probability: float, step: float) -> float:
    """Return the bet in [0, 1] for a probability of being right.

    2 N(z) - 1 with z = (p - 1/2) / sqrt(p (1 - p)), rounded to `step` where that is positive
    (Lopez de Prado 2018, section 10.3).
    """
    if not 0.5 < probability <= 1.0:
        return 0.0
    if probability == 1.0:
        return 1.0
    z = (probability - 0.5) / math.sqrt(probability * (1.0 - probability))
    bet = math.erf(z / math.sqrt(2.0))
    return min(1.0, round(bet / step) * step) if step > 0.0 else bet


@kernel_part
def lots_nb(
    state: Rows, s: int, i: int, confidence: float, volatility: float, barrier: float
) -> int:
    """Return the lots of an entry of strategy `s` in instrument `i` at its mark."""
    strategy, instrument = strategy_of(state, s), instrument_of(state, i)
    equity = account_of(state).equity
    rate = currency_of(state, instrument.currency).rate
    lot_value = abs(instrument.mark) * instrument.point * rate
    if not (lot_value > 0.0 and equity > 0.0):
        return 0
    if strategy.size_kind == FIXED:
        return int(strategy.size_value)
    if strategy.size_kind == NOTIONAL:
        value = strategy.size_value
    elif strategy.size_kind == FRACTION:
        value = equity * strategy.size_value
    elif strategy.size_kind == VOLATILITY:
        target = strategy.size_value / volatility if volatility > 0.0 else math.nan
        value = equity * min(target, strategy.size_max)
    elif strategy.size_kind == RISK:
        unit = barrier if strategy.barrier_unit else abs(instrument.mark)
        distance = strategy.stop * unit / abs(instrument.mark)
        value = equity * min(strategy.size_value / distance, strategy.size_max)
    else:
        value = equity * strategy.size_value * bet_nb(confidence, strategy.size_max)
    lots = value / lot_value
    # 0.9 x 50,000 / 100 is a hair below 450 in binary.
    return math.floor(lots + 1e-9) if 0.0 <= lots < 1e15 else 0
