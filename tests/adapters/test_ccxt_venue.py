"""The venue suite on the real ccxt client, against the rehearsal exchange's Binance."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from onefold.adapters.ccxt import CcxtConfig, CcxtVenue, http
from onefold.adapters.ccxt.parse import FUTURES, SPOT, UNPROVEN
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.venue import OrderReport, Ticket
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faces.binance import Binance, futures, streams
from onefold.rehearsal.faces.binance.face import KEY
from onefold.rehearsal.server import Server
from rehearsal.worlds import bar, coin, perpetual
from venues.conformance import Case, cases, conforms, run
from venues.rig import DAY_NS, MINUTE_NS, Heard, Rig

DEADLINE_S = 0.5


def config(url: str, market: str, **changes: Any) -> CcxtConfig:
    """Return the settings of an account whose calls end soon."""
    options = {
        "url": url,
        "market": market,
        "api_key": KEY,
        "api_secret": KEY,
        "poll_s": 0.1,
        "deadline_s": DEADLINE_S,
        "retries": 2,
        "calls_per_second": 200,
    }
    return CcxtConfig.model_validate({**options, **changes})


def listed(market: str) -> Instrument:
    return coin() if market == "spot" else perpetual()


def rig_of(market: str, **changes: Any) -> AbstractAsyncContextManager[Rig]:
    """Return a rig around the adapter at one of Binance's markets."""

    @asynccontextmanager
    async def made() -> AsyncIterator[Rig]:
        instrument = listed(market)
        exchange = Exchange([instrument], Decimal(100_000), "USDT")
        exchange.on_bar(bar(0))
        server = Server(exchange, [Binance()])
        url = await server.start()
        instruments = {instrument.symbol: instrument}
        venue = CcxtVenue(config(url, market, **changes), instruments)
        wrong = config(url, market, api_secret=f"not {KEY}")
        try:
            await venue.open()
            yield Rig(
                venue=venue,
                exchange=exchange,
                faults=server.faults,
                symbol=instrument.symbol,
                play=server.play,
                disconnect=server.disconnect,
                stranger=lambda: CcxtVenue(wrong, instruments),
            )
        finally:
            await venue.close()
            await server.stop()

    return made()


@conforms("Binance spot through ccxt", SPOT)
def test_spot_conforms(case: Case) -> None:
    run(case, rig_of("spot"))


@conforms("Binance futures through ccxt", FUTURES)
def test_futures_conform(case: Case) -> None:
    run(case, rig_of("futures"))


# --- by asking -----------------------------------------------------------------------------------

POLLED = (
    "market_order_fills",
    "partial_fill",
    "stop_order_is_reported_and_cancelled",
    "reports_tell_everything",
    "a_fill_before_its_acknowledgement",
    "a_fill_after_its_cancellation",
)
GENERAL = (
    "market_order_fills",
    "limit_order_fills",
    "cancel",
    "cancel_of_nothing_is_refused",
    "too_large_an_order_is_refused",
    "ioc_order_has_one_chance",
    "an_unknown_order_is_none",
    "working_orders",
    "trades_since",
    "positions",
    "reports_tell_everything",
    "accepted_then_silent",
    "accepted_then_error",
    "a_rejected_order_is_refused",
    "wrong_keys_do_not_open",
)


def named(names: tuple[str, ...], abilities: Any = FUTURES) -> list[Case]:
    found = {str(one): one for one in cases(abilities)}
    return [found[name] for name in names]


@pytest.mark.parametrize("one", named(POLLED), ids=str)
def test_futures_conform_by_asking(one: Case) -> None:
    run(one, rig_of("futures", stream=False))


@pytest.mark.parametrize("one", named(GENERAL, UNPROVEN), ids=str)
def test_an_exchange_that_is_known_by_its_name_only_conforms(
    one: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "PROVEN", frozenset())
    run(one, rig_of("spot"))


@pytest.mark.parametrize("name", ["kraken", "okx", "bybit", "coinbase", "gate", "hyperliquid"])
def test_others_can_be_named(name: str) -> None:
    venue = CcxtVenue(config("http://127.0.0.1:1", "spot", exchange=name), {})
    assert venue.abilities == UNPROVEN


# --- names ---------------------------------------------------------------------------------------


def with_rig(test: Callable[[Rig], Awaitable[None]], market: str, **changes: Any) -> None:
    async def whole() -> None:
        async with rig_of(market, **changes) as rig:
            await test(rig)

    asyncio.run(whole())


async def again(rig: Rig, market: str) -> CcxtVenue:
    """Return the account as another process opens it."""
    url = rig.venue._config.url
    instrument = listed(market)
    venue = CcxtVenue(config(url, market), {instrument.symbol: instrument})
    await venue.open()
    return venue


