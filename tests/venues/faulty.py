"""The twin with a script of faults: what every face does over a network, without one.

It shows that the suite can be passed, and its broken relatives in `test_twin` that it can be
failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.venue import (
    Abilities,
    OrderReport,
    PaymentReport,
    PositionReport,
    Report,
    Ticket,
    TradeReport,
)
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faults import Fault, Faults

from .twin import Twin

T = TypeVar("T")

ABILITIES = Abilities(dead_man=True, payments=True)
"""A twin can do everything."""

_UNCERTAIN = ("hang", "disconnect", "accept_then_timeout", "error_after_accept")
_BEFORE = ("hang", "disconnect")


class Faulty(Twin):
    """A twin to which a script of faults applies; `known` says whether its keys are right."""

    retries = 2

    def __init__(self, exchange: Exchange, faults: Faults, *, known: bool = True) -> None:
        super().__init__(exchange)
        self.abilities = ABILITIES
        self.faults, self._known, self._skew_ns = faults, known, 0
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        if not self._known:
            raise ConfigError("the keys are refused")

    async def close(self) -> None:
        await self.arm(0)
        await super().close()

    async def submit(self, ticket: Ticket, look: Callable[[], None]) -> OrderReport:
        fault = self.faults.plan("submit")
        if fault is not None and fault.do == "partial":
            self.exchange.halve_next()
        if fault is not None and (fault.do in _BEFORE or fault.do in ("reject", "too_many")):
            look()
            self._refuse(fault)
            raise VenueUncertain(fault.do)
        report = await super().submit(ticket, look)
        if fault is not None and fault.do == "fill_before_ack":
            self.exchange.touch(ticket.symbol)
            await asyncio.sleep(0.05)
        return self._acknowledged(fault, report)

    async def cancel(self, client_id: str, symbol: str) -> None:
        fault = self.faults.plan("cancel")
        if fault is not None and fault.do in _BEFORE:
            raise VenueUncertain(fault.do)
        await super().cancel(client_id, symbol)
        order = self.exchange.order(client_id)
        if fault is not None and fault.do == "fill_after_cancel" and order is not None:
            asyncio.get_running_loop().call_later(0.05, self.exchange.trade_late, order)
        self._acknowledged(fault, None)

    async def find(self, client_id: str, symbol: str) -> OrderReport | None:
        unknown = False

        async def ask() -> OrderReport | None:
            return None if unknown else await Twin.find(self, client_id, symbol)

        def heed(fault: Fault) -> None:
            nonlocal unknown
            unknown = fault.do == "unknown_order"

        return await self._asked(ask, heed)

    async def working(self) -> list[OrderReport]:
        return await self._asked(super().working)

    async def trades(self, since_ts: int) -> list[TradeReport]:
        return await self._asked(lambda: Twin.trades(self, since_ts))

    async def payments(self, since_ts: int) -> list[PaymentReport]:
        return await self._asked(lambda: Twin.payments(self, since_ts))

    async def positions(self) -> list[PositionReport]:
        return await self._asked(super().positions)

    async def time_ns(self) -> int:
        return await self._asked(super().time_ns) + self._skew_ns

    async def reports(self) -> AsyncIterator[Report]:
        async for report in super().reports():
            fault = self.faults.plan("stream", trade=isinstance(report, TradeReport))
            if fault is not None and fault.do in ("disconnect", "expired_session"):
                raise VenueUncertain("the connection is lost")
            yield report
            if fault is not None and fault.do == "duplicate_fill":
                yield report

    async def arm(self, timeout_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if timeout_s:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(timeout_s, self.exchange.cancel_all)

    def _acknowledged(self, fault: Fault | None, answer: T) -> T:
        """Return an answer, unless it gets lost."""
        if fault is not None and fault.do in _UNCERTAIN:
            raise VenueUncertain(fault.do)
        return answer

    def _refuse(self, fault: Fault) -> None:
        if fault.do == "reject":
            raise VenueRefused("no")
        if fault.do == "too_many":
            raise VenueRefused("too many", fault.seconds)

    async def _asked(
        self, ask: Callable[[], Awaitable[T]], heed: Callable[[Fault], None] = lambda _: None
    ) -> T:
        """Ask, again if need be."""
        for _ in range(self.retries):
            fault = self.faults.plan("query")
            if fault is None or fault.do not in (*_BEFORE, "too_many", "expired_session"):
                if fault is not None:
                    heed(fault)
                    self._skew_ns = 30 * 10**9 if fault.do == "clock_skew" else self._skew_ns
                return await ask()
        raise VenueUncertain("no answer")
