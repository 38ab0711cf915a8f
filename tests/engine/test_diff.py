"""Diff: the baseline is what was recorded, the variant what the change would have decided."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

import some_models
from onefold.domain.errors import ConfigError, JournalError
from onefold.domain.records import AnyRecord, Command, Decision, Mandate
from onefold.engine.diff import Change, Diff, diff
from onefold.journal import Journal, decode, read
from onefold.signals import strategy
from onefold.signals.model import Model
from onefold.sim.plan import Plan
from support import FLAT, LONG, World, account_of, at, rules_of, share, today, world

from .live_rig import Rig
from .live_twin import trade_live
from .test_diverge import BARS, Worse, learned, plain, prices, scripted, two
from .test_live import bar as live_bar
from .test_live import plan_of
from .test_succession import limited


def journal_of(one: World, folder: Path) -> Path:
    one.session(folder)
    return folder


def with_rules(one: World, number: int = 0, **parts: Any) -> Plan:
    """Return the plan with some of one strategy's rules replaced."""
    placements = list(one.plan.placements)
    given = rules_of(**parts)
    update = {name: getattr(given, name) for name in parts}
    rules = placements[number].rules.model_copy(update=update)
    placements[number] = replace(placements[number], rules=rules)
    return replace(one.plan, placements=tuple(placements))


def decisions_of(plan: Plan, one: World, folder: Path, inputs: Any = None) -> list[Decision]:
    """Return what a run of a plan from scratch decides over a world's bars."""
    inputs = one.inputs if inputs is None else inputs
    World(plan, one.bars, list(inputs)).session(folder)
    return [decode(e, Decision) for e in read(folder) if e.kind == "decision"]


def is_exact(found: Diff, plan: Plan, one: World, folder: Path, inputs: Any = None) -> None:
    """Check both versions against runs of their own: every field of every decision, and money."""
    assert found.baseline == "reproduced"
    for version, of, what in ((found.one, one.plan, "a"), (found.other, plan, "b")):
        given = inputs if version is found.other else None
        assert list(version.told.decisions) == decisions_of(of, one, folder / what, given)
        run = World(of, one.bars, list(one.inputs if given is None else given)).run()
        start = of.account.cash
        assert version.total == pytest.approx(float(run.equity[-1]) - start, abs=1e-6)
        assert version.made is not None
        total = sum(made.total for made in version.made.values())
        assert total == pytest.approx(version.total, abs=1e-6)


def test_without_a_change_this_build_gives_the_recorded_decisions(tmp_path: Path) -> None:
    one = two()
    found = diff(journal_of(one, tmp_path / "j"), one.plan, Change())
    assert found.baseline == "reproduced"
    assert found.comparison.differences == []
    assert found.inputs == 2 * BARS
    assert len(found.comparison.pairs) > 20


def test_a_threshold_is_named_and_what_follows_goes_back_to_it(tmp_path: Path) -> None:
    one = two()
    stricter = with_rules(one, 1, gates={"conf_min": 0.6})
    found = diff(journal_of(one, tmp_path / "j"), one.plan, Change(stricter))
    is_exact(found, stricter, one, tmp_path)
    rows = found.comparison.differences
    assert rows[0].cause == "gate"
    assert rows[0].detail == "confidence 0.5 (at least 0) -> 0.5 (at least 0.6)"
    assert rows[0].variant.endswith("stopped by confidence")
    assert {row.strategy for row in rows} == {"shy"}
    assert set(found.comparison.by_root) == {"gate"}
    missing = next(row for row in rows if row.cause == "position")
    assert missing.because is not None
    before = rows[missing.because - 1]
    assert before.ts <= missing.ts
    assert missing.follows == f"#{before.number}, the {before.purpose} of shy in FUT"
    made = [version.made for version in (found.one, found.other)]
    assert made[0] is not None
    assert made[1] is not None
    assert made[0]["sure"] == made[1]["sure"]
    assert made[0]["shy"] != made[1]["shy"]


def test_another_size_is_sizing(tmp_path: Path) -> None:
    one = plain()
    smaller = with_rules(one, sizing={"kind": "fixed", "lots": 7})
    found = diff(journal_of(one, tmp_path / "j"), one.plan, Change(smaller))
    is_exact(found, smaller, one, tmp_path)
    rows = found.comparison.differences
    assert (rows[0].cause, rows[0].detail) == ("sizing", "10 -> 7 lots")
    assert (rows[0].baseline, rows[0].variant) == ("buy 10", "buy 7")
    assert found.comparison.by_root == {"sizing": len(rows)}
    assert found.comparison.by_cause["position"] > 0  # the exits are smaller too


