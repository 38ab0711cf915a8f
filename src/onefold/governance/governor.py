"""The governor: how confident a signal has to be, by what came of the signals before.

It must not harm, whatever numbers it is fed, so it can do little: move `conf_min` of a sleeve (a
strategy in an instrument) by one small step, within fixed bounds, on evidence that is new since the
last step. *Inputs*: a `Performance`, the value in force and its history for each sleeve, rules, the
time. *Output*: a `Proposal` for each sleeve to change, and a reason for each that is left alone.

**Poor** and **excellent** are statements about chance, not point estimates. A sleeve is poor when a
strategy that makes nothing would look as bad as this in at most `poor_error` of all cases: by its
probabilistic Sharpe ratio, or by the Wilson interval of its win rate, which lies below the rate at
which it breaks even; or when its drawdown is a fact beyond the limit. It is excellent when both
numbers say so and the drawdown does not object. The governor looks at growing evidence again and
again, and what chance does once in twenty looks it does sooner or later; for raising that errs on
the safe side, for lowering it does not. So the Sharpe ratio has to cross the boundary of Robbins
(`always_valid`), which all looks together cross by chance in at most `excellent_error` of all
cases. Between poor and excellent nothing is changed (the dead band).

**It cannot oscillate.** Call a change that turns the direction of the one before a reversal. Once
`reversals_max` (R) reversals have happened since a person's last reset, only raising is left. So a
further reversal can only be from lowering to raising, and none follows it: there are at most R + 1
reversals, thus at most R + 2 stretches in which every change has one direction. Each stretch moves
by whole steps (the last may be cut short by a bound) between two fixed bounds, so it has at most
ceil((high - low) / step_down) changes. Hence the number of changes between two interventions of
people is finite, whatever the evidence, and every sequence comes to rest. `cool_down_days` bounds
their pace.

**Uncertain means unchanged.** Numbers that are missing, not finite, or contradict each other or the
history, and a clock that stands before a change that was made, change nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

import msgspec

from onefold.governance.rules import GovernorRules
from onefold.views.equity import DAY_NS
from onefold.views.performance import Performance
from onefold.views.statistics import NORMAL, wilson

MIXTURE_DAYS = 30.0
"""Where the boundary of Robbins is tight: from some 100 days on; it is valid for any."""
SAME = 1e-9
"""Thresholds that differ by less are the same."""
AGREE = 1e-6
"""How far two numbers may differ that say the same in two ways."""
NS_PER_S = 1_000_000_000

Change = tuple[int, float | None, float]
"""When a value was changed (nanoseconds UTC), from what, to what."""


class Governable(NamedTuple):
    """One sleeve: its threshold in force, what it has made, and how the threshold came to be.

    `numbers` must be of trades that closed after the last change. `history` has every change,
    oldest first. The first `reset` of them, up to when a person last looked at it and set it, do
    not count for direction and ratchet any more; for evidence and cool-down they do.
    """

    strategy: str
    instrument: str
    conf_min: float
    numbers: Performance
    history: Sequence[Change] = ()
    reset: int = 0


class Proposal(msgspec.Struct, frozen=True):
    """A new `conf_min` of a sleeve, and why; `needs_approval` says that a person has to agree."""

    strategy: str
    instrument: str
    before: float
    value: float
    cause: str
    needs_approval: bool


class LeftAlone(msgspec.Struct, frozen=True):
    """A sleeve of which the threshold stays, and why."""

    strategy: str
    instrument: str
    reason: str


class Ruling(NamedTuple):
    """What the governor would change, and what it leaves alone; each sleeve is in one of them."""

    proposals: list[Proposal]
    left: list[LeftAlone]


def govern(
    sleeves: Iterable[Governable], rules: GovernorRules, *, now_ts: int, is_live: bool
) -> Ruling:
    """Return what is to be changed at a time (nanoseconds UTC), in the order of the sleeves.

    On a live account, lowering needs a person's approval.
    """
    given = list(sleeves)
    named = Counter((one.strategy, one.instrument) for one in given)
    ruling = Ruling([], [])
    for one in given:
        found = _rule(one, rules, now_ts, is_live=is_live)
        if named[one.strategy, one.instrument] > 1:
            found = "contradiction: it was given more than once"
        if isinstance(found, Proposal):
            ruling.proposals.append(found)
        else:
            ruling.left.append(LeftAlone(one.strategy, one.instrument, found))
    return ruling


def always_valid(days: int, error: float) -> float:
    """Return how many standard errors chance exceeds at any number of days, at most so often.

    Robbins, Statistical methods related to the law of the iterated logarithm, Annals of
    Mathematical Statistics 41 (1970): the boundary of a normal mixture.
    """
    spread = math.log(1.0 + days / MIXTURE_DAYS) - 2.0 * math.log(error)
    return math.sqrt((1.0 + MIXTURE_DAYS / days) * spread)


def _rule(one: Governable, rules: GovernorRules, now_ts: int, *, is_live: bool) -> Proposal | str:
    """Return the proposal for a sleeve, or why there is none."""
    doubt = _doubt_of_history(one, rules, now_ts) or _doubt_of_numbers(one, now_ts)
    if doubt:
        return doubt
    waits = _too_early(one, rules, now_ts)
    if waits:
        return waits
    evidence = _Evidence(one.numbers, rules, _direction(one))
    wanted = evidence.wanted()
    if isinstance(wanted, str):
        return wanted
    if wanted < 0 and _reversals(one) >= rules.reversals_max:
        return (
            f"excellent, but it has turned round {_reversals(one)} times: "
            "it is only raised until a person resets it"
        )
    step = rules.step_up if wanted > 0 else -rules.step_down
    value = round(min(rules.high, max(rules.low, one.conf_min + step)), 10)
    if abs(value - one.conf_min) < SAME:
        return f"{'poor' if wanted > 0 else 'excellent'}, but it is at its bound {value:g}"
    return Proposal(
        one.strategy, one.instrument, one.conf_min, value, evidence.told(wanted),
        needs_approval=is_live and wanted < 0,
    )  # fmt: skip


def _doubt_of_history(one: Governable, rules: GovernorRules, now_ts: int) -> str:
    """Return what is wrong with the threshold and its history, or nothing."""
    if not math.isfinite(one.conf_min):
        return f"conf_min is {one.conf_min}"
    times = [ts for ts, _, _ in one.history]
    if max(times, default=now_ts) > now_ts:
        return "the clock stands before a change that was made already: set it right first"
    if times != sorted(times):
        return "the history of its changes is not in order of time"
    values = [v for _, before, value in one.history for v in (before, value) if v is not None]
    if not all(math.isfinite(v) for v in values):
        return "the history of its changes has values that are no numbers"
    chain = pairwise(one.history)
    if any(b is not None and abs(b - value) > SAME for (_, _, value), (_, b, _) in chain):
        return "contradiction: a change in its history does not begin where the one before ended"
    if one.history and abs(one.history[-1][2] - one.conf_min) > SAME:
        return f"its history ends with {one.history[-1][2]:g}, but {one.conf_min:g} is in force"
    if not rules.low - SAME <= one.conf_min <= rules.high + SAME:
        return (
            f"conf_min {one.conf_min:g} is outside of {rules.low:g} to {rules.high:g}: "
            "set it inside to have it governed"
        )
    return ""


def _doubt_of_numbers(one: Governable, now_ts: int) -> str:
    """Return what is missing in the numbers, or contradicts what, or nothing."""
    n = one.numbers
    if (n.strategy, n.symbol) != (one.strategy, one.instrument):
        return f"these are the numbers of {n.strategy}/{n.symbol}"
    if n.trades == 0:
        return "no trade has closed"
    missing = [name for name in _NEEDED if getattr(n, name) is None]
    if missing:
        return f"{missing[0]} is not defined"
    wild = [name for name in (*_NEEDED, *_OPTIONAL) if not _is_finite(getattr(n, name))]
    if wild:
        return f"{wild[0]} is no finite number"
    return next((f"contradiction: {text}" for holds, text in _claims(n, now_ts) if not holds), "")


_NEEDED = (
    "trades", "wins", "days", "win_rate", "sharpe", "sharpe_error", "probabilistic_sharpe",
    "max_drawdown", "first_exit_ts", "last_exit_ts", "pnl",
)  # fmt: skip
_OPTIONAL = ("break_even", "profit_factor")
"""Not defined where no trade lost."""


def _is_finite(value: float | None) -> bool:
    return value is None or math.isfinite(value)


def _claims(n: Performance, now_ts: int) -> Iterable[tuple[bool, str]]:
    """Yield what must hold among numbers that are all there and finite, and what it is."""
    win_rate, even, factor = n.win_rate or 0.0, n.break_even, n.profit_factor
    ratio, error, probable = n.sharpe or 0.0, n.sharpe_error or 0.0, n.probabilistic_sharpe or 0.0
    first, last = n.first_exit_ts or 0, n.last_exit_ts or 0
    yield 0 <= n.wins <= n.trades, "more trades won than there were"
    yield n.days > 0, "trades closed, but no day has passed"
    yield abs(win_rate * n.trades - n.wins) < AGREE * n.trades, "win rate and trades won"
    yield error > 0, "the Sharpe ratio's error is not positive"
    yield (
        abs(NORMAL.cdf(ratio / error if error > 0 else 0.0) - probable) < AGREE,
        "the Sharpe ratio, its error and its probability",
    )
    yield (n.max_drawdown or 0.0) <= 0.0, "a drawdown above zero"
    yield even is None or 0.0 <= even <= 1.0, "a break-even win rate that is no share"
    yield factor is None or factor >= 0.0, "a negative profit factor"
    yield (factor is None) == (even is None), "profit factor and break-even win rate"
    if factor is not None and even is not None:
        yield factor >= 1.0 - AGREE or n.pnl <= 0.0, "a profit, and a profit factor below 1"
        yield factor <= 1.0 + AGREE or n.pnl >= 0.0, "a loss, and a profit factor above 1"
        yield factor >= 1.0 - AGREE or win_rate <= even + AGREE, "win rate and profit factor"
    elif n.pnl < 0.0:
        yield False, "a loss without a losing trade"
    yield 0 <= first <= last, "the first trade closed after the last"
    yield last <= now_ts, "a trade closed after the present time"


def _too_early(one: Governable, rules: GovernorRules, now_ts: int) -> str:
    """Return why the evidence is not new or not enough, or nothing."""
    n = one.numbers
    if one.history:
        changed_ts = one.history[-1][0]
        passed = (now_ts - changed_ts) / DAY_NS
        if passed < rules.cool_down_days:
            return f"changed {passed:.1f} days ago, and {rules.cool_down_days:g} have to pass"
        if (n.first_exit_ts or 0) <= changed_ts:
            return f"trades from before the last change ({_day(changed_ts)}) are in its numbers"
        if n.days > passed + 2.0:
            return f"its numbers have more days than the {passed:.0f} since the last change"
    if n.trades < rules.trades_min:
        return f"{n.trades} trades closed, and {rules.trades_min} are needed"
    if n.days < rules.days_min:
        return f"{n.days} days were measured, and {rules.days_min} are needed"
    return ""


class _Evidence:
    """What numbers say, with more certainty where the last change went the other way."""

    def __init__(self, numbers: Performance, rules: GovernorRules, last: int) -> None:
        self.n, self.rules = numbers, rules
        self.poor_error = rules.poor_error * (rules.reversal_factor if last < 0 else 1.0)
        self.excellent_error = rules.excellent_error * (rules.reversal_factor if last > 0 else 1.0)
        self.z = (numbers.sharpe or 0.0) / (numbers.sharpe_error or 1.0)
        self.z_max = always_valid(numbers.days, self.excellent_error)
        self.fall = -(numbers.max_drawdown or 0.0)

    def wanted(self) -> int | str:
        """Return 1 to raise, -1 to lower, or why neither."""
        even, n = self.n.break_even, self.n
        _, high = wilson(n.wins, n.trades, 1.0 - self.poor_error)
        low, _ = wilson(n.wins, n.trades, 1.0 - self.excellent_error)
        poor = {
            "Sharpe ratio": self.z <= NORMAL.inv_cdf(self.poor_error),
            "win rate": even is not None and high < even,
            "drawdown": self.fall > self.rules.drawdown_max,
        }
        excellent = {
            "Sharpe ratio": self.z >= self.z_max,
            "win rate": even is not None and low > even,
        }
        bad, good = [k for k, v in poor.items() if v], [k for k, v in excellent.items() if v]
        if bad and good:
            return f"contradiction: {bad[0]} poor, {good[0]} excellent"
        if bad:
            return 1
        if len(good) == len(excellent):
            return -1
        return f"neither poor nor excellent: {self._numbers()}"

    def told(self, wanted: int) -> str:
        """Return a change's cause in one line."""
        verdict = "poor" if wanted > 0 else "excellent"
        return f"{verdict}: {self._numbers()}"

    def _numbers(self) -> str:
        n = self.n
        low, high = wilson(n.wins, n.trades)
        even = "no trade lost" if n.break_even is None else f"breaks even at {n.break_even:.1%}"
        return (
            f"{n.trades} trades in {n.days} days from {_day(n.first_exit_ts or 0)}, "
            f"Sharpe ratio {n.sharpe:.2f} -+ {n.sharpe_error:.2f} (z {self.z:.2f}; poor up to "
            f"{NORMAL.inv_cdf(self.poor_error):.2f}, excellent from {self.z_max:.2f}), won "
            f"{n.win_rate:.1%} ({low:.1%} to {high:.1%}), {even}, drawdown {self.fall:.1%}"
        )


def _directions(one: Governable) -> list[int]:
    """Return the direction of every change since the last reset."""
    after = one.history[one.reset :]
    moves = [value - before for _, before, value in after if before is not None]
    return [1 if move > 0 else -1 for move in moves if abs(move) > SAME]


def _direction(one: Governable) -> int:
    return next(iter(_directions(one)[::-1]), 0)


def _reversals(one: Governable) -> int:
    moves = _directions(one)
    return sum(a != b for a, b in pairwise(moves))


def _day(ts: int) -> str:
    return datetime.fromtimestamp(ts // NS_PER_S, UTC).date().isoformat()
