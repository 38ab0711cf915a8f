"""What there is to see: how things stand, and what is recorded of them."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse

from onefold.api.office import NotFoundError, Office
from onefold.api.routes.guard import GuardedRoute, services_of, wants
from onefold.api.schemas import (
    PLAIN,
    AccountStatus,
    Backtest,
    Bar,
    Decision,
    EquityPoint,
    Evidence,
    Explanation,
    GateCount,
    Governance,
    JournalState,
    Model,
    Order,
    Page,
    Position,
    Readiness,
    Review,
    Signal,
    Status,
    Strategy,
    Trade,
)
from onefold.api.security import Role
from onefold.domain.bounds import TS_MAX

router = APIRouter(route_class=GuardedRoute)

Account = Annotated[
    str,
    Query(
        max_length=64,
        pattern=PLAIN,
        description="Which account; all when left out, where an answer can be of all.",
        examples=["paper"],
    ),
]
Symbol = Annotated[
    str, Query(max_length=64, pattern=PLAIN, description="Only of this symbol.", examples=["ES"])
]
StrategyName = Annotated[
    str, Query(alias="strategy", max_length=64, pattern=PLAIN, description="Only of this strategy.")
]
Before = Annotated[
    str, Query(max_length=80, pattern=PLAIN, description="`next` of the page before.")
]
Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
Time = Annotated[int, Query(ge=0, le=TS_MAX, description="Nanoseconds UTC; 0 for no bound.")]

SANDBOX = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'self'"
)
"""A report draws its charts with scripts of its own, from where it can reach nothing else."""


def office_of(request: Request) -> Office:
    """Return what there is to see and to do."""
    return services_of(request).office


@router.get("/status", tags=["status"], **wants(Role.VIEWER))
async def status(request: Request) -> Status:
    """Tell the version, and how every account stands."""
    return Status(
        version=version("onefold"),
        time=time.time_ns(),
        accounts=await office_of(request).accounts(),
    )


@router.get("/accounts", tags=["status"], **wants(Role.VIEWER))
async def accounts(request: Request) -> list[AccountStatus]:
    """Tell how every account stands, from its heartbeat and kill switches."""
    return await office_of(request).accounts()


@router.get("/accounts/{account}", tags=["status"], **wants(Role.VIEWER))
async def account_(
    request: Request, account: Annotated[str, Path(max_length=64, pattern=PLAIN)]
) -> AccountStatus:
    """Tell how one account stands."""
    found = await office_of(request).accounts()
    one = next((one for one in found if one.account == account), None)
    if one is None:
        raise NotFoundError(f"there is no account {account!r} that is enabled")
    return one


@router.get("/positions", tags=["books"], **wants(Role.VIEWER))
async def positions(request: Request, account: Account = "") -> list[Position]:
    """List what is held, by strategy and symbol, at its last mark."""
    return await office_of(request).positions(account)


@router.get("/orders", tags=["books"], **wants(Role.VIEWER))
async def orders(
    request: Request,
    account: Account = "",
    symbol: Symbol = "",
    state: Annotated[
        str, Query(max_length=16, pattern="^[a-z_]*$", description="A state; `open` may fill.")
    ] = "",
    before: Before = "",
    limit: Limit = 100,
) -> Page[Order]:
    """List orders and what became of them, the newest first."""
    return await office_of(request).orders(
        account, symbol=symbol, state=state, before=before, limit=limit
    )


@router.get("/trades", tags=["books"], **wants(Role.VIEWER))
async def trades(
    request: Request,
    account: Account = "",
    strategy: StrategyName = "",
    symbol: Symbol = "",
    state: Annotated[
        Literal["open", "closed", "all"], Query(description="Those that run, or have ended.")
    ] = "all",
    before: Before = "",
    limit: Limit = 100,
) -> Page[Trade]:
    """List round trips, the newest first."""
    return await office_of(request).trades(
        account,
        strategy=strategy,
        symbol=symbol,
        is_open=None if state == "all" else state == "open",
        before=before,
        limit=limit,
    )


@router.get("/decisions", tags=["decisions"], **wants(Role.VIEWER))
async def decisions(
    request: Request,
    account: Account = "",
    strategy: StrategyName = "",
    symbol: Symbol = "",
    gate: Annotated[
        str, Query(max_length=64, pattern=PLAIN, description="Only those that it stopped.")
    ] = "",
    passed: Annotated[
        bool | None, Query(description="Only those that all gates let pass, or not.")
    ] = None,
    before: Before = "",
    limit: Limit = 100,
) -> Page[Decision]:
    """List decisions, the newest first."""
    return await office_of(request).decisions(
        account,
        strategy=strategy,
        symbol=symbol,
        gate=gate,
        passed=passed,
        before=before,
        limit=limit,
    )


@router.get("/explain", tags=["decisions"], **wants(Role.VIEWER, slow=True))
async def explain(
    request: Request,
    decision: Annotated[int, Query(ge=1, le=TS_MAX, description="The decision's number.")],
    account: Account = "",
) -> Explanation:
    """Explain a decision of the account's newest journal: features, signal, every gate."""
    return await office_of(request).explain(account, decision)


