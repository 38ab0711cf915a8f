"""The venue suite on Alpaca's real client, against the rehearsal exchange's Alpaca."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from onefold.adapters.alpaca import AlpacaConfig, AlpacaVenue
from onefold.adapters.alpaca import venue as venue_module
from onefold.adapters.alpaca.parse import COINS, SHARES
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument, instrument
from onefold.domain.venue import OrderReport
from onefold.rehearsal.faces.alpaca import Alpaca, desk
from onefold.rehearsal.faces.alpaca.face import KEY
from onefold.rehearsal.faces.alpaca.shapes import (
    account_shape,
    asset_shape,
    number_of,
    payment_shape,
)
from onefold.rehearsal.faults import FaultRule
from venues.case import traded
from venues.conformance import Case, conforms, run
from venues.rig import DAY_NS, Rig
from venues.served import served

DEADLINE_S = 0.5
WRONG = "not the secret"

SHARE = Instrument(symbol="AAPL", tick=0.01)
COIN = instrument("BTCUSD", commission_bps=0)

SPARED = {
    "market_order_fills": "Alpaca tells no fee with a trade; it is run without one",
}
"""Cases that ask for what Alpaca does not tell."""


def config(url: str, **changes: Any) -> AlpacaConfig:
    """Return the settings of an account whose calls end soon."""
    options = {
        "url": url,
        "api_key": KEY,
        "api_secret": KEY,
        "deadline_s": DEADLINE_S,
        "retries": 2,
        "calls_per_second": 200,
    }
    return AlpacaConfig.model_validate({**options, **changes})


class Numbered(AlpacaVenue):
    """The adapter, with the exchange's own numbers for the ids that the face makes of them."""

    async def working(self) -> list[OrderReport]:
        return [
            msgspec.structs.replace(report, venue_id=str(number_of(report.venue_id)))
            for report in await super().working()
        ]


def rig_of(one: Instrument, **changes: Any) -> AbstractAsyncContextManager[Rig]:
    """Return a rig around the adapter, trading one instrument."""
    mine = {one.symbol: one}

    @asynccontextmanager
    async def made() -> AsyncIterator[Rig]:
        async with served(
            Alpaca(),
            one,
            lambda url: Numbered(config(url, **changes), mine),
            lambda url: AlpacaVenue(config(url, api_secret=WRONG), mine),
            unit=Decimal(1) if one is SHARE else Decimal("0.01"),
        ) as rig:
            yield rig

    return made()


def with_rig(
    test: Callable[[Rig], Awaitable[None]], one: Instrument = SHARE, **changes: Any
) -> None:
    run(Case(test, lambda _: True), rig_of(one, **changes))


@conforms("Alpaca shares", SHARES, SPARED)
def test_shares_conform(case: Case) -> None:
    run(case, rig_of(SHARE))


@conforms("Alpaca coins", COINS, SPARED)
def test_coins_conform(case: Case) -> None:
    run(case, rig_of(COIN))


# -- what the suite does not ask for ---------------------------------------------------------------


@pytest.mark.parametrize("one", [SHARE, COIN], ids=lambda one: one.symbol)
def test_a_market_order_fills_and_no_fee_is_told(one: Instrument) -> None:
    async def test(rig: Rig) -> None:
        ticket = await rig.submit(1, 3)
        assert await rig.status(ticket) == "working"
        await rig.bar(101, 103, 99, 102)
        report = await rig.found(ticket)
        assert (report.status, report.filled) == ("filled", ticket.qty)
        (trade,) = await traded(rig, ticket)
        assert (trade.price, trade.side, trade.fee) == (rig.price(101), 1, 0)

    with_rig(test, one)


async def another(rig: Rig) -> AlpacaVenue:
    """Return a venue of the same account that has heard of nothing yet, as after a restart."""
    mine = {one.symbol: one for one in rig.exchange.instruments.values()}
    made = AlpacaVenue(rig.venue._config, mine)
    await made.open()
    return made


def test_orders_of_before_are_cancelled_and_trades_of_before_are_named() -> None:
    async def test(rig: Rig) -> None:
        done, kept = await rig.submit(), await rig.submit(1, 1, "limit", 90)
        await rig.bar(101)
        fresh = await another(rig)
        assert [t.client_id for t in await fresh.trades(0)] == [done.client_id]
        await fresh.cancel(kept.client_id, rig.symbol)
        assert await rig.status(kept) == "cancelled"
        await fresh.close()

    with_rig(test)


