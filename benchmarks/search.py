"""The search of W3's pairs by Optuna, one and the same over every participant's evaluation.

Imported by the participants that take part, inside their own environments: Optuna only here.
"""
# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore"

from __future__ import annotations

from collections.abc import Callable

import optuna

from benchmarks import worker, works

FASTS = (min(fast for fast, _ in works.W3_PAIRS), max(fast for fast, _ in works.W3_PAIRS))
SLOWS = (min(slow for _, slow in works.W3_PAIRS), max(slow for _, slow in works.W3_PAIRS))
SLOW_STEP = 10


def searched(evaluate: Callable[[int, int], float], trials: int) -> worker.Measurement:
    """Measure a search of so many trials by `evaluate`, which returns the profit of a pair.

    Optuna's time is in it: it is what a user waits for.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found: dict[tuple[int, int], float] = {}

    def objective(trial: optuna.Trial) -> float:
        fast = trial.suggest_int("fast", *FASTS)
        slow = trial.suggest_int("slow", *SLOWS, step=SLOW_STEP)
        found[fast, slow] = evaluate(fast, slow)
        return found[fast, slow]

    def search() -> None:
        sampler = optuna.samplers.TPESampler(seed=works.SEED)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.optimize(objective, n_trials=trials)

    _, first = worker.timed(lambda: evaluate(*works.W3_PAIRS[0]))
    _, running = worker.timed(search)
    outcomes = {f"{fast}/{slow}": works.Outcome(profit=p) for (fast, slow), p in found.items()}
    return worker.Measurement(worker.Timing(first, running), outcomes, note="TPE, its time in it")
