"""What a user says about live sessions: where bars come from, and which accounts trade where.

Each source and venue keeps its own settings with its adapter; here they are put under one key
each, so that a feed is `BTCUSD: { interval: 1m, ccxt: { exchange: binance } }` and nothing else.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from onefold.adapters.alpaca.config import AlpacaConfig
from onefold.adapters.ccxt.config import CcxtConfig
from onefold.adapters.databento.config import DatabentoConfig
from onefold.adapters.kite.config import KiteConfig
from onefold.adapters.oanda.config import OandaConfig
from onefold.adapters.traderspost.config import TradersPostConfig
from onefold.adapters.yfinance.config import YFinanceConfig
from onefold.domain.bounds import SECONDS_MAX
from onefold.domain.rules import AccountRules, Rule

INTERVALS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
NS_PER_S = 1_000_000_000
IDENTITY = ("exchange", "market", "environment", "account")
"""Settings that tell one account at a venue from another."""


def _only(chosen: BaseModel, names: tuple[str, ...], what: str) -> str:
    """Return which one of several keys is given."""
    given = [name for name in names if getattr(chosen, name) is not None]
    if len(given) != 1:
        raise ValueError(f"give exactly one {what}: {', '.join(names)}")
    return given[0]


class FeedSettings(Rule):
    """Where an instrument's bars come from in real time."""

    interval: str = Field(
        "1m", pattern=r"^[1-9][0-9]{0,3}[smhd]$", description="Length of a bar: 30s, 1m, 1h, 1d."
    )
    history: int = Field(
        0, ge=0, le=100_000, description="Bars to load at the start, besides what features need."
    )
    alpaca: AlpacaConfig | None = Field(None, description="Alpaca: shares and coins.")
    ccxt: CcxtConfig | None = Field(None, description="Any exchange that ccxt knows.")
    databento: DatabentoConfig | None = Field(None, description="Databento.")
    kite: KiteConfig | None = Field(None, description="Zerodha Kite: India's exchanges.")
    oanda: OandaConfig | None = Field(None, description="OANDA: currencies and CFDs.")
    yfinance: YFinanceConfig | None = Field(None, description="Yahoo Finance, by polling.")

    @model_validator(mode="after")
    def _one(self) -> FeedSettings:
        _only(self, SOURCES, "source")
        return self

    @property
    def source(self) -> str:
        """Return the kind of the source."""
        return _only(self, SOURCES, "source")

    @property
    def config(self) -> Any:
        """Return the source's own settings."""
        return getattr(self, self.source)

    @property
    def interval_ns(self) -> int:
        """Return the length of a bar in nanoseconds."""
        return int(self.interval[:-1]) * INTERVALS_S[self.interval[-1]] * NS_PER_S


class VenueSettings(Rule):
    """Where an account's orders go."""

    alpaca: AlpacaConfig | None = Field(None, description="Alpaca: shares and coins.")
    ccxt: CcxtConfig | None = Field(None, description="Any exchange that ccxt knows.")
    kite: KiteConfig | None = Field(None, description="Zerodha Kite: India's exchanges.")
    oanda: OandaConfig | None = Field(None, description="OANDA: currencies and CFDs.")
    traderspost: TradersPostConfig | None = Field(
        None, description="TradersPost by webhook, which confirms nothing."
    )

    @model_validator(mode="after")
    def _one(self) -> VenueSettings:
        _only(self, VENUES, "venue")
        return self

    @property
    def kind(self) -> str:
        """Return the kind of the venue."""
        return _only(self, VENUES, "venue")

    @property
    def identity(self) -> str:
        """Return which venue and which account there it is, without secrets."""
        facts = [getattr(self.config, name, None) for name in IDENTITY]
        return " ".join([self.kind, *(str(fact) for fact in facts if fact)])

    @property
    def config(self) -> Any:
        """Return the venue's own settings."""
        return getattr(self, self.kind)


SOURCES = tuple(n for n in FeedSettings.model_fields if n not in {"interval", "history"})
VENUES = tuple(VenueSettings.model_fields)


class AccountSettings(AccountRules):
    """An account of its own: its rules, what trades in it, and where its orders go.

    What is not said here is as under `account`.
    """

    name: str = Field("", description="The key says it.")
    shadow: bool = Field(
        False, description="A challenger: it runs in shadow beside the others, whatever the mode."
    )
    enabled: bool = Field(True, description="An account that is not is skipped, and says so.")
    venue: VenueSettings | None = Field(None, description="Needed for --mode live.")
    approved: str = Field(
        "", max_length=500, description="Who approved live trading, when and why; live needs it."
    )
    needs_evidence: bool = Field(
        False,
        description="Go live only with strategies that were promoted, as they are now.",
    )
    second_person: bool = Field(
        False,
        description="What lets more be traded is approved by another person than who proposed it.",
    )
    strategies: tuple[str, ...] = Field((), description="Which of `strategies`; all when left out.")
    on_stop: Literal["cancel", "keep"] = Field(
        "cancel", description="What becomes of entries that still work when the session ends."
    )
    reconcile_s: float = Field(
        300.0, gt=0, le=SECONDS_MAX, description="Seconds between two comparisons with the venue."
    )
    unknown_s: float = Field(
        30.0,
        gt=0,
        le=3_600,
        description="Seconds until an order that the venue does not know halts its instrument.",
    )
    dead_man_s: float = Field(
        0.0,
        ge=0,
        le=3_600,
        description="Let the venue cancel all orders after so many seconds without us; 0 is off.",
    )

    @property
    def rules(self) -> AccountRules:
        """Return the account's rules alone."""
        return AccountRules(**{name: getattr(self, name) for name in AccountRules.model_fields})
