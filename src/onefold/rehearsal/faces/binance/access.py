"""Who may ask, and how Binance says no.

Requests are checked as the venue checks them: the key in a header, and an HMAC-SHA256 of the query
as it was sent. A client with wrong keys, or one that signs something else than it sends, must not
get through a rehearsal.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from urllib.parse import parse_qsl

from aiohttp import web

from onefold.rehearsal.exchange import Refusal
from onefold.rehearsal.server import json_response

CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")

_FAILURES: dict[str, tuple[int, int, str]] = {
    "no_key": (401, -2014, "API-key format invalid."),
    "wrong_key": (401, -2015, "Invalid API-key, IP, or permissions for action."),
    "session_expired": (401, -2015, "Invalid API-key, IP, or permissions for action."),
    "wrong_signature": (400, -1022, "Signature for this request is not valid."),
    "no_listen_key": (400, -1125, "This listenKey does not exist."),
    "too_many": (429, -1003, "Too many requests; current limit is 2400 requests per minute."),
    "failed": (503, -1000, "Unknown error, please check your request or try again later."),
    "missing": (400, -1102, "Mandatory parameter '{}' was not sent, was empty/null, or malformed."),
    "illegal": (400, -1100, "Illegal characters found in parameter '{}'."),
    "interval": (400, -1120, "Invalid interval."),
    "time_in_force": (400, -1115, "Invalid timeInForce."),
    "order_type": (400, -1116, "Invalid orderType."),
    "side": (400, -1117, "Invalid side."),
    "unknown_symbol": (400, -1121, "Invalid symbol."),
    "unknown_order": (400, -2013, "Order does not exist."),
    "nothing_to_cancel": (400, -2011, "Unknown order sent."),
    "duplicate_client_id": (400, -2010, "Duplicate order sent."),
    "no_balance": (400, -2010, "Account has insufficient balance for requested action."),
    "min_qty": (400, -1013, "Filter failure: LOT_SIZE"),
    "lot_size": (400, -1013, "Filter failure: LOT_SIZE"),
    "tick_size": (400, -1013, "Filter failure: PRICE_FILTER"),
    "too_many_orders": (400, -1013, "Filter failure: MAX_NUM_ORDERS"),
    "bad_order": (400, -1106, "{}"),
    "rejected": (400, -2010, "{}"),
    "no_margin": (400, -2019, "Margin is insufficient."),
    "reduce_only": (400, -2022, "ReduceOnly Order is rejected."),
    "to_algo": (
        400,
        -4120,
        "Order type not supported for this endpoint. Please use the Algo Order API endpoints.",
    ),
}
_FUTURES_FAILURES: dict[str, tuple[int, int, str]] = {
    "duplicate_client_id": (400, -4116, "ClientOrderId is duplicated."),
    "min_qty": (400, -4003, "Quantity less than or equal to zero."),
    "lot_size": (400, -1111, "Precision is over the maximum defined for this asset."),
    "tick_size": (400, -4014, "Price not increased by tick size."),
    "too_many_orders": (400, -2025, "Reach max open order limit."),
}


def failure(refusal: Refusal, *, futures: bool) -> tuple[int, int, str]:
    """Return HTTP status, code and message with which Binance refuses."""
    known = {**_FAILURES, **_FUTURES_FAILURES} if futures else _FAILURES
    status, code, message = known.get(refusal.code, _FAILURES["rejected"])
    return status, code, message.replace("{}", refusal.reason)


def refused(refusal: Refusal, request: web.Request, retry_after_s: float) -> web.Response:
    """Return the answer with which Binance refuses."""
    cancels = request.method == "DELETE" and refusal.code == "unknown_order"
    if cancels:
        refusal = Refusal(refusal.reason, "nothing_to_cancel")
    status, code, message = failure(refusal, futures=request.path.startswith("/fapi"))
    headers = {"Retry_After": f"{retry_after_s:g}"} if status == 429 else {}
    return json_response({"code": code, "msg": message}, status, **headers)


class Access:
    """The one key of the account."""

    def __init__(self, key: str, secret: str) -> None:
        self._key, self._secret = key, secret.encode()

    def check_key(self, given: str | None) -> None:
        """Raise `Refusal` for a key that is not the account's."""
        if not given:
            raise Refusal("there is no key", "no_key")
        if not hmac.compare_digest(given.encode(), self._key.encode()):
            raise Refusal("the key is not known", "wrong_key")

    async def signed(self, request: web.Request) -> dict[str, str]:
        """Return the parameters of a signed request. Raises `Refusal`."""
        self.check_key(request.headers.get("X-MBX-APIKEY"))
        sent = request.rel_url.raw_query_string + await request.text()
        signed, _, signature = sent.rpartition("signature=")
        self._check_signature(signed.removesuffix("&"), signature)
        found = dict(parse_qsl(signed, keep_blank_values=True))
        need(found, "timestamp")
        return found

    def check_message(self, found: Mapping[str, object]) -> None:
        """Raise `Refusal` for a message of the WebSocket API that is not signed by the account."""
        self.check_key(str(found.get("apiKey", "")))
        signed = "&".join(f"{k}={v}" for k, v in sorted(found.items()) if k != "signature")
        self._check_signature(signed, str(found.get("signature", "")))

    def _check_signature(self, signed: str, signature: str) -> None:
        due = hmac.new(self._secret, signed.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(due, signature):
            raise Refusal("the signature is wrong", "wrong_signature")


def need(params: Mapping[str, str], name: str) -> str:
    """Return a parameter. Raises `Refusal` when it is missing."""
    if not params.get(name):
        raise Refusal(name, "missing")
    return params[name]


def amount(params: Mapping[str, str], name: str) -> Decimal:
    """Return a parameter as a decimal. Raises `Refusal`."""
    try:
        number = Decimal(need(params, name))
    except InvalidOperation:
        raise Refusal(name, "illegal") from None
    if not number.is_finite():
        raise Refusal(name, "illegal")
    return number


def whole(params: Mapping[str, str], name: str, otherwise: int) -> int:
    """Return a parameter as an integer, or what holds without it. Raises `Refusal`."""
    if name not in params:
        return otherwise
    try:
        return int(params[name])
    except ValueError:
        raise Refusal(name, "illegal") from None


def truth(params: Mapping[str, str], name: str) -> bool:
    """Return a parameter as a truth value."""
    return params.get(name, "false").lower() == "true"


def client_id_of(params: Mapping[str, str], name: str, number: int) -> str:
    """Return the client id of a new order, or one that the venue makes. Raises `Refusal`."""
    given = params.get(name) or f"venue-{number}"
    if not CLIENT_ID.fullmatch(given):
        raise Refusal(name, "illegal")
    return given
