"""`onefold status`: what the sessions of a configuration are doing, from their heartbeats."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer

from onefold.app.asking import AccountName, folders, heartbeat_of
from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json, emit, say, show
from onefold.app.summary import facts_table
from onefold.engine.control import Control
from onefold.engine.heartbeat import NAME, read_heartbeat

app = new_app()

STALE_S = 90.0
"""Three beats that did not come."""


@app.command()
def status(
    config: ConfigFile = Path("onefold.yaml"), account: AccountName = "", json_: Json = False
) -> None:
    """Tell what every account is doing. Ends with code 1 when one does not run or is stuck."""
    found = {name: _state(folder) for name, folder in folders(config, account).items()}
    if json_:
        emit({"accounts": found})
    else:
        for name, state in found.items():
            say(f"account {name}: {state['state']}")
            show(facts_table([(k, str(v)) for k, v in state.items() if k != "state"]))
    if any(state["state"] != "running" for state in found.values()):
        raise typer.Exit(1)


def _state(folder: Path) -> dict[str, Any]:
    """Return what is known of an account: how it runs, its heartbeat, its kill switches."""
    beat = heartbeat_of(folder)
    last = read_heartbeat(folder) or {}
    age_s = _age_s(folder)
    how = "running" if beat is not None else "stopped" if last.get("stopped") else "not running"
    if beat is not None and age_s is not None and age_s > STALE_S:
        how = f"stuck: no heartbeat for {age_s:.0f} s"
    switches = Control(folder).switches() if folder.is_dir() else {}
    return {
        "state": how,
        **last,
        "heartbeat_age_s": None if age_s is None else round(age_s, 1),
        "kill_switches": {scope.file_name: reason for scope, reason in switches.items()},
    }


def _age_s(folder: Path) -> float | None:
    try:
        return max(0.0, time.time() - (folder / NAME).stat().st_mtime)
    except OSError:
        return None
