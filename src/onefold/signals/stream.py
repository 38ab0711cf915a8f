"""Strategies and gates fed one closed bar at a time, bit for bit what their batch form gives.

Strategies of one instrument share their features, and each evaluates its own function on arrays of
length one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Bars, Floats, Signals
from onefold.domain.errors import SignalError
from onefold.domain.words import Side
from onefold.signals.feature import COLUMNS, NAN, FeatureMemo, FeatureSet, Scored
from onefold.signals.signal import (
    BAD_CONFIDENCE,
    CERTAIN,
    NO_POSITION,
    UNKNOWN,
    Columns,
    Held,
    SignalRow,
    as_signals,
    floats,
)

if TYPE_CHECKING:
    from onefold.signals.elementwise import Elementwise
    from onefold.signals.gate import Gate, Measured
    from onefold.signals.strategy import Strategy

_SHORT, _HOLD = Side.SHORT.value, Side.HOLD.value
_NO_REFUSAL = np.zeros(1, np.int16)


def _cells(names: Sequence[str]) -> tuple[Columns, Callable[..., None]]:
    """Return columns of length one that are reused, and what writes a row's numbers into them."""
    # One call writes them all into the memory that all of the arrays look at.
    layout = struct.Struct(f"=qq7dq{len(names)}d")
    buffer = bytearray(layout.size)
    cells: dict[str, NDArray[Any]] = {}
    for i, name in enumerate((*COLUMNS, *names)):
        integer = name in {"ts", "ts_open", "to_close_s"}
        cell = np.frombuffer(buffer, np.int64 if integer else np.float64, 1, 8 * i)
        cell.flags.writeable = False
        cells[name] = cell
    return Columns(cells), partial(layout.pack_into, buffer, 0)


def _quietly() -> Callable[..., Any]:
    """Return what calls a function in a context where numpy does not warn."""
    # numpy's error state belongs to the context: setting it once here is a tenth of the price
    # of setting it on every bar.
    context = copy_context()
    context.run(np.seterr, all="ignore")
    return context.run


class _Evaluator:
    """Evaluates one strategy on one row at a time."""

    def __init__(self, strategy: Strategy) -> None:
        held = Held._fields if strategy.needs_position else ()
        self._x, self._write = _cells((*strategy.features, *held))
        self._kind = strategy.kind
        awaited = strategy.awaited
        self._awaited = [i for i, name in enumerate(strategy.features) if name in awaited]
        self._waits_for_all = len(self._awaited) == len(strategy.features)
        self._predict = strategy.predict_signal
        self._run = _quietly()

    def evaluate(
        self, row: Sequence[float], values: Sequence[float], held: Sequence[float] = ()
    ) -> SignalRow:
        """Return the signal of one bar."""
        self._write(*row, *values, *held)
        draft = self._run(self._predict, self._x)
        if type(draft) is not Signals:
            draft = as_signals(self._kind, draft)
        unready = 0
        for value in values if self._waits_for_all else [values[i] for i in self._awaited]:
            if value != value:  # noqa: PLR0124 - a test for NaN
                unready += 1
        try:
            side = draft.side.item()
            _, certain, score, edge, volatility, trend, barrier, price, _ = draft
            confidence = 1.0 if certain is CERTAIN else certain.item()
            return SignalRow(
                _HOLD if unready else side if _SHORT <= side <= _HOLD else self._wrong(side),
                confidence if 0.0 <= confidence <= 1.0 else self._unsure(confidence),
                NAN if score is UNKNOWN else _known(score.item()),
                NAN if edge is UNKNOWN else _known(edge.item()),
                NAN if volatility is UNKNOWN else _known(volatility.item()),
                NAN if trend is UNKNOWN else _known(trend.item()),
                NAN if barrier is UNKNOWN else _known(barrier.item()),
                NAN if price is UNKNOWN else _known(price.item()),
                unready,
            )
        except ValueError:
            raise SignalError(f"{self._kind}: one row of x gives one value per field") from None

    def _unsure(self, confidence: float) -> float:
        if confidence - confidence == 0.0:
            raise SignalError(f"{self._kind}: {BAD_CONFIDENCE}")
        return 0.0

    def _wrong(self, side: int) -> int:
        raise SignalError(f"{self._kind}: a side is LONG, SHORT, FLAT or HOLD, not {side}")


def _known(value: float) -> float:
    return value if value - value == 0.0 else NAN


class _Meter:
    """Measures one gate on one row at a time."""

    def __init__(self, gate: Gate) -> None:
        self._x, self._write = _cells(tuple(gate.features))
        self._kind = gate.kind
        self._measure = gate.measure
        self._run = _quietly()

    def measure(self, row: Sequence[float], values: Sequence[float]) -> float:
        """Return the value of one bar, NaN where it or a feature is not known."""
        self._write(*row, *values)
        measured = floats(self._run(self._measure, self._x))
        if len(measured) != 1:
            raise SignalError(f"{self._kind}: one row of x gives one value")
        for value in values:
            if value != value:  # noqa: PLR0124 - a test for NaN
                return NAN
        return _known(measured.item())


