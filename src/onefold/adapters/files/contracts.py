"""Choose among the contracts of a future that lie in one file, or join them into one series.

Rows of several contracts interleave at different prices: read as one instrument they would be
jumps that never were. So a file with several needs a word from the user: one contract, or a roll.

A roll follows the contract that leads by volume or by open interest. It looks at whole days (UTC)
that are over: when a later contract led on one day, the series is in it from the next day on, and
never goes back. Prices stay what they were; the step between two contracts is a `roll` event.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from onefold.adapters.files.config import BarsConfig
from onefold.adapters.files.read import Origin
from onefold.domain.columns import Floats, Integers
from onefold.domain.errors import DataError, did_you_mean

DAY_NS = 86_400_000_000_000
_ARCHIVED = re.compile(r"(?:\d{8}_)?(?P<rest>[^.]*?)(?:\.csv)?")
_EXPIRY = re.compile(r"(?:.*_)?(?P<expiry>\d{6}|\d{8})")
_MONTH_CODE = re.compile(r".*?(?P<month>[FGHJKMNQUVXZ])(?P<year>\d{2}|\d{4})")
_SHOWN_MAX = 12


class Contracts(NamedTuple):
    """The contracts of a file in order of expiry, and the number of each row's contract."""

    names: list[str]
    of_row: Integers


class Continuous(NamedTuple):
    """Rows of a continuous series in order, with the place of each roll.

    `rows` are positions in the input. `rolls` are positions in `rows` where a new contract starts,
    with the number of the contract that was left and of the one that was entered.
    """

    rows: Integers
    rolls: list[tuple[int, int, int]]


def contract_name(entry: str) -> str:
    """Return the contract of an `entry`: its expiry where the name of a file is given.

    `20131006_es_minute_trade_201312.csv` is of the contract `201312`; a leading date says when the
    rows are from and is no part of the contract.
    """
    match = _ARCHIVED.fullmatch(entry.strip())
    rest = match["rest"] if match else entry.strip()
    expiry = _EXPIRY.fullmatch(rest)
    return expiry["expiry"] if expiry else rest


def find_contracts(column: pl.Series, origin: Origin) -> Contracts:
    """Return the contracts of a file by their column.

    Raises `DataError` when a row has none.
    """
    if column.null_count():
        row = int(column.is_null().arg_max() or 0)
        raise DataError(f"{origin.at(row, column.name)}: there is no contract")
    entries = column.cast(pl.String)
    distinct = entries.unique(maintain_order=True).to_list()
    contract_of = {entry: contract_name(entry) for entry in distinct}
    names = sorted(set(contract_of.values()), key=_expiry_order)
    number = {name: i for i, name in enumerate(names)}
    if len(names) == 1:
        return Contracts(names, np.zeros(column.len(), np.int64))
    numbers = entries.replace_strict({e: number[c] for e, c in contract_of.items()})
    return Contracts(names, numbers.to_numpy().astype(np.int64))


def one_contract(contracts: Contracts, config: BarsConfig, origin: Origin) -> Integers:
    """Return the rows of the contract that the user named, or of the only one.

    Raises `DataError` when the name is not among them and when several overlap.
    """
    names = contracts.names
    if config.entry is not None:
        wanted = config.entry if config.entry in names else contract_name(config.entry)
        if wanted not in names:
            hint = did_you_mean(config.entry, names)
            raise DataError(f"{origin.name} has no contract {config.entry!r}{hint}")
        return np.flatnonzero(contracts.of_row == names.index(wanted))
    if len(names) > 1:
        more = f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else ""
        raise DataError(
            f"{origin.name} has {len(names)} contracts: {', '.join(names[:_SHOWN_MAX])}{more}; "
            f"take one (entry: '{names[0]}') or join them (roll: volume)"
        )
    return np.arange(len(contracts.of_row))


def check_order(contracts: Contracts, origin: Origin) -> None:
    """Raise `DataError` when the contracts' names do not say which expires first."""
    kinds = {_expiry_order(name)[0] for name in contracts.names}
    if len(kinds) > 1 or kinds == {2}:
        shown = ", ".join(contracts.names[:_SHOWN_MAX])
        raise DataError(
            f"{origin.name}: the contracts {shown} cannot be ordered by expiry; name them like "
            "202403, 20240315 or ESH24"
        )


def join(contracts: Contracts, ts: Integers, measure: Floats, *, summed: bool) -> Continuous:
    """Return the rows of the contract that leads on each day.

    `measure` has each row's volume, which is `summed` over a day, or its open interest, of which
    the day's largest counts.
    """
    days, day_of_row = np.unique(ts // DAY_NS, return_inverse=True)
    totals = np.zeros((len(days), len(contracts.names)))
    collect = np.add if summed else np.maximum
    collect.at(totals, (day_of_row, contracts.of_row), np.nan_to_num(measure))
    present = np.zeros(totals.shape, np.bool_)
    present[day_of_row, contracts.of_row] = True
    front_of_day = _fronts(totals, present)
    in_front = np.flatnonzero(contracts.of_row == front_of_day[day_of_row])
    fronts = front_of_day[day_of_row[in_front]]
    # Contracts may follow one another in the file in any order; rows of one keep theirs.
    order = np.argsort(fronts, kind="stable")
    rows, fronts = in_front[order], fronts[order]
    changes = np.flatnonzero(fronts[1:] != fronts[:-1]) + 1
    return Continuous(rows, [(int(i), int(fronts[i - 1]), int(fronts[i])) for i in changes])


def _fronts(totals: Floats, present: NDArray[np.bool_]) -> Integers:
    """Return the contract in front on each day; only days that are over have a say."""
    fronts = np.zeros(len(totals), np.int64)
    front = int(present[0].argmax())
    for day, volumes in enumerate(totals):
        fronts[day] = front
        leader = front + int(volumes[front:].argmax())
        if volumes[leader] > volumes[front]:
            front = leader
    return fronts


def _expiry_order(name: str) -> tuple[int, str]:
    """Return a key that sorts contracts by expiry: its kind, then the date as text."""
    if re.fullmatch(r"\d{6}|\d{8}", name):
        return 0, name
    match = _MONTH_CODE.fullmatch(name.upper())
    if match is None:
        return 2, name
    year = match["year"] if len(match["year"]) == len("2024") else f"20{match['year']}"
    return 1, f"{year}{match['month']}"
