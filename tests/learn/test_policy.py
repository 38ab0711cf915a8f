"""M9: a policy learns what pays in the simulated venue, and is judged on what it has not seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from onefold.adapters.models import ModelStore
from onefold.domain.columns import Bars
from onefold.domain.convert import to_columns
from onefold.domain.errors import DataError
from onefold.learn.card import html, markdown, policy_card
from onefold.learn.config import TrainingConfig
from onefold.learn.evidence import LEVEL
from onefold.learn.policy import Learnt, Network, _metrics, learn
from onefold.signals import strategy
from onefold.signals.model import Aim, Models
from onefold.signals.runtimes import predictor
from onefold.sim.plan import Plan
from support import bars_of

from .test_labels import plan_of, walk

HOUR_NS = 3_600_000_000_000


def plan_with(models: Models) -> Plan:
    return plan_of(
        strategy("ml_direction", models=models, model="any", enter=0.52, short=True, leave=0.51)
    )


def waves(rows: int = 5_000, seed: int = 1) -> Bars:
    """Return hourly bars that follow a slow wave: what has risen goes on rising for a while."""
    chance = np.random.default_rng(seed)
    drift = 0.003 * np.sin(np.arange(rows) * 2 * np.pi / 60)
    close = 100 * np.exp(np.cumsum(drift + chance.normal(0, 0.002, rows)))
    open_ = np.r_[100.0, close[:-1]]
    both = np.maximum(open_, close) * 1.0005, np.minimum(open_, close) * 0.9995
    made = bars_of(zip(open_, *both, close, strict=True), step_ns=HOUR_NS)
    return to_columns(made)


def learnt_on(bars: Bars, **facts: object) -> Learnt:
    given = {"strategy": "s0", "label": "policy", "features": ("log_return(5)", "rsi(10)")}
    config = TrainingConfig.model_validate({"generations": 6, "population": 8, **given, **facts})
    return learn("learner", plan_with, {"ABC": bars}, config, created_on="2026-11-20")


@pytest.fixture(scope="module")
def learnt() -> Learnt:
    return learnt_on(waves())


def test_what_pays_is_learnt_and_holds_on_unseen_days(learnt: Learnt) -> None:
    assert learnt.has_skill
    m = learnt.sidecar.metrics
    assert m["sharpe_unseen"] is not None
    assert m["sharpe_unseen"] > 3
    assert learnt.seen.days[-1] <= learnt.unseen.days[0]
    assert "skill: it gains on days" in markdown(policy_card(learnt))
    assert html(policy_card(learnt)).count('class="plotly-graph-div"') == 1


def test_all_of_the_data_is_in_a_policys_sample(learnt: Learnt) -> None:
    """What judged it was looked at too, so nothing before the end of the data is out of sample."""
    bars = waves()
    assert learnt.sidecar.trained_from == bars.ts[0]
    assert learnt.sidecar.trained_to == bars.ts[-1]


def test_a_policy_that_never_traded_says_so(learnt: Learnt) -> None:
    none = learnt.seen._replace(returns=np.zeros(len(learnt.seen.days)))
    metrics = _metrics(none, none, 1)
    assert (metrics["sharpe_unseen"], metrics["p_value"]) == (None, None)
    sidecar = msgspec.structs.replace(learnt.sidecar, metrics=metrics)
    idle = replace(learnt, sidecar=sidecar, seen=none, unseen=none)
    assert not idle.has_skill
    text = markdown(policy_card(idle))
    assert "it never traded on unseen days" in text
    assert f"it never traded ({len(none.days)} days)" in text
    assert "0.00" not in text


def test_lucky_trades_make_no_policy_skilled(learnt: Learnt) -> None:
    """One large gain made a Sharpe ratio with a small error, since its own skewness did."""

    def p_of(returns: NDArray[np.float64]) -> float | None:
        return _metrics(learnt.seen, learnt.unseen._replace(returns=returns), 1)["p_value"]

    chance = np.random.default_rng(0)
    for trades in (1, 3, 29):
        returns = np.zeros(300)
        returns[chance.choice(300, trades, replace=False)] = 0.01
        assert p_of(returns) is None
    claims = 0
    for _ in range(400):
        rare = np.where(chance.random(300) < 0.02, 0.98, -0.02) * 0.01  # a fair lottery
        small = np.where(chance.random(300) < 0.03, -0.97, 0.03) * 0.01  # rare large losses
        claims += sum((p_of(one) or 1.0) <= LEVEL for one in (rare, small))
    assert claims <= 800 * LEVEL


def test_the_same_seed_is_the_same_policy_and_it_proves_itself(
    learnt: Learnt, tmp_path: Path
) -> None:
    assert learnt_on(waves()).artifact == learnt.artifact
    assert learnt_on(waves(), seed=2).artifact != learnt.artifact
    store = ModelStore(tmp_path)
    store.activate("learner", store.add(learnt.sidecar, learnt.artifact).version)
    assert store.get("learner").scores(np.zeros((3, 2))).shape == (3,)
    assert msgspec.structs.replace(learnt.sidecar, target="").aim == Aim("policy")


def test_no_skill_is_found_in_a_random_walk() -> None:
    walked = walk(9, 5_000)
    times = walked.ts[0] + np.arange(walked.rows) * HOUR_NS
    hourly = walked._replace(ts=times, ts_open=times - HOUR_NS)
    assert not learnt_on(hourly).has_skill


def test_the_export_says_what_the_network_says() -> None:
    chance = np.random.default_rng(3)
    network = Network(np.array([1.0, -2.0]), np.array([0.5, 3.0]), 4)
    weights = chance.normal(size=network.size)
    rows = chance.normal(size=(50, 2))
    said = predictor("onnx", network.exported(weights, "n"))(rows)
    assert said == pytest.approx(network.predict(weights)(rows), abs=1e-12)


def test_too_little_to_learn_from_is_said() -> None:
    with pytest.raises(DataError, match="too few to learn a policy from"):
        learnt_on(waves(400))
    with pytest.raises(DataError, match="days are too few to judge"):
        learnt_on(walk(1, 3_000))
