"""What is asked of a real venue and what it answers, in the venue's own quantities.

Records speak of whole lots and of our numbers; a venue speaks of units, of its own ids and of ours
as text. These are the words between: an adapter turns them into its venue's messages and back, and
knows nothing of strategies, and the engine turns them into records. Units and prices are decimals,
because the books must equal the venue's to the last digit. Times are nanoseconds UTC.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

Status = Literal["working", "filled", "cancelled", "rejected", "expired"]
"""What a venue says an order is; all but `working` are final."""


class Ticket(msgspec.Struct, frozen=True):
    """An order as it leaves the process.

    `client_id` (letters, digits, `-`, at most 32) names it for ever: the same one is never sent
    twice. `qty` is in units and positive, `side` +1 or -1, `kind` market, limit or stop, `price`
    the limit or the stop, `time_in_force` gtc, day, gtd or ioc, `expire_ts` only with gtd.
    """

    client_id: str
    symbol: str
    side: int
    qty: Decimal
    kind: str = "market"
    price: Decimal | None = None
    time_in_force: str = "gtc"
    expire_ts: int | None = None
    reduce_only: bool = False


class OrderReport(msgspec.Struct, frozen=True):
    """What a venue says of an order; `client_id` is empty for an order that we did not name."""

    client_id: str
    venue_id: str
    symbol: str
    status: Status
    filled: Decimal = Decimal(0)
    reason: str = ""
    ts: int = 0


class TradeReport(msgspec.Struct, frozen=True):
    """One trade of an order. `trade_id` is the venue's, by which it is counted once.

    `fee` is what it cost (negative: a rebate) in `fee_currency`.
    """

    trade_id: str
    client_id: str
    venue_id: str
    symbol: str
    side: int
    qty: Decimal
    price: Decimal
    ts: int
    fee: Decimal = Decimal(0)
    fee_currency: str = ""


class PositionReport(msgspec.Struct, frozen=True):
    """What the venue says is held of a symbol, in units; negative is short."""

    symbol: str
    qty: Decimal
    average: Decimal | None = None


class PaymentReport(msgspec.Struct, frozen=True):
    """Money that an account received (negative: paid) other than by a trade, such as funding.

    `payment_id` is the venue's, by which it is booked once; `reason` says what it was for.
    """

    payment_id: str
    ts: int
    amount: Decimal
    currency: str
    reason: str = ""
    symbol: str = ""


Report = OrderReport | TradeReport


class Abilities(msgspec.Struct, frozen=True):
    """What a venue can do; what it cannot is refused before it is tried.

    `confirms` is false where nothing ever comes back (a webhook): fills are then modelled and
    marked as unconfirmed. `dead_man` says that it cancels all orders when it stops hearing of us,
    `payments` that it tells what it charges and pays besides trades.
    """

    kinds: frozenset[str] = frozenset({"market", "limit", "stop"})
    times_in_force: frozenset[str] = frozenset({"gtc", "day", "gtd", "ioc"})
    reduce_only: bool = True
    confirms: bool = True
    dead_man: bool = False
    payments: bool = False
