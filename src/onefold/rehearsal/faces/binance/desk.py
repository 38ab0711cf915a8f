"""What spot and futures do alike: find a market, an order, trades, and serve candles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from onefold.rehearsal.exchange import Exchange, Refusal, VenueOrder, VenueTrade
from onefold.rehearsal.faces.binance.access import Access, amount, client_id_of, need, whole
from onefold.rehearsal.faces.binance.markets import INTERVALS_NS, MS_NS, Market, candles
from onefold.rehearsal.faults import On
from onefold.rehearsal.server import Face, Handler, Server, json_response

Params = Mapping[str, str]
Work = Callable[[Params], Any]

_TIMES_IN_FORCE = {"GTC": "gtc", "IOC": "ioc", "GTD": "gtd"}
_SIDES = {"BUY": 1, "SELL": -1}
LIMIT_ROWS = 500
LIMIT_ROWS_MAX = 1_000


class Desk:
    """One of the two venues behind a face."""

    is_futures = False

    def __init__(
        self, face: Face, server: Server, access: Access, markets: Iterable[Market]
    ) -> None:
        self.face, self.server, self.access = face, server, access
        self.markets = [one for one in markets if one.is_future == self.is_futures]
        self._by_id = {one.id: one for one in self.markets}
        self._by_symbol = {one.symbol: one for one in self.markets}

    @property
    def exchange(self) -> Exchange:
        """Return the exchange behind it."""
        return self.server.exchange

    # -- routes -----------------------------------------------------------------------------------

    def public(self, path: str, work: Work) -> web.RouteDef:
        """Return a route that anybody may ask."""

        async def handler(request: web.Request) -> web.Response:
            return json_response(work(dict(request.query)))

        return self.server.route(self.face, "query", "GET", path, handler)

    def signed(self, on: On, method: str, path: str, work: Work) -> web.RouteDef:
        """Return a route for the account."""

        async def handler(request: web.Request) -> web.Response:
            return json_response(work(await self.access.signed(request)))

        return self.server.route(self.face, on, method, path, handler)

    def keyed(self, method: str, path: str, work: Work) -> web.RouteDef:
        """Return a route that needs the key, but no signature."""

        async def handler(request: web.Request) -> web.Response:
            self.access.check_key(request.headers.get("X-MBX-APIKEY"))
            return json_response(work(dict(request.query)))

        route: Handler = handler
        return self.server.route(self.face, "query", method, path, route)

    # -- what the parameters name -----------------------------------------------------------------

    def market(self, params: Params) -> Market:
        """Return the market that is asked for. Raises `Refusal`."""
        found = self._by_id.get(need(params, "symbol"))
        if found is None:
            raise Refusal(params["symbol"], "unknown_symbol")
        return found

    def market_of(self, symbol: str) -> Market | None:
        """Return the market of one of our symbols, None when it is not of this venue."""
        return self._by_symbol.get(symbol)

    def listed(self, params: Params) -> list[Market]:
        """Return the market that is asked for, or all."""
        return [self.market(params)] if params.get("symbol") else self.markets

    def found(
        self, params: Params, by_number: str = "orderId", by_name: str = "origClientOrderId"
    ) -> VenueOrder:
        """Return the order that is asked for, by number or by client id. Raises `Refusal`."""
        market = self.market(params)
        if params.get(by_number):
            order = self.exchange.order(venue_id=whole(params, by_number, 0))
        else:
            order = self.exchange.order(client_id=need(params, by_name))
        if order is None or order.symbol != market.symbol:
            raise Refusal("there is no such order", "unknown_order")
        return order

    # -- what both do -----------------------------------------------------------------------------

    def time(self, _: Params) -> dict[str, int]:
        """Return the venue's time."""
        return {"serverTime": self.server.now_ns() // MS_NS}

    def klines(self, params: Params) -> list[list[Any]]:
        """Return candles, of which the last is still open."""
        market, interval = self.market(params), need(params, "interval")
        if interval not in INTERVALS_NS:
            raise Refusal(interval, "interval")
        first, last = period(params)
        rows = [
            candle.row()
            for candle in candles(self.exchange, market.symbol, INTERVALS_NS[interval])
            if first <= candle.ts_open // MS_NS <= last
        ]
        return limited(rows, params)

    def place(self, params: Params, kind: str, price_name: str, name: str) -> VenueOrder:
        """Submit an order. Raises `Refusal`."""
        market = self.market(params)
        if params.get("side") not in _SIDES:
            raise Refusal(str(params.get("side")), "side")
        held_until = _TIMES_IN_FORCE.get(params.get("timeInForce", "GTC"))
        if held_until is None or (held_until == "gtd" and not self.is_futures):
            raise Refusal(params["timeInForce"], "time_in_force")
        good_till = whole(params, "goodTillDate", 0) * MS_NS
        return self.exchange.submit(
            client_id_of(params, name, len(self.exchange.orders()) + 1),
            market.symbol,
            _SIDES[params["side"]],
            amount(params, "quantity"),
            kind,
            None if kind == "market" else amount(params, price_name),
            held_until,
            good_till if held_until == "gtd" else None,
            params.get("reduceOnly", "false").lower() == "true",
        )

    def all_orders(self, params: Params) -> list[VenueOrder]:
        """Return the orders of a market, the oldest first, from the number or the time given."""
        market, (first, last) = self.market(params), period(params)
        number = whole(params, "orderId", 0)
        rows = [
            order
            for order in self.exchange.orders(market.symbol)
            if order.venue_id >= number and first <= order.created_ts // MS_NS <= last
        ]
        return limited(rows, params, from_start="orderId" in params)

    def own_trades(self, params: Params) -> list[VenueTrade]:
        """Return the trades of a market, the oldest first, from the number or the time given."""
        market, (first, last) = self.market(params), period(params)
        number, order = whole(params, "fromId", 0), params.get("orderId")
        rows = [
            trade
            for trade in self.exchange.trades(first * MS_NS, market.symbol)
            if trade.trade_id >= number
            and first <= trade.ts // MS_NS <= last
            and order in (None, str(trade.venue_id))
        ]
        return limited(rows, params, from_start="fromId" in params)

    def is_maker(self, trade: VenueTrade) -> bool:
        """Return whether a trade was made by an order that rested."""
        order = self.exchange.order(venue_id=trade.venue_id)
        return order is not None and order.kind == "limit"


def period(params: Params) -> tuple[int, int]:
    """Return the first and the last moment that are asked for, in ms."""
    return whole(params, "startTime", 0), whole(params, "endTime", 2**62)


def limited(
    rows: list[Any], params: Params, otherwise: int = LIMIT_ROWS, *, from_start: bool = False
) -> list[Any]:
    """Return as many rows as one answer has: the first of a period, otherwise the last."""
    most = min(max(whole(params, "limit", otherwise), 1), LIMIT_ROWS_MAX)
    return rows[:most] if from_start or "startTime" in params else rows[-most:]
