"""`onefold demo`: the main job, on real data, in one command.

Several strategies go through a backtest, run over the same window again event by event with a
durable journal, and that journal is replayed. The three must agree in every bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from onefold.app.commands.backtest import run_wired
from onefold.app.commands.init import starter
from onefold.app.commands.replay import replay_with_progress
from onefold.app.commands.run import run_session
from onefold.app.group import new_app
from onefold.app.output import Json, emit, note, refuse, show
from onefold.app.results import facts_of, new_folder, view_of, write_results
from onefold.app.settings import load_settings
from onefold.app.summary import facts_table, key_numbers, number_rows, strategy_table
from onefold.app.wiring import Wired, recorded_recipe
from onefold.domain.errors import OnefoldError
from onefold.engine.replay import started
from onefold.views.result import ResultView

app = new_app()


class NotIdentical(OnefoldError):  # noqa: N818 - named as those in domain.errors
    """Backtest, session and replay of the same plan and bars differ."""

    exit_code = 7


class Shown(NamedTuple):
    """What a demonstration came to: the view, and the fingerprint of each way to run it."""

    view: ResultView
    fingerprints: dict[str, str]
    records: int


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where a folder for this run is made.")] = Path(
        "runs"
    ),
    json_: Json = False,
) -> None:
    """Backtest, simulate and replay the sample, and prove the three identical.

    Ends with code 7 when they are not.
    """
    outcome: list[Shown] = []
    place = new_folder(folder, "demo", lambda working: outcome.append(_run(working)))
    view, fingerprints, records = outcome[0]
    identical = len(set(fingerprints.values())) == 1
    verdict = "identical" if identical else f"NOT identical: {fingerprints}"
    document = {
        **key_numbers(view),
        "records": records,
        "fingerprints": fingerprints,
        "identical": identical,
        "folder": str(place),
        "report": str(place / "report.html"),
        "journal": str(place / "journal"),
    }
    if not json_:
        rows = [
            *number_rows(view),
            ("journal records", f"{records:,}"),
            ("backtest = session = replay", verdict),
            ("report", str(place / "report.html")),
            ("journal", str(place / "journal")),
        ]
        show(strategy_table(view), facts_table(rows))
    if not identical:
        refuse(
            NotIdentical(f"backtest, session and replay differ: {fingerprints}"),
            document if json_ else None,
        )
    if json_:
        emit(document)


def _run(folder: Path) -> Shown:
    """Run all three ways in a folder, and write the results there."""
    config = folder / "demo.yaml"
    config.write_text(starter("demo.yaml"), encoding="utf-8")
    wired = Wired(load_settings(config))
    note("1/3 backtest: all bars at once")
    batch = run_wired(wired)
    note("2/3 session: event by event, with a durable journal")
    journal = folder / "journal"
    session = run_session(wired, journal).result()
    note("3/3 replay: from the journal alone")
    replayed = replay_with_progress(journal, recorded_recipe(started(journal)).plan())
    view = view_of(
        wired.plan,
        wired.bars,
        batch,
        wired.actions,
        facts=facts_of(wired, batch),
        title="Demo",
    )
    write_results(folder, view, wired.settings.as_written())
    fingerprints = {
        "backtest": batch.fingerprint,
        "session": session.fingerprint,
        "replay": replayed.run.fingerprint,
    }
    return Shown(view, fingerprints, replayed.records)
