"""X1, X4, X5, X6, X7: a session with a real venue's manners, on the in-memory one."""

from __future__ import annotations

import asyncio
import dataclasses
from decimal import Decimal
from pathlib import Path

import pytest

from onefold.domain.errors import VenueUncertain
from onefold.domain.records import (
    Action,
    Adoption,
    Bar,
    Command,
    Fill,
    Order,
    OrderNotice,
    Quarantined,
)
from onefold.domain.venue import Abilities
from onefold.engine.control import KILL, Request
from onefold.engine.replay import replay
from onefold.signals import strategy
from onefold.sim.plan import Placement, Plan
from support import FLAT, LONG, MINUTE_NS, Scripted, account_of, rules_of, share

from .live_rig import QUICK, START, Rig

BASE = START.ts


def bar(number: int, price: float = 100.0, symbol: str = "ABC") -> Bar:
    ts = BASE + (number + 1) * MINUTE_NS
    return Bar(symbol, ts, ts - MINUTE_NS, price, price + 1, price - 1, price, 1e6)


def plan_of(*sides: int, symbol: str = "ABC", **rules: object) -> Plan:
    script = Scripted(side=sides, start=BASE + MINUTE_NS)
    return Plan(
        account_of(),
        (share(symbol),),
        (Placement("s0", script, rules_of(**rules), (symbol,)),),
        (MINUTE_NS,),
    )


def run(work: object) -> None:
    asyncio.run(work)  # type: ignore[arg-type]


def test_an_order_goes_out_and_its_fill_comes_back(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, plan_of(FLAT, LONG, LONG, FLAT, FLAT, FLAT))
        async with rig.running() as live:
            await rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
            for n in range(3):
                await rig.play(bar(n))
            assert live.session.state.instruments["qty"][0] == 1
            assert rig.books_agree()
            for n in range(3, 6):
                await rig.play(bar(n))
            assert live.session.state.instruments["qty"][0] == 0
            assert rig.books_agree()
        sent = rig.records(Order)
        assert len(sent) == len(rig.twin.submitted) == 2
        assert len(rig.records(Fill)) == 2

    run(work())
    replayed = replay(tmp_path / "journal", plan_of(FLAT, LONG, LONG, FLAT, FLAT, FLAT))
    assert replayed.run.fills["id"].tolist() == [1, 2]


def long_plan(bars: int = 40, **rules: object) -> Plan:
    """Hold one lot from the second bar on."""
    return plan_of(FLAT, *[LONG] * bars, **rules)


class Once:
    """Trouble with one call, once: lost before it arrived, or after it was carried out."""

    def __init__(self, call: str, moment: str, times: int = 1) -> None:
        self.call, self.moment, self.times = call, moment, times

    def __call__(self, call: str, moment: str) -> None:
        if (call, moment) == (self.call, self.moment) and self.times:
            self.times -= 1
            raise VenueUncertain(f"no answer to {call}")


async def ready(rig: Rig) -> None:
    await rig.until(lambda: bool(rig.live.session.state.account["reconciled"][0]))


def notices(rig: Rig) -> list[str]:
    return [n.notice for n in rig.records(OrderNotice)]  # type: ignore[attr-defined]


def commands(rig: Rig) -> list[str]:
    return [c.command for c in rig.records(Command)]  # type: ignore[attr-defined]


def test_nothing_is_sent_before_the_account_is_reconciled(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), trouble=Once("positions", "before", times=10**9))
        async with rig.running() as live:
            for n in range(4):
                await rig.play(bar(n))
            assert not live.session.state.account["reconciled"][0]
            assert rig.twin.submitted == []
            rig.twin.trouble = lambda _call, _moment: None
            await ready(rig)
            await rig.play(bar(4))
            assert len(rig.twin.submitted) == 1

    run(work())


def test_an_answer_that_is_lost_is_asked_for_and_never_sent_again(tmp_path: Path) -> None:
    """X4, I1: the venue accepted, the answer was lost: found by its name, sent once."""

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), trouble=Once("submit", "after"))
        async with rig.running() as live:
            await ready(rig)
            for n in range(3):
                await rig.play(bar(n))
            await rig.until(lambda: live.session.state.instruments["qty"][0] == 1)
            assert len(rig.twin.submitted) == len(rig.exchange.orders()) == 1
            assert rig.books_agree()
        assert notices(rig)[0] == "unknown"

    run(work())


