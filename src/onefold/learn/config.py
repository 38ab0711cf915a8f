"""What a user says about training a model."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from onefold.domain.errors import ConfigError
from onefold.domain.rules import Rule
from onefold.signals.expression import feature_of


class Range(Rule):
    """Numbers from `low` to `high`, both included; whole ones where all are written whole."""

    low: int | float = Field(description="The lowest.")
    high: int | float = Field(description="The highest.")
    step: int | float | None = Field(None, gt=0, description="Distance; needed for a grid.")
    log: bool = Field(False, description="Search evenly in the logarithm.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be less than high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError("log needs numbers above zero")
        if self.log and self.step is not None:
            raise ValueError("give step or log, not both")
        return self

    @property
    def whole(self) -> bool:
        """Return whether all numbers are whole."""
        given = (self.low, self.high, self.step or 1)
        return not self.log and all(isinstance(n, int) for n in given)

    def values(self) -> tuple[float, ...]:
        """Return all numbers, of a range with a step."""
        if self.step is None:
            raise ConfigError(f"a range from {self.low} to {self.high} has no step")
        count = int((self.high - self.low) / self.step + 1e-9) + 1
        made = [self.low + n * self.step for n in range(count)]
        return tuple(int(n) if self.whole else round(n, 12) for n in made)


class SweepConfig(Rule):
    """A search for parameters of one strategy."""

    strategy: str = Field(description="The strategy of `strategies` whose parameters are searched.")
    params: dict[str, tuple[int | float | str | bool, ...] | Range] = Field(
        min_length=1,
        description="Values or a range for settings below the strategy: params.fast, exits.stop.",
    )
    method: Literal["grid", "random", "tpe"] = Field(
        "grid", description="All combinations, some by chance, or Optuna's search."
    )
    trials: int = Field(100, ge=1, le=1_000_000, description="Trials of random and tpe.")
    objective: Literal["sharpe", "total_return", "calmar"] = Field(
        "sharpe", description="What is to be as large as possible."
    )
    batch: int = Field(
        8, ge=1, le=1_000, description="Trials that tpe asks for before it hears of one."
    )
    seed: int = Field(1, ge=0, lt=2**31, description="Of random and tpe.")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        """Read ranges by themselves, so that what is wrong with one is said of a range alone."""
        params = given.get("params") if isinstance(given, dict) else None
        if not isinstance(params, dict):
            return given
        return {**given, "params": {name: _space(name, space) for name, space in params.items()}}

    @model_validator(mode="after")
    def _steps(self) -> Self:
        for name, space in self.params.items():
            if self.method == "grid" and isinstance(space, Range) and space.step is None:
                raise ValueError(
                    f"params.{name}: a grid needs a step for every range; give one, or method: tpe"
                )
        return self


def _space(name: str, space: Any) -> Any:
    """Return what is given for a parameter, a range where it has keys."""
    if isinstance(space, dict):
        try:
            return Range.model_validate(space)
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            where = ".".join(["params", name, *map(str, detail["loc"])])
            said = str(detail["msg"]).removeprefix("Value error, ")
            raise ValueError(f"{where}: {said[0].lower()}{said[1:]}") from None
    if not isinstance(space, (list, tuple, Range)):
        # A validator's errors are of values: others would not be explained to the user.
        raise ValueError(f"params.{name}: give a list of values, or a range with low and high")  # noqa: TRY004
    if isinstance(space, (list, tuple)) and not space:
        raise ValueError(f"params.{name}: the list of values is empty")
    return space


class TrainingConfig(Rule):
    """How one model is trained: on what, for what, and how its skill is judged."""

    strategy: str = Field(
        description="The strategy of `strategies` whose entries it judges, or that follows it."
    )
    features: tuple[str, ...] = Field(
        max_length=500, description="Texts such as rsi(14) or close / sma(20) - 1."
    )
    label: Literal["trade", "direction", "trend", "policy"] = Field(
        "trade",
        description="trade: whether the strategy's own trade pays; direction: whether the close is "
        "higher after `horizon` bars; trend: the sign of the strongest trend within `horizon`; "
        "policy: none, it learns from what its trades make.",
    )
    generations: int = Field(40, ge=1, le=10_000, description="Steps of learning a policy.")
    population: int = Field(16, ge=2, le=1_000, description="Pairs that are tried in each step.")
    hidden: int = Field(6, ge=1, le=256, description="Width of a policy's hidden layer.")
    horizon: int = Field(20, ge=1, le=10_000, description="Bars of direction and trend.")
    turns_only: bool = Field(
        False, description="Learn from bars at which the signal turns, not from all of its bars."
    )
    cusum: float | None = Field(
        None,
        gt=0,
        description="Learn from bars at which the summed returns since the last one moved so far.",
    )
    until: date | None = Field(None, description="Use data before this day only.")
    folds: int = Field(5, ge=2, le=50, description="Folds of the cross-validation.")
    embargo: float = Field(
        0.01, ge=0, lt=0.5, description="Share of all bars that is left out after a test fold."
    )
    weights: Literal["uniqueness", "attribution"] = Field(
        "uniqueness",
        description="What an event weighs: its uniqueness, or that times the returns in its bars.",
    )
    decay: float = Field(
        1.0, ge=0, le=1, description="Weight of the oldest event; 1 weighs all ages alike."
    )
    trees: int = Field(200, ge=1, le=10_000, description="Trees of the model.")
    leaves: int = Field(15, ge=2, le=1_024, description="Leaves of a tree.")
    leaf_min: int = Field(50, ge=1, description="Fewest events in a leaf.")
    rate: float = Field(0.03, gt=0, le=1, description="Learning rate.")
    seed: int = Field(
        1,
        ge=0,
        lt=2**31,
        description="Of a policy's search, and of the shuffles that tell what a feature is worth; "
        "nothing about the trees is random.",
    )
    expires_days: int = Field(
        180, ge=1, le=36_500, description="Days after the last data until the model expires."
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if not self.features:
            raise ValueError("features: give at least one, such as rsi(14) or close / sma(20) - 1")
        for text in self.features:
            try:
                feature_of(text)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        twice = sorted({text for text in self.features if self.features.count(text) > 1})
        if twice:
            raise ValueError(f"feature {twice[0]!r} is there twice")
        return self
