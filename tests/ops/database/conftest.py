"""Databases for the tests: a file of SQLite, and a database of its own on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Iterator

import asyncpg
import pytest
from sqlalchemy import URL, make_url

from onefold.ops.database.connection import url_of

SERVER = os.environ.get("ONEFOLD_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")


def ask_server(statement: str) -> None:
    """Let the server's own database carry out one statement."""

    async def ask() -> None:
        connection = await asyncpg.connect(SERVER, timeout=5)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(ask())


def new_postgres() -> Iterator[URL]:
    """Yield a new database of the server, and drop it."""
    name = f"onefold_{uuid.uuid4().hex}"
    try:
        ask_server(f"CREATE DATABASE {name}")
    except (OSError, asyncpg.PostgresError) as error:
        pytest.skip(f"no PostgreSQL at {make_url(SERVER).host}: {error}")
    try:
        yield url_of(SERVER, None).set(database=name)  # type: ignore[arg-type]
    finally:
        ask_server(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres() -> Iterator[URL]:
    yield from new_postgres()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[URL]:
    """Give a database of either kind that is empty."""
    yield from _of_kind(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[URL]]:
    """Give one of each kind for all examples of a property, which have accounts of their own."""
    with contextlib.contextmanager(new_postgres)() as server:
        yield [*_of_kind("sqlite", tmp_path_factory), server]


def _of_kind(kind: str, folders: pytest.TempPathFactory) -> Iterator[URL]:
    if kind == "sqlite":
        yield url_of("", folders.mktemp("database") / "onefold.db")
    else:
        yield from new_postgres()
