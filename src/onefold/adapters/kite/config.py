"""What a user says about Kite: whose session it is, and how orders are placed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from onefold.domain.rules import Rule


class KiteConfig(Rule):
    """One account at Zerodha, for bars and for orders; both need today's access token."""

    api_key: SecretStr = Field(description="The key of the app, e.g. ${KITE_API_KEY}.")
    access_token: SecretStr = Field(
        description="The token of today's login; Zerodha ends it early in the next morning."
    )
    exchange: Literal["NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX"] = Field(
        "NSE", description="Where symbols are traded that do not say so."
    )
    symbols: dict[str, str] = Field(
        default_factory=dict,
        description="Our symbol to Kite's, e.g. INFY: INFY-BE or GOLD: MCX:GOLDPETAL26JUNFUT; the "
        "same where it is left out.",
    )
    product: Literal["CNC", "NRML", "MIS"] = Field(
        "CNC", description="CNC (delivery), NRML (futures and options) or MIS (intraday)."
    )
    market_protection: float = Field(
        -1.0,
        ge=-1,
        le=100,
        description="Per cent from the last price at which market and stop orders stop buying or "
        "selling; -1 lets Kite choose. Kite takes none without.",
    )
    charges: bool = Field(
        True, description="Ask Kite what each trade costs; else trades have no fees."
    )
    url: str | None = Field(None, description="Another server with the same interface.")
    ws_url: str | None = Field(None, description="Its ticker; made from `url` when left out.")
    stream: bool = Field(
        True, description="Bars from the ticker (1, 3, 5, 15 minutes); else they are asked for."
    )
    poll_s: float = Field(1.0, gt=0, le=3_600, description="Seconds between looks for due bars.")
    settle_s: float = Field(
        2.0, ge=0, le=60, description="Seconds after its end until a candle is believed final."
    )
    grace_s: float = Field(
        1.0, ge=0, le=60, description="Bars from the ticker: seconds to wait for late ticks."
    )
    silence_s: float = Field(
        10.0, gt=0, le=600, description="Seconds of silence after which the ticker is lost."
    )
    deadline_s: float = Field(10.0, gt=0, le=300, description="Longest wait for one answer.")
    retries: int = Field(3, ge=0, le=20, description="Repeats of a question without an answer.")
    calls_per_second: float = Field(
        3.0,
        gt=0,
        le=1_000,
        description="Pace of all calls, a fifth of it kept for cancels; Kite allows 3 questions "
        "for candles and 10 orders.",
    )

    @field_validator("market_protection")
    @classmethod
    def _is_some(cls, share: float) -> float:
        if share == 0 or -1 < share < 0:
            raise ValueError(f"{share:g} is no protection: give per cent above 0, or -1")
        return share
