"""How good a model is, judged on events that it has not seen.

Everything is out of sample: cross-validation with purging and embargo, walks through time, and all
combinations of folds. Skill is a claim that has to be shown, so the verdict is a test with a level,
on the number of events that are independent.

Winning is not gaining: where volatility changes, it says how often the nearer of two barriers is
touched first, and nothing of the mean gain. So skill asks for both: winners score higher, and what
scores higher gains more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from onefold.domain.columns import Floats, Integers
from onefold.domain.errors import DataError
from onefold.learn.config import TrainingConfig
from onefold.learn.sample import Sample
from onefold.learn.validation import (
    CombinatorialPurged,
    PurgedKFold,
    WalkForward,
    auc,
    auc_p_value,
    deflated_sharpe,
    pooled_auc,
)
from onefold.views.statistics import level_of, p_value, probabilistic_sharpe, sharpe

Fit = Callable[[Floats, Any, Floats], Callable[[Floats], Floats]]
"""Learns from features, outcomes and weights, and returns what scores rows."""
LEVEL = 0.025
"""How often a model without skill may be called skilled, at most."""
GROUPS, TESTED = 6, 2
"""Folds of the combinatorial cross-validation, and how many are tested at once: five walks."""
INDEPENDENT_MIN = 30
"""Fewest independent events from which a mean gain is believed."""
BLOCK = 4
"""Independent events whose gains are taken together.

