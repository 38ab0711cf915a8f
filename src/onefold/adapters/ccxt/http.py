"""The ccxt client: the real one, with its number handling, retries and pacing in our hands.

Out of the box ccxt turns prices into floats, cuts quantities to the exchange's step without a word,
and judges an answer by its text before its status. Here numbers stay text, whatever is off the grid
is refused, and the status comes first: from 500 on nobody knows what happened, whatever the text.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from onefold.adapters.calls import Calls, library, words
from onefold.adapters.ccxt.config import CcxtConfig
from onefold.domain.errors import (
    ConfigError,
    OnefoldError,
    VenueRefused,
    VenueUncertain,
    did_you_mean,
)

T = TypeVar("T")

PROVEN = frozenset({"binance", "binanceusdm"})
"""Exchanges whose stops, order names and final bars are known and tested here."""

RETRY_AFTER_S = 10.0
"""How long an exchange is left alone that was asked too often and does not say for how long."""

# ccxt's errors, by what they say of a request that may have had an effect.
_TOO_OFTEN = frozenset({"DDoSProtection", "RateLimitExceeded"})
_REFUSED = frozenset(
    {
        "ArgumentsRequired",
        "AuthenticationError",
        "BadRequest",
        "InsufficientFunds",
        "InvalidAddress",
        "InvalidNonce",
        "InvalidOrder",
        "NotSupported",
        "OperationRejected",
    }
)


def judged(error: Exception) -> OnefoldError:
    """Return what an error of ccxt means: a clear no, or that nobody knows."""
    if isinstance(error, OnefoldError):
        return error
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status", 0)
    if kinds & _TOO_OFTEN:
        # ccxt takes a key that Binance refuses for too many calls where it was good before.
        return VenueRefused(words(error), None if status == 401 else RETRY_AFTER_S)
    refused_by_status = "ExchangeError" in kinds and 400 <= status < 500
    if kinds & _REFUSED or refused_by_status:
        return VenueRefused(words(error))
    return VenueUncertain(words(error))


def is_missing(error: Exception) -> bool:
    """Return whether an exchange says that it has no such order."""
    return any(kind.__name__ == "OrderNotFound" for kind in type(error).__mro__)


class Client:
    """One exchange object of ccxt, the calls to it, and our symbols in its words."""

    def __init__(self, config: CcxtConfig, symbols: Iterable[str]) -> None:
        """Make the client; raises `ConfigError` for an unknown exchange, `MissingExtra`."""
        self.config = config
        self.exchange = _exchange(config)
        self.calls = Calls(
            config.exchange,
            deadline_s=config.deadline_s,
            retries=config.retries,
            per_second=config.calls_per_second,
        )
        self.proven = config.exchange in PROVEN
        self.futures = config.market == "futures"
        self.streams = config.stream and self.proven
        self.markets: dict[str, Any] = {}
        self._symbols = list(symbols)
        self._ours: dict[str, str] = {}

    async def open(self) -> None:
        """Read the markets and find ours; raises `ConfigError` for a symbol that is not there."""
        try:
            await self.read(self.exchange.load_markets)
        except VenueRefused as error:
            raise ConfigError(f"{self.config.exchange}: {error}") from error
        for symbol in self._symbols:
            self.markets[symbol] = self._market(symbol)
        self._ours = {market["symbol"]: symbol for symbol, market in self.markets.items()}

    async def close(self) -> None:
        """Let go of all connections."""
        await self.exchange.close()

    async def hang_up(self) -> None:
        """Close the streams, so that the next one connects and logs in anew."""
        await self.exchange.close_ws_clients()
        for options in self.exchange.options.values():
            if isinstance(options, dict) and "lastAuthenticatedTime" in options:
                options["lastAuthenticatedTime"] = 0

    async def read(self, make: Callable[[], Awaitable[T]]) -> T:
        """Ask, as `Calls.read`; raises `VenueRefused`, `VenueUncertain`."""
        return await self.calls.read(lambda: _translated(make))

    async def act(self, make: Callable[[], Awaitable[T]], *, urgent: bool = False) -> T:
        """Do, as `Calls.act`; raises `VenueRefused`, `VenueUncertain`."""
        return await self.calls.act(lambda: _translated(make), urgent=urgent)

    async def time_ns(self) -> int:
        """Return the exchange's clock."""
        return int(await self.read(self.exchange.fetch_time)) * 1_000_000

    def theirs(self, symbol: str) -> str:
        """Return a symbol in ccxt's words."""
        name: str = self._known(symbol)["symbol"]
        return name

    def ours(self, theirs: str) -> str:
        """Return our symbol, or ccxt's for a market that is not ours."""
        return self._ours.get(theirs, theirs)

    def contract_size(self, symbol: str) -> Decimal:
        """Return how many units one contract is; 1 where quantities are in units."""
        return Decimal(str(self._known(symbol).get("contractSize") or 1))

    def on_grid(self, symbol: str, number: Decimal, kind: str) -> str:
        """Return an amount or a price as the exchange writes it.

        `kind` is amount or price. Raises `VenueRefused` where it would be another number.
        """
        cut = self.exchange.amount_to_precision if kind == "amount" else None
        cut = cut or self.exchange.price_to_precision
        try:
            text = str(cut(self.theirs(symbol), f"{number:f}"))
        except Exception as error:
            raise VenueRefused(f"{symbol}: {kind} {number}: {words(error)}: not sent") from error
        if Decimal(text) != number:
            raise VenueRefused(
                f"{symbol}: {self.config.exchange} would take {kind} {number} as {text}: not sent; "
                "check lot and tick of the instrument"
            )
        return text

    def _known(self, symbol: str) -> Any:
        market = self.markets.get(symbol)
        if market is None:
            raise VenueRefused(f"{symbol} is not a symbol of this account: not sent")
        return market

    def _market(self, symbol: str) -> Any:
        name = self.config.symbols.get(symbol, symbol)
        markets = [
            market
            for market in self.exchange.markets.values()
            if name in (market["symbol"], market["id"]) and self._fits(market)
        ]
        if len(markets) != 1:
            known = [m["symbol"] for m in self.exchange.markets.values() if self._fits(m)]
            raise ConfigError(
                f"{self.config.exchange} has no {self.config.market} market {name!r} for "
                f"{symbol!r}: set it in symbols{did_you_mean(name, known)}"
            )
        return markets[0]

    def _fits(self, market: Mapping[str, Any]) -> bool:
        if self.futures:
            return bool(market["contract"] and market["linear"] and not market["option"])
        return bool(market["spot"])


