"""A feature is one number per bar, in two forms that agree bit for bit.

Research wants whole columns, live trading one bar at a time. Writing each indicator twice is how
the two drift apart, so here a feature is one object with both forms, and the conformance suite
proves for every one of them that they give the same bits. A feature is causal by construction: it
is built from the columns of closed bars, from other features and from functions that only look
back.

Features are values: two with the same name are equal, hash alike and are computed once, however
many strategies ask for them (`FeatureSet`). An unknown value is NaN, and a feature is never
infinite.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Bars, Floats
from onefold.domain.errors import ConfigError, SignalError, did_you_mean

NAN = float("nan")
COLUMNS = Bars._fields
PRICE_COLUMNS = ("open", "high", "low", "close", "volume", "bid", "ask")

Kernel = Callable[[Any], Any]
"""One open stream of a node: takes its input's value, or a tuple of its inputs' values."""
Scored = Callable[[Any, Kernel], Kernel]
"""Takes a model's score and its stream, and returns the stream to ask instead: one that records."""


class BarRow(NamedTuple):
    """One closed bar as scalars, with the fields of `Bars` in the same order."""

    ts: int
    ts_open: int
    open: float
    high: float
    low: float
    close: float
    volume: float = NAN
    bid: float = NAN
    ask: float = NAN
    to_close_s: int = -1


def rows_of(bars: Bars) -> list[BarRow]:
    """Return every bar as a row of Python scalars."""
    return [BarRow(*row) for row in zip(*(column.tolist() for column in bars), strict=True)]


class Node(ABC):
    """One step of a computation: some inputs, and a value per bar in both forms."""

    warm_up: int = 0
    """Bars at the start for which there is no value yet."""
    warm_up_ns: int = 0
    """Time that must have passed besides, for values of higher timeframes."""
    finite: bool = True
    """Whether the last `warm_up + 1` bars alone determine the value, to the last bit.

    False for what carries a state or a running sum: its last bits depend on the first bar it saw.
    """

    @cached_property
    @abstractmethod
    def name(self) -> str:
        """Return what the node computes of what, such as `sma(close,10)`."""

    @property
    @abstractmethod
    def inputs(self) -> tuple[Node, ...]:
        """Return the nodes whose values this one needs."""

    @abstractmethod
    def evaluate(self, *columns: Any) -> Any:
        """Return the whole column from the inputs' whole columns."""

    @abstractmethod
    def open(self) -> Kernel:
        """Return a fresh stream."""

    def __eq__(self, other: object) -> bool:
        """Return whether the other node computes the same."""
        if not isinstance(other, Node):
            return NotImplemented
        return self is other or (type(self) is type(other) and self.name == other.name)

    def __hash__(self) -> int:
        """Return the hash of the name."""
        return hash(self.name)

    def __repr__(self) -> str:
        """Return the name."""
        return f"<{self.name}>"


