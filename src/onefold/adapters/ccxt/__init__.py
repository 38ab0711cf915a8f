"""Any exchange that ccxt knows: bars from it, and orders to it."""

from onefold.adapters.ccxt.config import CcxtConfig
from onefold.adapters.ccxt.feed import CcxtFeed
from onefold.adapters.ccxt.venue import CcxtVenue

__all__ = ["CcxtConfig", "CcxtFeed", "CcxtVenue"]
