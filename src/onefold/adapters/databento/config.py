"""What a user may say about Databento: an account, a dataset, and what bars are made of."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from onefold.domain.rules import Rule


class DatabentoConfig(Rule):
    """One dataset of Databento. History is charged for by Databento, by the amount of data."""

    key: SecretStr = Field(description="The account's key, e.g. ${DATABENTO_API_KEY}.")
    dataset: str = Field(min_length=1, description="Databento's code, e.g. GLBX.MDP3.")
    symbols: dict[str, str] = Field(
        default_factory=dict, description="Databento's names where they differ: {ES: ES.c.0}."
    )
    symbol_type: Literal["raw_symbol", "continuous"] = Field(
        "raw_symbol",
        description="raw_symbol names a contract as its exchange does; continuous a series such as "
        "ES.c.0, whose prices jump where the contract changes.",
    )
    bars_from: Literal["ohlcv", "trades"] = Field(
        "ohlcv", description="Databento's own bars (1s, 1m, 1h, 1d), or its trades, for any."
    )
    url: str | None = Field(
        None, description="Another server for history, always over https, such as a local one."
    )
    live_url: str | None = Field(
        None, description="Another gateway for the stream, as host:port, such as a local one."
    )
    grace_s: float = Field(
        1.0, ge=0, le=60, description="Bars from trades: seconds to wait for late trades."
    )
    heartbeat_s: int = Field(
        10, ge=5, le=1_800, description="Seconds of quiet after which Databento says it is there."
    )
    silence_s: float = Field(
        30.0, gt=0, le=3_600, description="Seconds of silence after which the stream is lost."
    )
    deadline_s: float = Field(20.0, gt=0, le=300, description="Seconds to wait for an answer.")
    retries: int = Field(3, ge=0, le=20, description="How often a question is asked again.")

    @field_validator("url")
    @classmethod
    def _encrypted(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith("https://"):
            raise ValueError(f"{url!r} must begin with https://: the key travels with every call")
        return url

    @field_validator("live_url")
    @classmethod
    def _host_and_port(cls, url: str | None) -> str | None:
        host, _, port = (url or "host:1").rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"{url!r} is not a host and a port: write 127.0.0.1:13000")
        return url
