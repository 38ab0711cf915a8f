"""`onefold init`: from nothing to a first backtest in two commands."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from shutil import which
from typing import Annotated

import typer

from onefold.app.group import new_app
from onefold.app.output import Json, emit, say
from onefold.domain.errors import ConfigError

app = new_app()

STARTER = {
    "onefold.yaml": "onefold.yaml",
    "strategies.py": "strategies.py.txt",
    ".env.example": "env.example.txt",
    ".gitignore": "gitignore.txt",
}
"""What is written, and the file of the package that it is a copy of."""


def starter(name: str) -> str:
    """Return the text of a file that ships for copying."""
    return files("onefold.app").joinpath("starter", name).read_text(encoding="utf-8")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to; made if needed.")] = Path(),
    json_: Json = False,
) -> None:
    """Write a starter folder: configuration, strategies, .env.example, .gitignore.

    It uses the sample data that ships, so that everything works at once. Nothing is overwritten.
    """
    taken = [name for name in STARTER if (folder / name).exists()]
    if taken:
        raise ConfigError(f"{folder / taken[0]} is there already; choose another folder")
    texts = {folder / name: starter(source) for name, source in STARTER.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_all(texts)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror}") from error
    if json_:
        emit({"folder": str(folder), "files": list(STARTER)})
        return
    say(f"Wrote {', '.join(STARTER)} to {folder.resolve()}")
    place = "" if folder == Path() else f"cd {folder} && "
    # Whoever called it by a path, such as .venv/bin/onefold, cannot call it by its name.
    command = "onefold" if which("onefold") else Path(sys.executable).with_name("onefold")
    say(f"Next: {place}{command} backtest onefold.yaml")


def _write_all(texts: dict[Path, str]) -> None:
    """Write all files or none."""
    written: list[Path] = []
    try:
        for path, text in texts.items():
            # Mode x: what appeared since the check is not overwritten either.
            with path.open("x", encoding="utf-8", newline="\n") as file:
                written.append(path)
                file.write(text)
    except BaseException:
        for path in written:
            path.unlink()
        raise
