"""M2, M7, M8: training gives the same bytes, and does not find skill where there is none."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

from onefold.adapters.models import ModelStore
from onefold.domain.columns import Bars
from onefold.domain.errors import ConfigError, DataError
from onefold.learn.card import card_of, html, markdown
from onefold.learn.config import TrainingConfig
from onefold.learn.evidence import LEVEL, evidence, is_skill
from onefold.learn.labels import Labels
from onefold.learn.sample import Sample, sample
from onefold.learn.sidecars import attempt_of, serialised
from onefold.learn.train import (
    Trained,
    _fitting,
    brier,
    calibrated,
    exported,
    fit_booster,
    train,
)
from onefold.learn.weights import attribution
from onefold.signals import strategy
from onefold.signals.model import Aim, Model
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
    return train("dips", found, config_of(), target="a test", rule="ibs_a", created_on="2026-11-20")


def test_the_same_inputs_give_the_same_bytes(trained: Trained) -> None:
    again = train(
        "dips",
        sample_of(walk(4, 2_000)),
        config_of(),
        target="a test",
        rule="ibs_a",
        created_on="2026-11-20",
    )
    assert again.artifact == trained.artifact
    assert msgspec.json.encode(again.sidecar) == msgspec.json.encode(trained.sidecar)
    assert markdown(card_of(again)) == markdown(card_of(trained))
    other = train(
        "dips",
        trained.sample,
        config_of(rate=0.1),
        target="a test",
        rule="ibs_a",
        created_on="2026-11-20",
    )
    assert other.artifact != trained.artifact


def test_a_sidecar_says_what_was_taught_in_fields_that_decide(trained: Trained) -> None:
    assert (trained.sidecar.label, trained.sidecar.rule) == ("trade", "ibs_a")
    facts = {"label": "direction", "horizon": 5}
    found, given = sample_of(walk(4, 2_000), **facts), config_of(**facts)
    updown = train("up", found, given, target="a test", rule="", created_on="2026-11-20")
    assert updown.sidecar.aim == Aim("direction")


def test_the_order_of_operator_sets_does_not_matter() -> None:
    """A converter keeps them in a set: the same training gave other bytes in another process."""
    graph = onnx.helper.make_graph([], "none", [], [])
    sets = [onnx.helper.make_opsetid("ai.onnx.ml", 3), onnx.helper.make_opsetid("", 15)]
    made = [onnx.helper.make_model(graph, opset_imports=order) for order in (sets, sets[::-1])]
    first, second = map(serialised, made)
    assert first == second
    assert [one.domain for one in onnx.load_from_string(first).opset_import] == ["", "ai.onnx.ml"]


def test_values_that_are_neighbours_are_told_apart_as_in_training() -> None:
    """A threshold between two neighbouring numbers of 32 bits must not become the larger one."""
    chance = np.random.default_rng(3)
    steps = np.float32(0.01) + np.arange(400, dtype=np.float32) * np.spacing(np.float32(0.01))
    rows = chance.choice(steps, (4_000, 2)).astype(np.float64)
    won = (chance.random(4_000) < 0.5).astype(np.int8)
    one = config_of(leaf_min=1, leaves=200)
    booster = fit_booster(rows, won, np.ones(4_000), one)
    scores = np.asarray(predictor("onnx", exported(booster, "x", 2))(rows), np.float64)
    np.testing.assert_allclose(scores, booster.predict(rows), atol=1e-6)


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
    won = said > np.median(said)
    size = np.abs(chance.normal(0.01, 0.003, found.rows))
    return replace(found, won=won.astype(np.int8), gains=np.where(won, size, -size))


def volatile(seed: int, rows: int) -> Bars:
    """Return bars of a walk without drift, whose volatility is now low, now high.

    Its prices are a martingale, so nothing can be gained; but how volatile it is is seen, and with
    barriers of unequal distance it says how likely a trade is won.
    """
    chance, steps = np.random.default_rng(seed), 64
    is_high = np.cumsum(chance.random(rows) < 1 / 60) % 2 > 0
    spread = np.where(is_high, 0.02, 0.003)[:, None] / steps**0.5
    moves = chance.normal(size=(rows, steps)) * spread - spread**2 / 2
    path = 100 * np.exp(np.cumsum(moves.ravel())).reshape(rows, steps)
    close, plain = path[:, -1], walk(seed, rows)
    open_ = np.r_[100.0, close[:-1]]
    high, low = np.maximum(path.max(1), open_), np.minimum(path.min(1), open_)
    return plain._replace(open=open_, high=high, low=low, close=close)


def volatile_sample(seed: int, rows: int) -> Sample:
    near = {"stop": 0.01, "take": 0.10} if seed % 2 else {"stop": 0.10, "take": 0.01}
    plan = plan_of(strategy("ibs_a"), exits={**near, "max_bars": 10})
    return sample(plan, {"ABC": volatile(seed, rows)}, config_of())


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


def test_who_wins_more_often_and_gains_nothing_has_no_skill() -> None:
    """Volatility says which barrier is nearer: that is no reason to let a trade pass."""
    found = volatile_sample(1, 8_000)
    shown = evidence(found, config_of(), _fitting(config_of()))
    m = shown.metrics
    assert m["p_value_auc"] is not None
    assert m["p_value_gain"] is not None
    assert m["p_value_auc"] < 0.001
    assert m["p_value_gain"] > 0.05
    assert m["p_value"] == m["p_value_gain"]
    assert not shown.has_skill


def test_gains_that_rise_with_the_score_without_more_that_are_won_are_no_skill(
    trained: Trained,
) -> None:
    chance = np.random.default_rng(8)
    won = chance.random(trained.sample.rows) < 0.5
    said = trained.sample.features[:, 0]
    size = np.where(said > np.median(said), 0.02, 0.002)
    found = replace(trained.sample, won=won.astype(np.int8), gains=np.where(won, 3 * size, -size))
    score = lambda rows: 0.4 + rows[:, 0] / 500  # noqa: E731
    m = evidence(found, config_of(), lambda *_: score).metrics
    assert m["p_value_gain"] < 0.001  # type: ignore[operator]
    assert m["gain_rise"] > 0  # type: ignore[operator]
    assert m["p_value"] == m["p_value_auc"] > 0.01  # type: ignore[operator]


def test_no_skill_is_found_in_random_walks_shuffles_and_changing_volatility() -> None:
    """At most as often as the level says, over many seeds, of every kind by itself."""
    quick = config_of(trees=20)
    claims: dict[str, list[bool]] = {"walks": [], "shuffles": [], "volatility": []}
    for seed in range(SEEDS):
        walked = sample_of(walk(1_000 + seed, 700))
        shuffled = with_skill(walked, seed)
        order = np.random.default_rng(seed).permutation(shuffled.rows)
        shuffled = replace(shuffled, won=shuffled.won[order], gains=shuffled.gains[order])
        nulls = (walked, shuffled, volatile_sample(5_000 + seed, 2_000))
        for kind, one in zip(claims, nulls, strict=True):
            claims[kind].append(evidence(one, quick, _fitting(quick)).has_skill)
    for kind, found in claims.items():
        print(f"{kind}: skill was claimed in {sum(found)} of {len(found)} samples without any")
        allowed = LEVEL * len(found) + 3 * (LEVEL * len(found)) ** 0.5
        assert sum(found) <= allowed, kind


def test_the_mean_area_of_folds_that_say_nothing_is_a_half(trained: Trained) -> None:
    """A model that says the share that it has learnt says less just where more is won."""

    def share(_: Any, won: Any, __: Any) -> Any:
        return lambda rows: np.full(len(rows), won.mean())

    shown = evidence(trained.sample, config_of(), share)
    assert shown.fold_areas == [0.5] * 5
    assert shown.metrics["auc"] == pytest.approx(0.5)
    assert shown.path_areas == pytest.approx([0.5] * 5)
    # Nor may the calibration learn that low scores win: they are levelled before.
    assert np.corrcoef(shown.scores, trained.sample.won)[0, 1] > -0.02


def test_the_best_of_many_needs_more_to_be_called_skill(trained: Trained) -> None:
    """Each further attempt under a name has a smaller level; all of them add up to the whole."""
    found = with_skill(trained.sample, 5)
    given = {"target": "a test", "rule": "ibs_a", "created_on": "2026-11-20"}
    seen: list[str] = []

    def numbered(number: int, attempt: str) -> int:
        seen.append(attempt)
        return number

    first = train("dips", found, config_of(), numbered=partial(numbered, 1), **given)
    same = train("dips", found, config_of(), numbered=partial(numbered, 1), **given)
    assert same.sidecar == first.sidecar
    many = train("dips", found, config_of(), numbered=partial(numbered, 10), **given)
    assert (len(seen), len(set(seen))) == (3, 1)
    m = many.evidence.metrics
    assert (m["trials"], m["p_value"]) == (10, first.evidence.metrics["p_value"])
    assert m["deflated_sharpe"] <= first.evidence.metrics["deflated_sharpe"]  # type: ignore[operator]
    text = markdown(card_of(many))
    assert "attempts up to the 10th counted" in text
    assert f"skill is at most {LEVEL / 110:.5f}, attempt 10" in text
    assert is_skill({"p_value": LEVEL / 6, "trials": 2.0})
    assert not is_skill({"p_value": LEVEL / 5.9, "trials": 2.0})
    assert not is_skill({"p_value": None, "trials": 1.0})


@pytest.mark.parametrize("facts", [{"folds": 4}, {"embargo": 0.05}, {"rate": 0.1}])
def test_other_folds_are_another_attempt_though_the_model_is_the_same(
    trained: Trained, facts: dict[str, Any]
) -> None:
    one = attempt_of(trained.artifact, config_of(), "data", trained.sample.gains)
    other = attempt_of(trained.artifact, config_of(**facts), "data", trained.sample.gains)
    assert one != other
    assert one != attempt_of(trained.artifact, config_of(), "more", trained.sample.gains)
    assert one != attempt_of(trained.artifact, config_of(), "data", -trained.sample.gains)
    later = config_of(expires_days=9)
    assert one == attempt_of(trained.artifact, later, "data", trained.sample.gains)


def test_many_attempts_without_skill_claim_it_at_most_as_often_as_one_may() -> None:
    chance = np.random.default_rng(2)
    tries = chance.random((4_000, 40))
    claimed = [
        any(is_skill({"p_value": float(p), "trials": float(k)}) for k, p in enumerate(row, 1))
        for row in tries
    ]
    assert np.mean(claimed) == pytest.approx(LEVEL, abs=0.006)


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


def test_labels_that_overlap_every_fold_are_refused() -> None:
    """Purging leaves nothing to learn from, so no event has a score."""
    long = config_of(label="direction", horizon=390, folds=2)
    found = sample_of(walk(4, 800), label="direction", horizon=390, folds=2)
    with pytest.raises(DataError, match=r"none of 2 folds can be tested.*a shorter horizon"):
        train("long", found, long, target="a test", rule="", created_on="2026-11-20")


def test_prices_below_zero_are_labelled_by_what_they_do_and_have_no_logarithm() -> None:
    """A spread may be negative: from -5 to -3 it rises."""
    bars = walk(4, 700)
    down = 150.0
    below = bars._replace(
        open=bars.open - down, high=bars.high - down, low=bars.low - down, close=bars.close - down
    )
    assert (below.close < 0).any()
    facts: dict[str, Any] = {"label": "direction", "horizon": 5, "features": ("ibs()",)}
    found, plain = sample_of(below, **facts), sample_of(bars, **facts)
    assert (found.won == plain.won).all()
    assert ((found.gains > 0) == (found.won > 0)).all()
    for logs in ({"weights": "attribution"}, {"cusum": 0.01}):
        with pytest.raises(DataError, match=r"ABC: .* of logarithms.* not above zero"):
            sample_of(below, **facts, **logs)


def test_data_that_is_not_there_is_said() -> None:
    bars = walk(4, 600)
    with pytest.raises(
        DataError, match=r"until 1960-01-01: .* no bars of ABC, which has 2020-01-02"
    ):
        sample_of(bars, until="1960-01-01")
    with pytest.raises(
        DataError, match=r"of 600 bars sma\(close,5000\) is unknown at the first 4,999"
    ):
        sample_of(bars, features=("rsi(5)", "sma(5000)"))
    with pytest.raises(ValueError, match="features: give at least one"):
        config_of(features=())


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
    for said in (
        "dips@0#",
        "a test",
        "AUC, purged folds",
        "`close / sma(10) - 1`",
        "events whose raw score is at least the share that won",
        "calibrated score at 0, 10, 25, 50, 75, 90, 100 % of the events",
    ):
        assert said in text
    assert "no skill shown" in page
    assert page.count('class="plotly-graph-div"') == 5
    assert "http" not in page.partition("<script>")[0].replace("http-equiv", "")


def test_a_card_says_what_a_threshold_lets_pass(trained: Trained) -> None:
    """Enough to choose `gates.conf_min` from: by the calibrated score, on events not trained on."""
    found = with_skill(trained.sample, 7)
    one = train("dips", found, config_of(), target="a test", rule="ibs_a", created_on="2026-11-20")
    points = one.sidecar.calibration
    assert points is not None
    said = np.interp(one.evidence.scores, points.x, points.y)
    card = card_of(one)
    assert len(card.levels) > 3
    for level in card.levels:
        passing = said >= float(level.conf_min)
        assert level.events == f"{passing.sum():,}"
        assert level.mean_gain == f"{100 * found.gains[passing].mean():.3f} %".replace(
            "-0.000", "0.000"
        )
    shares = [float(level.won.removesuffix(" %")) for level in card.levels]
    assert shares[-1] > shares[0] + 10
    assert f"| {card.levels[1].conf_min} |" in markdown(card)
    assert card.levels[1].conf_min in html(card)


def test_calibrated_scores_are_judged_by_folds_that_they_were_not_calibrated_on(
    trained: Trained,
) -> None:
    found = with_skill(trained.sample, 7)
    shown = evidence(found, config_of(), _fitting(config_of()))
    good = brier(shown.scores, found, 5)
    assert good["brier"] is not None
    assert good["brier_base"] is not None
    assert good["brier"] < good["brier_base"] - 0.01
    noise = np.random.default_rng(1).random(found.rows)
    bad = brier(noise, found, 5)
    assert bad["brier"] == pytest.approx(bad["brier_base"], abs=0.01)
    assert brier(np.full(found.rows, np.nan), found, 5) == {"brier": None, "brier_base": None}


def test_the_model_can_be_taken_apart_and_put_together(trained: Trained) -> None:
    model = Model(trained.sidecar, predictor("onnx", trained.artifact))
    scores = model.scores(trained.sample.features)
    assert ((scores >= 0) & (scores <= 1)).all()
    quantiles = trained.sidecar.quantiles
    assert quantiles == sorted(quantiles)
    assert len(trained.sidecar.feature_quantiles) == len(FEATURES)
