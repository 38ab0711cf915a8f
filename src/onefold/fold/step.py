"""The one decision function: what each kind of event does to the state, and `step_nb` over all.

Backtest, simulation, shadow, paper and live all come through here; there is no other place where
anything is decided. The compiled backtest loop calls the same handlers that `step_nb` dispatches
to. Every handler takes the state and the output buffers and returns nothing: the buffers are the
answer.
"""

from __future__ import annotations

import math

from onefold._compile import kernel, kernel_part
from onefold.domain.words import (
    ActionKind,
    EventKind,
    OrderKind,
    Purpose,
    Side,
)
from onefold.fold.actions import action_nb, rate_nb
from onefold.fold.books import (
    add_up_nb,
    mark_nb,
)
from onefold.fold.control import command_nb, flatten_nb, mandate_nb, withdraw_nb
from onefold.fold.decide import decide_nb, intend_nb
from onefold.fold.exits import (
    bar_exits_nb,
    count_position_nb,
    exit_nb,
    sign_nb,
)
from onefold.fold.fills import adopt_nb, fill_nb, notice_nb
from onefold.fold.memory import Rows
from onefold.fold.orders import (
    cancel_working_nb,
    place_nb,
    to_tick_nb,
)
from onefold.fold.sizing import lots_nb
from onefold.fold.state import (
    account_of,
    instrument_of,
    intent_of,
    sleeve_of,
    strategy_of,
)

_HOLD = int(Side.HOLD)
_ENTRY = int(Purpose.ENTRY)
_SIGNAL = int(Purpose.SIGNAL)
_RISK = int(Purpose.RISK)
_MARKET = int(OrderKind.MARKET)
DAY_NS = 86_400_000_000_000


@kernel_part
def advance_nb(state: Rows, ts: int) -> None:
    """Move time forward, never back; a new UTC day starts its counters.

    A bar that closes at midnight belongs to the day that ends.
    """
    account = account_of(state)
    account.ts = max(account.ts, ts)
    if ts > account.day_end_ts:
        account.day = (ts - 1) // DAY_NS
        account.day_end_ts = (account.day + 1) * DAY_NS
        add_up_nb(state)
        account.day_equity = account.equity
        account.daily_stopped = 0


@kernel_part
def pass_nb(state: Rows, ts: int) -> None:
    """Move time forward for what carries the wall clock: only bars and trades begin a new day.

    A clock that is wrong for a moment must not lift today's stop.
    """
    account = account_of(state)
    account.ts = max(account.ts, ts)


@kernel_part
def bar_nb(
    state: Rows, out: Rows, i: int, ts: int, high: float, low: float, close: float, to_close_s: int
) -> None:
    """Fold a closed bar: mark positions, roll the day, watch the loss limits, check exits."""
    advance_nb(state, ts)
    instrument = instrument_of(state, i)
    instrument.ts = ts
    instrument.to_close_s = to_close_s
    if instrument.rates_currency >= 0:
        rate_nb(
            state, instrument.rates_currency, 1.0 / close if instrument.rates_inverse else close
        )
    if instrument.open_sleeves == 0:
        instrument.mark = close  # the short path: most bars of most instruments end here
        if account_of(state).watched != account_of(state).fills:
            watch_nb(state, out, ts)
        return
    mark_nb(state, i, close)
    watch_nb(state, out, ts)
    bar_exits_nb(state, out, i, ts, high, low)


@kernel_part
def watch_nb(state: Rows, out: Rows, ts: int) -> None:
    """Track the highest equity and latch the daily and the drawdown stop."""
    account = account_of(state)
    account.watched = account.fills
    equity = account.equity
    account.peak_equity = max(account.peak_equity, equity)
    daily = (
        account.daily_loss < math.inf
        and equity <= account.day_equity * (1.0 - account.daily_loss)
        and not account.daily_stopped
    )
    drawdown = (
        equity <= account.peak_equity * (1.0 - account.drawdown) and not account.drawdown_stopped
    )
    if not (daily or drawdown):
        return
    account.daily_stopped |= daily
    account.drawdown_stopped |= drawdown
    withdraw_nb(state, out, -1, -1, ts)
    if account.flatten_on_stop:
        flatten_nb(state, out, -1, -1, ts, _RISK)


@kernel_part
def signal_nb(
    state: Rows,
    out: Rows,
    s: int,
    i: int,
    ts: int,
    side: int,
    confidence: float,
    score: float,
    edge: float,
    volatility: float,
    trend: float,
    barrier: float,
    price: float,
    unready: int,
    refusals: int,
) -> None:
    """Fold a strategy's opinion: leave what it no longer wants, enter what it wants."""
    if wants_change_nb(state, s, i, side):
        change_nb(
            state, out, s, i, ts, side, confidence, score, edge, volatility, trend, barrier, price,
            unready, refusals,
        )  # fmt: skip


@kernel_part
def wants_change_nb(state: Rows, s: int, i: int, side: int) -> bool:
    """Return whether a signal wants something else than is held or on its way.

    A signal that has turned away from the side of the last exit may enter that side again.
    """
    sleeve = sleeve_of(state, s, i)
    if sleeve.rearm_side != 0 and side != sleeve.rearm_side:
        sleeve.rearm_side = 0
    return side != _HOLD and side != sleeve.target