def test_an_order_that_is_not_found_halts_its_instrument(tmp_path: Path) -> None:
    """Never "rejected": it blocks its intent, and after a while a person has to look."""

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), trouble=Once("submit", "before"))
        async with rig.running() as live:
            await ready(rig)
            for n in range(2):
                await rig.play(bar(n))
            assert notices(rig) == ["unknown"]
            rig.exchange.advance(rig.exchange.now_ns + MINUTE_NS)
            await rig.until(lambda: "kill" in commands(rig))
            await rig.play(bar(3), bar(4))
            assert len(rig.twin.submitted) == 1
            # A person has looked: it never arrived.
            rig.control.ask(Request("r1", "resume", 1, instrument="ABC", reason="looked"))
            await rig.until(lambda: "resume" in commands(rig))
            assert notices(rig)[-1] == "rejected"
            await rig.play(bar(5), bar(6))
            assert len(rig.twin.submitted) == 2
            assert live.session.state.instruments["qty"][0] == 1

    run(work())


def test_a_refusal_is_an_end(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        rig.exchange.submit = _refuse  # type: ignore[method-assign]
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0), bar(1))
            assert live.session.state.account["open_orders"][0] == 0
        assert notices(rig) == ["rejected"]

    run(work())


def _refuse(*_: object, **__: object) -> None:
    from onefold.rehearsal.exchange import Refusal

    raise Refusal("no such luck", "bad_order")


def test_a_position_that_we_do_not_know_halts_the_account(tmp_path: Path) -> None:
    """I3: no synthetic trades; a person adopts or flattens."""

    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        rig.exchange.on_bar(bar(0))
        rig.exchange.submit("someone", "ABC", 1, 7)  # type: ignore[arg-type]
        rig.exchange.on_bar(bar(1))
        async with rig.running() as live:
            await rig.until(lambda: "kill" in commands(rig))
            assert live.desk is not None
            assert "ABC: we hold 0" in live.desk.trouble
            await rig.play(bar(2), bar(3))
            assert rig.twin.submitted == []

    run(work())


def test_a_lost_connection_closes_trading_until_all_is_compared(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0))
            rig.twin.trouble = Once("positions", "before", times=10**9)
            rig.twin.disconnect()
            await rig.until(lambda: not live.session.state.account["reconciled"][0])
            await rig.play(bar(1), bar(2))
            assert rig.twin.submitted == []
            rig.twin.trouble = lambda _call, _moment: None
            await ready(rig)
            await rig.play(bar(3), bar(4))
            assert rig.books_agree()
            assert live.session.state.instruments["qty"][0] == 1

    run(work())


def test_trades_that_were_missed_are_fetched(tmp_path: Path) -> None:
    """A fill while nobody listened, told twice afterwards, counts once."""

    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0), bar(1))
            rig.twin._listening.clear()
            await rig.play(bar(2))
            await rig.until(lambda: live.session.state.instruments["qty"][0] == 1)
            await asyncio.sleep(0.2)  # and several more comparisons
            assert len(rig.records(Fill)) == 1
            assert rig.books_agree()

    run(work())


def test_a_restart_knows_its_orders_and_finds_what_was_filled_meanwhile(tmp_path: Path) -> None:
    async def work() -> None:
        plan = long_plan()
        rig = Rig(tmp_path, plan)
        async with rig.running():
            await ready(rig)
            await rig.play(bar(0), bar(1))
            assert len(rig.twin.submitted) == 1
            rig.live._rules = rig.live._rules.__class__(on_stop="keep", stop_s=0.1)
        rig.exchange.on_bar(bar(2))  # filled while nothing ran
        again = Rig(tmp_path, plan, exchange=rig.exchange)
        async with again.running() as live:
            await ready(again)
            assert live.session.state.instruments["qty"][0] == 1
            await again.play(bar(3), bar(4))
            assert again.books_agree()
            assert again.twin.submitted == []
        assert len(rig.exchange.orders()) == 1

    run(work())
    replay(tmp_path / "journal", long_plan())


@pytest.mark.parametrize("how", ["file", "request", "start"])
def test_nothing_leaves_once_the_kill_switch_is_on(tmp_path: Path, how: str) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        async with rig.running(killed="told to" if how == "start" else "") as live:
            await ready(rig)
            if how == "file":
                (tmp_path / "control" / KILL).write_text("enough")
            elif how == "request":
                rig.control.ask(Request("k", "kill", 1, reason="enough"))
            await rig.until(lambda: bool(live.session.state.account["killed"][0]))
            await rig.play(bar(0), bar(1), bar(2))
            assert rig.twin.submitted == []
            rig.control.ask(Request("r", "resume", 2, reason="over"))
            await rig.until(lambda: not live.session.state.account["killed"][0])
            await rig.play(bar(3), bar(4))
            assert len(rig.twin.submitted) == 1

    run(work())


