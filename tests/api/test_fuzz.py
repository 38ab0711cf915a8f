"""U2: whatever fits the description, and whatever does not, never ends in a server error.

`ONEFOLD_TEST_FUZZ` is the number of requests for each route; 500 is a thorough run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.errors import LoaderError

from onefold.api.server import described

from .served import Served

EXAMPLES = int(os.environ.get("ONEFOLD_TEST_FUZZ", "20"))
SLOW = {"explain", "why_not"}
"""Routes that start a replay: there is no journal here, so that they cannot."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("fuzz"))
    yield found
    found.close()


def operation_ids() -> list[str]:
    """Return the names of all routes but the stream, from the routes themselves."""
    from onefold.api.routes import doing, reading, watching

    routers = (watching.router, watching.within, reading.router, doing.router)
    names = {r.name for router in routers for r in router.routes if hasattr(r, "name")}
    return sorted(names | {"openapi"})


@pytest.fixture(scope="module")
def schema(served: Served) -> schemathesis.BaseSchema:
    try:
        return schemathesis.openapi.from_dict(described(served.app))
    except LoaderError as error:
        pytest.fail(f"the description cannot be read: {error}")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("name", operation_ids())
def test_no_request_ends_in_a_server_error(
    served: Served, schema: schemathesis.BaseSchema, name: str, mode: GenerationMode
) -> None:
    operation = next(
        found.ok()
        for found in schema.get_all_operations()
        if found.ok().definition.raw["operationId"] == name
    )
    key = served.key["admin"]
    sent: list[int] = []

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        if "x-sensitive" in operation.definition.raw:
            headers["X-Confirmation"] = served.app.state.services.confirmations.issue(key_id)
            headers["Idempotency-Key"] = os.urandom(8).hex()
        try:
            found = case.call(base_url=served.url, headers=headers, timeout=30)
        except (httpx.InvalidURL, UnicodeError):
            hypothesis.reject()
        sent.append(found.status_code)
        if name == "health":
            assert found.status_code in (200, 422, 503)
            return
        assert found.status_code < 500, found.text
        if found.status_code >= 400:
            assert set(found.json()) == {"code", "message", "fields", "request"}, found.text

    key_id = key.split("_")[1]
    try:
        ask()
    except (hypothesis.errors.Unsatisfiable, schemathesis.errors.SchemathesisError):
        assert mode is GenerationMode.NEGATIVE  # a route that takes nothing has nothing to be wrong
    else:
        assert sent
