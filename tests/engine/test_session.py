"""What a session promises: record before acting, shared commits, refusals that are clear."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from onefold.adapters.synthetic import generate
from onefold.domain.convert import to_records
from onefold.domain.errors import (
    ConfigError,
    DataError,
    JournalDamaged,
    JournalHalted,
    ReplayMismatch,
)
from onefold.domain.records import (
    Action,
    AnyRecord,
    Bar,
    Cancel,
    Command,
    Fill,
    Mandate,
    Order,
    OrderNotice,
    SessionStart,
)
from onefold.engine.explain import explain, why_not
from onefold.engine.recorder import Recorder
from onefold.engine.replay import replay
from onefold.engine.session import INPUTS_PER_COMMIT, Session
from onefold.engine.simulate import simulate
from onefold.journal import Journal, read, verify
from onefold.sim.exchange import SimulatedVenue

from . import victim

BARS = 300


def bars() -> list[Bar]:
    return list(to_records(generate(victim.config()).slice(0, BARS), "MADE"))


def today() -> dt.date:
    return dt.date(2026, 1, 1)


class WatchedVenue(SimulatedVenue):
    """Notes for every order whether its record was sealed in the journal when it arrived."""

    folder: Path
    sent: int = 0

    def send(self, orders: Iterable[Order | Cancel]) -> list[object]:
        orders = list(orders)
        recorded = [e for e in read(self.folder) if e.kind in ("order", "cancel")]
        for order in orders:
            self.sent += 1
            wanted = b'"id":%d,' % order.id if isinstance(order, Order) else b"cancel"
            assert any(wanted in e.raw for e in recorded), "an order left before its record"
        return super().send(orders)  # type: ignore[return-value]


def test_an_order_leaves_only_when_its_record_is_durable(tmp_path: Path) -> None:
    plan = victim.plan()
    venue = WatchedVenue(plan.book(), plan.names)
    venue.folder = tmp_path
    with Journal.open(tmp_path, mode="durable", today=today) as journal:
        session = Session(plan, venue, Recorder(iter(()), journal), victim.START)
        session.run(bars()[:120])
    assert venue.sent > 5


def _seals(folder: Path) -> int:
    return sum(file.read_bytes().count(b'{"seal":') for file in folder.glob("*.jsonl"))


def test_inputs_that_are_there_share_commits(tmp_path: Path) -> None:
    quiet = [bar for bar in bars() if bar.volume]
    plan = victim.plan()
    once = simulate(plan, quiet, tmp_path / "at_once", victim.START, today=today)
    paced = simulate(
        plan, quiet, tmp_path / "paced", victim.START, today=today, wait=lambda _: None
    )
    assert once.result().fingerprint == paced.result().fingerprint
    orders = sum(1 for e in read(tmp_path / "paced") if e.kind in ("order", "cancel"))
    assert _seals(tmp_path / "paced") >= len(quiet)
    assert _seals(tmp_path / "at_once") <= orders + len(quiet) // INPUTS_PER_COMMIT + 1
    assert verify(tmp_path / "at_once").records == verify(tmp_path / "paced").records


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    simulate(victim.plan(), bars()[:10], tmp_path, victim.START, today=today)
    other = SessionStart(ts=0, mode="simulate", version="1", build="1", config_hash="2", config={})
    with pytest.raises(ConfigError, match=r"another configuration \(1, now 2\)"):
        simulate(victim.plan(), bars(), tmp_path, other, today=today)


def test_a_halted_journal_sends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """J6: after a failed sync nothing leaves, whatever was decided."""
    plan = victim.plan()
    venue = WatchedVenue(plan.book(), plan.names)
    venue.folder = tmp_path
    journal = Journal.open(tmp_path, mode="durable", today=today)
    session = Session(plan, venue, Recorder(iter(()), journal), victim.START)

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("onefold.journal.disk.sync_data", broken)
    with pytest.raises(JournalHalted):
        session.run(bars())
    assert venue.sent == 0
    with pytest.raises(JournalHalted):
        session.on(bars()[0])
    with pytest.raises(JournalHalted):
        journal.append(bars()[0])


def test_commands_and_mandates_are_inputs(tmp_path: Path) -> None:
    made = bars()
    stop = Command(ts=made[99].ts, command="kill", reason="test", operator="me")
    flat = Command(ts=made[149].ts, command="flatten", reason="test", operator="me")
    shut = Mandate(ts=made[199].ts, version=1, mandate="conf_min", value=1.0, strategy="revert")
    feed = [*made[:100], stop, *made[100:150], flat, *made[150:200], shut, *made[200:]]
    session = simulate(victim.plan(), feed, tmp_path, victim.START, today=today)
    run = session.result()
    late = run.outcome.decisions[run.outcome.decisions["ts"] > stop.ts]
    entries = late[late["purpose"] == 0]
    assert len(entries) > 0
    assert (entries["reason"] == 0).all(), "the kill switch is the first reason of every entry"
    assert int(session.state.account["mandate_version"][0]) == 1
    assert not session.state.sleeves["qty"].any()
    assert replay(tmp_path, victim.plan()).run.fingerprint == run.fingerprint


def test_a_flipped_byte_is_named(tmp_path: Path) -> None:
    simulate(victim.plan(), bars(), tmp_path, victim.START, today=today)
    [segment] = tmp_path.glob("*.jsonl")
    data = bytearray(segment.read_bytes())
    at = data.index(b'"close":', len(data) // 2) + len(b'"close":')
    data[at] ^= 1
    segment.write_bytes(data)
    line = data[:at].count(b"\n") + 1
    with pytest.raises(JournalDamaged) as damage:
        replay(tmp_path, victim.plan())
    assert (damage.value.path, damage.value.line) == (segment, line)


def test_the_first_divergence_is_named_with_both_sides(tmp_path: Path) -> None:
    """J7: a journal that another program wrote differs in a decision, not in a byte."""
    simulate(victim.plan(), bars(), tmp_path / "old", victim.START, today=today)
    with Journal.open(tmp_path / "new", mode="relaxed", today=today) as journal:
        changed = 0
        for entry in read(tmp_path / "old"):
            raw = entry.raw
            if entry.kind == "decision" and not changed:
                changed = entry.seq
                raw = raw.replace(b'"qty":', b'"qty":9', 1)
            journal._buffered.append(raw)
    with pytest.raises(ReplayMismatch) as found:
        replay(tmp_path / "new", victim.plan())
    assert found.value.seq == changed
    assert '"qty":9' in found.value.recorded
    assert '"qty":9' not in found.value.recomputed


def test_why_and_why_not(tmp_path: Path) -> None:
    simulate(victim.plan(), bars(), tmp_path, victim.START, today=today)
    decisions = [e for e in read(tmp_path) if e.kind == "decision"]
    told = explain(tmp_path, victim.plan(), len(decisions))
    assert told.decision is not None
    assert told.decision.id == len(decisions)
    assert len(told.gates) == 35
    assert set(told.features) >= {"fast", "slow"} or "z" in told.features
    with pytest.raises(ConfigError, match=f"from 1 to {len(decisions)}"):
        explain(tmp_path, victim.plan(), len(decisions) + 1)
    silent = why_not(tmp_path, victim.plan(), "MADE", bars()[3].ts)
    assert [one.strategy for one in silent] == ["trend", "revert"]
    assert all("warming up" in one.conclusion for one in silent)
    with pytest.raises(ConfigError, match="did you mean 'MADE'"):
        why_not(tmp_path, victim.plan(), "MADEE", bars()[3].ts)


class WholeVenue(SimulatedVenue):
    """Says its fees as whole numbers, as a program may that was not written with care."""

    def range(self, bar: Bar) -> list[Fill | OrderNotice]:
        said = super().range(bar)
        return [_whole_fee(one) if isinstance(one, Fill) else one for one in said]

    def open(self, bar: Bar) -> list[Fill | OrderNotice]:
        return [_whole_fee(x) if isinstance(x, Fill) else x for x in super().open(bar)]


def _whole_fee(fill: Fill) -> Fill:
    return msgspec.structs.replace(fill, fee=2)


def test_whole_numbers_in_decimal_fields_replay_exactly(tmp_path: Path) -> None:
    made = [msgspec.structs.replace(bar, volume=10_000) for bar in bars()]
    plan = victim.plan()
    feed = [
        *made[:100],
        Action(made[99].ts, "dividend", 1, "MADE"),
        Action(made[99].ts, "split", 2, "MADE"),
        Mandate(made[99].ts, 1, "conf_min", 0),
        *made[100:],
    ]
    venue = WholeVenue(plan.book(), plan.names)
    with Journal.open(tmp_path, mode="relaxed", today=today) as journal:
        session = Session(plan, venue, Recorder(iter(()), journal), victim.START)
        session.run(feed)
    encode = msgspec.json.Encoder().encode
    kinds = set()
    for entry in read(tmp_path):
        kinds.add(entry.kind)
        assert encode(msgspec.json.decode(entry.raw, type=AnyRecord)) == entry.raw
    assert kinds >= {"bar", "action", "mandate", "fill", "signal", "decision", "order", "session"}
    assert replay(tmp_path, victim.plan()).run.fingerprint == session.result().fingerprint


def test_what_no_market_has_is_refused_and_not_recorded(tmp_path: Path) -> None:
    with Journal.open(tmp_path, mode="relaxed", today=today) as journal:
        plan = victim.plan()
        venue = SimulatedVenue(plan.book(), plan.names)
        session = Session(plan, venue, Recorder(iter(()), journal), victim.START)
        session.run(bars()[:10])
        before = journal.head.seq
        with pytest.raises(DataError, match="action of MADE at 5: value"):
            session.on(Action(5, "split", 1e19, "MADE"))
        with pytest.raises(DataError, match=r"bar of MADE .* high must be"):
            session.on(msgspec.structs.replace(bars()[10], high=1e300))
        session.run(bars()[:20])
        assert journal.head.seq > before
    assert replay(tmp_path, victim.plan()).inputs == 20


def test_decisions_of_commands_and_actions_are_explained(tmp_path: Path) -> None:
    made = bars()
    run = simulate(victim.plan(), made, tmp_path / "plain", victim.START, today=today).result()
    decisions = run.outcome.decisions
    filled = decisions[(decisions["purpose"] == 0) & (decisions["order"] > 0)]
    at = next(n for n, bar in enumerate(made) if bar.ts > int(filled["ts"][0])) + 1
    flat = Command(ts=made[at - 1].ts, command="flatten", operator="me")
    feed = [*made[:at], flat, *made[at:]]
    simulate(victim.plan(), feed, tmp_path / "flat", victim.START, today=today)
    closing = [
        msgspec.json.decode(e.raw)["id"]
        for e in read(tmp_path / "flat")
        if e.kind == "decision" and b'"purpose":"command"' in e.raw
    ]
    assert closing
    told = explain(tmp_path / "flat", victim.plan(), closing[0])
    assert told.after == "command flatten"
    assert told.signal is None
    assert told.close == made[at - 1].close
    assert told.decision is not None
    assert told.decision.purpose == "command"
    assert "features" in msgspec.to_builtins(told)
