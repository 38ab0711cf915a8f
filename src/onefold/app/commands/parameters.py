"""`onefold parameters`: what governance has changed, version by version, and how to go back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from onefold.app.governing import Account, Governed, Why, governed, roll_back, set_value, taken
from onefold.app.governing import approve as put_into_force
from onefold.app.group import Group, new_app
from onefold.app.output import ConfigFile, Json, emit, note, show, table
from onefold.app.summary import facts_table
from onefold.domain.errors import ConfigError
from onefold.governance.versions import Change, Key, Version, scope_text

app = new_app(Group, "Read, set and roll back what governance changes in a running account.")

Number = Annotated[int, typer.Argument(help="A version's number.", show_default=False, min=0)]
CONFIG = Path("onefold.yaml")


@app.command("list")
def list_(config: ConfigFile = CONFIG, account: Account = "", json_: Json = False) -> None:
    """List the versions, and what is in force."""
    one = governed(config, account)
    parameters = one.file.read()
    if json_:
        emit(
            {
                "account": one.name,
                "head": parameters.head,
                "versions": [msgspec.to_builtins(v) for v in parameters.versions],
                "values": {str(key): value for key, value in parameters.values.items()},
                "holds": [msgspec.to_builtins(h) for h in parameters.holds],
                "waiting": [v.version for v in parameters.waiting],
            }
        )
        return
    if not parameters.versions:
        note(f"account {one.name}: governance has changed nothing; the configuration holds")
        return
    rows = [
        (v.version, v.timestamp, v.by, v.status, _what(v), v.cause) for v in parameters.versions
    ]
    show(table(("version", "time", "by", "status", "what", "why"), rows, text=6))
    waiting = ", ".join(str(v.version) for v in parameters.waiting)
    if waiting:
        note(f"waiting for approval: {waiting}")


@app.command("show")
def show_(
    version: Number, config: ConfigFile = CONFIG, account: Account = "", json_: Json = False
) -> None:
    """Show one version with all of its changes."""
    found = _version(governed(config, account), version)
    if json_:
        emit(msgspec.to_builtins(found))
        return
    facts = [(f, str(getattr(found, f))) for f in ("version", "timestamp", "by", "status", "cause")]
    facts += [
        (f, str(v))
        for f in ("evidence", "approves", "returns_to", "hash")
        if (v := getattr(found, f))
    ]
    rows = [
        (
            c.number or "-",
            c.mandate,
            scope_text(c.strategy, c.instrument),
            _number(c.before),
            c.value,
        )
        for c in found.changes
    ]
    tables = [facts_table(facts)]
    if rows:
        tables.append(table(("mandate", "what", "of", "before", "after"), rows, text=3))
    show(*tables)


@app.command()
def verify(config: ConfigFile = CONFIG, account: Account = "", json_: Json = False) -> None:
    """Check every version's hash, and that none is missing."""
    one = governed(config, account)
    parameters = one.file.read()
    facts: dict[str, Any] = {
        "account": one.name,
        "versions": len(parameters.versions),
        "mandates": parameters.number,
        "head": parameters.head,
    }
    if json_:
        emit(facts)
        return
    show(facts_table([(name, str(value)) for name, value in facts.items()]))


@app.command("set")
def set_(
    mandate: Annotated[str, typer.Argument(help="What: conf_min, risk_budget, daily_loss, ...")],
    value: Annotated[float, typer.Argument(help="Its new value.", min=0.0)],
    strategy: Annotated[str, typer.Option(help="Of this strategy; all when left out.")] = "",
    instrument: Annotated[str, typer.Option(help="In this instrument; all when left out.")] = "",
    reason: Why = "",
    config: ConfigFile = CONFIG,
    account: Account = "",
    json_: Json = False,
) -> None:
    """Set a threshold or a limit by hand; on a live account, more risk waits for approval."""
    one = governed(config, account)
    _tell(one, set_value(one, mandate, value, (strategy, instrument), reason), json_)


@app.command()
def rollback(
    version: Number,
    reason: Why = "",
    config: ConfigFile = CONFIG,
    account: Account = "",
    json_: Json = False,
) -> None:
    """Give all thresholds the values that they had after a version; 0 is the configuration."""
    one = governed(config, account)
    _tell(one, roll_back(one, version, reason), json_)


@app.command()
def approve(
    version: Number,
    reason: Why = "",
    config: ConfigFile = CONFIG,
    account: Account = "",
    json_: Json = False,
) -> None:
    """Put a proposal into force."""
    one = governed(config, account)
    _tell(one, put_into_force(one, version, reason), json_)


def _version(one: Governed, number: int) -> Version:
    versions = one.file.read().versions
    if not 1 <= number <= len(versions):
        raise ConfigError(f"there is no version {number}; there are {len(versions)}")
    return versions[number - 1]


def _tell(one: Governed, made: Version, json_: bool) -> None:
    became = taken(one, made)
    if json_:
        emit({"account": one.name, **msgspec.to_builtins(made), "became": became})
        return
    note(f"account {one.name}: version {made.version}: {_what(made)}")
    note(f"account {one.name}: {became}")


def _what(version: Version) -> str:
    """Return a version's changes in a few words."""
    if version.hold is not None:
        hold = version.hold
        said = f"{hold.action} {scope_text(hold.strategy, hold.instrument)}"
        return f"{version.stage}: {said}" if version.stage else said
    if version.look is not None:
        return f"look {version.look.number} at {version.look.strategy} for {version.look.stage}"
    if len(version.changes) == 1:
        return _changed(version.changes[0])
    kinds = ", ".join(sorted({c.mandate for c in version.changes}))
    return f"{len(version.changes)} values of {kinds}"


def _changed(change: Change) -> str:
    key = Key(change.mandate, change.strategy, change.instrument)
    return f"{key} {_number(change.before)} -> {change.value:g}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"
