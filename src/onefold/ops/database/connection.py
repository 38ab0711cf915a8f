"""Connections to the database, the same to use whichever it is.

SQLite is opened with a write-ahead log, so that readers see the last whole transaction while the
projector writes the next one; readers open the file read-only. A writer takes its lock when a
transaction begins: then none of it fails half-way because another one has written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from onefold.domain.errors import ConfigError, MissingExtra, OnefoldError

BUSY_MS = 2_000
"""How long SQLite waits for another writer before it says that the file is locked."""
ANSWER_S = 60
"""How long PostgreSQL may take for one statement, so that a dead connection is noticed."""

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}


class DatabaseError(OnefoldError):
    """The database cannot be reached, or is not what this version writes."""


def url_of(written: str, file: Path) -> URL:
    """Return the database that is meant: the one written, or else the SQLite file.

    Raises `ConfigError` for what is no URL of PostgreSQL or SQLite.
    """
    if not written:
        return URL.create("sqlite+aiosqlite", database=str(file))
    try:
        url = make_url(written)
    except (ArgumentError, ValueError):
        # The text is not repeated: it may hold a password.
        raise ConfigError(
            "database.url is no URL; write postgresql://USER:PASSWORD@HOST/NAME"
        ) from None
    if url.drivername not in _DRIVERS:
        raise ConfigError(
            f"database.url: {url.drivername!r} is not supported; use postgresql:// or sqlite:///"
        )
    return url.set(drivername=_DRIVERS[url.drivername])


def connected(url: URL, *, read_only: bool = False) -> AsyncEngine:
    """Return an engine for a database; it connects when it is first used.

    Raises `MissingExtra` where the driver is not installed.
    """
    is_sqlite = url.get_backend_name() == "sqlite"
    if is_sqlite and read_only:
        place = f"file:{Path(url.database or '').resolve()}"
        url = url.set(database=place, query={"mode": "ro", "uri": "true"})
    arguments: dict[str, Any] = {} if is_sqlite else {"command_timeout": ANSWER_S}
    try:
        engine = create_async_engine(url, connect_args=arguments, pool_pre_ping=not is_sqlite)
    except ModuleNotFoundError as error:
        extra = "ops" if is_sqlite else "postgres"
        raise MissingExtra(f"the database needs {error.name}, which", extra) from None
    if is_sqlite:
        _prepare(engine, read_only=read_only)
    return engine


def _prepare(engine: AsyncEngine, *, read_only: bool) -> None:
    """Let SQLite log ahead, and let transactions begin where they are begun."""

    @event.listens_for(engine.sync_engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        if not read_only:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
