"""Every reason refuses what it names, and columns and single bars get the same verdicts (D3)."""

from __future__ import annotations

from itertools import pairwise
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefold.domain.convert import to_columns, to_records
from onefold.domain.instruments import Instrument, instrument
from onefold.domain.records import Bar
from onefold.domain.sanitise import (
    BEFORE_ALL_NS,
    CODES,
    REASONS,
    Sanitised,
    Sanitiser,
    detail,
    sanitise,
)

STOCK = Instrument(symbol="S")
OIL = instrument("CL")


def bar(ts: int = 60, **changes: Any) -> Bar:
    fields: dict[str, Any] = {
        "ts_open": ts - 60,
        "open": 10.0,
        "high": 11.0,
        "low": 9.0,
        "close": 10.5,
        "volume": 5.0,
    }
    return Bar("S", ts, **{**fields, **changes})


def reasons(result: Sanitised) -> list[str | None]:
    return [REASONS[code - 1] if code else None for code in result.verdicts.tolist()]


def stream(bars: list[Bar], of: Instrument, now: int | None = None) -> list[str | None]:
    sanitiser = Sanitiser(of)
    return [sanitiser.check(x, now) for x in bars]


CASES: list[tuple[str | None, dict[str, Any]]] = [
    (None, {}),
    (None, {"volume": None}),
    (None, {"volume": 0.0}),
    (None, {"bid": 9.9, "ask": 10.1}),
    (None, {"bid": 10.0, "ask": 10.0}),
    (None, {"bid": None, "ask": 10.1}),
    (None, {"open": 10.0, "high": 10.0, "low": 10.0, "close": 10.0}),
    ("nan", {"open": nan}),
    ("nan", {"close": nan, "high": inf}),
    ("infinite", {"high": inf}),
    ("infinite", {"low": -inf}),
    ("infinite", {"volume": inf}),
    ("infinite", {"bid": 9.0, "ask": inf}),
    ("not_positive", {"low": 0.0}),
    ("not_positive", {"low": -1.0}),
    ("not_positive", {"bid": 0.0, "ask": 10.0}),
    ("high_below_low", {"high": 8.0, "low": 12.0}),
    ("open_or_close_outside_range", {"close": 11.5}),
    ("open_or_close_outside_range", {"open": 8.99}),
    ("crossed", {"bid": 10.2, "ask": 10.1}),
    ("negative_volume", {"volume": -1.0}),
    ("too_large", {"high": 1e300}),
    ("too_large", {"volume": 1e15}),
    ("too_large", {"bid": 9.0, "ask": 1e16}),
    (None, {"ts_open": 120}),
    ("ends_before_open", {"ts_open": 121}),
    (None, {"ts_open": 60}),
    ("overlap", {"ts_open": 59}),
]


@pytest.mark.parametrize(("reason", "changes"), CASES)
def test_each_reason_in_both_forms(reason: str | None, changes: dict[str, Any]) -> None:
    bars = [bar(60), bar(120, **changes), bar(180)]
    assert reasons(sanitise(to_columns(bars), STOCK)) == [None, reason, None]
    assert stream(bars, STOCK) == [None, reason, None]


def test_negative_oil_price_passes_for_oil_only() -> None:
    # WTI of 2020-04-20: open 17.73, high 17.85, low -40.32, settled at -37.63.
    day = bar(60, open=17.73, high=17.85, low=-40.32, close=-37.63)
    assert stream([day], OIL) == [None]
    assert stream([day], STOCK) == ["not_positive"]
    assert sanitise(to_columns([day]), OIL).bars.close[0] == -37.63


def test_float_noise_of_adjusted_prices_passes_and_a_tick_does_not() -> None:
    ratio = 0.7361412
    high, close = 83.17 * ratio, 83.17 * (ratio * (1 + 3e-16))
    noisy = bar(
        60, open=60.0, low=59.0, high=min(high, close), close=max(high, close) * (1 + 1e-15)
    )
    assert noisy.close > noisy.high
    assert stream([noisy], STOCK) == [None]
    assert reasons(sanitise(to_columns([noisy]), STOCK)) == [None]
    # The smallest violations in real data are about a tick: 0.1 of 1,900 for gold.
    tick = bar(60, open=1900.0, low=1899.0, high=1901.0, close=1901.1)
    assert stream([tick], STOCK) == ["open_or_close_outside_range"]


def test_order_is_judged_against_accepted_bars_only() -> None:
    bars = [bar(100), bar(900, close=nan), bar(160), bar(160), bar(100), bar(220)]
    expected = [None, "nan", None, "duplicate", "out_of_order", None]
    assert stream(bars, STOCK) == expected
    assert reasons(sanitise(to_columns(bars), STOCK)) == expected


def test_a_bar_that_overlaps_does_not_silence_what_follows() -> None:
    bars = [bar(100), bar(200, ts_open=99), bar(160, ts_open=100), bar(190, ts_open=150), bar(220)]
    expected = [None, "overlap", None, "overlap", None]
    assert stream(bars, STOCK) == expected
    assert reasons(sanitise(to_columns(bars), STOCK)) == expected
    assert "opens 1970" in detail("overlap", bars[1])


