"""First causes, told from records alone: each fact that can differ, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from onefold.domain.records import Bar, Decision, Fill, Order, Refusal, Signal
from onefold.domain.rules import AccountRules, StrategyRules
from onefold.fold.gates import GATE_NAMES
from onefold.views.differences import Comparison, Difference, Told, compare, same_bar

SLEEVE = ("trend", "ABC")


def signal(ts: int = 1, **facts: Any) -> Signal:
    return Signal(**{"instrument": "ABC", "strategy": "trend", "ts": ts, "side": 1, **facts})


def decision(ts: int = 1, blocked: str = "", **facts: Any) -> Decision:
    values: list[float | None] = [0.0] * len(GATE_NAMES)
    return Decision(
        **{
            "id": ts, "ts": ts, "instrument": "ABC", "strategy": "trend", "purpose": "entry",
            "side": 1, "qty": 10, "price": 100.0, "confidence": 1.0, "score": None,
            "equity": 1e5, "position": 0, "values": values, "thresholds": list(values),
            "blocked": [blocked] if blocked else [], "order": 0 if blocked else ts, **facts,
        }
    )  # fmt: skip


def measured(gate: str, value: float, threshold: float) -> dict[str, list[float | None]]:
    """Return values and thresholds of which one gate's are not zero."""
    n = GATE_NAMES.index(gate)
    row: list[float | None] = [0.0] * len(GATE_NAMES)
    return {
        "values": [*row[:n], value, *row[n + 1 :]],
        "thresholds": [*row[:n], threshold, *row[n + 1 :]],
    }


def order_of(made: Decision, kind: str = "market") -> Order:
    price = None if kind == "market" else made.price
    return Order(
        made.order, made.ts, made.instrument, made.strategy, made.purpose, made.side, made.qty,
        kind, price,
    )  # fmt: skip


def told(*decisions: Decision, kind: str = "market", **parts: Any) -> Told:
    """Return a run that made these decisions; a signal stands at each time, unless given."""
    facts: dict[str, Any] = {
        "account": AccountRules(),
        "sleeves": frozenset({SLEEVE}),
        "rules": {"trend": StrategyRules()},
        "own_position": frozenset(),
        "decisions": decisions,
        "signals": {(d.ts, *SLEEVE): signal(d.ts) for d in decisions},
        "bars": {},
        "orders": {d.order: order_of(d, kind) for d in decisions if d.order},
        "fills": {},
        **parts,
    }
    return Told(**facts)


def said(**facts: Any) -> dict[tuple[int, str, str], Signal]:
    return {(1, *SLEEVE): signal(**facts)}


def the_one(found: Comparison) -> Difference:
    [row] = found.differences
    return row


def test_equal_decisions_do_not_differ_whatever_their_numbers_are() -> None:
    mine, theirs = decision(id=4, order=2), decision(id=9, order=7, equity=5e4, score=0.3)
    found = compare(told(mine), told(theirs))
    assert found.differences == []
    assert [pair.root for pair in found.pairs] == [""]


def test_blocked_by_the_same_gate_is_the_same_whatever_its_size() -> None:
    found = compare(told(decision(blocked="session")), told(decision(blocked="session", qty=7)))
    assert found.differences == []


@pytest.mark.parametrize(
    ("mine", "theirs", "cause", "detail"),
    [
        ({}, {"side": 0}, "signal", "wants long -> flat"),
        ({"confidence": 0.5}, {"confidence": 0.75}, "signal", "confidence 0.5 -> 0.75"),
        ({"models": ["a@1"]}, {"models": ["a@2"], "confidence": 0.5}, "model", "a@1 -> a@2"),
        ({}, {"models": ["a@2"], "confidence": 0.5}, "model", "no model -> a@2"),
        (
            {"models": ["a@1"], "score": 0.4, "side": 1},
            {"models": ["a@1"], "score": None, "side": 2},
            "model",
            "score 0.4 -> none",
        ),
        (
            {},
            {"refused": [Refusal("calm", 0.5, 0.25)]},
            "gate",
            "own gate calm: 0.5 against 0.25",
        ),
    ],
)
def test_what_the_strategy_said_comes_first(
    mine: dict[str, Any], theirs: dict[str, Any], cause: str, detail: str
) -> None:
    row = the_one(compare(told(decision(), signals=said(**mine)), told(signals=said(**theirs))))
    assert (row.cause, row.detail, row.root) == (cause, detail, cause)
    assert (row.baseline, row.variant) == ("buy 10", "nothing")


