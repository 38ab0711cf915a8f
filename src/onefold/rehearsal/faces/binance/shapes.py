"""Orders and trades in Binance's words: pure functions, one per shape.

Two traps of the real venue are kept on purpose: a cancellation has a client id of its own (the
order's is then `C` or `origClientOrderId`), and a conditional order at the futures venue is first
an *algo* order with its own number, and an order of the matching engine only once it is touched.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from onefold.rehearsal.books import ZERO
from onefold.rehearsal.exchange import VenueOrder, VenuePayment, VenueTrade
from onefold.rehearsal.faces.binance.markets import MS_NS, Market, text

ALGO = 1_000_000_000
"""What is added to an order's number to make its number as an algo order."""

_STATUSES = {
    "filled": "FILLED",
    "cancelled": "CANCELED",
    "rejected": "REJECTED",
    "expired": "EXPIRED",
}
_SIDES = {1: "BUY", -1: "SELL"}


def money(number: Decimal) -> str:
    """Return a decimal with the eight places of spot."""
    return f"{number:.8f}"


def status(order: VenueOrder) -> str:
    """Return an order's status."""
    if order.status == "working":
        return "PARTIALLY_FILLED" if order.filled else "NEW"
    return _STATUSES[order.status]


def is_algo(order: VenueOrder) -> bool:
    """Return whether a futures order is (or was, until it was touched) an algo order."""
    return order.kind == "stop"


def is_triggered(order: VenueOrder) -> bool:
    """Return whether the matching engine knows a futures order."""
    return not is_algo(order) or bool(order.filled)


def _spent(order: VenueOrder) -> Decimal:
    return (order.average or ZERO) * order.filled


def _limit(order: VenueOrder) -> Decimal:
    return order.price if order.kind == "limit" and order.price is not None else ZERO


def _stop(order: VenueOrder) -> Decimal:
    return order.price if order.kind == "stop" and order.price is not None else ZERO


# -- spot ------------------------------------------------------------------------------------------


def spot_order(order: VenueOrder, market: Market) -> dict[str, Any]:
    """Return an order as queries of spot give it."""
    return {
        **_spot_facts(order, market),
        "icebergQty": "0.00000000",
        "time": order.created_ts // MS_NS,
        "updateTime": order.updated_ts // MS_NS,
        "isWorking": order.kind != "stop" or bool(order.filled),
        "workingTime": order.created_ts // MS_NS,
        "origQuoteOrderQty": "0.00000000",
    }


def spot_placed(
    order: VenueOrder, market: Market, trades: list[VenueTrade], kind: str
) -> dict[str, Any]:
    """Return the answer to a new order of spot: ACK, RESULT or FULL."""
    head = {
        "symbol": market.id,
        "orderId": order.venue_id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "transactTime": order.created_ts // MS_NS,
    }
    if kind == "ACK":
        return head
    fills = {"fills": [_spot_fill(trade) for trade in trades]} if kind == "FULL" else {}
    return {**head, **_spot_facts(order, market), **fills}


def spot_cancelled(order: VenueOrder, market: Market) -> dict[str, Any]:
    """Return the answer to a cancellation of spot."""
    return {
        **_spot_facts(order, market),
        "origClientOrderId": order.client_id,
        "clientOrderId": cancellation_id(order),
        "transactTime": order.updated_ts // MS_NS,
    }


def cancellation_id(order: VenueOrder) -> str:
    """Return the client id that the venue gives a cancellation."""
    return f"cancel-{order.venue_id}"


def _spot_facts(order: VenueOrder, market: Market) -> dict[str, Any]:
    kinds = {"market": "MARKET", "limit": "LIMIT", "stop": "STOP_LOSS"}
    return {
        "symbol": market.id,
        "orderId": order.venue_id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "price": money(_limit(order)),
        "origQty": money(order.qty),
        "executedQty": money(order.filled),
        "cummulativeQuoteQty": money(_spent(order)),
        "status": status(order),
        "timeInForce": order.time_in_force.upper(),
        "type": kinds[order.kind],
        "side": _SIDES[order.side],
        "stopPrice": money(_stop(order)),
        "selfTradePreventionMode": "NONE",
    }


def _spot_fill(trade: VenueTrade) -> dict[str, Any]:
    return {
        "price": money(trade.price),
        "qty": money(trade.qty),
        "commission": money(trade.fee),
        "commissionAsset": trade.fee_currency,
        "tradeId": trade.trade_id,
    }


def spot_trade(trade: VenueTrade, market: Market, *, maker: bool) -> dict[str, Any]:
    """Return a trade as `myTrades` gives it; it does not tell the order's client id."""
    return {
        "symbol": market.id,
        "id": trade.trade_id,
        "orderId": trade.venue_id,
        "orderListId": -1,
        "price": money(trade.price),
        "qty": money(trade.qty),
        "quoteQty": money(trade.qty * trade.price),
        "commission": money(trade.fee),
        "commissionAsset": trade.fee_currency,
        "time": trade.ts // MS_NS,
        "isBuyer": trade.side > 0,
        "isMaker": maker,
        "isBestMatch": True,
    }


