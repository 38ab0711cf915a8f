"""`onefold health`: whether all is well, for people and for whatever restarts things."""

from __future__ import annotations

from pathlib import Path

import msgspec
import typer

from onefold.app.checking import health_of
from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json, emit, say, show, table
from onefold.app.settings import load_settings
from onefold.ops.health import RANK

app = new_app()


@app.command()
def health(config: ConfigFile = Path("onefold.yaml"), json_: Json = False) -> None:
    """Tell whether all is well, check by check.

    Ends with code 0 when it is, with 1 when something is degraded, and with 2 when something is
    unhealthy.
    """
    report = health_of(load_settings(config))
    if json_:
        emit(msgspec.to_builtins(report))
    else:
        rows = [(one.name, one.status, one.detail) for one in report.checks]
        show(table(("check", "status", "detail"), rows, text=3))
        say(report.status)
    if RANK[report.status]:
        raise typer.Exit(RANK[report.status])
