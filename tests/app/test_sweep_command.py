"""N7, M8: a sweep over processes and on a Ray cluster, killed and gone on with."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from onefold.learn.sweep import Judged

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


def test_a_sweep_over_other_data_or_of_another_build_is_another_sweep(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has as many rows, and nothing of the first is taken over."""
    first = onefold(capsys, "sweep", "--name", "grid", "--jobs", "1", "--json").json
    again = onefold(capsys, "sweep", "--name", "grid", "--jobs", "1", "--json").json
    assert again == first
    write_config(folder, CONFIG.replace("seed: 7", "seed: 7, volatility: 0.5"))
    other = onefold(capsys, "sweep", "--name", "grid", "--jobs", "1", "--json").json
    assert other["folder"] != first["folder"]
    assert other["winner"]["measures"] != first["winner"]["measures"]
    write_config(folder, CONFIG)
    monkeypatch.setattr("onefold.app.commands.sweep.build", lambda: "another")
    built = onefold(capsys, "sweep", "--name", "grid", "--jobs", "1", "--json").json
    assert built["folder"] != first["folder"]
    assert built["winner"] == first["winner"]


def test_trials_that_were_edited_by_hand_are_not_believed(folder: Path, capsys: Capture) -> None:
    done = onefold(capsys, "sweep", "--name", "grid", "--jobs", "1", "--json").json
    log = Path(done["folder"]) / "trials.jsonl"
    lines = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
    n = next(i for i, line in enumerate(lines) if line.get("returns"))
    few = base64.b64encode(np.zeros(2, np.float32).tobytes()).decode()
    for change, said in (
        ({"returns": "%%%"}, "is no trial that was written here"),
        ({"returns": "AAA="}, "is no trial that was written here"),
        ({"returns": ""}, "it has no returns"),
        ({"returns": few}, "it has returns of 2 days"),
        ({"measures": {"total_return": 1.0}}, "its measures lack sharpe"),
        ({"number": 99}, "trial 99 is none of the 18 of this search"),
        ({"number": "x"}, "is no trial that was written here"),
    ):
        edited = [*lines[:n], *lines[n + 1 :], {**lines[n], **change}]
        log.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in edited))
        found = onefold(capsys, "sweep", "--name", "grid", "--jobs", "1")
        assert (found.code, said in found.err) == (2, True), found.err
        assert "Traceback" not in found.err


MODELS = """
data:
  BTCUSD: { synthetic: { seed: 7, bars: 3000, interval_s: 3600 } }
strategies:
  dips:
    kind: ml_ibs
    params: { model: one }
    exits: { stop: 0.01, take: 0.01, max_bars: 5 }
    gates: { conf_min: 0.5 }
training:
  one: { strategy: dips, features: ["rsi(5)", "ibs()"], trees: 20 }
  two: { strategy: dips, features: ["rsi(9)", "volatility(10)"], trees: 20 }
sweeps:
  which: { strategy: dips, params: { params.model: [one, two, three] } }
"""


def test_models_can_be_searched(folder: Path, capsys: Capture) -> None:
    """Every model of the store may be asked, and not only the one of the configuration."""
    write_config(folder, MODELS)
    onefold(capsys, "train")
    for name in ("one", "two"):
        onefold(capsys, "models", "activate", name, "1")
    done = onefold(capsys, "sweep", "--jobs", "1", "--json")
    assert done.code == 0, done.err
    found = trials_of(done.json)
    assert found["refused"].to_list()[:2] == ["", ""]
    assert found["sharpe"][0] != found["sharpe"][1]
    assert "there is no model 'three'" in found["refused"][2]
    [model] = done.json["models"]
    assert model["identity"].startswith(done.json["winner"]["params"]["params.model"] + "@1#")
    # Another version of the other model is another sweep.
    write_config(folder, MODELS.replace("rsi(9)", "rsi(8)"))
    onefold(capsys, "train", "--model", "two")
    onefold(capsys, "models", "activate", "two", "2")
    again = onefold(capsys, "sweep", "--jobs", "1", "--json").json
    assert again["folder"] != done.json["folder"]


