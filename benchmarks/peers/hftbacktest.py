"""Run the works with hftbacktest: a compiled engine of order books and latencies.

It has no bars. So each bar becomes four depth events at its start: the old quotes go, and a bid
one tick under and an offer one tick over the open come. The strategy reads the close from an
array and sends a marketable limit order when the next bar's quotes are in; it pays the tick, and
the reference counts it. More is simulated here than in a bar engine: orders and answers travel
for a millisecond.
"""
# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

from typing import Any

import hftbacktest
import numpy as np
from hftbacktest import GTC, LIMIT, BacktestAsset, HashMapMarketDepthBacktest
from hftbacktest.types import (
    BUY_EVENT,
    DEPTH_EVENT,
    EXCH_EVENT,
    LOCAL_EVENT,
    SELL_EVENT,
    event_dtype,
)
from numba import njit

from benchmarks import worker, works

RULE = works.Rule(half_spread=works.TICK)
LATENCY_NS = 1_000_000
WARM_UP_BARS = 100
BEFORE_CLOSE_NS = 59_990_000_000
ACROSS_CLOSE_NS = 10_000_000
AFTER_OPEN_NS = 2_000_000
LAST_ANSWER_NS = 500_000_000


def depth_events(bars: int) -> Any:
    """Return the bars as depth events, four a bar, ready for the engine.

    One quiet bar follows the last, so that an order sent at the last open is still answered.
    """
    open_ = works.minute_bars(bars)["open"]
    before = np.concatenate([open_[:1], open_])
    open_ = np.append(open_, open_[-1])
    opened_ns = works.minute_times(bars + 1)
    quotes = (
        (BUY_EVENT, before - works.TICK, 0.0),
        (SELL_EVENT, before + works.TICK, 0.0),
        (BUY_EVENT, open_ - works.TICK, 1e6),
        (SELL_EVENT, open_ + works.TICK, 1e6),
    )
    events = np.zeros(len(quotes) * len(open_), event_dtype)
    for offset, (side, price, quantity) in enumerate(quotes):
        part = events[offset :: len(quotes)]
        part["ev"] = DEPTH_EVENT | EXCH_EVENT | LOCAL_EVENT | side
        part["exch_ts"] = opened_ns
        part["local_ts"] = opened_ns + LATENCY_NS
        part["px"] = np.round(price, 4)
        part["qty"] = quantity
    return events


def engine(events: Any) -> Any:
    """Return a fresh engine over the events."""
    asset = (
        BacktestAsset()
        .data(events)
        .linear_asset(1.0)
        .constant_order_latency(LATENCY_NS, LATENCY_NS)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(works.COMMISSION, works.COMMISSION)
        .tick_size(works.TICK)
        .lot_size(1.0)
    )
    return HashMapMarketDepthBacktest([asset])


@njit
def trade_nb(market: Any, close: Any, fast: int, slow: int, every_bar: bool) -> int:
    """Follow the crossover, or trade on every bar, and return the number of orders sent."""
    fast_sum = slow_sum = 0.0
    position = orders = 0
    market.elapse(AFTER_OPEN_NS)
    for bar in range(len(close) - 1):
        if market.elapse(BEFORE_CLOSE_NS) != 0:
            break
        fast_sum += close[bar]
        slow_sum += close[bar]
        if bar >= fast:
            fast_sum -= close[bar - fast]
        if bar >= slow:
            slow_sum -= close[bar - slow]
        wanted = position
        if every_bar:
            wanted = 1 - position
        elif bar >= slow - 1:
            wanted = 1 if fast_sum / fast > slow_sum / slow else 0
        if market.elapse(ACROSS_CLOSE_NS) != 0:
            break
        if wanted != position:
            depth = market.depth(0)
            orders += 1
            if wanted == 1:
                market.submit_buy_order(0, orders, depth.best_ask, 1.0, GTC, LIMIT, False)
            else:
                market.submit_sell_order(0, orders, depth.best_bid, 1.0, GTC, LIMIT, False)
            position = wanted
            market.clear_inactive_orders(0)
    market.elapse(LAST_ANSWER_NS)
    return orders


def outcome(market: Any, close: works.FloatArray) -> works.Outcome:
    """Read profit, fills and position from a finished engine."""
    state = market.state_values(0)
    position = float(state.position)
    profit = float(state.balance) - float(state.fee) + position * float(close[-1])
    return works.Outcome(profit=profit, fills=int(state.num_trades), position=position)


def compiling(events: Any, close: works.FloatArray) -> worker.Elapsed:
    """Return how long the strategy takes to compile, by running it over a few bars."""
    small = engine(events[: 4 * WARM_UP_BARS].copy())
    few = close[:WARM_UP_BARS]
    _, elapsed = worker.timed(lambda: trade_nb(small, few, works.FAST, works.SLOW, False))
    small.close()
    return elapsed


def single(size: int, *, every_bar: bool) -> worker.Measurement:
    """Run W1 or W4 once over `size` bars."""
    close = works.minute_bars(size)["close"]
    events, prepare = worker.timed(lambda: depth_events(size))
    first = compiling(events, close)
    market = engine(events)
    _, run = worker.timed(lambda: trade_nb(market, close, works.FAST, works.SLOW, every_bar))
    return worker.Measurement(
        worker.Timing(first, run),
        {"": outcome(market, close)},
        prepare=prepare,
        note="depth events, latency",
        rule=RULE,
    )


def w1(size: int) -> worker.Measurement:
    """Run the crossover on one symbol."""
    return single(size, every_bar=False)


def w4(size: int) -> worker.Measurement:
    """Trade on every bar."""
    return single(size, every_bar=True)


def w3(size: int) -> worker.Measurement:
    """Evaluate pairs of averages, a fresh engine for each."""
    close = works.minute_bars(works.W3_BARS)["close"]
    events, prepare = worker.timed(lambda: depth_events(works.W3_BARS))
    first = compiling(events, close)

    def evaluate(fast: int, slow: int) -> works.Outcome:
        market = engine(events)
        trade_nb(market, close, fast, slow, False)
        result = outcome(market, close)
        market.close()
        return result

    def run() -> dict[str, works.Outcome]:
        return {f"{fast}/{slow}": evaluate(fast, slow) for fast, slow in works.W3_PAIRS[:size]}

    outcomes, elapsed = worker.timed(run)
    return worker.Measurement(
        worker.Timing(first, elapsed),
        outcomes,
        prepare=prepare,
        note="depth events, latency",
        rule=RULE,
    )


WORKS = {"w1": w1, "w3": w3, "w4": w4}

if __name__ == "__main__":
    worker.main("hftbacktest", hftbacktest.__version__, WORKS)