def test_a_cancel_goes_through_when_questions_do_not() -> None:
    async def test(rig: Rig) -> None:
        kept = await rig.submit(1, 1, "limit", 90)
        fresh = await another(rig)
        rig.faults.add(FaultRule(on="query", do="disconnect", every=1))
        for _ in range(3):
            with pytest.raises(VenueUncertain):
                await fresh.working()
        rig.faults.clear()
        with pytest.raises(VenueUncertain, match="next try in"):
            await fresh.working()
        await fresh.cancel(kept.client_id, rig.symbol)
        assert rig.exchange.orders()[-1].status == "cancelled"
        await fresh.close()

    with_rig(test)


def test_more_orders_and_trades_than_one_answer_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in (("ORDERS", venue_module), ("ACTIVITIES", venue_module)):
        monkeypatch.setattr(module, f"{name}_PAGE", 2)
    monkeypatch.setattr(desk, "ORDERS_MAX", 2)
    monkeypatch.setattr(desk, "ACTIVITIES_MAX", 2)

    async def test(rig: Rig) -> None:
        sent = []
        for number in range(5):
            sent.append(await rig.submit())
            await rig.submit(1, 1, "limit", 10 + number)
            await rig.bar(100 + number)
        trades = await rig.venue.trades(0)
        assert [t.client_id for t in trades] == [ticket.client_id for ticket in sent]
        assert len(await rig.venue.working()) == 5

    with_rig(test)


def test_more_orders_of_one_moment_than_an_answer_holds_are_uncertain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(venue_module, "ORDERS_PAGE", 2)
    monkeypatch.setattr(desk, "ORDERS_MAX", 2)

    async def test(rig: Rig) -> None:
        for number in range(3):
            await rig.submit(1, 1, "limit", 10 + number)
        with pytest.raises(VenueUncertain, match="more than 2 orders of one moment"):
            await rig.venue.working()

    with_rig(test)


def test_more_payments_than_one_answer_holds_come_in_order_of_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(venue_module, "ACTIVITIES_PAGE", 2)
    monkeypatch.setattr(desk, "ACTIVITIES_MAX", 2)

    async def test(rig: Rig) -> None:
        amounts = [Decimal(f"-0.0{number}") for number in range(1, 8)]
        reasons = ["fee", "dividend", "interest"]
        for number, amount in enumerate(amounts):
            rig.exchange.pay(amount, reasons[number % 3], rig.symbol)
            await rig.submit()
            await rig.bar(100)
        told = await rig.venue.payments(0)
        assert [paid.amount for paid in told] == amounts
        assert [paid.reason for paid in told[:3]] == reasons
        assert {(paid.symbol, paid.currency) for paid in told} == {(rig.symbol, "USD")}
        listed = sorted(told, key=lambda paid: paid.payment_id)
        assert listed != told, "Alpaca lists them otherwise"
        assert await rig.venue.payments(told[4].ts) == told[4:]
        fresh = await another(rig)
        assert await fresh.payments(0) == told
        await fresh.close()

    with_rig(test)


def test_a_payment_without_a_time_is_told_when_its_day_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dated(*args: Any) -> dict[str, Any]:
        shape = payment_shape(*args)
        return {name: value for name, value in shape.items() if name != "created_at"}

    monkeypatch.setattr(desk, "payment_shape", dated)

    async def test(rig: Rig) -> None:
        began = rig.exchange.now_ns
        rig.exchange.pay(Decimal("-0.02"), "fee", rig.symbol)
        assert await rig.venue.payments(0) == [], "its time would be in the future"
        await rig.bar(100, gap_ns=DAY_NS)
        (told,) = await rig.venue.payments(0)
        day = began - began % DAY_NS
        assert told.ts == day + DAY_NS - 1
        assert began < told.ts < rig.exchange.now_ns, "an account that began that day counts it"
        # Asked for by a time within the day, it is there; by one after the day it is not.
        assert await rig.venue.payments(began + 1) == [told]
        assert await rig.venue.payments(told.ts) == [told]
        assert await rig.venue.payments(told.ts + 1) == []

    with_rig(test)


