"""`onefold sweep`: a search for parameters over all cores, and what its winner is worth."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json, emit, note, progress, show
from onefold.app.results import learned_of
from onefold.app.settings import Loaded, load_settings
from onefold.app.summary import facts_table
from onefold.app.sweeping import (
    LOG,
    Bench,
    Here,
    Line,
    Processes,
    RayCluster,
    Workers,
    bench,
    frame_of,
    outcome_of,
    run_sweep,
)
from onefold.app.wiring import build
from onefold.domain.columns import Integers
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.journal import write_atomic
from onefold.learn.heatmap import heatmap_html
from onefold.learn.sidecars import hash_of
from onefold.learn.sweep import Judged, Search, judged
from onefold.views.wording import number, percent, whole

app = new_app()

HASH_BYTES = 8


class Where(StrEnum):
    """Where trials run."""

    LOCAL = "local"
    RAY = "ray"


@app.command()
def sweep(
    config: ConfigFile = Path("onefold.yaml"),
    name: Annotated[
        str | None, typer.Option(help="Which of `sweeps`; the only one when left out.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=0, max=1_024, help="Processes; 0 means one for each core.")
    ] = 0,
    on: Annotated[Where, typer.Option(help="Run on this machine, or on a Ray cluster.")] = (
        Where.LOCAL
    ),
    address: Annotated[
        str | None, typer.Option(help="With --on ray: the cluster; one of this machine if none.")
    ] = None,
    json_: Json = False,
) -> None:
    """Search for parameters; a sweep that was interrupted goes on where it was.

    Writes trials.parquet, heatmap.html and sweep.md into a folder below `paths.runs`.
    """
    loaded = load_settings(config)
    name = _chosen(loaded, name)
    made = bench(str(config), name)
    for warning in made.wired.warnings():
        note(f"warning: {warning}")
    folder = loaded.resolve(loaded.settings.paths.runs) / f"sweep-{name}-{_hash(made)}"
    folder.mkdir(parents=True, exist_ok=True)
    search = Search(made.config)
    size = jobs or os.cpu_count() or 1
    place = str(config.resolve())
    workers: Workers = Here(made)
    if on is Where.RAY:
        workers = RayCluster(place, name, size, address)
    elif size > 1:
        workers = Processes(place, name, size)
    try:
        with progress("sweep", search.total) as advance:
            lines = run_sweep(search, workers, folder / LOG, advance)
    finally:
        workers.close()
    found = judged(made.config, {n: outcome_of(line) for n, line in lines.items()})
    _write(folder, made, lines, found)
    if json_:
        emit(_document(made, lines, found, folder))
    else:
        show(facts_table(_rows(made, lines, found, folder)))


def _chosen(loaded: Loaded, name: str | None) -> str:
    known = loaded.settings.sweeps
    if name is None and len(known) == 1:
        name = next(iter(known))
    if not known:
        raise ConfigError("sweeps: there is none; see docs/sweeps.md")
    if name is None:
        raise ConfigError(f"--name: which of {', '.join(known)}?")
    if name not in known:
        raise ConfigError(f"sweeps: there is no {name!r}{did_you_mean(name, known)}")
    strategies = loaded.settings.strategies
    if known[name].strategy not in strategies:
        hint = did_you_mean(known[name].strategy, strategies)
        raise ConfigError(f"sweeps.{name}.strategy: no strategy {known[name].strategy!r}{hint}")
    return name


def _hash(made: Bench) -> str:
    """Return what tells sweeps apart: all that their trials follow from, data and code included."""
    wired = made.wired
    decisive = (
        wired.recipe.hash,
        made.config.model_dump(mode="json"),
        hash_of(wired.bars),
        [repr(action) for action in wired.actions],
        made.models(),
        build(),
    )
    return hashlib.blake2b(msgspec.json.encode(decisive), digest_size=HASH_BYTES).hexdigest()


def _rows(
    made: Bench, lines: Mapping[int, Line], found: Judged, folder: Path
) -> list[tuple[str, str]]:
    best = lines[found.winner]
    m = best.measures
    overfit = "not enough days" if found.overfit is None else percent(found.overfit, 0)
    learned = learned_of(made.plan(best.params))
    marks = [(f"model {one.identity}", one.text(_times(made))) for one in learned]
    return [
        *marks,
        ("trials", f"{whole(found.trials)}, refused {whole(found.refused)}"),
        (
            "winner",
            f"trial {found.winner}: "
            + ", ".join(f"{k} {_short(v)}" for k, v in best.params.items()),
        ),
        ("Sharpe ratio", number(m["sharpe"])),
        ("return", percent(m["total_return"], sign=True)),
        ("largest drawdown", percent(m["max_drawdown"])),
        ("deflated Sharpe ratio", f"{percent(found.luck, 1)}: how likely it is no luck"),
        ("probability of overfitting", overfit),
        ("verdict", found.verdict),
        ("folder", str(folder)),
    ]


def _title(made: Bench) -> str:
    """Return what was searched, on what, and over which time."""
    times = _times(made)
    first, last = (
        np.datetime64(int(ts), "ns").astype("M8[D]") for ts in (times.min(), times.max())
    )
    symbols = ", ".join(made.wired.plan.traded)
    return f"Sweep of {made.config.strategy}: {symbols}, {first} to {last}"


def _short(value: Any) -> Any:
    """Return a number with the digits that matter."""
    return f"{value:.4g}" if isinstance(value, float) else value


def _times(made: Bench) -> Integers:
    """Return when the bars closed that trials ran over."""
    symbols = made.wired.plan.traded
    return np.concatenate([made.wired.bars[symbol].ts for symbol in symbols])


def _document(
    made: Bench, lines: Mapping[int, Line], found: Judged, folder: Path
) -> dict[str, Any]:
    best = lines[found.winner]
    return {
        "trials": found.trials,
        "refused": found.refused,
        "winner": {"trial": found.winner, "params": best.params, "measures": best.measures},
        "objective": made.config.objective,
        "models": [one.as_dict(_times(made)) for one in learned_of(made.plan(best.params))],
        "deflated_sharpe": found.luck,
        "overfitting": found.overfit,
        "skill": found.has_skill,
        "verdict": found.verdict,
        "folder": str(folder),
    }


def _write(folder: Path, made: Bench, lines: Mapping[int, Line], found: Judged) -> None:
    names = tuple(made.config.params)
    frame = frame_of(lines, names)
    draft = folder / ".trials.parquet.tmp"
    frame.write_parquet(draft)
    draft.replace(folder / "trials.parquet")
    rows = _rows(made, lines, found, folder)
    title = _title(made)
    text = [f"# {title}", "", f"**{found.verdict}**", "", "| | |", "|---|---|"]
    text += [f"| {key} | {value} |" for key, value in rows]
    write_atomic(folder / "sweep.md", ("\n".join(text) + "\n").encode())
    page = heatmap_html(
        frame,
        made.config,
        found.winner,
        title=title,
        verdict=(found.verdict, found.has_skill),
        rows=rows,
    )
    write_atomic(folder / "heatmap.html", page.encode())
