"""The command line itself: help, version, typos, exit codes, streams."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from onefold.app import main as cli
from onefold.app.main import COMMANDS, main, run
from onefold.app.output import error_document, progress
from onefold.domain.errors import (
    FoldError,
    JournalDamaged,
    MissingExtra,
    NotCausal,
    OnefoldError,
    ReplayMismatch,
)

from .world import onefold, onefold_process

HEAVY = ("numpy", "numba", "polars", "pydantic", "rich", "yaml", "talib", "plotly", "jinja2")


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom onefold.app.main import run\nrun(['--help'])\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
    for name, command in COMMANDS.items():
        assert name in done.stdout
        assert command.help.split()[0] in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    said = onefold(capsys, name, "--help")
    assert said.code == 0
    assert f"Usage: onefold {name}" in said.out
    assert said.err == ""
    if "COMMAND" not in said.out:
        assert "--json" in said.out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert onefold(capsys, "--version").out == "onefold 0.1.0\n"
    assert onefold(capsys, "--version", "--json").json == {"version": "0.1.0"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bcktest",), "there is no command 'bcktest'; did you mean 'backtest'?"),
        (("journal", "verfy"), "there is no command 'verfy'; did you mean 'verify'?"),
        (("xyz",), "there is no command 'xyz'; known: adopt, allocate, backtest"),
        (("replay",), "see `onefold replay --help`"),
        (("replay", "--fast"), "no such option: --fast"),
        (("run", "--mode", "lve"), "invalid value for '--mode': 'lve' is not"),
    ],
)
def test_typos(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
    plain = onefold(capsys, *arguments)
    assert plain.code == 2
    assert plain.out == ""
    assert plain.err.startswith("error: ")
    assert plain.err.count("\n") == 1
    assert said in plain.err
    document = onefold(capsys, *arguments, "--json").json
    assert document["exit_code"] == 2
    assert document["error"]


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    said = onefold(capsys)
    assert said.code == 2
    assert "Commands:" in said.err


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("onefold.app.commands.init.starter", fail)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OnefoldError("a"), 1),
        (MissingExtra("notebooks", "learn"), 2),
        (NotCausal("a"), 4),
        (FoldError("a"), 5),
        (JournalDamaged(Path("j/1.jsonl"), 3, 99, "altered"), 6),
        (ReplayMismatch(4, "p", "{}", "{ }"), 7),
    ],
)
def test_exit_codes_are_those_of_the_errors(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    error: OnefoldError,
    code: int,
) -> None:
    raising(monkeypatch, error)
    said = onefold(capsys, "init", tmp_path / "a")
    assert (said.code, said.out, said.err) == (code, "", f"error: {error}\n")
    document = onefold(capsys, "init", tmp_path / "b", "--json").json
    assert document["kind"] == type(error).__name__
    assert (document["error"], document["exit_code"]) == (str(error), code)


def test_a_json_error_has_the_place() -> None:
    error = JournalDamaged(Path("j/1.jsonl"), 3, 99, "altered")
    found = error_document(error, 6)
    assert (found["path"], found["line"], found["offset"]) == (str(Path("j/1.jsonl")), 3, 99)


def test_a_bug_is_one_line_unless_debugged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    raising(monkeypatch, ZeroDivisionError("by\nzero"))
    said = onefold(capsys, "init", tmp_path / "a")
    assert said.code == 70
    assert said.err.startswith("error: ZeroDivisionError: by zero; this is a bug")
    assert said.err.count("\n") == 1
    debugged = onefold(capsys, "--debug", "init", tmp_path / "b")
    assert "Traceback" in debugged.err
    assert debugged.err.splitlines()[-1].startswith("error: ZeroDivisionError")


def test_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    said = onefold(capsys, "init", tmp_path / "a")
    assert (said.code, said.err) == (130, "error: interrupted\n")
    document = onefold(capsys, "init", tmp_path / "a", "--json").json
    assert (document["error"], document["exit_code"]) == ("interrupted", 130)


def test_a_file_that_may_not_be_read_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    raising(monkeypatch, PermissionError(13, "Permission denied", "x.csv"))
    said = onefold(capsys, "init", tmp_path / "a")
    assert said.code != 70
    assert said.err == "error: x.csv: Permission denied\n"


def test_main_exits_with_the_code() -> None:
    with pytest.raises(SystemExit) as done:
        main(["nonsense"])
    assert done.value.code == 2


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from onefold.app.main import main; main()", "settings"]
    writer = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.close()
    assert writer.stderr is not None
    assert writer.stderr.read() == b""
    writer.stderr.close()
    assert writer.wait() == 1


def test_the_process_keeps_streams_apart(tmp_path: Path) -> None:
    said = onefold_process(tmp_path, "init", "--json")
    assert said.code == 0
    assert said.json["files"] == ["onefold.yaml", "strategies.py", ".env.example", ".gitignore"]
    assert said.err == ""
    again = onefold_process(tmp_path, "init", "--json")
    assert again.code == 2
    assert again.json["kind"] == "ConfigError"


def test_no_progress_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("work", 10) as advance:
        advance(5)
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress("work", 10) as advance:
        advance(5)
    out, err = capsys.readouterr()
    assert out == ""
    assert "work" in err


def test_the_table_of_commands_is_complete() -> None:
    folder = Path(cli.__file__).parent / "commands"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert modules == {command.module for command in COMMANDS.values()}
    assert run(["--help"]) == 0


def test_a_process_starts_without_pandas_and_can_have_it() -> None:
    """TA-Lib would load it first thing; what needs it later finds it."""
    script = (
        "import sys\n"
        "from onefold.app.main import main\n"
        "try:\n"
        "    main(['check', '--json'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "assert 'talib' in sys.modules and 'pandas' not in sys.modules\n"
        "import pandas\n"
        "assert pandas.Series([1]).sum() == 1\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
