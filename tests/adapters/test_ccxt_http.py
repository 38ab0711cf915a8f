"""What an answer of an exchange means, judged by ccxt's real client, and what may be sent to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from onefold.adapters.ccxt import CcxtConfig
from onefold.adapters.ccxt.http import RETRY_AFTER_S, Client, is_missing, judged
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faces.binance import Binance
from onefold.rehearsal.server import Server

from .test_ccxt_feed import LISTED, BinanceRig

SECRET = "canary-of-a-secret"  # noqa: S105 - it is looked for, not used

UNKNOWN_CODE = '{"code":-9999,"msg":"Something new."}'


def answer(status: int, body: str) -> Exception:
    """Return what a client of the exchange's server makes of one answer to an order."""

    async def whole() -> Exception:
        async def reply(_: web.Request) -> web.Response:
            return web.Response(
                status=status,
                text=body,
                content_type="application/json",
                headers={"Retry-After": "7"} if status == 418 else {},
            )

        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", reply)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        client = Client(_keyed(url), [])
        try:
            await client.act(lambda: client.exchange.private_post_order({"symbol": "X"}))
        except Exception as error:  # noqa: BLE001 - it is what the test looks at
            return error
        finally:
            await client.close()
            await runner.cleanup()
        return AssertionError("it was taken for an answer")

    return asyncio.run(whole())


def _keyed(url: str) -> CcxtConfig:
    return CcxtConfig.model_validate({"url": url, "api_key": "key", "api_secret": SECRET})


def code(number: int, text: str = "") -> str:
    return json.dumps({"code": number, "msg": text})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, code(-2010, "Account has insufficient balance for requested action.")),
        (400, code(-2010, "Duplicate order sent.")),
        (400, code(-1013, "Filter failure: LOT_SIZE")),
        (400, code(-1021, "Timestamp for this request is outside of the recvWindow.")),
        (401, code(-2015, "Invalid API-key, IP, or permissions for action.")),
        (400, UNKNOWN_CODE),
    ],
)
def test_a_clear_no_is_refused(status: int, body: str) -> None:
    error = answer(status, body)
    assert isinstance(error, VenueRefused)
    assert error.retry_after_s is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, code(-2010, "whatever it says")),
        (500, "<html>oops</html>"),
        (504, UNKNOWN_CODE),
        (400, code(-1006, "An unexpected response was received. Execution status unknown.")),
        (400, code(-1007, "Timeout waiting for response. Send status unknown.")),
        (400, code(-1000, "An unknown error occurred.")),
        (403, "<html>firewall</html>"),
        (200, UNKNOWN_CODE),
    ],
)
def test_anything_else_is_uncertain(status: int, body: str) -> None:
    assert isinstance(answer(status, body), VenueUncertain)


@pytest.mark.parametrize(
    ("status", "pause_s"), [(418, 7.0), (429, RETRY_AFTER_S), (400, RETRY_AFTER_S)]
)
def test_too_many_is_refused_with_a_pause(status: int, pause_s: float) -> None:
    error = answer(status, code(-1003, "Too many requests."))
    assert isinstance(error, VenueRefused)
    assert error.retry_after_s == pause_s


def test_no_secret_gets_into_words() -> None:
    config = _keyed("http://127.0.0.1:1")
    assert SECRET not in repr(config)
    assert SECRET not in config.model_dump_json()
    assert SECRET not in str(answer(500, "x"))
    assert "signature" not in str(answer(404, "x"))


def test_errors_of_ccxt_keep_their_meaning() -> None:
    import ccxt

    assert is_missing(ccxt.OrderNotFound("?"))
    assert not is_missing(ccxt.InvalidOrder("?"))
    assert isinstance(judged(ccxt.RequestTimeout("?")), VenueUncertain)
    assert isinstance(judged(ccxt.ExchangeError("?")), VenueUncertain), "nobody said no"
    assert isinstance(judged(ccxt.InvalidNonce("?")), VenueRefused)
    refusal = VenueRefused("?")
    assert judged(refusal) is refusal


