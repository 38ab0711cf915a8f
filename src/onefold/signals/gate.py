"""A gate of one's own: a measure of every bar that must keep to a threshold.

What a strategy wants and what may hold it back are two things. The fold's gates know the account;
one that a user writes knows the market, such as its volatility or the time of day, and serves any
strategy. It is elementwise and proved as strategies are. Where one says no to a signal, the fold's
gate `own` holds back the entry; exits are never held back.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from onefold.domain.columns import Bars, Floats
from onefold.domain.errors import SignalError
from onefold.signals.elementwise import Elementwise, columns_of, features_of
from onefold.signals.feature import NAN
from onefold.signals.signal import Columns, floats
from onefold.signals.stream import GateStream


class Measured(NamedTuple):
    """What one gate of one's own said of a bar."""

    name: str
    value: float
    compares: Literal["at most", "at least"]
    threshold: float
    passes: bool


class Gate(Elementwise):
    """A condition that is measured on every closed bar of an instrument.

    Give `extract_features` and `measure`, and on use either `at_most` or `at_least`.
    """

    at_most: float | None = Field(
        default=None, allow_inf_nan=False, description="Largest value that passes."
    )
    at_least: float | None = Field(
        default=None, allow_inf_nan=False, description="Least value that passes."
    )

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("a gate needs a threshold: give either at_most or at_least")
        return self

    @abstractmethod
    def measure(self, x: Columns) -> Any:
        """Return the value of every row of `x`, each from that row alone; NaN does not pass."""

    @property
    def compares(self) -> Literal["at most", "at least"]:
        """Return how values are held against the threshold."""
        return "at least" if self.at_most is None else "at most"

    @property
    def threshold(self) -> float:
        """Return what values are held against."""
        limit = self.at_least if self.at_most is None else self.at_most
        return NAN if limit is None else limit

    def passes(self, values: Floats) -> NDArray[np.bool_]:
        """Return which values pass; one that is not known does not."""
        if self.at_most is None:
            return values >= self.threshold
        return values <= self.threshold

    def judged(self, name: str, value: float) -> Measured:
        """Return one value with the verdict, under the name that the gate has in a run."""
        limit = self.threshold
        passes = value >= limit if self.at_most is None else value <= limit
        return Measured(name, value, self.compares, limit, passes)

    def batch(self, bars: Bars, values: Mapping[str, Floats] | None = None) -> Floats:
        """Return the value of every bar, NaN where it or any feature is not known.

        `values` may hold the features by their full names, where others have computed them.
        """
        columns = features_of(self, bars, values)
        x = columns_of(bars, columns)
        with np.errstate(all="ignore"):
            measured = floats(self.measure(x))
        if len(measured) not in (1, bars.rows):
            raise SignalError(
                f"{self.kind}: measure gave {len(measured)} values for {bars.rows} rows; "
                "give one per row"
            )
        known = np.isfinite(measured)
        for column in columns.values():
            known = known & ~np.isnan(column)
        return np.where(known, np.broadcast_to(measured, bars.rows), NAN)

    def stream(self) -> GateStream:
        """Return a stream that has seen no bar yet."""
        return GateStream(self)
