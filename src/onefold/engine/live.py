"""A session in real time: bars, the venue's answers and people's commands come when they come.

Everything goes through one queue and is taken one after another, so the journal has one order of
events and a replay has it too. *Inputs*: feeds, a desk, the control folder. *Output*: the journal,
instructions to the desk, the heartbeat. *Invariant*: an instruction reaches the desk only after the
commit that holds its record.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from onefold.domain.errors import ConfigError, DataError, OnefoldError, VenueError, VenueRefused
from onefold.domain.ports import LiveFeed
from onefold.domain.records import Bar, Command, Handover, Mandate, Order, Quarantined, Record
from onefold.domain.words import BY_FILE
from onefold.engine import standing
from onefold.engine.control import (
    ADOPT,
    EVERYTHING,
    STOP,
    Control,
    Flattening,
    Request,
    Scope,
    command_of,
)
from onefold.engine.desk import Desk
from onefold.engine.feed_health import FeedHealth
from onefold.engine.heartbeat import Heartbeat
from onefold.engine.latency import Latencies
from onefold.engine.observers import Observers
from onefold.engine.parameters import Governance
from onefold.engine.patience import LiveRules
from onefold.engine.session import Input, Outgoing, Session
from onefold.engine.standing import OPERATOR, Held

KILLED_BY_US = ("kill", OPERATOR)
BATCH = 64
"""Inputs that share a commit when they are there at once."""
log = logging.getLogger("onefold.application.session")
audit = logging.getLogger("onefold.audit.control")
monitoring = logging.getLogger("onefold.monitoring.session")
performance = logging.getLogger("onefold.performance.session")


class Live:
    """A session with feeds, a control folder and, where orders are real, a desk.

    `feeds` have the symbols that they serve. `now` is the wall clock in nanoseconds. Give the desk
    with `attach` before `run`; feeds may be open already or not. `alert` is told in a line of every
    command that is folded (who stopped what and why, whether a person or the engine did), and that
    the session is stopping. `observers` hear what is recorded, last of all.
    """

    def __init__(
        self,
        session: Session,
        feeds: Sequence[tuple[LiveFeed, Sequence[str]]],
        control: Control,
        heartbeat: Heartbeat,
        *,
        now: Callable[[], int],
        rules: LiveRules,
        facts: Mapping[str, Any],
        warm_up_bars: Mapping[str, int],
        alert: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.session = session
        self._feeds = feeds
        self._control = control
        self._heartbeat = heartbeat
        self._now = now
        self._ticked = asyncio.Event()
        self._rules = rules
        self._facts = dict(facts)
        self._warm_up_bars, self._alert = warm_up_bars, alert
        self._governance: Governance | None = None
        self._doubt = ""
        self._versions: dict[int, str] = {}
        self._flattening = Flattening()
        self._queue: asyncio.Queue[Input | asyncio.Future[None]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._killed: set[Scope] = set()
        self._carried_out: set[str] = set()
        self._intervals = dict(zip(session.names.symbols, session.names.intervals_ns, strict=True))
        self._last_bar: dict[str, int] = {}
        self._given: dict[str, int] = {}
        self._known_to: dict[str, int] = {}
        self._cold: dict[str, int] = {}
        self._counts = {"bars": 0, "late": 0, "refused": 0, "fills": 0, "orders": 0}
        self._feed_health = FeedHealth()
        self.latency = Latencies(rules.latency_buckets_ms)
        session.inference.timed = self.latency.inferred
        self.observers = Observers()
        self._outgoing: Outgoing | None = None
        self.desk: Desk | None = None
        self.failure: BaseException | None = None

    def attach(self, desk: Desk, outgoing: Outgoing) -> None:
        """Send what the session decides to a desk."""
        self.desk, self._outgoing = desk, outgoing

    def obey(self, governance: Governance) -> None:
        """Take mandates from an account's parameters; give them before `run`."""
        self._governance = governance

    def remember(self, record: Record) -> None:
        """Take over what a record of the journal says, as it is read again or written."""
        self._flattening.remember(record)
        self.observers.take(record)
        if isinstance(record, Command) and record.id:
            self._carried_out.add(record.id)
        elif isinstance(record, Bar):
            self._last_bar[record.instrument] = self._given[record.instrument] = record.ts
            self._counts["bars"] += 1
            self._counts["late"] += record.late
        elif isinstance(record, Quarantined):
            self._counts["refused"] += 1
        elif isinstance(record, Order):
            if self.desk is None:  # what is simulated leaves as it is recorded
                self.latency.ordered(record)
        elif isinstance(record, Mandate):
            self._versions = {record.version: record.parameters}
        elif isinstance(record, Handover):
            self._versions = {m.version: m.parameters for m in record.mandates}
            self._carried_out.update(record.requests)
            self._known_to = {s: int(row["ts"] or 0) for s, row in record.instruments.items()}

    def held(self) -> dict[str, Held]:
        """Return what the books say of every symbol."""
        return standing.held(self.session)

    def is_closed(self) -> bool:
        """Return whether the account may take no new risk, since it is not reconciled."""
        return not self.session.state.account["reconciled"][0]

    def look(self, order: Order) -> None:
        """Raise `VenueRefused` for an order that must not leave any more: the very last look."""
        self._check(order)
        self.latency.ordered(order)

    def _check(self, order: Order) -> None:
        self._control.look(order)
        if self.desk is not None and not self.desk.compared.is_set():
            raise VenueRefused("books and venue have not been compared since the start")
        account = self.session.state.account
        if order.purpose != "entry":
            return
        if self._stopping.is_set():
            raise VenueRefused("the session is stopping")
        if self.is_closed() or account["reduce_only"][0]:
            raise VenueRefused("the account was closed for new risk before this entry left")
        age = (self._now() - order.ts) / self._intervals[order.instrument]
        if age > self._rules.late_bars:
            raise VenueRefused(f"this entry was decided {age:.1f} bars ago")

    def hand_in(self, record: Input) -> None:
        """Put an input into the queue."""
        self._queue.put_nowait(record)

    async def drained(self) -> None:
        """Wait until everything that was handed in before has been folded."""
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(reached)
        await reached

    def stop(self) -> None:
        """End in good order, soon."""
        self._stopping.set()

    async def run(self, *, killed: str = "") -> None:
        """Warm up, then trade until `stop`, a lost right to trade, or the end of all feeds.

        `killed` is a reason to begin with everything stopped. Raises what ended the session badly,
        such as `JournalHalted`; nothing is sent after that.
        """
        if self.desk is not None and self.desk.confirms:
            self._apply([self._own_command("unreconciled", "starting")])
        if killed:
            self._apply([self._own_command("kill", killed)])
        self._apply([*self._switched(), *self._governed()])
        serving = self._spawn(self._serve())
        self._spawn(self._watch_switches())
        self._spawn(self._listen_to_people())
        self._spawn(self._beat())
        self._spawn(self._flatten_again())
        self._spawn(self._watch_feeds())
        self._spawn(self._measure())
        await self._compare_first()
        feeding = [self._spawn(self._pump(feed, symbols)) for feed, symbols in self._feeds]
        stopping = self._spawn(self._wait_for_stop(feeding))
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await self._end(serving)

    async def _compare_first(self) -> None:
        """Let the desk compare books and venue before a bar is looked at, if the venue answers."""
        if self.desk is None:
            return
        self.desk.start()
        compared = asyncio.ensure_future(self.desk.compared.wait())
        stopped = asyncio.ensure_future(self._stopping.wait())
        both: set[asyncio.Future[Any]] = {compared, stopped}
        await asyncio.wait(both, timeout=self._rules.compare_s, return_when=asyncio.FIRST_COMPLETED)
        compared.cancel()
        stopped.cancel()

    # -- the one queue ----------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Take inputs one after another; those that are there at once share a commit."""
        while True:
            batch: list[Input] = []
            item: Input | asyncio.Future[None] = await self._queue.get()
            while True:
                if isinstance(item, asyncio.Future):
                    self._apply(batch)
                    batch = []
                    if not item.done():
                        item.set_result(None)
                else:
                    batch.append(item)
                if self._queue.empty() or len(batch) >= BATCH:
                    break
                item = self._queue.get_nowait()
            self._apply(batch)
            self._ticked.set()

    def _apply(self, records: Sequence[Input]) -> None:
        """Record and fold inputs, commit, and give what was ordered to the desk."""
        for record in records:
            if isinstance(record, Command) and (record.command, record.operator) == KILLED_BY_US:
                self._hold(record)
            self.session.take(record)
        self.session.commit()
        if self.desk is not None and self._outgoing is not None:
            orders = self._outgoing.take()
            self._counts["orders"] += sum(isinstance(order, Order) for order in orders)
            self.desk.take(orders)
            lost = self.is_closed() and not self._stopping.is_set()
            if lost and not self.desk.trouble:  # a trade that fits no order did that
                self.desk.want()
        for record in records:
            if isinstance(record, Command):
                self._tell(standing.told(record))
            elif isinstance(record, Bar):
                self.latency.folded(record)
        self.observers.tell()

    def _tell(self, text: str) -> None:
        """Alert; whatever is wrong with who listens, trading goes on."""
        try:
            self._alert(text)
        except Exception:
            log.warning("nobody could be told: %s", text, exc_info=True)

    def _hold(self, kill: Command) -> None:
        """Keep a halt of the engine's own as a kill switch, so that it outlives this journal."""
        scope = Scope(kill.strategy, kill.instrument)
        if scope not in self._killed:
            self._killed.add(scope)
            self._control.kill(scope, kill.reason)

    # -- market data ------------------------------------------------------------------------------

    async def _warm_up(self, feed: LiveFeed, symbols: Sequence[str]) -> None:
        """Load the bars that the features need, and those that were missed while nothing ran."""
        for symbol in symbols:
            wanted = self._warm_up_bars.get(symbol, 0)
            for bar in await self._history(feed, symbol, wanted):
                self.hand_in(msgspec.structs.replace(bar, late=True))
        await self.drained()

    async def _history(self, feed: LiveFeed, symbol: str, wanted: int) -> list[Bar]:
        last = self._last_bar.get(symbol, 0)
        seen = last or self._known_to.get(symbol, 0)
        missed = max(1, (self._now() - seen) // self._intervals[symbol]) if seen else 0
        # What a journal before has seen warms the features of this one up all the same.
        wanted = missed if last else max(wanted, missed)
        if not wanted:
            return []
        try:
            bars = await feed.history(symbol, wanted)
        except VenueError as error:
            self._feed_health.lost([symbol], f"no history: {error}", error)
            # What features saw before the gap is not what they would have seen without it.
            self._cold[symbol] = self._warm_up_bars.get(symbol, 0)
            return []
        return [bar for bar in bars if bar.ts > last]

    async def _open(self, feed: LiveFeed, symbols: Sequence[str]) -> None:
        """Open a feed as soon as it can be reached; the venue is looked after meanwhile."""
        delay = self._rules.reconnect_s
        while True:
            try:
                await feed.open()
            except VenueError as error:
                self._feed_health.lost(symbols, f"cannot be reached: {error}", error)
            else:
                return self._feed_health.well(symbols)
            await asyncio.sleep(delay)
            delay = min(2 * delay, self._rules.reconnect_max_s)

    async def _pump(self, feed: LiveFeed, symbols: Sequence[str]) -> None:
        """Warm up, then put a feed's bars into the queue; call it again when it is lost."""
        await self._open(feed, symbols)
        await self._warm_up(feed, symbols)
        delay = self._rules.reconnect_s
        while True:
            try:
                async with contextlib.aclosing(_generator(feed.stream())) as events:
                    async for event in events:
                        self._feed_health.well(symbols)
                        if event.ts > self._given.get(event.instrument, 0):
                            self._arrive(self._timed(event))
                        delay = self._rules.reconnect_s
            except (VenueError, DataError) as error:
                self._feed_health.lost(symbols, str(error), error)
            else:
                return  # a recording that has come to its end
            await asyncio.sleep(delay)
            delay = min(2 * delay, self._rules.reconnect_max_s)

    def _arrive(self, event: Bar | Quarantined) -> None:
        """Put what a feed says into the queue, and begin to measure how long it takes."""
        if isinstance(event, Bar):
            is_recorded = self._facts.get("data_mode") == "recorded"
            self.latency.arrived(event, None if is_recorded else self._now())
        self.hand_in(event)

    def _timed(self, event: Bar | Quarantined) -> Bar | Quarantined:
        """Mark a bar that came too late to trade on; what was there before comes once only."""
        if isinstance(event, Bar):
            self._given[event.instrument] = event.ts
            age = (self._now() - event.ts) / self._intervals[event.instrument]
            if age > self._rules.late_bars or self._is_cold(event.instrument):
                return msgspec.structs.replace(event, late=True)
        return event

    def _is_cold(self, symbol: str) -> bool:
        """Return whether a bar still fills features up after a gap that no history has closed."""
        left = self._cold.get(symbol, 0)
        if left:
            self._cold[symbol] = left - 1
        return left > 0

    # -- people -----------------------------------------------------------------------------------

    async def _listen_to_people(self) -> None:
        while not self._stopping.is_set():
            for path, request in self._control.requests():
                if isinstance(request, str):
                    why = f"this is no request: {request}"
                elif request.id in self._carried_out:
                    why = ""
                else:
                    why = await self._tried(request)
                if not why:
                    self._control.done(path)
                    continue
                facts = {} if isinstance(request, str) else msgspec.structs.asdict(request)
                extra = {"component": "control", "file": path.name, "request": facts}
                audit.warning("a request is refused: %s", why, extra=extra)
                self._control.refuse(path, why)
            await asyncio.sleep(self._rules.poll_s)

    async def _watch_switches(self) -> None:
        """Fold kill switches as they come on, and mandates, whatever else people wait for."""
        while not self._stopping.is_set():
            for record in (*self._switched(), *self._governed()):
                self.hand_in(record)
            await asyncio.sleep(self._rules.poll_s)

    def _governed(self) -> list[Input]:
        """Return the mandates that are new; parameters in doubt close the account for new risk."""
        if self._governance is None:
            return []
        account = self.session.state.account[0]
        # The clock of a recording that is continued begins anew; what is folded does not go back.
        ts = max(self._now(), int(account["ts"]))
        known = int(account["mandate_version"])
        found = self._governance.news(known, self._versions.get(known, ""), ts)
        before, self._doubt = self._doubt, self._governance.doubt
        if self._doubt and self._doubt != before:
            return [self._own_command("reduce_only", f"parameters: {self._doubt}")]
        return [m for m in found if self._is_known(Scope(m.strategy, m.instrument))]

    async def _watch_feeds(self) -> None:
        """Notice a feed that is connected and says nothing, while its market is open."""
        while not self._stopping.is_set():
            await asyncio.sleep(self._rules.check_s)
            now = self._now()
            ages = {s: (now - ts) / self._intervals[s] for s, ts in self._last_bar.items()}
            known, late = self.session.names.instruments, self._rules.late_bars
            for line in self._feed_health.silences(known, ages, now, late):
                self._tell(line)

    async def _measure(self) -> None:
        """Log now and then how long everything takes, and how much waits."""
        while not self._stopping.is_set():
            await asyncio.sleep(self._rules.measure_s)
            extra = {"waiting": self._queue.qsize(), "latency": self.latency.news()}
            performance.info("latencies of the last %g s", self._rules.measure_s, extra=extra)
            facts = {"feeds": self._feed_health.as_plain(), **standing.books(self.session)}
            monitoring.info("the account stands", extra=facts)

    async def _flatten_again(self) -> None:
        """Order again what was to be flat and is not, as long as it is killed."""
        while not self._stopping.is_set():
            await asyncio.sleep(self._rules.check_s)
            for scope in sorted(self._flattening.scopes):
                held, leaving = standing.positions_in(self.session, scope)
                if not held or not standing.is_killed(self.session, scope):
                    self._flattening.scopes.discard(scope)
                elif not leaving:
                    self.hand_in(self._own_command("flatten", "not flat yet", scope))

    async def _tried(self, request: Request) -> str:
        """Carry a request out; one that nobody foresaw is refused, and ends nothing."""
        try:
            return await self._carried(request)
        except OnefoldError as error:
            return str(error)

    async def _carried(self, request: Request) -> str:
        """Journal and fold a request; return why it could not be carried out, or nothing."""
        if not self._is_known(request):
            return "it names what this session does not have"
        if request.command == "resume" and not request.reason.strip():
            return "a resume needs a reason: who has looked at what?"
        if request.command == "resume" and self._doubt:
            return f"parameters: {self._doubt}"
        self._carried_out.add(request.id)
        if request.command == STOP:
            self.stop()
            return ""
        if request.command == ADOPT:
            return await self._adopted(request)
        if request.command == "resume" and self.desk is not None:
            try:
                await self.desk.settle(request.strategy, request.instrument, request.operator)
            except VenueError as error:
                return f"the venue does not say what became of an order: {error}"
        self.hand_in(command_of(request, self._now()))
        await self.drained()
        if request.command == "resume":  # a switch that is on by now is on again
            self._killed.discard(Scope(request.strategy, request.instrument))
        return ""

    async def _adopted(self, request: Request) -> str:
        if self.desk is None or not request.strategy:
            return "only a live account adopts, and for a strategy"
        try:
            await self.desk.adopt(
                request.strategy, request.instrument, request.reason, request.operator
            )
        except (ConfigError, VenueError) as error:
            return str(error)
        await self.drained()
        return ""

    def _is_known(self, scope: Request | Scope) -> bool:
        names = self.session.names
        known = ("", *names.symbols)
        return scope.strategy in ("", *names.strategies) and scope.instrument in known

    def _switched(self) -> list[Input]:
        """Return commands for the kill switches that have come on since the last look."""
        on = self._control.switches()
        new = on.keys() - self._killed
        self._killed = set(on)
        commands: list[Input] = []
        for scope in sorted(new):
            # A misspelt name: nobody knows what was meant, so everything stops.
            covered = scope if self._is_known(scope) else EVERYTHING
            reason = f"{BY_FILE}{scope.file_name}: {on[scope]}".rstrip(": ")
            commands.append(self._own_command("kill", reason, covered))
        return commands

    def _own_command(self, command: str, reason: str, scope: Scope = EVERYTHING) -> Command:
        return Command(
            ts=self._now(),
            command=command,
            strategy=scope.strategy,
            instrument=scope.instrument,
            reason=reason,
            operator=OPERATOR,
        )

    # -- beginning and end ------------------------------------------------------------------------

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if self.failure is not None:  # the first is told by whoever runs the session
                log.error("a session that ends fails once more", exc_info=error)
            self.failure = self.failure or error
            self._stopping.set()

    async def _wait_for_stop(self, feeding: Sequence[asyncio.Task[None]]) -> None:
        """Return when somebody stops the session, or all feeds have come to their end."""
        stopped = asyncio.ensure_future(self._stopping.wait())
        fed = asyncio.ensure_future(asyncio.wait(feeding))
        either: set[asyncio.Future[Any]] = {stopped, fed}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not stopped.done():
                await self.drained()
        finally:
            stopped.cancel()
            fed.cancel()

    async def _end(self, serving: asyncio.Task[None]) -> None:
        """Withdraw what is configured, let the desk finish, close everything."""
        self._stopping.set()
        self._tell("stopping")
        try:
            if self.failure is None and not serving.done() and self.desk is not None:
                self.desk.close()
                if self._rules.on_stop == "cancel" and self.desk.confirms:
                    self.hand_in(self._own_command("unreconciled", "stopping"))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._rules.stop_s):
                        await self.drained()
                        await self.desk.finished()
                        await self.drained()
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self.desk is not None:
                await self.desk.stop(disarm=self.failure is None)
            failure = "" if self.failure is None else str(self.failure)
            self._heartbeat.beat({**self.status(), "stopped": True, "failure": failure})
        if self.failure is not None:
            raise self.failure

    def left(self) -> list[str]:
        """Return the entries that should be cancelled at the end, and may still fill."""
        if self.desk is None or self._rules.on_stop == "keep" or not self.desk.confirms:
            return []
        return self.desk.left()

    async def _beat(self) -> None:
        """Write the heartbeat after each tick, in a thread: a slow disk must not delay an order."""
        while True:
            self._ticked.clear()
            await asyncio.to_thread(self._heartbeat.beat, self.status())
            await asyncio.sleep(self._heartbeat.least_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat.most_s):
                    await self._ticked.wait()

    def status(self) -> dict[str, Any]:
        """Return what the session is doing, as plain values."""
        fills = int(self.session.state.account["fills"][0])
        return {
            **self._facts,
            "pid": os.getpid(),
            "ts": self._now(),
            "inputs": self.session.inputs,
            "counts": {**self._counts, "fills": fills},
            "sends": self.desk.sends if self.desk is not None else 0,
            **standing.books(self.session),
            "mandate": self._governance.number if self._governance is not None else 0,
            "doubt": self._doubt,
            "trouble": self.desk.trouble if self.desk is not None else "",
            "feeds": self._feed_health.as_plain(),
            "warming": self.session.warming(),
            "models": self.session.inference.counts,
            "cold": {symbol: left for symbol, left in self._cold.items() if left},
            "last_bars": dict(self._last_bar),
            "latency": self.latency.as_plain(),
        }


async def _generator(events: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    """Return an iterator as a generator, which can be closed at once."""
    async for event in events:
        yield event
