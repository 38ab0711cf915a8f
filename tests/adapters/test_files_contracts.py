"""Several contracts in one file: one of them, or a roll that knows only the past (D8)."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefold.adapters.files import BarsConfig, load_frame
from onefold.adapters.files.contracts import Contracts, contract_name, join
from onefold.domain.errors import ConfigError, DataError

from .made import STOCK, ns

DAY_NS = 86_400 * 10**9


def table(volumes: dict[str, list[float]], prices: dict[str, float]) -> pl.DataFrame:
    """Return daily bars of several contracts, one after the other; a volume of -1 is no bar."""
    rows: list[dict[str, Any]] = []
    for entry, daily in volumes.items():
        for day, volume in enumerate(daily):
            if volume >= 0:
                price = prices[entry] + day
                rows.append(
                    {
                        "ts": (ns("2024-03-01") + day * DAY_NS) // 10**6,
                        "open": price,
                        "high": price + 1,
                        "low": price - 1,
                        "close": price + 0.5,
                        "volume": volume,
                        "entry": entry,
                    }
                )
    return pl.DataFrame(rows)


MARCH, JUNE = "x_trade_202403.csv", "x_trade_202406.csv"
TWO = table(
    {MARCH: [100, 90, 40, 10, 5, -1], JUNE: [5, 10, 60, 90, 100, 110]}, {MARCH: 100.0, JUNE: 103.0}
)


def settings(**changes: Any) -> BarsConfig:
    return BarsConfig(instrument=STOCK, interval="1d", **changes)


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("20131006_es_minute_trade_201312.csv", "201312"),
        ("es_trade_201312.csv", "201312"),
        ("20131004_aig_minute_trade.csv", "aig_minute_trade"),
        ("aapl.csv", "aapl"),
        ("ESH24", "ESH24"),
        ("202403", "202403"),
        ("20240315", "20240315"),
    ],
)
def test_contract_of_an_entry(entry: str, name: str) -> None:
    assert contract_name(entry) == name


def test_several_contracts_need_a_word() -> None:
    with pytest.raises(DataError) as caught:
        load_frame(TWO, settings())
    assert str(caught.value) == (
        "frame has 2 contracts: 202403, 202406; take one (entry: '202403') or join them "
        "(roll: volume)"
    )


@pytest.mark.parametrize("entry", ["202406", 202406, JUNE])
def test_one_contract(entry: object) -> None:
    loaded = load_frame(TWO, settings(entry=entry))
    assert loaded.bars.open.tolist() == [103.0, 104.0, 105.0, 106.0, 107.0, 108.0]
    assert loaded.actions == []


def test_rows_keep_their_numbers_when_others_are_left_out() -> None:
    broken = TWO.with_columns(
        close=pl.when((pl.col("entry") == JUNE) & (pl.col("volume") == 60))
        .then(None)
        .otherwise("close")
    )
    loaded = load_frame(broken, settings(entry="202406"))
    assert loaded.quarantined[0].detail.startswith("row 8: ")


def test_a_contract_that_is_not_there() -> None:
    with pytest.raises(DataError, match="no contract '202405'; did you mean '20240"):
        load_frame(TWO, settings(entry="202405"))


def test_one_file_a_day_is_one_contract() -> None:
    days = TWO.filter(pl.col("entry") == MARCH).with_columns(
        entry=pl.lit("2024030") + pl.int_range(1, 6).cast(pl.String) + pl.lit("_x_trade.csv")
    )
    assert load_frame(days, settings()).bars.rows == 5


def test_roll_by_volume_a_day_after_the_lead_changed() -> None:
    # The two were closer together on the first day: what counts is the last one.
    spread = TWO.with_columns(
        close=pl.when((pl.col("entry") == JUNE) & (pl.col("open") == 103.0))
        .then(102.5)
        .otherwise("close")
    )
    loaded = load_frame(spread, settings(roll="volume"))
    # June led on the third day, so the series is in it from the fourth on.
    assert loaded.bars.open.tolist() == [100.0, 101.0, 102.0, 106.0, 107.0, 108.0]
    (roll,) = loaded.actions
    assert (roll.action, roll.ts) == ("roll", ns("2024-03-04"))
    assert roll.value == 3.0, "close of June less close of March on the third day"
    assert roll.ts == loaded.bars.ts[2] == loaded.bars.ts_open[3]
    assert "contracts joined: 202403, 202406" in loaded.notes


def test_never_back() -> None:
    swinging = table(
        {MARCH: [100, 10, 100, 100], JUNE: [10, 100, 10, 10]}, {MARCH: 100.0, JUNE: 103.0}
    )
    assert load_frame(swinging, settings(roll="volume")).bars.open.tolist() == [
        100.0,
        101.0,
        105.0,
        106.0,
    ]


def test_rows_in_any_order_of_contracts() -> None:
    backwards = pl.concat([TWO.filter(pl.col("entry") == e) for e in (JUNE, MARCH)])
    by_time = TWO.sort("ts", "entry")
    expected = load_frame(TWO, settings(roll="volume"))
    for other in (backwards, by_time):
        found = load_frame(other, settings(roll="volume"))
        assert found.actions == expected.actions
        np.testing.assert_array_equal(found.bars.open, expected.bars.open)


def test_roll_by_open_interest_takes_the_days_last_word() -> None:
    held = TWO.with_columns(
        pl.when(pl.col("entry") == MARCH)
        .then(pl.col("volume") * 0 + 50)
        .otherwise(pl.col("volume"))
        .alias("open interest")
    )
    loaded = load_frame(held, settings(roll="open_interest"))
    assert loaded.bars.open.tolist()[:4] == [100.0, 101.0, 102.0, 106.0]
    with pytest.raises(DataError, match="no column for 'open_interest'"):
        load_frame(TWO, settings(roll="open_interest"))


def test_open_interest_is_not_summed_over_a_day() -> None:
    # March has three bars a day to one of June, each with less open interest.
    hours = [TWO.with_columns(pl.col("ts") + h * 3_600_000) for h in range(3)]
    many = pl.concat([*(x.filter(pl.col("entry") == MARCH) for x in hours), TWO[5:]])
    held = many.with_columns(
        pl.when(pl.col("entry") == MARCH).then(40.0).otherwise(60.0).alias("open_interest")
    )
    settings_of_hours = BarsConfig(instrument=STOCK, interval="1h", roll="open_interest")
    (roll,) = load_frame(held, settings_of_hours).actions
    assert roll.ts == ns("2024-03-02")


def test_roll_needs_volume() -> None:
    with pytest.raises(DataError, match="has no volume, so roll: volume has no meaning"):
        load_frame(TWO.drop("volume"), settings(roll="volume"))


def test_contracts_without_a_bar_in_common() -> None:
    apart = table({MARCH: [9, 9, -1, -1, -1], JUNE: [-1, -1, 9, 9, 9]}, {MARCH: 100.0, JUNE: 103.0})
    loaded = load_frame(apart, settings(roll="volume"))
    assert loaded.bars.open.tolist() == [100.0, 101.0, 106.0, 107.0]
    # The last close of March is 101.5, that of June before the change 105.5.
    assert [a.value for a in loaded.actions] == [4.0]
    assert "roll from 202403 to 202406: the two have no bar in common" in loaded.notes


def test_names_that_do_not_say_which_expires_first() -> None:
    unclear = TWO.with_columns(pl.col("entry").replace({MARCH: "front", JUNE: "back"}))
    with pytest.raises(DataError, match="cannot be ordered by expiry; name them like 202403"):
        load_frame(unclear, settings(roll="volume"))


def test_month_codes_are_ordered_by_year_first() -> None:
    coded = TWO.with_columns(pl.col("entry").replace({MARCH: "ESZ23", JUNE: "ESH24"}))
    assert "contracts joined: ESZ23, ESH24" in load_frame(coded, settings(roll="volume")).notes


def test_a_period_does_not_change_which_contract_leads() -> None:
    whole = load_frame(TWO, settings(roll="volume"))
    late = load_frame(TWO, settings(roll="volume", start="2024-03-04"))
    assert late.bars.open.tolist() == whole.bars.open.tolist()[3:]


def test_options_without_a_contract_column() -> None:
    plain = TWO.filter(pl.col("entry") == MARCH).drop("entry")
    with pytest.raises(DataError, match="no column for the contract, so roll has no meaning"):
        load_frame(plain, settings(roll="volume"))
    with pytest.raises(ConfigError, match="give only one of them"):
        settings(roll="volume", entry="202403")


def test_a_row_without_a_contract_is_named() -> None:
    with pytest.raises(DataError, match="row 1, column 'entry': there is no contract"):
        load_frame(TWO.with_columns(entry=pl.lit(None, pl.String)), settings())


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=40
    ),
    st.integers(0, 6),
)
def test_a_roll_never_looks_at_the_day_itself_or_later(
    rows: list[tuple[int, int, int]], day: int
) -> None:
    days, of_row, volumes = (np.array(column) for column in zip(*rows, strict=True))
    contracts = Contracts(["202401", "202402", "202403", "202404"], of_row.astype(np.int64))
    other = np.where(days >= day, 9 - volumes, volumes)

    def chosen(measure: np.ndarray[Any, Any]) -> list[int]:
        series = join(contracts, days * DAY_NS, measure.astype(float), summed=True)
        return sorted(row for row in series.rows.tolist() if days[row] <= day)

    assert chosen(volumes) == chosen(other)
