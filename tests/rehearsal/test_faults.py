"""The script of faults: each rule strikes when it says, and the same way every time."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from onefold.rehearsal.faults import FaultRule, Faults


def script(*rules: dict[str, Any], seed: int = 0) -> Faults:
    return Faults([FaultRule.model_validate(rule) for rule in rules], seed)


def struck(faults: Faults, on: Any, calls: int, *, trade: bool = False) -> list[int]:
    return [n for n in range(1, calls + 1) if faults.plan(on, trade=trade) is not None]


def test_nth_strikes_once() -> None:
    faults = script({"on": "submit", "do": "hang", "nth": 3})
    assert struck(faults, "submit", 10) == [3]


def test_every_strikes_again_and_again() -> None:
    faults = script({"on": "query", "do": "slow", "every": 4, "s": 2})
    assert struck(faults, "query", 10) == [4, 8]


def test_chance_follows_the_seed() -> None:
    rule = {"on": "query", "do": "slow", "chance": 0.3}
    one, same, other = (struck(script(rule, seed=s), "query", 200) for s in (1, 1, 2))
    assert one == same != other
    assert 30 < len(one) < 90


def test_calls_of_other_kinds_do_not_count() -> None:
    faults = script({"on": "submit", "do": "reject", "nth": 1})
    assert struck(faults, "query", 5) == []
    assert struck(faults, "submit", 5) == [1]


def test_any_means_wherever_it_can_happen() -> None:
    faults = script({"on": "any", "do": "too_many", "every": 1})
    assert faults.plan("stream") is None
    assert faults.plan("cancel") == ("too_many", 1.0)


def test_trades_alone_are_told_twice() -> None:
    faults = script({"on": "stream", "do": "duplicate_fill", "nth": 1})
    assert struck(faults, "stream", 5) == []
    assert struck(faults, "stream", 5, trade=True) == [1]


def test_the_first_rule_wins_and_all_count() -> None:
    faults = script(
        {"on": "submit", "do": "reject", "nth": 1},
        {"on": "submit", "do": "hang", "nth": 1},
        {"on": "submit", "do": "slow", "nth": 2},
    )
    done = [faults.plan("submit") for _ in range(3)]
    assert [fault and fault.do for fault in done] == ["reject", "slow", None]


def test_a_rule_counts_from_when_it_was_added() -> None:
    faults = script()
    faults.plan("submit")
    faults.add(FaultRule.model_validate({"on": "submit", "do": "hang", "nth": 1}))
    assert faults.plan("submit") is not None
    faults.clear()
    assert struck(faults, "submit", 5) == []


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"on": "submit", "do": "hang"}, "one of nth, every and chance"),
        ({"on": "submit", "do": "hang", "nth": 1, "every": 2}, "one of nth, every and chance"),
        ({"on": "query", "do": "partial", "nth": 1}, "does not happen on query, but on submit"),
        ({"on": "submit", "do": "slow", "nth": 1, "s": -1}, "must not be negative"),
        ({"on": "submit", "do": "explode", "nth": 1}, "accept_then_timeout"),
        ({"on": "submit", "do": "hang", "nth": 0}, "greater than or equal to 1"),
    ],
)
def test_a_rule_that_could_never_strike_is_refused(rule: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        FaultRule.model_validate(rule)
