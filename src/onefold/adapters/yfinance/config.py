"""What a user may say about Yahoo Finance, which needs no account."""

from __future__ import annotations

from pydantic import Field

from onefold.domain.rules import Rule


class YFinanceConfig(Rule):
    """Yahoo Finance by way of the yfinance package."""

    url: str | None = Field(
        None, description="Another server that answers as Yahoo does, such as a local one."
    )
    symbols: dict[str, str] = Field(
        default_factory=dict, description="Yahoo's names where they differ: {EURUSD: EURUSD=X}."
    )
    extended_hours: bool = Field(
        False, description="Whether bars before and after the session count."
    )
    poll_s: float = Field(
        15.0, gt=0, le=3_600, description="Seconds between two looks for a bar that is due."
    )
    settle_s: float = Field(
        5.0,
        ge=0,
        le=3_600,
        description="Seconds after its end at which a bar is final; what Yahoo changes later is "
        "not seen.",
    )
    deadline_s: float = Field(10.0, gt=0, le=300, description="Seconds to wait for an answer.")
    retries: int = Field(3, ge=0, le=20, description="How often a question is asked again.")
