"""How commands and server reach a running session: finding it, asking it, waiting for it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer

from onefold.app.configfile import environment, read_yaml, resolve
from onefold.app.operator import operator
from onefold.app.output import emit, note
from onefold.app.scoping import Names, left_alone, names_written
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.engine.control import Control, Request, Scope, switches_in
from onefold.engine.heartbeat import STALE_S, heartbeat_age_s, read_heartbeat
from onefold.engine.instance import is_held, runs

WAIT_S = 10.0
POLL_S = 0.02

Until = Callable[[dict[str, Any] | None], bool]
"""Whether a heartbeat, or that there is none, shows that it is done."""

AccountName = Annotated[
    str, typer.Option("--account", help="Only this account; all of them when left out.")
]
StrategyName = Annotated[str, typer.Option("--strategy", help="Only this strategy.")]
InstrumentName = Annotated[str, typer.Option("--instrument", help="Only this instrument.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]


class Place(NamedTuple):
    """An account: its folder, and what it has by the configuration."""

    folder: Path
    names: Names


def folders(config: Path, account: str) -> dict[str, Path]:
    """Return the folders of the accounts that are meant, by name. Raises `ConfigError`."""
    return {name: place.folder for name, place in places(config, account).items()}


def places(config: Path, account: str) -> dict[str, Place]:
    """Return the accounts that are meant, by name. Raises `ConfigError`.

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
    return {
        name: Place(base / name, names_written(raw, variables, name))
        for name in ([account] if account else enabled)
    }


def _under(raw: dict[str, Any], section: str) -> dict[str, Any]:
    found = raw.get(section)
    return found if isinstance(found, dict) else {}


def heartbeat_of(folder: Path) -> dict[str, Any] | None:
    """Return the heartbeat of a session that runs now, or None."""
    beat = read_heartbeat(folder)
    if beat is None or beat.get("stopped"):
        return None
    return beat if runs(folder, beat) else None


def may_run(folder: Path) -> bool:
    """Return whether a session runs, or has the account while it starts or ends."""
    return heartbeat_of(folder) is not None or is_held(folder, folder.name) is True


def state_of(folder: Path) -> dict[str, Any]:
    """Return what is known of an account: how it runs, its heartbeat, its kill switches."""
    beat = heartbeat_of(folder)
    last = read_heartbeat(folder) or {}
    age_s = heartbeat_age_s(folder)
    how = "running" if beat is not None else "stopped" if last.get("stopped") else "not running"
    if beat is not None and age_s is not None and age_s > STALE_S:
        how = f"stuck: no heartbeat for {age_s:.0f} s"
    if beat is None and may_run(folder):
        how = "not running: it starts or ends"
    switches = switches_in(folder)
    return {
        "state": how,
        **last,
        "heartbeat_age_s": None if age_s is None else round(age_s, 1),
        "kill_switches": {scope.file_name: reason for scope, reason in switches.items()},
    }


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
    """What became of requests, in words and in one.

    `failed` is what could not be put, `left` an account that was left alone.
    """

    said: str
    outcome: Literal["done", "refused", "late", "waits", "failed", "left"]


FOUND_LATER = "does not run; it will find this when it starts"

Wanted = Mapping[str, tuple[Path, Sequence[Request]]]
"""By account, its folder and what is asked of its session."""


def ask_places(
    known: Mapping[str, Place], make: Callable[[], Sequence[Request]], until: Until
) -> dict[str, Asked]:
    """Ask the accounts that have what requests name; the others are left alone.

    Raises `ConfigError` when none of them has it, and then nothing is asked.
    """
    wanted = {name: (place.folder, make()) for name, place in known.items()}
    names = {
        name: Names()  # what is on can be turned off, whatever its name
        if _undoes(*wanted[name])
        else place.names.as_running(heartbeat_of(place.folder))
        for name, place in known.items()
    }
    scope = {(one.strategy, one.instrument) for _, requests in wanted.values() for one in requests}
    lacking = {n: what for one in scope for n, what in left_alone(names, *one).items()}
    told = ask_sessions({n: one for n, one in wanted.items() if n not in lacking}, until)
    alone = {n: Asked(f"left alone: it has {what}", "left") for n, what in lacking.items()}
    return {name: (told | alone)[name] for name in known}


