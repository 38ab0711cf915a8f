"""M8: labels are the trades themselves, and agree with slow and plain definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import learn_oracles as oracles
from onefold.domain.columns import Bars
from onefold.domain.convert import to_columns
from onefold.domain.errors import ConfigError
from onefold.domain.words import Purpose
from onefold.engine.backtest import backtest
from onefold.learn import labels as labelled
from onefold.signals import fracdiff, strategy
from onefold.sim.market import Market
from onefold.sim.plan import Placement, Plan
from support import LONG, MINUTE_NS, SHORT, Scripted, account_of, bars_of, rules_of, share

ROWS = 400


def walk(seed: int, rows: int = ROWS) -> Bars:
    """Return bars of a random walk with gaps."""
    chance = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(chance.normal(0, 0.01, rows)))
    open_ = np.r_[100.0, close[:-1]] * np.exp(chance.normal(0, 0.004, rows))
    high = np.maximum(open_, close) * (1 + chance.uniform(0, 0.006, rows))
    low = np.minimum(open_, close) * (1 - chance.uniform(0, 0.006, rows))
    return to_columns(bars_of(zip(open_, high, low, close, strict=True)))


def plan_of(made: Any, account: dict[str, Any] | None = None, **parts: Any) -> Plan:
    return Plan(
        account_of(**(account or {})),
        (share("ABC", tick=0.0),),
        (Placement("s0", made, rules_of(**parts), ("ABC",)),),
        (MINUTE_NS,),
    )


@pytest.mark.parametrize("side", [LONG, SHORT])
@pytest.mark.parametrize("seed", range(4))
def test_barriers_agree_with_a_slow_and_plain_definition(seed: int, side: int) -> None:
    bars = walk(seed)
    always = Scripted(side=(side,), start=int(bars.ts[0]))
    exits = {"stop": 0.02, "take": 0.03, "max_bars": 12}
    events = np.arange(0, ROWS, 3)
    found = labelled.trades(plan_of(always, exits=exits), bars, events)
    rows = list(zip(bars.open, bars.high, bars.low, bars.close, strict=True))
    expected = {
        int(row): outcome
        for row in events
        if (
            outcome := oracles.barrier_trade(
                rows, int(row), int(side), stop=0.02, take=0.03, max_bars=12
            )
        )
    }
    assert found.row.tolist() == list(expected)
    assert (found.side == side).all()
    assert found.end.tolist() == [end for end, _ in expected.values()]
    assert found.gain == pytest.approx([gain for _, gain in expected.values()], abs=1e-12)
    assert (found.won == (found.gain > 0)).all()
    assert 0.1 < found.won.mean() < 0.9


@pytest.mark.parametrize("resting", [False, True])
@pytest.mark.parametrize("kind", ["ibs_a", "breakout", "mean_reversion"])
def test_a_label_is_the_trade_that_a_backtest_makes(kind: str, resting: bool) -> None:
    """Where events do not overlap, the labels are the backtest's trades, costs included."""
    bars = walk(11, 1_500)
    costs = {"costs": {"slippage_bps": 2.0}}
    exits = {"stop": 0.02, "take": 0.025, "max_bars": 8, "resting": resting}
    plan = plan_of(strategy(kind), costs, exits=exits, gates={"rearm": False})
    run = backtest(plan, Market(("ABC",), {"ABC": bars}))
    fills = run.fills
    enters = fills["purpose"] == int(Purpose.ENTRY)
    assert enters.sum() > 15
    orders = {int(o["id"]): int(o["ts"]) for o in run.outcome.orders if not o["cancel"]}
    rows = np.searchsorted(bars.ts, [orders[int(f["order"])] for f in fills[enters]])
    found = labelled.trades(plan, bars, rows)
    closed = len(found.row)
    assert closed >= enters.sum() - 1
    leaves = fills[~enters][:closed]
    entered = fills[enters][:closed]
    value = entered["price"] * entered["qty"]
    pnl = (leaves["price"] * leaves["qty"] - value) * entered["side"]
    assert found.gain == pytest.approx((pnl - entered["fee"] - leaves["fee"]) / value, abs=1e-12)
    known = np.searchsorted(bars.ts, leaves["ts"], side="right")
    assert found.end.tolist() == np.minimum(known, bars.rows - 1).tolist()


