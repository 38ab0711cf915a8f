"""ccxt's dictionaries to our words, on messages of Binance's, through ccxt's own parsers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from adapters.shared import recorded
from onefold.adapters.ccxt.config import CcxtConfig
from onefold.adapters.ccxt.http import Client
from onefold.adapters.ccxt.parse import (
    FUTURES,
    SPOT,
    UNPROVEN,
    balance_report,
    bar,
    final_candle,
    income_ms,
    order_report,
    order_request,
    payment_report,
    position_report,
    trade_event,
    trade_report,
    triggered_id,
)
from onefold.domain.errors import VenueRefused, VenueUncertain
from onefold.domain.instruments import instrument
from onefold.domain.records import Bar
from onefold.domain.venue import OrderReport, PaymentReport, PositionReport, Ticket, TradeReport

ONE = Decimal(1)
MINUTE_NS = 60 * 10**9
BINANCE = "nautilus/binance"


def message(name: str) -> Any:
    data = json.loads(recorded(f"{BINANCE}/{name}.json").read_text())
    return data.get("data", data) if isinstance(data, dict) else data


def exchange(market: str) -> Any:
    """Return ccxt's Binance with the markets of a recorded answer, which never connects."""
    config = CcxtConfig.model_validate({"market": market})
    made = Client(config, []).exchange
    # What asking for the markets would leave behind.
    made.options |= {"crossMarginPairsData": [], "isolatedMarginPairsData": []}
    answer = message(f"http_responses/http_{market}_market_exchange_info")
    made.set_markets([made.parse_market(entry) for entry in answer["symbols"]])
    return made


@pytest.fixture(scope="module")
def spot() -> Iterator[Any]:
    return exchange("spot")


@pytest.fixture(scope="module")
def futures() -> Iterator[Any]:
    return exchange("futures")


# --- recorded: orders ----------------------------------------------------------------------------


def stream_order(made: Any, name: str, symbol: str = "S") -> OrderReport:
    data = message(name)
    order = data["o"] if isinstance(data["o"], dict) else data
    return order_report(made.parse_ws_order(order), symbol, ONE)


@pytest.mark.parametrize(
    ("name", "client_id", "status", "filled"),
    [
        ("new", "O-12345-test-new", "working", "0"),
        ("trade", "O-12345-test-trade", "working", "0.5"),
        ("canceled", "O-12345-test-cancel", "cancelled", "0.1"),
        ("rejected", None, "rejected", "0"),
        ("expired", None, "expired", None),
        ("empty_client_id", "", None, None),
    ],
)
def test_orders_of_the_spot_stream(
    spot: Any, name: str, client_id: str | None, status: str | None, filled: str | None
) -> None:
    data = message(f"ws_messages/ws_spot_execution_report_{name}")
    report = stream_order(spot, f"ws_messages/ws_spot_execution_report_{name}")
    assert report.venue_id == str(data["i"])
    assert report.ts == data["T"] * 10**6
    assert client_id is None or report.client_id == client_id
    assert status is None or report.status == status
    assert filled is None or report.filled == Decimal(filled)


def test_a_spot_rejection_says_why(spot: Any) -> None:
    data = message("ws_messages/ws_spot_execution_report_rejected")
    report = stream_order(spot, "ws_messages/ws_spot_execution_report_rejected")
    assert report.reason == data["r"] != "NONE"


@pytest.mark.parametrize(
    ("name", "status", "filled"),
    [
        ("order_update_new", "working", "0"),
        ("order_update_trade_partial", "working", None),
        ("order_update_trade", "working", "0.001"),
    ],
)
def test_orders_of_the_futures_stream(
    futures: Any, name: str, status: str, filled: str | None
) -> None:
    data = message(f"futures/user_data_json/{name}")["o"]
    report = stream_order(futures, f"futures/user_data_json/{name}")
    assert (report.client_id, report.venue_id) == (data["c"], str(data["i"]))
    assert report.status == status
    assert report.filled == Decimal(filled or data["z"])


@pytest.mark.parametrize(
    ("name", "status", "filled"),
    [
        ("triggering", "working", "0"),
        ("triggered", "working", "0"),
        ("finished", "filled", "38"),
        ("finished_canceled", "cancelled", "0"),
    ],
)
def test_a_stop_is_one_order_from_its_condition_to_its_last_trade(
    futures: Any, name: str, status: str, filled: str
) -> None:
    data = message(f"ws_messages/ws_futures_algo_update_{name}")["o"]
    order = futures.parse_ws_order(data)
    report = order_report(order, "S", ONE)
    assert (report.client_id, report.venue_id) == (data["caid"], str(data["aid"]))
    assert (report.status, report.filled) == (status, Decimal(filled))
    assert triggered_id(order) == data["ai"]


