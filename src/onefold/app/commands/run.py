"""`onefold run`: event by event, with a journal that survives a crash, on old bars or live ones."""

from __future__ import annotations

import asyncio
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
from onefold.app.configfile import environment
from onefold.app.group import new_app
from onefold.app.live import Account, enabled_accounts, run_accounts, source_of
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
from onefold.app.results import view_of
from onefold.app.settings import Loaded, SessionSettings, check_secrets, load_settings
from onefold.app.summary import facts_table, key_numbers, number_rows, strategy_table
from onefold.app.vet import vet
from onefold.app.wiring import Wired
from onefold.domain.errors import OnefoldError
from onefold.engine.control import killed_by
from onefold.engine.live import Live
from onefold.engine.session import Input, Session
from onefold.engine.simulate import simulate
from onefold.journal import head

app = new_app()

MB = 1_000_000


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

    def __init__(self) -> None:
        self.running: dict[str, Live] = {}
        self.failures: dict[str, BaseException] = {}
        self._teller = Teller()
        self.stopping = asyncio.Event()

    def starting(self, account: Account) -> None:
        """Say that an account begins to recover."""
        self._teller.tell(
            f"account {account.name}: starting, mode {account.mode}, pid {os.getpid()}"
        )
        if account.mode == "live" and account.unlimited:
            missing = ", ".join(account.unlimited)
            self._teller.tell(f"account {account.name}: trades without these limits: {missing}")

    def told(self, account: Account, text: str) -> None:
        """Say at once what was stopped or let go again, and why."""
        self._teller.tell(f"account {account.name}: {one_line(text)}")

    def opened(self, account: Account, live: Live) -> None:
        """Take note of a session that is ready."""
        self.running[account.name] = live
        self._teller.tell(f"account {account.name}: started")
        notify("READY=1")
        if self.stopping.is_set():
            live.stop()

    def waits(self, account: Account, error: BaseException) -> None:
        """Say why an account does not trade yet."""
        said = one_line(str(error))
        self._teller.tell(f"account {account.name}: closed, and will try again: {said}")

    def failed(self, account: Account, error: BaseException) -> None:
        """Say what ended an account, once and for people."""
        self.failures[account.name] = error
        self._teller.tell(f"error: account {account.name}: {one_line(str(error))}")

    def close(self) -> None:
        """Print what has not been printed yet."""
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
    accounts = enabled_accounts(loaded, mode.value, note)
    watch = _Watch()

    async def main() -> dict[str, Live]:
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
            )
        finally:
            beating.cancel()
            notify("STOPPING=1")

    try:
        ended = asyncio.run(main())
    finally:
        watch.close()
    summary = {name: live.status() for name, live in ended.items()}
    if json_:
        emit({"accounts": summary, "failed": {n: str(e) for n, e in watch.failures.items()}})
    else:
        for name, status in summary.items():
            note(f"account {name}: stopped")
            show(facts_table([(key, str(value)) for key, value in status.items()]))
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
