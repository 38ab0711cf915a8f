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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Floats
from onefold.domain.errors import ConfigError, ModelError
from onefold.signals.expression import feature_of
from onefold.signals.feature import NAN, Feature, Kernel, Node, all_known, inherit

GOLDEN_TOLERANCE = 1e-6
"""How far a score may be from the recorded one: another processor changes the last bits."""
SAID_MAX = 300
"""Characters of a library's complaint that are told on."""
GOLDEN_LEAST = 8
"""Golden rows that a model needs at least: one may agree by chance."""
PROOF_ROWS = 128
"""Rows beside the golden ones that a model is asked in its proof."""
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
TS_END = 1 << 63
"""Times in nanoseconds lie below it."""
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
    knows. `label` says in one word what it was taught (`trade`, `direction`, `trend`, `policy`),
    and `rule` the kind of the rule whose trades those are. `events` says which bars it was trained
    on: all (`bars`), those at which its rule wants a position (`entries`), those at which that
    begins (`turns`), and empty where nobody knows;
    `cusum` is the move of the filter among them, 0 without. `quantiles` are those of its scores in
    training, from 0 to 1 in even steps, `feature_quantiles` the same for each feature.
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
    events: str = ""
    cusum: float = 0.0
    label: str = ""
    rule: str = ""
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
        """Return name, version and the start of the sidecar's hash: `dips@3#1f09a2b4`."""
        return f"{self.name}@{self.version}#{self.hash[:8]}"

    @property
    def hash(self) -> str:
        """Return the hash of all that it says, the artifact's hash among it."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    @property
    def aim(self) -> Aim | None:
        """Return what it predicts, None where it does not say so in a form that can be checked."""
        if self.label:
            return Aim(self.label, self.rule)
        for pattern, label in _AIMS:
            if found := pattern.match(self.target):
                return Aim(label, found[1] if pattern.groups else "")
        return None

    def expired(self, today: str) -> bool:
        """Return whether it has expired on a date, YYYY-MM-DD."""
        return bool(self.expires_on) and today >= self.expires_on


class Aim(NamedTuple):
    """What a model was taught: the label of its training, and the rule whose trades it judges."""

    label: str
    rule: str = ""

    @property
    def words(self) -> str:
        """Return it in words."""
        if self.label == "trade":
            return f"whether a trade of {self.rule or 'some rule'} pays"
        return {
            "direction": "whether the price rises",
            "trend": "whether the strongest trend rises",
            "policy": "a position (a policy)",
        }.get(self.label, self.label)


_AIMS = (
    (re.compile(r"whether a trade of (\w+) ?\("), "trade"),
    (re.compile(r"whether the close is higher "), "direction"),
    (re.compile(r"whether the strongest trend rises "), "trend"),
    (re.compile(r"nothing: a policy "), "policy"),
)
"""What sidecars without `label` say in `target`, where training wrote only that."""


def schema_hash(feature_names: Sequence[str]) -> str:
    """Return the hash of what a model's columns mean, and of their order."""
    return hashlib.sha256("\n".join(feature_names).encode()).hexdigest()[:16]


def is_day(text: str) -> bool:
    """Return whether a text is a date of the calendar, written YYYY-MM-DD.

    Other forms of ISO 8601 do not sort as dates do.
    """
    if not DAY.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def earliest(days: Iterable[str]) -> str:
    """Return the first of some dates, YYYY-MM-DD or empty for none; empty where there is none."""
    return min((day for day in days if day), default="")


