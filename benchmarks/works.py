"""The works that are measured: their data, their rules, and the answers that are right.

A speed is worth nothing without the answer it arrived at. So this module makes the data from one
seed and works out, in plain numpy, what fills and what profit every work must give; a peer that is
fast because it did something else shows up in the table as different.

The rules of a work, in one place:

- W1: one symbol, one-minute bars. Long one unit while the simple moving average of 10 closes is
  above that of 30, flat otherwise; market orders; 1 bp commission.
- W2: daily bars of many symbols on shared cash, the same rule on each, 50,000 a position in whole
  units, at most 20 positions. Symbols are served in column order; a position that leaves on a bar
  frees its slot for the columns after it.
- W3: the rule of W1 for 200 pairs of averages over the first 200,000 bars.
- W4: the bars of W1, and an order on every bar (long, flat, long, ...).

Prices are whole ten-thousandths, so two averages can be exactly equal, and then the rounding of a
program's own sums decides. Such ties are counted (in integers), and the reference carries the most
that they can change: a peer inside that allowance did the same work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Bars = dict[str, FloatArray]
FillAt = Literal["next_open", "same_close"]

SEED = 42
W1_BARS = 1_000_000
W2_SYMBOLS = 500
W2_DAYS = 2_520
W3_BARS = 200_000
FAST, SLOW = 10, 30
W3_PAIRS = tuple((fast, slow) for fast in range(5, 25) for slow in range(30, 130, 10))
COMMISSION = 1e-4
CASH = 1_000_000.0
W2_TICKET = 50_000.0
W2_MAX_POSITIONS = 20
START_NS = 1_577_836_800_000_000_000  # 2020-01-01T00:00Z
MINUTE_NS = 60_000_000_000
W2_FIRST_DAY = "2010-01-04"
TICK = 1e-4
COLUMNS = ("open", "high", "low", "close", "volume")
DATA = Path(__file__).resolve().parents[1] / ".benchmarks" / "data"


@dataclass(frozen=True)
class Outcome:
    """What a run of a work ends with: profit in money, fills, units held at the end.

    In W2 `position` counts the positions that are open at the end; None means that a participant
    does not say. A reference also says how far exact ties may move the profit and the fills.
    """

    profit: float
    fills: int | None = None
    position: float | None = None
    tie_fills: int = 0
    tie_profit: float = 0.0


@dataclass(frozen=True)
class Rule:
    """By which rule an engine fills, where it cannot do it the usual way.

    `half_spread` is what a market order pays above (buys) or gets below (sells) the price;
    `late_bars` by how many bars its first call of a strategy comes later than it could.
    """

    fill_at: FillAt = "next_open"
    half_spread: float = 0.0
    late_bars: int = 0


USUAL = Rule()


def walk(rng: np.random.Generator, bars: int, volatility: float) -> Bars:
    """Return one random walk of OHLCV bars, each column of shape ``(bars,)``.

    The order in which the generator is drawn from is part of the data: change it and every
    reference figure changes with it.
    """
    inside = rng.standard_normal(bars) * volatility
    gap = rng.standard_normal(bars) * volatility * 0.1
    close = 100.0 * np.exp(np.cumsum(inside + gap))
    open_ = np.concatenate([[100.0], close[:-1] * np.exp(gap[1:])])
    above = 1.0 + np.abs(rng.standard_normal(bars)) * volatility * 0.3
    below = 1.0 - np.abs(rng.standard_normal(bars)) * volatility * 0.3
    high = np.maximum(open_, close) * above
    low = np.minimum(open_, close) * below
    volume = np.round(np.exp(rng.standard_normal(bars) * 0.5 + 7.0))
    open_, high, low, close = (np.round(column, 4) for column in (open_, high, low, close))
    return {
        "open": open_,
        "high": np.maximum(high, np.maximum(open_, close)),
        "low": np.minimum(low, np.minimum(open_, close)),
        "close": close,
        "volume": volume,
    }


def make_data(folder: Path = DATA) -> None:
    """Write ``w1.npz`` and ``w2.npz`` into `folder` unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "w1.npz").exists():
        minute = walk(np.random.default_rng(SEED), W1_BARS, 3e-4)
        save(folder / "w1.npz", minute)
    if not (folder / "w2.npz").exists():
        rng = np.random.default_rng(SEED)
        days = [walk(rng, W2_DAYS, 0.015) for _ in range(W2_SYMBOLS)]
        save(
            folder / "w2.npz",
            {name: np.stack([day[name] for day in days], axis=1) for name in COLUMNS},
        )


