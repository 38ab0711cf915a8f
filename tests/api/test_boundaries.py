"""The server cannot send an order: it does not import what could."""

from __future__ import annotations

import subprocess
import sys

import grimp
import pytest

VENUES = ("alpaca", "ccxt", "kite", "oanda", "traderspost")
SERVING = ("onefold.app.commands.serve", "onefold.app.commands.keys", "onefold.app.office")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("onefold", cache_dir=None)


def test_the_api_knows_no_adapter_and_nothing_of_the_application(graph: grimp.ImportGraph) -> None:
    mine = {"onefold.api", *graph.find_descendants("onefold.api")}
    assert len(mine) > 8
    wrong = {
        (one, used)
        for one in mine
        for used in graph.find_modules_directly_imported_by(one)
        if used.startswith(("onefold.adapters", "onefold.app"))
    }
    assert wrong == set()


def test_serving_leads_to_no_venue_and_to_nothing_that_runs_a_session(
    graph: grimp.ImportGraph,
) -> None:
    forbidden = [f"onefold.adapters.{name}.venue" for name in VENUES]
    forbidden += ["onefold.app.live", "onefold.engine.desk", "onefold.app.commands.run"]
    assert set(forbidden) <= graph.modules
    for one in SERVING:
        for other in forbidden:
            chain = graph.find_shortest_chain(importer=one, imported=other)
            assert chain is None, " -> ".join(chain or ())


def test_the_guard_of_this_test_sees_what_leads_there(graph: grimp.ImportGraph) -> None:
    chain = graph.find_shortest_chain(
        importer="onefold.app.commands.run", imported="onefold.engine.desk"
    )
    assert chain is not None


def test_the_help_does_not_import_the_server() -> None:
    code = (
        "import sys; from onefold.app.main import run; run(['--help']); run(['serve', '--help']);"
        "assert 'fastapi' not in sys.modules and 'uvicorn' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
