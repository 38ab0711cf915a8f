"""F6: when a position is left, what happens around it, and that nothing traps it."""

from __future__ import annotations

from typing import Any

import pytest

from onefold.domain.records import Action, Cancel, Command, Order
from support import FLAT, HOLD, LONG, SHORT, Desk, account_of, at, bar, future, rules_of, share


def holding(qty: int = 10, **parts: Any) -> Desk:
    """Return a desk that holds lots bought (or sold) at 100 by s0."""
    lots = {"kind": "fixed", "lots": abs(qty)}
    desk = Desk(rules_of(sizing=lots, **parts))
    desk.hold(qty)
    return desk


@pytest.mark.parametrize(
    ("qty", "exits", "touch", "near", "purpose"),
    [
        (10, {"stop": 0.02}, {"low": 98.0}, {"low": 98.01}, "stop"),
        (-10, {"stop": 0.02}, {"high": 102.0}, {"high": 101.99}, "stop"),
        (10, {"take": 0.03}, {"high": 103.0}, {"high": 102.99}, "take"),
        (-10, {"take": 0.03}, {"low": 97.0}, {"low": 97.01}, "take"),
        (10, {"stop": 0.02, "take": 0.03}, {"low": 97, "high": 104}, {"low": 98.1}, "stop"),
        (10, {"session_close_s": 60}, {"to_close_s": 60}, {"to_close_s": 61}, "session"),
        (10, {"session_close_s": 60}, {"to_close_s": 0}, {"to_close_s": None}, "session"),
    ],
)
def test_an_exit_comes_with_the_bar_that_touches_it(
    qty: int, exits: dict[str, Any], touch: dict[str, Any], near: dict[str, Any], purpose: str
) -> None:
    assert holding(qty, exits=exits).tell(bar(1, **near)) == []
    desk = holding(qty, exits=exits)
    (decision,) = desk.tell(bar(1, **touch))
    assert (decision.purpose, decision.qty, decision.blocked) == (purpose, 10, [])
    (order,) = desk.orders
    assert (order.order_kind, order.qty, order.reduce_only) == ("market", 10, True)
    assert order.side == (-1 if qty > 0 else 1)
    assert desk.tell(bar(2, **touch)) == []  # one exit, not one a bar


def test_units_are_of_the_entry_price_or_of_the_signals_barrier() -> None:
    desk = Desk(rules_of(exits={"stop": 2.0, "take": 3.0, "unit": "barrier"}))
    desk.hold(1, barrier=1.5)
    assert (desk.sleeve("stop_price"), desk.sleeve("take_price")) == (97.0, 104.5)
    desk = Desk(rules_of(exits={"stop": 0.02, "take": 0.03}))
    desk.hold(-1, 200.0, barrier=1.5)
    assert (desk.sleeve("stop_price"), desk.sleeve("take_price")) == (204.0, 194.0)


def test_a_trailing_stop_follows_the_best_price_and_never_goes_back() -> None:
    desk = holding(10, exits={"trail": 0.02})  # 2 points
    assert desk.tell(bar(1, 104.0, high=105.0, low=103.1)) == []
    assert desk.sleeve("trail_price") == 103.0
    assert desk.tell(bar(2, 103.5, low=103.1)) == []
    assert desk.sleeve("trail_price") == 103.0
    assert desk.tell(bar(3, 103.5, low=103.0))[0].purpose == "trail"
    desk = holding(-10, exits={"trail": 0.02})
    assert desk.tell(bar(1, 96.0, low=95.0, high=96.9)) == []
    assert desk.sleeve("trail_price") == 97.0
    assert desk.tell(bar(2, 96.0, high=97.0))[0].purpose == "trail"


def test_the_bar_that_makes_the_best_price_does_not_trigger_the_trail_it_moves() -> None:
    desk = holding(10, exits={"trail": 0.02})
    assert desk.tell(bar(1, 104.0, high=110.0, low=100.0)) == []
    assert desk.sleeve("trail_price") == 108.0


