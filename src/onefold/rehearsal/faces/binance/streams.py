"""Binance's WebSockets: candles and trades of the market, and what happens to the account.

Spot serves market data at `/stream/ws` and the account through the WebSocket API at `/ws-api/v3`,
where one subscribes with a signature. Futures serve both below `/fstream`, the account by a listen
key. The paths tell the two apart, since a client with one host for both could not.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
from aiohttp import web

from onefold.domain.records import Bar
from onefold.rehearsal.books import exact
from onefold.rehearsal.exchange import Event, Opening, Refusal, VenueOrder, VenueTrade
from onefold.rehearsal.faces.binance.access import failure
from onefold.rehearsal.faces.binance.desk import Desk, Params
from onefold.rehearsal.faces.binance.futures import Futures
from onefold.rehearsal.faces.binance.markets import (
    INTERVALS_NS,
    MS_NS,
    Candle,
    Market,
    text,
    ticks,
    under_way,
)
from onefold.rehearsal.faces.binance.shapes import (
    algo_update,
    execution_report,
    is_algo,
    is_triggered,
    money,
    order_trade_update,
)
from onefold.rehearsal.faces.binance.spot import Spot
from onefold.rehearsal.server import Channel


class Streams:
    """The WebSocket routes of both venues, and the listen keys of futures."""

    def __init__(self, spot: Spot, futures: Futures) -> None:
        self._spot, self._futures = spot, futures
        self._keys: set[str] = set()
        self._count = itertools.count(1)

    def routes(self) -> list[web.RouteDef]:
        """Return the WebSocket routes, and those of the listen key."""
        keys = "/fapi/v1/listenKey"
        return [
            web.get("/stream/ws{rest:.*}", self._spot_market),
            web.get("/ws-api/v3", self._spot_account),
            web.get("/fstream/private/ws{rest:.*}", self._futures_account),
            web.get("/fstream/ws{rest:.*}", self._futures_market),
            web.get("/fstream/{category}/ws{rest:.*}", self._futures_market),
            self._futures.keyed("POST", keys, self._new_key),
            self._futures.keyed("PUT", keys, self._same_key),
            self._futures.keyed("DELETE", keys, self._no_key),
        ]

    def forget_keys(self) -> None:
        """Let all listen keys expire."""
        self._keys.clear()

    def _new_key(self, _: Params) -> dict[str, str]:
        if not self._keys:
            self._keys.add(f"listen{next(self._count)}")
        return {"listenKey": min(self._keys)}

    def _same_key(self, _: Params) -> dict[str, str]:
        if not self._keys:
            raise Refusal("there is no listen key", "no_listen_key")
        return {"listenKey": min(self._keys)}

    def _no_key(self, _: Params) -> dict[str, str]:
        self._keys.clear()
        return {}

    async def _spot_market(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, lambda c: MarketTalk(c, self._spot, request.path))

    async def _futures_market(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, lambda c: MarketTalk(c, self._futures, request.path))

    async def _spot_account(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, lambda c: SpotTalk(c, self._spot))

    async def _futures_account(self, request: web.Request) -> web.StreamResponse:
        key = request.query.get("listenKey") or request.path.rpartition("/")[2]
        if key not in self._keys:
            return web.Response(status=401, text="unknown listenKey")
        return await self._serve(request, lambda c: FuturesTalk(c, self._futures, key, self))

    async def _serve(self, request: web.Request, begin: Any) -> web.StreamResponse:
        return await self._spot.server.stream(request, begin)


class MarketTalk:
    """A client that listens to the market: candles (`btcusdt@kline_1m`) and trades."""

    def __init__(self, channel: Channel, desk: Desk, path: str) -> None:
        self._channel, self._desk = channel, desk
        self._wanted = {name for name in path.rpartition("/ws")[2].split("/") if "@" in name}
        self._number = itertools.count(1)

    def read(self, message: str) -> None:
        """Take a subscription."""
        asked = msgspec.json.decode(message)
        names = asked.get("params") or []
        answer: Any = None
        if asked.get("method") == "SUBSCRIBE":
            self._wanted |= set(names)
        elif asked.get("method") == "UNSUBSCRIBE":
            self._wanted -= set(names)
        else:
            answer = sorted(self._wanted)
        self._channel.push({"result": answer, "id": asked.get("id")})

    def session_over(self) -> None:
        """Say nothing: the market needs no session."""

    def hear(self, event: Event) -> None:
        """Tell of a bar's trades and candles, or of the beginning of a bar."""
        if isinstance(event, VenueOrder | VenueTrade):
            return
        symbol = event.symbol if isinstance(event, Opening) else event.instrument
        market = self._desk.market_of(symbol)
        if market is None:
            return
        name = market.id.lower()
        if isinstance(event, Bar):
            for kind in ("trade", "aggTrade"):
                if f"{name}@{kind}" in self._wanted:
                    self._tell_trades(market, event, kind)
        for interval, length in INTERVALS_NS.items():
            if f"{name}@kline_{interval}" in self._wanted:
                candle = under_way(self._desk.exchange, event, length)
                if candle is not None:
                    self._tell_candle(market, interval, candle, event)

    def _tell_trades(self, market: Market, bar: Bar, kind: str) -> None:
        for ts, price, size in ticks(bar):
            number = next(self._number)
            self._channel.tell(
                {
                    "e": kind,
                    "E": ts // MS_NS,
                    "s": market.id,
                    "a" if kind == "aggTrade" else "t": number,
                    "p": text(exact(price)),
                    "q": text(exact(size)),
                    "f": number,
                    "l": number,
                    "T": ts // MS_NS,
                    "m": False,
                    "M": True,
                }
            )

    def _tell_candle(
        self, market: Market, interval: str, candle: Candle, event: Bar | Opening
    ) -> None:
        row = candle.row()
        # Before it is closed, a candle is told of while it is not: only `x` tells the two apart.
        is_over = isinstance(event, Bar) and event.ts >= candle.ts
        for closed in (False, True) if is_over else (False,):
            self._channel.tell(
                {
                    "e": "kline",
                    "E": self._desk.exchange.now_ns // MS_NS,
                    "s": market.id,
                    "k": {
                        "t": row[0],
                        "T": row[6],
                        "s": market.id,
                        "i": interval,
                        "f": 1,
                        "L": 1,
                        "o": row[1],
                        "c": row[4],
                        "h": row[2],
                        "l": row[3],
                        "v": row[5],
                        "n": row[8],
                        "x": closed,
                        "q": row[7],
                        "V": row[9],
                        "Q": row[10],
                        "B": "0",
                    },
                }
            )


