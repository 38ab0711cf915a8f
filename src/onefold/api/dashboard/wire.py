"""The socket of a page, looked at in both directions: for as long as its visitor is signed in.

Every event of every page comes through here before NiceGUI hears of it. What a revoked key, a
session that is over or another visitor's page would say is not passed on; neither is anything that
no page says, nor what NiceGUI would only write into the server's log. The server itself ends the
socket when the session ends, whatever the page does.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any
from urllib.parse import parse_qs

import msgspec
from nicegui import Client

from onefold.api.dashboard.sessions import Session, Sessions
from onefold.domain.errors import OnefoldError

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOK_S = 0.5
"""How often it is looked whether the session still counts."""
OVER, WRONG = 4001, 1008
"""Close codes: the session is over; no page of this server says such a thing."""
TO_LOGIN = '42["open",{"path":"/login","new_tab":false}]'
"""NiceGUI's message that leads a page elsewhere; the page puts the prefix before it."""
PLAIN = frozenset({"1", "2", "3", "6", "40", "41"})
"""Frames of engine.io and socket.io that carry nothing: connecting, leaving, pings."""
DROPPED = '42["log",'

_Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f-]{36}$")]
_NAME = re.compile(r'42\d{0,9}\["([a-z_]{1,32})",')


class _Said(msgspec.Struct):
    client_id: _Id


class _Event(_Said):
    id: int
    listener_id: _Id
    args: list[str | None] = []


class _Response(_Said):
    request_id: _Id


class _Ack(_Said):
    next_message_id: int


class _Handshake(_Said):
    tab_id: _Id
    document_id: _Id
    next_message_id: int | None = None
    old_tab_id: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f-]{36}|null)$")] | None = None


_KINDS: dict[str, type[_Said]] = {
    "event": _Event,
    "javascript_response": _Response,
    "ack": _Ack,
    "handshake": _Handshake,
}


class Wire:
    """One socket between a page and NiceGUI."""

    def __init__(
        self, sessions: Sessions, session: Session, receive: Receive, send: Send
    ) -> None:  # fmt: skip
        self._sessions, self._session = sessions, session
        self._from_page, self._to_page = receive, send
        self._coming: asyncio.Task[Message] | None = None
        self._is_open = self._has_ended = False

    async def run(self, app: App, scope: Scope) -> None:
        """Let NiceGUI speak with the page until either leaves, or the session ends."""
        if not self._may_connect(scope):
            await self._end(WRONG)
            return
        try:
            await app(scope, self.receive, self.send)
        finally:
            if self._coming is not None:
                self._coming.cancel()

    async def receive(self) -> Message:
        """Return the next thing that the page says and may say; its leaving, when it is over."""
        while not self._has_ended:
            if self._coming is None:
                self._coming = asyncio.create_task(_awaited(self._from_page()))
            await asyncio.wait({self._coming}, timeout=LOOK_S)
            if not self._is_signed_in():
                await self._end(OVER)
            elif self._coming.done():
                message, self._coming = self._coming.result(), None
                if message["type"] != "websocket.receive":
                    return message
                text = message.get("text") or ""
                if self._may_say(text):
                    return message
                if not text.startswith(DROPPED) and not _is_known(text):
                    await self._end(WRONG)
        return {"type": "websocket.disconnect", "code": OVER}

    async def send(self, message: Message) -> None:
        """Tell the page something, unless its visitor is signed out."""
        if self._has_ended or (message["type"] == "websocket.send" and not self._is_signed_in()):
            return
        self._is_open = self._is_open or message["type"] == "websocket.accept"
        self._has_ended = message["type"] == "websocket.close"
        await self._to_page(message)

    async def _end(self, code: int) -> None:
        self._has_ended = True
        if self._is_open and code == OVER:
            await self._to_page({"type": "websocket.send", "text": TO_LOGIN})
        await self._to_page({"type": "websocket.close", "code": code})

    # -- what may be said -------------------------------------------------------------------------

    def _is_signed_in(self) -> bool:
        try:
            return self._sessions.is_good(self._session)
        except OnefoldError:  # the keys cannot be read: nobody is known
            return False

    def _may_connect(self, scope: Scope) -> bool:
        """Return whether a socket is for a page of the same session, or for none yet."""
        query = {k: v[0] for k, v in parse_qs(scope["query_string"].decode("latin-1")).items()}
        if query.get("implicit_handshake", "") != "true":
            return True
        try:
            found = msgspec.convert(query, _Handshake, strict=False)
        except msgspec.ValidationError:
            return False
        return found.client_id not in Client.instances or self._is_mine(found)

    def _may_say(self, text: str) -> bool:
        """Return whether NiceGUI may hear a frame: of a page of this visitor, in a page's words."""
        said = None if text in PLAIN else _parsed(text)
        if said is None:
            return text in PLAIN
        return self._is_mine(said) and (not isinstance(said, _Event) or _is_heard(said))

    def _is_mine(self, said: _Said) -> bool:
        client = Client.instances.get(said.client_id)
        if client is None:
            return False
        session = getattr(client.request.state, "session", None)
        return isinstance(session, Session) and session.id == self._session.id


async def _awaited(coming: Awaitable[Message]) -> Message:
    return await coming


def _is_known(text: str) -> bool:
    """Return whether a frame is in a page's words, of whichever page."""
    return _parsed(text) is not None


def _parsed(text: str) -> _Said | None:
    """Return an event as NiceGUI takes it, None for anything else."""
    found = _NAME.match(text)
    kind = _KINDS.get(found[1]) if found is not None else None
    if kind is None:
        return None
    try:
        _, content = msgspec.json.decode(text[text.index("[") :], type=tuple[str, msgspec.Raw])
        said = msgspec.json.decode(content, type=kind)
        if isinstance(said, _Event):
            for arg in said.args:
                msgspec.json.decode(arg or "null")
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    return said


def _is_heard(said: _Event) -> bool:
    """Return whether anything on the page listens: what has just been replaced does not."""
    element = Client.instances[said.client_id].elements.get(said.id)
    return element is not None and said.listener_id in element._event_listeners  # noqa: SLF001
