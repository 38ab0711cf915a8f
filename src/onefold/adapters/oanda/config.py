"""What a user says about OANDA: which account, and who is asking."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from onefold.domain.rules import Rule


class OandaConfig(Rule):
    """One v20 account at OANDA; bars need one too."""

    environment: Literal["live", "practice"] = Field(
        "practice", description="The account's kind: real money, or practice."
    )
    account: str = Field(
        "", description="The account's number, e.g. 101-001-1234567-001; a v20 one, not MT4's."
    )
    token: SecretStr = Field(SecretStr(""), description="Personal access token of its owner.")
    symbols: dict[str, str] = Field(
        default_factory=dict,
        description="Our symbol to OANDA's, e.g. GOLD: XAU_USD; EURUSD is found as EUR_USD.",
    )
    url: str | None = Field(None, description="Another server with the same interface.")
    stream_url: str | None = Field(
        None, description="Its streams, which are plain HTTP; `url` when left out."
    )
    stream: bool = Field(
        True, description="Ask for a bar as soon as the stream of prices passes its end."
    )
    touch: bool = Field(True, description="Give each bar the bid and the ask at its open.")
    poll_s: float = Field(
        2.0, gt=0, le=3_600, description="Seconds between questions for a bar that is due."
    )
    settle_s: float = Field(
        10.0,
        ge=0,
        le=600,
        description="Seconds after its end until a bar that is not there had no price at all.",
    )
    silence_s: float = Field(
        15.0,
        gt=0,
        le=300,
        description="Longest silence of a stream, which has a heartbeat every 5 seconds.",
    )
    deadline_s: float = Field(10.0, gt=0, le=300, description="Longest wait for one answer.")
    retries: int = Field(3, ge=0, le=20, description="Repeats of a question without an answer.")
    calls_per_second: float = Field(
        20.0,
        gt=0,
        le=100,
        description="Pace of all calls; a fifth of it is kept for cancels.",
    )
