"""What can be done: commands to sessions, parameters, reviews; and keys and tickets.

Stopping takes the role operator and nothing else, so that it is quick. What lets more be traded
takes the role risk, the key once more, and is done once for each idempotency key.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request

from onefold.api.routes.guard import (
    GuardedRoute,
    address_of,
    caller_of,
    services_of,
    wants,
)
from onefold.api.routes.reading import office_of
from onefold.api.schemas import (
    PLAIN,
    Answer,
    ApiKey,
    CommandBody,
    HoldBody,
    KeyBody,
    ParameterVersion,
    Pass,
    ReasonBody,
    ReleaseBody,
    ReviewBody,
    ScopeBody,
    SetBody,
)
from onefold.api.security import DeniedError, Role

router = APIRouter(route_class=GuardedRoute)

Account = Annotated[str, Path(max_length=64, pattern=PLAIN, examples=["paper"])]
Version = Annotated[int, Path(ge=0, le=10**9)]
Command = Literal["kill", "flatten", "reduce_only", "resume", "stop", "adopt"]


# --- commands ------------------------------------------------------------------------------------


async def _command(request: Request, command: Command, body: ScopeBody) -> list[Answer]:
    full = CommandBody(command=command, **body.model_dump())
    return await office_of(request).command(full, operator=caller_of(request).name)


@router.post("/commands/kill", tags=["commands"], **wants(Role.OPERATOR, urgent=True))
async def kill(request: Request, body: ScopeBody) -> list[Answer]:
    """Stop trading at once, durably: entries that work are cancelled, nothing new is sent."""
    return await _command(request, "kill", body)


@router.post("/commands/flatten", tags=["commands"], **wants(Role.OPERATOR, urgent=True))
async def flatten(request: Request, body: ScopeBody) -> list[Answer]:
    """Close what is held at the market, until it is flat."""
    return await _command(request, "flatten", body)


@router.post("/commands/reduce_only", tags=["commands"], **wants(Role.OPERATOR, urgent=True))
async def reduce_only(request: Request, body: ScopeBody) -> list[Answer]:
    """Allow only what makes positions smaller."""
    return await _command(request, "reduce_only", body)


@router.post("/commands/stop", tags=["commands"], **wants(Role.OPERATOR, urgent=True))
async def stop(request: Request, body: ScopeBody) -> list[Answer]:
    """End sessions in good order; positions stay as they are."""
    return await _command(request, "stop", body)


@router.post("/commands/resume", tags=["commands"], **wants(Role.RISK, sensitive=True))
async def resume(request: Request, body: ScopeBody) -> list[Answer]:
    """Turn a kill switch off and trade again."""
    return await _command(request, "resume", body)


@router.post("/commands/adopt", tags=["commands"], **wants(Role.RISK, sensitive=True))
async def adopt(request: Request, body: ScopeBody) -> list[Answer]:
    """Put what the venue holds into the books of a strategy."""
    return await _command(request, "adopt", body)


# --- governance ----------------------------------------------------------------------------------


@router.put("/governance/{account}/values", tags=["governance"], **wants(Role.RISK, sensitive=True))
async def set_value(request: Request, account: Account, body: SetBody) -> ParameterVersion:
    """Set a threshold or limit; on a live account, more risk waits for approval."""
    who = caller_of(request).name
    return await office_of(request).set_value(account, body, operator=who)


@router.post(
    "/governance/{account}/versions/{version}/approval",
    tags=["governance"],
    **wants(Role.RISK, sensitive=True),
)
async def approve(
    request: Request, account: Account, version: Version, body: ReasonBody
) -> ParameterVersion:
    """Put a proposal into force; nobody approves their own where a second person is wanted."""
    who = caller_of(request).name
    return await office_of(request).approve(account, version, body.reason, operator=who)


@router.post(
    "/governance/{account}/versions/{version}/rollback",
    tags=["governance"],
    **wants(Role.RISK, sensitive=True),
)
async def rollback(
    request: Request, account: Account, version: Version, body: ReasonBody
) -> ParameterVersion:
    """Give all thresholds the values that they had after a version; 0 is the configuration."""
    who = caller_of(request).name
    return await office_of(request).rollback(account, version, body.reason, operator=who)


async def _review(request: Request, account: str, body: ReviewBody) -> ParameterVersion:
    who = caller_of(request).name
    return await office_of(request).review(account, body, operator=who)


@router.post(
    "/reviews/{account}/suppress", tags=["governance"], **wants(Role.OPERATOR, urgent=True)
)
async def suppress(request: Request, account: Account, body: HoldBody) -> ParameterVersion:
    """Let a strategy or a symbol enter nothing."""
    full = ReviewBody(action="suppress", **body.model_dump())
    return await _review(request, account, full)


@router.post("/reviews/{account}/watch", tags=["governance"], **wants(Role.RISK, sensitive=True))
async def watch(request: Request, account: Account, body: HoldBody) -> ParameterVersion:
    """Mark what wants looking at; what was suppressed by a review trades again."""
    full = ReviewBody(action="watch", **body.model_dump())
    return await _review(request, account, full)


@router.post("/reviews/{account}/release", tags=["governance"], **wants(Role.RISK, sensitive=True))
async def release(request: Request, account: Account, body: ReleaseBody) -> ParameterVersion:
    """Let a strategy or a symbol trade again."""
    full = ReviewBody(action="release", **body.model_dump())
    return await _review(request, account, full)


# --- keys and what stands for them ---------------------------------------------------------------


@router.post("/confirmations", tags=["keys"], **wants(Role.VIEWER))
async def confirm(request: Request, body: KeyBody) -> Pass:
    """Give your key again, and get what lets you do sensitive things for some minutes."""
    services = services_of(request)
    found = services.known(body.key, address_of(request))
    if found.id != caller_of(request).id:
        raise DeniedError(403, "this is not the key that asks")
    passes = services.confirmations
    return Pass(value=passes.issue(found.id), lasts_s=passes.lasts_s)


@router.post("/stream/tickets", tags=["stream"], **wants(Role.VIEWER))
async def ticket(request: Request) -> Pass:
    """Get a ticket for `/api/v1/stream?ticket=...`, good for one connection within 30 s."""
    tickets = services_of(request).tickets
    return Pass(value=tickets.issue(caller_of(request).id), lasts_s=tickets.lasts_s)


@router.get("/keys", tags=["keys"], **wants(Role.ADMIN))
async def keys(request: Request) -> list[ApiKey]:
    """List the keys, without what is secret of them."""
    facts = services_of(request).keys.facts()
    return [ApiKey.model_validate(one._asdict()) for one in facts]
