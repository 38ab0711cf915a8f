"""`onefold evidence`: the bundles on which transitions were decided, and their proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from onefold.app.bundles import BundleStore, read_bundle
from onefold.app.governing import Account, governed
from onefold.app.group import Group, new_app
from onefold.app.output import ConfigFile, Json, emit, note, show, table
from onefold.app.summary import facts_table
from onefold.domain.errors import ConfigError
from onefold.governance.versions import time_text
from onefold.journal import Head
from onefold.journal import verify as verify_journal

app = new_app(Group, "List and verify the evidence on which transitions were decided.")

CONFIG = Path("onefold.yaml")


@app.command("list")
def list_(config: ConfigFile = CONFIG, account: Account = "", json_: Json = False) -> None:
    """List the bundles of an account's checks."""
    one = governed(config, account)
    found = []
    for path in BundleStore(one.loaded, one.name).all():
        try:
            found.append((path, read_bundle(path)))
        except ConfigError as error:  # the others are listed all the same
            note(f"warning: {error}")
    if json_:
        emit(
            [
                {
                    "bundle": str(path),
                    "hash": b.hash,
                    "strategy": b.evidence.strategy,
                    "stage": b.stage,
                    "ts": b.ts,
                    "passes": b.passes,
                }
                for path, b in found
            ]
        )
        return
    if not found:
        note("nothing has been checked so far: onefold check-transition")
        return
    rows = [
        (
            path.name,
            time_text(b.ts),
            "passes" if b.passes else "fails",
            ", ".join(c.name for c in b.criteria if not c.passes),
        )
        for path, b in found
    ]
    show(table(("bundle", "time", "verdict", "what failed"), rows, text=4))


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle's file.", show_default=False)],
    config: ConfigFile = CONFIG,
    account: Account = "",
    json_: Json = False,
) -> None:
    """Check a bundle: its signature, its verdict, and the journal that it names."""
    one = governed(config, account)
    found = read_bundle(bundle)
    try:
        BundleStore(one.loaded, one.name).check(found)
    except ConfigError as error:
        raise ConfigError(f"{bundle}: {error}") from None
    inputs = found.inputs
    journal = one.loaded.path.parent / inputs.journal
    said = "not there, so the bundle was checked by itself"
    if journal.is_dir():
        verify_journal(journal, Head(inputs.head_seq, inputs.head_hash))
        said = f"has record {inputs.head_seq} with the hash of the bundle"
    facts: dict[str, Any] = {
        "bundle": str(bundle),
        "hash": found.hash,
        "step": f"{found.evidence.strategy} to {found.stage}",
        "verdict": "passes" if found.passes else "fails",
        "signature": "right",
        "criteria": "follow from the evidence",
        "journal": f"{inputs.journal} {said}",
    }
    if json_:
        emit(facts)
        return
    show(facts_table([(name, str(value)) for name, value in facts.items()]))
