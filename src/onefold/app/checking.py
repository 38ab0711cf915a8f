"""From a configuration to what is checked of it: health, metrics, the pipeline, the way to a start.

What is checked is in `ops`; here it is told which accounts and folders there are.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from onefold.app.live_settings import AccountSettings
from onefold.app.settings import Loaded, accounts_of
from onefold.app.wiring import build
from onefold.domain.errors import MissingExtra, OnefoldError
from onefold.ops.facts import Place, sight
from onefold.ops.failures import read_failures
from onefold.ops.health import Failed, Gatherer, Projected, Report
from onefold.ops.preflight import PreflightSettings, service
from onefold.ops.tails import Tails
from onefold.ops.validator import Issue, Validator

if TYPE_CHECKING:
    from onefold.ops.metrics import Telemetry

PIPELINE_RECORDS = 2_000
"""Records before a journal's end that a single look at the pipeline takes into account."""


def places_of(loaded: Loaded) -> list[Place]:
    """Return all accounts of a configuration, those that are not enabled too."""
    return [_place(loaded, name, one) for name, one in accounts_of(loaded.settings).items()]


def _place(loaded: Loaded, name: str, one: AccountSettings) -> Place:
    settings = loaded.settings
    strategies = one.strategies or tuple(settings.strategies)
    everything = {*settings.data, *settings.feeds}
    traded = frozenset(
        s for named in strategies for s in settings.strategies[named].instruments or everything
    )
    fed = [s for s in settings.feeds if s in traded or s in settings.rate_pairs]
    return Place(
        name=name,
        folder=loaded.account_folder(name),
        governance=loaded.resolve(settings.paths.governance) / f"{name}.jsonl",
        is_enabled=one.enabled,
        is_shadow=one.shadow,
        strategies=strategies,
        traded=traded,
        calendars={s: settings.instruments[s].calendar for s in fed},
        intervals_ns={s: settings.feeds[s].interval_ns for s in fed},
        currency=one.currency,
        broker="paper" if one.venue is None else one.venue.identity,
    )


def gatherer_of(loaded: Loaded) -> Gatherer:
    """Return who collects the facts of a configuration's health; keep it between two looks."""
    settings = loaded.settings
    paths = settings.paths
    return Gatherer(
        places_of(loaded),
        settings.health,
        folders=[loaded.resolve(path) for path in (paths.journal, paths.governance)],
        metrics=loaded.resolve(settings.health.metrics),
        failures=lambda: failures_of(loaded),
    )


def logs_folder(loaded: Loaded) -> Path:
    """Return the folder of the logs."""
    return loaded.resolve(loaded.settings.logs.folder)


def failures_of(loaded: Loaded) -> list[Failed]:
    """Return what processes have survived, by component."""
    now_ns = time.time_ns()
    return [
        Failed(
            name,
            one.count,
            (now_ns - one.last[-1].ts) / 1e9 if one.last else math.inf,
            f"{one.last[-1].kind}: {one.last[-1].said}".removeprefix(": ") if one.last else "",
        )
        for name, one in read_failures(logs_folder(loaded)).items()
    ]


def health_of(loaded: Loaded) -> Report:
    """Return the health of what a configuration runs, once; the database is asked too."""
    return gatherer_of(loaded).report(projected(loaded))


def telemetry_of(loaded: Loaded) -> Telemetry:
    """Return the metrics of what a configuration runs; keep it for the life of the process.

    Raises `MissingExtra` where what it needs is not installed.
    """
    try:
        # An extra, of which only a server has need.
        from onefold.ops.metrics import Build, Telemetry  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra(f"metrics need {error.name}, which", "ops") from None
    health = loaded.settings.health
    return Telemetry(
        places_of(loaded),
        validator_of(loaded),
        Build(version("onefold"), build()),
        stuck_s=health.heartbeat_s_max,
        failures=lambda: failures_of(loaded),
        report=gatherer_of(loaded).report,
    )


def validator_of(loaded: Loaded) -> Validator:
    """Return who looks at what passes between the stages of sessions."""
    return Validator(loaded.settings.pipeline, partial(_redis_trouble, loaded.settings.preflight))


def _redis_trouble(rules: PreflightSettings) -> dict[str, str]:
    """Return by name why a Redis that is configured does not answer, empty where it does."""
    urls = {name: url.get_secret_value() for name, url in rules.services.items()}
    asked = {n: service(u, rules.deadline_s) for n, u in urls.items() if u.startswith("redis:")}
    return {n: "" if one.status == "passed" else one.reason for n, one in asked.items()}


def pipeline_of(loaded: Loaded) -> list[Issue]:
    """Return what is wrong between the stages of sessions, by the end of their journals."""
    now_ns = time.time_ns()
    stuck_s = loaded.settings.health.heartbeat_s_max
    sightings = [sight(place, now_ns, stuck_s=stuck_s) for place in places_of(loaded)]
    tails = Tails((one.place.name for one in sightings), back=PIPELINE_RECORDS)
    tails.poll(sightings)
    return validator_of(loaded).look(sightings, tails)


def has_database(loaded: Loaded) -> bool:
    """Return whether there is a database: one that is named, or the file."""
    settings = loaded.settings
    return bool(settings.database.url) or loaded.resolve(settings.paths.database).exists()


def projected(loaded: Loaded) -> Sequence[Projected] | str | None:
    """Return how far the database has come, why it does not say, or None where there is none."""
    if not has_database(loaded):
        return None
    try:
        # SQLAlchemy takes a second to import, and is an extra.
        from onefold.app.projecting import using  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed: pip install 'onefold[ops]'"
    try:
        cursors = asyncio.run(using(loaded, lambda database: database.cursors()))
    except OnefoldError as error:
        return str(error)
    return [Projected(one.account, one.journal, one.seq, one.trouble) for one in cursors]
