"""The commands around the main job: init, settings, check, data check, journal."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from onefold.app.main import COMMANDS

from .world import CONFIG, onefold, write_config

Capture = pytest.CaptureFixture[str]

PEEKS = '''
import numpy as np
from onefold.signals import Feature, Strategy, ta


class NextClose(Feature):
    """The close of the next bar."""

    warm_up = 0

    def compute(self, bars):
        return np.append(bars.close[1:], np.nan)


class Seer(Strategy):
    def extract_features(self):
        return {"next": NextClose()}

    def predict_signal(self, x):
        return self.signal(x.next > x.close)


class Ranks(Strategy):
    def extract_features(self):
        return {"mean": ta.sma(5)}

    def predict_signal(self, x):
        return self.signal(x.close > x.close.mean())


class Honest(Strategy):
    def extract_features(self):
        return {"mean": ta.sma(5)}

    def predict_signal(self, x):
        return self.signal(x.close > x.mean)
'''


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_init_writes_what_works(capsys: Capture, tmp_path: Path) -> None:
    said = onefold(capsys, "init", "new/project")
    assert said.code == 0
    assert "cd new/project && " in said.out
    assert "onefold backtest onefold.yaml" in said.out
    folder = tmp_path / "new" / "project"
    source = (folder / "strategies.py").read_text()
    (strategy,) = (x for x in ast.parse(source).body if isinstance(x, ast.ClassDef))
    assert len(source.splitlines()) <= 25
    assert strategy.name == "BuyTheDip"
    assert onefold(capsys, "check", folder / "strategies.py").code == 0
    done = onefold(capsys, "backtest", folder / "onefold.yaml", "--json")
    assert done.code == 0
    assert Path(done.json["folder"]).parent == folder / "runs"
    assert done.json["trades"] > 10


def test_the_env_example_is_read(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    onefold(capsys, "init")
    Path(".env").write_text(Path(".env.example").read_text().replace("=100000", "=5000"))
    done = onefold(capsys, "backtest", "--json")
    assert done.json["metrics"]["cash_start"] == 5000


@pytest.mark.parametrize("name", ["onefold.yaml", "strategies.py", ".env.example", ".gitignore"])
def test_init_never_overwrites(capsys: Capture, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    said = onefold(capsys, "init")
    assert said.code == 2
    assert f"{name} is there already" in said.err
    assert [x.name for x in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_init_writes_all_or_nothing(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def fail_at_the_third(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == ".env.example":
            raise OSError(28, "No space left on device", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", fail_at_the_third)
    said = onefold(capsys, "init")
    assert said.code == 2
    assert said.err == "error: .env.example: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_settings_are_listed(capsys: Capture) -> None:
    everything = onefold(capsys, "settings", "--json").json
    some = onefold(capsys, "settings", "account.limits", "--json").json
    assert len(everything) > len(some) > 10
    assert all(row["path"].startswith("account.limits.") for row in some)
    assert "account.limits.drawdown" in onefold(capsys, "settings", "account.limits").out
    assert "did you mean" in onefold(capsys, "settings", "account.limit").err


def test_check_finds_what_peeks(capsys: Capture) -> None:
    Path("s.py").write_text(PEEKS)
    said = onefold(capsys, "check", "s.py", "--json")
    assert said.code == 4
    verdicts = {check["strategy"]: check["verdict"] for check in said.json["checks"]}
    assert verdicts["honest"] == "proved"
    seer = next(c for c in said.json["checks"] if c["strategy"] == "seer")["findings"]
    assert any(x["rule"] == "future" and "NextClose" in x["name"] and x["row"] > 0 for x in seer)
    ranks = next(c for c in said.json["checks"] if c["strategy"] == "ranks")["findings"]
    assert any(x["rule"] == "elementwise" for x in ranks)
    text = onefold(capsys, "check", "s.py")
    assert text.code == 4
    assert "sees the future" in text.err
    assert ", row " in text.err
    assert text.err.count("\n") == 1
    assert "proved" in text.out


def test_check_a_configuration_on_its_own_data(capsys: Capture, tmp_path: Path) -> None:
    Path("s.py").write_text(PEEKS)
    config = write_config(tmp_path, CONFIG + "  mine: { file: s.py, class: Honest }\n")
    said = onefold(capsys, "check", config, "--json").json
    assert said["ok"] is True
    pairs = [(check["strategy"], check["data"]) for check in said["checks"]]
    assert pairs == [
        ("trend", "MADE"), ("trend", "ES"), ("dips", "MADE"), ("mine", "MADE"), ("mine", "ES"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(:\n", "s.py, line 1: "),
        ("import no_such_module\n", "s.py, line 1: ModuleNotFoundError"),
        ("x = 1\n", "s.py: defines no strategy"),
    ],
)
def test_check_mistakes(capsys: Capture, source: str, said: str) -> None:
    Path("s.py").write_text(source)
    found = onefold(capsys, "check", "s.py")
    assert found.code == 2
    assert said in found.err
    assert "Traceback" not in found.err
    assert "cannot be read" in onefold(capsys, "check", "gone.py").err


def bars_file(*changed: str) -> Path:
    lines = ["ts,open,high,low,close,volume"]
    lines += [f"2024-01-{day:02d},10,12,9,11,{day}" for day in range(1, 29)]
    path = Path("bars.csv")
    path.write_text("\n".join([*lines, *changed]) + "\n")
    return path


def test_data_check_of_good_bars(capsys: Capture) -> None:
    (found,) = onefold(capsys, "data", "check", bars_file(), "--json").json
    assert found["clean"] is True
    assert (found["bars"], found["interval"]) == (28, "1d")
    text = onefold(capsys, "data", "check", "bars.csv")
    assert text.code == 0
    assert "28 are plausible bars" in text.out


def test_data_check_of_bad_bars(capsys: Capture) -> None:
    path = bars_file(
        "2024-01-29,10,9,12,11,5", "2024-01-30,nan,12,9,11,5", "2024-01-02,10,12,9,11,5"
    )
    said = onefold(capsys, "data", "check", path, "--json")
    assert said.code == 3
    assert set(said.json[0]["quarantined"]) == {"high_below_low", "nan", "out_of_order"}
    assert "3 of 31 rows would be quarantined" in said.err
    text = onefold(capsys, "data", "check", path)
    assert "refused: high_below_low" in text.out
    assert "line 30" in text.out


def test_data_check_takes_settings(capsys: Capture) -> None:
    path = bars_file()
    path.write_text(path.read_text().replace("ts,", "when,"))
    assert onefold(capsys, "data", "check", path).code == 3
    said = onefold(
        capsys,
        "data",
        "check",
        path,
        "--set",
        "columns={ts: when}",
        "--set",
        "ts_is=close",
        "--json",
    )
    assert said.json[0]["last"] == "2024-01-28T00:00:00Z"
    for setting, message in (
        ("ts_i=close", "--set ts_i: there is no such setting; did you mean 'ts_is'?"),
        ("ts_is=clse", "--set ts_is: must be 'open' or 'close'"),
        ("ts_is", "write KEY=VALUE"),
        ("timezone=UT", "timezone 'UT' is not known"),
    ):
        found = onefold(capsys, "data", "check", path, "--set", setting)
        assert found.code == 2
        assert message in found.err
    assert "did you mean" in onefold(capsys, "data", "check", path, "--symbol", "BTCUSDD").err


def test_data_check_of_a_configuration(capsys: Capture, tmp_path: Path) -> None:
    said = onefold(capsys, "data", "check", write_config(tmp_path), "--json")
    assert [one["instrument"] for one in said.json] == ["MADE", "ES"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", b"", "is empty (0 bytes)"),
        ("bars.txt", b"x", ".txt cannot be read"),
        ("bad.parquet", b"PAR", "is not a Parquet file"),
        (
            "text.csv",
            b"ts,open,high,low,close\n2024-01-01,1,2,x,1\n2024-01-02,1,2,1,1\n",
            "line 2, column 'low'",
        ),
    ],
)
def test_bad_files_are_one_line(
    capsys: Capture, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    found = onefold(capsys, "data", "check", name, "--json")
    assert found.code == 3
    assert said in found.json["error"]
    assert found.err.count("\n") == 1
    assert onefold(capsys, "data", "check", tmp_path).code == 3


@pytest.fixture
def journal(capsys: Capture, tmp_path: Path) -> Path:
    """Return a small session's journal."""
    write_config(tmp_path)
    return Path(onefold(capsys, "run", "--json").json["journal"])


