"""The table of adapters and cases says what the tests said, and is bad when it should be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import conformance_table as printed
from conformance_table import FEEDS, VENUES, Outcomes, Place, table, troubles

ROOT = Path(__file__).parent
CASES = ["a_case", "another"]


def heard(*reports: tuple[str, str, str]) -> Outcomes:
    """Return what is noted of two ways to the first case, and one to the second."""
    outcomes = Outcomes()
    outcomes.places = {
        "stream": Place("venues", "Mine", "a_case"),
        "polling": Place("venues", "Mine", "a_case"),
        "other": Place("venues", "Mine", "another"),
    }
    for test, when, outcome in reports:
        facts: Any = (test, ("", 0, ""), {}, outcome, None, when)
        outcomes.pytest_runtest_logreport(pytest.TestReport(*facts))
    return outcomes


ALL = [(test, "call", "passed") for test in ("stream", "polling", "other")]


def test_a_cell_has_passed_when_every_way_to_it_has() -> None:
    cells = heard(*ALL).cells()
    assert {*cells.values()} == {"passed"}
    assert troubles("venues", CASES, ["Mine"], cells) == []
    assert table("venues", [*CASES, "third"], ["Mine"], cells) == [
        "| case | Mine |",
        "| --- | --- |",
        "| a case | passed |",
        "| another | passed |",
        "| third | - |",
    ]


@pytest.mark.parametrize(
    "reports",
    [
        [*ALL, ("polling", "call", "failed")],
        [*ALL, ("polling", "teardown", "failed")],
        [("stream", "call", "passed"), ("other", "call", "passed")],
        [*ALL[:1], ("polling", "setup", "skipped"), *ALL[2:]],
    ],
    ids=["failed", "failed afterwards", "never came to it", "skipped"],
)
def test_a_cell_has_failed_otherwise(reports: list[tuple[str, str, str]]) -> None:
    cells = heard(*reports).cells()
    assert cells[Place("venues", "Mine", "a_case")] == "FAILED"
    assert cells[Place("venues", "Mine", "another")] == "passed"
    assert troubles("venues", CASES, ["Mine"], cells) == ["Mine: a_case failed"]


def test_what_is_missing_or_unknown_is_said() -> None:
    cells = heard(*ALL).cells()
    assert troubles("venues", CASES, ["Mine", "Theirs"], cells) == ["Theirs has shown nothing"]
    assert troubles("feeds", CASES, ["Mine"], cells) == ["Mine has shown nothing"]
    assert troubles("venues", CASES, [], cells) == ["Mine is not in the list of columns"]
    assert troubles("venues", CASES[1:], ["Mine"], cells) == ["a_case is in no row"]


def test_the_columns_are_those_of_the_tests() -> None:
    folders = [ROOT / name for name in ("adapters", "venues")]
    texts = {path.name: path.read_text() for f in folders for path in f.glob("test_*.py")}
    named = [(name, a) for name, t in texts.items() for a in re.findall(r'conforms\("(.+?)"', t)]
    of_venues = [a for name, a in named if name.endswith("_venue.py") or name == "test_twin.py"]
    of_feeds = [a for _, a in named]
    for one in of_venues:
        of_feeds.remove(one)
    assert sorted(of_venues) == sorted(VENUES)
    assert sorted(of_feeds) == sorted(FEEDS)


def test_a_run_that_shows_nothing_is_a_bad_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(printed.pytest, "main", lambda *_, **__: 0)
    assert printed.main() == 1
    shown = capsys.readouterr()
    assert shown.out.count("| case |") == 2
    assert "passed" not in shown.out
    assert shown.err.count("has shown nothing") == len(VENUES) + len(FEEDS)
