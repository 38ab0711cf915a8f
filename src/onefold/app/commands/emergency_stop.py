"""`onefold emergency-stop`: the kill switch, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onefold.app.asking import AccountName, InstrumentName, Reason, StrategyName, ask
from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json

app = new_app()


@app.command()
def emergency_stop(
    config: ConfigFile = Path("onefold.yaml"),
    account: AccountName = "",
    strategy: StrategyName = "",
    instrument: InstrumentName = "",
    reason: Reason = "emergency stop",
    flatten: Annotated[
        bool, typer.Option("--flatten", help="Also close all positions at the market.")
    ] = False,
    json_: Json = False,
) -> None:
    """Stop trading at once: nothing more is sent, and entries that work are cancelled.

    It holds through restarts, until `onefold resume`. Works while a session runs or not.
    """
    ask(
        config,
        account,
        ["kill", "flatten"] if flatten else ["kill"],
        strategy=strategy,
        instrument=instrument,
        reason=reason,
        json_=json_,
        until=lambda beat: beat is not None,
    )