class SignalSet:
    """Strategies on one instrument, which compute the features that they share once.

    `gates` has the gates of one's own by name, one mapping for each strategy.
    """

    def __init__(
        self, strategies: Iterable[Strategy], gates: Sequence[Mapping[str, Gate]] = ()
    ) -> None:
        self.strategies = tuple(strategies)
        self.gates = tuple(gates) or ({},) * len(self.strategies)
        self.features = FeatureSet(f for one in self._all() for f in one.features.values())

    def _all(self) -> Iterable[Elementwise]:
        yield from self.strategies
        for gates in self.gates:
            yield from gates.values()

    def batch(self, bars: Bars, memo: FeatureMemo | None = None) -> list[Signals]:
        """Return every strategy's signals of every bar; `memo` is that of these bars."""
        return [signals for signals, _ in self.judged(bars, memo)]

    def judged(
        self, bars: Bars, memo: FeatureMemo | None = None
    ) -> list[tuple[Signals, NDArray[np.int16]]]:
        """Return every strategy's signals, and how many of its own gates say no to each."""
        values = self.features.batch(bars, memo)
        return [
            (strategy.batch(bars, values), _refusals(gates, bars, values))
            for strategy, gates in zip(self.strategies, self.gates, strict=True)
        ]

    def stream(self, scored: Scored | None = None) -> SignalSetStream:
        """Return a stream that has seen no bar yet; `scored` as in `FeatureSet.stream`."""
        return SignalSetStream(self, scored)


def _refusals(
    gates: Mapping[str, Gate], bars: Bars, values: Mapping[str, Floats]
) -> NDArray[np.int16]:
    """Return how many of the gates say no to every bar; of length one where there are none."""
    if not gates:
        return _NO_REFUSAL
    refused = [~gate.passes(gate.batch(bars, values)) for gate in gates.values()]
    count: NDArray[np.int16] = np.sum(refused, axis=0, dtype=np.int16)
    return count


_Pick = Callable[[Sequence[float]], Sequence[float]]


class SignalSetStream:
    """A signal set fed one closed bar at a time."""

    def __init__(self, signals: SignalSet, scored: Scored | None = None) -> None:
        self._features = signals.features.stream(scored)
        names = signals.features.names
        self._strategies = tuple(
            (_Evaluator(s).evaluate, _picker(names, s)) for s in signals.strategies
        )
        self._gates = tuple(
            [(name, gate.judged, _Meter(gate).measure, _picker(names, gate)) for name, gate in own]
            for own in (gates.items() for gates in signals.gates)
        )
        self._gated = any(self._gates)
        self._needs = tuple(s.needs_position for s in signals.strategies)
        self.needs_position = any(self._needs)
        self._named = [{n: f.name for n, f in s.features.items()} for s in signals.strategies]
        self._names = names
        self._last: Sequence[float] = (NAN,) * len(names)
        self._held: Sequence[Held[float]] = ()
        self._measured: list[list[Measured]] = [[] for _ in signals.strategies]

    def update(self, *row: float, held: Sequence[Held[float]] = ()) -> list[SignalRow]:
        """Take the fields of one `BarRow` and return every strategy's signal in order.

        `held` is what each strategy holds now; without it one that needs it raises SignalError.
        """
        self._last = values = self._features.update(row)
        if self._gated:
            self._measured = [
                [judge(name, measure(row, pick(values))) for name, judge, measure, pick in own]
                for own in self._gates
            ]
        if not self.needs_position:
            return [evaluate(row, pick(values)) for evaluate, pick in self._strategies]
        if len(held) != len(self._strategies):
            raise SignalError(f"a strategy {NO_POSITION}")
        self._held = held
        return [
            evaluate(row, pick(values), own if needs else ())
            for (evaluate, pick), own, needs in zip(
                self._strategies, held, self._needs, strict=True
            )
        ]

    def features(self, index: int) -> dict[str, float]:
        """Return the last values of the features of one strategy, by its own names for them.

        What it holds is among them where it sees that.
        """
        values = dict(zip(self._names, self._last, strict=True))
        own = self._held[index]._asdict() if self._held and self._needs[index] else {}
        return {**{name: values[full] for name, full in self._named[index].items()}, **own}

    def measured(self, index: int) -> list[Measured]:
        """Return what the gates of one's own said of the last bar to one strategy."""
        return self._measured[index]


def _picker(names: tuple[str, ...], subject: Elementwise) -> _Pick:
    indices = [names.index(f.name) for f in subject.features.values()]
    if len(indices) > 1:
        return itemgetter(*indices)
    return lambda values: [values[i] for i in indices]


class SignalStream:
    """One strategy on one instrument, fed one closed bar at a time."""

    def __init__(self, strategy: Strategy) -> None:
        self._stream = SignalSet([strategy]).stream()

    def update(self, *row: float, held: Held[float] | None = None) -> SignalRow:
        """Take the fields of one `BarRow` in order, and what is held, and return the signal."""
        return self._stream.update(*row, held=() if held is None else (held,))[0]

    def features(self) -> dict[str, float]:
        """Return the last values of the features, by the strategy's names for them."""
        return self._stream.features(0)


class GateStream:
    """One gate on one instrument, fed one closed bar at a time."""

    def __init__(self, gate: Gate) -> None:
        self._features = gate.feature_set.stream()
        self._pick = _picker(gate.feature_set.names, gate)
        self._measure = _Meter(gate).measure

    def update(self, *row: float) -> float:
        """Take the fields of one `BarRow` in order and return the value."""
        return self._measure(row, self._pick(self._features.update(row)))
