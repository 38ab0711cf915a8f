"""The in-memory twin of every real venue: the port, on top of the rehearsal exchange.

What goes wrong is asked of `trouble`, a function that gets the name of a call before and after it
was carried out, and raises what the caller is to see.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from onefold.domain.errors import VenueRefused, VenueUncertain
from onefold.domain.venue import (
    Abilities,
    OrderReport,
    PaymentReport,
    PositionReport,
    Report,
    Ticket,
    TradeReport,
)
from onefold.rehearsal.exchange import Exchange, Refusal, VenueOrder, VenueTrade

Trouble = Callable[[str, str], None]


def no_trouble(_call: str, _moment: str) -> None:
    """Let everything go well."""


def order_report(order: VenueOrder) -> OrderReport:
    return OrderReport(
        client_id=order.client_id,
        venue_id=str(order.venue_id),
        symbol=order.symbol,
        status=order.status,
        filled=order.filled,
        reason=order.reason,
        ts=order.updated_ts,
    )


def trade_report(trade: VenueTrade) -> TradeReport:
    return TradeReport(
        trade_id=str(trade.trade_id),
        client_id=trade.client_id,
        venue_id=str(trade.venue_id),
        symbol=trade.symbol,
        side=trade.side,
        qty=trade.qty,
        price=trade.price,
        ts=trade.ts,
        fee=trade.fee,
        fee_currency=trade.fee_currency,
    )


class Twin:
    """A venue without a network; `lag_s` is what every call takes."""

    def __init__(self, exchange: Exchange, trouble: Trouble = no_trouble, lag_s: float = 0) -> None:
        self.exchange = exchange
        self.trouble = trouble
        self.abilities = Abilities(payments=True)
        self.lag_s = lag_s
        self.submitted: list[str] = []
        self.armed: list[float] = []
        self._listening: list[asyncio.Queue[Report | None]] = []
        exchange.listen(self._heard)

    def _heard(self, event: object) -> None:
        report: Report
        if isinstance(event, VenueTrade):
            report = trade_report(event)
        elif isinstance(event, VenueOrder):
            report = order_report(event)
        else:
            return
        for queue in self._listening:
            queue.put_nowait(report)

    def disconnect(self) -> None:
        """Lose every connection that listens."""
        for queue in self._listening:
            queue.put_nowait(None)

    async def _call(self, name: str) -> None:
        await asyncio.sleep(self.lag_s)
        self.trouble(name, "before")

    async def open(self) -> None:
        await self._call("open")

    async def close(self) -> None:
        self.disconnect()

    async def submit(self, ticket: Ticket, look: Callable[[], None]) -> OrderReport:
        await asyncio.sleep(self.lag_s)
        look()
        self.submitted.append(ticket.client_id)
        self.trouble("submit", "before")
        try:
            order = self.exchange.submit(
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
        except Refusal as error:
            raise VenueRefused(error.reason) from None
        self.trouble("submit", "after")
        return order_report(order)

    async def cancel(self, client_id: str, symbol: str) -> None:
        await self._call("cancel")
        try:
            self.exchange.cancel(client_id)
        except Refusal as error:
            raise VenueRefused(f"{symbol}: {error.reason}") from None
        self.trouble("cancel", "after")

    async def find(self, client_id: str, symbol: str) -> OrderReport | None:
        await self._call("find")
        order = self.exchange.order(client_id)
        return None if order is None or order.symbol != symbol else order_report(order)

    async def working(self) -> list[OrderReport]:
        await self._call("working")
        return [order_report(order) for order in self.exchange.working()]

    async def trades(self, since_ts: int) -> list[TradeReport]:
        await self._call("trades")
        return [trade_report(trade) for trade in self.exchange.trades(since_ts)]

    async def payments(self, since_ts: int) -> list[PaymentReport]:
        await self._call("payments")
        return [
            PaymentReport(str(p.payment_id), p.ts, p.amount, p.currency, p.reason, p.symbol)
            for p in self.exchange.payments(since_ts)
        ]

    async def positions(self) -> list[PositionReport]:
        await self._call("positions")
        return [PositionReport(s, q) for s, q in self.exchange.positions().items()]

    async def time_ns(self) -> int:
        await self._call("time")
        return self.exchange.now_ns

    async def reports(self) -> AsyncIterator[Report]:
        await self._call("reports")
        queue: asyncio.Queue[Report | None] = asyncio.Queue()
        self._listening.append(queue)
        try:
            while (report := await queue.get()) is not None:
                self.trouble("report", "before")
                yield report
            raise VenueUncertain("the connection is lost")
        finally:
            self._listening.remove(queue)

    async def arm(self, timeout_s: float) -> None:
        await self._call("arm")
        self.armed.append(timeout_s)
