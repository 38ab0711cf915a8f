"""Small worlds for the tests of the fold, the simulated venue and the engine.

`Desk` is the fold alone, one record at a time. `World` is a plan with bars and inputs, which can
be run as a backtest, a session and a replay. `Scripted` is a strategy that says what it is told.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from onefold.domain.columns import Bars, Signals
from onefold.domain.convert import to_columns, to_records
from onefold.domain.instruments import Instrument, Kind
from onefold.domain.records import (
    Action,
    Bar,
    Cancel,
    Command,
    Decision,
    Fill,
    Mandate,
    Order,
    OrderNotice,
    SessionStart,
    Signal,
)
from onefold.domain.rules import AccountRules, StrategyRules
from onefold.domain.words import Mode
from onefold.engine.backtest import backtest
from onefold.engine.replay import replay
from onefold.engine.session import Session
from onefold.engine.simulate import simulate
from onefold.fold.build import new_state, roster
from onefold.fold.codec import Inbox, Outbox
from onefold.fold.state import Out
from onefold.signals.feature import Feature
from onefold.signals.gate import Gate
from onefold.signals.signal import Columns
from onefold.signals.strategy import Strategy
from onefold.sim.backtest import Run
from onefold.sim.plan import Placement, Plan

MINUTE_NS = 60_000_000_000
DAY_NS = 86_400_000_000_000
START_NS = 1_577_923_200_000_000_000  # 2 January 2020, 00:00 UTC
LONG, SHORT, FLAT, HOLD = 1, -1, 0, 2

Input = Action | Command | Mandate


def share(symbol: str = "ABC", **facts: Any) -> Instrument:
    """Return an instrument that is paid for in full, without costs."""
    return Instrument.model_validate({"symbol": symbol, "kind": Kind.EQUITY, "tick": 0.01, **facts})


def future(symbol: str = "FUT", **facts: Any) -> Instrument:
    """Return an instrument that settles by profit and loss, without costs."""
    plain = {"kind": Kind.FUTURE, "tick": 0.25, "multiplier": 50.0, "margin_initial": 0.1}
    return Instrument.model_validate(
        {"symbol": symbol, **plain, "margin_maintenance": 0.08, **facts}
    )


def rules_of(**parts: Any) -> StrategyRules:
    """Return a strategy's rules from plain values: `rules_of(exits={"stop": 0.02})`."""
    return StrategyRules.model_validate(parts)


def account_of(**parts: Any) -> AccountRules:
    """Return an account's rules from plain values."""
    return AccountRules.model_validate(parts)


def at(bar: float, step_ns: int = MINUTE_NS) -> int:
    """Return the close of the bar of that number, from 0."""
    return START_NS + int((bar + 1) * step_ns)


def bar(
    number: float,
    open_: float = 100.0,
    high: float | None = None,
    low: float | None = None,
    close: float | None = None,
    *,
    symbol: str = "ABC",
    step_ns: int = MINUTE_NS,
    **more: Any,
) -> Bar:
    """Return the bar of that number; what is not given makes it a flat one."""
    close = open_ if close is None else close
    ts = at(number, step_ns)
    return Bar(
        symbol,
        ts,
        ts - step_ns,
        open_,
        max(open_, close) if high is None else high,
        min(open_, close) if low is None else low,
        close,
        **more,
    )


def bars_of(rows: Iterable[Sequence[float]], *, symbol: str = "ABC", **more: Any) -> list[Bar]:
    """Return consecutive bars from rows of open, high, low and close (or a price for all four)."""
    return [
        bar(n, *(row if isinstance(row, Sequence) else (row,)), symbol=symbol, **more)
        for n, row in enumerate(rows)
    ]


