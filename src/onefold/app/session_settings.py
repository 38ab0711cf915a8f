"""How sessions run and record, where things are written, and what governance wants to see."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from onefold.domain.bounds import NUMBER_MAX, SECONDS_MAX
from onefold.domain.rules import Rule
from onefold.engine.heartbeat import HEARTBEAT_S_MAX
from onefold.engine.latency import BUCKETS_MS
from onefold.governance.rules import GovernorRules
from onefold.governance.transitions import StabilityRules, TransitionRules


class PaceSettings(Rule):
    """How fast a simulated session runs; as fast as it can when neither is given."""

    speed: float | None = Field(
        None, gt=0, le=NUMBER_MAX, description="Times real time; 60 is a minute a second."
    )
    seconds_per_bar: float | None = Field(
        None, gt=0, le=SECONDS_MAX, description="One bar every so many seconds."
    )

    @model_validator(mode="after")
    def _one(self) -> PaceSettings:
        if self.speed is not None and self.seconds_per_bar is not None:
            raise ValueError("give speed or seconds_per_bar, not both")
        return self


class SessionSettings(Rule):
    """How a session runs and records."""

    pace: PaceSettings = Field(
        default_factory=PaceSettings, description="How fast; as fast as it can when left out."
    )
    durability: Literal["durable", "relaxed"] = Field(
        "durable",
        description="durable syncs every commit; relaxed writes 512 records at once.",
    )
    segment_mb: float = Field(10.0, gt=0, le=4_000, description="Size of a journal segment.")
    model_deadline_s: float = Field(
        0.25,
        gt=0,
        le=SECONDS_MAX,
        description="Seconds after which a model's answer is discarded, in real time.",
    )
    heartbeat_s: float = Field(
        1.0,
        ge=0.1,
        le=HEARTBEAT_S_MAX,
        description="Shortest time between two heartbeats in seconds; the longest is 30.",
    )
    latency_buckets_ms: tuple[Annotated[float, Field(gt=0, le=1e9)], ...] = Field(
        BUCKETS_MS,
        min_length=1,
        max_length=100,
        description="Upper bounds of the buckets in which durations are counted; they rise.",
    )

    @field_validator("latency_buckets_ms")
    @classmethod
    def _rising(cls, bounds: tuple[float, ...]) -> tuple[float, ...]:
        if any(above <= below for below, above in pairwise(bounds)):
            raise ValueError("each bound has to be above the one before")
        return bounds


class PathSettings(Rule):
    """Where things are written; relative paths start at the configuration file."""

    runs: Path = Field(Path("runs"), description="Folder of the backtests' folders.")
    journal: Path = Field(Path("journal"), description="Folder of the sessions' journals.")
    models: Path = Field(Path("models"), description="Folder of the models.")
    governance: Path = Field(
        Path("governance"), description="Folder of what governance has changed, ACCOUNT.jsonl."
    )
    database: Path = Field(
        Path("onefold.db"), description="The database, where it is a file of SQLite."
    )
    heartbeats: Path | None = Field(
        None, description="Folder for copies of the heartbeats, ACCOUNT.json, for whoever watches."
    )


class GovernanceSettings(Rule):
    """What evidence has to show before anything changes."""

    governor: GovernorRules = Field(
        default_factory=GovernorRules, description="How `onefold govern` moves conf_min."
    )
    transitions: TransitionRules = Field(
        default_factory=TransitionRules, description="From shadow to paper to live."
    )
    stability: StabilityRules = Field(
        default_factory=StabilityRules, description="What makes a day of a session a good one."
    )
