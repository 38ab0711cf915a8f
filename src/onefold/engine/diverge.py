"""Compare a run that traded with the one that was expected of it, money by cause.

Both are gone through again, by replay or as a backtest, because only the fold says what splits,
rolls and rates have done to the books. What the first run's venue would have charged at another bar
is asked of the simulated venue itself, and what a strategy has seen is computed from the bars of
both, so that a signal that differs is put down to data only where the features do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from onefold.domain.convert import to_columns
from onefold.domain.errors import ConfigError, JournalError
from onefold.domain.records import Action, Adoption, Bar, Fill, Handover, Order, SessionStart
from onefold.domain.words import Mode, OrderState, Purpose
from onefold.engine.recorded import recorded
from onefold.engine.recorder import Recorder
from onefold.engine.replay import replaying, started
from onefold.engine.session import Input, Session
from onefold.engine.told import Heard, Notes
from onefold.fold.state import State
from onefold.signals.feature import Feature, FeatureSet, Node
from onefold.signals.model import scores_of
from onefold.sim.exchange import SimulatedVenue
from onefold.sim.plan import Plan
from onefold.views.differences import SeesOther, same_bar
from onefold.views.divergence import Books, Divergence, Facts, Lot, Move, Quote
from onefold.views.divergence import diverge as split

CASH = 1e12
"""So much that no price is refused for want of money."""
BPS = 1e-4
EARLY_NS = -100 * 365 * 86_400_000_000_000
"""So long ago that no latency keeps an order from a bar."""
Seen = Callable[[int], None]


class Side(NamedTuple):
    """One run gone through: its plan, its books, and its bars in the order of the records."""

    plan: Plan
    books: Books
    bars: Mapping[str, list[Bar]]


def recalled(path: str | Path, plan: Plan, *, seen: Seen | None = None) -> Side:
    """Go through a journal with the plan that it was written with.

    Raises as `engine.replay.replay`, and `JournalError` for a journal without a bar.
    """
    start, notes = started(path), Notes()
    session, _ = replaying(path, plan, records=notes.hear)
    income = _Income(session, seen)
    session.resume()
    if not notes.bars:
        raise JournalError(f"the journal in {path} has no bar yet, so there is nothing to compare")
    return _side(plan, notes, session, income, confirmed=start.confirmed)


def simulated(
    plan: Plan, inputs: Iterable[Input], start: SessionStart, *, seen: Seen | None = None
) -> Side:
    """Run a plan over inputs at the simulated venue, without a journal."""
    notes = Notes()
    venue = SimulatedVenue(plan.book(), plan.names)
    session = Session(plan, venue, Recorder(iter(()), None, seen=notes.hear), start)
    income = _Income(session, seen)
    for record in inputs:
        session.take(record)
    return _side(plan, notes, session, income, confirmed=False)


def twin(path: str | Path, plan: Plan, *, seen: Seen | None = None) -> Side:
    """Return what a live journal's inputs would have come to at the simulated venue.

    `plan` is the one that it was written with. Raises as `engine.recorded.recorded`.
    """
    found, notes = recorded(path), Notes()
    session = found.session(plan, notes.hear)
    income = _Income(session, seen)
    for record in found.inputs:
        session.take(record)
    return _side(plan, notes, session, income, confirmed=False)


def diverge(live: Side, back: Side) -> Divergence:
    """Split what the live run made more than the backtest into classes.

    Raises `ConfigError` for runs that have no strategy in an instrument in common.
    """
    if not live.books.told.sleeves & back.books.told.sleeves:
        ours, theirs = (
            ", ".join(sorted(f"{s}/{i}" for s, i in side.books.told.sleeves))
            for side in (live, back)
        )
        raise ConfigError(f"the two have no strategy in common: {ours} against {theirs}")
    if live.plan.account.currency != back.plan.account.currency:
        raise ConfigError(
            f"the accounts are in {live.plan.account.currency} and {back.plan.account.currency}: "
            "their money cannot be compared"
        )
    return split(back.books, live.books, _quote_of(back.plan), _sees_other(back, live))


class _Income:
    """Money that comes in other than by trades, heard of between the inputs of a session."""

    def __init__(self, session: Session, seen: Seen | None) -> None:
        self.cash = np.zeros(len(session.state.currencies))
        self._session, self._seen = session, seen
        self._before = session.state.currencies["cash"].copy()
        session.watch(self._look)

    def _look(self, record: Input, _signals: object) -> None:
        now = self._session.state.currencies["cash"]
        # A roll is a trade of two contracts, and its cost stands among the fills.
        if isinstance(record, Action) and record.action != "roll":
            self.cash += now - self._before
        self._before[:] = now
        if self._seen is not None:
            self._seen(self._session.inputs)


def _side(plan: Plan, notes: Notes, session: Session, income: _Income, *, confirmed: bool) -> Side:
    state, names = session.state, plan.names
    rates = np.nan_to_num(state.currencies["rate"])
    taken = [_adopted(heard) for heard in notes.heard if isinstance(heard.record, Adoption)]
    opening = 0.0
    if notes.handover is not None:
        held, opening = _opening(
            notes.handover, plan, dict(zip(names.currencies, rates, strict=True))
        )
        taken += held
    books = Books(
        told=notes.told(plan),
        facts=_facts(plan, state),
        lots=_lots(notes, confirmed=confirmed),
        taken=taken,
        moves=[
            Move(heard.place, heard.record.instrument, heard.record.action, heard.record.value)
            for heard in notes.heard
            if isinstance(heard.record, Action) and heard.record.action in ("split", "roll")
        ],
        held={
            (s, i): int(state.sleeves["qty"][n])
            for n, (s, i) in enumerate((s, i) for s in names.strategies for i in names.symbols)
        },
        rolls=_rolls(plan, session),
        income=float(income.cash @ rates),
        opening=opening,
        change=float(state.account["equity"][0] - state.account["start_equity"][0]),
        working=frozenset(state.orders["id"][state.orders["state"] != OrderState.FREE].tolist()),
    )
    return Side(plan, books, notes.bars)


def _facts(plan: Plan, state: State) -> dict[str, Facts]:
    rates = np.nan_to_num(state.currencies["rate"])[state.instruments["currency"]]
    marks = np.nan_to_num(state.instruments["mark"])  # without a mark there was no trade
    return {
        one.symbol: Facts(
            one.point_value, float(rate), float(mark), one.commission, one.commission_bps * BPS
        )
        for one, rate, mark in zip(plan.instruments, rates, marks, strict=True)
    }


def _lots(notes: Notes, *, confirmed: bool) -> dict[int, list[Lot]]:
    """Return the fills by order, each with its bar.

    The simulated venue fills in the bar that was heard last. A real one answers before the bar is
    over: its fill belongs to the next bar that closes at the fill's time or after it.
    """
    lots: dict[int, list[Lot]] = {}
    for place, record, count in notes.heard:
        if not isinstance(record, Fill):
            continue
        bars = notes.bars.get(record.instrument, [])
        if confirmed:
            later = (bar.ts for bar in bars[count:] if bar.ts >= record.ts)
            ts = next(later, record.ts)
        else:
            ts = bars[count - 1].ts if count else record.ts
        lots.setdefault(record.order, []).append(Lot(record, place, ts))
    return lots


def _adopted(heard: Heard) -> Lot:
    one = heard.record
    side = 1 if one.qty > 0 else -1  # type: ignore[union-attr]
    fill = Fill(0, 0, one.ts, one.instrument, one.strategy, side, abs(one.qty), one.price)  # type: ignore[union-attr]
    return Lot(fill, heard.place, one.ts)


def _opening(handover: Handover, plan: Plan, rates: Mapping[str, float]) -> tuple[list[Lot], float]:
    """Return what was held at the start, at its average, and what that leaves out of the change.

    The change of equity is counted from the marks of the start, and in the rates of the end also
    what was there in other currencies.
    """
    of = {one.symbol: one for one in plan.instruments}
    worth = {c: float(numbers["cash"] or 0.0) for c, numbers in handover.currencies.items()}
    lots, totals = [], dict.fromkeys(of, 0)
    for name, row in handover.sleeves.items():
        strategy, _, symbol = name.rpartition("/")
        qty, average = int(row["qty"] or 0), float(row["average"] or 0.0)
        if qty == 0 or symbol not in of:
            continue
        side = 1 if qty > 0 else -1
        fill = Fill(0, 0, handover.ts, symbol, strategy, side, abs(qty), average)
        lots.append(Lot(fill, 0, handover.ts))
        worth[of[symbol].currency] += qty * of[symbol].point_value * average
        totals[symbol] += qty
    for symbol, qty in totals.items():
        if qty and of[symbol].margined:
            average = float(handover.instruments[symbol]["average"] or 0.0)
            worth[of[symbol].currency] -= qty * of[symbol].point_value * average
    equity = float(handover.account["equity"] or 0.0)
    return lots, sum(rates.get(c, 0.0) * amount for c, amount in worth.items()) - equity


def _rolls(plan: Plan, session: Session) -> dict[str, float]:
    """Return what rolls have cost by strategy, at the rates of the end."""
    names, state = plan.names, session.state
    fills = session.result().fills
    rates = np.nan_to_num(state.currencies["rate"])[state.instruments["currency"]]
    costs = dict.fromkeys(names.strategies, 0.0)
    for row in fills[fills["purpose"] == Purpose.ROLL]:
        costs[names.strategies[row["strategy"]]] += float(row["fee"] * rates[row["instrument"]])
    return costs


def _quote_of(plan: Plan) -> Quote:
    """Return what asks the simulated venue of a plan for the price of an order in a bar."""
    rich = replace(plan, account=plan.account.model_copy(update={"cash": CASH}))
    state = rich.state(Mode.BACKTEST)

    def quote(order: Order, bar: Bar) -> float | None:
        if order.instrument not in rich.names.symbols:
            return None
        venue = SimulatedVenue(rich.book(), rich.names)
        venue.restate(state)
        venue.send([msgspec.structs.replace(
            order, ts=EARLY_NS, time_in_force="gtc", expire_ts=None, reduce_only=False
        )])  # fmt: skip
        answers = [*venue.open(bar), *venue.range(bar)]
        return next((said.price for said in answers if isinstance(said, Fill)), None)

    return quote


def _sees_other(back: Side, live: Side) -> SeesOther:
    """Return what says whether a strategy's features differ at a bar because the bars do."""
    first = {symbol: _first_other(back, live, symbol) for symbol in {*back.bars, *live.bars}}
    known: dict[tuple[str, str], set[int]] = {}

    def sees(strategy: str, symbol: str, ts: int) -> bool:
        since = first.get(symbol)
        if since is None or ts < since:
            return False
        bars = [side.books.told.bars.get(symbol, {}).get(ts) for side in (back, live)]
        if not same_bar(*bars):
            return True
        if (strategy, symbol) not in known:
            known[strategy, symbol] = _other_features(back, live, strategy, symbol)
        return ts in known[strategy, symbol]

    return sees


