"""What is recorded and how it is: the journal, health and failures, and backtests side by side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote

from nicegui import ui

from onefold.api.dashboard.cells import (
    HEALTH_TONES,
    MINUS,
    cell,
    count,
    href,
    measured,
    picked,
    share,
    when_text,
    words,
)
from onefold.api.dashboard.desk import Desk, Panel
from onefold.api.dashboard.library import is_number
from onefold.api.dashboard.parts import Column, Modal, Part, Row, Table, button, select
from onefold.api.dashboard.resources import PREFIX
from onefold.api.schemas import AccountStatus, Backtest, Health, JournalState
from onefold.api.security import Role
from onefold.domain.errors import OnefoldError
from onefold.views.wording import DASH, number

SHOWN = 200


# --- the journal ---------------------------------------------------------------------------------


async def journal_page(desk: Desk, modal: Modal) -> None:
    """Build the page, with a panel for each account."""
    del modal
    names = [desk.account] if desk.account else desk.names
    if not names:
        Part("p", "No account is enabled.", "empty")
    for name in names:
        _journal(desk, name)


def _journal(desk: Desk, account: str) -> None:
    panel = desk.panel(f"Journal of {account}")
    with panel.content():
        facts = Table("Head", (Column("What"), Column("Value")), empty="No journal yet.")
        said = Part("p", "", "gone", role="status")

    async def verified(_: str) -> str:
        return (await desk.office.verify(account)).verified

    async def verify() -> None:
        said.show("Reading the journal from its beginning", "loading")
        try:
            found = await desk.act(Role.ADMIN, f"verify the journal of {account}", verified)
        except OnefoldError as error:
            said.show(f"Not verified: {error}", "problem")
        else:
            said.show(f"Verified: {found}.", "verified")

    if desk.may(Role.ADMIN):
        with panel.tools:
            button("Verify it", verify)

    def show(one: JournalState) -> None:
        rows = [
            ("Journal", one.folder),
            ("Records", f"{one.seq:,}"),
            ("Hash of the last seal", one.hash),
            ("Database", _lag(one)),
        ]
        facts.show([Row(name, (cell(name), cell(text))) for name, text in rows])

    panel.feed(lambda: desk.office.journal(account), show)


def _lag(one: JournalState) -> str:
    if one.projected is None:
        return "has nothing of it yet; onefold db follow fills it"
    behind = max(one.seq - one.projected, 0)
    return f"up to record {one.projected:,}, {behind:,} behind"


# --- health --------------------------------------------------------------------------------------


async def health_page(desk: Desk, modal: Modal) -> None:
    """Build the page of checks, failures that were survived, and heartbeats."""
    del modal
    panel = desk.panel("Checks")
    with panel.content():
        lead = Part("p", "", "lead")
        checks = Table("Checks", (Column("Check"), Column("Status", "word"), Column("Detail")))
        Part("h3", "Failures that were survived")
        failures = Table(
            "Failures that were survived",
            (
                Column("Component"),
                Column("Count", "num"),
                Column("Last, UTC", "time"),
                Column("Last one"),
            ),
            empty="None.",
        )

    def show(found: Health) -> None:
        lead.show(f"In all: {found.status}. Onefold {found.version}.")
        checks.show(
            [
                Row(
                    one.name,
                    (
                        cell(words(one.name)),
                        cell(one.status, HEALTH_TONES.get(one.status, "quiet")),
                        cell(one.detail),
                    ),
                )
                for one in found.checks
            ]
        )
        failures.show(
            [
                Row(
                    one.component,
                    (
                        cell(words(one.component)),
                        count(one.count),
                        when_text(one.last_time),
                        cell(one.last),
                    ),
                )
                for one in found.failures
            ]
        )

    panel.feed(desk.office.health, show, every_s=2.0)
    _feeds(desk)


def _feeds(desk: Desk) -> None:
    panel = desk.panel("Sessions")
    with panel.content():
        table = Table(
            "Sessions",
            (
                Column("Account"),
                Column("Bars", "num"),
                Column("Late", "num", low=True),
                Column("Refused", "num"),
                Column("Fills", "num"),
                Column("Feeds"),
                Column("Trouble"),
            ),
            empty="No account is enabled.",
        )

    def show(found: list[AccountStatus]) -> None:
        table.show([_session(one) for one in found])

    panel.feed(desk.shared.accounts, show)


def _session(one: AccountStatus) -> Row:
    counts = [count(one.counts.get(name)) for name in ("bars", "late", "refused", "fills")]
    feeds = ", ".join(f"{name}: {said}" for name, said in one.feeds.items())
    return Row(
        one.account,
        (
            cell(one.account),
            *counts,
            cell(feeds or DASH),
            cell(one.trouble or "none", "bad" if one.trouble else "quiet"),
        ),
    )


# --- backtests -----------------------------------------------------------------------------------


async def backtests_page(desk: Desk, modal: Modal) -> None:
    """Build the page: the list, and up to two reports side by side."""
    del modal
    sides = [desk.query.get("left", "")[:200], desk.query.get("right", "")[:200]]
    panel = desk.panel("Results")
    with panel.content():
        filters = Part("div", classes="filters")
        table = Table("Results", _RESULT_COLUMNS, empty="No backtests yet.", picked=_open(sides))
    compare = Panel("Numbers side by side")
    frames = Part("div", classes="frames")
    names: list[str] = []

    def show(found: list[Backtest]) -> None:
        table.show([_result(one) for one in found[:SHOWN]])
        if [one.name for one in found] != names:
            names[:] = [one.name for one in found]
            _choices(filters, names, sides)
        _side_by_side(compare, found, sides)

    compare.state.show("", "gone")
    with frames:
        for name in filter(None, sides):
            _frame(name)
    panel.feed(desk.office.backtests, show, every_s=10.0)


_RESULT_COLUMNS = (
    Column("Written, UTC", "time"),
    Column("Result"),
    Column("Return", "num"),
    Column("Sharpe", "num"),
    Column("Drawdown", "num", low=True),
    Column("Fills", "num", low=True),
)
_SHOWN: tuple[tuple[str, Callable[[float], str]], ...] = (
    ("total_return", share),
    ("sharpe", lambda value: number(value).replace("-", MINUS)),
    ("max_drawdown", share),
    ("fills", measured),
)


def _result(one: Backtest) -> Row:
    shown = []
    for name, written in _SHOWN:
        value = one.numbers.get(name)
        shown.append(cell(written(float(value)) if is_number(value) else DASH))  # type: ignore[arg-type]
    return Row(one.name, (when_text(one.time), picked(one.title), *shown))


def _open(sides: Sequence[str]) -> Callable[[str], Awaitable[None]]:
    async def opened(name: str) -> None:
        # NiceGUI puts the prefix before it.
        to = href("/backtests", left=name, right=sides[1] if sides[0] != name else "")
        ui.navigate.to(to.removeprefix(PREFIX))

    return opened


def _choices(filters: Part, names: Sequence[str], sides: Sequence[str]) -> None:
    filters.clear()
    with filters, Part("form", classes="filters", method="get", action=href("/backtests")):
        for label, name, chosen in (("Left", "left", sides[0]), ("Right", "right", sides[1])):
            options = [("", "None"), *((one, one) for one in names)]
            select(label, options, chosen, None, "() => {}").props["name"] = name
        Part("button", "Open", "primary", type="submit")


def _side_by_side(panel: Panel, found: Sequence[Backtest], sides: Sequence[str]) -> None:
    by_name = {one.name: one for one in found}
    both = [by_name[name] for name in sides if name in by_name]
    panel.box.classes(add="" if both else "gone", remove="gone" if both else "")
    panel.body.clear()
    if not both:
        return
    keys = list(dict.fromkeys(key for one in both for key in one.numbers))
    columns = (Column("Number"), *(Column(one.title, "num") for one in both))
    with panel.body:
        Table("Numbers side by side", columns).show(
            [
                Row(key, (cell(words(key)), *(cell(_number(one.numbers.get(key))) for one in both)))
                for key in keys
            ]
        )


def _number(value: float | str | None) -> str:
    if is_number(value):
        return measured(float(value))  # type: ignore[arg-type]
    return DASH if value is None else str(value)


def _frame(name: str) -> None:
    Part(
        "iframe",
        src=f"{href('/report')}/{quote(name, safe='')}",
        sandbox="allow-scripts",
        title=f"Report of {name}",
        referrerpolicy="no-referrer",
        loading="lazy",
    )
