"""Bars through Alpaca's real client from the rehearsal exchange's Alpaca, of shares and coins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from onefold.adapters.alpaca import AlpacaConfig, AlpacaFeed
from onefold.domain.errors import ConfigError, VenueUncertain
from onefold.domain.instruments import Instrument, Kind
from onefold.domain.records import Bar
from onefold.rehearsal.exchange import Exchange, Refusal
from onefold.rehearsal.faces.alpaca import Alpaca, data
from onefold.rehearsal.faces.alpaca.face import KEY
from onefold.rehearsal.faults import FaultRule
from onefold.rehearsal.server import Server

from . import feed_conformance as conformance
from .feed_conformance import DEADLINE_S, MINUTE_NS, SYMBOL, bar, bars, opened, quiet, take

WRONG = "not the secret"
DAY_NS = 86_400 * 10**9


class AlpacaRig:
    """The feed at the rehearsal exchange, by stream or by asking."""

    def __init__(self, kind: str = "equity", stream: bool = True) -> None:
        self.start_ns = 1_700_000_000 * 10**9 // MINUTE_NS * MINUTE_NS
        self._kind, self._stream = Kind(kind), stream
        self.listed = "AAA" if kind == "equity" else "AAAUSD"
        instrument = Instrument(symbol=self.listed, kind=self._kind)
        self.exchange = Exchange([instrument], Decimal(10_000), "USD")
        self.server = Server(self.exchange, [Alpaca()])
        self.url = ""

    async def start(self) -> None:
        self.url = await self.server.start()

    async def stop(self) -> None:
        await self.server.stop()

    def config(self, symbol: str = SYMBOL, **changes: Any) -> AlpacaConfig:
        options = {
            "api_key": KEY,
            "api_secret": KEY,
            "stream": self._stream,
            "url": self.url,
            "symbols": {SYMBOL: self.listed} if symbol == SYMBOL else {},
            "poll_s": 0.05,
            "settle_s": 0.0,
            "deadline_s": DEADLINE_S,
            "retries": 1,
            "calls_per_second": 1_000,
        }
        return AlpacaConfig.model_validate({**options, **changes})

    def feed(
        self, symbol: str = SYMBOL, interval_ns: int = MINUTE_NS, **changes: Any
    ) -> AlpacaFeed:
        instruments = {symbol: Instrument(symbol=symbol, kind=self._kind)}
        return AlpacaFeed(self.config(symbol, **changes), instruments, {symbol: interval_ns})

    def play(self, *bars: Bar) -> None:
        for one in bars:
            self.exchange.on_bar(self.of(one))

    def begin(self, bar: Bar) -> None:
        self.exchange.announce(self.of(bar))

    def spoil(self, bar: Bar) -> None:
        # The exchange itself would not take it: it is put where answers and streams are made from.
        bad = msgspec.structs.replace(self.of(bar), low=0.0)
        self.exchange.bars[self.listed].append(bad)
        self.exchange.advance(bad.ts)
        self.exchange._tell(bad)

    def lose(self) -> None:
        self.server.faults.add(FaultRule(on="any", do="disconnect", every=1))
        self.server.disconnect()

    def restore(self) -> None:
        self.server.faults.clear()

    def hang(self) -> None:
        self.server.faults.add(FaultRule(on="any", do="hang", every=1))

    def of(self, bar: Bar) -> Bar:
        return msgspec.structs.replace(bar, instrument=self.listed)

    def silently(self, *bars: Bar) -> None:
        """Let bars happen of which the stream says nothing."""
        for one in bars:
            self.exchange.bars[self.listed].append(self.of(one))
            self.exchange.advance(one.ts)

    async def streaming(self) -> None:
        """Wait until somebody listens."""
        await until(lambda: self.server.streams > 0)


async def until(happens: Callable[[], bool]) -> None:
    """Wait until streams are connected, and a moment more for what they subscribe to."""
    async with asyncio.timeout(conformance.PATIENCE_S):
        while not happens():  # noqa: ASYNC110 - streams of a server have no event
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "polling"])
@conformance.conforms("Alpaca shares")
def test_shares_conform(case: Callable[[Any], Awaitable[None]], stream: bool) -> None:
    conformance.run(case, AlpacaRig("equity", stream))


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "polling"])
@conformance.conforms("Alpaca coins")
def test_coins_conform(case: Callable[[Any], Awaitable[None]], stream: bool) -> None:
    conformance.run(case, AlpacaRig("crypto", stream))


def run(case: Callable[[AlpacaRig], Awaitable[None]], kind: str = "equity", **ways: Any) -> None:
    conformance.run(case, AlpacaRig(kind, **ways))


@pytest.mark.parametrize("kind", ["equity", "crypto"])
def test_the_stream_is_what_tells_and_not_the_asking(kind: str) -> None:
    async def case(rig: AlpacaRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(poll_s=600)
        await feed.open()
        await feed.history(SYMBOL, 3)
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 2))
            await rig.streaming()
            rig.play(*bars(rig, 3, 2))
            assert await waiting == bars(rig, 3, 2)
        await feed.close()

    run(case, kind)


def test_what_the_stream_did_not_tell_comes_before_what_it_tells() -> None:
    async def case(rig: AlpacaRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(poll_s=600)
        await feed.open()
        await feed.history(SYMBOL, 3)
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 4))
            await rig.streaming()
            rig.silently(*bars(rig, 3, 3))
            rig.play(bar(rig, 6))
            assert await waiting == bars(rig, 3, 4)
        await feed.close()

    run(case)


def test_a_dead_stream_is_made_up_for_by_asking() -> None:
    async def case(rig: AlpacaRig) -> None:
        feed = await opened(rig)
        await feed.history(SYMBOL, 3)
        rig.server.faults.add(FaultRule(on="stream", do="hang", every=1))
        async with aclosing(feed.stream()) as stream:
            for number in range(3, 6):
                rig.play(bar(rig, number))
                assert await take(stream, 1) == [bar(rig, number)]
        await feed.close()

    run(case)


def test_an_error_in_the_stream_ends_it() -> None:
    async def case(rig: AlpacaRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(poll_s=600)
        await feed.open()
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 1))
            await rig.streaming()
            rig.server.faults.add(FaultRule(on="stream", do="expired_session", nth=1))
            rig.play(bar(rig, 3))
            with pytest.raises(VenueUncertain, match="not authenticated"):
                await waiting
        assert await take(feed.stream(), 1) == [bar(rig, 3)]
        await feed.close()

    run(case)


def test_a_bar_that_turns_up_late_is_still_found() -> None:
    async def case(rig: AlpacaRig) -> None:
        feed = await opened(rig)
        await feed.history(SYMBOL, 3)
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 1))
            rig.exchange.advance(bar(rig, 5).ts)
            await asyncio.sleep(0.3)
            rig.silently(bar(rig, 3))
            assert await waiting == [bar(rig, 3)]
        await feed.close()

    run(case, stream=False)


def test_what_is_long_past_is_not_asked_for_again() -> None:
    async def case(rig: AlpacaRig) -> None:
        feed = await opened(rig)
        await feed.history(SYMBOL, 3)
        rig.exchange.advance(bar(rig, 600).ts)
        assert await feed._catch_up() == []
        asked: list[int] = []
        bars_of = feed._client.bars

        def remembered(
            symbols: Any, interval_ns: int, start_ns: int, *rest: Any, **more: Any
        ) -> Any:
            asked.append(start_ns)
            return bars_of(symbols, interval_ns, start_ns, *rest, **more)

        feed._client.bars = remembered
        assert await feed._catch_up() == []
        assert asked == [bar(rig, 589).ts]
        await feed.close()

    run(case, stream=False)


def test_longer_bars_are_asked_for_and_the_one_under_way_is_not_given() -> None:
    async def case(rig: AlpacaRig) -> None:
        length = 5 * MINUTE_NS
        rig.start_ns = rig.start_ns // length * length
        rig.play(*bars(rig, 0, 12))
        feed = rig.feed(interval_ns=length)
        await feed.open()
        found = await feed.history(SYMBOL, 9)
        assert [one.ts for one in found] == [rig.start_ns + n * length for n in (1, 2)]
        assert found[0].high == max(one.high for one in bars(rig, 0, 5))
        async with aclosing(feed.stream()) as stream:
            rig.play(*bars(rig, 12, 4))
            (third,) = await take(stream, 1)
            assert third.ts == rig.start_ns + 3 * length
            await quiet(stream)
        await feed.close()

    run(case)


def test_days_are_those_of_new_york() -> None:
    async def case(rig: AlpacaRig) -> None:
        # The day after summer time began: midnight in New York is 4:00 UTC, no longer 5:00.
        friday = int(datetime(2024, 3, 8, 5, tzinfo=UTC).timestamp()) * 10**9
        monday = int(datetime(2024, 3, 11, 4, tzinfo=UTC).timestamp()) * 10**9
        for start in (friday, monday):
            ts = start + 16 * 60 * MINUTE_NS
            rig.play(Bar(SYMBOL, ts, ts - MINUTE_NS, 10.0, 12.0, 9.0, 11.0, volume=5.0))
        feed = rig.feed(interval_ns=DAY_NS)
        await feed.open()
        assert [one.ts_open for one in await feed.history(SYMBOL, 5)] == [friday]
        rig.exchange.advance(monday + DAY_NS)
        assert [one.ts_open for one in await feed.history(SYMBOL, 5)] == [friday, monday]
        await feed.close()

    run(case, stream=False)


def test_history_longer_than_an_answer_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "BARS_MAX", 10)

    async def case(rig: AlpacaRig) -> None:
        rig.silently(*bars(rig, 0, 45))
        feed = rig.feed(deadline_s=5.0)
        await feed.open()
        assert await feed.history(SYMBOL, 37) == bars(rig, 8, 37)
        await feed.close()

    run(case, stream=False)


def test_a_polled_bar_is_given_time_to_become_final() -> None:
    async def case(rig: AlpacaRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(settle_s=2.0)
        await feed.open()
        assert await feed.history(SYMBOL, 9) == bars(rig, 0, 2)
        rig.exchange.advance(bar(rig, 2).ts + 2 * 10**9)
        assert await feed.history(SYMBOL, 9) == bars(rig, 0, 3)
        await feed.close()

    run(case, stream=False)


def test_shares_and_coins_in_one_feed() -> None:
    async def whole() -> None:
        mine = [Instrument(symbol="AAA"), Instrument(symbol="BBBUSD", kind=Kind.CRYPTO)]
        exchange = Exchange(mine, Decimal(10_000), "USD")
        server, rig = Server(exchange, [Alpaca()]), AlpacaRig()
        rig.url = await server.start()
        for one in bars(rig, 0, 2):
            for listed in mine:
                exchange.on_bar(msgspec.structs.replace(one, instrument=listed.symbol))
        instruments = {one.symbol: one for one in mine}
        settings = rig.config("-", poll_s=600)
        feed = AlpacaFeed(settings, instruments, dict.fromkeys(instruments, MINUTE_NS))
        await feed.open()
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 2))
            await until(lambda: server.streams == 2)
            for listed in mine:
                exchange.on_bar(msgspec.structs.replace(bar(rig, 2), instrument=listed.symbol))
            assert {one.instrument for one in await waiting} == {"AAA", "BBBUSD"}
        await feed.close()
        await server.stop()

    asyncio.run(whole())


def test_what_the_account_may_not_have_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def case(rig: AlpacaRig) -> None:
        with pytest.raises(ConfigError, match="401"):
            await rig.feed(api_secret=WRONG).open()
        words = "subscription does not permit querying recent SIP data"

        def refuse(_: str) -> int:
            raise Refusal(words, "not_allowed")

        monkeypatch.setattr(data, "_length_ns", refuse)
        with pytest.raises(ConfigError, match=rf"market data for A: .*{words}"):
            await rig.feed(data_feed="sip").open()

    run(case)


def test_what_cannot_be_is_said_before_anything_runs() -> None:
    rig = AlpacaRig()
    with pytest.raises(ConfigError, match="needs api_key and api_secret"):
        rig.feed(api_key="")
    for kind, interval_ns in (("equity", 2 * 60 * MINUTE_NS), ("crypto", DAY_NS)):
        with pytest.raises(ConfigError, match="minutes that divide an hour, and 1h"):
            AlpacaRig(kind).feed(interval_ns=interval_ns)
    for interval_ns in (7 * MINUTE_NS, 30 * 10**9, 90 * 10**9):
        with pytest.raises(ConfigError, match="Alpaca has no bars of"):
            rig.feed(interval_ns=interval_ns)
