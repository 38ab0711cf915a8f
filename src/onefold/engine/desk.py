"""Between a session and one account at a real venue: send what was decided, hear what became of it.

An order leaves once, after its record is durable and after a last look at the kill switch. What
the venue does not answer is unknown: it counts as filled, is asked for by our name for it, and is
never sent again. Whatever the venue says goes back to the session as an input, so the journal has
it before anything follows from it. What is held here is compared with what the venue says is held,
at the start, after every lost connection and every few minutes; a difference stops the account
until a person has looked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from math import isfinite

from onefold.domain.errors import ConfigError, VenueError, VenueUncertain
from onefold.domain.ports import LiveVenue
from onefold.domain.records import (
    Action,
    Adoption,
    Cancel,
    Command,
    Fill,
    Order,
    OrderNotice,
    Quarantined,
)
from onefold.domain.venue import OrderReport, PositionReport, Report
from onefold.engine.blotter import FOREIGN_FEE, Blotter, Placed, refused, unknown
from onefold.engine.patience import DeskRules
from onefold.engine.standing import OPERATOR, Held
from onefold.engine.worries import Worries

Heard = Fill | OrderNotice | Quarantined | Command | Adoption | Action
Instruction = Order | Cancel | asyncio.Task[None]
"""What waits in an instrument's lane: a task is a cancel that has been sent already."""
S_PER_NS = 1e-9
LOGGER = "onefold.trading.desk"
log = logging.getLogger(LOGGER)


