"""What the sanitiser refuses in a file is counted, named by row, and never repaired (D3)."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from onefold.adapters.files import BarsConfig, load_frame
from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument

from .made import STOCK, change, frame

BARS = BarsConfig(instrument=STOCK)


@pytest.mark.parametrize(
    ("column", "value", "reason", "detail"),
    [
        ("close", None, "nan", "row 3: open 102.0 high 104.0 low 101.0 close nan"),
        ("high", float("inf"), "infinite", "row 3: open 102.0 high inf low 101.0 close 103.0"),
        ("low", -1.0, "not_positive", "row 3: open 102.0 high 104.0 low -1.0 close 103.0"),
        ("high", 50.0, "high_below_low", "row 3: high 50.0 below low 101.0"),
        ("close", 104.5, "open_or_close_outside_range", "row 3: open 102.0 high 104.0 low 101.0 "),
        ("volume", -5.0, "negative_volume", "row 3: volume -5.0"),
    ],
)
def test_each_reason(column: str, value: float | None, reason: str, detail: str) -> None:
    loaded = load_frame(change(frame(), column, 2, value), BARS)
    assert loaded.counts == {reason: 1}
    assert loaded.quarantined[0].reason == reason
    assert loaded.quarantined[0].detail.startswith(detail)
    assert loaded.bars.open.tolist() == [100.0, 101.0, 103.0, 104.0]
    assert loaded.before.tolist() == [2]


def test_duplicate_and_out_of_order_rows() -> None:
    rows = frame()
    messy = pl.concat([rows.head(3), rows[2:3], rows[1:2], rows[3:]])
    loaded = load_frame(messy, BARS)
    assert loaded.counts == {"out_of_order": 1, "duplicate": 1}
    assert [q.detail for q in loaded.quarantined] == ["row 4", "row 5"]
    clean = load_frame(rows, BARS).bars
    for mine, theirs in zip(loaded.bars, clean, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_duplicates_that_differ_are_said_and_either_can_be_kept() -> None:
    rows = frame()
    other = rows[2:3].with_columns(close=pl.lit(103.5))
    both = pl.concat([rows.head(3), other, rows[3:]])
    first = load_frame(both, BARS)
    assert first.bars.close[2] == 103.0
    assert any("1 of 1 duplicate rows have other prices" in note for note in first.notes)
    last = load_frame(both, BarsConfig(instrument=STOCK, duplicates="last"))
    assert last.bars.close[2] == 103.5
    assert last.counts == first.counts == {"duplicate": 1}
    assert [x.quarantined[0].detail for x in (first, last)] == ["row 4", "row 3"]
    same = load_frame(pl.concat([rows.head(3), rows[2:3], rows[3:]]), BARS)
    assert not any("other prices" in note for note in same.notes)


def test_zero_volume_is_a_fact_and_no_fault() -> None:
    loaded = load_frame(change(frame(), "volume", 2, 0.0), BARS)
    assert loaded.counts == {}
    assert loaded.bars.volume[2] == 0.0


def test_gaps_stay_gaps() -> None:
    table = frame(10).filter(~pl.int_range(10).is_between(3, 6))
    loaded = load_frame(table, BARS)
    assert loaded.bars.rows == 6
    assert (loaded.bars.ts - loaded.bars.ts_open == loaded.interval_ns).all()


def test_time_to_the_close_of_the_exchange() -> None:
    shop = Instrument(symbol="S", calendar="XNYS")
    settings = BarsConfig(instrument=shop, timezone="America/New_York")
    loaded = load_frame(frame(4, "2024-01-02T15:57:00"), settings)
    assert loaded.bars.to_close_s.tolist() == [120, 60, 0, 0]
    assert load_frame(frame(3), BARS).bars.to_close_s.tolist() == [-1] * 3


def test_unknown_calendar() -> None:
    shop = Instrument(symbol="S", calendar="XNYSE")
    with pytest.raises(ConfigError, match="did you mean 'XNYS'"):
        load_frame(frame(3), BarsConfig(instrument=shop))


def test_instrument_by_symbol_or_with_facts() -> None:
    assert BarsConfig(instrument="ES").instrument.multiplier == 50
    changed = BarsConfig(instrument={"symbol": "ES", "commission": 1.25}).instrument
    assert (changed.multiplier, changed.commission) == (50, 1.25)
    with pytest.raises(ConfigError, match="not in the catalogue"):
        BarsConfig(instrument="SPY")


def test_nothing_is_changed_in_the_callers_frame() -> None:
    table = frame()
    before = table.clone()
    load_frame(change(table, "close", 1, None), BARS)
    load_frame(table, BARS)
    assert table.equals(before)
