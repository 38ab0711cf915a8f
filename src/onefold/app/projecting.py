"""What the projector needs to know of a configuration: its journals, and the plans of each."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from onefold.app.settings import Loaded
from onefold.app.wiring import recorded_recipe
from onefold.domain.errors import JournalError, OnefoldError
from onefold.domain.records import SessionStart
from onefold.engine.replay import started
from onefold.ops.database.connection import connected, url_of
from onefold.ops.database.projector import Place, Projector
from onefold.ops.database.reading import Reader, unreadable
from onefold.ops.database.rows import Cursor
from onefold.ops.database.schema import upgrade
from onefold.sim.plan import Plan

T = TypeVar("T")


def database_of(loaded: Loaded) -> URL:
    """Return the database of a configuration. Raises `ConfigError` for a wrong URL."""
    settings = loaded.settings
    return url_of(settings.database.url, loaded.resolve(settings.paths.database))


def plan_of(start: SessionStart) -> Plan:
    """Return the plan that a journal was written with. Raises `JournalError`, `ConfigError`."""
    return recorded_recipe(start).plan()


class Places:
    """The journals of a configuration; call it to look for them anew.

    A folder of a session in an account's folder is that account's; one beside them, of simulated
    bars, belongs to the account of the settings that it has recorded.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.folder = loaded.resolve(loaded.settings.paths.journal)
        self._names: dict[str, str] = {}

    def __call__(self) -> Sequence[Place]:
        """Return all journals that are there."""
        found = []
        for file in self.folder.glob("*/*.jsonl"):
            name = self._account(file.parent.name)
            if name:
                found.append(Place(name, file.parent))
        found += [Place(f.parent.parent.name, f.parent) for f in self.folder.glob("*/*/*.jsonl")]
        return sorted(set(found))

    def _account(self, name: str) -> str:
        """Return whose a journal of simulated bars is, empty before it says so."""
        if name not in self._names:
            try:
                start = started(self.folder / name)
                recorded = recorded_recipe(start).settings.account.name
            except OnefoldError as error:
                if not isinstance(error, JournalError):
                    raise
                return ""
            self._names[name] = recorded
        return self._names[name]


class Database:
    """The database of a configuration, for one event loop.

    It connects when it is first used, and has to be closed.
    """

    def __init__(self, loaded: Loaded) -> None:
        self._url = database_of(loaded)
        self._engine = connected(self._url)
        self.places = Places(loaded)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    async def upgrade(self) -> str:
        """Bring the tables to this version's, and return the revision."""
        return await upgrade(self._engine)

    def projector(self, told: Callable[[str], None]) -> Projector:
        """Return a projector of all journals; `told` hears what a person should know."""
        return Projector(self._engine, self.places, plan_of, told)

    async def cursors(self) -> list[Cursor]:
        """Return how far every journal has been projected. Raises `DatabaseError`."""
        reader = Reader(self._url)
        try:
            return await reader.cursors()
        finally:
            await reader.close()

    async def accounts(self) -> set[str]:
        """Return the accounts that have been projected."""
        return {one.account for one in await self.cursors()}


async def using(loaded: Loaded, work: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    """Do something with the database of a configuration. Raises `DatabaseError` when it fails."""
    database = Database(loaded)
    try:
        return await work(database)
    except (SQLAlchemyError, ConnectionError, TimeoutError) as error:
        raise unreadable(error) from error
    finally:
        await database.close()
