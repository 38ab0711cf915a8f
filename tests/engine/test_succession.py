"""P2, J7: each configuration has its journal, and an account goes through all of them."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import msgspec
import pytest

from onefold.domain.errors import ConfigError, ReplayMismatch, VenueUncertain
from onefold.domain.records import CarriedOrder, Fill, Handover, Order
from onefold.domain.venue import Abilities
from onefold.engine.live import LiveRules
from onefold.engine.replay import replay
from onefold.engine.succession import Estate, begun, current, hand_over, leave, new_folder
from onefold.sim.plan import Plan
from support import FLAT, LONG
from venues.twin import Twin

from .live_rig import Rig
from .test_live import bar, plan_of


def order_name(rig: Rig, one: CarriedOrder) -> str:
    return rig.blotter.client_id(one.order.id)


def limited(plan: Plan, daily_loss: float) -> Plan:
    account = plan.account
    limits = account.limits.model_copy(update={"daily_loss": daily_loss})
    return dataclasses.replace(plan, account=account.model_copy(update={"limits": limits}))


async def traded(rig: Rig, *numbers: int) -> None:
    async with rig.running() as live:
        await rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
        await rig.play(*(bar(n) for n in numbers))
        assert rig.books_agree()


def test_an_account_goes_on_through_three_configurations(tmp_path: Path) -> None:
    plan = plan_of(FLAT, LONG, LONG, LONG, LONG, FLAT, exits={"stop": 0.1, "resting": True})

    async def work() -> None:
        rig = Rig(tmp_path, plan)
        await traded(rig, 0, 1, 2)
        [stop] = rig.exchange.working()
        rig.reconfigure(limited(plan, 0.5))
        await traded(rig, 3)
        assert [o.client_id for o in rig.exchange.working()] == [stop.client_id]
        rig.reconfigure(plan)
        await traded(rig, 4, 5, 6, 7)
        assert rig.exchange.positions()["ABC"] == 0
        assert rig.exchange.working() == []
        orders = rig.records(Order)
        assert len({o.id for o in orders}) == len(orders) == 3  # type: ignore[attr-defined]
        assert [f.id for f in rig.records(Fill)] == [1, 2]  # type: ignore[attr-defined]
        handovers = rig.records(Handover)
        assert [h.journal for h in handovers] == ["journal", "journal-2"]  # type: ignore[attr-defined]
        assert current(tmp_path, "journal").path == rig.journals[-1]  # type: ignore[union-attr]
        for journal, one in zip(rig.journals, (plan, limited(plan, 0.5), plan), strict=True):
            replay(journal, one)
        trades = replay(rig.journals[-1], plan).run.outcome.fills
        assert trades["side"].tolist() == [1, -1], "the trade begins with the handover"

    asyncio.run(work())


def test_the_journal_that_none_came_after_is_the_current_one(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, plan_of(FLAT, LONG, LONG))
        rig.journals = [tmp_path / "live-a"]
        await traded(rig, 0, 1, 2)
        rig.reconfigure(limited(rig.plan, 0.5))
        assert current(tmp_path, "live").path.name == "live-a"  # type: ignore[union-attr]
        rig.journals[-1] = tmp_path / "live-b"
        await traded(rig, 3)
        assert current(tmp_path, "live").path.name == "live-b"  # type: ignore[union-attr]
        rig.reconfigure(plan_of(FLAT, LONG, LONG))
        assert new_folder(tmp_path, "live-a").name == "live-a-2"
        assert new_folder(tmp_path, "live-c").name == "live-c"

    asyncio.run(work())
    assert current(tmp_path, "paper") is None
    assert begun(tmp_path / "live-x") is None


def test_an_unknown_order_stays_unknown_and_is_asked_for(tmp_path: Path) -> None:
    """X4, I1: it counts as filled under the new configuration too, and is never sent again."""
    down = False

    def trouble(call: str, moment: str) -> None:
        nonlocal down
        down = down or (call, moment) == ("submit", "after")
        if down:
            raise VenueUncertain("no answer")

    async def work() -> None:
        keep = LiveRules(poll_s=0.005, late_bars=1e12, on_stop="keep", stop_s=0.5)
        rig = Rig(tmp_path, plan_of(FLAT, LONG, LONG, LONG), trouble=trouble, live=keep)
        async with rig.running() as live:
            await rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
            await rig.play(bar(0))
            rig.feed.queue.put_nowait(bar(1))
            await rig.until(lambda: down)
            await rig.settled()
        rig.reconfigure(limited(rig.plan, 0.5))
        assert rig._handover is not None
        [order] = rig._handover.orders
        assert order.state == "unknown"
        rig.twin = Twin(rig.exchange)
        await traded(rig, 2, 3)
        # It was withdrawn when the account closed, by its old name; the next bar wanted it anew.
        first, second = rig.exchange.orders()
        assert (first.client_id, first.status) == (order_name(rig, order), "cancelled")
        assert second.status == "filled"
        assert rig.exchange.positions()["ABC"] == 1

    asyncio.run(work())


def test_orders_on_their_way_where_nothing_is_confirmed_are_not_handed_over(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        keep = LiveRules(poll_s=0.005, late_bars=1e12, on_stop="keep")
        rig = Rig(tmp_path, plan_of(FLAT, LONG, LONG), live=keep)
        rig.twin.abilities = Abilities(confirms=False)
        async with rig.running():
            rig.exchange.advance(bar(0).ts)
            for n in range(2):
                rig.feed.queue.put_nowait(bar(n))
            await rig.settled()
        with pytest.raises(ConfigError, match="once more with the configuration before"):
            rig.reconfigure(limited(rig.plan, 0.5))

    asyncio.run(work())


def test_another_version_takes_what_the_one_before_left_at_a_good_end(tmp_path: Path) -> None:
    """A version that decides otherwise cannot replay; what was left must be of the very end."""
    plan, other = plan_of(FLAT, LONG, LONG, LONG), plan_of(FLAT, FLAT, LONG, LONG)

    told = ("paper", other, other, 1)

    async def work() -> None:
        rig = Rig(tmp_path, plan)
        await traded(rig, 0, 1, 2)
        estate = Estate(rig.blotter)
        leave(estate, rig.live.session, rig.journals[-1], rig.now())
        before = begun(rig.journals[-1])
        assert before is not None
        with pytest.raises(ReplayMismatch):
            hand_over(before, *told)
        taken = hand_over(before, *told, other_build=True)
        assert taken.sleeves["s0/ABC"]["qty"] == 1
        replayed = hand_over(before, "paper", plan, plan, 1)
        assert msgspec.structs.replace(replayed, agreed_ts=taken.agreed_ts) == taken
        await traded(rig, 3)
        with pytest.raises(ReplayMismatch):
            hand_over(before, *told, other_build=True)

    asyncio.run(work())
