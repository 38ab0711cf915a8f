"""`onefold db follow`: it keeps up, whatever becomes of the database."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
from sqlalchemy import URL, make_url

from engine.golden_cases import CASES
from onefold.engine.simulate import simulate
from onefold.journal import head
from onefold.ops.database.projector import Place, Projector
from support import World, start_of, today

from .conftest import SERVER
from .projected import read, rebuild, rows_of, with_projector

TIMEOUT_S = 120.0


def grow(world: World, folder: Path, first: int) -> None:
    feed = world.feed()[:first]
    simulate(
        world.plan, feed, folder, start_of(), today=today, durability="relaxed",
        wait=lambda _: None,
    )  # fmt: skip


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - a database tells nobody
            await asyncio.sleep(0.02)


def is_projected(url: URL, *folders: Path) -> bool:
    done = {c.journal: c.seq for c in read(url, lambda r: r.cursors())}
    return done == {folder.name: head(folder).seq for folder in folders}


async def followed(
    url: URL,
    world: World,
    places: Callable[[], list[Place]],
    work: Callable[[Projector], Awaitable[None]],
) -> list[str]:
    """Follow while `work` goes on, and return what a person was told."""
    told: list[str] = []

    async def follow(projector: Projector) -> None:
        stopping = asyncio.Event()
        task = asyncio.ensure_future(projector.follow(stopping, 0.02))
        try:
            await work(projector)
        finally:
            stopping.set()
            await task

    await with_projector(url, places, world.plan, follow, told.append, most=8)
    return told


def test_it_survives_that_its_connections_are_cut(tmp_path: Path, postgres: URL) -> None:
    world, path = CASES["brackets"](), tmp_path / "j"
    inputs = len(world.feed())
    cut = 0

    async def cutting() -> None:
        nonlocal cut
        server = await asyncpg.connect(SERVER)
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                cut += await server.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE datname = $1 AND application_name <> 'pytest'",
                    postgres.database,
                )
                await asyncio.sleep(0.05)
        await server.close()

    async def work(_: Projector) -> None:
        cutter = asyncio.ensure_future(cutting())
        for first in range(1, inputs + 1):
            await asyncio.to_thread(grow, world, path, first)
        cutter.cancel()
        await cutter
        await until(lambda: is_projected(postgres, path))

    told = asyncio.run(
        followed(postgres, world, lambda: [Place("a", path)] if path.exists() else [], work)
    )
    assert cut > 3
    assert any("trying again" in text for text in told)
    grown = rows_of(postgres)
    rebuild(postgres, [Place("a", path)], world.plan, "a")
    assert rows_of(postgres) == grown


def test_it_waits_for_a_file_that_another_one_has_locked(tmp_path: Path) -> None:
    world, path = CASES["brackets"](), tmp_path / "j"
    url = make_url(f"sqlite+aiosqlite:///{tmp_path / 'db'}")
    inputs = len(world.feed())
    told: list[str] = []

    async def work(_: Projector) -> None:
        await asyncio.to_thread(grow, world, path, inputs // 2)
        await until(lambda: is_projected(url, path))
        other = sqlite3.connect(tmp_path / "db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await asyncio.to_thread(grow, world, path, inputs)
        await asyncio.sleep(3)
        assert not await asyncio.to_thread(is_projected, url, path), (
            "a reader is not kept waiting, and sees what there was"
        )
        other.execute("COMMIT")
        other.close()
        await until(lambda: is_projected(url, path))

    told = asyncio.run(
        followed(url, world, lambda: [Place("a", path)] if path.exists() else [], work)
    )
    assert any("locked" in text for text in told)
    grown = rows_of(url)
    rebuild(url, [Place("a", path)], world.plan, "a")
    assert rows_of(url) == grown


def test_two_at_once_write_everything_once(tmp_path: Path, database: URL) -> None:
    world, path = CASES["brackets"](), tmp_path / "j"
    inputs = len(world.feed())

    def places() -> list[Place]:
        return [Place("a", path)] if path.exists() else []

    async def work(_: Projector) -> None:
        async def beside(_: Projector) -> None:
            for first in range(1, inputs + 1, 3):
                await asyncio.to_thread(grow, world, path, first)
            await asyncio.to_thread(grow, world, path, inputs)
            await until(lambda: is_projected(database, path))

        await followed(database, world, places, beside)

    asyncio.run(followed(database, world, places, work))
    grown = rows_of(database)
    rebuild(database, places(), world.plan, "a")
    assert rows_of(database) == grown


def test_it_notices_new_accounts_and_journals(tmp_path: Path, database: URL) -> None:
    world = CASES["brackets"]()
    folders = [tmp_path / name for name in ("j1", "j2", "j3")]

    def places() -> list[Place]:
        return [Place(f.name[-1], f) for f in folders if f.exists()]

    async def work(_: Projector) -> None:
        for n, folder in enumerate(folders):
            await asyncio.to_thread(grow, world, folder, 10 + n)
            await until(lambda n=n: is_projected(database, *folders[: n + 1]))  # type: ignore[misc]

    asyncio.run(followed(database, world, places, work))
    counts = read(database, lambda r: r.counts())
    assert counts.decisions == sum(
        read(database, lambda r, n=n: r.counts(n)).decisions for n in "123"
    )  # type: ignore[misc]


CONFIG = """
data: {ABC: {synthetic: {seed: 3, bars: 400}}}
instruments: {ABC: {kind: equity}}
strategies: {cross: {kind: crossover}}
"""


def onefold(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "onefold", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip


def test_the_commands(tmp_path: Path) -> None:
    (tmp_path / "onefold.yaml").write_text(CONFIG)
    ran = onefold(tmp_path, "run", "--json")
    assert ran.returncode == 0, ran.stderr
    records = json.loads(ran.stdout)["records"]
    early = onefold(tmp_path, "db", "status")
    assert early.returncode == 1
    assert "run `onefold db upgrade`" in early.stderr
    follower = subprocess.Popen(
        [sys.executable, "-m", "onefold", "db", "follow"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            status = onefold(tmp_path, "db", "status", "--json")
            if status.returncode == 0 and [c["seq"] for c in json.loads(status.stdout)] == [
                records
            ]:
                break
            assert time.monotonic() < deadline, (status.stdout, status.stderr)
            assert follower.poll() is None, follower.communicate()
    finally:
        if os.name == "posix":
            follower.send_signal(signal.SIGTERM)
        else:
            follower.terminate()
        follower.communicate(timeout=TIMEOUT_S)
    assert follower.returncode == 0
    grown = rows_of(make_url(f"sqlite+aiosqlite:///{tmp_path / 'onefold.db'}"))
    assert grown["trades"]
    wrong = onefold(tmp_path, "db", "rebuild", "--account", "papre")
    assert "did you mean 'paper'?" in wrong.stderr
    assert onefold(tmp_path, "db", "rebuild").returncode == 0
    assert rows_of(make_url(f"sqlite+aiosqlite:///{tmp_path / 'onefold.db'}")) == grown
    table = onefold(tmp_path, "db", "status")
    assert f"{records:,}" in table.stdout
