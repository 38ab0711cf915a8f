"""Keep the database at the journals' heels, whatever becomes of either.

Each round looks at every journal, goes through what is new and writes it. While one part is written
the next is already gone through, in a thread of its own. When the database fails, what could not be
written is kept and tried again; the journals wait, and nobody else notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from onefold.domain.errors import OnefoldError
from onefold.engine.succession import Begun, begun
from onefold.journal import head
from onefold.ops.database.projection import BATCH_RECORDS, PlanOf, Projection, Step, troubled
from onefold.ops.database.reading import unreadable
from onefold.ops.database.schema import upgrade
from onefold.ops.database.writing import Mark, OvertakenError, Writer

T = TypeVar("T")
Key = tuple[str, str]
Signature = tuple[str, int]

WAIT_MAX_S = 30.0
"""The longest time between two tries to reach a database."""


class Place(NamedTuple):
    """A journal: whose it is, and where."""

    account: str
    path: Path

    @property
    def key(self) -> Key:
        """Return account and name, by which its cursor is found."""
        return self.account, self.path.name


class _NotYetError(Exception):
    """The journal before is not projected to its end yet."""


class _Open:
    """A journal that is gone through, and what of it waits to be written."""

    def __init__(self, projection: Projection) -> None:
        self.projection = projection
        self.waiting: list[Step] = []


class Projector:
    """Projects all journals into a database that has this version's tables.

    `places` lists the journals, `plan_of` makes the plan that one was written with, `told` hears
    what a person should know; `most` records, or a block more, are written at once. Use it as a
    context manager.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        places: Callable[[], Sequence[Place]],
        plan_of: PlanOf,
        told: Callable[[str], None],
        *,
        most: int = BATCH_RECORDS,
    ) -> None:
        self._most = most
        self._engine, self._places, self._plan_of, self._told = engine, places, plan_of, told
        self._writer = Writer(engine)
        self._transaction: Callable[[], AbstractAsyncContextManager[AsyncConnection]] = engine.begin
        self._thread = ThreadPoolExecutor(1, "projector")
        self._begun: dict[Key, Begun] = {}
        self._numbers: dict[Key, int] = {}
        self._forget()

    def _forget(self) -> None:
        """Forget all that is known of the database: it is read again."""
        self._marks: dict[Key, Mark] | None = None
        self._open: dict[Key, _Open] = {}
        self._resting: dict[Key, Signature] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # Sessions are bound to the thread in which they were made, and have to end there.
        await self._threaded(self._forget)
        self._thread.shutdown()

    async def follow(self, stopping: asyncio.Event, poll_s: float) -> None:
        """Project what there is and what comes, until told to stop."""
        wait_s, is_set_up = poll_s, False
        while not stopping.is_set():
            try:
                if not is_set_up:
                    await upgrade(self._engine)
                    is_set_up = True
                moved = await self.round()
            except OvertakenError as error:
                self._told(f"reading the cursors again: {error}")
                await self._threaded(self._forget)
                moved = False
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                self._told(f"{unreadable(error)}; trying again in {wait_s:g} s")
                await self._engine.dispose()
                is_set_up = False
                await _pause(stopping, wait_s)
                wait_s = min(2 * wait_s, WAIT_MAX_S)
                continue
            wait_s = poll_s
            if not moved:
                await _pause(stopping, poll_s)

    async def catch_up(self) -> None:
        """Project all that there is now."""
        while await self.round():
            pass

    async def rebuild(self, account: str) -> None:
        """Drop an account's rows and project its journals anew, in one transaction.

        Journals keep their numbers. Who reads meanwhile sees the rows of before.
        """
        async with self._engine.begin() as connection:

            @asynccontextmanager
            async def same() -> AsyncIterator[AsyncConnection]:
                yield connection

            mine = Projector(
                self._engine,
                lambda: [place for place in self._places() if place.account == account],
                self._plan_of,
                self._told,
                most=self._most,
            )
            async with mine:
                marks = await self._writer.marks(connection)
                mine._numbers = {(m.account, m.journal): m.number for m in marks}
                mine._transaction = same
                await self._writer.drop(connection, account)
                await mine.catch_up()

    async def round(self) -> bool:
        """Go once through all journals, a part of each; return whether there may be more."""
        if self._marks is None:
            async with self._transaction() as connection:
                found = await self._writer.marks(connection)
            self._marks = {(mark.account, mark.journal): mark for mark in found}
        moved = False
        for place in await self._threaded(self._sorted):
            moved |= await self._go_on(place)
        return moved

    def _sorted(self) -> list[Place]:
        """Return the journals that have begun, in the order in which they did."""
        found = []
        for place in self._places():
            if place.key not in self._begun:
                try:
                    one = begun(place.path)
                except (OnefoldError, OSError):
                    found.append((0, place))  # what is wrong is found out when it is opened
                    continue
                if one is None:
                    continue
                self._begun[place.key] = one
            found.append((self._begun[place.key].start.ts, place))
        return [place for _, place in sorted(found)]

    async def _go_on(self, place: Place) -> bool:
        """Bring a journal one part on; return whether it may go on at once."""
        one = self._open.get(place.key)
        if one is None:
            if await self._threaded(self._rests, place):
                return False
            made = await self._threaded(self._opened, place)
            if made is None:
                return False
            if isinstance(made, Step):
                await self._write(place, made)
                self._resting[place.key] = await self._threaded(_signature, place.path)
                return True
            one = self._open[place.key] = made
        if not one.waiting:
            step = await self._advance(place, one)
            if step is None:
                return one.projection.is_behind and place.key in self._open
            one.waiting.append(step)
        ahead = asyncio.ensure_future(self._advance(place, one))
        try:
            await self._write(place, one.waiting[0])
            del one.waiting[0]
        finally:
            step = await ahead
            if step is not None:
                one.waiting.append(step)
        return True

    async def _advance(self, place: Place, one: _Open) -> Step | None:
        try:
            return await self._threaded(one.projection.advance, self._most)
        except OSError as error:
            self._told(f"{place.path} cannot be read: {error}; trying again")
            self._open.pop(place.key, None)
            return None

    async def _write(self, place: Place, step: Step) -> None:
        """Write a part, unless it is known to be written."""
        known = (self._marks or {}).get(place.key)
        try:
            async with self._transaction() as connection:
                await self._writer.write(connection, step.before, step.after, step.batch)
        except OvertakenError:
            async with self._transaction() as connection:
                marks = await self._writer.marks(connection)
            if step.after not in marks:
                raise
            # It was committed before, though the database could not say so any more.
        if self._marks is not None:
            self._marks[place.key] = step.after
        if step.after.trouble and (known is None or known.trouble != step.after.trouble):
            self._told(f"{place.path} is not projected any further: {step.after.trouble}")

    def _rests(self, place: Place) -> bool:
        """Return whether a journal has not moved since it was projected to its end."""
        signature = _signature(place.path)
        if place.key in self._resting:
            if self._resting[place.key] == signature:
                return True
            del self._resting[place.key]
        mark, newest = (self._marks or {}).get(place.key), self._is_newest(place)
        if mark is None or newest or mark.trouble:
            return False
        try:
            end = head(place.path)
        except (OnefoldError, OSError):
            return False
        if (end.seq, end.hash) != (mark.seq, mark.hash):
            return False
        self._resting[place.key] = signature
        return True

    def _is_newest(self, place: Place) -> bool:
        mine = [one for key, one in self._begun.items() if key[0] == place.account]
        one = self._begun.get(place.key)
        return one is not None and one.start.ts >= max(x.start.ts for x in mine)

    def _opened(self, place: Place) -> _Open | Step | None:
        """Return a journal that can be gone through, None while the one before it is not done."""
        marks = self._marks or {}
        mark, one = marks.get(place.key), self._begun.get(place.key)
        is_new = mark is None
        if mark is None:
            number = self._number(place, marks)
            mode, started = ("", 0) if one is None else (one.start.mode, one.start.ts)
            mark = Mark(number, number, *place.key, mode, started)
        try:
            one = one or begun(place.path)
            if one is None:
                return None
            mark, left = self._after(place, one, mark, is_new=is_new)
            return _Open(Projection(one, self._plan_of, mark, left, is_new=is_new))
        except _NotYetError:
            return None
        except OSError as error:
            self._told(f"{place.path} cannot be read: {error}; trying again")
            return None
        except Exception as error:  # noqa: BLE001 - a strategy's file is the user's own code
            return troubled(mark, error, is_new=is_new)

    def _after(
        self, place: Place, one: Begun, mark: Mark, *, is_new: bool
    ) -> tuple[Mark, bytes | None]:
        """Return a mark with its run, and what the journal before in that run has left.

        A journal goes on with the run of the one before when that was projected to the very end
        that was handed over. Raises `_NotYetError` while it is on its way there.
        """
        if one.handover is None:
            return mark, None
        name, end = one.handover.journal, (one.handover.end_seq, one.handover.end_hash)
        before = (self._marks or {}).get((place.account, name))
        if before is None:
            if (place.account, name) in self._begun:
                raise _NotYetError
            return mark, None  # nobody has it any more
        if not is_new:
            return mark, None if mark.run == mark.number else before.carry
        if (before.seq, before.hash) != end:
            if not before.trouble and before.seq < end[0]:
                raise _NotYetError
            return mark, None
        done = place._replace(path=place.path.with_name(name))
        self._open.pop(done.key, None)
        self._resting[done.key] = _signature(done.path)
        return mark._replace(run=before.run), before.carry

    def _number(self, place: Place, marks: dict[Key, Mark]) -> int:
        kept = self._numbers.get(place.key)
        if kept is not None:
            return kept
        used = [*self._numbers.values(), *(mark.number for mark in marks.values())]
        return max(used, default=0) + 1

    async def _threaded(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return


def _signature(path: Path) -> Signature:
    """Return the name and size of a journal's last file: it has not moved while they are equal."""
    files = sorted(path.glob("*.jsonl"))
    return (files[-1].name, files[-1].stat().st_size) if files else ("", 0)
