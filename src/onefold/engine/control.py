"""How people reach a running session: a folder of small files, which outlives every process.

A command is a file that is moved into the inbox whole; the session journals it and then removes
it, so that none is lost and none counts twice. A kill switch is a file too, `KILL`, which anybody
can create by hand when nothing else works: `touch control/KILL`. It is looked at again right before
every order leaves, and it goes on working through crashes and restarts until somebody resumes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import msgspec

from onefold.domain.errors import ConfigError, VenueRefused, did_you_mean
from onefold.domain.records import Command, Handover, Order
from onefold.domain.words import CommandKind
from onefold.journal.files import write_atomic

FOLDER = "control"
KILL = "KILL"
ENVIRONMENT = "POLICY_KILLSWITCH"
YES = {"true", "1", "yes"}
COMMANDS = tuple(
    c.name.lower()
    for c in CommandKind
    if c not in (CommandKind.RECONCILED, CommandKind.UNRECONCILED)  # the engine's own findings
)
STOP = "stop"
ADOPT = "adopt"
"""Requests that are no commands of the fold: end in good order; take over what the venue holds."""

_SAFE = "-_."


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person asks of a running session; an empty scope means everything."""

    id: str
    command: str
    ts: int
    strategy: str = ""
    instrument: str = ""
    reason: str = ""
    operator: str = ""


class Scope(NamedTuple):
    """What a kill switch covers; empty means everything."""

    strategy: str
    instrument: str

    def covers(self, strategy: str, instrument: str) -> bool:
        """Return whether an order of a strategy in an instrument is within the scope."""
        return self.strategy in ("", strategy) and self.instrument in ("", instrument)

    @property
    def file_name(self) -> str:
        """Return the name of the switch's file: KILL, KILL@trend, KILL@@ES, KILL@trend@ES."""
        parts = [quote(self.strategy, _SAFE), quote(self.instrument, _SAFE)]
        return "@".join([KILL, *parts]).rstrip("@")


EVERYTHING = Scope("", "")


class Flattening:
    """The scopes that people ordered to be flat: until they are, or somebody resumes."""

    def __init__(self) -> None:
        self.scopes: set[Scope] = set()

    def remember(self, record: object) -> None:
        """Take over what a record says."""
        if isinstance(record, Handover):
            self.scopes.update(Scope(*names) for names in record.flattening)
        elif isinstance(record, Command) and record.command == "flatten":
            self.scopes.add(Scope(record.strategy, record.instrument))
        elif isinstance(record, Command) and record.command == "resume":
            resumed = Scope(record.strategy, record.instrument)
            self.scopes = {scope for scope in self.scopes if not resumed.covers(*scope)}


def scope_of(file_name: str) -> Scope | None:
    """Return what the kill switch of this name covers, None for another file."""
    name, *parts = file_name.split("@")
    if name != KILL or len(parts) > 2:
        return None
    strategy, instrument = (unquote(part) for part in [*parts, "", ""][:2])
    return Scope(strategy, instrument)


