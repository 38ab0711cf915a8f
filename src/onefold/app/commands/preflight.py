"""`onefold preflight`: everything that a session needs, before it starts, or while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from onefold.app.checking import pipeline_of
from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json, emit, say, show, table
from onefold.app.preflighting import preflight as checked
from onefold.app.settings import load_settings
from onefold.ops.preflight import Summary

app = new_app()


@app.command()
def preflight(
    config: ConfigFile = Path("onefold.yaml"),
    online: Annotated[
        bool,
        typer.Option("--online", help="Ask feeds, venues and a server for the time as well."),
    ] = False,
    pipeline: Annotated[
        bool,
        typer.Option("--pipeline", help="Look at sessions that run instead, stage by stage."),
    ] = False,
    json_: Json = False,
) -> None:
    """Check everything that a session needs, before it starts.

    Ends with code 1 when something failed and `preflight.environment` is production, or when the
    configuration cannot be read. The result is written to logs/preflight_summary.json as well.
    With --pipeline it ends with code 1 when something is wrong between two stages.
    """
    if pipeline:
        _look_at_pipeline(config, json_)
        return
    summary = checked(config, online=online)
    if json_:
        emit(msgspec.to_builtins(summary))
    else:
        _show(summary)
    if summary.blocks:
        raise typer.Exit(1)


def _look_at_pipeline(config: Path, json_: bool) -> None:
    issues = pipeline_of(load_settings(config))
    if json_:
        emit({"issues": [one._asdict() for one in issues]})
    elif issues:
        rows = [(one.account, one.stage, one.broker, one.issue, one.detail) for one in issues]
        show(table(("account", "stage", "broker", "issue", "detail"), rows, text=5))
    else:
        say("nothing is wrong between the stages of sessions that run")
    if issues:
        raise typer.Exit(1)


def _show(summary: Summary) -> None:
    rows = [
        (one.name, one.status, f"{one.duration_ms:,.0f} ms", one.reason) for one in summary.checks
    ]
    show(table(("check", "result", "took", "why"), rows, text=4))
    what = "this blocks live trading" if summary.blocks else "nothing is blocked"
    say(f"{summary.status} ({summary.environment}: {what})")
