"""Bars become features, and features become opinions: what a strategy wants of an instrument."""

from onefold.signals.bars import BarBuilder, BarKind, bars_from_ticks
from onefold.signals.check import Finding, check_feature, check_gate, check_strategy, raise_for
from onefold.signals.ensemble import Ensemble
from onefold.signals.expression import feature_of
from onefold.signals.feature import (
    BarRow,
    Feature,
    FeatureMemo,
    FeatureSet,
    FeatureSetStream,
    FeatureStream,
    col,
    rows_of,
)
from onefold.signals.gate import Gate
from onefold.signals.indicators import ta
from onefold.signals.learned import Filtered
from onefold.signals.model import Model, Models
from onefold.signals.ours import (
    fracdiff,
    highest,
    hour,
    ibs,
    lag,
    log_return,
    lowest,
    mean,
    minute,
    parkinson,
    std,
    volatility,
    weekday,
    zscore,
)
from onefold.signals.registry import (
    STRATEGIES,
    build_strategy,
    strategies_from_source,
    strategy,
)
from onefold.signals.signal import FLAT, HOLD, LONG, SHORT, Columns, Held, SignalRow, choose
from onefold.signals.strategies import RuleStrategy
from onefold.signals.strategy import Strategy
from onefold.signals.stream import SignalSet, SignalSetStream, SignalStream
from onefold.signals.timeframe import BarAggregator, aggregate, higher

__all__ = [
    "FLAT",
    "HOLD",
    "LONG",
    "SHORT",
    "STRATEGIES",
    "BarAggregator",
    "BarBuilder",
    "BarKind",
    "BarRow",
    "Columns",
    "Ensemble",
    "Feature",
    "FeatureMemo",
    "FeatureSet",
    "FeatureSetStream",
    "FeatureStream",
    "Filtered",
    "Finding",
    "Gate",
    "Held",
    "Model",
    "Models",
    "RuleStrategy",
    "SignalRow",
    "SignalSet",
    "SignalSetStream",
    "SignalStream",
    "Strategy",
    "aggregate",
    "bars_from_ticks",
    "build_strategy",
    "check_feature",
    "check_gate",
    "check_strategy",
    "choose",
    "col",
    "feature_of",
    "fracdiff",
    "higher",
    "highest",
    "hour",
    "ibs",
    "lag",
    "log_return",
    "lowest",
    "mean",
    "minute",
    "parkinson",
    "raise_for",
    "rows_of",
    "std",
    "strategies_from_source",
    "strategy",
    "ta",
    "volatility",
    "weekday",
    "zscore",
]
