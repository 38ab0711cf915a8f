"""Every command line in the documents can be called as it stands, and most are called here.

Those that run until they are ended, or want a session or a cluster, are called by the tests of
their own; here they only have to be lines that the program takes.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
import yaml

import some_models
from onefold.app.main import app

from .world import CONFIG, Said, onefold, write_config

Capture = pytest.CaptureFixture[str]

ROOT = Path(__file__).parents[2]
CALLED_ELSEWHERE = {
    "serve": "api/test_serve.py",
    "fake-venue": "app/test_fake_venue.py",
    "adopt": "app/test_control_commands.py",
    "resume": "app/test_control_commands.py",
    "sweep --on ray": "app/test_sweep_command.py",
    "train": "app/test_train_command.py",
}


def documented() -> dict[str, list[str]]:
    """Return the command lines in the examples, by document."""
    found = {}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL)
        lines = "".join(blocks).replace("\\\n", " ").splitlines()
        mine = [re.fullmatch(r"\s*(?:\$ )?onefold (.*)", line) for line in lines]
        found[path.name] = [" ".join(match[1].split()) for match in mine if match]
    return found


def in_units() -> set[str]:
    """Return the command lines in the service files."""
    units = (ROOT / "deploy" / "system").rglob("*.service")
    text = "".join(unit.read_text(encoding="utf-8") for unit in units)
    found = re.findall(r"^Exec\w+=\S*/onefold (.*)$", text, re.MULTILINE)
    return {line.replace("${MODE}", "live") for line in found}


LINES = documented()
ALL = sorted({line for lines in LINES.values() for line in lines})


@pytest.mark.parametrize("line", [*ALL, *sorted(in_units())])
def test_it_is_a_line_that_the_program_takes(line: str) -> None:
    arguments = shlex.split(line, comments=True)
    command: Any = typer.main.get_command(app)
    context = command.make_context("onefold", list(arguments))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, list(rest), parent=context)


def test_nothing_is_called_nowhere() -> None:
    here = {line for name in STORIES for line in LINES[name]}
    for line in ALL:
        plain = line.partition("#")[0].strip()
        elsewhere = [where for what, where in CALLED_ELSEWHERE.items() if plain.startswith(what)]
        assert line in here or elsewhere, f"{line}: call it in this file, or say where it is"
        assert all((ROOT / "tests" / where).exists() for where in elsewhere)


def called(
    capsys: Capture, document: str, codes: dict[str, int] | None = None, **instead: str
) -> list[Said]:
    """Run a document's lines in their order; `instead` replaces words that stand for others."""
    done = []
    for line in LINES[document]:
        plain = line.partition("#")[0].strip()
        if any(plain.startswith(what) for what in CALLED_ELSEWHERE):
            continue
        words = [instead.get(word, word) for word in shlex.split(line, comments=True)]
        said = onefold(capsys, *words)
        wanted = next((c for what, c in (codes or {}).items() if plain.startswith(what)), 0)
        assert said.code == wanted, f"{document}: onefold {line}: {said.err}"
        done.append(said)
    return done


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with strategies named as those of the documents, and a shadow session."""
    inner = tmp_path / "a"
    inner.mkdir()
    monkeypatch.chdir(inner)
    raw = yaml.safe_load(CONFIG.replace("MADE", "SPY"))
    write_config(inner, yaml.safe_dump(raw))
    return inner


def test_governance(folder: Path, capsys: Capture) -> None:
    """One line proposes a looser threshold, another approves proposal 7: both on a live account."""
    venue = {"ccxt": {"exchange": "kraken", "api_key": "k", "api_secret": "s"}}
    raw = yaml.safe_load((folder / "onefold.yaml").read_text())
    write_config(
        folder, yaml.safe_dump({**raw, "accounts": {"main": {"approved": "me", "venue": venue}}})
    )
    assert onefold(capsys, "run", "--mode", "shadow").code == 0
    for value in ("0.61", "0.62", "0.63"):
        onefold(
            capsys, "parameters", "set", "conf_min", value, "--strategy", "dips", "--reason", "x"
        )
    for arguments in (
        ["init", "-q"],
        ["config", "user.name", "a"],
        ["config", "user.email", "a@b"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)  # noqa: S607
    # 4 proposes 0.6; 5 goes back to 3, which is what is in force, so 5 is made before it is asked.
    lines = LINES["governance.md"]
    assert "parameters set conf_min 0.6 --strategy dips" in " ".join(lines)
    said = called(
        capsys,
        "governance.md",
        {"check-transition": 1, "parameters rollback": 2, "parameters approve": 2},
    )
    assert len(said) == len(lines)
    assert "no threshold differs from version 3" in said[2].err
    assert "version 7 is no proposal; those that wait: 4" in said[6].err
    assert onefold(capsys, "parameters", "approve", "4", "--reason", "x").code == 0


def test_models(folder: Path, capsys: Capture) -> None:
    (folder / "trained").mkdir()
    artifact = some_models.artifact_of("onnx")
    (folder / "trained/dips.onnx").write_bytes(artifact)
    sidecar = some_models.sidecar_of(artifact, trained_to=10**18, expires_on="2999-01-01")
    (folder / "trained/dips.json").write_bytes(msgspec.json.encode(sidecar))
    for version in ("1", "2"):
        onefold(capsys, "models", "add", "trained/dips.onnx")
        onefold(capsys, "models", "activate", "dips", version, "--reason", "a try")
    raw = yaml.safe_load((folder / "onefold.yaml").read_text())
    raw["strategies"]["asks"] = {
        "kind": "ml_ibs", "params": {"model": "dips@2"}, "instruments": ["ES"]
    }  # fmt: skip
    write_config(folder, yaml.safe_dump(raw))
    session = onefold(capsys, "run", "--json").json["journal"]
    [drift] = [line for line in LINES["models.md"] if line.startswith("models drift")]
    said = called(capsys, "models.md", **{drift.split()[3]: session})
    assert "dips@2" in said[3].out + said[3].err, "rolled back to the one before"


def test_training_and_sweeps(folder: Path, capsys: Capture) -> None:
    raw = yaml.safe_load((folder / "onefold.yaml").read_text())
    raw["strategies"] = {
        "trend": raw["strategies"]["trend"],
        "asks": {"kind": "ml_ibs", "params": {"model": "dips"}},
    }
    raw["training"] = {"dips": {"strategy": "asks", "features": ["rsi(5)", "ibs()"], "trees": 5}}
    raw["sweeps"] = {"trend": {"strategy": "trend", "params": {"params.fast": [3, 5]}}}
    for one in raw["data"].values():  # weights want more days
        one["synthetic"] |= {"bars": 2_500}
    write_config(folder, yaml.safe_dump(raw))
    assert onefold(capsys, "train").code in (0, 1)
    called(capsys, "training.md")
    called(capsys, "sweeps.md")


def test_backups_keys_and_health(folder: Path, capsys: Capture) -> None:
    raw = yaml.safe_load((folder / "onefold.yaml").read_text())
    write_config(folder, yaml.safe_dump({**raw, "backups": {"to": "../backups"}}))
    assert onefold(capsys, "run", "--mode", "shadow").code == 0
    called(capsys, "backups.md")
    assert (folder.parent / "again/onefold.yaml").exists()
    for document in ("api.md", "dashboard.md", "monitoring.md", "security.md"):
        (folder / "keys.json").unlink(missing_ok=True)
        for said in called(capsys, document):
            assert said.out.startswith("onefold_")
    called(capsys, "health.md", {"health": 1})
    called(capsys, "preflight.md", {"preflight": 0})


STORIES = (
    "governance.md", "models.md", "training.md", "sweeps.md", "backups.md", "api.md",
    "dashboard.md", "monitoring.md", "security.md", "health.md", "preflight.md",
)  # fmt: skip
