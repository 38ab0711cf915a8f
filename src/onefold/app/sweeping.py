"""Run a sweep's trials over all cores, or a cluster, and keep each as soon as it is done.

Every process opens the configuration and the bars once, and is then given trials. What is done is a
line in a file; a sweep that was killed reads it and goes on. The code that runs a trial is the same
wherever it runs.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from pydantic import ValidationError

from onefold.adapters.models import ModelStore
from onefold.app.explained import explained
from onefold.app.settings import Loaded, StrategySettings, load_settings
from onefold.app.wiring import Chosen, Wired, made_of, store_of
from onefold.domain.errors import ConfigError, MissingExtra, ModelError, OnefoldError
from onefold.engine.backtest import backtest
from onefold.learn.config import SweepConfig
from onefold.learn.sweep import MEASURES, Outcome, Params, Search, measured
from onefold.signals.model import Model, Models
from onefold.sim.market import Market
from onefold.sim.plan import Plan

LOG = "trials.jsonl"
MEMO = 64
"""Columns of features that a process remembers for each instrument."""
AHEAD = 4
"""Trials that wait for each process, so that none is idle."""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One trial in the file; `returns` are 32-bit floats in base 64."""

    number: int
    params: dict[str, Any]
    measures: dict[str, float | None]
    returns: str = ""
    refused: str = ""


@dataclass(frozen=True)
class Bench:
    """A configuration with its bars, ready for trials."""

    wired: Wired
    market: Market
    config: SweepConfig
    store: ModelStore

    def plan(self, params: Params) -> Plan:
        """Return the plan of a trial. Raises `ConfigError` for parameters that do not fit."""
        name = self.config.strategy
        settings = _with(self.wired.settings.strategies[name], params, name)
        recipe = self.wired.recipe
        made = made_of({name: settings}, recipe.sources, self._asked())[name]
        [placement] = self.wired.plan.placements
        recipe.check_models(name, made.strategy, placement.symbols)
        changed = replace(
            placement, strategy=made.strategy, rules=settings.rules, own_gates=made.own_gates
        )
        return replace(self.wired.plan, placements=(changed,))

    def models(self) -> dict[str, str]:
        """Return the models that trials may ask besides the configured one, or why they cannot."""
        spaces = self.config.params.items()
        names = [v for path, space in spaces if path.startswith("params.") for v in _words(space)]
        found, asked = {}, self._asked()
        for name in names:
            try:
                found[name] = asked.get(name).identity
            except ModelError as error:
                found[name] = str(error)
        return found

    def _asked(self) -> Models:
        """Return the models of the configuration, and for other names those of the store."""
        return _Asked(self.wired.recipe.chosen, self.store)

    def outcome(self, params: Params) -> Outcome:
        """Run a trial; one whose parameters do not fit is refused with the reason."""
        try:
            plan = self.plan(params)
            run = backtest(plan, self.market, self.wired.actions)
        except OnefoldError as error:
            return Outcome({}, np.zeros(0, np.float32), str(error))
        return measured(run, self.wired.settings.account.cash)


def bench(path: str, name: str) -> Bench:
    """Return a sweep of a configuration, ready for trials. Raises `ConfigError`, `DataError`.

    The strategy trades alone: what others do is nothing that its parameters could be judged by.
    """
    loaded = load_settings(path)
    config = loaded.settings.sweeps[name]
    alone = {config.strategy: loaded.settings.strategies[config.strategy]}
    settings = loaded.settings.model_copy(update={"strategies": alone})
    alone_loaded = Loaded(settings, loaded.path)
    wired = Wired(alone_loaded)
    market = Market(wired.plan.names.symbols, wired.bars, memo=MEMO)
    return Bench(wired, market, config, store_of(alone_loaded))


class _Asked(NamedTuple):
    """Models by name: those that a run began with, else those of the store."""

    chosen: Chosen
    store: ModelStore

    def get(self, name: str) -> Model:
        """Return a model. Raises `ModelError`."""
        known = self.chosen.models.get(name)
        return self.store.get(name) if known is None else known


def _words(space: object) -> list[str]:
    return [v for v in space if isinstance(v, str)] if isinstance(space, (list, tuple)) else []


_bench = lru_cache(maxsize=1)(bench)


def trial(path: str, name: str, number: int, params: Params) -> Line:
    """Run one trial in a process that may have opened the sweep before."""
    return tried(_bench(path, name), number, params)


def tried(made: Bench, number: int, params: Params) -> Line:
    """Return what came of one trial."""
    outcome = made.outcome(params)
    returns = base64.b64encode(outcome.returns.tobytes()).decode()
    return Line(number, dict(params), outcome.measures, returns, outcome.refused)


def outcome_of(line: Line) -> Outcome:
    """Return what came of a trial in the file."""
    returns = np.frombuffer(base64.b64decode(line.returns, validate=True), np.float32)
    return Outcome(line.measures, returns, line.refused)


def _with(settings: StrategySettings, params: Params, name: str) -> StrategySettings:
    """Return a strategy's settings with some changed, by their paths below it."""
    changed = settings.model_dump(by_alias=True)
    for path, value in params.items():
        *parents, last = path.split(".")
        place: Any = changed
        for key in parents:
            if not isinstance(place.get(key), dict):
                raise ConfigError(f"strategies.{name}.{path}: there is no such setting")
            place = place[key]
        place[last] = value
    try:
        return StrategySettings.model_validate(changed)
    except ValidationError as error:
        lines = explained(error, StrategySettings)
        raise ConfigError("; ".join(f"strategies.{name}.{line}" for line in lines)) from None


