"""The command line: one table of commands, and one place where errors become lines and exit codes.

Each command lives in a module that is imported when the command is used, because market data and
compiled code take seconds to import and `onefold --help` must not. The table holds what the help
shows, so nothing has to be imported to list the commands.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from typing import Annotated, Any, NamedTuple

import typer

from onefold.app.group import Group, new_app
from onefold.app.output import (
    INTERRUPTED,
    UNEXPECTED,
    Json,
    emit,
    error_document,
    error_line,
    note,
    say,
)
from onefold.domain.errors import ConfigError, OnefoldError, SignalError

USAGE_ERROR = typer.BadParameter.__bases__[0]
"""The class of all errors in a command line; typer has it, but exports only this subclass."""

BUG = "this is a bug in Onefold; run `onefold --debug ...` for the traceback, and report it"

USER_MODULE = "onefold_user_"
"""How the names of modules begin that are made of a user's strategy files."""


class Command(NamedTuple):
    """Where a command is, and what the list of commands says of it."""

    module: str
    help: str


COMMANDS: dict[str, Command] = {
    "init": Command("init", "Write a starter folder: configuration, strategies, .env.example."),
    "demo": Command("demo", "Backtest, simulate and replay the sample, and prove them identical."),
    "backtest": Command("backtest", "Run the strategies over all data and write a report."),
    "run": Command("run", "Run the strategies event by event, with a durable journal."),
    "status": Command("status", "Tell what every account is doing."),
    "preflight": Command("preflight", "Check everything that a session needs, before it starts."),
    "health": Command("health", "Tell whether all is well, check by check."),
    "stop": Command("stop", "End a running session in good order."),
    "emergency-stop": Command("emergency_stop", "Stop trading at once, durably; or flatten too."),
    "reduce-only": Command("reduce_only", "Allow only what makes positions smaller."),
    "adopt": Command("adopt", "Put what the venue holds into the books of a strategy."),
    "resume": Command("resume", "Turn a kill switch off and trade again, for a reason."),
    "replay": Command("replay", "Recompute every decision of a journal and compare bit for bit."),
    "explain": Command("explain", "Tell why a decision was made, or why nothing was traded."),
    "gates": Command("gates", "Tell which gates stop entries, and what each is worth."),
    "diff": Command("diff", "Tell which decisions a change would have changed, and its worth."),
    "diverge": Command(
        "diverge", "Split the P&L of two runs into data, timing, fill, fee and more."
    ),
    "metrics": Command("metrics", "Measure every strategy and symbol, as evidence."),
    "journal": Command("journal", "Verify and read a journal."),
    "check": Command("check", "Prove a file's features causal and its strategies elementwise."),
    "sweep": Command("sweep", "Search for parameters over all cores, and judge the winner."),
    "allocate": Command("allocate", "Weigh strategies by what each has made alone."),
    "train": Command("train", "Train models, and put them into the store as challengers."),
    "models": Command("models", "Add, list, check and activate models."),
    "parameters": Command("parameters", "Read, set and roll back what governance has changed."),
    "govern": Command("govern", "Raise conf_min where results are poor, lower it where good."),
    "review": Command("review", "Suppress, watch or release a strategy or symbol, for a reason."),
    "readiness": Command("readiness", "Report on a day or a week of a session."),
    "check-transition": Command(
        "check_transition", "Tell whether strategies may go on to a stage."
    ),
    "demote": Command("demote", "Take a strategy back to an earlier stage, at once."),
    "evidence": Command("evidence", "List and verify the evidence of transitions."),
    "data": Command("data", "Judge market data before anyone trades on it."),
    "db": Command("db", "Project the journals into a database, and follow them."),
    "serve": Command("serve", "Serve API, stream and dashboard beside the sessions."),
    "keys": Command("keys", "Make, list and revoke API keys."),
    "notify": Command("notify", "Try out where people are told what happens."),
    "fake-venue": Command("fake_venue", "Serve a rehearsal venue on this machine."),
    "backup": Command("backup", "Take, verify and restore backups."),
    "settings": Command("settings", "List every setting with its type, default and meaning."),
}
"""All commands, in the order in which one meets them."""