@router.get("/why-not", tags=["decisions"], **wants(Role.VIEWER, slow=True))
async def why_not(
    request: Request,
    symbol: Annotated[str, Query(min_length=1, max_length=64, pattern=PLAIN)],
    at: Annotated[int, Query(ge=1, le=TS_MAX, description="Nanoseconds UTC; its last bar.")],
    account: Account = "",
) -> list[Explanation]:
    """Explain what was not traded of a symbol at a time, for each strategy."""
    return await office_of(request).why_not(account, symbol, at)


@router.get("/signals", tags=["decisions"], **wants(Role.VIEWER))
async def signals(
    request: Request,
    account: Account = "",
    strategy: StrategyName = "",
    symbol: Symbol = "",
    limit: Limit = 100,
) -> list[Signal]:
    """List what strategies wanted last, from the journal's end."""
    return await office_of(request).signals(account, strategy=strategy, symbol=symbol, limit=limit)


@router.get("/gates", tags=["decisions"], **wants(Role.VIEWER))
async def gates(
    request: Request,
    account: Account = "",
    strategy: StrategyName = "",
    symbol: Symbol = "",
    last: Annotated[int, Query(ge=1, le=10_000, description="Of so many decisions.")] = 500,
) -> list[GateCount]:
    """Count which gates stopped how many of the last decisions."""
    return await office_of(request).gates(account, strategy=strategy, symbol=symbol, last=last)


@router.get("/equity", tags=["books"], **wants(Role.VIEWER))
async def equity(
    request: Request,
    account: Account = "",
    since: Time = 0,
    until: Time = 0,
    points: Annotated[int, Query(ge=2, le=5_000, description="Thinned to so many.")] = 1_000,
) -> list[EquityPoint]:
    """Return the equity over time, with how far below its highest it was."""
    return await office_of(request).equity(account, since=since, until=until, points=points)


@router.get("/bars", tags=["books"], **wants(Role.VIEWER))
async def bars(
    request: Request,
    symbol: Annotated[str, Query(min_length=1, max_length=64, pattern=PLAIN)],
    account: Account = "",
    since: Time = 0,
    until: Time = 0,
    limit: Annotated[int, Query(ge=1, le=5_000, description="The last so many.")] = 500,
) -> list[Bar]:
    """Return the bars that a session has seen."""
    return await office_of(request).bars(account, symbol, since=since, until=until, limit=limit)


@router.get("/strategies", tags=["strategies"], **wants(Role.VIEWER))
async def strategies(request: Request, account: Account = "") -> list[Strategy]:
    """List the strategies, where they stand, and what they have made."""
    return await office_of(request).strategies(account)


@router.get("/models", tags=["strategies"], **wants(Role.VIEWER))
async def models(request: Request) -> list[Model]:
    """List every version of every model."""
    return await office_of(request).models()


@router.get("/governance", tags=["governance"], **wants(Role.VIEWER))
async def governance(request: Request, account: Account = "") -> Governance:
    """Return the parameters in force, their versions, and what waits for approval."""
    return await office_of(request).governance(account)


@router.get("/reviews", tags=["governance"], **wants(Role.VIEWER))
async def reviews(request: Request, account: Account = "") -> list[Review]:
    """List what is suppressed or watched, by whom and why."""
    return await office_of(request).reviews(account)


@router.get("/evidence", tags=["governance"], **wants(Role.VIEWER))
async def evidence(request: Request, account: Account = "") -> list[Evidence]:
    """List the checks of transitions, and whether their signatures are right."""
    return await office_of(request).evidence(account)


@router.get("/readiness", tags=["governance"], **wants(Role.VIEWER))
async def readiness(request: Request, account: Account = "") -> list[Readiness]:
    """List the daily and weekly reports that were written."""
    return await office_of(request).readiness(account)


@router.get("/journal", tags=["journal"], **wants(Role.VIEWER))
async def journal(request: Request, account: Account = "") -> JournalState:
    """Return the head of the newest journal, and how far the database follows it."""
    return await office_of(request).journal(account)


@router.get("/journal/verification", tags=["journal"], **wants(Role.ADMIN, slow=True))
async def verification(request: Request, account: Account = "") -> JournalState:
    """Verify the newest journal to its last byte."""
    return await office_of(request).verify(account)


@router.get("/backtests", tags=["backtests"], **wants(Role.VIEWER))
async def backtests(request: Request) -> list[Backtest]:
    """List the results of backtests, the newest first."""
    return await office_of(request).backtests()


@router.get(
    "/backtests/{name}/report",
    tags=["backtests"],
    response_class=HTMLResponse,
    **wants(Role.VIEWER),
)
async def report(
    request: Request, name: Annotated[str, Path(max_length=200, pattern=PLAIN)]
) -> HTMLResponse:
    """Return the report of a backtest, which can reach nothing but itself."""
    text = await office_of(request).report(name)
    return HTMLResponse(text, headers={"Content-Security-Policy": SANDBOX})
