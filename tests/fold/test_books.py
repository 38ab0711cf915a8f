"""F8, I4: the books against a slow second set of books, kept from the records in Decimal."""

from __future__ import annotations

import math
from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from onefold.domain.errors import InvariantBroken
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
from onefold.sim.outcome import check_books
from random_worlds import worlds
from support import (
    DAY_NS,
    FLAT,
    LONG,
    SHORT,
    Desk,
    Scripted,
    World,
    account_of,
    at,
    bar,
    future,
    rules_of,
    share,
    start_of,
    world,
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


def compare(session: Session, books: Books) -> None:
    """Compare everything at the end of a run."""
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


# -- by hand --------------------------------------------------------------------------------------


def held(qty: int, instrument: Instrument, price: float = 100.0, **account: Any) -> Desk:
    lots = rules_of(sizing={"kind": "fixed", "lots": abs(qty)})
    desk = Desk(lots, instruments=(instrument,), account=account_of(**account), rates={"EUR": 1.2})
    desk.hold(qty, price)
    return desk


def cash(desk: Desk, currency: int = 0) -> float:
    return desk.state.currencies["cash"][currency].item()


def test_a_share_is_paid_for_and_worth_its_mark() -> None:
    desk = held(10, share())
    assert cash(desk) == 99_000.0
    desk.tell(bar(1, 103.0))
    assert desk.account("equity") == 100_030.0
    assert desk.account("gross") == desk.account("net") == 1_030.0


def test_a_future_moves_cash_by_its_result_only() -> None:
    desk = held(-2, future())
    assert cash(desk) == 100_000.0
    desk.tell(bar(1, 97.0, symbol="FUT"))
    assert (cash(desk), desk.account("equity")) == (100_000.0, 100_300.0)
    assert (desk.account("gross"), desk.account("net")) == (9_700.0, -9_700.0)
    assert desk.account("initial_margin") == pytest.approx(970.0)
    desk.signal(1, FLAT)
    desk.fill(0, 97.0, fee=5.0)
    assert (cash(desk), desk.account("equity")) == (100_295.0, 100_295.0)
    assert (desk.account("realised"), desk.account("fees")) == (300.0, 5.0)
    assert desk.sleeve("realised") == 295.0  # the sleeve's is net of fees


def test_crude_oil_below_zero() -> None:
    """One contract bought at -37.63 costs nothing but margin, and gains 1,000 a dollar."""
    crude = future("CL", multiplier=1_000.0, tick=0.01, negative_prices=True)
    desk = held(1, crude, -37.63)
    assert desk.account("equity") == 100_000.0
    assert desk.account("gross") == pytest.approx(37_630.0)
    assert desk.account("net") == pytest.approx(37_630.0)  # long is long
    desk.tell(bar(1, -30.0, symbol="CL"))
    assert desk.account("net") == pytest.approx(30_000.0)
    desk.tell(bar(1, 10.01, symbol="CL"))
    assert desk.account("net") == pytest.approx(10_010.0)
    assert desk.account("equity") == pytest.approx(147_640.0)
    desk.signal(1, SHORT)
    close, turn = desk.orders
    desk.fill(close, 10.01)
    desk.fill(turn, 10.01)
    desk.tell(bar(2, -37.63, symbol="CL"))
    assert desk.account("equity") == pytest.approx(195_280.0)
    assert desk.account("realised") == pytest.approx(47_640.0)


def test_a_currency_is_worth_its_rate_at_the_time() -> None:
    desk = held(10, share(currency="EUR"))
    assert (cash(desk), cash(desk, 1)) == (100_000.0, -1_000.0)
    assert desk.account("equity") == 100_000.0
    desk.tell(bar(1, 110.0))
    assert desk.account("equity") == pytest.approx(100_120.0)
    desk.tell(Action(at(1), "rate", 2.0, currency="EUR"))
    assert desk.account("equity") == pytest.approx(100_200.0)
    assert desk.account("gross") == pytest.approx(2_200.0)


@pytest.mark.parametrize(
    ("action", "value", "expected", "lots"),
    [
        ("split", 2.0, 100_000.0, 20),
        ("split", 0.25, 100_000.0, 2),  # the half share is paid out
        ("dividend", 0.5, 100_005.0, 10),
        ("funding", 0.01, 99_990.0, 10),
        ("roll", 5.0, 100_000.0, 10),
    ],
)
@pytest.mark.parametrize("kind", ["equity", "cfd"])
def test_actions_keep_or_change_equity_as_they_should(
    action: str, value: float, expected: float, lots: int, kind: str
) -> None:
    desk = held(10, share(kind=kind))
    desk.tell(Action(at(1), action, value, "ABC"))
    assert desk.account("equity") == pytest.approx(expected)
    assert desk.sleeve("qty") == lots
    assert desk.account("income") == pytest.approx(
        cash(desk) - (99_000.0 if kind == "equity" else 100_000.0)
    )
    ratio = value if action == "split" else 1.0
    gap = value if action == "roll" else 0.0
    desk.tell(bar(1, 100.0 / ratio + gap))
    assert desk.account("equity") == pytest.approx(expected)


def test_a_roll_costs_two_trades() -> None:
    instrument = future(commission=2.0)
    desk = held(3, instrument, costs={"slippage_ticks": 1})
    desk.tell(Action(at(1), "roll", 1.0, "FUT"))
    # Three contracts, two trades each, of 2.00 and a tick of 12.50.
    assert desk.account("equity") == pytest.approx(100_000.0 - 3 * 2 * (2.0 + 0.25 * 50))


def test_the_highest_equity_counts_what_a_resting_order_earned() -> None:
    exits = {"take": 0.1, "resting": True}
    desk = Desk(rules_of(sizing={"kind": "fixed", "lots": 100}, exits=exits))
    desk.hold(100)
    desk.fill(0, 110.0)
    desk.tell(bar(1, 105.0))
    assert desk.account("peak_equity") == 101_000.0


def test_a_round_trip_counts_as_lost_after_fees() -> None:
    desk = held(10, share())
    desk.tell(bar(1))
    desk.signal(1, FLAT)
    desk.fill(0, 100.05, fee=1.0)
    assert desk.state.strategies["loss_streak"][0] == 1
    desk.signal(1, LONG)
    desk.fill(0, 100.0)
    desk.tell(bar(2))
    desk.signal(2, FLAT)
    desk.fill(0, 100.2, fee=1.0)
    assert desk.state.strategies["loss_streak"][0] == 0


def test_a_snapshot_is_the_whole_memory() -> None:
    """P2: restored, the fold goes on as if nothing had happened."""
    one = held(10, share(), limits={"daily_loss": 0.1})
    other = Desk(
        rules_of(sizing={"kind": "fixed", "lots": 10}),
        account=account_of(limits={"daily_loss": 0.1}),
        rates={"EUR": 1.2},
    )
    other.state.restore(one.state.snapshot())
    for number, price in enumerate((101.0, 80.0, 99.0), start=1):
        assert one.tell(bar(number, price)) == other.tell(bar(number, price))
        side = LONG if number % 2 else FLAT
        assert one.signal(number, side) == other.signal(number, side)
    assert one.state.snapshot() == other.state.snapshot()
    with pytest.raises(Exception, match="bytes"):
        one.state.restore(b"short")


def test_a_split_at_the_entry_price_still_changes_the_exposure() -> None:
    """Nothing is paid for half a contract that has gained nothing, but there is less of it."""
    desk = held(5, future(multiplier=1.0))
    desk.tell(Action(at(1), "split", 0.5, "FUT"))
    assert (desk.account("equity"), desk.account("gross")) == (100_000.0, 400.0)


def test_books_that_do_not_add_up_stop_everything() -> None:
    """F8: conservation is looked at with every fill and every day, also in production."""
    desk = held(10, share())
    desk.state.account["equity"][0] += 0.05  # less than a millionth
    desk.tell(bar(1), Action(at(1), "dividend", 0.0, "ABC"))
    assert (desk.account("fault"), desk.account("equity")) == (0, 100_000.0)
    for event in (Action(at(2), "dividend", 0.0, "ABC"), bar(2_000)):
        desk = held(10, share())
        desk.state.account["equity"][0] += 0.2
        desk.tell(event)
        assert desk.account("fault") == 1
        with pytest.raises(InvariantBroken, match="cash"):
            check_books(desk.state, desk.names, at(2))


def test_a_session_raises_when_the_books_are_broken() -> None:
    w = world(Scripted(side=(1, 1, 0, 0, 1, 0)), [bar(n) for n in range(8)])
    session = Session(w.plan, SimulatedVenue(w.plan.book(), w.plan.names), Kept(), start_of())  # type: ignore[arg-type]
    feed = w.feed()
    for record in feed[:3]:
        session.on(record)
    session.state.account["equity"][0] += 10.0
    with pytest.raises(InvariantBroken):
        session.on(feed[3])


def test_a_dividend_is_paid_per_unit_and_not_per_lot() -> None:
    desk = held(10, share(lot=100.0))
    desk.tell(Action(at(1), "dividend", 0.5, "ABC"))
    assert desk.account("income") == 500.0
