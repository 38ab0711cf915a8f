"""Orders to Zerodha, and what it says of them.

Kite tells what happens to an order, by postbacks through its ticker, and what was traded when it is
asked: so whenever an order has filled further, its trades are asked for. Its lists are of the day.
An order that we have seen working and that is in today's list no more has ended with its day.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from onefold.adapters.closed import source_symbols
from onefold.adapters.kite.config import KiteConfig
from onefold.adapters.kite.http import Client
from onefold.adapters.kite.parse import (
    ABILITIES,
    SECOND_NS,
    by_time,
    charge_requests,
    client_id_of,
    day_of,
    fees,
    order_report,
    order_request,
    position_reports,
    trade_report,
)
from onefold.adapters.kite.stream import Ticker
from onefold.domain.errors import VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.venue import (
    OrderReport,
    PaymentReport,
    PositionReport,
    Report,
    Ticket,
    TradeReport,
)

Row = dict[str, Any]


class KiteVenue:
    """One account at Zerodha; `open` before use."""

    abilities = ABILITIES

    def __init__(self, config: KiteConfig, instruments: Mapping[str, Instrument]) -> None:
        """Take the instruments to trade. Raises `ConfigError` for their symbols."""
        source_symbols(instruments, config.symbols)
        self._config = config
        self._client = Client(config, instruments)
        self._kite = self._client.kite
        self._orders: dict[str, Row] = {}
        """Orders of our instruments by Kite's number, as they were told of last."""
        self._reports: dict[str, OrderReport] = {}
        self._sent: set[str] = set()
        self._fees: dict[tuple[str, str], Decimal] = {}

    async def open(self) -> None:
        """Log in, find the symbols, and learn which names are used today.

        Raises `ConfigError`, `VenueUncertain`.
        """
        await self._client.open()
        await self._list()

    async def close(self) -> None:
        """Let go of all connections; orders stay."""
        self._client.close()

    async def submit(self, ticket: Ticket, look: Callable[[], None]) -> OrderReport:
        """Send an order, once, after a last `look`. Raises `VenueRefused`, `VenueUncertain`.

        Kite would take any number of orders with one tag, so a name that was used is refused here.
        """
        one = self._client.listing(ticket.symbol)
        request = order_request(ticket, one, self._config.product, self._config.market_protection)
        used = ticket.client_id in self._sent
        self._sent.add(ticket.client_id)

        def send() -> str:
            look()
            if used:
                raise VenueRefused(f"an order {ticket.client_id!r} was sent before: not sent again")
            return str(self._kite.place_order(**request))

        try:
            order_id = await self._client.act(send)
        except VenueRefused:
            if not used:
                self._sent.discard(ticket.client_id)
            raise
        self._orders.setdefault(order_id, request)
        report = OrderReport(
            ticket.client_id, order_id, ticket.symbol, "working", ts=self._client.date_ns
        )
        # Its trade may have been told of before this answer came.
        self._reports.setdefault(ticket.client_id, report)
        return report

    async def cancel(self, client_id: str, symbol: str) -> None:
        """Ask to cancel an order; raises `VenueRefused`, `VenueUncertain`."""
        known = self._reports.get(client_id) or await self.find(client_id, symbol)
        if known is None:
            raise VenueRefused(f"Kite has no order {client_id!r} today")
        await self._client.act(
            lambda: self._kite.cancel_order("regular", known.venue_id), urgent=True
        )

    async def find(self, client_id: str, symbol: str) -> OrderReport | None:
        """Return what Kite knows of an order, or has known of it; raises `VenueUncertain`."""
        for order in await self._list():
            if client_id_of(order) == client_id and self._client.ours(order) == symbol:
                return self._report(order)
        return self._remembered(client_id)

    async def working(self) -> list[OrderReport]:
        """Return all orders that may still fill; raises `VenueUncertain`."""
        reports = [self._report(order) for order in await self._list()]
        return [report for report in reports if report.status == "working"]

    async def trades(self, since_ts: int) -> list[TradeReport]:
        """Return today's trades of our symbols from `since_ts` on, the oldest first.

        Kite forgets them with the day; times are to the second. Raises `VenueUncertain`.
        """
        rows = [t for t in await self._client.ask(self._kite.trades) if self._is_ours(t)]
        if any(str(row["order_id"]) not in self._orders for row in rows):
            await self._list()
        reports = await self._trade_reports(by_time(rows))
        since = since_ts // SECOND_NS * SECOND_NS
        return [report for report in reports if report.ts >= since]

    async def payments(self, since_ts: int) -> list[PaymentReport]:  # noqa: ARG002 - as the port has it
        """Return nothing: this venue does not tell what it charges besides trades."""
        return []

    async def positions(self) -> list[PositionReport]:
        """Return what is held of our symbols under the product that is traded.

        For delivery that is all of it, whoever bought it. Raises `VenueUncertain`.
        """
        # As close together as can be: a night in between would turn the ones into the others.
        positions, holdings = await asyncio.gather(
            self._client.ask(self._kite.positions), self._client.ask(self._kite.holdings)
        )
        return position_reports(
            positions["net"], holdings, self._client.listings, self._config.product
        )

    async def time_ns(self) -> int:
        """Return Kite's clock, to the second; raises `VenueUncertain`."""
        return await self._client.time_ns()

    async def reports(self) -> AsyncIterator[Report]:
        """Yield what happens to orders from now on: trades first, then what they made of it.

        Ends with `VenueUncertain` when the connection is lost; calling it again reconnects.
        """
        ticker = Ticker(self._config)
        try:
            await ticker.open()
            async for message in ticker.messages():
                for report in await self._told(message):
                    yield report
        finally:
            ticker.close()

    async def arm(self, timeout_s: float) -> None:
        """Raise `VenueRefused`: Kite cancels nothing by itself."""
        raise VenueRefused(
            f"Kite has no dead man's switch: it cannot cancel orders after {timeout_s:g} s"
        )

    # --- hearing ---------------------------------------------------------------------------------

    async def _told(self, message: bytes | str) -> list[Report]:
        """Return what a message of the ticker reports. Raises `VenueUncertain` for an error."""
        if isinstance(message, bytes):
            return []
        try:
            told = msgspec.json.decode(message)
            kind, order = told["type"], told["data"]
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise VenueUncertain("Kite's ticker said something that cannot be read") from error
        if kind == "error":
            raise VenueUncertain(f"Kite's ticker: {order}")
        if kind != "order":
            return []
        report = self._report(order)
        if not report.filled or not self._is_ours(order):
            return [report]
        rows = await self._client.ask(lambda: self._kite.order_trades(report.venue_id))
        return [*await self._trade_reports(by_time(rows)), report]

    async def _list(self) -> list[Row]:
        orders: list[Row] = await self._client.ask(self._kite.orders)
        for order in orders:
            self._orders[str(order["order_id"])] = order
            self._sent.add(client_id_of(order))
        return orders

    def _report(self, order: Row) -> OrderReport:
        report = order_report(order, self._client.ours(order))
        self._orders[report.venue_id] = order
        if report.client_id:
            self._reports[report.client_id] = report
        return report

    def _remembered(self, client_id: str) -> OrderReport | None:
        """Return what we know of an order that is not in today's list."""
        report = self._reports.get(client_id)
        if report is None or report.status != "working":
            return report
        if day_of(report.ts) >= day_of(self._client.date_ns):
            return None
        ended = msgspec.structs.replace(report, status="expired", reason="it ended with its day")
        self._reports[client_id] = ended
        return ended

    def _is_ours(self, thing: Row) -> bool:
        return self._client.ours(thing) in self._client.listings

    # --- trades ----------------------------------------------------------------------------------

    async def _trade_reports(self, rows: list[Row]) -> list[TradeReport]:
        """Return trades with what they cost; of each order all of its trades are given."""
        if self._config.charges:
            await self._learn_fees(rows)
        return [
            trade_report(
                row,
                self._client.ours(row),
                client_id_of(self._orders.get(str(row["order_id"]), {})),
                self._fees.get(_key(row), Decimal(0)),
            )
            for row in rows
        ]

    async def _learn_fees(self, rows: list[Row]) -> None:
        """Ask what the trades cost that nobody has asked about yet, in one question."""
        by_order: dict[str, list[Row]] = {}
        # What was heard of first comes first: a cost that was told does not change any more.
        for row in sorted(rows, key=lambda row: _key(row) not in self._fees):
            by_order.setdefault(str(row["order_id"]), []).append(row)
        asked = [
            (trades, charge_requests(trades, self._orders.get(order_id, {})))
            for order_id, trades in by_order.items()
            if any(_key(row) not in self._fees for row in trades)
        ]
        requests = [request for _, of_order in asked for request in of_order]
        if not requests:
            return
        notes = await self._client.ask(lambda: self._kite.get_virtual_contract_note(requests))
        if len(notes) != len(requests):
            raise VenueUncertain(f"Kite priced {len(notes)} of {len(requests)} trades")
        answers = iter(notes)
        for trades, of_order in asked:
            costs = fees([next(answers) for _ in of_order])
            for row, fee in zip(trades, costs, strict=True):
                self._fees.setdefault(_key(row), fee)


def _key(trade: Row) -> tuple[str, str]:
    return str(trade["order_id"]), str(trade["trade_id"])
