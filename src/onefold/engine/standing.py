"""How an account stands, read from its session's books in plain values: for desk and heartbeat."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from onefold.domain.records import Command
from onefold.engine.control import Scope
from onefold.engine.session import Session

OPERATOR = "engine"
"""Who gives the commands that nobody gave."""


class Held(NamedTuple):
    """What the session's books say of an instrument: lots, and the last price."""

    lots: int
    mark: float


def held(session: Session) -> dict[str, Held]:
    """Return what the books say of every symbol."""
    rows = session.state.instruments
    both = zip(rows["qty"].tolist(), rows["mark"].tolist(), strict=True)
    return {
        symbol: Held(lots, mark)
        for symbol, (lots, mark) in zip(session.names.symbols, both, strict=True)
    }


def positions_in(session: Session, scope: Scope) -> tuple[bool, bool]:
    """Return whether a scope holds anything, and whether all of it is being left."""
    names, holds, leaving = session.names, False, True
    for n, (qty, exiting) in enumerate(session.state.sleeves[["qty", "exiting"]].tolist()):
        s, i = divmod(n, len(names.symbols))
        if qty and scope.covers(names.strategies[s], names.symbols[i]):
            holds, leaving = True, leaving and bool(exiting)
    return holds, leaving


def killed_scopes(session: Session) -> list[str]:
    """Return what is stopped below the whole account: strategy, instrument, or one of both."""
    state, names = session.state, session.names
    sleeves = state.sleeves["killed"].reshape(len(names.strategies), len(names.symbols))
    return [
        *(n for n, on in zip(names.strategies, state.strategies["killed"], strict=True) if on),
        *(s for s, on in zip(names.symbols, state.instruments["killed"], strict=True) if on),
        *(f"{names.strategies[n]}/{names.symbols[i]}" for n, i in np.argwhere(sleeves)),
    ]


def is_killed(session: Session, scope: Scope) -> bool:
    """Return whether a kill switch covers all of a scope."""
    covering = {scope.strategy, scope.instrument, f"{scope.strategy}/{scope.instrument}"}
    everything = bool(session.state.account["killed"][0])
    return everything or not covering.isdisjoint(killed_scopes(session))


def totals(session: Session) -> dict[str, float]:
    """Return what was earned and paid since the journal began, and today; account currency."""
    account = session.state.account[0]
    equity = float(account["equity"])
    return {
        "pnl": equity - float(account["start_equity"]),
        "pnl_today": equity - float(account["day_equity"]) if account["day_end_ts"] else 0.0,
        **{name: float(account[name]) for name in ("realised", "fees", "income")},
    }


def books(session: Session) -> dict[str, Any]:
    """Return what the books say of the whole account, as the heartbeat has it."""
    account, names = session.state.account[0], session.names
    quantities = session.state.instruments["qty"].tolist()
    return {
        "decisions": int(account["decisions"]),
        "equity": float(account["equity"]),
        "totals": totals(session),
        "open_orders": int(account["open_orders"]),
        "positions": {s: q for s, q in zip(names.symbols, quantities, strict=True) if q},
        "killed": bool(account["killed"]),
        "killed_scopes": killed_scopes(session),
        "reduce_only": bool(account["reduce_only"]),
        "reconciled": bool(account["reconciled"]),
    }


def told(command: Command) -> str:
    """Return a command as a line: what, of what, by whom and why."""
    scope = "/".join(filter(None, (command.strategy, command.instrument)))
    by = "" if command.operator == OPERATOR else f" (by {command.operator or 'a person'})"
    what = command.command.replace("_", " ")
    return f"{what}{' ' + scope if scope else ''}{by}: {command.reason}"
