"""M2, M4, M7: models on the command line, and a configuration whose model is not there."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

import some_models
from onefold.adapters.models import ModelStore
from onefold.signals.blend import Blend
from onefold.signals.model import Calibration

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
    assert (expired.json["state"], expired.json["expires_on"]) == ("active, expired", "2020-01-01")
    again = onefold(capsys, "models", "activate", "dips", "1")
    assert again.out.count("\n") == 1
    assert "is active, until 2020-01-01: strategies trade on it" in again.out
    assert "it has expired on 2020-01-01: backtests use it" in again.err
    listed = onefold(capsys, "models", "list").out.splitlines()
    [line] = [x for x in listed if x.startswith("dips") and "active, expired" in x]
    assert line.rstrip().endswith("2020-01-01")
    people = onefold(capsys, "models", "show", "dips").out
    assert "UTC, " in people
    assert "activate 1: a try" in people
    assert "ts: " not in people
    wrong = onefold(capsys, "models", "verify", "dips")
    assert wrong.code == 4
    assert (
        "dips@1: it has expired on 2020-01-01; hashes, features and golden rows agree" in wrong.out
    )
    assert "dips@2: hashes" in wrong.out
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


@pytest.mark.parametrize(
    ("span", "share", "said"),
    [
        ((0, 4 * 10**18), 1.0, "IN SAMPLE: all of these results"),
        ((0, 1_704_067_200 * 10**9 + 300 * 60 * 10**9), 0.5, "IN SAMPLE until 2024-01-01 (50 %"),
        ((0, 10**18), 0.0, "out of sample"),
        ((0, 0), None, "it is not known what is in its sample"),
    ],
)
def test_results_in_a_models_sample_are_said_to_be_that(
    trained: Path, capsys: Capture, span: tuple[int, int], share: float | None, said: str
) -> None:
    """Wherever they are kept: on the console, in the report, the numbers, the configuration."""
    folder = trained.parent
    sweeps = "sweeps:\n  confs: { strategy: dips, params: { gates.conf_min: [0.3, 0.4] } }\n"
    write_config(folder, CONFIG + sweeps)
    artifact = trained.read_bytes()
    store = ModelStore(folder / "models")
    sidecar = some_models.sidecar_of(artifact, trained_from=span[0], trained_to=span[1])
    added = store.add(sidecar, artifact)
    store.activate("dips", added.version)
    done = onefold(capsys, "backtest", "--json")
    assert ("are in its sample" in done.err) == bool(share)
    place = Path(done.json["folder"])
    [one] = msgspec.json.decode((place / "metrics.json").read_bytes())["models"]
    assert (one["identity"], one["strategies"]) == (added.identity, ["dips"])
    assert one["share_in_sample"] == (None if share is None else pytest.approx(share, abs=0.01))
    for file in ("report.html", "config.yaml"):
        assert said in (place / file).read_text()
    is_split = share not in (None, 0.0, 1.0)
    assert ("until here" in (place / "report.html").read_text()) == is_split
    swept = onefold(capsys, "sweep", "--jobs", "1", "--json").json
    assert swept["models"] == [one]
    for file in ("sweep.md", "heatmap.html"):
        assert said in (Path(swept["folder"]) / file).read_text()
    assert "until 2024-01-01 (50 %" in onefold(capsys, "sweep", "--jobs", "1").out or not is_split


def test_a_model_is_not_used_on_bars_of_another_length(trained: Path, capsys: Capture) -> None:
    """Its features would mean something else, and nothing else would show it."""
    folder, artifact = trained.parent, trained.read_bytes()
    write_config(folder, CONFIG)
    store = ModelStore(folder / "models")
    hourly = some_models.sidecar_of(artifact, interval_ns=3_600 * 10**9)
    store.activate("dips", store.add(hourly, artifact).version)
    said = onefold(capsys, "backtest", "--json")
    assert "strategy dips does not trade: model dips@1#" in said.err
    assert "was trained on bars of 3600 s, and those of BTCUSD have 60" in said.err
    assert said.json["trades"] > 0, "the others do"
    member = store.add(hourly, artifact)
    store.activate("dips", added_blend(store, f"dips@{member.version}"))
    assert "was trained on bars of 3600 s" in onefold(capsys, "backtest").err, (
        "a member's count too"
    )
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


def added_blend(store: ModelStore, member: str) -> int:
    """Add an ensemble of one model under the name `dips`."""
    artifact = msgspec.json.encode(Blend(members=[member]))
    golden = some_models.sidecar_of(some_models.artifact_of("onnx")).golden
    sidecar = some_models.sidecar_of(artifact, "ensemble", golden=golden, by_row=True)
    return store.add(sidecar, artifact).version


def test_a_model_runs_only_under_what_it_was_trained_for(trained: Path, capsys: Capture) -> None:
    write_config(trained.parent, CONFIG)
    store, artifact = ModelStore(trained.parent / "models"), trained.read_bytes()
    for label, rule, said in (
        ("trade", "ibs_a", ""),
        ("trade", "momentum", "predicts whether a trade of momentum pays: not what ml_ibs asks"),
        ("direction", "", "predicts whether the price rises: not what ml_ibs asks"),
        ("", "", "does not say what it predicts"),
    ):
        sidecar = some_models.sidecar_of(artifact, label=label, rule=rule)
        store.activate("dips", store.add(sidecar, artifact).version)
        told = onefold(capsys, "backtest").err
        assert said in told
        assert ("does not trade" in told) == ("not what" in said)


def pickled(folder: Path, canary: Path) -> str:
    """Put a pickle into the folder that leaves a file behind; return its hash."""
    bomb = pickle.dumps(Canary(some_models.artifact_of("joblib"), canary))
    (folder / "bomb.joblib").write_bytes(bomb)
    golden = some_models.sidecar_of(some_models.artifact_of("joblib"), "joblib").golden
    sidecar = some_models.sidecar_of(bomb, "joblib", golden=golden)
    (folder / "bomb.json").write_bytes(msgspec.json.encode(sidecar))
    return sidecar.sha256


class Canary:
    """A model that tells that its program ran."""

    def __init__(self, artifact: bytes, canary: Path) -> None:
        self.given = artifact, str(canary)

    def __reduce__(self) -> Any:
        text = f"__import__('pathlib').Path({self.given[1]!r}).touch()"
        load = f"__import__('joblib').load(__import__('io').BytesIO({self.given[0]!r}))"
        return eval, (f"({text}, {load})[1]",)


def test_a_pickle_is_added_by_whoever_has_pinned_it(trained: Path, capsys: Capture) -> None:
    folder = trained.parent
    sha256 = pickled(folder, folder / "it-ran")
    refused = onefold(capsys, "models", "add", "bomb.joblib")
    assert (refused.code, "pin models.dips.sha256" in refused.err) == (4, True)
    assert not (folder / "it-ran").exists()
    pinned = CONFIG + f"models:\n  dips: {{ sha256: {sha256} }}\n"
    (folder / "mine.yaml").write_text(pinned)
    assert onefold(capsys, "models", "add", "bomb.joblib", "--config", "mine.yaml").code == 0
    assert (folder / "it-ran").exists()
    assert onefold(capsys, "models", "activate", "dips", "1").code == 4
    write_config(folder, pinned)  # onefold.yaml is looked at by itself
    assert onefold(capsys, "models", "activate", "dips", "1").code == 0
    for command in (["verify"], ["show", "dips"], ["list"]):
        assert onefold(capsys, "models", *command).code == 0
    write_config(folder, "strategies: [")
    assert onefold(capsys, "models", "list").code == 0, "nothing is loaded for it"


def test_a_journal_pins_no_pickle_of_its_own(trained: Path, capsys: Capture) -> None:
    """What somebody else's journal says of a program is no reason to run it."""
    folder = trained.parent
    sha256 = pickled(folder, folder / "it-ran")
    write_config(folder, CONFIG + f"models:\n  dips: {{ sha256: {sha256} }}\n")
    onefold(capsys, "models", "add", "bomb.joblib")
    onefold(capsys, "models", "activate", "dips", "1")
    journal = onefold(capsys, "run", "--json", "--mode", "simulate").json["journal"]
    (folder / "it-ran").unlink()
    (folder / "onefold.yaml").rename(folder / "mine.yaml")
    again = ("replay", journal, "--models", "models")
    refused = onefold(capsys, *again)
    assert (refused.code, "a pickle, which is a program" in refused.err) == (4, True)
    changed = onefold(capsys, "diff", journal, "--model", "dips=dips@1")
    assert (changed.code, "a pickle, which is a program" in changed.err) == (4, True)
    wrong = onefold(capsys, *again, "--pin", f"dips={'0' * 64}")
    assert (wrong.code, "is not the pinned one" in wrong.err) == (4, True)
    assert not (folder / "it-ran").exists()
    for text in ("dips", "dips=abc", f"={sha256}"):
        assert "write NAME=SHA256" in onefold(capsys, *again, "--pin", text).err
    assert onefold(capsys, *again, "--pin", f"dips={sha256}").code == 0
    assert (folder / "it-ran").exists()
    assert onefold(capsys, *again, "--config", "mine.yaml").code == 0


