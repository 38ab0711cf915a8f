"""`onefold status`: what the sessions of a configuration are doing, from their heartbeats."""

from __future__ import annotations

from pathlib import Path

import typer

from onefold.app.asking import AccountName, folders, state_of
from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json, emit, say, show
from onefold.app.summary import facts_table

app = new_app()


@app.command()
def status(
    config: ConfigFile = Path("onefold.yaml"), account: AccountName = "", json_: Json = False
) -> None:
    """Tell what every account is doing. Ends with code 1 when one does not run or is stuck."""
    found = {name: state_of(folder) for name, folder in folders(config, account).items()}
    if json_:
        emit({"accounts": found})
    else:
        for name, state in found.items():
            say(f"account {name}: {state['state']}")
            hidden = ("state", "latency")  # a histogram, for /metrics
            show(facts_table([(k, str(v)) for k, v in state.items() if k not in hidden]))
    if any(state["state"] != "running" for state in found.values()):
        raise typer.Exit(1)
