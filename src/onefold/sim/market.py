"""The bars of a window, prepared once for any number of plans.

A sweep runs hundreds of plans over the same bars. What does not depend on the plan (the order of
the events, the joined columns, features that several plans ask for) is made here once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Bars, Integers, Signals
from onefold.domain.convert import to_records
from onefold.domain.errors import ConfigError
from onefold.domain.records import Bar
from onefold.domain.words import Side
from onefold.fold.memory import Rows
from onefold.signals import FeatureMemo
from onefold.sim.loop import Tape
from onefold.sim.plan import Plan

_COLUMNS = ("ts", "ts_open", "open", "high", "low", "close", "volume", "bid", "ask", "to_close_s")
_MAY_BE_ONE = ("volume", "bid", "ask", "to_close_s")
_OPINIONS = ("confidence", "score", "edge", "volatility", "trend", "barrier", "price")

ROWS_MAX, SYMBOLS_MAX = 2**31 - 1, 2**15 - 1

_Sleeves = Mapping[tuple[int, int], Rows]


class Market:
    """Bars by symbol, and all of them as columns with their order in time.

    `memo` is how many columns of features it remembers for each instrument: what the next plan asks
    for again is not computed again. Raises `ConfigError` when there are no bars of a symbol.
    """

    def __init__(self, symbols: Sequence[str], bars: Mapping[str, Bars], *, memo: int = 0) -> None:
        self.symbols = tuple(symbols)
        self._parts = [_bars_of(bars, symbol) for symbol in self.symbols]
        self._memos = [FeatureMemo(memo) if memo else None for _ in self._parts]
        self._starts = np.concatenate([[0], np.cumsum([p.rows for p in self._parts])])
        if self._starts[-1] > ROWS_MAX or len(symbols) > SYMBOLS_MAX:
            raise ConfigError(
                f"{self._starts[-1]:,} bars of {len(symbols):,} symbols are too many for one run, "
                f"which takes {ROWS_MAX:,} of {SYMBOLS_MAX:,}: split the window"
            )
        self._columns = {
            name: _joined(name, [getattr(p, name) for p in self._parts]) for name in _COLUMNS
        }
        self._instrument, self._row = _order([p.ts for p in self._parts])

    def ts(self) -> Integers:
        """Return the time of every event."""
        ts: Integers = self._columns["ts"]
        return ts if len(self._parts) == 1 else ts[self._row]

    @property
    def rows(self) -> int:
        """Return the number of bars of all instruments."""
        return int(self._starts[-1])

    def records(self) -> Iterator[Bar]:
        """Yield all bars in order of time, as a session takes them."""
        streams = [to_records(*one) for one in zip(self._parts, self.symbols, strict=True)]
        for i in self._instrument.tolist():
            yield next(streams[i])

    def tape(self, plan: Plan) -> Tape:
        """Return the window as a plan's strategies see it: bars and signals in order of time."""
        if plan.names.symbols != self.symbols:
            raise ConfigError(f"the plan trades other symbols than this market ({self.symbols})")
        signals = self._signals(plan)
        return Tape(instrument=self._instrument, row=self._row, **self._columns, **signals)

    def _signals(self, plan: Plan) -> dict[str, Rows]:
        """Return every strategy's signals over all rows, HOLD where it does not trade."""
        sleeves: dict[tuple[int, int], Signals] = {}
        refusals: dict[tuple[int, int], Rows] = {}
        for i, (part, memo) in enumerate(zip(self._parts, self._memos, strict=True)):
            numbers, strategies = plan.on(self.symbols[i])
            for s, judged in zip(numbers, strategies.judged(part, memo), strict=True):
                sleeves[s, i], refusals[s, i] = judged
        strategies_count = len(plan.placements)
        if len(sleeves) == 1 and strategies_count == len(self._parts) == 1:
            (only,), (refused,) = sleeves.values(), refusals.values()
            opinions = {name: getattr(only, name) for name in ("side", *_OPINIONS)}
            return {**opinions, "refusals": refused}
        side = np.full((strategies_count, self._starts[-1]), int(Side.HOLD), np.int8)
        self._lay(side, {key: signals.side for key, signals in sleeves.items()})
        fields = {
            name: {key: getattr(signals, name) for key, signals in sleeves.items()}
            for name in _OPINIONS
        }
        fields["refusals"] = refusals
        tables = {name: self._table(each, strategies_count) for name, each in fields.items()}
        return {"side": side, **tables}

    def _table(self, columns: _Sleeves, strategies: int) -> Rows:
        """Return one field of all signals: a value per row, or per strategy where that suffices."""
        constants: dict[int, set[float | str]] = {}
        for (s, _), value in {(s, id(c)): _constant(c) for (s, _), c in columns.items()}.items():
            constants.setdefault(s, set()).add(value)
        if all(len(values) == 1 and "varies" not in values for values in constants.values()):
            table = np.zeros((strategies, 1))
            for (s, _), column in columns.items():
                table[s, 0] = column[0]
            return table
        table = np.zeros((strategies, self._starts[-1]))
        self._lay(table, columns)
        return table

    def _lay(self, table: Rows, columns: Mapping[tuple[int, int], Rows]) -> None:
        """Put every sleeve's column into its place of a table."""
        for (s, i), column in columns.items():
            table[s, self._starts[i] : self._starts[i + 1]] = column


def _bars_of(bars: Mapping[str, Bars], symbol: str) -> Bars:
    part = bars.get(symbol)
    if part is None or part.rows == 0:
        raise ConfigError(f"there are no bars of {symbol!r}")
    return part


def _order(times: list[Integers]) -> tuple[Rows, Rows]:
    """Return the instrument and the row of every event, by time, then by instrument.

    They are as narrow as they can be: reading and first touching memory is what they cost.
    """
    number = np.arange(len(times), dtype=np.int16)
    rows = len(times[0])
    if len(times) == 1:
        return np.zeros(rows, np.int16), np.arange(rows, dtype=np.int32)
    if all(len(t) == rows and np.array_equal(t, times[0]) for t in times[1:]):
        row = np.arange(rows, dtype=np.int32)
        grid = row[:, None] + (np.arange(len(times), dtype=np.int32) * rows)[None, :]
        return np.tile(number, rows), grid.ravel()
    # A stable sort of runs that are sorted already only merges them.
    order = np.argsort(np.concatenate(times), kind="stable")
    return np.repeat(number, [len(t) for t in times])[order], order.astype(np.int32)


def _joined(name: str, columns: list[NDArray[np.float64]]) -> Rows:
    """Return the instruments' columns one after another; a constant column has one value."""
    repeats = name in _MAY_BE_ONE and all(c.strides == (0,) for c in columns)
    if repeats and len({_key(c[0]) for c in columns}) == 1:
        return columns[0][:1].copy()
    return np.ascontiguousarray(columns[0]) if len(columns) == 1 else np.concatenate(columns)


def _constant(column: Rows) -> float | str:
    """Return what a column of one value says, or that it varies."""
    return _key(column[0]) if len(column) == 1 else "varies"


def _key(value: float) -> float | str:
    return "nan" if math.isnan(value) else float(value)
