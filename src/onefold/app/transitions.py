"""Evidence for transitions: which journal counts, what it says, and where bundles are kept."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from onefold.app.drifting import drift_of
from onefold.app.governing import Governed
from onefold.app.live import Account
from onefold.app.recall import Recalled
from onefold.app.settings import accounts_of
from onefold.domain.errors import ConfigError
from onefold.engine.replay import started
from onefold.engine.succession import current
from onefold.governance.bundle import Bundle
from onefold.governance.transitions import BEFORE, Evidence
from onefold.signals.model import Model, scores_of
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


class BundleStore:
    """The bundles of an account's checks, one file each, the oldest first."""

    def __init__(self, one: Governed) -> None:
        self.folder = one.loaded.resolve(one.settings.paths.governance) / "evidence" / one.name

    def of(self, strategy: str, stage: str) -> list[Path]:
        """Return the bundles of earlier checks of a step."""
        return sorted(self.folder.glob(f"{strategy}-{stage}-*.json"))

    def path(self, strategy: str, stage: str) -> Path:
        """Return where the next bundle goes."""
        number = len(self.of(strategy, stage)) + 1
        return self.folder / f"{strategy}-{stage}-{number:04d}.json"


def read_bundle(path: Path) -> Bundle:
    """Return a bundle from a file. Raises `ConfigError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Bundle)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is no bundle of evidence: {error}") from None


def check_same(recorded: str, present: str, strategy: str, folder: Path) -> None:
    """Raise `ConfigError` when the evidence is of another strategy than the one of today."""
    if recorded != present:
        raise ConfigError(
            f"strategy {strategy!r} has changed since {started(folder).mode} journal {folder}: "
            "its rules, code, model, instruments or costs; that evidence is of another strategy"
        )
