"""What a run is made of, before any data: which strategies trade which instruments, by which rules.

A backtest and a session are built from the same plan, so they cannot differ in what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from onefold.domain.errors import ConfigError, did_you_mean
from onefold.domain.instruments import Instrument
from onefold.domain.rules import AccountRules, StrategyRules
from onefold.domain.words import Mode
from onefold.fold.build import Roster, new_state, roster
from onefold.fold.state import State
from onefold.signals.gate import Gate
from onefold.signals.strategy import Strategy
from onefold.signals.stream import SignalSet
from onefold.sim.venue import Book, new_book


@dataclass(frozen=True)
class Placement:
    """One strategy under its name: the rules that apply to it, and the symbols that it trades.

    `own_gates` are those that the user wrote, by the names that records call them.
    """

    name: str
    strategy: Strategy
    rules: StrategyRules
    symbols: tuple[str, ...]
    own_gates: Mapping[str, Gate] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Strategies, instruments, account and currencies of one run.

    `intervals_ns` has the bar interval of each instrument. `rates` and `rate_pairs` are those of
    `fold.build.new_state`. Raises `ConfigError` for names that do not fit together.
    """

    account: AccountRules
    instruments: tuple[Instrument, ...]
    placements: tuple[Placement, ...]
    intervals_ns: tuple[int, ...]
    rates: Mapping[str, float] = field(default_factory=dict)
    rate_pairs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        symbols = [i.symbol for i in self.instruments]
        for names, what in ((symbols, "instrument"), ([p.name for p in self.placements], "name")):
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise ConfigError(f"{what} {twice[0]!r} is there twice")
        if not self.placements:
            raise ConfigError("there is no strategy to run")
        for placement in self.placements:
            for symbol in placement.symbols:
                if symbol not in symbols:
                    raise ConfigError(
                        f"strategy {placement.name!r} trades {symbol!r}, of which there is no data"
                        f"{did_you_mean(symbol, symbols)}"
                    )
        for symbol in self.rate_pairs:
            if symbol not in symbols:
                raise ConfigError(
                    f"rate_pairs: no data of {symbol!r}{did_you_mean(symbol, symbols)}"
                )

    @cached_property
    def names(self) -> Roster:
        """Return the names behind the indices."""
        return roster(
            self.account,
            [p.name for p in self.placements],
            self.instruments,
            self.intervals_ns,
        )

    @property
    def traded(self) -> frozenset[str]:
        """Return the symbols that a strategy may trade; others are there for their rates."""
        return frozenset(symbol for placement in self.placements for symbol in placement.symbols)

    @property
    def shared(self) -> frozenset[str]:
        """Return the symbols that several strategies trade, each with a position of its own."""
        return frozenset(s for s, numbers in self._numbers.items() if len(numbers) > 1)

    @property
    def needs_position(self) -> tuple[str, ...]:
        """Return the names of strategies that need their own position; they run by events only."""
        return tuple(p.name for p in self.placements if p.strategy.needs_position)

    def state(self, mode: Mode) -> State:
        """Return the fold's state before anything happened."""
        return new_state(
            self.account,
            self.names,
            [p.rules for p in self.placements],
            mode=mode,
            rates=self.rates,
            rate_pairs=self.rate_pairs,
        )

    def book(self) -> Book:
        """Return an empty simulated venue."""
        return new_book(self.account, self.names)

    def on(self, symbol: str) -> tuple[tuple[int, ...], SignalSet]:
        """Return the strategies on an instrument: their numbers, and themselves as a set."""
        numbers = self._numbers.get(symbol, ())
        known = self._sets.get(numbers)
        if known is None:
            placed = [self.placements[n] for n in numbers]
            known = SignalSet((p.strategy for p in placed), [p.own_gates for p in placed])
            self._sets[numbers] = known
        return numbers, known

    @cached_property
    def _numbers(self) -> dict[str, tuple[int, ...]]:
        """Return by symbol the numbers of the strategies that trade it."""
        numbers: dict[str, tuple[int, ...]] = {}
        for n, placement in enumerate(self.placements):
            for symbol in dict.fromkeys(placement.symbols):
                numbers[symbol] = (*numbers.get(symbol, ()), n)
        return numbers

    @cached_property
    def _sets(self) -> dict[tuple[int, ...], SignalSet]:
        """Return the sets that were asked for: instruments with the same strategies share one."""
        return {}
