"""W7: what a model costs: one row's inference, a column's, a backtest with it, and a sweep.

A model of 200 trees with 15 leaves on nine features is scored through ONNX Runtime in one thread.
The backtest of a filtered strategy over W1's bars is measured with the scores given, and the
scoring apart, since that is the library's work. A sweep of a small configuration is measured with
one process and with two, once they are warm.

Prints one line of JSON: `python -m benchmarks.w7_models [folder]`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import works
from benchmarks.ours import minute_bars, single_plan
from onefold.app.sweeping import Processes
from onefold.learn.config import TrainingConfig
from onefold.learn.samples import sidecar_of
from onefold.learn.sweep import Params
from onefold.learn.train import exported, fit_booster
from onefold.signals import feature_of, strategy
from onefold.signals.feature import FeatureSet
from onefold.signals.model import Golden, Model
from onefold.signals.runtimes import predictor
from onefold.sim.backtest import run

FEATURES = (
    "rsi(14)", "ibs()", "zscore(20)", "close / sma(20) - 1", "volatility(20)", "log_return(5)",
    "log_return(60)", "atr(14) / close", "hour()",
)  # fmt: skip
BARS, TREES, LEAVES = 1_000_000, 200, 15
ROWS, ROUNDS = 5_000, 3
WARM_TRIALS, TRIALS = 8, 60
CONFIG = """
data:
  BTCUSD: { synthetic: { seed: 7, bars: 200000, interval_s: 60 } }
strategies:
  trend: { kind: crossover, params: { fast: 5, slow: 30 } }
sweeps:
  one: { strategy: trend, params: { params.fast: [5], params.slow: [30] } }
"""


class Store:
    """A store of one model."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def get(self, _name: str) -> Model:
        """Return it."""
        return self._model


def trained() -> bytes:
    """Return a model that has learnt noise."""
    chance = np.random.default_rng(1)
    rows = chance.normal(size=(20_000, len(FEATURES)))
    won = (rows[:, 0] + chance.normal(size=len(rows)) > 0).astype(int)
    config = TrainingConfig(strategy="x", features=FEATURES, trees=TREES, leaves=LEAVES)
    booster = fit_booster(rows, won, np.ones(len(rows)), config)
    return exported(booster, "w7", len(FEATURES))


def inference(artifact: bytes) -> dict[str, float]:
    """Return what one row and what a column takes."""
    predict = predictor("onnx", artifact)
    rows = np.random.default_rng(2).normal(size=(100_000, len(FEATURES)))
    took = np.empty(ROWS)
    for n in range(-500, ROWS):
        row = rows[abs(n) : abs(n) + 1]
        began_ns = time.perf_counter_ns()
        predict(row)
        if n >= 0:
            took[n] = (time.perf_counter_ns() - began_ns) / 1e3
    began = time.perf_counter()
    predict(rows)
    column_s = time.perf_counter() - began
    return {
        "row_p50_us": float(np.percentile(took, 50)),
        "row_p99_us": float(np.percentile(took, 99)),
        "column_rows_per_s": len(rows) / column_s,
    }


def backtests(artifact: bytes) -> dict[str, float]:
    """Return the bars a second of a filtered strategy, its scores given."""
    predict = predictor("onnx", artifact)
    bars = {"W1": minute_bars(BARS)}
    features = [feature_of(text) for text in FEATURES]
    columns = FeatureSet(features).batch(bars["W1"])
    matrix = np.column_stack([columns[f.name] for f in features])
    known = np.isfinite(matrix).all(axis=1)
    given = np.random.default_rng(3).uniform(size=int(known.sum()))
    sidecar = sidecar_of(artifact, "trees", features=FEATURES, golden=Golden([], []))
    model = Model(sidecar, lambda rows: given if len(rows) == len(given) else predict(rows))
    plan = single_plan(strategy("ml_ibs", models=Store(model), model="w7"))
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run(plan, bars, trace=False)
        times.append(time.perf_counter() - began)
    return {"backtest_bars_per_s": BARS / min(times)}


def scaling(folder: Path) -> dict[str, float]:
    """Return trials a second with one process and with two, and how much more that is."""
    if hasattr(os, "sched_setaffinity"):  # the session pins to one core, and this is about two
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    config = folder / "onefold.yaml"
    config.write_text(CONFIG)
    speeds = {}
    for size in (1, 2):
        workers = Processes(str(config), "one", size)
        for _ in workers.run(some(WARM_TRIALS)):
            pass
        began = time.perf_counter()
        done = sum(1 for _ in workers.run(some(TRIALS)))
        speeds[size] = done / (time.perf_counter() - began)
        workers.close()
    return {
        "trials_per_s_one": speeds[1],
        "trials_per_s_two": speeds[2],
        "scaling": speeds[2] / speeds[1],
    }


def some(count: int) -> Iterator[tuple[int, Params]]:
    """Yield trials of different parameters."""
    for n in range(count):
        yield n, {"params.fast": 5 + n % 20, "params.slow": 30 + n}


def main() -> None:
    """Measure, and print one line of JSON."""
    place = sys.argv[1] if len(sys.argv) > 1 else None
    works.make_data()
    artifact = trained()
    with tempfile.TemporaryDirectory(dir=place) as folder:
        figures: dict[str, Any] = {
            **inference(artifact), **backtests(artifact), **scaling(Path(folder)),
        }  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
