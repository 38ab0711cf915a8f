"""J8: `onefold diff` and `onefold diverge` on real journals, and mistakes that are explained."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

import some_models
from onefold.journal import Journal

from .test_models_command import CONFIG as MODEL_CONFIG
from .world import CONFIG, onefold, write_config

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> str:
    """Give the journal of a session, in the folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    return str(onefold(capsys, "run", write_config(tmp_path), "--json").json["journal"])


def changed(*replaced: tuple[str, str], name: str = "new.yaml") -> Path:
    text = CONFIG
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    return write_config(Path(), text, name)


def test_a_configuration_is_compared_exactly(capsys: Capture, journal: str) -> None:
    new = changed(("fraction: 0.3", "fraction: 0.2"))
    found = onefold(capsys, "diff", journal, "--config", new, "--json").json
    other = onefold(capsys, "backtest", new, "--json").json
    old = onefold(capsys, "backtest", "onefold.yaml", "--json").json
    assert found["baseline"] == "reproduced"
    assert found["first_mismatch"] is None
    assert found["decisions"]["baseline"] == old["decisions"]
    assert found["decisions"]["variant"] == other["decisions"]
    pnl = found["pnl"]
    assert pnl["variant"]["total"] == pytest.approx(other["pnl"], abs=1e-6)
    assert pnl["baseline"]["total"] == pytest.approx(old["pnl"], abs=1e-6)
    assert pnl["variant"]["strategies"].keys() == {"trend", "dips"}
    rows = found["differences"]
    assert len(rows) == found["decisions"]["differ"] == sum(found["by_cause"].values())
    assert rows[0]["cause"] == "sizing"
    few = onefold(capsys, "diff", journal, "--config", new, "--limit", 2, "--json").json
    assert few["differences"] == rows[:2]


def test_people_read_tables(capsys: Capture, journal: str) -> None:
    same = onefold(capsys, "diff", journal)
    assert same.code == 0
    assert "equal to the recorded decisions, bit for bit" in same.out
    assert "first cause" not in same.out
    said = onefold(capsys, "diff", journal, "--mandate", "max_open_positions=1", "--limit", 3)
    assert "#3" in said.out
    assert "#4" not in said.out
    assert "open_positions 2 (at most 3) -> 2 (at most 1)" in said.out
    assert "the account" in said.out


def test_mandates_come_from_texts_and_from_a_file(capsys: Capture, journal: str) -> None:
    text = "mandates:\n  - { mandate: conf_min, value: 2, strategy: dips, instrument: MADE }\n"
    Path("m.yaml").write_text(text, encoding="utf-8")
    by_file = onefold(capsys, "diff", journal, "--mandate", "m.yaml", "--json").json
    by_text = onefold(capsys, "diff", journal, "--mandate", "conf_min=2@dips/MADE", "--json").json
    assert by_file["differences"] == by_text["differences"] != []
    assert by_text["pnl"]["variant"]["strategies"]["dips"]["total"] == 0.0
    later = text.replace(" }", ", from: 2024-01-09 }")
    Path("m.yaml").write_text(later, encoding="utf-8")
    half = onefold(capsys, "diff", journal, "--mandate", "m.yaml", "--json").json
    assert 0 < len(half["differences"]) < len(by_text["differences"])
    assert min(row["time"] for row in half["differences"]) >= "2024-01-09"


def test_a_model_of_the_store_can_take_a_strategys_place(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for version, kind in enumerate(("onnx", "deep"), 1):
        artifact = some_models.artifact_of(kind)
        Path("dips.onnx").write_bytes(artifact)
        sidecar = some_models.sidecar_of(artifact, kind)
        Path("dips.json").write_bytes(msgspec.json.encode(sidecar))
        assert onefold(capsys, "models", "add", "dips.onnx").code == 0, version
    onefold(capsys, "models", "activate", "dips", "1")
    config = write_config(tmp_path, MODEL_CONFIG)
    made = onefold(capsys, "run", config, "--json").json["journal"]
    found = onefold(capsys, "diff", made, "--model", "dips=dips@2", "--json").json
    assert found["by_root"].keys() == {"model"}
    assert "dips@1#" in found["differences"][0]["detail"]
    write_config(tmp_path, MODEL_CONFIG.replace("models/dips", "dips@2"), "two.yaml")
    by_config = onefold(capsys, "diff", made, "--config", "two.yaml", "--json").json
    assert by_config["differences"] == found["differences"]
    for given, code, words in (
        ("dips=dips@9", 4, "dips"),
        ("dps=dips@2", 2, "no strategy 'dps'; did you mean 'dips'?"),
        ("plain=dips@2", 2, "strategy 'plain' has no parameter `model`"),
        ("dips", 2, "write STRATEGY=NAME or STRATEGY=NAME@VERSION"),
    ):
        said = onefold(capsys, "diff", made, "--model", given)
        assert said.code == code, said.err
        assert words in said.err
        assert said.err.count("\n") == 1


def test_divergence_of_two_journals_and_of_a_configuration(capsys: Capture, journal: str) -> None:
    gate = changed(("max_open_positions: 3", "max_open_positions: 1"))
    other = onefold(capsys, "run", gate, "--json").json
    old = onefold(capsys, "backtest", "onefold.yaml", "--json").json
    found = onefold(capsys, "diverge", other["journal"], journal, "--json").json
    total = found["total"]
    assert total["live"] == pytest.approx(other["pnl"], abs=1e-6)
    assert total["backtest"] == pytest.approx(old["pnl"], abs=1e-6)
    assert abs(total["residual"]) <= 1e-9
    assert total["classes"]["gate"] == pytest.approx(total["difference"], abs=1e-9)
    assert sum(p["difference"] for p in found["strategies"].values()) == pytest.approx(
        total["difference"], abs=1e-9
    )
    again = onefold(capsys, "diverge", other["journal"], "--config", "onefold.yaml", "--json").json
    assert again["total"] == total
    said = onefold(capsys, "diverge", other["journal"], journal).out
    lines = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip()}
    assert {"data", "timing", "fill", "fee", "model", "gate", "size"} <= lines.keys()
    assert lines["gate"] == lines["difference"] != lines["data"]


