"""Turn the rounds into medians, check every answer, and print the ratio table and the floors.

*Inputs* are the runs as they came out of the processes; *output* is text. A time is compared per
bar, symbol-bar or evaluation, so that a slow engine may do a smaller part of a work. *Invariant*:
no figure is printed that was not measured in this session.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import works
from benchmarks.runner import Run

OURS = "onefold"
BUSY_SHARE = 0.05
PROFIT_TOLERANCE = 1e-3  # money; sums of a million floats differ by less
UNITS = {
    "w1": "bar",
    "w2": "symbol-bar",
    "w3": "evaluation",
    "w3o": "evaluation",
    "w4": "bar",
    "w4e": "bar",
}
TITLES = {
    "w1": "W1 crossover, one symbol",
    "w2": "W2 portfolio, cap of 20",
    "w3": "W3 sweep of pairs",
    "w3o": "W3 searched by Optuna",
    "w4": "W4 order on every bar, batch",
    "w4e": "W4 order on every bar, event by event",
}
NOT_BY_EVENT = "vectorbt"
HEADINGS = ("", "size", "per unit", "spread", "time, {base} = 1", "first s", "MB", "answer", "note")


@dataclass(frozen=True)
class Summary:
    """The median over the rounds of one participant on one work.

    `waited` is the share of the time on the clock in which the process did not have the core.
    """

    name: str
    version: str
    work: str
    size: int
    rounds: int
    unit_s: float
    fastest_s: float
    slowest_s: float
    first_s: float
    waited: float
    memory_mb: float
    answer: str
    note: str


Summaries = Mapping[tuple[str, str], Summary]  # by participant and work


@dataclass(frozen=True)
class Floor:
    """A figure that is asked for: at least, or at most, `required`; better still `aim`."""

    name: str
    measured: float | None
    required: float
    aim: float | None = None
    at_least: bool = True

    def verdict(self) -> str:
        """Return in words whether the figure was reached."""
        if self.measured is None:
            return "not measured"
        if self.aim is not None and self.holds(self.measured, self.aim):
            return "aim reached"
        return "reached" if self.holds(self.measured, self.required) else "not reached"

    def holds(self, value: float, bound: float) -> bool:
        """Return whether `value` is on the right side of `bound`."""
        return value >= bound if self.at_least else value <= bound


def units(work: str, size: int) -> int:
    """Return how many bars, symbol-bars or evaluations a work of this size has."""
    return size * works.W2_DAYS if work == "w2" else size


def summarise(runs: Sequence[Run], clock: str) -> Summary:
    """Return the medians of the good runs of one participant on one work.

    `clock` is ``wall`` or ``cpu``.
    """
    lines = [run.line for run in runs]
    last = lines[-1]
    count = units(last["work"], last["size"])
    per_unit = [line["timing"]["run"][f"{clock}_s"] / count for line in lines]
    waited = [
        1 - line["timing"]["run"]["cpu_s"] / line["timing"]["run"]["wall_s"] for line in lines
    ]
    return Summary(
        name=runs[-1].name,
        version=last["version"],
        work=last["work"],
        size=last["size"],
        rounds=len(runs),
        unit_s=statistics.median(per_unit),
        fastest_s=min(per_unit),
        slowest_s=max(per_unit),
        first_s=statistics.median(line["timing"]["first"][f"{clock}_s"] for line in lines),
        waited=statistics.median(waited),
        memory_mb=statistics.median(line["memory_mb"] for line in lines),
        answer=worst_answer(lines),
        note=last["note"],
    )


def worst_answer(lines: Iterable[Mapping[str, Any]]) -> str:
    """Return the answer of the rounds, and the worst one when they do not agree."""
    answers = {answer(line) for line in lines}
    rank = ("same", "same, ties apart")
    return max(answers, key=lambda text: (text not in rank, text != "same", text))


def answer(line: Mapping[str, Any]) -> str:
    """Return how the outcomes of a line compare with the reference."""
    verdicts = []
    for key, fields in line["outcomes"].items():
        expected = reference(line, key)
        verdicts.append(compare(works.Outcome(**fields), expected))
    different = [verdict for verdict in verdicts if verdict.startswith("differs")]
    if different:
        return different[0]
    return "same" if all(verdict == "same" for verdict in verdicts) else "same, ties apart"


def reference(line: Mapping[str, Any], key: str) -> works.Outcome:
    """Return what the participant should have found, by the fill rule that it states."""
    rule = works.Rule(**line["rule"])
    if line["work"] == "w2":
        return works.reference_portfolio(line["size"], rule)
    work = line["work"][:2]
    fast, _, slow = key.partition("/")
    pair = (int(fast), int(slow)) if key else (works.FAST, works.SLOW)
    return works.reference_single(work, line["size"], pair, rule)


def compare(found: works.Outcome, expected: works.Outcome) -> str:
    """Return ``same``, ``same, ties apart`` or what differs."""
    off = abs(found.profit - expected.profit)
    expected_fills = expected.fills or 0
    fills = expected_fills if found.fills is None else found.fills
    off_fills = abs(fills - expected_fills)
    if off <= PROFIT_TOLERANCE and off_fills == 0:
        return "same"
    if off <= expected.tie_profit + PROFIT_TOLERANCE and off_fills <= expected.tie_fills:
        return "same, ties apart"
    return (
        f"differs: P&L {found.profit:.4f} for {expected.profit:.4f}, "
        f"fills {fills} for {expected_fills}"
    )


def ratio_table(summaries: Summaries, names: Sequence[str]) -> str:
    """Return the table of all works, each participant's time as a multiple of ours."""
    base = OURS if any(name == OURS for name, _ in summaries) else "fastest"
    rows = [tuple(heading.format(base=base) for heading in HEADINGS)]
    for work, title in TITLES.items():
        group = [summary for name in names if (summary := found(summaries, name, work)) is not None]
        if not group:
            continue
        ours = summaries.get((OURS, work))
        apart = base == OURS and ours is None
        heading = f"{title} ({OURS} not measured: fastest = 1)" if apart else title
        rows.append((heading, *[""] * (len(HEADINGS) - 1)))
        base_s = ours.unit_s if ours else min(summary.unit_s for summary in group)
        rows.extend(table_row(summary, base_s) for summary in group)
    return aligned(rows)