@kernel_part
def change_nb(
    state: Rows,
    out: Rows,
    s: int,
    i: int,
    ts: int,
    side: int,
    confidence: float,
    score: float,
    edge: float,
    volatility: float,
    trend: float,
    barrier: float,
    price: float,
    unready: int,
    refusals: int,
) -> None:
    """Leave what the signal does not want any more, then enter what it wants."""
    sleeve = sleeve_of(state, s, i)
    if sleeve.qty != 0 and sign_nb(sleeve.qty) != side:
        if not sleeve.exiting and not exit_nb(state, out, s, i, ts, _SIGNAL):
            sleeve.target = 0  # not wanted any more: every bar tries again
            return
    elif sleeve.entering > 0:
        cancel_working_nb(state, out, s, i, ts, True)
    sleeve.target = 0
    if side == 0:
        return
    if sleeve.qty != 0 and sign_nb(sleeve.qty) == side and not sleeve.exiting:
        sleeve.target = side
        return
    qty = lots_nb(state, s, i, confidence, volatility, barrier)
    kind = strategy_of(state, s).order_kind
    at = instrument_of(state, i).mark
    if kind != _MARKET:
        at = to_tick_nb(price, instrument_of(state, i).tick)
        qty = 0 if math.isnan(at) else qty
    intend_nb(state, s, i, ts, side, qty, at, _ENTRY, kind)
    _opine_nb(state, s, confidence, score, edge, trend, barrier, unready, refusals)
    enter_nb(state, out, barrier)


@kernel_part
def _opine_nb(
    state: Rows,
    s: int,
    confidence: float,
    score: float,
    edge: float,
    trend: float,
    barrier: float,
    unready: int,
    refusals: int,
) -> None:
    """Add a signal's opinion to the intent; exits in unknown units count as not ready."""
    intent, strategy = intent_of(state), strategy_of(state, s)
    intent.confidence, intent.score = confidence, score
    intent.edge, intent.trend = edge, trend
    intent.unready, intent.refusals = float(unready), float(refusals)
    limits = min(strategy.stop, strategy.take, strategy.trail)
    if strategy.barrier_unit and limits < math.inf and not barrier > 0.0:
        intent.unready += 1.0


@kernel_part
def enter_nb(state: Rows, out: Rows, barrier: float) -> None:
    """Decide on the intended entry, and order it when no gate blocks."""
    account, intent = account_of(state), intent_of(state)
    sleeve, strategy = (
        sleeve_of(state, intent.strategy, intent.instrument),
        strategy_of(state, intent.strategy),
    )
    if not decide_nb(state, out):
        return
    expire_ts = intent.ts + strategy.valid_for_ns if strategy.valid_for_ns > 0 else 0
    price = math.nan if intent.kind == _MARKET else intent.price
    place_nb(state, out, intent.kind, price, strategy.time_in_force, expire_ts)
    if strategy.day != account.day:
        strategy.day, strategy.orders_today = account.day, 0
    strategy.orders_today += 1
    sleeve.target, sleeve.unit, sleeve.score = intent.side, barrier, intent.score
    count_position_nb(state, sleeve)


@kernel_part
def step_nb(state: Rows, out: Rows, e: Rows) -> None:
    """Fold one event, a row of `layouts.EVENT`."""
    if e.kind == EventKind.BAR:
        bar_nb(state, out, e.instrument, e.ts, e.high, e.low, e.close, e.to_close_s)
    elif e.kind == EventKind.SIGNAL:
        signal_nb(
            state, out, e.strategy, e.instrument, e.ts, e.side, e.confidence, e.score, e.edge,
            e.volatility, e.trend, e.barrier, e.price, e.unready, e.refusals,
        )  # fmt: skip
    elif e.kind == EventKind.FILL:
        fill_nb(
            state, out, e.id, e.order, e.strategy, e.instrument, e.ts, e.side, e.qty, e.price,
            e.fee,
        )  # fmt: skip
    elif e.kind == EventKind.ADOPTION:
        pass_nb(state, e.ts)
        adopt_nb(state, out, e.strategy, e.instrument, e.ts, e.side, e.qty, e.price)
    elif e.kind == EventKind.NOTICE:
        notice_nb(state, e.order, e.instrument, e.what)
    elif e.kind == EventKind.COMMAND:
        pass_nb(state, e.ts)
        command_nb(state, out, e.what, e.strategy, e.instrument, e.ts)
    elif e.kind == EventKind.MANDATE:
        pass_nb(state, e.ts)
        mandate_nb(state, out, e.what, e.strategy, e.instrument, e.value, e.version, e.ts)
    elif e.kind == EventKind.ACTION:
        if e.what == ActionKind.PAYMENT:
            pass_nb(state, e.ts)
        else:
            advance_nb(state, e.ts)
        action_nb(state, out, e.what, e.instrument, e.currency, e.value, e.ts)
    else:
        advance_nb(state, e.ts)


@kernel
def steps_nb(states: Rows, outs: Rows, events: Rows, start: int, stop: int) -> None:
    """Fold the events from `start` up to `stop`; what the engine calls once per wake-up."""
    for k in range(start, stop):
        step_nb(states[0], outs[0], events[k])
