"""U1: `onefold serve` beside a session that trades: what it shows, what it does, and its death."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.paper_session import PaperSession
from app.world import onefold_process, write_config
from onefold.api.security import Keys

from .served import CONFIG, PATIENCE_S, Serving, started
from .test_security import EVERYWHERE


class Both:
    """A session that trades, and a server beside it."""

    def __init__(self, folder: Path) -> None:
        self.session = started(PaperSession(folder))
        self.serving = Serving(folder)

    def close(self) -> None:
        self.serving.close()
        self.session.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    found = Both(tmp_path_factory.mktemp("serving"))
    yield found
    found.close()


def test_it_says_how_the_account_stands(both: Both) -> None:
    found = both.serving.get("/status")
    [account] = found["accounts"]
    beat = both.session.beat()
    assert (account["account"], account["mode"], account["state"]) == ("paper", "paper", "running")
    assert account["can_enter"], account["why_not"]
    assert account["heartbeat"]["pid"] == beat["pid"]
    assert account["currency"] == "USD"
    assert both.serving.get("/accounts/paper")["journal"] == both.session.journal().name
    assert both.serving.client.get("/api/v1/accounts/other").status_code == 404


def test_the_database_follows_and_is_shown(both: Both) -> None:
    get, wait = both.serving.get, both.serving.wait
    trades = wait("/trades", lambda page: len(page["items"]) >= 3, account="paper", state="closed")
    one = trades["items"][0]
    assert one["account"] == "paper"
    assert one["exit_time"] > one["entry_time"]
    assert {t["strategy"] for t in trades["items"]} <= {"trend", "dips"}
    decisions = get("/decisions", limit=5)
    assert len(decisions["items"]) == 5
    orders = get("/orders", limit=2)
    assert [order["state"] for order in orders["items"]]
    wait("/equity", lambda points: len(points) > 3, account="paper")
    bars = get("/bars", symbol="BTCUSD", account="paper", limit=10)
    assert len(bars) == 10
    assert [bar["time"] for bar in bars] == sorted(bar["time"] for bar in bars)
    assert all(set(count) == {"gate", "first", "also"} for count in get("/gates"))
    [first, second] = sorted(get("/strategies"), key=lambda s: s["name"])
    assert (first["name"], second["name"]) == ("dips", "trend")
    assert second["trades"] + first["trades"] >= 3
    assert get("/signals", limit=5)
    assert get("/journal")["projected"] > 0
    verified = get("/journal/verification")
    assert "agree with their seals" in verified["verified"]
    assert verified["seq"] > 0


def test_pages_go_on_where_the_one_before_has_ended(both: Both) -> None:
    both.serving.wait("/decisions", lambda page: page["next"], limit=10)
    seen: list[int] = []
    before = ""
    for _ in range(3):
        page = both.serving.get("/decisions", limit=4, before=before)
        seen += [one["id"] for one in page["items"]]
        before = page["next"]
        assert before
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == 12
    wrong = both.serving.client.get("/api/v1/decisions", params={"before": "x' OR 1=1"})
    assert wrong.status_code == 422


def test_positions_agree_with_the_heartbeat(both: Both) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        before = both.session.beat()["positions"]
        held = both.serving.get("/positions", account="paper")
        lots = {"BTCUSD": sum(one["lots"] for one in held)}
        if lots["BTCUSD"] == before.get("BTCUSD", 0) and any(one["strategy"] for one in held):
            break
        assert time.monotonic() < deadline, (before, held)
        time.sleep(0.05)
    assert {one["symbol"] for one in held} == {"BTCUSD"}


def test_it_explains_a_decision_and_what_was_not_traded(both: Both) -> None:
    page = both.serving.wait("/decisions", lambda page: page["items"], limit=1)
    [made] = page["items"]
    found = both.serving.get("/explain", decision=made["id"], account="paper")
    assert (found["decision"], found["strategy"]) == (made["id"], made["strategy"])
    assert len(found["gates"]) > 10
    blocked = [line["gate"] for line in found["gates"] if line["verdict"] == "blocked"]
    assert sorted(blocked) == sorted(made["blocked"])
    began = time.monotonic()
    assert both.serving.get("/explain", decision=made["id"], account="paper") == found
    assert time.monotonic() - began < 1.0  # it is remembered: no replay takes so little
    why = both.serving.get("/why-not", symbol="BTCUSD", at=made["time"], account="paper")
    assert {one["strategy"] for one in why} == {"trend", "dips"}
    unknown = both.serving.client.get("/api/v1/explain?decision=999999999&account=paper")
    assert unknown.status_code == 404
    assert "no decision 999999999" in unknown.json()["message"]
    nowhere = both.serving.client.get("/api/v1/why-not?symbol=--help&at=5")
    assert nowhere.status_code == 404


def test_who_stops_and_who_lets_go_on_stands_in_the_journal(both: Both) -> None:
    client, session = both.serving.client, both.session
    killed = client.post("/api/v1/commands/kill", json={"reason": "looks odd"})
    assert killed.json() == [{"account": "paper", "said": "done", "done": True}]
    session.wait(lambda beat: beat["killed"])
    [account] = both.serving.get("/accounts")
    assert (account["killed"], account["can_enter"]) == (True, False)
    assert account["why_not"] == "killed: looks odd"
    plain = client.post("/api/v1/commands/resume", json={"reason": "looked"})
    assert plain.status_code == 403
    sensitive = client.confirmed(both.serving.key)
    went = client.post("/api/v1/commands/resume", json={"reason": "looked"}, headers=sensitive)
    assert went.json() == [{"account": "paper", "said": "done", "done": True}]
    session.wait(lambda beat: not beat["killed"])
    commands = [r for r in session.records() if type(r).__name__ == "Command"]
    by = [(c.command, c.operator, c.reason) for c in commands if c.operator not in ("", "engine")]
    assert ("kill", "process0", "looks odd") in by
    assert ("resume", "process0", "looked") in by


def test_the_projector_is_started_again(both: Both) -> None:
    def child() -> int:
        found = Path(f"/proc/{both.serving.process.pid}/task").glob("*/children")
        return next((int(n) for p in found for n in p.read_text().split()), 0)

    first = child()
    assert first
    assert b"follow" in Path(f"/proc/{first}/cmdline").read_bytes()
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while child() in (0, first):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    seq = both.serving.get("/journal")["projected"] or 0
    both.serving.wait("/journal", lambda state: (state["projected"] or 0) > seq)


def test_when_it_dies_trading_goes_on(tmp_path: Path) -> None:
    both = Both(tmp_path)
    try:
        both.serving.get("/status")
        both.serving.end(signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            httpx.get(both.serving.url + "/ping")
        both.session.bars_pass()
        assert both.session.process is not None
        assert both.session.process.poll() is None
        again = Serving(tmp_path)
        assert again.get("/status")["accounts"][0]["state"] == "running"
        code, said = again.end()
        assert code == 0, said
        both.session.bars_pass()
    finally:
        both.close()


# --- how it begins -------------------------------------------------------------------------------


def test_without_a_key_it_does_not_begin(tmp_path: Path) -> None:
    write_config(tmp_path, CONFIG)
    said = onefold_process(tmp_path, "serve", "--port", "0", "--json")
    assert said.code == 2
    assert "there is no API key" in said.json["error"]
    assert not (tmp_path / "keys.json").exists()


def test_beyond_this_machine_it_begins_only_when_told(tmp_path: Path) -> None:
    Keys((write_config(tmp_path, CONFIG)).parent / "keys.json").add("ann", "viewer")
    said = onefold_process(tmp_path, "serve", "--host", EVERYWHERE, "--port", "0", "--json")
    assert said.code == 2
    assert "beyond this machine" in said.json["error"]


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    write_config(tmp_path, CONFIG)
    first = Serving(tmp_path, "--no-follow")
    try:
        port = first.url.rpartition(":")[2]
        said = onefold_process(tmp_path, "serve", "--no-follow", "--port", port)
        assert said.code == 2
        assert f"nothing can listen on 127.0.0.1:{port}" in said.err
    finally:
        first.close()


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    write_config(tmp_path, CONFIG)
    made = onefold_process(tmp_path, "keys", "add", "ann", "--role", "risk")
    assert made.code == 0
    key = made.out.strip()
    assert key.startswith("onefold_")
    assert key not in made.err
    listed = onefold_process(tmp_path, "keys", "list", "--json")
    assert [(one["name"], one["role"]) for one in listed.json] == [("ann", "risk")]
    assert key.split("_", 2)[2] not in listed.out
    assert onefold_process(tmp_path, "keys", "add", "bob", "--role", "boss").code == 2
    assert onefold_process(tmp_path, "keys", "revoke", "ann").code == 0
    assert onefold_process(tmp_path, "keys", "list", "--json").json == []


def test_before_anything_has_run_everything_is_empty(tmp_path: Path) -> None:
    write_config(tmp_path, CONFIG)
    serving = Serving(tmp_path, "--no-follow")
    try:
        get: Any = serving.get
        [account] = get("/accounts")
        assert (account["state"], account["why_not"]) == ("not running", "not running")
        for path in ("/orders", "/trades", "/decisions"):
            assert get(path) == {"items": [], "next": "", "total": None}
        for path in ("/positions", "/signals", "/gates", "/equity", "/models", "/reviews",
                     "/evidence", "/readiness", "/backtests"):  # fmt: skip
            assert get(path) == [], path
        assert get("/bars", symbol="BTCUSD") == []
        assert [one["name"] for one in get("/strategies")] == ["trend", "dips"]
        assert get("/governance")["versions"] == []
        for path in ("/journal", "/explain?decision=1", "/why-not?symbol=BTCUSD&at=5"):
            assert serving.client.get(f"/api/v1{path}").status_code == 404
        assert not json.loads(serving.client.get("/api/v1/governance").text)["is_live"]
    finally:
        serving.close()


def test_secrets_of_venues_are_not_asked_for(tmp_path: Path) -> None:
    venue = "{ traderspost: { webhook: '${NOT_SET}' } }"
    write_config(tmp_path, CONFIG + f"accounts: {{ paper: {{ venue: {venue} }} }}\n")
    serving = Serving(tmp_path, "--no-follow")
    try:
        assert serving.get("/status")["accounts"][0]["account"] == "paper"
    finally:
        serving.close()
