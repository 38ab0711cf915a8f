"""O1: what is recorded is logged, tied together from bar to fill, and observers disturb nobody."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.live_venue import CONFIG, FLIPS, RESTS, VenueThread
from engine.live_rig import Rig
from engine.test_live import bar, plan_of
from onefold.app.accounts import Account, enabled_accounts
from onefold.app.live import Observer, recorded_source, run_accounts
from onefold.app.settings import Loaded, settings_of
from onefold.app.wiring import load_bars
from onefold.domain.errors import JournalHalted
from onefold.domain.records import (
    AnyRecord,
    Bar,
    Command,
    Decision,
    Fill,
    Order,
    Quarantined,
    Record,
    SessionStart,
)
from onefold.engine.latency import BUCKETS_MS, Histogram, Latencies
from onefold.engine.live import Live
from onefold.engine.observers import Observers
from onefold.engine.session import Session
from onefold.journal import Journal, decode, read
from onefold.ops.recordlog import RecordLog, correlation_of, time_of
from support import FLAT, LONG, MINUTE_NS

COMMAND = [sys.executable, "-c", "from onefold.app.main import main; main()"]


@pytest.fixture
def caught(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    caplog.set_level(logging.DEBUG, "onefold")

    def found() -> list[dict[str, Any]]:
        return [
            {**vars(one), "channel": one.name.split(".")[1], "text": one.getMessage()}
            for one in caplog.records
            if one.name.endswith(".records")
        ]

    return found


def of(lines: list[dict[str, Any]], start: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["text"].startswith(start)]


def test_a_time_is_read_as_it_is() -> None:
    assert time_of(1_700_000_000_000_000_000) == "2023-11-14T22:13:20Z"
    assert time_of(1_700_000_000_000_000_007) == "2023-11-14T22:13:20.000000007Z"


class LoggedRig(Rig):
    """A rig whose records are logged from where each session has recovered."""

    def _opened(self, journal: Journal) -> Live:
        live = super()._opened(journal)
        live.observers.add("log", RecordLog("main", live.session).hear)
        return live


def test_records_are_tied_from_bar_to_fill_also_after_a_restart(
    tmp_path: Path, caught: Callable[[], list[dict[str, Any]]]
) -> None:
    """The order works when the session ends, and is filled before the next one begins."""

    async def work() -> None:
        rig = LoggedRig(tmp_path, plan_of(FLAT, LONG, LONG, LONG, LONG))
        async with rig.running() as live:
            await rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
            await rig.play(bar(0), bar(1))
            live._rules = live._rules.__class__(on_stop="keep", stop_s=0.1)
            assert [order.id for order in live.session.working()] == [1]
        rig.exchange.advance(bar(2).ts)
        rig.exchange.on_bar(bar(2))
        async with rig.running() as live:
            await rig.until(lambda: bool(rig.records(Fill)))
            await rig.settled()
            assert live.session.working() == []

    asyncio.run(work())
    found = caught()
    wanted = correlation_of("ABC", bar(1).ts)
    [decision] = [one for one in of(found, "decision") if one["order"] == 1]
    assert (decision["channel"], decision["correlation"]) == ("trading", wanted)
    [order] = of(found, "order 1: entry buy")
    [fill] = of(found, "order 1: filled buy")
    [accepted] = of(found, "order 1: accepted")
    for line in (order, fill, accepted):
        assert (line["channel"], line["correlation"], line["order"]) == ("trading", wanted, 1)
    [seen] = [one for one in of(found, "bar ABC") if one["correlation"] == wanted]
    assert (seen["channel"], seen["levelname"]) == ("market_data", "DEBUG")
    commands = {one["command"] for one in found if one["channel"] == "audit" and "command" in one}
    assert {"unreconciled", "reconciled"} <= commands


def decision(number: int, *blocked: str) -> Decision:
    ts = bar(number).ts
    return Decision(
        number, ts, "ABC", "s0", "entry", 1, 3, 100.0, 0.9, None, 1e5, 0, [], [], list(blocked)
    )


def test_each_kind_is_on_its_channel_and_what_repeats_is_for_a_close_look(
    tmp_path: Path, caught: Callable[[], list[dict[str, Any]]]
) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, plan_of(FLAT, FLAT))
        async with rig.running() as live:
            log = RecordLog("main", live.session)
            for record in (
                SessionStart(1, "live", "1", "1", "hash", {"secret": "in the configuration"}),
                Quarantined("ABC", 1, "high_below_low", "x"),
                Command(1, "kill", reason="enough", operator="jo"),
                *(decision(n, "warm_up") for n in range(5)),
                decision(5, "cash"),
                decision(6),
            ):
                log.hear(record)

    asyncio.run(work())
    found = caught()
    [start] = of(found, "a journal begins")
    assert (start["channel"], start["config_hash"]) == ("audit", "hash")
    assert "in the configuration" not in str(start)
    [refused] = of(found, "refused: high_below_low x")
    assert (refused["channel"], refused["levelname"]) == ("market_data", "WARNING")
    [kill] = of(found, "kill by jo: enough")
    assert (kill["channel"], kill["levelname"]) == ("audit", "WARNING")
    levels = [one["levelname"] for one in of(found, "decision:")]
    assert levels == ["INFO", *["DEBUG"] * 4, "INFO", "INFO"]


# -- observers -------------------------------------------------------------------------------------

PAPER: dict[str, Any] = {
    "data": {"BTCUSD": {"synthetic": {"seed": 7, "bars": 300, "gap_rate": 0}}},
    "strategies": {"trend": {"kind": "crossover", "params": {"fast": 3, "slow": 6}}},
}


class Watch:
    """Takes note of what becomes of accounts."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []

    def starting(self, account: Account) -> None:
        pass

    def opened(self, account: Account, live: Live) -> None:
        pass

    def told(self, account: Account, text: str) -> None:
        pass

    def stopped(self, account: Account, live: Live) -> None:
        pass

    def waits(self, account: Account, error: BaseException) -> None:
        self.failures.append(error)

    def failed(self, account: Account, error: BaseException) -> None:
        self.failures.append(error)


