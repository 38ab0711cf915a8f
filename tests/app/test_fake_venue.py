"""`onefold fake-venue` as a process of its own: served, traded with, misbehaving, and ended."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from .world import onefold, write_config

CONFIG = """
account: { cash: 100000, currency: USDT }
data:
  BTCUSDT: { synthetic: { seed: 7, bars: 60, interval_s: 60, volatility: 0.5, price: 100 } }
"""
PATIENCE_S = 60.0

Capture = pytest.CaptureFixture[str]


@contextmanager
def venue(folder: Path, *arguments: str) -> Iterator[tuple[Any, subprocess.Popen[str]]]:
    """Run the command; give what it printed, and the process."""
    write_config(folder, CONFIG)
    command = [sys.executable, "-c", "from onefold.app.main import main; main()", "fake-venue"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--json", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )
    try:
        assert process.stdout is not None
        lines = []
        while (line := process.stdout.readline()) and line != "}\n":
            lines.append(line)
        assert line, process.communicate()[1]
        yield json.loads("".join([*lines, line])), process
    finally:
        process.kill()
        process.communicate()


def ask(facts: Any, path: str, method: str = "GET", **params: Any) -> tuple[int, Any, Any]:
    """Return status, document and headers of a signed request."""
    query = urlencode({**params, "timestamp": 1})
    signature = hmac.new(facts["secret"].encode(), query.encode(), hashlib.sha256).hexdigest()
    connection = HTTPConnection(facts["url"].partition("//")[2], timeout=10)
    headers = {"X-MBX-APIKEY": facts["key"]}
    connection.request(method, f"{path}?{query}&signature={signature}", headers=headers)
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    return answer.status, body, answer.headers


def told(facts: Any, path: str, method: str = "GET", **params: Any) -> Any:
    status, body, _ = ask(facts, path, method, **params)
    assert status == 200, body
    return body


def test_a_venue_is_served_traded_with_and_ended(tmp_path: Path) -> None:
    with venue(tmp_path, "--past", "50", "--speed", "600") as (facts, process):
        assert facts["instruments"] == ["BTCUSDT"]
        assert set(facts["urls"]) >= {"spot", "futures", "spot stream"}
        candles = told(facts, "/api/v3/klines", symbol="BTCUSDT", interval="1m")
        assert len(candles) >= 51
        now_ms = told(facts, "/api/v3/time")["serverTime"]
        assert abs(now_ms - time.time() * 1_000) < 15 * 60_000, "the bars are moved to now"
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}
        placed = told(facts, "/api/v3/order", "POST", **order)
        assert placed["status"] == "NEW"
        end = time.monotonic() + PATIENCE_S
        query = {"symbol": "BTCUSDT", "orderId": placed["orderId"]}
        while told(facts, "/api/v3/order", **query)["status"] != "FILLED":
            assert time.monotonic() < end, "no bar came to fill the order"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out) == (0, ""), err


def test_bars_keep_their_dates_when_asked_to_and_faults_strike(tmp_path: Path) -> None:
    fault = "{on: query, do: too_many, nth: 2, s: 3}"
    arguments = ("--as-recorded", "--past", "60", "--speed", "0", "--fault", fault)
    with venue(tmp_path, *arguments) as (facts, process):
        candles = told(facts, "/api/v3/klines", symbol="BTCUSDT", interval="1m")
        assert candles[0][0] < 1_710_000_000_000
        status, _, headers = ask(facts, "/api/v3/time")
        assert (status, headers["Retry-After"]) == (429, "3")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
        assert "all bars are played" in err


def test_a_port_that_is_taken_is_said(tmp_path: Path, capsys: Capture) -> None:
    with venue(tmp_path) as (facts, _):
        port = facts["url"].rpartition(":")[2]
        said = onefold(capsys, "fake-venue", tmp_path / "onefold.yaml", "--port", port)
        assert said.code == 2
        assert f"--port {port} cannot be used" in said.err


@pytest.mark.parametrize(
    ("config", "arguments", "why"),
    [
        (CONFIG, ("--fault", "{on: submit, do: hang}"), "one of nth, every and chance"),
        (CONFIG, ("--fault", "hang"), "--fault hang"),
        ("account: { currency: USDT }", (), "no instrument with data"),
        (CONFIG.replace("USDT }", "EUR }"), (), "give rates"),
        (
            "data: { ES: { synthetic: { seed: 1, bars: 9, interval_s: 60, price: 100 } } }",
            ("--port", "0"),
            "multiplier of 50",
        ),
    ],
)
def test_what_cannot_be_served_is_said(
    tmp_path: Path, capsys: Capture, config: str, arguments: tuple[str, ...], why: str
) -> None:
    path = write_config(tmp_path, config)
    said = onefold(capsys, "fake-venue", path, *arguments)
    assert said.code == 2
    assert why in said.err
