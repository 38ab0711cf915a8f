"""The source itself, under test: the bans of law 2, lengths, names, docstrings, docs, dead files.

What a reviewer would have to remember is checked here instead. Each exception is written down with
its reason, and an exception that is no longer needed fails too. The rules are in `tidy_rules`; the
second half of this file plants every fault once and shows that its rule finds it.
"""

from __future__ import annotations

import fnmatch
import functools
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

import tidy_rules as rules

ROOT = Path(__file__).parents[1]

PURE = ("domain", "signals", "fold", "views", "governance", "sim")
"""Packages in which nothing reads a clock, draws a number or touches the world."""

IMPURE: dict[tuple[str, str], str] = {
    ("domain/calendars.py", "importlib"): "exchange-calendars is imported when first needed",
    ("signals/runtimes.py", "importlib"): "a model's library is imported when one needs it",
    ("signals/runtimes.py", "io"): "joblib reads from a file, here from bytes in memory",
    ("views/report.py", "jinja2.PackageLoader"): "the templates are part of the package",
}
"""Exceptions to law 2: file under `src/onefold` and what it uses, with the reason."""

LONGER: dict[str, int] = {}
"""Files over the limit, with the most lines they may have; the numbers only go down."""

USES_NUMBA = {
    "src/onefold/_compile.py",
    "src/onefold/fold/memory.py",  # defines intrinsics
}


@functools.cache
def project_files() -> tuple[Path, ...]:
    """Return every file of the project: what is here and not ignored by .gitignore."""
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()]
    ignored.append(".git")
    found = []
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in ignored):
                continue
            if path.is_dir():
                folders.append(path)
            else:
                found.append(path)
    return tuple(found)


@functools.cache
def sources(folder: str) -> tuple[rules.Source, ...]:
    """Return all Python files below a folder of the project."""
    wanted = [p for p in project_files() if p.suffix == ".py" and p.is_relative_to(ROOT / folder)]
    assert wanted, f"no Python files in {folder}: the checks would pass without checking"
    return tuple(rules.source(p.relative_to(ROOT).as_posix(), p.read_text("utf-8")) for p in wanted)


def texts() -> Iterator[tuple[str, str]]:
    """Yield path and content of every text file of the project but the lock file."""
    for path in project_files():
        content = path.read_bytes()
        if b"\0" not in content and path.name != "uv.lock":
            yield path.relative_to(ROOT).as_posix(), content.decode("utf-8")


def documents() -> dict[Path, str]:
    """Return all Markdown files of the project."""
    return {p: p.read_text("utf-8") for p in project_files() if p.suffix == ".md"}


def report(findings: list[str]) -> None:
    """Fail with one line per finding."""
    if findings:
        pytest.fail("\n".join(findings), pytrace=False)


# --- law 2 ---------------------------------------------------------------------------------------


def of_packages(*packages: str) -> list[rules.Source]:
    folders = tuple(f"src/onefold/{package}/" for package in packages)
    return [file for file in sources("src") if file.path.startswith(folders)]


def test_pure_packages_touch_neither_clock_nor_chance_nor_world() -> None:
    findings, used = [], set()
    for file in of_packages(*PURE):
        for line, thing, instead in rules.impurities(file):
            exception = (file.path.removeprefix("src/onefold/"), thing)
            if exception in IMPURE:
                used.add(exception)
            else:
                findings.append(f"{file.path}:{line}: {thing}: {instead}")
    findings += [f"IMPURE: {unused} is not needed any more" for unused in set(IMPURE) - used]
    report(findings)


def test_journal_touches_the_world_only_in_its_disk_and_locks() -> None:
    may = {
        "disk.py": {rules.FILE},  # the port to the disk
        "files.py": {rules.FILE, rules.WORLD, rules.INPUT},  # side files: locks, timestamps
        "writer.py": {rules.FILE},  # the lock of the one writer
    }
    report(
        [
            f"{file.path}:{line}: {thing}: {instead}"
            for file in of_packages("journal")
            for line, thing, instead in rules.impurities(file)
            if instead.partition(";")[0] not in may.get(Path(file.path).name, set())
        ]
    )


