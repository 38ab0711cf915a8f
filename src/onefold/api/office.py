"""Everything that the server can see and do, as one port; `app.office` implements it.

Reading is of views: heartbeats, the database that is projected from the journals, files of
governance, results of backtests. Doing is asking: a session finds the request in its control folder
and journals it, a change of parameters becomes a version that sessions take as mandates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from onefold.api.schemas import (
    AccountStatus,
    Answer,
    Backtest,
    Bar,
    CommandBody,
    Decision,
    EquityPoint,
    Evidence,
    Explanation,
    GateCount,
    Governance,
    Health,
    JournalState,
    Model,
    Order,
    Page,
    ParameterVersion,
    Position,
    Readiness,
    Review,
    ReviewBody,
    SetBody,
    Signal,
    Strategy,
    Trade,
)
from onefold.domain.errors import ConfigError, OnefoldError


class NotFoundError(ConfigError):
    """What is asked for is not there: an account, a decision, a report."""


class BusyError(OnefoldError):
    """It would take too long, or too much is asked at once; asking again later may help."""


class Office(Protocol):
    """What there is to see and to do.

    Methods raise `NotFoundError` for what is not there, `ConfigError` for what cannot be done, and
    `BusyError` for what would take too long. `account` is empty for all of them. Pages go from the
    newest to the oldest: `before` is the `next` of the page before, empty for the first. Times are
    nanoseconds UTC.
    """

    # -- what runs --------------------------------------------------------------------------------

    async def accounts(self) -> list[AccountStatus]:
        """Return how every account stands, from its heartbeat and control folder."""

    async def positions(self, account: str = "") -> list[Position]:
        """Return what is held, by strategy and symbol, marked."""

    async def orders(
        self, account: str = "", *, symbol: str = "", state: str = "", before: str = "", limit: int
    ) -> Page[Order]:
        """Return orders; `state` is one of the order life, or `working`."""

    async def trades(
        self,
        account: str = "",
        *,
        strategy: str = "",
        symbol: str = "",
        is_open: bool | None = None,
        before: str = "",
        limit: int,
    ) -> Page[Trade]:
        """Return round trips, those that run first."""

    async def decisions(
        self,
        account: str = "",
        *,
        strategy: str = "",
        symbol: str = "",
        gate: str = "",
        passed: bool | None = None,
        before: str = "",
        limit: int,
    ) -> Page[Decision]:
        """Return decisions; `gate` is one that said no."""

    async def signals(
        self, account: str, *, strategy: str = "", symbol: str = "", limit: int
    ) -> list[Signal]:
        """Return what strategies wanted last, the newest first, from the journal's end."""

    async def equity(
        self, account: str, *, since: int = 0, until: int = 0, points: int
    ) -> list[EquityPoint]:
        """Return the equity over time, thinned to so many points; drawdowns are kept."""

    async def bars(
        self, account: str, symbol: str, *, since: int = 0, until: int = 0, limit: int
    ) -> list[Bar]:
        """Return the last bars of a time."""

    async def gates(self, account: str = "", *, strategy: str = "", symbol: str = "", last: int
    ) -> list[GateCount]:  # fmt: skip
        """Return which gates stopped how many of the last decisions."""

    async def explain(self, account: str, decision: int) -> Explanation:
        """Explain one decision: features, signal, every gate, in words."""

    async def why_not(self, account: str, symbol: str, at: int) -> list[Explanation]:
        """Explain what was not traded of a symbol at a time, for each strategy."""

    # -- what is known of it ----------------------------------------------------------------------

    async def strategies(self, account: str = "") -> list[Strategy]:
        """Return the strategies, with their stage, thresholds and numbers."""

    async def models(self) -> list[Model]:
        """Return the models of the store, with their card and drift where they are known."""

    async def governance(self, account: str) -> Governance:
        """Return the parameters in force, their versions, and what waits for approval."""

    async def reviews(self, account: str) -> list[Review]:
        """Return what is suppressed or watched."""

    async def evidence(self, account: str) -> list[Evidence]:
        """Return the checks of transitions, passed or not."""

    async def readiness(self, account: str) -> list[Readiness]:
        """Return the reports of readiness that were written, the newest first."""

    async def journal(self, account: str) -> JournalState:
        """Return the journal's head, and how far the database follows it."""

    async def verify(self, account: str) -> JournalState:
        """Verify the journal to its last byte; this takes a while."""

    async def health(self) -> Health:
        """Return every check with its verdict, and the failures that were survived."""

    async def metrics(self) -> str:
        """Return all metrics in Prometheus' text format."""

    async def backtests(self) -> list[Backtest]:
        """Return the results of backtests, the newest first."""

    async def report(self, name: str) -> str:
        """Return the report of a backtest as HTML."""

    # -- what can be done -------------------------------------------------------------------------

    async def command(self, body: CommandBody, *, operator: str) -> list[Answer]:
        """Put a command where the accounts that are meant find it, and wait a moment for them."""

    async def set_value(self, account: str, body: SetBody, *, operator: str) -> ParameterVersion:
        """Set a threshold or limit; on a live account, more risk waits for approval."""

    async def approve(
        self, account: str, version: int, reason: str, *, operator: str
    ) -> ParameterVersion:
        """Put a proposal into force; nobody approves their own where a second person is wanted."""

    async def rollback(
        self, account: str, version: int, reason: str, *, operator: str
    ) -> ParameterVersion:
        """Give all thresholds the values that they had after a version."""

    async def review(self, account: str, body: ReviewBody, *, operator: str) -> ParameterVersion:
        """Suppress, watch or release a strategy or symbol."""

    def journals(self) -> Sequence[tuple[str, str]]:
        """Return the folder of each account's newest journal, for who follows it."""
