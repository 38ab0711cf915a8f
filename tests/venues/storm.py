"""A venue in a storm: every call takes a while, and by a seed some go wrong in every known way.

A message that has left is on its way whatever becomes of the sender, so an order may arrive after
its caller was told that nobody knows, or after its process died.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from onefold.domain.errors import VenueRefused, VenueUncertain
from onefold.domain.venue import OrderReport, PositionReport, Report, Ticket, TradeReport
from onefold.rehearsal.exchange import Exchange, Refusal, VenueOrder, VenueTrade

from .twin import Twin, order_report, trade_report

SUBMIT = ("lost", "silent", "late", "reject", "partial", "fill_before_ack")
CANCEL = ("lost", "silent", "late", "reject", "fill_after_cancel")
STREAM = ("disconnect", "duplicate", "late")
NS_PER_S = 1_000_000_000
DEADLINE_S = 3.0
"""After so long a call without an answer is given up."""
UNSEEN_S = 10.0
"""So long a new order may be on its way through the venue before questions find it."""


class Storm(Twin):
    """The twin with latencies and, for `share` of the calls and messages, a fault.

    `now` is the wall clock in nanoseconds. `leaving` sees every ticket in the moment in which it
    leaves; `sent` counts them by name.
    """

    def __init__(
        self,
        exchange: Exchange,
        seed: int,
        *,
        now: Callable[[], int],
        leaving: Callable[[Ticket], None] = lambda _: None,
        share: float = 0.0,
        latency_s: float = 0.2,
    ) -> None:
        super().__init__(exchange)
        self.chance = random.Random(seed)
        self.share, self.latency_s = share, latency_s
        self.sent: Counter[str] = Counter()
        self.down_until_ns = 0
        self._now, self._leaving = now, leaving
        self._on_their_way = 0

    @property
    def is_quiet(self) -> bool:
        """Return whether every order that has left is there for everyone to see."""
        newest = max((o.created_ts for o in self.exchange.orders()[-1:]), default=0)
        return not self._on_their_way and self._now() - newest > 2 * UNSEEN_S * NS_PER_S

    def go_down(self, seconds: float) -> None:
        """Answer nothing for a while, and lose all connections."""
        self.down_until_ns = self._now() + round(seconds * NS_PER_S)
        self.disconnect()

    # -- chance -----------------------------------------------------------------------------------

    def _fate(self, *kinds: str) -> str:
        """Return what goes wrong with a call, or nothing."""
        return self.chance.choice(kinds) if self.chance.random() < self.share else ""

    async def _delay(self) -> None:
        await asyncio.sleep(self.chance.uniform(0.0, self.latency_s))
        self.exchange.advance(self._now())

    async def _silence(self) -> None:
        await asyncio.sleep(DEADLINE_S)
        raise VenueUncertain("no answer")

    @property
    def _is_down(self) -> bool:
        return self._now() < self.down_until_ns

    def _deliver(self, late: bool, act: Callable[[], Any]) -> asyncio.Future[Any]:
        """Let a message arrive after a while, whoever still waits for it."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[Any] = loop.create_future()
        self._on_their_way += 1

        def arrive() -> None:
            self._on_their_way -= 1
            self.exchange.advance(self._now())
            try:
                answer = act()
            except Refusal as error:
                answer = VenueRefused(error.reason)
            if not arrived.done():
                arrived.set_result(answer)

        loop.call_later(self.chance.uniform(*((4.0, 50.0) if late else (0, 0.2))), arrive)
        return arrived

    async def _answer(self, fate: str, arrived: asyncio.Future[Any]) -> Any:
        """Wait for the answer to a message, which may get lost."""
        if fate in ("late", "silent"):
            await self._silence()
        answer = await arrived
        await self._delay()
        if isinstance(answer, VenueRefused):
            raise answer
        return answer

    # -- orders -----------------------------------------------------------------------------------

    async def submit(self, ticket: Ticket, look: Callable[[], None]) -> OrderReport:
        await self._delay()
        look()
        self.sent[ticket.client_id] += 1
        self.submitted.append(ticket.client_id)
        self._leaving(ticket)
        fate = self._fate(*SUBMIT)
        if self._is_down or fate == "lost":
            await self._silence()
        if fate == "reject":
            raise VenueRefused("not today")

        def arrive() -> OrderReport:
            if fate == "partial":
                self.exchange.halve_next()
            report = order_report(self._take(ticket))
            if fate == "fill_before_ack":
                self.exchange.touch(ticket.symbol)
            return report

        report: OrderReport = await self._answer(fate, self._deliver(fate == "late", arrive))
        return report

    def _take(self, ticket: Ticket) -> VenueOrder:
        return self.exchange.submit(
            ticket.client_id,
            ticket.symbol,
            ticket.side,
            ticket.qty,
            ticket.kind,
            ticket.price,
            ticket.time_in_force,
            ticket.expire_ts,
            ticket.reduce_only,
        )

    async def cancel(self, client_id: str, symbol: str) -> None:
        await self._delay()
        fate = self._fate(*CANCEL)
        if self._is_down or fate == "lost":
            await self._silence()
        if fate == "reject":
            raise VenueRefused("not today")

        def arrive() -> None:
            order = self.exchange.cancel(client_id)
            if fate == "fill_after_cancel" and not order.reduce_only:
                loop = asyncio.get_running_loop()
                loop.call_later(self.chance.uniform(0.0, 2.0), self.exchange.trade_late, order)

        await self._answer(fate, self._deliver(fate == "late", arrive))

    # -- questions --------------------------------------------------------------------------------

    async def _call(self, name: str) -> None:
        await self._delay()
        if self._is_down or self._fate("lost"):
            await self._silence()

    async def find(self, client_id: str, symbol: str) -> OrderReport | None:
        report = await super().find(client_id, symbol)
        order = self.exchange.order(client_id)
        is_new = order is not None and self._now() - order.created_ts < UNSEEN_S * NS_PER_S
        return None if is_new and self._fate("unseen") else report

    async def positions(self) -> list[PositionReport]:
        found = await super().positions()
        await self._delay()
        return found

    # -- the stream -------------------------------------------------------------------------------

    def _heard(self, event: object) -> None:
        report: Report
        if isinstance(event, VenueTrade):
            report = trade_report(event)
        elif isinstance(event, VenueOrder):
            report = order_report(event)
        else:
            return
        for queue in self._listening:
            self._tell(queue, report)

    def _tell(self, queue: asyncio.Queue[Report | None], report: Report) -> None:
        fate = self._fate(*STREAM)
        delay_s = self.chance.uniform(1.0, 20.0) if fate == "late" else 0.0
        told: list[Report | None] = [None] if fate == "disconnect" else [report]
        if fate == "duplicate" and isinstance(report, TradeReport):
            told = [report, report]
        for one in told:
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, queue.put_nowait, one)
            else:
                queue.put_nowait(one)

    async def reports(self) -> AsyncIterator[Report]:
        await self._call("reports")
        async for report in super().reports():
            yield report
