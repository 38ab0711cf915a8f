"""Small models of every runtime, trained on noise: what they say does not matter, only that."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from functools import cache
from typing import Any

import joblib
import lightgbm
import msgspec
import numpy as np
import skops.io
import xgboost
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression

from onefold.signals.blend import Blend
from onefold.signals.expression import feature_of
from onefold.signals.model import Golden, Sidecar, schema_hash
from onefold.signals.runtimes import predictor

FEATURES = ("rsi(5)", "ibs()", "close / sma(8) - 1")
RUNTIMES = ("onnx", "lightgbm", "xgboost", "skops", "joblib")
BY_ROW = frozenset({"skops", "joblib"})
"""Runtimes whose sums depend on how many rows there are."""


@cache
def rows() -> Any:
    return np.random.default_rng(7).normal(size=(400, len(FEATURES)))


@cache
def classes() -> Any:
    return (rows()[:, 0] - rows()[:, 1] ** 2 + 0.3 > 0).astype(int)


@cache
def artifact_of(runtime: str) -> bytes:
    """Return a trained model's bytes."""
    if runtime in BY_ROW:
        fitted = LogisticRegression().fit(rows(), classes())
        if runtime == "skops":
            return skops.io.dumps(fitted)
        file = io.BytesIO()
        joblib.dump(fitted, file)
        return file.getvalue()
    if runtime == "xgboost":
        data = xgboost.DMatrix(rows(), classes())
        booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 8)
        return bytes(booster.save_raw("ubj"))
    options: dict[str, Any] = {"n_estimators": 8, "num_leaves": 5, "n_jobs": 1, "verbose": -1}
    model = lightgbm.LGBMClassifier(**options, deterministic=True).fit(rows(), classes())
    if runtime == "lightgbm":
        return model.booster_.model_to_string().encode()
    shape = [("x", FloatTensorType([None, len(FEATURES)]))]
    return convert_lightgbm(model, initial_types=shape, zipmap=False).SerializeToString()


def sidecar_of(
    artifact: bytes,
    runtime: str = "onnx",
    *,
    name: str = "dips",
    features: Sequence[str] = FEATURES,
    golden: Golden | None = None,
    **facts: Any,
) -> Sidecar:
    """Return a sidecar for an artifact; its golden rows are scored with the artifact itself."""
    names = [feature_of(text).name for text in features]
    if golden is None:
        asked = rows()[:20]
        said = np.concatenate([predictor(runtime, artifact)(asked[i : i + 1]) for i in range(20)])
        golden = Golden(asked.tolist(), said.astype(float).tolist())
    return Sidecar(
        **{
            "name": name,
            "version": 0,
            "runtime": runtime,
            "created_on": "2026-11-20",
            "trainer_version": "test",
            "features": list(features),
            "feature_names": names,
            "feature_schema_hash": schema_hash(names),
            "sha256": hashlib.sha256(artifact).hexdigest(),
            "golden": golden,
            "by_row": runtime in BY_ROW,
            **facts,
        }
    )


def blend_of(scores: Sequence[float], **facts: Any) -> tuple[Sidecar, bytes]:
    """Return a blend that scores the golden rows as given, with its artifact."""
    artifact = msgspec.json.encode(Blend(**facts))
    golden = Golden(rows()[: len(scores)].tolist(), list(scores))
    return sidecar_of(artifact, "ensemble", name="both", golden=golden), artifact
