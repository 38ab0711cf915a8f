"""Find the columns of a table by name and read their numbers.

A column is found by the names that everybody uses, in any case, or by the name in the settings.
Two candidates for one meaning are an error, and so is a cell that is no number: a price that was
dropped without a word is a price that somebody traded on.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from onefold.adapters.files.config import FIELDS, BarsConfig
from onefold.adapters.files.read import Origin, Table
from onefold.domain.columns import Floats, Integers
from onefold.domain.errors import DataError, did_you_mean
from onefold.domain.sanitise import CODES, Verdicts

_SIDES = ("open", "high", "low", "close")
_QUOTES = tuple(f"{touch}_{side}" for touch in ("bid", "ask") for side in _SIDES)
_SHOWN_MAX = 15


class Prices(NamedTuple):
    """Prices of each row; `sides` are open, high, low and close. Unknown is NaN."""

    sides: tuple[Floats, Floats, Floats, Floats]
    volume: Floats
    bid: Floats
    ask: Floats
    refused: Verdicts
    notes: list[str]


class Columns:
    """The columns of one table under the names of their meaning."""

    def __init__(self, table: Table, config: BarsConfig) -> None:
        """Find the columns; raises `DataError` when a configured name is not among them."""
        self.frame = table.frame
        self.origin: Origin = table.origin
        self.numbers: Integers = np.arange(table.frame.height)
        self.config: BarsConfig = config
        for name in config.columns.values():
            self._existing(name)
        if table.origin.unit == "line":
            # A blank line of a text file is no row; the others keep their numbers.
            blank = self.frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
            self.keep(np.flatnonzero(~blank.to_numpy()))

    def keep(self, rows: Integers) -> None:
        """Keep only some rows."""
        if len(rows) < self.frame.height:
            self.frame, self.numbers = self.frame[rows], self.numbers[rows]

    def find(self, field: str) -> str | None:
        """Return the name of the column with a meaning, or None.

        Raises `DataError` when several could be meant.
        """
        if field in self.config.columns:
            return self._existing(self.config.columns[field])
        taken = set(self.config.columns.values())
        found = [
            name
            for name in self.frame.columns
            if name.strip().lower() in FIELDS[field] and name not in taken
        ]
        if len(found) > 1:
            raise DataError(
                f"{self.origin.name}: the columns {_listed(found)} could all be {field}; choose "
                f"with columns: {{{field}: {found[0]}}}"
            )
        return found[0] if found else None

    def require(self, field: str) -> pl.Series:
        """Return the column with a meaning; raises `DataError` when there is none."""
        name = self.find(field)
        if name is None:
            raise self._missing([field])
        return self.frame[name]

    def numbers_of(self, field: str) -> Floats:
        """Return the numbers of a column that must be there."""
        return self._floats(self.require(field))

    def optional(self, field: str) -> Floats:
        """Return the numbers of a column, or NaN where there is none."""
        name = self.find(field)
        return self._unknown() if name is None else self._floats(self.frame[name])

    def price_kind(self) -> Literal["trade", "quote", "close"]:
        """Return what the prices are: as configured, or as the columns say.

        Raises `DataError` when both kinds or too few columns are there.
        """
        if self.config.closes_only:
            return "close"
        trades = [side for side in _SIDES if self.find(side) is not None]
        quotes = [name for name in _QUOTES if self.find(name) is not None]
        if trades and quotes and self.config.price is None:
            raise DataError(
                f"{self.origin.name} has prices of trades and of quotes; choose with price: trade "
                "or price: quote"
            )
        if self.config.price == "quote" or (quotes and not trades):
            self._require_all(_QUOTES, quotes)
            return "quote"
        self._require_all(_SIDES, trades)
        return "trade"

    def prices(self) -> Prices:
        """Return the prices: of trades, mids of quotes, or closes alone."""
        kind = self.price_kind()
        if kind == "close":
            return self._closes()
        return self._quotes() if kind == "quote" else self._trades()

    def _trades(self) -> Prices:
        open_, high, low, close = (self.numbers_of(side) for side in _SIDES)
        touch = self.optional("bid"), self.optional("ask")
        volume = self.optional("volume")
        return Prices((open_, high, low, close), volume, *touch, self._fine(), [])

    def _quotes(self) -> Prices:
        bids = [self.numbers_of(f"bid_{side}") for side in _SIDES]
        asks = [self.numbers_of(f"ask_{side}") for side in _SIDES]
        # The mid of two opposite infinities is NaN, and refused as such.
        with np.errstate(invalid="ignore"):
            mids = [(bid + ask) / 2 for bid, ask in zip(bids, asks, strict=True)]
        refused = self._fine()
        # Best bids and asks of a bar that cross anywhere cross in their opens, extremes or closes.
        crossed = np.any([bid > ask for bid, ask in zip(bids, asks, strict=True)], axis=0)
        refused[crossed & ~np.isnan(mids).any(axis=0)] = CODES["crossed"]
        sides = (mids[0], mids[1], mids[2], mids[3])
        note = "prices are mids of bid and ask; orders meet the touch at the open"
        return Prices(sides, self.optional("volume"), bids[0], asks[0], refused, [note])

    def _closes(self) -> Prices:
        name = self.config.column
        column = self.require("close") if name is None else self.frame[self._existing(name)]
        close = self._floats(column)
        nothing = self._unknown()
        note = (
            "closes only: open, high and low are the close, so fill orders at the next close "
            "(costs: {fill: next_close}); stops inside a bar cannot be seen"
        )
        volume = self.optional("volume")
        return Prices((close,) * 4, volume, nothing, nothing, self._fine(), [note])

    def _require_all(self, wanted: tuple[str, ...], found: list[str]) -> None:
        absent = [name for name in wanted if name not in found]
        if absent:
            raise self._missing(absent)

    def _floats(self, column: pl.Series) -> Floats:
        if column.dtype == pl.String:
            return self._from_text(column)
        if not column.dtype.is_numeric() and column.dtype != pl.Null:
            raise DataError(
                f"{self.origin.name}, column {column.name!r}: {column.dtype} is not a number"
            )
        values = column.cast(pl.Float64)
        if values.null_count():
            values = values.fill_null(float("nan"))
        return values.to_numpy().astype(np.float64, copy=False)

    def _from_text(self, column: pl.Series) -> Floats:
        text = column.str.strip_chars()
        absent = text.is_null() | text.is_in(["", *self.config.missing])
        values = text.cast(pl.Float64, strict=False)
        wrong = values.is_null() & ~absent
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            place = self.origin.at(int(self.numbers[row]), column.name)
            raise DataError(
                f"{place}: {text[row]!r} is not a number; if it stands for a missing one, add "
                f"missing: [{text[row]!r}]"
            )
        return values.fill_null(float("nan")).to_numpy().astype(np.float64, copy=False)

    def _unknown(self) -> Floats:
        return np.full(self.frame.height, np.nan)

    def _fine(self) -> Verdicts:
        return np.zeros(self.frame.height, np.int8)

    def _existing(self, name: str) -> str:
        for known in self.frame.columns:
            if known.strip().lower() == name.strip().lower():
                return known
        raise DataError(
            f"{self.origin.name} has no column {name!r}{did_you_mean(name, self.frame.columns)}"
        )

    def _missing(self, fields: list[str]) -> DataError:
        head = f"{self.origin.name} has no column for {_listed(fields)}"
        known = [name.strip().lower() for name in self.frame.columns]
        if "price" in known or ("bid" in known and "ask" in known and len(fields) > 1):
            return DataError(f"{head}: these look like ticks; build bars from them first")
        # With most of them absent it is another kind of file, and a near name would mislead.
        for field in fields if len(fields) < len(_SIDES) - 1 else []:
            near = did_you_mean(field, self.frame.columns)
            if near.startswith("; did"):
                name = near.split("'")[1]
                return DataError(f"{head}{near} (then columns: {{{field}: {name}}})")
        shown = _listed(self.frame.columns[:_SHOWN_MAX])
        if "ts" in fields:
            return DataError(f"{head} (columns: {shown}); name it with columns: {{ts: NAME}}")
        return DataError(
            f"{head} (columns: {shown}); if it holds closes only, add closes_only: true and "
            "column: NAME"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
