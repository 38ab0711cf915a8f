"""What each sleeve made by day, marked to market: of what the ratios of strategies are made.

The account has one equity curve, and a strategy in an instrument is judged by its part of it. A
closed trade books all its profit on one day and an open one none, so what holds for weeks would
look calm until it ends. `engine.sleeves` takes the curves from the fold's own books as a journal is
replayed. *Invariant*: without dividends, funding, payments and other currencies, the profits of all
sleeves on a day sum up to the change of the account's equity.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onefold.domain.columns import Floats, Integers
from onefold.views.equity import Daily, days_of
from onefold.views.result import ResultView

Sleeve = tuple[str, str]
"""The names of a strategy and an instrument."""


class SleeveCurve(NamedTuple):
    """What every sleeve had made in all, marked to market, at the last bar of each day.

    `ts` is in order; `worth` is [times, sleeves] in the base currency, a sleeve's number being
    `strategy * instruments + instrument`; `start` is what they had made before the run.
    """

    ts: Integers
    worth: NDArray[np.float64]
    start: Floats


def daily_profit(view: ResultView, curve: SleeveCurve, account: Daily) -> dict[Sleeve, Floats]:
    """Return what every sleeve of a run made on each of the account's days, in the base currency.

    Days before and after the run have zeros.
    """
    days = days_of(curve.ts, weekends=account.weekends)
    last = np.searchsorted(days, account.days, side="right")
    worth = np.vstack((curve.start, curve.worth))[last]
    made = np.diff(worth, axis=0, prepend=curve.start[None])
    names = [(s, i) for s in view.strategies for i in view.symbols]
    return {name: made[:, number] for number, name in enumerate(names)}
