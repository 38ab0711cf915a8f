"""How good a model is, judged on events that it has not seen.

Everything is out of sample: cross-validation with purging and embargo, walks through time, and all
combinations of folds. Skill is a claim that has to be shown, so the verdict is a test with a level,
on the number of events that are independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onefold.domain.columns import Floats, Integers
from onefold.learn.config import TrainingConfig
from onefold.learn.sample import Sample
from onefold.learn.validation import (
    CombinatorialPurged,
    PurgedKFold,
    WalkForward,
    auc,
    auc_p_value,
    deflated_sharpe,
    probabilistic_sharpe,
    sharpe,
)

Fit = Callable[[Floats, Any, Floats], Callable[[Floats], Floats]]
"""Learns from features, outcomes and weights, and returns what scores rows."""
LEVEL = 0.025
"""How often a model without skill may be called skilled, at most."""
GROUPS, TESTED = 6, 2
"""Folds of the combinatorial cross-validation, and how many are tested at once: five walks."""


@dataclass(frozen=True)
class Evidence:
    """Scores out of sample, and what follows from them; `metrics` has everything as numbers."""

    scores: Floats
    """Of every event, by a model that was trained without its fold."""
    fold_areas: list[float]
    walk_areas: list[float]
    path_areas: list[float]
    metrics: dict[str, float | None]

    @property
    def has_skill(self) -> bool:
        """Return whether the test rejects that there is none."""
        return is_skill(self.metrics)


def is_skill(metrics: Mapping[str, float | None]) -> bool:
    """Return whether a p-value is small enough for the best of so many trials (Bonferroni)."""
    p, trials = metrics["p_value"], metrics["trials"]
    return p is not None and trials is not None and p * trials <= LEVEL


def evidence(found: Sample, config: TrainingConfig, fit: Fit, trials: int = 1) -> Evidence:
    """Return what models that were trained without the tested events say of them.

    `trials` is how many models were tried, with this one.
    """
    scores = np.full(found.rows, np.nan)
    fold_areas = []
    for training, tested in PurgedKFold(found.spans, config.folds, config.embargo).split():
        scores[tested] = _scored(found, fit, training, tested)
        fold_areas.append(_area(found, scores[tested], tested))
    walk_areas = [
        _area(found, _scored(found, fit, training, tested), tested)
        for training, tested in WalkForward(found.spans, config.folds).split()
        if _can_learn(found, training)
    ]
    path_areas = _paths(found, config, fit)
    metrics = _metrics(found, scores, trials)
    metrics["walk_forward_auc"] = _mean(walk_areas)
    metrics["combinatorial_auc"] = _mean(path_areas)
    metrics["combinatorial_auc_worst"] = min(path_areas, default=None)
    return Evidence(scores, fold_areas, walk_areas, path_areas, metrics)


def _can_learn(found: Sample, training: Integers) -> bool:
    return len(training) > 1 and 0.0 < found.won[training].mean() < 1.0


def _scored(found: Sample, fit: Fit, training: Integers, tested: Integers) -> Floats:
    if not _can_learn(found, training):
        return np.full(len(tested), np.nan)
    score = fit(found.features[training], found.won[training], found.weights[training])
    return score(found.features[tested])


def _area(found: Sample, scores: Floats, tested: Integers) -> float:
    known = np.isfinite(scores)
    return auc(scores[known], found.won[tested][known], found.unique[tested][known])


def _paths(found: Sample, config: TrainingConfig, fit: Fit) -> list[float]:
    """Return the area of every walk that the combinations make."""
    splits = CombinatorialPurged(found.spans, GROUPS, TESTED, config.embargo)
    walks: list[list[tuple[Floats, Integers]]] = [[] for _ in range(splits.paths)]
    counts: dict[int, int] = {}
    for training, tests in splits.grouped():
        for tested in tests:
            key = int(tested[0])
            walk = counts.get(key, 0)
            counts[key] = walk + 1
            walks[walk].append((_scored(found, fit, training, tested), tested))
    return [
        _area(found, np.concatenate([s for s, _ in walk]), np.concatenate([t for _, t in walk]))
        for walk in walks
    ]


def _metrics(found: Sample, scores: Floats, trials: int) -> dict[str, float | None]:
    known = np.isfinite(scores)
    said, won, unique = scores[known], found.won[known], found.unique[known]
    area = auc(said, won, unique)
    independent = float(unique.sum())
    p = auc_p_value(area, float(unique[won > 0].sum()), float(unique[won <= 0].sum()))
    gains, base = found.gains[known], float(np.average(won, weights=unique))
    chosen = gains[said >= base]
    clipped = np.clip(said, 1e-6, 1 - 1e-6)
    loss = -np.average(np.where(won > 0, np.log(clipped), np.log(1 - clipped)), weights=unique)
    return {
        "events": float(known.sum()),
        "independent_events": independent,
        "win_rate": base,
        "auc": area,
        "p_value": p,
        "log_loss": float(loss),
        "log_loss_base": float(-base * np.log(base) - (1 - base) * np.log(1 - base)),
        "mean_gain": float(gains.mean()),
        "mean_gain_chosen": float(chosen.mean()) if len(chosen) else None,
        "chosen": float(len(chosen)),
        "sharpe_chosen": sharpe(chosen),
        "probabilistic_sharpe": _thinned(chosen, unique[said >= base], 1, 0.0),
        "deflated_sharpe": _thinned(chosen, unique[said >= base], trials, _spread(gains)),
        "trials": float(trials),
    }


def _spread(gains: Floats) -> float:
    """Return how far the Sharpe ratios of trials without skill lie apart: 1 / sqrt(n)."""
    return float(1.0 / np.sqrt(max(1, len(gains))))


def _thinned(gains: Floats, unique: Floats, trials: int, spread: float) -> float | None:
    """Return the deflated Sharpe ratio of as many returns as are independent."""
    if len(gains) < 3:
        return None
    step = max(1, round(len(gains) / max(1.0, float(unique.sum()))))
    thin = gains[::step]
    if trials < 2:
        return probabilistic_sharpe(thin)
    return deflated_sharpe(thin, trials, spread * np.sqrt(step))


def _mean(areas: list[float]) -> float | None:
    known = [a for a in areas if a == a]  # noqa: PLR0124 - NaN
    return float(np.mean(known)) if known else None
