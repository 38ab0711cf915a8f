"""The fold's whole memory: a handful of structured arrays and nothing else.

So a snapshot is their bytes, a restart is a copy, and two states are equal when their bytes are.
A row of `SLEEVE` is one strategy in one instrument: it owns positions and orders. Limits that are
not set are infinite; the compiled code has no other notion of absent.
"""

from __future__ import annotations

import numpy as np

from onefold.domain.errors import FoldError
from onefold.domain.layouts import DECISION, FILL, ORDER, TRACE
from onefold.fold.memory import Rows, cell_of, new_root, only_of, point, root_dtype, row_of

ACCOUNT = np.dtype(
    [
        ("ts", "i8"),
        ("day", "i8"),
        ("day_end_ts", "i8"),
        ("equity", "f8"),
        ("peak_equity", "f8"),
        ("day_equity", "f8"),
        ("start_equity", "f8"),
        ("gross", "f8"),
        ("net", "f8"),
        ("entering_buys", "f8"),
        ("entering_sells", "f8"),
        ("leaving_buys", "f8"),
        ("leaving_sells", "f8"),
        ("initial_margin", "f8"),
        ("maintenance_margin", "f8"),
        ("entering_margin", "f8"),
        ("entering_cash", "f8"),
        ("realised", "f8"),
        ("fees", "f8"),
        ("income", "f8"),
        ("drift_max", "f8"),
        ("orders", "i8"),
        ("decisions", "i8"),
        ("fills", "i8"),
        ("watched", "i8"),
        ("open_orders", "i8"),
        ("open_entries", "i8"),
        ("open_positions", "i8"),
        ("held", "i8"),
        ("free_slot", "i8"),
        ("window_start", "i8"),
        ("window_messages", "i8"),
        ("max_open_positions", "f8"),
        ("max_open_orders", "f8"),
        ("daily_loss", "f8"),
        ("drawdown", "f8"),
        ("gross_exposure", "f8"),
        ("net_exposure", "f8"),
        ("price_collar", "f8"),
        ("max_order_lots", "f8"),
        ("max_order_value", "f8"),
        ("messages_max", "f8"),
        ("messages_window_ns", "i8"),
        ("freshness_bars", "f8"),
        ("mandate_version", "i8"),
        ("base", "i8"),
        ("fault", "i8"),
        ("mode", "i8"),
        ("killed", "i8"),
        ("reconciled", "i8"),
        ("reduce_only", "i8"),
        ("daily_stopped", "i8"),
        ("drawdown_stopped", "i8"),
        ("session_hours", "i8"),
        ("free_on_sent", "i8"),
        ("flatten_on_stop", "i8"),
        ("next_close", "i8"),
    ]
)

STRATEGY = np.dtype(
    [
        ("used", "f8"),
        ("entering", "f8"),
        ("realised", "f8"),
        ("orders_today", "i8"),
        ("day", "i8"),
        ("loss_streak", "i8"),
        ("repeat_start", "i8"),
        ("repeat_count", "i8"),
        ("size_value", "f8"),
        ("size_max", "f8"),
        ("stop", "f8"),
        ("take", "f8"),
        ("trail", "f8"),
        ("max_bars", "f8"),
        ("session_close_s", "f8"),
        ("trend_max", "f8"),
        ("edge_ratio_min", "f8"),
        ("cool_down_ns", "i8"),
        ("loss_streak_max", "f8"),
        ("orders_per_day", "f8"),
        ("risk_budget", "f8"),
        ("max_position", "f8"),
        ("repeat_max", "f8"),
        ("repeat_window_ns", "i8"),
        ("valid_for_ns", "i8"),
        ("size_kind", "i8"),
        ("barrier_unit", "i8"),
        ("resting", "i8"),
        ("exits", "i8"),
        ("rearm", "i8"),
        ("order_kind", "i8"),
        ("time_in_force", "i8"),
        ("killed", "i8"),
        ("suppressed", "i8"),
        ("disabled", "i8"),
    ]
)

INSTRUMENT = np.dtype(
    [
        ("ts", "i8"),
        ("mark", "f8"),
        ("qty", "i8"),
        ("average", "f8"),
        ("working_buys", "i8"),
        ("working_sells", "i8"),
        ("open_sleeves", "i8"),
        ("held_lots", "i8"),
        ("to_close_s", "i8"),
        ("interval_ns", "i8"),
        ("point", "f8"),
        ("tick", "f8"),
        ("lot", "f8"),
        ("commission", "f8"),
        ("commission_rate", "f8"),
        ("slippage_rate", "f8"),
        ("slippage_points", "f8"),
        ("margin_initial", "f8"),
        ("margin_maintenance", "f8"),
        ("currency", "i8"),
        ("rates_currency", "i8"),
        ("first_order", "i8"),
        ("held_at", "i8"),
        ("margined", "i8"),
        ("rates_inverse", "i8"),
        ("negative_prices", "i8"),
        ("short", "i8"),
        ("killed", "i8"),
        ("suppressed", "i8"),
    ]
)

SLEEVE = np.dtype(
    [
        ("qty", "i8"),
        ("average", "f8"),
        ("realised", "f8"),
        ("trade_pnl", "f8"),
        ("used", "f8"),
        ("entry_ts", "i8"),
        ("last_exit_ts", "i8"),
        ("bars_held", "i8"),
        ("stop_price", "f8"),
        ("take_price", "f8"),
        ("trail_price", "f8"),
        ("best_price", "f8"),
        ("unit", "f8"),
        ("score", "f8"),
        ("conf_min", "f8"),
        ("working_buys", "i8"),
        ("working_sells", "i8"),
        ("entering", "i8"),
        ("target", "i8"),
        ("exiting", "i8"),
        ("exit_purpose", "i8"),
        ("rearm_side", "i8"),
        ("counted", "i8"),
        ("killed", "i8"),
        ("suppressed", "i8"),
    ]
)