def _first_other(back: Side, live: Side, symbol: str) -> int | None:
    """Return the close of the first bar that differs between two runs, None where none does."""
    ours, theirs = (side.books.told.bars.get(symbol, {}) for side in (back, live))
    other = (ts for ts in {*ours, *theirs} if not same_bar(ours.get(ts), theirs.get(ts)))
    return min(other, default=None)


def _other_features(back: Side, live: Side, strategy: str, symbol: str) -> set[int]:
    """Return the closes at which the same features have other values on the two runs' bars."""
    placed = {p.name: p.strategy for p in live.plan.placements}
    if strategy not in placed:
        return set()
    features = FeatureSet(_plain(placed[strategy].features.values()))
    rows = []
    for side in (back, live):
        columns = to_columns(side.bars.get(symbol, []))
        values = features.batch(columns)
        matrix = np.column_stack([np.zeros(columns.rows), *values.values()])
        rows.append(dict(zip(columns.ts.tolist(), matrix, strict=True)))
    return {
        ts
        for ts in rows[0].keys() & rows[1].keys()
        if not np.array_equal(rows[0][ts], rows[1][ts], equal_nan=True)
    }


def _plain(nodes: Iterable[Node]) -> list[Feature]:
    """Return features; in place of a score, which only a model can give, what the model sees."""
    found: list[Feature] = []
    for node in nodes:
        scores = scores_of([node])
        if scores:
            found += [feature for score in scores for feature in score.model.features]
        elif isinstance(node, Feature):
            found.append(node)
    return list(dict.fromkeys(found))
