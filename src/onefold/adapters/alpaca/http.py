"""Alpaca's real clients, with their retries, deadlines and numbers in our hands.

Out of the box the client sends an order again when it hears 429 or 504, waits for ever, and makes
quantities floats. Here nothing is repeated by it, every request has a deadline, and answers are
taken as they came, so that the text of a number reaches the books unchanged.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from warnings import catch_warnings, simplefilter

from onefold.adapters.alpaca.config import AlpacaConfig
from onefold.adapters.alpaca.parse import Asset, asset, names, timeframe, ts_ns
from onefold.adapters.calls import Calls, library
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain
from onefold.domain.instruments import Instrument

T = TypeVar("T")

RETRY_AFTER_S = 10.0
"""How long Alpaca is left alone that was asked too often and does not say for how long."""

NOT_ALLOWED = (401, 403)
TIMED_OUT = 408
TOO_MANY = 429
NOT_FOUND = 40410000
"""Alpaca's code for an order or an asset that it does not have."""


class Missing(VenueRefused):
    """Alpaca says that it does not have what was named."""


class Client:
    """The clients of one account, the calls to them, and our symbols in Alpaca's words."""

    def __init__(self, config: AlpacaConfig, instruments: Mapping[str, Instrument]) -> None:
        """Make the clients; raises `ConfigError` without keys, `MissingExtra`."""
        if not config.api_key.get_secret_value() or not config.api_secret.get_secret_value():
            raise ConfigError("Alpaca needs api_key and api_secret, for bars as for orders")
        self.config, self.instruments = config, instruments
        self.names = names(instruments, config.symbols)
        self.assets: dict[str, Asset] = {}
        self._ours = {name.replace("/", ""): symbol for symbol, name in self.names.items()}
        self._error = module("alpaca.common.exceptions").APIError
        self.trading = self._made(
            module("alpaca.trading.client").TradingClient, paper=config.environment == "paper"
        )
        history = module("alpaca.data.historical")
        self._stocks = self._made(history.StockHistoricalDataClient)
        self._coins = self._made(history.CryptoHistoricalDataClient)
        self._calls = Calls(
            "Alpaca",
            deadline_s=config.deadline_s,
            retries=config.retries,
            per_second=config.calls_per_second,
        )

    def _made(self, kind: Any, **options: Any) -> Any:
        key, secret = self.config.api_key, self.config.api_secret
        return _unrepeating(kind)(
            key.get_secret_value(),
            secret.get_secret_value(),
            raw_data=True,
            url_override=self.config.url and self.config.url.rstrip("/"),
            deadline_s=self.config.deadline_s,
            **options,
        )

    async def open(self) -> None:
        """Try the keys and look our symbols up; raises `ConfigError`, `VenueUncertain`."""
        for symbol, name in self.names.items():
            # Alpaca knows coins by their name without the slash, which a path could not carry.
            path = f"/assets/{name.replace('/', '')}"
            found = await self.allowed(partial(self.trading.get, path), f"{symbol}: {name}")
            self.assets[symbol] = asset(found, self.instruments[symbol])

    def close(self) -> None:
        """Let go of all connections."""
        for client in (self.trading, self._stocks, self._coins):
            client.hang_up()

    async def ask(self, question: Callable[[], T]) -> T:
        """Ask, again where no answer comes; raises `VenueUncertain`, `Missing`."""
        try:
            return await self._calls.read(lambda: asyncio.to_thread(self._judged, question))
        except Missing:
            raise
        except VenueRefused as error:
            # A question that is refused leaves us as wise as one without an answer.
            raise VenueUncertain(str(error)) from error

    async def allowed(self, question: Callable[[], T], what: str) -> T:
        """Ask as `ask`, where a no is the user's to mend: raises `ConfigError` then."""
        try:
            return await self._calls.read(lambda: asyncio.to_thread(self._judged, question))
        except VenueRefused as error:
            if error.retry_after_s is not None:
                raise VenueUncertain(str(error)) from error
            raise ConfigError(f"{what}: {error}") from error

    async def act(self, work: Callable[[], T], *, urgent: bool = False) -> T:
        """Do once what has an effect; raises `VenueRefused`, `VenueUncertain`."""
        return await self._calls.act(lambda: asyncio.to_thread(self._judged, work), urgent=urgent)

    async def time_ns(self) -> int:
        """Return Alpaca's clock; raises `VenueUncertain`."""
        return await self.ask(lambda: ts_ns(self.trading.get_clock()["timestamp"]))

    def ours(self, name: str) -> str:
        """Return our symbol for one of Alpaca's, or Alpaca's where it is not one of ours."""
        return self._ours.get(name.replace("/", ""), name)

    def bars(
        self,
        symbols: Sequence[str],
        interval_ns: int,
        start_ns: int,
        end_ns: int,
        *,
        last: int | None = None,
    ) -> dict[str, list[Any]]:
        """Return the bars of symbols of one kind that begin in a span of time, by symbol.

        With `last` only so many, the newest first. It waits, so let `ask` call it.
        """
        coin = self.assets[symbols[0]].coin
        requests, frames = module("alpaca.data.requests"), module("alpaca.data.timeframe")
        options: dict[str, Any] = {
            "symbol_or_symbols": [self.names[symbol] for symbol in symbols],
            "start": _moment(start_ns),
            "end": _moment(end_ns),
        }
        if last is not None:
            options |= {"limit": last, "sort": "desc"}
        count, unit = timeframe(interval_ns, coin=coin)
        options["timeframe"] = frames.TimeFrame(count, frames.TimeFrameUnit(unit))
        if coin:
            answer = self._coins.get_crypto_bars(requests.CryptoBarsRequest(**options))
        else:
            options |= {"feed": self.config.data_feed, "adjustment": self.config.adjustment}
            answer = self._stocks.get_stock_bars(requests.StockBarsRequest(**options))
        return {symbol: answer.get(self.names[symbol], []) for symbol in symbols}

    def _judged(self, work: Callable[[], T]) -> T:
        """Work in a thread, and say what an error of the client means."""
        try:
            return work()
        except self._error as error:
            raise judged(error) from error


