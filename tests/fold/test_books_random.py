"""F8, I4: the books against a slow second set of books, kept from the records in Decimal."""

from __future__ import annotations

import math
from collections import defaultdict
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from onefold.domain.instruments import Instrument
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
)
from onefold.engine.session import Session
from onefold.fold.gates import GATE_NAMES
from onefold.sim.exchange import SimulatedVenue
from onefold.views.trades import reconcile, round_trips, trade_rows
from random_worlds import worlds
from support import (
    DAY_NS,
    World,
    start_of,
)

ZERO = Decimal(0)


def exact(value: float) -> Decimal:
    """Return the number that was meant: 0.1 and not the nearest binary fraction."""
    return Decimal(repr(value))


class Books:
    """A second set of books: positions by sleeve, cash by currency, averages by instrument."""

    def __init__(self, w: World) -> None:
        self.plan = w.plan
        self.instruments: dict[str, Instrument] = {i.symbol: i for i in w.plan.instruments}
        self.cash: dict[str, Decimal] = defaultdict(Decimal)
        self.cash[w.plan.account.currency] = exact(w.plan.account.cash)
        self.rates = {w.plan.account.currency: Decimal(1)}
        self.rates |= {c: exact(r) for c, r in w.plan.rates.items()}
        self.held: dict[tuple[str, str], int] = defaultdict(int)
        self.net: dict[str, int] = defaultdict(int)
        self.average: dict[str, Decimal] = defaultdict(Decimal)
        self.mark: dict[str, Decimal] = {}
        self.splits = 0
        self.realised = self.fees = ZERO

    def point(self, symbol: str) -> Decimal:
        i = self.instruments[symbol]
        return exact(i.lot) * exact(i.multiplier)

    def rate(self, symbol: str) -> Decimal:
        return self.rates[self.instruments[symbol].currency]

    def equity(self) -> Decimal:
        total = sum((c * self.rates[k] for k, c in self.cash.items() if c), ZERO)
        for symbol, lots in self.net.items():
            if lots:
                price = self.mark[symbol]
                if self.instruments[symbol].margined:
                    price -= self.average[symbol]
                total += lots * self.point(symbol) * price * self.rate(symbol)
        return total

    def take(self, record: Any) -> None:
        if isinstance(record, Bar):
            self.mark[record.instrument] = exact(record.close)
            currency = self.plan.rate_pairs.get(record.instrument)
            if currency:
                self.rates[currency] = exact(record.close)
        elif isinstance(record, Fill):
            self.trade(record)
        elif isinstance(record, Action):
            self.act(record)

    def trade(self, fill: Fill) -> None:
        symbol, lots = fill.instrument, fill.side * fill.qty
        price, fee, before = exact(fill.price), exact(fill.fee), self.net[symbol]
        closing = min(abs(before), abs(lots)) if before * lots < 0 else 0
        gain = ZERO
        if closing:
            direction = 1 if before > 0 else -1
            gain = closing * direction * self.point(symbol) * (price - self.average[symbol])
        after = before + lots
        if abs(lots) > closing:
            kept = abs(before) - closing
            opened = abs(lots) - closing
            self.average[symbol] = (kept * self.average[symbol] + opened * price) / (kept + opened)
        self.net[symbol] = after
        self.held[fill.strategy, symbol] += lots
        currency = self.instruments[symbol].currency
        if self.instruments[symbol].margined:
            self.cash[currency] += gain - fee
        else:
            self.cash[currency] -= lots * self.point(symbol) * price + fee
        self.realised += gain * self.rate(symbol)
        self.fees += fee * self.rate(symbol)

    def act(self, action: Action) -> None:
        value, symbol = exact(action.value), action.instrument
        if action.action == "rate":
            self.rates[action.currency] = value
            return
        instrument, lots = self.instruments[symbol], self.net[symbol]
        currency, point = instrument.currency, self.point(symbol)
        if action.action == "dividend":
            self.cash[currency] += lots * exact(instrument.lot) * value
        elif action.action == "funding" and lots:
            self.cash[currency] -= lots * point * self.mark[symbol] * value
        elif action.action == "roll":
            self.roll(instrument, value)
        elif action.action == "split":
            self.splits += 1
            self.split(instrument, value)

    def roll(self, instrument: Instrument, gap: Decimal) -> None:
        symbol, costs = instrument.symbol, self.plan.account.costs
        lots, point = self.net[symbol], self.point(symbol)
        if symbol not in self.mark:
            return
        old, new = self.mark[symbol], self.mark[symbol] + gap
        self.mark[symbol], self.average[symbol] = new, self.average[symbol] + gap
        per_lot = exact(instrument.commission)
        per_lot += exact(costs.slippage_ticks) * exact(instrument.tick) * point
        share_ = (exact(instrument.commission_bps) + exact(costs.slippage_bps)) / 10_000
        cost = abs(lots) * (2 * per_lot + (abs(old) + abs(new)) * point * share_)
        self.cash[instrument.currency] -= cost
        self.fees += cost * self.rate(symbol)
        if not instrument.margined:
            self.cash[instrument.currency] -= lots * point * gap

    def split(self, instrument: Instrument, ratio: Decimal) -> None:
        symbol = instrument.symbol
        if symbol in self.mark:
            self.mark[symbol] /= ratio
        self.average[symbol] /= ratio
        parts = ZERO
        for key in [k for k in self.held if k[1] == symbol]:
            wanted = self.held[key] * ratio
            self.held[key] = int(wanted)  # towards zero
            parts += wanted - self.held[key]
        self.net[symbol] = sum(lots for key, lots in self.held.items() if key[1] == symbol)
        if parts:
            worth = self.mark[symbol]
            if instrument.margined:
                worth -= self.average[symbol]
            self.cash[instrument.currency] += parts * self.point(symbol) * worth


