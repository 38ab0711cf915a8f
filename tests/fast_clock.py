"""`onefold` on a clock that runs faster: for a rehearsal of a month within an hour.

    python tests/fast_clock.py ORIGIN_NS SPEED run --mode live ...

The wall clock runs SPEED times as fast since ORIGIN_NS (nanoseconds UTC); what measures intervals,
and so every deadline and every retry, stays real. Everything else is the program itself.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def fast_clock(origin_ns: int, speed: int) -> Callable[[], int]:
    """Return a wall clock in nanoseconds that has run `speed` times as fast since a time."""
    real = time.time_ns
    return lambda: origin_ns + (real() - origin_ns) * speed


def main() -> None:
    """Set the clock, before anything else is imported that could look at it."""
    origin, speed, *arguments = sys.argv[1:]
    now = fast_clock(int(origin), int(speed))
    time.time_ns = now
    time.time = lambda: now() / 1e9
    sys.argv = ["onefold", *arguments]

    from onefold.app.main import main as onefold

    onefold()


if __name__ == "__main__":
    main()
