"""Round trips as they happen: the trades of `views.trades`, one fill at a time.

The arithmetic is that of the view: each fill goes through its own compiled loop, with the trade
that runs in its sleeve. So a trade may last as long as it likes, over restarts and from one journal
to the next, and comes out to the last bit as if all fills had been there at once.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from onefold.domain.layouts import FILL
from onefold.domain.words import Purpose
from onefold.fold.memory import Rows
from onefold.views.trades import PERCENT, TRADE, round_trips_nb

_NEW, _RUNNING = 0, 1
_NO_TRADES = (int(Purpose.SPLIT), int(Purpose.ROLL))
_FIELDS: tuple[str, ...] = TRADE.names or ()
_NUMBERS = tuple(name for name in _FIELDS if name != "pad")


class Trip(msgspec.Struct):
    """A trade and its number; `numbers` are the fields of `views.trades.TRADE`, None for NaN."""

    id: int
    strategy: str
    symbol: str
    numbers: dict[str, int | float | None]
    ibs_entry: float | None = None
    ibs_exit: float | None = None

    @property
    def runs(self) -> bool:
        """Return whether something is still held."""
        return bool(self["position"])

    def __getitem__(self, name: str) -> Any:
        """Return one of its numbers."""
        return self.numbers[name]


class Trips:
    """The trades of a run: those that run, and `changed` ones by their number.

    `trips` run already, and `count` is the number of the last trade.
    """

    def __init__(self, trips: list[Trip], count: int) -> None:
        self._running = {(one.strategy, one.symbol): one for one in trips}
        self.count = count
        self.changed: dict[int, Trip] = {}
        self._rows = np.zeros(2, TRADE)
        self._current = np.zeros(1, np.int64)
        self._point = np.zeros(1)

    @property
    def running(self) -> list[Trip]:
        """Return the trades that run, in the order in which they opened."""
        return sorted(self._running.values(), key=lambda one: one.id)

    def fill(
        self, fill: Rows, strategy: str, symbol: str, point_value: float, ibs: float | None
    ) -> None:
        """Fold one row of `layouts.FILL`; `ibs` is that of the bar at which it was decided."""
        one = np.zeros(1, FILL)
        one[0] = fill
        one["strategy"] = one["instrument"] = 0
        self._rows[:] = np.zeros(2, TRADE)
        self._point[0] = point_value
        running = self._running.get((strategy, symbol))
        self._current[0] = -1 if running is None else _RUNNING
        if running is not None:
            for name, value in running.numbers.items():
                self._rows[name][_RUNNING] = math.nan if value is None else value
        opened = round_trips_nb(one, self._point, self._current, self._rows)
        if running is not None:
            numbers = _numbers(self._rows[_RUNNING])
            if fill["purpose"] not in _NO_TRADES and numbers["exit_qty"] != running["exit_qty"]:
                running.ibs_exit = ibs
            running.numbers = numbers
            self._put(running)
        if opened:
            self.count += 1
            numbers = _numbers(self._rows[_NEW])
            self._put(Trip(self.count, strategy, symbol, numbers, ibs))

    def _put(self, trip: Trip) -> None:
        self.changed[trip.id] = trip
        if trip.runs:
            self._running[trip.strategy, trip.symbol] = trip
        else:
            self._running.pop((trip.strategy, trip.symbol), None)


def row_of(trip: Trip) -> tuple[Any, ...]:
    """Return a trade as the columns of the table from `id` to `open_price`."""
    purpose = Purpose(int(trip["purpose"]))
    reason = Purpose.SIGNAL if purpose is Purpose.ENTRY else purpose
    return (
        trip.id,
        trip.strategy,
        trip.symbol,
        "short" if trip["side"] < 0 else "long",
        trip["entry_ts"],
        _divide(trip["entry_value"], trip["entry_qty"]),
        trip["entry_qty"],
        None if trip.runs else trip["exit_ts"],
        _divide(trip["exit_value"], trip["exit_qty"]),
        trip["exit_qty"],
        trip["pnl"],
        _divide(trip["pnl"] * PERCENT, trip["entry_base"]),
        None if trip.runs else reason.name.lower(),
        trip["score"],
        trip.ibs_entry,
        trip.ibs_exit,
        trip["fees"],
        trip["gross"],
        trip["position"],
        _divide(trip["cost"], trip["position"]),
    )


def _numbers(row: Rows) -> dict[str, int | float | None]:
    plain = {name: row[name].item() for name in _NUMBERS}
    return {name: None if value != value else value for name, value in plain.items()}  # noqa: PLR0124


def _divide(total: float, by: float) -> float | None:
    return total / by if by else None
