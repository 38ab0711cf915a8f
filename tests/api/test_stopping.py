"""Stopping over the API reaches every account, whatever one of them does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.test_asking import TWO, broken

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
