"""Versions of what governance has changed: a chain that can be read, verified and rolled back.

A threshold that is changed by evidence must be as accountable as a trade: who changed it, when,
from what to what, and why. So each change is a version in a chain of hashes; a session takes its
changes as mandates, numbered so that an older one never undoes a newer one. Nothing is ever
removed: a rollback is a version too. Whoever reads the chain gets the last valid state or an error,
and never the defaults in its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import msgspec

from onefold.domain.errors import ConfigError
from onefold.domain.records import Mandate
from onefold.fold.codec import check_mandate

CONF_MIN, SUPPRESS = "conf_min", "suppress"
Stage = Literal["shadow", "paper", "live"]
STAGES: tuple[Stage, ...] = ("shadow", "paper", "live")
NS_PER_S = 1_000_000_000
HASH_BYTES = 16
LINE_MAX = 8_000_000
"""Bytes of a version: some ten thousand changes. A longer line is none of ours."""
Holder = Literal["review", "stage"]
"""Why something is suppressed: a reviewer said so, or it has not been promoted so far."""


class Key(NamedTuple):
    """What a value is of: a kind of mandate and its scope; empty means all."""

    mandate: str
    strategy: str = ""
    instrument: str = ""

    def __str__(self) -> str:
        """Return it as `conf_min trend/ES`."""
        return f"{self.mandate} {scope_text(self.strategy, self.instrument)}"


class Entry(NamedTuple):
    """When a version is made, by whom, why, and the hash of the evidence that it rests on."""

    ts: int
    by: str
    cause: str
    evidence: str = ""


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One value before and after; `number` is the mandate's version, 0 while only proposed.

    `cause` says why, where the version's own does not say it of each. `shut` is of a suppression
    that only those sessions take in which the strategy has not been let go by a promotion.
    """

    mandate: str
    value: float
    before: float | None
    number: int = 0
    strategy: str = ""
    instrument: str = ""
    cause: str = ""
    shut: bool = False

    @property
    def key(self) -> Key:
        """Return what it is a value of."""
        return Key(self.mandate, self.strategy, self.instrument)

    @property
    def loosens(self) -> bool:
        """Return whether more may be traded after it than before."""
        if self.before is None:
            return False
        if self.mandate == CONF_MIN:
            return self.value < self.before
        return self.value < self.before if self.mandate == SUPPRESS else self.value > self.before


class Hold(msgspec.Struct, frozen=True, omit_defaults=True):
    """A scope that somebody suppresses, watches, or lets go; it ends at `expires_ts`, if not 0."""

    action: Literal["suppress", "watch", "release"]
    holder: Holder
    strategy: str = ""
    instrument: str = ""
    expires_ts: int = 0

    @property
    def scope(self) -> tuple[str, str]:
        """Return strategy and instrument."""
        return self.strategy, self.instrument

    def covers(self, other: Hold) -> bool:
        """Return whether another hold's scope lies within this one's."""
        return self.strategy in ("", other.strategy) and self.instrument in ("", other.instrument)

    def meets(self, other: Hold) -> bool:
        """Return whether both scopes have something in common."""
        return (
            (not self.strategy or not other.strategy or self.strategy == other.strategy)
            and (not self.instrument or not other.instrument or self.instrument == other.instrument)
        )  # fmt: skip


class Look(msgspec.Struct, frozen=True):
    """A check of a strategy's evidence for a stage, the `number`-th of this step."""

    strategy: str
    stage: str
    number: int


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """One link of the chain; `proposed` ones wait for approval and change nothing.

    `by` is who made it, `cause` why. `approves` names the proposal that it puts into force,
    `returns_to` the version that a rollback goes back to, `evidence` the hash of what it rests on.
    One with a `look` changes nothing: it keeps count of them where no deleted file lowers it.
    """

    version: int
    timestamp: str
    ts: int
    by: str
    cause: str
    previous: str
    changes: list[Change] = []
    status: Literal["applied", "proposed"] = "applied"
    hold: Hold | None = None
    stage: str = ""
    evidence: str = ""
    approves: int = 0
    returns_to: int = 0
    look: Look | None = None
    hash: str = ""


