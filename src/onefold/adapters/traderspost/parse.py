"""Between tickets and TradersPost's messages: pure functions.

https://docs.traderspost.io/docs/core-concepts/signals/webhooks
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from onefold.domain.errors import VenueRefused, VenueUncertain
from onefold.domain.venue import Abilities, Ticket

ABILITIES = Abilities(
    kinds=frozenset({"market"}),
    times_in_force=frozenset({"gtc", "day", "ioc"}),
    reduce_only=True,
    confirms=False,
)
"""Market orders only: TradersPost cancels all that rests in a ticker with the next message for it,
and cannot cancel one order, so nothing may rest."""

WORDS_MAX = 200
_SAYS_NOTHING = frozenset({"invalid-payload", "empty-json"})

Message = dict[str, Any]


def order_message(ticket: Ticket, ticker: str) -> Message:
    """Return a ticket as a message.

    What only reduces is an exit, which opens nothing where there is nothing to leave. Our name goes
    along for whoever reads TradersPost's log. Raises `VenueRefused` for what cannot be done.
    """
    problem = ""
    if ticket.kind not in ABILITIES.kinds:
        problem = f"no {ticket.kind} orders"
    elif ticket.time_in_force not in ABILITIES.times_in_force:
        problem = f"no orders that are {ticket.time_in_force}"
    elif ticket.qty <= 0:
        problem = f"no quantity of {ticket.qty}"
    if problem:
        raise VenueRefused(f"{ticket.symbol}: TradersPost takes {problem}: not sent")
    side = "buy" if ticket.side > 0 else "sell"
    return {
        "ticker": ticker,
        "action": "exit" if ticket.reduce_only else side,
        "quantity": _plain(ticket.qty),
        "orderType": "market",
        "timeInForce": ticket.time_in_force,
        "extras": {"clientOrderId": ticket.client_id},
    }


def accepted(answer: Any) -> str:
    """Return TradersPost's number of a message that it took.

    Raises `VenueRefused` where it says that it did not, `VenueUncertain` where it says neither.
    """
    if isinstance(answer, dict) and answer.get("success") is False:
        raise VenueRefused(refusal(200, answer))
    if not isinstance(answer, dict) or answer.get("success") is not True:
        raise VenueUncertain("TradersPost's answer does not say whether it took the order")
    return str(answer.get("id") or "")


def unsent(answer: Any) -> bool:
    """Return whether TradersPost complains only that a message orders nothing."""
    return isinstance(answer, dict) and answer.get("messageCode") in _SAYS_NOTHING


def refusal(status: int, answer: Any) -> str:
    """Return in words why a message was refused."""
    told = answer if isinstance(answer, dict) else {}
    reason = told.get("message") or told.get("messageCode") or "no reason given"
    return f"TradersPost answers {status}: {' '.join(str(reason).split())}"[:WORDS_MAX]


def _plain(number: Decimal) -> Decimal:
    """Return a number that is written without an exponent."""
    return Decimal(f"{number:f}")
