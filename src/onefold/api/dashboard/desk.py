"""A page while somebody looks at it: who it is, what it asks the office, and how it stays current.

A page is panels. Each asks the office one thing every second or so, and shows what it was told only
when that is something else than before. What goes wrong is said in the panel, and the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import Request
from nicegui import ui

from onefold.api.dashboard.parts import Part
from onefold.api.dashboard.sessions import Session, Sessions
from onefold.api.office import Office
from onefold.api.routes.guard import Services, in_one_line
from onefold.api.schemas import AccountStatus
from onefold.api.security import Caller, DeniedError, Role
from onefold.domain.errors import OnefoldError

log = logging.getLogger("onefold.api")
audit = logging.getLogger("onefold.audit.api")

TICK_S = 1.0
FIRST_S = 0.8
"""How long a page waits for what it shows first, before it is sent with what it has."""
SHARED_S = 0.5
"""How long what one page was told of the accounts is good for the others."""
STALE_S = 45.0
"""From this age on, what a heartbeat says is shown as old."""

Ask = Callable[[], Awaitable[Any]]
Show = Callable[[Any], None]


class Shared:
    """What all pages of a server share."""

    def __init__(self, office: Office, services: Services, sessions: Sessions) -> None:
        self.office, self.services, self.sessions = office, services, sessions
        self._accounts: asyncio.Task[list[AccountStatus]] | None = None
        self._asked = 0.0

    async def accounts(self) -> list[AccountStatus]:
        """Return how the accounts stand, asked at most every half second for all who look."""
        now = time.monotonic()
        if self._accounts is None or now - self._asked > SHARED_S:
            self._asked = now
            self._accounts = asyncio.create_task(_made(self.office.accounts()))
        return await asyncio.shield(self._accounts)

    def forget(self) -> None:
        """Ask anew the next time, since something was done."""
        self._asked = 0.0


async def _made(asked: Awaitable[list[AccountStatus]]) -> list[AccountStatus]:
    return await asked


class Panel:
    """A part of a page: a heading, what is said of its state, and its content."""

    def __init__(self, title: str, classes: str = "", *, level: int = 2) -> None:
        self.ask: Ask | None = None
        self._show: Show | None = None
        self._every_s, self._due = 0.0, 0.0
        self._told: Any = _NOTHING
        self._failed = ""
        self.box = Part("section", classes=f"panel {classes}".strip(), aria_label=title)
        with self.box:
            with Part("header"):
                self.title = Part(f"h{level}", title)
                self.tools = Part("div", classes="tools")
            self.state = Part("p", "", "gone")
            self.body = Part("div", classes="body")

    @contextmanager
    def content(self) -> Iterator[None]:
        """Let what is built within stand in it."""
        with self.body:
            yield

    def feed(self, ask: Ask, show: Show, *, every_s: float = 1.5) -> Panel:
        """Say what it asks, how often, and what shows the answer."""
        self.ask, self._show, self._every_s = ask, show, every_s
        self._say("Loading", "loading")
        return self

    async def refresh(self, *, now: bool = False) -> None:
        """Ask when it is time, or now, and show what is new; what goes wrong is said in place."""
        if self.ask is None or self._show is None:
            return
        if not now and time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._every_s
        try:
            told = await self.ask()
            if self.body.is_deleted:  # the visitor has gone on to another page meanwhile
                return
            if told != self._told or self._failed:
                with self.body:
                    self._show(told)
                self._told = told
            self._failed = ""
            self._say("", "gone")
        except OnefoldError as error:
            self._fail(str(error))
        except Exception as error:  # a bug must not leave a blank page
            if not self._failed:
                kind = type(error).__name__
                log.exception("%s", in_one_line({"panel": self.title.text, "bug": kind}))
            self._fail("This cannot be shown; the log of the server says why.")

    def _fail(self, said: str) -> None:
        if self.body.is_deleted:
            return
        self._failed = said
        before = " What stands below is from before." if self._told is not _NOTHING else ""
        self._say(said + before, "problem")

    def _say(self, text: str, classes: str) -> None:
        self.state.show(text, classes)
        self.state.put("role", "alert" if classes == "problem" else "status")


_NOTHING = object()


class Desk:
    """One page of one visitor."""

    def __init__(self, shared: Shared, request: Request) -> None:
        """Take the session that the gate has found. Raises `DeniedError` when it is over."""
        self.shared, self.office = shared, shared.office
        self.session: Session = request.state.session
        self.caller: Caller = shared.sessions.caller(self.session)
        self.address = request.client.host if request.client is not None else ""
        self.query = request.query_params
        self.account = self.query.get("account", "")[:64]
        self.names: list[str] = []
        self.said: Part | None = None
        self._panels: list[Panel] = []
        self._timer: ui.timer | None = None

    def may(self, role: Role) -> bool:
        """Return whether the visitor has a role; every action asks again."""
        return self.caller.role >= role

    @property
    def one(self) -> str:
        """Return the account where one is needed: the chosen one, or the first."""
        return self.account or next(iter(self.names), "")

    def panel(self, title: str, classes: str = "") -> Panel:
        """Return a new panel of this page."""
        made = Panel(title, classes)
        self._panels.append(made)
        return made

    def add(self, panel: Panel) -> None:
        """Keep a panel current that was made elsewhere."""
        self._panels.append(panel)

    # -- staying current --------------------------------------------------------------------------

    async def begin(self) -> None:
        """Ask for all that is shown first, and go on asking while somebody looks."""
        asked = [asyncio.create_task(panel.refresh()) for panel in self._panels]
        if asked:
            await asyncio.wait(asked, timeout=FIRST_S)
        self._timer = ui.timer(TICK_S, self._tick, immediate=False)

    async def _tick(self) -> None:
        if not self._is_signed_in():
            if self._timer is not None:
                self._timer.cancel()
            ui.navigate.to("/login")  # NiceGUI puts the prefix before it
            return
        await asyncio.gather(*(panel.refresh() for panel in self._panels))

    def _is_signed_in(self) -> bool:
        try:
            self.caller = self.shared.sessions.caller(self.session)
        except DeniedError:
            return False
        except OnefoldError:  # the keys cannot be read now
            return True
        return True

    async def refresh(self) -> None:
        """Ask for everything now."""
        self.shared.forget()
        await asyncio.gather(*(panel.refresh(now=True) for panel in self._panels))

    # -- doing ------------------------------------------------------------------------------------

    async def act(
        self,
        role: Role,
        what: str,
        do: Callable[[str], Awaitable[str]],
        *,
        sensitive: bool = False,
        key: str = "",
    ) -> str:
        """Do something in the visitor's name, and return what came of it.

        The session, its role and, for what lets more be traded, the key are looked at now, whatever
        the page has shown. Raises `OnefoldError` for what is refused.
        """
        outcome, name, role_word = "failed", "", ""
        try:
            caller = self.shared.sessions.allowed(self.session, role)
            name, role_word = caller.name, caller.role.word
            if sensitive:
                self._confirmed(key)
            said = await do(caller.name)
            outcome = said
        except OnefoldError as error:
            outcome = f"refused: {error}"
            raise
        finally:
            told = {
                "operator": name,
                "role": role_word,
                "action": what[:2_000],
                "outcome": outcome[:500],
                "client": self.address,
            }
            audit.info("%s", in_one_line(told))
            self.shared.forget()
        return said

    def _confirmed(self, key: str) -> None:
        sessions = self.shared.sessions
        if key:
            sessions.confirm(self.session, self.shared.services.known(key, self.address))
        if not sessions.is_confirmed(self.session):
            raise DeniedError(403, "give your key again")

    def tell(self, text: str, tone: str = "good") -> None:
        """Say what came of something, at the top of the page."""
        if self.said is not None:
            self.said.show(text, f"said {tone}")
            self.said.put("role", "alert" if tone == "bad" else "status")
