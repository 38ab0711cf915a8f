"""Ticks from files, to be built into bars: trades with a price and a size, or quotes.

Which of the two a table holds is told by its columns. Rows come in the order of the file and as
they are: what is implausible among them is refused where bars are made, with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from onefold.adapters.files.config import BarsConfig
from onefold.adapters.files.read import Origin, Table, read_file
from onefold.adapters.files.times import read_times
from onefold.adapters.ticks import Quote, Tick, Trade
from onefold.domain.errors import DataError, did_you_mean
from onefold.domain.instruments import Instrument

FIELDS: dict[str, tuple[str, ...]] = {
    "ts": ("ts", "date", "datetime", "time", "timestamp"),
    "price": ("price",),
    "size": ("size", "amount", "qty", "quantity", "volume"),
    "trade_id": ("trade_id", "id"),
    "bid": ("bid",),
    "ask": ("ask",),
}
"""What a column may be, and the names (in any case) under which it is found by itself."""


def read_ticks(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    timezone: str = "UTC",
    time_unit: Literal["s", "ms", "us", "ns"] | None = None,
    time_format: str | None = None,
) -> Iterator[Tick]:
    """Return the trades of a file (Parquet, CSV), or its quotes where it has no column of prices.

    `columns` has the names of columns that are not found by themselves; times are read as those of
    bars are. Raises `DataError` for what cannot be read, `ConfigError` for an unknown timezone.
    """
    table = read_file(path)
    names = _found(table, columns or {})
    # Times of ticks mean what times of bars mean; the instrument plays no part in it.
    meaning = BarsConfig(
        instrument=Instrument(symbol=path.name),
        timezone=timezone,
        time_unit=time_unit,
        time_format=time_format,
    )
    rows = np.arange(table.frame.height)
    times = read_times(table.frame[_needed(table, names, "ts")], rows, meaning, table.origin)
    if times.refused.any():
        place = table.origin.at(int(times.refused.argmax()), names["ts"])
        raise DataError(f"{place}: in {timezone} this time is two moments or none: store it in UTC")
    return _ticks(table, names, times.ts.tolist())


def _ticks(table: Table, names: Mapping[str, str], ts: list[int]) -> Iterator[Tick]:
    def numbers(field: str) -> list[float]:
        return _numbers(table.frame[_needed(table, names, field)], table.origin)

    if "price" not in names and {"bid", "ask"} <= names.keys():
        return map(Quote, ts, numbers("bid"), numbers("ask"))
    prices, sizes = numbers("price"), numbers("size")
    if "trade_id" not in names:
        return map(Trade, ts, prices, sizes)
    ids = table.frame[names["trade_id"]].cast(pl.String).fill_null("").to_list()
    return map(Trade, ts, prices, sizes, ids)


def _found(table: Table, named: Mapping[str, str]) -> dict[str, str]:
    """Return the column of each field that is there."""
    known = {name.strip().lower(): name for name in table.frame.columns}
    found = {}
    for field, name in named.items():
        if field not in FIELDS:
            raise DataError(f"columns: {field!r} is not a field{did_you_mean(field, FIELDS)}")
        if name.strip().lower() not in known:
            hint = did_you_mean(name, table.frame.columns)
            raise DataError(f"{table.origin.name} has no column {name!r}{hint}")
        found[field] = known[name.strip().lower()]
    for field, usual in FIELDS.items():
        present = [known[name] for name in usual if name in known]
        if field not in found and len(present) > 1:
            raise DataError(
                f"{table.origin.name}: {' and '.join(map(repr, present))} could both be {field}; "
                f"choose with columns: {{{field}: {present[0]}}}"
            )
        if field not in found and present:
            found[field] = present[0]
    return found


def _needed(table: Table, names: Mapping[str, str], field: str) -> str:
    if field not in names:
        shown = ", ".join(map(repr, table.frame.columns))
        raise DataError(
            f"{table.origin.name} has no column for {field!r} (columns: {shown}); name it with "
            f"columns: {{{field}: NAME}}"
        )
    return names[field]


def _numbers(column: pl.Series, origin: Origin) -> list[float]:
    """Return a column's numbers; a missing one is NaN, which is refused as such later."""
    values = column.cast(pl.Float64, strict=False)
    wrong = values.is_null() & column.is_not_null()
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise DataError(f"{origin.at(row, column.name)}: {column[row]!r} is not a number")
    return values.fill_null(float("nan")).to_list()
