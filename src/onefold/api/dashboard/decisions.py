"""Decisions, which gates stopped them; and the page that explains one, or why there was none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from onefold.api.dashboard.books import Pager, chooser
from onefold.api.dashboard.cells import (
    Cell,
    Tone,
    at_price,
    bar,
    cell,
    confidence,
    count,
    href,
    link,
    measured,
    when,
    when_text,
    words,
)
from onefold.api.dashboard.desk import Desk, Panel
from onefold.api.dashboard.overview import outcome
from onefold.api.dashboard.parts import (
    Column,
    Modal,
    Part,
    Row,
    Table,
    button,
    entry,
    select,
)
from onefold.api.schemas import Decision, Explanation, GateCount, GateLine, Page
from onefold.domain.errors import ConfigError, OnefoldError
from onefold.views.wording import DASH

PAGE = 50
LAST = 500
PASSED = {"": None, "yes": True, "no": False}
NS_PER_S = 1_000_000_000
VERDICT_TONES: dict[str, Tone] = {"passed": "quiet", "blocked": "bad"}


# --- decisions -----------------------------------------------------------------------------------


async def decisions_page(desk: Desk, modal: Modal) -> None:
    """Build the page."""
    del modal
    chosen = {name: desk.query.get(name, "")[:64] for name in ("strategy", "symbol", "gate")}
    passed = {"passed": desk.query.get("passed", "") if desk.query.get("passed") in PASSED else ""}
    strategies, symbols = await _names(desk)
    with Part("div", classes="split funnel"):
        with Part("div"):
            panel = desk.panel("Decisions")
        with Part("div"):
            funnel = _funnel(desk, chosen)
    with panel.content():
        filters = Part("div", classes="filters")
        table = Table("Decisions", _COLUMNS, empty="No decisions, or none like these.")
    pager = Pager(panel)

    def both(name: str) -> Callable[[str], Awaitable[None]]:
        choose = chooser(panel, chosen, name, pager)

        async def heard(text: str) -> None:
            await choose(text)
            await funnel.refresh(now=True)

        return heard

    with filters:
        for name, found in (("strategy", strategies), ("symbol", symbols)):
            options = [("", f"Every {name}"), *((one, one) for one in found)]
            select(name.capitalize(), options, chosen[name], both(name))
        gates = [("", "Any gate"), *((one, words(one)) for one in await _gates(desk))]
        select("Stopped by", gates, chosen["gate"], chooser(panel, chosen, "gate", pager))
        options = [("", "All"), ("yes", "Passed"), ("no", "Blocked")]
        select("Outcome", options, passed["passed"], chooser(panel, passed, "passed", pager))

    async def ask() -> Page[Decision]:
        return await desk.office.decisions(
            desk.account,
            strategy=chosen["strategy"],
            symbol=chosen["symbol"],
            gate=chosen["gate"],
            passed=PASSED.get(passed["passed"]),
            before=pager.before,
            limit=PAGE,
        )

    def show(found: Page[Decision]) -> None:
        table.show([_decision(one) for one in found.items])
        pager.show(found.next)

    panel.feed(ask, show)


async def _names(desk: Desk) -> tuple[list[str], list[str]]:
    """Return the strategies and symbols there are; none where they cannot be told."""
    try:
        found = await desk.office.strategies(desk.account)
    except OnefoldError:
        return [], []
    symbols = {symbol for one in found for symbol in one.symbols}
    return sorted({one.name for one in found}), sorted(symbols)


async def _gates(desk: Desk) -> list[str]:
    try:
        return sorted(one.gate for one in await desk.office.gates(desk.account, last=LAST))
    except OnefoldError:
        return []


_COLUMNS = (
    Column("Time, UTC", "time"),
    Column("Symbol"),
    Column("Strategy", low=True),
    Column("What", "what"),
    Column("Price", "num", low=True),
    Column("Confidence", "num", low=True),
    Column("Score", "num", low=True),
    Column("Outcome", "word", hint="Leads to the explanation"),
)


def _decision(one: Decision) -> Row:
    return Row(
        f"{one.account}/{one.id}",
        (
            when(one.time),
            cell(one.symbol),
            cell(one.strategy),
            cell(f"{one.side} {one.lots:,} ({words(one.purpose)})"),
            at_price(one.price),
            confidence(one.confidence),
            confidence(one.score),
            outcome(one),
        ),
    )


def _funnel(desk: Desk, chosen: dict[str, str]) -> Panel:
    panel = desk.panel("What the gates stopped")
    with panel.content():
        lead = Part("p", "", "lead")
        table = Table(
            "What the gates stopped",
            (
                Column("Gate"),
                Column("The reason", "share", hint="Decisions of which it was the first to say no"),
                Column("Also", "num", hint="Decisions that it would have stopped as well"),
            ),
            empty="No gate has stopped anything of late.",
        )

    async def ask() -> list[GateCount]:
        return await desk.office.gates(
            desk.account, strategy=chosen["strategy"], symbol=chosen["symbol"], last=LAST
        )

    def show(found: list[GateCount]) -> None:
        stopped = sum(one.first for one in found)
        lead.show(f"{stopped:,} of the last {LAST} decisions were stopped, by the first no.")
        most = max((one.first for one in found), default=0) or 1
        ordered = sorted(found, key=lambda one: (-one.first, -one.also, one.gate))
        table.show(
            [
                Row(
                    one.gate,
                    (
                        link(words(one.gate), "/decisions", account=desk.account, gate=one.gate),
                        bar(f"{one.first:,}", one.first / most),
                        count(one.also),
                    ),
                )
                for one in ordered
            ]
        )

    return panel.feed(ask, show, every_s=3.0)


# --- explaining ----------------------------------------------------------------------------------


async def explain_page(desk: Desk, modal: Modal) -> None:
    """Build the page: a decision explained, and the form that asks why there was none."""
    del modal
    given = desk.query.get("decision", "")
    _ask_why_not(desk)
    symbol, at = desk.query.get("symbol", "")[:64], desk.query.get("at", "")
    if given:
        _explained(desk, given)
    elif symbol and at:
        _not_traded(desk, symbol, at)
    else:
        Part(
            "p",
            "Choose a decision on the page Decisions, or ask above why something was not traded.",
            "empty",
        )


def _explained(desk: Desk, given: str) -> None:
    panel = Panel(f"Decision {given[:20]}")
    with panel.content():
        box = Part("div")

    async def ask() -> Explanation:
        if not (given.isascii() and given.isdigit() and len(given) < 19):
            raise ConfigError(f"{given[:40]!r} is no number of a decision")
        return await desk.office.explain(desk.one, int(given))

    def show(found: Explanation) -> None:
        box.clear()
        with box:
            _explanation(found)

    _once(desk, panel.feed(ask, show, every_s=3_600.0))


def _not_traded(desk: Desk, symbol: str, at: str) -> None:
    panel = Panel(f"Why {symbol} was not traded")
    with panel.content():
        box = Part("div")

    async def ask() -> list[Explanation]:
        return await desk.office.why_not(desk.one, symbol, nanoseconds(at))

    def show(found: list[Explanation]) -> None:
        box.clear()
        with box:
            if not found:
                Part("p", "No strategy looked at it at that time.", "empty")
            for one in found:
                Part("h3", one.strategy)
                _explanation(one)

    _once(desk, panel.feed(ask, show, every_s=3_600.0))


def _once(desk: Desk, panel: Panel) -> None:
    """Ask once, and again only after something went wrong and somebody wants to."""

    async def again() -> None:
        await panel.refresh(now=True)

    with panel.tools:
        button("Ask again", again)
    panel.state.show("Replaying the journal; this takes a moment.", "loading")
    desk.add(panel)


def nanoseconds(text: str) -> int:
    """Return a time that a person wrote, in UTC unless it says otherwise. Raises `ConfigError`."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(
            f"{text[:40]!r} is no time; write it as 2026-01-31 14:30, in UTC"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * NS_PER_S


