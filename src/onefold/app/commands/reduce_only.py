"""`onefold reduce-only`: no new risk, but positions may be left."""

from __future__ import annotations

from pathlib import Path

from onefold.app.asking import AccountName, Reason, ask
from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json

app = new_app()


@app.command()
def reduce_only(
    config: ConfigFile = Path("onefold.yaml"),
    account: AccountName = "",
    reason: Reason = "",
    json_: Json = False,
) -> None:
    """Allow only what makes positions smaller, until `onefold resume`."""
    ask(
        config,
        account,
        ["reduce_only"],
        reason=reason,
        json_=json_,
        until=lambda beat: beat is not None and bool(beat.get("reduce_only")),
    )