def execution_report(
    order: VenueOrder, market: Market, trade: VenueTrade | None, now_ns: int
) -> dict[str, Any]:
    """Return what the user stream of spot tells of an order, or of one of its trades."""
    facts, state = _spot_facts(order, market), status(order)
    cancelled = trade is None and state == "CANCELED"
    did = "TRADE" if trade else ("NEW" if state in ("NEW", "PARTIALLY_FILLED") else state)
    return {
        "e": "executionReport",
        "E": now_ns // MS_NS,
        "s": market.id,
        "c": cancellation_id(order) if cancelled else order.client_id,
        "S": facts["side"],
        "o": facts["type"],
        "f": facts["timeInForce"],
        "q": facts["origQty"],
        "p": facts["price"],
        "P": facts["stopPrice"],
        "F": "0.00000000",
        "g": -1,
        "C": order.client_id if cancelled else "",
        "x": did,
        "X": state,
        "r": "NONE" if state != "REJECTED" else "INSUFFICIENT_BALANCES",
        "i": order.venue_id,
        "l": money(trade.qty if trade else ZERO),
        "z": facts["executedQty"],
        "L": money(trade.price if trade else ZERO),
        "n": money(trade.fee) if trade else "0",
        "N": trade.fee_currency if trade else None,
        "T": (trade.ts if trade else order.updated_ts) // MS_NS,
        "t": trade.trade_id if trade else -1,
        "I": order.venue_id,
        "w": order.status == "working" and order.kind != "stop",
        "m": bool(trade) and order.kind == "limit",
        "M": False,
        "O": order.created_ts // MS_NS,
        "Z": facts["cummulativeQuoteQty"],
        "Y": money(trade.qty * trade.price if trade else ZERO),
        "Q": "0.00000000",
        "W": order.created_ts // MS_NS,
        "V": "NONE",
    }


# -- USD-M futures ---------------------------------------------------------------------------------


def futures_order(order: VenueOrder, market: Market) -> dict[str, Any]:
    """Return an order as the futures venue gives it."""
    return {
        "orderId": order.venue_id,
        "symbol": market.id,
        "status": status(order),
        "clientOrderId": order.client_id,
        "price": text(_limit(order)),
        "avgPrice": text(order.average or ZERO),
        "origQty": text(order.qty),
        "executedQty": text(order.filled),
        "cumQty": text(order.filled),
        "cumQuote": text(_spent(order)),
        "timeInForce": order.time_in_force.upper(),
        "type": "LIMIT" if order.kind == "limit" else "MARKET",
        "reduceOnly": order.reduce_only,
        "closePosition": False,
        "side": _SIDES[order.side],
        "positionSide": "BOTH",
        "stopPrice": text(_stop(order)),
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": {"stop": "STOP_MARKET"}.get(order.kind, order.kind.upper()),
        "priceMatch": "NONE",
        "selfTradePreventionMode": "NONE",
        "goodTillDate": (order.expire_ts or 0) // MS_NS,
        "time": order.created_ts // MS_NS,
        "updateTime": order.updated_ts // MS_NS,
    }


def algo_status(order: VenueOrder) -> str:
    """Return the status of a conditional order."""
    if is_triggered(order):
        return "TRIGGERED" if order.status == "working" else "FINISHED"
    return status(order)


def algo_order(order: VenueOrder, market: Market) -> dict[str, Any]:
    """Return a conditional order as the algo service gives it."""
    made = {
        "algoId": ALGO + order.venue_id,
        "clientAlgoId": order.client_id,
        "algoType": "CONDITIONAL",
        "orderType": "STOP_MARKET",
        "symbol": market.id,
        "side": _SIDES[order.side],
        "positionSide": "BOTH",
        "timeInForce": order.time_in_force.upper(),
        "quantity": text(order.qty),
        "algoStatus": algo_status(order),
        "triggerPrice": text(_stop(order)),
        "price": "0.00",
        "icebergQuantity": None,
        "selfTradePreventionMode": "NONE",
        "workingType": "CONTRACT_PRICE",
        "priceMatch": "NONE",
        "closePosition": False,
        "priceProtect": False,
        "reduceOnly": order.reduce_only,
        "createTime": order.created_ts // MS_NS,
        "updateTime": order.updated_ts // MS_NS,
        "triggerTime": order.updated_ts // MS_NS if is_triggered(order) else 0,
        "goodTillDate": (order.expire_ts or 0) // MS_NS,
    }
    if is_triggered(order):
        made |= {
            "actualOrderId": str(order.venue_id),
            "actualPrice": text(order.average or ZERO),
            "actualQty": text(order.filled),
            "actualType": "MARKET",
        }
    return made


