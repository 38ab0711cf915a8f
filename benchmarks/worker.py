"""Run one work for one participant in this process, and print what it took as one line of JSON.

Every participant, ours and the peers', is measured by this module, so that what is timed and how
is the same for all: the first call apart (it compiles, or loads what was compiled), then the
median of warm calls; data preparation that a user does once is timed apart as well. Only numpy is
imported here, because it runs inside the peers' own environments.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from benchmarks.works import USUAL, Outcome, Rule

T = TypeVar("T")


@dataclass(frozen=True)
class Elapsed:
    """How long something took: on the clock, and of the processor (all threads, system time in).

    The two differ when the process had to wait, which none of the works makes it do: then other
    processes had the core.
    """

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Timing:
    """The first call, and the median of the warm calls after it."""

    first: Elapsed
    run: Elapsed


@dataclass(frozen=True)
class Measurement:
    """What one participant did with one work.

    `outcomes` maps the pair of averages (``"10/30"``; ``""`` outside W3) to its outcome. `rule` is
    the one by which the reference has to be computed, because not every engine can fill at the next
    open.
    """

    timing: Timing
    outcomes: Mapping[str, Outcome]
    prepare: Elapsed = Elapsed(0.0, 0.0)
    note: str = ""
    rule: Rule = USUAL


def timed(call: Callable[[], T]) -> tuple[T, Elapsed]:
    """Return what `call` returns and how long it took."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    result = call()
    return result, Elapsed(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def measure(call: Callable[[], T], warm_runs: int) -> tuple[T, Timing]:
    """Call once, then `warm_runs` times more, and return the last result with the timing.

    With no warm runs the only call counts: right for engines that compile nothing.
    """
    result, first = timed(call)
    warm = []
    for _ in range(warm_runs):
        result, elapsed = timed(call)
        warm.append(elapsed)
    return result, Timing(first, median_of(warm) if warm else first)


def median_of(times: Sequence[Elapsed]) -> Elapsed:
    """Return the medians of both clocks."""
    return Elapsed(
        statistics.median(each.wall_s for each in times),
        statistics.median(each.cpu_s for each in times),
    )


def peak_memory_mb() -> float:
    """Return the largest resident size of this process so far, or NaN where it is not known."""
    if sys.platform == "win32":
        return float("nan")
    import resource  # noqa: PLC0415  (POSIX only)

    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e6


def main(name: str, version: str, works: Mapping[str, Callable[[int], Measurement]]) -> None:
    """Run the work named on the command line and print one line of JSON."""
    parser = argparse.ArgumentParser(description=f"Measure one work with {name}.")
    parser.add_argument("work", choices=sorted(works))
    parser.add_argument("size", type=int, help="bars (w1, w4), symbols (w2) or pairs (w3)")
    arguments = parser.parse_args()
    measurement = works[arguments.work](arguments.size)
    line = {
        "name": name,
        "version": version,
        "python": platform.python_version(),
        "work": arguments.work,
        "size": arguments.size,
        **asdict(measurement),
        "memory_mb": round(peak_memory_mb(), 1),
    }
    print(json.dumps(line), flush=True)
