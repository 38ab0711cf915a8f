"""X4, X5, I1, I2: reports come twice, late and in any order; every trade counts once."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Kind, instrument
from onefold.domain.records import Adoption, Fill, Handover, Order, OrderNotice, Quarantined
from onefold.domain.venue import Abilities, OrderReport, Report, TradeReport
from onefold.engine.blotter import KEPT_NS, NAME_MAX, Blotter, base36
from support import share

BORN = 1_700_000_000_000_000_000
LOT = Decimal("0.001")


def blotter_of(*orders: Order) -> Blotter:
    blotter = Blotter("main", BORN, [share("ABC", kind=Kind.CRYPTO, lot=0.001)])
    for order in orders:
        blotter.remember(order)
    return blotter


def order(number: int = 1, qty: int = 10, **facts: object) -> Order:
    return Order(number, BORN, "ABC", "s0", "entry", 1, qty, **facts)  # type: ignore[arg-type]


def trade(blotter: Blotter, number: int, lots: int, **facts: object) -> TradeReport:
    return TradeReport(
        **{  # type: ignore[arg-type]
            "trade_id": str(number),
            "client_id": blotter.client_id(1),
            "venue_id": "v1",
            "symbol": "ABC",
            "side": 1,
            "qty": lots * LOT,
            "price": Decimal("100.5"),
            "ts": BORN + number,
            **facts,
        }
    )


def stated(blotter: Blotter, status: str, lots: int = 0) -> OrderReport:
    return OrderReport(blotter.client_id(1), "v1", "ABC", status, lots * LOT)  # type: ignore[arg-type]


@given(number=st.integers(0, 10**15))
def test_base_36_can_be_read_back(number: int) -> None:
    assert int(base36(number), 36) == number


def test_names_are_for_ever_and_short() -> None:
    one, again = blotter_of(order()), blotter_of(order())
    assert one.client_id(1) == again.client_id(1) != one.client_id(2)
    later = Blotter("main", BORN + 10**9, [share("ABC")])
    assert later.client_id(1) != one.client_id(1)
    longest = Blotter("a" * 12, 10**19, [share("ABC")]).client_id(10**9)
    assert len(longest) <= NAME_MAX
    with pytest.raises(ConfigError, match="too long"):
        Blotter("a" * 40, BORN, [share("ABC")]).client_id(1)


NOTHING: dict[str, Any] = {
    "ts": BORN,
    "journal": "before",
    "end_seq": 1,
    "end_hash": "",
    "account": {"fills": 1},
    "currencies": {},
    "instruments": {},
    "strategies": {},
    "sleeves": {},
}
"""What a handover says besides the blotter's memory."""


def test_a_trade_that_an_earlier_journal_knew_is_nothing_new() -> None:
    """ADR 9: some venues tell all trades of the day again, of orders that are long over too."""
    before = blotter_of(order())
    told = trade(before, 1, 10)
    for record in before.heard(told, BORN + 1):
        before.remember(record)
    heir = blotter_of()
    heir.remember(Handover(**NOTHING, **before.left_over()))
    assert heir.known(told.client_id) is None
    assert heir.heard(told, BORN + 2) == []
    other = heir.heard(trade(before, 2, 1), BORN + 2)
    assert [record.reason for record in other] == ["settled_long_ago"]


@given(
    cuts=st.lists(st.integers(1, 9), max_size=4, unique=True),
    end=st.sampled_from(["filled", "cancelled", "expired"]),
    data=st.data(),
)
def test_reports_in_any_order_make_each_trade_once_and_one_end(
    cuts: list[int], end: str, data: st.DataObject
) -> None:
    """The end of an order is put off until all of its trades are known."""
    blotter = blotter_of(order())
    edges = [0, *sorted(cuts), 10]
    parts = [b - a for a, b in pairwise(edges)]
    if end != "filled":
        parts = parts[:-1]
    done = sum(parts)
    trades: list[Report] = [trade(blotter, n, lots) for n, lots in enumerate(parts)]
    reports = [stated(blotter, "working"), *trades, stated(blotter, end, done)]
    told = data.draw(st.permutations(reports + reports))
    records: list[object] = []
    for report in told:
        for record in blotter.heard(report, BORN):
            blotter.remember(record)
            records.append(record)
    for record in blotter.settled(BORN, blotter.placed(1)):
        blotter.remember(record)
        records.append(record)
    fills = [r for r in records if isinstance(r, Fill)]
    assert sum(f.qty for f in fills) == done
    assert len({f.trade for f in fills}) == len(fills) == len(parts)
    assert [f.id for f in fills] == list(range(1, len(fills) + 1))
    ends = [r.notice for r in records if isinstance(r, OrderNotice) and r.notice != "accepted"]
    assert ends == ([] if end == "filled" else [end])
    assert not blotter.open()
    assert not blotter.owed()


