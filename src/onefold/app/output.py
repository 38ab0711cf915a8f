"""What the command line says, and where: results on stdout, all else on stderr.

A program that calls us reads stdout, so with `--json` it holds exactly one JSON document, also when
something went wrong. A person reads both; errors are one line, and progress is shown only where
there is a terminal to show it on.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from onefold.domain.errors import OnefoldError

if TYPE_CHECKING:
    from rich.table import Table

INTERRUPTED = 130
UNEXPECTED = 70
"""Exit codes for Ctrl-C, and for a bug (EX_SOFTWARE of sysexits.h)."""

WAITING_MAX, PATIENCE_S = 1_000, 2.0
"""Lines that may wait to be printed, and how long the end of a program waits for them."""

FILE_WIDTH = 160
"""Characters of a line in a table that does not go to a terminal."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]
ConfigFile = Annotated[
    Path, typer.Argument(help="The configuration, a YAML file.", show_default=True)
]

Advance = Callable[[int], None]
"""Tell how much of the work is done now, in the unit of its total."""


def emit(document: object) -> None:
    """Print a JSON document on stdout. Raises NotJsonSafe for what JSON cannot carry."""
    # Most commands print no JSON; those that do pay for the encoder.
    import msgspec  # noqa: PLC0415

    from onefold.journal.jsonsafe import json_safe  # noqa: PLC0415

    text = msgspec.json.format(msgspec.json.encode(json_safe(document)), indent=2)
    sys.stdout.write(text.decode() + "\n")


def say(text: str = "") -> None:
    """Print a line for people on stdout."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Print a line for people on stderr, where it disturbs no reader of the result."""
    sys.stderr.write(text + "\n")


class Teller:
    """Notes that are printed by a thread: a terminal that hangs, or is gone, holds nobody up."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[str | None] = queue.Queue(WAITING_MAX)
        self._thread = threading.Thread(target=self._print, daemon=True)
        self._thread.start()

    def tell(self, text: str) -> None:
        """Print a line soon; it is dropped where too many wait."""
        with suppress(queue.Full):
            self._waiting.put_nowait(text)

    def close(self) -> None:
        """Wait a moment for what has not been printed yet."""
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(PATIENCE_S)

    def _print(self) -> None:
        while (text := self._waiting.get()) is not None:
            with suppress(OSError, ValueError):
                note(text)


def one_line(text: str) -> str:
    """Return a message without line breaks, so that an error stays one line in every log."""
    return " ".join(text.split())


def error_line(text: str) -> None:
    """Print an error on stderr, in one line."""
    note(f"error: {one_line(text)}")


def error_document(error: BaseException, exit_code: int) -> dict[str, object]:
    """Return an error as a JSON document; the places that it names are fields of their own."""
    facts = {k: v for k, v in vars(error).items() if isinstance(v, (str, int, Path))}
    document: dict[str, object] = {
        k: str(v) if isinstance(v, Path) else v for k, v in facts.items()
    }
    return {
        **document,
        "error": one_line(str(error)),
        "kind": type(error).__name__,
        "exit_code": exit_code,
    }


def refuse(error: OnefoldError, document: object | None) -> NoReturn:
    """End with an error after a command has printed its own document, or prints it as JSON now.

    For a command whose result is a verdict: the document tells the whole, the line the reason.
    """
    if document is not None:
        emit(document)
    error_line(str(error))
    raise typer.Exit(error.exit_code)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, text: int = 1) -> Table:
    """Return a compact table; the first `text` columns are words, the others numbers."""
    from rich.table import Table  # noqa: PLC0415 - rich costs 60 ms, and --help does not need it

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(columns))
    for index, name in enumerate(columns):
        made.add_column(name, justify="left" if index < text else "right", overflow="fold")
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    return made


def show(*tables: Table) -> None:
    """Print tables on stdout, an empty line between them."""
    from rich.console import Console  # noqa: PLC0415 - as above

    # Only a terminal has a width that lines must fit; a file gets whole lines.
    console = Console(
        width=None if sys.stdout.isatty() else FILE_WIDTH, highlight=False, markup=False
    )
    for number, made in enumerate(tables):
        with console.capture() as printed:
            console.print(made)
        lines = [line.rstrip() for line in printed.get().splitlines()]
        say("\n".join([""] * bool(number) + lines))


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Advance]:
    """Show a bar on stderr while the work is done; without a terminal show nothing.

    `total` is None where it is not known beforehand.
    """
    if not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)


def _nothing(_: int) -> None:
    """Show nothing."""
