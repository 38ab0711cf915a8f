"""What each gate was worth: minus the mean return of the entries that it stopped.

A gate is a bet that what it stops would have lost. The trades that were never made can be run
afterwards, each by itself, and their mean return tells whether the bet paid. *Inputs*: one row for
each episode (a signal that was stopped on several bars in a row is one), with what its trade would
have made. *Output*: two estimates a gate, each with an interval: of the entries of which it was the
reason, and of those that it alone stopped. Only the latter would be traded without the gate.

The interval is that of Student's t with an effective number of episodes, the sum of their
uniqueness (`views.overlap`): trades that run at the same time share their luck. A bootstrap in
blocks of time would need a seed and the length of a block, and is too narrow where there are few
blocks; and few episodes are what most gates have.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Floats, Integers
from onefold.views.overlap import uniqueness

LEVEL = 0.95
"""How often an interval contains the true mean."""
LEAST = 3.0
"""Independent episodes without which no interval is given."""

DIGITS = 9
"""Digits to which a number of episodes is added up, so that three are three."""

Verdict = Literal["saves", "costs", "not known"]


class Stopped(NamedTuple):
    """Episodes that gates stopped, one row each, in any order.

    `start` and `end` are the bars of one common time line at which the entry was stopped and its
    trade would have ended. `gain` is the trade's return on the entry's value after costs, NaN where
    it has none; `value` the entry's value at the usual size in the account's currency, NaN where
    that is not known. `blocked` is [episodes, gates], true where the gate said no; `first` is the
    column of the gate that was the reason.
    """

    start: Integers
    end: Integers
    gain: Floats
    value: Floats
    blocked: NDArray[np.bool_]
    first: Integers


class Estimate(msgspec.Struct, frozen=True):
    """The value of stopping some episodes; `low` and `high` are its interval at `LEVEL`.

    Of the `episodes`, `known` have an outcome, and these are as good as `independent` ones.
    `mean_return` is what they would have made, `value` what stopping them was worth: minus that.
    What is not defined is None.
    """

    episodes: int
    known: int
    independent: float
    mean_return: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Return whether stopping them saved or cost money, where the interval leaves no doubt."""
        if self.low is not None and self.low > 0.0:
            return "saves"
        return "costs" if self.high is not None and self.high < 0.0 else "not known"


class GateValue(msgspec.Struct, frozen=True):
    """What a gate was worth: where it was the `first` to say no, and where it was `alone`.

    `money` is what it saved alone at the usual sizes, in the account's currency, None where not
    all sizes are known; `verdict` is that of `alone`.
    """

    gate: str
    first: Estimate
    alone: Estimate
    money: float | None
    verdict: Verdict


def gate_values(stopped: Stopped, gates: Sequence[str], bars: int) -> list[GateValue]:
    """Return the value of every gate that was a reason, in the order of the columns.

    `bars` is the length of the common time line.
    """
    single = stopped.blocked.sum(axis=1) == 1
    values = []
    for column, gate in enumerate(gates):
        first = stopped.first == column
        alone = single & stopped.blocked[:, column]
        if first.any():
            found = _estimate(stopped, alone, bars)
            values.append(
                GateValue(
                    gate=gate,
                    first=_estimate(stopped, first, bars),
                    alone=found,
                    money=_money(stopped, alone),
                    verdict=found.verdict,
                )
            )
    return values


def _estimate(stopped: Stopped, chosen: NDArray[np.bool_], bars: int) -> Estimate:
    known = chosen & np.isfinite(stopped.gain)
    rows = stopped.start[known], stopped.end[known]
    return estimate(stopped.gain[known], *rows, bars, episodes=int(chosen.sum()))


def estimate(
    gain: Floats, start: Integers, end: Integers, bars: int, *, episodes: int | None = None
) -> Estimate:
    """Return the value of stopping trades with these returns and spans.

    The variance of the mean is that of the returns over the number of independent ones, less the
    one degree of freedom that the mean takes. Without overlap this is Student's interval.
    """
    known = len(gain)
    total = known if episodes is None else episodes
    if not known:
        return Estimate(total, 0, 0.0)
    independent = round(float(uniqueness(start, end, bars).sum()), DIGITS)
    mean = float(gain.mean())
    if independent < LEAST:
        return Estimate(total, known, independent, mean, -mean)
    freedom = independent - 1.0
    half = t_quantile(0.5 + LEVEL / 2.0, freedom) * sqrt(float(gain.var()) / freedom)
    return Estimate(total, known, independent, mean, -mean, -mean - half, -mean + half)


def _money(stopped: Stopped, alone: NDArray[np.bool_]) -> float | None:
    known = alone & np.isfinite(stopped.gain)
    saved = -stopped.gain[known] * stopped.value[known]
    return float(saved.sum()) if len(saved) and np.isfinite(saved).all() else None


def t_quantile(probability: float, freedom: float) -> float:
    """Return a quantile of Student's t, to 1 % from two degrees of freedom, to 0.02 % from five.

    Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.7.5.
    """
    x = NormalDist().inv_cdf(probability)
    s = x * x
    terms = (
        1.0,
        (s + 1.0) / 4.0,
        ((5.0 * s + 16.0) * s + 3.0) / 96.0,
        (((3.0 * s + 19.0) * s + 17.0) * s - 15.0) / 384.0,
        ((((79.0 * s + 776.0) * s + 1482.0) * s - 1920.0) * s - 945.0) / 92160.0,
    )
    return x * sum(term / freedom**power for power, term in enumerate(terms))


def reading(values: Sequence[GateValue]) -> str:
    """Return in a line which gates save and which cost money beyond doubt."""
    parts = []
    for verdict, words in (("saves", "saves money"), ("costs", "costs money")):
        names = [one.gate for one in values if one.verdict == verdict]
        parts.append(f"{words} beyond doubt: {', '.join(names) or 'none'}")
    others = [one.gate for one in values if one.verdict == "not known"]
    return "; ".join([*parts, f"not known: {', '.join(others) or 'none'}"])
