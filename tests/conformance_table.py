"""Print which adapter has passed which case: one table of venues, one of feeds.

    .venv/bin/python tests/conformance_table.py

The adapters' tests of the two suites are made by `conforms`, which marks each with the adapter that
it is a column of; this script runs all tests that are so marked, and no others. A cell stands for
every way that a test has of reaching the adapter (by stream and by asking, say): it has passed when
all of them have. Progress and failures go to stderr, the tables to stdout. It ends with 1 when a
cell has failed, or when an adapter of the lists below has shown nothing at all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

VENUES = (
    "Binance spot through ccxt",
    "Binance futures through ccxt",
    "Alpaca shares",
    "Alpaca coins",
    "OANDA",
    "Zerodha Kite",
    "in-memory twin",
)
FEEDS = (
    "Binance spot through ccxt",
    "Binance futures through ccxt",
    "Alpaca shares",
    "Alpaca coins",
    "OANDA",
    "Zerodha Kite",
    "Databento",
    "Yahoo through yfinance",
    "recordings",
)
"""The columns, which must all be there."""

PASSED, FAILED, UNABLE = "passed", "FAILED", "-"
OF_VENUES = """
- `-`: the case asks for something that the venue has not; its abilities say so.
- TradersPost confirms nothing, so that no case concerns it: it has tests of its own
  (`tests/adapters/test_traderspost.py`).
- Exchanges that ccxt knows by their name only, and Binance's futures without streams, are held to
  some of the cases (`tests/adapters/test_ccxt_venue.py`).
"""
OF_FEEDS = """
- `-`: the case is about a connection, and the feed has none.
- Files and synthetic prices are no live feeds; they can be played as recordings.
"""


class Place(NamedTuple):
    """A cell: `suite` is venues or feeds."""

    suite: str
    adapter: str
    case: str


class Outcomes:
    """What pytest tells of the marked tests, as a plugin of it."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.spared: dict[Place, str] = {}
        self._passed: set[str] = set()
        self._failed: set[str] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note where each test belongs."""
        for item in session.items:
            mark = item.get_closest_marker("conformance")
            if mark is None or not isinstance(item, pytest.Function):
                continue
            suite, adapter, spared = mark.args
            case = item.callspec.params["case"]
            place = Place(suite, adapter, getattr(case, "__name__", str(case)))
            self.places[item.nodeid] = place
            self.spared.update({place._replace(case=name): why for name, why in spared.items()})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test went; one that was skipped has shown nothing."""
        if not report.passed:
            self._failed.add(report.nodeid)
        elif report.when == "call":
            self._passed.add(report.nodeid)

    def cells(self) -> dict[Place, str]:
        """Return what stands in each cell that has a test."""
        bad = {self.places[test] for test in self.places.keys() - (self._passed - self._failed)}
        return {place: FAILED if place in bad else PASSED for place in self.places.values()}


def table(
    suite: str, cases: Iterable[str], adapters: Iterable[str], cells: Mapping[Place, str]
) -> list[str]:
    """Return the lines of a table: a row per case, a column per adapter."""
    columns = [*adapters]
    head = [["case", *columns], ["---"] * (1 + len(columns))]
    rows = [
        [words(case), *(cells.get(Place(suite, one, case), UNABLE) for one in columns)]
        for case in cases
    ]
    return ["| " + " | ".join(row) + " |" for row in (*head, *rows)]


def words(case: str) -> str:
    """Return the name of a case as people read it."""
    return case.replace("_", " ")


def spared(suite: str, reasons: Mapping[Place, str]) -> list[str]:
    """Return a line for each case that an adapter is spared although it should be able to."""
    return [
        f"- {place.adapter}: *{words(place.case)}* is left out. {why}."
        for place, why in reasons.items()
        if place.suite == suite
    ]


def troubles(
    suite: str, cases: Iterable[str], adapters: Iterable[str], cells: Mapping[Place, str]
) -> list[str]:
    """Return what is wrong with a table: what failed, and what is missing in it."""
    mine = {place: cell for place, cell in cells.items() if place.suite == suite}
    shown, known, listed = {place.adapter for place in mine}, {*cases}, {*adapters}
    return [
        *(f"{one} has shown nothing" for one in adapters if one not in shown),
        *(f"{one} is not in the list of columns" for one in sorted(shown - listed)),
        *(f"{one.case} is in no row" for one in mine if one.case not in known),
        *(f"{one.adapter}: {one.case} failed" for one, cell in mine.items() if cell != PASSED),
    ]


def main() -> int:
    """Run the suites and print the tables."""
    outcomes = Outcomes()
    folders = [str(ROOT / "tests" / name) for name in ("adapters", "venues")]
    with redirect_stdout(sys.stderr):
        ended = pytest.main(
            ["-c", str(ROOT / "pyproject.toml"), "-m", "conformance", *folders], plugins=[outcomes]
        )
    from adapters.feed_conformance import CASES, CONNECTED
    from venues.case import all_cases

    cells, wrong = outcomes.cells(), []
    for suite, cases, adapters, lines in (
        ("venues", [str(one) for one in all_cases()], VENUES, OF_VENUES),
        ("feeds", [one.__name__ for one in (*CASES, *CONNECTED)], FEEDS, OF_FEEDS),
    ):
        print(f"## {suite.capitalize()}\n", *table(suite, cases, adapters, cells), sep="\n")
        print(lines, *(f"{line}\n" for line in spared(suite, outcomes.spared)), sep="")
        wrong += [f"{suite}: {one}" for one in troubles(suite, cases, adapters, cells)]
    for one in wrong:
        print(one, file=sys.stderr)
    return 1 if wrong or ended else 0


if __name__ == "__main__":
    sys.exit(main())