def test_events_that_never_trade_or_never_end_have_no_label() -> None:
    bars = walk(5, 60)
    bid = Scripted(side=(LONG,), price=(1.0,), start=int(bars.ts[0]))
    limit = plan_of(bid, entry={"order": "limit", "time_in_force": "gtd", "valid_for_s": 120})
    assert len(labelled.trades(limit, bars, np.arange(50)).row) == 0
    holds = plan_of(Scripted(side=(LONG,), start=int(bars.ts[0])))
    assert len(labelled.trades(holds, bars, np.arange(50)).row) == 0


def test_only_one_strategy_in_one_instrument_has_labels() -> None:
    made = Scripted(side=(LONG,), start=0)
    two = Plan(
        account_of(),
        (share("ABC"), share("DEF")),
        (Placement("s0", made, rules_of(), ("ABC",)),),
        (MINUTE_NS, MINUTE_NS),
    )
    with pytest.raises(ConfigError, match="one strategy in one instrument"):
        labelled.trades(two, walk(1), np.arange(3))


def test_entries_are_where_a_rule_wants_a_position() -> None:
    sides = np.array([2, 1, 1, 2, 1, 0, -1, -1, 1], np.int8)
    ready = np.array([1, 0, 0, 0, 0, 0, 0, 0, 0])
    assert labelled.entries(sides, ready).tolist() == [1, 2, 4, 6, 7, 8]
    assert labelled.entries(sides, ready, turns_only=True).tolist() == [1, 4, 6, 8]


@pytest.mark.parametrize("seed", range(3))
def test_the_cusum_filter_agrees_with_its_definition(seed: int) -> None:
    close = walk(seed).close
    found = labelled.cusum(close, 0.03)
    assert found.tolist() == oracles.cusum(close.tolist(), 0.03)
    assert 10 < len(found) < ROWS / 2


def test_direction_looks_a_fixed_number_of_bars_ahead() -> None:
    close = np.array([10.0, 11.0, 12.0, 9.0, 12.0])
    found = labelled.direction(close, np.arange(5), 2)
    assert found.row.tolist() == [0, 1, 2]
    assert found.end.tolist() == [2, 3, 4]
    assert found.won.tolist() == [1, 0, 0]
    assert found.gain == pytest.approx([0.2, -2 / 11, 0.0])


@pytest.mark.parametrize("seed", range(3))
def test_trend_scanning_agrees_with_least_squares(seed: int) -> None:
    close = walk(seed, 120).close
    events = np.arange(0, 90, 7)
    found = labelled.trend(close, events, 20)
    for n, row in enumerate(events):
        end, t = oracles.trend_t(close.tolist(), int(row), 20)
        assert (int(found.end[n]), int(found.won[n])) == (end, int(t > 0))
    with pytest.raises(ConfigError, match="at least 3 bars"):
        labelled.trend(close, events, 2)


@pytest.mark.parametrize("d", [0.3, 0.7, 1.2])
def test_fractional_differencing_agrees_with_its_definition(d: float) -> None:
    bars = walk(2, 600)
    found = fracdiff(d, 1e-3).batch(bars)
    expected = oracles.fracdiff(bars.close.tolist(), d, 1e-3)
    known = [x for x in expected if x is not None]
    assert np.isnan(found).sum() == len(expected) - len(known)
    assert found[np.isfinite(found)] == pytest.approx(known, rel=1e-10)


def test_returns_of_prices_below_zero_are_shares_of_their_size() -> None:
    """From -5 to -3 is a rise of 40 %; from a price of zero there is no share at all."""
    close = np.array([-5.0, -3.0, 0.0, 2.0, 1.0])
    found = labelled.direction(close, np.arange(5), 1)
    assert found.row.tolist() == [0, 1, 3]
    assert found.won.tolist() == [1, 1, 0]
    assert found.gain == pytest.approx([0.4, 1.0, -0.5])
    rising = labelled.trend(np.linspace(-9.0, 9.0, 19), np.arange(19), 4)
    assert (rising.won == 1).all()
    assert (rising.gain > 0).all()
    assert 9 not in rising.row
