"""F7, X8: how orders meet bars, seen through whole backtests with prices chosen by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.records import Action, Bar, Command
from support import (
    DAY_NS,
    START_NS,
    Scripted,
    World,
    account_of,
    at,
    bar,
    bars_of,
    fills,
    future,
    rules_of,
    share,
    world,
)

LONG_ONCE = Scripted(side=(1, 2))
SHORT_ONCE = Scripted(side=(-1, 2))


def traded(
    rows: list[Any],
    strategy: Scripted = LONG_ONCE,
    *,
    lots: int = 10,
    costs: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    cash: float = 100_000.0,
    inputs: list[Any] | None = None,
    more: dict[str, Any] | None = None,
    **rules: Any,
) -> list[tuple[int, int, float]]:
    """Return bar number, signed lots and price of every fill; -0.5 marks the open of a bar."""
    w = make(rows, strategy, lots, costs, facts, cash, inputs, more, rules)
    return [((ts - at(0)) / 60e9, lots, price) for ts, lots, price in fills(w.run())]


def make(
    rows: list[Any],
    strategy: Scripted,
    lots: int,
    costs: dict[str, Any] | None,
    facts: dict[str, Any] | None,
    cash: float,
    inputs: list[Any] | None,
    more: dict[str, Any] | None,
    rules: dict[str, Any],
) -> World:
    bars = rows if isinstance(rows[0], Bar) else bars_of(rows, **(more or {}))
    return world(
        strategy,
        bars,
        rules=rules_of(sizing={"kind": "fixed", "lots": lots}, **rules),
        account=account_of(costs=costs or {}, cash=cash),
        instruments=(share(**(facts or {})),),
        inputs=inputs or [],
    )


def limit(side: int, price: float, *then: int) -> Scripted:
    return Scripted(side=(side, *(then or (2,))), price=(price,))


# -- market orders --------------------------------------------------------------------------------


def test_a_market_order_fills_at_the_next_open() -> None:
    assert traded([100, (101, 105, 99, 102), 103]) == [(0, 10, 101.0)]


def test_no_order_fills_before_it_exists() -> None:
    """What is ordered while a bar is under way meets the next one, not the open that is past."""
    flatten = [Command(at(2.5), "flatten")]
    rows = [100, 100, 100, (100, 100, 50, 50), 50, 50]
    assert traded(rows, inputs=flatten) == [(0, 10, 100.0), (3, -10, 50.0)]


def test_a_loss_taken_at_the_open_counts_for_the_day_that_begins() -> None:
    """The overnight gap is the new day's loss: the daily stop holds back what comes after it."""
    day = 1_440
    quiet = [100.0] * day
    rows = [*quiet, (80, 80, 80, 80), 80, 80, 80]
    exits = {"stop": 0.05, "resting": True}
    again = Scripted(side=(1,) * 2 + (2,) * (day - 3) + (0, 1, 1, 1))
    w = world(
        again,
        bars_of(rows),
        rules=rules_of(sizing={"kind": "fixed", "lots": 900}, exits=exits),
        account=account_of(limits={"daily_loss": 0.03}),
    )
    assert [((ts - at(0)) / 60e9, lots, price) for ts, lots, price in fills(w.run())] == [
        (0, 900, 100.0),
        (day - 1, -900, 80.0),
    ]


def test_a_touched_stop_that_fills_in_part_fills_the_rest_at_the_market() -> None:
    rows = bars_of([100, 100, (96, 97, 90, 97), 98, 99], volume=60.0)
    exits = {"stop": 0.05, "resting": True}
    fills = traded(rows, lots=6, exits=exits, costs={"volume_share": 0.1})
    assert fills[0] == (0, 6, 100.0)
    partly = (
        bars_of([100, 100], volume=60.0)
        + bars_of([100, 100, (96, 97, 90, 97), 98, 99], volume=20.0)[2:]
    )
    fills = traded(partly, lots=6, exits=exits, costs={"volume_share": 0.1})
    assert fills == [(0, 6, 100.0), (2, -2, 95.0), (2, -2, 98.0), (3, -2, 99.0)]


