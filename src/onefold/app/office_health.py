"""Health and metrics, for the server: what `ops` finds, kept between two looks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from onefold.api.schemas import Check, Failure, Health
from onefold.app.checking import gatherer_of, logs_folder, telemetry_of
from onefold.app.settings import Loaded
from onefold.ops.failures import Failures, read_failures
from onefold.ops.health import Projected

if TYPE_CHECKING:
    from onefold.ops.metrics import Telemetry

Progress = Sequence[Projected] | str | None
"""How far the database has come, why it does not say, or that there is none."""


class Watch:
    """Health and metrics of one configuration; both are asked in threads."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._gatherer = gatherer_of(loaded)
        self._telemetry: Telemetry | None = None

    def health(self, progress: Progress) -> Health:
        """Return every check with its verdict, and the failures that were survived."""
        report = self._gatherer.report(progress)
        failures = read_failures(logs_folder(self._loaded))
        return Health(
            status=report.status,
            version=version("onefold"),
            checks=[Check(name=c.name, status=c.status, detail=c.detail) for c in report.checks],
            failures=[_failure(one) for _, one in sorted(failures.items())],
        )

    def metrics(self, progress: Progress) -> str:
        """Return all metrics in Prometheus' text format."""
        if self._telemetry is None:
            self._telemetry = telemetry_of(self._loaded)
        return self._telemetry.exposition(progress).decode()


def _failure(one: Failures) -> Failure:
    last = one.last[-1] if one.last else None
    when = "" if last is None else datetime.fromtimestamp(last.ts / 1e9, UTC).isoformat()
    return Failure(
        component=one.component,
        count=one.count,
        last="" if last is None else f"{last.kind}: {last.said}",
        last_time=when,
        context={} if last is None else last.context,
    )
