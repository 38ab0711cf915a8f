"""The form of a signal: its constants, what a strategy sees, and the rules every signal obeys.

Each rule looks at one value only, so that a row is treated alike whether it comes alone or in a
column: what is not finite becomes unknown, an unknown confidence is none, and a row on which a
feature is unknown holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Floats, Sides, Signals
from onefold.domain.errors import SignalError, did_you_mean
from onefold.signals.feature import NAN

SHORT, FLAT, LONG, HOLD = np.int8(-1), np.int8(0), np.int8(1), np.int8(2)

# Shared by all signals, so that a field that is not given is known by its identity.
NOT_READY = np.zeros(1, np.int64)
UNKNOWN = np.full(1, NAN)
CERTAIN = np.ones(1)
for _shared in (NOT_READY, UNKNOWN, CERTAIN):
    _shared.flags.writeable = False

BAD_CONFIDENCE = "a confidence is a probability, between 0 and 1"
NO_POSITION = (
    "needs its own position, which follows from all that it said before: only a run knows it "
    "(a backtest, a session), or give it as held"
)

FIELDS = ("confidence", "score", "edge", "volatility", "trend", "barrier", "price")


class SignalRow(NamedTuple):
    """A signal as scalars, with the fields of `Signals` in the same order."""

    side: int
    confidence: float
    score: float
    edge: float
    volatility: float
    trend: float
    barrier: float
    price: float
    unready: int


Number = TypeVar("Number")


class Held(NamedTuple, Generic[Number]):
    """What a strategy holds of an instrument once a bar is folded: one number each, or columns.

    `position` is in signed lots; `entry_price` is their average price, NaN when there are none;
    `bars_held` counts the bars since, with the one in which the first lot was filled.
    """

    position: Number
    entry_price: Number
    bars_held: Number


NOTHING_HELD: Held[float] = Held(0.0, NAN, 0.0)


class Columns:
    """What a strategy sees: its features by name, and the bars' columns; all of one length."""

    def __init__(self, values: Mapping[str, NDArray[Any]]) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        """Explain which names there are; only called for one that is missing."""
        if name.startswith("__"):
            raise AttributeError(name)
        if name in Held._fields:
            raise SignalError(f"x has no column {name!r}: declare needs_position = True to have it")
        hint = did_you_mean(name, self.__dict__)
        raise SignalError(f"x has no column {name!r}: extract_features does not give it{hint}")

    def __getitem__(self, name: str) -> Any:
        """Return a column by name."""
        return getattr(self, name)


def choose(*choices: tuple[NDArray[np.bool_], np.int8], otherwise: np.int8 = HOLD) -> Sides:
    """Return the side of the first condition that is true, row by row.

    The same as `np.select`, which takes ten times as long on a single row.
    """
    side = np.empty(len(choices[0][0]), np.int8)
    side.fill(otherwise)
    for condition, value in reversed(choices):
        side[condition] = value
    return side


def floats(value: Any) -> Floats:
    """Return numbers as a column, one number as a column of length one."""
    if type(value) is np.ndarray and value.dtype is UNKNOWN.dtype and value.ndim == 1:
        return value
    array = np.asarray(value, np.float64)
    return array if array.ndim else array.reshape(1)


def sides_of(value: Any) -> Sides:
    """Return sides as int8, whatever kind of number they came as."""
    array = np.asarray(value)
    if array.ndim == 0:
        array = array.reshape(1)
    if array.dtype == np.int8:
        return array
    if array.dtype.kind == "b":
        return array.view(np.int8)
    if array.dtype.kind not in "iuf":
        raise SignalError(f"a side is LONG, SHORT, FLAT or HOLD, not {value!r}")
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), float(HOLD), array)
    wrong = (array < SHORT) | (array > HOLD) | (array != np.floor(array))
    if wrong.any():
        raise SignalError(f"a side is -1, 0, 1 or 2 (hold), not {array[wrong][0]}")
    return array.astype(np.int8)


def as_signals(kind: str, draft: object) -> Signals:
    """Return what predict_signal gave, or raise SignalError where it is something else."""
    if isinstance(draft, Signals):
        return draft
    raise SignalError(
        f"{kind}: predict_signal must return self.signal(side=...), it returned {type(draft)}"
    )


def finished(kind: str, draft: Signals, features: list[tuple[Floats, int]], rows: int) -> Signals:
    """Return checked signals: HOLD where a feature is unknown, and no infinities."""
    side, confidence, *others, _ = as_signals(kind, draft)
    columns: tuple[NDArray[Any], ...] = (side, confidence, *others)
    for name, column in zip(("side", *FIELDS), columns, strict=True):
        if len(column) not in (1, rows):
            raise SignalError(
                f"{kind}: {name} has {len(column)} values for {rows} rows; give one per row"
            )
    side = np.repeat(side, rows) if len(side) != rows else side
    if rows and (np.minimum.reduce(side) < SHORT or np.maximum.reduce(side) > HOLD):
        raise SignalError(f"{kind}: a side is LONG, SHORT, FLAT or HOLD, not another number")
    unready, reach = _unready(features, rows)
    if reach:
        side = side.copy()
        side[:reach][unready[:reach] > 0] = HOLD
    if confidence is not CERTAIN:
        confidence = _replaced(confidence, 0.0)
        if rows and (np.minimum.reduce(confidence) < 0 or np.maximum.reduce(confidence) > 1):
            raise SignalError(f"{kind}: {BAD_CONFIDENCE}")
    known = (f if f is UNKNOWN else _replaced(f, NAN) for f in others)
    return Signals._make((side, confidence, *known, unready))


def _unready(features: list[tuple[Floats, int]], rows: int) -> tuple[NDArray[np.int64], int]:
    """Return how many features are unknown per row, and before which row that happens."""
    unready, reach = np.zeros(rows, np.int64), 0
    for column, warm_up in features:
        # A finite sum shows that nothing is unknown after the warm-up, without a look at each.
        known = np.isfinite(np.add.reduce(column[warm_up:]))
        end = min(warm_up, rows) if known else rows
        unready[:end] += np.isnan(column[:end])
        reach = max(reach, end)
    return unready, reach


def _replaced(column: Floats, instead: float) -> Floats:
    """Return the column with what is not finite replaced."""
    if np.isfinite(np.add.reduce(column)):
        return column
    return np.where(np.isfinite(column), column, instead)
