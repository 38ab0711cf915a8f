"""Between ccxt's dictionaries and our words: pure functions, tested on recorded payloads.

ccxt has already brought the exchanges' fields under common names; what is left is to take numbers
as text, times as nanoseconds, and states for what they are. A stop on Binance's futures is two
orders, the condition and the order that it triggers, each with an id of its own: to us it is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from onefold.domain.calendars import NEVER_CLOSES, seconds_to_close_at
from onefold.domain.errors import VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.records import Bar
from onefold.domain.venue import (
    Abilities,
    OrderReport,
    PaymentReport,
    PositionReport,
    Status,
    Ticket,
    TradeReport,
)

MS_NS = 1_000_000

SPOT = Abilities(times_in_force=frozenset({"gtc", "ioc"}), reduce_only=False)
FUTURES = Abilities(times_in_force=frozenset({"gtc", "gtd", "ioc"}), dead_man=True, payments=True)
UNPROVEN = Abilities(
    kinds=frozenset({"market", "limit"}),
    times_in_force=frozenset({"gtc", "ioc"}),
    reduce_only=False,
)
"""What is known to work: on Binance's spot and futures markets, and anywhere."""

_STATUS: dict[str, Status] = {
    "open": "working",
    "canceling": "working",
    # A liquidation that the insurance fund or other traders take over.
    "NEW_ADL": "working",
    "NEW_INSURANCE": "working",
    "closed": "filled",
    "canceled": "cancelled",
    "rejected": "rejected",
    "expired": "expired",
}


_TOLD_BY_TRADES = frozenset({"COMMISSION", "DELIVERED_SETTELMENT", "REALIZED_PNL"})
"""Income that trades say already; a delivery or delisting settles by an order of the venue's."""

_OWN_MONEY = frozenset({"COIN_SWAP_DEPOSIT", "COIN_SWAP_WITHDRAW"})
"""Income that is the owner's own money in another coin; so is all that is called a transfer."""


class Request(NamedTuple):
    """The arguments of ccxt's `create_order`; the amount is in contracts where there are any."""

    type: str
    side: str
    amount: Decimal
    price: Decimal | None
    trigger: Decimal | None
    params: dict[str, Any]


def order_request(ticket: Ticket, abilities: Abilities, contract_size: Decimal) -> Request:
    """Return a ticket as ccxt takes it.

    Raises `VenueRefused` for what the exchange cannot do, which is thereby never tried.
    """
    _check(ticket, abilities)
    params: dict[str, Any] = {"clientOrderId": ticket.client_id}
    if ticket.reduce_only:
        params["reduceOnly"] = True
    if ticket.kind == "limit" and ticket.time_in_force != "gtc":
        # A market order is immediate by nature, and exchanges refuse to be told so.
        params["timeInForce"] = ticket.time_in_force.upper()
        if ticket.expire_ts is not None:
            params["goodTillDate"] = ticket.expire_ts // MS_NS
    stop = ticket.kind == "stop"
    return Request(
        type="limit" if ticket.kind == "limit" else "market",
        side="buy" if ticket.side > 0 else "sell",
        amount=ticket.qty / contract_size,
        price=ticket.price if ticket.kind == "limit" else None,
        trigger=ticket.price if stop else None,
        params=params,
    )


def _check(ticket: Ticket, abilities: Abilities) -> None:
    problem = ""
    if ticket.kind not in abilities.kinds:
        problem = f"no {ticket.kind} orders"
    elif ticket.time_in_force not in abilities.times_in_force:
        problem = f"no orders that are {ticket.time_in_force}"
    elif ticket.kind == "stop" and ticket.time_in_force != "gtc":
        problem = "no stop orders but gtc"
    elif ticket.reduce_only and not abilities.reduce_only:
        problem = "no orders that only reduce"
    elif ticket.kind != "market" and ticket.price is None:
        problem = f"no {ticket.kind} orders without a price"
    elif ticket.time_in_force == "gtd" and ticket.expire_ts is None:
        problem = "no gtd orders without a time"
    if problem:
        raise VenueRefused(f"{ticket.symbol}: the exchange takes {problem}: not sent")


