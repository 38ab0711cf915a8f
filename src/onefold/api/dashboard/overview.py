"""The overview: what is earned, what is at risk, how it stands, and the switch that stops it."""

from __future__ import annotations

from collections.abc import Sequence

from onefold.api.dashboard.actions import command_buttons, killer
from onefold.api.dashboard.cells import (
    HEALTH_TONES,
    STATE_TONES,
    Cell,
    age,
    amount,
    at_price,
    cell,
    count,
    href,
    link,
    listed,
    share,
    signed,
    when,
    words,
)
from onefold.api.dashboard.charts import equity_options
from onefold.api.dashboard.desk import STALE_S, Desk, Panel
from onefold.api.dashboard.parts import Chart, Column, Modal, Part, Row, Stats, Table, button
from onefold.api.schemas import AccountStatus, Decision, EquityPoint, Health, Page, Position
from onefold.api.security import Role
from onefold.views.wording import DASH

POINTS = 500
LAST = 8
NUMBERS = ("Equity", "P&L today", "P&L in all", "Exposure", "Drawdown", "Working orders")


async def overview(desk: Desk, modal: Modal) -> None:
    """Build the page."""
    banner = Part("p", "", "gone")
    stats = Stats(NUMBERS)
    with Part("div", classes="split"):
        with Part("div"):
            _equity(desk, stats)
            _accounts(desk, stats, banner)
            _last_decisions(desk)
        with Part("div"):
            _switch(desk, modal)
            _health(desk)
            _positions(desk)


def _switch(desk: Desk, modal: Modal) -> None:
    panel = Panel("Kill switch", "switch")
    with panel.content():
        if desk.may(Role.OPERATOR):
            Part("p", "Cancels working entries and lets no new order out.", "hint")
            button("Stop trading", killer(desk, modal), "danger big")
        else:
            said = f"Your key is {desk.caller.role.word}; stopping takes the role operator."
            Part("p", said, "hint")
        with Part("div", classes="buttons"):
            command_buttons(desk, modal)
    panel.state.show("", "gone")


def _equity(desk: Desk, stats: Stats) -> None:
    panel = desk.panel("Equity and drawdown")
    with panel.content():
        chart = Chart("Equity and drawdown", equity_options(()))
        none = Part("p", "There is no equity yet: it comes with the first bars.", "gone")

    def show(points: list[EquityPoint]) -> None:
        none.show(none.text, "gone" if points else "empty")
        chart.classes(add="gone" if not points else "", remove="gone" if points else "")
        if not points:
            return
        last = points[-1]
        chart.show(equity_options(points), f"Equity, at last {last.equity:,.2f}")
        deepest = max(point.drawdown for point in points)
        stats.show(
            "Drawdown",
            cell(share(last.drawdown), "bad" if last.drawdown > 0 else "quiet"),
            f"deepest {share(deepest)}",
        )

    async def ask() -> list[EquityPoint]:
        return await desk.office.equity(desk.one, points=POINTS) if desk.one else []

    panel.feed(ask, show, every_s=4.0)


def _accounts(desk: Desk, stats: Stats, banner: Part) -> None:
    panel = desk.panel("Accounts")
    with panel.content():
        table = Table(
            "Accounts",
            (
                Column("Account"),
                Column("Mode"),
                Column("State", "word"),
                Column("May enter"),
                Column("Equity", "num", low=True),
                Column("Today", "num"),
                Column("In all", "num", low=True),
                Column(
                    "Heartbeat", "num", low=True, hint="How old what the session says of itself is"
                ),
            ),
            empty="No account is enabled.",
        )

    def show(found: list[AccountStatus]) -> None:
        table.show([_account(one) for one in found])
        chosen = [one for one in found if desk.account in ("", one.account)]
        _numbers(stats, chosen)
        said, classes = _banner(chosen)
        banner.show(said, classes)
        banner.put("role", "alert" if said else None)

    panel.feed(desk.shared.accounts, show)


def _account(one: AccountStatus) -> Row:
    is_old = one.age_s is None or one.age_s > STALE_S or one.state != "running"
    enters = cell("yes") if one.can_enter else cell(f"no: {one.why_not}", "warn")
    # To the second, so that a heartbeat that is fresh changes nothing.
    shown = DASH if one.age_s is None else ("fresh" if one.age_s < 3 else age(round(one.age_s)))
    return Row(
        one.account,
        (
            link(one.account, "/", account=one.account),
            cell(one.mode or DASH),
            cell(one.state, STATE_TONES.get(one.state, "quiet")),
            enters,
            amount(one.equity),
            signed(one.pnl_today),
            signed(one.pnl),
            cell(shown, "quiet"),
        ),
        "old" if is_old else "",
    )


