"""The journal's records as log lines: each on its channel, tied together from the bar to the fill.

The journal is the record, and this is for whoever reads along. What belongs together has the same
`correlation`, the instrument and the time of the bar, `BTCUSDT@2026-11-28T07:00:00Z`: the bar, the
signals and decisions that followed, the order, its fills and what the venue said of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from onefold.domain.records import (
    Action,
    Adoption,
    Bar,
    Cancel,
    Command,
    Decision,
    Fill,
    Handover,
    Mandate,
    Order,
    OrderNotice,
    Quarantined,
    Record,
    Score,
    SessionStart,
    Signal,
)
from onefold.engine.session import Session

SIDES = {1: "buy", -1: "sell"}
ORDERS_MAX = 10_000
"""Orders whose correlation is remembered."""
NS_PER_S = 1_000_000_000

trading = logging.getLogger("onefold.trading.records")
bars = logging.getLogger("onefold.market_data.records")
audit = logging.getLogger("onefold.audit.records")


class Named(Protocol):
    """What is to be known of the account whose records these are."""

    @property
    def name(self) -> str:
        """Return the account's name."""


def time_of(ts: int) -> str:
    """Return nanoseconds UTC as a time that sorts, without a fraction where there is none."""
    seconds, rest = divmod(ts, NS_PER_S)
    text = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
    return f"{text}.{rest:09d}Z" if rest else f"{text}Z"


def correlation_of(instrument: str, ts: int) -> str:
    """Return what ties everything together that follows from one bar of an instrument."""
    return f"{instrument}@{time_of(ts)}"


def log_records(account: Named, session: Session) -> Callable[[Record], None]:
    """Return what logs each record of a session; give it to a session that has recovered."""
    return RecordLog(account.name, session).hear


