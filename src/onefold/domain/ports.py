"""What the engine needs of the outside world, as small protocols; the tests have their twins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Protocol

from onefold.domain.records import Action, Bar, Cancel, Fill, Order, OrderNotice, Quarantined
from onefold.domain.venue import (
    Abilities,
    OrderReport,
    PaymentReport,
    PositionReport,
    Report,
    Ticket,
    TradeReport,
)


class Feed(Protocol):
    """A source of closed bars in order of time."""

    def events(self) -> Iterator[Bar | Quarantined | Action]:
        """Yield bars, what was refused with the reason, and corporate actions where they happen."""
        ...


class Venue(Protocol):
    """A place that takes orders and answers with fills and notices.

    A bar is two moments, its open and its range: `open` fills what waits for the open, so that the
    orders which answer those fills can work during the rest of the same bar (`range`).
    """

    def open(self, bar: Bar) -> Iterable[Fill | OrderNotice]:
        """Meet the bar's open and return what happened."""
        ...

    def range(self, bar: Bar) -> Iterable[Fill | OrderNotice]:
        """Meet the rest of the bar and return what happened."""
        ...

    def send(self, orders: Iterable[Order | Cancel]) -> Iterable[Fill | OrderNotice]:
        """Take orders and cancels, and return what is known at once."""
        ...

    def restate(self, state: Any) -> None:
        """Hear the books after a corporate action; a real venue knows them and does nothing."""
        ...


class LiveFeed(Protocol):
    """A source of bars as they close, in real time.

    Every call has a deadline of its own and raises `VenueUncertain` when the source cannot be
    reached after its retries; the engine then shows the data as stale and calls again.
    """

    async def open(self) -> None:
        """Connect and log in. Raises `ConfigError` for credentials or symbols that are refused.

        An engine calls it until it succeeds, and may call it once more after that.
        """
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...

    async def history(self, instrument: str, bars: int) -> list[Bar]:
        """Return the last closed bars, the oldest first: for warm-up and display only."""
        ...

    def stream(self) -> AsyncIterator[Bar | Quarantined]:
        """Yield each bar once it has closed, and what was refused with the reason.

        Ends with `VenueUncertain` when the connection is lost; calling it again reconnects.
        """
        ...


class LiveVenue(Protocol):
    """A real venue and one account there.

    Every call has a deadline of its own. `VenueRefused` says for certain that nothing happened;
    `VenueUncertain` that nobody knows, so the order counts as filled until `find` has told.
    Nothing here retries what may have an effect.
    """

    abilities: Abilities

    async def open(self) -> None:
        """Connect and log in. Raises `ConfigError` for credentials or symbols that are refused."""
        ...

    async def close(self) -> None:
        """Let go of all connections; orders stay."""
        ...

    async def submit(self, ticket: Ticket, look: Callable[[], None]) -> OrderReport:
        """Send an order, once. Raises `VenueRefused`, `VenueUncertain`.

        `look` is called last before the message leaves, after every wait; it raises `VenueRefused`
        when the order must not leave any more.
        """
        ...

    async def cancel(self, client_id: str, symbol: str) -> None:
        """Ask to cancel an order; what becomes of it comes as a report.

        Raises `VenueRefused` where there is nothing to cancel, `VenueUncertain`.
        """
        ...

    async def find(self, client_id: str, symbol: str) -> OrderReport | None:
        """Return what the venue knows of an order by our name for it, None when it has none such.

        Raises `VenueUncertain`.
        """
        ...

    async def working(self) -> list[OrderReport]:
        """Return all orders of the account that may still fill. Raises `VenueUncertain`."""
        ...

    async def trades(self, since_ts: int) -> list[TradeReport]:
        """Return the account's trades from `since_ts` on, the oldest first."""
        ...

    async def payments(self, since_ts: int) -> list[PaymentReport]:
        """Return what was paid and received from `since_ts` on other than by trades.

        The oldest first; fees that trades report and transfers of one's own money are left out.
        Nothing where the venue does not tell (`Abilities.payments`). Raises `VenueUncertain`.
        """
        ...

    async def positions(self) -> list[PositionReport]:
        """Return what the account holds of the symbols that it was opened for."""
        ...

    async def time_ns(self) -> int:
        """Return the venue's clock."""
        ...

    def reports(self) -> AsyncIterator[Report]:
        """Yield what happens to orders from now on.

        Ends with `VenueUncertain` when the connection is lost; calling it again reconnects, after
        which the engine asks for what was missed. A report may come twice and out of order.
        """
        ...

    async def arm(self, timeout_s: float) -> None:
        """Let the venue cancel all orders unless this is called again in time; 0 disarms."""
        ...
