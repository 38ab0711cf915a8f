"""The simulated venue: resting orders meet bars and become fills.

*Inputs*: instructions, bars. *Output*: fills and notices. *Invariant*: never more than was ordered,
never more than the bar's volume allows, never cash below zero where things are paid in full.

A bar is two moments. At its open, market orders fill, and so does whatever its price has jumped
over. During the rest of the bar, stops are met before limits, because a bar does not say which of
two prices came first and the worse is the honest guess. A limit fills at its price or better, a
stop at its price or worse. Orders that share a sleeve's position cancel each other once it is
closed.
"""

from __future__ import annotations

import math

import numpy as np

from onefold._compile import kernel, kernel_part
from onefold.domain.layouts import VENUE_EVENT
from onefold.domain.rules import AccountRules
from onefold.domain.words import Notice, OrderKind, TimeInForce
from onefold.fold.books import spendable_nb
from onefold.fold.build import EXIT_SLOTS, Roster
from onefold.fold.memory import Rows, cell_of, new_root, only_of, root_dtype, row_of

DAY_NS = 86_400_000_000_000
NS_PER_MS = 1_000_000

HEAD = np.dtype(
    [
        ("fills", "i8"),
        ("free_slot", "i8"),
        ("slippage_rate", "f8"),
        ("slippage_ticks", "f8"),
        ("volume_share", "f8"),
        ("next_close", "i8"),
        ("at_touch", "i8"),
        ("latency_ns", "i8"),
    ]
)

RESTING = np.dtype(
    [
        ("id", "i8"),
        ("ts", "i8"),
        ("left", "i8"),
        ("price", "f8"),
        ("expire_ts", "i8"),
        ("day", "i8"),
        ("instrument", "i8"),
        ("strategy", "i8"),
        ("next", "i8"),
        ("side", "i8"),
        ("kind", "i8"),
        ("time_in_force", "i8"),
        ("reduce_only", "i8"),
        ("met", "i8"),
    ]
)

LISTED = np.dtype(
    [
        ("point", "f8"),
        ("lot", "f8"),
        ("tick", "f8"),
        ("commission", "f8"),
        ("commission_rate", "f8"),
        ("volume_left", "f8"),
        ("cash_left", "f8"),
        ("first_order", "i8"),
        ("paid_in_full", "i8"),
    ]
)


POSITION = np.dtype([("qty", "i8")])

BOOK = root_dtype(("head", "orders", "listed", "positions"))

head_of = only_of(BOOK, "head", HEAD)
resting_of = row_of(BOOK, "orders", RESTING)
listed_of = row_of(BOOK, "listed", LISTED)
position_of = cell_of(BOOK, "positions", POSITION, "listed_rows")


class Book:
    """The venue's whole memory: settings, resting orders, listings, positions by sleeve.

    The cash is not among it: how much there is to spend is said anew whenever a bar is met.
    """

    def __init__(self, head: Rows, orders: Rows, listed: Rows, positions: Rows) -> None:
        self.head, self.orders, self.listed, self.positions = head, orders, listed, positions
        names = ("head", "orders", "listed", "positions")
        self.root = new_root(BOOK, {name: getattr(self, name) for name in names})


_MARKET, _LIMIT, _STOP = int(OrderKind.MARKET), int(OrderKind.LIMIT), int(OrderKind.STOP)
_DAY, _GTD, _IOC = int(TimeInForce.DAY), int(TimeInForce.GTD), int(TimeInForce.IOC)
_CANCELLED, _REJECTED = int(Notice.CANCELLED), int(Notice.REJECTED)
_EXPIRED = int(Notice.EXPIRED)


@kernel_part
def submit_nb(venue: Rows, order: Rows, events: Rows, n: int) -> int:
    """Take an instruction (a row of `layouts.ORDER`); return the number of events then written."""
    if order.cancel:
        return _withdraw_nb(venue, order.id, order.instrument, order.ts, events, n)
    head = head_of(venue)
    at = head.free_slot
    slot = resting_of(venue, at)
    head.free_slot = slot.next
    slot.id, slot.left, slot.price = order.id, order.qty, order.price
    slot.ts = order.ts + head.latency_ns
    slot.expire_ts, slot.day, slot.met = order.expire_ts, 0, 0
    slot.instrument, slot.strategy, slot.side = order.instrument, order.strategy, order.side
    slot.kind, slot.time_in_force = order.kind, order.time_in_force
    slot.reduce_only, slot.next = order.reduce_only, -1
    last = listed_of(venue, order.instrument).first_order
    if last < 0:
        listed_of(venue, order.instrument).first_order = at
        return n
    while resting_of(venue, last).next >= 0:
        last = resting_of(venue, last).next
    resting_of(venue, last).next = at
    return n


