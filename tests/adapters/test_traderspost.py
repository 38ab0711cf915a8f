"""TradersPost over httpx, against the rehearsal exchange's webhook.

The venue suite has no case for a venue that confirms nothing; what holds all the same is here.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from onefold.adapters.traderspost import TradersPostConfig, TradersPostVenue
from onefold.adapters.traderspost.http import RETRY_AFTER_S
from onefold.adapters.traderspost.parse import ABILITIES, accepted, order_message
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.venue import Ticket
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faces.traderspost import PATH, UUID, TradersPost
from onefold.rehearsal.faults import FaultRule
from onefold.rehearsal.server import Server
from rehearsal.worlds import bar
from venues.conformance import cases

SHARE = Instrument(symbol="AMD", tick=0.01, commission_bps=1)
LISTED = {SHARE.symbol: SHARE}
SECRET = "canary-of-a-secret"  # noqa: S105 - it is looked for, not used
PATIENCE_S = 5.0


class Rig:
    """A venue that is open, and the exchange behind the webhook."""

    def __init__(self, exchange: Exchange, server: Server, venue: TradersPostVenue) -> None:
        self.exchange, self.server, self.venue = exchange, server, venue
        self.looks: list[int] = []

    def fault(self, do: str, on: str = "submit", **more: Any) -> None:
        self.server.faults.add(FaultRule.model_validate({"on": on, "do": do, "nth": 1, **more}))

    async def send(self, ticket: Ticket) -> None:
        """Send an order; it is looked at once, before the exchange has it."""
        before = len(self.exchange.orders())
        self.looks.clear()
        try:
            await self.venue.submit(ticket, lambda: self.looks.append(len(self.exchange.orders())))
        finally:
            assert self.looks == [before]

    async def bar(self, number: int, price: float = 100.0) -> None:
        await self.server.play(bar(number, price, symbol="AMD"))

    @property
    def held(self) -> Decimal:
        return self.exchange.positions()["AMD"]


def webhook(url: str, password: str = SECRET) -> str:
    return url + PATH.format(uuid=UUID, password=password)


def config(address: str, **changes: Any) -> TradersPostConfig:
    options = {"webhook": address, "deadline_s": 0.5, "retries": 1, "calls_per_second": 200}
    return TradersPostConfig.model_validate({**options, **changes})


@asynccontextmanager
async def rigged(**changes: Any) -> AsyncIterator[Rig]:
    exchange = Exchange([SHARE], Decimal(100_000), "USD")
    exchange.on_bar(bar(0, symbol="AMD"))
    server = Server(exchange, [TradersPost(SECRET)])
    venue = TradersPostVenue(config(webhook(await server.start()), **changes), LISTED)
    try:
        await venue.open()
        yield Rig(exchange, server, venue)
    finally:
        await venue.close()
        await server.stop()


def on_rig(case: Callable[[Rig], Awaitable[None]], **changes: Any) -> None:
    async def main() -> None:
        async with rigged(**changes) as rig, asyncio.timeout(4 * PATIENCE_S):
            await case(rig)

    asyncio.run(main())


def ticket(name: str = "a-1", side: int = 1, qty: str = "3", **more: Any) -> Ticket:
    return Ticket(name, "AMD", side, Decimal(qty), **more)


# -- what it can do --------------------------------------------------------------------------------


def test_it_has_no_case_in_the_suite_because_it_confirms_nothing() -> None:
    assert not ABILITIES.confirms
    assert cases(ABILITIES) == []


def test_an_order_is_taken_and_fills_and_nobody_says_so() -> None:
    async def case(rig: Rig) -> None:
        await rig.send(ticket())
        await rig.bar(1, 101)
        assert rig.held == 3
        report = await rig.venue.find("a-1", "AMD")
        assert report is not None
        assert (report.status, report.filled, report.symbol) == ("working", 0, "AMD")
        assert report.venue_id.startswith("00000000-")
        assert await rig.venue.trades(0) == []
        assert await rig.venue.working() == []
        with pytest.raises(VenueRefused, match="modelled and unconfirmed"):
            await rig.venue.positions()

    on_rig(case)


def test_what_the_broker_refuses_looks_like_any_other() -> None:
    async def case(rig: Rig) -> None:
        await rig.send(ticket(qty="1000000"))
        assert rig.exchange.orders() == []
        report = await rig.venue.find("a-1", "AMD")
        assert report is not None
        assert report.status == "working"

    on_rig(case)


def test_an_exit_leaves_and_never_opens() -> None:
    async def case(rig: Rig) -> None:
        await rig.send(ticket("alone", -1, reduce_only=True))
        await rig.bar(1)
        assert rig.held == 0
        await rig.send(ticket("in", 1, "5"))
        await rig.bar(2)
        await rig.send(ticket("half", -1, "2", reduce_only=True))
        await rig.bar(3)
        assert rig.held == 3
        await rig.send(ticket("rest", -1, "9", reduce_only=True))
        await rig.bar(4)
        assert rig.held == 0

    on_rig(case)


def test_reports_are_waited_for_in_vain() -> None:
    async def case(rig: Rig) -> None:
        news = aiter(rig.venue.reports())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(news), 0.2)

    on_rig(case)


def test_the_clock_is_that_of_the_server() -> None:
    async def case(rig: Rig) -> None:
        assert await rig.venue.time_ns() == rig.exchange.now_ns
        rig.fault("clock_skew", on="query", s=30)
        assert await rig.venue.time_ns() == rig.exchange.now_ns + 30 * 10**9

    on_rig(case)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "limit", "price": Decimal(1)}, "no limit orders"),
        ({"kind": "stop", "price": Decimal(1)}, "no stop orders"),
        ({"time_in_force": "gtd", "expire_ts": 1}, "no orders that are gtd"),
        ({"qty": Decimal(0)}, "no quantity of 0"),
    ],
)
def test_what_it_cannot_do_is_not_tried(changes: dict[str, Any], words: str) -> None:
    plain = {"client_id": "a", "symbol": "AMD", "side": 1, "qty": Decimal(1)}
    with pytest.raises(VenueRefused, match=words) as refused:
        order_message(Ticket(**{**plain, **changes}), "AMD")
    assert "not sent" in str(refused.value)


def test_nothing_can_be_cancelled_or_armed() -> None:
    async def case(rig: Rig) -> None:
        await rig.send(ticket())
        with pytest.raises(VenueRefused, match="cannot cancel the one order 'a-1'"):
            await rig.venue.cancel("a-1", "AMD")
        assert len(rig.exchange.working()) == 1
        with pytest.raises(VenueRefused, match="no dead man's switch"):
            await rig.venue.arm(10)

    on_rig(case)


# -- what it says ----------------------------------------------------------------------------------


def test_messages_are_those_of_the_reference() -> None:
    assert order_message(ticket(side=-1, qty="1.50", time_in_force="day"), "MNQZ2026") == {
        "ticker": "MNQZ2026",
        "action": "sell",
        "quantity": Decimal("1.50"),
        "orderType": "market",
        "timeInForce": "day",
        "extras": {"clientOrderId": "a-1"},
    }
    assert order_message(ticket(), "AMD")["action"] == "buy"
    assert order_message(ticket(reduce_only=True), "AMD")["action"] == "exit"


@pytest.mark.parametrize("answer", [None, [], {}, {"success": "yes"}, {"id": "1"}])
def test_an_answer_that_says_nothing_is_uncertain(answer: Any) -> None:
    with pytest.raises(VenueUncertain):
        accepted(answer)


def test_quantities_are_sent_to_the_last_digit() -> None:
    body = b""

    async def reply(request: web.Request) -> web.Response:
        nonlocal body
        body = await request.read()
        return web.json_response({"success": True, "id": "1"})

    async def order(venue: TradersPostVenue) -> None:
        await venue.submit(ticket(qty="0.12345678901234567890"), lambda: None)

    against(reply, order)
    assert b'"quantity":0.12345678901234567890' in body


# -- uncertainty and refusals ----------------------------------------------------------------------


@pytest.mark.parametrize("do", ["accept_then_timeout", "error_after_accept"])
def test_no_clear_answer_is_uncertain_and_nothing_is_sent_again(do: str) -> None:
    async def case(rig: Rig) -> None:
        rig.fault(do)
        with pytest.raises(VenueUncertain):
            await rig.send(ticket())
        assert len(rig.exchange.orders()) == 1
        assert await rig.venue.find("a-1", "AMD") is None
        with pytest.raises(VenueRefused, match="sent before"):
            await rig.send(ticket())
        assert len(rig.exchange.orders()) == 1

    on_rig(case)


@pytest.mark.parametrize("do", ["hang", "disconnect"])
def test_an_order_that_may_not_have_arrived_is_uncertain(do: str) -> None:
    async def case(rig: Rig) -> None:
        rig.fault(do)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(VenueUncertain):
                await rig.send(ticket())
        assert rig.exchange.orders() == []

    on_rig(case)


def test_a_clear_no_is_refused_and_the_name_is_free_again() -> None:
    async def case(rig: Rig) -> None:
        rig.fault("reject")
        with pytest.raises(VenueRefused, match="refused by the script"):
            await rig.send(ticket())
        assert await rig.venue.find("a-1", "AMD") is None
        await rig.send(ticket())
        assert len(rig.exchange.orders()) == 1

    on_rig(case)


def test_too_many_is_refused_with_a_pause() -> None:
    async def case(rig: Rig) -> None:
        rig.fault("too_many", s=7)
        with pytest.raises(VenueRefused) as refused:
            await rig.send(ticket())
        assert refused.value.retry_after_s == 7
        assert rig.exchange.orders() == []

    on_rig(case)


def test_the_last_look_holds_an_order_back() -> None:
    async def case(rig: Rig) -> None:
        def say_no() -> None:
            raise VenueRefused("the kill switch is on")

        with pytest.raises(VenueRefused, match="kill switch"):
            await rig.venue.submit(ticket(), say_no)
        assert rig.exchange.orders() == []

    on_rig(case)


def test_a_symbol_that_is_not_ours_is_refused() -> None:
    async def case(rig: Rig) -> None:
        other = Ticket("a-1", "NVDA", 1, Decimal(1))
        with pytest.raises(VenueRefused, match="not a symbol of this account"):
            await rig.venue.submit(other, lambda: None)

    on_rig(case)


def against(
    reply: Callable[[web.Request], Awaitable[web.Response]],
    do: Callable[[TradersPostVenue], Awaitable[None]],
) -> None:
    """Do something with a venue whose server answers as told."""

    async def main() -> None:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", reply)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        venue = TradersPostVenue(config(webhook(url)), LISTED)
        try:
            await do(venue)
        finally:
            await venue.close()
            await runner.cleanup()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, '{"success": false, "messageCode": "invalid-quantity"}', VenueRefused),
        (401, "<html>no</html>", VenueRefused),
        (200, '{"success": false, "messageCode": "invalid-action"}', VenueRefused),
        (408, "{}", VenueUncertain),
        (200, "thank you", VenueUncertain),
        (200, "{}", VenueUncertain),
        (302, "{}", VenueUncertain),
        (500, '{"success": false}', VenueUncertain),
    ],
)
def test_what_an_answer_means(status: int, body: str, kind: type[Exception]) -> None:
    posted = 0

    async def reply(_: web.Request) -> web.Response:
        nonlocal posted
        posted += 1
        return web.Response(status=status, text=body, headers={"Location": "/elsewhere"})

    async def order(venue: TradersPostVenue) -> None:
        with pytest.raises(kind):
            await venue.submit(ticket(), lambda: None)

    against(reply, order)
    assert posted == 1


def test_a_pause_that_is_not_told_is_a_while() -> None:
    async def reply(_: web.Request) -> web.Response:
        return web.Response(status=429)

    async def order(venue: TradersPostVenue) -> None:
        with pytest.raises(VenueRefused) as refused:
            await venue.submit(ticket(), lambda: None)
        assert refused.value.retry_after_s == RETRY_AFTER_S

    against(reply, order)


# -- the webhook is the password -------------------------------------------------------------------


def test_a_wrong_password_does_not_open() -> None:
    async def case(rig: Rig) -> None:
        stranger = TradersPostVenue(config(webhook(rig.server.url, "wrong")), LISTED)
        with pytest.raises(ConfigError, match="Password is invalid"):
            await stranger.open()
        await stranger.close()

    on_rig(case)


def test_a_server_that_does_not_answer_is_no_wrong_password() -> None:
    async def reply(_: web.Request) -> web.Response:
        return web.Response(status=503)

    async def opened(venue: TradersPostVenue) -> None:
        with pytest.raises(VenueUncertain):
            await venue.open()

    against(reply, opened)


def test_opening_orders_nothing() -> None:
    async def case(rig: Rig) -> None:
        assert rig.exchange.orders() == []

    on_rig(case)


def test_the_webhook_is_never_seen(caplog: pytest.LogCaptureFixture) -> None:
    async def case(rig: Rig) -> None:
        await rig.send(ticket())
        rig.fault("disconnect")
        with pytest.raises(VenueUncertain) as lost:
            await rig.send(ticket("a-2"))
        assert SECRET not in str(lost.value)
        logging.getLogger("httpx").info("somebody else's request")

    with caplog.at_level(logging.DEBUG):
        on_rig(case)
    assert SECRET not in caplog.text
    assert "somebody else's request" in caplog.text
    settings = config(webhook("https://h"))
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (f"http://h.example/webhook/{SECRET}", "must begin with https"),
        (f"ftp://h.example/webhook/{SECRET}", "must begin with https"),
        ("https://h.example/", "copy all of it"),
    ],
)
def test_an_address_that_cannot_be_is_said_without_showing_it(address: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as wrong:
        config(address)
    assert SECRET not in str(wrong.value)


def test_spaces_around_the_address_do_no_harm() -> None:
    address = config(f"  {webhook('https://h')}\n").webhook.get_secret_value()
    assert address == webhook("https://h")


# -- the face --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{}", "invalid-payload"),
        ("{", "malformed-json"),
        ('{"ticker": "AMD", "action": "hold"}', "invalid-action"),
        ('{"ticker": "AMD", "action": "buy", "quantity": -1}', "invalid-quantity"),
        ('{"ticker": "AMD", "action": "buy", "timeInForce": "ever"}', "invalid-time-in-force"),
    ],
)
def test_the_face_refuses_what_cannot_be_read(body: str, code: str) -> None:
    async def case(rig: Rig) -> None:
        answer = await rig.venue._client._http.post(webhook(rig.server.url), content=body)
        assert answer.status_code == 400
        told = json.loads(answer.content)
        assert (told["success"], told["messageCode"]) == (False, code)
        assert rig.exchange.orders() == []

    on_rig(case)


def test_the_face_leaves_one_side_before_it_enters_the_other() -> None:
    async def case(rig: Rig) -> None:
        async def say(number: int, **message: Any) -> None:
            message = {"ticker": "AMD", **message}
            await rig.venue._client._http.post(webhook(rig.server.url), json=message)
            await rig.bar(number)

        await say(1, action="buy", quantity=4)
        await say(2, action="buy", quantity=4)
        assert rig.held == 4, "nothing is added"
        await say(3, action="add", quantity=1)
        assert rig.held == 5
        await say(4, action="sell", quantity=9)
        assert rig.held == 0, "left, and not turned"
        await say(5, action="sell", quantity=2)
        assert rig.held == -2

    on_rig(case)
