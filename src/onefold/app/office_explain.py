"""Explaining from a server: a replay in a process of its own, with a time limit and a memory.

A replay takes a core for a while, and runs the strategies' code that the journal has recorded. So
it is the command `onefold explain` that does it, in a child without the server's environment, which
is killed when it takes too long. What was explained does not change, and is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from onefold.api.office import BusyError, NotFoundError
from onefold.api.schemas import Explanation, GateLine
from onefold.domain.errors import ConfigError, JournalError

KEPT = 256
"""Explanations that are remembered."""
WAITING_MAX = 8
"""Explanations that may wait for their turn; more are refused."""
PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "SYSTEMROOT",
    "PYTHONPATH",
    "ONEFOLD_CACHE_DIR",
)
NS_PER_US = 1_000
NS_PER_S = 1_000_000_000

Key = tuple[str, ...]


class Explainer:
    """Asks `onefold explain`, one replay at a time, each at most `limit_s` seconds."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._kept: OrderedDict[Key, list[Explanation]] = OrderedDict()
        self._running: dict[Key, asyncio.Task[list[Explanation]]] = {}
        self._turn = asyncio.Semaphore(1)

    async def decision(self, account: str, journal: Path, number: int) -> Explanation:
        """Explain a decision by its number. Raises `NotFoundError`, `BusyError`, `JournalError`."""
        [found] = await self._asked(account, (str(journal), str(number)), number=number)
        return found

    async def why_not(
        self, account: str, journal: Path, symbol: str, at: int, head: str
    ) -> list[Explanation]:
        """Explain what was not traded at a time in nanoseconds; `head` is the journal's end."""
        up = -(-at // NS_PER_US)
        try:
            moment = datetime.fromtimestamp(up // 1_000_000, UTC)
        except (OverflowError, ValueError, OSError):
            raise NotFoundError(f"{at} is no time of a bar") from None
        moment += timedelta(microseconds=up % 1_000_000)
        options = [f"--why-not={symbol}", f"--at={moment.isoformat(timespec='microseconds')}"]
        return await self._asked(account, (str(journal), *options, head))

    async def _asked(self, account: str, key: Key, number: int = 0) -> list[Explanation]:
        """Return what is known, or what a replay that runs already, or a new one, will say."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key not in self._running:
            if len(self._running) >= WAITING_MAX:
                raise BusyError("too many explanations are being made; ask again in a moment")
            arguments = [str(number)] if number else list(key[1:-1])
            task = asyncio.create_task(self._made(account, Path(key[0]), arguments))
            self._running[key] = task
            task.add_done_callback(lambda done: self._keep(key, done))
        return await asyncio.shield(self._running[key])

    def _keep(self, key: Key, done: asyncio.Task[list[Explanation]]) -> None:
        self._running.pop(key, None)
        if not done.cancelled() and done.exception() is None:
            self._kept[key] = done.result()
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    async def _made(self, account: str, journal: Path, arguments: list[str]) -> list[Explanation]:
        command = [sys.executable, "-m", "onefold", "explain", *arguments, f"--journal={journal}"]
        async with self._turn:
            child = await asyncio.create_subprocess_exec(
                *command,
                "--json",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=_environment(os.environ),
            )
            try:
                async with asyncio.timeout(self._limit_s):
                    out, _ = await child.communicate()
            except TimeoutError:
                raise BusyError(
                    f"the replay took longer than {self._limit_s:g} s (serve.explain_s); "
                    "`onefold explain` has no limit"
                ) from None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        return _understood(account, out, child.returncode or 0)

    async def close(self) -> None:
        """End the replays that run."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return what the child needs of an environment: no secret of anybody's is among it."""
    return {name: given[name] for name in PASSED_ON if name in given}


def _understood(account: str, out: bytes, code: int) -> list[Explanation]:
    try:
        said = msgspec.json.decode(out)
    except msgspec.DecodeError:
        raise JournalError("the journal could not be explained; see `onefold explain`") from None
    if isinstance(said, list):
        return [_explanation(account, one) for one in said]
    error = str(said.get("error", ""))
    if code == ConfigError.exit_code:
        raise NotFoundError(error)
    raise JournalError(error)


def _explanation(account: str, one: dict[str, Any]) -> Explanation:
    signal = one.get("signal") or {}
    decision = one.get("decision") or {}
    lines = {kind: [GateLine(**line) for line in one.get(kind, [])] for kind in _GATES}
    return Explanation(
        account=account,
        decision=decision.get("id"),
        time=one["time"],
        strategy=one["strategy"],
        symbol=one["instrument"],
        after=one["after"],
        close=one.get("close"),
        wants=one["wants"],
        held_lots=one["held_lots"],
        features=one["features"],
        score=signal.get("score"),
        models=signal.get("models", []),
        conclusion=one["conclusion"],
        gates=lines["gates"],
        own_gates=lines["own_gates"],
        mandates=[_mandate(mandate) for mandate in one.get("mandates", [])],
    )


_GATES = ("gates", "own_gates")


def _mandate(one: dict[str, Any]) -> str:
    scope = "/".join(filter(None, (one.get("strategy"), one.get("instrument")))) or "everything"
    cause = one.get("cause", "")
    return f"{one['version']}: {one['mandate']} {one['value']:g} of {scope}; {cause}"
