"""Bars through Kite's real clients, from the ticker and from candles of the rehearsal exchange."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from onefold.adapters.kite import KiteFeed
from onefold.domain.errors import ConfigError, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faces.kite import Kite
from onefold.rehearsal.faults import FaultRule
from onefold.rehearsal.server import Server

from . import feed_conformance as conformance
from .feed_conformance import DEADLINE_S, MINUTE_NS, SYMBOL, bar, bars, opened, quiet, take
from .test_kite_venue import config

LISTED = "AAA"
LAG_S = 0.3
"""How long the feed's clock takes to know what has been played: ticks need their time as well."""


class KiteRig:
    """The feed at the rehearsal exchange, by ticker or by asking for candles."""

    def __init__(self, stream: bool) -> None:
        self.start_ns = 1_700_000_000 * 10**9 // MINUTE_NS * MINUTE_NS
        self._stream = stream
        listed = Instrument(symbol=LISTED, currency="INR", tick=0.05)
        self.exchange = Exchange([listed], Decimal(10_000), "INR")
        self.server = Server(self.exchange, [Kite()])
        self.url = ""
        self._times: list[tuple[float, int]] = []
        self.ahead_ns = 0

    def clock(self) -> int:
        """Return the exchange's time; of what the ticker tells, as it was a moment ago."""
        now = time.monotonic()
        if not self._times or self._times[-1][1] != self.exchange.now_ns:
            known_at = now + LAG_S if self.server.streams else now
            self._times.append((known_at, self.exchange.now_ns))
        known = [ts for at, ts in self._times if at <= now]
        return known[-1] if known else self.start_ns

    async def start(self) -> None:
        self.url = await self.server.start()

    async def stop(self) -> None:
        await self.server.stop()

    def feed(self, symbol: str = SYMBOL, minutes: int = 1, **changes: Any) -> KiteFeed:
        options = {
            "stream": self._stream,
            "symbols": {SYMBOL: LISTED} if symbol == SYMBOL else {},
            "poll_s": 0.02,
            "settle_s": 0.0,
            "grace_s": 0.0,
            "deadline_s": DEADLINE_S,
            "retries": 1,
            "calls_per_second": 1_000,
        }
        instruments = {symbol: Instrument(symbol=symbol)}
        intervals = {symbol: minutes * MINUTE_NS}
        settings = config(self.url, **{**options, **changes})
        return KiteFeed(settings, instruments, intervals, lambda: self.clock() + self.ahead_ns)

    def play(self, *bars: Bar) -> None:
        for one in bars:
            self.exchange.on_bar(_listed(one))
        self.clock()

    def begin(self, bar: Bar) -> None:
        self.exchange.announce(_listed(bar))

    def spoil(self, bar: Bar) -> None:
        # The exchange itself would not take it: it is put where answers and ticks are made from.
        bad = msgspec.structs.replace(_listed(bar), low=0.0)
        self.exchange.bars[LISTED].append(bad)
        self.exchange.advance(bad.ts)
        self.exchange._tell(bad)
        self.clock()

    def lose(self) -> None:
        self.server.faults.add(FaultRule(on="any", do="disconnect", every=1))
        self.server.disconnect()

    def restore(self) -> None:
        self.server.faults.clear()

    def hang(self) -> None:
        self.server.faults.add(FaultRule(on="any", do="hang", every=1))


def _listed(one: Bar) -> Bar:
    return msgspec.structs.replace(one, instrument=LISTED)


def run(case: Callable[[KiteRig], Awaitable[None]], *, stream: bool) -> None:
    conformance.run(case, KiteRig(stream))


@pytest.mark.parametrize("stream", [True, False], ids=["ticker", "candles"])
@conformance.conforms("Zerodha Kite")
def test_kite_keeps_the_promises_of_a_feed(case: Any, stream: bool) -> None:
    run(case, stream=stream)


def test_a_bar_that_the_ticker_saw_half_of_comes_from_candles() -> None:
    async def case(rig: KiteRig) -> None:
        feed = await opened(rig)
        await feed.history(SYMBOL, 3)
        # Half a minute into the next bar.
        rig.exchange.advance(rig.exchange.now_ns + MINUTE_NS // 2)
        rig.clock()
        await asyncio.sleep(2 * LAG_S)
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 3))
            await _until(lambda: rig.server.streams == 1)
            await asyncio.sleep(0.1)
            # The ticker tells of the second half of the bar, the candle has all of it.
            whole = _listed(bar(rig, 3))
            known = rig.exchange.bars[LISTED]
            known.append(msgspec.structs.replace(whole, open=whole.close, low=whole.close))
            rig.exchange.advance(whole.ts)
            rig.exchange._tell(known[-1])
            known[-1] = whole
            rig.clock()
            rig.play(*bars(rig, 4, 2))
            assert await waiting == bars(rig, 3, 3)
        await feed.close()

    run(case, stream=True)