@pytest.mark.parametrize("market", ["spot", "futures"])
def test_after_a_restart_trades_have_our_names(market: str) -> None:
    async def test(rig: Rig) -> None:
        bought = await rig.submit(1, 3)
        await rig.bar(101)
        stop = await rig.submit(-1, 2, "stop", 95)
        await rig.bar(98, 99, 94, 95)
        venue = await again(rig, market)
        assert [t.client_id for t in await venue.trades(0)] == [bought.client_id, stop.client_id]
        found = await venue.find(stop.client_id, rig.symbol)
        assert found is not None
        assert (found.status, found.filled) == ("filled", stop.qty)
        await venue.close()

    with_rig(test, market)


def test_a_stop_keeps_its_name_where_the_order_that_it_triggers_has_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    update = streams.order_trade_update

    def renamed(order: Any, *facts: Any) -> dict[str, Any]:
        told = update(order, *facts)
        if order.kind == "stop":
            told["o"]["c"] = "made-by-the-exchange"
        return told

    monkeypatch.setattr(streams, "order_trade_update", renamed)
    # The word that it has triggered comes late: only the trade has been heard.
    monkeypatch.setattr(streams, "algo_update", lambda *_: {"e": "nothing"})

    async def test(rig: Rig) -> None:
        ticket = await rig.submit(-1, 2, "stop", 95)
        other = await again(rig, "futures")
        assert [r.client_id for r in await other.working()] == [ticket.client_id]
        for venue in (rig.venue, other):
            heard = Heard(venue)
            await asyncio.sleep(0.5)
            assert rig.exchange.working()
            listening.append(heard)
        await rig.bar(98, 99, 94, 95)
        for heard in listening:
            (trade,) = await heard.trades(ticket, 1)
            assert trade.qty == ticket.qty
            assert {report.client_id for report in heard.reports} == {ticket.client_id}
            await heard.stop()
        await other.close()

    listening: list[Heard] = []
    with_rig(test, "futures")


@pytest.mark.parametrize("market", ["spot", "futures"])
def test_a_login_that_ends_on_an_open_connection_ends_the_reports(market: str) -> None:
    async def whole() -> None:
        exchange = Exchange([listed(market)], Decimal(100_000), "USDT")
        server = Server(exchange, [Binance()])
        venue = CcxtVenue(config(await server.start(), market), {"BTCUSDT": listed(market)})
        await venue.open()
        heard = Heard(venue)
        await heard.until(lambda: server.streams == 1)
        await asyncio.sleep(0.3)
        [channel] = server._channels
        assert channel.conversation is not None
        channel.conversation.session_over()
        await heard.end()
        await heard.stop()
        await venue.close()
        await server.stop()

    asyncio.run(whole())


def test_what_came_together_is_told_one_by_one_and_in_order() -> None:
    async def test(rig: Rig) -> None:
        async with rig.hearing() as heard:
            tickets = [await rig.submit(1, 1) for _ in range(5)]
            await rig.bar(101)
            for ticket in tickets:
                await heard.order(ticket, "filled")
        for ticket in tickets:
            mine = [r for r in heard.reports if r.client_id == ticket.client_id]
            kinds = [r.status if isinstance(r, OrderReport) else "trade" for r in mine]
            assert kinds == ["working", "trade", "filled"]

    with_rig(test, "spot")


# --- payments ------------------------------------------------------------------------------------


def test_all_that_moves_money_is_told_but_trades_and_transfers() -> None:
    async def test(rig: Rig) -> None:
        await rig.submit(1, 2)
        await rig.bar(101)
        await rig.submit(-1, 2)
        await rig.bar(102)
        told = {
            "funding": "-0.00000001",
            "insurance clear": "-12.50000000",
            "referral kickback": "0.10",
            "something new": "3",
        }
        own = ("transfer", "internal transfer", "coin swap withdraw")
        for reason in (*told, *own):
            rig.exchange.pay(Decimal(told.get(reason, 7)), reason, rig.symbol)
        payments = await rig.venue.payments(0)
        # As they were sent, to the last zero.
        assert [f"{p.amount:f}" for p in payments] == [*told.values()]
        assert [p.reason for p in payments] == ["funding fee", *[*told][1:]]
        assert {(p.symbol, p.currency) for p in payments} == {(rig.symbol, "USDT")}

    with_rig(test, "futures")


