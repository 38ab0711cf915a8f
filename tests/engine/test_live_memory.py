"""SAFETY: what a live session must not forget and must not overlook, each as a short story.

Bugs of this kind were planted, and nothing else would have found them (`test_planted_bugs.py`).
"""

from __future__ import annotations

import dataclasses
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from onefold.domain.errors import VenueUncertain
from onefold.domain.instruments import Kind
from onefold.domain.records import Adoption, Command, Fill, Mandate
from onefold.engine.control import Request, Scope
from onefold.rehearsal.exchange import Event, Exchange, VenueOrder, VenueTrade
from onefold.sim.plan import Placement, Plan
from support import FLAT, LONG, MINUTE_NS, Scripted, account_of, rules_of, share
from venues.twin import Twin

from .live_rig import QUICK, START, Rig
from .test_live import Once, bar, commands, long_plan, notices, plan_of, ready, run
from .test_live_closed import happen
from .test_live_trouble import SOON, of

HALF_A_LOT = Decimal("0.005")


def test_an_order_that_is_not_ours_stops_the_account(tmp_path: Path) -> None:
    """I3: somebody trades there too; what his order will do is in no limit of ours."""

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), live=SOON)
        rig.exchange.submit("someone", "ABC", 1, Decimal(7), "limit", Decimal(50))
        async with rig.running() as live:
            await rig.until(lambda: bool(of(rig, "killed")))
            assert live.desk is not None
            assert "an order that is not ours works: 1 on ABC" in live.desk.trouble
            await rig.play(bar(0), bar(1))
            assert rig.twin.submitted == []
            assert [order.client_id for order in rig.exchange.working()] == ["someone"]

    run(work())


@pytest.mark.parametrize("how", ["down", "deaf"])
def test_a_stop_that_the_venue_has_cancelled_is_missed(tmp_path: Path, how: str) -> None:
    """I4: nobody told us, since nothing ran, or since the report was lost."""

    async def renewed(rig: Rig, old: VenueOrder) -> None:
        await rig.until(lambda: notices(rig)[-1] == "cancelled")
        await rig.play(bar(3))
        [new] = rig.exchange.working()
        assert (new.kind, new.client_id == old.client_id) == ("stop", False)

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(exits={"stop": 0.05, "resting": True}), live=SOON)
        async with rig.running():
            await ready(rig)
            await rig.play(bar(0), bar(1), bar(2))
            [stop] = rig.exchange.working()
            if how == "deaf":
                rig.twin._listening.clear()
                rig.exchange.cancel(stop.client_id)
                await renewed(rig, stop)
        if how == "down":
            rig.exchange.cancel(stop.client_id)
            async with rig.running():
                await ready(rig)
                await renewed(rig, stop)

    run(work())


def test_what_is_unknown_is_asked_for_before_all_can_be_compared(tmp_path: Path) -> None:
    """X4: an exit's answer was lost, then the process ended; now the venue lists no orders."""
    lost: list[str] = []

    def trouble(call: str, moment: str) -> None:
        if lost or (call, moment) == ("submit", "after"):
            lost.append(call)
            raise VenueUncertain("no answer")

    async def work() -> None:
        rig = Rig(tmp_path, plan_of(FLAT, LONG, LONG, FLAT), live=SOON)
        async with rig.running():
            await ready(rig)
            await rig.play(bar(0), bar(1), bar(2))
            rig.twin.trouble = trouble
            happen(rig, 3)
            await rig.until(lambda: notices(rig)[-1] == "unknown")
        [leaving] = rig.exchange.working()
        rig.exchange.cancel(leaving.client_id)
        rig.twin = Twin(rig.exchange, Once("working", "before", times=10**9))
        async with rig.running():
            await rig.until(lambda: notices(rig)[-1] == "cancelled")
            assert not of(rig, "reconciled")

    run(work())


@pytest.mark.parametrize("is_edited", [False, True])
def test_a_request_is_carried_out_once(tmp_path: Path, is_edited: bool) -> None:
    """X7: the file of a flatten outlives its record; what was bought afterwards is kept."""
    plan = plan_of(FLAT, LONG, LONG, FLAT, FLAT, *[LONG] * 30)

    async def work() -> None:
        rig, seen = Rig(tmp_path, plan, live=SOON), []
        rig.control.done = seen.append  # type: ignore[method-assign]
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0), bar(1), bar(2))
            rig.control.ask(Request("f", "flatten", 1, reason="a pause"))
            await rig.until(lambda: bool(rig.exchange.working()))
            await rig.play(*(bar(n) for n in range(3, 9)))
            assert live.session.state.instruments["qty"][0] == 1
        for _ in range(2):
            if is_edited:
                rig.reconfigure(plan)
            seen.clear()
            async with rig.running() as live:
                await ready(rig)
                await rig.until(lambda: len(seen) > 1)
                assert rig.exchange.working() == []
        told = [c for c in rig.records(Command) if c.id == "f"]  # type: ignore[attr-defined]
        assert len(told) == 1

    run(work())


