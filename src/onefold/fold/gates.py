"""The gate chain: every reason not to trade, in one fixed order.

A gate measures one value and holds it against one threshold. All gates are evaluated for every
decision, so the trace shows what else would have said no; the first that blocks is *the* reason.
A threshold that is infinite is not set. A value that is not a number fails every limit that is set:
uncertain means closed. Exits are held back by the kill switch and the duplicate check only, because
a gate must never trap a position.

A new gate is one function, one line in `evaluate_nb` and one row of `GATES`, in the same place.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Literal, NamedTuple

import numpy as np

from onefold._compile import kernel_part
from onefold.domain.words import Mode, OrderKind, Purpose
from onefold.fold.memory import Rows
from onefold.fold.state import (
    account_of,
    currency_of,
    instrument_of,
    intent_of,
    sleeve_of,
    strategy_of,
)


class Gate(IntEnum):
    """The gates, by their bit."""

    KILL_SWITCH = 0
    MODE = 1
    RECONCILED = 2
    REDUCE_ONLY = 3
    FRESHNESS = 4
    WARM_UP = 5
    SESSION = 6
    SUPPRESSION = 7
    CONFIDENCE = 8
    TREND = 9
    EDGE = 10
    OWN = 11
    REARM = 12
    COOL_DOWN = 13
    LOSS_STREAK = 14
    REPEATED_EXECUTION = 15
    DUPLICATE = 16
    SIZE = 17
    ORDERS_PER_DAY = 18
    OPEN_POSITIONS = 19
    OPEN_ORDERS = 20
    DAILY_LOSS = 21
    DRAWDOWN = 22
    RISK_BUDGET = 23
    POSITION = 24
    GROSS_EXPOSURE = 25
    NET_EXPOSURE = 26
    PRICE_COLLAR = 27
    ORDER_SIZE = 28
    ORDER_VALUE = 29
    MESSAGE_RATE = 30
    SHORT_SELLING = 31
    CASH = 32
    INITIAL_MARGIN = 33
    MAINTENANCE_MARGIN = 34


class GateInfo(NamedTuple):
    """What a gate is called, what it measures, and how that is held against what."""

    name: str
    measures: str
    compares: Literal["at most", "at least", "below"]
    against: str

    def passes(self, value: float | None, threshold: float | None) -> bool:
        """Return whether a recorded value passes; a threshold of None is not set."""
        if threshold is None:
            return True
        if value is None:  # not a number, or infinite, which only an `at least` lets through
            return self.compares == "at least"
        if self.compares == "at most":
            return value <= threshold
        return value >= threshold if self.compares == "at least" else value < threshold


GATES: tuple[GateInfo, ...] = (
    GateInfo("kill_switch", "kill switches that are on in this scope", "at most", "0"),
    GateInfo("mode", "1 when the run may trade", "at least", "1"),
    GateInfo("reconciled", "1 when positions agree with the venue", "at least", "1"),
    GateInfo("reduce_only", "1 when only reductions are allowed", "at most", "0"),
    GateInfo("freshness", "age of the last bar in bar intervals", "at most", "freshness_bars"),
    GateInfo("warm_up", "features that are not ready", "at most", "0"),
    GateInfo(
        "session", "seconds until the session closes", "at least", "1, or more than session_close_s"
    ),
    GateInfo("suppression", "suppressions in this scope", "at most", "0"),
    GateInfo("confidence", "the signal's confidence", "at least", "conf_min"),
    GateInfo("trend", "the signal's trend strength", "at most", "trend_max"),
    GateInfo("edge", "expected edge / cost of a round trip", "at least", "edge_ratio_min"),
    GateInfo("own", "user gates that say no", "at most", "0"),
    GateInfo("rearm", "1 while the signal has not changed since the last exit", "at most", "0"),
    GateInfo("cool_down", "seconds since the last exit", "at least", "cool_down_s"),
    GateInfo("loss_streak", "losing trades in a row", "below", "loss_streak_max"),
    GateInfo("repeated_execution", "1 when too many fills disabled the strategy", "at most", "0"),
    GateInfo(
        "duplicate", "orders of this sleeve that work to the same end or leave it", "at most", "0"
    ),
    GateInfo("size", "lots that the sizing rule gives", "at least", "1"),
    GateInfo(
        "orders_per_day",
        "the strategy's entry orders today, with this one",
        "at most",
        "orders_per_day",
    ),
    GateInfo(
        "open_positions",
        "positions held or entering, with this one",
        "at most",
        "max_open_positions",
    ),
    GateInfo("open_orders", "working orders, with this one", "at most", "max_open_orders"),
    GateInfo("daily_loss", "loss since the day's start / equity then", "below", "daily_loss"),
    GateInfo("drawdown", "loss from the highest equity / that equity", "below", "drawdown"),
    GateInfo("risk_budget", "value in use by the strategy / equity", "at most", "risk_budget"),
    GateInfo("position", "lots in this instrument at the worst case", "at most", "max_position"),
    GateInfo(
        "gross_exposure", "gross value / equity at the worst case", "at most", "gross_exposure"
    ),
    GateInfo("net_exposure", "net value / equity at the worst case", "at most", "net_exposure"),
    GateInfo(
        "price_collar", "distance of the price from the last / the last", "at most", "price_collar"
    ),
    GateInfo("order_size", "lots of the order", "at most", "max_order_lots"),
    GateInfo("order_value", "value of the order", "at most", "max_order_value"),
    GateInfo("message_rate", "messages in the window, with this one", "at most", "messages_max"),
    GateInfo("short_selling", "lots short in an instrument without short selling", "at most", "0"),
    GateInfo("cash", "cost of the order", "at most", "the free cash"),
    GateInfo(
        "initial_margin", "margin of positions and entries, with this one", "at most", "equity"
    ),
    GateInfo("maintenance_margin", "maintenance margin with this one", "at most", "equity"),
)
"""All gates in the order of the bits."""

GATE_NAMES: tuple[str, ...] = tuple(gate.name for gate in GATES)

NS_PER_S = 1_000_000_000
S_PER_NS = 1e-9

_KILL_BIT = 1 << Gate.KILL_SWITCH
_EXIT_BITS = _KILL_BIT | (1 << Gate.DUPLICATE)
_ENTRY = int(Purpose.ENTRY)
_COMMAND = int(Purpose.COMMAND)
_MARKET = int(OrderKind.MARKET)
_BACKTEST, _LIVE = int(Mode.BACKTEST), int(Mode.LIVE)
_INF = np.inf


@kernel_part
def at_most_nb(trace: Rows, gate: int, value: float, threshold: float) -> int:
    """Record a measurement; return the gate's bit when the value exceeds the threshold."""
    trace.value[gate] = value
    trace.threshold[gate] = threshold
    # Without a branch: the processor cannot foresee which gate will block.
    return int((not value <= threshold) & (threshold != _INF)) << gate


