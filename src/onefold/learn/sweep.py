"""A search for parameters, and how much of what it finds is luck.

Every trial is a whole backtest by the compiled fold. Trials are numbered and follow from the
configuration alone: a grid and a random search are lists, and Optuna's search is asked in batches
whose answers it hears in order, so that it goes the same way on one core, on many, and after it was
interrupted. The best of many trials looks good even where nothing is: the winner is judged with the
number of trials that it was chosen from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onefold.domain.errors import ConfigError, MissingExtra
from onefold.learn.config import Range, SweepConfig
from onefold.learn.validation import expected_best, overfitting
from onefold.sim.backtest import Run
from onefold.views.equity import daily, drawdowns
from onefold.views.statistics import p_value, sharpe

Params = Mapping[str, Any]
GRID_MAX = 1_000_000
MEASURES = ("sharpe", "total_return", "calmar", "max_drawdown", "fills")
"""What is measured of every trial that ran."""
DEFLATED_LEAST, OVERFIT_MOST = 0.975, 0.25
"""What a winner needs to be called more than luck: the level of `evidence`, and few reversals."""
OVERFIT_TRIALS_MAX = 2_000
"""Trials whose returns are held for the probability of overfitting; of more, evenly some."""
TRADED_MIN = 30
"""Days with a gain or a loss from which a winner is judged: one lucky trade is no skill."""


class Outcome(NamedTuple):
    """What came of a trial: its measures, its returns by day, or why it was none."""

    measures: dict[str, float | None]
    returns: NDArray[np.float32]
    refused: str = ""


def measured(run: Run, cash: float) -> Outcome:
    """Return the measures of a trial's run; ratios are yearly, None where it never traded."""
    curve = daily(run.ts, run.equity, cash)
    returns = np.nan_to_num(curve.returns)
    total = float(run.equity[-1] / cash - 1.0) if len(run.equity) else 0.0
    deepest = float(-drawdowns(curve.equity, cash).min(initial=0.0))
    years = len(returns) / curve.per_year
    yearly = (1.0 + total) ** (1.0 / years) - 1.0 if years > 0 and total > -1.0 else -1.0
    return Outcome(
        {
            # What never traded has no ratio, or it would win where all others lost.
            "sharpe": sharpe(returns) * curve.per_year**0.5 if len(run.fills) else None,
            "total_return": total,
            "calmar": yearly / deepest if deepest > 0 else None,
            "max_drawdown": -deepest,
            "fills": float(len(run.fills)),
        },
        returns.astype(np.float32),
    )


