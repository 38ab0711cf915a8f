"""Turn a path or a frame into a table, or into one line that says what is wrong with it.

People point programs at folders, at empty downloads and at names with a typo. A table that leaves
this module has rows; CSV cells stay text until `parse`, which can then name the line and column.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from onefold.domain.errors import DataError, did_you_mean

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz", ".tsv")
SEPARATORS = (",", ";", "\t", "|")
_SHOWN_MAX = 5


class Origin(NamedTuple):
    """Where rows come from, to be able to name one: `first` is the number of the first row."""

    name: str
    unit: str = "row"
    first: int = 1

    def at(self, row: int, column: str = "") -> str:
        """Return the place of row `row` (from 0) in words."""
        place = f"{self.name}, {self.unit} {row + self.first}"
        return f"{place}, column {column!r}" if column else place

    def label(self, row: int) -> str:
        """Return the short place of row `row` (from 0)."""
        return f"{self.unit} {row + self.first}"


class Table(NamedTuple):
    """Rows as they were found."""

    frame: pl.DataFrame
    origin: Origin


def read_file(path: Path) -> Table:
    """Read a Parquet or CSV file.

    Raises `DataError` when it is missing, a folder, empty, damaged or of another kind.
    """
    _check_path(path)
    name = path.name.lower()
    if name.endswith(PARQUET):
        table = Table(_parquet(path), Origin(path.name))
    elif name.endswith(CSV):
        table = Table(_csv(path), Origin(path.name, "line", 2))
    else:
        known = ", ".join((*PARQUET, *CSV))
        raise DataError(f"{path}: {path.suffix or 'no extension'} cannot be read; known: {known}")
    return _with_rows(table)


def read_frame(frame: object, name: str = "frame") -> Table:
    """Take a polars or pandas frame, or a mapping of names to columns.

    A pandas index of times becomes the column `ts`. Raises `DataError` for anything else.
    """
    origin = Origin(name)
    if isinstance(frame, pl.LazyFrame):
        return _with_rows(Table(frame.collect(), origin))
    if isinstance(frame, pl.DataFrame):
        return _with_rows(Table(frame, origin))
    if type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "columns"):
        return _with_rows(Table(_pandas(frame, name), origin))
    if isinstance(frame, Mapping):
        return _with_rows(Table(pl.DataFrame(dict(frame)), origin))
    raise DataError(
        f"{name}: {type(frame).__name__} is not a table; give a polars or pandas frame, "
        "a mapping of columns or a file"
    )


def _check_path(path: Path) -> None:
    if path.is_dir():
        inside = sorted(x.name for x in path.iterdir() if x.name.lower().endswith((*PARQUET, *CSV)))
        more = ", ..." if len(inside) > _SHOWN_MAX else ""
        hint = f": {', '.join(inside[:_SHOWN_MAX])}{more}" if inside else " (it has none)"
        raise DataError(f"{path} is a folder; name one of its files{hint}")
    if not path.exists():
        raise DataError(f"{path} does not exist{_nearest_file(path)}")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)")


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}"
    hint = did_you_mean(path.name, [x.name for x in path.parent.iterdir()])
    return hint if hint.startswith("; did") else ""


def _with_rows(table: Table) -> Table:
    if table.frame.height == 0:
        raise DataError(f"{table.origin.name} has columns but no rows")
    return table


def _parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} is not a Parquet file, or damaged: {_first(error)}") from error


def _csv(path: Path) -> pl.DataFrame:
    try:
        separator = _separator(path)
        frame = pl.read_csv(path, separator=separator, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is not readable as CSV: {_ragged(path) or _first(error)}"
        ) from error
    return frame.rename({name: name.strip() for name in frame.columns})


def _separator(path: Path) -> str:
    with _open_text(path) as lines:
        header = lines.readline()
    return max(SEPARATORS, key=header.count)


def _open_text(path: Path) -> Any:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _ragged(path: Path) -> str:
    """Return where a line has more cells than the header, or nothing."""
    try:
        separator = _separator(path)
        with _open_text(path) as lines:
            rows = csv.reader(lines, delimiter=separator)
            width = len(next(rows))
            for row in rows:
                if len(row) > width:
                    return f"line {rows.line_num} has {len(row)} cells, the header has {width}"
    except (OSError, UnicodeDecodeError, csv.Error, EOFError, StopIteration):
        return ""
    return ""


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _pandas(frame: Any, name: str) -> pl.DataFrame:
    """Convert by way of numpy, which needs no further package."""
    pandas = import_module("pandas")
    if isinstance(frame.columns, pandas.MultiIndex):
        raise DataError(f"{name}: columns in several levels; select one instrument first")
    columns: dict[str, pl.Series] = {}
    if isinstance(frame.index, pandas.DatetimeIndex):
        columns["ts"] = _pandas_column(pandas, "ts", frame.index.to_series())
    for label in frame.columns:
        if not (label == "ts" and "ts" in columns):
            columns[str(label)] = _pandas_column(pandas, str(label), frame[label])
    return pl.DataFrame(columns)


def _pandas_column(pandas: Any, name: str, column: Any) -> pl.Series:
    if isinstance(column.dtype, pandas.DatetimeTZDtype):
        naive = column.dt.tz_convert("UTC").dt.tz_localize(None)
        times = pl.Series(name, naive.to_numpy(dtype="datetime64[ns]"))
        return times.dt.replace_time_zone("UTC")
    values = column.to_numpy()
    if values.dtype.kind == "M":
        return pl.Series(name, values.astype("datetime64[ns]"))
    if values.dtype.kind in "iufb":
        return pl.Series(name, values)
    return pl.Series(name, [_cell(pandas, x) for x in values], strict=False)


def _cell(pandas: Any, value: Any) -> Any:
    return None if pandas.isna(value) else value
