"""`onefold db`: the database that is projected from the journals."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from onefold.app.group import Group, new_app
from onefold.app.notify import notify
from onefold.app.output import ConfigFile, Json, Teller, emit, note, one_line, say, show, table
from onefold.app.serving import served_settings
from onefold.app.settings import Loaded
from onefold.domain.errors import ConfigError, MissingExtra, did_you_mean
from onefold.journal import head

if TYPE_CHECKING:
    from onefold.app.projecting import Database

T = TypeVar("T")

app = new_app(Group, "The database that is projected from the journals.")

CONFIG = Path("onefold.yaml")


@app.command()
def upgrade(config: ConfigFile = CONFIG, json_: Json = False) -> None:
    """Create the tables, or bring them to this version's."""
    revision = _with(served_settings(config), lambda database: database.upgrade())
    if json_:
        emit({"revision": revision})
    else:
        say(f"the database has revision {revision}")


@app.command()
def follow(config: ConfigFile = CONFIG) -> None:
    """Project all journals, and go on with what is written to them until stopped.

    It brings the tables to this version's first. A database that fails is tried again.
    """
    loaded = served_settings(config)
    teller = Teller()

    async def work(database: Database) -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            if sys.platform == "win32":
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopping.set))
            else:
                loop.add_signal_handler(number, stopping.set)
        teller.tell(f"following the journals in {database.places.folder}")
        notify("READY=1")
        async with database.projector(lambda text: teller.tell(one_line(text))) as projector:
            await projector.follow(stopping, loaded.settings.database.poll_s)

    try:
        _with(loaded, work)
    finally:
        teller.close()
    note("stopped")


@app.command()
def rebuild(
    account: Annotated[str, typer.Option(help="Which account; all when left out.")] = "",
    config: ConfigFile = CONFIG,
    json_: Json = False,
) -> None:
    """Drop an account's rows and project its journals anew; readers see the old rows meanwhile."""

    async def work(database: Database) -> list[str]:
        await database.upgrade()
        known = sorted({*(p.account for p in database.places()), *await database.accounts()})
        if account and account not in known:
            hint = did_you_mean(account, known)
            raise ConfigError(f"there is no journal of an account {account!r}{hint}")
        done = [account] if account else known
        for name in done:
            async with database.projector(note) as projector:
                await projector.rebuild(name)
        return done

    done = _with(served_settings(config), work)
    if json_:
        emit({"accounts": done})
    else:
        say(f"projected anew: {', '.join(done) or 'nothing, there is no journal'}")


@app.command()
def status(config: ConfigFile = CONFIG, json_: Json = False) -> None:
    """Tell how far each journal has been projected, and why one has stopped."""

    async def work(database: Database) -> list[dict[str, Any]]:
        folders = {place.key: place.path for place in database.places()}
        found = []
        for one in await database.cursors():
            path = folders.pop((one.account, one.journal), None)
            written = None if path is None else head(path).seq
            found.append({**_plain(one), "written": written})
        waiting = {"seq": 0, "hash": "", "trouble": "", "mode": ""}
        for (account, journal), path in folders.items():
            more = {"account": account, "journal": journal, "written": head(path).seq}
            found.append({**waiting, **more})
        return found

    cursors = _with(served_settings(config), work)
    if json_:
        emit(cursors)
        return
    lines = table(("account", "journal", "projected", "written", "trouble"), [], text=2)
    for one in cursors:
        seq, written = one["seq"], one["written"]
        told = "gone" if written is None else f"{written:,}"
        lines.add_row(one["account"], one["journal"], f"{seq:,}", told, one_line(one["trouble"]))
    show(lines)


def _plain(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def _with(loaded: Loaded, work: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    """Do something with the configuration's database, and say in words what fails."""
    try:
        from onefold.app.projecting import using  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MissingExtra(f"the database ({error.name})", "ops") from None
    return asyncio.run(using(loaded, work))
