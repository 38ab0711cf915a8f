"""The governor under numbers that lie: it stays in bounds, needs evidence, and comes to rest."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from onefold.governance.governor import (
    Change,
    Governable,
    Proposal,
    Ruling,
    always_valid,
    govern,
)
from onefold.governance.rules import GovernorRules
from onefold.views.performance import Performance
from onefold.views.statistics import NORMAL, probabilistic_sharpe, sharpe, sharpe_error, wilson

DAY_NS = 86_400_000_000_000
NOW = 20_000 * DAY_NS
RULES = GovernorRules()
SLACK = 1e-9
YEAR = math.sqrt(252)


def numbers(
    z: float = 0.0,
    wins: int = 50,
    trades: int = 100,
    break_even: float | None = 0.5,
    *,
    days: int = 100,
    fall: float = -0.02,
    first: int | None = None,
    **others: Any,
) -> Performance:
    """Return numbers that agree with each other: z errors from zero, a win rate, a break-even."""
    rate = wins / trades
    low, high = wilson(wins, trades)
    factor = None
    pnl = 1.0
    if break_even is not None:
        # Wins of (1 - even) and losses of even: rate = even earns nothing.
        won, lost = rate * (1 - break_even), (1 - rate) * break_even
        factor, pnl = won / lost if lost else 0.0, won - lost
    plain = {
        "strategy": "trend", "symbol": "ES", "days": days, "trades": trades, "wins": wins,
        "win_rate": rate, "win_rate_low": low, "win_rate_high": high, "break_even": break_even,
        "pnl": pnl, "profit_factor": factor, "sharpe": z * 0.5, "sharpe_error": 0.5,
        "probabilistic_sharpe": NORMAL.cdf(z), "max_drawdown": fall,
        "first_exit_ts": NOW - 99 * DAY_NS if first is None else first,
        "last_exit_ts": NOW - DAY_NS,
    }  # fmt: skip
    return Performance(**{**plain, **others})


POOR = numbers(z=-2.5, wins=30)
EXCELLENT = numbers(z=5.0, wins=75)
AGO = NOW - 150 * DAY_NS


def ruled(
    found: Performance,
    *,
    conf_min: float = 0.6,
    history: Sequence[Change] = (),
    reset: int = 0,
    rules: GovernorRules = RULES,
    now: int = NOW,
    live: bool = False,
) -> Proposal | str:
    """Return the proposal for one sleeve, or the reason why there is none."""
    one = Governable("trend", "ES", conf_min, found, history, reset)
    ruling = govern([one], rules, now_ts=now, is_live=live)
    assert len(ruling.proposals) + len(ruling.left) == 1
    return ruling.proposals[0] if ruling.proposals else ruling.left[0].reason


def value_of(proposal: Proposal | str) -> float:
    assert isinstance(proposal, Proposal), proposal
    return proposal.value


# --- what it does on honest numbers --------------------------------------------------------------


def test_poor_is_raised_and_excellent_lowered_by_less() -> None:
    poor, excellent = ruled(POOR), ruled(EXCELLENT)
    assert value_of(poor) == pytest.approx(0.65)
    assert value_of(excellent) == pytest.approx(0.58)
    assert isinstance(poor, Proposal)
    assert poor.before == 0.6
    assert "\n" not in poor.cause
    for part in ("poor: 100 trades in 100 days", "z -2.50", "won 30.0%",
                 "breaks even at 50.0%", "drawdown 2.0%"):  # fmt: skip
        assert part in poor.cause


def test_each_statement_of_chance_makes_poor_and_only_both_make_excellent() -> None:
    assert value_of(ruled(numbers(z=-1.65))) > 0.6  # 5 % of chance
    assert "neither" in str(ruled(numbers(z=-1.64)))
    assert value_of(ruled(numbers(wins=40))) > 0.6  # interval 31 to 50 %
    assert "neither" in str(ruled(numbers(wins=41)))
    assert value_of(ruled(numbers(fall=-0.11))) > 0.6
    assert "neither" in str(ruled(numbers(z=5.0, wins=55)))
    assert "neither" in str(ruled(numbers(z=2.0, wins=75)))


def test_a_sleeve_without_a_loss_is_not_excellent_and_one_without_a_win_is_poor() -> None:
    lucky = str(ruled(numbers(z=6.0, wins=100, break_even=None)))
    assert lucky.startswith("neither poor nor excellent")
    assert "no trade lost" in lucky
    assert value_of(ruled(numbers(z=-1.0, wins=0, break_even=1.0))) > 0.6


def test_lowering_on_a_live_account_waits_for_a_person() -> None:
    for live in (False, True):
        lowered, raised = ruled(EXCELLENT, live=live), ruled(POOR, live=live)
        assert isinstance(lowered, Proposal)
        assert isinstance(raised, Proposal)
        assert (lowered.needs_approval, raised.needs_approval) == (live, False)


def test_bounds_cut_the_last_step_short_and_then_stop() -> None:
    assert value_of(ruled(POOR, conf_min=0.88)) == 0.9
    assert value_of(ruled(EXCELLENT, conf_min=0.51)) == 0.5
    assert "bound 0.9" in str(ruled(POOR, conf_min=0.9))
    assert "bound 0.5" in str(ruled(EXCELLENT, conf_min=0.5))
    for outside in (0.0, 0.49, 0.91, 1.0):
        assert "outside of 0.5 to 0.9" in str(ruled(POOR, conf_min=outside))


def test_too_little_evidence_changes_nothing() -> None:
    few = numbers(z=-2.5, wins=5, trades=29)
    assert "29 trades closed, and 30 are needed" in str(ruled(few))
    early = RULES.days_min - 1
    said = str(ruled(numbers(z=-2.5, wins=30, days=early)))
    assert f"{early} days were measured, and {early + 1} are needed" in said
    assert value_of(ruled(numbers(z=-2.5, wins=30, days=early + 1))) > 0.6
    assert "no trade has closed" in str(ruled(Performance("trend", "ES", days=100)))


# --- hysteresis, cool-down, ratchet, new evidence ------------------------------------------------


def test_to_reverse_takes_stronger_evidence() -> None:
    raised, lowered = ((AGO, 0.55, 0.6),), ((AGO, 0.62, 0.6),)
    weak = numbers(z=-2.0)
    assert value_of(ruled(weak, history=raised)) > 0.6
    assert "neither" in str(ruled(weak, history=lowered))
    assert value_of(ruled(numbers(z=-2.4), history=lowered)) > 0.6
    good = numbers(z=(always_valid(100, 0.05) + always_valid(100, 0.01)) / 2, wins=75)
    assert value_of(ruled(good, history=lowered)) < 0.6
    assert "neither" in str(ruled(good, history=raised))


def test_nothing_changes_while_it_cools_down() -> None:
    for days, waits in ((6.9, True), (7.0, False)):
        changed = NOW - round(days * DAY_NS)
        fresh = numbers(z=-2.5, wins=30, days=7, first=changed + 1)
        rules = GovernorRules(days_min=20)
        said = str(ruled(fresh, history=[(changed, 0.55, 0.6)], rules=rules))
        assert ("have to pass" in said) == waits, said


def test_old_trades_are_no_evidence() -> None:
    changed = NOW - 99 * DAY_NS
    history = [(changed, 0.55, 0.6)]
    assert "before the last change" in str(ruled(numbers(z=-2.5, first=changed), history=history))
    assert value_of(ruled(numbers(z=-2.5, first=changed + 1), history=history)) > 0.6
    many = numbers(z=-2.5, first=changed + 1, days=102)
    assert "more days than" in str(ruled(many, history=history))


def test_after_two_reversals_it_is_only_raised_until_a_reset() -> None:
    history = [
        (AGO - 30 * DAY_NS, 0.60, 0.65),
        (AGO - 20 * DAY_NS, 0.65, 0.63),
        (AGO - 10 * DAY_NS, 0.63, 0.68),
    ]
    once = history[:2]
    assert value_of(ruled(EXCELLENT, conf_min=0.63, history=once)) < 0.63
    assert "turned round 2 times" in str(ruled(EXCELLENT, conf_min=0.68, history=history))
    assert value_of(ruled(POOR, conf_min=0.68, history=history)) > 0.68
    reset = ruled(EXCELLENT, conf_min=0.68, history=history, reset=3)
    assert value_of(reset) < 0.68
    # An heir knows all that was before at one time, and the order is known all the same.
    at_once = [(AGO, before, value) for _, before, value in history]
    assert "turned round 2 times" in str(ruled(EXCELLENT, conf_min=0.68, history=at_once))
    assert value_of(ruled(EXCELLENT, conf_min=0.68, history=at_once, reset=2)) < 0.68


# --- what cannot be trusted ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sharpe": math.nan}, "sharpe is no finite number"),
        ({"sharpe": None}, "sharpe is not defined"),
        ({"probabilistic_sharpe": None}, "probabilistic_sharpe is not defined"),
        ({"max_drawdown": -math.inf}, "max_drawdown is no finite number"),
        ({"break_even": math.nan}, "break_even is no finite number"),
        ({"wins": 101}, "more trades won"),
        ({"wins": -1}, "more trades won"),
        ({"days": 0}, "no day has passed"),
        ({"win_rate": 0.9}, "win rate and trades won"),
        ({"sharpe": 3.0}, "the Sharpe ratio, its error and its probability"),
        ({"probabilistic_sharpe": 1.7}, "the Sharpe ratio, its error and its probability"),
        ({"sharpe_error": 0.0}, "not positive"),
        ({"sharpe_error": -0.5}, "not positive"),
        ({"max_drawdown": 0.3}, "a drawdown above zero"),
        ({"break_even": 1.2}, "no share"),
        ({"break_even": None}, "profit factor and break-even"),
        ({"profit_factor": -1.0}, "negative profit factor"),
        ({"pnl": 5.0}, "a profit, and a profit factor below 1"),
        ({"profit_factor": 2.0}, "a loss, and a profit factor above 1"),
        ({"break_even": 0.1}, "win rate and profit factor"),
        ({"first_exit_ts": NOW}, "closed after the last"),
        ({"first_exit_ts": -(10**30)}, "closed after the last"),
        ({"last_exit_ts": NOW + 1}, "after the present time"),
        ({"symbol": "GC"}, "the numbers of trend/GC"),
        ({"profit_factor": None, "break_even": None}, "a loss without a losing trade"),
    ],
)
def test_numbers_that_are_wrong_change_nothing(changes: dict[str, Any], said: str) -> None:
    assert isinstance(ruled(POOR), Proposal)
    assert said in str(ruled(msgspec.structs.replace(POOR, **changes)))


def test_poor_by_one_and_excellent_by_the_other_changes_nothing() -> None:
    assert "contradiction" in str(ruled(numbers(z=-3.0, wins=75)))
    assert "contradiction" in str(ruled(numbers(z=6.0, wins=30)))
    assert "contradiction" in str(ruled(numbers(z=6.0, wins=75, fall=-0.2)))


@pytest.mark.parametrize(
    ("history", "conf_min", "said"),
    [
        ([(NOW + 1, 0.55, 0.6)], 0.6, "the clock stands before"),
        ([(NOW + 1, 0.55, 0.6), (AGO, 0.6, 0.6)], 0.6, "the clock stands before"),
        ([(AGO, 0.55, 0.6), (AGO - 1, 0.6, 0.65)], 0.65, "order of time"),
        ([(AGO, 0.55, math.nan)], 0.6, "no numbers"),
        ([(AGO, math.nan, 0.6)], 0.6, "no numbers"),
        ([(AGO, 0.55, 0.65)], 0.6, "history ends with 0.65, but 0.6"),
        ([(AGO - 1, 0.5, 0.55), (AGO, 0.7, 0.6)], 0.6, "does not begin where"),
        ([], math.nan, "conf_min is nan"),
    ],
)
def test_a_history_that_is_wrong_changes_nothing(
    history: list[Change], conf_min: float, said: str
) -> None:
    assert said in str(ruled(POOR, conf_min=conf_min, history=history))


def test_a_sleeve_that_is_given_twice_is_left_alone() -> None:
    one = Governable("trend", "ES", 0.6, POOR)
    ruling = govern([one, one._replace(conf_min=0.7)], RULES, now_ts=NOW, is_live=False)
    assert not ruling.proposals
    assert "more than once" in ruling.left[0].reason


def test_rules_that_could_harm_are_refused() -> None:
    for wrong in (
        {"low": 0.4},
        {"high": 0.95},
        {"low": 0.8, "high": 0.7},
        {"step_down": 0.05},
        {"trades_min": 1},
        {"cool_down_days": 0},
        {"reversal_factor": 1.0},
        {"step_up": math.nan},
    ):
        with pytest.raises(ValidationError):
            GovernorRules(**wrong)  # type: ignore[arg-type]


# --- properties on adversarial numbers -----------------------------------------------------------

absurd = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e300, -1e300, 1e-300, -5.0])
anything = st.none() | absurd | st.floats(-10, 10)
whole = st.integers(-5, 500)
moments = st.integers(0, NOW + 5 * DAY_NS)


@st.composite
def wild_numbers(draw: st.DrawFn) -> Performance:
    """Return numbers of which any may be nonsense."""
    fields = {
        name: draw(anything)
        for name in ("win_rate", "break_even", "profit_factor", "sharpe", "sharpe_error",
                     "probabilistic_sharpe", "max_drawdown")
    }  # fmt: skip
    counts = {name: draw(whole) for name in ("trades", "wins", "days")}
    times = {name: draw(st.none() | moments) for name in ("first_exit_ts", "last_exit_ts")}
    return Performance("trend", "ES", **fields, **counts, **times, pnl=draw(absurd))


@st.composite
def agreeing_numbers(draw: st.DrawFn, first: int | None = None) -> Performance:
    """Return numbers that agree with each other and say anything, excellent and poor included."""
    trades = draw(st.integers(1, 300))
    even = draw(st.none() | st.floats(0.05, 0.95))
    wins = trades if even is None else draw(st.integers(0, trades))
    return numbers(
        draw(st.floats(-8, 8)), wins, trades, even,
        days=draw(st.integers(1, 99)), fall=-draw(st.floats(0, 0.5)), first=first,
    )  # fmt: skip


histories = st.lists(
    st.tuples(moments, st.none() | absurd | st.floats(0, 1), absurd | st.floats(0, 1)), max_size=4
)


@settings(max_examples=400, deadline=None)
@given(
    found=wild_numbers() | agreeing_numbers(),
    conf_min=absurd | st.floats(0, 1),
    history=histories,
    live=st.booleans(),
)
def test_whatever_it_is_fed_a_change_is_small_and_within_bounds(
    found: Performance, conf_min: float, history: list[Change], live: bool
) -> None:
    said = ruled(found, conf_min=conf_min, history=history, live=live)
    if isinstance(said, str):
        assert said
        assert "\n" not in said
        return
    check_step(said, live=live)


def check_step(said: Proposal, *, live: bool, rules: GovernorRules = RULES) -> None:
    assert rules.low - SLACK <= said.value <= rules.high + SLACK
    assert -rules.step_down - SLACK <= said.value - said.before <= rules.step_up + SLACK
    assert said.value != said.before
    assert said.needs_approval == (live and said.value < said.before)


@dataclass
class Loop:
    """A sleeve that is governed again and again, every change put into force."""

    conf_min: float = 0.6
    history: list[Change] = field(default_factory=list)
    now: int = NOW
    rules: GovernorRules = RULES

    def look(self, found: Performance) -> Proposal | str:
        said = ruled(
            found, conf_min=self.conf_min, history=self.history, now=self.now, rules=self.rules
        )
        if isinstance(said, Proposal):
            check_step(said, live=False, rules=self.rules)
            self.history.append((self.now, said.before, said.value))
            self.conf_min = said.value
        return said

    @property
    def reversals(self) -> int:
        moves = [value > (before or 0.0) for _, before, value in self.history]
        return sum(a != b for a, b in pairwise(moves))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    limit=st.integers(0, 4),
    start=st.floats(0.5, 0.9),
    stretch=st.integers(1, 20),
)
def test_no_sequence_of_regimes_makes_it_oscillate(
    seed: int, limit: int, start: float, stretch: int
) -> None:
    """The evidence flips as it likes, always strong and always new: it comes to rest anyway."""
    chance = np.random.default_rng(seed)
    rules = GovernorRules(reversals_max=limit, days_min=20)
    loop = Loop(conf_min=start, rules=rules)
    runs_max = math.ceil((rules.high - rules.low) / rules.step_down)
    good = True
    for step in range(300):
        if step % stretch == 0:
            good = bool(chance.random() < 0.5)
        loop.now += 30 * DAY_NS
        loop.look(of_now(loop.now, good=good))
    assert loop.reversals <= limit + 1
    assert len(loop.history) <= (limit + 2) * runs_max
    gaps = [after[0] - before[0] for before, after in pairwise(loop.history)]
    assert all(gap >= rules.cool_down_days * DAY_NS for gap in gaps)


def of_now(now: int, *, good: bool, days: int = 25) -> Performance:
    """Return overwhelming evidence of the last days."""
    return numbers(
        9.0 if good else -9.0, 90 if good else 10, days=days,
        first_exit_ts=now - days * DAY_NS, last_exit_ts=now,
    )  # fmt: skip


def test_the_worst_of_all_regimes_comes_to_rest() -> None:
    """An adversary who always shows the opposite of the last change gets no further."""
    loop = Loop()
    for _ in range(200):
        loop.now += 100 * DAY_NS
        up = bool(loop.history) and loop.history[-1][2] > (loop.history[-1][1] or 0.0)
        loop.look(of_now(loop.now, good=up or not loop.history, days=70))
    assert loop.reversals == RULES.reversals_max + (loop.history[0][2] < 0.6)
    assert len(loop.history) <= RULES.reversals_max + 2
    tail = loop.conf_min
    for _ in range(200):
        loop.now += 100 * DAY_NS
        loop.look(of_now(loop.now, good=True, days=70))
    assert loop.conf_min == tail


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_the_same_evidence_never_counts_twice(data: st.DataObject) -> None:
    """A change that was made on some numbers is not made again on them, however late."""
    found = data.draw(agreeing_numbers())
    loop = Loop()
    loop.look(found)
    changes = len(loop.history)
    for _ in range(5):
        loop.now += data.draw(st.integers(0, 400)) * DAY_NS
        loop.look(found)
    assert len(loop.history) == changes


@settings(max_examples=100, deadline=None)
@given(found=agreeing_numbers(), back=st.integers(1, 10**18))
def test_a_clock_that_steps_back_changes_nothing(found: Performance, back: int) -> None:
    history = [(NOW + back, 0.55, 0.6)]
    assert "the clock" in str(ruled(found, history=history))


# --- without skill -------------------------------------------------------------------------------


def measured(returns: np.ndarray[Any, Any], now: int) -> Performance:
    """Return what a sleeve with a trade a day has to show for its last returns."""
    won, lost = returns[returns > 0], returns[returns <= 0]
    error = sharpe_error(returns)
    win, loss = won.mean() if len(won) else 0.0, -lost.mean() if len(lost) else 0.0
    even = None if not len(lost) else 1.0 if not len(won) else loss / (win + loss)
    curve = np.cumprod(1.0 + returns)
    return Performance(
        "trend", "ES", len(returns), len(returns), len(won), len(won) / len(returns),
        break_even=even, pnl=float(returns.sum()),
        profit_factor=won.sum() / -lost.sum() if len(lost) else None,
        sharpe=sharpe(returns) * YEAR,
        sharpe_error=None if error is None else error * YEAR,
        probabilistic_sharpe=probabilistic_sharpe(returns),
        max_drawdown=float((curve / np.maximum(1.0, np.maximum.accumulate(curve)) - 1.0).min()),
        first_exit_ts=now - (len(returns) - 1) * DAY_NS,
        last_exit_ts=now,
    )  # fmt: skip


def lived(mean: float, seed: int, *, looks: int = 500) -> Loop:
    """Return a sleeve that is looked at every fifth day, each time with all that is new."""
    chance = np.random.default_rng(seed)
    returns = chance.standard_t(4, 5 * looks) * 0.003 / math.sqrt(2.0) + mean
    loop = Loop()
    begun = 0
    for day in range(5, len(returns) + 1, 5):
        loop.now = NOW + day * DAY_NS
        if day - begun >= RULES.days_min:
            said = loop.look(measured(returns[begun:day], loop.now))
            begun = day if isinstance(said, Proposal) else begun
    return loop


def test_sleeves_without_skill_drift_up_or_stay_and_never_oscillate() -> None:
    """500 looks each at sleeves that make nothing before costs, with and without costs."""
    for mean, lowered_max in ((0.0, 0.12), (-0.0003, 0.0)):
        loops = [lived(mean, seed) for seed in range(40)]
        ends = np.array([loop.conf_min for loop in loops])
        ever_below = np.mean([min([0.6, *(v for _, _, v in one.history)]) < 0.6 for one in loops])
        print(f"mean {mean}: from 0.60 to {ends.mean():.3f}, ever below {ever_below:.1%}, "
              f"reversals {max(one.reversals for one in loops)}")  # fmt: skip
        assert ends.mean() > 0.6
        assert ever_below <= lowered_max
        assert max(one.reversals for one in loops) <= RULES.reversals_max + 1


def test_a_sleeve_with_skill_is_lowered_and_not_raised() -> None:
    loops = [lived(0.0009, seed, looks=200) for seed in range(20)]
    ends = np.array([loop.conf_min for loop in loops])
    assert (ends < 0.6).mean() > 0.8
    assert not any(value > (before or 0.0) for one in loops for _, before, value in one.history)


def test_chance_crosses_the_boundary_of_all_looks_as_seldom_as_it_says() -> None:
    chance = np.random.default_rng(11)
    days = np.arange(1, 1_001)
    bound = np.array([always_valid(int(n), 0.05) for n in days])
    walks = np.cumsum(chance.normal(size=(2_000, 1_000)), axis=1) / np.sqrt(days)
    assert (np.abs(walks) >= bound).any(axis=1).mean() <= 0.05
    # What a single look would take lets most of them through.
    assert (np.abs(walks) >= NORMAL.inv_cdf(0.975)).any(axis=1).mean() > 0.3


# --- speed ---------------------------------------------------------------------------------------


def test_hundreds_of_sleeves_take_no_time() -> None:
    def sleeves(count: int) -> list[Governable]:
        found = [(POOR, EXCELLENT, numbers())[n % 3] for n in range(count)]
        return [
            Governable("trend", f"S{n}", 0.6, msgspec.structs.replace(one, symbol=f"S{n}"))
            for n, one in enumerate(found)
        ]

    def seconds(count: int) -> tuple[float, Ruling]:
        given = sleeves(count)
        begun = time.perf_counter()
        ruling = govern(given, RULES, now_ts=NOW, is_live=True)
        return time.perf_counter() - begun, ruling

    seconds(50)
    few = min(seconds(500)[0] for _ in range(5))
    many, ruling = min((seconds(5_000) for _ in range(5)), key=lambda pair: pair[0])
    print(f"500 sleeves in {few * 1e3:.1f} ms, 5,000 in {many * 1e3:.1f} ms")
    assert len(ruling.proposals) + len(ruling.left) == 5_000
    assert many < 80 * few, "it grows like the square of the number of sleeves"
