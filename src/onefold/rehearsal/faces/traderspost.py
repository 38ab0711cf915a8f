"""TradersPost's webhook: takes messages, makes orders of them, and tells nothing back.

A message that can be read is taken. What becomes of it is between TradersPost and the broker, so an
order that the exchange refuses looks to the sender like any other.
https://docs.traderspost.io/docs/learn/order-behavior
"""

from __future__ import annotations

import hmac
from contextlib import suppress
from decimal import Decimal
from email.utils import formatdate
from typing import Any

import msgspec
from aiohttp import web

from onefold.rehearsal.books import ZERO, exact
from onefold.rehearsal.exchange import Exchange, Refusal
from onefold.rehearsal.server import SECOND_NS, Server

UUID = "00000000-0000-4000-8000-000000000000"
PASSWORD = "rehearsal"  # noqa: S105 - of a server that is nobody's
PATH = "/trading/webhook/{uuid}/{password}"

ACTIONS = ("buy", "sell", "exit", "cancel", "add")
TIMES_IN_FORCE = ("day", "gtc", "gtd", "opg", "cls", "ioc", "fok")
_STATUS = {"too_many": 429, "failed": 503, "unknown": 404}
_CODES = {"invalid-password", "session_expired"}


class TradersPost:
    """One strategy's webhook."""

    def __init__(self, password: str = PASSWORD) -> None:
        self._password = password
        self._count = 0

    def routes(self, server: Server) -> list[web.RouteDef]:
        """Return the webhook, and the root at which there is nothing but the time."""
        self._server = server
        return [
            server.route(self, "submit", "POST", PATH, self._take),
            server.route(self, "query", "GET", "/", self._nothing),
        ]

    def failed(
        self,
        refusal: Refusal,
        request: web.Request,  # noqa: ARG002 - it says no to everything alike
        retry_after_s: float = 0.0,
    ) -> web.Response:
        """Return how TradersPost says no."""
        code = "invalid-password" if refusal.code in _CODES else refusal.code
        payload = {"success": False, "messageCode": code, "message": refusal.reason}
        response = self._answer(payload, _STATUS.get(code, 400))
        if response.status == 429:
            response.headers["Retry-After"] = f"{retry_after_s:g}"
        return response

    @staticmethod
    def urls(base: str) -> dict[str, str]:
        """Return the URLs to give a client, by what they are for."""
        return {"webhook": base + PATH.format(uuid=UUID, password=PASSWORD)}

    async def _nothing(self, _: web.Request) -> web.Response:
        return self._answer({"success": False, "messageCode": "not-found"}, 404)

    async def _take(self, request: web.Request) -> web.Response:
        given = request.match_info["password"]
        if not hmac.compare_digest(given.encode(), self._password.encode()):
            raise Refusal("Password is invalid.", "invalid-password")
        message = _read(await request.read())
        with suppress(Refusal):
            _trade(self._server.exchange, message)
        self._count += 1
        number = f"00000000-0000-4000-8000-{self._count:012d}"
        return self._answer({"success": True, "id": number, "payload": message}, 200)

    def _answer(self, payload: dict[str, Any], status: int) -> web.Response:
        body = msgspec.json.encode(payload)
        date = formatdate(self._server.now_ns() // SECOND_NS, usegmt=True)
        return web.Response(
            body=body, status=status, content_type="application/json", headers={"Date": date}
        )


def _read(body: bytes) -> dict[str, Any]:
    """Return a message that TradersPost would take. Raises `Refusal`."""
    try:
        message = msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise Refusal("The JSON payload could not be parsed.", "malformed-json") from None
    if not isinstance(message, dict) or not message.get("ticker") or not message.get("action"):
        raise Refusal("Both the action and ticker fields are required.", "invalid-payload")
    if message["action"] not in ACTIONS:
        raise Refusal(f"Action must be one of: {', '.join(ACTIONS)}.", "invalid-action")
    if message.get("orderType", "market") != "market":
        raise Refusal("a rehearsal takes market orders only", "invalid-order-type")
    if message.get("timeInForce", "day") not in TIMES_IN_FORCE:
        raise Refusal("Invalid timeInForce.", "invalid-time-in-force")
    if not isinstance(message.get("quantity", 1), int | float) or message.get("quantity", 1) <= 0:
        raise Refusal("Invalid quantity.", "invalid-quantity")
    return message


def _trade(exchange: Exchange, message: dict[str, Any]) -> None:
    """Do what a message says. Raises `Refusal`.

    Whatever rests in the ticker is cancelled first. What is held is left before the other side is
    entered, and nothing is added to it unless the message says so.
    """
    symbol, action = message["ticker"], message["action"]
    if symbol not in exchange.instruments:
        raise Refusal(f"{symbol} is not listed", "unknown_symbol")
    exchange.cancel_all(symbol)
    held = exchange.positions()[symbol]
    side = {"buy": 1, "sell": -1, "add": 1 if held > 0 else -1}.get(action, 0)
    wanted = exact(message["quantity"]) if "quantity" in message else None
    name = str((message.get("extras") or {}).get("clientOrderId") or "")
    if held and (action == "exit" or held * side < 0):
        quantity = abs(held) if wanted is None else min(abs(held), wanted)
        _send(exchange, name, symbol, -1 if held > 0 else 1, quantity, reduce_only=True)
    elif side and (not held or action == "add"):
        quantity = exact(exchange.instruments[symbol].lot) if wanted is None else wanted
        _send(exchange, name, symbol, side, quantity, reduce_only=False)


def _send(
    exchange: Exchange, name: str, symbol: str, side: int, quantity: Decimal, *, reduce_only: bool
) -> None:
    taken = bool(name) and exchange.order(client_id=name) is not None
    if quantity > ZERO:
        exchange.submit("" if taken else name, symbol, side, quantity, reduce_only=reduce_only)