@kernel_part
def at_least_nb(trace: Rows, gate: int, value: float, threshold: float) -> int:
    """Record a measurement; return the gate's bit when the value is below the threshold."""
    trace.value[gate] = value
    trace.threshold[gate] = threshold
    return int((not value >= threshold) & (threshold != -_INF)) << gate


@kernel_part
def below_nb(trace: Rows, gate: int, value: float, threshold: float) -> int:
    """Record a measurement; return the gate's bit when the value is not below the threshold."""
    trace.value[gate] = value
    trace.threshold[gate] = threshold
    return int((not value < threshold) & (threshold != _INF)) << gate


@kernel_part
def ratio_nb(part: float, whole: float) -> float:
    """Return part / whole, infinite when there is nothing to hold the part against."""
    if whole > 0.0:
        return part / whole
    return _INF


@kernel_part
def _permission_nb(state: Rows, trace: Rows) -> int:
    """Gates on the right to trade at all: kill switch, mode, reconciliation, suppression."""
    account, intent = account_of(state), intent_of(state)
    strategy = strategy_of(state, intent.strategy)
    instrument = instrument_of(state, intent.instrument)
    sleeve = sleeve_of(state, intent.strategy, intent.instrument)
    kills = account.killed + strategy.killed + instrument.killed + sleeve.killed
    trades = 1.0 if _BACKTEST <= account.mode <= _LIVE else 0.0
    suppressions = strategy.suppressed + instrument.suppressed + sleeve.suppressed
    return (
        at_most_nb(trace, Gate.KILL_SWITCH, float(kills), 0.0)
        | at_least_nb(trace, Gate.MODE, trades, 1.0)
        | at_least_nb(trace, Gate.RECONCILED, float(account.reconciled), 1.0)
        | at_most_nb(trace, Gate.REDUCE_ONLY, float(account.reduce_only), 0.0)
        | at_most_nb(trace, Gate.SUPPRESSION, float(suppressions), 0.0)
    )


