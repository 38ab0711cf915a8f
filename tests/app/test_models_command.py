"""M2, M4, M7: models on the command line, and a configuration whose model is not there."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import some_models
from onefold.adapters.models import ModelStore

from .world import onefold, write_config

Capture = pytest.CaptureFixture[str]

CONFIG = """
data:
  BTCUSD: { synthetic: { seed: 7, bars: 600 } }
strategies:
  dips: { kind: ml_ibs, params: { model: models/dips }, gates: { conf_min: 0.3 } }
  plain: { kind: crossover, params: { fast: 3, slow: 8 } }
"""


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an artifact with its sidecar, in the folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    artifact = some_models.artifact_of("onnx")
    (tmp_path / "dips.onnx").write_bytes(artifact)
    sidecar = some_models.sidecar_of(artifact, trained_to=10**18, expires_on="2999-01-01")
    (tmp_path / "dips.json").write_bytes(msgspec.json.encode(sidecar))
    return tmp_path / "dips.onnx"


def test_a_models_life_on_the_command_line(trained: Path, capsys: Capture) -> None:
    assert onefold(capsys, "models", "list").out == "there is no model in models\n"
    added = onefold(capsys, "models", "add", trained.name, "--json")
    assert (added.json["state"], added.json["trained_to"]) == ("challenger", "2001-09-09")
    assert "models activate dips 1" in added.err
    assert onefold(capsys, "models", "show", "dips").code == 4
    assert onefold(capsys, "models", "activate", "dips", "1", "--reason", "a try").code == 0
    shown = onefold(capsys, "models", "show", "dips", "--json").json
    assert shown["state"] == "active"
    assert [(c["change"], c["reason"]) for c in shown["changes"]] == [("activate", "a try")]
    onefold(capsys, "models", "add", trained.name)
    onefold(capsys, "models", "activate", "dips", "2")
    assert onefold(capsys, "models", "rollback", "dips", "--json").json["version"] == 1
    assert onefold(capsys, "models", "verify").code == 0
    assert "dips@2" in onefold(capsys, "models", "verify", "--json").json["verified"]
    expired = onefold(capsys, "models", "expire", "dips", "1", "--on", "2020-01-01", "--json")
    assert expired.json["state"] == "expired"
    assert "has expired: backtests use it" in onefold(capsys, "models", "activate", "dips", "1").err
    wrong = onefold(capsys, "models", "verify", "dips")
    assert wrong.code == 4
    assert "dips@1: model dips@1#" in wrong.out
    assert "has expired on 2020-01-01" in wrong.out
    assert "no date" in onefold(capsys, "models", "expire", "dips", "2", "--on", "soon").err
    assert "did you mean 'dips'" in onefold(capsys, "models", "show", "dip").err


def test_an_artifact_needs_its_sidecar(trained: Path, capsys: Capture) -> None:
    trained.with_suffix(".json").unlink()
    said = onefold(capsys, "models", "add", trained.name)
    assert (said.code, "dips.json: a model needs its sidecar there" in said.err) == (2, True)


def test_backtest_session_and_replay_with_a_model_are_identical(
    trained: Path, capsys: Capture
) -> None:
    folder = trained.parent
    write_config(folder, CONFIG)
    onefold(capsys, "models", "add", trained.name)
    onefold(capsys, "models", "activate", "dips", "1")
    batch = onefold(capsys, "backtest", "--json")
    session = onefold(capsys, "run", "--json", "--mode", "simulate")
    assert session.json["fingerprint"] == batch.json["fingerprint"]
    assert batch.json["trades"] > 10
    journal = session.json["journal"]
    assert "score" in {msgspec.json.decode(line).get("kind") for line in lines(Path(journal))}
    asked = onefold(capsys, "replay", journal, "--models", "models", "--json")
    assert asked.json["fingerprint"] == batch.json["fingerprint"]
    (folder / "models").rename(folder / "gone")
    assert onefold(capsys, "replay", journal, "--json").json["mismatches"] == 0
    again = onefold(capsys, "replay", journal, "--models", "models")
    assert (again.code, "there is no model 'dips'" in again.err) == (4, True)


def lines(journal: Path) -> list[bytes]:
    return [line for path in journal.glob("*.jsonl") for line in path.read_bytes().splitlines()]


def test_a_strategy_without_its_model_does_not_trade_and_the_others_do(
    trained: Path, capsys: Capture
) -> None:
    """M4: one warning with the reason, and never half a strategy."""
    write_config(trained.parent, CONFIG)
    said = onefold(capsys, "backtest", "--json")
    warnings = [line for line in said.err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "strategy dips does not trade: there is no model 'dips' in" in warnings[0]
    assert said.json["trades"] > 0
    only = CONFIG.partition("  plain")[0]
    write_config(trained.parent, only)
    none = onefold(capsys, "backtest")
    assert (none.code, "strategies: none is left to run (dips: there is no model" in none.err) == (
        2,
        True,
    )


def test_results_in_a_models_sample_are_said_to_be_that(trained: Path, capsys: Capture) -> None:
    folder = trained.parent
    write_config(folder, CONFIG)
    artifact = trained.read_bytes()
    store = ModelStore(folder / "models")
    store.activate(
        "dips", store.add(some_models.sidecar_of(artifact, trained_to=4 * 10**18), artifact).version
    )
    assert "are in its sample" in onefold(capsys, "backtest").err


def test_a_model_is_not_used_on_bars_of_another_length(trained: Path, capsys: Capture) -> None:
    """Its features would mean something else, and nothing else would show it."""
    folder, artifact = trained.parent, trained.read_bytes()
    write_config(folder, CONFIG)
    store = ModelStore(folder / "models")
    hourly = some_models.sidecar_of(artifact, interval_ns=3_600 * 10**9)
    store.activate("dips", store.add(hourly, artifact).version)
    said = onefold(capsys, "backtest")
    assert said.code == 2
    assert "was trained on bars of 3600 s, and those of BTCUSD have 60" in said.err
    minutes = some_models.sidecar_of(artifact, interval_ns=60 * 10**9)
    store.activate("dips", store.add(minutes, artifact).version)
    assert onefold(capsys, "backtest").code == 0


def test_samples_of_every_runtime_can_be_traded_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """M5, M10: trees, layers, boosted trees, a linear model and a blend of two, side by side."""
    monkeypatch.chdir(tmp_path)
    made = onefold(capsys, "models", "sample", "--json").json["samples"]
    assert len(made) == 6
    assert onefold(capsys, "models", "verify").code == 0
    names = [name.partition("@")[0] for name in made]
    lines = [f"  {n}: {{ kind: ml_direction, params: {{ model: {n} }} }}" for n in names]
    data = "data:\n  BTCUSD: { synthetic: { seed: 7, bars: 300 } }\nstrategies:\n"
    write_config(tmp_path, data + "\n".join(lines) + "\n")
    batch = onefold(capsys, "backtest", "--json")
    assert "does not trade" not in batch.err
    session = onefold(capsys, "run", "--json").json
    assert session["fingerprint"] == batch.json["fingerprint"]
    replayed = onefold(capsys, "replay", session["journal"], "--models", "models", "--json").json
    assert replayed["fingerprint"] == batch.json["fingerprint"]
