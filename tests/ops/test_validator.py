"""O5: what passes between the stages, by facts and by sessions that really run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.live_venue import CONFIG, FLIPS, RESTS, VenueThread
from app.paper_session import PaperSession
from app.world import onefold_process
from engine.test_live import bar
from onefold.app import checking
from onefold.app.settings import load_settings
from onefold.domain.records import (
    Bar,
    Decision,
    Fill,
    Order,
    OrderNotice,
    Quarantined,
    Score,
    Signal,
)
from onefold.ops.facts import Sighting, sight
from onefold.ops.tails import Tail, Tails
from onefold.ops.validator import ASKED_MAX, PipelineSettings, Validator
from ops.made import NOW_NS, beat, place, sighting
from ops.test_metrics import write

ALWAYS = PipelineSettings(every_s=1e-9)
S_NS = 10**9
Found = set[tuple[str, str]]


def looked(one: Sighting, tail: Tail | None = None, **more: Any) -> Found:
    """Return stages and issues of an account by one look."""
    tails = Tails([one.place.name])
    if tail is not None:
        tails._tails[one.place.name] = tail
    found = Validator(ALWAYS, **more).look([one], tails)
    return {(issue.stage, issue.issue) for issue in found}


def told(*records: Any) -> Tail:
    """Return a tail that has counted records."""
    tail = Tail()
    for made in records:
        record = made() if callable(made) else made
        kind = type(record).__struct_config__.tag
        tail._readers[kind][1](record)
    return tail


def order(number: int, age_s: float) -> Callable[[], Order]:
    """Return what makes an order of some age, when it is told: not when tests are collected."""
    at = ("BTCUSD", "trend", "entry", 1, 1)
    return lambda: Order(number, time.time_ns() - int(age_s * S_NS), *at)  # type: ignore[arg-type]


def fresh(**said: Any) -> dict[str, Any]:
    now = time.time_ns()
    said = {name: value() if callable(value) else value for name, value in said.items()}
    return beat(**{"ts": now, "last_bars": {"BTCUSD": now - S_NS}, **said})


def signal(side: int = 1) -> Signal:
    return Signal("BTCUSD", "trend", 1, side)


def decision() -> Decision:
    return Decision(1, 1, "BTCUSD", "trend", "entry", 1, 1, 1.0, 1.0, None, 1.0, 0, [], [])


BAR = Bar("BTCUSD", 2, 1, 1.0, 1.0, 1.0, 1.0)
OTHER = Bar("EURUSD", 2, 1, 1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("said", "records", "found"),
    [
        ({}, [], set()),
        ({"last_bars": {"BTCUSD": NOW_NS - 600 * S_NS}}, [], {("market_data", "no_recent_data")}),
        ({"last_bars": {}}, [], {("market_data", "no_recent_data")}),
        ({"last_bars": {}, "started_ts": time.time_ns}, [], set()),
        ({"last_bars": {}, "data_mode": "recorded"}, [], set()),
        (
            {},
            [*[BAR, signal(0)] * 10, Quarantined("BTCUSD", 1, "nan")],
            {("market_data", "validation_error")},
        ),
        ({}, [*[BAR, signal(0)] * 30, Quarantined("BTCUSD", 1, "nan")], set()),
        ({}, [signal(0), BAR, BAR, BAR], {("signals", "no_recent_data")}),
        ({}, [BAR, BAR], set()),
        ({}, [BAR, BAR, signal(0), BAR], set()),
        ({}, [OTHER] * 9, set()),
        ({}, [Score("BTCUSD", 1, "m@1", None, "ValueError: x")], {("signals", "validation_error")}),
        ({}, [Score("BTCUSD", 1, "m@1", None, "late")], set()),
        ({}, [Score("BTCUSD", 1, "m@1", None, "x"), Score("BTCUSD", 1, "m@1", 0.5)], set()),
        ({"doubt": "an older file"}, [], {("risk", "validation_error")}),
        ({}, [signal()] * (ASKED_MAX + 1), {("risk", "no_recent_data")}),
        ({}, [*[signal()] * (ASKED_MAX + 1), decision()], set()),
        ({"positions": {"BTCUSD": 1}}, [signal()] * (ASKED_MAX + 1), set()),
        ({}, [order(1, 60)], {("orders", "no_recent_data")}),
        ({}, [order(1, 1)], set()),
        ({}, [order(1, 60), OrderNotice(1, 2, "BTCUSD", "accepted")], set()),
        ({}, [order(1, 60), Fill(1, 1, 2, "BTCUSD", "trend", 1, 1, 9.0)], set()),
        (
            {},
            [order(1, 60), OrderNotice(1, 2, "BTCUSD", "unknown")],
            {("orders", "validation_error")},
        ),
        (
            {},
            [
                order(1, 60),
                OrderNotice(1, 2, "BTCUSD", "unknown"),
                OrderNotice(1, 3, "BTCUSD", "cancelled"),
            ],
            set(),
        ),
        ({"mode": "paper"}, [order(1, 60)], set()),
        ({"reconciled": False}, [], {("portfolio", "validation_error")}),
        ({"equity": None}, [], {("portfolio", "validation_error")}),
        ({"positions": {"BTCUSD": 0.5}}, [], {("portfolio", "validation_error")}),
        ({"counts": 3}, [], {("portfolio", "metrics_parse_error")}),
        ({"inputs": None}, [], {("portfolio", "metrics_parse_error")}),
    ],
)
def test_each_stage_has_its_issues(said: dict[str, Any], records: list[Any], found: Found) -> None:
    assert looked(sighting(said=fresh(**said)), told(*records)) == found


def test_a_session_that_hangs_and_a_heartbeat_that_cannot_be_read() -> None:
    stuck = sighting(said=fresh(), standing="stuck", age_s=100.0)
    assert looked(stuck) == {("portfolio", "no_recent_data")}
    garbled = sighting(said={}, standing="not running", unreadable="no JSON")
    assert looked(garbled) == {("portfolio", "metrics_parse_error")}


def test_without_strategies_that_run_nothing_is_expected() -> None:
    bad = fresh(equity=None, reconciled=False, doubt="x", last_bars={})
    redis = {"services": lambda: {"cache": "connection refused"}}
    every_one_is_out = {**bad, "disabled": {"trend": "no model", "dips": "no model"}}
    for silent in (
        sighting(said=every_one_is_out),
        sighting(place(strategies=()), bad),
        sighting(place(is_enabled=False), bad),
        sighting(said=bad, standing="not running"),
        sighting(said=bad, standing="stopped"),
        sighting(said={}, standing="never ran"),
    ):
        assert looked(silent, told(order(1, 60)), **redis) == set()
    assert len(looked(sighting(said=bad), told(order(1, 60)), **redis)) == 5


def test_a_redis_that_is_down_is_told_for_each_broker_with_strategies() -> None:
    one = sighting(place("main", broker="ccxt binance"), fresh())
    two = sighting(place("twin"), fresh(mode="paper"))
    validator = Validator(ALWAYS, lambda: {"cache": "connection refused", "other": ""})
    found = validator.look([one, two], Tails(["main", "twin"]))
    assert [(i.broker, i.issue, i.detail) for i in found] == [
        ("ccxt binance", "redis_unavailable", "cache: connection refused"),
        ("paper", "redis_unavailable", "cache: connection refused"),
    ]


def test_a_market_that_has_just_opened_has_no_bar_yet() -> None:
    friday_ns = NOW_NS - 3 * 86_400 * S_NS
    shares = place(calendars={"SPY": "XNYS"}, intervals_ns={"SPY": 60 * S_NS})
    one = sighting(shares, beat(last_bars={"SPY": friday_ns}))
    opened = 1_900_157_400 * S_NS  # Monday 18 March 2030, 09:30 in New York
    validator = Validator(ALWAYS)
    assert not list(validator._overdue(one, opened - 60 * S_NS))
    assert not list(validator._overdue(one, opened + 60 * S_NS))
    assert list(validator._overdue(one, opened + 600 * S_NS))


def test_each_look_counts_anew_and_looks_have_a_pace() -> None:
    one, tails = sighting(said=fresh(doubt="x")), Tails(["main"])
    slow = Validator(PipelineSettings(every_s=3_600))
    assert len(slow.look([one], tails)) == len(slow.look([one], tails)) == 1
    assert slow.counts["risk", "paper", "validation_error"] == 1
    quick = Validator(ALWAYS)
    for _ in range(3):
        quick.look([one], tails)
    assert quick.counts == {("risk", "paper", "validation_error"): 3}
    totals = quick.totals([one.place])
    assert totals["risk", "paper", "validation_error"] == 3
    assert len(totals) == 5 * 4, "what has not come yet is there with 0"


# -- real sessions --------------------------------------------------------------------------------


@pytest.fixture
def session(tmp_path: Path) -> Iterator[PaperSession]:
    one = PaperSession(tmp_path)
    one.start()
    yield one
    one.close()


def watched(folder: Path, name: str, until: Callable[[Found], bool], timeout_s: float) -> Found:
    """Look at a session again and again until something holds; return all that was found."""
    loaded = load_settings(folder / "onefold.yaml")
    places = checking.places_of(loaded)
    validator, tails = Validator(ALWAYS), Tails([name])
    found: Found = set()
    deadline = time.monotonic() + timeout_s
    while not until(found) and time.monotonic() < deadline:
        sightings = [sight(one, time.time_ns(), stuck_s=90) for one in places]
        tails.poll(sightings)
        found |= {(i.stage, i.issue) for i in validator.look(sightings, tails)}
        time.sleep(0.05)
    assert tails[name].counts.bars.total() > 0, "it has looked at something"
    return found


def test_a_session_that_is_well_is_silent_and_one_that_is_damaged_is_not(
    session: PaperSession,
) -> None:
    assert watched(session.folder, "paper", lambda _: False, 3) == set()
    said = onefold_process(session.folder, "preflight", "--pipeline")
    assert (said.code, "nothing is wrong" in said.out) == (0, True), said.out
    [segment] = session.journal().glob("*.jsonl")
    raw = bytearray(segment.read_bytes())
    raw[-2000:-1900] = b"x" * 100
    segment.write_bytes(bytes(raw))
    said = onefold_process(session.folder, "preflight", "--pipeline", "--json")
    assert said.code == 1
    assert {(i["stage"], i["issue"]) for i in said.json["issues"]} == {
        ("portfolio", "validation_error")
    }


def test_live_bars_that_stay_away_and_a_venue_that_does_not_answer(tmp_path: Path) -> None:
    pause = "pipeline: { bars_max: 2, grace_s: 4, answer_s: 4 }\n"
    with VenueThread() as venue:
        (tmp_path / "onefold.yaml").write_text(CONFIG.format(url=venue.url) + pause)
        (tmp_path / "flips.py").write_text(FLIPS)
        (tmp_path / "rests.py").write_text(RESTS)
        live = LiveSession(tmp_path)
        try:
            live.start()
            loaded = load_settings(tmp_path / "onefold.yaml")
            assert not checking.pipeline_of(loaded)
            venue.paused.set()
            deadline = time.monotonic() + 60
            while not (issues := checking.pipeline_of(loaded)):
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert {(i.stage, i.issue) for i in issues} == {("market_data", "no_recent_data")}
            assert issues[0].broker.startswith("ccxt binance")
        finally:
            live.close()


class LiveSession:
    """A live session against the rehearsal venue."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: Any = None

    def start(self) -> None:
        """Start, and wait until it trades."""
        import app.test_live_process as processes

        self.process = processes.started(self.folder)
        processes.trading(self.process, self.folder, timeout_s=120)
        deadline = time.monotonic() + 60
        while not processes.beat(self.folder).get("last_bars"):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def close(self) -> None:
        """Leave no process behind."""
        self.process.kill()
        self.process.communicate()


def test_tails_read_what_a_real_engine_writes(tmp_path: Path) -> None:
    home = tmp_path / "paper-1"
    write(home, bar(0), signal(), decision())
    one = sighting(place(folder=tmp_path), fresh(), journal=home)
    back = Tail(back=100)
    back.poll(one)
    assert back.counts.decisions == {("trend", "passed"): 1}
    from_the_end = Tail()
    from_the_end.poll(one)
    assert not from_the_end.counts.decisions
