"""The gate funnel against a plain count, and that exits and old decisions stay out of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.errors import FoldError
from onefold.domain.words import Purpose
from onefold.views.gates import Funnel, funnel

from .worlds import STRATEGIES, decisions_of, fills_of, share

GATES = ("kill_switch", "confidence", "edge")
INSTRUMENTS = (share("ABC"), share("XYZ"))


def funnel_of(*rows: dict[str, Any], filled: tuple[int, ...] = (), **how: Any) -> Funnel:
    fills = fills_of(*({"order": order} for order in filled))
    return funnel(decisions_of(*rows), fills, GATES, INSTRUMENTS, STRATEGIES, **how)


def test_steps_from_wanted_to_filled() -> None:
    result = funnel_of(
        {"blocked": 0b110},
        {"blocked": 0b010},
        {"order": 11},
        {"order": 12, "instrument": 1, "strategy": 1},
        {},
        {"purpose": Purpose.STOP, "order": 13},
        filled=(11, 11, 13),
    )
    assert (result.wanted, result.blocked, result.passed) == (5, 2, 3)
    assert (result.ordered, result.filled) == (2, 1)
    assert result.gates.rows() == [
        ("kill_switch", 0, 0, 0.0),
        ("confidence", 2, 0, 0.4),
        ("edge", 0, 1, 0.0),
    ]


def test_names_have_their_own_funnel_and_top_gate() -> None:
    result = funnel_of(
        {"blocked": 0b100, "strategy": 1, "instrument": 0},
        {"blocked": 0b101, "strategy": 1, "instrument": 1},
        {"blocked": 0b100, "strategy": 1, "instrument": 1},
        {"order": 5},
        filled=(5,),
    )
    columns = ("wanted", "blocked", "passed", "ordered", "filled", "top_gate", "top_gate_blocked")
    assert result.by_strategy.select("strategy", *columns).rows() == [
        ("momentum", 1, 0, 1, 1, 1, None, 0),
        ("mean_reversion", 3, 3, 0, 0, 0, "edge", 2),
    ]
    assert result.by_symbol.select("symbol", *columns).rows() == [
        ("ABC", 2, 1, 1, 1, 1, "edge", 1),
        ("XYZ", 2, 2, 0, 0, 0, "kill_switch", 1),
    ]
    assert result.reasons.rows() == [
        ("mean_reversion", "ABC", "edge", 1, 0),
        ("mean_reversion", "XYZ", "kill_switch", 1, 0),
        ("mean_reversion", "XYZ", "edge", 1, 1),
    ]


def test_last_counts_entries_and_not_exits() -> None:
    rows = [{"blocked": 1}, {"blocked": 2}, {"blocked": 4}, {"purpose": Purpose.TAKE, "order": 1}]
    assert funnel_of(*rows, last=2).gates["first"].to_list() == [0, 1, 1]
    assert funnel_of(*rows, last=0).wanted == 0
    assert funnel_of(*rows, last=500).wanted == 3


def test_nothing_wanted_has_no_shares() -> None:
    result = funnel_of()
    assert result.wanted == 0
    assert result.gates["share"].to_list() == [None, None, None]
    assert result.by_strategy["top_gate"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"instrument": 2}, "names instrument 2, but there are only 2"),
        ({"strategy": -1}, "names strategy -1"),
        ({"blocked": 8}, "names reason 3, but there are only 3"),
        ({"blocked": 0, "reason": 1}, "do not agree"),
        ({"blocked": 1, "reason": -1}, "do not agree"),
    ],
)
def test_decisions_that_make_no_sense_are_refused(row: dict[str, Any], words: str) -> None:
    with pytest.raises(FoldError, match=words):
        funnel_of({}, row)


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "strategy": st.integers(0, 1),
            "instrument": st.integers(0, 1),
            "blocked": st.integers(0, 7),
            "purpose": st.sampled_from([Purpose.ENTRY, Purpose.ENTRY, Purpose.TIME]),
        }
    ),
    max_size=60,
)


@settings(deadline=None)  # the first call may compile
@given(ROWS, st.none() | st.integers(0, 20))
def test_counts_equal_a_plain_count(rows: list[dict[str, Any]], last: int | None) -> None:
    result = funnel_of(*rows, last=last)
    entries = [row for row in rows if row["purpose"] is Purpose.ENTRY]
    entries = entries[max(0, len(entries) - last) :] if last is not None else entries
    first: Counter[str] = Counter()
    also: Counter[str] = Counter()
    for row in entries:
        hit = [gate for bit, gate in enumerate(GATES) if row["blocked"] >> bit & 1]
        first.update(hit[:1])
        also.update(hit[1:])
    assert result.wanted == len(entries)
    assert result.blocked == first.total()
    assert result.gates["first"].to_list() == [first[gate] for gate in GATES]
    assert result.gates["also"].to_list() == [also[gate] for gate in GATES]
    assert result.by_strategy["wanted"].sum() == result.by_symbol["wanted"].sum() == len(entries)
    assert result.reasons["first"].sum() == first.total()
