"""A journal that is not what it should be stops by itself; what was projected of it stays."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from sqlalchemy import URL

from engine.golden_cases import CASES
from onefold.domain.records import Adoption
from onefold.engine.replay import replay
from onefold.engine.simulate import simulate
from onefold.journal import read as read_journal
from onefold.ops.database.projector import Place
from onefold.ops.database.rows import Cursor
from onefold.views.trades import round_trips
from support import World, at, start_of, today

from .projected import as_rows, as_view, project, read, rebuild, rows_of, trades_of


def grown(folder: Path) -> World:
    world = CASES["brackets"]()
    simulate(
        world.plan, world.feed(), folder, start_of(), today=today, durability="relaxed",
        wait=lambda _: None,
    )  # fmt: skip
    return world


def cursor(url: URL) -> Cursor:
    [found] = read(url, lambda r: r.cursors())
    return found


def damage(folder: Path, seq: int) -> None:
    """Change one byte of a sealed record."""
    entry = next(e for e in read_journal(folder) if e.seq == seq)
    content = bytearray(entry.path.read_bytes())
    content[entry.offset + 20] ^= 1
    entry.path.write_bytes(content)


@pytest.mark.parametrize("most", [1, 10_000])
def test_damage_stops_the_projection_where_it_is(tmp_path: Path, database: URL, most: int) -> None:
    path = tmp_path / "j"
    world, whole = grown(path), tmp_path / "whole"
    shutil.copytree(path, whole)
    damage(path, 100)
    told = project(database, [Place("a", path)], world.plan, most)
    found = cursor(database)
    assert 80 < found.seq < 100, "all whole blocks before it"
    assert str(path / "000001") in found.trouble
    assert len(told) == 1
    assert found.trouble in told[0]
    stopped = rows_of(database)
    assert stopped["decisions"]
    project(database, [Place("a", path)], world.plan, most)
    assert rows_of(database) == stopped, "a restart finds the same and changes nothing"
    shutil.rmtree(path)
    shutil.copytree(whole, path)
    assert project(database, [Place("a", path)], world.plan) == []
    assert cursor(database).trouble == ""
    mended = rows_of(database)
    rebuild(database, [Place("a", path)], world.plan, "a")
    assert rows_of(database) == mended


def test_a_record_that_differs_stops_it_there(tmp_path: Path, database: URL) -> None:
    """As another version, or other rules than were recorded, would have it."""
    path = tmp_path / "j"
    world = grown(path)
    limits = world.plan.account.limits.model_copy(update={"daily_loss": 0.9})
    account = world.plan.account.model_copy(update={"limits": limits})
    plan = dataclasses.replace(world.plan, account=account)
    [told] = project(database, [Place("a", path)], plan)
    found = cursor(database)
    assert f"record {found.seq + 1} (" in found.trouble
    assert "recomputed" in told
    before = [e for e in read_journal(path) if e.seq <= found.seq]
    bars = sum(e.kind == "bar" for e in before)
    assert len(rows_of(database)["bars"]) == bars > 0
    # With the plan that it was written with, it goes on from there.
    assert project(database, [Place("a", path)], world.plan) == []
    mended = rows_of(database)
    rebuild(database, [Place("a", path)], world.plan, "a")
    assert rows_of(database) == mended


def test_a_journal_that_was_cut_short_or_exchanged_is_found_out(
    tmp_path: Path, database: URL
) -> None:
    path, world = tmp_path / "j", CASES["brackets"]()
    simulate(world.plan, world.feed(), path, start_of(), today=today, wait=lambda _: None)
    place = Place("a", path)
    project(database, [place], world.plan)
    whole = rows_of(database)
    shutil.rmtree(path)
    feed = world.feed()
    simulate(world.plan, feed[:10], path, start_of(), today=today, wait=lambda _: None)
    [told] = project(database, [place], world.plan)
    assert "it was cut short" in told
    assert "onefold db rebuild" in told
    shutil.rmtree(path)
    simulate(world.plan, feed, path, start_of(), today=today, durability="relaxed")
    [told] = project(database, [place], world.plan)
    assert "is not what was projected" in told or "cut short" in told
    now = rows_of(database)
    assert {k: v for k, v in now.items() if k != "journals"} == {
        k: v for k, v in whole.items() if k != "journals"
    }
    rebuild(database, [place], world.plan, "a")
    assert cursor(database).trouble == ""


def test_one_broken_journal_does_not_hold_the_others_up(tmp_path: Path, database: URL) -> None:
    world = grown(tmp_path / "good")
    bad = tmp_path / "bad"
    shutil.copytree(tmp_path / "good", bad)
    damage(bad, 1)
    [told] = project(database, [Place("a", bad), Place("b", tmp_path / "good")], world.plan)
    assert str(bad) in told
    assert trades_of(database, "b")
    by_name = {c.account: c for c in read(database, lambda r: r.cursors())}
    assert by_name["a"].trouble
    assert by_name["a"].seq == 0
    assert by_name["b"].trouble == ""


def test_adopted_lots_begin_and_end_trades(tmp_path: Path, database: URL) -> None:
    world, path = CASES["brackets"](), tmp_path / "j"
    feed = world.feed()
    for number in (3, 9, 15):
        lots = Adoption(at(number), "ABC", "s", (-1) ** number * 5, 101.0, "found", "someone")
        feed.insert(next(n for n, x in enumerate(feed) if x.ts > at(number)), lots)
    simulate(world.plan, feed, path, start_of(), today=today, durability="relaxed")
    assert project(database, [Place("a", path)], world.plan) == []
    fills = replay(path, world.plan).run.fills
    view = round_trips(fills, world.plan.instruments, world.plan.names.strategies)
    found = trades_of(database, "a")
    assert as_rows(found) == as_view(view)
    assert any(t.ibs_entry is None for t in found), "nothing was decided at a bar"
