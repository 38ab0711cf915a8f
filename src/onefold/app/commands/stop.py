"""`onefold stop`: end a running session in good order."""

from __future__ import annotations

from pathlib import Path

from onefold.app.asking import AccountName, Reason, ask
from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json

app = new_app()


@app.command()
def stop(
    config: ConfigFile = Path("onefold.yaml"),
    account: AccountName = "",
    reason: Reason = "",
    json_: Json = False,
) -> None:
    """End sessions in good order; positions and what protects them stay as they are.

    To stop trading at once, use `onefold emergency-stop`.
    """
    ask(config, account, ["stop"], reason=reason, json_=json_, until=lambda beat: beat is None)
