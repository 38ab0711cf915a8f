"""`onefold train`: models from data, as challengers with a card that says what they are worth."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json, emit, note, show
from onefold.app.settings import load_settings
from onefold.app.summary import facts_table
from onefold.domain.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from onefold.app.training import Stored

app = new_app()


@app.command()
def train(
    config: ConfigFile = Path("onefold.yaml"),
    model: Annotated[
        str | None, typer.Option(help="Which model of `training`; all when left out.")
    ] = None,
    on: Annotated[
        str,
        typer.Option(help="The date to give the model, YYYY-MM-DD; today when left out."),
    ] = "",
    json_: Json = False,
) -> None:
    """Train models and put them into the store: challengers, on which nothing trades yet.

    The same data, configuration and libraries give the same bytes.
    """
    loaded = load_settings(config)
    wanted = list(loaded.settings.training) if model is None else [model]
    if not wanted:
        raise ConfigError("training: there is no model to train; see docs/training.md")
    created_on, today = _date(on), _date("")
    try:
        from onefold.app.training import trained_of  # noqa: PLC0415 - its libraries are an extra
    except ImportError as error:
        raise MissingExtra(f"training ({error.name})", "learn") from None
    documents = []
    for name in wanted:
        stored = trained_of(loaded, name, created_on)
        one, card = stored.sidecar, stored.card
        documents.append(
            {
                "model": one.identity,
                "name": one.name,
                "version": one.version,
                "sha256": one.sha256,
                "new": stored.is_new,
                "expired": one.expired(today),
                "skill": card.has_skill,
                "metrics": one.metrics,
                "card": str(stored.folder / "card.html"),
            }
        )
        if not json_:
            place = [("card", str(stored.folder / "card.html"))]
            show(facts_table([*card.facts[:4], *card.skill, *place]))
        _say_state(stored, today)
    if json_:
        emit({"trained": documents})


def _say_state(stored: Stored, today: str) -> None:
    """Say what became of a model: whether it is a new version, and whether it may be used."""
    one = stored.sidecar
    if not stored.is_new:
        note(f"identical to {one.name}@{one.version}: no new version, and no further trial")
    note(f"nothing trades on it before: onefold models activate {one.name} {one.version}")
    if one.expired(today):
        note(
            f"warning: it has expired on {one.expires_on}, some days after its last data "
            f"(training.{one.name}.expires_days): backtests use it, sessions in real time do not"
        )


def _date(text: str) -> str:
    try:
        return (date.fromisoformat(text) if text else datetime.now(UTC).date()).isoformat()
    except ValueError:
        raise ConfigError(f"--on: {text!r} is no date, YYYY-MM-DD") from None
