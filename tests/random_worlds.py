"""Random worlds for property tests: instruments, bars with gaps, opinions, rules and other inputs.

Hypothesis draws what kind of world it is, and a seed from which the numbers come; so a failing
example is small to print and reproduces.
"""

from __future__ import annotations

import math
import random
from typing import Any

from hypothesis import strategies as st

from onefold.domain.instruments import Instrument, Kind
from onefold.domain.records import Action, Bar, Command, Mandate
from onefold.domain.rules import AccountRules, StrategyRules
from onefold.domain.words import CommandKind, MandateKind
from support import (
    DAY_NS,
    MINUTE_NS,
    Input,
    Patient,
    Scripted,
    Table,
    World,
    account_of,
    at,
    future,
    rules_of,
    share,
    world,
)

POOL: dict[str, Instrument] = {
    i.symbol: i
    for i in (
        share("ABC", commission=0.02, commission_bps=5.0),
        share("COIN", kind=Kind.CRYPTO, lot=0.001, commission_bps=10.0, short=False),
        future("FUT", commission=2.5),
        future("OIL", multiplier=1_000.0, tick=0.01, negative_prices=True),
        share("EUX", currency="EUR", commission=0.01),
        future("EUF", currency="EUR", multiplier=10.0, tick=1.0, commission=1.0),
        share("LEV", margin_initial=0.5, margin_maintenance=0.25),
    )
}
PAIR = future("EURUSD", tick=0.00001, multiplier=1.0, margin_initial=0.05)
STEPS = (MINUTE_NS, 3_600_000_000_000, DAY_NS)

SIZINGS: tuple[dict[str, Any], ...] = (
    {"kind": "fixed", "lots": 5},
    {"kind": "notional", "value": 9_000.0},
    {"kind": "fraction", "fraction": 0.4},
    {"kind": "volatility", "target": 0.1, "fraction_max": 0.8},
    {"kind": "risk", "fraction": 0.01, "fraction_max": 0.7},
    {"kind": "bet", "fraction": 0.5, "step": 0.1},
)


@st.composite
def worlds(
    draw: st.DrawFn,
    *,
    rows: int = 50,
    busy: bool = True,
    patient: bool = False,
    instruments: int = 3,
) -> World:
    """Draw a world of one to three strategies on one to three instruments, or so many.

    With `patient` the first of them needs its own position, and maybe others.
    """
    pool = st.sampled_from(sorted(POOL))
    symbols = draw(st.lists(pool, min_size=1, max_size=instruments, unique=True))
    strategies = draw(st.integers(1, 3))
    sizings = [draw(st.sampled_from(SIZINGS)) for _ in range(strategies)]
    orders = [draw(st.sampled_from(["market", "market", "limit", "stop"])) for _ in sizings]
    step_ns = draw(st.sampled_from(STEPS))
    known_rate = draw(st.booleans())
    chance = random.Random(draw(st.integers(0, 2**32 - 1)))
    traded = [POOL[s] for s in symbols]
    foreign = any(i.currency == "EUR" for i in traded)
    if foreign:
        traded.append(PAIR)
    maker = Maker(chance, rows, step_ns)
    placed = {
        f"s{n}": (
            maker.script(Patient if patient and (n == 0 or chance.random() < 0.3) else Scripted),
            maker.rules(sizing, order),
            chance.sample(symbols, chance.randint(1, len(symbols))),
            maker.own_gates(),
        )
        for n, (sizing, order) in enumerate(zip(sizings, orders, strict=True))
    }
    bars = [b for i in traded for b in maker.bars(i)]
    return world(
        placed,
        bars,
        account=maker.account(),
        instruments=traded,
        inputs=maker.inputs(traded, tuple(placed)) if busy else [],
        rates={"EUR": 1.1} if foreign and known_rate else {},
        rate_pairs={"EURUSD": "EUR"} if foreign else {},
        interval_ns=step_ns,
    )