@kernel_part
def _data_nb(state: Rows, trace: Rows) -> int:
    """Gates on what the decision is based on: freshness, warm-up, session hours."""
    account, intent = account_of(state), intent_of(state)
    instrument = instrument_of(state, intent.instrument)
    age = 0.0  # the decision follows its bar at once, but for delays: spare the division
    if instrument.ts <= 0:
        age = np.nan
    elif intent.ts != instrument.ts:
        age = (intent.ts - instrument.ts) / instrument.interval_ns
    bits = at_most_nb(trace, Gate.FRESHNESS, age, account.freshness_bars)
    bits |= at_most_nb(trace, Gate.WARM_UP, intent.unready, 0.0)
    to_close = instrument.to_close_s
    needed = strategy_of(state, intent.strategy).session_close_s + 1.0
    if account.session_hours and needed < 1.0:
        needed = 1.0
    measured = float(to_close) if to_close >= 0 else _INF
    return bits | at_least_nb(trace, Gate.SESSION, measured, needed)


@kernel_part
def _edge_ratio_nb(instrument: Rows, intent: Rows) -> float:
    """Return the expected edge as a multiple of what a round trip costs."""
    points = instrument.commission / instrument.point + instrument.slippage_points
    share = points / max(abs(intent.price), 1e-300)
    cost = 2.0 * (share + instrument.commission_rate + instrument.slippage_rate)
    if cost > 0.0:
        return intent.edge / cost
    return _INF if intent.edge > 0.0 else 0.0


@kernel_part
def _opinion_nb(state: Rows, trace: Rows) -> int:
    """Gates on the signal itself: confidence, trend filter, edge against cost, the user's own."""
    intent = intent_of(state)
    strategy = strategy_of(state, intent.strategy)
    sleeve = sleeve_of(state, intent.strategy, intent.instrument)
    edge = intent.edge
    if not math.isnan(edge):
        edge = _edge_ratio_nb(instrument_of(state, intent.instrument), intent)
    return (
        at_least_nb(trace, Gate.CONFIDENCE, intent.confidence, sleeve.conf_min)
        | at_most_nb(trace, Gate.TREND, intent.trend, strategy.trend_max)
        | at_least_nb(trace, Gate.EDGE, edge, strategy.edge_ratio_min)
        | at_most_nb(trace, Gate.OWN, intent.refusals, 0.0)
    )


