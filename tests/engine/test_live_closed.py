"""SAFETY: stories of how money was at risk, each as short as it can be told.

They were found by attacking a session that passed everything else.
"""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

from onefold.domain.errors import VenueRefused, VenueUncertain
from onefold.domain.records import Command, Order
from onefold.domain.venue import Abilities
from onefold.engine.control import Request
from onefold.engine.live import LiveRules
from onefold.sim.plan import Placement, Plan
from support import FLAT, LONG, MINUTE_NS, Scripted, account_of, rules_of, share

from .live_rig import QUICK, START, Rig
from .test_live import Once, bar, commands, long_plan, notices, plan_of, ready, run
from .test_live_trouble import SOON, of

DAY_NS = 86_400_000_000_000


def bids(price: float = 90.0, **rules: object) -> Plan:
    """Bid below the market from the second bar on."""
    script = Scripted(side=(FLAT, *[LONG] * 40), price=(price,) * 41, start=START.ts + MINUTE_NS)
    limit = rules_of(entry={"order": "limit"}, **rules)
    return Plan(
        account_of(), (share("ABC"),), (Placement("s0", script, limit, ("ABC",)),), (MINUTE_NS,)
    )


def happen(rig: Rig, *numbers: int, price: float = 100.0) -> None:
    """Let bars happen without waiting for what they cause."""
    for n in numbers:
        rig.exchange.advance(bar(n).ts)
        rig.exchange.on_bar(bar(n, price))
        rig.feed.queue.put_nowait(bar(n, price))


def test_a_cancel_that_was_lost_is_asked_for_until_the_order_is_over(tmp_path: Path) -> None:
    """I7: a kill that one lost message outwits is none."""

    async def work() -> None:
        rig = Rig(tmp_path, bids(), live=SOON)
        async with rig.running():
            await ready(rig)
            await rig.play(bar(0), bar(1))
            assert len(rig.exchange.working()) == 1
            rig.twin.trouble = Once("cancel", "before", times=3)
            rig.control.ask(Request("k", "kill", 1, reason="enough"))
            await rig.until(lambda: not rig.exchange.working())
            await rig.until(lambda: not of(rig, "open_orders"))

    run(work())


def test_a_cancel_that_never_left_is_sent_at_the_next_start(tmp_path: Path) -> None:
    """I7: the process died between the record of a cancel and its send."""

    async def work() -> None:
        rig = Rig(tmp_path, bids(), live=SOON)
        async with rig.running():
            await ready(rig)
            await rig.play(bar(0), bar(1))
            rig.twin.trouble = Once("cancel", "before", times=10**9)
            rig.control.ask(Request("k", "kill", 1, reason="enough"))
            await rig.until(lambda: bool(of(rig, "killed")))
        assert rig.live.left(), "who stops it is told that an entry may still work"
        again = Rig(tmp_path, bids(), exchange=rig.exchange, live=SOON)
        async with again.running():
            await again.until(lambda: not rig.exchange.working())

    run(work())


def test_nothing_leaves_before_books_and_venue_have_been_compared(tmp_path: Path) -> None:
    """Law 4, I3: the stop filled while nothing ran; the time exit must not sell a second time."""
    exits = {"stop": 0.05, "resting": True, "max_bars": 5}
    script = Scripted(side=(FLAT, *[LONG] * 400), start=START.ts + MINUTE_NS)
    plan = Plan(
        account_of(),
        (share("ABC"),),
        (Placement("s0", script, rules_of(exits=exits), ("ABC",)),),
        (MINUTE_NS,),
    )

    async def work() -> None:
        rig = Rig(tmp_path, plan, live=SOON)
        rig.twin.abilities = Abilities(reduce_only=False, payments=True)
        async with rig.running():
            await ready(rig)
            await rig.play(*(bar(n) for n in range(4)))
            await rig.until(lambda: bool(rig.exchange.working()))
        for n, price in ((4, 100.0), (5, 100.0), (6, 80.0)):
            rig.exchange.advance(bar(n).ts)
            rig.exchange.on_bar(bar(n, price))
        assert rig.exchange.positions()["ABC"] == 0
        again = Rig(tmp_path, plan, exchange=rig.exchange, live=SOON)
        again.twin.abilities = rig.twin.abilities
        again.feed.past = [bar(n) for n in range(4, 15)]
        async with again.running() as live:
            await ready(again)
            await asyncio.sleep(0.2)
            assert again.twin.submitted == []
            assert live.session.state.instruments["qty"][0] == 0
        assert rig.exchange.positions()["ABC"] == 0

    run(work())