Labels overlap, so neighbours move together; sums of neighbours do so less, the longer they are.
"""
SCORE_MIN = 1e-6


@dataclass(frozen=True)
class Evidence:
    """Scores out of sample, and what follows from them; `metrics` has everything as numbers."""

    scores: Floats
    """Of every event, by a model that was trained without its fold."""
    fold_areas: list[float]
    walk_areas: list[float]
    path_areas: list[float]
    metrics: dict[str, float | None]
    fold_errors: list[float]
    """Standard errors of the areas without skill, on the events that are independent."""
    walk_errors: list[float]
    path_errors: list[float]

    @property
    def has_skill(self) -> bool:
        """Return whether the test rejects that there is none."""
        return is_skill(self.metrics)


def is_skill(metrics: Mapping[str, float | None]) -> bool:
    """Return whether a p-value is small enough for the attempt that it is of.

    The k-th attempt under a name has the level LEVEL / (k (k + 1)): in all, LEVEL is spent.
    """
    p, trials = metrics["p_value"], metrics["trials"]
    return p is not None and trials is not None and p <= level_of(LEVEL, int(trials))


def evidence(found: Sample, config: TrainingConfig, fit: Fit, trials: int = 1) -> Evidence:
    """Return what models that were trained without the tested events say of them.

    `trials` is which attempt under its name this is, from 1. Raises `DataError` where no fold can
    be tested.
    """
    scores = np.full(found.rows, np.nan)
    folds = []
    for training, tested in PurgedKFold(found.spans, config.folds, config.embargo).split():
        scores[tested] = _levelled(found, _scored(found, fit, training, tested), training)
        folds.append(tested)
    if not np.isfinite(scores).any():
        raise DataError(
            f"none of {config.folds} folds can be tested: what is left when events are purged "
            "whose labels overlap it has nothing to learn from. Take a shorter horizon, more folds "
            "or more data"
        )
    areas = [_Area(*pooled_auc([_counted(found, scores[tested], tested)])) for tested in folds]
    walks = [
        _Area(*pooled_auc([_counted(found, _scored(found, fit, training, tested), tested)]))
        for training, tested in WalkForward(found.spans, config.folds).split()
        if _can_learn(found, training)
    ]
    paths = _paths(found, config, fit)
    metrics = _metrics(found, scores, folds, trials)
    metrics["walk_forward_auc"] = _mean([one.area for one in walks])
    metrics["combinatorial_auc"] = _mean([one.area for one in paths])
    metrics["combinatorial_auc_worst"] = min((one.area for one in paths), default=None)
    return Evidence(
        scores,
        [one.area for one in areas],
        [one.area for one in walks],
        [one.area for one in paths],
        metrics,
        [one.error for one in areas],
        [one.error for one in walks],
        [one.error for one in paths],
    )


def _can_learn(found: Sample, training: Integers) -> bool:
    return len(training) > 1 and 0.0 < found.won[training].mean() < 1.0


def _scored(found: Sample, fit: Fit, training: Integers, tested: Integers) -> Floats:
    if not _can_learn(found, training):
        return np.full(len(tested), np.nan)
    score = fit(found.features[training], found.won[training], found.weights[training])
    return score(found.features[tested])


class _Area(NamedTuple):
    """An area under the curve, and how far it lies from 1/2 by chance (one standard deviation)."""

    area: float
    error: float


def _levelled(found: Sample, scores: Floats, training: Integers) -> Floats:
    """Return scores as if a fold's model had learnt the share that won in the whole sample.

    It has learnt that of the other folds, which is lower just where this one's is higher; only the
    shares' log odds apart are added, so the order of the scores stays.
    """
    if not np.isfinite(scores).all():
        return scores
    whole = np.average(found.won, weights=found.weights)
    learnt = np.average(found.won[training], weights=found.weights[training])
    odds = _log_odds(scores) + _log_odds(whole) - _log_odds(learnt)
    levelled: Floats = 1.0 / (1.0 + np.exp(-odds))
    return levelled


def _log_odds(share: Any) -> Any:
    clipped = np.clip(share, SCORE_MIN, 1.0 - SCORE_MIN)
    return np.log(clipped / (1.0 - clipped))


def _counted(found: Sample, scores: Floats, tested: Integers) -> tuple[float, float, float]:
    """Return the area of a fold, and how many independent events of it were won and lost."""
    known = np.isfinite(scores)
    won, unique = found.won[tested][known], found.unique[tested][known]
    area = auc(scores[known], won, unique)
    return area, float(unique[won > 0].sum()), float(unique[won <= 0].sum())


def _paths(found: Sample, config: TrainingConfig, fit: Fit) -> list[_Area]:
    """Return the area of every walk that the combinations make."""
    splits = CombinatorialPurged(found.spans, GROUPS, TESTED, config.embargo)
    walks: list[list[tuple[float, float, float]]] = [[] for _ in range(splits.paths)]
    counts: dict[int, int] = {}
    for training, tests in splits.grouped():
        for tested in tests:
            key = int(tested[0])
            walk = counts.get(key, 0)
            counts[key] = walk + 1
            walks[walk].append(_counted(found, _scored(found, fit, training, tested), tested))
    return [_Area(*pooled_auc(walk)) for walk in walks]


def _metrics(
    found: Sample, scores: Floats, folds: list[Integers], trials: int
) -> dict[str, float | None]:
    known = np.isfinite(scores)
    said, won, unique = scores[known], found.won[known], found.unique[known]
    area, error = pooled_auc([_counted(found, scores[tested], tested) for tested in folds])
    p_area = auc_p_value(area, error)
    rise, p_gain = _gain_rise(found, scores, [tested[known[tested]] for tested in folds])
    gains, base = found.gains[known], float(np.average(won, weights=unique))
    chosen, alone = gains[said >= base], unique[said >= base]
    clipped = np.clip(said, SCORE_MIN, 1 - SCORE_MIN)
    loss = -np.average(np.where(won > 0, np.log(clipped), np.log(1 - clipped)), weights=unique)
    return {
        "events": float(known.sum()),
        "independent_events": float(unique.sum()),
        "win_rate": base,
        "auc": area,
        # Both have to be shown, so the larger of two is a p-value of what is claimed.
        "p_value": None if p_gain is None else max(p_area, p_gain),
        "p_value_auc": p_area,
        "p_value_gain": p_gain,
        "gain_rise": rise,
        "log_loss": float(loss),
        "log_loss_base": float(-base * np.log(base) - (1 - base) * np.log(1 - base)),
        "mean_gain": float(gains.mean()),
        "mean_gain_chosen": float(chosen.mean()) if len(chosen) else None,
        "p_value_chosen": _p_of_blocks(chosen, alone),
        "chosen": float(len(chosen)),
        "sharpe_chosen": sharpe(chosen),
        "probabilistic_sharpe": _thinned(chosen, alone, 1, 0.0),
        "deflated_sharpe": _thinned(chosen, alone, trials, _spread(gains)),
        "trials": float(trials),
    }


def _gain_rise(
    found: Sample, scores: Floats, folds: list[Integers]
) -> tuple[float | None, float | None]:
    """Return how much the mean gain rises from the lowest score to the highest, and its p-value.

    It is the slope of the gain on the rank of the score in its fold. Only the score is ranked: the
    rank of a gain follows from volatility alone where barriers are not symmetric, its mean does
    not. Nor are gains weighted: how unique a trade is follows from how long it lasted, so from what
    came of it.
    """
    ranks = np.concatenate([_ranks(scores[fold]) for fold in folds])
    gains = np.concatenate([_centred(found.gains[fold]) for fold in folds])
    unique = np.concatenate([found.unique[fold] for fold in folds])
    spread = float(ranks @ ranks)
    rise = float(ranks @ gains) / spread if spread > 0.0 else None
    return rise, _p_of_blocks(ranks * gains, unique)


def _ranks(scores: Floats) -> Floats:
    """Return the share of a fold that scores lower, ties in their middle, about zero."""
    _, at, count = np.unique(scores, return_inverse=True, return_counts=True)
    below = np.cumsum(count) - 0.5 * count
    return _centred(below[at] / max(1, len(scores)))


def _centred(values: Floats) -> Floats:
    return values - values.mean() if len(values) else values


def _p_of_blocks(values: Floats, unique: Floats) -> float | None:
    """Return how likely such a mean is where it is not above zero; None for too few values.

    Values in order of time are summed in blocks, each as good as BLOCK independent ones.
    """
    independent = float(unique.sum())
    if independent < INDEPENDENT_MIN:
        return None
    blocks = np.array_split(values, int(independent / BLOCK))
    return p_value(np.array([block.sum() for block in blocks]))


def _spread(gains: Floats) -> float:
    """Return how far the Sharpe ratios of trials without skill lie apart: 1 / sqrt(n)."""
    return float(1.0 / np.sqrt(max(1, len(gains))))


def _thinned(gains: Floats, unique: Floats, trials: int, spread: float) -> float | None:
    """Return the deflated Sharpe ratio of as many returns as are independent."""
    if unique.sum() < INDEPENDENT_MIN:
        return None
    step = max(1, round(len(gains) / max(1.0, float(unique.sum()))))
    thin = gains[::step]
    if trials < 2:
        return probabilistic_sharpe(thin)
    return deflated_sharpe(thin, trials, spread * np.sqrt(step))


def _mean(areas: list[float]) -> float | None:
    known = [a for a in areas if a == a]  # noqa: PLR0124 - NaN
    return float(np.mean(known)) if known else None
