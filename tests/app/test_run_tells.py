"""O7: a session that runs tells people what its books say, through a real server."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

CONFIG = {
    "account": {"name": "main", "limits": {"max_open_positions": 1}},
    "instruments": {"AAA": {"kind": "equity", "commission": 0.01}},
    "data": {"AAA": {"synthetic": {"seed": 4, "bars": 400}}},
    "strategies": {"trend": {"kind": "crossover", "params": {"fast": 3, "slow": 9}}},
}
COMMAND = [sys.executable, "-m", "onefold"]


@contextmanager
def listener() -> Iterator[tuple[int, list[dict[str, str]]]]:
    heard: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1], heard
    server.shutdown()
    server.server_close()


def test_entries_and_exits_are_told_with_the_profit_of_the_books(tmp_path: Path) -> None:
    with listener() as (port, heard):
        channel = {"url": f"json://127.0.0.1:{port}/", "private_network": True}
        told_of = {"channels": {"me": channel}, "per_minute": 600, "drain_s": 30}
        config = {**CONFIG, "notifications": told_of}
        (tmp_path / "onefold.yaml").write_text(yaml.safe_dump(config))
        subprocess.run(
            [*COMMAND, "run", "--mode", "shadow"], cwd=tmp_path, check=True, capture_output=True
        )
    titles = [one["title"] for one in heard]
    assert any("started" in title for title in titles), titles
    assert any("stopped" in title for title in titles), titles
    for command in ("upgrade", "rebuild"):
        subprocess.run([*COMMAND, "db", command], cwd=tmp_path, check=True, capture_output=True)
    rows = sqlite3.connect(tmp_path / "onefold.db").execute(
        "SELECT pnl FROM trades WHERE exit_time IS NOT NULL ORDER BY id"
    )
    told = "\n".join(f"{one['title']}\n{one['message']}" for one in heard)
    profits = [f"{pnl:+,.2f}" for (pnl,) in rows]
    assert len(profits) > 5
    assert [profit for profit in profits if profit not in told] == []
