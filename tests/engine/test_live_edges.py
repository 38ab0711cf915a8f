"""D6, X4, X6: how a live session begins, falls silent and ends; most money is lost at the edges."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from pathlib import Path

import pytest

from onefold.domain.errors import VenueRefused, VenueUncertain
from onefold.domain.records import Command
from onefold.domain.venue import Abilities
from onefold.engine.control import Request
from onefold.engine.live import LiveRules
from onefold.sim.plan import Placement, Plan
from support import FLAT, LONG, MINUTE_NS, Scripted, account_of, rules_of, share

from .live_rig import QUICK, START, Rig
from .test_live import bar, commands, long_plan, notices, plan_of, ready, run
from .test_live_closed import bids, happen
from .test_live_trouble import SOON, of


def test_a_session_that_stops_enters_nothing_more(tmp_path: Path) -> None:
    """I7: its last cancel hangs, books and venue agree meanwhile, and a signal comes."""
    start = START.ts + MINUTE_NS
    bid = Scripted(side=(FLAT, *[LONG] * 40), price=(90.0,) * 41, start=start)
    later = Scripted(side=(*[FLAT] * 4, *[LONG] * 40), start=start)
    limit = rules_of(entry={"order": "limit"})
    plan = Plan(
        account_of(),
        (share("ABC"), share("DEF")),
        (Placement("s0", bid, limit, ("ABC",)), Placement("s1", later, rules_of(), ("DEF",))),
        (MINUTE_NS, MINUTE_NS),
    )
    patient = dataclasses.replace(SOON, stop_s=0.6)
    eager = dataclasses.replace(QUICK, again_s=(0.05, 0.1, 0.2, 0.3))

    async def work() -> None:
        rig = Rig(tmp_path, plan, live=patient, rules=eager)

        async def hangs(_client_id: str, _symbol: str) -> None:
            await asyncio.sleep(3600.0)

        rig.twin.cancel = hangs  # type: ignore[method-assign]
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0), bar(1))
            assert len(rig.twin.submitted) == 1
            live.stop()
            await rig.until(lambda: not of(rig, "reconciled"))
            for n in range(2, 8):
                for symbol in ("ABC", "DEF"):
                    rig.exchange.advance(bar(n).ts)
                    rig.feed.queue.put_nowait(bar(n, symbol=symbol))
                await asyncio.sleep(0.06)
        assert len(rig.twin.submitted) == 1
        assert commands(rig)[-1] == "unreconciled"
        assert rig.live.left(), "the one that works is told of"

    run(work())


def test_an_entry_that_waits_for_its_turn_does_not_leave_after_a_stop(tmp_path: Path) -> None:
    """Resting orders are kept at the end; what had not left by then is none of them."""
    keep = LiveRules(poll_s=0.005, late_bars=1e12, stop_s=0.5, on_stop="keep")

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), live=keep)
        rig.twin.lag_s = 0.1
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0))
            happen(rig, 1)
            await rig.until(lambda: of(rig, "open_orders") == 1)
            live.stop()
        assert rig.twin.submitted == []

    run(work())


@pytest.mark.parametrize("is_bad", [True, False])
def test_the_dead_mans_switch_is_disarmed_at_a_good_end_only(tmp_path: Path, is_bad: bool) -> None:
    """After a bad end nobody looks after the orders: the venue is to cancel them."""
    alive = dataclasses.replace(QUICK, dead_man_s=30.0)

    def full() -> None:
        raise OSError("no space left on device")

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), live=SOON, rules=alive)
        rig.twin.abilities = Abilities(payments=True, dead_man=True)
        with pytest.raises(OSError, match="no space") if is_bad else contextlib.nullcontext():
            async with rig.running() as live:
                await ready(rig)
                await rig.until(lambda: bool(rig.twin.armed))
                if is_bad:
                    live.session.commit = full  # type: ignore[method-assign]
                    happen(rig, 0)
                    await rig.until(lambda: live.failure is not None)
        assert (rig.twin.armed[-1] > 0) == is_bad

    run(work())


def test_the_venue_is_looked_after_while_a_feed_cannot_be_reached(tmp_path: Path) -> None:
    """D6: and the feed's bars are traded on once it is there."""
    rules = dataclasses.replace(SOON, reconnect_s=0.01, reconnect_max_s=0.02)

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), live=rules)
        is_there = asyncio.Event()

        async def opened() -> None:
            if not is_there.is_set():
                raise VenueUncertain("connection refused")

        rig.feed.open = opened  # type: ignore[method-assign]
        async with rig.running() as live:
            await ready(rig)
            await rig.until(lambda: "connection refused" in str(live.status()["feeds"]))
            assert rig.feed.connections == 0
            is_there.set()
            await rig.until(lambda: rig.feed.connections == 1)
            assert live.status()["feeds"] == {}
            await rig.play(bar(0), bar(1), bar(2))
            assert live.session.state.instruments["qty"][0] == 1

    run(work())