def test_a_score_that_changes_nothing_but_itself_is_no_cause() -> None:
    mine = told(decision(), signals=said(score=0.4, models=["a@1"]))
    theirs = told(decision(qty=7), signals=said(score=0.5, models=["a@2"]))
    assert the_one(compare(mine, theirs)).cause == "sizing"


def test_features_that_differ_as_the_bars_do_are_data() -> None:
    mine, theirs = told(decision(), signals=said()), told(signals=said(side=0))
    row = the_one(compare(mine, theirs, sees_other=lambda s, i, ts: (s, i, ts) == (*SLEEVE, 1)))
    assert row.cause == "data"


def bars(**facts: Any) -> dict[str, dict[int, Bar]]:
    return {"ABC": {1: Bar(**{"instrument": "ABC", "ts": 1, "ts_open": 0, "open": 1.0,
                              "high": 1.0, "low": 1.0, "close": 1.0, **facts})}}  # fmt: skip


def test_a_signal_that_is_missing_is_timing_or_data() -> None:
    mine = told(decision(), bars=bars())
    late = the_one(compare(mine, told(signals={}, bars=bars(late=True))))
    assert late.cause == "timing"
    gone = the_one(compare(mine, told(signals={}, bars={"ABC": {}})))
    assert gone.cause == "data"
    assert the_one(compare(mine, told(signals={}, bars=bars()))).cause == "signal"
    assert the_one(compare(told(decision()), told())).cause == "signal"


def test_an_exit_at_another_bar_is_data_and_under_other_rules_an_exit() -> None:
    stop = decision(purpose="stop", position=0)
    other = bars(low=0.5)
    assert the_one(compare(told(stop, bars=bars()), told(bars=other))).cause == "data"
    tight = {"trend": StrategyRules.model_validate({"exits": {"stop": 0.1}})}
    row = the_one(compare(told(stop, bars=bars()), told(bars=bars(), rules=tight)))
    assert (row.cause, row.detail) == ("exit", "the rules of exits differ")
    assert same_bar(bars()["ABC"][1], bars(late=True)["ABC"][1])
    assert not same_bar(bars()["ABC"][1], other["ABC"][1])


def test_a_gate_is_named_with_both_values_and_thresholds() -> None:
    mine = decision(**measured("confidence", 0.5, 0.4))
    theirs = decision(blocked="confidence", **measured("confidence", 0.5, 0.6))
    row = the_one(compare(told(mine), told(theirs)))
    assert row.cause == "gate"
    assert row.detail == "confidence 0.5 (at least 0.4) -> 0.5 (at least 0.6)"
    assert row.variant == "buy 10, stopped by confidence"


def test_the_first_gate_is_the_cause_where_both_are_stopped() -> None:
    mine = decision(blocked="cash", **measured("cash", 9.0, 5.0))
    theirs = decision(blocked="kill_switch", **measured("kill_switch", 1.0, 0.0))
    assert the_one(compare(told(mine), told(theirs))).detail.startswith("kill_switch 0 ")


def test_a_count_that_differs_goes_back_to_what_came_before() -> None:
    one = [decision(1), decision(2, **measured("open_positions", 1.0, 1.0))]
    other = [
        decision(1, blocked="confidence", **measured("confidence", 0.0, 0.5)),
        decision(2, blocked="open_positions", **measured("open_positions", 2.0, 1.0)),
    ]
    first, second = compare(told(*one), told(*other)).differences
    assert (first.cause, first.because) == ("gate", None)
    assert (second.cause, second.root, second.because) == ("gate", "gate", 1)
    assert second.follows == "#1, the entry of trend in ABC"
    # Without anything before, the gate is the first cause itself.
    alone = the_one(compare(told(one[1]), told(other[1])))
    assert (alone.cause, alone.because, alone.follows) == ("gate", None, "")


def test_a_size_goes_back_to_an_earlier_difference_only_where_equity_differs() -> None:
    before = decision(1), decision(1, qty=5)
    same = compare(told(before[0], decision(2)), told(before[1], decision(2, qty=7)))
    assert [row.because for row in same.differences] == [None, None]
    poorer = compare(told(before[0], decision(2)), told(before[1], decision(2, qty=7, equity=9e4)))
    assert [row.because for row in poorer.differences] == [None, 1]


