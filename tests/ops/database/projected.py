"""Project journals in a test, and look at what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import URL, select

from onefold.domain.records import SessionStart
from onefold.ops.database.connection import connected
from onefold.ops.database.projection import BATCH_RECORDS
from onefold.ops.database.projector import Place, Projector
from onefold.ops.database.reading import Reader
from onefold.ops.database.rows import Trade
from onefold.ops.database.schema import upgrade
from onefold.ops.database.tables import metadata
from onefold.sim.plan import Plan
from onefold.views.trades import Trades

T = TypeVar("T")
PlanOf = Callable[[SessionStart], Plan]


async def with_projector(
    url: URL,
    places: Sequence[Place] | Callable[[], Sequence[Place]],
    plan_of: PlanOf | Plan,
    work: Callable[[Projector], Awaitable[T]],
    told: Callable[[str], None] = lambda _: None,
    most: int = BATCH_RECORDS,
) -> T:
    """Do something with a projector on a database that is set up."""
    engine = connected(url)
    try:
        await upgrade(engine)
        look = places if callable(places) else lambda: places
        plan = plan_of if not isinstance(plan_of, Plan) else lambda _: plan_of
        async with Projector(engine, look, plan, told, most=most) as projector:
            return await work(projector)
    finally:
        await engine.dispose()


def project(
    url: URL, places: Sequence[Place], plan_of: PlanOf | Plan, most: int = BATCH_RECORDS
) -> list[str]:
    """Project all that there is, and return what a person was told."""
    told: list[str] = []
    asyncio.run(with_projector(url, places, plan_of, lambda p: p.catch_up(), told.append, most))
    return told


def rebuild(url: URL, places: Sequence[Place], plan_of: PlanOf | Plan, account: str) -> None:
    asyncio.run(with_projector(url, places, plan_of, lambda p: p.rebuild(account)))


def read(url: URL, ask: Callable[[Reader], Awaitable[T]]) -> T:
    """Ask a reader."""

    async def work() -> T:
        reader = Reader(url)
        try:
            return await ask(reader)
        finally:
            await reader.close()

    return asyncio.run(work())


def rows_of(url: URL, account: str = "") -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, without when they were written."""

    async def work() -> dict[str, list[tuple[Any, ...]]]:
        engine = connected(url, read_only=True)
        found = {}
        try:
            async with engine.connect() as connection:
                for table in metadata.sorted_tables:
                    wanted = [c for c in table.c if c.name != "created_at"]
                    query = select(*wanted).order_by(*table.primary_key)
                    if account:
                        query = query.where(table.c.account == account)
                    found[table.name] = [tuple(r) for r in await connection.execute(query)]
        finally:
            await engine.dispose()
        return found

    return asyncio.run(work())


def trades_of(url: URL, account: str) -> list[Trade]:
    """Return all trades of an account, in the order of their numbers."""
    found = read(url, lambda reader: reader.trades(account, limit=10_000))
    return sorted(found, key=lambda one: one.id)


def as_view(trades: Trades) -> list[tuple[Any, ...]]:
    """Return the trades of a view in the order of their numbers, with times in nanoseconds."""
    rows = []
    for frame in trades:
        plain = frame.with_columns(frame["entry_time"].cast(int), frame["exit_time"].cast(int))
        rows += plain.rows()
    return sorted(rows)


def as_rows(trades: Sequence[Trade]) -> list[tuple[Any, ...]]:
    """Return trades in the columns of a view."""
    return [
        (
            t.id, t.strategy, t.symbol, t.side, t.entry_time, t.entry_price, t.entry_size,
            t.exit_time, t.exit_price, t.exit_size, t.pnl, t.pnl_percent, t.exit_reason,
            t.ml_score, t.fees, t.gross, t.open_size, t.open_price,
        )
        for t in trades
    ]  # fmt: skip
