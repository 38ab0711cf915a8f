"""Several strategies that decide together, themselves a strategy.

Members are evaluated on the same row, and their opinions are joined. An ensemble waits until the
features of all members are known, so that it always means the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from onefold._compile import njit
from onefold.domain.columns import Floats, Sides, Signals
from onefold.domain.errors import ConfigError
from onefold.domain.words import Side
from onefold.signals.feature import Feature
from onefold.signals.model import Models
from onefold.signals.signal import UNKNOWN, Columns
from onefold.signals.strategy import Strategy

_SHORT, _FLAT, _LONG, _HOLD = Side.SHORT.value, Side.FLAT.value, Side.LONG.value, Side.HOLD.value
_SHARED = ("edge", "volatility", "trend", "barrier", "price")


@njit
def _vote_nb(sides: Sides, weights: Floats, side: Sides, confidence: Floats) -> None:
    members, rows = sides.shape
    for row in range(rows):
        longs = shorts = flats = total = 0.0
        for i in range(members):
            total += weights[i]
            if sides[i, row] == _LONG:
                longs += weights[i]
            elif sides[i, row] == _SHORT:
                shorts += weights[i]
            elif sides[i, row] == _FLAT:
                flats += weights[i]
        most = max(longs, shorts, flats)
        if most == 0.0:
            side[row] = _HOLD
        elif longs > shorts and longs > flats:
            side[row] = _LONG
        elif shorts > longs and shorts > flats:
            side[row] = _SHORT
        else:
            side[row] = _FLAT
        confidence[row] = most / total


@njit
def _mean_nb(
    sides: Sides, confidences: Floats, weights: Floats, threshold: float,
    side: Sides, confidence: Floats,
) -> None:  # fmt: skip
    members, rows = sides.shape
    for row in range(rows):
        opinion = voting = 0.0
        for i in range(members):
            if sides[i, row] != _HOLD:
                voting += weights[i]
                # A confidence that is not known counts as none.
                if confidences[i, row] == confidences[i, row]:
                    opinion += weights[i] * sides[i, row] * confidences[i, row]
        if voting == 0.0:
            side[row] = _HOLD
            confidence[row] = 0.0
            continue
        opinion /= voting
        side[row] = _LONG if opinion > threshold else _SHORT if opinion < -threshold else _FLAT
        confidence[row] = 1.0 - abs(opinion) if side[row] == _FLAT else abs(opinion)


def _member(value: object) -> object:
    """Build a member from its configuration, `kind` and parameters."""
    # The registry lists the ensemble too, so it can only be imported once it is needed.
    from onefold.signals.registry import drafted_strategy  # noqa: PLC0415

    if isinstance(value, Mapping) and "kind" in value:
        parameters = {k: v for k, v in value.items() if k != "kind"}
        try:
            return drafted_strategy(str(value["kind"]), parameters)
        except ConfigError as error:
            raise ValueError(str(error)) from None
    if isinstance(value, Strategy):
        return value
    raise ValueError("a member is a strategy, or its kind and parameters")


class Ensemble(Strategy):
    """Join the sides of several strategies; confidence is how far they agree.

    A member that says HOLD abstains; where all do, the ensemble holds.

    - `vote`: the side with the largest total weight of votes, FLAT where two lead. Confidence is
      that total as a share of all weights, so that abstaining lowers it.
    - `mean`: m is the weighted mean of side x confidence over those that do not abstain: LONG where
      m > threshold, SHORT where m < -threshold, else FLAT. Confidence is |m|, or 1 - |m| for FLAT.

    Edge, volatility, trend, barrier and price are those of the first member that gives them.
    """

    kind: ClassVar[str] = "ensemble"

    members: tuple[SerializeAsAny[Annotated[Strategy, BeforeValidator(_member)]], ...] = Field(
        min_length=1, description="The strategies, each by its kind and parameters."
    )
    weights: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        default=None, description="A weight for every member; null weighs all alike."
    )
    method: Literal["vote", "mean"] = Field(default="vote", description="How opinions are joined.")
    threshold: float = Field(default=0.0, ge=0, lt=1, description="Least mean opinion, for `mean`.")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.weights is not None and len(self.weights) != len(self.members):
            raise ValueError(f"{len(self.members)} members need as many weights")
        for member in self.members:
            if member.needs_position:
                raise ValueError(
                    f"{member.kind} needs its own position, and a member of an ensemble has none"
                )
        if self.threshold and self.method != "mean":
            raise ValueError("threshold has a meaning for method mean only")
        return self

    def extract_features(self) -> dict[str, Feature]:
        """Return the features of all members, prefixed by their position."""
        return {
            f"m{i}_{name}": feature
            for i, member in enumerate(self.members)
            for name, feature in member.features.items()
        }

    @property
    def awaited(self) -> dict[str, Feature]:
        """Return what the members wait for."""
        return {
            f"m{i}_{name}": feature
            for i, member in enumerate(self.members)
            for name, feature in member.awaited.items()
        }

    def load_model(self, store: Models) -> None:
        """Load what the members need."""
        for member in self.members:
            member.load_model(store)

    def predict_signal(self, x: Columns) -> Signals:
        """Evaluate the members and join their opinions."""
        opinions = [m.predict_signal(self._seen(i, m, x)) for i, m in enumerate(self.members)]
        shape = len(opinions), len(x.close)
        sides, confidences = np.empty(shape, np.int8), np.empty(shape)
        for i, opinion in enumerate(opinions):
            sides[i], confidences[i] = opinion.side, opinion.confidence
        side, confidence = np.empty(shape[1], np.int8), np.empty(shape[1])
        weights = np.array(self.weights or (1.0,) * len(opinions))
        if self.method == "vote":
            _vote_nb(sides, weights, side, confidence)
        else:
            _mean_nb(sides, confidences, weights, self.threshold, side, confidence)
        shared = {field: _first(opinions, field) for field in _SHARED}
        return self.signal(side, confidence=confidence, **shared)

    @staticmethod
    def _seen(index: int, member: Strategy, x: Columns) -> Columns:
        own = {name: x[f"m{index}_{name}"] for name in member.features}
        return Columns({**vars(x), **own})


def _first(opinions: list[Signals], field: str) -> Floats | None:
    """Return the first member's values of a field that some member gives."""
    given: Floats | None = None
    for opinion in reversed(opinions):
        column: Floats = getattr(opinion, field)
        if column is UNKNOWN:
            continue
        given = column if given is None else np.where(np.isnan(column), given, column)
    return given