def test_or_at_the_next_close_where_data_has_closes_only() -> None:
    costs = {"fill": "next_close"}
    assert traded([100, (101, 105, 99, 102), 103], costs=costs) == [(1, 10, 102.0)]


def test_the_last_bar_can_still_decide_but_not_fill() -> None:
    assert traded([100]) == []


@pytest.mark.parametrize(
    ("strategy", "price"), [(LONG_ONCE, 101.05), (SHORT_ONCE, 100.95)], ids=["buy", "sell"]
)
def test_slippage_in_ticks_worsens(strategy: Scripted, price: float) -> None:
    ((_, _, paid),) = traded([100, 101], strategy, costs={"slippage_ticks": 5})
    assert paid == pytest.approx(price)


@pytest.mark.parametrize(
    ("strategy", "price"), [(LONG_ONCE, 101.11), (SHORT_ONCE, 100.89)], ids=["buy", "sell"]
)
def test_slippage_in_basis_points_goes_to_the_worse_tick(strategy: Scripted, price: float) -> None:
    ((_, _, paid),) = traded([100, 101], strategy, costs={"slippage_bps": 10})  # 0.101
    assert paid == pytest.approx(price)


@given(
    price=st.floats(-500, 500).filter(lambda x: abs(x) > 0.01),
    bps=st.floats(0, 100),
    ticks=st.floats(0, 10),
    tick=st.sampled_from([0.0, 0.01, 0.25, 0.00005, 5.0]),
    side=st.sampled_from([1, -1]),
)
@settings(max_examples=60)
def test_slippage_is_never_better_and_stays_on_the_grid(
    price: float, bps: float, ticks: float, tick: float, side: int
) -> None:
    if tick:
        price = round(price / tick) * tick
    instrument = future(tick=tick, negative_prices=True, multiplier=1.0)
    run = world(
        Scripted(side=(side, 2)),
        bars_of([100, price], symbol="FUT"),
        account=account_of(costs={"slippage_bps": bps, "slippage_ticks": ticks}),
        instruments=(instrument,),
    ).run()
    ((_, _, paid),) = fills(run)
    worse = abs(price) * bps * 1e-4 + ticks * tick
    assert (paid - price) * side >= worse * (1 - 1e-9) - 1e-9 * max(tick, abs(price))
    assert (paid - price) * side <= worse + tick * (1 + 1e-6) + 1e-9 * abs(price)
    if tick and worse:
        assert paid / tick == pytest.approx(round(paid / tick), abs=1e-6)


def test_the_touch_is_used_where_it_is_known() -> None:
    touch = {"bid": 100.9, "ask": 101.1}
    assert traded([100, 101], more=touch) == [(0, 10, 101.1)]
    assert traded([100, 101], SHORT_ONCE, more=touch) == [(0, -10, 100.9)]
    assert traded([100, 101], more=touch, costs={"at_touch": False}) == [(0, 10, 101.0)]
    assert traded([100, 101], more={"bid": 100.9}) == [(0, 10, 101.0)]  # no ask: the open


def test_commissions_are_per_lot_and_in_basis_points() -> None:
    facts = {"commission": 0.5, "commission_bps": 10}
    run = make([100, 101], LONG_ONCE, 10, None, facts, 100_000.0, None, None, {}).run()
    assert run.outcome.fills["fee"].tolist() == pytest.approx([10 * 0.5 + 1_010 * 0.001])
    assert run.equity[-1] == pytest.approx(100_000 - 6.01)
    assert run.state.account["fees"][0] == pytest.approx(6.01)


# -- limits and stops -----------------------------------------------------------------------------

LIMIT, STOP = {"order": "limit"}, {"order": "stop"}