def order_report(
    order: Mapping[str, Any], symbol: str, contract_size: Decimal, client_id: str | None = None
) -> OrderReport:
    """Return an order of ccxt as a report; `client_id` where the answer need not say it.

    Raises `VenueUncertain` for a state that is not known, or where something is missing.
    """
    amount = _decimal(order.get("amount"))
    filled = _decimal(order.get("filled"))
    info = order.get("info") or {}
    condition = condition_state(order)
    if condition:
        filled = _decimal(info.get("aq"))
        status = _condition_status(condition, filled, amount)
    else:
        status = _status(order)
    return OrderReport(
        client_id=client_id if client_id is not None else str(order.get("clientOrderId") or ""),
        venue_id=_text(order, "id"),
        symbol=symbol,
        status=status,
        filled=filled * contract_size,
        reason=_reason(info),
        ts=_ts(order),
    )


def _status(order: Mapping[str, Any]) -> Status:
    status = _STATUS.get(str(order.get("status")))
    if status is None:
        raise VenueUncertain(f"order {order.get('id')}: state {order.get('status')!r} is not known")
    return status


def condition_state(order: Mapping[str, Any]) -> str:
    """Return the state of a condition of Binance's futures; an empty text for any other order."""
    info = order.get("info") or {}
    return str(info.get("algoStatus") or (info.get("X") if "aid" in info else "") or "")


def _condition_status(state: str, filled: Decimal, amount: Decimal) -> Status:
    """Return the state of a condition together with the order that it triggers.

    https://developers.binance.com/docs/derivatives/usds-margined-futures/user-data-streams
    """
    if state in ("NEW", "TRIGGERING", "TRIGGERED"):
        return "working"
    if state == "FINISHED":
        return "filled" if filled >= amount else "cancelled"
    states: dict[str, Status] = {
        "CANCELED": "cancelled",
        "REJECTED": "rejected",
        "EXPIRED": "expired",
    }
    if state not in states:
        raise VenueUncertain(f"conditional order: state {state!r} is not known")
    return states[state]


def triggered_id(order: Mapping[str, Any]) -> str:
    """Return the id of the order that a condition has triggered, or an empty text."""
    info = order.get("info") or {}
    return str(info.get("actualOrderId") or info.get("ai") or "")


def _reason(info: Mapping[str, Any]) -> str:
    reason = str(info.get("r") or info.get("rm") or info.get("rejectReason") or "")
    return "" if reason == "NONE" else reason


