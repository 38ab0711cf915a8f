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
from onefold.signals.learned import RULES, misused
from onefold.signals.model import Calibration, Golden, Model, proof_rows
from onefold.signals.model import sidecar_of as read_sidecar
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
    few = Golden(good.golden.inputs[:7], good.golden.outputs[:7])
    for too_few in (Golden([], []), few):
        with pytest.raises(
            ModelError, match=r"golden rows of its 3 features, and needs at least 8"
        ):
            model_of(golden=too_few).prove()

    def depends(rows: Any) -> Any:
        return np.full(len(rows), 0.5 + 1e-9 * len(rows))

    with pytest.raises(ModelError, match="depend on how many rows"):
        Says(depends).prove()


def outside(seen: Any, answer: Any) -> Any:
    """Return what gives the golden scores for the golden rows, and for others what is wanted."""
    golden = model_of().sidecar.golden
    known = dict(zip(map(tuple, golden.inputs), golden.outputs, strict=True))

    def predict(rows: Any) -> Any:
        seen.append(len(rows))
        return np.array([known.get(tuple(row), answer(rows)) for row in rows])

    return predict


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("chance", "scores the same rows in two ways"),
        ("company", "depend on how many rows"),
        ("fails", "failed: KeyError"),
    ],
)
def test_a_proof_asks_more_than_the_golden_rows(answer: str, said: str) -> None:
    """What agrees on golden rows may still throw dice, look at its company, or fail elsewhere."""
    seen: list[int] = []
    answers = {
        "chance": lambda _rows: len(seen) % 2 / 2.0,
        "company": lambda rows: 0.5 + 1e-9 * len(rows),
        "fails": lambda _rows: {}[1],
    }
    sidecar = msgspec.structs.replace(model_of().sidecar, by_row=False)
    with pytest.raises(ModelError, match=said):
        Model(sidecar, outside(seen, answers[answer])).prove()
    Model(sidecar, outside(seen, lambda _rows: 0.5)).prove()


def test_proof_rows_lie_around_the_golden_ones_and_are_always_the_same() -> None:
    sidecar = model_of().sidecar
    rows, golden = proof_rows(sidecar), np.array(sidecar.golden.inputs)
    np.testing.assert_array_equal(rows, proof_rows(sidecar))
    assert len(np.unique(rows, axis=0)) == len(rows) == 128
    for column, known in zip(rows.T, golden.T, strict=True):
        assert column.min() < known.min()
        assert column.max() > known.max()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"golden": Golden([[1.0, 2.0, 3.0], [1.0]], [0.5, 0.5])}, "row 1 has 1 numbers"),
        ({"golden": Golden([[1.0, 2.0, 3.0]], [0.5, 0.5])}, "1 rows, and 2 scores"),
        ({"calibration": Calibration([0.0, 1.0], [0.0])}, "2 x and 1 y make no line"),
        ({"calibration": Calibration([], [])}, "0 x and 0 y make no line"),
        ({"calibration": Calibration([1.0, 0.0], [0.0, 1.0])}, "x must ascend"),
        ({"calibration": Calibration([0.0, 1.0], [0.0, 2.0])}, "y must be probabilities"),
        ({"quantiles": [0.0, 1.0, 0.5]}, "quantiles must not descend"),
        ({"trained_to": 1 << 63}, "trained_to: .* is no time"),
        *(
            ({"expires_on": day}, "expires_on: .* is no date, YYYY-MM-DD")
            for day in ("20260101", "2026-W01-1", "27-01-2020", "never", "2026-02-30", "2026-1-1")
        ),
    ],
)
def test_a_sidecar_that_cannot_be_is_refused(facts: dict[str, Any], said: str) -> None:
    raw = msgspec.json.encode(msgspec.structs.replace(model_of().sidecar, **facts))
    with pytest.raises(ModelError, match=rf"^here: .*{said}"):
        read_sidecar(raw, "here")


@pytest.mark.parametrize(
    "raw", [b'{"name": "\xff"}', b"[" * 100_000, b'{"metrics":' + b"[" * 9_999]
)
def test_what_is_no_sidecar_is_refused(raw: bytes) -> None:
    with pytest.raises(ModelError, match=r"^here"):
        read_sidecar(raw, "here")


@pytest.mark.parametrize(
    "text",
    ["close * " + "9" * 400, "rsi(2147483648)", "rsi(9999999999999999999)", "highest(10000000000)"],
)
def test_a_feature_with_an_enormous_number_is_refused(text: str) -> None:
    features = [text, *model_of().sidecar.features[1:]]
    with pytest.raises(ModelError, match=r"dips@0#\w+: feature "):
        Model(msgspec.structs.replace(model_of().sidecar, features=features), None)


def test_two_sidecars_of_one_artifact_are_two_models() -> None:
    """What it says of itself decides as its bytes do: a calibration turns every score around."""
    plain, turned = model_of(), model_of(calibration=Calibration([0.0, 1.0], [1.0, 1.0]))
    assert plain.sidecar.sha256 == turned.sidecar.sha256
    assert plain.identity != turned.identity
    assert plain.hash != turned.hash


def aimed(text: str, **facts: Any) -> Model:
    return Model(msgspec.structs.replace(model_of().sidecar, target=text, **facts), halves)


def halves(rows: Any) -> Any:
    return np.full(len(rows), 0.5)


@pytest.mark.parametrize(
    ("model", "serves"),
    [
        (aimed("", label="trade", rule="ibs_a"), ["ml_ibs"]),
        (aimed("", label="direction"), ["ml_direction"]),
        (aimed("", label="policy"), ["ml_direction"]),
        (aimed("whether a trade of ibs_a (its defaults) pays, after costs"), ["ml_ibs"]),
        (aimed("whether a trade of momentum (bars 9) pays, after costs"), ["ml_momentum"]),
        (aimed("whether the close is higher within 5 bars"), ["ml_direction"]),
        (aimed("whether the strongest trend rises within 5 bars"), ["ml_direction"]),
        (aimed("something else"), ["ml_ibs", "ml_momentum", "ml_direction"]),
    ],
)
def test_a_model_decides_only_what_it_predicts(model: Model, serves: list[str]) -> None:
    """Meta-labels of one rule say nothing of another, and are no probability of a rise."""
    store = Store(dips=model)
    for kind in ("ml_ibs", "ml_momentum", "ml_direction"):
        made = strategy(kind, models=store, model="dips")
        assert (misused(made) == "") == (kind in serves)
        both = strategy("ensemble", models=store, members=[{"kind": kind, "model": "dips"}])
        assert (misused(both) == "") == (kind in serves)


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
