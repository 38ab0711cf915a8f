"""Replay: recompute a journal's every signal, decision and order, and compare byte for byte.

The inputs (bars, the venue's answers, commands, mandates) come from the journal; everything else is
computed anew by the same session that wrote it. The first record that differs ends the replay.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from onefold.domain.errors import JournalError
from onefold.domain.records import Record, SessionStart, Signal
from onefold.engine.recorder import Recorder
from onefold.engine.session import Input, Outgoing, RecordedVenue, Session
from onefold.journal import decode, read
from onefold.sim.backtest import Run
from onefold.sim.plan import Plan


class Replayed(NamedTuple):
    """A replay without a mismatch: records compared, inputs, and the run that came of them."""

    records: int
    inputs: int
    run: Run


def no_journal(path: str | Path) -> JournalError:
    """Return the error for a folder without a record, which names one inside it that has some."""
    inside = Path(path) / "journal"
    hint = f"; did you mean {inside}?" if inside.is_dir() else ""
    return JournalError(f"there is no journal in {path}{hint}")


def started(path: str | Path) -> SessionStart:
    """Return the first record of a run's journal: what ran. Raises `JournalError`."""
    first = next(iter(read(path)), None)
    if first is None:
        raise no_journal(path)
    if first.kind != "session":
        raise JournalError(f"{path} does not begin with the start of a session")
    return decode(first, SessionStart)


def replay(
    path: str | Path,
    plan: Plan,
    *,
    seen: Callable[[Session, Input, list[Signal]], None] | None = None,
    models: bool = False,
) -> Replayed:
    """Recompute a journal with the plan that it was written with.

    What models said stands in the journal; with `models` they are asked again, and must say it
    again, unless they were late then.

    `seen` is called after each input that was folded. Raises `ReplayMismatch` with both sides of
    the first record that differs, and `JournalDamaged` when the journal itself is not what was
    written.
    """
    session, recorder = replaying(path, plan, models=models)
    if seen is not None:
        session.watch(lambda record, signals: seen(session, record, signals))
    session.resume()
    return Replayed(recorder.checked, session.inputs, session.result())


def replaying(
    path: str | Path,
    plan: Plan,
    *,
    keep: bool = True,
    models: bool = False,
    records: Callable[[Record], None] | None = None,
) -> tuple[Session, Recorder]:
    """Return a session that goes through a journal when it is resumed, and sends nothing.

    `records` is called with every record. Without `keep` it has no result, as any `Session`.
    """
    start = started(path)
    recorder = Recorder(read(path), None, answers_are_inputs=start.confirmed, seen=records)
    venue = Outgoing() if start.confirmed else RecordedVenue(recorder)
    session = Session(plan, venue, recorder, start, asks_again=models, keep=keep)
    return session, recorder
