"""The rehearsal exchange: orders, refusals, and books that add up to the last digit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.errors import ConfigError
from onefold.domain.records import Bar
from onefold.domain.rules import Costs
from onefold.rehearsal.books import exact, on_grid
from onefold.rehearsal.exchange import Event, Exchange, Opening, Refusal, VenueOrder, VenueTrade

from .worlds import MINUTE_NS, START_NS, bar, coin, exchange_of, perpetual

D = Decimal


def told(exchange: Exchange) -> list[Event]:
    events: list[Event] = []
    exchange.listen(events.append)
    return events


def statuses(exchange: Exchange) -> list[str]:
    return [order.status for order in exchange.orders()]


# -- orders ----------------------------------------------------------------------------------------


def test_a_market_order_fills_at_the_next_open_and_pays_its_fee() -> None:
    exchange = exchange_of()
    order = exchange.submit("a", "BTCUSDT", 1, D("1.5"))
    assert (order.status, order.venue_id, order.filled) == ("working", 1, 0)
    exchange.on_bar(bar(1, 101, 103, 99, 102))
    (trade,) = exchange.trades()
    assert (trade.price, trade.qty, trade.fee) == (D(101), D("1.5"), D("0.15150000"))
    assert (order.status, order.average) == ("filled", D(101))
    assert exchange.cash() == D(100_000) - D("151.5") - D("0.1515")
    assert exchange.positions() == {"BTCUSDT": D("1.5")}
    assert exchange.average("BTCUSDT") == D(101)
    assert exchange.equity() == exchange.cash() + D("1.5") * 102


def test_prices_of_limits_and_stops_are_those_of_the_simulated_venue() -> None:
    exchange = exchange_of(perpetual())
    exchange.submit("limit", "BTCUSDT", 1, D(1), "limit", D("95.5"))
    exchange.submit("stop", "BTCUSDT", -1, D(1), "stop", D("94.2"))
    exchange.on_bar(bar(1, 100, 101, 94, 96))
    prices = {t.client_id: t.price for t in exchange.trades()}
    assert prices == {"limit": D("95.5"), "stop": D("94.2")}
    assert exchange.positions() == {"BTCUSDT": D(0)}
    assert exchange.average("BTCUSDT") is None


def test_slippage_and_volume_are_those_of_the_costs() -> None:
    costs = Costs(slippage_ticks=2, volume_share=0.1)
    exchange = exchange_of(perpetual(), costs=costs)
    order = exchange.submit("a", "BTCUSDT", 1, D(5))
    exchange.on_bar(bar(1, 101, volume=20.0))
    assert (order.status, order.filled, order.average) == ("working", D(2), D("101.2"))
    exchange.on_bar(bar(2, 102, volume=2_000.0))
    assert (order.status, order.filled) == ("filled", D(5))
    assert [t.qty for t in exchange.trades()] == [D(2), D(3)]


def test_an_order_does_not_meet_a_bar_that_had_begun_before_it() -> None:
    exchange = exchange_of()
    exchange.advance(START_NS + MINUTE_NS + 1)
    order = exchange.submit("a", "BTCUSDT", 1, D(1))
    exchange.on_bar(bar(1, 101))
    assert order.status == "working"
    exchange.on_bar(bar(2, 102))
    assert order.average == D(102)


def test_orders_end_in_their_own_ways() -> None:
    exchange = exchange_of(perpetual())
    soon = exchange.now_ns + 2 * MINUTE_NS
    args: list[tuple[Any, ...]] = [
        ("ioc", None),
        ("gtd", soon),
        ("day", None),
        ("gtc", None),
    ]
    for name, expire in args:
        exchange.submit(name, "BTCUSDT", 1, D(1), "limit", D(50), name, expire)
    exchange.on_bar(bar(1))
    assert statuses(exchange) == ["expired", "working", "working", "working"]
    exchange.on_bar(bar(3))
    assert statuses(exchange) == ["expired", "expired", "working", "working"]
    exchange.on_bar(bar(1_441))
    assert statuses(exchange) == ["expired", "expired", "expired", "working"]
    exchange.cancel("gtc")
    assert statuses(exchange)[-1] == "cancelled"


def test_an_ioc_order_that_is_cancelled_in_time_is_cancelled() -> None:
    exchange = exchange_of()
    exchange.submit("a", "BTCUSDT", 1, D(1), "limit", D(50), "ioc")
    assert exchange.cancel("a").status == "cancelled"


def test_what_cash_does_not_cover_is_rejected_at_the_fill() -> None:
    exchange = exchange_of(cash="1000")
    order = exchange.submit("a", "BTCUSDT", 1, D("9.9"))
    exchange.on_bar(bar(1, 200))
    assert (order.status, order.filled) == ("rejected", D("4.995"))
    assert order.reason
    assert 0 <= exchange.cash() < D("0.21")


def test_what_was_spent_within_a_bar_is_not_there_at_the_next_open() -> None:
    exchange = exchange_of(cash="1000")
    exchange.submit("a", "BTCUSDT", 1, D(6), "limit", D(99))
    exchange.on_bar(bar(1, 100, 100, 98, 100))
    later = exchange.submit("b", "BTCUSDT", 1, D("3.9"))
    exchange.on_bar(bar(2, 200))
    assert later.status == "rejected"
    assert 0 <= exchange.cash() < D("0.3")


def test_the_clock_never_goes_back_and_neither_do_trades() -> None:
    exchange = exchange_of(coin(), coin(symbol="ETHUSDT"))
    exchange.advance(START_NS)
    assert exchange.now_ns == bar(0).ts
    for symbol in exchange.instruments:
        exchange.submit(symbol, symbol, 1, D(1))
    for symbol in exchange.instruments:
        exchange.on_bar(bar(1, symbol=symbol))
    assert [t.ts for t in exchange.trades()] == [bar(1).ts_open, bar(1).ts]


def test_reduce_only_never_goes_short() -> None:
    exchange = exchange_of(perpetual())
    exchange.submit("in", "BTCUSDT", 1, D(2))
    exchange.on_bar(bar(1))
    for name in ("out", "again"):
        exchange.submit(name, "BTCUSDT", -1, D(2), reduce_only=True)
    exchange.on_bar(bar(2))
    assert exchange.positions() == {"BTCUSDT": D(0)}
    assert statuses(exchange) == ["filled", "filled", "cancelled"]


@pytest.mark.parametrize(
    ("code", "order"),
    [
        ("unknown_symbol", {"symbol": "XYZ"}),
        ("duplicate_client_id", {"client_id": "taken"}),
        ("min_qty", {"qty": D("0.0005")}),
        ("min_qty", {"qty": D(-1)}),
        ("lot_size", {"qty": D("1.0005")}),
        ("tick_size", {"kind": "limit", "price": D("99.999")}),
        ("bad_order", {"kind": "limit"}),
        ("bad_order", {"price": D(1)}),
        ("bad_order", {"kind": "pegged", "price": D(1)}),
        ("bad_order", {"time_in_force": "gtd"}),
        ("bad_order", {"expire_ts": 5}),
        ("bad_order", {"time_in_force": "fok"}),
        ("no_balance", {"qty": D(1_000)}),
        ("no_balance", {"side": -1}),
        ("reduce_only", {"side": -1, "reduce_only": True}),
    ],
)
def test_refusals(code: str, order: dict[str, Any]) -> None:
    exchange = exchange_of()
    exchange.submit("taken", "BTCUSDT", 1, D(1), "limit", D(50))
    events = told(exchange)
    plain = {"client_id": "new", "symbol": "BTCUSDT", "side": 1, "qty": D(1)}
    with pytest.raises(Refusal) as refused:
        exchange.submit(**{**plain, **order})
    assert refused.value.code == code
    assert refused.value.reason
    assert len(exchange.orders()) == 1
    assert events == []


def test_cash_of_working_orders_is_spoken_for() -> None:
    exchange = exchange_of(cash="1000")
    exchange.submit("a", "BTCUSDT", 1, D(6), "limit", D(100))
    assert exchange.reserved() == D("600.6")
    with pytest.raises(Refusal, match="are free"):
        exchange.submit("b", "BTCUSDT", 1, D(6), "limit", D(100))
    exchange.cancel("a")
    exchange.submit("c", "BTCUSDT", 1, D(6), "limit", D(100))


def test_coins_of_working_sales_are_spoken_for() -> None:
    exchange = exchange_of()
    exchange.submit("in", "BTCUSDT", 1, D(2))
    exchange.on_bar(bar(1))
    exchange.submit("a", "BTCUSDT", -1, D(2), "limit", D(200))
    with pytest.raises(Refusal, match="to sell"):
        exchange.submit("b", "BTCUSDT", -1, D(1), "limit", D(200))


def test_margin_bounds_what_is_opened_and_not_what_is_closed() -> None:
    exchange = exchange_of(perpetual(), cash="1000")
    exchange.submit("in", "BTCUSDT", 1, D(99))
    exchange.on_bar(bar(1))
    with pytest.raises(Refusal) as refused:
        exchange.submit("more", "BTCUSDT", 1, D(10))
    assert refused.value.code == "no_margin"
    exchange.submit("out", "BTCUSDT", -1, D(99))


def test_a_name_can_be_free_again_when_its_order_is_done() -> None:
    strict, lax = exchange_of(), exchange_of(names_once=False)
    for exchange in (strict, lax):
        exchange.submit("a", "BTCUSDT", 1, D(1))
        exchange.on_bar(bar(1))
    with pytest.raises(Refusal):
        strict.submit("a", "BTCUSDT", 1, D(1))
    again = lax.submit("a", "BTCUSDT", 1, D(1))
    assert lax.order("a") is again


def test_no_more_orders_than_the_venue_has_room_for() -> None:
    exchange = exchange_of(orders_max=3)
    for n in range(3):
        exchange.submit(f"{n}", "BTCUSDT", 1, D(1), "limit", D(50))
    with pytest.raises(Refusal, match="working already"):
        exchange.submit("3", "BTCUSDT", 1, D(1), "limit", D(50))
    exchange.cancel("0")
    exchange.submit("3", "BTCUSDT", 1, D(1), "limit", D(50))


def test_only_working_orders_can_be_cancelled() -> None:
    exchange = exchange_of()
    exchange.submit("a", "BTCUSDT", 1, D(1))
    exchange.on_bar(bar(1))
    for name in ("a", "never"):
        with pytest.raises(Refusal) as refused:
            exchange.cancel(name)
        assert refused.value.code == "unknown_order"
    exchange.submit("b", "BTCUSDT", 1, D(1), "limit", D(50))
    assert [o.client_id for o in exchange.cancel_all("BTCUSDT")] == ["b"]
    assert exchange.working() == []


# -- what is told ----------------------------------------------------------------------------------


def test_listeners_hear_trades_then_orders_then_the_bar() -> None:
    exchange = exchange_of()
    events = told(exchange)
    order = exchange.submit("a", "BTCUSDT", 1, D(1))
    one = bar(1)
    exchange.announce(one)
    exchange.on_bar(one)
    assert [type(e) for e in events] == [VenueOrder, Opening, VenueTrade, VenueOrder, Bar]
    assert events[3] is order
    assert exchange.bars["BTCUSDT"][-1] is one


def test_a_listener_that_left_hears_nothing() -> None:
    exchange = exchange_of()
    events: list[Event] = []
    exchange.listen(events.append)()
    exchange.on_bar(bar(1))
    assert events == []


def test_trades_are_found_by_time_symbol_and_order() -> None:
    exchange = exchange_of()
    for n in (1, 2):
        exchange.submit(f"{n}", "BTCUSDT", 1, D(1))
        exchange.on_bar(bar(n))
    first, second = exchange.trades()
    assert first.ts < second.ts
    assert exchange.trades(second.ts) == [second]
    assert exchange.trades(symbol="OTHER") == []
    assert exchange.trades(venue_id=1) == [first]


def test_a_halved_order_fills_one_bar_later_and_can_be_cancelled_between() -> None:
    for cancelled in (False, True):
        exchange = exchange_of()
        exchange.halve_next()
        order = exchange.submit("a", "BTCUSDT", 1, D(3))
        other = exchange.submit("b", "BTCUSDT", 1, D(3))
        exchange.on_bar(bar(1))
        assert (order.status, order.filled) == ("working", D("1.5"))
        assert other.status == "filled", "only the next order is halved"
        if cancelled:
            exchange.cancel("a")
        exchange.on_bar(bar(2))
        assert order.filled == (D("1.5") if cancelled else D(3))
        assert order.status == ("cancelled" if cancelled else "filled")


def test_a_halved_order_is_cancelled_while_its_rest_has_yet_to_be_sent() -> None:
    exchange = exchange_of()
    exchange.on_bar(bar(0))
    exchange.halve_next()
    order = exchange.submit("a", "BTCUSDT", 1, D(3))
    exchange.touch("BTCUSDT")
    assert order.filled == D("1.5")
    assert exchange.cancel("a").status == "cancelled"
    exchange.on_bar(bar(1))
    assert (order.status, order.filled) == ("cancelled", D("1.5"))


def test_the_rest_of_a_stop_that_was_touched_is_a_market_order() -> None:
    """Its price is not asked for again: the market may have turned meanwhile."""
    exchange = exchange_of()
    exchange.halve_next()
    order = exchange.submit("a", "BTCUSDT", 1, D(3), "stop", D(101))
    exchange.on_bar(bar(1, high=102.0))
    assert order.filled == D("1.5")
    exchange.on_bar(bar(2, 90.0))
    assert (order.status, order.filled) == ("filled", D(3))


def test_a_late_trade_of_a_cancelled_order_is_booked() -> None:
    exchange = exchange_of(perpetual())
    order = exchange.submit("a", "BTCUSDT", 1, D(2), "limit", D(95))
    exchange.cancel("a")
    exchange.trade_late(order)
    assert (order.status, order.average) == ("filled", D(95))
    exchange.submit("out", "BTCUSDT", -1, D(2), reduce_only=True)
    exchange.on_bar(bar(1))
    assert exchange.positions() == {"BTCUSDT": D(0)}, "the simulated venue knows of it too"


def test_foreign_currencies_need_a_rate() -> None:
    one = coin(currency="EUR")
    with pytest.raises(ConfigError, match="give rates"):
        Exchange([one], D(1_000), "USDT")
    exchange = Exchange([one], D(1_000), "USDT", rates={"EUR": D("1.25")})
    exchange.submit("a", "BTCUSDT", 1, D(4))
    exchange.on_bar(bar(1, 100))
    assert exchange.cash() == 1_000 - D("400.4") * D("1.25")
    assert exchange.equity() == 1_000 - D("0.4") * D("1.25")
    assert exchange.trades()[0].fee_currency == "EUR"


def test_prices_lose_their_noise_and_nothing_else() -> None:
    assert on_grid(0.1 + 0.2, 0.1) == D("0.3")
    assert on_grid(101.33, 0.0) == D("101.33")
    assert on_grid(100.123, 0.05) == D("100.123"), "what is off the grid is left as it is"
    assert str(exact(1e-05)) == "0.00001"
    assert str(exact(100.0)) == "100"


def test_fees_are_rounded_to_the_venues_step_half_to_even() -> None:
    books = exchange_of(coin(commission_bps=25.0)).books
    assert books.fee("BTCUSDT", D("0.001"), D("0.01")) == D("2E-8")
    assert books.fee("BTCUSDT", D("0.003"), D("0.01")) == D("8E-8")
    per_lot = exchange_of(coin(commission_bps=0.0, commission=0.5)).books
    assert per_lot.fee("BTCUSDT", D("0.003"), D(100)) == D("1.5")


# -- properties ------------------------------------------------------------------------------------

prices = st.integers(500, 1_500).map(lambda n: n / 10)
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("order"),
            st.sampled_from([1, -1]),
            st.integers(1, 5_000),
            st.sampled_from(["market", "limit", "stop"]),
            prices,
            st.sampled_from(["gtc", "day", "ioc"]),
            st.booleans(),
        ),
        st.tuples(st.just("cancel"), st.integers(1, 20)),
        st.tuples(st.just("halve")),
        st.tuples(st.just("late"), st.integers(1, 20)),
        st.tuples(st.just("touch")),
        st.tuples(st.just("bar"), prices, prices, prices, prices, st.integers(0, 50)),
    ),
    max_size=40,
)


@given(steps, st.sampled_from(["coin", "perpetual"]), st.sampled_from([None, 0.1]))
@settings(max_examples=120)
def test_the_books_add_up(script: list[tuple[Any, ...]], kind: str, share: float | None) -> None:
    """Conservation: whatever happens, cash and positions are the sum of the trades, exactly."""
    one = coin(tick=0.1) if kind == "coin" else perpetual()
    exchange = exchange_of(one, cash="50000", costs=Costs(volume_share=share, slippage_bps=3))
    events = told(exchange)
    for number, step in enumerate(script):
        play(exchange, number, step)
        check(exchange, D(50_000), paid_in_full=kind == "coin")
    trades = [event for event in events if isinstance(event, VenueTrade)]
    assert trades == exchange.trades()
    assert [t.ts for t in trades] == sorted(t.ts for t in trades)
    assert [t.trade_id for t in trades] == list(range(1, len(trades) + 1))


def play(exchange: Exchange, number: int, step: tuple[Any, ...]) -> None:
    what, *rest = step
    try:
        if what == "order":
            side, lots, kind, price, held, reduce_only = rest
            at = None if kind == "market" else D(str(price))
            qty = D(lots) / 1_000
            exchange.submit(f"o{number}", "BTCUSDT", side, qty, kind, at, held, None, reduce_only)
        elif what == "cancel":
            exchange.cancel(venue_id=rest[0])
        elif what == "halve":
            exchange.halve_next()
        elif what == "touch":
            exchange.touch("BTCUSDT")
        elif what == "late":
            late(exchange, rest[0])
        else:
            a, b, c, d, volume = rest
            exchange.on_bar(bar(number + 1, a, max(a, b, c, d), min(a, b, c, d), d, volume=volume))
    except Refusal:
        return


def late(exchange: Exchange, number: int) -> None:
    """Trade a cancelled order late; for coins only purchases, as a real race could."""
    order = exchange.order(venue_id=number)
    is_future = exchange.instruments["BTCUSDT"].margined
    if order is not None and order.status == "cancelled" and is_future:
        exchange.trade_late(order)


def check(exchange: Exchange, start: Decimal, *, paid_in_full: bool) -> None:
    trades, mark = exchange.trades(), exchange.marks()["BTCUSDT"]
    held = sum((t.qty * t.side for t in trades), D(0))
    paid = sum((t.qty * t.side * t.price + t.fee for t in trades), D(0))
    assert exchange.positions() == {"BTCUSDT": held}
    assert exchange.equity() == start - paid + held * mark
    if paid_in_full:
        assert exchange.cash() == start - paid
        assert exchange.cash() > D("-1e-6")
        assert held >= 0
    for order in exchange.orders():
        own = exchange.trades(venue_id=order.venue_id)
        assert order.filled == sum((t.qty for t in own), D(0)) <= order.qty
        assert (order.status == "filled") == (order.filled == order.qty)