def _ask_why_not(desk: Desk) -> None:
    panel = Panel("Why was something not traded?")
    with panel.content(), Part("form", classes="filters", method="get", action=href("/explain")):
        if desk.account:
            Part("input", type="hidden", name="account", value=desk.account)

        def ignored(_: str) -> None:
            """Leave it to the form, which the browser sends by itself."""

        entry(
            "Symbol",
            ignored,
            event="change",
            value=desk.query.get("symbol", "")[:64],
            name="symbol",
            required="required",
            maxlength="64",
        )
        entry(
            "Bar that closed at, UTC",
            ignored,
            event="change",
            value=desk.query.get("at", "")[:40],
            name="at",
            required="required",
            placeholder="2026-01-31 14:30",
            maxlength="40",
        )
        Part("button", "Ask", "primary", type="submit")
    panel.state.show("", "gone")


def _explanation(one: Explanation) -> None:
    """Build the explanation of one decision, or of none."""
    Part("p", in_words(one), "lead")
    with Part("dl", classes="facts"):
        for name, value in _facts(one):
            Part("dt", name)
            with Part("dd"):
                if "at" in value:
                    Part("time", str(value["text"]), datetime=str(value["at"]))
                else:
                    Part("span", str(value["text"]))
    lines = [*one.gates, *one.own_gates]
    if lines:
        stopped = sorted(lines, key=lambda line: line.verdict != "blocked")
        Part("h3", "Gates")
        Table(f"Gates of {one.strategy}", _GATE_COLUMNS).show(
            [_gate(number, line) for number, line in enumerate(stopped)]
        )
    if one.features:
        Part("h3", "Features")
        Table(f"Features of {one.strategy}", (Column("Feature"), Column("Value", "num"))).show(
            [Row(n, (cell(n), cell(measured(v)))) for n, v in one.features.items()]
        )