def _numbers(stats: Stats, chosen: Sequence[AccountStatus]) -> None:
    currencies = sorted({one.currency for one in chosen if one.equity is not None})
    if len(currencies) > 1:
        for name in ("Equity", "P&L today", "P&L in all", "Exposure"):
            stats.show(name, cell(DASH, "quiet"), f"in {' and '.join(currencies)}: choose one")
        return
    where = currencies[0] if currencies else ""

    def total(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    equity = total([one.equity for one in chosen])
    today = total([one.pnl_today for one in chosen])
    ever = total([one.pnl for one in chosen])
    exposed = total([one.exposure for one in chosen])
    stats.show("Equity", amount(equity), where)
    stats.show("P&L today", signed(today), _of(today, equity))
    stats.show("P&L in all", signed(ever), _of(ever, equity))
    leverage = share(exposed / equity, 1) + " of equity" if exposed is not None and equity else ""
    missing = next((one.missing for one in chosen if one.missing), "")
    stats.show("Exposure", amount(exposed), leverage or missing)
    stats.show("Working orders", count(sum(one.open_orders for one in chosen)))


def _of(pnl: float | None, equity: float | None) -> str:
    if pnl is None or equity is None or equity - pnl <= 0:
        return ""
    return f"{'+' if pnl > 0 else ''}{share(pnl / (equity - pnl))}"


def _banner(chosen: Sequence[AccountStatus]) -> tuple[str, str]:
    killed = [one for one in chosen if one.killed]
    if killed:
        said = "; ".join(
            f"{one.account}: {'; '.join(filter(None, one.kill_switches.values())) or one.why_not}"
            for one in killed
        )
        return f"Trading is stopped. {said}", "banner bad"
    quiet = [one for one in chosen if one.state == "running" and (one.age_s or 0) > STALE_S]
    if quiet:
        said = ", ".join(f"{one.account} for {age(one.age_s)}" for one in quiet)
        return f"No word from {said}: what is shown of it is old.", "banner old"
    stuck = [one for one in chosen if one.state == "stuck"]
    if stuck:
        said = ", ".join(f"{one.account} ({age(one.age_s)})" for one in stuck)
        return f"Stuck, by the age of its heartbeat: {said}.", "banner old"
    return "", "gone"


def _health(desk: Desk) -> None:
    panel = desk.panel("Health")
    with panel.tools:
        Part("a", "All checks", "", href=href("/health"))
    with panel.content():
        table = Table(
            "Health", (Column("Check"), Column("Status", "word"), Column("Detail", low=True))
        )

    def show(found: Health) -> None:
        bad = [check for check in found.checks if check.status != "healthy"]
        rows = [Row("all", (cell("in all"), _healthy(found.status), cell("")))]
        rows += [
            Row(one.name, (cell(words(one.name)), _healthy(one.status), cell(one.detail)))
            for one in bad[:4]
        ]
        table.show(rows)

    panel.feed(desk.office.health, show, every_s=5.0)


def _healthy(status: str) -> Cell:
    return cell(status, HEALTH_TONES.get(status, "quiet"))


def _positions(desk: Desk) -> None:
    panel = desk.panel("Positions")
    with panel.tools:
        Part("a", "All", "", href=href("/positions", account=desk.account))
    with panel.content():
        table = Table(
            "Positions",
            (Column("Symbol"), Column("Lots", "num"), Column("P&L", "num")),
            empty="Nothing is held.",
        )

    def show(found: list[Position]) -> None:
        table.show(
            [
                Row(
                    f"{one.account}/{one.strategy}/{one.symbol}",
                    (cell(one.symbol, hint=one.strategy), count(one.lots), signed(one.pnl)),
                )
                for one in found
            ]
        )

    panel.feed(lambda: desk.office.positions(desk.account), show)


def _last_decisions(desk: Desk) -> None:
    panel = desk.panel("Last decisions")
    with panel.tools:
        Part("a", "All", "", href=href("/decisions", account=desk.account))
    with panel.content():
        table = Table(
            "Last decisions",
            (
                Column("Time, UTC", "time"),
                Column("Symbol"),
                Column("Strategy", low=True),
                Column("What", "what"),
                Column("Price", "num", low=True),
                Column("Outcome", "word"),
            ),
            empty="Nothing was decided yet.",
        )

    def show(found: Page[Decision]) -> None:
        table.show([_decision(one) for one in found.items])

    panel.feed(lambda: desk.office.decisions(desk.account, limit=LAST), show)


def _decision(one: Decision) -> Row:
    return Row(
        f"{one.account}/{one.id}",
        (
            when(one.time),
            cell(one.symbol),
            cell(one.strategy),
            cell(f"{one.side} {one.lots:,} ({words(one.purpose)})"),
            at_price(one.price),
            outcome(one),
        ),
    )


def outcome(one: Decision) -> Cell:
    """Return what came of a decision: an order, or the gate that stopped it; it leads to why."""
    said = f"order {one.order}" if one.order else "passed"
    if one.blocked:
        said = f"blocked: {words(one.blocked[0])}"
    return {
        **link(said, "/explain", account=one.account, decision=one.id),
        **cell(said, "warn" if one.blocked else "good", hint=listed(map(words, one.blocked), said)),
    }
