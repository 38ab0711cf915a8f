"""A local server that answers as Discord, Slack and Telegram do, and does not when it is told.

`pointed_at` sends apprise's services there by their class-level addresses. What the services write
is in the documentation of each: Discord answers 204 and 429 with `X-RateLimit-*` and `retry_after`,
Slack `ok` in plain text and 429 with `Retry-After`, Telegram `{"ok": true}` and a 429 whose
`parameters` have `retry_after`.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.slack import NotifySlack
from apprise.plugins.telegram import NotifyTelegram

DISCORD = "discord://123456789012345678/abcdefghijklmnopqrstuvwxyz"
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
TELEGRAM = "tgram://123456789:abcdefghijklmnopqrstuvwxyz012345678/12315544/"
SECRETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "TIiajkdnlazkcOXrIdevi7FQ",
    "abcdefghijklmnopqrstuvwxyz012345678",
)


class Asked(NamedTuple):
    """A request: its path, what it carried, its headers, and when it came."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    raw: bytes
    at: float

    @property
    def text(self) -> str:
        """Return everything that a person would read."""
        return json.dumps(self.body, ensure_ascii=False)


Answer = tuple[int, dict[str, str], bytes]


def well(path: str) -> Answer:
    """Return what each service says to a message that it takes."""
    if path.startswith("/discord"):
        return 204, {}, b""
    if path.startswith("/slack"):
        return 200, {"Content-Type": "text/html"}, b"ok"
    return 200, {"Content-Type": "application/json"}, b'{"ok": true, "result": {"message_id": 1}}'


def too_many(path: str, after_s: float) -> Answer:
    """Return what each service says when it was asked too often."""
    if path.startswith("/discord"):
        headers = {
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(int(time.time() + after_s)),
            "Retry-After": str(after_s),
        }
        body = {"message": "You are being rate limited.", "retry_after": after_s, "global": False}
    elif path.startswith("/slack"):
        return 429, {"Retry-After": str(after_s)}, b"rate_limited"
    else:
        headers = {"Content-Type": "application/json"}
        body = {"ok": False, "error_code": 429, "parameters": {"retry_after": after_s}}
    return 429, headers, json.dumps(body).encode()


class Messenger:
    """What the server was asked; `answers` says how it answers, None hangs."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: Callable[[str], Answer | None] = well
        self.port = 0
        self._changed = threading.Condition()
        self._ended = threading.Event()

    def take(self, asked: Asked) -> Answer | None:
        """Note a request, and say what is to be answered."""
        with self._changed:
            self.asked.append(asked)
            self._changed.notify_all()
        answer = self.answers(asked.path)
        if answer is None:
            self._ended.wait(60.0)
        return answer

    def wait_for(self, count: int, timeout_s: float = 30.0) -> list[Asked]:
        """Wait until so many requests have come; return them."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self.asked) >= count, timeout_s)
            assert enough, f"{len(self.asked)} of {count} requests: {[a.text for a in self.asked]}"
            return list(self.asked)

    def end(self) -> None:
        """Let go of requests that hang."""
        self._ended.set()


@contextmanager
def serving(port: int = 0, tls: Path | None = None) -> Iterator[Messenger]:
    """Serve on a port of this machine until the end of the block; `tls` has key and certificate."""
    one = Messenger()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            try:
                body = json.loads(raw or b"{}")
            except ValueError:
                body = {}
            answer = one.take(Asked(self.path, body, dict(self.headers), raw, time.monotonic()))
            if answer is None:
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815 - the names are the base class's

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *_: Any) -> None:
            """Say nothing of clients that have left."""

    with Server(("127.0.0.1", port), Handler) as server:
        one.port = server.server_address[1]
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield one
        finally:
            one.end()
            server.shutdown()
            thread.join()


def point_at(port: int, put: Callable[[Any, str, str], None] = setattr) -> None:
    """Send the services to a port of this machine."""
    here = f"http://127.0.0.1:{port}"
    put(NotifyDiscord, "notify_url", f"{here}/discord/api/webhooks")
    put(NotifySlack, "webhook_url", f"{here}/slack/services")
    put(NotifyTelegram, "notify_url", f"{here}/telegram/bot")