def test_a_trade_during_the_handshake_is_found_soon(tmp_path: Path) -> None:
    """I2: the comparison was before, the stream is not up yet, the next comparison far away."""
    rules = dataclasses.replace(QUICK, reconcile_s=300.0, again_s=(0.1, 0.3))

    async def work() -> None:
        rig = Rig(tmp_path, bids(exits={"stop": 0.05, "resting": True}), live=SOON, rules=rules)
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0))
            reports = rig.twin.reports

            async def slow():  # type: ignore[no-untyped-def]  # noqa: ANN202
                await asyncio.sleep(0.2)
                async for report in reports():
                    yield report

            rig.twin.reports = slow  # type: ignore[method-assign]
            rig.twin.disconnect()
            await rig.until(lambda: not of(rig, "reconciled"))
            await ready(rig)
            happen(rig, 1)
            await rig.until(lambda: bool(rig.exchange.working()))
            happen(rig, 2, price=89.0)
            assert rig.exchange.positions()["ABC"] == 1
            await rig.until(lambda: live.session.state.instruments["qty"][0] == 1)

    run(work())


def test_an_order_that_comes_back_from_the_dead_is_cancelled(tmp_path: Path) -> None:
    """I4: a person said that it never came; it came all the same."""

    async def work() -> None:
        rig = Rig(tmp_path, bids(), live=SOON)
        submit, lost = rig.exchange.submit, []

        def lose(*order: object, **facts: object) -> None:
            lost.append((order, facts))
            raise VenueUncertain("no answer")

        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0))
            rig.exchange.submit = lose  # type: ignore[assignment,method-assign]
            happen(rig, 1)
            await rig.until(lambda: bool(lost))

            def is_given_up() -> bool:
                rig.exchange.advance(rig.exchange.now_ns + MINUTE_NS)
                return bool(live.session.state.instruments["killed"][0])

            await rig.until(is_given_up)
            rig.control.ask(Request("k", "kill", 1, reason="stay stopped"))
            rig.control.ask(Request("r", "resume", 2, instrument="ABC", reason="looked"))
            await rig.until(lambda: "rejected" in notices(rig))
            order, facts = lost[0]
            submit(*order, **facts)  # type: ignore[arg-type]
            await rig.until(lambda: not rig.exchange.working())

    run(work())


def test_a_request_that_makes_no_sense_ends_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), live=SOON)
        async with rig.running() as live:
            await ready(rig)
            inbox = tmp_path / "control" / "inbox"
            (inbox / "1-x.json").write_text('{"id":"x","command":"pause","ts":1}')
            (inbox / "2-y.json").write_text('{"id":"y","command":"reconciled","ts":1}')
            (inbox / "3-z.json").write_text('{"id":"z","command":"resume","ts":1}')
            refused = inbox / "refused"
            await rig.until(lambda: len(list(refused.glob("*.json"))) == 3)
            assert "no command 'pause'" in (refused / "1-x.json.reason").read_text()
            assert "needs a reason" in (refused / "3-z.json.reason").read_text()
            assert live.failure is None

    run(work())


def test_a_clock_that_was_ahead_for_a_moment_does_not_lift_the_daily_stop(tmp_path: Path) -> None:
    plan = plan_of(FLAT, *[LONG] * 9)
    limits = plan.account.limits.model_copy(update={"daily_loss": 0.0001})
    account = plan.account.model_copy(update={"limits": limits})

    async def work() -> None:
        rig = Rig(tmp_path, dataclasses.replace(plan, account=account), live=SOON)
        async with rig.running():
            await ready(rig)
            await rig.play(bar(0), bar(1), bar(2), bar(3, 60.0))
            assert of(rig, "daily_stopped")
            rig.skew_ns = DAY_NS
            rig.control.ask(Request("q", "reduce_only", 1, reason="a look"))
            await rig.until(lambda: bool(of(rig, "reduce_only")))
            rig.skew_ns = 0
            assert of(rig, "daily_stopped")
            await rig.play(bar(4, 60.0))
            assert of(rig, "daily_stopped")

    run(work())


