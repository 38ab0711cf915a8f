"""S1, S3, M1, M3: strategies with a model, and models of every runtime, in both forms."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

import some_models
from onefold.domain.errors import ModelError
from onefold.signals import (
    FLAT,
    HOLD,
    LONG,
    SHORT,
    STRATEGIES,
    check_feature,
    check_strategy,
    raise_for,
    strategy,
)
from onefold.signals.blend import blended
from onefold.signals.learned import RULES
from onefold.signals.model import Calibration, Golden, Model
from onefold.signals.runtimes import predictor

from .markets import market


def model_of(runtime: str = "onnx", **facts: Any) -> Model:
    artifact = some_models.artifact_of(runtime)
    sidecar = some_models.sidecar_of(artifact, runtime, **facts)
    return Model(sidecar, predictor(sidecar.runtime, artifact))


class Store:
    """A store with given models by name."""

    def __init__(self, **models: Model) -> None:
        self.models = models

    def get(self, name: str) -> Model:
        return self.models[name]


class Says(Model):
    """A model that says of every row what a test wants."""

    def __init__(self, scores: Any) -> None:
        super().__init__(model_of().sidecar, scores)


@pytest.mark.parametrize("runtime", some_models.RUNTIMES)
def test_a_score_is_a_causal_feature_with_two_forms(runtime: str) -> None:
    model = model_of(runtime)
    model.prove()
    assert check_feature(model.score, market("random", rows=300), seed=3) == []


@pytest.mark.parametrize("kind", ["random", "flat", "holes", "ticks"])
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ml_momentum", {"bars": 10, "short": True}),
        ("ml_mean_reversion", {"short": True, "enter": 1.5}),
        ("ml_breakout", {"bars": 5}),
        ("ml_ibs", {"atr": 5}),
        ("ml_direction", {"enter": 0.6, "leave": 0.55, "short": True}),
        ("ensemble", {"members": [{"kind": "ml_ibs", "model": "dips"}, {"kind": "crossover"}]}),
    ],
)
def test_every_learned_strategy_conforms(name: str, parameters: dict[str, Any], kind: str) -> None:
    model = {} if name == "ensemble" else {"model": "dips"}
    made = strategy(name, models=Store(dips=model_of()), **model, **parameters)
    raise_for(check_strategy(made, market(kind, rows=400), seed=5))


def test_a_filter_keeps_the_rules_sides_and_gives_its_confidence() -> None:
    bars = market("random", rows=400)
    model = model_of()
    rule = strategy("ibs_a").batch(bars)
    filtered = strategy("ml_ibs", models=Store(dips=model), model="dips").batch(bars)
    score = model.score.batch(bars)
    known = np.isfinite(score)
    assert known.sum() > 300
    np.testing.assert_array_equal(filtered.side[known], rule.side[known])
    np.testing.assert_array_equal(filtered.confidence[known], score[known])
    np.testing.assert_array_equal(filtered.score, score)
    # Where nobody knows the score, what the rule leaves is left, and nothing is entered.
    unknown = ~known & (rule.unready == 0)
    assert set(rule.side[unknown].tolist()) >= {int(LONG), int(FLAT)}
    leaves = rule.side[unknown] == FLAT
    assert (filtered.side[unknown] == np.where(leaves, FLAT, HOLD)).all()


@pytest.mark.parametrize("kind", RULES)
def test_a_filter_has_the_fields_and_defaults_of_its_rule(kind: str) -> None:
    filtered, rule = STRATEGIES[kind].model_fields, STRATEGIES[RULES[kind]].model_fields
    assert filtered.keys() - rule.keys() == {"model"}
    for name, field in rule.items():
        assert (filtered[name].default, filtered[name].metadata) == (field.default, field.metadata)


def test_direction_has_a_band_in_which_it_holds() -> None:
    scores = np.array([0.7, 0.58, 0.52, 0.45, 0.3])
    bars = market("random", rows=40)

    def said(rows: Any) -> Any:
        return np.resize(scores, len(rows))

    plain = strategy("ml_direction", models=Store(m=Says(said)), model="m", enter=0.6)
    start = plain.warm_up
    sides = plain.batch(bars).side[start : start + 5]
    assert sides.tolist() == [LONG, HOLD, HOLD, FLAT, FLAT]
    both = strategy(
        "ml_direction", models=Store(m=Says(said)), model="m", enter=0.6, leave=0.55, short=True
    ).batch(bars)
    assert both.side[start : start + 5].tolist() == [LONG, HOLD, FLAT, FLAT, SHORT]
    assert both.confidence[start : start + 5] == pytest.approx([0.7, 0.58, 0.52, 0.45, 0.7])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.1])
def test_what_is_no_probability_is_unknown(bad: float) -> None:
    model = Says(lambda rows: np.full(len(rows), bad))
    assert np.isnan(model.scores(some_models.rows()[:3])).all()
    made = strategy("ml_direction", models=Store(m=model), model="m")
    assert (made.batch(market("random", rows=60)).side == HOLD).all()


def test_a_model_that_fails_says_so() -> None:
    def fails(_rows: Any) -> Any:
        raise RuntimeError("no memory")

    with pytest.raises(ModelError, match=r"dips@0#\w+ failed: RuntimeError: no memory"):
        Says(fails).scores(some_models.rows()[:1])
    with pytest.raises(ModelError, match=r"gave \(1,\) numbers for 3 rows"):
        Model(
            msgspec.structs.replace(model_of().sidecar, by_row=False), lambda _: np.zeros(1)
        ).scores(some_models.rows()[:3])


def test_features_must_be_those_of_the_training() -> None:
    artifact = some_models.artifact_of("onnx")
    good = some_models.sidecar_of(artifact)
    swapped = msgspec.structs.replace(
        good, features=[good.features[1], good.features[0], good.features[2]]
    )
    with pytest.raises(ModelError, match=r"feature 0 is ibs here, and was rsi\(close,5\)"):
        Model(swapped, None)
    fewer = msgspec.structs.replace(good, features=good.features[:2])
    with pytest.raises(ModelError, match="not those that it was trained on"):
        Model(fewer, None)
    unknown = msgspec.structs.replace(good, features=["rsi(5)", "ibs()", "nothing(1)"])
    with pytest.raises(ModelError, match="there is no feature 'nothing'"):
        Model(unknown, None)


def test_golden_rows_find_another_model_and_one_that_depends_on_the_company() -> None:
    artifact = some_models.artifact_of("onnx")
    good = some_models.sidecar_of(artifact)
    wrong = Golden(good.golden.inputs, [*good.golden.outputs[:-1], good.golden.outputs[-1] + 1e-5])
    with pytest.raises(ModelError, match="golden row 19 scores"):
        model_of(golden=wrong).prove()
    none = Golden([], [])
    with pytest.raises(ModelError, match="no golden rows"):
        model_of(golden=none).prove()

    def depends(rows: Any) -> Any:
        return np.full(len(rows), 0.5 + 1e-9 * len(rows))

    with pytest.raises(ModelError, match="depend on how many rows"):
        Says(depends).prove()


def test_a_calibration_is_a_line_through_points() -> None:
    points = Calibration([0.2, 0.4, 0.8], [0.1, 0.5, 0.6])
    sidecar = msgspec.structs.replace(model_of().sidecar, calibration=points)
    raw = np.array([0.0, 0.2, 0.3, 0.6, 0.9, np.nan])
    model = Model(sidecar, lambda _: raw)
    assert model.scores(np.zeros((6, 3)))[:5] == pytest.approx([0.1, 0.1, 0.3, 0.55, 0.6])
    assert np.isnan(model.scores(np.zeros((6, 3)))[5])


@pytest.mark.parametrize(
    ("method", "weights", "expected"),
    [
        ("mean", [], [0.4, 0.6]),
        ("weighted", [3.0, 1.0], [0.3, 0.7]),
        ("rank", [], [0.45833, 0.66667]),
        ("stacked", [1.0, -1.0], [0.4013, 0.5987]),
    ],
)
def test_blends(method: str, weights: list[float], expected: list[float]) -> None:
    base = model_of().sidecar
    spread = msgspec.structs.replace(base, quantiles=[0.0, 0.4, 1.0])
    first = Model(spread, lambda rows: np.resize([0.2, 0.8], len(rows)))
    second = Model(spread, lambda rows: np.resize([0.6, 0.4], len(rows)))
    sidecar, artifact = some_models.blend_of(
        expected, members=["a", "b"], method=method, weights=weights
    )
    blend = blended(sidecar, artifact, Store(a=first, b=second))
    assert blend.scores(some_models.rows()[:2]) == pytest.approx(expected, abs=1e-3)


def test_a_member_with_other_features_is_left_out_and_counted() -> None:
    """M5: it has never seen such a row, so it is not averaged in."""
    good = Says(lambda rows: np.full(len(rows), 0.7))
    names = ["rsi(close,5)", "ibs"]
    other = Model(
        some_models.sidecar_of(
            b"", name="small", features=("rsi(5)", "ibs()"), golden=Golden([[0, 0]], [0.1])
        ),
        lambda rows: np.full(len(rows), 0.1),
    )
    assert other.sidecar.feature_names == names
    sidecar, artifact = some_models.blend_of([0.7], members=["good", "small"])
    blend = blended(sidecar, artifact, Store(good=good, small=other))
    assert blend.scores(some_models.rows()[:1]) == pytest.approx([0.7])
    assert blend.skipped == {other.identity: "it was trained on 2 features instead of 3"}
    with pytest.raises(ModelError, match="none of its members"):
        blended(sidecar, artifact, Store(good=other, small=other))
