"""OANDA's messages to our words: recorded ones where they are there, and small ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from adapters.shared import recorded
from onefold.adapters.oanda.http import NoSuchOrder, judged
from onefold.adapters.oanda.parse import (
    Ledger,
    bar,
    granularity,
    made,
    nanoseconds,
    order_request,
    pages,
    pays,
    pending_report,
    position_report,
    stamp,
    trade_reports,
)
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.instruments import instrument
from onefold.domain.records import Bar
from onefold.domain.venue import (
    OrderReport,
    PaymentReport,
    PositionReport,
    Ticket,
    TradeReport,
)

MINUTE_NS = 60 * 10**9
NOON_NS = int(datetime(2026, 1, 7, 12, tzinfo=UTC).timestamp()) * 10**9
NOON = "2026-01-07T12:00:00.000000000Z"


def answer(kind: str, name: str) -> Any:
    return json.loads(recorded(f"oanda/{kind}.json").read_text())["responses"][name]["response"]


def ledger() -> Ledger:
    return Ledger({"EUR_USD": "EURUSD", "DE30_EUR": "DAX"}, "EUR")


# --- recorded ------------------------------------------------------------------------------------


def test_a_new_order() -> None:
    (created,) = made(answer("orders", "_v3_accounts_accountID_orders_create"))
    book = ledger()
    (report,) = book.told(created)
    assert report == OrderReport(
        "",
        "2304",
        "EURUSD",
        "working",
        ts=nanoseconds({"t": "2016-10-24T21:48:18.593753865Z"}, "t"),
    )
    assert report.ts % 10**9 == 593_753_865, "not a digit is lost"


def test_pending_orders() -> None:
    (order,) = answer("orders", "_v3_accounts_accountID_orders_pending")["orders"]
    book = ledger()
    book.place(order)
    report = pending_report(order, book.symbol(order), Decimal(30))
    assert (report.client_id, report.venue_id, report.symbol) == ("myID", "2304", "EURUSD")
    assert (report.status, report.filled) == ("working", 30)
    assert book.found("myID") == OrderReport("myID", "2304", "EURUSD", "working", ts=report.ts)


def test_a_cancellation_is_the_end_of_an_order_that_is_known() -> None:
    rows = answer("transactions", "_v3_accounts_transaction_sinceid")["transactions"]
    book = ledger()
    told = [report for row in rows for report in book.told(row)]
    assert [(r.client_id, r.venue_id, r.status) for r in told if isinstance(r, OrderReport)] == [
        ("myID", "2307", "working"),
        ("myID", "2307", "cancelled"),
        ("", "2309", "working"),
    ]
    assert book.found("myID") == told[1]
    assert told[1].reason == "CLIENT_REQUEST"


def test_what_is_known_does_not_depend_on_the_order_in_which_it_is_heard() -> None:
    rows = answer("transactions", "_v3_accounts_transaction_sinceid")["transactions"]
    forward, backward = ledger(), ledger()
    for row in rows:
        forward.take(row)
    for row in [*rows[::-1], *rows]:
        backward.take(row)
    for name in ("myID", "nobody"):
        assert forward.found(name) == backward.found(name)


def test_a_replacement_leaves_the_name_to_the_new_order() -> None:
    said = answer("orders", "_v3_accounts_accountID_order_replace")
    book = ledger()
    book.take(said["orderCreateTransaction"])
    book.take(said["orderCancelTransaction"])
    report = book.found("myID")
    assert report is not None
    assert (report.venue_id, report.status) == ("2307", "working")
    assert book.known("2304") is None, "of the old one only its end was heard"


def test_a_fill_at_one_price_is_one_trade() -> None:
    said = answer("trades", "_v3_account_accountID_trades_close")
    created, fill = said["orderCreateTransaction"], said["orderFillTransaction"]
    book = ledger()
    book.take(created)
    trade, report = book.told(fill)
    assert trade == TradeReport(
        trade_id="2317",
        client_id="",
        venue_id="2316",
        symbol="EURUSD",
        side=-1,
        qty=Decimal(100),
        price=Decimal("1.09289"),
        ts=nanoseconds(fill, "time"),
        fee=Decimal(0),
        fee_currency="EUR",
    )
    assert isinstance(report, OrderReport)
    assert (report.status, report.filled) == ("filled", 100)


def test_a_fill_that_closes_several_of_oandas_trades_is_one() -> None:
    said = answer("positions", "_v3_accounts_accountID_position_close")
    (trade,) = trade_reports(said["longOrderFillTransaction"], "EURUSD", "EUR")
    assert (trade.side, trade.qty, trade.price) == (-1, 251, Decimal("1.13018"))


def test_orders_that_close_a_trade_have_no_quantity_of_their_own() -> None:
    said = answer("trades", "_v3_account_accountID_trades_crcdo")
    book = ledger()
    for name in ("stopLossOrderTransaction", "takeProfitOrderTransaction"):
        assert book.told(said[name]) == []
        book.place(said[name])
    assert book.symbol(said["takeProfitOrderTransaction"]) == "trade 2323"


def test_a_recorded_fill_without_financing_pays_nothing_besides_its_trade() -> None:
    fill = answer("trades", "_v3_account_accountID_trades_close")["orderFillTransaction"]
    book = ledger()
    assert not pays(fill)
    book.take(fill)
    assert book.payments(0) == []
    # What OANDA would say of the same trade in an account with financing by the second.
    book.take({**fill, "financing": "-0.0042"})
    (paid,) = book.payments(0)
    assert (paid.amount, paid.ts) == (Decimal("-0.0042"), nanoseconds(fill, "time"))


def test_nothing_else_that_was_recorded_is_a_payment() -> None:
    rows = [
        *answer("transactions", "_v3_accounts_transaction_sinceid")["transactions"],
        *answer("transactions", "_v3_accounts_transaction_idrange")["transactions"],
        *answer("positions", "_v3_accounts_accountID_position_close").values(),
    ]
    assert not any(pays(row) for row in rows if isinstance(row, dict))


def test_positions_have_the_sign_of_their_side() -> None:
    rows = answer("positions", "_v3_accounts_accountID_openpositions")["positions"]
    reports = [position_report(row, row["instrument"]) for row in rows]
    assert reports == [
        PositionReport("DE30_EUR", Decimal(10), Decimal("10678.3")),
        PositionReport("EUR_USD", Decimal(-100), Decimal("1.09843")),
    ]
    everything = answer("positions", "_v3_accounts_accountID_positions")["positions"]
    held = [position_report(row, row["instrument"]) for row in everything]
    assert [one and one.qty for one in held] == [None, -20, None]


def test_the_pages_of_a_list_are_questions() -> None:
    found = pages(answer("transactions", "_v3_accounts_accountID_transactions"))
    assert found[0] == {"from": "1", "to": "100"}
    assert found[-1] == {"from": "2101", "to": "2124"}


def test_candles() -> None:
    said = answer("instruments", "_v3_instruments_instrument_candles")
    first = said["candles"][0]
    made_bar = bar(first, instrument("EURUSD"), 5 * MINUTE_NS)
    assert made_bar.ts_open == nanoseconds(first, "time")
    assert made_bar.ts - made_bar.ts_open == 5 * MINUTE_NS
    assert made_bar.close == float(first["mid"]["c"])
    assert made_bar.volume == first["volume"]
    assert (made_bar.bid, made_bar.ask) == (None, None)


def test_prices_and_heartbeats_tell_the_time() -> None:
    lines = answer("pricing", "_v3_accounts_accountID_pricing_stream")
    times = [nanoseconds(line, "time") for line in lines]
    assert times == sorted(times)
    assert {line["type"] for line in lines} == {"PRICE", "HEARTBEAT"}


# --- small ones ----------------------------------------------------------------------------------


def ticket(**changes: Any) -> Ticket:
    facts = {"client_id": "a-1", "symbol": "EURUSD", "side": 1, "qty": Decimal("1e3"), **changes}
    return Ticket(**facts)


def test_requests_say_what_the_ticket_says() -> None:
    assert order_request(ticket(side=-1), "EUR_USD") == {
        "order": {
            "type": "MARKET",
            "instrument": "EUR_USD",
            "units": "-1000",
            "positionFill": "REDUCE_FIRST",
            "timeInForce": "FOK",
            "clientExtensions": {"id": "a-1"},
        }
    }
    limit = {"kind": "limit", "price": Decimal("1.10000")}
    order = order_request(
        ticket(**limit, time_in_force="gtd", expire_ts=NOON_NS + 1, reduce_only=True), "EUR_USD"
    )["order"]
    assert (order["price"], order["timeInForce"]) == ("1.10000", "GTD")
    assert order["gtdTime"] == "2026-01-07T12:00:00.000000001Z"
    assert order["positionFill"] == "REDUCE_ONLY"


@pytest.mark.parametrize(
    ("kind", "ours", "theirs"),
    [
        ("market", "gtc", "FOK"),
        ("market", "day", "FOK"),
        ("market", "ioc", "IOC"),
        ("limit", "gtc", "GTC"),
        ("limit", "day", "GFD"),
        ("limit", "ioc", "IOC"),
        ("stop", "gtc", "GTC"),
        ("stop", "day", "GFD"),
    ],
)
def test_times_in_force(kind: str, ours: str, theirs: str) -> None:
    price = None if kind == "market" else Decimal(1)
    request = order_request(ticket(kind=kind, price=price, time_in_force=ours), "EUR_USD")
    assert request["order"]["timeInForce"] == theirs
    assert "gtdTime" not in request["order"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "trailing"}, "no trailing orders"),
        ({"time_in_force": "fok"}, "no orders that are fok"),
        ({"kind": "stop", "price": Decimal(1), "time_in_force": "ioc"}, "no stop orders that are"),
        ({"kind": "limit"}, "no limit orders without a price"),
        ({"kind": "limit", "price": Decimal(1), "time_in_force": "gtd"}, "without a time"),
    ],
)
def test_what_oanda_cannot_do_is_refused_before_it_is_tried(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(VenueRefused, match=f"{problem}.*not sent"):
        order_request(ticket(**changes), "EUR_USD")


def created(number: str = "7", units: str = "100", **more: Any) -> dict[str, Any]:
    facts = {"id": number, "type": "LIMIT_ORDER", "instrument": "EUR_USD", "units": units}
    return {**facts, "time": NOON, "clientExtensions": {"id": "a-1"}, **more}


def filled(number: str, units: str, **more: Any) -> dict[str, Any]:
    facts = {"id": number, "type": "ORDER_FILL", "orderID": "7", "clientOrderID": "a-1"}
    return {**facts, "instrument": "EUR_USD", "units": units, "price": "1.1", "time": NOON, **more}


def cancelled(reason: str) -> dict[str, Any]:
    return {"id": "99", "type": "ORDER_CANCEL", "orderID": "7", "time": NOON, "reason": reason}


@pytest.mark.parametrize(
    ("events", "status", "units"),
    [
        ([], "working", 0),
        ([filled("8", "40")], "working", 40),
        ([filled("8", "40"), filled("9", "60")], "filled", 100),
        ([filled("8", "40"), filled("8", "40")], "working", 40),
        ([cancelled("CLIENT_REQUEST")], "cancelled", 0),
        ([cancelled("TIME_IN_FORCE_EXPIRED")], "expired", 0),
        ([cancelled("MARKET_HALTED")], "rejected", 0),
        ([filled("8", "40"), cancelled("INSUFFICIENT_LIQUIDITY")], "cancelled", 40),
        # A trade that the cancellation has overtaken.
        ([cancelled("CLIENT_REQUEST"), filled("8", "100")], "filled", 100),
    ],
)
def test_the_life_of_an_order(events: list[dict[str, Any]], status: str, units: int) -> None:
    book = ledger()
    for event in [created(), *events]:
        book.take(event)
    report = book.found("a-1")
    assert report is not None
    assert (report.status, report.filled) == (status, units)
    end = events[-1] if events and status != "filled" else {}
    assert report.reason == end.get("reason", "")


def test_a_fill_is_told_even_of_an_order_that_is_not_known() -> None:
    (trade,) = ledger().told(filled("8", "40"))
    assert isinstance(trade, TradeReport)
    assert (trade.client_id, trade.qty) == ("a-1", 40)


def test_each_price_of_a_fill_is_a_trade() -> None:
    parts = {
        "tradesClosed": [
            {"tradeID": "1", "units": "-30", "price": "1.10000"},
            {"tradeID": "2", "units": "-20", "price": "1.09990"},
        ],
        "tradeOpened": {"tradeID": "8", "units": "-50", "price": "1.1"},
        "commission": "0.5",
        "guaranteedExecutionFee": "0.25",
    }
    first, second = trade_reports(filled("8", "-100", **parts), "EURUSD", "USD")
    assert (first.trade_id, first.qty, first.price) == ("8.0", 80, Decimal("1.10000"))
    assert (second.trade_id, second.qty, second.price) == ("8.1", 20, Decimal("1.09990"))
    assert (first.side, second.side) == (-1, -1)
    assert (first.fee, second.fee) == (Decimal("0.75"), 0)
    book = ledger()
    book.take(filled("8", "-100", **parts))
    assert [trade.trade_id for trade in book.trades(NOON_NS)] == ["8.0", "8.1"]
    assert book.trades(NOON_NS + 1) == []


@pytest.mark.parametrize(
    "fill",
    [
        filled("8", "-100", tradeOpened={"units": "-60", "price": "1.1"}),
        filled("8", "0"),
        filled("8", "many"),
        filled("8", "NaN"),
        {**filled("8", "5"), "price": None},
        {**filled("8", "5"), "time": "yesterday"},
        {**filled("8", "5"), "orderID": ""},
    ],
)
def test_a_fill_that_cannot_be_read_leaves_us_uncertain(fill: dict[str, Any]) -> None:
    with pytest.raises(VenueUncertain):
        ledger().told(fill)


@pytest.mark.parametrize("said", [{}, {"orderCreateTransaction": []}, {"lastTransactionID": "1"}])
def test_an_answer_without_an_order_leaves_us_uncertain(said: dict[str, Any]) -> None:
    with pytest.raises(VenueUncertain):
        made(said)


def financed(number: str = "20", **changes: Any) -> dict[str, Any]:
    facts = {"id": number, "type": "DAILY_FINANCING", "time": NOON, "financing": "-1.2345"}
    parts = [{"instrument": "EUR_USD", "financing": "-1.2344"}]
    return {**facts, "positionFinancings": parts, "accountBalance": "98.7655", **changes}


def test_payments_are_what_an_account_is_paid_besides_trades() -> None:
    book = ledger()
    dividend = {"id": "19", "type": "DIVIDEND_ADJUSTMENT", "time": NOON, "instrument": "DE30_EUR"}
    for transaction in (
        financed(time="2026-01-07T22:00:00.000000001Z"),
        {**dividend, "dividendAdjustment": "0.50", "quoteDividendAdjustment": "9"},
        created(),
        filled("8", "40", financing="0.0000"),
        filled("9", "60", financing="0.0300", tradesClosed=[]),
        financed("21", financing="0.0000"),
        {"id": "22", "type": "TRANSFER_FUNDS", "time": NOON, "amount": "100.00"},
        financed(time="2026-01-07T22:00:00.000000001Z"),
    ):
        book.take(transaction)
    evening = NOON_NS + 10 * 60 * MINUTE_NS + 1
    fills = [trade.trade_id for trade in book.trades(0)]
    paid = {
        "transaction-19": PaymentReport(
            "transaction-19", NOON_NS, Decimal("0.50"), "EUR", "dividend", "DAX"
        ),
        "transaction-9": PaymentReport(
            "transaction-9", NOON_NS, Decimal("0.0300"), "EUR", "financing", "EURUSD"
        ),
        "transaction-20": PaymentReport(
            "transaction-20", evening, Decimal("-1.2345"), "EUR", "financing"
        ),
    }
    assert {report.payment_id: report for report in book.payments(0)} == paid
    assert fills == ["8", "9"], "they have other names than the payments"
    assert [report.ts for report in book.payments(0)] == [NOON_NS, NOON_NS, evening]
    assert book.payments(evening) == [paid["transaction-20"]]
    assert book.payments(evening + 1) == []
    assert str(book.payments(evening)[0].amount) == "-1.2345"


@pytest.mark.parametrize(
    "broken", [{"financing": None}, {"financing": "much"}, {"time": "today"}, {"time": None}]
)
def test_a_payment_that_cannot_be_read_leaves_us_uncertain_of_payments_only(
    broken: dict[str, Any],
) -> None:
    book = ledger()
    book.take(created())
    assert book.told(financed(**broken)) == []
    with pytest.raises(VenueUncertain):
        book.payments(0)
    assert book.found("a-1") is not None


def test_two_sides_of_a_position_have_no_average() -> None:
    sides = {
        "long": {"units": "30", "averagePrice": "1.1"},
        "short": {"units": "-50", "averagePrice": "1.2"},
    }
    assert position_report(sides, "S") == PositionReport("S", Decimal(-20))


def test_a_candle_with_both_sides_has_a_touch() -> None:
    def prices(*texts: str) -> dict[str, str]:
        return dict(zip("ohlc", texts, strict=True))

    candle = {
        "complete": True,
        "volume": 12,
        "time": NOON,
        "mid": prices("1.10005", "1.2", "1.05", "1.1"),
        "bid": prices("1.10000", "1.19", "1.04", "1.09"),
        "ask": prices("1.10010", "1.21", "1.06", "1.11"),
    }
    assert bar(candle, instrument("EURUSD"), MINUTE_NS) == Bar(
        "EURUSD",
        NOON_NS + MINUTE_NS,
        NOON_NS,
        1.10005,
        1.2,
        1.05,
        1.1,
        volume=12.0,
        bid=1.1,
        ask=1.1001,
        to_close_s=(2 * 24 + 10) * 3_600 - 60,  # Friday, 17:00 in New York
    )


@pytest.mark.parametrize("mid", [{}, {"o": "1"}, dict.fromkeys("ohlc", "many"), [], None])
def test_a_candle_that_cannot_be_read_leaves_us_uncertain(mid: Any) -> None:
    with pytest.raises(VenueUncertain):
        bar({"time": NOON, "volume": 1, "mid": mid}, instrument("EURUSD"), MINUTE_NS)


@pytest.mark.parametrize(
    ("seconds", "name"), [(5, "S5"), (60, "M1"), (3_600, "H1"), (86_400, "D"), (604_800, "W")]
)
def test_granularities(seconds: int, name: str) -> None:
    assert granularity(seconds * 10**9, "A") == name


def test_a_length_that_oanda_has_not() -> None:
    with pytest.raises(ConfigError, match="A: OANDA has no bars of 420 s"):
        granularity(420 * 10**9, "A")


@pytest.mark.parametrize("ts", [0, 1, NOON_NS, NOON_NS + 999_999_999])
def test_times_go_there_and_back(ts: int) -> None:
    assert nanoseconds({"time": stamp(ts)}, "time") == ts


def test_times_may_have_fewer_decimals() -> None:
    assert nanoseconds({"time": "2026-01-07T12:00:00Z"}, "time") == NOON_NS
    assert nanoseconds({"time": "2026-01-07T12:00:00.5Z"}, "time") == NOON_NS + 5 * 10**8


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, '{"errorCode": "UNITS_INVALID", "errorMessage": "x"}', VenueRefused, "UNITS_INVALID"),
        (401, '{"errorMessage": "Insufficient"}', VenueRefused, "401: Insufficient"),
        (403, "<html>", VenueRefused, "403: no reason"),
        (404, '{"errorCode": "NO_SUCH_ORDER"}', NoSuchOrder, "NO_SUCH_ORDER"),
        (404, '{"errorMessage": "no such account"}', VenueRefused, "404"),
        (408, "", VenueUncertain, "408"),
        (500, '{"errorMessage": "NO_SUCH_ORDER"}', VenueUncertain, "500"),
        (503, "[1]", VenueUncertain, "503"),
    ],
)
def test_what_an_error_means(status: int, body: str, kind: type, words: str) -> None:
    meaning = judged(status, body)
    assert type(meaning) is kind
    assert words in str(meaning)