def test_a_mandate_is_in_force_under_the_next_configuration(tmp_path: Path) -> None:
    """ADR 9: what governance forbids, an edit of the configuration does not allow."""

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), live=SOON)
        rig.is_governed = False  # the journal alone has to know
        async with rig.running() as live:
            await ready(rig)
            live.hand_in(Mandate(rig.now(), 1, "suppress", 1.0, strategy="s0"))
            await live.drained()
        for n in (0, 2):
            rig.reconfigure(rig.plan)
            async with rig.running() as live:
                await ready(rig)
                await rig.play(bar(n), bar(n + 1))
                assert live.status()["decisions"] > 0
                assert rig.twin.submitted == []

    run(work())


class InKind(Exchange):
    """An exchange of coins that keeps half a lot of every purchase for itself."""

    def _tell(self, event: Event) -> None:
        if isinstance(event, VenueTrade):
            event = self._trades[-1] = event._replace(fee=HALF_A_LOT, fee_currency="ABC")
            self.books.positions["ABC"].qty -= HALF_A_LOT
        super()._tell(event)


def test_parts_of_lots_are_known_under_the_next_configuration(tmp_path: Path) -> None:
    """I3, ADR 9: a fee in kind has broken a lot; what is left of it is no difference."""
    coin = share("ABC", kind=Kind.CRYPTO, lot=0.01)
    script = Scripted(side=(FLAT, *[LONG] * 40), start=START.ts + MINUTE_NS)
    ten = rules_of(sizing={"kind": "fixed", "lots": 10})
    plan = Plan(account_of(), (coin,), (Placement("s0", script, ten, ("ABC",)),), (MINUTE_NS,))

    async def work() -> None:
        exchange = InKind(plan.instruments, Decimal(100_000), plan.account.currency)
        rig = Rig(tmp_path, plan, exchange=exchange, live=SOON)
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0), bar(1), bar(2))
            assert live.session.state.instruments["qty"][0] == 9
        for _ in range(2):
            rig.reconfigure(plan)
            async with rig.running():
                await ready(rig)
                assert rig.blotter.parts("ABC") == HALF_A_LOT
        assert len(rig.records(Adoption)) == 1
        assert "kill" not in commands(rig)

    run(work())


def test_what_was_filled_beyond_an_order_is_booked_and_closes_the_account(tmp_path: Path) -> None:
    """I3: one was ordered and three were bought. The books hold three, and risk no more."""
    seldom = dataclasses.replace(QUICK, reconcile_s=300.0, again_s=())

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), live=SOON, rules=seldom)
        submit = rig.exchange.submit

        def thrice(name: str, symbol: str, side: int, qty: Decimal, *terms: object) -> VenueOrder:
            return submit(name, symbol, side, 3 * qty, *terms)  # type: ignore[arg-type]

        rig.exchange.submit = thrice  # type: ignore[assignment,method-assign]
        async with rig.running():
            await ready(rig)
            await rig.play(bar(0), bar(1))
            rig.twin.trouble = Once("positions", "before", times=10**9)
            happen(rig, 2)
            await rig.until(lambda: not of(rig, "reconciled"))
            [fill] = rig.records(Fill)
            assert fill.qty == 3  # type: ignore[attr-defined]
            assert rig.books_agree()
            rig.twin.trouble = lambda *_: None
            await ready(rig)

    run(work())


def test_a_halt_of_the_engine_outlives_its_journal(tmp_path: Path) -> None:
    """X7: an order is not to be found, and somebody begins a new journal to be rid of the halt."""

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), trouble=Once("submit", "before"), live=SOON)
        async with rig.running():
            await ready(rig)
            await rig.play(bar(0), bar(1))
            rig.exchange.advance(rig.exchange.now_ns + MINUTE_NS)
            await rig.until(lambda: "kill" in commands(rig))
            await rig.settled()
        assert rig.control.switches().keys() == {Scope("", "ABC")}
        shutil.rmtree(rig.journals[0])
        again = Rig(tmp_path, rig.plan, exchange=rig.exchange, live=SOON)
        async with again.running():
            await ready(again)
            await again.play(bar(3), bar(4))
            assert again.twin.submitted == []

    run(work())