def sidecar_of(raw: bytes, where: str) -> Sidecar:
    """Return a sidecar from its JSON. Raises `ModelError` that begins with `where`."""
    try:
        sidecar = msgspec.json.decode(raw, type=Sidecar)
    except UnicodeDecodeError as error:
        raise ModelError(f"{where} is not UTF-8 text: byte {error.start}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ModelError(f"{where}: this is no sidecar of a model: {error}") from None
    for what in _faults(sidecar):
        raise ModelError(f"{where}: {what}")
    return sidecar


def _faults(one: Sidecar) -> Iterator[str]:
    """Yield what of a sidecar cannot be, in words."""
    if one.expires_on and not is_day(one.expires_on):
        yield f"expires_on: {one.expires_on!r} is no date, YYYY-MM-DD"
    for name in ("trained_from", "trained_to", "interval_ns"):
        if not 0 <= getattr(one, name) < TS_END:
            yield f"{name}: {getattr(one, name)} is no time in nanoseconds"
    if any(a > b for a, b in pairwise(one.quantiles)):
        yield "quantiles must not descend"
    yield from _golden_faults(one.golden, len(one.features))
    points = one.calibration
    if points is not None:
        if not points.x or len(points.x) != len(points.y):
            yield f"calibration: {len(points.x)} x and {len(points.y)} y make no line"
        if any(a >= b for a, b in pairwise(points.x)):
            yield "calibration: x must ascend"
        if not all(0.0 <= y <= 1.0 for y in points.y):
            yield "calibration: y must be probabilities"


def _golden_faults(golden: Golden, width: int) -> Iterator[str]:
    if not width:
        yield "it has no features"
    if len(golden.inputs) != len(golden.outputs):
        yield f"golden: {len(golden.inputs)} rows, and {len(golden.outputs)} scores"
    for i, row in enumerate(golden.inputs):
        if len(row) != width:
            yield f"golden: row {i} has {len(row)} numbers, and there are {width} features"


def proof_rows(sidecar: Sidecar) -> Floats:
    """Return rows around the golden ones, which a model is asked in its proof beside them.

    They are spread evenly, and are the same everywhere: fractional parts of multiples of irrational
    numbers, a sequence of Kronecker.
    """
    golden = np.array(sidecar.golden.inputs, np.float64)
    spread = np.maximum(golden.std(axis=0), 1e-3 * np.abs(golden).max(axis=0))
    number, column = np.arange(1, PROOF_ROWS + 1)[:, None], np.arange(1, golden.shape[1] + 1)
    share = np.modf(number * np.sqrt(column + 0.5))[0]
    base: Floats = golden[np.arange(PROOF_ROWS) % len(golden)]
    return base + (4.0 * share - 2.0) * np.where(spread > 0.0, spread, 1.0)


class Model:
    """A model that may be traded on, or the memory of one: without `predict` it cannot score.

    `members` are the models that it asks itself, `skipped` those that it leaves out, with the
    reason. `decided` gives the date from which on somebody has decided that it is over, empty for
    none; it may change while a session runs. `hash_` is what is remembered of its hash. Raises
    `ModelError` where its features are not those that it was trained on.
    """

    def __init__(
        self,
        sidecar: Sidecar,
        predict: Predict | None,
        skipped: Mapping[str, str] | None = None,
        *,
        members: Sequence[Model] = (),
        hash_: str = "",
    ) -> None:
        self.sidecar = sidecar
        self.identity = sidecar.identity
        self.skipped = dict(skipped or {})
        self.members = tuple(members)
        self.hash = hash_ or _joined_hash(sidecar, self.members)
        self.decided: Callable[[], str] = str
        self.is_silent = False
        self.features = _features(sidecar)
        self._predict = predict
        points = sidecar.calibration
        self._points = None if points is None else (np.array(points.x), np.array(points.y))

    @cached_property
    def score(self) -> ModelScore:
        """Return the score as a feature: a probability, NaN while a feature is unknown."""
        return ModelScore(self)

    @property
    def expires_on(self) -> str:
        """Return from which date on it may not be asked, empty for never.

        That is the earliest of its sidecar's, of what was decided, and of its members'. Raises
        `ModelError` where nobody can say any more what was decided.
        """
        own = self.sidecar.expires_on, self.decided()
        return earliest([*own, *(member.expires_on for member in self.members)])

    def expired(self, today: str) -> bool:
        """Return whether it may not be asked on a date, YYYY-MM-DD. Raises `ModelError`."""
        day = self.expires_on
        return bool(day) and today >= day

    def parts(self) -> Iterator[Model]:
        """Yield the model and all that it asks."""
        yield self
        for member in self.members:
            yield from member.parts()

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
        """Score the golden rows and some around them, together, one by one, and twice.

        Raises `ModelError` where the golden scores are others, or where a score depends on anything
        but its row.
        """
        try:
            self._prove()
        except ModelError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody may trade on it
            said = f"{type(error).__name__}: {error}"[:SAID_MAX]
            raise ModelError(f"model {self.identity} cannot be proved: {said}") from None

    def _prove(self) -> None:
        golden, width = self.sidecar.golden, len(self.features)
        rows, expected = np.array(golden.inputs, np.float64), np.array(golden.outputs)
        if len(expected) < GOLDEN_LEAST or rows.shape != (len(expected), width):
            raise ModelError(
                f"model {self.identity} has {len(expected)} golden rows of its {width} features, "
                f"and needs at least {GOLDEN_LEAST}"
            )
        asked = np.concatenate([rows, proof_rows(self.sidecar)])
        together = self.scores(asked)
        alone = np.concatenate([self.scores(asked[i : i + 1]) for i in range(len(asked))])
        if not np.array_equal(together, self.scores(asked), equal_nan=True):
            raise ModelError(f"model {self.identity} scores the same rows in two ways: by chance?")
        if not np.array_equal(together, alone, equal_nan=True):
            raise ModelError(
                f"model {self.identity}: its scores depend on how many rows are scored at once; "
                "set by_row in its sidecar"
            )
        wrong = np.flatnonzero(~(np.abs(together[: len(rows)] - expected) <= GOLDEN_TOLERANCE))
        if len(wrong):
            i = int(wrong[0])
            raise ModelError(
                f"model {self.identity}: golden row {i} scores {together[i]:.9g} here, and "
                f"{expected[i]:.9g} where it was trained: another version of its library?"
            )


def _joined_hash(sidecar: Sidecar, members: Sequence[Model]) -> str:
    """Return the hash of a model with its members'."""
    if not members:
        return sidecar.hash
    joined = "\n".join((sidecar.hash, *(member.hash for member in members)))
    return hashlib.sha256(joined.encode()).hexdigest()


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
    silent = Model(model.sidecar, lambda rows: np.full(len(rows), NAN), hash_=model.hash)
    silent.is_silent = True
    return silent


def _features(sidecar: Sidecar) -> tuple[Feature, ...]:
    if not sidecar.features:
        raise ModelError(f"model {sidecar.identity} has no features")
    try:
        features = tuple(feature_of(text) for text in sidecar.features)
    except (ConfigError, ArithmeticError, MemoryError) as error:
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
