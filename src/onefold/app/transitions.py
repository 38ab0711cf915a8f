"""Evidence for transitions: which journal counts, what it says, and where bundles are kept."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from onefold.app.accounts import Account
from onefold.app.drifting import drift_of
from onefold.app.governing import Governed
from onefold.app.recall import Recalled
from onefold.app.settings import accounts_of
from onefold.domain.errors import ConfigError
from onefold.engine.replay import started
from onefold.engine.succession import current, mandates_in
from onefold.governance.transitions import BEFORE, Evidence
from onefold.governance.versions import SUPPRESS, looser_limits
from onefold.signals.model import Model, scores_of
from onefold.views.equity import DAY_NS
from onefold.views.sleeves import daily_profit

CHANGED = "changed"
DAY_S = 86_400


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


def evidence_of(found: Recalled, strategy: str, looks: int, first_day: int = 0) -> Evidence:
    """Return what a replayed journal says of a strategy, from a day on (days since 1970)."""
    view = found.view
    profits = daily_profit(view, found.curve, view.daily)
    daily = sum(
        (column for (name, _), column in profits.items() if name == strategy),
        np.zeros(len(view.daily.days)),
    )
    counts = view.daily.days >= first_day
    before = np.flatnonzero(~counts)
    opened = datetime.fromtimestamp(first_day * DAY_S, UTC)
    closed = view.trades.filter((pl.col("strategy") == strategy) & (pl.col("exit_time") > opened))
    return Evidence(
        strategy=strategy,
        mode=found.start.mode,
        days=[day for day in found.activity.days if day.day >= opened.date()],
        daily=[float(value) for value in daily[counts]],
        trades=closed.height,
        equity=float(view.daily.equity[before[-1]]) if len(before) else view.cash,
        mismatches=0,
        data_mode=found.start.data_mode,
        age_days=max(0.0, (time.time_ns() - int(view.equity_ts[-1])) / DAY_NS)
        if len(view.equity_ts)
        else 0.0,
        looks=looks,
        drift=_drift(found, strategy),
        since=opened.date().isoformat() if first_day else "",
    )


def first_day_of(found: Recalled, where: Governed, strategy: str) -> int:
    """Return from which day on a journal is evidence for the parameters that are in force now.

    What was gained before they let more be traded was gained with others; where they let less,
    what they would have stopped has been borne. Raises `ConfigError` when a change has not reached
    the journal yet, or it was written under parameters of another history.
    """
    if found.start.mode == "simulate":  # it knows the configuration alone, and proves no skill
        return 0
    told, parameters = mandates_in(found.folder), where.file.read()
    if any(m.parameters != parameters.hash_of(number) for number, m in told.items()):
        raise ConfigError(
            f"{found.folder} was written under other parameters than those of {where.file.path}"
        )
    symbols = where.symbols(strategy)
    bars_ts = int(found.view.equity_ts[0]) if len(found.view.equity_ts) else 0
    first = 0
    for change in (c for v in parameters.applied for c in v.changes):
        if change.mandate == SUPPRESS or change.strategy not in ("", strategy):
            continue
        if change.instrument and change.instrument not in symbols:  # what it no longer trades
            continue
        if change.number not in told:
            raise ConfigError(
                f"{change.key} has been changed, and {found.folder} does not know of it: "
                f"onefold run --mode {found.start.mode} under it first"
            )
        if change.loosens and told[change.number].ts > bars_ts:
            first = max(first, told[change.number].ts // DAY_NS + 1)
    return first


def proves_from(one: Governed, found: Recalled, strategy: str) -> int:
    """Return from which day on evidence counts after a strategy was taken back, 0 if it never was.

    What did not keep it from being taken back must not bring it back. Recorded bars are of another
    time: they never lead to real money.
    """
    if found.start.data_mode != "live":
        return 0
    holds = [(v.ts, v.hold) for v in one.file.read().applied if v.hold is not None and v.stage]
    back = [ts for ts, h in holds if (h.strategy, h.action) == (strategy, "suppress")]
    return max(back, default=-DAY_NS) // DAY_NS + 1


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


def check_rules(one: Governed, found: Recalled) -> None:
    """Raise `ConfigError` when evidence came about under other rules of the account.

    The limits of today may let less be traded and not more; cash decides how large orders are. A
    simulation proves no skill, and need not be of the account.
    """
    recorded = found.recipe.settings.account
    if found.start.mode == "simulate":
        return
    looser = looser_limits(one.rules.limits, recorded.limits.model_dump(mode="json"))
    if looser:
        raise ConfigError(
            f"limits {', '.join(looser)} let more be traded now than when {found.folder} was "
            f"written: onefold run --mode {found.start.mode} under them first"
        )
    if recorded.cash != one.rules.cash:
        raise ConfigError(
            f"{found.folder} began with {recorded.cash:,.2f} in cash, and account {one.name!r} "
            f"begins with {one.rules.cash:,.2f}: orders would be of another size"
        )


def check_source(where: Governed, found: Recalled) -> None:
    """Raise `ConfigError` when a journal is not of the account that the evidence is asked of."""
    name = found.recipe.settings.account.name
    if found.start.mode != "simulate" and name != where.name:
        raise ConfigError(
            f"{found.folder} is of account {name!r}, not of {where.name!r}: with --from an account "
            "of this configuration gives its evidence"
        )


def check_parameters(one: Governed, where: Governed, strategy: str) -> None:
    """Raise `ConfigError` when another account's evidence came about under other parameters."""
    where.check_scope(strategy, "")
    mine, theirs = one.file.read().values, where.file.read().values
    for key in sorted({*mine, *theirs}):
        if key.mandate == SUPPRESS or key.strategy not in ("", strategy):
            continue
        here = mine.get(key, one.stated(key))
        there = theirs.get(key, where.stated(key))
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
