"""W10: the database: a journal's way into it, and a page out of a million decisions.

A journal of minutes is projected into SQLite; beside that, what the replay alone costs, and what
the writing alone does. Then a page of 100 decisions is read out of 1,000,000, the first one and one
in the middle.

Prints one line of JSON: `python -m benchmarks.w10_database [folder]`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import URL

from benchmarks import works
from benchmarks.ours import EveryBar, minute_bars, single_plan
from onefold.domain.convert import to_records
from onefold.domain.records import SessionStart
from onefold.engine.replay import replaying
from onefold.engine.simulate import simulate
from onefold.engine.succession import begun
from onefold.ops.database.connection import connected, url_of
from onefold.ops.database.gathering import Batch
from onefold.ops.database.projection import Projection, Step
from onefold.ops.database.reading import Reader
from onefold.ops.database.schema import upgrade
from onefold.ops.database.writing import Mark, Writer
from onefold.sim.plan import Plan

BARS = 20_000
DECISIONS = 1_000_000
PAGES = 50
START = Mark(1, 1, "w10", "journal", "simulate", 0)
DATE = dt.date(2026, 11, 20)


def written(folder: Path, plan: Plan) -> Path:
    """Write the journal of an order on every bar."""
    start = SessionStart(works.START_NS, "simulate", "0", "0", "0", {})
    feed = to_records(minute_bars(BARS), plan.instruments[0].symbol)
    simulate(plan, feed, folder / "journal", start, today=lambda: DATE, durability="relaxed")
    return folder / "journal"


def replayed(path: Path, plan: Plan) -> tuple[int, float]:
    """Return the records of a journal and the seconds of its replay."""
    began = time.perf_counter()
    session, recorder = replaying(path, plan, keep=False)
    session.resume()
    return recorder.checked, time.perf_counter() - began


def gathered(path: Path, plan: Plan) -> tuple[list[Step], float]:
    """Return all rows of a journal, and the seconds that replay and gathering take together."""
    found = begun(path)
    if found is None:
        raise RuntimeError(f"no journal in {path}")
    began = time.perf_counter()
    projection = Projection(found, lambda _: plan, START, None, is_new=True)
    steps = []
    while (step := projection.advance()) is not None:
        steps.append(step)
    return steps, time.perf_counter() - began


async def stored(url: URL, steps: list[Step]) -> float:
    """Write the rows, and return the seconds that it takes."""
    engine = connected(url)
    await upgrade(engine)
    writer = Writer(engine)
    began = time.perf_counter()
    for step in steps:
        async with engine.begin() as connection:
            await writer.write(connection, step.before, step.after, step.batch)
    took = time.perf_counter() - began
    await engine.dispose()
    return took


async def filled(url: URL, rows: list[tuple[object, ...]]) -> None:
    """Write a million decisions, made from real ones."""
    engine = connected(url)
    await upgrade(engine)
    writer, mark = Writer(engine), START
    size = 10_000
    for first in range(0, DECISIONS, size):
        part = [
            (n + 1, works.START_NS + n, *rows[n % len(rows)][2:])
            for n in range(first, first + size)
        ]
        after = mark._replace(seq=first + size)
        batch = Batch(part, [], [], [], [], [], b"{}")
        async with engine.begin() as connection:
            await writer.write(connection, mark if first else None, after, batch)
        mark = after
    await engine.dispose()


async def paged(url: URL) -> dict[str, float]:
    """Return the milliseconds of a page at the top and of one in the middle, medians."""
    reader = Reader(url)
    middle = f"{works.START_NS + DECISIONS // 2}.1.{DECISIONS // 2}"
    figures = {}
    for name, before in (("page_ms", None), ("page_in_the_middle_ms", middle)):
        times = []
        for _ in range(PAGES):
            began = time.perf_counter()
            page = await reader.decisions("w10", before=before, limit=100)
            times.append(1e3 * (time.perf_counter() - began))
            if len(page) != 100:
                raise RuntimeError(f"a page of {len(page)} decisions")
        figures[name] = statistics.median(times)
    await reader.close()
    return figures


def main() -> None:
    """Measure, and print one line of JSON."""
    place = sys.argv[1] if len(sys.argv) > 1 else None
    works.make_data()
    plan = single_plan(EveryBar())
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        path = written(folder, plan)
        replayed(path, plan)
        records, replay_s = replayed(path, plan)
        steps, gather_s = gathered(path, plan)
        write_s = asyncio.run(stored(url_of("", folder / "one.db"), steps))
        decisions = [row for step in steps if step.batch for row in step.batch.decisions]
        million = url_of("", folder / "million.db")
        asyncio.run(filled(million, decisions))
        pages = asyncio.run(paged(million))
    figures = {
        "replayed_records_per_s": records / replay_s,
        "gathered_records_per_s": records / gather_s,
        "written_records_per_s": records / write_s,
        "rows_per_record": sum(step.batch.size for step in steps if step.batch) / records,
        "beyond_replay_records_per_s": records / max(1e-9, gather_s - replay_s + write_s),
    }
    print(json.dumps({**figures, **pages}))


if __name__ == "__main__":
    main()
