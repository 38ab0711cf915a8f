"""Faults on a real socket, as a plain HTTP client sees them; clock, player and switch."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from onefold.rehearsal.exchange import Exchange, Opening
from onefold.rehearsal.faces.binance.face import KEY
from onefold.rehearsal.player import Player, redated
from onefold.rehearsal.server import Server

from .worlds import MINUTE_NS, bar, exchange_of, perpetual, serving

WAIT = aiohttp.ClientTimeout(total=0.4)


async def ask(
    server: Server, method: str, path: str, secret: str = KEY, **params: Any
) -> tuple[int, Any, Any]:
    """Return status, body and headers of a signed request, sent in one go."""
    query = urlencode({**params, "timestamp": 1})
    signature = hmac.new(secret.encode(), query.encode(), hashlib.sha256).hexdigest()
    url = f"{server.url}{path}?{query}&signature={signature}"
    headers = {"X-MBX-APIKEY": KEY}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, headers=headers, timeout=WAIT) as answer,
    ):
        return answer.status, await answer.json(), answer.headers


def order(name: str = "a", **more: Any) -> dict[str, Any]:
    plain = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}
    return {**plain, "newClientOrderId": name, **more}


def with_server(
    check: Callable[[Server], Coroutine[Any, Any, None]],
    *rules: dict[str, Any],
    exchange: Exchange | None = None,
) -> None:
    async def main() -> None:
        async with serving(exchange or exchange_of(), *rules) as server:
            await check(server)

    asyncio.run(main())


async def place(server: Server, name: str = "a", **more: Any) -> tuple[int, Any, Any]:
    return await ask(server, "POST", "/api/v3/order", **order(name, **more))


def names(server: Server) -> list[str]:
    return [one.client_id for one in server.exchange.orders()]


def fault(do: str, on: str = "submit", **more: Any) -> dict[str, Any]:
    return {"on": on, "do": do, "nth": 1, **more}


def test_what_is_accepted_and_then_silent_was_accepted() -> None:
    async def check(server: Server) -> None:
        with pytest.raises(TimeoutError):
            await place(server)
        assert names(server) == ["a"]

    with_server(check, fault("accept_then_timeout"))


def test_what_hangs_was_not_accepted() -> None:
    async def check(server: Server) -> None:
        with pytest.raises(TimeoutError):
            await place(server)
        assert names(server) == []

    with_server(check, fault("hang"))


def test_an_error_after_accepting_is_a_5xx() -> None:
    async def check(server: Server) -> None:
        status, body, _ = await place(server)
        assert (status, body["code"]) == (503, -1000)
        assert names(server) == ["a"]

    with_server(check, fault("error_after_accept"))


def test_a_broken_connection_has_no_answer() -> None:
    async def check(server: Server) -> None:
        with pytest.raises(aiohttp.ClientError):
            await place(server)
        assert names(server) == []

    with_server(check, fault("disconnect"))


@pytest.mark.parametrize(
    ("do", "status", "code"),
    [("reject", 400, -2010), ("too_many", 429, -1003), ("expired_session", 401, -2015)],
)
def test_refusals_leave_nothing_behind(do: str, status: int, code: int) -> None:
    async def check(server: Server) -> None:
        got, body, headers = await place(server)
        assert (got, body["code"]) == (status, code)
        assert headers.get("Retry-After") == ("7" if do == "too_many" else None)
        assert names(server) == []
        assert (await place(server))[0] == 200, "only once"

    with_server(check, fault(do, s=7))


def test_an_order_can_be_unknown_for_a_while() -> None:
    async def check(server: Server) -> None:
        await place(server)
        query = {"symbol": "BTCUSDT", "origClientOrderId": "a"}
        first = await ask(server, "GET", "/api/v3/order", **query)
        second = await ask(server, "GET", "/api/v3/order", **query)
        assert (first[0], first[1]["code"]) == (400, -2013)
        assert (second[0], second[1]["status"]) == (200, "NEW")

    with_server(check, fault("unknown_order", "query"))


def test_a_slow_answer_is_an_answer() -> None:
    async def check(server: Server) -> None:
        began = asyncio.get_running_loop().time()
        assert (await place(server))[0] == 200
        assert asyncio.get_running_loop().time() - began >= 0.2

    with_server(check, fault("slow", s=0.2))


def test_the_clock_goes_wrong_and_stays_so() -> None:
    async def check(server: Server) -> None:
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.get(f"{server.url}/api/v3/time") as answer:
                    told = (await answer.json())["serverTime"]
                assert told == server.exchange.now_ns // 10**6 - 5_000

    with_server(check, fault("clock_skew", "query", s=-5))


def test_a_partial_fill_is_followed_by_the_rest() -> None:
    async def check(server: Server) -> None:
        await place(server)
        await server.play(bar(1))
        assert server.exchange.orders()[0].filled * 2 == server.exchange.orders()[0].qty
        await server.play(bar(2))
        assert server.exchange.orders()[0].status == "filled"

    with_server(check, fault("partial"))


def test_a_fill_may_come_before_the_answer() -> None:
    async def check(server: Server) -> None:
        _, body, _ = await place(server)
        assert body["status"] == "NEW", "the answer is older than what happened meanwhile"
        assert server.exchange.orders()[0].status == "filled"

    with_server(check, fault("fill_before_ack"))


def test_a_fill_may_come_after_the_cancellation() -> None:
    async def check(server: Server) -> None:
        await place(server, type="LIMIT", timeInForce="GTC", price="90")
        query = {"symbol": "BTCUSDT", "origClientOrderId": "a"}
        _, body, _ = await ask(server, "DELETE", "/api/v3/order", **query)
        assert (body["status"], body["executedQty"]) == ("CANCELED", "0.00000000")
        await asyncio.sleep(0.1)
        assert server.exchange.orders()[0].status == "filled"

    with_server(check, fault("fill_after_cancel", "cancel"))


def test_wrong_keys_are_refused() -> None:
    async def check(server: Server) -> None:
        status, body, _ = await ask(server, "GET", "/api/v3/account", "wrong")
        assert (status, body["code"]) == (400, -1022)
        async with aiohttp.ClientSession() as session:
            for headers, code in (({}, -2014), ({"X-MBX-APIKEY": "other"}, -2015)):
                url = f"{server.url}/api/v3/account"
                async with session.get(url, headers=headers) as answer:
                    assert (answer.status, (await answer.json())["code"]) == (401, code)

    with_server(check)


def test_a_switch_cancels_what_it_was_armed_for() -> None:
    async def check(server: Server) -> None:
        exchange = server.exchange
        exchange.submit("a", "BTCUSDT", 1, Decimal(1), "limit", Decimal(50))
        server.arm("BTCUSDT", 0.1)
        server.arm("BTCUSDT", 0)
        await asyncio.sleep(0.2)
        assert exchange.working()
        server.arm("BTCUSDT", 0.1)
        await asyncio.sleep(0.2)
        assert not exchange.working()

    with_server(check, exchange=exchange_of(perpetual()))


def test_a_stopped_server_lets_its_port_go() -> None:
    async def main() -> None:
        exchange = exchange_of()
        async with serving(exchange) as server:
            port = int(server.url.rpartition(":")[2])
        again = Server(exchange, [], port=port)
        assert await again.start() == server.url
        await again.stop()

    asyncio.run(main())


# -- the player ------------------------------------------------------------------------------------


def test_bars_are_played_in_order_of_time_with_their_beginnings() -> None:
    async def main() -> None:
        exchange = exchange_of()
        events: list[Any] = []
        exchange.listen(events.append)
        async with serving(exchange) as server:
            await Player(server, [bar(2), bar(1)], speed=None).run()
        assert [(type(e).__name__, getattr(e, "ts_open", e.ts)) for e in events] == [
            (kind, bar(n).ts_open) for n in (1, 2) for kind in ("Opening", "Bar")
        ]
        assert isinstance(events[0], Opening)

    asyncio.run(main())


def test_the_clock_moves_between_bars_as_fast_as_asked() -> None:
    async def main() -> None:
        exchange = exchange_of()
        loop = asyncio.get_running_loop()
        async with serving(exchange) as server:
            began = loop.time()
            playing = asyncio.ensure_future(Player(server, [bar(1)], speed=100).run())
            await asyncio.sleep(0.3)
            here = (exchange.now_ns - bar(1).ts_open) / 10**9
            await playing
            took = loop.time() - began
        assert 15 < here < 45, "0.3 s at a hundred times real time"
        assert 0.6 <= took < 1.2
        assert exchange.now_ns == bar(1).ts

    asyncio.run(main())


def test_old_bars_are_moved_to_now_by_whole_bars() -> None:
    bars = [bar(n) for n in range(5)]
    now = 1_800_000_000_123_456_789
    moved = redated(bars, now, past=3)
    assert all(one.ts_open % MINUTE_NS == 0 for one in moved)
    assert moved[2].ts <= now < moved[3].ts
    assert [b.ts - a.ts for a, b in itertools.pairwise(moved)] == [MINUTE_NS] * 4
    assert [one.close for one in moved] == [one.close for one in bars]
    assert redated([], now, 3) == []
