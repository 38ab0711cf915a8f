"""Splits, dividends and rolls as events beside the bars.

They are facts about the instrument that change what a position is worth without a trade. Prices
that somebody already adjusted must not be adjusted again: a split without a jump in the prices is
an error, for the holdings would be multiplied for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log

import numpy as np
from numpy.typing import NDArray

from onefold.adapters.files.columns import Columns
from onefold.adapters.files.contracts import Continuous, Contracts
from onefold.domain.columns import Bars, Floats, Integers
from onefold.domain.errors import DataError
from onefold.domain.records import Action


def corporate_actions(columns: Columns, bars: Bars) -> Iterator[Action]:
    """Yield the splits and dividends of a table, each at the open of the bar it stands on.

    Raises `DataError` when there is no such column, and when a split has already been worked into
    the prices.
    """
    config = columns.config
    has_split, has_dividend = columns.find("split"), columns.find("dividend")
    if has_split is None and has_dividend is None:
        raise DataError(f"{columns.origin.name} has no column for splits or dividends")
    symbol, currency = config.instrument.symbol, config.instrument.currency
    if has_split is not None and config.actions != "dividends":
        ratios = columns.numbers_of("split")
        # Sources write 0 or 1 where nothing was split.
        for row in np.flatnonzero((ratios > 0) & (ratios != 1)).tolist():
            _check_not_adjusted(columns, bars, row, float(ratios[row]))
            yield Action(int(bars.ts_open[row]), "split", float(ratios[row]), symbol)
    if has_dividend is not None:
        amounts = columns.numbers_of("dividend")
        for row in np.flatnonzero(amounts > 0).tolist():
            amount = float(amounts[row])
            yield Action(int(bars.ts_open[row]), "dividend", amount, symbol, currency)


def _check_not_adjusted(columns: Columns, bars: Bars, row: int, ratio: float) -> None:
    if row == 0:
        return
    before, after = float(bars.close[row - 1]), float(bars.open[row])
    if not (before > 0 and after > 0) or abs(log(before / after)) >= abs(log(ratio)) / 2:
        return
    place = columns.origin.at(int(columns.numbers[row]))
    raise DataError(
        f"{place}: a split of {ratio:g}, but the price went from {before:g} to {after:g}: the "
        "prices are adjusted for splits already; set actions: dividends, or false"
    )


def roll_actions(
    series: Continuous, contracts: Contracts, bars: Bars, symbol: str, notes: list[str]
) -> list[Action]:
    """Return a roll for every change of contract: the new contract's price less the old one's.

    Both prices are closes of the last bar that the two have in common before the change, or where
    there is none the last close of each; a note says so.
    """
    actions = []
    for at, left, entered in series.rolls:
        first, last = series.rows[at], series.rows[at - 1]
        moment = max(int(bars.ts_open[first]), int(bars.ts[last]))
        old = _known_closes(bars, contracts.of_row == left, moment)
        new = _known_closes(bars, contracts.of_row == entered, moment)
        names = contracts.names[left], contracts.names[entered]
        gap, common = _gap(*old, *new)
        if not common:
            notes.append(f"roll from {names[0]} to {names[1]}: the two have no bar in common")
        actions.append(Action(moment, "roll", gap, symbol))
    sequence = [contracts.names[entered] for _, _, entered in series.rolls]
    start = contracts.names[contracts.of_row[series.rows[0]]] if len(series.rows) else ""
    notes.append(f"contracts joined: {', '.join([start, *sequence])}")
    return actions


def _known_closes(
    bars: Bars, of_contract: NDArray[np.bool_], moment: int
) -> tuple[Integers, Floats]:
    known = of_contract & (bars.ts <= moment) & np.isfinite(bars.close)
    return bars.ts[known], bars.close[known]


def _gap(old_ts: Integers, old: Floats, new_ts: Integers, new: Floats) -> tuple[float, bool]:
    common, of_old, of_new = np.intersect1d(old_ts, new_ts, return_indices=True)
    if len(common):
        return float(new[of_new[-1]] - old[of_old[-1]]), True
    # A contract is entered only after a day on which it led, so it has a close.
    return float(new[new_ts.argmax()] - old[old_ts.argmax()]), False
