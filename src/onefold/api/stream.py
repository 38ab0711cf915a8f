"""Records as they are written, to whoever listens: a WebSocket with a bounded queue for each.

One task reads on in the journals for all, as long as anybody listens. Nobody waits for a reader
that is too slow: its queue fills, and it is dropped and told so. What a key may see is asked for
each message, and every second whether the key still counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from fastapi import WebSocket, WebSocketDisconnect

from onefold.api.routes.guard import Services, in_one_line
from onefold.api.security import Caller, Role
from onefold.domain.errors import OnefoldError
from onefold.journal import Entry, Follower, head

log = logging.getLogger("onefold.api")

POLL_S, STATUS_S, PAUSE_S = 0.1, 1.0, 0.01
SHARE = 4
"""A queue holds so many times what is read of a journal at once."""
DENIED, TOO_MANY, TOO_SLOW, REVOKED = 1008, 1013, 4008, 4001
"""Close codes: not allowed; too many streams; the reader was too slow; its key is no more."""

ADMIN_ONLY = frozenset({"session", "handover"})
"""Records that hold the whole configuration and the strategies' code."""


class _Client:
    """One listener: whose key, and what waits for it."""

    def __init__(self, caller: Caller, size: int) -> None:
        self.caller = caller
        self.queue: asyncio.Queue[str] = asyncio.Queue(size)
        self.is_slow = asyncio.Event()

    def give(self, text: str) -> None:
        """Let a message wait; where too many do, the listener is dropped."""
        try:
            self.queue.put_nowait(text)
        except asyncio.QueueFull:
            self.is_slow.set()


class Hub:
    """Reads on in the journals for all who listen."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._clients: set[_Client] = set()
        self._followers: dict[tuple[str, str], Follower] = {}
        self._task: asyncio.Task[None] | None = None
        self._has_looked = False
        self._last = ""

    @property
    def is_full(self) -> bool:
        """Return whether nobody more may listen."""
        return len(self._clients) >= self._services.config.streams

    def has_room(self, caller: Caller) -> bool:
        """Return whether a key may listen once more, so that no key takes all streams."""
        held = sum(client.caller.id == caller.id for client in self._clients)
        return not self.is_full and held < self._services.config.streams_per_key

    def join(self, client: _Client) -> None:
        """Let somebody listen from now on."""
        self._clients.add(client)
        self._last = ""  # who comes is told how things stand
        if self._task is None or self._task.done():
            self._followers.clear()
            self._has_looked = False
            self._task = asyncio.create_task(self._read_on())

    def leave(self, client: _Client) -> None:
        """Let somebody listen no more; when nobody does, nothing is read."""
        self._clients.discard(client)
        if not self._clients and self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """End the reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read_on(self) -> None:
        turn = 0
        while True:
            try:
                if turn % round(STATUS_S / POLL_S) == 0:
                    await self._find_journals()
                    await self._tell_status()
                await self._tell_records()
            except Exception as error:  # noqa: BLE001 - the next look may go well again
                log.warning("%s", in_one_line({"stream": str(error)}))
                await asyncio.sleep(STATUS_S)
            turn += 1
            await asyncio.sleep(POLL_S)

    async def _find_journals(self) -> None:
        """Follow the newest journal of each account; one that was there already, from its end."""
        is_first, self._has_looked = not self._has_looked, True
        known = await asyncio.to_thread(self._services.office.journals)
        for account, folder in known:
            if (account, folder) not in self._followers:
                after = 0
                with contextlib.suppress(OnefoldError):
                    after = (await asyncio.to_thread(head, Path(folder))).seq if is_first else 0
                made = await asyncio.to_thread(Follower, folder, after=after)
                self._followers[account, folder] = made
        self._followers = {key: self._followers[key] for key in known}

    async def _tell_status(self) -> None:
        accounts = [one.model_dump() for one in await self._services.office.accounts()]
        for one in accounts:  # what changes by itself is no news
            one.pop("age_s")
            one.pop("heartbeat")
        text = json.dumps({"type": "status", "accounts": accounts}, default=str)
        if text != self._last:
            self._last = text
            for client in self._clients:
                client.give(text)

    async def _tell_records(self) -> None:
        most = max(1, self._services.config.stream_queue // SHARE)
        for (account, _), follower in list(self._followers.items()):
            while found := await asyncio.to_thread(follower.poll, most):
                self._tell(account, found)
                await asyncio.sleep(PAUSE_S)  # whoever reads well gets them meanwhile

    def _tell(self, account: str, entries: Iterable[Entry]) -> None:
        for entry in entries:
            text = ""
            for client in list(self._clients):
                if may_see(client.caller, entry.kind):
                    text = text or _message(account, entry)
                    client.give(text)


def may_see(caller: Caller, kind: str) -> bool:
    """Return whether a key may see records of a kind."""
    return caller.role >= Role.ADMIN or kind not in ADMIN_ONLY


def _message(account: str, entry: Entry) -> str:
    message = {
        "type": "record",
        "account": account,
        "seq": entry.seq,
        "kind": entry.kind,
        "record": msgspec.Raw(entry.raw),
    }
    return msgspec.json.encode(message).decode()


async def stream(socket: WebSocket) -> None:
    """Take a listener with a ticket, and give it what is recorded until it leaves."""
    services: Services = socket.app.state.services
    hub: Hub = socket.app.state.hub
    caller = _admitted(socket, services)
    if caller is None:
        await socket.close(DENIED)
        return
    await socket.accept()
    if not hub.has_room(caller):  # said after accepting: a refused handshake carries no code
        await socket.close(TOO_MANY)
        return
    client = _Client(caller, services.config.stream_queue)
    hub.join(client)
    log.info("%s", in_one_line({"stream": "opened", "key": caller.name}))
    try:
        code = await _served(socket, services, client)
    finally:
        hub.leave(client)
        log.info("%s", in_one_line({"stream": "closed", "key": caller.name}))
    if code:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1.0):
                await socket.close(code)


def _admitted(socket: WebSocket, services: Services) -> Caller | None:
    """Return whose ticket it is; a page of a foreign origin is not listened to at all."""
    origin = socket.headers.get("origin")
    if origin is not None and origin not in services.origins:
        same = urlsplit(origin).netloc == socket.headers.get("host", "")
        if not same:
            return None
    if set(socket.query_params) != {"ticket"}:
        return None
    id_ = services.tickets.holder(socket.query_params["ticket"], once=True)
    return services.keys.caller(id_) if id_ is not None else None


async def _served(socket: WebSocket, services: Services, client: _Client) -> int:
    """Send until the listener leaves (0), is too slow, or its key is revoked: the close code."""
    sending = asyncio.create_task(_send(socket, client))
    hearing = asyncio.create_task(_hear(socket))
    slow = asyncio.create_task(client.is_slow.wait())
    revoked = asyncio.create_task(_revoked(services, client))
    tasks: set[asyncio.Task[Any]] = {sending, hearing, slow, revoked}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if revoked.done():
            return REVOKED
        return TOO_SLOW if slow.done() else 0
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _send(socket: WebSocket, client: _Client) -> None:
    while True:
        text = await client.queue.get()
        await socket.send_text(text)


async def _hear(socket: WebSocket) -> None:
    """Return when the listener leaves, or says anything: there is nothing to say."""
    with contextlib.suppress(WebSocketDisconnect):
        await socket.receive_text()


async def _revoked(services: Services, client: _Client) -> None:
    """Return when the key is no more, or no more what it was."""
    while services.keys.caller(client.caller.id) == client.caller:  # noqa: ASYNC110 - a file
        await asyncio.sleep(STATUS_S)
