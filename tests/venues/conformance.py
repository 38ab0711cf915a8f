"""The venue suite: what every adapter of a venue must do, as cases over a `Rig`.

An adapter's test makes rigs and runs the cases that concern it, one rig per case::

    @conforms("My venue", abilities)
    def test_venue(case): run(case, my_rig())

A case holds what the adapter says against what the exchange did, so it does not matter which
language the two spoke. What may come twice is counted once by its id, as the engine does.
"""

# ruff: noqa: D401 - the docstring of a case is the statement that an adapter makes true

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest

from onefold.domain.errors import VenueRefused

from . import trouble  # noqa: F401 - it adds its cases
from .case import FINAL, Case, case, cases, conforms, equal, run, traded
from .rig import DAY_NS, MINUTE_NS, MS_NS, Rig

__all__ = ["Case", "cases", "conforms", "run"]

# -- orders that fill ------------------------------------------------------------------------------


@case()
async def market_order_fills(rig: Rig) -> None:
    """It fills at the next open; its trade, with the exact fee, is told to the last digit."""
    ticket = await rig.submit(1, 3)
    assert await rig.status(ticket) == "working"
    await rig.bar(101, 103, 99, 102)
    report = await rig.found(ticket)
    assert (report.status, report.filled) == ("filled", ticket.qty)
    (trade,) = await traded(rig, ticket)
    assert (trade.price, trade.side) == (rig.price(101), 1)
    assert trade.fee > 0


@case(lambda a: "limit" in a.kinds)
async def limit_order_fills(rig: Rig) -> None:
    """It waits for its price and fills there."""
    ticket = await rig.submit(1, 2, "limit", 95)
    await rig.bar(100, 101, 96, 98)
    assert await rig.status(ticket) == "working"
    await rig.bar(98, 99, 94, 95)
    assert await rig.status(ticket) == "filled"
    assert (await traded(rig, ticket))[0].price == rig.price(95)


@case(lambda a: "stop" in a.kinds)
async def stop_order_fills(rig: Rig) -> None:
    """It is found while it waits, works until it is touched, and then fills at the market."""
    held = await rig.submit(1, 2)
    await rig.bar(100)
    assert await rig.status(held) == "filled"
    ticket = await rig.submit(-1, 2, "stop", 95)
    await rig.bar(100, 101, 96, 98)
    assert await rig.status(ticket) == "working"
    assert [r.client_id for r in await rig.venue.working()] == [ticket.client_id]
    await rig.bar(98, 99, 94, 96)
    report = await rig.found(ticket)
    assert (report.status, report.filled) == ("filled", ticket.qty)
    (trade,) = await traded(rig, ticket)
    assert (trade.price, trade.side) == (rig.price(95), -1)
    assert await rig.venue.working() == []


@case(lambda a: "stop" in a.kinds)
async def stop_order_is_reported_and_cancelled(rig: Rig) -> None:
    """A stop is one order under one name, from being placed to its trade or its cancellation."""
    await rig.submit(1, 2)
    await rig.bar(100)
    async with rig.hearing() as heard:
        ticket = await rig.submit(-1, 1, "stop", 95)
        await heard.order(ticket, "working")
        await rig.bar(98, 99, 94, 96)
        (trade,) = await heard.trades(ticket, 1)
        equal(trade, rig.exchange.trades()[-1])
        await heard.order(ticket, "filled")
        other = await rig.submit(-1, 1, "stop", 90)
        await rig.venue.cancel(other.client_id, rig.symbol)
        await heard.order(other, "cancelled")
    assert await rig.status(other) == "cancelled"
    await rig.bar(90, 91, 80, 85)
    await traded(rig, other, 0)


