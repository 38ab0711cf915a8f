"""Columns and records are the same bars."""

from __future__ import annotations

from math import isnan

from hypothesis import given
from hypothesis import strategies as st

from onefold.domain.convert import take, to_columns, to_records
from onefold.domain.records import Bar

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
MAYBE = st.one_of(st.none(), NUMBERS)
BARS = st.lists(
    st.builds(
        Bar,
        st.just("X"),
        st.integers(0, 2**62),
        st.integers(0, 2**62),
        NUMBERS,
        NUMBERS,
        NUMBERS,
        NUMBERS,
        MAYBE,
        MAYBE,
        MAYBE,
        st.one_of(st.none(), st.integers(0, 10**6)),
    ),
    max_size=8,
)


@given(BARS)
def test_there_and_back(bars: list[Bar]) -> None:
    assert list(to_records(to_columns(bars), "X")) == bars


def test_unknown_is_nan_in_columns_and_none_in_records() -> None:
    columns = to_columns([Bar("X", 2, 1, 1.0, 1.0, 1.0, 1.0)])
    assert isnan(columns.volume[0])
    assert isnan(columns.bid[0])
    assert columns.to_close_s[0] == -1
    record = next(to_records(columns, "X"))
    assert (record.volume, record.bid, record.ask, record.to_close_s) == (None,) * 4


@given(BARS)
def test_take_is_taking_of_records(bars: list[Bar]) -> None:
    columns = to_columns(bars)
    assert list(to_records(take(columns, columns.ts % 2 == 0), "X")) == [
        bar for bar in bars if bar.ts % 2 == 0
    ]
