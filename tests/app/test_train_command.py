"""M7, M8: from a configuration to a challenger, and from there to trades that are replayed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from .world import onefold, write_config

Capture = pytest.CaptureFixture[str]

CONFIG = """
data:
  BTCUSD: { synthetic: { seed: 7, bars: 3000, interval_s: 3600 } }
  ETHUSD: { synthetic: { seed: 8, bars: 2000, interval_s: 3600 } }
strategies:
  dips: { kind: ml_ibs, params: { model: dips }, exits: { stop: 0.01, take: 0.01, max_bars: 5 } }
  follow: { kind: ml_direction, params: { model: updown, enter: 0.52 } }
  plain: { kind: crossover, params: { fast: 3, slow: 9 } }
training:
  dips: { strategy: dips, features: ["rsi(5)", "ibs()", "volatility(10)"], trees: 20 }
  updown: { strategy: follow, label: direction, horizon: 5, features: ["ibs()"], trees: 20 }
  trends: { strategy: plain, label: trade, turns_only: true, features: ["rsi(5)"], trees: 20 }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with a configuration that trains three models."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, CONFIG)
    return tmp_path


def test_a_model_is_trained_activated_and_traded_on(folder: Path, capsys: Capture) -> None:
    done = onefold(capsys, "train", "--on", "2026-11-20", "--json")
    trained = {one["name"]: one for one in done.json["trained"]}
    assert sorted(trained) == ["dips", "trends", "updown"]
    assert {one["version"] for one in trained.values()} == {1}
    assert "skill" in (folder / "models" / "dips" / "1" / "card.md").read_text()
    assert (folder / "models" / "dips" / "1" / "card.html").stat().st_size > 1_000_000
    for name in ("dips", "updown"):
        # Training puts nothing into trading.
        assert f"strategy {'dips' if name == 'dips' else 'follow'} does not trade" in (
            onefold(capsys, "backtest").err
        )
        onefold(capsys, "models", "activate", name, "1")
    batch = onefold(capsys, "backtest", "--json")
    assert "does not trade" not in batch.err
    assert batch.err.count("are in its sample") == 2
    session = onefold(capsys, "run", "--json")
    assert session.json["fingerprint"] == batch.json["fingerprint"]
    replayed = onefold(capsys, "replay", session.json["journal"], "--models", "models", "--json")
    assert replayed.json["fingerprint"] == batch.json["fingerprint"]
    # Again, with the same bytes: another version, the same artifact.
    again = onefold(capsys, "train", "--model", "dips", "--on", "2026-11-20", "--json")
    [second] = again.json["trained"]
    assert (second["version"], second["sha256"]) == (2, trained["dips"]["sha256"])
    first = (folder / "models" / "dips" / "1" / "model.json").read_bytes()
    other = (folder / "models" / "dips" / "2" / "model.json").read_bytes()
    assert other == first.replace(b'"version": 1,', b'"version": 2,')


def test_mistakes_in_a_training_are_explained(folder: Path, capsys: Capture) -> None:
    for change, said in (
        (("strategy: dips,", "strategy: dipps,"), "no strategy 'dipps'; did you mean 'dips'"),
        (("label: direction,", "label: trade,"), "ml_direction has no rule whose trades"),
        (('"ibs()", "vol', '"ibz()", "vol'), "training.dips: feature 'ibz()': there is no feature"),
        (("seed: 7, bars: 3000", "seed: 7, bars: 40"), "events are too few"),
    ):
        write_config(folder, CONFIG.replace(*change).replace("bars: 2000", "bars: 60"))
        done = onefold(capsys, "train")
        assert done.code in (2, 3)
        assert said in done.err
    write_config(folder, CONFIG)
    assert "did you mean 'dips'" in onefold(capsys, "train", "--model", "dipz").err
    assert "no date" in onefold(capsys, "train", "--on", "today").err
    write_config(folder, CONFIG.partition("training:")[0])
    assert "no model to train" in onefold(capsys, "train").err


def test_drift_is_measured_over_a_sessions_journal(folder: Path, capsys: Capture) -> None:
    onefold(capsys, "train", "--model", "dips")
    onefold(capsys, "models", "activate", "dips", "1")
    session = onefold(capsys, "run", "--json")
    found = onefold(capsys, "models", "drift", "dips", session.json["journal"], "--json").json
    assert [one["name"] for one in found] == ["score", "rsi(5)", "ibs()", "volatility(10)"]
    assert found[0]["values"] > 1_000
    assert found[1]["verdict"] in ("stable", "moved", "changed")
    assert "PSI" in onefold(capsys, "models", "drift", "dips", session.json["journal"]).out


def test_shares_of_strategies_become_mandates(folder: Path, capsys: Capture) -> None:
    write_config(
        folder,
        CONFIG.replace("  dips: { kind: ml_ibs, params: { model: dips },", "  dips: { kind: ibs_a,")
        .replace("  follow: { kind: ml_direction, params: { model: updown, enter: 0.52 } }\n", "")
        .partition("training:")[0],
    )
    for method in ("hrp", "equal_risk", "inverse_variance"):
        said = onefold(capsys, "allocate", "--method", method, "--write", "m.json", "--json")
        assert sum(said.json["shares"].values()) == pytest.approx(1.0)
    written = msgspec.json.decode((folder / "m.json").read_bytes())
    assert {one["strategy"] for one in written} == {"dips", "plain"}
    assert {one["mandate"] for one in written} == {"risk_budget"}
