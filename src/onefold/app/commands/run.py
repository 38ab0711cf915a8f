"""`onefold run`: event by event, with a journal that survives a crash, on old bars or live ones."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from onefold.adapters.files import FileFeed
from onefold.adapters.pace import Pace, waiter
from onefold.app.accounts import Account, enabled_accounts
from onefold.app.configfile import environment
from onefold.app.group import new_app
from onefold.app.live import Observer, run_accounts, source_of
from onefold.app.notify import notify
from onefold.app.output import (
    Advance,
    ConfigFile,
    Json,
    Teller,
    emit,
    note,
    one_line,
    progress,
    show,
)
from onefold.app.preflighting import require_preflight
from onefold.app.results import view_of
from onefold.app.session_settings import SessionSettings
from onefold.app.settings import Loaded, check_secrets, load_settings
from onefold.app.summary import facts_table, key_numbers, number_rows, strategy_table
from onefold.app.vet import vet
from onefold.app.wiring import Wired
from onefold.domain.errors import OnefoldError
from onefold.engine.control import killed_by
from onefold.engine.live import Live
from onefold.engine.session import Input, Session
from onefold.engine.simulate import simulate
from onefold.engine.worries import Worries
from onefold.journal import head
from onefold.ops.channels import NotificationSettings
from onefold.ops.logs import set_up
from onefold.ops.notifications import Notifications
from onefold.ops.recordlog import log_records
from onefold.ops.redaction import secrets_of

app = new_app()

MB = 1_000_000
log = logging.getLogger("onefold.application.accounts")


class RunMode(StrEnum):
    """How a run is connected to the world."""

    SIMULATE = "simulate"
    SHADOW = "shadow"
    PAPER = "paper"
    LIVE = "live"


@app.command()
def run(
    config: ConfigFile = Path("onefold.yaml"),
    mode: Annotated[
        RunMode,
        typer.Option(
            help="simulate: recorded bars at once; paper and shadow: live bars (recorded ones "
            "without feeds), simulated fills; live: real orders."
        ),
    ] = RunMode.SIMULATE,
    journal: Annotated[
        Path | None,
        typer.Option(help="With simulate: the journal's folder instead of one of its own."),
    ] = None,
    json_: Json = False,
) -> None:
    """Run the strategies event by event, with a durable journal.

    A run that was interrupted continues where its journal ends, and comes to the same end.
    """
    loaded = load_settings(config)
    if mode is RunMode.SIMULATE:
        _simulate(loaded, config, journal, json_)
    else:
        raise typer.Exit(_run_live(loaded, mode, json_))


def _simulate(loaded: Loaded, config: Path, journal: Path | None, json_: bool) -> None:
    wired = Wired(loaded)
    for warning in wired.warnings():
        note(f"warning: {warning}")
    name = f"{config.stem}-{wired.recipe.hash}"
    folder = journal or loaded.resolve(loaded.settings.paths.journal) / name
    recorded = head(folder).seq if folder.exists() else 0
    if recorded:
        note(f"continuing after record {recorded} of {folder}")
    session = run_session(wired, folder)
    result = session.result()
    view = view_of(wired.plan, wired.bars, result, wired.actions, title=config.stem)
    end = head(folder)
    if json_:
        numbers = key_numbers(view)
        emit(
            {
                **numbers,
                "fingerprint": result.fingerprint,
                "journal": str(folder),
                "records": end.seq,
                "head": end.hash,
                "continued_after": recorded,
            }
        )
        return
    place = [
        ("journal", str(folder)),
        ("records", f"{end.seq:,}"),
        ("head", end.hash),
        ("fingerprint", result.fingerprint),
    ]
    show(strategy_table(view), facts_table([*number_rows(view), *place]))


def run_session(wired: Wired, folder: Path) -> Session:
    """Run a session to the end of its data, paced as configured, with a progress bar."""
    vet(wired.plan, wired.bars)
    options: SessionSettings = wired.settings.session
    with progress(RunMode.SIMULATE.value, wired.inputs) as advance:
        return simulate(
            wired.plan,
            counted(FileFeed(list(wired.bars_of.values())).events(), advance),
            folder,
            wired.start(RunMode.SIMULATE.value),
            today=lambda: datetime.now(UTC).date(),
            durability=options.durability,
            segment_bytes=round(options.segment_mb * MB),
            wait=waiter(Pace(options.pace.speed, options.pace.seconds_per_bar)),
        )


def counted(feed: Iterable[Input], advance: Advance) -> Iterator[Input]:
    """Yield a feed's inputs, and say how many there were."""
    for count, event in enumerate(feed, 1):
        advance(count)
        yield event


