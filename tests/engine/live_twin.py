"""A live run of a made world: a venue that answers in its own time, and can be told to misbehave.

The orders of a real session go to the simulated venue, whose answers come in as those of a broker
do: as inputs, before the bar in which they happened is over. A `Broker` makes of every answer what
a worse one would have said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from onefold.domain.records import Bar, Fill, OrderNotice
from onefold.engine.inference import Inference
from onefold.engine.recorder import Recorder
from onefold.engine.session import Input, Outgoing, Session
from onefold.journal import Journal
from onefold.sim.exchange import SimulatedVenue
from onefold.sim.plan import Plan
from support import start_of, today

Answer = Fill | OrderNotice


class Broker:
    """An honest broker; heirs do what a test wants."""

    def answered(self, answer: Answer) -> Iterable[Answer]:
        """Return what is said in place of an answer."""
        return [answer]

    def opened(self, bar: Bar) -> Iterable[Answer]:
        """Return what else is said once a bar has opened."""
        return []


class Saying(Inference):
    """Asks models, and changes what they say."""

    def __init__(self, change: Callable[[int, float], float]) -> None:
        super().__init__()
        self._change, self._count = change, 0

    def ask(self, score: object, kernel: object, values: object) -> tuple[float | None, str]:
        """Return the answer as a test wants it, by the number of the question."""
        value, why = super().ask(score, kernel, values)  # type: ignore[arg-type]
        self._count += 1
        return (value if value is None else self._change(self._count, value)), why


def trade_live(
    plan: Plan,
    feed: Iterable[Input],
    folder: Path,
    broker: Broker | None = None,
    *,
    inference: Inference | None = None,
) -> Path:
    """Run a live session over a feed with a broker; return its journal."""
    broker = broker or Broker()
    start = msgspec.structs.replace(start_of(), mode="live", venue="made")
    venue, outgoing = SimulatedVenue(plan.book(), plan.names), Outgoing()
    with Journal.open(folder, mode="relaxed", today=today) as journal:
        recorder = Recorder(iter(()), journal, answers_are_inputs=True)
        session = Session(plan, outgoing, recorder, start, inference=inference)
        venue.restate(session.state)

        def deliver(answers: Iterable[Answer]) -> None:
            for said in answers:
                for one in broker.answered(said):
                    session.on(one)
                send()

        def send() -> None:
            orders = outgoing.take()
            if orders:
                deliver(venue.send(orders))

        for record in feed:
            if isinstance(record, Bar):
                for one in broker.opened(record):
                    session.on(one)
                deliver(venue.open(record))
                deliver(venue.range(record))
            session.on(record)
            send()
    return folder