def test_own_money_is_no_payment(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(rig: Rig) -> None:
        rig.exchange.pay(Decimal(1000))
        for kind in ("CSD", "CSW", "JNLC", "ACATC"):
            changes = {"activity_type": kind}
            monkeypatch.setattr(desk, "payment_shape", lambda *a, c=changes: payment_shape(*a) | c)
            assert await rig.venue.payments(0) == []

    with_rig(test)


def test_payments_that_cannot_be_had_are_uncertain(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(rig: Rig) -> None:
        rig.exchange.pay(Decimal(1))
        broken = lambda *args: payment_shape(*args) | {"id": ""}  # noqa: E731
        monkeypatch.setattr(desk, "payment_shape", broken)
        with pytest.raises(VenueUncertain, match="without an id"):
            await rig.venue.payments(0)
        monkeypatch.setattr(desk, "payment_shape", payment_shape)
        monkeypatch.setattr(desk, "_page", lambda found, _: found)
        with pytest.raises(VenueUncertain, match="the same page again"):
            await rig.venue.payments(0)
        rig.faults.add(FaultRule(on="query", do="disconnect", every=1))
        with pytest.raises(VenueUncertain):
            await rig.venue.payments(0)

    with_rig(test)


def test_a_short_position_is_negative() -> None:
    async def test(rig: Rig) -> None:
        await rig.submit(-1, 3)
        await rig.bar(101)
        (held,) = await rig.venue.positions()
        assert (held.qty, held.average) == (-3, 101)

    with_rig(test)


def test_what_alpaca_would_refuse_never_leaves() -> None:
    async def test(rig: Rig) -> None:
        looks: list[None] = []
        for changes in ({"price": Decimal("99.999")}, {"qty": Decimal("0.5")}, {"symbol": "MSFT"}):
            ticket = msgspec.structs.replace(rig.ticket(1, 1, "limit", 99), **changes)
            with pytest.raises(VenueRefused, match="not sent"):
                await rig.venue.submit(ticket, lambda: looks.append(None))
        assert looks == []
        assert rig.exchange.orders() == []

    with_rig(test)


def test_a_switch_that_alpaca_has_not_is_refused() -> None:
    async def test(rig: Rig) -> None:
        with pytest.raises(VenueRefused, match="no switch"):
            await rig.venue.arm(10)

    with_rig(test)


def test_an_account_that_cannot_trade_does_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(rig: Rig) -> None:
        for facts, why in (
            ({"trading_blocked": True}, "ACTIVE, trading_blocked"),
            ({"status": "ONBOARDING"}, "ONBOARDING"),
        ):
            shape = account_shape(rig.exchange) | facts
            monkeypatch.setattr(desk, "account_shape", lambda _, shape=shape: shape)
            with pytest.raises(ConfigError, match=f"cannot trade: {why}"):
                await another(rig)

    with_rig(test)


def test_an_asset_that_is_not_what_we_think_does_not_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(rig: Rig) -> None:
        for facts, why in (
            ({"tradable": False}, "does not trade AAPL any more"),
            ({"class": "us_option"}, "of kind equity: at Alpaca AAPL is us_option"),
        ):
            monkeypatch.setattr(desk, "asset_shape", lambda m, f=facts: asset_shape(m) | f)
            with pytest.raises(ConfigError, match=why):
                await another(rig)

    with_rig(test)


def test_shares_are_traded_whole() -> None:
    async def test(rig: Rig) -> None:
        parts = {"AAPL": Instrument(symbol="AAPL", lot=0.1)}
        venue = AlpacaVenue(rig.venue._config, parts)
        with pytest.raises(ConfigError, match=r"AAPL: a lot of 0.1 is no multiple of Alpaca's 1"):
            await venue.open()
        await venue.close()

    with_rig(test)


def test_a_mixed_account_can_do_what_both_can() -> None:
    mine = {one.symbol: one for one in (SHARE, COIN)}
    assert AlpacaVenue(config("http://127.0.0.1:1"), mine).abilities == COINS
    assert AlpacaVenue(config("http://127.0.0.1:1"), {"AAPL": SHARE}).abilities == SHARES


def test_no_account_without_keys_or_with_foreign_kinds() -> None:
    with pytest.raises(ConfigError, match="needs api_key and api_secret"):
        AlpacaVenue(AlpacaConfig(), {})
    with pytest.raises(ConfigError, match="shares and coins only: ES is of kind future"):
        AlpacaVenue(config("http://127.0.0.1:1"), {"ES": instrument("ES")})
