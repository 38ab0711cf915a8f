"""F5: the size of an entry, against the formulas worked out by other means."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.instruments import Instrument
from onefold.domain.records import Decision
from support import Desk, account_of, at, bar, future, rules_of, share

EQUITY = 100_000.0


def sized(
    sizing: dict[str, Any],
    *,
    instrument: Instrument | None = None,
    price: float = 100.0,
    rates: dict[str, float] | None = None,
    exits: dict[str, Any] | None = None,
    **opinion: Any,
) -> Decision:
    """Return the decision about an entry at a price with an equity of 100,000."""
    instrument = instrument or share()
    rules = rules_of(sizing=sizing, exits=exits or {})
    desk = Desk(rules, instruments=(instrument,), account=account_of(cash=EQUITY), rates=rates)
    desk.tell(bar(0, price, symbol=instrument.symbol))
    return desk.signal(0, **opinion)[0]


def test_fixed_is_the_number_of_lots() -> None:
    assert sized({"kind": "fixed", "lots": 7}).qty == 7


@pytest.mark.parametrize(
    ("instrument", "price", "rates", "lots"),
    [
        (share(), 30.0, None, 333),  # 10,000 / 30
        (share(lot=0.001), 30_000.0, None, 333),  # a lot is worth 30
        (future(), 25.0, None, 8),  # 50 a point: 1,250 a contract
        (share(currency="EUR"), 30.0, {"EUR": 1.25}, 266),  # 37.50 a share
        (future(negative_prices=True), -25.0, None, 8),
    ],
)
def test_a_value_buys_whole_lots_never_too_many(
    instrument: Instrument, price: float, rates: dict[str, float] | None, lots: int
) -> None:
    by_value = {"kind": "notional", "value": 10_000.0}
    by_share = {"kind": "fraction", "fraction": 0.1}
    assert sized(by_value, instrument=instrument, price=price, rates=rates).qty == lots
    assert sized(by_share, instrument=instrument, price=price, rates=rates).qty == lots


def test_a_fraction_is_of_the_equity_at_the_moment() -> None:
    desk = Desk(
        rules_of(sizing={"kind": "fixed", "lots": 500}),
        rules_of(sizing={"kind": "fraction", "fraction": 0.1}),
    )
    desk.hold(500)
    desk.tell(bar(1, 120.0))
    assert desk.signal(1, strategy="s1")[0].qty == 91  # a tenth of 110,000 at 120


@pytest.mark.parametrize(
    ("volatility", "lots"),
    [(0.2, 500), (0.4, 250), (0.05, 900), (0.0, 0), (-0.2, 0), (math.nan, 0), (None, 0)],
)
def test_a_volatility_target_is_met_up_to_its_cap(volatility: float | None, lots: int) -> None:
    """A position of 50 % at 20 % volatility has 10 %; no estimate gives no position."""
    sizing = {"kind": "volatility", "target": 0.1, "fraction_max": 0.9}
    decision = sized(sizing, volatility=volatility)
    assert decision.qty == lots
    assert decision.blocked == ([] if lots else ["size"])


@pytest.mark.parametrize(
    ("exits", "barrier", "lots"),
    [
        ({"stop": 0.02}, None, 500),  # 1,000 at risk, 2 a share
        ({"stop": 2, "unit": "barrier"}, 1.0, 500),
        ({"stop": 2, "unit": "barrier"}, 4.0, 125),
        ({"stop": 0.001}, None, 900),  # capped at 90 % of equity
        ({"stop": 2, "unit": "barrier"}, math.nan, 0),
        ({"stop": 2, "unit": "barrier"}, -1.0, 0),
    ],
)
def test_a_stop_loses_the_share_at_risk(
    exits: dict[str, Any], barrier: float | None, lots: int
) -> None:
    sizing = {"kind": "risk", "fraction": 0.01, "fraction_max": 0.9}
    assert sized(sizing, exits=exits, barrier=barrier).qty == lots


def test_risk_of_a_future_counts_its_point_value() -> None:
    sizing = {"kind": "risk", "fraction": 0.01, "fraction_max": 20.0}
    decision = sized(sizing, instrument=future(), exits={"stop": 0.02}, price=100.0)
    assert decision.qty == 10  # 2 points x 50 = 100 a contract of 1,000


def test_an_exit_in_units_of_an_unknown_barrier_is_not_ready() -> None:
    exits = {"stop": 2, "unit": "barrier"}
    for barrier in (0.0, math.nan):
        decision = sized({"kind": "fixed", "lots": 1}, exits=exits, barrier=barrier)
        assert decision.blocked == ["warm_up"]


def aflm_bet(p: float) -> float:
    """Return m = 2 N(z) - 1 for two classes, Advances in Financial Machine Learning, 10.3."""
    z = (p - 0.5) / math.sqrt(p * (1 - p))
    return 2 * NormalDist().cdf(z) - 1


GRAINS = share(lot=1e-6, tick=0.0, margin_initial=0.5)
"""A lot worth a ten-thousandth, so that lots show the bet to nine digits."""


@given(p=st.floats(0.5, 1.0, exclude_min=True, exclude_max=True))
@settings(max_examples=50)
def test_a_bet_follows_the_book(p: float) -> None:
    decision = sized({"kind": "bet", "fraction": 1.0}, instrument=GRAINS, confidence=p)
    assert decision.qty == pytest.approx(1e9 * aflm_bet(p), abs=2)


@given(p=st.floats(-1.0, 2.0) | st.just(math.nan), step=st.sampled_from([0.05, 0.1, 0.3, 1.0]))
@settings(max_examples=50)
def test_a_bet_is_a_share_on_its_grid(p: float, step: float) -> None:
    sizing = {"kind": "bet", "fraction": 1.0, "step": step}
    bet = sized(sizing, instrument=GRAINS, confidence=p).qty / 1e9
    assert 0.0 <= bet <= 1.0
    if not 0.5 < p <= 1.0:
        assert bet == 0.0
    elif p < 1.0:
        assert bet == pytest.approx(min(1.0, round(aflm_bet(p) / step) * step), abs=1e-8)


@pytest.mark.parametrize(
    ("confidence", "step", "lots"),
    [
        (0.5, 0.0, 0),
        (0.3, 0.0, 0),
        (1.0, 0.0, 500),
        (0.75, 0.0, math.floor(500 * aflm_bet(0.75))),
        (0.75, 0.1, 200),  # 0.436 is 0.4
        (0.9, 0.25, 375),  # 0.818 is 0.75
        (math.nan, 0.0, 0),
    ],
)
def test_a_bet_sizes_the_entry(confidence: float, step: float, lots: int) -> None:
    sizing = {"kind": "bet", "fraction": 0.5, "step": step}
    decision = sized(sizing, confidence=confidence)
    assert decision.qty == lots
    assert ("size" in decision.blocked) == (lots == 0)


def test_no_price_and_no_equity_give_no_lots() -> None:
    desk = Desk(rules_of(), instruments=(future(negative_prices=True),))
    desk.tell(bar(0, 0.0, symbol="FUT"))
    assert "size" in desk.signal(0)[0].blocked
    ruined = Desk(
        rules_of(sizing={"kind": "fixed", "lots": 10}),
        rules_of(),
        instruments=(future(),),
        account=account_of(cash=10_000.0),
    )
    ruined.hold(10)
    ruined.tell(bar(1, 70.0, symbol="FUT"))
    assert ruined.account("equity") < 0
    decision = ruined.signal(1, strategy="s1")[0]
    assert decision.qty == 0
    assert decision.blocked[0] == "size"


def test_a_limit_price_that_is_not_known_gives_no_order() -> None:
    desk = Desk(rules_of(entry={"order": "limit"}))
    desk.tell(bar(0))
    decision = desk.signal(0)[0]
    assert decision.qty == 0
    assert decision.price is None
    assert "size" in decision.blocked
    assert desk.signal(0, price=99.996)[0].price == pytest.approx(100.0)  # nearest tick
    assert desk.orders[0].ts == at(0)
