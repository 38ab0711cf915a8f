"""M7, M8: from a configuration to a challenger, and from there to trades that are replayed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec
import pytest

from onefold.adapters.models import ModelStore
from onefold.signals.model import Aim

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
    # Again, with the same bytes, on another day: the same version, and no further trial.
    before = (folder / "models" / "dips" / "1" / "model.json").read_bytes()
    again = onefold(capsys, "train", "--model", "dips", "--on", "2026-11-21", "--json")
    [second] = again.json["trained"]
    assert (second["version"], second["new"]) == (1, False)
    assert second["sha256"] == trained["dips"]["sha256"]
    assert "identical to dips@1: no new version" in again.err
    assert not (folder / "models" / "dips" / "2").exists()
    assert (folder / "models" / "dips" / "1" / "model.json").read_bytes() == before
    write_config(folder, CONFIG.replace('"volatility(10)"]', '"volatility(12)"]'))
    other = onefold(capsys, "train", "--model", "dips", "--on", "2026-11-21", "--json")
    [third] = other.json["trained"]
    assert (third["version"], third["new"], third["metrics"]["trials"]) == (2, True, 2.0)


def aims(folder: Path) -> dict[str, Aim | None]:
    """Return what first versions in the store say in `label` and `rule`, whatever their words."""
    listed = ModelStore(folder / "models").listed()
    sidecars = [one.sidecar for one in listed if one.sidecar is not None and one.version == 1]
    return {one.name: msgspec.structs.replace(one, target="").aim for one in sidecars}


def test_a_trained_model_says_what_it_predicts(folder: Path, capsys: Capture) -> None:
    """A strategy that asks something else does without it, and the reason is said."""
    onefold(capsys, "train", "--on", "2026-11-20")
    said = {
        "dips": Aim("trade", "ibs_a"),
        "updown": Aim("direction"),
        "trends": Aim("trade", "crossover"),
    }
    assert aims(folder) == said
    for name in said:
        onefold(capsys, "models", "activate", name, "1")
    assert "not what" not in onefold(capsys, "backtest").err
    for change, why in (
        (
            ("kind: ml_ibs, params: { model: dips }", "kind: ml_momentum, params: { model: dips }"),
            "predicts whether a trade of ibs_a pays: not what ml_momentum asks",
        ),
        (
            ("params: { model: dips }", "params: { model: trends }"),
            "predicts whether a trade of crossover pays: not what ml_ibs asks",
        ),
        (
            ("model: updown", "model: dips"),
            "predicts whether a trade of ibs_a pays: not what ml_direction asks",
        ),
    ):
        write_config(folder, CONFIG.replace(*change, 1))
        assert why in onefold(capsys, "backtest").err


def test_a_score_that_never_reaches_its_threshold_is_said(folder: Path, capsys: Capture) -> None:
    onefold(capsys, "train", "--on", "2026-11-20")
    for name in ("dips", "updown"):
        onefold(capsys, "models", "activate", name, "1")
    write_config(folder, CONFIG.replace("enter: 0.52", "enter: 0.501"))
    assert "never traded" not in onefold(capsys, "backtest").err
    high = CONFIG.replace("enter: 0.52", "enter: 0.99")
    write_config(folder, high.replace("exits:", "gates: { conf_min: 0.98 }, exits:", 1))
    done = onefold(capsys, "backtest")
    for name, setting in (("dips", "gates.conf_min (0.98)"), ("follow", "params.enter (0.99)")):
        [line] = [x for x in done.err.splitlines() if f"strategy {name} never traded" in x]
        assert f"never reached {setting}" in line
    card = (folder / "models" / "dips" / "1" / "card.md").read_text()
    for said in ("| exits | stop 0.01, take 0.01, max_bars 5 |", "| bars | of 1.0 h |"):
        assert said in card
    assert "trees 20" in card
    assert "population" not in card


def test_attempts_are_counted_whatever_becomes_of_the_models(folder: Path, capsys: Capture) -> None:
    """The same trees with other folds are judged anew; what was removed has still been tried."""

    def attempt(change: tuple[str, str] = ("", "")) -> tuple[float, str]:
        write_config(folder, CONFIG.replace(*change))
        done = onefold(capsys, "train", "--model", "dips", "--on", "2026-11-20", "--json")
        [one] = done.json["trained"]
        return one["metrics"]["trials"], one["sha256"]

    plain = ('"volatility(10)"], trees: 20', '"volatility(10)"], trees: 20, folds: ')
    first = attempt()
    assert first[0] == 1
    assert attempt((plain[0], plain[1] + "4")) == (2, first[1])
    shutil.rmtree(folder / "models" / "dips" / "1")
    (folder / "models" / "dips" / "2" / "model.json").write_text("{")
    assert attempt((plain[0], plain[1] + "3")) == (3, first[1])
    assert attempt() == first  # the first once more, though its version is gone
    shutil.rmtree(folder / "models" / "dips")
    log = folder / "models" / "dips.attempts.jsonl"
    with log.open("ab") as file:  # as if it had died in the middle of a line
        file.write(b'not a line\n{"attem')
    assert attempt((plain[0], plain[1] + "6"))[0] == 5
    seeded = attempt(("seed: 7", "seed: 9"))
    assert seeded[0] == 6
    assert attempt()[0] == 1
    assert "trends" not in log.read_text()


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
    for model in ("dips", "updown"):
        onefold(capsys, "train", "--model", model)
        onefold(capsys, "models", "activate", model, "1")
    session = onefold(capsys, "run", "--json")
    asked = onefold(capsys, "models", "drift", "dips", session.json["journal"], "--json")
    found = asked.json
    assert [one["name"] for one in found] == ["score", "rsi(5)", "ibs()", "volatility(10)"]
    # A session over the very bars of the training: those at which the rule wants a position.
    assert {one["verdict"] for one in found} == {"stable"}, found
    assert 500 < found[0]["values"] < 3_000
    assert "bars at which the rule wants a position, as in training" in asked.err
    shown = onefold(capsys, "models", "drift", "dips", session.json["journal"])
    assert "PSI" in shown.out
    other = onefold(capsys, "models", "drift", "updown", session.json["journal"], "--json")
    assert {one["verdict"] for one in other.json} == {"stable"}
    assert "all bars that were scored, as in training" in other.err
    assert other.json[0]["values"] > 4_500


def test_drift_of_a_model_that_was_never_asked_is_said(folder: Path, capsys: Capture) -> None:
    onefold(capsys, "train", "--model", "dips")
    onefold(capsys, "models", "activate", "dips", "1")
    session = onefold(capsys, "run", "--json")
    onefold(capsys, "train", "--model", "updown")
    onefold(capsys, "models", "activate", "updown", "1")
    said = onefold(capsys, "models", "drift", "updown", session.json["journal"])
    assert said.code == 4
    assert "never asked model updown@1#" in said.err
    assert "it asked dips@1#" in said.err


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


ALLOCATED = """
data:
  BTCUSD: { synthetic: { seed: 7, bars: 3000, interval_s: 3600 } }
