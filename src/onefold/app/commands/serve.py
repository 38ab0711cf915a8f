"""`onefold serve`: the HTTP API, the stream and the dashboard, beside the sessions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onefold.api.config import ServeSettings, is_loopback, origins_of
from onefold.app.configfile import environment
from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json, emit, note
from onefold.app.serving import follower_of, served_settings
from onefold.domain.errors import ConfigError, MissingExtra
from onefold.ops.logs import set_up
from onefold.ops.redaction import secrets_of

if TYPE_CHECKING:
    import uvicorn

    from onefold.app.settings import Loaded

app = new_app()

DASHBOARD = "onefold.api.dashboard"
CONNECTIONS_MAX, REFUSING_MAX = 512, 64
"""Connections at once, and those besides that are just being told that there are too many."""
GRACE_S = 5
ENDING = (signal.SIGINT, signal.SIGTERM)
FRAME_BYTES_MAX = 4_096
"""Listeners say nothing, so that nothing large can come from one."""


@app.command()
def serve(
    config: ConfigFile = Path("onefold.yaml"),
    host: Annotated[
        str, typer.Option(help="Listen here instead of `serve.host`.", show_default=False)
    ] = "",
    port: Annotated[
        int, typer.Option(help="Listen there instead of on `serve.port`.", min=-1, max=65_535)
    ] = -1,
    no_follow: Annotated[
        bool, typer.Option("--no-follow", help="Do not run `onefold db follow` beside it.")
    ] = False,
    json_: Json = False,
) -> None:
    """Serve API, stream and dashboard until it is stopped; trading goes on without it."""
    loaded = served_settings(config)
    chosen = {"host": host} if host else {}
    more: dict[str, Any] = {**chosen, **({"port": port} if port >= 0 else {})}
    settings = _with(loaded.settings.serve, more)
    folder = loaded.path.parent
    secrets = secrets_of(loaded.settings, environment(folder))
    logs = set_up(loaded.settings.logs, folder, process="serve", secrets=secrets, say=note)
    note(logs.summary)
    try:
        asyncio.run(
            _served(loaded, settings, follows=settings.follow and not no_follow, json_=json_)
        )
    except ModuleNotFoundError as error:
        raise MissingExtra(f"serving ({error.name})", "ops") from None
    finally:
        logs.close()


def _with(settings: ServeSettings, more: dict[str, Any]) -> ServeSettings:
    try:
        return ServeSettings.model_validate({**settings.model_dump(), **more})
    except ValueError as error:
        said = error.errors()[0]["msg"] if hasattr(error, "errors") else str(error)
        raise ConfigError(f"serve: {said.removeprefix('Value error, ')}") from None


async def _served(loaded: Loaded, settings: ServeSettings, *, follows: bool, json_: bool) -> None:
    from onefold.api.security import Keys  # noqa: PLC0415 - only for this command
    from onefold.api.server import create_app  # noqa: PLC0415
    from onefold.app.office import LocalOffice, reader_of  # noqa: PLC0415

    reader, file = reader_of(loaded)
    office = LocalOffice(loaded, reader, file=file, explain_s=settings.explain_s)
    keys = Keys(loaded.resolve(settings.keys))
    origins = origins_of(environment(loaded.path.parent).get("CORS_ORIGINS"))
    root = loaded.path.parent.resolve()
    made = create_app(office, settings, keys, origins=origins, root=root)
    if settings.dashboard and find_spec(DASHBOARD) is not None:
        import_module(DASHBOARD).mount(made, office, settings, keys)
    server = _server(made, loaded, settings)
    listening = _listening(settings)
    child = follower_of(loaded.path) if follows else None
    if child is not None:
        child.start()
    try:
        port: int = listening.getsockname()[1]
        await server.serve_told(listening, lambda: _tell(settings, port, json_=json_))
    finally:
        if child is not None:
            await child.close()
        await office.close()


def _listening(settings: ServeSettings) -> socket.socket:
    """Return a socket that is bound. Raises `ConfigError` where nothing can listen."""
    try:
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        made = socket.socket(family, kind, protocol)
        if os.name == "posix":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(address)
        except OSError:
            made.close()
            raise
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise ConfigError(f"serve: nothing can listen on {where}: {error.strerror}") from None
    return made


def _server(made: Any, loaded: Loaded, settings: ServeSettings) -> Any:
    """Return the server, which says so as soon as it listens."""
    import uvicorn  # noqa: PLC0415 - an extra

    class Server(uvicorn.Server):
        """A server that says where it listens."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """End in good order on SIGINT and SIGTERM, and with the code 0."""
            before = {n: signal.signal(n, self.handle_exit) for n in ENDING}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

        async def serve_told(self, listening: socket.socket, told: Callable[[], None]) -> None:
            """Serve until the end; `told` is called when it listens."""
            self._told = told
            await self.serve(sockets=[listening])

        async def startup(self, sockets: Any = None) -> None:
            """Begin to listen, and say so."""
            await super().startup(sockets)
            if self.started:
                self._told()

    return Server(uvicorn_config(made, loaded, settings))


def uvicorn_config(made: Any, loaded: Loaded, settings: ServeSettings) -> uvicorn.Config:
    """Return how the server is run. Raises `ConfigError` for a key that others can read."""
    import uvicorn  # noqa: PLC0415 - an extra

    from onefold.api.connections import Connections, bounded  # noqa: PLC0415 - an extra

    limits = Connections(
        per_address=settings.connections, total=CONNECTIONS_MAX, headers_s=settings.headers_s
    )
    certificate, key = settings.tls_certificate, settings.tls_key
    if key is not None and os.name == "posix" and loaded.resolve(key).stat().st_mode & 0o077:
        raise ConfigError(f"serve.tls_key: {key} can be read by others: chmod 600 {key}")
    return uvicorn.Config(
        made,
        http=bounded(limits),
        host=settings.host,
        port=settings.port,
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        lifespan="on",
        limit_concurrency=CONNECTIONS_MAX + REFUSING_MAX,
        timeout_graceful_shutdown=GRACE_S,
        ws_max_size=FRAME_BYTES_MAX,
        ws_per_message_deflate=False,  # a core's worth of work for a reader beside us
        ssl_certfile=None if certificate is None else loaded.resolve(certificate),
        ssl_keyfile=None if key is None else loaded.resolve(key),
    )


def _tell(settings: ServeSettings, port: int, *, json_: bool) -> None:
    scheme = "https" if settings.has_tls else "http"
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"{scheme}://{shown}:{port}"
    if json_:
        emit({"url": url, "pid": os.getpid()})
        sys.stdout.flush()
    note(f"serving on {url}")
    if not is_loopback(settings.host):
        how = "with TLS" if settings.has_tls else "WITHOUT TLS (serve.public): a proxy must have it"
        note(f"warning: other machines can reach it, {how}")