@pytest.mark.parametrize(
    ("entry", "side", "price", "row", "expected"),
    [
        (LIMIT, 1, 99.0, (100, 101, 99, 100), (1, 10, 99.0)),
        (LIMIT, 1, 99.0, (100, 101, 99.01, 100), None),
        (LIMIT, 1, 99.0, (98, 101, 97, 100), (0, 10, 98.0)),  # jumped over: the better open
        (LIMIT, -1, 101.0, (100, 101, 99, 100), (1, -10, 101.0)),
        (LIMIT, -1, 101.0, (100, 100.99, 99, 100), None),
        (LIMIT, -1, 101.0, (103, 104, 99, 100), (0, -10, 103.0)),
        (STOP, 1, 101.0, (100, 101, 99, 100), (1, 10, 101.0)),
        (STOP, 1, 101.0, (100, 100.99, 99, 100), None),
        (STOP, 1, 101.0, (103, 104, 99, 100), (0, 10, 103.0)),  # jumped over: the worse open
        (STOP, -1, 99.0, (100, 101, 99, 100), (1, -10, 99.0)),
        (STOP, -1, 99.0, (97, 101, 96, 100), (0, -10, 97.0)),
    ],
)
def test_limits_fill_at_their_price_or_better_and_stops_or_worse(
    entry: dict[str, Any],
    side: int,
    price: float,
    row: tuple[float, ...],
    expected: tuple[float, int, float] | None,
) -> None:
    result = traded([100, row], limit(side, price), entry=entry)
    assert result == ([] if expected is None else [expected])


def test_slippage_worsens_stops_and_not_limits() -> None:
    costs = {"slippage_ticks": 5}
    row = (100, 102, 98, 100)
    assert traded([100, row], limit(1, 99.0), entry=LIMIT, costs=costs) == [(1, 10, 99.0)]
    ((_, _, price),) = traded([100, row], limit(1, 101.0), entry=STOP, costs=costs)
    assert price == pytest.approx(101.05)


def test_a_limit_that_the_touch_did_not_reach_gets_no_better_price_later() -> None:
    """The open was 100 but the ask 101.50: a bid of 101 was not filled at the open, so at 101."""
    touch = {"bid": 99.0, "ask": 101.5}
    assert traded([100, 100], limit(1, 101.0), entry=LIMIT, more=touch) == [(1, 10, 101.0)]


def test_a_stop_is_touched_by_the_quote() -> None:
    touch = {"bid": 99.0, "ask": 101.5}
    assert traded([100, 100], limit(1, 101.0), entry=STOP, more=touch) == [(0, 10, 101.5)]


# -- time in force --------------------------------------------------------------------------------


HOUR = {"step_ns": 3_600_000_000_000, "start": at(0, 3_600_000_000_000)}


def hourly(rows: list[Any]) -> list[Bar]:
    return bars_of(rows, step_ns=HOUR["step_ns"])


@pytest.mark.parametrize(
    ("entry", "touched_at", "filled"),
    [
        ({}, 40, True),
        ({"time_in_force": "day"}, 22, True),
        ({"time_in_force": "day"}, 23, True),
        ({"time_in_force": "day"}, 24, False),
        ({"time_in_force": "gtd", "valid_for_s": 7_200}, 2, True),
        ({"time_in_force": "gtd", "valid_for_s": 7_200}, 3, False),
        ({"time_in_force": "ioc"}, 1, False),
    ],
)
def test_time_in_force(entry: dict[str, Any], touched_at: int, filled: bool) -> None:
    """Bars of an hour from midnight; ordered at the end of the first."""
    low: list[Any] = [100.0] * 41
    low[touched_at] = (100, 100, 98, 100)
    strategy = Scripted(side=(1, 2), price=(99.0,), **HOUR)
    result = traded(hourly(low), strategy, entry={**LIMIT, **entry})
    assert len(result) == filled


def test_what_has_expired_is_known_to_be_gone() -> None:
    entry = {**LIMIT, "time_in_force": "gtd", "valid_for_s": 3_600}
    strategy = Scripted(side=(1, 2), price=(99.0,), **HOUR)
    rows = hourly([100] * 5)
    run = make(rows, strategy, 10, None, None, 1e5, None, None, {"entry": entry}).run()
    state = run.state
    assert len(run.outcome.orders) == 1
    assert state.account["open_orders"][0] == 0
    assert state.account["entering_buys"][0] == 0.0
    assert state.sleeves["target"][0] == 0