def test_time_counts_bars_held() -> None:
    desk = holding(10, exits={"max_bars": 3})
    assert desk.tell(bar(1)) == desk.tell(bar(2)) == []
    assert desk.tell(bar(3))[0].purpose == "time"


def test_a_reversal_is_two_decisions() -> None:
    desk = holding(10)
    desk.tell(bar(1))
    left, entered = desk.signal(1, SHORT)
    assert (left.purpose, left.side, left.qty) == ("signal", -1, 10)
    assert (entered.purpose, entered.side, entered.qty) == ("entry", -1, 10)
    assert [o.reduce_only for o in desk.orders] == [True, False]
    first, second = desk.orders
    desk.fill(first, 100.0)
    assert desk.sleeve("qty") == 0
    desk.fill(second, 100.0)
    assert (desk.sleeve("qty"), desk.sleeve("target")) == (-10, SHORT)
    assert desk.tell(bar(2)) == []


def test_hold_changes_nothing_and_the_same_side_adds_nothing() -> None:
    desk = holding(10)
    desk.tell(bar(1))
    assert desk.signal(1, HOLD) == desk.signal(1, LONG) == []


@pytest.mark.parametrize("resting", [False, True])
@pytest.mark.parametrize("rearm", [False, True])
def test_after_a_stop_the_signal_must_change_first(resting: bool, rearm: bool) -> None:
    desk = holding(10, exits={"stop": 0.02, "resting": resting}, gates={"rearm": rearm})
    if resting:
        desk.fill(0, 98.0)
        desk.tell(bar(1, low=98.0))
    else:
        desk.tell(bar(1, low=98.0))
        desk.fill(0, 98.0)
    again = desk.signal(1, LONG)
    assert [d.blocked for d in again] == ([["rearm"]] if rearm else [[]])
    if rearm:
        assert desk.signal(1, SHORT)[0].blocked == []


def test_leaving_because_of_the_signal_or_the_session_needs_no_rearming() -> None:
    desk = holding(10)
    desk.tell(bar(1))
    desk.signal(1, FLAT)
    desk.fill(0, 100.0)
    assert desk.signal(1, LONG)[0].blocked == []
    desk = holding(10, exits={"session_close_s": 60})
    desk.tell(bar(1, to_close_s=30))
    desk.fill(0, 100.0)
    desk.tell(bar(2, to_close_s=3_600))
    assert desk.signal(2, LONG)[0].blocked == []


def test_resting_exits_stand_at_the_venue_for_the_whole_position() -> None:
    lots = {"kind": "fixed", "lots": 10}
    desk = Desk(rules_of(sizing=lots, exits={"stop": 0.02, "take": 0.03, "resting": True}))
    desk.tell(bar(0))
    desk.signal(0)
    entry = desk.orders[0]
    desk.fill(entry, 100.0, qty=4)
    stop, take = desk.orders
    assert (stop.order_kind, stop.price, stop.qty, stop.purpose) == ("stop", 98.0, 4, "stop")
    assert (take.order_kind, take.price, take.qty, take.purpose) == ("limit", 103.0, 4, "take")
    assert stop.reduce_only
    assert take.reduce_only
    # The rest of the entry: the first two are replaced by ones for ten lots at the new average.
    desk.fill(entry, 101.0, qty=6)
    assert desk.cancels == [stop.id, take.id]
    stop, take = desk.orders
    assert (stop.qty, take.qty) == (10, 10)
    assert stop.price == pytest.approx(100.6 * 0.98, abs=0.005)
    assert take.price == pytest.approx(100.6 * 1.03, abs=0.005)
    # Part of the target: what is left stays protected, in its size.
    desk.fill(take, 103.62, qty=7)
    assert desk.cancels == [stop.id, take.id]
    stop, take = desk.orders
    assert (stop.qty, take.qty) == (3, 3)
    # The stop takes the rest: its sibling is cancelled.
    desk.fill(stop, 98.59)
    assert (desk.cancels, desk.orders) == ([take.id], [])
    assert (desk.sleeve("qty"), desk.sleeve("target")) == (0, 0)


