"""From settings to accounts that run in real time, side by side and apart from each other.

Every account has a folder of its own: its right to trade, its control files, its heartbeat, and a
journal for each configuration that it ran with. What goes wrong in one ends that one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import msgspec

from onefold.app.bundles import BundleStore
from onefold.app.live_settings import AccountSettings
from onefold.app.settings import Loaded, accounts_of
from onefold.app.sources import Source, live_source, recorded_source
from onefold.app.vet import vet
from onefold.app.wiring import (
    Chosen,
    Recipe,
    asked_by,
    build,
    chosen_of,
    load_bars,
    read_sources,
    recorded_recipe,
    store_of,
)
from onefold.domain.errors import ConfigError, ModelError, VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument
from onefold.domain.ports import LiveVenue
from onefold.domain.records import Handover, Mandate, Order, Record, SessionStart
from onefold.domain.venue import Abilities
from onefold.engine.control import Control
from onefold.engine.desk import Desk, DeskRules
from onefold.engine.heartbeat import NAME, Heartbeat
from onefold.engine.inference import Inference
from onefold.engine.instance import Instance
from onefold.engine.live import Live, LiveRules
from onefold.engine.parameters import Governance, ParameterFile
from onefold.engine.recorder import Recorder
from onefold.engine.replay import started
from onefold.engine.session import Mirror, Outgoing, Session
from onefold.engine.succession import (
    Estate,
    blotter_of,
    current,
    hand_over,
    leave,
    new_folder,
)
from onefold.journal import Journal, read
from onefold.signals.model import Model, silenced
from onefold.sim.exchange import SimulatedVenue
from onefold.sim.plan import Plan

MB = 1_000_000
RETRY_S, RETRY_MAX_S = 1.0, 60.0
WANTED_LIMITS = ("daily_loss", "drawdown", "gross_exposure", "max_order_value")
_VENUES = {
    "alpaca": "AlpacaVenue",
    "ccxt": "CcxtVenue",
    "kite": "KiteVenue",
    "oanda": "OandaVenue",
    "traderspost": "TradersPostVenue",
}


class Account:
    """One account of a configuration in one mode: its names, its folder, what it needs to run.

    Raises `ConfigError` for what live trading needs and is not there.
    """

    def __init__(self, loaded: Loaded, name: str, one: AccountSettings, mode: str) -> None:
        self.loaded, self.name, self.settings, self.mode = loaded, name, one, mode
        self.folder = loaded.account_folder(name)
        if mode == "live":
            where = f"accounts.{name}"
            if loaded.settings.session.durability != "durable":
                raise ConfigError(
                    "session.durability: --mode live needs durable: an order must not leave before "
                    "its record is on the disk"
                )
            if one.venue is None:
                raise ConfigError(f"{where}.venue: --mode live needs a venue for the orders")
            if not one.approved.strip():
                raise ConfigError(
                    f"{where}.approved: say who approved live trading, when and why; "
                    "without that no order leaves"
                )

    @property
    def venue(self) -> str:
        """Return where its orders go, without secrets."""
        one = self.settings.venue
        return one.identity if one is not None and self.mode == "live" else ""

    @property
    def parameters(self) -> ParameterFile:
        """Return what governance has changed for it."""
        folder = self.loaded.resolve(self.loaded.settings.paths.governance)
        return ParameterFile(folder / f"{self.name}.jsonl")

    @property
    def symbols(self) -> frozenset[str]:
        """Return what the account's strategies trade, and what sets its currencies' rates."""
        settings = self.loaded.settings
        wanted = [settings.strategies[n] for n in self.settings.strategies or settings.strategies]
        everything = {*settings.data, *settings.feeds}
        traded = {s for one in wanted for s in one.instruments or everything}
        return frozenset(traded | settings.rate_pairs.keys())

    @property
    def unlimited(self) -> list[str]:
        """Return the limits of a live account that nobody should trade without, and are not set."""
        limits = self.settings.limits
        return [name for name in WANTED_LIMITS if getattr(limits, name) is None]

    def recipe(self, intervals_ns: dict[str, int]) -> Recipe:
        """Return what the account's decisions follow from."""
        settings = self.loaded.settings
        wanted = self.settings.strategies or tuple(settings.strategies)
        mine = settings.model_copy(
            update={
                "account": self.settings.rules,
                "strategies": {n: settings.strategies[n] for n in wanted},
            }
        )
        loaded = Loaded(mine, self.loaded.path)
        sources = read_sources(loaded)
        store = store_of(loaded, today=today(), live=self.mode == "live")
        return Recipe(mine, intervals_ns, sources, chosen_of(mine, sources, store)).fitted()