def test_a_restart_knows_what_was_counted() -> None:
    first = blotter_of(order())
    [fill] = first.heard(trade(first, 1, 4), BORN)
    again = blotter_of(order())
    again.remember(fill)
    assert again.heard(trade(again, 1, 4), BORN) == []
    assert again.placed(1).left == 6
    [second] = again.heard(trade(again, 2, 6), BORN)
    assert isinstance(second, Fill)
    assert second.id == 2


def test_a_trade_that_is_told_twice_at_once_counts_once() -> None:
    """The stream and the list of trades tell of it before either has reached the journal."""
    blotter = blotter_of(order())
    [fill] = blotter.heard(trade(blotter, 1, 4), BORN)
    [second] = blotter.heard(trade(blotter, 2, 3), BORN)
    assert blotter.heard(trade(blotter, 1, 4), BORN) == []
    assert [fill.id, second.id] == [1, 2]  # type: ignore[union-attr]
    for record in (fill, second):
        blotter.remember(record)  # and then they are journaled
    assert blotter.placed(1).left == 3


def test_prices_are_on_the_grid_however_they_were_computed() -> None:
    blotter = Blotter("main", BORN, [share("ABC", tick=0.01)])
    made = blotter.ticket(order(order_kind="limit", price=1004.0500000000001), Abilities())
    assert str(made.price) == "1004.05"


def test_a_fill_after_the_cancel_still_counts() -> None:
    blotter = blotter_of(order())
    [gone] = blotter.heard(stated(blotter, "cancelled"), BORN)
    blotter.remember(gone)
    [fill] = blotter.heard(trade(blotter, 1, 3), BORN)
    assert isinstance(fill, Fill)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"client_id": "stranger"}, "foreign_order"),
        ({"qty": Decimal("0.0005")}, "impossible_trade"),
        ({"side": -1}, "impossible_trade"),
        ({"price": Decimal("NaN")}, "impossible_trade"),
    ],
)
def test_what_cannot_be_is_set_aside_with_a_reason(facts: dict[str, object], reason: str) -> None:
    blotter = blotter_of(order())
    [record] = blotter.heard(trade(blotter, 1, 1, **facts), BORN)
    assert isinstance(record, Quarantined)
    assert record.reason == reason


def test_a_fee_from_another_pocket_is_told_and_changes_nothing() -> None:
    blotter = blotter_of(order())
    fee = {"fee": Decimal("0.01"), "fee_currency": "BNB"}
    fill, told = blotter.heard(trade(blotter, 1, 4, **fee), BORN)
    assert isinstance(fill, Fill)
    assert (fill.fee, fill.in_kind) == (0.0, "")
    assert isinstance(told, Quarantined)
    assert told.reason == "foreign_fee"


@given(fees=st.lists(st.integers(0, 3_000), min_size=1, max_size=10))
def test_fees_in_kind_take_whole_lots_and_lose_nothing(fees: list[int]) -> None:
    """Units bought less fees are whole lots and parts of one, now and after a restart."""
    blotter, again = blotter_of(order(qty=1_000)), blotter_of(order(qty=1_000))
    held = 0
    for number, micro in enumerate(fees, 1):
        fee = Decimal(micro) / 1_000_000
        report = trade(blotter, number, 10, fee=fee, fee_currency="ABC")
        for record in blotter.heard(report, BORN):
            blotter.remember(record)  # as it is journaled
            again.remember(record)
            held += record.qty  # type: ignore[union-attr]
            if isinstance(record, Adoption):
                assert (record.price, record.qty < 0) == (0.0, True)
    exact = 10 * len(fees) * LOT - sum(Decimal(micro) / 1_000_000 for micro in fees)
    for one in (blotter, again):
        assert held * LOT + one.parts("ABC") == exact
        assert 0 <= one.parts("ABC") < LOT


