"""Bars through the real oandapyV20 from the rehearsal exchange's OANDA."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from onefold.adapters.oanda import OandaConfig, OandaFeed
from onefold.domain.errors import ConfigError, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faces.oanda import Oanda
from onefold.rehearsal.faces.oanda.face import ACCOUNT, TOKEN
from onefold.rehearsal.faults import FaultRule
from onefold.rehearsal.server import Server

from . import feed_conformance as conformance
from .feed_conformance import DEADLINE_S, MINUTE_NS, SYMBOL, bar, bars, opened, quiet, take

LISTED, THEIRS = "AAAUSD", "AAA_USD"
BEAT_S = 0.2


class OandaRig:
    """The feed at the rehearsal exchange, with the stream of prices as its clock or without."""

    def __init__(self, stream: bool = True) -> None:
        self.start_ns = 1_700_000_000 * 10**9 // MINUTE_NS * MINUTE_NS
        self._stream = stream
        one = Instrument.model_validate({"symbol": LISTED, "kind": "fx", "tick": 0.01, "lot": 1})
        self.exchange = Exchange([one], Decimal(10_000), "USD")
        self.server = Server(self.exchange, [Oanda(beat_s=BEAT_S)])
        self.url = ""

    async def start(self) -> None:
        self.url = await self.server.start()

    async def stop(self) -> None:
        await self.server.stop()

    def feed(self, symbol: str = SYMBOL, interval_ns: int = MINUTE_NS, **changes: Any) -> OandaFeed:
        options = {
            "url": self.url,
            "account": ACCOUNT,
            "token": TOKEN,
            "symbols": {SYMBOL: THEIRS} if symbol == SYMBOL else {},
            "stream": self._stream,
            "touch": False,
            "poll_s": 0.05,
            "silence_s": 5 * BEAT_S,
            "deadline_s": DEADLINE_S,
            "retries": 1,
            "calls_per_second": 100,
        }
        config = OandaConfig.model_validate({**options, **changes})
        return OandaFeed(config, {symbol: Instrument(symbol=symbol)}, {symbol: interval_ns})

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
@conformance.conforms("OANDA")
def test_conformance(case: Callable[[Any], Awaitable[None]], stream: bool) -> None:
    conformance.run(case, OandaRig(stream))


def run(case: Callable[[Any], Awaitable[None]], stream: bool = True) -> None:
    conformance.run(case, OandaRig(stream))


def test_a_bar_is_asked_for_when_a_price_passes_its_end() -> None:
    async def case(rig: OandaRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(poll_s=600)
        await feed.open()
        await feed.history(SYMBOL, 3)
        async with aclosing(feed.stream()) as stream:
            for number in range(3, 6):
                waiting = asyncio.ensure_future(take(stream, 1))
                await _until(lambda: rig.server.streams == 1)
                await asyncio.sleep(0.1)
                rig.play(bar(rig, number))
                assert await waiting == [bar(rig, number)]
        await feed.close()

    run(case)


def test_a_heartbeat_is_a_clock_as_well() -> None:
    async def case(rig: OandaRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(poll_s=600)
        await feed.open()
        await feed.history(SYMBOL, 3)
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 1))
            await _until(lambda: rig.server.streams == 1)
            # No price tells of it: only the time goes on.
            rig.exchange.bars[LISTED].append(_listed(bar(rig, 3)))
            rig.exchange.advance(bar(rig, 3).ts)
            assert await waiting == [bar(rig, 3)]
        await feed.close()

    run(case)


def test_a_minute_without_a_price_has_no_bar_and_stops_nothing() -> None:
    async def case(rig: OandaRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(settle_s=1.0)
        await feed.open()
        await feed.history(SYMBOL, 3)
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 1))
            await _until(lambda: rig.server.streams == 1)
            rig.exchange.advance(bar(rig, 4).ts + 10**9)
            await asyncio.sleep(3 * BEAT_S)
            assert feed._due[SYMBOL] == bar(rig, 5).ts
            rig.play(bar(rig, 5))
            assert await waiting == [bar(rig, 5)]
        await feed.close()

    run(case)


def test_a_minute_without_a_price_is_over_when_the_next_has_one() -> None:
    async def case(rig: OandaRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(poll_s=600, settle_s=600)
        await feed.open()
        await feed.history(SYMBOL, 3)
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 1))
            await _until(lambda: rig.server.streams == 1)
            rig.exchange.advance(bar(rig, 4).ts_open)
            rig.begin(bar(rig, 4))
            await _until(lambda: feed._due[SYMBOL] == bar(rig, 4).ts)
            rig.play(bar(rig, 4))
            assert await waiting == [bar(rig, 4)]
        await feed.close()

    run(case)


def test_a_bar_that_is_late_is_asked_for_again() -> None:
    async def case(rig: OandaRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed()
        await feed.open()
        await feed.history(SYMBOL, 3)
        async with aclosing(feed.stream()) as stream:
            waiting = asyncio.ensure_future(take(stream, 1))
            await _until(lambda: rig.server.streams == 1)
            rig.exchange.advance(bar(rig, 3).ts + 2 * 10**9)
            await asyncio.sleep(3 * BEAT_S)
            assert not waiting.done()
            rig.exchange.bars[LISTED].append(_listed(bar(rig, 3)))
            assert await waiting == [bar(rig, 3)]
        await feed.close()

    run(case)


def test_bars_begin_with_the_stream_where_no_history_was_asked_for() -> None:
    async def case(rig: OandaRig) -> None:
        feed = await opened(rig)
        async with aclosing(feed.stream()) as stream:
            rig.play(*bars(rig, 3, 2))
            assert await take(stream, 2) == bars(rig, 3, 2)
        await feed.close()

    run(case)


def test_the_touch_is_what_bid_and_ask_were_at_the_open() -> None:
    async def case(rig: OandaRig) -> None:
        rig.play(*bars(rig, 0, 3))
        feed = rig.feed(touch=True)
        await feed.open()
        *_, last = await feed.history(SYMBOL, 2)
        assert (last.bid, last.ask) == (last.open, last.open)
        await feed.close()

    run(case)


@pytest.mark.parametrize("page", [3, 4])
def test_history_and_gaps_longer_than_an_answer_are_complete(
    page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onefold.adapters.oanda.feed.PAGE", page)

    async def case(rig: OandaRig) -> None:
        feed = await opened(rig, played=20)
        assert await feed.history(SYMBOL, 11) == bars(rig, 9, 11)
        rig.play(*bars(rig, 20, 13))
        rig.begin(bar(rig, 33))
        async with aclosing(feed.stream()) as stream:
            assert await take(stream, 13) == bars(rig, 20, 13)
            await quiet(stream)
        await feed.close()

    run(case)


def test_longer_bars_are_oandas_own_and_begin_on_the_clock_of_utc() -> None:
    async def case(rig: OandaRig) -> None:
        rig.play(*bars(rig, 0, 12))
        feed = rig.feed(interval_ns=5 * MINUTE_NS)
        await feed.open()
        [*_, last] = await feed.history(SYMBOL, 3)
        assert last.ts % (5 * MINUTE_NS) == 0
        assert last.ts - last.ts_open == 5 * MINUTE_NS
        assert last.ts <= rig.exchange.now_ns < last.ts + 5 * MINUTE_NS
        await feed.close()

    run(case)


def test_a_token_that_is_taken_away_is_uncertain_later_and_an_error_at_the_start() -> None:
    async def case(rig: OandaRig) -> None:
        stranger = rig.feed(token="wrong")  # noqa: S106 - it opens nothing
        with pytest.raises(ConfigError, match=r"refuses account .* 401: Insufficient auth"):
            await stranger.open()
        await stranger.close()
        feed = await opened(rig)
        rig.server.faults.add(FaultRule(on="query", do="expired_session", every=1))
        with pytest.raises(VenueUncertain, match="401"):
            await feed.history(SYMBOL, 3)
        await feed.close()

    run(case)


def test_what_cannot_be_is_said_before_anything_runs() -> None:
    options = {"account": ACCOUNT, "token": TOKEN}
    with pytest.raises(ConfigError, match="A: OANDA has no bars of 180 s; it has S5, S10"):
        OandaFeed(
            OandaConfig.model_validate(options),
            {"A": Instrument(symbol="A")},
            {"A": 3 * MINUTE_NS},
        )


async def _until(happens: Callable[[], bool]) -> None:
    async with asyncio.timeout(conformance.PATIENCE_S):
        while True:
            if happens():
                return
            await asyncio.sleep(0.01)
