"""Splits and dividends are events of unadjusted prices, and refused for adjusted ones (F8)."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from onefold.adapters.files import BarsConfig, load_frame
from onefold.domain.errors import DataError

from .made import STOCK, frame, ns

DAILY = frame(4, "2024-01-01T00:00:00", "1d")
HALVED = [100.0, 100.0, 50.0, 50.0]


def table(opens: list[float], splits: list[float], dividends: list[float]) -> pl.DataFrame:
    price = pl.Series(opens)
    return DAILY.with_columns(open=price, high=price + 1, low=price - 1, close=price).with_columns(
        pl.Series("stock splits", splits, pl.Float64), pl.Series("Dividends", dividends, pl.Float64)
    )


def load(opens: list[float], splits: list[float], dividends: list[float], **changes: Any) -> Any:
    return load_frame(table(opens, splits, dividends), BarsConfig(instrument=STOCK, **changes))


def test_split_and_dividend_at_the_open_of_their_day() -> None:
    loaded = load(HALVED, [0, 0, 2, 0], [0, 0.5, 0, 0], actions=True)
    assert [(a.action, a.value, a.ts) for a in loaded.actions] == [
        ("dividend", 0.5, ns("2024-01-02")),
        ("split", 2.0, ns("2024-01-03")),
    ]
    assert loaded.actions[0].currency == "USD"


def test_one_and_nothing_are_no_split() -> None:
    loaded = load(HALVED, [1, 1, 2, 1], [0, 0, 0, 0], actions=True)
    assert [a.value for a in loaded.actions] == [2.0]


def test_off_unless_asked_for() -> None:
    assert load(HALVED, [0, 0, 2, 0], [0, 0.5, 0, 0]).actions == []


def test_adjusted_prices_are_refused() -> None:
    with pytest.raises(DataError, match="row 3: a split of 2, but the price went from 100 to 100"):
        load([100.0] * 4, [0, 0, 2, 0], [0, 0, 0, 0], actions=True)


def test_dividends_alone() -> None:
    loaded = load([100.0] * 4, [0, 0, 2, 0], [0, 0.5, 0, 0], actions="dividends")
    assert [a.action for a in loaded.actions] == ["dividend"]


def test_reverse_split() -> None:
    loaded = load([10.0, 10.0, 100.0, 100.0], [0, 0, 0.1, 0], [0, 0, 0, 0], actions=True)
    assert [a.value for a in loaded.actions] == [0.1]


def test_no_columns_for_actions() -> None:
    with pytest.raises(DataError, match="no column for splits or dividends"):
        load_frame(DAILY, BarsConfig(instrument=STOCK, actions=True))


def test_actions_outside_of_the_period_are_left_out() -> None:
    loaded = load(HALVED, [0, 0, 2, 0], [0, 0.5, 0, 0], actions=True, start="2024-01-03")
    assert [a.action for a in loaded.actions] == ["split"]
