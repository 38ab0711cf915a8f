"""Versions of what governance has changed: a chain that can be read, verified and rolled back.

A threshold that is changed by evidence must be as accountable as a trade: who changed it, when,
from what to what, and why. So each change is a version in a chain of hashes; a session takes its
changes as mandates, numbered so that an older one never undoes a newer one. Nothing is ever
removed: a rollback is a version too. Whoever reads the chain gets the last valid state or an error,
and never the defaults in its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from onefold.domain.errors import ConfigError
from onefold.domain.records import Mandate
from onefold.fold.codec import check_mandate
from onefold.governance.versions import (
    CONF_MIN,
    STAGES,
    SUPPRESS,
    Change,
    Entry,
    Hold,
    Holder,
    Key,
    Look,
    Runs,
    Version,
    is_ahead,
    scope_text,
    sealed,
    shut_after,
    takes,
    takes_back,
    time_text,
)

LINE_MAX = 8_000_000
"""Bytes of a version: some ten thousand changes. A longer line is none of ours."""


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

    def shut(self, runs: Runs | None) -> frozenset[str]:
        """Return the strategies that were taken back, and that no promotion lets trade here."""
        shut: frozenset[str] = frozenset()
        for version in self.applied:
            shut = shut_after(shut, version, runs)
        return shut

    def _told(self, runs: Runs | None) -> Iterator[tuple[Version, Change]]:
        """Yield what a session takes: a promotion elsewhere must not let it trade, nor a review."""
        shut: frozenset[str] = frozenset()
        for version in self.applied:
            shut = shut_after(shut, version, runs)
            for change in version.changes:
                if takes(runs, change, version, shut):
                    yield version, change

    def mandates(
        self, after: int = 0, ts: int | None = None, runs: Runs | None = None
    ) -> list[Mandate]:
        """Return what a session that knows the mandates up to `after` has to be told.

        They are of the time `ts`, or of the versions' own. With `runs`, promotions that do not
        concern the session let nothing trade in it; without, every promotion and demotion does.
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
        holds, or is held as part of more, for a suppression that would end earlier than the one
        that it replaces, and for a stage that does not lead back.
        """
        mine = [h for h in self.holds if (h.holder, h.scope) == (hold.holder, hold.scope)]
        if hold.action == "release" and hold.holder == "review" and not mine:
            raise ConfigError(self._not_held(hold))
        if hold.action == "release" and stage:
            self._check_stage(hold.strategy, stage, entry.evidence)
        changes: list[Change] = []
        if hold.action == "suppress":
            self._check_demotion(hold.strategy, stage)
            _check_length(hold, mine)
            changes = [self._suppressed(hold, 1.0)]
        elif stage or any(h.action == "suppress" for h in mine):
            # It is a mandate in any case, so that the journal knows of it.
            remain = [
                h
                for h in self.holds
                if h not in mine and (h.holder, h.action) == ("review", "suppress")
            ]
            if any(h.covers(hold) for h in remain):
                changes = [msgspec.structs.replace(self._suppressed(hold, 1.0), shut=False)]
            else:
                changes = [self._suppressed(hold, 0.0)]
                changes += [self._suppressed(h, 1.0) for h in remain if h.meets(hold)]
                changes += self._shut_again(hold)
        return self._link(entry, changes=changes, hold=hold, stage=stage)

    def _shut_again(self, hold: Hold) -> list[Change]:
        """Return what keeps strategies shut where a release of more than one would let them go.

        A session takes it of those that are shut in it; the release of one it leaves out itself.
        """
        if hold.strategy:
            return []
        ever = {h.strategy for h in (v.hold for v in self.applied) if h and takes_back(h)}
        return [
            self._suppressed(Hold("suppress", "stage", name, hold.instrument), 1.0)
            for name in sorted(ever)
        ]

    def _not_held(self, hold: Hold) -> str:
        scope = scope_text(*hold.scope)
        held = [h for h in self.holds if h.holder == hold.holder]
        wider = [scope_text(*h.scope) for h in held if h.covers(hold)]
        if wider:
            return f"{scope} is held as part of {wider[0]}: release that"
        parts = ", ".join(scope_text(*h.scope) for h in held if hold.covers(h))
        return f"no review holds {scope}" + (f" as a whole, but {parts}" if parts else "")

    def _check_stage(self, strategy: str, stage: str, evidence: str) -> None:
        """Refuse a promotion that does not lead back to where a strategy was taken from.

        And one that would take away what it has: to look again at paper is no way out of live.
        """
        last = self.stages.get(strategy)
        if last is None or last.hold is None:
            return
        if last.hold.action == "suppress" and STAGES.index(stage) <= STAGES.index(last.stage):
            beyond = STAGES[STAGES.index(last.stage) + 1]
            raise ConfigError(
                f"{strategy} was taken back to {last.stage}: only a check for {beyond} lets it "
                "trade again"
            )
        if is_ahead(last, stage, evidence.partition("/")[0]):
            raise ConfigError(f"{strategy} is in {last.stage} already")

    def _check_demotion(self, strategy: str, stage: str) -> None:
        """Refuse to take a strategy back to a stage that it has not come to."""
        last = self.stages.get(strategy)
        if last is not None and stage and STAGES.index(stage) > STAGES.index(last.stage):
            raise ConfigError(f"{strategy} is in {last.stage}: it cannot be taken back to {stage}")

    def _suppressed(self, hold: Hold, value: float) -> Change:
        key = Key(SUPPRESS, hold.strategy, hold.instrument)
        shut = hold.holder == "stage" and value > 0.0
        return Change(SUPPRESS, value, self.values.get(key, 0.0), 0, *key[1:], shut=shut)

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


def _check_length(hold: Hold, before: Sequence[Hold]) -> None:
    """Refuse to shorten a suppression: that is to let go, which not everybody may."""
    for one in before:
        ends = one.expires_ts or math.inf
        if one.action == "suppress" and (hold.expires_ts or math.inf) < ends:
            until = f"until {time_text(one.expires_ts)}" if one.expires_ts else "without an end"
            raise ConfigError(
                f"{scope_text(*one.scope)} is suppressed {until}: release it before you suppress "
                "it for less long"
            )


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