class Runs(NamedTuple):
    """What a session runs: its mode, and the hashes of its strategies by name."""

    mode: str
    strategies: Mapping[str, str]

    def admits(self, version: Version) -> bool:
        """Return whether a promotion lets a strategy trade in this session.

        It must lead as far as the session's mode; with real money it must be of the very strategy
        that runs. Without, a changed one trades, since that is how it gets evidence of its own.
        """
        hold, stage = version.hold, version.stage
        if hold is None or stage not in STAGES or self.mode not in STAGES:
            return False
        if STAGES.index(stage) < STAGES.index(self.mode):
            return False
        return self.mode != "live" or self.is_of(version)

    def is_of(self, version: Version) -> bool:
        """Return whether a promotion is of the strategy as it runs here."""
        promoted = version.evidence.partition("/")[0]
        name = "" if version.hold is None else version.hold.strategy
        return bool(promoted) and promoted == self.strategies.get(name)


@dataclass(frozen=True)
class Parameters:
    """All versions of an account, oldest first; empty when governance has changed nothing yet."""

    versions: tuple[Version, ...] = ()

    @property
    def head(self) -> str:
        """Return the hash of the last version, empty where there is none."""
        return self.versions[-1].hash if self.versions else ""

    @cached_property
    def applied(self) -> tuple[Version, ...]:
        """Return the versions that are in force or were."""
        return tuple(v for v in self.versions if v.status == "applied")

    @cached_property
    def number(self) -> int:
        """Return the number of the last mandate."""
        return max((c.number for v in self.applied for c in v.changes), default=0)

    @cached_property
    def values(self) -> dict[Key, float]:
        """Return what is in force, by what it is a value of."""
        return {c.key: c.value for v in self.applied for c in v.changes if not c.shut}

    @cached_property
    def holds(self) -> tuple[Hold, ...]:
        """Return what is suppressed or watched now; each scope is held and let go by itself."""
        found: dict[tuple[Holder, str, str], Hold] = {}
        for one in (v.hold for v in self.applied if v.hold is not None):
            found.pop((one.holder, *one.scope), None)
            if one.action != "release":
                found[one.holder, *one.scope] = one
        return tuple(found.values())

    @property
    def stages(self) -> dict[str, Version]:
        """Return for each strategy the version that has promoted or demoted it last."""
        return {v.hold.strategy: v for v in self.applied if v.stage and v.hold is not None}

    def looks(self, strategy: str, stage: str) -> int:
        """Return how often the evidence of a step has been checked."""
        looks = (v.look for v in self.applied if v.look is not None)
        mine = (k.number for k in looks if (k.strategy, k.stage) == (strategy, stage))
        return max(mine, default=0)

    @property
    def waiting(self) -> tuple[Version, ...]:
        """Return the proposals that nobody has approved and no later change has overtaken."""
        done = {v.approves for v in self.applied}
        return tuple(
            v
            for v in self.versions
            if v.status == "proposed" and v.version not in done and not self._stale(v)
        )

    def _stale(self, one: Version) -> bool:
        """Return whether a value that a proposal would change has been changed since."""
        later = {c.key for v in self.applied if v.version > one.version for c in v.changes}
        return any(c.key in later for c in one.changes)

    def hash_of(self, number: int) -> str:
        """Return the hash of the version that made a mandate, empty for none."""
        made = (v.hash for v in self.applied for c in v.changes if c.number == number)
        return next(made, "")

    def history(self, key: Key) -> list[tuple[int, float | None, float]]:
        """Return the changes of a value: when, from what, to what."""
        return [(v.ts, c.before, c.value) for v in self.applied for c in v.changes if c.key == key]

    def shut(self, runs: Runs) -> frozenset[str]:
        """Return the strategies that were taken back, and that no promotion lets trade here."""
        shut: frozenset[str] = frozenset()
        for version in self.applied:
            shut = _shut_after(shut, version, runs)
        return shut

    def _told(self, runs: Runs | None) -> Iterator[tuple[Version, Change]]:
        """Yield what a session takes: a promotion elsewhere must not let it trade, nor a review."""
        shut: frozenset[str] = frozenset()
        for version in self.applied:
            if runs is not None:
                shut = _shut_after(shut, version, runs)
            for change in version.changes:
                taken = not change.shut if runs is None else _takes(runs, change, version, shut)
                if taken:
                    yield version, change

    def mandates(
        self, after: int = 0, ts: int | None = None, runs: Runs | None = None
    ) -> list[Mandate]:
        """Return what a session that knows the mandates up to `after` has to be told.

        They are of the time `ts`, or of the versions' own. With `runs`, promotions that do not
        concern the session let nothing trade in it; without, every promotion does.
        """
        return [
            Mandate(
                ts=version.ts if ts is None else ts,
                version=change.number,
                mandate=change.mandate,
                value=change.value,
                strategy=change.strategy,
                instrument=change.instrument,
                parameters=version.hash,
                cause=f"version {version.version} by {version.by}: {change.cause or version.cause}",
            )
            for version, change in self._told(runs)
            if change.number > after
        ]

    # -- what comes next --------------------------------------------------------------------------

    def changed(
        self,
        wanted: Iterable[tuple[Key, float]],
        configured: Callable[[Key], float | None],
        entry: Entry,
        *,
        proposed: bool = False,
        causes: Mapping[Key, str] = MappingProxyType({}),
    ) -> Version:
        """Return the version that gives values what is wanted; what is so already is left out.

        `configured` says what the configuration gives, `causes` why each is changed. Raises
        `ConfigError` when nothing is left.
        """
        changes = []
        for key, value in wanted:
            if key.mandate == CONF_MIN and not (key.strategy and key.instrument):
                raise ConfigError(f"{key}: it belongs to one strategy in one instrument")
            before = self.values.get(key, configured(key))
            if before != value:
                changes.append(Change(key.mandate, value, before, 0, *key[1:], causes.get(key, "")))
        if not changes:
            raise ConfigError("nothing would change: these values are in force already")
        status: Literal["applied", "proposed"] = "proposed" if proposed else "applied"
        return self._link(entry, changes=changes, status=status)

    def approved(self, number: int, entry: Entry, *, second_person: bool = False) -> Version:
        """Return the version that puts a proposal into force. Raises `ConfigError`.

        With `second_person` nobody approves what they have proposed.
        """
        found = next((v for v in self.versions if v.version == number), None)
        if found is None or found.status != "proposed":
            waits = ", ".join(str(v.version) for v in self.waiting) or "none"
            raise ConfigError(f"version {number} is no proposal; those that wait: {waits}")
        if second_person and found.by == entry.by:
            raise ConfigError(
                f"proposal {number} is by {found.by}: this account wants the approval of another "
                "person (second_person)"
            )
        if any(v.approves == number for v in self.applied):
            raise ConfigError(f"proposal {number} has been approved already")
        if self._stale(found):
            raise ConfigError(
                f"proposal {number} is out of date: what it would change has been changed since"
            )
        entry = entry._replace(evidence=found.evidence)
        return self._link(entry, changes=found.changes, approves=number)

    def looked(self, look: Look, entry: Entry) -> Version:
        """Return the version that keeps count of a check."""
        return self._link(entry, changes=[], look=look)

    def rolled_back(
        self, number: int, configured: Callable[[Key], float | None], entry: Entry
    ) -> Version:
        """Return the version in which thresholds are what they were after version `number`.

        0 is the configuration alone, of which `configured` tells what it gives now. Suppressions
        and stages stay: a review or a transition lifts those. Raises `ConfigError` where a limit
        did not exist then.
        """
        if not 0 <= number <= len(self.versions):
            raise ConfigError(f"there is no version {number}; the last is {len(self.versions)}")
        then = Parameters(self.versions[:number]).values
        changes = []
        for key, now in self.values.items():
            if key.mandate == SUPPRESS:
                continue
            value = then[key] if key in then else configured(key)
            if value == now:
                continue
            if value is None:
                raise ConfigError(
                    f"{key} was not limited then, and a mandate cannot lift a limit: "
                    "change the configuration"
                )
            changes.append(Change(key.mandate, value, now, 0, key.strategy, key.instrument))
        if not changes:
            raise ConfigError(f"no threshold differs from version {number}")
        return self._link(entry, changes=changes, returns_to=number)

    def held(self, hold: Hold, entry: Entry, *, stage: str = "") -> Version:
        """Return the version in which a scope is suppressed, watched or let go.

        What several have suppressed is let go when the last of them lets it go, and a part of it
        that is suppressed by itself stays so. Raises `ConfigError` for a release of what nobody
        holds, or is held as part of more, and for a stage that does not lead back.
        """
        mine = [h for h in self.holds if (h.holder, h.scope) == (hold.holder, hold.scope)]
        if hold.action == "release" and hold.holder == "review" and not mine:
            raise ConfigError(self._not_held(hold))
        if hold.action == "release" and stage:
            self._check_stage(hold.strategy, stage)
        changes: list[Change] = []
        if hold.action == "suppress":
            changes = [self._suppressed(hold, 1.0)]
        elif stage or any(h.action == "suppress" for h in mine):
            # It is a mandate in any case, so that the journal knows of it.
            remain = [h for h in self.holds if h not in mine and h.action == "suppress"]
            if any(h.covers(hold) for h in remain):
                changes = [self._suppressed(hold, 1.0)]
            else:
                changes = [self._suppressed(hold, 0.0)]
                changes += [self._suppressed(h, 1.0) for h in remain if h.meets(hold)]
                changes += self._shut_again(hold, remain)
        return self._link(entry, changes=changes, hold=hold, stage=stage)

    def _shut_again(self, hold: Hold, remain: Sequence[Hold]) -> list[Change]:
        """Return what keeps strategies shut where a release of more than one would let them go.

        Those that are held for every session are not among them.
        """
        if hold.strategy:
            return []
        held = {h.strategy for h in remain if h.holder == "stage"}
        ever = {h.strategy for h in (v.hold for v in self.applied) if h and _takes_back(h)}
        return [
            msgspec.structs.replace(
                self._suppressed(Hold("suppress", "stage", name, hold.instrument), 1.0), shut=True
            )
            for name in sorted(ever - held)
        ]

    def _not_held(self, hold: Hold) -> str:
        scope = scope_text(*hold.scope)
        held = [h for h in self.holds if h.holder == hold.holder]
        wider = [scope_text(*h.scope) for h in held if h.covers(hold)]
        if wider:
            return f"{scope} is held as part of {wider[0]}: release that"
        parts = ", ".join(scope_text(*h.scope) for h in held if hold.covers(h))
        return f"no review holds {scope}" + (f" as a whole, but {parts}" if parts else "")

    def _check_stage(self, strategy: str, stage: str) -> None:
        """Refuse a promotion that does not lead back to where a strategy was taken from."""
        last = self.stages.get(strategy)
        taken_back = last is not None and last.hold is not None and last.hold.action == "suppress"
        if last is not None and taken_back and STAGES.index(stage) <= STAGES.index(last.stage):
            beyond = STAGES[STAGES.index(last.stage) + 1]
            raise ConfigError(
                f"{strategy} was taken back to {last.stage}: only a check for {beyond} lets it "
                "trade again"
            )

    def _suppressed(self, hold: Hold, value: float) -> Change:
        key = Key(SUPPRESS, hold.strategy, hold.instrument)
        return Change(SUPPRESS, value, self.values.get(key, 0.0), 0, *key[1:])

    def _link(self, entry: Entry, *, changes: Sequence[Change], **parts: Any) -> Version:
        """Return the next version, its changes numbered if they are in force."""
        if self.versions and entry.ts < self.versions[-1].ts:
            raise ConfigError(
                f"the clock says {time_text(entry.ts)}, and version {len(self.versions)} was made "
                f"at {self.versions[-1].timestamp}: set it right first"
            )
        if parts.get("status") != "proposed":
            changes = [
                msgspec.structs.replace(c, number=self.number + n) for n, c in enumerate(changes, 1)
            ]
        return sealed(
            Version(
                version=len(self.versions) + 1,
                timestamp=time_text(entry.ts),
                ts=entry.ts,
                by=entry.by,
                cause=entry.cause,
                evidence=entry.evidence,
                previous=self.head,
                changes=list(changes),
                **parts,
            )
        )

    def extended(self, version: Version) -> Parameters:
        """Return the chain with one more version."""
        return Parameters((*self.versions, version))


