"""The venue suite on the real oandapyV20, against the rehearsal exchange's OANDA."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from onefold.adapters.oanda import OandaConfig, OandaVenue
from onefold.adapters.oanda.http import api
from onefold.adapters.oanda.parse import ABILITIES
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument, instrument
from onefold.rehearsal.faces.oanda import Oanda
from onefold.rehearsal.faces.oanda.face import ACCOUNT, TOKEN
from onefold.rehearsal.faults import FaultRule
from venues.conformance import Case, conforms, run
from venues.rig import Heard, Rig
from venues.served import served

DEADLINE_S = 0.5
BEAT_S = 0.2


def config(url: str, **changes: Any) -> OandaConfig:
    """Return the settings of an account whose calls end soon."""
    options = {
        "url": url,
        "account": ACCOUNT,
        "token": TOKEN,
        "deadline_s": DEADLINE_S,
        "silence_s": 5 * BEAT_S,
        "retries": 2,
        "calls_per_second": 100,
    }
    return OandaConfig.model_validate({**options, **changes})


def euro() -> Instrument:
    return instrument("EURUSD", commission_bps=0.25)


def venue(url: str, **changes: Any) -> OandaVenue:
    return OandaVenue(config(url, **changes), {"EURUSD": euro()})


def rig(stranger: dict[str, Any] | None = None) -> AbstractAsyncContextManager[Rig]:
    """Return a rig around the adapter, which trades thousands at prices around 1."""
    return served(
        Oanda(beat_s=BEAT_S),
        euro(),
        venue,
        lambda url: venue(url, **(stranger or {"token": "wrong"})),
        unit=Decimal(1_000),
        scale=Decimal("0.01"),
        # OANDA takes a name again when its order is done.
        names_once=False,
    )


@conforms("OANDA", ABILITIES)
def test_conformance(case: Case) -> None:
    run(case, rig())


@pytest.mark.parametrize(
    "wrong", [{"token": "wrong"}, {"account": "101-001-1-002"}, {"symbols": {"EURUSD": "EUR_XXX"}}]
)
def test_what_is_refused_is_said_at_the_start(wrong: dict[str, Any]) -> None:
    async def case(made: Rig) -> None:
        stranger = made.stranger()
        with pytest.raises(ConfigError):
            await stranger.open()
        await stranger.close()

    _run(case, stranger=wrong)


def test_two_symbols_that_are_one_at_oanda_are_refused() -> None:
    async def case(made: Rig) -> None:
        names = {"EURUSD": euro(), "EURO": instrument("EURO", kind="fx")}
        made_twice = OandaVenue(config(made.venue._config.url, symbols={"EURO": "EUR_USD"}), names)
        with pytest.raises(ConfigError, match="EURUSD and EURO are both 'EUR_USD'"):
            await made_twice.open()
        await made_twice.close()

    _run(case)


@pytest.mark.parametrize("missing", ["account", "token"])
def test_an_account_needs_its_number_and_a_token(missing: str) -> None:
    with pytest.raises(ConfigError, match="number of an account and a token"):
        venue("http://127.0.0.1:1", **{missing: ""})


def test_an_order_without_margin_is_made_and_rejected_at_once() -> None:
    async def case(made: Rig) -> None:
        made.exchange.books._start = Decimal(1)
        ticket = made.ticket(1, 1)
        report = await made.send(ticket)
        assert (report.status, report.reason) == ("rejected", "INSUFFICIENT_MARGIN")
        assert report == await made.venue.find(ticket.client_id, made.symbol)
        assert await made.venue.working() == []

    _run(case)


def test_an_order_that_waited_too_long_for_a_thread_does_not_leave() -> None:
    async def case(made: Rig) -> None:
        assert isinstance(made.venue, OandaVenue)
        threads, release = made.venue._client._threads, threading.Event()
        for _ in range(threads._max_workers):
            threads.submit(release.wait)
        looks: list[int] = []
        with pytest.raises(VenueUncertain):
            await made.venue.submit(made.ticket(), lambda: looks.append(1))
        release.set()
        await asyncio.sleep(0.3)
        assert looks == []
        assert made.exchange.orders() == []
        assert await made.status(await made.submit()) == "working", "the threads are free again"

    _run(case)


def test_an_order_is_not_sent_on_to_where_an_answer_points() -> None:
    async def case(made: Rig) -> None:
        target = made.venue._config.url

        async def elsewhere(request: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect(f"{target}{request.path_qs}")

        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", elsewhere)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.venue._client._api = api(
            config(f"http://127.0.0.1:{runner.addresses[0][1]}"), DEADLINE_S
        )
        with pytest.raises(VenueUncertain):
            await made.send(made.ticket())
        assert made.exchange.orders() == []
        await runner.cleanup()

    _run(case)


def test_what_a_lost_stream_has_missed_comes_with_the_next_one() -> None:
    async def case(made: Rig) -> None:
        async with made.hearing() as heard:
            ticket = await made.submit()
            await heard.order(ticket, "working")
            made.disconnect()
            await heard.end()
        await made.bar(101)
        other = await made.submit(1, 1, "limit", 50)
        async with made.hearing() as heard:
            assert len(await heard.trades(ticket, 1)) == 1
            await heard.order(other, "working")

    _run(case)


def test_a_lost_line_of_the_stream_is_asked_for_at_the_next_heartbeat() -> None:
    async def case(made: Rig) -> None:
        async with made.hearing() as heard:
            ticket = await made.submit()
            await heard.order(ticket, "working")
            (channel,) = made.disconnect.__self__._channels  # type: ignore[attr-defined]
            channel.tell, tell = (lambda *_, **__: None), channel.tell
            await made.bar(101)
            channel.tell = tell
            assert len(await heard.trades(ticket, 1)) == 1
            assert heard.ended is None

    _run(case)


def test_a_silent_stream_is_a_lost_one() -> None:
    async def case(made: Rig) -> None:
        async with made.hearing() as heard:
            made.fault("stream", "hang")
            await made.submit()
            await heard.end()
            assert "stream lost" in str(heard.ended)

    _run(case)


@asynccontextmanager
async def later(made: Rig) -> AsyncIterator[OandaVenue]:
    """Give the same account to a process that has just been started."""
    another = venue(made.venue._config.url)
    await another.open()
    try:
        yield another
    finally:
        await another.close()


def test_orders_of_before_are_found() -> None:
    async def case(made: Rig) -> None:
        resting, done = await made.submit(1, 2, "limit", 90), await made.submit(1, 1)
        await made.bar(100)
        async with later(made) as another:
            for ticket, status, units in ((resting, "working", 0), (done, "filled", 1)):
                report = await another.find(ticket.client_id, made.symbol)
                assert report is not None
                assert (report.status, report.filled) == (status, units * made.unit)

    _run(case)


def test_what_was_filled_of_orders_before_is_known_and_trades_from_before_those() -> None:
    async def case(made: Rig) -> None:
        done = await made.submit(1, 1)
        await made.bar(100)
        made.fault("submit", "partial")
        part, resting = await made.submit(1, 4), await made.submit(1, 2, "limit", 90)
        await made.bar(101)
        async with later(made) as another:
            working = {report.client_id: report.filled for report in await another.working()}
            assert working == {resting.client_id: 0, part.client_id: 2 * made.unit}
            found = [trade.client_id for trade in await another.trades(0)]
            assert found == [done.client_id, part.client_id]

    _run(case)


def test_the_end_of_an_order_of_before_is_reported() -> None:
    async def case(made: Rig) -> None:
        resting = await made.submit(1, 2, "limit", 90)
        await made.bar(100)
        async with later(made) as another:
            heard = Heard(another)
            await asyncio.sleep(0.3)
            await made.bar(91, 92, 89, 90)
            assert (await heard.order(resting, "filled")).filled == resting.qty
            await heard.stop()

    _run(case)


def test_a_long_past_is_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefold.adapters.oanda.venue.PAGE", 2)

    async def case(made: Rig) -> None:
        for _ in range(5):
            await made.submit(1, 1)
            await made.bar(100)
        async with later(made) as another:
            trades = await another.trades(0)
        assert [trade.client_id for trade in trades] == [ticket.client_id for ticket in made.sent]
        assert trades == await made.venue.trades(0)

    _run(case)


def test_payments_of_before_are_told_with_the_same_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefold.adapters.oanda.venue.PAGE", 2)

    async def case(made: Rig) -> None:
        amounts = [Decimal(f"-0.0{number}") for number in range(1, 6)]
        for number, amount in enumerate(amounts):
            await made.submit(1, 1)
            await made.bar(100)
            made.exchange.pay(amount, "dividend" if number == 2 else "funding", made.symbol)
        told = await made.venue.payments(0)
        assert [paid.amount for paid in told] == amounts
        assert [paid.reason for paid in told].index("dividend") == 2
        assert len({paid.payment_id for paid in told}) == 5
        async with later(made) as another:
            assert await another.payments(told[3].ts) == told[3:]
            assert await another.payments(0) == told

    _run(case)


def test_a_payment_on_the_stream_is_no_report_and_ends_nothing() -> None:
    async def case(made: Rig) -> None:
        async with made.hearing() as heard:
            before = len(heard.reports)
            made.exchange.pay(Decimal("-1.5"))
            await asyncio.sleep(2 * BEAT_S)
            assert len(heard.reports) == before
            ticket = await made.submit()
            await made.bar(101)
            assert len(await heard.trades(ticket, 1)) == 1
        (paid,) = await made.venue.payments(0)
        assert (paid.amount, paid.symbol) == (Decimal("-1.5"), "")

    _run(case)


def test_payments_are_uncertain_when_oanda_does_not_answer() -> None:
    async def case(made: Rig) -> None:
        made.faults.add(FaultRule(on="query", do="disconnect", every=1))
        with pytest.raises(VenueUncertain):
            await made.venue.payments(0)

    _run(case)


def test_positions_are_netted_and_closed_in_one_order() -> None:
    async def case(made: Rig) -> None:
        await made.submit(1, 3)
        await made.bar(100)
        await made.submit(-1, 5)
        await made.bar(102)
        (held,) = await made.venue.positions()
        assert (held.qty, held.average) == (-2 * made.unit, made.price(102))
        sizes = [trade.side * trade.qty for trade in await made.venue.trades(0)]
        assert sizes == [3 * made.unit, -5 * made.unit]
        # An order that only reduces cannot turn the position over, however large it is.
        await made.submit(1, 5, reduce_only=True)
        await made.bar(102)
        assert made.exchange.positions()[made.symbol] == 0
        assert await made.venue.positions() == []

    _run(case)


def test_a_symbol_that_is_not_ours_is_refused_before_it_is_sent() -> None:
    async def case(made: Rig) -> None:
        with pytest.raises(VenueRefused, match="not a symbol of this account"):
            await made.venue.find("x", "GBPUSD")
        with pytest.raises(VenueRefused, match="cannot cancel all orders by itself"):
            await made.venue.arm(5)

    _run(case)


def _run(check: Any, **options: Any) -> None:
    run(Case(check, lambda _: True), rig(**options))
