"""U2: every route for every role and for no key, as the description of the interface lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Request

from onefold.api.routes.guard import GuardedRoute, open_to_all, wants
from onefold.api.security import ROLES, Role
from onefold.api.server import described
from onefold.domain.errors import ConfigError

from .served import Served

KEYLESS = {("get", "/ping"), ("get", "/health"), ("get", "/ready")}
"""All that answers without a key."""

WANTED = {
    "viewer": {
        "status", "accounts", "account_", "positions", "orders", "trades", "decisions", "explain",
        "why_not", "signals", "gates", "equity", "bars", "strategies", "models", "governance",
        "reviews", "evidence", "readiness", "journal", "backtests", "report", "confirm", "ticket",
        "openapi", "failures", "survived", "checks", "metrics",
    },
    "operator": {"kill", "flatten", "reduce_only", "stop", "suppress"},
    "risk": {"resume", "adopt", "set_value", "approve", "rollback", "watch", "release"},
    "admin": {"verification", "keys"},
}  # fmt: skip
"""The matrix as it was decided, by the least role; the routes themselves say it again."""

SENSITIVE = WANTED["risk"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("matrix"))
    yield found
    found.close()


def operations(served: Served) -> list[tuple[str, str, dict[str, Any]]]:
    paths = described(served.app)["paths"]
    return [(method, path, one) for path, ops in paths.items() for method, one in ops.items()]


def ask(served: Served, role: str, method: str, path: str) -> int:
    """Ask a route, with everything that it needs but a body that fits."""
    url = re.sub(r"\{(\w+)\}", lambda m: "1" if m[1] == "version" else "paper", path)
    headers = {}
    if role and Role[role.upper()] >= Role.RISK:
        headers = served.sensitive(role)
    with served.client(role) as client:
        found = client.request(
            method, url, json={"wrong": 1} if method != "get" else None, headers=headers
        )
    if found.status_code >= 400 and path != "/health":
        assert set(found.json()) == {"code", "message", "fields", "request"}
    return found.status_code


def test_the_matrix_is_what_was_decided(served: Served) -> None:
    found: dict[str, set[str]] = {role: set() for role in ROLES}
    for method, path, one in operations(served):
        if one["x-role"] == "open":
            assert (method, path) in KEYLESS
        else:
            found[one["x-role"]].add(one["operationId"])
            assert one["security"] == [{"key": []}]
            assert ("x-sensitive" in one) == (one["operationId"] in SENSITIVE)
    assert found == WANTED


def test_every_route_for_every_role(served: Served) -> None:
    wrong = []
    for method, path, one in operations(served):
        least = one["x-role"]
        for role in ("", *ROLES):
            status = ask(served, role, method, path)
            if least == "open":
                fits = status in (200, 503)
            elif not role:
                fits = status == 401
            elif Role[role.upper()] < Role[least.upper()]:
                fits = status == 403
            else:  # it may: what is wrong with the request is another matter
                fits = status not in (401, 403, 429) and status < 500
            if not fits:
                wrong.append(f"{method} {path} as {role or 'nobody'}: {status}")
    assert wrong == []


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer x",
        "Basic YTpi",
        "bearer onefold_0000000000_x",
        "Bearer null",
    ],
)
def test_what_is_no_key_opens_nothing(served: Served, given: str) -> None:
    with served.client(Authorization=given) as client:
        for method, path, one in operations(served):
            if one["x-role"] == "open":
                continue
            url = re.sub(r"\{\w+\}", "1", path)
            # A body that no parser takes: nobody without a key gets that far.
            status = client.request(method, url, content=b"{").status_code
            assert status in (401, 429), (method, path, status)


def test_sensitive_things_need_the_key_again_and_a_name_for_the_request(served: Served) -> None:
    for method, path, one in operations(served):
        if one["operationId"] not in SENSITIVE:
            continue
        url = path.format(account="paper", version=1)
        body = {"reason": "because", "strategy": "trend"}
        with served.client("risk") as client:
            plain = client.request(method, url, json=body)
            given = served.sensitive("risk")
            foreign = client.request(method, url, json=body, headers=served.sensitive("admin"))
            nameless = client.request(
                method, url, json=body, headers={"X-Confirmation": given["X-Confirmation"]}
            )
        assert (plain.status_code, foreign.status_code) == (403, 403)
        assert "confirmations" in plain.json()["message"]
        assert nameless.status_code == 422
        assert list(nameless.json()["fields"]) == ["header.idempotency-key"]


def test_a_key_is_confirmed_by_itself_alone(served: Served) -> None:
    with served.client("risk") as client:
        for key in (served.key["admin"], served.key["viewer"]):
            assert client.post("/api/v1/confirmations", json={"key": key}).status_code == 403
        assert client.post("/api/v1/confirmations", json={"key": "x"}).status_code == 401
        assert client.post("/api/v1/confirmations", json={}).status_code == 422


def test_a_route_without_a_role_cannot_be_made(served: Served) -> None:
    router = APIRouter(route_class=GuardedRoute)

    async def forgotten(request: Request) -> None:
        raise AssertionError

    with pytest.raises(ConfigError, match="/x does not say which role it wants"):
        router.get("/x")(forgotten)
    with pytest.raises(ConfigError, match="/y does not say which role it wants"):
        served.app.get("/y")(forgotten)
    with pytest.raises(KeyError):
        router.get("/z", openapi_extra={"x-role": "root"})(forgotten)
    router.get("/x", **wants(Role.ADMIN))(forgotten)
    router.get("/y", **open_to_all())(forgotten)


def test_without_any_key_no_server_is_made(tmp_path: Path) -> None:
    from onefold.api.config import ServeSettings
    from onefold.api.security import Keys
    from onefold.api.server import create_app

    with pytest.raises(ConfigError, match="there is no API key"):
        create_app(None, ServeSettings(), Keys(tmp_path / "keys.json"))  # type: ignore[arg-type]


def test_the_description_is_whole(served: Served) -> None:
    with served.client("viewer") as client:
        found = client.get("/api/v1/openapi.json").json()
    assert found == described(served.app)
    assert found["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    tags = {tag["name"] for tag in found["tags"]}
    ids = [one["operationId"] for _, _, one in operations(served)]
    assert len(ids) == len(set(ids))
    for method, path, one in operations(served):
        assert one["description"], (method, path)
        assert set(one["tags"]) <= tags, (method, path)
        assert "4XX" in one["responses"], (method, path)
