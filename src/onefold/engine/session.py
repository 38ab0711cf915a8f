"""The live loop: record, step, record, commit, send.

A wake-up brings inputs: closed bars, a command, a mandate, a corporate action. Everything that they
cause is recorded before it happens, and sealed by one commit before an order leaves. Time
comes with the inputs; nothing here reads a clock. A session that is opened on a journal with
records first goes through all of them again (`Recorder`), so start and recovery are the same thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from onefold.domain.errors import ConfigError, DataError, did_you_mean
from onefold.domain.intake import admitted
from onefold.domain.ports import Venue
from onefold.domain.records import (
    Action,
    Adoption,
    AnyRecord,
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
    Refusal,
    Score,
    SessionStart,
    Signal,
)
from onefold.domain.words import Mode, OrderState
from onefold.engine.inference import NOT_ASKED, Inference
from onefold.engine.recorder import Recorder
from onefold.fold.codec import Inbox, Outbox
from onefold.fold.handover import take_over
from onefold.fold.state import Out, State
from onefold.signals.feature import Kernel, all_known
from onefold.signals.gate import Measured
from onefold.signals.model import ModelScore, scores_of
from onefold.signals.signal import NOTHING_HELD, Held, SignalRow
from onefold.signals.stream import SignalSetStream
from onefold.sim.backtest import Run
from onefold.sim.outcome import Collector, check_books
from onefold.sim.plan import Plan

Input = Bar | Quarantined | Action | Adoption | Command | Mandate | Fill | OrderNotice
"""What a session takes. Fills and notices are inputs where a real venue answers in its own time; a
simulated one answers when it is asked, and its answers stand in the journal after the question."""

_NAN = float("nan")
INPUTS_PER_COMMIT = 64
"""Inputs that are there at once and share a commit when nothing has to leave in between."""
ORDERED_MIN = 64
"""Orders that are remembered at least before those that are over are forgotten."""
ROOM = 256
"""Rows of output that are collected before they are moved on."""


class _Watched(NamedTuple):
    """One instrument's strategies, the rows of their sleeves, the models they ask, their stream."""

    strategies: list[str]
    sleeves: list[int]
    models: list[list[str]]
    stream: SignalSetStream


