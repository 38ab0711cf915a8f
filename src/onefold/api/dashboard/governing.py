"""Governance: what is in force and since when, what waits, what is held back; and transitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from onefold.api.dashboard.actions import REASON, Field, Form, open_form, opener
from onefold.api.dashboard.cells import cell, count, measured, picked, when, when_text, words
from onefold.api.dashboard.charts import conf_min_options
from onefold.api.dashboard.desk import Desk
from onefold.api.dashboard.parts import Chart, Column, Modal, Part, Row, Table, button
from onefold.api.schemas import (
    Change,
    Evidence,
    Governance,
    ParameterVersion,
    Review,
    ReviewBody,
    SetBody,
    Strategy,
)
from onefold.api.security import Role
from onefold.domain.errors import ConfigError, OnefoldError
from onefold.domain.words import MandateKind
from onefold.views.wording import DASH

Action = Literal["suppress", "watch", "release"]

SETTABLE = tuple(kind.name.lower() for kind in MandateKind if kind != MandateKind.SUPPRESS)
VERSIONS_MAX = 100
EVERYTHING = "everything"


async def governance_page(desk: Desk, modal: Modal) -> None:
    """Build the page."""
    strategies = await _strategies(desk)
    doubt = Part("p", "", "gone")
    _history(desk, modal, doubt, strategies)
    _reviews(desk, modal, strategies)


async def _strategies(desk: Desk) -> list[Strategy]:
    try:
        return await desk.office.strategies(desk.one) if desk.one else []
    except OnefoldError:
        return []


def _history(desk: Desk, modal: Modal, doubt: Part, strategies: Sequence[Strategy]) -> None:
    panel = desk.panel(f"Parameters of {desk.one}" if desk.one else "Parameters")
    is_risk = desk.may(Role.RISK)
    if is_risk:
        with panel.tools:
            button("Set a value", opener(desk, modal, lambda: _set_form(desk, strategies)))

    async def approve(id_: str) -> None:
        open_form(desk, modal, _version_form(desk, int(id_), "approve"))

    async def back(id_: str) -> None:
        open_form(desk, modal, _version_form(desk, int(id_), "rollback"))

    with panel.content():
        Part("h3", "Waiting for approval")
        waiting = Table(
            "Waiting for approval",
            _VERSION_COLUMNS,
            empty="Nothing waits.",
            picked=approve if is_risk else None,
        )
        Part("h3", "In force")
        values = Table("In force", _VALUE_COLUMNS, empty="All is as configured.")
        Part("h3", "Least confidence over time")
        chart = Chart("Least confidence over time", conf_min_options((), 0)[0], "chart gone")
        none = Part("p", "It was never changed.", "empty")
        Part("h3", "Versions")
        versions = Table(
            "Versions",
            _VERSION_COLUMNS,
            empty="No versions yet: all is as configured.",
            picked=back if is_risk else None,
        )

    def show(found: Governance) -> None:
        said = f"The file of parameters is in doubt: {found.doubt}" if found.doubt else ""
        doubt.show(said, "banner bad" if said else "gone")
        by_number = {one.version: one for one in found.versions}
        held = [by_number[number] for number in found.waiting if number in by_number]
        waiting.show([_version(one, "Approve" if is_risk else "") for one in held])
        values.show([_value(one) for one in found.values])
        applied = found.versions[:VERSIONS_MAX]
        versions.show([_version(one, _back(one, is_risk)) for one in applied])
        options, lines = conf_min_options(found.versions, time.time_ns())
        chart.classes(add="" if lines else "gone", remove="gone" if lines else "")
        none.show(none.text, "gone" if lines else "empty")
        if lines:
            chart.show(options)

    async def ask() -> Governance:
        if not desk.one:
            raise ConfigError("no account is enabled")
        return await desk.office.governance(desk.one)

    panel.feed(ask, show, every_s=2.0)


def _back(one: ParameterVersion, is_risk: bool) -> str:  # noqa: FBT001 - whether a button is there
    return "Go back" if is_risk and one.status == "applied" else ""


_VALUE_COLUMNS = (
    Column("Mandate"),
    Column("Of"),
    Column("Value", "num"),
    Column("Configured", "num"),
)
_VERSION_COLUMNS = (
    Column("Version", "num"),
    Column("Made, UTC", "time"),
    Column("By", low=True),
    Column("Why", low=True),
    Column("Changes"),
    Column("Status", "word"),
    Column("", "text"),
)


def _scope(strategy: str, symbol: str) -> str:
    return "/".join(filter(None, (strategy, symbol))) or EVERYTHING


def _value(one: Change) -> Row:
    of = _scope(one.strategy, one.symbol)
    shown = (words(one.mandate), of)
    values = (cell(measured(one.value)), cell(measured(one.before)))
    return Row(f"{one.mandate}/{of}", (cell(shown[0]), cell(shown[1]), *values))


def _version(one: ParameterVersion, action: str) -> Row:
    status = cell("waits", "warn") if one.status == "proposed" else cell("applied", "good")
    if one.approves:
        status = cell(f"approves {one.approves}", "good")
    return Row(
        str(one.version),
        (
            count(one.version),
            when(one.time),
            cell(one.by),
            cell(one.cause),
            cell("; ".join(changed(change) for change in one.changes) or DASH),
            status,
            picked(action) if action else cell(""),
        ),
    )


def changed(one: Change) -> str:
    """Return a change in words."""
    of = _scope(one.strategy, one.symbol)
    return f"{words(one.mandate)} of {of}: {measured(one.before)} to {measured(one.value)}"


# --- forms ---------------------------------------------------------------------------------------


def _version_form(desk: Desk, version: int, what: Literal["approve", "rollback"]) -> Form:
    account = desk.one

    async def do(who: str, given: Mapping[str, str]) -> str:
        reason = _reason(given)
        act = desk.office.approve if what == "approve" else desk.office.rollback
        return made_known(await act(account, version, reason, operator=who))

    title = f"Approve version {version}" if what == "approve" else f"Go back to version {version}"
    text = (
        "It comes into force at once. Nobody approves what they have proposed themselves, where a "
        "second person is wanted."
        if what == "approve"
        else "All values become those that held after this version; that is a version of its own."
    )
    return Form(title, text, title, Role.RISK, do, (REASON,), sensitive=True)


def _set_form(desk: Desk, strategies: Sequence[Strategy]) -> Form:
    account = desk.one

    async def do(who: str, given: Mapping[str, str]) -> str:
        try:
            value = float(given["value"])
        except ValueError:
            raise ConfigError(f"{given['value']!r} is no number") from None
        body = SetBody(
            mandate=given["mandate"],
            value=value,
            strategy=given["strategy"],
            symbol=given["symbol"],
            reason=_reason(given),
        )
        return made_known(await desk.office.set_value(account, body, operator=who))

    fields = (
        Field("mandate", "What", SETTABLE[0], [(one, words(one)) for one in SETTABLE]),
        *_scope_fields(strategies),
        Field("value", "Value", more={"inputmode": "decimal", "maxlength": "24"}),
        REASON,
    )
    text = f"For account {account}. On a live account, more risk waits for a second person."
    return Form("Set a value", text, "Set", Role.RISK, do, fields, sensitive=True)


def _scope_fields(strategies: Sequence[Strategy]) -> tuple[Field, Field]:
    symbols = sorted({symbol for one in strategies for symbol in one.symbols})
    names = [("", "Every strategy"), *((one.name, one.name) for one in strategies)]
    places = [("", "Every symbol"), *((one, one) for one in symbols)]
    return Field("strategy", "Strategy", "", names), Field("symbol", "Symbol", "", places)


def _reason(given: Mapping[str, str]) -> str:
    if not given["reason"]:
        raise ConfigError("give a reason")
    return given["reason"]


def made_known(made: ParameterVersion) -> str:
    """Return what became of a version, in words."""
    said = "waits for approval" if made.status == "proposed" else "is in force"
    return f"Version {made.version} {said}{f': {made.became}' if made.became else ''}."


# --- reviews -------------------------------------------------------------------------------------


def _reviews(desk: Desk, modal: Modal, strategies: Sequence[Strategy]) -> None:
    panel = desk.panel("Suppressed and watched")
    with panel.tools:
        for action, role in (
            ("suppress", Role.OPERATOR),
            ("watch", Role.RISK),
            ("release", Role.RISK),
        ):
            if desk.may(role):
                form = _review_maker(desk, action, role, strategies)  # type: ignore[arg-type]
                button(action.capitalize(), opener(desk, modal, form))
    with panel.content():
        table = Table(
            "Suppressed and watched",
            (
                Column("What"),
                Column("How", "word"),
                Column("By", low=True),
                Column("Why"),
                Column("Since, UTC", "time", low=True),
                Column("Until, UTC", "time"),
            ),
            empty="Nothing is held back.",
        )

    def show(found: list[Review]) -> None:
        table.show([_review(one) for one in found])

    async def ask() -> list[Review]:
        return await desk.office.reviews(desk.one) if desk.one else []

    panel.feed(ask, show, every_s=2.0)


def _review(one: Review) -> Row:
    of = _scope(one.strategy, one.symbol)
    how = cell("suppressed", "warn") if one.action == "suppress" else cell("watched", "quiet")
    until = when(one.until) if one.until else cell("released")
    return Row(
        f"{one.holder}/{one.action}/{of}",
        (cell(of), how, cell(one.by), cell(one.reason), when(one.since), until),
    )


def _review_maker(
    desk: Desk, action: Action, role: Role, strategies: Sequence[Strategy]
) -> Callable[[], Form]:
    account = desk.one

    async def do(who: str, given: Mapping[str, str]) -> str:
        body = ReviewBody(
            action=action,
            strategy=given["strategy"],
            symbol=given["symbol"],
            reason=_reason(given),
            until=given.get("until", ""),
        )
        return made_known(await desk.office.review(account, body, operator=who))

    until = Field("until", "Until (may be left out)", more={"type": "date"})
    fields = (*_scope_fields(strategies), *((until,) if action != "release" else ()), REASON)

    def form() -> Form:
        title = action.capitalize()
        is_more = action != "suppress"
        return Form(title, _TEXTS[action], title, role, do, fields, sensitive=is_more)

    return form


_TEXTS = {
    "suppress": "It enters nothing until it is released; exits work on.",
    "watch": "It trades, and is marked; what a review had suppressed trades again.",
    "release": "It trades again.",
}


# --- transitions ---------------------------------------------------------------------------------


async def transitions_page(desk: Desk, modal: Modal) -> None:
    """Build the page of the checks that decide whether a strategy goes a stage further."""
    del modal
    panel = desk.panel("Evidence")
    known: dict[str, Evidence] = {}
    chosen: list[str] = []

    async def pick(id_: str) -> None:
        chosen[:] = [id_]
        draw()

    with panel.content():
        table = Table(
            "Evidence",
            (
                Column("Checked, UTC", "time"),
                Column("Strategy"),
                Column("To stage"),
                Column("Outcome", "word"),
                Column("Signature", "word"),
            ),
            empty="No checks were kept yet: onefold check-transition makes one.",
            picked=pick,
        )
        box = Part("div")

    def draw() -> None:
        table.show([_evidence(one, one.name in chosen) for one in known.values()])
        box.clear()
        one = known.get(chosen[0]) if chosen else None
        if one is not None:
            with box:
                _criteria(one)

    def show(found: list[Evidence]) -> None:
        known.clear()
        known.update({one.name: one for one in found})
        if not chosen:
            chosen.extend(one.name for one in found[:1])
        draw()

    async def ask() -> list[Evidence]:
        return await desk.office.evidence(desk.one) if desk.one else []

    panel.feed(ask, show, every_s=10.0)


def _evidence(one: Evidence, is_chosen: bool) -> Row:  # noqa: FBT001 - one of two looks
    verified = cell("verified", "good") if one.verified else cell("not verified", "bad")
    return Row(
        one.name,
        (
            when_text(one.time),
            picked(one.strategy or one.name),
            cell(one.stage or DASH),
            cell("passed", "good") if one.passed else cell("not passed", "bad"),
            verified,
        ),
        "chosen" if is_chosen else "",
    )


def _criteria(one: Evidence) -> None:
    Part("h3", f"{one.strategy or one.name} to {one.stage or 'an unknown stage'}")
    if not one.verified:
        said = "Its signature does not hold: what it says may have been changed since."
        Part("p", said, "problem")
    columns = (Column("Criterion"), Column("Is", "num"), Column("Wanted", "num"))
    table = Table("Criteria", (*columns, Column("Verdict", "word")), empty="It cannot be read.")
    table.show(
        [
            Row(
                criterion.name,
                (
                    cell(words(criterion.name)),
                    cell(criterion.value),
                    cell(criterion.wanted),
                    cell("passes", "good") if criterion.passes else cell("fails", "bad"),
                ),
            )
            for criterion in one.criteria
        ]
    )
