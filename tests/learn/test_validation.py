"""M8: splits that do not leak, areas, and how likely luck is."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

import learn_oracles as oracles
from onefold.domain.errors import ConfigError
from onefold.learn.labels import Labels
from onefold.learn.validation import (
    CombinatorialPurged,
    PurgedKFold,
    Spans,
    WalkForward,
    auc,
    auc_p_value,
    deflated_sharpe,
    expected_best,
    overfitting,
    pooled_auc,
)
from onefold.learn.weights import attribution, concurrency, decayed, uniqueness
from onefold.views.statistics import p_value, probabilistic_sharpe, sharpe


def labels_of(spans: list[tuple[int, int]]) -> Labels:
    row, end = (np.array(column) for column in zip(*spans, strict=True))
    none = np.zeros(len(row))
    return Labels(row, end, row, none, none.astype(np.int8))


spans_lists = st.lists(
    st.tuples(st.integers(0, 80), st.integers(1, 19)).map(lambda p: (p[0], p[0] + p[1])),
    min_size=12,
    max_size=60,
)


@given(spans=spans_lists)
@settings(max_examples=50)
def test_uniqueness_agrees_with_its_definition(spans: list[tuple[int, int]]) -> None:
    labels = labels_of(spans)
    assert uniqueness(labels, 100) == pytest.approx(oracles.uniqueness(spans), abs=1e-9)
    assert concurrency(labels, 100).sum() == sum(end - row for row, end in spans)


def test_attribution_shares_returns_and_decay_falls_in_a_line() -> None:
    close = np.exp(np.array([0.0, 0.1, 0.3, 0.3, 0.2]))
    weights = attribution(labels_of([(0, 2), (1, 2), (2, 4)]), close)
    raw = np.array([0.1 + 0.2 / 2, 0.2 / 2, 0.1])
    assert weights == pytest.approx(raw / raw.mean())
    assert decayed(np.ones(4), 0.5) == pytest.approx([0.625, 0.75, 0.875, 1.0])
    assert decayed(np.ones(4), 1.0) == pytest.approx(np.ones(4))


@given(spans=spans_lists, folds=st.integers(2, 5), embargo=st.sampled_from([0.0, 0.05]))
@settings(max_examples=50)
def test_no_training_event_overlaps_a_tested_one(
    spans: list[tuple[int, int]], folds: int, embargo: float
) -> None:
    both = Spans(*(np.array(column) for column in zip(*spans, strict=True)))
    tests = []
    for training, tested in PurgedKFold(both, folds, embargo).split():
        tests += tested.tolist()
        begins, ends = both.start[tested].min(), both.end[tested].max()
        after = round((both.end.max() - both.start.min()) * embargo)
        for n in training:
            assert both.end[n] < begins or both.start[n] > ends + after
    assert sorted(tests) == list(range(len(spans)))


def test_combinations_test_every_fold_as_often_and_never_leak() -> None:
    start = np.arange(120)
    both = Spans(start, start + 5)
    splits = CombinatorialPurged(both, 6, 2, 0.02)
    assert (splits.get_n_splits(), splits.paths) == (comb(6, 2), 5)
    counts = np.zeros(120, int)
    for training, tested in splits.split():
        counts[tested] += 1
        for n in training:
            apart = (both.end[n] < both.start[tested]) | (both.start[n] > both.end[tested])
            assert apart.all()
    assert (counts == splits.paths).all()
    with pytest.raises(ConfigError, match="between 1 and 5"):
        CombinatorialPurged(both, 6, 6)


def test_walking_forward_trains_on_the_past_alone() -> None:
    start = np.arange(100)
    both = Spans(start, start + 3)
    seen = []
    for training, tested in WalkForward(both, 4).split():
        assert both.end[training].max() < both.start[tested].min()
        seen += tested.tolist()
    assert seen == list(range(20, 100))


def test_purging_removes_a_planted_leak() -> None:
    """Labels of overlapping spans are nearly the same, and a neighbour in time knows them."""
    chance = np.random.default_rng(1)
    noise = chance.normal(size=1_200)
    horizon = 20
    won = (np.convolve(noise, np.ones(horizon), "full")[horizon - 1 :][:1_000] > 0).astype(int)
    time = np.arange(1_000)
    feature = time[:, None].astype(float)  # says nothing but when it was
    both = Spans(time, time + horizon)

    def area(split: object) -> float:
        areas = []
        for training, tested in split:  # type: ignore[attr-defined]
            near = KNeighborsClassifier(5).fit(feature[training], won[training])
            areas.append(auc(near.predict_proba(feature[tested])[:, 1], won[tested]))
        return float(np.mean(areas))

    rows = np.arange(1_000)
    shuffled = np.array_split(chance.permutation(rows), 5)
    leaking = [(np.setdiff1d(rows, tested), tested) for tested in shuffled]
    assert area(leaking) > 0.9, "neighbours in time give the label away"
    assert area(PurgedKFold(both, 5, 0.02).split()) == pytest.approx(0.5, abs=0.1)


@given(
    events=st.lists(
        st.tuples(st.integers(0, 5), st.booleans(), st.floats(0.1, 1.0)), min_size=4, max_size=40
    )
)
@settings(max_examples=50)
def test_the_area_agrees_with_all_pairs(events: list[tuple[int, bool, float]]) -> None:
    scores, won, weights = (list(column) for column in zip(*events, strict=True))
    if len(set(won)) < 2:
        assert np.isnan(auc(np.array(scores), np.array(won, int)))
        return
    area = auc(np.array(scores, float), np.array(won, int), np.array(weights))
    assert area == pytest.approx(oracles.area(scores, [int(w) for w in won], weights))
    plain = auc(np.array(scores, float), np.array(won, int))
    assert plain == pytest.approx(roc_auc_score(won, scores))


def test_the_test_of_an_area_has_its_level() -> None:
    chance = np.random.default_rng(3)
    found = [
        auc_p_value(*pooled_auc([(auc(chance.normal(size=150), won), won.sum(), 150 - won.sum())]))
        for won in (chance.integers(0, 2, 150) for _ in range(1_000))
    ]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert auc_p_value(*pooled_auc([(0.9, 50, 50)])) < 1e-6
    assert auc_p_value(*pooled_auc([(0.9, 0, 50)])) == auc_p_value(float("nan"), 0.1) == 1.0


def test_one_large_gain_says_nothing_and_many_of_a_kind_do() -> None:
    chance = np.random.default_rng(0)
    lucky = chance.normal(0, 1e-4, 250)
    lucky[125] = 0.05
    assert 1.0 - probabilistic_sharpe(lucky) < 0.025
    assert p_value(lucky) > 0.4  # type: ignore[operator]
    good = chance.normal(0.003, 0.01, 250)
    assert p_value(good) < 0.001  # type: ignore[operator]
    # Of a benchmark the same, and what is not defined is none.
    assert p_value(good, sharpe(good)) == pytest.approx(0.5, abs=0.2)
    assert p_value(good, 2 * sharpe(good)) > 0.99  # type: ignore[operator]
    assert p_value(np.zeros(50)) is p_value(good[:2]) is p_value(np.append(good, np.nan)) is None


def test_areas_of_folds_are_pooled_and_not_their_scores() -> None:
    """Folds of half by chance are a half, and large folds weigh more; together the error falls."""
    area, error = pooled_auc([(0.5, 10, 90), (0.5, 90, 10), (float("nan"), 0, 50)])
    assert area == 0.5
    one = pooled_auc([(0.6, 50, 50)])
    assert one == pytest.approx((0.6, (101 / 12 / 2_500) ** 0.5))
    many = pooled_auc([(0.6, 50, 50)] * 4)
    assert many == pytest.approx((0.6, one[1] / 2))
    assert 0.5 < pooled_auc([(0.4, 5, 5), (0.6, 500, 500)])[0] < 0.6
    assert error < pooled_auc([(0.5, 10, 90)])[1]


def test_sharpe_ratios_that_are_probable_and_deflated() -> None:
    """A ratio of 0.1 over 400 returns is two errors from zero, and not much among many trials."""
    chance = np.random.default_rng(5)
    drawn = chance.normal(size=400)
    returns = (drawn - drawn.mean()) / drawn.std(ddof=1) + 0.1
    ratio = sharpe(returns)
    assert ratio == pytest.approx(0.1)
    assert ratio == pytest.approx(returns.mean() / returns.std(ddof=1))
    assert probabilistic_sharpe(returns, ratio) == pytest.approx(0.5)
    assert probabilistic_sharpe(returns) == pytest.approx(0.977, abs=0.005)
    assert expected_best(1, 1.0) == 0.0
    best = [chance.normal(size=100).max() for _ in range(2_000)]
    assert expected_best(100, 1.0) == pytest.approx(np.mean(best), abs=0.05)
    assert deflated_sharpe(returns, 100, 0.1) < probabilistic_sharpe(returns)
    assert probabilistic_sharpe(np.ones(10)) == probabilistic_sharpe(np.ones(2)) == 0.0


def test_the_probability_of_overfitting_tells_skill_from_luck() -> None:
    chance = np.random.default_rng(7)
    luck = chance.normal(size=(500, 20))
    skill = luck.copy()
    skill[:, 3] += 0.4
    assert overfitting(skill) < 0.05
    assert 0.25 < overfitting(luck) < 0.75
    with pytest.raises(ConfigError, match="two trials"):
        overfitting(luck[:, :1])
