"""What the engine needs of the outside world, as small protocols; the tests have their twins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from onefold.domain.records import Action, Bar, Cancel, Fill, Order, OrderNotice, Quarantined


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
