"""What a user says about Alpaca: the account, paper or live, and which market data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from onefold.domain.rules import Rule


class AlpacaConfig(Rule):
    """One account at Alpaca; paper and live accounts have keys of their own."""

    api_key: SecretStr = Field(SecretStr(""), description="The key's id; needed for bars too.")
    api_secret: SecretStr = Field(SecretStr(""), description="Secret that belongs to the key.")
    environment: Literal["paper", "live"] = Field(
        "paper", description="Whose keys they are: the paper account's or the real one's."
    )
    symbols: dict[str, str] = Field(
        default_factory=dict,
        description="Our symbol to Alpaca's where they differ; BTCUSD is found as BTC/USD.",
    )
    data_feed: Literal["iex", "sip"] = Field(
        "iex", description="Shares: trades of one exchange (free), or of all (subscription)."
    )
    adjustment: Literal["raw", "split", "all"] = Field(
        "split", description="Past bars of shares: as traded, or adjusted to today's shares."
    )
    url: str | None = Field(None, description="Another server with the same interfaces.")
    ws_url: str | None = Field(None, description="Its WebSockets; made from `url` when left out.")
    stream: bool = Field(True, description="Minute bars by WebSocket; other bars are asked for.")
    poll_s: float = Field(5.0, gt=0, le=3_600, description="Seconds between questions for bars.")
    settle_s: float = Field(
        2.0, ge=0, le=60, description="Seconds after its end until a bar is asked for."
    )
    deadline_s: float = Field(10.0, gt=0, le=300, description="Longest wait for one answer.")
    retries: int = Field(3, ge=0, le=20, description="Repeats of a question without an answer.")
    calls_per_second: float = Field(
        3.0, gt=0, le=1_000, description="Pace of all calls; a fifth of it is kept for cancels."
    )
