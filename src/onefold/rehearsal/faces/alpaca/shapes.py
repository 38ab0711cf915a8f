"""Orders, trades, positions and assets in Alpaca's words: pure functions, one per shape.

Traps of the real venue are kept on purpose: every order has a name, a made one where the client
gave none; an activity tells of a trade by the order's number only; an ioc order that missed is
called canceled; a position in a coin is written without the slash that its orders have; activities
other than trades are numbered by their day, and within it by chance.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument, Kind
from onefold.rehearsal.books import ZERO, Position, exact
from onefold.rehearsal.exchange import Exchange, VenueOrder, VenuePayment, VenueTrade

SECOND_NS = 1_000_000_000
NEW_YORK = ZoneInfo("America/New_York")
ACCOUNT_ID = "00000000-0000-4000-8000-000000000001"
_ORDER, _ASSET, _EXECUTION, _NAME = "0000000a", "0000000b", "0000000c", "0000000d"
_SIDES = {1: "buy", -1: "sell"}
_PAID_FOR = {"dividend": "DIV", "fee": "FEE"}
_SCATTER = 2_654_435_761
"""Multiplied with it, numbers that follow each other lie far apart (Knuth)."""


class Market(NamedTuple):
    """A symbol as Alpaca lists it: `symbol` is ours, `name` theirs."""

    number: int
    symbol: str
    name: str
    coin: bool
    tick: str
    lot: str
    short: bool

    @property
    def asset_class(self) -> str:
        """Return what Alpaca calls its kind."""
        return "crypto" if self.coin else "us_equity"

    @property
    def plain(self) -> str:
        """Return its name without the slash."""
        return self.name.replace("/", "")


def markets(instruments: Iterable[Instrument]) -> list[Market]:
    """Return the markets. Raises `ConfigError` for what Alpaca does not trade."""
    return [_market(number, one) for number, one in enumerate(instruments, start=1)]


def _market(number: int, one: Instrument) -> Market:
    if one.kind not in (Kind.EQUITY, Kind.CRYPTO):
        raise ConfigError(f"{one.symbol} is a {one.kind}: Alpaca has shares and coins only")
    coin = one.kind is Kind.CRYPTO
    name = one.symbol
    if coin and "/" not in name:
        name = f"{name.removesuffix(one.currency)}/{one.currency}"
    tick = text(exact(one.tick)) if one.tick > 0 else "0.000000001"
    return Market(number, one.symbol, name, coin, tick, text(exact(one.lot)), one.short)


def text(number: Decimal) -> str:
    """Return a decimal as plain digits."""
    return format(number, "f")


def stamp(ts: int) -> str:
    """Return a time in Alpaca's notation, to the nanosecond."""
    seconds, rest = divmod(ts, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def order_id(number: int) -> str:
    """Return the exchange's number of an order as Alpaca writes it."""
    return f"{_ORDER}-0000-4000-8000-{number:012x}"


def number_of(text_id: str) -> int:
    """Return the exchange's number of an order, 0 for an id that is none."""
    head, _, tail = text_id.rpartition("-")
    return int(tail, 16) if head == order_id(0).rpartition("-")[0] else 0


def order_status(order: VenueOrder) -> str:
    """Return an order's status."""
    if order.status == "working":
        return "partially_filled" if order.filled else "new"
    if order.status == "expired":
        return "canceled" if order.time_in_force == "ioc" else "expired"
    return {"cancelled": "canceled"}.get(order.status, order.status)


def order_shape(order: VenueOrder, market: Market) -> dict[str, Any]:
    """Return an order."""
    status, updated = order_status(order), stamp(order.updated_ts)
    price = None if order.price is None else text(order.price)
    opens = "buy_to_open" if order.side > 0 else "sell_to_close"
    return {
        "id": order_id(order.venue_id),
        "client_order_id": order.client_id or f"{_NAME}-0000-4000-8000-{order.venue_id:012x}",
        "created_at": stamp(order.created_ts),
        "updated_at": updated,
        "submitted_at": stamp(order.created_ts),
        "filled_at": updated if status == "filled" else None,
        "expired_at": updated if status == "expired" else None,
        "canceled_at": updated if status == "canceled" else None,
        "failed_at": updated if status == "rejected" else None,
        "replaced_at": None,
        "replaced_by": None,
        "replaces": None,
        "asset_id": asset_id(market),
        "symbol": market.name,
        "asset_class": market.asset_class,
        "notional": None,
        "qty": text(order.qty),
        "filled_qty": text(order.filled),
        "filled_avg_price": None if order.average is None else text(order.average),
        "order_class": "",
        "order_type": order.kind,
        "type": order.kind,
        "side": _SIDES[order.side],
        "position_intent": opens,
        "time_in_force": order.time_in_force,
        "limit_price": price if order.kind == "limit" else None,
        "stop_price": price if order.kind == "stop" else None,
        "status": status,
        "extended_hours": False,
        "legs": None,
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
        "subtag": None,
        "source": None,
    }


def activity_shape(
    trade: VenueTrade, order: VenueOrder, market: Market, cumulated: Decimal
) -> dict[str, Any]:
    """Return a trade as the account's activities tell it; `cumulated` is filled with it."""
    left = order.qty - cumulated
    return {
        "id": f"{_local(trade.ts)}::{_execution_id(trade)}",
        "activity_type": "FILL",
        "transaction_time": stamp(trade.ts),
        "type": "partial_fill" if left else "fill",
        "price": text(trade.price),
        "qty": text(trade.qty),
        "side": _SIDES[trade.side],
        "symbol": market.name,
        "leaves_qty": text(left),
        "order_id": order_id(trade.venue_id),
        "cum_qty": text(cumulated),
        "order_status": "partially_filled" if left else "filled",
    }


def payment_shape(payment: VenuePayment, market: Market | None, currency: str) -> dict[str, Any]:
    """Return a payment as the account's activities tell it; it is interest if nothing else."""
    created, chance = stamp(payment.ts), payment.payment_id * _SCATTER % 2**32
    day = created[:10]
    about = {} if market is None else {"symbol": market.plain}
    return {
        "id": f"{day.replace('-', '')}000000000::{chance:08x}-0000-4000-8000-000000000000",
        "activity_type": _PAID_FOR.get(payment.reason, "INT"),
        "date": day,
        "created_at": created,
        "net_amount": text(payment.amount),
        "description": "",
        "status": "executed",
        "currency": currency,
        **about,
    }


def update_shape(
    order: VenueOrder, market: Market, trade: VenueTrade | None, held: Decimal
) -> dict[str, Any]:
    """Return the message of `trade_updates` about an order, or about a trade of it."""
    data: dict[str, Any] = {
        "event": order_status(order),
        "execution_id": f"{_EXECUTION}-0000-4000-8001-{order.venue_id:012x}",
        "order": order_shape(order, market),
        "timestamp": stamp(order.updated_ts),
    }
    if trade is not None:
        data |= {
            "event": "partial_fill" if order.left else "fill",
            "execution_id": _execution_id(trade),
            "timestamp": stamp(trade.ts),
            "position_qty": text(held),
            "price": text(trade.price),
            "qty": text(trade.qty),
        }
    return {"stream": "trade_updates", "data": data}


def _execution_id(trade: VenueTrade) -> str:
    return f"{_EXECUTION}-0000-4000-8000-{trade.trade_id:012x}"


def _local(ts: int) -> str:
    """Return a time as activities are numbered: in New York's, to the millisecond."""
    seconds, rest = divmod(ts, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, NEW_YORK):%Y%m%d%H%M%S}{rest // 1_000_000:03d}"


def position_shape(held: Position, market: Market, price: Decimal) -> dict[str, Any]:
    """Return a position at its last price."""
    value, cost = held.qty * price, held.qty * held.average
    profit = value - cost
    share = text(profit / abs(cost)) if cost else "0"
    return {
        "asset_id": asset_id(market),
        "symbol": market.plain,
        "exchange": _exchange_of(market),
        "asset_class": market.asset_class,
        "asset_marginable": not market.coin,
        "avg_entry_price": text(held.average),
        "qty": text(held.qty),
        "side": "long" if held.qty > 0 else "short",
        "market_value": text(value),
        "cost_basis": text(cost),
        "unrealized_pl": text(profit),
        "unrealized_plpc": share,
        "unrealized_intraday_pl": text(profit),
        "unrealized_intraday_plpc": share,
        "current_price": text(price),
        "lastday_price": text(price),
        "change_today": "0",
        "qty_available": text(held.qty),
    }


def account_shape(exchange: Exchange) -> dict[str, Any]:
    """Return the account."""
    cash, equity = text(exchange.cash()), text(exchange.equity())
    free = text(max(ZERO, exchange.cash() - exchange.reserved()))
    return {
        "id": ACCOUNT_ID,
        "account_number": "REHEARSAL",
        "status": "ACTIVE",
        "currency": exchange.currency,
        "cash": cash,
        "portfolio_value": equity,
        "equity": equity,
        "last_equity": equity,
        "long_market_value": text(exchange.equity() - exchange.cash()),
        "short_market_value": "0",
        "initial_margin": "0",
        "maintenance_margin": "0",
        "last_maintenance_margin": "0",
        "sma": "0",
        "multiplier": "1",
        "buying_power": free,
        "regt_buying_power": free,
        "daytrading_buying_power": "0",
        "non_marginable_buying_power": free,
        "options_buying_power": "0",
        "options_approved_level": "0",
        "options_trading_level": "0",
        "accrued_fees": "0",
        "pattern_day_trader": False,
        "daytrade_count": 0,
        "account_blocked": False,
        "trading_blocked": False,
        "transfers_blocked": False,
        "trade_suspended_by_user": False,
        "shorting_enabled": True,
        "created_at": stamp(0),
    }


def asset_id(market: Market) -> str:
    """Return the id of an asset."""
    return f"{_ASSET}-0000-4000-8000-{market.number:012x}"


def asset_shape(market: Market) -> dict[str, Any]:
    """Return an asset."""
    facts = {
        "id": asset_id(market),
        "class": market.asset_class,
        "exchange": _exchange_of(market),
        "symbol": market.name,
        "name": market.symbol,
        "status": "active",
        "tradable": True,
        "marginable": not market.coin,
        "shortable": market.short,
        "easy_to_borrow": market.short,
        "fractionable": True,
        "attributes": [],
    }
    if market.coin:
        facts |= {
            "min_order_size": market.lot,
            "min_trade_increment": market.lot,
            "price_increment": market.tick,
        }
    return facts


def _exchange_of(market: Market) -> str:
    return "CRYPTO" if market.coin else "NASDAQ"
