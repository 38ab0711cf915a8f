"""From settings to accounts that run in real time, side by side and apart from each other.

Every account has a folder of its own: its right to trade, its control files, its heartbeat, and a
journal for each configuration that it ran with. What goes wrong in one ends that one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import msgspec

from onefold.app.accounts import (
    Account,
    check_abilities,
    check_promoted,
    kept,
    prove_promoted,
    runs_of,
    taken_back,
    today,
)
from onefold.app.sources import Source, live_source, recorded_source
from onefold.app.vet import vet
from onefold.app.wiring import Recipe, build, load_bars, recorded_recipe
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.ports import LiveVenue
from onefold.domain.records import Handover, Mandate, Order, Record, SessionStart
from onefold.engine.control import Control
from onefold.engine.desk import Desk
from onefold.engine.heartbeat import NAME, Heartbeat
from onefold.engine.inference import Inference
from onefold.engine.instance import Instance
from onefold.engine.live import Live
from onefold.engine.parameters import Governance
from onefold.engine.patience import DeskRules, LiveRules
from onefold.engine.recorder import Recorder
from onefold.engine.replay import started
from onefold.engine.session import Mirror, Outgoing, Session
from onefold.engine.succession import (
    Estate,
    begun,
    blotter_of,
    current,
    hand_over,
    leave,
    new_folder,
)
from onefold.governance.versions import Runs
from onefold.journal import Journal, read
from onefold.ops.logs import speaking_of
from onefold.sim.exchange import SimulatedVenue
from onefold.sim.plan import Plan

MB = 1_000_000
log = logging.getLogger("onefold.application.accounts")
Observer = Callable[[Account, Session], Callable[[Record], None]]
"""Made once a session has recovered; what it returns hears every new record, in order, after it is
durable and after what it orders has left; or before it is folded, where it says that it hears
`at_once`. What it raises is logged, and trading goes on."""
RETRY_S, RETRY_MAX_S = 1.0, 60.0
_VENUES = {
    "alpaca": "AlpacaVenue",
    "ccxt": "CcxtVenue",
    "kite": "KiteVenue",
    "oanda": "OandaVenue",
    "traderspost": "TradersPostVenue",
}


def source_of(account: Account) -> Source:
    """Return where bars come from: `feeds`, or without any the recorded data, but never live."""
    loaded = account.loaded
    if loaded.settings.feeds:
        return live_source(loaded.settings, account.symbols)
    if account.mode == "live":
        raise ConfigError("feeds: --mode live needs real bars; say where they come from")
    return recorded_source(loaded, load_bars(loaded))


def venue_of(account: Account, instruments: Mapping[str, Instrument]) -> LiveVenue:
    """Return the account's real venue."""
    one = account.settings.venue
    if one is None:
        raise ConfigError(f"accounts.{account.name}.venue: there is none")
    made = getattr(import_module(f"onefold.adapters.{one.kind}"), _VENUES[one.kind])
    venue: LiveVenue = made(one.config, instruments)
    return venue


@contextlib.asynccontextmanager
async def running(
    account: Account,
    source: Source,
    told: Callable[[str], None],
    observers: Sequence[Observer] = (),
) -> AsyncIterator[Live]:
    """Take the right to trade, recover, and give a session that can be run; then close all."""
    wanted = await account.proved_recipe(source.intervals_ns)
    recipe = kept(account, wanted)
    check_promoted(account, wanted)
    plan = recipe.plan()
    vet(plan, {})
    for name, why in wanted.chosen.disabled.items():
        what = "does not trade" if name in recipe.chosen.disabled else "only leaves what it holds"
        told(f"strategy {name} {what}: {why}")
        extra = {"component": "models", "strategy": name, "told": True}
        log.warning("strategy %s %s: %s", name, what, why, extra=extra)
    runs = runs_of(recipe, account.mode)
    for name in taken_back(account, runs):
        told(
            f"strategy {name} enters nothing: it was taken back, and not promoted to "
            f"{account.mode} as it is now"
        )
    prove = partial(prove_promoted, account, runs_of(wanted, account.mode))
    governance = Governance(account.parameters, runs, prove)
    async with contextlib.AsyncExitStack() as stack:
        instance = stack.enter_context(Instance(account.folder, account.name))
        venue = await _opened(account, source, plan, stack)
        path, handover = succeeded(account, recipe, plan, source.data_mode)
        journal = stack.enter_context(_journal(account, path))
        builder = _Builder(
            account, source, recipe, plan, journal, instance, handover, governance, told
        )
        if venue is None:
            live = builder.simulated()
            _observed(account, live, observers)
            yield live
            return
        live = builder.with_venue(venue)
        _observed(account, live, observers)
        yield live
        builder.leave(live.session)