def test_an_entry_that_was_decided_long_ago_does_not_leave(tmp_path: Path) -> None:
    """I7: a laptop that slept, a call that hung: the price is another one now."""
    live_rules = LiveRules(poll_s=0.005, late_bars=2.0, stop_s=0.5)

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), live=live_rules)
        awake, submit = asyncio.Event(), rig.twin.submit

        async def sleeps(*order: object) -> object:
            await awake.wait()
            return await submit(*order)  # type: ignore[arg-type]

        rig.twin.submit = sleeps  # type: ignore[assignment,method-assign]
        async with rig.running():
            await ready(rig)
            happen(rig, 0)
            await rig.until(lambda: rig.live.session.inputs >= 3)
            happen(rig, 1)
            await rig.until(lambda: of(rig, "open_orders") == 1)
            rig.exchange.advance(bar(61).ts)
            awake.set()
            await rig.until(lambda: "rejected" in notices(rig))
        assert rig.twin.submitted == []

    run(work())


def test_an_error_that_nobody_foresaw_does_not_block_an_instrument(tmp_path: Path) -> None:
    plan = plan_of(FLAT, LONG, FLAT, FLAT, LONG, *[LONG] * 30)

    async def work() -> None:
        rig = Rig(tmp_path, plan, live=SOON)
        submit, tried = rig.twin.submit, []

        async def fails_once(*order: object) -> object:
            tried.append(order)
            if len(tried) == 1:
                raise KeyError("unforeseen")
            return await submit(*order)  # type: ignore[arg-type]

        rig.twin.submit = fails_once  # type: ignore[assignment,method-assign]
        async with rig.running() as live:
            await ready(rig)
            happen(rig, 0, 1)
            await rig.until(lambda: "kill" in commands(rig))
            await rig.until(lambda: "unknown" in notices(rig))

            def is_given_up() -> bool:
                rig.exchange.advance(rig.exchange.now_ns + MINUTE_NS)
                found = rig.records(Command)
                return any("not to be found" in c.reason for c in found)  # type: ignore[attr-defined]

            await rig.until(is_given_up)
            rig.control.ask(Request("r", "resume", 2, reason="looked"))
            rig.control.ask(Request("s", "resume", 3, instrument="ABC", reason="looked"))
            await rig.until(lambda: not live.session.state.instruments["killed"][0])
            await ready(rig)
            for n in range(2, 8):
                happen(rig, n)
                await rig.settled()
            assert len(tried) > 1

    run(work())


def test_a_flatten_that_was_refused_is_ordered_again(tmp_path: Path) -> None:
    quick = dataclasses.replace(SOON, check_s=0.05)

    async def work() -> None:
        rig = Rig(tmp_path, plan_of(FLAT, *[LONG] * 40), live=quick)
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0), bar(1), bar(2))
            submit = rig.twin.submit

            async def refuses(_ticket: object, look: object) -> object:
                look()  # type: ignore[operator]
                raise VenueRefused("the venue does not answer: not sent")

            rig.twin.submit = refuses  # type: ignore[assignment,method-assign]
            rig.control.ask(Request("1", "kill", 1, reason="out"))
            rig.control.ask(Request("2", "flatten", 2, reason="out"))
            await rig.until(lambda: notices(rig).count("rejected") > 1)
            rig.twin.submit = submit  # type: ignore[method-assign]
            await rig.until(lambda: bool(rig.exchange.working()))
            happen(rig, 3)
            await rig.until(lambda: live.session.state.instruments["qty"][0] == 0)
            await asyncio.sleep(0.2)
            told = [c for c in rig.records(Command) if c.command == "flatten"]  # type: ignore[attr-defined]
        assert rig.exchange.positions()["ABC"] == 0
        assert len(told) < 40, "it ends once all is flat"

    run(work())