@kernel_part
def _withdraw_nb(venue: Rows, order: int, i: int, ts: int, events: Rows, n: int) -> int:
    """Cancel a resting order; one that is gone already needs no answer."""
    at = listed_of(venue, i).first_order
    while at >= 0:
        if resting_of(venue, at).id == order:
            return _gone_nb(venue, at, ts, _CANCELLED, events, n)
        at = resting_of(venue, at).next
    return n


@kernel_part
def _notice_nb(slot: Rows, ts: int, notice: int, events: Rows, n: int) -> int:
    row = events[n]
    row.order, row.id, row.ts, row.qty, row.price, row.fee = slot.id, 0, ts, 0, math.nan, 0.0
    row.instrument, row.strategy, row.side = slot.instrument, slot.strategy, slot.side
    row.notice = notice
    return n + 1


@kernel_part
def _gone_nb(venue: Rows, at: int, ts: int, notice: int, events: Rows, n: int) -> int:
    """Take an order off the book with a notice."""
    n = _notice_nb(resting_of(venue, at), ts, notice, events, n)
    _remove_nb(venue, at)
    return n


@kernel_part
def _remove_nb(venue: Rows, at: int) -> None:
    slot, head = resting_of(venue, at), head_of(venue)
    listed = listed_of(venue, slot.instrument)
    if listed.first_order == at:
        listed.first_order = slot.next
    else:
        before = listed.first_order
        while resting_of(venue, before).next != at:
            before = resting_of(venue, before).next
        resting_of(venue, before).next = slot.next
    slot.next = head.free_slot
    head.free_slot = at


@kernel_part
def _worse_nb(venue: Rows, listed: Rows, side: int, price: float) -> float:
    """Worsen a price by the slippage, and to the tick that is worse still."""
    head = head_of(venue)
    slip = abs(price) * head.slippage_rate + head.slippage_ticks * listed.tick
    if slip == 0.0:
        return price
    worse = price + side * slip
    if listed.tick <= 0.0:
        return worse
    steps = worse / listed.tick
    grid = math.ceil(steps - 1e-9) if side > 0 else math.floor(steps + 1e-9)
    return grid * listed.tick


@kernel_part
def _affordable_nb(listed: Rows, slot: Rows, price: float, qty: int) -> int:
    """Return how many lots of a purchase that is paid in full the cash covers."""
    if not listed.paid_in_full or slot.side < 0 or slot.reduce_only:
        return qty
    cost = price * listed.point * (1.0 + listed.commission_rate) + listed.commission
    if not cost > 0.0:
        return qty
    return min(qty, max(0, math.floor(listed.cash_left / cost)))


@kernel_part
def _fill_nb(venue: Rows, at: int, ts: int, price: float, events: Rows, n: int) -> int:
    """Fill as much of an order as volume, position and cash allow; say so."""
    slot, head = resting_of(venue, at), head_of(venue)
    listed = listed_of(venue, slot.instrument)
    qty = slot.left
    if slot.kind == _STOP:
        slot.kind = _MARKET  # touched: what does not fill now fills at the next chance
    if slot.reduce_only:
        qty = min(qty, max(0, -slot.side * position_of(venue, slot.strategy, slot.instrument).qty))
        if qty == 0:
            return _gone_nb(venue, at, ts, _CANCELLED, events, n)
    if listed.volume_left < qty:
        qty = int(listed.volume_left)
        if qty <= 0:
            return n
    affordable = _affordable_nb(listed, slot, price, qty)
    short_of_cash = affordable < qty
    qty = affordable
    if qty > 0:
        n = _trade_nb(venue, at, ts, price, qty, events, n)
        head.fills += 1
        events[n - 1].id = head.fills
    if slot.left == 0:
        _remove_nb(venue, at)
    elif short_of_cash:
        n = _gone_nb(venue, at, ts, _REJECTED, events, n)
    return n


