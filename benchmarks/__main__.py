"""Run the benchmarks: prepare, measure in rounds, print the ratios and the floors.

Participants take turns within a round and start in another order in the next, so that a machine
that becomes slower during the session does so for everybody.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import environments, processes, report, works
from benchmarks.environments import HOME, PEERS, QUICK, WHOLE, Installed
from benchmarks.report import OURS
from benchmarks.runner import Bounds, Run, default_core, run_work

COMPARED = ("w1", "w2", "w3", "w4")
EVERYTHING = (*COMPARED, "w5", "w6", "w7", "w10", "process")


@dataclass(frozen=True)
class Participant:
    """Somebody who is measured: interpreter, module, and the size of each work."""

    name: str
    python: Path
    module: str
    sizes: Mapping[str, int]
    packages: Sequence[str]


def main() -> int:
    """Run the session and return the exit status: 0, or 1 when nothing could be measured."""
    options = parse()
    works.make_data()
    participants, absent = gather(options)
    runs = measure_rounds(participants, options)
    figures = measure_figures(options)
    summaries = summarise(runs, options.clock)
    print(session_text(summaries, figures, [*absent, *failures(runs), *figures.problems], options))
    write_results(options, participants, runs, summaries, figures)
    return 0 if summaries or figures.values else 1


def parse() -> argparse.Namespace:
    """Return the options, each validated."""
    parser = argparse.ArgumentParser(
        prog="benchmarks", description="Measure Onefold and its peers on the same work."
    )
    names = [OURS, *(peer.name for peer in PEERS)]
    parser.add_argument("--rounds", type=positive, default=3, help="default 3")
    parser.add_argument(
        "--works", type=names_among(EVERYTHING), default=EVERYTHING, metavar="W1,W3"
    )
    parser.add_argument("--peers", type=names_among(names), default=names, metavar="NAME,NAME")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="smaller sizes, for a first look")
    size.add_argument("--full", action="store_true", help="the whole work for slow peers too")
    parser.add_argument("--core", type=int, default=default_core(), help="core to pin to")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="default wall")
    parser.add_argument("--timeout-s", type=positive, default=900, help="for one process")
    return parser.parse_args()


def positive(text: str) -> int:
    """Read a whole number of at least one."""
    value = int(text)
    if value < 1:
        message = f"{text} is not a whole number of at least 1"
        raise argparse.ArgumentTypeError(message)
    return value


def names_among(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Return a reader of names with commas between them, each out of `known`."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            message = f"{', '.join(unknown) or 'nothing'}: choose from {', '.join(known)}"
            raise argparse.ArgumentTypeError(message)
        return names

    return read


def gather(options: argparse.Namespace) -> tuple[list[Participant], list[str]]:
    """Return who takes part, each in a ready environment, and a line for everyone who cannot."""
    present, absent = [], []
    if OURS in options.peers:
        sizes = fitting({**WHOLE, "w4e": QUICK["w1"]}, options)
        present.append(Participant(OURS, Path(sys.executable), "benchmarks.ours", sizes, ()))
    for peer in PEERS:
        if peer.name not in options.peers or not set(COMPARED) & set(options.works):
            continue
        progress(f"environment of {peer.name}")
        outcome = environments.install(peer)
        if isinstance(outcome, Installed):
            sizes = fitting(
                {w: WHOLE[w] for w in peer.sizes} if options.full else peer.sizes, options
            )
            module = f"benchmarks.peers.{peer.name}"
            present.append(Participant(peer.name, outcome.python, module, sizes, outcome.packages))
        else:
            absent.append(f"{peer.name}: not installed: {outcome.reason}")
        absent.extend(
            f"{peer.name}: no {work.upper()}: {reason}"
            for work, reason in peer.cannot.items()
            if work in options.works
        )
    return present, absent


def fitting(sizes: Mapping[str, int], options: argparse.Namespace) -> dict[str, int]:
    """Return the sizes of the works that were asked for, smaller ones for a quick look."""
    wanted = {work: size for work, size in sizes.items() if work[:2] in options.works}
    if options.quick:
        return {work: min(size, QUICK.get(work, QUICK[work[:2]])) for work, size in wanted.items()}
    return wanted


def measure_rounds(participants: Sequence[Participant], options: argparse.Namespace) -> list[Run]:
    """Return the runs of all rounds; who fails at a work is not asked for it again."""
    runs: list[Run] = []
    failed: set[tuple[str, str]] = set()
    for number in range(options.rounds):
        turn = number % max(len(participants), 1)
        for work in ("w1", "w2", "w3", "w3o", "w4", "w4e"):
            for each in [*participants[turn:], *participants[:turn]]:
                if work not in each.sizes or (each.name, work) in failed:
                    continue
                run = measure(each, work, number, options)
                runs.append(run)
                if run.error:
                    failed.add((each.name, work))
    return runs


def measure(each: Participant, work: str, number: int, options: argparse.Namespace) -> Run:
    """Run one work of one participant and say so."""
    size = each.sizes[work]
    line, finished = run_work(each.python, each.module, work, size, bounds_of(options))
    error = finished.error or ("" if line else "it printed no line of JSON")
    said = error or f"{report.duration(line['timing']['run']['wall_s'])}"
    progress(f"round {number + 1}/{options.rounds}  {work}  {each.name}: {said}")
    return Run(each.name, work, number, line, error, finished.wall_s)


def measure_figures(options: argparse.Namespace) -> processes.Figures:
    """Return the figures that have no peer: the journal, and whole commands."""
    parts = []
    if OURS in options.peers and "w5" in options.works:
        progress("w5: the journal on this disk")
        parts.append(processes.journal_figures(bounds_of(options)))
    if OURS in options.peers and "w6" in options.works:
        progress("w6: from a bar to the order that leaves")
        parts.append(processes.live_figures(bounds_of(options)))
    if OURS in options.peers and "w7" in options.works:
        progress("w7: models")
        parts.append(processes.model_figures(bounds_of(options)))
    if OURS in options.peers and "w10" in options.works:
        progress("w10: the database")
        parts.append(processes.database_figures(bounds_of(options)))
    if OURS in options.peers and "process" in options.works:
        progress("process: onefold --help, onefold demo")
        parts.append(processes.command_figures(bounds_of(options)))
    values = {name: value for part in parts for name, value in part.values.items()}
    return processes.Figures(values, tuple(p for part in parts for p in part.problems))


def summarise(runs: Sequence[Run], clock: str) -> report.Summaries:
    """Return the medians by participant and work, from the runs that ended well."""
    good: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if not run.error:
            good.setdefault((run.name, run.work), []).append(run)
    return {key: report.summarise(group, clock) for key, group in good.items()}


def failures(runs: Sequence[Run]) -> list[str]:
    """Return one line for every run that failed."""
    return [f"{run.name}: {run.work.upper()}: {run.error}" for run in runs if run.error]


def session_text(
    summaries: report.Summaries,
    figures: processes.Figures,
    problems: Sequence[str],
    options: argparse.Namespace,
) -> str:
    """Return everything the session has to say."""
    names = [OURS, *(peer.name for peer in PEERS)]
    method = f"core {options.core}, one thread, {options.clock} time, medians of {options.rounds}"
    parts = [
        f"{machine()}; {method}",
        report.ratio_table(summaries, names),
        report.warning_when_busy(summaries, options.clock),
        report.floor_table(report.floors(summaries, figures.values)),
    ]
    if problems:
        parts.append("\n".join(["Not measured:", *(f"  {problem}" for problem in problems)]))
    return "\n\n".join(part for part in parts if part)


def machine() -> str:
    """Return the processor, the system and the Python of this session in one line."""
    processor = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    cores = os.cpu_count()
    return f"{processor}, {cores} cores, {platform.system()}, Python {platform.python_version()}"


def write_results(
    options: argparse.Namespace,
    participants: Sequence[Participant],
    runs: Sequence[Run],
    summaries: report.Summaries,
    figures: processes.Figures,
) -> None:
    """Write every run, with the machine and the packages, for whoever wants to look closer."""
    folder = HOME / "results"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    document = {
        "machine": machine(),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "options": vars(options),
        "packages": {each.name: each.packages for each in participants},
        "medians": [asdict(summary) for summary in summaries.values()],
        "figures": asdict(figures),
        "runs": [asdict(run) for run in runs],
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    progress(f"every run: {path}")


def bounds_of(options: argparse.Namespace) -> Bounds:
    """Return what every measured process is kept to."""
    return Bounds(options.core, options.timeout_s)


def progress(text: str) -> None:
    """Say on standard error what is going on; the table alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