class Session:
    """One run, event by event, with a venue and a recorder.

    `start` says what runs; its time is set to that of the first input. Give inputs to `on`, in
    order, or a whole feed to `run`. `inputs` counts those taken; `decided` has the decisions of the
    last one. Without `keep` it has no result, and its memory does not grow: all is in the journal.
    `handover` is what a new journal begins with when there was one before. `inference` asks the
    models; what they said stands in the journal, and is taken from there unless `asks_again`.
    """

    def __init__(
        self,
        plan: Plan,
        venue: Venue,
        recorder: Recorder,
        start: SessionStart,
        *,
        handover: Handover | None = None,
        inference: Inference | None = None,
        asks_again: bool = False,
        keep: bool = True,
    ) -> None:
        self.plan = plan
        self.inference = inference or Inference()
        self._asks_again = asks_again
        self._bar_ts = 0
        self.names = plan.names
        self.state = plan.state(Mode[start.mode.upper()])
        self.inputs = 0
        self.decided: list[Decision] = []
        self._venue = venue
        venue.restate(self.state)
        self._recorder = recorder
        self._start = start
        self._handover = handover
        self._carried_ts: dict[str, int] = {}
        self._started = False
        self._seen: Callable[[Input, list[Signal]], None] | None = None
        self._inbox = Inbox(self.names)
        self._out = Out(ROOM + 8 * len(self.state.sleeves) + len(self.state.orders))
        self._outbox = Outbox(self._out, self.names, ROOM)
        self._keep = keep
        self._collector = Collector()
        self._pending: list[Order | Cancel] = []
        self._ordered: dict[int, Order] = {}
        self._fingerprints: list[int] = []
        self._watched = {symbol: self._watched_on(i) for i, symbol in enumerate(self.names.symbols)}
        self._holdings = self.state.sleeves[["qty", "average", "bars_held"]]
        self._equity = self.state.account["equity"]
        self._fault = self.state.account["fault"]
        self._day_end = self.state.account["day_end_ts"]
        self._ts: list[int] = []
        self._curve: list[float] = []

    def _watched_on(self, i: int) -> _Watched:
        numbers, signals = self.plan.on(self.names.symbols[i])
        sleeves = [n * len(self.names.symbols) + i for n in numbers]
        stream = signals.stream(partial(self._scored, self.names.symbols[i]))
        placed = [self.plan.placements[n] for n in numbers]
        models = [sorted(s.name for s in scores_of(p.strategy.features.values())) for p in placed]
        return _Watched([p.name for p in placed], sleeves, models, stream)

    def _scored(self, symbol: str, feature: ModelScore, ask: Kernel) -> Kernel:
        """Return what gives a model's score of an instrument, and records it before it is used."""
        model = feature.name

        def score(values: Any) -> float:
            if not all_known(values):
                return _NAN
            said = self._recorder.score(symbol, self._bar_ts, model)
            if said is None or (self._asks_again and said.why not in NOT_ASKED):
                answer = self.inference.ask(feature, ask, values)
                said = Score(symbol, self._bar_ts, model, *answer)
            self._recorder.append(said)
            return _NAN if said.value is None else said.value

        return score

    def watch(self, seen: Callable[[Input, list[Signal]], None]) -> None:
        """Call `seen` after each input that was folded, with its signals: a bar has some."""
        self._seen = seen

    def resume(self) -> int:
        """Go through what the journal holds, checking every record; return the inputs seen."""
        while (record := self._recorder.input()) is not None:
            if isinstance(record, SessionStart):
                self._begin(record)
            elif isinstance(record, Handover):
                self._take_over(record)
            else:
                self.on(_as_input(record))
        return self.inputs

    def run(self, feed: Iterable[Input], wait: Callable[[Input], None] | None = None) -> None:
        """Take a feed from where the journal ends to its end; `wait` is called before each input.

        Without `wait` the inputs are all there already, and share commits: nothing leaves before
        its record is durable, so an order still makes one of its own. Raises `DataError` when the
        feed does not have the recorded inputs any more.
        """
        inputs: Iterator[Input] = iter(feed)
        for number, expected in enumerate(self._fingerprints, 1):
            found = next(inputs, None)
            if found is None or hash(found) != expected:
                raise DataError(
                    f"the feed has changed since the journal was written: input {number} of "
                    f"{self.inputs} is now {found}; begin a new journal"
                )
        for record in inputs:
            if wait is not None:
                wait(record)
            self.take(record)
            if wait is not None:
                self._recorder.flush()
            elif self.inputs % INPUTS_PER_COMMIT == 0:
                self._recorder.commit()
        self._recorder.flush()

    def on(self, record: Input) -> None:
        """Take one input: record it, fold it, record what was decided, commit, send."""
        self.take(record)
        self.commit()

    def commit(self) -> None:
        """Make everything that was taken durable."""
        self._recorder.commit()

    def take(self, record: Input) -> None:
        """Do all that `on` does but the last commit, which others may share."""
        if not self._started:
            self._begin(None)
            if self._handover is not None:
                self._take_over(self._handover)
        record = admitted(record)  # what is recorded must be read back as the same bytes
        self._admit(record)  # what cannot be folded must not be recorded: it would stay there
        self.inputs += 1
        if self._keep:
            self._fingerprints.append(hash(record))
        self.decided.clear()
        self._recorder.append(record)
        if isinstance(record, Quarantined):
            return
        signals: list[Signal] = []
        if isinstance(record, Bar):
            signals = self._on_bar(record)
        else:
            self._on_other(record)
        if self._seen is not None:
            self._seen(record, signals)

    def _admit(self, record: Input) -> None:
        """Encode an input, or refuse it with the reason."""
        if isinstance(record, Action):
            self._inbox.action(record)
        elif isinstance(record, Command):
            self._inbox.command(record)
        elif isinstance(record, Mandate):
            self._inbox.mandate(record)
        elif isinstance(record, Adoption):
            self._inbox.adoption(record)
        elif isinstance(record, Fill):
            self._inbox.fill(record)
        elif isinstance(record, OrderNotice):
            self._inbox.notice(record)
        elif isinstance(record, Quarantined) and not record.instrument:
            pass  # it speaks of the account
        elif record.instrument not in self._watched:
            hint = did_you_mean(record.instrument, self._watched)
            raise DataError(f"the run has no instrument {record.instrument!r}{hint}")

    def result(self) -> Run:
        """Return everything so far in the form of a backtest's result."""
        self._drain()
        ts = np.array(self._ts, np.int64)
        return Run(
            self._collector,
            lambda: ts,
            np.array(self._curve, np.float64),
            self.state,
        )

    def features(self, symbol: str, strategy: str) -> dict[str, float]:
        """Return the last values of the features of a strategy on an instrument."""
        watched = self._watched[symbol]
        return watched.stream.features(watched.strategies.index(strategy))

    def warming(self) -> dict[str, list[str]]:
        """Return by strategy and instrument the features that are not known yet."""
        unknown = {}
        for symbol, watched in self._watched.items():
            for name in watched.strategies:
                missing = [f for f, v in self.features(symbol, name).items() if v != v]  # noqa: PLR0124
                if missing:
                    unknown[f"{name}/{symbol}"] = missing
        return unknown

    def working(self) -> list[Order]:
        """Return the orders that may still fill."""
        states = self.state.orders[["id", "state"]].tolist()
        open_ = {id_ for id_, state in states if state != OrderState.FREE}
        self._ordered = {id_: one for id_, one in self._ordered.items() if id_ in open_}
        return list(self._ordered.values())

    def measured(self, symbol: str, strategy: str) -> list[Measured]:
        """Return what the user's own gates of a strategy last measured on an instrument."""
        watched = self._watched[symbol]
        return watched.stream.measured(watched.strategies.index(strategy))

    def _begin(self, recorded: SessionStart | None) -> None:
        """Record what runs; a recorded session must be the same in all but its time."""
        if recorded is not None and recorded.config_hash != self._start.config_hash:
            raise ConfigError(
                f"this journal was written with another configuration ({recorded.config_hash}, "
                f"now {self._start.config_hash}): use that one, or begin a new journal"
            )
        self._started = True
        self._recorder.append(recorded or self._start)

    def _take_over(self, handover: Handover) -> None:
        """Record what the journal before has left, and go on from there."""
        self._recorder.append(handover)
        take_over(self.state, self._out, self.names, handover)
        self._ordered.update({one.order.id: one.order for one in handover.orders})
        check_books(self.state, self.names, handover.ts)
        self._carried_ts = {
            symbol: int(numbers["ts"] or 0) for symbol, numbers in handover.instruments.items()
        }
        self._venue.restate(self.state)

    def _on_bar(self, bar: Bar) -> list[Signal]:
        if bar.ts <= self._carried_ts.get(bar.instrument, 0):
            return self._signals(bar)  # the books have seen it: it only warms the features up
        venue = self._venue
        if bar.ts_open >= self._day_end.item(0):
            self._inbox.clock(bar.ts_open + 1)  # what fills in this bar counts for its day
            self._fold()
        self._hear(venue.open(bar))
        self._act()
        self._hear(venue.range(bar))
        self._act()
        self._inbox.bar(bar)
        if self._watched[bar.instrument].stream.needs_position:
            self._fold()  # what they are told that they hold, they hold after this bar
        signals = self._signals(bar)
        self._fold()
        self._act()
        if self._keep:
            self._ts.append(bar.ts)
            self._curve.append(self._equity.item(0))
        return signals

    def _signals(self, bar: Bar) -> list[Signal]:
        """Advance the instrument's features and record every strategy's signal."""
        strategies, sleeves, models, stream = self._watched[bar.instrument]
        self._bar_ts = bar.ts
        rows = stream.update(
            bar.ts,
            bar.ts_open,
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            _NAN if bar.volume is None else bar.volume,
            _NAN if bar.bid is None else bar.bid,
            _NAN if bar.ask is None else bar.ask,
            -1 if bar.to_close_s is None else bar.to_close_s,
            held=self._held(sleeves) if stream.needs_position else (),
        )
        signals: list[Signal] = []
        if bar.late:
            return signals
        for n, (name, row) in enumerate(zip(strategies, rows, strict=True)):
            signal = _signal(bar, name, row, stream.measured(n), models[n])
            self._recorder.append(signal)
            self._inbox.signal(signal)
            signals.append(signal)
        return signals

    def _held(self, sleeves: list[int]) -> list[Held[float]]:
        """Return what the books say that strategies hold."""
        rows = (self._holdings[n].item() for n in sleeves)
        return [
            Held(float(qty), price, float(bars)) if qty else NOTHING_HELD
            for qty, price, bars in rows
        ]

    def _on_other(self, record: Input) -> None:
        self._fold()
        if isinstance(record, Action | Adoption):
            self._venue.restate(self.state)
        self._act()

    def _hear(self, answers: Iterable[Fill | OrderNotice]) -> None:
        """Record and fold what the venue said."""
        heard = False
        for said in answers:
            answer = admitted(said)
            self._recorder.append(answer)
            if isinstance(answer, Fill):
                self._inbox.fill(answer)
            else:
                self._inbox.notice(answer)
            heard = True
        if heard:
            self._fold()

    def _fold(self) -> None:
        """Fold what waits, and record what was decided."""
        self._inbox.fold(self.state, self._out)
        if self._fault.item(0):
            check_books(self.state, self.names, int(self.state.account["ts"][0]))
        for decision in self._outbox.decisions():
            self._recorder.append(decision)
            self.decided.append(decision)
        for order in self._outbox.orders():
            self._recorder.append(order)
            self._pending.append(order)
            if isinstance(order, Order):
                self._remember(order)
        if self._outbox.full():
            self._drain()

    def _remember(self, order: Order) -> None:
        if len(self._ordered) >= 2 * len(self.state.orders) + ORDERED_MIN:
            self.working()  # which forgets those that are over
        self._ordered[order.id] = order

    def _drain(self) -> None:
        if self._keep:
            self._collector.drain(self._out)
        else:
            self._out.clear()
        self._outbox.emptied()

    def _act(self) -> None:
        """Commit, then send what was ordered, and go on with what the venue answers at once."""
        while self._pending:
            orders, self._pending = self._pending, []
            self._recorder.commit()
            self._hear(self._venue.send(orders))


