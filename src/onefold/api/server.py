"""The server: the routes behind a shell that bounds what comes in and shapes what goes out.

The shell looks at every request before anything parses it: the host that was asked for, how large
the body is and how deep, how long it takes to come. Every answer leaves with the same headers, and
every error in one shape that says nothing of what is inside.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from onefold.api.config import ServeSettings, is_address
from onefold.api.office import BusyError, NotFoundError, Office
from onefold.api.routes import doing, reading, watching
from onefold.api.routes.guard import (
    SCHEME,
    BadRequestError,
    GuardedRoute,
    Services,
    in_one_line,
    wants,
)
from onefold.api.schemas import Problem
from onefold.api.security import DeniedError, Keys, Role
from onefold.api.stream import Hub, stream
from onefold.domain.errors import ConfigError, OnefoldError

log = logging.getLogger("onefold.api")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PREFIX = "/api/v1"
DEPTH_MAX = 32
URL_BYTES_MAX = 8_192
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS")
ALLOWED_HEADERS = ("Content-Type", "Authorization")

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

TAGS = [
    {"name": "status", "description": "Whether all is well, and how accounts stand."},
    {"name": "books", "description": "Positions, orders, trades, equity and bars."},
    {"name": "decisions", "description": "What was decided, what was not, and why."},
    {"name": "strategies", "description": "Strategies and models."},
    {"name": "governance", "description": "Parameters, reviews, evidence and readiness."},
    {"name": "journal", "description": "The record that all else is a view of."},
    {"name": "backtests", "description": "Results of backtests."},
    {"name": "commands", "description": "Stopping sessions, and letting them go on."},
    {"name": "stream", "description": "Records as they are written, by WebSocket."},
    {"name": "keys", "description": "Keys and confirmations."},
]
DESCRIPTION = (
    "Reads what is recorded, and puts requests where sessions find them. Times are nanoseconds "
    "UTC, sizes are lots, money is in the account's currency."
)


class PlainJSON(JSONResponse):
    """JSON in which no text can be taken for markup, wherever it is put."""

    def render(self, content: Any) -> bytes:
        """Return the bytes; `<`, `>` and `&` only stand in texts, and are escaped there."""
        text: bytes = super().render(content)
        for sign in (b"<", b">", b"&"):
            text = text.replace(sign, b"\\u%04x" % ord(sign))
        return text


# --- errors --------------------------------------------------------------------------------------


def problem(
    request: Request,
    status: int,
    message: str,
    *,
    fields: dict[str, str] | None = None,
    retry_after_s: float = 0.0,
) -> Response:
    """Return an error in the shape that all have."""
    found = Problem(
        code=HTTPStatus(status).phrase.lower().replace(" ", "_"),
        message=message,
        fields=fields or {},
        request=getattr(request.state, "id", ""),
    )
    headers = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if retry_after_s > 0:
        headers["Retry-After"] = str(int(retry_after_s) + 1)
    return PlainJSON(found.model_dump(), status, headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    """Turn an error that was raised on purpose into an answer."""
    if isinstance(error, DeniedError):
        return problem(request, error.status, str(error), retry_after_s=error.retry_after_s)
    if isinstance(error, BadRequestError):
        return problem(request, 422, str(error), fields=error.fields)
    status = 404 if isinstance(error, NotFoundError) else 422
    if isinstance(error, BusyError):
        return problem(request, 503, str(error), retry_after_s=1.0)
    if not isinstance(error, ConfigError):
        log.warning("%s", in_one_line({"request": request.state.id, "error": str(error)}))
        status = 503
    return problem(request, status, _without_root(request, str(error)))


def _without_root(request: Request, text: str) -> str:
    """Return a message without the name of the folder in which everything is."""
    root: Path | None = request.app.state.services.root
    return text if root is None else text.replace(f"{root}/", "").replace(str(root), ".")


async def _invalid(request: Request, error: Exception) -> Response:
    """Tell which fields do not fit, and how; never what was sent."""
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    fields = {".".join(map(str, one["loc"]))[:200]: str(one["msg"]) for one in found}
    return problem(request, 422, "the request does not fit", fields=fields)


async def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = {404: "there is nothing here", 405: "this cannot be done here"}
    response = problem(request, status, said.get(status, HTTPStatus(status).phrase.lower()))
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers.update(getattr(error, "headers", None) or {})
    return response


# --- the shell -----------------------------------------------------------------------------------


class Shell:
    """Bounds what comes in and shapes what goes out, whatever is inside."""

    def __init__(self, app: Any, config: ServeSettings) -> None:
        self._app, self._config = app, config
        self._body_max = config.body_kb * 1_024
        self._hosts = {"localhost", *config.hosts}
        if not is_address(config.host):
            self._hosts.add(config.host.lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request, a stream, or the beginning and end of the server."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["id"] = secrets.token_hex(8)
        if scope["type"] == "websocket":
            if self._knows(Headers(scope=scope)):
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
            return
        await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status, is_sent = time.monotonic(), 500, False

        async def finished(message: MutableMapping[str, Any]) -> None:
            nonlocal status, is_sent
            if message["type"] == "http.response.start":
                is_sent, status = True, message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._headers().items():
                    headers.setdefault(name, value)
                headers["X-Request-Id"] = scope["state"]["id"]
            await send(message)

        request = Request(scope, receive)
        try:
            await self._answer(request, scope, receive, finished)
        except Exception as error:  # the last resort, where every error ends
            kind = type(error).__name__
            log.exception("%s", in_one_line({"request": scope["state"]["id"], "bug": kind}))
            if not is_sent:
                said = "this is a bug; the log has it under this request's name"
                await problem(request, 500, said)(scope, receive, finished)
        finally:
            self._log(request, status, time.monotonic() - began)

    async def _answer(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what is too much, and let all else go on with the body that has come."""
        refused = self._refusal(request)
        if refused is None:
            try:
                async with asyncio.timeout(self._config.request_s):
                    body = await self._body(receive)
            except TimeoutError:
                refused = problem(request, 408, "the body did not come in time")
            except _TooMuchError:
                refused = self._too_large(request)
            else:
                if deeper_than(body, DEPTH_MAX):
                    refused = problem(request, 422, f"the body is deeper than {DEPTH_MAX} levels")
        if refused is not None:
            await refused(scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive), send)

    def _refusal(self, request: Request) -> Response | None:
        if not self._knows(request.headers):
            return problem(request, 421, "this host is not served here: serve.hosts names those")
        if len(request.scope["raw_path"]) + len(request.scope["query_string"]) > URL_BYTES_MAX:
            return problem(request, 414, "the address is too long")
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or len(length) > 18 or int(length) > self._body_max:
            return self._too_large(request)
        return None

    def _too_large(self, request: Request) -> Response:
        return problem(request, 413, f"a body has at most {self._config.body_kb} KB")

    async def _body(self, receive: Receive) -> bytes:
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return b""
            part = message.get("body", b"")
            size += len(part)
            if size > self._body_max:
                raise _TooMuchError
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _knows(self, headers: Headers) -> bool:
        """Return whether a request is for a host that is served: no other name leads here."""
        host = headers.get("host", "").lower()
        name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
        return name in self._hosts or is_address(name)

    def _headers(self) -> dict[str, str]:
        if not self._config.has_tls:
            return SECURITY_HEADERS
        return {**SECURITY_HEADERS, "Strict-Transport-Security": "max-age=31536000"}

    @staticmethod
    def _log(request: Request, status: int, took_s: float) -> None:
        caller = getattr(request.state, "caller", None)
        # The path alone: no query, no header, no body, so that nothing secret can be among it.
        facts = {
            "method": request.method[:16],
            "path": request.scope["path"][:200],
            "status": status,
            "ms": round(took_s * 1e3, 1),
            "client": request.client.host if request.client is not None else "",
            "key": caller.name if caller is not None else "",
            "request": request.state.id,
        }
        log.info("%s", in_one_line(facts))


