"""`onefold journal`: verify and read a journal, without the code that wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from onefold import journal as journals
from onefold.app.group import Group, new_app
from onefold.app.output import Json, emit, say
from onefold.domain.errors import ConfigError
from onefold.engine.replay import no_journal

app = new_app(Group, "Verify and read a journal.")

Folder = Annotated[Path, typer.Argument(help="The journal's folder.", show_default=False)]


@app.command()
def verify(
    folder: Folder,
    head: Annotated[
        Path | None, typer.Option(help="An exported head that the journal must contain.")
    ] = None,
    json_: Json = False,
) -> None:
    """Check every byte against the seals, and name the place of the first thing wrong.

    Only with an exported head can the removal of whole blocks from the end be seen.
    """
    found = journals.verify(folder, None if head is None else journals.load_head(head))
    if not found.segments:
        raise no_journal(folder)
    tail = found.tail
    if json_:
        rest = None
        if tail is not None:
            rest = {**tail._asdict(), "path": str(tail.path)}
        emit(
            {
                "journal": str(folder),
                "records": found.records,
                "segments": found.segments,
                "head": found.head._asdict(),
                "unsealed": rest,
                "head_checked": head is not None,
            }
        )
        return
    against = " and the exported head" if head is not None else ""
    counts = f"{found.records:,} records in {found.segments} segments"
    say(f"{folder}: {counts} agree with the seals{against}")
    say(f"head {found.head.seq} {found.head.hash}")
    if tail is not None:
        say(
            f"{tail.path}, line {tail.line}, byte {tail.offset}: {tail.size_bytes} bytes of an "
            "interrupted commit; the next start sets them aside"
        )


@app.command("head")
def head_(folder: Folder, json_: Json = False) -> None:
    """Print the last sealed record's number and the seal's hash."""
    found = journals.head(folder)
    if json_:
        emit(found._asdict())
    else:
        say(f"{found.seq} {found.hash}")


@app.command()
def tail(
    folder: Folder,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many records.")] = 10,
    json_: Json = False,
) -> None:
    """Print the last sealed records, one a line, or as a JSON list."""
    entries = journals.tail(folder, count)
    records = [{"seq": entry.seq, **msgspec.json.decode(entry.raw)} for entry in entries]
    if json_:
        emit(records)
        return
    for record in records:
        say(msgspec.json.encode(record).decode())


@app.command("export-head")
def export_head(
    folder: Folder,
    file: Annotated[Path, typer.Argument(help="Where to write it.", show_default=False)],
    json_: Json = False,
) -> None:
    """Write the head to a file outside of the journal, for `verify --head` to compare later."""
    try:
        found = journals.export_head(folder, file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error
    if json_:
        emit({**found._asdict(), "file": str(file)})
    else:
        say(f"Wrote head {found.seq} to {file}; keep it where the journal's writer cannot reach it")
