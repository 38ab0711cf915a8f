"""A trained model as a feature: what it is, what it was trained on, and proof that it still works.

An artifact is bytes that some library understands; what makes it a model one can trade on stands
beside it, in its sidecar. Both are checked against each other before the first score: the bytes
against their hash, the features against their schema, and the scores of recorded rows against those
that the trainer saw. A score is then a feature like any other, so that a strategy on it has both of
its forms, is proved causal like every other, and waits while it is unknown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Floats
from onefold.domain.errors import ConfigError, ModelError
from onefold.signals.expression import feature_of
from onefold.signals.feature import NAN, Feature, Kernel, Node, all_known, inherit

GOLDEN_TOLERANCE = 1e-6
"""How far a score may be from the recorded one: another processor changes the last bits."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
"""What a model may be called."""
Predict = Callable[[Floats], Any]
"""Scores of rows: takes a matrix with a row for each bar and a column for each feature."""


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of features, and the scores that the trainer saw for them."""

    inputs: list[list[float]]
    outputs: list[float]


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What turns a raw score into a probability: a line through points, constant beyond them."""

    x: list[float]
    y: list[float]


class Sidecar(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Everything about a model but its bytes.

    `features` are texts for `feature_of`, in the order of the matrix; `feature_names` what they
    were called in full when it was trained. `sha256` is of the artifact. `trained_from` and
    `trained_to` are times in nanoseconds UTC, `expires_on` a date or empty. `by_row` says that
    rows are scored one by one, because the library's last bits depend on how many there are.
    `interval_ns` is the length of the bars that it was trained on, 0 where they differed or nobody
    knows. `quantiles` are those of its scores in training, from 0 to 1 in even steps,
    `feature_quantiles` the same for each feature.
    """

    name: str
    version: int
    runtime: str
    created_on: str
    trainer_version: str
    features: list[str]
    feature_names: list[str]
    feature_schema_hash: str
    sha256: str
    golden: Golden
    trained_from: int = 0
    trained_to: int = 0
    interval_ns: int = 0
    data_hash: str = ""
    target: str = ""
    expires_on: str = ""
    by_row: bool = True
    calibration: Calibration | None = None
    quantiles: list[float] = []
    feature_quantiles: list[list[float]] = []
    metrics: dict[str, float | None] = {}
    libraries: dict[str, str] = {}

    @property
    def identity(self) -> str:
        """Return name, version and the start of the hash: `dips@3#1f09a2b4`."""
        return f"{self.name}@{self.version}#{self.sha256[:8]}"

    def expired(self, today: str) -> bool:
        """Return whether it has expired on a date, YYYY-MM-DD."""
        return bool(self.expires_on) and today >= self.expires_on


def schema_hash(feature_names: Sequence[str]) -> str:
    """Return the hash of what a model's columns mean, and of their order."""
    return hashlib.sha256("\n".join(feature_names).encode()).hexdigest()[:16]


def sidecar_of(raw: bytes, where: str) -> Sidecar:
    """Return a sidecar from its JSON. Raises `ModelError` that begins with `where`."""
    try:
        return msgspec.json.decode(raw, type=Sidecar)
    except msgspec.DecodeError as error:
        raise ModelError(f"{where}: this is no sidecar of a model: {error}") from None


class Model:
    """A model that may be traded on, or the memory of one: without `predict` it cannot score.

    Raises `ModelError` where its features are not those that it was trained on.
    """

    def __init__(
        self, sidecar: Sidecar, predict: Predict | None, skipped: Mapping[str, str] | None = None
    ) -> None:
        self.sidecar = sidecar
        self.identity = sidecar.identity
        self.skipped = dict(skipped or {})
        self.features = _features(sidecar)
        self._predict = predict
        points = sidecar.calibration
        self._points = None if points is None else (np.array(points.x), np.array(points.y))

    @cached_property
    def score(self) -> ModelScore:
        """Return the score as a feature: a probability, NaN while a feature is unknown."""
        return ModelScore(self)

    def scores(self, rows: Floats) -> Floats:
        """Return the score of every row of features, NaN where it is no probability.

        Raises `ModelError` when the library fails, or the model has none.
        """
        if self.sidecar.by_row:
            raw = np.array([self._raw(rows[i : i + 1])[0] for i in range(len(rows))])
        else:
            raw = self._raw(rows) if len(rows) else np.empty(0)
        return self._finished(raw)

    def _raw(self, rows: Floats) -> Floats:
        if self._predict is None:
            raise ModelError(f"model {self.identity} is only remembered here, and cannot score")
        try:
            raw = np.asarray(self._predict(rows), np.float64)
        except Exception as error:  # noqa: BLE001 - a library's errors have no common parent
            reason = f"{type(error).__name__}: {error}"
            raise ModelError(f"model {self.identity} failed: {reason}") from None
        if raw.shape != (len(rows),):
            raise ModelError(f"model {self.identity} gave {raw.shape} numbers for {len(rows)} rows")
        return raw

    def _finished(self, raw: Floats) -> Floats:
        if self._points is not None:
            known = np.isfinite(raw)
            raw = np.where(known, np.interp(raw, self._points[0], self._points[1]), NAN)
        with np.errstate(invalid="ignore"):
            return np.where((raw >= 0.0) & (raw <= 1.0), raw, NAN)

    def prove(self) -> None:
        """Score the golden rows, together and one by one. Raises `ModelError` where they differ."""
        golden = self.sidecar.golden
        rows, expected = np.array(golden.inputs, np.float64), np.array(golden.outputs)
        if not len(expected) or rows.shape != (len(expected), len(self.features)):
            raise ModelError(f"model {self.identity} has no golden rows of {len(self.features)}")
        together = self.scores(rows)
        alone = np.concatenate([self.scores(rows[i : i + 1]) for i in range(len(rows))])
        if not np.array_equal(together, alone, equal_nan=True):
            raise ModelError(
                f"model {self.identity}: its scores depend on how many rows are scored at once; "
                "set by_row in its sidecar"
            )
        wrong = np.flatnonzero(~(np.abs(together - expected) <= GOLDEN_TOLERANCE))
        if len(wrong):
            i = int(wrong[0])
            raise ModelError(
                f"model {self.identity}: golden row {i} scores {together[i]:.9g} here, and "
                f"{expected[i]:.9g} where it was trained: another version of its library?"
            )


def scores_of(nodes: Iterable[Node]) -> set[ModelScore]:
    """Return the scores among some features and all that they are made of."""
    found: set[ModelScore] = set()
    for node in nodes:
        if isinstance(node, ModelScore):
            found.add(node)
        found |= scores_of(node.inputs)
    return found


def silenced(model: Model) -> Model:
    """Return a model of which every score is unknown: nothing is entered on it."""
    return Model(model.sidecar, lambda rows: np.full(len(rows), NAN))


def _features(sidecar: Sidecar) -> tuple[Feature, ...]:
    if not sidecar.features:
        raise ModelError(f"model {sidecar.identity} has no features")
    try:
        features = tuple(feature_of(text) for text in sidecar.features)
    except ConfigError as error:
        raise ModelError(f"model {sidecar.identity}: {error}") from None
    names = [feature.name for feature in features]
    for i, (now, then) in enumerate(zip(names, sidecar.feature_names, strict=False)):
        if now != then:
            raise ModelError(
                f"model {sidecar.identity}: feature {i} is {now} here, and was {then} in training"
            )
    if schema_hash(names) != sidecar.feature_schema_hash:
        raise ModelError(
            f"model {sidecar.identity}: its features are not those that it was trained on "
            f"(schema {schema_hash(names)}, trained on {sidecar.feature_schema_hash})"
        )
    return features


class ModelScore(Feature):
    """A model's score of every bar; unknown while one of its features is."""

    is_score = True

    def __init__(self, model: Model) -> None:
        self.model = model
        inherit(self, model.features)

    @cached_property
    def name(self) -> str:
        """Return the model's identity."""
        return self.model.identity

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Return the model's features, in its order."""
        return self.model.features

    def evaluate(self, *columns: Any) -> Any:
        """Return the score of every bar."""
        matrix: NDArray[np.float64] = np.column_stack(np.broadcast_arrays(*columns))
        known = np.isfinite(matrix).all(axis=1)
        scores = np.full(len(matrix), NAN)
        scores[known] = self.model.scores(matrix[known])
        return scores

    def open(self) -> Kernel:
        """Return the stateless stream."""
        model = self.model

        def update(values: float | tuple[float, ...]) -> float:
            if not all_known(values):
                return NAN
            row = (values,) if isinstance(values, float) else values
            return float(model.scores(np.array([row], np.float64))[0])

        return update


class Models(Protocol):
    """Where strategies find their models."""

    def get(self, name: str) -> Model:
        """Return a model that has proved itself: by name, `name@version`, or a path to it.

        Raises `ModelError`.
        """