class _TooMuchError(Exception):
    pass


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return how a body that has come is received again, and then what comes after it."""
    is_given = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def deeper_than(body: bytes, levels: int) -> bool:
    """Return whether JSON is nested deeper, without parsing it: parsers are recursive."""
    if body.count(b"[") + body.count(b"{") <= levels:
        return False
    depth, in_text, escaped = 0, False, False
    for sign in body:
        if in_text:
            in_text = escaped or sign != _QUOTE
            escaped = sign == _BACKSLASH and not escaped
        elif sign == _QUOTE:
            in_text = True
        elif sign in _OPENING:
            depth += 1
            if depth > levels:
                return True
        elif sign in _CLOSING:
            depth -= 1
    return False


_QUOTE, _BACKSLASH = b'"\\'
_OPENING, _CLOSING = b"[{", b"]}"


# --- the whole -----------------------------------------------------------------------------------


def create_app(
    office: Office,
    config: ServeSettings,
    keys: Keys,
    *,
    origins: tuple[str, ...] = (),
    root: Path | None = None,
) -> FastAPI:
    """Return the server. Raises `ConfigError` without a key, and for a route without a role.

    `origins` are those of pages that may ask; `root` is a folder whose name is kept from answers.
    """
    keys.check()
    services = Services(office, config, keys, origins=origins, root=root)
    hub = Hub(services)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await hub.close()

    app = FastAPI(
        title="Onefold",
        version=version("onefold"),
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        openapi_tags=TAGS,
        default_response_class=PlainJSON,
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.router.route_class = GuardedRoute  # so that no route is added later without a role
    app.state.services, app.state.hub = services, hub
    app.include_router(watching.router)
    for router in (watching.within, reading.router, doing.router):
        app.include_router(router, prefix=PREFIX)
    app.include_router(_described(app), prefix=PREFIX)
    app.add_api_websocket_route(f"{PREFIX}/stream", stream)
    app.add_exception_handler(OnefoldError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=list(METHODS),
        allow_headers=list(ALLOWED_HEADERS),
        max_age=600,
    )
    app.add_middleware(Shell, config=config)
    return app


def _described(app: FastAPI) -> APIRouter:
    """Return the route that describes all others."""
    router = APIRouter(route_class=GuardedRoute)

    @router.get("/openapi.json", tags=["status"], **wants(Role.VIEWER))
    async def openapi(request: Request) -> Response:
        """Describe the interface as OpenAPI."""
        del request
        return PlainJSON(described(app))

    return router


def described(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI description of a server, with the role that each route wants."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        schemes = found.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes[SCHEME] = {
            "type": "http",
            "scheme": "bearer",
            "description": "A key that `onefold keys add` made.",
        }
        shape = {"$ref": "#/components/schemas/Problem"}
        found["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        for path in found["paths"].values():
            for operation in path.values():
                answers = {"description": "An error.", "content": _json(shape)}
                operation["responses"] = {
                    **{c: r for c, r in operation["responses"].items() if c != "422"},
                    "4XX": answers,
                    "5XX": answers,
                }
        app.openapi_schema = json.loads(json.dumps(found))
    return app.openapi_schema


def _json(schema: dict[str, str]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
