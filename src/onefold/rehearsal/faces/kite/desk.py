"""Kite's REST interface on the rehearsal exchange.

Everything is of the day: the list of orders and that of trades begin anew with each day in India,
and what was bought yesterday for delivery has gone from the positions to the holdings.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

import msgspec
from aiohttp import web

from onefold.rehearsal.books import ZERO, exact
from onefold.rehearsal.exchange import Exchange, Refusal, VenueOrder, VenueTrade
from onefold.rehearsal.faces.kite.access import Access, answered, dated
from onefold.rehearsal.faces.kite.shapes import (
    INTERVALS_NS,
    IST,
    SECOND_NS,
    Listing,
    candle_shape,
    candles,
    charges_shape,
    day_of,
    holding_shape,
    instruments_csv,
    listings,
    order_shape,
    position_shape,
    trade_shape,
)
from onefold.rehearsal.faults import On
from onefold.rehearsal.server import Face, Server

TAG = re.compile(r"[0-9A-Za-z]{0,20}")
_KINDS = {"MARKET": "market", "LIMIT": "limit", "SL-M": "stop"}
_PRICES = {"MARKET": "", "LIMIT": "price", "SL-M": "trigger_price"}
_VALIDITIES = {"DAY": "day", "IOC": "ioc"}
_SIDES = {"BUY": 1, "SELL": -1}

Params = Mapping[str, str]
Work = Callable[[web.Request], Awaitable[Any]]


class NamingFace(Face, Protocol):
    """A face that says under which name the exchange keeps a tagged order."""

    def name_of(self, tag: str) -> str:
        """Return the name for a tag."""
        ...


class Desk:
    """The account of one session."""

    def __init__(self, face: NamingFace, server: Server, access: Access, product: str) -> None:
        self.server = server
        self._face, self._access, self._product = face, access, product
        self.listed = listings(server.exchange.instruments.values())
        self._by_name = {(one.exchange, one.name): one for one in self.listed.values()}
        self._by_token = {one.token: one for one in self.listed.values()}
        self._tags: dict[int, str] = {}

    @property
    def exchange(self) -> Exchange:
        """Return the exchange behind it."""
        return self.server.exchange

    def routes(self) -> list[web.RouteDef]:
        """Return the REST routes."""
        return [
            self._route("query", "GET", "/user/profile", self._profile),
            self._table("/instruments"),
            self._table("/instruments/{exchange}"),
            self._route(
                "query", "GET", "/instruments/historical/{token}/{interval}", self._historical
            ),
            self._route("submit", "POST", "/orders/{variety}", self._place),
            self._route("cancel", "DELETE", "/orders/{variety}/{order_id}", self._cancel),
            self._route("query", "GET", "/orders", self._orders),
            self._route("query", "GET", "/orders/{order_id}", self._history),
            self._route("query", "GET", "/orders/{order_id}/trades", self._order_trades),
            self._route("query", "GET", "/trades", self._trades),
            self._route("query", "GET", "/portfolio/positions", self._positions),
            self._route("query", "GET", "/portfolio/holdings", self._holdings),
            self._route("query", "POST", "/charges/orders", self._charges),
        ]

    def shape(self, order: VenueOrder) -> dict[str, Any]:
        """Return an order as Kite has it."""
        tag = self._tags.get(order.venue_id, "")
        return order_shape(order, self.listed[order.symbol], tag, self._product)

    def listing_of(self, token: int) -> Listing | None:
        """Return the instrument of a token, None when there is none."""
        return self._by_token.get(token)

    def _route(self, on: On, method: str, path: str, work: Work) -> web.RouteDef:
        async def handler(request: web.Request) -> web.Response:
            self._access.check_header(request)
            data = await work(request)
            # Afterwards: an order may have moved the clock.
            return answered(data, self.server.now_ns())

        return self.server.route(self._face, on, method, path, handler)

    def _table(self, path: str) -> web.RouteDef:
        async def handler(request: web.Request) -> web.Response:
            self._access.check_header(request)
            wanted = request.match_info.get("exchange")
            listed = [one for one in self.listed.values() if wanted in (None, one.exchange)]
            table = web.Response(text=instruments_csv(listed), content_type="text/csv")
            return dated(table, self.server.now_ns())

        return self.server.route(self._face, "query", "GET", path, handler)

    async def _profile(self, _: web.Request) -> dict[str, Any]:
        return {
            "user_id": "RH0001",
            "user_type": "individual",
            "email": "",
            "user_name": "Rehearsal",
            "user_shortname": "Rehearsal",
            "broker": "ZERODHA",
            "exchanges": ["NSE", "NFO"],
            "products": ["CNC", "NRML", "MIS"],
            "order_types": ["MARKET", "LIMIT", "SL-M"],
            "avatar_url": None,
            "meta": {"demat_consent": "physical"},
        }

    # -- market -----------------------------------------------------------------------------------

    async def _historical(self, request: web.Request) -> dict[str, Any]:
        one = self.listing_of(_whole(request.match_info["token"], "instrument_token"))
        interval_ns = INTERVALS_NS.get(request.match_info["interval"])
        if one is None or interval_ns is None:
            raise Refusal("invalid token or interval", "bad_request")
        first, last = (_time(request.query.get(name, ""), name) for name in ("from", "to"))
        opening = self.exchange.begun.get(one.symbol)
        begun = None if opening is None else (opening.ts, opening.price)
        found = candles(self.exchange.bars[one.symbol], begun, interval_ns)
        return {"candles": [candle_shape(c) for c in found if first <= c[0] <= last]}

    # -- orders -----------------------------------------------------------------------------------

    async def _place(self, request: web.Request) -> dict[str, str]:
        form = {name: str(value) for name, value in (await request.post()).items()}
        if request.match_info["variety"] != "regular":
            raise Refusal("invalid `variety`", "bad_request")
        one = self._by_name.get((form.get("exchange", ""), form.get("tradingsymbol", "")))
        if one is None:
            raise Refusal("The instrument you are placing an order for has expired.", "no_symbol")
        kind, tag = _choice(_KINDS, form, "order_type"), form.get("tag", "")
        _check(form, tag, self._product)
        price = _PRICES[form["order_type"]]
        name = self._face.name_of(tag)
        # Kite lets any number of orders have the same tag, the exchange only one that name.
        taken = bool(name) and self.exchange.order(client_id=name) is not None
        # Known before the order is told of.
        number = len(self.exchange.orders()) + 1
        self._tags[number] = tag
        try:
            order = self.exchange.submit(
                "" if taken else name,
                one.symbol,
                _choice(_SIDES, form, "transaction_type"),
                _amount(form, "quantity"),
                kind,
                _amount(form, price) if price else None,
                _choice(_VALIDITIES, form, "validity", "DAY"),
            )
        except Refusal:
            del self._tags[number]
            raise
        return {"order_id": str(order.venue_id)}

    async def _cancel(self, request: web.Request) -> dict[str, str]:
        order = self._found(request)
        self.exchange.cancel(venue_id=order.venue_id)
        return {"order_id": str(order.venue_id)}

    async def _orders(self, _: web.Request) -> list[dict[str, Any]]:
        return [self.shape(order) for order in self.exchange.orders() if self._is_listed(order)]

    async def _history(self, request: web.Request) -> list[dict[str, Any]]:
        return [self.shape(self._found(request))]

    async def _order_trades(self, request: web.Request) -> list[dict[str, Any]]:
        return self._told(self.exchange.trades(venue_id=self._found(request).venue_id))

    async def _trades(self, _: web.Request) -> list[dict[str, Any]]:
        return self._told(self.exchange.trades())

    def _told(self, trades: list[VenueTrade]) -> list[dict[str, Any]]:
        return [
            trade_shape(trade, self.listed[trade.symbol], self._product)
            for trade in trades
            if self._is_today(trade.ts)
        ]

    def _found(self, request: web.Request) -> VenueOrder:
        number = request.match_info["order_id"]
        order = self.exchange.order(venue_id=int(number)) if number.isdecimal() else None
        if order is None or not self._is_listed(order):
            raise Refusal("there is no such order", "unknown_order")
        return order

    def _is_listed(self, order: VenueOrder) -> bool:
        """Return whether an order began or ended today."""
        return self._is_today(order.created_ts) or self._is_today(order.updated_ts)

    def _is_today(self, ts: int) -> bool:
        return day_of(ts) == day_of(self.exchange.now_ns)

    # -- what is held -----------------------------------------------------------------------------

    async def _positions(self, _: web.Request) -> dict[str, Any]:
        rows = []
        for symbol, one in self.listed.items():
            opening, today = self._held(symbol)
            delivered = self._product == "CNC"
            held = today if delivered else opening + today
            overnight = ZERO if delivered else opening
            if held or overnight or any(self._is_today(t.ts) for t in self._trades_of(symbol)):
                average = self.exchange.average(symbol)
                rows.append(position_shape(one, self._product, held, overnight, average))
        return {"net": rows, "day": rows}

    async def _holdings(self, _: web.Request) -> list[dict[str, Any]]:
        if self._product != "CNC":
            return []
        rows = [(one, *self._held(symbol)) for symbol, one in self.listed.items()]
        return [
            holding_shape(one, opening, min(opening, max(ZERO, -today)))
            for one, opening, today in rows
            if opening
        ]

    def _held(self, symbol: str) -> tuple[Decimal, Decimal]:
        """Return what was held when the day began, and what has changed since."""
        trades = self._trades_of(symbol)
        today = sum((t.qty * t.side for t in trades if self._is_today(t.ts)), ZERO)
        return self.exchange.positions()[symbol] - today, today

    def _trades_of(self, symbol: str) -> list[VenueTrade]:
        return self.exchange.trades(0, symbol)

    async def _charges(self, request: web.Request) -> list[dict[str, Any]]:
        notes = []
        for asked in msgspec.json.decode(await request.read()):
            one = self._by_name.get((asked.get("exchange"), asked.get("tradingsymbol")))
            if one is None or not asked.get("order_id"):
                raise Refusal("invalid order for charges", "bad_request")
            quantity, price = exact(asked["quantity"]), exact(asked["average_price"])
            notes.append(charges_shape(asked, self.exchange.books.fee(one.symbol, quantity, price)))
        return notes


def _check(form: Params, tag: str, product: str) -> None:
    """Raise `Refusal` for what Kite refuses before it looks at the account."""
    if not TAG.fullmatch(tag):
        raise Refusal("`tag` should be max 20 alphanumeric characters", "bad_tag")
    if form.get("product") != product:
        raise Refusal(f"this account trades {product}", "bad_product")
    is_market = form["order_type"] in ("MARKET", "SL-M")
    if is_market and not float(form.get("market_protection") or 0):
        raise Refusal(
            "Market orders without market protection are not allowed via API. Please set market "
            "protection or use a Limit order.",
            "no_protection",
        )


def _choice(known: Mapping[str, Any], form: Params, name: str, otherwise: str = "") -> Any:
    value = form.get(name) or otherwise
    if value not in known:
        raise Refusal(f"Invalid `{name}`.", "bad_request")
    return known[value]


def _amount(form: Params, name: str) -> Decimal:
    try:
        value = Decimal(form.get(name, ""))
    except InvalidOperation:
        raise Refusal(f"Invalid `{name}`.", "bad_request") from None
    if not value.is_finite():
        raise Refusal(f"Invalid `{name}`.", "bad_request")
    return value


def _whole(text: str, name: str) -> int:
    if not text.isdecimal():
        raise Refusal(f"Invalid `{name}`.", "bad_request")
    return int(text)


def _time(text: str, name: str) -> int:
    try:
        moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=IST)
    except ValueError:
        raise Refusal(f"invalid {name} date", "bad_request") from None
    return int(moment.timestamp()) * SECOND_NS
