"""What a user says about a file of bars: where it lies and what its columns and times mean.

Market data is a table whose meaning is not in the table: whether a time is the bar's open or its
close, in which zone it was written, which of several contracts is wanted. Whatever cannot be read
off the data without a guess is a setting here, and leaving it out where it matters is an error.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from onefold.domain.bounds import SECONDS_MAX
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.domain.instruments import Instrument, instrument

SECOND_NS = 1_000_000_000
IRREGULAR = "irregular"
"""The interval of bars that end after so many ticks, lots or dollars."""

FIELDS: dict[str, tuple[str, ...]] = {
    "ts": ("ts", "date", "datetime", "time", "timestamp"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume", "vol"),
    "bid": ("bid",),
    "ask": ("ask",),
    "bid_open": ("bid_open",),
    "bid_high": ("bid_high",),
    "bid_low": ("bid_low",),
    "bid_close": ("bid_close",),
    "ask_open": ("ask_open",),
    "ask_high": ("ask_high",),
    "ask_low": ("ask_low",),
    "ask_close": ("ask_close",),
    "contract": ("entry", "contract"),
    "open_interest": ("open_interest", "open interest", "openinterest"),
    "split": ("split", "splits", "stock splits", "stock_splits"),
    "dividend": ("dividend", "dividends"),
}
"""What a column may be, and the names (in any case) under which it is found by itself."""

_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_INTERVAL = re.compile(r"(\d+)\s*(s|min|m|h|d|w)")


def parse_interval(text: str) -> int:
    """Return the nanoseconds of an interval such as 30s, 5m, 1h or 1d.

    Raises `ConfigError` for anything else.
    """
    match = _INTERVAL.fullmatch(text.strip().lower())
    if match is None or int(match[1]) == 0:
        raise ConfigError(
            f"interval {text!r} is not a number and a unit: write 30s, 5m, 1h, 1d, 1w"
            f" or {IRREGULAR}"
        )
    seconds = int(match[1]) * _UNITS_S[match[2]]
    if seconds > SECONDS_MAX:
        raise ConfigError(f"interval {text!r} is longer than {SECONDS_MAX} seconds")
    return seconds * SECOND_NS


def interval_text(interval_ns: int) -> str:
    """Return an interval in the largest unit that fits, such as 5m."""
    for unit in ("d", "h", "m", "s"):
        size = _UNITS_S[unit] * SECOND_NS
        if interval_ns >= size and interval_ns % size == 0:
            return f"{interval_ns // size}{unit}"
    return f"{interval_ns / SECOND_NS:g}s"


def _known_instrument(value: object) -> object:
    if isinstance(value, str):
        return instrument(value)
    if isinstance(value, dict) and isinstance(value.get("symbol"), str):
        facts = {str(key): fact for key, fact in value.items() if key != "symbol"}
        return instrument(value["symbol"], **facts)
    return value


def _as_text(value: object) -> object:
    # YAML reads a contract such as 201312 as a number.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class BarsConfig(BaseModel):
    """What the columns of a table of bars mean."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    instrument: Annotated[Instrument, BeforeValidator(_known_instrument)] = Field(
        description="A symbol of the catalogue, or symbol and kind (and what else differs)."
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="Names of columns that are not found by themselves."
    )
    timezone: str = Field("UTC", description="Zone of times without one, e.g. America/New_York.")
    interval: str | None = Field(
        None, description="30s, 5m, 1h, 1d, or irregular; the most common step when left out."
    )
    ts_is: Literal["open", "close"] = Field(
        "open", description="Whether a bar's time is that of its open or of its close."
    )
    time_unit: Literal["s", "ms", "us", "ns"] | None = Field(
        None, description="Unit of whole-number times, needed where it is not obvious."
    )
    time_format: str | None = Field(
        None, description="Format of times written another way than 2020-12-31, e.g. %d.%m.%Y."
    )
    price: Literal["trade", "quote"] | None = Field(
        None, description="trade: open to close; quote: mids of bid and ask. Found by itself."
    )
    closes_only: bool = Field(
        default=False, description="The file has one price a row; fills must be next_close."
    )
    column: str | None = Field(None, description="With closes_only: the column with the price.")
    missing: tuple[str, ...] = Field(
        (), description="Texts that stand for a missing number, such as '.'."
    )
    entry: Annotated[str | None, BeforeValidator(_as_text)] = Field(
        None, description="The one contract to use of a file with several."
    )
    roll: Literal["volume", "open_interest"] | None = Field(
        None, description="Join several contracts, always in the one that leads by this."
    )
    duplicates: Literal["first", "last"] = Field(
        "first", description="Which of several rows in a row with the same time is kept."
    )
    actions: bool | Literal["dividends"] = Field(
        default=False,
        description="Whether split and dividend columns are events; only for prices that are not "
        "adjusted for them.",
    )
    start: datetime | date | None = Field(None, description="Leave out bars that open earlier.")
    end: datetime | date | None = Field(None, description="Leave out bars that close later.")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name not in available_timezones():
            raise ConfigError(f"timezone {name!r} is not known{_near_zone(name)}")
        return name

    @field_validator("interval")
    @classmethod
    def _readable_interval(cls, text: str | None) -> str | None:
        if text is not None and text != IRREGULAR:
            parse_interval(text)
        return text

    @field_validator("columns")
    @classmethod
    def _known_fields(cls, columns: dict[str, str]) -> dict[str, str]:
        for field in columns:
            if field not in FIELDS:
                raise ConfigError(f"columns: {field!r} is not a field{did_you_mean(field, FIELDS)}")
        return columns

    @model_validator(mode="after")
    def _consistent(self) -> BarsConfig:
        if self.column is not None and not self.closes_only:
            raise ConfigError("column names the price of a file of closes: add closes_only: true")
        if self.entry is not None and self.roll is not None:
            raise ConfigError("entry takes one contract, roll joins several: give only one of them")
        if self.interval == IRREGULAR and self.ts_is == "open":
            raise ConfigError("irregular bars need ts_is: close, their length is not known")
        return self

    @property
    def start_ns(self) -> int | None:
        """Return the start in nanoseconds UTC; a date is its midnight UTC."""
        return None if self.start is None else _nanoseconds(self.start)

    @property
    def end_ns(self) -> int | None:
        """Return the end in nanoseconds UTC; a date is its midnight UTC, so excluded."""
        return None if self.end is None else _nanoseconds(self.end)


class FileConfig(BarsConfig):
    """A file of bars."""

    path: Path = Field(description="Parquet (.parquet, .pq) or CSV (.csv, .csv.gz).")


def _nanoseconds(moment: datetime | date) -> int:
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    elif moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def _near_zone(name: str) -> str:
    hint = did_you_mean(name, available_timezones())
    return hint if hint.startswith("; did") else "; use a name such as Europe/Berlin"
