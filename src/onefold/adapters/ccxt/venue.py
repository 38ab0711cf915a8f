"""Orders to an exchange, and what it says of them.

An exchange names orders by its own ids and trades by the order's; we name orders by ours. So each
order's two names are remembered where they are heard together, and asked for where they are not:
a trade whose order nobody can name would be a trade that is booked to nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

from onefold.adapters.ccxt.config import CcxtConfig
from onefold.adapters.ccxt.http import Client, is_missing
from onefold.adapters.ccxt.parse import (
    FUTURES,
    MS_NS,
    SPOT,
    UNPROVEN,
    balance_report,
    condition_state,
    income_ms,
    order_report,
    order_request,
    payment_report,
    position_report,
    trade_event,
    trade_report,
    triggered_id,
)
from onefold.adapters.ccxt.stream import Ear, reading
from onefold.adapters.recent import Recent
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

T = TypeVar("T")

PAGE = 1_000
"""The most trades, or payments, that one question may ask for."""

LATE_NS = 60 * 10**9
"""How much later than one that happened after it a trade may be told when asked for."""

WEEK_MS = 7 * 86_400_000
REACH_MS = 180 * 86_400_000
"""Binance's futures answer for one week at a time and for half a year back."""

INCOME_REACH_MS = 89 * 86_400_000
"""How far back they tell what was paid: three months, of which the shortest have as many days."""


