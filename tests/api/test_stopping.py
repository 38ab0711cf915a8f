"""Stopping over the API reaches every account, whatever one of them does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.test_asking import TWO, broken
from onefold.api.schemas import Position
from onefold.app import office

from .served import Served

KILL = "/api/v1/commands/kill"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Serve two accounts of which none runs."""
    found = Served(tmp_path, text=TWO + "serve: { requests_per_s: 10000, burst: 100000 }\n")
    yield found
    found.close()


def test_a_broken_account_keeps_no_other_from_being_stopped(served: Served) -> None:
    journal = served.folder / "journal"
    broken(journal / "alpha")
    with served.client("operator") as client:
        found = client.post(KILL, json={"reason": "fire"})
        assert found.status_code == 200, found.text
        alpha, beta = found.json()
        assert (alpha["account"], alpha["done"]) == ("alpha", False)
        assert "its control folder cannot be used" in alpha["said"]
        assert str(served.folder) not in alpha["said"]
        assert "it will find this when it starts" in beta["said"]
        assert (journal / "beta" / "control" / "KILL").read_text() == "fire\n"
        status = client.get("/api/v1/status").json()["accounts"]
    assert [one["killed"] for one in status] == [True, True]


def test_odd_heartbeats_hide_no_other_account(served: Served) -> None:
    for number, beat in enumerate(('{"pid": "x", "totals": 3}', '{"counts": {"bars": "many"}}')):
        folder = served.folder / "journal" / ("alpha", "beta")[number]
        folder.mkdir(parents=True)
        (folder / "heartbeat.json").write_text(beat)
    with served.client("operator") as client:
        client.post(KILL, json={"account": "beta", "reason": "fire"})
        found = client.get("/api/v1/status")
    assert found.status_code == 200, found.text
    alpha, beta = found.json()["accounts"]
    assert (alpha["can_enter"], beta["killed"]) == (False, True)
    assert "cannot be read" in alpha["why_not"]


def test_accounts_without_a_strategy_are_left_alone(served: Served) -> None:
    journal = served.folder / "journal"
    with served.client("operator") as client:
        alpha, beta = client.post(KILL, json={"strategy": "trend", "reason": "odd"}).json()
    assert "does not run" in alpha["said"]
    assert beta == {
        "account": "beta",
        "said": "left alone: it has no strategy 'trend'",
        "done": True,
    }
    assert (journal / "alpha" / "control" / "KILL@trend").exists()
    assert not (journal / "beta").exists()
    headers = served.sensitive()
    with served.client("risk") as client:
        resume = {"strategy": "trend", "reason": "looked"}
        found = client.post("/api/v1/commands/resume", json=resume, headers=headers).json()
    assert [one["said"].partition(":")[0] for one in found][1] == "left alone"
    assert not (journal / "alpha" / "control" / "KILL@trend").exists()
    assert not (journal / "beta").exists()


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ({"strategy": "tend"}, "no account has strategy 'tend'; did you mean 'trend'?"),
        ({"symbol": "BTCUSDT"}, "no account has instrument 'BTCUSDT'; did you mean 'BTCUSD'?"),
        ({"account": "beta", "strategy": "trend"}, "account 'beta' has no strategy 'trend'"),
    ],
)
@pytest.mark.parametrize("command", ["kill", "flatten"])
def test_names_that_no_account_has_stop_nothing(
    served: Served, command: str, scope: dict[str, str], said: str
) -> None:
    with served.client("operator") as client:
        found = client.post(f"/api/v1/commands/{command}", json={**scope, "reason": "odd"})
    assert found.status_code == 422
    assert said in found.json()["message"]
    assert not (served.folder / "journal").exists()


def test_a_broken_database_hides_no_stop(served: Served) -> None:
    database = served.office._loaded.resolve(served.office._loaded.settings.paths.database)
    database.parent.mkdir(parents=True, exist_ok=True)
    database.write_bytes(b"this is no database, " * 1_000)
    with served.client("operator") as client:
        assert client.get("/api/v1/positions").status_code == 503
        client.post(KILL, json={"account": "beta", "reason": "fire"})
        found = client.get("/api/v1/status")
    assert found.status_code == 200, found.text
    alpha, beta = found.json()["accounts"]
    assert (alpha["killed"], beta["killed"]) == (False, True)
    assert beta["kill_switches"] == {"KILL": "fire"}
    assert beta["exposure"] is None
    assert beta["missing"].startswith("positions: ")
    assert str(served.folder) not in found.text


def test_a_database_that_does_not_answer_is_not_awaited(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(account: str = "") -> list[Position]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(office, "POSITIONS_S", 0.1)
    monkeypatch.setattr(served.office, "positions", hangs)
    with served.client("viewer") as client:
        found = client.get("/api/v1/status").json()["accounts"]
    assert {one["missing"] for one in found} == {
        "positions: the database does not answer within 0.1 s"
    }
