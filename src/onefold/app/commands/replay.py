"""`onefold replay`: the proof that a journal's decisions follow from its inputs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from onefold.adapters.models import ModelStore, Pin
from onefold.app.group import new_app
from onefold.app.output import Json, emit, note, progress, show
from onefold.app.summary import facts_table
from onefold.app.wiring import build, pins_in, recorded_recipe, with_models
from onefold.domain.errors import ConfigError
from onefold.domain.records import SessionStart
from onefold.engine.replay import Replayed, started
from onefold.engine.replay import replay as replay_journal
from onefold.signals.model import NAME
from onefold.sim.plan import Plan

app = new_app()

SHA256 = re.compile("[0-9a-f]{64}")


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(help="The journal's folder.", show_default=False)],
    models: Annotated[
        Path | None,
        typer.Option(help="Ask the models of this folder again, instead of the journal."),
    ] = None,
    pin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SHA256", help="The hash of a model that is a pickle, if you trust it."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A configuration of yours, whose pins count here.")
    ] = None,
    json_: Json = False,
) -> None:
    """Recompute every signal, decision and order of a journal, and compare byte for byte.

    Configuration and strategies are those that the journal has recorded, but not what it says of
    pickles: a pickle is a program, and only you can say that you trust one. Ends with code 7, and
    both sides of the first difference, when something differs.
    """
    pins = {**(pins_in(config) if config else {}), **dict(map(pin_of, pin or []))}
    start = started(folder)
    note_build(start)
    recipe = recorded_recipe(start)
    if models is not None:
        recipe = with_models(recipe, ModelStore(models, pins=pins))
    done = replay_with_progress(folder, recipe.plan(), models=models is not None)
    if json_:
        emit(
            {
                "journal": str(folder),
                "records": done.records,
                "inputs": done.inputs,
                "mismatches": 0,
                "decisions": len(done.run.outcome.decisions),
                "fingerprint": done.run.fingerprint,
            }
        )
        return
    rows = [
        ("records compared", f"{done.records:,}"),
        ("inputs", f"{done.inputs:,}"),
        ("decisions", f"{len(done.run.outcome.decisions):,}"),
        ("mismatches", "0"),
        ("fingerprint", done.run.fingerprint),
    ]
    show(facts_table(rows))


def pin_of(text: str) -> tuple[str, Pin]:
    """Return a model's name and the hash that it must have. Raises `ConfigError`."""
    name, _, sha256 = text.partition("=")
    if not NAME.fullmatch(name) or not SHA256.fullmatch(sha256):
        raise ConfigError(f"--pin {text!r}: write NAME=SHA256, 64 digits of 0-9 and a-f")
    return name, Pin(sha256)


def note_build(start: SessionStart) -> None:
    """Tell when another build wrote the journal: then a difference need not be damage."""
    if start.build != build():
        writer = f"version {start.version}, build {start.build}"
        note(f"this journal was written by another build: {writer}")


def replay_with_progress(folder: Path, plan: Plan, *, models: bool = False) -> Replayed:
    """Replay with a progress bar."""
    with progress("replay", None) as advance:
        seen = 0

        def count(_session: Any, _input: Any, _signals: Any) -> None:
            nonlocal seen
            seen += 1
            advance(seen)

        return replay_journal(folder, plan, seen=count, models=models)