strategies:
  trend:
    kind: crossover
    params: { fast: 3, slow: 9 }
    sizing: { kind: fraction, fraction: FRACTION }
    gates: { risk_budget: 0.01 }
  dips: { kind: ibs_a, sizing: { kind: notional, value: 20000 } }
"""


def test_an_allocation_that_is_followed_trades(folder: Path, capsys: Capture) -> None:
    """A budget stops orders that are larger, so the advice is a size as well."""
    write_config(folder, ALLOCATED.replace("FRACTION", "0.9"))
    said = onefold(capsys, "allocate", "--json")
    found = said.json
    assert found["largest_use"]["trend"] == pytest.approx(0.9, abs=0.01)
    share, budget = found["shares"]["trend"], found["risk_budgets"]["trend"]
    assert found["sizing"]["trend"]["fraction"] == pytest.approx(0.9 * share, rel=1e-3)
    assert found["sizing"]["dips"]["value"] == pytest.approx(20_000 * (1 - share), rel=1e-3)
    assert "strategies.trend: as it is sized now it has up to 0.90" in said.err
    assert (found["from"], found["days"]) == ("2024-01-01", 125)
    assert found["correlations"]["trend"][0] == pytest.approx(1.0)
    shown = onefold(capsys, "allocate")
    assert "correlation by day" in shown.out
    assert f"fraction {found['sizing']['trend']['fraction']:g}" in shown.out
    followed = (
        ALLOCATED.replace("FRACTION", str(found["sizing"]["trend"]["fraction"]))
        .replace("risk_budget: 0.01", f"risk_budget: {budget:.4f}")
        .replace("value: 20000", f"value: {found['sizing']['dips']['value']}")
    )
    write_config(folder, followed)
    done = onefold(capsys, "backtest", "--json").json
    assert done["top_gates"].get("risk_budget", 0) == 0
    assert done["trades"] > 500


OWN = """
from onefold.signals import FLAT, LONG, Filtered, Model, Strategy, choose, ta


