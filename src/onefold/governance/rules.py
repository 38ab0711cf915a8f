"""How far and how often the governor may move a threshold, and on what evidence.

The bounds here are those of the product: a configuration may narrow them and not widen them.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from onefold.domain.rules import Rule

CONF_MIN_LOW, CONF_MIN_HIGH = 0.50, 0.90


class GovernorRules(Rule):
    """When `conf_min` of a strategy in an instrument is raised or lowered, and by how much."""

    low: float = Field(
        CONF_MIN_LOW, ge=CONF_MIN_LOW, le=CONF_MIN_HIGH, description="Least conf_min."
    )
    high: float = Field(
        CONF_MIN_HIGH, ge=CONF_MIN_LOW, le=CONF_MIN_HIGH, description="Largest conf_min."
    )
    step_up: float = Field(0.05, ge=0.001, le=0.1, description="How much is added where poor.")
    step_down: float = Field(
        0.02, ge=0.001, le=0.05, description="How much is taken away where excellent; less."
    )
    trades_min: int = Field(
        30, ge=10, le=100_000, description="Trades closed since the last change."
    )
    days_min: int = Field(20, ge=5, le=10_000, description="Days measured since the last change.")
    cool_down_days: float = Field(
        7.0, ge=1, le=3_650, description="Days after a change in which there is no other."
    )
    poor_error: float = Field(
        0.05, gt=0, le=0.2, description="How often chance may look poor, at one look."
    )
    excellent_error: float = Field(
        0.05, gt=0, le=0.2, description="How often chance may ever look excellent, at all looks."
    )
    reversal_factor: float = Field(
        0.2, gt=0, le=0.5, description="Both errors times this, to reverse the last direction."
    )
    drawdown_max: float = Field(
        0.10, gt=0, le=1, description="Drawdown that is poor, as a share of the account's equity."
    )
    reversals_max: int = Field(
        2, ge=0, le=10, description="Reversals after which it is only raised, until a reset."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if self.step_down >= self.step_up:
            raise ValueError(
                f"step_down ({self.step_down}) must be smaller than step_up ({self.step_up}): "
                "trust is lost faster than it is won"
            )
        return self
