"""The fold before a venue as venues are: late, partial, too much, unknown, or not at all.

After every event the sums that the gates rely on are added up again from the orders themselves; and
however a sequence went, an operator can always get out of everything.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.records import Action, Command, Order, OrderNotice, Signal
from onefold.domain.words import OrderState, Purpose
from support import Desk, account_of, at, bar, future, rules_of, share

ENTRY = int(Purpose.ENTRY)
LOTS = {"kind": "fixed", "lots": 10}
RULES = (
    rules_of(sizing=LOTS, exits={"stop": 0.03, "take": 0.04, "trail": 0.02, "resting": True}),
    rules_of(sizing=LOTS, exits={"stop": 0.02, "max_bars": 4}, gates={"rearm": False}),
    rules_of(sizing=LOTS, entry={"order": "limit"}),
)


def used_slots(desk: Desk) -> list[Any]:
    """Return the slots in use, found by walking the instruments' lists."""
    slots, found = desk.state.orders, []
    for first in desk.state.instruments["first_order"].tolist():
        at_ = first
        while at_ >= 0:
            found.append(slots[at_])
            at_ = int(slots[at_]["next"])
    return found


def free_slots(desk: Desk) -> int:
    """Return the length of the list of free slots."""
    at_, count = int(desk.state.account["free_slot"][0]), 0
    while at_ >= 0:
        at_, count = int(desk.state.orders[at_]["next"]), count + 1
    return count


def check(desk: Desk) -> None:
    """Assert that every sum agrees with the orders and positions that it sums up."""
    state, slots = desk.state, used_slots(desk)
    assert state.account["fault"][0] == 0
    assert len(slots) + free_slots(desk) == len(state.orders)
    assert state.account["open_orders"][0] == len(slots)
    assert len({int(s["id"]) for s in slots}) == len(slots)
    assert all(s["state"] != OrderState.FREE and s["filled"] < s["qty"] for s in slots)
    width = len(state.instruments)
    lots: Counter[tuple[int, int, int]] = Counter()
    entering: Counter[tuple[int, int]] = Counter()
    for s in slots:
        lots[s["strategy"], s["instrument"], s["side"]] += int(s["qty"] - s["filled"])
        entering[s["strategy"], s["instrument"]] += int(s["purpose"] == ENTRY)
    for row, sleeve in enumerate(state.sleeves):
        key = (row // width, row % width)
        assert sleeve["working_buys"] == lots[(*key, 1)]
        assert sleeve["working_sells"] == lots[(*key, -1)]
        assert sleeve["entering"] == entering[key]
        assert sleeve["counted"] == int(sleeve["qty"] != 0 or entering[key] > 0)
    assert state.account["open_positions"][0] == state.sleeves["counted"].sum()
    by_instrument = state.sleeves["qty"].reshape(-1, width)
    assert state.instruments["qty"].tolist() == by_instrument.sum(axis=0).tolist()
    assert state.instruments["open_sleeves"].tolist() == (by_instrument != 0).sum(axis=0).tolist()
    values = [s["value"] for s in slots if s["purpose"] == ENTRY]
    sides = [s["side"] for s in slots if s["purpose"] == ENTRY]
    for name, side in (("entering_buys", 1), ("entering_sells", -1)):
        total = sum(v for v, d in zip(values, sides, strict=True) if d == side)
        assert state.account[name][0] == pytest.approx(total, abs=1e-6)
    used = state.sleeves["used"].reshape(-1, width).sum(axis=1)
    assert state.strategies["used"].tolist() == pytest.approx(used.tolist(), abs=1e-6)
    assert state.strategies["entering"].sum() == pytest.approx(sum(values), abs=1e-6)


class Street:
    """A venue that answers by chance, and remembers what it was sent."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        instruments = (share(), future(multiplier=1.0, tick=0.01))
        limits = {"max_open_orders": self.chance.choice([1, 3, 512])}
        self.desk = Desk(*RULES, instruments=instruments, account=account_of(limits=limits))
        self.left: dict[int, tuple[Order, int]] = {}
        self.number = 0

    def told(self) -> None:
        """Take what the fold has sent."""
        for order in self.desk.orders:
            assert order.id not in self.left, "an order number was given twice"
            self.left[order.id] = (order, order.qty)
        check(self.desk)

    def step(self) -> None:
        """Let one thing happen."""
        chance, symbol = self.chance, self.chance.choice(["ABC", "FUT"])
        kind = chance.random()
        if kind < 0.25:
            self.number += 1
            price = 100.0 * (1 + chance.gauss(0, 0.02))
            self.desk.tell(bar(self.number, price, high=price * 1.01, symbol=symbol))
        elif kind < 0.55:
            side = chance.choice([1, -1, 0, 2])
            name = f"s{chance.randrange(3)}"
            self.desk.tell(Signal(symbol, name, at(self.number), side, price=99.0))
        elif kind < 0.8:
            self.fill()
        elif kind < 0.93:
            self.notice()
        elif kind < 0.97:
            name = chance.choice(["kill", "resume", "resume", "flatten", "reconciled"])
            self.desk.tell(Command(at(self.number), name))
        else:
            self.desk.tell(Action(at(self.number), "split", chance.choice([2.0, 0.5]), symbol))
        self.told()

    def fill(self) -> None:
        """Fill some order, in part, as a whole, or now and then more than that."""
        working = [o for o, lots in self.left.values() if lots > 0]
        if not working:
            return
        order = self.chance.choice(working)
        left = self.left[order.id][1]
        lots = self.chance.choice([1, left, left, min(left, 3), left + 2])
        self.left[order.id] = (order, max(0, left - lots))
        self.desk.fill(order, 100.0, qty=lots)

    def notice(self) -> None:
        """Say something of an order, perhaps of one that is long gone."""
        if not self.left:
            return
        order, lots = self.chance.choice(list(self.left.values()))
        said = self.chance.choice(["accepted", "cancelled", "rejected", "expired", "unknown"])
        if said not in {"accepted", "unknown"}:
            # Sometimes a fill comes after all; then nobody knows the order any more.
            self.left[order.id] = (order, lots if self.chance.random() < 0.1 else 0)
        self.desk.tell(OrderNotice(order.id, at(self.number), order.instrument, said))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=150)
def test_the_sums_are_right_whatever_the_venue_says(seed: int) -> None:
    street = Street(seed)
    for symbol in ("ABC", "FUT"):
        street.desk.tell(bar(0, symbol=symbol))
    for _ in range(80):
        street.step()
    get_out(street)


def get_out(street: Street) -> None:
    """Flatten, and let every order that was sent be answered: nothing may be left."""
    desk = street.desk
    desk.tell(Command(at(street.number), "resume"), Command(at(street.number), "flatten"))
    street.told()
    for _ in range(6):
        for order, lots in list(street.left.values()):
            if lots == 0:
                continue
            street.left[order.id] = (order, 0)
            held = desk.sleeve(
                "qty", int(order.strategy[1]) * 2 + ("ABC", "FUT").index(order.instrument)
            )
            qty = min(lots, max(0, -held * order.side)) if order.reduce_only else 0
            if qty > 0 and order.order_kind == "market":
                desk.fill(order, 100.0, qty=qty)
                street.told()
            if qty < lots or order.order_kind != "market":
                desk.gone(order)
                street.told()
        street.number += 1
        for symbol in ("ABC", "FUT"):
            desk.tell(bar(street.number, symbol=symbol))
            street.told()
    assert desk.state.sleeves["qty"].tolist() == [0] * 6
    assert desk.account("open_orders") == 0
