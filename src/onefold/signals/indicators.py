"""TA-Lib's functions as features: `ta.sma(10)`, `ta.macd(12, 26, 9).histogram`, `ta.atr(14)`.

TA-Lib has both forms itself, and its streams are bit-equal to its batch functions. What this module
adds is one behaviour for bad input, where TA-Lib's two forms differ or fail: a bar on which any
input is unknown gives NaN and is otherwise skipped, as if it had not been there.

Functions that smooth without end (EMA, RSI, ATR and others) depend on the first bar they saw; how
much of it is left after n bars shrinks with n. Those that keep a running sum (SMA among them)
depend on it in the last bits. Both say so with `finite = False`; a session therefore records where
its features began.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from math import isfinite
from numbers import Integral, Real
from typing import Any

import numpy as np
import talib
from talib import abstract, stream

from onefold.domain.columns import Floats
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.signals.feature import NAN, PRICE_COLUMNS, Feature, Kernel, Node, as_feature, inherit

EXCLUDED = {
    "MAXINDEX": "it gives row numbers, which mean something else in every history",
    "MININDEX": "it gives row numbers, which mean something else in every history",
    "MINMAXINDEX": "it gives row numbers, which mean something else in every history",
}
"""TA-Lib functions that are no features, and why."""

# Functions whose value is made from the last bars alone, without a running sum: measured, and
# proved again by the conformance suite.
_FINITE = frozenset(
    {
        "ACOS", "ADD", "AROON", "AROONOSC", "ASIN", "ATAN", "AVGPRICE", "BOP", "CEIL", "COS",
        "COSH", "DIV", "DONCHIAN", "EXP", "FLOOR", "FRACTAL", "LN", "LOG10", "MARKETFI", "MAX",
        "MEDPRICE", "MIDPOINT", "MIDPRICE", "MIN", "MINMAX", "MOM", "MULT", "PERCENTILE",
        "PERCENTRANK", "ROC", "ROCP", "ROCR", "ROCR100", "SIN", "SINH", "SQRT", "SUB", "TAN",
        "TANH", "TRANGE", "TYPPRICE", "WCLPRICE", "WILLR",
    }
)  # fmt: skip

# Shorter names of outputs; TA-Lib's own are accepted as well.
_ALIASES = {
    "line": ("macd", "smi", "supertrend"),
    "signal": ("macdsignal", "smisignal"),
    "histogram": ("macdhist",),
    "upper": ("upperband",),
    "middle": ("middleband",),
    "lower": ("lowerband",),
    "up": ("aroonup",),
    "down": ("aroondown",),
    "k": ("slowk", "fastk"),
    "d": ("slowd", "fastd"),
    "plus": ("plusvi",),
    "minus": ("minusvi",),
    "bull": ("bullpower",),
    "bear": ("bearpower",),
    "open": ("haopen",),
    "high": ("hahigh", "swinghigh"),
    "low": ("halow", "swinglow"),
    "close": ("haclose",),
}


class TaFunction:
    """One TA-Lib function: call it with its parameters to get a feature.

    `of` gives other inputs than the natural ones: a feature, a column's name, or a tuple of them.
    A function with several outputs gives `TaOutputs`, of which one is chosen by name.
    """

    def __init__(self, name: str) -> None:
        info = abstract.Function(name).info  # type: ignore[attr-defined]
        self.name = name.lower()
        self.parameters: dict[str, float] = dict(info["parameters"])
        self.outputs: tuple[str, ...] = tuple(info["output_names"])
        self.natural_inputs = _flat(info["input_names"].values())
        self.batch: Callable[..., Any] = getattr(talib, name)
        self.stream: Callable[..., Any] = getattr(stream, name)
        self.finite = name in _FINITE
        self.__doc__ = f"{info['display_name']}: {', '.join(self.parameters) or 'no parameters'}."

    def __call__(self, *values: float, of: Any = None, **named: float) -> Any:
        """Return the feature, or `TaOutputs` where there are several."""
        call = TaCall(self, self._inputs(of), self._checked(values, named))
        return TaOutputs(call) if len(self.outputs) > 1 else TaFeature(call)

    def _inputs(self, of: Any) -> tuple[Feature, ...]:
        given = self.natural_inputs if of is None else of if isinstance(of, tuple) else (of,)
        wanted = len(self.natural_inputs)
        unnatural = [i for i in self.natural_inputs if i not in PRICE_COLUMNS]
        if len(given) != wanted or (of is None and unnatural):
            raise ConfigError(
                f"ta.{self.name} takes {wanted} inputs ({', '.join(self.natural_inputs)}): "
                f"give them as of=({', '.join(self.natural_inputs)})"
            )
        return tuple(as_feature(i) for i in given)

    def _checked(self, values: tuple[float, ...], named: dict[str, float]) -> dict[str, float]:
        if len(values) > len(self.parameters):
            raise ConfigError(
                f"ta.{self.name} takes {len(self.parameters)} parameters "
                f"({', '.join(self.parameters) or 'none'}), got {len(values)}"
            )
        given = dict(zip(self.parameters, values, strict=False))
        for name, value in named.items():
            if name not in self.parameters:
                raise ConfigError(
                    f"ta.{self.name} has no parameter {name!r}{did_you_mean(name, self.parameters)}"
                )
            if name in given:
                raise ConfigError(f"ta.{self.name}: {name} is given twice")
            given[name] = value
        return {
            name: _typed(f"ta.{self.name}", name, given.get(name, default), default)
            for name, default in self.parameters.items()
        }


def _typed(function: str, name: str, value: object, default: float) -> float:
    if isinstance(default, int):
        if isinstance(value, Integral) and not isinstance(value, bool):
            return int(value)
        raise ConfigError(f"{function}: {name} must be a whole number, got {value!r}")
    if isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    raise ConfigError(f"{function}: {name} must be a number, got {value!r}")


def _flat(names: Any) -> tuple[str, ...]:
    """Return the names of all inputs; TA-Lib groups some in lists."""
    out: list[str] = []
    for name in names:
        out += [name] if isinstance(name, str) else name
    return tuple(out)


class TaCall(Node):
    """One TA-Lib function with its parameters and inputs, shared by all of its outputs."""

    def __init__(
        self, function: TaFunction, inputs: tuple[Feature, ...], parameters: dict[str, float]
    ) -> None:
        self.function = function
        self.parameters = parameters
        self._inputs = inputs
        described = abstract.Function(function.name.upper(), **parameters)  # type: ignore[attr-defined]
        self.lookback = int(described.lookback)
        if self.lookback < 0:
            said = ", ".join(f"{k}={v}" for k, v in parameters.items())
            raise ConfigError(f"ta.{function.name}: a parameter is out of range ({said})")
        inherit(self, inputs, self.lookback, finite=function.finite)

    @cached_property
    def name(self) -> str:
        """Return function, inputs and parameters."""
        arguments = [i.name for i in self._inputs] + [str(v) for v in self.parameters.values()]
        return f"{self.function.name}({','.join(arguments)})"

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Return the function's inputs."""
        return self._inputs

    def evaluate(self, *columns: Floats) -> tuple[Floats, ...]:
        """Return every output as a column."""
        rows = len(columns[0])
        if all(np.isfinite(np.add.reduce(column)) for column in columns):
            return self._run(columns, rows)
        known = np.isfinite(columns[0])
        for column in columns[1:]:
            known &= np.isfinite(column)
        # Unknown bars usually lie at the start only, where another feature warmed up; then
        # a view does, and else the known bars are moved together and their results apart again.
        head = int(known.argmax())
        whole = bool(known[head:].all())
        chosen: Any = slice(head, None) if whole else known
        packed = tuple(np.ascontiguousarray(column[chosen]) for column in columns)
        outputs = []
        for output in self._run(packed, len(packed[0])):
            spread = np.full(rows, NAN)
            spread[chosen] = output
            outputs.append(spread)
        return tuple(outputs)

    def _run(self, columns: tuple[Floats, ...], rows: int) -> tuple[Floats, ...]:
        if rows <= self.lookback:
            return tuple(np.full(rows, NAN) for _ in self.function.outputs)
        raw = self.function.batch(*columns, **self.parameters)
        return tuple(self._clean(o) for o in (raw if isinstance(raw, tuple) else (raw,)))

    def _clean(self, output: Any) -> Floats:
        """Return an output as floats without infinities; TA-Lib's integers start with zeros."""
        if output.dtype != np.float64:
            output = output.astype(np.float64)
            output[: self.lookback] = NAN
        if not np.isfinite(np.add.reduce(output[self.lookback :])):
            output[np.isinf(output)] = NAN
        column: Floats = output
        return column

    def open(self) -> Kernel:
        """Return the stream of the outputs, each a tuple."""
        return _TaStream(self, several=len(self.function.outputs) > 1).update


