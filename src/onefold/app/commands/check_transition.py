"""`onefold check-transition`: whether the evidence lets a strategy go on, and the proof of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from onefold.app.bundles import BundleStore
from onefold.app.governing import Account, Governed, Why, entry, governed, taken
from onefold.app.group import new_app
from onefold.app.operator import operator
from onefold.app.output import ConfigFile, Json, emit, note, say, show, table
from onefold.app.recall import Recalled, recalled
from onefold.app.transitions import (
    check_parameters,
    check_rules,
    check_same,
    check_source,
    evidence_of,
    first_day_of,
    journal_of,
    models_of,
    present_hash,
    proves_from,
)
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.governance.bundle import SCHEMA, Bundle, Inputs
from onefold.governance.parameters import Parameters
from onefold.governance.transitions import Criterion, Evidence, check_transition
from onefold.governance.versions import STAGES, Hold, Look, Stage, Version, is_ahead

app = new_app()

NOT_READY = 1
"""The exit code when the evidence is not enough."""


@app.command()
def check_transition_command(
    stage: Annotated[str, typer.Argument(help="Where to: shadow, paper or live.")] = "",
    config: ConfigFile = Path("onefold.yaml"),
    strategy: Annotated[str, typer.Option(help="Which strategy; all when left out.")] = "",
    account: Account = "",
    evidence: Annotated[
        str, typer.Option("--from", help="Take the evidence from this account, a challenger.")
    ] = "",
    journal: Annotated[Path | None, typer.Option(help="Take this journal as evidence.")] = None,
    promote: Annotated[
        bool, typer.Option("--promote", help="Promote those that pass, with --reason.")
    ] = False,
    reason: Why = "",
    json_: Json = False,
) -> None:
    """Tell whether strategies may go on to a stage: every criterion with value and threshold.

    Ends with code 1 when one may not. Each check is kept as a signed bundle, and makes the next one
    of the same step stricter.
    """
    if stage not in STAGES:
        hint = did_you_mean(stage, STAGES) if stage else f": {', '.join(STAGES)}"
        raise ConfigError(f"say where to go on to{hint}")
    one = governed(config, account)
    if promote:
        entry(reason)  # a missing reason is told before anything is kept
    one.check_scope(strategy, "")
    where = governed(config, evidence) if evidence else one
    found = recalled(journal or journal_of(where, stage))
    check_source(where, found)
    check_rules(one, found)
    names = [strategy] if strategy else list(one.strategies)
    # What one of them lacks is told before a look at another is spent.
    known = [_known(one, where, found, name) for name in names]
    done = [_looked(one, where, found, one_known, stage) for one_known in known]
    _show(done, json_)
    for bundle, _ in done:
        if promote and bundle.passes:
            _promote(one, bundle, reason)
    if not all(bundle.passes for bundle, _ in done):
        raise typer.Exit(NOT_READY)


def _known(one: Governed, where: Governed, found: Recalled, strategy: str) -> Evidence:
    """Return what is known of a strategy. Raises `ConfigError` for what is no evidence of it."""
    if strategy not in found.recipe.settings.strategies:
        raise ConfigError(f"journal {found.folder} has no strategy {strategy!r}")
    own = found.recipe.strategy_hash(strategy)
    check_same(own, present_hash(one, found, strategy), strategy, found.folder)
    check_parameters(one, where, strategy)
    first_day = max(first_day_of(found, where, strategy), proves_from(one, found, strategy))
    return evidence_of(found, strategy, 0, first_day)


def _looked(
    one: Governed, where: Governed, found: Recalled, known: Evidence, stage: Stage
) -> tuple[Bundle, Path]:
    """Check one strategy, and keep the bundle and the count of looks."""
    strategy, store = known.strategy, BundleStore(one.loaded, one.name)
    kept: list[tuple[Bundle, Path]] = []

    def looked(parameters: Parameters) -> Version:
        """Keep a bundle while nobody else can look, so that each look has a number of its own."""
        before = max(parameters.looks(strategy, stage), store.looks(strategy, stage))
        counted = msgspec.structs.replace(known, looks=before)
        bundle, path = store.keep(_bundle(one, where, found, counted, stage))
        kept.append((bundle, path))
        verdict = "may go on" if bundle.passes else "may not go on"
        made_by = entry(f"{strategy} {verdict} to {stage}", bundle.hash)
        return parameters.looked(Look(strategy, stage, before + 1), made_by)

    one.extend(looked)
    return kept[0]


def _bundle(
    one: Governed, where: Governed, found: Recalled, known: Evidence, stage: Stage
) -> Bundle:
    """Decide on the evidence, and return all of it, to be signed."""
    rules = one.settings.governance
    criteria = check_transition(stage, known, rules.transitions, rules.stability)
    return Bundle(
        schema=SCHEMA,
        account=one.name,
        stage=stage,
        ts=time.time_ns(),
        by=operator(),
        inputs=Inputs(
            journal=str(found.folder),
            head_seq=found.end.seq,
            head_hash=found.end.hash,
            mode=found.start.mode,
            data_mode=found.start.data_mode,
            version=found.start.version,
            build=found.start.build,
            config_hash=found.start.config_hash,
            strategy_hash=found.recipe.strategy_hash(known.strategy),
            parameters_head=where.file.read().head,
            limits=found.recipe.settings.account.limits.model_dump(mode="json"),
            models={name: m.sidecar.sha256 for name, m in models_of(found, known.strategy).items()},
        ),
        evidence=known,
        rules=rules.transitions.model_dump(),
        stability=rules.stability.model_dump(),
        criteria=criteria,
        passes=all(c.passes for c in criteria),
    )


def _promote(one: Governed, bundle: Bundle, reason: str) -> None:
    strategy, stage = bundle.evidence.strategy, bundle.stage
    subject = f"{bundle.inputs.strategy_hash}/{bundle.hash}"
    last = one.file.read().stages.get(strategy)
    if last is not None and is_ahead(last, stage, bundle.inputs.strategy_hash):
        note(f"{strategy}: it is in {last.stage} already")
        return
    hold = Hold("release", "stage", strategy)
    made = one.extend(lambda p: p.held(hold, entry(reason, subject), stage=stage))
    note(f"{strategy}: promoted to {stage}, version {made.version}; {taken(one, made)}")


def _show(done: list[tuple[Bundle, Path]], json_: bool) -> None:
    if json_:
        emit(
            [
                {"bundle": str(path), "hash": bundle.hash, **msgspec.to_builtins(bundle)}
                for bundle, path in done
            ]
        )
        return
    for bundle, path in done:
        verdict = "may go on" if bundle.passes else "may not go on"
        say(f"{bundle.evidence.strategy} {verdict} to {bundle.stage}; evidence: {path}")
        if bundle.evidence.since:
            say(
                f"it counts from {bundle.evidence.since} on: the day after its parameters last "
                "let more be traded, or it was taken back"
            )
        rows = [_row(c) for c in bundle.criteria]
        show(table(("criterion", "", "found", "wanted", "meaning"), rows, text=2))


def _row(one: Criterion) -> tuple[str, str, str, str, str]:
    value = "-" if one.value is None else f"{one.value:.4g}"
    wanted = f"{one.compares} {one.threshold:.4g}"
    return one.name, "pass" if one.passes else "FAIL", value, wanted, one.says
