"""Between the records that people and journals read and the rows that compiled code reads.

Only here do names become indices and None become NaN, and back. An infinite threshold (no limit)
and a value that could not be measured are None in a record, because JSON has neither.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

import numpy as np

from onefold.domain.errors import ConfigError, did_you_mean
from onefold.domain.layouts import EVENT, GATES
from onefold.domain.records import (
    Action,
    Adoption,
    Bar,
    Cancel,
    Command,
    Decision,
    Fill,
    Mandate,
    Order,
    OrderNotice,
    Signal,
)
from onefold.domain.words import (
    ActionKind,
    CommandKind,
    EventKind,
    MandateKind,
    Notice,
    OrderKind,
    Purpose,
    TimeInForce,
)
from onefold.fold.build import Roster
from onefold.fold.gates import GATE_NAMES
from onefold.fold.memory import Rows
from onefold.fold.state import Out, State
from onefold.fold.step import steps_nb

_NAN = math.nan
_FORMAT = struct.Struct(
    "=" + "".join("q" if EVENT[name].kind == "i" else "d" for name in EVENT.fields or ())
)
_NO_OPINION = (0.0, _NAN, _NAN, _NAN, _NAN, _NAN, _NAN, 0, 0)
_SIGNAL, _BAR, _FILL = int(EventKind.SIGNAL), int(EventKind.BAR), int(EventKind.FILL)
_PURPOSES = [p.name.lower() for p in Purpose]
_ORDER_KINDS = [k.name.lower() for k in OrderKind]
_TIMES_IN_FORCE = [t.name.lower() for t in TimeInForce]
_NOTICES = {n.name.lower(): int(n) for n in Notice}
_COMMANDS = {c.name.lower(): int(c) for c in CommandKind}
_MANDATES = {m.name.lower(): int(m) for m in MandateKind}
_BY_SLEEVE = {MandateKind.CONF_MIN, MandateKind.SUPPRESS}
_BY_STRATEGY = {MandateKind.RISK_BUDGET, MandateKind.MAX_POSITION}
_ACTIONS = {a.name.lower(): int(a) for a in ActionKind}
_BY_CURRENCY = {ActionKind.RATE, ActionKind.PAYMENT}
NOTICE_NAMES = [n.name.lower() for n in Notice]


def _number(value: float | None) -> float:
    return _NAN if value is None else value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def check_mandate(mandate: Mandate) -> int:
    """Return a mandate's kind. Raises `ConfigError` for an unknown one, a wrong scope or value."""
    what = _index(mandate.mandate, _MANDATES, "mandate")
    if what not in _BY_SLEEVE and mandate.instrument:
        raise ConfigError(f"mandate {mandate.mandate!r} cannot be for one instrument")
    if what not in _BY_SLEEVE | _BY_STRATEGY and mandate.strategy:
        raise ConfigError(f"mandate {mandate.mandate!r} is for the whole account only")
    if not 0.0 <= mandate.value < math.inf:
        raise ConfigError(f"mandate {mandate.mandate!r}: {mandate.value} is no limit")
    return what


