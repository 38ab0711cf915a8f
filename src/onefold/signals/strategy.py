"""A strategy turns the features of one bar into a signal, and can do nothing else.

It is elementwise (`signals.elementwise`): one function of one row, for columns and for single bars.
It does not see its own position either, because that follows from what it said before. One that
cannot do without says so (`needs_position`); it is then run event by event in the backtest too,
through the same fold, which tells it what it holds.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from onefold.domain.columns import Bars, Floats, Signals
from onefold.domain.errors import SignalError
from onefold.signals.elementwise import Elementwise, columns_of, features_of
from onefold.signals.feature import COLUMNS, Feature
from onefold.signals.model import Models
from onefold.signals.signal import (
    CERTAIN,
    NO_POSITION,
    NOT_READY,
    UNKNOWN,
    Columns,
    Held,
    finished,
    floats,
    sides_of,
)
from onefold.signals.stream import SignalStream


class Strategy(Elementwise):
    """A rule that is evaluated on every closed bar of an instrument.

    Give `extract_features` and `predict_signal`; a model is loaded in `load_model`. With
    `needs_position` the columns of `Held` are in `x` as well.
    """

    needs_position: ClassVar[bool] = False

    @abstractmethod
    def predict_signal(self, x: Columns) -> Signals:
        """Return the signal of every row of `x`, each from that row alone; see `signal`."""

    def load_model(self, store: Models) -> None:
        """Take models from the store, before features are asked for: a score is one of them."""

    @property
    def awaited(self) -> Mapping[str, Feature]:
        """Return the features without which the strategy holds: all of them."""
        return self.features

    def signal(
        self,
        side: Any,
        *,
        confidence: Any = None,
        score: Any = None,
        edge: Any = None,
        volatility: Any = None,
        trend: Any = None,
        barrier: Any = None,
        price: Any = None,
    ) -> Signals:
        """Return signals; every argument is an array with a value per row, or one number.

        `side` is of LONG, SHORT, FLAT and HOLD, or true for LONG and false for FLAT. The others
        are as in `records.Signal`; a confidence that is not given is 1, all others are unknown.
        """
        return Signals(
            sides_of(side),
            CERTAIN if confidence is None else floats(confidence),
            UNKNOWN if score is None else floats(score),
            UNKNOWN if edge is None else floats(edge),
            UNKNOWN if volatility is None else floats(volatility),
            UNKNOWN if trend is None else floats(trend),
            UNKNOWN if barrier is None else floats(barrier),
            UNKNOWN if price is None else floats(price),
            NOT_READY,
        )

    @property
    def given_columns(self) -> tuple[str, ...]:
        """Return the names that `x` has besides those of features."""
        return (*COLUMNS, *Held._fields) if self.needs_position else COLUMNS

    def batch(
        self,
        bars: Bars,
        values: Mapping[str, Floats] | None = None,
        held: Held[Floats] | None = None,
    ) -> Signals:
        """Return the signal of every bar.

        `values` may hold the features by their full names, where others have computed them.
        While any feature is unknown the side is HOLD, and `unready` counts the unknown ones.
        `held` is what a strategy that needs its position holds after every bar; without it such a
        one raises SignalError, as only a run knows.
        """
        if self.needs_position and held is None:
            raise SignalError(f"{self.kind}: {NO_POSITION}")
        columns = features_of(self, bars, values)
        own = held._asdict() if self.needs_position and held is not None else {}
        x = columns_of(bars, columns, own)
        with np.errstate(all="ignore"):
            draft = self.predict_signal(x)
        known = [(columns[name], f.warm_up) for name, f in self.awaited.items()]
        return finished(self.kind, draft, known, bars.rows)

    def stream(self) -> SignalStream:
        """Return a stream that has seen no bar yet."""
        return SignalStream(self)
