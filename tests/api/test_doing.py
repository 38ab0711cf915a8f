"""U2: what changes something is done once, by whom it says, and nobody approves their own."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from onefold.app.governing import governed
from onefold.engine.control import Control

from .served import CONFIG, Served

VENUE = "{ ccxt: { exchange: binance, api_key: k, api_secret: s } }"
LIVE = (
    CONFIG
    + f"accounts: {{ paper: {{ venue: {VENUE}, approved: A. Person, second_person: true }} }}\n"
)
SET = "/api/v1/governance/paper/values"
LOOSER = {"mandate": "risk_budget", "value": 0.9, "strategy": "trend", "reason": "more"}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    text = LIVE.replace("fast: 3, slow: 6 } }", "fast: 3, slow: 6 }, gates: { risk_budget: 0.5 } }")
    found = Served(tmp_path, text=text)
    yield found
    found.close()


def versions(served: Served) -> list[Any]:
    return list(governed(served.folder / "onefold.yaml", "paper").file.read().versions)


def test_twenty_at_once_are_done_once(served: Served) -> None:
    headers = served.sensitive()

    def ask(_: int) -> tuple[int, str]:
        with served.client("risk") as client:
            found = client.put(SET, json=LOOSER, headers=headers)
            return found.status_code, found.text

    with ThreadPoolExecutor(20) as pool:
        found = set(pool.map(ask, range(20)))
    [(status, text)] = found
    assert status == 200, text
    assert json.loads(text)["version"] == 1
    assert len(versions(served)) == 1


def test_a_request_that_is_sent_again_is_answered_again(served: Served) -> None:
    headers = served.sensitive()
    with served.client("risk") as client:
        first = client.put(SET, json=LOOSER, headers=headers)
        again = client.put(SET, json=LOOSER, headers=headers)
        other = client.put(SET, json={**LOOSER, "value": 0.8}, headers=headers)
    assert first.text == again.text
    assert first.headers["content-type"] == again.headers["content-type"]
    assert other.status_code == 422
    assert "used for another request" in other.json()["message"]
    with served.client("admin") as client:  # a name is of one key's requests only
        mine = {**served.sensitive("admin"), "Idempotency-Key": headers["Idempotency-Key"]}
        assert client.put(SET, json={**LOOSER, "value": 0.7}, headers=mine).status_code == 200
    assert [v.by for v in versions(served)] == ["risk1", "admin1"]


def test_a_refusal_is_an_answer_like_any_other(served: Served) -> None:
    headers = served.sensitive()
    wrong = {**LOOSER, "mandate": "risk_budgt"}
    with served.client("risk") as client:
        first = client.put(SET, json=wrong, headers=headers)
        again = client.put(SET, json=wrong, headers=headers)
    assert (first.status_code, again.status_code) == (422, 422)
    assert first.json()["message"] == again.json()["message"]
    assert "did you mean 'risk_budget'" in first.json()["message"]


def test_killing_twice_by_one_name_asks_once(served: Served) -> None:
    with served.client("operator", **{"Idempotency-Key": "one"}) as client:
        for _ in range(3):
            assert client.post("/api/v1/commands/kill", json={"reason": "x"}).status_code == 200
    control = Control(served.folder / "journal" / "paper")
    assert [request.command for _, request in control.requests()] == ["kill"]  # type: ignore[union-attr]
    assert list(control.switches().values()) == ["x"]


def test_nobody_approves_what_they_proposed(served: Served) -> None:
    other = served.keys.add("risk2", "risk")
    with served.client("risk") as client:
        made = client.put(SET, json=LOOSER, headers=served.sensitive()).json()
        assert (made["status"], made["by"]) == ("proposed", "risk1")
        approval = f"/api/v1/governance/paper/versions/{made['version']}/approval"
        own = client.post(approval, json={"reason": "mine"}, headers=served.sensitive())
        assert own.status_code == 422
        assert "the approval of another person" in own.json()["message"]
        assert client.get("/api/v1/governance?account=paper").json()["waiting"] == [1]
    served.key["other"] = other
    with served.client("other") as client:
        done = client.post(approval, json={"reason": "looked"}, headers=served.sensitive("other"))
        assert (done.json()["status"], done.json()["by"]) == ("applied", "risk2")
        assert client.get("/api/v1/governance?account=paper").json()["waiting"] == []
    assert [v.status for v in versions(served)] == ["proposed", "applied"]


def test_a_confirmation_ends(tmp_path: Path) -> None:
    served = Served(tmp_path, confirm_s=0.2)
    try:
        headers = served.sensitive()
        import time

        time.sleep(0.3)
        with served.client("risk") as client:
            found = client.post("/api/v1/commands/resume", json={"reason": "x"}, headers=headers)
        assert found.status_code == 403
    finally:
        served.close()


def test_every_change_is_a_line_of_the_audit_log(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "onefold.audit.api")
    with served.client("operator") as client:
        client.get("/api/v1/status")
        client.post("/api/v1/commands/kill", json={"reason": "odd \u2713"})
        client.post("/api/v1/commands/kill", json={"reason": "x", "account": "nowhere"})
        client.post("/api/v1/commands/kill", json={})
    lines = [json.loads(r.getMessage()) for r in caplog.records if r.name == "onefold.audit.api"]
    assert [one["action"] for one in lines] == ["POST /api/v1/commands/kill"] * 3
    assert {one["operator"] for one in lines} == {"operator1"}
    assert [one["outcome"].partition(":")[0] for one in lines] == ["200", "refused", "failed"]
    assert json.loads(lines[0]["asked"]) == {"reason": "odd \u2713"}


def test_reviews_and_rollbacks(served: Served) -> None:
    with served.client("risk") as client:
        held = client.post(
            "/api/v1/reviews/paper/suppress", json={"strategy": "dips", "reason": "r"}
        )
        assert held.status_code == 200
        [review] = client.get("/api/v1/reviews?account=paper").json()
        assert (review["action"], review["strategy"], review["by"]) == ("suppress", "dips", "risk1")
        strategies = {one["name"]: one for one in client.get("/api/v1/strategies").json()}
        assert strategies["dips"]["held"] == "dips is suppressed (review)"
        assert strategies["trend"]["held"] == ""
        tighter = {**LOOSER, "value": 0.1}
        assert (
            client.put(SET, json=tighter, headers=served.sensitive()).json()["status"] == "applied"
        )
        values = client.get("/api/v1/governance?account=paper").json()["values"]
        assert {"mandate": "risk_budget", "strategy": "trend", "symbol": "", "before": 0.5,
                "value": 0.1} in values  # fmt: skip
        gone = client.post(
            "/api/v1/reviews/paper/release",
            json={"strategy": "dips", "reason": "fine"},
            headers=served.sensitive(),
        )
        assert gone.status_code == 200
        back = client.post(
            "/api/v1/governance/paper/versions/0/rollback",
            json={"reason": "back"},
            headers=served.sensitive(),
        )
        assert back.json()["status"] == "proposed"  # it lets more be traded
        assert client.get("/api/v1/reviews?account=paper").json() == []
