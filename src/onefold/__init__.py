"""Trading strategies from research to live money: one decision function, one record.

The names below are the library. Each is imported when it is first used, because compiled code and
market data take a second to import and `import onefold` should not::

    import onefold as of

    result = of.backtest(of.strategy("crossover", fast=10, slow=30), "bars.csv")
    result.metrics.sharpe
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onefold.app.library import backtest
    from onefold.domain.columns import Bars
    from onefold.domain.errors import OnefoldError
    from onefold.domain.instruments import Instrument, instrument
    from onefold.domain.rules import (
        AccountRules,
        BetSize,
        Costs,
        Entry,
        Exits,
        FixedSize,
        FractionSize,
        Gates,
        Limits,
        NotionalSize,
        RiskSize,
        StrategyRules,
        VolatilitySize,
    )
    from onefold.signals.check import check_feature, check_gate, check_strategy
    from onefold.signals.feature import Feature, col
    from onefold.signals.gate import Gate
    from onefold.signals.indicators import ta
    from onefold.signals.registry import strategy
    from onefold.signals.signal import FLAT, HOLD, LONG, SHORT, choose
    from onefold.signals.strategy import Strategy
    from onefold.signals.timeframe import higher
    from onefold.views.result import ResultView

__all__ = [
    "FLAT",
    "HOLD",
    "LONG",
    "SHORT",
    "AccountRules",
    "Bars",
    "BetSize",
    "Costs",
    "Entry",
    "Exits",
    "Feature",
    "FixedSize",
    "FractionSize",
    "Gate",
    "Gates",
    "Instrument",
    "Limits",
    "NotionalSize",
    "OnefoldError",
    "ResultView",
    "RiskSize",
    "Strategy",
    "StrategyRules",
    "VolatilitySize",
    "backtest",
    "check_feature",
    "check_gate",
    "check_strategy",
    "choose",
    "col",
    "higher",
    "instrument",
    "strategy",
    "ta",
]

_RULES = (
    "AccountRules", "BetSize", "Costs", "Entry", "Exits", "FixedSize", "FractionSize", "Gates",
    "Limits", "NotionalSize", "RiskSize", "StrategyRules", "VolatilitySize",
)  # fmt: skip

_SIGNALS = (
    "FLAT", "HOLD", "LONG", "SHORT", "Feature", "Gate", "Strategy", "check_feature", "check_gate",
    "check_strategy", "choose", "col", "higher", "strategy", "ta",
)  # fmt: skip

_HOMES = {
    "Bars": "domain.columns",
    "Instrument": "domain.instruments",
    "OnefoldError": "domain.errors",
    "ResultView": "views.result",
    "backtest": "app.library",
    "instrument": "domain.instruments",
    **dict.fromkeys(_RULES, "domain.rules"),
    **dict.fromkeys(_SIGNALS, "signals"),
}
"""The module in which each public name lives."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'onefold' has no attribute {name!r}")
    value = getattr(import_module(f"onefold.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
