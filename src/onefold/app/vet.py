"""Prove a plan's strategies and gates before they run, wherever they run.

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
from onefold.signals.check import findings_of, raise_for, some_held
from onefold.signals.elementwise import Elementwise
from onefold.signals.gate import Gate
from onefold.signals.strategy import Strategy
from onefold.sim.plan import Placement, Plan

ROWS_MAX = 2_000
"""Bars that a check looks at; it evaluates each feature many times over."""
ROWS_BEYOND = 200
"""Bars after the warm-up that it wants to see."""

_proved: set[tuple[type[Elementwise], str]] = set()


def vet(plan: Plan, bars: Mapping[str, Bars]) -> None:
    """Refuse strategies and gates that see the future or other rows, and exits that cannot work.

    Where there are no bars yet, as before a live session, made ones are used. Raises `NotCausal`,
    `NotElementwise`, `SignalError`, `ConfigError`.
    """
    by_symbol = {one.symbol: one for one in plan.instruments}
    for placement in plan.placements:
        for symbol in placement.symbols[:1]:
            sample = _enough(placement.strategy, bars.get(symbol), by_symbol[symbol])
            _prove(placement.strategy, sample)
            _check_barriers(placement, sample)
            for gate in placement.own_gates.values():
                _prove(gate, _enough(gate, bars.get(symbol), by_symbol[symbol]))


def _enough(subject: Elementwise, bars: Bars | None, instrument: Instrument) -> Bars:
    """Return the first bars, or made ones where those are too few to prove anything."""
    rows = max(ROWS_MAX, subject.warm_up + ROWS_BEYOND)
    if bars is not None and bars.rows >= subject.warm_up + ROWS_BEYOND:
        return bars.slice(0, min(rows, bars.rows))
    always = instrument.model_copy(update={"calendar": "24/7"})
    return generate(SyntheticConfig(instrument=always, seed=1, bars=rows))


def _prove(subject: Strategy | Gate, bars: Bars) -> None:
    """Check what a user wrote; the same class with the same parameters is checked once."""
    parts = [type(subject), *(type(feature) for feature in subject.features.values())]
    if all(part.__module__.startswith("onefold.") for part in parts):
        return
    key = (type(subject), subject.model_dump_json())
    if key not in _proved:
        raise_for(findings_of(subject, bars))
        _proved.add(key)


def _check_barriers(placement: Placement, bars: Bars) -> None:
    """Refuse exits that are measured in a unit which the strategy never gives."""
    exits = placement.rules.exits
    if exits.unit != "barrier" or exits.model_copy(
        update={"max_bars": None, "session_close_s": None}
    ) == Exits(unit="barrier", resting=exits.resting):
        return
    held = some_held(placement.strategy, bars)
    if np.isfinite(placement.strategy.batch(bars, held=held).barrier).any():
        return
    hint = " (such as atr: 14)" if "atr" in type(placement.strategy).model_fields else ""
    raise ConfigError(
        f"strategy {placement.name!r} has exits in barriers but never gives one: set the parameter "
        f"that fills it{hint}, or exits.unit: price"
    )