class Workers(Protocol):
    """Who runs trials: submit them, and take them as they are done."""

    size: int

    def run(self, tasks: Iterator[tuple[int, Params]]) -> Iterator[Line]:
        """Yield each trial once it is done."""

    def close(self) -> None:
        """Let go of what runs them."""


class Processes:
    """Trials in processes of this machine."""

    def __init__(self, path: str, name: str, size: int) -> None:
        self._path, self._name, self.size = path, name, size
        # A process that is forked would share numba's and polars' threads.
        self._pool = ProcessPoolExecutor(size, mp_context=get_context("spawn"))

    def run(self, tasks: Iterator[tuple[int, Params]]) -> Iterator[Line]:
        """Yield each trial once it is done."""
        waiting: set[Future[Line]] = set()
        while True:
            for number, params in islice(tasks, AHEAD * self.size - len(waiting)):
                waiting.add(self._pool.submit(trial, self._path, self._name, number, params))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)


class Here:
    """Trials in this process, one after another."""

    size = 1

    def __init__(self, made: Bench) -> None:
        self._made = made

    def run(self, tasks: Iterator[tuple[int, Params]]) -> Iterator[Line]:
        """Yield each trial once it is done."""
        for number, params in tasks:
            yield tried(self._made, number, params)

    def close(self) -> None:
        """Do nothing."""


class RayCluster:
    """Trials on a Ray cluster, whose machines have the configuration and its data."""

    def __init__(self, path: str, name: str, size: int, address: str | None = None) -> None:
        try:
            import ray  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        except ImportError:
            raise MissingExtra("--on ray", "cluster") from None
        self._ray, self.size = ray, size
        self._own = not ray.is_initialized()
        if self._own:
            ray.init(
                address=address,
                num_cpus=None if address else size,
                log_to_driver=False,
                include_dashboard=None if address else False,
            )
        self._task = ray.remote(num_cpus=1)(trial)
        self._path, self._name = path, name

    def run(self, tasks: Iterator[tuple[int, Params]]) -> Iterator[Line]:
        """Yield each trial once it is done."""
        waiting: list[Any] = []
        while True:
            for number, params in islice(tasks, AHEAD * self.size - len(waiting)):
                waiting.append(self._task.remote(self._path, self._name, number, params))
            if not waiting:
                return
            done, waiting = self._ray.wait(waiting, num_returns=1)
            yield from self._ray.get(done)

    def close(self) -> None:
        """Leave the cluster."""
        if self._own:
            self._ray.shutdown()


def run_sweep(
    search: Search, workers: Workers, log: Path, advance: Callable[[int], None]
) -> dict[int, Line]:
    """Run all trials that the file does not have yet; return every trial by its number."""
    done = read_log(log)
    _check_numbers(done, search.total, log)
    with log.open("ab") as file:
        for batch in search.batches():
            for number, params in batch:
                if number in done:
                    _check(number, params, done[number], log)
            for line in workers.run(iter([(n, p) for n, p in batch if n not in done])):
                file.write(msgspec.json.encode(line) + b"\n")
                file.flush()
                os.fsync(file.fileno())
                done[line.number] = line
                advance(len(done))
            search.tell([(n, outcome_of(done[n])) for n, _ in batch])
    return done


def read_log(log: Path) -> dict[int, Line]:
    """Return the trials of a file by number; a line that was cut short by a crash is removed."""
    if not log.exists():
        return {}
    raw = log.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        with log.open("r+b") as file:
            file.truncate(len(whole))
    found: dict[int, Line] = {}
    days = 0
    for n, text in enumerate(whole.splitlines(), 1):
        try:
            line = msgspec.json.decode(text, type=Line)
            days = _read(line, days)
        except (msgspec.DecodeError, ValueError) as error:
            raise ConfigError(
                f"{log}, line {n} is no trial that was written here ({error}): move the folder away"
            ) from None
        found[line.number] = line
    return found


def _read(line: Line, days: int) -> int:
    """Return of how many days a line's returns are, `days` for one that was refused.

    Raises `ValueError` for a line that no trial leaves behind.
    """
    if line.refused:
        return days
    missing = [name for name in MEASURES if name not in line.measures]
    if missing:
        raise ValueError(f"its measures lack {missing[0]}")
    returns = outcome_of(line).returns
    if not len(returns):
        raise ValueError("it has no returns")
    if not np.isfinite(returns).all():
        raise ValueError("its returns are not all numbers")
    if days and len(returns) != days:
        raise ValueError(f"it has returns of {len(returns)} days, others of {days}")
    return len(returns)


def _check_numbers(done: Mapping[int, Line], total: int, log: Path) -> None:
    beyond = [number for number in done if not 0 <= number < total]
    if beyond:
        raise ConfigError(
            f"{log}: trial {beyond[0]} is none of the {total:,} of this search: move the folder "
            "away"
        )


def _check(number: int, params: Params, line: Line, log: Path) -> None:
    if dict(params) != line.params:
        raise ConfigError(
            f"{log}: trial {number} was of {line.params}, and is of {dict(params)} now: the search "
            "has changed, move the folder away"
        )


def frame_of(lines: Mapping[int, Line], names: Sequence[str]) -> Any:
    """Return all trials as a frame: number, parameters, measures, and why one was refused."""
    import polars as pl  # noqa: PLC0415 - only for the end of a sweep

    rows = [
        {
            "trial": n,
            **{name: line.params[name] for name in names},
            **line.measures,
            "refused": line.refused,
        }
        for n, line in sorted(lines.items())
    ]
    return pl.from_dicts(rows, infer_schema_length=None)
