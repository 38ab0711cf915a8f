"""TA-Lib behind one door: parameters, outputs, inputs, and unknown bars."""

from __future__ import annotations

import numpy as np
import pytest
import talib

from onefold.domain.errors import ConfigError
from onefold.signals import col, rows_of, ta

from .markets import market, same_bits


def test_values_are_those_of_ta_lib() -> None:
    bars = market("random")
    assert same_bits(ta.sma(10).batch(bars), talib.SMA(bars.close, 10))
    assert same_bits(ta.atr(14).batch(bars), talib.ATR(bars.high, bars.low, bars.close, 14))
    macd = talib.MACD(bars.close, 12, 26, 9)
    assert same_bits(ta.macd(12, 26, 9).line.batch(bars), macd[0])
    assert same_bits(ta.macd(12, 26, 9).signal.batch(bars), macd[1])
    assert same_bits(ta.macd(12, 26, 9).histogram.batch(bars), macd[2])
    rsi = talib.RSI(bars.close, 7)
    assert same_bits(
        ta.bbands(10, of=ta.rsi(7)).upper.batch(bars)[7:], talib.BBANDS(rsi[7:], 10)[0]
    )
    assert same_bits(ta.correl(10, of=("close", "volume")).batch(bars),
                     talib.CORREL(bars.close, bars.volume, 10))  # fmt: skip


def test_an_unknown_bar_is_unknown_and_otherwise_as_if_it_had_not_been_there() -> None:
    bars = market("random", rows=100)
    close = bars.close.copy()
    close[[0, 40, 41, 77]] = [np.nan, np.nan, np.inf, np.nan]
    holed = bars._replace(close=close)
    known = np.isfinite(close)
    column = ta.rsi(5).batch(holed)
    assert np.isnan(column[~known]).all()
    assert same_bits(column[known], talib.RSI(close[known], 5))
    stream = ta.rsi(5).stream()
    assert same_bits([stream.update(row) for row in rows_of(holed)], column)


def test_unknown_volume_touches_only_what_needs_volume() -> None:
    bars = market("random")._replace(volume=np.full(420, np.nan))
    assert np.isnan(ta.obv().batch(bars)).all()
    assert not np.isnan(ta.sma(10).batch(bars)[9:]).any()


def test_candlesticks_are_unknown_until_their_warm_up() -> None:
    column = ta.cdlengulfing().batch(market("random"))
    assert np.isnan(column[:2]).all()
    assert set(column[2:]) <= {-100.0, -80.0, 0.0, 80.0, 100.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ta.smaa(10), "no function 'smaa'; did you mean 'sma'"),
        (lambda: ta("qqqqqq"), "no function 'qqqqqq'; see ta.functions"),
        (lambda: ta.maxindex(10), "ta.maxindex is not a feature: it gives row numbers"),
        (lambda: ta.sma(timeperod=10), "no parameter 'timeperod'; did you mean 'timeperiod'"),
        (lambda: ta.sma(10, 3), r"takes 1 parameters \(timeperiod\), got 2"),
        (lambda: ta.obv(3), r"takes 0 parameters \(none\), got 1"),
        (lambda: ta.sma(10, timeperiod=11), "timeperiod is given twice"),
        (lambda: ta.sma(2.5), "timeperiod must be a whole number, got 2.5"),
        (lambda: ta.sma(True), "timeperiod must be a whole number, got True"),
        (
            lambda: ta.bbands(10, "wide"),  # type: ignore[arg-type]
            "nbdevup must be a number, got 'wide'",
        ),
        (lambda: ta.sma(-3), r"ta.sma: a parameter is out of range \(timeperiod=-3\)"),
        (lambda: ta.macd().histgram, "no output 'histgram'; did you mean 'histogram'"),
        (lambda: ta.atr(14, of="close"), r"takes 3 inputs \(high, low, close\)"),
        (ta.mavp, r"takes 2 inputs \(close, periods\)"),
    ],
)
def test_mistakes_are_explained(call: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()  # type: ignore[operator]


def test_outputs_can_be_listed_and_named_as_ta_lib_does() -> None:
    upper, middle, lower = ta.bbands(20)
    assert upper == ta.bbands(20).upperband == ta.bbands(20).upper
    assert (middle.name, lower.name) == (
        "bbands(close,20,2.0,2.0,0).middleband",
        "bbands(close,20,2.0,2.0,0).lowerband",
    )
    assert repr(ta.aroon(5)) == "<aroon(high,low,5): aroondown, aroonup>"
    assert "sma" in dir(ta)
    assert ta.sma.parameters == {"timeperiod": 30}


def test_short_and_empty_histories_are_unknown() -> None:
    for rows in (0, 1, 9):
        bars = market("random", rows=rows)
        assert np.isnan(ta.sma(10).batch(bars)).all()
        assert len(ta.macd().signal.batch(bars)) == rows
        assert len((col.close - ta.cdldoji()).batch(bars)) == rows


def test_bars_are_not_changed_and_may_be_read_only() -> None:
    bars = market("holes")
    before = [column.copy() for column in bars]
    for column in bars:
        column.flags.writeable = False
    ta.adx(5).batch(bars)
    assert all(same_bits(a, b) for a, b in zip(before, bars, strict=True))