def run_paper(folder: Path, bars: int, observers: list[Observer]) -> Watch:
    raw = {**PAPER, "data": {"BTCUSD": {"synthetic": {"seed": 7, "bars": bars, "gap_rate": 0}}}}
    loaded = Loaded(settings_of(raw), folder / "onefold.yaml")
    accounts, watch = enabled_accounts(loaded, "paper", lambda _: None), Watch()
    asyncio.run(
        run_accounts(
            accounts,
            lambda _: recorded_source(loaded, load_bars(loaded)),
            killed="",
            stopping=asyncio.Event(),
            watcher=watch,
            observers=observers,
        )
    )
    return watch


def journal(folder: Path) -> Iterator[Record]:
    [path] = (folder / "journal" / "paper").glob("paper-*")
    for entry in read(path):
        yield decode(entry, AnyRecord)  # type: ignore[arg-type]


def test_an_observer_hears_what_is_new_in_order_and_another_may_be_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Record] = []
    orders_of: list[int] = []

    def listen(account: Account, session: Session) -> Callable[[Record], None]:
        assert account.name == "paper"
        orders_of.append(session.inputs)
        return heard.append

    def not_made(account: Account, session: Session) -> Callable[[Record], None]:
        raise RuntimeError("it cannot be made")

    def broken(account: Account, session: Session) -> Callable[[Record], None]:
        def hear(record: Record) -> None:
            raise RuntimeError(f"no room for {type(record).__name__}")

        return hear

    observers: list[Observer] = [not_made, broken, listen]
    assert run_paper(tmp_path, 150, observers).failures == []
    first = list(journal(tmp_path))
    assert heard == first
    assert sum(isinstance(one, Bar) for one in heard) == 150
    assert any(isinstance(one, Order) for one in heard)
    assert run_paper(tmp_path, 300, observers).failures == []
    assert heard == list(journal(tmp_path)), "what was recorded before is not told again"
    assert orders_of[0] == 0
    assert orders_of[1] > 0, "it is made once the session has recovered"
    said = [r for r in caplog.records if "observers" in vars(r).get("component", "")]
    assert {"<locals>.broken" in r.getMessage() for r in said} == {True, False}
    assert all(r.exc_info for r in said)
    kinds = [r for r in said if "missed a record" in r.getMessage()]
    assert len(kinds) <= 4, "a worry is told once, and not for each record"