def test_orders_that_were_asked_for(spot: Any, futures: Any) -> None:
    for entry in message("spot/http_json/open_orders_response"):
        report = order_report(spot.parse_order(entry), "S", ONE)
        assert report.client_id == entry["clientOrderId"]
        assert report.filled == Decimal(entry["executedQty"])
    entry = message("futures/http_json/order_response")
    report = order_report(futures.parse_order(entry), "S", ONE)
    assert (report.client_id, report.venue_id) == (entry["clientOrderId"], str(entry["orderId"]))
    [stop] = message("futures/http_json/open_algo_orders")
    report = order_report(futures.parse_order(stop), "S", ONE)
    assert report.client_id == stop["clientAlgoId"]
    assert report.status == "working"


# --- recorded: trades, positions, bars -----------------------------------------------------------


def test_trades_keep_every_digit(spot: Any, futures: Any) -> None:
    data = message("ws_messages/ws_spot_execution_report_trade")
    assert trade_report(spot.parse_ws_trade(data), "S", ONE, "mine") == TradeReport(
        trade_id="98765432",
        client_id="mine",
        venue_id="1234567890",
        symbol="S",
        side=1,
        qty=Decimal("0.5"),
        price=Decimal("2499.5"),
        ts=data["T"] * 10**6,
        fee=Decimal("0.0005"),
        fee_currency="ETH",
    )
    [sale, _] = message("http_responses/http_futures_account_trades")
    report = trade_report(futures.parse_trade(sale), "S", ONE, "")
    assert (report.side, report.qty, report.price) == (-1, Decimal("0.005"), Decimal("2778.35"))
    assert (report.fee, report.fee_currency) == (Decimal("0.00555670"), "USDT")
    assert (report.trade_id, report.venue_id) == ("82357626", "831238666")


@pytest.mark.parametrize(
    ("name", "client_id", "qty"),
    [
        ("spot_execution_report_trade", "O-12345-test-trade", "0.5"),
        ("spot_execution_report_empty_client_id", "", "0.5"),
        ("spot_execution_report_calculated", "autoclose-123456789", "0.01"),
        ("futures_order_update_adl", "adl_autoclose", "1"),
        ("futures_order_update_liquidation", "autoclose-1234567890123456", "0.1"),
        ("futures_order_update_settlement", "settlement_autoclose-1111222233334444", "0.05"),
        ("futures_order_update_trade_reduce_only_qty", "O-12345-test-reduce-only-trade", "1"),
    ],
)
def test_every_trade_is_one_whatever_it_is_called(
    spot: Any, futures: Any, name: str, client_id: str, qty: str
) -> None:
    made = spot if name.startswith("spot") else futures
    data = message(f"ws_messages/ws_{name}")
    order = data if name.startswith("spot") else data["o"]
    assert order_report(made.parse_ws_order(order), "S", ONE).client_id == client_id
    report = trade_report(made.parse_ws_trade(trade_event(order)), "S", ONE, client_id)
    assert (report.qty, report.trade_id) == (Decimal(qty), str(order["t"]))
    assert report.fee == Decimal(order["n"])


@pytest.mark.parametrize(
    "name",
    [
        "spot_execution_report_new",
        "spot_execution_report_canceled",
        "spot_execution_report_trade_l_zero_canceled",
        "spot_execution_report_trade_l_zero_new",
        "spot_execution_report_trade_l_zero_partial",
        "spot_execution_report_trade_prevention",
        "futures_order_update_liquidation_zero_qty",
        "futures_order_update_new_price_match",
    ],
)
def test_what_is_no_trade_is_none_whatever_it_is_called(name: str) -> None:
    data = message(f"ws_messages/ws_{name}")
    assert trade_event(data if name.startswith("spot") else data["o"]) is None


def test_a_trade_without_a_price_leaves_us_uncertain(spot: Any) -> None:
    data = message("ws_messages/ws_spot_execution_report_trade_l_zero")
    trade = spot.parse_ws_trade(trade_event(data))
    with pytest.raises(VenueUncertain, match="without a price"):
        trade_report(trade, "S", ONE, "")


def test_the_exchange_taking_over_is_not_an_end(futures: Any) -> None:
    for name in ("order_update_adl", "order_update_insurance", "order_update_calculated_pending"):
        assert stream_order(futures, f"futures/user_data_json/{name}").status == "working"