class Orders:
    """What works at the venue, from the records; and the limits at their worst case."""

    def __init__(self, w: World, books: Books) -> None:
        self.books, self.plan = books, w.plan
        self.open: dict[int, Order] = {}
        self.left: dict[int, int] = {}
        self.value: dict[int, Decimal] = {}
        self.entries: dict[tuple[str, int], int] = defaultdict(int)
        self.decided: dict[int, Decision] = {}
        self.limits = {"max_open_positions": w.plan.account.limits.max_open_positions}
        self.max_position = {p.name: p.rules.gates.max_position for p in w.plan.placements}
        self.version = 0

    def take(self, record: Any) -> None:
        if isinstance(record, Decision):
            self.decide(record)
        elif isinstance(record, Order):
            self.open[record.id], self.left[record.id] = record, record.qty
            if record.purpose == "entry":
                self.enter(record)
        elif isinstance(record, Fill):
            self.left[record.order] -= record.qty
            assert self.left[record.order] >= 0, "more was filled than ordered"
            assert record.side == self.open[record.order].side
            if self.left[record.order] == 0:
                del self.open[record.order]
        elif isinstance(record, OrderNotice):
            self.open.pop(record.order, None)
        elif isinstance(record, Cancel):
            assert record.order in self.left
        elif isinstance(record, Mandate):
            self.mandate(record)

    def mandate(self, mandate: Mandate) -> None:
        if mandate.version <= self.version:
            return
        self.version = mandate.version
        if mandate.mandate == "max_open_positions":
            self.limits["max_open_positions"] = int(mandate.value)
        elif mandate.mandate == "max_position":
            for name in self.max_position:
                if mandate.strategy in {"", name}:
                    self.max_position[name] = int(mandate.value)

    def decide(self, decision: Decision) -> None:
        self.decided[decision.order] = decision
        assert len(decision.values) == len(decision.thresholds) == len(GATE_NAMES)
        assert decision.price is None or math.isfinite(decision.price)
        assert math.isfinite(decision.equity)
        assert (decision.order > 0) == (decision.blocked == [])
        if decision.purpose != "entry":
            assert set(decision.blocked) <= {"kill_switch", "duplicate"}
            return
        assert decision.position == self.books.held[decision.strategy, decision.instrument]

    def enter(self, order: Order) -> None:
        """Check the limits with the new order in, whatever of the working ones may fill."""
        name, symbol = order.strategy, order.instrument
        price = exact(self.decided[order.id].price or 0.0)
        self.value[order.id] = (
            abs(price) * order.qty * self.books.point(symbol) * self.books.rate(symbol)
        )
        working = [o for o in self.open.values() if (o.strategy, o.instrument) == (name, symbol)]
        assert sum(o.purpose == "entry" for o in working) == 1
        same = sum(self.left[o.id] for o in working if o.side == order.side)
        lots = self.books.held[name, symbol] * order.side + same
        cap = self.max_position[name]
        assert cap is None or lots <= cap
        instrument = self.books.instruments[symbol]
        if not instrument.short and order.side < 0:
            assert lots <= 0
        self.check_counts(order)
        self.check_exposure()

    def check_counts(self, order: Order) -> None:
        limits = self.plan.account.limits
        assert len(self.open) <= limits.max_open_orders
        day = (order.ts - 1) // DAY_NS
        self.entries[order.strategy, day] += 1
        (rules,) = [p.rules for p in self.plan.placements if p.name == order.strategy]
        if rules.gates.orders_per_day is not None:
            assert self.entries[order.strategy, day] <= rules.gates.orders_per_day
        leaving = {
            (o.strategy, o.instrument)
            for o in self.open.values()
            if o.purpose != "entry" and (o.order_kind == "market" or self.touched(o))
        }
        held = {key for key, lots in self.books.held.items() if lots}
        if limits.free_slot == "sent":
            held -= leaving
        entering = {(o.strategy, o.instrument) for o in self.open.values() if o.purpose == "entry"}
        cap = self.limits["max_open_positions"]
        assert cap is None or len(held | entering) <= cap

    def touched(self, order: Order) -> bool:
        """Return whether a stop has filled in part, and so works as a market order."""
        return order.order_kind == "stop" and self.left[order.id] < order.qty

    def check_exposure(self) -> None:
        books, cap = self.books, self.plan.account.limits.gross_exposure
        if cap is None:
            return
        gross = sum(
            abs(lots) * books.point(s) * abs(books.mark[s]) * books.rate(s)
            for (_, s), lots in books.held.items()  # offsetting strategies count in full
            if lots
        )
        for order in self.open.values():
            if order.purpose == "entry":
                gross += self.value[order.id] * self.left[order.id] / order.qty
        assert float(gross / books.equity()) <= cap * (1 + 1e-9)


