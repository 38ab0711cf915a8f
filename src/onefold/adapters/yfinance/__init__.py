"""Bars of Yahoo Finance, polled: free, delayed, and without any promise."""

from onefold.adapters.yfinance.config import YFinanceConfig
from onefold.adapters.yfinance.feed import YFinanceFeed

__all__ = ["YFinanceConfig", "YFinanceFeed"]
