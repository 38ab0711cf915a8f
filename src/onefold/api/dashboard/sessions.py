"""Who is signed in to the dashboard: a signed cookie that holds no key, and how long it counts.

The cookie names a session and the key that opened it by its id in the file of keys, never the key
itself. It is signed with a secret of its own, so that a restart of the server signs nobody out; a
key that is revoked, or given another role, counts at once, since every look asks the file of keys.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from onefold.api.security import Caller, DeniedError, Keys, Role
from onefold.domain.errors import ConfigError
from onefold.journal import write_atomic

COOKIE = "onefold_session"
COOKIE_LENGTH_MAX = 200
IDLE_S = 3_600.0
"""How long a session lasts in which nobody opens a page or does anything."""
LASTS_S = 12 * 3_600.0
"""How long any session lasts."""
SECRET_BYTES, ID_BYTES = 32, 16
REMEMBERED = 10_000


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    """What the file keeps: the secret, and sessions that were ended before their time."""

    secret: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{2 * SECRET_BYTES}}}$")]
    ended: dict[str, float] = {}


@dataclass
class Session:
    """One sign-in: when it began, when it was last used, until when its key is confirmed."""

    id: str
    key: str
    began: float
    used: float
    confirmed_until: float = 0.0


class Sessions:
    """The sessions of one server. Raises `ConfigError` for a file that others can read."""

    def __init__(
        self,
        path: Path,
        keys: Keys,
        *,
        idle_s: float = IDLE_S,
        confirm_s: float = 300.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take the file for the secret; it is made when it is not there."""
        self.idle_s, self._confirm_s, self._now = idle_s, confirm_s, now
        self._path, self._keys = path, keys
        self._kept = self._read()
        self._of: dict[str, Session] = {}

    def open(self, caller: Caller) -> Session:
        """Begin a session for a key that has just been given; it its key is not confirmed yet."""
        now = self._now()
        made = Session(secrets.token_hex(ID_BYTES), caller.id, now, now)
        self._remember(made)
        return made

    def cookie(self, session: Session) -> str:
        """Return the text that stands for a session, with when it was last used."""
        said = f"{session.id}.{session.key}.{int(session.began)}.{int(session.used)}"
        return f"{said}.{self._signature(said)}"

    def find(self, cookie: str) -> Session | None:
        """Return the session of a cookie, None for one that is forged, over, or of a lost key."""
        said, _, signature = cookie[:COOKIE_LENGTH_MAX].rpartition(".")
        parts = said.split(".")
        given = signature.encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._signature(said).encode()) or len(parts) != 4:
            return None
        id_, key, began, used = parts
        known = self._of.get(id_)
        if known is None:
            known = Session(id_, key, float(began), float(used))
        if not self.is_good(known):
            return None
        self._remember(known)
        return known

    def is_good(self, session: Session) -> bool:
        """Return whether a session still counts."""
        now = self._now()
        return (
            session.id not in self._kept.ended
            and now - session.used <= self.idle_s
            and now - session.began <= LASTS_S
            and self._keys.caller(session.key) is not None
        )

    def use(self, session: Session) -> None:
        """Count a session as used now."""
        session.used = self._now()

    def close(self, session: Session) -> None:
        """End a session: its cookie counts no more, also after a restart."""
        now = self._now()
        self._of.pop(session.id, None)
        ended = {id_: until for id_, until in self._kept.ended.items() if until > now}
        self._kept.ended = {**ended, session.id: session.began + LASTS_S}
        self._write(self._kept)

    # -- what a session may do --------------------------------------------------------------------

    def caller(self, session: Session) -> Caller:
        """Return whose session it is, with the role as it is now. Raises `DeniedError`."""
        found = self._keys.caller(session.key) if self.is_good(session) else None
        if found is None:
            raise DeniedError(401, "you are signed out; sign in again")
        return found

    def allowed(self, session: Session, role: Role) -> Caller:
        """Return whose session it is, once it may do what takes a role. Raises `DeniedError`."""
        found = self.caller(session)
        if found.role < role:
            raise DeniedError(
                403, f"this takes the role {role.word}; the key {found.name!r} is {found.role.word}"
            )
        self.use(session)
        return found

    def is_confirmed(self, session: Session) -> bool:
        """Return whether the key was given a short while ago."""
        return self._now() <= session.confirmed_until

    def confirm(self, session: Session, given: Caller) -> None:
        """Note that a key was given again. Raises `DeniedError` when it is another's."""
        if given.id != session.key:
            raise DeniedError(403, "this is not the key that is signed in")
        session.confirmed_until = self._now() + self._confirm_s

    # -- the file ---------------------------------------------------------------------------------

    def _remember(self, session: Session) -> None:
        if len(self._of) >= REMEMBERED:
            self._of = {id_: one for id_, one in self._of.items() if self.is_good(one)}
        self._of[session.id] = session

    def _signature(self, said: str) -> str:
        secret = bytes.fromhex(self._kept.secret)
        return hmac.new(secret, said.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def _read(self) -> _Kept:
        try:
            content, mode = self._path.read_bytes(), self._path.stat().st_mode
        except FileNotFoundError:
            made = _Kept(secrets.token_hex(SECRET_BYTES))
            self._write(made)
            return made
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}") from None
        if os.name == "posix" and mode & 0o077:
            raise ConfigError(f"{self._path} can be read by others: chmod 600 {self._path}")
        try:
            return msgspec.json.decode(content, type=_Kept)
        except msgspec.DecodeError as error:
            raise ConfigError(
                f"{self._path} is not what was written ({error}); remove it: everybody signs in "
                "again"
            ) from None

    def _write(self, kept: _Kept) -> None:
        before = os.umask(0o077)
        try:
            write_atomic(self._path, msgspec.json.encode(kept) + b"\n")
        finally:
            os.umask(before)
        self._path.chmod(0o600)