async def _opened(
    account: Account, source: Source, plan: Plan, stack: contextlib.AsyncExitStack
) -> LiveVenue | None:
    """Open the venue, where orders are real, and the feeds that can be reached.

    This comes before the recovery, which may take long: a venue that cannot be reached is tried
    again and again, and must not let the other accounts wait for a recovery each time.
    """
    venue = None
    if account.mode == "live":
        venue = venue_of(
            account, {i.symbol: i for i in plan.instruments if i.symbol in plan.traded}
        )
        check_abilities(plan, venue.abilities)
        stack.push_async_callback(venue.close)
        await venue.open()
    for feed, _ in source.feeds:
        stack.push_async_callback(feed.close)
        try:
            await feed.open()
        except VenueUncertain as error:
            # One that cannot be reached is opened later: the venue is looked after meanwhile.
            log.info("a feed cannot be reached yet: %s", error)
    return venue


def _observed(account: Account, live: Live, observers: Sequence[Observer]) -> None:
    """Let observers hear what a session records from now on; one that cannot be made is none."""
    for make in observers:
        name = getattr(make, "__qualname__", type(make).__name__)
        try:
            live.observers.add(name, make(account, live.session))
        except Exception:
            extra = {"component": "observers"}
            log.exception("nothing of what is recorded goes to %s", name, extra=extra)


def _journal(account: Account, path: Path) -> Journal:
    """Open a journal for writing, which repairs its torn end."""
    session = account.loaded.settings.session
    return Journal.open(
        path,
        mode=session.durability,
        today=lambda: datetime.now(UTC).date(),
        segment_bytes=round(session.segment_mb * MB),
    )


def succeeded(
    account: Account, recipe: Recipe, plan: Plan, data_mode: str = "live"
) -> tuple[Path, Handover | None]:
    """Return the folder of the account's journal, and what it takes over from the one before.

    A live account goes on with everything that it has when its configuration changes, or the build
    of Onefold. Without real money each configuration has an account of its own, and so have live
    and recorded bars: what was recorded once must not count as evidence of what came in time.
    """
    path = account.folder / f"{account.mode}-{recipe.hash}"
    if account.mode != "live":
        return _of_bars(path, data_mode), None
    before = current(account.folder, account.mode)
    if before is None:
        return path, None
    if before.start.venue not in ("", account.venue):
        raise ConfigError(
            f"account {account.name!r} has traded at {before.start.venue} so far, and now its "
            f"venue is {account.venue}: books and limits go with it, so give it another name"
        )
    if (before.start.config_hash, before.start.build) == (recipe.hash, build()):
        return before.path, before.handover
    with _journal(account, before.path):
        pass
    recorded = recorded_recipe(before.start)
    was = recorded.plan()
    other = before.start.build != build()
    now_ts = time.time_ns()
    handover = hand_over(before, account.name, was, plan, now_ts, other_build=other)
    ran, runs = runs_of(recorded, account.mode), runs_of(recipe, account.mode)
    is_wider = not set(plan.names.symbols) <= set(was.names.symbols) or ran != runs
    handover = msgspec.structs.replace(
        handover, mandates=_mandates(account, handover.mandates, now_ts, runs, is_wider=is_wider)
    )
    return new_folder(account.folder, path.name), handover


def _of_bars(path: Path, data_mode: str) -> Path:
    """Return the journal for bars of one kind: the plain folder is of those that came first."""
    own = path.with_name(f"{path.name}-{data_mode}")
    if begun(own) is None:
        first = begun(path)
        return path if first is None or first.start.data_mode == data_mode else own
    found = started(own).data_mode
    if found != data_mode:
        raise ConfigError(
            f"{own} holds {found or 'other'} bars, not {data_mode} ones: move it away"
        )
    return own


