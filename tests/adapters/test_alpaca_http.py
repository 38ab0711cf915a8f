"""What an answer of Alpaca means, judged by its real client, and what the client may not do."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from onefold.adapters.alpaca import AlpacaConfig, AlpacaVenue
from onefold.adapters.alpaca.http import RETRY_AFTER_S, Missing
from onefold.domain.errors import VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.venue import Ticket

SECRET = "canary-of-a-secret"  # noqa: S105 - it is looked for, not used
SHARE = Instrument(symbol="AAPL", tick=0.01)
ASSET = {"symbol": "AAPL", "class": "us_equity", "status": "active", "tradable": True}
TICKET = Ticket("name-1", "AAPL", 1, Decimal(3), "limit", Decimal("100.10"))
ORDER = {
    "id": "61e69015-8549-4bfd-b9c3-01e75843f47d",
    "client_order_id": "name-1",
    "created_at": "2021-03-16T18:38:01.942282Z",
    "symbol": "AAPL",
    "qty": "3",
    "filled_qty": "0",
    "status": "accepted",
}


class Said:
    """A server that gives one answer to every order, and what it was sent."""

    def __init__(self, status: int, body: str, headers: dict[str, str]) -> None:
        self.status, self.body, self.headers = status, body, headers
        self.orders: list[dict[str, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/v2/account":
            return web.json_response({"status": "ACTIVE"})
        if request.path.startswith("/v2/assets"):
            return web.json_response(ASSET)
        if request.method == "POST":
            self.orders.append(json.loads(await request.read()))
        if self.status == 0:
            await asyncio.sleep(3_600)
        return web.Response(status=self.status, text=self.body, headers=self.headers)


def submitted(
    status: int, body: str, ticket: Ticket = TICKET, headers: dict[str, str] | None = None
) -> tuple[Any, list[dict[str, Any]]]:
    """Return what a venue makes of one answer to an order, and what was sent."""
    said = Said(status, body, headers or {})

    async def whole() -> Any:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", said.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        settings = {"url": url, "api_key": "key", "api_secret": SECRET, "deadline_s": 0.5}
        settings["calls_per_second"] = 100
        venue = AlpacaVenue(AlpacaConfig.model_validate(settings), {"AAPL": SHARE})
        # Were the client to repeat by itself, it should do so while we look.
        venue._client.trading._retry_wait = 0
        await venue.open()
        try:
            return await venue.submit(ticket, lambda: None)
        except Exception as error:  # noqa: BLE001 - it is what the test looks at
            return error
        finally:
            # Every thread has come to its end, without the server's help.
            await asyncio.get_running_loop().shutdown_default_executor()
            await venue.close()
            await runner.cleanup()

    return asyncio.run(whole()), said.orders


def says(code: int, words: str = "no") -> str:
    return json.dumps({"code": code, "message": words})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, says(40010000)),
        (401, '{"message": "unauthorized."}'),
        (403, says(40310000, "insufficient buying power")),
        (422, says(40010001, "client_order_id must be unique")),
        (422, says(42210000)),
    ],
)
def test_a_clear_no_is_refused(status: int, body: str) -> None:
    error, sent = submitted(status, body)
    assert isinstance(error, VenueRefused)
    assert error.retry_after_s is None
    assert json.loads(body)["message"] in str(error)
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, says(50010000)),
        (502, "<html>bad gateway</html>"),
        (503, says(40310000, "whatever it says")),
        (504, says(50410000)),
        (408, says(40810000)),
        (403, "<html>firewall</html>"),
        (404, '"text"'),
        (302, ""),
        (200, ""),
        (200, "{not json"),
        (200, "[]"),
        (200, json.dumps({**ORDER, "status": "something new"})),
        (200, json.dumps({**ORDER, "client_order_id": "somebody else's"})),
        (200, json.dumps({**ORDER, "filled_qty": "NaN"})),
        (0, ""),
    ],
)
def test_anything_else_is_uncertain_and_is_not_sent_again(status: int, body: str) -> None:
    error, sent = submitted(status, body)
    assert isinstance(error, VenueUncertain)
    assert len(sent) == 1


@pytest.mark.parametrize(("headers", "pause_s"), [({"Retry-After": "7"}, 7.0), ({}, RETRY_AFTER_S)])
def test_too_many_is_refused_with_a_pause(headers: dict[str, str], pause_s: float) -> None:
    error, sent = submitted(429, says(42910000, "rate limit exceeded"), headers=headers)
    assert isinstance(error, VenueRefused)
    assert error.retry_after_s == pause_s
    assert len(sent) == 1, "the client repeats by itself"


def test_an_order_leaves_as_text_and_under_our_name() -> None:
    report, sent = submitted(200, json.dumps(ORDER))
    assert (report.client_id, report.status) == ("name-1", "working")
    assert sent == [
        {
            "symbol": "AAPL",
            "qty": "3",
            "side": "buy",
            "type": "limit",
            "limit_price": "100.10",
            "time_in_force": "gtc",
            "client_order_id": "name-1",
        }
    ]


def test_a_request_ends_with_its_deadline() -> None:
    began = time.monotonic()
    submitted(0, "")
    assert time.monotonic() - began < 5


def test_not_to_have_something_is_a_no_of_its_own() -> None:
    error, _ = submitted(404, says(40410000, "order not found"))
    assert isinstance(error, Missing)
    error, _ = submitted(404, says(40400000, "no such page"))
    assert not isinstance(error, Missing)


def test_no_secret_gets_into_words() -> None:
    settings = AlpacaConfig.model_validate({"api_key": SECRET, "api_secret": SECRET})
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()
    for status, body in ((500, "x"), (403, says(40310000)), (0, "")):
        assert SECRET not in str(submitted(status, body)[0])


def test_paper_and_live_are_other_addresses() -> None:
    hosts = {}
    for name in ("paper", "live"):
        settings = {"environment": name, "api_key": "key", "api_secret": SECRET}
        venue = AlpacaVenue(AlpacaConfig.model_validate(settings), {"AAPL": SHARE})
        hosts[name] = venue._client.trading._base_url.value
    assert hosts == {
        "paper": "https://paper-api.alpaca.markets",
        "live": "https://api.alpaca.markets",
    }


def test_the_client_is_loaded_only_by_who_uses_it() -> None:
    code = "import sys, onefold.adapters.alpaca; print('alpaca' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
