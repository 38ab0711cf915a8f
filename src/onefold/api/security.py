"""Who may do what: keys, roles, confirmations, and how often anybody may ask.

A key is 256 random bits, so that nobody guesses one: a keyed SHA-256 with a salt of its own keeps
what the file holds from being one, and costs a microsecond. Slow hashes are for passwords, which
people choose; here they would only let anybody burden the server with wrong keys. Nothing is let in
by default: there is no key that comes with the product, and none is made unless a person asks.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import filelock
import msgspec

from onefold.domain.errors import ConfigError, OnefoldError, did_you_mean
from onefold.journal import write_atomic

PREFIX = "onefold"
SECRET_BYTES, SALT_BYTES, ID_BYTES = 32, 16, 5
KEY_LENGTH_MAX = 200
NAME_PATTERN = r"^[a-z][a-z0-9_.-]{0,31}$"
RESERVED = ("governor", "engine", "operator")
"""Names of those who act without a key; a record must not be taken for theirs."""
LOCK_S = 10.0
REMEMBERED = 10_000
"""Clients and keys of which it is remembered how often they asked."""


class Role(IntEnum):
    """What a key may do; each may do all that those before it may."""

    VIEWER = 1
    OPERATOR = 2
    RISK = 3
    ADMIN = 4

    @property
    def word(self) -> str:
        """Return its name as people write it."""
        return self.name.lower()


ROLES = tuple(role.word for role in Role)


class Caller(NamedTuple):
    """Who asks: the name of the key, its role, and its id in the file."""

    name: str
    role: Role
    id: str


class DeniedError(OnefoldError):
    """The caller may not do this, or not now: `status` is that of the answer."""

    def __init__(self, status: int, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s


class _Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{10}$")]
    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
    role: Annotated[str, msgspec.Meta(pattern=f"^({'|'.join(ROLES)})$")]
    salt: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    created: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[_Key] = []


class KeyFacts(NamedTuple):
    """What may be said of a key."""

    id: str
    name: str
    role: str
    created: str


class Keys:
    """The keys in a file that only its owner can read; changes of it count at once.

    Raises `ConfigError` for a file that others can read, or that is not what was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._known: dict[str, _Key] = {}

    # -- for the server ---------------------------------------------------------------------------

    def check(self) -> None:
        """Raise `ConfigError` when there is no key, so that nobody could ask anything."""
        if not self._read():
            raise ConfigError(
                f"there is no API key in {self.path}, and none comes with Onefold: "
                "onefold keys add NAME --role operator"
            )

    def authenticate(self, given: str) -> Caller | None:
        """Return whose key it is, None for nobody's; takes as long either way."""
        prefix, _, rest = given.partition("_")
        id_, _, secret = rest.partition("_")
        found = self._read().get(id_) if prefix == PREFIX else None
        salt = found.salt if found is not None else "0" * 2 * SALT_BYTES
        is_right = hmac.compare_digest(_hashed(secret, salt), found.hash if found else "0" * 64)
        if found is None or not is_right:
            return None
        return Caller(found.name, Role[found.role.upper()], found.id)

    def caller(self, id_: str) -> Caller | None:
        """Return whose the key of an id is, None once it has been revoked."""
        found = self._read().get(id_)
        return None if found is None else Caller(found.name, Role[found.role.upper()], found.id)

    # -- for people -------------------------------------------------------------------------------

    def facts(self) -> list[KeyFacts]:
        """Return the keys, without anything that is secret."""
        return [KeyFacts(k.id, k.name, k.role, k.created) for k in self._read().values()]

    def add(self, name: str, role: str) -> str:
        """Make a key and return it, the only time that anybody sees it. Raises `ConfigError`."""
        if role not in ROLES:
            raise ConfigError(f"there is no role {role!r}{did_you_mean(role, ROLES)}")
        if name in RESERVED:
            raise ConfigError(f"{name!r} is who acts without a key; take another name")
        secret, salt = secrets.token_urlsafe(SECRET_BYTES), secrets.token_hex(SALT_BYTES)
        made = _Key(
            id=secrets.token_hex(ID_BYTES),
            name=name,
            role=role,
            salt=salt,
            hash=_hashed(secret, salt),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        try:
            msgspec.json.decode(msgspec.json.encode(made), type=_Key)
        except msgspec.ValidationError:
            raise ConfigError(
                f"{name!r} is no name of a key: small letters, digits and . _ - after a letter"
            ) from None
        with self._locked():
            known = self._read()
            if any(key.name == name for key in known.values()):
                raise ConfigError(f"there is a key {name!r} already: onefold keys revoke {name}")
            self._write([*known.values(), made])
        return f"{PREFIX}_{made.id}_{secret}"

    def revoke(self, name: str) -> None:
        """Let a key count no more, from now on. Raises `ConfigError` for one that is not there."""
        with self._locked():
            known = self._read()
            left = [key for key in known.values() if key.name != name]
            if len(left) == len(known):
                names = [key.name for key in known.values()]
                raise ConfigError(f"there is no key {name!r}{did_you_mean(name, names)}")
            self._write(left)

    # -- the file ---------------------------------------------------------------------------------

    def _locked(self) -> filelock.BaseFileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=LOCK_S)

    def _read(self) -> dict[str, _Key]:
        """Return the keys by id; the file is read again when it has changed."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._stamp, self._known = None, {}
            return {}
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}") from None
        stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
        if os.name == "posix" and found.st_mode & 0o077:
            raise ConfigError(f"{self.path} can be read by others: chmod 600 {self.path}")
        if stamp != self._stamp:
            self._known = self._decoded()
            self._stamp = stamp
        return self._known

    def _decoded(self) -> dict[str, _Key]:
        try:
            content = msgspec.json.decode(self.path.read_bytes(), type=_File)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}") from None
        except msgspec.DecodeError as error:
            raise ConfigError(f"{self.path} is no file of keys: {error}") from None
        return {key.id: key for key in content.keys}

    def _write(self, keys: list[_Key]) -> None:
        encoded = msgspec.json.format(msgspec.json.encode(_File(keys)), indent=1)
        before = os.umask(0o077)
        try:
            write_atomic(self.path, encoded + b"\n")
        finally:
            os.umask(before)
        self.path.chmod(0o600)


def _hashed(secret: str, salt: str) -> str:
    return hmac.new(
        bytes.fromhex(salt), secret.encode("utf-8", "replace"), hashlib.sha256
    ).hexdigest()


# --- how often -----------------------------------------------------------------------------------


@dataclass
class _Bucket:
    tokens: float
    at: float


class Buckets:
    """A token bucket for each client: `rate` a second, `burst` at once; few are remembered."""

    def __init__(
        self, rate: float, burst: int, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._now = rate, burst, now
        self._of: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def take(self, client: Hashable) -> float:
        """Take a token, and return 0; or the seconds to wait for one."""
        now = self._now()
        one = self._of.setdefault(client, _Bucket(self._burst, now))
        self._of.move_to_end(client)
        if len(self._of) > REMEMBERED:
            self._of.popitem(last=False)
        one.tokens = min(self._burst, one.tokens + (now - one.at) * self._rate)
        one.at = now
        if one.tokens < 1.0:
            return (1.0 - one.tokens) / self._rate
        one.tokens -= 1.0
        return 0.0


FREE_FAILURES = 5
LOCKED_S, LOCKED_MAX_S = 1.0, 900.0


class Lockout:
    """Keeps clients that give wrong keys waiting, twice as long each time.

    It never stands in the way of a right key: a key is not to be guessed, and whoever must stop
    trading must not be kept from it by somebody who asks from the same address.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._of: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def failed(self, client: str) -> float:
        """Count a wrong key; return how many seconds the client is kept waiting from now."""
        count, until = self._of.get(client, (0, 0.0))
        now = self._now()
        if now < until:  # it did not wait, and was not heard
            return until - now
        if now > until + LOCKED_MAX_S:
            count = 0
        count += 1
        over = count - FREE_FAILURES
        wait_s = min(LOCKED_S * 2.0 ** min(over, 20), LOCKED_MAX_S) if over >= 0 else 0.0
        self._of[client] = (count, now + wait_s)
        self._of.move_to_end(client)
        if len(self._of) > REMEMBERED:
            self._of.popitem(last=False)
        return wait_s

    def succeeded(self, client: str) -> None:
        """Forget the wrong keys of a client that has given a right one."""
        self._of.pop(client, None)


# --- what is good for a while --------------------------------------------------------------------


class Passes:
    """Random texts that stand for a key for a while: tickets of a stream, confirmations."""

    def __init__(self, lasts_s: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self.lasts_s, self._now = lasts_s, now
        self._of: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def issue(self, id_: str) -> str:
        """Return a new one for the key of an id."""
        made = secrets.token_urlsafe(SECRET_BYTES)
        self._of[_digest(made)] = (id_, self._now() + self.lasts_s)
        while len(self._of) > REMEMBERED:
            self._of.popitem(last=False)
        return made

    def holder(self, given: str, *, once: bool = False) -> str | None:
        """Return the id of the key that it stands for, None when it does not, or no more."""
        digest = _digest(given)
        found = self._of.pop(digest, None) if once else self._of.get(digest)
        if found is None or self._now() > found[1]:
            return None
        return found[0]


def _digest(text: str) -> bytes:
    # Looked up by a hash, so that the time that it takes says nothing of the text.
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