def test_payments_are_told_page_by_page_and_week_by_week(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefold.adapters.ccxt.venue.PAGE", 4)

    async def test(rig: Rig) -> None:
        began = rig.exchange.now_ns
        for number in range(40):
            # Two at a time, among the fees of trades, and some weeks without any.
            rig.exchange.pay(Decimal(number))
            if number % 2:
                rig.exchange.advance(rig.exchange.now_ns + number // 8 * 2 * DAY_NS + MINUTE_NS)
            if number % 5 == 0:
                await rig.submit(1, 1)
                await rig.bar(101)
        last = rig.exchange.payments()[-1].ts
        assert 70 * DAY_NS < last - began < 80 * DAY_NS
        everything = await rig.venue.payments(0)
        assert [p.amount for p in everything] == [*range(40)]
        assert len({p.payment_id for p in everything}) == 40
        assert [p.amount for p in await rig.venue.payments(last)] == [38, 39]
        rig.exchange.advance(last + 100 * DAY_NS)
        assert await rig.venue.payments(0) == [], "they are kept for three months"

    with_rig(test, "futures")


def test_a_page_is_as_long_as_the_exchange_makes_them() -> None:
    async def test(rig: Rig) -> None:
        for number in range(1_200):
            rig.exchange.pay(Decimal(number))
            rig.exchange.advance(rig.exchange.now_ns + MINUTE_NS)
        assert [p.amount for p in await rig.venue.payments(0)] == [*range(1_200)]

    with_rig(test, "futures")


def test_more_payments_at_one_time_than_a_page_has_are_uncertain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("onefold.adapters.ccxt.venue.PAGE", 3)

    async def test(rig: Rig) -> None:
        for number in range(4):
            rig.exchange.pay(Decimal(number))
        with pytest.raises(VenueUncertain, match="at one time"):
            await rig.venue.payments(0)

    with_rig(test, "futures")


@pytest.mark.parametrize("row", [{"asset": None}, {"income": "much"}, {"tranId": ""}])
def test_a_payment_that_cannot_be_read_is_not_left_out(
    row: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    row_of = futures.payment_row

    async def test(rig: Rig) -> None:
        rig.exchange.pay(Decimal(1))
        assert len(await rig.venue.payments(0)) == 1
        monkeypatch.setattr(futures, "payment_row", lambda *facts: {**row_of(*facts), **row})
        with pytest.raises(VenueUncertain):
            await rig.venue.payments(0)

    with_rig(test, "futures")


def test_what_another_symbol_cost_is_told_too() -> None:
    async def whole() -> None:
        listed = [perpetual(), perpetual(symbol="ETHUSDT")]
        exchange = Exchange(listed, Decimal(100_000), "USDT")
        exchange.on_bar(bar(0))
        server = Server(exchange, [Binance()])
        changes = {"symbols": {"BTC": "BTCUSDT"}}
        url = await server.start()
        venue = CcxtVenue(config(url, "futures", **changes), {"BTC": perpetual(symbol="BTC")})
        await venue.open()
        for symbol in ("BTCUSDT", "ETHUSDT", ""):
            exchange.pay(Decimal(1), "funding", symbol)
        assert [p.symbol for p in await venue.payments(0)] == ["BTC", "ETHUSDT", ""]
        await venue.close()
        await server.stop()

    asyncio.run(whole())


@pytest.mark.parametrize("proven", [True, False])
def test_where_it_is_not_proven_no_payments_are_told(
    proven: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = "spot" if proven else "futures"
    if not proven:
        monkeypatch.setattr(http, "PROVEN", frozenset())

    async def test(rig: Rig) -> None:
        rig.exchange.pay(Decimal(1))
        assert not rig.venue.abilities.payments
        assert await rig.venue.payments(0) == []

    with_rig(test, market)


# --- what is not sent ----------------------------------------------------------------------------


def test_a_number_off_the_grid_is_not_sent() -> None:
    async def test(rig: Rig) -> None:
        for changes in (
            {"qty": Decimal("0.0005")},
            {"kind": "limit", "price": Decimal("100.123")},
            {"kind": "stop", "price": Decimal("99.999")},
        ):
            ticket = msgspec.structs.replace(Ticket("x", rig.symbol, 1, Decimal(1)), **changes)
            with pytest.raises(VenueRefused, match="not sent"):
                await rig.venue.submit(ticket, lambda: pytest.fail("it was about to be sent"))
        assert rig.exchange.orders() == []

    with_rig(test, "spot")


def test_a_switch_that_the_exchange_has_not_is_refused() -> None:
    async def test(rig: Rig) -> None:
        with pytest.raises(VenueRefused, match="cannot cancel all orders by itself"):
            await rig.venue.arm(10)

    with_rig(test, "spot")


def test_an_account_needs_keys() -> None:
    with pytest.raises(ConfigError, match="needs api_key and api_secret"):
        CcxtVenue(CcxtConfig(), {})


def test_a_spot_account_cannot_hold_one_currency_twice() -> None:
    async def whole() -> None:
        coins = [coin(), coin(symbol="BTCEUR", currency="EUR")]
        rates = {"EUR": Decimal("1.1")}
        exchange = Exchange(coins, Decimal(1), "USDT", rates=rates)
        server = Server(exchange, [Binance()])
        url = await server.start()
        venue = CcxtVenue(config(url, "spot"), {one.symbol: one for one in coins})
        with pytest.raises(ConfigError, match="'BTCUSDT' and 'BTCEUR' are both BTC"):
            await venue.open()
        await venue.close()
        await server.stop()

    asyncio.run(whole())
