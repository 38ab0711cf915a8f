"""Columns are found by name, and a cell that is no number is named by line and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from onefold.adapters.files import BarsConfig, load, load_frame
from onefold.domain.errors import ConfigError, DataError

from .made import STOCK, change, config, csv_file, frame

BARS = BarsConfig(instrument=STOCK)


def refused(table: pl.DataFrame, settings: BarsConfig = BARS) -> str:
    with pytest.raises(DataError) as caught:
        load_frame(table, settings)
    return str(caught.value)


def quotes() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ts": frame(3)["ts"],
            "bid_open": [1.0, 2.0, 3.0],
            "bid_high": [1.5, 2.5, 3.5],
            "bid_low": [0.5, 1.5, 2.5],
            "bid_close": [1.2, 2.2, 3.2],
            "ask_open": [1.2, 2.2, 3.2],
            "ask_high": [1.7, 2.7, 3.7],
            "ask_low": [0.7, 1.7, 2.7],
            "ask_close": [1.4, 2.4, 3.4],
        }
    )


def test_names_in_any_case() -> None:
    names = {"ts": "Date", "open": "Open", "high": "HIGH", "low": "Low ", "close": "cLose"}
    loaded = load_frame(frame().rename(names), BARS)
    assert loaded.bars.close.tolist() == frame()["close"].to_list()


def test_configured_names() -> None:
    table = frame().rename({"close": "last", "volume": "qty"})
    settings = BarsConfig(instrument=STOCK, columns={"close": "Last", "volume": "qty"})
    loaded = load_frame(table, settings)
    assert loaded.bars.volume.tolist() == frame()["volume"].to_list()


def test_missing_column_names_the_nearest() -> None:
    message = refused(frame().rename({"close": "closse"}))
    assert message == (
        "frame has no column for 'close'; did you mean 'closse'? (then columns: {close: closse})"
    )


def test_missing_column_lists_what_is_there() -> None:
    message = refused(frame().select("ts", "volume"))
    assert "no column for 'open', 'high', 'low', 'close' (columns: 'ts', 'volume')" in message
    assert "closes_only: true" in message
    assert "name it with columns: {ts: NAME}" in refused(frame().drop("ts"))


def test_configured_name_that_is_not_there() -> None:
    settings = BarsConfig(instrument=STOCK, columns={"close": "settel"})
    message = refused(frame().rename({"close": "settle"}), settings)
    assert message == "frame has no column 'settel'; did you mean 'settle'?"


def test_unknown_field_in_the_settings() -> None:
    with pytest.raises(ConfigError, match="'colse' is not a field; did you mean 'close'"):
        BarsConfig(instrument=STOCK, columns={"colse": "x"})


def test_two_candidates_for_one_meaning() -> None:
    table = frame().with_columns(Date=pl.col("ts"))
    assert "the columns 'ts', 'Date' could all be ts; choose" in refused(table)
    settings = BarsConfig(instrument=STOCK, columns={"ts": "Date"})
    assert load_frame(table, settings).bars.rows == 5


def test_ticks_are_recognised() -> None:
    table = pl.DataFrame({"ts": frame()["ts"], "Price": [1.0] * 5, "size": [1.0] * 5})
    assert "these look like ticks; build bars from them first" in refused(table)


def test_text_in_a_number_is_named(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        "ts,open,high,low,close,volume",
        "2024-01-02,1,1,1,1,5",
        "2024-01-03,1,1,one,1,5",
    )
    with pytest.raises(DataError) as caught:
        load(config(path))
    assert str(caught.value) == (
        "bars.csv, line 3, column 'low': 'one' is not a number; if it stands for a missing one, "
        "add missing: ['one']"
    )


@pytest.mark.parametrize("text", ["1,234.5", "12.5 USD", "--", "1e", "."])
def test_texts_that_are_no_numbers(text: str) -> None:
    table = frame().with_columns(pl.Series("close", ["1", "1", text, "1", "1"]))
    assert f"frame, row 3, column 'close': {text!r} is not a number" in refused(table)


def test_missing_marks_are_quarantined_not_dropped() -> None:
    table = frame().with_columns(pl.Series("close", ["101", ".", "103", None, "105"]))
    loaded = load_frame(table, BarsConfig(instrument=STOCK, missing=["."]))
    assert loaded.counts == {"nan": 2}
    assert loaded.rows == 5


def test_a_column_that_is_no_number() -> None:
    table = frame().with_columns(close=pl.lit(value=True))
    assert "column 'close': Boolean is not a number" in refused(table)


def test_single_precision_stays_what_it_was() -> None:
    table = frame().with_columns(pl.col("open", "high", "low", "close").cast(pl.Float32) / 7)
    loaded = load_frame(table, BARS)
    assert loaded.counts == {}
    np.testing.assert_array_equal(loaded.bars.close, table["close"].cast(pl.Float64).to_numpy())


def test_quotes_become_mids_with_the_touch_at_the_open() -> None:
    loaded = load_frame(quotes(), BARS)
    assert loaded.bars.open.tolist() == pytest.approx([1.1, 2.1, 3.1])
    assert loaded.bars.high.tolist() == pytest.approx([1.6, 2.6, 3.6])
    assert loaded.bars.bid.tolist() == [1.0, 2.0, 3.0]
    assert loaded.bars.ask.tolist() == [1.2, 2.2, 3.2]
    assert any("mids of bid and ask" in note for note in loaded.notes)


def test_quotes_without_one_side_are_quarantined() -> None:
    loaded = load_frame(change(quotes(), "ask_low", 1, None), BARS)
    assert loaded.counts == {"nan": 1}


@pytest.mark.parametrize("side", ["open", "high", "low", "close"])
def test_quotes_that_cross_anywhere_are_quarantined(side: str) -> None:
    table = change(quotes(), f"bid_{side}", 1, 2.75).with_columns(
        pl.when(pl.int_range(3) == 1).then(2.8).otherwise("bid_high").alias("bid_high")
    )
    assert load_frame(table, BARS).counts == {"crossed": 1}


def test_quotes_without_asks() -> None:
    table = quotes().drop("ask_low", "ask_high")
    assert "no column for 'ask_high', 'ask_low'" in refused(table)


def test_trades_and_quotes_in_one_file_need_a_choice() -> None:
    table = quotes().hstack(frame(3).drop("ts"))
    assert "choose with price: trade or price: quote" in refused(table)
    trades = load_frame(table, BarsConfig(instrument=STOCK, price="trade"))
    assert trades.bars.open[0] == 100.0
    mids = load_frame(table, BarsConfig(instrument=STOCK, price="quote"))
    assert mids.bars.open[0] == pytest.approx(1.1)


def test_closes_only() -> None:
    table = frame(3).select("ts", CL="close", GC="open")
    assert "columns: 'ts', 'CL', 'GC'" in refused(table)
    settings = BarsConfig(instrument=STOCK, closes_only=True, column="cl")
    loaded = load_frame(table, settings)
    assert loaded.closes_only
    for side in (loaded.bars.open, loaded.bars.high, loaded.bars.low, loaded.bars.close):
        assert side.tolist() == [101.0, 102.0, 103.0]
    assert any("next_close" in note for note in loaded.notes)


def test_closes_only_with_a_typo() -> None:
    settings = BarsConfig(instrument=STOCK, closes_only=True, column="Cosing")
    message = refused(frame(3).select("ts", Closing="close"), settings)
    assert "no column 'Cosing'; did you mean 'Closing'?" in message


def test_column_without_closes_only() -> None:
    with pytest.raises(ConfigError, match="add closes_only: true"):
        BarsConfig(instrument=STOCK, column="CL")
