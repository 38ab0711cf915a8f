"""A server on loopback for the tests: in a thread of this process, or as `onefold serve`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from app.paper_session import PaperSession
from app.world import write_config
from onefold.api.config import ServeSettings
from onefold.api.security import ROLES, Keys
from onefold.api.server import create_app
from onefold.app.commands.serve import uvicorn_config
from onefold.app.office import LocalOffice, reader_of
from onefold.app.settings import load_settings

CONFIG = """
account: { limits: { max_open_positions: 3 } }
data:
  BTCUSD: { synthetic: { seed: 7, bars: 400, gap_rate: 0 } }
strategies:
  trend: { kind: crossover, params: { fast: 3, slow: 6 } }
  dips: { kind: mean_reversion }
serve: { requests_per_s: 10000, burst: 100000 }
"""
ONEFOLD = [sys.executable, "-c", "from onefold.app.main import main; main()"]


PATIENCE_S = 240.0
"""How long a test waits for what comes soon where the machine is not busy."""


class Client(httpx.Client):
    """A client with the key of a role."""

    def confirmed(self, key: str) -> dict[str, str]:
        """Return the headers of something sensitive, once, with the key given again."""
        found = self.post("/api/v1/confirmations", json={"key": key})
        assert found.status_code == 200, found.text
        return {"X-Confirmation": found.json()["value"], "Idempotency-Key": os.urandom(8).hex()}


class Served:
    """A server in a thread over a folder's configuration, with a key for each role."""

    def __init__(
        self,
        folder: Path,
        *,
        text: str = CONFIG,
        change: Callable[[Any], Any] = lambda office: office,
        origins: tuple[str, ...] = ("http://localhost:3000",),
        **settings: Any,
    ) -> None:
        self.folder = folder
        loaded = load_settings(write_config(folder, text))
        reader, file = reader_of(loaded)
        self.keys = Keys(folder / "keys.json")
        self.key = {role: self.keys.add(f"{role}1", role) for role in ROLES}
        self.config = ServeSettings.model_validate(
            {**loaded.settings.serve.model_dump(), "port": 0, **settings}
        )
        self.office = change(LocalOffice(loaded, reader, file=file, explain_s=60))
        self.app = create_app(self.office, self.config, self.keys, origins=origins, root=folder)
        self._server = uvicorn.Server(uvicorn_config(self.app, loaded, self.config))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def client(self, role: str = "", **headers: str) -> Client:
        """Return a client with a role's key, without any where none is named."""
        given = {"Authorization": f"Bearer {self.key[role]}"} if role else {}
        return Client(base_url=self.url, headers={**given, **headers}, timeout=60)

    def sensitive(self, role: str = "risk") -> dict[str, str]:
        """Return the headers that something sensitive needs."""
        with self.client(role) as client:
            return client.confirmed(self.key[role])

    def close(self) -> None:
        """End the server."""
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server does not end"


def started(session: PaperSession) -> PaperSession:
    """Start a session, and wait until it takes bars, also where compiling takes long."""
    with contextlib.suppress(AssertionError):
        session.start()
    session.wait(lambda beat: beat.get("inputs", 0) > 0, PATIENCE_S)
    return session


class Serving:
    """`onefold serve` as a process of its own."""

    def __init__(self, folder: Path, *options: str, role: str = "admin") -> None:
        self.folder = folder
        keys = Keys(folder / "keys.json")
        names = {one.name for one in keys.facts()}
        self.key = keys.add(f"process{len(names)}", role)
        self.process = subprocess.Popen(
            [*ONEFOLD, "serve", "--port", "0", "--json", *options],
            cwd=folder,
            env={**os.environ, "ONEFOLD_SERVE__DASHBOARD": "false"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        lines = []
        while not lines or lines[-1].strip() != "}":
            line = self.process.stdout.readline()
            assert line, self.process.stderr and self.process.stderr.read()
            lines.append(line)
        self.url: str = json.loads("".join(lines))["url"]
        self.client = Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=PATIENCE_S
        )

    def get(self, path: str, **query: Any) -> Any:
        """Return what a route answers; it must be well."""
        found = self.client.get(f"/api/v1{path}", params=query)
        assert found.status_code == 200, found.text
        return found.json()

    def wait(self, path: str, until: Callable[[Any], object], **query: Any) -> Any:
        """Ask until something holds of the answer."""
        deadline = time.monotonic() + PATIENCE_S
        while not until(found := self.get(path, **query)):
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        return found

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it, and return its exit code and what it said."""
        self.client.close()
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said

    def close(self) -> None:
        """Leave no process behind."""
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
