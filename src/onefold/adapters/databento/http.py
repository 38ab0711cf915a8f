"""Ask Databento for history by its real client, and say what its refusals mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np

from onefold.adapters.calls import Calls, library
from onefold.adapters.databento.config import DatabentoConfig
from onefold.adapters.databento.parse import day_of, unresolved
from onefold.domain.errors import ConfigError, VenueRefused, VenueUncertain

NOT_ALLOWED = (401, 403)
TIMED_OUT = 408
TOO_MANY = 429
PAUSE_S = 10.0
"""How long to wait where Databento was asked too often and does not say how long."""


class Client:
    """The real client, for questions that may be repeated."""

    def __init__(self, config: DatabentoConfig) -> None:
        """Import the client. Raises `MissingExtra` when it is not installed, `ConfigError`."""
        self._databento = library("databento")
        self._config = config
        options = {} if config.url is None else {"gateway": config.url}
        try:
            self._client = self._databento.Historical(config.key.get_secret_value(), **options)
        except ValueError as error:
            raise ConfigError("Databento: the key is empty") from error
        for part in ("timeseries", "symbology", "metadata"):
            # Else a thread may outlive our deadline by minutes.
            getattr(self._client, part).TIMEOUT = config.deadline_s
        self._calls = Calls("Databento", deadline_s=config.deadline_s, retries=config.retries)

    async def unknown(self, symbols: list[str], now_ns: int) -> list[str]:
        """Return which of the symbols Databento does not know today.

        Raises `ConfigError` for a key that is refused, `VenueUncertain`.
        """
        today = day_of(now_ns)
        answer = await self._ask(
            lambda: self._client.symbology.resolve(
                dataset=self._config.dataset,
                symbols=symbols,
                stype_in=self._config.symbol_type,
                stype_out="instrument_id",
                start_date=today,
                end_date=today + timedelta(days=1),
            )
        )
        return unresolved(answer)

    async def end_ns(self) -> int:
        """Return up to when there is history for this account, in nanoseconds UTC."""
        answer = await self._ask(
            lambda: self._client.metadata.get_dataset_range(self._config.dataset)
        )
        return int(np.datetime64(str(answer["end"]).rstrip("Z"), "ns").astype(np.int64))

    async def records(self, symbol: str, schema: str, start_ns: int, end_ns: int) -> list[Any]:
        """Return the records of one symbol from `start_ns` up to `end_ns`."""
        found: list[Any] = await self._ask(
            lambda: list(
                self._client.timeseries.get_range(
                    dataset=self._config.dataset,
                    symbols=[symbol],
                    schema=schema,
                    stype_in=self._config.symbol_type,
                    start=start_ns,
                    end=end_ns,
                )
            )
        )
        return found

    async def _ask(self, question: Callable[[], Any]) -> Any:
        return await self._calls.read(lambda: asyncio.to_thread(self._answer, question))

    def _answer(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except self._databento.BentoClientError as error:
            raise _refusal(error) from error


def _refusal(error: Any) -> Exception:
    status, reason = error.http_status, f"Databento: {error.message or error.http_status}"
    if status in NOT_ALLOWED:
        return ConfigError(f"{reason} (key refused)")
    if status == TIMED_OUT:
        return VenueUncertain(reason)
    if status == TOO_MANY:
        wait = str((error.headers or {}).get("Retry-After", ""))
        return VenueRefused(reason, float(wait) if wait.isdigit() else PAUSE_S)
    return VenueRefused(reason)
