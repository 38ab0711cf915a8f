"""What buying and holding would have made of the same cash, beside which a strategy is judged.

The cash is split equally over the instruments that a strategy may trade. Each share buys its
instrument once, at the first close at which its currency has a rate, in fractions of a lot, without
leverage and without costs, and waits as cash until then. A future is held for its full value: its
share stays in the base currency, and only profit and loss are in the future's. Splits, dividends,
funding and rolls reach the holder as they reach the account; what is paid stays in cash.

An instrument whose price may be at or below zero is left out, by that fact alone and not by what
its prices did: who buys at such a price owns no defined share of anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from onefold.domain.columns import Bars, Floats, Integers
from onefold.domain.instruments import Instrument
from onefold.domain.records import Action
from onefold.views.equity import daily
from onefold.views.metrics import cagr, deepest_drawdown, sharpe

NEGATIVE = "its price may be at or below zero"
NOT_TRADED = "no strategy trades it"
NO_BARS = "it has no bars"
NO_RATE = "its currency never has a rate"


@dataclass(frozen=True)
class Market:
    """What a holder's money depends on besides bars.

    `traded` are the symbols that a strategy may trade; `rates` and `rate_pairs` are those of the
    plan; `actions` are splits, dividends, funding, rolls and rates in any order.
    """

    traded: frozenset[str] = frozenset()
    rates: Mapping[str, float] = field(default_factory=dict)
    rate_pairs: Mapping[str, str] = field(default_factory=dict)
    actions: Sequence[Action] = ()


class HoldingMetrics(msgspec.Struct, frozen=True):
    """The numbers of buying and holding, each as in `Metrics`; `left_out` has reasons by symbol."""

    instruments: list[str]
    left_out: dict[str, str]
    equity_end: float
    total_return: float
    cagr: float | None
    sharpe: float | None
    max_drawdown: float

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values that JSON can carry."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


class BuyAndHold(NamedTuple):
    """The curve of buying and holding: `equity` in the base currency at times `ts`, and numbers."""

    ts: Integers
    equity: Floats
    metrics: HoldingMetrics


@dataclass
class _Position:
    """A number of lots that is never traded again, in the instrument's currency.

    `mark` is the last price, `paid` what was received and spent while it was held.
    """

    instrument: Instrument
    lots: float
    average: float
    mark: float
    paid: float = 0.0

    def worth(self, close: Floats) -> Floats:
        """Return the value at each close; of what is held on margin it is the profit alone."""
        cost = self.average if self.instrument.margined else 0.0
        return self.lots * self.instrument.point_value * (close - cost) + self.paid

    def take(self, action: Action) -> None:
        """Let a split, dividend, funding payment or roll come to what is held."""
        value = action.value
        match action.action:
            case "split":
                self.lots *= value
                self.average, self.mark = self.average / value, self.mark / value
            case "dividend":
                self.paid += self.lots * self.instrument.lot * value
            case "funding":
                self.paid -= self.lots * self.instrument.point_value * self.mark * value
            case "roll":
                if not self.instrument.margined:
                    self.paid -= self.lots * self.instrument.point_value * value
                self.average, self.mark = self.average + value, self.mark + value


def buy_and_hold(
    ts: Integers,
    *,
    cash: float,
    currency: str,
    instruments: Sequence[Instrument],
    bars: Mapping[str, Bars],
    market: Market,
) -> BuyAndHold | None:
    """Return the curve at times `ts` (nanoseconds UTC, in order), or None when nothing can be held.

    `cash` is in the base `currency`.
    """
    times = np.unique(ts)
    rates = _rates(times, currency, instruments, bars, market)
    left_out = {
        one.symbol: reason
        for one in instruments
        if (reason := _reason(one, times, bars, rates, market))
    }
    held = [one for one in instruments if one.symbol not in left_out]
    if not held:
        return None
    share = cash / len(held)
    equity = np.zeros(len(times))
    for one in held:
        actions = [a for a in market.actions if a.instrument == one.symbol]
        equity += _worth(times, one, bars[one.symbol], rates[one.currency], actions, share)
    curve = daily(times, equity, cash)
    numbers = HoldingMetrics(
        instruments=[one.symbol for one in held],
        left_out=left_out,
        equity_end=float(equity[-1]),
        total_return=float(equity[-1]) / cash - 1.0,
        cagr=cagr(curve, cash),
        sharpe=sharpe(curve),
        max_drawdown=deepest_drawdown(curve, cash).depth,
    )
    return BuyAndHold(times, equity, numbers)


def _reason(
    one: Instrument,
    times: Integers,
    bars: Mapping[str, Bars],
    rates: Mapping[str, Floats],
    market: Market,
) -> str:
    """Return why an instrument is not held, or nothing."""
    if one.symbol not in market.traded:
        return NOT_TRADED
    if one.negative_prices:
        return NEGATIVE
    if one.symbol not in bars or bars[one.symbol].rows == 0:
        return NO_BARS
    known = np.isfinite(_last_known(bars[one.symbol].ts, times, rates[one.currency]))
    return "" if known.any() else NO_RATE


def _rates(
    times: Integers,
    base: str,
    instruments: Sequence[Instrument],
    bars: Mapping[str, Bars],
    market: Market,
) -> dict[str, Floats]:
    """Return the rate of every currency to the base at every time, NaN before the first."""
    rates = {
        name: _last_known(times, *_rate_changes(name, instruments, bars, market))
        for name in {one.currency for one in instruments}
    }
    return {**rates, base: np.ones(len(times))}


def _rate_changes(
    name: str, instruments: Sequence[Instrument], bars: Mapping[str, Bars], market: Market
) -> tuple[Integers, Floats]:
    """Return when a currency's rate changed and to what, in order of time."""
    ts = [np.array([np.iinfo(np.int64).min])]
    values = [np.array([market.rates.get(name, np.nan)])]
    for one in instruments:
        paired = market.rate_pairs.get(one.symbol, "")
        if paired.removeprefix("-") == name and one.symbol in bars:
            close = bars[one.symbol].close
            ts.append(bars[one.symbol].ts)
            values.append(1.0 / close if paired.startswith("-") else close)
    for action in market.actions:
        if action.action == "rate" and action.currency == name:
            ts.append(np.array([action.ts + 1]))  # it comes after the bars that close at its time
            values.append(np.array([action.value]))
    moments = np.concatenate(ts)
    order = np.argsort(moments, kind="stable")
    return moments[order], np.concatenate(values)[order]


