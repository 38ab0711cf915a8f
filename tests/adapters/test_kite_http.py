"""What an answer of Kite means, judged through its real client, and what only Kite needs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from onefold.adapters.kite import KiteConfig, KiteVenue
from onefold.adapters.kite.http import RETRY_AFTER_S, Client
from onefold.adapters.kite.parse import by_time, tag_of
from onefold.adapters.kite.stream import Ticker
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faces.kite import Kite
from onefold.rehearsal.faces.kite.access import KEY
from onefold.rehearsal.faces.kite.shapes import (
    charges_shape,
    holding_shape,
    listings,
    order_shape,
    position_shape,
    postback_shape,
    trade_shape,
)
from venues.case import traded
from venues.rig import Rig

from .test_kite_parse import answers, data
from .test_kite_venue import LISTED, SHARE, config, rig_of

SECRET = "canaryofasecret"  # noqa: S105 - it is looked for, not used
DAY_NS = 86_400 * 10**9


def answer(status: int, body: str, kind: str = "application/json", **headers: str) -> Exception:
    """Return what a client of the server makes of one answer to an order."""

    async def whole() -> Exception:
        posted = 0

        async def reply(_: web.Request) -> web.Response:
            nonlocal posted
            posted += 1
            return web.Response(status=status, text=body, content_type=kind, headers=headers)

        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", reply)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = Client(_keyed(f"http://127.0.0.1:{runner.addresses[0][1]}"), [])
        order = dict.fromkeys(("quantity", "product", "tradingsymbol", "exchange"), "1")
        try:
            await client.act(
                lambda: client.kite.place_order(
                    "regular", order_type="MARKET", transaction_type="BUY", **order
                )
            )
        except Exception as error:  # noqa: BLE001 - it is what the test looks at
            return error
        finally:
            client.close()
            await runner.cleanup()
            assert posted == 1, "it was sent again"
        return AssertionError("it was taken for an answer")

    return asyncio.run(whole())


def _keyed(url: str) -> KiteConfig:
    return KiteConfig.model_validate({"url": url, "api_key": "key", "access_token": SECRET})


def no(kind: str, text: str = "no") -> str:
    return json.dumps({"status": "error", "message": text, "data": None, "error_type": kind})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, no("InputException", "Invalid `quantity`.")),
        (400, no("MarginException", "Insufficient funds.")),
        (400, no("OrderException", "Trigger price for stoploss orders ...")),
        (403, no("PermissionException")),
        (404, no("SomethingNew")),
        (428, no("HoldingException")),
    ],
)
def test_a_clear_no_is_refused(status: int, body: str) -> None:
    error = answer(status, body)
    assert isinstance(error, VenueRefused)
    assert error.retry_after_s is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, no("OrderException", "whatever it says"), "application/json"),
        (503, no("NetworkException"), "application/json"),
        (408, no("GeneralException"), "application/json"),
        (502, "<html>oops</html>", "text/html"),
        (403, "<html>firewall</html>", "text/html"),
        (200, "not json", "application/json"),
        (200, "{}", "application/json"),
        (200, '{"status": "success", "data": {}}', "application/json"),
        (200, no("GeneralException"), "application/json"),
        (307, "", "text/plain"),
    ],
)
def test_anything_else_is_uncertain(status: int, body: str, kind: str) -> None:
    headers = {"Location": "/elsewhere"} if status == 307 else {}
    assert isinstance(answer(status, body, kind, **headers), VenueUncertain)


@pytest.mark.parametrize(("headers", "pause_s"), [({"Retry-After": "7"}, 7.0), ({}, RETRY_AFTER_S)])
def test_too_many_is_refused_with_a_pause(headers: dict[str, str], pause_s: float) -> None:
    error = answer(429, no("NetworkException", "Too many requests"), **headers)
    assert isinstance(error, VenueRefused)
    assert error.retry_after_s == pause_s


def test_an_expired_token_says_what_to_do() -> None:
    error = answer(403, no("TokenException", "Incorrect `api_key` or `access_token`."))
    assert isinstance(error, VenueRefused)
    assert "Log in again and put the new access_token into the settings" in str(error)


def test_no_secret_gets_into_words(caplog: pytest.LogCaptureFixture) -> None:
    settings = _keyed("http://127.0.0.1:1")
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()
    assert SECRET not in str(answer(500, "x"))

    async def connect() -> str:
        ticker = Ticker(settings)
        try:
            await ticker.open()
        except VenueUncertain as error:
            return str(error)
        finally:
            ticker.close()
        return "connected"

    assert "connection is lost" in asyncio.run(connect())
    assert SECRET not in caplog.text


def test_missing_symbols_name_the_nearest() -> None:
    async def case(rig: Rig) -> None:
        url = str(rig.venue._client.kite.root)
        venue = KiteVenue(config(url, symbols={"INFY": "NSE:INFX"}), LISTED)
        with pytest.raises(ConfigError, match="no 'INFX' at NSE for 'INFY'"):
            await venue.open()
        await venue.close()

    on_rig(case)


def on_rig(case: Callable[[Rig], Awaitable[None]], **changes: Any) -> None:
    async def main() -> None:
        async with rig_of(**changes) as rig, asyncio.timeout(30):
            await case(rig)

    asyncio.run(main())


# -- what only Kite does ---------------------------------------------------------------------------


def test_a_name_used_before_a_restart_is_refused_as_well() -> None:
    async def case(rig: Rig) -> None:
        ticket = await rig.submit(1, 1, "limit", 95)
        again = KiteVenue(config(str(rig.venue._client.kite.root)), LISTED)
        await again.open()
        with pytest.raises(VenueRefused, match="sent before"):
            await again.submit(ticket, lambda: None)
        assert len(rig.exchange.orders()) == 1
        (report,) = await again.working()
        assert report.client_id == ticket.client_id, "read back from the tag, without a memory"
        await again.close()

    on_rig(case)


def test_an_order_that_nobody_answered_is_never_sent_again() -> None:
    async def case(rig: Rig) -> None:
        rig.fault("submit", "accept_then_timeout")
        ticket = rig.ticket()
        with pytest.raises(VenueUncertain):
            await rig.send(ticket)
        with pytest.raises(VenueRefused, match="sent before"):
            await rig.send(ticket)
        assert len(rig.exchange.orders()) == 1

    on_rig(case)


def test_an_order_of_yesterday_has_ended_with_its_day() -> None:
    async def case(rig: Rig) -> None:
        ticket = await rig.submit(1, 1, "limit", 90)
        await rig.bar(100)
        await rig.bar(100, gap_ns=DAY_NS)
        await rig.bar(100, gap_ns=DAY_NS)
        assert await rig.venue.working() == []
        report = await rig.found(ticket)
        assert (report.status, report.filled) == ("expired", 0)
        assert report.reason == "it ended with its day"

    on_rig(case)


def test_shares_of_yesterday_are_still_held() -> None:
    async def case(rig: Rig) -> None:
        await rig.submit(1, 5)
        await rig.bar(101)
        await rig.bar(100, gap_ns=DAY_NS)
        assert [(p.symbol, p.qty) for p in await rig.venue.positions()] == [("INFY", 5)]
        await rig.submit(-1, 2)
        await rig.bar(100)
        assert [(p.symbol, p.qty) for p in await rig.venue.positions()] == [("INFY", 3)]

    on_rig(case)


def test_parts_of_an_order_cost_what_the_order_costs() -> None:
    async def case(rig: Rig) -> None:
        rig.fault("submit", "partial")
        ticket = await rig.submit(1, 5)
        await rig.bar(101)
        (first,) = await rig.venue.trades(0)
        await rig.bar(103)
        reports = await traded(rig, ticket, 2)
        assert reports[0] == first, "what was told once stays"
        assert sum(r.fee for r in reports) == rig.exchange.books.fees

    on_rig(case)


def test_a_cost_that_was_told_stays_when_an_earlier_trade_is_heard_of_late() -> None:
    async def case(rig: Rig) -> None:
        def capped(_symbol: str, qty: Decimal, price: Decimal) -> Decimal:
            return min(qty * price / 1000, Decimal("0.25"))

        rig.exchange.books.fee = capped  # type: ignore[method-assign]
        rig.fault("submit", "partial")
        await rig.submit(1, 4)
        await rig.bar(100)
        await rig.bar(100)
        venue = rig.venue
        await venue._list()
        rows = by_time(await asyncio.to_thread(venue._kite.trades))
        (second,) = await venue._trade_reports(rows[1:])
        first, again = await venue._trade_reports(rows)
        assert (second.fee, again) == (Decimal("0.2"), second)
        assert first.fee + second.fee == Decimal("0.25"), "what the order costs"

    on_rig(case)


def test_without_charges_trades_have_no_fees_and_nobody_is_asked() -> None:
    async def case(rig: Rig) -> None:
        await rig.submit(1, 5)
        await rig.bar(101)
        (trade,) = await rig.venue.trades(0)
        assert (trade.fee, trade.fee_currency) == (0, "")

    on_rig(case, charges=False)


def test_a_ticker_that_refuses_the_token_says_so() -> None:
    async def case(rig: Rig) -> None:
        ticker = Ticker(config(str(rig.venue._client.kite.root), api_key="stranger"))
        with pytest.raises(VenueUncertain, match="refuses the access token"):
            await ticker.open()
        ticker.close()

    on_rig(case)


# -- the face --------------------------------------------------------------------------------------

LATER = {"app_id", "user_id", "checksum", "unfilled_quantity", "validity_ttl", "tags", "mtf"}
"""Fields that Kite has added over the years, and that older records lack."""


def alike(made: dict[str, Any], known: dict[str, Any]) -> None:
    """Hold the names and types of an answer that is made against a recorded one."""
    assert set(made) - LATER == set(known) - LATER
    for name in set(made) & set(known) - {"meta"}:
        if made[name] is not None and known[name] is not None:
            kinds = {
                type(x) if not isinstance(x, float) else int for x in (made[name], known[name])
            }
            assert len(kinds) == 1, name


def test_the_face_answers_in_recorded_shapes() -> None:
    one = listings([SHARE])["INFY"]
    exchange = Exchange([SHARE], 10**6, "INR")
    order = exchange.submit("x", "INFY", 1, 2, "limit", 100)
    shape = order_shape(order, one, tag_of("x"), "CNC")
    alike(shape, data("orders.json")[4])
    alike(postback_shape(shape)["data"], {**answers("postback.json"), "modified": False})
    exchange.trade_late(order)
    alike(trade_shape(exchange.trades()[0], one, "CNC"), data("trades.json")[0])
    alike(position_shape(one, "CNC", 2, 0, 100), data("positions.json")["net"][0])
    alike(holding_shape(one, 2, 0), data("holdings.json")[0])
    asked = data("virtual_contract_note.json")[0]
    alike(charges_shape({**asked, "average_price": 560}, 1), asked)


def test_the_face_takes_no_order_without_market_protection() -> None:
    async def case(rig: Rig) -> None:
        kite = rig.venue._client.kite
        plain = {"exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY"}

        def place(**more: Any) -> str:
            order = {"quantity": 1, "product": "CNC", "order_type": "MARKET", **plain, **more}
            return str(kite.place_order("regular", **order))

        with pytest.raises(Exception, match="without market protection"):
            await asyncio.to_thread(place)
        with pytest.raises(Exception, match="max 20"):
            await asyncio.to_thread(place, market_protection=-1, tag="x" * 21)
        tagged = {"market_protection": -1, "tag": "x" * 20}
        first = await asyncio.to_thread(place, **tagged)
        assert await asyncio.to_thread(place, **tagged) != first, "a tag is no name: twice is two"

    on_rig(case)


def test_urls_are_those_that_the_clients_are_given() -> None:
    assert Kite.urls("http://h:1") == {"root": "http://h:1", "ticker": "ws://h:1"}
    assert KEY == "rehearsal"
