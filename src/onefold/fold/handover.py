"""What an account keeps when its configuration changes: positions, orders, money and counters.

Rules and limits come from the new configuration; what has happened does not. A loss of today still
counts against today's limit, a position keeps the strategy that opened it and the stops that it was
opened with, an order that may still fill still counts as filled. What the new configuration has no
place for, such as a position of a strategy that is not there any more, is refused before anything
is written.

*Inputs*: the memory at the end of the journal before. *Output*: the first memory of the next one.
*Invariant*: cash, equity and the worst case are those of before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from onefold.domain.errors import ConfigError
from onefold.domain.records import Action, CarriedOrder, Handover, Numbers, Order
from onefold.domain.words import OrderKind, OrderState, Purpose, Side
from onefold.fold.build import Roster
from onefold.fold.codec import Inbox
from onefold.fold.memory import Rows
from onefold.fold.state import Out, State

ACCOUNT = (
    "ts", "day", "day_end_ts", "equity", "peak_equity", "day_equity", "realised", "fees", "income",
    "orders", "decisions", "fills", "window_start", "window_messages", "killed", "reconciled",
    "reduce_only", "daily_stopped", "drawdown_stopped",
)  # fmt: skip
STRATEGY = (
    "realised", "orders_today", "day", "loss_streak", "repeat_start", "repeat_count", "killed",
    "disabled",
)  # fmt: skip
CURRENCY = ("cash", "rate")
INSTRUMENT = ("ts", "mark", "average", "to_close_s", "killed")
SLEEVE = (
    "qty", "average", "realised", "trade_pnl", "used", "entry_ts", "last_exit_ts", "bars_held",
    "stop_price", "take_price", "trail_price", "best_price", "unit", "score", "target", "exiting",
    "exit_purpose", "rearm_side", "killed",
)  # fmt: skip
SLOT = ("qty", "filled", "value", "price", "score", "kind", "cancelling")
"""The fields that say what has happened; all others follow from rules, or from these."""

_SAME = ("lot", "multiplier", "currency", "margined")
_INFINITE = ("inf", "-inf")
_ENTRY = Purpose.ENTRY


def parts_of(state: State, names: Roster) -> dict[str, Any]:
    """Return what a `Handover` has of the fold's memory: all but its orders."""
    pairs = [(s, i) for s in names.strategies for i in names.symbols]
    return {
        "account": _numbers(state.account[0], ACCOUNT),
        "currencies": _named(names.currencies, state.currencies, CURRENCY),
        "instruments": _named(names.symbols, state.instruments, INSTRUMENT),
        "strategies": _named(names.strategies, state.strategies, STRATEGY),
        "sleeves": _named([f"{s}/{i}" for s, i in pairs], state.sleeves, SLEEVE),
    }


def carried(state: State, orders: Iterable[tuple[Order, str, str]]) -> list[CarriedOrder]:
    """Return orders (with their state and the venue's id) that the fold counts as working."""
    slots = {int(row["id"]): row for row in state.orders if row["state"] != OrderState.FREE}
    return [
        CarriedOrder(order, status, _numbers(slots[order.id], SLOT), venue_id)
        for order, status, venue_id in orders
        if order.id in slots
    ]


def check(handover: Handover, before: Roster, names: Roster) -> None:
    """Raise `ConfigError` for what is held or on its way and has no place any more."""
    old = {one.symbol: one for one in before.instruments}
    new = {one.symbol: one for one in names.instruments}
    if before.currencies[0] != names.currencies[0]:
        raise ConfigError(
            f"account.currency was {before.currencies[0]}, now it is {names.currencies[0]}: "
            "use another account for another currency"
        )
    for place, what in _in_use(handover):
        strategy, _, symbol = place.rpartition("/")
        if strategy not in names.strategies or symbol not in new:
            missing = f"strategy {strategy!r}" if strategy not in names.strategies else symbol
            raise ConfigError(
                f"strategy {strategy!r} has {what} {symbol} from before, and {missing} is not "
                "there any more: put it back, and close what it holds first"
            )
        changed = [f for f in _SAME if getattr(old[symbol], f) != getattr(new[symbol], f)]
        if changed:
            raise ConfigError(
                f"instruments.{symbol}.{changed[0]} has changed, while strategy {strategy!r} has "
                f"{what} {symbol}: put it back, and close what is held first"
            )
    for currency, numbers in handover.currencies.items():
        if numbers["cash"] and currency not in names.currencies:
            raise ConfigError(
                f"the account has {numbers['cash']} {currency}, in which nothing is traded any "
                f"more: keep an instrument in {currency}"
            )


def _in_use(handover: Handover) -> list[tuple[str, str]]:
    """Return the sleeves that hold something or have orders, and what."""
    held = [(name, f"{row['qty']} lots of") for name, row in handover.sleeves.items() if row["qty"]]
    placed = [c.order for c in handover.orders]
    return [*held, *((f"{o.strategy}/{o.instrument}", f"order {o.id} in") for o in placed)]


