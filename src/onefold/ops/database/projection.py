"""From journals to rows: every journal of every account, as far as it has been written.

A journal is gone through with the session that wrote it, so nothing gets into the database that was
not computed anew and found equal. Where a journal is damaged, or a record differs, its projection
stops with the reason, and what was written stays. A restart goes through a journal again up to its
cursor, writing nothing, since a session's memory is in no table; then it goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from onefold.domain.errors import JournalDamaged, JournalError, OnefoldError
from onefold.domain.records import Record, SessionStart
from onefold.engine.succession import Begun
from onefold.journal import Follower
from onefold.ops.database.gathering import Batch, Carry, Gathering
from onefold.ops.database.replaying import GrowingReplay
from onefold.ops.database.writing import Mark
from onefold.sim.plan import Plan

BATCH_RECORDS = 10_000
"""Records that are gone through, and written, at once."""
TROUBLE_MAX = 2_000
"""Characters of what is said of a journal that cannot be gone through."""

PlanOf = Callable[[SessionStart], Plan]
_carry = msgspec.json.Decoder(Carry)


class Step(NamedTuple):
    """A part of a journal that was gone through: where its cursor is before and after, its rows."""

    before: Mark | None
    after: Mark
    batch: Batch | None


class Projection:
    """One journal on its way into the database.

    `mark` is where it stands there, `is_new` says that it has no cursor yet. `left` is what the
    journal before has left, None where the trades begin with this one. Not for several threads: a
    session is bound to the one in which it was made.
    """

    def __init__(
        self, begun: Begun, plan_of: PlanOf, mark: Mark, left: bytes | None, *, is_new: bool
    ) -> None:
        self._path, self._written = begun.path, mark.seq
        self._mark, self._is_new = mark._replace(trouble=""), is_new
        self._last_trouble = mark.trouble
        self._follower = Follower(begun.path)
        plan = plan_of(begun.start)
        before = None if left is None else _carry.decode(left)
        self._gathering = Gathering(plan, before, mark.seq)
        self._replay = GrowingReplay(
            plan,
            begun.start,
            seen=self._see,
            filled=self._gathering.filled,
            look=self._gathering.look,
        )

    @property
    def is_behind(self) -> bool:
        """Return whether it still goes through what was projected before."""
        return not self._mark.trouble and self._replay.recorder.seq < self._written

    @property
    def trouble(self) -> str:
        """Return why it has stopped, empty when it has not."""
        return self._mark.trouble

    def advance(self, most: int = BATCH_RECORDS) -> Step | None:
        """Go through what has been sealed, up to so many records or a block more.

        None when that made nothing to write: there is nothing new, or it is behind and goes on.
        What goes wrong with the journal is a trouble of the step. Raises `OSError`, after which
        the projection has to be made anew.
        """
        if self._mark.trouble:
            return None
        try:
            return self._go_on(most)
        except OSError:
            raise
        except JournalDamaged:
            return self._up_to_the_damage()
        except Exception as error:  # noqa: BLE001 - the user's own code runs here as well
            return self._stopped(error)

    def _go_on(self, most: int) -> Step | None:
        if self.is_behind:
            step = self._catch_up(most)
            if step is not None or self.is_behind:
                return step
        found = self._follower.poll(most)
        if found:
            self._replay.feed(found)
            return self._step(self._follower.head.hash)
        if self._last_trouble:  # it has gone through what stopped it the last time
            return self._step(self._mark.hash)
        return None

    def _catch_up(self, most: int) -> Step | None:
        """Go through what was projected before, which makes no rows."""
        found = self._follower.poll(min(most, self._written - self._replay.recorder.seq))
        if not found:
            raise JournalError(
                f"{self._path} ends at record {self._follower.head.seq}, but {self._written} "
                "were projected: it was cut short; look why, then run `onefold db rebuild`"
            )
        self._replay.feed(found)
        if self._replay.recorder.seq > self._written:  # the cursor stood within a block
            return self._step(self._follower.head.hash)
        self._gathering.forget()
        self._compare()
        return None

    def _compare(self) -> None:
        """Raise `JournalError` unless the journal is the one that was projected before."""
        head = self._follower.head
        if head.seq == self._written and self._mark.hash not in ("", head.hash):
            raise JournalError(
                f"{self._path} is not what was projected: at record {head.seq} its seal is "
                f"{head.hash}, it was {self._mark.hash}; look why, then run `onefold db rebuild`"
            )

    def _see(self, record: Record) -> None:
        self._gathering.see(self._replay.recorder.seq, record)

    def _step(self, hash_: str, trouble: str = "") -> Step:
        seq = max(self._written, self._replay.recorder.seq)
        batch = self._gathering.batch(self._replay.session)
        before = None if self._is_new else self._mark
        self._mark = self._mark._replace(seq=seq, hash=hash_, trouble=trouble, carry=batch.carry)
        self._is_new, self._written, self._last_trouble = False, seq, ""
        return Step(before, self._mark, batch)

    def _stopped(self, error: Exception) -> Step:
        known = isinstance(error, OnefoldError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        seq = self._replay.recorder.seq
        if seq <= self._written:  # what was written before stays as it is
            before = None if self._is_new else self._mark
            self._mark, self._is_new = self._mark._replace(trouble=text[:TROUBLE_MAX]), False
            return Step(before, self._mark, None)
        return self._step("", text[:TROUBLE_MAX])

    def _up_to_the_damage(self) -> Step:
        """Go through the blocks that are whole, one by one, and stop at the damage."""
        follower = Follower(self._path, after=self._replay.recorder.seq)
        try:
            while found := follower.poll(1):
                self._replay.feed(found)
        except Exception as error:  # noqa: BLE001 - see `advance`
            return self._stopped(error)
        raise OSError(f"{self._path} was damaged a moment ago and is not now")


def troubled(mark: Mark, error: Exception, *, is_new: bool) -> Step:
    """Return the step of a journal that cannot even be begun."""
    after = mark._replace(trouble=str(error)[:TROUBLE_MAX])
    return Step(None if is_new else mark, after, None)