async def _translated(make: Callable[[], Awaitable[T]]) -> T:
    try:
        return await make()
    except Exception as error:
        meaning = judged(error)
        if meaning is error:
            raise
        raise meaning from error


def _exchange(config: CcxtConfig) -> Any:
    streaming = library("ccxt.pro")
    if config.exchange in streaming.exchanges:
        make = getattr(streaming, config.exchange)
    else:
        package = library("ccxt.async_support")
        if config.exchange not in package.exchanges:
            hint = did_you_mean(config.exchange, package.exchanges)
            raise ConfigError(f"ccxt knows no exchange {config.exchange!r}{hint}")
        make = getattr(package, config.exchange)
    exchange = make(_settings(config))
    if config.environment == "sandbox":
        exchange.set_sandbox_mode(True)
    elif config.environment == "demo":
        exchange.enable_demo_trading(enable=True)
    if config.url is not None:
        ws_url = config.ws_url or config.url.replace("http", "ws", 1)
        exchange.urls["api"] = _moved(exchange.urls["api"], config.url, ws_url)
    # Text goes in and out unchanged: the books are decimals.
    exchange.number = str
    # Names of currencies are not needed, and on some exchanges they need a key for withdrawals.
    exchange.has["fetchCurrencies"] = False
    _judge_status_first(exchange)
    return exchange


def _settings(config: CcxtConfig) -> dict[str, Any]:
    futures = config.market == "futures"
    # With a subtype, ccxt asks the futures market whatever the type.
    kind = {"defaultType": "swap", "defaultSubType": "linear"} if futures else {}
    return {
        "apiKey": config.api_key.get_secret_value(),
        "secret": config.api_secret.get_secret_value(),
        "password": config.passphrase.get_secret_value(),
        "timeout": int(config.deadline_s * 1_000),
        # `Calls` paces, because ccxt's own queue would let a cancel wait behind everything else.
        "enableRateLimit": False,
        "streaming": {
            "keepAlive": 10_000,
            # ccxt counts it in whole seconds.
            "connectionTimeout": max(1_000, int(config.deadline_s * 1_000)),
        },
        "options": {
            "defaultType": "spot",
            **kind,
            "fetchMarkets": {"types": ["linear" if futures else "spot"]},
            "fetchOpenOrders": {"warnWithoutSymbol": False},
            "maxRetriesOnFailure": 0,
        },
    }


def _moved(addresses: Any, url: str, ws_url: str) -> Any:
    """Return ccxt's addresses on another server, with their paths.

    Streams are told apart by their hosts alone, so the first part of the host leads their path:
    wss://fstream.binance.com/ws becomes ws://server/fstream/ws.
    """
    if isinstance(addresses, dict):
        return {name: _moved(address, url, ws_url) for name, address in addresses.items()}
    if not isinstance(addresses, str):
        return addresses
    scheme, _, rest = addresses.partition("://")
    host, _, path = rest.partition("/")
    if not scheme.startswith("ws"):
        return f"{url.rstrip('/')}/{path}".rstrip("/")
    label = host.partition(".")[0]
    lead = "" if path.startswith(label) else f"{label}/"
    return f"{ws_url.rstrip('/')}/{lead}{path}".rstrip("/")


def _judge_status_first(exchange: Any) -> None:
    theirs = exchange.handle_errors

    def handle_errors(code: int, *rest: Any) -> Any:
        _, _, _, headers, body = rest[:5]
        if code >= 500:
            raise VenueUncertain(f"{exchange.id} answers {code}: {str(body)[:100]}")
        if code in (418, 429):
            raise VenueRefused(f"{exchange.id} answers {code}: too many calls", _pause_s(headers))
        try:
            return theirs(code, *rest)
        except Exception as error:
            error.status = code  # type: ignore[attr-defined]  # read by `judged`
            raise

    exchange.handle_errors = handle_errors


def _pause_s(headers: Mapping[str, str]) -> float:
    text = {name.lower(): value for name, value in headers.items()}.get("retry-after", "")
    return float(text) if text.isdecimal() else RETRY_AFTER_S
