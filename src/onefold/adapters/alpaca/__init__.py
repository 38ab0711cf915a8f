"""Alpaca: bars of US shares and coins, and orders in them."""

from onefold.adapters.alpaca.config import AlpacaConfig
from onefold.adapters.alpaca.feed import AlpacaFeed
from onefold.adapters.alpaca.venue import AlpacaVenue

__all__ = ["AlpacaConfig", "AlpacaFeed", "AlpacaVenue"]
