"""The drift of a model in a session: what it was shown and said, from the session's journal.

A session asks a model at every bar, and a filter's model was trained on the bars at which its rule
wants a position. So like is compared with like: of what was scored, only the bars count that would
have been events of the training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from onefold.app.wiring import recorded_recipe
from onefold.domain.columns import Bars, Integers
from onefold.domain.convert import to_columns
from onefold.domain.errors import ModelError
from onefold.domain.records import Bar, Score, SessionStart, Signal
from onefold.engine.replay import no_journal
from onefold.journal import decode, read
from onefold.learn.labels import cusum, entries
from onefold.signals.feature import FeatureSet
from onefold.signals.learned import rule_of
from onefold.signals.model import Model, Sidecar, scores_of
from onefold.views.drift import Drift, drift


class Compared(NamedTuple):
    """The drift of a model's score and features, and which bars were compared, in words."""

    drifts: list[Drift]
    bars: str


@dataclass
class _Seen:
    """What a journal holds of a model."""

    filters: set[str] = field(default_factory=set)
    bars: dict[str, list[Bar]] = field(default_factory=lambda: defaultdict(list))
    scores: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    signals: dict[tuple[str, str], list[Signal]] = field(default_factory=lambda: defaultdict(list))
    asked: set[str] = field(default_factory=set)


def drift_of(model: Model, journal: Path) -> list[Drift]:
    """Return the drift of a model over a journal, nothing where the session never asked it.

    Raises `JournalError`.
    """
    seen = _seen(model.identity, journal)
    return _compared(model, seen).drifts if seen.scores else []


def compared(model: Model, journal: Path) -> Compared:
    """Return the drift of score and features over a journal, scores first, and of which bars.

    Features are computed from the journal's bars again, at those of the scored bars that would have
    been events of its training. Raises `JournalError`, and `ModelError` where the session never
    asked the model.
    """
    seen = _seen(model.identity, journal)
    if not seen.scores:
        others = f"it asked {', '.join(sorted(seen.asked))}" if seen.asked else "it asked none"
        raise ModelError(f"the session in {journal} never asked model {model.identity}: {others}")
    return _compared(model, seen)


def _compared(model: Model, seen: _Seen) -> Compared:
    one, said, matrix = model.sidecar, [], []
    is_filtered = one.events in ("entries", "turns") and bool(seen.signals)
    for symbol, scores in seen.scores.items():
        columns = to_columns(seen.bars[symbol])
        times = np.fromiter(scores, np.int64, len(scores))
        if is_filtered:
            signals = [s for (_, where), s in seen.signals.items() if where == symbol]
            times = np.intersect1d(times, _wanted(signals, turns_only=one.events == "turns"))
        if one.cusum:
            times = np.intersect1d(times, columns.ts[cusum(columns.close, one.cusum)])
        said += [scores[ts] for ts in times.tolist()]
        matrix.append(_features(model, columns, times))
    rows = np.concatenate(matrix)
    found = [drift("score", one.quantiles, np.array(said, np.float64))]
    parts = zip(one.features, one.feature_quantiles, rows.T, strict=False)
    found += [drift(text, quantiles, column) for text, quantiles, column in parts]
    return Compared(found, _bars_text(one, is_filtered=is_filtered))


def _features(model: Model, columns: Bars, times: Integers) -> Any:
    values = FeatureSet(model.features).batch(columns)
    at = np.isin(columns.ts, times)
    return np.column_stack([values[f.name] for f in model.features])[at]


def _seen(identity: str, journal: Path) -> _Seen:
    """Return what a journal holds of a model: bars, its scores, and the signals of its filters."""
    seen, is_empty = _Seen(), True
    for entry in read(journal):
        if entry.kind == "session":
            seen.filters = _filters(identity, decode(entry, SessionStart))
        elif entry.kind == "bar":
            is_empty = False
            bar = decode(entry, Bar)
            seen.bars[bar.instrument].append(bar)
        elif entry.kind == "score":
            score = decode(entry, Score)
            seen.asked.add(score.model)
            if score.model == identity:
                value = np.nan if score.value is None else score.value
                seen.scores[score.instrument][score.ts] = value
        elif entry.kind == "signal" and seen.filters:
            signal = decode(entry, Signal)
            if signal.strategy in seen.filters:
                seen.signals[signal.strategy, signal.instrument].append(signal)
    if is_empty:
        raise no_journal(journal)
    return seen


def _filters(identity: str, start: SessionStart) -> set[str]:
    """Return the strategies of a session whose signals say what their rule wants."""
    plan = recorded_recipe(start).plan()
    return {
        one.name
        for one in plan.placements
        if rule_of(type(one.strategy)) is not None
        and identity in {score.name for score in scores_of(one.strategy.features.values())}
    }


def _wanted(signals: Iterable[list[Signal]], *, turns_only: bool) -> Integers:
    """Return the times at which one of the rules wants a position, as in training."""
    times = []
    for column in signals:
        sides = np.array([one.side for one in column], np.int8)
        unready = np.array([one.unready for one in column], np.int64)
        ts = np.array([one.ts for one in column], np.int64)
        times.append(ts[entries(sides, unready, turns_only=turns_only)])
    return np.unique(np.concatenate(times)) if times else np.zeros(0, np.int64)


def _bars_text(one: Sidecar, *, is_filtered: bool) -> str:
    """Return in words which bars were compared, and why where they are not those of training."""
    if is_filtered:
        what = "begins to want" if one.events == "turns" else "wants"
        return f"bars at which the rule {what} a position, as in training"
    if one.events == "bars":
        return "all bars that were scored, as in training"
    if one.events:
        return (
            "all bars that were scored; it was trained on those at which a rule wanted a position, "
            "which cannot be told in this session: what differs may be that"
        )
    return (
        "all bars that were scored; its sidecar does not say on which it was trained: what differs "
        "may be that, so train it anew"
    )
