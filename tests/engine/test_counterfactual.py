"""Counterfactuals of gates: what was planted is found, and what was traded comes out the same."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import some_models
from onefold.domain.columns import Bars
from onefold.domain.convert import to_records
from onefold.domain.errors import FoldError
from onefold.domain.records import Action
from onefold.domain.words import Purpose
from onefold.engine.backtest import backtest
from onefold.engine.counterfactual import Counterfactual, counterfactual, outcomes, recall
from onefold.fold.gates import Gate as Bit
from onefold.signals import Columns, Gate, Strategy, strategy
from onefold.signals.model import Model
from onefold.sim.plan import Placement, Plan
from onefold.views.gate_value import Estimate, GateValue
from onefold.views.trades import round_trips
from support import (
    FLAT,
    HOLD,
    LONG,
    SHORT,
    START_NS,
    Patient,
    Scripted,
    World,
    account_of,
    at,
    bar,
    rules_of,
    share,
    world,
)

HOUR_NS = 3_600_000_000_000
LOSS, GAIN, NOISE = 0.004, 0.002, 0.01
"""What a trade makes on average in hours that lose, and in the others, and how much it varies."""
LOSING = (3, 9)
DAYS, SEEDS = 60, 60
MISSES_MAX = 8
"""Of 60 intervals at 95 %, more than 8 miss with a probability of 0.3 %."""


class Hourly(Strategy):
    """Buy at the close of every third hour, and leave after one."""

    def extract_features(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def predict_signal(self, x: Columns) -> Any:
        """Return long at hours that three divides."""
        return self.signal(hour_of(x.ts) % 3 == 0)


class Pulses(Strategy):
    """Buy at every fourth hour and keep: one trade begins while others still run."""

    def extract_features(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def predict_signal(self, x: Columns) -> Any:
        """Return long now and then, and no change in between."""
        return self.signal(np.where(hour_of(x.ts) % 4 == 0, LONG, HOLD))


class Hours(Gate):
    """One in the given hours."""

    at_most: float | None = 0.5
    hours: tuple[int, ...] = LOSING

    def extract_features(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def measure(self, x: Columns) -> Any:
        """Return whether it is one of them."""
        return np.isin(hour_of(x.ts), self.hours)


class Dice(Gate):
    """A number between 0 and 1 that has nothing to do with prices."""

    at_most: float | None = 0.5

    def extract_features(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def measure(self, x: Columns) -> Any:
        """Return the digits of a sine."""
        return np.abs(np.sin(x.ts / HOUR_NS * 12.9898) * 43758.5453) % 1.0


def hour_of(ts: Any) -> Any:
    """Return the hour of a time."""
    return ts // HOUR_NS % 24


def market(seed: int, days: int = DAYS, *, losing: tuple[int, ...] = LOSING) -> Bars:
    """Return hourly bars whose return depends on the hour of the close before."""
    chance, rows = np.random.default_rng(seed), 24 * days
    ts = START_NS + (np.arange(rows) + 1) * HOUR_NS
    before = hour_of(ts - HOUR_NS)
    drift = np.where(np.isin(before, losing), -LOSS, GAIN)
    close = 100.0 * np.cumprod(1.0 + chance.normal(drift, NOISE))
    open_ = np.r_[100.0, close[:-1]]
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    unknown = np.full(rows, np.nan)
    return Bars(ts, ts - HOUR_NS, open_, high, low, close, *[unknown] * 3, np.full(rows, -1))


def plan_of(
    made: Strategy, own: Mapping[str, Gate], symbols: tuple[str, ...] = ("ABC",), **rules: Any
) -> Plan:
    return Plan(
        account_of(cash=1e6),
        tuple(share(symbol, tick=0.0) for symbol in symbols),
        (Placement("s", made, rules_of(**rules), symbols, own),),
        (HOUR_NS,) * len(symbols),
    )


def found_of(plan: Plan, bars: Bars, **how: Any) -> Counterfactual:
    """Run a backtest with the same bars for every symbol, and return what gates stopped in it."""
    by_symbol = dict.fromkeys(plan.names.symbols, bars)
    return counterfactual(plan, by_symbol, backtest(plan, by_symbol).outcome.decisions, **how)


def value_of(found: Counterfactual, gate: str) -> GateValue:
    return next(one for one in found.values if one.gate == gate)


def contains(one: Estimate, truth: float) -> bool:
    assert one.low is not None
    assert one.high is not None
    return one.low <= truth <= one.high


def half_width(one: Estimate) -> float:
    assert one.low is not None
    assert one.high is not None
    return (one.high - one.low) / 2.0


@pytest.mark.parametrize(
    ("hours", "planted", "verdict"), [((3, 9), LOSS, "saves"), ((6, 12), -GAIN, "costs")]
)
def test_a_gate_of_planted_value_is_recovered(
    hours: tuple[int, ...], planted: float, verdict: str
) -> None:
    """It stops two hours a day that lose on average, or that gain."""
    found = []
    for seed in range(SEEDS):
        plan = plan_of(Hourly(), {"hours": Hours(hours=hours)})
        found.append(value_of(found_of(plan, market(seed)), "own.s.hours"))
    assert {one.alone.episodes for one in found} == {2 * DAYS}
    assert all(one.alone == one.first for one in found), "no other gate said no"
    assert sum(not contains(one.alone, planted) for one in found) <= MISSES_MAX
    width = np.mean([half_width(one.alone) for one in found])
    assert width == pytest.approx(1.98 * NOISE / sqrt(2 * DAYS), rel=0.05)
    values = [one.alone.value for one in found]
    assert np.mean(values) == pytest.approx(planted, abs=4 * NOISE / sqrt(2 * DAYS * SEEDS))
    opposite = {"saves": "costs", "costs": "saves"}[verdict]
    assert sum(one.verdict == verdict for one in found) > SEEDS / 3
    assert not any(one.verdict == opposite for one in found)


def test_a_gate_that_blocks_at_random_is_worth_minus_the_mean_of_all() -> None:
    """Of the eight hours that trade, two lose: what chance stops makes what all make."""
    mean = (2 * -LOSS + 6 * GAIN) / 8
    found = []
    for seed in range(SEEDS):
        plan = plan_of(Hourly(), {"dice": Dice()})
        found.append(value_of(found_of(plan, market(seed)), "own.s.dice"))
    assert 0.4 < found[0].alone.episodes / (8 * DAYS) < 0.6
    assert sum(not contains(one.alone, -mean) for one in found) <= MISSES_MAX


@pytest.mark.parametrize("symbols", [("ABC",), ("ABC", "DEF", "GHI")])
def test_trades_that_overlap_do_not_make_it_surer(symbols: tuple[str, ...]) -> None:
    """Trades of a day, begun every four hours, in instruments that move as one."""
    day, misses, seeds = 24, 0, 40
    plan = plan_of(Pulses(), {"never": Hours(hours=tuple(range(24)))}, symbols,
                   exits={"max_bars": day}, gates={"rearm": False})  # fmt: skip
    for seed in range(seeds):
        one = value_of(found_of(plan, market(seed, losing=())), "own.s.never").alone
        assert one.known == pytest.approx(6 * DAYS * len(symbols), rel=0.05)
        assert one.independent == pytest.approx(DAYS, rel=0.1)
        misses += not contains(one, 1.0 - (1.0 + GAIN) ** day)
    assert misses <= 7


@pytest.mark.parametrize("kind", ["ibs_a", "crossover", "mean_reversion"])
def test_of_what_was_traded_it_tells_the_trade(kind: str) -> None:
    """The sleeve trades alone, with costs, sizes and gates; each entry that passed is a trade."""
    plan = Plan(
        account_of(costs={"slippage_bps": 2.0}),
        (share("ABC", tick=0.0, commission_bps=5.0),),
        (
            Placement(
                "s",
                strategy(kind),
                rules_of(
                    sizing={"kind": "fraction", "fraction": 0.5},
                    exits={"stop": 0.03, "take": 0.04, "max_bars": 20},
                    gates={"cool_down_s": 7200},
                ),
                ("ABC",),
            ),
        ),
        (HOUR_NS,),
    )
    bars = {"ABC": market(4)}
    run = backtest(plan, bars)
    decisions = run.outcome.decisions
    passed = decisions[(decisions["purpose"] == Purpose.ENTRY) & (decisions["blocked"] == 0)]
    assert (decisions["blocked"] != 0).any()
    traded = round_trips(run.fills, plan.instruments, plan.names.strategies).closed
    assert len(traded) > 10
    found = outcomes(plan, bars, passed[: len(traded)])
    assert 100.0 * found.gain == pytest.approx(traded["pnl_percent"].to_numpy(), abs=1e-9)
    left = traded["exit_time"].to_physical().to_numpy()
    assert ((found.end_ts > left) & (found.end_ts <= left + HOUR_NS)).all()


def script(*sides: int, **more: Any) -> World:
    """Return a world of a strategy that says these sides and no gate lets through."""
    bars = [bar(n, 100.0 + n) for n in range(len(sides))]
    rules = rules_of(gates={"conf_min": 0.5})
    scripted = Scripted(side=sides, confidence=(0.1,), start=at(0))
    return world(scripted, bars, rules=rules, instruments=[share(tick=0.0)], **more)


def test_an_episode_counts_once_at_its_first_bar() -> None:
    one = script(LONG, LONG, LONG, SHORT, SHORT, FLAT, LONG, HOLD, LONG, FLAT, FLAT, FLAT)
    decisions = one.run().outcome.decisions
    assert len(decisions) == 7
    found = counterfactual(one.plan, one.bars, decisions)
    assert found.stopped.start.tolist() == [0, 3, 6, 8]
    assert found.stopped.end.tolist() == [4, 6, 10, 10]
    gains = [104 / 101 - 1, 1 - 106 / 104, 110 / 107 - 1, 110 / 109 - 1]
    assert found.stopped.gain == pytest.approx(gains)
    assert found.stopped.value == pytest.approx([100.0, 103.0, 106.0, 108.0])
    assert value_of(found, "confidence").money == pytest.approx(
        -np.dot(found.stopped.gain, found.stopped.value)
    )


def test_gates_of_ones_own_are_told_apart_and_alone_means_alone() -> None:
    gates = {"early": Hours(hours=(3, 6)), "late": Hours(hours=(6, 18))}
    found = found_of(plan_of(Hourly(), gates), market(1, 30))
    assert found.gates[int(Bit.OWN) : int(Bit.OWN) + 2] == ("own.s.early", "own.s.late")
    assert len(found.gates) == len(set(found.gates)) == 36
    early, late = (value_of(found, f"own.s.{name}") for name in gates)
    assert (early.first.episodes, early.alone.episodes) == (60, 30)
    assert (late.first.episodes, late.alone.episodes) == (30, 30)
    both = found_of(plan_of(Hourly(), gates, gates={"orders_per_day": 1}), market(1, 30))
    limit = value_of(both, "orders_per_day")
    assert limit.first.episodes == limit.alone.episodes == 4 * 30
    late = value_of(both, "own.s.late")
    assert late.first.episodes == 30
    assert late.alone.episodes == 0, "early stops the others, and here the limit of orders does"


def test_a_journal_gives_what_the_backtest_gives(tmp_path: Path) -> None:
    bars = market(2, 20)
    plan = plan_of(Hourly(), {"hours": Hours()}, gates={"cool_down_s": 7200})
    batch = found_of(plan, bars)
    one = World(plan, {"ABC": bars}, [])
    one.session(tmp_path)
    told = recall(tmp_path, plan)
    assert len(told.bars["ABC"].ts) == bars.rows
    asked = plan.placements[0].strategy.batch(bars)
    for name, column in told.said["s", "ABC"]._asdict().items():
        wanted = np.broadcast_to(getattr(asked, name), bars.rows)
        assert np.array_equal(column, wanted, equal_nan=True), name
    found = counterfactual(plan, told.bars, told.run.outcome.decisions, said=told.said)
    assert found.values == batch.values
    assert len(batch.values) == 1
    for mine, theirs in zip(found.stopped, batch.stopped, strict=True):
        assert np.array_equal(mine, theirs)


def test_what_was_recorded_counts_and_not_what_would_be_said_now(tmp_path: Path) -> None:
    bars = market(2, 20)
    plan = plan_of(Hourly(), {"hours": Hours()})
    World(plan, {"ABC": bars}, []).session(tmp_path)
    told = recall(tmp_path, plan)
    said = told.said["s", "ABC"]
    longer = said._replace(side=np.where(said.side == FLAT, HOLD, said.side).astype(np.int8))
    entries = told.run.outcome.decisions
    found = counterfactual(plan, told.bars, entries, said={("s", "ABC"): longer})
    assert not np.isfinite(found.stopped.gain).any(), "nothing leaves the position"


def halves(rows: Any) -> Any:
    """Say something of every row that depends on it alone."""
    return np.modf(np.abs(rows[:, 0] * 0.37 + rows[:, 1]))[0]


class Store:
    """Has one model, with or without what it predicts."""

    def __init__(self, predict: Any) -> None:
        self._model = Model(some_models.sidecar_of(some_models.artifact_of("onnx")), predict)

    def get(self, _name: str) -> Model:
        """Return the model."""
        return self._model


def test_of_a_journal_no_model_is_asked_again(tmp_path: Path) -> None:
    def plan(predict: Any) -> Plan:
        made = strategy("ml_direction", models=Store(predict), model="dips")
        return plan_of(made, {"dice": Dice()})

    bars = market(6, 20)
    World(plan(halves), {"ABC": bars}, []).session(tmp_path)
    told = recall(tmp_path, plan(None))
    found = counterfactual(
        plan(None), told.bars, told.run.outcome.decisions, said=told.said, actions=told.actions
    )
    assert value_of(found, "own.s.dice").alone.known > 10
    assert found.values == found_of(plan(halves), bars).values


@pytest.mark.parametrize(("action", "known"), [("split", 0), ("roll", 0), ("dividend", 1)])
def test_a_trade_over_a_split_has_no_outcome(action: str, known: int) -> None:
    one = script(LONG, LONG, LONG, FLAT, FLAT, FLAT)
    decisions = one.run().outcome.decisions
    for ts, outcome in ((at(2), known), (at(0), 1), (at(5), 1)):
        actions = [Action(ts, action, 2.0, "ABC"), Action(at(2), "split", 2.0, "DEF")]
        found = counterfactual(one.plan, one.bars, decisions, actions=actions)
        assert np.isfinite(found.stopped.gain).sum() == outcome


def test_what_short_sales_would_have_made_is_known_where_they_are_forbidden() -> None:
    sides = (FLAT, SHORT, SHORT, FLAT, FLAT, FLAT)
    bars = [bar(n, 100.0 + n) for n in range(len(sides))]
    forbidden = [share(tick=0.0, short=False, currency="EUR")]
    one = world(Scripted(side=sides, start=at(0)), bars, instruments=forbidden, rates={"EUR": 1.25})
    found = value_of(
        counterfactual(one.plan, one.bars, one.run().outcome.decisions), "short_selling"
    )
    assert found.alone.mean_return == pytest.approx(1 - 104 / 102)
    assert found.money == pytest.approx((104 / 102 - 1) * 101 * 1.25)


def test_a_strategy_that_needs_its_position_is_left_out_and_named() -> None:
    bars = [bar(n, 100.0 + n) for n in range(8)]
    patient = Patient(side=(LONG,), confidence=(0.1,), start=at(0))
    both = {
        "p": (patient, rules_of(gates={"conf_min": 0.5}), ("ABC",)),
        "s": (Scripted(side=(LONG, FLAT), confidence=(0.1,), start=at(0)),
              rules_of(gates={"conf_min": 0.5}), ("ABC",)),
    }  # fmt: skip
    one = world(both, bars)
    decisions = one.run().outcome.decisions
    assert set(decisions["strategy"].tolist()) == {0, 1}
    found = counterfactual(one.plan, one.bars, decisions)
    assert list(found.left_out) == ["p"]
    assert len(found.stopped.gain) == 1
    assert np.isnan(outcomes(one.plan, one.bars, decisions[decisions["strategy"] == 0]).gain).all()


def test_a_run_that_stopped_nothing_has_no_values() -> None:
    one = script(FLAT, FLAT, FLAT)
    assert counterfactual(one.plan, one.bars, one.run().outcome.decisions).values == []


def test_bars_of_another_run_are_refused() -> None:
    plan, bars = plan_of(Hourly(), {"hours": Hours()}), market(1, 5)
    decisions = backtest(plan, {"ABC": bars}).outcome.decisions
    with pytest.raises(FoldError, match=r"no bar of ABC that closes at 2020-.*the bars of the run"):
        counterfactual(plan, {"ABC": bars.slice(0, 40)}, decisions)
    other = plan_of(Hourly(), {"hours": Hours(hours=(4,))})
    with pytest.raises(FoldError, match="was stopped by a gate of your own that passes it"):
        counterfactual(other, {"ABC": bars}, decisions)
    assert next(to_records(bars, "ABC")).ts == START_NS + HOUR_NS