class Desk:
    """One account at one venue; give it orders with `take`, and it hands in what it hears.

    `hand_in` puts a record into the session's queue, `drained` waits until all that was handed in
    has been folded, `held` tells what the session's books say of every symbol, `look` raises
    `VenueRefused` for an order that must not leave, `is_closed` tells whether the session's account
    is. `now` is the wall clock in nanoseconds.
    """

    def __init__(
        self,
        venue: LiveVenue,
        blotter: Blotter,
        *,
        hand_in: Callable[[Heard], None],
        drained: Callable[[], Awaitable[None]],
        held: Callable[[], dict[str, Held]],
        look: Callable[[Order], None],
        is_closed: Callable[[], bool],
        now: Callable[[], int],
        rules: DeskRules,
    ) -> None:
        self._venue = venue
        self._blotter = blotter
        self._hand_in = hand_in
        self._drained = drained
        self._held = held
        self._look = look
        self._is_closed = is_closed
        self._now = now
        self._rules = rules
        self._lanes: dict[str, asyncio.Queue[Instruction]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: set[int] = set()
        self._missing: set[int] = set()
        self._under_way: set[int] = set()
        self._being_cancelled: set[int] = set()
        self._puzzling: set[int] = set()
        self._wanted = asyncio.Event()
        self.compared = asyncio.Event()
        self._keeps_alive = rules.dead_man_s > 0 and venue.abilities.dead_man
        self._closing = self._stopping = False
        self._told_skew = False
        self._worries = Worries(LOGGER, "venue")
        self._payments_due = 0.0
        self._payments_trouble = ""
        self.skewed = False
        self.sends = 0
        self.trouble = "not reconciled yet"
        """Why the account may not trade, or nothing."""

    def start(self) -> None:
        """Begin to listen, to reconcile and to keep the venue's dead man's switch armed."""
        if not self._venue.abilities.confirms:
            self.trouble = ""
            self.compared.set()
            if self._blotter.open():
                self._halt("an order was on its way when the session ended: look at the broker")
            self._command("reconciled", "this venue confirms nothing: positions are modelled")
            return
        self._spawn(self._for_ever(self._listen))
        self._spawn(self._for_ever(self._reconcile_for_ever))
        if self._keeps_alive:
            self._spawn(self._for_ever(self._stay_alive))
        for placed in self._blotter.open():
            if placed.state in {"sent", "unknown"}:
                self._ask(placed)
            elif placed.cancelling:
                self._spawn(self._cancel_again(placed))

    def close(self) -> None:
        """Open trading no more, whatever is compared from now on: the session is about to end."""
        self._closing = True

    async def stop(self, *, disarm: bool = True) -> None:
        """End all work; what was under way at the venue is asked for at the next start.

        The dead man's switch is disarmed, or what protects positions would be cancelled. After a
        bad end it is not: then nobody looks after anything.
        """
        self._stopping = True
        if self._keeps_alive and disarm:
            try:
                await self._venue.arm(0)
            except VenueError as error:
                self._worries.about("dead man's switch", "it may still be armed", error)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def take(self, instructions: Iterable[Order | Cancel]) -> None:
        """Send instructions: in their order for each instrument, and instruments side by side.

        The cancel of an order that the venue has acknowledged waits behind nothing, since a call
        that hangs must not hold it back; what comes after it waits for it all the same.
        """
        for instruction in instructions:
            lane = self._lanes.get(instruction.instrument)
            if lane is None:
                lane = self._lanes[instruction.instrument] = asyncio.Queue()
                self._spawn(self._work(lane))
            if isinstance(instruction, Order):
                self._under_way.add(instruction.id)
                lane.put_nowait(instruction)
            elif self._blotter.placed(instruction.order).state == "working":
                lane.put_nowait(self._spawn(self._cancel(instruction)))
            else:
                lane.put_nowait(instruction)

    def left(self) -> list[str]:
        """Return the entries that may still fill, by our names for them."""
        return [p.client_id for p in self._blotter.open() if p.order.purpose == "entry"]

    def want(self) -> None:
        """Compare books and venue soon."""
        self._wanted.set()

    @property
    def confirms(self) -> bool:
        """Return whether the venue says what becomes of orders."""
        return self._venue.abilities.confirms

    async def finished(self) -> None:
        """Wait until everything that was taken has been sent or refused."""
        await asyncio.gather(*(lane.join() for lane in self._lanes.values()))

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def _for_ever(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do work that never ends; where it fails for a reason nobody foresaw, halt, and go on."""
        while not self._stopping:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - an account without this work must not trade
                reason = f"{type(error).__name__}: {error}"
                if self._stopping:  # what failed was its end
                    return
                self._lose(reason, error)
                self._halt(reason)
            await asyncio.sleep(self._rules.retry_max_s)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Work that fails for a reason nobody foresaw must not fail in silence.
            log.error("work of the desk has failed", exc_info=error, extra={"component": "desk"})
            self._halt(f"{type(error).__name__}: {error}")

    # -- sending ----------------------------------------------------------------------------------

    async def _work(self, lane: asyncio.Queue[Instruction]) -> None:
        """Send one instrument's instructions in order; cancels that stand together at once."""
        while True:
            batch = [await lane.get()]
            while not lane.empty():
                batch.append(lane.get_nowait())
            cancels: list[Cancel] = []
            for instruction in batch:
                if isinstance(instruction, Cancel):
                    cancels.append(instruction)
                    continue
                if isinstance(instruction, asyncio.Task):
                    await asyncio.wait([instruction])
                    continue
                await self._cancel_all(cancels)
                cancels = []
                await self._submit(instruction)
            await self._cancel_all(cancels)
            for _ in batch:
                lane.task_done()

    async def _submit(self, order: Order) -> None:
        placed = self._blotter.placed(order.id)
        try:
            await self._sent(order, placed)
        finally:
            self._under_way.discard(order.id)

    async def _sent(self, order: Order, placed: Placed) -> None:
        try:
            ticket = self._blotter.ticket(order, self._venue.abilities)
            report = await self._venue.submit(ticket, lambda: self._leaving(order))
        except Exception as error:  # whatever it was, the order may have left
            if not isinstance(error, VenueError | ConfigError):
                log.exception("to send an order has failed")
                error = VenueUncertain(f"{type(error).__name__}: {error}")
                self._halt(str(error), order.instrument)
            if not self._venue.abilities.confirms:
                self._halt(f"order {placed.client_id} has not been taken for certain: {error}")
            elif isinstance(error, VenueUncertain):
                self._worry(placed, "nobody knows whether it has arrived", error)
                self._hand_in(unknown(order, self._now(), str(error)))
                self._ask(placed)
            else:
                self._hand_in(refused(order, self._now(), str(error)))
        else:
            if self._venue.abilities.confirms:
                self._hear(report)

    def _leaving(self, order: Order) -> None:
        """Look a last time, and count what leaves."""
        self._look(order)
        self.sends += 1

    async def _cancel_all(self, cancels: list[Cancel]) -> None:
        await asyncio.gather(*(self._cancel(cancel) for cancel in cancels))

    async def _cancel(self, cancel: Cancel) -> None:
        """Ask for a cancel; an order that is gone already is looked up, since it may be filled."""
        placed = self._blotter.placed(cancel.order)
        if not placed.is_open:
            return
        self._being_cancelled.add(cancel.order)
        try:
            await self._venue.cancel(placed.client_id, cancel.instrument)
        except Exception as error:  # noqa: BLE001 - a cancel that fails is asked for again
            if not self._venue.abilities.confirms:
                self._halt(f"the cancel of {placed.client_id} has not been taken: {error}")
                return
            self._worry(placed, "its cancel is asked for again", error)
            self._puzzle(placed, error)
            self._ask(placed)
        finally:
            self._being_cancelled.discard(cancel.order)

    async def _cancel_again(self, placed: Placed) -> None:
        """Cancel an order once more that works although its cancel is recorded."""
        order = placed.order
        if order.id not in self._being_cancelled:
            await self._cancel(Cancel(order.id, self._now(), order.instrument))

    # -- hearing ----------------------------------------------------------------------------------

    def _hear(self, report: Report) -> None:
        for record in self._blotter.heard(report, self._now()):
            self._hand_in(record)
            if isinstance(record, Quarantined) and record.reason != FOREIGN_FEE:
                self._halt(f"{record.reason}: {record.detail}")
        placed = self._blotter.known(report.client_id)
        if placed is None:
            return
        works_on = isinstance(report, OrderReport) and report.status == "working"
        if placed.owed or (works_on and not placed.is_open):
            self._wanted.set()

    async def _listen(self) -> None:
        """Hear reports for ever; a lost connection closes trading until all is compared again."""
        delay = self._rules.retry_s
        while True:
            again = asyncio.ensure_future(self._compare_again())
            try:
                async for report in self._venue.reports():
                    self._hear(report)
                    delay = self._rules.retry_s
            except VenueError as error:
                self._lose(f"connection lost: {error}", error)
            finally:
                again.cancel()
            await asyncio.sleep(delay)
            delay = min(2 * delay, self._rules.retry_max_s)
            self._wanted.set()

    async def _compare_again(self) -> None:
        """Compare a few times while a connection is young: nobody says when it has come up."""
        waited = 0.0
        for after in self._rules.again_s:
            await asyncio.sleep(after - waited)
            waited = after
            self._wanted.set()

    def _lose(self, reason: str, error: BaseException | None = None) -> None:
        """Close trading until the next agreement with the venue."""
        self._worries.about("trading is closed", reason, error)
        if not self.trouble:
            self._command("unreconciled", reason)
        self.trouble = reason

    def _worry(self, placed: Placed, text: str, error: BaseException) -> None:
        """Log what is uncertain of an order; it is over when it is known what became of it."""
        order = placed.order
        facts = {"order": order.id, "client_id": placed.client_id, "symbol": order.instrument}
        self._worries.about(f"order {order.id}", text, error, **facts)

    def _halt(self, reason: str, instrument: str = "") -> None:
        """Stop until a person has looked: the whole account, or one instrument."""
        self._command("kill", reason, instrument)

    def _command(self, command: str, reason: str, instrument: str = "") -> None:
        self._hand_in(
            Command(
                ts=self._now(),
                command=command,
                instrument=instrument,
                reason=reason,
                operator=OPERATOR,
            )
        )

    # -- asking -----------------------------------------------------------------------------------

    def _ask(self, placed: Placed) -> None:
        """Find out what became of an order, for as long as it takes."""
        if placed.order.id not in self._asked:
            self._asked.add(placed.order.id)
            self._spawn(self._find(placed))

    async def _find(self, placed: Placed) -> None:
        """Ask until an order is over, or works and may go on; one to be cancelled may not."""
        order, delay, missing_since = placed.order, self._rules.retry_s, 0
        try:
            while placed.is_open:
                try:
                    report = await self._venue.find(placed.client_id, order.instrument)
                except Exception as error:  # noqa: BLE001 - it must be asked for until it is known
                    missing_since = 0  # no answer is not the answer that there is no such order
                    self._worry(placed, "nobody knows what became of it", error)
                    self._puzzle(placed, error)
                else:
                    if report is None:
                        missing_since = missing_since or self._now()
                        self._miss(placed, missing_since)
                    else:
                        missing_since = 0
                        self._missing.discard(order.id)
                        self._hear(report)
                        if not placed.cancelling:
                            break
                        await self._cancel_again(placed)
                await asyncio.sleep(delay)
                delay = min(2 * delay, self._rules.retry_max_s)
        finally:
            self._worries.over(f"order {order.id}")
            for orders in (self._asked, self._missing, self._puzzling):
                orders.discard(order.id)

    def _miss(self, placed: Placed, since: int) -> None:
        """Halt the instrument of an order that has not been found for too long."""
        order = placed.order
        late = (self._now() - since) * S_PER_NS > self._rules.unknown_s
        if late and order.id not in self._missing:
            self._missing.add(order.id)
            self._halt(f"order {placed.client_id} is not to be found", order.instrument)

    def _puzzle(self, placed: Placed, error: Exception) -> None:
        """Halt the instrument of an order, once, where asking fails for a reason nobody foresaw."""
        order = placed.order
        if not isinstance(error, VenueError) and order.id not in self._puzzling:
            self._puzzling.add(order.id)
            self._halt(f"{type(error).__name__}: {error}", order.instrument)

    async def settle(self, strategy: str, instrument: str, operator: str) -> None:
        """Let go of the orders that were not to be found: a person says that they never came.

        Called when somebody resumes a scope (everything, when it is empty). An order that is on its
        way, or has not been missing for long enough to halt its instrument, is not spoken of.
        Raises `VenueError` when the venue does not say.
        """
        for placed in self._blotter.open():
            order = placed.order
            meant = strategy in ("", order.strategy) and instrument in ("", order.instrument)
            if not meant or order.id not in self._missing:
                continue
            report = await self._venue.find(placed.client_id, order.instrument)
            if report is not None:
                self._hear(report)
            else:
                reason = f"not at the venue; resumed by {operator or 'a person'}"
                self._hand_in(refused(order, self._now(), reason))

    async def _stay_alive(self) -> None:
        while True:
            try:
                await self._venue.arm(self._rules.dead_man_s)
                self._worries.over("dead man's switch")
            except VenueError as error:
                self._worries.about("dead man's switch", "it cannot be armed", error)
            await asyncio.sleep(self._rules.dead_man_s / 3)

    # -- reconciling ------------------------------------------------------------------------------

    async def _reconcile_for_ever(self) -> None:
        while True:
            self._wanted.clear()
            await self.reconcile()
            wait = self._rules.reconcile_s if not self.trouble else self._rules.retry_max_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wanted.wait()

    async def reconcile(self) -> list[str]:
        """Compare orders, trades and positions with the venue's; return the differences.

        What differs is looked at again a few times, because news may be under way. Agreement opens
        trading again when only the connection had closed it, and the session does not end; a
        difference halts the account.
        """
        found: list[str] = []
        for attempt in range(self._rules.tries):
            if attempt:
                await asyncio.sleep(self._rules.settle_s * attempt)
            try:
                found = await self._differences()
            except VenueError as error:
                self._lose(f"the venue does not answer: {error}", error)
                return [self.trouble]
            if not found:
                self._worries.over("trading is closed")
                self.compared.set()
                if (self.trouble or self._is_closed()) and not self._closing:
                    self.trouble = ""
                    self._command("reconciled", "orders, trades and positions agree")
                return []
        self.compared.set()
        if self.trouble != found[0]:
            self._lose(found[0])
            self.trouble = found[0]
            self._halt("; ".join(found))
        return found

    async def _differences(self) -> list[str]:
        await self._check_clock()
        since = self._blotter.agreed_ts - round(self._rules.overlap_s / S_PER_NS)
        began = self._now()
        for trade in await self._venue.trades(max(0, since)):
            if self._blotter.known(trade.client_id) is not None:
                self._hear(trade)
        reports = await self._venue.working()
        working = {report.client_id: report for report in reports}
        for placed in self._blotter.open():
            if placed.client_id in working:
                self._hear(working[placed.client_id])
                if placed.cancelling and placed.order.id not in self._asked:
                    self._spawn(self._cancel_again(placed))
            elif placed.order.id not in self._under_way:
                self._ask(placed)
        await self._book_payments()
        await self._drained()
        for placed in self._blotter.open():
            for record in self._blotter.settled(self._now(), placed):
                self._hand_in(record)
        found = [
            f"an order that is not ours works: {report.venue_id} on {report.symbol}"
            for report in reports
            if self._blotter.known(report.client_id) is None
        ]
        found += await self._revenants(reports)
        found += await self._position_differences()
        if not found:
            self._blotter.agreed(began)
        return found

    async def _revenants(self, working: Iterable[OrderReport]) -> list[str]:
        """Cancel orders that work although our books say that they are over; return them."""
        found = []
        for report in working:
            placed = self._blotter.known(report.client_id)
            if placed is None or placed.is_open:
                continue
            try:
                await self._venue.cancel(placed.client_id, report.symbol)
            except VenueError as error:
                self._worry(placed, "it works although it is over here", error)
            found.append(f"order {placed.client_id} is {placed.state} here, and works at the venue")
        return found

    async def _book_payments(self) -> None:
        """Book what was paid and received besides trades, every now and then.

        Where the venue does not say, the books' cash may be off by as much: that is told, once, and
        trading goes on, because orders and positions are certain.
        """
        now_s = asyncio.get_running_loop().time()
        if not self._venue.abilities.payments or now_s < self._payments_due:
            return
        back = self._now() - round(self._rules.payments_back_s / S_PER_NS)
        since = min(back, self._blotter.agreed_ts)
        try:
            payments = await self._venue.payments(max(0, since))
        except VenueError as error:
            if not self._payments_trouble:
                self._hand_in(Quarantined("", self._now(), "payments_unknown", str(error)))
            self._payments_trouble = str(error)
            self._worries.about("payments", "the venue does not tell them", error)
            return
        self._worries.over("payments")
        self._payments_trouble, self._payments_due = "", now_s + self._rules.reconcile_s
        for payment in payments:
            for record in self._blotter.paid(payment, self._now()):
                self._hand_in(record)

    async def _check_clock(self) -> None:
        """Allow only reductions when our clock is not the venue's: limits go by the day and hour.

        The answer is from somewhere between question and arrival, so what took long tells little.
        """
        asked = self._now()
        theirs = await self._venue.time_ns()
        arrived = self._now()
        slack_s = (arrived - asked) * S_PER_NS
        skew_s = (theirs - (asked + arrived) // 2) * S_PER_NS
        self.skewed = abs(skew_s) - slack_s / 2 > self._rules.skew_max_s
        if self.skewed and not self._told_skew:
            self._command("reduce_only", f"the venue's clock differs by {skew_s:+.1f} s")
        self._told_skew = self.skewed

    async def _position_differences(self) -> list[str]:
        return [
            f"{symbol}: we hold {ours}, the venue says {theirs.qty}"
            for symbol, ours, theirs, _ in await self._unequal()
        ]

    async def _unequal(self) -> list[tuple[str, Decimal, PositionReport, float]]:
        """Return symbol, our units, the venue's position and our mark, where they differ."""
        theirs = {p.symbol: p for p in await self._venue.positions()}
        await self._drained()
        rows = []
        for symbol, held in self._held().items():
            ours = self._blotter.units(symbol, held.lots) + self._blotter.parts(symbol)
            there = theirs.get(symbol, PositionReport(symbol, Decimal(0)))
            if ours != there.qty:
                rows.append((symbol, ours, there, held.mark))
        return rows

    async def adopt(self, strategy: str, instrument: str, reason: str, operator: str) -> None:
        """Put what the venue holds and the books do not into the books of a strategy.

        Raises `ConfigError` for what cannot be taken over, `VenueError`.
        """
        await self._differences()
        for symbol, ours, there, mark in await self._unequal():
            if instrument not in ("", symbol):
                continue
            lots, rest = self._blotter.lots(symbol, there.qty - ours)
            price = mark if there.average is None else float(there.average)
            if rest:
                raise ConfigError(f"{symbol}: {there.qty} is not a number of whole lots")
            if not isfinite(price):
                raise ConfigError(f"{symbol}: there is no price yet to take it over at")
            self._hand_in(Adoption(self._now(), symbol, strategy, lots, price, reason, operator))
        self._wanted.set()
