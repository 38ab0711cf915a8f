"""`onefold keys`: who may ask the server, and for what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onefold.api.security import ROLES, Keys
from onefold.app.group import Group, new_app
from onefold.app.output import ConfigFile, Json, emit, note, say, show, table
from onefold.app.serving import served_settings

app = new_app(Group, "Make, list and revoke API keys.")

CONFIG = Path("onefold.yaml")
Name = Annotated[str, typer.Argument(help="Whose key; it stands in the record.")]


@app.command()
def add(
    name: Name,
    role: Annotated[
        str, typer.Option(help=f"What it may do: {', '.join(ROLES)}.", show_default=False)
    ],
    config: ConfigFile = CONFIG,
    json_: Json = False,
) -> None:
    """Make a key, and print it this once: only its hash is kept."""
    key = _keys(config).add(name, role)
    if json_:
        emit({"name": name, "role": role, "key": key})
        return
    say(key)
    note(f"the key of {name}, role {role}; it is not shown again")


@app.command("list")
def list_(config: ConfigFile = CONFIG, json_: Json = False) -> None:
    """List the keys, without what is secret of them."""
    found = _keys(config).facts()
    if json_:
        emit([one._asdict() for one in found])
        return
    if not found:
        note("there is no key: onefold keys add NAME --role viewer")
        return
    rows = [(one.name, one.role, one.created) for one in found]
    show(table(("name", "role", "made"), rows, text=3))


@app.command()
def revoke(name: Name, config: ConfigFile = CONFIG, json_: Json = False) -> None:
    """Let a key count no more; a server that runs notices at once."""
    _keys(config).revoke(name)
    if json_:
        emit({"revoked": name})
        return
    note(f"the key of {name} counts no more")


def _keys(config: Path) -> Keys:
    loaded = served_settings(config)
    return Keys(loaded.resolve(loaded.settings.serve.keys))
