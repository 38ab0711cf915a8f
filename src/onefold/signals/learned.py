"""Strategies with a model: the rules, filtered by one, and one that follows its model alone.

A filter is Lopez de Prado's meta-labelling (Advances in Financial Machine Learning, 2018, 3.6): the
rule says which side, the model how likely it is that the trade pays. That probability is the
signal's confidence, so `gates.conf_min` is what filters, in the one place where all is decided,
recorded and explained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from onefold.domain.columns import Signals
from onefold.domain.errors import ModelError
from onefold.signals.feature import Feature
from onefold.signals.model import Aim, Model, Models, ModelScore
from onefold.signals.signal import FLAT, HOLD, LONG, SHORT, Columns, choose
from onefold.signals.strategies import (
    Breakout,
    IbsA,
    MeanReversion,
    Momentum,
    RuleStrategy,
)
from onefold.signals.strategy import Strategy

SCORE = "model_score"


class WithModel(Strategy):
    """Part of a strategy: a model of the store, whose score is the feature `model_score`.

    It has no other fields, or their defaults would take the place of the rule's.
    """

    model: str = Field(
        description="The model: its name (the active version), or name@version.",
        min_length=1,
        max_length=200,
    )
    _model: Model | None = PrivateAttr(None)

    def load_model(self, store: Models) -> None:
        """Take the model from the store. Raises `ModelError`."""
        self._model = store.get(self.model)

    def extract_features(self) -> dict[str, Feature]:
        """Return the features of the rule, and the model's score."""
        if self._model is None:
            raise ModelError(f"{self.kind}: its model {self.model!r} has not been loaded")
        rule = super().extract_features()  # type: ignore[safe-super]  # the rule's, by the heirs
        return {**rule, SCORE: self._model.score}


class Filtered(WithModel):
    """A rule whose entries have the model's probability as their confidence.

    Where the score is unknown nothing is entered, and what the rule wants to leave is left all the
    same. A rule of one's own is filtered by a class of both: `class Mine(Filtered, MyRule)`.
    """

    @property
    def awaited(self) -> dict[str, Feature]:
        """Return the rule's features: an exit does not wait for a model."""
        return {name: f for name, f in self.features.items() if name != SCORE}

    def predict_signal(self, x: Columns) -> Signals:
        """Return the rule's signal, as certain as the model is."""
        drafted = super().predict_signal(x)  # type: ignore[safe-super]  # the rule's, by the heirs
        score = x[SCORE]
        side = np.where(np.isnan(score) & (drafted.side != FLAT), HOLD, drafted.side)
        return drafted._replace(side=side, confidence=score, score=score)


class MlMomentum(Filtered, Momentum):
    """Momentum whose entries a model judges."""

    kind: ClassVar[str] = "ml_momentum"


class MlMeanReversion(Filtered, MeanReversion):
    """Mean reversion whose entries a model judges."""

    kind: ClassVar[str] = "ml_mean_reversion"


class MlBreakout(Filtered, Breakout):
    """Breakout whose entries a model judges."""

    kind: ClassVar[str] = "ml_breakout"


class MlIbs(Filtered, IbsA):
    """Internal bar strength whose entries a model judges."""

    kind: ClassVar[str] = "ml_ibs"


def rule_of(cls: type[Strategy]) -> type[Strategy] | None:
    """Return the class of the rule that a filtered strategy has, None where it is no filter."""
    if not issubclass(cls, Filtered):
        return None
    rules = (one for one in cls.__mro__ if issubclass(one, Strategy))
    return next((one for one in rules if not issubclass(one, WithModel)), None)


def misused(strategy: Strategy) -> str:
    """Return why a model must not decide for a strategy, empty where nothing speaks against it.

    The probability that a trade of one rule pays says nothing of another rule's trades, and is none
    that a price rises. A model that does not say what it predicts is let through.
    """
    for part in (strategy, *getattr(strategy, "members", ())):
        if part is not strategy and (why := misused(part)):
            return why
        if isinstance(part, WithModel) and SCORE in part.features:
            score = part.features[SCORE]
            models = score.model.parts() if isinstance(score, ModelScore) else ()
            for model in models:
                aim = model.sidecar.aim
                if aim is not None and not model.is_silent and not _serves(aim, part):
                    return f"model {model.identity} predicts {aim.words}: not what {part.kind} asks"
    return ""


def _serves(aim: Aim, strategy: WithModel) -> bool:
    """Return whether what a model predicts is what a strategy asks."""
    if isinstance(strategy, MlDirection):
        return aim.label in {"direction", "trend", "policy"}
    rule = rule_of(type(strategy))
    if rule is None:
        return True
    return aim.label == "trade" and aim.rule in {"", rule.kind}


RULES: Mapping[str, str] = {
    "ml_momentum": "momentum",
    "ml_mean_reversion": "mean_reversion",
    "ml_breakout": "breakout",
    "ml_ibs": "ibs_a",
}
"""The rule of each filtered strategy, both by their kinds."""


class MlDirection(WithModel, RuleStrategy):
    """Follow a model's probability p that the price rises: LONG where p >= enter, else FLAT.

    Between `leave` and `enter` it holds, so that it does not trade on every change of mind. With
    `short` SHORT where p <= 1 - enter, and FLAT where 1 - leave <= p <= leave. Confidence is p for
    LONG and 1 - p for SHORT.
    """

    kind: ClassVar[str] = "ml_direction"

    enter: float = Field(default=0.55, gt=0.5, lt=1, description="Least probability to enter at.")
    leave: float = Field(default=0.5, gt=0, lt=1, description="Probability at which to leave.")
    short: bool = Field(default=False, description="Sell short what is likely to fall.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.leave >= self.enter:
            raise ValueError(f"leave ({self.leave}) must be less than enter ({self.enter})")
        if self.short and self.leave < 0.5:
            raise ValueError("leave must be at least 0.5 with short, or no position is ever left")
        return self

    def rule_features(self) -> dict[str, Feature]:
        """Return nothing: the model has all."""
        return {}

    def predict_signal(self, x: Columns) -> Signals:
        """Compare the probability with both thresholds."""
        p = x[SCORE]
        if self.short:
            undecided = (p >= 1.0 - self.leave) & (p <= self.leave)
            falls = p <= 1.0 - self.enter
            side = choose((p >= self.enter, LONG), (falls, SHORT), (undecided, FLAT))
        else:
            side = choose((p >= self.enter, LONG), (p <= self.leave, FLAT))
        certain = np.where(side == SHORT, 1.0 - p, p)
        return self.signal(side, confidence=certain, score=p, **self.risk(x))
