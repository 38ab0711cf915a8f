"""The migrations give the tables that the code writes, on either database."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Connection, inspect, text

from onefold.domain.errors import ConfigError
from onefold.ops.database.connection import DatabaseError, connected, url_of
from onefold.ops.database.reading import Reader
from onefold.ops.database.schema import newest, revision, upgrade
from onefold.ops.database.tables import metadata


def asked(url: URL, ask: Any) -> Any:
    async def work() -> Any:
        engine = connected(url)
        try:
            return await ask(engine)
        finally:
            await engine.dispose()

    return asyncio.run(work())


def test_the_migrations_give_exactly_the_tables(database: URL) -> None:
    def compare(connection: Connection) -> tuple[list[Any], dict[str, Any]]:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        keys = {t: inspect(connection).get_pk_constraint(t) for t in metadata.tables}
        return compare_metadata(context, metadata), keys

    async def ask(engine: Any) -> tuple[list[Any], dict[str, Any]]:
        assert await revision(engine) == ""
        assert await upgrade(engine) == newest()
        assert await upgrade(engine) == newest(), "again is nothing"
        async with engine.connect() as connection:
            return await connection.run_sync(compare)

    differences, keys = asked(database, ask)
    assert differences == []
    for name, table in metadata.tables.items():
        assert keys[name]["constrained_columns"] == [c.name for c in table.primary_key]
        assert keys[name]["name"] == table.primary_key.name


def test_a_database_of_a_newer_version_is_left_alone(database: URL) -> None:
    async def ask(engine: Any) -> None:
        await upgrade(engine)
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(DatabaseError, match="9999, which this version does not know"):
            await upgrade(engine)

    asked(database, ask)


def test_a_reader_of_nothing_says_what_to_do(database: URL) -> None:
    async def ask() -> None:
        reader = Reader(database)
        with pytest.raises(DatabaseError, match="run `onefold db upgrade`"):
            await reader.trades()
        await reader.close()

    asyncio.run(ask())


def test_a_reader_of_a_server_that_is_not_there_says_so() -> None:
    async def ask() -> None:
        reader = Reader(url_of("postgresql://nobody@127.0.0.1:1/none", None))  # type: ignore[arg-type]
        with pytest.raises(DatabaseError, match="cannot be reached"):
            await reader.trades()
        await reader.close()

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("written", "match"),
    [("mysql://a:secret@b/c", "'mysql' is not supported"), ("no url: secret", "is no URL")],
)
def test_another_database_is_refused_without_its_password(written: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as error:
        url_of(written, None)  # type: ignore[arg-type]
    assert "secret" not in str(error.value)
