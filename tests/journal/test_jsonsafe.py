"""J11: everything written is JSON, and says what it was."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import uuid
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefold.domain.errors import NotJsonSafe
from onefold.journal import json_safe

from .records import NOON, Tick


class Side(enum.IntEnum):
    """A number with a name."""

    BUY = 1


class Mode(enum.StrEnum):
    """A text with a name."""

    LIVE = "live"


@dataclasses.dataclass
class Point:
    """A plain dataclass."""

    x: float
    when: dt.date


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (NOON, "2026-11-20T12:00:00Z"),
        (dt.datetime(2026, 11, 20, 12, tzinfo=None), "2026-11-20T12:00:00"),  # noqa: DTZ001
        (dt.date(2026, 11, 20), "2026-11-20"),
        (dt.timedelta(seconds=90), "PT90S"),
        (np.datetime64("2026-11-20T12:00:00.000000001"), "2026-11-20T12:00:00.000000001"),
        (np.array(["2026-11-20"], dtype="M8[D]"), ["2026-11-20"]),
        (np.float64(1.5), 1.5),
        (np.float32(0.5), 0.5),
        (np.int64(-3), -3),
        (np.uint8(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([1.5, None], dtype=object), [1.5, None]),
        ((1, [2.5, None]), [1, [2.5, None]]),
        ({1: "a", dt.date(2026, 1, 1): 2, Mode.LIVE: 3}, {"1": "a", "2026-01-01": 2, "live": 3}),
        (Side.BUY, 1),
        (Mode.LIVE, "live"),
        (Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Point(1.0, dt.date(2026, 1, 1)), {"x": 1.0, "when": "2026-01-01"}),
        (
            Tick(1),
            {"kind": "tick", "number": 1, "price": 1.5, "note": "", "limit": None, "levels": []},
        ),
    ],
)
def test_conversion(value: object, expected: object) -> None:
    converted = json_safe(value)
    assert converted == expected
    assert type(converted) is type(expected)
    assert json.loads(msgspec.json.encode(converted)) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "payload is NaN"),
        ({"a": [1, float("-inf")]}, r"payload.a\[1\] is infinite"),
        (np.array([[1.0, np.nan]]), r"payload\[0\]\[1\] is NaN"),
        (np.float32("nan"), "payload is NaN"),
        (Decimal("NaN"), "payload is the Decimal NaN"),
        (Point(float("nan"), dt.date(2026, 1, 1)), "payload.x is NaN"),
        (np.datetime64("NaT", "ns"), "NaT"),
        (np.timedelta64(1, "s"), "timedelta64"),
        (np.complex128(1j), "complex128"),
        (1j, "payload is a complex"),
        ({(1, 2): 3}, "JSON keys are text"),
        ({True: 3}, "JSON keys are text"),
        ({None: 3}, "JSON keys are text"),
        ({1: "a", "1": "b"}, "two keys that are both '1'"),
        ({"a": {1, 2}}, "payload.a is a set"),
        ("\udc00", "surrogate"),
        (print, "payload is a builtin_function"),
    ],
)
def test_refusal(value: object, message: str) -> None:
    with pytest.raises(NotJsonSafe, match=message):
        json_safe(value)


def test_what_contains_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(NotJsonSafe, match="contain itself"):
        json_safe(loop)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(PLAIN)
def test_what_is_json_already_is_unchanged(value: object) -> None:
    assert json_safe(value) == value
