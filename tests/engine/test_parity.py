"""F1, F2, J7: backtest, session and replay are one thing, bit for bit, for random worlds."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onefold.domain.errors import DataError, ReplayMismatch
from onefold.domain.records import Action, Bar, Command
from onefold.domain.rules import StrategyRules
from onefold.fold.gates import Gate
from onefold.signals import strategies as built_in
from onefold.sim.backtest import Run
from random_worlds import worlds
from support import Scripted, World, bar, bars_of, future, rules_of, share, world

LARGE = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)


def same(one: Run, other: Run) -> None:
    """Assert that two runs are equal, and say in which part they first differ."""
    for name in ("decisions", "trace", "orders", "fills"):
        mine, theirs = getattr(one.outcome, name), getattr(other.outcome, name)
        assert len(mine) == len(theirs), name
        for column in mine.dtype.names:
            np.testing.assert_array_equal(mine[column], theirs[column], f"{name}.{column}")
    np.testing.assert_array_equal(one.ts, other.ts)
    np.testing.assert_array_equal(one.equity, other.equity)
    for name in ("account", "strategies", "instruments", "sleeves", "currencies", "orders"):
        mine, theirs = getattr(one.state, name), getattr(other.state, name)
        for column in set(mine.dtype.names) - {"mode"}:
            np.testing.assert_array_equal(mine[column], theirs[column], f"{name}.{column}")
    assert one.fingerprint == other.fingerprint


def three_ways(w: World) -> Run:
    """Run a world as backtest, session and replay, and assert that they are equal."""
    run = w.run()
    folder = Path(tempfile.mkdtemp(prefix="onefold-"))
    try:
        same(run, w.session(folder).result())
        same(run, w.replayed(folder))
    finally:
        shutil.rmtree(folder)
    return run


@given(w=worlds())
@settings(max_examples=300, suppress_health_check=LARGE)
def test_backtest_session_and_replay_are_equal(w: World) -> None:
    three_ways(w)


@given(w=worlds(patient=True))
@settings(max_examples=100, suppress_health_check=LARGE)
def test_strategies_that_need_their_position_are_the_same_everywhere(w: World) -> None:
    assert w.plan.needs_position
    three_ways(w)


@given(w=worlds(rows=100))
@settings(max_examples=20, suppress_health_check=LARGE)
def test_the_same_inputs_twice_give_the_same_bits(w: World) -> None:
    same(w.run(), w.run())


@given(
    w=st.booleans().flatmap(lambda patient: worlds(rows=25, patient=patient)),
    share_=st.floats(0, 1),
    torn=st.integers(0, 400),
)
@settings(max_examples=80, suppress_health_check=LARGE)
def test_a_restart_in_the_middle_ends_in_the_same_state(w: World, share_: float, torn: int) -> None:
    """Stopped after any input, or with the end of its journal lost, a session goes on as if not."""
    run = w.run()
    folder = Path(tempfile.mkdtemp(prefix="onefold-"))
    try:
        w.session(folder, max(1, int(share_ * len(w.feed()))))
        same(run, w.session(folder).result())
        (segment,) = folder.glob("*.jsonl")
        segment.write_bytes(segment.read_bytes()[: -1 - torn])
        same(run, w.session(folder).result())
        same(run, w.replayed(folder))
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("patient", [False, True])
def test_random_worlds_do_trade(patient: bool) -> None:
    """A property of worlds in which nothing happens would be no evidence."""
    seen = {"fills": 0, "blocked": 0, "exits": 0, "partial": 0, "cancels": 0, "own": 0}

    @given(w=worlds(patient=patient))
    @settings(max_examples=30, suppress_health_check=LARGE, derandomize=True, database=None)
    def count(w: World) -> None:
        out = w.run().outcome
        seen["fills"] += len(out.fills)
        seen["blocked"] += int((out.decisions["blocked"] != 0).sum())
        seen["own"] += int((out.decisions["blocked"] == 1 << Gate.OWN).sum())
        seen["exits"] += int((out.decisions["purpose"] != 0).sum())
        seen["cancels"] += int(out.orders["cancel"].sum())
        _, fills_per_order = np.unique(out.fills["order"], return_counts=True)
        seen["partial"] += int((fills_per_order > 1).sum())

    count()
    assert min(seen.values()) >= 15, seen


def test_built_in_strategies_on_interleaved_instruments() -> None:
    rng = np.random.default_rng(3)
    walk = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (2, 300)), axis=1))
    bars: list[Bar] = []
    for n in range(300):
        bars.append(bar(n, float(walk[0, n]), high=float(walk[0, n]) * 1.01, volume=1_000.0))
        if n % 3:
            price = float(walk[1, n])
            bars.append(bar(n + 0.4, price, low=price * 0.99, symbol="FUT", volume=500.0))
    both = ("ABC", "FUT")
    lots = {"kind": "fraction", "fraction": 0.3}
    run = three_ways(
        world(
            {
                "cross": (built_in.Crossover(fast=5, slow=20), rules_of(sizing=lots), both),
                "revert": (
                    built_in.MeanReversion(),
                    rules_of(sizing=lots, exits={"stop": 0.02, "take": 0.03, "resting": True}),
                    both,
                ),
            },
            bars,
            instruments=(share(), future(tick=0.0)),
        )
    )
    assert len(run.outcome.fills) > 20


def test_a_hundred_ticks_twice() -> None:
    w = world(
        Scripted(side=(1, 1, 0, -1, -1, 0) * 17),
        bars_of([100 + (n * 7 % 13) / 10 for n in range(100)]),
        rules=rules_of(exits={"stop": 0.004}),
    )
    one, other = three_ways(w), three_ways(w)
    assert one.fingerprint == other.fingerprint
    assert len(one.outcome.fills) > 30


def test_inputs_after_the_last_bar_are_the_same_everywhere() -> None:
    rules = rules_of(entry={"order": "limit"})
    w = world(
        {"s": (Scripted(side=(1,), price=(90.0,)), rules, ["ABC"])},
        bars_of([100.0] * 4),
        inputs=[Command(bar(9).ts, "kill"), Action(bar(9).ts, "dividend", 1.0, "ABC")],
    )
    assert three_ways(w).state.account["open_orders"][0] == 0


def test_the_mode_of_a_run_is_no_part_of_its_fingerprint_and_the_cash_is(tmp_path: Path) -> None:
    w = world(Scripted(side=(1, 0)), bars_of([100.0, 101.0, 102.0]))
    run, session = w.run(), w.session(tmp_path).result()
    assert run.state.account["mode"][0] != session.state.account["mode"][0]
    assert run.fingerprint == session.fingerprint
    session.state.currencies["cash"][0] += 1e-9
    del session.__dict__["fingerprint"]
    assert run.fingerprint != session.fingerprint


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[World, Path]:
    """Return a small world and the journal of its session."""
    w = world(
        Scripted(side=(1, 1, 0, -1)),
        bars_of([100.0, 101.0, 99.0, 102.0, 103.0, 101.0]),
        rules=rules_of(exits={"stop": 0.01}),
    )
    w.session(tmp_path)
    return w, tmp_path


def test_replay_with_other_rules_names_the_first_difference(recorded: tuple[World, Path]) -> None:
    w, folder = recorded
    other = world(w.plan.placements[0].strategy, w.feed(), rules=StrategyRules())  # type: ignore[arg-type]
    with pytest.raises(ReplayMismatch) as caught:
        other.replayed(folder)
    assert "stop" in str(caught.value)


def test_a_feed_that_changed_is_refused(recorded: tuple[World, Path]) -> None:
    w, folder = recorded
    columns = w.bars["ABC"]
    close = columns.close.copy()
    close[-1] += 1.0
    w.bars["ABC"] = columns._replace(close=close, high=np.maximum(columns.high, close))
    with pytest.raises(DataError, match="feed has changed"):
        w.session(folder)
