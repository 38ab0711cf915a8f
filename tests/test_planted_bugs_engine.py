"""Bugs that are planted in the live engine, and an existing test finds each.

See `test_planted_bugs.py`: here are those of the desk, the blotter and the session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import (
    test_blotter,
    test_control,
    test_live,
    test_live_closed,
    test_live_memory,
    test_live_trouble,
)
from onefold.domain import errors
from onefold.domain.records import Action, Bar, Cancel, Fill, Handover, Order, Record
from onefold.domain.venue import TradeReport
from onefold.engine.blotter import Blotter, Placed, refused
from onefold.engine.control import EVERYTHING, Control, Scope
from onefold.engine.desk import Desk
from onefold.engine.live import Live
from onefold.engine.succession import Estate
from planted import Bugs, Judge, Patch, Plant, finds, instead_of, judge_by, name_of

BUGS = Bugs()
found_by = BUGS.found_by


# -- the desk: what is sent, asked and compared ----------------------------------------------------


async def nothing(*_: Any) -> list[str]:
    return []


@found_by(test_live.test_an_order_that_is_not_found_halts_its_instrument)
def an_order_that_is_not_found_is_sent_again(patch: Patch) -> None:
    patch.setattr(Desk, "_miss", lambda self, one, _: self._spawn(self._submit(one.order)))


@found_by(test_live.test_an_order_that_is_not_found_halts_its_instrument)
def an_order_that_is_not_found_is_rejected(patch: Patch) -> None:
    patch.setattr(Desk, "_miss", lambda self, one, at: self._hand_in(refused(one.order, at, "")))


just_sent = test_live_trouble.test_a_resume_does_not_let_go_of_an_order_that_has_just_been_sent


@found_by(just_sent, strategy="s0")
def a_resume_lets_go_of_all_orders(patch: Patch) -> None:
    @instead_of(patch, Desk, "settle")
    async def settle(kept: Any, self: Desk, *scope: str) -> None:
        self._missing.update(placed.order.id for placed in self._blotter.open())
        await kept(self, "", "", *scope[2:])


@found_by(just_sent, strategy="s1")
def a_resume_lets_go_of_its_scope(patch: Patch) -> None:
    @instead_of(patch, Desk, "settle")
    async def settle(kept: Any, self: Desk, *scope: str) -> None:
        self._missing.update(placed.order.id for placed in self._blotter.open())
        await kept(self, *scope)


@found_by(test_live.test_nothing_is_sent_before_the_account_is_reconciled)
def no_answer_is_agreement(patch: Patch) -> None:
    @instead_of(patch, Desk, "_differences")
    async def differences(kept: Any, self: Desk) -> Any:
        try:
            return await kept(self)
        except errors.VenueError:
            return []


@found_by(test_live.test_a_position_that_we_do_not_know_halts_the_account)
def positions_are_not_compared(patch: Patch) -> None:
    patch.setattr(Desk, "_position_differences", nothing)


@found_by(test_live_memory.test_an_order_that_is_not_ours_stops_the_account)
def foreign_orders_are_not_looked_at(patch: Patch) -> None:
    @instead_of(patch, Desk, "_differences")
    async def differences(kept: Any, self: Desk) -> list[str]:
        return [found for found in await kept(self) if "that is not ours" not in found]


@found_by(test_live_memory.test_a_stop_that_the_venue_has_cancelled_is_missed, how="down")
def an_order_that_is_gone_is_not_asked_for(patch: Patch) -> None:
    @instead_of(patch, Desk, "_differences")
    async def differences(kept: Any, self: Desk) -> Any:
        self._under_way.update(placed.order.id for placed in self._blotter.open())
        return await kept(self)


@found_by(test_live_memory.test_what_is_unknown_is_asked_for_before_all_can_be_compared)
def a_start_does_not_ask_for_orders(patch: Patch) -> None:
    @instead_of(patch, Desk, "start")
    def start(kept: Any, self: Desk) -> None:
        with patch.context() as at_the_start:
            at_the_start.setattr(self, "_ask", lambda _: None)
            kept(self)


@found_by(test_live_closed.test_nothing_leaves_before_books_and_venue_have_been_compared)
def bars_do_not_wait_for_the_comparison(patch: Patch) -> None:
    async def at_once(self: Live) -> None:
        assert self.desk is not None
        self.desk.start()
        self.desk.compared.set()

    patch.setattr(Live, "_compare_first", at_once)


@found_by(test_live_closed.test_an_order_that_comes_back_from_the_dead_is_cancelled)
def an_order_back_from_the_dead_is_let_live(patch: Patch) -> None:
    patch.setattr(Desk, "_revenants", nothing)


@found_by(test_live_closed.test_a_cancel_that_was_lost_is_asked_for_until_the_order_is_over)
def a_cancel_is_asked_for_once(patch: Patch) -> None:
    patch.setattr(Desk, "_cancel_again", nothing)


def _cancels_go(patch: Patch, way: Callable[[Desk, Cancel], object]) -> None:
    @instead_of(patch, Desk, "take")
    def take(kept: Any, self: Desk, instructions: Iterable[Order | Cancel]) -> None:
        for one in instructions:
            kept(self, [one]) if isinstance(one, Order) else way(self, one)


@found_by(test_live_closed.test_a_cancel_does_not_wait_behind_a_call_that_hangs)
def cancels_wait_behind_orders(patch: Patch) -> None:
    _cancels_go(patch, lambda desk, cancel: desk._lanes[cancel.instrument].put_nowait(cancel))


@found_by(test_live_closed.test_an_order_waits_for_the_cancel_before_it)
def orders_do_not_wait_for_cancels(patch: Patch) -> None:
    _cancels_go(patch, lambda desk, cancel: desk._spawn(desk._cancel(cancel)))


@found_by(test_live.test_a_clock_that_differs_allows_only_reductions)
def the_clock_is_not_compared(patch: Patch) -> None:
    patch.setattr(Desk, "_check_clock", nothing)


# -- the blotter: each trade and payment once ------------------------------------------------------


@found_by(test_blotter.test_a_trade_that_an_earlier_journal_knew_is_nothing_new)
def trades_are_forgotten_at_a_handover(patch: Patch) -> None:
    kept = Blotter.left_over
    patch.setattr(Blotter, "left_over", lambda self: {**kept(self), "trades": []})


@found_by(test_live_trouble.test_a_fill_after_its_cancel_does_not_close_the_account_for_ever)
def a_fill_after_the_cancel_is_dropped(patch: Patch) -> None:
    @instead_of(patch, Blotter, "_traded")
    def traded(kept: Any, self: Blotter, one: Placed, *report: Any) -> Any:
        return kept(self, one, *report) if one.is_open else []


@found_by(
    test_blotter.test_what_cannot_be_is_set_aside_with_a_reason,
    facts={"side": -1},
    reason="impossible_trade",
)
def a_trade_of_the_wrong_side_counts(patch: Patch) -> None:
    @instead_of(patch, Blotter, "_traded")
    def traded(kept: Any, self: Blotter, one: Placed, report: TradeReport, now_ts: int) -> Any:
        return kept(self, one, msgspec.structs.replace(report, side=one.order.side), now_ts)


@found_by(test_live.test_what_is_paid_besides_trades_is_booked_once)
def payments_are_booked_again(patch: Patch) -> None:
    @instead_of(patch, Blotter, "remember")
    def remember(kept: Any, self: Blotter, record: Record) -> None:
        if not isinstance(record, Action):
            kept(self, record)


@found_by(test_live_memory.test_what_was_filled_beyond_an_order_is_booked_and_closes_the_account)
def what_was_filled_beyond_an_order_is_cut_off(patch: Patch) -> None:
    @instead_of(patch, Blotter, "_traded")
    def traded(kept: Any, self: Blotter, one: Placed, *report: Any) -> Any:
        fill, *others = kept(self, one, *report) or [None]
        if isinstance(fill, Fill):
            fill = msgspec.structs.replace(fill, qty=min(fill.qty, one.left))
        return [fill, *others] if fill else []


# -- the session: switches, bars and the last look -------------------------------------------------

TREND = Scope("trend", "ES")


@found_by(test_live.test_the_last_look_stops_what_the_fold_had_let_pass)
def the_last_look_is_left_out(patch: Patch) -> None:
    patch.setattr(Desk, "_leaving", lambda *_: None)


@found_by(test_control.test_a_switch_covers_its_scope, scope=TREND, stopped={TREND})
def only_the_global_switch_is_looked_at(patch: Patch) -> None:
    @instead_of(patch, Control, "look")
    def look(kept: Any, self: Control, order: Order) -> None:
        if EVERYTHING in self.switches():
            kept(self, order)


@found_by(test_control.test_a_folder_that_cannot_be_read_is_a_switch_that_is_on)
def a_control_folder_that_is_gone_stops_nothing(patch: Patch) -> None:
    @instead_of(patch, Control, "switches")
    def switches(kept: Any, self: Control) -> dict[Scope, str]:
        return kept(self) if Path(self._folder).is_dir() else {}


@found_by(test_live.test_a_kill_cancels_what_works_and_outlives_the_process)
def a_start_lifts_the_kill_switch(patch: Patch) -> None:
    @instead_of(patch, Live, "run")
    async def run(kept: Any, self: Live, *, killed: str = "") -> None:
        self._control.release(EVERYTHING)
        self._apply([self._own_command("resume", "a new start")])
        await kept(self, killed=killed)


@found_by(test_live_trouble.test_an_entry_does_not_leave_once_the_account_is_closed)
def entries_leave_while_the_account_is_closed(patch: Patch) -> None:
    patch.setattr(Live, "is_closed", lambda _: False)


@found_by(test_live_closed.test_an_entry_that_was_decided_long_ago_does_not_leave)
def an_entry_never_grows_old(patch: Patch) -> None:
    @instead_of(patch, Live, "look")
    def look(kept: Any, self: Live, order: Order) -> None:
        kept(self, msgspec.structs.replace(order, ts=self._now()))


def in_time(record: Any) -> Any:
    return msgspec.structs.replace(record, late=False) if isinstance(record, Bar) else record


@found_by(test_live.test_a_late_bar_is_not_traded_on)
def late_bars_are_traded_on(patch: Patch) -> None:
    kept = Live._timed
    patch.setattr(Live, "_timed", lambda *of: in_time(kept(*of)))


@found_by(test_live.test_what_is_not_ready_is_listed)
def bars_of_the_past_are_traded_on(patch: Patch) -> None:
    kept = Live.hand_in
    patch.setattr(Live, "hand_in", lambda self, record: kept(self, in_time(record)))


@found_by(test_live.test_bars_after_a_gap_only_warm_up)
def a_gap_is_traded_over(patch: Patch) -> None:
    patch.setattr(Live, "_is_cold", lambda *_: False)


# -- the session: what it remembers ---------------------------------------------------------------


class Forgetful(set[str]):
    def __contains__(self, _: object) -> bool:
        return False


carried_out_once = test_live_memory.test_a_request_is_carried_out_once


@found_by(carried_out_once, is_edited=False)
def a_request_is_carried_out_again_and_again(patch: Patch) -> None:
    @instead_of(patch, Live, "__init__")
    def init(kept: Any, self: Live, *args: Any, **options: Any) -> None:
        kept(self, *args, **options)
        self._carried_out = Forgetful()


@found_by(carried_out_once, is_edited=False)
def a_restart_forgets_what_was_carried_out(patch: Patch) -> None:
    @instead_of(patch, Live, "remember")
    def remember(kept: Any, self: Live, record: object) -> None:
        known = set(self._carried_out)
        kept(self, record)
        self._carried_out = known


def _handed_over_without(patch: Patch, **forgotten: Any) -> None:
    @instead_of(patch, Estate, "handover")
    def handover(kept: Any, self: Estate, *end: Any) -> Handover:
        return msgspec.structs.replace(kept(self, *end), **forgotten)


@found_by(carried_out_once, is_edited=True)
def a_handover_forgets_what_was_carried_out(patch: Patch) -> None:
    _handed_over_without(patch, requests=[])


@found_by(test_live_memory.test_a_mandate_is_in_force_under_the_next_configuration)
def a_handover_forgets_mandates(patch: Patch) -> None:
    _handed_over_without(patch, mandates=[])


@found_by(test_live_memory.test_parts_of_lots_are_known_under_the_next_configuration)
def a_handover_forgets_parts_of_lots(patch: Patch) -> None:
    _handed_over_without(patch, parts={})


def _a_second_handover_without(patch: Patch, field: str) -> None:
    @instead_of(patch, Estate, "remember")
    def remember(kept: Any, self: Estate, record: Record) -> None:
        lost = isinstance(record, Handover)
        kept(self, msgspec.structs.replace(record, **{field: []}) if lost else record)


@found_by(carried_out_once, is_edited=True)
def a_second_handover_forgets_what_was_carried_out(patch: Patch) -> None:
    _a_second_handover_without(patch, "requests")


@found_by(test_live_memory.test_a_mandate_is_in_force_under_the_next_configuration)
def a_second_handover_forgets_mandates(patch: Patch) -> None:
    _a_second_handover_without(patch, "mandates")


@found_by(test_live_memory.test_a_halt_of_the_engine_outlives_its_journal)
def a_halt_leaves_no_file(patch: Patch) -> None:
    patch.setattr(Live, "_hold", lambda *_: None)


# -- with its bug each test fails, and without it none does ---------------------------------------


@pytest.mark.parametrize("test", dict.fromkeys(BUGS.values()), ids=name_of)
def test_without_a_bug_each_test_passes(tmp_path: Path, monkeypatch: Patch, test: Judge) -> None:
    judge_by(test, tmp_path, monkeypatch)


@pytest.mark.parametrize("bug", BUGS, ids=name_of)
def test_a_planted_bug_is_found(tmp_path: Path, monkeypatch: Patch, bug: Plant) -> None:
    finds(BUGS[bug], bug, tmp_path, monkeypatch)
