"""Binance USD-M futures: `/fapi`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from onefold.rehearsal.books import ZERO
from onefold.rehearsal.exchange import Refusal, VenueOrder
from onefold.rehearsal.faces.binance.access import need, whole
from onefold.rehearsal.faces.binance.desk import Desk, Params, limited, period
from onefold.rehearsal.faces.binance.markets import MS_NS, Market, futures_symbol, text
from onefold.rehearsal.faces.binance.shapes import (
    ALGO,
    algo_order,
    futures_order,
    futures_trade,
    is_algo,
    is_triggered,
    money,
    paid_fee,
    payment_row,
)

_DONE = {"code": 200, "msg": "The operation of cancel all open order is done."}
INCOME_ROWS = 100
INCOME_PERIOD_MS = 7 * 86_400_000
"""How many rows, and how much of the past, whoever does not say gets of the income history."""

_CONDITIONAL = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")


class Futures(Desk):
    """The futures venue, in one-way position mode."""

    is_futures = True

    def routes(self) -> list[web.RouteDef]:
        """Return its REST routes."""
        api = "/fapi/v1"
        return [
            self.public(f"{api}/ping", lambda _: {}),
            self.public(f"{api}/time", self.time),
            self.public(f"{api}/exchangeInfo", self._info),
            self.public(f"{api}/klines", self.klines),
            self.public("/dapi/v1/exchangeInfo", lambda _: {"symbols": []}),
            self.signed("submit", "POST", f"{api}/order", self._place),
            self.signed("query", "GET", f"{api}/order", self._query),
            self.signed("cancel", "DELETE", f"{api}/order", self._cancel),
            self.signed("cancel", "DELETE", f"{api}/allOpenOrders", self._cancel_all),
            self.signed("cancel", "POST", f"{api}/countdownCancelAll", self._arm),
            self.signed("query", "GET", f"{api}/openOrders", self._open),
            self.signed("query", "GET", f"{api}/allOrders", self._all),
            self.signed("query", "GET", f"{api}/userTrades", self._trades),
            self.signed("query", "GET", f"{api}/income", self._income),
            self.signed("submit", "POST", f"{api}/algoOrder", self._place_algo),
            self.signed("query", "GET", f"{api}/algoOrder", self._query_algo),
            self.signed("cancel", "DELETE", f"{api}/algoOrder", self._cancel_algo),
            self.signed("cancel", "DELETE", f"{api}/algoOpenOrders", self._cancel_all_algo),
            self.signed("query", "GET", f"{api}/openAlgoOrders", self._open_algo),
            self.signed("query", "GET", f"{api}/allAlgoOrders", self._all_algo),
            self.signed("query", "GET", f"{api}/leverageBracket", self._brackets),
            self.signed(
                "query", "GET", f"{api}/positionSide/dual", lambda _: {"dualSidePosition": False}
            ),
            *(
                self.signed("query", "GET", f"/fapi/{version}/{name}", work)
                for version in ("v2", "v3")
                for name, work in (
                    ("account", self._account),
                    ("balance", self._balance),
                    ("positionRisk", self._risk),
                )
            ),
        ]

    def _info(self, _: Params) -> dict[str, Any]:
        return {
            "timezone": "UTC",
            "serverTime": self.server.now_ns() // MS_NS,
            "futuresType": "U_MARGINED",
            "rateLimits": [],
            "exchangeFilters": [],
            "assets": [{"asset": self.exchange.currency, "marginAvailable": True}],
            "symbols": [futures_symbol(market) for market in self.markets],
        }

    # -- orders of the matching engine ------------------------------------------------------------

    def _place(self, params: Params) -> dict[str, Any]:
        kind = params.get("type", "")
        if kind in _CONDITIONAL:
            raise Refusal(kind, "to_algo")
        if kind not in ("MARKET", "LIMIT"):
            raise Refusal(kind, "order_type")
        order = self.place(params, kind.lower(), "price", "newClientOrderId")
        return futures_order(order, self.market(params))

    def _known(self, params: Params) -> VenueOrder:
        """Return an order that the matching engine knows. Raises `Refusal`."""
        order = self.found(params)
        if not is_triggered(order):
            raise Refusal("it is an algo order", "unknown_order")
        return order

    def _query(self, params: Params) -> dict[str, Any]:
        return futures_order(self._known(params), self.market(params))

    def _cancel(self, params: Params) -> dict[str, Any]:
        order = self.exchange.cancel(venue_id=self._known(params).venue_id)
        return futures_order(order, self.market(params))

    def _cancel_all(self, params: Params) -> dict[str, Any]:
        self._cancel_each(self._matching(self.market(params)))
        return _DONE

    def _cancel_each(self, orders: Iterable[VenueOrder]) -> None:
        for order in orders:
            self.exchange.cancel(venue_id=order.venue_id)

    def _matching(self, market: Market) -> list[VenueOrder]:
        return [o for o in self.exchange.working(market.symbol) if is_triggered(o)]

    def _arm(self, params: Params) -> dict[str, str]:
        countdown = need(params, "countdownTime")
        self.server.arm(self.market(params).symbol, whole(params, "countdownTime", 0) / 1_000)
        return {"symbol": params["symbol"], "countdownTime": countdown}

    def _open(self, params: Params) -> list[dict[str, Any]]:
        return [
            futures_order(order, market)
            for market in self.listed(params)
            for order in self._matching(market)
        ]

    def _all(self, params: Params) -> list[dict[str, Any]]:
        market = self.market(params)
        return [futures_order(o, market) for o in self.all_orders(params) if is_triggered(o)]

    def _trades(self, params: Params) -> list[dict[str, Any]]:
        market = self.market(params)
        return [
            futures_trade(trade, market, maker=self.is_maker(trade))
            for trade in self.own_trades(params)
        ]

    def _income(self, params: Params) -> list[dict[str, Any]]:
        """Return what changed the cash, the oldest first: what trades cost is among it."""
        if "page" in params:
            raise Refusal("page", "illegal")
        first, last = period(params)
        if "startTime" not in params and "endTime" not in params:
            first = self.server.now_ns() // MS_NS - INCOME_PERIOD_MS
        only = self.market(params).id if params.get("symbol") else None
        ids = {market.symbol: market.id for market in self.markets}
        paid = [payment_row(p, ids.get(p.symbol, "")) for p in self.exchange.payments()]
        fees = [paid_fee(t, ids[t.symbol]) for t in self.exchange.trades() if t.symbol in ids]
        rows = [
            row
            for row in sorted([*paid, *fees], key=lambda row: int(row["time"]))
            if first <= row["time"] <= last
            and only in (None, row["symbol"])
            and params.get("incomeType", row["incomeType"]) == row["incomeType"]
        ]
        return limited(rows, params, INCOME_ROWS)

    # -- conditional orders -----------------------------------------------------------------------

    def _place_algo(self, params: Params) -> dict[str, Any]:
        if params.get("algoType") != "CONDITIONAL" or params.get("type") != "STOP_MARKET":
            raise Refusal(params.get("type", ""), "order_type")
        order = self.place(params, "stop", "triggerPrice", "clientAlgoId")
        return algo_order(order, self.market(params))

    def _known_algo(self, params: Params) -> VenueOrder:
        """Return an order that the algo service knows. Raises `Refusal`."""
        if params.get("algoId"):
            order = self.exchange.order(venue_id=whole(params, "algoId", 0) - ALGO)
        else:
            order = self.exchange.order(client_id=need(params, "clientAlgoId"))
        if order is None or not is_algo(order):
            raise Refusal("there is no such algo order", "unknown_order")
        return order

    def _algo(self, order: VenueOrder) -> dict[str, Any]:
        market = self.market_of(order.symbol)
        if market is None:
            raise Refusal("there is no such algo order", "unknown_order")
        return algo_order(order, market)

    def _query_algo(self, params: Params) -> dict[str, Any]:
        return self._algo(self._known_algo(params))

    def _cancel_algo(self, params: Params) -> dict[str, Any]:
        order = self._known_algo(params)
        if is_triggered(order):
            raise Refusal("it has been triggered", "unknown_order")
        self.exchange.cancel(venue_id=order.venue_id)
        return {
            "algoId": ALGO + order.venue_id,
            "clientAlgoId": order.client_id,
            "code": "200",
            "msg": "success",
        }

    def _waiting(self, market: Market) -> list[VenueOrder]:
        return [o for o in self.exchange.working(market.symbol) if not is_triggered(o)]

    def _cancel_all_algo(self, params: Params) -> dict[str, Any]:
        self._cancel_each(self._waiting(self.market(params)))
        return _DONE

    def _open_algo(self, params: Params) -> list[dict[str, Any]]:
        return [
            algo_order(order, market)
            for market in self.listed(params)
            for order in self._waiting(market)
        ]

    def _all_algo(self, params: Params) -> list[dict[str, Any]]:
        return [self._algo(order) for order in self.all_orders(params) if is_algo(order)]

    # -- the account ------------------------------------------------------------------------------

    def _sums(self) -> dict[str, str]:
        cash, equity = self.exchange.cash(), self.exchange.equity()
        margin = self.exchange.books.margin(self.exchange.marks())
        return {
            "walletBalance": money(cash),
            "unrealizedProfit": money(equity - cash),
            "marginBalance": money(equity),
            "maintMargin": money(margin),
            "initialMargin": money(margin),
            "positionInitialMargin": money(margin),
            "openOrderInitialMargin": money(ZERO),
            "crossWalletBalance": money(cash),
            "crossUnPnl": money(equity - cash),
            "availableBalance": money(max(ZERO, equity - margin)),
            "maxWithdrawAmount": money(ZERO),
        }

    def _account(self, _: Params) -> dict[str, Any]:
        sums, now = self._sums(), self.exchange.now_ns // MS_NS
        asset = {
            "asset": self.exchange.currency, **sums, "marginAvailable": True, "updateTime": now,
        }  # fmt: skip
        return {
            "canTrade": True,
            "canDeposit": False,
            "canWithdraw": False,
            "feeTier": 0,
            "updateTime": now,
            "multiAssetsMargin": False,
            "totalInitialMargin": sums["initialMargin"],
            "totalMaintMargin": sums["maintMargin"],
            "totalWalletBalance": sums["walletBalance"],
            "totalUnrealizedProfit": sums["unrealizedProfit"],
            "totalMarginBalance": sums["marginBalance"],
            "totalPositionInitialMargin": sums["positionInitialMargin"],
            "totalOpenOrderInitialMargin": sums["openOrderInitialMargin"],
            "totalCrossWalletBalance": sums["crossWalletBalance"],
            "totalCrossUnPnl": sums["crossUnPnl"],
            "availableBalance": sums["availableBalance"],
            "maxWithdrawAmount": sums["maxWithdrawAmount"],
            "assets": [asset],
            "positions": [self._position(market) for market in self.markets],
        }

    def _balance(self, _: Params) -> list[dict[str, Any]]:
        sums = self._sums()
        return [
            {
                "accountAlias": "rehearsal",
                "asset": self.exchange.currency,
                "balance": sums["walletBalance"],
                "crossWalletBalance": sums["crossWalletBalance"],
                "crossUnPnl": sums["crossUnPnl"],
                "availableBalance": sums["availableBalance"],
                "maxWithdrawAmount": sums["maxWithdrawAmount"],
                "marginAvailable": True,
                "updateTime": self.exchange.now_ns // MS_NS,
            }
        ]

    def _risk(self, params: Params) -> list[dict[str, Any]]:
        return [self._position(market) for market in self.listed(params)]

    def _position(self, market: Market) -> dict[str, Any]:
        """Return a position as it stands in an account and in `positionRisk`."""
        held = self.exchange.books.positions[market.symbol]
        mark = self.exchange.marks().get(market.symbol, held.average)
        margin = text(self.exchange.books.needed(market.symbol, abs(held.qty), mark))
        profit = money(held.qty * (mark - held.average))
        return {
            "symbol": market.id,
            "positionSide": "BOTH",
            "positionAmt": text(held.qty),
            "entryPrice": text(held.average),
            "breakEvenPrice": text(held.average),
            "markPrice": text(mark),
            "unRealizedProfit": profit,
            "unrealizedProfit": profit,
            "liquidationPrice": "0",
            "notional": text(held.qty * mark),
            "marginAsset": market.quote,
            "marginType": "cross",
            "isolated": False,
            "isolatedMargin": "0",
            "isolatedWallet": "0",
            "isAutoAddMargin": "false",
            "leverage": "1",
            "maxNotional": "1000000000000",
            "maxNotionalValue": "1000000000000",
            "initialMargin": margin,
            "maintMargin": margin,
            "positionInitialMargin": margin,
            "openOrderInitialMargin": "0",
            "adl": 0,
            "bidNotional": "0",
            "askNotional": "0",
            "updateTime": self.exchange.now_ns // MS_NS,
        }

    def _brackets(self, params: Params) -> list[dict[str, Any]]:
        return [
            {
                "symbol": market.id,
                "notionalCoef": 1.0,
                "brackets": [
                    {
                        "bracket": 1,
                        "initialLeverage": 20,
                        "notionalCap": 10**12,
                        "notionalFloor": 0,
                        "maintMarginRatio": 0.01,
                        "cum": 0.0,
                    }
                ],
            }
            for market in self.listed(params)
        ]
