"""One entry at a time: against trades worked out by hand, and that no entry changes another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onefold.domain.columns import Bars
from onefold.domain.convert import to_columns
from onefold.signals import strategy
from onefold.sim.plan import Placement, Plan
from onefold.sim.single import Ended, Single
from support import (
    FLAT,
    HOLD,
    LONG,
    MINUTE_NS,
    SHORT,
    Scripted,
    account_of,
    bars_of,
    rules_of,
    share,
)

PRICES = [(100, 101), (102, 104), (104, 103), (105, 110), (110, 99), (99, 98), (97, 96)]
"""Open and close of bars."""


def made(rows: Any = PRICES) -> Bars:
    return to_columns(bars_of([(o, max(o, c), min(o, c), c) for o, c in rows]))


def plan_of(made_of: Any, account: dict[str, Any] | None = None, **parts: Any) -> Plan:
    placement = Placement("s0", made_of, rules_of(**parts), ("ABC",))
    return Plan(account_of(**(account or {})), (share(tick=0.0),), (placement,), (MINUTE_NS,))


def walk(seed: int, rows: int = 500) -> Bars:
    chance = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(chance.normal(0, 0.01, rows)))
    return made(list(zip(np.r_[100.0, close[:-1]], close, strict=True)))


def test_a_trade_runs_from_the_next_open_to_the_open_after_the_signal_turns() -> None:
    long = Single(plan_of(Scripted(side=(FLAT, LONG, HOLD, FLAT, FLAT))), made())
    assert long.outcome(1) == Ended(4, 1, pytest.approx(110 / 104 - 1))
    short = Single(plan_of(Scripted(side=(FLAT, LONG, SHORT, HOLD, FLAT))), made())
    assert short.outcome(2) == Ended(5, -1, pytest.approx(1 - 99 / 105))
    assert short.outcome(1) == Ended(3, 1, pytest.approx(105 / 104 - 1)), "it ends where it turns"


def test_costs_lower_the_return() -> None:
    script = Scripted(side=(FLAT, LONG, HOLD, FLAT, FLAT))
    worse = Single(plan_of(script, {"costs": {"slippage_bps": 10.0}}), made()).outcome(1)
    assert worse is not None
    assert worse.gain == pytest.approx(110 * 0.999 / (104 * 1.001) - 1)


def test_sizing_and_gates_do_not_matter() -> None:
    script = Scripted(side=(FLAT, LONG, HOLD, FLAT, FLAT), confidence=(0.1,))
    gated = {"gates": {"conf_min": 0.9}, "sizing": {"kind": "fraction", "fraction": 0.0001}}
    plain = Single(plan_of(script), made()).outcome(1)
    assert plain is not None
    assert Single(plan_of(script, {"cash": 1.0}, **gated), made()).outcome(1) == plain


@pytest.mark.parametrize("side", [FLAT, HOLD])
def test_a_bar_that_enters_nothing_has_no_trade_of_a_later_one(side: int) -> None:
    single = Single(plan_of(Scripted(side=(side, LONG, FLAT, FLAT))), made())
    assert single.outcome(0) is None
    assert single.outcome(1) is not None


def test_an_entry_that_expired_does_not_take_the_trade_of_the_next() -> None:
    script = Scripted(side=(LONG, HOLD, LONG, HOLD, FLAT), price=(50.0, 50.0, 104.5, 104.5))
    limit = {"order": "limit", "time_in_force": "gtd", "valid_for_s": 60}
    rows = [(100, 101), (102, 104), (104, 105), (104, 103), (105, 110), (110, 99), (99, 98)]
    single = Single(plan_of(script, entry=limit), made(rows))
    assert single.outcome(0) is None
    assert single.outcome(2) == Ended(5, 1, pytest.approx(110 / 104 - 1))


def test_an_open_end_is_no_outcome() -> None:
    assert Single(plan_of(Scripted(side=(LONG,))), made()).outcome(0) is None


@pytest.mark.parametrize("resting", [False, True])
def test_no_entry_changes_another(resting: bool) -> None:
    bars = walk(3)
    exits = {"stop": 0.02, "take": 0.05, "max_bars": 30, "resting": resting}
    plan = plan_of(strategy("crossover", fast=3, slow=8), exits=exits)
    rows = np.arange(20, 450, 5).tolist()
    once, again = Single(plan, bars), Single(plan, bars)
    forward = [once.outcome(row) for row in rows]
    backward = [again.outcome(row) for row in reversed(rows)]
    assert forward == backward[::-1]
    assert sum(one is not None for one in forward) > 10
    assert len(set(forward)) > 8


def test_what_was_recorded_serves_as_well_as_asking() -> None:
    bars = walk(5)
    rule = strategy("crossover", fast=3, slow=8)
    plan = plan_of(rule, exits={"stop": 0.02, "max_bars": 30})
    asked, told = Single(plan, bars), Single(plan, bars, rule.batch(bars))
    silent = rule.batch(bars)._replace(side=np.full(bars.rows, HOLD, np.int8))
    found = [asked.outcome(row) for row in range(bars.rows)]
    assert sum(one is not None for one in found) > 20
    assert found == [told.outcome(row) for row in range(bars.rows)]
    assert not any(Single(plan, bars, silent).outcome(row) for row in range(bars.rows))