def judged(error: Any) -> Exception:
    """Return what an error of the client means: a clear no, or that nobody knows."""
    status, said = error.status_code, _said(str(error))
    reason = f"Alpaca answers {status}: {said.get('message', 'nothing that can be read')}"
    if status == TOO_MANY:
        return VenueRefused(reason, _pause_s(error.response.headers))
    if "message" not in said or not 400 <= (status or 0) < 500 or status == TIMED_OUT:
        return VenueUncertain(reason)
    return Missing(reason) if said.get("code") == NOT_FOUND else VenueRefused(reason)


def _said(text: str) -> Mapping[str, Any]:
    with suppress(ValueError):
        said = json.loads(text)
        if isinstance(said, dict):
            return said
    return {}


def _pause_s(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else RETRY_AFTER_S


def _moment(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 1_000 / 1e6, UTC)


def module(name: str) -> Any:
    """Import a module of the client; it imports what its own dependency will drop."""
    with catch_warnings():
        simplefilter("ignore", DeprecationWarning)
        return library(name)


def _unrepeating(base: Any) -> Any:
    """Return a client's class with requests that are made once and end."""

    class Unrepeating(base):  # type: ignore[misc]  # the base is known only while running
        def __init__(self, *args: Any, deadline_s: float, **options: Any) -> None:
            super().__init__(*args, **options)
            self._deadline_s = deadline_s
            # The constructor takes no 0.
            self._retry = 0

        def _one_request(self, method: str, url: str, opts: dict[str, Any], retry: int) -> Any:
            # Else a thread may outlive our deadline for ever.
            timed = {**opts, "timeout": self._deadline_s}
            return super()._one_request(method, url, timed, retry)

        def hang_up(self) -> None:
            self._session.close()

    return Unrepeating