class Inbox:
    """Events that wait to be folded, written as rows.

    Add records, then `fold` them: that is the one call from Python into the decision function.
    """

    def __init__(self, names: Roster, rows: int = 64) -> None:
        self._strategies = {name: n for n, name in enumerate(names.strategies)}
        self._instruments = {name: n for n, name in enumerate(names.symbols)}
        self._currencies = {name: n for n, name in enumerate(names.currencies)}
        self._rows = np.zeros(rows, EVENT)
        self._bytes = self._rows.view(np.uint8).data
        self._used = 0

    def _put(
        self,
        kind: int,
        ts: int,
        instrument: int,
        strategy: int = -1,
        *,
        bar: tuple[float, float, float, int] = (_NAN, _NAN, _NAN, -1),
        opinion: tuple[float, float, float, float, float, float, float, int, int] = _NO_OPINION,
        order: tuple[int, int, int, float] = (0, 0, 0, 0.0),
        value: float = _NAN,
        version: int = 0,
        currency: int = -1,
        side: int = 0,
        what: int = 0,
    ) -> None:
        if self._used == len(self._rows):
            self._grow()
        _FORMAT.pack_into(
            self._bytes,
            self._used * EVENT.itemsize,
            ts,
            *bar,
            *opinion,
            *order,
            value,
            version,
            instrument,
            strategy,
            currency,
            kind,
            side,
            what,
        )
        self._used += 1

    def _grow(self) -> None:
        self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._bytes = self._rows.view(np.uint8).data

    def bar(self, bar: Bar) -> None:
        """Add a closed bar."""
        left = -1 if bar.to_close_s is None else bar.to_close_s
        self._put(
            _BAR,
            bar.ts,
            self._instruments[bar.instrument],
            bar=(bar.high, bar.low, bar.close, left),
        )

    def signal(self, s: Signal) -> None:
        """Add a strategy's opinion."""
        self._put(
            _SIGNAL,
            s.ts,
            self._instruments[s.instrument],
            self._strategies[s.strategy],
            opinion=(
                s.confidence,
                _number(s.score),
                _number(s.edge),
                _number(s.volatility),
                _number(s.trend),
                _number(s.barrier),
                _number(s.price),
                s.unready,
                len(s.refused),
            ),
            side=s.side,
        )

    def fill(self, fill: Fill) -> None:
        """Add a fill."""
        self._put(
            _FILL,
            fill.ts,
            self._instruments[fill.instrument],
            self._strategies[fill.strategy],
            opinion=(0.0, _NAN, _NAN, _NAN, _NAN, _NAN, fill.price, 0, 0),
            order=(fill.id, fill.order, fill.qty, fill.fee),
            side=fill.side,
        )

    def adoption(self, adoption: Adoption) -> None:
        """Add lots that a person takes over; raises `ConfigError` for a name that is not known."""
        if not math.isfinite(adoption.price):
            raise ConfigError(f"an adoption needs a price, not {adoption.price}")
        self._put(
            int(EventKind.ADOPTION),
            adoption.ts,
            _index(adoption.instrument, self._instruments, "instrument"),
            _index(adoption.strategy, self._strategies, "strategy"),
            opinion=(0.0, _NAN, _NAN, _NAN, _NAN, _NAN, adoption.price, 0, 0),
            order=(0, 0, abs(adoption.qty), 0.0),
            side=1 if adoption.qty > 0 else -1,
        )

    def notice(self, notice: OrderNotice) -> None:
        """Add what a venue said of an order."""
        self._put(
            int(EventKind.NOTICE),
            notice.ts,
            self._instruments[notice.instrument],
            order=(0, notice.order, 0, 0.0),
            what=_NOTICES[notice.notice],
        )

    def command(self, command: Command) -> None:
        """Add an operator's command; raises `ConfigError` for a name that is not known."""
        self._put(
            int(EventKind.COMMAND),
            command.ts,
            *self._scope(command.instrument, command.strategy),
            what=_index(command.command, _COMMANDS, "command"),
        )

    def mandate(self, mandate: Mandate) -> None:
        """Add a mandate; raises `ConfigError` for an unknown name, a wrong scope or value."""
        what = check_mandate(mandate)
        self._put(
            int(EventKind.MANDATE),
            mandate.ts,
            *self._scope(mandate.instrument, mandate.strategy),
            value=mandate.value,
            version=mandate.version,
            what=what,
        )

    def action(self, action: Action) -> None:
        """Add a corporate action or a rate; raises `ConfigError` for a name that is not known."""
        instrument = currency = -1
        if action.instrument:
            instrument = _index(action.instrument, self._instruments, "instrument")
        if action.currency:
            currency = _index(action.currency, self._currencies, "currency")
        what = _index(action.action, _ACTIONS, "action")
        if (currency if what in _BY_CURRENCY else instrument) < 0:
            raise ConfigError(f"action {action.action!r} at {action.ts} does not say of what")
        positive = what in {ActionKind.SPLIT, ActionKind.RATE}
        if not math.isfinite(action.value) or (positive and action.value <= 0.0):
            wanted = "a number above zero" if positive else "a number"
            raise ConfigError(
                f"action {action.action!r} at {action.ts} needs {wanted}, not {action.value}"
            )
        if what == ActionKind.RATE and currency == 0:
            raise ConfigError(f"{action.currency} is the base currency: its rate is 1")
        self._put(
            int(EventKind.ACTION),
            action.ts,
            instrument,
            value=action.value,
            currency=currency,
            what=what,
        )

    def clock(self, ts: int) -> None:
        """Add the passing of time."""
        self._put(int(EventKind.CLOCK), ts, -1)

    def _scope(self, instrument: str, strategy: str) -> tuple[int, int]:
        return (
            _index(instrument, self._instruments, "instrument") if instrument else -1,
            _index(strategy, self._strategies, "strategy") if strategy else -1,
        )

    def fold(self, state: State, out: Out) -> None:
        """Fold all events that wait, in the order in which they were added."""
        steps_nb(state.root, out.root, self._rows, 0, self._used)
        self._used = 0

    def take(self) -> Rows:
        """Return the events that wait as rows, and forget them."""
        rows = self._rows[: self._used].copy()
        self._used = 0
        return rows


