"""The account of the rehearsal exchange, to the last digit.

Matching speaks of floats and whole lots, because the simulated venue does; what an adapter reads
back, and what the engine reconciles with, is decimal. The account is kept as flows: what all trades
have paid, exactly. Cash follows from it. A position that settles by profit and loss has paid
nothing yet, so its cost is added back; an average, which no division states exactly, can therefore
never make money disappear (conservation: start + flows + value of positions = equity).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument

ZERO = Decimal(0)
FEE_STEP = Decimal("1e-8")
"""Fees are charged in steps of this, as venues of coins do."""

NOISE = Decimal("1e-6")
"""How far, in ticks, a price may lie from the grid and still be meant to lie on it."""


def exact(number: float) -> Decimal:
    """Return a float as the decimal that a person would have written for it."""
    return Decimal(repr(float(number))).normalize() + ZERO


def on_grid(price: float, tick: float) -> Decimal:
    """Return a price as a decimal, without the float noise that multiples of a tick carry."""
    plain = exact(price)
    if tick <= 0.0:
        return plain
    step = exact(tick)
    steps = plain / step
    nearest = steps.to_integral_value()
    return nearest * step if abs(steps - nearest) <= NOISE else plain


@dataclass
class Position:
    """What is held of an instrument: units (negative is short) and their average price."""

    qty: Decimal = ZERO
    average: Decimal = ZERO


class Books:
    """Cash and positions of one account, in decimals.

    `rates` gives what a unit of each foreign currency is worth in the account's; they stay as they
    are. Raises `ConfigError` for a currency without one.
    """

    def __init__(
        self,
        instruments: Iterable[Instrument],
        cash: Decimal,
        currency: str,
        rates: Mapping[str, Decimal],
    ) -> None:
        self._instruments = {one.symbol: one for one in instruments}
        self._rates = {**rates, currency: Decimal(1)}
        for one in self._instruments.values():
            if one.currency not in self._rates:
                raise ConfigError(
                    f"{one.symbol} is in {one.currency}, the account in {currency}: "
                    f"give rates: {{{one.currency}: x}}"
                )
        self._start, self._flows, self.fees = cash, ZERO, ZERO
        self.positions = {symbol: Position() for symbol in self._instruments}

    def fee(self, symbol: str, qty: Decimal, price: Decimal) -> Decimal:
        """Return what a trade costs, in the instrument's currency."""
        one = self._instruments[symbol]
        lots = qty / exact(one.lot)
        share = abs(self.value(symbol, qty, price)) * exact(one.commission_bps) / 10_000
        return (lots * exact(one.commission) + share).quantize(FEE_STEP, ROUND_HALF_EVEN)

    def value(self, symbol: str, qty: Decimal, price: Decimal) -> Decimal:
        """Return what units are worth at a price, in the instrument's currency."""
        return qty * exact(self._instruments[symbol].multiplier) * price

    def based(self, symbol: str, amount: Decimal) -> Decimal:
        """Return an amount of an instrument's currency in the account's."""
        return amount * self._rates[self._instruments[symbol].currency]

    def trade(self, symbol: str, side: int, qty: Decimal, price: Decimal) -> Decimal:
        """Enter a trade; return its fee."""
        fee = self.fee(symbol, qty, price)
        signed = qty * side
        self._flows -= self.based(symbol, self.value(symbol, signed, price) + fee)
        self.fees += self.based(symbol, fee)
        held = self.positions[symbol]
        held.average = _average(held, signed, price)
        held.qty += signed
        return fee

    def pay(self, amount: Decimal) -> None:
        """Enter money of the account's currency that came in other than by a trade."""
        self._flows += amount

    def cash(self) -> Decimal:
        """Return the cash in the account's currency."""
        unpaid = sum(
            self.based(symbol, self.value(symbol, held.qty, held.average))
            for symbol, held in self.positions.items()
            if self._instruments[symbol].margined
        )
        return self._start + self._flows + unpaid

    def equity(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Return cash plus what the positions are worth; without a mark they are at their cost."""
        return (
            self._start
            + self._flows
            + sum(
                self.based(symbol, self.value(symbol, held.qty, marks.get(symbol, held.average)))
                for symbol, held in self.positions.items()
            )
        )

    def margin(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Return the initial margin that the positions use."""
        return sum(
            (
                self.needed(symbol, abs(held.qty), marks.get(symbol, held.average))
                for symbol, held in self.positions.items()
            ),
            ZERO,
        )

    def needed(self, symbol: str, qty: Decimal, price: Decimal) -> Decimal:
        """Return the initial margin of units at a price, in the account's currency."""
        share = exact(self._instruments[symbol].margin_initial)
        return self.based(symbol, abs(self.value(symbol, qty, price)) * share)


def _average(held: Position, signed: Decimal, price: Decimal) -> Decimal:
    after = held.qty + signed
    if not after:
        return ZERO
    if not held.qty or (held.qty > 0) == (signed > 0):
        return (held.qty * held.average + signed * price) / after
    return price if (held.qty > 0) != (after > 0) else held.average
