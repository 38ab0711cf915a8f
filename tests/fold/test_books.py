"""F8, I4: the books by hand, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from onefold.domain.errors import ConfigError, InvariantBroken
from onefold.domain.instruments import Instrument
from onefold.domain.records import (
    Action,
)
from onefold.engine.recorder import Recorder
from onefold.engine.session import Session
from onefold.sim.exchange import SimulatedVenue
from onefold.sim.outcome import check_books
from support import (
    FLAT,
    LONG,
    SHORT,
    Desk,
    Scripted,
    account_of,
    at,
    bar,
    future,
    rules_of,
    share,
    start_of,
    world,
)


def held(qty: int, instrument: Instrument, price: float = 100.0, **account: Any) -> Desk:
    lots = rules_of(sizing={"kind": "fixed", "lots": abs(qty)})
    desk = Desk(lots, instruments=(instrument,), account=account_of(**account), rates={"EUR": 1.2})
    desk.hold(qty, price)
    return desk


def cash(desk: Desk, currency: int = 0) -> float:
    return desk.state.currencies["cash"][currency].item()


def test_a_share_is_paid_for_and_worth_its_mark() -> None:
    desk = held(10, share())
    assert cash(desk) == 99_000.0
    desk.tell(bar(1, 103.0))
    assert desk.account("equity") == 100_030.0
    assert desk.account("gross") == desk.account("net") == 1_030.0


def test_a_future_moves_cash_by_its_result_only() -> None:
    desk = held(-2, future())
    assert cash(desk) == 100_000.0
    desk.tell(bar(1, 97.0, symbol="FUT"))
    assert (cash(desk), desk.account("equity")) == (100_000.0, 100_300.0)
    assert (desk.account("gross"), desk.account("net")) == (9_700.0, -9_700.0)
    assert desk.account("initial_margin") == pytest.approx(970.0)
    desk.signal(1, FLAT)
    desk.fill(0, 97.0, fee=5.0)
    assert (cash(desk), desk.account("equity")) == (100_295.0, 100_295.0)
    assert (desk.account("realised"), desk.account("fees")) == (300.0, 5.0)
    assert desk.sleeve("realised") == 295.0  # the sleeve's is net of fees


def test_crude_oil_below_zero() -> None:
    """One contract bought at -37.63 costs nothing but margin, and gains 1,000 a dollar."""
    crude = future("CL", multiplier=1_000.0, tick=0.01, negative_prices=True)
    desk = held(1, crude, -37.63)
    assert desk.account("equity") == 100_000.0
    assert desk.account("gross") == pytest.approx(37_630.0)
    assert desk.account("net") == pytest.approx(37_630.0)  # long is long
    desk.tell(bar(1, -30.0, symbol="CL"))
    assert desk.account("net") == pytest.approx(30_000.0)
    desk.tell(bar(1, 10.01, symbol="CL"))
    assert desk.account("net") == pytest.approx(10_010.0)
    assert desk.account("equity") == pytest.approx(147_640.0)
    desk.signal(1, SHORT)
    close, turn = desk.orders
    desk.fill(close, 10.01)
    desk.fill(turn, 10.01)
    desk.tell(bar(2, -37.63, symbol="CL"))
    assert desk.account("equity") == pytest.approx(195_280.0)
    assert desk.account("realised") == pytest.approx(47_640.0)


def test_a_currency_is_worth_its_rate_at_the_time() -> None:
    desk = held(10, share(currency="EUR"))
    assert (cash(desk), cash(desk, 1)) == (100_000.0, -1_000.0)
    assert desk.account("equity") == 100_000.0
    desk.tell(bar(1, 110.0))
    assert desk.account("equity") == pytest.approx(100_120.0)
    desk.tell(Action(at(1), "rate", 2.0, currency="EUR"))
    assert desk.account("equity") == pytest.approx(100_200.0)
    assert desk.account("gross") == pytest.approx(2_200.0)


@pytest.mark.parametrize(
    ("action", "value", "expected", "lots"),
    [
        ("split", 2.0, 100_000.0, 20),
        ("split", 0.25, 100_000.0, 2),  # the half share is paid out
        ("dividend", 0.5, 100_005.0, 10),
        ("funding", 0.01, 99_990.0, 10),
        ("roll", 5.0, 100_000.0, 10),
    ],
)
@pytest.mark.parametrize("kind", ["equity", "cfd"])
def test_actions_keep_or_change_equity_as_they_should(
    action: str, value: float, expected: float, lots: int, kind: str
) -> None:
    desk = held(10, share(kind=kind))
    desk.tell(Action(at(1), action, value, "ABC"))
    assert desk.account("equity") == pytest.approx(expected)
    assert desk.sleeve("qty") == lots
    assert desk.account("income") == pytest.approx(
        cash(desk) - (99_000.0 if kind == "equity" else 100_000.0)
    )
    ratio = value if action == "split" else 1.0
    gap = value if action == "roll" else 0.0
    desk.tell(bar(1, 100.0 / ratio + gap))
    assert desk.account("equity") == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["equity", "cfd"])
def test_a_payment_moves_cash_and_equity_alone(kind: str) -> None:
    desk = held(10, share(kind=kind, currency="EUR"))
    before, income = desk.account("equity"), desk.account("income")
    desk.tell(Action(at(1), "payment", -40.0, currency="EUR", id="f1", reason="funding"))
    desk.tell(Action(at(1), "payment", 6.0, currency="USD", id="i1", reason="interest"))
    assert desk.account("equity") == pytest.approx(before - 48.0 + 6.0)
    assert desk.account("income") == pytest.approx(income - 48.0 + 6.0)
    assert desk.sleeve("qty") == 10
    desk.tell(bar(2))
    assert desk.account("equity") == pytest.approx(before - 48.0 + 6.0)
    with pytest.raises(ConfigError, match="does not say of what"):
        desk.tell(Action(at(3), "payment", 1.0))


def test_a_roll_costs_two_trades() -> None:
    instrument = future(commission=2.0)
    desk = held(3, instrument, costs={"slippage_ticks": 1})
    desk.tell(Action(at(1), "roll", 1.0, "FUT"))
    # Three contracts, two trades each, of 2.00 and a tick of 12.50.
    assert desk.account("equity") == pytest.approx(100_000.0 - 3 * 2 * (2.0 + 0.25 * 50))


def test_the_highest_equity_counts_what_a_resting_order_earned() -> None:
    exits = {"take": 0.1, "resting": True}
    desk = Desk(rules_of(sizing={"kind": "fixed", "lots": 100}, exits=exits))
    desk.hold(100)
    desk.fill(0, 110.0)
    desk.tell(bar(1, 105.0))
    assert desk.account("peak_equity") == 101_000.0


def test_a_round_trip_counts_as_lost_after_fees() -> None:
    desk = held(10, share())
    desk.tell(bar(1))
    desk.signal(1, FLAT)
    desk.fill(0, 100.05, fee=1.0)
    assert desk.state.strategies["loss_streak"][0] == 1
    desk.signal(1, LONG)
    desk.fill(0, 100.0)
    desk.tell(bar(2))
    desk.signal(2, FLAT)
    desk.fill(0, 100.2, fee=1.0)
    assert desk.state.strategies["loss_streak"][0] == 0


def test_a_snapshot_is_the_whole_memory() -> None:
    """P2: restored, the fold goes on as if nothing had happened."""
    one = held(10, share(), limits={"daily_loss": 0.1})
    other = Desk(
        rules_of(sizing={"kind": "fixed", "lots": 10}),
        account=account_of(limits={"daily_loss": 0.1}),
        rates={"EUR": 1.2},
    )
    other.state.restore(one.state.snapshot())
    for number, price in enumerate((101.0, 80.0, 99.0), start=1):
        assert one.tell(bar(number, price)) == other.tell(bar(number, price))
        side = LONG if number % 2 else FLAT
        assert one.signal(number, side) == other.signal(number, side)
    assert one.state.snapshot() == other.state.snapshot()
    with pytest.raises(Exception, match="bytes"):
        one.state.restore(b"short")


def test_a_split_at_the_entry_price_still_changes_the_exposure() -> None:
    """Nothing is paid for half a contract that has gained nothing, but there is less of it."""
    desk = held(5, future(multiplier=1.0))
    desk.tell(Action(at(1), "split", 0.5, "FUT"))
    assert (desk.account("equity"), desk.account("gross")) == (100_000.0, 400.0)


def test_books_that_do_not_add_up_stop_everything() -> None:
    """F8: conservation is looked at with every fill and every day, also in production."""
    desk = held(10, share())
    desk.state.account["equity"][0] += 0.05  # less than a millionth
    desk.tell(bar(1), Action(at(1), "dividend", 0.0, "ABC"))
    assert (desk.account("fault"), desk.account("equity")) == (0, 100_000.0)
    for event in (Action(at(2), "dividend", 0.0, "ABC"), bar(2_000)):
        desk = held(10, share())
        desk.state.account["equity"][0] += 0.2
        desk.tell(event)
        assert desk.account("fault") == 1
        with pytest.raises(InvariantBroken, match="cash"):
            check_books(desk.state, desk.names, at(2))


def test_a_session_raises_when_the_books_are_broken() -> None:
    w = world(Scripted(side=(1, 1, 0, 0, 1, 0)), [bar(n) for n in range(8)])
    session = Session(
        w.plan, SimulatedVenue(w.plan.book(), w.plan.names), Recorder(iter(()), None), start_of()
    )
    feed = w.feed()
    for record in feed[:3]:
        session.on(record)
    session.state.account["equity"][0] += 10.0
    with pytest.raises(InvariantBroken):
        session.on(feed[3])


def test_a_dividend_is_paid_per_unit_and_not_per_lot() -> None:
    desk = held(10, share(lot=100.0))
    desk.tell(Action(at(1), "dividend", 0.5, "ABC"))
    assert desk.account("income") == 500.0
