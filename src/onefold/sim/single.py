"""One entry at a time: the trade that an entry would have been, by itself.

Training asks it of every event, and the analysis of gates of every entry that was stopped. Both run
the entry through the very fold and the simulated venue that would have traded it, so a barrier that
is touched, a gap that jumps over it, a time exit or a signal that turns mean here what they mean in
trading. *Inputs*: a plan of one strategy in one instrument, its bars, a bar. *Output*: how the
trade ended. *Invariant*: every entry starts from an empty account, so none changes another.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from onefold.domain.columns import Bars, Signals
from onefold.domain.rules import AccountRules, FixedSize, Gates, Limits
from onefold.domain.words import Mode
from onefold.fold.memory import Rows
from onefold.fold.state import Out
from onefold.sim.loop import Tape, loop_nb
from onefold.sim.market import Market
from onefold.sim.plan import Plan
from onefold.sim.venue import event_buffer

CASH = 1e12
"""So much that no entry is refused for want of money."""
FIRST_BARS, MORE = 16, 4
"""Bars that an entry is first run for, and how many times more after each look."""
SPARE, ROWS = 256, 4_096


class Ended(NamedTuple):
    """How a trade ended: the bar at which that was known, its side, and its return.

    `gain` is the return on the entry's value after costs.
    """

    end: int
    side: int
    gain: float


class Single:
    """Runs one entry at a time through fold and venue, each from an empty account.

    `plan` has one strategy and one instrument; its sizing and gates are left out, since they decide
    which entries are traded and not what becomes of them. `signals` is what the strategy said of
    every bar, where that was recorded; otherwise it is asked.
    """

    def __init__(self, plan: Plan, bars: Bars, signals: Signals | None = None) -> None:
        [placement] = plan.placements
        rules = placement.rules.model_copy(
            update={"sizing": FixedSize(lots=1), "gates": Gates(rearm=False)}
        )
        account = AccountRules(
            cash=CASH, currency=plan.account.currency, costs=plan.account.costs,
            limits=Limits(max_open_orders=8),
        )  # fmt: skip
        alone = replace(
            plan, account=account, placements=(replace(placement, rules=rules, own_gates={}),)
        )
        self.tape = _tape(alone, bars, signals)
        self._state, self._book = alone.state(Mode.BACKTEST), alone.book()
        self._empty = self._state.snapshot(), [rows.copy() for rows in self._venue()]
        self._out = Out(ROWS, trace=False)
        self._events = event_buffer(self._book)
        self._equity = np.empty(bars.rows)
        self._ts = bars.ts
        self._point = plan.instruments[0].point_value

    def _venue(self) -> list[Rows]:
        return [self._book.head, self._book.orders, self._book.listed, self._book.positions]

    def outcome(self, start: int) -> Ended | None:
        """Return how the trade ended that the signal of a bar begins.

        None where that signal enters nothing, where its entry never fills, and where the trade is
        still open at the end of the bars.
        """
        self._state.restore(self._empty[0])
        for rows, empty in zip(self._venue(), self._empty[1], strict=True):
            rows[:] = empty
        self._out.clear()
        roots = (self._state.root, self._book.root, self._out.root)
        done, total, span = start, self.tape.events, FIRST_BARS
        while done < total:
            stop = min(total, done + span)
            done = loop_nb(*roots, self.tape.root, self._events, self._equity, done, stop, SPARE)
            if not self._is_from(start):
                return None
            ended = self._ended()
            if ended is not None:
                return ended
            if done < stop or not (self._state.account["open_orders"][0] or self._is_open()):
                return None
            span *= MORE
        return None

    def _is_from(self, start: int) -> bool:
        """Return whether what was traded, if anything, is the entry of that bar, not a later."""
        out = self._out
        if not out.root["orders_used"][0] or out.orders["ts"][0] != self._ts[start]:
            return False
        return not out.root["fills_used"][0] or out.fills["order"][0] == out.orders["id"][0]

    def _is_open(self) -> bool:
        return bool(self._state.sleeves["qty"][0])

    def _ended(self) -> Ended | None:
        """Return how the first round trip ended, None while it is open."""
        fills = self._out.fills[: int(self._out.root["fills_used"][0])]
        position, side, pnl, value = 0, 0, 0.0, 0.0
        for fill in fills:
            lots = int(fill["side"]) * int(fill["qty"])
            side = side if position else int(fill["side"])
            opens = position == 0 or (position > 0) == (lots > 0)
            value += abs(lots) * abs(float(fill["price"])) * self._point if opens else 0.0
            pnl -= lots * float(fill["price"]) * self._point + float(fill["fee"])
            position += lots
            if position == 0:
                end = int(np.searchsorted(self._ts, int(fill["ts"]), side="right"))
                return Ended(min(end, len(self._ts) - 1), side, pnl / value if value else 0.0)
        return None


def _tape(plan: Plan, bars: Bars, signals: Signals | None) -> Tape:
    """Return the bars with what the strategy says of them, or with what was recorded of it."""
    if signals is None:
        [symbol] = plan.names.symbols
        return Market((symbol,), {symbol: bars}).tape(plan)
    said = {name: column for name, column in signals._asdict().items() if name != "unready"}
    return Tape(
        instrument=np.zeros(bars.rows, np.int16),
        row=np.arange(bars.rows, dtype=np.int32),
        refusals=np.zeros(1, np.int16),
        **bars._asdict(),
        **said,
    )
