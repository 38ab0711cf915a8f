"""What watches: that the server answers, whether all is well, and metrics.

Load balancers and deployments have no key, so they are told the verdicts alone; the reasons, which
name accounts and what is wrong with them, take a key.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from onefold.api.routes.guard import GuardedRoute, open_to_all, services_of, wants
from onefold.api.routes.reading import office_of
from onefold.api.schemas import Failure, Health, Pong, Ready, Verdicts
from onefold.api.security import Role

router = APIRouter(route_class=GuardedRoute)
within = APIRouter(route_class=GuardedRoute)
"""Those below `/api/v1`."""

UNWELL: dict[int | str, dict[str, Any]] = {
    503: {"model": Verdicts, "description": "Something is unhealthy."}
}
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@router.head("/ping", include_in_schema=False, **open_to_all())
@router.get("/ping", tags=["status"], **open_to_all())
async def ping() -> Pong:
    """Say that the server answers."""
    return Pong(pong=True)


@router.get("/health", tags=["status"], responses=UNWELL, **open_to_all())
async def health(request: Request, response: Response) -> Verdicts:
    """Tell whether all is well, check by check; 503 when something is unhealthy."""
    found = await office_of(request).health()
    response.status_code = 503 if found.status == "unhealthy" else 200
    return Verdicts(status=found.status, checks={one.name: one.status for one in found.checks})


@router.get("/health/failures", tags=["status"], **wants(Role.VIEWER))
async def failures(request: Request) -> list[Failure]:
    """List the failures that were survived, by component."""
    return (await office_of(request).health()).failures


@router.get("/ready", tags=["status"], **open_to_all())
async def ready(request: Request) -> Ready:
    """Say that keys and heartbeats can be read, so that requests can be answered."""
    services_of(request).keys.check()
    await office_of(request).accounts()
    return Ready(ready=True)


@router.get("/metrics", tags=["status"], response_class=PlainTextResponse, **wants(Role.VIEWER))
async def metrics(request: Request) -> Response:
    """Return all metrics in Prometheus' text format."""
    return Response(await office_of(request).metrics(), media_type=EXPOSITION)


@within.get("/health", tags=["status"], **wants(Role.VIEWER))
async def checks(request: Request) -> Health:
    """Tell every check with its reason, and the failures that were survived."""
    return await office_of(request).health()


@within.get("/failures", tags=["status"], **wants(Role.VIEWER))
async def survived(request: Request) -> list[Failure]:
    """List the failures that were survived, by component."""
    return (await office_of(request).health()).failures
