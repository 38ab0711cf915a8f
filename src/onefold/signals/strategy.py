"""A strategy turns the features of one bar into a signal, and can do nothing else.

It is elementwise: the same function is called with whole columns in research and with columns of
length one in live trading, so there is no second implementation that could differ. It cannot see
other rows, hence neither the future nor its own position; what it needs of the past it asks for as
features. Parameters are validated fields.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from onefold.domain.columns import Bars, Floats, Signals
from onefold.domain.errors import SignalError
from onefold.signals.feature import COLUMNS, Feature, FeatureSet
from onefold.signals.signal import CERTAIN, NOT_READY, UNKNOWN, Columns, finished, floats, sides_of
from onefold.signals.stream import SignalStream


class Strategy(BaseModel, ABC):
    """A rule that is evaluated on every closed bar of an instrument.

    Give `extract_features` and `predict_signal`; a model is loaded in `load_model`. The class's
    `kind` is the name by which configurations call it, by default the class name in snake case.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    kind: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Name the class in configurations."""
        super().__pydantic_init_subclass__(**kwargs)
        if "kind" not in cls.__dict__:
            cls.kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    @abstractmethod
    def extract_features(self) -> dict[str, Feature]:
        """Return the features that the strategy needs, by the names that it calls them."""

    @abstractmethod
    def predict_signal(self, x: Columns) -> Signals:
        """Return the signal of every row of `x`, each from that row alone; see `signal`."""

    def load_model(self, store: Any) -> None:
        """Load what the strategy needs besides features; rule-based ones need nothing."""

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

    @cached_property
    def features(self) -> dict[str, Feature]:
        """Return the features by the names that the strategy calls them."""
        features = self.extract_features()
        if not isinstance(features, Mapping):
            raise SignalError(
                f"{self.kind}: extract_features must return a dict of names and features, "
                f"it returned a {type(features).__name__}"
            )
        for name, feature in features.items():
            if not isinstance(feature, Feature):
                raise SignalError(f"{self.kind}: feature {name!r} is no feature but {feature!r}")
            if name in COLUMNS:
                raise SignalError(f"{self.kind}: feature {name!r} is named as a column of the bars")
        return features

    @property
    def warm_up(self) -> int:
        """Return how many bars must have passed before all features are known."""
        return max((f.warm_up for f in self.features.values()), default=0)

    @property
    def warm_up_ns(self) -> int:
        """Return how much time must have passed besides, for features of higher timeframes."""
        return max((f.warm_up_ns for f in self.features.values()), default=0)

    def batch(self, bars: Bars, values: Mapping[str, Floats] | None = None) -> Signals:
        """Return the signal of every bar.

        `values` may hold the features by their full names, where others have computed them.
        While any feature is unknown the side is HOLD, and `unready` counts the unknown ones.
        """
        if values is None:
            values = self.feature_set.batch(bars)
        columns = {name: values[feature.name] for name, feature in self.features.items()}
        x = Columns({n: _read_only(c) for n, c in {**bars._asdict(), **columns}.items()})
        with np.errstate(all="ignore"):
            draft = self.predict_signal(x)
        known = [(columns[name], f.warm_up) for name, f in self.features.items()]
        return finished(self.kind, draft, known, bars.rows)

    def stream(self) -> SignalStream:
        """Return a stream that has seen no bar yet."""
        return SignalStream(self)

    @cached_property
    def feature_set(self) -> FeatureSet:
        """Return the features as a set, each named in full."""
        return FeatureSet(self.features.values())


def _read_only(column: NDArray[Any]) -> NDArray[Any]:
    """Return a view that a strategy cannot write into."""
    view = column.view()
    view.flags.writeable = False
    return view
