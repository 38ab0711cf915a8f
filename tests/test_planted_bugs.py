"""What the tests are worth: known bugs are planted in the product, and an existing test finds each.

A test that never fails proves nothing. So here every bug that could cost money (a sync that is
skipped, a lock that is ignored, an order that is sent again, a loss that is forgotten) is put into
the code, one at a time, and the test that promises its absence is called and has to fail. The same
test is called without the bug as well, and has to pass. More bugs are planted in a session's whole
life (`engine/test_live_simulation.py`) and in a venue (`venues/test_twin.py`); those of the live
engine are in `test_planted_bugs_engine.py`.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import filelock
import msgspec
import pytest

from adapters import test_alpaca_http, test_calls
from app import test_live_accounts, test_live_process
from domain import test_sanitise
from engine import (
    test_instance,
    test_kill,
    test_live,
    test_live_closed,
    test_session,
    test_succession,
)
from fold import test_handover, test_limits
from journal import test_recovery, test_segments, test_writer
from onefold.adapters.alpaca import http
from onefold.adapters.calls import Calls
from onefold.app import live, main
from onefold.app.live import Account
from onefold.domain import errors, sanitise
from onefold.domain.records import Command, Record
from onefold.engine import instance
from onefold.engine.instance import Instance
from onefold.engine.live import Live
from onefold.engine.recorder import Recorder
from onefold.engine.session import Session
from onefold.fold import codec, handover
from onefold.fold.codec import Inbox
from onefold.journal import Journal, lines, reader
from onefold.journal.segments import GENESIS, Head, SegmentScan, Tail, list_segments
from planted import Bugs, Judge, Patch, Plant, finds, instead_of, judge_by, name_of
from support import LONG, Scripted, account_of, at, bars_of, world

BUGS = Bugs()
found_by = BUGS.found_by


# -- the journal: record before acting, and believe only what is sealed ---------------------------


@found_by(test_writer.test_a_commit_is_one_write_and_one_sync)
def a_commit_is_not_synced(patch: Patch) -> None:
    @instead_of(patch, Journal, "_write")
    def write(kept: Any, self: Journal, *args: Any) -> None:
        self.mode = "relaxed"
        kept(self, *args)
        self.mode = "durable"


@found_by(test_recovery.test_pages_lost_by_a_failed_sync_are_not_believed_after_a_restart)
def a_failed_write_is_swallowed(patch: Patch) -> None:
    @instead_of(patch, Journal, "_write")
    def write(kept: Any, self: Journal, *args: Any) -> None:
        try:
            kept(self, *args)
        except OSError:
            self._head = Head(self._head.seq + len(self._buffered), self._head.hash)


@found_by(test_session.test_a_halted_journal_sends_nothing)
def a_failed_commit_is_tried_again(patch: Patch) -> None:
    def halt(self: Journal, reason: str) -> None:
        self._halted = reason

    patch.setattr(Journal, "_halt", halt)


@found_by(test_recovery.test_pages_lost_by_a_failed_sync_are_not_believed_after_a_restart)
def the_page_cache_is_believed(patch: Patch) -> None:
    patch.setattr("onefold.journal.recovery._settled_segments", list_segments)


@found_by(test_recovery.test_torn_tail_is_quarantined_and_reported)
def a_torn_tail_is_kept(patch: Patch) -> None:
    patch.setattr("onefold.journal.recovery._set_aside", lambda *_: None)


@found_by(test_segments.test_an_edit_with_its_checksum_recomputed_is_found_by_the_seal)
def damage_is_taken_for_a_torn_tail(patch: Patch) -> None:
    @instead_of(patch, SegmentScan, "_finish")
    def finish(kept: Any, self: SegmentScan, rest: bytes) -> None:
        try:
            kept(self, rest)
        except errors.JournalDamaged as error:
            self.tail = Tail(error.path, self.line, self.offset, len(rest), rest.count(b"\n"))


@found_by(test_segments.test_an_edit_with_its_checksum_recomputed_is_found_by_the_seal)
def a_seal_is_not_recomputed(patch: Patch) -> None:
    def as_told(block: bytes) -> str:
        seal = lines.parse_seal(block.rpartition(b"\n")[2])
        return "" if seal is None else seal.hash

    patch.setattr(lines, "block_hash", as_told)


@found_by(test_segments.test_a_block_spliced_in_from_another_journal_is_found)
def seals_are_not_chained(patch: Patch) -> None:
    @instead_of(patch, SegmentScan, "_verified")
    def verified(kept: Any, self: SegmentScan, raw: bytes) -> Any:
        seal = lines.parse_seal(raw[:-1].rpartition(b"\n")[2])
        if seal is not None and self.offset:
            self.head = Head(self.head.seq, seal.previous)
        return kept(self, raw)


@found_by(test_segments.test_a_cut_off_end_is_found_against_the_head)
def an_exported_head_is_not_compared(patch: Patch) -> None:
    @instead_of(patch, reader, "verify_history")
    def history(kept: Any, disk: Any, folder: Path, _head: Any) -> Any:
        return kept(disk, folder, GENESIS)


@found_by(test_session.test_the_first_divergence_is_named_with_both_sides)
def a_replay_compares_nothing(patch: Patch) -> None:
    @instead_of(patch, Recorder, "append")
    def append(kept: Any, self: Recorder, record: Record) -> None:
        if self.next is not None:
            self.next = self.next._replace(raw=msgspec.json.encode(record))
        kept(self, record)


# -- one process for each account ------------------------------------------------------------------


@found_by(test_instance.test_the_pid_file_names_the_owner)
def the_lock_is_ignored(patch: Patch) -> None:
    def taken(*_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(acquire=lambda: None, release=lambda: None)

    locks = SimpleNamespace(FileLock=taken, Timeout=filelock.Timeout)
    patch.setattr(instance, "filelock", locks)


@found_by(test_instance.test_a_process_that_was_overtaken_sends_nothing_more)
def the_epoch_is_not_looked_at(patch: Patch) -> None:
    patch.setattr(Instance, "look", lambda _: None)


@found_by(
    test_live_accounts.test_an_account_that_another_process_has_taken_over_sends_nothing,
    is_overtaken=True,
)
def the_epoch_is_not_looked_at_before_an_order_leaves(patch: Patch) -> None:
    @instead_of(patch, live, "Desk")
    def desk(kept: Any, *args: Any, **options: Any) -> Any:
        session = options["is_closed"].__self__
        return kept(*args, **{**options, "look": session.look})


@found_by(test_instance.test_an_epoch_that_cannot_be_read_trades_nothing)
def an_epoch_that_cannot_be_read_begins_anew(patch: Patch) -> None:
    kept = Instance._recorded
    patch.setattr(Instance, "_recorded", lambda self: max(0, kept(self)))


# -- the fold: what counts against the limits ------------------------------------------------------


@found_by(test_limits.test_an_unknown_order_counts_as_filled)
def an_unknown_order_counts_for_nothing(patch: Patch) -> None:
    words = {**codec._NOTICES, "unknown": codec._NOTICES["rejected"]}
    patch.setattr(codec, "_NOTICES", words)


@found_by(test_live.test_nothing_is_sent_before_the_account_is_reconciled)
def a_lost_venue_is_not_folded(patch: Patch) -> None:
    @instead_of(patch, Inbox, "command")
    def command(kept: Any, self: Inbox, record: Command) -> None:
        if record.command != "unreconciled":
            kept(self, record)


@found_by(test_live_closed.test_a_clock_that_was_ahead_for_a_moment_does_not_lift_the_daily_stop)
def the_wall_clock_begins_a_new_day(patch: Patch) -> None:
    @instead_of(patch, Inbox, "command")
    def command(kept: Any, self: Inbox, record: Command) -> None:
        self.clock(record.ts)
        kept(self, record)


@found_by(test_kill.test_a_session_goes_on_from_any_record)
def a_restart_forgets_the_loss_of_the_day(patch: Patch) -> None:
    @instead_of(patch, Session, "resume")
    def resume(kept: Any, self: Session) -> Any:
        inputs = kept(self)
        account = self.state.account
        account["day_equity"], account["daily_stopped"] = account["equity"], 0
        return inputs


def _carry_less(patch: Patch, *forgotten: str) -> None:
    left = tuple(field for field in handover.ACCOUNT if field not in forgotten)
    patch.setattr(handover, "ACCOUNT", left)


def a_bad_day_is_handed_over() -> None:
    """Show the test of random worlds one that has a loss, a stop and a command."""
    bad_day = world(
        Scripted(side=(LONG,)),
        bars_of([[100.0], [100.0], [50.0], [50.0]]),
        account=account_of(limits={"daily_loss": 0.0001}),
        inputs=[Command(at(2), "reduce_only")],
    )
    survives: Any = test_handover.test_all_that_has_happened_survives
    survives.hypothesis.inner_test(w=bad_day, every=1)


@found_by(a_bad_day_is_handed_over)
def a_handover_forgets_the_loss_of_the_day(patch: Patch) -> None:
    _carry_less(patch, "day_equity", "daily_stopped")


@found_by(a_bad_day_is_handed_over)
def a_handover_forgets_reduce_only(patch: Patch) -> None:
    _carry_less(patch, "reduce_only")


@found_by(test_succession.test_an_account_goes_on_through_three_configurations)
def a_handover_forgets_orders(patch: Patch) -> None:
    patch.setattr("onefold.engine.succession.carried", lambda *_: [])


def _passes(patch: Patch, name: str, reason: str) -> None:
    @instead_of(patch, sanitise, name)
    def judged(kept: Any, *args: Any) -> str | None:
        found: str | None = kept(*args)
        return None if found == reason else found


@found_by(test_sanitise.test_each_reason_in_both_forms, "nan", {"open": float("nan")})
def a_price_that_is_no_number_passes(patch: Patch) -> None:
    _passes(patch, "_bar_reason", "nan")


@found_by(
    test_sanitise.test_each_reason_in_both_forms, "high_below_low", {"high": 8.0, "low": 12.0}
)
def a_high_below_the_low_passes(patch: Patch) -> None:
    _passes(patch, "_range_reason", "high_below_low")


@found_by(test_sanitise.test_each_reason_in_both_forms, "crossed", {"bid": 10.2, "ask": 10.1})
def columns_are_not_judged(patch: Patch) -> None:
    patch.setattr(sanitise, "_suspects", lambda *_: None)


# -- the way out: calls to venues, and who may trade -----------------------------------------------


@found_by(
    test_calls.test_an_act_is_sent_once_and_then_uncertain, failure=errors.VenueUncertain("502")
)
def an_act_is_repeated(patch: Patch) -> None:
    @instead_of(patch, Calls, "act")
    async def act(kept: Any, self: Calls, make: Any, *, urgent: bool = False) -> Any:
        try:
            return await kept(self, make, urgent=urgent)
        except errors.VenueUncertain:
            return await kept(self, make, urgent=urgent)


@found_by(test_calls.test_a_long_pause_is_told_at_once_and_kept)
def a_pause_that_is_asked_for_is_not_made(patch: Patch) -> None:
    kept = Calls._heard
    patch.setattr(Calls, "_heard", lambda self, _: kept(self, None))


@found_by(test_calls.test_cancels_have_a_reserve)
def nothing_is_reserved_for_cancels(patch: Patch) -> None:
    @instead_of(patch, Calls, "__init__")
    def init(kept: Any, self: Calls, name: str, **options: Any) -> None:
        kept(self, name, **{**options, "reserve": 0.0})


@found_by(test_calls.test_the_breaker_opens_for_reads_and_orders_but_not_for_cancels)
def a_breaker_holds_cancels_back(patch: Patch) -> None:
    @instead_of(patch, Calls, "_once")
    async def once(kept: Any, self: Calls, make: Any, *, urgent: bool) -> Any:
        self._admit()
        return await kept(self, make, urgent=urgent)


@found_by(
    test_alpaca_http.test_anything_else_is_uncertain_and_is_not_sent_again, 502, "bad gateway"
)
def an_error_of_a_server_is_a_refusal(patch: Patch) -> None:
    @instead_of(patch, http, "judged")
    def judged(kept: Any, error: Any) -> Exception:
        return errors.VenueRefused(str(kept(error)))


@found_by(test_alpaca_http.test_too_many_is_refused_with_a_pause, {"Retry-After": "7"}, 7.0)
def retry_after_is_not_read(patch: Patch) -> None:
    patch.setattr(http, "_pause_s", lambda _: 1.0)


@found_by(test_live_accounts.test_a_kill_switch_and_secrets_stand_in_env_beside_the_configuration)
def secrets_may_be_read_by_others(patch: Patch) -> None:
    patch.setattr("onefold.app.settings.env_files", lambda _: [])


def a_refusal_in_this_process(tmp_path: Path, monkeypatch: Patch) -> None:
    """Start no process for each refusal; who is not refused ends, and does not trade."""

    async def trades(*_: Any, **__: Any) -> dict[str, Live]:
        return {}

    def started(*_: Any, cwd: Path, **__: Any) -> SimpleNamespace:
        monkeypatch.chdir(cwd)
        with contextlib.redirect_stderr(io.StringIO()) as said:
            code = main.run(["run", "--mode", "live"])
        return SimpleNamespace(returncode=code, stderr=said.getvalue())

    monkeypatch.setattr("onefold.app.commands.run.run_accounts", trades)
    monkeypatch.setattr(test_live_process, "subprocess", SimpleNamespace(run=started))
    test_live_process.test_live_needs_an_approval_and_real_bars(tmp_path)


@found_by(a_refusal_in_this_process)
def live_trading_needs_no_approval(patch: Patch) -> None:
    @instead_of(patch, Account, "__init__")
    def made(kept: Any, self: Account, loaded: Any, name: str, one: Any, mode: str) -> None:
        kept(self, loaded, name, one.model_copy(update={"approved": "anybody"}), mode)


@found_by(a_refusal_in_this_process)
def a_run_does_not_look_after_secrets(patch: Patch) -> None:
    patch.setattr("onefold.app.commands.run.check_secrets", lambda _: None)


# -- with its bug each test fails, and without it none does ---------------------------------------


@pytest.mark.parametrize("test", dict.fromkeys(BUGS.values()), ids=name_of)
def test_without_a_bug_each_test_passes(tmp_path: Path, monkeypatch: Patch, test: Judge) -> None:
    judge_by(test, tmp_path, monkeypatch)


@pytest.mark.parametrize("bug", BUGS, ids=name_of)
def test_a_planted_bug_is_found(tmp_path: Path, monkeypatch: Patch, bug: Plant) -> None:
    finds(BUGS[bug], bug, tmp_path, monkeypatch)
