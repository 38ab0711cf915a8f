"""Start the processes that are measured: one core, one thread, one at a time.

Every figure comes from a fresh process, so that no participant profits from what another left in
memory, and every process gets the same surroundings: the same core where the system can pin one,
and one thread in every numerical library.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environments import HOME, last_line

ROOT = Path(__file__).resolve().parents[1]
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "RAYON_NUM_THREADS",
    ),
    "1",
)


@dataclass(frozen=True)
class Bounds:
    """What a measured process is kept to: one core (None: any), and seconds until it is ended."""

    core: int | None
    timeout_s: float


@dataclass(frozen=True)
class Finished:
    """A process that ended: its output, or what went wrong, and its wall time in seconds."""

    output: str
    error: str
    wall_s: float


@dataclass(frozen=True)
class Run:
    """One participant on one work in one round: the line it printed, or what went wrong."""

    name: str
    work: str
    round: int
    line: Mapping[str, Any]
    error: str
    wall_s: float


def pinned(core: int | None) -> list[str]:
    """Return the words before a command that keep it on one core; none where that is not there."""
    taskset = shutil.which("taskset")
    return [taskset, "-c", str(core)] if taskset and core is not None else []


def default_core() -> int | None:
    """Return the last core this process may use, the one least likely to serve interrupts."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    return max(os.sched_getaffinity(0))


def execute(
    command: list[str],
    bounds: Bounds,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
) -> Finished:
    """Run a command to its end, pinned and with one thread, and return what it did."""
    started = time.perf_counter()
    try:
        done = subprocess.run(
            [*pinned(bounds.core), *command],
            env=os.environ | ONE_THREAD | dict(environment or {}),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=bounds.timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        wall_s = time.perf_counter() - started
        return Finished("", f"took longer than {bounds.timeout_s:g} s", wall_s)
    wall_s = time.perf_counter() - started
    return Finished(done.stdout, last_line(done.stderr) if done.returncode else "", wall_s)


def run_work(
    python: Path, module: str, work: str, size: int, bounds: Bounds
) -> tuple[Mapping[str, Any], Finished]:
    """Run one work in a participant's environment and return its line and how the process ended.

    Compiled code is cached per participant, as it is on a user's machine after the first run.
    """
    name = module.rpartition(".")[2]
    environment = {
        "PYTHONWARNINGS": "ignore",
        "NUMBA_CACHE_DIR": str(HOME / "cache" / name),
        "ONEFOLD_CACHE_DIR": str(HOME / "cache" / name),
    }
    command = [str(python), "-m", module, work, str(size)]
    finished = execute(command, bounds, environment)
    return json_line(finished.output), finished


def json_line(output: str) -> Mapping[str, Any]:
    """Return the last line of output that is a JSON object, or an empty mapping."""
    for text in reversed(output.splitlines()):
        if text.startswith("{"):
            line: dict[str, Any] = json.loads(text)
            return line
    return {}