class Desk:
    """The fold without venue and journal: tell it records, and see what it decides.

    Strategies are called s0, s1 and so on. `last` has the decisions of the last call, `sent` the
    instructions of the last call.
    """

    def __init__(
        self,
        *rules: StrategyRules,
        instruments: Sequence[Instrument] = (share(),),
        account: AccountRules | None = None,
        mode: Mode = Mode.BACKTEST,
        rates: Mapping[str, float] | None = None,
        rate_pairs: Mapping[str, str] | None = None,
        interval_ns: int = MINUTE_NS,
    ) -> None:
        rules = rules or (StrategyRules(),)
        account = account or AccountRules()
        self.names = roster(
            account,
            [f"s{n}" for n in range(len(rules))],
            instruments,
            [interval_ns] * len(instruments),
        )
        self.state = new_state(
            account, self.names, rules, mode=mode, rates=rates, rate_pairs=rate_pairs
        )
        self._out = Out(4_096)
        self._inbox = Inbox(self.names)
        self._outbox = Outbox(self._out, self.names, 0)
        self.last: list[Decision] = []
        self.sent: list[Order | Cancel] = []
        self.fills = 0

    def tell(self, *records: Any) -> list[Decision]:
        """Fold the records and return the decisions."""
        for record in records:
            getattr(self._inbox, _VERBS[type(record)])(record)
        self._inbox.fold(self.state, self._out)
        self.last = list(self._outbox.decisions())
        self.sent = list(self._outbox.orders())
        self._out.clear()
        self._outbox.emptied()
        return self.last

    def signal(self, number: float, side: int = LONG, **more: Any) -> list[Decision]:
        """Fold a signal of s0 at the close of a bar."""
        more = {"instrument": self.names.symbols[0], "strategy": "s0", "ts": at(number), **more}
        return self.tell(Signal(side=side, **more))

    def fill(self, order: Order | int, price: float, *, qty: int = 0, **more: Any) -> Fill:
        """Fold a fill of an order that was sent (all of it, unless told) and return it."""
        if isinstance(order, int):
            order = self.orders[order]
        self.fills += 1
        fill = Fill(
            self.fills,
            order.id,
            more.pop("ts", order.ts),
            order.instrument,
            order.strategy,
            order.side,
            qty or order.qty,
            price,
            **more,
        )
        self.tell(fill)
        return fill

    def gone(self, order: Order | Cancel, notice: str = "cancelled") -> list[Decision]:
        """Fold the notice that an order works no more."""
        number = order.order if isinstance(order, Cancel) else order.id
        return self.tell(OrderNotice(number, order.ts, order.instrument, notice))

    @property
    def orders(self) -> list[Order]:
        """Return the new orders of the last call."""
        return [o for o in self.sent if isinstance(o, Order)]

    @property
    def cancels(self) -> list[int]:
        """Return the numbers of the orders that the last call cancels."""
        return [o.order for o in self.sent if isinstance(o, Cancel)]

    def account(self, name: str) -> float:
        """Return a field of the account."""
        return self.state.account[name][0].item()

    def sleeve(self, name: str, row: int = 0) -> float:
        """Return a field of a sleeve."""
        return self.state.sleeves[name][row].item()

    def hold(self, qty: int, price: float = 100.0, number: float = 0, **more: Any) -> None:
        """Make s0 hold lots of its first instrument through a signal and a fill."""
        symbol = more.get("instrument", self.names.symbols[0])
        self.tell(bar(number, price, symbol=symbol))
        decisions = self.signal(number, LONG if qty > 0 else SHORT, **more)
        assert [d.blocked for d in decisions] == [[]], decisions
        assert self.orders[0].qty == abs(qty)
        self.fill(self.orders[0], price, ts=at(number) + 1)


_VERBS: dict[type, str] = {
    Bar: "bar",
    Signal: "signal",
    Fill: "fill",
    OrderNotice: "notice",
    Command: "command",
    Mandate: "mandate",
    Action: "action",
}


