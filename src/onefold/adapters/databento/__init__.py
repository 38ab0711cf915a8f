"""Bars and trades of Databento: live, historical, and from its files."""

from onefold.adapters.databento.config import DatabentoConfig
from onefold.adapters.databento.feed import DatabentoFeed
from onefold.adapters.databento.files import read_dbn

__all__ = ["DatabentoConfig", "DatabentoFeed", "read_dbn"]
