"""Small records to journal in tests; the journal knows nothing of trading."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from onefold.journal import OS_DISK, Disk, Journal

DAY = dt.date(2026, 11, 20)
NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


class Tick(msgspec.Struct, frozen=True, tag_field="kind", tag="tick"):
    """A record with numbers and text."""

    number: int
    price: float = 1.5
    note: str = ""
    limit: float | None = None
    levels: list[float | None] = []


class Note(msgspec.Struct, frozen=True, tag_field="kind", tag="note"):
    """A record that can hold anything."""

    content: Any


def today() -> dt.date:
    """Return a fixed date."""
    return DAY


def open_journal(path: str | Path, disk: Disk = OS_DISK, **options: Any) -> Journal:
    """Open with fixed clocks."""
    return Journal.open(path, **{"today": today, "now": lambda: NOON, "disk": disk} | options)


def write_blocks(journal: Journal, sizes: Iterable[int], note: str = "") -> None:
    """Commit blocks of the given sizes; ticks are numbered like their records."""
    for size in sizes:
        for number in range(journal.head.seq + 1, journal.head.seq + 1 + size):
            assert journal.append(Tick(number, note=note)) == number
        assert journal.commit() == journal.head.seq