def test_the_last_look_stops_what_the_fold_had_let_pass(tmp_path: Path) -> None:
    """The switch comes on between the decision and the send."""

    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        rig.twin.lag_s = 0.05
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0))
            rig.exchange.on_bar(bar(1))
            rig.feed.queue.put_nowait(bar(1))
            await rig.until(lambda: live.session.state.account["open_orders"][0] == 1)
            (tmp_path / "control" / KILL).write_text("now")
            await rig.until(lambda: "rejected" in notices(rig))
            assert rig.twin.submitted == []
        assert "kill switch" in rig.records(OrderNotice)[-1].reason  # type: ignore[attr-defined]

    run(work())


def test_a_kill_cancels_what_works_and_outlives_the_process(tmp_path: Path) -> None:
    async def work() -> None:
        plan = long_plan(entry={"order": "limit"})
        plan = plan_of(FLAT, *[LONG] * 10, entry={"order": "market"})
        rig = Rig(tmp_path, plan)
        async with rig.running() as live:
            await ready(rig)
            await rig.play(bar(0), bar(1))
            assert len(rig.exchange.working()) == 1
            rig.control.ask(Request("k", "kill", 1, reason="enough"))
            await rig.until(lambda: rig.exchange.working() == [])
            await rig.until(lambda: live.session.state.account["open_orders"][0] == 0)
        again = Rig(tmp_path, plan, exchange=rig.exchange)
        async with again.running() as live:
            await ready(again)
            assert live.session.state.account["killed"][0]
            await again.play(bar(2), bar(3))
            assert again.twin.submitted == []

    run(work())


def test_what_is_not_ready_is_listed(tmp_path: Path) -> None:
    """D6: history warms features up and is not traded on; what is still unknown is named."""
    rule = strategy("crossover", fast=2, slow=5)
    placement = Placement("trend", rule, rules_of(), ("ABC",))
    plan = Plan(account_of(), (share("ABC"),), (placement,), (MINUTE_NS,))

    async def work() -> None:
        rig = Rig(tmp_path, plan, warm_up_bars={"ABC": 3})
        rig.feed.past = [bar(n) for n in range(-9, 0)]
        async with rig.running() as live:
            await ready(rig)
            await rig.until(lambda: live.status()["warming"] == {"trend/ABC": ["slow"]})
            await rig.play(bar(0), bar(1))
            assert live.status()["warming"] == {}
            assert live.status()["counts"]["late"] == 3
            assert live.session.state.account["decisions"][0] == 0

    run(work())


def test_a_late_bar_is_not_traded_on(tmp_path: Path) -> None:
    from onefold.engine.live import LiveRules

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(), live=LiveRules(poll_s=0.005, late_bars=2.0))
        async with rig.running():
            await ready(rig)
            rig.exchange.advance(bar(9).ts)
            for n in range(9):
                rig.feed.queue.put_nowait(bar(n))
            await rig.settled()
            assert [b.late for b in rig.records(Bar)] == [True] * 7 + [False] * 2  # type: ignore[attr-defined]
            assert len(rig.twin.submitted) == 1

    run(work())


def test_a_clock_that_differs_allows_only_reductions(tmp_path: Path) -> None:
    async def work() -> None:
        rules = dataclasses.replace(QUICK, skew_max_s=2.0)
        rig = Rig(tmp_path, long_plan(), rules=rules)
        rig.exchange.advance(BASE)
        rig.skew_ns = 0
        async with rig.running() as live:
            await ready(rig)
            assert not live.session.state.account["reduce_only"][0]
            rig.skew_ns = 5_000_000_000
            await rig.until(lambda: bool(live.session.state.account["reduce_only"][0]))
            await rig.play(bar(0), bar(1))
            assert rig.twin.submitted == []
        assert "clock differs by -5.0 s" in rig.records(Command)[-2].reason  # type: ignore[attr-defined]

    run(work())


def test_a_person_can_adopt_what_the_venue_holds(tmp_path: Path) -> None:
    """I3: the books become the venue's by a record that says who and why; then it is managed."""

    async def work() -> None:
        rig = Rig(tmp_path, long_plan(8))
        rig.exchange.on_bar(bar(-2))
        rig.exchange.submit("someone", "ABC", 1, Decimal(7))
        rig.exchange.on_bar(bar(-1))
        async with rig.running() as live:
            await rig.play(bar(0))
            await rig.until(lambda: bool(live.session.state.account["killed"][0]))
            ask = rig.control.ask
            ask(Request("a", "adopt", 1, strategy="s0", reason="bought by hand", operator="me"))
            await rig.until(lambda: live.session.state.instruments["qty"][0] == 7)
            ask(Request("r", "resume", 2, reason="all is explained"))
            await ready(rig)
            await rig.until(lambda: not live.session.state.account["killed"][0])
            for n in range(1, 4):
                await rig.play(bar(n))
            assert live.session.state.instruments["qty"][0] == 7  # the strategy wants to be long
            for n in range(9, 12):
                await rig.play(bar(n))
        [adopted] = rig.records(Adoption)
        assert (adopted.qty, adopted.operator) == (7, "me")  # type: ignore[attr-defined]

    run(work())
    replay(tmp_path / "journal", long_plan(8))


