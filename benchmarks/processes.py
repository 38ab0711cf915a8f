"""Measure what a user waits for: the commands as whole processes, and the journal on this disk.

These figures have no peer; each stands beside the bound that is asked for.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.environments import HOME
from benchmarks.runner import Bounds, execute, json_line

HELP_RUNS = 5


@dataclass(frozen=True)
class Figures:
    """Figures by name, and one line for everything that could not be measured."""

    values: Mapping[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def command_figures(bounds: Bounds) -> Figures:
    """Return the wall seconds of ``onefold --help`` and of ``onefold demo``, cold and warm.

    Cold means an empty folder of compiled code. The demo writes into a folder that is thrown away.
    """
    program = Path(sys.executable).with_name("onefold")
    if not program.exists():
        return Figures(problems=(f"commands: {program.name} is not installed beside Python",))
    values, problems = {}, []
    helps = [execute([str(program), "--help"], bounds) for _ in range(HELP_RUNS)]
    if any(run.error for run in helps):
        problems.append(f"onefold --help: {helps[0].error}")
    else:
        values["help_s"] = statistics.median(run.wall_s for run in helps)
    HOME.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir=HOME))
    try:
        caches = {"ONEFOLD_CACHE_DIR": str(folder / "cache")}
        for name in ("demo_cold_s", "demo_warm_s"):
            run = execute([str(program), "demo"], bounds, caches, folder)
            if run.error:
                problems.append(f"onefold demo: {run.error}")
                break
            values[name] = run.wall_s
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Figures(values, tuple(problems))


def journal_figures(bounds: Bounds) -> Figures:
    """Return what ``benchmarks.w5_journal`` measured on the disk that holds ``.benchmarks``."""
    return figures_of("W5", "benchmarks.w5_journal", bounds)


def figures_of(work: str, module: str, bounds: Bounds) -> Figures:
    """Return the figures in the line of JSON that a module prints."""
    HOME.mkdir(exist_ok=True)
    run = execute([sys.executable, "-m", module, str(HOME)], bounds)
    line = json_line(run.output)
    if run.error or not line:
        return Figures(problems=(f"{work}: {run.error or 'it printed no line of JSON'}",))
    return Figures({name: float(value) for name, value in line.items() if is_number(value)})


def live_figures(bounds: Bounds) -> Figures:
    """Return what ``benchmarks.w6_live`` measured on the disk that holds ``.benchmarks``."""
    return figures_of("W6", "benchmarks.w6_live", bounds)


def model_figures(bounds: Bounds) -> Figures:
    """Return what ``benchmarks.w7_models`` measured."""
    return figures_of("W7", "benchmarks.w7_models", bounds)


def database_figures(bounds: Bounds) -> Figures:
    """Return what ``benchmarks.w10_database`` measured on the disk that holds ``.benchmarks``."""
    return figures_of("W10", "benchmarks.w10_database", bounds)


def is_number(value: object) -> bool:
    """Return whether a value of the line is a figure rather than a description."""
    return isinstance(value, int | float) and not isinstance(value, bool)