@kernel_part
def _trade_nb(venue: Rows, at: int, ts: int, price: float, qty: int, events: Rows, n: int) -> int:
    """Write a fill; keep position, volume and, for what is paid in full, what is left to spend."""
    slot = resting_of(venue, at)
    listed = listed_of(venue, slot.instrument)
    value = qty * listed.point * price
    fee = qty * listed.commission + abs(value) * listed.commission_rate
    listed.cash_left -= slot.side * value + fee
    position_of(venue, slot.strategy, slot.instrument).qty += slot.side * qty
    listed.volume_left -= qty
    slot.left -= qty
    n = _notice_nb(slot, ts, -1, events, n)
    row = events[n - 1]
    row.qty, row.price, row.fee = qty, price, fee
    return n


@kernel_part
def _open_price_nb(venue: Rows, slot: Rows, price: float, bid: float, ask: float) -> float:
    """Return the price at which an order fills at the open, or NaN when it does not."""
    head, listed = head_of(venue), listed_of(venue, slot.instrument)
    touch = price
    if head.at_touch:
        quoted = ask if slot.side > 0 else bid
        touch = price if math.isnan(quoted) else quoted
    if slot.kind == _LIMIT:
        return touch if (slot.price - touch) * slot.side >= 0.0 else math.nan
    if slot.kind == _STOP and not (touch - slot.price) * slot.side >= 0.0:
        return math.nan
    return _worse_nb(venue, listed, slot.side, touch)


@kernel_part
def _lapsed_nb(slot: Rows, ts_open: int) -> bool:
    """Return whether an order's time is over before this bar."""
    if slot.time_in_force == _GTD:
        return ts_open >= slot.expire_ts
    if slot.time_in_force == _DAY:
        day = ts_open // DAY_NS
        if slot.day == 0:
            slot.day = day
        return day > slot.day
    return False


@kernel_part
def open_nb(
    venue: Rows,
    i: int,
    ts_open: int,
    price: float,
    volume: float,
    bid: float,
    ask: float,
    cash: float,
    events: Rows,
) -> int:
    """Meet a bar's open: expire, then fill what waits for it. Return the number of events.

    `cash` is what there is to spend, in the instrument's currency.
    """
    head, listed = head_of(venue), listed_of(venue, i)
    listed.cash_left = cash
    listed.volume_left = math.inf
    if head.volume_share < math.inf:
        listed.volume_left = math.floor(volume * head.volume_share / listed.lot)
        if math.isnan(volume):
            listed.volume_left = 0.0
    n, at = 0, listed.first_order
    while at >= 0:
        slot = resting_of(venue, at)
        after = slot.next
        if slot.ts > ts_open:  # no order meets a moment before its own
            at = after
            continue
        if _lapsed_nb(slot, ts_open):
            n = _gone_nb(venue, at, ts_open, _EXPIRED, events, n)
        elif not head.next_close:
            fill = _open_price_nb(venue, slot, price, bid, ask)
            slot.met = 1
            if not math.isnan(fill):
                n = _fill_nb(venue, at, ts_open, fill, events, n)
        at = after
    return n if head.next_close else _drop_ioc_nb(venue, i, ts_open, events, n)


@kernel_part
def _drop_ioc_nb(venue: Rows, i: int, ts: int, events: Rows, n: int) -> int:
    """Cancel what is left of the orders that had their one moment to fill."""
    at = listed_of(venue, i).first_order
    while at >= 0:
        after = resting_of(venue, at).next
        slot = resting_of(venue, at)
        if slot.time_in_force == _IOC and slot.met:
            n = _gone_nb(venue, at, ts, _CANCELLED, events, n)
        at = after
    return n


