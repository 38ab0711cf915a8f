"""F3, F4: every gate alone blocks what it should, shows its measure, lets its neighbour pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from fold.desks import CASH, TWO, entry, fixed, measured, quiet, round_trip
from onefold.domain.records import Command, Decision, Mandate, Refusal, Signal
from onefold.domain.words import CommandKind, Mode
from onefold.fold.gates import GATE_NAMES, GATES, Gate
from support import (
    FLAT,
    LONG,
    SHORT,
    Desk,
    account_of,
    at,
    bar,
    future,
    rules_of,
    share,
)


def ordered(*commands: str) -> Decision:
    desk = quiet()
    desk.tell(*(Command(at(0), c) for c in commands))
    return entry(desk)


def suppressed(*values: float) -> Decision:
    desk = quiet()
    desk.tell(*(Mandate(at(0), n + 1, "suppress", v) for n, v in enumerate(values)))
    return entry(desk)


def in_session(left: int, hours: bool, close_s: int | None = None) -> Decision:
    limits = {"session_hours": hours}
    desk = Desk(fixed(10, exits={"session_close_s": close_s}), account=account_of(limits=limits))
    desk.tell(bar(0, to_close_s=left))
    return entry(desk)


def with_edge(edge: float, **costs: float) -> Decision:
    """Of a round trip that costs 2 x (10 + 15) basis points, or what is said."""
    rules = fixed(10, gates={"edge_ratio_min": 2})
    account = account_of(costs=costs or {"slippage_bps": 15})
    return entry(quiet(rules, instruments=(share(commission_bps=10),), account=account), edge=edge)


def after_target(*between: int) -> Decision:
    """After a profit target was hit and the signals in between."""
    desk = Desk(fixed(10, exits={"take": 0.01}))
    desk.hold(10)
    desk.tell(bar(1, 100.0, high=102.0))
    desk.fill(0, 100.0)
    for side in between:
        desk.signal(1, side)
    return entry(desk, number=1)


def cooled(seconds: int) -> Decision:
    desk = round_trip(Desk(fixed(10, gates={"cool_down_s": 120})))
    number = 1 + seconds / 60
    desk.tell(bar(number))
    return entry(desk, number=number)


def on_the_day(number: float) -> Decision:
    desk = round_trip(Desk(fixed(10, gates={"orders_per_day": 1})))
    desk.tell(bar(number))
    return entry(desk, number=number)


def against(acknowledged: bool) -> Decision:
    """Turn round while an entry of the other side still works, or is known to be gone."""
    desk = quiet(fixed(10, entry={"order": "limit"}))
    entry(desk, price=99.0)
    if acknowledged:
        desk.signal(0, FLAT)
        desk.gone(desk.sent[0])
    return entry(desk, SHORT, price=101.0)


def beside(limits: dict[str, Any], ts: int = at(0), **rules: Any) -> Decision:
    """Enter XYZ after an order for ABC was sent."""
    desk = quiet(fixed(10, **rules), instruments=TWO, account=account_of(limits=limits))
    assert entry(desk, price=99.0).blocked == []
    return entry(desk, instrument="XYZ", ts=ts, price=99.0)


def after_loss(price: float, limits: dict[str, Any]) -> Decision:
    """Enter XYZ while 500 ABC, bought at 100, are worth less."""
    rules = (fixed(500), fixed(1))
    desk = Desk(*rules, instruments=TWO, account=account_of(limits=limits))
    desk.hold(500)
    desk.tell(bar(1, price), bar(1, symbol="XYZ"))
    return entry(desk, number=1, instrument="XYZ", strategy="s1")


def limited(lots: int, side: int = LONG, **limits: Any) -> Decision:
    return entry(quiet(fixed(lots), account=account_of(limits=limits)), side)


def futures(lots: int, **facts: Any) -> Decision:
    return entry(quiet(fixed(lots), instruments=(future(**facts),)))


class Case(NamedTuple):
    gate: str
    value: float
    threshold: float
    blocked: Callable[[], Decision]
    passed: Callable[[], Decision]


CASES = [
    Case("kill_switch", 1, 0, lambda: ordered("kill"), lambda: ordered("kill", "resume")),
    Case(
        "mode", 0, 1, lambda: entry(quiet(mode=Mode.STOPPED)), lambda: entry(quiet(mode=Mode.LIVE))
    ),
    Case(
        "reconciled", 0, 1,
        lambda: ordered("unreconciled"), lambda: ordered("unreconciled", "reconciled"),
    ),
    Case(
        "reduce_only", 1, 0,
        lambda: ordered("reduce_only"), lambda: ordered("reduce_only", "resume"),
    ),
    Case("freshness", 2.5, 2, lambda: entry(quiet(), number=2.5), lambda: entry(quiet(), number=2)),
    Case("warm_up", 1, 0, lambda: entry(quiet(), unready=1), lambda: entry(quiet(), unready=0)),
    Case("session", 0, 1, lambda: in_session(0, True), lambda: in_session(1, True)),
    Case("session", 60, 61, lambda: in_session(60, False, 60), lambda: in_session(61, False, 60)),
    Case("suppression", 1, 0, lambda: suppressed(1), lambda: suppressed(1, 0)),
    Case(
        "confidence", 0.59, 0.6,
        lambda: entry(quiet(fixed(10, gates={"conf_min": 0.6})), confidence=0.59),
        lambda: entry(quiet(fixed(10, gates={"conf_min": 0.6})), confidence=0.6),
    ),
    Case(
        "trend", 30.5, 30,
        lambda: entry(quiet(fixed(10, gates={"trend_max": 30})), trend=30.5),
        lambda: entry(quiet(fixed(10, gates={"trend_max": 30})), trend=30.0),
    ),
    Case("edge", 1.8, 2, lambda: with_edge(0.009), lambda: with_edge(0.01001)),
    Case("edge", 1.0, 2,  # ten basis points and two ticks of a cent on 100, both ways
         lambda: with_edge(0.0024, slippage_ticks=2), lambda: with_edge(0.00481, slippage_ticks=2)),
    Case(
        "own", 2, 0,
        lambda: entry(quiet(), refused=[Refusal("calm", None, 1.0), Refusal("late", 3.0, 2.0)]),
        lambda: entry(quiet(), refused=[]),
    ),
    Case("rearm", 1, 0, after_target, lambda: after_target(FLAT)),
    Case("cool_down", 60, 120, lambda: cooled(60), lambda: cooled(120)),
    Case(
        "loss_streak", 1, 1,
        lambda: entry(round_trip(Desk(fixed(10, gates={"loss_streak_max": 1})), 99.0), number=1),
        lambda: entry(round_trip(Desk(fixed(10, gates={"loss_streak_max": 1})), 100.0), number=1),
    ),
    Case(
        "repeated_execution", 1, 0,
        lambda: entry(round_trip(Desk(fixed(10, gates={"repeat_max": 1}))), number=1),
        lambda: entry(round_trip(Desk(fixed(10, gates={"repeat_max": 2}))), number=1),
    ),
    Case("duplicate", 1, 0, lambda: against(False), lambda: against(True)),
    Case(
        "size", 0, 1,
        lambda: entry(quiet(rules_of(sizing={"kind": "notional", "value": 99.0}))),
        lambda: entry(quiet(rules_of(sizing={"kind": "notional", "value": 100.0}))),
    ),
    Case("orders_per_day", 2, 1, lambda: on_the_day(1_000), lambda: on_the_day(1_500)),
    Case(
        "open_positions", 2, 1,
        lambda: beside({"max_open_positions": 1}), lambda: beside({"max_open_positions": 2}),
    ),
    Case(
        "open_orders", 2, 1,
        lambda: beside({"max_open_orders": 1}), lambda: beside({"max_open_orders": 2}),
    ),
    Case(
        "daily_loss", 0.105, 0.1,
        lambda: after_loss(79.0, {"daily_loss": 0.1}),
        lambda: after_loss(81.0, {"daily_loss": 0.1}),
    ),
    Case(
        "drawdown", 0.105, 0.1,
        lambda: after_loss(79.0, {"drawdown": 0.1}), lambda: after_loss(81.0, {"drawdown": 0.1}),
    ),
    Case(
        "risk_budget", 0.06, 0.05,
        lambda: entry(quiet(fixed(60, gates={"risk_budget": 0.05}))),
        lambda: entry(quiet(fixed(50, gates={"risk_budget": 0.05}))),
    ),
    Case(
        "position", 10, 9,
        lambda: entry(quiet(fixed(10, gates={"max_position": 9}))),
        lambda: entry(quiet(fixed(10, gates={"max_position": 10}))),
    ),
    Case(
        "position", 10, 9,
        lambda: entry(quiet(fixed(10, gates={"max_position": 9})), SHORT),
        lambda: entry(quiet(fixed(9, gates={"max_position": 9})), SHORT),
    ),
    Case(
        "gross_exposure", 0.06, 0.05,
        lambda: limited(60, gross_exposure=0.05), lambda: limited(50, gross_exposure=0.05),
    ),
    Case(
        "net_exposure", 0.06, 0.05,
        lambda: limited(60, SHORT, net_exposure=0.05),
        lambda: limited(50, SHORT, net_exposure=0.05),
    ),
    Case(
        "price_collar", 0.03, 0.02,
        lambda: entry(collared(), price=97.0), lambda: entry(collared(), price=98.0),
    ),
    Case(
        "order_size", 10, 9,
        lambda: limited(10, max_order_lots=9), lambda: limited(10, max_order_lots=10),
    ),
    Case(
        "order_value", 1_000, 999,
        lambda: limited(10, max_order_value=999), lambda: limited(10, max_order_value=1_000),
    ),
    Case(
        "message_rate", 2, 1,
        lambda: beside({"messages_max": 1}),
        lambda: beside({"messages_max": 1}, at(0) + 1_000_000_000),
    ),
    Case(
        "short_selling", 10, 0,
        lambda: entry(quiet(instruments=(share(short=False),)), SHORT),
        lambda: entry(quiet(instruments=(share(short=True),)), SHORT),
    ),
    Case(
        "cash", 101_000, CASH,
        lambda: entry(quiet(fixed(1_000), instruments=(share(commission=1.0),))),
        lambda: entry(quiet(fixed(990), instruments=(share(commission=1.0),))),
    ),
    Case("initial_margin", 100_500, CASH, lambda: futures(201), lambda: futures(200)),
    Case(
        "maintenance_margin", 101_000, CASH,
        lambda: futures(101, margin_maintenance=0.2), lambda: futures(100, margin_maintenance=0.2),
    ),
]  # fmt: skip


def collared() -> Desk:
    rules = fixed(10, entry={"order": "limit"})
    return quiet(rules, account=account_of(limits={"price_collar": 0.02}))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.gate)
def test_a_gate_alone_blocks_an_entry(case: Case) -> None:
    decision = case.blocked()
    assert decision.blocked == [case.gate]
    value, threshold = measured(decision, case.gate)
    assert value == pytest.approx(case.value)
    assert threshold == pytest.approx(case.threshold)
    assert decision.order == 0


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.gate)
def test_its_neighbour_passes(case: Case) -> None:
    decision = case.passed()
    assert decision.blocked == []
    assert decision.order > 0
    assert measured(decision, case.gate)[1] == pytest.approx(case.threshold) or case.gate in {
        "short_selling", "session", "repeated_execution", "reconciled", "position",
        "open_positions", "open_orders", "order_size", "order_value", "mode", "cash",
    }  # fmt: skip


def test_every_gate_has_a_case_and_its_place() -> None:
    assert {c.gate for c in CASES} == set(GATE_NAMES)
    assert [g.name.lower() for g in Gate] == [gate.name for gate in GATES]


def worst_of_all() -> Desk:
    """Return a desk with a position in ABC for which as many gates as can be say no."""
    gates = {
        "conf_min": 0.9, "trend_max": 1, "edge_ratio_min": 5, "cool_down_s": 999_999,
        "loss_streak_max": 1, "orders_per_day": 1, "risk_budget": 1e-6, "max_position": 100,
        "repeat_max": 1,
    }  # fmt: skip
    limits = {
        "max_open_positions": 1, "daily_loss": 0.01, "drawdown": 0.01, "max_open_orders": 1,
        "gross_exposure": 0.2, "net_exposure": 0.2, "max_order_lots": 100, "messages_max": 1,
        "max_order_value": 10_000, "session_hours": True,
    }  # fmt: skip
    instruments = tuple(share(symbol, commission=1.0) for symbol in ("ABC", "XYZ"))
    loose = fixed(100, gates={**gates, "risk_budget": 1.0})
    desk = Desk(loose, instruments=instruments, account=account_of(limits=limits))
    desk.tell(bar(0, to_close_s=999))
    desk.signal(0, confidence=1.0, trend=0.0, edge=1.0)
    desk.fill(0, 100.0)
    desk.tell(
        bar(1, 60.0, to_close_s=0),
        Mandate(at(1), 1, "suppress", 1.0),
        Mandate(at(1), 2, "risk_budget", 1e-6),
        Mandate(at(1), 3, "max_position", 1),
        Mandate(at(1), 4, "gross_exposure", 0.001),
        Mandate(at(1), 5, "net_exposure", 0.001),
        Command(at(1), "unreconciled"),
        Command(at(1), "reduce_only"),
    )
    return desk


def test_exits_pass_whatever_holds_back_entries() -> None:
    desk = worst_of_all()
    no = [Refusal("calm", 2.0, 1.0)]
    (left,) = desk.signal(1, FLAT, confidence=0.0, unready=3, trend=99.0, refused=no)
    assert (left.blocked, left.purpose, left.qty) == ([], "signal", 100)
    assert [o.side for o in desk.orders] == [-1]
    # The same situation holds an entry back for many reasons, the first of which is the reason.
    wanted = Signal("ABC", "s0", at(1), LONG, confidence=0.0, unready=3, trend=99.0, refused=no)
    (refused,) = desk.tell(wanted)
    bits = [GATE_NAMES.index(name) for name in refused.blocked]
    assert bits == sorted(bits)
    assert set(refused.blocked) == {
        "reconciled", "reduce_only", "warm_up", "session", "suppression", "confidence", "trend",
        "edge", "own", "duplicate", "orders_per_day", "open_orders", "daily_loss", "drawdown",
        "risk_budget", "position", "gross_exposure", "net_exposure", "message_rate",
    }  # fmt: skip
    assert len(refused.values) == len(refused.thresholds) == len(GATES)
    unmeasured = [n for n, v in zip(GATE_NAMES, refused.values, strict=True) if v is None]
    assert unmeasured == ["edge", "cool_down"]


def test_an_exit_measures_no_gates_of_ones_own() -> None:
    desk = Desk(fixed(10), instruments=TWO)
    desk.hold(10)
    desk.tell(bar(0, symbol="XYZ"))
    (refused,) = desk.signal(0, instrument="XYZ", refused=[Refusal("calm", 2.0, 1.0)])
    (left,) = desk.signal(0, FLAT, refused=[Refusal("calm", 2.0, 1.0)])
    assert (refused.blocked, left.blocked) == (["own"], [])
    assert (measured(refused, "own"), measured(left, "own")) == ((1.0, 0.0), (0.0, 0.0))


def test_the_kill_switch_holds_back_exits_and_a_flatten_order_passes_it() -> None:
    desk = worst_of_all()
    desk.tell(Command(at(1), "kill"))
    (held,) = desk.signal(1, FLAT)
    assert (held.blocked, held.purpose, desk.sent) == (["kill_switch"], "signal", [])
    (left,) = desk.tell(Command(at(1), "flatten"))
    assert (left.blocked, left.purpose, left.qty) == ([], "command", 100)
    assert len(desk.orders) == 1
    assert desk.tell(Command(at(1), "flatten")) == []  # an exit works already: never two


@pytest.mark.parametrize(
    ("strategy", "instrument", "stops"),
    [
        ("", "", {("s0", "ABC"), ("s0", "XYZ"), ("s1", "ABC"), ("s1", "XYZ")}),
        ("s0", "", {("s0", "ABC"), ("s0", "XYZ")}),
        ("", "XYZ", {("s0", "XYZ"), ("s1", "XYZ")}),
        ("s1", "ABC", {("s1", "ABC")}),
    ],
)
def test_the_kill_switch_has_scopes(
    strategy: str, instrument: str, stops: set[tuple[str, str]]
) -> None:
    def tried(desk: Desk) -> set[tuple[str, str]]:
        return {
            (s, i)
            for s in ("s0", "s1")
            for i in ("ABC", "XYZ")
            if entry(desk, strategy=s, instrument=i).blocked == ["kill_switch"]
        }

    desk = quiet(fixed(1), fixed(1), instruments=TWO)
    desk.tell(Command(at(0), "kill", strategy, instrument))
    assert tried(desk) == stops
    desk = quiet(fixed(1), fixed(1), instruments=TWO)
    desk.tell(
        Command(at(0), "kill", strategy, instrument), Command(at(0), "resume", strategy, instrument)
    )
    assert tried(desk) == set()


def test_to_resume_one_strategy_does_not_lift_reduce_only() -> None:
    desk = quiet(fixed(1), fixed(1))
    desk.tell(Command(at(0), "reduce_only"), Command(at(0), "resume", "s1"))
    assert entry(desk).blocked == ["reduce_only"]
    desk.tell(Command(at(0), "resume"))
    assert entry(desk).blocked == []


def test_every_command_has_an_effect() -> None:
    """A command that nobody has tested would be a switch that may do nothing."""
    for kind in CommandKind:
        desk = worst_of_all()
        if kind in {CommandKind.RECONCILED, CommandKind.RESUME}:
            before = desk.state.snapshot()
        else:
            desk.tell(Command(at(1), "reconciled"), Command(at(1), "resume"))
            before = desk.state.snapshot()
        desk.tell(Command(at(1), kind.name.lower()))
        assert desk.state.snapshot() != before, kind


@pytest.mark.parametrize(
    ("gate", "rules", "opinion"),
    [
        ("trend", {"trend_max": 1e9}, {}),
        ("edge", {"edge_ratio_min": 0.0}, {}),
        ("confidence", {}, {"confidence": float("nan")}),
    ],
)
def test_what_is_not_known_fails_a_limit_that_is_set(
    gate: str, rules: dict[str, Any], opinion: dict[str, Any]
) -> None:
    decision = entry(quiet(fixed(1, gates=rules)), **opinion)
    assert decision.blocked == [gate]
    assert measured(decision, gate)[0] is None


def test_without_any_data_nothing_is_entered() -> None:
    decision = entry(Desk(fixed(1)))
    assert {"freshness", "size"} <= set(decision.blocked)
    assert measured(decision, "freshness")[0] is None


def test_a_limit_that_is_not_set_blocks_nothing_and_has_no_threshold() -> None:
    decision = entry(quiet(fixed(1)))
    assert decision.blocked == []
    for gate in ("trend", "edge", "daily_loss", "gross_exposure", "price_collar", "order_size"):
        assert measured(decision, gate)[1] is None
