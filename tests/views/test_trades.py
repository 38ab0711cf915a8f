"""Round trips against a slow exact reference, and the cases that people argue about by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.domain.errors import FoldError
from onefold.domain.instruments import instrument
from onefold.domain.words import Purpose
from onefold.views.trades import SCHEMA, Trades, reconcile, round_trips, trade_rows

from .worlds import MINUTE_NS, MONDAY_NS, STRATEGIES, fills_of, share

ABC = (share("ABC"),)


def trades_of(*rows: dict[str, Any], **facts: Any) -> Trades:
    return round_trips(fills_of(*rows), (share("ABC", **facts),), STRATEGIES)


def test_a_split_multiplies_the_lots_of_a_running_trade() -> None:
    closed, running = trades_of(
        {"price": 100.0, "qty": 10},
        {"price": 2.0, "qty": 20, "purpose": Purpose.SPLIT},
        {"price": 60.0, "qty": 15, "side": -1, "purpose": Purpose.TAKE},
    )
    assert closed.is_empty()
    [trade] = running.to_dicts()
    assert (trade["entry_size"], trade["entry_price"]) == (20, 50.0)
    assert (trade["open_size"], trade["open_price"], trade["gross"]) == (5, 50.0, 150.0)


def test_a_split_that_leaves_less_than_a_lot_ends_the_trade() -> None:
    closed, running = trades_of(
        {"price": 1.0, "qty": 3}, {"price": 0.1, "qty": 0, "purpose": Purpose.SPLIT}
    )
    assert running.is_empty()
    [trade] = closed.to_dicts()
    assert (trade["exit_reason"], trade["pnl"]) == ("split", 0.0)


def test_the_gap_of_a_roll_is_neither_won_nor_lost_but_its_cost_is_paid() -> None:
    closed, running = trades_of(
        {"price": 100.0, "qty": 3, "fee": 1.0},
        {"price": 5.0, "qty": 3, "fee": 4.0, "purpose": Purpose.ROLL},
        {"price": 107.0, "qty": 2, "side": -1, "purpose": Purpose.TAKE},
    )
    assert closed.is_empty()
    [trade] = running.to_dicts()
    assert (trade["gross"], trade["fees"], trade["pnl"]) == (4.0, 5.0, -1.0)
    assert (trade["entry_price"], trade["open_price"]) == (100.0, 105.0)


def test_entry_and_exit_make_one_trade() -> None:
    closed, running = trades_of(
        {"price": 100.0, "qty": 2, "fee": 1.0, "score": 0.7},
        {"price": 110.0, "qty": 2, "side": -1, "fee": 1.0, "purpose": Purpose.TAKE},
    )
    assert running.is_empty()
    [trade] = closed.to_dicts()
    assert trade["strategy"] == "momentum"
    assert (trade["symbol"], trade["side"]) == ("ABC", "long")
    assert (trade["entry_price"], trade["exit_price"]) == (100.0, 110.0)
    assert (trade["entry_size"], trade["exit_size"]) == (2, 2)
    assert (trade["gross"], trade["pnl"], trade["fees"]) == (20.0, 18.0, 2.0)
    assert trade["pnl_percent"] == pytest.approx(9.0)
    assert (trade["exit_reason"], trade["ml_score"]) == ("take", 0.7)
    assert trade["entry_time"].isoformat() == "2020-01-06T00:00:00+00:00"
    assert trade["exit_time"].isoformat() == "2020-01-06T00:01:00+00:00"


def test_short_trade_gains_when_the_price_falls() -> None:
    closed, _ = trades_of({"price": 50.0, "side": -1}, {"price": 40.0, "purpose": Purpose.STOP})
    assert closed["side"].to_list() == ["short"]
    assert closed["pnl"].to_list() == [10.0]
    assert closed["ml_score"].to_list() == [None]


def test_additions_and_partial_exits_stay_in_one_trade_at_average_cost() -> None:
    closed, running = trades_of(
        {"price": 100.0, "qty": 1},
        {"price": 106.0, "qty": 2},
        {"price": 110.0, "qty": 2, "side": -1, "purpose": Purpose.TAKE},
        {"price": 100.0, "qty": 1, "side": -1, "purpose": Purpose.TRAIL},
    )
    assert running.is_empty()
    [trade] = closed.to_dicts()
    assert trade["entry_price"] == pytest.approx(104.0)
    assert trade["exit_price"] == pytest.approx(320.0 / 3)
    assert trade["pnl"] == pytest.approx(8.0)
    assert trade["exit_reason"] == "trail"


def test_reversal_closes_one_trade_and_opens_the_next_and_splits_the_fee() -> None:
    closed, running = trades_of(
        {"price": 100.0, "qty": 1, "fee": 1.0},
        {"price": 90.0, "qty": 4, "side": -1, "fee": 4.0},
    )
    [first], [second] = closed.to_dicts(), running.to_dicts()
    assert (first["pnl"], first["fees"], first["exit_reason"]) == (-12.0, 2.0, "signal")
    assert (second["id"], second["side"], second["open_size"]) == (2, "short", 3)
    assert (second["entry_price"], second["fees"], second["pnl"]) == (90.0, 3.0, -3.0)


def test_open_trade_has_no_exit_but_shows_what_it_has_realised() -> None:
    closed, running = trades_of(
        {"price": 100.0, "qty": 4, "fee": 1.0},
        {"price": 120.0, "qty": 1, "side": -1, "fee": 1.0, "purpose": Purpose.TAKE},
    )
    assert closed.is_empty()
    [trade] = running.to_dicts()
    assert trade["exit_time"] is None
    assert trade["exit_reason"] is None
    assert (trade["exit_price"], trade["exit_size"], trade["open_size"]) == (120.0, 1, 3)
    assert (trade["open_price"], trade["pnl"]) == (100.0, 18.0)


def test_profit_is_turned_into_base_at_the_rate_of_the_exit_and_fees_at_their_own() -> None:
    fills = fills_of(
        {"price": 5_000.0, "rate": 1.25, "fee": 2.0},
        {"price": 5_010.0, "rate": 1.5, "fee": 2.0, "side": -1, "purpose": Purpose.TIME},
    )
    closed, _ = round_trips(fills, (instrument("FESX"),), STRATEGIES)
    assert closed["gross"].to_list() == [100.0]
    assert closed["fees"].to_list() == [5.5]
    assert closed["pnl"].to_list() == [100.0 * 1.5 - 5.5]


def test_negative_prices_keep_the_sign_of_profit_and_percent() -> None:
    closed, _ = trades_of(
        {"price": -37.63}, {"price": -30.0, "side": -1, "purpose": Purpose.TIME}, multiplier=1000.0
    )
    assert closed["pnl"].to_list() == [pytest.approx(7_630.0)]
    assert closed["pnl_percent"].to_list() == [pytest.approx(100 * 7.63 / 37.63)]


def test_entry_at_price_zero_has_no_percentage() -> None:
    closed, _ = trades_of({"price": 0.0}, {"price": 1.0, "side": -1, "purpose": Purpose.TIME})
    assert closed["pnl_percent"].to_list() == [None]


def test_sleeves_do_not_mix_and_ids_follow_the_entries() -> None:
    fills = fills_of(
        {"strategy": 0},
        {"strategy": 1, "side": -1},
        {"strategy": 1, "price": 90.0, "purpose": Purpose.TAKE},
        {"strategy": 0, "side": -1, "price": 101.0, "purpose": Purpose.SIGNAL},
    )
    closed, _ = round_trips(fills, ABC, STRATEGIES)
    assert closed["id"].to_list() == [2, 1]
    assert closed["strategy"].to_list() == ["mean_reversion", "momentum"]
    assert closed["pnl"].to_list() == [10.0, 1.0]


def test_trades_that_end_together_stay_in_the_order_of_their_entries() -> None:
    rows = [{"ts": MONDAY_NS, "side": 1 - 2 * (at % 2)} for at in range(100)]
    assert trades_of(*rows).closed["id"].to_list() == list(range(1, 51))


def test_no_fills_give_empty_frames_with_the_same_columns() -> None:
    closed, running = round_trips(fills_of(), ABC, STRATEGIES)
    assert closed.schema == running.schema == pl.Schema(SCHEMA)
    assert closed.is_empty()
    assert running.is_empty()


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        ({"instrument": 1}, "names instrument 1, but there are only 1"),
        ({"instrument": -1}, "names instrument -1"),
        ({"strategy": 2}, "names strategy 2, but there are only 2"),
        ({"qty": 0}, "has 0 lots"),
    ],
)
def test_fills_that_cannot_be_folded_are_refused(fill: dict[str, Any], words: str) -> None:
    with pytest.raises(FoldError, match=words):
        round_trips(fills_of({}, fill), ABC, STRATEGIES)


FILLS = st.lists(
    st.fixed_dictionaries(
        {
            "strategy": st.integers(0, 1),
            "instrument": st.integers(0, 1),
            "side": st.sampled_from([-1, 1]),
            "qty": st.integers(1, 9),
            "price": st.integers(-400, 4_000).map(lambda n: n / 8),
            "fee": st.integers(0, 40).map(lambda n: n / 4),
            "rate": st.sampled_from([0.5, 1.0, 1.25]),
            "purpose": st.sampled_from([p for p in Purpose if p < Purpose.SPLIT]),
        }
    ),
    max_size=40,
)


@settings(deadline=None)  # the first call may compile
@given(FILLS)
def test_trades_equal_an_exact_reference_and_the_money_that_moved(rows: list[Any]) -> None:
    instruments = (share("A", multiplier=50.0), share("B", lot=0.5))
    fills = fills_of(*rows)
    trades = round_trips(fills, instruments, STRATEGIES)
    ours = pl.concat(trades).sort("id").to_dicts()
    exact = reference(rows, [Fraction(50), Fraction(1, 2)])
    assert len(ours) == len(exact)
    for mine, theirs in zip(ours, exact, strict=True):
        assert mine["open_size"] == theirs["qty"]
        assert mine["entry_size"] - mine["exit_size"] == theirs["qty"]
        assert mine["pnl"] == pytest.approx(float(theirs["pnl"]), rel=1e-12, abs=1e-6)
        assert mine["fees"] == pytest.approx(float(theirs["fees"]), rel=1e-12)
        assert (mine["exit_time"] is None) == (theirs["qty"] > 0)
    check = reconcile(trades, fills, instruments)
    assert check["difference"].abs().max() == pytest.approx(0.0, abs=1e-6)
    assert check["fees_difference"].abs().max() == pytest.approx(0.0, abs=1e-9)


def test_reconcile_finds_a_missing_trade() -> None:
    fills = fills_of({}, {"side": -1, "price": 103.0, "purpose": Purpose.TIME})
    trades = round_trips(fills, ABC, STRATEGIES)
    less = Trades(trades.closed.clear(), trades.open)
    assert reconcile(trades, fills, ABC)["difference"].to_list() == [0.0]
    assert reconcile(less, fills, ABC)["difference"].to_list() == [3.0]


def test_rows_keep_nanoseconds() -> None:
    fills = fills_of({"ts": MONDAY_NS + 1}, {"ts": MONDAY_NS + MINUTE_NS + 3, "side": -1})
    [row] = trade_rows(fills, ABC, STRATEGIES)
    assert (row["entry_ts"], row["exit_ts"]) == (MONDAY_NS + 1, MONDAY_NS + MINUTE_NS + 3)
    assert np.isnan(row["score"])


def reference(rows: list[dict[str, Any]], points: list[Fraction]) -> list[dict[str, Any]]:
    """Fold fills lot by lot in exact arithmetic, with each lot's share of the fee."""
    trades: list[dict[str, Any]] = []
    running: dict[tuple[int, int], dict[str, Any]] = {}
    for row in rows:
        key = (row["strategy"], row["instrument"])
        price, rate = Fraction(row["price"]), Fraction(row["rate"])
        fee = Fraction(row["fee"]) * rate / row["qty"]
        for _ in range(row["qty"]):
            trade = running.get(key)
            if trade is None:
                trade = {"side": row["side"], "qty": 0, "cost": Fraction(0), "pnl": 0, "fees": 0}
                running[key] = trade
                trades.append(trade)
            trade["pnl"] -= fee
            trade["fees"] += fee
            if row["side"] == trade["side"]:
                trade["qty"] += 1
                trade["cost"] += price
                continue
            average = trade["cost"] / trade["qty"]
            trade["pnl"] += trade["side"] * (price - average) * points[row["instrument"]] * rate
            trade["cost"] -= average
            trade["qty"] -= 1
            if trade["qty"] == 0:
                del running[key]
    return trades
