"""Made market data from a seed."""

from onefold.adapters.synthetic.config import SyntheticConfig
from onefold.adapters.synthetic.feed import SyntheticFeed, generate

__all__ = ["SyntheticConfig", "SyntheticFeed", "generate"]
