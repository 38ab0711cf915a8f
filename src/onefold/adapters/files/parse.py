"""Turn a table into bars, pure and in one pass over columns.

Each step either is exact or refuses: columns are found by name, times become UTC, quotes become
mids, the bar's close time follows from its open and the interval, and what is not plausible is
quarantined by the sanitiser with the row it stood in. Nothing is filled, sorted or rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onefold.adapters.files.columns import Columns
from onefold.adapters.files.config import IRREGULAR, BarsConfig, interval_text, parse_interval
from onefold.adapters.files.contracts import (
    Continuous,
    Contracts,
    check_order,
    find_contracts,
    join,
    one_contract,
)
from onefold.adapters.files.events import corporate_actions, roll_actions
from onefold.adapters.files.read import Origin, Table
from onefold.adapters.files.times import Times, read_times
from onefold.domain.calendars import seconds_to_close
from onefold.domain.columns import Bars, Floats, Integers
from onefold.domain.convert import take, to_records
from onefold.domain.errors import DataError
from onefold.domain.instruments import Instrument
from onefold.domain.records import Action, Quarantined
from onefold.domain.sanitise import CODES, REASONS, Sanitised, Verdicts, detail, sanitise

MODE_SHARE_MIN = 0.1
"""The least share of all steps that the most common one needs to be taken for the interval."""

BACKWARDS_MIN = 2
"""The least steps back in time that make it the order of the rows and not a slip."""


@dataclass(frozen=True)
class LoadedBars:
    """Bars of one instrument, and all that was learnt in reading them.

    `quarantined[i]` stood before the bar `before[i]`. `interval_ns` is 0 for irregular bars.
    `actions` are in order of time: one at `ts` comes after the bars that close at or before `ts`.
    `notes` are sentences for the user.
    """

    source: str
    instrument: Instrument
    bars: Bars
    quarantined: list[Quarantined]
    before: Integers
    counts: dict[str, int]
    interval_ns: int
    interval_inferred: bool
    closes_only: bool
    actions: list[Action] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Return the number of rows that were judged: the bars and the quarantined."""
        return self.bars.rows + len(self.quarantined)


@dataclass
class _Rows:
    """The judged rows in progress: where they stood, when, and at what price."""

    numbers: Integers
    bars: Bars
    refused: Verdicts
    interval_ns: int
    notes: list[str]

    def take(self, which: Integers | NDArray[np.bool_]) -> None:
        """Keep some rows, in the order given."""
        self.numbers, self.refused = self.numbers[which], self.refused[which]
        self.bars = take(self.bars, which)


def parse(table: Table, config: BarsConfig, now: int | None = None) -> LoadedBars:
    """Return the bars of a table.

    `now` (nanoseconds UTC) refuses bars of the future. Raises `DataError` for what makes the table
    as a whole unreadable, and `ConfigError` for an unknown calendar.
    """
    columns = Columns(table, config)
    # Of a file of ticks it is more useful to hear that than that it has contracts or no interval.
    columns.price_kind()
    contracts = _contracts(columns, config, table.origin)
    rows = _read_rows(columns, config)
    actions = list(corporate_actions(columns, rows.bars)) if config.actions else []
    if config.roll is not None and contracts is not None and len(contracts.names) > 1:
        actions += _roll(rows, contracts, columns, config)
    _limit(rows, config)
    if config.duplicates == "last":
        _refuse_followed(rows)
    clean = sanitise(rows.bars, config.instrument, now=now, refused=rows.refused)
    _note_conflicts(rows, clean, config.duplicates)
    bars = _finished(clean.bars, config, rows.interval_ns)
    records, before = _quarantined(rows, clean.verdicts, config, table.origin)
    return LoadedBars(
        source=table.origin.name,
        instrument=config.instrument,
        bars=bars,
        quarantined=records,
        before=before,
        counts=clean.counts(),
        interval_ns=rows.interval_ns,
        interval_inferred=config.interval is None,
        closes_only=config.closes_only,
        actions=_within(actions, bars),
        notes=rows.notes,
    )


def _contracts(columns: Columns, config: BarsConfig, origin: Origin) -> Contracts | None:
    """Find the contracts and drop the rows that are not wanted."""
    name = columns.find("contract")
    if name is None:
        if config.entry is not None or config.roll is not None:
            option = "entry" if config.entry is not None else "roll"
            raise DataError(
                f"{origin.name} has no column for the contract, so {option} has no meaning; name "
                "it with columns: {contract: NAME}"
            )
        return None
    contracts = find_contracts(columns.frame[name], origin)
    if config.roll is None:
        columns.keep(one_contract(contracts, config, origin))
    elif len(contracts.names) > 1:
        check_order(contracts, origin)
    return contracts


def _read_rows(columns: Columns, config: BarsConfig) -> _Rows:
    prices = columns.prices()
    times = read_times(columns.require("ts"), columns.numbers, config, columns.origin)
    notes: list[str] = []
    _check_direction(times, columns)
    interval_ns = _interval(times, config, columns.origin, notes)
    if config.ts_is == "open":
        ts_open, ts = times.ts, times.ts + interval_ns
        # A bar ends where the next begins at the latest: a local day may have 23 hours.
        ts[:-1] = np.where(np.diff(ts_open) > 0, np.minimum(ts[:-1], ts_open[1:]), ts[:-1])
    else:
        ts_open, ts = times.ts - interval_ns, times.ts
        # Nor does it begin before the last has ended: that day, and the last bar of a session.
        ts_open[1:] = np.where(np.diff(ts) > 0, np.maximum(ts_open[1:], ts[:-1]), ts_open[1:])
    notes += prices.notes
    refused = np.where(times.refused > 0, times.refused, prices.refused).astype(np.int8)
    unlimited = np.full(len(ts), -1, np.int64)
    bars = Bars(ts, ts_open, *prices.sides, prices.volume, prices.bid, prices.ask, unlimited)
    return _Rows(columns.numbers, bars, refused, interval_ns, notes)


