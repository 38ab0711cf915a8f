"""Every wart of the real data beside the project, on the real files.

Each wart is also shown on a small made file in the tests of its module, so these may be skipped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from onefold.adapters.files import FileConfig, LoadedBars, load, report
from onefold.domain.errors import DataError

from .made import ns
from .shared import shared

ES_MINUTES = "lean/future_cme_minute_es_trade.parquet"
BITCOIN = "bitfinex_1m/BTCUSD_1m_2016.parquet"


def stock(symbol: str, **changes: Any) -> dict[str, Any]:
    return {"symbol": symbol, "kind": "equity", **changes}


def settings(name: str, **changes: Any) -> FileConfig:
    return FileConfig(path=shared(name), **changes)


def bars(name: str, **changes: Any) -> LoadedBars:
    return load(settings(name, **changes))


def test_single_precision_prices_are_all_plausible() -> None:
    for coin in ("BTC", "ETH", "LTC"):
        loaded = bars(f"bitfinex_1m/{coin}USD_1m_2016.parquet", instrument=f"{coin}USD")
        assert loaded.counts == {}, coin


def test_gaps_in_bitcoin_minutes() -> None:
    found = report(settings(BITCOIN, instrument="BTCUSD"))
    assert (found.bars, found.interval) == (293_230, "1m")
    assert found.gaps[0].missing == 87_839, "two months are not there"
    assert (found.first, found.last) == ("2016-01-01T00:00:00Z", "2016-12-31T23:59:00Z")
    # The bars and what is missing between them fill the leap year but for its last minute.
    assert found.bars + found.missing == 366 * 1_440 - 1


def test_missing_bars_of_freqtrade() -> None:
    found = report(
        settings("freqtrade/ADA_BTC-5m.parquet", instrument={"symbol": "ADABTC", "kind": "crypto"})
    )
    assert (found.interval, found.gaps_total) == ("5m", 5)


def test_funding_rates_are_no_prices() -> None:
    with pytest.raises(DataError, match=r"all 91 rows were refused \(not_positive 91\)"):
        bars("freqtrade/XRP_USDT_USDT-8h-funding_rate.parquet", instrument="BTCUSDT")


@pytest.mark.parametrize(
    "name",
    [
        "freqtrade/XRP_ETH-trades.parquet",
        "freqtrade/public_trades_list.csv",
        "lean/equity_usa_tick_spy_trade.parquet",
        "lean/fx_oanda_tick_eurusd_quote.parquet",
        "lean/future_comex_tick_gc_trade.parquet",
        "pypi_mlfinpy/ticks.parquet",
    ],
)
def test_ticks_are_no_bars(name: str) -> None:
    with pytest.raises(DataError, match="these look like ticks"):
        bars(name, instrument="ES")


def test_negative_oil_passes_for_oil() -> None:
    oil = bars("yahoo_commodities/daily_CL.parquet", instrument="CL")
    assert oil.counts == {}
    assert oil.bars.close.min() == pytest.approx(-37.63)
    assert ns("2020-04-20T04:00:00") == oil.bars.ts_open[oil.bars.close.argmin()]


def test_negative_oil_is_quarantined_where_prices_must_be_positive() -> None:
    other = bars("yahoo_commodities/daily_CL.parquet", instrument=stock("CL2"))
    assert other.counts == {"not_positive": 2}
    assert "close -37.63" in other.quarantined[0].detail


@pytest.mark.parametrize(
    ("symbol", "counts"),
    [
        ("GC", {"high_below_low": 1, "open_or_close_outside_range": 259}),
        ("HG", {"open_or_close_outside_range": 180}),
        ("SI", {"open_or_close_outside_range": 243}),
    ],
)
def test_settlements_outside_of_the_days_range(symbol: str, counts: dict[str, int]) -> None:
    assert bars(f"yahoo_commodities/daily_{symbol}.parquet", instrument=symbol).counts == counts


def test_zero_volume_days() -> None:
    found = report(settings("yahoo_commodities/daily_SI.parquet", instrument="SI"))
    assert found.zero_volume > 100
    minutes = report(settings(ES_MINUTES, instrument="ES", entry="201403"))
    assert minutes.zero_volume > 0
    assert minutes.clean


def test_overlapping_contracts_need_a_word() -> None:
    with pytest.raises(DataError, match=r"8 contracts: 201312, 201403, .*roll: volume"):
        bars(ES_MINUTES, instrument="ES")


def test_one_contract() -> None:
    loaded = bars(ES_MINUTES, instrument="ES", entry=201312)
    assert loaded.bars.rows == 16_673
    assert loaded.counts == {}


def test_contracts_joined_by_volume() -> None:
    loaded = bars(ES_MINUTES, instrument="ES", roll="volume", end="2014-01-01")
    (roll,) = loaded.actions
    # March led on 2013-12-18; the next day of the file is the 20th. March was cheaper by 6.25.
    assert (roll.ts, roll.value) == (ns("2013-12-20"), -6.25)
    raw = pl.read_parquet(shared(ES_MINUTES)).filter(pl.col("entry").str.contains("_201403"))
    march = raw.filter(pl.col("ts") >= pl.datetime(2013, 12, 20))["close"].head(500).to_numpy()
    after = loaded.bars.close[loaded.bars.ts_open >= roll.ts]
    np.testing.assert_array_equal(after[:500], march)


def test_gap_of_years() -> None:
    found = report(settings(ES_MINUTES, instrument="ES", roll="volume"))
    assert found.gaps[0].start.startswith("2013-12-20")
    assert found.gaps[0].end.startswith("2020-01-06")
    assert any("no bar in common" in note for note in found.notes)


def test_duplicate_rows_that_differ() -> None:
    loaded = bars(
        "lean/future_eurex_minute_fesx_trade.parquet",
        instrument="FESX",
        entry="202406",
        timezone="Europe/Berlin",
    )
    assert loaded.counts == {"duplicate": 2_528}
    assert any("2528 of 2528 duplicate rows have other prices" in note for note in loaded.notes)


def test_exchange_local_times_of_shares() -> None:
    loaded = bars(
        "lean/equity_usa_hour_spy.parquet",
        instrument=stock("SPY", calendar="XNYS"),
        timezone="America/New_York",
    )
    assert loaded.counts == {}
    # The hour from 15:00 in New York ends with the session, in winter and in summer.
    last_hours = (loaded.bars.ts_open - ns("1970-01-01T19:00:00")) % (86_400 * 10**9) == 0
    summer = last_hours & (loaded.bars.to_close_s == 0)
    assert summer.sum() > 3_000
    assert (loaded.bars.to_close_s == 0).sum() > 5_800
    assert loaded.bars.to_close_s.max() == 6 * 3_600


def test_local_times_of_frankfurt() -> None:
    loaded = bars(
        "lean/future_eurex_minute_fesx_trade.parquet",
        instrument="FESX",
        roll="volume",
        timezone="Europe/Berlin",
    )
    assert loaded.bars.ts_open[0] == ns("2024-06-03T00:15:00")


def test_quotes_with_one_side_and_crossed_quotes() -> None:
    loaded = bars("lean/future_comex_minute_gc_quote.parquet", instrument="GC", entry="201312")
    assert loaded.counts == {"nan": 123, "crossed": 68}
    assert (loaded.bars.bid <= loaded.bars.ask).all()
    assert (loaded.bars.bid < loaded.bars.open).mean() > 0.9


def test_currency_quotes() -> None:
    loaded = bars("lean/fx_oanda_hour_eurusd_quote.parquet", instrument="EURUSD")
    assert loaded.counts == {}
    assert loaded.bars.rows == 74_439


def test_closes_only() -> None:
    name = "futures_portfolio_mit/daily_closes_10_futures.parquet"
    with pytest.raises(DataError, match="add closes_only: true and column"):
        bars(name, instrument="CL")
    loaded = bars(name, instrument="CL", closes_only=True, column="CL")
    assert loaded.closes_only
    assert loaded.bars.rows == 2_900
    assert loaded.bars.close[0] == 99.96
    assert (loaded.bars.high == loaded.bars.low).all()


def test_adjusted_closes_of_shares() -> None:
    loaded = bars(
        "pypi_skfolio/sp500_20stocks_daily_adjclose.parquet",
        instrument=stock("AAPL"),
        closes_only=True,
        column="AAPL",
    )
    assert loaded.bars.rows == 8_313


def test_text_in_numbers() -> None:
    name, closes = "pypi_arch/wti_daily.parquet", {"closes_only": True, "column": "DCOILWTICO"}
    with pytest.raises(DataError, match=r"row 33, column 'DCOILWTICO': '\.' is not a number"):
        bars(name, instrument="CL", **closes)
    loaded = bars(name, instrument="CL", missing=["."], **closes)
    assert loaded.counts == {"nan": 290}
    assert loaded.bars.rows == 8_321


def test_adjusted_close_apart() -> None:
    loaded = bars("pypi_arch/sp500_daily.parquet", instrument={"symbol": "SPX", "kind": "index"})
    assert loaded.bars.rows == 5_031
    adjusted = bars(
        "pypi_arch/sp500_daily.parquet",
        instrument={"symbol": "SPX", "kind": "index"},
        closes_only=True,
        column="adj close",
    )
    np.testing.assert_array_equal(adjusted.bars.close, loaded.bars.close)


def test_dollar_bars_have_no_interval() -> None:
    name = "pypi_mlfinpy/dollar_bars.parquet"
    with pytest.raises(DataError, match="irregular with ts_is: close"):
        bars(name, instrument="ES")
    loaded = bars(
        name,
        instrument="ES",
        interval="irregular",
        ts_is="close",
        columns={"volume": "cum_vol"},
    )
    assert (loaded.bars.rows, loaded.interval_ns) == (1_000, 0)


def test_splits_that_are_in_the_prices_already() -> None:
    with pytest.raises(DataError, match=r"row 611: a split of 7, .*adjusted for splits already"):
        bars("zipline/daily_AAPL.parquet", instrument=stock("AAPL"), actions=True)
    loaded = bars("zipline/daily_AAPL.parquet", instrument=stock("AAPL"), actions="dividends")
    assert len(loaded.actions) == 10


def test_a_folder_in_place_of_a_file() -> None:
    with pytest.raises(DataError, match="is a folder; name one of its files"):
        bars("lean", instrument="ES")


def test_lines_of_a_websocket_are_no_bars() -> None:
    with pytest.raises(DataError, match=r"\.gz cannot be read"):
        bars("hftbacktest/btcusdt_20240808.raw.gz", instrument="BTCUSDT")
