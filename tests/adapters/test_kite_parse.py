"""What Kite's answers mean: recorded ones, and small ones made by hand."""

from __future__ import annotations

import base64
import json
import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefold.adapters.kite import KiteConfig
from onefold.adapters.kite.parse import (
    NAME_MAX,
    Listing,
    Meter,
    Snapshot,
    bar,
    by_time,
    charge_requests,
    client_id_of,
    day_of,
    fees,
    listing,
    name_of,
    order_report,
    order_request,
    position_reports,
    snapshots,
    stamp,
    tag_of,
    trade_report,
)
from onefold.adapters.ticks import Quote, Trade
from onefold.domain.errors import VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.venue import Ticket
from onefold.rehearsal.faces.kite.ticker import packet

from .shared import recorded

NAMES = st.text("-0123456789abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=NAME_MAX)
INFY = Listing("NSE", "INFY", 408_065, Decimal("0.05"))
SECOND_NS = 10**9


def answers(name: str) -> Any:
    return json.loads(recorded(f"kiteconnect-mocks/{name}").read_text(encoding="utf-8"))


def data(name: str) -> Any:
    return answers(name)["data"]


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_NS


# -- names -----------------------------------------------------------------------------------------


@given(NAMES)
def test_every_name_comes_back_from_its_tag(name: str) -> None:
    tag = tag_of(name)
    assert len(tag) == 20
    assert tag.isascii()
    assert tag.isalnum()
    assert name_of(tag) == name


@given(NAMES, NAMES)
def test_no_two_names_have_one_tag(one: str, other: str) -> None:
    assert (tag_of(one) == tag_of(other)) == (one == other)


def test_the_longest_and_the_last_name_fits() -> None:
    assert name_of(tag_of("z" * NAME_MAX)) == "z" * NAME_MAX


@pytest.mark.parametrize("name", ["", "z" * (NAME_MAX + 1), "Upper", "under_score", "é"])
def test_a_name_that_does_not_fit_is_refused(name: str) -> None:
    with pytest.raises(VenueRefused, match="give the account a shorter name"):
        tag_of(name)


@pytest.mark.parametrize("tag", [None, "", "icebergord", "connect test order1", "z" * 20, "-" * 20])
def test_a_tag_of_somebody_else_is_no_name(tag: str | None) -> None:
    assert name_of(tag) == ""


# -- orders ----------------------------------------------------------------------------------------


def request(**changes: Any) -> dict[str, Any]:
    plain = {"client_id": "a-1", "symbol": "INFY", "side": 1, "qty": Decimal(3)}
    return order_request(Ticket(**{**plain, **changes}), INFY, "CNC", -1.0)


def test_orders_are_asked_for_in_kites_words() -> None:
    market = request()
    assert market == {
        "variety": "regular",
        "exchange": "NSE",
        "tradingsymbol": "INFY",
        "transaction_type": "BUY",
        "quantity": "3",
        "product": "CNC",
        "order_type": "MARKET",
        "validity": "DAY",
        "tag": tag_of("a-1"),
        "market_protection": "-1",
    }
    limit = request(side=-1, kind="limit", price=Decimal("1500.05"), time_in_force="ioc")
    assert {k: limit[k] for k in ("transaction_type", "order_type", "price", "validity")} == {
        "transaction_type": "SELL",
        "order_type": "LIMIT",
        "price": "1500.05",
        "validity": "IOC",
    }
    assert "market_protection" not in limit
    stop = request(side=-1, kind="stop", price=Decimal(1400))
    assert (stop["order_type"], stop["trigger_price"]) == ("SL-M", "1400")
    assert stop["market_protection"] == "-1"
    assert "price" not in stop


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"qty": Decimal("1.5")}, "no quantity of 1.5, only whole ones"),
        ({"qty": Decimal(0)}, "no quantity of 0"),
        ({"kind": "limit", "price": Decimal("1500.03")}, "no price of 1500.03, only steps of 0.05"),
        ({"kind": "limit"}, "no limit orders without a price"),
        ({"kind": "trailing", "price": Decimal(1)}, "no trailing orders"),
        ({"time_in_force": "gtd", "expire_ts": 1}, "no orders that are gtd"),
        ({"kind": "stop", "price": Decimal(1), "time_in_force": "ioc"}, "no stop orders that are"),
        ({"reduce_only": True}, "no orders that only reduce"),
    ],
)
def test_what_kite_cannot_do_is_not_tried(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(VenueRefused, match=words) as refused:
        request(**changes)
    assert "not sent" in str(refused.value)


def test_no_market_protection_is_no_setting() -> None:
    for share in (0, -0.5):
        with pytest.raises(ValueError, match="is no protection"):
            KiteConfig.model_validate(
                {"api_key": "k", "access_token": "t", "market_protection": share}
            )


def test_recorded_orders() -> None:
    orders = data("orders.json")
    reports = [order_report(order, str(order["tradingsymbol"])) for order in orders]
    assert [r.status for r in reports[:4]] == ["cancelled", "filled", "filled", "rejected"]
    assert {r.client_id for r in reports} == {""}, "none of them is ours"
    done = reports[1]
    assert (done.venue_id, done.filled, done.symbol) == ("300000000000000", Decimal(1), "IOC")
    assert done.ts == utc("2021-05-31T09:50:28")
    assert reports[3].reason.startswith("Insufficient funds. Required margin is 95417.84")


def test_recorded_history_of_an_order_works_until_it_ends() -> None:
    states = [order_report(row, "SBIN").status for row in data("order_info.json")]
    assert states[0] == "working", "PUT ORDER REQ RECEIVED"
    assert set(states[:-1]) == {"working"}


def test_recorded_postback() -> None:
    report = order_report(answers("postback.json"), "SBIN")
    assert (report.status, report.filled, report.venue_id) == (
        "filled",
        Decimal(1),
        "220303000308932",
    )


def test_our_name_is_found_among_tags() -> None:
    assert client_id_of({"tag": tag_of("a-1")}) == "a-1"
    assert client_id_of({"tag": None, "tags": ["mktp", tag_of("a-1")]}) == "a-1"
    assert client_id_of({"tag": "by hand"}) == ""


@pytest.mark.parametrize("name", ["order_id", "status", "order_timestamp"])
def test_an_order_that_lacks_something_is_uncertain(name: str) -> None:
    plain = {"order_id": "1", "status": "OPEN", "order_timestamp": "2021-05-31 09:16:39"}
    assert order_report(plain, "SBIN").status == "working"
    with pytest.raises(VenueUncertain):
        order_report({**plain, name: None}, "SBIN")


# -- trades ----------------------------------------------------------------------------------------


def test_recorded_trades() -> None:
    trades = by_time(data("trades.json"))
    reports = [trade_report(t, t["tradingsymbol"], "", Decimal(0)) for t in trades]
    first = reports[0]
    assert (first.trade_id, first.venue_id) == ("200000000000000-10000000", "200000000000000")
    assert (first.side, first.qty, first.price) == (1, Decimal(1), Decimal("420.65"))
    assert first.ts == utc("2021-05-31T03:46:39")
    assert reports[1].price == Decimal("72.755")
    assert [r.ts for r in reports] == sorted(r.ts for r in reports)


def test_trades_are_put_in_order_by_time_and_then_by_number() -> None:
    told = [("10", "09:16:39"), ("9", "09:16:39"), ("11", "09:15:00")]
    rows = [{"trade_id": n, "fill_timestamp": f"2021-05-31 {time}"} for n, time in told]
    assert [row["trade_id"] for row in by_time(rows)] == ["11", "9", "10"]


def test_recorded_charges_are_those_of_the_order_so_far() -> None:
    notes = data("virtual_contract_note.json")
    assert fees(notes[:1]) == [Decimal("0.5826968")]
    before, after = fees([notes[0], notes[1]])
    assert before + after == Decimal("2.84811132")


def test_what_a_trade_costs_is_what_it_adds_to_its_order() -> None:
    trades = [
        {
            "order_id": "7",
            "trade_id": str(n),
            "exchange": "NSE",
            "tradingsymbol": "INFY",
            "transaction_type": "BUY",
            "product": "CNC",
            "quantity": quantity,
            "average_price": price,
        }
        for n, (quantity, price) in enumerate([(2, 100), (2, 102)])
    ]
    first, both = charge_requests(trades, {"order_type": "LIMIT"})
    assert (first["quantity"], first["average_price"]) == (2, 100)
    assert (both["quantity"], both["average_price"]) == (4, 101)
    assert both["order_type"] == "LIMIT"


# -- positions -------------------------------------------------------------------------------------


def test_recorded_positions_are_told_apart_by_product() -> None:
    positions = data("positions.json")["net"]
    lead = {"LEAD": Listing("MCX", "LEADMINI17DECFUT", 53_496_327, Decimal("0.05"))}
    (held,) = position_reports(positions, [], lead, "NRML")
    assert (held.symbol, held.qty, held.average) == ("LEAD", Decimal(1), Decimal("161.05"))
    assert position_reports(positions, [], lead, "MIS") == []


def test_recorded_holdings_count_with_what_the_day_did() -> None:
    sbin = {"SBIN": Listing("NSE", "SBIN", 779_521, Decimal("0.05"))}
    holdings = data("holdings.json")
    (held,) = position_reports([], holdings, sbin, "CNC")
    assert (held.qty, held.average) == (Decimal(16), None)
    sold = {"tradingsymbol": "SBIN", "exchange": "NSE", "product": "CNC", "quantity": -6}
    (left,) = position_reports([sold], holdings, sbin, "CNC")
    assert left.qty == Decimal(10)
    assert position_reports([], holdings, sbin, "MIS") == []


def test_recorded_instruments() -> None:
    header, *rows = (
        recorded("kiteconnect-mocks/instruments_nse.csv").read_text("utf-8").splitlines()
    )
    row = next(r for r in rows if ",CDSL," in r)
    assert listing(dict(zip(header.split(","), row.split(","), strict=True))) == Listing(
        "NSE", "CDSL", 5_420_545, Decimal("0.05")
    )


# -- bars and ticks --------------------------------------------------------------------------------


def test_recorded_candles() -> None:
    import kiteconnect

    rows = kiteconnect.KiteConnect("k")._format_historical(data("historical_minute.json"))
    one = bar(rows[0], Instrument(symbol="X"), 60 * SECOND_NS)
    assert (one.ts_open, one.ts) == (utc("2017-12-15T03:45:00"), utc("2017-12-15T03:46:00"))
    assert (one.open, one.high, one.low, one.close) == (1704.5, 1705, 1699.25, 1702.8)
    assert one.volume == 2499


@pytest.mark.parametrize(("name", "kind"), [("ticker_full", "full"), ("ticker_quote", "quote")])
def test_recorded_packets_are_read_as_the_client_does(name: str, kind: str) -> None:
    from kiteconnect import KiteTicker

    raw = base64.b64decode(recorded(f"kiteconnect-mocks/{name}.packet").read_text("utf-8"))
    message = struct.pack(">HH", 1, len(raw)) + raw
    (theirs,) = KiteTicker("k", "t")._parse_binary(message)
    assert theirs["mode"] == kind
    if kind == "quote":
        assert snapshots(message) == [], "without a time it makes no bar"
        return
    (ours,) = snapshots(message)
    assert (ours.token, ours.price) == (theirs["instrument_token"], theirs["last_price"])
    assert ours.volume == theirs["volume_traded"]
    assert ours.bid == theirs["depth"]["buy"][0]["price"]
    assert ours.ask == theirs["depth"]["sell"][0]["price"]
    assert ours.traded_ts == int(theirs["last_trade_time"].timestamp()) * SECOND_NS
    assert ours.ts == utc("2021-07-05T05:11:27")


def test_packets_of_the_rehearsal_are_those_of_kite() -> None:
    made = packet(
        408_065, "full", 1573.7, 1_192_471, 7, (1569.15, 1575, 1561.05, 1567.8), 5 * 10**9
    )
    message = struct.pack(">HH", 1, len(made)) + made
    (now,) = snapshots(message)
    assert now == Snapshot(408_065, 1573.7, 5 * 10**9, 5 * 10**9, 1_192_471)
    assert snapshots(b"\0") == []
    for cut in (3, 10, len(message) - 1):
        with pytest.raises(VenueUncertain, match="ends early"):
            snapshots(message[:cut])


def test_currencies_have_more_decimals() -> None:
    made = packet(3, "full", 0, 0, 0, (0, 0, 0, 0), 0)
    raw = made[:4] + struct.pack(">I", 727_550_000) + made[8:]
    (now,) = snapshots(struct.pack(">HH", 1, len(raw)) + raw)
    assert now.price == 72.755


def test_an_index_has_no_volume() -> None:
    raw = struct.pack(">8I", 9, 1_700_050, 0, 0, 0, 0, 0, 60)
    (now,) = snapshots(struct.pack(">HH", 1, len(raw)) + raw)
    assert now == Snapshot(9, 17_000.5, 60 * SECOND_NS, 60 * SECOND_NS)
    assert list(Meter().ticks(now)) == [Trade(60 * SECOND_NS, 17_000.5, 0.0)]


def test_a_trade_is_what_was_traded_between_two_looks() -> None:
    meter = Meter()
    assert list(meter.ticks(Snapshot(1, 100.0, 1, 1, 500))) == [], "nobody knows when"
    assert list(meter.ticks(Snapshot(1, 101.0, 2, 3, 520))) == [Trade(2, 101.0, 20.0)]
    assert list(meter.ticks(Snapshot(1, 101.0, 2, 4, 520, 100.5, 101.5))) == [
        Quote(4, 100.5, 101.5)
    ]
    assert list(meter.ticks(Snapshot(1, 99.0, 9, 9, 30))) == [Trade(9, 99.0, 30.0)], "a new day"
    crossed = Snapshot(1, 99.0, 9, 9, 30, 102.0, 101.0)
    assert list(meter.ticks(crossed)) == [], "before the opening"


def test_times_are_those_of_india() -> None:
    assert stamp(utc("2021-05-31T03:45:00")) == "2021-05-31 09:15:00"
    midnight = utc("2021-05-31T18:30:00")
    assert day_of(midnight) == day_of(midnight - 1) + 1