class Scripted(Strategy):
    """A strategy that reads its opinion from a table by the bar's time.

    Every table has one value per step from `start`; the last value stands for all later ones.
    """

    side: tuple[int, ...]
    confidence: tuple[float, ...] = (1.0,)
    score: tuple[float, ...] = (math.nan,)
    edge: tuple[float, ...] = (math.nan,)
    volatility: tuple[float, ...] = (math.nan,)
    trend: tuple[float, ...] = (math.nan,)
    barrier: tuple[float, ...] = (math.nan,)
    price: tuple[float, ...] = (math.nan,)
    start: int = at(0)
    step_ns: int = MINUTE_NS

    def extract_features(self) -> dict[str, Feature]:
        """Return nothing: the time of the bar is enough."""
        return {}

    def predict_signal(self, x: Columns) -> Signals:
        """Return what the tables say of the bars' times."""
        step = np.maximum(0, (x.ts - self.start) // self.step_ns)

        def said(table: tuple[float, ...]) -> Any:
            return np.array(table)[np.minimum(step, len(table) - 1)]

        return self.signal(
            said(self.side),
            confidence=said(self.confidence),
            score=said(self.score),
            edge=said(self.edge),
            volatility=said(self.volatility),
            trend=said(self.trend),
            barrier=said(self.barrier),
            price=said(self.price),
        )


class Patient(Scripted):
    """Scripted, but it leaves what lies at a loss after some bars, and tells what it was told."""

    needs_position: ClassVar[bool] = True
    patience: int = 3

    def predict_signal(self, x: Columns) -> Signals:
        """Leave after `patience` bars at a loss; the score and the edge are what it holds."""
        told = super().predict_signal(x)
        loses = (x.close - x.entry_price) * x.position < 0.0
        side = np.where(loses & (x.bars_held >= self.patience), FLAT, told.side)
        return self.signal(
            side,
            confidence=told.confidence,
            score=x.entry_price,
            edge=0.01 + x.bars_held,
            volatility=told.volatility,
            trend=x.position,
            barrier=told.barrier + 0.1 * x.bars_held,
            price=told.price,
        )


class Table(Gate):
    """A gate that reads its value from a table by the bar's time; see `Scripted`."""

    values: tuple[float, ...]
    start: int = at(0)
    step_ns: int = MINUTE_NS

    def extract_features(self) -> dict[str, Feature]:
        """Return nothing: the time of the bar is enough."""
        return {}

    def measure(self, x: Columns) -> Any:
        """Return what the table says of the bars' times."""
        step = np.maximum(0, (x.ts - self.start) // self.step_ns)
        return np.array(self.values)[np.minimum(step, len(self.values) - 1)]


class World:
    """A plan, its bars by symbol, and its other inputs."""

    def __init__(self, plan: Plan, bars: dict[str, Bars], inputs: list[Input]) -> None:
        self.plan, self.bars, self.inputs = plan, bars, inputs

    def __repr__(self) -> str:
        """Return what a person can read of it; the bars are made again by the same example."""
        rules = {p.name: (p.symbols, p.rules) for p in self.plan.placements}
        return f"World({self.plan.account}, {rules}, {self.inputs})"

    def run(self) -> Run:
        """Run the backtest."""
        return backtest(self.plan, self.bars, self.inputs)

    def feed(self) -> list[Bar | Input]:
        """Return all inputs in the order in which a session gets them."""
        order = {symbol: n for n, symbol in enumerate(self.plan.names.symbols)}
        merged: list[tuple[tuple[int, int, int], Bar | Input]] = [
            ((b.ts, 0, order[symbol]), b)
            for symbol, part in self.bars.items()
            for b in to_records(part, symbol)
        ]
        merged += [((x.ts, 1, n), x) for n, x in enumerate(sorted(self.inputs, key=lambda x: x.ts))]
        return [x for _, x in sorted(merged, key=lambda pair: pair[0])]

    def session(self, folder: Path, first: int | None = None) -> Session:
        """Run the session over the feed, or over the first inputs only, with a journal."""
        return simulate(
            self.plan, self.feed()[:first], folder, start_of(), today=today, durability="relaxed"
        )

    def replayed(self, folder: Path) -> Run:
        """Replay the journal."""
        return replay(folder, self.plan).run


def today() -> dt.date:
    """Return the one day on which all tests take place."""
    return dt.date(2020, 1, 2)


def start_of() -> SessionStart:
    """Return the first record of a session."""
    return SessionStart(START_NS, "simulate", "0", "test", "0", {})


Placed = (
    tuple[Strategy, StrategyRules, Sequence[str]]
    | tuple[Strategy, StrategyRules, Sequence[str], Mapping[str, Gate]]
)
"""A strategy with its rules, its instruments and, where it has some, gates of its own."""


def world(
    strategies: Mapping[str, Placed] | Strategy,
    bars: Iterable[Bar],
    *,
    rules: StrategyRules | None = None,
    account: AccountRules | None = None,
    instruments: Sequence[Instrument] = (share(),),
    inputs: Sequence[Input] = (),
    rates: Mapping[str, float] | None = None,
    rate_pairs: Mapping[str, str] | None = None,
    interval_ns: int = MINUTE_NS,
) -> World:
    """Return a world; one strategy alone trades all instruments by `rules` under the name `s`."""
    symbols = tuple(i.symbol for i in instruments)
    if isinstance(strategies, Strategy):
        strategies = {"s": (strategies, rules or StrategyRules(), symbols)}
    plan = Plan(
        account or AccountRules(),
        tuple(instruments),
        tuple(
            Placement(name, strategy, rules, tuple(on), *own_gates)
            for name, (strategy, rules, on, *own_gates) in strategies.items()
        ),
        (interval_ns,) * len(instruments),
        rates or {},
        rate_pairs or {},
    )
    bars = list(bars)
    return World(
        plan,
        {s: to_columns(b for b in bars if b.instrument == s) for s in symbols},
        list(inputs),
    )


def fills(run: Run) -> list[tuple[int, int, float]]:
    """Return time, signed lots and price of every fill."""
    rows = run.outcome.fills
    signed = (rows["side"] * rows["qty"]).tolist()
    return list(zip(rows["ts"].tolist(), signed, rows["price"].tolist(), strict=True))
