"""F4, G2, I4: limits at their worst case, stops that stay latched, mandates that never go back."""

from __future__ import annotations

import pytest

from fold.desks import CASH, TWO, entry, fixed, measured, quiet, round_trip
from onefold.domain.records import Action, Command, Mandate
from support import FLAT, LONG, MINUTE_NS, SHORT, Desk, account_of, at, bar, future, share


def test_stops_stay_latched_until_they_are_reset_or_the_day_ends() -> None:
    rules = (fixed(500), fixed(1))
    limits = {"daily_loss": 0.1, "drawdown": 0.1}
    desk = Desk(*rules, instruments=TWO, account=account_of(limits=limits))
    desk.hold(500)
    desk.tell(bar(1, 79.0), bar(1, symbol="XYZ"))
    desk.tell(bar(2, 100.0), bar(2, symbol="XYZ"))
    other = {"instrument": "XYZ", "strategy": "s1"}
    decision = entry(desk, number=2, **other)
    assert decision.blocked == ["daily_loss", "drawdown"]
    assert measured(decision, "daily_loss")[0] == 0.0  # recovered, and still closed
    desk.tell(bar(1_500, 100.0), bar(1_500, symbol="XYZ"))
    assert entry(desk, number=1_500, **other).blocked == ["drawdown"]
    desk.tell(Command(at(1_500), "reset"))
    assert entry(desk, number=1_500, **other).blocked == []


def test_what_strategies_hold_against_each_other_counts_in_full() -> None:
    rules = (fixed(500), fixed(500), fixed(900))
    shorts = share(margin_initial=1.0)
    desk = Desk(*rules, instruments=(shorts,), account=account_of(limits={"gross_exposure": 1.0}))
    desk.hold(500)
    desk.signal(0, SHORT, strategy="s1")
    desk.fill(0, 100.0)
    assert desk.account("net") == 0.0
    assert desk.account("gross") == 100_000.0
    decision = entry(desk, strategy="s2")
    assert "gross_exposure" in decision.blocked
    assert "initial_margin" in decision.blocked


def test_a_stop_withdraws_entries_that_wait() -> None:
    rules = (fixed(500), fixed(10, entry={"order": "limit"}))
    desk = Desk(*rules, instruments=TWO, account=account_of(limits={"daily_loss": 0.1}))
    desk.hold(500)
    desk.tell(bar(0, symbol="XYZ"))
    desk.signal(0, strategy="s1", instrument="XYZ", price=90.0)
    (waiting,) = desk.orders
    desk.tell(bar(1, 79.0))
    assert desk.cancels == [waiting.id]


def test_a_reset_lets_the_daily_loss_count_anew() -> None:
    desk = Desk(
        fixed(500), fixed(1), instruments=TWO, account=account_of(limits={"daily_loss": 0.1})
    )
    desk.hold(500)
    desk.tell(bar(1, 79.0), bar(1, symbol="XYZ"))
    other = {"instrument": "XYZ", "strategy": "s1"}
    assert entry(desk, number=1, **other).blocked == ["daily_loss"]
    desk.tell(Command(at(1), "reset"))
    assert entry(desk, number=1, **other).blocked == []


def test_flatten_of_what_only_waits_is_not_undone_by_the_same_signal() -> None:
    desk = quiet()
    assert entry(desk).blocked == []
    order = desk.orders[0]
    desk.tell(Command(at(0), "flatten"))
    assert desk.cancels == [order.id]
    desk.gone(order)
    assert entry(desk, number=1).blocked == ["rearm"]
    desk.signal(2, FLAT)
    assert entry(desk, number=2).blocked == []


def test_a_stop_without_limit_is_never_latched_even_below_zero() -> None:
    limits = {"flatten_on_stop": True}
    desk = Desk(
        fixed(10), instruments=(future(),), account=account_of(cash=10_000.0, limits=limits)
    )
    desk.hold(10)
    for number in (1_500, 3_000):
        decisions = desk.tell(bar(number, 40.0 - number / 1_500, symbol="FUT"))
        assert decisions == []
    assert desk.account("equity") < 0
    assert desk.account("daily_stopped") == 0


