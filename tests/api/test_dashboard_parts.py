"""What the dashboard makes of what it is told: sentences, numbers, and the options of charts."""

from __future__ import annotations

import pytest

from onefold.api.dashboard import cells, charts
from onefold.api.dashboard.books import told_of
from onefold.api.dashboard.decisions import blocked_by, in_words, nanoseconds
from onefold.api.dashboard.frame import in_a_word
from onefold.api.dashboard.governing import changed
from onefold.api.dashboard.library import least
from onefold.api.schemas import (
    AccountStatus,
    Bar,
    Change,
    EquityPoint,
    Explanation,
    GateLine,
    ParameterVersion,
    Trade,
)
from onefold.domain.errors import ConfigError

MINUS = "\N{MINUS SIGN}"
S = 1_000_000_000


def test_losses_have_a_sign_beside_their_tone() -> None:
    assert cells.signed(-1234.5) == {"text": f"{MINUS}1,234.50", "tone": "bad"}
    assert cells.signed(2.0) == {"text": "+2.00", "tone": "good"}
    for none in (0.0, 0.001, -0.001):
        assert cells.signed(none) == {"text": "0.00", "tone": "quiet"}
    assert cells.signed(None)["text"] == "—"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "—"), (3.0, "3"), (-12_000.0, f"{MINUS}12,000"), (0.30004, "0.30004"), (1e20, "1e+20")],
)
def test_numbers_of_any_size_are_short(value: float | None, text: str) -> None:
    assert cells.measured(value) == text


def test_addresses_escape_what_is_in_them() -> None:
    found = cells.href("/explain", account="a&b=<c>", decision=4, symbol="")
    assert found == "/dashboard/explain?account=a%26b%3D%3Cc%3E&decision=4"


def test_times_are_utc() -> None:
    assert cells.when(1_704_067_500 * S)["text"] == "2024-01-01 00:05:00"
    assert cells.when_text("2024-01-01T00:05:00.000000000Z")["at"] == "2024-01-01T00:05:00Z"
    assert cells.when(None)["text"] == "—"
    assert nanoseconds("2024-01-01 00:05") == 1_704_067_500 * S
    assert nanoseconds("2024-01-01T01:05+01:00") == 1_704_067_500 * S
    with pytest.raises(ConfigError, match="is no time"):
        nanoseconds("soon")


def line(gate: str, value: float, threshold: float | None, when: str, verdict: str) -> GateLine:
    return GateLine(
        gate=gate,
        measures="positions held",
        value=value,
        threshold=threshold,
        passes_when=when,
        verdict=verdict,
    )


def test_a_gate_is_told_in_a_sentence() -> None:
    found = line("open_positions", 3.0, 2.0, "at most max_open_positions", "blocked")
    assert blocked_by(found) == (
        "The gate open positions said no: positions held is 3, and must be at most max open "
        "positions, which is 2."
    )
    plain = line("mode", 0.0, 1.0, "at least 1", "blocked")
    assert blocked_by(plain).endswith("must be at least 1.")


def test_an_explanation_tells_what_was_wanted_and_every_no() -> None:
    found = Explanation(
        account="paper",
        decision=5,
        time="2024-01-01T00:05:00Z",
        strategy="dips",
        symbol="ES",
        after="bar",
        close=101.5,
        wants="long",
        held_lots=0,
        features={},
        score=None,
        models=[],
        conclusion="buy 2 (entry): blocked by open_positions",
        gates=[
            line("open_positions", 3.0, 2.0, "at most max_open_positions", "blocked"),
            line("mode", 1.0, 1.0, "at least 1", "passed"),
        ],
        own_gates=[line("mine", 1.0, 0.0, "at most 0", "blocked")],
        mandates=[],
    )
    said = in_words(found)
    assert said.startswith("After the bar that closed at 101.5, dips wanted to be long in ES")
    assert said.count("said no") == 2
    assert "gate mode" not in said
    assert said.endswith("Buy 2 (entry): blocked by open_positions.")


def account(**more: object) -> AccountStatus:
    given: dict[str, object] = {
        "account": "a",
        "mode": "paper",
        "state": "running",
        "age_s": 0.5,
        "can_enter": True,
        "why_not": "",
        "killed": False,
        "kill_switches": {},
        "reduce_only": False,
        "reconciled": True,
        "currency": "USD",
        "equity": 1.0,
        "pnl": 0.0,
        "pnl_today": 0.0,
        "exposure": 0.0,
        "open_orders": 0,
        "positions": {},
        "counts": {},
        "feeds": {},
        "trouble": "",
        "mandate": 0,
        "journal": "",
        "heartbeat": {},
    }
    return AccountStatus.model_validate({**given, **more})