class Feature(Node):
    """One number per bar.

    Subclass it to write your own in plain Python over arrays: give `compute`, and say in `warm_up`
    how many earlier bars a value needs. The stream is derived by computing over the last
    `warm_up + 1` bars, and `check_feature` proves that it agrees with the batch::

        class Gap(Feature):
            warm_up = 1

            def compute(self, bars):
                before = np.concatenate([[np.nan], bars.close[:-1]])
                return bars.open / before - 1
    """

    is_score: ClassVar[bool] = False
    """Whether it is what a model says: that is recorded, since nobody may be there to ask again."""

    @cached_property
    def name(self) -> str:
        """Return the class and its parameters; override it where they do not say everything."""
        public = {k: v for k, v in vars(self).items() if not k.startswith("_")}
        return f"{type(self).__name__}({','.join(f'{k}={_text(v)}' for k, v in public.items())})"

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Return all columns of the bars."""
        return _ALL_COLUMNS

    def compute(self, bars: Bars) -> NDArray[Any]:
        """Return one value per bar; row i may depend on rows `i - warm_up` to i only."""
        raise SignalError(
            f"feature {type(self).__name__} does not define compute(self, bars), asked for "
            f"{bars.rows} bars"
        )

    def evaluate(self, *columns: Any) -> Any:
        """Return `compute` of all bars, unknown during warm-up."""
        bars = Bars(*columns)
        column = np.full(bars.rows, NAN)
        if bars.rows > self.warm_up:
            column[self.warm_up :] = self._computed(bars)[self.warm_up :]
        return finite_or_nan(column)

    def open(self) -> Kernel:
        """Return a stream that computes over the last `warm_up + 1` bars."""
        window = BarWindow(self.warm_up + 1)

        def update(row: Sequence[float]) -> float:
            bars = window.push(row)
            if bars is None:
                return NAN
            value = float(self._computed(bars)[-1])
            return value if value - value == 0.0 else NAN

        return update

    def batch(self, bars: Bars) -> Floats:
        """Return the feature of every bar, NaN while it is unknown."""
        return FeatureSet([self]).batch(bars)[self.name]

    def stream(self) -> FeatureStream:
        """Return a stream that has seen no bar yet."""
        return FeatureStream(self)

    def _computed(self, bars: Bars) -> Floats:
        with np.errstate(all="ignore"):
            raw = np.asarray(self.compute(bars))
        if raw.shape != (bars.rows,) or raw.dtype.kind not in "fiub":
            raise SignalError(
                f"feature {self.name}: compute must return one number per bar, so {bars.rows} "
                f"numbers here; it returned {raw.dtype} of shape {raw.shape}"
            )
        return raw.astype(np.float64, copy=False)

    def __add__(self, other: Feature | float) -> Feature:
        """Return the sum."""
        return Arithmetic("+", self, other)

    def __radd__(self, other: float) -> Feature:
        """Return the sum."""
        return Arithmetic("+", other, self)

    def __sub__(self, other: Feature | float) -> Feature:
        """Return the difference."""
        return Arithmetic("-", self, other)

    def __rsub__(self, other: float) -> Feature:
        """Return the difference."""
        return Arithmetic("-", other, self)

    def __mul__(self, other: Feature | float) -> Feature:
        """Return the product."""
        return Arithmetic("*", self, other)

    def __rmul__(self, other: float) -> Feature:
        """Return the product."""
        return Arithmetic("*", other, self)

    def __truediv__(self, other: Feature | float) -> Feature:
        """Return the quotient, NaN where the divisor is zero."""
        return Arithmetic("/", self, other)

    def __rtruediv__(self, other: float) -> Feature:
        """Return the quotient, NaN where the divisor is zero."""
        return Arithmetic("/", other, self)

    def __neg__(self) -> Feature:
        """Return the negative."""
        return Arithmetic("*", -1.0, self)


class Column(Feature):
    """A column of the bars as it is."""

    def __init__(self, name: str) -> None:
        if name not in COLUMNS:
            raise ConfigError(f"bars have no column {name!r}{did_you_mean(name, PRICE_COLUMNS)}")
        self.column = name

    @cached_property
    def name(self) -> str:
        """Return the column's name."""
        return self.column

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Return nothing: a column is given."""
        return ()

    def evaluate(self, *columns: Any) -> Any:
        """Return nothing: a column is given."""
        raise AssertionError(columns)

    def open(self) -> Kernel:
        """Return nothing: a column is given."""
        raise AssertionError(self.column)


class Constant(Feature):
    """The same number at every bar."""

    def __init__(self, value: float) -> None:
        self.value = float(value)

    @cached_property
    def name(self) -> str:
        """Return the number."""
        return repr(self.value)

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Return nothing."""
        return ()

    def evaluate(self, *columns: Any) -> Any:
        """Return the number."""
        raise AssertionError(columns)

    def open(self) -> Kernel:
        """Return the number."""
        raise AssertionError(self.value)


