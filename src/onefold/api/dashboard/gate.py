"""What stands before every page of the dashboard: who is signed in, from where, under which policy.

NiceGUI serves pages and a socket to whoever asks. Here nothing of it is reached without a session:
not a page, not a script, not the socket; and the socket is opened only for pages of this server, so
that no other site can speak with a visitor's cookie. Signing in and out are plain forms, which need
no script.
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from onefold.api.dashboard.login import login_page
from onefold.api.dashboard.resources import PREFIX, PUBLIC, STATIC_FILES
from onefold.api.dashboard.sessions import COOKIE, LASTS_S, Session, Sessions
from onefold.api.dashboard.wire import Wire
from onefold.api.office import NotFoundError
from onefold.api.routes.guard import Services, in_one_line
from onefold.api.routes.reading import SANDBOX
from onefold.api.security import KEY_LENGTH_MAX, DeniedError
from onefold.domain.errors import OnefoldError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

audit = logging.getLogger("onefold.audit.api")

SOCKET = "/_nicegui_ws"
STATIC = "/_nicegui/"
KEPT = "private, max-age=31536000, immutable"
FORM_BYTES_MAX = 4_096
COMMON = (
    "default-src 'none'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "style-src 'self' 'unsafe-inline'"
)
"""NiceGUI and ECharts set styles on elements, which is what 'unsafe-inline' allows here."""

REFERRER = "same-origin"
"""Without any referrer, browsers send forms with `Origin: null`, which may be anybody's."""


class Gate:
    """The door to NiceGUI's application: an ASGI application around it."""

    def __init__(self, app: App, *, services: Services, sessions: Sessions) -> None:
        self._app, self._services, self._sessions = app, services, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request or a socket; all else is for the application."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    # -- the socket -------------------------------------------------------------------------------

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        session = self._session(Request(_as_http(scope)))
        if not is_own(scope, headers) or session is None:
            await send({"type": "websocket.close", "code": 1008})
            return
        await Wire(self._sessions, session, receive, send).run(self._app, scope)

    # -- pages ------------------------------------------------------------------------------------

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        own = await self._own(request, path)
        if own is not None:
            await own(scope, receive, send)
            return
        session = self._session(request)
        if session is None:
            await self._to_login(request, path)(scope, receive, send)
            return
        is_static = path.startswith(STATIC)
        if request.method not in ("GET", "HEAD") or path.startswith(SOCKET):
            await Response(status_code=404)(scope, receive, send)
            return
        if not is_static:
            self._sessions.use(session)
        scope["state"]["session"] = session
        scope["state"]["nonce"] = nonce = base64.b64encode(secrets.token_bytes(16)).decode()
        refreshed = "" if is_static else self._set_cookie(request, self._sessions.cookie(session))

        async def shaped(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = policy(nonce)
                headers["Referrer-Policy"] = REFERRER
                if is_static and message["status"] == 200:
                    headers["Cache-Control"] = KEPT
                if refreshed:
                    headers.append("Set-Cookie", refreshed)
            await send(message)

        await self._app(scope, receive, shaped)

    async def _own(self, request: Request, path: str) -> Response | None:
        """Answer what needs no page: signing in and out, files, reports; None for all else."""
        if path.startswith("/assets/") and request.method in ("GET", "HEAD"):
            return self._asset(path.removeprefix("/assets/"))
        if path == "/login":
            return await self._login(request)
        if path == "/logout" and request.method == "POST":
            return self._logout(request)
        if path.startswith("/report/") and request.method == "GET":
            return await self._report(request, path.removeprefix("/report/"))
        return None

    @staticmethod
    def _asset(name: str) -> Response:
        if name not in PUBLIC:
            return Response(status_code=404)
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        kept = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response((STATIC_FILES / name).read_bytes(), media_type=kind, headers=kept)

    async def _report(self, request: Request, name: str) -> Response:
        """Return the report of a backtest, shut off from everything, for a frame of a page."""
        if self._session(request) is None:
            return Response(status_code=404)
        try:
            content = await self._services.office.report(name)
        except NotFoundError as error:
            return Response(str(error), 404, media_type="text/plain")
        return HTMLResponse(
            content, headers={"Content-Security-Policy": SANDBOX, "X-Frame-Options": "SAMEORIGIN"}
        )

    # -- signing in and out -----------------------------------------------------------------------

    async def _login(self, request: Request) -> Response:
        target = local(request.query_params.get("next", ""))
        if request.method != "POST":
            if self._session(request) is not None:
                return RedirectResponse(PREFIX + target, 303)
            return self._form(target, "")
        if not is_own(request.scope, request.headers):
            return self._form(target, "The form came from elsewhere; try it here.", 403)
        given = _field(await request.body(), "key").strip()
        address = request.client.host if request.client is not None else ""
        try:
            caller = self._services.known(given[: KEY_LENGTH_MAX + 1], address)
        except DeniedError as error:
            self._audit("sign in", "", str(error.status), address)
            said = "Too many wrong keys; wait a moment." if error.status == 429 else UNKNOWN
            return self._form(target, said, error.status)
        session = self._sessions.open(caller)
        self._audit("sign in", caller.name, "200", address)
        response = RedirectResponse(PREFIX + target, 303)
        response.headers["Set-Cookie"] = self._set_cookie(request, self._sessions.cookie(session))
        return response

    def _form(self, target: str, said: str, status: int = 200) -> Response:
        headers = {
            "Content-Security-Policy": f"{COMMON}; script-src 'self'",
            "Referrer-Policy": REFERRER,
        }
        return HTMLResponse(login_page(target, said), status, headers=headers)

    def _logout(self, request: Request) -> Response:
        if not is_own(request.scope, request.headers):  # it was not the visitor who asked
            return RedirectResponse(f"{PREFIX}/", 303)
        session = self._session(request)
        if session is not None:
            try:
                name = self._sessions.caller(session).name
            except OnefoldError:
                name = ""
            self._sessions.close(session)
            address = request.client.host if request.client is not None else ""
            self._audit("sign out", name, "200", address)
        response = RedirectResponse(f"{PREFIX}/login", 303)
        response.headers["Set-Cookie"] = self._set_cookie(request, "", lasts_s=0)
        return response

    @staticmethod
    def _audit(action: str, operator: str, outcome: str, client: str) -> None:
        told = {"operator": operator, "action": action, "outcome": outcome, "client": client}
        audit.info("%s", in_one_line(told))

    @staticmethod
    def _to_login(request: Request, path: str) -> Response:
        if path.startswith((STATIC, SOCKET)) or request.method not in ("GET", "HEAD"):
            return Response(status_code=401)
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"{PREFIX}/login?next={quote(path + query, safe='')}", 303)

    # -- cookies ----------------------------------------------------------------------------------

    def _session(self, request: Request) -> Session | None:
        try:
            return self._sessions.find(request.cookies.get(COOKIE, ""))
        except OnefoldError:  # the keys cannot be read: nobody is known
            return None

    def _set_cookie(self, request: Request, value: str, lasts_s: float = LASTS_S) -> str:
        secure = "; Secure" if request.url.scheme == "https" else ""
        return (
            f"{COOKIE}={value}; Path={PREFIX}; HttpOnly; SameSite=Strict; "
            f"Max-Age={int(lasts_s)}{secure}"
        )


