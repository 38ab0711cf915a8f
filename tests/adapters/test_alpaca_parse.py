"""Alpaca's JSON to our words, on recorded answers and on small ones made here."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from adapters.shared import recorded
from onefold.adapters.alpaca.parse import (
    COINS,
    SHARES,
    Asset,
    activity_report,
    asset,
    bar,
    names,
    order_report,
    order_request,
    payment_report,
    position_report,
    timeframe,
    ts_ns,
    update_reports,
)
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument, instrument
from onefold.domain.records import Bar
from onefold.domain.venue import (
    OrderReport,
    PaymentReport,
    PositionReport,
    Ticket,
    TradeReport,
)

SHARE = Instrument(symbol="AAPL", tick=0.01)
COIN = instrument("BTCUSD")
MINUTE_NS = 60 * 10**9
DAY_NS = 1_440 * MINUTE_NS


def payload(name: str, key: str) -> Any:
    return json.loads(recorded(f"alpaca/{name}.json").read_text())[key]


# -- recorded --------------------------------------------------------------------------------------


def test_recorded_orders() -> None:
    ts = 1_615_919_881_942_282_000
    found = order_report(payload("order_routes", "test_limit_order.0"), "AAPL")
    assert found == OrderReport(
        client_id="eb9e2aaa-f71a-4f51-b5b4-52a6c565dad4",
        venue_id="61e69015-8549-4bfd-b9c3-01e75843f47d",
        symbol="AAPL",
        status="working",
        filled=Decimal(0),
        ts=ts,
    )
    (listed,) = payload("order_routes", "test_get_orders.0")
    assert order_report(listed, "SPY").status == "working"
    closing = payload("position_routes", "test_close_all_positions.0")[0]["body"]
    # Nine digits of a second, kept.
    assert order_report(closing, "BTCUSD").ts % 10**9 == 669_027_290


def test_recorded_trades() -> None:
    pages = payload(
        "account_activities_routes",
        "test_get_activities_for_account_max_items_and_single_request_date.0",
    )
    fills = [one for one in pages if one["activity_type"] == "FILL"]
    first = fills[0]
    assert activity_report(first, "AMZN", "USD", "ours") == TradeReport(
        trade_id="cddf433b-1a41-497d-ae31-50b1fee56fff:1.792161878",
        client_id="ours",
        venue_id="cddf433b-1a41-497d-ae31-50b1fee56fff",
        symbol="AMZN",
        side=1,
        qty=Decimal("1.792161878"),
        price=Decimal("2907.15"),
        ts=1_646_420_060_903_569_000,
        fee_currency="USD",
    )
    reports = [activity_report(one, one["symbol"], "USD", "x") for one in fills]
    assert len({report.trade_id for report in reports}) == len(fills)
    assert {report.side for report in reports} == {1, -1}


def test_recorded_deposits_are_the_users_own_money() -> None:
    pages = payload(
        "account_activities_routes", "setup_reqmock_for_paginated_account_activities_response.0"
    )
    deposits = [one for one in pages if one["activity_type"] == "CSD"]
    assert len(deposits) == 3
    assert [payment_report(one, "", "USD") for one in deposits] == [None] * 3
    # Were it a dividend, it would be read as it stands, and with the end of its day.
    paid = payment_report({**deposits[0], "activity_type": "DIV"}, "", "USD")
    assert paid == PaymentReport(
        payment_id=f"activity-{deposits[0]['id']}",
        ts=1_650_412_799_999_999_999,
        amount=Decimal("33324.35"),
        currency="USD",
        reason="dividend",
    )


def test_recorded_positions() -> None:
    (one,) = payload("position_routes", "test_get_all_positions.0")
    assert position_report(one, "AAPL") == PositionReport("AAPL", Decimal(5), Decimal("100.0"))


def test_recorded_assets_and_clock() -> None:
    assert asset(payload("asset_routes", "test_get_asset.0"), SHARE) == Asset("AAPL", coin=False)
    clock = payload("misc_routes", "test_get_clock.0")
    assert ts_ns(clock["timestamp"]) == 1_652_733_144_143_735_880


def test_recorded_bars() -> None:
    rows = payload("historical_stock_data", "test_get_bars.0")["bars"]["AAPL"]
    found = bar(rows[0], SHARE, DAY_NS)
    assert found == Bar(
        instrument="AAPL",
        ts=1_643_691_600_000_000_000 + DAY_NS,
        ts_open=1_643_691_600_000_000_000,
        open=174.0,
        high=174.84,
        low=172.31,
        close=174.61,
        volume=85_998_033.0,
    )
    coins = payload("historical_crypto_data", "test_get_crypto_bars.0")["bars"]["BTC/USD"]
    assert bar(coins[0], COIN, MINUTE_NS).close == 162.95


# -- made here -------------------------------------------------------------------------------------


def order(**changes: Any) -> dict[str, Any]:
    plain = {
        "id": "0001",
        "client_order_id": "ours",
        "created_at": "2024-01-02T15:00:00Z",
        "updated_at": "2024-01-02T15:00:01.000000001Z",
        "symbol": "AAPL",
        "qty": "10",
        "filled_qty": "4",
        "side": "sell",
        "status": "partially_filled",
    }
    return {**plain, **changes}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        *(
            (word, "working")
            for word in (
                "new", "partially_filled", "accepted", "accepted_for_bidding", "pending_new",
                "pending_cancel", "pending_replace", "pending_review", "held", "stopped",
                "suspended", "calculated", "done_for_day",
            )
        ),
        ("filled", "filled"),
        ("canceled", "cancelled"),
        ("replaced", "cancelled"),
        ("expired", "expired"),
        ("rejected", "rejected"),
    ],
)  # fmt: skip
def test_every_state_that_alpaca_documents(said: str, status: str) -> None:
    report = order_report(order(status=said), "AAPL")
    assert (report.status, report.filled) == (status, 4)


def test_the_states_are_those_of_the_client() -> None:
    from onefold.adapters.alpaca.http import module
    from onefold.adapters.alpaca.parse import _STATUS

    assert set(_STATUS) == {one.value for one in module("alpaca.trading.enums").OrderStatus}


def test_an_order_that_is_filled_is_so_whatever_is_still_calculated() -> None:
    assert order_report(order(status="calculated", filled_qty="10"), "AAPL").status == "filled"


def test_an_order_that_was_replaced_says_by_which() -> None:
    report = order_report(order(status="replaced", replaced_by="0002"), "AAPL")
    assert report.reason == "replaced by 0002"


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "new_word"},
        {"status": None},
        {"id": ""},
        {"filled_qty": "x"},
        {"updated_at": "y"},
    ],
)
def test_an_order_that_cannot_be_read_is_uncertain(changes: dict[str, Any]) -> None:
    with pytest.raises(VenueUncertain):
        order_report(order(**changes), "AAPL")


def update(**changes: Any) -> dict[str, Any]:
    plain = {
        "event": "partial_fill",
        "execution_id": "e1",
        "order": order(),
        "timestamp": "2024-01-02T15:00:01Z",
        "price": "100.01",
        "qty": "1",
        "position_qty": "-4",
    }
    return {**plain, **changes}


def test_a_trade_has_one_name_however_it_is_heard_of() -> None:
    trade, report = update_reports(update(), "AAPL", "USD")
    activity = {
        "id": "20240102100001000::another-id",
        "order_id": "0001",
        "cum_qty": "4.0",
        "qty": "1",
        "price": "100.01",
        "side": "sell",
        "transaction_time": "2024-01-02T15:00:01Z",
    }
    assert activity_report(activity, "AAPL", "USD", "ours") == trade
    assert trade == TradeReport(
        trade_id="0001:4",
        client_id="ours",
        venue_id="0001",
        symbol="AAPL",
        side=-1,
        qty=Decimal(1),
        price=Decimal("100.01"),
        ts=1_704_207_601_000_000_000,
        fee_currency="USD",
    )
    assert isinstance(report, OrderReport)
    assert report.filled == 4


def test_two_parts_of_an_order_are_two_trades() -> None:
    first, _ = update_reports(update(), "AAPL", "USD")
    second, _ = update_reports(update(order=order(filled_qty="5")), "AAPL", "USD")
    assert isinstance(first, TradeReport)
    assert isinstance(second, TradeReport)
    assert first.trade_id != second.trade_id


def test_what_is_no_trade_reports_the_order_only() -> None:
    (report,) = update_reports(update(event="canceled", order=order(status="canceled")), "A", "USD")
    assert isinstance(report, OrderReport)
    assert report.status == "cancelled"


@pytest.mark.parametrize(
    "changes",
    [
        {"qty": None},
        {"price": ""},
        {"timestamp": None},
        {"order": order(filled_qty="0")},
        {"order": order(side="neither")},
        {"order": None},
    ],
)
def test_a_trade_that_cannot_be_read_is_uncertain(changes: dict[str, Any]) -> None:
    with pytest.raises(VenueUncertain):
        update_reports(update(**changes), "AAPL", "USD")


def activity(**changes: Any) -> dict[str, Any]:
    plain = {
        "id": "20240102000000000::0001",
        "activity_type": "FEE",
        "date": "2024-01-02",
        "created_at": "2024-01-03T05:00:00.123456Z",
        "net_amount": "-0.010",
        "status": "executed",
    }
    return {**plain, **changes}


def test_a_payment_is_told_as_it_stands() -> None:
    paid = payment_report(activity(), "AAPL", "USD")
    assert paid == PaymentReport(
        payment_id="activity-20240102000000000::0001",
        ts=1_704_258_000_123_456_000,
        amount=Decimal("-0.010"),
        currency="USD",
        reason="fee",
        symbol="AAPL",
    )
    assert str(paid.amount) == "-0.010"
    other = payment_report(activity(status="correct", currency="EUR"), "", "USD")
    assert other is not None
    assert other.currency == "EUR"


@pytest.mark.parametrize(
    ("date", "ts"),
    [
        ("2024-01-02", 1_704_240_000_000_000_000 - 1),
        ("2024-01-02T00:00:00Z", 1_704_240_000_000_000_000 - 1),
        ("2024-02-29", 1_709_251_200_000_000_000 - 1),
    ],
)
def test_a_payment_that_has_a_day_only_is_of_the_end_of_it(date: str, ts: int) -> None:
    paid = payment_report(activity(date=date, created_at=None), "", "USD")
    assert paid is not None
    assert paid.ts == ts


def test_every_type_of_activity_that_the_client_knows_is_decided() -> None:
    from onefold.adapters.alpaca.http import module

    kinds = [one.value for one in module("alpaca.trading.enums").ActivityType]
    paid = {kind for kind in kinds if payment_report(activity(activity_type=kind), "", "USD")}
    assert paid == {
        "CFEE", "FEE", "INT", "PTC",
        "DIV", "DIVCGL", "DIVCGS", "DIVNRA", "DIVROC", "DIVTXEX", "DIVWH",
    }  # fmt: skip
    assert set(kinds) - paid == {
        # Trades, and what belongs to our own money.
        "FILL", "EXTRD", "FXTRD", "ACATC", "ACATS", "CSD", "CSW", "JNLC", "JNLS", "MEM", "OCT",
        "SWP", "WH", "INTPNL", "VOF",
        # What changes positions.
        "CIL", "MA", "NC", "REORG", "SPIN", "SPLIT",
        "OPASN", "OPCSH", "OPEXC", "OPEXP", "OPTRD",
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"activity_type": "a new word"},
        {"status": "canceled"},
        {"status": "pending"},
        {"net_amount": "0"},
        # A fee that was taken in coins.
        {"activity_type": "CFEE", "net_amount": "0", "qty": "-0.000195", "price": "1884.5"},
    ],
)
def test_what_moves_no_money_is_no_payment(changes: dict[str, Any]) -> None:
    assert payment_report(activity(**changes), "", "USD") is None


def test_a_fee_of_a_sold_coin_is_money() -> None:
    said = {"activity_type": "CFEE", "net_amount": "-2.21", "currency": "USD"}
    paid = payment_report(activity(**said), "", "USD")
    assert paid is not None
    assert (paid.amount, paid.reason) == (Decimal("-2.21"), "fee of a coin")


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"activity_type": ""},
        {"net_amount": None},
        {"net_amount": "much"},
        {"net_amount": "NaN"},
        {"created_at": "soon"},
        {"created_at": None, "date": None},
        {"created_at": None, "date": "someday"},
    ],
)
def test_a_payment_that_cannot_be_read_is_uncertain(changes: dict[str, Any]) -> None:
    with pytest.raises(VenueUncertain):
        payment_report(activity(**changes), "", "USD")


@pytest.mark.parametrize("qty", ["7", "-7"])
def test_a_short_position_is_negative_however_its_sign_is_told(qty: str) -> None:
    said = {"qty": qty, "side": "short", "avg_entry_price": "2.5"}
    assert position_report(said, "A") == PositionReport("A", Decimal(-7), Decimal("2.5"))
    with pytest.raises(VenueUncertain):
        position_report({"qty": qty, "side": "both"}, "A")


def test_orders_out() -> None:
    facts = Asset("AAPL", coin=False)
    ticket = Ticket("ours", "APPLE", -1, Decimal("1E+2"), "stop", Decimal("99.50"), "day")
    assert order_request(ticket, facts, SHARES) == {
        "symbol": "AAPL",
        "qty": "100",
        "side": "sell",
        "type": "stop",
        "stop_price": "99.50",
        "time_in_force": "day",
        "client_order_id": "ours",
    }
    coin = Asset("BTC/USD", True, Decimal("0.0001"), Decimal("0.5"))
    ticket = Ticket("ours", "BTCUSD", 1, Decimal("0.0003"), time_in_force="ioc")
    assert order_request(ticket, coin, COINS)["qty"] == "0.0003"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"time_in_force": "gtd", "expire_ts": 1}, "no orders that are gtd"),
        ({"kind": "stop", "time_in_force": "ioc"}, "no stop orders that are ioc"),
        ({"kind": "trailing"}, "no trailing orders"),
        ({"reduce_only": True}, "only reduce"),
        ({"price": None}, "do not go together"),
        ({"kind": "market"}, "do not go together"),
        ({"qty": Decimal("1.5")}, "1.5 is no multiple of 1"),
        ({"price": Decimal("1.001")}, "1.001 is no multiple of 0.01"),
        ({"price": Decimal("0.99995")}, "0.99995 is no multiple of 0.0001"),
    ],
)
def test_what_alpaca_does_not_take_is_not_sent(changes: dict[str, Any], why: str) -> None:
    plain = Ticket("ours", "AAPL", 1, Decimal(1), "limit", Decimal(10))
    with pytest.raises(VenueRefused, match=why):
        order_request(msgspec.structs.replace(plain, **changes), Asset("AAPL", coin=False), SHARES)


def test_pennies_of_pennies_below_a_dollar() -> None:
    ticket = Ticket("ours", "AAPL", 1, Decimal(1), "limit", Decimal("0.1234"))
    assert order_request(ticket, Asset("AAPL", coin=False), SHARES)["limit_price"] == "0.1234"


def test_coins_keep_to_their_own_steps_and_have_no_stops() -> None:
    coin = Asset("BTC/USD", True, Decimal("0.0001"), Decimal("0.5"))
    plain = Ticket("ours", "BTCUSD", 1, Decimal("0.0002"), "limit", Decimal("100.5"))
    assert order_request(plain, coin, COINS)["limit_price"] == "100.5"
    for changes in (
        {"qty": Decimal("0.00015")},
        {"price": Decimal("100.25")},
        {"kind": "stop"},
        {"time_in_force": "day"},
    ):
        with pytest.raises(VenueRefused, match="not sent"):
            order_request(msgspec.structs.replace(plain, **changes), coin, COINS)


def test_names_of_coins_get_their_slash() -> None:
    euro = instrument("BTCEUR")
    mine = {one.symbol: one for one in (SHARE, COIN, euro)}
    assert names(mine, {"AAPL": "AAPL.X"}) == {
        "AAPL": "AAPL.X",
        "BTCUSD": "BTC/USD",
        "BTCEUR": "BTC/EUR",
    }
    with pytest.raises(ConfigError, match="are both 'BTC/USD'"):
        names(mine, {"BTCEUR": "BTC/USD"})
    with pytest.raises(ConfigError, match="BTCUSX"):
        names(mine, {"BTCUSX": "BTC/USD"})


def test_assets() -> None:
    said = {"symbol": "BTC/USD", "class": "crypto", "status": "active", "tradable": True}
    steps = {"min_trade_increment": "0.00001", "price_increment": "0.5"}
    assert asset(said | steps, COIN) == Asset("BTC/USD", True, Decimal("0.00001"), Decimal("0.5"))
    with pytest.raises(ConfigError, match=r"lot of 0.0001 is no multiple of Alpaca's 0.001"):
        asset(said | {"min_trade_increment": "0.001"}, COIN)
    with pytest.raises(ConfigError, match="of kind equity"):
        asset(said, SHARE)
    with pytest.raises(ConfigError, match="does not trade BTC/USD any more"):
        asset(said | {"status": "inactive"}, COIN)


def test_intervals() -> None:
    assert timeframe(MINUTE_NS, coin=True) == (1, "Min")
    assert timeframe(30 * MINUTE_NS, coin=False) == (30, "Min")
    assert timeframe(60 * MINUTE_NS, coin=True) == (1, "Hour")
    assert timeframe(DAY_NS, coin=False) == (1, "Day")
    for interval_ns, coin in ((DAY_NS, True), (120 * MINUTE_NS, False), (7 * MINUTE_NS, False)):
        with pytest.raises(ConfigError, match="Alpaca has no bars of"):
            timeframe(interval_ns, coin=coin)


def test_times_to_the_last_digit() -> None:
    second = 1_704_207_601 * 10**9
    assert ts_ns("2024-01-02T15:00:01Z") == second
    assert ts_ns("2024-01-02T15:00:01.5Z") == second + 500_000_000
    assert ts_ns("2024-01-02T10:00:01.123456789-05:00") == second + 123_456_789
    for wrong in (None, "", "yesterday", 5):
        with pytest.raises(VenueUncertain):
            ts_ns(wrong)


def test_a_bar_that_cannot_be_read_is_uncertain() -> None:
    good = {"t": "2024-01-02T15:00:00Z", "o": 1, "h": 2, "l": 1, "c": 2, "v": 3}
    assert bar(good, SHARE, MINUTE_NS).volume == 3.0
    assert bar({**good, "v": None}, SHARE, MINUTE_NS).volume is None
    for changes in ({"o": None}, {"c": "x"}, {"t": None}):
        with pytest.raises(VenueUncertain):
            bar({**good, **changes}, SHARE, MINUTE_NS)
