"""Whether a strategy may go on to the next stage: criteria, each with a value and a threshold.

Shadow, paper, live: each step needs evidence of the one before. What is measured too little does
not pass, and asking again and again until chance says yes does not help: every look at the evidence
makes the next one stricter, so that a strategy without skill is promoted at most `alpha` of the
time, however often anybody looks. That is a statement about days like those that were seen: of a
loss that is rarer than the sample is long, and larger than anything in it, no test can know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from pydantic import Field

from onefold.domain.columns import Floats
from onefold.domain.rules import Rule
from onefold.governance.versions import Stage
from onefold.views.activity import Day
from onefold.views.statistics import level_of, p_value

BEFORE: dict[str, str] = {"shadow": "simulate", "paper": "shadow", "live": "paper"}
"""The mode whose journal is the evidence for a stage."""

USUAL = 0.8
"""The quantile of days' bars that is usual: an outage of many days must not become that."""
SATURDAY = 5
ALL_WEEK = 0.2
"""Share of days on weekends from which on a market never closes."""


class StabilityRules(Rule):
    """What makes a day of a session a good one."""

    days: int = Field(5, ge=1, le=250, description="Days in a row that must be good.")
    late_max: float = Field(0.02, ge=0, le=1, description="Share of bars that may come late.")
    refused_max: float = Field(0.01, ge=0, le=1, description="Share of bars that may be refused.")
    missing_scores_max: float = Field(
        0.05, ge=0, le=1, description="Share of models' scores that may be missing."
    )
    bars_min: float = Field(
        0.5, ge=0, le=1, description="Least bars of a day, as a share of what days usually have."
    )
    gap_days_max: int = Field(
        4, ge=1, le=366, description="Days from one with bars to the next; longer is an outage."
    )


class TransitionRules(Rule):
    """What a strategy needs to go on to the next stage, and to stay in it."""

    alpha: float = Field(
        0.05, gt=0, le=0.5, description="How often a strategy without skill may pass, at most."
    )
    days_min: int = Field(20, ge=5, le=5000, description="Days with bars in the evidence.")
    trades_min: int = Field(30, ge=10, le=100_000, description="Closed trades in the evidence.")
    age_days_max: float = Field(
        30, gt=0, le=3660, description="Live: days since the last bar of the evidence."
    )
    drawdown_max: float = Field(
        0.1, gt=0, le=1, description="Largest fall of its own P&L, as a share of the account."
    )


class Evidence(msgspec.Struct, frozen=True):
    """What is known of one strategy in one mode.

    `daily` is its P&L by day, marked and after costs, one value for every day; `equity` the
    account's at the beginning. `data_mode` is `live` where bars came in time, `age_days` how long
    ago the last one did. `mismatches` is None when nothing was replayed. `looks` counts earlier
    checks of the same step; `drift` names inputs of its model that have changed. `since` is the day
    from which on it counts, empty where all of it does.
    """

    strategy: str
    mode: str
    days: list[Day]
    daily: list[float]
    trades: int
    equity: float
    mismatches: int | None
    data_mode: str = ""
    age_days: float = 0.0
    looks: int = 0
    drift: list[str] | None = None
    since: str = ""


class Criterion(msgspec.Struct, frozen=True):
    """One line of the table: what was found, what is wanted, and whether that is enough."""

    name: str
    value: float | None
    threshold: float
    compares: Literal["at least", "at most"]
    passes: bool
    says: str


def check_transition(
    stage: Stage, evidence: Evidence, rules: TransitionRules, stability: StabilityRules
) -> list[Criterion]:
    """Return the criteria for a stage; the strategy may go on when all of them pass.

    For shadow no skill is asked: whether there is some is what it is for.
    """
    is_right = evidence.mode == BEFORE[stage]
    found = [
        _at_least("right mode", is_right, 1, f"evidence for {stage} is of mode {BEFORE[stage]}"),
        _at_most("replay mismatches", evidence.mismatches, 0, "the journal replays bit for bit"),
        *_sample(evidence, rules, needs_trades=stage != "shadow"),
        *_quality(evidence.days, stability),
    ]
    if stage == "shadow":
        return found
    level = level_of(rules.alpha, evidence.looks + 1)
    if stage == "live":
        found += [
            _at_least("live bars", evidence.data_mode == "live", 1, "its bars came in time"),
            _at_most("age", evidence.age_days, rules.age_days_max, "days since its last bar"),
        ]
    return [
        *found,
        _stable(evidence.days, stability),
        _at_most("halts", _recent(evidence, "halts", stability), 0, "the engine stopped nothing"),
        _at_most("books apart", _recent(evidence, "apart", stability), 0, "books and venue agreed"),
        _at_most("orders lost", _recent(evidence, "lost", stability), 0, "every order is known"),
        _at_most(
            "drawdown",
            drawdown(np.array(evidence.daily), evidence.equity),
            rules.drawdown_max,
            "largest fall of its P&L, of the account",
        ),
        _at_most("drifted inputs", _drifted(evidence), 0, "its model sees what it was trained on"),
        _at_most(
            "p-value of no skill",
            p_value(np.array(evidence.daily)),
            level,
            f"its daily P&L is above zero; look {evidence.looks + 1}, {rules.alpha:g} in all",
        ),
    ]