def _takes_back(hold: Hold) -> bool:
    return hold.holder == "stage" and hold.action == "suppress" and bool(hold.strategy)


def _shut_after(shut: frozenset[str], version: Version, runs: Runs) -> frozenset[str]:
    """Return which strategies are shut in a session after one more version."""
    hold = version.hold
    if hold is None or hold.holder != "stage":
        return shut
    if _takes_back(hold):
        return shut | {hold.strategy}
    return shut - {hold.strategy} if runs.admits(version) else shut


def _takes(runs: Runs, change: Change, version: Version, shut: frozenset[str]) -> bool:
    """Return whether a session takes a change, with what is shut in it after the version."""
    if change.mandate != SUPPRESS:
        return True
    if change.value:
        return not change.shut or change.strategy in shut
    hold = version.hold
    if hold is not None and hold.holder == "stage" and not runs.admits(version):
        return False
    if change.strategy:
        return change.strategy not in shut
    # It lets go of all strategies: only with what shuts again those that stay so.
    again = {
        c.strategy for c in version.changes if c.value and c.instrument in ("", change.instrument)
    }
    return shut <= again


def stricter(mandate: str, one: float | None, other: float | None) -> float | None:
    """Return that of two values under which less may be traded; None is no limit."""
    values = [value for value in (one, other) if value is not None]
    return (max if mandate == CONF_MIN else min)(values, default=None)


