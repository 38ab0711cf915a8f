"""What stands before every route: who asks, whether they may, how often, and only once.

It is done before a request is parsed, so that nobody without a key reaches a parser. A route says
what it wants when it is made; one that says nothing cannot be made, so that nothing is open because
somebody forgot.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from onefold.api.config import ServeSettings
from onefold.api.office import Office
from onefold.api.security import (
    ID_BYTES,
    PREFIX,
    Buckets,
    Caller,
    DeniedError,
    Keys,
    Lockout,
    Passes,
    Role,
)
from onefold.domain.errors import ConfigError, OnefoldError, did_you_mean

audit = logging.getLogger("onefold.audit.api")

TICKET_S = 30.0
REMEMBERED = 10_000
IDEMPOTENCY_KEY_MAX = 128
SLOW_MARGIN_S = 5.0
OPEN = "open"
"""What a route says that anybody may ask."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
SCHEME = "key"


class Services:
    """What the routes of one server share; `root` is a folder whose name nobody has to see."""

    def __init__(
        self,
        office: Office,
        config: ServeSettings,
        keys: Keys,
        *,
        origins: tuple[str, ...] = (),
        root: Path | None = None,
    ) -> None:
        self.office, self.config, self.keys = office, config, keys
        self.origins, self.root = origins, root
        self.by_address = Buckets(config.requests_per_s, config.burst)
        self.by_key = Buckets(config.requests_per_s, config.burst)
        self.lockout = Lockout()
        self.tickets = Passes(TICKET_S)
        self.confirmations = Passes(config.confirm_s)
        self.done = _Done()

    def known(self, given: str, address: str) -> Caller:
        """Return whose key it is. Raises `DeniedError`."""
        caller = self.keys.authenticate(given) if given else None
        if caller is not None:
            self.lockout.succeeded(address)
            return caller
        wait_s = self.lockout.failed(address) if given else 0.0
        if wait_s > 0:
            raise DeniedError(429, "too many wrong keys from this address", wait_s)
        raise DeniedError(401, "give a key that is known: Authorization: Bearer KEY")


@dataclass(frozen=True)
class Want:
    """What a route wants of who asks.

    `urgent` ones stop something, and have an allowance of their own that nothing else uses up.
    `sensitive` ones let more be traded: the key is confirmed, and the request done once. `slow`
    ones may take as long as a replay.
    """

    role: Role
    urgent: bool = False
    sensitive: bool = False
    slow: bool = False


def wants(
    role: Role, *, urgent: bool = False, sensitive: bool = False, slow: bool = False
) -> dict[str, Any]:
    """Return how a route says what it wants: `@router.get(..., **wants(Role.VIEWER))`."""
    extra: dict[str, Any] = {"x-role": role.word, "security": [{SCHEME: []}]}
    extra |= {
        f"x-{name}": True
        for name, on in (("urgent", urgent), ("sensitive", sensitive), ("slow", slow))
        if on
    }
    if sensitive:
        extra["parameters"] = [_header("Idempotency-Key", KEY_MEANS), _header(CONFIRM, CONFIRMS)]
    return {"openapi_extra": extra}


def open_to_all() -> dict[str, Any]:
    """Return how a route says that it needs no key."""
    return {"openapi_extra": {"x-role": OPEN, "security": []}}


CONFIRM = "X-Confirmation"
KEY_MEANS = "A text of your own for this request: sent again, it is answered again and done once."
CONFIRMS = "What POST /api/v1/confirmations gave."


def _header(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_MAX}
    return {
        "name": name,
        "in": "header",
        "required": True,
        "description": description,
        "schema": schema,
    }


class GuardedRoute(APIRoute):
    """A route with a guard before it. Raises `ConfigError` where it does not say what it wants."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        extra = options.get("openapi_extra") or {}
        role = extra.get("x-role")
        if role is None:
            raise ConfigError(f"route {path} does not say which role it wants")
        self.want: Want | None = None
        if role != OPEN:
            flags = {name: f"x-{name}" in extra for name in ("urgent", "sensitive", "slow")}
            self.want = Want(Role[role.upper()], **flags)
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Handler:
        """Return what answers a request: the guard, and behind it the route."""
        answer = super().get_route_handler()
        names = {p.alias for p in self.dependant.query_params}

        async def guarded(request: Request) -> Response:
            if self.want is None:
                _take(services_of(request).by_address, (False, address_of(request)))
            else:
                request.state.caller = admitted(request, self.want)
            check_query(request, names)
            if request.method in ("GET", "HEAD") or self.want is None:
                return await within(request, self.want, answer(request))
            return await changed(request, self.want, answer)

        return guarded


def services_of(request: Request) -> Services:
    """Return what the server's routes share."""
    found: Services = request.app.state.services
    return found


def caller_of(request: Request) -> Caller:
    """Return who asks."""
    found: Caller = request.state.caller
    return found


def address_of(request: Request) -> str:
    """Return from where somebody asks."""
    return request.client.host if request.client is not None else ""


def admitted(request: Request, want: Want) -> Caller:
    """Return who asks, once they may. Raises `DeniedError`.

    What is urgent is counted by address only for those without a right key: nobody else at an
    address, be it that of a proxy, uses up what whoever must stop trading may ask.
    """
    services, address = services_of(request), address_of(request)
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    given = given.strip() if scheme.lower() == "bearer" else ""
    if not (want.urgent and given and services.keys.authenticate(given) is not None):
        _take(services.by_address, (want.urgent, address))
    caller = services.known(given, address)
    _take(services.by_key, (want.urgent, caller.id))
    if caller.role < want.role:
        raise DeniedError(
            403, f"this takes the role {want.role.word}; the key {caller.name!r} is "
            f"{caller.role.word}"
        )  # fmt: skip
    if want.sensitive:
        given = request.headers.get(CONFIRM, "")
        if services.confirmations.holder(given) != caller.id:
            raise DeniedError(
                403, f"give your key again: POST /api/v1/confirmations, then {CONFIRM}"
            )
    return caller


