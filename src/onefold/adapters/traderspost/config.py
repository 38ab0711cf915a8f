"""What a user says about TradersPost: where its strategy listens."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, SecretStr, field_validator

from onefold.domain.rules import Rule

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


class TradersPostConfig(Rule):
    """One strategy at TradersPost; whoever knows its address can trade with it."""

    model_config = ConfigDict(hide_input_in_errors=True)

    webhook: SecretStr = Field(
        description="The address of the strategy's webhook with its password, as TradersPost shows "
        "it, e.g. ${TRADERSPOST_WEBHOOK}; or that of a local server."
    )
    symbols: dict[str, str] = Field(
        default_factory=dict,
        description="TradersPost's ticker where it differs, e.g. ES: ESZ2026.",
    )
    deadline_s: float = Field(10.0, gt=0, le=300, description="Longest wait for one answer.")
    retries: int = Field(3, ge=0, le=20, description="Repeats of a question without an answer.")
    calls_per_second: float = Field(1.0, gt=0, le=1_000, description="Pace of all calls.")

    @field_validator("webhook")
    @classmethod
    def _is_safe(cls, webhook: SecretStr) -> SecretStr:
        """Refuse what would send the password in the clear; the message must not show it."""
        stripped = SecretStr(webhook.get_secret_value().strip())
        parts = urlsplit(stripped.get_secret_value())
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOCAL):
            raise ValueError("the webhook must begin with https://: its password travels with it")
        if not parts.hostname or len(parts.path.strip("/").split("/")) < 2:
            raise ValueError("the webhook is not complete: copy all of it, with its password")
        return stripped