class LazyGroup(Group):
    """The group of all commands; it imports a command's module only to run it."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is typer's
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Import a command."""
        module = import_module(f"onefold.app.commands.{COMMANDS[cmd_name].module}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])


app = new_app(LazyGroup)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[  # noqa: ARG001 - read by `_report`, also when the rest cannot be parsed
        bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")
    ] = False,
    json_: Json = False,
) -> None:
    """Trading strategies from research to live money: one decision function, one record."""
    if version:
        _print_version(as_json=json_)
    elif context.invoked_subcommand is None:
        raise ConfigError("give a command; `onefold --help` lists them")


def _print_version(*, as_json: bool) -> None:
    from importlib.metadata import version  # noqa: PLC0415 - only for this option

    number = version("onefold")
    if as_json:
        emit({"version": number})
    else:
        say(f"onefold {number}")
    raise typer.Exit


class WithoutPandas(MetaPathFinder):
    """Hides pandas from TA-Lib while that is imported: it would load it only to take its columns.

    Nothing of a session needs that, and it takes a third of the time in which a process starts.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:  # noqa: ARG002
        """Find nothing, and end the search for pandas where TA-Lib asks."""
        if fullname == "pandas" and _is_loading("talib") and not _is_loading("polars"):
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")


def _is_loading(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code that `docs/commands.md` lists."""
    sys.meta_path.insert(0, WithoutPandas())
    arguments = list(sys.argv[1:] if argv is None else argv)
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors become one line on stderr."""
    if "--json" in arguments and any(not a.startswith("-") for a in arguments):
        # Before the command or after it, it means the same.
        arguments = [*(a for a in arguments if a != "--json"), "--json"]
    try:
        code = typer.main.get_command(app).main(
            args=arguments, prog_name="onefold", standalone_mode=False
        )
        sys.stdout.flush()
    except BrokenPipeError:
        return _abandon_stdout()
    except typer.Abort:
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last resort, where every error ends
        return _report(error, arguments)
    if code == INTERRUPTED:
        if "--json" in arguments:
            emit(error_document(KeyboardInterrupt("interrupted"), INTERRUPTED))
        error_line("interrupted")
    return code if isinstance(code, int) else 0


def _report(error: Exception, arguments: list[str]) -> int:
    """Tell of an error in one line, and with --json as a document; return the exit code."""
    message = str(error)
    if isinstance(error, OnefoldError):
        code = error.exit_code
    elif isinstance(error, USAGE_ERROR):
        if not (message := _usage(error)):
            return 2  # the help was asked for by giving no command, and has been shown
        code = ConfigError.exit_code
    elif isinstance(error, OSError) and error.filename is not None:
        # A file that is not there or may not be read: the user's to mend, not a bug.
        code, message = 1, f"{error.filename}: {error.strerror}"
    else:
        code, message = _unexpected(error)
        if "--debug" in arguments:
            note("".join(traceback.format_exception(error)).rstrip())
    if "--json" in arguments:
        emit({**error_document(error, code), "error": message})
    error_line(message)
    return code


def _unexpected(error: Exception) -> tuple[int, str]:
    """Return code and message of an error that nobody raised on purpose: the user's, or ours."""
    said = f"{type(error).__name__}: {error}"
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if str(frame.f_globals.get("__name__")).startswith(USER_MODULE):
            file = frame.f_code.co_filename
            return SignalError.exit_code, f"{file}, line {line}: {said}"
    return UNEXPECTED, f"{said}; {BUG}"


def _usage(error: Any) -> str:
    """Return what is wrong with a command line, with the command whose help explains it."""
    context = error.ctx
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(context.get_help() + "\n")
        return ""
    path = context.command_path if context is not None else "onefold"
    message = str(error.format_message()).rstrip(".").replace("Value error, ", "")
    return f"{message[:1].lower()}{message[1:]}; see `{path} --help`"


def _abandon_stdout() -> int:
    """Give up on a reader that has left (such as `head`), without a word."""
    # The interpreter flushes stdout at exit, and would complain.
    sys.stdout = None
    return 1
