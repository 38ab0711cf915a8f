"""P2, X4, I3, I4: what happened outlives a change of the rules; what has no place is refused."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onefold.domain.errors import ConfigError
from onefold.domain.records import Handover, Mandate, Order, Record
from onefold.domain.words import Mode, OrderState
from onefold.engine.recorder import Recorder
from onefold.engine.session import Session
from onefold.fold.build import new_state
from onefold.fold.handover import carried, check, parts_of, take_over
from onefold.fold.state import Out, State
from onefold.sim.exchange import SimulatedVenue
from random_worlds import worlds
from support import LONG, Scripted, World, bars_of, rules_of, share, start_of, world

STATES = {int(state): state.name.lower() for state in OrderState}
LARGE = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)
CHOSEN_ANEW = {
    "account": {"start_equity", "free_slot", "drift_max", "watched", "mandate_version"},
    "instruments": {"first_order", "held_at"},
    "strategies": set[str](),
    "sleeves": set[str](),
    "currencies": set[str](),
}
"""What need not be the same: places in lists, and what a journal counts for itself."""


class Life:
    """A session that collects what a handover is made of besides the fold's memory."""

    def __init__(self, w: World) -> None:
        self.orders: dict[int, Order] = {}
        self.mandates: list[Mandate] = []
        plan = w.plan
        self.session = Session(
            plan,
            SimulatedVenue(plan.book(), plan.names),
            Recorder(iter(()), None, seen=self._see),
            start_of(),
        )

    def _see(self, record: Record) -> None:
        if isinstance(record, Order):
            self.orders[record.id] = record
        elif isinstance(record, Mandate):
            self.mandates.append(record)

    def handover(self) -> Handover:
        state, names = self.session.state, self.session.names
        working = [
            (self.orders[int(row["id"])], STATES[int(row["state"])], "")
            for row in state.orders
            if row["state"] != OrderState.FREE
        ]
        made = Handover(
            ts=int(state.account["ts"][0]),
            journal="before",
            end_seq=1,
            end_hash="",
            born_ts=1,
            agreed_ts=1,
            orders=carried(state, sorted(working, key=lambda one: one[0].id)),
            mandates=self.mandates,
            **parts_of(state, names),
        )
        return msgspec.json.decode(msgspec.json.encode(made), type=Handover)

    def heir(self, handover: Handover) -> State:
        plan, names = self.session.plan, self.session.names
        check(handover, names, names)
        state = plan.state(Mode.SIMULATE)
        take_over(state, Out(64 + len(state.sleeves)), names, handover)
        return state


def working(state: State) -> list[tuple[Any, ...]]:
    """Return the working orders, by number, without their places."""
    rows = [row for row in state.orders if row["state"] != OrderState.FREE]
    fields = [name for name in state.orders.dtype.names if name != "next"]
    return sorted(
        tuple(None if math.isnan(value) else value for value in (row[f].item() for f in fields))
        for row in rows
    )


def in_list(state: State, instrument: int) -> list[int]:
    """Return the numbers of an instrument's orders in the order in which they meet bars."""
    at, found = int(state.instruments["first_order"][instrument]), []
    while at >= 0:
        found.append(int(state.orders[at]["id"]))
        at = int(state.orders[at]["next"])
    return found


def assert_same(before: State, after: State) -> None:
    for part, other in CHOSEN_ANEW.items():
        mine, theirs = getattr(before, part), getattr(after, part)
        for name in set(mine.dtype.names) - other:
            # Sums of money are added up in another order.
            np.testing.assert_allclose(
                theirs[name], mine[name], rtol=1e-9, atol=1e-6, err_msg=f"{part}.{name}"
            )
    assert working(after) == working(before)
    for i in range(len(before.instruments)):
        assert in_list(after, i) == in_list(before, i)
    held = [set(s.held["instrument"][: s.account["held"][0]].tolist()) for s in (before, after)]
    assert held[0] == held[1]
    slots = [int(s.account["open_orders"][0]) for s in (before, after)]
    assert slots[0] == slots[1] == len(working(after))


@given(w=worlds(), every=st.integers(3, 40))
@settings(max_examples=60, suppress_health_check=LARGE, deadline=None)
def test_all_that_has_happened_survives(w: World, every: int) -> None:
    life = Life(w)
    for n, record in enumerate(w.feed(), 1):
        life.session.on(record)
        if n % every == 0:
            assert_same(life.session.state, life.heir(life.handover()))


def holding() -> Life:
    life = Life(world(Scripted(side=(LONG,)), bars_of([100.0] * 4), rules=rules_of()))
    for record in life_feed():
        life.session.on(record)
    assert life.session.state.sleeves["qty"][0] == 1
    return life


def life_feed() -> list[Any]:
    return world(Scripted(side=(LONG,)), bars_of([100.0] * 4), rules=rules_of()).feed()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"strategies": ("other",)}, "strategy 's' has 1 lots of ABC from before"),
        ({"instruments": (share("XYZ"),)}, "has 1 lots of ABC .* ABC is not there"),
        ({"instruments": (share("ABC", lot=10.0),)}, r"instruments.ABC.lot has changed"),
        ({"currencies": ("EUR",)}, "account.currency was USD, now it is EUR"),
    ],
)
def test_what_has_no_place_is_refused(changes: dict[str, Any], said: str) -> None:
    life = holding()
    with pytest.raises(ConfigError, match=said):
        check(life.handover(), life.session.names, life.session.names._replace(**changes))


def test_limits_are_the_new_ones_and_what_counts_against_them_is_old() -> None:
    life = holding()
    plan, names = life.session.plan, life.session.names
    stricter = plan.account.model_copy(
        update={"limits": plan.account.limits.model_copy(update={"daily_loss": 0.25})}
    )
    state = new_state(stricter, names, [p.rules for p in plan.placements])
    handover = life.handover()
    take_over(state, Out(64), names, handover)
    assert state.account["daily_loss"][0] == 0.25
    assert state.account["day_equity"][0] == handover.account["day_equity"]
    assert state.strategies["orders_today"][0] == 1
    assert not math.isnan(state.instruments["mark"][0])