def test_a_stop_is_the_rules_of_exits(tmp_path: Path) -> None:
    one = plain()
    tight = with_rules(one, exits={"stop": 0.004})
    found = diff(journal_of(one, tmp_path / "j"), one.plan, Change(tight))
    is_exact(found, tight, one, tmp_path)
    first = found.comparison.differences[0]
    assert (first.purpose, first.baseline, first.cause) == ("stop", "nothing", "exit")
    assert set(found.comparison.by_root) == {"exit"}


def test_another_parameter_is_another_signal(tmp_path: Path) -> None:
    def made(fast: int) -> World:
        rules = rules_of(sizing={"kind": "fixed", "lots": 10})
        bars = prices(4, bars=200)
        return world(
            strategy("crossover", fast=fast, slow=9), bars, rules=rules,
            account=account_of(cash=1e5),
        )  # fmt: skip

    one, other = made(3), made(4)
    found = diff(journal_of(one, tmp_path / "j"), one.plan, Change(other.plan))
    is_exact(found, other.plan, one, tmp_path)
    first = found.comparison.differences[0]
    assert first.cause == "signal"
    assert first.detail.startswith("wants ")
    assert set(found.comparison.by_root) == {"signal"}


def test_a_strategy_in_one_version_only_is_named(tmp_path: Path) -> None:
    one = two()
    alone = replace(one.plan, placements=one.plan.placements[:1])
    found = diff(journal_of(one, tmp_path / "j"), one.plan, Change(alone))
    is_exact(found, alone, one, tmp_path)
    assert found.comparison.by_cause.keys() == {"only"}
    assert found.comparison.differences[0].detail == "only one of the two has shy in FUT"
    assert found.other.made is not None
    assert found.other.made.keys() == {"sure"}


def test_an_instrument_can_be_left_out_but_not_added(tmp_path: Path) -> None:
    one = two()
    fewer = replace(
        one.plan,
        placements=one.plan.placements[:1],
        instruments=one.plan.instruments[:1],
        intervals_ns=one.plan.intervals_ns[:1],
    )
    journal = journal_of(one, tmp_path / "j")
    found = diff(journal, one.plan, Change(fewer))
    assert found.other.left_out == BARS
    assert found.one.left_out == 0
    more = replace(
        fewer,
        instruments=(share("XYZ"),),
        placements=(replace(fewer.placements[0], symbols=("XYZ",)),),
    )
    with pytest.raises(ConfigError, match="no bars of 'XYZ'"):
        diff(journal, one.plan, Change(more))


def test_a_model_that_says_something_else_is_named(tmp_path: Path) -> None:
    one = learned()
    artifact = some_models.artifact_of("onnx")
    sidecar = msgspec.structs.replace(some_models.sidecar_of(artifact), version=2)
    asked = []

    def says(rows: Any) -> Any:
        asked.append(len(rows))
        return 1.0 - rows[:, 0] / 100.0

    class Store:
        def get(self, _name: str) -> Model:
            return Model(sidecar, says)

    newer = strategy("ml_direction", models=Store(), model="dips@2", enter=0.55, leave=0.45)
    placed = replace(one.plan.placements[0], strategy=newer)
    journal = journal_of(one, tmp_path / "j")
    found = diff(journal, one.plan, Change(replace(one.plan, placements=(placed,))))
    first = found.comparison.differences[0]
    assert first.cause == "model"
    assert "dips@0#" in first.detail
    assert "-> dips@2#" in first.detail
    assert set(found.comparison.by_root) == {"model"}
    assert asked  # the new one was asked


def test_recorded_scores_are_used_and_their_model_is_not_asked(tmp_path: Path) -> None:
    one = learned()
    journal = journal_of(one, tmp_path / "j")
    [score] = one.plan.placements[0].strategy.features.values()
    forgotten = Model(score.model.sidecar, None)  # type: ignore[attr-defined]

    class Store:
        def get(self, _name: str) -> Model:
            return forgotten

    made = strategy("ml_direction", models=Store(), model="dips", enter=0.55, leave=0.45)
    placed = replace(one.plan.placements[0], strategy=made)
    remembered = replace(one.plan, placements=(placed,))
    stricter = with_rules(World(remembered, one.bars, []), gates={"conf_min": 0.57})
    found = diff(journal, remembered, Change(stricter))
    assert found.baseline == "reproduced"
    assert found.comparison.by_root.keys() == {"gate"}


