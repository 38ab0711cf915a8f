"""What strategies and gates have in common: parameters, features, and a function of one row.

Both are elementwise: the same function is called with whole columns in research and with columns of
length one in live trading, so there is no second implementation that could differ. It sees no other
row, hence not the future; what it needs of the past it asks for as features.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from onefold.domain.columns import Bars, Floats
from onefold.domain.errors import SignalError
from onefold.signals.feature import COLUMNS, Feature, FeatureSet
from onefold.signals.signal import Columns


class Elementwise(BaseModel, ABC):
    """A function of the features of one bar; parameters are validated fields.

    The class's `kind` is the name by which configurations call it, by default the class name in
    snake case.
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
        """Return the features that are needed, by the names that the function calls them."""

    @property
    def given_columns(self) -> tuple[str, ...]:
        """Return the names that `x` has besides those of features."""
        return COLUMNS

    @cached_property
    def features(self) -> dict[str, Feature]:
        """Return the features by the names that the function calls them."""
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
            if name in self.given_columns:
                raise SignalError(f"{self.kind}: feature {name!r} is named as what it holds")
        return features

    @property
    def warm_up(self) -> int:
        """Return how many bars must have passed before all features are known."""
        return max((f.warm_up for f in self.features.values()), default=0)

    @property
    def warm_up_ns(self) -> int:
        """Return how much time must have passed besides, for features of higher timeframes."""
        return max((f.warm_up_ns for f in self.features.values()), default=0)

    @cached_property
    def feature_set(self) -> FeatureSet:
        """Return the features as a set, each named in full."""
        return FeatureSet(self.features.values())


def features_of(
    subject: Elementwise, bars: Bars, values: Mapping[str, Floats] | None
) -> dict[str, Floats]:
    """Return the features of every bar by the subject's own names.

    `values` has them by their full names, where others have computed them already.
    """
    if values is None:
        values = subject.feature_set.batch(bars)
    return {name: values[feature.name] for name, feature in subject.features.items()}


def columns_of(bars: Bars, *more: Mapping[str, NDArray[Any]]) -> Columns:
    """Return bars and further columns as what a function sees, which cannot write into them."""
    given = (bars._asdict(), *more)
    return Columns({name: _read_only(c) for part in given for name, c in part.items()})


def _read_only(column: NDArray[Any]) -> NDArray[Any]:
    view = column.view()
    view.flags.writeable = False
    return view
