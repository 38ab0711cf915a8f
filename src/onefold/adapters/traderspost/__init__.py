"""TradersPost: orders by webhook to a broker of its own, and not a word back."""

from onefold.adapters.traderspost.config import TradersPostConfig
from onefold.adapters.traderspost.venue import TradersPostVenue

__all__ = ["TradersPostConfig", "TradersPostVenue"]