@kernel_part
def _history_nb(state: Rows, trace: Rows) -> int:
    """Gates on what happened before: renewed signal, cool-down, losses, repeats, duplicates."""
    intent = intent_of(state)
    strategy = strategy_of(state, intent.strategy)
    sleeve = sleeve_of(state, intent.strategy, intent.instrument)
    waits = 1.0 if sleeve.rearm_side == intent.side else 0.0
    since = (intent.ts - sleeve.last_exit_ts) * S_PER_NS if sleeve.last_exit_ts > 0 else _INF
    cool_down = strategy.cool_down_ns * S_PER_NS if strategy.cool_down_ns > 0 else -_INF
    working = sleeve.exiting
    if intent.purpose == _ENTRY:
        # What is still being left must be gone first, or a slow exit lets the position grow.
        working = sleeve.entering + (sleeve.exiting if sleeve.qty * intent.side > 0 else 0)
    return (
        at_most_nb(trace, Gate.REARM, waits, 0.0)
        | at_least_nb(trace, Gate.COOL_DOWN, since, cool_down)
        | below_nb(trace, Gate.LOSS_STREAK, float(strategy.loss_streak), strategy.loss_streak_max)
        | at_most_nb(trace, Gate.REPEATED_EXECUTION, float(strategy.disabled), 0.0)
        | at_most_nb(trace, Gate.DUPLICATE, float(working), 0.0)
    )


@kernel_part
def _count_nb(state: Rows, trace: Rows) -> int:
    """Gates on numbers of things: size, orders a day, positions, orders, messages."""
    account, intent = account_of(state), intent_of(state)
    strategy = strategy_of(state, intent.strategy)
    sleeve = sleeve_of(state, intent.strategy, intent.instrument)
    today = strategy.orders_today + 1 if strategy.day == account.day else 1
    positions = account.open_positions + (0 if sleeve.counted else 1)
    return (
        at_least_nb(trace, Gate.SIZE, float(intent.qty), 1.0)
        | at_most_nb(trace, Gate.ORDERS_PER_DAY, float(today), strategy.orders_per_day)
        | at_most_nb(trace, Gate.OPEN_POSITIONS, float(positions), account.max_open_positions)
        | at_most_nb(
            trace, Gate.OPEN_ORDERS, float(account.open_orders + 1), account.max_open_orders
        )
        | at_most_nb(trace, Gate.MESSAGE_RATE, _messages_nb(account, intent), account.messages_max)
    )


@kernel_part
def _messages_nb(account: Rows, intent: Rows) -> float:
    """Return the messages in the present window, with one more."""
    if intent.ts - account.window_start >= account.messages_window_ns:
        return 1.0
    return float(account.window_messages + 1)


@kernel_part
def _loss_nb(state: Rows, trace: Rows) -> int:
    """Gates on money lost: daily loss and drawdown, both latched once they are hit."""
    account = account_of(state)
    day = ratio_nb(account.day_equity - account.equity, account.day_equity)
    drawdown = ratio_nb(account.peak_equity - account.equity, account.peak_equity)
    bits = below_nb(trace, Gate.DAILY_LOSS, day, account.daily_loss)
    bits |= below_nb(trace, Gate.DRAWDOWN, drawdown, account.drawdown)
    if account.daily_stopped:
        bits |= 1 << Gate.DAILY_LOSS
    if account.drawdown_stopped:
        bits |= 1 << Gate.DRAWDOWN
    return bits


@kernel_part
def _exposure_nb(state: Rows, trace: Rows) -> int:
    """Gates on how much would be held if every working order were filled."""
    account, intent = account_of(state), intent_of(state)
    strategy = strategy_of(state, intent.strategy)
    sleeve = sleeve_of(state, intent.strategy, intent.instrument)
    equity = account.equity
    used = ratio_nb(strategy.used + strategy.entering + intent.value, equity)
    if intent.side > 0:
        lots = sleeve.qty + sleeve.working_buys + intent.qty
        net = account.net + account.entering_buys + account.leaving_buys + intent.value
    else:
        lots = -(sleeve.qty - sleeve.working_sells - intent.qty)
        net = account.entering_sells + account.leaving_sells + intent.value - account.net
    gross = account.gross + account.entering_buys + account.entering_sells + intent.value
    return (
        at_most_nb(trace, Gate.RISK_BUDGET, used, strategy.risk_budget)
        | at_most_nb(trace, Gate.POSITION, float(lots), strategy.max_position)
        | at_most_nb(trace, Gate.GROSS_EXPOSURE, ratio_nb(gross, equity), account.gross_exposure)
        | at_most_nb(trace, Gate.NET_EXPOSURE, ratio_nb(net, equity), account.net_exposure)
    )


