"""A live session on the in-memory venue, with a feed that a test plays by hand."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path

import msgspec

from onefold.domain.errors import VenueUncertain
from onefold.domain.records import AnyRecord, Bar, Handover, Quarantined, SessionStart
from onefold.engine.control import Control
from onefold.engine.desk import Desk, DeskRules
from onefold.engine.heartbeat import NAME, Heartbeat
from onefold.engine.live import Live, LiveRules
from onefold.engine.parameters import Governance, ParameterFile
from onefold.engine.recorder import Recorder
from onefold.engine.session import Mirror, Outgoing, Session
from onefold.engine.succession import begun, blotter_of, hand_over
from onefold.journal import Journal, decode, read
from onefold.rehearsal.exchange import Exchange
from onefold.sim.exchange import SimulatedVenue
from onefold.sim.plan import Plan
from venues.twin import Trouble, Twin, no_trouble

TODAY = dt.date(2026, 11, 20)
COMPILE_S = 60.0
QUICK = DeskRules(
    reconcile_s=0.05,
    unknown_s=0.2,
    retry_s=0.005,
    retry_max_s=0.02,
    settle_s=0.01,
    skew_max_s=1e12,
)
START = SessionStart(
    ts=1_700_000_000_000_000_000, mode="live", version="1", build="1", config_hash="1", config={}
)


class HandFeed:
    """A feed that yields what a test puts in; None loses the connection."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Bar | None] = asyncio.Queue()
        self.past: list[Bar] = []
        self.connections = 0

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def history(self, instrument: str, bars: int) -> list[Bar]:
        return [bar for bar in self.past if bar.instrument == instrument][-bars:]

    async def stream(self) -> AsyncIterator[Bar | Quarantined]:
        self.connections += 1
        while (bar := await self.queue.get()) is not None:
            yield bar
        raise VenueUncertain("the feed is lost")


class Rig:
    """One account, trading live on a twin; `folder` holds its journal and control files."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        *,
        exchange: Exchange | None = None,
        trouble: Trouble = no_trouble,
        rules: DeskRules = QUICK,
        live: LiveRules | None = None,
        look: Callable[[], None] = lambda: None,
        warm_up_bars: Mapping[str, int] | None = None,
    ) -> None:
        self._warm_up_bars = warm_up_bars or {}
        account = plan.account
        self.plan, self.folder = plan, folder
        self.exchange = exchange or Exchange(
            plan.instruments, Decimal(str(account.cash)), account.currency
        )
        self.twin = Twin(self.exchange, trouble)
        self.feed = HandFeed()
        self.control = Control(folder)
        self.is_governed = True
        self.parameters = ParameterFile(folder / "governance" / "parameters.jsonl")
        self.skew_ns = 0
        self._look = look
        self._rules, self._live_rules = rules, live or LiveRules(poll_s=0.005, late_bars=1e12)
        self.journals = [folder / "journal"]
        self._handover: Handover | None = None
        self.live: Live

    def reconfigure(self, heir: Plan) -> None:
        """Change the configuration of a session that does not run: another journal goes on."""
        before = begun(self.journals[-1])
        if before is None:  # it died before it had written anything
            return
        self._handover = hand_over(before, self.plan.account.name, self.plan, heir, self.now())
        self.journals.append(self.folder / f"journal-{len(self.journals) + 1}")
        self.plan = heir

    def now(self) -> int:
        """Return the exchange's time, which a test moves, by our clock."""
        return max(self.exchange.now_ns, START.ts) + self.skew_ns

    @contextlib.asynccontextmanager
    async def running(self, *, killed: str = "") -> AsyncIterator[Live]:
        """Run the session until the block ends; then stop it in good order."""
        with Journal.open(self.journals[-1], today=lambda: TODAY) as journal:
            self.live = self._opened(journal)
            recorded = self.live.session.inputs
            task = asyncio.ensure_future(self.live.run(killed=killed))
            # Its first input closes trading until it is reconciled; it may have to compile first.
            await self.until(lambda: self.live.session.inputs > recorded or task.done(), COMPILE_S)
            try:
                yield self.live
            finally:
                self.live.stop()
                await task

    def _opened(self, journal: Journal) -> Live:
        entries = read(self.journals[-1]) if journal.head.seq else iter(())
        blotter = blotter_of(self.plan.account.name, START, self._handover, self.plan)
        outgoing, confirms = Outgoing(), self.twin.abilities.confirms
        watchers: list[Callable[[object], None]] = [blotter.remember]  # type: ignore[list-item]
        recorder = Recorder(
            entries,
            journal,
            answers_are_inputs=confirms,
            seen=lambda record: [watch(record) for watch in watchers] and None,
        )
        venue = outgoing if confirms else Mirror(self._model(), outgoing)
        session = Session(
            self.plan,
            venue,
            recorder,
            msgspec.structs.replace(START, modelled=not confirms),
            handover=self._handover,
        )
        live = Live(
            session,
            [(self.feed, self.plan.names.symbols)],
            self.control,
            Heartbeat(self.folder / NAME),
            now=self.now,
            rules=self._live_rules,
            facts={"mode": "live"},
            warm_up_bars=self._warm_up_bars,
        )
        watchers.append(live.remember)
        session.resume()
        if self.is_governed:
            live.obey(Governance(self.parameters))
        outgoing.take()

        def look(order: object) -> None:
            live.look(order)  # type: ignore[arg-type]
            self._look()

        desk = Desk(
            self.twin,
            blotter,
            hand_in=live.hand_in,
            drained=live.drained,
            held=live.held,
            look=look,
            is_closed=live.is_closed,
            now=self.now,
            rules=self._rules,
        )
        live.attach(desk, outgoing)
        self.blotter = blotter
        return live

    def _model(self) -> SimulatedVenue:
        return SimulatedVenue(self.plan.book(), self.plan.names)

    async def play(self, *bars: Bar) -> None:
        """Let bars happen at the exchange, then at the feed, and wait until all has settled."""
        for bar in bars:
            self.exchange.advance(bar.ts)
            self.exchange.on_bar(bar)
            self.feed.queue.put_nowait(bar)
            await self.settled()

    async def settled(self) -> None:
        """Wait until nothing moves any more between session, desk and exchange."""
        for _ in range(3):
            await asyncio.sleep(0.002)
            await self.live.drained()
            assert self.live.desk is not None
            await self.live.desk.finished()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait for something to become true; fail when it does not."""
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.002)

    def records(self, *kinds: type) -> list[object]:
        """Return the records of some kinds of all journals."""
        return [record for path in self.journals for record in _decoded(path, kinds)]

    def books_agree(self) -> bool:
        """Return whether every position and the cash equal the exchange's."""
        state = self.live.session.state
        for instrument, qty in zip(
            self.plan.instruments, state.instruments["qty"].tolist(), strict=True
        ):
            units = self.exchange.positions()[instrument.symbol]
            if qty * Decimal(str(instrument.lot)) != units:
                return False
        cash = float(state.currencies["cash"][0])
        return abs(cash - float(self.exchange.cash())) < 1e-6


def _decoded(folder: Path, kinds: tuple[type, ...]) -> Iterator[object]:

    for entry in read(folder):
        record = decode(entry, AnyRecord)  # type: ignore[arg-type]
        if isinstance(record, kinds):
            yield record