_GATE_COLUMNS = (
    Column("Gate"),
    Column("Verdict", "word"),
    Column("Value", "num"),
    Column("Threshold", "num"),
    Column("Passes when", low=True),
    Column("Measures", low=True),
)


def _gate(number: int, line: GateLine) -> Row:
    tone = VERDICT_TONES.get(line.verdict, "quiet")
    return Row(
        f"{number}",
        (
            cell(words(line.gate)),
            cell(line.verdict, tone),
            cell(measured(line.value)),
            cell(measured(line.threshold) if line.threshold is not None else "none set"),
            cell(words(line.passes_when)),
            cell(line.measures),
        ),
        "blocked" if line.verdict == "blocked" else "",
    )


def _facts(one: Explanation) -> Sequence[tuple[str, Cell]]:
    return (
        ("Time, UTC", when_text(one.time)),
        ("Account", cell(one.account)),
        ("Strategy", cell(one.strategy)),
        ("Symbol", cell(one.symbol)),
        ("After", cell(one.after)),
        ("Close", at_price(one.close)),
        ("Wanted", cell(one.wants)),
        ("Held before", count(one.held_lots)),
        ("Score", confidence(one.score)),
        ("Models", cell(", ".join(one.models) or DASH)),
        ("Mandates in force", cell("; ".join(one.mandates) or DASH)),
    )


def in_words(one: Explanation) -> str:
    """Return the explanation in sentences."""
    close = f" that closed at {at_price(one.close)['text']}" if one.close is not None else ""
    said = [
        (
            f"After the {one.after}{close}, {one.strategy} wanted to be {one.wants} in "
            f"{one.symbol} and held {one.held_lots:,} lots."
        )
    ]
    said += [blocked_by(line) for line in (*one.gates, *one.own_gates) if line.verdict == "blocked"]
    said.append(f"{one.conclusion[:1].upper()}{one.conclusion[1:]}.".replace("..", "."))
    return " ".join(said)


def blocked_by(line: GateLine) -> str:
    """Return why a gate said no, in a sentence."""
    is_ = f"{line.measures} is {measured(line.value)}"
    must = words(line.passes_when)
    if line.threshold is not None and measured(line.threshold) not in must.split():
        must += f", which is {measured(line.threshold)}"
    return f"The gate {words(line.gate)} said no: {is_}, and must be {must}."
