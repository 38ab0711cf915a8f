"""Governance, for the server: what is in force, its versions, reviews, evidence; and changing it.

Everything goes through the functions of the commands, so that both refuse the same.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from onefold.api.schemas import (
    Change,
    Criterion,
    Evidence,
    Governance,
    ParameterVersion,
    Readiness,
    Review,
    ReviewBody,
    SetBody,
)
from onefold.app.bundles import BundleStore, read_bundle
from onefold.app.governing import Governed, approve, governed_in, roll_back, set_value, taken
from onefold.app.office_sessions import only
from onefold.app.reviewing import review, reviewed
from onefold.app.settings import Loaded
from onefold.domain.errors import ConfigError
from onefold.governance.parameters import Parameters
from onefold.governance.readiness import Report
from onefold.governance.versions import Change as Changed
from onefold.governance.versions import Version

REPORTS_MAX = 400
"""Reports of readiness that are shown: a year of days."""


def one_of(loaded: Loaded, account: str) -> Governed:
    """Return an account as governance sees it. Raises `NotFoundError`, `ConfigError`."""
    return governed_in(loaded, only(loaded, account))


def governance_of(one: Governed) -> Governance:
    """Return the parameters of an account; where they cannot be trusted, `doubt` says why."""
    try:
        parameters, doubt = one.file.read(), ""
    except ConfigError as error:
        parameters, doubt = Parameters(), str(error)
    values = [
        Change(
            mandate=key.mandate,
            strategy=key.strategy,
            symbol=key.instrument,
            before=_configured(one, key.strategy, partial(one.configured, key)),
            value=value,
        )
        for key, value in parameters.values.items()
    ]
    return Governance(
        account=one.name,
        is_live=one.is_live,
        doubt=doubt,
        values=values,
        versions=[wire_version(one, v) for v in reversed(parameters.versions)],
        waiting=[v.version for v in parameters.waiting],
    )


def _configured(one: Governed, strategy: str, value: partial[float | None]) -> float | None:
    """Return what the configuration says; nothing of a strategy that it no longer has."""
    return None if strategy and strategy not in one.strategies else value()


def wire_version(one: Governed, version: Version, became: str = "") -> ParameterVersion:
    """Return a version as it is sent."""
    hold = version.hold
    said = f" ({hold.action})" if hold is not None and not version.changes else ""
    return ParameterVersion(
        account=one.name,
        version=version.version,
        time=version.ts,
        by=version.by,
        cause=version.cause + said,
        status=version.status,
        approves=version.approves,
        changes=[_change(change) for change in version.changes],
        became=became,
    )


def _change(change: Changed) -> Change:
    return Change(
        mandate=change.mandate,
        strategy=change.strategy,
        symbol=change.instrument,
        before=change.before,
        value=change.value,
    )


def change_value(one: Governed, body: SetBody, operator: str) -> ParameterVersion:
    """Set a threshold or limit, and say what became of it."""
    scope = (body.strategy, body.symbol)
    return _told(one, set_value(one, body.mandate, body.value, scope, body.reason, operator))


def approve_version(
    one: Governed, version: int, reason: str, operator: str
) -> ParameterVersion:  # fmt: skip
    """Put a proposal into force, and say what became of it."""
    return _told(one, approve(one, version, reason, operator))


def go_back(one: Governed, version: int, reason: str, operator: str) -> ParameterVersion:
    """Give thresholds the values that they had, and say what became of it."""
    return _told(one, roll_back(one, version, reason, operator))


def make_review(one: Governed, body: ReviewBody, operator: str) -> ParameterVersion:
    """Suppress, watch or release, and say what became of it."""
    scope = (body.strategy, body.symbol)
    return _told(one, review(one, body.action, scope, body.reason, body.until, operator))


def _told(one: Governed, made: Version) -> ParameterVersion:
    """Return a version that is written; a session that does not take it is told of, no error."""
    try:
        became = taken(one, made)
    except ConfigError as error:
        became = str(error)
    return wire_version(one, made, became)


def reviews_of(one: Governed) -> list[Review]:
    """Return what is suppressed or watched."""
    return [
        Review(
            account=one.name,
            action="watch" if hold.action == "watch" else "suppress",
            holder=hold.holder,
            strategy=hold.strategy,
            symbol=hold.instrument,
            by=version.by,
            reason=version.cause,
            since=version.ts,
            until=hold.expires_ts or None,
        )
        for version, hold in reviewed(one.file.read())
    ]


def evidence_of(one: Governed) -> list[Evidence]:
    """Return the bundles of an account's checks, the newest first; one that is damaged says so."""
    store = BundleStore(one.loaded, one.name)
    found = [_evidence(one, store, path) for path in store.all()]
    return sorted(found, key=lambda bundle: bundle.time, reverse=True)


def _evidence(one: Governed, store: BundleStore, path: Path) -> Evidence:
    try:
        bundle = read_bundle(path)
    except ConfigError:
        return Evidence(
            account=one.name,
            name=path.name,
            strategy="",
            stage="",
            time="",
            passed=False,
            verified=False,
            criteria=[],
        )
    try:
        store.check(bundle)
        verified = True
    except ConfigError:
        verified = False
    return Evidence(
        account=one.name,
        name=path.name,
        strategy=bundle.evidence.strategy,
        stage=bundle.stage,
        time=datetime.fromtimestamp(bundle.ts / 1e9, UTC).isoformat(timespec="seconds"),
        passed=bundle.passes,
        verified=verified,
        criteria=[
            Criterion(
                name=c.name,
                value="-" if c.value is None else f"{c.value:.6g}",
                wanted=f"{c.compares} {c.threshold:.6g}",
                passes=c.passes,
            )
            for c in bundle.criteria
        ],
    )


def readiness_of(one: Governed) -> list[Readiness]:
    """Return the reports of readiness that were written, the newest first."""
    folder = one.loaded.resolve(one.settings.paths.governance) / "readiness" / one.name
    paths = sorted(folder.glob("*.json"), key=lambda p: p.stem[-10:], reverse=True)
    found = []
    for path in paths[:REPORTS_MAX]:
        try:
            report = msgspec.json.decode(path.read_bytes(), type=Report)
            text = path.with_suffix(".md").read_text(encoding="utf-8")
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue  # it is being written, or of another version
        found.append(
            Readiness(
                account=one.name,
                kind="weekly" if report.kind == "weekly" else "daily",
                day=report.last.isoformat(),
                is_stable=report.is_stable,
                stable_days=report.stable_days,
                markdown=text,
            )
        )
    return found