def test_a_resting_trail_is_replaced_when_it_moves() -> None:
    desk = holding(10, exits={"trail": 0.02, "resting": True})
    (first,) = desk.orders
    assert (first.purpose, first.order_kind, first.price) == ("trail", "stop", 98.0)
    desk.tell(bar(1, 104.0, high=105.0))
    assert desk.cancels == [first.id]
    assert [(o.purpose, o.price, o.qty) for o in desk.orders] == [("trail", 103.0, 10)]
    desk.tell(bar(2, 104.0))
    assert desk.sent == []


def test_the_tighter_of_stop_and_trail_protects() -> None:
    desk = holding(10, exits={"stop": 0.01, "trail": 0.02, "resting": True})
    assert [(o.purpose, o.price) for o in desk.orders] == [("stop", 99.0)]
    desk.tell(bar(1, 104.0, high=105.0))
    assert [(o.purpose, o.price) for o in desk.orders] == [("trail", 103.0)]


def test_a_signal_that_turns_replaces_resting_exits_by_a_market_order() -> None:
    desk = holding(10, exits={"stop": 0.02, "take": 0.03, "resting": True})
    resting = [o.id for o in desk.orders]
    desk.tell(bar(1))
    desk.signal(1, FLAT)
    assert desk.cancels == resting
    assert [(o.order_kind, o.qty) for o in desk.orders] == [("market", 10)]


def test_the_kill_switch_takes_no_protection_away() -> None:
    """X7: what protects a position works on, and is renewed; nothing else is sent."""
    desk = holding(10, exits={"stop": 0.02, "take": 0.03, "resting": True})
    stop, take = desk.orders
    desk.tell(Command(at(1), "kill"))
    assert desk.sent == []
    desk.fill(stop, 98.0, qty=4)  # touched: the venue fills the rest at the market
    assert (desk.cancels, desk.orders) == ([take.id], [])
    desk = holding(10, exits={"trail": 0.02, "resting": True})
    desk.tell(Command(at(1), "kill"))
    desk.tell(bar(1, 104.0, high=105.0))
    assert [(o.purpose, o.price) for o in desk.orders] == [("trail", 103.0)]
    assert [d.blocked for d in desk.signal(1, SHORT)] == [["kill_switch"]]


def test_a_fill_under_the_kill_switch_is_protected() -> None:
    desk = Desk(
        rules_of(sizing={"kind": "fixed", "lots": 10}, exits={"stop": 0.02, "resting": True})
    )
    desk.tell(bar(0))
    desk.signal(0)
    (order,) = desk.orders
    desk.tell(Command(at(0), "kill"))
    desk.fill(order, 100.0)
    assert [(o.purpose, o.price) for o in desk.orders] == [("stop", 98.0)]


def test_protection_that_the_venue_refuses_is_renewed_or_used() -> None:
    desk = holding(10, exits={"stop": 0.02, "resting": True})
    (stop,) = desk.orders
    desk.gone(stop, "rejected")
    desk.tell(bar(1, 100.0))
    (again,) = desk.orders
    assert (again.purpose, again.price) == ("stop", 98.0)
    desk.gone(again, "rejected")
    desk.tell(bar(2, 97.0, low=96.0))
    (left,) = desk.orders
    assert (left.purpose, left.order_kind) == ("stop", "market")


