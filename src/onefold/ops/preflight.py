"""Everything that a session needs, looked at before it starts.

A check is a function that returns a verdict with a reason, and a check that itself breaks has
failed: nothing that was not looked at counts as good. What a failure means depends on where it is:
in production it blocks, in development it warns.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from pydantic import Field, SecretStr, field_validator

from onefold.domain.errors import ConfigError, JournalError, OnefoldError
from onefold.domain.rules import Rule
from onefold.engine.parameters import ParameterFile
from onefold.journal import head, json_safe, write_atomic
from onefold.ops.facts import journal_of
from onefold.ops.health import MB, disk_of
from onefold.ops.probes import address_of, date_of, reach

SUMMARY = "preflight_summary.json"
"""The result, in the folder of the logs."""
Environment = Literal["development", "production"]
Outcome = Literal["passed", "warned", "failed", "not applicable"]

_REQUIREMENT = re.compile(
    r"""([A-Za-z0-9._-]+)(?:\[[^\]]*\])?>=([0-9.]+)(?:;\s*extra\s*==\s*['"]([^'"]+)['"])?"""
)
"""How this package writes what it needs: `name[extra]>=1.2; extra == 'live'`."""


class PreflightSettings(Rule):
    """What is looked at before a session starts, and what a failure means."""

    environment: Environment = Field(
        "development", description="production: what fails blocks live trading; else it warns."
    )
    disk_mb_min: float = Field(
        1_000.0, ge=0, le=1e9, description="Free megabytes that a session needs."
    )
    model_days_min: int = Field(
        7, ge=0, le=3_650, description="Days before its expiry in which a model is warned of."
    )
    quarantine_max: Annotated[float, Field(ge=0, le=1)] = Field(
        0.01, description="Share of a file's rows that may be refused."
    )
    deadline_s: float = Field(
        10.0, gt=0, le=300, description="Longest wait for one server, in seconds."
    )
    clock_s_max: float = Field(
        2.0, gt=0, le=3_600, description="Seconds by which the clock may differ from `clock_url`."
    )
    clock_url: str = Field(
        "https://www.cloudflare.com",
        pattern=r"^https?://[^/]+",
        description="A server whose date `--online` compares the clock with.",
    )
    services: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Servers that must answer, by name: redis://, kafka://, tcp://, http(s)://.",
    )

    @field_validator("services")
    @classmethod
    def _addresses(cls, services: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, url in services.items():
            try:
                address_of(url.get_secret_value())
            except ConfigError as error:
                raise ValueError(f"{name}: {error}") from None
        return services


class Verdict(NamedTuple):
    """What a check found, and why."""

    status: Outcome
    reason: str


class Finding(msgspec.Struct, frozen=True):
    """One check: what it found, why, and how long it took."""

    name: str
    status: Outcome
    reason: str
    duration_ms: float


class Summary(msgspec.Struct, frozen=True):
    """All checks; `blocks` says that nothing may trade live until what failed is mended."""

    status: Literal["passed", "warned", "failed"]
    environment: Environment
    blocks: bool
    time: str
    duration_ms: float
    checks: list[Finding]

    @property
    def failed(self) -> list[Finding]:
        """Return the checks that failed."""
        return [one for one in self.checks if one.status == "failed"]


class PreflightFailed(OnefoldError):  # noqa: N818 - named for what is the case, as all of them
    """Something that a session needs is not as it has to be, and this is production."""


Check = Callable[[], Verdict]


def run_checks(checks: Mapping[str, Check], environment: Environment) -> Summary:
    """Run checks one after the other and return what they found."""
    started = time.monotonic()
    findings = [_found(name, check) for name, check in checks.items()]
    outcomes = {one.status for one in findings}
    status: Literal["passed", "warned", "failed"] = (
        "failed" if "failed" in outcomes else "warned" if "warned" in outcomes else "passed"
    )
    return Summary(
        status=status,
        environment=environment,
        blocks=status == "failed" and environment == "production",
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        duration_ms=_ms_since(started),
        checks=findings,
    )


def _found(name: str, check: Check) -> Finding:
    started = time.monotonic()
    try:
        verdict = check()
    except OnefoldError as error:
        verdict = Verdict("failed", str(error))
    except Exception as error:  # noqa: BLE001 - a check that breaks has found nothing to be good
        verdict = Verdict("failed", f"the check broke: {type(error).__name__}: {error}")
    return Finding(name, verdict.status, " ".join(verdict.reason.split()), _ms_since(started))


def _ms_since(started: float) -> float:
    return round((time.monotonic() - started) * 1_000, 3)


def write_summary(path: Path, summary: Summary) -> None:
    """Write the result as JSON, whole or not at all. Raises `ConfigError`."""
    content = msgspec.json.format(msgspec.json.encode(json_safe(msgspec.to_builtins(summary))))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content + b"\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def require(summary: Summary) -> None:
    """Raise `PreflightFailed` where a failure blocks."""
    if summary.blocks:
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in summary.failed)
        raise PreflightFailed(f"preflight: {reasons}; `onefold preflight` tells more")


def worst(verdicts: Iterable[Verdict], well: str) -> Verdict:
    """Return the worst of several verdicts with the reasons of all as bad, or that all is well."""
    found = list(verdicts)
    for outcome in ("failed", "warned"):
        if reasons := [one.reason for one in found if one.status == outcome]:
            return Verdict(outcome, "; ".join(reasons))
    if found and all(one.status == "not applicable" for one in found):
        return found[0]
    return Verdict("passed", well)


# -- the machine ----------------------------------------------------------------------------------


def disk(folders: Sequence[Path], mb_min: float) -> Verdict:
    """Judge the room on the disks of folders."""
    disks = {folder: disk_of(folder) for folder in folders}
    bad = [
        Verdict("failed", f"{folder}: {one.free / MB:,.0f} MB free, {mb_min:,.0f} are needed")
        for folder, one in disks.items()
        if one.free < mb_min * MB
    ]
    least = min(one.free for one in disks.values())
    return worst(bad, f"at least {least / MB:,.0f} MB are free")


def permissions(folders: Sequence[Path]) -> Verdict:
    """Judge whether folders take what is written, and nobody else can write there."""
    return worst((_permitted(folder) for folder in folders), f"{len(folders)} folders are ours")


def _permitted(folder: Path) -> Verdict:
    if folder.exists() and not folder.is_dir():
        return Verdict("failed", f"{folder} is no folder")
    if why := disk_of(folder).unwritable:
        return Verdict("failed", f"{folder}: {why}")
    if os.name == "posix" and folder.is_dir() and folder.stat().st_mode & stat.S_IWOTH:
        return Verdict("failed", f"everybody can write in {folder}: chmod o-w {folder}")
    return Verdict("passed", "")


def clock(files: Iterable[Path], s_max: float) -> Verdict:
    """Judge the clock by itself: that it runs evenly, and that no file is of the future."""
    wall, steady = time.time(), time.monotonic()
    time.sleep(0.05)
    jump = (time.time() - wall) - (time.monotonic() - steady)
    if abs(jump) > s_max:
        return Verdict("failed", f"the clock has jumped by {jump:+.1f} s while it was looked at")
    newest = max(((_modified(path), path) for path in files), default=(0.0, Path()))
    if newest[0] > time.time() + s_max:
        ahead_s = newest[0] - time.time()
        return Verdict("failed", f"{newest[1]} is of {ahead_s:,.0f} s from now: the clock is late")
    return Verdict("passed", "it runs evenly, and no file is of the future")


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def clock_against(url: str, s_max: float, deadline_s: float) -> Verdict:
    """Compare the clock with a server's, whose date has whole seconds."""
    before = time.time()
    try:
        there = date_of(url, deadline_s)
    except OSError as error:
        return Verdict("warned", f"{url} does not tell the time: {error}")
    after = time.time()
    # It was told between the two, and is up to a second older than it was.
    off_s = max(before - (there + 1.0), there - after, 0.0)
    if off_s > s_max:
        return Verdict("failed", f"the clock differs by {off_s:.1f} s from {url}")
    return Verdict("passed", f"as {url} says, within {after - before + 1.0:.1f} s")


