"""N7, M8: a sweep over processes and on a Ray cluster, killed and gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from .paper_session import COMMAND
from .world import onefold, write_config

Capture = pytest.CaptureFixture[str]

CONFIG = """
data:
  BTCUSD: { synthetic: { seed: 7, bars: 3000, interval_s: 3600 } }
strategies:
  trend: { kind: crossover, params: { fast: 5, slow: 30 } }
  other: { kind: ibs_a }
sweeps:
  grid:
    strategy: trend
    params: { params.fast: [5, 10, 20], params.slow: [10, 20, 40], exits.stop: [0.01, 0.05] }
  find:
    strategy: trend
    method: tpe
    trials: 24
    params: { params.fast: { low: 3, high: 15 }, params.slow: { low: 16, high: 60 } }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with two sweeps."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, CONFIG)
    return tmp_path


def trials_of(document: dict[str, Any]) -> pl.DataFrame:
    return pl.read_parquet(Path(document["folder"]) / "trials.parquet")


def test_a_sweep_finds_the_same_with_one_process_and_with_two(
    folder: Path, capsys: Capture
) -> None:
    one = onefold(capsys, "sweep", "--name", "grid", "--jobs", "1", "--json").json
    whole = trials_of(one)
    assert (one["trials"], one["refused"], whole.height) == (12, 6, 18)
    refused = whole.filter(pl.col("refused") != "")
    assert refused["refused"].str.contains("must be shorter than slow").all()
    best = whole.sort("sharpe", descending=True, nulls_last=True).row(0, named=True)
    assert one["winner"]["trial"] == best["trial"]
    # The winner's numbers are those of the backtest that anybody can make of it.
    params = {
        "params": {
            k.removeprefix("params."): v
            for k, v in one["winner"]["params"].items()
            if k.startswith("params.")
        }
    }
    stop = one["winner"]["params"]["exits.stop"]
    alone = CONFIG.partition("  other:")[0].replace(
        "{ kind: crossover, params: { fast: 5, slow: 30 } }",
        f"{{ kind: crossover, params: {params['params']}, exits: {{ stop: {stop} }} }}".replace(
            "'", ""
        ),
    )
    write_config(folder, alone)
    batch = onefold(capsys, "backtest", "--json").json
    assert batch["total_return"] == pytest.approx(one["winner"]["measures"]["total_return"])
    assert batch["sharpe"] == pytest.approx(one["winner"]["measures"]["sharpe"], rel=1e-6)
    write_config(folder, CONFIG)
    Path(one["folder"]).rename(folder / "before")
    two = onefold(capsys, "sweep", "--name", "grid", "--jobs", "2", "--json").json
    assert {**two, "folder": ""} == {**one, "folder": ""}
    assert trials_of(two).equals(whole)
    assert (Path(two["folder"]) / "heatmap.html").stat().st_size > 1_000_000
    assert "deflated Sharpe ratio" in (Path(two["folder"]) / "sweep.md").read_text()


def test_a_sweep_that_was_killed_goes_on_where_it_was(folder: Path, capsys: Capture) -> None:
    whole = onefold(capsys, "sweep", "--name", "find", "--jobs", "1", "--json").json
    expected = trials_of(whole)
    place = Path(whole["folder"])
    place.rename(folder / "before")
    process = subprocess.Popen(
        [*COMMAND, "sweep", "--name", "find", "--jobs", "2"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    log, waited = place / "trials.jsonl", time.monotonic()
    while not (log.exists() and log.read_bytes().count(b"\n") >= 3):
        assert time.monotonic() - waited < 120
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = log.read_bytes().count(b"\n")
    with log.open("ab") as file:  # as if it had died in the middle of a line
        file.write(b'{"number":7,"par')
    again = onefold(capsys, "sweep", "--name", "find", "--jobs", "1", "--json").json
    assert trials_of(again).equals(expected)
    assert again["winner"] == whole["winner"]
    numbers = [msgspec.json.decode(line)["number"] for line in log.read_bytes().splitlines()]
    assert sorted(numbers) == list(range(24))
    assert done >= 3


def test_a_ray_cluster_finds_the_same(folder: Path, capsys: Capture) -> None:
    local = onefold(capsys, "sweep", "--name", "find", "--jobs", "1", "--json").json
    expected = trials_of(local)
    Path(local["folder"]).rename(folder / "before")
    done = subprocess.run(
        [*COMMAND, "sweep", "--name", "find", "--on", "ray", "--jobs", "1", "--json"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
    )
    found = msgspec.json.decode(done.stdout)
    assert trials_of(found).equals(expected)
    assert found["winner"] == local["winner"]


def test_mistakes_are_explained(folder: Path, capsys: Capture) -> None:
    assert "which of grid, find" in onefold(capsys, "sweep").err
    assert "did you mean 'grid'" in onefold(capsys, "sweep", "--name", "gird").err
    write_config(folder, CONFIG.replace("params.fast: [5", "params.fest: [5"))
    said = onefold(capsys, "sweep", "--name", "grid", "--jobs", "1")
    assert (said.code, "no such parameter; did you mean 'fast'" in said.err) == (2, True)
    write_config(folder, CONFIG.replace("exits.stop:", "exit.stop:"))
    said = onefold(capsys, "sweep", "--name", "grid", "--jobs", "1")
    assert "strategies.trend.exit.stop: there is no such setting" in said.err
    write_config(folder, CONFIG.partition("sweeps:")[0])
    assert "sweeps: there is none" in onefold(capsys, "sweep").err
