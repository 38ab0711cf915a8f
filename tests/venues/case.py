"""What the cases of the venue suite are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import NamedTuple, TypeVar

import pytest

from onefold.domain.venue import Abilities, Ticket, TradeReport
from onefold.rehearsal.exchange import VenueTrade

from .rig import MS_NS, PATIENCE_S, Rig

Test = TypeVar("Test", bound=Callable[..., None])

FINAL = ("cancelled", "expired", "rejected")


class Case(NamedTuple):
    """One case, and what a venue must be able to do for it."""

    check: Callable[[Rig], Awaitable[None]]
    able: Callable[[Abilities], bool]

    def __str__(self) -> str:
        """Return the name of the case."""
        return self.check.__name__


_CASES: list[Case] = []


def case(
    able: Callable[[Abilities], bool] = lambda _: True,
) -> Callable[[Callable[[Rig], Awaitable[None]]], Callable[[Rig], Awaitable[None]]]:
    """Add a case for the venues that are able to do what it needs."""

    def add(check: Callable[[Rig], Awaitable[None]]) -> Callable[[Rig], Awaitable[None]]:
        _CASES.append(Case(check, able))
        return check

    return add


def all_cases() -> list[Case]:
    """Return every case that there is."""
    return [*_CASES]


def cases(abilities: Abilities) -> list[Case]:
    """Return the cases that concern a venue; one that confirms nothing has none."""
    return [one for one in _CASES if abilities.confirms and one.able(abilities)]


def conforms(
    adapter: str, abilities: Abilities, spared: Mapping[str, str] | None = None
) -> Callable[[Test], Test]:
    """Give a test each `case` that concerns a venue, and the venue a column in the printed table.

    `spared` are cases that are left out all the same, with the reason; `adapter` is one of the
    columns of `conformance_table`.
    """
    spared = spared or {}
    due = [one for one in cases(abilities) if str(one) not in spared]
    parametrised = pytest.mark.parametrize("case", due, ids=str)
    column = pytest.mark.conformance("venues", adapter, spared)
    return lambda test: column(parametrised(test))


def run(one: Case, rig: AbstractAsyncContextManager[Rig]) -> None:
    """Run a case on a rig of its own, and fail when it does not come to an end."""

    async def main() -> None:
        async with rig as made, asyncio.timeout(6 * PATIENCE_S):
            await one.check(made)

    asyncio.run(main())


def equal(report: TradeReport, trade: VenueTrade) -> None:
    """Hold a report of a trade against the trade; every digit counts."""
    said = (report.client_id, report.symbol, report.side, report.qty, report.price)
    assert said == (trade.client_id, trade.symbol, trade.side, trade.qty, trade.price)
    assert (report.fee, report.fee_currency) == (trade.fee, trade.fee_currency)
    assert all(type(x) is Decimal for x in (report.qty, report.price, report.fee))
    assert abs(report.ts - trade.ts) < MS_NS, "venues count in milliseconds at the coarsest"


async def traded(rig: Rig, ticket: Ticket, count: int = 1) -> list[TradeReport]:
    """Return an order's trades as the venue tells them when asked, held against the exchange's."""
    reports = [t for t in await rig.venue.trades(0) if t.client_id == ticket.client_id]
    done = [t for t in rig.exchange.trades() if t.client_id == ticket.client_id]
    assert len(reports) == len(done) == count
    assert len({t.trade_id for t in reports}) == count
    for report, trade in zip(reports, done, strict=True):
        equal(report, trade)
    return reports
