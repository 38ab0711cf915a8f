"""Bring a database to this version's tables, and say which version it has.

The migrations are part of the package, so that an installed Onefold can upgrade its database.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from onefold.ops.database.connection import DatabaseError


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    place = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", place.replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def newest() -> str:
    """Return the revision that this version writes."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


async def revision(engine: AsyncEngine) -> str:
    """Return the revision that a database has, empty before its first upgrade."""

    def ask(connection: Connection) -> str:
        return MigrationContext.configure(connection).get_current_revision() or ""

    async with engine.connect() as connection:
        return await connection.run_sync(ask)


async def upgrade(engine: AsyncEngine) -> str:
    """Bring a database to the newest revision, and return it.

    Raises `DatabaseError` for one that a newer version has written.
    """
    found = await revision(engine)
    if found == newest():
        return found
    script = ScriptDirectory.from_config(_config())
    if found and found not in {one.revision for one in script.walk_revisions()}:
        raise DatabaseError(
            f"the database has revision {found}, which this version does not know: update "
            "Onefold, or use another database"
        )

    def change(connection: Connection) -> None:
        command.upgrade(_config(connection), "head")

    async with engine.begin() as connection:
        await connection.run_sync(change)
    return newest()