class SpotTalk:
    """A client of the WebSocket API of spot, which may subscribe to the account."""

    def __init__(self, channel: Channel, desk: Spot) -> None:
        self._channel, self._desk = channel, desk
        self._subscribed = False

    def read(self, message: str) -> None:
        """Take a request."""
        asked = msgspec.json.decode(message)
        try:
            self._check(asked)
        except Refusal as refusal:
            status, code, words = failure(refusal, futures=False)
            error = {"code": code, "msg": words}
            self._channel.push({"id": asked.get("id"), "status": status, "error": error})
            return
        self._subscribed = True
        result = {"subscriptionId": 0}
        self._channel.push({"id": asked.get("id"), "status": 200, "result": result})

    def _check(self, asked: dict[str, Any]) -> None:
        if asked.get("method") != "userDataStream.subscribe.signature":
            raise Refusal(f"no method {asked.get('method')}", "bad_order")
        self._desk.access.check_message(asked.get("params") or {})

    def session_over(self) -> None:
        """Tell that the subscription has ended."""
        self._subscribed = False
        now = self._desk.server.now_ns() // MS_NS
        event = {"e": "eventStreamTerminated", "E": now}
        self._channel.push({"subscriptionId": 0, "event": event})

    def hear(self, event: Event) -> None:
        """Tell of orders and trades, and of the balances after a trade."""
        found = _about(self._desk, event) if self._subscribed else None
        if found is None:
            return
        order, market, trade = found
        now = self._desk.server.now_ns()
        self._tell(execution_report(order, market, trade, now), trade=trade is not None)
        if trade is not None:
            self._channel.push({"subscriptionId": 0, "event": self._balances(now)})

    def _tell(self, event: dict[str, Any], *, trade: bool) -> None:
        self._channel.tell({"subscriptionId": 0, "event": event}, trade=trade)

    def _balances(self, now_ns: int) -> dict[str, Any]:
        return {
            "e": "outboundAccountPosition",
            "E": now_ns // MS_NS,
            "u": now_ns // MS_NS,
            "B": [
                {"a": asset, "f": money(total - locked), "l": money(locked)}
                for asset, (total, locked) in self._desk.balances().items()
            ],
        }


