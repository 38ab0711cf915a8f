"""P1, P3: the rows are what the journals say, however they came there."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import URL

from engine.golden_cases import CASES
from onefold import journal
from onefold.domain.records import AnyRecord, Bar, Decision, Fill, Order, OrderNotice
from onefold.engine.simulate import simulate
from onefold.journal import decode
from onefold.ops.database.projector import Place, Projector
from onefold.views.equity import equity_frame
from onefold.views.trades import round_trips
from random_worlds import worlds
from support import MINUTE_NS, World, start_of, today

from .projected import (
    as_rows,
    as_view,
    project,
    read,
    rebuild,
    rows_of,
    trades_of,
    with_projector,
)

numbers = itertools.count()
WORLDS = int(os.environ.get("ONEFOLD_TEST_WORLDS", "30"))


def expected(world: World, folder: Path) -> list[tuple[object, ...]]:
    run = world.replayed(folder)
    return as_view(round_trips(run.fills, world.plan.instruments, world.plan.names.strategies))


@pytest.mark.parametrize("name", sorted(CASES))
def test_trades_of_golden_journals_are_those_of_the_view(
    name: str, tmp_path: Path, database: URL
) -> None:
    world = CASES[name]()
    world.session(tmp_path / "j")
    assert project(database, [Place("a", tmp_path / "j")], world.plan) == []
    found = as_rows(trades_of(database, "a"))
    assert found == expected(world, tmp_path / "j")
    assert found


@settings(max_examples=WORLDS, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds(patient=True))
def test_trades_of_random_worlds_are_those_of_the_view(world: World, databases: list[URL]) -> None:
    account = f"w{next(numbers)}"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        world.session(path)
        trades = expected(world, path)
        for database in databases:
            assert project(database, [Place(account, path)], world.plan) == []
            assert as_rows(trades_of(database, account)) == trades


def growing(world: World, folder: Path, first: int) -> None:
    """Run a session over the first inputs, sealing each by itself; it goes on where it ended."""
    simulate(
        world.plan,
        world.feed()[:first],
        folder,
        start_of(),
        today=today,
        durability="relaxed",
        wait=lambda _: None,
    )


@settings(max_examples=WORLDS // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds(), cuts=st.lists(st.integers(1, 60), min_size=1, max_size=3), data=st.data())
def test_rows_are_the_same_however_they_came(
    world: World, cuts: list[int], data: st.DataObject, databases: list[URL]
) -> None:
    """P3: block by block with restarts, and rebuilt in one go, row for row and to the cursor."""
    account = f"w{next(numbers)}"
    with TemporaryDirectory() as folder:
        place = Place(account, Path(folder) / "j")
        for first in [*sorted(cuts), len(world.feed())]:
            growing(world, place.path, first)
            most = data.draw(st.sampled_from([1, 1, 40]))
            for database in databases:
                assert project(database, [place], world.plan, most) == []
        trades = expected(world, place.path)
        for database in databases:
            grown = rows_of(database, account)
            rebuild(database, [place], world.plan, account)
            assert rows_of(database, account) == grown
            assert as_rows(trades_of(database, account)) == trades


def test_a_projector_that_stays_open_follows_block_by_block(tmp_path: Path, database: URL) -> None:
    world, place = CASES["brackets"](), Place("a", tmp_path / "j")
    feed = world.feed()

    async def work(projector: Projector) -> None:
        for first in range(1, len(feed) + 1):
            await asyncio.to_thread(growing, world, place.path, first)
            await projector.catch_up()

    def places() -> list[Place]:
        return [place] if place.path.exists() else []

    asyncio.run(with_projector(database, places, world.plan, work, most=1))
    grown = rows_of(database)
    assert as_rows(trades_of(database, "a")) == expected(world, place.path)
    rebuild(database, [place], world.plan, "a")
    assert rows_of(database) == grown


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_other_row_is_what_the_records_say(name: str, tmp_path: Path, database: URL) -> None:
    world, path = CASES[name](), tmp_path / "j"
    world.session(path)
    project(database, [Place("a", path)], world.plan)
    records = [decode(entry, AnyRecord) for entry in journal.read(path)]  # type: ignore[arg-type]
    run = world.replayed(path)

    bars = [r for r in records if isinstance(r, Bar)]
    for symbol in world.plan.names.symbols:
        found = read(database, lambda r, s=symbol: r.bars("a", s, limit=10_000))  # type: ignore[misc]
        assert [tuple(msgspec.structs.astuple(b)) for b in found] == [
            (b.ts, b.open, b.high, b.low, b.close, b.volume) for b in bars if b.instrument == symbol
        ]

    decisions = [r for r in records if isinstance(r, Decision)]
    listed = read(database, lambda r: r.decisions("a", limit=10_000))
    assert [d.id for d in listed] == [d.id for d in reversed(decisions)]
    for one in decisions[:: len(decisions) // 10]:
        told = read(database, lambda r, n=one.id: r.decision("a", n))  # type: ignore[misc]
        assert told is not None
        side = {"buy": 1, "sell": -1}[told.side]
        assert (told.time, told.strategy, told.symbol, told.purpose, side, told.lots) == (
            one.ts, one.strategy, one.instrument, one.purpose, one.side, one.qty,
        )  # fmt: skip
        assert (told.price, told.confidence, told.score, told.equity, told.position) == (
            one.price, one.confidence, one.score, one.equity, one.position,
        )  # fmt: skip
        assert (told.values, told.thresholds) == (one.values, one.thresholds)
        assert (told.blocked, told.order) == (one.blocked, one.order)

    orders = {o.id: o for o in read(database, lambda r: r.orders("a", limit=10_000))}
    assert sorted(orders) == [r.id for r in records if isinstance(r, Order)]
    fills, ended = defaultdict(list), {}
    for record in records:
        if isinstance(record, Fill):
            fills[record.order].append(record)
        elif isinstance(record, OrderNotice) and record.notice != "accepted":
            ended[record.order] = record.notice
    for number, order in orders.items():
        lots = sum(f.qty for f in fills[number])
        value = sum(f.qty * f.price for f in fills[number])
        assert order.filled == lots
        assert order.average == (value / lots if lots else None)
        wanted = "filled" if lots == order.lots else ended.get(number, "working")
        assert order.state == wanted
    assert {o.state for o in orders.values()} >= {"filled"}

    held = read(database, lambda r: r.positions("a"))
    sleeves, width = run.state.sleeves["qty"], len(world.plan.names.symbols)
    assert {(p.strategy, p.symbol): p.lots for p in held} == {
        (world.plan.names.strategies[n // width], world.plan.names.symbols[n % width]): int(q)
        for n, q in enumerate(sleeves)
        if q
    }


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_equity_is_that_of_the_report(name: str, tmp_path: Path, database: URL) -> None:
    world, path = CASES[name](), tmp_path / "j"
    world.session(path)
    project(database, [Place("a", path)], world.plan)
    run = world.replayed(path)
    frame = equity_frame(run.ts, run.equity, world.plan.account.cash)
    minutes = frame.with_columns(
        time=frame["time"].cast(int), minute=(frame["time"].cast(int) - 1) // MINUTE_NS
    )
    last = minutes.group_by("minute", maintain_order=True).agg(
        pl.col("time").last(), pl.col("equity").last(), -pl.col("drawdown").min()
    )
    found = read(database, lambda r: r.equity("a", points=100_000))
    assert [(p.time, p.equity) for p in found] == last.select("time", "equity").rows()
    assert [p.drawdown for p in found] == pytest.approx(last["drawdown"].to_list(), abs=1e-12)
    thin = read(database, lambda r: r.equity("a", points=7))
    assert len(thin) <= 7
    assert thin[-1].equity == found[-1].equity
    assert max(p.drawdown for p in thin) == max(p.drawdown for p in found)
