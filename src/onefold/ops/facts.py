"""What sessions leave in files, read in one way by health, metrics and the validator.

Nothing here asks a session: one that hangs must look as it is. So an account is what its heartbeat,
its control folder and the end of its journal say, and how old they are.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from onefold.domain.calendars import seconds_to_close_at
from onefold.domain.errors import ConfigError
from onefold.engine.control import FOLDER, Control
from onefold.engine.heartbeat import NAME
from onefold.engine.instance import runs

Standing = Literal["running", "stuck", "stopped", "failed", "not running", "never ran"]

END_BYTES = 1 << 16
"""How much of a journal's end is looked at for its last record."""

_SEAL = re.compile(rb'\n\{"seal":(\d{1,18}),"count":')
_AFTER = re.compile(rb'\{"segment":\d{1,18},"format":\d{1,9},"after":(\d{1,18}),')


class Place(NamedTuple):
    """One account as it is configured: where its files are, and what should run in it.

    `traded` are the symbols of its strategies, `calendars` those of the symbols that have a live
    feed, `intervals_ns` the lengths of their bars. `broker` is where its orders go: a venue without
    secrets, or `paper`.
    """

    name: str
    folder: Path
    governance: Path
    is_enabled: bool
    is_shadow: bool
    strategies: tuple[str, ...]
    traded: frozenset[str]
    calendars: Mapping[str, str]
    intervals_ns: Mapping[str, int]
    currency: str
    broker: str


class Sighting(NamedTuple):
    """What the files of an account say at one moment; ages are in seconds.

    `beat` is the last heartbeat, empty where there is none; `unreadable` says why one that is there
    cannot be read. `age_s` is how old the heartbeat's file is, negative for one of the future.
    `written_s` is the age of the journal's last write.
    """

    place: Place
    standing: Standing
    beat: Mapping[str, Any]
    unreadable: str
    age_s: float | None
    switches: Mapping[str, str]
    journal: Path | None
    written_s: float | None

    @property
    def runs(self) -> bool:
        """Return whether its session runs, stuck or not."""
        return self.standing in ("running", "stuck")

    @property
    def mode(self) -> str:
        """Return the mode of its last session, empty before the first."""
        return str(self.beat.get("mode", ""))

    @property
    def is_live_data(self) -> bool:
        """Return whether its bars come in real time, so that their ages mean something."""
        return self.beat.get("data_mode") == "live"

    @property
    def disabled(self) -> Mapping[str, str]:
        """Return the strategies that do without their model, with the reason."""
        return table(self.beat, "disabled")

    @property
    def active(self) -> tuple[str, ...]:
        """Return the strategies that run now."""
        if not self.runs:
            return ()
        return tuple(name for name in self.place.strategies if name not in self.disabled)

    def bar_age_s(self, symbol: str, now_ns: int) -> float | None:
        """Return how old the last bar of a symbol is, None where none has come."""
        last = table(self.beat, "last_bars").get(symbol)
        return (now_ns - last) / 1e9 if isinstance(last, int) else None

    def rests(self, symbol: str, now_ns: int) -> bool:
        """Return whether the market of a symbol is closed."""
        calendar = self.place.calendars.get(symbol)
        try:
            return calendar is not None and seconds_to_close_at(calendar, now_ns) == 0
        except ConfigError:  # a year that no calendar covers
            return False


def sight(place: Place, now_ns: int, *, stuck_s: float) -> Sighting:
    """Return what an account's files say; a heartbeat older than `stuck_s` stands for a hang."""
    beat, unreadable = _beat(place.folder / NAME)
    age_s = _age_s(place.folder / NAME, now_ns)
    journal = journal_of(place.folder, beat)
    return Sighting(
        place,
        _standing(place.folder, beat, unreadable, age_s, stuck_s),
        beat,
        unreadable,
        age_s,
        _switches(place.folder),
        journal,
        None if journal is None else _written_s(journal, now_ns),
    )


def table(beat: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a field of a heartbeat that is a mapping, an empty one where it is not there."""
    found = beat.get(name)
    return found if isinstance(found, dict) else {}


def number(value: object) -> float | None:
    """Return a finite number, None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _beat(path: Path) -> tuple[dict[str, Any], str]:
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}, ""
    except OSError as error:
        return {}, f"it cannot be read: {error.strerror}"
    except msgspec.DecodeError as error:
        return {}, f"it is no heartbeat: {error}"
    return (found, "") if isinstance(found, dict) else ({}, "it is no heartbeat: no object")


def _standing(
    folder: Path, beat: Mapping[str, Any], unreadable: str, age_s: float | None, stuck_s: float
) -> Standing:
    if not beat:
        return "not running" if unreadable else "never ran"
    if beat.get("stopped"):
        return "failed" if beat.get("failure") else "stopped"
    if not runs(folder, beat):
        return "not running"
    return "stuck" if age_s is not None and age_s > stuck_s else "running"


def _switches(folder: Path) -> dict[str, str]:
    """Return the kill switches that are on; a folder that is not there yet has none."""
    if not (folder / FOLDER).is_dir():
        return {}
    try:
        return {scope.file_name: why for scope, why in Control(folder).switches().items()}
    except OSError as error:  # a control folder without its inbox, on a disk that is full
        return {"KILL": f"the control folder cannot be used: {error.strerror}"}


def _age_s(path: Path, now_ns: int) -> float | None:
    try:
        return (now_ns - path.stat().st_mtime_ns) / 1e9
    except OSError:
        return None


def journal_of(folder: Path, beat: Mapping[str, Any]) -> Path | None:
    """Return the journal that an account's session writes, or wrote last; None for none."""
    named = beat.get("journal")
    if isinstance(named, str) and (found := folder / Path(named).name).is_dir():
        return found
    try:
        written = [
            (max(file.stat().st_mtime_ns for file in files), path)
            for path in folder.glob("*-*")
            if path.is_dir() and (files := [*path.glob("*.jsonl")])
        ]
    except OSError:
        return None
    return max(written)[1] if written else None


def segments_of(journal: Path) -> list[Path]:
    """Return the files of a journal, the oldest first; none where it cannot be read."""
    try:
        return sorted(path for path in journal.iterdir() if path.suffix == ".jsonl")
    except OSError:
        return []


def _written_s(journal: Path, now_ns: int) -> float | None:
    segments = segments_of(journal)
    return _age_s(segments[-1], now_ns) if segments else None


def last_seq(journal: Path) -> int | None:
    """Return the number of the last sealed record by the journal's end, without verifying it.

    It costs one read, so that a lag can be told while a session writes. None where it cannot be
    told.
    """
    segments = segments_of(journal)
    try:
        found = (_last_in(path) for path in reversed(segments))
        return next((seq for seq in found if seq is not None), None)
    except OSError:
        return None


def _last_in(path: Path) -> int | None:
    """Return the last seal of a segment, or the one that it goes on from."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        window = END_BYTES
        while True:
            file.seek(max(0, size - window))
            end = file.read(window)
            if seals := _SEAL.findall(end):
                return int(seals[-1])
            if window >= size:
                begun = _AFTER.match(end)
                return None if begun is None else int(begun[1])
            window *= 16  # a block may be as long as its commit was
