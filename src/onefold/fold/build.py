"""Make the fold's state from rules and instruments, so that names and defaults end here.

After this the compiled code sees numbers only: what is not limited is infinite, what is off is 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from onefold.domain.errors import ConfigError
from onefold.domain.instruments import Instrument
from onefold.domain.rules import (
    AccountRules,
    BetSize,
    Exits,
    FixedSize,
    FractionSize,
    FreeSlot,
    NotionalSize,
    RiskSize,
    Sizing,
    StrategyRules,
    VolatilitySize,
)
from onefold.domain.words import Mode, OrderKind, TimeInForce
from onefold.fold.gates import NS_PER_S
from onefold.fold.memory import Rows
from onefold.fold.sizing import SIZE_KINDS
from onefold.fold.state import (
    ACCOUNT,
    CURRENCY,
    INSTRUMENT,
    SLEEVE,
    SLOT,
    STRATEGY,
    State,
)

EXIT_SLOTS = 8
"""Order slots per sleeve that entries cannot take.

A market exit, and a stop and a target three times over: two partial fills in one bar replace them
twice before the venue has confirmed that the first ones are gone.
"""


class Roster(NamedTuple):
    """The names behind the indices of a run: who trades, what, in which currencies."""

    strategies: tuple[str, ...]
    instruments: tuple[Instrument, ...]
    currencies: tuple[str, ...]
    intervals_ns: tuple[int, ...]

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the instruments' symbols."""
        return tuple(i.symbol for i in self.instruments)


def roster(
    account: AccountRules,
    strategies: Sequence[str],
    instruments: Sequence[Instrument],
    intervals_ns: Sequence[int],
) -> Roster:
    """Return the names of a run; the base currency comes first."""
    others = sorted({i.currency for i in instruments} - {account.currency})
    return Roster(
        tuple(strategies), tuple(instruments), (account.currency, *others), tuple(intervals_ns)
    )


def new_state(
    account: AccountRules,
    names: Roster,
    rules: Sequence[StrategyRules],
    *,
    mode: Mode = Mode.BACKTEST,
    rates: Mapping[str, float] | None = None,
    rate_pairs: Mapping[str, str] | None = None,
) -> State:
    """Return the state of a run that has seen nothing yet.

    `rules` has one entry per strategy of `names`. `rates` gives currencies' starting rates to the
    base; `rate_pairs` maps an instrument's symbol to the currency whose rate its closes set (a
    pair quoted as base per currency, such as EURUSD for EUR; `-EUR` takes the inverse).
    """
    sleeves = np.zeros(len(names.strategies) * len(names.instruments), SLEEVE)
    for name in ("stop_price", "take_price", "trail_price", "best_price", "unit", "score"):
        sleeves[name] = math.nan
    sleeves["conf_min"] = np.repeat([r.gates.conf_min for r in rules], len(names.instruments))
    state = State(
        account=_account(account, mode),
        strategies=np.concatenate(
            [_strategy(*one) for one in zip(names.strategies, rules, strict=True)]
        ),
        instruments=_instruments(account, names),
        sleeves=sleeves,
        currencies=_currencies(account, names, rates or {}),
        orders=_slots(account.limits.max_open_orders + EXIT_SLOTS * len(sleeves)),
    )
    _set_rate_pairs(state, names, rate_pairs or {})
    return state


def _unless_none(value: float | None) -> float:
    return math.inf if value is None else float(value)


def _account(rules: AccountRules, mode: Mode) -> Rows:
    limits = rules.limits
    row = np.zeros(1, ACCOUNT)
    for name in ("equity", "peak_equity", "day_equity", "start_equity"):
        row[name] = rules.cash
    for name in (
        "max_open_positions",
        "daily_loss",
        "drawdown",
        "gross_exposure",
        "net_exposure",
        "price_collar",
        "max_order_lots",
        "max_order_value",
        "messages_max",
    ):
        row[name] = _unless_none(getattr(limits, name))
    row["max_open_orders"] = limits.max_open_orders
    row["messages_window_ns"] = round(limits.messages_window_s * NS_PER_S)
    row["freshness_bars"] = limits.freshness_bars
    row["session_hours"] = limits.session_hours
    row["free_on_sent"] = limits.free_slot is FreeSlot.SENT
    row["flatten_on_stop"] = limits.flatten_on_stop
    row["next_close"] = rules.costs.fill == "next_close"
    row["mode"] = mode
    row["reconciled"] = 1
    row["day"] = -1
    return row


