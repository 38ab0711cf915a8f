"""What a file of bars holds, before anyone trades on it.

Most losses from bad data were visible in the data. The report counts what the sanitiser refused
and shows what it cannot know to be wrong: gaps, bars without volume, the range of prices, jumps.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import numpy as np

from onefold.adapters.files.config import BarsConfig, FileConfig, interval_text
from onefold.adapters.files.parse import LoadedBars, parse
from onefold.adapters.files.read import read_file, read_frame
from onefold.domain.columns import Bars

GAPS_MAX = 10
"""How many of the largest gaps a report lists."""

TICK_SLACK = 0.01
"""How far from the tick grid a price may lie, in ticks: single precision needs as much."""

SECOND_NS = 1_000_000_000


class Gap(msgspec.Struct, frozen=True):
    """A stretch without bars: from the close of one to the open of the next (ISO 8601, UTC)."""

    start: str
    end: str
    missing: int


class Refused(msgspec.Struct, frozen=True):
    """How many rows one reason refused, and the first of them."""

    count: int
    example: str


class DataReport(msgspec.Struct, frozen=True):
    """The plausibility of one instrument's bars.

    Times are ISO 8601 in UTC. `gaps_total` counts the stretches without bars, `missing` the bars
    that would fill them; for markets with sessions nights and holidays are among them. `jump_max`
    is the largest change from close to close as a share, None where a close is not positive.
    `off_tick` counts bars with a price that is not on the instrument's tick grid.
    """

    source: str
    instrument: str
    rows: int
    bars: int
    first: str | None
    last: str | None
    interval: str
    interval_inferred: bool
    gaps: list[Gap]
    gaps_total: int
    missing: int
    zero_volume: int
    unknown_volume: int
    price_low: float | None
    price_high: float | None
    jump_max: float | None
    off_tick: int
    duplicates: int
    quarantined: dict[str, Refused]
    actions: dict[str, int]
    notes: list[str]

    @property
    def clean(self) -> bool:
        """Return whether every row is a plausible bar."""
        return not self.quarantined and self.bars > 0


def report(config: FileConfig, *, now: int | None = None) -> DataReport:
    """Judge a file; raises `DataError` only when it cannot be read as bars at all."""
    return describe(parse(read_file(config.path), config, now))


def report_frame(
    frame: object, config: BarsConfig, *, now: int | None = None, name: str = "frame"
) -> DataReport:
    """Judge a polars or pandas frame, or a mapping of names to columns."""
    return describe(parse(read_frame(frame, name), config, now))


def describe(loaded: LoadedBars) -> DataReport:
    """Return the report on bars that were loaded."""
    bars = loaded.bars
    gaps = _gaps(bars, loaded.interval_ns)
    largest = sorted(gaps, key=lambda gap: -gap.missing)[:GAPS_MAX]
    some = bars.rows > 0
    return DataReport(
        source=loaded.source,
        instrument=loaded.instrument.symbol,
        rows=loaded.rows,
        bars=bars.rows,
        first=_iso(int(bars.ts_open[0])) if some else None,
        last=_iso(int(bars.ts[-1])) if some else None,
        interval=interval_text(loaded.interval_ns) if loaded.interval_ns else "irregular",
        interval_inferred=loaded.interval_inferred,
        gaps=largest,
        gaps_total=len(gaps),
        missing=sum(gap.missing for gap in gaps),
        zero_volume=int((bars.volume == 0).sum()),
        unknown_volume=int(np.isnan(bars.volume).sum()),
        price_low=float(bars.low.min()) if some else None,
        price_high=float(bars.high.max()) if some else None,
        jump_max=_jump_max(bars),
        off_tick=_off_tick(bars, loaded.instrument.tick),
        duplicates=loaded.counts.get("duplicate", 0),
        quarantined=_refused(loaded),
        actions=_action_counts(loaded),
        notes=loaded.notes,
    )


def _gaps(bars: Bars, interval_ns: int) -> list[Gap]:
    if not interval_ns or bars.rows == 0:
        return []
    missing = (bars.ts_open[1:] - bars.ts[:-1]) // interval_ns
    return [
        Gap(_iso(int(bars.ts[i])), _iso(int(bars.ts_open[i + 1])), int(missing[i]))
        for i in np.flatnonzero(missing > 0).tolist()
    ]


def _jump_max(bars: Bars) -> float | None:
    if bars.rows <= 1 or not (bars.close > 0).all():
        return None
    return float(np.abs(np.diff(bars.close) / bars.close[:-1]).max())


def _off_tick(bars: Bars, tick: float) -> int:
    if tick == 0:
        return 0
    off = np.zeros(bars.rows, np.bool_)
    for prices in (bars.open, bars.high, bars.low, bars.close):
        steps = prices / tick
        off |= np.abs(steps - np.round(steps)) > TICK_SLACK
    return int(off.sum())


def _refused(loaded: LoadedBars) -> dict[str, Refused]:
    first: dict[str, str] = {}
    for record in loaded.quarantined:
        first.setdefault(record.reason, record.detail)
    return {reason: Refused(n, first[reason]) for reason, n in loaded.counts.items()}


def _action_counts(loaded: LoadedBars) -> dict[str, int]:
    names = [action.action for action in loaded.actions]
    return {name: names.count(name) for name in sorted(set(names))}


def _iso(ts: int) -> str:
    moment = datetime.fromtimestamp(ts // SECOND_NS, UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='seconds')}Z"