def _undoes(folder: Path, requests: Sequence[Request]) -> bool:
    """Return whether a kill switch is on that requests turn off."""
    on = switches_in(folder)
    return any(r.command == "resume" and Scope(r.strategy, r.instrument) in on for r in requests)


def ask_sessions(wanted: Wanted, until: Until) -> dict[str, Asked]:
    """Put requests where sessions find them, all of them first, then wait for all together.

    So no account that is stuck or broken keeps others from being stopped. A session that does not
    run finds its requests when it starts, but for a stop.
    """
    told = {name: _put(folder, requests) for name, (folder, requests) in wanted.items()}
    deadline = time.monotonic() + WAIT_S
    while (waiting := [n for n, one in told.items() if one is None]) and (
        time.monotonic() < deadline
    ):
        for name in waiting:
            told[name] = _answered(*wanted[name], until)
        if None in told.values():
            time.sleep(POLL_S)
    late = Asked(f"asked, but there was no answer within {WAIT_S:.0f} s", "late")
    return {name: one or late for name, one in told.items()}


def _put(folder: Path, requests: Sequence[Request]) -> Asked | None:
    """Put requests into a folder; return what there is to say at once, None to wait for more."""
    if _is_stop(requests) and not may_run(folder):
        return Asked("does not run", "waits")
    control = Control(folder, make=False)
    try:
        for one in requests:
            control.ask(one)
    except OSError as error:
        return Asked(_failed(folder, requests, error), "failed")
    return None if may_run(folder) else Asked(FOUND_LATER, "waits")


def _is_stop(requests: Sequence[Request]) -> bool:
    return [one.command for one in requests] == ["stop"]


def _failed(folder: Path, requests: Iterable[Request], error: OSError) -> str:
    why = f"its control folder cannot be used: {error.strerror or type(error).__name__}"
    kills = [Scope(r.strategy, r.instrument) for r in requests if r.command == "kill"]
    is_on = bool(kills) and kills[0] in switches_in(folder)
    return f"{why}; the file {kills[0].file_name} is on all the same" if is_on else why


def _answered(folder: Path, requests: Sequence[Request], until: Until) -> Asked | None:
    """Return what a session has made of its requests, None as long as it has not."""
    control = Control(folder, make=False)
    is_open = any(map(control.waits, requests))
    if is_open and not may_run(folder):  # it ended before it took them
        return _kept(control, requests)
    if is_open or not until(heartbeat_of(folder)):
        return None
    refused = "; ".join(filter(None, map(control.refusal, requests)))
    return Asked(refused, "refused") if refused else Asked("done", "done")


def _kept(control: Control, requests: Sequence[Request]) -> Asked:
    """Leave requests for the next session; a stop was for the one that has ended."""
    if not _is_stop(requests):
        return Asked(FOUND_LATER, "waits")
    control.withdraw(requests[0])
    return Asked("does not run", "waits")


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

    Raises `ConfigError` when one cannot be asked, refuses, or runs and does not answer in time; a
    request that was put stays, and what the others were asked holds. Raises it before anything is
    asked for a strategy or an instrument that none of them has.
    """

    def make() -> list[Request]:
        return [request(command, strategy, instrument, reason) for command in commands]

    told = ask_places(places(config, account), make, until)
    if json_:
        said = {name: one.said for name, one in told.items()}
        emit({"commands": commands, "accounts": said})
    else:
        for name, one in told.items():
            note(f"account {name}: {', '.join(commands)}: {one.said}")
    _check(told)


def _check(told: Mapping[str, Asked]) -> None:
    """Raise `ConfigError` for what was not done, the worst first."""
    by = {
        outcome: [name for name, one in told.items() if one.outcome == outcome]
        for outcome in ("failed", "refused", "late")
    }
    if failed := by["failed"]:
        raise ConfigError(f"{', '.join(failed)} could not be asked: {told[failed[0]].said}")
    if refused := by["refused"]:
        raise ConfigError(f"refused by {', '.join(refused)}: {told[refused[0]].said}")
    if late := by["late"]:
        raise ConfigError(f"no answer from {', '.join(late)}; see `onefold status`")
