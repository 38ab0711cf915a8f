"""What a model learns from: the events of all instruments with their features and labels.

*Inputs*: a plan with one strategy, bars by symbol, what the training says. *Output*: one row for
each event, in order of time. *Invariant*: a row holds nothing that was not known at its event's
close, and its label nothing that was known then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from onefold.domain.columns import Bars, Floats, Integers, Sides
from onefold.domain.errors import ConfigError, DataError
from onefold.learn import labels as labelled
from onefold.learn.config import TrainingConfig
from onefold.learn.labels import Labels
from onefold.learn.sidecars import hash_of
from onefold.learn.validation import Spans
from onefold.learn.weights import attribution, decayed, uniqueness
from onefold.signals import Feature, FeatureSet, feature_of
from onefold.sim.plan import Plan

EVENTS_PER_FOLD = 20
"""Fewest events for each fold; with fewer, nothing can be said."""
DAY_NS = 86_400_000_000_000


@dataclass(frozen=True)
class Sample:
    """Events in order of time: `features` has a row for each, `weights` how much each says.

    `unique` is each event's uniqueness among those of all instruments, whose sum is the number of
    events that are independent. `spans` are in nanoseconds.
    """

    names: tuple[str, ...]
    features: Floats
    won: Sides
    gains: Floats
    spans: Spans
    weights: Floats
    unique: Floats
    symbols: tuple[str, ...]
    interval_ns: int
    data_hash: str

    @property
    def rows(self) -> int:
        """Return the number of events."""
        return len(self.won)


def sample(plan: Plan, bars: Mapping[str, Bars], config: TrainingConfig) -> Sample:
    """Return the events of every instrument that the strategy trades.

    Raises `ConfigError` and `DataError` for what cannot be learnt from.
    """
    features = [feature_of(text) for text in config.features]
    symbols = plan.placements[0].symbols
    shown = {symbol: until(symbol, bars[symbol], config) for symbol in symbols}
    parts = [_part(plan, symbol, shown[symbol], features, config) for symbol in symbols]
    matrix = np.concatenate([part[0] for part in parts])
    made = labelled.joined([part[1] for part in parts])
    start, end = (np.concatenate([part[i] for part in parts]) for i in (2, 3))
    weights = np.concatenate([part[4] for part in parts])
    order = np.lexsort((made.row, start))
    made, spans = made.take(order), Spans(start[order], end[order])
    unique = _unique(spans)
    found = Sample(
        names=tuple(feature.name for feature in features),
        features=matrix[order],
        won=made.won,
        gains=made.gain,
        spans=spans,
        weights=weights[order] * decayed(unique, config.decay),
        unique=unique,
        symbols=symbols,
        interval_ns=interval_of(plan),
        data_hash=hash_of(shown),
    )
    _check(found, config, _unknown(features, shown))
    return found


def _unknown(features: list[Feature], shown: Mapping[str, Bars]) -> str:
    """Return the feature that takes longest to be known, where that costs most of the bars."""
    longest = max(features, key=lambda one: one.warm_up)
    rows = max(columns.rows for columns in shown.values())
    if longest.warm_up < rows / 2:
        return ""
    return (
        f"; of {rows:,} bars {longest.name} is unknown at the first {longest.warm_up:,} (warm-up)"
    )


def interval_of(plan: Plan) -> int:
    """Return the length of the bars that a plan's strategy trades on, 0 where they differ."""
    [placement] = plan.placements
    lengths = dict(zip(plan.names.symbols, plan.intervals_ns, strict=True))
    found = {lengths[symbol] for symbol in placement.symbols}
    return found.pop() if len(found) == 1 else 0


def until(symbol: str, bars: Bars, config: TrainingConfig) -> Bars:
    """Return the bars that a training may use. Raises `DataError` where there are none."""
    if config.until is None:
        return bars
    limit = np.datetime64(config.until, "ns").astype(np.int64)
    shown = bars.slice(0, int(np.searchsorted(bars.ts, limit, side="right")))
    if not shown.rows:
        first, last = (np.datetime64(int(bars.ts[i]), "ns").astype("M8[D]") for i in (0, -1))
        raise DataError(
            f"until {config.until}: before that day there are no bars of {symbol}, which has "
            f"{first} to {last}"
        )
    return shown


def _part(
    plan: Plan, symbol: str, bars: Bars, features: list[Feature], config: TrainingConfig
) -> tuple[Floats, Labels, Integers, Integers, Floats]:
    """Return one instrument's features, labels, spans and weights."""
    n = plan.names.symbols.index(symbol)
    alone = replace(
        plan,
        instruments=(plan.instruments[n],),
        intervals_ns=(plan.intervals_ns[n],),
        placements=(replace(plan.placements[0], symbols=(symbol,)),),
        rate_pairs={},
    )
    try:
        return _labelled(alone, bars, features, config)
    except DataError as error:
        raise DataError(f"{symbol}: {error}") from None


def _labelled(
    plan: Plan, bars: Bars, features: list[Feature], config: TrainingConfig
) -> tuple[Floats, Labels, Integers, Integers, Floats]:
    """Return the same of the only instrument of a plan."""
    columns = FeatureSet(features).batch(bars)
    matrix = np.column_stack([columns[feature.name] for feature in features])
    events = _events(plan, bars, config)
    events = events[np.isfinite(matrix[events]).all(axis=1)]
    if config.label == "trade":
        made = labelled.trades(plan, bars, events)
    elif config.label == "direction":
        made = labelled.direction(bars.close, events, config.horizon)
    else:
        made = labelled.trend(bars.close, events, config.horizon)
    weights = uniqueness(made, bars.rows)
    if config.weights == "attribution":
        weights = weights * attribution(made, bars.close)
    return matrix[made.row], made, bars.ts[made.row], bars.ts[made.end], weights


def _events(plan: Plan, bars: Bars, config: TrainingConfig) -> Integers:
    if config.label == "trade":
        signals = plan.placements[0].strategy.batch(bars)
        events = labelled.entries(signals.side, signals.unready, turns_only=config.turns_only)
    else:
        events = np.arange(bars.rows)
    if config.cusum is not None:
        events = np.intersect1d(events, labelled.cusum(bars.close, config.cusum))
    return events


def _unique(spans: Spans) -> Floats:
    """Return uniqueness in time among the events of all instruments."""
    times = np.unique(np.r_[spans.start, spans.end])
    row, end = np.searchsorted(times, spans.start), np.searchsorted(times, spans.end)
    none = np.zeros(len(row))
    pooled = Labels(row, end, row, none, none.astype(np.int8))
    return uniqueness(pooled, len(times))


def _check(found: Sample, config: TrainingConfig, unknown: str) -> None:
    least = EVENTS_PER_FOLD * config.folds
    if found.rows < least:
        raise DataError(
            f"{found.rows} events are too few to learn from: {least} are needed for "
            f"{config.folds} folds; take more data, or fewer folds{unknown}"
        )
    share = float(np.mean(found.won))
    if share in (0.0, 1.0):
        what = "won" if share else "lost"
        raise DataError(f"all {found.rows} events are {what}: there is nothing to tell apart")
    flat = [n for n, c in zip(found.names, found.features.T, strict=True) if np.ptp(c) == 0.0]
    if flat:
        raise ConfigError(f"feature {flat[0]} is the same at every event: leave it out")
