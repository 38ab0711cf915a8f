"""The sidecar of a model that was made here: what all kinds of training have to say of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np

from onefold.domain.columns import Bars, Floats
from onefold.learn.config import TrainingConfig
from onefold.signals.expression import feature_of
from onefold.signals.model import Golden, Model, Predict, Sidecar, schema_hash

GOLDEN_ROWS, QUANTILES = 32, 21


def drafted(
    name: str,
    config: TrainingConfig,
    *,
    target: str,
    rule: str = "",
    created_on: str,
    span: tuple[int, int],
    interval_ns: int,
    data_hash: str,
    libraries: Iterable[str],
) -> Sidecar:
    """Return what is known of a model before it has been trained.

    `target` says in words what it predicts, and `rule` is the kind of the rule whose trades it
    judges, empty where it judges none. `span` is the time that it learns from, in nanoseconds; it
    expires so many days after its end. `interval_ns` is the length of its bars, 0 where they
    differ.
    """
    names = [feature_of(text).name for text in config.features]
    last_day = np.datetime64(span[1], "ns").astype("M8[D]")
    return Sidecar(
        name=name,
        version=0,
        runtime="onnx",
        created_on=created_on,
        trainer_version=version("onefold"),
        features=list(config.features),
        feature_names=names,
        feature_schema_hash=schema_hash(names),
        sha256="0" * 64,
        golden=Golden([], []),
        trained_from=span[0],
        trained_to=span[1],
        interval_ns=interval_ns,
        events=_events(config),
        cusum=config.cusum or 0.0,
        label=config.label,
        rule=rule,
        data_hash=data_hash,
        target=target,
        expires_on=str(last_day + np.timedelta64(config.expires_days, "D")),
        by_row=False,
        libraries={library: version(library) for library in libraries},
    )


def _events(config: TrainingConfig) -> str:
    """Return which bars a model learns from, in the sidecar's word."""
    if config.label != "trade":
        return "bars"
    return "turns" if config.turns_only else "entries"


def hash_of(bars: Mapping[str, Bars]) -> str:
    """Return the hash of what a model learns from."""
    digest = hashlib.sha256()
    for symbol, columns in bars.items():
        digest.update(symbol.encode() + b"\0")
        for column in columns:
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:16]


def serialised(made: Any) -> bytes:
    """Return an ONNX model as bytes, the same in every process.

    Converters gather the sets of operators in a set, whose order is another in every process.
    """
    opsets = sorted(made.opset_import, key=lambda one: str(one.domain))
    del made.opset_import[:]
    made.opset_import.extend(opsets)
    return bytes(made.SerializeToString(deterministic=True))


Numbered = Callable[[str], int]
"""Says which attempt under a model's name something is, from 1; see `attempt_of`."""


def uncounted(_: str) -> int:
    """Return that an attempt is the first, where nobody counts."""
    return 1


def attempt_of(artifact: bytes, config: TrainingConfig, data_hash: str, *judged: Floats) -> str:
    """Return what tells attempts to make a model apart: all that its verdict follows from.

    That is more than the model: other folds, another embargo or other costs judge the same one
    anew. `judged` are the numbers that it is judged by. When it expires does not matter.
    """
    digest = hashlib.sha256(artifact)
    digest.update(config.model_dump_json(exclude={"expires_days"}).encode() + b"\0")
    digest.update(data_hash.encode())
    for numbers in judged:
        digest.update(np.ascontiguousarray(numbers).tobytes())
    return digest.hexdigest()[:32]


def proved(
    draft: Sidecar, artifact: bytes, predict: Predict, features: Floats, **facts: Any
) -> Sidecar:
    """Return the sidecar of an artifact, with golden rows out of those that it learnt from.

    They are scored through the runtime that will trade it. Raises `ModelError` where it does not
    prove itself.
    """
    sidecar = msgspec.structs.replace(draft, sha256=hashlib.sha256(artifact).hexdigest(), **facts)
    model, steps = Model(sidecar, predict), np.linspace(0.0, 1.0, QUANTILES)
    rows = features[np.unique(np.linspace(0, len(features) - 1, GOLDEN_ROWS).round().astype(int))]
    # What is scored at once may differ in the last bits, which do not matter to quantiles.
    at_once = Model(msgspec.structs.replace(sidecar, by_row=False), predict)
    sidecar = msgspec.structs.replace(
        sidecar,
        golden=Golden(rows.tolist(), [float(model.scores(row[None])[0]) for row in rows]),
        quantiles=np.quantile(at_once.scores(features), steps).tolist(),
        feature_quantiles=np.quantile(features, steps, axis=0).T.tolist(),
    )
    Model(sidecar, predict).prove()
    return sidecar
