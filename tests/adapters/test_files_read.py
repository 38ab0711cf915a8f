"""Paths and frames: whatever cannot be read is one line that says what to do."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from onefold.adapters.files import BarsConfig, load, load_frame
from onefold.domain.errors import DataError

from .made import STOCK, config, csv_file, frame

BARS = BarsConfig(instrument=STOCK)


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(config(path))
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    frame().write_parquet(tmp_path / "es_daily.parquet")
    message = refused(tmp_path / "es_dayly.parquet")
    assert message.endswith("does not exist; did you mean 'es_daily.parquet'?")


def test_missing_folder(tmp_path: Path) -> None:
    assert "there is no folder" in refused(tmp_path / "data" / "es.parquet")


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "bars.parquet"
    folder.mkdir()
    assert "is a folder; name one of its files (it has none)" in refused(folder)
    frame().write_parquet(folder / "a.parquet")
    assert refused(folder).endswith("name one of its files: a.parquet")


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert refused(tmp_path / name).endswith("is empty (0 bytes)")


def test_parquet_without_rows(tmp_path: Path) -> None:
    frame().head(0).write_parquet(tmp_path / "a.parquet")
    assert refused(tmp_path / "a.parquet") == "a.parquet has columns but no rows"


def test_csv_with_a_header_only(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "ts,open,high,low,close")
    assert refused(path) == "bars.csv has columns but no rows"


def test_not_a_parquet_file(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "ts,open,high,low,close", name="a.parquet")
    assert "is not a Parquet file, or damaged" in refused(path)


def test_truncated_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    frame(500).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert "is not a Parquet file, or damaged" in refused(path)


def test_unknown_extension(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "x", name="bars.xlsx")
    assert ".xlsx cannot be read; known: .parquet, .pq, .csv, .csv.gz, .tsv" in refused(path)


def test_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(b"not gzip at all")
    assert "is not readable as CSV" in refused(path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"ts,open,high,low,close\n2024-01-02,1,1,1,1\xff\xfe\n")
    assert "is not readable as CSV" in refused(path)


def test_line_with_too_many_cells_is_named(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path, "ts,open,high,low,close", "2024-01-02,1,1,1,1", "2024-01-03,1,1,1,1,7,7"
    )
    assert refused(path).endswith("line 3 has 7 cells, the header has 5")


def test_line_cut_short_is_quarantined(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        "ts,open,high,low,close",
        "2024-01-02,1,1,1,1",
        "2024-01-03,1,1,1,1",
        "2024-01-04,1,1",
    )
    loaded = load(config(path))
    assert loaded.counts == {"nan": 1}
    assert loaded.quarantined[0].detail.startswith("line 4: ")


def test_blank_lines_are_no_rows_and_do_not_shift_the_others(tmp_path: Path) -> None:
    lines = ["ts,open,high,low,close", "2024-01-02,1,1,1,1", "", "2024-01-03,1,1,2,1"]
    path = csv_file(tmp_path, *lines, "2024-01-04,1,1,1,1", "", "")
    loaded = load(config(path))
    assert loaded.rows == 3
    assert loaded.quarantined[0].detail.startswith("line 4: ")


def test_csv_parquet_gzip_and_separators_are_the_same_bars(tmp_path: Path) -> None:
    table = frame()
    table.write_parquet(tmp_path / "a.parquet")
    text = table.write_csv()
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    (tmp_path / "bom.csv").write_text(text, encoding="utf-8-sig")
    (tmp_path / "a.tsv").write_text(text.replace(",", "\t"), encoding="utf-8")
    (tmp_path / "semicolon.csv").write_text(text.replace(",", "; "), encoding="utf-8")
    with gzip.open(tmp_path / "a.csv.gz", "wt", encoding="utf-8") as file:
        file.write(text)
    expected = load_frame(table, BARS).bars
    for name in ("a.parquet", "a.csv", "bom.csv", "a.tsv", "semicolon.csv", "a.csv.gz"):
        found = load(config(tmp_path / name)).bars
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs, err_msg=name)


def as_pandas(table: pl.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({name: table[name].to_numpy() for name in table.columns})


def test_pandas_with_a_column_or_an_index_of_times() -> None:
    expected = load_frame(frame(), BARS).bars
    plain = as_pandas(frame())
    indexed = plain.set_index("ts")
    zoned = indexed.tz_localize("UTC").tz_convert("America/New_York")
    named = indexed.rename_axis("Date").rename(columns=str.title)
    for table in (plain, indexed, zoned, named):
        found = load_frame(table, BARS).bars
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_pandas_gaps_are_missing_numbers() -> None:
    table = as_pandas(frame()).astype({"close": object})
    table.loc[2, "close"] = None
    assert load_frame(table, BARS).counts == {"nan": 1}


def test_pandas_columns_in_levels() -> None:
    table = as_pandas(frame()).set_index("ts")
    table.columns = pd.MultiIndex.from_product([["SPY"], table.columns])
    with pytest.raises(DataError, match="columns in several levels"):
        load_frame(table, BARS)


def test_mappings_and_lazy_frames() -> None:
    assert load_frame(frame().to_dict(as_series=True), BARS).bars.rows == 5
    assert load_frame(frame().lazy(), BARS).bars.rows == 5


def test_something_else_is_no_table() -> None:
    with pytest.raises(DataError, match="prices: list is not a table"):
        load_frame([1, 2, 3], BARS, name="prices")
