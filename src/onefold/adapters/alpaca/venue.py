"""Orders to Alpaca, and what it says of them.

Alpaca finds an order by our name, but cancels it and tells its trades by its own. So each order's
two names are remembered where they are heard together, and asked for where they are not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from onefold.adapters.alpaca.config import AlpacaConfig
from onefold.adapters.alpaca.http import Client, Missing
from onefold.adapters.alpaca.parse import (
    abilities,
    activity_report,
    order_report,
    order_request,
    payment_report,
    position_report,
    text_of,
    ts_ns,
    update_reports,
)
from onefold.adapters.alpaca.stream import Streams
from onefold.adapters.recent import Recent
from onefold.domain.calendars import DAY_NS
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.venue import (
    OrderReport,
    PaymentReport,
    PositionReport,
    Report,
    Ticket,
    TradeReport,
)

ORDERS_PAGE = 500
ACTIVITIES_PAGE = 100
"""The most that one answer holds."""

LATE_NS = 3 * DAY_NS
"""How long before a payment was entered its day may be, over a weekend."""

_BARS_TO_TRADING = ("account_blocked", "trading_blocked", "trade_suspended_by_user")


class AlpacaVenue:
    """One account at Alpaca; `open` before use."""

    def __init__(self, config: AlpacaConfig, instruments: Mapping[str, Instrument]) -> None:
        """Take the instruments to trade; raises `ConfigError` without keys, `MissingExtra`."""
        self.abilities = abilities(instruments.values())
        self._config = config
        self._client = Client(config, instruments)
        self._trading = self._client.trading
        self._names: Recent[str, str] = Recent()
        self._ids: Recent[str, str] = Recent()
        self._money = ""

    async def open(self) -> None:
        """Try the keys and look our symbols up; raises `ConfigError`, `VenueUncertain`."""
        account = await self._client.allowed(self._trading.get_account, "Alpaca's account") or {}
        stopped = [name for name in _BARS_TO_TRADING if account.get(name)]
        if account.get("status") != "ACTIVE" or stopped:
            why = ", ".join([str(account.get("status")), *stopped])
            raise ConfigError(f"Alpaca's account cannot trade: {why}")
        self._money = str(account.get("currency") or "USD")
        await self._client.open()

    async def close(self) -> None:
        """Let go of all connections; orders stay."""
        self._client.close()

    async def submit(self, ticket: Ticket, look: Callable[[], None]) -> OrderReport:
        """Send an order, once, after a last `look`. Raises `VenueRefused`, `VenueUncertain`."""
        facts = self._client.assets.get(ticket.symbol)
        if facts is None:
            raise VenueRefused(f"{ticket.symbol} is not a symbol of this account: not sent")
        request = order_request(ticket, facts, self.abilities)

        def send() -> OrderReport:
            look()
            # Inside the call, because an answer that cannot be read leaves us uncertain.
            report = self._report(self._trading.post("/orders", request))
            if report.client_id != ticket.client_id:
                raise VenueUncertain(f"Alpaca answers about {report.client_id!r}")
            return report

        return await self._client.act(send)

    async def cancel(self, client_id: str, symbol: str) -> None:  # noqa: ARG002 - names suffice
        """Ask to cancel an order; raises `VenueRefused`, `VenueUncertain`."""
        if client_id not in self._ids:
            # Urgent as well: it must go through whatever happened to other calls.
            await self._client.act(lambda: self._found(client_id), urgent=True)
        venue_id = self._ids[client_id]
        await self._client.act(lambda: self._trading.cancel_order_by_id(venue_id), urgent=True)

    async def find(
        self,
        client_id: str,
        symbol: str,  # noqa: ARG002 - a name is one of all symbols
    ) -> OrderReport | None:
        """Return what Alpaca knows of an order; raises `VenueUncertain`."""
        try:
            return await self._client.ask(lambda: self._found(client_id))
        except Missing:
            return None

    async def working(self) -> list[OrderReport]:
        """Return all orders of the account that may still fill; raises `VenueUncertain`."""
        found: dict[str, OrderReport] = {}
        query = {"status": "open", "direction": "asc", "limit": ORDERS_PAGE}
        while True:
            page = await self._all("/orders", query)
            reports = [self._report(order) for order in page]
            new = [report for report in reports if report.venue_id not in found]
            found |= {report.venue_id: report for report in new}
            if len(page) < ORDERS_PAGE:
                return [report for report in found.values() if report.status == "working"]
            if not new:
                raise VenueUncertain(f"more than {ORDERS_PAGE} orders of one moment")
            query["after"] = _before(str(page[-1].get("submitted_at")))

    async def trades(self, since_ts: int) -> list[TradeReport]:
        """Return the trades of our symbols from `since_ts` on, the oldest first.

        Without fees: Alpaca takes none for shares but those of the authorities, which it books at
        the end of the day, and takes those for coins out of what was bought or paid.
        """
        found: list[TradeReport] = []
        # What is asked for is what came after a time, and trades of the time itself are wanted.
        after = text_of(max(0, since_ts - 1))
        for activity in await self._activities("/account/activities/FILL", {"after": after}):
            symbol = self._client.ours(str(activity.get("symbol")))
            if symbol in self._client.assets:
                name = await self._name(str(activity.get("order_id")))
                found.append(activity_report(activity, symbol, self._currency(symbol), name))
        # Trades of one millisecond come in any order.
        return sorted((t for t in found if t.ts >= since_ts), key=lambda trade: trade.ts)

    async def payments(self, since_ts: int) -> list[PaymentReport]:
        """Return dividends, interest and fees from `since_ts` on, the oldest first.

        One of which only the day is known is told when that day is over, by Alpaca's clock.
        Raises `VenueUncertain`.
        """
        # No types are named: one that Alpaca knows no more would have all of them refused.
        query = {
            "category": "non_trade_activity",
            # It is not documented whether the day counts here or when the payment was entered.
            "after": text_of(max(0, since_ts - LATE_NS)),
        }
        found: list[PaymentReport] = []
        for activity in await self._activities("/account/activities", query):
            symbol = self._client.ours(str(activity.get("symbol") or ""))
            report = payment_report(activity, symbol, self._money)
            found += [] if report is None else [report]
        until_ts = await self.time_ns() if found else 0
        told = [report for report in found if since_ts <= report.ts <= until_ts]
        # Their ids, by which they are listed, say nothing of the order within a day.
        return sorted(told, key=lambda report: report.ts)

    async def positions(self) -> list[PositionReport]:
        """Return what is held of our symbols; nothing is left out but zeros."""
        found = await self._all("/positions", {})
        named = [(self._client.ours(str(one.get("symbol"))), one) for one in found]
        return [position_report(one, s) for s, one in named if s in self._client.assets]

    async def time_ns(self) -> int:
        """Return Alpaca's clock; raises `VenueUncertain`."""
        return await self._client.time_ns()

    async def reports(self) -> AsyncIterator[Report]:
        """Yield what happens to orders from now on.

        Ends with `VenueUncertain` when the connection is lost; calling it again reconnects.
        """
        streams = Streams(self._config)
        streams.account()
        async with aclosing(streams.messages()) as messages:
            async for message in messages:
                if message.get("stream") != "trade_updates":
                    continue
                update = message.get("data") or {}
                symbol = self._client.ours(str((update.get("order") or {}).get("symbol")))
                for report in update_reports(update, symbol, self._currency(symbol)):
                    self._remember(report)
                    yield report

    async def arm(self, timeout_s: float) -> None:  # noqa: ARG002 - there is none for any time
        """Raise `VenueRefused`: Alpaca cannot cancel orders by itself."""
        raise VenueRefused("Alpaca has no switch that cancels all orders by itself")

    # --- names -----------------------------------------------------------------------------------

    def _found(self, client_id: str) -> OrderReport:
        return self._report(self._trading.get_order_by_client_id(client_id))

    def _report(self, order: Any) -> OrderReport:
        symbol = order.get("symbol") if isinstance(order, dict) else None
        report = order_report(order, self._client.ours(str(symbol)))
        self._remember(report)
        return report

    def _remember(self, report: Report) -> None:
        self._names[report.venue_id] = report.client_id
        self._ids[report.client_id] = report.venue_id

    def _currency(self, symbol: str) -> str:
        one = self._client.instruments.get(symbol)
        return "" if one is None else one.currency

    async def _name(self, venue_id: str) -> str:
        if venue_id not in self._names:
            await self._client.ask(lambda: self._report(self._trading.get_order_by_id(venue_id)))
        return self._names[venue_id]

    async def _activities(self, path: str, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """Return all activities of a query, page by page, until there are no more."""
        found: dict[str, Mapping[str, Any]] = {}
        paging: dict[str, Any] = {"direction": "asc", "page_size": ACTIVITIES_PAGE}
        while page := await self._all(path, {**query, **paging}):
            new = {str(activity.get("id") or ""): activity for activity in page}
            if "" in new:
                raise VenueUncertain(f"Alpaca answers {path} with an activity without an id")
            if new.keys() <= found.keys():
                raise VenueUncertain(f"Alpaca answers {path} with the same page again")
            found |= new
            paging["page_token"] = page[-1].get("id")
        return list(found.values())

    async def _all(self, path: str, query: Mapping[str, Any]) -> list[Any]:
        answer = await self._client.ask(lambda: self._trading.get(path, dict(query)))
        if not isinstance(answer, list):
            raise VenueUncertain(f"Alpaca answers {path} with no list")
        return answer


def _before(moment: str) -> str:
    """Return a time just before one of Alpaca's: what was submitted then is asked for again."""
    return text_of(ts_ns(moment) - 1)
