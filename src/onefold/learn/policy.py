"""A policy learnt by reinforcement: a small network that is rewarded for what its trades make.

It is not told what to predict. It trades in the simulated venue, through the same fold that will
trade it, and its weights move to where the reward is higher (evolution strategies: Salimans and
others, Evolution strategies as a scalable alternative to reinforcement learning, 2017). What it
learnt on the first part of the data is judged on the rest, and nothing else of it is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from onnx import TensorProto, helper

from onefold.domain.columns import Bars, Floats
from onefold.domain.errors import DataError
from onefold.learn.config import TrainingConfig
from onefold.learn.evidence import is_skill
from onefold.learn.sidecars import Numbered, attempt_of, drafted, hash_of, proved, uncounted
from onefold.signals.expression import feature_of
from onefold.signals.feature import FeatureSet
from onefold.signals.model import Model, Models, Sidecar
from onefold.signals.runtimes import predictor
from onefold.sim.backtest import Run, run
from onefold.sim.market import Market
from onefold.sim.plan import Plan
from onefold.views.equity import Daily, daily
from onefold.views.statistics import p_value, probabilistic_sharpe, sharpe

TRAINED_SHARE = 0.7
"""Share of the time that is learnt from; the rest judges."""
NOISE, STEP = 0.3, 0.3
MEMO = 64
DAYS_MIN = 60
TRADED_MIN = 30
"""Unseen days with a gain or a loss from which a policy is judged: a lucky trade is no skill."""
LIBRARIES = ("onnx", "onnxruntime", "numpy")
OPSET, IR_VERSION = 17, 9


class Network(NamedTuple):
    """A hidden layer of tanh and one output, on features that are standardised first."""

    mean: Floats
    spread: Floats
    hidden: int

    @property
    def size(self) -> int:
        """Return the number of weights."""
        return (len(self.mean) + 2) * self.hidden + 1

    def parts(self, weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return the weights as both layers and their offsets."""
        columns, hidden = len(self.mean), self.hidden
        first = weights[: columns * hidden].reshape(columns, hidden)
        rest = weights[columns * hidden :]
        return first, rest[:hidden], rest[hidden : 2 * hidden], rest[2 * hidden :]

    def predict(self, weights: Floats) -> Callable[[Floats], Floats]:
        """Return the function that scores rows."""
        first, offsets, second, last = self.parts(weights)

        def score(rows: Floats) -> Floats:
            layer = np.tanh((rows - self.mean) / self.spread @ first + offsets)
            return np.asarray(1.0 / (1.0 + np.exp(-(layer @ second + last[0]))))

        return score

    def exported(self, weights: Floats, name: str) -> bytes:
        """Return the network as ONNX, with the digits that it was trained with."""
        first, offsets, second, last = self.parts(weights)
        tensors = {
            "mean": self.mean, "spread": self.spread, "first": first, "offsets": offsets,
            "second": second.reshape(-1, 1), "last": last,
        }  # fmt: skip
        kind = TensorProto.DOUBLE
        steps = [
            ("Sub", ("features", "mean"), "centred"),
            ("Div", ("centred", "spread"), "scaled"),
            ("MatMul", ("scaled", "first"), "summed"),
            ("Add", ("summed", "offsets"), "drive"),
            ("Tanh", ("drive",), "layer"),
            ("MatMul", ("layer", "second"), "joined"),
            ("Add", ("joined", "last"), "logit"),
            ("Sigmoid", ("logit",), "probability"),
        ]
        graph = helper.make_graph(
            [helper.make_node(op, inputs, [output]) for op, inputs, output in steps],
            name,
            [helper.make_tensor_value_info("features", kind, [None, len(self.mean)])],
            [helper.make_tensor_value_info("probability", kind, [None, 1])],
            [helper.make_tensor(n, kind, t.shape, t.ravel()) for n, t in tensors.items()],
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
        return bytes(model.SerializeToString(deterministic=True))


@dataclass(frozen=True)
class Learnt:
    """A policy with its artifact, and what it made in both parts of the time."""

    sidecar: Sidecar
    artifact: bytes
    seen: Daily
    unseen: Daily
    symbols: tuple[str, ...]

    @property
    def has_skill(self) -> bool:
        """Return whether what it made on unseen data is more than luck."""
        return is_skill(self.sidecar.metrics)


def learn(
    name: str,
    plan_with: Callable[[Models], Plan],
    bars: Mapping[str, Bars],
    config: TrainingConfig,
    *,
    created_on: str,
    interval_ns: int = 0,
    numbered: Numbered = uncounted,
) -> Learnt:
    """Return a policy that was rewarded with the Sharpe ratio of its account.

    `plan_with` makes the plan of the strategy that follows it from a store that has it; the others
    are as in `train`. Raises `DataError` where there is too little to learn from.
    """
    first, last = (f(int(c.ts[i]) for c in bars.values()) for f, i in ((min, 0), (max, -1)))
    cut = int(first + (last - first) * TRAINED_SHARE)
    seen = {s: c.slice(0, int(np.searchsorted(c.ts, cut, side="right"))) for s, c in bars.items()}
    unseen = {s: c.slice(seen[s].rows, c.rows) for s, c in bars.items()}
    network = _network(seen, config)
    draft = drafted(
        name,
        config,
        target="nothing: a policy that was rewarded with the Sharpe ratio of its account",
        created_on=created_on,
        # What judged it has been looked at too: no result before the end of the data is unseen.
        span=(first, last),
        interval_ns=interval_ns,
        data_hash=hash_of(bars),
        libraries=LIBRARIES,
    )
    gym = _Gym(plan_with, draft, seen)
    artifact = network.exported(_evolved(network, gym, config), name)
    predict = predictor("onnx", artifact)
    known, tested = gym.made(predict), _Gym(plan_with, draft, unseen).made(predict)
    if len(tested.returns) < DAYS_MIN:
        raise DataError(f"{len(tested.returns)} unseen days are too few to judge a policy by")
    attempt = attempt_of(artifact, config, hash_of(unseen), tested.returns)
    metrics = _metrics(known, tested, numbered(attempt))
    shown = _rows(seen, config)
    sidecar = proved(draft, artifact, predict, shown, by_row=True, metrics=metrics)
    return Learnt(sidecar, artifact, known, tested, tuple(bars))


class _Gym:
    """Lets policies trade over the same bars, and tells what they made."""

    def __init__(
        self, plan_with: Callable[[Models], Plan], draft: Sidecar, bars: Mapping[str, Bars]
    ) -> None:
        self._plan_with, self._draft, self._bars = plan_with, draft, bars
        self._tries = 0
        self._market: Market | None = None

    def get(self, _name: str) -> Model:
        """Return the policy that trades now, as a store of one model."""
        return self._model

    def made(self, predict: Callable[[Floats], Floats]) -> Daily:
        """Return what a policy makes by day."""
        done = self.run(predict)
        return daily(done.ts, done.equity, self._cash)

    def run(self, predict: Callable[[Floats], Floats]) -> Run:
        """Return a policy's run; each has a name of its own, since scores are remembered."""
        self._tries += 1
        numbered = msgspec.structs.replace(self._draft, version=self._tries)
        self._model = Model(numbered, predict)
        plan = self._plan_with(self)
        self._cash = plan.account.cash
        if self._market is None:
            self._market = Market(plan.names.symbols, self._bars, memo=MEMO)
        return run(plan, self._market, trace=False)

    def reward(self, predict: Callable[[Floats], Floats]) -> float:
        """Return the Sharpe ratio by day; a policy that does nothing has none."""
        return sharpe(np.nan_to_num(self.made(predict).returns))


def _rows(bars: Mapping[str, Bars], config: TrainingConfig) -> Floats:
    """Return the features of all bars at which all are known."""
    features = [feature_of(text) for text in config.features]
    parts = []
    for columns in bars.values():
        values = FeatureSet(features).batch(columns)
        parts.append(np.column_stack([values[f.name] for f in features]))
    matrix = np.concatenate(parts)
    return matrix[np.isfinite(matrix).all(axis=1)]


def _network(bars: Mapping[str, Bars], config: TrainingConfig) -> Network:
    rows = _rows(bars, config)
    if len(rows) < 10 * DAYS_MIN:
        raise DataError(f"{len(rows)} bars with all features are too few to learn a policy from")
    spread = rows.std(axis=0)
    if not spread.all():
        flat = config.features[int(np.argmin(spread))]
        raise DataError(f"feature {flat} is the same at every bar: leave it out")
    return Network(rows.mean(axis=0), spread, config.hidden)


def _evolved(network: Network, gym: _Gym, config: TrainingConfig) -> Floats:
    """Return weights that have moved to where the reward is higher."""
    chance = np.random.default_rng(config.seed)
    weights = chance.normal(0.0, 0.1, network.size)
    best, best_reward = weights, gym.reward(network.predict(weights))
    for _ in range(config.generations):
        noise = chance.normal(size=(config.population, network.size))
        tried = np.concatenate([noise, -noise])
        rewards = np.array([gym.reward(network.predict(weights + NOISE * one)) for one in tried])
        ranks = rewards.argsort(kind="stable").argsort(kind="stable") / (len(tried) - 1.0) - 0.5
        weights = weights + STEP * (ranks @ tried) / (len(tried) * NOISE)
        reward = gym.reward(network.predict(weights))
        if reward > best_reward:
            best, best_reward = weights, reward
    return best


def _metrics(seen: Daily, unseen: Daily, trials: int) -> dict[str, float | None]:
    """Return what both parts are worth; None for one in which it never traded.

    The p-value is None, so no skill is shown, where too few unseen days had a gain or a loss.
    """
    known, tested = np.nan_to_num(seen.returns), np.nan_to_num(unseen.returns)
    has_traded = bool(tested.any())
    probable = probabilistic_sharpe(tested) if has_traded else None
    return {
        "sharpe_seen": sharpe(known) * seen.per_year**0.5 if known.any() else None,
        "sharpe_unseen": sharpe(tested) * unseen.per_year**0.5 if has_traded else None,
        "probabilistic_sharpe": probable,
        "p_value": p_value(tested) if np.count_nonzero(tested) >= TRADED_MIN else None,
        "trials": float(trials),
        "days_seen": float(len(known)),
        "days_unseen": float(len(tested)),
        "days_traded": float(np.count_nonzero(tested)),
    }