def test_large_negative_prices_are_too_large() -> None:
    deep = bar(low=-1e15, open=-5.0, high=1.0, close=0.0)
    assert stream([deep], OIL) == ["too_large"]
    assert reasons(sanitise(to_columns([deep]), OIL)) == ["too_large"]


def test_future_bars_do_not_silence_what_follows() -> None:
    bars = [bar(100), bar(9_000), bar(160)]
    expected = [None, "future", None]
    assert stream(bars, STOCK, now=200) == expected
    assert reasons(sanitise(to_columns(bars), STOCK, now=200)) == expected


def test_continues_after_an_earlier_bar() -> None:
    bars = [bar(100), bar(160)]
    sanitiser = Sanitiser(STOCK, after=100)
    assert [sanitiser.check(x) for x in bars] == ["duplicate", None]
    assert reasons(sanitise(to_columns(bars), STOCK, after=100)) == ["duplicate", None]


def test_a_parsers_verdict_stands() -> None:
    bars = to_columns([bar(60), bar(120), bar(180)])
    given_reason = np.array([0, CODES["ambiguous_time"], 0], np.int8)
    result = sanitise(bars, STOCK, refused=given_reason)
    assert reasons(result) == [None, "ambiguous_time", None]
    assert result.counts() == {"ambiguous_time": 1}
    assert given_reason.tolist() == [0, CODES["ambiguous_time"], 0], "the input is left alone"


def test_nothing_is_repaired() -> None:
    bars = [bar(60), bar(120, high=8.0), bar(180)]
    result = sanitise(to_columns(bars), STOCK)
    assert list(to_records(result.bars, "S")) == [bars[0], bars[2]]


def test_no_bars() -> None:
    result = sanitise(to_columns([]), STOCK)
    assert result.bars.rows == 0
    assert result.counts() == {}


def test_details_have_the_numbers() -> None:
    assert detail("crossed", bar(bid=2.0, ask=1.0)) == "bid 2.0 above ask 1.0"
    assert detail("high_below_low", bar(high=1.0, low=2.0)) == "high 1.0 below low 2.0"
    assert "close nan" in detail("nan", bar(close=nan))
    assert detail("negative_volume", bar(volume=-3.0)) == "volume -3.0"
    assert detail("duplicate", bar()) == ""


PRICE = st.one_of(
    st.sampled_from(
        [nan, inf, -inf, 1e300, -1e300, 0.0, -0.0, -37.63, 1e-300, 10.0, 10.0 * (1 + 1e-10)]
    ),
    st.floats(5, 15),
    st.sampled_from([9.0, 10.0, 11.0]),
)
MAYBE = st.one_of(st.none(), st.sampled_from([inf, -inf, 0.0, -1.0, 9.9, 10.1]), st.floats(1, 20))
BARS = st.lists(
    st.builds(
        lambda ts, age, o, h, lo, c, v, b, a: Bar("S", ts, ts - age, o, h, lo, c, v, b, a),
        st.integers(0, 12),
        st.sampled_from([1, 1, 1, 0, 2, 5, -1]),
        PRICE,
        PRICE,
        PRICE,
        PRICE,
        MAYBE,
        MAYBE,
        MAYBE,
    ),
    max_size=25,
)


@given(BARS, st.sampled_from([STOCK, OIL]), st.one_of(st.none(), st.integers(0, 12)))
def test_columns_and_single_bars_agree(bars: list[Bar], of: Instrument, now: int | None) -> None:
    result = sanitise(to_columns(bars), of, now=now)
    assert reasons(result) == stream(bars, of, now)
    accepted = [x for x, code in zip(bars, result.verdicts, strict=True) if not code]
    assert list(to_records(result.bars, "S")) == accepted
    times = [x.ts for x in accepted]
    assert times == sorted(set(times))
    assert all(b.ts_open >= a.ts for a, b in pairwise(accepted))


@given(BARS, st.integers(0, 25))
def test_columns_in_two_parts_give_the_same_verdicts(bars: list[Bar], cut: int) -> None:
    whole = sanitise(to_columns(bars), OIL)
    head = sanitise(to_columns(bars[:cut]), OIL)
    after = int(head.bars.ts[-1]) if head.bars.rows else BEFORE_ALL_NS
    tail = sanitise(to_columns(bars[cut:]), OIL, after=after)
    assert reasons(head) + reasons(tail) == reasons(whole)


PLAUSIBLE = st.lists(
    st.builds(lambda ts, age: bar(ts, ts_open=ts - age), st.integers(0, 30), st.integers(-1, 4)),
    max_size=25,
)


@given(PLAUSIBLE, st.integers(0, 25))
def test_times_are_judged_alike_in_both_forms_and_in_parts(bars: list[Bar], cut: int) -> None:
    whole = sanitise(to_columns(bars), STOCK)
    assert reasons(whole) == stream(bars, STOCK)
    head = sanitise(to_columns(bars[:cut]), STOCK)
    after = int(head.bars.ts[-1]) if head.bars.rows else BEFORE_ALL_NS
    tail = sanitise(to_columns(bars[cut:]), STOCK, after=after)
    assert reasons(head) + reasons(tail) == reasons(whole)
    accepted = list(to_records(whole.bars, "S"))
    assert all(later.ts_open >= earlier.ts for earlier, later in pairwise(accepted))
