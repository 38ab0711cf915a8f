"""`onefold backup`: copies of what cannot be made again, to a folder, S3 or GCS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from onefold.app.group import Group, new_app
from onefold.app.output import ConfigFile, Json, emit, note, show, table
from onefold.app.settings import Loaded, load_settings
from onefold.app.summary import facts_table
from onefold.domain.errors import MissingExtra, OnefoldError
from onefold.engine.control import EVERYTHING, Control
from onefold.engine.succession import current
from onefold.views.wording import whole

try:
    from onefold.ops.backups import Manifest, Vault
except ModuleNotFoundError:
    raise MissingExtra("a backup", "ops") from None

app = new_app(Group, "Take, verify and restore backups.")

CONFIG = Path("onefold.yaml")
HOUR_S = 3_600
Name = Annotated[str, typer.Option(help="Which backup; the last one when left out.")]


@app.command("run")
def run_(
    config: ConfigFile = CONFIG,
    every: Annotated[
        float, typer.Option(help="Go on, with a backup every so many hours.", min=0.0)
    ] = 0.0,
    json_: Json = False,
) -> None:
    """Take a backup of journals, parameters, models and configuration; remove the oldest."""
    while True:
        started = time.monotonic()
        try:
            _take(load_settings(config), json_)
        except OnefoldError as error:
            if not every:
                raise
            note(f"error: {error}")  # the next one may come through
        if not every:
            return
        time.sleep(max(0.0, every * HOUR_S - (time.monotonic() - started)))


def _take(loaded: Loaded, json_: bool) -> None:
    vault = _vault(loaded)
    now = datetime.now(UTC)
    taken = vault.take(_sources(loaded), version=version("onefold"), now=now)
    gone = vault.prune(loaded.settings.backups.keep, now=now)
    if json_:
        emit(
            {
                **_facts(taken.manifest),
                "sent": taken.sent,
                "sent_bytes": taken.sent_bytes,
                "removed": gone,
            }
        )
        return
    note(
        f"backup {taken.manifest.name}: {len(taken.manifest.files)} files, "
        f"{len(taken.manifest.journals)} journals; sent {taken.sent} ({taken.sent_bytes:,} bytes)"
    )
    if gone:
        note(f"removed {len(gone)}, the oldest {gone[0]}")


@app.command("list")
def list_(config: ConfigFile = CONFIG, json_: Json = False) -> None:
    """List all backups."""
    vault = _vault(load_settings(config))
    found = [vault.manifest(name) for name in vault.names()]
    if json_:
        emit([_facts(one) for one in found])
        return
    rows = [(m.name, whole(len(m.files)), whole(len(m.journals)), f"{m.size:,}") for m in found]
    show(table(("backup", "files", "journals", "bytes"), rows))


@app.command()
def verify(config: ConfigFile = CONFIG, name: Name = "", json_: Json = False) -> None:
    """Restore a backup into a folder that is thrown away, and verify its journals there."""
    vault = _vault(load_settings(config))
    manifest = vault.manifest(name)
    vault.verify(manifest)
    if json_:
        emit({**_facts(manifest), "verified": True})
        return
    show(
        facts_table(
            [
                ("backup", manifest.name),
                ("files", f"{len(manifest.files):,}, {manifest.size:,} bytes, as they were"),
                *(("journal", f"{j.path}: {j.seq:,} records, head {j.hash}")
                  for j in manifest.journals),
            ]
        )
    )  # fmt: skip


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.", show_default=False)],
    config: ConfigFile = CONFIG,
    name: Name = "",
    json_: Json = False,
) -> None:
    """Write a backup into a new folder; accounts that traded live are stopped there.

    What the venue has done since the backup is in no journal of it: compare with the venue, then
    resume.
    """
    loaded = load_settings(config)
    vault = _vault(loaded)
    manifest = vault.manifest(name)
    vault.restore(manifest, folder)
    stopped = list(_stopped(folder, manifest))
    for warning in _misplaced(folder, loaded):
        note(f"warning: {warning}")
    if json_:
        emit({**_facts(manifest), "folder": str(folder), "stopped": stopped})
        return
    note(f"backup {manifest.name} is in {folder}: {len(manifest.files)} files")
    for account in stopped:
        note(f"account {account} is stopped: compare with its venue, then `onefold resume`")
    note("secrets (.env, *.key) are in no backup: put them back by hand")


def _stopped(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Stop each account that has traded with real money; yield its name."""
    for account in sorted({(folder / one.path).parent for one in manifest.journals}):
        if current(account, "live") is not None:
            why = f"restored from backup {manifest.name}: look at the venue"
            Control(account).kill(EVERYTHING, why)
            yield account.name


def _misplaced(folder: Path, loaded: Loaded) -> Iterator[str]:
    """Yield what the restored configuration would not find where it was restored."""
    config = folder / loaded.path.name
    try:
        paths = load_settings(config).settings.paths
    except OnefoldError as error:
        yield f"{config} cannot be read yet, so look where its paths lead: {error}"
        return
    for name, inside in _folders(loaded).items():
        restored, wanted = folder / inside, (folder / getattr(paths, name)).resolve()
        if restored.is_dir() and wanted != restored.resolve():
            yield (
                f"paths.{name} of {config} leads to {wanted}, and what was backed up is in "
                f"{restored}: change it before anything is started there"
            )


def _vault(loaded: Loaded) -> Vault:
    return Vault(loaded.settings.backups, loaded.path.parent)


def _sources(loaded: Loaded) -> dict[str, Path]:
    """Return what is backed up, by the path that it has in the backup."""
    base = loaded.path.parent.resolve()
    found = {loaded.path.name: loaded.path}
    for name, inside in _folders(loaded).items():
        path = loaded.resolve(getattr(loaded.settings.paths, name))
        if path.is_dir():
            found[inside] = path
    for number, file in enumerate(sorted(_files(loaded))):
        code = file.resolve()
        near = code.is_relative_to(base)
        where = code.relative_to(base).as_posix() if near else f"elsewhere/{number}/{file.name}"
        found[where] = file
    return found


def _folders(loaded: Loaded) -> dict[str, str]:
    """Return where each folder lies in a backup: where the configuration looks for it.

    What lies elsewhere on the machine has a place of its own, and is told of when it is restored.
    """
    base = loaded.path.parent.resolve()
    found = {}
    for name in ("journal", "governance", "models"):
        given: Path = getattr(loaded.settings.paths, name)
        path = loaded.resolve(given).resolve()
        near = path.is_relative_to(base) and path != base
        found[name] = path.relative_to(base).as_posix() if near else f"elsewhere/{name}"
    return found


def _files(loaded: Loaded) -> set[Path]:
    """Return the Python files that the configuration names."""
    strategies = loaded.settings.strategies.values()
    named = [one.file for one in strategies] + [
        gate.file for one in strategies for gate in one.own_gates.values()
    ]
    return {path for file in named if file is not None and (path := loaded.resolve(file)).is_file()}


def _facts(manifest: Manifest) -> dict[str, object]:
    return {
        "backup": manifest.name,
        "made": manifest.made,
        "files": len(manifest.files),
        "bytes": manifest.size,
        "journals": [{"path": j.path, "seq": j.seq, "hash": j.hash} for j in manifest.journals],
    }