def _take(buckets: Buckets, client: tuple[bool, str]) -> None:
    wait_s = buckets.take(client)
    if wait_s > 0:
        raise DeniedError(429, "too many requests", wait_s)


class BadRequestError(OnefoldError):
    """A request that is wrong in a way that no schema can say; `fields` names what is wrong."""

    def __init__(self, message: str, fields: dict[str, str]) -> None:
        super().__init__(message)
        self.fields = fields


def check_query(request: Request, names: set[str]) -> None:
    """Refuse query parameters that a route does not have, or twice. Raises `BadRequestError`."""
    wrong: dict[str, str] = {}
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in names:
            wrong[f"query.{name[:64]}"] = f"there is no such parameter{did_you_mean(name, names)}"
        elif given.count(name) > 1:
            wrong[f"query.{name}"] = "it is there twice"
    if wrong:
        raise BadRequestError("the request has what is not known", wrong)


async def within(
    request: Request, want: Want | None, answer: Coroutine[Any, Any, Response]
) -> Response:
    """Answer within the time that a request may take. Raises `DeniedError`."""
    config = services_of(request).config
    is_slow = want is not None and want.slow
    limit_s = max(config.request_s, config.explain_s + SLOW_MARGIN_S if is_slow else 0.0)
    try:
        async with asyncio.timeout(limit_s):
            return await answer
    except TimeoutError:
        raise DeniedError(503, f"it took longer than {limit_s:g} s", 1.0) from None


# --- once ----------------------------------------------------------------------------------------


@dataclass
class _Made:
    print: bytes
    task: asyncio.Task[Response] = field(repr=False)


class _Done:
    """What was done for which idempotency key of whom."""

    def __init__(self) -> None:
        self._of: OrderedDict[tuple[str, str], _Made] = OrderedDict()

    def get(self, key: tuple[str, str]) -> _Made | None:
        return self._of.get(key)

    def put(self, key: tuple[str, str], made: _Made) -> None:
        self._of[key] = made
        made.task.add_done_callback(lambda task: self._ended(key, task))
        while len(self._of) > REMEMBERED:
            self._of.popitem(last=False)

    def _ended(self, key: tuple[str, str], task: asyncio.Task[Response]) -> None:
        # What nobody foresaw may be tried again; a refusal is an answer like any other.
        if task.cancelled() or not isinstance(task.exception(), OnefoldError | None):
            self._of.pop(key, None)


async def changed(request: Request, want: Want, answer: Handler) -> Response:
    """Do what changes something: once for each idempotency key, and with a line in the audit log.

    It is done to its end, also when who has asked does not wait for it.
    """
    services, caller = services_of(request), caller_of(request)
    given = request.headers.get("idempotency-key", "")
    if want.sensitive and not given:
        raise BadRequestError("it needs an Idempotency-Key", {"header.idempotency-key": KEY_MEANS})
    if len(given) > IDEMPOTENCY_KEY_MAX:
        raise BadRequestError("the Idempotency-Key is too long", {"header.idempotency-key": ""})
    body, path = await request.body(), request.scope["path"]
    digest = hashlib.sha256(f"{request.method} {path}\n".encode() + body).digest()
    made = services.done.get((caller.id, given)) if given else None
    if made is None:
        made = _Made(digest, asyncio.create_task(_audited(request, caller, body, answer)))
        if given:
            services.done.put((caller.id, given), made)
    elif made.print != digest:
        raise BadRequestError(
            "this Idempotency-Key was used for another request", {"header.idempotency-key": ""}
        )
    found = await within(request, want, asyncio.shield(made.task))  # type: ignore[arg-type]
    return Response(found.body, found.status_code, media_type=found.media_type)


async def _audited(request: Request, caller: Caller, body: bytes, answer: Handler) -> Response:
    outcome, path = "failed", request.scope["path"]
    try:
        found = await answer(request)
    except OnefoldError as error:
        outcome = f"refused: {error}"
        raise
    else:
        outcome = str(found.status_code)
        return found
    finally:
        told = {
            "operator": caller.name,
            "role": caller.role.word,
            "action": f"{request.method} {path}",
            "asked": _said(path, body),
            "outcome": outcome[:500],
            "client": address_of(request),
            "request": request.state.id,
        }
        audit.info("%s", in_one_line(told))


SECRET_PATHS = ("/api/v1/confirmations",)
"""Routes whose bodies hold a key."""


def _said(path: str, body: bytes) -> str:
    return "" if path in SECRET_PATHS else body[:2_000].decode("utf-8", "replace")


KEY = re.compile(rf"{PREFIX}_[0-9a-f]{{{2 * ID_BYTES}}}_[A-Za-z0-9_-]*")


def in_one_line(facts: dict[str, Any]) -> str:
    """Return facts as JSON in plain ASCII: no control character, no line of somebody's own.

    A key that somebody has put where none belongs is taken out.
    """
    return KEY.sub(f"{PREFIX}_...", json.dumps(facts)).replace("\x7f", "\\u007f")
