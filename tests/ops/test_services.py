"""Which services are spoken to, how, and that no address is shown."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from onefold.domain.errors import ConfigError
from onefold.ops import notifications
from onefold.ops.channels import OWN_HOST, SERVICES, ChannelSettings
from onefold.ops.notices import Level
from onefold.ops.services import Service

from .messenger import (
    DISCORD,
    SLACK,
    TELEGRAM,
    Messenger,
    point_at,
    serving,
)

ALL = {"discord": DISCORD, "slack": SLACK, "telegram": TELEGRAM}


@pytest.fixture
def messenger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Messenger]:
    with serving() as one:
        point_at(one.port, monkeypatch.setattr)
        # The services' own pauses between messages are not what is tested here.
        from apprise.plugins.slack import NotifySlack
        from apprise.plugins.telegram import NotifyTelegram

        monkeypatch.setattr(NotifySlack, "request_rate_per_sec", 0)
        monkeypatch.setattr(NotifyTelegram, "request_rate_per_sec", 0)
        monkeypatch.setattr(notifications, "RETRY_S", 0.05)
        yield one


@pytest.mark.parametrize(
    "url",
    [
        "windows://", "dbus://", "macosx://", "gnome://", "syslog://", "rsyslog://host", "file:///x",
        "glib://", "kde://", "growl://host", "mqtt://host/topic", "smpp://u:p@host", "blink1://",
        "exec:///bin/sh", "apprise://host/key", "irc://host", "xmpp://u:p@host", "vapid://x",
        "https://evil.example/hook", "http://discord.com/api/webhooks/1/abc", "nothing", "",
        "discord://1/abc?verify=no", "discord://1/abc?redirect=yes", "discord://1/abc?VERIFY=no",
        "discord://1/abc?template=/etc/passwd", "mailtos://u:p@host?pgp=yes",
        "mailtos://u:p@host?mode=insecure", "json://hooks.example/x", "mailto://u:p@host",
    ],
)  # fmt: skip
def test_what_writes_files_runs_commands_or_is_in_the_clear_is_refused(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ChannelSettings.model_validate({"url": url})
    assert "u:p@" not in str(refused.value)
    assert "abc" not in str(refused.value)


def test_a_misspelt_service_has_a_hint() -> None:
    with pytest.raises(ValidationError, match="did you mean 'discord'"):
        ChannelSettings.model_validate({"url": "discrod://1/2"})
    with pytest.raises(ValidationError, match="did you mean 'exit'"):
        ChannelSettings.model_validate({"url": DISCORD, "kinds": ["exti"]})


@pytest.mark.filterwarnings("ignore:.imghdr. is deprecated")  # by apprise, on older Pythons
def test_apprise_knows_every_service_that_is_allowed() -> None:
    import apprise

    known = {
        scheme
        for one in apprise.Apprise().details()["schemas"]
        for scheme in (*(one["protocols"] or ()), *(one["secure_protocols"] or ()))
    }
    assert known >= SERVICES | OWN_HOST


@pytest.mark.parametrize("url", ["https://discord.com/api/webhooks/123/abcdef-GHI", DISCORD])
def test_addresses_as_the_service_shows_them(url: str, messenger: Messenger) -> None:
    service = Service("d", ChannelSettings.model_validate({"url": url}))
    assert service.send("a", "b", Level.INFO) == ""
    assert messenger.asked[0].path.startswith("/discord/api/webhooks/")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "169.254.169.254", "10.0.0.8", "192.168.1.1", "[::1]", "[::ffff:127.0.0.1]"],
)
def test_private_addresses_are_refused(host: str) -> None:
    settings = ChannelSettings.model_validate({"url": f"jsons://user:hush@{host}/hook"})
    with pytest.raises(ConfigError, match="private network") as refused:
        Service("hook", settings)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001"])
def test_names_that_lead_into_a_private_network_are_not_spoken_to(
    host: str, messenger: Messenger
) -> None:
    url = f"jsons://{host}:{messenger.port}/hook"
    service = Service("hook", ChannelSettings.model_validate({"url": url}))
    assert "private network" in service.send("a", "b", Level.INFO)
    assert messenger.asked == []


def test_a_message_to_a_host_of_ones_own_is_signed(messenger: Messenger) -> None:
    settings = ChannelSettings.model_validate(
        {
            "url": f"json://127.0.0.1:{messenger.port}/hook",
            "private_network": True,
            "secret": "between us",
        }
    )
    service = Service("hook", settings)
    assert service.send("a title", "a text", Level.INFO) == ""
    assert service.send("a title", "a text", Level.INFO) == ""
    for asked in messenger.asked:
        number, at = asked.headers["X-Onefold-Id"], asked.headers["X-Onefold-Time"]
        message = f"{asked.body['title']}\n{asked.body['message']}"
        wanted = hmac.new(b"between us", f"{number}.{at}.{message}".encode(), hashlib.sha256)
        assert asked.headers["X-Onefold-Signature"] == wanted.hexdigest()
    assert len({a.headers["X-Onefold-Id"] for a in messenger.asked}) == 2
    assert "between us" not in "".join(f"{a.headers}{a.body}" for a in messenger.asked)
    with pytest.raises(ValidationError, match="json, xml and form"):
        ChannelSettings.model_validate({"url": DISCORD, "secret": "x"})


def test_certificates_are_held_against_the_systems(tmp_path: Path) -> None:
    """A server with a certificate of its own making is not spoken to, by HTTPS or mail."""
    from datetime import UTC, datetime, timedelta

    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "both.pem"
    plain_key = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem.write_bytes(plain_key + made.public_bytes(serialization.Encoding.PEM))
    with serving(tls=pem) as messenger:
        settings = ChannelSettings.model_validate(
            {"url": f"jsons://localhost:{messenger.port}/x", "private_network": True}
        )
        assert Service("x", settings).send("a", "b", Level.INFO) != ""
        assert messenger.asked == []
