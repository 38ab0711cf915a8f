"""Prove a plan's strategies before they run, wherever they run.

What comes with Onefold is proved by its own tests. What a user wrote is proved here, on the run's
own bars, before it makes its first decision: a backtest of a strategy that sees the future looks
wonderful, and it is the careless user who does not think of running `onefold check`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onefold.adapters.synthetic import SyntheticConfig, generate
from onefold.domain.columns import Bars
from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument
from onefold.domain.rules import Exits
from onefold.signals.check import check_strategy, raise_for
from onefold.signals.strategy import Strategy
from onefold.sim.plan import Placement, Plan

ROWS_MAX = 2_000
"""Bars that a check looks at; it evaluates each feature many times over."""
ROWS_BEYOND = 200
"""Bars after the warm-up that it wants to see."""

_proved: set[tuple[type[Strategy], str]] = set()


def vet(plan: Plan, bars: Mapping[str, Bars]) -> None:
    """Refuse strategies that see the future or other rows, or whose exits cannot work.

    Raises `NotCausal`, `NotElementwise`, `SignalError`, `ConfigError`.
    """
    by_symbol = {one.symbol: one for one in plan.instruments}
    for placement in plan.placements:
        for symbol in placement.symbols[:1]:
            sample = _enough(placement.strategy, bars[symbol], by_symbol[symbol])
            _prove(placement.strategy, sample)
            _check_barriers(placement, sample)


def _enough(strategy: Strategy, bars: Bars, instrument: Instrument) -> Bars:
    """Return the first bars, or made ones where those are too few to prove anything."""
    rows = max(ROWS_MAX, strategy.warm_up + ROWS_BEYOND)
    if bars.rows >= strategy.warm_up + ROWS_BEYOND:
        return bars.slice(0, min(rows, bars.rows))
    always = instrument.model_copy(update={"calendar": "24/7"})
    return generate(SyntheticConfig(instrument=always, seed=1, bars=rows))


def _prove(strategy: Strategy, bars: Bars) -> None:
    """Check what a user wrote; the same strategy with the same parameters is checked once."""
    parts = [type(strategy), *(type(feature) for feature in strategy.features.values())]
    if all(part.__module__.startswith("onefold.") for part in parts):
        return
    key = (type(strategy), strategy.model_dump_json())
    if key not in _proved:
        raise_for(check_strategy(strategy, bars))
        _proved.add(key)


def _check_barriers(placement: Placement, bars: Bars) -> None:
    """Refuse exits that are measured in a unit which the strategy never gives."""
    exits = placement.rules.exits
    if exits.unit != "barrier" or exits.model_copy(
        update={"max_bars": None, "session_close_s": None}
    ) == Exits(unit="barrier", resting=exits.resting):
        return
    if np.isfinite(placement.strategy.batch(bars).barrier).any():
        return
    hint = " (such as atr: 14)" if "atr" in type(placement.strategy).model_fields else ""
    raise ConfigError(
        f"strategy {placement.name!r} has exits in barriers but never gives one: set the parameter "
        f"that fills it{hint}, or exits.unit: price"
    )
