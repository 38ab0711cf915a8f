"""`onefold backtest`: all data, all strategies, one report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json, emit, note, progress, show
from onefold.app.results import facts_of, learned_of, new_folder, view_of, write_results
from onefold.app.settings import load_settings
from onefold.app.summary import facts_table, key_numbers, number_rows, strategy_table
from onefold.app.vet import vet
from onefold.app.wiring import Wired, unfillable
from onefold.engine.backtest import backtest as run_backtest
from onefold.signals.learned import SCORE, MlDirection, WithModel
from onefold.sim.backtest import Run
from onefold.sim.plan import Placement
from onefold.views.result import ResultView

app = new_app()


@app.command()
def backtest(config: ConfigFile = Path("onefold.yaml"), json_: Json = False) -> None:
    """Run the strategies over all data and write a folder with report, trades and metrics.

    The folder appears whole or not at all; its name has a hash of what decides, and the day on
    which the data begins.
    """
    loaded = load_settings(config)
    wired = Wired(loaded)
    for warning in wired.warnings():
        note(f"warning: {warning}")
    run = run_wired(wired)
    view = view_of(
        wired.plan,
        wired.bars,
        run,
        wired.actions,
        facts=facts_of(wired, run),
        title=config.stem,
        learned=learned_of(wired.plan),
    )
    for warning in unreached(wired, view):
        note(f"warning: {warning}")
    resolved = loaded.as_resolved()
    folder = new_folder(
        loaded.resolve(loaded.settings.paths.runs),
        folder_name(wired),
        lambda place: write_results(place, view, resolved),
    )
    if json_:
        emit(document(view, run, folder))
        return
    place = [("report", str(folder / "report.html")), ("fingerprint", run.fingerprint)]
    show(strategy_table(view), facts_table([*number_rows(view), *refused_rows(wired), *place]))


def run_wired(wired: Wired) -> Run:
    """Run a backtest with a progress bar."""
    vet(wired.plan, wired.bars)
    with progress("backtest", wired.inputs) as advance:
        return run_backtest(
            wired.plan, wired.bars, wired.actions, progress=lambda done, _: advance(done)
        )


def unreached(wired: Wired, view: ResultView) -> list[str]:
    """Return for strategies with a model that never traded how far its score is from enough."""
    traded, found = set(view.fills["strategy"].unique()), []
    for one in wired.plan.placements:
        if one.name in traded or not isinstance(one.strategy, WithModel):
            continue
        scores = [one.strategy.features[SCORE].batch(wired.bars[symbol]) for symbol in one.symbols]
        said = np.concatenate(scores)
        said = said[np.isfinite(said)]
        if isinstance(one.strategy, MlDirection) and one.strategy.short:
            said = np.maximum(said, 1.0 - said)
        setting, least = _least(one)
        if not len(said) or said.max() >= least:
            continue
        found.append(
            f"strategy {one.name} never traded: its model's score is {said.max():.4g} at most, "
            f"and never reached {setting} ({least:g}); the model's card says what which threshold "
            "lets pass"
        )
    return found


def _least(one: Placement) -> tuple[str, float]:
    """Return the setting that a model's score has to reach, and its value."""
    if isinstance(one.strategy, MlDirection):
        return "params.enter", one.strategy.enter
    return "gates.conf_min", one.rules.gates.conf_min


def refused_rows(wired: Wired) -> list[tuple[str, str]]:
    """Return lines on rows of data that were refused, and on bars that could fill nothing."""
    refused = [
        f"{symbol} {sum(loaded.counts.values()):,} of {loaded.rows:,}"
        for symbol, loaded in wired.bars_of.items()
        if loaded.counts
    ]
    unknown = unfillable(wired.plan, wired.bars_of.values())
    rows = [("refused rows of data", ", ".join(refused))] if refused else []
    if unknown:
        text = ", ".join(f"{symbol} {count:,}" for symbol, count in unknown.items())
        rows.append(("bars of unknown volume", f"{text}: nothing filled"))
    return rows


def folder_name(wired: Wired) -> str:
    """Return the name of a run's folder: configuration, hash of what decides, first day."""
    day = np.datetime_as_string(np.datetime64(wired.first_ts, "ns"), unit="D").replace("-", "")
    return f"{wired.path.stem}-{wired.recipe.hash[:8]}-{day}"


def document(view: ResultView, run: Run, folder: Path) -> dict[str, Any]:
    """Return a finished backtest as a JSON document."""
    return {
        **key_numbers(view),
        "fingerprint": run.fingerprint,
        "folder": str(folder),
        "report": str(folder / "report.html"),
        "metrics": view.numbers(),
    }
