"""`onefold adopt`: take over what the venue holds and the books do not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onefold.app.asking import AccountName, InstrumentName, ask
from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json
from onefold.domain.errors import ConfigError

app = new_app()


@app.command()
def adopt(
    reason: Annotated[str, typer.Option("--reason", help="Where it comes from; needed.")],
    strategy: Annotated[str, typer.Option("--strategy", help="Which strategy gets it; needed.")],
    config: ConfigFile = Path("onefold.yaml"),
    account: AccountName = "",
    instrument: InstrumentName = "",
    json_: Json = False,
) -> None:
    """Put the venue's positions into the books of a strategy, which manages them from then on.

    For an account that was halted because they differ. Look first; `onefold resume` comes after.
    """
    if not reason.strip():
        raise ConfigError("--reason: say where the position comes from")
    ask(
        config,
        account,
        ["adopt"],
        strategy=strategy,
        instrument=instrument,
        reason=reason,
        json_=json_,
        until=lambda beat: beat is not None,
    )