def test_a_feed_that_says_nothing_is_told_of_once(tmp_path: Path) -> None:
    """D6: it is connected, its market is open, and no bar comes."""
    rules = LiveRules(poll_s=0.005, late_bars=2.0, stop_s=0.5, check_s=0.02)

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), live=rules)
        told: list[str] = []
        async with rig.running() as live:
            live._alert = told.append
            await ready(rig)
            await rig.play(bar(0))
            rig.exchange.advance(bar(3).ts)
            await asyncio.sleep(0.1)
            assert not any("no bar of" in text for text in told)
            rig.exchange.advance(bar(5).ts)
            await rig.until(lambda: bool(live.status()["feeds"]))
            await asyncio.sleep(0.1)
            assert [text for text in told if "no bar of" in text] == ["no bar of ABC for 5 bars"]
            assert live.status()["feeds"] == {"ABC": "silent"}
            await rig.play(bar(5))
            await rig.until(lambda: not live.status()["feeds"])

    run(work())


@pytest.mark.parametrize("call", ["find", "cancel"])
def test_what_nobody_foresaw_halts_an_instrument_once(tmp_path: Path, call: str) -> None:
    """X6: the order is asked for until it is known, and a person may resume meanwhile."""
    calls = []

    def trouble(name: str, moment: str) -> None:
        if (name, moment) == ("cancel", "before"):
            calls.append(name)
            raise KeyError("price") if call == "cancel" else VenueUncertain("no answer")
        if (name, moment) == ("find", "before") and call == "find":
            calls.append(name)
            raise KeyError("price")

    async def work() -> None:
        rig = Rig(tmp_path, bids(), live=SOON)
        async with rig.running():
            await ready(rig)
            await rig.play(bar(0), bar(1))
            rig.twin.trouble = trouble
            rig.control.ask(Request("k", "kill", 1, reason="enough"))
            await rig.until(lambda: len(calls) > 5)
            rig.twin.trouble = lambda *_: None
            await rig.until(lambda: not rig.exchange.working())
            await rig.until(lambda: not of(rig, "open_orders"))
            halts = [c for c in rig.records(Command) if "KeyError" in c.reason]  # type: ignore[attr-defined]
            assert len(halts) == 1

    run(work())


def test_what_was_to_be_flat_is_flattened_under_the_next_configuration(tmp_path: Path) -> None:
    """X7, ADR 9: a kill with `--flatten` while the venue refused, and then an edit."""
    quick = dataclasses.replace(SOON, check_s=0.05)

    async def refuses(_ticket: object, look: object) -> object:
        look()  # type: ignore[operator]
        raise VenueRefused("the market is closed")

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), live=quick)
        async with rig.running():
            await ready(rig)
            await rig.play(bar(0), bar(1), bar(2))
            submit, rig.twin.submit = rig.twin.submit, refuses  # type: ignore[assignment,method-assign]
            rig.control.ask(Request("1", "kill", 1, reason="out"))
            rig.control.ask(Request("2", "flatten", 2, reason="out"))
            await rig.until(lambda: "rejected" in notices(rig))
        assert rig.exchange.positions()["ABC"] == 1
        rig.reconfigure(rig.plan)
        rig.twin.submit = submit  # type: ignore[method-assign]
        async with rig.running() as live:
            await rig.until(lambda: bool(rig.exchange.working()))
            happen(rig, 3)
            await rig.until(lambda: live.session.state.instruments["qty"][0] == 0)
        assert rig.exchange.positions()["ABC"] == 0

    run(work())


def test_what_was_flattened_once_is_not_flattened_at_every_start(tmp_path: Path) -> None:
    """A flatten without a kill: trading goes on, and a restart does not repeat it."""
    quick = dataclasses.replace(SOON, check_s=0.02)

    async def work() -> None:
        rig = Rig(tmp_path, plan_of(FLAT, LONG, LONG, FLAT, FLAT, *[LONG] * 30), live=quick)
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0), bar(1), bar(2))
            rig.control.ask(Request("1", "flatten", 1, reason="a pause"))
            await rig.until(lambda: bool(rig.exchange.working()))
            await rig.play(*(bar(n) for n in range(3, 9)))
            assert live.session.state.instruments["qty"][0] == 1
        again = Rig(tmp_path, rig.plan, exchange=rig.exchange, live=quick)
        async with again.running() as live:
            await ready(again)
            await asyncio.sleep(0.2)
            assert commands(again).count("flatten") == 1

    run(work())
