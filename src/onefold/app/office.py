"""What the server sees and does, from the files of one configuration and its database.

The configuration is read once, at the start: a file that is broken later must not take away the
means to stop what runs. Whatever reads the disk does so in a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from onefold.api.office import NotFoundError
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
from onefold.app import office_governance as governing
from onefold.app import office_library as library
from onefold.app import office_records as records
from onefold.app import office_sessions as sessions
from onefold.app.governing import Governed
from onefold.app.office_explain import Explainer
from onefold.app.office_health import Progress, Watch
from onefold.app.settings import Loaded
from onefold.app.wiring import store_of
from onefold.domain.errors import OnefoldError
from onefold.journal import head, verify
from onefold.ops.database.connection import DatabaseError, url_of
from onefold.ops.database.reading import Reader
from onefold.ops.health import Projected

P = ParamSpec("P")
R = TypeVar("R")

NOT_SET_UP = "the database is not set up"
"""How the reader's error begins before the projector has made the tables; health tells of it."""
LAST_SIGNALS = 200
"""Signals that are looked at for the models that a strategy asks."""
TRADES_MAX = 10_000
"""Closed trades of an account that its strategies' numbers are of."""

POSITIONS_S = 2.0
"""How long the state of accounts waits for a database that does not answer."""

log = logging.getLogger("onefold.api")


def _exposure(held: Sequence[Position] | None, account: str) -> float | None:
    if held is None:
        return None
    return records.exposure(one for one in held if one.account == account)


