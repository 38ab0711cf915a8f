"""Strategies with their stage and readiness, and the models that they ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onefold.api.dashboard.cells import (
    cell,
    count,
    listed,
    measured,
    picked,
    share,
    signed,
    words,
)
from onefold.api.dashboard.desk import Desk
from onefold.api.dashboard.parts import Column, Modal, Part, Row, Table
from onefold.api.schemas import Model, Readiness, Strategy
from onefold.views.wording import DASH

DIGEST = 12


async def strategies_page(desk: Desk, modal: Modal) -> None:
    """Build the page."""
    del modal
    _strategies(desk)
    _readiness(desk)
    _models(desk)


def _strategies(desk: Desk) -> None:
    panel = desk.panel("Strategies")
    with panel.content():
        table = Table(
            "Strategies",
            (
                Column("Strategy"),
                Column("Account", low=True),
                Column("Kind", low=True),
                Column("Symbols", low=True),
                Column("Stage"),
                Column("May enter"),
                Column("Least confidence", low=True),
                Column("Trades", "num"),
                Column("Won", "num", low=True),
                Column("P&L", "num"),
                Column("Models", low=True),
            ),
            empty="No strategies are configured.",
        )

    def show(found: list[Strategy]) -> None:
        table.show([_strategy(one) for one in found])

    panel.feed(lambda: desk.office.strategies(desk.account), show, every_s=5.0)


def _strategy(one: Strategy) -> Row:
    return Row(
        f"{one.account}/{one.name}",
        (
            cell(one.name),
            cell(one.account),
            cell(words(one.kind)),
            cell(listed(one.symbols)),
            cell(one.stage or "not staged", "" if one.stage else "quiet"),
            cell(f"no: {one.held}", "warn") if one.held else cell("yes"),
            cell(least(one.conf_min)),
            count(one.trades),
            cell(share(one.won / one.trades, 0) if one.trades else DASH),
            signed(one.pnl),
            cell(listed(one.models)),
        ),
    )


def least(conf_min: Mapping[str, float]) -> str:
    """Return the least confidences: one number where they agree, else by symbol."""
    values = set(conf_min.values())
    if len(values) <= 1:
        return measured(next(iter(values), None))
    return ", ".join(f"{symbol} {measured(value)}" for symbol, value in conf_min.items())


def _readiness(desk: Desk) -> None:
    panel = desk.panel("Readiness")
    with panel.content():
        table = Table(
            "Readiness",
            (
                Column("Day"),
                Column("Report"),
                Column("Verdict", "word"),
                Column("Stable days", "num"),
            ),
            empty="No report yet: onefold readiness writes one.",
        )
        text = Part("pre", "", "gone", tabindex="0", aria_label="The newest report")

    def show(found: list[Readiness]) -> None:
        table.show(
            [
                Row(
                    f"{one.account}/{one.kind}/{one.day}",
                    (
                        cell(one.day),
                        cell(one.kind),
                        cell("stable", "good") if one.is_stable else cell("not stable", "warn"),
                        count(one.stable_days),
                    ),
                )
                for one in found[:14]
            ]
        )
        text.show(found[0].markdown if found else "", "report" if found else "gone")

    async def ask() -> list[Readiness]:
        return await desk.office.readiness(desk.one) if desk.one else []

    panel.feed(ask, show, every_s=30.0)


# --- models --------------------------------------------------------------------------------------


def _models(desk: Desk) -> None:
    panel = desk.panel("Models")
    known: dict[str, Model] = {}
    chosen: list[str] = []

    async def pick(id_: str) -> None:
        chosen[:] = [id_]
        draw()

    with panel.content():
        table = Table(
            "Models",
            (
                Column("Model"),
                Column("Version", "num"),
                Column("In use", "word"),
                Column("Format", low=True),
                Column("Target", low=True),
                Column("Trained"),
                Column("Expires", low=True),
                Column("Drift", "word"),
            ),
            empty="The store has no models: onefold train makes one.",
            picked=pick,
        )
        card = Part("div")

    def draw() -> None:
        table.show([_model(id_, one, id_ in chosen) for id_, one in known.items()])
        card.clear()
        one = known.get(chosen[0]) if chosen else None
        if one is not None:
            with card:
                _card(one)

    def show(found: list[Model]) -> None:
        known.clear()
        known.update({f"{one.name}:{one.version}": one for one in found})
        if not chosen:
            chosen.extend(list(known)[:1])
        draw()

    panel.feed(desk.office.models, show, every_s=10.0)


def _model(id_: str, one: Model, is_chosen: bool) -> Row:  # noqa: FBT001 - one of two looks
    drifts = sorted(name for name, said in (one.drift or {}).items() if said != "stable")
    drift = cell("not measured", "quiet")
    if one.drift is not None:
        drift = cell(listed(drifts, "stable"), "warn" if drifts else "good")
    return Row(
        id_,
        (
            picked(one.name),
            count(one.version),
            cell("in use", "good") if one.is_active else cell("kept", "quiet"),
            cell(one.format),
            cell(one.target or DASH),
            cell(one.trained[:16].replace("T", " ") or DASH),
            cell(one.expires[:10] or DASH),
            drift,
        ),
        "chosen" if is_chosen else "",
    )


def _card(one: Model) -> None:
    """Build the card of a model: what it was trained for, and how well it did."""
    Part("h3", f"{one.name}, version {one.version}")
    with Part("dl", classes="facts"):
        for name, text in (
            ("Verdict", one.verdict or DASH),
            ("Target", one.target or DASH),
            ("Features", listed(one.features)),
            ("SHA-256", f"{one.sha256[:DIGEST]}…" if one.sha256 else DASH),
        ):
            Part("dt", name)
            Part("dd", text)
    rows = [*_numbers(one.metrics)]
    if rows:
        Table(
            f"Numbers of {one.name}",
            (Column("Number"), Column("Value", "num")),
        ).show(rows)
    if one.drift:
        Table(f"Drift of {one.name}", (Column("Input"), Column("Drift", "word"))).show(
            [
                Row(name, (cell(name), cell(said, "good" if said == "stable" else "warn")))
                for name, said in one.drift.items()
            ]
        )


def _numbers(metrics: Mapping[str, Any]) -> Sequence[Row]:
    return [
        Row(
            name,
            (
                cell(words(name)),
                cell(measured(float(value)) if is_number(value) else str(value)[:120]),
            ),
        )
        for name, value in metrics.items()
    ]


def is_number(value: object) -> bool:
    """Return whether something is a number and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)
