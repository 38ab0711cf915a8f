"""Let mlfinpy answer the questions of `test_mlfinpy`, inside an environment of its own.

    python mlfinpy_answers.py ASKED.npz ANSWERED.npz

Its bounds on numpy and numba exclude ours, so it is a process apart that is told arrays and tells
arrays. What goes in and comes out are row numbers; mlfinpy itself wants times, so every row is one
second here. Nothing but calls of mlfinpy belongs here: a computation of our own would be checked
against itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import islice
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from mlfinpy.cross_validation import CombinatorialPurgedKFold, ml_get_train_times
from mlfinpy.cross_validation.cross_validation import PurgedKFold
from mlfinpy.filters.filters import cusum_filter
from mlfinpy.labeling.fixed_time_horizon import fixed_time_horizon
from mlfinpy.labeling.labeling import add_vertical_barrier, get_bins, get_events
from mlfinpy.labeling.raw_return import raw_return
from mlfinpy.labeling.trend_scanning import trend_scanning_labels
from mlfinpy.sample_weights.attribution import get_weights_by_return, get_weights_by_time_decay
from mlfinpy.sampling.concurrent import (
    get_av_uniqueness_from_triple_barrier,
    num_concurrent_events,
)
from mlfinpy.util.frac_diff import frac_diff_ffd

Arrays = dict[str, Any]


def times(rows: Any) -> pd.DatetimeIndex:
    """Return a time for every row number."""
    return pd.to_datetime(np.asarray(rows), unit="s")


def series(values: Any) -> pd.Series:
    """Return values with the times of their rows."""
    return pd.Series(values, index=times(np.arange(len(values))))


def barriers(prices: Any, events: Any, side: Any, take: Any, stop: Any, last: Any) -> Arrays:
    """Return the row of each event's first touch, and the return of the price until then."""
    path = series(prices)
    starts = path.index[events]
    found = get_events(
        path,
        starts,
        [float(take), float(stop)],
        pd.Series(1.0, index=path.index),
        min_ret=0.0,
        num_threads=1,
        vertical_barrier_times=add_vertical_barrier(starts, path, num_seconds=int(last)),
        side_prediction=pd.Series(float(side), index=path.index),
        verbose=False,
    )
    gains = get_bins(found.drop(columns="side"), path)["ret"]
    return {"end": path.index.get_indexer(found["t1"]), "gain": gains.to_numpy()}


def cusum(close: Any, threshold: Any) -> Arrays:
    """Return the rows at which the filter fires."""
    path = series(close)
    return {"row": path.index.get_indexer(cusum_filter(path, float(threshold)))}


def fracdiff(close: Any, d: Any, threshold: Any) -> Arrays:
    """Return the series of fixed width."""
    frame = series(close).to_frame("close")
    return {"value": frac_diff_ffd(frame, float(d), float(threshold))["close"].to_numpy()}


def weights(close: Any, start: Any, end: Any, oldest: Any) -> Arrays:
    """Return concurrency of bars; uniqueness, attribution and decay of labels."""
    path = series(close)
    events = pd.DataFrame({"t1": times(end)}, index=times(start))
    count = num_concurrent_events(path.index, events["t1"], events.index)
    unique = get_av_uniqueness_from_triple_barrier(events, path, 1, verbose=False)
    return {
        "row": path.index.get_indexer(count.index),
        "concurrency": count.to_numpy(),
        "uniqueness": unique["tW"].to_numpy(),
        "attribution": get_weights_by_return(events, path, 1, verbose=False).to_numpy(),
        "decay": get_weights_by_time_decay(
            events, path, 1, decay=float(oldest), verbose=False
        ).to_numpy(),
    }


def direction(prices: Any) -> Arrays:
    """Return what each price becomes by the next one, and the sign of that."""
    path = series(prices)
    return {
        "gain": raw_return(path, lag=True).to_numpy()[:-1],
        "sign": fixed_time_horizon(path, threshold=0, lag=True).to_numpy()[:-1],
    }


def trend(close: Any, events: Any, points: Any, window: Any) -> Arrays:
    """Return the row at which each event's most significant trend ends, and which way it goes."""
    path = series(close)
    found = trend_scanning_labels(path, path.index[events], int(window), int(points))
    return {
        "end": path.index.get_indexer(found["t1"]),
        "gain": found["ret"].to_numpy(),
        "sign": found["bin"].to_numpy(),
    }


def purge(start: Any, end: Any, begins: Any, ends: Any) -> Arrays:
    """Return of every tested span which events may be trained on."""
    spans = pd.Series(end, index=start)
    left = [
        ml_get_train_times(spans, pd.Series([last], index=[first]))
        for first, last in zip(begins, ends, strict=True)
    ]
    return {"training": np.array([np.isin(start, kept.index) for kept in left])}


def splits(made: Any, rows: int, count: int) -> Arrays:
    """Return the first splits as tables of a row for each, true where an event is in it."""
    training, tested = np.zeros((count, rows), bool), np.zeros((count, rows), bool)
    for n, (train, test) in enumerate(islice(made, count)):
        training[n, train] = True
        tested[n, test] = True
    return {"training": training, "tested": tested}


def kfold(start: Any, end: Any, folds: Any, embargo: Any) -> Arrays:
    """Return the folds."""
    spans = pd.Series(times(end), index=times(start))
    splitter = PurgedKFold(int(folds), spans, float(embargo))
    return splits(splitter.split(np.zeros((len(start), 1))), len(start), int(folds))


def combinatorial(start: Any, end: Any, groups: Any, tested: Any) -> Arrays:
    """Return all combinations of folds."""
    spans = pd.Series(times(end), index=times(start))
    splitter = CombinatorialPurgedKFold(int(groups), int(tested), spans)
    made = splitter.split(np.zeros((len(start), 1)))
    return splits(made, len(start), comb(int(groups), int(tested)))


ANSWERS: dict[str, Callable[..., Arrays]] = {
    one.__name__: one
    for one in (
        barriers, cusum, fracdiff, weights, direction, trend, purge, kfold, combinatorial,
    )
}  # fmt: skip


def main(asked: str, answered: str) -> None:
    """Answer everything in a file; keys are `question|case|array`."""
    cases: dict[tuple[str, str], Arrays] = {}
    with np.load(asked) as file:
        for key in file.files:
            question, case, array = key.split("|")
            cases.setdefault((question, case), {})[array] = file[key]
    answers = {
        f"{question}|{case}|{array}": values
        for (question, case), arrays in cases.items()
        for array, values in ANSWERS[question](**arrays).items()
    }
    np.savez(answered, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
