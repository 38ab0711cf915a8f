"""How commands and server reach a running session: finding it, asking it, waiting for it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer

from onefold.app.configfile import environment, read_yaml, resolve
from onefold.app.operator import operator
from onefold.app.output import emit, note
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.engine.control import Control, Request
from onefold.engine.heartbeat import NAME, is_running, read_heartbeat

WAIT_S = 10.0
POLL_S = 0.02
STALE_S = 90.0
"""Three beats that did not come."""

Until = Callable[[dict[str, Any] | None], bool]
"""Whether a heartbeat, or that there is none, shows that it is done."""

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


def state_of(folder: Path) -> dict[str, Any]:
    """Return what is known of an account: how it runs, its heartbeat, its kill switches."""
    beat = heartbeat_of(folder)
    last = read_heartbeat(folder) or {}
    age_s = _age_s(folder)
    how = "running" if beat is not None else "stopped" if last.get("stopped") else "not running"
    if beat is not None and age_s is not None and age_s > STALE_S:
        how = f"stuck: no heartbeat for {age_s:.0f} s"
    switches = Control(folder).switches() if folder.is_dir() else {}
    return {
        "state": how,
        **last,
        "heartbeat_age_s": None if age_s is None else round(age_s, 1),
        "kill_switches": {scope.file_name: reason for scope, reason in switches.items()},
    }


def _age_s(folder: Path) -> float | None:
    try:
        return max(0.0, time.time() - (folder / NAME).stat().st_mtime)
    except OSError:
        return None


def request(command: str, strategy: str, instrument: str, reason: str, by: str = "") -> Request:
    """Return a request of somebody, now; of the person who runs this process when left out."""
    return Request(
        id=uuid.uuid4().hex,
        command=command,
        ts=time.time_ns(),
        strategy=strategy,
        instrument=instrument,
        reason=reason,
        operator=by or operator(),
    )


class Asked(NamedTuple):
    """What became of requests: in words, and whether they were done, refused, late or wait."""

    said: str
    outcome: Literal["done", "refused", "late", "waits"]


def ask_session(folder: Path, requests: Sequence[Request], until: Until) -> Asked:
    """Put requests where the session of a folder finds them, and wait until it has done them.

    One that does not run finds them when it starts, but for a stop.
    """
    if heartbeat_of(folder) is None and [one.command for one in requests] == ["stop"]:
        return Asked("does not run", "waits")
    control = Control(folder)
    for one in requests:
        control.ask(one)
    if heartbeat_of(folder) is None:
        return Asked("does not run; it will find this when it starts", "waits")
    if not _waited(folder, until):
        return Asked(f"asked, but there was no answer within {WAIT_S:.0f} s", "late")
    refused = "; ".join(filter(None, map(control.refusal, requests)))
    return Asked(refused, "refused") if refused else Asked("done", "done")


def ask(
    config: Path,
    account: str,
    commands: list[str],
    *,
    strategy: str = "",
    instrument: str = "",
    reason: str = "",
    json_: bool,
    until: Until,
) -> None:
    """Ask the sessions of some accounts, wait until they have done it, and say so.

    Raises `ConfigError` when one that runs does not answer in time; the request stays.
    """
    told: dict[str, Asked] = {}
    for name, folder in folders(config, account).items():
        asked = [request(command, strategy, instrument, reason) for command in commands]
        told[name] = ask_session(folder, asked, until)
    if json_:
        said = {name: one.said for name, one in told.items()}
        emit({"commands": commands, "accounts": said})
    else:
        for name, one in told.items():
            note(f"account {name}: {', '.join(commands)}: {one.said}")
    refused = [name for name, one in told.items() if one.outcome == "refused"]
    late = [name for name, one in told.items() if one.outcome == "late"]
    if refused:
        raise ConfigError(f"refused by {', '.join(refused)}: {told[refused[0]].said}")
    if late:
        raise ConfigError(f"no answer from {', '.join(late)}; see `onefold status`")


def _waited(folder: Path, until: Until) -> bool:
    deadline = time.monotonic() + WAIT_S
    inbox = folder / "control" / "inbox"
    while time.monotonic() < deadline:
        if not list(inbox.glob("*.json")) and until(heartbeat_of(folder)):
            return True
        time.sleep(POLL_S)
    return False
