"""How accounts stand, for the server: heartbeats and control folders; and asking their sessions.

It reads what sessions leave in files and never holds anything of theirs, so that it says the same
whether they run, are stuck, or have gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from onefold.api.office import NotFoundError
from onefold.api.schemas import AccountStatus, Answer, CommandBody
from onefold.app.asking import Place, Until, ask_places, request, state_of
from onefold.app.output import one_line
from onefold.app.scoping import Names, names_of
from onefold.app.settings import Loaded, accounts_of
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.engine.control import switches_in
from onefold.engine.heartbeat import read_heartbeat

UNTIL: dict[str, Until] = {
    "stop": lambda beat: beat is None,
    "reduce_only": lambda beat: beat is not None and bool(beat.get("reduce_only")),
}
"""What shows that a command was carried out, where more than an empty inbox does."""

State = Literal["running", "stuck", "stopped", "not running"]


def account_folders(loaded: Loaded, account: str = "") -> dict[str, Path]:
    """Return the folders of the accounts that are meant, by name. Raises `NotFoundError`."""
    accounts = accounts_of(loaded.settings)
    if account and account not in accounts:
        raise NotFoundError(f"there is no account {account!r}{did_you_mean(account, accounts)}")
    enabled = [name for name, one in accounts.items() if one.enabled]
    return {name: loaded.account_folder(name) for name in ([account] if account else enabled)}


def newest_journal_of(folder: Path) -> Path | None:
    """Return the journal of an account that was written last, None before the first."""
    written = [
        (max(file.stat().st_mtime_ns for file in files), path)
        for path in folder.glob("*-*")
        if path.is_dir() and (files := [*path.glob("*.jsonl")])
    ]
    return max(written)[1] if written else None


def statuses(loaded: Loaded) -> list[AccountStatus]:
    """Return how every account stands; its exposure is for who knows prices."""
    accounts = accounts_of(loaded.settings)
    return [
        _any_status(name, accounts[name].currency, folder)
        for name, folder in account_folders(loaded).items()
    ]


def _any_status(name: str, currency: str, folder: Path) -> AccountStatus:
    """Return how an account stands, whatever lies in its folder: others are to be seen with it."""
    try:
        return _status(name, currency, folder)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        said = error.strerror if isinstance(error, OSError) else "its heartbeat has odd values"
        why = f"not running: what its session left cannot be read: {said}"
        switches = {scope.file_name: text for scope, text in switches_in(folder).items()}
        return _unknown(name, currency, why, switches)


def _status(name: str, currency: str, folder: Path) -> AccountStatus:
    found = state_of(folder)
    state, _, detail = str(found.pop("state")).partition(":")
    switches: dict[str, str] = found.pop("kill_switches")
    age_s = found.pop("heartbeat_age_s")
    totals = found.get("totals") or {}
    why_not = _why_not(state, detail.strip(), found, switches)
    journal = newest_journal_of(folder)
    return AccountStatus(
        account=name,
        mode=str(found.get("mode", "")),
        state=_state(state),
        age_s=age_s,
        can_enter=not why_not,
        why_not=why_not,
        killed=bool(found.get("killed")) or "KILL" in switches,
        kill_switches=switches,
        reduce_only=bool(found.get("reduce_only")),
        reconciled=found.get("reconciled"),
        currency=currency,
        equity=found.get("equity"),
        pnl=totals.get("pnl"),
        pnl_today=totals.get("pnl_today"),
        exposure=None,
        open_orders=int(found.get("open_orders", 0)),
        positions=found.get("positions") or {},
        counts=found.get("counts") or {},
        feeds=found.get("feeds") or {},
        trouble=str(found.get("trouble", "")),
        mandate=int(found.get("mandate", 0)),
        journal=journal.name if journal is not None else "",
        heartbeat={key: value for key, value in found.items() if key != "journal"},
    )


def _unknown(name: str, currency: str, why: str, switches: dict[str, str]) -> AccountStatus:
    return AccountStatus(
        account=name,
        mode="",
        state="not running",
        age_s=None,
        can_enter=False,
        why_not=why,
        killed="KILL" in switches,
        kill_switches=switches,
        reduce_only=False,
        reconciled=None,
        currency=currency,
        equity=None,
        pnl=None,
        pnl_today=None,
        exposure=None,
        open_orders=0,
        positions={},
        counts={},
        feeds={},
        trouble=why,
        mandate=0,
        journal="",
        heartbeat={},
    )


def _state(text: str) -> State:
    known: dict[str, State] = {"running": "running", "stuck": "stuck", "stopped": "stopped"}
    return known.get(text, "not running")


def _why_not(state: str, detail: str, beat: Mapping[str, Any], switches: Mapping[str, str]) -> str:
    """Return the first reason for which an account takes no new risk, empty when it may."""
    if state != "running":
        said = detail or str(beat.get("failure", ""))
        return f"{state}: {said}" if said else state
    if "KILL" in switches:
        return f"killed: {switches['KILL']}".rstrip(": ")
    if beat.get("killed"):
        return "killed"
    if beat.get("doubt"):
        return f"parameters in doubt: {beat['doubt']}"
    if not beat.get("reconciled", True):
        return f"not reconciled: {beat.get('trouble', '')}".rstrip(": ")
    if beat.get("reduce_only"):
        return "reduce only"
    return ""


def ask_accounts(loaded: Loaded, body: CommandBody, operator: str) -> list[Answer]:
    """Put a command where all sessions that are meant find it, then wait a moment for them.

    An account whose folder cannot be used says so in its answer, and the others are asked. Raises
    `NotFoundError` for an account that is not there, `ConfigError` for a scope that a command does
    not take, and for a strategy or symbol that none of the accounts has.
    """
    if body.command == "adopt" and not body.strategy:
        raise ConfigError("adopt: say which strategy gets the position")
    if body.command in ("reduce_only", "stop") and (body.strategy or body.symbol):
        raise ConfigError(f"{body.command} is for whole accounts; kill takes a strategy or symbol")
    reason, until = one_line(body.reason), UNTIL.get(body.command, lambda beat: beat is not None)
    found = account_folders(loaded, body.account)
    told = ask_places(
        {name: Place(folder, _names(loaded, name)) for name, folder in found.items()},
        lambda: [request(body.command, body.strategy, body.symbol, reason, operator)],
        until,
    )
    return [
        Answer(account=name, said=one.said, done=one.outcome in ("done", "left"))
        for name, one in told.items()
    ]


def _names(loaded: Loaded, account: str) -> Names:
    settings = loaded.settings
    wanted = accounts_of(settings)[account].strategies or settings.strategies
    everything = (*settings.data, *settings.feeds)
    return names_of(wanted, everything, lambda name: settings.strategies[name].instruments)


def last_beat(folder: Path) -> dict[str, Any]:
    """Return the last heartbeat of an account, empty before the first."""
    return read_heartbeat(folder) or {}


def only(loaded: Loaded, account: str) -> str:
    """Return the account that is meant where one is needed. Raises `ConfigError`."""
    known = account_folders(loaded, account)
    if len(known) != 1:
        raise ConfigError(f"say which account is meant: {', '.join(known) or 'none is enabled'}")
    return next(iter(known))
