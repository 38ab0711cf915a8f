"""Record before acting, and prove it when starting again.

A run gives every record to a recorder before it acts on it. A new run's recorder writes them to the
journal. After a restart the same run begins again from its first input: as long as the journal has
records, the recorder holds each new one against the recorded one, byte for byte; where they end, it
goes on writing. So there is one way to start, and it checks all that was decided before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from onefold.domain.errors import ReplayMismatch
from onefold.domain.records import AnyRecord, Fill, OrderNotice, Record, Score
from onefold.journal import Entry, Journal, decode

INPUT_KINDS = frozenset(
    {"session", "handover", "bar", "quarantined", "command", "mandate", "action", "adoption"}
)
ANSWER_KINDS = frozenset({"fill", "notice"})


class Recorder:
    """Checks records against those that are there, then writes on."""

    def __init__(
        self,
        entries: Iterator[Entry],
        journal: Journal | None,
        *,
        answers_are_inputs: bool = False,
        seen: Callable[[Record], None] | None = None,
    ) -> None:
        """Check against `entries` first; `journal` is None where nothing may be written.

        `answers_are_inputs` is for a real venue, which answers in its own time. `seen` is called
        with every record, be it checked or written.
        """
        self._inputs = INPUT_KINDS | ANSWER_KINDS if answers_are_inputs else INPUT_KINDS
        self._seen = seen
        self._entries = entries
        self._journal = journal
        self._encode = msgspec.json.Encoder().encode
        self.next: Entry | None = next(entries, None)
        self.checked = 0

    def append(self, record: Record) -> None:
        """Check a record against the recorded one, or append it to the journal."""
        if self._seen is not None:
            self._seen(record)
        if self.next is None:
            if self._journal is not None:
                self._journal.append(record)
            return
        raw = self._encode(record)
        if raw != self.next.raw:
            raise _mismatch(self.next, raw)
        self.checked += 1
        self.next = next(self._entries, None)

    def commit(self) -> None:
        """Make everything appended durable; nothing may leave the process before."""
        if self._journal is not None and self.next is None:
            self._journal.commit()

    def flush(self) -> None:
        """Write everything appended, also in a journal that may put it off."""
        if self._journal is not None and self.next is None:
            self._journal.flush()

    def input(self) -> AnyRecord | None:
        """Return the recorded input that comes next, or None at the end."""
        if self.next is None:
            return None
        if self.next.kind not in self._inputs:
            raise _mismatch(self.next, b"(nothing more comes of the inputs before)")
        return decode(self.next, AnyRecord)  # type: ignore[arg-type]

    def score(self, instrument: str, ts: int, model: str) -> Score | None:
        """Return what a model has said according to the journal, None where that ends before."""
        if self.next is None:
            return None
        said = decode(self.next, Score) if self.next.kind == "score" else None
        if said is None or (said.instrument, said.ts, said.model) != (instrument, ts, model):
            raise _mismatch(self.next, f"(a score of {model} for {instrument})".encode())
        return said

    def answers(self) -> Iterator[Fill | OrderNotice]:
        """Yield the venue's answers that stand next in the journal."""
        while self.next is not None and self.next.kind in ANSWER_KINDS:
            before = self.next
            yield decode(before, Fill | OrderNotice)  # type: ignore[arg-type]
            if self.next is before:
                return


def _mismatch(entry: Entry, raw: bytes) -> ReplayMismatch:
    place = f"{entry.path}, line {entry.line}"
    return ReplayMismatch(entry.seq, place, entry.raw.decode(), raw.decode())
