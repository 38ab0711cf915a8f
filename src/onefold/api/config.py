"""How the server is set up: where it listens, whom it answers, and how much it takes."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from onefold.domain.errors import ConfigError
from onefold.domain.rules import Rule

ORIGINS = ("http://localhost:3000",)
"""Origins of pages that may ask, where `CORS_ORIGINS` says nothing."""


class ServeSettings(Rule):
    """What `onefold serve` listens on and takes."""

    host: str = Field(
        "127.0.0.1", max_length=253, description="Address to listen on; this machine alone."
    )
    port: int = Field(8600, ge=0, le=65_535, description="Port; 0 takes any that is free.")
    public: bool = Field(
        False,
        description="Listen beyond this machine without TLS, since a proxy before it has TLS.",
    )
    hosts: tuple[str, ...] = Field(
        (), description="Names under which it is reached, besides localhost and addresses."
    )
    tls_certificate: Path | None = Field(None, description="Certificate chain, PEM.")
    tls_key: Path | None = Field(None, description="Its private key, PEM, mode 600.")
    keys: Path = Field(
        Path("keys.json"), description="File with the hashes of API keys; `onefold keys` writes it."
    )
    requests_per_s: float = Field(
        20.0, gt=0, le=10_000, description="Requests of a key, and of an address, in a second."
    )
    burst: int = Field(60, ge=1, le=100_000, description="Requests that may come at once.")
    connections: int = Field(
        64, ge=4, le=512, description="Connections of an address at once; raise it behind a proxy."
    )
    headers_s: float = Field(
        10.0, gt=0, le=60, description="Longest time from a connection to its request's headers."
    )
    body_kb: int = Field(64, ge=1, le=1_024, description="Largest body of a request.")
    request_s: float = Field(30.0, gt=0, le=600, description="Longest time for a request.")
    explain_s: float = Field(60.0, gt=0, le=3_600, description="Longest replay to explain.")
    confirm_s: float = Field(
        300.0,
        gt=0,
        le=3_600,
        description="How long a key that was given again lets sensitive things be done.",
    )
    streams: int = Field(32, ge=1, le=10_000, description="WebSocket streams at once.")
    streams_per_key: int = Field(8, ge=1, le=10_000, description="Of these, streams of one key.")
    stream_queue: int = Field(
        1_000, ge=10, le=1_000_000, description="Messages that wait for a slow reader at most."
    )
    follow: bool = Field(True, description="Keep the database up to date: run `onefold db follow`.")
    dashboard: bool = Field(True, description="Serve the dashboard as well.")

    @field_validator("hosts")
    @classmethod
    def _plain(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not name or "*" in name or any(c in name for c in "/:@ "):
                raise ValueError(f"{name!r} is no name of a host; write it without port and path")
        return tuple(name.lower() for name in names)

    @model_validator(mode="after")
    def _consistent(self) -> ServeSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("give both tls_certificate and tls_key, or neither")
        if not (is_loopback(self.host) or self.public or self.has_tls):
            raise ValueError(
                f"host {self.host} is beyond this machine: give tls_certificate and tls_key, or "
                "say public: true where a proxy with TLS stands before it"
            )
        return self

    @property
    def has_tls(self) -> bool:
        """Return whether it speaks TLS itself."""
        return self.tls_certificate is not None


def is_loopback(host: str) -> bool:
    """Return whether an address is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_address(host: str) -> bool:
    """Return whether a host is an address and no name: no name server can make it another's."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def origins_of(text: str | None) -> tuple[str, ...]:
    """Return the origins in a list such as `CORS_ORIGINS`. Raises `ConfigError` for no exact one.

    The default when nothing is given; none for an empty text.
    """
    if text is None:
        return ORIGINS
    found = tuple(filter(None, (one.strip().rstrip("/") for one in text.split(","))))
    for one in found:
        parts = urlsplit(one)
        bare = not (parts.path or parts.query or parts.fragment or parts.username)
        if parts.scheme not in ("http", "https") or not parts.hostname or "*" in one or not bare:
            raise ConfigError(
                f"CORS_ORIGINS: {one!r} is no origin; write exact ones: https://example.org"
            )
    return found