@kernel_part
def _range_price_nb(
    venue: Rows, slot: Rows, start: float, high: float, low: float, close: float
) -> float:
    """Return the price at which an order fills inside a bar, or NaN when it does not."""
    head, listed = head_of(venue), listed_of(venue, slot.instrument)
    if slot.kind == _MARKET:
        return _worse_nb(venue, listed, slot.side, close) if head.next_close else math.nan
    if slot.kind == _LIMIT:
        reached = low <= slot.price if slot.side > 0 else high >= slot.price
        if not reached:
            return math.nan
        if slot.met:  # it met the open and was not filled there
            return slot.price
        return min(start, slot.price) if slot.side > 0 else max(start, slot.price)
    reached = high >= slot.price if slot.side > 0 else low <= slot.price
    if not reached:
        return math.nan
    price = max(start, slot.price) if slot.side > 0 else min(start, slot.price)
    return _worse_nb(venue, listed, slot.side, price)


@kernel_part
def range_nb(
    venue: Rows,
    i: int,
    ts: int,
    ts_open: int,
    start: float,
    high: float,
    low: float,
    close: float,
    cash: float,
    events: Rows,
) -> int:
    """Meet the rest of a bar: stops before limits. Return the number of events."""
    listed, head = listed_of(venue, i), head_of(venue)
    listed.cash_left = cash
    n = 0
    for limits in range(2):
        at = listed.first_order
        while at >= 0:
            slot = resting_of(venue, at)
            after = slot.next
            if (slot.kind == _LIMIT) == (limits == 1) and slot.ts <= ts_open:
                price = _range_price_nb(venue, slot, start, high, low, close)
                if slot.time_in_force == _IOC:
                    slot.met = 1
                if not math.isnan(price):
                    n = _fill_nb(venue, at, ts, price, events, n)
            at = after
    return _drop_ioc_nb(venue, i, ts, events, n) if head.next_close else n


@kernel
def met_open_nb(
    books: Rows,
    states: Rows,
    i: int,
    ts: int,
    price: float,
    volume: float,
    bid: float,
    ask: float,
    events: Rows,
) -> int:
    """Meet a bar's open, called from Python."""
    cash = spendable_nb(states[0], i)
    return open_nb(books[0], i, ts, price, volume, bid, ask, cash, events)


@kernel
def met_range_nb(
    books: Rows,
    states: Rows,
    i: int,
    ts: int,
    ts_open: int,
    start: float,
    high: float,
    low: float,
    close: float,
    events: Rows,
) -> int:
    """Meet the rest of a bar, called from Python."""
    cash = spendable_nb(states[0], i)
    return range_nb(books[0], i, ts, ts_open, start, high, low, close, cash, events)


@kernel
def submitted_nb(books: Rows, orders: Rows, count: int, events: Rows) -> int:
    """Take the first instructions, called from Python; return the number of events."""
    n = 0
    for k in range(count):
        n = submit_nb(books[0], orders[k], events, n)
    return n


def new_book(rules: AccountRules, names: Roster) -> Book:
    """Return the memory of a simulated venue that lists the run's instruments."""
    costs = rules.costs
    head = np.zeros(1, HEAD)
    head["slippage_rate"] = costs.slippage_bps * 1e-4
    head["slippage_ticks"] = costs.slippage_ticks
    head["volume_share"] = math.inf if costs.volume_share is None else costs.volume_share
    head["latency_ns"] = round(costs.latency_ms * NS_PER_MS)
    head["next_close"] = costs.fill == "next_close"
    head["at_touch"] = costs.at_touch
    listed = np.zeros(len(names.instruments), LISTED)
    for row, instrument in zip(listed, names.instruments, strict=True):
        row["point"], row["lot"] = instrument.point_value, instrument.lot
        row["tick"], row["commission"] = instrument.tick, instrument.commission
        row["commission_rate"] = instrument.commission_bps * 1e-4
        row["first_order"] = -1
        row["paid_in_full"] = instrument.margin_initial >= 1.0 and not instrument.margined
    sleeves = len(names.strategies) * len(names.instruments)
    slots = np.zeros(rules.limits.max_open_orders + EXIT_SLOTS * sleeves, RESTING)
    slots["next"] = np.arange(1, len(slots) + 1)
    slots["next"][-1] = -1
    return Book(head, slots, listed, np.zeros(sleeves, POSITION))


def event_buffer(book: Book) -> Rows:
    """Return a buffer that holds everything one bar can make the venue say."""
    return np.zeros(2 * len(book.orders) + 8, VENUE_EVENT)
