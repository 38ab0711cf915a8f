"""Small files of bars, made where a test needs them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from onefold.adapters.files import FileConfig
from onefold.domain.instruments import Instrument

STOCK = Instrument(symbol="S")
MINUTE_NS = 60 * 10**9


def ns(text: str) -> int:
    """Return a time in nanoseconds UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def frame(rows: int = 5, start: str = "2024-01-02T00:00:00", step: str = "1m") -> pl.DataFrame:
    """Return plausible bars with the names that everybody uses."""
    first = datetime.fromisoformat(start)
    times = pl.datetime_range(
        first, first.replace(year=first.year + 1), step, eager=True, time_unit="us"
    ).head(rows)
    base = pl.Series([100.0 + i for i in range(rows)])
    return pl.DataFrame(
        {
            "ts": times,
            "open": base,
            "high": base + 2,
            "low": base - 1,
            "close": base + 1,
            "volume": pl.Series([10.0 * (i + 1) for i in range(rows)]),
        }
    )


def change(table: pl.DataFrame, column: str, row: int, value: Any) -> pl.DataFrame:
    """Return a table with one cell changed."""
    cells = table[column].to_list()
    cells[row] = value
    return table.with_columns(pl.Series(column, cells, strict=False))


def csv_file(folder: Path, *lines: str, name: str = "bars.csv") -> Path:
    """Write lines of text."""
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def config(path: Path, **changes: Any) -> FileConfig:
    """Return the settings of a file of the stock S."""
    return FileConfig(path=path, **{"instrument": STOCK, **changes})
