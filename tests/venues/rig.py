"""What a case of the venue suite works with: a venue under test, and the exchange behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from onefold.domain.errors import VenueError, VenueUncertain
from onefold.domain.ports import LiveVenue
from onefold.domain.records import Bar
from onefold.domain.venue import OrderReport, Report, Ticket, TradeReport
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faults import FaultRule, Faults

MS_NS = 1_000_000
MINUTE_NS = 60_000_000_000
DAY_NS = 86_400_000_000_000
PATIENCE_S = 8.0
"""How long a case waits for what must come; no adapter of a suite may need longer."""


@dataclass
class Rig:
    """One account at a rehearsal exchange, and the venue under test opened on it.

    The exchange has seen a bar at 100. `symbol` is ours, `unit` the quantity that the cases trade
    in, `scale` what a price of theirs is multiplied with. `play` lets a bar happen, `disconnect`
    breaks the venue's streams, `stranger` gives a venue that is not open and has wrong keys.
    The venue's deadline should be about half a second, so that hanging calls end soon.
    """

    venue: LiveVenue
    exchange: Exchange
    faults: Faults
    symbol: str
    play: Callable[[Bar], Awaitable[None]]
    disconnect: Callable[[], None]
    stranger: Callable[[], LiveVenue]
    unit: Decimal = Decimal(1)
    scale: Decimal = Decimal(1)
    sent: list[Ticket] = field(default_factory=list)

    def price(self, number: float) -> Decimal:
        """Return a price in the symbol's scale."""
        return Decimal(str(number)) * self.scale

    def ticket(
        self, side: int = 1, units: int = 1, kind: str = "market", price: float = 0, **more: Any
    ) -> Ticket:
        """Return an order that has not been sent, under a name of its own."""
        made = Ticket(
            client_id=f"case-{len(self.sent) + 1}",
            symbol=self.symbol,
            side=side,
            qty=units * self.unit,
            kind=kind,
            price=self.price(price) if kind != "market" else None,
            **more,
        )
        self.sent.append(made)
        return made

    async def submit(self, *args: Any, **more: Any) -> Ticket:
        """Send an order that the venue is to take."""
        ticket = self.ticket(*args, **more)
        report = await self.send(ticket)
        assert report.client_id == ticket.client_id
        assert report.symbol == self.symbol
        assert report.status in ("working", "filled")
        return ticket

    async def send(self, ticket: Ticket) -> OrderReport:
        """Send an order as the engine does: looked at once, before the exchange has it."""
        before, looks = len(self.exchange.orders()), []
        try:
            return await self.venue.submit(
                ticket, lambda: looks.append(len(self.exchange.orders()))
            )
        finally:
            assert looks == [before], "look() is called once, before the order has left"

    async def found(self, ticket: Ticket) -> OrderReport:
        """Return what the venue says of an order that it must know."""
        report = await self.venue.find(ticket.client_id, self.symbol)
        assert report is not None, "the venue knows the order, the adapter does not find it"
        assert report.client_id == ticket.client_id
        return report

    async def status(self, ticket: Ticket) -> str:
        """Return an order's status, which must be known."""
        return (await self.found(ticket)).status

    async def bar(
        self, open_: float, high: float = 0, low: float = 0, close: float = 0, gap_ns: int = 0
    ) -> None:
        """Let the next minute happen."""
        close = close or open_
        start = self.exchange.bars[self.symbol][-1].ts + gap_ns
        prices = (open_, high or max(open_, close), low or min(open_, close), close)
        scaled = [float(self.price(price)) for price in prices]
        await self.play(Bar(self.symbol, start + MINUTE_NS, start, *scaled, volume=1e6))

    def fault(self, on: str, do: str, nth: int = 1, **more: Any) -> None:
        """Let something go wrong, from now on counted."""
        self.faults.add(FaultRule.model_validate({"on": on, "do": do, "nth": nth, **more}))

    def at_exchange(self, ticket: Ticket) -> int:
        """Return how many orders of that name the exchange has ever taken."""
        names = [order.client_id for order in self.exchange.orders()]
        return names.count(ticket.client_id)

    @asynccontextmanager
    async def hearing(self) -> AsyncIterator[Heard]:
        """Listen to the venue's reports while the block runs, from when it surely hears them."""
        heard = Heard(self.venue)
        try:
            await self.until_heard(heard)
            yield heard
        finally:
            await heard.stop()

    async def until_heard(self, heard: Heard) -> None:
        """Send orders that cannot fill until one is reported, then take them away."""
        for _ in range(20):
            probe = await self.submit(1, 1, "limit", 10)
            with suppress(TimeoutError):
                await heard.order(probe, within_s=0.5)
                break
        else:
            raise AssertionError("reports() does not tell of a new order")
        await self.clear()

    async def clear(self) -> None:
        """Cancel everything at the exchange itself, without the adapter."""
        self.exchange.cancel_all()
        await asyncio.sleep(0.1)


class Heard:
    """What `reports()` has told, and how it ended."""

    def __init__(self, venue: LiveVenue) -> None:
        self.reports: list[Report] = []
        self.ended: BaseException | None = None
        self._venue = venue
        self._task = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        try:
            async for report in self._venue.reports():
                self.reports.append(report)
            self.ended = AssertionError("reports() ended without an error")
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it was is what the case looks at
            self.ended = error

    async def stop(self) -> None:
        """Stop listening."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def until(self, done: Callable[[], bool], within_s: float | None = None) -> None:
        """Wait for something to be heard. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_S if within_s is None else within_s):
            while not done():
                if self.ended is not None and not isinstance(self.ended, VenueError):
                    raise self.ended
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        """Wait until the reports have ended, which must be with `VenueUncertain`."""
        await self.until(lambda: self.ended is not None)
        assert isinstance(self.ended, VenueUncertain), repr(self.ended)

    async def order(
        self, ticket: Ticket, *statuses: str, within_s: float | None = None
    ) -> OrderReport:
        """Wait for a report of an order, in one of the statuses if any are given."""
        await self.until(lambda: bool(self.orders(ticket, *statuses)), within_s)
        return self.orders(ticket, *statuses)[-1]

    def orders(self, ticket: Ticket, *statuses: str) -> list[OrderReport]:
        """Return the reports of an order so far."""
        return [
            report
            for report in self.reports
            if isinstance(report, OrderReport)
            and report.client_id == ticket.client_id
            and (not statuses or report.status in statuses)
        ]

    async def trades(self, ticket: Ticket, count: int) -> list[TradeReport]:
        """Wait for so many different trades of an order; no other may follow."""
        await self.until(lambda: len(self.traded(ticket)) >= count)
        await asyncio.sleep(0.1)
        assert len(self.traded(ticket)) == count
        return self.traded(ticket)

    def traded(self, ticket: Ticket) -> list[TradeReport]:
        """Return the different trades of an order so far: each trade id counts once."""
        found = {
            report.trade_id: report
            for report in self.reports
            if isinstance(report, TradeReport) and report.client_id == ticket.client_id
        }
        return list(found.values())
