"""`onefold notify`: try out whether people would be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onefold.app.group import Group, new_app
from onefold.app.output import ConfigFile, Json, emit, note, say
from onefold.app.settings import load_settings
from onefold.domain.errors import VenueError

app = new_app(Group, "Try out where people are told what happens.")


@app.callback()
def notify() -> None:
    """Try out where people are told what happens."""
    # With this, one command alone is still called by its name.


@app.command("test")
def try_channels(
    config: ConfigFile = Path("onefold.yaml"),
    channel: Annotated[
        list[str] | None, typer.Option(help="Which channel; all when left out.")
    ] = None,
    json_: Json = False,
) -> None:
    """Send a test message to every channel, and say which took it."""
    # apprise takes a second to load; the other commands need not wait for it.
    from onefold.ops.notifications import try_out  # noqa: PLC0415

    found = try_out(load_settings(config).settings.notifications, channel or ())
    failed = sorted(name for name, trouble in found.items() if trouble)
    if json_:
        emit({"channels": found})
    elif not found:
        note("there are no channels: see notifications.channels in docs/notifications.md")
    else:
        for name, trouble in found.items():
            say(f"{name}: {trouble or 'delivered'}")
    if failed:
        if json_:
            raise typer.Exit(VenueError.exit_code)
        raise VenueError(f"not delivered by {', '.join(failed)}")
