"""U2: what is too much, too deep, too often or from elsewhere is refused, and nothing leaks."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from onefold.api.server import DEPTH_MAX, deeper_than

from .served import CONFIG, Served

KILL = "/api/v1/commands/kill"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("limits"))
    yield found
    found.close()


def problem(found: httpx.Response, status: int) -> dict[str, Any]:
    assert found.status_code == status, found.text
    said: dict[str, Any] = found.json()
    assert set(said) == {"code", "message", "fields", "request"}
    assert said["request"] == found.headers["x-request-id"]
    assert "Traceback" not in found.text
    return said


# --- size and shape ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["1e99", "0", "-1", "501", "1.5", "NaN", "9" * 400, "", "\u0661"])
def test_numbers_that_no_page_has(served: Served, limit: str) -> None:
    with served.client("viewer") as client:
        said = problem(client.get("/api/v1/orders", params={"limit": limit}), 422)
    assert list(said["fields"]) == ["query.limit"]


@pytest.mark.parametrize("query", ["mode=live", "key=x", "account=a&account=b", "limit=1&Limit=2"])
def test_unknown_and_repeated_parameters(served: Served, query: str) -> None:
    with served.client("viewer") as client:
        problem(client.get(f"/api/v1/orders?{query}"), 422)


def test_a_misspelt_parameter_is_told_its_right_name(served: Served) -> None:
    with served.client("viewer") as client:
        said = problem(client.get("/api/v1/orders?symbl=ES"), 422)
    assert said["fields"] == {"query.symbl": "there is no such parameter; did you mean 'symbol'?"}


@pytest.mark.parametrize(
    "body",
    [
        {"reason": "x", "mode": "live"},
        {"reason": ""},
        {"reason": "x" * 501},
        {"reason": "x", "account": "a" * 65},
        {"reason": "a\nb"},
        {"reason": "a\u202eb"},
        {"reason": "a\x00b"},
        {"reason": 1},
        {"reason": None},
        ["reason"],
        "reason",
        None,
        {"reason": "x", "account": {"$ne": ""}},
    ],
)
def test_bodies_that_do_not_fit(served: Served, body: object) -> None:
    with served.client("operator") as client:
        problem(client.post(KILL, json=body), 422)


def test_a_key_is_no_reason_and_no_name(served: Served) -> None:
    key = served.key["risk"]
    with served.client("operator") as client:
        for body in ({"reason": f"stop {key}"}, {"reason": "x", "symbol": key[:60]}):
            said = problem(client.post(KILL, json=body), 422)
            assert "looks like an API key" in next(iter(said["fields"].values()))
            assert key[:60] not in json.dumps(said)
        spelt = json.dumps({"reason": key}).replace("onefold_", "onefold\\u005f")
        headers = {"Content-Type": "application/json"}
        problem(client.post(KILL, content=spelt, headers=headers), 422)
        assert key not in client.get("/api/v1/status").text


@pytest.mark.parametrize("value", [True, "0.5", None])
def test_a_value_is_a_number(served: Served, value: object) -> None:
    body = {"mandate": "x", "value": value, "reason": "x"}
    with served.client("risk") as client:
        headers = served.sensitive()
        found = client.put("/api/v1/governance/paper/values", json=body, headers=headers)
    assert list(problem(found, 422)["fields"]) == ["body.value"]


@pytest.mark.parametrize(
    "content", [b"{", b"\xff", b'{"reason":NaN}', b"", b'{"reason":"\\ud800"}']
)
def test_bodies_that_are_no_json(served: Served, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    with served.client("operator") as client:
        found = client.post(KILL, content=content, headers=headers)
    problem(found, 400 if content == b"\xff" else 422)


def test_a_hundred_megabytes_are_not_read(served: Served) -> None:
    with served.client("operator") as client:
        request = f"POST {KILL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n"
        found = raw(served, f"{request}Connection: close\r\n\r\n".encode())
        assert found.startswith(b"HTTP/1.1 413")
        assert b"a body has at most 64 KB" in found
        began = time.monotonic()

        def endless() -> Iterator[bytes]:
            for _ in range(1_600):
                yield b" " * 65_536

        try:
            status = client.post(KILL, content=endless()).status_code
        except httpx.TransportError:  # it hung up while we were still sending, as it may
            status = 413
        assert status == 413
        assert time.monotonic() - began < 30
    with served.client("viewer") as client:
        assert client.get("/api/v1/status").status_code == 200


@pytest.mark.parametrize("length", ["-1", "1e3", "9" * 30, "0x10"])
def test_lengths_that_are_none(served: Served, length: str) -> None:
    request = (
        f"POST {KILL} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n"
        "Connection: close\r\n\r\n"
    )
    assert b" 4" in raw(served, request.encode())[:13]


def raw(served: Served, content: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", served.port), 10) as one:
        one.sendall(content)
        found = b""
        while part := one.recv(65_536):
            found += part
    return found


@pytest.mark.parametrize("sign", ["[", '{"a":'])
def test_ten_thousand_levels(served: Served, sign: str) -> None:
    with served.client("operator") as client:
        found = client.post(
            KILL, content=sign * 10_000, headers={"Content-Type": "application/json"}
        )
        assert "deeper" in problem(found, 422)["message"]


def test_depth_is_counted_outside_of_texts() -> None:
    deep = DEPTH_MAX
    assert not deeper_than(b"[" * deep + b"]" * deep, deep)
    assert deeper_than(b"[" * (deep + 1) + b"]" * (deep + 1), deep)
    assert not deeper_than(json.dumps({"a": '[{"\\' * 500}).encode(), deep)
    assert not deeper_than(b"[]" * 10_000, deep)
    assert deeper_than(b'"' + b"\\\\" + b'"' + b"[" * (deep + 1), deep)


def test_a_body_that_never_comes(tmp_path: Path) -> None:
    served = Served(tmp_path, request_s=0.5)
    try:
        found = raw(
            served,
            f"POST {KILL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{{".encode(),
        )
        assert found.startswith(b"HTTP/1.1 408")
    finally:
        served.close()


# --- where from ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "a b"]
)
def test_other_names_do_not_lead_here(served: Served, host: str) -> None:
    for path in ("/ping", "/api/v1/status"):
        found = raw(
            served, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        assert found.startswith((b"HTTP/1.1 421", b"HTTP/1.1 400")), found[:40]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8600", "[::1]:8600", "LOCALHOST:1"])
def test_names_of_this_machine_lead_here(served: Served, host: str) -> None:
    with served.client(Host=host) as client:
        assert client.get("/ping").json() == {"pong": True}


def test_pages_of_the_configured_origins_may_ask_and_no_others(served: Served) -> None:
    asks = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    with served.client() as client:
        good = client.options(KILL, headers={"Origin": "http://localhost:3000", **asks})
        assert good.headers["access-control-allow-origin"] == "http://localhost:3000"
        methods = set(good.headers["access-control-allow-methods"].split(", "))
        assert methods == {"GET", "POST", "PUT", "DELETE", "OPTIONS"}
        allowed = {
            h.strip().lower() for h in good.headers["access-control-allow-headers"].split(",")
        }
        assert {"content-type", "authorization"} <= allowed
        assert allowed <= {
            "content-type",
            "authorization",
            "accept",
            "accept-language",
            "content-language",
        }
        assert "access-control-allow-credentials" not in good.headers
        for origin in (
            "http://localhost:3001",
            "http://evil.example",
            "null",
            "http://localhost:3000.evil.example",
        ):
            bad = client.options(KILL, headers={"Origin": origin, **asks})
            assert "access-control-allow-origin" not in bad.headers, origin
            assert bad.status_code == 400
            plain = client.get("/ping", headers={"Origin": origin})
            assert "access-control-allow-origin" not in plain.headers
        more = {**asks, "Access-Control-Request-Headers": "x-confirmation"}
        assert (
            client.options(KILL, headers={"Origin": "http://localhost:3000", **more}).status_code
            == 400
        )


def test_every_answer_has_the_headers_of_security(served: Served) -> None:
    with served.client("viewer") as client:
        for path in (
            "/ping",
            "/api/v1/status",
            "/nothing",
            "/api/v1/orders?limit=0",
            "/api/v1/keys",
        ):
            headers = client.get(path).headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-frame-options"] == "DENY"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store"
            assert "server" not in headers


# --- how often -----------------------------------------------------------------------------------


def test_who_asks_too_often_waits_and_can_still_stop(tmp_path: Path) -> None:
    served = Served(tmp_path, requests_per_s=0.5, burst=5)
    try:
        with served.client("operator") as client:
            found = [client.get("/api/v1/keys") for _ in range(8)]
            assert [one.status_code for one in found] == [403] * 5 + [429] * 3
            assert int(found[-1].headers["retry-after"]) >= 1
            assert client.post(KILL, json={"reason": "stop"}).status_code == 200
    finally:
        served.close()


def test_wrong_keys_wait_and_keep_nobody_from_stopping(tmp_path: Path) -> None:
    served = Served(tmp_path)
    try:
        with served.client(Authorization="Bearer onefold_0123456789_x") as client:
            found = [client.get("/api/v1/status").status_code for _ in range(12)]
        assert found[:4] == [401] * 4
        assert set(found[5:]) == {429}
        with served.client("operator") as client:
            assert client.post(KILL, json={"reason": "stop"}).status_code == 200
    finally:
        served.close()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer onefold_0123456789_x"}])
def test_who_has_no_key_uses_up_nobodys_stop(tmp_path: Path, headers: dict[str, str]) -> None:
    served = Served(tmp_path, requests_per_s=0.1, burst=3)
    try:
        with served.client(**headers) as client:
            found = [client.post(KILL, json={"reason": "x"}).status_code for _ in range(12)]
        assert found[:3] == [401] * 3
        assert set(found[3:]) == {429}
        with served.client("operator") as client:
            found = [client.post(KILL, json={"reason": "stop"}).status_code for _ in range(4)]
        assert found == [200] * 3 + [429], "a key has its own allowance, and no more than that"
    finally:
        served.close()


# --- what leaks ----------------------------------------------------------------------------------

XSS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "</textarea><svg/onload=alert(1)>",
    "{{7*7}}${7*7}",
    "&lt;b&gt;",
)


def test_texts_come_back_as_texts(served: Served) -> None:
    with served.client("operator") as client:
        for text in XSS:
            body = {"reason": text, "strategy": "trend"}
            made = client.post("/api/v1/reviews/paper/suppress", json=body)
            assert made.json()["cause"].startswith(text)
            listed = client.get("/api/v1/reviews?account=paper")
            assert listed.json()[0]["reason"] == text
            killed = client.post(KILL, json={"reason": text, "strategy": "trend"})
            refused = client.post(KILL, json={"reason": text, "symbol": text[:40]})
            assert (killed.status_code, refused.status_code) == (200, 422)
            shown = client.get("/api/v1/status")
            unknown = client.get("/api/v1/bars", params={"symbol": text, "account": text})
            nowhere = client.get(f"/api/v1/accounts/{text.replace('/', '')}")
            for one in (made, listed, killed, refused, shown, unknown, nowhere):
                assert one.headers["content-type"].startswith("application/json"), one.text
                assert not set("<>&") & set(one.text), one.text
            switches = shown.json()["accounts"][0]["kill_switches"]
            assert text in switches.values()


CANARY = "canary-7f3a9c"


def test_no_answer_and_no_log_holds_a_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from onefold.app.serving import served_settings

    venue = "{ ccxt: { exchange: binance, api_key: '${V_KEY}', api_secret: plain-CANARY } }"
    text = CONFIG + f"accounts:\n  paper:\n    venue: {venue}\n".replace("CANARY", CANARY)
    (tmp_path / ".env").write_text(f"V_KEY={CANARY}-env\n")
    (tmp_path / ".env").chmod(0o600)
    caplog.set_level(logging.DEBUG)
    served = Served(tmp_path, text=text)
    loaded = served_settings(tmp_path / "onefold.yaml")
    served.office._loaded = loaded
    config = loaded.settings.accounts["paper"].venue
    assert config is not None
    values = [
        value.get_secret_value() for value in (config.config.api_key, config.config.api_secret)
    ]
    assert values == ["withheld", "withheld"]
    assert not loaded.settings.accounts["paper"].shadow
    key = served.key["admin"]
    answers = []
    try:
        with served.client("admin") as client:
            paths = client.get("/api/v1/openapi.json").json()["paths"]
            for path in paths:
                url = path.format(account="paper", version="1", name="x")
                answers += [client.get(url), client.get(f"{url}?symbol=BTCUSD&at=5&decision=1")]
                answers.append(client.post(url, json={"reason": "r", "key": key}))
            answers.append(client.get(f"/api/v1/status?key={key}"))
            answers.append(client.get(f"/api/v1/accounts/{key}"))
    finally:
        served.close()
    found = [a for a in answers if CANARY in a.text + str(a.headers)]
    assert found == []
    mine = [r.getMessage() for r in caplog.records if r.name.startswith("onefold")]
    assert len(mine) > len(paths)
    hashes = [one["hash"] for one in json.loads((tmp_path / "keys.json").read_text())["keys"]]
    secrets = [CANARY, *(k.split("_", 2)[2] for k in served.key.values()), *hashes]
    said = [
        line for line in mine for secret in secrets if secret in line and "/accounts/" not in line
    ]
    assert said == []
    assert not [a.text for a in answers for secret in hashes if secret in a.text]
    assert not [a.text for a in answers if str(tmp_path) in a.text]


@pytest.mark.parametrize("text", ["a\r\nb", "\x1b[31m", "a\u202eb", "\x00", "\x7f", "\x85", "💥"])
def test_a_path_makes_one_line_of_the_log(
    served: Served, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    caplog.set_level(logging.INFO, "onefold.api")
    with served.client("viewer") as client:
        client.request("GET", "/api/v1/accounts/" + "".join(f"%{b:02x}" for b in text.encode()))
    [line] = [r.getMessage() for r in caplog.records if r.name == "onefold.api"][-1:]
    assert all(" " <= c <= "~" for c in line)
    assert json.loads(line)["path"] == f"/api/v1/accounts/{text}"


# --- connections ---------------------------------------------------------------------------------


def held(served: Served, count: int, said: bytes = b"") -> list[socket.socket]:
    """Open connections that begin to say something, and go no further."""
    made = [socket.create_connection(("127.0.0.1", served.port), 10) for _ in range(count)]
    for one in made:
        one.sendall(said)
    return made


def ended(one: socket.socket) -> bytes:
    """Return what a connection is told until its end, which comes soon."""
    one.settimeout(20)
    found = b""
    try:
        while part := one.recv(65_536):
            found += part
    except ConnectionResetError:
        pass
    finally:
        one.close()
    return found


HALF = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX-A: "
NO_BODY = f"POST {KILL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n".encode()


@pytest.mark.parametrize("said", [b"", HALF, NO_BODY], ids=["silent", "half", "without its body"])
def test_who_asks_for_nothing_makes_room_for_who_stops_trading(tmp_path: Path, said: bytes) -> None:
    served = Served(tmp_path, connections=8, headers_s=60)
    try:
        silent = held(served, 20, said)
        began = time.monotonic()
        for _ in range(3):
            with served.client("operator") as client:
                assert client.post(KILL, json={"reason": "stop"}).status_code == 200
        assert time.monotonic() - began < 20
        assert [ended(one) for one in silent[:12]] == [b""] * 12
        for one in silent[12:]:
            one.close()
    finally:
        served.close()


def test_the_whole_server_makes_room_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onefold.app.commands.serve.CONNECTIONS_MAX", 8)
    served = Served(tmp_path, headers_s=60)
    try:
        silent = held(served, 20)
        with served.client("operator") as client:
            assert client.post(KILL, json={"reason": "stop"}).status_code == 200
        for one in silent:
            one.close()
    finally:
        served.close()


def test_headers_that_never_come_are_not_waited_for(tmp_path: Path) -> None:
    served = Served(tmp_path, headers_s=0.5)
    try:
        for said in (b"", HALF):
            [one] = held(served, 1, said)
            assert ended(one).startswith(b"HTTP/1.1 408")
        [one] = held(served, 1, b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert one.recv(65_536).startswith(b"HTTP/1.1 200")
        one.sendall(HALF)  # the next request of a connection has no more time than its first
        found = b""
        for _ in range(40):
            time.sleep(0.1)
            try:
                one.sendall(b"a")
            except OSError:
                break
            one.settimeout(0.01)
            try:
                found += one.recv(65_536)
            except OSError:
                continue
        assert b"HTTP/1.1 408" in found
        one.close()
    finally:
        served.close()


def test_too_many_that_are_all_being_answered_are_refused(tmp_path: Path) -> None:
    class Slow:
        def __init__(self, office: Any) -> None:
            self._office = office

        def __getattr__(self, name: str) -> Any:
            return getattr(self._office, name)

        async def health(self) -> Any:
            await asyncio.sleep(3.0)
            return await self._office.health()

    served = Served(tmp_path, change=Slow, connections=4)
    try:
        asks = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        busy = held(served, 4, asks)
        time.sleep(0.5)
        [late] = held(served, 1)
        assert ended(late).startswith(b"HTTP/1.1 503")
        assert all(ended(one).startswith(b"HTTP/1.1 ") for one in busy)
        with served.client() as client:
            assert client.get("/ping").status_code == 200
    finally:
        served.close()
