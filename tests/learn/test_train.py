"""M2, M7, M8: training gives the same bytes, and does not find skill where there is none."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from onefold.adapters.models import ModelStore
from onefold.domain.columns import Bars
from onefold.domain.errors import ConfigError, DataError
from onefold.learn.card import card_of, html, markdown
from onefold.learn.config import TrainingConfig
from onefold.learn.evidence import LEVEL, evidence, is_skill
from onefold.learn.labels import Labels
from onefold.learn.sample import Sample, sample
from onefold.learn.train import Trained, _fitting, calibrated, train
from onefold.learn.weights import attribution
from onefold.signals import strategy
from onefold.signals.model import Model
from onefold.signals.runtimes import predictor

from .test_labels import plan_of, walk

FEATURES = ("rsi(5)", "ibs()", "close / sma(10) - 1", "volatility(10)")
EXITS = {"stop": 0.02, "take": 0.02, "max_bars": 6}
SEEDS = int(os.environ.get("ONEFOLD_TEST_NULLS", "24"))
"""Random walks and shuffles that are trained on; the study of the documents has 200."""


def config_of(**facts: Any) -> TrainingConfig:
    given: dict[str, Any] = {"strategy": "s0", "features": FEATURES, "trees": 30, "leaf_min": 10}
    return TrainingConfig(**{**given, **facts})


def sample_of(bars: Bars, **facts: Any) -> Sample:
    return sample(plan_of(strategy("ibs_a"), exits=EXITS), {"ABC": bars}, config_of(**facts))


@pytest.fixture(scope="module")
def trained() -> Trained:
    found = sample_of(walk(4, 2_000))
    return train("dips", found, config_of(), target="a test", created_on="2026-11-20")


def test_the_same_inputs_give_the_same_bytes(trained: Trained) -> None:
    again = train(
        "dips", sample_of(walk(4, 2_000)), config_of(), target="a test", created_on="2026-11-20"
    )
    assert again.artifact == trained.artifact
    assert msgspec.json.encode(again.sidecar) == msgspec.json.encode(trained.sidecar)
    assert markdown(card_of(again)) == markdown(card_of(trained))
    other = train(
        "dips", trained.sample, config_of(rate=0.1), target="a test", created_on="2026-11-20"
    )
    assert other.artifact != trained.artifact


def test_a_trained_model_proves_itself_in_the_store(trained: Trained, tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    added = store.add(trained.sidecar, trained.artifact)
    assert store.listed()[0].state == "challenger"
    model = store.get(f"dips@{added.version}")
    assert model.sidecar.feature_names == list(trained.sample.names)
    assert model.sidecar.trained_to == trained.sample.spans.end.max()
    assert model.sidecar.expires_on > "1970"
    assert len(model.sidecar.golden.outputs) == 32
    together = model.scores(trained.sample.features)
    alone = [model.scores(row[None])[0] for row in trained.sample.features]
    np.testing.assert_array_equal(together, alone)


def test_rows_hold_what_was_known_and_labels_what_was_not(trained: Trained) -> None:
    found = trained.sample
    assert (np.diff(found.spans.start) >= 0).all()
    assert (found.spans.end > found.spans.start).all()
    bars = walk(4, 2_000)
    row = int(np.searchsorted(bars.ts, found.spans.start[100]))
    before = sample_of(bars.slice(0, row + 60))
    at = int(np.searchsorted(before.spans.start, found.spans.start[100]))
    np.testing.assert_array_equal(before.features[at], found.features[100])
    assert (before.won[at], before.gains[at]) == (found.won[100], found.gains[100])


def test_until_leaves_out_what_came_later() -> None:
    bars = walk(4, 4_000)
    day = np.datetime64(int(bars.ts[2_500]), "ns").astype("M8[D]").item()
    found = sample_of(bars, until=day)
    assert found.spans.end.max() <= np.datetime64(day, "ns").astype(np.int64)


def with_skill(found: Sample, seed: int = 1) -> Sample:
    """Return a sample whose outcomes follow from its first feature, but for noise."""
    chance = np.random.default_rng(seed)
    said = found.features[:, 0] + chance.normal(0, found.features[:, 0].std(), found.rows)
    return replace(found, won=(said > np.median(said)).astype(np.int8))


def test_skill_is_found_and_its_probabilities_are_right(trained: Trained) -> None:
    found = with_skill(trained.sample)
    shown = evidence(found, config_of(), _fitting(config_of()))
    assert shown.has_skill
    assert min(shown.fold_areas) > 0.6
    assert len(shown.path_areas) == 5
    points = calibrated(shown.scores, found)
    said = np.interp(shown.scores, points.x, points.y)
    high, low = said > 0.6, said < 0.4
    assert found.won[high].mean() == pytest.approx(said[high].mean(), abs=0.05)
    assert found.won[low].mean() == pytest.approx(said[low].mean(), abs=0.05)
    assert points.y == sorted(points.y)


def test_no_skill_is_found_in_random_walks_and_shuffled_labels() -> None:
    """At most as often as the level says, over many seeds; both kinds together."""
    quick = config_of(trees=20)
    found = []
    for seed in range(SEEDS):
        walked = sample_of(walk(1_000 + seed, 700))
        shuffled = with_skill(walked, seed)
        chance = np.random.default_rng(seed)
        shuffled = replace(shuffled, won=chance.permutation(shuffled.won))
        found += [evidence(one, quick, _fitting(quick)).has_skill for one in (walked, shuffled)]
    rate = float(np.mean(found))
    print(f"skill was claimed in {sum(found)} of {len(found)} samples without any: {rate:.1%}")
    allowed = LEVEL * len(found) + 3 * (LEVEL * len(found)) ** 0.5
    assert sum(found) <= allowed


def test_the_best_of_many_needs_more_to_be_called_skill(trained: Trained) -> None:
    """Each other model that was trained under the name before is a trial; the same one is none."""
    found = with_skill(trained.sample, 5)
    given = {"target": "a test", "created_on": "2026-11-20"}
    first = train("dips", found, config_of(), **given)
    same = train("dips", found, config_of(), tried={first.sidecar.sha256}, **given)
    assert same.sidecar == first.sidecar
    many = train("dips", found, config_of(), tried={str(n) for n in range(9)}, **given)
    m = many.evidence.metrics
    assert (m["trials"], m["p_value"]) == (10, first.evidence.metrics["p_value"])
    assert m["deflated_sharpe"] <= first.evidence.metrics["deflated_sharpe"]  # type: ignore[operator]
    assert "the best of 10 counted" in markdown(card_of(many))
    assert is_skill({"p_value": 0.01, "trials": 2.0})
    assert not is_skill({"p_value": 0.01, "trials": 3.0})


def test_events_can_weigh_what_their_bars_returned() -> None:
    bars = walk(4, 1_000)
    plain, shares = sample_of(bars), sample_of(bars, weights="attribution")
    labels = Labels(
        np.searchsorted(bars.ts, plain.spans.start),
        np.searchsorted(bars.ts, plain.spans.end),
        plain.won,
        plain.gains,
        plain.won,
    )
    assert shares.weights == pytest.approx(plain.weights * attribution(labels, bars.close))


def test_a_constant_score_is_no_skill(trained: Trained) -> None:
    flat = evidence(trained.sample, config_of(), lambda *_: lambda rows: np.full(len(rows), 0.5))
    assert not flat.has_skill
    assert flat.metrics["auc"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"features": ("close / close",)}, r"feature \(close/close\) is the same at every event"),
        ({"features": ("rsi(5)", "hour() - hour()")}, "the same at every event"),
        ({"folds": 50}, "events are too few to learn from: 1000 are needed"),
    ],
)
def test_what_cannot_be_learnt_from_is_said(facts: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, DataError), match=said):
        sample_of(walk(4, 600), **facts)


def test_ten_rows_and_one_class_are_refused() -> None:
    with pytest.raises(DataError, match="0 events are too few"):
        sample_of(walk(4, 10))
    bars = walk(4, 1_000)
    up = bars._replace(close=np.linspace(100, 200, bars.rows))
    with pytest.raises(DataError, match=r"all .* events are won: there is nothing to tell apart"):
        sample_of(up, label="direction", horizon=5, features=("rsi(5)", "ibs()"))


def test_bars_with_holes_give_fewer_events() -> None:
    bars = walk(4, 1_200)
    volume = bars.volume.copy()
    volume[:] = 1.0
    volume[300:400] = np.nan
    holes = bars._replace(volume=volume)
    found = sample_of(holes, features=("ibs()", "volume + rsi(5)"))
    whole = sample_of(holes, features=("ibs()", "rsi(5)"))
    assert 0 < whole.rows - found.rows <= 100
    assert np.isfinite(found.features).all()


def test_a_feature_that_is_none_is_refused_with_the_configuration() -> None:
    for wrong, said in ((("rsy(5)",), "did you mean 'rsi'"), (("ibs()", "ibs()"), "there twice")):
        with pytest.raises(ValueError, match=said):
            config_of(features=wrong)


def test_a_card_says_what_there_is(trained: Trained) -> None:
    text, page = markdown(card_of(trained)), html(card_of(trained))
    for said in ("dips@0#", "a test", "AUC, purged folds", "`close / sma(10) - 1`"):
        assert said in text
    assert "no skill shown" in page
    assert page.count('class="plotly-graph-div"') == 5
    assert "http" not in page.partition("<script>")[0].replace("http-equiv", "")


def test_the_model_can_be_taken_apart_and_put_together(trained: Trained) -> None:
    model = Model(trained.sidecar, predictor("onnx", trained.artifact))
    scores = model.scores(trained.sample.features)
    assert ((scores >= 0) & (scores <= 1)).all()
    quantiles = trained.sidecar.quantiles
    assert quantiles == sorted(quantiles)
    assert len(trained.sidecar.feature_quantiles) == len(FEATURES)