def found(summaries: Summaries, name: str, work: str) -> Summary | None:
    """Return a participant's figure for a line of the table.

    Peers have one W4; those that work event by event stand beside both of ours.
    """
    if work == "w4e" and name != OURS:
        has_ours = (OURS, "w4e") in summaries
        return summaries.get((name, "w4")) if has_ours and name != NOT_BY_EVENT else None
    return summaries.get((name, work))


def table_row(summary: Summary, base_s: float) -> tuple[str, ...]:
    """Return one line of the table."""
    spread = (summary.slowest_s - summary.fastest_s) / summary.unit_s
    return (
        f"  {summary.name} {summary.version}",
        f"{summary.size:,}",
        f"{duration(summary.unit_s)}/{UNITS[summary.work]}",
        f"{spread:.0%}",
        f"{summary.unit_s / base_s:,.2f}",
        f"{summary.first_s:.2f}",
        f"{summary.memory_mb:,.0f}",
        summary.answer,
        summary.note,
    )


def warning_when_busy(summaries: Summaries, clock: str) -> str:
    """Return a warning when other processes had the core during the session, else nothing."""
    busy = [summary for summary in summaries.values() if summary.waited > BUSY_SHARE]
    if not busy:
        return ""
    worst = max(summary.waited for summary in busy)
    remedy = (
        "Their share is not in the times above."
        if clock == "cpu"
        else "Compare with --clock cpu, or run again when nothing else runs."
    )
    return (
        f"The machine was busy: in {len(busy)} of {len(summaries)} figures other processes had the "
        f"core for up to {worst:.0%} of the time.\n{remedy}"
    )


def duration(seconds: float) -> str:
    """Return a time with three digits and a fitting unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def floors(summaries: Summaries, figures: Mapping[str, float]) -> list[Floor]:
    """Return the figures that are asked for, with what was measured."""

    def times_vectorbt(work: str) -> float | None:
        ours, peer = summaries.get((OURS, work)), summaries.get(("vectorbt", work))
        return peer.unit_s / ours.unit_s if ours and peer else None

    def ours_us(work: str) -> float | None:
        ours = summaries.get((OURS, work))
        return ours.unit_s * 1e6 if ours else None

    sweep = summaries.get((OURS, "w3"))
    return [
        Floor("W1 speed, times vectorbt warm", times_vectorbt("w1"), 5, 12),
        Floor("W2 speed, times vectorbt from_order_func", times_vectorbt("w2"), 5, 10),
        Floor("W3 speed, times vectorbt", times_vectorbt("w3"), 5, 10),
        Floor("W3 memory, MB", sweep.memory_mb if sweep else None, 1_000, at_least=False),
        Floor("W4 batch, µs a bar", ours_us("w4"), 0.35, at_least=False),
        Floor("W4 event by event, µs a bar", ours_us("w4e"), 30, 10, at_least=False),
        Floor("Journal, records/s at 512 a commit", figures.get("records_per_s_512"), 400_000),
        Floor(
            "Journal, commit of one in bare fdatasyncs",
            figures.get("commit_to_fdatasync"),
            1.5,
            at_least=False,
        ),
        Floor(
            "Bar to order sent, p99 over a bare fdatasync, ms",
            figures.get("send_p99_over_fdatasync_ms"),
            2,
            at_least=False,
        ),
        Floor("One row of 200 trees, p50, µs", figures.get("row_p50_us"), 20, at_least=False),
        Floor("Bars/s with a model, scores given", figures.get("backtest_bars_per_s"), 1_000_000),
        Floor("Rows/s of 200 trees in a column", figures.get("column_rows_per_s"), 0),
        Floor("Sweep on two cores, times one", figures.get("scaling"), 1.8),
        Floor("onefold --help, s", figures.get("help_s"), 0.3, at_least=False),
        Floor("onefold demo cold, s", figures.get("demo_cold_s"), 20, at_least=False),
        Floor("onefold demo with caches, s", figures.get("demo_warm_s"), 8, at_least=False),
    ]


def floor_table(wanted: Sequence[Floor]) -> str:
    """Return the floors with reached or not reached."""
    rows = [("asked for", "at least / most", "aim", "measured", "verdict")]
    for floor in wanted:
        sign = "≥" if floor.at_least else "≤"
        rows.append(
            (
                floor.name,
                f"{sign} {floor.required:,g}",
                "" if floor.aim is None else f"{sign} {floor.aim:,g}",
                "" if floor.measured is None else f"{floor.measured:,.4g}",
                floor.verdict(),
            )
        )
    return aligned(rows)


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as columns of text; a row with only its first cell is a title."""
    body = [row for row in rows if any(row[1:])]
    widths = [max(len(row[column]) for row in body) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip() if any(row[1:]) else row[0])
    return "\n".join(lines)