SAMPLE = """
data:
  SPX: {{ sample: sp500, start: {start}, end: {end} }}
instruments: {{ SPX: {{ kind: index }} }}
account: {{ cash: 100000 }}
strategies:
  trend: {{ kind: crossover, params: {{ fast: 5, slow: 20 }} }}
"""


def test_a_backtest_beside_a_journal_keeps_to_its_time(capsys: Capture, journal: str) -> None:
    short, longer, earlier = (
        write_config(Path(), SAMPLE.format(start=start, end=end), f"{name}.yaml")
        for name, start, end in (
            ("short", "2001-01-01", "2003-01-01"),
            ("longer", "2001-01-01", "2006-01-01"),
            ("earlier", "2000-01-01", "2003-01-01"),
        )
    )
    made = onefold(capsys, "run", short, "--json").json["journal"]
    found = onefold(capsys, "diverge", made, "--config", longer, "--json").json
    assert found["total"]["difference"] == 0.0
    assert found["total"]["live"] != 0.0
    # With a year before, the features are known earlier: the two have seen different bars.
    warmed = onefold(capsys, "diverge", made, "--config", earlier, "--json").json
    assert warmed["by_root"].keys() == {"data"}
    before = write_config(Path(), SAMPLE.format(start="1999-01-04", end="2000-01-01"), "old.yaml")
    said = onefold(capsys, "diverge", made, "--config", before)
    assert (said.code, "no bar of the time of the journal" in said.err) == (2, True)


MISTAKES: list[tuple[tuple[Any, ...], int, str]] = [
    (("diff", "nowhere"), 6, "there is no journal"),
    (("diff", "JOURNAL", "--config", "other.yaml"), 2, "none of the journal's strategies"),
    (("diff", "JOURNAL", "--config", "more.yaml"), 2, "the journal has no bars of 'GC'"),
    (("diff", "JOURNAL", "--config", "gone.yaml"), 2, "gone.yaml"),
    (("diff", "JOURNAL", "--mandate", "conf_min=high"), 2, "'high' is no number"),
    (("diff", "JOURNAL", "--mandate", "conf_min=1@trnd"), 2, "did you mean 'trend'?"),
    (("diff", "JOURNAL", "--mandate", "bad.yaml"), 2, "unknown key 'vlue'; did you mean 'value'?"),
    (("diff", "JOURNAL", "--mandate", "when.yaml"), 2, "'soon' is no time"),
    (("diff", "JOURNAL", "--mandate", "none.yaml"), 2, "none.yaml"),
    (("diverge", "JOURNAL"), 2, "give a second journal, or --config"),
    (("diverge", "JOURNAL", "nowhere"), 6, "there is no journal"),
    (("diverge", "JOURNAL", "OTHER"), 2, "no strategy in common"),
    (("diverge", "JOURNAL", "EMPTY"), 6, "EMPTY"),
    (("diff", "EMPTY"), 6, "EMPTY"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), MISTAKES, ids=lambda x: str(x)[:40])
def test_mistakes_are_explained(
    capsys: Capture, journal: str, arguments: tuple[Any, ...], code: int, said: str
) -> None:
    names = (("  trend:", "  wave:"), ("  dips:", "  falls:"))
    other = changed(*names, name="other.yaml")
    changed(("data:\n", "data:\n  GC: { synthetic: { seed: 9, bars: 50 } }\n"), name="more.yaml")
    Path("bad.yaml").write_text("mandates: [{ mandate: conf_min, vlue: 1 }]\n", encoding="utf-8")
    when = "mandates: [{ mandate: conf_min, value: 1, from: soon }]\n"
    Path("when.yaml").write_text(when, encoding="utf-8")
    if "OTHER" in arguments:
        made = onefold(capsys, "run", other, "--json").json["journal"]
        shutil.copytree(made, "OTHER")
    if "EMPTY" in arguments:
        with Journal.open("EMPTY", today=lambda: date(2020, 1, 1)):
            pass
    wanted = [journal if one == "JOURNAL" else one for one in arguments]
    found = onefold(capsys, *wanted)
    assert found.code == code, found.err
    assert said in found.err
    lines = found.err.strip().splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert lines[-1].startswith("error: ")
