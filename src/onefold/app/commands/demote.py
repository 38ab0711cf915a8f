"""`onefold demote`: take a strategy back to an earlier stage, at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from onefold.app.governing import Account, Why, entry, governed, taken
from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json, emit, note
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.governance.versions import STAGES, Hold

app = new_app()


@app.command()
def demote(
    strategy: Annotated[str, typer.Argument(help="Which strategy.", show_default=False)],
    stage: Annotated[str, typer.Argument(help="Back to: shadow or paper.", show_default=False)],
    config: ConfigFile = Path("onefold.yaml"),
    account: Account = "",
    reason: Why = "",
    json_: Json = False,
) -> None:
    """Take a strategy back: beyond that stage it enters nothing, and leaves what it holds as usual.

    It trades there again when a check of its evidence promotes it.
    """
    one = governed(config, account)
    one.check_takeable(strategy, "")
    if stage not in STAGES[:-1]:
        raise ConfigError(f"it cannot be taken back to {stage!r}{did_you_mean(stage, STAGES[:-1])}")
    hold = Hold("suppress", "stage", strategy)
    made = one.extend(lambda p: p.held(hold, entry(reason), stage=stage))
    became = taken(one, made)
    if json_:
        emit({"account": one.name, **msgspec.to_builtins(made), "became": became})
        return
    note(f"{strategy}: taken back to {stage}, version {made.version}; {became}")
