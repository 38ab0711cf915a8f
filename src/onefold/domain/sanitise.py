"""Keep implausible bars away from every decision, and say why each was refused.

A bad price that reaches the fold is an order at a bad price, so a bar is either plausible or
quarantined; nothing is repaired. Each reason exists twice, over columns and for one bar, because
research reads columns and a session reads bars, and both must refuse exactly the same rows.

The first reason of `REASONS` that applies is the verdict. What the time order is judged against is
the last *accepted* bar, so that one bar from the far future of the file cannot silence the rest.
An open or a close may lie outside the bar's range by `RANGE_SLACK` of the price: adjusted prices
are products, and the last bit of two products differs. Real violations are at least a tick.
"""

from __future__ import annotations

from math import isinf, isnan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onefold.domain.bounds import NUMBER_MAX
from onefold.domain.columns import Bars, Integers
from onefold.domain.convert import take
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar

REASONS = (
    "ambiguous_time",
    "nonexistent_time",
    "nan",
    "infinite",
    "too_large",
    "not_positive",
    "high_below_low",
    "open_or_close_outside_range",
    "crossed",
    "negative_volume",
    "ends_before_open",
    "future",
    "out_of_order",
    "duplicate",
    "overlap",
)
"""Every reason, the strongest first; `verdicts` holds their position plus one, 0 is plausible."""

CODES: dict[str, int] = {reason: code for code, reason in enumerate(REASONS, start=1)}
"""The number of each reason in `verdicts`."""

RANGE_SLACK = 1e-9
"""How far a price may lie outside the bar's range, as a share of the larger side of the range."""

BEFORE_ALL_NS = -(2**63)
"""A time before every bar."""

Verdicts = NDArray[np.int8]


class Sanitised(NamedTuple):
    """What came of a set of bars: the plausible ones, and a verdict for every row given.

    `verdicts` has one code a row of the input (see `CODES`); the rows with 0 are in `bars`.
    """

    bars: Bars
    verdicts: Verdicts

    def counts(self) -> dict[str, int]:
        """Return how many rows each reason refused; reasons without any are left out."""
        found = np.bincount(self.verdicts, minlength=len(REASONS) + 1)
        return {reason: int(found[code]) for reason, code in CODES.items() if found[code]}


class Sanitiser:
    """Judge one instrument's bars one at a time, with the verdicts of `sanitise`."""

    def __init__(self, instrument: Instrument, after: int = BEFORE_ALL_NS) -> None:
        """Expect bars that close after `after` (nanoseconds UTC)."""
        self._floor = _floor(instrument)
        self.last_ts = after

    def check(self, bar: Bar, now: int | None = None) -> str | None:
        """Return why a bar is refused, or None and remember its time.

        `now` in nanoseconds UTC; bars that close later than it are refused.
        """
        reason = _bar_reason(bar, self._floor)
        if reason is None:
            reason = self._time_reason(bar, now)
        if reason is None:
            self.last_ts = bar.ts
        return reason

    def _time_reason(self, bar: Bar, now: int | None) -> str | None:
        if now is not None and bar.ts > now:
            return "future"
        if bar.ts > self.last_ts:
            return "overlap" if bar.ts_open < self.last_ts else None
        return "duplicate" if bar.ts == self.last_ts else "out_of_order"


def sanitise(
    bars: Bars,
    instrument: Instrument,
    *,
    now: int | None = None,
    after: int = BEFORE_ALL_NS,
    refused: Verdicts | None = None,
) -> Sanitised:
    """Return the plausible bars and a verdict for every row.

    `now` and `after` are as in `Sanitiser`. `refused` has the verdicts of rows that their parser
    already refused (0 elsewhere); these keep their reason.
    """
    verdicts = np.zeros(bars.rows, np.int8) if refused is None else refused.astype(np.int8)
    suspects = _suspects(bars, _floor(instrument))
    if suspects is not None:
        rows = suspects[verdicts[suspects] == 0]
        # Infinities make NaN of a difference; such rows have a stronger reason already.
        with np.errstate(invalid="ignore"):
            verdicts[rows] = _price_verdicts(bars, rows, _floor(instrument))
    if now is not None:
        verdicts[(verdicts == 0) & (bars.ts > now)] = CODES["future"]
    _judge_order(bars, verdicts, after)
    if not verdicts.any():
        return Sanitised(bars, verdicts)
    return Sanitised(take(bars, verdicts == 0), verdicts)


def detail(reason: str, bar: Bar) -> str:
    """Return the numbers behind a verdict in words."""
    if reason in {"nan", "infinite", "too_large", "not_positive", "open_or_close_outside_range"}:
        return f"open {bar.open} high {bar.high} low {bar.low} close {bar.close}"
    if reason == "high_below_low":
        return f"high {bar.high} below low {bar.low}"
    if reason == "crossed":
        return f"bid {bar.bid} above ask {bar.ask}"
    if reason == "negative_volume":
        return f"volume {bar.volume}"
    if reason in {"ends_before_open", "overlap"}:
        return f"opens {np.datetime64(bar.ts_open, 'ns')}Z, closes {np.datetime64(bar.ts, 'ns')}Z"
    return ""


def _floor(instrument: Instrument) -> float:
    """Return the value that every price must exceed."""
    return -NUMBER_MAX if instrument.negative_prices else 0.0


