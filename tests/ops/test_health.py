"""O3: every check of health, by facts and by sessions that run, hang, end and are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from app.paper_session import PaperSession
from app.world import onefold_process, write_config
from onefold.app import checking
from onefold.app.settings import load_settings
from onefold.journal import head
from onefold.ops import health
from onefold.ops.facts import last_seq
from onefold.ops.failures import FailureTracker
from onefold.ops.health import CHECKS, Asked, Disk, Failed, HealthSettings, Projected, judge
from ops.made import GB, NOW_NS, beat, facts, place, sighting

S_NS = 10**9


def status_of(found: health.Facts, name: str, **rules: Any) -> str:
    report = judge(found, HealthSettings(**rules))
    return next(one.status for one in report.checks if one.name == name)


def detail_of(found: health.Facts, name: str) -> str:
    return next(one.detail for one in judge(found, HealthSettings()).checks if one.name == name)


# -- verdicts by facts ----------------------------------------------------------------------------


def test_an_account_that_is_well_is_healthy_in_every_check() -> None:
    report = judge(facts(), HealthSettings())
    assert report.status == "healthy"
    assert [one.name for one in report.checks] == list(CHECKS)
    assert {one.status for one in report.checks} == {"healthy"}
    assert all(one.detail for one in report.checks)


def shadow(**more: Any) -> health.Facts:
    return facts(sighting(place(is_shadow=True), **more))


MODEL = ("main", "m@1")


@pytest.mark.parametrize(
    ("check", "found", "status"),
    [
        ("sessions", facts(sighting(standing="stopped")), "degraded"),
        ("sessions", facts(sighting(standing="failed", said=beat(failure="EIO"))), "unhealthy"),
        ("sessions", facts(sighting(standing="not running")), "unhealthy"),
        ("sessions", facts(sighting(standing="never ran", said={}, age_s=None)), "unhealthy"),
        ("sessions", facts(sighting(standing="stuck", age_s=100)), "unhealthy"),
        ("sessions", facts(sighting(place(is_enabled=False), standing="never ran")), "healthy"),
        ("heartbeat", facts(sighting(age_s=50)), "degraded"),
        ("heartbeat", facts(sighting(age_s=91)), "unhealthy"),
        ("heartbeat", facts(sighting(age_s=34)), "healthy"),
        ("heartbeat", facts(sighting(unreadable="no JSON")), "unhealthy"),
        ("strategies", facts(sighting(said=beat(disabled={"dips": "no model"}))), "degraded"),
        (
            "strategies",
            facts(sighting(said=beat(disabled={"dips": "no model", "trend": "expired"}))),
            "unhealthy",
        ),
        ("governance", facts(governance={"main": "line 3: the hash differs"}), "unhealthy"),
        ("governance", facts(sighting(said=beat(doubt="an older file"))), "unhealthy"),
        ("journal", facts(disks={place().folder: Disk(GB, GB, "no space left")}), "unhealthy"),
        ("journal", facts(sighting(journal=None)), "unhealthy"),
        ("inference", facts(models={MODEL: Asked(100, 5)}), "healthy"),
        ("inference", facts(models={MODEL: Asked(94, 6)}), "degraded"),
        ("inference", facts(models={MODEL: Asked(0, 3)}), "unhealthy"),
        ("inference", facts(models={MODEL: Asked(0, 0)}), "healthy"),
        ("shadow", shadow(written_s=3_601.0), "degraded"),
        ("shadow", shadow(written_s=3_599.0), "healthy"),
        ("shadow", shadow(written_s=None), "degraded"),
        ("shadow", facts(sighting(said=beat(mode="shadow"), written_s=3_601.0)), "degraded"),
        ("shadow", facts(sighting(written_s=1e9)), "healthy"),
        ("performance", facts(metrics_s=8 * 86_400.0), "degraded"),
        ("performance", facts(metrics_s=None, history_s=8 * 86_400.0), "degraded"),
        ("performance", facts(metrics_s=None, history_s=3_600.0), "healthy"),
        ("performance", facts(metrics_s=None, history_s=None), "healthy"),
        ("failures", facts(failures=[Failed("feed", 4, 10.0, "timeout")]), "degraded"),
        ("failures", facts(failures=[Failed("feed", 4, 3_700.0, "timeout")]), "healthy"),
        ("disk", facts(disks={Path(): Disk(199_000_000, 10 * GB, "")}), "unhealthy"),
        ("disk", facts(disks={Path(): Disk(4 * GB, 100 * GB, "")}), "degraded"),
        ("clock", facts(jump_s=-60.0), "degraded"),
        ("clock", facts(sighting(age_s=-60.0)), "unhealthy"),
        ("clock", facts(sighting(said=beat(ts=NOW_NS - 100 * S_NS))), "degraded"),
        (
            "clock",
            facts(sighting(said=beat(ts=NOW_NS - 10**18, data_mode="recorded"))),
            "healthy",
        ),
        ("feed", facts(sighting(said=beat(feeds={"BTCUSD": "silent"}))), "unhealthy"),
        (
            "feed",
            facts(sighting(said=beat(feeds={"ETHUSD": "x"}, last_bars={"BTCUSD": 1, "ETHUSD": 1}))),
            "degraded",
        ),
        ("venue", facts(sighting(said=beat(reconciled=False, trouble="0.1 more"))), "unhealthy"),
        ("venue", facts(sighting(said=beat(trouble="slow"))), "degraded"),
        ("venue", facts(sighting(said=beat(mode="paper", reconciled=False))), "healthy"),
        ("kill_switches", facts(sighting(switches={"KILL@trend": "by hand"})), "degraded"),
        ("kill_switches", facts(sighting(said=beat(killed=True))), "degraded"),
        ("kill_switches", facts(sighting(said=beat(reduce_only=True))), "degraded"),
        ("projector", facts(behind={"main": 20_001}), "degraded"),
        ("projector", facts(behind={"main": 20_000}), "healthy"),
        ("projector", facts(behind={"main": "it was written by another version"}), "degraded"),
        ("projector", facts(behind=None), "healthy"),
    ],
)
def test_what_is_not_well_is_found_by_its_check_alone(
    check: str, found: health.Facts, status: str
) -> None:
    assert status_of(found, check) == status


def test_the_worst_check_is_the_verdict_and_one_that_is_left_out_does_not_count() -> None:
    full = facts(sighting(switches={"KILL": "x"}), disks={Path(): Disk(1, GB, "")})
    assert judge(full, HealthSettings()).status == "unhealthy"
    assert judge(full, HealthSettings(skip=("disk",))).status == "degraded"
    assert judge(full, HealthSettings(skip=("disk", "kill_switches"))).status == "healthy"


def test_a_check_that_is_not_there_cannot_be_left_out() -> None:
    with pytest.raises(ValidationError, match="did you mean 'disk'"):
        HealthSettings(skip=("disks",))


def test_a_closed_market_asks_for_neither_bars_nor_shadows() -> None:
    saturday_ns = 1_900_000_000 * S_NS  # 17 March 2030, a Sunday
    shares = place(is_shadow=True, calendars={"SPY": "XNYS"}, intervals_ns={"SPY": 60 * S_NS})
    said = beat(feeds={"SPY": "silent"}, last_bars={"SPY": 1})
    found = facts(sighting(shares, said, written_s=90_000.0), now_ns=saturday_ns)
    assert status_of(found, "feed") == "healthy"
    assert status_of(found, "shadow") == "healthy"
    tuesday_ns = saturday_ns + 2 * 86_400 * S_NS - 2 * 3_600 * S_NS  # 15:46 in New York
    assert status_of(found._replace(now_ns=tuesday_ns), "feed") == "unhealthy"
    assert status_of(found._replace(now_ns=tuesday_ns), "shadow") == "degraded"


def test_details_name_what_is_wrong() -> None:
    found = facts(sighting(said=beat(feeds={"BTCUSD": "connection lost"})))
    assert "BTCUSD: connection lost" in detail_of(found, "feed")
    found = facts(sighting(place(broker="ccxt binance spot live")))
    assert "ccxt binance" in detail_of(found, "venue")


# -- sessions -------------------------------------------------------------------------------------


@pytest.fixture
def session(tmp_path: Path) -> Iterator[PaperSession]:
    one = PaperSession(tmp_path)
    yield one
    one.close()


def checked(folder: Path, *, projected: Any = None) -> dict[str, tuple[str, str]]:
    gatherer = checking.gatherer_of(load_settings(folder / "onefold.yaml"))
    return {one.name: (one.status, one.detail) for one in gatherer.report(projected).checks}


def test_a_session_is_healthy_while_it_runs_and_not_before_and_after(
    session: PaperSession,
) -> None:
    folder = session.folder
    assert checked(folder)["sessions"] == ("unhealthy", "paper: never ran")
    session.start()
    said = onefold_process(folder, "health", "--json")
    assert (said.code, said.json["status"]) == (0, "healthy"), said.out
    assert len(said.json["checks"]) == len(CHECKS)

    control = session.control / "KILL@trend"
    control.write_text("by hand")
    said = onefold_process(folder, "health")
    assert said.code == 1
    assert "KILL@trend: by hand" in said.out
    control.unlink()

    session.signal(signal.SIGKILL)
    said = onefold_process(folder, "health", "--json")
    assert (said.code, said.json["status"]) == (2, "unhealthy")
    assert checked(folder)["sessions"] == ("unhealthy", "paper: not running")

    session.start()
    assert session.signal(signal.SIGTERM) == 0
    assert checked(folder)["sessions"] == ("degraded", "paper was stopped in good order")


def test_a_session_that_hangs_is_seen_without_asking_it(session: PaperSession) -> None:
    pid = session.start()
    os.kill(pid, signal.SIGSTOP)
    try:
        path = session.account / "heartbeat.json"
        long_ago = path.stat().st_mtime - 100
        os.utime(path, (long_ago, long_ago))
        found = checked(session.folder)
        assert found["sessions"] == ("unhealthy", "paper is stuck")
        assert found["heartbeat"][0] == "unhealthy"
    finally:
        os.kill(pid, signal.SIGCONT)


def test_broken_files_are_found(session: PaperSession) -> None:
    session.start()
    governance = session.folder / "governance"
    governance.mkdir()
    (governance / "paper.jsonl").write_text('{"number": 1}\n')
    session.signal(signal.SIGTERM)
    (session.account / "heartbeat.json").write_bytes(b"\x00" * 20)
    found = checked(session.folder)
    assert found["governance"][0] == "unhealthy"
    assert "paper.jsonl" in found["governance"][1]
    assert found["heartbeat"][0] == "unhealthy"
    assert "no heartbeat" in found["heartbeat"][1]


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
from onefold.app.main import main
main(["health", "--json"])
"""


