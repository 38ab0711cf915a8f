"""The drift of a model in a session: what it was shown and said, from the session's journal."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from onefold.domain.convert import to_columns
from onefold.domain.records import Bar, Score
from onefold.engine.replay import no_journal
from onefold.journal import decode, read
from onefold.signals.feature import FeatureSet
from onefold.signals.model import Model
from onefold.views.drift import Drift, drift


def drift_of(model: Model, journal: Path) -> list[Drift]:
    """Return the drift of a model's score and features over a journal; scores come first.

    Features are computed from the journal's bars again, at those bars that were scored. Raises
    `JournalError`.
    """
    bars: dict[str, list[Bar]] = defaultdict(list)
    scored: dict[str, set[int]] = defaultdict(set)
    said = []
    for entry in read(journal):
        if entry.kind == "bar":
            bar = decode(entry, Bar)
            bars[bar.instrument].append(bar)
        elif entry.kind == "score":
            score = decode(entry, Score)
            if score.model == model.identity:
                scored[score.instrument].add(score.ts)
                said.append(np.nan if score.value is None else score.value)
    if not bars:
        raise no_journal(journal)
    one, matrix = model.sidecar, []
    for symbol, times in scored.items():
        columns = to_columns(bars[symbol])
        values = FeatureSet(model.features).batch(columns)
        at = np.isin(columns.ts, list(times))
        matrix.append(np.column_stack([values[f.name] for f in model.features])[at])
    found = [drift("score", one.quantiles, np.array(said, np.float64))]
    if matrix:
        rows = np.concatenate(matrix)
        parts = zip(one.features, one.feature_quantiles, rows.T, strict=False)
        found += [drift(text, quantiles, column) for text, quantiles, column in parts]
    return found
