"""Buying and holding: worked by hand, and against an account that does nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onefold as of
from onefold.domain.columns import Bars, Floats
from onefold.domain.instruments import Instrument, Kind
from onefold.domain.records import Action
from onefold.views.buy_and_hold import (
    NEGATIVE,
    NO_BARS,
    NO_RATE,
    NOT_TRADED,
    BuyAndHold,
    Market,
    buy_and_hold,
)
from onefold.views.metrics import metrics

from .worlds import DAY_NS, MONDAY_NS, bars_of, fills_of, random_view, share

CASH = 1_000.0


def closes(*close: float, start: int = 0) -> Bars:
    """Return a bar a day, the first on day `start`."""
    return bars_of(MONDAY_NS + (start + np.arange(len(close))) * DAY_NS, np.array(close, float))


def on_day(day: float, action: str, value: float, **of_what: str) -> Action:
    """Return an action some days after the first bar closed."""
    return Action(ts=MONDAY_NS + round(day * DAY_NS), action=action, value=value, **of_what)


def held(instruments: list[Instrument], bars: dict[str, Bars], **market: Any) -> BuyAndHold | None:
    """Return what holding all instruments came to, on the times of all bars."""
    everything = {"traded": frozenset(i.symbol for i in instruments), **market}
    return buy_and_hold(
        np.sort(np.concatenate([b.ts for b in bars.values()])),
        cash=CASH,
        currency="USD",
        instruments=instruments,
        bars=bars,
        market=Market(**everything),
    )


def curve(instruments: list[Instrument], bars: dict[str, Bars], **market: Any) -> list[float]:
    """Return the equity of holding."""
    result = held(instruments, bars, **market)
    assert result is not None
    return result.equity.tolist()


def test_cash_is_split_equally_and_waits_for_the_first_close() -> None:
    bars = {"A": closes(100, 110, 120), "B": closes(50, 25, start=1)}
    assert curve([share("A"), share("B")], bars) == pytest.approx([1000, 1050, 600 + 250])


def test_only_what_prices_do_counts_not_how_much_a_lot_is() -> None:
    big = share("A", multiplier=50, lot=1000, commission=9, commission_bps=90)
    assert curve([big], {"A": closes(100, 110)}) == pytest.approx([1000, 1100])


@pytest.mark.parametrize(("kind", "end"), [(Kind.EQUITY, 3000), (Kind.FUTURE, 2000)])
def test_of_a_future_only_the_profit_is_in_its_currency(kind: Kind, end: float) -> None:
    one = share("A", kind=kind, currency="EUR", multiplier=5)
    euro = on_day(0.5, "rate", 3.0, currency="EUR")
    bars = {"A": closes(100, 150)}
    assert curve([one], bars, rates={"EUR": 1.5}, actions=[euro]) == pytest.approx([1000, end])


@pytest.mark.parametrize(("pair", "rates"), [("EUR", (2.0, 4.0)), ("-EUR", (0.5, 0.25))])
def test_rates_follow_the_closes_of_their_pair(pair: str, rates: tuple[float, float]) -> None:
    bars = {"A": closes(100, 100, 100), "R": closes(*rates, start=1)}
    instruments = [share("A", currency="EUR"), share("R")]
    only_a = {"traded": frozenset("A"), "rate_pairs": {"R": pair}}
    # On the first day the euro's worth is not known, so nothing can be bought.
    result = held(instruments, bars, **only_a)
    assert result is not None
    assert result.equity.tolist() == pytest.approx([1000, 1000, 2000])
    assert result.metrics.left_out == {"R": NOT_TRADED}


def test_an_action_comes_after_the_bars_that_close_at_its_time() -> None:
    bars = {"A": closes(100, 100, 100)}
    one = [share("A", currency="EUR")]
    euro = on_day(1, "rate", 2.0, currency="EUR")
    assert curve(one, bars, rates={"EUR": 1.0}, actions=[euro]) == pytest.approx([1000, 1000, 2000])
    first = on_day(0, "dividend", 10.0, instrument="A")
    assert curve([share("A")], bars, actions=[first]) == pytest.approx([1000, 1100, 1100])


def test_what_was_paid_before_the_purchase_is_not_received() -> None:
    early = [on_day(-1, "dividend", 9.0, instrument="A"), on_day(-1, "split", 2, instrument="A")]
    assert curve([share("A")], {"A": closes(100, 110)}, actions=early) == pytest.approx(
        [1000, 1100]
    )


@pytest.mark.parametrize(
    ("instrument", "reason"),
    [
        (share("B", negative_prices=True), NEGATIVE),
        (share("B", currency="EUR"), NO_RATE),
        (share("C"), NO_BARS),
    ],
)
def test_what_cannot_be_held_is_left_out_with_the_reason(
    instrument: Instrument, reason: str
) -> None:
    bars = {"A": closes(100, 120), "B": closes(10, 1)}
    result = held([share("A"), instrument], bars)
    assert result is not None
    assert result.equity.tolist() == pytest.approx([1000, 1200])
    assert result.metrics.instruments == ["A"]
    assert result.metrics.left_out == {instrument.symbol: reason}


def test_negative_prices_are_left_out_by_what_may_be_not_by_what_was() -> None:
    bars = {"CL": closes(20, 21, 22)}
    assert held([of.instrument("CL")], bars) is None


def test_numbers_are_those_of_a_run_with_this_equity() -> None:
    view = random_view(bars=800)
    own = view.buy_and_hold
    assert own is not None
    run = metrics(
        own.ts,
        own.equity,
        cash=view.cash,
        currency="USD",
        trades=replace(view, fill_rows=fills_of()).round_trips,
        fills=fills_of(),
        instruments=view.instruments,
    )
    for name in ("equity_end", "total_return", "cagr", "sharpe", "max_drawdown"):
        assert getattr(own.metrics, name) == getattr(run, name), name
    assert view.numbers()["buy_and_hold"] == own.metrics.as_dict()
    assert view.numbers()["sharpe"] == view.metrics.sharpe


def test_a_run_without_bars_has_nothing_to_hold() -> None:
    view = replace(
        random_view(bars=2), bars={}, equity_ts=np.array([], np.int64), equity_values=np.array([])
    )
    assert view.buy_and_hold is None
    assert view.numbers()["buy_and_hold"] is None


# -- an account that holds ------------------------------------------------------------------------


class Hold(of.Strategy):
    """Buy at once and never sell."""

    def extract_features(self) -> dict[str, Any]:
        return {}

    def predict_signal(self, x: Any) -> Any:
        return self.signal(of.choose((x.close > 0, of.LONG)))


def gains_of_an_account(
    one: Instrument, close: Floats, actions: list[Action], rates: dict[str, float]
) -> tuple[Floats, Floats]:
    """Return what an account that only holds made since its purchase, and what holding made.

    Both are per unit of value bought; the account buys at the second close, so holding does too.
    """
    result = of.backtest(
        Hold(),
        closes(*close),
        instruments=one,
        account=of.AccountRules(cash=1e6, costs=of.Costs(fill="next_close")),
        rules=of.StrategyRules(sizing=of.FractionSize(kind="fraction", fraction=0.5)),
        inputs=actions,
        rates=rates,
    )
    assert result.metrics.fills == 1
    fill = result.fills.row(0, named=True)
    bought = fill["qty"] * one.point_value * fill["price"] * fill["rate"]
    after = result.equity_ts >= result.fill_rows["ts"][0]
    account = (result.equity_values[after] - 1e6) / bought
    late = replace(
        result, equity_ts=result.equity_ts[after], bars={one.symbol: closes(*close[1:], start=1)}
    )
    own = late.buy_and_hold
    assert own is not None
    return account, own.equity / 1e6 - 1.0


prices = st.lists(st.floats(50, 200), min_size=6, max_size=12).map(np.array)
action_of_a_holder = st.one_of(
    st.tuples(st.just("split"), st.sampled_from([2.0, 4.0, 0.5])),
    st.tuples(st.just("dividend"), st.floats(0.01, 5)),
    st.tuples(st.just("funding"), st.floats(-0.01, 0.01)),
    st.tuples(st.just("roll"), st.floats(-5, 5)),
)


@settings(deadline=None, max_examples=40)
@given(
    prices,
    st.lists(st.tuples(st.integers(1, 12), action_of_a_holder), max_size=5),
    st.sampled_from([Kind.EQUITY, Kind.CFD]),
)
def test_holding_is_what_an_account_that_holds_has(
    close: Floats, planned: list[tuple[int, tuple[str, float]]], kind: Kind
) -> None:
    one = share("A", kind=kind, lot=2.0**-20)
    actions = [
        on_day(day + 0.5, name, value, instrument="A")
        for day, (name, value) in planned
        if day + 1 < len(close)
    ]
    account, own = gains_of_an_account(one, close, actions, {})
    assert own == pytest.approx(account, abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(prices, st.lists(st.tuples(st.integers(1, 12), st.floats(0.5, 2.0)), max_size=4))
def test_a_future_in_another_currency_is_what_an_account_has(
    close: Floats, planned: list[tuple[int, float]]
) -> None:
    one = share("A", kind=Kind.FUTURE, currency="EUR", lot=2.0**-20)
    actions = [
        on_day(day + 0.5, "rate", rate, currency="EUR")
        for day, rate in planned
        if day + 1 < len(close)
    ]
    account, own = gains_of_an_account(one, close, actions, {"EUR": 1.25})
    assert own == pytest.approx(account, abs=1e-6)
