"""What of a session is worth telling a person, in words, as its records come.

Somebody who gets a message at night decides by it, so what it says of money is what the books say:
trades are folded from the fills with the arithmetic of `views.trades`, and what was held before a
restart or a handover goes on from the books' own sums. Nothing here writes, waits or reads a clock.

Text that comes from outside (reasons, symbols, names) is made harmless for every channel at once:
what a chat would take for a mention, a link or markup is replaced by what looks like it.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import msgspec

from onefold.domain.records import (
    Action,
    Adoption,
    Bar,
    Command,
    Decision,
    Fill,
    Handover,
    Order,
    OrderNotice,
    Quarantined,
    Record,
    Score,
)
from onefold.domain.words import BY_FILE
from onefold.engine.session import Session
from onefold.engine.standing import OPERATOR
from onefold.ops.trips import NS_PER_S, Moves, Part, Trip, Trips

DAY_NS = 86_400_000_000_000
OUTSIDE_MAX = 200
"""Characters of a text from outside that are told."""
SILENT_SCORES = 3
"""Answers in a row that a model owes before somebody is told."""
TOP_GATES = 3
ROUTINE = frozenset({"starting", "stopping"})
"""Reasons for which books and venue are apart for a moment at each start and stop."""


class Level(IntEnum):
    """How urgent a notice is."""

    INFO = 0
    WARNING = 1
    EMERGENCY = 2


class Notice(msgspec.Struct, frozen=True):
    """Something worth telling: a title of one line, and a text that says more.

    `ts` is in nanoseconds UTC. `facts` has the numbers that the text is made of, unrounded; money
    is in the account's currency. Title and text are safe for every channel, names in `facts` are
    as they came.
    """

    account: str
    kind: str
    level: Level
    ts: int
    title: str
    text: str
    facts: dict[str, Any] = {}


_LOOKALIKES = str.maketrans(
    {
        "@": "\N{FULLWIDTH COMMERCIAL AT}",
        "<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
        ">": "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
        "[": "(",
        "]": ")",
        "`": "'",
        "*": "\N{ASTERISK OPERATOR}",
        "~": "\N{TILDE OPERATOR}",
        "|": "\N{BROKEN BAR}",
        "\\": "\N{SET MINUS}",
        "#": "\N{FULLWIDTH NUMBER SIGN}",
    }
)


def plain(text: object) -> str:
    """Return a text from outside as one short line that no channel takes for markup or a link."""
    line = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in str(text))
    line = " ".join(line.split()).translate(_LOOKALIKES).replace("://", ": //")
    return line if len(line) <= OUTSIDE_MAX else line[: OUTSIDE_MAX - 1] + "…"


def money(amount: float, currency: str, *, signed: bool = False) -> str:
    """Return an amount for people: `+1,234.50 USD`."""
    return f"{amount:{'+' if signed else ''},.2f} {currency}"


def lasting(seconds: float) -> str:
    """Return a duration by its two largest units: `3 d 4 h`."""
    left, said = max(0, round(seconds)), []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            said.append(f"{count} {unit}")
    return " ".join(said[:2]) or "0 s"


def moment(ts: int) -> str:
    """Return a time in nanoseconds UTC for people."""
    return datetime.fromtimestamp(ts // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def day_of(ts: int) -> int:
    """Return the number of the UTC day to which a bar that closes at this time belongs."""
    return (ts - 1) // DAY_NS


Found = list[Notice]


class Notices:
    """Turns the records of one live session into notices; make it when the session has recovered.

    Give every new record to `hear`, in order, before it is folded. Call `look` after a fold for
    what follows from it (a loss limit that was hit); the next `hear` does so too.
    """

    def __init__(self, account: str, session: Session) -> None:
        self.account = account
        self._session = session
        self._currency = session.plan.account.currency
        self._strategies = session.names.strategies
        self._trips = Trips(session)
        self._is_handed_over = False
        self._latched: set[str] = set()
        self._disabled: set[str] = set()
        self._agree = self._apart_told = False
        self._owed: Counter[str] = Counter()
        self._handlers: dict[type, Callable[[Any], Found]] = {
            Action: self._on_action,
            Adoption: self._on_adoption,
            Bar: self._on_bar,
            Command: self._on_command,
            Decision: self._on_decision,
            Fill: self._on_fill,
            Handover: self._on_handover,
            Order: self._on_order,
            OrderNotice: self._on_notice,
            Quarantined: self._on_quarantined,
            Score: self._on_score,
        }
        self._take_books()

    def hear(self, record: Record) -> Found:
        """Return what a record tells that is about to be folded."""
        handler = self._handlers.get(type(record))
        if handler is None:
            return []
        found = self.look()
        found += handler(record)
        return found

    def look(self) -> Found:
        """Return what the last fold has led to by itself."""
        self._trips.settle()
        if self._is_handed_over:
            self._is_handed_over = False
            self._take_books()
        account = self._session.state.account[0]
        ts, found = int(account["ts"]), []
        for field, what in (
            ("daily_stopped", "the day's loss limit was hit; nothing is entered until tomorrow"),
            ("drawdown_stopped", "the drawdown limit was hit; nothing is entered until a reset"),
        ):
            if account[field] and field not in self._latched:
                self._latched.add(field)
                found.append(self._halted(ts, what))
            elif not account[field]:
                self._latched.discard(field)
        disabled = self._session.state.strategies["disabled"]
        if disabled.any() or self._disabled:
            now = {s for s, on in zip(self._strategies, disabled, strict=True) if on}
            for name in sorted(now - self._disabled):
                why = f"{name} has filled too often and is disabled until a reset"
                found.append(self._halted(ts, why, strategy=name))
            self._disabled = now
        if self._agree and not account["reconciled"]:
            self._agree, self._apart_told = False, True
            why = "more was filled than was ordered"
            found.append(self._apart(ts, Level.EMERGENCY, "books and venue are apart", why))
        return found

    def _take_books(self) -> None:
        """Go on from what the books say: switches that are on, and the day so far."""
        account = self._session.state.account[0]
        self._latched = {f for f in ("daily_stopped", "drawdown_stopped") if account[f]}
        disabled = self._session.state.strategies["disabled"]
        self._disabled = {s for s, on in zip(self._strategies, disabled, strict=True) if on}
        self._agree = bool(account["reconciled"])
        self._day: int | None = None
        self._is_whole_day = False
        equity = account["day_equity"] if account["day_end_ts"] else account["equity"]
        self._begin_day(float(equity))

    def _begin_day(self, equity: float) -> None:
        self._day_equity = equity
        self._day_fees = float(self._session.state.account["fees"][0])
        self._day_trades: list[float] = []
        self._gates: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()

    def _on_handover(self, _record: Handover) -> Found:
        self._trips.handed_over()
        self._is_handed_over = True
        return []

    # -- trades -----------------------------------------------------------------------------------

    def _on_order(self, order: Order) -> Found:
        self._trips.order(order)
        return []

    def _on_fill(self, fill: Fill) -> Found:
        return self._moved(self._trips.fill(fill))

    def _on_action(self, action: Action) -> Found:
        return self._moved(self._trips.action(action))

    def _on_notice(self, notice: OrderNotice) -> Found:
        if notice.notice in ("accepted", "unknown"):
            return []
        order, moves = self._trips.gone(notice)
        found = self._moved(moves)
        if notice.notice != "rejected":
            return found
        self._failures["orders rejected"] += 1
        what = "an order" if order is None else f"an order of {order.sleeve[0]} ({order.purpose})"
        symbol, why = plain(notice.instrument), plain(notice.reason)
        title = f"{symbol}: {what} was rejected"
        text = why or "The venue gave no reason."
        facts = {"order": notice.order, "symbol": notice.instrument, "reason": notice.reason}
        return [*found, self._notice("rejected", Level.WARNING, notice.ts, title, text, facts)]

    def _on_adoption(self, adoption: Adoption) -> Found:
        by, why = plain(adoption.operator or "the engine"), plain(adoption.reason)
        symbol = plain(adoption.instrument)
        title = f"{adoption.strategy} took over {adoption.qty:+d} {symbol}"
        text = f"At {adoption.price:.10g}, by {by}: {why}"
        facts = {
            "strategy": adoption.strategy,
            "symbol": adoption.instrument,
            "lots": adoption.qty,
            "price": adoption.price,
        }
        told = self._notice("adopt", Level.WARNING, adoption.ts, title, text, facts)
        moves = self._trips.adoption(adoption)
        # What was put in has just been told; what it has closed has not.
        return [told, *self._moved([m for m in moves if isinstance(m, Trip)])]

    def _moved(self, moves: Moves) -> Found:
        return [self._ended(m) if isinstance(m, Trip) else self._partly(m) for m in moves]

    def _partly(self, part: Part) -> Notice:
        """Return the notice of lots that were entered, or of a part that was left."""
        (strategy, name), symbol = part.sleeve, plain(part.sleeve[1])
        bought = part.enters == (part.side > 0)
        facts = {
            "strategy": strategy,
            "symbol": name,
            "side": _side(part.side),
            "lots": part.lots,
            "price": part.price,
            "held": part.held,
            "reason": part.purpose,
        }
        verb = "bought" if bought else "sold"
        title = f"{strategy} {verb} {part.lots} {symbol} at {part.price:.10g}"
        text = f"It holds {part.held:+d} lots now."
        if not part.enters:
            facts["pnl"] = part.pnl
            made = money(part.pnl, self._currency, signed=True)
            text = f"Part of an exit ({part.purpose}): {made}. {text}"
        kind = "entry" if part.enters else "part"
        return self._notice(kind, Level.INFO, part.ts, title, text, facts)

    def _ended(self, trip: Trip) -> Notice:
        """Return the notice of a whole round trip."""
        self._day_trades.append(trip.pnl)
        side, (strategy, name) = _side(trip.side), trip.sleeve
        made = f"{money(trip.pnl, self._currency, signed=True)} ({trip.pnl_percent:+.2f} %)"
        text = (
            f"{side.capitalize()} {trip.lots} lots, entered at {trip.entry_price:.10g}, "
            f"left at {trip.exit_price:.10g} after {lasting(trip.seconds)}: {trip.reason}. "
            f"Fees {money(trip.fees, self._currency)}."
        )
        facts = {
            **trip._asdict(),
            "sleeve": "/".join(trip.sleeve),
            "strategy": strategy,
            "symbol": name,
            "side": side,
        }
        title = f"{strategy} closed {plain(name)}: {made}"
        return self._notice("exit", Level.INFO, trip.ts, title, text, facts)

    # -- the day ----------------------------------------------------------------------------------

    def _on_bar(self, bar: Bar) -> Found:
        found = self._moved(self._trips.bar(bar.instrument))
        if bar.late:  # history, or what was missed: it neither begins nor ends a day
            return found
        day = day_of(bar.ts)
        if self._day is not None and day > self._day:
            found.append(self._summary(self._day))
            self._begin_day(float(self._session.state.account["equity"][0]))
            self._is_whole_day = True
        self._day = max(day, self._day or day)
        return found

    def _on_decision(self, decision: Decision) -> Found:
        if decision.purpose == "entry" and decision.blocked:
            self._gates[decision.blocked[0]] += 1
        return []

    def _on_quarantined(self, _record: Quarantined) -> Found:
        self._failures["bars refused"] += 1
        return []

    def _summary(self, day: int) -> Notice:
        account = self._session.state.account[0]
        equity, fees = float(account["equity"]), float(account["fees"]) - self._day_fees
        pnl = equity - self._day_equity
        won = sum(p > 0 for p in self._day_trades)
        lost = sum(p < 0 for p in self._day_trades)
        percent = 100.0 * pnl / self._day_equity if self._day_equity else 0.0
        date = datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()
        gates = self._gates.most_common(TOP_GATES)
        since = "" if self._is_whole_day else " (trades, fees and counts since the start)"
        lines = [
            f"Equity {money(equity, self._currency)}, fees {money(fees, self._currency)}.",
            f"Trades closed: {len(self._day_trades)}, won {won}, lost {lost}{since}.",
            f"Positions open: {int(account['open_positions'])}.",
        ]
        if gates:
            lines.append(f"Entries blocked: {', '.join(f'{g} {n}' for g, n in gates)}.")
        if self._failures:
            counts = ", ".join(f"{what} {n}" for what, n in sorted(self._failures.items()))
            lines.append(f"Failures: {counts}.")
        facts = {
            "date": date,
            "pnl": pnl,
            "pnl_percent": percent,
            "equity": equity,
            "fees": fees,
            "won": won,
            "lost": lost,
            "closed": len(self._day_trades),
            "gates": dict(gates),
            "failures": dict(self._failures),
            "whole": self._is_whole_day,
        }
        made = f"{money(pnl, self._currency, signed=True)} ({percent:+.2f} %)"
        ts = (day + 1) * DAY_NS
        return self._notice("summary", Level.INFO, ts, f"{date}: {made}", "\n".join(lines), facts)

    # -- stops and troubles -----------------------------------------------------------------------

    def _on_command(self, command: Command) -> Found:
        if command.command == "unreconciled":
            return self._on_unreconciled(command)
        if command.command == "reconciled":
            self._agree, was_told = True, self._apart_told
            self._apart_told = False
            told = self._apart(command.ts, Level.INFO, "books and venue agree again", "")
            return [told] if was_told else []
        scope = "/".join(plain(n) for n in (command.strategy, command.instrument) if n)
        on, why = scope or "everything", plain(command.reason) or "no reason was given"
        by_engine = command.operator == OPERATOR
        by_file = by_engine and command.reason.startswith(BY_FILE)
        if by_engine and not by_file and command.command in ("kill", "reduce_only"):
            self._failures["halts"] += 1
            return [self._halted(command.ts, f"{command.command} of {on}: {command.reason}")]
        who = plain(command.operator or "a person")
        if by_engine:
            who = "a file" if by_file else "the engine"
        level = Level.EMERGENCY if command.command in ("kill", "flatten") else Level.WARNING
        what = command.command.replace("_", " ")
        facts = {
            "strategy": command.strategy,
            "symbol": command.instrument,
            "operator": command.operator,
            "reason": command.reason,
        }
        title = f"{what}: {on}, by {who}"
        return [self._notice(command.command, level, command.ts, title, f"Reason: {why}", facts)]

    def _on_unreconciled(self, command: Command) -> Found:
        self._agree = False
        if command.operator == OPERATOR and command.reason in ROUTINE:
            return []
        self._apart_told = True
        title = "books and venue are apart; nothing new is entered"
        return [self._apart(command.ts, Level.EMERGENCY, title, command.reason)]

    def _apart(self, ts: int, level: Level, title: str, why: str) -> Notice:
        return self._notice("apart", level, ts, title, plain(why), {"reason": why})

    def _halted(self, ts: int, why: str, *, strategy: str = "") -> Notice:
        facts = {"reason": why, "strategy": strategy}
        title = "the engine has stopped trading" if not strategy else f"{strategy} is stopped"
        return self._notice("halt", Level.EMERGENCY, ts, title, plain(why), facts)

    def _on_score(self, score: Score) -> Found:
        """Tell once of a model that owes several answers in a row, and when it gives some again."""
        owed = self._owed[score.model]
        if score.value is not None:
            del self._owed[score.model]
            if owed < SILENT_SCORES:
                return []
            title, why, level = f"model {plain(score.model)} gives scores again", "", Level.INFO
        else:
            self._failures["scores missing"] += 1
            self._owed[score.model] += 1
            if owed + 1 != SILENT_SCORES:
                return []
            title, why = f"model {plain(score.model)} gives no scores", plain(score.why)
            level = Level.WARNING
        facts = {"model": score.model, "symbol": score.instrument, "reason": score.why}
        return [self._notice("model", level, score.ts, title, why, facts)]

    def _notice(
        self, kind: str, level: Level, ts: int, title: str, text: str, facts: Mapping[str, Any]
    ) -> Notice:
        return Notice(self.account, kind, level, ts, title, text, dict(facts))


def _side(side: int) -> str:
    return "long" if side > 0 else "short"


# -- what befalls an account as a whole -----------------------------------------------------------


def started(account: str, mode: str, status: Mapping[str, Any], ts: int) -> Notice:
    """Return the notice of an account that has recovered; `status` as in its heartbeat."""
    text = f"Mode {mode}, equity {status['equity']:,.2f}, positions {_held(status)}."
    if status.get("killed") or status.get("killed_scopes"):
        text += " A kill switch is on."
    return Notice(account, "start", Level.INFO, ts, f"started, mode {mode}", text, {"mode": mode})


def stopped(account: str, status: Mapping[str, Any], ts: int) -> Notice:
    """Return the notice of an account that has come to a good end."""
    today = status["totals"]["pnl_today"]
    text = f"Equity {status['equity']:,.2f}, today {today:+,.2f}, positions {_held(status)}."
    facts = {"equity": status["equity"], "pnl_today": today}
    return Notice(account, "stop", Level.INFO, ts, "stopped", text, facts)


def failed(account: str, error: BaseException, ts: int) -> Notice:
    """Return the notice of an account that has come to a bad end."""
    why = plain(error)
    title = "failed and does not trade"
    return Notice(account, "failed", Level.EMERGENCY, ts, title, why, {"reason": str(error)})


def waiting(account: str, error: BaseException, ts: int) -> Notice:
    """Return the notice of an account whose feed or venue cannot be reached."""
    title = "cannot be reached, tried again"
    return Notice(account, "waits", Level.WARNING, ts, title, plain(error), {"reason": str(error)})


_COMMANDS = ("kill", "resume", "reduce only", "flatten", "reconciled", "unreconciled", "reset")
_RECORDED: Iterable[str] = (*_COMMANDS, "stopping")


def said(account: str, line: str, ts: int) -> Notice | None:
    """Return the notice of a line that the engine says; None for what its records tell already."""
    if line.startswith(tuple(_RECORDED)):
        return None
    kind = "feed" if line.startswith("no bar of ") else "engine"
    if line.startswith("strategy "):
        kind = "model"
    return Notice(account, kind, Level.WARNING, ts, plain(line), "", {"reason": line})


def _held(status: Mapping[str, Any]) -> str:
    positions = status.get("positions") or {}
    return ", ".join(f"{plain(s)} {q:+d}" for s, q in positions.items()) or "none"
