"""One channel's service, spoken to through apprise: how, and what came of a message.

Certificates are held against the system's authorities, redirects are not followed, a host of the
user's own must not lead into a private network unless that is meant, and neither an error nor a log
line shows an address.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import logging
import re
import socket
import ssl
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from onefold.domain.errors import ConfigError, MissingExtra
from onefold.ops.channels import IN_THE_CLEAR, OWN_HOST, ChannelSettings
from onefold.ops.notices import Level

PAUSE_MAX_S = 60.0
"""Longest that a service can make its channel wait by what it answers."""
_TYPES = {Level.INFO: "info", Level.WARNING: "warning", Level.EMERGENCY: "failure"}
_STATUS = re.compile(r"error=(\d{3})")


class Service:
    """One address, spoken to through apprise; raises `ConfigError` that does not show it."""

    def __init__(self, name: str, settings: ChannelSettings) -> None:
        where = f"notifications.channels.{name}"
        apprise = _apprise()
        asset = apprise.AppriseAsset(
            app_id="Onefold",
            app_desc="Onefold",
            app_url="",
            image_url_mask="",
            http_redirects=False,
            storage_mode="memory",
        )
        self._settings = settings
        with warnings.catch_warnings():
            # The first address makes apprise load everything that it knows, old modules included.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._one = apprise.Apprise.instantiate(settings.url.get_secret_value(), asset=asset)
        if self._one is None:
            raise ConfigError(
                f"{where}.url: apprise does not take it as a {settings.scheme}:// URL"
            )
        self._one.redirects = False
        self._one.verify_certificate = _certificates()
        self._one.throttle = _patient(self._one)
        self._host = self._own_host()
        if settings.private_network or not self._host:
            return
        if getattr(self._one, "secure_mode", "") == "insecure":
            raise ConfigError(f"{where}.url: mail must be encrypted, or private_network: true")
        with contextlib.suppress(ValueError):
            if not _is_public(ipaddress.ip_address(self._host.strip("[]"))):
                raise ConfigError(f"{where}.url: {_PRIVATE}")

    def _own_host(self) -> str:
        """Return the host that the address names, empty where the service has its own."""
        if self._settings.scheme not in OWN_HOST | IN_THE_CLEAR:
            return ""
        if getattr(self._one, "mode", "") == "cloud":
            return ""
        return str(getattr(self._one, "smtp_host", "") or self._one.host or "")

    def send(self, title: str, text: str, level: Level) -> str:
        """Send one message; return what went wrong, or nothing. Never raises."""
        try:
            if self._host and not self._settings.private_network and _is_inside(self._host):
                return _PRIVATE
            if self._settings.secret is not None:
                self._sign(self._settings.secret, f"{title}\n{text}")
            _HEARD.text = ""
            taken = self._one.notify(
                body=text, title=title, notify_type=_TYPES[level], body_format="text"
            )
        except Exception as error:  # noqa: BLE001 - no message is worth ending the thread
            return type(error).__name__
        if taken:
            return ""
        status = _STATUS.search(getattr(_HEARD, "text", ""))
        return f"it answered {status[1]}" if status else "no answer, or no connection"

    def _sign(self, secret: SecretStr, message: str) -> None:
        """Prove to the receiver that the message is ours, and which one, and when."""
        number, at = uuid.uuid4().hex, str(int(time.time()))
        signed = f"{number}.{at}.{message}".encode()
        key = secret.get_secret_value().encode()
        self._one.headers |= {
            "X-Onefold-Id": number,
            "X-Onefold-Time": at,
            "X-Onefold-Signature": hmac.new(key, signed, hashlib.sha256).hexdigest(),
        }


_PRIVATE = "its host is in a private network: say private_network: true if that is meant"
_HEARD = threading.local()


class _Ear(logging.Handler):
    """Keeps the last complaint of apprise, by thread: it says why a message was not taken."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        _HEARD.text = record.getMessage()


def _apprise() -> Any:
    """Return apprise, whose debug lines, and urllib3's, show addresses and so are not let out."""
    try:
        import apprise  # noqa: PLC0415 - it takes a second, and is an extra
    except ImportError:
        raise MissingExtra("notifications", "ops") from None
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    if not any(isinstance(handler, _Ear) for handler in logger.handlers):
        logger.addHandler(_Ear())
    quiet = logging.getLogger("urllib3")
    quiet.setLevel(max(logging.INFO, quiet.level))
    return apprise


def _certificates() -> str | bool:
    """Return the system's authorities, which may include a company's own; True is certifi's."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile if paths.cafile and Path(paths.cafile).is_file() else True


def _patient(one: Any) -> Callable[..., None]:
    """Return the service's own pause between messages, bounded."""
    throttle = one.throttle

    def bounded(last_io: Any = None, wait: float | None = None) -> None:
        throttle(last_io, None if wait is None else min(wait, PAUSE_MAX_S))

    return bounded


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_global and not address.is_multicast


def _is_inside(host: str) -> bool:
    """Return whether a name leads to an address that is not in the open internet."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None)
    except OSError:
        return False  # nobody can be reached by it
    addresses = [str(one[4][0]).partition("%")[0] for one in found]
    return not all(_is_public(ipaddress.ip_address(address)) for address in addresses)