# --- addresses and numbers -----------------------------------------------------------------------


def test_all_addresses_are_moved_to_another_server() -> None:
    client = Client(CcxtConfig(url="http://127.0.0.1:9/x/"), [])
    addresses = client.exchange.urls["api"]
    assert addresses["private"] == "http://127.0.0.1:9/x/api/v3"
    assert addresses["fapiPrivate"] == "http://127.0.0.1:9/x/fapi/v1"
    assert addresses["ws"]["spot"] == "ws://127.0.0.1:9/x/stream/ws"
    assert addresses["ws"]["linear"] == "ws://127.0.0.1:9/x/fstream/ws"
    assert addresses["ws"]["ws-api"]["spot"] == "ws://127.0.0.1:9/x/ws-api/v3"
    left = [a for a in _flat(addresses) if "127.0.0.1:9" not in a]
    assert not left, "nothing may reach the real exchange"


def _flat(addresses: Any) -> list[str]:
    if isinstance(addresses, dict):
        return [leaf for value in addresses.values() for leaf in _flat(value)]
    return [addresses]


def test_other_environments_are_other_addresses() -> None:
    hosts = {
        name: Client(CcxtConfig(environment=name), []).exchange.urls["api"]["private"]
        for name in ("live", "sandbox", "demo")
    }
    assert len(set(hosts.values())) == 3


def with_client(test: Callable[[Client], Coroutine[Any, Any, None]], **changes: Any) -> None:
    async def whole() -> None:
        rig = BinanceRig("spot", stream=False)
        url = await rig.server.start()
        client = Client(CcxtConfig.model_validate({"url": url, **changes}), ["A"])
        try:
            await test(client)
        finally:
            await client.close()
            await rig.server.stop()

    asyncio.run(whole())


def test_a_number_that_would_be_cut_is_not_sent() -> None:
    async def test(client: Client) -> None:
        await client.open()
        assert client.on_grid("A", Decimal("12.345"), "amount") == "12.345"
        assert client.on_grid("A", Decimal("1E+2"), "amount") == "100"
        assert client.on_grid("A", Decimal("99.99"), "price") == "99.99"
        for number, kind in (("0.0005", "amount"), ("1.2345", "amount"), ("9.999", "price")):
            with pytest.raises(VenueRefused, match="not sent"):
                client.on_grid("A", Decimal(number), kind)
        with pytest.raises(VenueRefused, match="B is not a symbol of this account"):
            client.on_grid("B", Decimal(1), "amount")

    with_client(test, symbols={"A": LISTED})


def test_a_symbol_is_found_by_each_of_its_names() -> None:
    for name in (LISTED, "AAA/USDT"):

        async def test(client: Client) -> None:
            await client.open()
            assert client.theirs("A") == "AAA/USDT"
            assert client.ours("AAA/USDT") == "A"
            assert client.ours("BBB/USDT") == "BBB/USDT"

        with_client(test, symbols={"A": name})


def test_a_symbol_that_is_not_there_is_said_with_the_nearest() -> None:
    async def test(client: Client) -> None:
        with pytest.raises(ConfigError, match=r"no spot market 'AAB/USDT' for 'A'.*'AAA/USDT'"):
            await client.open()

    with_client(test, symbols={"A": "AAB/USDT"})


def test_the_real_face_is_what_answers() -> None:
    """Keep the server of the other tests honest: Binance's face refuses a wrong secret."""

    async def whole() -> None:
        server = Server(Exchange([], Decimal(1), "USDT"), [Binance()])
        client = Client(_keyed(await server.start()), [])
        with pytest.raises(VenueRefused, match="Invalid API-key"):
            await client.read(client.exchange.fetch_balance)
        await client.close()
        await server.stop()

    asyncio.run(whole())