def _mandates(
    account: Account, known: list[Mandate], now_ts: int, runs: Runs, *, is_wider: bool
) -> list[Mandate]:
    """Return what governance has changed, for an heir: all of it, if its file goes on from `known`.

    Some of it may be of what the session before did not have: that one was never told. A file that
    is older, of another history or altered gives nothing, and the session that begins will be in
    doubt of it. Raises `ConfigError` where it would have to say more than is known: of strategies
    and instruments that are other than they were (`is_wider`).
    """
    last = known[-1] if known else None
    try:
        found = account.parameters.read()
        goes_on = last is None or (
            found.number >= last.version and last.parameters in ("", found.hash_of(last.version))
        )
        why = "" if goes_on else f"{account.parameters.path} is not what is in force"
    except ConfigError as error:
        why = str(error)
    if not why:
        return found.mandates(ts=now_ts, runs=runs)
    if is_wider:
        raise ConfigError(
            "strategies or instruments are other than they were, and what they may do, the "
            f"parameters do not say: {why}. Make the file right, or start with the configuration "
            "before"
        )
    return known


class _Builder:
    """Puts a session, its recovery and its desk together."""

    def __init__(
        self,
        account: Account,
        source: Source,
        recipe: Recipe,
        plan: Plan,
        journal: Journal,
        instance: Instance,
        handover: Handover | None,
        governance: Governance,
        told: Callable[[str], None],
    ) -> None:
        self._account, self._source, self._plan = account, source, plan
        self._recipe = recipe
        self._journal, self._instance = journal, instance
        self._handover, self._told = handover, told
        self._governance = governance
        self._watchers: list[Callable[[Record], None]] = []
        path = journal.path
        self._start = (
            started(path)
            if journal.head.seq
            else SessionStart(
                ts=source.now() or time.time_ns(),
                mode=account.mode,
                version=version("onefold"),
                build=build(),
                config_hash=recipe.hash,
                config=recipe.as_recorded(),
                venue=account.venue,
                data_mode=source.data_mode,
            )
        )

    def simulated(self) -> Live:
        """Return a session whose orders go to the simulated venue."""
        return self._live(self._session(SimulatedVenue(self._plan.book(), self._plan.names)))

    def with_venue(self, venue: LiveVenue) -> Live:
        """Return a session whose orders go to a real venue."""
        one, plan = self._account.settings, self._plan
        blotter = blotter_of(self._account.name, self._start, self._handover, plan)
        self._estate = Estate(blotter)
        self._watchers.append(self._estate.remember)
        outgoing = Outgoing()
        if venue.abilities.confirms:
            live = self._live(self._session(outgoing, answers_are_inputs=True))
        else:
            model = Mirror(SimulatedVenue(plan.book(), plan.names), outgoing)
            self._start = msgspec.structs.replace(self._start, modelled=True)
            live = self._live(self._session(model))
        outgoing.take()  # what was ordered before is asked for, and not sent again
        instance = self._instance

        def look(order: Order) -> None:
            instance.look()
            live.look(order)

        desk = Desk(
            venue,
            blotter,
            hand_in=live.hand_in,
            drained=live.drained,
            held=live.held,
            look=look,
            is_closed=live.is_closed,
            now=time.time_ns,
            rules=DeskRules(
                reconcile_s=one.reconcile_s, unknown_s=one.unknown_s, dead_man_s=one.dead_man_s
            ),
        )
        live.attach(desk, outgoing)
        return live

    def leave(self, session: Session) -> None:
        """Write down what the account has, now that its session has come to a good end."""
        leave(self._estate, session, self._journal.path, time.time_ns())

    def _session(self, venue: Any, *, answers_are_inputs: bool = False) -> Session:
        entries = read(self._journal.path) if self._journal.head.seq else iter(())
        recorder = Recorder(
            entries, self._journal, answers_are_inputs=answers_are_inputs, seen=self._seen
        )
        handover = self._handover
        deadline_s = self._account.loaded.settings.session.model_deadline_s
        in_time = None if self._source.is_recorded else Inference(deadline_s, today)
        return Session(
            self._plan,
            venue,
            recorder,
            self._start,
            handover=handover,
            inference=in_time,
            keep=False,
        )

    def _seen(self, record: Record) -> None:
        for watch in self._watchers:
            watch(record)

    def _live(self, session: Session) -> Live:
        account, source = self._account, self._source
        live = Live(
            session,
            source.feeds,
            Control(account.folder),
            self._heartbeat(),
            now=source.now,
            rules=LiveRules(
                late_bars=1e18 if source.is_recorded else self._plan.account.limits.freshness_bars,
                on_stop=account.settings.on_stop,
                latency_buckets_ms=account.loaded.settings.session.latency_buckets_ms,
            ),
            facts={
                "account": account.name,
                "mode": account.mode,
                "data_mode": source.data_mode,
                "epoch": self._instance.epoch,
                "journal": str(self._journal.path),
                "started_ts": time.time_ns(),
                "disabled": dict(self._recipe.chosen.disabled),
                "strategies": dict(runs_of(self._recipe, account.mode).strategies),
            },
            warm_up_bars={} if source.is_recorded else self._warm_up_bars(),
            alert=self._told,
        )
        live.obey(self._governance)
        self._watchers.append(live.remember)
        session.resume()
        source.go_on(int(session.state.account["ts"][0]))
        return live

    def _heartbeat(self) -> Heartbeat:
        account = self._account
        settings = account.loaded.settings
        copies = settings.paths.heartbeats
        return Heartbeat(
            account.folder / NAME,
            copy=copies and account.loaded.resolve(copies) / f"{account.name}.json",
            least_s=settings.session.heartbeat_s,
        )

    def _warm_up_bars(self) -> dict[str, int]:
        """Return how many bars the features of each instrument need before they are known."""
        settings = self._account.loaded.settings
        wanted = {}
        for symbol in self._plan.names.symbols:
            numbers, _ = self._plan.on(symbol)
            strategies = [self._plan.placements[n].strategy for n in numbers]
            bars = max((s.warm_up for s in strategies), default=0)
            spans = max((s.warm_up_ns for s in strategies), default=0)
            interval = self._source.intervals_ns[symbol]
            wanted[symbol] = max(bars + -(-spans // interval), settings.feeds[symbol].history)
        return wanted


class Watcher(Protocol):
    """Who is told what becomes of accounts that run."""

    def starting(self, account: Account) -> None:
        """Hear that an account begins to recover, before anything else."""

    def opened(self, account: Account, live: Live) -> None:
        """Hear of a session that is ready."""

    def told(self, account: Account, text: str) -> None:
        """Hear of every command that is folded: who stopped what, and why."""

    def waits(self, account: Account, error: BaseException) -> None:
        """Hear that a source or venue cannot be reached, and is tried again."""

    def failed(self, account: Account, error: BaseException) -> None:
        """Hear what ended an account badly."""

    def stopped(self, account: Account, live: Live) -> None:
        """Hear that an account has come to a good end."""


async def run_accounts(
    accounts: Sequence[Account],
    source: Callable[[Account], Source],
    *,
    killed: str,
    stopping: asyncio.Event,
    watcher: Watcher,
    observers: Sequence[Observer] = (),
) -> dict[str, Live]:
    """Run accounts side by side until each has ended; return those that came to a good end.

    An account whose source or venue cannot be reached tries again until `stopping`. `observers`
    are made for each session, and hear what it records.
    """
    ended: dict[str, Live] = {}

    async def one(account: Account) -> None:
        with speaking_of(account=account.name, mode=account.mode):
            await kept_up(account)

    async def kept_up(account: Account) -> None:
        delay_s = RETRY_S
        watcher.starting(account)
        while not stopping.is_set():
            try:
                told = partial(watcher.told, account)
                async with running(account, source(account), told, observers) as live:
                    watcher.opened(account, live)
                    await live.run(killed=killed)
                    ended[account.name] = live
                    watcher.stopped(account, live)
                    if live.left():
                        names = ", ".join(live.left())
                        said = f"entries may still work at the venue, look there: {names}"
                        watcher.failed(account, VenueRefused(said))
                    return
            except VenueUncertain as error:
                watcher.waits(account, error)
            except Exception as error:  # noqa: BLE001 - one account must not end the others
                watcher.failed(account, error)
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), delay_s)
            delay_s = min(2 * delay_s, RETRY_MAX_S)

    await asyncio.gather(*(one(account) for account in accounts))
    return ended
