"""Labels: what became of each event, and until when nobody could have known.

The label of a rule's entry is the trade itself: each event is run through the very fold and the
simulated venue that will trade it, with the strategy's own exits and costs. So a barrier that is
touched, a gap that jumps over it, a time exit or a signal that turns mean in training what they
mean in trading, and there is no second implementation that could differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onefold._compile import njit
from onefold.domain.columns import Bars, Floats, Integers, Sides
from onefold.domain.errors import ConfigError, DataError
from onefold.domain.words import Side
from onefold.sim.plan import Plan
from onefold.sim.single import Single


class Labels(NamedTuple):
    """What became of events, one value each.

    `row` is the bar at whose close the event was known, `end` the one at which its outcome was.
    `side` is 1 or -1, `gain` the return on the entry's value after costs, `won` whether it paid.
    """

    row: Integers
    end: Integers
    side: Integers
    gain: Floats
    won: Sides

    def take(self, chosen: NDArray[Any]) -> Labels:
        """Return some of the events."""
        return Labels(*(column[chosen] for column in self))


def trades(plan: Plan, bars: Bars, events: Integers) -> Labels:
    """Return the trade that each event would have been, by itself.

    `plan` has one strategy and one instrument; its sizing and gates are left out, since they decide
    which events are traded and not what becomes of them. Events whose entry never filled, or whose
    trade is still open at the end of the bars, have no label.
    """
    if len(plan.placements) != 1 or len(plan.instruments) != 1:
        raise ConfigError("labels are of one strategy in one instrument")
    run = Single(plan, bars)
    found = [(int(row), *outcome) for row in events if (outcome := run.outcome(int(row)))]
    row, end, side, gain = (np.array(c) for c in zip(*found, strict=True)) if found else ([],) * 4
    gains = np.asarray(gain, np.float64)
    return Labels(
        np.asarray(row, np.int64),
        np.asarray(end, np.int64),
        np.asarray(side, np.int64),
        gains,
        (gains > 0).astype(np.int8),
    )


def entries(sides: Sides, unready: Integers, *, turns_only: bool = False) -> Integers:
    """Return the rows at which a rule wants a position, or only those where that begins."""
    wants = ((sides == Side.LONG) | (sides == Side.SHORT)) & (unready == 0)
    if turns_only:
        before = np.r_[np.int8(Side.HOLD), sides[:-1]]
        wants &= sides != before
    return np.flatnonzero(wants)


@njit
def _cusum_nb(returns: Floats, threshold: float, out: Integers) -> int:
    up = down = 0.0
    used = 0
    for row in range(1, len(returns)):
        up = max(0.0, up + returns[row])
        down = min(0.0, down + returns[row])
        if up >= threshold or down <= -threshold:
            up = down = 0.0
            out[used] = row
            used += 1
    return used


def cusum(close: Floats, threshold: float) -> Integers:
    """Return the rows at which log returns, summed since the last such row, moved by a threshold.

    Lopez de Prado, Advances in Financial Machine Learning (2018), 2.5.2.1: the sum of rises is
    never below zero, that of falls never above. Raises `DataError` for prices without a logarithm.
    """
    returns = log_returns(close, "cusum")
    out = np.empty(len(close), np.int64)
    return out[: _cusum_nb(returns, threshold, out)]


def log_returns(close: Floats, what: str) -> Floats:
    """Return each bar's log return, 0 for the first; `DataError` says `what` needs it."""
    wrong = np.flatnonzero(close <= 0.0)
    if len(wrong):
        raise DataError(
            f"{what} is made of logarithms, and the close of bar {wrong[0] + 1} is "
            f"{close[wrong[0]]:g}, which is not above zero: leave {what} out for such data"
        )
    returns: Floats = np.r_[0.0, np.diff(np.log(close))]
    return returns


def _return(close: Floats, events: Integers, ends: Integers) -> Floats:
    """Return what prices changed by, as a share of their size: they may be below zero."""
    gain: Floats = (close[ends] - close[events]) / np.abs(close[events])
    return gain


def _labelled(close: Floats, events: Integers, horizon: int) -> Integers:
    """Return the events that have a whole horizon, and a price that a return can be a share of."""
    whole = events[events + horizon < len(close)]
    usable: Integers = whole[close[whole] != 0.0]
    return usable


def direction(close: Floats, events: Integers, horizon: int) -> Labels:
    """Return whether the close is higher after a fixed number of bars; the gain is its return."""
    events = _labelled(close, events, horizon)
    gain = _return(close, events, events + horizon)
    ones = np.ones(len(events), np.int64)
    return Labels(events, events + horizon, ones, gain, (gain > 0).astype(np.int8))


@njit
def _trend_nb(
    close: Floats, events: Integers, least: int, horizon: int, ends: Integers, t_values: Floats
) -> None:
    for n in range(len(events)):
        first, best, end = events[n], 0.0, events[n] + least
        sum_y = sum_xy = sum_yy = 0.0
        for k in range(horizon + 1):
            y = close[first + k] - close[first]
            sum_y += y
            sum_xy += k * y
            sum_yy += y * y
            if k < least:
                continue
            m = k + 1.0
            mean_x = k / 2.0
            spread = m * (m * m - 1.0) / 12.0
            slope = (sum_xy - mean_x * sum_y) / spread
            rest = sum_yy - sum_y * sum_y / m - slope * slope * spread
            error = (max(rest, 0.0) / (m - 2.0) / spread) ** 0.5
            t = (
                slope / error
                if error > 0.0
                else (1e9 if slope > 0.0 else -1e9 if slope < 0.0 else 0.0)
            )
            if abs(t) > abs(best):
                best, end = t, first + k
        ends[n], t_values[n] = end, best


def trend(close: Floats, events: Integers, horizon: int, least: int = 3) -> Labels:
    """Return the sign of the most significant linear trend that begins at each event.

    The trend is the regression of the close on time over `least` to `horizon` bars whose slope has
    the largest t-value in size. Lopez de Prado, Machine Learning for Asset Managers (2020), 5.4.
    """
    if horizon < least:
        raise ConfigError(f"trend: the horizon must be at least {least} bars, got {horizon}")
    events = _labelled(close, events, horizon)
    ends, t_values = np.empty(len(events), np.int64), np.empty(len(events))
    _trend_nb(close, events, least, horizon, ends, t_values)
    gain = _return(close, events, ends)
    ones = np.ones(len(events), np.int64)
    return Labels(events, ends, ones, gain, (t_values > 0).astype(np.int8))


def joined(parts: Sequence[Labels]) -> Labels:
    """Return the events of several instruments one after another."""
    return Labels(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
