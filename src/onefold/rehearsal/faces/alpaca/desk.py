"""Alpaca's trading API: `/v2`, with the account's keys in two headers."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from aiohttp import web

from onefold.rehearsal.books import ZERO
from onefold.rehearsal.exchange import Exchange, Refusal, VenueOrder
from onefold.rehearsal.faces.alpaca.shapes import (
    SECOND_NS,
    Market,
    account_shape,
    activity_shape,
    asset_shape,
    markets,
    number_of,
    order_shape,
    payment_shape,
    position_shape,
    stamp,
)
from onefold.rehearsal.faults import On
from onefold.rehearsal.server import Face, Server, json_response

Answer = tuple[int, Any]
Work = Callable[[web.Request, Mapping[str, Any]], Answer]

_KINDS = {False: {"market", "limit", "stop"}, True: {"market", "limit"}}
_TIMES_IN_FORCE = {False: {"day", "gtc", "ioc"}, True: {"gtc", "ioc"}}
"""By whether it is a coin. What the exchange behind has not is left out: opg, cls, fok."""

ORDERS_MAX = 500
ACTIVITIES_MAX = 100
NAME_MAX = 128

_FAILURES: dict[str, tuple[int, int, str]] = {
    "no_key": (401, 40110000, "request is not authorized"),
    "session_expired": (401, 40110000, "request is not authorized"),
    "too_many": (429, 42910000, "rate limit exceeded"),
    "failed": (500, 50010000, "internal server error occurred"),
    "unknown_order": (404, 40410000, "order not found"),
    "unknown_asset": (404, 40410000, "asset not found for {}"),
    "unknown_symbol": (422, 42210000, 'asset "{}" not found'),
    "not_cancelable": (422, 42210000, 'order is already in "{}" state'),
    "duplicate_client_id": (422, 40010001, "client_order_id must be unique"),
    "missing": (422, 40010001, "{} is required"),
    "bad_order": (422, 42210000, "{}"),
    "lot_size": (422, 42210000, "{}"),
    "min_qty": (422, 42210000, "{}"),
    "tick_size": (422, 42210000, "sub-penny increment does not fulfill minimum pricing criteria"),
    "no_balance": (403, 40310000, "insufficient balance: {}"),
    "no_margin": (403, 40310000, "insufficient buying power"),
}


def refused(refusal: Refusal, retry_after_s: float) -> web.Response:
    """Return the answer with which Alpaca refuses."""
    status, code, message = _FAILURES.get(refusal.code, (403, 40310000, "{}"))
    headers = {"Retry_After": f"{retry_after_s:g}"} if status == 429 else {}
    message = message.replace("{}", refusal.reason)
    return json_response({"code": code, "message": message}, status, **headers)


class Access:
    """The one pair of keys of the account."""

    def __init__(self, key: str, secret: str) -> None:
        self._pair = f"{key}:{secret}".encode()

    def fits(self, key: object, secret: object) -> bool:
        """Return whether a pair of keys is the account's."""
        return hmac.compare_digest(f"{key}:{secret}".encode(), self._pair)

    def check(self, request: web.Request) -> None:
        """Raise `Refusal` for a request without the account's keys."""
        headers = request.headers
        if not self.fits(headers.get("APCA-API-KEY-ID"), headers.get("APCA-API-SECRET-KEY")):
            raise Refusal("the keys are refused", "no_key")


