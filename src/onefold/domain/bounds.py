"""How large a number may be before it is a mistake rather than a market.

Compiled code adds and multiplies without looking, and an integer that overflows becomes another
number without a word. So everything that comes in is bounded where it comes in, far above what is
ever traded and far below what eight bytes hold: prices times lots times multipliers stay finite,
sums of lots stay whole, and a time plus a duration is still a time.
"""

from __future__ import annotations

NUMBER_MAX = 1e15
"""Prices, volumes, money, factors: up to here a float still counts in eighths."""

SIZE_MAX = 1e12
SIZE_MIN = 1e-12
"""Units in a lot, money for a point: the facts by which prices and lots are multiplied."""

LOTS_MAX = 10**12
"""Lots of one order or one limit."""

COUNT_MAX = 10**9
"""Bars, trades, orders: things that are counted."""

SECONDS_MAX = 10**9
"""A duration in seconds: some 31 years."""

TS_MAX = 2**62
"""Times in nanoseconds UTC, and numbers of records: the year 2116."""

RATIO_MAX = 1e6
"""New units for one old in a split; its inverse is the least."""