def test_a_refused_exit_is_tried_again_though_an_entry_waits() -> None:
    lots = {"kind": "fixed", "lots": 10}
    desk = Desk(rules_of(sizing=lots, entry={"order": "limit"}), instruments=(future(),))
    desk.tell(bar(0, symbol="FUT"))
    desk.signal(0, price=100.0)
    desk.fill(0, 100.0)
    desk.tell(bar(1, symbol="FUT"))
    desk.signal(1, SHORT, price=120.0)
    left, entry = desk.orders
    assert (left.purpose, entry.purpose) == ("signal", "entry")
    desk.gone(left, "rejected")
    desk.tell(bar(2, 95.0, symbol="FUT"))
    assert [(o.purpose, o.side) for o in desk.orders] == [("signal", -1)]
    assert desk.cancels == [entry.id]


def test_an_exit_that_the_kill_switch_held_back_is_tried_again() -> None:
    desk = holding(10)
    desk.tell(Command(at(1), "kill"), bar(1))
    assert desk.signal(1, FLAT)[0].blocked == ["kill_switch"]
    assert desk.tell(bar(2))[0].blocked == ["kill_switch"]
    desk.tell(Command(at(2), "resume"))
    assert desk.signal(2, HOLD) == []
    (decision,) = desk.tell(bar(3))
    assert (decision.purpose, decision.blocked) == ("signal", [])


def test_an_exit_that_was_rejected_is_tried_again() -> None:
    desk = holding(10)
    desk.tell(bar(1))
    desk.signal(1, FLAT)
    desk.gone(desk.orders[0], "rejected")
    (decision,) = desk.tell(bar(2))
    assert (decision.purpose, decision.blocked) == ("signal", [])
    assert desk.sleeve("exiting") == 1


def test_an_unknown_exit_is_not_sent_twice() -> None:
    """I1: an answer that is missing is not a no."""
    desk = holding(10, exits={"max_bars": 1})
    desk.tell(bar(1))
    desk.gone(desk.orders[0], "unknown")
    assert desk.tell(bar(2)) == []


def test_a_position_that_grew_while_its_exit_worked_is_not_trapped() -> None:
    desk = holding(10)
    desk.tell(bar(1))
    desk.signal(1, FLAT)
    order = desk.orders[0]
    desk.tell(Action(at(1), "split", 2.0, "ABC"))
    assert desk.sleeve("qty") == 20
    desk.fill(order, 50.0)
    assert desk.sleeve("qty") == 10
    (decision,) = desk.tell(bar(2, 50.0))
    assert (decision.qty, decision.blocked) == (10, [])
    desk.fill(0, 50.0)
    assert (desk.sleeve("qty"), desk.account("equity")) == (0, 100_000.0)


def test_what_two_exits_opened_is_left_at_once() -> None:
    """I4: the stop fills in part, and the target whole before its cancel has come.

    The position is short then, which nobody wanted; the rest of the stop would only enlarge it.
    """
    desk = holding(10, exits={"stop": 0.02, "take": 0.03, "resting": True})
    stop, take = desk.orders
    desk.fill(stop, 98.0, qty=5)
    assert desk.cancels == [take.id]
    desk.fill(take, 103.0)
    assert (desk.sleeve("qty"), desk.sleeve("target")) == (-5, 0)
    assert desk.cancels == [stop.id]
    (back,) = desk.orders
    assert (back.purpose, back.order_kind, back.side, back.qty) == ("signal", "market", 1, 5)
    desk.fill(stop, 97.0, qty=5)  # it was not cancelled in time either
    assert (desk.sleeve("qty"), desk.cancels) == (-10, [back.id])
    (again,) = desk.orders
    assert (again.side, again.qty) == (1, 10)
    desk.gone(back)
    desk.fill(again, 97.0)
    assert (desk.sleeve("qty"), desk.sleeve("exiting")) == (0, 0)
    desk.tell(bar(2))
    assert desk.signal(2, LONG)[0].blocked == []


