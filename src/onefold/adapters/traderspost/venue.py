"""Orders by webhook: sent, taken or not, and never heard of again.

TradersPost passes a message on to a broker and tells nothing back. What was taken may have been
refused there, filled in part or filled at any price: positions are a model, and nothing here says
otherwise. So what cannot be known is not answered; only what was taken is remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from onefold.adapters.closed import source_symbols
from onefold.adapters.traderspost.config import TradersPostConfig
from onefold.adapters.traderspost.http import Client
from onefold.adapters.traderspost.parse import ABILITIES, order_message
from onefold.domain.errors import VenueRefused
from onefold.domain.instruments import Instrument
from onefold.domain.venue import (
    OrderReport,
    PaymentReport,
    PositionReport,
    Report,
    Ticket,
    TradeReport,
)


class TradersPostVenue:
    """One strategy at TradersPost; `open` before use."""

    abilities = ABILITIES

    def __init__(self, config: TradersPostConfig, instruments: Mapping[str, Instrument]) -> None:
        """Take the instruments to trade. Raises `ConfigError` for their symbols."""
        self._tickers = source_symbols(instruments, config.symbols)
        self._client = Client(config)
        self._sent: set[str] = set()
        self._taken: dict[str, OrderReport] = {}

    async def open(self) -> None:
        """Try the webhook with a message that orders nothing.

        Raises `ConfigError` for one that is refused, `VenueUncertain`.
        """
        await self._client.check()

    async def close(self) -> None:
        """Let go of all connections; orders stay."""
        await self._client.close()

    async def submit(self, ticket: Ticket, look: Callable[[], None]) -> OrderReport:
        """Send an order, once, after a last `look`. Raises `VenueRefused`, `VenueUncertain`.

        That it works means that TradersPost took it, and no more. The same name is not sent twice,
        since TradersPost would not notice.
        """
        ticker = self._tickers.get(ticket.symbol)
        if ticker is None:
            raise VenueRefused(f"{ticket.symbol} is not a symbol of this account: not sent")
        message = order_message(ticket, ticker)
        used = ticket.client_id in self._sent
        self._sent.add(ticket.client_id)

        def last() -> None:
            look()
            if used:
                raise VenueRefused(f"an order {ticket.client_id!r} was sent before: not sent again")

        try:
            number = await self._client.post(message, last)
        except VenueRefused:
            if not used:
                self._sent.discard(ticket.client_id)
            raise
        report = OrderReport(ticket.client_id, number, ticket.symbol, "working")
        self._taken[ticket.client_id] = report
        return report

    async def cancel(self, client_id: str, symbol: str) -> None:
        """Raise `VenueRefused`: TradersPost cancels all orders of a ticker or none."""
        raise VenueRefused(
            f"TradersPost cannot cancel the one order {client_id!r} of {symbol}, and market orders "
            "do not rest: look at the broker"
        )

    async def find(self, client_id: str, symbol: str) -> OrderReport | None:
        """Return an order that TradersPost said it took, since this venue was made.

        None of any other, also of one whose answer was lost: nobody can say more.
        """
        report = self._taken.get(client_id)
        return None if report is None or report.symbol != symbol else report

    async def working(self) -> list[OrderReport]:
        """Return nothing: only market orders are sent, and those do not rest."""
        return []

    async def trades(self, since_ts: int) -> list[TradeReport]:  # noqa: ARG002 - as the port has it
        """Return nothing: no trade is ever told of."""
        return []

    async def payments(self, since_ts: int) -> list[PaymentReport]:  # noqa: ARG002 - as the port has it
        """Return nothing: this venue does not tell what it charges besides trades."""
        return []

    async def positions(self) -> list[PositionReport]:
        """Raise `VenueRefused`: nobody tells what is held."""
        raise VenueRefused(
            "TradersPost does not tell what is held: positions are modelled and unconfirmed; "
            "compare them with the broker"
        )

    async def time_ns(self) -> int:
        """Return the clock of TradersPost's server, to the second; raises `VenueUncertain`."""
        return await self._client.time_ns()

    def reports(self) -> AsyncIterator[Report]:
        """Wait for ever: nothing is reported, and no connection is there to be lost."""
        return _Silence()

    async def arm(self, timeout_s: float) -> None:
        """Raise `VenueRefused`: TradersPost cancels nothing by itself."""
        raise VenueRefused(
            f"TradersPost has no dead man's switch: it cannot cancel orders after {timeout_s:g} s"
        )


class _Silence:
    """Reports that never come."""

    def __aiter__(self) -> _Silence:
        return self

    async def __anext__(self) -> Report:
        await asyncio.Event().wait()
        raise StopAsyncIteration
