"""A session that goes through a journal while that is being written, and waits where it ends.

It is the session that wrote the journal, so every record is computed anew and compared, and its
books are the ones that the account has. A replay knows its whole journal; this one does not know
whether a venue's answer is still to come, so it has to stop in the middle of an input and go on
when more has been sealed. It runs as a coroutine of its own (a greenlet) for that.

A writer seals before an order leaves, and when it is done with its inputs. So where a block ends
with anything but an order or a cancel, nothing is to come of the inputs before, and what they did
need not wait for the next record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

from onefold.domain.records import Fill, OrderNotice, Record, SessionStart
from onefold.engine.recorder import ANSWER_KINDS, Recorder
from onefold.engine.session import Outgoing, RecordedVenue, Session
from onefold.fold.memory import Rows
from onefold.journal import Entry, decode
from onefold.sim.plan import Plan

ORDER_KINDS = frozenset({"order", "cancel"})


class GrowingRecorder(Recorder):
    """Compares records with those of a journal that grows; `seq` is the last that agreed.

    `wait` is called when there is none to compare with, and comes back when `feed` has brought
    some. `seen` is called with every record that agreed.
    """

    def __init__(
        self, wait: Callable[[], None], seen: Callable[[Record], None], *, answers_are_inputs: bool
    ) -> None:
        self._fed: deque[Entry] = deque()
        self._looked: Entry | None = None
        self._ordered = False
        super().__init__(iter(()), None, answers_are_inputs=answers_are_inputs)
        self._wait, self._agreed = wait, seen
        self.seq = 0

    @property
    def next(self) -> Entry | None:
        """Return the recorded record that comes next: it may have to be waited for."""
        if self._looked is None:
            while not self._fed:
                self._wait()
            self._looked = self._fed.popleft()
        return self._looked

    @next.setter  # noqa: A003
    def next(self, _: Entry | None) -> None:
        """Take note that it was compared: the one after is looked at when it is asked for."""
        self._looked = None

    def feed(self, entries: Iterable[Entry]) -> None:
        """Add what has been sealed, whole blocks of it."""
        self._fed.extend(entries)

    def append(self, record: Record) -> None:
        """Compare a record with the recorded one. Raises `ReplayMismatch`."""
        entry = self.next
        super().append(record)
        if entry is not None:
            self.seq, self._ordered = entry.seq, entry.kind in ORDER_KINDS
        self._agreed(record)

    def answers(self) -> Iterator[Fill | OrderNotice]:
        """Yield the venue's answers that stand next; only behind an order may more be to come."""
        while self._fed or self._looked or self._ordered:
            before = self.next
            if before is None or before.kind not in ANSWER_KINDS:
                return
            yield decode(before, Fill | OrderNotice)  # type: ignore[arg-type]
            if self._looked is before:
                return


class _FilledSession(Session):
    """A session that keeps no result, but hands over the fills that it has folded."""

    filled: Callable[[Rows], None]
    _handed = 0

    def hand_over(self) -> None:
        """Hand over the fills that were folded since the last time."""
        used = int(self._out.root["fills_used"][0])
        if used > self._handed:
            rows = self._out.fills[self._handed : used].copy()
            self._handed = used
            self.filled(rows)

    def _drain(self) -> None:
        self.hand_over()
        super()._drain()
        self._handed = 0


class GrowingReplay:
    """The session of a journal, as far as it has been fed.

    `seen` is called with every record that was computed anew and agreed, `filled` with the rows of
    `layouts.FILL` that were folded, `look` with the session after each input.
    """

    def __init__(
        self,
        plan: Plan,
        start: SessionStart,
        *,
        seen: Callable[[Record], None],
        filled: Callable[[Rows], None],
        look: Callable[[Session, Any], None],
    ) -> None:
        self.recorder = GrowingRecorder(self._wait, seen, answers_are_inputs=start.confirmed)
        self._outgoing = Outgoing()
        venue = self._outgoing if start.confirmed else RecordedVenue(self.recorder)
        self.session = _FilledSession(plan, venue, self.recorder, start, keep=False)
        self.session.filled = filled
        self.session.watch(lambda record, _: look(self.session, record))
        self._coroutine = greenlet(self.session.resume)

    def feed(self, entries: Iterable[Entry]) -> None:
        """Go through more of the journal. Raises as `engine.replay.replay`, then is of no use."""
        self.recorder.feed(entries)
        self._coroutine.parent = getcurrent()
        self._coroutine.switch()
        self.session.hand_over()
        self._outgoing.take()  # nothing is sent

    def _wait(self) -> None:
        waiting = getcurrent().parent
        if waiting is None:
            raise RuntimeError("a growing replay waits only while it is fed")
        waiting.switch()