def futures_trade(trade: VenueTrade, market: Market, *, maker: bool) -> dict[str, Any]:
    """Return a trade as `userTrades` gives it; it does not tell the order's client id."""
    return {
        "buyer": trade.side > 0,
        "commission": text(trade.fee),
        "commissionAsset": trade.fee_currency,
        "id": trade.trade_id,
        "maker": maker,
        "orderId": trade.venue_id,
        "price": text(trade.price),
        "qty": text(trade.qty),
        "quoteQty": text(trade.qty * trade.price),
        "realizedPnl": "0",
        "side": _SIDES[trade.side],
        "positionSide": "BOTH",
        "symbol": market.id,
        "time": trade.ts // MS_NS,
    }


def payment_row(payment: VenuePayment, market: str) -> dict[str, Any]:
    """Return a payment as a row of the income history; its kind is what it is called here."""
    kind = payment.reason.upper().replace(" ", "_")
    return {
        "symbol": market,
        "incomeType": "FUNDING_FEE" if kind == "FUNDING" else kind,
        "income": text(payment.amount),
        "asset": payment.currency,
        "info": kind,
        "time": payment.ts // MS_NS,
        "tranId": payment.payment_id,
        "tradeId": "",
    }


def paid_fee(trade: VenueTrade, market: str) -> dict[str, Any]:
    """Return what a trade cost as a row of the income history; payments use its numbers too."""
    return {
        "symbol": market,
        "incomeType": "COMMISSION",
        "income": text(-trade.fee),
        "asset": trade.fee_currency,
        "info": "COMMISSION",
        "time": trade.ts // MS_NS,
        "tranId": trade.trade_id,
        "tradeId": str(trade.trade_id),
    }


def order_trade_update(
    order: VenueOrder, market: Market, trade: VenueTrade | None, now_ns: int
) -> dict[str, Any]:
    """Return what the user stream of futures tells of an order, or of one of its trades."""
    facts, state = futures_order(order, market), status(order)
    paid = {"N": trade.fee_currency, "n": text(trade.fee)} if trade else {}
    return {
        "e": "ORDER_TRADE_UPDATE",
        "E": now_ns // MS_NS,
        "T": (trade.ts if trade else order.updated_ts) // MS_NS,
        "o": {
            "s": market.id,
            "c": order.client_id,
            "S": facts["side"],
            "o": facts["type"],
            "f": facts["timeInForce"],
            "q": facts["origQty"],
            "p": facts["price"],
            "ap": facts["avgPrice"],
            "sp": facts["stopPrice"],
            "x": "TRADE" if trade else ("NEW" if state == "PARTIALLY_FILLED" else state),
            "X": state,
            "i": order.venue_id,
            "l": text(trade.qty if trade else ZERO),
            "z": facts["executedQty"],
            "L": text(trade.price if trade else ZERO),
            **paid,
            "T": (trade.ts if trade else order.updated_ts) // MS_NS,
            "t": trade.trade_id if trade else 0,
            "b": "0",
            "a": "0",
            "m": bool(trade) and order.kind == "limit",
            "R": order.reduce_only,
            "wt": "CONTRACT_PRICE",
            "ot": facts["origType"],
            "ps": "BOTH",
            "cp": False,
            "rp": "0",
            "pP": False,
            "si": 0,
            "ss": 0,
            "V": "NONE",
            "pm": "NONE",
            "gtd": facts["goodTillDate"],
        },
    }


def algo_update(
    order: VenueOrder, market: Market, now_ns: int, state: str | None = None
) -> dict[str, Any]:
    """Return what the user stream of futures tells of a conditional order."""
    facts, triggered = algo_order(order, market), is_triggered(order)
    return {
        "e": "ALGO_UPDATE",
        "T": order.updated_ts // MS_NS,
        "E": now_ns // MS_NS,
        "o": {
            "caid": order.client_id,
            "aid": facts["algoId"],
            "at": "CONDITIONAL",
            "o": "STOP_MARKET",
            "s": market.id,
            "S": facts["side"],
            "ps": "BOTH",
            "f": facts["timeInForce"],
            "q": facts["quantity"],
            "X": state or facts["algoStatus"],
            "ai": str(order.venue_id) if triggered else "",
            "ap": text(order.average or ZERO),
            "aq": text(order.filled),
            "act": "MARKET" if triggered else "0",
            "tp": facts["triggerPrice"],
            "p": "0",
            "V": "NONE",
            "wt": "CONTRACT_PRICE",
            "pm": "NONE",
            "cp": False,
            "pP": False,
            "R": order.reduce_only,
            "tt": facts["triggerTime"],
            "gtd": facts["goodTillDate"],
            "rm": order.reason,
        },
    }
