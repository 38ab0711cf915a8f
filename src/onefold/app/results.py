"""What a run leaves behind: a view for people, and a folder of files, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from onefold.adapters.files import LoadedBars
from onefold.app.configfile import yaml_text
from onefold.app.wiring import Wired, unfillable
from onefold.domain.columns import Bars
from onefold.domain.errors import ConfigError
from onefold.domain.records import Action
from onefold.fold.gates import GATE_NAMES
from onefold.signals.model import Model, scores_of
from onefold.sim.backtest import Run
from onefold.sim.plan import Plan
from onefold.views.buy_and_hold import Market
from onefold.views.learned import Learned
from onefold.views.result import ResultView


def view_of(
    plan: Plan,
    bars: Mapping[str, Bars],
    run: Run,
    actions: Sequence[Action],
    *,
    facts: Mapping[str, object] | None = None,
    title: str = "Backtest",
    learned: Sequence[Learned] = (),
) -> ResultView:
    """Return a finished run as a view; `actions` are the splits, dividends, ... that it folded."""
    market = Market(
        traded=plan.traded,
        rates=plan.rates,
        rate_pairs=plan.rate_pairs,
        actions=actions,
    )
    return ResultView(
        instruments=plan.instruments,
        strategies=plan.names.strategies,
        gates=GATE_NAMES,
        currency=plan.account.currency,
        cash=plan.account.cash,
        bars=bars,
        fill_rows=run.outcome.fills,
        decision_rows=run.outcome.decisions,
        equity_ts=run.ts,
        equity_values=run.equity,
        facts=facts or {},
        market=market,
        title=title,
        learned=tuple(learned),
    )


def learned_of(plan: Plan) -> list[Learned]:
    """Return the models that the strategies of a plan ask, with the time each was trained on."""
    models: dict[str, Model] = {}
    asked: dict[str, list[str]] = {}
    for one in plan.placements:
        for score in scores_of(one.strategy.features.values()):
            models[score.name] = score.model
            asked.setdefault(score.name, []).append(one.name)
    return [
        Learned(n, tuple(asked[n]), m.sidecar.trained_from, m.sidecar.trained_to)
        for n, m in sorted(models.items())
    ]


def facts_of(wired: Wired, run: Run) -> dict[str, object]:
    """Return what identifies a run: versions, hashes, and what was refused of the data."""
    start = wired.start("backtest")
    return {
        "Configuration": f"{wired.path.name}, {start.config_hash}",
        "Version": f"{start.version}, build {start.build}",
        "Fingerprint": run.fingerprint,
        "Refused": {s: loaded.counts for s, loaded in wired.bars_of.items() if loaded.counts},
        **volume_facts(wired.plan, wired.bars_of.values()),
        "Notes": "; ".join(f"{s}: {n}" for s, x in wired.bars_of.items() for n in x.notes)
        or "none",
    }


def volume_facts(plan: Plan, loaded: Iterable[LoadedBars]) -> dict[str, object]:
    """Return the fact that some bars filled nothing, where their volume is not known."""
    counts = unfillable(plan, loaded)
    return {"Unknown volume, nothing filled": counts} if counts else {}


def new_folder(parent: Path, name: str, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a new folder, and give it its name when it is whole.

    The name gets a number when it is taken. Raises ConfigError when nothing can be written there.
    """
    working = parent / f".{name}.{os.getpid()}.partial"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(working, ignore_errors=True)
        working.mkdir()
        try:
            write(working)
            return _named(working, parent, name)
        except BaseException:
            shutil.rmtree(working, ignore_errors=True)
            raise
    except OSError as error:
        raise ConfigError(
            f"{error.filename or parent} cannot be written: {error.strerror}"
        ) from error


def _named(working: Path, parent: Path, name: str) -> Path:
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            return working.rename(folder)
        number += 1


def write_results(folder: Path, view: ResultView, config: Mapping[str, Any]) -> None:
    """Write report, trades, decisions, fills, metrics and the resolved configuration."""
    (folder / "report.html").write_text(view.report(), encoding="utf-8")
    view.trades.write_parquet(folder / "trades.parquet")
    view.decisions.write_parquet(folder / "decisions.parquet")
    view.fills.write_parquet(folder / "fills.parquet")
    told = "".join(f"# model {one.text(view.equity_ts)}\n" for one in view.learned)
    numbers = msgspec.json.format(msgspec.json.encode(view.numbers()), indent=2)
    (folder / "metrics.json").write_bytes(numbers + b"\n")
    (folder / "config.yaml").write_text(told + yaml_text(config), encoding="utf-8")