@case()
async def partial_fill(rig: Rig) -> None:
    """An order may fill in parts: each is a trade, and it works until the last."""
    rig.fault("submit", "partial")
    async with rig.hearing() as heard:
        rig.fault("submit", "partial")
        ticket = await rig.submit(1, 4)
        await rig.bar(101)
        report = await rig.found(ticket)
        assert (report.status, report.filled) == ("working", 2 * rig.unit)
        assert len(await heard.trades(ticket, 1)) == 1
        await rig.bar(102)
        assert [t.price for t in await heard.trades(ticket, 2)] == [rig.price(101), rig.price(102)]
    report = await rig.found(ticket)
    assert (report.status, report.filled) == ("filled", ticket.qty)
    await traded(rig, ticket, 2)


# -- orders that end otherwise ---------------------------------------------------------------------


@case(lambda a: "limit" in a.kinds)
async def cancel(rig: Rig) -> None:
    """What is cancelled never fills, and is known as cancelled."""
    ticket = await rig.submit(1, 1, "limit", 95)
    await rig.venue.cancel(ticket.client_id, rig.symbol)
    assert await rig.status(ticket) == "cancelled"
    assert await rig.venue.working() == []
    await rig.bar(90)
    await traded(rig, ticket, 0)


@case()
async def cancel_of_nothing_is_refused(rig: Rig) -> None:
    """There is nothing to cancel in an order that is done, or was never there."""
    ticket = await rig.submit()
    await rig.bar(101)
    for name in (ticket.client_id, "never-sent"):
        with pytest.raises(VenueRefused):
            await rig.venue.cancel(name, rig.symbol)


@case()
async def too_large_an_order_is_refused(rig: Rig) -> None:
    """What the account cannot pay for is refused with a reason, and is not there afterwards."""
    ticket = rig.ticket(1, 10**8)
    with pytest.raises(VenueRefused) as refused:
        await rig.send(ticket)
    assert str(refused.value).strip()
    assert await rig.venue.find(ticket.client_id, rig.symbol) is None
    assert rig.at_exchange(ticket) == 0


@case(lambda a: "gtd" in a.times_in_force)
async def gtd_order_expires(rig: Rig) -> None:
    """It ends at its time."""
    until = rig.exchange.now_ns + 30 * MINUTE_NS
    ticket = await rig.submit(1, 1, "limit", 90, time_in_force="gtd", expire_ts=until)
    assert rig.exchange.orders()[-1].expire_ts == until
    await rig.bar(100)
    assert await rig.status(ticket) == "working"
    await rig.bar(80, gap_ns=30 * MINUTE_NS)
    assert await rig.status(ticket) in FINAL
    await traded(rig, ticket, 0)


@case(lambda a: "day" in a.times_in_force)
async def day_order_expires(rig: Rig) -> None:
    """It ends with the day."""
    ticket = await rig.submit(1, 1, "limit", 90, time_in_force="day")
    await rig.bar(100)
    assert await rig.status(ticket) == "working"
    await rig.bar(80, gap_ns=DAY_NS)
    assert await rig.status(ticket) in FINAL
    await traded(rig, ticket, 0)


@case(lambda a: "ioc" in a.times_in_force and "limit" in a.kinds)
async def ioc_order_has_one_chance(rig: Rig) -> None:
    """What does not fill at the first chance is gone."""
    missed = await rig.submit(1, 1, "limit", 90, time_in_force="ioc")
    met = await rig.submit(1, 1, "limit", 110, time_in_force="ioc")
    await rig.bar(100, 101, 80, 85)
    assert await rig.status(missed) in FINAL
    assert await rig.status(met) == "filled"
    await traded(rig, missed, 0)


@case(lambda a: a.reduce_only)
async def reduce_only_never_opens(rig: Rig) -> None:
    """It closes what there is, and is refused or ends when there is nothing."""
    alone = rig.ticket(-1, 1, reduce_only=True)
    with suppress(VenueRefused):
        await rig.send(alone)
    await rig.bar(100)
    assert rig.exchange.positions()[rig.symbol] == 0
    await rig.submit(1, 2)
    await rig.bar(100)
    ticket = await rig.submit(-1, 2, reduce_only=True)
    assert rig.exchange.orders()[-1].reduce_only
    await rig.bar(100)
    assert await rig.status(ticket) == "filled"
    assert rig.exchange.positions()[rig.symbol] == 0