class RecordedVenue:
    """The venue of a replay: it answers what was recorded, and sends nothing."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def open(self, _bar: Bar) -> Iterable[Fill | OrderNotice]:
        """Return the answers that stand next in the journal."""
        return self._recorder.answers()

    def range(self, _bar: Bar) -> Iterable[Fill | OrderNotice]:
        """Return the answers that stand next in the journal."""
        return self._recorder.answers()

    def send(self, _orders: Iterable[Order | Cancel]) -> Iterable[Fill | OrderNotice]:
        """Return the answers that stand next in the journal."""
        return self._recorder.answers()

    def restate(self, _state: State) -> None:
        """Take the books over, of which a replay needs no copy."""


class Mirror:
    """A simulated venue whose orders also go out, to one that takes them and confirms nothing."""

    def __init__(self, model: Venue, outgoing: Outgoing) -> None:
        self._model, self._outgoing = model, outgoing
        self.open, self.range, self.restate = model.open, model.range, model.restate

    def send(self, orders: Iterable[Order | Cancel]) -> Iterable[Fill | OrderNotice]:
        """Let orders go out, and return what the model says of them.

        The broker cannot be told to cancel what it has taken, so the model is not told either: the
        order counts, and fills, as it does there.
        """
        known = list(orders)
        self._outgoing.send(known)
        return self._model.send([one for one in known if isinstance(one, Order)])


class Outgoing:
    """The session's venue where a real one answers in its own time: it only collects."""

    def __init__(self) -> None:
        self._waiting: list[Order | Cancel] = []

    def open(self, _bar: Bar) -> tuple[()]:
        """Return nothing: a real venue does not wait for our bars."""
        return ()

    def range(self, _bar: Bar) -> tuple[()]:
        """Return nothing: a real venue does not wait for our bars."""
        return ()

    def send(self, orders: Iterable[Order | Cancel]) -> tuple[()]:
        """Keep instructions whose records are durable until they are taken."""
        self._waiting.extend(orders)
        return ()

    def restate(self, _state: Any) -> None:
        """Do nothing: a real venue knows the books."""

    def take(self) -> list[Order | Cancel]:
        """Return what waits to be sent, and forget it."""
        waiting, self._waiting = self._waiting, []
        return waiting


def _as_input(record: AnyRecord) -> Input:
    if isinstance(record, Input):
        return record
    raise ConfigError(f"a {type(record).__name__} is no input of a session")


def _signal(
    bar: Bar, strategy: str, row: SignalRow, measured: list[Measured], models: list[str]
) -> Signal:
    side, confidence, score, edge, volatility, trend, barrier, price, unready = row
    return Signal(
        bar.instrument,
        strategy,
        bar.ts,
        side,
        confidence,
        score if score == score else None,  # noqa: PLR0124 - NaN is not equal to itself
        edge if edge == edge else None,  # noqa: PLR0124
        volatility if volatility == volatility else None,  # noqa: PLR0124
        trend if trend == trend else None,  # noqa: PLR0124
        barrier if barrier == barrier else None,  # noqa: PLR0124
        price if price == price else None,  # noqa: PLR0124
        unready,
        [_refusal(one) for one in measured if not one.passes] if measured else [],
        models,
    )


def _refusal(one: Measured) -> Refusal:
    return Refusal(one.name, one.value if one.value == one.value else None, one.threshold)