def test_what_is_being_left_is_not_entered_again_before_it_is_gone() -> None:
    """I4: an exit that fills slowly or not at all must not let the position grow."""
    desk = holding(10)
    desk.tell(bar(1))
    desk.signal(1, FLAT)
    (leave,) = desk.orders
    desk.fill(leave, 100.0, qty=4)
    for number in (2, 3):
        desk.tell(bar(number))
        (decision,) = desk.signal(number, LONG)
        assert (decision.purpose, decision.blocked) == ("entry", ["duplicate"])
        desk.signal(number, FLAT)
    desk.fill(leave, 100.0, qty=6)
    assert desk.sleeve("qty") == 0
    desk.tell(bar(4))
    assert desk.signal(4, LONG)[0].blocked == []


def test_a_reversal_does_not_wait_for_what_it_leaves() -> None:
    desk = holding(10)
    desk.tell(bar(1))
    left, entered = desk.signal(1, SHORT)
    assert (left.blocked, entered.blocked) == ([], [])


def test_an_exit_that_fills_after_the_position_is_gone_opens_nothing() -> None:
    """I4: a target filled while the market order that was to replace it was on its way.

    The entry to the other side is withdrawn too: it was sized for a position that is flat.
    """
    desk = holding(10, exits={"stop": 0.02, "take": 0.03, "resting": True})
    _, take = desk.orders
    desk.tell(bar(1))
    desk.signal(1, SHORT)
    leave, enter = desk.orders
    desk.fill(take, 103.0)
    assert desk.cancels == [leave.id]
    desk.fill(leave, 100.0)
    assert desk.cancels == [enter.id]
    (back,) = desk.orders
    assert (back.side, back.qty, back.purpose) == (1, 10, "signal")
    desk.fill(back, 100.0)
    desk.gone(enter, "cancelled")
    assert (desk.sleeve("qty"), desk.sleeve("entering")) == (0, 0)


def test_an_entry_that_works_is_withdrawn_when_the_wish_ends() -> None:
    desk = Desk(rules_of(entry={"order": "limit"}))
    desk.tell(bar(0))
    desk.signal(0, price=99.0)
    order = desk.orders[0].id
    assert desk.signal(0, FLAT) == []
    assert desk.cancels == [order]


def test_the_rest_of_an_entry_is_withdrawn_when_the_position_is_left() -> None:
    desk = Desk(rules_of(sizing={"kind": "fixed", "lots": 10}, exits={"stop": 0.02}))
    desk.tell(bar(0))
    desk.signal(0)
    entry = desk.orders[0]
    desk.fill(entry, 100.0, qty=4)
    desk.tell(bar(1, low=97.0))
    assert desk.cancels == [entry.id]
    assert [o.qty for o in desk.orders] == [4]


@pytest.mark.parametrize("command", ["kill", "reduce_only"])
def test_stopping_withdraws_entries(command: str) -> None:
    desk = Desk(rules_of(entry={"order": "limit"}))
    desk.tell(bar(0))
    desk.signal(0, price=99.0)
    order = desk.orders[0].id
    desk.tell(Command(at(0), command))
    assert desk.cancels == [order]
    desk.tell(Command(at(0), command))
    assert desk.sent == []  # a cancel is sent once


def test_flatten_closes_a_scope_and_withdraws_its_entries() -> None:
    instruments = (share(), share("XYZ"))
    desk = Desk(rules_of(), rules_of(entry={"order": "limit"}), instruments=instruments)
    desk.hold(1)
    desk.tell(bar(0, symbol="XYZ"))
    desk.signal(0, strategy="s1", price=99.0)
    entry = desk.orders[0].id
    desk.tell(Command(at(1), "flatten", strategy="s1"))
    assert [o.order for o in desk.sent if isinstance(o, Cancel)] == [entry]
    assert desk.last == []
    (decision,) = desk.tell(Command(at(1), "flatten", instrument="ABC"))
    assert (decision.strategy, decision.qty) == ("s0", 1)
    assert desk.signal(1, LONG)[0].blocked == ["rearm", "duplicate"]  # not opened again at once