# -- questions -------------------------------------------------------------------------------------


@case()
async def an_unknown_order_is_none(rig: Rig) -> None:
    """A name that the venue has never heard is None, which is an answer and no error."""
    assert await rig.venue.find("never-sent", rig.symbol) is None


@case(lambda a: "limit" in a.kinds)
async def a_name_is_used_once(rig: Rig) -> None:
    """The same client id again is refused, and makes no second order."""
    ticket = await rig.submit(1, 1, "limit", 95)
    with pytest.raises(VenueRefused):
        await rig.send(ticket)
    assert rig.at_exchange(ticket) == 1
    assert await rig.status(ticket) == "working"


@case(lambda a: "limit" in a.kinds)
async def working_orders(rig: Rig) -> None:
    """Exactly what may still fill is listed, orders of other origin too."""
    assert await rig.venue.working() == []
    done = await rig.submit()
    kept = await rig.submit(1, 2, "limit", 90)
    gone = await rig.submit(1, 1, "limit", 91)
    await rig.venue.cancel(gone.client_id, rig.symbol)
    await rig.bar(100)
    by_hand = rig.exchange.submit("", rig.symbol, 1, rig.unit, "limit", rig.price(80))
    reports = await rig.venue.working()
    assert {r.status for r in reports} == {"working"}
    assert {r.symbol for r in reports} == {rig.symbol}
    assert len(reports) == 2
    ids = {r.client_id for r in reports}
    assert kept.client_id in ids
    assert not ids & {done.client_id, gone.client_id}
    assert str(by_hand.venue_id) in {r.venue_id for r in reports}


@case()
async def trades_since(rig: Rig) -> None:
    """Trades are told from a time on, the oldest first."""
    first = await rig.submit(1, 2)
    await rig.bar(101)
    second = await rig.submit(-1, 1)
    await rig.bar(102)
    everything = await rig.venue.trades(0)
    assert [t.client_id for t in everything] == [first.client_id, second.client_id]
    assert [t.ts for t in everything] == sorted(t.ts for t in everything)
    since = rig.exchange.trades()[-1].ts
    assert [t.client_id for t in await rig.venue.trades(since)] == [second.client_id]
    assert await rig.venue.trades(since + MINUTE_NS) == []


@case()
async def positions(rig: Rig) -> None:
    """What is held is told in units, exactly; nothing is 0 or left out."""
    assert [p for p in await rig.venue.positions() if p.qty] == []
    await rig.submit(1, 3)
    await rig.bar(101)
    (held,) = [p for p in await rig.venue.positions() if p.qty]
    assert (held.symbol, held.qty) == (rig.symbol, 3 * rig.unit)
    assert held.average in (None, rig.price(101))
    await rig.submit(-1, 3)
    await rig.bar(102)
    assert [p for p in await rig.venue.positions() if p.qty] == []


@case(lambda a: a.payments)
async def payments_since(rig: Rig) -> None:
    """What is charged and paid besides trades is told once each, exactly, and nothing else is."""
    assert await rig.venue.payments(0) == []
    await rig.submit(1, 2)
    await rig.bar(101)
    made = rig.exchange.pay(Decimal("-1.25"), "funding", rig.symbol)
    (told,) = await rig.venue.payments(0)
    assert (told.amount, told.currency) == (made.amount, made.currency)
    assert abs(told.ts - made.ts) < MS_NS
    assert told.reason
    await rig.bar(102)
    later = rig.exchange.pay(Decimal("0.75"), "funding", rig.symbol)
    both = await rig.venue.payments(0)
    assert [p.amount for p in both] == [Decimal("-1.25"), Decimal("0.75")]
    assert len({p.payment_id for p in both}) == 2
    assert both[0] == told, "a payment is told the same way every time"
    assert [p.amount for p in await rig.venue.payments(later.ts)] == [Decimal("0.75")]


