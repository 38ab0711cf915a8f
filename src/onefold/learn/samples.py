"""Small models of every runtime, for smoke tests: what they say does not matter, only that they do.

They are trained on noise with a seed, so they are the same everywhere, and nobody should trade on
them.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import joblib  # type: ignore[import-untyped]
import lightgbm
import msgspec
import numpy as np
import skops.io  # type: ignore[import-untyped]
import xgboost
from onnxmltools import convert_lightgbm  # type: ignore[import-untyped]
from onnxmltools.convert.common.data_types import FloatTensorType  # type: ignore[import-untyped]
from skl2onnx import to_onnx  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.neural_network import MLPClassifier  # type: ignore[import-untyped]

from onefold.domain.columns import Floats
from onefold.learn.sidecars import serialised
from onefold.signals.blend import Blend
from onefold.signals.expression import feature_of
from onefold.signals.model import Golden, Sidecar, schema_hash
from onefold.signals.runtimes import predictor

FEATURES = ("rsi(5)", "ibs()", "close / sma(8) - 1")
ROWS, GOLDEN = 400, 20
RUNTIMES: Mapping[str, str] = {
    "trees": "onnx",
    "deep": "onnx",
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "skops": "skops",
    "joblib": "joblib",
}
"""The samples, and what runs each."""
BY_ROW = frozenset({"deep", "skops", "joblib"})
"""Samples whose last bits depend on how many rows are scored at once."""


@cache
def rows() -> Floats:
    """Return what the samples were trained on."""
    return np.random.default_rng(7).normal(size=(ROWS, len(FEATURES)))


@cache
def _classes() -> Any:
    return (rows()[:, 0] - rows()[:, 1] ** 2 + 0.3 > 0).astype(int)


@cache
def artifact_of(kind: str) -> bytes:
    """Return the bytes of a sample."""
    if kind == "deep":
        layers = MLPClassifier(
            (6, 6), solver="lbfgs", alpha=0.1, max_iter=3_000, random_state=1
        ).fit(rows(), _classes())
        exported = to_onnx(layers, rows()[:1].astype(np.float32), options={"zipmap": False})
        return serialised(exported)
    if kind in BY_ROW:
        fitted = LogisticRegression().fit(rows(), _classes())
        if kind == "skops":
            return bytes(skops.io.dumps(fitted))
        file = io.BytesIO()
        joblib.dump(fitted, file)
        return file.getvalue()
    if kind == "xgboost":
        data = xgboost.DMatrix(rows(), _classes())
        booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 8)
        return bytes(booster.save_raw("ubj"))
    return _trees(kind)


def _trees(kind: str) -> bytes:
    options: dict[str, Any] = {"n_estimators": 8, "num_leaves": 5, "n_jobs": 1, "verbose": -1}
    model = lightgbm.LGBMClassifier(**options, deterministic=True).fit(rows(), _classes())
    if kind == "lightgbm":
        return model.booster_.model_to_string().encode()
    shape = [("features", FloatTensorType([None, len(FEATURES)]))]
    exported = convert_lightgbm(model, "sample", shape, zipmap=False)
    return serialised(exported)


def sidecar_of(
    artifact: bytes,
    kind: str = "trees",
    *,
    name: str = "sample",
    features: Sequence[str] = FEATURES,
    golden: Golden | None = None,
    **facts: Any,
) -> Sidecar:
    """Return a sidecar for an artifact; its golden rows are scored with the artifact itself."""
    runtime = RUNTIMES.get(kind, kind)
    names = [feature_of(text).name for text in features]
    if golden is None:
        asked, predict = rows()[:GOLDEN], predictor(runtime, artifact)
        said = np.concatenate([predict(asked[i : i + 1]) for i in range(GOLDEN)])
        golden = Golden(asked.tolist(), said.astype(float).tolist())
    given: dict[str, Any] = {
        "name": name,
        "version": 0,
        "runtime": runtime,
        "created_on": "2026-11-20",
        "trainer_version": version("onefold"),
        "features": list(features),
        "feature_names": names,
        "feature_schema_hash": schema_hash(names),
        "sha256": hashlib.sha256(artifact).hexdigest(),
        "golden": golden,
        "by_row": kind in BY_ROW,
        "target": "nothing: a sample for smoke tests",
        "quantiles": np.linspace(0.0, 1.0, 21).tolist(),
        **facts,
    }
    return Sidecar(**given)


def samples() -> list[tuple[Sidecar, bytes]]:
    """Return all samples but the pickle, with a blend of two of them last."""
    made = []
    for kind in RUNTIMES:
        if kind != "joblib":
            artifact = artifact_of(kind)
            made.append((sidecar_of(artifact, kind, name=f"sample_{kind}"), artifact))
    scores = [np.array(sidecar.golden.outputs) for sidecar, _ in made[:2]]
    blend = Blend(members=[f"{sidecar.name}@1" for sidecar, _ in made[:2]])
    joined = msgspec.json.encode(blend)
    golden = Golden(rows()[:GOLDEN].tolist(), ((scores[0] + scores[1]) / 2.0).tolist())
    sidecar = sidecar_of(joined, "ensemble", name="sample_blend", golden=golden, by_row=True)
    return [*made, (sidecar, joined)]
