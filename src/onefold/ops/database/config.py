"""What a user says of the database; to be read without the libraries that it needs."""

from __future__ import annotations

from pydantic import Field

from onefold.domain.rules import Rule


class DatabaseSettings(Rule):
    """The database into which the journals are projected."""

    url: str = Field(
        "",
        description="postgresql://USER:PASSWORD@HOST/NAME; a SQLite file at `paths.database` when "
        "left out.",
    )
    poll_s: float = Field(
        0.5, ge=0.05, le=60, description="Seconds between two looks at the journals."
    )