def test_an_adoption_that_is_not_possible_is_refused_with_the_reason(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        async with rig.running():
            await ready(rig)
            rig.control.ask(Request("a", "adopt", 1, strategy="nobody", reason="r"))
            refused = tmp_path / "control" / "inbox" / "refused"
            await rig.until(lambda: len(list(refused.glob("*.reason"))) == 1)
            [why] = refused.glob("*.reason")
            assert "does not have" in why.read_text()

    run(work())


def test_a_venue_that_confirms_nothing_is_modelled(tmp_path: Path) -> None:
    """E: orders go out once, fills are simulated, and what was not taken for certain halts."""
    plan = plan_of(FLAT, LONG, LONG, FLAT, FLAT, LONG, LONG)

    async def work() -> None:
        rig = Rig(tmp_path, plan)
        rig.twin.abilities = Abilities(confirms=False)
        async with rig.running() as live:
            await ready(rig)
            for n in range(5):
                await rig.play(bar(n))
            assert len(rig.twin.submitted) == 2
            assert [f.trade for f in rig.records(Fill)] == ["", ""]  # type: ignore[attr-defined]
            rig.twin.trouble = Once("submit", "after")
            await rig.play(bar(5))
            await rig.until(lambda: bool(live.session.state.account["killed"][0]))
        again = Rig(tmp_path, plan, exchange=rig.exchange)
        again.twin.abilities = Abilities(confirms=False)
        async with again.running() as live:
            assert live.session.state.account["killed"][0]
            assert again.twin.submitted == []

    run(work())
    replay(tmp_path / "journal", plan)


def test_what_is_paid_besides_trades_is_booked_once(tmp_path: Path) -> None:
    """I3: funding and fees of the day are cash like any other, also after a restart."""

    async def booked(rig: Rig, count: int) -> None:
        await rig.until(lambda: len(rig.records(Action)) == count)
        await rig.settled()
        assert rig.books_agree()

    async def work() -> None:
        rig = Rig(tmp_path, plan_of(FLAT, LONG, LONG))
        async with rig.running() as live:
            await rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
            await rig.play(bar(0), bar(1), bar(2))
            rig.exchange.pay(Decimal("-3.57"), "funding", "ABC")
            await booked(rig, 1)
            rig.exchange.pay(Decimal("0.25"), "interest")
            await booked(rig, 2)
        async with rig.running() as live:
            await rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
            rig.exchange.pay(Decimal("1.00"), "dividend")
            await booked(rig, 3)
            assert live.session.state.account["income"][0] == pytest.approx(-2.32)

    run(work())
    replay(tmp_path / "journal", plan_of(FLAT, LONG, LONG))


def test_a_venue_that_does_not_tell_its_payments_is_traded_on_and_says_so(tmp_path: Path) -> None:
    def trouble(call: str, _moment: str) -> None:
        if call == "payments":
            raise VenueUncertain("no permission")

    async def work() -> None:
        rig = Rig(tmp_path, plan_of(FLAT, LONG), trouble=trouble)
        async with rig.running() as live:
            await rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
            await rig.play(bar(0), bar(1), bar(2))
            assert live.session.state.instruments["qty"][0] == 1
        told = [q for q in rig.records(Quarantined) if q.reason == "payments_unknown"]  # type: ignore[attr-defined]
        assert len(told) == 1

    run(work())


def test_bars_after_a_gap_only_warm_up(tmp_path: Path) -> None:
    """D2: what was remembered before a gap must not open a trade after it."""

    async def work() -> None:
        rig = Rig(tmp_path, plan_of(FLAT, FLAT, LONG), warm_up_bars={"ABC": 3})
        async with rig.running() as live:
            await rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
            await rig.play(bar(0), bar(1))
        rig.exchange.advance(bar(8).ts)
        history = rig.feed.history

        async def unreachable(*_: object) -> list[Bar]:
            raise VenueUncertain("no answer")

        rig.feed.history = unreachable  # type: ignore[method-assign]
        async with rig.running() as live:
            await rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
            await rig.play(*(bar(n) for n in (9, 10, 11)))
            assert live.session.state.sleeves["target"][0] == 0
            assert [b.late for b in rig.records(Bar)[-3:]] == [True] * 3  # type: ignore[attr-defined]
            await rig.play(bar(12), bar(13))
            assert live.session.state.instruments["qty"][0] == 1
        rig.feed.history = history  # type: ignore[method-assign]

    run(work())