def test_a_folder_that_takes_no_bytes_is_unhealthy(tmp_path: Path) -> None:
    write_config(tmp_path)
    (tmp_path / "journal" / "paper").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", FULL], cwd=tmp_path, capture_output=True, check=False
    )
    checks = {one["name"]: one for one in msgspec.json.decode(done.stdout)["checks"]}
    assert done.returncode == 2
    assert checks["journal"]["status"] == "unhealthy"
    assert "cannot be written" in checks["journal"]["detail"]
    assert not list((tmp_path / "journal" / "paper").iterdir()), "the probe is gone"


def test_failures_that_were_survived_are_told(tmp_path: Path) -> None:
    write_config(tmp_path)
    (tmp_path / "logs").mkdir()
    tracker = FailureTracker(tmp_path / "logs")
    for _ in range(3):
        tracker.record_failure("notifications", OSError("no route"))
    tracker.close()
    status, detail = checked(tmp_path)["failures"]
    assert status == "degraded"
    assert "notifications: 3 in all" in detail
    assert "no route" in detail


def test_the_database_is_behind_until_it_is_projected(session: PaperSession) -> None:
    session.start()
    session.bars_pass()
    session.signal(signal.SIGTERM)
    journal, loaded = session.journal(), load_settings(session.folder / "onefold.yaml")
    end = head(journal).seq
    assert last_seq(journal) == end > 0
    assert checked(session.folder)["projector"] == ("healthy", "there is no database")

    start = [Projected("paper", journal.name, 7, "")]
    assert checked(session.folder, projected=start)["projector"][1] == (
        f"at most {end - 7:,} records behind"
    )
    stopped = [Projected("paper", journal.name, 7, "another version")]
    assert checked(session.folder, projected=stopped)["projector"][0] == "degraded"

    said = onefold_process(session.folder, "db", "rebuild")
    assert said.code == 0, said.err
    known = checking.projected(loaded)
    assert isinstance(known, list)
    assert [(one.account, one.seq) for one in known] == [("paper", end)]
    assert checked(session.folder, projected=known)["projector"][1] == "at most 0 records behind"


