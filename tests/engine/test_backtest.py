"""F9: a strategy that needs its own position is run event by event, through the same fold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from engine.test_parity import LARGE, same, three_ways
from onefold.domain.errors import ConfigError
from onefold.domain.records import Action, Signal
from onefold.engine.backtest import backtest
from onefold.engine.explain import explain, why_not
from onefold.journal import decode, read
from onefold.sim.backtest import run
from onefold.sim.market import Market
from random_worlds import worlds
from support import (
    Patient,
    Scripted,
    Table,
    World,
    at,
    bar,
    bars_of,
    fills,
    rules_of,
    share,
    world,
)

FALLING = [100.0, 101.0, 100.0, 99.0, 98.0, 97.0, 96.0, 95.0]


def said(folder: Path) -> list[Signal]:
    """Return the signals of a journal."""
    return [decode(entry, Signal) for entry in read(folder) if entry.kind == "signal"]


def told(signals: Sequence[Signal]) -> list[tuple[float | None, ...]]:
    """Return the position, the entry price and the bars held that `Patient` was told."""
    return [(s.trend, s.score, round((s.edge or 0.0) - 0.01)) for s in signals]


def test_it_is_told_what_it_holds_after_the_bar(tmp_path: Path) -> None:
    """Entered at the open of bar 1, left after three bars at a loss: at the open of bar 4."""
    w = world(
        Patient(side=(1,)),
        bars_of(FALLING[:5]),
        rules=rules_of(sizing={"kind": "fixed", "lots": 7}),
    )
    assert told(said(_journal(w, tmp_path))) == [
        (0.0, None, 0),
        (7.0, 101.0, 1),
        (7.0, 101.0, 2),
        (7.0, 101.0, 3),
        (0.0, None, 0),
    ]
    assert [(ts, lots) for ts, lots, _ in fills(w.run())] == [(at(0), 7), (at(3), -7)]


def test_a_short_position_has_negative_lots_and_a_split_changes_what_it_is_told(
    tmp_path: Path,
) -> None:
    w = world(
        Patient(side=(-1,)),
        bars_of([100.0, 100.0, 50.0]),
        rules=rules_of(sizing={"kind": "fixed", "lots": 3}),
        inputs=[Action(at(1), "split", 2.0, "ABC")],
    )
    assert told(said(_journal(w, tmp_path)))[1:] == [(-3.0, 100.0, 1), (-6.0, 50.0, 2)]


def test_bars_held_at_a_loss_depend_on_the_entry_and_not_on_the_calendar() -> None:
    """What it does follows from its fills: with the entry held back, it leaves so much later."""
    rules = rules_of(exits={"stop": 0.5})
    late = Table(values=(2.0, 2.0, 1.0), at_most=1.0)
    runs = [
        world({"s": (Patient(side=(1,)), rules, ["ABC"], gates)}, bars_of(FALLING)).run()
        for gates in ({}, {"late": late})
    ]
    exits = [fills(one)[1][0] for one in runs]
    assert exits == [at(3), at(5)]


@given(w=worlds(patient=True, instruments=1))
@settings(max_examples=100, suppress_health_check=(*LARGE, HealthCheck.filter_too_much))
def test_what_it_said_retold_over_columns_is_the_same_run(
    tmp_path_factory: pytest.TempPathFactory, w: World
) -> None:
    """The compiled loop knows nothing of positions; given the same signals it must agree."""
    signals = said(_journal(w, tmp_path_factory.mktemp("journal")))
    run_ = w.run()
    placements = tuple(_retold(one, signals) for one in w.plan.placements)
    retold = World(replace(w.plan, placements=placements), w.bars, w.inputs)
    assert not retold.plan.needs_position
    same(run_, run(retold.plan, retold.bars, retold.inputs))


def _retold(placement: Any, signals: Sequence[Signal]) -> Any:
    """Return a placement whose strategy reads from a table what was said."""
    own = {s.ts: s for s in signals if s.strategy == placement.name}
    script = placement.strategy
    rows = len(script.confidence)
    silent = Signal("", "", 0, 2)
    table = [own.get(ts, silent) for ts in _times(script, rows, own)]
    columns = {
        name: tuple(math.nan if v is None else v for v in (getattr(s, name) for s in table))
        for name in (
            "side",
            "confidence",
            "score",
            "edge",
            "volatility",
            "trend",
            "barrier",
            "price",
        )
    }
    retold = Scripted(**columns, start=script.start, step_ns=script.step_ns)
    return replace(placement, strategy=retold)


def _times(script: Scripted, rows: int, own: dict[int, Signal]) -> list[int]:
    by_row = {(ts - script.start) // script.step_ns: ts for ts in own}
    return [by_row.get(row, -1) for row in range(rows)]


def test_the_loop_over_columns_refuses_such_a_plan() -> None:
    w = world(Patient(side=(1,)), bars_of(FALLING))
    with pytest.raises(ConfigError, match=r"'s' needs its own position.*engine.backtest.backtest"):
        run(w.plan, w.bars)


def test_a_market_and_its_bars_are_the_same_run_and_progress_is_told() -> None:
    bars = bars_of(FALLING) + [bar(n + 0.5, 50.0, symbol="XYZ") for n in range(5)]
    w = world(Patient(side=(1,)), bars, instruments=(share(), share("XYZ")))
    heard: list[tuple[int, int]] = []
    market = Market(w.plan.names.symbols, w.bars)
    one = backtest(w.plan, market, progress=lambda *done: heard.append(done))
    same(one, three_ways(w))
    assert heard == [(13, 13)]
    assert [b.ts for b in market.records()] == market.ts().tolist()


def test_without_such_a_strategy_it_is_the_loop_over_columns() -> None:
    w = world(Scripted(side=(1, 0)), bars_of(FALLING))
    same(backtest(w.plan, w.bars), run(w.plan, w.bars))


def test_exits_of_the_bar_are_recorded_before_the_signal_that_saw_it(tmp_path: Path) -> None:
    """Without such a strategy signals come first, as they always did."""
    orders = []
    for number, kind in enumerate((Scripted, Patient)):
        w = world(
            kind(side=(1,)), bars_of([100.0, 100.0, 90.0]), rules=rules_of(exits={"stop": 0.05})
        )
        entries = list(read(_journal(w, tmp_path / str(number))))
        start = max(n for n, e in enumerate(entries) if e.kind == "bar")
        kinds = [e.kind for e in entries[start + 1 :]]
        orders.append(kinds.index("signal") < kinds.index("decision"))
    assert orders == [True, False]


GATED = {
    "calm": Table(values=(1.0, 3.0, math.nan, 1.0), at_most=2.0),
    "late": Table(values=(0.0, 5.0, 5.0, 5.0), at_least=5.0),
}


def gated() -> World:
    """Return a world that wants to be long at once and may be from the fourth bar on."""
    return world(
        {"s": (Scripted(side=(1, 1, 1, 1, 0)), rules_of(), ["ABC"], GATED)}, bars_of(FALLING[:6])
    )


def test_gates_of_ones_own_hold_entries_back_and_are_recorded(tmp_path: Path) -> None:
    run_ = three_ways(gated())
    assert [ts for ts, _, _ in fills(run_)] == [at(3), at(4)]
    refused = [
        [(r.gate, r.value, r.threshold) for r in s.refused]
        for s in said(_journal(gated(), tmp_path))
    ]
    assert refused == [
        [("late", 0.0, 5.0)],
        [("calm", 3.0, 2.0)],
        [("calm", None, 2.0)],
        [],
        [],
        [],
    ]
    text = b"\n".join(entry.raw for entry in read(tmp_path))
    assert text.count(b'"refused"') == 3
    assert text.count(b'"blocked":["own"]') == 3


def test_exits_are_never_held_back() -> None:
    never = {"never": Table(values=(1.0, 9.0), at_most=2.0)}
    w = world({"s": (Scripted(side=(1, 0)), rules_of(), ["ABC"], never)}, bars_of(FALLING))
    assert [lots for _, lots, _ in fills(three_ways(w))] == [1, -1]


def test_explain_shows_every_gate_of_ones_own(tmp_path: Path) -> None:
    folder = _journal(gated(), tmp_path)
    told_ = explain(folder, gated().plan, 1)
    assert told_.conclusion.endswith("blocked by own")
    lines = [(g.gate, g.value, g.threshold, g.passes_when, g.verdict) for g in told_.own_gates]
    assert lines == [
        ("calm", 1.0, 2.0, "at most 2", "passed"),
        ("late", 0.0, 5.0, "at least 5", "blocked"),
    ]
    (held,) = why_not(folder, gated().plan, "ABC", at(5))
    assert [g.verdict for g in held.own_gates] == ["passed", "passed"]
    assert msgspec.to_builtins(told_)["own_gates"][1]["gate"] == "late"


def test_the_position_is_among_what_explain_shows(tmp_path: Path) -> None:
    w = world(Patient(side=(1,)), bars_of(FALLING))
    (shown,) = why_not(_journal(w, tmp_path), w.plan, "ABC", at(2))
    assert shown.features == {"position": 1.0, "entry_price": 101.0, "bars_held": 2.0}
    assert np.isclose(shown.close or 0.0, 100.0)


def _journal(w: World, folder: Path) -> Path:
    w.session(folder)
    return folder
