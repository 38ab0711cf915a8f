"""O2: failures that were survived are counted, told of, and can be read by another process."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from onefold.engine.worries import Worries
from onefold.ops import failures as module
from onefold.ops.failures import KEPT, OTHERS, Failures, FailureTracker, read_failures
from onefold.ops.log_settings import LogSettings
from onefold.ops.logs import set_up, speaking_of
from onefold.ops.redaction import Redactor


def wait_for(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_failures_are_counted_by_component_and_the_last_are_kept() -> None:
    tracker = FailureTracker()
    for number in range(KEPT + 3):
        tracker.record_failure("venue", OSError(f"no {number}"), {"order": number})
    tracker.record_failure("feed", "silent")
    found = tracker.get_all_failures()
    assert {name: one.count for name, one in found.items()} == {"venue": KEPT + 3, "feed": 1}
    last = found["venue"].last
    assert [one.said for one in last] == [f"no {n}" for n in range(3, KEPT + 3)]
    assert (last[-1].kind, last[-1].context) == ("OSError", {"order": KEPT + 2})
    assert found["feed"].last[0].kind == ""
    assert abs(last[-1].ts - time.time_ns()) < 60e9


def test_every_tenth_failure_of_a_component_is_told() -> None:
    told: list[Failures] = []
    tracker = FailureTracker(alert=told.append)
    for number in range(25):
        tracker.record_failure("venue", "no answer")
        if number < 9:
            tracker.record_failure("feed", "lost")
    assert [(one.component, one.count) for one in told] == [("venue", 10), ("venue", 20)]


def test_nothing_is_raised_whatever_is_recorded(tmp_path: Path) -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def alert(_: Failures) -> None:
        raise RuntimeError("who listens is broken")

    tracker = FailureTracker(tmp_path / "not" / "there", alert=alert)
    tracker.record_failure("odd", OddError())
    for _ in range(10):
        tracker.record_failure("x", "y", {"odd": object(), "nan": float("nan"), 1: {2, 3}})  # type: ignore[dict-item]
    tracker.close()
    assert tracker.get_all_failures()["x"].count == 10


def test_threads_lose_no_count(tmp_path: Path) -> None:
    told: list[Failures] = []
    tracker = FailureTracker(tmp_path, alert=told.append)

    def work() -> None:
        for _ in range(500):
            tracker.record_failure("busy", ValueError("x"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tracker.close()
    assert tracker.get_all_failures()["busy"].count == 4_000
    assert sorted(one.count for one in told) == list(range(10, 4_001, 10))
    assert read_failures(tmp_path)["busy"].count == 4_000


def test_another_process_reads_them_while_they_are_written(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from onefold.ops.failures import FailureTracker\n"
        "t = FailureTracker(Path(sys.argv[1]), process='run')\n"
        "for n in range(100_000):\n"
        "    t.record_failure('venue', OSError('no answer'), {'n': n}); time.sleep(0.001)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    try:
        counts: list[int] = []

        def grown() -> bool:
            found = read_failures(tmp_path)
            counts.append(found["venue"].count if found else 0)
            return len(set(counts)) > 2

        wait_for(grown)
    finally:
        process.kill()
        process.wait()
    assert counts == sorted(counts), "never half a file"
    goes_on = FailureTracker(tmp_path, process="run")
    goes_on.record_failure("venue", "once more")
    goes_on.close()
    assert read_failures(tmp_path)["venue"].count == counts[-1] + 1


def test_it_is_written_at_most_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[float] = []
    write = FailureTracker._write

    def counted(self: FailureTracker) -> None:
        written.append(time.monotonic())
        write(self)

    monkeypatch.setattr(FailureTracker, "_write", counted)
    monkeypatch.setattr(module, "WRITE_S", 0.2)
    tracker = FailureTracker(tmp_path)
    begun = time.monotonic()
    while time.monotonic() - begun < 1.0:
        tracker.record_failure("x", "y")
    assert len(written) <= 7
    tracker.close()
    assert read_failures(tmp_path)["x"].count == tracker.get_all_failures()["x"].count


def test_the_files_of_several_processes_are_read_as_one(tmp_path: Path) -> None:
    for process, said in (("run", "first"), ("serve", "second")):
        tracker = FailureTracker(tmp_path, process=process)
        tracker.record_failure("database", said)
        tracker.close()
    (tmp_path / "failures-broken.json").write_text('[{"component": 1')
    found = read_failures(tmp_path)["database"]
    assert (found.count, [one.said for one in found.last]) == (2, ["first", "second"])
    assert read_failures(tmp_path / "nowhere") == {}


def test_components_are_bounded_and_secrets_are_not_kept(tmp_path: Path) -> None:
    tracker = FailureTracker(tmp_path, redactor=Redactor(["the-canary"]))
    for number in range(module.COMPONENTS_MAX + 50):
        tracker.record_failure(f"c{number}", "said the-canary\n", {"a": "the-canary", "token": "x"})
    tracker.close()
    found = read_failures(tmp_path)
    assert len(found) == module.COMPONENTS_MAX + 1
    assert found[OTHERS].count == 50
    raw = (tmp_path / "failures-run.json").read_text()
    assert "the-canary" not in raw
    assert found["c0"].last[0].context == {"a": "[redacted]", "token": "[redacted]"}


# -- fed by what is logged ------------------------------------------------------------------------


def test_a_logged_failure_is_counted_and_the_tenth_is_told(tmp_path: Path) -> None:
    told: list[Failures] = []
    logs = set_up(LogSettings(), tmp_path, say=lambda _: None, alert=told.append)
    log = logging.getLogger("onefold.trading.desk")
    with speaking_of(account="main"):
        for number in range(10):
            try:
                [].pop()
            except IndexError:
                log.warning("call %d", number, exc_info=True, extra={"order": number})
    log.warning("no error, no component")
    log.info("an error below a warning", exc_info=IndexError("x"))
    log.warning("a component", extra={"component": "feed"})
    logging.getLogger("somebody").error("theirs", exc_info=OSError("x"))
    logs.close()
    found = read_failures(tmp_path / "logs")
    counts = {name: one.count for name, one in found.items()}
    assert counts == {"trading.desk": 10, "feed": 1, "somebody": 1}
    last = found["trading.desk"].last[-1]
    assert (last.kind, last.said) == ("IndexError", "pop from empty list")
    assert (last.context["account"], last.context["order"]) == ("main", 9)
    assert last.context["event"] == "call 9"
    assert [(one.component, one.count) for one in told] == [("trading.desk", 10)]
    monitoring = (tmp_path / "logs" / "monitoring.log").read_text()
    assert "10 failures of trading.desk, the last: pop from empty list" in monitoring


def test_a_worry_is_told_when_it_begins_changes_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "onefold.trading.x")
    worries = Worries("onefold.trading.x", "venue")
    for seconds in range(30):
        worries.about("call", f"next try in {seconds} s", OSError("down"), order=1)
    worries.about("call", "next try in 1 s", ValueError("other"))
    worries.over("call")
    worries.over("call")
    worries.about("call", "next try in 1 s", ValueError("other"))
    said = [(record.levelname, bool(record.exc_info)) for record in caplog.records]
    assert said == [("WARNING", True), ("WARNING", True), ("INFO", False), ("WARNING", True)]
    assert vars(caplog.records[0])["component"] == "venue"