def _last_known(times: Integers, ts: Integers, values: Floats) -> Floats:
    """Return the last value at or before each time, NaN before the first."""
    known = np.concatenate(([np.nan], values))
    last: Floats = known[np.searchsorted(ts, times, side="right")]
    return last


def _worth(
    times: Integers,
    one: Instrument,
    bars: Bars,
    rate: Floats,
    actions: Sequence[Action],
    share: float,
) -> Floats:
    """Return what an instrument's share of the cash is worth at every time, in the base."""
    known = _last_known(bars.ts, times, rate)
    row = int(np.argmax(np.isfinite(known)))
    price = float(bars.close[row])
    lots = share / (price * one.point_value * float(known[row]))
    own = _held(_Position(one, lots, price, price), bars, row, actions)
    worth = _last_known(times, bars.ts[row:], own) * rate
    if one.margined:
        worth += share
    return np.where(times < bars.ts[row], share, worth)


def _held(position: _Position, bars: Bars, row: int, actions: Sequence[Action]) -> Floats:
    """Return the position's value at the close of `row`, where it is bought, and at all after."""
    values, done = [], row
    for action in sorted(actions, key=lambda a: a.ts):
        stop = int(np.searchsorted(bars.ts, action.ts, side="right"))
        if stop <= row:
            continue  # it was before the purchase
        if stop > done:
            values.append(position.worth(bars.close[done:stop]))
            done, position.mark = stop, float(bars.close[stop - 1])
        position.take(action)
    return np.concatenate([*values, position.worth(bars.close[done:])])
