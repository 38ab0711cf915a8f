"""OANDA: currencies and contracts for difference, bars of them and orders for them."""

from onefold.adapters.oanda.config import OandaConfig
from onefold.adapters.oanda.feed import OandaFeed
from onefold.adapters.oanda.venue import OandaVenue

__all__ = ["OandaConfig", "OandaFeed", "OandaVenue"]