class Control:
    """The control folder of one session, from both sides.

    Without `make` nothing is made before something is asked, for a folder that may be broken.
    """

    def __init__(self, folder: Path, *, make: bool = True) -> None:
        self._folder = os.fspath(folder / FOLDER)
        self._inbox = folder / FOLDER / "inbox"
        if make:
            self._inbox.mkdir(parents=True, exist_ok=True)

    # -- for those who command --------------------------------------------------------------------

    def ask(self, request: Request) -> None:
        """Put a request where the session finds it, durably. Raises `ConfigError`, `OSError`.

        A kill switch is on before anything else is tried, also where the inbox cannot be used.
        """
        if request.command not in (*COMMANDS, STOP, ADOPT):
            hint = did_you_mean(request.command, COMMANDS)
            raise ConfigError(f"there is no command {request.command!r}{hint}")
        if request.command == "kill":
            self.kill(Scope(request.strategy, request.instrument), request.reason)
        self._inbox.mkdir(parents=True, exist_ok=True)
        if request.command == "resume":
            self.release(Scope(request.strategy, request.instrument))
        write_atomic(self._inbox / _name(request), msgspec.json.encode(request))

    def kill(self, scope: Scope, reason: str) -> None:
        """Turn a kill switch on, durably. Raises `OSError`."""
        Path(self._folder).mkdir(parents=True, exist_ok=True)
        write_atomic(Path(self._folder) / scope.file_name, reason.encode() + b"\n")

    def release(self, scope: Scope) -> None:
        """Turn a kill switch off; the session itself goes on only after a `resume`."""
        (Path(self._folder) / scope.file_name).unlink(missing_ok=True)

    def waits(self, request: Request) -> bool:
        """Return whether a request still lies where it was put."""
        return (self._inbox / _name(request)).exists()

    def withdraw(self, request: Request) -> None:
        """Take a request back that no session has taken."""
        (self._inbox / _name(request)).unlink(missing_ok=True)

    # -- for the session --------------------------------------------------------------------------

    def switches(self) -> dict[Scope, str]:
        """Return the kill switches that are on, with what stands in their files.

        A folder that cannot be read is a switch that is on: closed is better than uncertain.
        """
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 - asked before every send
        except OSError as error:
            return {EVERYTHING: f"the control folder cannot be read: {error.strerror}"}
        found = {}
        for name in names:
            scope = scope_of(name)
            if scope is not None:
                found[scope] = _text(Path(self._folder) / name)
        return found

    def look(self, order: Order) -> None:
        """Raise `VenueRefused` when a kill switch covers an order that is about to leave.

        What an operator ordered and what protects a position may leave, as in the fold's gates.
        """
        if order.purpose == "command" or (order.reduce_only and order.order_kind != "market"):
            return
        for scope in self.switches():
            if scope.covers(order.strategy, order.instrument):
                raise VenueRefused(f"kill switch {scope.file_name} is on")

    def requests(self) -> Iterator[tuple[Path, Request | str]]:
        """Yield what lies in the inbox, the oldest first; a string says why it cannot be read."""
        try:
            names = sorted(os.listdir(self._inbox))  # noqa: PTH208 - asked fifty times a second
        except OSError:
            return
        for name in names:
            path = self._inbox / name
            if not name.endswith(".json"):
                continue
            try:
                request = msgspec.json.decode(path.read_bytes(), type=Request)
            except (msgspec.DecodeError, OSError) as error:
                yield path, str(error)
                continue
            known = request.command in (*COMMANDS, STOP, ADOPT)
            yield path, request if known else f"there is no command {request.command!r}"

    def done(self, path: Path) -> None:
        """Remove a request that has been journaled."""
        path.unlink(missing_ok=True)

    def refusal(self, request: Request) -> str:
        """Return why the session could not carry a request out, or nothing."""
        return _text(self._inbox / "refused" / f"{_name(request)}.reason")

    def refuse(self, path: Path, reason: str) -> None:
        """Put a request aside that cannot be carried out, with the reason."""
        rejected = self._inbox / "refused"
        rejected.mkdir(exist_ok=True)
        write_atomic(rejected / f"{path.name}.reason", reason.encode() + b"\n")
        path.replace(rejected / path.name)


def switches_in(folder: Path) -> dict[Scope, str]:
    """Return the kill switches of an account's folder, and make nothing; none before it is there.

    A folder that cannot be read is a switch that is on, as for the session.
    """
    try:
        (folder / FOLDER).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError:  # `switches` says why
        pass
    return Control(folder, make=False).switches()


def killed_by(environment: Mapping[str, str]) -> str:
    """Return why the environment wants everything stopped at the start, or nothing."""
    value = environment.get(ENVIRONMENT, "")
    return f"{ENVIRONMENT}={value}" if value.strip().lower() in YES else ""


def command_of(request: Request, now_ts: int) -> Command:
    """Return a request as the record that the session folds."""
    return Command(
        ts=now_ts,
        command=request.command,
        strategy=request.strategy,
        instrument=request.instrument,
        reason=request.reason,
        operator=request.operator,
        id=request.id,
    )


def _name(request: Request) -> str:
    return f"{request.ts}-{request.id}.json"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()[:200]
    except OSError:
        return ""
