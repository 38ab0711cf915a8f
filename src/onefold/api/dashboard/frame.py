"""The frame around every page: where one is, how trading stands, and how to stop it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from nicegui import ui

from onefold.api.dashboard.actions import killer
from onefold.api.dashboard.cells import age, href
from onefold.api.dashboard.desk import STALE_S, Desk, Panel, Shared
from onefold.api.dashboard.parts import Modal, Part, button, select
from onefold.api.dashboard.resources import HEAD, PREFIX
from onefold.api.schemas import AccountStatus
from onefold.api.security import DeniedError, Role
from onefold.domain.errors import OnefoldError

Build = Callable[[Desk, Modal], Awaitable[None]]


class Place(NamedTuple):
    """A page: its path, its name, and the letter that leads to it after g."""

    path: str
    name: str
    letter: str


PLACES = (
    Place("/", "Overview", "o"),
    Place("/positions", "Positions", "p"),
    Place("/trades", "Trades", "t"),
    Place("/decisions", "Decisions", "d"),
    Place("/explain", "Explain", "e"),
    Place("/strategies", "Strategies", "s"),
    Place("/governance", "Governance", "v"),
    Place("/transitions", "Transitions", "r"),
    Place("/journal", "Journal", "j"),
    Place("/health", "Health", "h"),
    Place("/backtests", "Backtests", "b"),
)

TO_ACCOUNT = """(e) => {
  const to = new URL(location.href);
  to.search = e.target.value ? "?account=" + encodeURIComponent(e.target.value) : "";
  location.assign(to);
}"""


def add_pages(shared: Shared, builds: Mapping[str, Build]) -> None:
    """Make the pages known to NiceGUI, each in the frame."""
    for place in PLACES:
        ui.page(place.path, title=f"{place.name} · Onefold", favicon="data:,")(
            _page(shared, place, builds[place.path])
        )


def _page(
    shared: Shared, place: Place, build: Build
) -> Callable[[Request], Awaitable[Response | None]]:
    async def page(request: Request) -> Response | None:
        try:
            desk = Desk(shared, request)
        except DeniedError:
            return RedirectResponse(f"{PREFIX}/login", 303)
        ui.add_head_html(HEAD)
        trouble = ""
        try:
            desk.names = [one.account for one in await shared.accounts()]
        except OnefoldError as error:
            trouble = str(error)
        except Exception:  # noqa: BLE001 - the panel that asks the same says and logs it
            trouble = "The accounts cannot be read."
        await _framed(desk, place, build, trouble)
        return None

    return page


async def _framed(desk: Desk, place: Place, build: Build, trouble: str) -> None:
    page = ui.context.client.content.parent_slot
    if page is not None:
        page.parent.props["role"] = (
            "none"  # Quasar's `main` holds all; the content is the main part
        )
    Part("a", "Skip to the content", "skip", href="#content")
    modal = Modal(place.name)
    status = _header(desk, modal)
    with Part("div", classes="columns"):
        _navigation(desk, place)
        with Part("main", id="content", tabindex="-1"):
            with Part("div", classes="heading"):
                Part("h1", place.name)
                if len(desk.names) > 1:
                    options = [("", "All accounts"), *((name, name) for name in desk.names)]
                    select("Account", options, desk.account, None, TO_ACCOUNT)
            desk.said = Part("p", "", "gone", role="status")
            if desk.account and desk.names and desk.account not in desk.names:
                Part("p", f"There is no account {desk.account!r} that is enabled.", "problem")
                desk.account = ""
            elif trouble:
                Part("p", trouble, "problem", role="alert")
            await build(desk, modal)
    _help()
    desk.add(status)
    await desk.begin()


def _header(desk: Desk, modal: Modal) -> Panel:
    """Build the bar at the top; what it returns keeps it current."""
    with Part("header", classes="top"):
        Part("a", "Onefold", "brand", href=href("/"))
        states = Part("div", classes="states", role="status", aria_label="State of accounts")
        with Part("div", classes="buttons"):
            if desk.may(Role.OPERATOR):
                button("Stop trading", killer(desk, modal), "danger small")
            Part("button", "", "theme", type="button", aria_label="Theme")
            Part("button", "?", "help-open", type="button", aria_label="Keyboard shortcuts")
            with Part("form", method="post", action=f"{PREFIX}/logout"):
                said = f"Signed in as {desk.caller.name}, {desk.caller.role.word}"
                Part("button", "Sign out", "quiet", type="submit", title=said)

    def show(found: list[AccountStatus] | str) -> None:
        states.clear()
        with states:
            if isinstance(found, str):
                Part("span", found, "state bad")
                return
            for one in found:
                text, tone = in_a_word(one)
                Part("a", text, f"state {tone}", href=href("/", account=one.account))

    panel = Panel("State", "gone")
    panel.body = states
    return panel.feed(lambda: _known(desk), show)


async def _known(desk: Desk) -> list[AccountStatus] | str:
    """Return how the accounts stand, or that nobody knows: no old word may stand for it."""
    try:
        return await desk.shared.accounts()
    except Exception:  # noqa: BLE001 - the panels that ask the same say and log it
        return "state unknown"


def in_a_word(one: AccountStatus) -> tuple[str, str]:
    """Return how an account stands in some words, and their tone."""
    if one.state != "running":
        old = f", {age(one.age_s)} old" if one.age_s is not None else ""
        return f"{one.account}: {one.state}{old}", "old" if one.age_s is not None else "quiet"
    if one.age_s is not None and one.age_s > STALE_S:
        return f"{one.account}: no word for {age(one.age_s)}", "old"
    if one.killed:
        return f"{one.account}: {one.mode}, stopped", "bad"
    if not one.can_enter:
        return f"{one.account}: {one.mode}, {one.why_not}", "warn"
    return f"{one.account}: {one.mode}, trading", "good"


def _navigation(desk: Desk, here: Place) -> None:
    with Part("nav", aria_label="Pages"):
        for place in PLACES:
            more = {"aria_current": "page"} if place is here else {}
            Part("a", place.name, "", href=href(place.path, account=desk.account), **more)


def _help() -> None:
    """Build the list of shortcuts, which the browser opens by itself."""
    with Part("dialog", id="help", aria_label="Keyboard shortcuts"):
        Part("h2", "Keyboard")
        with Part("dl", classes="shortcuts"):
            for place in PLACES:
                with Part("dt"):
                    Part("kbd", "g")
                    Part("kbd", place.letter)
                Part("dd", place.name)
            with Part("dt"):
                Part("kbd", "?")
            Part("dd", "This list")
            with Part("dt"):
                Part("kbd", "Esc")
            Part("dd", "Shut a dialog")
        with Part("div", classes="buttons"):
            Part("button", "Shut", "help-close", type="button")
