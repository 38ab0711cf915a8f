"""Numbers and times as people read them, the same in reports, notebooks and on the command line."""

from __future__ import annotations

from datetime import datetime

import numpy as np

DASH = "\N{EM DASH}"
PRICE_LARGE, MONEY_LARGE = 1_000, 100_000
SECONDS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}


def percent(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """Return a share as a percentage, or a dash for None."""
    if value is None:
        return DASH
    return f"{_unsigned_zero(value * 100, digits):{'+' if sign else ''},.{digits}f} %"


def percent_short(value: float) -> str:
    """Return a share in percent with one digit and, unless that is zero, its sign."""
    text = f"{value * 100:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with a fixed number of digits, or a dash for None."""
    return DASH if value is None else f"{_unsigned_zero(value, digits):,.{digits}f}"


def money(value: float | None, *, sign: bool = False) -> str:
    """Return an amount, without cents from 100,000 on, or a dash for None."""
    if value is None:
        return DASH
    digits = 0 if abs(value) >= MONEY_LARGE else 2
    return f"{_unsigned_zero(value, digits):{'+' if sign else ''},.{digits}f}"


def whole(value: int | None) -> str:
    """Return a whole number with separators, or a dash for None."""
    return DASH if value is None else f"{value:,}"


def price(value: float | None) -> str:
    """Return a price with two decimals when large, else six digits, or a dash for None."""
    if value is None:
        return DASH
    if abs(value) >= PRICE_LARGE:
        return f"{value:,.2f}"
    return np.format_float_positional(value, 6, unique=False, fractional=False, trim="-")


def moment(value: datetime | None) -> str:
    """Return a time to the minute, or a dash for None."""
    return DASH if value is None else f"{value:%Y-%m-%d %H:%M}"


def duration(seconds: float | None) -> str:
    """Return a length of time in its largest fitting unit, or a dash for None."""
    if seconds is None:
        return DASH
    for unit, size in SECONDS.items():
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.3g} s"


def _unsigned_zero(value: float, digits: int) -> float:
    """Return 0.0 for what would be printed as minus zero."""
    rounded = round(value, digits)
    return 0.0 if rounded == 0 else rounded
