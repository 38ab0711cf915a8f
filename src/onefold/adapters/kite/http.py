"""Kite's own client, with the meaning of its answers in our hands.

It knows errors by name and by status. From 500 on, nobody knows what happened; a token that is
refused is a clear no, and one that no repetition changes: only its owner can log in again. How long
to wait after too many calls, and what time it is, Kite says in headers that its client drops.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from onefold.adapters.calls import Calls, library, words
from onefold.adapters.kite.config import KiteConfig
from onefold.adapters.kite.parse import SECOND_NS, Listing, listing, source_name
from onefold.domain.errors import (
    ConfigError,
    OnefoldError,
    VenueRefused,
    VenueUncertain,
    did_you_mean,
)

T = TypeVar("T")

RETRY_AFTER_S = 1.0
"""How long Kite is left alone that was asked too often: its limits are by the second."""

LOG_IN = (
    "Kite refuses the access token: it holds until early in the morning after the login. Log in "
    "again and put the new access_token into the settings"
)
TIMED_OUT, TOO_MANY = 408, 429


class TokenRefused(VenueRefused):
    """The session is over: nothing was done, and nothing will be until somebody logs in."""


def judged(error: Exception) -> Exception:
    """Return what an error of the client means: a clear no, or that nobody knows."""
    if isinstance(error, OnefoldError):
        return error
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "code", 0)
    if "TokenException" in kinds:
        return TokenRefused(f"{LOG_IN} ({words(error)})")
    if "KiteException" in kinds and 400 <= status < 500 and status != TIMED_OUT:
        return VenueRefused(words(error))
    return VenueUncertain(f"Kite: {words(error)}")


class Client:
    """The real client, the calls to it, and our symbols in its words."""

    def __init__(self, config: KiteConfig, symbols: Iterable[str]) -> None:
        """Make the client; raises `ConfigError` for symbols, `MissingExtra`."""
        self._config = config
        self._names = {s: source_name(s, config.symbols, config.exchange) for s in symbols}
        self.kite = library("kiteconnect").KiteConnect(
            config.api_key.get_secret_value(),
            config.access_token.get_secret_value(),
            root=config.url,
            timeout=config.deadline_s,
        )
        self.kite.reqsession.hooks["response"].append(self._heard)
        self._calls = Calls(
            "Kite",
            deadline_s=config.deadline_s,
            retries=config.retries,
            per_second=config.calls_per_second,
        )
        self.listings: dict[str, Listing] = {}
        self._ours: dict[tuple[str, str], str] = {}
        self._date_ns, self._date_at = 0, 0.0

    async def open(self) -> None:
        """Log in and find the symbols. Raises `ConfigError` for what is refused."""
        try:
            await self.read(self.kite.profile)
            for exchange in sorted({exchange for exchange, _ in self._names.values()}):
                await self._find_symbols(exchange)
        except VenueRefused as error:
            if error.retry_after_s is not None:
                raise VenueUncertain(str(error)) from error
            raise ConfigError(str(error)) from error

    def close(self) -> None:
        """Let go of all connections."""
        self.kite.reqsession.close()

    async def read(self, ask: Callable[[], T]) -> T:
        """Ask, as `Calls.read`; raises `VenueRefused`, `VenueUncertain`."""
        return await self._calls.read(lambda: asyncio.to_thread(_translated, ask))

    async def act(self, do: Callable[[], T], *, urgent: bool = False) -> T:
        """Do, as `Calls.act`, on a thread; raises `VenueRefused`, `VenueUncertain`."""
        return await self._calls.act(lambda: asyncio.to_thread(_translated, do), urgent=urgent)

    async def ask(self, ask: Callable[[], T]) -> T:
        """Ask where a refusal leaves us as wise as no answer; raises `VenueUncertain`."""
        try:
            return await self.read(ask)
        except VenueRefused as error:
            raise VenueUncertain(str(error)) from error

    async def time_ns(self) -> int:
        """Return Kite's clock, to the second. Raises `VenueUncertain`."""
        await self.ask(self.kite.profile)
        return self._date_ns

    @property
    def date_ns(self) -> int:
        """Return when Kite answered last, by its clock."""
        return self._date_ns

    @property
    def latest_ns(self) -> int:
        """Return what time it may be at Kite at most: it says the second, not the part of it."""
        passed_ns = int((time.monotonic() - self._date_at) * SECOND_NS)
        return self._date_ns + passed_ns + SECOND_NS

    def listing(self, symbol: str) -> Listing:
        """Return an instrument as Kite lists it. Raises `VenueRefused`."""
        found = self.listings.get(symbol)
        if found is None:
            raise VenueRefused(f"{symbol} is not a symbol of this account: not sent")
        return found

    def ours(self, thing: dict[str, Any]) -> str:
        """Return our symbol of what an answer speaks of, or Kite's where it is not ours."""
        exchange, name = str(thing.get("exchange")), str(thing.get("tradingsymbol"))
        return self._ours.get((exchange, name), f"{exchange}:{name}")

    async def _find_symbols(self, exchange: str) -> None:
        rows = await self.read(lambda: self.kite.instruments(exchange))
        known = {row["tradingsymbol"]: row for row in rows}
        for symbol, (where, name) in self._names.items():
            if where != exchange:
                continue
            if name not in known:
                raise ConfigError(
                    f"Kite has no {name!r} at {exchange} for {symbol!r}: set it in symbols"
                    f"{did_you_mean(name, known)}"
                )
            self.listings[symbol] = listing(known[name])
            self._ours[exchange, name] = symbol

    def _heard(self, response: Any, **_: Any) -> None:
        """Read what the client drops, before it judges an answer."""
        date = response.headers.get("Date")
        if date:
            self._date_ns = int(parsedate_to_datetime(date).timestamp()) * SECOND_NS
            self._date_at = time.monotonic()
        if response.status_code == TOO_MANY:
            response.close()
            text = response.headers.get("Retry-After", "")
            pause_s = float(text) if text.isdecimal() else RETRY_AFTER_S
            raise VenueRefused("Kite answers 429: too many calls", pause_s)
        if 300 <= response.status_code < 400:
            # To follow it would be to send an order twice.
            response.close()
            raise VenueUncertain(f"Kite answers {response.status_code}: it wants to be elsewhere")


def _translated(call: Callable[[], T]) -> T:
    try:
        return call()
    except Exception as error:
        meaning = judged(error)
        if meaning is error:
            raise
        raise meaning from error