def enabled_accounts(loaded: Loaded, mode: str, say: Callable[[str], None]) -> list[Account]:
    """Return the accounts that run; the others are told of with the reason."""
    found = []
    for name, one in accounts_of(loaded.settings).items():
        if one.enabled:
            found.append(Account(loaded, name, one, "shadow" if one.shadow else mode))
        else:
            say(f"skipping account {name}: it is not enabled (accounts.{name}.enabled)")
    if not found:
        raise ConfigError("accounts: none is enabled, so there is nothing to run")
    return found


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
    account: Account, source: Source, told: Callable[[str], None]
) -> AsyncIterator[Live]:
    """Take the right to trade, recover, and give a session that can be run; then close all."""
    wanted = account.recipe(source.intervals_ns)
    recipe = kept(account, wanted)
    check_promoted(account, wanted)
    plan = recipe.plan()
    vet(plan, {})
    for name, why in wanted.chosen.disabled.items():
        what = "does not trade" if name in recipe.chosen.disabled else "only leaves what it holds"
        told(f"strategy {name} {what}: {why}")
    async with contextlib.AsyncExitStack() as stack:
        instance = stack.enter_context(Instance(account.folder, account.name))
        venue = await _opened(account, source, plan, stack)
        path, handover = succeeded(account, recipe, plan)
        journal = stack.enter_context(_journal(account, path))
        builder = _Builder(account, source, recipe, plan, journal, instance, handover, told)
        if venue is None:
            yield builder.simulated()
            return
        live = builder.with_venue(venue)
        yield live
        builder.leave(live.session)


def check_promoted(account: Account, recipe: Recipe) -> None:
    """Raise `ConfigError` for strategies that may not go live, where evidence is needed for that.

    One that was promoted has to be what it was then, and its evidence has to be there. One that was
    taken back enters nothing, and may leave what it holds; with parameters that cannot be read no
    one enters anything.
    """
    if account.mode != "live" or not account.settings.needs_evidence:
        return
    try:
        parameters = account.parameters.read()
    except ConfigError:
        return
    held = {h.strategy for h in parameters.holds if h.holder == "stage" and h.action == "suppress"}
    for name in recipe.settings.strategies:
        if name in held or name in recipe.chosen.disabled:  # it enters nothing
            continue
        last = parameters.stages.get(name)
        how = f"onefold check-transition live --strategy {name} --promote"
        if last is None or last.stage != "live":
            raise ConfigError(f"strategy {name!r} has not been promoted to live: {how}")
        promoted, _, evidence = last.evidence.partition("/")
        if promoted != recipe.strategy_hash(name):
            raise ConfigError(f"strategy {name!r} has changed since it was promoted: {how}")
        BundleStore(account.loaded, account.name).proven(evidence, name)


def today() -> str:
    """Return the date, UTC."""
    return datetime.now(UTC).date().isoformat()


def kept(account: Account, recipe: Recipe) -> Recipe:
    """Return a live account's recipe with strategies that have lost their model, to leave only.

    They may hold positions, whose stops must not end with the model. Their models are those of the
    journal before, and say nothing any more: so nothing is entered.
    """
    before = current(account.folder, account.mode) if account.mode == "live" else None
    if before is None or not recipe.chosen.disabled:
        return recipe
    recorded = recorded_recipe(before.start)
    remembered = recorded.chosen.models.items()
    silent = recipe._replace(chosen=Chosen({name: silenced(model) for name, model in remembered}))
    disabled = dict(recipe.chosen.disabled)
    left: dict[str, Model] = {}
    for name in recipe.chosen.disabled:
        if name not in recorded.settings.strategies or name in recorded.chosen.disabled:
            continue
        try:
            left |= asked_by(silent, name)
        except ModelError:  # it wants another model than the one that it had
            continue
        del disabled[name]
    if len(disabled) == len(recipe.chosen.disabled):
        return recipe
    # A model that others ask too says nothing to them either: it has one voice in an account.
    return recipe._replace(chosen=Chosen({**recipe.chosen.models, **left}, disabled))


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
        # One that cannot be reached is opened later: the venue is looked after meanwhile.
        with contextlib.suppress(VenueUncertain):
            await feed.open()
    return venue