class Maker:
    """Makes the parts of a world from a seeded source of chance."""

    def __init__(self, chance: random.Random, rows: int, step_ns: int) -> None:
        self.chance, self.rows, self.step_ns = chance, rows, step_ns
        # Where every limit may be set, little trades; most worlds have few of them.
        self.strictness = chance.choice([0.1, 0.1, 1.0])

    def maybe(self, value: Any, share_: float = 0.5) -> Any:
        """Return the value or None."""
        return value if self.chance.random() < share_ else None

    def limit(self, value: Any, share_: float) -> Any:
        """Return the value, more often in a strict world, or None."""
        return self.maybe(value, share_ * self.strictness)

    def bars(self, instrument: Instrument) -> list[Bar]:
        """Return bars on the tick grid, with gaps, odd times, zero and unknown volume, quotes."""
        chance, tick = self.chance, instrument.tick
        price = 1.1 if instrument is PAIR else chance.choice([20.0, 100.0])
        spread = 0.0005 if instrument is PAIR else chance.choice([0.3, 2.0])
        if instrument.negative_prices:
            price = 4.0
        shift = chance.choice([0, 0, self.step_ns // 3])
        quoted, timed, volumes = (chance.random() < 0.3 for _ in range(3))
        bars = []
        for n in range(self.rows):
            open_ = self._floor(price + chance.gauss(0, spread / 3), instrument)
            price = self._floor(open_ + chance.gauss(0, spread), instrument)
            high = max(open_, price) + round(abs(chance.gauss(0, spread)) / tick) * tick
            low = min(open_, price) - round(abs(chance.gauss(0, spread)) / tick) * tick
            if chance.random() < 0.15:
                continue
            ts = at(n, self.step_ns) + shift
            bars.append(
                Bar(
                    instrument.symbol,
                    ts,
                    ts - self.step_ns,
                    open_,
                    high,
                    low if instrument.negative_prices else max(low, tick),
                    price,
                    chance.choice([0.0, 30.0, 300.0, 5e3, None if volumes else 1e6]),
                    open_ - tick if quoted else None,
                    open_ + tick if quoted and chance.random() < 0.9 else None,
                    chance.choice([0, 30, 600, 3_600]) if timed else None,
                )
            )
        return bars

    @staticmethod
    def _floor(price: float, instrument: Instrument) -> float:
        """Return the price on the grid, above zero where it must be."""
        steps = round(price / instrument.tick)
        if not instrument.negative_prices:
            steps = max(steps, 1)
        return steps * instrument.tick

    def table(self, *values: float) -> tuple[float, ...]:
        """Return one of the values for every bar."""
        return tuple(self.chance.choice(values) for _ in range(self.rows))

    def own_gates(self) -> dict[str, Table]:
        """Return up to two gates that pass most of the time, and now and then measure nothing."""
        return {
            f"g{n}": Table(
                values=self.table(1.0, 1.0, 1.0, 2.0, math.nan),
                start=at(0, self.step_ns),
                step_ns=self.step_ns,
                **{self.chance.choice(["at_most", "at_least"]): 1.0},
            )
            for n in range(self.chance.choice([0, 0, 0, 1, 2]))
        }

    def script(self, kind: type[Scripted] = Scripted) -> Scripted:
        """Return a strategy with random opinions that last a few bars."""
        chance, table = self.chance, self.table
        sides: list[int] = []
        while len(sides) < self.rows:
            sides += [chance.choice([1, 1, -1, 0, 2])] * chance.randint(1, 4)
        return kind(
            side=tuple(sides[: self.rows]),
            confidence=table(0.5, 0.55, 0.7, 0.99, 1.0),
            score=table(0.1, 0.2, math.nan),
            edge=table(0.001, 0.01, 0.01, math.nan),
            volatility=table(0.1, 0.3, 0.3, 0.0, math.nan),
            trend=table(5.0, 30.0),
            barrier=table(0.5, 1.0, 2.0, 2.0, 0.0),
            price=table(19.5, 20.5, 99.0, 100.0, 101.0, 3.0, math.nan),
            start=at(0, self.step_ns),
            step_ns=self.step_ns,
        )

    def rules(self, sizing: dict[str, Any], order: str) -> StrategyRules:
        """Return rules of a strategy."""
        chance, maybe = self.chance, self.maybe
        barrier = chance.random() < 0.3
        unit = 1.5 if barrier else 0.03
        stop = maybe(unit, 0.6)
        if sizing["kind"] == "risk":
            stop = unit
        tif = chance.choice(["gtc", "gtc", "day", "gtd", "ioc"])
        return rules_of(
            sizing=sizing,
            exits={
                "stop": stop,
                "take": maybe(unit * 1.5),
                "trail": maybe(unit * chance.choice([0.7, 1.2]), 0.4),
                "unit": "barrier" if barrier else "price",
                "max_bars": maybe(chance.randint(1, 8), 0.3),
                "session_close_s": maybe(60, 0.3),
                "resting": chance.random() < 0.5,
            },
            gates={
                "conf_min": self.limit(0.52, 0.5) or 0.0,
                "trend_max": self.limit(20.0, 0.15),
                "edge_ratio_min": self.limit(1.0, 0.1),
                "rearm": chance.random() < 0.5,
                "cool_down_s": self.limit(120, 0.5) or 0,
                "loss_streak_max": self.limit(4, 0.2),
                "orders_per_day": self.limit(3, 0.3),
                "risk_budget": self.limit(0.6, 0.3),
                "max_position": self.limit(300, 0.3),
                "repeat_max": self.limit(6, 0.2),
            },
            entry={
                "order": order,
                "time_in_force": tif,
                "valid_for_s": 200 if tif == "gtd" else None,
            },
        )

    def account(self) -> AccountRules:
        """Return rules of an account."""
        chance, maybe = self.chance, self.maybe
        return account_of(
            cash=chance.choice([20_000.0, 100_000.0]),
            limits={
                "max_open_positions": self.limit(2, 0.4),
                "free_slot": chance.choice(["sent", "filled"]),
                "daily_loss": self.limit(0.03, 0.3),
                "drawdown": self.limit(0.15, 0.3),
                "flatten_on_stop": chance.random() < 0.5,
                "gross_exposure": self.limit(1.2, 0.3),
                "net_exposure": self.limit(0.9, 0.3),
                "price_collar": self.limit(0.05, 0.3),
                "max_order_lots": self.limit(5_000, 0.3),
                "max_open_orders": chance.choice([1, 4, 512, 512]),
                "messages_max": self.limit(8, 0.1),
                "session_hours": bool(self.limit(True, 0.4)),
            },
            costs={
                "fill": chance.choice(["next_open", "next_open", "next_close"]),
                "slippage_bps": chance.choice([0.0, 3.0]),
                "slippage_ticks": chance.choice([0.0, 1.0]),
                "volume_share": maybe(chance.choice([0.1, 1.0]), 0.6),
                "at_touch": chance.random() < 0.7,
            },
        )

    def inputs(self, instruments: list[Instrument], strategies: tuple[str, ...]) -> list[Input]:
        """Return corporate actions, commands and mandates."""
        chance = self.chance
        made: list[Input] = []
        for n in range(chance.choice([0, 3, 10])):
            # Now and then exactly at a close, before the first bar or after the last one.
            when = chance.choice([chance.uniform(-2, self.rows + 2), chance.randint(-2, self.rows)])
            ts = at(when, self.step_ns)
            symbol = chance.choice([i.symbol for i in instruments if i is not PAIR])
            kind = chance.random()
            if kind < 0.5:
                made.append(self._action(ts, symbol, any(i is PAIR for i in instruments)))
            elif kind < 0.8:
                made.append(self._command(ts, symbol, chance.choice(strategies)))
            else:
                made.append(self._mandate(ts, n, symbol, chance.choice(strategies)))
        return made

    def _action(self, ts: int, symbol: str, foreign: bool) -> Action:
        action, value = self.chance.choice(
            [
                ("split", 2.0), ("split", 0.3), ("split", 1.5), ("dividend", 0.4),
                ("funding", 0.001), ("roll", 0.25), ("roll", -0.25), ("rate", 1.2),
            ]
        )  # fmt: skip
        if action == "rate":
            return (
                Action(ts, "rate", value, currency="EUR" if foreign else "USD")
                if foreign
                else (Action(ts, "dividend", 0.1, symbol))
            )
        return Action(ts, action, value, symbol)

    def _command(self, ts: int, symbol: str, strategy: str) -> Command:
        kind = self.chance.choice([*CommandKind, *[CommandKind.RESUME, CommandKind.RECONCILED] * 3])
        return Command(ts, kind.name.lower(), self.maybe(strategy) or "", self.maybe(symbol) or "")

    def _mandate(self, ts: int, n: int, symbol: str, strategy: str) -> Mandate:
        kind = self.chance.choice(list(MandateKind))
        value = {
            MandateKind.CONF_MIN: 0.6, MandateKind.SUPPRESS: self.chance.choice([0.0, 1.0]),
            MandateKind.RISK_BUDGET: 0.5, MandateKind.MAX_POSITION: 200.0,
            MandateKind.MAX_OPEN_POSITIONS: 2.0, MandateKind.DAILY_LOSS: 0.05,
            MandateKind.DRAWDOWN: 0.2, MandateKind.GROSS_EXPOSURE: 1.0,
            MandateKind.NET_EXPOSURE: 0.8,
        }[kind]  # fmt: skip
        version = max(1, n + self.chance.choice([-2, 0, 1]))
        by_strategy = kind <= MandateKind.MAX_POSITION
        by_sleeve = kind <= MandateKind.SUPPRESS
        return Mandate(
            ts, version, kind.name.lower(), value,
            (self.maybe(strategy) or "") if by_strategy else "",
            (self.maybe(symbol) or "") if by_sleeve else "",
        )  # fmt: skip
