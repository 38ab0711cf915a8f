"""What the simulation found, each as the shortest story that tells it."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from onefold.domain.errors import VenueUncertain
from onefold.engine.control import KILL, Request
from onefold.engine.live import LiveRules
from onefold.sim.plan import Placement, Plan
from support import FLAT, LONG, MINUTE_NS, SHORT, Scripted, account_of, rules_of, share

from .live_rig import QUICK, START, Rig
from .test_live import Once, bar, commands, long_plan, notices, ready, run

SOON = LiveRules(poll_s=0.005, late_bars=1e12, stop_s=0.5)


def of(rig: Rig, field: str) -> int:
    return int(rig.live.session.state.account[field][0])


def two_plan() -> Plan:
    """Hold DEF from the second bar on, with a target at the venue, and ABC from the fifth."""
    first = Scripted(side=(FLAT, *[LONG] * 40), start=START.ts + MINUTE_NS)
    fifth = Scripted(side=(*[FLAT] * 4, *[LONG] * 40), start=START.ts + MINUTE_NS)
    rests = rules_of(exits={"take": 0.05, "resting": True})
    return Plan(
        account_of(),
        (share("ABC"), share("DEF")),
        (
            Placement("s0", fifth, rules_of(), ("ABC",)),
            Placement("s1", first, rests, ("DEF",)),
        ),
        (MINUTE_NS, MINUTE_NS),
    )


def test_an_entry_does_not_leave_once_the_account_is_closed(tmp_path: Path) -> None:
    """I7: the connection is lost between the decision and the send."""

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), live=SOON)
        rig.twin.lag_s = 0.05
        async with rig.running():
            await ready(rig)
            await rig.play(bar(0))
            rig.exchange.on_bar(bar(1))
            rig.feed.queue.put_nowait(bar(1))
            await rig.until(lambda: of(rig, "open_orders") == 1)
            rig.twin.trouble = Once("positions", "before", times=10**9)
            rig.twin.disconnect()
            await rig.until(lambda: not of(rig, "reconciled"))
            await asyncio.sleep(0.2)
            assert rig.twin.submitted == []

    run(work())


def test_a_fill_after_its_cancel_does_not_close_the_account_for_ever(tmp_path: Path) -> None:
    """It is a legal transition: once all agrees again, trading goes on, or says why not."""

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), live=SOON)
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0), bar(1))
            rig.control.ask(Request("k", "kill", 1, reason="a try"))
            await rig.until(lambda: of(rig, "open_orders") == 0)
            rig.exchange.trade_late(rig.exchange.orders()[0])
            await rig.until(rig.books_agree)
            rig.control.ask(Request("r", "resume", 2, reason="looked"))
            await rig.until(lambda: not of(rig, "killed"))
            await asyncio.sleep(0.3)  # and several comparisons
            assert live.desk is not None
            assert of(rig, "reconciled") or live.desk.trouble

    run(work())


def test_a_resume_that_could_not_ask_does_not_leave_an_order_unknown(tmp_path: Path) -> None:
    """The venue does not answer when a person resumes: it must stay, or become, a halt."""

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), trouble=Once("submit", "before"), live=SOON)
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0), bar(1))
            rig.exchange.advance(rig.exchange.now_ns + MINUTE_NS)
            await rig.until(lambda: commands(rig).count("kill") == 1)
            rig.twin.trouble = Once("find", "before", times=10**9)
            rig.control.ask(Request("r", "resume", 1, instrument="ABC", reason="looked"))
            refused = tmp_path / "control" / "inbox" / "refused"
            await rig.until(lambda: len(list(refused.glob("*.reason"))) == 1)
            assert "resume" not in commands(rig)
            assert bool(live.session.state.instruments["killed"][0])

    run(work())


@pytest.mark.parametrize("steps", range(3))
def test_a_stop_in_the_moment_after_an_input_ends(tmp_path: Path, steps: int) -> None:
    """`asyncio.wait_for` of Python 3.11 loses a cancellation when its event has just come."""

    async def work() -> None:
        seldom = dataclasses.replace(QUICK, reconcile_s=60.0)
        rig = Rig(tmp_path, long_plan(), live=SOON, rules=seldom)
        async with rig.running() as live:
            live._heartbeat.least_s = 0.01
            await ready(rig)
            await asyncio.sleep(1.2)  # the heartbeat has beaten, and waits for the next input
            [beating] = [t for t in live._tasks if t.get_coro().__qualname__ == "Live._beat"]  # type: ignore[union-attr]
            live._ticked.set()
            for _ in range(steps):
                await asyncio.sleep(0)
            beating.cancel()
            await asyncio.wait([beating], timeout=0.2)
            ended = beating.done()
            beating.cancel()
            assert ended

    run(work())


def test_a_trade_that_was_missed_long_ago_is_fetched(tmp_path: Path) -> None:
    """A later trade that was heard does not make the venue's older ones known."""

    async def work() -> None:
        rig = Rig(tmp_path, two_plan(), live=SOON)
        async with rig.running() as live:
            await ready(rig)
            await rig.play(*(bar(n, symbol=s) for n in range(5) for s in ("ABC", "DEF")))
            assert [o.symbol for o in rig.exchange.working()] == ["DEF", "ABC"]
            rig.twin.trouble = Once("trades", "before", times=10**9)
            rig.twin.disconnect()
            rig.exchange.on_bar(bar(5))  # ABC fills while nobody listens
            listening = rig.twin._listening
            await rig.until(lambda: len(rig.exchange.working()) == 1 and not of(rig, "reconciled"))
            await asyncio.sleep(0.1)
            assert listening, "it listens again, while questions are still not answered"
            rig.exchange.on_bar(bar(9, 106.0, "DEF"))  # four minutes later the target is met
            await rig.until(lambda: live.session.state.instruments["qty"][1] == 0)
            rig.twin.trouble = lambda _call, _moment: None
            await asyncio.sleep(0.5)
            assert commands(rig)[-1] == "reconciled"
            assert rig.books_agree()

    run(work())


