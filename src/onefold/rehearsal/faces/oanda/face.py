"""The face itself: an account's REST routes and streams, under one token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from aiohttp import web

from onefold.rehearsal.books import ZERO
from onefold.rehearsal.exchange import Exchange, Refusal, VenueOrder
from onefold.rehearsal.faces.oanda.access import Access, amount, moment, refused, stamp, text, whole
from onefold.rehearsal.faces.oanda.log import CREATES, KINDS, Entry, Log, order_facts
from onefold.rehearsal.faces.oanda.markets import (
    UNITS_MAX,
    Market,
    asked_for,
    candle_rows,
    markets,
    price_row,
)
from onefold.rehearsal.faces.oanda.streams import Prices, Transactions, stream
from onefold.rehearsal.faults import On
from onefold.rehearsal.server import Channel, Handler, Server, json_response

TOKEN = "rehearsal"  # noqa: S105 - it opens nothing but a rehearsal
ACCOUNT = "101-001-1-001"
BEAT_S = 5.0
PAGE, PAGE_MAX = 100, 1_000

Params = Mapping[str, str]
Work = Callable[[Params], dict[str, Any]]

_KINDS = {theirs: ours for ours, theirs in KINDS.items()}
_IMMEDIATE = {"FOK": "ioc", "IOC": "ioc"}
_RESTING = {"GTC": "gtc", "GFD": "day", "GTD": "gtd", **_IMMEDIATE}
_STATES = {"working": "PENDING", "filled": "FILLED"}
_UNPAID = ("no_margin", "no_balance")


class Oanda:
    """OANDA, for the holder of one token with one account."""

    def __init__(self, token: str = TOKEN, account: str = ACCOUNT, beat_s: float = BEAT_S) -> None:
        self._access, self._beat_s = Access(token, account), beat_s

    def routes(self, server: Server) -> list[web.RouteDef]:
        """Return all routes. Raises `ConfigError` for an instrument that cannot be listed."""
        self._server = server
        self._markets = markets(server.exchange.instruments.values())
        self._names = {market.name: market for market in self._markets.values()}
        self._log = Log(server.exchange, self._markets, self._access.account)
        account, order = "/v3/accounts/{account}", "/orders/{order}"
        return [
            self._query("/v3/instruments/{name}/candles", self._candles),
            self._query("/v3/accounts", lambda _: {"accounts": [{"id": self._access.account}]}),
            self._query(f"{account}/summary", self._summary),
            self._query(f"{account}/instruments", self._instruments),
            self._query(f"{account}/pricing", self._pricing),
            self._query(f"{account}/pendingOrders", self._pending),
            self._query(f"{account}{order}", self._details),
            self._query(f"{account}/positions", lambda _: self._positions(everything=True)),
            self._query(f"{account}/openPositions", lambda _: self._positions(everything=False)),
            self._query(f"{account}/transactions", self._pages),
            self._query(f"{account}/transactions/idrange", self._range),
            self._query(f"{account}/transactions/sinceid", self._since),
            self._route("submit", "POST", f"{account}/orders", self._place),
            self._route("cancel", "PUT", f"{account}{order}/cancel", self._cancel),
            web.get(f"{account}/transactions/stream", self._tell_transactions),
            web.get(f"{account}/pricing/stream", self._tell_prices),
        ]

    def failed(
        self, refusal: Refusal, request: web.Request, retry_after_s: float = 0.0
    ) -> web.Response:
        """Return how OANDA says no."""
        return refused(refusal, request, self._log.last_id, retry_after_s)

    @staticmethod
    def urls(base: str) -> dict[str, str]:
        """Return the URLs to give a client, by what they are for."""
        return {"api": base, "stream": base}

    @property
    def _exchange(self) -> Exchange:
        return self._server.exchange

    def _query(self, path: str, work: Work) -> web.RouteDef:
        async def handler(request: web.Request) -> web.Response:
            return json_response(work({**request.query, **request.match_info}))

        return self._route("query", "GET", path, handler)

    def _route(self, on: On, method: str, path: str, handler: Handler) -> web.RouteDef:
        async def checked(request: web.Request) -> web.Response:
            self._access.check(request)
            return await handler(request)

        return self._server.route(self, on, method, path, checked)

    # -- orders -----------------------------------------------------------------------------------

    async def _place(self, request: web.Request) -> web.Response:
        body = await request.json()
        asked = body.get("order") if isinstance(body, dict) else None
        if not isinstance(asked, dict):
            raise Refusal("order", "invalid")
        order = self._asked(asked)
        before = self._log.place
        try:
            self._exchange.submit(
                order.client_id,
                order.symbol,
                order.side,
                order.qty,
                order.kind,
                order.price,
                order.time_in_force,
                order.expire_ts,
                order.reduce_only,
            )
        except Refusal as refusal:
            if refusal.code not in _UNPAID:
                raise
            self._log.stillborn(order)
        return json_response(self._made(before), 201)

    def _asked(self, asked: Mapping[str, Any]) -> VenueOrder:
        """Return the order that is asked for. Raises `Refusal`."""
        market = self._named(text(asked, "instrument"))
        kind = _KINDS.get(asked.get("type", "MARKET"))
        if kind is None:
            raise Refusal("order.type", "invalid")
        takes = _IMMEDIATE if kind == "market" else _RESTING
        held = takes.get(asked.get("timeInForce", "FOK" if kind == "market" else "GTC"))
        if held is None:
            raise Refusal("an order of this type does not take it", "time_in_force")
        units = amount(asked, "units")
        if abs(units) > UNITS_MAX:
            raise Refusal(f"more than {UNITS_MAX} units", "units_limit")
        now = self._exchange.now_ns
        return VenueOrder(
            venue_id=0,
            client_id=(asked.get("clientExtensions") or {}).get("id", ""),
            symbol=market.symbol,
            side=1 if units > 0 else -1,
            qty=abs(units),
            kind=kind,
            price=None if kind == "market" else amount(asked, "price"),
            time_in_force=held,
            expire_ts=moment(asked, "gtdTime", 0) or None,
            reduce_only=asked.get("positionFill") == "REDUCE_ONLY",
            created_ts=now,
            updated_ts=now,
        )

    async def _cancel(self, request: web.Request) -> web.Response:
        order = self._found(request.match_info["order"])
        before = self._log.place
        self._exchange.cancel(venue_id=order.venue_id)
        return json_response(self._made(before))

    def _made(self, before: int) -> dict[str, Any]:
        """Return an answer with the transactions that were made since."""
        made = [entry.transaction for entry in self._log.entries(before)]
        names = {"ORDER_FILL": "orderFillTransaction", "ORDER_CANCEL": "orderCancelTransaction"}
        names |= dict.fromkeys(CREATES, "orderCreateTransaction")
        return {
            **{names[one["type"]]: one for one in made},
            "relatedTransactionIDs": [one["id"] for one in made],
            **self._last(),
        }

    def _found(self, specifier: str) -> VenueOrder:
        """Return an order by its number, or a pending one by `@` and its name. Raises `Refusal`."""
        if specifier.startswith("@"):
            order = self._exchange.order(client_id=specifier[1:])
            order = order if order is not None and order.status == "working" else None
        else:
            order = self._log.order(int(specifier)) if specifier.isdecimal() else None
        if order is None:
            raise Refusal("there is no such order", "unknown_order")
        return order

    def _details(self, params: Params) -> dict[str, Any]:
        return {"order": self._order(self._found(params["order"])), **self._last()}

    def _pending(self, _: Params) -> dict[str, Any]:
        return {"orders": [self._order(o) for o in self._exchange.working()[::-1]], **self._last()}

    def _order(self, order: VenueOrder) -> dict[str, Any]:
        return {
            **order_facts(order, self._markets[order.symbol]),
            "createTime": stamp(order.created_ts),
            "type": KINDS[order.kind],
            "state": _STATES.get(order.status, "CANCELLED"),
        }

    # -- the account ------------------------------------------------------------------------------

    def _last(self) -> dict[str, Any]:
        return {"lastTransactionID": self._log.last_id}

    def _summary(self, _: Params) -> dict[str, Any]:
        exchange = self._exchange
        equity, used = exchange.equity(), exchange.books.margin(exchange.marks())
        held = [qty for qty in exchange.positions().values() if qty]
        account = {
            "id": self._access.account,
            "currency": exchange.currency,
            "balance": f"{exchange.books.equity({}):f}",
            "NAV": f"{equity:f}",
            "unrealizedPL": f"{equity - exchange.books.equity({}):f}",
            "marginUsed": f"{used:f}",
            "marginAvailable": f"{max(equity - used, ZERO):f}",
            "openTradeCount": len(held),
            "openPositionCount": len(held),
            "pendingOrderCount": len(exchange.working()),
            "hedgingEnabled": False,
            **self._last(),
        }
        return {"account": account, **self._last()}

    def _instruments(self, params: Params) -> dict[str, Any]:
        wanted = asked_for(self._names, params) if "instruments" in params else []
        listed = wanted or list(self._names.values())
        return {"instruments": [market.listed() for market in listed], **self._last()}

    def _positions(self, *, everything: bool) -> dict[str, Any]:
        held = self._exchange.positions()
        rows = [
            self._position(market, held[symbol])
            for symbol, market in self._markets.items()
            if held[symbol] or (everything and self._exchange.trades(0, symbol))
        ]
        return {"positions": rows, **self._last()}

    def _position(self, market: Market, qty: Decimal) -> dict[str, Any]:
        def side(units: Decimal) -> dict[str, Any]:
            average = self._exchange.average(market.symbol) if units else None
            paid = {} if average is None else {"averagePrice": market.price(average)}
            return {"units": f"{units:.{market.units_places}f}", **paid}

        long, short = side(max(qty, ZERO)), side(min(qty, ZERO))
        return {"instrument": market.name, "long": long, "short": short}

    # -- transactions -----------------------------------------------------------------------------

    def _pages(self, params: Params) -> dict[str, Any]:
        since, until = moment(params, "from", 0), moment(params, "to", 2**62)
        size = whole(params, "pageSize", PAGE, PAGE_MAX)
        if since > self._server.now_ns():
            raise Refusal("from", "invalid")
        wanted = _of_types(self._log.entries(), params)
        ids = [one.transaction["id"] for one in wanted if since <= one.ts <= until]
        chunks = [ids[n : n + size] for n in range(0, len(ids), size)]
        base = f"{self._server.url}/v3/accounts/{self._access.account}/transactions/idrange"
        kinds = f"&type={params['type'].replace(',', '%2C')}" if "type" in params else ""
        return {
            "from": stamp(since),
            "to": stamp(min(until, self._server.now_ns())),
            "pageSize": size,
            "count": len(ids),
            "pages": [f"{base}?from={chunk[0]}&to={chunk[-1]}{kinds}" for chunk in chunks],
            **self._last(),
        }

    def _range(self, params: Params) -> dict[str, Any]:
        first = self._log.place_of(text(params, "from"))
        last = self._log.place_of(text(params, "to"))
        return self._rows(self._log.entries(first, last + 1), params)

    def _since(self, params: Params) -> dict[str, Any]:
        return self._rows(self._log.entries(self._log.place_of(text(params, "id")) + 1), params)

    def _rows(self, entries: Iterable[Entry], params: Params) -> dict[str, Any]:
        rows = [entry.transaction for entry in _of_types(entries, params)]
        return {"transactions": rows, **self._last()}

    # -- prices -----------------------------------------------------------------------------------

    def _named(self, name: str) -> Market:
        if name not in self._names:
            raise Refusal(name, "unknown_symbol")
        return self._names[name]

    def _candles(self, params: Params) -> dict[str, Any]:
        return candle_rows(self._exchange, self._named(params["name"]), params)

    def _pricing(self, params: Params) -> dict[str, Any]:
        marks, now = self._exchange.marks(), self._exchange.now_ns
        rows = [
            price_row(market, marks[market.symbol], now)
            for market in asked_for(self._names, params)
            if market.symbol in marks
        ]
        return {"prices": rows, "time": stamp(self._server.now_ns())}

    async def _tell_transactions(self, request: web.Request) -> web.StreamResponse:
        return await self._stream(
            request, lambda channel: Transactions(channel, self._log, self._server)
        )

    async def _tell_prices(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = asked_for(self._names, request.query)
        except Refusal as refusal:
            return self.failed(refusal, request)
        return await self._stream(request, lambda channel: Prices(channel, wanted, self._server))

    async def _stream(
        self, request: web.Request, make: Callable[[Channel], Transactions | Prices]
    ) -> web.StreamResponse:
        try:
            self._access.check(request)
        except Refusal as refusal:
            return self.failed(refusal, request)
        return await stream(request, self._server, self._beat_s, make)


def _of_types(entries: Iterable[Entry], params: Params) -> list[Entry]:
    wanted = set(params["type"].split(",")) if "type" in params else None
    return [one for one in entries if wanted is None or one.transaction["type"] in wanted]
