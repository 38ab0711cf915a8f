"""Who may ask, how OANDA says no, and what its parameters mean.

A refused order is a transaction like any other: the answer carries it, with its reason in capitals.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from onefold.rehearsal.exchange import Refusal
from onefold.rehearsal.server import SECOND_NS, json_response

UNAUTHORISED = "Insufficient authorization to perform request."

_FAILURES: dict[str, tuple[int, str]] = {
    "wrong_token": (401, UNAUTHORISED),
    "session_expired": (401, UNAUTHORISED),
    "wrong_account": (403, "The provided request was forbidden."),
    "too_many": (429, "Too many requests."),
    "failed": (503, "The server is temporarily unable to service your request."),
    "invalid": (400, "Invalid value specified for '{}'"),
    "unknown_symbol": (400, "Invalid value specified for 'instrument'"),
}
_REJECTED: dict[str, str] = {
    "duplicate_client_id": "CLIENT_ORDER_ID_ALREADY_EXISTS",
    "tick_size": "PRICE_PRECISION_EXCEEDED",
    "lot_size": "UNITS_PRECISION_EXCEEDED",
    "min_qty": "UNITS_MIMIMUM_NOT_MET",  # so spelt by OANDA
    "units_limit": "UNITS_LIMIT_EXCEEDED",
    "too_many_orders": "PENDING_ORDERS_ALLOWED_EXCEEDED",
    "time_in_force": "TIME_IN_FORCE_INVALID",
    "reduce_only": "CLOSEOUT_POSITION_DOESNT_EXIST",
    "rejected": "INSTRUMENT_NOT_TRADEABLE",
}


def refused(
    refusal: Refusal, request: web.Request, last_id: str, retry_after_s: float
) -> web.Response:
    """Return the answer with which OANDA refuses."""
    if refusal.code == "unknown_order":
        return json_response(_no_such_order(request, last_id), 404)
    if refusal.code in _FAILURES:
        status, message = _FAILURES[refusal.code]
        headers = {"Retry_After": f"{retry_after_s:g}"} if status == 429 else {}
        return json_response(
            {"errorMessage": message.replace("{}", refusal.reason)}, status, **headers
        )
    reason = _REJECTED.get(refusal.code, "UNITS_INVALID")
    rejection = {"type": "MARKET_ORDER_REJECT", "rejectReason": reason, "reason": "CLIENT_ORDER"}
    return json_response(_failed("orderRejectTransaction", rejection, reason, refusal.reason), 400)


def _no_such_order(request: web.Request, last_id: str) -> dict[str, Any]:
    if request.method == "GET":
        return {
            "errorCode": "NO_SUCH_ORDER",
            "errorMessage": "The order ID specified does not exist",
            "lastTransactionID": last_id,
        }
    reason = "ORDER_DOESNT_EXIST"
    rejection = {"type": "ORDER_CANCEL_REJECT", "rejectReason": reason}
    words = "The Order specified does not exist"
    return _failed("orderCancelRejectTransaction", rejection, reason, words)


def _failed(name: str, transaction: dict[str, Any], code: str, words: str) -> dict[str, Any]:
    return {
        name: transaction,
        "relatedTransactionIDs": [],
        "errorCode": code,
        "errorMessage": words,
    }


class Access:
    """The token of a user, and the one account that it opens."""

    def __init__(self, token: str, account: str) -> None:
        self._token, self.account = token, account

    def check(self, request: web.Request) -> None:
        """Raise `Refusal` for a stranger, and for another's account."""
        given = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            raise Refusal("the token is not known", "wrong_token")
        if request.match_info.get("account", self.account) != self.account:
            raise Refusal("the account is another's", "wrong_account")


def text(found: Mapping[str, Any], name: str) -> str:
    """Return a parameter. Raises `Refusal` when it is missing, or no text."""
    value = found.get(name)
    if not isinstance(value, str) or not value:
        raise Refusal(name, "invalid")
    return value


def amount(found: Mapping[str, Any], name: str) -> Decimal:
    """Return a parameter as a decimal; numbers are text, as OANDA has them. Raises `Refusal`."""
    try:
        number = Decimal(text(found, name))
    except InvalidOperation:
        raise Refusal(name, "invalid") from None
    if not number.is_finite():
        raise Refusal(name, "invalid")
    return number


def whole(found: Mapping[str, Any], name: str, otherwise: int, most: int) -> int:
    """Return a parameter as an integer from 1 to `most`. Raises `Refusal`."""
    try:
        number = int(found.get(name, otherwise))
    except ValueError:
        raise Refusal(name, "invalid") from None
    if not 1 <= number <= most:
        raise Refusal(name, "invalid")
    return number


def moment(found: Mapping[str, Any], name: str, otherwise: int) -> int:
    """Return a parameter (RFC 3339) in nanoseconds UTC. Raises `Refusal`."""
    if name not in found:
        return otherwise
    seconds, _, fraction = str(found[name]).removesuffix("Z").partition(".")
    try:
        whole_s = int(datetime.fromisoformat(seconds).replace(tzinfo=UTC).timestamp())
        return whole_s * SECOND_NS + int(fraction.ljust(9, "0") or 0)
    except ValueError:
        raise Refusal(name, "invalid") from None


def stamp(ts: int) -> str:
    """Return a time as OANDA writes it."""
    seconds, rest = divmod(ts, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