def _bar_reason(bar: Bar, floor: float) -> str | None:
    if _clearly_plausible(bar, floor):
        return None
    prices = (bar.open, bar.high, bar.low, bar.close)
    touch = [x for x in (bar.bid, bar.ask) if x is not None and not isnan(x)]
    volume = 0.0 if bar.volume is None or isnan(bar.volume) else bar.volume
    if any(isnan(x) for x in prices):
        return "nan"
    if any(isinf(x) for x in (*prices, *touch, volume)):
        return "infinite"
    if max(abs(x) for x in (*prices, *touch, volume)) >= NUMBER_MAX:
        return "too_large"
    if min(*prices, *touch) <= floor:
        return "not_positive"
    return _range_reason(bar) or _rest_reason(bar, touch, volume)


def _range_reason(bar: Bar) -> str | None:
    slack = RANGE_SLACK * max(abs(bar.high), abs(bar.low))
    if bar.high < bar.low - slack:
        return "high_below_low"
    if max(bar.open, bar.close) > bar.high + slack or min(bar.open, bar.close) < bar.low - slack:
        return "open_or_close_outside_range"
    return None


def _rest_reason(bar: Bar, touch: list[float], volume: float) -> str | None:
    if len(touch) > 1 and touch[0] > touch[1]:
        return "crossed"
    if volume < 0:
        return "negative_volume"
    return "ends_before_open" if bar.ts < bar.ts_open else None


def _clearly_plausible(bar: Bar, floor: float) -> bool:
    """Return whether a bar passes on the few comparisons that almost every bar passes."""
    return (
        bar.bid is None
        and bar.ask is None
        and bar.volume is not None
        and 0 <= bar.volume < NUMBER_MAX
        and floor < bar.low <= bar.open <= bar.high < NUMBER_MAX
        and bar.low <= bar.close <= bar.high
        and bar.ts_open <= bar.ts
    )


def _suspects(bars: Bars, floor: float) -> Integers | None:
    """Return the rows that need a closer look, or None; exact comparisons also catch NaN."""
    fine = bars.low <= bars.open
    fine &= bars.open <= bars.high
    fine &= bars.low <= bars.close
    fine &= bars.close <= bars.high
    fine &= bars.low > floor
    fine &= bars.high < NUMBER_MAX
    fine &= bars.ts_open <= bars.ts
    # Unknown (NaN) volume and touch are allowed, so these look for the bad and not for the good.
    fine &= ~(bars.volume < 0)
    fine &= ~(bars.volume >= NUMBER_MAX)
    for touch in (bars.bid, bars.ask):
        if not np.isnan(touch).all():
            fine &= ~(touch <= floor)
            fine &= ~(touch >= NUMBER_MAX)
            fine &= ~(bars.bid > bars.ask)
    return None if fine.all() else np.flatnonzero(~fine)


def _price_verdicts(bars: Bars, rows: Integers, floor: float) -> Verdicts:
    """Return the verdicts of some rows on everything but their time."""
    sides = [column[rows] for column in (bars.open, bars.high, bars.low, bars.close)]
    open_, high, low, close = sides
    bid, ask, volume = bars.bid[rows], bars.ask[rows], bars.volume[rows]
    every = [*sides, bid, ask, volume]
    slack = RANGE_SLACK * np.maximum(np.abs(high), np.abs(low))
    tests: dict[str, NDArray[np.bool_]] = {
        "nan": _any([np.isnan(side) for side in sides]),
        "infinite": _any([np.isinf(column) for column in every]),
        "too_large": _any([np.abs(column) >= NUMBER_MAX for column in every]),
        "not_positive": _any([column <= floor for column in (*sides, bid, ask)]),
        "high_below_low": high < low - slack,
        "open_or_close_outside_range": (np.maximum(open_, close) > high + slack)
        | (np.minimum(open_, close) < low - slack),
        "crossed": bid > ask,
        "negative_volume": volume < 0,
        "ends_before_open": bars.ts[rows] < bars.ts_open[rows],
    }
    # The strongest reason is written last.
    verdicts = np.zeros(len(rows), np.int8)
    for reason in reversed(tests):
        verdicts[tests[reason]] = CODES[reason]
    return verdicts


def _any(masks: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    found = masks[0].copy()
    for mask in masks[1:]:
        found |= mask
    return found


def _judge_order(bars: Bars, verdicts: Verdicts, after: int) -> None:
    """Refuse rows that do not follow the last accepted one, in place.

    A row is accepted if it is later than the latest candidate before it, and a candidate that is
    not accepted is never later than that; so a running maximum over the candidates is enough,
    unless one is refused because it overlaps.
    """
    ends = np.concatenate(([after], bars.ts))[:-1]
    if (bars.ts > ends).all() and (bars.ts_open >= ends).all():
        return
    rows = np.flatnonzero(verdicts == 0)
    times, opens = bars.ts[rows], bars.ts_open[rows]
    latest = np.maximum.accumulate(np.concatenate(([after], times)))[:-1]
    later = times > latest
    if (later & (opens < latest)).any():
        _judge_in_turn(bars, rows, verdicts, after)
        return
    verdicts[rows[times < latest]] = CODES["out_of_order"]
    verdicts[rows[times == latest]] = CODES["duplicate"]


def _judge_in_turn(bars: Bars, rows: Integers, verdicts: Verdicts, last: int) -> None:
    """Judge the time of rows one after another, where each verdict hangs on those before."""
    times = zip(rows.tolist(), bars.ts[rows].tolist(), bars.ts_open[rows].tolist(), strict=True)
    for row, ts, ts_open in times:
        if ts > last and ts_open >= last:
            last = ts
        elif ts > last:
            verdicts[row] = CODES["overlap"]
        else:
            verdicts[row] = CODES["duplicate" if ts == last else "out_of_order"]
