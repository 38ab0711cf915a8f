"""`onefold review`: a person takes a strategy or a symbol out of trading, and puts it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from onefold.app.governing import Account, Why, governed, newest_of, taken
from onefold.app.group import Group, new_app
from onefold.app.impact import Impact, impacts
from onefold.app.output import ConfigFile, Json, emit, note, show, table
from onefold.app.reviewing import Reviewed, review, reviewed
from onefold.governance.versions import scope_text, time_text
from onefold.views.wording import DASH, money, percent

app = new_app(Group, "Suppress, watch or release a strategy or a symbol, for a reason.")

CONFIG = Path("onefold.yaml")
Strategy = Annotated[str, typer.Option(help="Which strategy; all of them when left out.")]
Instrument = Annotated[str, typer.Option(help="Which instrument; all of them when left out.")]
Until = Annotated[
    str, typer.Option("--until", help="The day on which it ends by itself, 2026-12-31, UTC.")
]


@app.command()
def suppress(
    strategy: Strategy = "",
    instrument: Instrument = "",
    reason: Why = "",
    until: Until = "",
    config: ConfigFile = CONFIG,
    account: Account = "",
    json_: Json = False,
) -> None:
    """Let nothing be entered; what is held is left as usual."""
    _hold("suppress", strategy, instrument, reason, until, config, account, json_)


@app.command()
def watch(
    strategy: Strategy = "",
    instrument: Instrument = "",
    reason: Why = "",
    until: Until = "",
    config: ConfigFile = CONFIG,
    account: Account = "",
    json_: Json = False,
) -> None:
    """Mark what wants looking at; it trades on, also when it was suppressed before."""
    _hold("watch", strategy, instrument, reason, until, config, account, json_)


@app.command()
def release(
    strategy: Strategy = "",
    instrument: Instrument = "",
    reason: Why = "",
    config: ConfigFile = CONFIG,
    account: Account = "",
    json_: Json = False,
) -> None:
    """Let it trade again, and watch it no more."""
    _hold("release", strategy, instrument, reason, "", config, account, json_)


@app.command("list")
def list_(config: ConfigFile = CONFIG, account: Account = "", json_: Json = False) -> None:
    """List what is suppressed and what is watched, by whom, why and until when."""
    one = governed(config, account)
    parameters = one.file.read()
    found = reviewed(parameters)
    if json_:
        emit([{**msgspec.to_builtins(v), "hold": msgspec.to_builtins(h)} for v, h in found])
        return
    if not found:
        note(f"account {one.name}: nothing is suppressed or watched")
        return
    rows = [
        (
            scope_text(hold.strategy, hold.instrument),
            hold.action,
            hold.holder,
            version.by,
            version.timestamp,
            time_text(hold.expires_ts) if hold.expires_ts else "-",
            version.cause,
        )
        for version, hold in found
    ]
    columns = ("what", "is", "since a", "by", "time", "until", "why")
    show(table(columns, rows, text=7))


@app.command()
def impact(
    config: ConfigFile = CONFIG,
    account: Account = "",
    journal: Annotated[
        Path | None, typer.Option(help="In this journal; the account's newest when left out.")
    ] = None,
    json_: Json = False,
) -> None:
    """Tell what each suppression has cost or saved: what it stopped, traded by itself."""
    one = governed(config, account)
    folder = journal or newest_of(one)
    found = impacts(one.file.read(), folder)
    if json_:
        emit([_as_plain(i) for i in found])
        return
    if not found:
        note(f"no suppression has reached {folder}")
        return
    rows = [_row(i) for i in found]
    columns = ("what", "from", "to", "stopped", "would have made", "worth", "95 %", "money")
    show(table(columns, rows, text=3))


def _as_plain(one: Impact) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(one.version)
    value = None if one.value is None else msgspec.to_builtins(one.value)
    return {**plain, "start_ts": one.start_ts, "end_ts": one.end_ts, "value": value}


def _row(one: Impact) -> tuple[str, ...]:
    hold, value = one.version.hold, one.value
    what = scope_text(hold.strategy, hold.instrument) if hold is not None else ""
    since = time_text(one.start_ts)
    until = DASH if one.end_ts is None else time_text(one.end_ts)
    if value is None:
        return what, since, until, "0", *[DASH] * 4
    found = value.alone
    sure = f"{percent(found.low, 3, sign=True)} to {percent(found.high, 3, sign=True)}"
    return (
        what,
        since,
        until,
        str(found.episodes),
        percent(found.mean_return, 3, sign=True),
        percent(found.value, 3, sign=True),
        DASH if found.low is None else sure,
        DASH if value.money is None else money(value.money, sign=True),
    )


def _hold(
    action: Reviewed,
    strategy: str,
    instrument: str,
    reason: str,
    until: str,
    config: Path,
    account: str,
    json_: bool,
) -> None:
    one = governed(config, account)
    made = review(one, action, (strategy, instrument), reason, until)
    became = taken(one, made)
    if json_:
        emit({"account": one.name, **msgspec.to_builtins(made), "became": became})
        return
    scope = scope_text(strategy, instrument)
    note(f"account {one.name}: version {made.version}: {action} {scope}")
    note(f"account {one.name}: {became}")
