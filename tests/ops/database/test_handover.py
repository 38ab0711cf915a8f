"""An account that goes on in another journal goes on in the database as well."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import URL

from engine.live_rig import Rig
from engine.test_live import plan_of
from engine.test_succession import limited, traded
from onefold.domain.records import Fill, SessionStart
from onefold.ops.database.projector import Place
from onefold.sim.plan import Plan
from support import FLAT, LONG

from .projected import project, read, rebuild, rows_of, trades_of

PLAN = plan_of(FLAT, LONG, LONG, LONG, LONG, FLAT, exits={"stop": 0.1, "resting": True})


def in_turn(*plans: Plan) -> Callable[[SessionStart], Plan]:
    """Return the plans one after the other: these journals begin alike."""
    turn = itertools.cycle(plans)
    return lambda _: next(turn)


def through_three_configurations(folder: Path) -> Rig:
    """Hold one position through two changes of the configuration, and leave it."""

    async def work() -> Rig:
        rig = Rig(folder, PLAN)
        await traded(rig, 0, 1, 2)
        rig.reconfigure(limited(PLAN, 0.5))
        await traded(rig, 3)
        rig.reconfigure(PLAN)
        await traded(rig, 4, 5, 6, 7)
        return rig

    return asyncio.run(work())


def test_a_trade_that_spans_handovers_is_one_trade(tmp_path: Path, database: URL) -> None:
    rig = through_three_configurations(tmp_path)
    places = [Place("a", path) for path in rig.journals]
    plans = in_turn(PLAN, limited(PLAN, 0.5), PLAN)
    assert project(database, places, plans) == []
    entry, exit_ = rig.records(Fill)
    [trade] = trades_of(database, "a")
    assert (trade.entry_time, trade.entry_price) == (entry.ts, entry.price)  # type: ignore[attr-defined]
    assert (trade.exit_time, trade.exit_price) == (exit_.ts, exit_.price)  # type: ignore[attr-defined]
    assert (trade.entry_size, trade.exit_size, trade.open_size) == (1, 1, 0)
    assert (trade.exit_reason, trade.ibs_entry, trade.ibs_exit) == ("signal", 0.5, 0.5)
    orders = read(database, lambda r: r.orders("a"))
    assert [(o.id, o.purpose, o.state) for o in orders] == [
        (3, "signal", "filled"), (2, "stop", "cancelled"), (1, "entry", "filled"),
    ]  # fmt: skip
    ids = [d.id for d in read(database, lambda r: r.decisions("a"))]
    assert ids == sorted(set(ids), reverse=True)
    cursors = read(database, lambda r: r.cursors())
    assert [(c.number, c.run, c.is_current) for c in cursors] == [(n, 1, True) for n in (1, 2, 3)]
    grown = rows_of(database)
    rebuild(database, places, plans, "a")
    assert rows_of(database) == grown


def test_an_heir_waits_until_the_one_before_is_there(tmp_path: Path, database: URL) -> None:
    rig = through_three_configurations(tmp_path)
    first, second, _ = (Place("a", path) for path in rig.journals)
    assert project(database, [first], PLAN) == []
    [trade] = trades_of(database, "a")
    assert (trade.exit_time, trade.exit_reason, trade.open_size) == (None, None, 1)
    [held] = read(database, lambda r: r.positions("a"))
    assert (held.lots, held.entry_price, held.pnl) == (1, trade.entry_price, 0.0)
    assert project(database, [first, second], in_turn(PLAN, limited(PLAN, 0.5))) == []
    assert trades_of(database, "a") == [trade]
    [order] = read(database, lambda r: r.orders("a", state="open"))
    assert (order.id, order.purpose) == (2, "stop")


def test_without_the_journal_before_the_handover_is_the_beginning(
    tmp_path: Path, database: URL
) -> None:
    rig = through_three_configurations(tmp_path)
    shutil.rmtree(rig.journals[0])
    places = [Place("a", path) for path in rig.journals[1:]]
    assert project(database, places, in_turn(limited(PLAN, 0.5), PLAN)) == []
    [trade] = trades_of(database, "a")
    assert (trade.entry_size, trade.exit_size, trade.exit_reason) == (1, 1, "signal")
    orders = read(database, lambda r: r.orders("a"))
    assert [(o.id, o.state) for o in orders] == [(3, "filled"), (2, "cancelled")]
