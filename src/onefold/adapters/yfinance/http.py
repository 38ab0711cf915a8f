"""Ask Yahoo by its real client, and say what its silence and its refusals mean.

The client keeps one session for the whole process, follows cookie pages of several hosts, and hides
errors unless told not to. All requests go through a session of ours, so that each has a deadline
and all of them, those for cookies included, can be sent to another server.
"""

from __future__ import annotations

import asyncio
import warnings
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from onefold.adapters.calls import Calls, library
from onefold.adapters.yfinance.config import YFinanceConfig
from onefold.domain.errors import VenueRefused

NOT_FOUND = 404

PAUSE_S = 60.0
"""How long Yahoo is left alone when it says that it was asked too often; it does not say how long.
"""


class Client:
    """The real client, one question at a time."""

    def __init__(self, config: YFinanceConfig) -> None:
        """Import the client. Raises `MissingExtra` when it is not installed."""
        self._yahoo = library("yfinance")
        self._yahoo.config.debug.hide_exceptions = False
        # The client calls what pandas will rename; that is no news to our user.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"yfinance\.")
        self._config = config
        self._session = _session(config)
        self._calls = Calls("Yahoo", deadline_s=config.deadline_s, retries=config.retries)

    async def rows(self, symbol: str, interval: str, start_s: int) -> Any:
        """Return the client's frame of bars that open at or after `start_s` (seconds UTC).

        Raises `VenueRefused` for a symbol that Yahoo does not know, `VenueUncertain`.
        """
        return await self._calls.read(
            lambda: asyncio.to_thread(self._history, symbol, interval, start_s)
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()

    def _history(self, symbol: str, interval: str, start_s: int) -> Any:
        errors = self._yahoo.exceptions
        try:
            return self._yahoo.Ticker(symbol, session=self._session).history(
                start=start_s,
                interval=interval,
                prepost=self._config.extended_hours,
                auto_adjust=False,
                actions=False,
                keepna=True,
                timeout=self._config.deadline_s,
            )
        except errors.YFRateLimitError as error:
            raise VenueRefused("Yahoo was asked too often", PAUSE_S) from error
        except errors.YFTzMissingError as error:
            raise _unknown(symbol) from error
        except errors.YFPricesMissingError:
            # Yahoo knows the symbol; nothing was traded in that time.
            return None
        except OSError as error:
            if getattr(getattr(error, "response", None), "status_code", None) == NOT_FOUND:
                raise _unknown(symbol) from error
            raise


def _unknown(symbol: str) -> VenueRefused:
    return VenueRefused(f"Yahoo does not know {symbol!r}")


def _session(config: YFinanceConfig) -> Any:
    base: Any = library("curl_cffi.requests").Session

    class Session(base):  # type: ignore[misc]  # the base is known only while running
        def request(self, method: str, url: str, *args: Any, **options: Any) -> Any:
            options["timeout"] = min(options.get("timeout") or config.deadline_s, config.deadline_s)
            return super().request(method, _at(url, config.url), *args, **options)

    # Yahoo refuses clients that do not look like a browser.
    return Session(impersonate="chrome")


def _at(url: str, server: str | None) -> str:
    if server is None:
        return url
    scheme, host = urlsplit(server)[:2]
    return urlunsplit((scheme, host, *urlsplit(url)[2:]))