class _TaStream:
    """A TA-Lib stream that waits for its history and skips unknown bars."""

    def __init__(self, call: TaCall, *, several: bool) -> None:
        self._call = call
        self._handle: Callable[..., Any] | None = None
        self._history: list[tuple[float, ...]] = []
        self._unknown: Any = (NAN,) * len(call.function.outputs) if several else NAN
        self._several = several
        single = len(call.inputs) == 1
        self.update: Kernel = self._update_one if single else self._update_many

    def _update_one(self, value: float) -> Any:
        if value - value != 0.0:
            return self._unknown
        handle = self._handle
        return self._known(handle(value) if handle is not None else self._grow((value,)))

    def _update_many(self, values: tuple[float, ...]) -> Any:
        total = sum(values)
        if total - total != 0.0 and not all(map(isfinite, values)):
            return self._unknown
        handle = self._handle
        return self._known(handle(*values) if handle is not None else self._grow(values))

    def _known(self, value: Any) -> Any:
        if self._several:
            return tuple(v if v - v == 0.0 else NAN for v in value)
        return float(value) if value - value == 0.0 else NAN

    def _grow(self, values: tuple[float, ...]) -> Any:
        """Add a bar to the history and open TA-Lib's stream once there is enough."""
        self._history.append(values)
        if len(self._history) <= self._call.lookback:
            return self._unknown
        columns = [np.array(column, np.float64) for column in zip(*self._history, strict=True)]
        opened = self._call.function.stream(*columns, **self._call.parameters)
        self._handle = opened.update
        self._history.clear()
        return opened.value


