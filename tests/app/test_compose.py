"""U6: what is handed to a container engine is closed by default, and names only what is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from onefold.app.commands.run import RunMode
from onefold.app.main import COMMANDS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
OURS = {name: one for name, one in COMPOSE["services"].items() if one.get("image") == "onefold"}


def test_our_services_cannot_write_or_gain_anything_beside_their_folders() -> None:
    assert OURS.keys() == {"run", "serve", "backup"}
    for one in OURS.values():
        assert one["read_only"]
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert one["command"][0] in COMMANDS
    assert {mode.value for mode in RunMode} >= {"paper"}


def test_who_trades_reaches_no_database_and_who_serves_no_venue() -> None:
    assert OURS["run"]["networks"] == ["world"]
    assert "ports" not in OURS["run"]
    assert "world" not in OURS["serve"]["networks"]
    assert COMPOSE["networks"]["inside"]["internal"]


def test_ports_are_of_this_machine_and_passwords_have_no_default() -> None:
    for one in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", []))
        for name, value in one.get("environment", {}).items():
            assert "PASSWORD" not in name or re.fullmatch(r"\$\{[A-Z_]+:\?\}", value), name
        assert not one.get("image", "").endswith(":latest")


def test_files_that_are_mounted_are_there() -> None:
    for one in COMPOSE["services"].values():
        for volume in one.get("volumes", []):
            source = volume.split(":")[0]
            made_by_hand = {"./main", "./prometheus/onefold.key"}
            if source.startswith("./") and source not in made_by_hand:
                assert (DEPLOY / source).exists(), source


def test_the_image_installs_what_is_locked_and_runs_as_nobody_special() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert "--frozen" in text
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["10001:10001"]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in re.findall(r"--extra (\w+)", text):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    copied = set(re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE))
    assert {name for line in copied for name in line.split()} == kept
