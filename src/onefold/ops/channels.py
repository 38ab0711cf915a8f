"""What a user says of notifications: where people are told, of what, and how often.

An address is text that somebody pasted, and apprise knows services that write files, run commands
or speak in the clear; so only those that speak HTTPS or mail are taken, and no option that weakens
them. Whoever knows an address can write there, so no error shows one.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from onefold.domain.errors import did_you_mean
from onefold.domain.rules import Rule

KINDS: dict[str, str] = {
    "start": "an account has recovered and trades",
    "stop": "an account has come to a good end",
    "entry": "a position was opened or enlarged",
    "exit": "a position was closed, with its P&L",
    "part": "a position was left in part",
    "adopt": "lots that the venue held were put into the books",
    "kill": "a person stopped trading",
    "flatten": "positions are to be closed",
    "reduce_only": "only what makes positions smaller is allowed",
    "resume": "a person let trading go on",
    "reset": "latched stops and disabled strategies were cleared",
    "halt": "the engine stopped trading by itself",
    "apart": "books and venue differ, or agree again",
    "rejected": "the venue refused an order",
    "feed": "no bars come from a feed",
    "model": "a model gives no scores, or a strategy has lost its model",
    "engine": "anything else that the engine says",
    "waits": "a feed or a venue cannot be reached, and is tried again",
    "failed": "an account has come to a bad end",
    "summary": "the day: P&L, trades, fees, equity, gates, failures",
    "test": "a message to try a channel out",
}
"""Every kind of notice, and what it tells."""

SERVICES = frozenset(
    {
        "brevo", "discord", "gchat", "guilded", "ifttt", "line", "mailgun", "opsgenie",
        "pagerduty", "pbul", "postmark", "pover", "prowl", "pushed", "sendgrid", "signl4",
        "slack", "spush", "tgram", "twilio", "twist", "webex", "wxteams", "zulip",
    }
)  # fmt: skip
"""Schemes of services that have one address, which apprise knows; all of them use HTTPS."""
OWN_HOST = frozenset(
    {
        "forms", "gotifys", "jsons", "mailtos", "matrixs", "mmosts", "nctalks", "ntfys", "rockets",
        "signals", "synologys", "workflows", "xmls",
    }
)  # fmt: skip
"""Schemes of services on a host that the address names; without the last letter, unencrypted."""
IN_THE_CLEAR = frozenset(name.removesuffix("s") for name in OWN_HOST)
SIGNED = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})
NATIVE = ("discord.com", "discordapp.com", "hooks.slack.com", "chat.googleapis.com")
"""Hosts of which apprise understands the https:// address that the service shows."""
REFUSED = ("verify", "redirect", "template", "attach", "pgp", "pgppub", "pgpprv", "mode")
"""Options of an address that would weaken it, or read files."""


class ChannelSettings(Rule):
    """One place where people are told, and of what."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: SecretStr = Field(
        description="Apprise's address of the channel, e.g. ${DISCORD_URL}; whoever knows it can "
        "write there."
    )
    level: Literal["info", "warning", "emergency"] = Field(
        "info", description="The least urgent notices that go there."
    )
    kinds: tuple[str, ...] = Field((), description="Which kinds of notices; all when left out.")
    accounts: tuple[str, ...] = Field((), description="Which accounts; all when left out.")
    private_network: bool = Field(
        False,
        description="The channel's own host may be in a private network, and be spoken to "
        "without encryption.",
    )
    secret: SecretStr | None = Field(
        None, description="Signs messages to json, xml and form addresses (HMAC-SHA256)."
    )

    @field_validator("url")
    @classmethod
    def _is_allowed(cls, url: SecretStr) -> SecretStr:
        """Refuse services that write files or run commands; the message must not show secrets."""
        stripped = SecretStr(url.get_secret_value().strip())
        try:
            parts = urlsplit(stripped.get_secret_value())
            host = parts.hostname or ""
        except ValueError:
            raise ValueError("this is no address that apprise understands") from None
        scheme = parts.scheme.lower()
        known = SERVICES | OWN_HOST | IN_THE_CLEAR
        if scheme == "https" and host not in NATIVE:
            raise ValueError("give apprise's own address: jsons:// posts JSON to any https:// one")
        if scheme != "https" and scheme not in known:
            raise ValueError(f"{scheme!r} is not allowed{did_you_mean(scheme, known)}")
        for name, _ in parse_qsl(parts.query, keep_blank_values=True):
            if name.lower() in REFUSED:
                raise ValueError(f"the address must not set {name.lower()!r}")
        return stripped

    @field_validator("kinds")
    @classmethod
    def _are_known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(f"there is no kind {kind!r}{did_you_mean(kind, KINDS)}")
        return kinds

    @model_validator(mode="after")
    def _is_safe(self) -> ChannelSettings:
        if self.scheme in IN_THE_CLEAR and not self.private_network:
            raise ValueError(
                f"{self.scheme}:// is not encrypted: use {self.scheme}s://, or say "
                "private_network: true"
            )
        if self.secret is not None and self.scheme not in SIGNED:
            raise ValueError("secret signs json, xml and form addresses only")
        return self

    @property
    def scheme(self) -> str:
        """Return the service's scheme."""
        return urlsplit(self.url.get_secret_value()).scheme.lower()


class NotificationSettings(Rule):
    """Who is told what happens, and how often."""

    channels: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")], ChannelSettings] = (
        Field(default_factory=dict, description="Where people are told, by a name of your choice.")
    )
    per_minute: int = Field(
        20,
        ge=2,
        le=600,
        description="Messages a minute and channel; emergencies have as many of their own.",
    )
    queue: int = Field(
        1_000, ge=10, le=100_000, description="Notices that wait per channel; more are counted."
    )
    retry_s: float = Field(
        900.0, ge=1, le=86_400, description="How long an undelivered notice waits to be sent whole."
    )
    drain_s: float = Field(
        5.0, ge=0, le=60, description="Longest wait for the last messages when the process ends."
    )
