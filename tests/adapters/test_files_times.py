"""Times: exact, or an error that names the cell and the setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from onefold.adapters.files import BarsConfig, load, load_frame
from onefold.domain.errors import ConfigError, DataError

from .made import MINUTE_NS, STOCK, change, config, csv_file, frame, ns

FIRST = ns("2024-01-02T00:00:00")


def times_of(column: list[Any], **settings: Any) -> list[int]:
    table = frame(len(column)).with_columns(pl.Series("ts", column))
    bars = load_frame(table, BarsConfig(instrument=STOCK, **settings)).bars
    return [int(ts) for ts in bars.ts_open]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_whole_numbers_in_each_unit(unit: str) -> None:
    size = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    column = [(FIRST + i * MINUTE_NS) // size for i in range(4)]
    assert times_of(column) == [FIRST + i * MINUTE_NS for i in range(4)]
    assert times_of([float(x) for x in column]) == [FIRST + i * MINUTE_NS for i in range(4)]
    assert times_of([str(x) for x in column]) == [FIRST + i * MINUTE_NS for i in range(4)]


def test_numbers_in_doubt_need_a_unit() -> None:
    small = [60, 120, 180]
    with pytest.raises(DataError, match="the numbers 60 to 180 fit no unit of time; set time_unit"):
        times_of(small)
    assert times_of(small, time_unit="s") == [x * 10**9 for x in small]
    mixed = [FIRST // 10**9, FIRST // 10**6, FIRST // 10**6 + 60_000]
    with pytest.raises(DataError, match="fit no unit"):
        times_of(mixed)


def test_dates_as_numbers_need_a_format() -> None:
    dates = [20240102, 20240103, 20240104]
    with pytest.raises(DataError, match="time_format: '%Y%m%d'"):
        times_of(dates)
    days = [ns("2024-01-02"), ns("2024-01-03"), ns("2024-01-04")]
    assert times_of(dates, time_format="%Y%m%d") == days
    assert times_of([str(d) for d in dates]) == days, "as text the order is plain"


def test_a_fraction_of_a_second_is_not_guessed() -> None:
    with pytest.raises(DataError, match=r"row 2, column 'ts': 1704153660.5 is not a whole number"):
        times_of([1704153600.0, 1704153660.5])


@pytest.mark.parametrize(
    "texts",
    [
        ["2024-01-02", "2024-01-03", "2024-01-04"],
        ["2024/01/02", "2024/01/03", "2024/01/04"],
        ["2024-01-02 00:00", "2024-01-03 00:00", "2024-01-04 00:00"],
        ["2024-01-02T00:00:00.000", "2024-01-03T00:00:00", "2024-01-04T00:00:00.0"],
        ["2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z", "2024-01-04T00:00:00Z"],
        ["2024-01-01 19:00:00-05:00", "2024-01-02 19:00:00-05:00", "2024-01-04 00:00:00+00:00"],
        ["2024-01-02 00:00:00 UTC", "2024-01-03 00:00:00 UTC", "2024-01-04 00:00:00 UTC"],
    ],
)
def test_iso_texts(texts: list[str]) -> None:
    assert times_of(texts) == [ns("2024-01-02"), ns("2024-01-03"), ns("2024-01-04")]


def test_day_and_month_are_not_guessed() -> None:
    texts = ["01/02/2024", "01/03/2024", "01/04/2024"]
    with pytest.raises(DataError, match=r"'01/02/2024' is not a time like .* set time_format"):
        times_of(texts)
    assert times_of(texts, time_format="%d/%m/%Y", interval="1d")[0] == ns("2024-02-01")
    assert times_of(texts, time_format="%m/%d/%Y")[0] == ns("2024-01-02")


def test_text_that_is_no_time_is_named(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path, "Date,Open,High,Low,Close", "2024-01-02,1,1,1,1", "2024-01-3x,1,1,1,1"
    )
    with pytest.raises(DataError, match=r"bars.csv, line 3, column 'Date': '2024-01-3x' is not a"):
        load(config(path))


def test_a_row_without_a_time_is_named() -> None:
    with pytest.raises(DataError, match="row 3, column 'ts': there is no time"):
        load_frame(change(frame(), "ts", 2, None), BarsConfig(instrument=STOCK))


def test_prices_are_no_times() -> None:
    with pytest.raises(DataError, match="column 'ts': Boolean is not a time"):
        times_of([True, False])


def test_exchange_local_times_become_utc() -> None:
    winter, summer = frame(3, "2024-01-02T09:30:00"), frame(3, "2024-07-01T09:30:00")
    ny = BarsConfig(instrument=STOCK, timezone="America/New_York")
    assert load_frame(winter, ny).bars.ts_open[0] == ns("2024-01-02T14:30:00")
    assert load_frame(summer, ny).bars.ts_open[0] == ns("2024-07-01T13:30:00")
    berlin = BarsConfig(instrument=STOCK, timezone="Europe/Berlin")
    assert load_frame(summer, berlin).bars.ts_open[0] == ns("2024-07-01T07:30:00")


def test_times_with_a_zone_ignore_the_setting() -> None:
    table = frame().with_columns(pl.col("ts").dt.replace_time_zone("Asia/Tokyo"))
    loaded = load_frame(table, BarsConfig(instrument=STOCK, timezone="America/New_York"))
    assert loaded.bars.ts_open[0] == ns("2024-01-01T15:00:00")


def test_local_times_that_exist_twice_or_never_are_quarantined() -> None:
    # New York, 2024: 02:30 on March 10 does not exist, 01:30 on November 3 exists twice.
    spring = frame(4, "2024-03-10T01:00:00", "30m")
    loaded = load_frame(spring, BarsConfig(instrument=STOCK, timezone="America/New_York"))
    assert loaded.counts == {"nonexistent_time": 2}
    assert [q.ts for q in loaded.quarantined] == [
        ns("2024-03-10T02:30:00"),
        ns("2024-03-10T03:00:00"),
    ], "their local close, read as UTC"
    autumn = frame(6, "2024-11-03T00:30:00", "30m")
    loaded = load_frame(autumn, BarsConfig(instrument=STOCK, timezone="America/New_York"))
    assert loaded.counts == {"ambiguous_time": 2}
    assert loaded.bars.rows == 4
    assert [q.detail.partition(":")[0] for q in loaded.quarantined] == ["row 2", "row 3"]


def test_unknown_zone_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'America/New_York'"):
        BarsConfig(instrument=STOCK, timezone="America/NewYork")
    with pytest.raises(ConfigError, match="use a name such as Europe/Berlin"):
        BarsConfig(instrument=STOCK, timezone="XQZ")


def test_close_is_open_plus_interval() -> None:
    loaded = load_frame(frame(), BarsConfig(instrument=STOCK))
    assert loaded.bars.ts_open[0] == FIRST
    assert loaded.bars.ts[0] == FIRST + MINUTE_NS
    assert loaded.interval_inferred
    assert loaded.interval_ns == MINUTE_NS


def test_times_of_closes() -> None:
    loaded = load_frame(frame(), BarsConfig(instrument=STOCK, ts_is="close", interval="1m"))
    assert loaded.bars.ts[0] == FIRST
    assert loaded.bars.ts_open[0] == FIRST - MINUTE_NS
    assert not loaded.interval_inferred


def test_daily_bars_close_a_day_later() -> None:
    loaded = load_frame(frame(4, "2024-01-05T00:00:00", "1d"), BarsConfig(instrument=STOCK))
    assert loaded.bars.ts[0] == ns("2024-01-06")
    assert loaded.bars.to_close_s.tolist() == [-1] * 4


def test_interval_is_the_most_common_step_despite_gaps() -> None:
    table = frame(100).filter(pl.int_range(100) % 5 != 3)
    loaded = load_frame(table, BarsConfig(instrument=STOCK))
    assert loaded.interval_ns == MINUTE_NS
    # Of every five minutes four are there: three steps of one minute and one of two.
    assert loaded.notes == ["interval 1m inferred from 75% of the steps"]


def test_no_common_step_is_an_error() -> None:
    steps = [FIRST + MINUTE_NS * i * (i + 1) for i in range(20)]
    with pytest.raises(DataError, match="no step between times is common enough"):
        times_of(steps)
    with pytest.raises(DataError, match="no step between times is common enough"):
        times_of([FIRST])


def test_irregular_bars_open_where_the_last_one_closed() -> None:
    table = frame(4).with_columns(pl.Series("ts", [FIRST + MINUTE_NS * i * i for i in range(4)]))
    settings = BarsConfig(instrument=STOCK, interval="irregular", ts_is="close")
    bars = load_frame(table, settings).bars
    assert bars.ts_open.tolist() == [FIRST, *bars.ts[:-1].tolist()]
    with pytest.raises(ConfigError, match="irregular bars need ts_is: close"):
        BarsConfig(instrument=STOCK, interval="irregular")


@pytest.mark.parametrize("text", ["1", "m", "0m", "1 month", "-5m", "1.5h", ""])
def test_intervals_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a number and a unit"):
        BarsConfig(instrument=STOCK, interval=text)


def test_period() -> None:
    table = frame(6, "2024-01-01T00:00:00", "1d")
    loaded = load_frame(table, BarsConfig(instrument=STOCK, start="2024-01-02", end="2024-01-04"))
    assert loaded.bars.ts_open.tolist() == [ns("2024-01-02"), ns("2024-01-03")]
    with pytest.raises(DataError, match="no bar in the period"):
        load_frame(table, BarsConfig(instrument=STOCK, start="2025-01-01"))


def test_a_local_day_of_23_hours_ends_where_the_next_begins() -> None:
    days = ["2024-03-08", "2024-03-09", "2024-03-10", "2024-03-11", "2024-03-12"]
    frame = pl.DataFrame({"ts": days, "close": [1.0] * 5})
    config = BarsConfig(
        instrument="ES", timezone="America/New_York", interval="1d", closes_only=True
    )
    bars = load_frame(frame, config).bars
    assert (bars.ts[:-1] <= bars.ts_open[1:]).all()
    assert (bars.ts - bars.ts_open).tolist() == [h * 3_600 * 10**9 for h in (24, 24, 23, 24, 24)]


@pytest.mark.parametrize("settings", [{}, {"interval": "1m"}])
def test_a_file_with_the_newest_first_says_so(tmp_path: Path, settings: dict[str, str]) -> None:
    rows = [f"2024-01-02 00:0{n},1,2,0.5,1,5" for n in (4, 4, 3, 2, 1)]
    path = csv_file(tmp_path, "ts,open,high,low,close,volume", *rows)
    with pytest.raises(DataError, match=r"bars.csv, line 4 .* the newest row is the first"):
        load(config(path, **settings))


def test_a_day_of_23_hours_does_not_overlap_the_one_before() -> None:
    days = ["2024-03-08", "2024-03-09", "2024-03-10", "2024-03-11", "2024-03-12"]
    table = frame(len(days)).with_columns(pl.Series("ts", days))
    zone = {"timezone": "America/New_York", "interval": "1d"}
    for ts_is in ("open", "close"):
        loaded = load_frame(table, BarsConfig(instrument=STOCK, ts_is=ts_is, **zone))
        assert loaded.counts == {}
        assert (loaded.bars.ts_open[1:] >= loaded.bars.ts[:-1]).all()


def test_a_short_last_bar_of_a_session_begins_where_the_one_before_ends() -> None:
    closes = [f"2024-01-02 {t}" for t in ("10:30", "11:30", "12:30", "13:30", "14:00")]
    table = frame(len(closes)).with_columns(pl.Series("ts", closes))
    loaded = load_frame(table, BarsConfig(instrument=STOCK, ts_is="close", interval="1h"))
    assert loaded.counts == {}
    assert int(loaded.bars.ts_open[-1]) == ns("2024-01-02T13:30:00")


def test_times_that_no_clock_has_are_refused() -> None:
    with pytest.raises(DataError, match="1704153660000 s is beyond the year 2116; set another"):
        times_of([1_704_153_600_000, 1_704_153_660_000], time_unit="s")
    with pytest.raises(ConfigError, match="interval '99999999999d' is longer"):
        BarsConfig(instrument=STOCK, interval="99999999999d")