class RecordLog:
    """Logs the records of one session as they come."""

    def __init__(self, account: str, session: Session) -> None:
        self._account, self._session = account, session
        self._of_order = {o.id: correlation_of(o.instrument, o.ts) for o in session.working()}
        self._blocked: dict[tuple[str, str, str], str] = {}
        audit.info(
            "the session of %s begins after %d inputs",
            account,
            session.inputs,
            extra={"account": account, "inputs": session.inputs},
        )

    def hear(self, record: Record) -> None:
        """Log a record."""
        match record:
            case Bar():
                if bars.isEnabledFor(logging.DEBUG):
                    self._write(bars, logging.DEBUG, _bar_line(record), record, record.ts)
            case Signal() | Score():
                if trading.isEnabledFor(logging.DEBUG):
                    self._write(trading, logging.DEBUG, type(record).__name__, record, record.ts)
            case Decision():
                self._decided(record)
            case Order() | Cancel() | Fill() | OrderNotice():
                self._ordered(record)
            case Quarantined():
                line = f"refused: {record.reason} {record.detail}".rstrip()
                self._write(bars, logging.WARNING, line, record)
            case Command() | Mandate() | Adoption():
                self._write(audit, _weight(record), _audit_line(record), record)
            case Action():
                line = f"{record.action} {record.value:g} {record.reason}".rstrip()
                self._write(trading, logging.INFO, line, record)
            case SessionStart() | Handover():
                self._begun(record)

    def _decided(self, decision: Decision) -> None:
        """Log a decision; one that is blocked as the one before is only for whoever looks close."""
        correlation = correlation_of(decision.instrument, decision.ts)
        key = (decision.strategy, decision.instrument, decision.purpose)
        why = decision.blocked[0] if decision.blocked else ""
        is_news = not why or self._blocked.get(key) != why
        self._blocked[key] = why
        if decision.order:
            self._remember(decision.order, correlation)
        what = (
            f"order {decision.order}" if decision.order else f"blocked by {why}" if why else "none"
        )
        side = SIDES.get(decision.side, "")
        line = f"decision: {decision.purpose} {side} {decision.qty} {decision.instrument}: {what}"
        facts = {
            "decision": decision.id,
            "purpose": decision.purpose,
            "side": decision.side,
            "qty": decision.qty,
            "price": decision.price,
            "confidence": decision.confidence,
            "score": decision.score,
            "blocked": decision.blocked,
            "order": decision.order,
        }
        self._say(
            trading,
            logging.INFO if is_news else logging.DEBUG,
            " ".join(line.split()),
            correlation=correlation,
            symbol=decision.instrument,
            strategy=decision.strategy,
            **facts,
        )

    def _ordered(self, record: Order | Cancel | Fill | OrderNotice) -> None:
        number = record.id if isinstance(record, Order) else record.order
        correlation = self._of_order.get(number)
        if correlation is None and isinstance(record, Order):
            correlation = correlation_of(record.instrument, record.ts)
            self._remember(number, correlation)
        is_trouble = isinstance(record, OrderNotice) and record.notice in ("rejected", "unknown")
        facts = {name: v for name, v in _plain(record).items() if name not in ("id", "order")}
        self._say(
            trading,
            logging.WARNING if is_trouble else logging.INFO,
            _order_line(record, number),
            **{"order": number, "correlation": correlation, **facts},
        )

    def _begun(self, record: SessionStart | Handover) -> None:
        """Log how a journal begins, without the configuration and books that it holds."""
        facts = _plain(record)
        kept = {name: v for name, v in facts.items() if isinstance(v, str | int | float)}
        line = "a journal begins" if isinstance(record, SessionStart) else "taken over from before"
        self._say(audit, logging.INFO, line, **kept)

    def _remember(self, order: int, correlation: str) -> None:
        if len(self._of_order) >= ORDERS_MAX:
            working = {one.id for one in self._session.working()}
            newest = list(self._of_order.items())[-ORDERS_MAX // 2 :]
            old = {id_: c for id_, c in self._of_order.items() if id_ in working}
            self._of_order = {**old, **dict(newest)}
        self._of_order[order] = correlation

    def _write(
        self, log: logging.Logger, level: int, line: str, record: Record, bar_ts: int | None = None
    ) -> None:
        facts = _plain(record)
        if bar_ts is not None:
            facts["correlation"] = correlation_of(facts["symbol"], bar_ts)
        self._say(log, level, line, **facts)

    def _say(self, log: logging.Logger, level: int, line: str, **facts: Any) -> None:
        told = {"told": True} if facts.get("record") == "command" else {}
        log.log(level, "%s", line, extra={"account": self._account, **facts, **told})


def _plain(record: Record) -> dict[str, Any]:
    """Return a record's fields for a log line, whose own fields have other names."""
    facts = msgspec.structs.asdict(record)
    names = {"instrument": "symbol", "ts": "at", "kind": "what", "name": "called"}
    plain = {
        names.get(name, name): value for name, value in facts.items() if value not in ("", [], None)
    }
    plain["at"] = time_of(facts["ts"])
    plain["record"] = type(record).__struct_config__.tag
    return plain


def _bar_line(bar: Bar) -> str:
    return f"bar {bar.instrument}: {bar.open:g} {bar.high:g} {bar.low:g} {bar.close:g}"


def _order_line(record: Order | Cancel | Fill | OrderNotice, number: int) -> str:
    match record:
        case Order():
            price = "" if record.price is None else f" at {record.price:g}"
            what = (
                f"{SIDES[record.side]} {record.qty} {record.instrument} {record.order_kind}{price}"
            )
            return f"order {number}: {record.purpose} {what}"
        case Cancel():
            return f"order {number}: cancel"
        case Fill():
            what = f"{SIDES[record.side]} {record.qty} {record.instrument} at {record.price:g}"
            return f"order {number}: filled {what}"
    return f"order {number}: {record.notice} {record.reason}".rstrip()


def _audit_line(record: Command | Mandate | Adoption) -> str:
    match record:
        case Command():
            return f"{record.command} by {record.operator or 'a person'}: {record.reason}"
        case Mandate():
            return f"mandate {record.version}: {record.mandate} {record.value:g}: {record.cause}"
    return f"adopted {record.qty} {record.instrument} at {record.price:g}: {record.reason}"


def _weight(record: Record) -> int:
    is_stop = isinstance(record, Command) and record.command in ("kill", "flatten", "reduce_only")
    return logging.WARNING if is_stop else logging.INFO