def _index(name: str, names: dict[str, int], what: str) -> int:
    if name not in names:
        raise ConfigError(f"unknown {what} {name!r}{did_you_mean(name, names)}")
    return names[name]


class Outbox:
    """What the fold wrote, as records: each call of `decisions` or `orders` yields what is new.

    The buffers are emptied only when they are full, because that costs more than reading.
    """

    def __init__(self, out: Out, names: Roster, room: int) -> None:
        """Read from `out`, which has at least `room` rows more than one step can write."""
        self._out = out
        self._room = room
        self._symbols = names.symbols
        self._strategies = names.strategies
        self._decisions_used = out.root["decisions_used"]
        self._orders_used = out.root["orders_used"]
        self._fills_used = out.root["fills_used"]
        self._decisions = self._orders = 0
        self._trace = out.trace.view(np.float64).reshape(len(out.trace), 2 * GATES)
        self._unknown: dict[bytes, list[int]] = {}

    def decisions(self) -> Iterator[Decision]:
        """Yield the decisions made since the last call."""
        start, self._decisions = self._decisions, self._decisions_used.item(0)
        if start == self._decisions:
            return
        rows = self._out.decisions
        for k in range(start, self._decisions):
            trace = self._known(k)
            (id_, ts, qty, price, confidence, score, equity, position, blocked, order, i, s,
             purpose, side, _) = rows[k].item()  # fmt: skip
            yield Decision(  # by the order of its fields: naming sixteen takes half as long again
                id_,
                ts,
                self._symbols[i],
                self._strategies[s],
                _PURPOSES[purpose],
                side,
                qty,
                _finite(price),
                confidence,
                _finite(score),
                equity,
                position,
                trace[:GATES],
                trace[GATES:],
                _names_of(blocked) if blocked else [],
                order,
            )

    def _known(self, k: int) -> list[float | None]:
        """Return the values, then the thresholds of a decision; what is not finite is None."""
        row = self._trace[k]
        trace: list[float | None] = row.tolist()
        finite = np.isfinite(row)
        key = finite.tobytes()
        unknown = self._unknown.get(key)
        if unknown is None:  # there are few such patterns, and looking one up is cheaper
            unknown = self._unknown[key] = np.flatnonzero(~finite).tolist()
        for gate in unknown:
            trace[gate] = None
        return trace

    def orders(self) -> Iterator[Order | Cancel]:
        """Yield the instructions given since the last call."""
        start, self._orders = self._orders, self._orders_used.item(0)
        if start == self._orders:
            return
        rows = self._out.orders
        for k in range(start, self._orders):
            (id_, ts, qty, price, expire_ts, i, s, purpose, side, kind, tif, reduce_only,
             cancel) = rows[k].item()  # fmt: skip
            if cancel:
                yield Cancel(order=id_, ts=ts, instrument=self._symbols[i])
                continue
            yield Order(
                id=id_,
                ts=ts,
                instrument=self._symbols[i],
                strategy=self._strategies[s],
                purpose=_PURPOSES[purpose],
                side=side,
                qty=qty,
                order_kind=_ORDER_KINDS[kind],
                price=_finite(price),
                time_in_force=_TIMES_IN_FORCE[tif],
                expire_ts=expire_ts or None,
                reduce_only=bool(reduce_only),
            )

    def full(self) -> bool:
        """Return whether the buffers must be emptied before the next step."""
        return bool(
            self._decisions_used.item(0) >= self._room
            or self._orders_used.item(0) >= self._room
            or self._fills_used.item(0) >= self._room
        )

    def emptied(self) -> None:
        """Begin at the first row again, after the buffers were cleared."""
        self._decisions = self._orders = 0


def _names_of(blocked: int) -> list[str]:
    return [name for bit, name in enumerate(GATE_NAMES) if blocked >> bit & 1]