def test_more_digits_than_a_float_has_come_through(spot: Any, futures: Any) -> None:
    digits = "123456789.1234567890123456789"
    event = message("ws_messages/ws_spot_execution_report_trade") | {"n": digits, "l": digits}
    report = trade_report(spot.parse_ws_trade(event), "S", ONE, "")
    assert (report.fee, report.qty) == (Decimal(digits), Decimal(digits))
    order = message("futures/http_json/order_response") | {"executedQty": digits}
    assert order_report(futures.parse_order(order), "S", ONE).filled == Decimal(digits)
    balance = {"balances": [{"asset": "BTC", "free": digits, "locked": "1"}]}
    held = balance_report(spot.parse_balance_custom(balance, "spot"), "BTC", "S")
    assert held == PositionReport("S", Decimal(digits) + 1)


def test_positions_are_netted_with_their_sign(futures: Any) -> None:
    entries = message("http_responses/http_futures_account_positions_one_way")
    flat = [futures.parse_position_risk({**e, "notional": "0"}) for e in entries]
    assert position_report(flat, "S", ONE) is None
    short = {**entries[0], "positionAmt": "-0.300", "entryPrice": "6500.5", "notional": "-2003"}
    assert position_report([futures.parse_position_risk(short)], "S", ONE) == PositionReport(
        "S", Decimal("-0.3"), Decimal("6500.5")
    )


def test_bars_of_an_answer_and_of_the_stream(spot: Any) -> None:
    btc = instrument("BTCUSDT")
    first = message("http_responses/http_spot_market_klines")[0]
    assert bar(spot.parse_ohlcv(first), btc, MINUTE_NS) == Bar(
        "BTCUSDT",
        ts=(first[6] + 1) * 10**6,
        ts_open=first[0] * 10**6,
        open=60685.22,
        high=60729.84,
        low=60670.9,
        close=60719.27,
        volume=21.63272,
    )
    closed = message("futures/market_data_json/kline_stream_closed")["k"]
    still_open = message("futures/market_data_json/kline_stream_open")["k"]
    assert final_candle(still_open) is None
    candle = final_candle(closed)
    assert candle is not None
    assert bar(candle, btc, MINUTE_NS).close == float(closed["c"])


# --- payments ------------------------------------------------------------------------------------


def income(kind: str, **changes: Any) -> dict[str, Any]:
    """Return a row as the exchange documents it."""
    row = {
        "symbol": "BTCUSDT",
        "incomeType": kind,
        "income": "-0.37500000",
        "asset": "USDT",
        "info": kind,
        "time": 1_570_608_000_000,
        "tranId": 9_689_322_392_000_001,
        "tradeId": "",
    }
    return {**row, **changes}


def test_a_payment_is_told_as_it_was_sent() -> None:
    report = payment_report(income("FUNDING_FEE"), "BTC")
    assert report == PaymentReport(
        payment_id="FUNDING_FEE/9689322392000001/BTCUSDT/USDT",
        ts=1_570_608_000_000_000_000,
        amount=Decimal("-0.375"),
        currency="USDT",
        reason="funding fee",
        symbol="BTC",
    )
    assert str(report.amount) == "-0.37500000"
    # The same number as text is the same payment.
    assert payment_report(income("FUNDING_FEE", tranId="9689322392000001"), "BTC") == report
    assert income_ms(income("FUNDING_FEE", time="1570608000000")) == 1_570_608_000_000


def test_payments_that_differ_in_kind_symbol_or_coin_have_ids_of_their_own() -> None:
    rows = [
        income("FUNDING_FEE"),
        income("INSURANCE_CLEAR"),
        income("FUNDING_FEE", symbol="ETHUSDT"),
        income("FUNDING_FEE", asset="USDC"),
        income("FUNDING_FEE", tranId=1),
        income("AUTO_EXCHANGE", symbol=""),
        income("AUTO_EXCHANGE", symbol="", asset="BTC"),
    ]
    reports = [payment_report(row, "") for row in rows]
    assert len({report.payment_id for report in reports if report is not None}) == len(rows)


PAID = """
    API_REBATE AUTO_EXCHANGE BFUSD_REWARD COMMISSION_REBATE CONTEST_REWARD FEE_RETURN FUNDING_FEE
    INSURANCE_CLEAR OPTIONS_PREMIUM_FEE OPTIONS_SETTLE_PROFIT POSITION_LIMIT_INCREASE_FEE
    REFERRAL_KICKBACK SPECIAL_FUNDING_FEE WELCOME_BONUS WHAT_COMES_NEXT
"""
NOT_PAID = """
    COIN_SWAP_DEPOSIT COIN_SWAP_WITHDRAW COMMISSION CROSS_COLLATERAL_TRANSFER DELIVERED_SETTELMENT
    INTERNAL_TRANSFER REALIZED_PNL STRATEGY_UMFUTURES_TRANSFER TRANSFER
"""


@pytest.mark.parametrize("kind", PAID.split())
def test_what_moves_money_is_a_payment(kind: str) -> None:
    report = payment_report(income(kind), "")
    assert report is not None
    assert report.reason == kind.lower().replace("_", " ")