class TaFeature(Feature):
    """A TA-Lib function with one output."""

    def __init__(self, call: TaCall) -> None:
        self._call = call
        inherit(self, call.inputs, call.lookback, finite=call.function.finite)

    @cached_property
    def name(self) -> str:
        """Return function, inputs and parameters."""
        return self._call.name

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Return the function's inputs."""
        return self._call.inputs

    def evaluate(self, *columns: Any) -> Any:
        """Return the column."""
        return self._call.evaluate(*columns)[0]

    def open(self) -> Kernel:
        """Return the stream."""
        return self._call.open()


class TaOutput(Feature):
    """One output of a TA-Lib function that has several."""

    def __init__(self, call: TaCall, output: str) -> None:
        self._call = call
        self._output = output
        self._index = call.function.outputs.index(output)
        inherit(self, (call,))

    @cached_property
    def name(self) -> str:
        """Return function, inputs, parameters and the output."""
        return f"{self._call.name}.{self._output}"

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Return the function that has all outputs."""
        return (self._call,)

    def evaluate(self, *columns: Any) -> Any:
        """Return the column of this output."""
        return columns[0][self._index]

    def open(self) -> Kernel:
        """Return the stream of this output."""
        index = self._index
        return lambda outputs: outputs[index]


class TaOutputs:
    """The outputs of a TA-Lib function that has several: choose one by name."""

    def __init__(self, call: TaCall) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Feature:
        """Return the output of this name, TA-Lib's or a shorter one such as `upper`."""
        outputs = self._call.function.outputs
        for candidate in (name, *_ALIASES.get(name, ())):
            if candidate in outputs:
                return TaOutput(self._call, candidate)
        if name.startswith("__"):
            raise AttributeError(name)
        short = [a for a, full in _ALIASES.items() if any(f in outputs for f in full)]
        known = [*outputs, *short]
        raise ConfigError(f"{self._call.name} has no output {name!r}{did_you_mean(name, known)}")

    def __iter__(self) -> Any:
        """Yield all outputs in TA-Lib's order."""
        return (TaOutput(self._call, output) for output in self._call.function.outputs)

    def __repr__(self) -> str:
        """Return the function and its outputs."""
        return f"<{self._call.name}: {', '.join(self._call.function.outputs)}>"


class _Ta:
    """All TA-Lib functions that are features, by lower-case name."""

    def __init__(self) -> None:
        groups = talib.get_function_groups().values()  # type: ignore[no-untyped-call]
        self._names = {n.lower() for group in groups for n in group if n not in EXCLUDED}
        self._made: dict[str, TaFunction] = {}

    @property
    def functions(self) -> tuple[str, ...]:
        """Return the names of all functions, sorted."""
        return tuple(sorted(self._names))

    def __call__(self, name: str, *values: float, of: Any = None, **named: float) -> Any:
        """Return the feature of a function whose name is a string."""
        return self.function(name)(*values, of=of, **named)

    def function(self, name: str) -> TaFunction:
        """Return a function by name, in upper or lower case."""
        key = name.lower()
        if key not in self._made:
            if key.upper() in EXCLUDED:
                raise ConfigError(f"ta.{key} is not a feature: {EXCLUDED[key.upper()]}")
            if key not in self._names:
                raise ConfigError(f"TA-Lib has no function {name!r}{_near(key, self._names)}")
            self._made[key] = TaFunction(key.upper())
        return self._made[key]

    def __getattr__(self, name: str) -> TaFunction:
        """Return a function by name."""
        if name.startswith("_"):
            raise AttributeError(name)
        return self.function(name)

    def __dir__(self) -> list[str]:
        """Return all functions, for completion."""
        return [*self.functions, "functions"]


def _near(name: str, known: set[str]) -> str:
    """Return the nearest name, but not a list of all two hundred."""
    hint = did_you_mean(name, known)
    return hint if "did you mean" in hint else "; see ta.functions"


ta = _Ta()
"""TA-Lib's functions: `ta.sma(10)`, `ta("SMA", 10)`, `ta.bbands(20, of=ta.rsi(14)).upper`."""