class Kept:
    """A recorder that hands every record on as it comes."""

    def __init__(self, *takers: Any) -> None:
        self.takers = takers

    def append(self, record: Any) -> None:
        for taker in self.takers:
            taker.take(record)

    def commit(self) -> None:
        pass


class NeverNegative:
    """Cash never falls below zero by a purchase that is paid in full."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.orders: dict[int, Order] = {}

    def take(self, record: Any) -> None:
        if isinstance(record, Order):
            self.orders[record.id] = record
        if not isinstance(record, Fill) or self.orders[record.order].reduce_only:
            return
        instrument = self.books.instruments[record.instrument]
        if record.side > 0 and not instrument.margined and instrument.margin_initial >= 1.0:
            cash = sum(c * self.books.rates[k] for k, c in self.books.cash.items() if c)
            assert cash > Decimal("-0.000001")


class Market:
    """Fills have prices that the bar had, and no more lots than its volume allows."""

    def __init__(self, w: World) -> None:
        self.costs = w.plan.account.costs
        self.instruments = {i.symbol: i for i in w.plan.instruments}
        self.bar: Bar | None = None
        self.lots = 0

    def take(self, record: Any) -> None:
        if isinstance(record, Bar):
            self.bar, self.lots = record, 0
        if not isinstance(record, Fill):
            return
        assert self.bar is not None
        assert record.instrument == self.bar.instrument
        assert record.ts in {self.bar.ts_open, self.bar.ts}
        low = min(self.bar.low, self.bar.bid or self.bar.low)
        high = max(self.bar.high, self.bar.ask or self.bar.high)
        instrument, costs = self.instruments[record.instrument], self.costs
        slack = 1e-9 + instrument.tick * (1 + costs.slippage_ticks)
        slack += abs(record.price) * costs.slippage_bps * 1e-4 * 1.001
        assert low - slack <= record.price <= high + slack
        self.lots += record.qty
        if costs.volume_share is not None:
            units = (self.bar.volume or 0.0) * costs.volume_share
            assert self.lots * instrument.lot <= units * (1 + 1e-9)


@given(w=worlds())
@settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_the_books_are_right_and_the_limits_hold(w: World) -> None:
    books = Books(w)
    recorder = Kept(books, Orders(w, books), NeverNegative(books), Market(w))
    venue = SimulatedVenue(w.plan.book(), w.plan.names)
    session = Session(w.plan, venue, recorder, start_of())  # type: ignore[arg-type]
    account = session.state.account
    day = version = ts = -(2**62)
    for record in w.feed():
        session.on(record)
        now = tuple(int(account[name][0]) for name in ("day", "mandate_version", "ts"))
        assert now >= (day, version, ts) if now[0] == day else now[0] > day
        assert now[1] >= version
        assert now[2] >= ts
        day, version, ts = now
        close_to(account["equity"][0], books.equity())
        assert account["fault"][0] == 0
        if isinstance(record, Command) and record.command == "kill":
            assert not any_entry_works(session)
    compare(session, books)


def any_entry_works(session: Session) -> bool:
    """Return whether an order of a killed scope may still open a position."""
    state = session.state
    killed = bool(state.account["killed"][0])
    return killed and int(state.account["open_entries"][0]) > 0


def close_to(mine: float, other: Decimal) -> None:
    assert float(mine) == pytest.approx(float(other), rel=1e-9, abs=1e-6)


def check_trades(session: Session, books: Books) -> None:
    """Compare the trades that people see with the books: what they made and what they paid."""
    names, fills = session.names, session.result().fills
    rows = trade_rows(fills, names.instruments, names.strategies)
    close_to(float(rows["fees"].sum()), books.fees)
    if books.splits:
        return  # the parts of a lot that a split pays for are income
    for line in reconcile(
        round_trips(fills, names.instruments, names.strategies), fills, names.instruments
    ).to_dicts():
        assert line["difference"] == pytest.approx(0.0, abs=1e-5)


def compare(session: Session, books: Books) -> None:
    """Compare everything at the end of a run."""
    check_trades(session, books)
    state, names = session.state, session.names
    sleeves = state.sleeves.reshape(len(names.strategies), len(names.instruments))
    for s, strategy in enumerate(names.strategies):
        for i, symbol in enumerate(names.symbols):
            assert sleeves["qty"][s, i] == books.held[strategy, symbol]
    for i, symbol in enumerate(names.symbols):
        assert state.instruments["qty"][i] == books.net[symbol]
        if books.net[symbol] and books.instruments[symbol].margined:
            close_to(state.instruments["average"][i], books.average[symbol])
    for c, currency in enumerate(names.currencies):
        close_to(state.currencies["cash"][c], books.cash[currency])
    close_to(state.account["fees"][0], books.fees)
    close_to(state.account["realised"][0], books.realised)
    gross = sum(
        abs(lots) * books.point(s) * abs(books.mark[s]) * books.rate(s)
        for (_, s), lots in books.held.items()
        if lots
    )
    close_to(state.account["gross"][0], Decimal(gross))
    net = sum(
        lots * books.point(s) * abs(books.mark[s]) * books.rate(s)
        for s, lots in books.net.items()
        if lots
    )
    close_to(state.account["net"][0], Decimal(net))
    numbers = [state.account[n][0] for n in ("equity", "gross", "net", "initial_margin", "income")]
    assert all(math.isfinite(n) for n in numbers)
    for name in ("qty", "average", "realised", "used"):
        assert all(math.isfinite(v) for v in state.sleeves[name].tolist())


@given(w=worlds())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_what_the_trades_made_is_what_the_account_made(w: World) -> None:
    """In the account's own currency, without payments, nothing but trades moves the equity."""
    w.inputs = [x for x in w.inputs if not isinstance(x, Action) or x.action == "roll"]
    instruments = w.plan.instruments
    assume(all(i.currency == "USD" for i in instruments))
    run = w.run()
    rows = trade_rows(run.fills, instruments, w.plan.names.strategies)
    marks = run.state.instruments["mark"]
    points = np.array([i.point_value for i in instruments])
    held = rows["instrument"]
    worth = rows["position"] * np.where(rows["position"] > 0, marks[held], 0.0) - rows["cost"]
    made = rows["pnl"].sum() + (rows["side"] * worth * points[held])[rows["position"] > 0].sum()
    assert run.equity[-1] - w.plan.account.cash == pytest.approx(made, rel=1e-9, abs=1e-6)
