"""Training: from a sample to a model that carries its own proof.

The same inputs give the same bytes: one thread, seeds, and no clock. What comes out has been
scored through the very runtime that will trade it, and its golden rows are taken from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from onnxmltools import convert_lightgbm  # type: ignore[import-untyped]
from onnxmltools.convert.common.data_types import FloatTensorType  # type: ignore[import-untyped]
from sklearn.isotonic import isotonic_regression  # type: ignore[import-untyped]

from onefold.domain.columns import Floats
from onefold.domain.errors import ModelError
from onefold.learn.config import TrainingConfig
from onefold.learn.evidence import Evidence, evidence
from onefold.learn.sample import Sample
from onefold.learn.sidecars import Numbered, attempt_of, drafted, proved, serialised, uncounted
from onefold.learn.validation import PurgedKFold, auc
from onefold.signals.model import Calibration, Sidecar
from onefold.signals.runtimes import predictor

LIBRARIES = ("lightgbm", "onnxmltools", "onnxruntime", "scikit-learn", "numpy")
BIN_EVENTS, BINS_MAX = 50, 10
"""Independent events in a bin of the calibration, and how many bins there are at most."""
TOLERANCE = 1e-4
"""How far the exported model may be from the trained one: it counts with fewer digits."""


@dataclass(frozen=True)
class Importance:
    """What each feature is worth, by three measures.

    `mdi` is its share of the gain in the trees (in sample), `mda` how much the area falls out of
    sample when the feature is shuffled, `alone` the area out of sample with it alone. Lopez de
    Prado, Advances in Financial Machine Learning (2018), chapter 8.
    """

    names: tuple[str, ...]
    mdi: Floats
    mda: Floats
    alone: Floats


@dataclass(frozen=True)
class Trained:
    """A model with its artifact, and what is known of its worth."""

    sidecar: Sidecar
    artifact: bytes
    evidence: Evidence
    importance: Importance
    sample: Sample


def train(
    name: str,
    found: Sample,
    config: TrainingConfig,
    *,
    target: str,
    rule: str,
    created_on: str,
    numbered: Numbered = uncounted,
) -> Trained:
    """Return a trained model; `created_on` is a date, `target` says what it predicts.

    `rule` is the kind of the rule whose trades it judges, empty where it judges none. `numbered`
    says which attempt under this name it is, before anybody knows what comes of it: the more there
    were, the more luck the best of them may have had. Raises `ModelError` where the exported model
    is not the trained one, `DataError` where there is too little to judge it by.
    """
    booster = fit_booster(found.features, found.won, found.weights, config)
    artifact = exported(booster, name, found.features.shape[1])
    predict = predictor("onnx", artifact)
    raw = np.asarray(predict(found.features), np.float64)
    farthest = float(np.abs(raw - booster.predict(_narrow(found.features))).max())
    if farthest > TOLERANCE:
        raise ModelError(f"the exported model differs from the trained one by {farthest:.2g}")
    attempt = attempt_of(artifact, config, found.data_hash, found.gains)
    shown = evidence(found, config, _fitting(config), numbered(attempt))
    draft = drafted(
        name,
        config,
        target=target,
        rule=rule,
        created_on=created_on,
        span=(int(found.spans.start.min()), int(found.spans.end.max())),
        interval_ns=found.interval_ns,
        data_hash=found.data_hash,
        libraries=LIBRARIES,
    )
    metrics = {**shown.metrics, **brier(shown.scores, found, config.folds)}
    sidecar = proved(
        draft,
        artifact,
        predict,
        found.features,
        calibration=calibrated(shown.scores, found),
        metrics={k: v if v is None or math.isfinite(v) else None for k, v in metrics.items()},
    )
    return Trained(sidecar, artifact, shown, _importance(found, config, booster), found)


def _narrow(features: Floats) -> Floats:
    """Return features with the digits that the exported model sees."""
    return features.astype(np.float32).astype(np.float64)


def fit_booster(features: Floats, won: Any, weights: Floats, config: TrainingConfig) -> Any:
    """Return trees that were fitted to outcomes; the same inputs give the same trees."""
    data = lightgbm.Dataset(_narrow(features), won, weight=weights, free_raw_data=False)
    settings = {
        "objective": "binary", "num_leaves": config.leaves, "learning_rate": config.rate,
        "min_data_in_leaf": min(config.leaf_min, max(1, len(won) // 4)), "seed": config.seed,
        "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbose": -1,
    }  # fmt: skip
    return narrowed(lightgbm.train(settings, data, config.trees))


def narrowed(booster: Any) -> Any:
    """Return the same trees with thresholds of the digits that features have.

    A threshold lies between two values of a feature, which may be neighbours among numbers of 32
    bits: rounded to the nearest it could become the larger of them, and send that the other way.
    Rounded down it splits the same values, since x <= t for such an x where x <= that below t.
    """
    lines = booster.model_to_string().split("\n")
    for n, line in enumerate(lines):
        if line.startswith("threshold="):
            told = np.array(line.removeprefix("threshold=").split(), np.float64)
            near = told.astype(np.float32)
            down = np.where(near > told, np.nextafter(near, np.float32(-np.inf)), near)
            lines[n] = "threshold=" + " ".join(map(repr, down.astype(np.float64).tolist()))
    # Sizes of the trees are of the text before; without them the text is read as it is.
    kept = [line for line in lines if not line.startswith("tree_sizes=")]
    return lightgbm.Booster(model_str="\n".join(kept))


def _fitting(config: TrainingConfig) -> Callable[[Floats, Any, Floats], Callable[[Floats], Floats]]:
    def fit(features: Floats, won: Any, weights: Floats) -> Callable[[Floats], Floats]:
        booster = fit_booster(features, won, weights, config)
        return lambda rows: np.asarray(booster.predict(_narrow(rows), num_threads=1))

    return fit


def exported(booster: Any, name: str, columns: int) -> bytes:
    """Return trees as ONNX."""
    shape = [("features", FloatTensorType([None, columns]))]
    # A name is given, since the converter would make one up at random.
    return serialised(convert_lightgbm(booster, name, shape, zipmap=False))


def calibrated(scores: Floats, found: Sample) -> Calibration:
    """Return the line that turns scores out of sample into probabilities.

    Events are put into bins by score, each with enough that are independent; the shares that won
    are made to rise with the score by pooling neighbours that do not (isotonic regression).
    """
    known = np.flatnonzero(np.isfinite(scores))
    order = known[np.argsort(scores[known], kind="stable")]
    bins = int(np.clip(found.unique[order].sum() // BIN_EVENTS, 1, BINS_MAX))
    reached = np.cumsum(found.unique[order])
    cuts = np.searchsorted(reached, reached[-1] * np.arange(1, bins) / bins)
    parts = [part for part in np.split(order, cuts) if len(part)]
    x = np.array([np.average(scores[part], weights=found.unique[part]) for part in parts])
    share = np.array([np.average(found.won[part], weights=found.unique[part]) for part in parts])
    sizes = np.array([found.unique[part].sum() for part in parts])
    y = np.clip(isotonic_regression(share, sample_weight=sizes), 0.0, 1.0)
    apart = np.r_[True, np.diff(x) > 0]
    return Calibration(x[apart].tolist(), y[apart].tolist())


def brier(scores: Floats, found: Sample, folds: int) -> dict[str, float | None]:
    """Return the Brier score of calibrated scores, and that of always saying the share that won.

    Each fold in time is calibrated by the others. Brier, Monthly Weather Review 78 (1950).
    """
    said = np.full(found.rows, np.nan)
    for part in np.array_split(np.arange(found.rows), folds):
        others = scores.copy()
        others[part] = np.nan
        if np.isfinite(others).any():
            points = calibrated(others, found)
            said[part] = np.interp(scores[part], points.x, points.y)
    known = np.isfinite(said)
    if not known.any():
        return {"brier": None, "brier_base": None}
    won, unique = found.won[known].astype(np.float64), found.unique[known]
    base = float(np.average(won, weights=unique))
    error = float(np.average((said[known] - won) ** 2, weights=unique))
    return {"brier": error, "brier_base": base * (1.0 - base)}


def _importance(found: Sample, config: TrainingConfig, booster: Any) -> Importance:
    gains = np.asarray(booster.feature_importance("gain"), np.float64)
    columns = found.features.shape[1]
    falls, alone = np.zeros(columns), np.zeros(columns)
    chance = np.random.default_rng(config.seed)
    fit, one = _fitting(config), _fitting(config.model_copy(update={"trees": 50, "leaves": 4}))
    folds = [
        (training, tested)
        for training, tested in PurgedKFold(found.spans, config.folds, config.embargo).split()
        if len(training) > 1 and 0.0 < found.won[training].mean() < 1.0
    ]
    for training, tested in folds:
        learnt = found.won[training], found.weights[training]
        rows, won, unique = found.features[tested], found.won[tested], found.unique[tested]
        score = fit(found.features[training], *learnt)
        whole = auc(score(rows), won, unique)
        for k in range(columns):
            shuffled = rows.copy()
            chance.shuffle(shuffled[:, k])
            falls[k] += (whole - auc(score(shuffled), won, unique)) / len(folds)
            single = one(found.features[training][:, [k]], *learnt)
            alone[k] += auc(single(rows[:, [k]]), won, unique) / len(folds)
    total = gains.sum() or 1.0
    return Importance(found.names, gains / total, falls, alone)
