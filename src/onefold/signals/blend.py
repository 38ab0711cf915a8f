"""Several models that score together, themselves a model.

Members have to be trained on the very features that the blend has, in its order: one with others
cannot have seen the same row, so it is left out and counted, and never averaged in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from onefold.domain.columns import Floats
from onefold.domain.errors import ModelError
from onefold.signals.model import Model, Models, Predict, Sidecar


class Blend(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How members are joined, the artifact of the runtime `ensemble`.

    - `mean`: the mean of their scores.
    - `weighted`: the same with `weights`.
    - `rank`: the mean of where each score lies among the member's scores in training, 0 to 1.
    - `stacked`: 1 / (1 + exp(-(intercept + weights . scores))), a logistic regression on them.
    """

    members: list[str]
    method: Literal["mean", "weighted", "rank", "stacked"] = "mean"
    weights: list[float] = []
    intercept: float = 0.0


def blend_of(sidecar: Sidecar, artifact: bytes) -> Blend:
    """Return what an artifact of the runtime `ensemble` says. Raises `ModelError`."""
    try:
        return msgspec.json.decode(artifact, type=Blend)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ModelError(f"model {sidecar.identity}: this is no ensemble: {error}") from None


def blended(sidecar: Sidecar, artifact: bytes, models: Models) -> Model:
    """Return a blend with those of its members that fit. Raises `ModelError`."""
    blend = blend_of(sidecar, artifact)
    if blend.weights and len(blend.weights) != len(blend.members):
        raise ModelError(f"model {sidecar.identity}: {len(blend.members)} members need weights")
    if blend.method in {"weighted", "stacked"} and not blend.weights:
        raise ModelError(f"model {sidecar.identity}: method {blend.method} needs weights")
    fitting, weights, skipped = [], [], {}
    given = blend.weights or [1.0] * len(blend.members)
    for name, weight in zip(blend.members, given, strict=True):
        member = models.get(name)
        if member.sidecar.feature_names == sidecar.feature_names:
            fitting.append(member)
            weights.append(weight)
        else:
            skipped[member.identity] = _other_features(member.sidecar, sidecar)
    if not fitting:
        raise ModelError(f"model {sidecar.identity}: none of its members has its features")
    if blend.method != "stacked" and not sum(weights) > 0.0:
        raise ModelError(f"model {sidecar.identity}: the weights of its members make nothing")
    if skipped and blend.method == "stacked":
        raise ModelError(f"model {sidecar.identity}: what it has learnt needs all its members")
    return Model(sidecar, _predict(blend, fitting, weights), skipped, members=fitting)


def _other_features(member: Sidecar, blend: Sidecar) -> str:
    theirs, ours = len(member.features), len(blend.features)
    what = f"{theirs} features instead of {ours}" if theirs != ours else "other features"
    return f"it was trained on {what}"


def _predict(blend: Blend, members: Sequence[Model], weights: Sequence[float]) -> Predict:
    total = sum(weights)

    def predict(rows: Floats) -> Floats:
        joined = np.full(len(rows), blend.intercept if blend.method == "stacked" else 0.0)
        for member, weight in zip(members, weights, strict=True):
            scores = member.scores(rows)
            if blend.method == "rank":
                scores = _ranked(member, scores)
            joined = joined + weight * scores
        if blend.method == "stacked":
            return np.asarray(1.0 / (1.0 + np.exp(-joined)))
        return joined / total

    return predict


def _ranked(member: Model, scores: Floats) -> Floats:
    quantiles = member.sidecar.quantiles
    if len(quantiles) < 2:
        raise ModelError(f"model {member.identity} does not say how its scores were spread")
    ranks = np.interp(scores, quantiles, np.linspace(0.0, 1.0, len(quantiles)))
    return np.where(np.isfinite(scores), ranks, np.nan)
