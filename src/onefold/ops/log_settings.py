"""What is logged, where, and for how long it is kept; apart from what does it, which costs time."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from pydantic import Field

from onefold.domain.rules import Rule

Channel = Literal[
    "trading", "market_data", "api", "error", "application", "monitoring", "performance", "audit"
]
Level = Literal["debug", "info", "warning", "error"]
CHANNELS: tuple[Channel, ...] = (
    "trading",
    "market_data",
    "api",
    "error",
    "application",
    "monitoring",
    "performance",
    "audit",
)


class LogSettings(Rule):
    """What is logged, where, and for how long it is kept."""

    folder: Path = Field(Path("logs"), description="Folder of the log files.")
    level: Level = Field("info", description="From which level on records go to the files.")
    console_level: Level = Field("warning", description="The same for stderr.")
    levels: dict[Channel, Level] = Field(
        default_factory=dict, description="Levels of channels that differ: {market_data: debug}."
    )
    max_mb: float = Field(
        10.0,
        ge=0.01,
        le=4_000,
        description="Size at which a file is put aside; at the end of a day it is in any case.",
    )
    keep_files: int = Field(
        30, ge=0, le=100_000, description="Files of each channel that are kept when put aside."
    )
    keep_days: int = Field(30, ge=1, le=36_500, description="Days for which they are kept at most.")

    def level_of(self, channel: str) -> int:
        """Return the level from which on a channel is written, as a number."""
        return number_of(self.levels.get(channel, self.level))  # type: ignore[call-overload]


def number_of(level: str) -> int:
    """Return a level as the library's number."""
    return logging.getLevelNamesMapping()[level.upper()]
