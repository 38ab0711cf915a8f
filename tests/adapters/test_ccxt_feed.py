"""Bars through the real ccxt client from the rehearsal exchange's Binance, spot and futures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from onefold.adapters.ccxt import CcxtConfig, CcxtFeed
from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faces.binance import Binance
from onefold.rehearsal.faults import FaultRule
from onefold.rehearsal.server import Server

from . import feed_conformance as conformance
from .feed_conformance import DEADLINE_S, MINUTE_NS, SYMBOL, bar, bars, opened, take

LISTED = "AAAUSDT"


class BinanceRig:
    """The feed at the rehearsal exchange, by stream or by asking."""

    def __init__(self, market: str, stream: bool) -> None:
        self.start_ns = 1_700_000_000 * 10**9 // MINUTE_NS * MINUTE_NS
        self._market, self._stream = market, stream
        facts: dict[str, Any] = {"currency": "USDT", "tick": 0.01, "lot": 0.001}
        kind = {"kind": "crypto"} if market == "spot" else {"kind": "future"}
        instrument = Instrument.model_validate({"symbol": LISTED, **facts, **kind})
        self.exchange = Exchange([instrument], Decimal(10_000), "USDT")
        self.server = Server(self.exchange, [Binance()])
        self.url = ""

    async def start(self) -> None:
        self.url = await self.server.start()

    async def stop(self) -> None:
        await self.server.stop()

    def feed(self, symbol: str = SYMBOL, **changes: Any) -> CcxtFeed:
        options = {
            "market": self._market,
            "stream": self._stream,
            "url": self.url,
            "symbols": {SYMBOL: LISTED} if symbol == SYMBOL else {},
            "poll_s": 0.05,
            "settle_s": 0.0,
            "deadline_s": DEADLINE_S,
            "retries": 1,
            "calls_per_second": 1_000,
        }
        config = CcxtConfig.model_validate({**options, **changes})
        instruments = {symbol: Instrument(symbol=symbol)}
        return CcxtFeed(config, instruments, {symbol: MINUTE_NS})

    def play(self, *bars: Bar) -> None:
        for one in bars:
            self.exchange.on_bar(_listed(one))

    def begin(self, bar: Bar) -> None:
        self.exchange.announce(_listed(bar))

    def spoil(self, bar: Bar) -> None:
        # The exchange itself would not take it: it is put where answers and streams are made from.
        bad = msgspec.structs.replace(_listed(bar), low=0.0)
        self.exchange.bars[LISTED].append(bad)
        self.exchange.advance(bad.ts)
        self.exchange._tell(bad)

    def lose(self) -> None:
        self.server.faults.add(FaultRule(on="any", do="disconnect", every=1))
        self.server.disconnect()

    def restore(self) -> None:
        self.server.faults.clear()

    def hang(self) -> None:
        self.server.faults.add(FaultRule(on="any", do="hang", every=1))


def _listed(bar: Bar) -> Bar:
    return msgspec.structs.replace(bar, instrument=LISTED)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "polling"])
@conformance.conforms("Binance spot through ccxt")
def test_spot_conforms(case: Callable[[Any], Awaitable[None]], stream: bool) -> None:
    conformance.run(case, BinanceRig("spot", stream))


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "polling"])
@conformance.conforms("Binance futures through ccxt")
def test_futures_conform(case: Callable[[Any], Awaitable[None]], stream: bool) -> None:
    conformance.run(case, BinanceRig("futures", stream))


def run(case: Callable[[Any], Awaitable[None]], market: str, stream: bool) -> None:
    conformance.run(case, BinanceRig(market, stream))


def test_the_stream_is_what_tells_and_not_the_asking() -> None:
    async def case(rig: BinanceRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(poll_s=600)
        await feed.open()
        await feed.history(SYMBOL, 3)
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 2))
            await _until(lambda: rig.server.streams == 1)
            await asyncio.sleep(0.2)
            rig.begin(bar(rig, 3))
            rig.play(*bars(rig, 3, 2))
            assert await waiting == bars(rig, 3, 2)
        await feed.close()

    run(case, "spot", stream=True)
    run(case, "futures", stream=True)


def test_what_the_stream_did_not_tell_comes_before_what_it_tells() -> None:
    async def case(rig: BinanceRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(poll_s=600)
        await feed.open()
        await feed.history(SYMBOL, 3)
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 4))
            await _until(lambda: rig.server.streams == 1)
            await asyncio.sleep(0.2)
            for silent in bars(rig, 3, 3):
                # As if its messages were lost: it is in the answers only.
                rig.exchange.bars[LISTED].append(_listed(silent))
                rig.exchange.advance(silent.ts)
            rig.play(bar(rig, 6))
            assert await waiting == bars(rig, 3, 4)
        await feed.close()

    run(case, "spot", stream=True)


def test_a_dead_stream_is_made_up_for_by_asking() -> None:
    async def case(rig: BinanceRig) -> None:
        feed = await opened(rig)
        await feed.history(SYMBOL, 3)
        rig.server.faults.add(FaultRule(on="stream", do="hang", every=1))
        async with aclosing(feed.stream()) as stream:
            for number in range(3, 6):
                rig.play(bar(rig, number))
                assert await take(stream, 1) == [bar(rig, number)]
        await feed.close()

    run(case, "futures", stream=True)


def test_history_longer_than_an_answer_is_complete() -> None:
    async def case(rig: BinanceRig) -> None:
        count = 2_345
        for one in bars(rig, 0, count):
            rig.exchange.bars[LISTED].append(_listed(one))
        rig.exchange.advance(rig.start_ns + count * MINUTE_NS)
        feed = rig.feed(deadline_s=5.0)
        await feed.open()
        assert await feed.history(SYMBOL, 2_100) == bars(rig, count - 2_100, 2_100)
        await feed.close()

    run(case, "spot", stream=False)


def test_a_polled_bar_is_given_time_to_become_final() -> None:
    async def case(rig: BinanceRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(settle_s=2.0)
        await feed.open()
        assert await feed.history(SYMBOL, 9) == bars(rig, 0, 2)
        rig.exchange.advance(bar(rig, 2).ts + 2 * 10**9)
        assert await feed.history(SYMBOL, 9) == bars(rig, 0, 3)
        await feed.close()

    run(case, "spot", stream=False)


def test_longer_bars_are_the_exchanges_own() -> None:
    async def case(rig: BinanceRig) -> None:
        rig.play(*bars(rig, 0, 12))
        config = CcxtConfig.model_validate(
            {"url": rig.url, "symbols": {SYMBOL: LISTED}, "settle_s": 0.0, "stream": False}
        )
        feed = CcxtFeed(config, {SYMBOL: Instrument(symbol=SYMBOL)}, {SYMBOL: 5 * MINUTE_NS})
        await feed.open()
        [*_, last] = await feed.history(SYMBOL, 3)
        assert last.ts % (5 * MINUTE_NS) == 0
        assert last.ts - last.ts_open == 5 * MINUTE_NS
        assert last.ts <= rig.exchange.now_ns < last.ts + 5 * MINUTE_NS
        await feed.close()

    run(case, "spot", stream=False)


def test_what_cannot_be_is_said_before_anything_runs() -> None:
    instruments = {SYMBOL: Instrument(symbol=SYMBOL)}
    with pytest.raises(ConfigError, match="no exchange 'binanze'; did you mean 'binance'"):
        CcxtFeed(CcxtConfig(exchange="binanze"), instruments, {SYMBOL: MINUTE_NS})
    with pytest.raises(ConfigError, match="binance has no bars of 420 s; it has 1s, 1m, 3m"):
        CcxtFeed(CcxtConfig(), instruments, {SYMBOL: 7 * MINUTE_NS})


async def _until(happens: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if happens():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not happen")