class Arithmetic(Feature):
    """Two features, or a feature and a number, joined by `+`, `-`, `*` or `/`."""

    def __init__(self, symbol: str, left: Feature | float, right: Feature | float) -> None:
        self.symbol = symbol
        self._left = _operand(left)
        self._right = _operand(right)
        inherit(self, self.inputs)

    @cached_property
    def name(self) -> str:
        """Return the expression in brackets."""
        return f"({self._left.name}{self.symbol}{self._right.name})"

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Return both sides."""
        return self._left, self._right

    def evaluate(self, *columns: Any) -> Any:
        """Return the result of every bar."""
        left, right = columns
        with np.errstate(all="ignore"):
            return finite_or_nan(_BATCH[self.symbol](left, right))

    def open(self) -> Kernel:
        """Return the stateless stream."""
        return _SCALAR[self.symbol]


def _known(value: float) -> float:
    return value if value - value == 0.0 else NAN


def _divide(sides: tuple[float, float]) -> float:
    left, right = sides
    return _known(left / right) if right != 0.0 else NAN


_SCALAR: dict[str, Kernel] = {
    "+": lambda sides: _known(sides[0] + sides[1]),
    "-": lambda sides: _known(sides[0] - sides[1]),
    "*": lambda sides: _known(sides[0] * sides[1]),
    "/": _divide,
}
_BATCH: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
}


def _operand(value: Feature | float | str) -> Feature:
    if isinstance(value, Feature):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Constant(value)
    raise ConfigError(f"a feature can be combined with a feature or a number, not with {value!r}")


def as_feature(value: Feature | str) -> Feature:
    """Return a feature as it is, and the column that a string names."""
    if isinstance(value, Feature):
        return value
    if isinstance(value, str):
        if value not in PRICE_COLUMNS:
            raise ConfigError(f"bars have no column {value!r}{did_you_mean(value, PRICE_COLUMNS)}")
        return Column(value)
    raise ConfigError(f"expected a feature or the name of a column, got {value!r}")


def inherit(node: Node, inputs: Iterable[Node], bars: int = 0, *, finite: bool = True) -> None:
    """Set a node's warm-up from its inputs' and the `bars` that it needs of them itself."""
    inputs = tuple(inputs)
    node.warm_up = max((i.warm_up for i in inputs), default=0) + bars
    node.warm_up_ns = max((i.warm_up_ns for i in inputs), default=0)
    node.finite = finite and all(i.finite for i in inputs)


def all_known(values: float | tuple[float, ...]) -> bool:
    """Return whether every value that a kernel is given is a number."""
    return math.isfinite(values) if isinstance(values, float) else all(map(math.isfinite, values))


def finite_or_nan(column: Floats) -> Floats:
    """Return the column with infinities replaced by NaN, in place where it holds any.

    The sum of a column is finite only if every value is, and takes a tenth of the time.
    """
    if np.ndim(column) and not np.isfinite(np.add.reduce(column)):
        column[np.isinf(column)] = NAN
    return column


def _text(value: object) -> str:
    return value.name if isinstance(value, Feature) else str(value)


class BarWindow:
    """The last few bars as arrays, pushed one row at a time.

    The buffers are twice as long as the window, so that most pushes move nothing.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._end = 0
        size = max(2 * rows, 64)
        self._buffers: list[NDArray[Any]] = [
            np.zeros(size, np.int64 if name in {"ts", "ts_open", "to_close_s"} else np.float64)
            for name in COLUMNS
        ]

    def push(self, row: Sequence[float]) -> Bars | None:
        """Add a bar and return the window, or None while it is not yet full."""
        end = self._end
        if end == len(self._buffers[0]):
            kept = self._rows - 1
            for buffer in self._buffers:
                buffer[:kept] = buffer[end - kept : end].copy()
            end = kept
        for buffer, value in zip(self._buffers, row, strict=True):
            buffer[end] = value
        self._end = end = end + 1
        start = end - self._rows
        return Bars._make(b[start:end] for b in self._buffers) if start >= 0 else None


_ALL_COLUMNS: tuple[Node, ...] = tuple(Column(name) for name in COLUMNS)
_Step = tuple[Node, int, tuple[int, ...]]


class FeatureMemo:
    """What was computed of the same bars before; the least recently used is forgotten first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[Node, Any] = {}

    def recall(self, node: Node) -> Any:
        """Return a node's whole column, or None."""
        value = self._values.pop(node, None)
        if value is not None:
            self._values[node] = value
        return value

    def keep(self, node: Node, value: Any) -> None:
        """Remember a node's whole column."""
        self._values[node] = value
        if len(self._values) > self._size:
            del self._values[next(iter(self._values))]