@pytest.mark.parametrize("stream", [True, False], ids=["ticker", "candles"])
def test_a_clock_that_is_ahead_does_not_close_a_bar(stream: bool) -> None:
    async def case(rig: KiteRig) -> None:
        rig.ahead_ns = 10 * MINUTE_NS
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(grace_s=1.5)
        await feed.open()
        rig.begin(bar(rig, 3))
        assert await feed.history(SYMBOL, 9) == bars(rig, 0, 3)
        async with aclosing(feed.stream()) as events:
            waiting = asyncio.ensure_future(take(events, 1))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            rig.play(bar(rig, 3))
            assert await waiting == [bar(rig, 3)]
        await feed.close()

    run(case, stream=stream)


def test_a_silent_ticker_is_lost() -> None:
    async def case(rig: KiteRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(silence_s=1.5)
        await feed.open()
        await feed.history(SYMBOL, 3)
        rig.server.faults.add(FaultRule(on="stream", do="hang", every=1))
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 1))
            await _until(lambda: rig.server.streams == 1)
            rig.play(bar(rig, 3))
            with pytest.raises(VenueUncertain, match=r"silent for 1\.5 s"):
                await waiting
        await feed.close()

    run(case, stream=True)


def test_heartbeats_keep_a_quiet_ticker() -> None:
    async def case(rig: KiteRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(silence_s=1.5)
        await feed.open()
        await feed.history(SYMBOL, 3)
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 1))
            await asyncio.sleep(2.5)
            assert not waiting.done()
            rig.play(bar(rig, 3))
            assert await waiting == [bar(rig, 3)]
        await feed.close()

    run(case, stream=True)


def test_history_over_several_questions_is_complete() -> None:
    async def case(rig: KiteRig) -> None:
        days = 130
        for day in range(days):
            shift = day * 86_400 * 10**9
            for one in bars(rig, 0, 2):
                moved = msgspec.structs.replace(one, ts=one.ts + shift, ts_open=one.ts_open + shift)
                rig.exchange.bars[LISTED].append(_listed(moved))
        rig.exchange.advance(rig.exchange.bars[LISTED][-1].ts)
        feed = rig.feed(deadline_s=5.0)
        await feed.open()
        found = await feed.history(SYMBOL, 60_000)
        assert [one.ts for one in found] == [one.ts for one in rig.exchange.bars[LISTED]]
        await feed.close()

    run(case, stream=False)


def test_hours_begin_with_the_session() -> None:
    async def case(rig: KiteRig) -> None:
        rig.play(*bars(rig, 0, 150))
        feed = rig.feed(minutes=60)
        await feed.open()
        [*_, last] = await feed.history(SYMBOL, 2)
        quarter_past = 15 * MINUTE_NS
        assert (last.ts - quarter_past) % (60 * MINUTE_NS) == 30 * MINUTE_NS  # India is 5:30 ahead
        assert last.ts - last.ts_open == 60 * MINUTE_NS
        await feed.close()

    run(case, stream=False)


def test_what_cannot_be_is_said_before_anything_runs() -> None:
    instruments = {SYMBOL: Instrument(symbol=SYMBOL)}
    settings = config("http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="A: Kite has no bars of 7 minutes, only minute, 3minute"):
        KiteFeed(settings, instruments, {SYMBOL: 7 * MINUTE_NS})
    with pytest.raises(ConfigError, match="begin with the session at Kite"):
        KiteFeed(settings, instruments, {SYMBOL: 60 * MINUTE_NS})
    named = config("http://127.0.0.1:1", symbols={SYMBOL: "NYSE:IBM"})
    with pytest.raises(ConfigError, match="write it as NSE:INFY"):
        KiteFeed(named, instruments, {SYMBOL: MINUTE_NS})


def test_a_refused_token_is_for_the_user_to_mend() -> None:
    async def case(rig: KiteRig) -> None:
        feed = rig.feed(api_key="stranger")
        with pytest.raises(ConfigError, match="Log in again and put the new access_token"):
            await feed.open()
        await feed.close()

    run(case, stream=True)


def test_a_quiet_instrument_gives_no_bars() -> None:
    async def case(rig: KiteRig) -> None:
        feed = await opened(rig)
        await feed.history(SYMBOL, 3)
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 1))
            await _until(lambda: rig.server.streams == 1)
            rig.exchange.advance(rig.exchange.now_ns + 5 * MINUTE_NS)
            await asyncio.sleep(3 * LAG_S)
            assert not waiting.done()
            later = bar(rig, 9)
            rig.play(later)
            assert await waiting == [later]
            await quiet(stream)
        await feed.close()

    run(case, stream=True)


async def _until(happens: Callable[[], bool]) -> None:
    async with asyncio.timeout(conformance.PATIENCE_S):
        while not happens():  # noqa: ASYNC110 - it polls the other side
            await asyncio.sleep(0.01)