def test_a_mandate_holds_from_the_first_input_or_from_its_time(tmp_path: Path) -> None:
    one = two()
    journal = journal_of(one, tmp_path / "j")
    given = Mandate(0, 0, "conf_min", 0.6, "shy", "FUT")
    found = diff(journal, one.plan, Change(mandates=(given,)))
    early = list(found.other.told.decisions)
    stricter = with_rules(one, 1, gates={"conf_min": 0.6})
    assert early == decisions_of(stricter, one, tmp_path / "rules")
    later = diff(journal, one.plan, Change(mandates=(msgspec.structs.replace(given, ts=at(20)),)))
    inputs = [msgspec.structs.replace(given, ts=at(20), version=1)]
    expected = decisions_of(one.plan, one, tmp_path / "later", inputs)
    assert list(later.other.told.decisions) == expected
    assert min(d.ts for d in later.comparison.differences) > at(20)
    late = msgspec.structs.replace(given, ts=at(BARS + 5))
    with pytest.raises(ConfigError, match="inputs end at"):
        diff(journal, one.plan, Change(mandates=(late,)))


def test_a_given_mandate_stands_for_recorded_ones_of_its_scope(tmp_path: Path) -> None:
    one = two()
    recorded = [
        Mandate(at(3), 1, "conf_min", 0.0, "shy", "FUT"),
        Mandate(at(9), 2, "max_position", 3.0, "sure"),
        Mandate(at(12), 3, "conf_min", 0.0),
    ]
    one.inputs[:] = recorded
    found = diff(
        journal_of(one, tmp_path / "j"),
        one.plan,
        Change(mandates=(Mandate(0, 0, "conf_min", 0.6, "shy"),)),
    )
    assert found.baseline == "reproduced"
    stricter = with_rules(one, 1, gates={"conf_min": 0.6})
    others = [recorded[1]]
    assert list(found.other.told.decisions) == decisions_of(stricter, one, tmp_path / "x", others)


def test_a_recorded_mandate_that_is_stood_for_does_not_even_cancel(tmp_path: Path) -> None:
    one = two()
    one.inputs[:] = [
        Mandate(at(1), 1, "suppress", 1.0, "sure", "ABC"),  # an entry is on its way
        Mandate(at(2), 2, "suppress", 0.0, "sure", "ABC"),
    ]
    change = Change(mandates=(Mandate(0, 0, "suppress", 0.0, "sure"),))
    found = diff(journal_of(one, tmp_path / "j"), one.plan, change)
    assert found.comparison.differences
    assert list(found.other.told.decisions) == decisions_of(one.plan, one, tmp_path / "x", [])


@pytest.mark.parametrize(
    ("mandate", "said"),
    [
        (Mandate(0, 0, "conf_mni", 0.6), "did you mean 'conf_min'"),
        (Mandate(0, 0, "conf_min", 0.6, "sye"), "unknown strategy 'sye'; did you mean"),
        (Mandate(0, 0, "conf_min", 0.6, "shy", "FUTT"), "unknown instrument 'FUTT'; did you"),
        (Mandate(0, 0, "daily_loss", 0.6, "shy"), "for the whole account only"),
    ],
)
def test_a_mandate_that_meets_nothing_is_refused(
    tmp_path: Path, mandate: Mandate, said: str
) -> None:
    one = two()
    with pytest.raises(ConfigError, match=said):
        diff(journal_of(one, tmp_path / "j"), one.plan, Change(mandates=(mandate,)))


def test_a_live_journal_is_compared_through_its_simulated_twin(tmp_path: Path) -> None:
    one = plain()
    journal = trade_live(one.plan, one.feed(), tmp_path / "live", Worse(nth=3, price=0.5))
    with pytest.raises(ConfigError, match="onefold diverge"):
        diff(journal, one.plan, Change())
    smaller = with_rules(one, sizing={"kind": "fixed", "lots": 7})
    found = diff(journal, one.plan, Change(smaller))
    assert found.baseline == "twin"
    assert list(found.one.told.decisions) == decisions_of(one.plan, one, tmp_path / "twin")
    assert list(found.other.told.decisions) == decisions_of(smaller, one, tmp_path / "small")


