"""Onefold in a script or a notebook: strategies and bars in, a result out.

The same plan, fold and views as the command line; only the settings come as objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from onefold.adapters.files import BarsConfig, FileConfig, LoadedBars, load, load_frame
from onefold.app.explained import explained
from onefold.app.results import view_of, volume_facts
from onefold.app.vet import vet
from onefold.app.wiring import check_fills
from onefold.domain.columns import Bars
from onefold.domain.errors import ConfigError, did_you_mean
from onefold.domain.instruments import CATALOG, Instrument, Kind
from onefold.domain.instruments import instrument as catalogued
from onefold.domain.records import Action
from onefold.domain.rules import AccountRules, StrategyRules
from onefold.domain.sanitise import sanitise
from onefold.engine.backtest import backtest as run_backtest
from onefold.signals.gate import Gate
from onefold.signals.strategy import Strategy
from onefold.sim.backtest import Input
from onefold.sim.plan import Placement, Plan
from onefold.views.result import ResultView

OwnGates = Mapping[str, Gate]
Ruled = tuple[Strategy, StrategyRules] | tuple[Strategy, StrategyRules, OwnGates]
Strategies = Strategy | Sequence[Strategy] | Mapping[str, Strategy | Ruled]
"""One strategy, several, or names with strategies and, where they differ, their rules and gates of
your own by name."""

Source = Any
"""A polars or pandas frame, a path, columns by name, or `Bars`."""

Instruments = str | Instrument | Mapping[str, Instrument | Mapping[str, Any]]

UNNAMED = "ASSET"
"""The symbol of bars that come without one."""

OPTIONS = frozenset(BarsConfig.model_fields) - {"instrument"}


def backtest(
    strategies: Strategies,
    bars: Source | Mapping[str, Source],
    *,
    instruments: Instruments | None = None,
    account: AccountRules | None = None,
    rules: StrategyRules | Mapping[str, Any] | None = None,
    rates: Mapping[str, float] | None = None,
    rate_pairs: Mapping[str, str] | None = None,
    inputs: Iterable[Input] = (),
    title: str = "Backtest",
    **options: Any,
) -> ResultView:
    """Run strategies over bars and return everything that came of it.

    `bars` is one frame or file, or a mapping of symbols to these. `instruments` describes what is
    not in the catalogue: for one frame a symbol or an `Instrument` (left out, a plain equity), for
    several a mapping of symbols to instruments or their facts. `rules` apply to every strategy that
    does not come with its own. `inputs` are further events, such as commands. `options` are
    those of `BarsConfig` (`timezone`, `ts_is`, `interval`, ...) for all bars. Raises `ConfigError`,
    `DataError` and `SignalError`.
    """
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        hint = did_you_mean(unknown[0], OPTIONS)
        raise ConfigError(f"backtest has no argument {unknown[0]!r}{hint}")
    loaded = _loaded(bars, instruments, options)
    symbols = tuple(one.instrument.symbol for one in loaded)
    plan = Plan(
        account=account or AccountRules(),
        instruments=tuple(one.instrument for one in loaded),
        placements=tuple(_placements(strategies, _rules(rules), symbols)),
        intervals_ns=tuple(one.interval_ns for one in loaded),
        rates=rates or {},
        rate_pairs=rate_pairs or {},
    )
    for one in loaded:
        check_fills(plan, one)
    columns = {one.instrument.symbol: one.bars for one in loaded}
    vet(plan, columns)
    actions: list[Action] = [action for one in loaded for action in one.actions]
    events = [*actions, *inputs]
    run = run_backtest(plan, columns, events)
    folded = [event for event in events if isinstance(event, Action)]
    refused = {one.instrument.symbol: one.counts for one in loaded if one.counts}
    facts = {
        "Fingerprint": run.fingerprint,
        "Refused": refused,
        **volume_facts(plan, loaded),
    }
    return view_of(plan, columns, run, folded, facts=facts, title=title)


def _rules(rules: StrategyRules | Mapping[str, Any] | None) -> StrategyRules:
    if rules is None or isinstance(rules, StrategyRules):
        return rules or StrategyRules()
    try:
        return StrategyRules.model_validate(rules)
    except ValidationError as error:
        lines = explained(error, StrategyRules)
        raise ConfigError("; ".join(f"rules.{line}" for line in lines)) from None


def _placements(
    strategies: Strategies, rules: StrategyRules, symbols: tuple[str, ...]
) -> list[Placement]:
    """Return strategies with names and rules; without names their kinds are the names."""
    if isinstance(strategies, Strategy):
        strategies = [strategies]
    given: Any = strategies  # whatever a caller without a type checker passes
    if isinstance(given, str):
        raise ConfigError(f"{given!r} is a name: give strategy({given!r})")
    if isinstance(given, type):
        raise ConfigError(f"{given.__name__} is a class: give {given.__name__}()")
    if not isinstance(strategies, Mapping):
        named = [(one.kind, one) for one in strategies]
        kinds = [kind for kind, _ in named]
        twice = [kind for kind in kinds if kinds.count(kind) > 1]
        if twice:
            raise ConfigError(f"two strategies are of kind {twice[0]!r}: give a mapping of names")
        strategies = dict(named)
    placed = []
    for name, given in strategies.items():
        strategy, own, *more = given if isinstance(given, tuple) else (given, rules)
        if not isinstance(strategy, Strategy):
            raise ConfigError(f"strategy {name!r} is no Strategy but {type(strategy).__name__}")
        gates = more[0] if more else {}
        for gate_name, gate in gates.items():
            if not isinstance(gate, Gate):
                raise ConfigError(f"gate {gate_name!r} of {name!r} is no Gate but {gate!r}")
        placed.append(Placement(name, strategy, own, symbols, gates))
    return placed


def _loaded(
    bars: Source | Mapping[str, Source],
    instruments: Instruments | None,
    options: Mapping[str, Any],
) -> list[LoadedBars]:
    if _is_one(bars):
        return [_read(bars, _one_instrument(bars, instruments), options)]
    if isinstance(instruments, (str, Instrument)):
        raise ConfigError("bars of several symbols need a mapping of symbols to instruments")
    if not bars:
        raise ConfigError("there are no bars")
    known = {s: _instrument(s, facts) for s, facts in (instruments or {}).items()}
    unused = sorted(set(known) - set(bars))
    if unused:
        raise ConfigError(
            f"instruments: there are no bars of {unused[0]!r}{did_you_mean(unused[0], bars)}"
        )
    return [
        _read(source, known[symbol] if symbol in known else catalogued(symbol), options)
        for symbol, source in bars.items()
    ]


def _is_one(bars: Source) -> bool:
    """Return whether this is one table; a mapping is one when its values are columns."""
    if not isinstance(bars, Mapping):
        return True
    return any(str(name).lower() == "close" for name in bars)


def _one_instrument(bars: Source, instruments: Instruments | None) -> Instrument:
    match instruments:
        case None:
            name = (
                Path(bars).stem.partition(".")[0] if isinstance(bars, (str, PathLike)) else UNNAMED
            )
            return CATALOG.get(name) or Instrument(symbol=name, kind=Kind.EQUITY)
        case Instrument():
            return instruments
        case str():
            return catalogued(instruments)
        case _ if len(instruments) == 1:
            ((symbol, facts),) = instruments.items()
            return _instrument(symbol, facts)
    names = ", ".join(instruments)
    raise ConfigError(f"one set of bars needs one instrument, not {len(instruments)}: {names}")


def _instrument(symbol: str, facts: Instrument | Mapping[str, Any]) -> Instrument:
    if isinstance(facts, Instrument):
        return facts
    try:
        return catalogued(symbol, **facts)
    except ValidationError as error:
        lines = explained(error, Instrument)
        raise ConfigError("; ".join(f"instruments.{symbol}.{line}" for line in lines)) from None


def _read(source: Source, traded: Instrument, options: Mapping[str, Any]) -> LoadedBars:
    if isinstance(source, Bars):
        if options:
            raise ConfigError(f"bars that are columns already have no {next(iter(options))}")
        return _judged(source, traded)
    try:
        if isinstance(source, (str, PathLike)):
            return load(FileConfig(path=Path(source), instrument=traded, **options))
        return load_frame(source, BarsConfig(instrument=traded, **options), name=traded.symbol)
    except ValidationError as error:
        lines = explained(error, BarsConfig)
        raise ConfigError("; ".join(f"bars of {traded.symbol}: {line}" for line in lines)) from None
    except ConfigError as error:
        raise ConfigError(f"bars of {traded.symbol}: {error}") from None


def _judged(bars: Bars, traded: Instrument) -> LoadedBars:
    """Return columns of bars as if they had been read, without those that are not plausible."""
    clean = sanitise(bars, traded)
    lengths, counts = np.unique(bars.ts - bars.ts_open, return_counts=True)
    return LoadedBars(
        source=traded.symbol,
        instrument=traded,
        bars=clean.bars,
        quarantined=[],
        before=np.zeros(0, np.int64),
        counts=clean.counts(),
        interval_ns=int(lengths[counts.argmax()]) if len(lengths) else 0,
        interval_inferred=True,
        closes_only=False,
    )
