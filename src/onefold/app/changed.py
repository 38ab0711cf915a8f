"""What a person wants to change of a recorded run: its configuration, its models, its mandates.

A change is given as one would give it to a run, and is checked against what the journal has: a name
that is not there is an error with the nearest right one, because a change that meets nothing would
seem harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from onefold.adapters.files import FileFeed
from onefold.adapters.models import ModelStore
from onefold.app.accounts import Account
from onefold.app.configfile import read_yaml
from onefold.app.settings import Loaded, accounts_of, load_settings
from onefold.app.wiring import (
    Recipe,
    check_fills,
    chosen_of,
    load_bars,
    read_sources,
    store_of,
)
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.domain.records import Bar, Mandate, SessionStart
from onefold.engine.session import Input
from onefold.sim.plan import Plan

_MANDATE_KEYS = ("mandate", "value", "strategy", "instrument", "from")


def configured(config: Path, recorded: Recipe, mode: str) -> Recipe:
    """Return the recipe of another configuration for the inputs of a journal.

    Its data is not read: the bars are the journal's, and instruments that are not in it are left to
    the replay to refuse. Raises `ConfigError` that begins with the file.
    """
    loaded = load_settings(config)
    settings = loaded.settings
    named = {*settings.data, *settings.feeds}
    intervals = {s: ns for s, ns in recorded.intervals_ns.items() if s in named}
    try:
        _check_symbols(loaded, recorded)
        if mode == "simulate":
            return _recipe(loaded, intervals)
        return _account(loaded, recorded.settings.account.name).recipe(intervals)
    except ConfigError as error:
        raise ConfigError(f"{config}: {error}") from error


class Backtest(NamedTuple):
    """The other side of a journal, made of a configuration: what runs, over which inputs."""

    plan: Plan
    inputs: list[Input]
    start: SessionStart


def backtest_of(
    config: Path, recorded: Recipe, mode: str, live: Mapping[str, list[Bar]]
) -> Backtest:
    """Return a configuration's backtest over the time of a journal, whose bars are `live`.

    Bars before an instrument's first only warm features up; those after its last are left out.
    Raises `ConfigError` and `DataError`.
    """
    loaded = load_settings(config)
    if not loaded.settings.data:
        raise ConfigError(f"{config}: data: a backtest needs recorded bars; say where they are")
    try:
        bars = load_bars(loaded)
        intervals = {symbol: one.interval_ns for symbol, one in bars.items()}
        recipe = (
            _recipe(loaded, intervals)
            if mode == "simulate"
            else _account(loaded, recorded.settings.account.name).recipe(intervals)
        )
        plan = recipe.plan()
        for one in bars.values():
            check_fills(plan, one)
    except ConfigError as error:
        raise ConfigError(f"{config}: {error}") from error
    inputs = list(_within(FileFeed(list(bars.values())).events(), live))
    first = min((bar.ts for bar in inputs if isinstance(bar, Bar) and not bar.late), default=0)
    if not first:
        raise ConfigError(f"{config}: its data has no bar of the time of the journal")
    start = SessionStart(first, "backtest", "", "", recipe.hash, {})
    return Backtest(plan, inputs, start)


def _within(events: Iterable[Input], live: Mapping[str, list[Bar]]) -> Iterator[Input]:
    """Yield what came while a journal was written, and the bars before as ones to warm up with."""
    times = {symbol: [bar.ts for bar in rows if not bar.late] for symbol, rows in live.items()}
    spans = {symbol: (min(ts), max(ts)) for symbol, ts in times.items() if ts}
    ends = [end for span in spans.values() for end in span]
    whole = (min(ends, default=0), max(ends, default=0))
    for one in events:
        first, last = spans.get(one.instrument, whole)
        if one.ts > last:
            continue
        if one.ts >= first:
            yield one
        elif isinstance(one, Bar):
            yield msgspec.structs.replace(one, late=True)


def _check_symbols(loaded: Loaded, recorded: Recipe) -> None:
    """Raise `ConfigError` for an instrument that is traded and of which the journal has no bars."""
    settings, known = loaded.settings, recorded.intervals_ns
    everything = {*settings.data, *settings.feeds}
    wanted = {s: f"strategies.{n}" for n, one in settings.strategies.items()
              for s in one.instruments or everything}  # fmt: skip
    wanted |= dict.fromkeys(settings.rate_pairs, "rate_pairs")
    for symbol, where in wanted.items():
        if symbol not in known:
            hint = did_you_mean(symbol, known)
            raise ConfigError(f"{where}: the journal has no bars of {symbol!r}{hint}")


def _recipe(loaded: Loaded, intervals_ns: dict[str, int]) -> Recipe:
    sources = read_sources(loaded)
    chosen = chosen_of(loaded.settings, sources, store_of(loaded))
    return Recipe(loaded.settings, intervals_ns, sources, chosen).fitted()


def _account(loaded: Loaded, name: str) -> Account:
    """Return the account of a configuration that a journal is of, or its only one."""
    accounts = accounts_of(loaded.settings)
    if name not in accounts and len(accounts) > 1:
        raise ConfigError(f"accounts: there is no {name!r}{did_you_mean(name, accounts)}")
    name = name if name in accounts else next(iter(accounts))
    return Account(loaded, name, accounts[name], "shadow")


def with_model(recipe: Recipe, text: str, store: ModelStore) -> Recipe:
    """Return a recipe in which a strategy has another model: `STRATEGY=NAME` or `...=NAME@3`.

    Raises `ConfigError` for a strategy that is not there or has no model, and `ModelError`.
    """
    strategy, equals, name = text.partition("=")
    if not (strategy and equals and name):
        raise ConfigError(f"--model {text!r}: write STRATEGY=NAME or STRATEGY=NAME@VERSION")
    settings = recipe.settings
    if strategy not in settings.strategies:
        hint = did_you_mean(strategy, settings.strategies)
        raise ConfigError(f"--model: the run has no strategy {strategy!r}{hint}")
    one = settings.strategies[strategy]
    if "model" not in one.params:
        raise ConfigError(
            f"--model: strategy {strategy!r} has no parameter `model`; change it with --config"
        )
    changed = one.model_copy(update={"params": {**one.params, "model": name}})
    strategies = {**settings.strategies, strategy: changed}
    chosen = recipe.chosen
    disabled = {n: why for n, why in chosen.disabled.items() if n != strategy}
    return recipe._replace(
        settings=settings.model_copy(update={"strategies": strategies}),
        chosen=chosen._replace(models={**chosen.models, name: store.get(name)}, disabled=disabled),
    )


def mandates_of(texts: Iterable[str]) -> tuple[Mandate, ...]:
    """Return mandates from texts: `NAME=VALUE[@STRATEGY[/SYMBOL]]`, or the name of a file of them.

    A file is YAML: `mandates`, a list of `mandate`, `value` and, where wanted, `strategy`,
    `instrument` and `from`, a date or a time, UTC. Without `from` the time is 0, which means from
    the beginning. Raises `ConfigError`.
    """
    found: list[Mandate] = []
    for text in texts:
        if "=" in text:
            found.append(_mandate(text))
        else:
            found += _file(Path(text))
    return tuple(found)


def _mandate(text: str) -> Mandate:
    what, _, scope = text.partition("@")
    name, _, value = what.partition("=")
    strategy, _, symbol = scope.partition("/")
    try:
        number = float(value)
    except ValueError:
        raise ConfigError(
            f"--mandate {text!r}: {value!r} is no number; write conf_min=0.6@STRATEGY/SYMBOL, or "
            "the name of a file"
        ) from None
    return Mandate(0, 0, name, number, strategy, symbol, "onefold diff")


def _file(path: Path) -> list[Mandate]:
    raw = read_yaml(path).get("mandates")
    if not isinstance(raw, list):
        raise ConfigError(f"{path}: give `mandates`, a list")
    return [_entry(f"{path}: mandates[{n}]", one) for n, one in enumerate(raw)]


def _entry(where: str, one: Any) -> Mandate:
    if not isinstance(one, dict):
        raise ConfigError(f"{where}: give a mapping with {', '.join(_MANDATE_KEYS)}")
    for key in one:
        if key not in _MANDATE_KEYS:
            raise ConfigError(f"{where}: unknown key {key!r}{did_you_mean(key, _MANDATE_KEYS)}")
    value = one.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{where}.value: {value!r} is no number")
    names = [str(one.get(key, "")) for key in ("mandate", "strategy", "instrument")]
    mandate, strategy, symbol = names
    ts = _time(f"{where}.from", one["from"]) if "from" in one else 0
    return Mandate(ts, 0, mandate, float(value), strategy, symbol, "onefold diff")


def _time(where: str, value: Any) -> int:
    """Return a date's beginning or a time in nanoseconds UTC."""
    try:
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - see below
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise ConfigError(
            f"{where}: {value!r} is no time; write 2008-10-10 or 2008-10-10T14:30"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000
