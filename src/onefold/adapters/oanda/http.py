"""The oandapyV20 client: the real one, in threads of our own, with its answers judged by us.

The library waits in the thread that asks and says of an answer only its status and its text. So
each call runs in one of a few threads, within a deadline that the socket has as well. The threads
are our own: an order must not wait for one behind somebody else's work, and one that has waited
until its deadline was over does not leave any more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from warnings import catch_warnings, simplefilter

from onefold.adapters.calls import Calls, library
from onefold.adapters.oanda.config import OandaConfig
from onefold.adapters.oanda.parse import nanoseconds, part, rows, text
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain, did_you_mean

MODULES = ("accounts", "instruments", "orders", "positions", "pricing", "transactions")
THREADS = 8
"""Calls that may wait for an answer at the same time."""

PAUSE_S = 1.0
"""How long OANDA is left alone when it says that it was asked too often, and not for how long."""

TIMED_OUT = 408
TOO_MANY = 429
TOO_LONG = 200
"""Characters of a refusal that are shown."""


class NoSuchOrder(VenueRefused):
    """OANDA says that it has no such order."""


class Client:
    """One account, the calls to it, and our symbols in OANDA's words."""

    def __init__(self, config: OandaConfig, symbols: Iterable[str]) -> None:
        """Make the client. Raises `ConfigError` without an account or token, `MissingExtra`."""
        if not config.account or not config.token.get_secret_value():
            raise ConfigError("OANDA needs the number of an account and a token")
        self.config = config
        self.account = config.account
        self.names: dict[str, str] = {}
        self.currency = ""
        self.last_id = ""
        self._symbols = list(symbols)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="oanda")
        self._api = api(config, config.deadline_s)
        self._requests = {name: endpoints(name) for name in MODULES}
        self._errors = library("oandapyV20.exceptions").V20Error
        self._calls = Calls(
            "OANDA",
            deadline_s=config.deadline_s,
            retries=config.retries,
            per_second=config.calls_per_second,
        )

    async def open(self) -> None:
        """Log in and find our symbols. Raises `ConfigError` for what is refused."""
        try:
            summary = await self.ask("accounts", "AccountSummary", self.account)
            listed = await self.ask("accounts", "AccountInstruments", self.account)
        except VenueRefused as error:
            raise ConfigError(f"OANDA refuses account {self.account!r}: {error}") from error
        self.currency = text(part(summary, "account"), "currency")
        self.last_id = text(summary, "lastTransactionID")
        names = [text(one, "name") for one in rows(listed, "instruments")]
        ours: dict[str, str] = {}
        for symbol in self._symbols:
            name = self._name(symbol, names)
            if name in ours:
                raise ConfigError(f"symbols: {ours[name]} and {symbol} are both {name!r}")
            ours[name] = symbol
        self.names = {symbol: name for name, symbol in ours.items()}

    async def close(self) -> None:
        """Let go of all connections; what is on its way is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._api.close()

    async def ask(self, module: str, request: str, *arguments: Any, **params: Any) -> Any:
        """Ask by one of the library's requests, as `Calls.read`.

        Raises `VenueRefused`, `NoSuchOrder` among them, and `VenueUncertain`.
        """
        more = {"params": params} if params else {}
        return await self._calls.read(
            lambda: self._run(lambda: self._request(module, request, *arguments, **more))
        )

    async def do(
        self,
        request: str,
        *arguments: Any,
        look: Callable[[], None] | None = None,
        read: Callable[[Any], Any] = lambda answer: answer,
        urgent: bool = False,
        **more: Any,
    ) -> Any:
        """Send or cancel an order, as `Calls.act`, with a last `look` before it leaves.

        Raises `VenueRefused`, `VenueUncertain`, and that also when `read` cannot read the answer.
        """

        def send() -> Any:
            made = self._made("orders", request, *arguments, **more)
            if look is not None:
                look()
            return self._answer(made)

        async def sent() -> Any:
            return read(await self._run(send))

        return await self._calls.act(sent, urgent=urgent)

    async def time_ns(self) -> int:
        """Return OANDA's clock, which comes with its prices. Raises as `ask`."""
        name = next(iter(self.names.values()))
        prices = await self.ask("pricing", "PricingInfo", self.account, instruments=name)
        return nanoseconds(prices, "time")

    async def _run(self, work: Callable[[], Any]) -> Any:
        """Run work in a thread; given up before one was free, it is not begun any more."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _request(self, module: str, request: str, *arguments: Any, **more: Any) -> Any:
        return self._answer(self._made(module, request, *arguments, **more))

    def _made(self, module: str, request: str, *arguments: Any, **more: Any) -> Any:
        return getattr(self._requests[module], request)(*arguments, **more)

    def _answer(self, made: Any) -> Any:
        try:
            return self._api.request(made)
        except self._errors as error:
            raise judged(error.code, error.msg) from error

    def _name(self, symbol: str, names: list[str]) -> str:
        wanted = self.config.symbols.get(symbol, symbol)
        found = [one for one in names if wanted in (one, one.replace("_", ""))]
        if len(found) != 1:
            raise ConfigError(
                f"OANDA has no {wanted!r} for {symbol!r} in this account: name it as OANDA does in "
                f"symbols{did_you_mean(wanted, names)}"
            )
        return found[0]


def endpoints(module: str) -> Any:
    """Import the library's requests of one kind. Raises `MissingExtra`."""
    with catch_warnings():
        # Python finds fault with how the library is written; that is no news to our user.
        simplefilter("ignore")
        return library(f"oandapyV20.endpoints.{module}")


def api(config: OandaConfig, silence_s: float) -> Any:
    """Return the library's client; an answer may pause for `silence_s`. Raises `MissingExtra`."""
    package = library("oandapyV20")
    environment: str = config.environment
    if config.url is not None:
        streams = config.stream_url or config.url
        environment = f"{config.url} {streams}"
        addresses = {"api": config.url.rstrip("/"), "stream": streams.rstrip("/")}
        package.oandapyV20.TRADING_ENVIRONMENTS[environment] = addresses
    made = package.API(
        config.token.get_secret_value(),
        environment=environment,
        # A redirect would send an order again, to somebody else.
        request_params={"timeout": (config.deadline_s, silence_s), "allow_redirects": False},
    )
    made.client.hooks["response"].append(_heed_pause)
    return made


def judged(status: int, body: str) -> VenueRefused | VenueUncertain:
    """Return what an answer of 400 and above means: a clear no, or that nobody knows."""
    try:
        said = json.loads(body)
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    code = str(said.get("errorCode") or "")
    # Other servers on the way answer with whole pages.
    message = str(said.get("errorMessage") or "no reason given")[:TOO_LONG]
    words = f"{status} {code}: {message}" if code else f"{status}: {message}"
    if status >= 500 or status == TIMED_OUT:
        return VenueUncertain(f"OANDA answers {words}")
    if code == "NO_SUCH_ORDER":
        return NoSuchOrder(words)
    return VenueRefused(words)


def _heed_pause(response: Any, *_: Any, **__: Any) -> None:
    """Refuse an answer that asks for a pause: its length is in a header, which is not passed on."""
    if response.status_code == TOO_MANY:
        response.close()
        wait = str(response.headers.get("Retry-After", ""))
        pause_s = float(wait) if wait.isdecimal() else PAUSE_S
        raise VenueRefused("OANDA was asked too often", pause_s)
