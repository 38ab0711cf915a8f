"""Post to a webhook, and say what its answers mean.

The address is the password, so it must never be seen: errors are put into words of our own, and the
client's log, which would name it with every request, is silent about ours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from onefold.adapters.calls import Calls, library
from onefold.adapters.traderspost.config import TradersPostConfig
from onefold.adapters.traderspost.parse import Message, accepted, refusal, unsent
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain

SECOND_NS = 1_000_000_000
RETRY_AFTER_S = 10.0
"""How long TradersPost is left alone that was asked too often and does not say for how long."""

TIMED_OUT, TOO_MANY = 408, 429


class Client:
    """One webhook."""

    def __init__(self, config: TradersPostConfig) -> None:
        """Make the client; raises `MissingExtra`."""
        self._httpx = library("httpx")
        self._webhook = config.webhook.get_secret_value()
        parts = urlsplit(self._webhook)
        self._root = f"{parts.scheme}://{parts.netloc}/"
        self._secret = parts.path.strip("/")
        self._http = self._httpx.AsyncClient(timeout=config.deadline_s, follow_redirects=False)
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        self._calls = Calls(
            "TradersPost",
            deadline_s=config.deadline_s,
            retries=config.retries,
            per_second=config.calls_per_second,
        )
        logging.getLogger("httpx").addFilter(self._is_harmless)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._http.aclose()
        logging.getLogger("httpx").removeFilter(self._is_harmless)

    async def check(self) -> None:
        """Find out whether the webhook takes its password, by a message that orders nothing.

        Raises `ConfigError` when it does not, `VenueUncertain`.
        """
        try:
            await self._calls.read(self._probe)
        except VenueRefused as error:
            raise VenueUncertain(str(error)) from error

    async def post(self, message: Message, look: Callable[[], None]) -> str:
        """Send a message, once, after a last `look`; return TradersPost's number for it.

        Raises `VenueRefused`, `VenueUncertain`.
        """

        async def send() -> str:
            body = self._encoder.encode(message)
            look()
            status, headers, answer = await self._send("POST", self._webhook, body)
            self._judge(status, headers, answer)
            return accepted(answer)

        return await self._calls.act(send)

    async def time_ns(self) -> int:
        """Return the server's clock, to the second. Raises `VenueUncertain`."""

        async def ask() -> int:
            # There is nothing at the root; an answer has a date whatever it says.
            status, headers, _ = await self._send("GET", self._root)
            if status >= 500 or status == TOO_MANY or "date" not in headers:
                raise VenueUncertain(f"TradersPost answers {status}")
            return int(parsedate_to_datetime(headers["date"]).timestamp()) * SECOND_NS

        return await self._calls.read(ask)

    async def _probe(self) -> None:
        status, headers, answer = await self._send("POST", self._webhook, b"{}")
        if unsent(answer):
            return
        try:
            self._judge(status, headers, answer)
        except VenueRefused as error:
            if error.retry_after_s is not None:
                raise
            raise ConfigError(f"TradersPost refuses the webhook: {error}") from error
        raise VenueUncertain("TradersPost took a message that says nothing for an order")

    async def _send(self, method: str, url: str, body: bytes = b"") -> tuple[int, Any, Any]:
        """Return status, headers and what the answer says, None where it cannot be read."""
        headers = {"content-type": "application/json"} if body else {}
        try:
            response = await self._http.request(method, url, content=body, headers=headers)
        except self._httpx.HTTPError as error:
            raise VenueUncertain(f"TradersPost: {type(error).__name__}") from None
        try:
            return response.status_code, response.headers, msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return response.status_code, response.headers, None

    @staticmethod
    def _judge(status: int, headers: Any, answer: Any) -> None:
        """Raise what an answer means that is no clear yes."""
        if status == TOO_MANY:
            text = headers.get("retry-after", "")
            pause_s = float(text) if text.isdecimal() else RETRY_AFTER_S
            raise VenueRefused("TradersPost answers 429: too many messages", pause_s)
        if 400 <= status < 500 and status != TIMED_OUT:
            raise VenueRefused(refusal(status, answer))
        if not 200 <= status < 300:
            raise VenueUncertain(f"TradersPost answers {status}")

    def _is_harmless(self, record: logging.LogRecord) -> bool:
        return self._secret not in record.getMessage()
