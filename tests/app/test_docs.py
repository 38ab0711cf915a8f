"""The documents cannot rot: every setting, command, option and exit code is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from onefold.app import settings_doc
from onefold.app.main import COMMANDS
from onefold.app.output import INTERRUPTED, UNEXPECTED
from onefold.app.settings import LOOKING_ON, load_settings, overrides, settings_of
from onefold.app.wiring import Wired
from onefold.domain import errors

from .world import onefold, write_config

ROOT = Path(__file__).parents[2]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
COMMANDS_DOC = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def test_every_setting_has_a_meaning() -> None:
    rows = settings_doc.setting_rows()
    assert len(rows) > 100
    assert [row.path for row in rows if not row.meaning or not row.type] == []


def test_the_table_of_settings_is_that_of_the_models() -> None:
    assert settings_doc.with_table(CONFIGURATION) == CONFIGURATION, (
        "run: python -m onefold.app.settings_doc docs/configuration.md"
    )


def test_the_variables_are_those_of_the_models_and_give_the_defaults() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert text == settings_doc.env_example(), "run: onefold settings --env > .env.example"
    lines = re.findall(r"^# (ONEFOLD_[A-Z_]+)=(.+)$", text, re.MULTILINE)
    given = {name: value for name, value in lines if "__NAME__" not in name}
    assert len(given) > 100
    assert settings_of(overrides({}, given)) == settings_of({})


def test_every_field_of_the_models_is_in_the_table() -> None:
    paths = {row.path for row in settings_doc.setting_rows()}
    written = settings_of({"data": {"ES": {"path": "x"}}, "strategies": {"a": {"kind": "b"}}})
    missing = []
    looking_on = written.model_dump(mode="json", include=set(LOOKING_ON))
    for path in _leaves({**written.as_written(), **looking_on}):
        general = re.sub(r"^strategies\.a\.", "strategies.NAME.", path)
        general = re.sub(r"^(data|instruments)\.ES\.", r"\1.SYMBOL.", general)
        if general not in paths:
            missing.append(general)
    assert missing == []


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _commands() -> Iterator[tuple[str, Any]]:
    for name, entry in COMMANDS.items():
        command = typer.main.get_command(import_module(f"onefold.app.commands.{entry.module}").app)
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
        else:
            yield from ((f"{name} {sub}", found) for sub, found in inner.items())


@pytest.mark.parametrize(("name", "command"), list(_commands()), ids=lambda x: str(x)[:20])
def test_every_command_and_option_is_documented(name: str, command: Any) -> None:
    assert f"| `onefold {name}" in COMMANDS_DOC
    assert command.help
    for parameter in command.params:
        if parameter.param_type_name == "option":
            for option in parameter.opts:
                assert f"{option}" in COMMANDS_DOC, option
            assert parameter.help, parameter.name


def test_the_list_of_commands_says_what_the_commands_say() -> None:
    for name, command in _commands():
        if " " not in name:
            assert COMMANDS[name].help.split()[0] == command.help.split()[0], name


def test_exit_codes_are_documented() -> None:
    table = COMMANDS_DOC.partition("## Exit codes")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \|(.*)\|$", table, re.MULTILINE)
    codes = {int(code): text for code, text in rows}
    assert {0, UNEXPECTED, INTERRUPTED} <= set(codes)
    for name, cls in vars(errors).items():
        if isinstance(cls, type) and issubclass(cls, errors.OnefoldError):
            assert f"`{name}`" in codes[cls.exit_code], name


def test_the_example_in_the_document_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```yaml\n(.*?)```", CONFIGURATION, re.DOTALL)
    write_config(tmp_path, example)
    assert onefold(capsys, "backtest").code == 0


def test_the_errors_in_the_document_are_real(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", CONFIGURATION, re.DOTALL)
    block = CONFIGURATION.partition("```\nerror: ")[2].partition("```")[0]
    said = [
        line.removeprefix("error: ").removeprefix("onefold.yaml") for line in block.splitlines()
    ]
    changes = (("fraction: 0.5", "fraction: -1"), ("drawdown", "drawdwn"))
    for line, (old, new) in zip(said, changes, strict=False):
        path = write_config(tmp_path, example.replace(old, new))
        with pytest.raises(errors.ConfigError) as error:
            load_settings(path)
        assert str(error.value) == f"{path}{line}"


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "examples").glob("*.yaml")))
def test_examples_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONEFOLD_PATHS__RUNS", str(tmp_path))
    said = onefold(capsys, "backtest", ROOT / "examples" / name, "--json")
    assert said.code == 0, said.err
    assert said.json["trades"] > 50
    assert f"`{name}`" in (ROOT / "examples" / "README.md").read_text()


def test_examples_are_valid_plans() -> None:
    for path in (ROOT / "examples").glob("*.yaml"):
        assert Wired(load_settings(path)).plan.placements
