"""What the commands that reach a running session share: finding it, asking it, waiting for it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from onefold.app.configfile import environment, read_yaml, resolve
from onefold.app.operator import operator
from onefold.app.output import emit, note
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.engine.control import Control, Request
from onefold.engine.heartbeat import is_running, read_heartbeat

WAIT_S = 10.0
POLL_S = 0.02

AccountName = Annotated[
    str, typer.Option("--account", help="Only this account; all of them when left out.")
]
StrategyName = Annotated[str, typer.Option("--strategy", help="Only this strategy.")]
InstrumentName = Annotated[str, typer.Option("--instrument", help="Only this instrument.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]


def folders(config: Path, account: str) -> dict[str, Path]:
    """Return the folders of the accounts that are meant, by name. Raises `ConfigError`.

    They are read from the file itself and not through the settings: stopping must be quick, and
    must work with a configuration that has been broken since or whose secrets are not at hand.
    """
    raw, variables = read_yaml(config), environment(config.parent)
    journal = variables.get("ONEFOLD_PATHS__JOURNAL") or _under(raw, "paths").get("journal")
    base = config.parent / Path(str(resolve(journal or "journal", variables))).expanduser()
    single = variables.get("ONEFOLD_ACCOUNT__NAME") or _under(raw, "account").get("name", "paper")
    accounts = _under(raw, "accounts")
    known = list(accounts) or [str(single)]
    if account and account not in known:
        raise ConfigError(f"there is no account {account!r}{did_you_mean(account, known)}")
    enabled = [name for name in known if _under(accounts, name).get("enabled") is not False]
    return {name: base / name for name in ([account] if account else enabled)}


def _under(raw: dict[str, Any], section: str) -> dict[str, Any]:
    found = raw.get(section)
    return found if isinstance(found, dict) else {}


def heartbeat_of(folder: Path) -> dict[str, Any] | None:
    """Return the heartbeat of a session that runs now, or None."""
    beat = read_heartbeat(folder)
    if beat is None or beat.get("stopped") or not is_running(int(beat.get("pid", 0))):
        return None
    return beat


def request(command: str, strategy: str, instrument: str, reason: str) -> Request:
    """Return a request of this person, now."""
    return Request(
        id=uuid.uuid4().hex,
        command=command,
        ts=time.time_ns(),
        strategy=strategy,
        instrument=instrument,
        reason=reason,
        operator=operator(),
    )


def ask(
    config: Path,
    account: str,
    commands: list[str],
    *,
    strategy: str = "",
    instrument: str = "",
    reason: str = "",
    json_: bool,
    until: Callable[[dict[str, Any] | None], bool],
) -> None:
    """Ask the sessions of some accounts, wait until they have done it, and say so.

    A session that does not run finds the request when it starts, but for a stop. Raises
    `ConfigError` when one that runs does not answer in time; the request stays.
    """
    told: dict[str, str] = {}
    late: list[str] = []
    refused: list[str] = []
    for name, folder in folders(config, account).items():
        if heartbeat_of(folder) is None and commands == ["stop"]:
            told[name] = "does not run"
            continue
        control = Control(folder)
        asked = [request(command, strategy, instrument, reason) for command in commands]
        for one in asked:
            control.ask(one)
        if heartbeat_of(folder) is None:
            told[name] = "does not run; it will find this when it starts"
        elif _waited(folder, until):
            told[name] = "; ".join(filter(None, map(control.refusal, asked))) or "done"
            refused += [name] if told[name] != "done" else []
        else:
            told[name] = f"asked, but there was no answer within {WAIT_S:.0f} s"
            late.append(name)
    if json_:
        emit({"commands": commands, "accounts": told})
    else:
        for name, what in told.items():
            note(f"account {name}: {', '.join(commands)}: {what}")
    if refused:
        raise ConfigError(f"refused by {', '.join(refused)}: {told[refused[0]]}")
    if late:
        raise ConfigError(f"no answer from {', '.join(late)}; see `onefold status`")


def _waited(folder: Path, until: Callable[[dict[str, Any] | None], bool]) -> bool:
    deadline = time.monotonic() + WAIT_S
    inbox = folder / "control" / "inbox"
    while time.monotonic() < deadline:
        if not list(inbox.glob("*.json")) and until(heartbeat_of(folder)):
            return True
        time.sleep(POLL_S)
    return False