def time_text(ts: int) -> str:
    """Return a time as people write it, to the second."""
    return datetime.fromtimestamp(ts // NS_PER_S, UTC).isoformat().replace("+00:00", "Z")


def scope_text(strategy: str, instrument: str) -> str:
    """Return a scope as `trend/ES`, `trend`, `ES in all strategies`, or `everything`."""
    if strategy:
        return f"{strategy}/{instrument}" if instrument else strategy
    return f"{instrument} in all strategies" if instrument else "everything"


def proposed(version: Version) -> Version:
    """Return a version as a proposal, which changes nothing before somebody approves it."""
    changes = [msgspec.structs.replace(c, number=0) for c in version.changes]
    return sealed(msgspec.structs.replace(version, changes=changes, status="proposed"))


def sealed(version: Version) -> Version:
    """Return a version with its hash, over everything in it and the version before."""
    bare = msgspec.structs.replace(version, hash="")
    digest = hashlib.blake2b(msgspec.json.encode(bare), digest_size=HASH_BYTES).hexdigest()
    return msgspec.structs.replace(bare, hash=digest)


def read_parameters(raw: bytes, where: str) -> Parameters:
    """Return the chain in the lines of a file; what a crash left unfinished at its end is ignored.

    Raises `ConfigError` that begins with `where` for a line that is not what was written.
    """
    versions: list[Version] = []
    previous, number = "", 0
    for at, line in enumerate(raw.split(b"\n")[:-1], 1):  # what has no newline was not finished
        place = f"{where}, line {at}"
        if len(line) > LINE_MAX:
            raise ConfigError(f"{place}: it has {len(line):,} bytes, which no version has")
        try:
            one = msgspec.json.decode(line, type=Version)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"{place}: this is no version of parameters: {error}") from None
        if sealed(one).hash != one.hash:
            raise ConfigError(
                f"{place}: version {one.version} has been altered by hand; take the file from a "
                "backup, and change parameters by command"
            )
        if (one.version, one.previous) != (at, previous):
            raise ConfigError(f"{place}: a version before {one.version} is missing or exchanged")
        if one.status == "applied":
            expected = list(range(number + 1, number + 1 + len(one.changes)))
            if [c.number for c in one.changes] != expected:
                raise ConfigError(f"{place}: its mandates are not numbered from {number + 1}")
            number += len(one.changes)
        versions.append(one)
        previous = one.hash
    found = Parameters(tuple(versions))
    for mandate in found.mandates():
        try:
            check_mandate(mandate)
        except ConfigError as error:
            raise ConfigError(f"{where}: mandate {mandate.version}: {error}") from None
    return found