def test_a_database_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    write_config(tmp_path)
    (tmp_path / "onefold.db").write_bytes(b"this is no database, but it is a file" * 100)
    loaded = load_settings(tmp_path / "onefold.yaml")
    known = checking.projected(loaded)
    assert isinstance(known, str)
    assert checked(tmp_path, projected=known)["projector"][0] == "degraded"


def test_a_jump_of_the_clock_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path)
    gatherer = checking.gatherer_of(load_settings(tmp_path / "onefold.yaml"))
    assert abs(gatherer.facts().jump_s) < 1
    real = health.time.time
    monkeypatch.setattr(health.time, "time", lambda: real() + 30)
    assert 29 < gatherer.facts().jump_s < 31
    assert 29 < gatherer.facts().jump_s < 31, "it has jumped once, and is still told"


def test_models_are_judged_by_what_came_since_the_look_before(tmp_path: Path) -> None:
    write_config(tmp_path, "strategies: {}\nhealth: { cache_s: 0 }\n")
    gatherer = checking.gatherer_of(load_settings(tmp_path / "onefold.yaml"))
    folder = tmp_path / "journal" / "paper"
    folder.mkdir(parents=True)

    def asked(scores: int, late: int, started: int = 1) -> Asked:
        models = {"m@1": {"scores": scores, "late": late, "failed": 0}}
        said = beat(models=models, pid=os.getpid(), started_ts=started)
        (folder / "heartbeat.json").write_bytes(msgspec.json.encode(said))
        return gatherer.facts().models["paper", "m@1"]

    assert asked(1_000, 10) == Asked(1_000, 10), "at first since the session began"
    assert asked(1_000, 20) == Asked(0, 10), "it has stopped to answer"
    assert asked(1_000, 20) == Asked(0, 10), "nobody asked: the last word counts"
    assert asked(1_050, 20) == Asked(50, 0)
    assert asked(5, 0, started=2) == Asked(5, 0), "another session counts anew"