def save(path: Path, columns: Bars) -> None:
    """Write the columns so that an interrupted run leaves no half file under the final name."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(
            file,
            open=columns["open"],
            high=columns["high"],
            low=columns["low"],
            close=columns["close"],
            volume=columns["volume"],
        )
    partial.replace(path)


def minute_bars(bars: int = W1_BARS) -> Bars:
    """Return the first `bars` one-minute bars of W1, columns of shape ``(bars,)``."""
    with np.load(DATA / "w1.npz") as stored:
        return {name: stored[name][:bars] for name in COLUMNS}


def minute_times(bars: int = W1_BARS) -> IntArray:
    """Return the opening times of the bars of W1, nanoseconds UTC."""
    return START_NS + np.arange(bars, dtype=np.int64) * MINUTE_NS


def daily_bars(symbols: int = W2_SYMBOLS) -> Bars:
    """Return the first `symbols` symbols of W2, columns of shape ``(days, symbols)``."""
    with np.load(DATA / "w2.npz") as stored:
        return {name: np.ascontiguousarray(stored[name][:, :symbols]) for name in COLUMNS}


def in_ticks(prices: FloatArray) -> IntArray:
    """Return prices as whole ten-thousandths."""
    return np.rint(prices / TICK).astype(np.int64)


def moving_sum(values: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    """Return the sums of the last `length` rows; rows with fewer before them sum what there is."""
    total = np.cumsum(values, axis=0)
    earlier = np.zeros_like(total)
    earlier[length:] = total[:-length]
    return np.asarray(total - earlier)


def crossover_targets(close: FloatArray, fast: int, slow: int) -> BoolArray:
    """Return for every bar whether the rule wants to be long after its close.

    Works along the first axis. False until `slow` closes are known.
    """
    wanted = moving_sum(close, fast) / fast > moving_sum(close, slow) / slow
    wanted[: slow - 1] = False
    return np.asarray(wanted, dtype=np.bool_)


def crossover_ties(close: FloatArray, fast: int, slow: int) -> IntArray:
    """Return the bars at which the two averages are exactly equal."""
    ticks = in_ticks(close)
    tied = moving_sum(ticks, fast) * slow == moving_sum(ticks, slow) * fast
    tied[: slow - 1] = False
    return np.flatnonzero(tied)


def every_bar_targets(bars: int, first_bar: int = 0) -> BoolArray:
    """Return the targets of W4: long after `first_bar`, flat after the next, and so on."""
    index = np.arange(bars)
    return np.asarray((index >= first_bar) & ((index - first_bar) % 2 == 0), dtype=np.bool_)


def follow(wanted: BoolArray, bars: Bars, rule: Rule) -> Outcome:
    """Return the outcome of holding one unit whenever `wanted` says so.

    A decision on the last bar is filled only at that bar's close: there is no next open.
    """
    holding = np.concatenate([np.zeros(1, dtype=np.int64), wanted.astype(np.int64)])
    changes = holding[1:] - holding[:-1]
    at = np.flatnonzero(changes)
    if rule.fill_at == "next_open":
        at = at[at < len(wanted) - 1]
    side = changes[at]
    price = fill_prices(bars, rule)[at] + side * rule.half_spread
    position = int(side.sum())
    paid = float((side * price).sum() + COMMISSION * price.sum())
    profit = position * float(bars["close"][-1]) - paid
    return Outcome(profit=profit, fills=len(at), position=position)


def fill_prices(bars: Bars, rule: Rule) -> FloatArray:
    """Return for every bar the price at which a decision after its close is filled."""
    if rule.fill_at == "same_close":
        return bars["close"]
    return np.append(bars["open"][1:], bars["close"][-1])


def with_ties(outcome: Outcome, ties: IntArray, bars: Bars, rule: Rule) -> Outcome:
    """Return `outcome` with the most that deciding each tie either way can change.

    One tie decides the holding over one bar: its move, and at most two fills more or fewer.
    """
    price = fill_prices(bars, rule)
    after = np.append(price[1:], price[-1])
    moves: FloatArray = np.abs(after - price)[ties]
    dearest = np.maximum(after, price)[ties] + rule.half_spread
    costs: FloatArray = 2.0 * COMMISSION * dearest + 2.0 * rule.half_spread
    return replace(outcome, tie_fills=2 * len(ties), tie_profit=float((moves + costs).sum()))


@cache
def reference_single(
    work: str, size: int, pair: tuple[int, int] = (FAST, SLOW), rule: Rule = USUAL
) -> Outcome:
    """Return the right outcome of W1 or W4 over `size` bars, or of one `pair` of W3."""
    bars = minute_bars(W3_BARS if work == "w3" else size)
    if work == "w4":
        return follow(every_bar_targets(size, rule.late_bars), bars, rule)
    wanted = crossover_targets(bars["close"], *pair)
    wanted[: pair[1] - 1 + rule.late_bars] = False
    ties = crossover_ties(bars["close"], *pair)
    return with_ties(follow(wanted, bars, rule), ties, bars, rule)


@cache
def reference_portfolio(symbols: int, rule: Rule = USUAL) -> Outcome:
    """Return the right outcome of W2 with the first `symbols` symbols."""
    data = daily_bars(symbols)
    open_, close = data["open"], data["close"]
    wanted = crossover_targets(close, FAST, SLOW)
    units: dict[int, float] = {}
    cash, fills = CASH, 0
    for day in range(len(close)):
        last = day == len(close) - 1
        for symbol, quantity in decide_day(wanted[day], close[day], units):
            if rule.fill_at == "next_open" and last:
                # Decided but never filled: the mark below must not see it.
                restore(units, symbol, quantity)
                continue
            at_close = rule.fill_at == "same_close"
            price = close[day, symbol] if at_close else open_[day + 1, symbol]
            cash -= quantity * price + abs(quantity) * price * COMMISSION
            fills += 1
    held = sum(quantity * close[-1, symbol] for symbol, quantity in units.items())
    return Outcome(profit=float(cash + held - CASH), fills=fills, position=len(units))


def decide_day(
    wanted: BoolArray, close: FloatArray, units: dict[int, float]
) -> list[tuple[int, float]]:
    """Return the day's orders ``(symbol, signed units)`` and keep `units` as decided."""
    orders = []
    for symbol in sorted({*np.flatnonzero(wanted).tolist(), *units}):
        if wanted[symbol] and symbol not in units and len(units) < W2_MAX_POSITIONS:
            units[symbol] = float(np.floor(W2_TICKET / close[symbol]))
            orders.append((symbol, units[symbol]))
        elif not wanted[symbol] and symbol in units:
            orders.append((symbol, -units.pop(symbol)))
    return orders


def restore(units: dict[int, float], symbol: int, quantity: float) -> None:
    """Undo a decision that no bar is left to fill."""
    if quantity > 0:
        del units[symbol]
    else:
        units[symbol] = -quantity
