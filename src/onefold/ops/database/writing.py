"""Write batches of rows, each in one transaction with its cursor, so that each counts once.

A batch is written only while the cursor still stands where the batch begins. So a transaction of
which nobody knows whether it was committed can be tried again, and two projectors of one database
cannot write the same rows twice.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from sqlalchemy import Table, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from onefold.domain.errors import OnefoldError
from onefold.ops.database.gathering import Batch
from onefold.ops.database.tables import (
    OF_A_RUN,
    bars,
    decisions,
    equity,
    journals,
    orders,
    positions,
    trades,
)

ROWS_PER_STATEMENT = 5_000
"""Rows that are handed to the driver at once."""


class Mark(NamedTuple):
    """Where the projection of a journal stands: a row of `journals`.

    `number` is the journal's, `run` that of the first one of its run; `carry` what it leaves.
    """

    number: int
    run: int
    account: str
    journal: str
    mode: str
    started: int
    seq: int = 0
    hash: str = ""
    trouble: str = ""
    carry: bytes = b""


class OvertakenError(OnefoldError):
    """The cursor is not where it was left: something else has written to the database."""


class Writer:
    """Writes to a database through the connections that it is given."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._dialect = engine.dialect
        self._make = sqlite if engine.dialect.name == "sqlite" else postgresql
        self._statements = {
            "decisions": self._sql(insert(decisions), decisions),
            "bars": self._sql(self._make.insert(bars).on_conflict_do_nothing(), bars),
            "orders": self._upsert(orders),
            "trades": self._upsert(trades, "created_at"),
            "equity": self._upsert(equity),
            "positions": self._sql(insert(positions), positions),
        }

    def _upsert(self, table: Table, *stays: str) -> str:
        made = self._make.insert(table)
        keys = {column.name for column in table.primary_key}
        changed = {c.name: made.excluded[c.name] for c in table.c if c.name not in (*keys, *stays)}
        return self._sql(made.on_conflict_do_update(index_elements=[*keys], set_=changed), table)

    def _sql(self, statement: Any, table: Table) -> str:
        """Return a statement as the driver has it, which takes rows in the order of the columns."""
        names = [column.name for column in table.c]
        made = statement.compile(dialect=self._dialect, column_keys=names)
        if list(made.positiontup or ()) != names:
            raise RuntimeError(f"the statement for {table.name} does not take its columns in order")
        return str(made)

    async def marks(self, connection: AsyncConnection) -> list[Mark]:
        """Return all cursors, in the order of their numbers."""
        rows = await connection.execute(select(journals).order_by(journals.c.number))
        return [Mark(**row._mapping) for row in rows]  # noqa: SLF001 - a public name of SQLAlchemy

    async def write(
        self, connection: AsyncConnection, before: Mark | None, after: Mark, batch: Batch | None
    ) -> None:
        """Move a cursor, new where there was none before, and write what lies between.

        Raises `OvertakenError` when the cursor is not at `before`; nothing must be committed then.
        """
        await self._move(connection, before, after)
        if batch is None:
            return
        owner, now = (after.run, after.account), time.time_ns()
        stale = delete(positions).where(positions.c.run == after.run)
        await connection.execute(stale)
        for name, statement in self._statements.items():
            rows = getattr(batch, name)
            more = (now,) if name == "trades" else ()
            for at in range(0, len(rows), ROWS_PER_STATEMENT):
                part = [(*owner, *row, *more) for row in rows[at : at + ROWS_PER_STATEMENT]]
                await connection.exec_driver_sql(statement, part)

    async def _move(self, connection: AsyncConnection, before: Mark | None, after: Mark) -> None:
        if before is None:
            try:
                await connection.execute(insert(journals), after._asdict())
            except IntegrityError as error:
                raise OvertakenError(f"{after.journal} has a cursor already") from error
            return
        moved = await connection.execute(
            update(journals)
            .where(
                journals.c.number == before.number,
                journals.c.seq == before.seq,
                journals.c.hash == before.hash,
            )
            .values(seq=after.seq, hash=after.hash, trouble=after.trouble, carry=after.carry)
        )
        if moved.rowcount != 1:
            raise OvertakenError(f"the cursor of {after.journal} is not at {before.seq} any more")

    async def drop(self, connection: AsyncConnection, account: str) -> None:
        """Delete an account's rows and cursors."""
        for table in (*OF_A_RUN, journals):
            await connection.execute(delete(table).where(table.c.account == account))
