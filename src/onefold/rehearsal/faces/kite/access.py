"""Who may ask, and how Kite says no: a header with key and token, and a named exception."""

from __future__ import annotations

import hmac
from email.utils import formatdate
from typing import Any

import msgspec
from aiohttp import web

from onefold.rehearsal.exchange import Refusal
from onefold.rehearsal.server import SECOND_NS

KEY = "rehearsal"

_TOKEN = (403, "TokenException", "Incorrect `api_key` or `access_token`.")
_MISSING = (404, "GeneralException", "Couldn't find that `order_id`.")
_FAILURES: dict[str, tuple[int, str, str]] = {
    "wrong_token": _TOKEN,
    "session_expired": _TOKEN,
    "too_many": (429, "NetworkException", "Too many requests"),
    "failed": (503, "NetworkException", "{}"),
    "unknown_order": _MISSING,
    "no_balance": (400, "MarginException", "Insufficient funds. {}"),
    "no_margin": (400, "MarginException", "Insufficient funds. {}"),
    "rejected": (400, "OrderException", "{}"),
    "too_many_orders": (400, "OrderException", "{}"),
}
_LISTS = ("/orders", "/trades")


def refused(
    refusal: Refusal, request: web.Request, retry_after_s: float, now_ns: int
) -> web.Response:
    """Return the answer with which Kite refuses.

    Orders are looked for in the day's list: one that is not known is simply not in it.
    """
    if refusal.code == "unknown_order" and request.method == "GET" and request.path in _LISTS:
        return answered([], now_ns)
    status, kind, words = _FAILURES.get(refusal.code, (400, "InputException", "{}"))
    message = words.replace("{}", refusal.reason)
    payload = {"status": "error", "message": message, "data": None, "error_type": kind}
    response = _json(payload, now_ns, status)
    if status == 429:
        response.headers["Retry-After"] = f"{retry_after_s:g}"
    return response


def answered(data: Any, now_ns: int) -> web.Response:
    """Return data as Kite wraps them."""
    return _json({"status": "success", "data": data}, now_ns)


def dated(response: web.Response, now_ns: int) -> web.Response:
    """Return an answer with the venue's time: Kite tells it in no other place."""
    response.headers["Date"] = formatdate(now_ns // SECOND_NS, usegmt=True)
    return response


def _json(payload: Any, now_ns: int, status: int = 200) -> web.Response:
    body = msgspec.json.encode(payload)
    return dated(web.Response(body=body, status=status, content_type="application/json"), now_ns)


class Access:
    """The one key of the account, and the token of its session."""

    def __init__(self, key: str, token: str) -> None:
        self._key, self._token = key, token

    def check_header(self, request: web.Request) -> None:
        """Raise `Refusal` for a request without the account's key and token."""
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"token {self._key}:{self._token}".encode()):
            raise Refusal("the token is not known", "wrong_token")

    def fits(self, key: str, token: str) -> bool:
        """Return whether these are the account's key and token."""
        return hmac.compare_digest(f"{key}:{token}".encode(), f"{self._key}:{self._token}".encode())
