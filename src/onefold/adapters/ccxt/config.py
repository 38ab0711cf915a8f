"""What a user says about an exchange: which one, which market of it, and who is asking."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from onefold.domain.rules import Rule


class CcxtConfig(Rule):
    """An exchange by its name in ccxt, for one account and one kind of market."""

    exchange: str = Field("binance", min_length=1, description="Its name in ccxt.")
    market: Literal["spot", "futures"] = Field(
        "spot", description="spot, or futures that are margined in the quote currency."
    )
    environment: Literal["live", "sandbox", "demo"] = Field(
        "live", description="The exchange itself, its test network, or its demo trading."
    )
    api_key: SecretStr = Field(SecretStr(""), description="Not needed for bars only.")
    api_secret: SecretStr = Field(SecretStr(""), description="Secret that belongs to the key.")
    passphrase: SecretStr = Field(SecretStr(""), description="Where the exchange asks for one.")
    symbols: dict[str, str] = Field(
        default_factory=dict,
        description="Our symbol to the exchange's or ccxt's, e.g. BTCUSD: BTC/USDT; the same "
        "where it is left out.",
    )
    url: str | None = Field(None, description="Another server with the same interface.")
    ws_url: str | None = Field(None, description="Its WebSocket; made from `url` when left out.")
    stream: bool = Field(True, description="WebSocket where the exchange has one; else it polls.")
    poll_s: float = Field(
        5.0,
        gt=0,
        le=3_600,
        description="Seconds between questions, and between checks of a stream.",
    )
    settle_s: float = Field(
        1.0, ge=0, le=60, description="Seconds after its end until a polled bar is believed final."
    )
    deadline_s: float = Field(10.0, gt=0, le=300, description="Longest wait for one answer.")
    retries: int = Field(3, ge=0, le=20, description="Repeats of a question without an answer.")
    calls_per_second: float = Field(
        8.0, gt=0, le=1_000, description="Pace of all calls; a fifth of it is kept for cancels."
    )
