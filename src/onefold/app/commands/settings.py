"""`onefold settings`: what can be configured, without leaving the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from onefold.app.group import new_app
from onefold.app.output import Json, emit, say, show, table
from onefold.domain.errors import ConfigError, did_you_mean

app = new_app()


@app.command()
def settings(
    section: Annotated[
        str, typer.Argument(help="Only what is below this, such as account.limits.")
    ] = "",
    env: Annotated[
        bool, typer.Option("--env", help="As variables for a file .env, with the defaults.")
    ] = False,
    json_: Json = False,
) -> None:
    """List every setting with its type, default and meaning."""
    # Costs more than --help may.
    from onefold.app.settings_doc import env_example, setting_rows  # noqa: PLC0415

    if env:
        if section or json_:
            raise ConfigError("--env writes all settings as variables: leave section and --json")
        say(env_example().rstrip())
        return
    everything = setting_rows()
    rows = [r for r in everything if f"{r.path}.".startswith(f"{section}." if section else "")]
    if not rows:
        near = did_you_mean(section, {r.path for r in everything})
        sections = {r.path.partition(".")[0] for r in everything}
        hint = near if near.startswith("; did") else did_you_mean(section, sections)
        raise ConfigError(f"there is no setting {section!r}{hint}")
    if json_:
        emit([row._asdict() for row in rows])
        return
    show(table(("setting", "type", "default", "meaning"), rows, text=4))
