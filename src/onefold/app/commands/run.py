"""`onefold run`: event by event, as in live trading, with a journal that survives a crash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from onefold.adapters.files import FileFeed
from onefold.adapters.pace import Pace, waiter
from onefold.app.group import new_app
from onefold.app.output import Advance, ConfigFile, Json, emit, note, progress, show
from onefold.app.results import view_of
from onefold.app.settings import SessionSettings, load_settings
from onefold.app.summary import facts_table, key_numbers, number_rows, strategy_table
from onefold.app.vet import vet
from onefold.app.wiring import Wired
from onefold.engine.session import Input, Session
from onefold.engine.simulate import simulate
from onefold.journal import head

app = new_app()

MB = 1_000_000


class RunMode(StrEnum):
    """How a run is connected to the world."""

    SIMULATE = "simulate"


@app.command()
def run(
    config: ConfigFile = Path("onefold.yaml"),
    mode: Annotated[
        RunMode, typer.Option(help="simulate: recorded or made bars, a simulated venue.")
    ] = RunMode.SIMULATE,
    journal: Annotated[
        Path | None,
        typer.Option(help="The journal's folder; by default one for this configuration."),
    ] = None,
    json_: Json = False,
) -> None:
    """Run the strategies event by event, with a durable journal.

    A run that was interrupted continues where its journal ends, and comes to the same end.
    """
    loaded = load_settings(config)
    wired = Wired(loaded)
    name = f"{config.stem}-{wired.recipe.hash}"
    folder = journal or loaded.resolve(loaded.settings.paths.journal) / name
    recorded = head(folder).seq if folder.exists() else 0
    if recorded:
        note(f"continuing after record {recorded} of {folder}")
    session = run_session(wired, folder, mode)
    result = session.result()
    view = view_of(wired.plan, wired.bars, result, wired.actions, title=config.stem)
    end = head(folder)
    if json_:
        numbers = key_numbers(view)
        emit(
            {
                **numbers,
                "fingerprint": result.fingerprint,
                "journal": str(folder),
                "records": end.seq,
                "head": end.hash,
                "continued_after": recorded,
            }
        )
        return
    place = [
        ("journal", str(folder)),
        ("records", f"{end.seq:,}"),
        ("head", end.hash),
        ("fingerprint", result.fingerprint),
    ]
    show(strategy_table(view), facts_table([*number_rows(view), *place]))


def run_session(wired: Wired, folder: Path, mode: RunMode = RunMode.SIMULATE) -> Session:
    """Run a session to the end of its data, paced as configured, with a progress bar."""
    vet(wired.plan, wired.bars)
    options: SessionSettings = wired.settings.session
    with progress(mode.value, wired.inputs) as advance:
        return simulate(
            wired.plan,
            counted(FileFeed(list(wired.bars_of.values())).events(), advance),
            folder,
            wired.start(mode.value),
            today=lambda: datetime.now(UTC).date(),
            durability=options.durability,
            segment_bytes=round(options.segment_mb * MB),
            wait=waiter(Pace(options.pace.speed, options.pace.seconds_per_bar)),
        )


def counted(feed: Iterable[Input], advance: Advance) -> Iterator[Input]:
    """Yield a feed's inputs, and say how many there were."""
    for count, event in enumerate(feed, 1):
        advance(count)
        yield event
