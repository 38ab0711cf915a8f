"""Yahoo Finance: the real client against a local server, and its frames as bars."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yfinance

from onefold.adapters.yfinance import YFinanceConfig, YFinanceFeed
from onefold.adapters.yfinance.parse import bars as parsed
from onefold.domain.errors import ConfigError, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar

from . import feed_conformance as conformance
from .feed_conformance import DEADLINE_S, MINUTE_NS, SYMBOL, bars, opened, take
from .made import ns
from .yahoo import Yahoo

DAY_NS = 24 * 60 * MINUTE_NS


@pytest.fixture(autouse=True)
def _no_cache_outside(tmp_path: Path) -> None:
    yfinance.set_tz_cache_location(str(tmp_path))


class YahooRig:
    """The feed at a server of ours; the client looks at the real clock, so time is near it."""

    def __init__(self) -> None:
        self.start_ns = time.time_ns() // MINUTE_NS * MINUTE_NS - 120 * MINUTE_NS
        self.now_ns = self.start_ns
        self.yahoo = Yahoo()
        self.url = ""

    async def start(self) -> None:
        self.url = await self.yahoo.start()

    async def stop(self) -> None:
        await self.yahoo.stop()

    def feed(self, symbol: str = SYMBOL, **changes: Any) -> YFinanceFeed:
        options = {
            "url": self.url,
            "symbols": {SYMBOL: "AAA"} if symbol == SYMBOL else {},
            "poll_s": 0.02,
            "settle_s": 0.0,
            "deadline_s": DEADLINE_S,
            "retries": 1,
        }
        config = YFinanceConfig(**{**options, **changes})
        instruments = {symbol: Instrument(symbol=symbol)}
        return YFinanceFeed(config, instruments, {symbol: MINUTE_NS}, lambda: self.now_ns)

    def play(self, *bars: Bar) -> None:
        rows = self.yahoo.rows.setdefault("AAA", [])
        rows[:] = [row for row in rows if row.ts_open < bars[0].ts_open]
        rows += bars
        self.now_ns = bars[-1].ts

    def begin(self, bar: Bar) -> None:
        self.play(bar)
        self.now_ns = bar.ts - 1

    def spoil(self, bar: Bar) -> None:
        self.play(Bar(**{**_fields(bar), "low": 0.0}))

    def lose(self) -> None:
        self.yahoo.lost = True

    def restore(self) -> None:
        self.yahoo.lost = False

    def hang(self) -> None:
        self.yahoo.hangs = True


def _fields(bar: Bar) -> dict[str, Any]:
    return {name: getattr(bar, name) for name in bar.__struct_fields__}


@conformance.conforms("Yahoo through yfinance")
def test_conformance(case: Callable[[Any], Awaitable[None]]) -> None:
    conformance.run(case, YahooRig())


def test_a_bar_is_final_only_when_it_has_settled() -> None:
    async def case(rig: YahooRig) -> None:
        rig.play(*bars(rig, 0, 3))
        rig.now_ns += 30 * 10**9
        feed = rig.feed(settle_s=30.0)
        await feed.open()
        stream = feed.stream()
        rig.play(*bars(rig, 3, 1))
        waiting = asyncio.ensure_future(take(stream, 1))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        rig.now_ns += 30 * 10**9
        assert await waiting == bars(rig, 3, 1)
        await stream.aclose()
        await feed.close()

    conformance.run(case, YahooRig())


@pytest.mark.parametrize("status", [429, 500])
def test_trouble_is_uncertain_and_never_a_wrong_symbol(status: int) -> None:
    async def case(rig: YahooRig) -> None:
        feed = await opened(rig)
        rig.yahoo.status = status
        with pytest.raises(VenueUncertain):
            await feed.history(SYMBOL, 3)
        rig.play(*bars(rig, 3, 1))
        with pytest.raises(VenueUncertain):
            await take(feed.stream(), 1)
        await feed.close()
        again = rig.feed()
        with pytest.raises(VenueUncertain):
            await again.open()
        await again.close()

    conformance.run(case, YahooRig())


def test_when_asked_too_often_it_is_left_alone() -> None:
    async def case(rig: YahooRig) -> None:
        feed = await opened(rig)
        rig.yahoo.status = 429
        for _ in range(2):
            with pytest.raises(VenueUncertain, match=r"often|left alone"):
                await feed.history(SYMBOL, 3)
        asked = len(rig.yahoo.asked)
        with pytest.raises(VenueUncertain, match="left alone"):
            await feed.history(SYMBOL, 3)
        assert len(rig.yahoo.asked) == asked
        await feed.close()

    conformance.run(case, YahooRig())


def test_no_thread_is_left_waiting_behind_a_deadline() -> None:
    async def case(rig: YahooRig) -> None:
        feed = await opened(rig)
        rig.hang()
        with pytest.raises(VenueUncertain):
            await feed.history(SYMBOL, 3)
        began = time.monotonic()
        await asyncio.get_running_loop().shutdown_default_executor()
        assert time.monotonic() - began < 10 * DEADLINE_S
        await feed.close()

    conformance.run(case, YahooRig())


def test_mistakes_in_the_settings() -> None:
    one = {"A": Instrument(symbol="A")}
    with pytest.raises(ConfigError, match=r"A: Yahoo has no bars of 180 seconds, only 1m, 2m, 5m"):
        YFinanceFeed(YFinanceConfig(), one, {"A": 3 * MINUTE_NS})
    with pytest.raises(ConfigError, match="no instrument 'AB'"):
        YFinanceFeed(YFinanceConfig(symbols={"AB": "X"}), one, {"A": MINUTE_NS})


def frame(opens: list[datetime], zone: str) -> pd.DataFrame:
    index = pd.DatetimeIndex(opens).tz_localize(zone)
    sides = {name: [1.5] * len(opens) for name in ("Open", "High", "Low", "Close")}
    return pd.DataFrame({**sides, "Volume": [7] * len(opens)}, index=index)


def test_days_end_at_midnight_where_the_exchange_is() -> None:
    days = [datetime(2024, 3, day) for day in (8, 9, 10)]  # noqa: DTZ001 - local to the exchange
    found = parsed(frame(days, "America/New_York"), Instrument(symbol="A"), DAY_NS)
    assert [bar.ts for bar in found] == [
        ns("2024-03-09T05:00:00"), ns("2024-03-10T05:00:00"), ns("2024-03-11T04:00:00"),
    ]  # fmt: skip
    hours = [(bar.ts - bar.ts_open) / (60 * MINUTE_NS) for bar in found]
    assert hours == [24, 24, 23], "the clocks went forward"
    assert {bar.to_close_s for bar in found} == {None}


def test_intraday_bars_know_their_session() -> None:
    opens = [datetime(2024, 1, 8, 15, 58), datetime(2024, 1, 8, 15, 59)]  # noqa: DTZ001 - local
    shop = Instrument(symbol="A", calendar="XNYS")
    found = parsed(frame(opens, "America/New_York"), shop, MINUTE_NS)
    assert [(bar.ts_open, bar.to_close_s) for bar in found] == [
        (ns("2024-01-08T20:58:00"), 60), (ns("2024-01-08T20:59:00"), 0),
    ]  # fmt: skip
    assert parsed(None, shop, MINUTE_NS) == []


def test_missing_numbers_reach_the_sanitiser_and_not_the_reader() -> None:
    rows = frame([datetime(2024, 1, 8, 12, 0)], "UTC").astype(float)  # noqa: DTZ001 - local
    rows.loc[rows.index[0], ["High", "Volume"]] = None
    (bar,) = parsed(rows, Instrument(symbol="A"), MINUTE_NS)
    assert bar.high != bar.high
    assert bar.volume is None


def test_daily_bars_by_the_real_client_are_those_of_the_exchange() -> None:
    async def case(rig: YahooRig) -> None:
        # Yahoo stamps a day with the open of its session.
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        opens = [int(today.timestamp()) * 10**9 - back * DAY_NS + 10**9 for back in (3, 2, 1)]
        rig.yahoo.rows["AAA"] = [
            Bar("A", ts + MINUTE_NS, ts, 5.0, 6.0, 4.0, 5.5, volume=1.0) for ts in opens
        ]
        rig.now_ns = time.time_ns()
        config = YFinanceConfig(url=rig.url, symbols={"A": "AAA"}, settle_s=0)
        days = {"A": DAY_NS}
        feed = YFinanceFeed(config, {"A": Instrument(symbol="A")}, days, lambda: rig.now_ns)
        await feed.open()
        found = await feed.history("A", 3)
        assert [bar.ts_open for bar in found] == [ts - 10**9 for ts in opens]
        assert [bar.ts - bar.ts_open for bar in found] == [DAY_NS] * 3
        await feed.close()

    conformance.run(case, YahooRig())
