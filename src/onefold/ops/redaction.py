"""Keep secrets out of what is written for people, and keep one record one line.

Whatever reaches a log may have come from a venue, a library or a stranger's request. Here it loses
what is secret, by value where the configuration knows it and by the look of it where it does not,
and whatever could pass for another line or turn a terminal over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from pydantic import BaseModel, SecretStr

MASK = "[redacted]"
SECRET_MIN = 5
"""Characters from which on a secret is looked for by its value; shorter ones are in every word."""
TEXT_MAX, EXCEPTION_MAX = 2_000, 16_000
"""Characters of a text, and of an exception with its traceback, that are kept."""
LOOKED_AT_MAX = 64_000
FOLDERS = frozenset({"PWD", "OLDPWD"})
"""Variables that are named like a password, and are where a shell stands and stood."""
ITEMS_MAX, DEPTH_MAX = 100, 6
"""Members of a collection that are kept, and how deep collections may lie in one another."""

_NAMES = (
    r"(?:token|secret|password|passwd|passphrase|pwd|api[_\- ]?key|access[_\- ]?key"
    r"|private[_\- ]?key|authorization|credential|cookie|signature|webhook)"
)
_NAMED = re.compile(_NAMES, re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"""({_NAMES}[\w-]{{0,40}}["']?\s{{0,8}}[:=]\s{{0,8}})"""
    r"""(?:(?:bearer|basic|digest|token)\s+)?("[^"]*"|'[^']*'|[^\s,;&"')\]}]+)""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_LOGIN = re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://)[^/\s@]{1,256}@", re.IGNORECASE)
_KEY = re.compile(r"onefold_[0-9a-f]{10}_[A-Za-z0-9_-]+")
"""An API key of this product: what names it, its id, its secret."""
_SPELT = re.compile(r"\\+u00([0-7][0-9a-fA-F])")
"""A character as JSON may spell it, in a text that may have been encoded more than once."""
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def secrets_of(*sources: object) -> set[str]:
    """Return the values of everything secret in settings, and in variables of telling names."""
    return {text for source in sources for text in _secrets(source) if text}


def _secrets(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            is_text = isinstance(inner, str) and isinstance(name, str)
            if is_text and name not in FOLDERS and _NAMED.search(name):
                yield inner
            yield from _secrets(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _secrets(inner)


def looks_like_key(text: str) -> bool:
    """Return whether an API key stands in a text, as it is or as JSON may spell it."""
    return _KEY.search(_spelt_out(text)) is not None


def _spelt_out(text: str) -> str:
    return _SPELT.sub(_plain, text) if "u00" in text else text


def _plain(found: re.Match[str]) -> str:
    """Return a character of a key as itself; all others stay as they are spelt."""
    character = chr(int(found[1], 16))
    return character if character.isalnum() or character in "_-" else found[0]


def escaped(text: str) -> str:
    """Return a text whose control, formatting and direction characters can be seen."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _visible(c) for c in text)


def _visible(character: str) -> str:
    code = ord(character)
    short = _SHORT.get(character)
    if short is not None:
        return short
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def cut(text: str, most: int) -> str:
    """Return a text of at most so many characters, and how many are left out."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} more)"


class Redactor:
    """Cleans texts and plain values of `secrets`, and of what looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        spellings = {one for secret in secrets for one in _spellings(secret)}
        longest = sorted((s for s in spellings if len(s) >= SECRET_MIN), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest))) if longest else None

    def text(self, text: str, most: int = TEXT_MAX) -> str:
        """Return a text without secrets, on one line, of bounded length."""
        return cut(escaped(self._without(text[:LOOKED_AT_MAX])), most)

    def lines(self, text: str, most: int = EXCEPTION_MAX) -> str:
        """Return a text of several lines, each as `text` would; for what is encoded afterwards."""
        kept = self._without(text[-LOOKED_AT_MAX:]).splitlines()
        whole = "\n".join(escaped(line) for line in kept)
        return whole if len(whole) <= most else f"... {whole[-most:]}"  # the error stands last

    def value(self, value: Any, name: str = "", depth: int = 0) -> Any:
        """Return a value as plain ones that JSON can carry; `name` is its key, if it has one."""
        if value is None or isinstance(value, bool):
            return value
        if name and _NAMED.search(name):
            return MASK
        if isinstance(value, int | float):
            return value if isinstance(value, float) or abs(value) < 1 << 63 else str(value)
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping) and depth < DEPTH_MAX:
            some = islice(value.items(), ITEMS_MAX)
            return {self.text(str(k), 100): self.value(v, str(k), depth + 1) for k, v in some}
        if isinstance(value, list | tuple | set | frozenset) and depth < DEPTH_MAX:
            return [self.value(one, name, depth + 1) for one in islice(value, ITEMS_MAX)]
        return self.text(str(value))

    def _without(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MASK, text)
        if looks_like_key(text):
            text = _KEY.sub(MASK, _spelt_out(text))
        text = _LOGIN.sub(rf"\1{MASK}@", text)
        text = _ASSIGNED.sub(rf"\1{MASK}", text)
        return _BEARER.sub(rf"\1{MASK}", text)


def _spellings(secret: str) -> Iterator[str]:
    """Yield a secret as it may appear: as it is, in a URL, in a repr; of a URL also its path."""
    yield from (secret, quote(secret, safe=""), quote(secret), quote_plus(secret))
    yield repr(secret)[1:-1]
    if "://" in secret:
        try:
            parts = urlsplit(secret)
        except ValueError:
            return
        yield from (parts.path.strip("/"), parts.query, parts.password or "")
