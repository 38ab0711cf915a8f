"""What is told of a session: trades with the P&L of the books, stops, troubles, the day."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from onefold.adapters.files import FileConfig, load
from onefold.data import sample_path
from onefold.domain.convert import to_records
from onefold.domain.instruments import Instrument
from onefold.domain.records import (
    Action,
    Adoption,
    Bar,
    Command,
    Decision,
    OrderNotice,
    Quarantined,
    Score,
)
from onefold.journal import Journal
from onefold.ops import notices
from onefold.ops.channels import KINDS
from onefold.ops.notices import Level, Notices, plain
from onefold.signals import strategy
from onefold.sim.plan import Placement, Plan
from random_worlds import worlds
from support import (
    DAY_NS,
    FLAT,
    LONG,
    SHORT,
    START_NS,
    Scripted,
    World,
    account_of,
    at,
    bar,
    bars_of,
    future,
    rules_of,
    share,
    today,
    world,
)

from .hearing import Heard, agree, closed_of, fill, heard_feed, live_world, two_bars_long

# -- trades: what is told is what the books say ---------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds())
def test_exits_are_the_trades_of_the_views(one: World) -> None:
    heard = Heard(one)
    heard.session.run(one.feed())
    agree(heard.of("exit"), closed_of(heard.session))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(rows=40))
def test_exits_after_a_restart_are_the_trades_of_the_views(one: World) -> None:
    """What was held when the process ended is told with all that it has made, fees included."""
    feed = one.feed()
    whole, heard = Heard(one), Heard(one)
    whole.session.run(feed)
    half = len(feed) // 2
    heard.on(*feed[:half])
    told = len(heard.of("exit"))
    heard.notices = Notices("paper", heard.session)
    heard.on(*feed[half:])
    after, wanted = heard.of("exit")[told:], whole.of("exit")[told:]
    assert len(after) == len(wanted)
    for mine, theirs in zip(after, wanted, strict=True):
        assert mine.facts["pnl"] == pytest.approx(theirs.facts["pnl"], rel=1e-9, abs=1e-6)
        for name in ("strategy", "symbol", "side", "reason"):
            assert mine.facts[name] == theirs.facts[name]


def real() -> tuple[Plan, list[Bar]]:
    """Return two strategies on the sample of real days, the second both ways."""
    index = Instrument.model_validate({"symbol": "SPX", "kind": "index", "commission_bps": 2.0})
    bars = load(FileConfig(path=sample_path("sp500"), instrument=index)).bars
    resting = rules_of(
        sizing={"kind": "fixed", "lots": 7}, exits={"stop": 0.02, "take": 0.03, "resting": True}
    )
    placements = (
        Placement("cross", strategy("crossover", fast=5, slow=20, short=True), resting, ("SPX",)),
        Placement("revert", strategy("mean_reversion"), rules_of(), ("SPX",)),
    )
    account = account_of(cash=1e6, costs={"slippage_bps": 1.0, "volume_share": 1.0})
    plan = Plan(account, (index,), placements, (DAY_NS,))
    return plan, list(to_records(bars.slice(0, 1_500), "SPX"))


def test_real_days_with_costs_and_partial_fills(tmp_path: Path) -> None:
    """Through a real restart, which goes through the journal again and tells nothing twice."""
    plan, bars = real()
    one = World(plan, {}, [])
    with Journal.open(tmp_path / "j", mode="relaxed", today=today) as journal:
        first = Heard(one, journal=journal)
        first.session.run(bars[:777])
    assert first.session.state.instruments["qty"][0] != 0, "something is held"
    with Journal.open(tmp_path / "j", mode="relaxed", today=today) as journal:
        second = Heard(one, journal=journal)
        assert second.all == []
        second.session.run(bars)
    trades = closed_of(second.session)
    told = [*first.of("exit"), *second.of("exit")]
    assert len(told) == len(trades) > 50
    assert {t["side"] for t in trades} == {"long", "short"}
    assert {t["exit_reason"] for t in trades} >= {"stop", "take", "signal"}
    pnl = sum(n.facts["pnl"] for n in told)
    assert pnl == pytest.approx(sum(t["pnl"] for t in trades), rel=1e-9)
    for mine, theirs in zip(
        sorted(told, key=lambda n: (n.ts, n.facts["strategy"])),
        sorted(trades, key=lambda t: (t["exit_time"], t["strategy"])),
        strict=True,
    ):
        assert mine.facts["pnl"] == pytest.approx(theirs["pnl"], rel=1e-9, abs=1e-9)
        assert mine.facts["pnl_percent"] == pytest.approx(theirs["pnl_percent"], rel=1e-9)


@pytest.mark.parametrize("side", [LONG, SHORT])
def test_splits_rolls_and_fees_are_in_the_profit(side: int) -> None:
    one = world(
        Scripted(side=(side, side, side, side, FLAT)),
        bars_of([100.0, 101.0, 50.5, 52.0, 53.0, 54.0, 55.0], symbol="FUT"),
        instruments=(future(commission=2.0),),
        rules=rules_of(sizing={"kind": "fixed", "lots": 3}),
        inputs=[Action(at(1.5), "split", 2.0, "FUT"), Action(at(2.5), "roll", 1.5, "FUT")],
    )
    heard = Heard(one)
    heard.on(*one.feed())
    [told] = heard.of("exit")
    assert told.facts["lots"] == 6
    # 3 lots at 101 are 6 at 50.5, and after the roll at 52; left at 54, of 50 a point.
    assert told.facts["pnl"] == pytest.approx(side * 6 * 2.0 * 50.0 - told.facts["fees"])
    assert told.facts["fees"] == pytest.approx(3 * 2.0 + 6 * 2 * 2.0 + 6 * 2.0)
    agree([told], closed_of(heard.session))


def test_a_handover_goes_on_with_what_the_trade_has_made(tmp_path: Path) -> None:
    paid = share(commission=1.0)
    one = two_bars_long(LONG, LONG, LONG, FLAT, instruments=(paid,))
    feed = one.feed()
    with Journal.open(tmp_path / "a", mode="relaxed", today=today) as journal:
        before = Heard(one, journal=journal)
        before.on(*feed[:3])
        before.session.commit()
        left = before.estate.handover(before.session, tmp_path / "a", at(2) + 1)
    assert left.sleeves["s/ABC"]["qty"] == 1
    with Journal.open(tmp_path / "b", mode="relaxed", today=today) as journal:
        heir = Heard(one, journal=journal, handover=left)
        heir.on(*feed[3:])
    [told] = heir.of("exit")
    # Bought at 101, sold at 104, and a fee each way, of which the first journal paid one.
    assert told.facts["pnl"] == pytest.approx(3.0 - 2.0)
    [theirs] = closed_of(heir.session)
    assert theirs["pnl"] + left.sleeves["s/ABC"]["trade_pnl"] == pytest.approx(told.facts["pnl"])
    assert told.facts["seconds"] == 180.0


def test_what_a_person_reads_of_a_trade() -> None:
    heard = Heard(
        two_bars_long(LONG, LONG, FLAT, rules=rules_of(sizing={"kind": "fixed", "lots": 5}))
    )
    heard.on(*heard_feed(heard))
    entry, exit_ = heard.all
    assert (entry.kind, entry.title, entry.text) == (
        "entry",
        "s bought 5 ABC at 101",
        "It holds +5 lots now.",
    )
    assert exit_.kind == "exit"
    assert exit_.title == "s closed ABC: +10.00 USD (+1.98 %)"
    assert exit_.text == (
        "Long 5 lots, entered at 101, left at 103 after 2 min: signal. Fees 0.00 USD."
    )
    assert {n.level for n in heard.all} == {Level.INFO}


def test_a_short_is_sold_and_bought_back() -> None:
    heard = Heard(two_bars_long(SHORT, SHORT, FLAT))
    heard.on(*heard_feed(heard))
    entry, exit_ = heard.all
    assert entry.title == "s sold 1 ABC at 101"
    assert exit_.title == "s closed ABC: -2.00 USD (-1.98 %)"
    assert exit_.facts["side"] == "short"


def test_partial_fills_are_told_in_sum() -> None:
    heard = live_world(LONG, LONG, LONG, FLAT, FLAT, FLAT)
    bars = heard_feed(heard)
    heard.on(bars[0])
    assert heard.on(fill(1, 1, 1, 3, 101.0, 0.1), fill(2, 1, 1, 3, 102.0, 0.2)) == []
    [first] = heard.on(bars[1])
    assert first.title == "s bought 6 ABC at 101.5"
    assert first.text == "It holds +6 lots now."
    [rest] = heard.on(fill(3, 1, 1, 4, 103.0, 1.1))
    assert rest.title == "s bought 4 ABC at 103"
    heard.on(bars[2], bars[3])
    assert heard.on(fill(4, 2, -1, 4, 110.0, 3.1)) == []
    [part] = heard.on(bars[4])
    assert part.kind == "part"
    # The average cost is 102.1; the exit's share of the fee is 0.5.
    assert part.facts["pnl"] == pytest.approx(4 * (110.0 - 102.1) - 0.5)
    assert part.title == "s sold 4 ABC at 110"
    assert part.text == "Part of an exit (signal): +31.10 USD. It holds +6 lots now."
    [whole] = heard.on(fill(5, 2, -1, 6, 100.0, 4.1))
    assert whole.kind == "exit"
    assert whole.facts["pnl"] == pytest.approx(4 * 110.0 + 6 * 100.0 - 1021.0 - 2.5)
    assert whole.facts["lots"] == 10
    agree([whole], closed_of(heard.session))


def test_an_order_that_is_gone_tells_what_had_filled() -> None:
    heard = live_world(LONG, LONG)
    heard.on(heard_feed(heard)[0], fill(1, 1, 1, 3, 101.0, 0.1))
    [told] = heard.on(OrderNotice(1, at(0.2), "ABC", "cancelled"))
    assert (told.kind, told.facts["lots"]) == ("entry", 3)


def test_an_order_that_was_rejected_is_told_with_the_venues_words() -> None:
    heard = live_world(LONG, LONG)
    heard.on(heard_feed(heard)[0])
    [told] = heard.on(OrderNotice(1, at(0.2), "ABC", "rejected", "no <@everyone> margin"))
    assert (told.kind, told.level) == ("rejected", Level.WARNING)
    assert told.title == "ABC: an order of s (entry) was rejected"
    assert told.text == plain("no <@everyone> margin") != "no <@everyone> margin"


def test_more_than_was_ordered_is_an_emergency() -> None:
    heard = live_world(LONG, LONG)
    heard.on(heard_feed(heard)[0])
    told = heard.on(fill(1, 1, 1, 12, 101.0, 0.1))
    assert [n.kind for n in told] == ["entry", "apart"]
    assert told[1].level is Level.EMERGENCY


def test_a_fill_that_turns_a_position_round_ends_one_trade_and_begins_another() -> None:
    heard = live_world(LONG, FLAT)
    bars = heard.world.feed()
    heard.on(bars[0], fill(1, 1, 1, 10, 101.0, 0.1), bars[1])
    told = heard.on(fill(2, 2, -1, 20, 103.0, 1.1))
    assert [n.kind for n in told] == ["exit", "entry", "apart"]
    assert told[0].facts["pnl"] == pytest.approx(20.0 - 0.5 - 0.25)  # half of the second fee
    assert told[1].facts["held"] == -10
    agree([told[0]], closed_of(heard.session))


def test_lots_that_were_taken_over() -> None:
    heard = live_world(FLAT, FLAT)
    heard.on(heard_feed(heard)[0])
    told = heard.on(Adoption(at(0.5), "ABC", "s", 4, 99.0, "bought by hand", "ann"))
    assert [n.kind for n in told] == ["adopt"]
    assert told[0].title == "s took over +4 ABC"
    assert told[0].text == "At 99, by ann: bought by hand"
    told = heard.on(Adoption(at(0.6), "ABC", "s", -4, 100.0, "sold by hand", "ann"))
    assert [n.kind for n in told] == ["adopt", "exit"]
    assert told[1].facts["pnl"] == pytest.approx(4.0)


# -- stops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "level", "title"),
    [
        ("kill", Level.EMERGENCY, "kill: s/ABC, by ann"),
        ("flatten", Level.EMERGENCY, "flatten: s/ABC, by ann"),
        ("reduce_only", Level.WARNING, "reduce only: s/ABC, by ann"),
        ("resume", Level.WARNING, "resume: s/ABC, by ann"),
        ("reset", Level.WARNING, "reset: s/ABC, by ann"),
    ],
)
def test_what_people_order_is_told_with_who_and_why(command: str, level: Level, title: str) -> None:
    heard = live_world(FLAT)
    [told] = heard.on(Command(at(0), command, "s", "ABC", "looked at it", "ann", "1"))
    assert (told.kind, told.level, told.title) == (command, level, title)
    assert told.text == "Reason: looked at it"


def test_a_kill_switch_that_is_a_file_is_a_persons() -> None:
    [told] = live_world(FLAT).on(
        Command(at(0), "kill", reason="file KILL: fire", operator="engine")
    )
    assert (told.kind, told.title) == ("kill", "kill: everything, by a file")


def test_what_the_engine_stops_by_itself_is_a_halt() -> None:
    heard = live_world(FLAT)
    [told] = heard.on(Command(at(0), "kill", "", "ABC", "order 3 is unknown", "engine"))
    assert (told.kind, told.level) == ("halt", Level.EMERGENCY)
    assert told.text == "kill of ABC: order 3 is unknown"
    [told] = heard.on(
        Command(at(0), "reduce_only", reason="parameters: altered", operator="engine")
    )
    assert told.kind == "halt"


def test_books_and_venue_apart_and_together() -> None:
    heard = live_world(FLAT)
    assert heard.on(Command(at(0), "unreconciled", reason="starting", operator="engine")) == []
    assert heard.on(Command(at(0), "reconciled", operator="engine")) == []
    [apart] = heard.on(
        Command(at(0), "unreconciled", reason="ABC: 3 here, 4 there", operator="engine")
    )
    assert (apart.kind, apart.level, apart.text) == (
        "apart",
        Level.EMERGENCY,
        "ABC: 3 here, 4 there",
    )
    [again] = heard.on(Command(at(0), "reconciled", operator="engine"))
    assert (again.kind, again.level) == ("apart", Level.INFO)


def test_a_limit_that_is_hit_is_told_once_and_at_once() -> None:
    one = world(
        Scripted(side=(LONG,)),
        bars_of([100.0, 100.0, 80.0, 70.0, 60.0]),
        rules=rules_of(sizing={"kind": "fraction", "fraction": 0.9}),
        account=account_of(limits={"daily_loss": 0.1, "drawdown": 0.25}),
    )
    heard = Heard(one)
    assert [[n.text for n in heard.on(r) if n.kind == "halt"] for r in one.feed()] == [
        [],
        [],
        ["the day's loss limit was hit; nothing is entered until tomorrow"],
        ["the drawdown limit was hit; nothing is entered until a reset"],
        [],
    ]


def test_a_strategy_that_fills_too_often_is_told_of() -> None:
    rules = rules_of(gates={"repeat_max": 2, "repeat_window_s": 86_400, "rearm": False})
    heard = Heard(two_bars_long(LONG, FLAT, LONG, FLAT, LONG, rules=rules))
    heard.on(*heard_feed(heard))
    [told] = heard.of("halt")
    assert told.title == "s is stopped"
    assert told.facts["strategy"] == "s"
    assert heard.on(Command(at(9), "reset", operator="ann")) != []
    assert len(heard.of("halt")) == 1


def test_a_model_is_told_of_when_it_is_silent_and_when_it_speaks_again() -> None:
    hear = Heard(two_bars_long(FLAT)).notices.hear
    told = [hear(Score("ABC", at(n), "m@1", None, "late")) for n in range(5)]
    assert [len(t) for t in told] == [0, 0, 1, 0, 0]
    assert (told[2][0].kind, told[2][0].title) == (
        "model",
        "model m\N{FULLWIDTH COMMERCIAL AT}1 gives no scores",
    )
    [again] = hear(Score("ABC", at(6), "m@1", 0.5))
    assert (again.kind, again.level) == ("model", Level.INFO)
    assert hear(Score("ABC", at(7), "m@1", None, "late")) == []


# -- the day --------------------------------------------------------------------------------------


def test_the_day_is_told_when_the_bars_of_the_next_one_come() -> None:
    hours = 3_600_000_000_000
    rows = [100.0, 100.0, 110.0, 105.0, 95.0, 96.0, *[97.0] * 18, 98.0, *[99.0] * 24]
    # Long for a profit, short for a profit, long for a loss; then nothing may be entered.
    sides = (LONG, FLAT, SHORT, FLAT, LONG, FLAT, *[FLAT] * 18, FLAT)
    sides = (LONG, FLAT, SHORT, FLAT, LONG, *[LONG] * 19)
    one = world(
        Scripted(side=sides, step_ns=hours, start=at(0, hours)),
        [bar(n, price, step_ns=hours) for n, price in enumerate(rows)],
        rules=rules_of(gates={"orders_per_day": 3, "rearm": False}),
        instruments=(share(commission=0.25),),
        interval_ns=hours,
    )
    heard = Heard(one)
    curve: dict[int, float] = {}
    for record in one.feed():
        heard.on(record)
        if isinstance(record, Bar):
            curve[notices.day_of(record.ts)] = float(heard.session.state.account["equity"][0])
    days = heard.of("summary")
    assert [n.facts["date"] for n in days] == ["2020-01-02", "2020-01-03"]
    first, second = days
    ends = list(curve.values())
    assert first.facts["pnl"] == pytest.approx(ends[0] - 100_000.0)
    assert second.facts["pnl"] == pytest.approx(ends[1] - ends[0])
    trades = closed_of(heard.session)
    of_first = [t for t in trades if t["exit_time"].day == 2]
    assert first.facts["won"] == sum(t["pnl"] > 0 for t in of_first)
    assert first.facts["lost"] == sum(t["pnl"] < 0 for t in of_first)
    assert first.facts["closed"] == len(of_first) >= 2
    assert first.facts["whole"] is False
    assert second.facts["whole"] is True
    rows_ = heard.session.result().outcome.fills
    paid = rows_["fee"][rows_["ts"] <= START_NS + DAY_NS].sum()
    assert first.facts["fees"] == pytest.approx(paid)


def test_the_days_gates_and_failures() -> None:
    one = two_bars_long(LONG, LONG)
    heard = Heard(one)
    heard.on(bar(0))
    blocked = [("exposure", 5), ("cool_down", 3), ("loss_streak", 2), ("session", 1)]
    for gate, count in blocked:
        for _ in range(count):
            heard.notices.hear(decision(gate))
    heard.notices.hear(Quarantined("ABC", at(1), "nan"))
    heard.notices.hear(Score("ABC", at(1), "m", None, "late"))
    heard.notices.hear(Command(at(1), "kill", reason="x", operator="engine"))
    [told] = [n for n in heard.notices.hear(bar(24 * 60)) if n.kind == "summary"]
    assert told.facts["gates"] == {"exposure": 5, "cool_down": 3, "loss_streak": 2}
    assert told.facts["failures"] == {"bars refused": 1, "scores missing": 1, "halts": 1}
    assert "Entries blocked: exposure 5, cool_down 3, loss_streak 2." in told.text
    assert "Failures: bars refused 1, halts 1, scores missing 1." in told.text


def decision(gate: str) -> Decision:
    return Decision(
        1, at(0), "ABC", "s", "entry", 1, 1, 100.0, 1.0, None, 1e5, 0, [], [], [gate, "other"]
    )


def test_history_neither_begins_nor_ends_a_day() -> None:
    heard = Heard(two_bars_long(FLAT))
    heard.on(bar(0, late=True), bar(3 * 24 * 60, late=True), bar(5 * 24 * 60))
    assert heard.of("summary") == []
    heard.on(bar(6 * 24 * 60))
    [told] = heard.of("summary")
    assert told.facts["date"] == "2020-01-07"


# -- the account, and what comes from outside -----------------------------------------------------


def test_lines_of_the_engine_are_told_unless_its_records_do() -> None:
    kinds = {
        "no bar of ABC for 7 bars": "feed",
        "strategy trend does not trade: its model has expired": "model",
        "something that nobody thought of": "engine",
    }
    for line, kind in kinds.items():
        told = notices.said("paper", line, 1)
        assert told is not None
        assert (told.kind, told.title, told.level) == (kind, line, Level.WARNING)
    for command in ("kill ABC (by ann): fire", "reduce only: parameters", "stopping", "resume: ok"):
        assert notices.said("paper", command, 1) is None


def test_the_account_itself() -> None:
    status = {"equity": 1234.5, "positions": {"ABC": -3}, "totals": {"pnl_today": -2.0}}
    assert notices.started("paper", "live", status, 1).text == (
        "Mode live, equity 1,234.50, positions ABC -3."
    )
    assert notices.stopped("paper", status, 1).text == (
        "Equity 1,234.50, today -2.00, positions ABC -3."
    )
    failed = notices.failed("paper", RuntimeError("disk is full"), 1)
    assert (failed.kind, failed.level, failed.text) == ("failed", Level.EMERGENCY, "disk is full")
    assert notices.waiting("paper", OSError("no route"), 1).level is Level.WARNING


@pytest.mark.parametrize(
    "text",
    [
        "@everyone", "@here", "<@123>", "<!channel>", "<#C123>", "[pay](https://evil.example)",
        "**bold** ~~gone~~ ||spoiler|| `code`", "<b>html</b>", "https://evil.example/x",
        "# heading", "> quote", "\\@here", "a\x00b\x1b[31m\u202eevil\u2066", "<https://evil|bank>",
    ],
)  # fmt: skip
def test_text_from_outside_is_plain(text: str) -> None:
    said = plain(f"{text}\n{text}")
    assert not set(said) & set("@<>[]`*~|\\#\n\r")
    assert "://" not in said
    assert said.isprintable()
    assert len(plain(text * 200)) == notices.OUTSIDE_MAX


def test_every_kind_is_in_the_list() -> None:
    text = Path(notices.__file__).read_text(encoding="utf-8")
    assert {kind for kind in KINDS if f'"{kind}"' not in text} <= {"test"} | COMMAND_KINDS


COMMAND_KINDS = {"kill", "flatten", "reduce_only", "resume", "reset"}


def test_durations() -> None:
    said = {
        0: "0 s",
        59.4: "59 s",
        60: "1 min",
        3_661: "1 h 1 min",
        90_000: "1 d 1 h",
        86_405: "1 d 5 s",
    }
    assert {s: notices.lasting(s) for s in said} == said