def test_a_switch_that_comes_on_while_a_resume_is_carried_out_counts(tmp_path: Path) -> None:
    """A slow venue is asked about unknown orders meanwhile: the fold hears of the switch too."""

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), trouble=Once("submit", "before"), live=SOON)
        async with rig.running():
            await ready(rig)
            rig.control.ask(Request("k", "kill", 1, reason="a try"))
            await rig.until(lambda: bool(of(rig, "killed")))
            rig.control.ask(Request("r", "resume", 2, reason="over"))
            (tmp_path / "control" / KILL).write_text("no, it is not")
            await rig.until(lambda: "resume" in commands(rig))
            await asyncio.sleep(0.2)
            assert of(rig, "killed")

    run(work())


def test_a_kill_is_folded_while_a_resume_waits_for_the_venue(tmp_path: Path) -> None:
    """What works is cancelled within a second, however long the venue takes with other answers."""

    async def work() -> None:
        rig = Rig(tmp_path, two_plan(), trouble=Once("submit", "before"), live=SOON)
        async with rig.running():
            await ready(rig)
            await rig.play(*(bar(n, symbol=s) for n in range(2) for s in ("ABC", "DEF")))
            assert [p.state for p in rig.blotter.open()] == ["unknown"]
            find = rig.twin.find

            async def slow(client_id: str, symbol: str) -> object:
                await asyncio.sleep(3)
                return await find(client_id, symbol)

            rig.twin.find = slow  # type: ignore[assignment,method-assign]
            rig.control.ask(Request("r", "resume", 1, reason="looked"))
            await asyncio.sleep(0.1)
            (tmp_path / "control" / KILL).write_text("enough")
            await asyncio.sleep(1.0)
            assert of(rig, "killed")

    run(work())


@pytest.mark.parametrize("call", ["reports", "positions"])
def test_work_that_failed_unforeseen_goes_on_or_keeps_the_account_closed(
    tmp_path: Path, call: str
) -> None:
    """A person who resumes must not trade without a stream, or without being reconciled again."""

    def fail(name: str, _moment: str) -> None:
        calls.append(name)
        if name == call and calls.count(name) == 2:
            raise KeyError("what nobody foresaw")

    calls: list[str] = []

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), live=SOON, trouble=fail)
        async with rig.running():
            await ready(rig)
            if call == "reports":
                rig.twin.disconnect()
            await rig.until(lambda: "kill" in commands(rig))
            await asyncio.sleep(0.3)
            rig.control.ask(Request("r", "resume", 1, reason="looked"))
            await rig.until(lambda: not of(rig, "killed"))
            calls.clear()
            await asyncio.sleep(0.3)
            open_ = of(rig, "reconciled") and not of(rig, "killed")
            assert not open_ or (rig.twin._listening and "positions" in calls)

    run(work())


def test_a_strategy_may_leave_while_another_holds_the_other_side(tmp_path: Path) -> None:
    """No gate may trap a position: the venue knows only the sum of what strategies hold."""
    start = START.ts + MINUTE_NS
    long_ = Scripted(side=(FLAT, LONG, LONG, FLAT), start=start)
    short = Scripted(side=(FLAT, SHORT), start=start)
    plan = Plan(
        account_of(),
        (share("ABC"),),
        (
            Placement("s0", long_, rules_of(), ("ABC",)),
            Placement("s1", short, rules_of(), ("ABC",)),
        ),
        (MINUTE_NS,),
    )

    async def work() -> None:
        rig = Rig(tmp_path, plan, live=SOON)
        async with rig.running() as live:
            await ready(rig)
            await rig.play(*(bar(n) for n in range(6)))
            assert rig.books_agree()
            assert live.session.state.sleeves["qty"].tolist() == [0, -1]
        assert "rejected" not in notices(rig)

    run(work())


@pytest.mark.parametrize("strategy", ["s0", "s1", ""])
def test_a_resume_does_not_let_go_of_an_order_that_has_just_been_sent(
    tmp_path: Path, strategy: str
) -> None:
    """A person speaks of what was there to look at: an order of s1 is on its way meanwhile."""

    async def work() -> None:
        rig = Rig(tmp_path, two_plan(), live=SOON)
        async with rig.running():
            await ready(rig)
            await rig.play(bar(0, symbol="DEF"))
            rig.control.ask(Request("k", "kill", 1, strategy="s0", reason="a try"))
            await rig.until(lambda: "kill" in commands(rig))
            await rig.settled()
            submit = rig.exchange.submit

            def late(*args: object) -> None:
                asyncio.get_running_loop().call_later(0.1, submit, *args)
                raise VenueUncertain("no answer yet")

            rig.exchange.submit = late  # type: ignore[assignment,method-assign]
            rig.exchange.on_bar(bar(1, symbol="DEF"))
            rig.feed.queue.put_nowait(bar(1, symbol="DEF"))
            await rig.until(lambda: "unknown" in notices(rig))
            rig.control.ask(Request("r", "resume", 2, strategy=strategy, reason="looked"))
            await rig.until(lambda: "resume" in commands(rig))
            await asyncio.sleep(0.3)
            assert len(rig.exchange.working()) == 1
            assert rig.blotter.open(), "it works at the venue, and counts for nothing"

    run(work())