def test_flatten_on_stop_closes_everything_once() -> None:
    rules = (fixed(300), fixed(200))
    limits = {"daily_loss": 0.05, "flatten_on_stop": True}
    desk = Desk(*rules, account=account_of(limits=limits))
    desk.hold(300)
    desk.signal(0, strategy="s1")
    desk.fill(0, 100.0)
    decisions = desk.tell(bar(1, 89.0))
    assert [(d.purpose, d.strategy, d.qty) for d in decisions] == [
        ("risk", "s0", 300),
        ("risk", "s1", 200),
    ]
    assert desk.tell(bar(2, 85.0)) == []


@pytest.mark.parametrize(("slot", "blocked"), [("filled", ["open_positions"]), ("sent", [])])
def test_a_slot_is_free_when_the_exit_is_filled_or_sent(slot: str, blocked: list[str]) -> None:
    limits = {"max_open_positions": 1, "free_slot": slot}
    desk = Desk(fixed(10), instruments=TWO, account=account_of(limits=limits))
    desk.hold(10)
    desk.tell(bar(1), bar(1, symbol="XYZ"))
    desk.signal(1, FLAT)
    exit_order = desk.orders[0]
    assert entry(desk, number=1, instrument="XYZ").blocked == blocked
    if blocked:
        desk.fill(exit_order, 100.0)
        assert entry(desk, number=1, instrument="XYZ").blocked == []


def test_an_unknown_order_counts_as_filled() -> None:
    limits = {"max_open_positions": 1, "gross_exposure": 0.015}
    desk = quiet(fixed(10), instruments=TWO, account=account_of(limits=limits))
    entry(desk)
    desk.gone(desk.orders[0], "unknown")
    assert entry(desk, instrument="XYZ").blocked == ["open_positions", "gross_exposure"]


def test_a_rejected_order_counts_no_more() -> None:
    limits = {"max_open_positions": 1, "gross_exposure": 0.01, "max_open_orders": 1}
    desk = quiet(fixed(10), instruments=TWO, account=account_of(limits=limits))
    entry(desk)
    desk.gone(desk.orders[0], "rejected")
    assert entry(desk, instrument="XYZ").blocked == []


def test_no_two_strategies_together_sell_short_what_cannot_be_sold_short() -> None:
    desk = Desk(fixed(5), fixed(5), instruments=(share(short=False),))
    desk.hold(5)
    decision = entry(desk, SHORT, strategy="s1")
    assert decision.blocked == ["short_selling"]  # once s0 leaves, this would be a real short


def test_mandates_never_go_back() -> None:
    desk = quiet(fixed(1))
    desk.tell(Mandate(at(0), 7, "conf_min", 0.8), Mandate(at(0), 7, "conf_min", 0.1))
    desk.tell(Mandate(at(0), 6, "conf_min", 0.2), Mandate(at(0), 3, "suppress", 1.0))
    assert desk.account("mandate_version") == 7
    assert entry(desk, confidence=0.79).blocked == ["confidence"]
    assert entry(desk, confidence=0.8).blocked == []


@pytest.mark.parametrize(
    ("mandate", "value", "gate"),
    [
        ("conf_min", 1.1, "confidence"),
        ("suppress", 1, "suppression"),
        ("risk_budget", 0.009, "risk_budget"),
        ("max_position", 9, "position"),
        ("max_open_positions", 0, "open_positions"),
        ("daily_loss", 0.0, "daily_loss"),
        ("drawdown", 0.0, "drawdown"),
        ("gross_exposure", 0.009, "gross_exposure"),
        ("net_exposure", 0.009, "net_exposure"),
    ],
)
def test_every_mandate_moves_its_gate(mandate: str, value: float, gate: str) -> None:
    desk = quiet()
    desk.tell(Mandate(at(0), 1, mandate, value))
    assert entry(desk).blocked == [gate]


def test_counters_of_the_day_do_not_step_back_with_the_clock() -> None:
    desk = round_trip(Desk(fixed(10, gates={"orders_per_day": 1})), number=1)
    desk.tell(bar(1_500))
    assert entry(desk, number=1_500).blocked == []
    desk.fill(0, 100.0)
    desk.signal(1_500, FLAT)
    desk.fill(0, 100.0)
    day, ts = desk.account("day"), desk.account("ts")
    desk.tell(bar(2))  # a bar of yesterday
    assert (desk.account("day"), desk.account("ts")) == (day, ts)
    assert "orders_per_day" in entry(desk, number=2).blocked


