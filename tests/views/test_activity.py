"""G6: the days of a session, counted from its records."""

from __future__ import annotations

from onefold.domain.records import (
    Bar,
    Command,
    Decision,
    Fill,
    Mandate,
    Order,
    OrderNotice,
    Quarantined,
    Record,
    Score,
    Signal,
)
from onefold.views.activity import Activity, Day

DAY_NS = 86_400_000_000_000


def bar(ts: int, *, late: bool = False) -> Bar:
    return Bar("ABC", ts, ts - 1, 1.0, 1.0, 1.0, 1.0, late=late)


def days(*records: Record) -> list[Day]:
    activity = Activity()
    for record in records:
        activity.see(record)
    return activity.days


def decided(blocked: list[str], purpose: str = "entry") -> Decision:
    return Decision(1, 5, "ABC", "s", purpose, 1, 1, 1.0, 1.0, None, 1.0, 0, [], [], blocked)


def command(what: str, reason: str = "", operator: str = "engine") -> Command:
    return Command(5, what, reason=reason, operator=operator)


def notice(order: int, what: str) -> OrderNotice:
    return OrderNotice(order, 5, "ABC", what)


def test_everything_is_counted_on_the_day_of_its_bar() -> None:
    first, second = days(
        bar(10),
        bar(11, late=True),
        Quarantined("ABC", 9 * DAY_NS, "nan"),
        Signal("ABC", "s", 11, 1),
        Score("ABC", 11, "m", 0.5),
        Score("ABC", 11, "m", None, "late"),
        decided([]),
        decided(["confidence", "risk"]),
        decided(["kill"], "signal"),
        Order(1, 11, "ABC", "s", "entry", 1, 1),
        Fill(1, 1, 11, "ABC", "s", 1, 1, 1.0),
        Mandate(3 * DAY_NS, 1, "conf_min", 0.6),
        bar(DAY_NS),
        bar(DAY_NS + 1),
        bar(DAY_NS - 5),
    )
    assert (first.bars, first.late, first.refused, first.signals) == (3, 1, 1, 1)
    assert (first.scores, first.missing_scores) == (2, 1)
    assert (first.entries, first.passed, first.blocked) == (2, 1, {"confidence": 1})
    assert (first.orders, first.fills, first.mandates) == (1, 1, 1)
    assert second.bars == 2, "an older bar belongs to the day under way"
    assert (second.day - first.day).days == 1


def test_an_order_is_lost_when_it_was_unknown_and_never_came() -> None:
    [day] = days(
        bar(10),
        notice(1, "unknown"),
        notice(1, "rejected"),
        notice(2, "unknown"),
        notice(2, "accepted"),
        notice(2, "rejected"),
        notice(3, "unknown"),
        Fill(1, 3, 11, "ABC", "s", 1, 1, 1.0),
        notice(3, "rejected"),
        notice(4, "rejected"),
    )
    assert (day.unknown, day.rejected, day.lost) == (3, 4, 1)


def test_a_switch_that_is_a_file_is_a_persons_stop() -> None:
    """The engine folds it; who put it there is not a failure of anything."""
    [day] = days(bar(10), command("kill", "file KILL: lunch"), command("kill", "order 3 is lost"))
    assert (day.stops, day.halts) == (["kill: file KILL: lunch"], ["kill: order 3 is lost"])


def test_halts_are_the_engines_and_stops_are_peoples() -> None:
    [day] = days(
        bar(10), command("kill", "feed"), command("flatten", "home", "me"), command("resume")
    )
    assert (day.halts, day.stops) == (["kill: feed"], ["flatten: home"])


def test_a_day_knows_whether_books_and_venue_agreed_at_its_end() -> None:
    first, second, third = days(
        command("unreconciled", "starting"),
        bar(10),
        command("reconciled"),
        bar(DAY_NS + 1),
        command("unreconciled", "positions differ"),
        bar(2 * DAY_NS + 1),
        command("reconciled"),
        command("unreconciled", "stopping"),
    )
    assert (first.reconciled, first.apart) == (True, 0)
    assert (second.reconciled, second.apart) == (False, 1)
    assert (third.reconciled, third.apart) == (False, 0)
    assert days(bar(1))[0].reconciled is None


def test_what_comes_before_the_first_bar_counts_to_its_day() -> None:
    [day] = days(Mandate(0, 1, "conf_min", 0.6), command("kill", "by hand"), bar(5 * DAY_NS))
    assert (day.day.isoformat(), day.mandates, day.halts) == ("1970-01-05", 1, ["kill: by hand"])


def test_a_session_that_is_stopped_stays_closed_until_it_is_resumed() -> None:
    first, second, third = days(
        bar(10),
        command("kill", "by hand", "me"),
        bar(DAY_NS + 1),
        bar(2 * DAY_NS + 1),
        command("resume", "looked", "me"),
    )
    assert (first.closed, second.closed, third.closed) == ("kill: by hand", "kill: by hand", "")


def test_bars_that_only_warm_up_are_no_evidence() -> None:
    first, second = days(
        bar(10, late=True),
        bar(11, late=True),
        bar(DAY_NS + 1),
        bar(DAY_NS + 2, late=True),
    )
    assert (first.bars, first.late) == (0, 0)
    assert (second.bars, second.late) == (2, 1)
