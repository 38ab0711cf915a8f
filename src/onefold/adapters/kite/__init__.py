"""Zerodha's Kite: bars from India's exchanges, and orders to them."""

from onefold.adapters.kite.config import KiteConfig
from onefold.adapters.kite.feed import KiteFeed
from onefold.adapters.kite.venue import KiteVenue

__all__ = ["KiteConfig", "KiteFeed", "KiteVenue"]