@pytest.mark.parametrize("kind", NOT_PAID.split())
def test_what_trades_tell_and_transfers_are_no_payments(kind: str) -> None:
    assert payment_report(income(kind), "") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"incomeType": ""},
        {"income": ""},
        {"income": "much"},
        {"income": "NaN"},
        {"asset": None},
        {"tranId": None},
        {"time": None},
    ],
    ids=str,
)
def test_a_payment_that_lacks_something_leaves_us_uncertain(wrong: dict[str, Any]) -> None:
    with pytest.raises(VenueUncertain):
        payment_report({**income("FUNDING_FEE"), **wrong}, "")


# --- small ones ----------------------------------------------------------------------------------


def ticket(**changes: Any) -> Ticket:
    facts = {"client_id": "a-1", "symbol": "S", "side": 1, "qty": Decimal("0.3"), **changes}
    return Ticket(**facts)


def test_requests_say_what_the_ticket_says() -> None:
    market = order_request(ticket(side=-1, time_in_force="ioc"), FUTURES, ONE)
    assert market == ("market", "sell", Decimal("0.3"), None, None, {"clientOrderId": "a-1"})
    limit = order_request(
        ticket(kind="limit", price=Decimal("9.1"), time_in_force="ioc", reduce_only=True),
        FUTURES,
        ONE,
    )
    assert (limit.type, limit.price) == ("limit", Decimal("9.1"))
    assert limit.params == {"clientOrderId": "a-1", "reduceOnly": True, "timeInForce": "IOC"}
    dated = ticket(kind="limit", price=ONE, time_in_force="gtd", expire_ts=1_700_000_000 * 10**9)
    assert order_request(dated, FUTURES, ONE).params["goodTillDate"] == 1_700_000_000_000
    stop = order_request(ticket(kind="stop", price=Decimal("8.5")), SPOT, ONE)
    assert (stop.type, stop.price, stop.trigger) == ("market", None, Decimal("8.5"))


def test_amounts_are_in_contracts_where_there_are_any() -> None:
    size = Decimal("0.1")
    assert order_request(ticket(), FUTURES, size).amount == 3
    order = {"id": 1, "status": "closed", "amount": "3", "filled": "3", "info": {}}
    assert order_report(order, "S", size).filled == Decimal("0.3")


@pytest.mark.parametrize(
    ("changes", "abilities", "problem"),
    [
        ({"kind": "stop", "price": ONE}, UNPROVEN, "no stop orders"),
        ({"time_in_force": "day"}, FUTURES, "no orders that are day"),
        ({"time_in_force": "gtd", "kind": "limit", "price": ONE}, SPOT, "that are gtd"),
        ({"time_in_force": "gtd", "kind": "limit", "price": ONE}, FUTURES, "without a time"),
        ({"time_in_force": "ioc", "kind": "stop", "price": ONE}, FUTURES, "no stop orders but"),
        ({"reduce_only": True}, SPOT, "only reduce"),
        ({"kind": "limit"}, SPOT, "without a price"),
    ],
)
def test_what_the_exchange_cannot_do_is_refused_before_it_is_tried(
    changes: dict[str, Any], abilities: Any, problem: str
) -> None:
    with pytest.raises(VenueRefused, match=f"{problem}.*not sent"):
        order_request(ticket(**changes), abilities, ONE)


@pytest.mark.parametrize(
    "order",
    [
        {"id": 1, "status": "mystery"},
        {"id": 1, "status": None},
        {"status": "open"},
        {"id": 1, "status": "open", "filled": "many"},
        {"id": 1, "status": "open", "info": {"algoStatus": "MYSTERY"}},
    ],
)
def test_an_answer_that_cannot_be_read_leaves_us_uncertain(order: dict[str, Any]) -> None:
    with pytest.raises(VenueUncertain):
        order_report(order, "S", ONE)
    with pytest.raises(VenueUncertain):
        trade_report({**order, "price": "1"}, "S", ONE, "")


def test_two_sides_of_a_position_have_no_average() -> None:
    sides = [
        {"contracts": "2", "side": "long", "entryPrice": "10"},
        {"contracts": "5", "side": "short", "entryPrice": "11"},
    ]
    assert position_report(sides, "S", Decimal("0.1")) == PositionReport("S", Decimal("-0.3"))


def test_a_balance_is_a_position_in_the_currency_that_is_bought() -> None:
    balance = {"total": {"BTC": "0.12345678", "USDT": "10"}}
    assert balance_report(balance, "BTC", "S") == PositionReport("S", Decimal("0.12345678"))
    assert balance_report(balance, "ETH", "S") is None