class Dip(Strategy):
    length: int = 3

    def extract_features(self):
        return {"rsi": ta.rsi(self.length)}

    def predict_signal(self, x):
        return self.signal(choose((x.rsi < 40, LONG), (x.rsi > 70, FLAT)))


class FilteredDip(Filtered, Dip):
    pass


class Asking(Dip):
    model: str = "dips"
    _model: Model | None = None

    def load_model(self, store):
        self._model = store.get(self.model)

    def extract_features(self):
        return {"p": self._model.score, **super().extract_features()}

    def predict_signal(self, x):
        return self.signal(choose(((x.rsi < 40) & (x.p > 0.5), LONG), (x.rsi > 70, FLAT)))
"""
OWN_CONFIG = """
data:
  BTCUSD: { synthetic: { seed: 7, bars: 3000, interval_s: 3600 } }
strategies:
  mine:
    file: own.py
    class: FilteredDip
    params: { model: dips, length: 4 }
    exits: { stop: 0.01, take: 0.01, max_bars: 5 }
training:
  dips: { strategy: mine, features: ["rsi(5)", "ibs()"], trees: 20 }
"""


def test_a_rule_of_ones_own_is_filtered_by_a_model_of_ones_own(
    folder: Path, capsys: Capture
) -> None:
    (folder / "own.py").write_text(OWN)
    write_config(folder, OWN_CONFIG)
    done = onefold(capsys, "train", "--json")
    assert done.code == 0, done.err
    card = (folder / "models" / "dips" / "1" / "card.md").read_text()
    assert "whether a trade of dip (length 4) pays, after costs" in card
    assert aims(folder) == {"dips": Aim("trade", "dip")}
    onefold(capsys, "models", "activate", "dips", "1")
    session = onefold(capsys, "run", "--json")
    assert session.json["trades"] > 50
    found = onefold(capsys, "models", "drift", "dips", session.json["journal"], "--json")
    assert "at which the rule wants a position, as in training" in found.err
    assert {one["verdict"] for one in found.json} == {"stable"}, found.json
    # The rule without the model gives the same events, so the very same model.
    write_config(
        folder,
        OWN_CONFIG.replace("class: FilteredDip", "class: Dip").replace("model: dips, ", ""),
    )
    assert onefold(capsys, "train", "--json").json["trained"][0]["new"] is False


def test_a_file_whose_strategies_ask_models_is_checked_by_its_configuration(
    folder: Path, capsys: Capture
) -> None:
    (folder / "own.py").write_text(OWN)
    some = onefold(capsys, "check", "own.py", "--json")
    assert {one["strategy"] for one in some.json["checks"]} == {"dip"}
    assert "left out: own.py: FilteredDip, Asking asks a model" in some.err
    write_config(folder, OWN_CONFIG)
    onefold(capsys, "train")
    onefold(capsys, "models", "activate", "dips", "1")
    whole = onefold(capsys, "check", "onefold.yaml", "--json")
    assert [one["strategy"] for one in whole.json["checks"]] == ["mine"]
    alone = "from onefold.signals import Filtered\nfrom onefold.signals.strategies import IbsA\n"
    (folder / "alone.py").write_text(alone + "class Mine(Filtered, IbsA): pass\n")
    none = onefold(capsys, "check", "alone.py")
    assert (none.code, "onefold check onefold.yaml" in none.err) == (2, True)


def test_a_strategy_that_asks_a_model_itself_cannot_be_trained_on(
    folder: Path, capsys: Capture
) -> None:
    (folder / "own.py").write_text(OWN)
    write_config(folder, OWN_CONFIG.replace("FilteredDip", "Asking"))
    done = onefold(capsys, "train")
    assert done.code == 2
    assert "training.dips.strategy: strategy 'mine' asks a model itself" in done.err
    assert "class Mine(Filtered, MyRule)" in done.err


def test_the_example_in_the_document_trains_and_is_tested_on_what_came_after(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (example, *_) = re.findall(r"```yaml\n(.*?)```", document, re.DOTALL)
    write_config(folder, example)
    assert onefold(capsys, "train").code == 0
    onefold(capsys, "models", "activate", "dips", "1")
    within = onefold(capsys, "backtest", "--json")
    assert 0.5 < within.json["metrics"]["models"][0]["share_in_sample"] < 1.0
    [variable] = re.findall(r"(ONEFOLD_DATA__\S+)=(\S+) onefold backtest", document)
    monkeypatch.setenv(*variable)
    after = onefold(capsys, "backtest", "--json")
    assert after.json["metrics"]["models"][0]["share_in_sample"] == 0.0
    assert "in its sample" not in after.err