def test_immediate_or_cancel_takes_what_the_open_gives() -> None:
    entry = {**LIMIT, "time_in_force": "ioc"}
    rows = bars_of([100, 98, 98], volume=40.0)
    costs = {"volume_share": 0.1}
    assert traded(rows, limit(1, 99.0), entry=entry, costs=costs) == [(0, 4, 98.0)]
    closes = {"fill": "next_close", "volume_share": 0.1}
    assert traded(rows, limit(1, 99.0), entry=entry, costs=closes) == [(1, 4, 98.0)]


# -- volume ---------------------------------------------------------------------------------------


def test_a_share_of_the_volume_fills_an_order_in_parts() -> None:
    rows = bars_of([100, 101, 102, 103, 104], volume=40.0)
    assert traded(rows, costs={"volume_share": 0.1}) == [
        (0, 4, 101.0),
        (1, 4, 102.0),
        (2, 2, 103.0),
    ]


@pytest.mark.parametrize("volume", [0.0, None, 9.0])
def test_no_volume_no_fill(volume: float | None) -> None:
    assert traded(bars_of([100, 101, 102], volume=volume), costs={"volume_share": 0.1}) == []


def test_volume_is_in_units_and_orders_in_lots() -> None:
    rows = bars_of([100, 101], volume=1.0)
    facts = {"lot": 0.01}
    assert traded(rows, facts=facts, lots=50, costs={"volume_share": 0.1}) == [(0, 10, 101.0)]


def test_orders_of_one_bar_share_its_volume() -> None:
    rows = bars_of([100, 101], volume=100.0)
    lots = rules_of(sizing={"kind": "fixed", "lots": 8})
    run = world(
        {name: (LONG_ONCE, lots, ["ABC"]) for name in ("a", "b")},
        rows,
        account=account_of(costs={"volume_share": 0.1}),
    ).run()
    assert [f[1] for f in fills(run)] == [8, 2]


# -- exits that rest at the venue -----------------------------------------------------------------

BRACKET = {"stop": 0.02, "take": 0.03, "resting": True}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((100, 104, 97, 100), (2, -10, 98.0)),  # both within one bar: the worse
        ((100, 104, 99, 100), (2, -10, 103.0)),
        ((100, 101, 97, 100), (2, -10, 98.0)),
        ((95, 104, 90, 100), (1, -10, 95.0)),  # opened below the stop
        ((105, 106, 90, 100), (1, -10, 105.0)),  # opened above the target
    ],
)
def test_one_exit_cancels_the_other(
    row: tuple[float, ...], expected: tuple[float, int, float]
) -> None:
    rows = [100, 100, row, (100, 110, 90, 100), (100, 110, 90, 100)]
    assert traded(rows, exits=BRACKET) == [(0, 10, 100.0), expected]


def test_a_bracket_works_in_the_bar_of_its_entry() -> None:
    assert traded([100, (100, 104, 99, 100)], exits=BRACKET) == [(0, 10, 100.0), (1, -10, 103.0)]


def test_a_position_of_a_partly_filled_bracket_ends_flat() -> None:
    rows = bars_of([100, 100, (100, 104, 100, 104), (104, 104, 90, 90), 90, 90], volume=40.0)
    result = traded(rows, exits=BRACKET, costs={"volume_share": 0.1})
    assert result == [
        (0, 4, 100.0),
        (1, 4, 100.0),
        # The next open is above the target: it fills the rest, then two of the target's lots.
        (2, 2, 104.0),
        (2, -2, 104.0),
        # The average is 100.80, so the stop is at 98.78, and the next opens are below it.
        (3, -4, 90.0),
        (4, -4, 90.0),
    ]