def test_what_a_broker_has_taken_is_not_ordered_twice(tmp_path: Path) -> None:
    """I1: where nothing is confirmed, a restart must not forget what the broker executes."""
    keep = LiveRules(poll_s=0.005, late_bars=1e12, stop_s=0.5)

    async def work() -> None:
        rig = Rig(tmp_path, plan_of(FLAT, LONG, LONG, LONG, LONG), live=keep)
        rig.twin.abilities = Abilities(confirms=False)
        async with rig.running():
            for n in (0, 1):
                rig.exchange.advance(bar(n).ts)
                rig.feed.queue.put_nowait(bar(n))
                await rig.settled()
            assert len(rig.twin.submitted) == 1
        again = Rig(tmp_path, rig.plan, exchange=rig.exchange, live=keep)
        again.twin.abilities = Abilities(confirms=False)
        async with again.running() as live:
            await again.until(lambda: bool(of(again, "killed")))
            for n in (2, 3):
                rig.exchange.advance(bar(n).ts)
                again.feed.queue.put_nowait(bar(n))
                await again.settled()
            assert live.session.state.instruments["qty"][0] == 1
        assert again.twin.submitted == []
        assert len(again.records(Order)) == 1

    run(work())


def test_an_alert_that_cannot_be_told_stops_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, bids(), live=SOON)
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0), bar(1))

            def gone(_text: str) -> None:
                raise BrokenPipeError

            live._alert = gone
            rig.control.ask(Request("k", "kill", 1, reason="enough"))
            await rig.until(lambda: not rig.exchange.working())
            assert live.failure is None

    run(work())


def test_a_cancel_does_not_wait_behind_a_call_that_hangs(tmp_path: Path) -> None:
    """I7: an order of one strategy hangs; the kill takes the other's bid back meanwhile.

    The next comparison, which would send the cancel too, is minutes away.
    """
    seldom = dataclasses.replace(QUICK, reconcile_s=300.0, again_s=())
    start = START.ts + MINUTE_NS
    bid = Scripted(side=(FLAT, *[LONG] * 40), price=(90.0,) * 41, start=start)
    late = Scripted(side=(FLAT, FLAT, *[LONG] * 40), start=start)
    limit = rules_of(entry={"order": "limit"})
    plan = Plan(
        account_of(),
        (share("ABC"),),
        (Placement("s0", bid, limit, ("ABC",)), Placement("s1", late, rules_of(), ("ABC",))),
        (MINUTE_NS,),
    )

    async def work() -> None:
        rig = Rig(tmp_path, plan, live=SOON, rules=seldom)
        submit, hangs = rig.twin.submit, asyncio.Event()

        async def may_hang(ticket: object, look: object) -> object:
            if ticket.kind == "market":  # type: ignore[attr-defined]
                hangs.set()
                await asyncio.sleep(3600.0)
            return await submit(ticket, look)  # type: ignore[arg-type]

        rig.twin.submit = may_hang  # type: ignore[assignment,method-assign]
        async with rig.running():
            await ready(rig)
            await rig.play(bar(0), bar(1))
            assert len(rig.exchange.working()) == 1
            happen(rig, 2)
            await rig.until(hangs.is_set)
            rig.control.ask(Request("k", "kill", 1, reason="enough"))
            await rig.until(lambda: not rig.exchange.working())

    run(work())


def test_an_order_waits_for_the_cancel_before_it(tmp_path: Path) -> None:
    """I4: a stop that replaces another one must not work beside it."""
    exits = {"trail": 0.05, "resting": True}

    async def work() -> None:
        rig = Rig(tmp_path, plan_of(FLAT, *[LONG] * 40, exits=exits), live=SOON)
        cancel, beside = rig.twin.cancel, []

        async def slow(client_id: str, symbol: str) -> None:
            await asyncio.sleep(0.05)
            await cancel(client_id, symbol)

        rig.twin.cancel = slow  # type: ignore[method-assign]
        rig.exchange.listen(
            lambda _: beside.append(sum(o.kind == "stop" for o in rig.exchange.working()))
        )
        async with rig.running():
            await ready(rig)
            await rig.play(*(bar(n, 100.0 + 2 * n) for n in range(8)))
            await rig.until(lambda: len(rig.exchange.orders()) > 4)
        assert max(beside) == 1

    run(work())
