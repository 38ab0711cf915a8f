"""Binance spot: `/api/v3`."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from aiohttp import web

from onefold.rehearsal.books import ZERO
from onefold.rehearsal.exchange import Refusal
from onefold.rehearsal.faces.binance.desk import Desk, Params
from onefold.rehearsal.faces.binance.markets import MS_NS, spot_symbol
from onefold.rehearsal.faces.binance.shapes import (
    money,
    spot_cancelled,
    spot_order,
    spot_placed,
    spot_trade,
)

_KINDS = {"MARKET": "market", "LIMIT": "limit", "STOP_LOSS": "stop"}


class Spot(Desk):
    """The spot venue."""

    def routes(self) -> list[web.RouteDef]:
        """Return its REST routes."""
        api = "/api/v3"
        return [
            self.public(f"{api}/ping", lambda _: {}),
            self.public(f"{api}/time", self.time),
            self.public(f"{api}/exchangeInfo", self._info),
            self.public(f"{api}/klines", self.klines),
            self.signed("submit", "POST", f"{api}/order", self._place),
            self.signed("query", "GET", f"{api}/order", self._query),
            self.signed("cancel", "DELETE", f"{api}/order", self._cancel),
            self.signed("cancel", "DELETE", f"{api}/openOrders", self._cancel_all),
            self.signed("query", "GET", f"{api}/openOrders", self._open),
            self.signed("query", "GET", f"{api}/allOrders", self._all),
            self.signed("query", "GET", f"{api}/myTrades", self._trades),
            self.signed("query", "GET", f"{api}/account", self._account),
            self.signed("query", "GET", "/sapi/v1/capital/config/getall", self._coins),
            # No margin trading: but clients ask for its pairs before they do anything else.
            self.signed("query", "GET", "/sapi/v1/margin/allPairs", lambda _: []),
            self.signed("query", "GET", "/sapi/v1/margin/isolated/allPairs", lambda _: []),
        ]

    def _info(self, _: Params) -> dict[str, Any]:
        return {
            "timezone": "UTC",
            "serverTime": self.server.now_ns() // MS_NS,
            "rateLimits": [],
            "exchangeFilters": [],
            "symbols": [spot_symbol(market) for market in self.markets],
        }

    def _place(self, params: Params) -> dict[str, Any]:
        kind = _KINDS.get(params.get("type", ""))
        if kind is None:
            raise Refusal(params.get("type", ""), "order_type")
        price = "price" if kind == "limit" else "stopPrice"
        order = self.place(params, kind, price, "newClientOrderId")
        trades = self.exchange.trades(venue_id=order.venue_id)
        answer = params.get("newOrderRespType", "FULL")
        return spot_placed(order, self.market(params), trades, answer)

    def _query(self, params: Params) -> dict[str, Any]:
        return spot_order(self.found(params), self.market(params))

    def _cancel(self, params: Params) -> dict[str, Any]:
        order = self.exchange.cancel(venue_id=self.found(params).venue_id)
        return spot_cancelled(order, self.market(params))

    def _cancel_all(self, params: Params) -> list[dict[str, Any]]:
        market = self.market(params)
        cancelled = self.exchange.cancel_all(market.symbol)
        if not cancelled:
            raise Refusal("there is nothing to cancel", "unknown_order")
        return [spot_cancelled(order, market) for order in cancelled]

    def _open(self, params: Params) -> list[dict[str, Any]]:
        return [
            spot_order(order, market)
            for market in self.listed(params)
            for order in self.exchange.working(market.symbol)
        ]

    def _all(self, params: Params) -> list[dict[str, Any]]:
        return [spot_order(order, self.market(params)) for order in self.all_orders(params)]

    def _trades(self, params: Params) -> list[dict[str, Any]]:
        market = self.market(params)
        return [
            spot_trade(trade, market, maker=self.is_maker(trade))
            for trade in self.own_trades(params)
        ]

    def _account(self, _: Params) -> dict[str, Any]:
        return {
            "makerCommission": 0,
            "takerCommission": 0,
            "buyerCommission": 0,
            "sellerCommission": 0,
            "canTrade": True,
            "canWithdraw": False,
            "canDeposit": False,
            "brokered": False,
            "requireSelfTradePrevention": False,
            "preventSor": False,
            "updateTime": self.exchange.now_ns // MS_NS,
            "accountType": "SPOT",
            "balances": [
                {"asset": asset, "free": money(total - locked), "locked": money(locked)}
                for asset, (total, locked) in self.balances().items()
            ],
            "permissions": ["SPOT"],
            "uid": 1,
        }

    def balances(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Return what there is of each asset, and how much of it working orders have locked."""
        found = {self.exchange.currency: (self.exchange.cash(), self.exchange.reserved())}
        for market in self.markets:
            selling = sum(
                (o.left for o in self.exchange.working(market.symbol) if o.side < 0), ZERO
            )
            found[market.base] = (self.exchange.positions()[market.symbol], selling)
        return found

    def _coins(self, _: Params) -> list[dict[str, Any]]:
        return [
            {
                "coin": asset,
                "name": asset,
                "depositAllEnable": False,
                "withdrawAllEnable": False,
                "trading": True,
                "isLegalMoney": False,
                "free": money(total - locked),
                "locked": money(locked),
                "networkList": [],
            }
            for asset, (total, locked) in self.balances().items()
        ]
