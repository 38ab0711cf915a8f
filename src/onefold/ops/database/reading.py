"""Read the database: pages of rows, the newest first, by whoever shows them.

It is read while the projector writes, never with a lock. A page begins after the `key` of the last
row of the page before, so that rows which come meanwhile shift nothing, and the thousandth page
costs what the first one does. Of an account those journals count that ran last: the ones that were
handed over from one to the next, in the mode that it was last started in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import URL, Column, ColumnElement, Row, Table, func, select, tuple_
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from onefold.domain.errors import ConfigError
from onefold.ops.database.connection import DatabaseError, connected
from onefold.ops.database.rows import (
    Bar,
    Counts,
    Cursor,
    Decision,
    EquityPoint,
    GateCount,
    Order,
    Position,
    Trade,
)
from onefold.ops.database.tables import (
    bars,
    decisions,
    equity,
    journals,
    orders,
    positions,
    trades,
)

T = TypeVar("T")
Filters = list[ColumnElement[bool]]

PAGE_MAX = 10_000
OPEN_STATES = ("working", "unknown")
_SIDES = {1: "buy", -1: "sell"}
_measured = msgspec.json.Decoder(tuple[list[float | None], list[float | None]])


class Reader:
    """Answers from the database at `url`; close it when done.

    An empty account, strategy or symbol means all. `before` is the `key` of a row: only what comes
    after it, which is older, is returned. `since` and `until` are times, the second excluded.
    Raises `DatabaseError` when the database cannot be read, `ConfigError` for a wrong `before`.
    """

    def __init__(self, url: URL) -> None:
        self._engine = connected(url, read_only=True)
        is_file = url.get_backend_name() == "sqlite"
        self._file = Path(url.database or "") if is_file else None

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    async def trades(
        self,
        account: str = "",
        *,
        strategy: str = "",
        symbol: str = "",
        is_open: bool | None = None,
        since: int | None = None,
        until: int | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Trade]:
        """Return round trips by their entry; `since` and `until` are of it as well."""
        table = trades.c
        filters = _equal((table.strategy, strategy), (table.symbol, symbol))
        filters += _within(table.entry_time, since, until)
        if is_open is not None:
            filters.append(table.exit_time.is_(None) if is_open else table.exit_time.is_not(None))
        rows = await self._page(trades, table.entry_time, account, filters, before, limit)
        return [_struct(Trade, row, row.entry_time) for row in rows]

    async def orders(
        self,
        account: str = "",
        *,
        strategy: str = "",
        symbol: str = "",
        state: str = "",
        before: str | None = None,
        limit: int = 100,
    ) -> list[Order]:
        """Return orders; `state` may be `open` as well, for all that may still fill."""
        table = orders.c
        filters = _equal((table.strategy, strategy), (table.symbol, symbol))
        if state == "open":
            filters.append(table.state.in_(OPEN_STATES))
        else:
            filters += _equal((table.state, state))
        rows = await self._page(orders, table.ts, account, filters, before, limit)
        return [_struct(Order, row, row.ts, time=row.ts, side=_SIDES[row.side]) for row in rows]

    async def decisions(
        self,
        account: str = "",
        *,
        strategy: str = "",
        symbol: str = "",
        gate: str = "",
        purpose: str = "",
        passed: bool | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Decision]:
        """Return decisions; `gate` is one that said no, be it the reason or not."""
        table = decisions.c
        filters = _equal(
            (table.strategy, strategy), (table.symbol, symbol), (table.purpose, purpose)
        )
        if gate:
            filters.append(table.blocked.contains(f",{gate},", autoescape=True))
        if passed is not None:
            filters.append(table.gate == "" if passed else table.gate != "")
        rows = await self._page(decisions, table.ts, account, filters, before, limit)
        return [_decision(row) for row in rows]

    async def decision(self, account: str, id: int) -> Decision | None:  # noqa: A002 - its name
        """Return one decision with all that its gates measured, None where it is not there."""
        async with self._connection() as connection:
            for run in await _runs(connection, account):
                wanted = select(decisions).where(decisions.c.run == run, decisions.c.id == id)
                row = (await connection.execute(wanted)).first()
                if row is not None:
                    values, thresholds = _measured.decode(row.measured)
                    return _decision(row, values=values, thresholds=thresholds)
        return None

    async def equity(
        self,
        account: str,
        *,
        since: int | None = None,
        until: int | None = None,
        points: int = 2_000,
    ) -> list[EquityPoint]:
        """Return the equity over time, at most so many points.

        Where it has to be thinned, a point is the last one of its stretch, with the deepest
        drawdown in it.
        """
        async with self._connection() as connection:
            found: list[EquityPoint] = []
            for run in await _runs(connection, account):
                mine = [equity.c.run == run, *_within(equity.c.ts, since, until)]
                span = select(func.min(equity.c.minute), func.max(equity.c.minute)).where(*mine)
                first, last = (await connection.execute(span)).one()
                if first is None:
                    continue
                width = (last - first) // max(1, points) + 1
                stretch = (equity.c.minute - first) // width
                deepest = (
                    select(
                        func.max(equity.c.minute).label("minute"),
                        func.max(equity.c.drawdown).label("drawdown"),
                    )
                    .where(*mine)
                    .group_by(stretch)
                    .subquery()
                )
                wanted = (
                    select(equity.c.ts, equity.c.equity, deepest.c.drawdown)
                    .join(deepest, equity.c.minute == deepest.c.minute)
                    .where(equity.c.run == run)
                    .order_by(equity.c.minute)
                )
                found += [EquityPoint(*row) for row in await connection.execute(wanted)]
        return found

    async def bars(
        self,
        account: str,
        symbol: str,
        *,
        since: int | None = None,
        until: int | None = None,
        limit: int = 2_000,
    ) -> list[Bar]:
        """Return the last bars of a time, the oldest first."""
        columns = (bars.c.ts, bars.c.open, bars.c.high, bars.c.low, bars.c.close, bars.c.volume)
        found: list[Bar] = []
        async with self._connection() as connection:
            for run in await _runs(connection, account):
                wanted = (
                    select(*columns)
                    .where(bars.c.run == run, bars.c.symbol == symbol)
                    .where(*_within(bars.c.ts, since, until))
                    .order_by(bars.c.ts.desc())
                    .limit(_size(limit))
                )
                found += [Bar(*row) for row in await connection.execute(wanted)]
        return found[::-1]

    async def positions(self, account: str = "") -> list[Position]:
        """Return what is held, by account, strategy and symbol."""
        async with self._connection() as connection:
            runs = await _runs(connection, account)
            order = (positions.c.account, positions.c.strategy, positions.c.symbol)
            wanted = select(positions).where(positions.c.run.in_(runs)).order_by(*order)
            return [_plain(Position, row) for row in await connection.execute(wanted)]

    async def gate_counts(
        self, account: str = "", *, strategy: str = "", symbol: str = "", last: int = 500
    ) -> list[GateCount]:
        """Return which gates stopped how many of the last decisions, the most frequent first."""
        table = decisions.c
        filters = _equal((table.strategy, strategy), (table.symbol, symbol))
        rows = await self._page(decisions, table.ts, account, filters, None, last)
        first = Counter(row.gate for row in rows if row.gate)
        also = Counter(gate for row in rows for gate in _names(row.blocked)[1:])
        gates = sorted({*first, *also}, key=lambda gate: (-first[gate], -also[gate], gate))
        return [GateCount(gate, first[gate], also[gate]) for gate in gates]

    async def counts(self, account: str = "") -> Counts:
        """Return how many trades, orders and decisions there are."""
        async with self._connection() as connection:
            runs = await _runs(connection, account)

            async def count(table: Table, *filters: ColumnElement[bool]) -> int:
                wanted = select(func.count()).where(table.c.run.in_(runs), *filters)
                return int((await connection.execute(wanted)).scalar_one())

            return Counts(
                trades=await count(trades),
                open_trades=await count(trades, trades.c.exit_time.is_(None)),
                orders=await count(orders),
                working_orders=await count(orders, orders.c.state.in_(OPEN_STATES)),
                decisions=await count(decisions),
                passed=await count(decisions, decisions.c.gate == ""),
            )

    async def cursors(self) -> list[Cursor]:
        """Return how far every journal has been projected, in the order of their numbers."""
        async with self._connection() as connection:
            current = set(await _runs(connection, ""))
            rows = await connection.execute(select(journals).order_by(journals.c.number))
            return [_plain(Cursor, row, is_current=row.run in current) for row in rows]

    async def _page(
        self,
        table: Table,
        time: Column[int],
        account: str,
        filters: Filters,
        before: str | None,
        limit: int,
    ) -> list[Row[Any]]:
        """Return the newest rows that match, from all runs that are meant.

        Each run is asked by itself, for which there is an index, and the answers are merged.
        """
        after = _key(before) if before else None
        found: list[Row[Any]] = []
        async with self._connection() as connection:
            for run in await _runs(connection, account):
                wanted = (
                    select(*(column for column in table.c if column.name != "measured"))
                    .where(table.c.run == run, *filters, *_older(table, time, run, after))
                    .order_by(time.desc(), table.c.id.desc())
                    .limit(_size(limit))
                )
                found += await connection.execute(wanted)
        place = time.name
        found.sort(key=lambda row: (getattr(row, place), row.run, row.id), reverse=True)
        return found[: _size(limit)]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        if self._file is not None and not self._file.exists():
            raise DatabaseError(f"there is no database {self._file}: run `onefold db upgrade`")
        try:
            async with self._engine.connect() as connection:
                yield connection
        except (DBAPIError, OSError) as error:
            raise unreadable(error) from error


def unreadable(error: Exception) -> DatabaseError:
    """Return what a failure of the database means for who reads it."""
    cause = getattr(error, "orig", None) or error
    text = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    missing = ("no such table", "does not exist", "unable to open", "no such column")
    if any(sign in text for sign in missing) and not isinstance(error, InterfaceError):
        return DatabaseError(f"the database is not set up ({text}): run `onefold db upgrade`")
    if isinstance(error, OperationalError | OSError | InterfaceError):
        return DatabaseError(f"the database cannot be reached: {text}")
    return DatabaseError(f"the database cannot be read: {text}")


async def _runs(connection: AsyncConnection, account: str) -> list[int]:
    """Return the runs that ran last, of an account or of all."""
    columns = (journals.c.account, journals.c.run, journals.c.started, journals.c.number)
    wanted = select(*columns).order_by(journals.c.started, journals.c.number)
    if account:
        wanted = wanted.where(journals.c.account == account)
    last = {row.account: row.run for row in await connection.execute(wanted)}
    return sorted(last.values())


def _older(
    table: Table, time: Column[int], run: int, after: tuple[int, int, int] | None
) -> Filters:
    """Return what holds for the rows of a run that come after a key, in descending order."""
    if after is None:
        return []
    ts, last, number = after
    if run == last:
        return [tuple_(time, table.c.id) < (ts, number)]
    return [time <= ts if run < last else time < ts]


def _key(before: str) -> tuple[int, int, int]:
    try:
        ts, run, number = map(int, before.split("."))
    except ValueError:
        raise ConfigError(f"{before!r} is no key of a row; take the one of the last page") from None
    return ts, run, number


def _size(limit: int) -> int:
    return min(max(1, limit), PAGE_MAX)


def _equal(*pairs: tuple[Column[str], str]) -> Filters:
    return [column == value for column, value in pairs if value]


def _within(time: Column[int], since: int | None, until: int | None) -> Filters:
    filters: Filters = []
    if since is not None:
        filters.append(time >= since)
    if until is not None:
        filters.append(time < until)
    return filters


def _names(blocked: str) -> list[str]:
    return blocked.strip(",").split(",") if blocked else []


def _plain(kind: type[T], row: Row[Any], **more: Any) -> T:
    fields: Sequence[str] = kind.__struct_fields__  # type: ignore[attr-defined]
    known = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return kind(
        **{name: known[name] for name in fields if name not in more and name in known}, **more
    )


def _struct(kind: type[T], row: Row[Any], ts: int, **more: Any) -> T:
    return _plain(kind, row, key=f"{ts}.{row.run}.{row.id}", **more)


def _decision(row: Row[Any], **measured: Any) -> Decision:
    said = {"time": row.ts, "side": _SIDES[row.side], "blocked": _names(row.blocked)}
    return _struct(Decision, row, row.ts, **said, **measured)
