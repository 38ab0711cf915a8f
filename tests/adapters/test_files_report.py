"""The plausibility report counts what is there."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest

from onefold.adapters.files import BarsConfig, report, report_frame
from onefold.domain.instruments import Instrument

from .made import STOCK, change, config, frame

BARS = BarsConfig(instrument=STOCK)


def test_plain_data() -> None:
    found = report_frame(frame(), BARS, name="plain")
    assert found.clean
    assert (found.source, found.instrument, found.rows, found.bars) == ("plain", "S", 5, 5)
    assert (found.first, found.last) == ("2024-01-02T00:00:00Z", "2024-01-02T00:05:00Z")
    assert (found.interval, found.interval_inferred) == ("1m", True)
    assert (found.price_low, found.price_high) == (99.0, 106.0)
    assert found.gaps == []
    assert found.jump_max == pytest.approx(1 / 101)


def test_gaps_are_counted_and_the_largest_come_first() -> None:
    table = frame(20).filter(~pl.int_range(20).is_in([3, 8, 9, 10]))
    found = report_frame(table, BARS)
    assert (found.gaps_total, found.missing) == (2, 4)
    assert [gap.missing for gap in found.gaps] == [3, 1]
    assert found.gaps[0].start == "2024-01-02T00:08:00Z"
    assert found.gaps[0].end == "2024-01-02T00:11:00Z"


def test_volumes_duplicates_and_reasons_with_an_example() -> None:
    table = change(change(change(frame(), "volume", 1, 0.0), "volume", 2, None), "close", 3, None)
    found = report_frame(pl.concat([table, table.tail(1)]), BARS)
    assert (found.zero_volume, found.unknown_volume, found.duplicates) == (1, 1, 1)
    assert {reason: x.count for reason, x in found.quarantined.items()} == {
        "nan": 1,
        "duplicate": 1,
    }
    assert found.quarantined["nan"].example.startswith("row 4: ")
    assert not found.clean


def test_prices_off_the_tick_grid() -> None:
    grid = Instrument(symbol="S", tick=0.5)
    off = change(frame(), "close", 1, 102.3)
    assert report_frame(frame(), BarsConfig(instrument=grid)).off_tick == 0
    assert report_frame(off, BarsConfig(instrument=grid)).off_tick == 1
    narrow = off.with_columns(pl.col("open", "high", "low", "close").cast(pl.Float32))
    cent = Instrument(symbol="S", tick=0.1)
    assert report_frame(narrow, BarsConfig(instrument=cent)).off_tick == 0, "single precision"


def test_a_file_of_nothing_plausible_still_has_a_report(tmp_path: Path) -> None:
    frame(3).with_columns(close=pl.lit(None, pl.Float64)).write_parquet(tmp_path / "a.parquet")
    found = report(config(tmp_path / "a.parquet"))
    assert (found.rows, found.bars, found.price_low, found.first) == (3, 0, None, None)
    assert not found.clean


def test_it_can_be_written_as_json() -> None:
    found = report_frame(frame(), BARS)
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found