def take_over(state: State, out: Out, names: Roster, handover: Handover) -> None:
    """Put what a handover says into the memory of a run that has seen nothing yet."""
    _set(state.account[0], handover.account)
    state.account["watched"] = state.account["fills"]
    state.account["start_equity"] = state.account["equity"]
    for rows, order, parts in (
        (state.currencies, names.currencies, handover.currencies),
        (state.instruments, names.symbols, handover.instruments),
        (state.strategies, names.strategies, handover.strategies),
        (state.sleeves, _sleeves(names), handover.sleeves),
    ):
        for name, numbers in parts.items():
            if name in order:
                _set(rows[order.index(name)], numbers)
    for one in handover.orders:
        _place(state, names, one)
    _add_positions(state, names)
    _tell(state, out, names, handover.ts)
    inbox = Inbox(names)
    # Nothing is paid: the books are added up, and compared with the equity of before.
    inbox.action(Action(handover.ts, "payment", 0.0, currency=names.currencies[0]))
    for currency, rate in handover.rates.items():
        inbox.action(Action(handover.ts, "rate", rate, currency=currency))
    for mandate in handover.mandates:
        if mandate.strategy in ("", *names.strategies) and mandate.instrument in (
            "",
            *names.symbols,
        ):
            inbox.mandate(mandate)
    inbox.fold(state, out)


def _sleeves(names: Roster) -> list[str]:
    return [f"{s}/{i}" for s in names.strategies for i in names.symbols]


def _place(state: State, names: Roster, one: CarriedOrder) -> None:
    """Put an order into a slot, and count it everywhere that counts what may fill."""
    order, account = one.order, state.account[0]
    i, s = names.symbols.index(order.instrument), names.strategies.index(order.strategy)
    at = int(account["free_slot"])
    if at < 0:
        raise ConfigError("account.limits.max_open_orders: more orders work already; raise it")
    slot, instrument = state.orders[at], state.instruments[i]
    account["free_slot"] = slot["next"]
    _set(slot, one.slot)
    slot["id"], slot["instrument"], slot["strategy"] = order.id, i, s
    slot["side"], slot["purpose"] = order.side, Purpose[order.purpose.upper()]
    slot["state"] = OrderState[one.state.upper()]
    slot["next"] = -1
    _append(state, instrument, at)
    sleeve = state.sleeves[s * len(names.symbols) + i]
    sums = "working_buys" if order.side > 0 else "working_sells"
    left = slot["qty"] - slot["filled"]
    instrument[sums] += left
    sleeve[sums] += left
    account["open_orders"] += 1
    if slot["purpose"] == _ENTRY:
        _count_entry(account, state.strategies[s], instrument, sleeve, slot)
    elif slot["kind"] != OrderKind.LIMIT:
        account["leaving_buys" if order.side > 0 else "leaving_sells"] += slot["value"]


def _append(state: State, instrument: Rows, at: int) -> None:
    last = int(instrument["first_order"])
    if last < 0:
        instrument["first_order"] = at
        return
    while state.orders[last]["next"] >= 0:
        last = int(state.orders[last]["next"])
    state.orders[last]["next"] = at


def _count_entry(account: Rows, strategy: Rows, instrument: Rows, sleeve: Rows, slot: Rows) -> None:
    value = slot["value"]
    account["open_entries"] += 1
    sleeve["entering"] += 1
    strategy["entering"] += value
    account["entering_buys" if slot["side"] > 0 else "entering_sells"] += value
    account["entering_margin"] += value * instrument["margin_initial"]
    if slot["side"] > 0 and not instrument["margined"] and instrument["margin_initial"] >= 1.0:
        account["entering_cash"] += value


def _add_positions(state: State, names: Roster) -> None:
    """Sum up what follows from the sleeves: positions of instruments, value in use, counts."""
    account, width = state.account[0], len(names.symbols)
    for n, sleeve in enumerate(state.sleeves):
        strategy, instrument = state.strategies[n // width], state.instruments[n % width]
        held = sleeve["qty"] != 0
        instrument["qty"] += sleeve["qty"]
        instrument["held_lots"] += abs(sleeve["qty"])
        instrument["open_sleeves"] += held
        strategy["used"] += sleeve["used"]
        held = held and not (account["free_on_sent"] and sleeve["exiting"])
        sleeve["counted"] = held or sleeve["entering"] > 0
        account["open_positions"] += sleeve["counted"]
    for i, instrument in enumerate(state.instruments):
        if instrument["held_lots"]:
            instrument["held_at"] = account["held"]
            state.held[account["held"]]["instrument"] = i
            account["held"] += 1


def _tell(state: State, out: Out, names: Roster, ts: int) -> None:
    """Write each position among the fills, so that its trade has a beginning."""
    for n, sleeve in enumerate(state.sleeves):
        if sleeve["qty"] == 0:
            continue
        s, i = divmod(n, len(names.symbols))
        row = out.fills[int(out.root["fills_used"][0])]
        out.root["fills_used"] += 1
        row["ts"], row["qty"], row["price"] = ts, abs(sleeve["qty"]), sleeve["average"]
        row["rate"] = state.currencies[state.instruments[i]["currency"]]["rate"]
        row["score"], row["equity"] = sleeve["score"], state.account[0]["equity"]
        row["instrument"], row["strategy"], row["purpose"] = i, s, Purpose.ADOPT
        row["side"] = Side.LONG if sleeve["qty"] > 0 else Side.SHORT


def _numbers(row: Rows, fields: Sequence[str]) -> Numbers:
    plain = {name: row[name].item() for name in fields}
    return {name: _plain(value) for name, value in plain.items()}


def _plain(value: float) -> float | str | None:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def _named(names: Sequence[str], rows: Rows, fields: Sequence[str]) -> dict[str, Numbers]:
    return {name: _numbers(row, fields) for name, row in zip(names, rows, strict=True)}


def _set(row: Rows, numbers: Numbers) -> None:
    for name, value in numbers.items():
        row[name] = math.nan if value is None else float(value) if value in _INFINITE else value