def leaves_bounds(evidence: Evidence, rules: TransitionRules) -> str:
    """Return why a strategy must not stay in its stage, empty while it may.

    It must not when its own P&L has fallen further than allowed, or is below zero beyond chance, at
    the level at which it would have been promoted.
    """
    daily = np.array(evidence.daily)
    if not np.isfinite(daily).all() or not evidence.equity > 0.0:
        return "its P&L is not known"
    fall = drawdown(daily, evidence.equity)
    if fall > rules.drawdown_max:
        return f"its P&L has fallen by {fall:.1%} of the account, {rules.drawdown_max:.1%} allowed"
    worse = p_value(-daily) if len(daily) >= rules.days_min else None
    if worse is not None and worse <= rules.alpha:
        return f"it loses: a P&L like this comes with p = {worse:.4f} where nothing is lost"
    return ""


def _bad_day(day: Day, rules: StabilityRules) -> list[str]:
    """Return what was wrong on a day taken by itself."""
    found = [f"halt: {reason}" for reason in day.halts]
    for what, share, most in (
        ("late", _share(day.late, day.bars), rules.late_max),
        ("refused", _share(day.refused, day.bars + day.refused), rules.refused_max),
        ("scores missing", _share(day.missing_scores, day.scores), rules.missing_scores_max),
    ):
        if share > most:
            found.append(f"{what}: {share:.1%}, {most:.1%} allowed")
    if day.apart:
        found.append(f"books and venue apart: {day.apart} times")
    if day.lost:
        found.append(f"orders lost: {day.lost}")
    if day.closed:
        found.append(f"closed for new risk at its end: {day.closed}")
    if day.reconciled is False:
        found.append("ended without having been compared with the venue")
    return found


def wrong_days(days: Sequence[Day], rules: StabilityRules) -> list[list[str]]:
    """Return for each day what was wrong, nothing for a good one."""
    usual = float(np.quantile([day.bars for day in days], USUAL)) if days else 0.0
    weekends = sum(day.day.weekday() >= SATURDAY for day in days)
    never_closes = weekends > ALL_WEEK * len(days)
    gap_max = 1 if never_closes else rules.gap_days_max
    found, before = [], None
    for day in days:
        wrong = _bad_day(day, rules)
        if day.bars < rules.bars_min * usual:
            wrong.append(f"few bars: {day.bars}, days usually have {usual:.0f}")
        gap = 0 if before is None else (day.day - before).days
        if gap > gap_max:
            wrong.append(f"no bars for {gap - 1} days before")
        found.append(wrong)
        before = day.day
    return found


def stable_days(days: Sequence[Day], rules: StabilityRules) -> int:
    """Return how many good days in a row there were up to the last."""
    good = 0
    for wrong in reversed(wrong_days(days, rules)):
        if wrong:
            break
        good += 1
    return good


def drawdown(daily: Floats, equity: float) -> float:
    """Return the largest fall of summed P&L from a peak, as a share of the equity."""
    if not len(daily) or equity <= 0.0:
        return 0.0
    total = np.concatenate([[0.0], np.cumsum(daily)])
    return float((np.maximum.accumulate(total) - total).max() / equity)


def _sample(evidence: Evidence, rules: TransitionRules, *, needs_trades: bool) -> list[Criterion]:
    days = sum(day.bars > day.late for day in evidence.days)
    found = [_at_least("days", days, rules.days_min, "days with bars")]
    if needs_trades:
        found.append(_at_least("trades", evidence.trades, rules.trades_min, "closed trades"))
    return found


def _quality(days: Sequence[Day], rules: StabilityRules) -> list[Criterion]:
    bars, late = sum(d.bars for d in days), sum(d.late for d in days)
    refused = sum(d.refused for d in days)
    return [
        _at_most("late bars", _share(late, bars), rules.late_max, "share of all bars"),
        _at_most("refused bars", _share(refused, bars + refused), rules.refused_max, "their share"),
    ]


def _stable(days: Sequence[Day], rules: StabilityRules) -> Criterion:
    return _at_least("good days", stable_days(days, rules), rules.days, "in a row, up to the last")


def _recent(evidence: Evidence, what: str, rules: StabilityRules) -> int:
    """Return a count over the last days."""
    values = [getattr(day, what) for day in evidence.days[-rules.days :]]
    return sum(len(v) if isinstance(v, list) else v for v in values)


def _drifted(evidence: Evidence) -> int:
    return len(evidence.drift or [])


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _at_least(name: str, value: float | None, threshold: float, says: str) -> Criterion:
    passes = value is not None and value >= threshold
    return Criterion(
        name, None if value is None else float(value), threshold, "at least", passes, says
    )


def _at_most(name: str, value: float | None, threshold: float, says: str) -> Criterion:
    passes = value is not None and value <= threshold
    return Criterion(
        name, None if value is None else float(value), threshold, "at most", passes, says
    )