def test_a_market_exit_after_the_bar_that_touched() -> None:
    rows = [100, 100, (100, 100, 97, 99), (98.5, 99, 98, 99), 99]
    assert traded(rows, exits={"stop": 0.02}) == [(0, 10, 100.0), (2, -10, 98.5)]


def test_an_entry_at_the_close_is_not_stopped_by_what_came_before() -> None:
    rows = [100, (100, 120, 80, 100), 100, 100]
    costs = {"fill": "next_close"}
    for exits in ({"stop": 0.05}, {"take": 0.05}, {"trail": 0.05}):
        assert traded(rows, costs=costs, exits=exits) == [(1, 10, 100.0)]


# -- money ----------------------------------------------------------------------------------------


def test_cash_that_a_gap_has_made_too_little_buys_less() -> None:
    """Decided at 100, opened at 125: a thousand lots would cost more than there is."""
    run = make([100, 125, 125], LONG_ONCE, 1_000, None, None, 100_000.0, None, None, {}).run()
    assert [f[1] for f in fills(run)] == [800]
    assert run.state.currencies["cash"][0] == 0.0
    assert run.state.account["open_orders"][0] == 0  # the rest was rejected, and is known to be


def test_commission_counts_against_cash() -> None:
    facts = {"commission": 1.0, "commission_bps": 100}
    run = make([100, 125, 125], LONG_ONCE, 900, None, facts, 100_000.0, None, None, {}).run()
    assert [f[1] for f in fills(run)] == [math.floor(100_000 / (125 * 1.01 + 1))]
    assert run.state.currencies["cash"][0] >= 0


def test_two_strategies_share_the_cash() -> None:
    half = rules_of(sizing={"kind": "fixed", "lots": 500})
    run = world(
        {name: (LONG_ONCE, half, ["ABC"]) for name in ("a", "b")}, bars_of([100, 125, 125])
    ).run()
    assert [f[1] for f in fills(run)] == [500, 300]
    assert run.state.currencies["cash"][0] == 0.0


def test_a_purchase_in_another_currency_is_paid_from_all_cash() -> None:
    def bought(rate: float) -> tuple[list[int], float]:
        run = world(
            LONG_ONCE,
            bars_of([100, 125, 125]),
            rules=rules_of(sizing={"kind": "fixed", "lots": 800}),
            instruments=(share(currency="EUR"),),
            rates={"EUR": rate},
        ).run()
        state = run.state
        total = float((state.currencies["cash"] * state.currencies["rate"]).sum())
        return [f[1] for f in fills(run)], total

    assert bought(1.0) == ([800], 0.0)
    lots, cash = bought(1.25)
    assert lots == [640]
    assert cash == pytest.approx(0.0)


def test_what_a_future_earned_can_be_spent_and_what_it_lost_cannot() -> None:
    def bought(settled_at: float) -> list[int]:
        """Buy 1,200 shares at 100 after ten futures were closed at a price."""
        bars = []
        for n, price in enumerate([100, 100, settled_at, settled_at, settled_at, settled_at]):
            bars += [bar(n, price, symbol="FUT"), bar(n, 100 if n < 4 else 101)]
        run = world(
            {
                "f": (
                    Scripted(side=(1, 0)),
                    rules_of(sizing={"kind": "fixed", "lots": 10}),
                    ["FUT"],
                ),
                "e": (
                    Scripted(side=(2, 2, 2, 1)),
                    rules_of(sizing={"kind": "fraction", "fraction": 1.0}),
                    ["ABC"],
                ),
            },
            bars,
            instruments=(future(), share()),
        ).run()
        return [lots for _, lots, price in fills(run) if price == 101]

    assert bought(200.0) == [1_485]  # 150,000 / 101
    assert bought(40.0) == [693]  # 70,000 / 101


# -- actions while orders wait --------------------------------------------------------------------


