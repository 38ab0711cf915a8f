"""The half of the venue suite in which things go wrong: what is uncertain, and what is refused."""

# ruff: noqa: D401 - the docstring of a case is the statement that an adapter makes true

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.rehearsal.faults import FaultRule

from .case import case
from .rig import PATIENCE_S, Rig

# -- uncertainty -----------------------------------------------------------------------------------


async def _uncertain_submit(rig: Rig, do: str) -> None:
    rig.fault("submit", do)
    ticket = rig.ticket(1, 2)
    with pytest.raises(VenueUncertain):
        await rig.send(ticket)
    assert await rig.status(ticket) == "working"
    assert rig.at_exchange(ticket) == len(rig.exchange.orders()) == 1, "it was sent again"
    await rig.bar(101)
    assert await rig.status(ticket) == "filled"


@case()
async def accepted_then_silent(rig: Rig) -> None:
    """No answer to an order that was taken is uncertain; it is not sent again, and is found."""
    await _uncertain_submit(rig, "accept_then_timeout")


@case()
async def accepted_then_error(rig: Rig) -> None:
    """Neither does a 5xx say that nothing happened."""
    await _uncertain_submit(rig, "error_after_accept")


@case()
async def connection_lost_on_submit(rig: Rig) -> None:
    """A connection that broke before the order arrived is as uncertain; it is found to be none."""
    rig.fault("submit", "disconnect")
    ticket = rig.ticket()
    with pytest.raises(VenueUncertain):
        await rig.send(ticket)
    assert await rig.venue.find(ticket.client_id, rig.symbol) is None
    assert rig.exchange.orders() == []


@case()
async def hanging_submit_has_a_deadline(rig: Rig) -> None:
    """A venue that does not answer cannot hang us."""
    rig.fault("submit", "hang")
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(VenueUncertain):
            await rig.send(rig.ticket())
    assert rig.exchange.orders() == []


@case(lambda a: "limit" in a.kinds)
async def silent_cancel_is_uncertain(rig: Rig) -> None:
    """A cancellation without an answer is uncertain; asking tells what became of it."""
    ticket = await rig.submit(1, 1, "limit", 95)
    rig.fault("cancel", "accept_then_timeout")
    with pytest.raises(VenueUncertain):
        await rig.venue.cancel(ticket.client_id, rig.symbol)
    assert await rig.status(ticket) == "cancelled"


@case()
async def silent_questions_are_asked_again_or_uncertain(rig: Rig) -> None:
    """A question may be repeated; it ends within its deadlines with an answer or uncertain."""
    ticket = await rig.submit()
    for do in ("hang", "disconnect"):
        rig.faults.clear()
        rig.fault("query", do)
        async with asyncio.timeout(PATIENCE_S):
            try:
                assert await rig.status(ticket) == "working"
            except VenueUncertain:
                assert await rig.status(ticket) == "working"


@case()
async def a_venue_that_never_answers_is_uncertain(rig: Rig) -> None:
    """Questions to a venue that is gone end, and never with an empty answer."""
    rig.faults.add(_always("hang"))
    for ask in (rig.venue.working, rig.venue.positions, lambda: rig.venue.trades(0)):
        async with asyncio.timeout(2 * PATIENCE_S):
            with pytest.raises(VenueUncertain):
                await ask()


@case()
async def slow_answers_are_waited_for(rig: Rig) -> None:
    """What is slow, but in time, is an answer."""
    rig.fault("submit", "slow", s=0.15)
    rig.fault("query", "slow", s=0.15)
    ticket = await rig.submit()
    assert await rig.status(ticket) == "working"


# -- refusals --------------------------------------------------------------------------------------


@case()
async def a_rejected_order_is_refused(rig: Rig) -> None:
    """A clear no says that nothing happened."""
    rig.fault("submit", "reject")
    ticket = rig.ticket()
    with pytest.raises(VenueRefused):
        await rig.send(ticket)
    assert await rig.venue.find(ticket.client_id, rig.symbol) is None


@case()
async def an_order_too_many_is_refused_for_a_while(rig: Rig) -> None:
    """Asked too often, the venue says how long to wait; the order is not sent again by us."""
    rig.fault("submit", "too_many", s=7)
    ticket = rig.ticket()
    with pytest.raises(VenueRefused) as refused:
        await rig.send(ticket)
    assert refused.value.retry_after_s == 7
    assert rig.exchange.orders() == []


@case()
async def a_question_too_many_is_asked_later(rig: Rig) -> None:
    """A question is repeated once the venue allows it."""
    ticket = await rig.submit()
    rig.fault("query", "too_many", s=0)
    assert await rig.status(ticket) == "working"


@case()
async def a_venue_may_not_know_an_order_yet(rig: Rig) -> None:
    """Unknown is what the venue says, even of an order that it learns of a moment later."""
    ticket = await rig.submit()
    rig.faults.add(_always("unknown_order", on="query"))
    assert await rig.venue.find(ticket.client_id, rig.symbol) is None
    rig.faults.clear()
    assert await rig.status(ticket) == "working"


@case()
async def an_expired_session_is_never_silent(rig: Rig) -> None:
    """We log in again, or say so; the order exists exactly when we said that it may."""
    rig.fault("submit", "expired_session")
    ticket = rig.ticket()
    try:
        await rig.send(ticket)
    except VenueRefused:
        assert rig.at_exchange(ticket) == 0
    except VenueUncertain:
        assert rig.at_exchange(ticket) in (0, 1)
    else:
        assert rig.at_exchange(ticket) == 1
    rig.faults.clear()
    rig.fault("query", "expired_session")
    for _ in range(2):
        with suppress(VenueUncertain):
            assert len(await rig.venue.working()) == rig.at_exchange(ticket)


@case()
async def an_expired_stream_is_never_silent(rig: Rig) -> None:
    """When the session of the stream expires the reports end, or go on without a hole."""
    async with rig.hearing() as heard:
        rig.fault("stream", "expired_session")
        ticket = await rig.submit()
        await rig.bar(101)
        await heard.until(lambda: heard.ended is not None or len(heard.traded(ticket)) == 1)
        if heard.ended is not None:
            await heard.end()
    async with rig.hearing() as heard:
        other = await rig.submit()
        await rig.bar(102)
        assert len(await heard.trades(other, 1)) == 1


@case()
async def wrong_keys_do_not_open(rig: Rig) -> None:
    """Credentials that the venue refuses are the user's to mend, and are found at the start."""
    stranger = rig.stranger()
    try:
        with pytest.raises(ConfigError):
            await stranger.open()
    finally:
        await stranger.close()


@case(lambda a: a.dead_man and "limit" in a.kinds)
async def dead_mans_switch(rig: Rig) -> None:
    """Unless we are heard of in time, the venue cancels everything; 0 disarms."""
    ticket = await rig.submit(1, 1, "limit", 90)
    await rig.venue.arm(0.5)
    await rig.venue.arm(0)
    await asyncio.sleep(0.8)
    assert await rig.status(ticket) == "working"
    await rig.venue.arm(0.3)
    await asyncio.sleep(0.8)
    assert await rig.status(ticket) == "cancelled"


def _always(do: str, on: str = "any") -> FaultRule:
    return FaultRule.model_validate({"on": on, "do": do, "every": 1})
