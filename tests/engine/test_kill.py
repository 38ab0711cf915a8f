"""A session that is killed at random moments ends as if nothing had happened (J5, F2, P2)."""

from __future__ import annotations

import datetime as dt
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onefold.adapters.synthetic import generate
from onefold.domain.columns import Bars
from onefold.domain.convert import to_records
from onefold.domain.errors import DataError
from onefold.engine.replay import replay
from onefold.engine.simulate import simulate
from onefold.journal import verify
from onefold.sim.backtest import run

from . import victim

KILLS = int(os.environ.get("ONEFOLD_TEST_KILLS", "6"))


def _start(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, victim.__file__, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    return process


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.jsonl"))


def _kill_at(process: subprocess.Popen[str], folder: Path, size: int, delay_s: float) -> None:
    """Kill a process a moment after its journal has grown to a size, or at once for size 0."""
    while process.poll() is None and _size(folder) < size:
        time.sleep(0.001)
    time.sleep(delay_s)
    process.kill()
    process.communicate()


def test_a_killed_session_ends_in_the_identical_state(tmp_path: Path) -> None:
    bars = generate(victim.config())
    expected = run(victim.plan(), {"MADE": bars}).fingerprint
    folder = tmp_path / "journal"
    moments = random.Random(5)
    acknowledged, worked = 0, 0
    for kill in range(KILLS):
        # Every fifth is killed while it starts and recovers, the others while they run.
        grows_by = 0 if kill % 5 == 4 else moments.randrange(1, 550_000 // KILLS)
        size = _size(folder) + grows_by if grows_by else 0
        _kill_at(_start(folder), folder, size, moments.uniform(0.0, 0.003))
        if not _size(folder):
            continue
        records = verify(folder).records
        assert records >= acknowledged
        worked += records > acknowledged
        acknowledged = records
    assert worked >= KILLS // 2, "the kills must hit it at work"
    process = _start(folder)
    out, _ = process.communicate(timeout=240)
    assert out.strip() == expected
    replayed = replay(folder, victim.plan())
    assert replayed.run.fingerprint == expected
    assert replayed.records == verify(folder).records


def test_a_session_goes_on_from_any_record(tmp_path: Path) -> None:
    """Cut the journal after any commit: what is left is a run that can be finished."""
    bars = generate(victim.config()).slice(0, 300)
    expected = run(victim.plan(), {"MADE": bars}).fingerprint
    for stop in (1, 2, 150, 299, 300):
        folder = tmp_path / str(stop)
        victim_simulate(folder, bars.slice(0, stop))
        assert victim_simulate(folder, bars) == expected


def test_a_changed_feed_is_refused(tmp_path: Path) -> None:
    bars = generate(victim.config()).slice(0, 50)
    victim_simulate(tmp_path, bars)
    other = bars._replace(close=bars.close + 0.01, high=bars.high + 0.01)
    with pytest.raises(DataError, match="the feed has changed"):
        victim_simulate(tmp_path, other)


def victim_simulate(folder: Path, bars: Bars) -> str:
    session = simulate(
        victim.plan(),
        to_records(bars, "MADE"),
        folder,
        victim.START,
        today=lambda: dt.date(2026, 1, 1),
        durability="relaxed",
    )
    return session.result().fingerprint