def test_an_exit_that_meets_a_split_closes_everything() -> None:
    rows = [100, 100, 100, 50, 50, 50]
    result = traded(rows, Scripted(side=(1, 1, 0)), inputs=[Action(at(2), "split", 2.0, "ABC")])
    trades = [r for r in result if r[2] != 2.0]  # the split itself is written as a row too
    assert trades == [(0, 10, 100.0), (2, -10, 50.0), (3, -10, 50.0)]


@pytest.mark.parametrize("action", ["split", "dividend", "funding", "roll"])
def test_an_action_before_the_first_bar_harms_nothing(action: str) -> None:
    run = world(
        LONG_ONCE, bars_of([100, 101, 102]), inputs=[Action(at(-1), action, 0.5, "ABC")]
    ).run()
    assert run.equity.tolist() == [100_000.0, 100_000.0, 100_001.0]


def test_inputs_after_the_last_bar_are_folded_too() -> None:
    w = make(
        [100, 100], limit(1, 90.0), 10, None, None, 1e5, [Command(at(5), "kill")], None,
        {"entry": LIMIT},
    )  # fmt: skip
    state = w.run().state
    assert state.account["killed"][0] == 1
    assert state.account["open_orders"][0] == 0


def test_many_inputs_at_once_do_not_overrun_the_buffers() -> None:
    splits = [Action(at(2), "split", ratio, "ABC") for ratio in (2.0, 0.5)] * 1_500
    run = make([100] * 5, LONG_ONCE, 10, None, None, 1e5, splits, None, {"exits": BRACKET}).run()
    assert run.state.sleeves["qty"][0] == 10
    assert len(run.outcome.decisions) > 6_000
    assert run.outcome.decisions["id"].tolist() == list(range(1, len(run.outcome.decisions) + 1))


def test_constant_columns_may_be_views_of_one_number() -> None:
    w = make([100] * 20, Scripted(side=(1, 0) * 10), 1, None, None, 1e5, None, None, {})
    expected = fills(w.run())
    flat = np.broadcast_to(100.0, (20,))
    w.bars["ABC"] = w.bars["ABC"]._replace(open=flat, high=flat, low=flat, close=flat)
    assert fills(w.run()) == expected


def test_a_day_starts_at_midnight_utc() -> None:
    """The loss of one day does not stop the next; a bar that closes at midnight ends its day."""
    assert START_NS % DAY_NS == 0
    rows = hourly([100.0] * 2 + [94.0] * 24)
    big = rules_of(sizing={"kind": "fixed", "lots": 900})
    run = world(
        {
            "a": (Scripted(side=(1, 2), **HOUR), big, ["ABC"]),
            "b": (Scripted(side=(2,) * 23 + (1,), **HOUR), rules_of(), ["ABC"]),
        },
        rows,
        account=account_of(limits={"daily_loss": 0.05}),
        interval_ns=HOUR["step_ns"],
    ).run()
    tried = run.outcome.decisions[run.outcome.decisions["strategy"] == 1]
    assert (tried["blocked"] != 0).tolist() == [True, False]  # bar 23 ends the day, bar 24 begins


def test_every_daily_bar_is_a_day_of_its_own() -> None:
    """Bars that close exactly at midnight, one entry a day allowed: none of them is refused."""
    strategy = Scripted(side=(1, -1) * 5, start=at(0, DAY_NS), step_ns=DAY_NS)
    run = world(
        strategy,
        bars_of([100] * 10, step_ns=DAY_NS),
        rules=rules_of(gates={"orders_per_day": 1}),
        interval_ns=DAY_NS,
    ).run()
    entries = run.outcome.decisions[run.outcome.decisions["purpose"] == 0]
    assert len(entries) == 10
    assert not entries["blocked"].any()
    assert run.state.account["day"][0] == START_NS // DAY_NS + 9


def test_a_stop_that_the_open_was_beyond_already_fills_no_better_than_the_open() -> None:
    """Bought at an ask of 110, the stop of two percent is above where the bar trades."""
    result = traded([100, (100, 101, 99, 100)], exits=BRACKET, more={"ask": 110.0})
    assert result == [(0, 10, 110.0), (1, -10, 100.0)]
