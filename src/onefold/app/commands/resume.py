"""`onefold resume`: trade again after a stop, for a reason that somebody gives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onefold.app.asking import AccountName, InstrumentName, StrategyName, ask
from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json
from onefold.domain.errors import ConfigError

app = new_app()


@app.command()
def resume(
    reason: Annotated[str, typer.Option("--reason", help="Why it is safe now; needed.")],
    config: ConfigFile = Path("onefold.yaml"),
    account: AccountName = "",
    strategy: StrategyName = "",
    instrument: InstrumentName = "",
    reset: Annotated[
        bool,
        typer.Option("--reset", help="Also clear loss stops, losing streaks, disabled strategies."),
    ] = False,
    json_: Json = False,
) -> None:
    """Turn a kill switch off and trade again.

    Orders that the venue does not know are let go of: you say that you have looked.
    """
    if not reason.strip():
        raise ConfigError("--reason: say why it is safe to trade again")
    ask(
        config,
        account,
        ["reset", "resume"] if reset else ["resume"],
        strategy=strategy,
        instrument=instrument,
        reason=reason,
        json_=json_,
        until=lambda beat: beat is not None,
    )