def test_nothing_is_heard_that_is_not_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 3 for those who look on: a record whose commit fails has not happened."""
    heard: list[Record] = []

    async def work() -> None:
        rig = Rig(tmp_path, plan_of(FLAT, LONG, LONG))
        async with rig.running() as live:
            live.observers.add("list", heard.append)
            await rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
            await rig.play(bar(0))

            def failing() -> None:
                raise JournalHalted("no room")

            monkeypatch.setattr(live.session._recorder, "commit", failing)
            rig.feed.queue.put_nowait(bar(1))
            await rig.until(lambda: live.failure is not None)

    with pytest.raises(JournalHalted):
        asyncio.run(work())
    assert [one.ts for one in heard if isinstance(one, Bar)] == [bar(0).ts]


def test_without_observers_nothing_is_kept() -> None:
    nobody = Observers()
    nobody.take(bar(0))
    assert nobody._news == []


# -- latencies -------------------------------------------------------------------------------------


def test_durations_fall_into_their_buckets() -> None:
    one = Histogram([0.1, 1.0])
    for seconds in (0.05, 0.1, 0.5, 2.0, -1.0):
        one.observe(seconds)
    assert one.as_plain() == {"bounds": [0.1, 1.0], "counts": [3, 1, 1], "sum": 2.65}


def test_latencies_are_measured_from_a_bar_to_its_order() -> None:
    clock = {"now": 0.0}
    of_session = Latencies(clock=lambda: clock["now"])
    one = bar(0)
    of_session.arrived(one, one.ts + 2_000_000)
    clock["now"] = 0.003
    of_session.folded(one)
    clock["now"] = 0.007
    order = Order(1, one.ts, one.instrument, "s", "entry", 1, 1)
    of_session.ordered(order)
    of_session.ordered(Order(2, one.ts + 1, one.instrument, "s", "command", 1, 1))
    of_session.ordered(Order(3, one.ts, "OTHER", "s", "entry", 1, 1))
    news = of_session.news()
    assert news["tick_enqueue_delay_seconds"] == {"count": 1, "p50_ms": 2.5, "p99_ms": 2.5}
    assert news["emit_latency_seconds"] == {"count": 1, "p50_ms": 5.0, "p99_ms": 5.0}
    assert news["tick_to_order_seconds"] == {"count": 1, "p50_ms": 10.0, "p99_ms": 10.0}
    assert of_session.news() == {}
    assert of_session.as_plain()["emit_latency_seconds"]["sum"] == pytest.approx(0.003)


def test_a_session_measures_itself(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, plan_of(FLAT, LONG, LONG, FLAT))
        async with rig.running() as live:
            await rig.until(lambda: bool(live.session.state.account["reconciled"][0]))
            for number in range(4):
                await rig.play(bar(number))
            await rig.until(lambda: len(rig.records(Order)) == 2)
            found = live.status()["latency"]
        assert sum(found["tick_to_order_seconds"]["counts"]) == 2
        assert sum(found["emit_latency_seconds"]["counts"]) == 4
        assert sum(found["tick_enqueue_delay_seconds"]["counts"]) == 4
        assert sum(found["inference_seconds"]["counts"]) == 0
        assert found["emit_latency_seconds"]["bounds"] == [ms / 1e3 for ms in BUCKETS_MS]

    asyncio.run(work())


def test_the_buckets_have_to_rise() -> None:
    with pytest.raises(Exception, match=r"session\.latency_buckets_ms"):
        settings_of({**PAPER, "session": {"latency_buckets_ms": [1, 5, 5]}})
    settings = settings_of({**PAPER, "session": {"latency_buckets_ms": [1, 5]}})
    assert settings.session.latency_buckets_ms == (1, 5)
    assert MINUTE_NS > 0


# -- a real process --------------------------------------------------------------------------------


def test_a_live_process_leaves_logs_that_lead_from_fill_to_bar(tmp_path: Path) -> None:
    """A venue on a socket, a session that is killed and comes back: one thread of names."""
    canary = "rehearsal"  # key and secret of the venue
    with VenueThread() as venue:
        text = CONFIG.format(url=venue.url) + "logs: { levels: { market_data: debug } }\n"
        (tmp_path / "onefold.yaml").write_text(text)
        (tmp_path / "flips.py").write_text(FLIPS)
        (tmp_path / "rests.py").write_text(RESTS)
        trading = tmp_path / "logs" / "trading.log"
        first = start(tmp_path)
        wait_for(first, lambda: lines_of(trading, "fill"))
        first.kill()
        first.wait()
        seen = len(lines_of(trading, "fill"))
        second = start(tmp_path)
        wait_for(second, lambda: len(lines_of(trading, "fill")) > seen + 1)
        second.terminate()
        assert second.wait(30) == 0
    orders = {line["order"]: line["correlation"] for line in lines_of(trading, "order")}
    bars = {line["correlation"] for line in lines_of(tmp_path / "logs" / "market_data.log", "bar")}
    fills = lines_of(trading, "fill")
    # Lines that were on their way to the disk when the process was killed may be missing.
    led = [one for one in fills if orders.get(one["order"]) == one["correlation"]]
    assert len(led) >= len(fills) - 1
    assert sum(one["correlation"] in bars for one in fills) >= len(fills) - 1
    assert all(line["account"] == "main" for line in fills)
    for path in (tmp_path / "logs").glob("*.log"):
        assert canary not in path.read_text(), path.name


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "run", "--mode", "live"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(process: subprocess.Popen[bytes], condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 150
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


def lines_of(path: Path, record: str) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    found = [msgspec.json.decode(line) for line in whole.splitlines()]
    return [line for line in found if line.get("record") == record]