class Search:
    """The trials of a search in their order; tell each its outcome before the next batch."""

    def __init__(self, config: SweepConfig) -> None:
        self._config = config
        self._study: Any = None
        if config.method == "grid":
            self._list: list[Params] | None = _grid(config)
        elif config.method == "random":
            self._list = _random(config)
        else:
            self._list, self._study = None, _study(config)
        self._asked: dict[int, Any] = {}

    @property
    def total(self) -> int:
        """Return how many trials there are."""
        return self._config.trials if self._list is None else len(self._list)

    def batches(self) -> Iterator[list[tuple[int, Params]]]:
        """Yield trials with their numbers; all of a batch must be told before the next."""
        if self._list is not None:
            yield list(enumerate(self._list))
            return
        for first in range(0, self.total, self._config.batch):
            numbers = range(first, min(self.total, first + self._config.batch))
            yield [(n, self._ask(n)) for n in numbers]

    def _ask(self, number: int) -> Params:
        trial = self._asked[number] = self._study.ask()
        return {name: _suggested(trial, name, s) for name, s in self._config.params.items()}

    def tell(self, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        """Say what came of a batch."""
        if self._study is None:
            return
        for number, outcome in sorted(outcomes, key=lambda one: one[0]):
            value = outcome.measures.get(self._config.objective)
            trial = self._asked.pop(number)
            if value is None or not np.isfinite(value):
                self._study.tell(trial, state=_failed())
            else:
                self._study.tell(trial, value)


def _grid(config: SweepConfig) -> list[Params]:
    axes = {n: s.values() if isinstance(s, Range) else s for n, s in config.params.items()}
    count = int(np.prod([len(axis) for axis in axes.values()], dtype=float))
    if count > GRID_MAX:
        raise ConfigError(f"the grid has {count:,} points; search with method: tpe or random")
    return [dict(zip(axes, point, strict=True)) for point in product(*axes.values())]


def _random(config: SweepConfig) -> list[Params]:
    chance = np.random.default_rng(config.seed)
    return [
        {name: _drawn(chance, space) for name, space in config.params.items()}
        for _ in range(config.trials)
    ]


def _drawn(chance: np.random.Generator, space: Any) -> Any:
    if not isinstance(space, Range):
        return space[int(chance.integers(len(space)))]
    if space.step is not None:
        values = space.values()
        return values[int(chance.integers(len(values)))]
    if space.log:
        return float(np.exp(chance.uniform(np.log(space.low), np.log(space.high))))
    if space.whole:
        return int(chance.integers(int(space.low), int(space.high) + 1))
    return float(chance.uniform(space.low, space.high))


def _optuna() -> Any:
    try:
        import optuna  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtra("method: tpe", "learn") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _study(config: SweepConfig) -> Any:
    optuna = _optuna()
    sampler = optuna.samplers.TPESampler(seed=config.seed, constant_liar=True)
    return optuna.create_study(direction="maximize", sampler=sampler)


def _failed() -> Any:
    return _optuna().trial.TrialState.FAIL


def _suggested(trial: Any, name: str, space: Any) -> Any:
    if not isinstance(space, Range):
        return trial.suggest_categorical(name, list(space))
    if space.whole:
        return trial.suggest_int(name, int(space.low), int(space.high), step=int(space.step or 1))
    return trial.suggest_float(name, space.low, space.high, step=space.step, log=space.log)


@dataclass(frozen=True)
class Judged:
    """The winner of a search, and what chance would have given.

    `luck` is the probability that its Sharpe ratio is above what the best of so many trials without
    skill has (the deflated Sharpe ratio); `overfit` how often the best in sample is below the
    median out of sample.
    """

    winner: int
    luck: float
    overfit: float | None
    trials: int
    refused: int
    traded: int = TRADED_MIN
    """Days on which the winner gained or lost."""

    @property
    def has_skill(self) -> bool:
        """Return whether both numbers speak for the winner; without the second none is shown."""
        is_rare = self.overfit is not None and self.overfit <= OVERFIT_MOST
        return self.luck >= DEFLATED_LEAST and is_rare

    @property
    def verdict(self) -> str:
        """Return in words what the winner is worth."""
        if self.has_skill:
            return f"more than luck: without skill the best of {self.trials:,} is rarely so good"
        reasons = []
        if self.traded < TRADED_MIN:
            reasons.append(
                f"only {self.traded} of its days had a gain or a loss, where {TRADED_MIN} are "
                "asked for"
            )
        elif self.luck < DEFLATED_LEAST:
            reasons.append(
                f"above the best of {self.trials:,} trials without skill with "
                f"{100 * self.luck:.1f} % only, where {100 * DEFLATED_LEAST:.1f} % are asked for"
            )
        if self.overfit is None:
            reasons.append("there are too few days to tell overfitting")
        elif self.overfit > OVERFIT_MOST:
            reasons.append(
                f"in {100 * self.overfit:.0f} % of splits what was best in one half of the time "
                "was below the median in the other"
            )
        return f"take it for luck: {', and '.join(reasons)}"


def judged(config: SweepConfig, outcomes: Mapping[int, Outcome]) -> Judged:
    """Return the winner and its worth. Raises `ConfigError` where no trial could be run."""
    run = {n: one for n, one in sorted(outcomes.items()) if not one.refused}
    known = {
        n: value
        for n, one in run.items()
        if (value := one.measures[config.objective]) is not None and np.isfinite(value)
    }
    if not known:
        reasons = sorted({one.refused for one in outcomes.values() if one.refused})
        if run:
            raise ConfigError(f"none of {len(run):,} trials traded: there is nothing to compare")
        raise ConfigError("; ".join(reasons[:3]))
    winner = max(known, key=lambda n: (known[n], -n))
    ratios = [sharpe(one.returns.astype(float)) for one in run.values()]
    spread = float(np.std(ratios, ddof=1)) if len(ratios) > 1 else 0.0
    returns = run[winner].returns.astype(float)
    traded = int(np.count_nonzero(returns))
    luck = _deflated(returns, expected_best(len(run), spread)) if traded >= TRADED_MIN else 0.0
    return Judged(winner, luck, _overfit(run), len(run), len(outcomes) - len(run), traded)


def _deflated(returns: NDArray[np.float64], best: float) -> float:
    """Return the deflated Sharpe ratio, or what Student's t says where that is less.

    As in `p_value`, a loss as large as the largest gain counts as if it had been seen.
    """
    p = p_value(returns, best)
    return 0.0 if p is None else 1.0 - p


def _overfit(run: Mapping[int, Outcome]) -> float | None:
    step = -(-len(run) // OVERFIT_TRIALS_MAX)
    columns = [one.returns for one in list(run.values())[::step]]
    lengths = {len(column) for column in columns}
    if len(columns) < 2 or len(lengths) != 1 or min(lengths) < 20:
        return None
    return overfitting(np.column_stack(columns).astype(float))
