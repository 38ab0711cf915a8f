"""What the database tells: one struct per table, in the words of the records.

Times are integer nanoseconds UTC, sizes are lots, money is in the account's currency; what is not
known is None. `key` stands for a row's place among the others: it is the `before` of the page that
begins after it.
"""

from __future__ import annotations

import msgspec


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """A round trip, from flat to flat; one that runs has no exit time, price and reason of its end.

    The values are those of `views.trades`: `gross` is the profit before fees in the instrument's
    currency, `open_size` lots are held at the average `open_price`. `ibs_entry` and `ibs_exit` are
    the internal bar strength of the bar at which the entry, and the exit, was decided.
    """

    key: str
    account: str
    id: int
    strategy: str
    symbol: str
    side: str
    entry_time: int
    entry_price: float | None
    entry_size: int
    exit_time: int | None
    exit_price: float | None
    exit_size: int
    pnl: float
    pnl_percent: float | None
    exit_reason: str | None
    ml_score: float | None
    ibs_entry: float | None
    ibs_exit: float | None
    fees: float
    gross: float
    open_size: int
    open_price: float | None
    created_at: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order and what became of it; `average` is the price of its filled lots."""

    key: str
    account: str
    id: int
    time: int
    strategy: str
    symbol: str
    purpose: str
    side: str
    lots: int
    kind: str
    price: float | None
    state: str
    filled: int
    average: float | None
    fees: float
    reason: str
    updated: int


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One verdict: an order, or the gates that prevented it; the first of them is the reason.

    `equity` is in the account's currency, `position` what the strategy held. `values` and
    `thresholds` follow the order of `fold.gates.GATE_NAMES`; they are empty in a list of decisions.
    """

    key: str
    account: str
    id: int
    time: int
    strategy: str
    symbol: str
    purpose: str
    side: str
    lots: int
    price: float | None
    confidence: float
    score: float | None
    equity: float
    position: int
    blocked: list[str]
    order: int
    values: list[float | None] = []
    thresholds: list[float | None] = []


class EquityPoint(msgspec.Struct, frozen=True):
    """The equity at a time, and how far below its highest it was, as a share at or above zero."""

    time: int
    equity: float
    drawdown: float


class Bar(msgspec.Struct, frozen=True):
    """A bar by the time at which it closed."""

    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float | None


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy holds of a symbol, signed; `value` and `pnl` are at its last mark."""

    account: str
    strategy: str
    symbol: str
    lots: int
    entry_time: int
    entry_price: float
    mark: float | None
    value: float | None
    pnl: float | None


class GateCount(msgspec.Struct, frozen=True):
    """How often a gate was the reason, and how often it would have said no as well."""

    gate: str
    first: int
    also: int


class Counts(msgspec.Struct, frozen=True):
    """How much there is of an account."""

    trades: int
    open_trades: int
    orders: int
    working_orders: int
    decisions: int
    passed: int


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """How far a journal has been projected: its last record and the seal there.

    `run` is the number of the first journal of those that were handed over to each other.
    `trouble` says why it does not go on, empty when it does.
    """

    account: str
    journal: str
    mode: str
    number: int
    run: int
    is_current: bool
    started: int
    seq: int
    hash: str
    trouble: str
