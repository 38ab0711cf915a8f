"""History and stream of a live source: disjoint, whole, and each fault told once."""

from __future__ import annotations

import pytest

from onefold.adapters.closed import Closed, source_symbols
from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar, Quarantined

ONE = {"A": Instrument(symbol="A")}
MINUTE_NS = 60 * 10**9


def bar(number: int, low: float = 1.0) -> Bar:
    return Bar("A", (number + 1) * MINUTE_NS, number * MINUTE_NS, 2.0, 3.0, low, 2.0, 1.0)


def test_history_then_stream_have_every_bar_once() -> None:
    closed = Closed(ONE, 0)
    known = [bar(number) for number in range(6)]
    assert closed.history("A", known, 2, known[3].ts) == known[2:4]
    assert closed.stream("A", known, known[4].ts) == [known[4]]
    assert closed.stream("A", known, known[5].ts) == [known[5]]
    assert closed.stream("A", known, known[5].ts) == []


def test_history_that_is_asked_for_later_takes_nothing_from_the_stream() -> None:
    closed = Closed(ONE, 0)
    known = [bar(number) for number in range(6)]
    closed.history("A", known, 9, known[1].ts)
    closed.stream("A", known, known[2].ts)
    assert closed.history("A", known, 9, known[5].ts) == known[:3]
    assert closed.stream("A", known, known[5].ts) == known[3:]


def test_a_fault_is_told_once_and_its_correction_is_taken() -> None:
    closed = Closed(ONE, 0)
    bad = bar(0, low=0.0)
    (refused,) = closed.stream("A", [bad], bad.ts)
    assert isinstance(refused, Quarantined)
    assert (refused.reason, refused.ts) == ("not_positive", bad.ts)
    assert closed.stream("A", [bad], bad.ts) == []
    assert closed.stream("A", [bar(0)], bad.ts) == [bar(0)]


def test_what_one_answer_repeats_is_refused() -> None:
    closed = Closed(ONE, 0)
    first, again = closed.stream("A", [bar(0), bar(0)], bar(0).ts)
    assert first == bar(0)
    assert isinstance(again, Quarantined)
    assert again.reason == "duplicate"


def test_history_has_only_plausible_bars() -> None:
    closed = Closed(ONE, 0)
    assert closed.history("A", [bar(0), bar(1, low=0.0), bar(2)], 9, bar(2).ts) == [bar(0), bar(2)]


def test_names_of_the_source() -> None:
    two = {"A": Instrument(symbol="A"), "B": Instrument(symbol="B")}
    assert source_symbols(two, {"A": "AAA"}) == {"A": "AAA", "B": "B"}
    with pytest.raises(ConfigError, match="symbols: A and B are both 'B'"):
        source_symbols(two, {"A": "B"})
    with pytest.raises(ConfigError, match="no instrument 'C'"):
        source_symbols(two, {"C": "AAA"})
