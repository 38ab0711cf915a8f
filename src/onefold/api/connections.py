"""Connections: how many an address may hold, and how long each may take to say what it wants.

The server's limit of open connections would otherwise be anybody's to use up, without a key and
without a word. A request that has come whole is never cut off: where there are too many
connections, the one that has waited longest without having asked for anything makes room for the
new one, so that whoever asks at once, to stop trading for one, is always heard.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as HTTPProtocol
    from uvicorn.protocols.http.h11_impl import RequestResponseCycle
else:
    HTTPProtocol = AutoHTTPProtocol

LINGER_S = 2.0
"""How long a refusal may take to be read by whom it is for."""
REFUSED = {
    408: (b"408 Request Timeout", b'{"code":"request_timeout","message":"nothing came in time",'),
    503: (b"503 Service Unavailable", b'{"code":"service_unavailable","message":"too many",'),
}


class Connections:
    """The open connections of a server, and whether there is room for another."""

    def __init__(self, *, per_address: int, total: int, headers_s: float) -> None:
        self.headers_s = headers_s
        self._per_address, self._total = per_address, total
        self._open: dict[BoundedProtocol, None] = {}

    def admit(self, one: BoundedProtocol) -> bool:
        """Take a connection, and return whether there is room for it."""
        self._open = {c: None for c in self._open if not c.transport.is_closing()}
        same = [c for c in self._open if c.address == one.address]
        if len(same) >= self._per_address and not _cut_one(same):
            return False
        if len(self._open) >= self._total and not _cut_one(list(self._open)):
            return False
        self._open[one] = None
        return True


def _cut_one(among: list[BoundedProtocol]) -> bool:
    """End the connection that has waited longest without asking; False where none has."""
    waiting = [c for c in among if c.is_waiting and not c.transport.is_closing()]
    if not waiting:
        return any(c.transport.is_closing() for c in among)
    min(waiting, key=lambda c: c.since).transport.abort()
    return True


class BoundedProtocol(HTTPProtocol):
    """uvicorn's HTTP with a time limit for what comes first; `bounded` gives it its limits."""

    limits: Connections
    address = ""
    since = 0.0
    _is_upgraded = False
    _timer: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Return whether no request is being answered: none has come yet, or not all of it."""
        if self._is_upgraded:
            return False
        return _is_over(self.cycle) or self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the time for the first request, or refuse the connection."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client is not None else ""
        self.since = self.loop.time()
        if self.limits.admit(self):
            self._begin()
        else:
            self._refuse(503)

    def data_received(self, data: bytes) -> None:
        """Take what came; the time ends with the headers, and begins with the next request."""
        if self.transport.is_closing():
            return
        before = self.cycle
        super().data_received(data)
        if self._is_upgraded or self.cycle is not before:
            self._end()
            self.since = self.loop.time()
        elif _is_over(before):
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the time with the connection."""
        self._end()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, *given: Any) -> None:
        """Hand the connection on: a socket is quiet for as long as it likes."""
        self._is_upgraded = True
        super().handle_websocket_upgrade(*given)

    def _begin(self) -> None:
        if self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.limits.headers_s, self._refuse, 408)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int) -> None:
        """Say why the connection ends, and end it, also where nobody reads that."""
        self._end()
        if self.transport.is_closing():
            return
        line, said = REFUSED[status]
        body = said + b'"fields":{},"request":""}'
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        self.transport.write(head % (line, len(body)) + b"Connection: close\r\n\r\n" + body)
        self.transport.close()
        self.loop.call_later(LINGER_S, self.transport.abort)


def _is_over(cycle: RequestResponseCycle | None) -> bool:
    return cycle is None or cycle.response_complete


def bounded(limits: Connections) -> type[BoundedProtocol]:
    """Return the protocol of a server with these limits, for `http=` of its configuration."""
    return type("Bounded", (BoundedProtocol,), {"limits": limits})