# --- form ----------------------------------------------------------------------------------------


def test_files_and_functions_are_short() -> None:
    files = [*sources("src"), *sources("tests"), *sources("benchmarks")]
    gone = set(LONGER) - {file.path for file in files}
    report([*(f"LONGER: there is no {path}" for path in gone)])
    report([finding for file in files for finding in rules.too_long(file, LONGER)])


def test_public_names_have_docstrings() -> None:
    report([finding for file in sources("src") for finding in rules.undocumented(file)])


def test_compiled_functions_are_visible_by_name() -> None:
    report([finding for file in sources("src") for finding in rules.misnamed_compiled(file)])


def test_compiling_has_one_place_and_no_fastmath() -> None:
    report(
        [
            finding
            for file in sources("src")
            for finding in rules.unfit_for_compiling(file, USES_NUMBA)
        ]
    )


def test_facades_are_sorted_and_complete() -> None:
    facades = [file for file in sources("src") if file.path.endswith("__init__.py")]
    report([finding for file in facades for finding in rules.unsorted_facade(file)])


def test_no_module_is_dead() -> None:
    report(list(rules.dead_modules(sources("src"), entry_points())))


def entry_points() -> set[str]:
    """Return the modules that are started by name: scripts, commands, versions of the database."""
    from onefold.app.main import COMMANDS

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    scripts = {target.partition(":")[0] for target in project["project"]["scripts"].values()}
    commands = {f"onefold.app.commands.{command.module}" for command in COMMANDS.values()}
    inside = (ROOT / "src" / "onefold" / "ops" / "database" / "migrations").rglob("*.py")
    migrations = {
        ".".join(p.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        for p in inside
    }
    return {"onefold", "onefold.__main__", *scripts, *commands, *migrations}


# --- text ----------------------------------------------------------------------------------------


def test_nothing_unfinished_and_no_machine_in_the_text() -> None:
    report([f for path, text in texts() for f in rules.unwanted_text(path, text)])


def test_links_in_the_docs_lead_somewhere() -> None:
    findings = []
    for path, text in documents().items():
        for link in rules.links(text):
            name, _, anchor = link.partition("#")
            target = (path.parent / name).resolve() if name else path
            place = path.relative_to(ROOT).as_posix()
            if not target.exists():
                findings.append(f"{place}: {link}: there is no such file")
            elif anchor and anchor not in rules.anchors(target.read_text("utf-8")):
                findings.append(f"{place}: {link}: there is no such heading")
    report(findings)


# --- docs cannot rot -----------------------------------------------------------------------------


def test_every_command_is_documented() -> None:
    from onefold.app.main import app

    text = "\n".join(documents().values())
    commands = list(command_names(typer.main.get_command(app)))
    assert commands
    report(
        [
            f"`onefold {command}` is not in README.md or docs/"
            for command in commands
            if not rules.mentions_command(text, command)
        ]
    )


def command_names(command: typing.Any, prefix: str = "") -> Iterator[str]:
    """Yield the words of every command that can be run, those of groups included."""
    if not hasattr(command, "list_commands"):
        yield prefix
        return
    context = typer.Context(command)
    for name in command.list_commands(context):
        yield from command_names(command.get_command(context, name), f"{prefix} {name}".strip())


def test_every_setting_is_described_and_documented() -> None:
    from onefold.app import settings

    roots = [
        value
        for value in vars(settings).values()
        if isinstance(value, type)
        and issubclass(value, BaseModel)
        and value.__module__ == settings.__name__
    ]
    assert roots
    text = "\n".join(documents().values())
    findings = []
    for model in sorted(models_below(roots), key=lambda m: m.__qualname__):
        for name, field in model.model_fields.items():
            place = f"{model.__module__}.{model.__qualname__}.{name}"
            shown = field.alias or name
            tag = typing.get_origin(field.annotation) is typing.Literal
            if not (field.description or tag or models_in(field.annotation)):
                findings.append(f"{place} has no description")
            if not rules.mentions_setting(text, shown):
                findings.append(f"{place}: `{shown}` is not in README.md or docs/")
    report(findings)


def models_in(annotation: typing.Any) -> set[type[BaseModel]]:
    """Return the models that a type speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {m for part in typing.get_args(annotation) for m in models_in(part)}


def models_below(roots: list[type[BaseModel]]) -> set[type[BaseModel]]:
    """Return models and everything that their fields are made of."""
    found: set[type[BaseModel]] = set()
    waiting = list(roots)
    while waiting:
        model = waiting.pop()
        if model not in found:
            found.add(model)
            for field in model.model_fields.values():
                waiting += models_in(field.annotation)
    return found


# --- the rules catch what they are for -----------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "import time\nx = time.time()",
        "from time import perf_counter",
        "from datetime import datetime\nx = datetime.now()",
        "import datetime as dt\nx = dt.datetime.utcnow()",
        "import datetime as dt\nclock = dt.date.today",
        "import random",
        "import secrets",
        "import uuid",
        "import os\nx = os.urandom(8)",
        "import numpy as np\nx = np.random.default_rng(1)",
        "from numpy import random as r",
        "from numpy.random import default_rng",
        "x = open('a')",
        "from pathlib import Path\nx = Path('a').read_text()",
        "from pathlib import Path\nPath('a').write_bytes(b'')",
        "with path.open() as file: pass",
        "import polars as pl\nx = pl.read_csv('a')",
        "import socket",
        "from threading import Lock",
        "import subprocess as s",
        "import requests",
        "import httpx",
        "print(1)",
        "import sys\nsys.stdout.write('a')",
        "import logging",
        "def f():\n    import importlib",
    ],
)
def test_impurity_is_caught(text: str) -> None:
    assert list(rules.impurities(rules.source("a.py", text)))


def test_purity_is_not_disturbed() -> None:
    text = "import datetime as dt\nimport math\nx = node.open()\ny = dt.date(2026, 1, 1)"
    assert not list(rules.impurities(rules.source("a.py", text)))


def function_of(lines: int) -> str:
    return "def f():\n" + '    """Do."""\n' + "    x = 1\n" * lines


def test_length_is_caught() -> None:
    def found(text: str, longer: dict[str, int]) -> int:
        return len(list(rules.too_long(rules.source("a.py", text), longer)))

    assert found(function_of(rules.BODY_LINES_MAX), {}) == 0
    assert found(function_of(rules.BODY_LINES_MAX + 1), {}) == 1
    assert found("x = 1\n" * rules.FILE_LINES_MAX, {}) == 0
    assert found("x = 1\n" * (rules.FILE_LINES_MAX + 1), {}) == 1
    assert found("x = 1\n" * 700, {"a.py": 700}) == 0
    assert found("x = 1\n" * 701, {"a.py": 700}) == 1
    assert found("x = 1\n" * 699, {"a.py": 700}) == 1, "an entry that could shrink is found"


@pytest.mark.parametrize(
    "text",
    [
        "x = 1",
        '"""Why."""\ndef f(): ...',
        '"""Why."""\nclass A: ...',
        '"""Why."""\nclass A:\n    """An A."""\n    def f(self): ...',
        '"""Why."""\ndef f():\n    """Returns one."""',
        '"""Why."""\nasync def f():\n    """This gives one."""',
    ],
)
def test_missing_or_odd_docstring_is_caught(text: str) -> None:
    assert len(list(rules.undocumented(rules.source("a.py", text)))) == 1


def test_private_names_need_no_docstring() -> None:
    text = '"""Why."""\ndef _f(): ...\nclass _A:\n    def f(self): ...'
    assert not list(rules.undocumented(rules.source("a.py", text)))


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("from onefold._compile import kernel\n@kernel\ndef a_nb(): ...", 0),
        ("from onefold._compile import kernel\n@kernel\ndef a(): ...", 1),
        ("from onefold import _compile as c\n@c.kernel_part\ndef a(): ...", 1),
        ("def a_nb(): ...", 1),
        ("from functools import cache\n@cache\ndef a_nb(): ...", 1),
    ],
)
def test_misnamed_compiled_function_is_caught(text: str, findings: int) -> None:
    assert len(list(rules.misnamed_compiled(rules.source("a.py", text)))) == findings


@pytest.mark.parametrize(
    "text",
    ["import numba", "from numba.core import types", "njit(fastmath=True)", "{'fastmath': True}"],
)
def test_unfit_compiling_is_caught(text: str) -> None:
    assert len(list(rules.unfit_for_compiling(rules.source("a.py", text), set()))) == 1


def test_dead_module_is_caught() -> None:
    files = [
        rules.source("src/onefold/__init__.py", ""),
        rules.source("src/onefold/app/__init__.py", ""),
        rules.source("src/onefold/app/main.py", "from onefold.app import used"),
        rules.source("src/onefold/app/used.py", ""),
        rules.source("src/onefold/app/dead.py", "import onefold.app.dead"),
    ]
    assert list(rules.dead_modules(files, {"onefold", "onefold.app.main"})) == [
        "src/onefold/app/dead.py: nothing imports it: use it or delete it"
    ]


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("from onefold.a.b import A, B, C, f\n__all__ = ['C', 'A', 'B', 'f']", 1),
        ("from onefold.a.b import ONE, A, f\n__all__ = ['ONE', 'A', 'f']", 0),
        ("from onefold.a.b import A\n__all__ = ['A', 'A']", 1),
        ("from onefold.a.b import A, B\n__all__ = ['A']", 1),
        ("from onefold.a.b import A", 1),
        ("from onefold.ab import A", 0),
        ("", 0),
    ],
)
def test_unsorted_facade_is_caught(text: str, findings: int) -> None:
    assert (
        len(list(rules.unsorted_facade(rules.source("src/onefold/a/__init__.py", text))))
        == findings
    )


@pytest.mark.parametrize(
    "text",
    [
        "# TO" + "DO later",
        "# FIX" + "ME",
        "open('/ro" + "ot/x')",
        "see /wo" + "rk/x",
        "https://py" + "pi.org/simple",
    ],
)
def test_unwanted_text_is_caught(text: str) -> None:
    assert len(list(rules.unwanted_text("a.md", text))) == 1


def test_ordinary_text_is_not_disturbed() -> None:
    assert not list(
        rules.unwanted_text("a.md", "../shared/data src/work/x ~/home/x to do mastodon")
    )


def test_links_and_anchors_are_found() -> None:
    text = (
        "# One fold: *here*\n[a](b.md#c) ![p](d.png) [w](https://x) `[n](no)`\n```\n[n](no)\n```\n"
    )
    assert list(rules.links(text)) == ["b.md#c", "d.png"]
    assert rules.anchors(text) == {"one-fold-here"}


def test_undocumented_command_and_setting_are_caught() -> None:
    assert rules.mentions_command("run `onefold journal verify` now", "journal verify")
    assert not rules.mentions_command("run `onefold journal` now", "journal verify")
    assert not rules.mentions_command("onefold running", "run")
    assert rules.mentions_setting("| `limits.daily_loss` | x |", "daily_loss")
    assert rules.mentions_setting("limits:\n  daily_loss: 0.02\n", "daily_loss")
    assert not rules.mentions_setting("the daily_loss is", "daily_loss")
    assert not rules.mentions_setting("`max_daily_loss`", "daily_loss")
