"""Orders to OANDA, and what its transactions say of them.

OANDA numbers everything that happens to an account, and will tell all that came after a number. So
nothing has to be guessed: after a lost stream the transactions that were missed are asked for by
number, an order is looked for among the transactions of its time, and whatever is heard on one way
is known on all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from onefold.adapters.oanda.config import OandaConfig
from onefold.adapters.oanda.http import Client, NoSuchOrder
from onefold.adapters.oanda.parse import (
    ABILITIES,
    Ledger,
    Transaction,
    made,
    nanoseconds,
    order_request,
    pages,
    pending_report,
    position_report,
    rows,
    stamp,
    text,
)
from onefold.adapters.oanda.stream import messages
from onefold.domain.calendars import DAY_NS
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

PAGE = 1_000
"""The most transactions that one answer has."""

REACH_NS = 364 * DAY_NS
"""How far back OANDA answers for: a year at a time, which is as old as an order of ours may be."""


class OandaVenue:
    """One account at OANDA; `open` before use."""

    abilities = ABILITIES

    def __init__(self, config: OandaConfig, instruments: Mapping[str, Instrument]) -> None:
        """Take the instruments to trade. Raises `ConfigError` without an account and a token."""
        self._config = config
        self._client = Client(config, instruments)

    async def open(self) -> None:
        """Log in and find the symbols. Raises `ConfigError`, `VenueUncertain`."""
        await self._client.open()
        self._account = self._client.account
        ours = {name: symbol for symbol, name in self._client.names.items()}
        self._ledger = Ledger(ours, self._client.currency)
        self._heard_id = self._known_id = self._client.last_id
        self._opened_ts = self._known_since = await self.time_ns()
        for order in await self._pending():
            self._ledger.place(order)

    async def close(self) -> None:
        """Let go of all connections; orders stay."""
        await self._client.close()

    async def submit(self, ticket: Ticket, look: Callable[[], None]) -> OrderReport:
        """Send an order, once, after a last `look`. Raises `VenueRefused`, `VenueUncertain`."""
        request = order_request(ticket, self._name(ticket.symbol))

        def read(answer: Mapping[str, Any]) -> OrderReport:
            transactions = made(answer)
            for transaction in transactions:
                self._ledger.take(transaction)
            report = self._ledger.known(text(transactions[0], "id"))
            if report is None or report.client_id != ticket.client_id:
                raise VenueUncertain(f"OANDA does not say that {ticket.client_id!r} was made")
            return report

        report: OrderReport = await self._client.do(
            "OrderCreate", self._account, data=request, look=look, read=read
        )
        return report

    async def cancel(self, client_id: str, symbol: str) -> None:
        """Ask to cancel an order. Raises `VenueRefused`, `VenueUncertain`."""
        self._name(symbol)
        await self._client.do("OrderCancel", self._account, f"@{client_id}", urgent=True)

    async def find(self, client_id: str, symbol: str) -> OrderReport | None:
        """Return what OANDA knows of an order of the last year. Raises `VenueUncertain`.

        By our name it would only tell of orders that are not done.
        """
        self._name(symbol)
        try:
            await self._catch_up()
            if self._ledger.found(client_id) is None:
                await self._reach_back(0)
        except NoSuchOrder:
            return None
        return self._ledger.found(client_id)

    async def working(self) -> list[OrderReport]:
        """Return all orders of the account that may still fill. Raises `VenueUncertain`."""
        orders = await self._pending()
        if orders:
            # What was filled of them before our time.
            await self._reach_back(min(nanoseconds(order, "createTime") for order in orders))
            await self._catch_up()
        ledger = self._ledger
        return [
            pending_report(order, ledger.symbol(order), ledger.filled(text(order, "id")))
            for order in orders
        ]

    async def trades(self, since_ts: int) -> list[TradeReport]:
        """Return the account's trades from `since_ts` on, the oldest first, for at most a year.

        Raises `VenueUncertain`.
        """
        await self._reach_back(since_ts)
        await self._catch_up()
        return self._ledger.trades(since_ts)

    async def payments(self, since_ts: int) -> list[PaymentReport]:
        """Return financing and dividends from `since_ts` on, the oldest first, for at most a year.

        Raises `VenueUncertain`.
        """
        await self._reach_back(since_ts)
        await self._catch_up()
        return self._ledger.payments(since_ts)

    async def positions(self) -> list[PositionReport]:
        """Return what is held of our symbols. Raises `VenueUncertain`."""
        answer = await self._ask("positions", "OpenPositions")
        held = {row.get("instrument"): row for row in rows(answer, "positions")}
        reports = [
            position_report(held[name], symbol)
            for symbol, name in self._client.names.items()
            if name in held
        ]
        return [report for report in reports if report is not None]

    async def time_ns(self) -> int:
        """Return OANDA's clock. Raises `VenueUncertain`."""
        try:
            return await self._client.time_ns()
        except VenueRefused as error:
            raise VenueUncertain(str(error)) from error

    async def reports(self) -> AsyncIterator[Report]:
        """Yield what happens to orders, beginning with what was missed since the last time.

        Ends with `VenueUncertain` when the connection is lost; calling it again reconnects.
        """
        stream = messages(
            self._config, "transactions", "TransactionsStream", self._config.silence_s
        )
        async with aclosing(stream) as lines:
            async for line in lines:
                for transaction in await self._news(line):
                    for report in self._ledger.told(transaction):
                        yield report

    async def arm(self, timeout_s: float) -> None:
        """Refuse: OANDA has no dead man's switch."""
        raise VenueRefused(f"OANDA cannot cancel all orders by itself after {timeout_s:g} s")

    # --- transactions ----------------------------------------------------------------------------

    async def _news(self, line: Transaction | None) -> list[Transaction]:
        """Return the transactions that a line of the stream brings, and those that it left out."""
        if line is None:
            return []
        if line.get("type") != "HEARTBEAT":
            self._heard_id = str(line.get("id", self._heard_id))
            return [line]
        last_id = str(line.get("lastTransactionID", self._heard_id))
        if last_id == self._heard_id:
            return []
        missed = await self._since(self._heard_id)
        self._heard_id = text(missed[-1], "id") if missed else self._heard_id
        return missed

    async def _catch_up(self) -> None:
        """Take the transactions since the last that is known without a hole."""
        for transaction in await self._since(self._known_id):
            self._ledger.take(transaction)
            self._known_id = text(transaction, "id")

    async def _since(self, number: str) -> list[Transaction]:
        """Return all transactions after the one of that number, the oldest first."""
        found: list[Transaction] = []
        while True:
            answer = await self._ask("transactions", "TransactionsSinceID", id=number)
            new = rows(answer, "transactions")
            found += new
            # What is missing at the end of a long answer is asked for as well.
            if not new or text(new[-1], "id") in (number, answer.get("lastTransactionID")):
                return found
            number = text(new[-1], "id")

    async def _reach_back(self, since_ts: int) -> None:
        """Take the transactions from a time on, unless they are known.

        Of all types: OANDA documents no filter for dividends, and may refuse a name that is none.
        """
        since_ts = max(since_ts, self._opened_ts - REACH_NS)
        if since_ts >= self._known_since:
            return
        times = {"from": stamp(since_ts), "to": stamp(self._known_since)}
        answer = await self._ask("transactions", "TransactionList", **times, pageSize=PAGE)
        for page in pages(answer):
            answer = await self._ask("transactions", "TransactionIDRange", **page)
            for transaction in rows(answer, "transactions"):
                self._ledger.take(transaction)
        self._known_since = since_ts

    # --- questions -------------------------------------------------------------------------------

    async def _pending(self) -> list[Mapping[str, Any]]:
        return rows(await self._ask("orders", "OrdersPending"), "orders")

    async def _ask(self, module: str, request: str, **params: Any) -> Any:
        try:
            return await self._client.ask(module, request, self._account, **params)
        except NoSuchOrder:
            raise
        except VenueRefused as error:
            # A question that is refused leaves us as wise as one without an answer.
            raise VenueUncertain(str(error)) from error

    def _name(self, symbol: str) -> str:
        name = self._client.names.get(symbol)
        if name is None:
            raise VenueRefused(f"{symbol} is not a symbol of this account: not sent")
        return name
