"""`onefold metrics` on the journal of the demonstration, and on what cannot be measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from onefold.journal import head
from onefold.views.performance import PerformanceMetrics

from .world import Said, onefold, write_config


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the demonstration once, and return its folder."""
    folder = tmp_path_factory.mktemp("demo")
    from onefold.app.main import run

    assert run(["demo", "--folder", str(folder), "--json"]) == 0
    [made] = folder.iterdir()
    return made


def measured(capsys: pytest.CaptureFixture[str], *arguments: object) -> Said:
    return onefold(capsys, "metrics", *arguments)


def test_the_demonstration_is_measured_as_its_backtest_was(
    capsys: pytest.CaptureFixture[str], demo: Path, tmp_path: Path
) -> None:
    said = measured(capsys, "--journal", demo / "journal", "--write", tmp_path, "--json")
    assert said.code == 0, said.err
    written = (tmp_path / "performance_metrics.json").read_bytes()
    assert json.loads(written) == said.json
    made = msgspec.json.decode(written, type=PerformanceMetrics)
    run = json.loads((demo / "metrics.json").read_text())
    assert made.all.trades == run["trades"]["trades"] == 990
    for ours, theirs in (
        (made.all.pnl, run["trades"]["pnl"]),
        (made.all.win_rate, run["trades"]["win_rate"]),
        (made.all.profit_factor, run["trades"]["profit_factor"]),
        (made.all.sharpe, run["sharpe"]),
        (made.all.max_drawdown, run["max_drawdown"]),
        (made.all.turnover, run["turnover"]),
    ):
        assert ours == pytest.approx(theirs, rel=1e-9)
    assert made.data_mode == "backtest"
    [source] = made.journals
    assert (source.journal, source.config_hash) == ("journal", made.config_hash)
    assert (source.head_seq, source.head_hash) == tuple(head(demo / "journal"))
    assert len(made.sleeves) == 14
    assert sum(one.trades for one in made.sleeves) == sum(one.trades for one in made.symbols) == 990
    assert sum(bin_.trades for bin_ in made.all.calibration) == 990
    assert len(made.all.calibration) > 5


def test_people_get_a_table_and_the_newest_journal_is_meant(
    capsys: pytest.CaptureFixture[str], demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(demo / "journal", tmp_path / "journal" / "main")
    monkeypatch.chdir(tmp_path)
    whole = measured(capsys)
    assert whole.code == 0
    line = next(row for row in whole.out.splitlines() if row.startswith("ibs_a") and "SPX" in row)
    assert line.split()[2] == "440"
    assert "probable" in whole.out
    assert (tmp_path / "performance_metrics.json").exists()
    some = measured(capsys, "--last-days", 1000, "--write", "recent.json", "--json")
    recent = msgspec.json.decode((tmp_path / "recent.json").read_bytes(), type=PerformanceMetrics)
    assert some.json["since_ts"] == recent.since_ts
    assert 650 < recent.all.days < 720
    assert 0 < recent.all.trades < 990
    assert recent.all.first_exit_ts is not None
    assert recent.since_ts is not None
    assert recent.all.first_exit_ts > recent.since_ts


def test_what_cannot_be_measured_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    assert "there is no journal" in measured(capsys).err
    assert onefold(capsys, "run", "--mode", "simulate", "--journal", "one").code == 0
    twin = tmp_path / "twin"
    shutil.copytree(tmp_path / "one", twin)
    twice = measured(capsys, "--journal", "one", "--journal", twin)
    assert twice.code == 2
    assert "overlap in time" in twice.err
    nowhere = measured(capsys, "--journal", twin, "--write", tmp_path / "no" / "file.json")
    assert nowhere.code == 2
    assert "cannot be written" in nowhere.err
    assert not list(tmp_path.glob("*.json"))


def test_journals_of_several_modes_are_measured_apart(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    assert onefold(capsys, "run", "--mode", "simulate", "--journal", "a").code == 0
    assert onefold(capsys, "run", "--mode", "paper").code == 0
    [paper] = (tmp_path / "journal").glob("*/paper-*")
    both = measured(capsys, "--journal", "a", "--journal", paper)
    assert both.code == 2
    assert "several modes (paper, simulate)" in both.err
    one = measured(capsys, "--journal", paper, "--json")
    assert one.code == 0, one.err
    assert one.json["data_mode"] == "paper"