def test_a_twin_begins_with_what_the_journal_before_has_left(tmp_path: Path) -> None:
    plan = plan_of(FLAT, LONG, LONG, LONG, LONG, LONG, exits={"stop": 0.1, "resting": True})

    async def traded(rig: Rig, closes: Mapping[int, float]) -> None:
        async with rig.running() as live:
            await rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
            await rig.play(*(live_bar(n, price) for n, price in closes.items()))

    async def work() -> Path:
        rig = Rig(tmp_path, plan)
        await traded(rig, {0: 100.0, 1: 100.0, 2: 104.0, 3: 107.0})
        rig.reconfigure(limited(plan, 0.5))
        await traded(rig, {4: 106.0, 5: 80.0, 6: 81.0})
        return rig.journals[-1]

    journal = asyncio.run(work())
    now = limited(plan, 0.5)
    found = diff(journal, now, Change(plan))
    [fills] = found.one.told.fills.values()
    assert [(fill.side, fill.qty) for fill in fills] == [(-1, 1)]  # the stop that worked already
    assert found.one.made is not None
    [made] = found.one.made.values()
    assert made.open != 0.0  # what had been won before the journal is not won again
    assert made.total == pytest.approx(found.one.total)


def test_commands_are_inputs_of_both_versions(tmp_path: Path) -> None:
    one = two()
    one.inputs[:] = [Command(at(5), "kill", "sure"), Command(at(30), "resume", "sure")]
    alone = replace(one.plan, placements=one.plan.placements[1:])
    found = diff(journal_of(one, tmp_path / "j"), one.plan, Change(alone))
    assert found.other.left_out == 2
    assert {d.strategy for d in found.comparison.differences} == {"sure"}


def rewritten(journal: Path, folder: Path) -> Path:
    """Write a journal anew in which another build has sized its second entry otherwise."""
    entries = 0
    with Journal.open(folder, mode="relaxed", today=today) as made:
        for entry in read(journal):
            record: AnyRecord = decode(entry, AnyRecord)  # type: ignore[arg-type]
            if isinstance(record, Decision) and record.purpose == "entry":
                entries += 1
                if entries == 2:
                    record = msgspec.structs.replace(record, qty=record.qty + 1)
            made.append(record)
    return folder


def test_decisions_of_another_build_are_compared_as_recorded(tmp_path: Path) -> None:
    one = plain()
    journal = rewritten(journal_of(one, tmp_path / "j"), tmp_path / "other")
    found = diff(journal, one.plan, Change())
    assert found.baseline == "recorded"
    assert found.one.made is None
    [row] = found.comparison.differences
    assert (row.baseline[-2:], row.variant[-2:]) == ("11", "10")
    stricter = with_rules(one, gates={"conf_min": 0.5})
    again = diff(journal, one.plan, Change(stricter))
    assert again.baseline == "recomputed"
    assert "differs: recorded" in again.why
    assert again.comparison.differences == []  # every confidence is 1


def test_a_journal_without_bars_is_refused(tmp_path: Path) -> None:
    one = plain()
    with Journal.open(tmp_path / "j", mode="relaxed", today=today) as made:
        made.append(decode(next(read(journal_of(one, tmp_path / "x"))), AnyRecord))  # type: ignore[arg-type]
    with pytest.raises(JournalError, match="has no bar yet"):
        diff(tmp_path / "j", one.plan, Change())


def test_it_tells_how_far_it_is(tmp_path: Path) -> None:
    one = plain()
    told: list[int] = []
    change = Change(with_rules(one, sizing={"kind": "fixed", "lots": 7}))
    diff(journal_of(one, tmp_path / "j"), one.plan, change, seen=told.append)
    assert told == list(range(1, 2 * BARS + 1))


def test_a_limit_of_the_account_goes_back_to_itself(tmp_path: Path) -> None:
    one = two()
    limits = one.plan.account.limits.model_copy(update={"max_open_positions": 1})
    account = one.plan.account.model_copy(update={"limits": limits})
    narrow = replace(one.plan, account=account)
    found = diff(journal_of(one, tmp_path / "j"), one.plan, Change(narrow))
    is_exact(found, narrow, one, tmp_path)
    first = found.comparison.differences[0]
    assert first.detail.startswith("open_positions 2 (at most none) -> 2 (at most 1)")
    assert set(found.comparison.by_root) == {"gate"}


def test_other_costs_make_other_fills_and_then_other_sizes(tmp_path: Path) -> None:
    rows = prices(6)
    one = world(
        scripted(),
        rows,
        rules=rules_of(sizing={"kind": "fraction", "fraction": 0.9}),
        account=account_of(cash=1e4),
    )
    dear = one.plan.account.model_copy(
        update={"costs": account_of(costs={"slippage_bps": 200}).costs}
    )
    changed_plan = replace(one.plan, account=dear)
    found = diff(journal_of(one, tmp_path / "j"), one.plan, Change(changed_plan))
    is_exact(found, changed_plan, one, tmp_path)
    first = found.comparison.differences[0]
    assert (first.cause, first.root, first.because) == ("sizing", "fill", None)
    assert first.follows.startswith("the fill of the ")