class FeatureSet:
    """Some features that are computed together, what they share only once.

    The values are named by `feature.name`.
    """

    def __init__(self, features: Iterable[Feature]) -> None:
        self.features = tuple(dict.fromkeys(features))
        self._slots: dict[Node, int] = {node: i for i, node in enumerate(_ALL_COLUMNS)}
        self._initial: list[Any] = [NAN] * len(COLUMNS)
        self._steps: list[_Step] = []
        for feature in self.features:
            self._place(feature)
        self._named = {feature.name: self._slots[feature] for feature in self.features}
        if len(self._named) < len(self.features):
            raise SignalError("two different features have the same name: override `name` in one")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the features' names in order."""
        return tuple(self._named)

    def batch(self, bars: Bars, memo: FeatureMemo | None = None) -> dict[str, Floats]:
        """Return every feature of every bar; what `memo` knows of these bars is not computed."""
        values: list[Any] = [*bars, *self._initial[len(COLUMNS) :]]
        for node, slot, inputs in self._steps:
            value = None if memo is None else memo.recall(node)
            if value is None:
                value = node.evaluate(*[values[i] for i in inputs])
                if memo is not None:
                    memo.keep(node, value)
            values[slot] = value
        return {name: _column(values[slot], bars.rows) for name, slot in self._named.items()}

    def stream(self, scored: Scored | None = None) -> FeatureSetStream:
        """Return a stream of all features that has seen no bar yet.

        `scored` gets the stream of every model's score, and returns what is asked instead.
        """
        steps = [(_opened(node, scored), inputs, slot) for node, slot, inputs in self._steps]
        return FeatureSetStream(steps, self._initial, tuple(self._named.values()))

    def _place(self, node: Node) -> int:
        """Give a node a slot after all of its inputs."""
        slot = self._slots.get(node)
        if slot is not None:
            return slot
        inputs = tuple(self._place(i) for i in node.inputs)
        slot = self._slots[node] = len(self._initial)
        if isinstance(node, Constant):
            self._initial.append(node.value)
        else:
            self._initial.append(NAN)
            self._steps.append((node, slot, inputs))
        return slot


def _opened(node: Node, scored: Scored | None) -> Kernel:
    if scored is not None and isinstance(node, Feature) and node.is_score:
        return scored(node, node.open())
    return node.open()


def _column(value: Any, rows: int) -> Floats:
    return cast("Floats", value) if np.ndim(value) else np.full(rows, value)


class FeatureSetStream:
    """A feature set fed one closed bar at a time."""

    def __init__(
        self,
        steps: list[tuple[Kernel, tuple[int, ...], int]],
        initial: list[Any],
        outputs: tuple[int, ...],
    ) -> None:
        self._values = initial.copy()
        self._steps = [(kernel, itemgetter(*inputs), slot) for kernel, inputs, slot in steps]
        self._width = len(COLUMNS)
        self._pick: Callable[[list[Any]], tuple[float, ...]]
        if len(outputs) > 1:
            self._pick = itemgetter(*outputs)
        else:
            self._pick = lambda values: tuple(values[i] for i in outputs)

    def update(self, row: Sequence[float]) -> tuple[float, ...]:
        """Take one closed bar, with the fields of `BarRow`, and return the features in order."""
        if len(row) != self._width:
            raise SignalError(f"a bar has {self._width} fields ({', '.join(COLUMNS)}): got {row!r}")
        values = self._values
        values[: self._width] = row
        for kernel, take, slot in self._steps:
            values[slot] = kernel(take(values))
        return self._pick(values)


class FeatureStream:
    """One feature fed one closed bar at a time."""

    def __init__(self, feature: Feature) -> None:
        self._stream = FeatureSet([feature]).stream()

    def update(self, row: Sequence[float]) -> float:
        """Take one closed bar and return the feature, NaN while it is unknown."""
        return self._stream.update(row)[0]


class _Columns:
    """The prices of a bar as features, to build others from: `col.close / col.open`."""

    open = Column("open")
    high = Column("high")
    low = Column("low")
    close = Column("close")
    volume = Column("volume")
    bid = Column("bid")
    ask = Column("ask")


col = _Columns()
"""The columns of the bars as features."""