async def _threaded(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    return await asyncio.to_thread(function, *args, **kwargs)


def reader_of(loaded: Loaded) -> tuple[Reader, Path | None]:
    """Return what reads the database of a configuration, and its file where it is one."""
    settings = loaded.settings
    file = loaded.resolve(settings.paths.database)
    url = url_of(settings.database.url, file)
    return Reader(url), file if url.get_backend_name() == "sqlite" else None


class LocalOffice:
    """The office of one configuration on this machine; see `onefold.api.office.Office`."""

    def __init__(
        self, loaded: Loaded, reader: Reader, *, file: Path | None = None, explain_s: float = 60.0
    ) -> None:
        """Take the reader's file, where it has one: before it is there, nothing can be told."""
        self._loaded, self._reader, self._file = loaded, reader, file
        self._explainer, self._watch = Explainer(explain_s), Watch(loaded)

    async def close(self) -> None:
        """End what runs for it."""
        await self._explainer.close()
        await self._reader.close()

    # -- what runs --------------------------------------------------------------------------------

    async def accounts(self) -> list[AccountStatus]:
        """Return how every account stands: what only the database knows may be missing."""
        found = await _threaded(sessions.statuses, self._loaded)
        held, missing = await self._held()
        return [
            one.model_copy(update={"exposure": _exposure(held, one.account), "missing": missing})
            for one in found
        ]

    async def _held(self) -> tuple[list[Position] | None, str]:
        """Return what is held, or why nobody can tell: heartbeats and switches are to be seen."""
        try:
            async with asyncio.timeout(POSITIONS_S):
                return await self.positions(), ""
        except TimeoutError:
            return None, f"positions: the database does not answer within {POSITIONS_S:g} s"
        except OnefoldError as error:
            return None, f"positions: {error}"
        except Exception as error:  # noqa: BLE001 - a bug of what is read must not hide a stop
            log.warning("positions cannot be read: %s", type(error).__name__)
            return None, "positions: they cannot be read; the log of the server says why"

    async def positions(self, account: str = "") -> list[Position]:
        """Return what is held: by strategy as far as the database has come, else by symbol."""
        rows = await self._rows(self._reader.positions(account=account))
        found: list[Position] = []
        for name, folder in sessions.account_folders(self._loaded, account).items():
            beat = await _threaded(sessions.last_beat, folder)
            known = [records.wire(Position, row) for row in rows if row.account == name]
            found += records.positions_of(name, beat, known)
        return found

    async def orders(
        self, account: str = "", *, symbol: str = "", state: str = "", before: str = "", limit: int
    ) -> Page[Order]:
        """Return orders, the newest first."""
        self._check(account)
        rows = await self._rows(
            self._reader.orders(
                account=account,
                symbol=symbol,
                state=state,
                before=before or None,
                limit=limit + 1,
            )
        )
        return records.page(Order, rows, limit)

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
        """Return round trips, the newest first."""
        self._check(account)
        rows = await self._rows(
            self._reader.trades(
                account=account,
                strategy=strategy,
                symbol=symbol,
                is_open=is_open,
                before=before or None,
                limit=limit + 1,
            )
        )
        return records.page(Trade, rows, limit)

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
        """Return decisions, the newest first."""
        self._check(account)
        rows = await self._rows(
            self._reader.decisions(
                account=account,
                strategy=strategy,
                symbol=symbol,
                gate=gate,
                passed=passed,
                before=before or None,
                limit=limit + 1,
            )
        )
        return records.page(Decision, rows, limit)

    async def signals(
        self, account: str, *, strategy: str = "", symbol: str = "", limit: int
    ) -> list[Signal]:
        """Return what strategies wanted last, from the end of the account's newest journal."""
        account = self._only(account)
        journal = await self._journal(account)
        if journal is None:
            return []
        return await _threaded(records.last_signals, account, journal, strategy, symbol, limit)

    async def equity(
        self, account: str, *, since: int = 0, until: int = 0, points: int
    ) -> list[EquityPoint]:
        """Return the equity over time."""
        account = self._only(account)
        rows = await self._rows(
            self._reader.equity(account, since=since or None, until=until or None, points=points)
        )
        return [records.wire(EquityPoint, row) for row in rows]

    async def bars(
        self, account: str, symbol: str, *, since: int = 0, until: int = 0, limit: int
    ) -> list[Bar]:
        """Return the last bars of a time."""
        account = self._only(account)
        rows = await self._rows(
            self._reader.bars(
                account, symbol, since=since or None, until=until or None, limit=limit
            )
        )
        return [records.wire(Bar, row) for row in rows]

    async def gates(
        self, account: str = "", *, strategy: str = "", symbol: str = "", last: int
    ) -> list[GateCount]:
        """Return which gates stopped how many of the last decisions."""
        self._check(account)
        rows = await self._rows(
            self._reader.gate_counts(account=account, strategy=strategy, symbol=symbol, last=last)
        )
        return [records.wire(GateCount, row) for row in rows]

    async def explain(self, account: str, decision: int) -> Explanation:
        """Explain one decision of the account's newest journal."""
        account = self._only(account)
        return await self._explainer.decision(account, await self._any_journal(account), decision)

    async def why_not(self, account: str, symbol: str, at: int) -> list[Explanation]:
        """Explain what was not traded of a symbol at a time."""
        account = self._only(account)
        journal = await self._any_journal(account)
        end = await _threaded(head, journal)
        return await self._explainer.why_not(account, journal, symbol, at, end.hash)

    # -- what is known of it ----------------------------------------------------------------------

    async def strategies(self, account: str = "") -> list[Strategy]:
        """Return the strategies, with what their closed trades have made."""
        found: list[Strategy] = []
        for name in sessions.account_folders(self._loaded, account):
            rows = await self._rows(
                self._reader.trades(account=name, is_open=False, limit=TRADES_MAX)
            )
            trades = [records.wire(Trade, row) for row in rows]
            signals = await self.signals(name, limit=LAST_SIGNALS)
            one = governing.one_of(self._loaded, name)
            found += await _threaded(library.strategies_of, one, trades, signals)
        return found

    async def models(self) -> list[Model]:
        """Return the models of the store."""
        return await _threaded(self._models)

    def _models(self) -> list[Model]:
        folder = self._loaded.resolve(self._loaded.settings.paths.governance) / "readiness"
        reports = sorted(folder.glob("*/*.json"), key=lambda p: p.stem[-10:], reverse=True)
        return library.models_of(store_of(self._loaded), library.drift_in(reports))

    async def governance(self, account: str) -> Governance:
        """Return the parameters of an account."""
        return await _threaded(lambda: governing.governance_of(self._one(account)))

    async def reviews(self, account: str) -> list[Review]:
        """Return what is suppressed or watched."""
        return await _threaded(lambda: governing.reviews_of(self._one(account)))

    async def evidence(self, account: str) -> list[Evidence]:
        """Return the checks of transitions."""
        return await _threaded(lambda: governing.evidence_of(self._one(account)))

    async def readiness(self, account: str) -> list[Readiness]:
        """Return the reports of readiness."""
        return await _threaded(lambda: governing.readiness_of(self._one(account)))

    async def journal(self, account: str) -> JournalState:
        """Return the head of the account's newest journal, and how far the database follows it."""
        account = self._only(account)
        return await self._state_of(account, await self._any_journal(account), "")

    async def verify(self, account: str) -> JournalState:
        """Verify the account's newest journal to its last byte. Raises `JournalDamaged`."""
        account = self._only(account)
        journal = await self._any_journal(account)
        found = await _threaded(verify, journal)
        said = f"{found.records} records in {found.segments} segments agree with their seals"
        if found.tail is not None:
            said += "; after the last seal lies what is not sealed yet"
        return await self._state_of(account, journal, said)

    async def _state_of(self, account: str, journal: Path, verified: str) -> JournalState:
        end = await _threaded(head, journal)
        cursors = await self._rows(self._reader.cursors())
        mine = (c.seq for c in cursors if (c.account, c.journal) == (account, journal.name))
        return JournalState(
            account=account,
            folder=journal.name,
            seq=end.seq,
            hash=end.hash,
            projected=next(mine, None),
            verified=verified,
        )

    async def health(self) -> Health:
        """Return every check with its verdict, and the failures that were survived."""
        return await _threaded(self._watch.health, await self._progress())

    async def metrics(self) -> str:
        """Return all metrics in Prometheus' text format."""
        return await _threaded(self._watch.metrics, await self._progress())

    async def _progress(self) -> Progress:
        if self._file is not None and not self._file.exists():
            return None
        try:
            cursors = await self._reader.cursors()
        except OnefoldError as error:
            return str(error)
        return [Projected(one.account, one.journal, one.seq, one.trouble) for one in cursors]

    async def backtests(self) -> list[Backtest]:
        """Return the results of backtests."""
        return await _threaded(library.backtests_in, self._runs)

    async def report(self, name: str) -> str:
        """Return the report of a backtest as HTML."""
        return await _threaded(library.report_in, self._runs, name)

    # -- what can be done -------------------------------------------------------------------------

    async def command(self, body: CommandBody, *, operator: str) -> list[Answer]:
        """Put a command where the accounts that are meant find it."""
        return await _threaded(sessions.ask_accounts, self._loaded, body, operator)

    async def set_value(self, account: str, body: SetBody, *, operator: str) -> ParameterVersion:
        """Set a threshold or limit."""
        one = self._one(account)
        return await _threaded(governing.change_value, one, body, operator)

    async def approve(
        self, account: str, version: int, reason: str, *, operator: str
    ) -> ParameterVersion:
        """Put a proposal into force."""
        one = self._one(account)
        return await _threaded(governing.approve_version, one, version, reason, operator)

    async def rollback(
        self, account: str, version: int, reason: str, *, operator: str
    ) -> ParameterVersion:
        """Give all thresholds the values that they had after a version."""
        one = self._one(account)
        return await _threaded(governing.go_back, one, version, reason, operator)

    async def review(self, account: str, body: ReviewBody, *, operator: str) -> ParameterVersion:
        """Suppress, watch or release a strategy or symbol."""
        one = self._one(account)
        return await _threaded(governing.make_review, one, body, operator)

    def journals(self) -> Sequence[tuple[str, str]]:
        """Return the folder of each account's newest journal."""
        folders = sessions.account_folders(self._loaded)
        found = {name: sessions.newest_journal_of(folder) for name, folder in folders.items()}
        return [(name, str(journal)) for name, journal in found.items() if journal is not None]

    # -- within -----------------------------------------------------------------------------------

    async def _rows(self, asked: Coroutine[Any, Any, list[R]]) -> list[R]:
        """Return what the database says, nothing before it is there."""
        if self._file is not None and not self._file.exists():
            asked.close()
            return []
        try:
            return await asked
        except DatabaseError as error:
            if str(error).startswith(NOT_SET_UP):
                return []
            raise

    @property
    def _runs(self) -> Path:
        return self._loaded.resolve(self._loaded.settings.paths.runs)

    def _check(self, account: str) -> None:
        sessions.account_folders(self._loaded, account)

    def _only(self, account: str) -> str:
        return sessions.only(self._loaded, account)

    def _one(self, account: str) -> Governed:
        return governing.one_of(self._loaded, account)

    async def _journal(self, account: str) -> Path | None:
        folder = self._loaded.account_folder(account)
        return await _threaded(sessions.newest_journal_of, folder)

    async def _any_journal(self, account: str) -> Path:
        journal = await self._journal(account)
        if journal is None:
            raise NotFoundError(f"account {account!r} has no journal of a session yet")
        return journal
