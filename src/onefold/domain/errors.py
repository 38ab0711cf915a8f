"""One tree of errors, so that a caller can catch as widely or as narrowly as it likes.

Every message is written for the person who reads it: what is wrong, where, and what to do.
The command line prints it in one line and exits with the class's `exit_code`::

    OnefoldError                     1
    ├── BackupError                  1   a backup that cannot be taken, or is not what it was
    ├── ConfigError                  2   a setting, parameter or file that the user wrote
    │   └── MissingExtra             2   an optional dependency that is not installed
    ├── DataError                    3   market data that cannot be read or trusted
    ├── SignalError                  4   features, strategies, models
    │   ├── ModelError               4   a model that is missing, expired, or not what it was
    │   ├── NotCausal                4   a feature that sees the future
    │   └── NotElementwise           4   a strategy whose rows depend on each other
    ├── FoldError                    5
    │   └── InvariantBroken          5   the books do not add up: stop at once
    ├── JournalError                 6
    │   ├── JournalDamaged           6   names the file, the line and the offset
    │   ├── JournalHalted            6   a write or an fsync failed: no more records
    │   ├── JournalLocked            6   another process writes this journal
    │   └── NotJsonSafe              6   a value that JSON cannot carry (NaN, infinity)
    ├── ReplayMismatch               7   a recomputed record differs from the recorded one
    ├── InstanceRunning              9   another process trades this account
    └── VenueError                   8   a venue or a source of data, over the network
        ├── VenueRefused             8   it said no: nothing has happened
        └── VenueUncertain           8   it did not answer, or not clearly: nobody knows
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

KNOWN_MAX = 16
"""How many known names an error lists when none is near."""


class OnefoldError(Exception):
    """Base of all errors that Onefold raises on purpose."""

    exit_code = 1


class BackupError(OnefoldError):
    """A backup cannot be taken or read, or is not what it was."""


class ConfigError(OnefoldError):
    """A setting, a parameter or a file that the user wrote is wrong."""

    exit_code = 2


class MissingExtra(ConfigError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra: pip install 'onefold[{extra}]'")
        self.extra = extra


class DataError(OnefoldError):
    """Market data cannot be read or cannot be trusted."""

    exit_code = 3


class SignalError(OnefoldError):
    """A feature, a strategy or a model cannot give a signal."""

    exit_code = 4


class ModelError(SignalError):
    """A model cannot be used: it is missing, expired, damaged, or not what its sidecar says."""


class NotCausal(SignalError):
    """A feature depends on rows after its own."""


class NotElementwise(SignalError):
    """A strategy's signal for one row depends on other rows."""


class FoldError(OnefoldError):
    """The decision function was given something that it cannot fold."""

    exit_code = 5


class InvariantBroken(FoldError):
    """The books do not add up; nothing may trade until a person has looked."""


class JournalError(OnefoldError):
    """The journal cannot be written or read."""

    exit_code = 6


class JournalDamaged(JournalError):
    """A sealed part of the journal is not what was written.

    `path`, `line` (from 1) and `offset` (bytes from the start of the file) name the place.
    """

    def __init__(self, path: Path, line: int, offset: int, reason: str) -> None:
        super().__init__(f"{path}, line {line}, byte {offset}: {reason}")
        self.path = path
        self.line = line
        self.offset = offset
        self.reason = reason


class JournalHalted(JournalError):
    """A write or an fsync failed; this process will not write to the journal again."""


class JournalLocked(JournalError):
    """Another process holds the journal open for writing."""


class NotJsonSafe(JournalError):
    """A value cannot be written as JSON without loss."""


class ReplayMismatch(OnefoldError):
    """A recomputed record differs from the recorded one; both are given as JSON."""

    exit_code = 7

    def __init__(self, seq: int, place: str, recorded: str, recomputed: str) -> None:
        super().__init__(
            f"record {seq} ({place}) differs: recorded {recorded}, recomputed {recomputed}"
        )
        self.seq = seq
        self.place = place
        self.recorded = recorded
        self.recomputed = recomputed


class InstanceRunning(OnefoldError):
    """Another process trades this account; there is one at a time."""

    exit_code = 9


class VenueError(OnefoldError):
    """A venue or a source of data did not do what it was asked."""

    exit_code = 8


class VenueRefused(VenueError):
    """The venue said no, for certain: nothing has happened.

    `retry_after_s` is how long it asks to be left alone, where it was asked too often.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class VenueUncertain(VenueError):
    """No answer, or one that does not say what happened: it may have, and may still."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known name, or some of the known names."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    more = f" and {len(names) - KNOWN_MAX} more" if len(names) > KNOWN_MAX else ""
    return f"; known: {', '.join(names[:KNOWN_MAX])}{more}" if names else ""
