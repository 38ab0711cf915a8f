"""Whether all is well, check by check, each with a sentence for people.

A check is a pure function of facts, so that every verdict can be tested without making the world
ill. `Gatherer` collects the facts from files alone: it never waits for a session, and what costs
more than reading a heartbeat is kept for some seconds, because load balancers ask often.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
from pydantic import Field, field_validator

from onefold.domain.errors import ConfigError, did_you_mean
from onefold.domain.rules import Rule
from onefold.engine.parameters import ParameterFile
from onefold.ops.facts import Place, Sighting, last_seq, segments_of, sight, table
from onefold.ops.probes import unwritable

Status = Literal["healthy", "degraded", "unhealthy"]
RANK: dict[Status, int] = {"healthy": 0, "degraded": 1, "unhealthy": 2}
"""The verdicts from good to bad; also the exit codes of `onefold health`."""

MB = 1_000_000
HOUR_S, DAY_S = 3_600.0, 86_400.0
NAMED_MAX = 5
"""How many things of a kind a detail names."""


class HealthSettings(Rule):
    """From when on something is not healthy."""

    skip: tuple[str, ...] = Field((), description="Checks that are left out, by name.")
    heartbeat_s_max: float = Field(
        90.0, gt=30, le=DAY_S, description="Age of a heartbeat from which a session is stuck."
    )
    shadow_s_max: float = Field(
        HOUR_S, gt=0, le=30 * DAY_S, description="Seconds without activity in shadow that are fine."
    )
    inference_silent_max: float = Field(
        0.05, ge=0, lt=1, description="Share of questions to a model that may go unanswered."
    )
    metrics: Path = Field(
        Path("performance_metrics.json"), description="What `onefold metrics` writes."
    )
    metrics_days_max: float = Field(
        7.0, gt=0, le=366, description="Days after which performance metrics are old."
    )
    failures_s: float = Field(
        HOUR_S, gt=0, le=30 * DAY_S, description="Seconds for which a failure is recent."
    )
    disk_mb_min: float = Field(
        200.0, ge=0, le=1e9, description="Free megabytes below which a disk counts as full."
    )
    disk_free_min: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.05, description="Free share of a disk below which it counts as nearly full."
    )
    clock_s_max: float = Field(
        2.0, gt=0, le=HOUR_S, description="Seconds by which clock and times of files may differ."
    )
    clock_memory_s: float = Field(
        HOUR_S, gt=0, le=DAY_S, description="Seconds for which a jump of the clock is told."
    )
    lag_max: int = Field(
        20_000, ge=0, le=10**9, description="Records by which the database may be behind."
    )
    cache_s: float = Field(
        5.0, ge=0, le=600, description="Seconds for which costly findings are kept."
    )

    @field_validator("skip")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in CHECKS:
                raise ValueError(f"there is no check {name!r}{did_you_mean(name, CHECKS)}")
        return names


class Check(msgspec.Struct, frozen=True):
    """One check: its name, its verdict, and why."""

    name: str
    status: Status
    detail: str


class Report(msgspec.Struct, frozen=True):
    """All checks; the worst of them is the verdict."""

    status: Status
    checks: list[Check]


class Failed(NamedTuple):
    """Failures of one component that were survived: how many, when the last was, and what."""

    component: str
    total: int
    age_s: float
    said: str


class Disk(NamedTuple):
    """The disk under a folder: free and all bytes, and why nothing can be written there."""

    free: int
    size: int
    unwritable: str


class Asked(NamedTuple):
    """What came of asking a model since the look before: answers, and questions without one."""

    answers: int
    silent: int

    @property
    def total(self) -> int:
        """Return how often it was asked."""
        return self.answers + self.silent


class Facts(NamedTuple):
    """Everything that the checks judge.

    `governance` says by account why its parameters cannot be read, empty where they can. `disks`
    go by folder; `models` by account and identity. `metrics_s` is the age of the performance
    metrics, `history_s` that of the oldest journal. `behind` says by account how many records the
    database lacks, or why it does not go on; None where there is no database. `jump_s` is by how
    much the clock has jumped lately.
    """

    now_ns: int
    sightings: Sequence[Sighting]
    governance: Mapping[str, str]
    disks: Mapping[Path, Disk]
    models: Mapping[tuple[str, str], Asked]
    metrics_s: float | None
    history_s: float | None
    failures: Sequence[Failed]
    behind: Mapping[str, int | str] | None
    jump_s: float


class Projected(NamedTuple):
    """How far the database has come with a journal, and why it does not go on."""

    account: str
    journal: str
    seq: int
    trouble: str


def judge(facts: Facts, rules: HealthSettings) -> Report:
    """Return every check that is not left out, and the worst verdict."""
    checks = [
        Check(name, *check(facts, rules))
        for name, check in CHECKS.items()
        if name not in rules.skip
    ]
    statuses: list[Status] = ["healthy", *(check.status for check in checks)]
    return Report(max(statuses, key=RANK.__getitem__), checks)


# -- the checks -----------------------------------------------------------------------------------

Verdict = tuple[Status, str]


def _verdict(findings: Iterable[Verdict], well: str) -> Verdict:
    """Return the worst of some findings with the words of all, or that all is well."""
    found = sorted(findings, key=lambda one: -RANK[one[0]])
    return (found[0][0], "; ".join(said for _, said in found)) if found else ("healthy", well)


def _sessions(facts: Facts, _: HealthSettings) -> Verdict:
    """Judge whether every enabled account runs."""
    found: list[Verdict] = []
    wanted = [one for one in facts.sightings if one.place.is_enabled]
    for one in wanted:
        name, failure = one.place.name, one.beat.get("failure")
        if one.standing == "stopped":
            found.append(("degraded", f"{name} was stopped in good order"))
        elif one.standing == "failed":
            found.append(("unhealthy", f"{name} has ended: {failure}"))
        elif one.standing == "stuck":
            found.append(("unhealthy", f"{name} is stuck"))
        elif one.standing != "running":
            found.append(("unhealthy", f"{name}: {one.standing}"))
    names = ", ".join(f"{one.place.name} ({one.mode})" for one in wanted)
    return _verdict(found, f"running: {names}" if wanted else "no account is enabled")


def _heartbeat(facts: Facts, rules: HealthSettings) -> Verdict:
    found: list[Verdict] = []
    ages = []
    for one in facts.sightings:
        if one.unreadable:
            found.append(("unhealthy", f"{one.place.name}: {one.unreadable}"))
        if not one.runs or one.age_s is None:
            continue
        ages.append(one.age_s)
        said = f"{one.place.name}: the heartbeat is {one.age_s:.0f} s old"
        if one.age_s > rules.heartbeat_s_max:
            found.append(("unhealthy", said))
        elif one.age_s > max(35.0, rules.heartbeat_s_max / 2):
            found.append(("degraded", said))
    return _verdict(found, f"the oldest is {max(ages):.1f} s old" if ages else "nothing runs")


def _strategies(facts: Facts, _: HealthSettings) -> Verdict:
    """Judge which of the configured strategies run."""
    found: list[Verdict] = []
    configured = running = 0
    for one in facts.sightings:
        if not one.place.is_enabled or not one.runs:
            continue
        configured += len(one.place.strategies)
        running += len(one.active)
        for name in one.place.strategies:
            if name in one.disabled:
                status: Status = "degraded" if one.active else "unhealthy"
                found.append((status, f"{one.place.name}/{name}: {one.disabled[name]}"))
    off = [one.place.name for one in facts.sightings if not one.place.is_enabled]
    also = f"; not enabled: {', '.join(off)}" if off else ""
    status, said = _verdict(found, "none is disabled")
    return status, f"{running} of {configured} configured run; {said}{also}"


def _governance(facts: Facts, _: HealthSettings) -> Verdict:
    found: list[Verdict] = [
        ("unhealthy", f"{name}: {why}") for name, why in facts.governance.items() if why
    ]
    found += [
        ("unhealthy", f"{one.place.name}: its session does not trust them: {one.beat['doubt']}")
        for one in facts.sightings
        if one.runs and one.beat.get("doubt") and not facts.governance[one.place.name]
    ]
    return _verdict(found, f"the parameters of {len(facts.governance)} accounts can be read")


def _journal(facts: Facts, _: HealthSettings) -> Verdict:
    found: list[Verdict] = []
    for one in facts.sightings:
        disk = facts.disks.get(one.place.folder)
        if disk is not None and disk.unwritable:
            found.append(("unhealthy", f"{one.place.folder}: {disk.unwritable}"))
        if one.runs and one.journal is None:
            found.append(("unhealthy", f"{one.place.name} runs and has no journal"))
    return _verdict(found, "the journals' folders take what is written")


def _inference(facts: Facts, rules: HealthSettings) -> Verdict:
    """Judge whether the models that are asked answer."""
    found: list[Verdict] = []
    for (account, model), asked in facts.models.items():
        if asked.silent > rules.inference_silent_max * asked.total:
            said = f"{account}: {model} did not answer {asked.silent} of {asked.total} times"
            found.append(("degraded" if asked.answers else "unhealthy", said))
    many = len(facts.models)
    return _verdict(found, f"{many} models answer" if many else "no model is asked")


def _shadow(facts: Facts, rules: HealthSettings) -> Verdict:
    """Judge whether what runs in shadow is active, while its markets are open."""
    found: list[Verdict] = []
    shadows = [
        one
        for one in facts.sightings
        if one.place.is_enabled and (one.place.is_shadow or one.mode == "shadow")
    ]
    ages = []
    for one in shadows:
        intervals = one.place.intervals_ns
        if intervals and all(one.rests(symbol, facts.now_ns) for symbol in intervals):
            continue
        longest_s = max(intervals.values(), default=0) / 1e9
        if one.written_s is None:
            found.append(("degraded", f"{one.place.name} has never decided anything"))
        elif one.written_s > max(rules.shadow_s_max, 2 * longest_s):
            found.append(("degraded", f"{one.place.name}: nothing since {_ago(one.written_s)}"))
        else:
            ages.append(one.written_s)
    if not shadows:
        return "healthy", "no account runs in shadow"
    return _verdict(found, f"last active {_ago(max(ages))} ago" if ages else "markets are closed")


def _performance(facts: Facts, rules: HealthSettings) -> Verdict:
    limit_s = rules.metrics_days_max * DAY_S
    if facts.metrics_s is not None:
        said = f"{rules.metrics} is {_ago(facts.metrics_s)} old"
        return ("degraded" if facts.metrics_s > limit_s else "healthy"), said
    if facts.history_s is None or facts.history_s <= limit_s:
        return "healthy", "too early: there is not enough to measure yet"
    return "degraded", f"{rules.metrics} is not there; `onefold metrics` writes it"


def _failures(facts: Facts, rules: HealthSettings) -> Verdict:
    recent = [one for one in facts.failures if one.age_s <= rules.failures_s]
    found: list[Verdict] = []
    for one in sorted(recent, key=lambda one: one.age_s)[:NAMED_MAX]:
        often = f"{one.total} in all, the last {_ago(one.age_s)} ago"
        found.append(("degraded", f"{one.component}: {often}: {one.said}"))
    return _verdict(found, f"none in the last {_ago(rules.failures_s)}")


def _disk(facts: Facts, rules: HealthSettings) -> Verdict:
    found: list[Verdict] = []
    for folder, disk in facts.disks.items():
        share = disk.free / disk.size if disk.size else 0.0
        said = f"{folder}: {disk.free / MB:,.0f} MB free ({share:.0%})"
        if disk.free < rules.disk_mb_min * MB:
            found.append(("unhealthy", said))
        elif share < rules.disk_free_min:
            found.append(("degraded", said))
    least = min((disk.free for disk in facts.disks.values()), default=0)
    return _verdict(found, f"at least {least / MB:,.0f} MB are free")


def _clock(facts: Facts, rules: HealthSettings) -> Verdict:
    """Judge the clock by itself and by the times of files, which it stamped at other moments."""
    found: list[Verdict] = []
    if abs(facts.jump_s) > rules.clock_s_max:
        found.append(("degraded", f"the clock has jumped by {facts.jump_s:+.1f} s"))
    for one in facts.sightings:
        if one.age_s is not None and one.age_s < -rules.clock_s_max:
            said = f"{one.place.name}: the heartbeat is of {-one.age_s:.0f} s from now"
            found.append(("unhealthy", said))
        beat_ts = one.beat.get("ts")
        if one.runs and one.is_live_data and isinstance(beat_ts, int) and one.age_s is not None:
            # Written the moment after, by the same machine: only another clock can differ.
            late_s = (facts.now_ns - beat_ts) / 1e9 - one.age_s
            if abs(late_s) > rules.clock_s_max + 1.0:
                said = f"{one.place.name}: its time and that of its file differ by {late_s:+.1f} s"
                found.append(("degraded", said))
    return _verdict(found, "no jump; the times of files agree with it")


def _feed(facts: Facts, _: HealthSettings) -> Verdict:
    found: list[Verdict] = []
    symbols: set[str] = set()
    for one in facts.sightings:
        if not one.runs:
            continue
        known = set(table(one.beat, "last_bars"))
        troubled = table(one.beat, "feeds")
        symbols |= known | set(troubled)
        open_now = {s for s in known | set(troubled) if not one.rests(s, facts.now_ns)}
        bad = {symbol: why for symbol, why in troubled.items() if symbol in open_now}
        if bad:
            status: Status = "unhealthy" if set(bad) == open_now else "degraded"
            said = ", ".join(f"{s}: {why}" for s, why in list(bad.items())[:NAMED_MAX])
            found.append((status, f"{one.place.name}: {said}"))
    return _verdict(found, f"{len(symbols)} symbols have bars" if symbols else "no bar is awaited")


def _venue(facts: Facts, _: HealthSettings) -> Verdict:
    found: list[Verdict] = []
    live = [one for one in facts.sightings if one.runs and one.mode == "live"]
    for one in live:
        trouble = str(one.beat.get("trouble", ""))
        if not one.beat.get("reconciled"):
            said = f"{one.place.name} is not reconciled: {trouble}".rstrip(": ")
            found.append(("unhealthy", said))
        elif trouble:
            found.append(("degraded", f"{one.place.name}: {trouble}"))
    names = ", ".join(f"{one.place.name} ({one.place.broker})" for one in live)
    return _verdict(found, f"books and venue agree: {names}" if live else "no account trades live")


def _switches(facts: Facts, _: HealthSettings) -> Verdict:
    found: list[Verdict] = []
    for one in facts.sightings:
        name = one.place.name
        for switch, why in one.switches.items():
            found.append(("degraded", f"{name}: {switch}: {why}".rstrip(": ")))
        if one.runs and one.beat.get("killed") and not one.switches:
            found.append(("degraded", f"{name} is halted; onefold resume lets it go on"))
        if one.runs and one.beat.get("reduce_only"):
            found.append(("degraded", f"{name} only reduces positions"))
    return _verdict(found, "none is on")


def _projector(facts: Facts, rules: HealthSettings) -> Verdict:
    if facts.behind is None:
        return "healthy", "there is no database"
    found: list[Verdict] = []
    for account, behind in facts.behind.items():
        if isinstance(behind, str):
            found.append(("degraded", f"{account}: {behind}"))
        elif behind > rules.lag_max:
            found.append(("degraded", f"{account}: the database is {behind:,} records behind"))
    most = max((one for one in facts.behind.values() if isinstance(one, int)), default=0)
    return _verdict(found, f"at most {most:,} records behind")


CHECKS: dict[str, Callable[[Facts, HealthSettings], Verdict]] = {
    "sessions": _sessions,
    "heartbeat": _heartbeat,
    "strategies": _strategies,
    "governance": _governance,
    "journal": _journal,
    "inference": _inference,
    "shadow": _shadow,
    "performance": _performance,
    "failures": _failures,
    "disk": _disk,
    "clock": _clock,
    "feed": _feed,
    "venue": _venue,
    "kill_switches": _switches,
    "projector": _projector,
}
"""All checks, in the order in which they are told."""


def _ago(seconds: float) -> str:
    for unit, name in ((DAY_S, "days"), (HOUR_S, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


# -- the facts ------------------------------------------------------------------------------------


class Gatherer:
    """Collects the facts; keep one, because it remembers what costs and what it saw before.

    `folders` are looked at for room besides the accounts' own. `failures` returns what was
    survived. Several threads may ask.
    """

    def __init__(
        self,
        places: Sequence[Place],
        rules: HealthSettings,
        *,
        folders: Sequence[Path],
        metrics: Path,
        failures: Callable[[], Sequence[Failed]],
    ) -> None:
        self._places, self._rules = places, rules
        self._folders, self._metrics, self._failures = folders, metrics, failures
        self._parameters: dict[Path, tuple[object, str]] = {}
        self._kept: tuple[float, dict[Path, Disk], float | None, Sequence[Failed]] | None = None
        self._counts: dict[tuple[str, str, object], tuple[float, Asked]] = {}
        self._asked: dict[tuple[str, str], Asked] = {}
        self._turn = threading.Lock()
        self._clocks = (time.time(), time.monotonic())
        self._jump = (0.0, float("-inf"))

    def facts(self, projected: Sequence[Projected] | str | None = None) -> Facts:
        """Return what is known now.

        `projected` is what the database says of its progress, why it says nothing, or None where
        there is no database.
        """
        with self._turn:
            return self._facts(projected)

    def _facts(self, projected: Sequence[Projected] | str | None) -> Facts:
        jump_s = self._jumped()
        now_ns = time.time_ns()
        sightings = [
            sight(place, now_ns, stuck_s=self._rules.heartbeat_s_max) for place in self._places
        ]
        disks, history_s, failures = self._costly()
        return Facts(
            now_ns=now_ns,
            sightings=sightings,
            governance={place.name: self._governance(place.governance) for place in self._places},
            disks=disks,
            models=self._models(sightings),
            metrics_s=_age_s(self._metrics),
            history_s=history_s,
            failures=failures,
            behind=behind(sightings, projected),
            jump_s=jump_s,
        )

    def report(self, projected: Sequence[Projected] | str | None = None) -> Report:
        """Return the verdict on what is known now."""
        return judge(self.facts(projected), self._rules)

    def _jumped(self) -> float:
        """Return by how much the clock has jumped since the last look, or lately."""
        wall, steady = time.time(), time.monotonic()
        jump = (wall - self._clocks[0]) - (steady - self._clocks[1])
        self._clocks = (wall, steady)
        if abs(jump) > self._rules.clock_s_max:
            self._jump = (jump, steady)
        last, when = self._jump
        return last if steady - when <= self._rules.clock_memory_s else 0.0

    def _costly(self) -> tuple[dict[Path, Disk], float | None, Sequence[Failed]]:
        steady = time.monotonic()
        if self._kept is None or steady - self._kept[0] > self._rules.cache_s:
            mine = [place.folder for place in self._places if place.is_enabled]
            disks = {folder: disk_of(folder) for folder in dict.fromkeys((*mine, *self._folders))}
            begun = (_begun_s(place.folder) for place in self._places)
            history_s = max((age for age in begun if age is not None), default=None)
            self._kept = (steady, disks, history_s, self._failures())
        return self._kept[1:]

    def _governance(self, path: Path) -> str:
        """Return why parameters cannot be read; the file is read again when it has changed."""
        file = ParameterFile(path)
        stamp = file.stamp()
        known = self._parameters.get(path)
        if known is None or known[0] != stamp:
            try:
                file.read()
                why = ""
            except ConfigError as error:
                why = str(error)
            known = self._parameters[path] = (stamp, why)
        return known[1]

    def _models(self, sightings: Iterable[Sighting]) -> dict[tuple[str, str], Asked]:
        """Return what came of asking each model lately, at first since its session began."""
        steady = time.monotonic()
        found = {}
        for one in sightings:
            for model, counts in table(one.beat, "models").items() if one.runs else ():
                name, began = one.place.name, one.beat.get("started_ts")
                all_ = Asked(counts["scores"], counts["late"] + counts["failed"])
                seen = self._counts.get((name, model, began), (steady, Asked(0, 0)))
                since = Asked(all_.answers - seen[1].answers, all_.silent - seen[1].silent)
                if since.total > 0:
                    self._asked[name, model] = since
                if since.total > 0 and steady - seen[0] >= self._rules.cache_s:
                    seen = (steady, all_)
                self._counts[name, model, began] = seen
                found[name, model] = self._asked.get((name, model), Asked(0, 0))
        return found


def behind(
    sightings: Iterable[Sighting], projected: Sequence[Projected] | str | None
) -> dict[str, int | str] | None:
    """Return by account how many records the database lacks, or why it does not go on."""
    if projected is None:
        return None
    if isinstance(projected, str):
        return {"database": projected}
    cursors = {(one.account, one.journal): one for one in projected}
    found: dict[str, int | str] = {}
    for one in sightings:
        end = None if one.journal is None else last_seq(one.journal)
        if one.journal is None or end is None:
            continue
        cursor = cursors.get((one.place.name, one.journal.name))
        if cursor is not None and cursor.trouble:
            found[one.place.name] = cursor.trouble
        else:
            found[one.place.name] = max(0, end - (0 if cursor is None else cursor.seq))
    return found


def disk_of(folder: Path) -> Disk:
    """Return the disk under a folder, or under the nearest one that is there."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    usage = shutil.disk_usage(there)
    return Disk(usage.free, usage.total, unwritable(there))


def _age_s(path: Path) -> float | None:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return None


def _begun_s(folder: Path) -> float | None:
    """Return how long ago the oldest journal of an account was begun, by its first segment."""
    firsts = [found[0] for path in folder.glob("*-*") if (found := segments_of(path))]
    ages = [age for path in firsts if (age := _age_s(path)) is not None]
    return max(ages, default=None)