def trade_event(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a message of Binance's stream about an order as ccxt reads trades, None if it is none.

    What says so is a quantity with a trade's id: liquidations are trades under another name, and
    some messages that are called trades, or have a quantity, are none.
    """
    traded = _decimal(event.get("l")) > 0 and _decimal(event.get("t")) > 0
    return {**event, "x": "TRADE"} if traded else None


def trade_report(
    trade: Mapping[str, Any], symbol: str, contract_size: Decimal, client_id: str
) -> TradeReport:
    """Return a trade of ccxt as a report; raises `VenueUncertain` where it lacks something."""
    fee = trade.get("fee") or {}
    price = _decimal(_text(trade, "price"))
    if not price:
        raise VenueUncertain(f"trade {trade.get('id')} without a price")
    return TradeReport(
        trade_id=_text(trade, "id"),
        client_id=client_id,
        venue_id=str(trade.get("order") or ""),
        symbol=symbol,
        side=1 if _text(trade, "side") == "buy" else -1,
        qty=_decimal(_text(trade, "amount")) * contract_size,
        price=price,
        ts=_ts(trade),
        fee=_decimal(fee.get("cost")),
        fee_currency=str(fee.get("currency") or ""),
    )


def income_ms(row: Mapping[str, Any]) -> int:
    """Return when a row of Binance's income history happened, in ms."""
    return int(_text(row, "time"))


def payment_report(row: Mapping[str, Any], symbol: str) -> PaymentReport | None:
    """Return a row of Binance's income history as a report, None where it is no payment.

    A kind that is not known is a payment: it has changed the cash. Numbers of transactions are
    unique within a kind only, so the id has both; and what they might yet share, symbol and coin.
    Raises `VenueUncertain` where something is missing.

    https://developers.binance.com/docs/derivatives/usds-margined-futures/account/rest-api/Get-Income-History
    """
    kind, amount = _text(row, "incomeType"), _decimal(_text(row, "income"))
    if kind in _TOLD_BY_TRADES or kind in _OWN_MONEY or kind.endswith("TRANSFER"):
        return None
    if not amount.is_finite():
        raise VenueUncertain(f"an income of {amount}")
    coin = _text(row, "asset")
    return PaymentReport(
        payment_id=f"{kind}/{_text(row, 'tranId')}/{row.get('symbol') or ''}/{coin}",
        ts=income_ms(row) * MS_NS,
        amount=amount,
        currency=coin,
        reason=kind.lower().replace("_", " "),
        symbol=symbol,
    )


def position_report(
    positions: Sequence[Mapping[str, Any]], symbol: str, contract_size: Decimal
) -> PositionReport | None:
    """Return what is held of a symbol over both sides, or None when it is nothing."""
    held = [p for p in positions if _decimal(p.get("contracts"))]
    signs = [-1 if p["side"] == "short" else 1 for p in held]
    contracts = [s * _decimal(p["contracts"]) for s, p in zip(signs, held, strict=True)]
    qty = sum(contracts, Decimal(0)) * contract_size
    if not qty:
        return None
    # An average over two sides would be a price that nobody paid.
    entry = held[0].get("entryPrice") if len(held) == 1 else None
    return PositionReport(symbol, qty, None if entry is None else _decimal(entry))


def balance_report(balance: Mapping[str, Any], currency: str, symbol: str) -> PositionReport | None:
    """Return what is held of a spot market's currency, or None when it is nothing."""
    total = _decimal((balance.get("total") or {}).get(currency))
    return PositionReport(symbol, total) if total else None


def bar(candle: Sequence[Any], instrument: Instrument, interval_ns: int) -> Bar:
    """Return a candle (open time in ms, open, high, low, close, volume) as a bar."""
    ts_open = int(candle[0]) * MS_NS
    ts = ts_open + interval_ns
    left = seconds_to_close_at(instrument.calendar, ts, interval_ns)
    return Bar(
        instrument=instrument.symbol,
        ts=ts,
        ts_open=ts_open,
        open=float(candle[1]),
        high=float(candle[2]),
        low=float(candle[3]),
        close=float(candle[4]),
        volume=None if candle[5] is None else float(candle[5]),
        to_close_s=None if left == NEVER_CLOSES else left,
    )


def final_candle(kline: Mapping[str, Any]) -> list[Any] | None:
    """Return a candle of Binance's stream once it is final, None while it is still open."""
    if kline.get("x") is not True:
        return None
    return [kline[key] for key in ("t", "o", "h", "l", "c", "v")]


def _text(thing: Mapping[str, Any], name: str) -> str:
    value = thing.get(name)
    if value is None or value == "":
        raise VenueUncertain(f"an answer without {name!r}")
    return str(value)


def _decimal(value: Any) -> Decimal:
    try:
        return Decimal(0) if value is None or value == "" else Decimal(str(value))
    except ArithmeticError as error:
        raise VenueUncertain(f"an answer with {value!r} for a number") from error


def _ts(thing: Mapping[str, Any]) -> int:
    ms = thing.get("lastUpdateTimestamp") or thing.get("timestamp") or 0
    return int(ms) * MS_NS