def test_tickets_are_exact_and_refuse_what_the_venue_cannot_do() -> None:
    blotter = blotter_of()
    ticket = blotter.ticket(order(qty=123, order_kind="limit", price=0.1), Abilities())
    assert (ticket.qty, ticket.price) == (Decimal("0.123"), Decimal("0.1"))
    with pytest.raises(ConfigError, match="takes no stop orders"):
        blotter.ticket(order(order_kind="stop", price=1.0), Abilities(kinds=frozenset({"market"})))
    with pytest.raises(ConfigError, match="'gtd'"):
        blotter.ticket(
            order(time_in_force="gtd", expire_ts=1), Abilities(times_in_force=frozenset({"gtc"}))
        )


def test_what_has_long_been_over_is_forgotten_and_halts_when_it_comes_again() -> None:
    blotter = blotter_of(order(1), order(2), order(3))
    told = trade(blotter, 1, 10)
    assert [type(r) for r in blotter.heard(told, BORN)] == [Fill]
    [ended] = blotter.heard(
        OrderReport(blotter.client_id(2), "v2", "ABC", "cancelled"), BORN + KEPT_NS
    )
    blotter.agreed(BORN + KEPT_NS)
    assert blotter.heard(told, BORN) == [], "a day has not passed"
    blotter.agreed(BORN + KEPT_NS + 2)
    assert [p.order.id for p in blotter.open()] == [3]
    assert blotter.known(blotter.client_id(1)) is None
    assert blotter.known(blotter.client_id(2)) is not None
    [refused] = blotter.heard(told, BORN)
    assert isinstance(refused, Quarantined)
    assert refused.reason == "settled_long_ago"
    assert blotter.heard(stated(blotter, "filled", 10), BORN) == [], "over stays over"
    [working] = blotter.heard(stated(blotter, "working"), BORN)
    assert isinstance(working, Quarantined)
    assert isinstance(ended, OrderNotice)


def test_its_memory_is_that_of_a_day() -> None:
    blotter = blotter_of()
    for n in range(1, 2_001):
        now = BORN + n * KEPT_NS // 100
        blotter.remember(Order(n, now, "ABC", "s0", "entry", 1, 10))
        blotter.heard(trade(blotter, n, 10, client_id=blotter.client_id(n), ts=now), now)
        blotter.agreed(now)
    sizes = [len(x) for x in (blotter._placed, blotter._by_client, blotter._trades)]
    assert max(sizes) <= 102
    assert not blotter._open


def test_reduce_only_is_told_where_one_strategy_holds_the_instrument() -> None:
    """A venue knows net positions: it would refuse one's exit against what another holds."""
    leaving = order(reduce_only=True)
    able = Abilities(reduce_only=True)
    assert blotter_of(leaving).ticket(leaving, able).reduce_only
    shared = Blotter("main", BORN, [share("ABC", lot=0.001)], shared={"ABC"})
    assert not shared.ticket(leaving, able).reduce_only
    assert not blotter_of(leaving).ticket(leaving, Abilities(reduce_only=False)).reduce_only


def test_a_commission_in_the_account_s_currency_takes_no_lots_of_a_pair() -> None:
    """A pair is named after its base currency, and an account may be in that currency."""
    blotter = Blotter("main", BORN, [instrument("EURUSD")])
    blotter.remember(Order(1, BORN, "EURUSD", "s0", "entry", 1, 10))
    fee = {"fee": Decimal("0.50"), "fee_currency": "EUR", "symbol": "EURUSD"}
    told = trade(blotter, 1, 0, qty=Decimal(10_000), **fee)
    fill, refused = blotter.heard(told, BORN)
    assert isinstance(fill, Fill)
    assert (fill.qty, fill.in_kind) == (10, "")
    assert isinstance(refused, Quarantined)