def _size(sizing: Sizing) -> tuple[float, float]:
    """Return a sizing rule's main number and its second one."""
    match sizing:
        case FixedSize():
            return sizing.lots, 0.0
        case NotionalSize():
            return sizing.value, 0.0
        case FractionSize():
            return sizing.fraction, 0.0
        case VolatilitySize():
            return sizing.target, sizing.fraction_max
        case RiskSize():
            return sizing.fraction, sizing.fraction_max
        case BetSize():
            return sizing.fraction, sizing.step


def _strategy(strategy: str, rules: StrategyRules) -> Rows:
    exits, gates, entry = rules.exits, rules.gates, rules.entry
    if isinstance(rules.sizing, RiskSize) and exits.stop is None:
        raise ConfigError(
            f"strategy {strategy!r}: sizing 'risk' needs exits.stop: the risk is the distance to it"
        )
    if entry.time_in_force == "gtd" and entry.valid_for_s is None:
        raise ConfigError(
            f"strategy {strategy!r}: entry.time_in_force 'gtd' needs entry.valid_for_s"
        )
    row = np.zeros(1, STRATEGY)
    row["size_kind"] = SIZE_KINDS[rules.sizing.kind]
    row["size_value"], row["size_max"] = _size(rules.sizing)
    for name in ("stop", "take", "trail", "max_bars"):
        row[name] = _unless_none(getattr(exits, name))
    for name in (
        "trend_max", "loss_streak_max", "orders_per_day", "risk_budget", "max_position",
        "repeat_max",
    ):  # fmt: skip
        row[name] = _unless_none(getattr(gates, name))
    row["edge_ratio_min"] = -math.inf if gates.edge_ratio_min is None else gates.edge_ratio_min
    row["session_close_s"] = -math.inf if exits.session_close_s is None else exits.session_close_s
    row["cool_down_ns"] = gates.cool_down_s * NS_PER_S
    row["repeat_window_ns"] = gates.repeat_window_s * NS_PER_S
    row["valid_for_ns"] = (entry.valid_for_s or 0) * NS_PER_S
    row["barrier_unit"] = exits.unit == "barrier"
    row["resting"] = exits.resting
    row["exits"] = exits != Exits(unit=exits.unit, resting=exits.resting)
    row["rearm"] = gates.rearm
    row["order_kind"] = OrderKind[entry.order.upper()]
    row["time_in_force"] = TimeInForce[entry.time_in_force.upper()]
    return row


def _instruments(account: AccountRules, names: Roster) -> Rows:
    rows = np.zeros(len(names.instruments), INSTRUMENT)
    rows["mark"] = math.nan
    rows["interval_ns"] = names.intervals_ns
    rows["point"] = [i.point_value for i in names.instruments]
    for name in (
        "tick", "lot", "commission", "margin_initial", "margin_maintenance", "margined",
        "negative_prices", "short",
    ):  # fmt: skip
        rows[name] = [getattr(i, name) for i in names.instruments]
    rows["commission_rate"] = [i.commission_bps * 1e-4 for i in names.instruments]
    rows["slippage_rate"] = account.costs.slippage_bps * 1e-4
    rows["slippage_points"] = account.costs.slippage_ticks * rows["tick"]
    rows["currency"] = [names.currencies.index(i.currency) for i in names.instruments]
    for name in ("rates_currency", "first_order", "held_at", "to_close_s"):
        rows[name] = -1
    return rows


def _currencies(account: AccountRules, names: Roster, rates: Mapping[str, float]) -> Rows:
    rows = np.zeros(len(names.currencies), CURRENCY)
    for c, name in enumerate(names.currencies):
        rows[c]["rate"] = rates.get(name, math.nan)
    rows[0]["cash"], rows[0]["rate"] = account.cash, 1.0
    return rows


def _slots(number: int) -> Rows:
    rows = np.zeros(number, SLOT)
    rows["next"] = np.arange(1, number + 1)
    rows["next"][-1] = -1
    return rows


def _set_rate_pairs(state: State, names: Roster, rate_pairs: Mapping[str, str]) -> None:
    for symbol, currency in rate_pairs.items():
        row = state.instruments[names.symbols.index(symbol)]
        if currency.removeprefix("-") == names.currencies[0]:
            raise ConfigError(
                f"rate_pairs.{symbol}: {currency} is the base currency, its rate is 1"
            )
        row["rates_inverse"] = currency.startswith("-")
        row["rates_currency"] = names.currencies.index(currency.removeprefix("-"))
    for c, name in enumerate(names.currencies):
        paired = c in state.instruments["rates_currency"]
        if math.isnan(state.currencies[c]["rate"]) and not paired:
            raise ConfigError(
                f"currency {name} has no rate to {names.currencies[0]}: give rates: {{{name}: x}} "
                f"or in rate_pairs an instrument whose price is that rate"
            )
