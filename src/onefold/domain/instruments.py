"""What can be traded, and the facts that turn a price and a number of lots into money.

Quantities are whole lots everywhere. One lot of a future is one contract; one lot of Bitcoin may
be 0.0001 BTC. The value of a position is `lots x lot x multiplier x price` in the instrument's
currency. The catalogue holds contract facts as the exchanges publish them (CME Group, Eurex and
HKEX contract specifications); margins and commissions depend on the broker, so they are defaults
to override.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from onefold.domain.bounds import SIZE_MAX, SIZE_MIN
from onefold.domain.errors import ConfigError, did_you_mean


class Kind(StrEnum):
    """How an instrument settles: futures by margin, the others by paying for them."""

    FUTURE = "future"
    EQUITY = "equity"
    FX = "fx"
    CRYPTO = "crypto"
    CFD = "cfd"
    INDEX = "index"


class Instrument(BaseModel):
    """One tradable instrument."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    symbol: str = Field(min_length=1, description="The name used everywhere in Onefold.")
    kind: Kind = Field(Kind.EQUITY, description="future, equity, fx, crypto, cfd or index.")
    currency: str = Field("USD", description="The currency that prices and fees are in.")
    multiplier: float = Field(
        1.0, ge=SIZE_MIN, le=SIZE_MAX, description="Money per unit for one point of price."
    )
    tick: float = Field(
        0.0, ge=0, le=SIZE_MAX, description="Smallest price step; 0 means any price."
    )
    lot: float = Field(
        1.0, ge=SIZE_MIN, le=SIZE_MAX, description="Units in one lot, the smallest quantity."
    )
    commission: float = Field(
        0.0, ge=0, le=SIZE_MAX, description="Fee per lot and fill, in the currency."
    )
    commission_bps: float = Field(
        0.0, ge=0, le=10_000, description="Fee in basis points of the value."
    )
    calendar: str = Field("24/7", description="Session calendar, e.g. XNYS; 24/7 never closes.")
    negative_prices: bool = Field(False, description="Whether prices at or below zero are real.")
    short: bool = Field(True, description="Whether selling short is allowed.")
    margin_initial: float = Field(
        1.0, gt=0, le=1, description="Share of the value needed to open; 1 means paid in full."
    )
    margin_maintenance: float = Field(
        1.0, gt=0, le=1, description="Share of the value that equity must cover while it is held."
    )

    @property
    def point_value(self) -> float:
        """Return the money made by one lot when the price rises by one."""
        return self.lot * self.multiplier

    @property
    def margined(self) -> bool:
        """Return whether only profit and loss move cash (futures and contracts for difference)."""
        return self.kind in (Kind.FUTURE, Kind.CFD)


def _future(
    symbol: str,
    multiplier: float,
    tick: float,
    *,
    currency: str = "USD",
    calendar: str = "CMES",
    negative_prices: bool = False,
) -> Instrument:
    return Instrument(
        symbol=symbol,
        kind=Kind.FUTURE,
        currency=currency,
        multiplier=multiplier,
        tick=tick,
        commission=2.5,
        calendar=calendar,
        negative_prices=negative_prices,
        margin_initial=0.1,
        margin_maintenance=0.08,
    )


def _pair(symbol: str, currency: str, tick: float) -> Instrument:
    return Instrument(
        symbol=symbol,
        kind=Kind.FX,
        currency=currency,
        tick=tick,
        lot=1_000,
        calendar="24/5",
        margin_initial=0.05,
        margin_maintenance=0.04,
    )


def _coin(symbol: str, tick: float, lot: float, currency: str = "USD") -> Instrument:
    return Instrument(
        symbol=symbol,
        kind=Kind.CRYPTO,
        currency=currency,
        tick=tick,
        lot=lot,
        commission_bps=10,
        short=False,
    )


CATALOG: dict[str, Instrument] = {
    i.symbol: i
    for i in (
        _future("6A", 100_000, 0.00005),
        _future("6B", 62_500, 0.0001),
        _future("6C", 100_000, 0.00005),
        _future("6E", 125_000, 0.00005),
        _future("6J", 12_500_000, 0.0000005),
        _future("6M", 500_000, 0.00001),
        _future("6N", 100_000, 0.00005),
        _future("6S", 125_000, 0.00005),
        _future("CL", 1_000, 0.01, negative_prices=True),
        _future("NG", 10_000, 0.001, negative_prices=True),
        _future("RB", 42_000, 0.0001, negative_prices=True),
        _future("HO", 42_000, 0.0001, negative_prices=True),
        _future("BZ", 1_000, 0.01, negative_prices=True),
        _future("GC", 100, 0.1),
        _future("MGC", 10, 0.1),
        _future("SI", 5_000, 0.005),
        _future("HG", 25_000, 0.0005),
        _future("PL", 50, 0.1),
        _future("PA", 100, 0.5),
        _future("ALI", 25, 0.25),
        _future("ES", 50, 0.25),
        _future("MES", 5, 0.25),
        _future("NQ", 20, 0.25),
        _future("MNQ", 2, 0.25),
        _future("YM", 5, 1.0),
        _future("RTY", 50, 0.1),
        _future("ZB", 1_000, 0.03125),
        _future("ZN", 1_000, 0.015625),
        _future("ZF", 1_000, 0.0078125),
        _future("ZT", 2_000, 0.00390625),
        _future("ZC", 50, 0.25),
        _future("ZS", 50, 0.25),
        _future("ZW", 50, 0.25),
        _future("ZM", 100, 0.1),
        _future("ZL", 600, 0.01),
        _future("LE", 400, 0.025),
        _future("HE", 400, 0.025),
        _future("BTC", 5, 5.0),
        _future("MBT", 0.1, 5.0),
        _future("FESX", 10, 1.0, currency="EUR", calendar="XEUR"),
        _future("FDAX", 25, 1.0, currency="EUR", calendar="XEUR"),
        _future("FGBL", 1_000, 0.01, currency="EUR", calendar="XEUR"),
        _future("HSI", 50, 1.0, currency="HKD", calendar="XHKG"),
        _pair("EURUSD", "USD", 0.00001),
        _pair("GBPUSD", "USD", 0.00001),
        _pair("AUDUSD", "USD", 0.00001),
        _pair("NZDUSD", "USD", 0.00001),
        _pair("USDJPY", "JPY", 0.001),
        _pair("USDCHF", "CHF", 0.00001),
        _pair("USDCAD", "CAD", 0.00001),
        _pair("EURGBP", "GBP", 0.00001),
        _coin("BTCUSD", 0.01, 0.0001),
        _coin("ETHUSD", 0.01, 0.001),
        _coin("LTCUSD", 0.01, 0.01),
        _coin("BTCEUR", 0.01, 0.0001, "EUR"),
        _coin("BTCUSDT", 0.01, 0.00001, "USDT"),
        _coin("ETHUSDT", 0.01, 0.0001, "USDT"),
    )
}
"""Common futures, currency pairs and coins by symbol."""


def instrument(symbol: str, **changes: object) -> Instrument:
    """Return a catalogued instrument, or a plain equity, with some facts changed.

    A symbol that is not in the catalogue needs at least its `kind` among the changes, because
    guessing a multiplier would misstate every profit.
    """
    base = CATALOG.get(symbol)
    if base is None:
        if "kind" not in changes:
            raise ConfigError(
                f"instrument {symbol!r} is not in the catalogue: give its kind (and multiplier, "
                f"tick, lot, currency){did_you_mean(symbol, CATALOG)}"
            )
        return Instrument.model_validate({"symbol": symbol, **changes})
    return Instrument.model_validate({**base.model_dump(), **changes})
