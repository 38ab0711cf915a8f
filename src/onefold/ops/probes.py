"""Small questions to the machine and to servers, answered by trying.

Whether a folder takes what is written is found out by writing, since rights, quotas, read-only
mounts and full disks all look alike from outside; whether a server is one by what it answers.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from io import BufferedRWPair
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from onefold.domain.errors import ConfigError, did_you_mean

PROBE_BYTES = 4_096
ANSWER_MAX = 1 << 20
"""Bytes that a server's answer may have."""
PORTS = {"redis": 6_379, "kafka": 9_092, "tcp": 0, "http": 80, "https": 443}
"""The servers that can be asked, and where they are when a URL does not say so."""
REDIS_MIN = 5
"""The first Redis with streams."""


def unwritable(folder: Path) -> str:
    """Return why nothing can be written in a folder, empty when it can."""
    probe = folder / f".probe.{os.getpid()}.tmp"
    try:
        probe.write_bytes(b"\0" * PROBE_BYTES)
    except OSError as error:
        return f"it cannot be written: {error.strerror}"
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return ""


# -- servers --------------------------------------------------------------------------------------


class Address(NamedTuple):
    """A server: what it speaks, where it is, and the password that it wants, if any."""

    scheme: str
    host: str
    port: int
    user: str
    password: str
    url: str


def address_of(url: str) -> Address:
    """Return a URL as the address of a server. Raises `ConfigError`, without the password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("this is no URL; write redis://HOST:PORT") from None
    if parts.scheme not in PORTS:
        hint = did_you_mean(parts.scheme, PORTS)
        raise ConfigError(f"{parts.scheme!r} is no kind of server that can be asked{hint}")
    port = port or PORTS[parts.scheme]
    if not parts.hostname or not port:
        raise ConfigError(f"say where it is: {parts.scheme}://HOST:PORT")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Address(parts.scheme, parts.hostname, port, user, password, url)


def reach(address: Address, deadline_s: float) -> str:
    """Return what a server says of itself. Raises `OSError` when it does not answer as one."""
    if address.scheme in ("http", "https"):
        return f"its date is {format_datetime(_asked(address.url, deadline_s))}"
    with socket.create_connection((address.host, address.port), deadline_s) as connection:
        if address.scheme == "redis":
            return _redis(connection, address)
        if address.scheme == "kafka":
            return _kafka(connection)
    return "it takes connections"


def date_of(url: str, deadline_s: float) -> float:
    """Return the date that an HTTP server tells, in seconds since 1970. Raises `OSError`."""
    return _asked(url, deadline_s).timestamp()


def _asked(url: str, deadline_s: float) -> datetime:
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=deadline_s)
    try:
        connection.request("HEAD", parts.path or "/")
        told = connection.getresponse().getheader("Date")
    except HTTPException as error:
        raise OSError(f"it speaks no HTTP: {type(error).__name__}") from None
    finally:
        connection.close()
    if not told:
        raise OSError("it tells no date")
    try:
        return parsedate_to_datetime(told)
    except ValueError:
        raise OSError(f"its date is none: {told!r}") from None


def _redis(connection: socket.socket, address: Address) -> str:
    with connection.makefile("rwb") as line:
        if address.password:
            words = ["AUTH", *filter(None, [address.user]), address.password]
            _redis_said(line, *words)
        if _redis_said(line, "PING") != b"PONG":
            raise OSError("it is no Redis: PING is not answered with PONG")
        told = re.search(rb"redis_version:([0-9.]+)", _redis_said(line, "INFO", "server"))
    found = told[1].decode() if told else "of an unknown version"
    if told and int(found.partition(".")[0]) < REDIS_MIN:
        raise OSError(f"it is Redis {found}; streams need {REDIS_MIN} or newer")
    return f"Redis {found}"


def _redis_said(line: BufferedRWPair, *words: str) -> bytes:
    """Give a command and return the answer."""
    encoded = [word.encode() for word in words]
    parts = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
    line.write(b"*%d\r\n%b" % (len(encoded), parts))
    line.flush()
    first = line.readline(ANSWER_MAX).rstrip()
    if first[:1] == b"+":
        return first[1:]
    if first[:1] == b"$" and first[1:].isdigit():
        return line.read(min(int(first[1:]), ANSWER_MAX))
    raise OSError(f"it refuses {words[0]}: {first[1:80].decode(errors='replace') or 'no answer'}")


def _kafka(connection: socket.socket) -> str:
    """Ask a broker for the versions that it speaks (ApiVersions, key 18, version 0)."""
    name = b"onefold"
    request = struct.pack(">hhih", 18, 0, 1, len(name)) + name
    connection.sendall(struct.pack(">i", len(request)) + request)
    with connection.makefile("rb") as answers:
        size = answers.read(4)
        if len(size) < 4 or not 10 <= int.from_bytes(size, "big") <= ANSWER_MAX:
            raise OSError("it is no Kafka broker")
        answer = answers.read(int.from_bytes(size, "big"))
    if len(answer) < 10:
        raise OSError("it is no Kafka broker")
    correlation, error, count = struct.unpack_from(">ihi", answer)
    if correlation != 1 or error or len(answer) < 10 + 6 * count:
        raise OSError("it does not say what it speaks")
    return f"a Kafka broker with {count} kinds of requests"