CURRENCY = np.dtype([("cash", "f8"), ("rate", "f8")])

SLOT = np.dtype(
    [
        ("id", "i8"),
        ("qty", "i8"),
        ("filled", "i8"),
        ("value", "f8"),
        ("price", "f8"),
        ("score", "f8"),
        ("instrument", "i8"),
        ("strategy", "i8"),
        ("next", "i8"),
        ("side", "i8"),
        ("purpose", "i8"),
        ("kind", "i8"),
        ("state", "i8"),
        ("cancelling", "i8"),
    ]
)

INTENT = np.dtype(
    [
        ("ts", "i8"),
        ("qty", "i8"),
        ("price", "f8"),
        ("value", "f8"),
        ("confidence", "f8"),
        ("score", "f8"),
        ("edge", "f8"),
        ("trend", "f8"),
        ("unready", "f8"),
        ("refusals", "f8"),
        ("instrument", "i8"),
        ("strategy", "i8"),
        ("side", "i8"),
        ("purpose", "i8"),
        ("kind", "i8"),
    ]
)


HELD = np.dtype([("instrument", "i8")])

_STATE_ARRAYS = (
    "account",
    "strategies",
    "instruments",
    "sleeves",
    "currencies",
    "orders",
    "held",
    "intent",
)
STATE = root_dtype(_STATE_ARRAYS)

_OUT_ARRAYS = ("decisions", "trace", "orders", "fills")
OUT = root_dtype(
    _OUT_ARRAYS,
    (("decisions_used", "i8"), ("orders_used", "i8"), ("fills_used", "i8")),
)

strategy_of = row_of(STATE, "strategies", STRATEGY)
instrument_of = row_of(STATE, "instruments", INSTRUMENT)
sleeve_of = cell_of(STATE, "sleeves", SLEEVE, "instruments_rows")
currency_of = row_of(STATE, "currencies", CURRENCY)
slot_of = row_of(STATE, "orders", SLOT)
held_of = row_of(STATE, "held", HELD)
account_of = only_of(STATE, "account", ACCOUNT)
intent_of = only_of(STATE, "intent", INTENT)
decision_row_of = row_of(OUT, "decisions", DECISION)
trace_row_of = row_of(OUT, "trace", TRACE)
order_row_of = row_of(OUT, "orders", ORDER)
fill_row_of = row_of(OUT, "fills", FILL)


class State:
    """Everything that the fold remembers.

    `account` and `intent` have one row; `sleeves` has one row per strategy and instrument (row
    `strategy * instruments + instrument`); `orders` has a slot per order that may work at once;
    `held` lists the instruments with a position; `intent` is scratch for the gates. Compiled code
    gets `root`.
    """

    def __init__(
        self,
        *,
        account: Rows,
        strategies: Rows,
        instruments: Rows,
        sleeves: Rows,
        currencies: Rows,
        orders: Rows,
    ) -> None:
        self.account = account
        self.strategies = strategies
        self.instruments = instruments
        self.sleeves = sleeves
        self.currencies = currencies
        self.orders = orders
        self.held = np.zeros(len(instruments), HELD)
        self.intent = np.zeros(1, INTENT)
        self.root = new_root(STATE, self._arrays())

    def _arrays(self) -> dict[str, Rows]:
        return {name: getattr(self, name) for name in _STATE_ARRAYS}

    def __setstate__(self, copied: dict[str, Rows]) -> None:
        """Become a copy (`copy`, `pickle`), whose root points to its own arrays."""
        vars(self).update(copied)
        point(self.root, self._arrays())

    def snapshot(self) -> bytes:
        """Return the state's bytes."""
        return b"".join(rows.tobytes() for rows in self._arrays().values())

    def restore(self, data: bytes) -> None:
        """Overwrite the state with the bytes of a snapshot of the same shape."""
        size = sum(rows.nbytes for rows in self._arrays().values())
        if len(data) != size:
            raise FoldError(f"the snapshot has {len(data)} bytes, this run's state {size}")
        at = 0
        for rows in self._arrays().values():
            part = data[at : at + rows.nbytes]
            rows[:] = np.frombuffer(part, dtype=rows.dtype)
            at += rows.nbytes


class Out:
    """Where the fold writes what it decided; compiled code gets `root`, which counts the rows.

    Without `trace` the gates' values are measured but not kept.
    """

    def __init__(self, rows: int, *, trace: bool = True) -> None:
        self.decisions = np.zeros(rows, DECISION)
        self.trace = np.zeros(rows if trace else 1, TRACE)
        self.orders = np.zeros(rows, ORDER)
        self.fills = np.zeros(rows, FILL)
        self.root = new_root(OUT, self._arrays())

    def _arrays(self) -> dict[str, Rows]:
        return {name: getattr(self, name) for name in _OUT_ARRAYS}

    def __setstate__(self, copied: dict[str, Rows]) -> None:
        """Become a copy, whose root points to its own arrays."""
        vars(self).update(copied)
        point(self.root, self._arrays())

    def clear(self) -> None:
        """Forget all rows."""
        for name in ("decisions_used", "orders_used", "fills_used"):
            self.root[name] = 0