class CcxtVenue:
    """One account at an exchange; `open` before use."""

    def __init__(self, config: CcxtConfig, instruments: Mapping[str, Instrument]) -> None:
        """Take the instruments to trade; raises `ConfigError` without keys."""
        if not config.api_key.get_secret_value() or not config.api_secret.get_secret_value():
            raise ConfigError(f"an account at {config.exchange} needs api_key and api_secret")
        self._config = config
        self._symbols = list(instruments)
        self._client = Client(config, instruments)
        self._exchange = self._client.exchange
        self._stops = self._client.proven and self._client.futures
        if self._client.proven:
            self.abilities = FUTURES if self._client.futures else SPOT
        else:
            self.abilities = UNPROVEN
        self._ear = Ear(self._client) if self._client.streams else None
        self._names: Recent[str, str] = Recent()
        self._sent: Recent[str, None] = Recent()
        # Our orders that may still fill, with their symbols, and which of them are stops.
        self._open: dict[str, str] = {}
        self._conditions: set[str] = set()

    async def open(self) -> None:
        """Find the symbols and log in; raises `ConfigError`, `VenueUncertain`."""
        await self._client.open()
        if not self._client.futures:
            self._each_currency_once()
        try:
            await self._client.read(self._exchange.fetch_balance)
        except VenueRefused as error:
            raise ConfigError(f"{self._config.exchange} refuses this account: {error}") from error

    async def close(self) -> None:
        """Let go of all connections; orders stay."""
        await self._client.close()

    async def submit(self, ticket: Ticket, look: Callable[[], None]) -> OrderReport:
        """Send an order, once, after a last `look`. Raises `VenueRefused`, `VenueUncertain`."""
        symbol, size = ticket.symbol, self._client.contract_size(ticket.symbol)
        request = order_request(ticket, self.abilities, size)
        amount = self._client.on_grid(symbol, request.amount, "amount")
        price = request.price and self._client.on_grid(symbol, request.price, "price")
        params = request.params
        if request.trigger is not None:
            trigger = self._client.on_grid(symbol, request.trigger, "price")
            params = {**params, "triggerPrice": trigger}
            self._conditions.add(ticket.client_id)
        self._sent[ticket.client_id] = None
        self._open[ticket.client_id] = symbol

        async def send() -> OrderReport:
            look()
            order = await self._exchange.create_order(
                self._client.theirs(symbol), request.type, request.side, amount, price, params
            )
            # Inside the call, because an answer that cannot be read leaves us uncertain.
            return self._report(order, ticket.client_id)

        try:
            return await self._client.act(send)
        except VenueRefused:
            self._over(ticket.client_id)
            raise

    async def cancel(self, client_id: str, symbol: str) -> None:
        """Ask to cancel an order; raises `VenueRefused`, `VenueUncertain`."""
        theirs = self._client.theirs(symbol)
        if not self._client.proven:
            venue_id = await self._venue_id(client_id, symbol)
            await self._client.act(
                lambda: self._exchange.cancel_order(venue_id, theirs), urgent=True
            )
            return
        ways: list[dict[str, Any]] = [{"clientOrderId": client_id}]
        if self._stops:
            # The stop first, where it may be one: it could trigger between the two.
            ways.insert(0 if client_id in self._conditions else 1, {**ways[0], "trigger": True})
        for way in ways:
            call = partial(_or_none, self._exchange.cancel_order, "", theirs, way)
            if await self._client.act(call, urgent=True) is not None:
                return
        raise VenueRefused(f"{self._config.exchange} has no working order {client_id!r}")

    async def find(self, client_id: str, symbol: str) -> OrderReport | None:
        """Return what the exchange knows of an order; raises `VenueUncertain`."""
        if not self._client.proven:
            return await self._find_in_lists(client_id, symbol)
        theirs, way = self._client.theirs(symbol), {"clientOrderId": client_id}
        order = await self._ask(partial(_or_none, self._exchange.fetch_order, "", theirs, way))
        if order is None and self._stops:
            order = await self._find_stop(client_id, theirs)
        return None if order is None else self._report(order, client_id)

    async def working(self) -> list[OrderReport]:
        """Return all orders that may still fill; raises `VenueUncertain`."""
        orders = await self._ask(self._exchange.fetch_open_orders)
        if self._stops:
            orders += await self._ask(
                lambda: self._exchange.fetch_open_orders(params={"trigger": True})
            )
        return [self._report(order) for order in orders]

    async def trades(self, since_ts: int) -> list[TradeReport]:
        """Return the trades of our symbols from `since_ts` on, the oldest first.

        Raises `VenueUncertain`.
        """
        now_ms = await self.time_ns() // MS_NS
        found: list[TradeReport] = []
        for symbol in self._symbols:
            trades = await self._trades_of(symbol, since_ts // MS_NS, now_ms)
            found += [await self._trade(trade) for trade in trades]
        return sorted((t for t in found if t.ts >= since_ts), key=lambda trade: trade.ts)

    async def payments(self, since_ts: int) -> list[PaymentReport]:
        """Return what the account paid and received from `since_ts` on other than by trades.

        The oldest first, whatever symbol it was for, and of three months at most; nothing where
        it is not proven that the exchange tells. Raises `VenueUncertain`.
        """
        if not self.abilities.payments:
            return []
        now_ms = await self.time_ns() // MS_NS
        since = max(since_ts // MS_NS, now_ms - INCOME_REACH_MS)
        found: dict[str, PaymentReport] = {}
        while since <= now_ms:
            until = min(since + WEEK_MS - 1, now_ms)
            page = await self._income(since, until)
            found.update((told.payment_id, told) for _, told in page if told is not None)
            if len(page) < PAGE:
                since = until + 1
                continue
            last = max(ms for ms, _ in page)
            if last <= since:
                raise VenueUncertain(f"{PAGE} payments or more at one time: there may be others")
            since = last
        return sorted(found.values(), key=lambda payment: payment.ts)

    async def positions(self) -> list[PositionReport]:
        """Return what is held of our symbols, leaving out nothing but zeros.

        On a spot market that is the balance of the currency that is bought, whoever bought it.
        """
        if not self._client.futures:
            balance = await self._ask(self._exchange.fetch_balance)
            bases = {s: self._client.markets[s]["base"] for s in self._symbols}
            reports = [balance_report(balance, base, s) for s, base in bases.items()]
        else:
            theirs = [self._client.theirs(s) for s in self._symbols]
            found = await self._ask(lambda: self._exchange.fetch_positions(theirs))
            reports = [
                position_report(
                    [p for p in found if p["symbol"] == self._client.theirs(s)],
                    s,
                    self._client.contract_size(s),
                )
                for s in self._symbols
            ]
        return [report for report in reports if report is not None]

    async def time_ns(self) -> int:
        """Return the exchange's clock; raises `VenueUncertain`."""
        return await self._ask_anything(self._client.time_ns)

    async def reports(self) -> AsyncIterator[Report]:
        """Yield what happens to orders from now on.

        Ends with `VenueUncertain` when the connection is lost; calling it again reconnects.
        """
        if self._ear is None:
            async for report in self._polled():
                yield report
            return
        async with aclosing(self._ear.hear(self._subscribe, self._config.poll_s)) as stream:
            async for messages in stream:
                for message in messages:
                    with reading(self._config.exchange):
                        told = await self._told(message)
                    for report in told:
                        yield report

    async def _subscribe(self) -> None:
        # By itself, because an exchange that does not answer a login would be waited for for ever.
        async with asyncio.timeout(self._config.deadline_s):
            await self._exchange.authenticate()
        await self._exchange.watch_orders()

    async def _told(self, message: Mapping[str, Any]) -> list[Report]:
        """Return what a message of the stream says: a trade, if it is one, and the order."""
        inner = message.get("o")
        event = {"T": message.get("T"), **inner} if isinstance(inner, dict) else message
        order = self._exchange.parse_ws_order(event)
        client_id = await self._named(order["id"], order["symbol"], order["clientOrderId"] or "")
        report = self._report(order, client_id)
        traded = trade_event(event)
        if traded is None:
            return [report]
        return [await self._trade(self._exchange.parse_ws_trade(traded)), report]

    async def arm(self, timeout_s: float) -> None:
        """Let the exchange cancel all orders of our symbols unless called again in time.

        0 disarms. Raises `VenueRefused` where the exchange has no such thing, `VenueUncertain`.
        """
        if not self.abilities.dead_man:
            raise VenueRefused(f"{self._config.exchange} cannot cancel all orders by itself")
        for symbol in self._symbols:
            request = {
                "symbol": self._client.markets[symbol]["id"],
                "countdownTime": int(timeout_s * 1_000),
            }
            await self._client.act(
                partial(self._exchange.fapiPrivatePostCountdownCancelAll, request),
                urgent=True,
            )

    # --- names -----------------------------------------------------------------------------------

    def _report(self, order: Mapping[str, Any], client_id: str | None = None) -> OrderReport:
        symbol = self._client.ours(str(order.get("symbol")))
        known = client_id or self._names.get(str(order["id"]))
        report = order_report(order, symbol, self._size(symbol), known)
        if report.client_id:
            for venue_id in filter(None, (report.venue_id, triggered_id(order))):
                self._names[venue_id] = report.client_id
        if report.status != "working":
            self._over(report.client_id)
        elif report.client_id:
            self._open[report.client_id] = symbol
            if condition_state(order):
                self._conditions.add(report.client_id)
        return report

    def _over(self, client_id: str) -> None:
        self._open.pop(client_id, None)
        self._conditions.discard(client_id)

    async def _trade(self, trade: Mapping[str, Any]) -> TradeReport:
        theirs, venue_id = str(trade["symbol"]), str(trade.get("order") or "")
        said = ""
        if venue_id and venue_id not in self._names:
            call = partial(_or_none, self._exchange.fetch_order, venue_id, theirs)
            said = (await self._ask(call) or {}).get("clientOrderId") or ""
        client_id = await self._named(venue_id, theirs, said)
        symbol = self._client.ours(theirs)
        return trade_report(trade, symbol, self._size(symbol), client_id)

    async def _named(self, venue_id: str, theirs: str, said: str) -> str:
        """Return our name for an order, and the one that it goes by where it is not ours."""
        if venue_id in self._names:
            return self._names[venue_id]
        if self._stops and said not in self._sent:
            # A stop that has triggered may be heard of before we know that it has.
            symbol = self._client.ours(theirs)
            for client_id in [c for c in self._conditions if self._open.get(c) == symbol]:
                await self._find_stop(client_id, theirs)
        if venue_id not in self._names:
            self._names[venue_id] = said
        return self._names[venue_id]

    def _size(self, symbol: str) -> Decimal:
        return self._client.contract_size(symbol) if symbol in self._client.markets else Decimal(1)

    def _each_currency_once(self) -> None:
        bases: dict[str, str] = {}
        for symbol in self._symbols:
            base = self._client.markets[symbol]["base"]
            if base in bases:
                raise ConfigError(
                    f"{bases[base]!r} and {symbol!r} are both {base}: a spot account cannot tell "
                    "which of them it holds; trade one of them"
                )
            bases[base] = symbol

    # --- questions -------------------------------------------------------------------------------

    async def _ask(self, make: Callable[[], Awaitable[Any]]) -> Any:
        return await self._ask_anything(lambda: self._client.read(make))

    async def _ask_anything(self, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            return await ask()
        except VenueRefused as error:
            # A question that is refused leaves us as wise as one without an answer.
            raise VenueUncertain(str(error)) from error

    async def _find_stop(self, client_id: str, theirs: str) -> Any:
        way = {"clientOrderId": client_id, "trigger": True}
        stop = await self._ask(partial(_or_none, self._exchange.fetch_order, "", theirs, way))
        if stop is None or not triggered_id(stop):
            return stop
        self._names[triggered_id(stop)] = client_id
        order = await self._ask(
            partial(_or_none, self._exchange.fetch_order, triggered_id(stop), theirs)
        )
        return order or stop

    async def _find_in_lists(self, client_id: str, symbol: str) -> OrderReport | None:
        theirs, has = self._client.theirs(symbol), self._exchange.has
        lists = [self._exchange.fetch_open_orders]
        if has.get("fetchOrders"):
            lists = [self._exchange.fetch_orders]
        elif has.get("fetchClosedOrders"):
            lists.append(self._exchange.fetch_closed_orders)
        else:
            raise VenueUncertain(f"{self._config.exchange} cannot look up orders that are done")
        for fetch in lists:
            for order in await self._ask(partial(fetch, theirs)):
                if order.get("clientOrderId") == client_id:
                    return self._report(order, client_id)
        return None

    async def _venue_id(self, client_id: str, symbol: str) -> str:
        for venue_id, name in self._names.items():
            if name == client_id and venue_id:
                return venue_id
        report = await self.find(client_id, symbol)
        if report is None:
            raise VenueRefused(f"{self._config.exchange} has no order {client_id!r}")
        return report.venue_id

    async def _trades_of(self, symbol: str, since_ms: int, now_ms: int) -> list[Any]:
        """Return the trades of a symbol, page by page and, on futures, week by week."""
        theirs, found = self._client.theirs(symbol), {}
        since = max(since_ms, now_ms - REACH_MS) if self._stops else since_ms
        while since <= now_ms:
            page = await self._ask(partial(self._exchange.fetch_my_trades, theirs, since, PAGE))
            new = {trade["id"]: trade for trade in page if trade["id"] not in found}
            found.update(new)
            if len(page) < PAGE:
                if not self._stops:
                    break
                since += WEEK_MS
            elif new:
                since = max(int(trade["timestamp"]) for trade in page)
            else:
                raise VenueUncertain(f"{theirs}: more than {PAGE} trades at one time")
        return list(found.values())

    async def _income(self, since_ms: int, until_ms: int) -> list[tuple[int, PaymentReport | None]]:
        """Return the first page of what changed the cash in a time: when, and as a payment.

        That is None for what is no payment: trades have rows among them.
        """
        request = {"startTime": since_ms, "endTime": until_ms, "limit": PAGE}
        ours = {market["id"]: symbol for symbol, market in self._client.markets.items()}

        async def ask() -> list[tuple[int, PaymentReport | None]]:
            page = await self._exchange.fapiPrivateGetIncome(request)
            # Inside the call, because an answer that cannot be read is none.
            names = [ours.get(row["symbol"], row["symbol"]) for row in page]
            return [
                (income_ms(row), payment_report(row, name))
                for row, name in zip(page, names, strict=True)
            ]

        return await self._ask_anything(lambda: self._client.read(ask))

    async def _polled(self) -> AsyncIterator[Report]:
        """Yield what changed between one question and the next."""
        since_ts = await self.time_ns()
        told: dict[str, OrderReport] = {r.venue_id: r for r in await self.working()}
        traded: set[str] = set()
        while True:
            await asyncio.sleep(self._config.poll_s)
            reports = await self.working()
            working = {report.client_id for report in reports}
            # Also what came and went between two questions.
            gone = [await self.find(c, s) for c, s in list(self._open.items()) if c not in working]
            for trade in await self.trades(since_ts):
                since_ts = max(since_ts, trade.ts - LATE_NS)
                if trade.trade_id not in traded:
                    traded.add(trade.trade_id)
                    yield trade
            for report in (*reports, *(one for one in gone if one is not None)):
                if told.get(report.venue_id) != report:
                    told[report.venue_id] = report
                    yield report


async def _or_none(call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Return what a call answers, None where the exchange has no such order."""
    try:
        return await call(*arguments)
    except Exception as error:
        if is_missing(error):
            return None
        raise