def time_zone(zones: Iterable[str]) -> Verdict:
    """Judge whether the zones that sessions need are known; records are in UTC all the same."""
    for name in zones:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            return Verdict("failed", f"the time zone {name} is not known: pip install tzdata")
    local = datetime.now().astimezone()
    return Verdict("passed", f"records are in UTC; here it is {local.tzname()}")


def libraries(wanted: Iterable[str]) -> Verdict:
    """Judge the installed libraries by what this version needs; extras that are `wanted` too.

    What is installed of other extras must not be too old either, since it would be used.
    """
    extras = set(wanted)
    found: list[Verdict] = []
    seen = 0
    for name, least, extra in requirements():
        try:
            have = version(name)
        except PackageNotFoundError:
            if not extra:
                found.append(Verdict("failed", f"{name} is not installed"))
            elif extra in extras:
                found.append(
                    Verdict("failed", f"{name} is not installed: pip install 'onefold[{extra}]'")
                )
            continue
        seen += 1
        if _parts(have) < _parts(least):
            found.append(Verdict("failed", f"{name} is {have}, at least {least} is needed"))
    return worst(dict.fromkeys(found), f"{seen} libraries are new enough")


def requirements() -> list[tuple[str, str, str]]:
    """Return what this package needs: name, least version, and the extra or nothing."""
    matches = (_REQUIREMENT.fullmatch(text.strip()) for text in requires("onefold") or ())
    return [(m[1], m[2], m[3] or "") for m in matches if m is not None]


def _parts(text: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with, without zeros at the end."""
    numbers = re.match(r"\d+(?:\.\d+)*", text)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else []
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)


# -- the files of sessions ------------------------------------------------------------------------


def governance(files: Mapping[str, Path]) -> Verdict:
    """Judge the chains of versions of accounts' parameters."""
    found = []
    versions = 0
    for name, path in files.items():
        try:
            versions += len(ParameterFile(path).read().versions)
        except ConfigError as error:
            found.append(Verdict("failed", f"{name}: {error}"))
    return worst(found, f"{versions} versions of {len(files)} accounts agree with their hashes")


def journals(folders: Mapping[str, Path]) -> Verdict:
    """Judge the ends of accounts' newest journals."""
    found = []
    records = 0
    for name, folder in folders.items():
        journal = journal_of(folder, {})
        if journal is None:
            continue
        try:
            records += head(journal).seq
        except JournalError as error:
            found.append(Verdict("failed", f"{name}: {error}"))
    return worst(found, f"{records:,} records end in a seal")


# -- servers --------------------------------------------------------------------------------------


def service(url: str, deadline_s: float) -> Verdict:
    """Judge whether a server answers in its own language."""
    address = address_of(url)
    try:
        return Verdict("passed", reach(address, deadline_s))
    except socket.gaierror as error:
        return Verdict("failed", f"{address.host} has no address: {error.strerror}")
    except OSError as error:
        said = error.strerror or str(error) or type(error).__name__
        return Verdict("failed", f"{address.host}:{address.port} does not answer: {said}")
