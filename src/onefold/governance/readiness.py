"""Reports of readiness: what a day or a week of a session was like, for people and for programs.

The same facts every day in the same order, so that what is missing is seen as well as what is
wrong: activity, data, gates, failures, reconciliation, replay, drift, profit. A report says whether
the last days were good ones; whether a strategy may go on is for `transitions` to decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date

import msgspec

from onefold.governance.transitions import StabilityRules, wrong_days
from onefold.views.activity import Day

SUMMED = (
    "bars", "late", "refused", "signals", "scores", "missing_scores", "entries", "passed", "orders",
    "fills", "rejected", "unknown", "lost", "apart", "mandates", "adopted", "paid",
)  # fmt: skip
TOP_GATES = 5


class DayVerdict(msgspec.Struct, frozen=True):
    """A day and what was wrong with it, nothing for a good one."""

    day: date
    wrong: list[str]


class StrategyLine(msgspec.Struct, frozen=True):
    """What one strategy made in the period, in the base currency, net of fees and marked."""

    strategy: str
    pnl: float
    trades: int
    won: int
    fees: float


class TwinLine(msgspec.Struct, frozen=True):
    """What was made since the journal's first day, and what its simulated twin would have made.

    `classes` split the difference, in the base currency: `timing`, `fill`, `fee` are what the venue
    did otherwise than the simulated one, the rest (`gate`, `size`, ...) followed from it.
    """

    since: date
    made: float
    twin: float
    classes: dict[str, float]


class Report(msgspec.Struct, frozen=True):
    """One report; counts are of the period, `stable_days` of the days up to its end.

    `drift` has by model the inputs that have changed, None where no model was asked. `records` were
    compared in the replay, without a mismatch. `divergence` is there where a real venue filled.
    """

    account: str
    mode: str
    data_mode: str
    kind: str
    first: date
    last: date
    journal: str
    head: str
    records: int
    stable_days: int
    wanted_days: int
    days: list[DayVerdict]
    totals: dict[str, float]
    gates: dict[str, int]
    halts: list[str]
    stops: list[str]
    reconciled: bool | None
    equity: float
    currency: str
    strategies: list[StrategyLine]
    drift: dict[str, list[str]] | None
    parameters: str
    divergence: TwinLine | None = None

    @property
    def is_stable(self) -> bool:
        """Return whether the last days were good ones, as many as are wanted."""
        return self.stable_days >= self.wanted_days


def summed(days: Sequence[Day]) -> dict[str, float]:
    """Return the counts of several days together."""
    return {name: sum(getattr(day, name) for day in days) for name in SUMMED}


def gates_of(days: Sequence[Day]) -> dict[str, int]:
    """Return the gates that were the reason most often, the first ones."""
    counts: Counter[str] = Counter()
    for day in days:
        counts.update(day.blocked)
    return dict(counts.most_common(TOP_GATES))


def verdicts(days: Sequence[Day], first: date, rules: StabilityRules) -> list[DayVerdict]:
    """Return each day from the first on with what was wrong; days before say what is usual."""
    judged = zip(days, wrong_days(days, rules), strict=True)
    return [DayVerdict(day.day, wrong) for day, wrong in judged if day.day >= first]


def markdown(one: Report) -> str:
    """Return a report as Markdown."""
    span = f"{one.last}" if one.first == one.last else f"{one.first} to {one.last}"
    stable = f"{one.stable_days} good days in a row, {one.wanted_days} wanted"
    lines = [
        f"# Readiness, {one.kind}: {one.account}, {span}",
        "",
        f"Mode {one.mode}, bars {one.data_mode or 'recorded'}.",
        f"Stable: **{'yes' if one.is_stable else 'NO'}**, {stable}.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {text} |" for name, text in _facts(one)),
        "",
        "| strategy | P&L | trades | won | fees |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {s.strategy} | {s.pnl:+,.2f} | {s.trades} | {s.won} | {s.fees:,.2f} |"
        for s in one.strategies
    ]
    lines += ["", "| day | |", "|---|---|"]
    lines += [f"| {d.day} | {'; '.join(d.wrong) or 'good'} |" for d in one.days]
    for title, told in (("Halts", one.halts), ("Stopped by people", one.stops)):
        if told:
            lines += ["", f"## {title}", "", *(f"- {text}" for text in told)]
    return "\n".join(lines) + "\n"


def _facts(one: Report) -> list[tuple[str, str]]:
    t = {name: f"{value:,}" for name, value in one.totals.items()}
    bars, refused = one.totals["bars"], one.totals["refused"]
    late = _share(one.totals["late"], bars)
    missing = _share(one.totals["missing_scores"], one.totals["scores"])
    books = {None: "nothing to compare: fills are simulated", True: "agree", False: "DIFFER"}
    activity = f"{t['bars']} bars, {t['signals']} signals, {t['entries']} entries wanted, "
    activity += f"{t['passed']} passed, {t['orders']} orders, {t['fills']} fills"
    failures = f"{len(one.halts)} halts, {t['rejected']} rejected, {t['unknown']} unknown, "
    return [
        ("activity", activity),
        ("data", f"{late} late, {_share(refused, bars + refused)} refused"),
        ("scores missing", missing),
        ("gates", ", ".join(f"{g} {n:,}" for g, n in one.gates.items()) or "stopped nothing"),
        ("failures", f"{failures}{t['lost']} lost"),
        ("stopped by people", str(len(one.stops))),
        ("books and venue", f"{books[one.reconciled]}; found apart {t['apart']} times"),
        ("replay", f"{one.records:,} records, mismatches 0"),
        ("drift", _drift(one.drift)),
        ("divergence", _divergence(one)),
        ("equity", f"{one.equity:,.2f} {one.currency}"),
        ("parameters", one.parameters),
        ("journal", f"`{one.journal}`, head `{one.head}`"),
    ]


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.2%}" if whole else "none"


def _drift(found: dict[str, list[str]] | None) -> str:
    if found is None:
        return "no model was asked"
    return "; ".join(f"{m}: {', '.join(c) or 'stable'}" for m, c in found.items())


def _divergence(one: Report) -> str:
    found = one.divergence
    if found is None:
        return "none: fills are the simulated venue's"
    parts = ", ".join(f"{name} {value:+,.2f}" for name, value in found.classes.items())
    said = f"since {found.since} {found.made - found.twin:+,.2f} {one.currency} beside the twin"
    return f"{said}: {parts}" if parts else said