class Desk:
    """Orders, trades and positions of the account."""

    def __init__(self, face: Face, server: Server, access: Access) -> None:
        """List the exchange's instruments. Raises `ConfigError` for what Alpaca has not."""
        self.server, self.access, self._face = server, access, face
        self.markets = markets(server.exchange.instruments.values())
        self._by_name = {name: one for one in self.markets for name in (one.name, one.plain)}
        self._by_symbol = {one.symbol: one for one in self.markets}

    @property
    def exchange(self) -> Exchange:
        """Return the exchange behind it."""
        return self.server.exchange

    def market_of(self, symbol: str) -> Market:
        """Return the market of one of the exchange's symbols."""
        return self._by_symbol[symbol]

    def named(self, name: str, code: str = "unknown_symbol") -> Market:
        """Return a market by Alpaca's name for it. Raises `Refusal`."""
        if name not in self._by_name:
            raise Refusal(name, code)
        return self._by_name[name]

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            self.route("query", "GET", "/v2/clock", self._clock),
            self.route(
                "query", "GET", "/v2/account", lambda *_: (200, account_shape(self.exchange))
            ),
            self.route("query", "GET", "/v2/account/activities", self._activities),
            self.route("query", "GET", "/v2/account/activities/FILL", self._fills),
            self.route("query", "GET", "/v2/assets/{name:.+}", self._asset),
            self.route("query", "GET", "/v2/positions", self._positions),
            self.route("submit", "POST", "/v2/orders", self._place),
            self.route("query", "GET", "/v2/orders", self._orders),
            self.route("query", "GET", "/v2/orders:by_client_order_id", self._by_client_id),
            self.route("query", "GET", "/v2/orders/{id}", self._by_id),
            self.route("cancel", "DELETE", "/v2/orders/{id}", self._cancel),
        ]

    def route(self, on: On, method: str, path: str, work: Work) -> web.RouteDef:
        """Return a route for the holder of the keys."""

        async def handler(request: web.Request) -> web.Response:
            self.access.check(request)
            body = msgspec.json.decode(await request.read()) if method == "POST" else {}
            status, payload = work(request, {**request.query, **body})
            return (
                web.Response(status=status) if payload is None else json_response(payload, status)
            )

        return self.server.route(self._face, on, method, path, handler)

    # -- questions --------------------------------------------------------------------------------

    def _clock(self, *_: Any) -> Answer:
        now = stamp(self.server.now_ns())
        return 200, {"timestamp": now, "is_open": True, "next_open": now, "next_close": now}

    def _account(self, *_: Any) -> Answer:
        return 200, account_shape(self.exchange)

    def _asset(self, request: web.Request, _: Mapping[str, Any]) -> Answer:
        return 200, asset_shape(self.named(request.match_info["name"], "unknown_asset"))

    def _positions(self, *_: Any) -> Answer:
        marks, held = self.exchange.marks(), self.exchange.books.positions
        return 200, [
            position_shape(held[one.symbol], one, marks.get(one.symbol, held[one.symbol].average))
            for one in self.markets
            if held[one.symbol].qty
        ]

    def _orders(self, _: web.Request, asked: Mapping[str, Any]) -> Answer:
        after, until = _time(asked, "after", -1), _time(asked, "until", 2**62)
        only_open = asked.get("status", "open") == "open"
        found = [
            order
            for order in self.exchange.orders()
            if after < order.created_ts <= until and (order.status == "working" or not only_open)
        ]
        if asked.get("direction", "desc") == "desc":
            found.reverse()
        most = min(int(asked.get("limit", 50)), ORDERS_MAX)
        return 200, [self._shape(order) for order in found[:most]]

    def _by_client_id(self, _: web.Request, asked: Mapping[str, Any]) -> Answer:
        order = self.exchange.order(client_id=str(asked.get("client_order_id", "")))
        if order is None:
            raise Refusal("there is no such order", "unknown_order")
        return 200, self._shape(order)

    def _by_id(self, request: web.Request, _: Mapping[str, Any]) -> Answer:
        return 200, self._shape(self._found(request))

    def _activities(self, _: web.Request, asked: Mapping[str, Any]) -> Answer:
        kind = asked.get("category")
        trades = [] if kind == "non_trade_activity" else self._traded(asked)
        payments = [] if kind == "trade_activity" else self._paid(asked)
        return 200, _page([*trades, *payments], asked)

    def _fills(self, _: web.Request, asked: Mapping[str, Any]) -> Answer:
        return 200, _page(self._traded(asked), asked)

    def _traded(self, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        after, cumulated = _time(asked, "after", -1), dict[int, Decimal]()
        found = []
        for trade in self.exchange.trades():
            order = self.exchange.order(venue_id=trade.venue_id)
            cumulated[trade.venue_id] = cumulated.get(trade.venue_id, ZERO) + trade.qty
            if order is not None and trade.ts > after:
                market, filled = self.market_of(trade.symbol), cumulated[trade.venue_id]
                found.append(activity_shape(trade, order, market, filled))
        return found

    def _paid(self, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what was paid and received, as it is listed: by id, which is not by time."""
        found = [
            payment_shape(one, self._by_symbol.get(one.symbol), self.exchange.currency)
            for one in self.exchange.payments(_time(asked, "after", -1) + 1)
        ]
        return sorted(found, key=lambda one: str(one["id"]))

    # -- orders -----------------------------------------------------------------------------------

    def _place(self, _: web.Request, asked: Mapping[str, Any]) -> Answer:
        for name in ("symbol", "qty", "side", "type", "time_in_force"):
            if not asked.get(name):
                raise Refusal(name, "missing")
        market, kind, held_until = (
            self.named(asked["symbol"]),
            asked["type"],
            asked["time_in_force"],
        )
        if kind not in _KINDS[market.coin] or asked["side"] not in ("buy", "sell"):
            raise Refusal(f"invalid order: {asked['side']} {kind}", "bad_order")
        wrong_time = held_until not in _TIMES_IN_FORCE[market.coin]
        if wrong_time or (kind == "stop" and held_until == "ioc"):
            raise Refusal(f"invalid time_in_force {held_until} for {kind}", "bad_order")
        client_id = str(asked.get("client_order_id") or "")
        if len(client_id) > NAME_MAX:
            raise Refusal(f"client_order_id has more than {NAME_MAX} characters", "bad_order")
        order = self.exchange.submit(
            client_id,
            market.symbol,
            1 if asked["side"] == "buy" else -1,
            _amount(asked, "qty"),
            kind,
            None if kind == "market" else _amount(asked, f"{kind}_price"),
            held_until,
        )
        # What is answered at once has not been to a market yet.
        return 200, {**self._shape(order), "status": "accepted"}

    def _cancel(self, request: web.Request, _: Mapping[str, Any]) -> Answer:
        order = self._found(request)
        if order.status != "working":
            raise Refusal(self._shape(order)["status"], "not_cancelable")
        self.exchange.cancel(venue_id=order.venue_id)
        return 204, None

    def _found(self, request: web.Request) -> VenueOrder:
        order = self.exchange.order(venue_id=number_of(request.match_info["id"]))
        if order is None:
            raise Refusal("there is no such order", "unknown_order")
        return order

    def _shape(self, order: VenueOrder) -> dict[str, Any]:
        return order_shape(order, self.market_of(order.symbol))


def _page(found: list[dict[str, Any]], asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the activities that follow the one named by `page_token`, so many as are asked for."""
    if asked.get("direction", "desc") == "desc":
        found.reverse()
    ids = [one["id"] for one in found]
    start = ids.index(asked["page_token"]) + 1 if asked.get("page_token") in ids else 0
    size = min(int(asked.get("page_size", ACTIVITIES_MAX)), ACTIVITIES_MAX)
    return found[start : start + size]


def _amount(asked: Mapping[str, Any], name: str) -> Decimal:
    try:
        number = Decimal(str(asked.get(name)))
    except InvalidOperation:
        raise Refusal(name, "missing") from None
    if not number.is_finite():
        raise Refusal(f"invalid {name}", "bad_order")
    return number


def _time(asked: Mapping[str, Any], name: str, otherwise: int) -> int:
    """Return a time that is asked for in nanoseconds UTC."""
    if name not in asked:
        return otherwise
    moment = datetime.fromisoformat(asked[name])
    return int(moment.replace(microsecond=0).timestamp()) * SECOND_NS + moment.microsecond * 1_000