def _journal(account: Account, path: Path) -> Journal:
    """Open a journal for writing, which repairs its torn end."""
    session = account.loaded.settings.session
    return Journal.open(
        path,
        mode=session.durability,
        today=lambda: datetime.now(UTC).date(),
        segment_bytes=round(session.segment_mb * MB),
    )


def succeeded(account: Account, recipe: Recipe, plan: Plan) -> tuple[Path, Handover | None]:
    """Return the folder of the account's journal, and what it takes over from the one before.

    A live account goes on with everything that it has when its configuration changes, or the build
    of Onefold. Without real money each configuration has an account of its own.
    """
    path = account.folder / f"{account.mode}-{recipe.hash}"
    before = current(account.folder, account.mode) if account.mode == "live" else None
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
    was = recorded_recipe(before.start).plan()
    other = before.start.build != build()
    now_ts = time.time_ns()
    handover = hand_over(before, account.name, was, plan, now_ts, other_build=other)
    handover = msgspec.structs.replace(
        handover, mandates=_mandates(account, handover.mandates, now_ts)
    )
    return new_folder(account.folder, path.name), handover


def _mandates(account: Account, known: list[Mandate], now_ts: int) -> list[Mandate]:
    """Return what governance has changed, for an heir: all of it, if its file goes on from `known`.

    Some of it may be of what the configuration before did not have. A file that is older, of
    another history or altered gives nothing; the session that begins will be in doubt of it.
    """
    try:
        found = account.parameters.read()
    except ConfigError:
        return known
    last = known[-1] if known else None
    goes_on = last is None or (
        found.number >= last.version and last.parameters in ("", found.hash_of(last.version))
    )
    return found.mandates(ts=now_ts) if goes_on else known


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
        told: Callable[[str], None],
    ) -> None:
        self._account, self._source, self._plan = account, source, plan
        self._recipe = recipe
        self._journal, self._instance = journal, instance
        self._handover, self._told = handover, told
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
            ),
            facts={
                "account": account.name,
                "mode": account.mode,
                "data_mode": source.data_mode,
                "epoch": self._instance.epoch,
                "journal": str(self._journal.path),
                "started_ts": time.time_ns(),
                "disabled": dict(self._recipe.chosen.disabled),
            },
            warm_up_bars={} if source.is_recorded else self._warm_up_bars(),
            alert=self._told,
        )
        live.obey(Governance(account.parameters))
        self._watchers.append(live.remember)
        session.resume()
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


def check_abilities(plan: Plan, abilities: Abilities) -> None:
    """Raise `ConfigError` for orders that a strategy would give and the venue does not take."""
    for placement in plan.placements:
        entry, exits = placement.rules.entry, placement.rules.exits
        kinds = {"market": "exits", entry.order: "entry.order"}
        if exits.resting:
            kinds |= {"stop": "exits.resting"} if exits.stop or exits.trail else {}
            kinds |= {"limit": "exits.resting"} if exits.take else {}
        for kind, setting in kinds.items():
            if kind not in abilities.kinds:
                raise ConfigError(
                    f"strategies.{placement.name}.{setting}: this venue takes no {kind} orders"
                )
        if entry.time_in_force not in abilities.times_in_force:
            raise ConfigError(
                f"strategies.{placement.name}.entry.time_in_force: this venue takes no orders "
                f"{entry.time_in_force!r}"
            )


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


async def run_accounts(
    accounts: Sequence[Account],
    source: Callable[[Account], Source],
    *,
    killed: str,
    stopping: asyncio.Event,
    watcher: Watcher,
) -> dict[str, Live]:
    """Run accounts side by side until each has ended; return those that came to a good end.

    An account whose source or venue cannot be reached tries again until `stopping`.
    """
    ended: dict[str, Live] = {}

    async def one(account: Account) -> None:
        delay_s = RETRY_S
        watcher.starting(account)
        while not stopping.is_set():
            try:
                told = partial(watcher.told, account)
                async with running(account, source(account), told) as live:
                    watcher.opened(account, live)
                    await live.run(killed=killed)
                    ended[account.name] = live
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
