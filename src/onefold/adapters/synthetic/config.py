"""What a made market looks like: every property is a number and a seed, so it can be made again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from onefold.domain.bounds import COUNT_MAX, SECONDS_MAX, SIZE_MAX
from onefold.domain.instruments import Instrument, instrument


def _known_instrument(value: object) -> object:
    return instrument(value) if isinstance(value, str) else value


class SyntheticConfig(BaseModel):
    """A geometric random walk with the faults of real markets."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    instrument: Annotated[Instrument, BeforeValidator(_known_instrument)] = Field(
        description="A symbol of the catalogue, or an instrument of its own."
    )
    seed: int = Field(ge=0, description="The same seed and settings make the same bytes.")
    bars: int = Field(
        1_000,
        ge=1,
        le=COUNT_MAX,
        description="Slots of time; gaps and closed hours leave fewer bars.",
    )
    start: datetime = Field(
        datetime.fromisoformat("2024-01-01T00:00:00+00:00"),
        description="Open of the first slot; without a zone it is UTC.",
    )
    interval_s: int = Field(
        60, ge=1, le=SECONDS_MAX, description="Seconds from one slot to the next."
    )
    price: float = Field(100.0, gt=0, le=SIZE_MAX, description="Price before the first bar.")
    volatility: float = Field(0.3, ge=0, le=10, description="Yearly volatility as a share.")
    drift: float = Field(0.0, ge=-10, le=10, description="Yearly drift of the log price.")
    jump_rate: float = Field(0.001, ge=0, le=1, description="Share of bars that jump.")
    jump_size: float = Field(0.01, ge=0, le=1, description="Standard deviation of a log jump.")
    gap_rate: float = Field(0.002, ge=0, le=1, description="Share of slots without a bar.")
    halt_rate: float = Field(0.0002, ge=0, le=1, description="Share of bars that start a halt.")
    halt_bars: int = Field(
        10, ge=1, le=COUNT_MAX, description="Bars of a halt: no volume, no change of price."
    )
    volume: float = Field(
        1_000.0, ge=0, le=SIZE_MAX, description="Median volume of a bar, in units."
    )