def test_gtd_entries_say_when_they_expire() -> None:
    entry = {"order": "limit", "time_in_force": "gtd", "valid_for_s": 90}
    desk = Desk(rules_of(entry=entry))
    desk.tell(bar(0))
    desk.signal(0, price=99.0)
    assert desk.orders[0].expire_ts == at(0) + 90_000_000_000


def test_small_limits_leave_room_for_exits() -> None:
    """A limit of one working order must not keep stop, target, trail and exit from being sent."""
    exits = {"stop": 0.05, "trail": 0.04, "take": 0.05, "resting": True}
    rules = rules_of(sizing={"kind": "fixed", "lots": 10}, exits=exits)
    desk = Desk(rules, account=account_of(limits={"max_open_orders": 1}))
    desk.tell(bar(0))
    desk.signal(0)
    entry = desk.orders[0]
    for part in (4, 3, 3):
        desk.fill(entry, 100.0, qty=part)
    desk.tell(bar(1, 101.0))
    desk.signal(1, FLAT)
    assert desk.account("fault") == 0
    assert [o.order_kind for o in desk.sent if isinstance(o, Order)] == ["market"]


def test_a_roll_moves_levels_and_what_rests_at_the_venue() -> None:
    exits = {"stop": 0.05, "take": 0.1, "resting": True}
    desk = Desk(rules_of(exits=exits), instruments=(future(),))
    desk.hold(1)
    before = [o.id for o in desk.orders]
    desk.tell(Action(at(1), "roll", 10.0, "FUT"))
    assert desk.cancels == before
    assert [o.price for o in desk.orders] == [105.0, 120.0]


def test_a_split_moves_levels_and_what_rests_at_the_venue() -> None:
    desk = holding(10, exits={"stop": 0.05, "take": 0.1, "resting": True})
    before = [o.id for o in desk.orders]
    desk.tell(Action(at(1), "split", 4.0, "ABC"))
    assert desk.cancels == before
    assert [(o.price, o.qty) for o in desk.orders] == [(23.75, 40), (27.5, 40)]


def test_a_split_that_leaves_nothing_ends_the_round_trip() -> None:
    desk = holding(1)
    desk.tell(Action(at(1), "split", 0.5, "ABC"))
    assert desk.account("equity") == 100_000.0
    assert (desk.sleeve("qty"), desk.sleeve("used"), desk.account("open_positions")) == (0, 0, 0)
    desk.tell(bar(2, 200.0))
    assert desk.signal(2, LONG)[0].blocked == []


def test_negative_prices_have_exits_on_the_right_side() -> None:
    """CL settled at -37.63 on 20 April 2020."""
    crude = future("CL", multiplier=1_000.0, tick=0.01, negative_prices=True)
    for qty, stop, take in ((1, -38.3826, -36.8774), (-1, -36.8774, -38.3826)):
        desk = Desk(rules_of(exits={"stop": 0.02, "take": 0.02}), instruments=(crude,))
        desk.hold(qty, -37.63)
        assert desk.sleeve("stop_price") == pytest.approx(stop)
        assert desk.sleeve("take_price") == pytest.approx(take)
        assert desk.tell(bar(1, -37.63, symbol="CL")) == []
        assert desk.tell(bar(2, -36.80, high=-36.8, low=-37.0, symbol="CL"))[0].purpose == (
            "take" if qty > 0 else "stop"
        )


def test_a_trailing_stop_does_not_go_back_when_more_of_the_entry_fills() -> None:
    exits = {"trail": 2.0, "unit": "barrier"}
    desk = Desk(rules_of(sizing={"kind": "fixed", "lots": 10}, exits=exits))
    desk.tell(bar(0))
    desk.signal(0, barrier=1.0)
    entry = desk.orders[0]
    desk.fill(entry, 100.0, qty=4)
    desk.tell(bar(1, 109.0, high=110.0))
    assert desk.sleeve("trail_price") == 108.0
    desk.fill(entry, 109.0, qty=6)
    assert desk.sleeve("trail_price") == 108.0