class FuturesTalk:
    """A client that listens to the account at the futures venue."""

    def __init__(self, channel: Channel, desk: Futures, key: str, streams: Streams) -> None:
        self._channel, self._desk, self._key, self._streams = channel, desk, key, streams

    def read(self, message: str) -> None:
        """Answer whatever is said with nothing: there is nothing to ask here."""
        self._channel.push({"result": None, "id": msgspec.json.decode(message).get("id")})

    def session_over(self) -> None:
        """Tell that the listen key has expired."""
        self._streams.forget_keys()
        now = self._desk.server.now_ns() // MS_NS
        self._channel.push({"e": "listenKeyExpired", "E": now, "listenKey": self._key})

    def hear(self, event: Event) -> None:
        """Tell of orders and trades, and of the account after a trade."""
        found = _about(self._desk, event)
        if found is None:
            return
        order, market, trade = found
        now = self._desk.server.now_ns()
        if is_algo(order) and not is_triggered(order):
            self._channel.tell(algo_update(order, market, now))
            return
        if is_algo(order) and trade is not None and order.filled == trade.qty:
            # Touched just now: it leaves the algo service for the matching engine.
            self._channel.push(algo_update(order, market, now, "TRIGGERED"))
        update = order_trade_update(order, market, trade, now)
        self._channel.tell(update, trade=trade is not None)
        if is_algo(order) and order.status != "working":
            self._channel.push(algo_update(order, market, now, "FINISHED"))
        if trade is not None:
            self._channel.push(self._account(market, now))

    def _account(self, market: Market, now_ns: int) -> dict[str, Any]:
        exchange = self._desk.exchange
        held, cash = exchange.books.positions[market.symbol], money(exchange.cash())
        return {
            "e": "ACCOUNT_UPDATE",
            "E": now_ns // MS_NS,
            "T": exchange.now_ns // MS_NS,
            "a": {
                "m": "ORDER",
                "B": [{"a": exchange.currency, "wb": cash, "cw": cash, "bc": "0"}],
                "P": [
                    {
                        "s": market.id,
                        "pa": text(held.qty),
                        "ep": text(held.average),
                        "bep": text(held.average),
                        "cr": "0",
                        "up": "0",
                        "mt": "cross",
                        "iw": "0",
                        "ps": "BOTH",
                    }
                ],
            },
        }


def _about(desk: Desk, event: Event) -> tuple[VenueOrder, Market, VenueTrade | None] | None:
    """Return what a message to the account speaks of; None for what needs none.

    What a trade made of its order is told with the trade.
    """
    if isinstance(event, VenueTrade):
        order = desk.exchange.order(venue_id=event.venue_id)
        trade: VenueTrade | None = event
    elif isinstance(event, VenueOrder) and (event.status != "filled") and _is_news(event):
        order, trade = event, None
    else:
        return None
    market = desk.market_of(event.symbol)
    return (order, market, trade) if order is not None and market is not None else None


def _is_news(order: VenueOrder) -> bool:
    return order.status != "working" or not order.filled
