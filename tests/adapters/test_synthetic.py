"""Made markets: the same seed makes the same bytes, and every fault can be counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefold.adapters.pace import Pace
from onefold.adapters.synthetic import SyntheticConfig, SyntheticFeed, generate
from onefold.domain.convert import to_columns, to_records
from onefold.domain.instruments import Instrument, instrument
from onefold.domain.records import Bar
from onefold.domain.sanitise import sanitise

from .made import ns


def config(**changes: Any) -> SyntheticConfig:
    return SyntheticConfig(**{"instrument": "BTCUSD", "seed": 7, "bars": 5_000, **changes})


def content(settings: SyntheticConfig) -> bytes:
    return b"".join(column.tobytes() for column in generate(settings))


def test_same_seed_same_bytes() -> None:
    assert content(config()) == content(config())
    assert content(config()) != content(config(seed=8))


def test_the_bytes_are_the_same_in_every_release() -> None:
    # A change of these prices is a change of every journal made from a seed.
    bars = generate(config(bars=3, price=30_000.0))
    assert bars.close.tolist() == [29985.88, 29990.33, 29987.24]


def test_the_feed_gives_the_same_bars() -> None:
    bars = generate(config())
    feed = list(SyntheticFeed(config()))
    assert feed == list(to_records(bars, "BTCUSD"))
    assert all(isinstance(bar, Bar) for bar in feed)
    for mine, theirs in zip(to_columns(b for b in feed if isinstance(b, Bar)), bars, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@given(st.integers(0, 2**32), st.sampled_from(["BTCUSD", "ES", "EURUSD"]), st.floats(0, 3))
def test_every_bar_is_plausible(seed: int, symbol: str, volatility: float) -> None:
    bars = generate(
        config(
            seed=seed, instrument=symbol, bars=300, volatility=volatility, jump_rate=0.1, price=50.0
        )
    )
    assert sanitise(bars, instrument(symbol)).counts() == {}


def test_prices_are_on_the_tick_grid() -> None:
    bars = generate(config(instrument="ES", price=5_000.0))
    for prices in (bars.open, bars.high, bars.low, bars.close):
        assert (prices % 0.25 == 0).all()


def test_gaps() -> None:
    assert generate(config(gap_rate=0, halt_rate=0)).rows == 5_000
    some = generate(config(gap_rate=0.1, halt_rate=0))
    assert 4_300 < some.rows < 4_700
    assert (np.diff(some.ts) >= 60 * 10**9).all()


def test_halts_have_no_volume_and_no_movement() -> None:
    bars = generate(config(gap_rate=0, halt_rate=0.005, halt_bars=10))
    halted = bars.volume == 0
    assert 100 < halted.sum() < 500
    assert (bars.high[halted] == bars.low[halted]).all()
    starts = np.flatnonzero(np.diff(halted.astype(int)) == 1)
    ends = np.flatnonzero(np.diff(halted.astype(int)) == -1)
    assert min(ends[: len(starts)] - starts[: len(ends)]) >= 10


def test_jumps_move_the_open() -> None:
    calm = generate(config(volatility=0, jump_rate=0, price=30_000.0))
    assert set(calm.close.tolist()) == {30_000.0}
    jumpy = generate(config(volatility=0, jump_rate=0.01, gap_rate=0, price=30_000.0))
    jumps = (jumpy.open[1:] != jumpy.close[:-1]).sum()
    assert 20 < jumps < 100
    assert (jumpy.open == jumpy.close).all()


def test_volatility_is_that_of_the_settings() -> None:
    bars = generate(config(bars=100_000, volatility=0.5, jump_rate=0, gap_rate=0, price=30_000.0))
    yearly = np.diff(np.log(bars.close)).std() * np.sqrt(365.25 * 24 * 60)
    assert yearly == pytest.approx(0.5, rel=0.02)


def test_no_bars_while_the_exchange_is_closed() -> None:
    shop = Instrument(symbol="S", calendar="XNYS")
    # Two days from Monday, midnight: 390 minutes each.
    bars = generate(config(instrument=shop, bars=2_880, gap_rate=0, start="2024-01-08"))
    assert bars.rows == 780
    assert bars.ts_open[0] == ns("2024-01-08T14:30:00")
    assert bars.to_close_s[[0, 389]].tolist() == [389 * 60, 0]


def test_it_can_be_paced() -> None:
    slept: list[float] = []
    feed = SyntheticFeed(config(bars=3, gap_rate=0), Pace(speed=120, sleep=slept.append))
    assert len(list(feed)) == 3
    assert slept == [0.5, 0.5]
