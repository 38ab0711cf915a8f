"""What is taken in is read back from JSON as the same bytes, or refused with a reason."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefold.domain.bounds import NUMBER_MAX
from onefold.domain.errors import DataError
from onefold.domain.intake import admitted
from onefold.domain.records import (
    Action,
    AnyRecord,
    Bar,
    Command,
    Fill,
    Mandate,
    OrderNotice,
    Signal,
)

encode = msgspec.json.Encoder().encode
DECIMAL = st.one_of(
    st.integers(1, 10**6),
    st.floats(1e-6, 1e6),
    st.floats(1e-6, 1e6).map(np.float64),
    st.floats(0.125, 1e6, width=32).map(np.float32),
    st.integers(1, 10**6).map(np.int32),
)
WHOLE = st.one_of(st.integers(1, 10**9), st.integers(1, 10**9).map(np.int64))
MAYBE = st.one_of(st.none(), DECIMAL)
SYMBOL = st.just("ES")
RECORDS = st.one_of(
    st.builds(
        Bar, SYMBOL, WHOLE, WHOLE, DECIMAL, DECIMAL, DECIMAL, DECIMAL, MAYBE, MAYBE, MAYBE,
        st.one_of(st.none(), WHOLE),
    ),
    st.builds(
        Fill, WHOLE, WHOLE, WHOLE, SYMBOL, st.just("trend"), st.sampled_from([1, -1]), WHOLE,
        DECIMAL, DECIMAL,
    ),
    st.builds(Action, WHOLE, st.sampled_from(["split", "dividend"]), DECIMAL, SYMBOL),
    st.builds(Mandate, WHOLE, WHOLE, st.just("conf_min"), DECIMAL),
    st.builds(Command, WHOLE, st.just("kill")),
    st.builds(OrderNotice, WHOLE, WHOLE, SYMBOL, st.just("accepted")),
)  # fmt: skip


@given(RECORDS)
def test_what_is_taken_in_is_read_back_as_the_same_bytes(record: Any) -> None:
    taken = admitted(record)
    raw = encode(taken)
    assert encode(msgspec.json.decode(raw, type=AnyRecord)) == raw
    assert taken == record
    assert admitted(taken) is taken, "a record with plain numbers costs no copy"


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (Bar("ES", 1, 0, 1e300, 1.0, 1.0, 1.0), "bar of ES at 1: open .* not 1e"),
        (Bar("ES", 1, 0, 1.0, 1.0, float("nan"), 1.0), "low .* not nan"),
        (Bar("ES", 1, 0, 1.0, 1.0, 1.0, "1"), "`float`, got `str` in `close`"),  # type: ignore[arg-type]
        (Bar("ES", 2**63, 0, 1.0, 1.0, 1.0, 1.0), "ts must be"),
        (Bar("ES", 1.5, 0, 1.0, 1.0, 1.0, 1.0), "`int`, got `float` in `ts`"),  # type: ignore[arg-type]
        (Fill(1, 1, 1, "ES", "trend", 1, 2**63, 1.0), "qty must be"),
        (Fill(1, 1, 1, "ES", "trend", 1, 10**13, 1.0), "fill of ES at 1: qty must be 1 to 10"),
        (Fill(1, 1, 1, "ES", "trend", 1, 0, 1.0), "not 0"),
        (Action(1, "split", 1e19, "ES"), "value must be"),
        (Action(1, "split", 1e7, "ES"), "a split is at most 1,000,000 to 1, not 1e"),
        (Action(1, "split", 1e-7, "ES"), "not 1e-07"),
        (Mandate(1, 1, "conf_min", 2 * NUMBER_MAX), "mandate at 1: value must be"),
        (Mandate(1, 1, "conf_min", True), "`float`, got `bool`"),
        (Signal("ES", "trend", 1, 1), "a Signal is no input"),
    ],
)
def test_what_no_market_has_is_refused(record: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        admitted(record)
