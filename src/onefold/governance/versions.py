"""One version of what governance has changed, and what a session makes of it.

A version is a link of a chain (`governance.parameters`). What it changes of thresholds and limits
holds for every session of the account; a stage that a strategy has come to, or was taken back to,
holds for those of some modes only, and with real money for the very strategy that was judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import msgspec

from onefold.domain.rules import Limits

CONF_MIN, SUPPRESS = "conf_min", "suppress"
Stage = Literal["shadow", "paper", "live"]
STAGES: tuple[Stage, ...] = ("shadow", "paper", "live")
NS_PER_S = 1_000_000_000
HASH_BYTES = 16
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
    that only those sessions take in which the strategy was taken back and not let go since.
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

    def is_beyond(self, stage: str) -> bool:
        """Return whether the session's mode comes after a stage."""
        known = stage in STAGES and self.mode in STAGES
        return not known or STAGES.index(self.mode) > STAGES.index(stage)

    def is_of(self, version: Version) -> bool:
        """Return whether a promotion is of the strategy as it runs here."""
        promoted = version.evidence.partition("/")[0]
        name = "" if version.hold is None else version.hold.strategy
        return bool(promoted) and promoted == self.strategies.get(name)


def takes_back(hold: Hold) -> bool:
    """Return whether a hold takes a strategy back to an earlier stage."""
    return hold.holder == "stage" and hold.action == "suppress" and bool(hold.strategy)


def is_ahead(version: Version, stage: str, strategy_hash: str) -> bool:
    """Return whether a promotion has led a strategy, as it is, further than a stage."""
    promoted = version.hold is not None and version.hold.action == "release"
    further = STAGES.index(stage) < STAGES.index(version.stage)
    return promoted and further and version.evidence.partition("/")[0] == strategy_hash


def shut_after(shut: frozenset[str], version: Version, runs: Runs | None) -> frozenset[str]:
    """Return which strategies are shut in a session after one more version.

    What is taken back to a stage goes on in sessions up to it: how else would it prove itself.
    """
    hold = version.hold
    if hold is None or hold.holder != "stage":
        return shut
    reaches = runs is None or runs.is_beyond(version.stage)
    if takes_back(hold):
        return shut | {hold.strategy} if reaches else shut
    return shut - {hold.strategy} if runs is None or runs.admits(version) else shut


def takes(runs: Runs | None, change: Change, version: Version, shut: frozenset[str]) -> bool:
    """Return whether a session takes a change, with what is shut in it after the version."""
    if change.mandate != SUPPRESS:
        return True
    if change.value:
        # A demotion of before there were sessions that it does not reach says so for all.
        shuts = change.shut or (version.hold is not None and takes_back(version.hold))
        return not shuts or change.strategy in shut
    hold = version.hold
    if (
        hold is not None
        and hold.holder == "stage"
        and runs is not None
        and not runs.admits(version)
    ):
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


def looser_limits(present: Limits, recorded: Mapping[str, Any]) -> list[str]:
    """Return the limits under which more may be traded now than under those of before."""
    found = []
    for name, now in present.model_dump(mode="json").items():
        then = recorded.get(name)
        is_number = not isinstance(now if now is not None else then, (bool, str))
        keeps = stricter(name, now, then) == now if is_number else now == then
        if not keeps:
            found.append(name)
    return found


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