UNKNOWN = "This key is not known. Keys are made by: onefold keys add NAME --role ROLE"


def policy(nonce: str) -> str:
    """Return the policy for a page: its scripts are this server's, inline ones bear the nonce.

    Vue compiles templates while running, and NiceGUI its handlers: both take 'unsafe-eval'.
    """
    return f"{COMMON}; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'"


def is_own(scope: Scope, headers: Headers) -> bool:
    """Return whether a request comes from a page of this server: its origin is the host asked."""
    origin = urlsplit(headers.get("origin", ""))
    schemes = {"ws": "http", "wss": "https"}
    scheme = schemes.get(scope["scheme"], scope["scheme"])
    # A proxy with TLS before it speaks plainly to this server, never the other way round.
    is_safe = origin.scheme in (scheme, "https")
    return is_safe and bool(origin.netloc) and origin.netloc.lower() == headers.get("host", "")


def local(target: str) -> str:
    """Return a path of the dashboard, the overview for anything that may lead elsewhere."""
    plain = target.isascii() and target.isprintable() and "\\" not in target
    is_path = target.startswith("/") and not target.startswith(("//", "/login", "/logout"))
    return target if plain and is_path else "/"


def _field(body: bytes, name: str) -> str:
    if len(body) > FORM_BYTES_MAX:
        return ""
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8)
    return fields.get(name, [""])[0]


def _as_http(scope: Scope) -> Scope:
    """Return the scope of a socket as one of a request, to read its cookies."""
    return {**scope, "type": "http", "method": "GET"}