def test_what_is_recorded_is_the_whole_model(trained: Path, capsys: Capture) -> None:
    """The same artifact with another calibration is another model, in another journal."""
    folder, artifact = trained.parent, trained.read_bytes()
    write_config(folder, CONFIG)
    store = ModelStore(folder / "models")
    store.activate("dips", store.add(some_models.sidecar_of(artifact), artifact).version)
    first = onefold(capsys, "run", "--json", "--mode", "simulate").json["journal"]
    shutil.rmtree(folder / "models")
    turned = some_models.sidecar_of(artifact)
    points = Calibration([0.0, 1.0], [0.0, 1.0])
    turned = msgspec.structs.replace(turned, calibration=points)
    store = ModelStore(folder / "models")
    store.activate("dips", store.add(turned, artifact).version)
    second = onefold(capsys, "run", "--json", "--mode", "simulate").json["journal"]
    assert first != second
    said = onefold(capsys, "replay", first, "--models", "models")
    assert (said.code, "what differs is its calibration" in said.err) == (4, True)
    assert onefold(capsys, "replay", second, "--models", "models").code == 0


def test_dates_are_kept_in_one_form(trained: Path, capsys: Capture) -> None:
    onefold(capsys, "models", "add", trained.name)
    for on, day in (("20260101", "2026-01-01"), ("2026-W01-1", "2025-12-29")):
        said = onefold(capsys, "models", "expire", "dips", "1", "--on", on)
        assert said.out == f"dips@1 expires on {day}\n"
    later = onefold(capsys, "models", "expire", "dips", "1", "--on", "3000-01-01")
    assert later.out == "dips@1 expires on 2999-01-01\n"
    assert "its sidecar, or a member, says 2999-01-01: nothing makes that later" in later.err


def test_what_has_expired_is_verified_all_the_same(trained: Path, capsys: Capture) -> None:
    onefold(capsys, "models", "add", trained.name)
    onefold(capsys, "models", "expire", "dips", "1", "--on", "2020-01-01")
    (trained.parent / "models" / "dips" / "1" / "model.onnx").write_bytes(b"something else")
    wrong = onefold(capsys, "models", "verify")
    assert (wrong.code, "the artifact is not the one that was trained" in wrong.out) == (4, True)
    (trained.parent / "models" / "dips" / "state.json").write_text("{")
    onefold(capsys, "models", "add", trained.name)
    listed = onefold(capsys, "models", "list")
    assert (listed.code, "state.json cannot be read" in listed.err) == (0, True)
