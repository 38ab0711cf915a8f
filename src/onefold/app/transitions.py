"""Evidence for transitions: which journal counts, what it says, and where bundles are kept."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from onefold.app.accounts import Account
from onefold.app.drifting import drift_of
from onefold.app.governing import Governed
from onefold.app.recall import Recalled
from onefold.app.settings import accounts_of
from onefold.domain.errors import ConfigError
from onefold.engine.replay import started
from onefold.engine.succession import current
from onefold.governance.parameters import SUPPRESS
from onefold.governance.transitions import BEFORE, Evidence
from onefold.signals.model import Model, scores_of
from onefold.views.equity import DAY_NS
from onefold.views.sleeves import daily_profit

CHANGED = "changed"


def journal_of(one: Governed, stage: str) -> Path:
    """Return the journal that is the evidence for a stage. Raises `ConfigError` for none."""
    mode = BEFORE[stage]
    if mode == "simulate":
        parent = one.loaded.resolve(one.settings.paths.journal)
        found = [p for p in parent.glob(f"{one.loaded.path.stem}-*") if any(p.glob("*.jsonl"))]
        if found:
            return max(found, key=lambda p: max(f.stat().st_mtime for f in p.glob("*.jsonl")))
    else:
        begun = current(one.folder, mode)
        if begun is not None:
            return begun.path
    raise ConfigError(
        f"account {one.name!r} has no {mode} journal, which is the evidence for {stage}: "
        f"onefold run --mode {mode}"
    )


def present_hash(one: Governed, found: Recalled, strategy: str) -> str:
    """Return the hash of a strategy as it is configured now."""
    account = Account(one.loaded, one.name, accounts_of(one.settings)[one.name], "paper")
    return account.recipe(found.recipe.intervals_ns).strategy_hash(strategy)


def evidence_of(found: Recalled, strategy: str, looks: int) -> Evidence:
    """Return what a replayed journal says of a strategy."""
    view = found.view
    profits = daily_profit(view, found.curve, view.daily)
    daily = sum((column for (name, _), column in profits.items() if name == strategy), np.zeros(1))
    return Evidence(
        strategy=strategy,
        mode=found.start.mode,
        days=found.activity.days,
        daily=[float(value) for value in daily],
        trades=view.trades.filter(strategy=strategy).height,
        equity=view.cash,
        mismatches=0,
        data_mode=found.start.data_mode,
        age_days=max(0.0, (time.time_ns() - int(view.equity_ts[-1])) / DAY_NS)
        if len(view.equity_ts)
        else 0.0,
        looks=looks,
        drift=_drift(found, strategy),
    )


def models_of(found: Recalled, strategy: str) -> dict[str, Model]:
    """Return the models that a strategy asked, by their identities."""
    [placement] = [p for p in found.recipe.plan().placements if p.name == strategy]
    scores = scores_of(placement.strategy.features.values())
    return {score.name: score.model for score in scores}


def _drift(found: Recalled, strategy: str) -> list[str] | None:
    models = models_of(found, strategy).values()
    if not models:
        return None
    reports = [one for model in models for one in drift_of(model, found.folder)]
    return [one.name for one in reports if one.verdict == CHANGED]


def check_source(where: Governed, found: Recalled) -> None:
    """Raise `ConfigError` when a journal is not of the account that the evidence is asked of."""
    name = found.recipe.settings.account.name
    if name != where.name:
        raise ConfigError(
            f"{found.folder} is of account {name!r}, not of {where.name!r}: with --from an account "
            "of this configuration gives its evidence"
        )


def check_parameters(one: Governed, where: Governed, strategy: str) -> None:
    """Raise `ConfigError` when another account's evidence came about under other parameters."""
    mine, theirs = one.file.read().values, where.file.read().values
    for key in sorted({*mine, *theirs}):
        if key.mandate == SUPPRESS or key.strategy not in ("", strategy):
            continue
        here = mine.get(key, one.configured(key))
        there = theirs.get(key, where.configured(key))
        if here != there:
            raise ConfigError(
                f"{key} is {there} in account {where.name!r} and {here} in {one.name!r}: evidence "
                f"counts only under the same; onefold parameters set --account {one.name}"
            )


def check_same(recorded: str, present: str, strategy: str, folder: Path) -> None:
    """Raise `ConfigError` when the evidence is of another strategy than the one of today."""
    if recorded != present:
        raise ConfigError(
            f"strategy {strategy!r} has changed since {started(folder).mode} journal {folder}: "
            "its rules, code, model, instruments or costs; that evidence is of another strategy"
        )
