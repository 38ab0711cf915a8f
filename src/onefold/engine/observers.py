"""Who hears what a session records: logs and notifications, at whose cost no trade may be.

An observer hears after a record is durable and after what was ordered has left, so it may be slow.
One that has to see the books as they were before a record says that it hears `at_once`; it must be
quick. Whatever either raises ends with it.
"""

from __future__ import annotations

from collections.abc import Callable

from onefold.domain.records import Record
from onefold.engine.worries import Worries

Hear = Callable[[Record], None]


class Observers:
    """Those who listen; give records to `take` as they are made, and let `tell` pass them on."""

    def __init__(self) -> None:
        self._at_once: dict[str, Hear] = {}
        self._later: dict[str, Hear] = {}
        self._news: list[Record] = []
        self._worries = Worries("onefold.application.observers", "observers")

    def add(self, name: str, hear: Hear) -> None:
        """Let somebody hear every record from now on, in order."""
        group = self._at_once if getattr(hear, "at_once", False) else self._later
        group[name] = hear

    def take(self, record: Record) -> None:
        """Pass a record on to those who hear at once, and keep it for the others until `tell`."""
        for name, hear in self._at_once.items():
            self._pass_on(name, hear, record)
        if self._later:
            self._news.append(record)

    def tell(self) -> None:
        """Tell all others what is new; whatever goes wrong with one of them, the rest hear it."""
        if not self._news:
            return
        news, self._news = self._news, []
        for name, hear in self._later.items():
            for record in news:
                self._pass_on(name, hear, record)

    def _pass_on(self, name: str, hear: Hear, record: Record) -> None:
        try:
            hear(record)
        except Exception as error:  # noqa: BLE001 - whatever it was, trading goes on
            self._worries.about(name, "it has missed a record", error)