def test_mistakes_are_explained(folder: Path, capsys: Capture) -> None:
    assert "which of grid, find" in onefold(capsys, "sweep").err
    assert "did you mean 'grid'" in onefold(capsys, "sweep", "--name", "gird").err
    write_config(folder, CONFIG.replace("params.fast: [5", "params.fest: [5"))
    said = onefold(capsys, "sweep", "--name", "grid", "--jobs", "1")
    assert (said.code, "no such parameter; did you mean 'fast'" in said.err) == (2, True)
    write_config(folder, CONFIG.replace("exits.stop:", "exit.stop:"))
    said = onefold(capsys, "sweep", "--name", "grid", "--jobs", "1")
    assert "error: strategies.trend.exit.stop: there is no such setting" in said.err
    for change, expected in (
        (("high: 15", "high: 2"), "params.params.fast: low (3) must be less than high (2)"),
        (("high: 15", "hgih: 15"), "params.params.fast.high: field required"),
        (("[0.01, 0.05]", "0.01"), "params.exits.stop: give a list of values, or a range"),
        (("[0.01, 0.05]", "[]"), "params.exits.stop: the list of values is empty"),
        (
            ("[0.01, 0.05]", "{ low: 0.01, high: 0.1 }"),
            "params.exits.stop: a grid needs a step for every range",
        ),
    ):
        write_config(folder, CONFIG.replace(*change))
        said = onefold(capsys, "sweep", "--name", "grid")
        assert (said.code, expected in said.err) == (2, True), said.err
    write_config(folder, CONFIG.partition("sweeps:")[0])
    assert "sweeps: there is none" in onefold(capsys, "sweep").err


def test_a_search_in_which_nothing_trades_says_so(folder: Path, capsys: Capture) -> None:
    """Nothing is no ratio of zero, which would be the best of a search where all others lose."""
    never = (
        "kind: crossover, gates: { risk_budget: 0.000001 }, sizing: { kind: fraction, fraction: 1 }"
    )
    write_config(folder, CONFIG.replace("kind: crossover", never))
    said = onefold(capsys, "sweep", "--name", "grid", "--jobs", "1")
    assert (said.code, "none of 12 trials traded" in said.err) == (2, True)


def test_the_map_says_what_the_winner_is_worth(folder: Path, capsys: Capture) -> None:
    """Each on axes of numbers: cells of a grid, the points of a search, the winner marked."""
    for name, kind in (("grid", '"type":"heatmap"'), ("find", '"mode":"markers"')):
        done = onefold(capsys, "sweep", "--name", name, "--jobs", "1", "--json").json
        page = (Path(done["folder"]) / "heatmap.html").read_text()
        assert "<h1>Sweep of trend: BTCUSD, 2024-01-01 to 2024-05-05</h1>" in page
        assert (done["skill"], done["verdict"].startswith("take it for luck: ")) == (False, True)
        assert done["verdict"] in page
        assert done["verdict"] in (Path(done["folder"]) / "sweep.md").read_text()
        plots = page.rpartition("</script>")[0].partition("<body>")[2]
        assert kind in plots
        assert '"name":"winner"' in plots
        assert '"type":"category"' not in plots


def judged_as(luck: float, overfit: float | None) -> Judged:
    return Judged(winner=3, luck=luck, overfit=overfit, trials=207, refused=0)


def test_a_verdict_is_in_words() -> None:
    assert judged_as(0.98, 0.1).has_skill
    assert "more than luck" in judged_as(0.98, 0.1).verdict
    for luck, overfit, said in (
        (0.866, 0.1, "above the best of 207 trials without skill with 86.6 % only"),
        (0.99, 0.78, "in 78 % of splits"),
        (0.99, None, "too few days"),
    ):
        one = judged_as(luck, overfit)
        assert (one.has_skill, said in one.verdict) == (False, True)