@pytest.mark.parametrize(
    ("more", "said", "tone"),
    [
        ({}, "a: paper, trading", "good"),
        ({"killed": True, "can_enter": False}, "a: paper, stopped", "bad"),
        ({"can_enter": False, "why_not": "reduce only"}, "a: paper, reduce only", "warn"),
        ({"age_s": 120.0}, "a: no word for 2.0 min", "old"),
        ({"state": "stuck", "age_s": 40.0}, "a: stuck, 40.0 s old", "old"),
        ({"state": "not running", "age_s": None}, "a: not running", "quiet"),
    ],
)
def test_an_account_is_told_in_a_word(more: dict[str, object], said: str, tone: str) -> None:
    assert in_a_word(account(**more)) == (said, tone)


# --- charts --------------------------------------------------------------------------------------


def test_the_drawdown_lies_below_the_equity() -> None:
    points = [EquityPoint(time=S, equity=10.0, drawdown=0.0)]
    points.append(EquityPoint(time=2 * S, equity=9.0, drawdown=0.1))
    equity, under = charts.equity_options(points)["series"]
    assert equity["data"] == [[1000, 10.0], [2000, 9.0]]
    assert under["data"] == [[1000, -0.0], [2000, -10.0]]


def trade(**more: object) -> Trade:
    given: dict[str, object] = {
        "id": 1,
        "account": "a",
        "strategy": "dips",
        "symbol": "ES",
        "side": "short",
        "entry_time": 2 * S,
        "entry_price": 11.0,
        "entry_size": 3,
        "exit_time": None,
        "exit_price": None,
        "exit_size": 0,
        "pnl": -1.5,
        "pnl_percent": -0.5,
        "fees": 0.1,
        "exit_reason": None,
        "ml_score": None,
        "ibs_entry": None,
        "ibs_exit": None,
    }
    return Trade.model_validate({**given, **more})


def test_a_trade_is_marked_where_it_was_entered_and_left() -> None:
    bars = [Bar(time=k * S, open=10, high=12, low=9, close=11, volume=None) for k in (1, 2, 3)]
    candles, entry = charts.trade_options(bars, trade())["series"]
    assert candles["data"][0] == [1000, 10, 11, 9, 12]
    assert (entry["name"], entry["data"], entry["symbolRotate"]) == ("Entry", [[2000, 11.0]], 180)
    ended = trade(exit_time=3 * S, exit_price=10.0, exit_reason="take_profit", pnl=3.0)
    *_, leave = charts.trade_options(bars, ended)["series"]
    assert (leave["name"], leave["data"], leave["symbolRotate"]) == ("Exit", [[3000, 10.0]], 0)
    assert told_of(ended) == "dips short 3 ES at 11, out at 10 by take profit: +3.00."
    assert told_of(trade()) == f"dips short 3 ES at 11; it runs, with {MINUS}1.50."


def version(
    number: int, status: str, *values: float, mandate: str = "conf_min"
) -> ParameterVersion:
    changes = [
        Change(mandate=mandate, strategy="dips", symbol=f"S{k}", before=0.1, value=value)
        for k, value in enumerate(values)
    ]
    return ParameterVersion.model_validate(
        {
            "account": "a",
            "version": number,
            "time": number * S,
            "by": "ann",
            "cause": "x",
            "status": status,
            "approves": 0,
            "changes": [one.model_dump() for one in changes],
        }
    )


def test_the_least_confidence_is_drawn_as_steps_of_what_was_in_force() -> None:
    versions = [
        version(4, "proposed", 0.9),
        version(3, "applied", 5.0, mandate="drawdown"),
        version(2, "applied", 0.3, 0.4),
        version(1, "applied", 0.2),
    ]
    options, lines = charts.conf_min_options(versions, 9 * S)
    assert lines == 2
    first, second = options["series"]
    assert first["step"] == "end"
    assert first["data"] == [[999.0, 0.1], [1000.0, 0.2], [2000.0, 0.3], [9000.0, 0.3]]
    assert second["data"][1] == [2000.0, 0.4]
    assert first["symbol"] != second["symbol"]
    assert charts.conf_min_options((), 1)[1] == 0


def test_changes_and_thresholds_are_told_shortly() -> None:
    one = Change(mandate="conf_min", strategy="dips", symbol="", before=None, value=0.5)
    assert changed(one) == "conf min of dips: — to 0.5"
    assert least({"A": 0.5, "B": 0.5}) == "0.5"
    assert least({"A": 0.5, "B": 0.6}) == "A 0.5, B 0.6"
    assert least({}) == "—"
