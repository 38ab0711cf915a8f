"""Read times as nanoseconds UTC, or say exactly which cell is not a time.

A wrong time zone shifts every session filter and every exit at the close without an error, so a
time is never guessed: numbers need a magnitude that fits one unit only, text needs the ISO order
of year, month, day, and local times are converted with the zone that the user named. A local time
that exists twice or not at all (clock changes) makes its row unusable, not the file.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import polars as pl

from onefold.adapters.files.config import BarsConfig
from onefold.adapters.files.read import Origin
from onefold.domain.bounds import TS_MAX
from onefold.domain.columns import Integers
from onefold.domain.errors import DataError
from onefold.domain.sanitise import CODES, Verdicts

_UNIT_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
# 1973 to 2286 in each unit; the ranges do not meet, so a whole column within one is unambiguous.
_UNIT_RANGES = {
    "s": (10**8, 10**10),
    "ms": (10**11, 10**13),
    "us": (10**14, 10**16),
    "ns": (10**17, 10**19),
}
_ISO = re.compile(
    r"\d{4}(?P<dash>[-/]?)\d{2}(?P=dash)\d{2}"
    r"(?:(?P<sep>[T ])\d{2}:\d{2}(?P<sec>:\d{2}(?:[.,]\d+)?)?)?"
    r"(?P<zone> ?Z| ?UTC| ?[+-]\d{2}:?\d{2})?"
)
_UTC_NAMES = ("UTC", "Etc/UTC", "GMT", "Etc/GMT", "Zulu", "Etc/Zulu")


class Times(NamedTuple):
    """Nanoseconds UTC of each row, and the verdicts of rows whose local time is not one moment.

    Refused rows carry their local time read as UTC.
    """

    ts: Integers
    refused: Verdicts


def read_times(column: pl.Series, rows: Integers, config: BarsConfig, origin: Origin) -> Times:
    """Read a column of times; `rows` are the numbers of its rows in the file.

    Raises `DataError` for a missing time, a text that is no time, and a unit in doubt.
    """
    moments = _moments(column, rows, config, origin)
    if moments.null_count():
        row = int(moments.is_null().arg_max() or 0)
        raise DataError(f"{origin.at(int(rows[row]), column.name)}: there is no time")
    zone = moments.dtype.time_zone if isinstance(moments.dtype, pl.Datetime) else None
    if zone is None and config.timezone not in _UTC_NAMES:
        return _localised(moments, config.timezone)
    return Times(_nanoseconds(moments), np.zeros(moments.len(), np.int8))


def _moments(column: pl.Series, rows: Integers, config: BarsConfig, origin: Origin) -> pl.Series:
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime):
        return column
    if dtype == pl.Date:
        return column.cast(pl.Datetime("us"))
    if dtype.is_float():
        column = _whole(column, rows, origin)
    if column.dtype.is_integer() and config.time_format is None:
        return _from_epoch(column, config, origin)
    if column.dtype.is_integer() or dtype == pl.String:
        return _from_text(column.cast(pl.String), rows, config, origin)
    raise DataError(f"{origin.name}, column {column.name!r}: {dtype} is not a time")


def _whole(column: pl.Series, rows: Integers, origin: Origin) -> pl.Series:
    whole = column.cast(pl.Int64, strict=False)
    wrong = (whole.cast(pl.Float64) != column).fill_null(value=True)
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise DataError(
            f"{origin.at(int(rows[row]), column.name)}: {column[row]} is not a whole number of "
            "seconds, milliseconds, microseconds or nanoseconds"
        )
    return whole


def _from_epoch(column: pl.Series, config: BarsConfig, origin: Origin) -> pl.Series:
    unit = config.time_unit or _unit(column, origin)
    values = column.drop_nulls().cast(pl.Int64).to_numpy()
    limit = TS_MAX // _UNIT_NS[unit]
    if len(values) and not -limit <= int(values.min()) <= int(values.max()) <= limit:
        raise DataError(
            f"{origin.name}, column {column.name!r}: {int(values.max())} {unit} is beyond the year "
            "2116; set another time_unit: s, ms, us or ns"
        )
    return (column.cast(pl.Int64) * _UNIT_NS[unit]).cast(pl.Datetime("ns", "UTC"))


def _unit(column: pl.Series, origin: Origin) -> str:
    values = column.drop_nulls().cast(pl.Int64).to_numpy()
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    for unit, (least, limit) in _UNIT_RANGES.items():
        if least <= low and high < limit:
            return unit
    raise DataError(
        f"{origin.name}, column {column.name!r}: the numbers {low} to {high} fit no unit of time; "
        "set time_unit: s, ms, us or ns (or time_format: '%Y%m%d' for dates)"
    )


def _from_text(column: pl.Series, rows: Integers, config: BarsConfig, origin: Origin) -> pl.Series:
    text = column.str.strip_chars()
    layout = config.time_format
    if layout is None:
        if _is_whole_numbers(text):
            return _from_epoch(text.cast(pl.Int64), config, origin)
        layout = _iso_format(text, rows, origin)
    text = text.str.replace(r" ?(Z|UTC)$", "+00:00") if "%z" in layout else text
    zone = "UTC" if "%z" in layout else None
    moments = text.str.to_datetime(layout, time_unit="ns", time_zone=zone, strict=False)
    bad = moments.is_null() & text.is_not_null() & (text != "")
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise DataError(
            f"{origin.at(int(rows[row]), column.name)}: {column[row]!r} is not a time like "
            f"{layout}; set time_format"
        )
    return moments


def _is_whole_numbers(text: pl.Series) -> bool:
    # Eight digits are a date and not an epoch: 20240131 would be a day in 1970.
    return bool(text.str.contains(r"^\d{9,19}$").all())


def _iso_format(text: pl.Series, rows: Integers, origin: Origin) -> str:
    filled = text.drop_nulls()
    first = str(filled[0]) if filled.len() else ""
    match = _ISO.fullmatch(first)
    if match is None:
        raise DataError(
            f"{origin.at(int(rows[0]), text.name)}: {first!r} is not a time like "
            "2024-01-31 09:30:00; set time_format, e.g. '%d.%m.%Y %H:%M'"
        )
    dash = match["dash"]
    layout = f"%Y{dash}%m{dash}%d"
    if match["sep"]:
        layout += f"{match['sep']}%H:%M"
        layout += "" if match["sec"] is None else ":%S%.f"
    return f"{layout}%z" if match["zone"] else layout


def _localised(moments: pl.Series, zone: str) -> Times:
    naive = _nanoseconds(moments)
    strict = moments.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    refused = np.zeros(len(naive), np.int8)
    doubtful = strict.is_null().to_numpy()
    ts = strict.dt.timestamp("ns").fill_null(0).to_numpy().astype(np.int64)
    if doubtful.any():
        either = moments.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        absent = either.is_null().to_numpy()
        refused[doubtful] = CODES["ambiguous_time"]
        refused[absent] = CODES["nonexistent_time"]
        ts[doubtful] = naive[doubtful]
    return Times(ts, refused)


def _nanoseconds(moments: pl.Series) -> Integers:
    return moments.dt.timestamp("ns").to_numpy().astype(np.int64, copy=False)
