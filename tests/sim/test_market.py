"""A market that was prepared once gives every plan what its own bars would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from onefold.domain.errors import ConfigError
from onefold.signals import FeatureMemo, ta
from onefold.sim import backtest
from onefold.sim.market import Market
from random_worlds import worlds
from support import World


@given(w=worlds())
@settings(max_examples=40)
def test_runs_over_one_market_equal_runs_over_the_bars(w: World) -> None:
    market = Market(w.plan.names.symbols, w.bars, memo=4)
    expected = w.run()
    for _ in range(2):
        found = backtest.run(w.plan, market, w.inputs)
        assert found.fingerprint == expected.fingerprint
        assert found.ts.tolist() == expected.ts.tolist()
        assert found.equity.tolist() == expected.equity.tolist()
        assert found.fills.tobytes() == expected.outcome.fills.tobytes()


@given(w=worlds())
@settings(max_examples=1)
def test_a_plan_of_other_symbols_is_refused(w: World) -> None:
    bars = {"OTHER": next(iter(w.bars.values()))}
    with pytest.raises(ConfigError, match="trades other symbols than this market"):
        Market(["OTHER"], bars).tape(w.plan)
    with pytest.raises(ConfigError, match="there are no bars of 'NONE'"):
        Market(["NONE"], bars)


def test_a_memo_forgets_what_was_used_least() -> None:
    memo = FeatureMemo(2)
    fast, slow, other = ta.sma(2), ta.sma(3), ta.sma(4)
    for node in (fast, slow):
        memo.keep(node, np.array([1.0]))
    assert memo.recall(ta.sma(2)) is not None  # a feature is known by what it computes
    memo.keep(other, np.array([2.0]))
    assert memo.recall(slow) is None
    assert memo.recall(fast) is not None
