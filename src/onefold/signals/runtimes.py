"""The libraries that understand a model's bytes: ONNX Runtime, LightGBM, XGBoost, scikit-learn.

Each is imported only where a model needs it, and runs in one thread: with two, the order of sums
changes the last bits, and a score would depend on the machine's load. Nothing is unpickled unless
its hash was pinned by a person, since a pickle is a program.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from onefold.domain.columns import Floats
from onefold.domain.errors import MissingExtra, ModelError, did_you_mean
from onefold.signals.model import Predict

SUFFIXES: Mapping[str, str] = {
    "onnx": ".onnx",
    "lightgbm": ".txt",
    "xgboost": ".ubj",
    "skops": ".skops",
    "joblib": ".joblib",
    "ensemble": ".ensemble",
}
"""The runtimes, and how the names of their artifacts end."""
PICKLES = frozenset({"joblib"})
"""Runtimes whose artifacts are programs that run when they are loaded."""


def predictor(runtime: str, artifact: bytes) -> Predict:
    """Return the function that scores rows, from an artifact whose hash has been checked.

    Raises `ModelError` for bytes that the library does not understand, `MissingExtra`.
    """
    load = _LOADERS.get(runtime)
    if load is None:
        raise ModelError(f"there is no runtime {runtime!r}{did_you_mean(runtime, _LOADERS)}")
    try:
        return load(artifact)
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 - a library's errors have no common parent
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{runtime} cannot load it: {type(error).__name__}: {reason}") from None


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise MissingExtra(f"a model of {name}", "ml") from None


def _onnx(artifact: bytes) -> Predict:
    ort = _library("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or inputs[0].type not in {"tensor(float)", "tensor(double)"}:
        raise ModelError("an ONNX model takes one matrix of numbers")
    kind = np.float32 if inputs[0].type == "tensor(float)" else np.float64
    tensors = [o.name for o in outputs if o.type in {"tensor(float)", "tensor(double)"}]
    if not tensors:
        found = ", ".join(o.type for o in outputs)
        raise ModelError(f"an ONNX model gives a tensor of probabilities, not {found}")
    name, wanted, run = inputs[0].name, tensors[-1:], session.run

    def predict(rows: Floats) -> Any:
        return _last_column(run(wanted, {name: rows.astype(kind)})[0])

    return predict


def _last_column(scores: Any) -> Any:
    """Return the probability of the last class, of scores of any usual shape."""
    return scores if scores.ndim == 1 else scores[:, -1]


def _lightgbm(artifact: bytes) -> Predict:
    booster = _library("lightgbm").Booster(model_str=artifact.decode())
    return lambda rows: _last_column(booster.predict(rows, num_threads=1))


def _xgboost(artifact: bytes) -> Predict:
    xgboost = _library("xgboost")
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(artifact))
    booster.set_param({"nthread": 1})
    return lambda rows: _last_column(booster.inplace_predict(rows))


def _skops(artifact: bytes) -> Predict:
    files = _library("skops.io")
    unknown = files.get_untrusted_types(data=artifact)
    if unknown:
        raise ModelError(f"it holds types that nobody trusts: {', '.join(sorted(unknown)[:5])}")
    return _estimator(files.loads(artifact, trusted=[]))


def _joblib(artifact: bytes) -> Predict:
    return _estimator(_library("joblib").load(io.BytesIO(artifact)))


def _estimator(estimator: Any) -> Predict:
    if hasattr(estimator, "predict_proba"):
        return lambda rows: _last_column(estimator.predict_proba(rows))
    if hasattr(estimator, "predict"):
        predict: Predict = estimator.predict
        return predict
    raise ModelError(f"a {type(estimator).__name__} cannot predict")


_LOADERS: Mapping[str, Callable[[bytes], Predict]] = {
    "onnx": _onnx,
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "skops": _skops,
    "joblib": _joblib,
}
