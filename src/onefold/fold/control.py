"""What people and governance may order: kill switches, flattening, resets, mandates.

*Inputs*: commands and mandates with a scope (a strategy, an instrument, both, or -1 for all).
*Output*: switches and thresholds of the state, cancels and exits. *Invariant*: stopping is at once,
and an older mandate never undoes a newer one.
"""

from __future__ import annotations

from onefold._compile import kernel_part
from onefold.domain.words import (
    CommandKind,
    MandateKind,
    Purpose,
)
from onefold.fold.exits import (
    exit_nb,
)
from onefold.fold.memory import Rows
from onefold.fold.orders import (
    cancel_working_nb,
)
from onefold.fold.state import (
    account_of,
    instrument_of,
    sleeve_of,
    strategy_of,
)

_COMMAND = int(Purpose.COMMAND)


@kernel_part
def flatten_nb(state: Rows, out: Rows, strategy: int, i: int, ts: int, purpose: int) -> None:
    """Cancel the entries and close the positions of a scope; -1 means all."""
    for s in range(state.strategies_rows):
        for j in range(state.instruments_rows):
            if (strategy >= 0 and s != strategy) or (i >= 0 and j != i):
                continue
            sleeve = sleeve_of(state, s, j)
            cancel_working_nb(state, out, s, j, ts, True)
            if sleeve.target != 0 and strategy_of(state, s).rearm:
                sleeve.rearm_side = sleeve.target  # or the same signal would enter again at once
            if sleeve.qty != 0 and not sleeve.exiting:
                exit_nb(state, out, s, j, ts, purpose)
            sleeve.target = 0


@kernel_part
def command_nb(state: Rows, out: Rows, kind: int, s: int, i: int, ts: int) -> None:
    """Fold an operator's command for a scope; -1 means all."""
    account = account_of(state)
    if kind == CommandKind.KILL:
        _switch_nb(state, s, i, 1)
        withdraw_nb(state, out, s, i, ts)
    elif kind == CommandKind.RESUME:
        _switch_nb(state, s, i, 0)
        if s < 0 and i < 0:
            account.reduce_only = 0
    elif kind == CommandKind.REDUCE_ONLY:
        account.reduce_only = 1
        withdraw_nb(state, out, -1, -1, ts)
    elif kind == CommandKind.FLATTEN:
        flatten_nb(state, out, s, i, ts, _COMMAND)
    elif kind == CommandKind.RECONCILED:
        account.reconciled = 1
    elif kind == CommandKind.UNRECONCILED:
        account.reconciled = 0
        withdraw_nb(state, out, -1, -1, ts)
    elif kind == CommandKind.RESET:
        _reset_nb(state, s)


@kernel_part
def _switch_nb(state: Rows, s: int, i: int, on: int) -> None:
    """Turn the kill switch of a scope on or off."""
    if s >= 0 and i >= 0:
        sleeve_of(state, s, i).killed = on
    elif s >= 0:
        strategy_of(state, s).killed = on
    elif i >= 0:
        instrument_of(state, i).killed = on
    else:
        account_of(state).killed = on


@kernel_part
def withdraw_nb(state: Rows, out: Rows, strategy: int, i: int, ts: int) -> None:
    """Cancel the entries of a scope; orders that protect a position keep working."""
    for s in range(state.strategies_rows):
        for j in range(state.instruments_rows):
            if (strategy < 0 or s == strategy) and (i < 0 or j == i):
                cancel_working_nb(state, out, s, j, ts, True)


@kernel_part
def _reset_nb(state: Rows, strategy: int) -> None:
    """Clear latched stops, which count anew from here, loss streaks and disabled strategies."""
    account = account_of(state)
    if strategy < 0:
        account.daily_stopped, account.drawdown_stopped = 0, 0
        account.peak_equity, account.day_equity = account.equity, account.equity
    for s in range(state.strategies_rows):
        if strategy < 0 or s == strategy:
            strategy_of(state, s).disabled = 0
            strategy_of(state, s).loss_streak = 0
            strategy_of(state, s).repeat_count = 0


@kernel_part
def mandate_nb(
    state: Rows, out: Rows, kind: int, s: int, i: int, value: float, version: int, ts: int
) -> bool:
    """Fold a mandate; an older or repeated version changes nothing. Return whether it was taken."""
    account = account_of(state)
    if version <= account.mandate_version:
        return False
    account.mandate_version = version
    if kind == MandateKind.MAX_OPEN_POSITIONS:
        account.max_open_positions = value
    elif kind == MandateKind.DAILY_LOSS:
        account.daily_loss = value
    elif kind == MandateKind.DRAWDOWN:
        account.drawdown = value
    elif kind == MandateKind.GROSS_EXPOSURE:
        account.gross_exposure = value
    elif kind == MandateKind.NET_EXPOSURE:
        account.net_exposure = value
    else:
        _mandate_scope_nb(state, kind, s, i, value)
        if kind == MandateKind.SUPPRESS and value > 0.0:
            withdraw_nb(state, out, s, i, ts)
    return True


@kernel_part
def _mandate_scope_nb(state: Rows, kind: int, strategy: int, i: int, value: float) -> None:
    """Apply a mandate to the strategies and sleeves of a scope; -1 means all."""
    for s in range(state.strategies_rows):
        if strategy >= 0 and s != strategy:
            continue
        if kind == MandateKind.RISK_BUDGET:
            strategy_of(state, s).risk_budget = value
        elif kind == MandateKind.MAX_POSITION:
            strategy_of(state, s).max_position = value
        for j in range(state.instruments_rows):
            if i >= 0 and j != i:
                continue
            sleeve = sleeve_of(state, s, j)
            if kind == MandateKind.CONF_MIN:
                sleeve.conf_min = value
            elif kind == MandateKind.SUPPRESS:
                sleeve.suppressed = 1 if value > 0.0 else 0
