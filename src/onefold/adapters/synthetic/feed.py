"""Made bars: a market of any length at no cost, the same every time.

Tests, demonstrations and soak runs need more bars than any sample has, with jumps, gaps and halts
where they can be counted. The walk is geometric: each bar is four normal steps in the logarithm of
the price, of which high and low are the extremes, so that a bar's range is that of its path.
Prices are rounded to the instrument's tick (0.01 when it has none), which also takes away the last
bits in which the exponential functions of two machines may differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC

import numpy as np
from numpy.typing import NDArray

from onefold.adapters.pace import AT_ONCE, Pace, paced
from onefold.adapters.synthetic.config import SyntheticConfig
from onefold.domain.calendars import seconds_to_close
from onefold.domain.columns import Bars, Floats, Integers
from onefold.domain.convert import to_records
from onefold.domain.records import Bar, Quarantined

SECOND_NS = 1_000_000_000
YEAR_S = 365.25 * 86_400
STEPS = 4
TICK_DEFAULT = 0.01
VOLUME_SPREAD = 0.6


def generate(config: SyntheticConfig) -> Bars:
    """Return the bars of a made market as columns.

    The order in which random numbers are drawn is part of the result: do not change it.
    """
    random = np.random.default_rng(config.seed)
    halted = _halts(random, config)
    path = _path(random, config, halted)
    volume = np.round(config.volume * np.exp(VOLUME_SPREAD * random.standard_normal(config.bars)))
    volume[halted] = 0.0
    missing = random.random(config.bars) < config.gap_rate
    ts_open = _opens(config)
    interval_ns = config.interval_s * SECOND_NS
    calendar = config.instrument.calendar
    kept = ~missing & (seconds_to_close(calendar, ts_open, interval_ns) != 0)
    ts_open = ts_open[kept]
    ts = ts_open + interval_ns
    unknown = np.full(len(ts), np.nan)
    left = seconds_to_close(calendar, ts, interval_ns)
    return Bars(ts, ts_open, *_sides(path[kept]), volume[kept], unknown, unknown, left)


class SyntheticFeed:
    """A feed of made bars, the same as `generate` gives at once."""

    def __init__(self, config: SyntheticConfig, pace: Pace = AT_ONCE) -> None:
        """Make the bars; raises `ConfigError` for a pace that is not positive."""
        self.instrument = config.instrument
        self.bars = generate(config)
        self._pace = pace.check()

    def __iter__(self) -> Iterator[Bar | Quarantined]:
        """Yield the bars; none is ever refused."""
        return paced(to_records(self.bars, self.instrument.symbol), self._pace)


def _opens(config: SyntheticConfig) -> Integers:
    start = config.start if config.start.tzinfo else config.start.replace(tzinfo=UTC)
    first = int(start.timestamp()) * SECOND_NS
    return first + np.arange(config.bars, dtype=np.int64) * (config.interval_s * SECOND_NS)


def _halts(random: np.random.Generator, config: SyntheticConfig) -> NDArray[np.bool_]:
    starts = random.random(config.bars) < config.halt_rate
    # A bar is halted when a halt started in the last `halt_bars` bars.
    started = np.cumsum(starts)
    before = np.concatenate((np.zeros(config.halt_bars, started.dtype), started))[: config.bars]
    return started > before


def _path(
    random: np.random.Generator, config: SyntheticConfig, halted: NDArray[np.bool_]
) -> Floats:
    """Return the price at the start of each bar and after each of its steps, on the tick grid."""
    years = config.interval_s / YEAR_S
    steps = (
        random.standard_normal((config.bars, STEPS)) * config.volatility * np.sqrt(years / STEPS)
    )
    steps += config.drift * years / STEPS
    jumps = random.random(config.bars) < config.jump_rate
    sizes = config.jump_size * random.standard_normal(config.bars)
    # A jump happens between two bars: it moves the open.
    opening = np.where(jumps, sizes, 0.0)
    steps[halted] = 0.0
    opening[halted] = 0.0
    moves = np.cumsum(np.column_stack((opening, steps)).ravel()).reshape(config.bars, STEPS + 1)
    tick = config.instrument.tick or TICK_DEFAULT
    return np.asarray(np.maximum(np.round(config.price * np.exp(moves) / tick), 1.0) * tick)


def _sides(path: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    return path[:, 0].copy(), path.max(axis=1), path.min(axis=1), path[:, -1].copy()