def _check_direction(times: Times, columns: Columns) -> None:
    """Raise `DataError` for rows that go back in time throughout."""
    steps = np.diff(times.ts)
    back = np.flatnonzero(steps < 0)
    if len(back) >= BACKWARDS_MIN and not (steps > 0).any():
        place = columns.origin.at(int(columns.numbers[back[0] + 1]))
        raise DataError(
            f"{place} is earlier than the row before, and so on to the end: the newest row is the "
            "first; sort the rows, the oldest first"
        )


def _interval(times: Times, config: BarsConfig, origin: Origin, notes: list[str]) -> int:
    if config.interval == IRREGULAR:
        return 0
    if config.interval is not None:
        return parse_interval(config.interval)
    steps = np.diff(times.ts[times.refused == 0])
    sizes, counts = np.unique(steps[steps > 0], return_counts=True)
    if not len(sizes) or counts.max() < MODE_SHARE_MIN * counts.sum():
        raise DataError(
            f"{origin.name}: no step between times is common enough to be the interval; set "
            "interval: 1m, 1h, 1d or so, or irregular with ts_is: close"
        )
    interval_ns = int(sizes[counts.argmax()])
    share = counts.max() / counts.sum()
    notes.append(f"interval {interval_text(interval_ns)} inferred from {share:.0%} of the steps")
    return interval_ns


def _roll(rows: _Rows, contracts: Contracts, columns: Columns, config: BarsConfig) -> list[Action]:
    by_volume = config.roll == "volume"
    if by_volume and np.isnan(rows.bars.volume).all():
        raise DataError(f"{columns.origin.name} has no volume, so roll: volume has no meaning")
    measure: Floats = rows.bars.volume if by_volume else columns.numbers_of("open_interest")
    series: Continuous = join(contracts, rows.bars.ts_open, measure, summed=by_volume)
    actions = roll_actions(series, contracts, rows.bars, config.instrument.symbol, rows.notes)
    rows.take(series.rows)
    return actions


def _limit(rows: _Rows, config: BarsConfig) -> None:
    """Drop the rows outside of the period that the user asked for."""
    if config.start_ns is not None or config.end_ns is not None:
        start = -(2**63) if config.start_ns is None else config.start_ns
        end = 2**63 - 1 if config.end_ns is None else config.end_ns
        rows.take((rows.bars.ts_open >= start) & (rows.bars.ts <= end))


def _refuse_followed(rows: _Rows) -> None:
    """Refuse each row that the next one repeats, so that the last of a run is the one kept."""
    followed = np.append(rows.bars.ts[:-1] == rows.bars.ts[1:], [False])
    rows.refused[followed & (rows.refused == 0)] = CODES["duplicate"]


def _finished(bars: Bars, config: BarsConfig, interval_ns: int) -> Bars:
    """Add what needs the accepted bars: opens of irregular bars, and the time to the close."""
    if config.interval == IRREGULAR:
        bars = bars._replace(ts_open=np.concatenate((bars.ts[:1], bars.ts[:-1])))
    left = seconds_to_close(config.instrument.calendar, bars.ts, interval_ns)
    return bars._replace(to_close_s=left)


def _note_conflicts(rows: _Rows, clean: Sanitised, kept_row: str) -> None:
    again = np.flatnonzero(clean.verdicts == CODES["duplicate"])
    kept = np.searchsorted(clean.bars.ts, rows.bars.ts[again])
    # A row that was refused in favour of a later one has no partner when that was refused too.
    paired = kept < clean.bars.rows
    again, kept = again[paired], kept[paired]
    differ = np.zeros(len(again), np.bool_)
    for mine, theirs in zip(rows.bars[2:6], clean.bars[2:6], strict=True):
        differ |= mine[again] != theirs[kept]
    if differ.any():
        rows.notes.append(
            f"{int(differ.sum())} of {len(again)} duplicate rows have other prices than the row "
            f"that was kept (duplicates: {kept_row})"
        )


def _quarantined(
    rows: _Rows, verdicts: Verdicts, config: BarsConfig, origin: Origin
) -> tuple[list[Quarantined], Integers]:
    refused = np.flatnonzero(verdicts)
    before = np.cumsum(verdicts == 0)[refused]
    symbol = config.instrument.symbol
    records = []
    for row in refused.tolist():
        bar = next(to_records(rows.bars.slice(row, row + 1), symbol))
        reason = REASONS[verdicts[row] - 1]
        numbers = detail(reason, bar)
        place = origin.label(int(rows.numbers[row]))
        text = f"{place}: {numbers}" if numbers else place
        records.append(Quarantined(symbol, bar.ts, reason, text))
    return records, before


def _within(actions: list[Action], bars: Bars) -> list[Action]:
    if not bars.rows:
        return []
    first, last = int(bars.ts_open[0]), int(bars.ts[-1])
    return sorted((a for a in actions if first <= a.ts < last), key=lambda a: (a.ts, a.action))
