"""The rule-based strategies that come with Onefold.

Each is a few lines over features, and documents its rule as a formula. They are starting points to
be understood, combined and replaced, not advice. HOLD between an entry and an exit threshold is
what makes a rule without memory hold a position: it changes nothing until a threshold is crossed.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from onefold.domain.columns import Floats, Sides, Signals
from onefold.signals.feature import Feature, col
from onefold.signals.indicators import ta
from onefold.signals.ours import (
    highest,
    ibs,
    lag,
    log_return,
    lowest,
    mean,
    std,
    volatility,
    zscore,
)
from onefold.signals.signal import FLAT, HOLD, LONG, SHORT, Columns, choose
from onefold.signals.strategy import Strategy


class RuleStrategy(Strategy):
    """A strategy that can also say what risk rules need: a barrier and a yearly volatility."""

    atr: int | None = Field(
        default=None,
        ge=1,
        description="Bars of the average true range given as barrier; null gives none.",
    )
    volatility_bars: int | None = Field(
        default=None,
        ge=2,
        description="Bars of the yearly volatility that is given; null gives none.",
    )
    bars_per_year: float = Field(default=252.0, gt=0, description="Bars in a year of trading.")

    def extract_features(self) -> dict[str, Feature]:
        """Return the features of the rule, and those of the risk fields that are wanted."""
        features = self.rule_features()
        if self.atr is not None:
            features["atr_value"] = ta.atr(self.atr)
        if self.volatility_bars is not None:
            features["volatility_value"] = volatility(self.volatility_bars, self.bars_per_year)
        return features

    def rule_features(self) -> dict[str, Feature]:
        """Return the features of the rule alone."""
        raise NotImplementedError

    def risk(self, x: Columns) -> dict[str, Floats | None]:
        """Return the barrier and the volatility as arguments of `signal`."""
        return {
            "barrier": None if self.atr is None else x.atr_value,
            "volatility": None if self.volatility_bars is None else x.volatility_value,
        }


class Crossover(RuleStrategy):
    """Follow the trend: LONG where the fast average is above the slow one, else FLAT.

    With `short`, SHORT where it is below, and FLAT only where the two are equal.
    """

    kind: ClassVar[str] = "crossover"

    fast: int = Field(default=10, ge=2, description="Bars of the fast average.")
    slow: int = Field(default=30, ge=3, description="Bars of the slow average.")
    average: Literal["sma", "ema"] = Field(
        default="sma", description="Simple or exponential average."
    )
    short: bool = Field(default=False, description="Sell short where the fast average is below.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.fast >= self.slow:
            raise ValueError(f"fast ({self.fast}) must be shorter than slow ({self.slow})")
        return self

    def rule_features(self) -> dict[str, Feature]:
        """Return both averages of the close."""
        return {"fast": ta(self.average, self.fast), "slow": ta(self.average, self.slow)}

    def predict_signal(self, x: Columns) -> Signals:
        """Compare the averages."""
        side: Sides = (x.fast > x.slow).view(np.int8)
        if self.short:
            side = side - (x.fast < x.slow).view(np.int8)
        return self.signal(side, **self.risk(x))


class Momentum(RuleStrategy):
    """Follow the return r = close / close n bars before - 1: LONG above the threshold, else FLAT.

    With `short`, SHORT below minus the threshold. The score z = r / (s sqrt(n)), with s the
    standard deviation of the n one-bar log returns, compares the move with what chance would give;
    confidence is |z| / (1 + |z|). Moskowitz, Ooi and Pedersen, Time series momentum, Journal of
    Financial Economics 104 (2012).
    """

    kind: ClassVar[str] = "momentum"

    bars: int = Field(default=20, ge=2, description="Bars that the return is measured over.")
    threshold: float = Field(default=0.0, ge=0, description="Least return, as a share.")
    short: bool = Field(default=False, description="Sell short on a negative return.")

    def rule_features(self) -> dict[str, Feature]:
        """Return the n-bar return and its score."""
        change = col.close / lag(self.bars) - 1.0
        spread = std(self.bars, log_return(1)) * float(self.bars) ** 0.5
        return {"change": change, "spread": spread}

    def predict_signal(self, x: Columns) -> Signals:
        """Compare the return with the threshold."""
        side: Sides = (x.change > self.threshold).view(np.int8)
        if self.short:
            side = side - (x.change < -self.threshold).view(np.int8)
        score = x.change / x.spread
        size = np.abs(score)
        return self.signal(side, score=score, confidence=size / (1.0 + size), **self.risk(x))


def _reversion(deviation: Any, enter: float, leave: float, *, short: bool) -> Sides:
    """Return LONG far below zero and FLAT once back; with `short` the mirror image above zero."""
    if short:
        return choose(
            (deviation <= -enter, LONG),
            (deviation >= enter, SHORT),
            (np.abs(deviation) <= leave, FLAT),
        )
    return choose((deviation <= -enter, LONG), (deviation >= -leave, FLAT))


class MeanReversion(RuleStrategy):
    """Buy what has fallen far below its mean and wait: on the z-score of the close over n bars.

    LONG where z <= -enter, FLAT where z >= -leave, HOLD between. With `short` SHORT where
    z >= enter, and FLAT where |z| <= leave. Confidence |z| / (|z| + enter) is one half at the
    entry; the edge is the way back to the mean, |mean / close - 1|; the trend is the average
    directional index, so that a gate can refuse to trade against strong trends.
    """

    kind: ClassVar[str] = "mean_reversion"

    bars: int = Field(default=20, ge=2, description="Bars of the mean and the standard deviation.")
    enter: float = Field(default=2.0, gt=0, description="Standard deviations at which to enter.")
    leave: float = Field(default=0.5, ge=0, description="Standard deviations at which to leave.")
    trend_bars: int = Field(default=14, ge=2, description="Bars of the average directional index.")
    short: bool = Field(default=False, description="Sell short above the mean.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.leave >= self.enter:
            raise ValueError(f"leave ({self.leave}) must be less than enter ({self.enter})")
        if self.short and self.leave == 0.0:
            raise ValueError("leave must be above 0 with short, or no position is ever left")
        return self

    def rule_features(self) -> dict[str, Feature]:
        """Return z-score, mean and trend strength."""
        return {"z": zscore(self.bars), "mean": mean(self.bars), "adx": ta.adx(self.trend_bars)}

    def predict_signal(self, x: Columns) -> Signals:
        """Compare the z-score with both thresholds."""
        size = np.abs(x.z)
        return self.signal(
            _reversion(x.z, self.enter, self.leave, short=self.short),
            confidence=size / (size + self.enter),
            score=-x.z,
            edge=np.abs(x.mean / x.close - 1.0),
            trend=x.adx,
            **self.risk(x),
        )


class Breakout(RuleStrategy):
    """Buy strength: LONG where the close is above the highest high of the n bars before.

    FLAT where it is below the lowest low of the m bars before, HOLD between. With `short` the rule
    is always in the market: SHORT below the lowest low of the n bars before, and nothing else ends
    a position. The barrier is the average true range, the score the excess in such units. This is
    Donchian's channel rule in the form of the Turtles (Faith, Way of the Turtle, 2007).
    """

    kind: ClassVar[str] = "breakout"

    bars: int = Field(default=20, ge=1, description="Bars of the channel for entries.")
    leave: int | None = Field(
        default=None, ge=1, description="Bars of the channel for exits; null is half of `bars`."
    )
    atr: int | None = Field(default=20, ge=1, description="Bars of the average true range.")
    short: bool = Field(default=False, description="Reverse to short instead of leaving.")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.short and self.leave is not None:
            raise ValueError("leave has no meaning with short, which reverses: remove one of them")
        return self

    def rule_features(self) -> dict[str, Feature]:
        """Return both channels."""
        low_bars = self.bars if self.short else self.leave or max(1, self.bars // 2)
        return {"upper": highest(self.bars), "lower": lowest(low_bars)}

    def predict_signal(self, x: Columns) -> Signals:
        """Compare the close with the channels."""
        down = SHORT if self.short else FLAT
        side = choose((x.close > x.upper, LONG), (x.close < x.lower, down))
        score = None if self.atr is None else (x.close - x.upper) / x.atr_value
        return self.signal(side, score=score, **self.risk(x))


class IbsA(RuleStrategy):
    """Buy weak closes, sell strong ones, on the internal bar strength.

    IBS = (close - low) / (high - low): LONG where IBS < low, FLAT where IBS > high, HOLD between.
    Confidence |2 IBS - 1| is the distance from the middle. Pagonidis, The IBS effect: mean
    reversion in equity ETFs (2013).
    """

    kind: ClassVar[str] = "ibs_a"

    low: float = Field(
        default=0.2, gt=0, lt=1, description="Enter below this internal bar strength."
    )
    high: float = Field(
        default=0.8, gt=0, lt=1, description="Leave above this internal bar strength."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be less than high ({self.high})")
        return self

    def rule_features(self) -> dict[str, Feature]:
        """Return the internal bar strength."""
        return {"ibs": ibs()}

    def predict_signal(self, x: Columns) -> Signals:
        """Compare it with both thresholds."""
        side = choose((x.ibs < self.low, LONG), (x.ibs > self.high, FLAT))
        confidence = np.abs(2.0 * x.ibs - 1.0)
        return self.signal(side, confidence=confidence, score=0.5 - x.ibs, **self.risk(x))


class IbsB(RuleStrategy):
    """Buy weak closes in a rising market only, on internal bar strength, average and volatility.

    LONG where IBS < enter, close > average and volatility <= volatility_max; FLAT where
    IBS > leave; HOLD between. With `short` the mirror image below the average: SHORT where
    IBS > 1 - enter, FLAT where IBS < 1 - leave. The filter by a long average is that of Connors
    and Alvarez, Short Term Trading Strategies That Work (2008).
    """

    kind: ClassVar[str] = "ibs_b"

    enter: float = Field(default=0.15, gt=0, lt=0.5, description="Enter below this bar strength.")
    leave: float = Field(default=0.7, gt=0, lt=1, description="Leave above this bar strength.")
    average: int = Field(default=200, ge=2, description="Bars of the average that tells the trend.")
    volatility_bars: int | None = Field(
        default=20, ge=2, description="Bars of the yearly volatility; null gives none."
    )
    volatility_max: float | None = Field(
        default=None, gt=0, description="Largest yearly volatility at which to enter, as a share."
    )
    short: bool = Field(default=False, description="Sell short strong closes in a falling market.")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.enter >= self.leave:
            raise ValueError(f"enter ({self.enter}) must be less than leave ({self.leave})")
        if self.volatility_max is not None and self.volatility_bars is None:
            raise ValueError("volatility_max needs volatility_bars")
        return self

    def rule_features(self) -> dict[str, Feature]:
        """Return the internal bar strength and the average."""
        return {"ibs": ibs(), "average_value": ta.sma(self.average)}

    def predict_signal(self, x: Columns) -> Signals:
        """Compare bar strength, trend and volatility with their thresholds."""
        above = x.close > x.average_value
        buy, sell = x.ibs < self.enter, x.ibs > 1.0 - self.enter
        if self.volatility_max is not None:
            calm = x.volatility_value <= self.volatility_max
            buy, sell = buy & calm, sell & calm
        strong = x.ibs > self.leave
        if self.short:
            leave = np.where(above, strong, x.ibs < 1.0 - self.leave)
            side = choose((buy & above, LONG), (sell & ~above, SHORT), (leave, FLAT))
        else:
            side = choose((buy & above, LONG), (strong, FLAT))
        confidence = np.abs(2.0 * x.ibs - 1.0)
        return self.signal(side, confidence=confidence, score=0.5 - x.ibs, **self.risk(x))


class Scalping(RuleStrategy):
    """Trade short deviations from a fast average that the relative strength index confirms.

    d = close / EMA - 1: LONG where d <= -deviation and RSI <= rsi_low, FLAT where d >= -leave,
    HOLD between. With `short` SHORT where d >= deviation and RSI >= 100 - rsi_low, and FLAT where
    |d| <= leave. The edge is the way back to the average, |EMA / close - 1|; the trend is the
    average directional index, for the gate that refuses strong trends; the price of a limit order
    is better than the close by `offset`.
    """

    kind: ClassVar[str] = "scalping"

    average: int = Field(default=9, ge=2, description="Bars of the exponential average.")
    rsi_bars: int = Field(default=7, ge=2, description="Bars of the relative strength index.")
    rsi_low: float = Field(
        default=30.0, gt=0, le=50, description="Buy only at or below this index."
    )
    deviation: float = Field(
        default=0.002, gt=0, description="Distance for entries, share of the price."
    )
    leave: float = Field(
        default=0.0005, ge=0, description="Distance at which to leave, the same unit."
    )
    offset: float = Field(
        default=0.0, ge=0, lt=1, description="How much better than the close to bid."
    )
    trend_bars: int = Field(default=14, ge=2, description="Bars of the average directional index.")
    short: bool = Field(default=False, description="Sell short above the average.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.leave >= self.deviation:
            raise ValueError(f"leave ({self.leave}) must be less than {self.deviation} (deviation)")
        if self.short and self.leave == 0.0:
            raise ValueError("leave must be above 0 with short, or no position is ever left")
        return self

    def rule_features(self) -> dict[str, Feature]:
        """Return the average, the relative strength index and the trend strength."""
        return {
            "ema": ta.ema(self.average),
            "rsi": ta.rsi(self.rsi_bars),
            "adx": ta.adx(self.trend_bars),
        }

    def predict_signal(self, x: Columns) -> Signals:
        """Compare deviation and index with their thresholds."""
        distance = x.close / x.ema - 1.0
        side = _reversion(distance, self.deviation, self.leave, short=self.short)
        # What the index does not confirm is no entry, but no reason to leave either.
        side[(side == LONG) & (x.rsi > self.rsi_low)] = HOLD
        price = x.close * (1.0 - self.offset)
        if self.short:
            side[(side == SHORT) & (x.rsi < 100.0 - self.rsi_low)] = HOLD
            price = np.where(side == SHORT, x.close * (1.0 + self.offset), price)
        return self.signal(
            side,
            confidence=np.abs(x.rsi - 50.0) / 50.0,
            score=-distance,
            edge=np.abs(x.ema / x.close - 1.0),
            trend=x.adx,
            price=price,
            **self.risk(x),
        )
