"""Strategies fed one closed bar at a time, bit for bit what their batch form gives.

Strategies of one instrument share their features, and each evaluates its own function on arrays of
length one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context, copy_context
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Bars, Signals
from onefold.domain.errors import SignalError
from onefold.domain.words import Side
from onefold.signals.feature import COLUMNS, NAN, FeatureMemo, FeatureSet
from onefold.signals.signal import BAD_CONFIDENCE, CERTAIN, UNKNOWN, Columns, SignalRow, as_signals

if TYPE_CHECKING:
    from onefold.signals.strategy import Strategy

_SHORT, _HOLD = Side.SHORT.value, Side.HOLD.value


class _Evaluator:
    """Evaluates one strategy on one row at a time, in arrays of length one that are reused."""

    def __init__(self, strategy: Strategy) -> None:
        names = tuple(strategy.features)
        # One call writes the row's numbers into the memory that all of the arrays look at.
        layout = struct.Struct(f"=qq7dq{len(names)}d")
        self._buffer = bytearray(layout.size)
        self._pack = layout.pack_into
        cells: dict[str, NDArray[Any]] = {}
        for i, name in enumerate((*COLUMNS, *names)):
            integer = name in {"ts", "ts_open", "to_close_s"}
            cell = np.frombuffer(self._buffer, np.int64 if integer else np.float64, 1, 8 * i)
            cell.flags.writeable = False
            cells[name] = cell
        self._x = Columns(cells)
        self._kind = strategy.kind
        self._predict = strategy.predict_signal
        # numpy's error state belongs to the context: setting it once here is a tenth of the price
        # of setting it on every bar.
        context: Context = copy_context()
        context.run(np.seterr, all="ignore")
        self._run = context.run

    def evaluate(self, row: Sequence[float], values: Sequence[float]) -> SignalRow:
        """Return the signal of one bar."""
        self._pack(self._buffer, 0, *row, *values)
        draft = self._run(self._predict, self._x)
        if type(draft) is not Signals:
            draft = as_signals(self._kind, draft)
        unready = 0
        for value in values:
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


class SignalSet:
    """Strategies on one instrument, which compute the features that they share once."""

    def __init__(self, strategies: Iterable[Strategy]) -> None:
        self.strategies = tuple(strategies)
        self.features = FeatureSet(f for s in self.strategies for f in s.features.values())

    def batch(self, bars: Bars, memo: FeatureMemo | None = None) -> list[Signals]:
        """Return every strategy's signals of every bar; `memo` is that of these bars."""
        values = self.features.batch(bars, memo)
        return [strategy.batch(bars, values) for strategy in self.strategies]

    def stream(self) -> SignalSetStream:
        """Return a stream that has seen no bar yet."""
        return SignalSetStream(self)


_Pick = Callable[[Sequence[float]], Sequence[float]]


class SignalSetStream:
    """A signal set fed one closed bar at a time."""

    def __init__(self, signals: SignalSet) -> None:
        self._features = signals.features.stream()
        names = signals.features.names
        self._strategies = tuple(
            (_Evaluator(s).evaluate, _picker([names.index(f.name) for f in s.features.values()]))
            for s in signals.strategies
        )
        self._named = [{n: f.name for n, f in s.features.items()} for s in signals.strategies]
        self._names = names
        self._last: Sequence[float] = (NAN,) * len(names)

    def update(self, *row: float) -> list[SignalRow]:
        """Take the fields of one `BarRow` and return every strategy's signal in order."""
        self._last = values = self._features.update(row)
        return [evaluate(row, pick(values)) for evaluate, pick in self._strategies]

    def features(self, index: int) -> dict[str, float]:
        """Return the last values of the features of one strategy, by its own names for them."""
        values = dict(zip(self._names, self._last, strict=True))
        return {name: values[full] for name, full in self._named[index].items()}


def _picker(indices: list[int]) -> _Pick:
    if len(indices) > 1:
        return itemgetter(*indices)
    return lambda values: [values[i] for i in indices]


class SignalStream:
    """One strategy on one instrument, fed one closed bar at a time."""

    def __init__(self, strategy: Strategy) -> None:
        self._stream = SignalSet([strategy]).stream()

    def update(self, *row: float) -> SignalRow:
        """Take the fields of one `BarRow` in order and return the signal."""
        return self._stream.update(*row)[0]

    def features(self) -> dict[str, float]:
        """Return the last values of the features, by the strategy's names for them."""
        return self._stream.features(0)