def test_what_the_latest_difference_of_the_sleeve_left_explains_an_exit() -> None:
    leave = decision(3, purpose="signal", side=-1, position=10)
    gate = decision(1, blocked="trend", **measured("trend", 3.0, 2.0))
    heard = {(ts, *SLEEVE): signal(ts) for ts in (1, 3)}
    first, second = compare(told(decision(1), leave), told(gate, signals=heard)).differences
    assert (second.cause, second.root, second.because) == ("position", "gate", first.number)


def test_an_earlier_fill_is_what_a_later_difference_follows_from() -> None:
    rich, poor = decision(5), decision(5, qty=9, equity=9e4)
    fills = [{1: [Fill(1, 1, 2, "ABC", "trend", 1, 10, price)]} for price in (100.0, 101.0)]
    mine = told(decision(1), rich, fills=fills[0])
    theirs = told(decision(1), poor, fills=fills[1])
    row = the_one(compare(mine, theirs))
    assert (row.cause, row.root, row.because) == ("sizing", "fill", None)
    assert row.follows == "the fill of the entry of trend in ABC"
    # A fill that comes later explains nothing.
    late = [{1: [Fill(1, 1, 9, "ABC", "trend", 1, 10, price)]} for price in (100.0, 101.0)]
    mine = told(decision(1), rich, fills=late[0])
    theirs = told(decision(1), poor, fills=late[1])
    assert the_one(compare(mine, theirs)).root == "sizing"


def test_levels_of_an_exit_follow_from_a_price_that_came_after_the_move() -> None:
    gate = decision(1, blocked="trend", **measured("trend", 3.0, 2.0))
    stop = decision(9, purpose="stop", side=-1, position=0)
    heard = {(ts, *SLEEVE): signal(ts) for ts in (1, 4)}
    fills = [{4: [Fill(1, 4, 5, "ABC", "trend", 1, 10, price)]} for price in (100.0, 101.0)]
    mine = told(decision(1), decision(4), stop, fills=fills[0], signals=heard)
    _, row = compare(mine, told(gate, decision(4), fills=fills[1], signals=heard)).differences
    assert (row.purpose, row.root) == ("stop", "gate")  # the other holds what this one does not
    flat = decision(9, purpose="stop", side=-1, position=10)
    mine = told(decision(1), decision(4), flat, fills=fills[0], signals=heard)
    _, row = compare(mine, told(gate, decision(4), fills=fills[1], signals=heard)).differences
    assert (row.purpose, row.root) == ("stop", "fill")


def test_a_resting_order_at_another_price_differs() -> None:
    mine, theirs = decision(purpose="stop", price=95.0), decision(purpose="stop", price=94.0)
    assert compare(told(mine), told(theirs)).differences == []  # a market order has no price
    row = the_one(compare(told(mine, kind="stop"), told(theirs, kind="stop")))
    assert (row.baseline, row.variant) == ("buy 10 at 95", "buy 10 at 94")


def test_a_strategy_or_a_command_of_one_run_only() -> None:
    row = the_one(compare(told(decision()), told(sleeves=frozenset())))
    assert row.cause == "only"
    leave = decision(purpose="command", side=-1)
    commands = frozenset({(1, "flatten", "", "")})
    assert the_one(compare(told(leave, commands=commands), told())).cause == "command"


def test_equal_decisions_at_one_time_are_matched_in_their_order() -> None:
    one = [decision(1, id=1, order=1, qty=5), decision(1, id=2, order=2, qty=6)]
    found = compare(told(*one), told(one[0]))
    assert [pair.key.number for pair in found.pairs] == [0, 1]
    assert the_one(found).baseline == "buy 6"


def test_counts_are_by_cause_and_by_root() -> None:
    leave = decision(3, purpose="signal", side=-1, position=10)
    gate = decision(1, blocked="trend", **measured("trend", 3.0, 2.0))
    heard = {(ts, *SLEEVE): signal(ts) for ts in (1, 3)}
    found = compare(told(decision(1), leave), told(gate, signals=heard))
    assert found.by_cause == {"gate": 1, "position": 1}
    assert found.by_root == {"gate": 2}