def test_the_worst_case_counts_what_works_on_both_sides() -> None:
    """I4: sells that work do not make room for buys, because they may not fill."""
    limits = {"gross_exposure": 0.02, "net_exposure": 0.01}
    rules = fixed(10, entry={"order": "limit"})
    desk = quiet(rules, rules, rules, account=account_of(limits=limits))
    assert entry(desk, price=100.0).blocked == []
    assert entry(desk, SHORT, strategy="s1", price=100.0).blocked == []
    assert entry(desk, strategy="s2", price=100.0).blocked == ["gross_exposure", "net_exposure"]


def test_a_partly_filled_order_counts_for_its_rest_at_its_own_value() -> None:
    desk = quiet(fixed(10, entry={"order": "limit"}, gates={"risk_budget": 1.0}))
    entry(desk, price=90.0)
    order = desk.orders[0]
    desk.fill(order, 90.0, qty=4)
    assert desk.account("entering_buys") == pytest.approx(6 * 90.0)
    assert desk.state.strategies["entering"][0] == pytest.approx(6 * 90.0)
    assert desk.sleeve("working_buys") == 6
    desk.gone(order)
    assert desk.account("entering_buys") == 0.0
    assert desk.sleeve("working_buys") == 0
    assert desk.account("open_orders") == 0


def test_a_fill_that_nobody_asked_for_stops_trading() -> None:
    desk = quiet(fixed(10))
    entry(desk)
    order = desk.orders[0]
    desk.fill(order, 100.0, qty=11)
    assert desk.sleeve("qty") == 11  # the books take it
    assert desk.account("reconciled") == 0
    assert desk.account("open_orders") == desk.sleeve("entering") == 0  # and the order is done
    assert desk.sleeve("stop_price") == float("-inf")  # it is a position like any other
    desk.fill(order, 100.0, qty=1)
    assert desk.sleeve("qty") == 12
    desk = quiet(fixed(10))
    entry(desk)
    desk.fill(desk.orders[0], 100.0, qty=10)
    assert desk.account("reconciled") == 1


def test_an_unpriced_currency_cannot_be_traded() -> None:
    pair = future("EURUSD", tick=0.00001, multiplier=1.0)
    instruments = (share(currency="EUR"), pair)
    desk = Desk(fixed(1), instruments=instruments, rate_pairs={"EURUSD": "EUR"})
    desk.tell(bar(0), Action(at(0), "dividend", 1.0, "ABC"))
    assert "size" in entry(desk).blocked
    desk.tell(bar(0, 1.1, symbol="EURUSD"))
    assert entry(desk).blocked == []
    assert desk.account("fault") == 0
    assert desk.account("equity") == CASH


def test_message_windows_follow_each_other() -> None:
    desk = quiet(fixed(1), instruments=TWO, account=account_of(limits={"messages_max": 1}))
    assert entry(desk).blocked == []
    late = entry(desk, instrument="XYZ", ts=at(0) + 999_999_999)
    assert late.blocked == ["message_rate"]
    assert at(0) % MINUTE_NS == 0


@pytest.mark.parametrize(("before", "side"), [(-10, LONG), (10, SHORT)])
def test_a_reversal_is_held_against_the_position_that_it_ends_with(before: int, side: int) -> None:
    """I4: ten lots that close and ten that open give ten, not none."""
    desk = Desk(fixed(10))
    desk.hold(before)
    desk.tell(bar(1), Mandate(at(1), 1, "max_position", 9))
    left, entered = desk.signal(1, side)
    assert left.blocked == []
    assert entered.blocked == ["position"]
    assert measured(entered, "position") == (10.0, 9.0)


def test_a_cancel_is_a_message_too() -> None:
    limits = {"messages_max": 2}
    rules = fixed(1, entry={"order": "limit"})
    desk = quiet(rules, instruments=TWO, account=account_of(limits=limits))
    entry(desk, price=99.0)
    desk.signal(0, FLAT)
    refused = entry(desk, instrument="XYZ", price=99.0)
    assert refused.blocked == ["message_rate"]
    assert measured(refused, "message_rate")[0] == 3.0


def test_margin_counts_entries_that_work() -> None:
    """I4: 150 contracts that may fill and 60 more need 105,000 of initial margin."""
    instruments = (future("FUT"), future("FUU"))
    desk = quiet(fixed(150), fixed(60), instruments=instruments)
    assert entry(desk).blocked == []
    refused = entry(desk, instrument="FUU", strategy="s1")
    assert refused.blocked == ["initial_margin"]
    assert measured(refused, "initial_margin") == (105_000.0, CASH)