class _Watch:
    """What a running process tells and how it is stopped."""

    def __init__(self, settings: NotificationSettings) -> None:
        self.running: dict[str, Live] = {}
        self.failures: dict[str, BaseException] = {}
        self._teller = Teller()
        self._worries = Worries("onefold.application.accounts", "account")
        self.say = self._teller.tell
        self.notifications = Notifications(settings, alert=self.say)
        self.stopping = asyncio.Event()

    def starting(self, account: Account) -> None:
        """Say that an account begins to recover."""
        self._tell(account, f"starting, mode {account.mode}, pid {os.getpid()}")
        if account.mode == "live" and account.unlimited:
            missing = ", ".join(account.unlimited)
            self._tell(account, f"trades without these limits: {missing}", logging.WARNING)

    def told(self, account: Account, text: str) -> None:
        """Say at once what was stopped or let go again, and why."""
        self._say(account, text)
        self.notifications.told(account, text)

    def _say(self, account: Account, text: str) -> None:
        self.say(f"account {account.name}: {one_line(text)}")

    def _tell(self, account: Account, text: str, level: int = logging.INFO) -> None:
        """Say a line, and log it."""
        self._say(account, text)
        extra = {"account": account.name, "told": True}
        log.log(level, "account %s: %s", account.name, text, extra=extra)

    def opened(self, account: Account, live: Live) -> None:
        """Take note of a session that is ready."""
        self.running[account.name] = live
        self._worries.over(account.name)
        self._tell(account, "started")
        self.notifications.opened(account, live)
        notify("READY=1")
        if self.stopping.is_set():
            live.stop()

    def waits(self, account: Account, error: BaseException) -> None:
        """Say why an account does not trade yet."""
        self._say(account, f"closed, and will try again: {error}")
        self.notifications.waits(account, error)
        self._worries.about(account.name, f"closed: {error}", error, told=True)

    def failed(self, account: Account, error: BaseException) -> None:
        """Say what ended an account, once and for people."""
        self.failures[account.name] = error
        self.say(f"error: account {account.name}: {one_line(str(error))}")
        extra = {"component": "account", "account": account.name, "told": True}
        log.error("account %s has ended: %s", account.name, error, exc_info=error, extra=extra)
        self.notifications.failed(account, error)

    def stopped(self, account: Account, live: Live) -> None:
        """Take note of an account that has come to a good end."""
        self.notifications.stopped(account, live)

    def close(self) -> None:
        """Send and print what has not been sent and printed yet."""
        self.notifications.close()
        self._teller.close()

    def stop(self, *_: Any) -> None:
        """End all sessions in good order."""
        self.stopping.set()
        for live in self.running.values():
            live.stop()


def _run_live(loaded: Loaded, mode: RunMode, json_: bool) -> int:
    """Run all enabled accounts until they end; return the exit code."""
    if mode is RunMode.LIVE:
        check_secrets(loaded.path.parent)
        if loaded.settings.preflight.environment == "production":
            require_preflight(loaded)
    watch = _Watch(loaded.settings.notifications)
    logs = set_up(
        loaded.settings.logs,
        loaded.path.parent,
        secrets=secrets_of(loaded.settings, environment(loaded.path.parent)),
        say=watch.say,
    )
    watch.say(logs.summary)
    # Who hears what sessions record, in this order: the log first, then whoever tells people.
    observers: list[Observer] = [log_records, watch.notifications.observe]
    try:
        accounts = enabled_accounts(loaded, mode.value, watch.say)
        ended = asyncio.run(_all_run(loaded, accounts, watch, observers))
    finally:
        watch.close()
        log.info("the process ends", extra={"pid": os.getpid()})
        logs.close()
    return _told_end(ended, watch, json_=json_)


async def _all_run(
    loaded: Loaded, accounts: list[Account], watch: _Watch, observers: list[Observer]
) -> dict[str, Live]:
    """Run accounts until each has ended; signals stop them, a service manager hears of them."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        if sys.platform == "win32":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(watch.stop))
        else:
            loop.add_signal_handler(number, watch.stop)
    beating = asyncio.ensure_future(_keep_watchdog())
    try:
        return await run_accounts(
            accounts,
            source_of,
            killed=killed_by(environment(loaded.path.parent)),
            stopping=watch.stopping,
            watcher=watch,
            observers=observers,
        )
    finally:
        beating.cancel()
        notify("STOPPING=1")


def _told_end(ended: dict[str, Live], watch: _Watch, *, json_: bool) -> int:
    """Print how the accounts have ended; return the exit code."""
    summary = {name: live.status() for name, live in ended.items()}
    if json_:
        emit({"accounts": summary, "failed": {n: str(e) for n, e in watch.failures.items()}})
    else:
        for name, status in summary.items():
            note(f"account {name}: stopped")
            rows = [(key, str(value)) for key, value in status.items() if key != "latency"]
            show(facts_table(rows))
    codes = [e.exit_code if isinstance(e, OnefoldError) else 1 for e in watch.failures.values()]
    return max(codes, default=0)


async def _keep_watchdog() -> None:
    """Tell the service manager that the loop turns, as often as it wants to hear it."""
    wanted_us = 0
    with suppress(ValueError):
        wanted_us = int(os.environ.get("WATCHDOG_USEC", "0"))
    while wanted_us:
        notify("WATCHDOG=1")
        await asyncio.sleep(wanted_us / 3e6)