@case()
async def clock(rig: Rig) -> None:
    """The venue's clock is told as it is, also when it is wrong."""
    assert abs(await rig.venue.time_ns() - rig.exchange.now_ns) < MS_NS
    rig.fault("query", "clock_skew", s=30)
    told = [await rig.venue.time_ns() for _ in range(2)][-1]
    assert abs(told - rig.exchange.now_ns - 30 * 10**9) < MS_NS


# -- reports ---------------------------------------------------------------------------------------


@case(lambda a: "limit" in a.kinds)
async def reports_tell_everything(rig: Rig) -> None:
    """Each order's beginning and end is reported, and each trade, exactly."""
    async with rig.hearing() as heard:
        ticket = await rig.submit(1, 2)
        other = await rig.submit(1, 1, "limit", 90)
        await heard.order(ticket, "working", "filled")
        await rig.bar(101)
        (trade,) = await heard.trades(ticket, 1)
        equal(trade, rig.exchange.trades()[-1])
        report = await heard.order(ticket, "filled")
        assert report.filled == ticket.qty
        await rig.venue.cancel(other.client_id, rig.symbol)
        await heard.order(other, "cancelled")
        (asked,) = await traded(rig, ticket)
        assert asked.trade_id == trade.trade_id, "a trade has one id, however it is heard of"


@case()
async def reports_end_when_the_connection_is_lost(rig: Rig) -> None:
    """A lost connection ends the reports, never silently; asking again connects again."""
    async with rig.hearing() as heard:
        rig.disconnect()
        await heard.end()
    async with rig.hearing() as heard:
        ticket = await rig.submit()
        await rig.bar(101)
        assert len(await heard.trades(ticket, 1)) == 1


@case()
async def a_trade_told_twice_is_one(rig: Rig) -> None:
    """A trade that the venue tells twice has the same id both times."""
    async with rig.hearing() as heard:
        rig.fault("stream", "duplicate_fill")
        ticket = await rig.submit(1, 2)
        await rig.bar(101)
        (trade,) = await heard.trades(ticket, 1)
    assert trade.qty == ticket.qty


@case()
async def a_fill_before_its_acknowledgement(rig: Rig) -> None:
    """The stream may be faster than the answer: the trade is reported all the same."""
    async with rig.hearing() as heard:
        rig.fault("submit", "fill_before_ack")
        ticket = await rig.submit(1, 2)
        (trade,) = await heard.trades(ticket, 1)
        equal(trade, rig.exchange.trades()[-1])
    assert await rig.status(ticket) == "filled"


@case(lambda a: "limit" in a.kinds)
async def a_fill_after_its_cancellation(rig: Rig) -> None:
    """A trade that a cancellation has overtaken is still reported, and found when asked for."""
    async with rig.hearing() as heard:
        ticket = await rig.submit(1, 2, "limit", 95)
        rig.fault("cancel", "fill_after_cancel")
        await rig.venue.cancel(ticket.client_id, rig.symbol)
        (trade,) = await heard.trades(ticket, 1)
        equal(trade, rig.exchange.trades()[-1])
    await traded(rig, ticket)


@case()
async def a_last_look_holds_an_order_back(rig: Rig) -> None:
    """What is said no to at the last moment does not leave."""

    def say_no() -> None:
        raise VenueRefused("the kill switch is on")

    ticket = rig.ticket()
    with pytest.raises(VenueRefused, match="kill switch"):
        await rig.venue.submit(ticket, say_no)
    assert rig.exchange.orders() == []
    assert await rig.venue.find(ticket.client_id, rig.symbol) is None
