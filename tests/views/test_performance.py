"""Performance numbers against slow plain definitions, and what is not defined."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from onefold.domain.errors import ConfigError
from onefold.domain.words import Purpose
from onefold.views.performance import (
    BINS,
    Performance,
    PerformanceMetrics,
    Provenance,
    Stretch,
    ledger,
    performance,
    sleeve_performance,
)
from onefold.views.result import ResultView
from onefold.views.sleeves import SleeveCurve, daily_profit
from onefold.views.statistics import probabilistic_sharpe, sharpe, sharpe_error, wilson

from .worlds import (
    DAY_NS,
    LOT_VALUE,
    MONDAY_NS,
    Rows,
    bars_of,
    decisions_of,
    fills_of,
    random_view,
    share,
)

PROVENANCE = Provenance("paper", "c0ffee")


class Books(NamedTuple):
    """A sleeve by the plain way: what it was worth after every day, and its trades."""

    worth: list[float]
    trades: list[dict[str, Any]]


def books_of(view: ResultView, s: int, i: int) -> Books:
    """Go through the days of a daily world one by one."""
    closes = dict(zip(view.bars[view.symbols[i]].ts.tolist(),
                      view.bars[view.symbols[i]].close.tolist(), strict=True))  # fmt: skip
    fills = [f for f in view.fill_rows if (f["strategy"], f["instrument"]) == (s, i)]
    cash, held, worth, trades = 0.0, 0, [], []
    trade: dict[str, Any] = {}
    for ts, close in closes.items():
        for fill in (f for f in fills if f["ts"] == ts):
            lots = int(fill["side"] * fill["qty"])
            money = -lots * float(fill["price"]) * LOT_VALUE - float(fill["fee"])
            if held == 0:
                [order] = [d for d in view.decision_rows if d["order"] == fill["order"]]
                trade = {"pnl": 0.0, "fees": 0.0, "confidence": float(order["confidence"]),
                         "entered": abs(lots) * float(fill["price"]) * LOT_VALUE}  # fmt: skip
            cash += money
            held += lots
            trade["pnl"] += money
            trade["fees"] += float(fill["fee"])
            if held == 0:
                trades.append({**trade, "ts": ts})
        worth.append(cash + held * close * LOT_VALUE)
    return Books(worth, trades)


def stretch_of(view: ResultView) -> Stretch:
    """Return a daily world with the curves of its sleeves."""
    ts = np.unique(view.equity_ts)
    worth = [books_of(view, s, i).worth for s in range(len(view.strategies))
             for i in range(len(view.symbols))]  # fmt: skip
    return Stretch(view, SleeveCurve(ts, np.array(worth).T, np.zeros(len(worth))))


@pytest.fixture(scope="module")
def view() -> ResultView:
    made = random_view(seed=11, bars=700)
    made.decision_rows["confidence"] = np.random.default_rng(3).random(len(made.decision_rows))
    return made


@pytest.fixture(scope="module")
def made(view: ResultView) -> PerformanceMetrics:
    return performance(ledger([stretch_of(view)]), PROVENANCE)


def only(found: list[Performance], strategy: str, symbol: str) -> Performance:
    [one] = [p for p in found if (p.strategy, p.symbol) == (strategy, symbol)]
    return one


def check(one: Performance, books: list[Books], view: ResultView, days: slice) -> None:
    """Compare numbers with the books of the sleeves in their scope, by plain definitions."""
    stats = pytest.importorskip("scipy.stats")
    equity = view.daily.equity.tolist()
    trades = [t for b in books for t in b.trades]
    pnl = [t["pnl"] for t in trades]
    won = [p for p in pnl if p > 0]
    lost = [p for p in pnl if p < 0]
    n = len(pnl)
    assert (one.trades, one.wins) == (n, len(won))
    assert one.win_rate == pytest.approx(len(won) / n)
    interval = stats.binomtest(len(won), n).proportion_ci(0.95, "wilson")
    assert (one.win_rate_low, one.win_rate_high) == pytest.approx(tuple(interval))
    assert one.pnl == pytest.approx(sum(pnl))
    assert one.fees == pytest.approx(sum(t["fees"] for t in trades))
    assert one.profit_factor == pytest.approx(sum(won) / -sum(lost))
    mean_won, mean_lost = sum(won) / len(won), -sum(lost) / len(lost)
    assert one.break_even == pytest.approx(mean_lost / (mean_won + mean_lost))
    assert one.mean_return == pytest.approx(sum(t["pnl"] / t["entered"] for t in trades) / n)
    assert (one.first_exit_ts, one.last_exit_ts) == (
        min(t["ts"] for t in trades), max(t["ts"] for t in trades)
    )  # fmt: skip
    confidence = np.array([t["confidence"] for t in trades])
    assert one.brier == pytest.approx(np.mean((confidence - (np.array(pnl) > 0)) ** 2))
    returns = []
    for day in range(len(equity))[days]:
        gain = sum(b.worth[day] - (b.worth[day - 1] if day else 0.0) for b in books)
        returns.append(gain / (equity[day - 1] if day else 100_000.0))
    r = np.array(returns)
    assert one.days == len(r)
    ratio = r.mean() / r.std(ddof=1)
    per_year = view.daily.per_year
    assert one.sharpe == pytest.approx(ratio * math.sqrt(per_year))
    skew, kurtosis = stats.skew(r), stats.kurtosis(r, fisher=False)
    variance = (1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2) / (len(r) - 1)
    assert one.sharpe_error == pytest.approx(math.sqrt(variance * per_year))
    assert one.probabilistic_sharpe == pytest.approx(stats.norm.cdf(ratio / math.sqrt(variance)))
    value, high, fall = 1.0, 1.0, 0.0
    for one_return in returns:
        value *= 1.0 + one_return
        high = max(high, value)
        fall = min(fall, value / high - 1.0)
    assert one.max_drawdown == pytest.approx(fall)


def test_numbers_of_every_scope_are_those_of_the_plain_definitions(
    view: ResultView, made: PerformanceMetrics
) -> None:
    every = slice(None)
    sleeves = {(s, i): books_of(view, s, i) for s in range(2) for i in range(2)}
    for (s, i), books in sleeves.items():
        check(only(made.sleeves, view.strategies[s], view.symbols[i]), [books], view, every)
    for n in range(2):
        mine = [b for (s, _), b in sleeves.items() if s == n]
        check(only(made.strategies, view.strategies[n], ""), mine, view, every)
        mine = [b for (_, i), b in sleeves.items() if i == n]
        check(only(made.symbols, "", view.symbols[n]), mine, view, every)
    check(made.all, list(sleeves.values()), view, every)
    assert (len(made.sleeves), len(made.strategies), len(made.symbols)) == (4, 2, 2)


def test_all_together_are_the_account(view: ResultView, made: PerformanceMetrics) -> None:
    run = view.metrics
    assert made.all.sharpe == pytest.approx(run.sharpe)
    assert made.all.max_drawdown == pytest.approx(run.max_drawdown)
    assert made.all.turnover == pytest.approx(run.turnover)
    assert made.all.profit_factor == pytest.approx(run.trades.profit_factor)
    assert sum(one.turnover or 0.0 for one in made.sleeves) == pytest.approx(run.turnover)
    profits = daily_profit(view, stretch_of(view).curve, view.daily)
    change = np.diff(view.daily.equity, prepend=view.cash)
    assert np.allclose(sum(profits.values()), change, atol=1e-6)


def test_only_what_closed_after_a_time_counts(view: ResultView) -> None:
    book = ledger([stretch_of(view)])
    since = 0
    for s, i in np.ndindex(2, 2):
        key = view.strategies[s], view.symbols[i]
        closed = books_of(view, s, i).trades
        since = closed[len(closed) // 2]["ts"]
        [one] = [p for p in sleeve_performance(book, {key: since}) if (p.strategy, p.symbol) == key]
        books = books_of(view, s, i)
        late = Books(books.worth, [t for t in books.trades if t["ts"] > since])
        assert 0 < len(late.trades) < len(books.trades)
        check(one, [late], view, slice(_first_day_after(view, since), None))
        fills = [f for f in view.fill_rows
                 if (f["strategy"], f["instrument"]) == (s, i) and f["ts"] > since]  # fmt: skip
        value = sum(f["price"] * f["qty"] for f in fills) * LOT_VALUE
        equity = view.daily.equity[_first_day_after(view, since) :]
        years = len(equity) / view.daily.per_year
        assert one.turnover == pytest.approx(value / equity.mean() / years)
        others = sleeve_performance(book, {key: since})
        untouched = [p for p in others if (p.strategy, p.symbol) != key]
        everything = [p for p in sleeve_performance(book, {}) if (p.strategy, p.symbol) != key]
        assert untouched == everything
    whole = performance(book, PROVENANCE, since_ts=since)
    assert whole.since_ts == since
    assert whole.all.trades == sum(one.trades for one in whole.sleeves)


def _first_day_after(view: ResultView, ts: int) -> int:
    return int(np.searchsorted(view.daily.days, (ts - 1) // DAY_NS, side="right"))


def test_a_sunday_counts_to_the_monday_where_saturdays_do_not_trade() -> None:
    closes = [100.0 + n for n in range(14)]
    one = world({**BUY, "day": 0}, closes=closes)
    week = np.arange(14) % 7 != 5
    view = _changed(
        one.view, equity_ts=one.view.equity_ts[week], equity_values=one.view.equity_values[week]
    )
    curve = SleeveCurve(one.curve.ts[week], one.curve.worth[week], one.curve.start)
    assert view.daily.per_year == 252
    [profit] = daily_profit(view, curve, view.daily).values()
    assert profit.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0, 1.0, 2.0]
    book = ledger([Stretch(view, curve)])
    saturday = int(one.view.equity_ts[5])
    [found] = sleeve_performance(book, {("one", "ABC"): saturday})
    assert found.days == 5, "the Monday that it counts to began before it"


def test_bins_hold_every_trade_of_known_confidence_once(
    view: ResultView, made: PerformanceMetrics
) -> None:
    trades = [t for s, i in np.ndindex(2, 2) for t in books_of(view, s, i).trades]
    for found in made.all.calibration:
        at = min(int(found.confidence * BINS), BINS - 1)
        mine = [t for t in trades if min(int(t["confidence"] * BINS), BINS - 1) == at]
        assert found.trades == len(mine)
        assert found.confidence == pytest.approx(np.mean([t["confidence"] for t in mine]))
        assert found.won == pytest.approx(np.mean([t["pnl"] > 0 for t in mine]))
    assert sum(b.trades for b in made.all.calibration) == len(trades) == made.all.trades


# --- worlds by hand ------------------------------------------------------------------------------


def world(*moves: dict[str, Any], closes: list[float], confidence: float = 0.7) -> Stretch:
    """Return one strategy in one share; fills are at the close of their day, without a fee."""
    ts = MONDAY_NS + (np.arange(len(closes)) + 1) * DAY_NS - 1
    rows = [
        {"ts": ts[m["day"]], "price": closes[m["day"]], "order": n + 1,
         **{k: v for k, v in m.items() if k != "day"}}
        for n, m in enumerate(moves)
    ]  # fmt: skip
    fills: Rows = fills_of(*rows)
    held, cash, worth = 0, 0.0, []
    for day, close in enumerate(closes):
        for m in (m for m in moves if m["day"] == day):
            held += m["side"]
            cash -= m["side"] * close
        worth.append(cash + held * close)
    entries = [{"order": n + 1, "purpose": m.get("purpose", 0), "confidence": confidence}
               for n, m in enumerate(moves)]  # fmt: skip
    view = ResultView(
        instruments=(share(),),
        strategies=("one",),
        gates=(),
        currency="USD",
        cash=1_000.0,
        bars={"ABC": bars_of(ts, np.array(closes))},
        fill_rows=fills,
        decision_rows=decisions_of(*entries),
        equity_ts=ts,
        equity_values=1_000.0 + np.array(worth),
    )
    return Stretch(view, SleeveCurve(ts, np.array(worth).reshape(-1, 1), np.zeros(1)))


BUY, SELL = {"side": 1}, {"side": -1, "purpose": Purpose.SIGNAL}


def test_what_is_not_defined_is_none() -> None:
    nothing = performance(ledger([world(closes=[100.0, 101.0])]), PROVENANCE)
    assert nothing.sleeves == []
    assert nothing.all == Performance(days=2, max_drawdown=0.0, turnover=0.0)
    empty = performance(ledger([world(closes=[])]), PROVENANCE)
    assert empty.all == Performance()
    assert empty.end_ts is None
    one = performance(
        ledger([world({**BUY, "day": 0}, {**SELL, "day": 1}, closes=[100.0, 110.0])]), PROVENANCE
    ).all
    assert (one.trades, one.win_rate, one.mean_return) == (1, 1.0, pytest.approx(0.1))
    assert (one.profit_factor, one.break_even, one.sharpe, one.sharpe_error) == (None,) * 4
    assert one.win_rate_low == pytest.approx(0.2065, abs=1e-4)
    assert one.brier == pytest.approx(0.09)
    lost = performance(
        ledger([world({**BUY, "day": 0}, {**SELL, "day": 1}, closes=[100.0, 90.0])]), PROVENANCE
    ).all
    assert (lost.profit_factor, lost.break_even) == (0.0, 1.0)
    assert lost.max_drawdown == pytest.approx(-0.01)


def test_a_loss_on_the_first_day_is_a_drawdown() -> None:
    one = world({**BUY, "day": 0}, closes=[100.0, 100.0])
    paid = one._replace(curve=one.curve._replace(worth=one.curve.worth - 20.0))
    assert performance(ledger([paid]), PROVENANCE).all.max_drawdown == pytest.approx(-0.02)


def test_a_trade_has_the_confidence_of_its_entry_and_not_of_the_exit_before() -> None:
    one = world(
        {**BUY, "day": 0}, {**SELL, "day": 1},
        {"side": -1, "day": 1}, {**SELL, "side": 1, "day": 2},
        closes=[100.0, 110.0, 100.0],
    )  # fmt: skip
    one.view.decision_rows["confidence"] = [0.6, 1.0, 0.8, 1.0]
    found = performance(ledger([one]), PROVENANCE).all
    assert (found.trades, found.wins) == (2, 2)
    assert [b.confidence for b in found.calibration] == [0.6, 0.8]


def test_a_confidence_that_nobody_stated_is_not_calibrated() -> None:
    adopted = world({**BUY, "day": 0, "purpose": Purpose.ADOPT, "order": 0}, {**SELL, "day": 1},
                    closes=[100.0, 110.0])  # fmt: skip
    unknown = world({**BUY, "day": 0}, {**SELL, "day": 1}, closes=[100.0, 110.0],
                    confidence=math.nan)  # fmt: skip
    for stretch in (adopted, unknown):
        one = performance(ledger([stretch]), PROVENANCE).all
        assert (one.trades, one.brier, one.calibration) == (1, None, [])


def test_runs_that_follow_one_another_are_one_account() -> None:
    first = world({**BUY, "day": 0}, {**SELL, "day": 1}, closes=[100.0, 110.0])
    second = later(world({**BUY, "day": 0}, {**SELL, "day": 1}, closes=[50.0, 45.0]), 5)
    both = performance(ledger([first, second]), PROVENANCE).all
    assert (both.trades, both.wins, both.days, both.pnl) == (2, 1, 4, 5.0)
    assert both.profit_factor == pytest.approx(2.0)
    with pytest.raises(ConfigError, match="overlap"):
        ledger([first, later(second, -4)])
    with pytest.raises(ConfigError, match="overlap"):
        ledger([second, first])
    euro = second._replace(view=_changed(second.view, currency="EUR"))
    with pytest.raises(ConfigError, match="EUR, USD"):
        ledger([first, euro])
    with pytest.raises(ConfigError, match="no run"):
        ledger([])


def later(one: Stretch, days: int) -> Stretch:
    shift = days * DAY_NS
    fills = one.view.fill_rows.copy()
    fills["ts"] += shift
    view = _changed(one.view, fill_rows=fills, equity_ts=one.view.equity_ts + shift)
    return Stretch(view, one.curve._replace(ts=one.curve.ts + shift))


def _changed(view: ResultView, **changes: Any) -> ResultView:
    fields = {name: getattr(view, name) for name in ResultView.__dataclass_fields__}
    return ResultView(**{**fields, **changes})


def test_the_document_is_plain_and_has_its_provenance(made: PerformanceMetrics) -> None:
    plain = made.as_dict()
    assert msgspec.convert(plain, PerformanceMetrics) == made
    text = msgspec.json.encode(made)
    assert b"NaN" not in text
    assert msgspec.json.decode(text) == plain
    assert (plain["schema_version"], plain["data_mode"], plain["config_hash"]) == (
        1, "paper", "c0ffee"
    )  # fmt: skip


# --- the formulas --------------------------------------------------------------------------------


def test_the_interval_of_a_share_contains_it_as_often_as_it_says() -> None:
    chance = np.random.default_rng(5)
    for share_, trials in ((0.5, 40), (0.2, 60), (0.9, 30)):
        found = [wilson(int(w), trials) for w in chance.binomial(trials, share_, 2_000)]
        inside = np.mean([low <= share_ <= high for low, high in found])
        assert 0.92 < inside < 0.98
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0


def test_the_error_of_a_sharpe_ratio_is_how_far_it_varies() -> None:
    """Mertens holds for skewed returns with fat tails, for which Lo's normal formula does not."""
    chance = np.random.default_rng(7)
    drawn = chance.standard_gamma(0.7, (4_000, 300)) - 0.6  # skewness 2.4
    ratios = np.array([sharpe(row) for row in drawn])
    errors = np.array([sharpe_error(row) for row in drawn])
    assert np.median(errors) == pytest.approx(ratios.std(), rel=0.05)
    true = 0.1 / math.sqrt(0.7)
    normal = math.sqrt((1 + true**2 / 2) / 300)
    assert abs(normal / ratios.std() - 1) > 0.08
    probable = np.array([probabilistic_sharpe(row, true) for row in drawn])
    assert np.mean(probable < 0.05) == pytest.approx(0.05, abs=0.02)
    assert sharpe_error(np.ones(10)) is None
    assert sharpe_error(np.array([0.1, 0.2])) is None
