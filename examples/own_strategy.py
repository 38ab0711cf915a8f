"""Two strategies of one's own; `onefold check own_strategy.py` proves them free of lookahead."""

import numpy as np
from pydantic import Field

from onefold.signals import FLAT, HOLD, LONG, Strategy, ta, volatility


class RsiDip(Strategy):
    """Buy dips in a rising market, sell when the dip is over."""

    period: int = Field(default=14, ge=2, description="Bars of the relative strength index.")
    low: float = Field(default=30.0, gt=0, lt=100, description="Buy below this index.")

    def extract_features(self):
        """Return the index and a slow average."""
        return {"rsi": ta.rsi(self.period), "trend": ta.sma(200)}

    def predict_signal(self, x):
        """Buy below `low` in a rising market, leave above 50."""
        buy = (x.rsi < self.low) & (x.close > x.trend)
        return self.signal(np.where(buy, LONG, np.where(x.rsi > 50, FLAT, HOLD)))


class CalmTrend(Strategy):
    """Hold a rising market while it is calm, smaller when it moves more."""

    def extract_features(self):
        """Return a slow average and the yearly volatility of a month."""
        return {"trend": ta.sma(150), "moves": volatility(20)}

    def predict_signal(self, x):
        """Hold above the average; the volatility sizes the position."""
        return self.signal(x.close > x.trend, volatility=x.moves)