@kernel_part
def _order_nb(state: Rows, trace: Rows) -> int:
    """Gates on the order itself: price collar, size, value, short selling."""
    account, intent = account_of(state), intent_of(state)
    instrument = instrument_of(state, intent.instrument)
    mark = instrument.mark
    distance = 0.0
    if intent.price != mark:
        distance = abs(intent.price - mark) / abs(mark) if mark != 0.0 else _INF
    short = 0.0
    if intent.side < 0 and not instrument.short:
        # By sleeve: what another strategy holds today it may have sold tomorrow.
        sleeve = sleeve_of(state, intent.strategy, intent.instrument)
        short = max(0.0, -float(sleeve.qty - sleeve.working_sells - intent.qty))
    return (
        at_most_nb(trace, Gate.PRICE_COLLAR, distance, account.price_collar)
        | at_most_nb(trace, Gate.ORDER_SIZE, float(intent.qty), account.max_order_lots)
        | at_most_nb(trace, Gate.ORDER_VALUE, intent.value, account.max_order_value)
        | at_most_nb(trace, Gate.SHORT_SELLING, short, 0.0)
    )


@kernel_part
def _funds_nb(state: Rows, trace: Rows) -> int:
    """Gates on money: free cash for what is paid in full, margin for everything."""
    account, intent = account_of(state), intent_of(state)
    instrument = instrument_of(state, intent.instrument)
    if instrument.margined or instrument.margin_initial < 1.0 or intent.side < 0:
        cost, free = 0.0, _INF
    else:
        fee = instrument.commission_rate + instrument.slippage_rate
        rate = currency_of(state, instrument.currency).rate
        cost = intent.value * (1.0 + fee) + intent.qty * rate * (
            instrument.commission + instrument.slippage_points * instrument.point
        )
        free = cash_nb(state) - account.entering_cash
    initial = account.initial_margin + account.entering_margin
    initial += intent.value * instrument.margin_initial
    maintenance = account.maintenance_margin + intent.value * instrument.margin_maintenance
    return (
        at_most_nb(trace, Gate.CASH, cost, free)
        | at_most_nb(trace, Gate.INITIAL_MARGIN, initial, account.equity)
        | at_most_nb(trace, Gate.MAINTENANCE_MARGIN, maintenance, account.equity)
    )


@kernel_part
def cash_nb(state: Rows) -> float:
    """Return all cash in the base currency."""
    total = 0.0
    for c in range(state.currencies_rows):
        if currency_of(state, c).cash != 0.0:  # a rate may be unknown until it is needed
            total += currency_of(state, c).cash * currency_of(state, c).rate
    return total


@kernel_part
def evaluate_nb(state: Rows, trace: Rows) -> int:
    """Measure every gate for `state.intent` and return the bits of those that block it."""
    bits = _permission_nb(state, trace)
    bits |= _data_nb(state, trace)
    bits |= _opinion_nb(state, trace)
    bits |= _history_nb(state, trace)
    bits |= _count_nb(state, trace)
    bits |= _loss_nb(state, trace)
    bits |= _exposure_nb(state, trace)
    bits |= _order_nb(state, trace)
    bits |= _funds_nb(state, trace)
    purpose = intent_of(state).purpose
    if purpose == _ENTRY:
        return bits
    if purpose == _COMMAND or intent_of(state).kind != _MARKET:
        # An operator may leave what he has stopped, and what protects a position may be renewed.
        return bits & (_EXIT_BITS ^ _KILL_BIT)
    return bits & _EXIT_BITS


@kernel_part
def first_nb(bits: int) -> int:
    """Return the position of the lowest set bit, or -1."""
    if bits == 0:
        return -1
    position = 0
    while not bits & 1:
        bits >>= 1
        position += 1
    return position