def test_journal_commands(capsys: Capture, journal: Path) -> None:
    verified = onefold(capsys, "journal", "verify", journal, "--json").json
    head = onefold(capsys, "journal", "head", journal, "--json").json
    assert verified["head"] == head
    assert verified["head_checked"] is False
    assert onefold(capsys, "journal", "head", journal).out == f"{head['seq']} {head['hash']}\n"
    tail = onefold(capsys, "journal", "tail", journal, "-n", 3, "--json").json
    assert [record["seq"] for record in tail] == [head["seq"] - 2, head["seq"] - 1, head["seq"]]
    lines = onefold(capsys, "journal", "tail", journal, "-n", 3).out.splitlines()
    assert len(lines) == 3
    assert onefold(capsys, "journal", "export-head", journal, "head.json").code == 0
    checked = onefold(capsys, "journal", "verify", journal, "--head", "head.json", "--json").json
    assert checked["head_checked"] is True


def test_a_cut_end_is_found_against_the_head(capsys: Capture, journal: Path) -> None:
    onefold(capsys, "journal", "export-head", journal, "head.json")
    segment = max(journal.glob("*.jsonl"))
    lines = segment.read_bytes().splitlines(keepends=True)
    seals = [i for i, line in enumerate(lines) if line.startswith(b'{"seal"')]
    segment.write_bytes(b"".join(lines[: seals[-2] + 1]))
    assert onefold(capsys, "journal", "verify", journal).code == 0
    said = onefold(capsys, "journal", "verify", journal, "--head", "head.json")
    assert said.code == 6
    assert "its end was cut off" in said.err


def test_an_interrupted_commit_is_told(capsys: Capture, journal: Path) -> None:
    with max(journal.glob("*.jsonl")).open("ab") as file:
        file.write(b'{"seq":')
    said = onefold(capsys, "journal", "verify", journal)
    assert said.code == 0
    assert "7 bytes of an interrupted commit" in said.out


def test_journal_mistakes(capsys: Capture, tmp_path: Path) -> None:
    for command in ("verify", "head", "tail"):
        said = onefold(capsys, "journal", command, tmp_path / "nowhere")
        assert said.code == 6
        assert "there is no journal at" in said.err


def test_commands_are_listed_in_the_order_of_use() -> None:
    assert list(COMMANDS)[:3] == ["init", "demo", "backtest"]
