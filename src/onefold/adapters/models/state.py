"""What people have decided about a model's versions, and which bytes they decided it of.

A file that was damaged or written by hand decides nothing: it is refused as a whole, since a date
that is read wrongly would let a model trade for longer than somebody wanted.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from onefold.domain.errors import ModelError
from onefold.signals.model import is_day

VERSION = re.compile("[1-9][0-9]{0,8}")
"""How the number of a version is written."""


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision about a model: what, of which version, by whom, and why."""

    ts: int
    change: str
    version: int
    reason: str = ""
    operator: str = ""


class Bound(msgspec.Struct, frozen=True, omit_defaults=True):
    """The bytes that a version is: SHA-256 of both files, and the hashes of its members."""

    artifact: str
    sidecar: str
    members: dict[str, str] = {}


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was decided about a model's versions; `before` are those that were active, in order.

    `bound` has the bytes of every version that was added, or activated when there were none yet.
    """

    active: int = 0
    before: list[int] = []
    expired: dict[str, str] = {}
    bound: dict[str, Bound] = {}
    changes: list[Change] = []

    @property
    def last(self) -> int:
        """Return the largest number that a version has ever had, as far as anybody knows."""
        named = map(int, (*self.expired, *self.bound))
        told = (change.version for change in self.changes)
        return max((self.active, *self.before, *named, *told), default=0)


def read_state(path: Path) -> State:
    """Return what a file says, nothing where there is none. Raises `ModelError`."""
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, RecursionError, msgspec.DecodeError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    for version in (*state.expired, *state.bound):
        if not VERSION.fullmatch(version):
            raise ModelError(f"{path}: {version!r} is no version")
    for day in state.expired.values():
        if not is_day(day):
            raise ModelError(f"{path}: expired: {day!r} is no date, YYYY-MM-DD")
    if min((state.active, *state.before)) < 0:
        raise ModelError(f"{path}: a version is less than 1")
    return state
